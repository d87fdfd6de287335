"""Equal calls that share a job: what ends one of them ends no other. No server."""

import asyncio
import gc
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from dispatcher.client.collector import Pending
from dispatcher.client.flights import MOST_RELEASED, Flight, Interest, Released, flight_of
from dispatcher.model.call import Call
from dispatcher.model.job import JobState
from dispatcher.testing import FakeClock
from dispatcher.transport import outcomes
from dispatcher.transport.outcomes import CallRecord
from tests.unit.client.fakes import meta_of, meta_with

CALL: Call[Any] = Call(function="f", version="1", arguments="{}")
MINUTE = timedelta(minutes=1)


class Owner:
    """A producer that notes what it is asked."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.cancelled: list[tuple[str, str, bool]] = []
        #: What the ledger says to a cancellation; or raises.
        self.word: str | Exception = "cancelled"
        self.taken_up: list[list[Interest]] = []
        self.released = Released()
        self.rejoined = 0

    async def cancel(self, job_id: str, reason: str, *, hard: bool) -> str:
        await asyncio.sleep(0)
        if isinstance(self.word, Exception):
            raise self.word
        self.cancelled.append((job_id, reason, hard))
        return self.word

    def rejoin(self, flight: Flight) -> None:
        self.rejoined += 1

    def take_up(self, flight: Flight, left: Sequence[Interest], meta: bytes) -> None:
        self.taken_up.append(list(left))


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def source() -> Pending:
    return Pending("job-1", 0)


@pytest.fixture
def flight(source: Pending, owner: Owner) -> Flight:
    return flight_of(source, lambda: Flight(source, CALL, None, owner))


def ended(state: JobState) -> bytes:
    return meta_with("job-1", CallRecord(state=state, reason="by another"))


def state_of(interest: Interest) -> JobState | None:
    return None if interest.meta is None else outcomes.decode(interest.meta).calls[0].state


async def test_all_that_share_get_the_one_outcome(flight: Flight, source: Pending) -> None:
    shares = [flight.join(MINUTE, leads=number == 0) for number in range(3)]
    source.resolve(meta_of("job-1", "7"))
    late = flight.join(MINUTE, leads=False)
    assert {share.meta for share in (*shares, late)} == {meta_of("job-1", "7")}


async def test_there_is_one_flight_to_a_job_as_long_as_a_call_holds_it(
    flight: Flight, source: Pending, owner: Owner
) -> None:
    assert flight_of(source, lambda: Flight(source, CALL, None, owner)) is flight


async def test_what_is_cancelled_or_expires_for_another_is_taken_up_again_for_those_that_do_not_lead(
    flight: Flight, source: Pending, owner: Owner
) -> None:
    leader, follower, late = (flight.join(MINUTE * (2 - n), leads=n == 0) for n in range(3))
    owner.clock.advance(timedelta(seconds=1))
    source.resolve(ended(JobState.EXPIRED))
    assert owner.taken_up == [[follower]]
    assert (state_of(leader), state_of(follower), state_of(late)) == (JobState.EXPIRED, None, JobState.EXPIRED)


async def test_a_value_that_looks_like_a_cancellation_is_a_value(flight: Flight, source: Pending, owner: Owner) -> None:
    follower = flight.join(MINUTE, leads=False)
    source.resolve(meta_of("job-1", '{"status":"REVOKED"}'))
    assert state_of(follower) is JobState.SUCCEEDED
    assert owner.taken_up == []


async def test_a_call_taken_up_by_another_job_bears_its_id_and_gets_its_outcome(flight: Flight, owner: Owner) -> None:
    follower = flight.join(MINUTE, leads=False)
    following = Pending("job-2", 0)
    flight_of(following, lambda: Flight(following, CALL, None, owner)).add(follower)
    following.resolve(meta_of("job-2", "8"))
    assert (follower.job_id, follower.meta) == ("job-2", meta_of("job-2", "8"))


class TestGivingUp:
    async def test_the_others_keep_the_job_and_the_last_ends_it(self, flight: Flight, owner: Owner) -> None:
        first, second = flight.join(MINUTE, leads=True), flight.join(MINUTE, leads=False)
        assert await first.give_up("enough", hard=False)
        assert outcomes.decode(first.meta or b"").calls[0] == CallRecord(state=JobState.CANCELLED, reason="enough")
        assert owner.cancelled == []
        assert await second.give_up("me too", hard=True)
        assert owner.cancelled == [("job-1", "me too", True)]

    async def test_one_that_has_its_outcome_is_not_given_up(self, flight: Flight, source: Pending) -> None:
        share = flight.join(MINUTE, leads=True)
        source.resolve(meta_of("job-1", "7"))
        assert not await share.give_up("", hard=False)

    async def test_one_asked_again_does_not_count_twice(self, flight: Flight, owner: Owner) -> None:
        owner.word = "requested"
        share = flight.join(MINUTE, leads=True)
        assert await share.give_up("", hard=False)
        other = flight.join(MINUTE, leads=False)
        assert await share.give_up("", hard=True)
        assert state_of(share) is JobState.CANCELLED
        assert state_of(other) is None
        assert len(owner.cancelled) == 1

    async def test_a_job_that_another_producer_shares_goes_on_and_this_call_ends(
        self, flight: Flight, owner: Owner
    ) -> None:
        owner.word = "released"
        share = flight.join(MINUTE, leads=True)
        assert await share.give_up("", hard=False)
        assert state_of(share) is JobState.CANCELLED

    @pytest.mark.parametrize("late", [False, True])
    async def test_a_call_that_joins_while_the_last_one_gives_the_job_up_is_made_known_again(
        self, flight: Flight, owner: Owner, late: bool
    ) -> None:
        owner.word = "released"
        giving_up = asyncio.create_task(flight.join(MINUTE, leads=True).give_up("", hard=False))
        await asyncio.sleep(0)
        assert owner.rejoined == 0
        if late:
            await giving_up
            assert owner.rejoined == 0
        other = flight.join(MINUTE, leads=False)
        await giving_up
        assert owner.rejoined == 1
        assert state_of(other) is None

    async def test_it_is_made_known_again_also_when_it_joins_after_the_last_handle_is_gone(self, owner: Owner) -> None:
        owner.word = "released"
        for _ in range(2):
            source = Pending("job-1", 0)
            flight = flight_of(source, lambda source=source: Flight(source, CALL, None, owner))  # type: ignore[misc]
            await flight.join(MINUTE, leads=False).give_up("", hard=False)
        assert owner.rejoined == 1

    async def test_a_job_that_is_told_to_stop_may_still_succeed(
        self, flight: Flight, source: Pending, owner: Owner
    ) -> None:
        owner.word = "requested"
        share = flight.join(MINUTE, leads=False)
        assert await share.give_up("", hard=False)
        assert state_of(share) is None
        source.resolve(meta_of("job-1", "7"))
        assert state_of(share) is JobState.SUCCEEDED

    async def test_what_the_ledger_ended_for_it_is_its_outcome(
        self, flight: Flight, source: Pending, owner: Owner
    ) -> None:
        share = flight.join(MINUTE, leads=False)
        await share.give_up("", hard=False)
        source.resolve(ended(JobState.CANCELLED))
        assert state_of(share) is JobState.CANCELLED
        assert owner.taken_up == []

    async def test_a_cancellation_that_could_not_be_asked_for_leaves_all_as_it_was(
        self, flight: Flight, source: Pending, owner: Owner
    ) -> None:
        owner.word = OSError("away")
        share = flight.join(MINUTE, leads=True)
        with pytest.raises(OSError, match="away"):
            await share.give_up("", hard=False)
        assert not share.given_up
        owner.word = "cancelled"
        assert await share.give_up("", hard=False)
        assert len(owner.cancelled) == 1


async def test_a_call_expires_at_its_own_deadline(flight: Flight) -> None:
    leader = flight.join(timedelta(seconds=0), leads=True)
    follower = flight.join(timedelta(seconds=0), leads=False)
    await asyncio.sleep(0.01)
    assert (state_of(leader), state_of(follower)) == (None, JobState.EXPIRED)


async def test_a_call_that_is_let_go_leaves_no_timer_behind_until_its_deadline(flight: Flight) -> None:
    share = flight.join(MINUTE, leads=False)
    timer = share._timer
    assert timer is not None
    assert not timer.cancelled()
    del share
    gc.collect()
    assert timer.cancelled()


async def test_an_outage_wakes_all_that_wait_and_its_end_hushes_them(flight: Flight, source: Pending) -> None:
    share = flight.join(MINUTE, leads=True)
    source.wake()
    assert share.news.is_set()
    assert flight.join(MINUTE, leads=False).news.is_set()
    source.hush()
    assert not share.news.is_set()


def test_the_oldest_of_the_jobs_given_up_is_forgotten() -> None:
    released = Released()
    for number in range(MOST_RELEASED + 1):
        released.add(str(number))
    assert (released.take("0"), released.take("1"), released.take("1")) == (False, True, False)
