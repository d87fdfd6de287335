"""Runs one job: lease → decode → resolve → validate → call → classify → settle, a step each."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from dispatcher.clock import Clock, SystemClock
from dispatcher.errors import Acceptance, CallCancelled, CallTimedOut, DispatcherError, LeaseLost
from dispatcher.execution import supervisor
from dispatcher.execution.calls import CallMaker, problem_of_abandoned
from dispatcher.execution.company import CompanyRunner
from dispatcher.execution.context import Attempt
from dispatcher.execution.coroutines import CoroutineRunner
from dispatcher.execution.ending import (
    Ending,
    ending_of_record,
    error_text,
)
from dispatcher.execution.failure import describe
from dispatcher.execution.invoke import AnyFunction
from dispatcher.execution.leases import NO_ANSWER, Asked, Leases, Offer
from dispatcher.execution.retry import Final, Retry, RetryDecision, decide
from dispatcher.execution.run import Problem, Run, Settlement
from dispatcher.model.envelope import Envelope, EnvelopeError
from dispatcher.model.job import CANCELLED_BY_PRODUCER, JobState
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.cache import Kept, what_to_keep
from dispatcher.transport.commands import Commands
from dispatcher.transport.failure import SERVER_FAILURES, translate
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.outcomes import CallRecord, JobRecord
from dispatcher.transport.replies import Lease, WakeUp
from dispatcher.transport.script import Command

__all__ = ["AnyFunction", "Ending", "Executor"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds between two tries to reach a server that is away: first, and longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

#: Commands after which nothing is lost when they are given up.
ASKING = frozenset({"lease", "look"})


class Executor:
    """Runs jobs for one worker process. Not to be shared across a fork.

    Args:
        registry: the functions this worker may run.
        ledger: a connection of this process's own.
        settings: bounds and intervals.
        clock: for timeouts.
        in_pool_process: whether ending this process harms nobody else, so that a function that does not stop can be
            ended with it.
        coroutines: runs those of the process; one of its own by default.
        publish: puts a wake-up back into its queue; None where nobody can.
    """

    def __init__(  # noqa: PLR0913 - all that a worker's process has
        self,
        registry: Registry,
        ledger: Ledger,
        settings: Settings,
        clock: Clock | None = None,
        *,
        in_pool_process: bool = False,
        coroutines: CoroutineRunner | None = None,
        publish: Callable[[WakeUp], None] | None = None,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._settings = settings
        self._clock = clock or SystemClock()
        self._commands = Commands(settings, self._clock)
        self._coroutines = coroutines or CoroutineRunner()
        self._company = CompanyRunner(self, ledger, self._commands, self._clock, publish)
        self._supervisor = supervisor.Supervisor(
            ledger, self._commands, self._clock, settings, self._abandon, self._done_so_far, self._company.relieve
        )
        self._maker = CallMaker(self._coroutines, self._supervisor, self._clock, settings)
        self._in_pool_process = in_pool_process
        self._runs: dict[Attempt, Run] = {}
        self._leases = Leases(ledger, self._commands, self._clock, self.persist, settings)

    def connect(self) -> None:
        """Connect to the ledger, so that the first call need not.

        Raises:
            SERVER_FAILURES: it cannot be reached; the first call tries again.
        """
        self._ledger.client.ping()

    def ask_early(self, job_id: str, worker: str) -> None:
        """Ask for a job that `execute` is about to be called for, by this thread: the server is at it meanwhile."""
        self._leases.ask_early(job_id, worker)

    def expect(self, job_id: str, worker: str, asked: Asked) -> bool:
        """As `Leases.expect`: for a job that `execute` is about to be called for, by this thread."""
        return self._leases.expect(job_id, worker, asked)

    def offer(self, worker: str) -> Offer | None:
        """What the node needs to ask for jobs itself; None where it has that, or cannot."""
        return self._leases.offer(worker)

    def execute(self, job_id: str, worker: str) -> Ending:
        """Run the job that a wake-up names, if it is to be run."""
        leased = self._leases.ask(job_id, worker)
        if isinstance(leased, Ending):
            return leased
        (run,) = self.begin([leased])
        return self.attempt(run)

    def execute_many(self, function: AnyFunction, job_ids: Sequence[str], queue: str, worker: str) -> Ending:
        """Run the jobs of a function that one wake-up names; some of them may be left to other workers.

        Args:
            function: theirs.
            job_ids: in the order in which they were accepted.
            queue: that the wake-up came from.
            worker: this node's name.
        """
        if function.is_async and self._coroutines.runs_at_once:
            return self._company.run_at_once(function, job_ids, worker, self._coroutines.at_once)
        return self._company.run(function, job_ids, queue, worker)

    def attempt(self, run: Run, settle_later: Callable[[Settlement], None] | None = None) -> Ending:
        """Make the calls of a run, and settle it.

        Args:
            run: begun, and not yet made.
            settle_later: is given the settlement, where it can wait; by default nothing waits. Who gives it forgets
                the run afterwards.
        """
        try:
            if run.function is not None:
                if len(run.calls) > 1:
                    run.attempt.save_at = run.started + supervisor.FIRST_SAVE
                self._maker.make(run, run.function)
            if run.attempt.abandoned:
                return self._after_abandonment(run.attempt)
            # The lease is kept until the outcome is recorded, which may take as long as an outage.
            run.attempt.settling = True
            ending = self._settle(run, settle_later)
            if run.strays and self._in_pool_process:
                supervisor.end_process()
            return ending
        finally:
            if settle_later is None:
                self.forget([run])

    def forget(self, runs: Sequence[Run]) -> None:
        """They are not, or no longer, this process's: their leases are no longer kept."""
        self._supervisor.release(*[run.attempt for run in runs])
        for run in runs:
            self._runs.pop(run.attempt, None)

    def settle_all(self, settlements: Sequence[Settlement]) -> None:
        """Record how runs have ended, in one round trip; what that does not record is recorded by itself."""
        if len(settlements) == 1:
            (alone,) = settlements
            self._ended(alone.run, alone.ending, self.persist(alone.command))
        if len(settlements) <= 1:
            return
        words = self.persist(self._commands.settle_together([settlement.command for settlement in settlements]))
        for index, settlement in enumerate(settlements):
            word = None if words is None else words[index]
            if word is not None and word.startswith("error:"):
                word = self.persist(settlement.command)
            self._ended(settlement.run, settlement.ending, word)

    def close(self) -> None:
        """End the threads of this executor. A worker's process just ends; this is for who makes many, as tests do."""
        self._supervisor.close()
        self._maker.close()

    def call_directly(self, function: AnyFunction, arguments: str, job_id: str) -> str:
        """Run a function for a plain Celery call: no job, no lease; its timeout is kept all the same.

        Returns:
            The result as JSON text.
        """
        now = self._clock.now()
        attempt = Attempt(
            job_id=job_id,
            token=0,
            number=1,
            function=function.name,
            idempotency_key="",
            accepted_at=now,
            deadline_at=now,
        )
        self._supervisor.watch(attempt)
        try:
            return self._maker.make_one(function, arguments, attempt)
        finally:
            attempt.end_call()
            self._supervisor.release(attempt)

    # The steps.

    def begin(self, leases: Sequence[Lease]) -> list[Run]:
        """Keep the leases of jobs from now on, and find out what is to be called."""
        started = self._clock.monotonic()
        runs = [self._resolved(lease, started) for lease in leases]
        self._runs.update({run.attempt: run for run in runs})
        self._supervisor.watch(*[run.attempt for run in runs])
        return runs

    def _resolved(self, lease: Lease, started: float) -> Run:
        attempt = Attempt(
            job_id=lease.job_id,
            token=lease.token,
            number=lease.attempt,
            function=lease.function,
            idempotency_key=lease.idempotency_key,
            accepted_at=lease.accepted_at,
            deadline_at=lease.deadline_at,
        )
        deadline = started + lease.time_left.total_seconds()
        run = Run(lease=lease, attempt=attempt, started=started, deadline=deadline, ended=dict(lease.done))
        self._resolve(run)
        return run

    def _resolve(self, run: Run) -> None:
        """Find the function and the calls; what cannot be found or read fails the whole job."""
        try:
            envelope = Envelope.decode(run.lease.envelope)
            run.calls = envelope.calls
            run.function = self._registry.get(envelope.function)
        except (EnvelopeError, DispatcherError) as error:
            record = CallRecord(state=JobState.FAILED, error=describe(error))
            run.ended = dict.fromkeys(range(len(run.calls)), record)

    # How it ends.

    def _settle(self, run: Run, settle_later: Callable[[Settlement], None] | None = None) -> Ending:
        attempt = run.attempt
        if attempt.interruption is LeaseLost:
            logger.warning("lease_lost", extra={"job_id": attempt.job_id, "attempt": attempt.number})
            return Ending(what="dropped", text="another attempt has the job")
        wait = self._sort_out(run)
        if wait is not None and attempt.interruption is not CallCancelled:
            word = self.persist(self._commands.retry(attempt.job_id, attempt.token, wait, run.ended))
            if word is None or not word.startswith("cancel:"):
                first = min(run.problems, key=lambda index: (index in run.ended, index))
                text = error_text(run.problems[first].record)
                return self._ended(run, Ending(what="retried", text=text, wait=wait), word)
            attempt.interruption, attempt.cancel_reason = CallCancelled, word.partition(":")[2]
        record = self._record(run)
        hidden = run.function is not None and run.function.options.sensitive_result
        settlement = Settlement(
            run=run,
            command=self._commands.settle(attempt.job_id, attempt.token, record, self._keep(run, record)),
            ending=ending_of_record(record, hidden=hidden),
        )
        if settle_later is not None:
            settle_later(settlement)
            return settlement.ending
        return self._ended(run, settlement.ending, self.persist(settlement.command))

    def _ended(self, run: Run, ending: Ending, word: str | None) -> Ending:
        if word in {"settled", "scheduled"}:
            level = logging.DEBUG if ending.what == "succeeded" else logging.INFO
            if logger.isEnabledFor(level):
                logger.log(level, "job_%s", ending.what, extra=_extra(run))
            return ending
        reason = word or "the ledger cannot be reached"
        logger.warning("settlement_did_not_count: %s", reason, extra={**_extra(run), "reason": reason})
        if word is None:
            return Ending(what="dropped", text="the ledger cannot be reached, so the outcome may not count")
        return Ending(what="dropped", text="the outcome did not count: another attempt has the job")

    @staticmethod
    def _keep(run: Run, record: JobRecord) -> list[Kept]:
        """What of this job is to be kept for equal calls."""
        return [] if run.function is None else what_to_keep(run.function, run.calls, record)

    def _sort_out(self, run: Run) -> timedelta | None:
        """Put the failures that are final into `ended`; how long to wait before the others are tried again, if any."""
        if run.function is None or not (run.problems or run.attempt.abandoned):
            return None
        waits = []
        for index, problem in run.problems.items():
            if self._was_stopped(run, problem.error):
                continue
            decision = self._decide(run, problem)
            if isinstance(decision, Retry):
                waits.append(decision.wait)
            else:
                run.ended[index] = problem.record
        if run.attempt.abandoned and not self._is_past(run.deadline) and run.missing():
            # They wait behind a call that did not stop, which ends nothing but itself.
            waits.append(timedelta(0))
        return max(waits, default=None)

    def _decide(self, run: Run, problem: Problem) -> RetryDecision:
        if run.function is None or not problem.from_function:
            return Final()
        left = timedelta(seconds=run.deadline - self._clock.monotonic())
        return decide(run.function.options.retry, problem.error, failures=run.lease.failures + 1, time_left=left)

    def _was_stopped(self, run: Run, error: BaseException) -> bool:
        """Whether the producer or the deadline ended a call, which then did not fail."""
        if isinstance(error, CallCancelled):
            return run.attempt.interruption is CallCancelled
        return isinstance(error, CallTimedOut) and self._is_past(run.deadline)

    def _record(self, run: Run) -> JobRecord:
        """The outcome of every call; calls that did not end by themselves end as the job does."""
        positions = range(len(run.calls))
        try:
            calls = tuple([run.ended[index] for index in positions])
        except KeyError:
            rest = self._record_of_rest(run)
            calls = tuple([run.ended.get(index, rest) for index in positions])
        seconds = self._clock.monotonic() - run.started
        return JobRecord(attempts=run.lease.attempt, calls=calls, seconds=seconds)

    @staticmethod
    def _record_of_rest(run: Run) -> CallRecord:
        if run.attempt.interruption is CallCancelled:
            return CallRecord(state=JobState.CANCELLED, reason=run.attempt.cancel_reason or CANCELLED_BY_PRODUCER)
        return CallRecord(state=JobState.EXPIRED)

    # What the supervisor asks for, in its thread.

    def _abandon(self, attempt: Attempt) -> None:
        """Settle an attempt whose function did not stop; then end its process."""
        run, waited_for = self._runs.get(attempt), attempt.waited_for
        logger.error("call_did_not_stop", extra={"job_id": attempt.job_id, "function": attempt.function})
        try:
            if run is not None and attempt.interruption is not LeaseLost:
                self._settle_abandoned(run)
        finally:
            if self._in_pool_process:
                self._company.relieve(patience=0)
                supervisor.end_process()
            if waited_for is not None:
                waited_for.cancel()

    def _settle_abandoned(self, run: Run) -> None:
        told = {index: call.interruption for index, call in run.attempt.calls.copy().items()}
        stuck = {
            index: problem_of_abandoned(told.get(index, run.attempt.interruption) or CallTimedOut)
            for index in run.under_way()
        }
        # Copies: the thread that runs the call still has the run.
        self._settle(replace(run, ended=dict(run.ended), problems={**run.problems, **stuck}))

    def _done_so_far(self, attempt: Attempt) -> dict[int, CallRecord]:
        """The calls of an attempt that would not be made again, were its worker lost."""
        run = self._runs.get(attempt)
        if run is None or run.function is None:
            return {}
        final = {
            index: problem.record
            for index, problem in run.problems.copy().items()
            if not self._was_stopped(run, problem.error) and isinstance(self._decide(run, problem), Final)
        }
        return {**run.ended, **final}

    def _after_abandonment(self, attempt: Attempt) -> Ending:
        if self._in_pool_process:
            # This process is about to be ended. It must not take another job that would end with it.
            attempt.given_up.wait(self._settings.outage_seconds + 2 * LONGEST_PAUSE)
        return Ending(what="dropped", text="did not stop in time; settled without it")

    def persist(self, command: Command[T]) -> T | None:
        """Run a command, bearing an outage for as long as the settings say; None if it lasts longer.

        Every command is safe to repeat, so a reply that was lost is simply asked for again. None also where the record
        cannot be read, which no repetition mends.
        """
        give_up = self._clock.monotonic() + self._settings.outage_seconds
        pause = FIRST_PAUSE
        while True:
            try:
                return self._ledger.run(command)
            except NO_ANSWER as error:
                if command.script in ASKING and translate(error, "", accepted=Acceptance.YES) is None:
                    # It answers, and will answer the same again: this job's record is broken, others are not.
                    logger.error("record_broken", extra={"command": command.script, "reason": str(error)})  # noqa: TRY400
                    return None
                if not isinstance(error, SERVER_FAILURES):
                    raise
                if self._is_past(give_up):
                    logger.error("ledger_unreachable", extra={"command": command.script, "reason": str(error)})  # noqa: TRY400
                    return None
            self._coroutines.pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _is_past(self, moment: float) -> bool:
        return self._clock.monotonic() >= moment


def _extra(run: Run) -> dict[str, object]:
    """What a line of the log says of a run."""
    return {"job_id": run.attempt.job_id, "function": run.attempt.function, "attempt": run.attempt.number}
