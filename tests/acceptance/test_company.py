"""Many calls dispatched in one turn share messages, and stay calls of their own: on real workers, through kills."""

import asyncio
from collections.abc import Callable

import pytest
import redis

from dispatcher import Cancelled, Dispatcher, Settings, Succeeded
from dispatcher.model.job import JobState
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, Marks, Worker, soon

POOLS = pytest.mark.parametrize("pool", ["prefork", "asyncio", "threads", "solo"])


@pytest.fixture
def own(server: EmbeddedServer, label: str) -> Settings:
    return Settings(url=server.url, namespace=f"company-{label}", **QUICK_SETTINGS)


def counts(client: redis.Redis, settings: Settings) -> dict[str, int]:
    found = client.hgetall(f"{{{settings.namespace}}}:counts")
    return {name.decode(): int(value) for name, value in found.items()}


def messages(client: redis.Redis, settings: Settings) -> int:
    return client.llen(f"{{{settings.namespace}}}:queue:default")


@POOLS
async def test_each_has_its_own_result_and_status_whatever_it_shared(
    own: Settings, start_worker: Callable[..., Worker], pool: str
) -> None:
    with connect(own.url.get_secret_value(), role="test") as client:
        async with Dispatcher(functions.registry, settings=own) as dispatcher:
            call = functions.add_async.call if pool == "asyncio" else functions.add.call
            jobs = await asyncio.gather(*(dispatcher.dispatch(call(number, 1)) for number in range(300)))
            assert messages(client, own) < 30, "they share messages"
            start_worker(own, "--pool", pool, "-c", "2")
            assert [await job.result(LONG) for job in jobs] == [number + 1 for number in range(300)]
            statuses = await asyncio.gather(*(job.status() for job in jobs))
            assert {status.state for status in statuses} == {JobState.SUCCEEDED}
            assert {status.attempt for status in statuses} == {1}
            assert len({job.id for job in jobs}) == 300
        assert counts(client, own)["attempts"] == 300
        assert counts(client, own)[f"outcome:succeeded:{'add_async' if pool == 'asyncio' else 'add'}"] == 300


async def test_slow_ones_are_shared_out_among_the_workers(
    own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
) -> None:
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        calls = [functions.hold.call(f"{label}-{number}", 0.3) for number in range(20)]
        jobs = await asyncio.gather(*(dispatcher.dispatch(call) for call in calls))
        start_worker(own, "-c", "2")
        start_worker(own, "-c", "2")
        assert [await job.result(LONG) for job in jobs] == ["held"] * 20
    assert len({marks.pid(f"{label}-{number}") for number in range(20)}) >= 3
    assert [marks.started(f"{label}-{number}") for number in range(20)] == [1] * 20


async def test_one_of_them_is_cancelled_and_the_others_are_not(
    own: Settings, start_worker: Callable[..., Worker]
) -> None:
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        jobs = await asyncio.gather(*(dispatcher.dispatch(functions.add.call(number)) for number in range(40)))
        assert await jobs[7].cancel("not this one")
        start_worker(own, "-c", "1")
        outcomes = [await job.outcome(LONG) for job in jobs]
    assert outcomes[7] == Cancelled(reason="not this one", attempts=0)
    assert sum(isinstance(outcome, Succeeded) for outcome in outcomes) == 39


async def test_a_key_stands_for_its_own_call_among_many(own: Settings, start_worker: Callable[..., Worker]) -> None:
    async with Dispatcher(functions.registry, settings=own) as dispatcher:

        async def dispatch(number: int) -> int:
            job = await dispatcher.dispatch(functions.add.call(number), idempotency_key=f"key-{number}")
            return await job.result(LONG)

        start_worker(own, "-c", "1")
        for _ in range(2):
            assert await asyncio.gather(*(dispatch(number) for number in range(30))) == list(range(30))
        with connect(own.url.get_secret_value(), role="test") as client:
            assert counts(client, own)["attempts"] == 30


async def test_a_call_that_kills_its_workers_is_given_up_and_takes_none_of_its_company_along(
    own: Settings, start_worker: Callable[..., Worker], label: str
) -> None:
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        start_worker(own, "-c", "1")
        for number in range(12):  # so that it knows the function to be quick
            await (await dispatcher.dispatch(functions.add.call(number))).result(LONG)
        crashing = [functions.crash_at.call(label, number) for number in range(20)]
        jobs = await asyncio.gather(*(dispatcher.dispatch(call) for call in crashing))
        outcomes = [await job.outcome(LONG) for job in jobs]
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Failed" if number == 11 else "Succeeded" for number in range(20)
    ]


async def test_a_kill_in_the_middle_loses_nothing(
    own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
) -> None:
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        worker = start_worker(own, "-c", "1")
        calls = [functions.hold.call(f"{label}-{number}", 0.02) for number in range(100)]
        jobs = await asyncio.gather(*(dispatcher.dispatch(call) for call in calls))
        await soon(lambda: marks.started(f"{label}-30") == 1)
        worker.kill()
        start_worker(own, "-c", "1")
        assert [await job.result(LONG) for job in jobs] == ["held"] * 100
        with connect(own.url.get_secret_value(), role="test") as client:
            assert client.zcard(f"{{{own.namespace}}}:due") == 0
    # What had ended in the company of the one that was killed, and was not recorded yet, ran again.
    assert sum(marks.started(f"{label}-{number}") for number in range(100)) <= 100 + 15


async def test_a_quick_one_does_not_wait_behind_a_slow_one_of_its_company(
    own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
) -> None:
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        start_worker(own, "-c", "2")
        for number in range(12):
            await (await dispatcher.dispatch(functions.hold.call(f"{label}-warm-{number}", 0.0))).result(LONG)
        calls = [functions.hold.call(f"{label}-{number}", 30.0 if number == 2 else 0.0) for number in range(20)]
        jobs = await asyncio.gather(*(dispatcher.dispatch(call) for call in calls))
        assert [await job.result(LONG) for number, job in enumerate(jobs) if number != 2] == ["held"] * 19
        assert not jobs[2].done
        assert await jobs[2].cancel("seen enough")
