"""Brings back what was lost, late or due: a thread in every worker node's main process; one node sweeps at a time."""

import logging
import threading
from collections import deque
from datetime import timedelta

from dispatcher.clock import Clock, SystemClock
from dispatcher.errors import Acceptance
from dispatcher.settings import Settings
from dispatcher.transport.broker import Broker
from dispatcher.transport.commands import Commands
from dispatcher.transport.failure import SERVER_FAILURES, translate
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.replies import Looked

logger = logging.getLogger(__name__)

#: Jobs looked at in one round trip, and rounds in one sweep: bounds on what a sweep may take.
LIMIT, ROUNDS = 200, 50

#: Until a job whose record is broken is looked at again: many of them must not use up every sweep.
BROKEN_PAUSE = timedelta(minutes=1)


class QueueWatch:
    """Remembers what was started in a queue, and since when the broker's queue is empty.

    Several producers publish at once, and workers hold messages for a moment before they lease: a job is taken for
    lost only when a later one has been running for the whole grace.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._started: deque[tuple[float, int]] = deque()
        self._empty_since: float | None = None

    def see(self, now: float, started: int, *, broker_is_empty: bool) -> None:
        """Take note. `now` in seconds on the monotonic clock."""
        self._started.append((now, started))
        while len(self._started) > 1 and self._started[1][0] <= now - self._grace:
            self._started.popleft()
        if not broker_is_empty:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now

    def must_have_started(self, now: float) -> int | None:
        """The sequence number up to which every job must have started; None when all must have."""
        if self._empty_since is not None and now - self._empty_since >= self._grace:
            return None
        at, started = self._started[0]
        return started if at <= now - self._grace else 0


class Sweeper:
    """Looks at due jobs and lost wake-ups, and publishes what must run.

    Args:
        broker: a connection of this thread's own.
        ledger: a connection of this thread's own.
        settings: intervals and bounds.
        node: this worker node's name.
        clock: for the grace.
    """

    def __init__(
        self, broker: Broker, ledger: Ledger, settings: Settings, node: str, clock: Clock | None = None
    ) -> None:
        self._broker = broker
        self._ledger = ledger
        self._commands = Commands(settings)
        self._settings = settings
        self._node = node
        self._clock = clock or SystemClock()
        self._queues: dict[str, QueueWatch] = {}
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Sweep in the background, until `stop`."""
        self._thread = threading.Thread(target=self._run, name="dispatcher-sweeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Waits at most a few seconds for a sweep in progress."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while not self._ending.wait(self._settings.sweep_interval_seconds):
            try:
                self.sweep()
            except Exception as error:  # noqa: BLE001 - the second place that must survive anything: it is what repairs
                self._broker.disconnect()
                reason = f"{type(error).__name__}: {error}"
                logger.warning("sweep_failed: %s", reason, extra={"reason": reason})
                self._let_another_sweep()
        self._let_another_sweep()
        self._broker.disconnect()

    def sweep(self) -> None:
        """Look once at everything that is due.

        Raises:
            SERVER_FAILURES: the server or the broker is away; nothing is lost by trying again later.
        """
        for _ in range(ROUNDS):
            due = self._ledger.run(self._commands.due(self._node, LIMIT))
            if due is None:
                self._queues.clear()
                return
            self._act(self._ledger.run_many_settled([self._commands.look(job_id) for job_id in due]), due)
            if len(due) < LIMIT:
                break
        for job_id, ended in self._ledger.run(self._commands.untold(LIMIT)):
            self._tell_flower(ended, job_id)
        self._find_lost_wake_ups()

    def _act(self, looks: list[Looked | Exception], job_ids: list[str]) -> None:
        wake_ups = [look.wake_up for look in looks if isinstance(look, Looked) and look.wake_up is not None]
        if wake_ups:
            self._broker.publish(wake_ups)
        for look, job_id in zip(looks, job_ids, strict=True):
            if isinstance(look, Exception):
                # One broken record must not keep the others from being looked at, now and in every sweep to come.
                logger.error("look_failed: %s", look, extra={"job_id": job_id, "reason": str(look)})
                if translate(look, "", accepted=Acceptance.YES) is None:
                    self._ledger.run(self._commands.postpone(job_id, BROKEN_PAUSE))
            elif look.action in {"expired", "gave_up", "cancelled"}:
                logger.info("job_%s", look.action, extra={"job_id": job_id, "function": look.function})
                self._tell_flower(look, job_id)

    def _let_another_sweep(self) -> None:
        """This node ends, or cannot sweep: it may be the only one that cannot reach the broker."""
        try:
            self._ledger.run(self._commands.stop_sweeping(self._node))
        except SERVER_FAILURES as error:
            logger.debug("sweeper_not_released", extra={"reason": str(error)})

    def _find_lost_wake_ups(self) -> None:
        now, rounds = self._clock.monotonic(), ROUNDS
        for state in self._ledger.run(self._commands.queues()):
            watch = self._queues.setdefault(state.name, QueueWatch(self._settings.republish_grace_seconds))
            watch.see(now, state.started, broker_is_empty=state.waiting > 0 and self._broker.is_empty(state.name))
            if state.waiting == 0:
                continue
            started = watch.must_have_started(now)
            for first in range(0, max(1, rounds) * LIMIT, LIMIT):
                rounds -= 1
                if self._republish(state.name, started, first) < LIMIT:
                    break

    def _republish(self, queue: str, started: int | None, first: int) -> int:
        wake_ups = self._ledger.run(self._commands.lost(queue, started=started, first=first, limit=LIMIT))
        if wake_ups:
            logger.info("wake_ups_republished", extra={"queue": queue, "jobs": len(wake_ups)})
            self._broker.publish(wake_ups)
        return len(wake_ups)

    def _tell_flower(self, look: Looked, job_id: str) -> None:
        """No worker saw this job end, so no Celery event told of it."""
        # A job that ends before any worker has it is new to Flower.
        call = {"name": look.function, "args": "()", "kwargs": look.shown}
        if look.action == "gave_up":
            error = "given up: its worker was lost"
            self._broker.tell("task-failed", job_id, **call, exception=error, traceback="")
        else:
            expired = look.action == "expired"
            self._broker.tell("task-revoked", job_id, **call, terminated=False, signum=None, expired=expired)
