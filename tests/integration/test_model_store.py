"""The model store on a real server: which keys it leaves, and what is there when something goes wrong half-way."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import redis
import redis.asyncio

from dispatcher.errors import ModelError, ServerFullError, ServerUnreachableError
from dispatcher.selection.stored import StoredModel, dump_model
from dispatcher.settings import Settings
from dispatcher.transport.connection import connect, connect_async
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.keys import Keys
from dispatcher.transport.model_store import DRAFT_SECONDS, RedisModelStore


@pytest.fixture
def keys(namespace: str, client: redis.Redis) -> Iterator[Keys]:
    """Names of one's own. What stays for ever is cleaned up by hand."""
    made = Keys(namespace)
    yield made
    for key in client.scan_iter(match=f"{made.prefix}*"):
        client.delete(key)


@pytest.fixture
async def store(server: EmbeddedServer, keys: Keys) -> AsyncIterator[RedisModelStore]:
    async with connect_async(server.url, role="test") as connected:
        yield RedisModelStore(connected, keys, Settings(namespace=keys.namespace, kept_models=2))


def model(number: int = 0, *, size: int = 8) -> StoredModel:
    made_at = datetime(2026, 11, 25, tzinfo=UTC) + timedelta(hours=number)
    return StoredModel(
        version=f"{made_at:%Y%m%dT%H%M%SZ}-{number:08x}",
        created_at=made_at,
        metrics={"accuracy": 0.5},
        position="0-0",
        meta={},
        arrays={"weights": np.random.default_rng(number).normal(size=size)},
    )


def kept(client: redis.Redis, keys: Keys) -> dict[str, int]:
    """The keys that are there, without the prefix, with their time to live."""
    found = client.scan_iter(match=f"{keys.prefix}*")
    return {key.decode().removeprefix(keys.prefix): client.ttl(key) for key in found}


async def test_what_stays_for_ever_is_bounded(store: RedisModelStore, client: redis.Redis, keys: Keys) -> None:
    models = [model(number) for number in range(5)]
    for one in models:
        await store.save(one, promote=True)
    stays = {"models", "champion", f"model:{models[3].version}", f"model:{models[4].version}"}
    assert kept(client, keys) == dict.fromkeys(stays, -1)


async def test_the_model_on_its_way_in_has_an_end(store: RedisModelStore, client: redis.Redis, keys: Keys) -> None:
    """Its trainer dies between the two steps."""
    first = model(1)
    await store.save(first, promote=True)

    async def dies(_: object) -> None:
        raise ConnectionResetError

    store._ledger.run = dies  # type: ignore[method-assign]
    with pytest.raises(ServerUnreachableError):
        await store.save(model(2), promote=True)
    drafts = {name: ttl for name, ttl in kept(client, keys).items() if name.startswith("model-draft:")}
    assert len(drafts) == 1
    assert all(0 < ttl <= DRAFT_SECONDS for ttl in drafts.values())
    assert await store.champion() == first.version
    assert [row["version"] for row in await store.versions()] == [first.version]


async def test_a_draft_that_is_gone_is_no_model(store: RedisModelStore, client: redis.Redis, keys: Keys) -> None:
    send = store._client.set

    async def lose(name: str, data: bytes, **options: int) -> None:
        await send(name, data, **options)
        client.delete(name)

    store._client.set = lose  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="save it again"):
        await store.save(model(), promote=True)
    assert kept(client, keys) == {}


async def test_a_server_that_was_told_to_forget_its_scripts_knows_them_again(
    store: RedisModelStore, client: redis.Redis
) -> None:
    client.script_flush()
    await store.save(model(1), promote=True)
    await store.save(model(2), promote=True)
    client.script_flush()
    await store.promote(model(1).version)
    assert await store.champion() == model(1).version


async def test_a_listing_that_somebody_spoilt_hides_no_other(
    store: RedisModelStore, client: redis.Redis, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    await store.save(model(1), promote=True)
    client.hset(keys.models, "spoilt", "{")
    client.hset(keys.models, "claimed", client.hget(keys.models, model(1).version))
    assert [row["version"] for row in await store.versions()] == [model(1).version]
    assert sorted(record.__dict__["version"] for record in caplog.records) == ["claimed", "spoilt"]


async def test_a_champion_that_is_no_version_is_a_model_error(
    store: RedisModelStore, client: redis.Redis, keys: Keys
) -> None:
    client.set(keys.champion, "../../etc/passwd")
    with pytest.raises(ModelError, match="no model can be of version"):
        await store.champion()


async def test_a_listed_model_whose_bytes_are_gone_cannot_be_promoted(
    store: RedisModelStore, client: redis.Redis, keys: Keys
) -> None:
    for number in (1, 2):
        await store.save(model(number), promote=True)
    client.delete(keys.model(model(1).version))
    with pytest.raises(ModelError, match="there is no model"):
        await store.promote(model(1).version)
    assert await store.champion() == model(2).version


async def test_a_large_model_goes_there_and_back(store: RedisModelStore) -> None:
    large = model(1, size=2_000_000)
    assert len(dump_model(large)) > 10_000_000
    await store.save(large, promote=True)
    loaded = await store.load(large.version)
    np.testing.assert_array_equal(loaded.arrays["weights"], large.arrays["weights"])


async def test_a_full_server_says_so_and_keeps_what_it_has(tmp_path_factory: pytest.TempPathFactory) -> None:
    with EmbeddedServer(tmp_path_factory.mktemp("full"), persist=False) as own, connect(own.url) as admin:
        async with connect_async(own.url, role="test") as client:
            store = RedisModelStore(client, Keys("full"), Settings(namespace="full"))
            await store.save(model(1), promote=True)
            admin.config_set("maxmemory", 1)
            with pytest.raises(ServerFullError):
                await store.save(model(2), promote=True)
            assert await store.champion() == model(1).version
            assert (await store.load(model(1).version)).version == model(1).version
