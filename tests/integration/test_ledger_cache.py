"""What the ledger decides about equal calls: which use a kept result, which share a job, and what an invalidation ends."""

import time
from datetime import timedelta
from typing import Any

import pytest

from dispatcher.transport.cache import Found, Kept, Wanted
from dispatcher.transport.replies import Accepted
from tests.integration.ledger_rig import Rig, failed, succeeded

NAME = "text.count:digest"
TOPICS = ("function:text.count", "version:text.count:1", "tag:prices")


def share(rig: Rig, producer: str = "p1", **changes: Any) -> Accepted:
    return rig.accept(topics=TOPICS, flight=NAME, producer=producer, **changes)


def find(rig: Rig, producer: str = "p2", queue: str = "default", name: str = NAME) -> Found:
    (found,) = rig.ledger.run(
        rig.commands.find(producer, [Wanted(name=name, topics=TOPICS, function="text.count", queue=queue)])
    )
    return found


def settle(rig: Rig, job_id: str, value: str = "7", name: str = NAME) -> None:
    token = rig.leased(job_id).token
    kept = Kept(name=name, entry=f"s{value}", lifetime=timedelta(seconds=30))
    assert rig.settle(job_id, token, succeeded(value), keep=[kept]) == "settled"


def invalidate(rig: Rig, *topics: str, names: tuple[str, ...] = ()) -> None:
    rig.ledger.run(rig.commands.invalidate(topics, names))


class TestSharing:
    def test_an_equal_call_becomes_part_of_the_job_that_waits_or_runs(self, rig: Rig) -> None:
        first = share(rig)
        for _ in range(2):
            again = share(rig, "p2")
            assert (again.job_id, again.new, again.shared, again.sequence) == (first.job_id, False, True, 0)
            assert again.deadline_at == first.deadline_at
            rig.leased(first.job_id, nonce="n")
        assert find(rig, "p3") == Found(job_id=first.job_id, deadline_at=first.deadline_at)
        assert rig.counts()["accepted"] == 1
        assert rig.waits_in(first.job_id) == []

    def test_many_in_one_script_are_one_job(self, rig: Rig) -> None:
        jobs = [rig.job(topics=TOPICS, flight=NAME) for _ in range(50)]
        answers = rig.ledger.run(rig.commands.accept_many(jobs))
        assert {answer.job_id for answer in answers if isinstance(answer, Accepted)} == {jobs[0].id}

    def test_every_producer_that_shares_hears_of_the_outcome(self, rig: Rig) -> None:
        job_id = share(rig).job_id
        share(rig, "p2")
        find(rig, "p3")
        for producer in ("p1", "p2", "p3"):
            assert rig.heard(lambda: None, rig.keys.announcements(producer)) == []
        pattern = rig.client.pubsub(ignore_subscribe_messages=True)
        pattern.psubscribe(rig.keys.announcements("*").replace("[", "\\["))
        pattern.get_message(timeout=1)
        settle(rig, job_id)
        heard = {message["channel"].decode() for message in iter(lambda: pattern.get_message(timeout=0.1), None)}
        pattern.close()
        assert heard == {rig.keys.announcements(producer) for producer in ("p1", "p2", "p3")}

    def test_a_job_has_room_for_a_hundred_producers_and_the_next_one_leads_another(self, rig: Rig) -> None:
        first = share(rig, "p0")
        for number in range(1, 100):
            assert share(rig, f"p{number}").job_id == first.job_id
        assert share(rig, "p5").job_id == first.job_id, "it is among them already"
        second = share(rig, "one-more")
        assert second.new
        assert share(rig, "p5").job_id == second.job_id

    def test_an_urgent_call_waits_in_no_other_queue(self, rig: Rig) -> None:
        bulk = share(rig, queue="default.bulk")
        assert find(rig, queue="default.high") == Found()
        rig.leased(bulk.job_id)
        assert find(rig, queue="default.high").job_id == bulk.job_id, "one that runs keeps nobody waiting"

    def test_a_job_that_is_being_cancelled_or_is_late_is_shared_no_more(self, rig: Rig) -> None:
        job_id = share(rig).job_id
        rig.leased(job_id)
        assert rig.cancel(job_id) == "requested"
        assert find(rig) == Found()
        second = share(rig)
        assert second.new
        rig.advance(601)
        assert share(rig).new

    def test_without_a_queue_to_wait_in_nothing_is_joined(self, rig: Rig) -> None:
        share(rig)
        assert find(rig, queue="") == Found()

    def test_the_mark_of_a_job_is_gone_with_its_outcome_and_no_later_jobs_is(self, rig: Rig) -> None:
        first = share(rig).job_id
        rig.leased(first, nonce="n")
        invalidate(rig, names=(NAME,))
        second = share(rig).job_id
        rig.settle(first, 1, failed())
        assert find(rig).job_id == second
        rig.settle(second, rig.leased(second).token, failed())
        assert find(rig) == Found()
        assert not [key for key in rig.every_key() if ":flight:" in key]

    def test_a_call_that_shares_needs_no_room_in_the_queue(self, rig: Rig) -> None:
        small = rig.with_settings(max_backlog=1)
        assert share(small).new
        assert share(small, "p2").shared


