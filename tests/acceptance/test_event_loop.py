"""A producer's event loop stays free, however much is dispatched from it."""

import asyncio
import time
from dataclasses import dataclass, field

from dispatcher import Dispatcher
from tests.acceptance import functions
from tests.acceptance.helpers import LONG

CALLS = 2_000
LONGEST_HOLD_SECONDS = 0.050
ROUNDS = 3


@dataclass
class Holds:
    """How long the loop was held between two turns of a task that wants one every millisecond.

    Wall time holds what the machine's other work takes from us; the loop's own thread's processor time does not.
    """

    wall: float = 0.0
    cpu: float = 0.0
    turns: int = field(default=0, compare=False)

    async def watch(self) -> None:
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            self.wall = max(self.wall, time.perf_counter() - wall)
            self.cpu = max(self.cpu, time.thread_time() - cpu)
            self.turns += 1


async def test_two_thousand_calls_never_hold_the_producers_event_loop(dispatcher: Dispatcher) -> None:
    async def one(number: int) -> int:
        job = await dispatcher.dispatch(functions.add.call(number, 1))
        return await job.result(LONG)

    rounds: list[Holds] = []
    for _ in range(ROUNDS):
        holds = Holds()
        watching = asyncio.create_task(holds.watch())
        values = await asyncio.gather(*(one(number) for number in range(CALLS)))
        watching.cancel()
        assert values == list(range(1, CALLS + 1))
        assert holds.turns > 100
        rounds.append(holds)
        if holds.wall <= LONGEST_HOLD_SECONDS and holds.cpu <= LONGEST_HOLD_SECONDS:
            break

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
