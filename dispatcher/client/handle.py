"""What the producer holds of a dispatched call: await it, ask about it, cancel it."""

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dispatcher.client.flights import Interest
from dispatcher.client.verdicts import Opinion
from dispatcher.errors import (
    CallCancelledError,
    CallExpiredError,
    CallFailedError,
    NoSelectionError,
    OutcomeTimeoutError,
    ResultError,
)
from dispatcher.model.duration import check_duration
from dispatcher.model.job import JobState, JobStatus
from dispatcher.model.outcome import Cancelled, ErrorInfo, ErrorKind, Expired, Failed, Outcome, Succeeded
from dispatcher.registry.function import Function
from dispatcher.selection.selection import Selection
from dispatcher.selection.selector import ConversationState
from dispatcher.transport import outcomes
from dispatcher.transport.outcomes import CallRecord, JobRecord

if TYPE_CHECKING:
    from dispatcher.client.chooser import Chooser
    from dispatcher.client.collector import Pending
    from dispatcher.client.producer import Producer

R_co = TypeVar("R_co", covariant=True)

#: Bytes of an outcome above which it is read on a thread, so that the event loop is not held.
READ_ON_THREAD = 64 * 1024
#: What the sweeper is given after the deadline to record that a job expired.
DEADLINE_GRACE = timedelta(seconds=15)


class Handle(Generic[R_co]):
    """A dispatched call. Several tasks may await it; cancelling an await does not cancel the call."""

    def __init__(
        self,
        producer: "Producer",
        pending: "Pending",
        function: Function[..., Any],
        deadline_at: datetime,
        *,
        time_left: timedelta | None = None,
        repeated: bool = False,
        cached: bool = False,
        shared: bool = False,
        record: JobRecord | None = None,
    ) -> None:
        self._producer = producer
        #: The one that brings this outcome: a dispatcher that is started again has another.
        self._collector = producer.collector
        self._pending = pending
        self._function = function
        self._outcome: Outcome[R_co] | None = None
        #: How it ended, where that needs no reading.
        self._record = record
        #: When the job expires, aware, in UTC, by the server's clock.
        self.deadline_at = deadline_at
        if time_left is None:
            time_left = max(deadline_at - producer.clock.now(), timedelta(0))
        # On a clock of our own, which may be set otherwise than the server's.
        # As seconds: the longest timedelta there is has no longer one.
        wait_seconds = time_left.total_seconds() + DEADLINE_GRACE.total_seconds()
        self._over_at = producer.clock.monotonic() + wait_seconds
        #: Whether the idempotency key named a job that existed already; this is a handle on that job.
        self.repeated = repeated
        #: Whether the outcome came from the result cache; the ledger then knows no job of this id.
        self.cached = cached
        #: Whether the call joined the job that ran for an equal one already; this is a handle on that job.
        self.shared = shared
        #: What selected the function; None where the caller named it.
        self.selection: Selection | None = None
        self._state: ConversationState | None = None
        self._chooser: Chooser | None = None

    def _remember(self, selection: Selection, state: ConversationState | None, chooser: "Chooser") -> None:
        """Keep what selected this call, for feedback."""
        self.selection, self._state, self._chooser = selection, state, chooser

    def __repr__(self) -> str:
        return f"<Handle {self.id} of {self.function}{'' if self._outcome is None else f': {self._outcome}'}>"

    @property
    def id(self) -> str:
        """The job's id: the Celery task id too.

        Where equal calls share a job, and that job was cancelled or expired for another of them, this call has another.
        """
        return self._pending.job_id

    @property
    def function(self) -> str:
        """The function's registered name."""
        return self._function.name

    @property
    def done(self) -> bool:
        """Whether the outcome is here already."""
        return self._pending.meta is not None

    async def outcome(self, timeout: timedelta | None = None) -> Outcome[R_co]:
        """Wait for the outcome, as data.

        Args:
            timeout: how long to wait. None waits until the job's own deadline; no wait is without end.

        Raises:
            OutcomeTimeoutError: it did not come in time. The job goes on.
            TypeError: `timeout` is no timedelta.
            UnknownJobError: it came so long ago that it is no longer kept.
            ServerError: the server has been away for longer than `outage_seconds`, or the dispatcher was closed. The
                job is not lost.
        """
        if self._outcome is None:
            record = self._record or await decode(await self._wait(timeout))
            self._outcome = read_single(self._function, self.id, record)
            self._note_misfit(self._outcome)
        return self._outcome

    async def outcomes(self, timeout: timedelta | None, *, calls: int) -> tuple[Outcome[R_co], ...]:
        """Wait for the outcomes of a job of many calls, in the order of its calls."""
        return read_outcomes(self._function, await self.record(timeout), calls)

    async def record(self, timeout: timedelta | None = None) -> JobRecord:
        """Wait for the record that was stored, its values still as JSON text."""
        if self._record is not None:
            return self._record
        return await decode(await self._wait(timeout))

    async def result(self, timeout: timedelta | None = None) -> R_co:
        """Wait for the value the function returned.

        Raises:
            CallFailedError, CallCancelledError, CallExpiredError: the call ended otherwise; see `.outcome`.
            OutcomeTimeoutError, ServerError: as `outcome` does.
        """
        outcome = await self.outcome(timeout)
        match outcome:
            case Succeeded(value=value):
                return value
            case Failed():
                raise CallFailedError(self.id, outcome)
            case Cancelled():
                raise CallCancelledError(self.id, outcome)
            case Expired():
                raise CallExpiredError(self.id, outcome)

    async def status(self) -> JobStatus:
        """Ask the ledger what it knows of the job now.

        Raises:
            UnknownJobError: its record is older than outcomes are kept.
            ServerError: the server cannot be asked.
        """
        return await self._producer.status(self.id)

    async def cancel(self, reason: str = "", *, hard: bool = False) -> bool:
        """Cancel the job.

        A job that waits ends at once. A running one is told to stop: an `async def` is cancelled, a `def` is
        interrupted where it runs in a process of its own, or sees `current_job().cancelled`. With `hard`, the outcome
        is Cancelled at once, whatever the function still does, and a process whose function does not stop is ended.

        Where other calls share the job (functions with `cache`), the outcome of this one is Cancelled at once, and the
        job goes on for the others; the last of them cancels it.

        Returns:
            False when it had its outcome already.

        Raises:
            UnknownJobError, ServerError: as `status` does.
        """
        if self.cached:
            return False
        if isinstance(self._pending, Interest):
            return await self._pending.give_up(reason, hard=hard)
        return await self._producer.cancel(self.id, reason, hard=hard)

    async def feedback(
        self,
        *,
        right: bool | None = None,
        function: Function[..., Any] | str | None = None,
        nothing: bool = False,
        source: str | None = None,
    ) -> None:
        """Say whether the function was the right one for the text, or which would have been.

        Raises:
            NoSelectionError: the function was not selected by text: the handle is not one of `dispatch_text`.
            ValueError, UnknownFunctionError, FeedbackRefusedError, ServerError: as `Dispatcher.feedback` does.
        """
        if self.selection is None:
            msg = (
                f"job {self.id} was not dispatched by text here, so there is no selection to say anything of; "
                "give `dispatcher.feedback(selection, …)` the selection itself"
            )
            raise NoSelectionError(msg)
        opinion = Opinion(right=right, function=function, nothing=nothing)
        await self._producer._learn(self.selection, opinion, self._state, source)  # noqa: SLF001 - two halves of one thing

    def _note_misfit(self, outcome: Outcome[Any]) -> None:
        """Arguments that the worker found not to fit speak against the function that was selected."""
        if self._chooser is None or self.selection is None or not isinstance(outcome, Failed):
            return
        if outcome.error.kind is ErrorKind.INVALID_ARGUMENTS:
            self._chooser.note_misfit(self.selection, self._state)

    async def _wait(self, timeout: timedelta | None) -> bytes:
        if timeout is not None:
            check_duration("timeout", timeout)
        pending, clock, collector = self._pending, self._producer.clock, self._collector
        if pending.meta is not None:
            # Thousands may find theirs at once.
            await collector.turns.take()
            return pending.meta
        began = clock.monotonic()
        until = self._over_at if timeout is None else began + timeout.total_seconds()
        while pending.meta is None:
            heard = await collector.alarms.wait(pending.news, max(0.0, until - clock.monotonic()))
            if pending.meta is not None:
                break
            if not heard:
                if timeout is None:
                    # Past its deadline it has an outcome, or has had one, longer ago than outcomes are kept.
                    await self._producer.status(self.id)
                raise OutcomeTimeoutError(self.id, timedelta(seconds=round(clock.monotonic() - began, 3)))
            collector.explain_silence()
            await asyncio.sleep(0)  # what stood in the way is gone: who woke this wait says so in its turn
        return pending.meta


