"""The one Celery task body: each Function is a Celery task of its own name.

A message with the wake-up header is a delivery of a job, and the ledger decides about it. Any other message is a plain
Celery call (`send_task`, chain, group, chord): its arguments are in the message, its result and its guarantees are
Celery's own.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any

from celery import Celery, Task
from celery.app.task import Context
from celery.exceptions import Ignore
from celery.exceptions import Retry as CeleryRetry
from celery.utils.saferepr import saferepr
from celery.worker.request import Request
from celery.worker.state import active_requests

from dispatcher.errors import CallRefusedError
from dispatcher.execution.ending import Ending
from dispatcher.execution.execute import Executor
from dispatcher.execution.failure import describe, secrets_of
from dispatcher.execution.invoke import AnyFunction
from dispatcher.execution.leases import Asked, Offer
from dispatcher.execution.retry import Retry, decide
from dispatcher.registry.redaction import HIDDEN
from dispatcher.registry.registry import Registry
from dispatcher.transport.guard import PlainWakeUp
from dispatcher.transport.message import BODY_BYTES, WAKE_UP_HEADER, named_jobs, new_body

#: Headers that are no task's own: Celery finds the others by these for each task.
#: Source: celery.app.task.Context._get_custom_headers, Celery 5.7.
CELERY_HEADERS = frozenset(vars(Context)) | {"lang", "task", "argsrepr", "kwargsrepr", "compression"}

#: A plain Celery call has no deadline of ours; its retries are bounded by their number.
_NO_DEADLINE = timedelta.max

#: Where processors are few, whoever waits for an outcome that was announced goes before what is left to do here, which
#: is Celery's book-keeping. 7 % of a single call's latency (benchmark: single).
_let_others_run: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


class JobFailed(Exception):  # noqa: N818 - what Celery's events and logs show of a Failed outcome
    """A job ended in Failed; the outcome itself is in the ledger."""

    def __repr__(self) -> str:
        return str(self)


class _Shown:
    """A text that Celery's events show as it is, without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class _Hidden:
    """A result that Celery's backends store as it is, and that its events and logs do not show."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __json__(self) -> object:
        """For kombu's encoder."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN


