"""Brings outcomes to the handles that wait for them: one subscription a producer, and a batched look at the store.

An announcement that is lost costs a delay, never a result: what is still awaited is also read from the store.
"""

import asyncio
import logging
import weakref
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

from dispatcher.client.news import Alarms, News
from dispatcher.client.silence import Silence
from dispatcher.client.turns import Turns
from dispatcher.clock import Clock
from dispatcher.errors import Acceptance, ServerError, ServerUnreachableError, ServerUnusableError
from dispatcher.settings import Settings
from dispatcher.transport.announcements import Announcement, Announcements
from dispatcher.transport.failure import SERVER_FAILURES, translate
from dispatcher.transport.keys import Keys
from dispatcher.transport.ledger import AsyncLedger

if TYPE_CHECKING:
    from dispatcher.client.flights import Flight

logger = logging.getLogger(__name__)

#: Announcements handled, and outcomes read, before other tasks of the loop get a turn.
TURN = 25
#: Results read in one round trip.
POLL_LIMIT = 500
#: Ids that are looked through for dropped handles only when there are so many more of them than are awaited.
SLACK = 1_000
#: Seconds between two tries to subscribe again: first, and longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class Pending:
    """An outcome that is awaited. Held by its handle: when the last handle is gone, nobody waits any more."""

    __slots__ = ("__weakref__", "flight", "job_id", "meta", "news", "registered_at")

    def __init__(self, job_id: str, registered_at: float) -> None:
        self.job_id = job_id
        self.registered_at = registered_at
        #: The outcome in Celery's result format, once it is there.
        self.meta: bytes | None = None
        #: Set when the outcome is there, and as long as an outage lasts that waits need not bear.
        self.news = News()
        #: The calls that share it, where any do; they hold it, so it does not hold them.
        self.flight: weakref.ref[Flight] | None = None

    def resolve(self, meta: bytes) -> None:
        if self.meta is not None:
            return
        self.meta = meta
        self.news.set()
        flight = self._shared()
        if flight is not None:
            flight.hear(meta)

    def wake(self) -> None:
        """Let waits look whether the collector has a reason to end them."""
        self.news.set()
        for one in self._shared() or ():
            one.wake()

    def hush(self) -> None:
        """The reason is gone."""
        if self.meta is None:
            self.news.clear()
        for one in self._shared() or ():
            one.hush()

    def _shared(self) -> "Flight | None":
        return None if self.flight is None else self.flight()


