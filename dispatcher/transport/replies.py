"""What the ledger answers, as frozen data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from dispatcher.model.job import Delivery, JobState, JobStatus, Progress
from dispatcher.transport import outcomes
from dispatcher.transport.script import text_of, time_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """What acceptance says. Times are the server's."""

    job_id: str
    deadline_at: datetime
    #: False when the idempotency key named a job that exists already: `job_id` is that job.
    new: bool
    #: Position in the queue's order; 0 when there is nothing to publish now (delayed, or not new).
    sequence: int
    #: Whether `job_id` is the job of an equal call, which this one shares.
    shared: bool = False
    #: How an equal call ended, which was kept: there is no job then.
    entry: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A job given to a worker for one attempt."""

    job_id: str
    #: The fencing token: only its holder can settle the job.
    token: int
    attempt: int
    #: Attempts that failed before this one, and attempts whose worker was lost.
    failures: int
    lost: int
    #: What is left until the deadline, by the server's clock at the moment of leasing.
    time_left: timedelta
    accepted_at: datetime
    deadline_at: datetime
    function: str
    idempotency_key: str
    delivery: Delivery
    #: The encoded `Envelope`.
    envelope: str
    #: Outcomes of this job's calls that stand already, by position.
    done: dict[int, outcomes.CallRecord]


@dataclass(frozen=True, slots=True)
class NoLease:
    """Why a wake-up is not to be run, in the words of the lease script."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WakeUp:
    """What must be published so that a worker asks for the job."""

    job_id: str
    function: str
    queue: str
    #: The redacted arguments, for Flower and logs.
    shown: str
    #: Whether it goes to the head of the queue: the job has waited before.
    head: bool = False
    #: Attempts made before, for Flower's retries.
    attempts: int = 0
    #: Further jobs of the same function and queue that this wake-up is for.
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueState:
    """What waits in a queue, by the ledger's account."""

    name: str
    waiting: int
    #: The highest sequence number that any worker has started.
    started: int
    #: Since the longest-waiting job was accepted; zero when none waits.
    oldest: timedelta


#: What a look at a due job did with it.
LookedAction = Literal["publish", "expired", "gave_up", "cancelled", "nothing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What a look at a due job did."""

    action: LookedAction
    function: str = ""
    #: The redacted arguments, of a job that it ended.
    shown: str = ""
    wake_up: WakeUp | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """A job given up, or a message that never was one."""

    id: str
    dead_at: datetime
    #: Empty for garbage.
    function: str
    queue: str
    #: For garbage: why it was refused. For a job: its error, as stored with the outcome.
    reason: str
    arguments_shown: str
    #: Whether it can be replayed.
    replayable: bool


#: The fields of a job's hash that `read_status` wants, in order.
STATUS_FIELDS = (
    "function", "queue", "state", "calls", "attempt", "failures", "lost", "accepted_ms", "deadline_ms",
    "due_ms", "started_ms", "settled_ms", "worker", "cancel", "progress",
)  # fmt: skip


def read_status(job_id: str, row: Sequence[bytes | None]) -> JobStatus | None:
    """A status from the fields of a job's hash; None where there is no job."""
    job = dict(zip(STATUS_FIELDS, row, strict=True))
    if job["state"] is None or job["state"] == b"garbage":
        return None

    def text(name: str) -> str:
        value = job[name]
        return "" if value is None else text_of(value)

    def time(name: str) -> datetime | None:
        value = job[name]
        return None if value is None else time_of(value)

    progress = job["progress"]
    done = None
    if progress is not None:
        at, total, message = json.loads(progress)
        done = Progress(done=at, total=total, message=message)
    return JobStatus(
        id=job_id,
        function=text("function"),
        queue=text("queue"),
        state=JobState(text("state")),
        calls=int(text("calls") or 1),
        attempt=int(text("attempt") or 0),
        failures=int(text("failures") or 0),
        lost=int(text("lost") or 0),
        accepted_at=time_of(text("accepted_ms")),
        deadline_at=time_of(text("deadline_ms")),
        due_at=time("due_ms"),
        started_at=time("started_ms"),
        settled_at=time("settled_ms"),
        worker=text("worker"),
        cancel_requested=job["cancel"] is not None,
        progress=done,
    )
