"""A server that accepted calls have filled up to `maxmemory` is emptied by its workers, and by nobody's hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

import pytest
import redis

from dispatcher import Dispatcher, Settings
from dispatcher.errors import Acceptance, ServerFullError
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.functions import registry
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, Worker, soon

#: Numbers that a call adds up: 20 KB of arguments, and an outcome of a few bytes.
NUMBERS = list(range(4_000))


@pytest.fixture
def own(tmp_path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path) as running:
        yield running


@pytest.fixture
def admin(own: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(own.url) as client:
        # So that the connections of a worker are a small part of all.
        client.setrange("of-others", 20_000_000, "x")
        yield client


@pytest.fixture
def settings(own: EmbeddedServer) -> Settings:
    return Settings.load(url=own.url, **QUICK_SETTINGS)


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[Dispatcher]:
    async with Dispatcher(registry, settings=settings) as dispatcher:
        yield dispatcher


def used(admin: redis.Redis) -> int:
    return admin.info("memory")["used_memory"]


def most(admin: redis.Redis) -> int:
    return admin.info("memory")["maxmemory"]


def fill(admin: redis.Redis) -> None:
    """The server may use a little less than it does."""
    admin.config_set("maxmemory", int(used(admin) / 1.03))


async def test_what_was_accepted_is_run_and_settled_and_then_there_is_room_again(
    producer: Dispatcher, settings: Settings, admin: redis.Redis, start_worker: Callable[..., Worker], label: str
) -> None:
    later = await producer.dispatch(functions.flaky.call(label, 2), delay=timedelta(seconds=0.5))
    alone = [await producer.dispatch(functions.total.call(NUMBERS)) for _ in range(10)]
    together = await asyncio.gather(*(producer.dispatch(functions.total.call(NUMBERS)) for _ in range(100)))
    waiting = [*alone, *together]
    fill(admin)
    with pytest.raises(ServerFullError) as caught:
        await producer.dispatch(functions.add.call(1))
    assert caught.value.accepted is Acceptance.NO

    worker = start_worker(settings)

    assert [await job.result(LONG) for job in waiting] == [sum(NUMBERS)] * len(waiting)
    assert await later.result(LONG) == 3, "another attempt is room's to find as well"
    assert used(admin) < most(admin)
    assert await (await producer.dispatch(functions.add.call(1, 2))).result(LONG) == 3
    log = worker.log.read_text()
    assert "OutOfMemory" not in log
    assert "sweep_failed" not in log


async def test_outcomes_that_take_more_than_they_free_stop_at_the_reserve_until_they_expire(
    producer: Dispatcher, admin: redis.Redis, own: EmbeddedServer, start_worker: Callable[..., Worker]
) -> None:
    waiting = [await producer.dispatch(functions.repeat.call("word ", 20_000)) for _ in range(60)]
    fill(admin)
    brief = Settings.load(url=own.url, **QUICK_SETTINGS, result_ttl_seconds=1)
    start_worker(brief, wait=False)

    highest = 0

    async def all_ended() -> bool:
        nonlocal highest
        highest = max(highest, used(admin))
        return all([job.done or await job.status() is None for job in waiting])

    await soon(all_ended)
    # All outcomes at once would make it 1.3; some connections hold one more.
    assert 1.08 < highest / most(admin) < 1.15


async def test_a_worker_warns_once_of_a_server_that_throws_jobs_away_when_it_is_full(
    producer: Dispatcher, settings: Settings, admin: redis.Redis, start_worker: Callable[..., Worker]
) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("maxmemory", "1gb")

    worker = start_worker(settings)

    assert await (await producer.dispatch(functions.add.call(1, 2))).result(LONG) == 3
    (line,) = [line for line in worker.log.read_text().splitlines() if "server_evicts" in line]
    assert "policy=allkeys-lru" in line
    assert "@" not in line.partition("address=")[2], "the password is not shown"
