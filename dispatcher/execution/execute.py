"""Runs one job: lease → decode → resolve → validate → call → classify → settle, a step each."""

import asyncio
import contextvars
import inspect
import logging
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeVar

from dispatcher.clock import Clock, SystemClock
from dispatcher.errors import CallCancelled, CallTimedOut, DispatcherError, LeaseLost
from dispatcher.execution import supervisor
from dispatcher.execution.context import INTERRUPTION_TEXT, Attempt, CurrentJob, set_current_job
from dispatcher.execution.coroutines import CoroutineRunner
from dispatcher.execution.failure import describe, secrets_of
from dispatcher.execution.retry import Retry, decide
from dispatcher.model.call import Call
from dispatcher.model.envelope import Envelope, EnvelopeError
from dispatcher.model.job import CANCELLED_BY_PRODUCER, JobState
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.commands import Command, Commands, Lease, Looked, NoLease
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.outcomes import CallRecord, JobRecord

logger = logging.getLogger(__name__)
T = TypeVar("T")
AnyFunction = Function[..., object]

#: Seconds between two tries to reach a server that is away: first, and longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How this delivery of a wake-up ended, for Celery's events and logs."""

    what: Literal["succeeded", "failed", "retried", "cancelled", "expired", "dropped"]
    #: For people: the value, the error, or why it was dropped; redacted.
    text: str = ""
    #: For a retry.
    wait: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A call that raised."""

    error: BaseException
    record: CallRecord
    #: Whether the function itself raised, so that its retry policy is asked.
    from_function: bool


@dataclass(kw_only=True, eq=False)
class Run:
    """An attempt in progress, with what its calls have come to so far."""

    lease: Lease
    attempt: Attempt
    #: Both on the monotonic clock.
    started: float
    deadline: float
    function: AnyFunction | None = None
    calls: tuple[str, ...] = ("{}",)
    ended: dict[int, CallRecord] = field(default_factory=dict)
    problems: dict[int, Problem] = field(default_factory=dict)


class Executor:
    """Runs jobs for one worker process. Not to be shared across a fork.

    Args:
        registry: the functions this worker may run.
        ledger: a connection of this process's own.
        settings: bounds and intervals.
        clock: for timeouts.
        in_pool_process: whether ending this process harms nobody else, so that a function that does not stop can be
            ended with it.
    """

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        settings: Settings,
        clock: Clock | None = None,
        *,
        in_pool_process: bool = False,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._settings = settings
        self._clock = clock or SystemClock()
        self._commands = Commands(settings, self._clock)
        self._coroutines = CoroutineRunner()
        self._supervisor = supervisor.Supervisor(ledger, self._commands, self._clock, settings, self._abandon)
        self._in_pool_process = in_pool_process
        self._runs: dict[Attempt, Run] = {}

    def execute(self, job_id: str, worker: str) -> Ending:
        """Run the job that a wake-up names, if it is to be run."""
        answer = self._persist(self._commands.lease(job_id, worker, uuid.uuid4().hex))
        if answer is None:
            return Ending(what="dropped", text="the ledger cannot be reached")
        if isinstance(answer, NoLease):
            return self._without_lease(job_id, answer)
        run = self._begin(answer)
        try:
            self._resolve(run)
            self._run_calls(run)
        finally:
            self._supervisor.release(run.attempt)
            self._runs.pop(run.attempt, None)
        return self._settle(run)

    def call_directly(self, function: AnyFunction, arguments: str, job_id: str, timeout: timedelta | None = None) -> str:
        """Run a function for a plain Celery call: no job, no lease; its timeout is kept all the same.

        Returns:
            The result as JSON text.
        """
        now = self._clock.now()
        attempt = Attempt(
            job_id=job_id, token=0, number=1, function=function.name, idempotency_key="", accepted_at=now, deadline_at=now
        )
        self._supervisor.watch(attempt)
        try:
            limit = timeout or self._timeout(function)
            attempt.stop_at = self._clock.monotonic() + limit.total_seconds()
            args, kwargs = function.load_arguments(arguments)
            return function.dump_result(self._invoke(function, args, kwargs, attempt, job=None))
        finally:
            self._supervisor.release(attempt)

    # The steps.

    def _without_lease(self, job_id: str, answer: NoLease) -> Ending:
        logger.info("wake_up_dropped", extra={"job_id": job_id, "reason": answer.reason})
        if answer.reason == "look":
            looked = self._persist(self._commands.look(job_id))
            return Ending(what="dropped", text="late") if looked is None else _ending_of(looked)
        if answer.reason == "settled:cancelled":
            return Ending(what="cancelled", text="cancelled before it was started")
        if answer.reason == "settled:expired":
            return Ending(what="expired", text="expired before it was started")
        return Ending(what="dropped", text=answer.reason)

    def _begin(self, lease: Lease) -> Run:
        attempt = Attempt(
            job_id=lease.job_id,
            token=lease.token,
            number=lease.attempt,
            function=lease.function,
            idempotency_key=lease.idempotency_key,
            accepted_at=lease.accepted_at,
            deadline_at=lease.deadline_at,
        )
        started = self._clock.monotonic()
        deadline = started + lease.time_left.total_seconds()
        run = Run(lease=lease, attempt=attempt, started=started, deadline=deadline, ended=dict(lease.done))
        self._runs[attempt] = run
        self._supervisor.watch(attempt)
        return run

    def _resolve(self, run: Run) -> None:
        """Find the function and the calls; what cannot be found or read fails the whole job."""
        try:
            envelope = Envelope.decode(run.lease.envelope)
            run.calls = envelope.calls
            run.function = self._registry.get(envelope.function)
        except (EnvelopeError, DispatcherError) as error:
            record = CallRecord(state=JobState.FAILED, error=describe(error))
            run.ended = dict.fromkeys(range(len(run.calls)), record)

    def _run_calls(self, run: Run) -> None:
        if run.function is None:
            return
        for index, arguments in enumerate(run.calls):
            if index in run.ended:
                continue
            if run.attempt.interruption in {CallCancelled, LeaseLost} or self._is_past(run.deadline):
                return
            self._run_call(run, run.function, index, arguments)

    def _run_call(self, run: Run, function: AnyFunction, index: int, arguments: str) -> None:
        attempt, from_function, secrets = run.attempt, False, list[str]()
        # A timeout ends one call, not the calls after it.
        attempt.interruption = attempt.interrupted_at = None
        attempt.stop_at = min(run.deadline, self._clock.monotonic() + self._timeout(function).total_seconds())
        try:
            args, kwargs = function.load_arguments(arguments)
            secrets = secrets_of(_named(function, args, kwargs), function.options.sensitive)
            from_function = True
            value = self._invoke(function, args, kwargs, attempt, job=CurrentJob(attempt, self._clock))
            from_function = False
            run.ended[index] = CallRecord(state=JobState.SUCCEEDED, value=function.dump_result(value))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # one of the two places that must survive anything; recorded below
            if isinstance(error, SystemExit) and type(error) is not SystemExit:
                raise  # the worker's own shutdown
            record = CallRecord(state=JobState.FAILED, error=describe(error, secrets))
            run.problems[index] = Problem(error=error, record=record, from_function=from_function)
        finally:
            attempt.stop_at = None

    def _invoke(
        self,
        function: AnyFunction,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        attempt: Attempt,
        job: CurrentJob | None,
    ) -> object:
        """Call the function's own code.

        Raises:
            Interrupted: when it was told to stop and did, however it put it.
            BaseException: what the function raised.
        """
        context = contextvars.copy_context()
        context.run(set_current_job, job)
        call = self._call_coroutine if function.is_async else self._call_function
        try:
            return call(function, args, kwargs, attempt, context)
        except BaseException as error:
            if attempt.interruption is not None and not isinstance(error, attempt.interruption):
                raise attempt.interruption(INTERRUPTION_TEXT[attempt.interruption]) from error
            raise

    def _call_function(
        self,
        function: AnyFunction,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        attempt: Attempt,
        context: contextvars.Context,
    ) -> object:
        attempt.thread = threading.current_thread()
        in_main_thread = attempt.thread is threading.main_thread()
        if in_main_thread:
            supervisor.run_in_main_thread(attempt)
        try:
            attempt.interruptible = True
            if attempt.interruption is not None:
                raise attempt.interruption(INTERRUPTION_TEXT[attempt.interruption])
            return context.run(function.callable, *args, **kwargs)
        finally:
            attempt.interruptible = False
            if in_main_thread:
                supervisor.run_in_main_thread(None)

    def _call_coroutine(
        self,
        function: AnyFunction,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        attempt: Attempt,
        context: contextvars.Context,
    ) -> object:
        async def run() -> object:
            attempt.task = asyncio.current_task()
            if attempt.interruption is not None:
                raise attempt.interruption(INTERRUPTION_TEXT[attempt.interruption])
            return await function.callable(*args, **kwargs)  # type: ignore[misc]  # is_async says it is awaitable

        attempt.waited_for = context.run(self._coroutines.submit, run())
        try:
            return attempt.waited_for.result()
        finally:
            attempt.task = attempt.waited_for = None

    # How it ends.

    def _settle(self, run: Run) -> Ending:
        attempt = run.attempt
        if attempt.abandoned:
            return Ending(what="dropped", text="did not stop in time; settled without it")
        if attempt.interruption is LeaseLost:
            logger.warning("lease_lost", extra={"job_id": attempt.job_id, "attempt": attempt.number})
            return Ending(what="dropped", text="another attempt has the job")
        wait = self._retry_wait(run)
        if wait is not None:
            word = self._persist(self._commands.retry(attempt.job_id, attempt.token, wait, run.ended))
            if word != "cancel":
                first = next(iter(run.problems.values()))
                return self._ended(run, Ending(what="retried", text=_error_text(first.record), wait=wait), word)
            attempt.interruption = CallCancelled
        record = self._record(run)
        word = self._persist(self._commands.settle(attempt.job_id, attempt.token, record, self._keep(run)))
        return self._ended(run, _ending(record, run.function), word)

    def _ended(self, run: Run, ending: Ending, word: str | None) -> Ending:
        extra = {"job_id": run.attempt.job_id, "function": run.attempt.function, "attempt": run.attempt.number}
        if word in {"settled", "scheduled"}:
            logger.log(logging.DEBUG if ending.what == "succeeded" else logging.INFO, "job_" + ending.what, extra=extra)
            return ending
        logger.warning("settlement_did_not_count", extra={**extra, "reason": word or "the ledger cannot be reached"})
        return Ending(what="dropped", text="the outcome did not count: another attempt has the job")

    def _keep(self, run: Run) -> tuple[str, timedelta] | None:
        """Where the result of this job is to be kept for equal calls, and how long; None where it is not."""
        if run.function is None or run.function.options.cache is None or len(run.calls) > 1:
            return None
        call: Call[object] = Call(function=run.function.name, version=run.function.version, arguments=run.calls[0])
        return self._commands.keys.cached(call.function, call.digest), run.function.options.cache

    def _retry_wait(self, run: Run) -> timedelta | None:
        """How long to wait before the calls that failed are tried again; drops those that will not be from `problems`."""
        if run.function is None or run.attempt.interruption is CallCancelled or self._is_past(run.deadline):
            return None
        waits = []
        left = timedelta(seconds=run.deadline - self._clock.monotonic())
        for index, problem in list(run.problems.items()):
            decision = (
                decide(run.function.options.retry, problem.error, failures=run.lease.failures + 1, time_left=left)
                if problem.from_function
                else None
            )
            if isinstance(decision, Retry):
                waits.append(decision.wait)
            else:
                run.ended[index] = problem.record
        return max(waits) if waits else None

    def _record(self, run: Run) -> JobRecord:
        """The outcome of every call; calls that never ran end as the job does."""
        if run.attempt.interruption is CallCancelled:
            rest = CallRecord(state=JobState.CANCELLED, reason=run.attempt.cancel_reason or CANCELLED_BY_PRODUCER)
        else:
            rest = CallRecord(state=JobState.EXPIRED)
        # A call that was stopped by the deadline or by the producer did not fail.
        for index, problem in run.problems.items():
            if isinstance(problem.error, CallCancelled) or (
                isinstance(problem.error, CallTimedOut) and self._is_past(run.deadline)
            ):
                run.ended[index] = rest
            else:
                run.ended.setdefault(index, problem.record)
        calls = tuple(run.ended.get(index, rest) for index in range(len(run.calls)))
        seconds = self._clock.monotonic() - run.started
        return JobRecord(attempts=run.lease.attempt, calls=calls, seconds=seconds)

    def _abandon(self, attempt: Attempt) -> None:
        """Settle an attempt whose function did not stop, from the supervisor's thread; then end its process."""
        run = self._runs.get(attempt)
        logger.error("call_did_not_stop", extra={"job_id": attempt.job_id, "function": attempt.function})
        if run is not None and attempt.interruption is not LeaseLost:
            self._settle_abandoned(run)
        if self._in_pool_process:
            supervisor.end_process()
        if attempt.waited_for is not None:
            attempt.waited_for.cancel()

    def _settle_abandoned(self, run: Run) -> None:
        reason = run.attempt.interruption or CallTimedOut
        error = reason(INTERRUPTION_TEXT[reason] + ", and the function did not stop when told to")
        index = next((i for i in range(len(run.calls)) if i not in run.ended and i not in run.problems), 0)
        record = CallRecord(state=JobState.FAILED, error=describe(error))
        run.problems[index] = Problem(error=error, record=record, from_function=True)
        run.attempt.abandoned = False
        self._settle(run)
        run.attempt.abandoned = True

    def _persist(self, command: Command[T]) -> T | None:
        """Run a command, bearing an outage for as long as the settings say; None if it lasts longer.

        Every command is safe to repeat, so a reply that was lost is simply asked for again.
        """
        give_up = self._clock.monotonic() + self._settings.outage_seconds
        pause = FIRST_PAUSE
        while True:
            try:
                return self._ledger.run(command)
            except SERVER_FAILURES as error:
                if self._is_past(give_up):
                    logger.error("ledger_unreachable", extra={"command": command.script, "reason": str(error)})  # noqa: TRY400
                    return None
            threading.Event().wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _is_past(self, moment: float) -> bool:
        return self._clock.monotonic() >= moment

    def _timeout(self, function: AnyFunction) -> timedelta:
        return function.options.timeout or timedelta(seconds=self._settings.default_timeout_seconds)


