"""The shared selection cache on a real server: it keeps for a while, and never stands in the way."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
import redis.asyncio

from dispatcher.settings import Settings
from dispatcher.transport.connection import connect, connect_async
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.keys import Keys
from dispatcher.transport.selection_cache import MAX_VALUE_BYTES, PATIENCE_SECONDS, SharedSelectionCache
from tests.integration.ledger_rig import Rig


@pytest.fixture
async def cache(server: EmbeddedServer, rig: Rig) -> AsyncIterator[SharedSelectionCache]:
    async with connect_async(server.url, role="test") as client:
        yield SharedSelectionCache(client, rig.keys, rig.settings)


def the_key(rig: Rig) -> str:
    (key,) = rig.every_key()
    return key


async def test_what_is_kept_is_found_by_an_equal_key_and_no_other(cache: SharedSelectionCache) -> None:
    await cache.keep(b"a\0key", '{"function": "数.字", "said": "\ud800"}')
    await cache.keep(b"another", "{}")
    assert await cache.find(b"a\0key") == '{"function": "数.字", "said": "\ud800"}'
    assert await cache.find(b"another") == "{}"
    assert await cache.find(b"a") is None


async def test_another_producer_finds_it_and_another_namespace_does_not(
    cache: SharedSelectionCache, server: EmbeddedServer, rig: Rig
) -> None:
    await cache.keep(b"key", "value")
    async with connect_async(server.url, role="test") as client:
        assert await SharedSelectionCache(client, rig.keys, rig.settings).find(b"key") == "value"
        assert await SharedSelectionCache(client, Keys("elsewhere"), rig.settings).find(b"key") is None


async def test_it_is_kept_for_the_time_that_is_set_under_a_name_that_says_nothing(
    cache: SharedSelectionCache, rig: Rig
) -> None:
    await cache.keep(b"bill customer 7", "value")
    key = the_key(rig)
    assert key.startswith(f"{rig.keys.prefix}selection:")
    assert "bill" not in key
    assert 3_590 < rig.client.ttl(key) <= 3_600


async def test_it_is_gone_afterwards(cache: SharedSelectionCache, rig: Rig) -> None:
    await cache.keep(b"key", "value")
    rig.client.pexpire(the_key(rig), 1)
    await asyncio.sleep(0.01)
    assert await cache.find(b"key") is None


async def test_keeping_again_replaces_it(cache: SharedSelectionCache) -> None:
    for value in ("a longer value", "short"):
        await cache.keep(b"key", value)
    assert await cache.find(b"key") == "short"


async def test_a_value_over_the_limit_is_neither_kept_nor_read(cache: SharedSelectionCache, rig: Rig) -> None:
    await cache.keep(b"key", "数" * (MAX_VALUE_BYTES // 3 + 1))
    assert rig.every_key() == []
    await cache.keep(b"key", "x" * MAX_VALUE_BYTES)
    assert await cache.find(b"key") == "x" * MAX_VALUE_BYTES
    rig.client.append(the_key(rig), "x")
    assert await cache.find(b"key") is None


@pytest.mark.parametrize("spoil", ["bytes", "type"])
async def test_what_somebody_spoilt_is_a_miss(cache: SharedSelectionCache, rig: Rig, spoil: str) -> None:
    await cache.keep(b"key", "value")
    key = the_key(rig)
    rig.client.delete(key)
    if spoil == "bytes":
        rig.client.set(key, b"\xff\xfe", ex=60)
    else:
        rig.client.lpush(key, "a list")
        rig.client.expire(key, 60)
    assert await cache.find(b"key") is None
    await cache.keep(b"key", "value")
    assert await cache.find(b"key") == "value"


async def test_a_server_that_is_away_is_a_miss_and_a_line_in_the_log(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dispatcher")
    async with connect_async("redis://127.0.0.1:1/0", role="test") as nobody:
        cache = SharedSelectionCache(nobody, rig.keys, rig.settings)
        assert await cache.find(b"key") is None
        await cache.keep(b"key", "value")
    assert [(record.message, record.levelname) for record in caplog.records] == [
        ("selection_cache_not_read", "INFO"),
        ("selection_not_cached", "INFO"),
    ]
    assert all(record.__dict__["reason"] for record in caplog.records)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of this file's own, to be silenced and filled."""
    with EmbeddedServer(tmp_path_factory.mktemp("own"), persist=False) as running:
        yield running


@pytest.fixture
def admin(own: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(own.url) as client:
        yield client


async def test_a_silent_server_is_not_waited_for_and_its_late_answers_confuse_nobody(
    own: EmbeddedServer, admin: redis.Redis
) -> None:
    async with connect_async(own.url, role="test") as client:
        cache = SharedSelectionCache(client, Keys("silent"), Settings())
        await cache.keep(b"a", "value of a")
        await cache.keep(b"b", "value of b")
        admin.client_pause(1_000)
        began = time.monotonic()
        assert await cache.find(b"a") is None
        await cache.keep(b"b", "never sent, or sent late")
        assert time.monotonic() - began < 2 * PATIENCE_SECONDS + 0.3
        await asyncio.sleep(1)
        assert await cache.find(b"a") == "value of a"
        assert await cache.find(b"b") in {"value of b", "never sent, or sent late"}


async def test_a_full_server_still_answers_what_it_has(own: EmbeddedServer, admin: redis.Redis) -> None:
    async with connect_async(own.url, role="test") as client:
        cache = SharedSelectionCache(client, Keys("full"), Settings())
        await cache.keep(b"a", "value of a")
        admin.config_set("maxmemory", 1)
        try:
            await cache.keep(b"b", "value of b")
            assert await cache.find(b"a") == "value of a"
            assert await cache.find(b"b") is None
        finally:
            admin.config_set("maxmemory", 0)