class Collector:
    """One a producer; runs in the producer's event loop.

    Args:
        announcements: this producer's subscription.
        ledger: for reading the store.
        keys: names.
        settings: intervals.
        clock: for intervals and outages.
        address: of the server, for errors.
        silence: wonders about what is awaited for long.
    """

    def __init__(
        self,
        announcements: Announcements,
        ledger: AsyncLedger,
        *,
        keys: Keys,
        settings: Settings,
        clock: Clock,
        address: str,
        silence: Silence | None = None,
    ) -> None:
        self._announcements = announcements
        self._ledger = ledger
        self._keys = keys
        self._settings = settings
        self._clock = clock
        self._address = address
        self._silence = silence
        #: What is awaited, or was when it was last looked for in the store, the longest not looked for first.
        self._pending: OrderedDict[str, weakref.ref[Pending]] = OrderedDict()
        #: Dropped handles are looked for when there are more.
        self._many = SLACK
        #: Ended, and shared by calls that may not have ended with it.
        self._shared: weakref.WeakSet[Pending] = weakref.WeakSet()
        self._fetch_now: set[str] = set()
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        #: What to raise from waits: the server has not answered for longer than the settings allow.
        self.outage: ServerError | None = None
        self._last_error: ServerError | None = None
        self._patience: asyncio.TimerHandle | None = None
        self.closed = False
        #: For whoever waits for outcomes: thousands may find theirs at once.
        self.turns = Turns(TURN)
        #: For whoever waits: no wait is without end.
        self.alarms = Alarms()

    async def start(self) -> None:
        """Subscribe. Returns when the subscription stands, so that no announcement after it is missed.

        Raises:
            SERVER_FAILURES: as they came.
        """
        await self._announcements.subscribe()
        self._announcements.on_single = self._hear
        self._tasks = [
            asyncio.create_task(self._listen(), name="dispatcher-collector"),
            asyncio.create_task(self._poll(), name="dispatcher-poll"),
        ]

    async def close(self) -> None:
        """Stop collecting. Who still waits is woken, and finds it closed."""
        self.closed = True
        if self._patience is not None:
            self._patience.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._wake_all()
        self.alarms.forget_ended()
        await self._announcements.close()

    def expect(self, job_id: str) -> Pending:
        """Wait for a job's outcome from now on. Called before the job is accepted, so that none comes too early.

        An outcome that is here already stays with the handles that have it: the job may have been replayed since.
        """
        pending = self._find(job_id)
        if pending is None or pending.meta is not None:
            pending = Pending(job_id, self._clock.monotonic())
            self.register(pending)
        return pending

    def register(self, pending: Pending) -> None:
        """Wait for the outcome of a job for which nobody waits."""
        # Looks stop at the first that is young: one asked about again and again must not stand before the others.
        self._pending.pop(pending.job_id, None)
        self._pending[pending.job_id] = weakref.ref(pending)
        if self.outage is not None or self.closed:
            pending.wake()

    def explain_silence(self) -> None:
        """For who was woken without an outcome: raises what stands in the way, unless it is over already.

        An error of one's own each time: a traceback must not be shared between tasks.
        """
        if self.closed:
            problem = "this Dispatcher was closed while the outcome was awaited"
            raise ServerUnreachableError(self._address, problem, accepted=Acceptance.YES)
        if self.outage is not None:
            raise type(self.outage)(self.outage.address, self.outage.problem, accepted=Acceptance.YES)

    def _find(self, job_id: str) -> Pending | None:
        """What is awaited of a job."""
        found = self._pending.get(job_id)
        return None if found is None else found()

    def server_answered(self) -> None:
        """The server answered another of this producer's requests: an outage, if there was one, is over."""
        self._up()

    def fetch_soon(self, pending: Pending) -> None:
        """Look into the store now: the outcome may have been there before anybody waited."""
        if pending.meta is None:
            self._fetch_now.add(pending.job_id)
            self._wanted.set()

    async def _listen(self) -> None:
        pause, missed = FIRST_PAUSE, False
        while True:
            try:
                await self._announcements.subscribe()
                self._up()
                if missed:
                    # What was announced meanwhile was announced to nobody.
                    self._fetch_now.update(self._pending)
                    self._wanted.set()
                pause, missed = FIRST_PAUSE, False
                await self._receive()
            except SERVER_FAILURES as error:
                missed = True
                self._down(error)
                await self._announcements.close()
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _receive(self) -> None:
        received = 0
        while True:
            for announcement in await self._announcements.next():
                self._hear(announcement)
                received += 1
                if received % TURN == 0:
                    await asyncio.sleep(0)

    def _hear(self, announcement: Announcement) -> None:
        pending = self._find(announcement.job_id)
        if pending is None:
            return
        if announcement.meta:
            self._resolve(pending, announcement.meta)
        else:
            self.fetch_soon(pending)

    async def _poll(self) -> None:
        interval = self._settings.poll_interval_seconds
        while True:
            # Not `wait_for`: where it is wanted in the turn it is cancelled in, Python 3.11's goes on uncancelled.
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                since = await self._read_store()
                if self._silence is not None:
                    await self._silence.look(since)
            except SERVER_FAILURES as error:
                self._down(error)
                await asyncio.sleep(interval)

    async def _read_store(self) -> float | None:
        """Look for the outcomes that were asked for, and for some of those awaited for longer than an interval.

        Returns:
            Since when one of the latter has been awaited that is not there; None where all are.
        """
        asked, self._fetch_now = self._fetch_now, set()
        self._forget_dropped()
        old = self._clock.monotonic() - self._settings.poll_interval_seconds
        looked_for = 0
        for _ in range(len(self._pending)):
            job_id = next(iter(self._pending))
            pending = self._find(job_id)
            if pending is None or pending.meta is not None:
                # Not counted: handles may be dropped faster than outcomes are looked for.
                del self._pending[job_id]
                continue
            if pending.registered_at > old or looked_for == POLL_LIMIT:
                break
            self._pending.move_to_end(job_id)
            asked.add(job_id)
            looked_for += 1
        job_ids = [job_id for job_id in asked if self._find(job_id) is not None]
        if not job_ids and self._patience is not None:
            # Nobody waits now, but who does next must not be told of an outage that is over.
            await self._ledger.ping()
            self._up()
        since: float | None = None
        for start in range(0, len(job_ids), POLL_LIMIT):
            part = job_ids[start : start + POLL_LIMIT]
            metas = await self._ledger.results(self._keys, part)
            self._up()
            for number, (job_id, meta) in enumerate(zip(part, metas, strict=True), 1):
                pending = self._find(job_id)
                if pending is not None and meta is not None:
                    self._resolve(pending, meta)
                elif pending is not None:
                    since = pending.registered_at if since is None else min(since, pending.registered_at)
                if number % TURN == 0:
                    await asyncio.sleep(0)
        return since

    def _forget_dropped(self) -> None:
        """Let go of ids that nobody awaits: where many others are, looks come to them too late."""
        if len(self._pending) > self._many:
            self._pending = OrderedDict(
                (job_id, found) for job_id, found in self._pending.items() if found() is not None
            )
            self._many = 2 * len(self._pending) + SLACK

    def _resolve(self, pending: Pending, meta: bytes) -> None:
        pending.resolve(meta)
        self._pending.pop(pending.job_id, None)
        if pending.flight is not None:
            self._shared.add(pending)

    def _up(self) -> None:
        if self._patience is None:
            return
        logger.info("server_is_back", extra={"address": self._address})
        self._patience.cancel()
        self._patience = self.outage = self._last_error = None
        for pending in self._everybody():
            pending.hush()

    def _down(self, error: Exception) -> None:
        # Never none: who is woken by an outage, and finds no reason, would go on waiting, awake.
        problem = translate(error, self._address, accepted=Acceptance.YES)
        said = f"the server answered what Dispatcher does not understand: {error}"
        self._last_error = problem or ServerUnusableError(self._address, said, accepted=Acceptance.YES)
        if self._patience is None:
            logger.warning("server_is_away", extra={"address": self._address, "reason": str(error)})
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(self._settings.outage_seconds, self._lose_patience)

    def _lose_patience(self) -> None:
        self.outage = self._last_error
        self._wake_all()

    def _wake_all(self) -> None:
        for pending in self._everybody():
            pending.wake()

    def _everybody(self) -> list[Pending]:
        found = [reference() for reference in self._pending.values()]
        return [pending for pending in found if pending is not None] + list(self._shared)
