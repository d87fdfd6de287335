"""A prefork pool in which a call begins sooner, and costs its node less.

Three of the ways of Celery's own pool hold a single call up (`benchmarks.calls --only single`):

- From a message to a function's first line a node and its process take longer than the ledger takes to answer. Here the
  node gives a process the job of a plain wake-up as soon as it has read it, and Celery does its part while the process
  and the server do theirs. Of another wake-up the process is told, and asks for the job while the node goes on.
- A process says that it has begun in a message, for which its node wakes up in the midst of the call. Here one that
  was free notes it where the node finds it: when it is awake anyway, and at least twenty times a second.
- A job is written when the poller has said that the pipes can be written to, which they can, and in two pieces, for the
  first of which its process wakes up. Here it is written at once and whole.
"""

import os
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import billiard.pool
from billiard.pool import ACK, READY, RUN
from celery import bootsteps
from celery.concurrency import asynpool
from celery.concurrency.prefork import TaskPool
from celery.signals import task_received
from celery.worker.state import revoked

from dispatcher.execution.begun import Begun, Given, Late
from dispatcher.execution.celery_task import FunctionTask
from dispatcher.execution.leases import NO_OFFER, Asked
from dispatcher.execution.post import Post, leave_to_others
from dispatcher.execution.run import new_nonce
from dispatcher.execution.talk import EARLY, GIVEN, OFFERED, QUIET, Talk
from dispatcher.transport.guard import PlainWakeUp
from dispatcher.transport.message import OTHERS_HEADER, WAKE_UP_HEADER

if TYPE_CHECKING:
    from dispatcher.transport.voice import Voice

#: Seconds until a node looks at what its processes have begun, where nothing wakes it up before.
LOOK: Final = 0.05
#: Seconds until a node looks again for a process whose end it was told of and did not find; doubled with each look, and
#: left to Celery where that would look sooner. Source: celery.concurrency.asynpool.AsynPool.timers, Celery 5.7.
FIRST_PAUSE: Final = 0.001
CELERY_PAUSE: Final = 5.0
#: Bytes that a pipe takes at once, or not at all.
AT_ONCE: Final = getattr(select, "PIPE_BUF", 512)
#: Stands for a job that ends with its process: Celery gives it to no other.
ENDED: Final = SimpleNamespace(_accepted=True)


class PromptPool(bootsteps.Step):
    """A step of Celery's worker, between the making of its pool and its start."""

    requires = ("celery.worker.components:Pool",)  # type: ignore[assignment]  # Celery's default is empty

    def create(self, parent: Any) -> None:  # noqa: ANN401 - Celery's signature
        """The node has its pool, and no processes yet."""
        if isinstance(parent.pool, TaskPool):
            parent.pool.Pool = Pool
            parent.app.amqp.on_wake_up = partial(foretell, parent)
            parent.app.amqp.on_plain_wake_up = partial(give, parent, parent.app.tasks)


def give(node: Any, tasks: Mapping[str, object], wake_up: PlainWakeUp) -> bool:  # noqa: ANN401 - Celery's
    """Give a process the job of a wake-up that Celery is given next; whether that was done.

    Celery then finds that it is with a process already, and does all else as ever. Not where somebody listens who may
    change what a process is given.
    """
    pool = _pool_for(node, wake_up.function, wake_up.job_id)
    ours = isinstance(tasks.get(wake_up.function), FunctionTask)
    return pool is not None and ours and not task_received.receivers and pool.give(wake_up, node.consumer.hostname)


def foretell(node: Any, headers: Mapping[str, Any]) -> None:  # noqa: ANN401 - Celery's
    """Have a process ask for the job of a wake-up that Celery is given next, if the pool is certain to get it."""
    pool = None if OTHERS_HEADER in headers else _pool_for(node, headers["task"], headers["id"])
    if pool is not None:
        pool.foretell(headers["task"], headers["id"], node.consumer.hostname)


def _pool_for(node: Any, task: str, job_id: str) -> "Pool | None":  # noqa: ANN401 - Celery's
    """The pool, if it is certain to get this job in the same breath."""
    pool, consumer = node.pool._pool, node.consumer  # noqa: SLF001 - Celery does not show it
    if (
        isinstance(pool, Pool)
        and job_id not in revoked
        and task in consumer.strategies
        and (consumer.disable_rate_limits or consumer.task_buckets[task] is None)
        and (node.semaphore is None or node.semaphore.value > 0)
    ):
        return pool
    return None


