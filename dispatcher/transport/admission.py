"""Brings jobs into the ledger and their wake-ups into the broker, as many as are dispatched together.

Jobs of one function that are dispatched in the same turn of an event loop share wake-ups. They stay jobs of their own,
with a record, an outcome and a key each: only the message, and the worker's cost of taking it, is shared.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from dispatcher.model.job import Job
from dispatcher.transport.commands import Commands
from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.message import Message, write_message, write_plain_message
from dispatcher.transport.publisher import Publisher
from dispatcher.transport.replies import Accepted, WakeUp

T = TypeVar("T")

#: Up to so many jobs of a function in a turn travel alone: Flower then shows each of them.
ALONE = 8
#: Jobs that one wake-up is for, at most.
TOGETHER = 50


def group(items: Sequence[T], job_of: Callable[[T], Job]) -> Sequence[T]:
    """The same items, with those that may share wake-ups side by side."""
    if len(items) == 1:
        return items
    groups: dict[tuple[str, str, bool], list[T]] = {}
    for item in items:
        job = job_of(item)
        groups.setdefault((job.queue, job.function, job.delay.total_seconds() > 0), []).append(item)
    return [item for members in groups.values() for item in members]


class Admission:
    """Asks the ledger to accept jobs, for one producer, and sees to it that they are published.

    Args:
        ledger: what accepts them.
        commands: builds what it is asked.
        publisher: publishes through kombu, whatever the broker.
        origin: who publishes, as Flower and logs show it.
        list_prefix: before the names of the broker's lists, where the broker is the ledger's own server, so that the
            script which accepts a job publishes it too. None: it is another one.
    """

    def __init__(
        self, ledger: AsyncLedger, commands: Commands, publisher: Publisher, *, origin: str, list_prefix: str | None
    ) -> None:
        self._ledger = ledger
        self._commands = commands
        self._publisher = publisher
        self._origin = origin
        self._list_prefix = list_prefix

    async def accept(self, jobs: Sequence[Job]) -> Sequence[Accepted | Exception]:
        """Have jobs accepted, in one round trip; a refusal of one is its own entry.

        Raises:
            SERVER_FAILURES: whether any was accepted is not known; asking again is harmless.
        """
        if not jobs:
            return []
        command = self._commands.accept_many(jobs, self._messages(jobs))
        (answers,) = await self._ledger.run_many_settled([command])
        if isinstance(answers, Exception):
            return [answers] * len(jobs)
        if self._list_prefix is None:
            self._publish(jobs, answers)
        return answers

    def _messages(self, jobs: Sequence[Job]) -> list[Message]:
        if self._list_prefix is None:
            return []
        return [
            Message(
                list_key=self._list_prefix + jobs[first].queue,
                text=self._text(jobs[first : last + 1]),
                first=first,
                last=last,
            )
            for first, last in _parts(jobs)
        ]

    def _text(self, jobs: Sequence[Job]) -> str:
        if len(jobs) > 1:
            return write_message(_wake_up(jobs), self._origin)
        (job,) = jobs
        return write_plain_message(
            job.id, job.arguments_shown, function=job.function, queue=job.queue, origin=self._origin
        )

    def _publish(self, jobs: Sequence[Job], answers: Sequence[Accepted | Exception]) -> None:
        answered = zip(jobs, answers, strict=True)
        ready = [job for job, answer in answered if isinstance(answer, Accepted) and answer.sequence > 0]
        for first, last in _parts(ready):
            self._publisher.put(_wake_up(ready[first : last + 1]))


def _parts(jobs: Sequence[Job]) -> list[tuple[int, int]]:
    """The first and the last position of the jobs of each wake-up; jobs that wait for their time have none."""
    parts: list[tuple[int, int]] = []
    start = 0
    while start < len(jobs):
        job, end = jobs[start], start + 1
        while end < len(jobs) and (jobs[end].queue, jobs[end].function) == (job.queue, job.function):
            if bool(jobs[end].delay) != bool(job.delay):
                break
            end += 1
        if not job.delay:
            size = 1 if end - start <= ALONE else TOGETHER
            parts += [(first, min(first + size, end) - 1) for first in range(start, end, size)]
        start = end
    return parts


def _wake_up(jobs: Sequence[Job]) -> WakeUp:
    first, *others = jobs
    shown = first.arguments_shown
    return WakeUp(
        job_id=first.id,
        function=first.function,
        queue=first.queue,
        shown=f"{len(jobs)} jobs, the first: {shown}" if others else shown,
        others=tuple(job.id for job in others),
    )
