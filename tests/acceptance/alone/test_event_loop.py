"""A producer's event loop stays free, however much is dispatched from it."""

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dispatcher import Dispatcher
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, Worker

CALLS = 2_000
LONGEST_HOLD_SECONDS = 0.050
ROUNDS = 5


def taken_by_others() -> float:
    """Seconds in which this thread could have run, had not others had the processors; 0 where the system does not tell.

    Source: proc(5) and the kernel's sched-stats: the second number of `schedstat` is the time on a run queue.
    """
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@dataclass
class Holds:
    """How long the loop was held between two turns of a task that wants one every millisecond.

    Wall time is less what the machine's other work took; what is left is this thread's processor time and its waits.
    """

    wall: float = 0.0
    cpu: float = 0.0
    turns: int = field(default=0, compare=False)

    async def watch(self) -> None:
        while True:
            wall, cpu = time.perf_counter() - taken_by_others(), time.thread_time()
            await asyncio.sleep(0.001)
            self.wall = max(self.wall, time.perf_counter() - taken_by_others() - wall)
            self.cpu = max(self.cpu, time.thread_time() - cpu)
            self.turns += 1


async def each_by_itself(dispatcher: Dispatcher) -> list[int]:
    async def one(number: int) -> int:
        job = await dispatcher.dispatch(functions.add.call(number, 1))
        return await job.result(LONG)

    return await asyncio.gather(*(one(number) for number in range(CALLS)))


async def first_all_dispatched_then_all_awaited(dispatcher: Dispatcher) -> list[int]:
    calls = [functions.add.call(number, 1) for number in range(CALLS)]
    await asyncio.sleep(0)
    jobs = await asyncio.gather(*(dispatcher.dispatch(call) for call in calls))
    return await asyncio.gather(*(job.result(LONG) for job in jobs))


async def one_after_another(dispatcher: Dispatcher) -> list[int]:
    jobs = [await dispatcher.dispatch(functions.add.call(number, 1)) for number in range(CALLS // 4)]
    await jobs[-1].outcome(LONG)
    # Most have their outcome by now, so nothing of this waits.
    return [await job.result(LONG) for job in jobs]


async def as_completed(dispatcher: Dispatcher) -> list[int]:
    calls = [functions.add.call(number, 1) for number in range(CALLS)]
    await asyncio.sleep(0)
    jobs = await asyncio.gather(*(dispatcher.dispatch(call) for call in calls))
    return sorted([await job.result() async for job in dispatcher.as_completed(jobs)])


async def mapped(dispatcher: Dispatcher) -> list[int]:
    # A call costs a fifth of what it costs by itself.
    rows = ({"a": number, "b": 1} for number in range(10 * CALLS))
    return [outcome.value async for outcome in dispatcher.map(functions.add, rows)]


@pytest.fixture(autouse=True)
def light() -> Iterator[None]:
    """Python's own garbage collector holds the loop for as long as it takes to look at all that the tests' process holds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def polite(worker: Worker) -> Iterator[None]:
    """The workers take what processor time the producer leaves: here it is not they who are looked at."""
    group = os.getpgid(worker.pid)
    os.setpriority(os.PRIO_PGRP, group, 19)
    yield
    with suppress(PermissionError):  # only root may take it back, and nobody else needs to
        os.setpriority(os.PRIO_PGRP, group, 0)


WAYS = [each_by_itself, first_all_dispatched_then_all_awaited, one_after_another, as_completed, mapped]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_two_thousand_calls_never_hold_the_producers_event_loop(dispatcher: Dispatcher, way) -> None:
    rounds: list[Holds] = []
    for _ in range(ROUNDS):
        holds = Holds()
        watching = asyncio.create_task(holds.watch())
        values = await way(dispatcher)
        watching.cancel()
        assert values == list(range(1, len(values) + 1))
        rounds.append(holds)
        looked_often = sum(holds.turns for holds in rounds) > 50
        if looked_often and holds.wall <= LONGEST_HOLD_SECONDS and holds.cpu <= LONGEST_HOLD_SECONDS:
            break

    assert looked_often, rounds
    assert min(holds.cpu for holds in rounds) <= LONGEST_HOLD_SECONDS, rounds
    assert min(holds.wall for holds in rounds) <= LONGEST_HOLD_SECONDS, rounds


async def test_a_large_result_is_read_without_holding_the_loop(dispatcher: Dispatcher) -> None:
    job = await dispatcher.dispatch(functions.huge.call(3_000_000))
    holds = Holds()
    watching = asyncio.create_task(holds.watch())
    value = await job.result(LONG)
    watching.cancel()
    assert len(value) == 3_000_000
    assert holds.cpu <= LONGEST_HOLD_SECONDS
