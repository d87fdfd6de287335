"""`--pool asyncio`: a Celery worker pool that runs coroutines natively, thousands at once.

Celery's own tracer, unmodified, runs in a greenlet on one event loop. What an `async def` function awaits is handed to
that loop, as is what the executor asks the ledger; the loop runs others meanwhile. It has a thread of its own, since
Celery's consumer blocks the main thread. A `def` task would hold the loop up, and runs in a thread, tracer and all.
"""

import asyncio
import functools
import inspect
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from celery import Celery, Task
from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import SoftTimeLimitExceeded

from dispatcher.execution import coroutines, greenlets
from dispatcher.execution.celery_task import FunctionTask
from dispatcher.execution.daemon_threads import DaemonThreads
from dispatcher.execution.inbox import Inbox
from dispatcher.execution.pool_loop import PoolLoop

logger = logging.getLogger(__name__)

#: Threads for `def` tasks, where the concurrency allows so many.
MAX_THREADS: Final = 32

#: Seconds between two looks at whether everything has ended, while the pool stops; and what a task that is cut off may
#: take to clean up.
STOP_LOOK, CUT_OFF_GRACE = 0.02, 1.0


class Terminated(SystemExit):
    """A task's end by `revoke(terminate=True)`, a hard time limit, or the worker's own cold shutdown.

    A SystemExit, so that neither Celery's tracer nor the executor takes it for the task's own failure.
    """


class CoroutineCancelledError(Exception):
    """An ordinary Celery task's coroutine was cancelled, by itself or by what it awaited."""


class Work:
    """One task in the pool's hands; Celery keeps a weak reference to it, and terminates it by it."""

    __slots__ = ("__weakref__", "call", "callback", "limits", "on_accept", "on_error", "on_timeout", "pid", "pool",
                 "task", "terminated", "timers", "waiter")  # fmt: skip

    def __init__(self, pool: "TaskPool", pid: int, call: Callable[[], Any], options: dict[str, Any]) -> None:
        self.pool = pool
        #: In place of a process id: `terminate_job` is told which.
        self.pid = pid
        self.call = call
        self.on_accept: Callable[..., object] | None = options.get("accept_callback")
        self.callback: Callable[..., object] | None = options.get("callback")
        self.on_error: Callable[..., object] | None = options.get("error_callback")
        self.on_timeout: Callable[..., object] | None = options.get("timeout_callback")
        #: Soft and hard time limit, in seconds.
        self.limits = options.get("soft_timeout"), options.get("timeout")
        self.waiter: greenlets.Waiter[Any] | None = None
        self.task: asyncio.Task[Any] | None = None
        self.timers: list[asyncio.TimerHandle] = []
        self.terminated = False

    def terminate(self, _signal: object = None) -> None:
        """End it; Celery has announced it as revoked."""
        self.pool.terminate_job(self.pid)


