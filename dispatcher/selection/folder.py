"""Trained models in a folder: a file for each, and one that names the champion."""

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from dispatcher.errors import ModelError
from dispatcher.selection.packed import (
    KEPT_MODELS,
    MAX_STORED_BYTES,
    PackedModel,
    check_version,
    no_model,
    pack,
    read_meta,
    read_summary,
    unpack,
)
from dispatcher.selection.stored import StoredModel

logger = logging.getLogger(__name__)

_SUFFIX: Final = ".model"
_DRAFT_SUFFIX: Final = ".draft"


class FolderModelStore:
    """A `ModelStore` of `<version>.model` files; a file that is put there by hand is a kept model too.

    Readers never wait: each file is replaced as a whole. Writers of several processes take turns by a lock; one that
    dies half-way leaves the champion as it was.

    Args:
        path: made when the first model is saved.
        kept: how many models stay, the champion always among them.
        max_bytes: of one model, as it is stored.
    """

    def __init__(self, path: Path, *, kept: int = KEPT_MODELS, max_bytes: int = MAX_STORED_BYTES) -> None:
        if kept < 2:  # noqa: PLR2004 - the champion, and the one that has just come
            msg = f"a store keeps at least 2 models, not {kept}"
            raise ValueError(msg)
        self._path = path
        self._champion = path / "champion"
        self._kept = kept
        self._max_bytes = max_bytes

    async def save(self, model: StoredModel, *, promote: bool) -> None:
        """Keep a model; with `promote` it becomes the champion in the same step.

        Raises:
            ModelError: it is too large, cannot be stored, or the folder cannot be written to.
        """
        await asyncio.to_thread(self._save, model, promote=promote)

    async def load(self, version: str) -> StoredModel:
        return await asyncio.to_thread(self._load, check_version(version))

    async def champion(self) -> str | None:
        version = await asyncio.to_thread(self._read_champion)
        return None if version is None else check_version(version)

    async def promote(self, version: str) -> None:
        await asyncio.to_thread(self._promote, check_version(version))

    async def versions(self) -> Sequence[Mapping[str, Any]]:
        """What is kept, the newest first: `version`, `created_at` (aware), `metrics`, `champion` (whether it is)."""
        return await asyncio.to_thread(self._list)

    # --- the same, in a thread

    def _save(self, model: StoredModel, *, promote: bool) -> None:
        packed = pack(model, self._max_bytes)
        with self._writing():
            self._replace(self._file(packed.version), packed.data)
            if promote:
                self._replace(self._champion, packed.version.encode())
            self._drop_oldest(packed)

    def _load(self, version: str) -> StoredModel:
        try:
            with self._file(version).open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except FileNotFoundError:
            raise no_model(version) from None
        except OSError as error:
            msg = f"model {version}: it cannot be read: {error.strerror}"
            raise ModelError(msg) from error
        return unpack(version, data, self._max_bytes)

    def _promote(self, version: str) -> None:
        with self._writing():
            if not self._file(version).is_file():
                raise no_model(version)
            self._replace(self._champion, version.encode())

    def _read_champion(self) -> str | None:
        """What is named as the champion, whether or not it is a version."""
        try:
            return self._champion.read_text("utf-8", "replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = f"which model is in use cannot be read from {self._champion}: {error.strerror}"
            raise ModelError(msg) from error

    def _list(self) -> list[Mapping[str, Any]]:
        champion = self._read_champion()
        rows = []
        for version in sorted(self._versions(), reverse=True):
            try:
                rows.append(read_summary(read_meta(self._file(version)), version, champion=champion))
            except ModelError as error:  # one that somebody spoilt does not hide the others
                logger.warning("model_not_listed", extra={"version": version, "reason": str(error)})
        return rows

    # --- its files

    def _file(self, version: str) -> Path:
        return self._path / f"{version}{_SUFFIX}"

    def _versions(self) -> list[str]:
        return [file.name.removesuffix(_SUFFIX) for file in self._path.glob(f"*{_SUFFIX}")]

    def _drop_oldest(self, newcomer: PackedModel) -> None:
        """Drop what is too many: never the champion, nor the one that just came."""
        versions = self._versions()
        spared = {newcomer.version, self._read_champion()}
        old = sorted(version for version in versions if version not in spared)
        for version in old[: max(0, len(versions) - self._kept)]:
            self._file(version).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the folder's lock. The system takes it back when a process ends, however it ends."""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            with (self._path / "lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Nobody else writes now: what a writer that died left half-written is nobody's.
                for draft in self._path.glob(f"*{_DRAFT_SUFFIX}"):
                    draft.unlink(missing_ok=True)
                yield
        except OSError as error:
            msg = f"{self._path} cannot be written to: {error.strerror}"
            raise ModelError(msg) from error

    def _replace(self, path: Path, data: bytes) -> None:
        """Write a file whole or not at all, and onto the disk before it has its name."""
        draft = path.with_name(path.name + _DRAFT_SUFFIX)
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
