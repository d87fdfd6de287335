"""What the asyncio pool is made of: greenlets that wait for a loop, an inbox, threads, and waiting beside the loop."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from dispatcher.execution import greenlets
from dispatcher.execution.daemon_threads import DaemonThreads
from dispatcher.execution.greenlets import drive, in_waiter, make, wait
from dispatcher.execution.inbox import Inbox
from dispatcher.execution.pool_loop import PoolLoop

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


class TestGreenlets:
    async def test_plain_functions_wait_for_the_loop_at_once(self) -> None:
        def work(number: int) -> int:
            for _ in range(3):
                wait(asyncio.sleep(0.01))
            return number

        began = time.monotonic()
        assert await asyncio.gather(*[drive(make(lambda n=n: work(n))) for n in range(100)]) == list(range(100))
        assert time.monotonic() - began < 2

    async def test_what_is_raised_comes_through_in_both_directions(self) -> None:
        async def fail() -> None:
            await asyncio.sleep(0)
            raise ValueError("inside")  # noqa: EM101

        def work() -> None:
            with pytest.raises(ValueError, match="inside"):
                wait(fail())
            raise KeyError("outside")  # noqa: EM101

        with pytest.raises(KeyError, match="outside"):
            await drive(make(work))

    async def test_each_has_a_context_of_its_own(self) -> None:
        def work(own: str) -> str:
            before = name.get()
            name.set(own)
            wait(asyncio.sleep(0.01))
            return f"{before} {name.get()}"

        results = await asyncio.gather(*[drive(make(lambda n=n: work(f"n{n}"))) for n in range(5)])
        assert results == [f"nobody n{n}" for n in range(5)]
        assert name.get() == "nobody"

    async def test_a_cancellation_is_raised_where_it_waits_or_an_ending_in_its_place_once(self) -> None:
        seen: list[type] = []

        def work() -> str:
            for _ in range(2):
                try:
                    wait(asyncio.sleep(10))
                except BaseException as error:  # noqa: BLE001
                    seen.append(type(error))
            return "went on"

        waiter = make(work)
        task = asyncio.create_task(drive(waiter))
        await asyncio.sleep(0)
        waiter.ending = SystemExit()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        assert await task == "went on"
        assert seen == [SystemExit, asyncio.CancelledError]

    async def test_outside_there_is_nothing_to_wait_with(self) -> None:
        assert not in_waiter()
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="only a function"):
            wait(coroutine)
        coroutine.close()


class TestInbox:
    def test_the_other_side_is_woken_once_for_all_that_lies_there(self) -> None:
        wakes: list[int] = []
        inbox: Inbox[int] = Inbox(lambda: wakes.append(1))
        for number in range(3):
            inbox.put(number)
        assert (inbox.take(), len(wakes), inbox.take()) == ([0, 1, 2], 1, [])
        inbox.put(3)
        assert (inbox.take(), len(wakes)) == ([3], 2)

    def test_nothing_lies_there_without_a_wake_however_many_put(self) -> None:
        awake = threading.Semaphore(0)
        inbox: Inbox[int] = Inbox(awake.release)
        threads = [threading.Thread(target=lambda: [inbox.put(n) for n in range(2000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        taken = 0
        while taken < 8000:
            assert awake.acquire(timeout=10), f"nobody was woken for {8000 - taken} items"
            taken += len(inbox.take())
        for thread in threads:
            thread.join()


class TestThreads:
    def test_no_more_than_allowed_run_at_once_and_all_run(self) -> None:
        lock, running, highest, done = threading.Lock(), 0, 0, threading.Semaphore(0)

        def work() -> None:
            nonlocal running, highest
            with lock:
                running += 1
                highest = max(highest, running)
            time.sleep(0.01)
            with lock:
                running -= 1
            done.release()

        started: list[threading.Thread] = []
        threads = DaemonThreads(3, lambda: started.append(threading.current_thread()))
        for _ in range(12):
            threads.submit(work)
        assert all(done.acquire(timeout=10) for _ in range(12))
        assert (highest, len(threads), len(started)) == (3, 3, 3)
        threads.close()
        for thread in started:
            thread.join(10)
            assert not thread.is_alive()

    def test_a_stuck_function_does_not_keep_the_process(self) -> None:
        seen: list[bool] = []
        done = threading.Event()
        threads = DaemonThreads(1, lambda: None)
        threads.submit(lambda: (seen.append(threading.current_thread().daemon), done.set()))
        assert done.wait(10)
        assert seen == [True]
        threads.close()


class TestTheLoop:
    @pytest.fixture
    def loop(self) -> Iterator[PoolLoop]:
        made = PoolLoop()
        yield made
        made.close()

    def run(self, loop: PoolLoop, *functions: object) -> list[object]:
        """Run functions in greenlets of the loop."""

        async def work() -> list[object]:
            return await asyncio.gather(*[drive(make(function)) for function in functions])  # type: ignore[arg-type]

        return loop.submit(work()).result(10)

    async def give(self, value: object, seconds: float = 0.0) -> object:
        await asyncio.sleep(seconds)
        return value

    def test_a_greenlet_waits_for_a_coroutine_without_holding_up_the_loop(self, loop: PoolLoop) -> None:
        def work() -> object:
            return loop.result(loop.submit(self.give(7, 0.2)))

        began = time.monotonic()
        assert self.run(loop, *[work] * 50) == [7] * 50
        assert time.monotonic() - began < 5

    def test_a_thread_waits_for_one_by_blocking(self, loop: PoolLoop) -> None:
        assert loop.result(loop.submit(self.give(7))) == 7
        loop.pause(0)

    def test_who_gives_up_waiting_frees_the_greenlet_from_any_thread(self, loop: PoolLoop) -> None:
        def work() -> object:
            waited_for = loop.submit(self.give(7, 60))
            threading.Timer(0.05, waited_for.cancel).start()
            try:
                return loop.result(waited_for)
            except CancelledError:
                return "freed"

        assert self.run(loop, work) == ["freed"]

    def test_pauses_and_blocking_functions_hold_up_nobody(self, loop: PoolLoop) -> None:
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            for _ in range(20):
                loop.pause(0.01)
                ticks += 1

        def block() -> int:
            before = ticks
            assert loop.aside(time.sleep)(0.15) is None
            return ticks - before

        _, passed = self.run(loop, tick, block)
        assert passed >= 3, "the loop went on while a thread slept"
        assert loop.aside(len)("abc") == 3

    def test_it_says_whose_loop_it_is(self, loop: PoolLoop) -> None:
        assert loop.kind in {"asyncio", "uvloop"}

    def test_leaving_a_loop_that_is_held_up_takes_no_longer_than_told(self) -> None:
        loop, go_on = PoolLoop(), threading.Event()
        loop.call(lambda: go_on.wait(10))
        began = time.monotonic()
        loop.leave(0.1)
        assert time.monotonic() - began < 5
        go_on.set()


def test_waiting_names_no_greenlet_of_others() -> None:
    assert not greenlets.in_waiter()
