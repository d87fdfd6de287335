"""Jobs that share a wake-up: as many as are quickly done are run here, one after the other, and recorded together.

They stay jobs of their own. What they share is the cost of a message, of a request for leases and of a settlement. So
that none of them suffers for it:

- how many are taken is decided by how long such jobs took in this process; the others go back to the head of the
  queue, for other workers, before the first is run. Of a function that is not known yet one is taken;
- where one takes longer than expected, those that have ended are recorded, and those not begun are given back;
- a worker that dies of one of them does not count against the others (see the lease script).
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from dispatcher.clock import Clock
from dispatcher.execution.calls import load_together
from dispatcher.execution.ending import Ending, ending_of_refusal, summary_of
from dispatcher.execution.invoke import AnyFunction
from dispatcher.execution.run import Run, Settlement, new_nonce
from dispatcher.transport.commands import Commands
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.replies import Lease, WakeUp

if TYPE_CHECKING:
    from dispatcher.execution.execute import Executor

logger = logging.getLogger(__name__)

#: Calls functions that wait for coroutines, at once.
AtOnce: TypeAlias = Callable[[Sequence[Callable[[], Ending]]], list[Ending]]

#: Seconds of work that are taken at once, as expected.
TAKEN_SECONDS: Final = 0.05
#: Seconds after which one that still runs is left alone by the others.
PATIENCE_SECONDS: Final = 0.3
#: How much the latest job counts for how long the next is expected to take.
_NEWS: Final = 0.3


class Company:
    """Jobs in this worker's hands. Shared by the thread that runs them and the supervisor."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._lock = threading.Lock()
        self._todo = deque(runs)
        self._ended: list[Settlement] = []
        #: When the one that runs began, on the monotonic clock; None between two.
        self.began: float | None = None

    def next(self, now: float) -> Run | None:
        """The next one to run, which nobody gives back any more."""
        with self._lock:
            run = self._todo.popleft() if self._todo else None
            self.began = None if run is None else now
            return run

    def add(self, settlement: Settlement) -> None:
        """One has ended."""
        with self._lock:
            self._ended.append(settlement)

    def take_ended(self) -> list[Settlement]:
        """Those to be recorded now."""
        with self._lock:
            ended, self._ended = self._ended, []
            return ended

    def take_todo(self) -> list[Run]:
        """Those to be given back."""
        with self._lock:
            todo = list(self._todo)
            self._todo.clear()
            return todo


