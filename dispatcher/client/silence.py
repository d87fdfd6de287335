"""Says that calls wait while no worker is up: a program that was started without one would wait without a word."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from dispatcher.clock import Clock
from dispatcher.settings import Settings
from dispatcher.transport.elsewhere import mention_elsewhere

logger = logging.getLogger(__name__)

#: Seconds that an outcome is awaited before somebody may wonder whether there is a worker.
WONDER: Final = 5.0
#: Seconds between two questions to the ledger.
AGAIN: Final = 60.0


class Silence:
    """One a producer.

    Args:
        nodes: asks the ledger which worker nodes are up.
        settings: say where the server is.
        clock: for intervals.
        address: of the server, for the log.
    """

    def __init__(
        self, nodes: Callable[[], Awaitable[Sequence[object]]], settings: Settings, clock: Clock, address: str
    ) -> None:
        self._nodes = nodes
        self._settings = settings
        self._clock = clock
        self._address = address
        self._not_before = 0.0

    async def look(self, since: float | None) -> None:
        """Wonder, where there is reason to.

        Args:
            since: when, on the monotonic clock, what was looked for in vain was first awaited; None: there is nothing.

        Raises:
            SERVER_FAILURES: as they came.
        """
        now = self._clock.monotonic()
        if since is None or now - since < WONDER or now < self._not_before:
            return
        self._not_before = now + AGAIN
        if await self._nodes():
            return
        elsewhere = await asyncio.to_thread(mention_elsewhere, self._settings)
        logger.warning(
            "no_worker_is_up: calls wait for one on %s%s",
            self._address,
            f"; {elsewhere}" if elsewhere else "",
            extra={"address": self._address},
        )
