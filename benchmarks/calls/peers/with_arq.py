"""arq: two processes of `arq benchmarks.calls.peers.with_arq.WorkerSettings`.

It finds new jobs and results by asking again and again: every half a second by itself, here as often as one call at a
time needs to be quick (`poll_delay`). It has no way of sending many at once but sending them one beside another.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from benchmarks.calls.peers.producing import PATIENCE, WAIT_SECONDS, Row, answer, at_once, bounded, url

#: Seconds between two looks of a worker, and of one who waits for a result.
POLL_DELAY = 0.005


async def quick(_context: dict[str, Any], number: int, text: str) -> dict[str, object]:
    """Nothing but an answer."""
    return answer(number, text)


async def waiting(_context: dict[str, Any], number: int, text: str) -> dict[str, object]:
    """An answer after a while."""
    await asyncio.sleep(WAIT_SECONDS)
    return answer(number, text)


class WorkerSettings:
    """What `arq` reads."""

    functions: ClassVar = [quick, waiting]
    redis_settings = RedisSettings.from_dsn(url())
    poll_delay = POLL_DELAY
    max_jobs = at_once(10)


class Arq:
    """Its producer."""

    pool: ArqRedis

    async def open(self) -> None:
        self.pool = await create_pool(WorkerSettings.redis_settings)

    async def close(self) -> None:
        await self.pool.aclose()

    async def together(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        jobs = await bounded(lambda call: self.pool.enqueue_job(function, *call), calls)
        return [await job.result(timeout=PATIENCE, poll_delay=POLL_DELAY) for job in jobs]

    async def each(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        return await self.together(function, calls)

    async def one(self, function: str, call: Row) -> object:
        (result,) = await self.together(function, [call])
        return result


def make_producer() -> Arq:
    """For `produce`."""
    return Arq()
