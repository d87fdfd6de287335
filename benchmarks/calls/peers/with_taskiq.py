"""Taskiq: `taskiq worker benchmarks.calls.peers.with_taskiq:broker --workers 2`, with the broker that acknowledges.

Results are found by asking again and again (`check_interval`). It has no way of sending many at once but sending them
one beside another.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.calls.peers.producing import PATIENCE, WAIT_SECONDS, Row, answer, bounded, url

#: Seconds between two looks of one who waits for a result.
CHECK_INTERVAL = 0.002

broker = RedisStreamBroker(url()).with_result_backend(RedisAsyncResultBackend(url(), result_ex_time=3600))


@broker.task(task_name="quick")
async def quick(number: int, text: str) -> dict[str, object]:
    """Nothing but an answer."""
    return answer(number, text)


@broker.task(task_name="waiting")
async def waiting(number: int, text: str) -> dict[str, object]:
    """An answer after a while."""
    await asyncio.sleep(WAIT_SECONDS)
    return answer(number, text)


TASKS = {"quick": quick, "waiting": waiting}


class Taskiq:
    """Its producer."""

    async def open(self) -> None:
        await broker.startup()

    async def close(self) -> None:
        await broker.shutdown()

    async def together(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        task = TASKS[function]
        sent = await bounded(lambda call: task.kiq(*call), calls)
        return [await self._read(handle) for handle in sent]

    async def each(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        return await self.together(function, calls)

    async def one(self, function: str, call: Row) -> object:
        return await self._read(await TASKS[function].kiq(*call))

    async def _read(self, handle: Any) -> object:  # noqa: ANN401
        result = await handle.wait_result(check_interval=CHECK_INTERVAL, timeout=PATIENCE)
        return result.return_value


def make_producer() -> Taskiq:
    """For `produce`."""
    return Taskiq()
