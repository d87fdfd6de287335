"""Models that somebody spoilt are refused as such, whatever was done to them, and nothing in them is run."""

import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dispatcher.errors import ModelError
from dispatcher.selection.packed import pack, read_meta, read_summary, unpack
from dispatcher.selection.stored import StoredModel

VERSION = "20261125T101500Z-1a2b3c4d"
LIMIT = 1024 * 1024
META = {"version": VERSION, "created_at": "2026-11-25T10:15:00+00:00", "metrics": {}, "position": "0-0", "meta": {}}


def model() -> StoredModel:
    return StoredModel(
        version=VERSION,
        created_at=datetime(2026, 11, 25, 10, 15, tzinfo=UTC),
        metrics={"accuracy": 0.5},
        position="0-0",
        meta={"words": ["word"] * 50},
        arrays={"weights": np.random.default_rng(0).normal(size=(50, 20)), "counts": np.arange(30)},
    )


def archive(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return buffer.getvalue()


def array_head(kind: str, shape: str) -> bytes:
    """How an array file begins that claims to hold so much."""
    head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + head + b" " * (117 - len(head)) + b"\n"


class Trap:
    """Says that it was unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_in_place_of_a_model_or_of_an_array_is_not_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    trapped = pickle.dumps(Trap(mark))
    buffer = io.BytesIO()
    np.save(buffer, np.array([Trap(mark)], dtype=object), allow_pickle=True)
    meta = json.dumps(META)
    for data in (
        trapped,
        archive({"meta.json": trapped}),
        archive({"meta.json": meta, "weights.npy": trapped}),
        archive({"meta.json": meta, "weights.npy": buffer.getvalue()}),
    ):
        with pytest.raises(ModelError, match=VERSION):
            unpack(VERSION, data, LIMIT)
    assert not mark.exists()
    pickle.loads(trapped)
    assert mark.exists(), "the trap works"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"other.json": "{}"},
        {"meta.json": "[]"},
        {"meta.json": "[" * 100_000},
        {"meta.json": json.dumps(META | {"created_at": "yesterday"})},
        {"meta.json": json.dumps(META | {"metrics": {"accuracy": "good"}})},
        {"meta.json": json.dumps(META | {"version": "another"})},
        {"meta.json": json.dumps(META), "weights.npy": "no array"},
        {"meta.json": json.dumps(META), "weights.npy": array_head("<f8", f"({10**15},)")},
        {"meta.json": json.dumps(META), "weights.npy": array_head("<f8", f"({10**30},)")},
        {"meta.json": json.dumps(META), "weights.npy": array_head("<f8", "(3,)")},
    ],
)
def test_what_is_no_model_is_a_model_error(files: dict[str, str | bytes]) -> None:
    with pytest.raises(ModelError, match=f"^model {VERSION}: "):
        unpack(VERSION, archive(files), LIMIT)


def test_no_spoilt_byte_makes_any_other_error(tmp_path: Path) -> None:
    data = pack(model(), LIMIT).data
    chance = random.Random(7)
    refused = 0
    file = tmp_path / "spoilt.model"
    for _ in range(1_500):
        spoilt = bytearray(data)
        for _ in range(chance.choice([1, 2, 4])):
            spoilt[chance.choice([chance.randrange(len(data)), -chance.randrange(1, 400)])] = chance.randrange(256)
        if chance.random() < 0.2:
            del spoilt[chance.randrange(len(data)) :]
        try:
            unpack(VERSION, bytes(spoilt), LIMIT)
        except ModelError:
            refused += 1
        file.write_bytes(spoilt)
        with suppress(ModelError):
            read_summary(read_meta(file), VERSION, champion=None)
    assert refused > 1_000


def test_what_is_said_of_a_model_is_read_without_its_arrays(tmp_path: Path) -> None:
    packed = pack(model(), LIMIT)
    file = tmp_path / "good.model"
    file.write_bytes(packed.data)
    row = read_summary(packed.summary, VERSION, champion=VERSION)
    assert row == read_summary(read_meta(file), VERSION, champion=VERSION)
    assert row == {
        "version": VERSION,
        "created_at": datetime(2026, 11, 25, 10, 15, tzinfo=UTC),
        "metrics": {"accuracy": 0.5},
        "champion": True,
    }
    with pytest.raises(ModelError, match="says of itself"):
        read_summary(packed.summary, "another", champion=VERSION)