class TaskPool(BasePool):
    """The pool, as Celery knows it.

    Celery's callbacks are called in its main thread, where prefork calls them: they touch what is not made for threads.
    """

    limit: int
    signal_safe = False
    body_can_be_buffer = True

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's signature
        super().__init__(*args, **options)
        self._loop = PoolLoop()
        self._threads = DaemonThreads(min(self.limit, MAX_THREADS), self._enter_thread)
        self._lock = threading.Lock()
        self._works: dict[int, Work] = {}
        #: Those of coroutines: waiting for a place, and how many have one.
        self._waiting: deque[Work] = deque()
        self._running = 0
        self._to_start: Inbox[Work] = Inbox(lambda: self._loop.call(self._start_all))
        self._letters: Inbox[Callable[[], object]] = Inbox(lambda: self._hub.call_soon(self._deliver))
        self._next_pid = os.getpid()
        self._hub: Any = None
        #: Names of the tasks that run on the loop.
        self._async_tasks: set[str] = set()

    # --- Celery's side, in the main thread ----------------------------------------------------------------------

    def on_start(self) -> None:
        """Start the loop, and let coroutines of Celery tasks be awaited."""
        coroutines.share(self._loop)
        self._loop.call(self._enter_thread)
        self.app.backend.store_result = self._loop.aside(self.app.backend.store_result)
        for name, task in self.app.tasks.items():
            if task.function.is_async if isinstance(task, FunctionTask) else _await_coroutines(task):
                self._async_tasks.add(name)

    def register_with_event_loop(self, hub: Any) -> None:  # noqa: ANN401 - kombu's hub
        """Celery's callbacks go through its loop from now on."""
        self._hub = hub

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,  # noqa: ANN401 - Celery's signature
        kwargs: Any = None,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> Work:
        """Run one task: at once, or when there is a place for it."""
        with self._lock:
            self._next_pid += 1
            work = Work(self, self._next_pid, functools.partial(target, *args or (), **kwargs or {}), options)
            self._works[work.pid] = work
            blocking = not args or args[0] not in self._async_tasks
            placed = not blocking and self._running < self.limit
            self._running += placed
            if not (placed or blocking):
                self._waiting.append(work)
        if blocking:
            self._threads.submit(functools.partial(self._run_in_thread, work))
        elif placed:
            self._accept(work)
            self._to_start.put(work)
        return work

    def grow(self, n: int = 1) -> None:
        """Celery's autoscaler, or `celery control pool_grow`."""
        with self._lock:
            self.limit += n
        for work in self._take_places():
            self._tell(functools.partial(self._accept, work))
            self._to_start.put(work)

    def shrink(self, n: int = 1) -> None:
        """Fewer at once from now on; what runs is let run."""
        with self._lock:
            self.limit = max(1, self.limit - n)

    def terminate_job(self, pid: int, _signal: object = None) -> None:
        """End one task, at the point where it waits. A `def` cannot be ended; its end counts no more."""
        work = self._works.get(pid)
        if work is not None and not work.terminated:
            work.terminated = True
            self._loop.call(functools.partial(_end, work, Terminated("terminated")))

    def on_stop(self) -> None:
        """Celery's warm shutdown: wait until everything has ended."""
        while self._works:
            self._deliver()
            time.sleep(STOP_LOOK)
        self._finish()

    def on_terminate(self) -> None:
        """Celery's cold shutdown: end what runs. Jobs keep their leases until these run out, and are run again."""
        for work in list(self._works.values()):
            self.terminate_job(work.pid)
        give_up = time.monotonic() + CUT_OFF_GRACE
        while self._running and time.monotonic() < give_up:
            self._deliver()
            time.sleep(STOP_LOOK)
        self._finish()

    def _finish(self) -> None:
        self._threads.close()
        self._deliver()
        coroutines.share(None)
        self._loop.leave(CUT_OFF_GRACE)

    def _get_info(self) -> dict[str, Any]:
        return {
            **super()._get_info(),
            "loop": self._loop.kind,
            "running": self._running,
            "waiting": len(self._waiting) + self._threads.waiting,
            "threads": len(self._threads),
        }

    # --- what Celery is told ------------------------------------------------------------------------------------

    def _tell(self, letter: Callable[[], object]) -> None:
        """Have something called in the main thread; here and now where Celery has no loop there."""
        if self._hub is None:
            letter()
            return
        self._letters.put(letter)

    def _deliver(self) -> None:
        for letter in self._letters.take():
            try:
                letter()
            except Exception:
                # Must survive anything: the letters behind it are about other tasks.
                logger.exception("pool_callback_failed")

    def _accept(self, work: Work) -> None:
        if work.on_accept is not None:
            work.on_accept(work.pid, time.monotonic())

    def _report(self, work: Work, callback: Callable[..., object] | None, *result: object) -> None:
        if callback is not None and not work.terminated:
            self._tell(functools.partial(callback, *result))

    # --- coroutines, on the loop's thread -----------------------------------------------------------------------

    def _enter_thread(self) -> None:
        # Celery's current app is a thread's own.
        app: Celery = self.app
        app.set_current()

    def _start_all(self) -> None:
        for work in self._to_start.take():
            self._start(work)

    def _start(self, work: Work) -> None:
        work.task = asyncio.get_running_loop().create_task(self._drive(work))

    async def _drive(self, work: Work) -> None:
        try:
            if not work.terminated:
                # Not before: a task that is cancelled before its first step would not come to give its place back.
                work.waiter = greenlets.make(functools.partial(self._apply, work))
                self._set_limits(work)
                await greenlets.drive(work.waiter)
        finally:
            for timer in work.timers:
                timer.cancel()
            work.waiter = None
            self._end_work(work)
            for following in self._take_places(ended=1):
                self._tell(functools.partial(self._accept, following))
                self._start(following)

    def _apply(self, work: Work) -> None:
        """Call the tracer, as Celery's own pools do."""
        try:
            apply_target(work.call, callback=functools.partial(self._report_result, work), propagate=(Terminated,))
        except Terminated:
            pass  # Celery announced it when it asked for it, or does so at the time limit
        except Exception:
            # Must survive anything: the tracer itself failed, and others share this loop, or this thread.
            logger.exception("pool_task_failed")

    def _report_result(self, work: Work, result: object) -> None:
        # What is no result of the tracer says that a task ended as processes do, by SystemExit and its like.
        self._report(work, work.callback if isinstance(result, tuple) else work.on_error, result)

    def _set_limits(self, work: Work) -> None:
        soft, hard = work.limits
        loop = asyncio.get_running_loop()
        if soft:
            work.timers.append(loop.call_later(soft, self._on_limit, work, soft, True))  # noqa: FBT003 - Celery's order
        if hard:
            work.timers.append(loop.call_later(hard, self._on_limit, work, hard, False))  # noqa: FBT003

    def _on_limit(self, work: Work, limit: float, soft: bool) -> None:  # noqa: FBT001
        self._report(work, work.on_timeout, soft, limit)
        work.terminated = not soft
        _end(work, SoftTimeLimitExceeded(limit) if soft else Terminated("time limit"))

    def _take_places(self, ended: int = 0) -> list[Work]:
        """Those that have waited, and have a place now."""
        with self._lock:
            self._running -= ended
            free = max(0, min(self.limit - self._running, len(self._waiting)))
            self._running += free
            return [self._waiting.popleft() for _ in range(free)]

    def _end_work(self, work: Work) -> None:
        # After its last letter: while it is among the works, a pool that stops delivers letters.
        self._tell(functools.partial(self._works.pop, work.pid, None))

    # --- `def` tasks, in their threads --------------------------------------------------------------------------

    def _run_in_thread(self, work: Work) -> None:
        if not work.terminated:
            self._tell(functools.partial(self._accept, work))
            self._apply(work)
        self._end_work(work)


def _end(work: Work, ending: BaseException) -> None:
    """Raise something where a coroutine's tracer waits. On the loop's thread."""
    if work.waiter is not None and work.task is not None:
        work.waiter.ending = ending
        work.task.cancel()


def _await_coroutines(task: Task) -> bool:
    """Let an ordinary task be an `async def`: what Celery calls then waits for its coroutine. Whether it is one."""
    name = "_orig_run" if hasattr(task, "_orig_run") else "run"  # the former is what `autoretry_for` wraps
    run = getattr(task, name)
    if not inspect.iscoroutinefunction(run):
        return False

    @functools.wraps(run)
    def run_and_wait(*args: object, **kwargs: object) -> object:
        try:
            return greenlets.wait(run(*args, **kwargs))
        except asyncio.CancelledError as error:
            raise CoroutineCancelledError(*error.args) from error

    setattr(task, name, run_and_wait)
    return True