class CompanyRunner:
    """Runs the jobs of shared wake-ups, for an executor.

    Args:
        executor: runs each.
        ledger: gives them, and takes them back.
        commands: builds what it is asked.
        clock: for how long they take.
        publish: puts a wake-up back; None where nobody can, so that everything is run here.
    """

    def __init__(
        self,
        executor: "Executor",
        ledger: Ledger,
        commands: Commands,
        clock: Clock,
        publish: Callable[[WakeUp], None] | None,
    ) -> None:
        self._executor = executor
        self._ledger = ledger
        self._commands = commands
        self._clock = clock
        self._publish = publish
        #: Seconds that a job is expected to take, by function.
        self._expected: dict[str, float] = {}
        self._companies: set[Company] = set()

    def run(self, function: AnyFunction, job_ids: Sequence[str], queue: str, worker: str) -> Ending:
        """Run jobs of a function, as many of them as are quickly done; the others go back into the queue."""
        taken = self._take(function, job_ids, queue)
        if len(taken) == 1:
            # Alone, so that the ledger does not take it for one of many.
            began = self._clock.monotonic()
            ending = self._executor.execute(taken[0], worker)
            self._learn(function, self._clock.monotonic() - began)
            return ending
        endings, leases, apart = self._lease(taken, worker)
        runs = self._executor.begin(leases)
        company = Company(runs)
        self._companies.add(company)
        try:
            load_together(function, runs)
            while (run := company.next(began := self._clock.monotonic())) is not None:
                run.started = began
                endings.append(self._executor.attempt(run, company.add))
                self._learn(function, self._clock.monotonic() - began)
        finally:
            self._companies.discard(company)
            self._record(company, runs)
        # Last, and with nobody waiting behind them: these may take as long as they like.
        endings += [self._executor.execute(job_id, worker) for job_id in apart]
        return summary_of(endings)

    def run_at_once(self, function: AnyFunction, job_ids: Sequence[str], worker: str, at_once: AtOnce) -> Ending:
        """Run jobs of a coroutine function at once, where they hold up nobody: each is recorded when it ends."""
        endings, leases, apart = self._lease(job_ids, worker)
        runs = self._executor.begin(leases)
        try:
            load_together(function, runs)
            calls = [partial(self._executor.attempt, run) for run in runs]
            calls += [partial(self._executor.execute, job_id, worker) for job_id in apart]
            return summary_of([*endings, *at_once(calls)])
        finally:
            self._executor.forget(runs)  # only where the worker itself ends: those that were not begun

    def _record(self, company: Company, runs: Sequence[Run]) -> None:
        """Record those that have ended; what is left, where the worker itself ends, is given back."""
        try:
            self._executor.settle_all(company.take_ended())
            self._give_back(company.take_todo())
        finally:
            self._executor.forget(runs)

    def relieve(self, *, patience: float = PATIENCE_SECONDS) -> None:
        """Let the others go where one takes long. For the supervisor's thread."""
        now = self._clock.monotonic()
        for company in list(self._companies):
            began = company.began
            if began is None or now - began < patience:
                continue
            self._executor.settle_all(company.take_ended())
            self._give_back(company.take_todo())

    def _take(self, function: AnyFunction, job_ids: Sequence[str], queue: str) -> Sequence[str]:
        """Decide how many are run here, and put the others back."""
        expected = self._expected.get(function.name)
        count = 1 if expected is None else max(1, int(TAKEN_SECONDS / max(expected, 1e-6)))
        if function.options.delivery == "at_most_once":
            count = 1  # one that never began must not end with a worker that was lost
        taken, others = job_ids[:count], job_ids[count:]
        if others and not self._put_back(function.name, others, queue):
            return job_ids
        return taken

    def _put_back(self, function: str, job_ids: Sequence[str], queue: str) -> bool:
        """Publish a wake-up for jobs that wait; False where that is not possible."""
        if self._publish is None:
            return False
        first, *others = job_ids
        shown = f"{len(job_ids)} jobs, put back" if others else "{}"
        try:
            self._publish(
                WakeUp(job_id=first, function=function, queue=queue, shown=shown, head=True, others=tuple(others))
            )
        except SERVER_FAILURES as error:
            logger.warning("wake_up_not_put_back: %s", error, extra={"job_id": first, "reason": str(error)})
            return False
        return True

    def _lease(self, job_ids: Sequence[str], worker: str) -> tuple[list[Ending], list[Lease], list[str]]:
        """Ask for all of them at once: what is not to be run, what was given, and what must be asked for by itself."""
        answers = self._executor.persist(self._commands.lease_many(job_ids, worker, new_nonce()))
        if answers is None:
            return [Ending(what="dropped", text="the ledger cannot be reached")] * len(job_ids), [], []
        endings, leases, apart = list[Ending](), list[Lease](), list[str]()
        for job_id, answer in zip(job_ids, answers, strict=True):
            if isinstance(answer, Lease):
                leases.append(answer)
            elif answer.reason in {"look", "alone"} or answer.reason.startswith("error:"):
                apart.append(job_id)
            else:
                logger.info("wake_up_dropped", extra={"job_id": job_id, "reason": answer.reason})
                endings.append(ending_of_refusal(answer.reason))
        return endings, leases, apart

    def _give_back(self, runs: Sequence[Run]) -> None:
        """Return leases of jobs that have not begun, and wake somebody else for them."""
        if not runs:
            return
        logger.info("jobs_given_back", extra={"jobs": len(runs)})
        try:
            queues = self._ledger.run(self._commands.give_back([(r.lease.job_id, r.lease.token) for r in runs]))
        except SERVER_FAILURES as error:
            # Their leases run out, and the sweeper publishes them.
            logger.warning("jobs_not_given_back: %s", error, extra={"jobs": len(runs), "reason": str(error)})
            queues = []
        self._executor.forget(runs)
        by_queue: dict[tuple[str, str], list[str]] = {}
        for run, queue in zip(runs, queues, strict=False):
            if queue:
                by_queue.setdefault((run.lease.function, queue), []).append(run.lease.job_id)
        for (function, queue), job_ids in by_queue.items():
            self._put_back(function, job_ids, queue)

    def _learn(self, function: AnyFunction, seconds: float) -> None:
        before = self._expected.get(function.name, seconds)
        # Slow ones count at once: what is held back meanwhile is other people's work.
        self._expected[function.name] = seconds if seconds > TAKEN_SECONDS else before + _NEWS * (seconds - before)
