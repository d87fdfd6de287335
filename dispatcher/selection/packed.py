"""A model on its way into a store and out of it: what every store checks alike."""

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from dispatcher.errors import ModelError
from dispatcher.selection.stored import MAX_MODEL_BYTES, SPOILT, StoredModel, dump_model, load_model

#: How many models a store keeps where nothing else is said, and how large one may be as it is stored.
KEPT_MODELS: Final = 5
MAX_STORED_BYTES: Final = 64 * 1024 * 1024

#: It becomes a part of a key and of a file's name.
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}", re.ASCII)

#: Where `dump_model` puts what is no array.
_META: Final = "meta.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedModel:
    """A model as it is stored."""

    version: str
    data: bytes = field(repr=False)
    #: JSON text: what `ModelStore.versions` says of it.
    summary: str


def pack(model: StoredModel, max_bytes: int) -> PackedModel:
    """Make a model ready to be stored; takes up to a second.

    Raises:
        ModelError: it is too large, its version cannot be a name, or it holds what cannot be stored.
    """
    version = check_version(model.version)
    described = {"version": version, "created_at": model.created_at.isoformat(), "metrics": dict(model.metrics)}
    try:
        data = dump_model(model)
        summary = json.dumps(described, allow_nan=False)
    except (ValueError, TypeError) as error:
        msg = f"model {version} cannot be stored: {error}"
        raise ModelError(msg) from None
    _check_size(version, len(data), max_bytes)
    return PackedModel(version=version, data=data, summary=summary)


def unpack(version: str, data: bytes, max_bytes: int) -> StoredModel:
    """The model that was stored under a version; takes up to a second.

    Raises:
        ModelError: it is too large, cannot be read, or is of another version.
    """
    _check_size(version, len(data), max_bytes)
    try:
        model = load_model(data)
    except ModelError as error:
        msg = f"model {version}: {error}"
        raise ModelError(msg) from None
    if model.version != version:
        msg = f"model {version}: it says of itself that it is {model.version[:80]!r}"
        raise ModelError(msg)
    return model


def check_version(version: str) -> str:
    """The version, once it is known to be a plain name.

    Raises:
        ModelError: it is none that a model can have.
    """
    if _VERSION.fullmatch(version) is None:
        msg = f"no model can be of version {version[:80]!r}: 1 to 64 letters, digits, dots, dashes and underscores"
        raise ModelError(msg)
    return version


def no_model(version: str) -> ModelError:
    """The error for a version that a store does not hold."""
    return ModelError(f"there is no model of version {version}; it was never stored, or newer ones took its place")


def read_summary(text: str | bytes, version: str, *, champion: str | None) -> Mapping[str, Any]:
    """A row of `ModelStore.versions`.

    Raises:
        ModelError: it cannot be read, or is of another version.
    """
    try:
        described = json.loads(text)
        row = {
            "version": str(described["version"]),
            "created_at": datetime.fromisoformat(described["created_at"]),
            "metrics": {str(name): float(value) for name, value in described["metrics"].items()},
            "champion": version == champion,
        }
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        msg = f"what is said of it cannot be read: {error}"
        raise ModelError(msg) from None
    if row["version"] != version:
        msg = f"it says of itself that it is {row['version']!r:.80}"
        raise ModelError(msg)
    return row


def read_meta(file: Path) -> bytes:
    """What a stored model says of itself, without its arrays: text for `read_summary`.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            size = archive.getinfo(_META).file_size
            if size <= MAX_MODEL_BYTES:
                return archive.read(_META)
    except SPOILT as error:
        msg = f"it cannot be read: {error}"
        raise ModelError(msg) from None
    msg = f"what it says of itself takes {size:,} bytes; at most {MAX_MODEL_BYTES:,} are read"
    raise ModelError(msg)


def _check_size(version: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        msg = f"model {version} takes {size:,} bytes or more; at most {max_bytes:,} are stored and read"
        raise ModelError(msg)
