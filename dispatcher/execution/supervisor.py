"""Watches over the attempts of one worker process: keeps their leases, and stops those that must stop.

One thread a process, whatever the pool. It never runs a function's code, so a function that hangs cannot hang it;
a function that holds the interpreter lock for longer than the lease loses its job to another worker.
"""

import logging
import math
import os
import signal
import threading

# `signal.getsignal` looks for its answer among the members of an enum first: a tenth of a small job.
from _signal import getsignal  # type: ignore[import-not-found]
from collections.abc import Callable
from types import FrameType

from dispatcher.clock import Clock
from dispatcher.errors import CallCancelled, CallTimedOut, Interrupted, LeaseLost
from dispatcher.execution.context import INTERRUPTION_TEXT, Attempt, OneOfMany, UnderWay
from dispatcher.settings import Settings
from dispatcher.transport.commands import Commands
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.outcomes import CallRecord

logger = logging.getLogger(__name__)

#: Raises into the main thread, also out of a wait in the system. Celery uses SIGUSR1 for its own soft time limits.
INTERRUPT_SIGNAL = signal.SIGUSR2

#: Seconds. A cancelled job is told within this time, however long its lease.
LONGEST_BEAT = 1.0

#: Seconds of rest after a look, for each attempt that was looked at. So much later may a timeout come.
REST_PER_ATTEMPT = 10e-6

#: Jobs whose leases are kept in one command: the server does nothing else meanwhile.
BEATS_AT_ONCE = 500

#: Seconds after which a job of many calls has those recorded that have ended; a shorter one is repeated whole.
FIRST_SAVE = 1.0
#: Recording takes at most one part in so many of the time: all that have ended are written each time.
SAVING_SHARE = 20

#: The attempt whose function runs in this process's main thread.
_in_main_thread: Attempt | None = None


def run_in_main_thread(attempt: Attempt | None) -> None:
    """Name the attempt that the interrupt signal is for; None when its function has returned."""
    global _in_main_thread  # noqa: PLW0603 - a signal handler has no other way to find it
    if attempt is not None and getsignal(INTERRUPT_SIGNAL) is not _on_interrupt:
        signal.signal(INTERRUPT_SIGNAL, _on_interrupt)
    _in_main_thread = attempt


def _on_interrupt(_signal: int, _frame: FrameType | None) -> None:
    attempt = _in_main_thread
    if attempt is not None and attempt.interruptible and attempt.interruption is not None:
        attempt.interruptible = False
        raise attempt.interruption(INTERRUPTION_TEXT[attempt.interruption])


