"""What every model store promises."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dispatcher.errors import ModelError
from dispatcher.selection.folder import FolderModelStore
from dispatcher.selection.stored import ModelStore, StoredModel, dump_model, make_version
from dispatcher.settings import Settings
from dispatcher.transport.connection import connect_async
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.keys import Keys
from dispatcher.transport.model_store import RedisModelStore

START = datetime(2026, 11, 25, 10, 15, tzinfo=UTC)
MAX_BYTES = 64 * 1024


class Bench:
    """A store, and a way around it: what somebody else may have put there."""

    def __init__(self, store: ModelStore, again: ModelStore, put: Callable[[str, bytes], Awaitable[Any]]) -> None:
        self.store = store
        #: The same place, as another process sees it.
        self.again = again
        self.put = put

    async def kept(self) -> list[str]:
        return [row["version"] for row in await self.store.versions()]


@pytest.fixture(params=["folder", "server"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "folder":
        folder: Path = request.getfixturevalue("tmp_path") / "models"

        async def write(version: str, data: bytes) -> None:
            folder.mkdir(exist_ok=True)
            (folder / f"{version}.model").write_bytes(data)

        first, second = (FolderModelStore(folder, kept=3, max_bytes=MAX_BYTES) for _ in range(2))
        yield Bench(first, second, write)
        return

    server: EmbeddedServer = request.getfixturevalue("server")
    namespace = request.getfixturevalue("settings").namespace
    settings = Settings(namespace=namespace, kept_models=3, max_model_bytes=MAX_BYTES)
    keys = Keys(namespace)
    async with connect_async(server.url, role="test") as client, connect_async(server.url, role="test") as other:

        async def put(version: str, data: bytes) -> None:
            await client.set(keys.model(version), data, ex=600)

        yield Bench(RedisModelStore(client, keys, settings), RedisModelStore(other, keys, settings), put)


def model(number: int = 0, *, size: int = 8, **changes: Any) -> StoredModel:
    arrays = {
        "weights": np.random.default_rng(number).normal(size=(size, 4)).astype(np.float32),
        "words": np.array(["数", "word"]),
    }
    made_at = START + timedelta(hours=number)
    parts = {
        "version": make_version(made_at, arrays),
        "created_at": made_at,
        "metrics": {"accuracy": 0.5 + number / 100, "ece": 0.0},
        "position": f"{number}-0",
        "meta": {"functions": ["text.count", "数.字"], "nested": {"a": [1, None, True]}},
        "arrays": arrays,
    }
    return StoredModel(**(parts | changes))


async def saved(store: ModelStore, *numbers: int, promote: bool = False) -> list[str]:
    models = [model(number) for number in numbers]
    for one in models:
        await store.save(one, promote=promote)
    return [one.version for one in models]


class TestKeeping:
    async def test_an_empty_store_has_no_champion_and_no_versions(self, bench: Bench) -> None:
        assert await bench.store.champion() is None
        assert list(await bench.store.versions()) == []

    async def test_a_model_comes_back_whole(self, bench: Bench) -> None:
        before = model(3)
        await bench.store.save(before, promote=False)
        after = await bench.again.load(before.version)
        for name in ("version", "created_at", "metrics", "position", "meta"):
            assert getattr(after, name) == getattr(before, name)
        assert after.arrays.keys() == before.arrays.keys()
        for name, array in before.arrays.items():
            assert after.arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(after.arrays[name], array)

    async def test_the_list_says_of_each_what_it_is_the_newest_first(self, bench: Bench) -> None:
        second, first = model(2), model(1)
        await bench.store.save(second, promote=True)
        await bench.store.save(first, promote=False)
        assert list(await bench.again.versions()) == [
            {"version": one.version, "created_at": one.created_at, "metrics": one.metrics, "champion": one is second}
            for one in (second, first)
        ]

    async def test_saving_a_version_again_replaces_it(self, bench: Bench) -> None:
        await bench.store.save(model(1), promote=True)
        await bench.store.save(model(1, metrics={"accuracy": 0.9}), promote=False)
        (row,) = await bench.store.versions()
        assert row["metrics"] == {"accuracy": 0.9}
        assert (await bench.store.load(row["version"])).metrics == {"accuracy": 0.9}
        assert row["champion"]

    async def test_of_too_many_the_oldest_goes(self, bench: Bench) -> None:
        versions = await saved(bench.store, 1, 2, 3, 4)
        assert await bench.kept() == versions[:0:-1]
        with pytest.raises(ModelError, match=f"no model of version {versions[0]}"):
            await bench.store.load(versions[0])

    async def test_the_champion_is_never_dropped(self, bench: Bench) -> None:
        (champion,) = await saved(bench.store, 0, promote=True)
        later = await saved(bench.store, 1, 2, 3, 4)
        assert await bench.kept() == [later[3], later[2], champion]
        assert (await bench.store.load(champion)).version == champion

    async def test_one_older_than_all_stays_when_it_is_saved(self, bench: Bench) -> None:
        later = await saved(bench.store, 1, 2, 3)
        (old,) = await saved(bench.store, 0)
        assert await bench.kept() == [later[2], later[1], old]


class TestChampion:
    async def test_a_model_saved_to_be_it_is_it_for_everybody(self, bench: Bench) -> None:
        first, second = await saved(bench.store, 1, 2, promote=True)
        assert await bench.again.champion() == second
        assert first in await bench.kept()

    async def test_a_model_only_kept_is_not(self, bench: Bench) -> None:
        (first,) = await saved(bench.store, 1, promote=True)
        await saved(bench.store, 2)
        assert await bench.again.champion() == first

    async def test_rolling_back_makes_an_older_one_the_champion_again(self, bench: Bench) -> None:
        first, second = await saved(bench.store, 1, 2, promote=True)
        await bench.store.promote(first)
        assert await bench.again.champion() == first
        assert [(row["version"], row["champion"]) for row in await bench.again.versions()] == [
            (second, False),
            (first, True),
        ]

    @pytest.mark.parametrize("version", ["20261125T101500Z-00000000", "no such", "../champion", "", "x" * 65, "a\n"])
    async def test_what_is_not_there_is_neither_loaded_nor_made_it(self, bench: Bench, version: str) -> None:
        (first,) = await saved(bench.store, 1, promote=True)
        with pytest.raises(ModelError):
            await bench.store.promote(version)
        with pytest.raises(ModelError):
            await bench.store.load(version)
        assert await bench.store.champion() == first

    async def test_many_savers_at_once_leave_a_store_that_is_whole(self, bench: Bench) -> None:
        models = [model(number) for number in range(12)]
        stores = [bench.store, bench.again] * 6
        await asyncio.gather(*(store.save(one, promote=True) for store, one in zip(stores, models, strict=True)))
        champion = await bench.store.champion()
        kept = await bench.kept()
        assert champion in kept
        assert len(kept) == 3
        for version in kept:
            assert (await bench.store.load(version)).version == version


class TestRefusals:
    async def test_a_model_over_the_limit_is_not_kept(self, bench: Bench) -> None:
        (first,) = await saved(bench.store, 1, promote=True)
        with pytest.raises(ModelError, match=r"at most 65,536"):
            await bench.store.save(model(2, size=20_000), promote=True)
        assert await bench.kept() == [first]
        assert await bench.store.champion() == first

    async def test_a_model_over_the_limit_is_not_read(self, bench: Bench) -> None:
        large = model(2, size=20_000)
        await bench.put(large.version, dump_model(large))
        with pytest.raises(ModelError, match=r"at most 65,536"):
            await bench.store.load(large.version)

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": "../../etc/passwd"},
            {"metrics": {"auroc": float("nan")}},
            {"meta": {"when": START}},
            {"arrays": {"objects": np.array([object()])}},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    async def test_what_cannot_be_stored_is_refused(self, bench: Bench, changes: dict[str, Any]) -> None:
        with pytest.raises(ModelError):
            await bench.store.save(model(1, **changes), promote=True)
        assert await bench.kept() == []
        assert await bench.store.champion() is None

    async def test_a_model_of_another_version_is_refused(self, bench: Bench) -> None:
        await bench.put("claimed", dump_model(model(1)))
        with pytest.raises(ModelError, match="says of itself"):
            await bench.store.load("claimed")
