"""The ledger against a model of it in plain Python: whatever happens, in whatever order, they agree.

Time is the model's: every duration here ends five seconds off the steps in which time passes (lost wake-ups: two), so
the moments that a test really takes never decide anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from dispatcher.model.job import JobState
from dispatcher.settings import Settings
from dispatcher.transport.replies import Lease, NoLease, WakeUp
from tests.integration.ledger_rig import Rig, failed, succeeded

LEASE, GRACE, MAX_LOST, STEP = 15, 3, 2, 10
OPEN = {"scheduled", "waiting", "running"}


@dataclass
class Model:
    """What a job must look like."""

    id: str
    deadline: int
    at_most_once: bool
    accepted: int
    state: str = "waiting"
    due: int = 0
    lease_end: int = 0
    published: int = 0
    copies: int = 0
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    cancel: str | None = None
    nonce: str = ""
    settled_by: int = 0
    number: int = 0
    #: The outcome as it was first stored.
    stored: bytes | None = None
    #: How often it was settled since it was accepted or replayed.
    outcomes: int = 0

    def end(self, state: str) -> None:
        assert self.state in OPEN
        self.state, self.nonce = state, ""
        self.outcomes += 1

    def wait(self, now: int) -> None:
        self.state, self.published, self.copies, self.nonce = "waiting", now, 0, ""

    @property
    def next_look(self) -> int:
        if self.state == "running":
            return self.lease_end
        return min(self.due, self.deadline) if self.state == "scheduled" else self.deadline

    def look(self, now: int) -> str:
        if self.state not in OPEN:
            return "nothing"
        if self.state == "running":
            answer = self.look_at_lease(now)
            if answer is not None:
                return answer
        if self.deadline <= now:
            self.end("expired")
            return "expired"
        if self.state == "waiting" or (self.state == "scheduled" and self.due > now):
            return "nothing"
        self.wait(now)
        return "publish"

    def look_at_lease(self, now: int) -> str | None:
        if self.lease_end > now:
            return "nothing"
        if self.cancel is not None:
            self.end("cancelled")
            return "cancelled"
        self.lost += 1
        if self.at_most_once or self.lost >= MAX_LOST:
            self.end("failed")
            return "gave_up"
        return None

    def lease(self, now: int, nonce: str) -> str:
        if self.state not in OPEN:
            return f"settled:{self.state}"
        if self.state == "running" and self.nonce == nonce:
            self.lease_end = now + LEASE
            return "leased"
        if self.state == "running":
            return "leased_elsewhere" if self.lease_end > now else "look"
        if self.deadline <= now:
            return "look"
        if self.state == "scheduled":
            return "not_due" if self.due > now else "look"
        self.state, self.nonce, self.lease_end = "running", nonce, now + LEASE
        self.attempt += 1
        return "leased"

    def holds(self, token: int) -> bool:
        return self.state == "running" and self.attempt == token


@dataclass(frozen=True)
class Attempt:
    job: Model
    token: int
    nonce: str = field(compare=False)


class LedgerMachine(RuleBasedStateMachine):
    client: redis.Redis

    jobs = Bundle("jobs")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        namespace = f"machine-{uuid4().hex[:12]}"
        self.rig = Rig(
            self.client,
            Settings(
                namespace=namespace,
                lease_seconds=LEASE,
                republish_grace_seconds=GRACE,
                max_lost_attempts=MAX_LOST,
                max_backlog=1000,
            ),
        )
        self.now = 0
        self.models: list[Model] = []
        self.published = 0

    def teardown(self) -> None:
        keys = [*self.rig.every_key(), *(self.rig.keys.result(model.id) for model in self.models)]
        if keys:
            self.client.delete(*keys)

    # --- what may happen

    @initialize(target=jobs)
    def accept_the_first(self) -> Model:
        return self._accept(0, 195, at_most_once=False)

    @rule(target=jobs, delay=st.sampled_from([0, 0, 25]), deadline=st.sampled_from([35, 195]), once=st.booleans())
    def accept(self, delay: int, deadline: int, once: bool) -> object:
        return self._accept(delay, deadline, at_most_once=once) if len(self.models) < 4 else multiple()

    def _accept(self, delay: int, deadline: int, *, at_most_once: bool) -> Model:
        job_id = self.rig.waiting(
            delay=timedelta(seconds=delay),
            deadline=timedelta(seconds=deadline),
            delivery="at_most_once" if at_most_once else "at_least_once",
        )
        model = Model(job_id, self.now + deadline, at_most_once, self.now, published=self.now)
        if delay:
            model.state, model.due = "scheduled", self.now + delay
        else:
            self._number(model)
        self.models.append(model)
        return model

    def _number(self, model: Model) -> None:
        self.published += 1
        model.number = self.published

    @rule(job=jobs)
    def accept_again(self, job: Model) -> None:
        again = self.rig.accept(id=job.id)
        assert (again.job_id, again.new, again.sequence) == (job.id, True, job.number)

    @rule(target=attempts, job=jobs)
    def lease(self, job: Model) -> object:
        nonce = uuid4().hex
        answer, expected = self.rig.lease(job.id, nonce), job.lease(self.now, nonce)
        if isinstance(answer, NoLease):
            assert answer.reason == expected
            return multiple()
        assert expected == "leased"
        assert (answer.token, answer.attempt) == (job.attempt, job.attempt)
        assert (answer.failures, answer.lost) == (job.failures, job.lost)
        return Attempt(job, answer.token, nonce)

    @rule(attempt=attempts)
    def lease_with_the_same_nonce(self, attempt: Attempt) -> None:
        before = attempt.job.attempt
        answer, expected = self.rig.lease(attempt.job.id, attempt.nonce), attempt.job.lease(self.now, attempt.nonce)
        if isinstance(answer, Lease):
            # Either the same attempt still, or, where another came between, one more.
            assert expected == "leased"
            assert answer.token == attempt.job.attempt
            assert answer.token == before or before > attempt.token or attempt.job.attempt == before + 1
        else:
            assert answer.reason == expected

    @rule(attempt=attempts)
    def heartbeat(self, attempt: Attempt) -> None:
        job, word = attempt.job, self.rig.beat(attempt.job.id, attempt.token)
        if not job.holds(attempt.token):
            assert word == "lost"
            return
        assert word == ("kept" if job.cancel is None else f"cancel:{job.cancel}")
        job.lease_end = self.now + LEASE

    @rule(attempt=attempts, success=st.booleans())
    def settle(self, attempt: Attempt, success: bool) -> None:
        job, token = attempt.job, attempt.token
        word = self.rig.settle(job.id, token, succeeded(f'"by {token}"') if success else failed(f"by {token}"))
        if job.settled_by == token:
            assert word == ("scheduled" if job.state == "scheduled" else "settled")
        elif not job.holds(token):
            assert word == "stale"
        else:
            assert word == "settled"
            job.settled_by = token
            job.end("succeeded" if success else "failed")

    @rule(attempt=attempts, wait=st.sampled_from([5, 25]))
    def retry(self, attempt: Attempt, wait: int) -> None:
        job, token = attempt.job, attempt.token
        word = self.rig.retry(job.id, token, wait)
        if job.settled_by == token:
            assert word == ("scheduled" if job.state == "scheduled" else "settled")
        elif not job.holds(token):
            assert word == "stale"
        elif job.cancel is not None:
            assert word == f"cancel:{job.cancel}"
        else:
            assert word == "scheduled"
            job.state, job.due, job.settled_by, job.nonce = "scheduled", self.now + wait, token, ""
            job.failures += 1

    @rule(job=jobs, hard=st.booleans())
    def cancel(self, job: Model, hard: bool) -> None:
        word = self.rig.cancel(job.id, "enough", hard=hard)
        if job.state not in OPEN:
            assert word == f"settled:{job.state}"
            return
        job.cancel = "enough"
        if job.state == "running" and not hard:
            assert word == "requested"
        else:
            assert word == "cancelled"
            job.end("cancelled")

    @rule(steps=st.integers(1, 4))
    def time_passes(self, steps: int) -> None:
        self.rig.advance(STEP * steps)
        self.now += STEP * steps

    @rule(job=jobs)
    def look(self, job: Model) -> None:
        self._look(job)

    def _look(self, job: Model) -> None:
        had_number, attempts = job.number, job.attempt
        looked, expected = self.rig.look(job.id), job.look(self.now)
        assert looked.action == expected
        if expected == "publish":
            assert looked.wake_up is not None
            assert (looked.wake_up.head, looked.wake_up.attempts) == (had_number > 0, attempts)
            if not had_number:
                self._number(job)

    @rule()
    def sweep(self) -> None:
        due = self.rig.due(limit=1000)
        assert due is not None
        assert set(due) == {model.id for model in self.models if model.state in OPEN and model.next_look <= self.now}
        for job_id in due:
            self._look(next(model for model in self.models if model.id == job_id))
        assert self.rig.due(limit=1000) == [], "whatever is due is done with, or has a later time"

    @rule(target=attempts, job=jobs)
    def the_worker_dies_and_another_takes_over(self, job: Model) -> object:
        self.time_passes(2)
        self.sweep()
        return self.lease(job)

    @rule(steps=st.integers(1, 2))
    def wake_ups_are_looked_for(self, steps: int) -> None:
        self.time_passes(steps)
        self.look_for_lost_wake_ups()

    @rule()
    def look_for_lost_wake_ups(self) -> None:
        found = {wake_up.job_id for wake_up in self.rig.lost(started=None, limit=1000)}
        expected = set()
        for model in self.models:
            if model.state == "waiting" and self.now - model.published >= GRACE * 2 ** min(model.copies, 8):
                model.published, model.copies = self.now, model.copies + 1
                expected.add(model.id)
        assert found == expected

    @rule(job=jobs)
    def replay(self, job: Model) -> None:
        answer = self.rig.replay(job.id, deadline=95)
        if job.state != "failed":
            assert answer == "not_dead"
            return
        assert isinstance(answer, WakeUp)
        job.wait(self.now)
        job.deadline, job.failures, job.lost = self.now + 95, 0, 0
        job.cancel, job.settled_by, job.outcomes, job.stored = None, 0, 0, None
        self._number(job)

    # --- what must hold

    @invariant()
    def every_job_is_as_the_model_says(self) -> None:
        pipe = self.client.pipeline(transaction=False)
        keys = self.rig.keys
        for model in self.models:
            pipe.hmget(keys.job(model.id), "state", "attempt", "failures", "lost", "sequence")
            pipe.get(keys.result(model.id))
            pipe.zscore(keys.due, model.id)
            pipe.zscore(keys.waiting("default"), model.id)
            pipe.sismember(keys.scheduled, model.id)
            pipe.zscore(keys.dead, model.id)
        replies = pipe.execute()
        for index, model in enumerate(self.models):
            row, stored, due, waits, put_off, dead = replies[index * 6 : index * 6 + 6]
            assert [(value or b"0").decode() for value in row] == [
                model.state,
                *map(str, (model.attempt, model.failures, model.lost, model.number)),
            ]
            unsettled = model.state in OPEN
            assert JobState(model.state).settled is not unsettled
            assert (due is not None) is unsettled, "every unsettled job has a time at which it is looked at"
            assert (waits is not None) is (model.state == "waiting"), "only what waits stands in a queue's order"
            assert bool(put_off) is (model.state == "scheduled")
            assert (dead is not None) is (model.state == "failed")
            assert model.outcomes == (0 if unsettled else 1), "one outcome, and only one"
            assert (stored is None) is unsettled
            if model.stored is not None:
                assert stored == model.stored, "an outcome never changes"
            model.stored = stored

    @invariant()
    def the_next_looks_are_where_the_model_has_them(self) -> None:
        scores = dict(self.client.zrange(self.rig.keys.due, 0, -1, withscores=True))
        seconds, microseconds = self.client.time()
        for model in self.models:
            if model.state in OPEN:
                in_seconds = scores[model.id.encode()] / 1000 - (seconds + microseconds / 1e6)
                assert abs(in_seconds - (model.next_look - self.now)) < 2


@pytest.fixture
def machine(client: redis.Redis) -> Iterator[type[LedgerMachine]]:
    LedgerMachine.client = client
    yield LedgerMachine
    del LedgerMachine.client


def test_the_ledger_does_what_its_model_does_in_any_order_of_events(machine: type[LedgerMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=120,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )
