"""The shapes in which calls reach the ledger, and what stands in for the producer's and the worker's side of them."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import redis

from dispatcher.client.acceptor import BATCH
from dispatcher.model.envelope import Envelope
from dispatcher.model.job import Job, JobState
from dispatcher.transport.admission import TOGETHER
from dispatcher.transport.commands import Commands
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.message import Message, named_jobs, write_message
from dispatcher.transport.outcomes import CallRecord, JobRecord
from dispatcher.transport.replies import Lease, WakeUp

FUNCTION: Final = "quick"
QUEUE: Final = "default"
#: About fifty bytes each, as the benchmarks of calls have them.
ARGUMENTS: Final = '{"number":123456,"text":"a short line of some words"}'
RESULT: Final = '{"number":123456,"text":"a short line of words"}'
WORKER: Final = "worker1@scale"
DEADLINE: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How many calls travel together."""

    title: str
    #: In a job.
    calls: int
    #: Calls that are measured: enough for a steady figure, few enough for a short run.
    measured: int
    #: Jobs that are accepted by one command, and that one wake-up is for.
    accepted_together: int = 1
    woken_together: int = 1


SHAPES: Final = (
    Shape(title="separate, one at a time", calls=1, measured=8_000),
    Shape(
        title="separate, sharing messages", calls=1, measured=15_000, accepted_together=BATCH, woken_together=TOGETHER
    ),
    Shape(title="jobs of 10", calls=10, measured=30_000),
    Shape(title="jobs of 100", calls=100, measured=100_000),
    Shape(title="jobs of 1,000", calls=1_000, measured=200_000),
)


def make_jobs(shape: Shape, count: int, *, producer: str, delay: timedelta = timedelta(0)) -> list[Job]:
    """Jobs as a producer makes them."""
    shown = ARGUMENTS if shape.calls == 1 else f"{shape.calls} calls, the first: {ARGUMENTS}"
    return [
        Job(
            id=str(uuid.uuid4()),
            function=FUNCTION,
            version="1",
            calls=(ARGUMENTS,) * shape.calls,
            queue=QUEUE,
            deadline=DEADLINE,
            delay=delay,
            producer=producer,
            arguments_shown=shown,
        )
        for _ in range(count)
    ]


def messages_for(jobs: list[Job], together: int) -> list[Message]:
    """The wake-ups of jobs that are accepted together."""
    messages = []
    for first in range(0, len(jobs), together):
        part = jobs[first : first + together]
        shown = part[0].arguments_shown
        wake_up = WakeUp(
            job_id=part[0].id,
            function=FUNCTION,
            queue=QUEUE,
            shown=shown if len(part) == 1 else f"{len(part)} jobs, the first: {shown}",
            others=tuple(job.id for job in part[1:]),
        )
        text = write_message(wake_up, WORKER)
        messages.append(Message(list_key=QUEUE, text=text, first=first, last=first + len(part) - 1))
    return messages


def accept(ledger: Ledger, commands: Commands, jobs: list[Job], shape: Shape) -> None:
    """Have jobs accepted and published, as producers do."""
    for start in range(0, len(jobs), shape.accepted_together):
        part = jobs[start : start + shape.accepted_together]
        answers = ledger.run(commands.accept_many(part, messages_for(part, shape.woken_together)))
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer


def serve(client: redis.Redis, commands: Commands, queues: tuple[str, ...] = (QUEUE,)) -> int:
    """Take one wake-up, and end its jobs, as a worker does whose functions take no time. Returns how many calls."""
    ledger = Ledger(client)
    message = next(_messages(client, queues), None)
    if message is None:
        return 0
    headers = json.loads(message)["headers"]
    job_ids = named_jobs(headers["id"], headers)
    nonce = uuid.uuid4().hex
    if len(job_ids) == 1:
        leases = [ledger.run(commands.lease(job_ids[0], WORKER, nonce))]
    else:
        leases = ledger.run(commands.lease_many(job_ids, WORKER, nonce))
    held = [lease for lease in leases if isinstance(lease, Lease)]
    records = [_record(lease) for lease in held]
    settles = [commands.settle(lease.job_id, lease.token, record) for lease, record in zip(held, records, strict=True)]
    answers = [ledger.run(settles[0])] if len(settles) == 1 else ledger.run(commands.settle_together(settles))
    for answer in answers:
        if answer != "settled":
            msg = f"a job was not settled but {answer}"
            raise RuntimeError(msg)
    return sum(len(record.calls) for record in records)


def _messages(client: redis.Redis, queues: tuple[str, ...]) -> Iterator[bytes]:
    for queue in queues:
        message = client.rpop(queue)
        if isinstance(message, bytes):
            yield message


def _record(lease: Lease) -> JobRecord:
    calls = len(Envelope.decode(lease.envelope).calls)
    record = CallRecord(state=JobState.SUCCEEDED, value=RESULT)
    return JobRecord(attempts=lease.attempt, calls=(record,) * calls, seconds=0.01)