class Process(asynpool.Worker):
    """What a process of the pool runs."""

    def _make_child_methods(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - billiard's signature
        super()._make_child_methods(*args, **kwargs)  # type: ignore[no-untyped-call]
        # A process that was not forked has neither. It sends what it says, and asks for its jobs itself.
        begun, post = getattr(self.inq, "begun", None), getattr(self.inq, "post", None)
        leave_to_others()
        # Who was told of a job takes it, though the pool is restarted meanwhile: another process would be refused it.
        restart, self._shutdown = self._shutdown, None
        receive_told = self._make_protected_receive(self.inq)  # type: ignore[no-untyped-call]
        self._shutdown = restart
        talk = Talk(self.wait_for_job, self.outq.put, begun, receive_told, post)
        self.wait_for_job, self.outq.put = talk.hear, talk.say


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
        #: What was given last, until the pool is asked for it.
        self._given: Given | None = None
        #: Jobs that were given and for which nobody has asked, by number.
        self._untaken: dict[int, Given] = {}
        #: On which a process's jobs are asked for.
        self._voices: dict[Any, Voice] = {}
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        handlers = self._result_handler.state_handlers
        self._on_begun, self._on_ready = handlers[ACK], handlers[READY]
        handlers[READY], handlers[OFFERED] = self._on_begun_and_ready, self._on_offered

    def create_process_queues(self) -> tuple[Any, Any, Any]:
        """As ever, with a place to note what was begun, and a way to hand on a connection."""
        queues: tuple[Any, Any, Any] = super().create_process_queues()  # type: ignore[no-untyped-call]
        queues[0].begun, queues[0].post = Begun(), Post()
        return queues

    def give(self, wake_up: PlainWakeUp, hostname: str) -> bool:
        """Give a process that is free the job that the pool is to be asked for next; whether that was done."""
        self._given = None
        process = self._fileno_to_inq.get(next(iter(self._free()), None))
        if process is None or self._state != RUN:
            return False
        number, voice = next(billiard.pool.job_counter), self._voices.get(process)
        asked = Asked(NO_OFFER if voice is None else voice.number, new_nonce(), time.monotonic())
        words = (number, hostname, tuple(asked), tuple(wake_up))
        header, body, size = self._create_payload(GIVEN, words)  # type: ignore[no-untyped-call]
        if len(header) + size > AT_ONCE:
            return False
        try:
            os.write(process.inqW_fd, header + body)
        except OSError:  # its pipe is full, or it has ended
            return False
        # Its process was told before: it waits for one answer for each time that it was told.
        if voice is not None and not voice.ask(asked.nonce, wake_up.job_id):
            del self._voices[process]
        self._busy_workers.add(process.inqW_fd)
        # Another asks under the same nonce: what this one was granted is granted to it.
        elsewhere = (number, hostname, tuple(asked._replace(offer=NO_OFFER)), tuple(wake_up))
        again = Late(self._create_payload, GIVEN, elsewhere)
        self._given = self._untaken[number] = Given(wake_up.job_id, number, process, again)
        return True

    def _note_given(self, job: Any) -> bool:  # noqa: ANN401 - billiard's
        """Whether a process has this job already: then it is as if it had been written to it now."""
        given, self._given = self._given, None
        if given is None or given.job_id != job.correlation_id or self._untaken.pop(given.number, None) is None:
            return False
        del self._cache[job._job]  # noqa: SLF001 - billiard does not show it
        job._job = given.number  # noqa: SLF001 - by which its process speaks of it
        self._cache[given.number] = job
        job._payload = given.again  # noqa: SLF001
        job._scheduled_for = job._write_to = given.process  # noqa: SLF001
        self.write_stats[given.process.index] += 1
        return True

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
            if at is not None:
                del self._quiet[number]
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
        untaken = self._untaken.pop(number, None)
        if untaken is not None:
            # Its process counts what it has ended and what was heard of that, and may end only when they are as many.
            self._on_begun(number, i, time.monotonic(), untaken.process.pid, None)
        job = self._quiet.pop(number, None)
        if job is not None and job._write_to is not None:  # noqa: SLF001
            at = job._write_to.inq.begun.time_of(number)  # noqa: SLF001
            self._on_begun(number, i, time.monotonic() if at is None else at, job._write_to.pid, None)  # noqa: SLF001
        self._on_ready(number, i, result, pipe)

    def _on_offered(self, pid: int) -> None:
        process = next((process for process in self._pool if process.pid == pid), None)
        voice = None if process is None else process.inq.post.take(pid)
        if voice is not None:
            self._voices[process] = voice

    def _worker_active(self, worker: Any) -> bool:  # noqa: ANN401 - billiard's
        # Asked by the thread that makes pools smaller: what was given to a process is as good as begun.
        return worker in self._secretly_busy() or any(job._write_to is worker for job in list(self._cache.values()))  # noqa: SLF001

    def _secretly_busy(self) -> set[Any]:
        """Processes that have what the pool has no job for: Celery has not asked for it, or has taken it back."""
        untaken = {given.process for given in list(self._untaken.values())}
        return untaken | {job._write_to for number, job in list(self._quiet.items()) if number not in self._cache}  # noqa: SLF001

    def _event_process_exit(self, hub: Any, process: Any, pause: float = FIRST_PAUSE) -> None:  # noqa: ANN401 - Celery's
        super()._event_process_exit(hub, process)  # type: ignore[no-untyped-call]
        # Its pipe may be closed before it can be waited for: long before, where others keep it from the processor.
        if process in self._pool and pause < CELERY_PAUSE:
            hub.call_later(pause, self._event_process_exit, hub, process, 2 * pause)

    def _join_exited_workers(self, shutdown: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - billiard's signature
        self.see_begun()  # in a shutdown nobody looks otherwise, and time limits count from the beginning
        return super()._join_exited_workers(shutdown=shutdown)  # type: ignore[no-untyped-call]

    def process_flush_queues(self, proc: Any) -> None:  # noqa: ANN401 - billiard's
        """As ever, when a process has ended."""
        # What it had begun is lost with it; what it had not is given to another. It begins nothing more.
        self.see_begun()
        super().process_flush_queues(proc)  # type: ignore[no-untyped-call]
        voice = self._voices.pop(proc, None)
        if voice is not None:
            voice.close()

    def on_job_process_down(self, job: Any, pid_gone: int) -> None:  # noqa: ANN401 - billiard's
        """As ever, of a process that was waited for. What another said that ended just now is not read yet."""
        if job._write_to not in self._pool:  # noqa: SLF001
            super().on_job_process_down(job, pid_gone)  # type: ignore[no-untyped-call]

    def _process_cleanup_queues(self, proc: Any) -> None:  # noqa: ANN401 - billiard's
        if proc in self._secretly_busy():
            # It may not have read it, or not whole: the process that has its pipes next would.
            self.on_partial_read(ENDED, proc)  # type: ignore[no-untyped-call]
            self._untaken = {number: given for number, given in self._untaken.items() if given.process is not proc}
            self._quiet = {
                number: job
                for number, job in self._quiet.items()
                if number in self._cache or job._write_to is not proc  # noqa: SLF001
            }
        super()._process_cleanup_queues(proc)  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        """As ever: what was not begun is taken back. What is in a pipe is run all the same, and its process busy."""
        self.see_begun()
        for job in self.outbound_buffer:
            self._quiet.pop(job._job, None)  # noqa: SLF001
        super().flush()  # type: ignore[no-untyped-call]
        busy = self._secretly_busy()
        self._busy_workers.update(pipe for pipe, process in self._fileno_to_inq.items() if process in busy)

    def _create_write_handlers(self, hub: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's signature
        super()._create_write_handlers(hub, *args, **kwargs)  # type: ignore[no-untyped-call]
        self._call_later, self._will_look = hub.call_later, False
        send = self._quick_put

        def send_whole(message: Any) -> None:  # noqa: ANN401 - billiard's
            words = message[1]
            job = self._cache[words[0]]
            is_given = self._note_given(job)
            request = getattr(job._accept_callback, "__self__", None)  # noqa: SLF001
            on_given = getattr(request, "on_given", None) if is_given or self._free() else None
            if not is_given:
                write(message if on_given is None else (QUIET, words), job)
            if on_given is not None:
                self._quiet[job._job] = job  # noqa: SLF001
                self._look_later()
                on_given()

        def write(message: Any, job: Any) -> None:  # noqa: ANN401 - billiard's
            send(message)
            header, body, size = job._payload  # noqa: SLF001
            if len(header) + size <= AT_ONCE:
                job._payload = memoryview(bytes(header) + bytes(body)), body[:0], 0  # noqa: SLF001
            # It passes over processes that are busy. One whose pipe is full is written to when the poller says so.
            hub.consolidate_callback(self._pipes_for(job))

        self._quick_put = send_whole
