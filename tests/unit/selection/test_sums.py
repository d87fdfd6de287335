"""What a text's n-grams add up to: the same, whether its words are remembered or not."""

import numpy as np
import pytest

from dispatcher.selection import latent as latent_module
from dispatcher.selection import sums as module
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.features import buckets, tokens
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.fusion import WORDS
from dispatcher.selection.latent import Latent
from dispatcher.selection.lexical import terms
from dispatcher.selection.loss import log_softmax
from dispatcher.selection.network import Network
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.softmax import Ngrams
from dispatcher.selection.sums import OFTEN, Sums, Table
from tests.unit.selection.making import make_cards, make_registry, trained

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


def test_words_can_be_remembered_before_any_text_is_added_up():
    sums, _, _ = make_sums()
    sums.remember(["send", "zany", "words", "send", "invoice", "an"])
    assert len(sums) == 4
    plain, _, _ = make_sums()
    for text in TEXTS:
        for own, right in zip(sums.read(tokens(text)).tables, plain.read(tokens(text)).tables, strict=True):
            assert own == pytest.approx(right, abs=1e-4)


def test_no_more_words_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(module, "MAX_CELLS", 11 * 2)  # the eight columns of the tables, and three more
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


def with_latent(snapshot: Snapshot) -> Latent:
    """Give a snapshot a latent network with weights by chance."""
    rng = np.random.default_rng(0)
    shapes = ((len(snapshot.ngrams), 4), (4, 8), (8,), (8, snapshot.size + 1), (snapshot.size + 1,))
    basis, inner, inner_bias, outer, outer_bias = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    network = Network(inner=inner, inner_bias=inner_bias, outer=outer, outer_bias=outer_bias)
    snapshot.latent = Latent(basis=basis, network=network)
    return snapshot.latent


def test_every_tier_says_what_its_own_table_says_row_by_row():
    snapshot = Snapshot(make_cards())
    latent = with_latent(snapshot)
    for text, name in (("a song of the city", "music.play"), ("rain in the city", "weather.forecast")):
        snapshot.learn(Feedback(text=text, verdict=Verdict.RIGHT, function=name))
    snapshot.set_fusion(WORDS)
    snapshot.remember_words(["a song in the city", "a song of the city"])
    for text in ("play a song in the city", "the city, the CITY and rain 12", "translate zanily", "统计一首歌"):
        reading = snapshot.read(text)
        scores, read = snapshot.score(reading), snapshot.ngrams.read(buckets(text))
        expected = {
            "ngrams": snapshot.softmax.logits(read),
            "bayes": snapshot.bayes.logits(read),
            "latent": latent.logits(read)[: snapshot.size],
        }
        familiar = min(1.0, 2 * float(read.values @ read.values))
        for tier, logits in expected.items():
            assert scores.tiers[tier] == pytest.approx(logits * familiar, abs=1e-4)
        fused = sum(snapshot.gates[tier] * logits for tier, logits in scores.tiers.items())
        assert scores.logs == pytest.approx(log_softmax(fused), abs=1e-4)


def test_a_large_latent_network_says_the_same_from_rounded_rows(monkeypatch):
    monkeypatch.setattr(latent_module, "WHOLE", 0)
    snapshot = Snapshot(make_cards())
    latent = with_latent(snapshot)
    assert latent.inner_rows.cells.dtype == np.int16
    assert latent.arrange({0: 1, 1: 0}, 2).inner_rows is latent.inner_rows
    for text in ("play a song in the city", "zanily 12"):
        reading = snapshot.read(text)
        assert reading.latent == pytest.approx(latent.logits(reading.ngrams), abs=5e-3)


def test_terms_that_are_remembered_with_their_words_say_what_the_lexicon_says():
    snapshot = Snapshot(make_cards())
    snapshot.remember_words(["play a song in the city", "count the words"])
    for text in (
        "play a song",
        "play it in the zany city",
        "count the words the words counted",
        "Count playSongs in the city",
        "song 12 of the city",
        "统计 song",
        "the " * 130 + "song",
    ):
        reading = snapshot.read(text)
        scores, most = reading.lexical
        assert scores == pytest.approx(snapshot.lexicon.scores(terms(text)), abs=1e-5)
        assert most == pytest.approx(snapshot.lexicon.most(terms(text)), abs=1e-5)
    assert snapshot.read("play a song").sum.terms is not None


def test_words_of_what_is_known_are_remembered_from_the_first_selection_on():
    selector = Cascade(make_registry(), model=trained())
    selector.select("anything at all")
    sums = selector._decider.snapshot._sums
    known = len(sums)
    assert known > 20
    selector.learn(Feedback(text="play something", verdict=Verdict.RIGHT, function="music.play"))
    selector.select("anything at all")
    assert len(sums) == 0
