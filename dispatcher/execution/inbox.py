"""What threads hand to another thread, which is woken once for all that lies there."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """From any thread, to one.

    Args:
        wake: called by whoever puts something into the empty inbox; must have `take` called in the other thread.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._items: list[T] = []
        self._lock = threading.Lock()

    def put(self, item: T) -> None:
        """Hand it over."""
        with self._lock:
            self._items.append(item)
            first = len(self._items) == 1
        if first:
            self._wake()

    def take(self) -> list[T]:
        """All that lies there, in order."""
        with self._lock:
            items, self._items = self._items, []
            return items
