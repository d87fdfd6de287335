"""Lets the event loop breathe: of thousands of equal steps, a few are done in each of its turns."""

import asyncio
from collections import deque


class Turns:
    """Hands out turns, first come, first served. For one event loop.

    Args:
        at_once: steps in one turn of the loop, at most. Steps of several turns are counted together until there are so
            many: of those that come one by one, nearly none costs the loop a turn.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait until it is this step's turn: not at all, while few want one."""
        if self._taken < self._at_once:
            self._count()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _count(self) -> None:
        self._taken += 1
        if self._taken == self._at_once:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._taken = 0
        while self._waiting and self._taken < self._at_once:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._count()
