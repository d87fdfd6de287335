"""The ledger's scripts on a real server, every branch: what is due, lost, dead and replayed."""

import json
from datetime import timedelta

from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorKind
from dispatcher.transport.outcomes import CallRecord, JobRecord
from dispatcher.transport.replies import WakeUp
from tests.integration.ledger_rig import Rig, failed


class TestLook:
    def test_a_job_that_is_gone_or_settled_leaves_the_index(self, rig: Rig) -> None:
        job_id, token = rig.running()
        rig.settle(job_id, token)
        for left in (job_id, "nobody"):
            rig.client.zadd(rig.keys.due, {left: 1})
            rig.client.sadd(rig.keys.scheduled, left)
            assert rig.look(left).action == "nothing"
            assert rig.in_due(left) is None
            assert not rig.client.sismember(rig.keys.scheduled, left)

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
        assert not rig.runs(job_id)

    def test_a_job_whose_workers_die_is_given_up_in_the_end(self, rig: Rig) -> None:
        careful = rig.with_settings(max_lost_attempts=2)
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
    def test_how_far_a_queue_had_come_is_read_where_an_earlier_version_wrote_the_number_alone(self, rig: Rig) -> None:
        first, second = rig.waiting(), rig.waiting()
        rig.client.hset(f"{rig.keys.prefix}started", "default", "1")
        assert rig.queues()["default"].started == 1
        rig.leased(first)
        assert rig.queues()["default"].started == 1
        rig.leased(second)
        assert rig.queues()["default"].started == 2

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

    def test_those_that_wait_longest_may_be_passed_over(self, rig: Rig) -> None:
        ids = [rig.waiting() for _ in range(3)]
        rig.advance(6)
        assert [wake_up.job_id for wake_up in rig.lost(started=None, first=1)] == ids[1:]

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
