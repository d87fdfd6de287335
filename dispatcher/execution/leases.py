"""Asks the ledger for one job, on behalf of a delivery of its wake-up."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from dispatcher.clock import Clock
from dispatcher.execution.ending import Ending, ending_of_look, ending_of_refusal
from dispatcher.execution.run import new_nonce
from dispatcher.settings import Settings
from dispatcher.transport.commands import Commands
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.ledger import Asked, Ledger
from dispatcher.transport.replies import Lease, NoLease
from dispatcher.transport.script import Command

logger = logging.getLogger(__name__)

#: No answer, or one that cannot be read because a job's record is not as we write it.
NO_ANSWER: tuple[type[Exception], ...] = (*SERVER_FAILURES, ValueError, TypeError, LookupError)
#: Seconds for which an answer is good. Nobody keeps the lease until the job is run; of a short one it is a third.
GOOD_SECONDS: Final = 1.0


class _Early:
    """A job that was asked for before it is run."""

    def __init__(self, job_id: str, nonce: str, at: float, asked: Asked[Lease | NoLease]) -> None:
        self.job_id = job_id
        self.nonce = nonce
        #: On the monotonic clock.
        self.at = at
        self.asked = asked


class Leases:
    """What asks for jobs in one process.

    Args:
        ledger: a connection of this process's own.
        commands: builds the requests.
        clock: for how long an answer is good.
        persist: runs a request, bearing an outage; None if it lasts too long.
        settings: how long a lease is.
    """

    def __init__(
        self,
        ledger: Ledger,
        commands: Commands,
        clock: Clock,
        persist: Callable[[Command[Any]], Any],
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._commands = commands
        self._clock = clock
        self._persist = persist
        self._good_seconds = min(GOOD_SECONDS, settings.lease_seconds / 3)
        self._early: _Early | None = None

    def ask_early(self, job_id: str, worker: str) -> None:
        """Send for a job that this thread is about to `ask` for.

        Nothing else changes by it: where it cannot be sent for now, or its answer is lost, `ask` asks, again.
        """
        if self._early is not None and self._early.job_id == job_id:
            return
        self._forget()
        nonce = new_nonce()
        with suppress(*SERVER_FAILURES):
            asked = self._ledger.ask(self._commands.lease(job_id, worker, nonce))
            self._early = _Early(job_id, nonce, self._clock.monotonic(), asked)

    def ask(self, job_id: str, worker: str) -> Lease | Ending:
        """Ask for a job; what the ledger wants looked at first is looked at, and asked for again."""
        nonce, answer = self._first_answer(job_id, worker)
        if isinstance(answer, NoLease) and answer.reason == "look":
            looked = self._persist(self._commands.look(job_id))
            if looked is None or looked.action in {"expired", "cancelled", "gave_up"}:
                logger.info("wake_up_late", extra={"job_id": job_id, "reason": looked.action if looked else "unknown"})
                return Ending(what="dropped", text="late") if looked is None else ending_of_look(looked)
            # It waits again, perhaps because of this very look: the wake-up in hand is as good as any.
            answer = self._persist(self._commands.lease(job_id, worker, nonce))
        if answer is None:
            return Ending(what="dropped", text="the ledger cannot be reached")
        if isinstance(answer, NoLease):
            logger.info("wake_up_dropped", extra={"job_id": job_id, "reason": answer.reason})
            return ending_of_refusal(answer.reason)
        return answer

    def _first_answer(self, job_id: str, worker: str) -> tuple[str, Lease | NoLease | None]:
        early = self._early
        if early is None or early.job_id != job_id:
            self._forget()
            nonce = new_nonce()
            return nonce, self._persist(self._commands.lease(job_id, worker, nonce))
        if self._clock.monotonic() < early.at + self._good_seconds:
            self._early = None
            with suppress(*NO_ANSWER):
                return early.nonce, self._ledger.answer(early.asked)
        self._forget()
        # The same request: under its nonce it is one, however often it is made.
        return early.nonce, self._persist(early.asked.command)

    def _forget(self) -> None:
        """Nobody waits any more for what was sent for."""
        early, self._early = self._early, None
        if early is not None:
            self._ledger.forget(early.asked)
