"""Equal calls of one producer that share a job: each has its own handle, deadline and cancellation.

The ledger decides which calls share (docs/guarantees.md, "Results that are used again"). Here it is seen to that one of
them does not end another: a job that was cancelled or expired for one of them is taken up again for the others.
"""

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from dispatcher.client.collector import Pending
from dispatcher.clock import Clock
from dispatcher.model.job import CANCELLED_BY_PRODUCER, JobState, Priority
from dispatcher.transport import outcomes

if TYPE_CHECKING:
    from dispatcher.model.call import Call

#: Bytes that the outcome of a job that was cancelled or expired takes at most: it holds no value.
LARGEST_END = 16 * 1024
MOST_RELEASED = 10_000


class Owner(Protocol):
    """What a flight asks of its producer."""

    @property
    def clock(self) -> Clock: ...

    @property
    def released(self) -> "Released":
        """Jobs that it gave up and that go on for others."""
        ...

    async def cancel(self, job_id: str, reason: str, *, hard: bool) -> str:
        """Give the job up, as far as no other producer shares it: the ledger's word."""
        ...

    def rejoin(self, flight: "Flight") -> None:
        """Have the ledger know again that this producer shares the job."""
        ...

    def take_up(self, flight: "Flight", left: "Sequence[Interest]", meta: bytes) -> None:
        """Have these calls run by another job; where that cannot be, they end as `meta` says."""
        ...


class Released:
    """Ids of jobs that the ledger no longer counts this producer among the sharers of; the last `MOST_RELEASED`.

    They outlive the flight: the answer to a call that joined before may come when its last handle is gone.
    """

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, job_id: str) -> None:
        """One more; the oldest is forgotten, which costs a call of its a delay."""
        self._ids[job_id] = None
        if len(self._ids) > MOST_RELEASED:
            self._ids.popitem(last=False)

    def take(self, job_id: str) -> bool:
        """Whether it is one of them; it is none any more."""
        if job_id not in self._ids:
            return False
        del self._ids[job_id]
        return True


class Interest(Pending):
    """One call's share in a job.

    Args:
        flight: the job.
        over_at: when this call expires, on the monotonic clock.
        leads: whether the job is this call's own, so that it ends as the job does.
    """

    __slots__ = ("_timer", "given_up", "leads", "over_at", "shares")

    def __init__(self, flight: "Flight", now: float, *, over_at: float, leads: bool) -> None:
        super().__init__(flight.source.job_id, now)
        self.shares = flight
        self.over_at = over_at
        self.leads = leads
        #: Its handle was cancelled.
        self.given_up = False
        self._timer: asyncio.TimerHandle | None = None

    def resolve(self, meta: bytes) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().resolve(meta)

    def expire_in(self, seconds: float) -> None:
        """End as Expired at this call's own deadline, which may come before the job's."""
        if self._timer is None and self.meta is None:
            own = weakref.ref(self)
            self._timer = asyncio.get_running_loop().call_later(max(seconds, 0), _expire, own)
            # Handles may be let go much faster than deadlines come.
            weakref.finalize(self, self._timer.cancel).atexit = False

    async def give_up(self, reason: str, *, hard: bool) -> bool:
        """See `Handle.cancel`."""
        return await self.shares.give_up(self, reason, hard=hard)


class Flight:
    """A job, and this producer's calls that share it. Lives as long as one of their handles.

    Args:
        source: the job's outcome.
        call: what it runs.
        priority: of the first call.
        owner: of them all.
    """

    def __init__(self, source: Pending, call: "Call[Any]", priority: Priority | None, owner: Owner) -> None:
        self.source = source
        self.call = call
        self.priority = priority
        self._owner = owner
        self._interests: weakref.WeakSet[Interest] = weakref.WeakSet()
        #: Calls that were not given up; those whose handles were let go still want their job to run.
        self._wanted = 0

    def __iter__(self) -> Iterator[Interest]:
        return iter(list(self._interests))

    def join(self, time_left: timedelta, *, leads: bool) -> Interest:
        """Another call that shares it."""
        now = self._owner.clock.monotonic()
        interest = Interest(self, now, over_at=now + time_left.total_seconds(), leads=leads)
        self.add(interest)
        return interest

    def add(self, interest: Interest) -> None:
        """Take over a call that shared another job."""
        interest.shares, interest.job_id = self, self.source.job_id
        self._interests.add(interest)
        self._wanted += 1
        self._rejoin()
        if self.source.news.is_set():
            interest.wake()
        if self.source.meta is not None:
            self._end([interest], self.source.meta)
        elif not interest.leads:
            interest.expire_in(interest.over_at - self._owner.clock.monotonic())

    def hear(self, meta: bytes) -> None:
        """The job has its outcome."""
        self._end(list(self), meta)

    def expire(self, interest: Interest) -> None:
        """A call's own deadline has come."""
        if interest.meta is None:
            self._wanted -= not interest.given_up
            interest.resolve(self._meta(JobState.EXPIRED))

    async def give_up(self, interest: Interest, reason: str, *, hard: bool) -> bool:
        """End one call as Cancelled; the job with it where no other call wants it."""
        if interest.meta is not None:
            return False
        if not interest.given_up:
            interest.given_up = True
            self._wanted -= 1
        if self._wanted > 0:
            interest.resolve(self._meta(JobState.CANCELLED, reason))
            return True
        try:
            word = await self._owner.cancel(self.source.job_id, reason, hard=hard)
        except BaseException:
            interest.given_up = False
            self._wanted += 1
            raise
        if word == "released":
            self._owner.released.add(self.source.job_id)
            interest.resolve(self._meta(JobState.CANCELLED, reason))
            self._rejoin()
        return word in {"cancelled", "requested", "released"}

    def _rejoin(self) -> None:
        """A call may have joined while the last one before it was giving the job up."""
        if self._wanted > 0 and self._owner.released.take(self.source.job_id):
            self._owner.rejoin(self)

    def _end(self, interests: Sequence[Interest], meta: bytes) -> None:
        now, left = self._owner.clock.monotonic(), list[Interest]()
        by_others = _is_given_up(meta)
        for interest in interests:
            if interest.meta is not None:
                continue
            if by_others and not interest.leads and not interest.given_up and interest.over_at > now:
                left.append(interest)
            else:
                interest.resolve(meta)
        if left:
            self._owner.take_up(self, left, meta)

    def _meta(self, state: JobState, reason: str = "") -> bytes:
        reason = reason or (CANCELLED_BY_PRODUCER if state is JobState.CANCELLED else "")
        record = outcomes.without_value(state, attempts=0, reason=reason)
        return outcomes.encode(self.source.job_id, record, self._owner.clock.now()).encode()


def flight_of(source: Pending, make: Callable[[], Flight]) -> Flight:
    """The calls that share a job: those there are, or a new flight."""
    flight = None if source.flight is None else source.flight()
    if flight is None:
        flight = make()
        source.flight = weakref.ref(flight)
    return flight


def _expire(own: "weakref.ref[Interest]") -> None:
    interest = own()
    if interest is not None:
        interest.shares.expire(interest)


def _is_given_up(meta: bytes) -> bool:
    """Whether the job ended as Cancelled or Expired."""
    if len(meta) > LARGEST_END or b'"REVOKED"' not in meta:
        return False
    return outcomes.decode(meta).calls[0].state in {JobState.CANCELLED, JobState.EXPIRED}
