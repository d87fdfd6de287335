"""The ledger's scripts on a real server, every branch of each."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery import Celery, states
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from dispatcher.errors import BacklogFullError, IdempotencyConflictError
from dispatcher.model.job import JobState, Progress
from dispatcher.model.outcome import ErrorKind
from dispatcher.settings import Settings
from dispatcher.transport import outcomes
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect, connect_async, kombu_url
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.garbage import GarbageSink
from dispatcher.transport.ledger import AsyncLedger, Ledger
from dispatcher.transport.outcomes import CallRecord, JobRecord
from dispatcher.transport.replies import WakeUp
from dispatcher.transport.script import script
from tests.integration.ledger_rig import Rig, failed, succeeded


@pytest.fixture
def rig(client: redis.Redis, namespace: str) -> Rig:
    return Rig(client, Settings(namespace=namespace))


@pytest.fixture(autouse=True)
def _nothing_stays_for_ever(rig: Rig) -> Iterator[None]:
    yield
    assert rig.keys_without_ttl() == []


def rig_with(rig: Rig, **settings: Any) -> Rig:
    return Rig(rig.client, Settings(namespace=rig.settings.namespace, **settings))


class TestAccept:
    def test_a_job_waits_in_its_queue_and_has_a_next_look_at_its_deadline(self, rig: Rig) -> None:
        before = datetime.now(UTC)
        accepted = rig.accept(deadline=timedelta(minutes=3))
        assert accepted.new
        assert accepted.sequence == 1
        assert timedelta(minutes=3) <= accepted.deadline_at - before < timedelta(minutes=4)
        assert rig.waits_in(accepted.job_id) == ["default"]
        assert rig.in_due(accepted.job_id) == accepted.deadline_at.timestamp() * 1000
        status = rig.status(accepted.job_id)
        assert status is not None
        assert (status.state, status.function, status.queue) == (JobState.WAITING, "text.count", "default")
        assert (status.calls, status.attempt, status.failures, status.lost) == (1, 0, 0, 0)

    def test_accepting_the_same_id_again_changes_nothing_and_says_what_was_said(self, rig: Rig) -> None:
        job = rig.job()
        first = rig.accept(job)
        rig.leased(job.id)
        assert rig.accept(job) == first, "a reply that was lost can be asked for again, also when the job runs already"
        assert rig.state(job.id) == "running"
        assert rig.counts()["accepted"] == 1

    def test_an_accepted_delayed_job_asked_for_again_is_still_not_to_be_published(self, rig: Rig) -> None:
        job = rig.job(delay=timedelta(seconds=30))
        assert rig.accept(job) == rig.accept(job)
        assert rig.accept(job).sequence == 0

    def test_a_repeated_key_with_equal_arguments_names_the_first_job(self, rig: Rig) -> None:
        first = rig.accept(idempotency_key="k", digest="d")
        again = rig.accept(idempotency_key="k", digest="d")
        assert (again.job_id, again.new, again.sequence) == (first.job_id, False, 0)
        assert again.deadline_at == first.deadline_at
        assert len(rig.waits_in(first.job_id)) == 1
        assert rig.counts()["accepted"] == 1

    def test_a_repeated_key_names_its_job_when_that_is_settled_too(self, rig: Rig) -> None:
        first = rig.accept(idempotency_key="k", digest="d")
        rig.settle(first.job_id, rig.leased(first.job_id).token)
        assert rig.accept(idempotency_key="k", digest="d").job_id == first.job_id

    def test_a_key_with_other_arguments_is_a_conflict_and_nothing_is_accepted(self, rig: Rig) -> None:
        first = rig.accept(idempotency_key="k", digest="d")
        other = rig.job(idempotency_key="k", digest="e")
        with pytest.raises(IdempotencyConflictError) as caught:
            rig.accept(other)
        assert caught.value.job_id == first.job_id
        assert rig.status(other.id) is None
        assert rig.in_due(other.id) is None

    def test_keys_of_two_functions_are_two_keys(self, rig: Rig) -> None:
        first = rig.accept(idempotency_key="k", digest="d")
        assert rig.accept(idempotency_key="k", digest="e", function="text.lower").job_id != first.job_id

    def test_a_key_is_remembered_beyond_the_deadline(self, rig: Rig) -> None:
        quick = rig_with(rig, idempotency_ttl_seconds=100)
        quick.accept(idempotency_key="k", digest="d", deadline=timedelta(seconds=50))
        (key,) = [name for name in rig.every_key() if ":idempotency:" in name]
        assert 149_000 < rig.client.pttl(key) <= 150_000
        assert "k" not in key.rpartition(":")[2], "a key may hold anything, so only its digest is part of a name"

    def test_a_full_queue_refuses_and_another_does_not(self, rig: Rig) -> None:
        small = rig_with(rig, max_backlog=2)
        for _ in range(2):
            small.accept()
        refused = small.job()
        with pytest.raises(BacklogFullError) as caught:
            small.accept(refused)
        assert (caught.value.queue, caught.value.limit) == ("default", 2)
        assert small.status(refused.id) is None
        assert small.accept(queue="default.high").new

    def test_a_full_queue_still_answers_for_what_it_accepted(self, rig: Rig) -> None:
        small = rig_with(rig, max_backlog=1)
        job = small.job(idempotency_key="k", digest="d")
        small.accept(job)
        assert small.accept(job).job_id == job.id
        assert not small.accept(idempotency_key="k", digest="d").new

    def test_a_delayed_job_waits_in_no_queue_and_is_looked_at_when_due(self, rig: Rig) -> None:
        accepted = rig.accept(delay=timedelta(seconds=30))
        assert accepted.sequence == 0
        assert rig.waits_in(accepted.job_id) == []
        status = rig.status(accepted.job_id)
        assert status is not None
        assert status.state is JobState.SCHEDULED
        assert status.due_at is not None
        assert rig.in_due(accepted.job_id) == status.due_at.timestamp() * 1000
        assert status.due_at - status.accepted_at == timedelta(seconds=30)

    def test_a_delay_beyond_the_deadline_is_looked_at_at_the_deadline(self, rig: Rig) -> None:
        accepted = rig.accept(delay=timedelta(hours=1), deadline=timedelta(minutes=1))
        assert rig.in_due(accepted.job_id) == accepted.deadline_at.timestamp() * 1000

    def test_a_job_outlives_its_deadline_by_the_time_outcomes_are_kept(self, rig: Rig) -> None:
        short = rig_with(rig, result_ttl_seconds=20, dead_letter_ttl_seconds=30)
        job_id = short.waiting(deadline=timedelta(seconds=10))
        assert 39_000 < rig.client.pttl(rig.keys.job(job_id)) <= 40_000

    def test_what_a_job_holds_comes_back_as_it_was_given(self, rig: Rig) -> None:
        calls = ('{"text":"naïve — 数据 😀"}', '{"text":"\\u0000 \\"quoted\\""}')
        job_id = rig.waiting(calls=calls, idempotency_key="ключ", version="2.1", delivery="at_most_once")
        lease = rig.leased(job_id)
        assert json.loads(lease.envelope)["calls"] == list(calls)
        assert (lease.function, lease.idempotency_key, lease.delivery) == ("text.count", "ключ", "at_most_once")


class TestLease:
    def test_the_first_attempt_takes_the_job_out_of_its_queue(self, rig: Rig) -> None:
        job_id = rig.waiting()
        lease = rig.leased(job_id, worker="w1")
        assert (lease.token, lease.attempt, lease.failures, lease.lost, lease.done) == (1, 1, 0, 0, {})
        assert timedelta(minutes=9) < lease.time_left <= timedelta(minutes=10)
        assert rig.waits_in(job_id) == []
        status = rig.status(job_id)
        assert status is not None
        assert (status.state, status.worker, status.attempt) == (JobState.RUNNING, "w1", 1)
        assert rig.client.sismember(rig.keys.running, job_id)
        assert rig.queues()["default"].started == 1

    def test_the_next_look_of_a_running_job_is_the_end_of_its_lease(self, rig: Rig) -> None:
        job_id, _ = rig.running()
        assert rig.in_due(job_id) == float(rig.field(job_id, "lease_ms") or 0)

    def test_a_request_repeated_by_the_same_delivery_gets_the_same_attempt(self, rig: Rig) -> None:
        job_id = rig.waiting()
        first, again = rig.leased(job_id, nonce="n"), rig.leased(job_id, nonce="n")
        assert (again.token, again.attempt) == (first.token, first.attempt)
        assert rig.counts()["attempts"] == 1

    def test_a_repeated_request_counts_also_when_its_lease_ran_out_unseen(self, rig: Rig) -> None:
        job_id = rig.waiting()
        rig.leased(job_id, nonce="n")
        rig.advance(60)
        assert rig.leased(job_id, nonce="n").attempt == 1

    def test_another_delivery_of_a_running_job_is_turned_away(self, rig: Rig) -> None:
        job_id, _ = rig.running()
        assert rig.refusal(job_id) == "leased_elsewhere"

    def test_a_delivery_after_the_lease_ran_out_must_look_first(self, rig: Rig) -> None:
        job_id, _ = rig.running()
        rig.advance(60)
        assert rig.refusal(job_id) == "look"
        assert rig.state(job_id) == "running"

    def test_a_delayed_job_cannot_be_leased_before_its_time(self, rig: Rig) -> None:
        job_id = rig.waiting(delay=timedelta(seconds=30))
        assert rig.refusal(job_id) == "not_due"
        rig.advance(31)
        assert rig.refusal(job_id) == "look"

    @pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "expired"])
    def test_a_settled_job_says_how_it_ended(self, rig: Rig, end: str) -> None:
        job_id = rig.waiting()
        if end == "cancelled":
            rig.cancel(job_id)
        elif end == "expired":
            rig.advance(700)
            rig.look(job_id)
        else:
            rig.settle(job_id, rig.leased(job_id).token, succeeded() if end == "succeeded" else failed())
        assert rig.refusal(job_id) == f"settled:{end}"

    def test_an_unknown_job_is_unknown(self, rig: Rig) -> None:
        assert rig.refusal("nobody") == "unknown"

    def test_garbage_cannot_be_leased(self, rig: Rig) -> None:
        sink = GarbageSink(client=rig.client, namespace=rig.settings.namespace, ttl_seconds=60, max_dead=10)
        sink.record_garbage("default", b"{", "not JSON")
        (job_id,) = [key.rpartition(":")[2] for key in rig.every_key() if ":job:" in key]
        assert rig.refusal(job_id) == "settled:garbage"

    def test_a_job_past_its_deadline_is_not_started(self, rig: Rig) -> None:
        job_id = rig.waiting()
        rig.advance(601)
        assert rig.refusal(job_id) == "look"
        assert rig.look(job_id).action == "expired"

    def test_started_numbers_only_grow(self, rig: Rig) -> None:
        ids = [rig.waiting() for _ in range(3)]
        rig.leased(ids[2])
        rig.leased(ids[0])
        assert rig.queues()["default"].started == 3

    def test_a_record_without_its_envelope_is_leased_and_left_to_the_worker_to_fail(self, rig: Rig) -> None:
        job_id = rig.waiting()
        rig.client.hdel(rig.keys.job(job_id), "envelope")
        assert rig.leased(job_id).envelope == ""


class TestHeartbeat:
    def test_the_lease_is_kept_and_the_next_look_with_it(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.advance(9)
        before = rig.in_due(job_id)
        assert rig.beat(job_id, token) == "kept"
        after = rig.in_due(job_id)
        assert before is not None
        assert after is not None
        assert after - before >= 8_000

    def test_a_heartbeat_that_comes_late_still_saves_a_lease_that_nobody_took(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.advance(60)
        assert rig.beat(job_id, token) == "kept"
        assert rig.look(job_id).action == "nothing"

    def test_a_cancelled_job_is_told_with_the_reason(self, rig: Rig) -> None:
        job_id, token = rig.running()
        assert rig.cancel(job_id, "because: no") == "requested"
        assert rig.beat(job_id, token) == "cancel:because: no"

    def test_an_old_token_a_settled_and_an_unknown_job_are_lost(self, rig: Rig) -> None:
        job_id, old = rig.running()
        rig.advance(60)
        rig.look(job_id)
        new = rig.leased(job_id).token
        assert rig.beat(job_id, old) == "lost"
        rig.settle(job_id, new)
        assert rig.beat(job_id, new) == "lost"
        assert rig.beat("nobody", 1) == "lost"

    def test_many_are_answered_in_order(self, rig: Rig) -> None:
        one, token_of_one = rig.running()
        two, token_of_two = rig.running()
        rig.cancel(two, "stop")
        beats = [(two, token_of_two, None), ("nobody", 1, None), (one, token_of_one, None)]
        assert rig.ledger.run(rig.commands.heartbeat(beats)) == ["cancel:stop", "lost", "kept"]

    def test_progress_travels_with_it_and_the_last_word_stays(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.beat(job_id, token, Progress(done=3, total=10, message="drei — 三"))
        rig.beat(job_id, token)
        status = rig.status(job_id)
        assert status is not None
        assert status.progress == Progress(done=3, total=10, message="drei — 三")


class TestSettle:
    def test_a_settled_job_leaves_every_index_and_has_its_outcome(self, rig: Rig) -> None:
        job_id, token = rig.running()
        assert rig.settle(job_id, token, succeeded('{"a":[1,2]}')) == "settled"
        assert rig.outcome(job_id).calls[0].value == '{"a": [1, 2]}'
        assert rig.in_due(job_id) is None
        assert rig.waits_in(job_id) == []
        assert not rig.client.sismember(rig.keys.running, job_id)
        status = rig.status(job_id)
        assert status is not None
        assert status.state is JobState.SUCCEEDED
        assert status.settled_at is not None
        assert rig.field(job_id, "envelope") is None, "what it was called with is not kept beyond need"

    def test_only_the_newest_token_settles(self, rig: Rig) -> None:
        job_id, old = rig.running()
        rig.advance(60)
        rig.look(job_id)
        new = rig.leased(job_id).token
        assert rig.settle(job_id, old, succeeded('"old"')) == "stale"
        assert rig.stored(job_id) is None
        assert rig.settle(job_id, new, succeeded('"new"')) == "settled"
        assert rig.settle(job_id, old, succeeded('"old"')) == "stale"
        assert rig.outcome(job_id).calls[0].value == '"new"'
        assert rig.counts()["stale"] == 2

    def test_a_repeated_settlement_is_confirmed_and_changes_nothing(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.settle(job_id, token, succeeded("1"))
        assert rig.settle(job_id, token, succeeded("2")) == "settled"
        assert rig.outcome(job_id).calls[0].value == "1"
        assert rig.counts()["outcome:succeeded:text.count"] == 1

    def test_a_failure_is_a_dead_letter_kept_whole(self, rig: Rig) -> None:
        short = rig_with(rig, result_ttl_seconds=20, dead_letter_ttl_seconds=300)
        job_id = short.dead()
        assert rig.client.zscore(rig.keys.dead, job_id) is not None
        assert rig.field(job_id, "envelope") is not None
        for key in (rig.keys.job(job_id), rig.keys.result(job_id), rig.keys.dead):
            assert 299_000 < rig.client.pttl(key) <= 300_000, f"{key} must live as long as the dead letter"

    def test_only_so_many_dead_letters_are_kept_and_the_oldest_go(self, rig: Rig) -> None:
        small = rig_with(rig, max_dead_letters=2)
        first, *others = [small.dead() for _ in range(3)]
        assert set(rig.client.zrange(rig.keys.dead, 0, -1)) == {job_id.encode() for job_id in others}
        assert rig.status(first) is None
        assert rig.outcome(first).state is JobState.FAILED, "its outcome is still its producer's to read"

    def test_dead_letters_older_than_they_are_kept_leave_the_index(self, rig: Rig) -> None:
        old = rig.dead()
        week = rig.settings.dead_letter_ttl_seconds * 1000
        rig.client.zincrby(rig.keys.dead, -week - 1, old)
        new = rig.dead()
        assert rig.client.zrange(rig.keys.dead, 0, -1) == [new.encode()]

    def test_the_outcome_of_a_success_lives_as_long_as_its_record(self, rig: Rig) -> None:
        short = rig_with(rig, result_ttl_seconds=20)
        job_id, token = short.running()
        short.settle(job_id, token)
        for key in (rig.keys.job(job_id), rig.keys.result(job_id)):
            assert 19_000 < rig.client.pttl(key) <= 20_000

    def test_a_value_that_may_be_used_again_is_kept_by_the_same_settlement(self, rig: Rig) -> None:
        job_id, token = rig.running()
        key = rig.keys.cached("text.count", "digest")
        rig.settle(job_id, token, succeeded("7"), keep=(key, timedelta(seconds=30)))
        assert rig.client.get(key) == b"7"
        assert 29_000 < rig.client.pttl(key) <= 30_000

    def test_neither_a_failure_nor_a_stale_settlement_is_kept_for_use_again(self, rig: Rig) -> None:
        key = rig.keys.cached("text.count", "digest")
        job_id, token = rig.running()
        rig.settle(job_id, token + 1, succeeded("7"), keep=(key, timedelta(seconds=30)))
        rig.settle(job_id, token, failed(), keep=(key, timedelta(seconds=30)))
        assert rig.client.get(key) is None

    def test_a_job_of_many_calls_is_dead_only_when_all_of_them_failed(self, rig: Rig) -> None:
        good, bad = succeeded().calls[0], failed().calls[0]
        mixed, token = rig.running(calls=("{}", "{}"))
        rig.settle(mixed, token, JobRecord(attempts=1, calls=(bad, good)))
        assert rig.state(mixed) == "succeeded"
        hopeless, token = rig.running(calls=("{}", "{}"))
        rig.settle(hopeless, token, JobRecord(attempts=1, calls=(bad, bad)))
        assert rig.state(hopeless) == "failed"
        assert rig.client.zrange(rig.keys.dead, 0, -1) == [hopeless.encode()]

    def test_each_call_of_a_job_is_counted_as_it_ended(self, rig: Rig) -> None:
        good, bad = succeeded().calls[0], failed().calls[0]
        job_id, token = rig.running(calls=("{}", "{}", "{}"))
        rig.settle(job_id, token, JobRecord(attempts=1, calls=(bad, good, bad)))
        assert rig.counts()["outcome:failed:text.count"] == 2
        assert rig.counts()["outcome:succeeded:text.count"] == 1

    def test_one_entry_counts_for_all_calls_of_a_job_that_failed_as_a_whole(self, rig: Rig) -> None:
        job_id, token = rig.running(calls=("{}", "{}", "{}"))
        rig.settle(job_id, token, failed())
        assert rig.counts()["outcome:failed:text.count"] == 3

    def test_calls_that_ended_before_the_rest_expired_are_counted_as_they_ended(self, rig: Rig) -> None:
        job_id, token = rig.running(calls=("{}", "{}", "{}"))
        rig.retry(job_id, token, 5, {1: succeeded().calls[0]})
        rig.advance(700)
        assert rig.look(job_id).action == "expired"
        assert rig.counts()["outcome:succeeded:text.count"] == 1
        assert rig.counts()["outcome:expired:text.count"] == 2


class TestRetry:
    def test_the_next_attempt_has_a_time_and_until_then_no_queue(self, rig: Rig) -> None:
        job_id, token = rig.running()
        assert rig.retry(job_id, token, 5) == "scheduled"
        status = rig.status(job_id)
        assert status is not None
        assert (status.state, status.failures, status.attempt) == (JobState.SCHEDULED, 1, 1)
        assert status.due_at is not None
        assert rig.in_due(job_id) == status.due_at.timestamp() * 1000
        assert rig.waits_in(job_id) == []
        assert not rig.client.sismember(rig.keys.running, job_id)

    def test_the_next_attempt_has_a_new_token_and_knows_what_went_before(self, rig: Rig) -> None:
        job_id, token = rig.running(calls=("{}", "{}"))
        done = {1: CallRecord(state=JobState.SUCCEEDED, value='"ja — 是"')}
        rig.retry(job_id, token, 1, done)
        rig.advance(2)
        rig.look(job_id)
        lease = rig.leased(job_id)
        assert (lease.token, lease.failures, lease.lost) == (token + 1, 1, 0)
        assert lease.done == done

    def test_a_repeated_retry_is_confirmed_once_counted(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.retry(job_id, token)
        assert rig.retry(job_id, token) == "scheduled"
        status = rig.status(job_id)
        assert status is not None
        assert status.failures == 1

    def test_an_attempt_that_asked_for_a_retry_can_no_longer_settle(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.retry(job_id, token)
        rig.settle(job_id, token, succeeded())
        assert rig.state(job_id) == "scheduled"
        assert rig.stored(job_id) is None

    def test_a_stale_attempt_cannot_ask_for_a_retry(self, rig: Rig) -> None:
        job_id, token = rig.running()
        assert rig.retry(job_id, token + 1) == "stale"
        assert rig.state(job_id) == "running"

    def test_a_cancelled_job_is_not_retried_and_the_attempt_is_told_why(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.cancel(job_id, "too: late")
        assert rig.retry(job_id, token) == "cancel:too: late"
        assert rig.state(job_id) == "running"
        record = outcomes.without_value(JobState.CANCELLED, attempts=1, reason="too: late")
        assert rig.settle(job_id, token, record) == "settled"
        assert rig.state(job_id) == "cancelled"

    def test_a_retry_after_the_deadline_is_looked_at_at_the_deadline(self, rig: Rig) -> None:
        job_id, token = rig.running(deadline=timedelta(seconds=60))
        rig.retry(job_id, token, 3600)
        status = rig.status(job_id)
        assert status is not None
        assert rig.in_due(job_id) == status.deadline_at.timestamp() * 1000

    def test_a_deadline_that_passes_while_a_retry_waits_expires_the_job(self, rig: Rig) -> None:
        job_id, token = rig.running(deadline=timedelta(seconds=60))
        rig.retry(job_id, token, 60)
        rig.advance(60)
        assert rig.look(job_id).action == "expired"
        assert rig.outcome(job_id).attempts == 1


class TestCancel:
    def test_a_waiting_job_ends_at_once(self, rig: Rig) -> None:
        job_id = rig.waiting()
        assert rig.cancel(job_id, "not needed") == "cancelled"
        record = rig.outcome(job_id)
        assert (record.state, record.calls[0].reason, record.attempts) == (JobState.CANCELLED, "not needed", 0)
        assert rig.waits_in(job_id) == []
        assert rig.in_due(job_id) is None

    def test_a_delayed_job_ends_at_once(self, rig: Rig) -> None:
        job_id = rig.waiting(delay=timedelta(seconds=30))
        assert rig.cancel(job_id) == "cancelled"
        assert rig.in_due(job_id) is None

    def test_a_job_between_two_attempts_ends_at_once_and_tells_the_attempts(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.retry(job_id, token)
        assert rig.cancel(job_id) == "cancelled"
        assert rig.outcome(job_id).attempts == 1

    def test_a_running_job_is_asked_and_its_own_success_still_counts(self, rig: Rig) -> None:
        job_id, token = rig.running()
        assert rig.cancel(job_id) == "requested"
        status = rig.status(job_id)
        assert status is not None
        assert (status.state, status.cancel_requested) == (JobState.RUNNING, True)
        assert rig.settle(job_id, token) == "settled"
        assert rig.state(job_id) == "succeeded"

    def test_hard_ends_a_running_job_at_once_and_its_attempt_is_stale(self, rig: Rig) -> None:
        job_id, token = rig.running()
        assert rig.cancel(job_id, hard=True) == "cancelled"
        assert rig.outcome(job_id).attempts == 1
        assert rig.settle(job_id, token) == "stale"
        assert rig.retry(job_id, token) == "stale"
        assert rig.beat(job_id, token) == "lost"
        assert rig.state(job_id) == "cancelled"

    def test_a_settled_job_keeps_its_outcome(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.settle(job_id, token)
        before = rig.stored(job_id)
        for hard in (False, True):
            assert rig.cancel(job_id, hard=hard) == "settled:succeeded"
        assert rig.stored(job_id) == before
        assert rig.field(job_id, "cancel") is None

    def test_an_unknown_job_and_garbage_are_unknown(self, rig: Rig) -> None:
        assert rig.cancel("nobody") == "unknown"
        rig.client.hset(rig.keys.job("g"), "state", "garbage")
        rig.client.expire(rig.keys.job("g"), 60)
        assert rig.cancel("g") == "unknown"


class TestLook:
    def test_a_job_that_is_gone_or_settled_leaves_the_index(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.settle(job_id, token)
        for left in (job_id, "nobody"):
            rig.client.zadd(rig.keys.due, {left: 1})
            rig.client.sadd(rig.keys.running, left)
            assert rig.look(left).action == "nothing"
            assert rig.in_due(left) is None
            assert not rig.client.sismember(rig.keys.running, left)

    def test_a_running_job_with_a_good_lease_is_left_alone(self, rig: Rig) -> None:
        job_id, _ = rig.running()
        rig.client.zadd(rig.keys.due, {job_id: 1})
        assert rig.look(job_id).action == "nothing"
        assert rig.in_due(job_id) == float(rig.field(job_id, "lease_ms") or 0)

    def test_a_lost_attempt_goes_back_to_its_place_at_the_head(self, rig: Rig) -> None:
        job_id, _ = rig.running()
        rig.waiting()
        rig.advance(60)
        looked = rig.look(job_id)
        assert looked.wake_up == WakeUp(
            job_id=job_id, function="text.count", queue="default", shown='{"text": "***"}', head=True, attempts=1
        )
        status = rig.status(job_id)
        assert status is not None
        assert (status.state, status.lost, status.failures) == (JobState.WAITING, 1, 0)
        assert rig.client.zrange(rig.keys.waiting("default"), 0, 0) == [job_id.encode()]
        assert rig.in_due(job_id) == status.deadline_at.timestamp() * 1000
        assert not rig.client.sismember(rig.keys.running, job_id)

    def test_a_job_whose_workers_die_is_given_up_in_the_end(self, rig: Rig) -> None:
        careful = rig_with(rig, max_lost_attempts=2)
        job_id = careful.waiting()
        actions = []
        for _ in range(2):
            careful.leased(job_id)
            careful.advance(60)
            actions.append(careful.look(job_id).action)
        assert actions == ["publish", "gave_up"]
        record = rig.outcome(job_id)
        assert record.calls[0].error is not None
        assert record.calls[0].error.kind is ErrorKind.LOST
        assert record.attempts == 2
        assert rig.client.zscore(rig.keys.dead, job_id) is not None

    def test_at_most_once_is_never_started_again(self, rig: Rig) -> None:
        job_id, _ = rig.running(delivery="at_most_once")
        rig.advance(60)
        looked = rig.look(job_id)
        assert (looked.action, looked.function) == ("gave_up", "text.count")
        assert rig.outcome(job_id).attempts == 1, "it was started once, and its outcome says so"
        assert rig.refusal(job_id) == "settled:failed"

    def test_at_most_once_with_a_lost_reply_is_given_up_rather_than_started_twice(self, rig: Rig) -> None:
        job_id = rig.waiting(delivery="at_most_once")
        rig.leased(job_id, nonce="the reply never came")
        rig.advance(60)
        assert rig.refusal(job_id, nonce="another delivery") == "look"
        assert rig.look(job_id).action == "gave_up"

    def test_a_cancelled_job_whose_worker_died_is_cancelled_for_the_producers_reason(self, rig: Rig) -> None:
        reason = 'done 100 % \\ "elsewhere" — 完 %1'
        job_id, _ = rig.running()
        rig.cancel(job_id, reason)
        rig.advance(60)
        assert rig.look(job_id).action == "cancelled"
        record = rig.outcome(job_id)
        assert (record.state, record.calls[0].reason, record.attempts) == (JobState.CANCELLED, reason, 1)

    def test_a_waiting_job_past_its_deadline_expires(self, rig: Rig) -> None:
        job_id = rig.waiting()
        rig.advance(600)
        looked = rig.look(job_id)
        assert (looked.action, looked.function) == ("expired", "text.count")
        record = rig.outcome(job_id)
        assert (record.state, record.attempts) == (JobState.EXPIRED, 0)
        assert rig.waits_in(job_id) == []

    def test_a_waiting_job_before_its_deadline_is_left_alone(self, rig: Rig) -> None:
        job_id = rig.waiting()
        rig.client.zadd(rig.keys.due, {job_id: 1})
        assert rig.look(job_id).action == "nothing"
        status = rig.status(job_id)
        assert status is not None
        assert rig.in_due(job_id) == status.deadline_at.timestamp() * 1000

    def test_a_delayed_job_that_is_due_goes_to_the_tail_of_its_queue(self, rig: Rig) -> None:
        job_id = rig.waiting(delay=timedelta(seconds=30))
        earlier = rig.waiting()
        rig.advance(30)
        wake_up = rig.look(job_id).wake_up
        assert wake_up is not None
        assert (wake_up.head, wake_up.attempts) == (False, 0)
        assert rig.client.zrange(rig.keys.waiting("default"), 0, -1) == [earlier.encode(), job_id.encode()]

    def test_a_retried_job_that_is_due_goes_to_the_head(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.retry(job_id, token, 5)
        rig.advance(5)
        wake_up = rig.look(job_id).wake_up
        assert wake_up is not None
        assert (wake_up.head, wake_up.attempts) == (True, 1)

    def test_a_delayed_job_that_is_not_due_yet_is_looked_at_then(self, rig: Rig) -> None:
        job_id = rig.waiting(delay=timedelta(seconds=30))
        due = rig.in_due(job_id)
        rig.client.zadd(rig.keys.due, {job_id: 1})
        assert rig.look(job_id).action == "nothing"
        assert rig.in_due(job_id) == due

    def test_a_delayed_job_whose_deadline_comes_first_expires(self, rig: Rig) -> None:
        job_id = rig.waiting(delay=timedelta(hours=1), deadline=timedelta(minutes=1))
        rig.advance(60)
        assert rig.look(job_id).action == "expired"

    def test_looking_twice_publishes_once(self, rig: Rig) -> None:
        job_id, _ = rig.running()
        rig.advance(60)
        assert [rig.look(job_id).action for _ in range(2)] == ["publish", "nothing"]

    def test_calls_that_had_ended_keep_their_outcomes_when_the_rest_expires(self, rig: Rig) -> None:
        job_id, token = rig.running(calls=("{}",) * 4)
        done = {
            1: CallRecord(state=JobState.SUCCEEDED, value='{"名":"a \\"b\\"","n":12345678901234567890}'),
            3: failed('no: "quoted" — ü').calls[0],
        }
        rig.retry(job_id, token, 5, done)
        rig.advance(601)
        assert rig.look(job_id).action == "expired"
        record = rig.outcome(job_id)
        assert [call.state for call in record.calls] == ["expired", "succeeded", "expired", "failed"]
        assert json.loads(record.calls[1].value or "") == {"名": 'a "b"', "n": 12345678901234567890}
        assert record.calls[3] == done[3]
        assert record.attempts == 1
        assert rig.state(job_id) == "succeeded", "as where an attempt itself ends with some calls done"
        assert rig.client.zscore(rig.keys.dead, job_id) is None

    def test_calls_that_had_failed_stay_failed_when_the_job_is_cancelled(self, rig: Rig) -> None:
        job_id, token = rig.running(calls=("{}",) * 2)
        rig.retry(job_id, token, 5, {0: failed().calls[0]})
        assert rig.cancel(job_id, "enough") == "cancelled"
        record = rig.outcome(job_id)
        assert [call.state for call in record.calls] == ["failed", "cancelled"]
        assert record.calls[1].reason == "enough"
        assert rig.state(job_id) == "cancelled"


class TestDue:
    def test_due_jobs_come_in_order_up_to_the_limit(self, rig: Rig) -> None:
        ids = [rig.waiting(deadline=timedelta(seconds=seconds)) for seconds in (10, 5, 500)]
        rig.advance(20)
        assert rig.due() == [ids[1], ids[0]]
        assert rig.due(limit=1) == [ids[1]]

    def test_one_node_sweeps_at_a_time(self, rig: Rig) -> None:
        assert rig.due("one") == []
        assert rig.due("two") is None
        assert rig.due("one") == []

    def test_a_node_that_dies_holding_the_sweep_is_replaced_within_seconds(self, rig: Rig) -> None:
        rig.due("one")
        assert 0 < rig.client.pttl(f"{rig.keys.prefix}sweeper") <= 5_000
        rig.client.delete(f"{rig.keys.prefix}sweeper")
        assert rig.due("two") == []

    def test_a_node_that_stops_lets_another_sweep_at_once(self, rig: Rig) -> None:
        rig.due("one")
        rig.ledger.run(rig.commands.stop_sweeping("two"))
        assert rig.due("two") is None, "nobody can stop another's sweep"
        rig.ledger.run(rig.commands.stop_sweeping("one"))
        assert rig.due("two") == []


class TestLost:
    def test_a_job_is_lost_when_one_accepted_a_grace_later_has_started(self, rig: Rig) -> None:
        first, second = rig.waiting(), rig.waiting()
        rig.leased(second)
        rig.advance(500)
        assert rig.lost(started=2) == [], "they were accepted together: it may have been published a little later"
        third, fourth = rig.waiting(), rig.waiting()
        assert rig.lost(started=2) == []
        rig.leased(third)
        (wake_up,) = rig.lost(started=3)
        assert wake_up == WakeUp(
            job_id=first, function="text.count", queue="default", shown='{"text": "***"}', head=True, attempts=0
        )
        assert rig.waits_in(fourth) == ["default"]

    def test_jobs_after_the_last_started_one_are_in_their_place_however_long_they_wait(self, rig: Rig) -> None:
        for _ in range(3):
            rig.waiting()
        rig.advance(500)
        assert rig.lost(started=1) == []
        assert rig.lost(started=0) == []

    def test_all_are_lost_when_the_broker_holds_none(self, rig: Rig) -> None:
        ids = [rig.waiting() for _ in range(3)]
        rig.advance(6)
        assert [wake_up.job_id for wake_up in rig.lost(started=None)] == ids
        assert rig.lost(started=None, limit=0) == []

    def test_each_copy_doubles_the_grace(self, rig: Rig) -> None:
        rig.waiting()
        copied_after = []
        for second in range(0, 160, 5):
            if rig.lost():
                copied_after.append(second)
            rig.advance(5)
        assert copied_after == [5, 15, 35, 75, 155]

    def test_an_attempt_that_was_started_begins_the_count_of_copies_anew(self, rig: Rig) -> None:
        job_id = rig.waiting()
        for grace in (5, 10, 20):
            rig.advance(grace)
            assert rig.lost()
        rig.leased(job_id)
        rig.advance(60)
        rig.look(job_id)
        rig.advance(5)
        assert [wake_up.job_id for wake_up in rig.lost()] == [job_id]

    def test_a_retried_job_keeps_its_number_and_is_not_lost_before_its_own_grace(self, rig: Rig) -> None:
        job_id, token = rig.running()
        for _ in range(3):
            rig.leased(rig.waiting())
        rig.retry(job_id, token, 100)
        rig.advance(100)
        rig.look(job_id)
        assert rig.lost(started=4) == [], "its wake-up has just been published"
        rig.advance(5)
        assert [(found.job_id, found.attempts) for found in rig.lost(started=4)] == [(job_id, 1)]

    def test_what_no_longer_waits_leaves_the_order(self, rig: Rig) -> None:
        job_id, _ = rig.running()
        rig.client.zadd(rig.keys.waiting("default"), {job_id: 1, "nobody": 2})
        rig.advance(6)
        assert rig.lost() == []
        assert rig.waits_in(job_id) == []

    def test_queues_are_apart(self, rig: Rig) -> None:
        rig.waiting(queue="default.bulk")
        rig.advance(6)
        assert rig.lost(queue="default") == []
        assert len(rig.lost(queue="default.bulk")) == 1


class TestReplay:
    def test_a_dead_letter_lives_again_under_its_own_id(self, rig: Rig) -> None:
        job_id = rig.dead()
        wake_up = rig.replay(job_id, deadline=100)
        assert isinstance(wake_up, WakeUp)
        assert (wake_up.job_id, wake_up.function, wake_up.queue, wake_up.head) == (
            job_id, "text.count", "default", False,
        )  # fmt: skip
        status = rig.status(job_id)
        assert status is not None
        assert (status.state, status.failures, status.lost, status.settled_at) == (JobState.WAITING, 0, 0, None)
        assert rig.in_due(job_id) == status.deadline_at.timestamp() * 1000
        assert rig.waits_in(job_id) == ["default"]
        assert rig.stored(job_id) is None
        assert rig.client.zscore(rig.keys.dead, job_id) is None

    def test_the_fencing_token_goes_on_so_an_attempt_from_before_cannot_settle(self, rig: Rig) -> None:
        job_id, old = rig.running()
        rig.settle(job_id, old, failed())
        rig.replay(job_id)
        assert rig.settle(job_id, old, failed()) == "stale"
        lease = rig.leased(job_id)
        assert lease.token == old + 1
        assert rig.settle(job_id, lease.token) == "settled"
        assert rig.outcome(job_id).state is JobState.SUCCEEDED

    def test_every_call_is_made_again(self, rig: Rig) -> None:
        job_id, token = rig.running(calls=("{}", "{}"))
        rig.retry(job_id, token, 1, {0: failed().calls[0]})
        rig.advance(1)
        rig.look(job_id)
        bad = failed().calls[0]
        rig.settle(job_id, rig.leased(job_id).token, JobRecord(attempts=2, calls=(bad, bad)))
        rig.replay(job_id)
        assert rig.leased(job_id).done == {}

    def test_what_is_no_dead_letter_is_not_replayed(self, rig: Rig) -> None:
        job_id, token = rig.running()
        assert rig.replay(job_id) == "not_dead"
        rig.settle(job_id, token)
        assert rig.replay(job_id) == "not_dead"
        assert rig.replay("nobody") == "unknown"

    def test_a_discarded_dead_letter_is_not_replayed_and_keeps_its_outcome(self, rig: Rig) -> None:
        job_id = rig.dead()
        assert rig.ledger.run(rig.commands.discard(job_id)) is True
        assert rig.replay(job_id) == "not_dead"
        assert rig.outcome(job_id).state is JobState.FAILED
        assert rig.ledger.run(rig.commands.discard(job_id)) is False

    def test_discarding_touches_no_job_that_lives(self, rig: Rig) -> None:
        waiting, replayed = rig.waiting(), rig.dead()
        rig.replay(replayed)
        for job_id in (waiting, replayed):
            assert rig.ledger.run(rig.commands.discard(job_id)) is False
            assert rig.leased(job_id).envelope != ""


def test_queues_tell_what_waits_and_since_when(rig: Rig) -> None:
    rig.waiting()
    rig.leased(rig.waiting(queue="slow"))
    rig.advance(7)
    rig.waiting()
    queues = rig.queues()
    assert (queues["default"].waiting, queues["default"].started) == (2, 0)
    assert timedelta(seconds=7) <= queues["default"].oldest < timedelta(seconds=9)
    assert (queues["slow"].waiting, queues["slow"].started, queues["slow"].oldest) == (0, 1, timedelta(0))


class TestAnnouncements:
    def test_the_producer_hears_the_outcome_itself(self, rig: Rig) -> None:
        job_id, token = rig.running(producer="p1")
        (heard,) = rig.heard(lambda: rig.settle(job_id, token, succeeded('"ü"')), rig.keys.announcements("p1"))
        name, _, meta = heard.partition(b"\n")
        assert name.decode() == job_id
        assert meta == rig.stored(job_id)

    def test_an_outcome_over_64_kib_is_announced_by_its_id_alone(self, rig: Rig) -> None:
        job_id, token = rig.running(producer="p1")
        large = succeeded(json.dumps("x" * 65_536))
        heard = rig.heard(lambda: rig.settle(job_id, token, large), rig.keys.announcements("p1"))
        assert heard == [f"{job_id}\n".encode()]

    def test_celerys_own_clients_hear_it_under_the_results_name(self, rig: Rig) -> None:
        job_id, token = rig.running(producer="")
        heard = rig.heard(lambda: rig.settle(job_id, token), rig.keys.result(job_id))
        assert heard == [rig.stored(job_id)]

    def test_every_way_to_end_is_announced_and_a_repeated_settlement_is_not(self, rig: Rig) -> None:
        waiting, (running, token), late = rig.waiting(), rig.running(), rig.waiting()

        def end() -> None:
            rig.cancel(waiting)
            for _ in range(2):
                rig.settle(running, token, failed())
            rig.advance(700)
            rig.look(late)

        heard = rig.heard(end, rig.keys.announcements("tester"))
        assert [data.partition(b"\n")[0].decode() for data in heard] == [waiting, running, late]


class TestCelery:
    @pytest.fixture
    def app(self, server: EmbeddedServer) -> Iterator[Celery]:
        made = Celery("plain", backend=kombu_url(server.url), set_as_current=False)
        yield made
        made.backend.result_consumer.stop()
        made.backend.client.close()

    def test_a_success_is_celerys_success(self, rig: Rig, app: Celery) -> None:
        job_id, token = rig.running()
        rig.settle(job_id, token, succeeded('{"sum": [1, 2.5, null]}'))
        result = AsyncResult(job_id, app=app)
        assert result.get(timeout=5) == {"sum": [1, 2.5, None]}
        assert result.status == states.SUCCESS

    def test_a_failure_raises_the_functions_exception(self, rig: Rig, app: Celery) -> None:
        result = AsyncResult(rig.dead(), app=app)
        with pytest.raises(ValueError, match="broken"):
            result.get(timeout=5)
        assert result.status == states.FAILURE

    def test_cancelled_expired_and_partly_done_are_read_too(self, rig: Rig, app: Celery) -> None:
        cancelled, expired = rig.waiting(), rig.waiting()
        partly, token = rig.running(calls=("{}", "{}"))
        rig.retry(partly, token, 5, {1: succeeded('"done"').calls[0]})
        rig.cancel(cancelled, "no")
        rig.advance(700)
        for job_id in (expired, partly):
            rig.look(job_id)
        for job_id, text in ((cancelled, "no"), (expired, "expired")):
            result = AsyncResult(job_id, app=app)
            assert result.status == states.REVOKED
            with pytest.raises(TaskRevokedError, match=text):
                result.get(timeout=5)
        assert AsyncResult(partly, app=app).get(timeout=5) == [None, "done"]


def run_everything(rig: Rig) -> list[str]:
    """Every script once or more; the ids of the jobs."""
    done, token = rig.running(idempotency_key="k", digest="d", producer="p")
    rig.beat(done, token, Progress(done=1))
    rig.settle(done, token, succeeded(), keep=(rig.keys.cached("text.count", "d"), timedelta(seconds=9)))
    again, token = rig.running(calls=("{}", "{}"))
    rig.retry(again, token, 1, {0: succeeded().calls[0]})
    dead = rig.dead()
    rig.replay(dead)
    rig.cancel(dead)
    forgotten = rig.dead()
    rig.ledger.run(rig.commands.discard(forgotten))
    late = rig.waiting()
    rig.advance(700)
    rig.lost()
    for job_id in rig.due() or []:
        rig.look(job_id)
    rig.queues()
    rig.ledger.run(rig.commands.stop_sweeping("node"))
    GarbageSink(client=rig.client, namespace=rig.settings.namespace, ttl_seconds=60, max_dead=10).record_garbage(
        "default", b"{", "not JSON"
    )
    return [done, again, dead, forgotten, late]


class TestKeys:
    def test_every_key_is_in_the_hash_slot_of_the_namespace(self, rig: Rig) -> None:
        before = set(rig.client.scan_iter())
        ids = run_everything(rig)
        made = {key.decode() for key in set(rig.client.scan_iter()) - before}
        assert made - set(rig.every_key()) == {rig.keys.result(job_id) for job_id in ids}
        assert all(key.startswith("{" + rig.settings.namespace + "}:") for key in rig.every_key())

    def test_with_a_result_prefix_results_are_in_that_slot_too(self, rig: Rig) -> None:
        prefix = "{" + rig.settings.namespace + "}:"
        before = set(rig.client.scan_iter())
        run_everything(rig_with(rig, result_prefix=prefix))
        made = {key.decode() for key in set(rig.client.scan_iter()) - before}
        assert all(key.startswith(prefix) for key in made)

    def test_a_user_who_may_touch_nothing_else_can_do_everything(self, rig: Rig, server: EmbeddedServer) -> None:
        name = f"user-{rig.settings.namespace}"
        rig.client.acl_setuser(
            name,
            enabled=True,
            nopass=True,
            keys=[f"{rig.keys.prefix}*", "celery-task-meta-*"],
            channels=[f"{rig.keys.prefix}*", "celery-task-meta-*"],
            categories=["+@all"],
            reset=True,
        )
        try:
            with connect(server.url, role="test") as own:
                own.execute_command("AUTH", name, "")
                ids = run_everything(Rig(own, rig.settings))
        finally:
            rig.client.acl_deluser(name)
        assert all(rig.state(job_id) in {"succeeded", "cancelled", "failed", "expired"} for job_id in ids)


class TestForgottenScripts:
    """A server that was restarted, or told SCRIPT FLUSH, does not hold our scripts."""

    def test_one_command_is_run_from_its_text(self, rig: Rig) -> None:
        rig.client.script_flush()
        assert rig.accept().new
        assert rig.client.script_exists(script("accept").sha) == [True]

    def test_of_many_commands_each_is_run_once(self, rig: Rig) -> None:
        ids = [rig.waiting() for _ in range(3)]
        rig.client.script_flush()
        commands = [
            *(rig.commands.lease(job_id, "w", job_id) for job_id in ids),
            rig.commands.lease("nobody", "w", "n"),
        ]
        rig.ledger.run(rig.commands.lease(rig.waiting(), "w", "n"))
        answers = rig.ledger.run_many_settled(commands)
        assert [getattr(answer, "attempt", None) for answer in answers] == [1, 1, 1, None]
        rig.client.script_flush()
        looks = rig.ledger.run_many_settled([rig.commands.look(job_id) for job_id in ids])
        assert [getattr(looked, "action", looked) for looked in looks] == ["nothing"] * 3

    async def test_the_event_loops_ledger_does_the_same(self, rig: Rig, server: EmbeddedServer) -> None:
        rig.client.script_flush()
        async with connect_async(server.url, role="test") as client:
            ledger = AsyncLedger(client)
            jobs = [rig.job() for _ in range(3)]
            results = await ledger.run_many_settled([rig.commands.accept(job) for job in jobs])
            assert [getattr(result, "job_id", result) for result in results] == [job.id for job in jobs]
            assert rig.counts()["accepted"] == 3
            rig.client.script_flush()
            assert (await ledger.run(rig.commands.accept(jobs[0]))).job_id == jobs[0].id
            assert await ledger.run_many_settled([]) == []


class TestManyAtOnce:
    async def test_a_refusal_of_one_spoils_no_other(self, rig: Rig, server: EmbeddedServer) -> None:
        commands = Commands(Settings(namespace=rig.settings.namespace, max_backlog=1))
        rig.accept(idempotency_key="k", digest="d", queue="other")
        batch = [rig.job(), rig.job(), rig.job(queue="other", idempotency_key="k", digest="e"), rig.job(queue="third")]
        async with connect_async(server.url, role="test") as client:
            results = await AsyncLedger(client).run_many_settled([commands.accept(job) for job in batch])
        kinds = [type(result).__name__ for result in results]
        assert kinds == ["Accepted", "BacklogFullError", "IdempotencyConflictError", "Accepted"]

    async def test_the_event_loops_ledger_raises_a_single_refusal(self, rig: Rig, server: EmbeddedServer) -> None:
        commands = Commands(Settings(namespace=rig.settings.namespace, max_backlog=1))
        async with connect_async(server.url, role="test") as client:
            ledger = AsyncLedger(client)
            await ledger.run(commands.accept(rig.job()))
            with pytest.raises(BacklogFullError):
                await ledger.run(commands.accept(rig.job()))

    def test_a_broken_record_is_its_own_entry(self, rig: Rig) -> None:
        broken, good = rig.waiting(), rig.waiting()
        rig.client.hset(rig.keys.job(broken), "deadline_ms", "yesterday")
        results = rig.ledger.run_many_settled([rig.commands.look(broken), rig.commands.look(good)])
        assert isinstance(results[0], Exception)
        assert getattr(results[1], "action", "") == "nothing"
        rig.client.delete(rig.keys.job(broken))

    async def test_two_ledgers_racing_for_a_lease_make_one_attempt(self, rig: Rig, server: EmbeddedServer) -> None:
        job_id = rig.waiting()
        async with connect_async(server.url, role="test") as client:
            ledger = AsyncLedger(client)
            requests = (ledger.run(rig.commands.lease(job_id, "w", str(nonce))) for nonce in range(20))
            answers = await asyncio.gather(*requests)
        assert sum(hasattr(answer, "token") for answer in answers) == 1


def test_a_status_is_read_from_the_event_loop_too(rig: Rig, server: EmbeddedServer) -> None:
    job_id = rig.waiting()

    async def ask() -> object:
        async with connect_async(server.url, role="test") as client:
            ledger = AsyncLedger(client)
            return await ledger.status(rig.keys, job_id), await ledger.status(rig.keys, "nobody")

    found, missing = asyncio.run(ask())
    assert found == rig.status(job_id)
    assert missing is None


def test_a_ledger_can_be_shared_between_threads(rig: Rig) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ledger = Ledger(rig.client)
    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(lambda _: ledger.run(rig.commands.accept(rig.job())), range(64)))
    assert sorted(one.sequence for one in accepted) == list(range(1, 65))
