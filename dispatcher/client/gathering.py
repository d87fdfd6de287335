"""`gather`: calls that are dispatched at once and whose outcomes are awaited at once, without a task for each.

A task, two futures and five turns of the event loop for each call cost more than all that is done for it:
`benchmarks.calls --only separate`.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from dispatcher.client.collector import Pending
from dispatcher.client.handle import DEADLINE_GRACE, decode, read_single
from dispatcher.client.jobs import check_call
from dispatcher.client.news import News
from dispatcher.errors import OutcomeTimeoutError
from dispatcher.model.call import Call
from dispatcher.model.outcome import Outcome

if TYPE_CHECKING:
    from dispatcher.client.dispatcher import Dispatcher
    from dispatcher.registry.function import Function
    from dispatcher.transport.replies import Accepted

R = TypeVar("R")

#: Jobs made, and outcomes read, before other tasks of the loop get a turn.
JOBS, OUTCOMES = 100, 25


async def gather(dispatcher: "Dispatcher", calls: Sequence[Call[R]]) -> list[Outcome[R]]:
    """As `Dispatcher.gather`."""
    _check(calls)
    registry = dispatcher.registry
    names = {call.function for call in calls}
    if any(name in registry and registry.get(name).options.cache is not None for name in names):
        return await gather_each(dispatcher, calls)
    return await Gathering(dispatcher, calls).run()


async def gather_each(dispatcher: "Dispatcher", calls: Sequence[Call[R]]) -> list[Outcome[R]]:
    """As `gather`, with a task for each call."""
    _check(calls)

    async def run(call: Call[R]) -> Outcome[R]:
        handle = await dispatcher.dispatch(call)
        return await handle.outcome()

    return list(await asyncio.gather(*(run(call) for call in calls)))


def _check(calls: Sequence[Call[R]]) -> None:
    """Before any is dispatched."""
    for call in calls:
        check_call(call)


class _Gathered(Pending):
    """One of the calls: hears that its job was accepted, and how it ended."""

    __slots__ = ("_gathering", "accepted_at", "answered", "index", "seconds")

    def __init__(self, gathering: "Gathering[Any]", index: int, job_id: str, now: float, *, seconds: float) -> None:
        super().__init__(job_id, now)
        self._gathering = gathering
        self.index = index
        #: How long its outcome is waited for, and since when on the monotonic clock.
        self.seconds = seconds
        self.accepted_at = inf
        #: Whether it is known that it was accepted, or was not.
        self.answered = False

    @property
    def over_at(self) -> float:
        """When its outcome is waited for no longer, on the monotonic clock."""
        return self.accepted_at + self.seconds

    # --- what the acceptor tells

    def done(self) -> bool:
        return self.answered or self._gathering.cancelled

    def set_result(self, accepted: "Accepted") -> None:
        self.answered = True
        self._gathering.note_accepted(self, accepted)

    def set_exception(self, error: Exception) -> None:
        self.answered = True
        self._gathering.fail(error)

    # --- what the collector tells

    def resolve(self, meta: bytes) -> None:
        if self.meta is None:
            super().resolve(meta)
            self._gathering.note_ended(self)

    def wake(self) -> None:
        super().wake()
        self._gathering.news.set()


class Gathering(Generic[R]):
    """One run of `gather`.

    Args:
        dispatcher: what takes the calls.
        calls: none of a function that keeps its results.
    """

    def __init__(self, dispatcher: "Dispatcher", calls: Sequence[Call[R]]) -> None:
        self._dispatcher = dispatcher
        self._collector = dispatcher.collector
        self._calls = calls
        #: Nobody waits for it: what was not sent is not sent.
        self.cancelled = False
        #: Of what is waited for something has come, or something stands in the way.
        self.news = News()
        #: Accepted, and not read yet.
        self._awaited: dict[int, _Gathered] = {}
        self._ended: deque[_Gathered] = deque()
        self._outcomes: dict[int, Outcome[R]] = {}
        self._error: Exception | None = None
        #: When the first of those awaited is waited for no longer, or earlier.
        self._over_at = inf

    async def run(self) -> list[Outcome[R]]:
        """The outcomes, in the order of the calls. Raises as `Dispatcher.gather` says."""
        # Goes on where a call is refused: the others run all the same.
        submitting = asyncio.get_running_loop().create_task(self._submit())
        try:
            while len(self._outcomes) < len(self._calls):
                self.news.clear()
                await self._read()
                if self._error is not None:
                    raise self._error
                if len(self._outcomes) < len(self._calls):
                    await self._wait()
        except asyncio.CancelledError:
            self.cancelled = True
            submitting.cancel()
            raise
        finally:
            self._awaited.clear()
        return [self._outcomes[index] for index in range(len(self._calls))]

    # --- jobs -----------------------------------------------------------------------------------------------------

    async def _submit(self) -> None:
        for index, call in enumerate(self._calls):
            try:
                self._submit_one(index, call)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with a call is no other's matter
                self.fail(error)
            if (index + 1) % JOBS == 0:
                await asyncio.sleep(0)

    def _submit_one(self, index: int, call: Call[R]) -> None:
        dispatcher = self._dispatcher
        job = dispatcher._make_job([call])  # noqa: SLF001 - two halves of one thing
        # As seconds: the longest timedelta there is has no longer one.
        seconds = job.deadline.total_seconds() + DEADLINE_GRACE.total_seconds()
        one = _Gathered(self, index, job.id, dispatcher.clock.monotonic(), seconds=seconds)
        self._collector.register(one)
        dispatcher._connected.acceptor.submit(job, one)  # noqa: SLF001

    def note_accepted(self, one: _Gathered, accepted: "Accepted") -> None:
        """One of the calls has a job."""
        self._collector.server_answered()
        if one.meta is not None:
            return
        one.accepted_at = self._dispatcher.clock.monotonic()
        self._awaited[one.index] = one
        if not accepted.new:
            self._collector.fetch_soon(one)
        if one.over_at < self._over_at:
            self._over_at = one.over_at
            self.news.set()

    def fail(self, error: Exception) -> None:
        """One of the calls has none."""
        if self._error is None:
            self._error = error
            self.news.set()

    # --- outcomes -------------------------------------------------------------------------------------------------

    def note_ended(self, one: _Gathered) -> None:
        """One of the calls has its outcome."""
        self._ended.append(one)
        self.news.set()

    async def _read(self) -> None:
        read = 0
        while self._ended:
            one = self._ended.popleft()
            function = cast("Function[..., R]", self._dispatcher.registry.get(self._calls[one.index].function))
            record = await decode(one.meta or b"")
            self._outcomes[one.index] = read_single(function, one.job_id, record)
            self._awaited.pop(one.index, None)
            read += 1
            if read % OUTCOMES == 0:
                await asyncio.sleep(0)

    async def _wait(self) -> None:
        """Wait until there is something to read, to raise, or to wait for less long.

        Raises:
            ServerError: what stands in the way of what was accepted.
            OutcomeTimeoutError, UnknownJobError: as `Handle.outcome` does.
        """
        if self._awaited:
            self._collector.explain_silence()
        now = self._dispatcher.clock.monotonic
        if await self._collector.alarms.wait(self.news, max(0.0, self._over_at - now())):
            return
        for one in self._awaited.values():
            if one.meta is None and one.over_at <= now():
                await self._dispatcher.status(one.job_id)
                raise OutcomeTimeoutError(one.job_id, timedelta(seconds=round(now() - one.accepted_at, 3)))
        self._over_at = min((one.over_at for one in self._awaited.values()), default=inf)
