import multiprocessing

import numpy as np
import pytest

from dispatcher.errors import ModelError
from dispatcher.selection.encoders import CachedEncoder
from dispatcher.selection.encoders.encoder import encode_distinct


class Counting:
    """Remembers what it was asked."""

    dimension = 8

    def __init__(self, name="counting/1"):
        self.name = name
        self.asked = []

    def encode(self, texts):
        self.asked.extend(texts)
        return encode_distinct(
            texts,
            self.dimension,
            lambda given: np.array([np.arange(8) + len(text) + ord(text[0]) for text in given], dtype=np.float32),
        )


TEXTS = ["one", "two", "", "three", "one", "\ud800", "四"]


def test_vectors_are_those_of_the_encoder_and_are_asked_for_once(tmp_path):
    counting = Counting()
    expected = Counting().encode(TEXTS)
    with CachedEncoder(counting, tmp_path) as cached:
        assert (cached.name, cached.dimension) == (counting.name, counting.dimension)
        assert np.array_equal(cached.encode(TEXTS), expected)
        assert np.array_equal(cached.encode(TEXTS), expected)
    assert sorted(counting.asked) == sorted(set(TEXTS))


def test_they_outlive_the_process(tmp_path):
    with CachedEncoder(Counting(), tmp_path) as cached:
        expected = cached.encode(TEXTS)
    later = Counting()
    assert np.array_equal(CachedEncoder(later, tmp_path).encode(TEXTS), expected)
    assert later.asked == []


def test_encoders_do_not_share_vectors(tmp_path):
    with CachedEncoder(Counting(), tmp_path) as cached:
        cached.encode(TEXTS)
    other = Counting("counting/2")
    CachedEncoder(other, tmp_path).encode(TEXTS)
    assert set(other.asked) == set(TEXTS)


def test_many_small_batches_make_few_files(tmp_path):
    with CachedEncoder(Counting(), tmp_path) as cached:
        for i in range(1200):
            cached.encode([f"text {i}"])
    assert len(list(tmp_path.rglob("*.npy"))) == 3
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".part"] == []


def test_the_folder_stays_within_its_bound_and_the_newest_are_kept(tmp_path):
    for start in range(0, 5000, 500):
        with CachedEncoder(Counting(), tmp_path, max_bytes=100_000) as cached:
            cached.encode([f"text {i}" for i in range(start, start + 500)])
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.npy")) <= 100_000
    later = Counting()
    cached = CachedEncoder(later, tmp_path)
    cached.encode([f"text {i}" for i in range(4500, 5000)])
    assert later.asked == []


def test_what_another_process_removes_stays_readable(tmp_path):
    with CachedEncoder(Counting(), tmp_path) as cached:
        expected = cached.encode(TEXTS)
    for path in tmp_path.rglob("*.npy"):
        path.unlink()
    assert np.array_equal(cached.encode(TEXTS), expected)


def _fill(folder, start):
    for first in range(start, start + 300, 30):
        with CachedEncoder(Counting(), folder, max_bytes=20_000) as cached:
            cached.encode([f"text {i}" for i in range(first, first + 60)])


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # since 3.12
def test_processes_may_share_a_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_fill, args=(tmp_path, start)) for start in (0, 100, 200)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    texts = [f"text {i}" for i in range(600)]
    assert np.array_equal(CachedEncoder(Counting(), tmp_path).encode(texts), Counting().encode(texts))


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "pickle", "other"])
def test_a_file_that_is_no_table_is_named(tmp_path, damage):
    with CachedEncoder(Counting(), tmp_path) as cached:
        cached.encode(TEXTS)
    (path,) = tmp_path.rglob("*.npy")
    whole = path.read_bytes()
    if damage == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    elif damage == "other":
        np.save(path, np.zeros(3))
    else:
        path.write_bytes({"text": b"hello", "empty": b"", "cut": whole[:-9]}[damage])
    with pytest.raises(ModelError, match=path.name):
        CachedEncoder(Counting(), tmp_path)


def test_vectors_stay_known_where_their_file_is_removed_as_soon_as_it_is_there(tmp_path, monkeypatch):
    cached = CachedEncoder(Counting(), tmp_path)
    expected = cached.encode(TEXTS)
    monkeypatch.setattr(cached, "_read", lambda path: path.unlink() is not None)
    cached.flush()
    assert np.array_equal(cached.encode(TEXTS), expected)


def test_one_text_is_no_sequence_of_texts(tmp_path):
    with pytest.raises(TypeError, match="put it in a list"):
        CachedEncoder(Counting(), tmp_path).encode("one")


def test_a_failed_encode_keeps_what_was_there(tmp_path, monkeypatch):
    counting = Counting()
    with CachedEncoder(counting, tmp_path) as cached:
        cached.encode(["one"])
        monkeypatch.setattr(counting, "encode", lambda texts: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cached.encode(["two"])
        assert cached.encode(["one"]).any()
