"""Handles in the order in which their outcomes come."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import TypeVar

from dispatcher.client.handle import Handle
from dispatcher.model.duration import check_duration

R = TypeVar("R")


async def arriving(handles: Iterable[Handle[R]], timeout: timedelta | None) -> AsyncIterator[Handle[R]]:
    """See `Dispatcher.as_completed`."""
    if timeout is not None:
        check_duration("timeout", timeout)
    # One queue for all: `asyncio.wait` would look at all that still wait for each that arrives.
    arrived: asyncio.Queue[asyncio.Task[Handle[R]]] = asyncio.Queue()
    tasks = [asyncio.create_task(_wait_for(handle, timeout)) for handle in handles]
    for task in tasks:
        task.add_done_callback(arrived.put_nowait)
    try:
        for _ in tasks:
            yield (await arrived.get()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_for(handle: Handle[R], timeout: timedelta | None) -> Handle[R]:
    await handle.record(timeout)
    return handle
