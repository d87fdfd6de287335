"""What a running function can know of its own job, and say about it."""

import asyncio
import threading
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dispatcher.clock import Clock
from dispatcher.errors import CallCancelled, CallTimedOut, Interrupted, LeaseLost
from dispatcher.model.job import Progress


@dataclass(kw_only=True, eq=False)
class Attempt:
    """One execution of a job by this process. Shared by the executor, the supervisor and the running function."""

    job_id: str
    #: The fencing token.
    token: int
    #: 1 for the first.
    number: int
    function: str
    idempotency_key: str
    accepted_at: datetime
    #: By this machine's clock, as far as the server's and ours agree.
    deadline_at: datetime
    #: When the running call must stop, on the monotonic clock; None between calls.
    stop_at: float | None = None
    #: Why it must stop. Set once, by the supervisor.
    interruption: type[Interrupted] | None = None
    #: What the producer gave as its reason, where it cancelled the call.
    cancel_reason: str = ""
    #: When it was told to, on the monotonic clock.
    interrupted_at: float | None = None
    #: Settled by the supervisor, over the head of a function that would not stop.
    abandoned: bool = False
    progress: Progress | None = None
    #: The thread that runs a `def`, or the task that runs an `async def` and what a thread waits for meanwhile.
    thread: threading.Thread | None = None
    task: asyncio.Task[object] | None = None
    waited_for: Future[object] | None = None
    #: True only while the function's own code runs: nothing else may be interrupted.
    interruptible: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class CurrentJob:
    """The job that the calling function belongs to, as `current_job()` gives it."""

    def __init__(self, attempt: Attempt, clock: Clock) -> None:
        self._attempt = attempt
        self._clock = clock

    @property
    def id(self) -> str:
        """The job's id: the Celery task id and the key of its result."""
        return self._attempt.job_id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._attempt.number

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt: the producer's key, or the job's id. Give it to services outside."""
        return self._attempt.idempotency_key or self._attempt.job_id

    @property
    def deadline(self) -> datetime:
        """When the job expires, aware, in UTC."""
        return self._attempt.deadline_at

    @property
    def time_left(self) -> timedelta:
        """Until this call must stop: its timeout or the job's deadline, whichever comes first. Never negative."""
        stop_at = self._attempt.stop_at
        left = 0.0 if stop_at is None else max(0.0, stop_at - self._clock.monotonic())
        return timedelta(seconds=left)

    @property
    def cancelled(self) -> bool:
        """Whether the function has been told to stop, for whatever reason."""
        return self._attempt.interruption is not None

    def raise_if_cancelled(self) -> None:
        """Stop here if told to: a long `def` without waits calls this where stopping is safe.

        Raises:
            CallCancelled, CallTimedOut, LeaseLost: let it pass, after cleaning up.
        """
        if self._attempt.interruption is not None:
            raise self._attempt.interruption(INTERRUPTION_TEXT[self._attempt.interruption])

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the work is. Costs nothing: it travels with the next heartbeat."""
        self._attempt.progress = Progress(done=done, total=total, message=message[:200])


INTERRUPTION_TEXT: dict[type[Interrupted], str] = {
    CallCancelled: "the producer cancelled this call",
    CallTimedOut: "the call ran longer than its timeout, or past the job's deadline",
    LeaseLost: "the job belongs to another attempt by now",
}

_current: ContextVar[CurrentJob | None] = ContextVar("dispatcher_current_job", default=None)


def current_job() -> CurrentJob:
    """The job that the calling function belongs to.

    Raises:
        RuntimeError: outside a job, also in a plain Celery call; use `current_job_or_none` where both happen.
    """
    job = _current.get()
    if job is None:
        msg = "current_job() was called outside a job"
        raise RuntimeError(msg)
    return job


def current_job_or_none() -> CurrentJob | None:
    """The job that the calling function belongs to, or None when it was called directly."""
    return _current.get()


def set_current_job(job: CurrentJob | None) -> None:
    """For the executor only: what `current_job` gives in this context from now on."""
    _current.set(job)
