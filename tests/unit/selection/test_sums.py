"""What a text's n-grams add up to: the same, whether its words are remembered or not."""

import numpy as np
import pytest

from dispatcher.selection import sums as module
from dispatcher.selection.features import buckets, tokens
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.softmax import Ngrams
from dispatcher.selection.sums import OFTEN, Sums, Table
from tests.unit.selection.making import make_cards

TEXTS = ["count the words of a text", "send an invoice", "the words the words", "统计这段文字的字数", "zany 12", "!?"]


def make_sums(*, rows: int | None = None) -> tuple[Sums, Ngrams, list[Table]]:
    """Over the n-grams of all but the last texts; the second table has fewer rows where that is said."""
    ngrams = Ngrams([np.unique(buckets(text)) for text in TEXTS[:4]], 10)
    rng = np.random.default_rng(0)
    cells = [rng.standard_normal((len(ngrams), columns)).astype(np.float32) for columns in (3, 5)]
    tables = [Table(cells[0], by_idf=True), Table(cells[1][:rows], by_idf=False)]
    sums = Sums(ngrams)
    sums.use(tables)
    return sums, ngrams, tables


@pytest.mark.parametrize("rows", [None, 40])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_adds_up_to_the_same_before_and_after_its_words_are_remembered(text, rows):
    sums, ngrams, tables = make_sums(rows=rows)
    places, idf, unknown = ngrams.look_up(buckets(text))
    inside = places < len(tables[1].cells)
    expected = [idf @ tables[0].cells[places], tables[1].cells[places[inside]].sum(axis=0)]
    read = ngrams.read(buckets(text))
    for _ in range(OFTEN + len(tokens(text)) + 2):
        found = sums.read(tokens(text))
        for own, right in zip(found.tables, expected, strict=True):
            assert own == pytest.approx(right, abs=1e-4)
        assert found.count == len(places)
        assert sorted(found.unknown) == sorted(unknown)
        assert found.met == pytest.approx(float(read.values @ read.values), abs=1e-6)
        again = found.read()
        assert sorted(again.rows) == sorted(read.rows)
        assert float(again.values.sum()) == pytest.approx(float(read.values.sum()), abs=1e-4)
    known = [word for word in set(tokens(text)) if not len(ngrams.look_up(buckets(word))[2])]
    assert len(sums) == len(known)


def test_a_word_is_remembered_from_its_fourth_text_on_one_in_each_text():
    sums, _, _ = make_sums()
    grown = []
    for _ in range(OFTEN + 3):
        sums.read(tokens("send an invoice"))
        grown.append(len(sums))
    assert grown == [0] * (OFTEN - 1) + [1, 2, 3, 3]


def test_other_tables_are_added_up_anew():
    sums, _, tables = make_sums()
    for _ in range(OFTEN + 3):
        before = sums.read(tokens("send an invoice")).tables[0]
    sums.use([Table(tables[0].cells * 2, by_idf=True)])
    assert len(sums) == 0
    (after,) = sums.read(tokens("send an invoice")).tables
    assert after == pytest.approx(before * 2, abs=1e-4)


def test_no_more_words_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(module, "MAX_CELLS", 8 * 2)
    sums, _, _ = make_sums()
    for _ in range(3 * OFTEN):
        for text in TEXTS[:4]:
            sums.read(tokens(text))
            assert len(sums) <= 2
    assert len(sums) == 2


def test_no_more_words_are_counted_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(module, "MAX_COUNTED", 5)
    sums, _, _ = make_sums()
    for number in range(100):
        sums.read([f"word{number}", "another"])
        assert len(sums._counts) <= 5


def test_what_was_remembered_is_forgotten_when_anything_is_learnt():
    busy, idle = Snapshot(make_cards()), Snapshot(make_cards())
    text = "play a song in the city"
    for snapshot, before in ((busy, 3 * OFTEN), (idle, 0)):
        for verdict in (Verdict.RIGHT, Verdict.WRONG):
            for _ in range(before):
                snapshot.score(snapshot.read(text))
            snapshot.learn(Feedback(text="a song of the city", verdict=verdict, function="music.play"))
    assert busy.score(busy.read(text)).fused == pytest.approx(idle.score(idle.read(text)).fused, abs=1e-4)