class TestCancelling:
    def test_it_goes_on_for_whoever_else_shares_it_and_the_last_one_ends_it(self, rig: Rig) -> None:
        job_id = share(rig, "p1").job_id
        share(rig, "p2")
        give_up = rig.commands.cancel(job_id, reason="r", hard=True, producer="p1")
        assert rig.ledger.run(give_up) == "released"
        assert rig.state(job_id) == "waiting"
        assert rig.ledger.run(rig.commands.cancel(job_id, reason="r", hard=False, producer="p2")) == "cancelled"

    def test_who_gave_it_up_hears_no_more_of_it(self, rig: Rig) -> None:
        job_id = share(rig, "p1").job_id
        share(rig, "p2")
        rig.ledger.run(rig.commands.cancel(job_id, reason="r", hard=False, producer="p1"))
        assert rig.heard(lambda: settle(rig, job_id), rig.keys.announcements("p1")) == []

    def test_who_gave_it_up_may_share_it_again(self, rig: Rig) -> None:
        job_id = share(rig, "p1").job_id
        share(rig, "p2")
        rig.ledger.run(rig.commands.cancel(job_id, reason="r", hard=False, producer="p1"))
        for _ in range(2):
            assert rig.ledger.run(rig.commands.rejoin(job_id, "p1")) == "joined"
        assert rig.field(job_id, "sharers") == "p2 p1"
        settle(rig, job_id)
        assert rig.ledger.run(rig.commands.rejoin(job_id, "p1")) == "over"
        assert rig.ledger.run(rig.commands.rejoin("nobody", "p1")) == "over"

    def test_an_operator_cancels_it_for_all(self, rig: Rig) -> None:
        job_id = share(rig, "p1").job_id
        share(rig, "p2")
        assert rig.cancel(job_id) == "cancelled"

    def test_a_job_that_nobody_may_share_is_cancelled_as_ever(self, rig: Rig) -> None:
        job_id = rig.waiting(producer="p1")
        assert rig.ledger.run(rig.commands.cancel(job_id, reason="r", hard=False, producer="p1")) == "cancelled"


