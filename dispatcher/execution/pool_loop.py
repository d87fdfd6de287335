"""The event loop of a process of the asyncio pool, for those who wait on it without being coroutines."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from dispatcher.execution.coroutines import CoroutineRunner, contained, copy_result
from dispatcher.execution.greenlets import drive, in_waiter, make, wait
from dispatcher.transport.batched import BatchedLedger
from dispatcher.transport.connection import connect, connect_async
from dispatcher.transport.ledger import AsyncLedger, Ledger
from dispatcher.transport.script import Command

try:
    from uvloop import new_event_loop
except ImportError:
    from asyncio import new_event_loop

T = TypeVar("T")


class _Submitted(Future[T]):
    """The result of a coroutine that a greenlet started, and the task that runs it."""

    task: asyncio.Task[T]


class PoolLoop(CoroutineRunner):
    """Runs coroutines for greenlets on the same loop, which wait without blocking it, and for threads, which block."""

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        if not in_waiter():
            return super().submit(coroutine)
        result: _Submitted[T] = _Submitted()
        # A task of its own: what it does to its own task, and what the supervisor does, is not done to the greenlet's.
        result.task = asyncio.get_running_loop().create_task(contained(coroutine), context=contextvars.copy_context())
        result.task.add_done_callback(lambda done: copy_result(done, result))
        return result

    def result(self, submitted: Future[T]) -> T:
        if not in_waiter():
            return submitted.result()
        loop, here = asyncio.get_running_loop(), threading.get_ident()
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        def on_end(_: Future[T]) -> None:
            # Where the supervisor gives a call up, it is its thread that says so.
            if threading.get_ident() == here:
                wake()
            else:
                loop.call_soon_threadsafe(wake)

        submitted.add_done_callback(on_end)
        try:
            wait(woken)
        except BaseException:
            # The greenlet must end: by its time limit, or because Celery terminates it.
            if isinstance(submitted, _Submitted):
                submitted.task.cancel()
            raise
        return submitted.result()

    @property
    def runs_at_once(self) -> bool:  # type: ignore[override]  # there it is a constant
        return in_waiter()

    def at_once(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        if not in_waiter():
            return super().at_once(calls)
        loop = asyncio.get_running_loop()
        # Each is made by its own task: the greenlet that is current when one is made becomes its parent.
        tasks = [loop.create_task(_run(call)) for call in calls]
        try:
            return wait(asyncio.gather(*tasks))
        except BaseException:
            # This greenlet must end, and so must they.
            for task in tasks:
                task.cancel()
            raise

    def pause(self, seconds: float) -> None:
        if in_waiter():
            wait(asyncio.sleep(seconds))
        else:
            super().pause(seconds)

    def ledger(self, url: str) -> Ledger:
        """A ledger for greenlets of this loop and for threads."""
        return PoolLedger(url)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop, from any thread."""
        self._started().call_soon_threadsafe(function)

    def aside(self, function: Callable[..., T]) -> Callable[..., T]:
        """The same function, for greenlets too: they have a thread call it, and the loop is not held up."""

        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> T:
            if in_waiter():
                return wait(asyncio.to_thread(function, *args, **kwargs))
            return function(*args, **kwargs)

        return call

    def leave(self, seconds: float) -> None:
        """End the loop, if it lets itself be ended in so many seconds; what still runs on it is left where it is."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(seconds)

    @property
    def kind(self) -> str:
        """Whose loop it is: `uvloop` or `asyncio`."""
        return type(self._started()).__module__.partition(".")[0]

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = new_event_loop()
        return loop


async def _run(call: Callable[[], T]) -> T:
    return await drive(make(call))


class PoolLedger(Ledger):
    """Waits on the loop where it is asked by a greenlet, and blocks where it is asked by a thread."""

    def __init__(self, url: str) -> None:
        super().__init__(connect(url, role="worker"), keep=True)
        self._batched = BatchedLedger(AsyncLedger(connect_async(url, role="worker")))

    def run(self, command: Command[T]) -> T:
        return wait(self._batched.submit(command)) if in_waiter() else super().run(command)

    def run_many_settled(self, commands: Sequence[Command[T]]) -> list[T | Exception]:
        if not in_waiter():
            return super().run_many_settled(commands)
        waiting = [self._batched.submit(command) for command in commands]
        return wait(asyncio.gather(*waiting, return_exceptions=True))  # type: ignore[arg-type]
