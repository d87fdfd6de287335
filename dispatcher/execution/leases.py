"""Asks the ledger for one job, on behalf of a delivery of its wake-up."""

import logging
import math
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from dispatcher.clock import Clock
from dispatcher.execution.ending import Ending, ending_of_look, ending_of_refusal
from dispatcher.execution.run import new_nonce
from dispatcher.settings import Settings
from dispatcher.transport.commands import Commands
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.ledger import Ledger, words_of
from dispatcher.transport.replies import Lease, NoLease
from dispatcher.transport.script import Command
from dispatcher.transport.voice import Hearing, around

logger = logging.getLogger(__name__)

#: No answer, or one that cannot be read because a job's record is not as we write it.
NO_ANSWER: tuple[type[Exception], ...] = (*SERVER_FAILURES, ValueError, TypeError, LookupError)
#: Seconds for which an answer is good. Nobody keeps the lease until the job is run; of a short one it is a third.
GOOD_SECONDS: Final = 1.0
#: Seconds between two connections that are offered to a node: after one has ended, others may.
OFFER_PAUSE: Final = 10.0


class _Early(NamedTuple):
    """A job that was asked for before it is run."""

    job_id: str
    nonce: str
    #: On the monotonic clock.
    at: float
    command: Command[Lease | NoLease]
    #: Waits for what it comes to.
    answer: Callable[[], Lease | NoLease]
    #: Nobody does.
    forget: Callable[[], None]


#: The number of no offer.
NO_OFFER: Final = 0


class Asked(NamedTuple):
    """A node has asked for a job on behalf of the process that is to run it."""

    #: On which connection: the number of its `Offer`.
    offer: int
    nonce: str
    #: On the monotonic clock, which is one for both.
    at: float


class Offer(NamedTuple):
    """What a node needs to ask for jobs on behalf of one of its processes."""

    #: The connection's, by which the two tell it from those before it.
    number: int
    written_to: socket.socket
    #: What is sent before and after a nonce; then comes a job's id, as the last word.
    before: bytes
    after: bytes


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
        self._hearing: Hearing | None = None
        self._offers = NO_OFFER
        #: When a connection may be offered again, on the monotonic clock.
        self._offer_at = -math.inf

    def ask_early(self, job_id: str, worker: str) -> None:
        """Send for a job that this thread is about to `ask` for.

        Nothing else changes by it: where it cannot be sent for now, or its answer is lost, `ask` asks, again.
        """
        if self._early is None or self._early.job_id != job_id:
            self._forget()
            self._send_for(job_id, worker, new_nonce())

    def expect(self, job_id: str, worker: str, asked: Asked) -> bool:
        """As `ask_early`, where the node has named the request, and may have made it on a connection it was offered.

        Returns:
            Whether the answer is heard there: otherwise the node had better be offered one, again.
        """
        self._forget()
        hearing = self._hearing
        if hearing is None or hearing.number != asked.offer:
            # Whether a request on one that has ended arrived is not known: under its nonce it is one with this.
            self._send_for(job_id, worker, asked.nonce)
            return False
        command = self._commands.lease(job_id, worker, asked.nonce)
        self._early = _Early(
            job_id=job_id,
            nonce=asked.nonce,
            at=asked.at,
            command=command,
            answer=partial(self._hear, hearing, command, job_id),
            forget=self._end_hearing,
        )
        return True

    def offer(self, worker: str) -> Offer | None:
        """A connection on which a node that has none may ask for jobs on behalf of this process; None where it cannot.

        None, too, soon after the last: the node may not have it yet, and what ended that one may end others.
        """
        now = self._clock.monotonic()
        if now < self._offer_at:
            return None
        self._end_hearing()
        self._offer_at = now + OFFER_PAUSE
        with suppress(*SERVER_FAILURES):
            hearing = Hearing(self._ledger.client, self._offers + 1)
            written_to = hearing.socket
            if written_to is None:
                hearing.close()
                self._offer_at = math.inf
                return None
            self._hearing, self._offers = hearing, hearing.number
            nonce = new_nonce()
            before, after = around(words_of(self._commands.lease("", worker, nonce)), nonce)
            return Offer(number=hearing.number, written_to=written_to, before=before, after=after)
        return None

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
                return early.nonce, early.answer()
        self._forget()
        # The same request: under its nonce it is one, however often it is made.
        return early.nonce, self._persist(early.command)

    def _send_for(self, job_id: str, worker: str, nonce: str) -> None:
        with suppress(*SERVER_FAILURES):
            asked = self._ledger.ask(self._commands.lease(job_id, worker, nonce))
            self._early = _Early(
                job_id=job_id,
                nonce=nonce,
                at=self._clock.monotonic(),
                command=asked.command,
                answer=partial(self._ledger.answer, asked),
                forget=partial(self._ledger.forget, asked),
            )

    def _hear(self, hearing: Hearing, command: Command[Lease | NoLease], job_id: str) -> Lease | NoLease:
        try:
            return hearing.answer(command, job_id)
        except BaseException:
            self._hearing = None
            raise

    def _end_hearing(self) -> None:
        """What would be heard next is nobody's."""
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.close()

    def _forget(self) -> None:
        """Nobody waits any more for what was sent for."""
        early, self._early = self._early, None
        if early is not None:
            early.forget()
