"""What a running function can know of its own job, and say about it."""

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dispatcher.clock import Clock
from dispatcher.errors import CallCancelled, CallTimedOut, Interrupted, LeaseLost
from dispatcher.model.job import Progress


@dataclass(kw_only=True, eq=False)
class UnderWay:
    """The call that runs, and whether it must stop.

    Whether a call ended, was told to stop or was abandoned is decided in one place each, under the lock: the thread
    that runs it and the supervisor must never both think that they are the one to settle.
    """

    #: When the running call must stop, on the monotonic clock; None between calls.
    stop_at: float | None = None
    #: Why it must stop. Set by the supervisor, once a call.
    interruption: type[Interrupted] | None = None
    #: When it was told to, on the monotonic clock.
    interrupted_at: float | None = None
    #: Given up by the supervisor, over the head of a function that would not stop.
    abandoned: bool = False
    #: The thread that runs a `def`, or the task that runs an `async def` and what a thread waits for meanwhile.
    thread: threading.Thread | None = None
    task: asyncio.Task[Any] | None = None
    waited_for: Future[Any] | None = None
    #: True only while the function's own code runs: nothing else may be interrupted.
    interruptible: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

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


@dataclass(kw_only=True, eq=False)
class OneOfMany(UnderWay):
    """One of several calls of a job that run at once on an event loop, each with a time of its own."""

    #: Its position in the job.
    index: int
    loop: asyncio.AbstractEventLoop
    #: Called with it on the loop's thread when it has ended, or was abandoned. May be called twice.
    on_end: Callable[["OneOfMany"], object]

    def leave(self) -> None:
        """Go on without it. Safe from every thread."""
        self.loop.call_soon_threadsafe(self.on_end, self)


@dataclass(kw_only=True, eq=False)
class Attempt(UnderWay):
    """One execution of a job by this process. Shared by the executor, the supervisor and the running function.

    Where calls run one after the other, it is itself the call that runs. Where they run at once, each of them is in
    `calls`, and the attempt itself is only told what concerns them all.
    """

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
    #: Those that run at once, by their position in the job.
    calls: dict[int, OneOfMany] = field(default_factory=dict)
    #: What the producer gave as its reason, where it cancelled the call.
    cancel_reason: str = ""
    #: All calls have ended: nothing is left to be told.
    settling: bool = False
    _given_up: threading.Event | None = None
    progress: Progress | None = None
    #: When the calls that have ended by then are recorded next, on the monotonic clock; None where that is not done.
    save_at: float | None = None
    #: How many were recorded.
    saved: int = 0

    @property
    def given_up(self) -> threading.Event:
        """Set when the supervisor has done all it does about an attempt that it abandoned."""
        # Made when it is first asked for: few attempts need one, and it is dear to make.
        with self.lock:
            if self._given_up is None:
                self._given_up = threading.Event()
            return self._given_up

    def begin_one(self, call: OneOfMany) -> bool:
        """Start one of several calls that run at once; False when the job must stop altogether."""
        with self.lock:
            if self.abandoned or self.interruption is not None:
                return False
            self.calls[call.index] = call
            return True

    def under_way(self) -> list[UnderWay]:
        """What has a time of its own: the attempt, and each call that runs at once with others."""
        return [self, *self.calls.copy().values()] if self.calls else [self]

    def abandon_all(self, now: float, grace: float) -> bool:
        """Decide to go on without an attempt none of whose calls stops, nor lets others begin.

        That is where they hold up the loop that they share.
        """
        with self.lock:
            calls = self.calls.copy().values()
            if self.abandoned or not calls:
                return False
            self.abandoned = all(
                call.abandoned and call.interrupted_at is not None and now >= call.interrupted_at + 2 * grace
                for call in calls
            )
            return self.abandoned


class CurrentJob:
    """The job that the calling function belongs to, as `current_job()` gives it."""

    def __init__(self, attempt: Attempt, clock: Clock, call: UnderWay | None = None) -> None:
        self._attempt = attempt
        self._call = attempt if call is None else call
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
        stop_at = self._call.stop_at
        left = 0.0 if stop_at is None else max(0.0, stop_at - self._clock.monotonic())
        return timedelta(seconds=left)

    @property
    def cancelled(self) -> bool:
        """Whether the function has been told to stop, for whatever reason."""
        return self._call.interruption is not None

    def raise_if_cancelled(self) -> None:
        """Stop here if told to: a long `def` without waits calls this where stopping is safe.

        Raises:
            CallCancelled, CallTimedOut, LeaseLost: let it pass, after cleaning up.
        """
        if self._call.interruption is not None:
            raise self._call.interruption(INTERRUPTION_TEXT[self._call.interruption])

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
