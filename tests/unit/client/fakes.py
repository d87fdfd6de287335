"""A producer without a server: a ledger, announcements and a publisher that do what a test says."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from redis.exceptions import ConnectionError as ServerGoneError

from dispatcher.client.acceptor import Acceptor
from dispatcher.client.collector import Collector
from dispatcher.client.connection import TURN, Connection
from dispatcher.client.dispatcher import Dispatcher
from dispatcher.client.turns import Turns
from dispatcher.model.job import Job, JobState, JobStatus
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.testing import FakeClock
from dispatcher.transport import outcomes
from dispatcher.transport.admission import Admission
from dispatcher.transport.announcements import Announcement, Announcements
from dispatcher.transport.keys import Keys
from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.outcomes import CallRecord, JobRecord
from dispatcher.transport.replies import Accepted
from dispatcher.transport.script import Command, milliseconds

ADDRESS = "redis://server:6379/0"


def connection_broke() -> Exception:
    """What redis-py raises when the connection breaks after the request was sent: it may have been carried out."""
    return ServerGoneError("Connection closed by server.")


def never_connected() -> Exception:
    """What redis-py raises when nobody listens: nothing was sent."""
    return ServerGoneError("Error 111 connecting to server:6379. Connection refused.")


async def settle() -> None:
    """Let everything run that can run now."""
    for _ in range(30):
        await asyncio.sleep(0)


def meta_of(job_id: str, *values: str, seconds: float = 0.0) -> bytes:
    """The stored outcome of a job whose calls returned these JSON texts."""
    calls = tuple(CallRecord(state=JobState.SUCCEEDED, value=value) for value in values)
    return meta_with(job_id, *calls, seconds=seconds)


def meta_with(job_id: str, *calls: CallRecord, attempts: int = 1, seconds: float = 0.0) -> bytes:
    """The stored outcome of a job whose calls ended so."""
    record = JobRecord(attempts=attempts, calls=calls, seconds=seconds)
    return outcomes.encode(job_id, record, FakeClock().now()).encode()


class FakeLedger:
    """Accepts everything, until `failures` or `answers` say otherwise; holds the outcomes that are put into it."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        #: Raised by the next exchanges, one each, before they do anything.
        self.failures: list[Exception] = []
        #: Raised by every exchange as long as it is set.
        self.failure: Exception | None = None
        #: By job id, instead of acceptance.
        self.answers: dict[str, Accepted | Exception] = {}
        #: The job ids of each round trip that had jobs accepted.
        self.batches: list[list[str]] = []
        self.under_way = 0
        self.most_under_way = 0
        #: Exchanges wait for it.
        self.gate = asyncio.Event()
        self.gate.set()
        self.before: Callable[[], None] = lambda: None
        self.stored: dict[str, bytes] = {}
        #: The job ids of each look into the store.
        self.reads: list[list[str]] = []
        self.statuses: dict[str, JobStatus] = {}
        #: Arguments of each cancellation.
        self.cancelled: list[tuple[Any, ...]] = []

    async def accept(self, jobs: Sequence[Job]) -> list[Accepted | Exception]:
        """As the admission that asks this ledger."""
        self.batches.append([job.id for job in jobs])
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
            await self._trouble()
        finally:
            self.under_way -= 1
        return [self._accept(job) for job in jobs]

    async def run(self, command: Command[Any]) -> str:
        await self._trouble()
        self.cancelled.append(command.args)
        return "cancelled"

    async def results(self, keys: Keys, job_ids: Sequence[str]) -> list[bytes | None]:
        self.reads.append(list(job_ids))
        await self._trouble()
        return [self.stored.get(job_id) for job_id in job_ids]

    async def status(self, keys: Keys, job_id: str) -> JobStatus | None:
        await self._trouble()
        return self.statuses.get(job_id)

    async def _trouble(self) -> None:
        await asyncio.sleep(0)
        self.before()
        if self.failures:
            raise self.failures.pop(0)
        if self.failure is not None:
            raise self.failure

    def _accept(self, job: Job) -> Accepted | Exception:
        deadline_at = self.clock.now() + timedelta(milliseconds=milliseconds(job.deadline))
        return self.answers.get(job.id) or Accepted(job_id=job.id, deadline_at=deadline_at, new=True, sequence=1)


class FakeAnnouncements:
    """A subscription that hears what the test puts into it; an exception breaks it."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Announcement | Exception | None] = asyncio.Queue()
        #: Raised by every try to subscribe as long as it is set.
        self.failure: Exception | None = None
        self.subscribed = 0
        self.closed = 0

    def announce(self, job_id: str, meta: bytes = b"") -> None:
        self.heard.put_nowait(Announcement(job_id, meta))

    def break_off(self) -> None:
        self.heard.put_nowait(connection_broke())

    async def subscribe(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.subscribed += 1

    async def next(self) -> list[Announcement]:
        heard = await self.heard.get()
        if isinstance(heard, Exception):
            raise heard
        return [] if heard is None else [heard]

    async def close(self) -> None:
        self.closed += 1


class NoServerDispatcher(Dispatcher):
    """A `Dispatcher`, whole but for the server: `fakes` stands in its place."""

    def __init__(self, registry: Registry, *, now: datetime | None = None, **settings: Any) -> None:
        self.fake_clock = FakeClock() if now is None else FakeClock(now)
        super().__init__(registry, settings=Settings(**settings), clock=self.fake_clock)
        self.fake_ledger = FakeLedger(self.fake_clock)
        self.announcements = FakeAnnouncements()

    async def start(self) -> None:
        self._is_started, self.address = True, ADDRESS
        self.ledger = cast("AsyncLedger", self.fake_ledger)
        admission = cast("Admission", self.fake_ledger)
        acceptor = Acceptor(admission, self.clock, self.address, self.settings.dispatch_timeout_seconds)
        self._connection = cast("Connection", SimpleNamespace(turns=Turns(TURN), acceptor=acceptor))
        self.collector = make_collector(self.announcements, self.fake_ledger, self.settings, self.fake_clock)
        await self.collector.start()

    async def close(self) -> None:
        if self._is_started:
            self._is_started = False
            await self._connected.acceptor.close()
            await self.collector.close()


def make_collector(
    announcements: FakeAnnouncements, ledger: FakeLedger, settings: Settings, clock: FakeClock
) -> Collector:
    """A collector on fakes."""
    return Collector(
        cast("Announcements", announcements),
        cast("AsyncLedger", ledger),
        keys=Keys(settings.namespace),
        settings=settings,
        clock=clock,
        address=ADDRESS,
    )
