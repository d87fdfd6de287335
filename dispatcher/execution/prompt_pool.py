"""A prefork pool in which a call begins sooner, and costs its node less.

Three of the ways of Celery's own pool hold a single call up (`benchmarks.calls --only single`):

- From a message in the pipe to a function's first line a process takes as long as the ledger takes to answer. Here it
  asks for the job first, and does the rest while the server is at it.
- A process says that it has begun in a message, for which its node wakes up in the midst of the call. Here it notes
  that where the node finds it: when it is awake anyway, and at least twenty times a second.
- A job is written to the pipe in two pieces, and its process wakes up for the first.
"""

import mmap
import time
from collections.abc import Callable
from select import PIPE_BUF
from typing import Any, Final

from billiard.pool import ACK, READY
from celery import bootsteps, current_app
from celery.concurrency import asynpool
from celery.concurrency.prefork import TaskPool

from dispatcher.execution.celery_task import FunctionTask

#: Seconds until a node looks at what its processes have begun, where nothing wakes it up before.
LOOK: Final = 0.05


class PromptPool(bootsteps.Step):
    """A step of Celery's worker, between the making of its pool and its start."""

    requires = ("celery.worker.components:Pool",)  # type: ignore[assignment]  # Celery's default is empty

    def create(self, parent: Any) -> None:  # noqa: ANN401 - Celery's signature
        """The node has its pool, and no processes yet."""
        if isinstance(parent.pool, TaskPool):
            parent.pool.Pool = Pool


class Begun:
    """The job that a process began last, and when: noted there and read in its node, which wakes neither."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, 16))  # shared with what is forked from now on
        self._job, self._at = memory[:8].cast("q"), memory[8:].cast("d")

    def note(self, job: int, at: float) -> None:
        """Take note of a job. Its time goes first: who finds the job finds its time."""
        self._at[0] = at
        self._job[0] = job

    def time_of(self, job: int) -> float | None:
        """When a job was begun; None if it was not, or another was since."""
        return self._at[0] if self._job[0] == job else None


class Process(asynpool.Worker):
    """What a process of the pool runs."""

    def _make_child_methods(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - billiard's signature
        super()._make_child_methods(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.wait_for_job = asking_early(self.wait_for_job)
        begun = getattr(self.inq, "begun", None)  # a process that was not forked has none, and sends what it says
        if begun is not None:
            self.outq.put = noting(begun, self.outq.put)


class Pool(asynpool.AsynPool):
    """Celery's own, of such processes."""

    Worker = Process

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - billiard's signature
        self._call_later: Callable[[float, Callable[[], None]], object] | None = None
        self._will_look = False
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        handlers = self._result_handler.state_handlers
        self._on_begun, self._on_ready = handlers[ACK], handlers[READY]
        handlers[READY] = self._on_begun_and_ready

    def create_process_queues(self) -> tuple[Any, Any, Any]:
        """As ever, with a place to note what was begun."""
        queues: tuple[Any, Any, Any] = super().create_process_queues()  # type: ignore[no-untyped-call]
        queues[0].begun = Begun()
        return queues

    def see_begun(self) -> None:
        """Tell Celery what processes have begun since."""
        not_begun = False
        for job in list(self._cache.values()):
            if job._accepted or job._write_to is None:  # noqa: SLF001 - billiard does not show them
                continue
            at = job._write_to.inq.begun.time_of(job._job)  # noqa: SLF001
            if at is None:
                not_begun = True
            else:
                self._on_begun(job._job, None, at, job._write_to.pid, None)  # noqa: SLF001
        if not_begun:
            self._look_later()

    def _look_later(self) -> None:
        if self._call_later is not None and not self._will_look:
            self._will_look = True
            self._call_later(LOOK, self._look)

    def _look(self) -> None:
        self._will_look = False
        self.see_begun()

    def _on_begun_and_ready(self, job: int, i: object, result: object, pipe: int) -> None:
        known = self._cache.get(job)
        process = None if known is None or known._accepted else known._write_to  # noqa: SLF001
        if process is not None:
            at = process.inq.begun.time_of(job)
            self._on_begun(job, i, time.monotonic() if at is None else at, process.pid, None)
        self._on_ready(job, i, result, pipe)
        if self._cache:
            self._look_later()

    def _join_exited_workers(self, shutdown: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - billiard's signature
        # What a process had begun is lost with it; what it had not is given to another.
        self.see_begun()
        return super()._join_exited_workers(shutdown=shutdown)  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        """As ever: what was not begun is taken back."""
        self.see_begun()
        super().flush()  # type: ignore[no-untyped-call]

    def _create_write_handlers(self, hub: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's signature
        super()._create_write_handlers(hub, *args, **kwargs)  # type: ignore[no-untyped-call]
        self._call_later, self._will_look = hub.call_later, False
        send = self._quick_put

        def send_whole(message: Any) -> None:  # noqa: ANN401 - billiard's
            send(message)
            job = self._cache[message[1][0]]
            header, body, size = job._payload  # noqa: SLF001
            if len(header) + size <= PIPE_BUF:  # a pipe takes so much at once, or nothing
                job._payload = memoryview(bytes(header) + bytes(body)), body[:0], 0  # noqa: SLF001
            self._look_later()

        self._quick_put = send_whole


def asking_early(receive: Callable[[], Any]) -> Callable[[], Any]:
    """The same function, which gives a process what it is sent; it asks for the job of a wake-up before it returns."""

    def receive_and_ask() -> Any:  # noqa: ANN401 - as billiard sends it
        message = receive()
        if message:
            # Source: billiard.pool.Worker.workloop; celery.worker.request.Request.execute_using_pool.
            _, (_, _, _, arguments, _) = message
            if len(arguments) > 2:  # noqa: PLR2004 - a task's name, its id, its request and more
                task = current_app.tasks.get(arguments[0])
                if isinstance(task, FunctionTask):
                    task.ask_early(arguments[2])
        return message

    return receive_and_ask


def noting(begun: Begun, put: Callable[[Any], None]) -> Callable[[Any], None]:
    """The same function, which sends a process's messages to its node; what says that a job was begun is noted."""

    def note_or_put(message: Any) -> None:  # noqa: ANN401 - as billiard sends it
        if message[0] == ACK:
            job, _, at, *_ = message[1]
            begun.note(job, at)
        else:
            put(message)

    return note_or_put
