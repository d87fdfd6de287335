"""Results that are used again, through the whole way of a call: many equal calls run once, and none is lost."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from dispatcher import Cancelled, Dispatcher, Expired, Failed, Registry, Settings, Succeeded
from dispatcher.client.handle import Handle
from dispatcher.errors import BacklogFullError, UnknownFunctionError, UnknownJobError
from dispatcher.model.call import Call
from dispatcher.model.job import Job
from dispatcher.model.outcome import ErrorKind
from dispatcher.testing import embedded_worker
from dispatcher.testing.embedded import QUICK_SETTINGS
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.replies import Accepted

SOON = timedelta(seconds=20)
MINUTE = timedelta(minutes=1)

#: How often each number was asked for, and what holds the answers back.
calls: Counter[int] = Counter()
gate = threading.Event()
registry = Registry()


@registry.function(cache=MINUTE, tags=["prices"])
def price(number: int) -> int:
    """Look a price up."""
    calls[number] += 1
    gate.wait(20)
    if number == 13:
        msg = "unlucky"
        raise ValueError(msg)
    return number * 10 + calls[number]


@registry.function(cache=MINUTE, cache_failures=MINUTE)
def fails(number: int) -> int:
    """Fail."""
    calls[number] += 1
    msg = "never"
    raise ValueError(msg)


@registry.function(cache=timedelta(milliseconds=100))
def brief(number: int) -> int:
    """Answer for a moment."""
    calls[number] += 1
    return calls[number]


#: What changes, and how far it was changed when the last invalidation was over.
world, invalidated = [0], [0]


@registry.function(cache=MINUTE)
def read_world(number: int) -> int:
    """Read what changes."""
    del number
    found = world[0]
    time.sleep(0.003)
    return found


@pytest.fixture(autouse=True)
def _open_gate() -> Iterator[None]:
    calls.clear()
    gate.set()
    yield
    gate.set()


@pytest.fixture
def settings(server: EmbeddedServer, namespace: str) -> Iterator[Settings]:
    """Of a namespace with a worker."""
    made = Settings(**{**QUICK_SETTINGS, "poll_interval_seconds": 30, "url": server.url, "namespace": namespace})
    with embedded_worker(registry, made):
        yield made


@asynccontextmanager
async def producers(settings: Settings) -> AsyncIterator[tuple[Dispatcher, Dispatcher]]:
    async with Dispatcher(registry, settings=settings) as one, Dispatcher(registry, settings=settings) as other:
        yield one, other


@pytest.fixture
async def both(settings: Settings) -> AsyncIterator[tuple[Dispatcher, Dispatcher]]:
    async with producers(settings) as made:
        yield made
    gate.set()  # the worker is stopped next, and waits for what runs


async def until_running(number: int) -> None:
    while not calls[number]:
        await asyncio.sleep(0.005)


async def held(dispatcher: Dispatcher, number: int = 1, **options: timedelta) -> Handle[int]:
    """A call that runs, and does not end before the gate is opened."""
    gate.clear()
    handle = await dispatcher.dispatch(price.call(number), **options)
    await until_running(number)
    return handle


async def counts(dispatcher: Dispatcher, function: str = "price") -> dict[str, int]:
    found = await dispatcher.ledger.client.hgetall(dispatcher.commands.keys.counts)
    return {how: int(found.get(f"cache:{how}:{function}".encode(), 0)) for how in ("hit", "miss", "shared")}


class TestOneFlight:
    async def test_fifty_equal_calls_at_once_of_each_of_two_producers_run_once(
        self, both: tuple[Dispatcher, Dispatcher]
    ) -> None:
        gate.clear()
        handles = await asyncio.gather(*(one.dispatch(price.call(1)) for one in both for _ in range(50)))
        await until_running(1)
        gate.set()
        assert await asyncio.gather(*(handle.result(SOON) for handle in handles)) == [11] * 100
        assert calls[1] == 1
        assert len({handle.id for handle in handles}) == 1
        assert sum(not handle.shared for handle in handles) == 1
        assert await counts(both[0]) == {"hit": 0, "miss": 1, "shared": 99}

    async def test_other_arguments_are_another_call(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        assert await both[0].gather(price.call(1), price.call(2)) == [
            Succeeded(value=11), Succeeded(value=21)
        ]  # fmt: skip

    async def test_a_follower_elsewhere_hears_of_the_outcome_at_once(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        leader = await held(both[0])
        follower = await both[1].dispatch(price.call(1))
        assert (follower.id, follower.shared, follower.repeated) == (leader.id, True, False)
        await asyncio.sleep(0.3)  # it has looked into the store by then, and looks again after half a minute
        gate.set()
        assert await follower.result(timedelta(seconds=10)) == 11

    async def test_a_failure_is_the_outcome_of_all_and_of_nobody_after_them(
        self, both: tuple[Dispatcher, Dispatcher]
    ) -> None:
        leader = await held(both[0], 13)
        follower = await both[1].dispatch(price.call(13))
        gate.set()
        for handle in (leader, follower):
            assert isinstance(await handle.outcome(SOON), Failed)
        assert calls[13] == 1
        assert isinstance(await (await both[0].dispatch(price.call(13))).outcome(SOON), Failed)
        assert calls[13] == 2

    async def test_a_call_with_an_idempotency_key_or_a_delay_has_a_job_of_its_own(
        self, both: tuple[Dispatcher, Dispatcher]
    ) -> None:
        await held(both[0])
        keyed = await both[0].dispatch(price.call(1), idempotency_key="k")
        late = await both[0].dispatch(price.call(1), delay=timedelta(milliseconds=50))
        assert (keyed.shared, late.shared) == (False, False)
        gate.set()
        assert {type(await handle.outcome(SOON)) for handle in (keyed, late)} == {Succeeded}
        assert calls[1] == 3


class TestCancelling:
    async def test_one_of_several_ends_and_the_job_goes_on(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        leader = await held(both[0])
        follower = await both[0].dispatch(price.call(1))
        waiting = asyncio.create_task(leader.outcome(SOON))
        await asyncio.sleep(0)
        assert await leader.cancel("not wanted")
        assert await waiting == Cancelled(reason="not wanted")
        assert not await leader.cancel()
        gate.set()
        assert await follower.result(SOON) == 11
        assert calls[1] == 1

    async def test_the_last_one_ends_the_job(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        leader = await held(both[0])
        follower = await both[0].dispatch(price.call(1))
        assert await leader.cancel()
        assert await follower.cancel("enough", hard=True)
        assert await follower.outcome(SOON) == Cancelled(reason="enough", attempts=1)
        assert str((await both[0].status(leader.id)).state) == "cancelled"

    async def test_a_follower_of_another_producer_keeps_its_job_when_the_leader_is_cancelled(
        self, both: tuple[Dispatcher, Dispatcher]
    ) -> None:
        leader = await held(both[0])
        follower = await both[1].dispatch(price.call(1))
        assert await leader.cancel(hard=True)
        assert isinstance(await leader.outcome(SOON), Cancelled)
        gate.set()
        assert await follower.result(SOON) == 11
        assert calls[1] == 1

    async def test_a_job_that_an_operator_cancels_is_run_again_for_its_followers(
        self, both: tuple[Dispatcher, Dispatcher]
    ) -> None:
        leader = await held(both[0])
        first = leader.id
        followers = [await one.dispatch(price.call(1)) for one in both for _ in range(3)]
        assert await both[0].cancel(leader.id, "by the operator", hard=True)
        assert await leader.outcome(SOON) == Cancelled(reason="by the operator", attempts=1)
        gate.set()
        assert await asyncio.gather(*(one.result(SOON) for one in followers)) == [12] * 6
        assert calls[1] == 2
        assert len({one.id for one in followers}) == 1
        assert followers[0].id != first

    async def test_followers_that_no_job_is_accepted_for_end_as_the_first_one_did(
        self,
        both: tuple[Dispatcher, Dispatcher],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        leader = await held(both[0])
        follower = await both[1].dispatch(price.call(1))

        async def refuse(job: Job) -> Accepted:
            raise BacklogFullError(job.queue, 1)

        monkeypatch.setattr(both[1]._connected.acceptor, "accept", refuse)
        await both[0].cancel(leader.id, "by the operator", hard=True)
        assert await follower.outcome(SOON) == Cancelled(reason="by the operator", attempts=1)
        assert "shared_call_not_taken_up" in caplog.messages

    async def test_a_follower_outlives_its_leaders_producer(self, settings: Settings) -> None:
        async with Dispatcher(registry, settings=settings) as other:
            async with Dispatcher(registry, settings=settings) as one:
                await held(one)
                follower = await other.dispatch(price.call(1))
            gate.set()
            assert await follower.result(SOON) == 11
            assert calls[1] == 1

    async def test_a_call_after_a_cancellation_is_not_given_what_is_being_stopped(
        self, both: tuple[Dispatcher, Dispatcher]
    ) -> None:
        leader = await held(both[0])
        assert await leader.cancel()
        again = await both[0].dispatch(price.call(1))
        assert not again.shared
        gate.set()
        assert await again.result(SOON) >= 11


class TestDeadlines:
    async def test_a_follower_outlives_the_deadline_of_its_leader(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        leader = await held(both[0], deadline=timedelta(seconds=0.5))
        followers = [await one.dispatch(price.call(1)) for one in both]
        assert isinstance(await leader.outcome(SOON), Expired)
        gate.set()
        assert {await one.result(SOON) for one in followers} == {12}

    async def test_a_follower_expires_at_its_own_deadline_and_the_job_goes_on(
        self, both: tuple[Dispatcher, Dispatcher]
    ) -> None:
        leader = await held(both[0])
        follower = await both[1].dispatch(price.call(1), deadline=timedelta(seconds=0.3))
        assert await follower.outcome(SOON) == Expired()
        assert not leader.done
        gate.set()
        assert await leader.result(SOON) == 11


class TestHits:
    async def test_a_kept_result_is_given_without_a_job(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        assert await (await both[0].dispatch(price.call(1))).result(SOON) == 11
        again = await both[1].dispatch(price.call(1))
        assert (again.cached, again.done, await again.cancel()) == (True, True, False)
        assert await again.outcome() == Succeeded(value=11, attempts=0)
        assert calls[1] == 1

    async def test_many_are_found_in_a_few_round_trips(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        await (await both[0].dispatch(price.call(1))).result(SOON)
        before = (await both[0].ledger.client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        handles = await asyncio.gather(*(both[0].dispatch(price.call(1)) for _ in range(300)))
        after = (await both[0].ledger.client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert all(handle.cached for handle in handles)
        assert after - before < 100  # a sweeper goes on beside it
        assert (await counts(both[0]))["hit"] == 300

    async def test_it_expires(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        assert await (await both[0].dispatch(brief.call(1))).result(SOON) == 1
        await asyncio.sleep(0.15)
        assert await (await both[0].dispatch(brief.call(1))).result(SOON) == 2

    async def test_a_failure_is_kept_where_the_function_says_so(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        await (await both[0].dispatch(fails.call(1))).outcome(SOON)
        again = await both[1].dispatch(fails.call(1))
        assert again.cached
        outcome = await again.outcome()
        assert isinstance(outcome, Failed)
        assert (outcome.error.kind, outcome.error.message, outcome.attempts) == (ErrorKind.FUNCTION, "never", 0)
        assert calls[1] == 1

    async def test_what_cannot_be_read_is_a_miss(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        call = price.call(1)
        name = both[0].commands.keys.cached("price", call.digest)
        await both[0].ledger.client.set(name, "0 f{", px=60_000)
        handle = await both[0].dispatch(call)
        assert (handle.cached, await handle.result(SOON)) == (False, 11)
        assert (await both[0].dispatch(call)).cached


class TestInvalidation:
    @pytest.mark.parametrize(
        ("what", "version", "tag"),
        [
            (price, None, None),
            ("price", None, None),
            (price, "1", None),
            (None, None, "prices"),
            (price.call(1), None, None),
        ],
    )
    async def test_every_producer_calls_again(
        self, both: tuple[Dispatcher, Dispatcher], what: object, version: str | None, tag: str | None
    ) -> None:
        assert await (await both[0].dispatch(price.call(1))).result(SOON) == 11
        await both[1].invalidate(what, version=version, tag=tag)  # type: ignore[arg-type]
        assert await (await both[0].dispatch(price.call(1))).result(SOON) == 12
        assert (await both[1].dispatch(price.call(1))).cached

    async def test_a_call_after_it_does_not_get_what_was_under_way_before(
        self, both: tuple[Dispatcher, Dispatcher]
    ) -> None:
        before = await held(both[0])
        await both[1].invalidate(price)
        after = await both[0].dispatch(price.call(1))
        assert after.id != before.id
        gate.set()
        await before.result(SOON)
        assert await after.result(SOON) == 12
        assert await (await both[1].dispatch(price.call(1))).result(SOON) == 12

    async def test_other_results_stay(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        await both[0].gather(price.call(1), price.call(2))
        await both[0].invalidate(price.call(2))
        await both[0].invalidate(price, version="2")
        await both[0].invalidate(tag="other")
        assert (await both[1].dispatch(price.call(1))).cached
        assert not (await both[1].dispatch(price.call(2))).cached

    async def test_what_says_nothing_or_too_much_is_refused(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        call: Call[int] = price.call(1)
        for what, version, tag in ((None, None, None), (price, None, "t"), (None, "1", None), (call, "1", None)):
            with pytest.raises(ValueError, match="say what to invalidate"):
                await both[0].invalidate(what, version=version, tag=tag)
        with pytest.raises(UnknownFunctionError):
            await both[0].invalidate("prise")


async def test_no_call_is_lost_or_given_what_is_older_than_an_invalidation_before_it(settings: Settings) -> None:
    """Three producers call, cancel and invalidate at random; what the function reads changes with each invalidation."""
    chance, stale = random.Random(7), list[tuple[int, int]]()
    ended: Counter[str] = Counter()
    async with producers(settings) as (one, other), Dispatcher(registry, settings=settings) as third:

        async def call() -> None:
            dispatcher = chance.choice((one, other, third))
            known = invalidated[0]
            handle = await dispatcher.dispatch(read_world.call(chance.randrange(3)))
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() * 0.01)
                await handle.cancel(hard=chance.random() < 0.5)
            elif chance.random() < 0.05:
                with suppress(UnknownJobError):  # one that was kept has no job
                    await dispatcher.cancel(handle.id, hard=True)
            outcome = await handle.outcome(SOON)
            ended[type(outcome).__name__] += 1
            if isinstance(outcome, Succeeded) and outcome.value < known:
                stale.append((outcome.value, known))

        async def change() -> None:
            world[0] += 1
            version = world[0]
            await chance.choice((one, other, third)).invalidate(read_world)
            invalidated[0] = max(invalidated[0], version)

        world[0] = invalidated[0] = 0
        for _ in range(40):
            tasks = [call() for _ in range(10)] + ([change()] if chance.random() < 0.5 else [])
            await asyncio.gather(*tasks)
    assert stale == []
    assert ended.total() == 400
    assert ended["Succeeded"] > 200
    assert ended["Expired"] == ended["Failed"] == 0


class TestMap:
    async def test_rows_that_are_kept_are_not_queued_and_the_others_are_kept(
        self, both: tuple[Dispatcher, Dispatcher]
    ) -> None:
        await both[0].gather(*(price.call(number) for number in range(10, 13)))
        rows = [{"number": number} for number in range(10, 30)]
        outcomes = [outcome async for outcome in both[1].map(price, rows)]
        assert [type(outcome) for outcome in outcomes] == [Succeeded] * 3 + [Failed] + [Succeeded] * 16
        assert outcomes[0] == Succeeded(value=101, attempts=0)
        assert set(calls.values()) == {1}
        assert (await both[0].dispatch(price.call(29))).cached
        assert not (await both[0].dispatch(price.call(13))).cached

    async def test_equal_rows_are_called_once_in_their_places(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        rows = [{"number": number % 5} for number in range(100)]
        rows[7] = {"number": "many"}
        found = [row async for row in both[0].map_unordered(price, rows)]
        values = {place: outcome.value for place, outcome in found if isinstance(outcome, Succeeded)}
        assert values == {place: place % 5 * 10 + 1 for place in range(100) if place != 7}
        assert sum(calls.values()) == 5

    async def test_one_that_is_resumed_by_a_key_runs_its_rows(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        await (await both[0].dispatch(price.call(1))).result(SOON)
        outcomes = [outcome async for outcome in both[0].map(price, [{"number": 1}], key="k")]
        assert outcomes == [Succeeded(value=12)]

    async def test_a_map_that_is_left_cancels_its_jobs(self, both: tuple[Dispatcher, Dispatcher]) -> None:
        gate.clear()
        outcomes = both[0].map(price, [{"number": number} for number in range(20, 60)], calls_per_job=1)
        reading = asyncio.ensure_future(anext(outcomes))
        await until_running(20)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await outcomes.aclose()  # type: ignore[attr-defined]
        gate.set()
        await asyncio.sleep(0.2)
        assert sum(calls.values()) < 40