class TestKeeping:
    def test_what_was_kept_is_found_and_accepted_in_place_of_a_job(self, rig: Rig) -> None:
        settle(rig, share(rig).job_id, "[1, 2]")
        assert find(rig) == Found(entry="s[1, 2]")
        answer = share(rig)
        assert (answer.entry, answer.new) == ("s[1, 2]", False)
        assert rig.counts()["accepted"] == 1

    def test_it_is_gone_after_its_time(self, rig: Rig) -> None:
        settle(rig, share(rig).job_id)
        assert 29_000 < rig.client.pttl(rig.keys.cached("text.count", "digest")) <= 30_000
        rig.client.pexpire(rig.keys.cached("text.count", "digest"), 1)
        time.sleep(0.01)
        assert find(rig) == Found()
        assert share(rig).new

    @pytest.mark.parametrize("topic", TOPICS)
    def test_an_invalidation_ends_what_was_kept_and_what_is_under_way(self, rig: Rig, topic: str) -> None:
        settle(rig, share(rig).job_id)
        running = rig.accept(topics=TOPICS).job_id
        invalidate(rig, topic)
        assert find(rig) == Found()
        settle(rig, running)
        assert find(rig) == Found(), "it was accepted before"
        settle(rig, share(rig).job_id, "8")
        assert find(rig) == Found(entry="s8")

    def test_a_job_under_way_is_not_shared_after_an_invalidation(self, rig: Rig) -> None:
        before = share(rig).job_id
        invalidate(rig, "tag:prices")
        assert find(rig) == Found()
        assert share(rig).job_id != before

    def test_an_invalidation_of_something_else_ends_nothing(self, rig: Rig) -> None:
        settle(rig, share(rig).job_id)
        invalidate(rig, "function:other", "version:text.count:2", "tag:other", names=("text.count:other",))
        assert find(rig) == Found(entry="s7")

    def test_a_single_call_is_invalidated_for_jobs_under_way_too(self, rig: Rig) -> None:
        settle(rig, share(rig).job_id)
        bulk = rig.accept(topics=TOPICS, calls=("{}", "{}")).job_id
        invalidate(rig, names=(NAME,))
        assert find(rig) == Found()
        settle(rig, bulk)
        assert find(rig) == Found()
        settle(rig, share(rig).job_id, "8")
        assert find(rig) == Found(entry="s8")

    def test_what_is_newer_is_not_replaced_by_what_is_older(self, rig: Rig) -> None:
        old = share(rig).job_id
        invalidate(rig, "tag:prices")
        settle(rig, share(rig).job_id, "8")
        settle(rig, old, "7")
        assert find(rig) == Found(entry="s8")

    def test_what_was_accepted_by_who_knows_nothing_of_topics_is_valid_until_an_invalidation(self, rig: Rig) -> None:
        settle(rig, rig.waiting())
        assert find(rig) == Found(entry="s7")
        invalidate(rig, "tag:other")
        settle(rig, rig.waiting(), name="text.count:another")
        assert find(rig, name="text.count:another") == Found(entry="s7")
        invalidate(rig, "tag:prices")
        settle(rig, rig.waiting(), name="text.count:another")
        assert find(rig, name="text.count:another") == Found()

    @pytest.mark.parametrize("spoilt", ["", "x", "12", "-1 s7", "s7"])
    def test_what_somebody_spoilt_is_not_found_and_is_replaced(self, rig: Rig, spoilt: str) -> None:
        rig.client.set(rig.keys.cached("text.count", "digest"), spoilt, px=60_000)
        assert find(rig) == Found()
        settle(rig, share(rig).job_id)
        assert find(rig) == Found(entry="s7")

    def test_a_key_of_another_type_is_a_miss(self, rig: Rig) -> None:
        rig.client.lpush(rig.keys.cached("text.count", "digest"), "a list")
        rig.client.expire(rig.keys.cached("text.count", "digest"), 60)
        assert find(rig) == Found()
        settle(rig, share(rig).job_id)
        assert find(rig) == Found(entry="s7")


def test_lookups_are_counted_once_each(rig: Rig) -> None:
    find(rig)
    job_id = share(rig).job_id
    find(rig)
    share(rig, "p3")
    settle(rig, job_id)
    find(rig)
    share(rig)
    find(rig, queue="", name="text.count:nothing")
    counts = rig.counts()
    assert {name: counts[f"cache:{name}:text.count"] for name in ("hit", "miss", "shared")} == {
        "hit": 2,
        "miss": 2,
        "shared": 2,
    }
