"""What a process of the prefork pool hears from its node, and says to it, beside what Celery has them say."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from billiard.pool import ACK, READY, TASK
from celery import current_app
from celery.app.trace import fast_trace_task, trace_task_ret

from dispatcher.execution.begun import Begun
from dispatcher.execution.celery_task import FunctionTask, request_of
from dispatcher.execution.leases import Asked, Offer
from dispatcher.execution.post import Post
from dispatcher.transport.guard import PlainWakeUp
from dispatcher.transport.message import new_body

#: What a process is told beside its jobs: of one that it is about to be given, of one whose beginning it notes, and of
#: one that Celery does not know yet.
EARLY: Final = "early"
QUIET: Final = "quiet"
GIVEN: Final = "given"
#: What a process says beside what it does: that it has handed on a connection.
OFFERED: Final = "offered"


class Talk:
    """What a process hears from its node and says to it.

    Args:
        receive: the next message.
        put: sends one.
        begun: where to note that a job was begun.
        receive_told: as `receive`, after the process was told of the job that the next message is.
        post: hands the node a connection on which it may ask for the process's jobs.
    """

    def __init__(
        self,
        receive: Callable[[], Any],
        put: Callable[[Any], None],
        begun: Begun | None,
        receive_told: Callable[[], Any] | None = None,
        post: Post | None = None,
    ) -> None:
        self._receive = receive
        self._receive_told = receive_told or receive
        self._put = put
        self._begun = begun
        self._post = post
        #: Has a connection made that may be handed on: of the task that was given last.
        self._offer: Callable[[], Offer | None] | None = None
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
            if kind == GIVEN:
                return (TASK, self._as_celery_gives_it(*words))
            self._quietly = kind == QUIET and self._begun is not None
            # Source: billiard.pool.Worker.workloop; celery.worker.request.Request.execute_using_pool.
            arguments = words[3]
            if len(arguments) > 2:  # noqa: PLR2004 - a task's name, its id, its request and more
                self._ask(arguments[0], arguments[2])
            return (TASK, words)
        return message

    def _as_celery_gives_it(
        self, number: int, hostname: str, asked: tuple[int, str, float], said: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """The words of a job that was given before Celery knew of it, and is asked for before they are made."""
        wake_up = PlainWakeUp(*said)
        task = self._task(wake_up.function)
        if task is not None and not task.expect(wake_up.job_id, hostname, Asked(*asked)):
            self._offer = partial(task.offer, hostname)
        request, body = request_of(wake_up, hostname), new_body()
        self._quietly = self._begun is not None
        trace = fast_trace_task if current_app.use_fast_trace_task else trace_task_ret
        return number, None, trace, (wake_up.function, wake_up.job_id, request, body, None, None), {}

    def say(self, message: Any) -> None:  # noqa: ANN401 - as billiard sends it
        """Send a message, or note what it says."""
        if self._quietly and self._begun is not None and message[0] == ACK:
            job, _, at, *_ = message[1]
            self._begun.note(job, at)
        else:
            self._put(message)
        if self._offer is not None and message[0] == READY:
            self._hand_on()  # now that nobody waits: it takes a millisecond

    def _hand_on(self) -> None:
        """Hand the node a connection, if it has none."""
        make, self._offer = self._offer, None
        offer = None if self._post is None or make is None else make()
        if offer is not None and self._post is not None and self._post.hand(offer, os.getpid()):
            self._put((OFFERED, (os.getpid(),)))

    def _ask(self, name: object, request: Mapping[str, Any]) -> None:
        task = self._task(name)
        if task is not None:
            task.ask_early(request)

    def _task(self, name: object) -> FunctionTask | None:
        if self._tasks is None:
            self._tasks = current_app.tasks
        task = self._tasks.get(name)
        return task if isinstance(task, FunctionTask) else None
