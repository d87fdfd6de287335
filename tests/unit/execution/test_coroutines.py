"""One event loop for the coroutines of a process, which nothing that they do can end."""

import asyncio
import contextvars
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from dispatcher.execution.coroutines import CoroutineRunner

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


@pytest.fixture
def runner() -> Iterator[CoroutineRunner]:
    made = CoroutineRunner()
    yield made
    made.close()


async def give(value: object) -> object:
    await asyncio.sleep(0)
    return value


def test_a_coroutine_runs_on_a_thread_of_its_own_and_its_value_comes_back(runner: CoroutineRunner) -> None:
    async def where() -> threading.Thread:
        return threading.current_thread()

    first, second = runner.submit(where()), runner.submit(where())
    assert first.result(5) is second.result(5)
    assert first.result(5) is not threading.current_thread()


def test_an_exception_comes_back_as_it_was_raised(runner: CoroutineRunner) -> None:
    error = ValueError("x")

    async def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="x") as caught:
        runner.submit(fail()).result(5)
    assert caught.value is error


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError("my own")])
def test_no_way_to_end_ends_the_loop_for_the_others(runner: CoroutineRunner, ending: BaseException) -> None:
    async def end() -> None:
        raise ending

    with pytest.raises(type(ending)) as caught:
        runner.submit(end()).result(5)
    assert caught.value is ending
    assert runner.submit(give(7)).result(5) == 7


def test_sys_exit_deep_inside_is_only_that_coroutines_end(runner: CoroutineRunner) -> None:
    gate = asyncio.Event()

    async def wait() -> str:
        await gate.wait()
        return "still here"

    async def leave() -> None:
        gate.set()
        await asyncio.sleep(0)
        sys.exit("bye")

    waiting, leaving = runner.submit(wait()), runner.submit(leave())
    assert isinstance(leaving.exception(5), SystemExit)
    assert waiting.result(5) == "still here"


def test_the_callers_context_is_copied(runner: CoroutineRunner) -> None:
    async def read_and_change() -> str:
        before = name.get()
        name.set("the coroutine")
        return before

    token = name.set("the caller")
    try:
        assert runner.submit(read_and_change()).result(5) == "the caller"
        assert name.get() == "the caller"
    finally:
        name.reset(token)


def test_who_stops_waiting_does_not_stop_the_coroutine(runner: CoroutineRunner) -> None:
    started, go_on, ended = threading.Event(), asyncio.Event(), threading.Event()

    async def work() -> None:
        started.set()
        await go_on.wait()
        ended.set()

    async def let_go() -> None:
        go_on.set()

    waiting = runner.submit(work())
    assert started.wait(5)
    assert waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(5)
    runner.submit(let_go()).result(5)
    assert ended.wait(5)
    assert runner.submit(give(1)).result(5) == 1


def test_closing_twice_or_before_the_first_coroutine_is_fine() -> None:
    unused = CoroutineRunner()
    unused.close()
    used = CoroutineRunner()
    assert used.submit(give(1)).result(5) == 1
    used.close()
    used.close()
    assert used.submit(give(2)).result(5) == 2, "it starts again when needed"
    used.close()
