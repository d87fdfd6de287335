"""Hashed n-grams, and the tables that grow with them."""

import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.selection.exact import plain
from dispatcher.selection.features import BUCKETS, MAX_CHARACTERS, _read_short, buckets, hash_tokens, tokens
from dispatcher.selection.grid import Grid, Vocabulary
from dispatcher.selection.lexical import terms


@settings(deadline=None)
@given(st.text())
def test_any_text_has_features_within_bounds_and_always_the_same(text):
    found = buckets(text)
    assert found.dtype == np.int64
    assert ((found >= 0) & (found < BUCKETS)).all()
    assert (buckets(text) == found).all()


def bucket_of(feature):
    """The bucket of one word, or of two with a blank between."""
    return int(hash_tokens(feature.split())[0 if " " not in feature else 2])


def test_hashes_are_equal_in_every_process():
    code = "from dispatcher.selection.features import buckets; print(*buckets('Count the words 统计字数 12'))"
    there = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert there[0] == there[1] == " ".join(map(str, buckets("Count the words 统计字数 12"))) + "\n"


def test_case_width_and_blanks_make_no_difference():
    expected = sorted(buckets("count words"))
    assert sorted(buckets("  COUNT \n Words ")) == expected
    assert sorted(buckets("ｃｏｕｎｔ　ｗｏｒｄｓ")) == expected  # noqa: RUF001 - full-width letters


def test_which_number_it_is_says_nothing():
    assert sorted(buckets("bill 7 euros")) == sorted(buckets("bill 1234 euros"))


def test_a_word_a_pair_and_its_letters_are_features():
    text = set(buckets("count words now"))
    assert bucket_of("count") in text
    assert bucket_of("count words") in text
    assert bucket_of("count now") not in text
    assert len(text & set(buckets("counting"))) > 3  # the letters that both have


def test_what_occurs_twice_is_there_twice():
    assert list(buckets("go go")).count(bucket_of("go")) == 2


def test_each_chinese_character_is_a_word_and_no_segmenter_is_needed():
    assert tokens("统计 words 字数") == ["统", "计", "words", "字", "数"]
    shared = set(buckets("统计字数")) & set(buckets("请统计一下这段话的字数"))
    assert {bucket_of("统"), bucket_of("统 计"), bucket_of("字 数")} <= shared


@given(st.text(alphabet="abcXYZ019 _-.,'\n"))
def test_a_text_of_plain_letters_is_cut_as_any_other(text):
    assert tokens(text) == tokens(text + " é")[:-1]
    assert terms(text) == terms(text + " é")[:-1]
    assert plain(text).split() == plain(text + " é").split()[:-1]


def test_a_text_without_a_word_has_no_features():
    for text in ("", "   ", "!?…", "🎉🚀", "\x00\x01", "\ud800"):
        assert len(buckets(text)) == 0


def test_what_follows_the_beginning_of_a_long_text_is_not_read():
    head = "word " * (MAX_CHARACTERS // 5) + "  "
    assert (buckets(head + "more") == buckets(head + "other " * 200_000)).all()


def test_no_ngram_crosses_a_boundary():
    assert set(hash_tokens(["ab"])) | set(hash_tokens(["cd"])) | {bucket_of("ab cd")} == set(hash_tokens(["ab", "cd"]))


# --- tables


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), max_size=20), max_size=10), st.integers(0, 30))
def test_a_vocabulary_gives_each_bucket_one_row_up_to_its_limit(batches, limit):
    vocabulary = Vocabulary(limit)
    for batch in batches:
        vocabulary.add(np.array(batch, dtype=np.int64))
    distinct = {bucket for batch in batches for bucket in batch}
    assert len(vocabulary) == min(limit, len(distinct))
    assert len(set(vocabulary.buckets)) == len(vocabulary)
    assert list(vocabulary.rows(vocabulary.buckets)) == list(range(len(vocabulary)))
    everything = np.arange(60)
    assert set(everything[vocabulary.known(everything)]) == set(vocabulary.buckets)


def test_rows_stay_where_they_are_when_a_vocabulary_grows():
    vocabulary = Vocabulary(10_000)
    vocabulary.add(np.array([7, 3]))
    before = vocabulary.rows(np.array([3, 7])).tolist()
    vocabulary.add(np.arange(5_000))
    assert vocabulary.rows(np.array([3, 7])).tolist() == before
    assert len(vocabulary) == 5_000


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 40)), max_size=8))
def test_a_grid_keeps_what_it_holds_and_begins_as_zeros_where_it_grows(sizes):
    grid = Grid(1)
    grid.grow(1, 1)
    grid.cells[0, 0] = 5
    rows, columns = 1, 1
    for height, width in sizes:
        grid.grow(height, width)
        rows, columns = max(rows, height), max(columns, width)
        assert grid.cells.shape == (rows, columns)
        assert grid.cells[0, 0] == 5
        assert grid.cells.sum() == 5


def test_words_are_remembered_and_what_is_too_long_for_a_word_is_not():
    first = hash_tokens(["rememberedword", "x" * 33])
    held = _read_short.cache_info().currsize
    assert (hash_tokens(["rememberedword", "x" * 33]) == first).all()
    assert _read_short.cache_info().currsize == held
    hash_tokens(["y" * 500])
    assert _read_short.cache_info().currsize == held
    hash_tokens(["otherword"])
    assert _read_short.cache_info().currsize == min(held + 1, _read_short.cache_info().maxsize)


def test_a_grid_adds_once_to_a_row_that_is_there_twice():
    grid = Grid(3)
    grid.grow(4, 3)
    rows, columns = np.array([2, 0, 2]), np.array([2, 0])
    grid.add(rows, columns, np.array([[1, 2], [3, 4], [1, 2]], np.float32))
    assert grid.cells.tolist() == [[4, 0, 3], [0, 0, 0], [2, 0, 1], [0, 0, 0]]
    grid.grow(2_000, 5)
    grid.add(np.array([1_999]), np.array([4]), np.array([[7]], np.float32))
    assert grid.cells[1_999].tolist() == [0, 0, 0, 0, 7]
    assert grid.cells[:4, :3].sum() == 10


def test_a_grid_is_not_copied_before_its_room_is_used_up():
    grid = Grid(2, room=3_000)
    grid.grow(10, 2)
    cells = grid.cells
    cells[3, 1] = 5
    grid.grow(3_000, 2)
    assert np.shares_memory(cells, grid.cells)
    grid.grow(3_001, 2)
    assert not np.shares_memory(cells, grid.cells)
    assert grid.cells[3, 1] == 5


def test_few_new_features_get_a_row_each_as_long_as_there_are_any():
    vocabulary = Vocabulary(limit=4)
    vocabulary.add(np.array([7, 9]))
    assert vocabulary.add_few([5, 3, 5, 8]) == [2, 3, 2]
    assert vocabulary.rows(np.array([3, 5, 7, 8, 9])).tolist() == [3, 2, 0, 1]
    assert vocabulary.add_few([8]) == vocabulary.add_few([]) == []
    assert vocabulary.add_few([8, 9, 5]) == [1, 2]
    assert len(vocabulary) == 4
