"""Outcomes find the handles that wait for them, whatever is lost on the way."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import pytest
from redis.exceptions import AuthenticationError, ResponseError

from dispatcher.client import collector as module
from dispatcher.client.collector import POLL_LIMIT, SLACK, TURN, Collector, Pending
from dispatcher.client.flights import Flight
from dispatcher.client.silence import Silence
from dispatcher.errors import Acceptance, ServerAuthError, ServerError, ServerUnreachableError
from dispatcher.settings import Settings
from dispatcher.testing import FakeClock
from tests.unit.client.fakes import (
    ADDRESS,
    FakeAnnouncements,
    FakeLedger,
    connection_broke,
    make_collector,
    meta_of,
    never_connected,
    settle,
)

#: So short that patience is lost in the next turn of the loop.
AT_ONCE = 1e-9
#: Seconds; no test waits for it, each says when it is time to look.
INTERVAL = 60.0


class Rig:
    """A collector and what it stands on."""

    def __init__(self, outage_seconds: float = 30) -> None:
        self.settings = Settings(poll_interval_seconds=INTERVAL, outage_seconds=outage_seconds)
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.clock)
        self.announcements = FakeAnnouncements()
        self.collector = make_collector(self.announcements, self.ledger, self.settings, self.clock)

    async def next_look(self) -> None:
        """Let the interval pass."""
        self.clock.advance(INTERVAL + 1)
        self.collector._wanted.set()
        await settle()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.collector.start()
    yield rig
    await rig.collector.close()


@pytest.fixture
async def impatient() -> AsyncIterator[Rig]:
    """Bears no outage at all."""
    rig = Rig(outage_seconds=AT_ONCE)
    await rig.collector.start()
    yield rig
    await rig.collector.close()


def outage_of(collector: Collector) -> ServerError | None:
    """Asked anew each time, whatever was asserted before."""
    return collector.outage


async def test_starting_returns_when_the_subscription_stands(rig: Rig) -> None:
    assert rig.announcements.subscribed >= 1


async def test_a_start_without_a_server_says_so() -> None:
    rig = Rig()
    rig.announcements.failure = never_connected()
    with pytest.raises(type(rig.announcements.failure)):
        await rig.collector.start()


async def test_an_announced_outcome_is_there(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    assert not pending.news.is_set()
    rig.announcements.announce("a", meta_of("a", "1"))
    await settle()
    assert pending.meta == meta_of("a", "1")
    assert pending.news.is_set()
    assert rig.ledger.reads == []


async def test_what_is_looked_for_in_vain_is_wondered_about_since_it_was_first_awaited(rig: Rig) -> None:
    wondered: list[float | None] = []

    async def look(since: float | None) -> None:
        wondered.append(since)

    rig.collector._silence = cast("Silence", SimpleNamespace(look=look))
    began = rig.clock.monotonic()
    first = rig.collector.expect("a")
    rig.clock.advance(1)
    second = rig.collector.expect("b")
    await rig.next_look()
    rig.ledger.stored["a"] = meta_of("a", "1")
    await rig.next_look()
    rig.ledger.stored["b"] = meta_of("b", "1")
    await rig.next_look()
    assert wondered == [began, began + 1, None]
    assert first.meta is not None
    assert second.meta is not None


async def test_closing_in_the_turn_in_which_an_outcome_is_asked_for_ends(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    await settle()
    rig.collector.fetch_soon(pending)
    # Its wait is over now, and it has not gone on yet.
    await asyncio.sleep(0)
    closing = asyncio.create_task(rig.collector.close())
    done, _ = await asyncio.wait({closing}, timeout=2)
    assert done


async def test_the_first_outcome_stands(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    rig.announcements.announce("a", meta_of("a", "1"))
    rig.announcements.announce("a", meta_of("a", "2"))
    await settle()
    assert pending.meta == meta_of("a", "1")


async def test_an_outcome_too_large_to_announce_is_fetched(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    rig.ledger.stored["a"] = meta_of("a", "1")
    rig.announcements.announce("a")
    await settle()
    assert pending.meta == meta_of("a", "1")
    assert rig.ledger.reads == [["a"]]


async def test_an_outcome_that_was_there_before_is_fetched_when_asked_for(rig: Rig) -> None:
    rig.ledger.stored["a"] = meta_of("a", "1")
    pending = rig.collector.expect("a")
    rig.collector.fetch_soon(pending)
    await settle()
    assert pending.meta == meta_of("a", "1")


async def test_an_outcome_whose_announcement_was_lost_is_found_at_the_next_look(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    rig.ledger.stored["a"] = meta_of("a", "1")
    await settle()
    assert pending.meta is None
    await rig.next_look()
    assert pending.meta == meta_of("a", "1")
    await rig.next_look()
    assert rig.ledger.reads == [["a"]]


async def test_what_is_awaited_for_less_than_an_interval_is_not_looked_for(rig: Rig) -> None:
    old = rig.collector.expect("old")
    rig.clock.advance(INTERVAL + 1)
    young = rig.collector.expect("young")
    rig.collector._wanted.set()
    await settle()
    assert rig.ledger.reads == [[old.job_id]]
    assert young.meta is None


async def test_one_look_is_bounded_and_the_next_goes_on_where_it_ended(rig: Rig) -> None:
    awaited = [rig.collector.expect(f"job-{number}") for number in range(POLL_LIMIT + 3)]
    await rig.next_look()
    assert [len(read) for read in rig.ledger.reads] == [POLL_LIMIT]
    await rig.next_look()
    assert {job_id for read in rig.ledger.reads for job_id in read} == {pending.job_id for pending in awaited}


async def test_what_is_asked_for_at_once_is_read_in_bounded_round_trips(rig: Rig) -> None:
    awaited = [rig.collector.expect(f"job-{number}") for number in range(POLL_LIMIT + 3)]
    for pending in awaited:
        rig.collector.fetch_soon(pending)
    await settle()
    assert [len(read) for read in rig.ledger.reads] == [POLL_LIMIT, 3]


async def test_a_job_asked_about_again_and_again_keeps_no_other_from_being_found(rig: Rig) -> None:
    seen = rig.collector.expect("seen")
    other = rig.collector.expect("other")
    rig.ledger.stored["other"] = meta_of("other", "1")
    del seen
    gc.collect()
    rig.clock.advance(INTERVAL + 1)
    again = rig.collector.expect("seen")
    rig.collector._wanted.set()
    await settle()
    assert other.meta == meta_of("other", "1")
    assert again.meta is None


async def test_outcomes_of_jobs_nobody_awaits_are_ignored(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    rig.announcements.announce("unknown", meta_of("unknown", "1"))
    rig.announcements.announce("unknown")
    rig.announcements.heard.put_nowait(None)
    rig.announcements.announce("a", meta_of("a", "1"))
    await settle()
    assert pending.meta == meta_of("a", "1")
    assert rig.ledger.reads == []


async def test_who_is_dropped_is_forgotten(rig: Rig) -> None:
    kept = rig.collector.expect("kept")
    dropped = [rig.collector.expect(f"job-{number}") for number in range(POLL_LIMIT * 2)]
    dropped.clear()
    gc.collect()
    await rig.next_look()
    assert rig.ledger.reads == [["kept"]]
    assert list(rig.collector._pending) == ["kept"]
    assert kept.meta is None


async def test_who_is_dropped_is_forgotten_also_behind_many_who_wait_long(rig: Rig) -> None:
    """One look comes as far as the first so many of those who wait: what is behind them must not pile up."""
    awaited = [rig.collector.expect(f"job-{number}") for number in range(POLL_LIMIT + 100)]
    dropped = [rig.collector.expect(f"dropped-{number}") for number in range(2 * len(awaited) + SLACK)]
    dropped.clear()
    gc.collect()
    await rig.next_look()
    assert set(rig.collector._pending) == {pending.job_id for pending in awaited}


async def test_who_has_the_outcome_is_looked_for_no_more(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    rig.announcements.announce("a", meta_of("a", "1"))
    await settle()
    assert list(rig.collector._pending) == []
    await rig.next_look()
    assert rig.ledger.reads == []
    assert pending.meta is not None


async def test_two_who_await_one_job_share_what_comes(rig: Rig) -> None:
    assert rig.collector.expect("a") is rig.collector.expect("a")


async def test_who_awaits_a_job_that_was_replayed_gets_the_new_outcome(rig: Rig) -> None:
    before = rig.collector.expect("a")
    rig.announcements.announce("a", meta_of("a", "1"))
    await settle()
    after = rig.collector.expect("a")
    assert after is not before
    rig.announcements.announce("a", meta_of("a", "2"))
    await settle()
    assert (before.meta, after.meta) == (meta_of("a", "1"), meta_of("a", "2"))


async def test_what_was_announced_during_an_interruption_is_fetched_after_it(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    await settle()
    rig.announcements.failure = never_connected()
    rig.announcements.break_off()
    await settle()
    rig.ledger.stored["a"] = meta_of("a", "1")
    rig.announcements.failure = None
    await settle()
    assert pending.meta == meta_of("a", "1")
    assert rig.announcements.closed


async def test_a_short_interruption_wakes_nobody(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    await settle()
    rig.announcements.failure = never_connected()
    rig.announcements.break_off()
    await settle()
    assert not pending.news.is_set()
    assert rig.collector.outage is None


async def test_an_outage_wakes_who_waits_and_names_the_server(impatient: Rig) -> None:
    pending = impatient.collector.expect("a")
    impatient.announcements.failure = AuthenticationError("invalid username-password pair or user is disabled.")
    impatient.announcements.break_off()
    await settle()
    outage = impatient.collector.outage
    assert pending.news.is_set()
    assert isinstance(outage, ServerAuthError)
    assert (outage.address, outage.accepted) == (ADDRESS, Acceptance.YES)
    assert impatient.collector.expect("later").news.is_set()


async def test_an_outage_is_over_when_the_server_is_back(impatient: Rig) -> None:
    pending = impatient.collector.expect("a")
    impatient.announcements.failure = never_connected()
    impatient.announcements.break_off()
    await settle()
    assert isinstance(outage_of(impatient.collector), ServerUnreachableError)
    impatient.announcements.failure = None
    await settle()
    assert outage_of(impatient.collector) is None
    assert not pending.news.is_set()
    impatient.announcements.announce("a", meta_of("a", "1"))
    await settle()
    assert pending.news.is_set()


async def test_an_outcome_that_is_here_stays_so_when_the_server_is_back(impatient: Rig) -> None:
    pending = impatient.collector.expect("a")
    impatient.announcements.announce("a", meta_of("a", "1"))
    await settle()
    impatient.announcements.break_off()
    await settle()
    assert impatient.announcements.closed == 1
    assert pending.news.is_set()


async def test_a_store_that_does_not_answer_is_an_outage_too(impatient: Rig) -> None:
    pending = impatient.collector.expect("a")
    impatient.ledger.failure = connection_broke()
    impatient.collector.fetch_soon(pending)
    await settle()
    assert pending.news.is_set()
    assert isinstance(impatient.collector.outage, ServerUnreachableError)


async def test_a_failure_nobody_has_heard_of_is_an_outage_that_says_so(impatient: Rig) -> None:
    pending = impatient.collector.expect("a")
    impatient.announcements.failure = ResponseError("the moon is full")
    impatient.announcements.heard.put_nowait(ResponseError("the moon is full"))
    await settle()
    assert pending.news.is_set()
    assert isinstance(impatient.collector.outage, ServerError)
    assert "the moon is full" in str(impatient.collector.outage)


async def test_closing_wakes_who_waits(rig: Rig) -> None:
    pending = rig.collector.expect("a")
    waiting = pending.news.listen()
    await settle()
    await rig.collector.close()
    await asyncio.wait_for(waiting, 1)
    assert rig.collector.closed
    assert rig.collector.expect("later").news.is_set()
    assert rig.announcements.closed


class Sharers(list[Pending]):
    """Calls that share a job, of which none ends as it does."""

    def hear(self, meta: bytes) -> None:
        """Go on."""


async def test_an_outage_wakes_calls_that_go_on_after_the_job_that_they_shared(impatient: Rig) -> None:
    pending, sharer = impatient.collector.expect("a"), Pending("a", 0)
    sharers = Sharers([sharer])
    pending.flight = cast("weakref.ref[Flight]", weakref.ref(sharers))
    impatient.announcements.announce("a", meta_of("a", "1"))
    await settle()
    assert not sharer.news.is_set()
    impatient.announcements.failure = never_connected()
    impatient.announcements.break_off()
    await settle()
    assert sharer.news.is_set()


async def test_thousands_of_outcomes_found_in_the_store_leave_the_event_loop_free(rig: Rig) -> None:
    awaited = [rig.collector.expect(f"job-{number}") for number in range(POLL_LIMIT)]
    rig.ledger.stored.update({pending.job_id: meta_of(pending.job_id, "1") for pending in awaited})
    rig.clock.advance(INTERVAL + 1)
    rig.collector._wanted.set()
    found = [0]
    while found[-1] < POLL_LIMIT:
        await asyncio.sleep(0)
        found.append(sum(pending.meta is not None for pending in awaited))
    assert max(after - before for before, after in pairwise(found)) <= TURN