class ShownRequest(Request):
    """A message in a worker's hands: with arguments as people may see them, in events, logs and `inspect`.

    Wake-ups carry them. A plain Celery call carries what its sender made of all arguments. What Celery would work out
    of every wake-up anew, in the pool's process or here, is given to it (`benchmarks.calls --only single`).
    """

    def __init__(self, message: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's signature
        wakes_up = WAKE_UP_HEADER in message.headers
        if wakes_up and message.body == BODY_BYTES:
            kwargs |= {"body": new_body(), "decoded": True}
        super().__init__(message, **kwargs)
        if wakes_up:
            own = {name: value for name, value in message.headers.items() if name not in CELERY_HEADERS}
            self.request_dict.setdefault("headers", own)
            return
        sensitive = self.task.function.options.sensitive
        if sensitive:
            names = (*self.task.function.parameters_schema["properties"], *([""] * len(self.args)))
            shown = [HIDDEN if name in sensitive else value for name, value in zip(names, self.args, strict=False)]
            named = {name: HIDDEN if name in sensitive else value for name, value in self.kwargs.items()}
            self._argsrepr, self._kwargsrepr = saferepr(tuple(shown)), saferepr(named)

    def on_given(self) -> None:
        """A process that was free has it: it is active, and the node may fetch another message."""
        active_requests.add(self)
        fetches = getattr(getattr(self._message.channel, "qos", None), "can_consume", None)
        if not self.task.acks_late and (fetches is None or not fetches()):
            self.acknowledge()

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:  # noqa: ANN401, FBT001, FBT002
        """A cold shutdown. Celery would write that it tries again where a job's outcome belongs; the ledger tries."""
        see_begun = getattr(getattr(pool, "_pool", None), "see_begun", None)
        if see_begun is not None:
            see_begun()  # it may have begun a moment ago
        super().cancel(pool, signal, emit_retry=emit_retry and WAKE_UP_HEADER not in self.request_dict)

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - Celery's signature
        """For `celery inspect`."""
        info: dict[str, Any] = super().info(safe=safe or bool(self.task.function.options.sensitive))
        return info


def request_of(wake_up: PlainWakeUp, hostname: str) -> dict[str, Any]:
    """What Celery makes of a plain wake-up for the process that runs it.

    Source: celery.worker.request.Request, Celery 5.7; `ShownRequest`.
    """
    properties = wake_up.properties()
    return wake_up.headers() | {
        "properties": properties,
        "reply_to": None,
        "correlation_id": wake_up.job_id,
        "hostname": hostname,
        "delivery_info": properties["delivery_info"] | {"priority": 0, "redelivered": False},
        "args": [],
        "kwargs": {},
        "headers": {WAKE_UP_HEADER: 1},
    }


class FunctionTask(Task):
    """A Function as a Celery task."""

    abstract = True
    typing = False
    Request = f"{__name__}:ShownRequest"
    # A Failed outcome, or a plain call with bad arguments, is data and no fault of the worker's: logged as a line.
    throws = (JobFailed, CallRefusedError)  # type: ignore[assignment]  # Celery's own default is an empty tuple

    def __init__(self, function: AnyFunction, executor: Callable[[], Executor], name: str | None = None) -> None:
        self.name = function.name if name is None else name  # type: ignore[assignment]  # None until a task has one
        self.__doc__ = function.description
        self.function = function
        self._executor = executor

    def run(self, *args: object, **kwargs: object) -> object:
        """Deliver a wake-up, or run a plain Celery call."""
        request = self.request  # looked for in this thread's stack each time
        if request.get(WAKE_UP_HEADER) is not None:
            return self._report(self._run_wake_up(request))
        return self._run_plain(args, kwargs)

    def ask_early(self, request: Mapping[str, Any]) -> None:
        """Ask for the job of a message that is about to be run by this thread, where it names but one.

        Args:
            request: as Celery hands it to a process of its pool.
        """
        if WAKE_UP_HEADER in request and len(named_jobs(request["id"], request)) == 1:
            self._executor().ask_early(request["id"], request["hostname"] or "")

    def expect(self, job_id: str, worker: str, asked: Asked) -> bool:
        """As `Leases.expect`: for a job that is about to be run by this thread."""
        return self._executor().expect(job_id, worker, asked)

    def offer(self, worker: str) -> Offer | None:
        """What the node needs to ask for this process's jobs itself; None where it has that, or cannot."""
        return self._executor().offer(worker)

    def _run_wake_up(self, request: Any) -> Ending:  # noqa: ANN401 - Celery's context, as it types it
        executor = self._executor()
        worker = request.hostname or ""
        job_ids = named_jobs(request.id, vars(request))
        if len(job_ids) == 1:
            ending = executor.execute(request.id, worker)
            _let_others_run()
            return ending
        queue = (request.delivery_info or {}).get("routing_key") or self.function.options.queue_name
        return executor.execute_many(self.function, job_ids, queue, worker)

    def _report(self, ending: Ending) -> object:
        """Say how it ended in the way Celery's events, logs and Flower understand."""
        if ending.what == "succeeded":
            return _Shown(ending.text)
        if ending.what == "failed":
            raise JobFailed(ending.text)
        if ending.what == "retried":
            raise CeleryRetry(ending.text, exc=JobFailed(ending.text), when=ending.wait.total_seconds())
        if ending.what in {"cancelled", "expired"}:
            self.send_event("task-revoked", terminated=False, signum=None, expired=ending.what == "expired")
        raise Ignore(ending.text)

    def _run_plain(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Any:  # noqa: ANN401 - Celery's to store
        options = self.function.options
        call = self.function.call(*args, **kwargs)
        try:
            result = json.loads(self._executor().call_directly(self.function, call.arguments, self.request.id))
        except Exception as error:
            failures = self.request.retries + 1
            decision = decide(options.retry, error, failures=failures, time_left=_NO_DEADLINE)
            shown = _without_secrets(error, call.arguments, options.sensitive)
            if isinstance(decision, Retry):
                raise self.retry(exc=shown, countdown=decision.wait.total_seconds(), max_retries=None) from None
            if shown is error:
                raise
            raise shown from None
        return _Hidden(result) if options.sensitive_result else result


def _without_secrets(error: Exception, arguments: str, sensitive: Collection[str]) -> Exception:
    """The error, or one that says the same where its text holds a sensitive value: Celery stores and shows errors."""
    secrets = secrets_of(json.loads(arguments), sensitive)
    if not secrets:
        return error
    info = describe(error, secrets)
    return error if info == describe(error) else JobFailed(str(info))


def register(app: Celery, registry: Registry, executor: Callable[[], Executor]) -> None:
    """Make every function of the registry a task of this app, under its name and its aliases."""
    for function in registry:
        for name in (function.name, *function.aliases):
            app.register_task(FunctionTask(function, executor, name))
