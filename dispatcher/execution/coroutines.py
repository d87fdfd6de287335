"""One event loop a process, on a thread of its own, for `async def` functions under a pool that knows none."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from dispatcher.transport.connection import connect
from dispatcher.transport.ledger import Ledger

T = TypeVar("T")


class _Ended(Exception):  # noqa: N818 - a wrapper, not an error
    """Carries what a coroutine raised past asyncio, which would act on it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class CoroutineRunner:
    """Runs coroutines for threads that wait for them. Started by the first."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop, in a copy of the caller's context, and return what its result will be in.

        Cancelling the future only stops the waiting; to stop the coroutine, cancel its task on its loop.
        """
        loop = self._started()
        result: Future[T] = Future()
        context = contextvars.copy_context()

        def start() -> None:
            task = loop.create_task(contained(coroutine), context=context)
            task.add_done_callback(lambda done: copy_result(done, result))

        loop.call_soon_threadsafe(start)
        return result

    #: Whether `at_once` does what it says.
    runs_at_once = False

    def at_once(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Call plain functions that wait for coroutines, at once where a pool can, and give their results."""
        return [call() for call in calls]

    def result(self, submitted: Future[T]) -> T:
        """Wait for what was submitted. Where a pool knows a better way to wait than to block, it says so."""
        return submitted.result()

    def pause(self, seconds: float) -> None:
        """Wait so long, in the same way."""
        threading.Event().wait(seconds)

    def ledger(self, url: str) -> Ledger:
        """A ledger for those who submit coroutines here."""
        return Ledger(connect(url, role="worker"), keep=True)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._loop is loop:
            # Comes back at `close`, and when a coroutine stopped the loop that it shares with others.
            loop.run_forever()

    def close(self) -> None:
        """End the loop; what still runs on it is left where it is."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None and self._thread is not None:
                loop.call_soon_threadsafe(loop.stop)
                self._thread.join()
                loop.close()

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = self._make_loop()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name="dispatcher-loop", daemon=True
                )
                self._thread.start()
            return self._loop


async def contained(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it so that nothing it raises ends the loop, and with it every other coroutine."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt, asyncio.CancelledError) as error:
        raise _Ended(error) from None


def copy_result(task: asyncio.Task[T], result: Future[T]) -> None:
    """Hand a task's result to whoever waits for it."""
    if not result.set_running_or_notify_cancel():
        if not task.cancelled():
            task.exception()  # looked at: asyncio would complain that nobody did
        return
    # A task cancelled before its first step never ran.
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if isinstance(error, _Ended):
        error = error.error
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(task.result())


_shared: CoroutineRunner | None = None


def share(runner: CoroutineRunner | None) -> None:
    """Name the runner of this process's coroutines; None: whoever has some makes one of its own."""
    global _shared  # noqa: PLW0603 - the pool of a process is made by Celery, which hands it to nobody
    _shared = runner


def shared() -> CoroutineRunner | None:
    """The runner of this process's coroutines, where its pool has one."""
    return _shared
