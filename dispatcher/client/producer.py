"""A dispatcher's life and its jobs: what the verbs of its face, and the handles on its jobs, stand on."""

import uuid
from collections.abc import Awaitable
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar, Unpack

from dispatcher.client.cached_calls import CachedCalls
from dispatcher.client.chooser import Chooser
from dispatcher.client.collector import Pending
from dispatcher.client.connection import Connection
from dispatcher.client.handle import Handle
from dispatcher.client.jobs import JobOptions, choose_job, sendable
from dispatcher.client.verdicts import Opinion
from dispatcher.clock import Clock
from dispatcher.errors import SettingsError, UnknownJobError
from dispatcher.model.call import Call
from dispatcher.model.job import CANCELLED_BY_PRODUCER, Job, JobStatus
from dispatcher.registry.registry import Registry
from dispatcher.selection.selection import Selection
from dispatcher.selection.selector import ConversationState, Selector
from dispatcher.settings import Settings
from dispatcher.transport.cache import ResultCache
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import server_errors
from dispatcher.transport.replies import Accepted

R = TypeVar("R")

_NOT_STARTED = "this Dispatcher is not started; use it as `async with Dispatcher(registry) as dispatcher:`"


class Producer:
    """The `Dispatcher` without the verbs for calls and texts: it starts, has jobs accepted, asks of them, and ends.

    Args:
        registry: the functions that may be called.
        settings: all of them.
        selector: what its `Chooser` is to ask.
        clock: for deadlines and intervals.
    """

    def __init__(self, registry: Registry, settings: Settings, selector: Selector, clock: Clock) -> None:
        self.registry = registry
        self.settings = settings
        self.selector = selector
        self.clock = clock
        self.commands = Commands(settings, clock)
        #: This producer's id: the name of its announcements' channel.
        self.producer = uuid.uuid4().hex
        self._chooser = Chooser(registry, selector, settings, clock=clock, producer=self.producer)
        self._is_started = False
        #: Since the first start; what is under way may use it while it is closed.
        self._connection: Connection | None = None
        #: For functions that keep their results; None where there is no server that could.
        self._cached_calls: CachedCalls | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Find the server and subscribe to announcements.

        Raises:
            NoServerError: none is configured, and none could be started.
            ServerError: it cannot be used; the address is named.
        """
        if self._is_started:
            return
        connection = self._connection = await Connection.open(
            registry=self.registry,
            settings=self.settings,
            commands=self.commands,
            clock=self.clock,
            producer=self.producer,
        )
        #: The server's address without its password.
        self.address = connection.address
        self.ledger, self.collector = connection.ledger, connection.collector
        self._cached_calls = CachedCalls(self, ResultCache(connection.client, self.commands, self.producer))
        connection.serve(self._chooser)
        self._is_started = True
        try:
            await connection.collect()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Publish what is left, and let go of the server. Accepted calls go on without us."""
        if not self._is_started:
            return
        self._is_started = False
        await self._chooser.close()
        if self._cached_calls is not None:
            await self._cached_calls.close()
        await self._connected.close()

    async def dispatch_job(self, calls: list[Call[R]], **options: Unpack[JobOptions]) -> Handle[R]:
        """Have one job of many calls of one function accepted; its handle gives `outcomes`."""
        function = self.registry.get(calls[0].function)
        job, pending, accepted = await self._accept(calls, **options)
        if not accepted.new:
            pending = self.collector.expect(accepted.job_id)
            self.collector.fetch_soon(pending)
            return Handle(self, pending, function, accepted.deadline_at, repeated=True)
        return Handle(self, pending, function, accepted.deadline_at, time_left=job.deadline)

    async def _accept(
        self, calls: list[Call[R]], *, shared: bool = False, **options: Unpack[JobOptions]
    ) -> tuple[Job, Pending, Accepted]:
        """Make a job and have it accepted: the job, what its outcome comes to, and the ledger's answer."""
        self._must_be_started()
        await self._connected.turns.take()
        job = self._make_job(calls, shared=shared, **options)
        pending = self.collector.expect(job.id)
        accepted = await self._connected.acceptor.accept(job)
        self.collector.server_answered()
        return job, pending, accepted

    def _make_job(self, calls: list[Call[R]], *, shared: bool = False, **options: Unpack[JobOptions]) -> Job:
        self._must_be_started()
        return choose_job(
            self.registry.get(calls[0].function),
            calls,
            options,
            producer=self.producer,
            default_deadline=timedelta(seconds=self.settings.default_deadline_seconds),
            now=self.clock.now(),
            shared=shared,
        )

    async def status(self, job_id: str) -> JobStatus:
        """What the ledger knows of a job now.

        Raises:
            UnknownJobError: it holds no such job.
            ServerError: it cannot be asked.
        """
        status = await self._ask(self.ledger.status(self.commands.keys, job_id))
        if status is None:
            raise UnknownJobError(job_id)
        return status

    async def cancel(self, job_id: str, reason: str = "", *, hard: bool = False) -> bool:
        """Cancel a job; see `Handle.cancel`."""
        return await self._give_up(job_id, reason, hard=hard, producer="") in {"cancelled", "requested"}

    async def _give_up(self, job_id: str, reason: str, *, hard: bool, producer: str) -> str:
        """As `cancel`; with a producer, only as far as no other shares the job: the ledger's word."""
        reason = sendable(reason) or CANCELLED_BY_PRODUCER
        word = await self._ask(
            self.ledger.run(self.commands.cancel(job_id, reason=reason, hard=hard, producer=producer))
        )
        if word == "unknown":
            raise UnknownJobError(job_id)
        return word

    async def _learn(
        self, selection: Selection, opinion: Opinion, state: ConversationState | None, source: str | None
    ) -> None:
        """As `Dispatcher.feedback`."""
        self._must_be_started()
        await self._chooser.feedback(selection, opinion, state=state, source=source)

    async def _ask(self, answer: Awaitable[R]) -> R:
        self._must_be_started()
        with server_errors(self.address):
            return await answer

    def _must_be_started(self) -> None:
        if not self._is_started:
            raise SettingsError(_NOT_STARTED)

    @property
    def _connected(self) -> Connection:
        if self._connection is None:
            raise SettingsError(_NOT_STARTED)
        return self._connection
