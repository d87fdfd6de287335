"""Rows for `map`, read in the thread that asks for the outcomes, for an event loop on another."""

import asyncio
import queue
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from dispatcher.clock import Clock

T = TypeVar("T")

#: Rows handed over at once, and how long the first of them waits for the others: each handover wakes two threads.
PART_ROWS, PART_SECONDS = 500, 0.005


class RowFeed(Generic[T]):
    """An iterable that is read where it was made.

    A database cursor belongs to its thread, Django refuses its own in a thread with an event loop, and rows may come
    out of the very dispatcher that is to take them.

    Args:
        rows: read only while `serve` runs.
        clock: for how long rows are gathered.
    """

    def __init__(self, rows: Iterable[T], clock: Clock) -> None:
        self._rows = iter(rows)
        self._clock = clock
        self._error: Exception | None = None
        #: What the loop waits for; None: it wants no more.
        self._wanted: queue.SimpleQueue[asyncio.Future[list[T]] | None] = queue.SimpleQueue()

    async def __aiter__(self) -> AsyncIterator[T]:
        """For the event loop."""
        loop = asyncio.get_running_loop()
        while True:
            wanted: asyncio.Future[list[T]] = loop.create_future()
            self._wanted.put(wanted)
            part = await wanted
            if not part:
                return
            for row in part:
                yield row

    def serve(self, asked: Future[Any]) -> None:
        """Read rows as the event loop wants them, until what was asked of it is done."""
        asked.add_done_callback(lambda _: self._wanted.put(None))
        while (wanted := self._wanted.get()) is not None:
            part = self._read()
            error = self._error if not part else None
            with suppress(RuntimeError):  # the loop was closed meanwhile, and nobody waits
                wanted.get_loop().call_soon_threadsafe(_answer, wanted, part, error)

    def _read(self) -> list[T]:
        """The next rows; none at the end, and after an error of the rows' own."""
        part: list[T] = []
        until = self._clock.monotonic() + PART_SECONDS
        while self._error is None and len(part) < PART_ROWS:
            try:
                part.append(next(self._rows))
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - whatever the rows raise is raised where outcomes are asked for
                self._error = error
            if self._clock.monotonic() >= until:
                break
        return part


def _answer(wanted: asyncio.Future[list[T]], part: list[T], error: Exception | None) -> None:
    if wanted.done():
        return
    if error is not None:
        wanted.set_exception(error)
    else:
        wanted.set_result(part)
