"""A dispatcher that runs nothing and remembers what it was asked."""

import inspect
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar, Unpack, cast

from dispatcher.client.cached_calls import to_invalidate
from dispatcher.client.collector import Collector, Pending
from dispatcher.client.dispatcher import Dispatcher
from dispatcher.client.gathering import gather_each
from dispatcher.client.handle import Handle
from dispatcher.client.jobs import JobOptions
from dispatcher.client.sync import SyncDispatcher
from dispatcher.clock import Clock
from dispatcher.errors import IdempotencyConflictError, UnknownJobError
from dispatcher.execution.failure import describe
from dispatcher.model.call import Call
from dispatcher.model.job import JobState, JobStatus, Priority
from dispatcher.model.outcome import Cancelled, Expired, Failed, Outcome, Succeeded
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.selection.feedback import Feedback, MemoryFeedbackLog
from dispatcher.selection.rules import KeywordRule
from dispatcher.selection.selector import Selector
from dispatcher.settings import Settings
from dispatcher.transport import outcomes
from dispatcher.transport.outcomes import CallRecord, JobRecord

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class DispatchedCall:
    """A call that a `RecordingDispatcher` was asked to dispatch."""

    call: Call[object]
    job_id: str
    idempotency_key: str | None = None
    deadline: timedelta | datetime | None = None
    delay: timedelta | None = None
    priority: Priority | None = None

    @property
    def arguments(self) -> dict[str, object]:
        """By name, as JSON data; arguments left at their defaults are not among them."""
        return cast("dict[str, object]", json.loads(self.call.arguments))


class _NoCollector:
    """Nothing is collected: outcomes are there at once, or never."""

    outage = None
    closed = False


class _RecordedHandle(Handle[R]):
    """A handle whose outcome is there already, or was forgotten by the test."""

    async def _wait(self, timeout: timedelta | None) -> bytes:  # noqa: ASYNC109, ARG002
        if self._pending.meta is None:
            msg = f"no answer was set for {self.function}; call answer({self.function}, …) on the RecordingDispatcher"
            raise AssertionError(msg)
        return self._pending.meta


