"""Thousands of equal steps leave the event loop free."""

import asyncio

from dispatcher.client.turns import Turns


def waits(turns: Turns) -> bool:
    """Whether the next step must wait for its turn."""
    step = turns.take()
    try:
        step.send(None)
    except StopIteration:
        return False
    step.close()
    return True


async def test_a_few_steps_need_not_wait() -> None:
    turns = Turns(3)
    assert [waits(turns) for _ in range(4)] == [False, False, False, True]


async def test_many_steps_are_spread_over_turns_of_the_loop_in_the_order_they_came() -> None:
    turns, done, loop_turns = Turns(3), [], 0

    async def step(number: int) -> None:
        await turns.take()
        done.append((loop_turns, number))

    tasks = [asyncio.create_task(step(number)) for number in range(10)]
    while len(done) < len(tasks):
        loop_turns += 1
        await asyncio.sleep(0)
    assert [number for _, number in done] == list(range(10))
    assert max(sum(turn == each for turn, _ in done) for each in range(loop_turns + 1)) <= 3
    await asyncio.gather(*tasks)


async def test_steps_one_after_another_let_others_run() -> None:
    turns, others = Turns(3), 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    for _ in range(30):
        await turns.take()
    running.cancel()
    assert others >= 9


async def test_a_step_that_is_cancelled_while_it_waits_holds_up_no_other() -> None:
    turns = Turns(1)
    tasks = [asyncio.create_task(turns.take()) for _ in range(12)]
    await asyncio.sleep(0)
    for task in tasks[1:11]:
        task.cancel()
    for _ in range(4):
        await asyncio.sleep(0)
    assert tasks[11].done(), "those that are gone take no turns"
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_turns_can_be_taken_again_after_a_pause() -> None:
    turns = Turns(1)
    for _ in range(3):
        assert not waits(turns)
        for _ in range(5):
            await asyncio.sleep(0)
