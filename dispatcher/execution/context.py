"""What a running function can know of its own job, and say about it."""

import asyncio
import math
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
    #: Why it must stop. Set by the supervisor, once a call.
    interruption: type[Interrupted] | None = None
    #: What the producer gave as its reason, where it cancelled the call.
    cancel_reason: str = ""
    #: When it was told to, on the monotonic clock.
    interrupted_at: float | None = None
    #: All calls have ended: nothing is left to be told.
    settling: bool = False
    #: Settled by the supervisor, over the head of a function that would not stop.
    abandoned: bool = False
    #: Set when the supervisor has done all it does about an attempt that it abandoned.
    given_up: threading.Event = field(default_factory=threading.Event)
    progress: Progress | None = None
    #: The thread that runs a `def`, or the task that runs an `async def` and what a thread waits for meanwhile.
    thread: threading.Thread | None = None
    task: asyncio.Task[object] | None = None
    waited_for: Future[object] | None = None
    #: True only while the function's own code runs: nothing else may be interrupted.
    interruptible: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    # Whether a call ended, was told to stop or was abandoned is decided in one place each, under the lock: the thread
    # that runs it and the supervisor must never both think that they are the one to settle.

    def begin_call(self, stop_at: float) -> bool:
        """Start the time of one call; False when the job must stop altogether."""
        with self.lock:
            if self.abandoned or self.interruption in {CallCancelled, LeaseLost}:
                return False
            # A timeout ends one call, not the calls after it.
            self.interruption = self.interrupted_at = None
            self.stop_at = stop_at
            return True

    def end_call(self) -> bool:
        """The call has ended; False when it was abandoned before, and its end does not count."""
        with self.lock:
            self.stop_at = None
            return not self.abandoned

    def interrupt(self, reason: type[Interrupted], now: float) -> bool:
        """Say why it must stop; False when it was told already, or ended in time."""
        with self.lock:
            in_time = reason is CallTimedOut and (self.stop_at is None or now < self.stop_at)
            if self.interruption is not None or in_time:
                return False
            self.interruption, self.interrupted_at = reason, now
            return True

    def abandon(self, now: float, grace: float) -> bool:
        """Decide to go on without a call that was told to stop and has not, for `grace` seconds."""
        with self.lock:
            if self.abandoned or self.stop_at is None or self.interrupted_at is None:
                return False
            self.abandoned = now >= self.interrupted_at + grace
            return self.abandoned


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
        """Say how far the work is. Costs nothing: it travels with the next heartbeat.

        Raises:
            TypeError, ValueError: `done` or `total` is no finite number.
        """
        # Checked here, where the function's author sees it, and not in the thread that keeps the leases.
        numbers = [float(done)] if total is None else [float(done), float(total)]
        if not all(math.isfinite(number) for number in numbers):
            msg = f"progress must be finite numbers, not {done} of {total}"
            raise ValueError(msg)
        text = str(message)[:200].encode("utf-8", "replace").decode()
        self._attempt.progress = Progress(done=numbers[0], total=None if total is None else numbers[1], message=text)


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