class RecordingDispatcher(Dispatcher):
    """A `Dispatcher` for unit tests: needs no server, runs nothing, and remembers what it was asked.

    Arguments are checked as ever, by `function.call(...)`. Outcomes are what `answer` says; they pass through the same
    JSON as real ones, so an answer that the function could not return is refused.

    Args:
        registry: the functions that may be called.
        selector: as for `Dispatcher`.
        rules: as for `Dispatcher`.
        clock: as for `Dispatcher`.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        selector: Selector | None = None,
        rules: Sequence[KeywordRule] = (),
        clock: Clock | None = None,
    ) -> None:
        super().__init__(registry, settings=Settings.load(), selector=selector, rules=rules, clock=clock)
        #: What was dispatched, in order; a repeated idempotency key adds nothing.
        self.calls: list[DispatchedCall] = []
        #: Ids of the jobs that were cancelled.
        self.cancelled: list[str] = []
        self._answers: dict[str, object] = {}
        self._handles: dict[str, Handle[Any]] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._feedback_log = MemoryFeedbackLog()
        self.address = "recording"
        self.collector = cast("Collector", _NoCollector())

    def answer(self, function: Function[P, R], answer: R | Outcome[R] | Exception | Callable[..., object]) -> None:
        """Say how calls of a function end from now on.

        Args:
            function: whose.
            answer: the value it returns; an exception it raises; an `Outcome`; or something to call with the arguments
                by name, for one of these (`function.callable` runs the function itself).
        """
        self._answers[function.name] = answer

    @property
    def feedbacks(self) -> list[Feedback]:
        """What was said of selections, in order; the selector has learnt from it."""
        return [entry.feedback for entry in self._feedback_log.entries]

    async def start(self) -> None:
        self._chooser.connect(self._feedback_log)
        self._is_started = True

    async def close(self) -> None:
        self._is_started = False
        await self._chooser.close()

    async def dispatch_job(self, calls: list[Call[R]], **options: Unpack[JobOptions]) -> Handle[R]:
        """Record the calls, and answer them."""
        self._must_be_started()
        function = self.registry.get(calls[0].function)
        idempotency_key = options.get("idempotency_key")
        if idempotency_key is not None:
            known = self._known(function, idempotency_key, calls)
            if known is not None:
                return known
        job_id = str(uuid.uuid4())
        self.calls += [DispatchedCall(call=call, job_id=job_id, **options) for call in calls]
        pending = Pending(job_id, self.clock.monotonic())
        if function.name in self._answers:
            entries = [await self._entry(function, call) for call in calls]
            record = JobRecord(attempts=1, calls=tuple(entries))
            pending.resolve(outcomes.encode(job_id, record, self.clock.now()).encode())
        made: Handle[R] = _RecordedHandle(self, pending, function, self.clock.now())
        self._handles[job_id] = made
        if idempotency_key is not None:
            self._keys[function.name, idempotency_key] = job_id
        return made

    async def gather(self, *calls: Call[R]) -> list[Outcome[R]]:
        """Record the calls, and answer them."""
        return await gather_each(self, calls)

    async def handle(self, job_id: str) -> Handle[object]:
        """The handle on a job that was dispatched here."""
        if job_id not in self._handles:
            raise UnknownJobError(job_id)
        return self._handles[job_id]

    async def status(self, job_id: str) -> JobStatus:
        """Not recorded: raises for every job."""
        raise UnknownJobError(job_id)

    async def cancel(self, job_id: str, reason: str = "", *, hard: bool = False) -> bool:  # noqa: ARG002
        """Record it; True where the job had no outcome."""
        handle = await self.handle(job_id)
        self.cancelled.append(job_id)
        return not handle.done

    async def flush(self, timeout: timedelta = timedelta(0)) -> bool:  # noqa: ASYNC109, ARG002
        """Nothing waits to be published."""
        return True

    async def invalidate(
        self,
        what: Function[..., Any] | Call[Any] | str | None = None,
        *,
        version: str | None = None,
        tag: str | None = None,
    ) -> None:
        """Nothing is kept here; only what makes no sense is refused."""
        self._must_be_started()
        to_invalidate(self.registry, what, version, tag)

    def _known(self, function: Function[..., Any], key: str, calls: list[Call[R]]) -> Handle[R] | None:
        job_id = self._keys.get((function.name, key))
        if job_id is None:
            return None
        before = [recorded.call.digest for recorded in self.calls if recorded.job_id == job_id]
        if before != [call.digest for call in calls]:
            raise IdempotencyConflictError(key, function.name, job_id)
        first = self._handles[job_id]
        return _RecordedHandle(self, first._pending, function, first.deadline_at, repeated=True)  # noqa: SLF001

    async def _entry(self, function: Function[..., Any], call: Call[Any]) -> CallRecord:
        answer = self._answers[function.name]
        if callable(answer):
            args, kwargs = function.load_arguments(call.arguments)
            try:
                answer = answer(*args, **kwargs)
                if inspect.isawaitable(answer):
                    answer = await answer
            except Exception as error:  # noqa: BLE001 - whatever it raises is how the call ends
                answer = error
        return _record_of(function, answer)


def _record_of(function: Function[..., Any], answer: object) -> CallRecord:
    match answer:
        case Failed(error=error):
            return CallRecord(state=JobState.FAILED, error=error)
        case Cancelled(reason=reason):
            return CallRecord(state=JobState.CANCELLED, reason=reason)
        case Expired():
            return CallRecord(state=JobState.EXPIRED)
        case Exception():
            return CallRecord(state=JobState.FAILED, error=describe(answer))
        case Succeeded(value=value):
            return CallRecord(state=JobState.SUCCEEDED, value=function.dump_result(value))
        case value:
            return CallRecord(state=JobState.SUCCEEDED, value=function.dump_result(value))


class RecordingSyncDispatcher(SyncDispatcher):
    """A `SyncDispatcher` around a `RecordingDispatcher`, which is its `.recorder`."""

    def __init__(
        self,
        registry: Registry,
        *,
        selector: Selector | None = None,
        rules: Sequence[KeywordRule] = (),
        clock: Clock | None = None,
    ) -> None:
        #: What was dispatched, and how it is answered.
        self.recorder = RecordingDispatcher(registry, selector=selector, rules=rules, clock=clock)
        super().__init__(registry, settings=self.recorder.settings)
        self._inner = self.recorder


def assert_dispatched(
    recorder: RecordingDispatcher | RecordingSyncDispatcher,
    what: Function[..., Any] | Call[Any],
    *,
    times: int | None = None,
    idempotency_key: str | None = None,
) -> list[DispatchedCall]:
    """Assert that a function was dispatched, and give the calls that fit.

    Args:
        recorder: what the code under test dispatched on.
        what: the function, with whatever arguments; or a call, with exactly these.
        times: how often; None for at least once.
        idempotency_key: only calls under this key count.

    Raises:
        AssertionError: it was not, or not so often; lists what was dispatched.
    """
    recorder = recorder.recorder if isinstance(recorder, RecordingSyncDispatcher) else recorder
    found = [
        recorded
        for recorded in recorder.calls
        if _fits(recorded.call, what) and idempotency_key in {None, recorded.idempotency_key}
    ]
    if len(found) == times or (times is None and found):
        return found
    wanted = f"{what.name}(…)" if isinstance(what, Function) else f"{what.function}({what.arguments})"
    if idempotency_key is not None:
        wanted += f" under the key {idempotency_key!r}"
    often = "at least once" if times is None else f"{times} times"
    all_calls = "".join(f"\n  {r.call.function}({r.call.arguments})" for r in recorder.calls) or " nothing"
    msg = f"{wanted} was to be dispatched {often}, and was {len(found)} times; dispatched:{all_calls}"
    raise AssertionError(msg)


def assert_not_dispatched(
    recorder: RecordingDispatcher | RecordingSyncDispatcher, what: Function[..., Any] | Call[Any]
) -> None:
    """Assert that a function was not dispatched, or not with these arguments; see `assert_dispatched`."""
    assert_dispatched(recorder, what, times=0)


def _fits(call: Call[object], what: Function[..., Any] | Call[Any]) -> bool:
    if isinstance(what, Function):
        return call.function == what.name
    return (call.function, call.arguments) == (what.function, what.arguments)