def _named(function: AnyFunction, args: tuple[object, ...], kwargs: dict[str, object]) -> Mapping[str, object]:
    """The arguments by name, positional ones too."""
    return inspect.signature(function.callable).bind(*args, **kwargs).arguments if args else kwargs


def _ending(record: JobRecord, function: AnyFunction | None) -> Ending:
    first = record.calls[0]
    if len(record.calls) > 1:
        succeeded = sum(call.state is JobState.SUCCEEDED for call in record.calls)
        what: Literal["succeeded", "failed"] = "succeeded" if succeeded else "failed"
        return Ending(what=what, text=f"{succeeded} of {len(record.calls)} calls succeeded")
    if first.state is JobState.SUCCEEDED:
        hidden = function is not None and function.options.sensitive_result
        return Ending(what="succeeded", text="***" if hidden else first.value or "null")
    if first.state is JobState.FAILED:
        return Ending(what="failed", text=_error_text(first))
    return Ending(what="cancelled" if first.state is JobState.CANCELLED else "expired", text=first.reason)


def _error_text(record: CallRecord) -> str:
    return "" if record.error is None else f"{record.error.type}: {record.error.message}"


def _ending_of(looked: Looked) -> Ending:
    if looked.action == "expired":
        return Ending(what="expired", text="expired before it was started")
    if looked.action == "cancelled":
        return Ending(what="cancelled", text="cancelled")
    if looked.action == "gave_up":
        return Ending(what="failed", text="given up: its worker was lost as often as is allowed")
    return Ending(what="dropped", text="not to be started now")

