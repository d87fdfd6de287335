"""What a dispatcher holds of its server while it is started: how it comes to it, and how it lets go."""

import asyncio
from collections.abc import Sequence
from typing import Self

from dispatcher.client.acceptor import Acceptor
from dispatcher.client.chooser import Chooser
from dispatcher.client.collector import Collector
from dispatcher.client.shared_selections import SharedSelections
from dispatcher.client.silence import Silence
from dispatcher.client.turns import Turns
from dispatcher.clock import Clock
from dispatcher.errors import Acceptance, ServerUnreachableError
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.admission import Admission
from dispatcher.transport.announcements import Announcements
from dispatcher.transport.app import create_app, list_prefix
from dispatcher.transport.broker import Broker
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect_async, redact, server_errors
from dispatcher.transport.embedded import EmbeddedServer, find_server
from dispatcher.transport.failure import SERVER_FAILURES, translate
from dispatcher.transport.feedback_log import RedisFeedbackLog
from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.map_journal import MapJournal
from dispatcher.transport.nodes import nodes_command
from dispatcher.transport.publisher import Publisher
from dispatcher.transport.selection_cache import SharedSelectionCache

#: Dispatches prepared in one turn of the event loop.
TURN = 100
#: Seconds between two tries to reach a server that does not answer yet.
PAUSE = 0.1
#: Seconds that a closing dispatcher waits for wake-ups it has not published yet; the sweeper publishes the rest.
FLUSH_TIMEOUT = 5.0


class Connection:
    """One dispatcher's, in its event loop. Made by `open`.

    Args:
        url: of the server.
        embedded: the same, where it is one of our own, which ends with this connection.
        registry: the functions that may be called.
        settings: for intervals.
        commands: for the dispatcher's server.
        clock: the dispatcher's.
        producer: the dispatcher's id.
    """

    def __init__(
        self,
        url: str,
        embedded: EmbeddedServer | None,
        *,
        registry: Registry,
        settings: Settings,
        commands: Commands,
        clock: Clock,
        producer: str,
    ) -> None:
        self._embedded = embedded
        self._registry = registry
        self._settings = settings
        self._keys = commands.keys
        self._clock = clock
        #: The server's address without its password.
        self.address = redact(url)
        self.client = connect_async(url, role="producer")
        self._subscriber = connect_async(url, role="collector", blocking=True)
        self.ledger = AsyncLedger(self.client)
        app, origin = create_app(settings, url, registry), f"producer-{producer[:8]}"
        self.publisher = Publisher(Broker(app, origin=origin))
        self.turns = Turns(TURN)
        prefix, timeout = list_prefix(settings), settings.dispatch_timeout_seconds
        admission = Admission(self.ledger, commands, self.publisher, origin=origin, list_prefix=prefix)
        self.acceptor = Acceptor(admission, clock, self.address, timeout, alone=prefix is not None)
        self.collector = Collector(
            Announcements(self._subscriber, self._keys, producer),
            self.ledger,
            keys=self._keys,
            settings=settings,
            clock=clock,
            address=self.address,
            silence=Silence(self._nodes, settings, clock, self.address),
        )

    @classmethod
    async def open(
        cls, *, registry: Registry, settings: Settings, commands: Commands, clock: Clock, producer: str
    ) -> Self:
        """Find the server, where need be by starting one; `collect` is what first speaks to it.

        Raises:
            NoServerError: none is configured, and none could be started.
        """
        url, embedded = await asyncio.to_thread(find_server, settings)
        return cls(
            url, embedded, registry=registry, settings=settings, commands=commands, clock=clock, producer=producer
        )

    def serve(self, chooser: Chooser) -> None:
        """Have a chooser keep what it learns, and find what others have learnt and selected, on this server."""
        client, keys, settings = self.client, self._keys, self._settings
        store = None
        if chooser.learning is not None:
            from dispatcher.transport.model_store import RedisModelStore  # noqa: PLC0415 - it needs numpy

            store = RedisModelStore(client, keys, settings)
        selections = SharedSelections(SharedSelectionCache(client, keys, settings), self._registry)
        chooser.connect(RedisFeedbackLog(client, keys, settings), store, selections)

    def journal(self, function: str, key: str) -> MapJournal:
        """Where a map with this key notes its jobs."""
        keep_seconds = self._settings.idempotency_ttl_seconds
        return MapJournal(
            self.client, self._keys.map_journal(function, key), keep_seconds=keep_seconds, address=self.address
        )

    async def _nodes(self) -> Sequence[object]:
        return await self.ledger.run(nodes_command(self._keys))

    async def collect(self) -> None:
        """Subscribe to announcements, as soon as the server answers.

        Raises:
            ServerError: it cannot be used, or did not answer within the time for a dispatch.
        """
        give_up = self._clock.monotonic() + self._settings.dispatch_timeout_seconds
        with server_errors(self.address):
            while True:
                try:
                    await self.collector.start()
                except SERVER_FAILURES as error:
                    problem = translate(error, self.address, accepted=Acceptance.NO)
                    if not isinstance(problem, ServerUnreachableError) or self._clock.monotonic() >= give_up:
                        raise
                    await asyncio.sleep(PAUSE)
                else:
                    return

    async def close(self) -> None:
        """Publish what is left, and let go of the server."""
        await self.acceptor.close()
        await self.collector.close()
        await asyncio.to_thread(self.publisher.close, FLUSH_TIMEOUT)
        for client in (self.client, self._subscriber):
            await client.aclose()
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.stop)
