"""The ledger's scripts on a real server, every branch: how a job is accepted, leased, kept, settled and cancelled."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.errors import BacklogFullError, IdempotencyConflictError
from dispatcher.model.job import JobState, Progress
from dispatcher.transport import outcomes
from dispatcher.transport.announcements import read_announcements
from dispatcher.transport.cache import Kept
from dispatcher.transport.fleet import fleet_command
from dispatcher.transport.garbage import GarbageSink
from dispatcher.transport.outcomes import CallRecord, JobRecord
from dispatcher.transport.replies import Accepted, Lease, NoLease
from tests.integration.ledger_rig import Rig, failed, succeeded


def the_end(digest: str) -> Kept:
    """Of a call of `text.count` that returned 7."""
    return Kept(name=f"text.count:{digest}", entry="s7", lifetime=timedelta(seconds=30))


class TestAccept:
    def test_a_job_waits_in_its_queue_and_has_a_next_look_at_its_deadline(self, rig: Rig) -> None:
        now = datetime.now(UTC)
        before = now.replace(microsecond=now.microsecond // 1000 * 1000)  # the server's times are of milliseconds
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
        quick = rig.with_settings(idempotency_ttl_seconds=100)
        quick.accept(idempotency_key="k", digest="d", deadline=timedelta(seconds=50))
        (key,) = [name for name in rig.every_key() if ":idempotency:" in name]
        assert 149_000 < rig.client.pttl(key) <= 150_000
        assert "k" not in key.rpartition(":")[2], "a key may hold anything, so only its digest is part of a name"

    def test_a_full_queue_refuses_and_another_does_not(self, rig: Rig) -> None:
        small = rig.with_settings(max_backlog=2)
        for _ in range(2):
            small.accept()
        refused = small.job()
        with pytest.raises(BacklogFullError) as caught:
            small.accept(refused)
        assert (caught.value.queue, caught.value.limit) == ("default", 2)
        assert small.status(refused.id) is None
        assert small.accept(queue="default.high").new

    def test_a_full_queue_still_answers_for_what_it_accepted(self, rig: Rig) -> None:
        small = rig.with_settings(max_backlog=1)
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
        short = rig.with_settings(result_ttl_seconds=20, dead_letter_ttl_seconds=30)
        job_id = short.waiting(deadline=timedelta(seconds=10))
        assert 39_000 < rig.client.pttl(rig.keys.job(job_id)) <= 40_000

    def test_what_a_job_holds_comes_back_as_it_was_given(self, rig: Rig) -> None:
        calls = ('{"text":"naïve — 数据 😀"}', '{"text":"\\u0000 \\"quoted\\""}')
        job_id = rig.waiting(calls=calls, idempotency_key="ключ", version="2.1", delivery="at_most_once")
        lease = rig.leased(job_id)
        assert json.loads(lease.envelope)["calls"] == list(calls)
        assert (lease.function, lease.idempotency_key, lease.delivery) == ("text.count", "ключ", "at_most_once")

    def test_any_text_may_be_an_idempotency_key(self, rig: Rig) -> None:
        text = '😀 "quoted" \\ \n {a} \x00 ]]'
        job_id = rig.waiting(idempotency_key=text, digest="d")
        assert rig.leased(job_id).idempotency_key == text
        assert rig.accept(idempotency_key=text, digest="d").job_id == job_id

    def test_jobs_of_one_request_are_kept_as_they_are_whatever_they_have_in_common(self, rig: Rig) -> None:
        jobs = [
            rig.job(),
            rig.job(calls=('{"a":1}', "{}"), arguments_shown="two"),
            rig.job(calls=('{"a":2}', "{}"), arguments_shown="two more"),
            rig.job(function="text.lower", delivery="at_most_once", deadline=timedelta(minutes=1)),
            rig.job(delay=timedelta(seconds=30)),
            rig.job(queue="default.bulk", idempotency_key="k", digest="d"),
            rig.job(),
        ]
        answers = rig.ledger.run(rig.commands.accept_many(jobs))
        assert [answer.sequence for answer in answers if isinstance(answer, Accepted)] == [1, 2, 3, 4, 0, 1, 5]
        for job in jobs:
            status = rig.status(job.id)
            assert status is not None
            assert (status.function, status.queue, status.calls) == (job.function, job.queue, len(job.calls))
            assert status.deadline_at - status.accepted_at == job.deadline
            assert (status.due_at is not None) is bool(job.delay)
            assert rig.field(job.id, "shown") == job.arguments_shown
            if not job.delay:
                lease = rig.leased(job.id)
                assert json.loads(lease.envelope)["calls"] == list(job.calls)
                assert (lease.delivery, lease.idempotency_key) == (job.delivery, job.idempotency_key or "")
        assert rig.accept().sequence == 6

    def test_the_fleets_sums_tell_what_runs_from_what_waits(self, rig: Rig) -> None:
        rig.waiting()
        rig.waiting(queue="default.bulk", delay=timedelta(seconds=30))
        rig.retry(*rig.running())
        rig.running(queue="default.bulk")
        rig.settle(*rig.running())
        rig.dead()
        sums = rig.ledger.run(fleet_command(rig.keys))
        assert (sums.unsettled, sums.running, sums.dead_letters) == (4, 1, 1)


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
        assert rig.runs(job_id)
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
        assert rig.outcome(job_id).calls[0].value == '{"a":[1,2]}'
        assert rig.in_due(job_id) is None
        assert rig.waits_in(job_id) == []
        assert not rig.runs(job_id)
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
        short = rig.with_settings(result_ttl_seconds=20, dead_letter_ttl_seconds=300)
        job_id = short.dead()
        assert rig.client.zscore(rig.keys.dead, job_id) is not None
        assert rig.field(job_id, "envelope") is not None
        for key in (rig.keys.job(job_id), rig.keys.result(job_id), rig.keys.dead):
            assert 299_000 < rig.client.pttl(key) <= 300_000, f"{key} must live as long as the dead letter"

    def test_only_so_many_dead_letters_are_kept_and_the_oldest_go(self, rig: Rig) -> None:
        small = rig.with_settings(max_dead_letters=2)
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
        short = rig.with_settings(result_ttl_seconds=20)
        job_id, token = short.running()
        short.settle(job_id, token)
        for key in (rig.keys.job(job_id), rig.keys.result(job_id)):
            assert 19_000 < rig.client.pttl(key) <= 20_000

    def test_a_value_that_may_be_used_again_is_kept_by_the_same_settlement(self, rig: Rig) -> None:
        job_id, token = rig.running()
        key = rig.keys.cached("text.count", "digest")
        rig.settle(job_id, token, succeeded("7"), keep=[the_end("digest")])
        assert rig.client.get(key) == b"0 s7"
        assert 29_000 < rig.client.pttl(key) <= 30_000

    def test_a_stale_settlement_is_not_kept_for_use_again(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.settle(job_id, token + 1, succeeded("7"), keep=[the_end("digest")])
        assert rig.client.get(rig.keys.cached("text.count", "digest")) is None

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
        assert rig.client.sismember(rig.keys.scheduled, job_id)
        assert not rig.runs(job_id)

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


class TestLeasingMany:
    def lease_many(self, rig: Rig, *job_ids: str, nonce: str = "n") -> list[Lease | NoLease]:
        return rig.ledger.run(rig.commands.lease_many(job_ids, "worker", nonce))

    def test_each_is_given_with_a_token_of_its_own(self, rig: Rig) -> None:
        job_ids = [rig.waiting() for _ in range(3)]
        leases = self.lease_many(rig, *job_ids)
        assert [lease.job_id for lease in leases if isinstance(lease, Lease)] == job_ids
        assert all(rig.state(job_id) == "running" for job_id in job_ids)
        assert rig.counts()["attempts"] == 3
        again = self.lease_many(rig, *job_ids)
        assert [lease.token for lease in again if isinstance(lease, Lease)] == [1, 1, 1], (
            "a lost reply, asked for again"
        )
        assert rig.counts()["attempts"] == 3
        assert self.lease_many(rig, *job_ids, nonce="another") == [NoLease("leased_elsewhere")] * 3

    def test_one_that_is_not_to_be_run_says_so_in_its_place(self, rig: Rig) -> None:
        settled, token = rig.running()
        rig.settle(settled, token)
        first, second, third = self.lease_many(rig, rig.waiting(), settled, "nobody")
        assert isinstance(first, Lease)
        assert (second, third) == (NoLease("settled:succeeded"), NoLease("unknown"))

    def test_a_record_that_somebody_broke_is_its_own_jobs_matter(self, rig: Rig) -> None:
        broken, whole = rig.waiting(), rig.waiting()
        rig.client.delete(rig.keys.job(broken))
        rig.client.lpush(rig.keys.job(broken), "no hash")
        first, second = self.lease_many(rig, broken, whole)
        assert isinstance(first, NoLease)
        assert first.reason.startswith("error:")
        assert isinstance(second, Lease)
        assert rig.in_due(whole) is not None
        rig.client.delete(rig.keys.job(broken))

    def test_a_worker_that_is_lost_with_many_counts_against_none_of_them(self, rig: Rig) -> None:
        job_ids = [rig.waiting() for _ in range(2)]
        self.lease_many(rig, *job_ids)
        rig.advance(rig.settings.lease_seconds + 1)
        for job_id in job_ids:
            assert rig.look(job_id).action == "publish"
            assert rig.field(job_id, "lost") == "0"
        assert rig.leased(job_ids[0]).attempt == 2
        rig.advance(rig.settings.lease_seconds + 1)
        rig.look(job_ids[0])
        assert rig.field(job_ids[0], "lost") == "1", "alone it counts"

    def test_what_must_never_run_twice_is_given_alone(self, rig: Rig) -> None:
        once = rig.waiting(delivery="at_most_once")
        _, second = self.lease_many(rig, rig.waiting(), once)
        assert second == NoLease("alone")
        assert rig.state(once) == "waiting"
        assert isinstance(rig.lease(once), Lease)

    def test_what_was_not_begun_is_given_back_and_stands_where_it_stood(self, rig: Rig) -> None:
        job_ids = [rig.waiting() for _ in range(3)]
        leases = [lease for lease in self.lease_many(rig, *job_ids) if isinstance(lease, Lease)]
        rig.settle(job_ids[2], leases[2].token)
        given_back = [(lease.job_id, lease.token) for lease in leases]
        assert rig.ledger.run(rig.commands.give_back(given_back)) == ["default", "default", ""]
        assert [rig.state(job_id) for job_id in job_ids] == ["waiting", "waiting", "succeeded"]
        assert rig.waits_in(job_ids[0]) == ["default"]
        assert rig.in_due(job_ids[0]) == float(rig.field(job_ids[0], "deadline_ms") or 0)
        assert rig.settle(job_ids[0], leases[0].token) == "stale", "whoever gave it back has no say any more"
        assert rig.leased(job_ids[0]).token > leases[0].token
        assert rig.ledger.run(rig.commands.give_back([(job_ids[0], leases[0].token)])) == [""]


class TestSettlingTogether:
    def settle(self, rig: Rig, jobs: list[tuple[str, int]]) -> list[str]:
        commands = [rig.commands.settle(job_id, token, succeeded(f'"{job_id}"')) for job_id, token in jobs]
        return rig.ledger.run(rig.commands.settle_together(commands))

    def test_each_has_its_own_outcome_and_their_producer_one_message(self, rig: Rig) -> None:
        jobs = [rig.running() for _ in range(3)]
        words: list[str] = []
        messages = rig.heard(lambda: words.extend(self.settle(rig, jobs)), rig.keys.announcements("tester"))
        assert words == ["settled"] * 3
        (message,) = messages
        assert [(one.job_id, one.meta) for one in read_announcements(message)] == [
            (job_id, rig.stored(job_id)) for job_id, _ in jobs
        ]
        for job_id, _ in jobs:
            assert rig.outcome(job_id).calls[0].value == f'"{job_id}"'
            assert rig.in_due(job_id) is None
            assert rig.waits_in(job_id) == []
        assert rig.client.zcard(rig.keys.due) == 0, "none of them runs"
        assert rig.counts()["outcome:succeeded:text.count"] == 3
        assert self.settle(rig, jobs) == ["settled"] * 3, "a lost reply may be asked for again"
        assert rig.counts()["outcome:succeeded:text.count"] == 3

    def test_what_one_of_them_comes_to_is_its_own_matter(self, rig: Rig) -> None:
        stale, broken, whole = rig.running(), rig.running(), rig.running()
        rig.client.delete(rig.keys.job(broken[0]))
        rig.client.lpush(rig.keys.job(broken[0]), "no hash")
        first, second, third = self.settle(rig, [(stale[0], stale[1] + 1), broken, whole])
        assert (first, third) == ("stale", "settled")
        assert second.startswith("error:")
        assert rig.state(whole[0]) == "succeeded"
        assert rig.in_due(whole[0]) is None
        rig.client.delete(rig.keys.job(broken[0]))
