"""SAQ: `saq benchmarks.calls.peers.with_saq.settings --workers 2`; a result is read when it is announced.

Its own `map` asks for all results again and again (`poll_interval`), which takes longer.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from saq import Queue

from benchmarks.calls.peers.producing import PATIENCE, WAIT_SECONDS, Row, answer, at_once, url

#: Seconds after which one who waits for a result looks again: `refresh` misses what is announced after it looked and
#: before it listens, and would wait for ever.
LOOK_AGAIN = 0.1

queue = Queue.from_url(url(), name="bench")


async def quick(_context: dict[str, Any], *, number: int, text: str) -> dict[str, object]:
    """Nothing but an answer."""
    return answer(number, text)


async def waiting(_context: dict[str, Any], *, number: int, text: str) -> dict[str, object]:
    """An answer after a while."""
    await asyncio.sleep(WAIT_SECONDS)
    return answer(number, text)


settings = {
    "queue": queue,
    "functions": [quick, waiting],
    "concurrency": at_once(10),
}


class Saq:
    """Its producer."""

    async def open(self) -> None:
        await queue.connect()

    async def close(self) -> None:
        await queue.disconnect()

    async def together(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        jobs = await asyncio.gather(*(self._send(function, call) for call in calls))
        return [await self._read(job) for job in jobs]

    async def each(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        return await self.together(function, calls)

    async def one(self, function: str, call: Row) -> object:
        return await self._read(await self._send(function, call))

    async def _send(self, function: str, call: Row) -> Any:  # noqa: ANN401
        number, text = call
        return await queue.enqueue(function, number=number, text=text)

    async def _read(self, job: Any) -> object:  # noqa: ANN401
        until = time.monotonic() + PATIENCE
        while not job.completed and time.monotonic() < until:
            with suppress(TimeoutError):
                await job.refresh(until_complete=LOOK_AGAIN)
        return job.result


def make_producer() -> Saq:
    """For `produce`."""
    return Saq()