class Supervisor:
    """Started by the first attempt it is given.

    Args:
        ledger: for heartbeats.
        commands: builds them.
        clock: for timeouts.
        settings: lease and grace.
        abandon: called with an attempt that did not stop within the grace; settles it and may end the process.
        done_so_far: the calls of an attempt that would not be made again, were its worker lost.
        relieve: called with each heartbeat.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it watches with, and whom it tells
        self,
        ledger: Ledger,
        commands: Commands,
        clock: Clock,
        settings: Settings,
        abandon: Callable[[Attempt], None],
        done_so_far: Callable[[Attempt], dict[int, CallRecord]] = lambda _: {},
        relieve: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._commands = commands
        self._clock = clock
        self._grace = settings.kill_grace_seconds
        self._beat = min(settings.lease_seconds / 3, LONGEST_BEAT)
        self._abandon = abandon
        self._done_so_far = done_so_far
        self._relieve = relieve
        self._attempts: dict[str, Attempt] = {}
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._next_beat = self._asleep_until = 0.0
        self._closed = False

    def watch(self, *attempts: Attempt) -> None:
        """Keep the leases of these attempts, and their times, until `release`."""
        with self._lock:  # not by way of the condition, which adds a call of Python's for each job
            idle = not self._attempts
            if idle:
                self._next_beat = self._clock.monotonic() + self._beat
            self._attempts.update({attempt.job_id: attempt for attempt in attempts})
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dispatcher-supervisor", daemon=True)
                self._thread.start()
            elif self._next_beat < self._asleep_until:
                # Otherwise it wakes in time by itself, for others' heartbeat or for one of a job that has ended: to
                # wake it with every job would cost more than the rest of what it does for one.
                self._changed.notify()

    def release(self, *attempts: Attempt) -> None:
        """They have ended."""
        with self._lock:
            for attempt in attempts:
                if self._attempts.get(attempt.job_id) is attempt:
                    del self._attempts[attempt.job_id]

    def close(self) -> None:
        """End the thread; attempts that still run are no longer watched."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify()
        if thread is not None:
            thread.join(5)

    def expect(self, stop_at: float) -> None:
        """A call must stop by then: sooner, perhaps, than this thread meant to look again."""
        if stop_at < self._asleep_until:
            with self._changed:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._attempts and not self._closed:
                    self._asleep_until = math.inf
                    self._changed.wait()
                if self._closed:
                    return
                # Whoever begins a call while this is worked out must not take an old time for the new one.
                self._asleep_until = math.inf
                self._asleep_until = self._next_event()
                self._changed.wait(max(0.0, self._asleep_until - self._clock.monotonic()))
                attempts = list(self._attempts.values())
            try:
                self.look(attempts)
            except Exception:
                # Must survive anything: without this thread no lease is kept and no timeout holds.
                logger.exception("supervision_failed", extra={"jobs": len(attempts)})
            # Each call that begins may wake it, and each look is at all: of ten thousand no more than ten a second.
            threading.Event().wait(len(attempts) * REST_PER_ATTEMPT)

    def _next_event(self) -> float:
        times = [self._next_beat]
        for attempt in self._attempts.values():
            for call in attempt.under_way():
                if call.abandoned or call.stop_at is None:
                    continue
                times.append(call.stop_at if call.interrupted_at is None else call.interrupted_at + self._grace)
        return min(times)

    def look(self, attempts: list[Attempt]) -> None:
        """Do what is due now for these attempts."""
        now = self._clock.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + self._beat
            self._relieve()
            kept = [a for a in attempts if a.token and not a.abandoned]
            for start in range(0, len(kept), BEATS_AT_ONCE):
                self._keep_leases(kept[start : start + BEATS_AT_ONCE])
        for attempt in attempts:
            for call in attempt.under_way():
                if call.interrupted_at is None:
                    if call.stop_at is not None and now >= call.stop_at:
                        self._tell(attempt, call, CallTimedOut)
                elif call.abandon(now, self._grace):
                    if isinstance(call, OneOfMany):
                        call.leave()
                    else:
                        self._give_up(attempt)
            if attempt.abandon_all(now, self._grace):
                self._give_up(attempt)
        self._save(
            [a for a in attempts if a.save_at is not None and now >= a.save_at and not (a.settling or a.abandoned)]
        )

    def _give_up(self, attempt: Attempt) -> None:
        try:
            self._abandon(attempt)
        finally:
            attempt.given_up.set()

    def _keep_leases(self, attempts: list[Attempt]) -> None:
        if not attempts:
            return
        beats = [(attempt.job_id, attempt.token, attempt.progress) for attempt in attempts]
        try:
            words = self._ledger.run(self._commands.heartbeat(beats))
        except SERVER_FAILURES as error:
            logger.warning("heartbeat_failed: %s", error, extra={"jobs": len(attempts), "reason": str(error)})
            return
        for attempt, word in zip(attempts, words, strict=True):
            what, _, reason = word.partition(":")
            if attempt.settling:
                continue
            if what == "cancel":
                attempt.cancel_reason = reason
                self.interrupt(attempt, CallCancelled)
            elif what == "lost":
                self.interrupt(attempt, LeaseLost)

    def _save(self, attempts: list[Attempt]) -> None:
        """Record the calls of long jobs that have ended, so that a worker that is lost repeats none of them."""
        began = self._clock.monotonic()
        done = [(attempt, calls) for attempt in attempts if len(calls := self._done_so_far(attempt)) > attempt.saved]
        commands = [self._commands.save(attempt.job_id, attempt.token, calls) for attempt, calls in done]
        words: list[str | Exception] = []
        try:
            words = self._ledger.run_many_settled(commands)
        except SERVER_FAILURES as error:
            logger.warning("calls_not_recorded: %s", error, extra={"jobs": len(done), "reason": str(error)})
        for (attempt, calls), word in zip(done, words, strict=False):
            attempt.saved = len(calls) if word == "saved" else attempt.saved
        now = self._clock.monotonic()
        for attempt in attempts:
            attempt.save_at = now + max(self._beat, (now - began) * SAVING_SHARE)

    def interrupt(self, attempt: Attempt, reason: type[Interrupted]) -> None:
        """Tell a running function to stop: raised into a coroutine or the main thread, else left for it to ask.

        Of several calls that run at once each is told.
        """
        self._tell(attempt, attempt, reason)
        if reason is not CallTimedOut:
            for call in attempt.under_way()[1:]:
                self._tell(attempt, call, reason)

    def _tell(self, attempt: Attempt, call: UnderWay, reason: type[Interrupted]) -> None:
        if not call.interrupt(reason, self._clock.monotonic()):
            return
        logger.info(
            "call_interrupted",
            extra={"job_id": attempt.job_id, "function": attempt.function, "attempt": attempt.number,
                   "reason": reason.__name__},
        )  # fmt: skip
        task = call.task  # taken once: the thread that runs the call forgets it at its end
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)
        elif call.thread is threading.main_thread():
            signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT_SIGNAL)


def end_process() -> None:
    """End this pool process at once; the pool starts another."""
    os.kill(os.getpid(), signal.SIGKILL)
