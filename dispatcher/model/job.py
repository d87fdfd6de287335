"""An accepted unit of work, and what can be asked about it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

#: `at_least_once`: a lost attempt is made again. `at_most_once`: it never is, the outcome is Failed.
Delivery = Literal["at_least_once", "at_most_once"]

#: Each priority has queues of its own, so that a person never waits behind a batch.
Priority = Literal["high", "normal", "bulk"]


#: The reason of a cancellation that gives none.
CANCELLED_BY_PRODUCER = "cancelled by the producer"


class JobState(StrEnum):
    """Where a job is. The ledger is the only place that changes it."""

    #: Waits for its time: delayed, or between two attempts.
    SCHEDULED = "scheduled"
    #: In its queue, or about to be.
    WAITING = "waiting"
    #: A worker holds its lease.
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def settled(self) -> bool:
        """Whether the job has its outcome. Nothing changes it any more."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What the ledger is asked to accept: 1..N calls of one function, with everything that says how to run them."""

    id: str
    function: str
    version: str
    #: Canonical JSON text of each call's arguments.
    calls: tuple[str, ...]
    #: The Celery queue, its priority class included.
    queue: str
    #: From acceptance to the moment when the job expires.
    deadline: timedelta
    #: From acceptance to the moment when the job may first run.
    delay: timedelta = timedelta(0)
    delivery: Delivery = "at_least_once"
    idempotency_key: str | None = None
    #: What the idempotency key stands for.
    digest: str = ""
    #: The producer whose collector hears the announcement; empty for none.
    producer: str = ""
    #: What an invalidation may be about that concerns its calls' kept results; none where they keep none.
    topics: tuple[str, ...] = ()
    #: The name under which equal calls share it; empty where they do not.
    flight: str = ""
    #: The redacted arguments for Flower and logs, at most about a thousand characters.
    arguments_shown: str = "{}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What a running function last said of how far it is."""

    done: float
    total: float | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStatus:
    """What the ledger knows of a job now."""

    id: str
    function: str
    queue: str
    state: JobState
    #: Calls in the job.
    calls: int
    #: Attempts started so far.
    attempt: int
    #: Attempts that ended in a failure the function raised, and attempts whose worker was lost.
    failures: int
    lost: int
    accepted_at: datetime
    deadline_at: datetime
    #: When it may run next, for a scheduled job.
    due_at: datetime | None = None
    started_at: datetime | None = None
    settled_at: datetime | None = None
    #: The worker that runs or last ran it.
    worker: str = ""
    cancel_requested: bool = False
    progress: Progress | None = None
