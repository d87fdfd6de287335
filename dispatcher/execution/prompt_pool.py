"""A prefork pool in which a call begins sooner, and costs its node less.

Three of the ways of Celery's own pool hold a single call up (`benchmarks.calls --only single`):

- From a message to a function's first line a node and its process take longer than the ledger takes to answer. Here the
  node has a process ask for the job as soon as it knows of it, and both do the rest while the server is at it.
- A process says that it has begun in a message, for which its node wakes up in the midst of the call. Here one that
  was free notes it where the node finds it: when it is awake anyway, and at least twenty times a second.
- A job is written when the poller has said that the pipes can be written to, which they can, and in two pieces, for the
  first of which its process wakes up. Here it is written at once and whole.
"""

import mmap
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from billiard.pool import ACK, READY, TASK
from celery import bootsteps, current_app
from celery.concurrency import asynpool
from celery.concurrency.prefork import TaskPool
from celery.worker.state import revoked

from dispatcher.execution.celery_task import FunctionTask
from dispatcher.transport.message import OTHERS_HEADER, WAKE_UP_HEADER

#: Seconds until a node looks at what its processes have begun, where nothing wakes it up before.
LOOK: Final = 0.05
#: Seconds until a node looks again for a process whose end it was told of and did not find; doubled with each look.
FIRST_PAUSE: Final = 0.001
#: Bytes that a pipe takes at once, or not at all.
AT_ONCE: Final = getattr(select, "PIPE_BUF", 512)
#: What a process is told beside its jobs: of one that it is about to be given, and of one whose beginning it notes.
EARLY: Final = "early"
QUIET: Final = "quiet"


class PromptPool(bootsteps.Step):
    """A step of Celery's worker, between the making of its pool and its start."""

    requires = ("celery.worker.components:Pool",)  # type: ignore[assignment]  # Celery's default is empty

    def create(self, parent: Any) -> None:  # noqa: ANN401 - Celery's signature
        """The node has its pool, and no processes yet."""
        if isinstance(parent.pool, TaskPool):
            parent.pool.Pool = Pool
            parent.app.amqp.on_wake_up = partial(foretell, parent)


def foretell(node: Any, headers: Mapping[str, Any]) -> None:  # noqa: ANN401 - Celery's
    """Have a process ask for the job of a wake-up that Celery is given next, if the pool is certain to get it."""
    pool, consumer, task = node.pool._pool, node.consumer, headers["task"]  # noqa: SLF001 - Celery does not show it
    if (
        isinstance(pool, Pool)
        and OTHERS_HEADER not in headers
        and headers["id"] not in revoked
        and task in consumer.strategies
        and (consumer.disable_rate_limits or consumer.task_buckets[task] is None)
        and (node.semaphore is None or node.semaphore.value > 0)
    ):
        pool.foretell(task, headers["id"], consumer.hostname)


