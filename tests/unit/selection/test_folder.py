"""Models in a folder: what is there when something goes wrong half-way, and what others put there."""

import asyncio
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dispatcher.errors import ModelError
from dispatcher.selection.folder import FolderModelStore
from dispatcher.selection.stored import StoredModel, dump_model


def model(number: int = 0) -> StoredModel:
    made_at = datetime(2026, 11, 25, tzinfo=UTC) + timedelta(hours=number)
    return StoredModel(
        version=f"{made_at:%Y%m%dT%H%M%SZ}-{number:08x}",
        created_at=made_at,
        metrics={"accuracy": 0.5},
        position="0-0",
        meta={},
        arrays={"weights": np.full(100, number)},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def store(folder: Path) -> FolderModelStore:
    return FolderModelStore(folder, kept=3)


async def test_a_model_is_one_file_and_the_champion_is_named_in_another(store: FolderModelStore, folder: Path) -> None:
    await store.save(model(1), promote=True)
    assert sorted(file.name for file in folder.iterdir()) == [f"{model(1).version}.model", "champion", "lock"]
    assert (folder / "champion").read_text() == model(1).version


async def test_asking_a_store_that_is_not_there_yet_makes_nothing(store: FolderModelStore, folder: Path) -> None:
    assert await store.champion() is None
    assert list(await store.versions()) == []
    with pytest.raises(ModelError, match="there is no model"):
        await store.load("any")
    assert not folder.exists()


async def test_a_model_put_there_by_hand_is_a_kept_one(store: FolderModelStore, folder: Path) -> None:
    folder.mkdir()
    (folder / f"{model(1).version}.model").write_bytes(dump_model(model(1)))
    await store.promote(model(1).version)
    (row,) = await store.versions()
    assert (row["version"], row["champion"]) == (model(1).version, True)


async def test_files_that_somebody_spoilt_hide_no_other(
    store: FolderModelStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await store.save(model(1), promote=True)
    (folder / "spoilt.model").write_bytes(b"no zip")
    (folder / "claimed.model").write_bytes(dump_model(model(1)))
    (folder / "folder.model").mkdir()
    (folder / "notes.txt").write_text("not ours")
    assert [row["version"] for row in await store.versions()] == [model(1).version]
    assert sorted(record.__dict__["version"] for record in caplog.records) == ["claimed", "folder", "spoilt"]
    for version in ("spoilt", "claimed", "folder"):
        with pytest.raises(ModelError, match=f"model {version}: "):
            await store.load(version)


@pytest.mark.parametrize("said", ["", "../../etc/passwd", "\udcff\udcfe"])
async def test_a_champion_that_is_no_version_is_a_model_error_until_there_is_a_new_one(
    store: FolderModelStore, folder: Path, said: str
) -> None:
    await store.save(model(1), promote=True)
    (folder / "champion").write_bytes(os.fsencode(said))
    with pytest.raises(ModelError, match="no model can be of version"):
        await store.champion()
    assert [row["champion"] for row in await store.versions()] == [False]
    await store.save(model(2), promote=False)
    await store.promote(model(1).version)
    assert await store.champion() == model(1).version


async def test_a_writer_that_dies_half_way_leaves_the_champion_and_nothing_for_ever(
    store: FolderModelStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.save(model(1), promote=True)

    def die(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", die)
        with pytest.raises(KeyboardInterrupt):
            store._save(model(2), promote=True)
    assert len(list(folder.glob("*.draft"))) == 1
    assert await store.champion() == model(1).version
    assert [row["version"] for row in await store.versions()] == [model(1).version]
    await store.save(model(3), promote=False)
    assert list(folder.glob("*.draft")) == []


async def test_a_folder_that_cannot_be_written_to_is_a_model_error(tmp_path: Path) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.write_text("")
    store = FolderModelStore(in_the_way)
    for act in (store.save(model(), promote=True), store.promote("any")):
        with pytest.raises(ModelError, match="cannot be written to"):
            await act


async def test_what_cannot_be_read_is_a_model_error(store: FolderModelStore, folder: Path) -> None:
    (folder / "champion").mkdir(parents=True)
    for ask in (store.champion(), store.versions()):
        with pytest.raises(ModelError, match="cannot be read"):
            await ask


def test_a_store_has_room_for_the_champion_and_a_newcomer(folder: Path) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        FolderModelStore(folder, kept=1)


def save_some(folder: Path, first: int) -> None:
    store = FolderModelStore(folder, kept=3)
    for number in range(first, first + 10):
        asyncio.run(store.save(model(number), promote=True))


async def test_processes_that_save_at_once_leave_a_store_that_is_whole(store: FolderModelStore, folder: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=save_some, args=(folder, first)) for first in (0, 100)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        champion = await store.champion()
        if champion is not None:
            try:
                assert (await store.load(champion)).version == champion
            except ModelError:
                assert await store.champion() != champion, "only one that was replaced may be gone"
        await asyncio.sleep(0)
    assert [writer.exitcode for writer in writers] == [0, 0]
    rows = await store.versions()
    assert len(rows) == 3
    assert [row["version"] for row in rows if row["champion"]] == [await store.champion()]
