"""Waiting for news of one thing, and no longer than a given time: thousands of waits share one timer.

`asyncio.Event` and `asyncio.timeout` make four objects and a timer for each wait, which cost as much as reading the
outcome that was waited for: `benchmarks.calls --only separate`.
"""

import asyncio
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

#: Waits that have ended are kept among those that the timer knows until they are so many, and the most of them.
SLACK: Final = 100


class News:
    """Set or not; wakes who waits for it to be set. For one event loop."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[asyncio.Future[bool]] | None = None

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        """Wake everybody who waits; who waits from now on need not."""
        self._set = True
        waiting, self._waiting = self._waiting, None
        for future in waiting or ():
            if not future.done():
                future.set_result(True)

    def clear(self) -> None:
        """Let those wait who come from now on."""
        self._set = False

    def listen(self) -> "asyncio.Future[bool]":
        """What is True at the next `set`."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._waiting is None:
            self._waiting = [future]
        else:
            self._waiting.append(future)
        return future

    def leave(self, future: "asyncio.Future[bool]") -> None:
        """Listen no longer."""
        if self._waiting is not None and future in self._waiting:
            self._waiting.remove(future)


class Alarms:
    """Ends waits whose time is over. For one event loop, of which it keeps one timer."""

    def __init__(self) -> None:
        #: When, on the event loop's clock, and which wait: the earliest first.
        self._due: list[tuple[float, int, asyncio.Future[bool]]] = []
        self._numbers = count()
        #: Those among them that have ended otherwise, about.
        self._ended = 0
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, news: News, seconds: float) -> bool:
        """Wait for news, at most so many seconds: whether there were any."""
        if news.is_set():
            return True
        future = news.listen()
        at = asyncio.get_running_loop().time() + seconds
        heappush(self._due, (at, next(self._numbers), future))
        if self._timer is None or at < self._timer.when():
            self._set_timer()
        try:
            return await future
        finally:
            if not news.is_set():
                news.leave(future)
            self._ended += 1
            if self._ended > SLACK and self._ended * 2 > len(self._due):
                self.forget_ended()

    def forget_ended(self) -> None:
        """Let go of waits that have ended, and of the timer where no other is left."""
        self._due = [entry for entry in self._due if not entry[2].done()]
        heapify(self._due)
        self._ended = 0
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            self._timer = asyncio.get_running_loop().call_at(self._due[0][0], self._ring)

    def _ring(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._timer is not None:  # it comes a little early at times, by what the loop takes for the same moment
            now, self._timer = max(now, self._timer.when()), None
        while self._due and self._due[0][0] <= now:
            future = heappop(self._due)[2]
            self._ended -= 1
            if not future.done():
                future.set_result(False)
        self._set_timer()
