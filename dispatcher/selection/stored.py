"""Trained models as they are stored: plain arrays and JSON, never a pickle; and the port to where they stand."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from dispatcher.errors import ModelError

#: Largest model that is read, uncompressed. 10,000 functions with everything learnt stay below.
MAX_MODEL_BYTES: Final = 512 * 1024 * 1024

_META: Final = "meta.json"

#: What zipfile, zlib, json and numpy raise at bytes that somebody spoilt: RuntimeError for encryption, compressions
#: that they do not know and nesting without end, MemoryError and ArithmeticError for arrays larger than any memory.
SPOILT: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError,
    MemoryError, ArithmeticError, OSError,
)  # fmt: skip

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredModel:
    """A trained model: named arrays, and what JSON says of it."""

    #: Sorts by time: `20261125T101500Z-1a2b3c4d`.
    version: str
    created_at: datetime
    #: How good it was on the calls held out of its training, by name: `accuracy`, `ece`, `auroc`, …
    metrics: Mapping[str, float]
    #: The position in the feedback log up to which it has learnt.
    position: str
    #: What the tiers need beside arrays.
    meta: Mapping[str, Any] = field(repr=False)
    arrays: Mapping[str, Array] = field(repr=False)


class ModelStore(Protocol):
    """Where models stand: the newest accepted one is the champion, older ones are kept for a rollback."""

    async def save(self, model: StoredModel, *, promote: bool) -> None:
        """Keep a model; with `promote` it becomes the champion in the same step."""
        ...

    async def load(self, version: str) -> StoredModel:
        """A model by its version.

        Raises:
            ModelError: there is none of that version, or it cannot be read.
        """
        ...

    async def champion(self) -> str | None:
        """The version that producers use; None before the first."""
        ...

    async def promote(self, version: str) -> None:
        """Make a kept model the champion.

        Raises:
            ModelError: there is none of that version.
        """
        ...

    async def versions(self) -> Sequence[Mapping[str, Any]]:
        """What is kept, the newest first: `version`, `created_at`, `metrics`, `champion`."""
        ...


def make_version(now: datetime, arrays: Mapping[str, Array]) -> str:
    """A version that sorts by time and tells contents apart."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return f"{now:%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:8]}"


def dump_model(model: StoredModel) -> bytes:
    """One file: a zip of `.npy` arrays and a `meta.json`."""
    described = {
        "version": model.version,
        "created_at": model.created_at.isoformat(),
        "metrics": dict(model.metrics),
        "position": model.position,
        "meta": dict(model.meta),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(_META, json.dumps(described, ensure_ascii=False, allow_nan=False))
        for name, array in model.arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def load_model(data: bytes) -> StoredModel:
    """Read what `dump_model` wrote.

    Raises:
        ModelError: it is no model, is larger than `MAX_MODEL_BYTES`, or holds anything but plain arrays and JSON.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_MODEL_BYTES:
                msg = f"it holds {size:,} bytes; at most {MAX_MODEL_BYTES:,} are read"
                raise ModelError(msg)
            described = json.loads(archive.read(_META))
            arrays = {
                name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
                for name in archive.namelist()
                if name != _META
            }
        return StoredModel(
            version=str(described["version"]),
            created_at=datetime.fromisoformat(described["created_at"]),
            metrics={str(name): float(value) for name, value in described["metrics"].items()},
            position=str(described["position"]),
            meta=dict(described["meta"]),
            arrays=arrays,
        )
    except SPOILT as error:
        msg = f"it cannot be read: {error}"
        raise ModelError(msg) from None
