"""Calls of functions that keep their results: found, or shared with equal calls that are under way, or run."""

import asyncio
import logging
import uuid
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from dispatcher.client.collector import Pending
from dispatcher.client.flights import Flight, Interest, Released, flight_of
from dispatcher.client.handle import Handle
from dispatcher.client.jobs import time_left
from dispatcher.clock import Clock
from dispatcher.errors import DispatcherError
from dispatcher.model.call import Call
from dispatcher.model.job import Priority
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.transport import outcomes
from dispatcher.transport.cache import (
    NOT_READ,
    Found,
    ResultCache,
    Wanted,
    entry_name,
    function_topic,
    read_entry,
    tag_topic,
    topics_of,
    version_topic,
)
from dispatcher.transport.outcomes import CallRecord, JobRecord

if TYPE_CHECKING:
    from dispatcher.client.producer import Producer
    from dispatcher.transport.replies import Accepted

logger = logging.getLogger(__name__)
R = TypeVar("R")

#: The call was not accepted again, or what is kept of an equal one cannot be read.
NOT_TAKEN_UP: tuple[type[Exception], ...] = (DispatcherError, *NOT_READ)


class CachedCalls:
    """Of one producer.

    Args:
        producer: whose they are.
        cache: where they are looked for.
    """

    def __init__(self, producer: "Producer", cache: ResultCache) -> None:
        self._producer = producer
        self._cache = cache
        self.released = Released()
        #: What flights have asked for.
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def clock(self) -> Clock:
        """The dispatcher's."""
        return self._producer.clock

    async def close(self) -> None:
        """Wait for what flights have asked for: what is taken up again is accepted, or ends."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._cache.close()

    async def dispatch(
        self,
        call: Call[R],
        *,
        deadline: timedelta | datetime | None,
        delay: timedelta | None,
        priority: Priority | None,
    ) -> Handle[R]:
        """As `Dispatcher.dispatch`, for a function that keeps its results."""
        producer = self._producer
        function = producer.registry.get(call.function)
        # One that is to run later is not to have what runs now.
        may_share = not delay
        queue = function.options.queue_of(priority or function.options.priority)
        found = await self._look_up(_wanted(function, call, queue if may_share else ""))
        kept: Handle[R] | None = self._ended(function, found.entry)
        if kept is not None:
            return kept
        if not may_share:
            return await producer.dispatch_job([call], deadline=deadline, delay=delay, priority=priority)
        if found.job_id is not None and found.deadline_at is not None:
            default = timedelta(seconds=producer.settings.default_deadline_seconds)
            left = time_left(function, deadline, default=default, now=self.clock.now())
            interest = self._share(found.job_id, call, priority).join(left, leads=False)
            return Handle(producer, interest, function, found.deadline_at, time_left=left, shared=True)
        job, pending, accepted = await producer._accept(  # noqa: SLF001 - two halves of one thing
            [call], deadline=deadline, priority=priority, shared=True
        )
        if accepted.entry is not None:
            kept = self._ended(function, accepted.entry)
            return kept or await producer.dispatch_job([call], deadline=deadline, priority=priority)
        interest = self._flight(pending, call, priority, accepted).join(job.deadline, leads=accepted.new)
        return Handle(
            producer,
            interest,
            function,
            accepted.deadline_at,
            time_left=job.deadline,
            shared=accepted.shared,
        )

    async def find(self, function: Function[..., Any], calls: Sequence[Call[Any]]) -> list[CallRecord | None]:
        """How equal calls have ended; None for each of which nothing is kept."""
        try:
            found = await self._cache.find_many([_wanted(function, call) for call in calls])
            return [None if one.entry is None else read_entry(one.entry) for one in found]
        except NOT_READ as error:
            _log(function.name, error)
            return [None] * len(calls)

    # --- what a flight asks for

    async def cancel(self, job_id: str, reason: str, *, hard: bool) -> str:
        """Give a job up, as far as no other producer shares it."""
        producer = self._producer
        return await producer._give_up(  # noqa: SLF001 - two halves of one thing
            job_id, reason, hard=hard, producer=producer.producer
        )

    def rejoin(self, flight: Flight) -> None:
        """Have the ledger know again that this producer shares a job."""
        self._do(self._rejoin(flight))

    def take_up(self, flight: Flight, left: Sequence[Interest], meta: bytes) -> None:
        """Have calls run by another job: theirs was cancelled, or expired, for another call."""
        self._do(self._take_up(flight, left, meta))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _rejoin(self, flight: Flight) -> None:
        producer = self._producer
        try:
            await producer.ledger.run(producer.commands.rejoin(flight.source.job_id, producer.producer))
        except NOT_READ as error:
            # The outcome is found in the store all the same, a little later.
            _log(flight.call.function, error)
        # It may have ended before.
        producer.collector.fetch_soon(flight.source)

    async def _take_up(self, flight: Flight, left: Sequence[Interest], meta: bytes) -> None:
        first = max(left, key=lambda interest: interest.over_at)
        seconds = max(first.over_at - self.clock.monotonic(), 0.001)
        try:
            _, pending, accepted = await self._producer._accept(  # noqa: SLF001 - two halves of one thing
                [flight.call], deadline=timedelta(seconds=seconds), priority=flight.priority, shared=True
            )
            if accepted.entry is not None:
                meta = self._meta(accepted.job_id, read_entry(accepted.entry))
        except NOT_TAKEN_UP as error:
            logger.warning("shared_call_not_taken_up", extra={"job_id": flight.source.job_id, "reason": str(error)})
            _end_all(left, meta)
            return
        if accepted.entry is not None:
            _end_all(left, meta)
            return
        following = self._flight(pending, flight.call, flight.priority, accepted)
        first.leads = accepted.new
        for interest in left:
            if interest.meta is None:
                following.add(interest)
        if accepted.new and not list(following):
            await self.cancel(accepted.job_id, "", hard=False)

    # --- the rest

    def _flight(self, pending: Pending, call: Call[Any], priority: Priority | None, accepted: "Accepted") -> Flight:
        if accepted.new:
            return flight_of(pending, partial(Flight, pending, call, priority, self))
        return self._share(accepted.job_id, call, priority)

    def _share(self, job_id: str, call: Call[Any], priority: Priority | None) -> Flight:
        collector = self._producer.collector
        pending = collector.expect(job_id)
        # It may have ended before we were registered with it.
        collector.fetch_soon(pending)
        return flight_of(pending, partial(Flight, pending, call, priority, self))

    async def _look_up(self, wanted: Wanted) -> Found:
        try:
            return await self._cache.find(wanted)
        except NOT_READ as error:
            _log(wanted.function, error)
            return Found()

    def _ended(self, function: Function[..., Any], entry: str | None) -> Handle[Any] | None:
        """A handle that has its outcome already, with no job behind it; None where nothing readable is kept."""
        if entry is None:
            return None
        try:
            ended = read_entry(entry)
        except NOT_READ as error:
            _log(function.name, error)
            return None
        pending = Pending(str(uuid.uuid4()), self.clock.monotonic())
        pending.resolve(b"")
        record = JobRecord(attempts=0, calls=(ended,))
        return Handle(self._producer, pending, function, self.clock.now(), cached=True, record=record)

    def _meta(self, job_id: str, ended: CallRecord) -> bytes:
        return outcomes.encode(job_id, JobRecord(attempts=0, calls=(ended,)), self.clock.now()).encode()


def _end_all(interests: Sequence[Interest], meta: bytes) -> None:
    for interest in interests:
        interest.resolve(meta)


def to_invalidate(
    registry: Registry, what: Function[..., Any] | Call[Any] | str | None, version: str | None, tag: str | None
) -> tuple[list[str], list[str]]:
    """The topics and the single calls that `Dispatcher.invalidate` is to make useless; raises as it says."""
    if (what is None) == (tag is None) or (version is not None and (what is None or isinstance(what, Call))):
        msg = "say what to invalidate: a function, with a version or without; a call; or a tag"
        raise ValueError(msg)
    if tag is not None:
        return [tag_topic(tag)], []
    if isinstance(what, Call):
        return [], [entry_name(what)]
    name = registry.get(what if isinstance(what, str) else _name_of(what)).name
    return [function_topic(name) if version is None else version_topic(name, version)], []


def _name_of(function: Function[..., Any] | None) -> str:
    return "" if function is None else function.name


def _wanted(function: Function[..., Any], call: Call[Any], queue: str = "") -> Wanted:
    return Wanted(name=entry_name(call), topics=topics_of(function, call.version), function=function.name, queue=queue)


def _log(function: str, error: Exception) -> None:
    logger.info("cache_not_read", extra={"function": function, "reason": str(error)})
