"""Ledger commands of many jobs at once, from one event loop: what is asked within a tick travels together.

Jobs that end within a tick are settled by one script.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, TypeVar

from redis.exceptions import ResponseError

from dispatcher.transport.commands import Commands
from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.script import Command

T = TypeVar("T")

#: Commands in one round trip. The server runs them one after the other, and others wait meanwhile.
LIMIT: Final = 200
#: Settlements in one script, which nobody else's command interrupts.
SETTLED_TOGETHER: Final = 50

#: A command, and what its caller waits for.
Asked: TypeAlias = "tuple[Command[Any], asyncio.Future[Any]]"


class BatchedLedger:
    """Runs commands from one event loop, as many in a round trip as are waiting. For that loop's thread only."""

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        self._waiting: deque[Asked] = deque()
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
        groups = _grouped([self._waiting.popleft() for _ in range(min(LIMIT, len(self._waiting)))])
        commands = [_together([command for command, _ in group]) for group in groups]
        try:
            results: list[Any] = await self._ledger.run_many_settled(commands)
        except Exception as error:  # noqa: BLE001 - each of those who wait for it decides about it
            results = [error] * len(commands)
        for group, result in zip(groups, results, strict=True):
            each = _apart(result, len(group))
            for (_, future), own in zip(group, each, strict=True):
                if future.done():
                    continue
                if isinstance(own, Exception):
                    future.set_exception(own)
                else:
                    future.set_result(own)

    async def close(self) -> None:
        """Close its connections."""
        await self._ledger.client.aclose()


def _grouped(batch: Sequence[Asked]) -> list[list[Asked]]:
    """What is asked by one command: settlements of several jobs, and each other command by itself."""
    settlements = [asked for asked in batch if asked[0].script == "settle"]
    others = [[asked] for asked in batch if asked[0].script != "settle"]
    starts = range(0, len(settlements), SETTLED_TOGETHER)
    return [*others, *(settlements[start : start + SETTLED_TOGETHER] for start in starts)]


def _together(commands: Sequence[Command[Any]]) -> Command[Any]:
    return commands[0] if len(commands) == 1 else Commands.settle_together(commands)


def _apart(result: Any, count: int) -> list[Any]:  # noqa: ANN401 - of a command of one, or of several settlements
    """What each of those hears that were asked for together."""
    if count == 1:
        return [result]
    if isinstance(result, Exception):
        return [result] * count
    return [ResponseError(word.removeprefix("error:")) if word.startswith("error:") else word for word in result]
