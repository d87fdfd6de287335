"""A node gives its processes jobs before Celery knows of them, and asks for their leases."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from dispatcher import Dispatcher, Settings, Succeeded
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance.functions import add, registry
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, Marks, Worker, soon

#: What a call takes at most, on a busy machine. A lease that nobody has is only given again when it has run out.
LEASE_SECONDS = 30.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("given")) as server:
        yield server


@pytest.fixture
def settings(own: EmbeddedServer) -> Settings:
    return Settings.load(url=own.url, **QUICK_SETTINGS | {"lease_seconds": LEASE_SECONDS})


@pytest.fixture
async def dispatcher(settings: Settings) -> AsyncIterator[Dispatcher]:
    async with Dispatcher(registry, settings=settings) as started:
        yield started


@pytest.fixture
def client(own: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(own.url, role="test") as connected:
        yield connected


def connections(client: redis.Redis) -> list[dict[str, str]]:
    """Those of a node's processes."""
    return [entry for entry in client.client_list() if entry["name"] == "dispatcher-worker"]


async def call(dispatcher: Dispatcher, a: int) -> None:
    """One call, at its first attempt and before any lease has run out."""
    handle = await dispatcher.dispatch(add.call(a=a, b=1))
    assert await handle.outcome(timeout=LONG) == Succeeded(value=a + 1, attempts=1)


async def test_calls_go_on_when_the_connections_that_a_node_asks_on_are_cut(
    dispatcher: Dispatcher, client: redis.Redis, settings: Settings, marks: Marks
) -> None:
    with Worker(settings, marks):
        await soon(lambda: len(connections(client)) == 2)  # each has one of its own
        await call(dispatcher, 0)
        await soon(lambda: len(connections(client)) == 3)
        asked_on = max(int(entry["id"]) for entry in connections(client))
        for number in range(5):
            await call(dispatcher, number)
        (last,) = [entry["cmd"] for entry in connections(client) if int(entry["id"]) == asked_on]
        assert last == "evalsha", "its node has asked on it"
        for _ in range(2):
            for entry in connections(client):
                client.client_kill_filter(_id=entry["id"])
            for number in range(3):
                await call(dispatcher, number)


async def test_a_job_that_is_given_to_a_process_that_ends_is_run_by_another_at_once(
    dispatcher: Dispatcher, settings: Settings, marks: Marks
) -> None:
    with Worker(settings, marks, "--max-tasks-per-child", "3"):
        for number in range(12):
            await call(dispatcher, number)
