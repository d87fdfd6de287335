"""A bounded number of threads for functions that block, which no stuck function keeps a process from ending."""

import threading
from collections import deque
from collections.abc import Callable


class DaemonThreads:
    """Runs functions in threads, started as they are needed. The standard library's executor waits for all at exit.

    Args:
        limit: threads at once; what is submitted beyond waits.
        on_start: called first in each thread.
    """

    def __init__(self, limit: int, on_start: Callable[[], object]) -> None:
        self._limit = limit
        self._on_start = on_start
        self._waiting: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._threads = self._idle = 0
        self._closed = False

    def __len__(self) -> int:
        return self._threads

    @property
    def waiting(self) -> int:
        """Functions that no thread has begun."""
        return len(self._waiting)

    def submit(self, function: Callable[[], object]) -> None:
        """Run it, now or when a thread is free. It must not raise."""
        with self._changed:
            self._waiting.append(function)
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif self._threads < self._limit:
                self._threads += 1
                threading.Thread(target=self._serve, name=f"dispatcher-def-{self._threads}", daemon=True).start()

    def close(self) -> None:
        """Begin nothing more, and let idle threads end."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _serve(self) -> None:
        self._on_start()
        while (function := self._next()) is not None:
            function()
            del function  # it holds the arguments until the next one comes

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return self._waiting.popleft() if self._waiting else None