class Begun:
    """The job that a process began last, and when: noted there and read in its node, which wakes neither."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, 16))  # shared with what is forked from now on
        self._job, self._at = memory[:8].cast("q"), memory[8:].cast("d")
        self._job[0] = -1  # jobs are numbered from 0

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
        begun = getattr(self.inq, "begun", None)  # a process that was not forked has none, and sends what it says
        # Who was told of a job takes it, though the pool is restarted meanwhile: another process would be refused it.
        restart, self._shutdown = self._shutdown, None
        receive_told = self._make_protected_receive(self.inq)  # type: ignore[no-untyped-call]
        self._shutdown = restart
        talk = Talk(self.wait_for_job, self.outq.put, begun, receive_told)
        self.wait_for_job, self.outq.put = talk.hear, talk.say


class Talk:
    """What a process hears from its node and says to it.

    Args:
        receive: the next message.
        put: sends one.
        begun: where to note that a job was begun.
        receive_told: as `receive`, after the process was told of the job that the next message is.
    """

    def __init__(
        self,
        receive: Callable[[], Any],
        put: Callable[[Any], None],
        begun: Begun | None,
        receive_told: Callable[[], Any] | None = None,
    ) -> None:
        self._receive = receive
        self._receive_told = receive_told or receive
        self._put = put
        self._begun = begun
        self._quietly = False
        self._tasks: Mapping[Any, Any] | None = None

    def hear(self) -> Any:  # noqa: ANN401 - as billiard sends it
        """The next message, if there is one; the job of a wake-up was asked for before it is returned."""
        message = self._receive()
        while message:
            kind, words = message
            if kind == EARLY:
                self._ask(*words)
                message = self._receive_told()
                continue
            self._quietly = kind == QUIET and self._begun is not None
            # Source: billiard.pool.Worker.workloop; celery.worker.request.Request.execute_using_pool.
            arguments = words[3]
            if len(arguments) > 2:  # noqa: PLR2004 - a task's name, its id, its request and more
                self._ask(arguments[0], arguments[2])
            return (TASK, words)
        return message

    def say(self, message: Any) -> None:  # noqa: ANN401 - as billiard sends it
        """Send a message, or note what it says."""
        if self._quietly and self._begun is not None and message[0] == ACK:
            job, _, at, *_ = message[1]
            self._begun.note(job, at)
        else:
            self._put(message)

    def _ask(self, name: object, request: Mapping[str, Any]) -> None:
        if self._tasks is None:
            self._tasks = current_app.tasks
        task = self._tasks.get(name)
        if isinstance(task, FunctionTask):
            task.ask_early(request)


class Pool(asynpool.AsynPool):
    """Celery's own, of such processes."""

    Worker = Process

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - billiard's signature
        self._call_later: Callable[[float, Callable[[], None]], object] | None = None
        self._will_look = False
        #: Jobs of which it is noted that they were begun, and not yet seen, by number.
        self._quiet: dict[int, Any] = {}
        #: A job and the pipe of the process that was told of it.
        self._told: tuple[str, int] | None = None
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        handlers = self._result_handler.state_handlers
        self._on_begun, self._on_ready = handlers[ACK], handlers[READY]
        handlers[READY] = self._on_begun_and_ready

    def create_process_queues(self) -> tuple[Any, Any, Any]:
        """As ever, with a place to note what was begun."""
        queues: tuple[Any, Any, Any] = super().create_process_queues()  # type: ignore[no-untyped-call]
        queues[0].begun = Begun()
        return queues

    def foretell(self, task: str, job_id: str, hostname: str) -> None:
        """Tell a process that is free of the job that the pool is to be asked for next."""
        for pipe in self._free():
            with suppress(OSError, KeyError):  # its pipe is full, or it has ended
                self._fileno_to_inq[pipe].inq.put(
                    (EARLY, (task, {"id": job_id, "hostname": hostname, WAKE_UP_HEADER: 1}))
                )
                self._told = job_id, pipe
            return

    def _free(self) -> set[int]:
        """The pipes of processes that would be given a job now; none while others wait to be given to them."""
        if self._call_later is None or self.outbound_buffer or self.sched_strategy != asynpool.SCHED_STRATEGY_FAIR:
            return set()
        free: set[int] = self._all_inqueues - self._busy_workers - self._active_writes
        return free

    def _pipes_for(self, job: Any) -> list[int]:  # noqa: ANN401 - billiard's
        """The pipes of all processes; first of one that was told of the job."""
        told, self._told = self._told, None
        first = [told[1]] if told is not None and told[0] == job.correlation_id else []
        return [*first, *self._all_inqueues]

    def see_begun(self) -> None:
        """Tell Celery what processes have begun since."""
        for number, job in list(self._quiet.items()):
            process = job._write_to  # noqa: SLF001 - billiard does not show it
            at = None if process is None else process.inq.begun.time_of(number)
            if at is not None or number not in self._cache:
                del self._quiet[number]
            if at is not None:
                self._on_begun(number, None, at, process.pid, None)
        if self._quiet:
            self._look_later()

    def _look_later(self) -> None:
        if self._call_later is not None and not self._will_look:
            self._will_look = True
            self._call_later(LOOK, self._look)

    def _look(self) -> None:
        self._will_look = False
        self.see_begun()

    def _on_begun_and_ready(self, number: int, i: object, result: object, pipe: int) -> None:
        job = self._quiet.pop(number, None)
        if job is not None and job._write_to is not None:  # noqa: SLF001
            at = job._write_to.inq.begun.time_of(number)  # noqa: SLF001
            self._on_begun(number, i, time.monotonic() if at is None else at, job._write_to.pid, None)  # noqa: SLF001
        self._on_ready(number, i, result, pipe)

    def _worker_active(self, worker: Any) -> bool:  # noqa: ANN401 - billiard's
        # Asked by the thread that makes pools smaller: what was given to a process is as good as begun.
        return any(job._write_to is worker for job in list(self._cache.values()))  # noqa: SLF001

    def _event_process_exit(self, hub: Any, process: Any, pause: float = FIRST_PAUSE) -> None:  # noqa: ANN401 - Celery's
        super()._event_process_exit(hub, process)  # type: ignore[no-untyped-call]
        # Its pipe may be closed before it can be waited for. Celery looks for it no sooner than five seconds later.
        if process in self._pool and pause < LOOK:
            hub.call_later(pause, self._event_process_exit, hub, process, 2 * pause)

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
            number = message[1][0]
            job = self._cache[number]
            request = getattr(job._accept_callback, "__self__", None)  # noqa: SLF001
            on_given = getattr(request, "on_given", None) if self._free() else None
            send(message if on_given is None else (QUIET, message[1]))
            header, body, size = job._payload  # noqa: SLF001
            if len(header) + size <= AT_ONCE:
                job._payload = memoryview(bytes(header) + bytes(body)), body[:0], 0  # noqa: SLF001
            # It passes over processes that are busy. One whose pipe is full is written to when the poller says so.
            hub.consolidate_callback(self._pipes_for(job))
            if on_given is not None:
                self._quiet[number] = job
                self._look_later()
                on_given()

        self._quick_put = send_whole
