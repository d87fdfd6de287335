"""Ledger commands of many jobs at once, from one event loop: what is asked within a tick travels together."""

import asyncio
from collections import deque
from typing import Any, Final, TypeVar

from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.script import Command

T = TypeVar("T")

#: Commands in one round trip. The server runs them one after the other, and others wait meanwhile.
LIMIT: Final = 200


class BatchedLedger:
    """Runs commands from one event loop, as many in a round trip as are waiting. For that loop's thread only."""

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        self._waiting: deque[tuple[Command[Any], asyncio.Future[Any]]] = deque()
        #: Sends what waits, one round trip after the other: under load that makes each of them larger.
        self._sender: asyncio.Task[None] | None = None

    def submit(self, command: Command[T]) -> "asyncio.Future[T]":
        """Send a command with the next round trip. The future ends as `AsyncLedger.run` does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((command, future))
        if self._sender is None:
            # Its first step comes when the loop has run what is ready now, and that may ask for more.
            self._sender = loop.create_task(self._send_all())
        return future

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                await self._send()
        finally:
            # In the same step in which nothing was found waiting: what comes from now on needs another sender.
            self._sender = None

    async def _send(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(LIMIT, len(self._waiting)))]
        try:
            results: list[Any] = await self._ledger.run_many_settled([command for command, _ in batch])
        except Exception as error:  # noqa: BLE001 - each of those who wait for it decides about it
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def close(self) -> None:
        """Close its connections."""
        await self._ledger.client.aclose()