async def decode(meta: bytes) -> JobRecord:
    """Read a stored outcome, without holding the event loop up. Raises as `outcomes.decode` does."""
    if len(meta) > READ_ON_THREAD:
        return await asyncio.to_thread(outcomes.decode, meta)
    return outcomes.decode(meta)


def read_single(function: Function[..., R_co], job_id: str, record: JobRecord) -> Outcome[R_co]:
    """The outcome of a job of one call.

    Raises:
        ResultError: it has more, or its value does not fit the return type as this producer knows it.
    """
    if len(record.calls) != 1:
        msg = f"job {job_id} holds {len(record.calls)} calls, as `map` makes them: wait for its `record()` instead"
        raise ResultError(msg)
    return read_outcome(function, record.calls[0], record.attempts)


def read_outcomes(function: Function[..., Any], record: JobRecord, calls: int) -> tuple[Outcome[Any], ...]:
    """The outcome of each call of a job."""
    return tuple(read_outcome(function, entry, record.attempts) for entry in entries_of(record, calls))


def entries_of(record: JobRecord, calls: int) -> tuple[CallRecord, ...]:
    """The record of each call of a job; one entry of a job of many stands for all of them."""
    return record.calls * calls if len(record.calls) == 1 else record.calls


def read_outcome(function: Function[..., Any], call: CallRecord, attempts: int) -> Outcome[Any]:
    """One call's outcome, its value read as the function's return type.

    Raises:
        ResultError: the value does not fit the return type as this producer knows it.
    """
    if call.state is JobState.SUCCEEDED:
        return Succeeded(value=function.load_result(call.value or "null"), attempts=attempts)
    if call.state is JobState.CANCELLED:
        return Cancelled(reason=call.reason, attempts=attempts)
    if call.state is JobState.EXPIRED:
        return Expired(attempts=attempts)
    unknown = ErrorInfo(kind=ErrorKind.FUNCTION, type="Exception", message="no error was recorded")
    return Failed(error=call.error or unknown, attempts=attempts)
