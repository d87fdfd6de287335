"""The softmax tier: sensible before the first example, better after each."""

import time
from dataclasses import replace

import numpy as np
import pytest

from dispatcher.selection import softmax as tier
from dispatcher.selection.card import Card
from dispatcher.selection.features import buckets
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.fusion import NGRAMS, Fusion, Weight
from dispatcher.selection.judgement import gradient_of
from dispatcher.selection.scores import Scores
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.softmax import Ngrams, Softmax, document_of
from dispatcher.selection.unsaid import MOST_SURE
from tests.unit.selection.making import DESCRIPTIONS, make_cards, make_meaning

NAMES = list(DESCRIPTIONS)


def make_softmax(cards, columns: int = 10) -> Softmax:
    return Softmax(cards, Ngrams([np.unique(document_of(card)) for card in cards], columns))


def favourite(softmax: Softmax, text: str) -> str:
    return NAMES[int(softmax.logits(softmax.ngrams.read(buckets(text))).argmax())]


def probability(snapshot: Snapshot, text: str, function: str) -> float:
    return float(np.exp(snapshot.score(snapshot.read(text)).logs[snapshot.names[function]]))


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("count words", "text.count_words"),
        ("email the customer an invoice", "mail.send_invoice"),
        ("what will the weather be in the city", "weather.forecast"),
        ("translation of a sentence", "text.translate"),  # shares letters only
        ("songs", "music.play"),
    ],
)
def test_without_any_example_the_function_whose_description_shares_words_is_first(text, function):
    assert favourite(make_softmax(make_cards()), text) == function


def test_an_example_of_a_function_is_part_of_its_start():
    cards = [
        Card(name="a", description="Do one thing."),
        Card(name="b", description="Do another.", examples=("make me a sandwich",)),
    ]
    softmax = make_softmax(cards)
    assert int(softmax.logits(softmax.ngrams.read(buckets("sandwich please"))).argmax()) == 1


def test_a_text_of_unknown_words_gives_every_function_the_same():
    softmax = make_softmax(make_cards())
    logits = softmax.logits(softmax.ngrams.read(buckets("ξζψ 龘")))
    assert logits == pytest.approx(logits[0])


# --- dense and as postings


def both_layouts(monkeypatch, cards) -> tuple[Softmax, Softmax]:
    dense = make_softmax(cards)
    monkeypatch.setattr(tier, "DENSE_FUNCTIONS", 1)
    sparse = make_softmax(cards)
    assert dense._postings is None
    assert sparse._postings is not None
    return dense, sparse


TEXTS = ("count the words", "play a song and send an invoice", "weather weather weather", "ξζψ", "")


def test_both_layouts_give_the_same_logits(monkeypatch):
    monkeypatch.setattr(tier, "COMMON", 1.0)
    dense, sparse = both_layouts(monkeypatch, make_cards())
    for text in TEXTS:
        read = dense.ngrams.read(buckets(text))
        assert sparse.logits(read) == pytest.approx(dense.logits(read), abs=1e-4)
        for position in range(dense.size):
            assert sparse.shares(read, position) == pytest.approx(dense.shares(read, position), abs=1e-4)


def test_both_layouts_learn_the_same(monkeypatch):
    monkeypatch.setattr(tier, "COMMON", 1.0)
    dense, sparse = both_layouts(monkeypatch, make_cards())
    for softmax in (dense, sparse):
        for text, gradient in (
            ("put on something nice", {5: -0.9, 0: 0.4, 2: 0.5}),
            ("put on a coat", {4: -0.5, 5: 0.5}),
        ):
            softmax.meet(buckets(text))
            softmax.learn(softmax.ngrams.read(buckets(text)), gradient)
    for text in (*TEXTS, "put on something nice", "put on"):
        read = dense.ngrams.read(buckets(text))
        assert sparse.logits(read) == pytest.approx(dense.logits(read), abs=1e-4)


def test_ngrams_that_most_functions_have_are_left_out_of_a_large_registry_and_tell_nothing(monkeypatch):
    cards = [
        Card(name=f"function{chr(97 + i)}", description=f"Operates on the {word} of the customer.")
        for i, word in enumerate(("invoice", "weather", "parcel", "telephone", "garden", "kitchen"))
    ]
    monkeypatch.setattr(tier, "COMMON", 0.5)
    dense, sparse = both_layouts(monkeypatch, cards)
    common = sparse.ngrams.read(buckets("the customer"))
    assert not sparse.logits(common).any()
    assert dense.logits(common).any()
    for position, word in enumerate(("invoice", "weather", "parcel", "telephone", "garden", "kitchen")):
        text = f"the customer's {word}"
        assert int(sparse.logits(sparse.ngrams.read(buckets(text))).argmax()) == position
        assert int(dense.logits(dense.ngrams.read(buckets(text))).argmax()) == position


def test_what_was_learnt_is_loaded_by_function_into_either_layout(monkeypatch):
    dense, sparse = both_layouts(monkeypatch, make_cards())
    delta = np.zeros((len(dense.ngrams), 2), np.float32)
    read = dense.ngrams.read(buckets("weather"))
    delta[read.rows, 1] = 3
    for softmax in (dense, sparse):
        before = softmax.logits(read)
        softmax.load(delta, np.array([0, 0.5], np.float32), {1: 2})
        gained = softmax.logits(read) - before
        assert gained[2] == pytest.approx(3 * float(read.values.sum()) + 0.5, rel=1e-4)
        assert np.delete(gained, 2) == pytest.approx(0, abs=1e-5)


# --- learning


@pytest.fixture(params=["words", "meaning"])
def snapshot(request) -> Snapshot:
    return Snapshot(make_cards(), meaning=make_meaning() if request.param == "meaning" else None)


@pytest.mark.parametrize("function", NAMES)
def test_one_right_feedback_makes_a_function_likelier_for_that_text(snapshot, function):
    text = "kindly handle the usual business"
    before = probability(snapshot, text, function)
    snapshot.learn(Feedback(text=text, verdict=Verdict.RIGHT, function=function))
    assert probability(snapshot, text, function) > before


@pytest.mark.parametrize("text", ["count the words of my essay", "play a song", "kindly handle the usual business"])
def test_one_wrong_feedback_makes_the_function_that_was_selected_less_likely_for_that_text(snapshot, text):
    first = int(snapshot.score(snapshot.read(text)).fused.argmax())
    function = snapshot.cards[first].name
    before = probability(snapshot, text, function)
    snapshot.learn(Feedback(text=text, verdict=Verdict.WRONG, function=function))
    assert probability(snapshot, text, function) < before


def test_other_texts_barely_notice_a_feedback():
    snapshot = Snapshot(make_cards())
    others = [("translate this sentence", "text.translate"), ("invoice to a customer", "mail.send_invoice")]
    before = [probability(snapshot, *other) for other in others]
    snapshot.learn(Feedback(text="tunes", verdict=Verdict.RIGHT, function="music.play"))
    snapshot.learn(Feedback(text="drizzle", verdict=Verdict.WRONG, function="music.play"))
    assert [probability(snapshot, *other) for other in others] == pytest.approx(before, abs=0.05)


def test_right_and_wrong_alone_lead_to_the_right_function_in_a_few_steps(snapshot):
    text = "kindly handle the usual business"
    for _ in range(12):
        first = snapshot.cards[int(snapshot.score(snapshot.read(text)).fused.argmax())].name
        right = first == "mail.send_invoice"
        snapshot.learn(Feedback(text=text, verdict=Verdict.RIGHT if right else Verdict.WRONG, function=first))
    assert probability(snapshot, text, "mail.send_invoice") > 0.5


def test_a_feedback_of_little_weight_teaches_less():
    text, gained = "kindly handle the usual business", []
    for weight in (0.1, 1.0):
        snapshot = Snapshot(make_cards())
        before = probability(snapshot, text, "music.play")
        snapshot.learn(Feedback(text=text, verdict=Verdict.RIGHT, function="music.play", weight=weight))
        gained.append(probability(snapshot, text, "music.play") - before)
    assert 0 < gained[0] < gained[1]


def test_what_was_known_is_counted_and_moves_no_weight(snapshot):
    right = Feedback(text="play a song of an artist", verdict=Verdict.RIGHT, function="music.play")
    for _ in range(40):
        snapshot.learn(right)
    calls, table, bias = snapshot.bayes.calls.sum(), snapshot.softmax.table.copy(), snapshot.softmax.bias.copy()
    snapshot.learn(right)
    assert snapshot.bayes.calls.sum() == calls + 1
    assert (snapshot.softmax.table == table).all()
    assert (snapshot.softmax.bias == bias).all()
    snapshot.learn(replace(right, verdict=Verdict.WRONG))
    assert (snapshot.softmax.table != table).any()


@pytest.mark.parametrize(("weight", "moves"), [(0.01, False), (2.0, True)])
def test_a_tier_that_counts_next_to_nothing_learns_nothing_from_a_doubt(snapshot, weight, moves):
    snapshot.set_fusion(Fusion(weights={NGRAMS: Weight(untrained=weight, trained=weight)}))
    assert probability(snapshot, "kindly handle the usual business", "music.play") < 0.9
    bias = snapshot.softmax.bias.copy()
    snapshot.learn(Feedback(text="kindly handle the usual business", verdict=Verdict.RIGHT, function="music.play"))
    assert (snapshot.softmax.bias != bias).any() == moves


def test_a_feedback_about_a_function_that_is_not_there_teaches_nothing(snapshot):
    before = snapshot.score(snapshot.read("tunes")).fused
    snapshot.learn(Feedback(text="tunes", verdict=Verdict.RIGHT, function="gone"))
    assert (snapshot.score(snapshot.read("tunes")).fused == before).all()


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_gradient_of_a_feedback_is_what_finite_differences_say(right, position):
    logits = np.array([0.5, 1.0, -0.3, 0.1], np.float32)

    def loss(of: np.ndarray) -> float:
        p = np.exp(of.astype(np.float64))
        p /= p.sum()
        return -np.log(p[position] if right else 1 - p[position])

    gradient = gradient_of(Scores(tiers={}, fused=logits).logs, position, right=right)
    for i in range(len(logits)):
        step = np.zeros(4)
        step[i] = 1e-5
        expected = (loss(logits + step) - loss(logits - step)) / 2e-5
        assert gradient[i] == pytest.approx(expected, abs=1e-3)


def test_a_step_away_from_a_function_that_was_sure_is_bounded():
    gradient = gradient_of(Scores(tiers={}, fused=np.array([80.0, 0.0], np.float32)).logs, 0, right=False)
    assert all(np.isfinite(value) and abs(value) <= MOST_SURE / (1 - MOST_SURE) + 1 for value in gradient.values())


def test_a_step_touches_only_functions_of_some_probability():
    snapshot = Snapshot([*make_cards(), *(Card(name=f"idle.f{i}", description="Ξένος.") for i in range(1_000))])
    snapshot.learn(Feedback(text="play a song of an artist", verdict=Verdict.RIGHT, function="music.play"))
    logs = snapshot.score(snapshot.read("play a song of an artist")).logs
    logs[:] = -100
    logs[0] = 0
    assert set(gradient_of(logs, 3, right=True)) == {0, 3}


def test_a_step_costs_no_more_for_a_thousand_functions_of_no_probability():
    text = "play a song of an artist"

    def seconds(more: int) -> float:
        softmax = make_softmax(
            [*make_cards(), *(Card(name=f"idle.f{i}", description=f"Ξένος {i}.") for i in range(more))], more + 6
        )
        read = softmax.ngrams.read(buckets(text))
        took = []
        for _ in range(50):
            began = time.perf_counter()
            softmax.learn(read, {5: -0.5, 0: 0.5})
            took.append(time.perf_counter() - began)
        return min(took)

    assert seconds(1_000) < 10 * seconds(0) + 1e-4


def test_what_is_learnt_does_not_depend_on_what_was_selected_in_between():
    said = [
        Feedback(text="zany tunes", verdict=verdict, function="music.play")
        for verdict in (Verdict.RIGHT, Verdict.RIGHT, Verdict.WRONG)
    ]
    eager, idle = Snapshot(make_cards()), Snapshot(make_cards())
    for feedback in said:
        eager.score(eager.read(feedback.text))
        eager.learn(feedback)
        idle.score(idle.read("quite another text"))
        idle.learn(feedback)
    for text in ("zany tunes", "merry tunes"):
        assert eager.score(eager.read(text)).fused == pytest.approx(idle.score(idle.read(text)).fused, abs=1e-5)
    plain = Snapshot(make_cards())
    for feedback in said:
        plain.learn(feedback)
    assert plain.score(plain.read("zany tunes")).fused == pytest.approx(
        idle.score(idle.read("zany tunes")).fused, abs=1e-5
    )


def test_a_tier_that_nothing_was_known_for_counts_from_its_first_feedback_on():
    snapshot = Snapshot(make_cards())
    assert "bayes" not in snapshot.score(snapshot.read("zany tunes")).tiers
    snapshot.learn(Feedback(text="zany tunes", verdict=Verdict.RIGHT, function="music.play"))
    tiers = snapshot.score(snapshot.read("zany tunes")).tiers
    assert NAMES[int(tiers["bayes"].argmax())] == "music.play"


def test_after_a_feedback_the_tiers_weigh_as_if_all_were_weighed_anew():
    snapshot = Snapshot(make_cards())
    for text, function in (
        ("zany tunes", "music.play"),
        ("zany rain", "weather.forecast"),
        ("more tunes", "music.play"),
    ):
        snapshot.learn(Feedback(text=text, verdict=Verdict.RIGHT, function=function, weight=0.5))
    weighed = snapshot.score(snapshot.read("zany tunes")).fused
    expected = snapshot.fusion.gates(snapshot.examples)
    for name, gate in snapshot.gates.items():
        assert gate == pytest.approx(expected[name], abs=1e-6)
    snapshot.set_fusion(snapshot.fusion)
    assert weighed == pytest.approx(snapshot.score(snapshot.read("zany tunes")).fused, abs=1e-5)


def test_a_feedback_of_new_words_copies_no_table():
    snapshot = Snapshot(make_cards())
    snapshot.learn(Feedback(text="zany tunes", verdict=Verdict.RIGHT, function="music.play"))
    tables, known = (snapshot.softmax.table, snapshot.bayes.table), len(snapshot.ngrams)
    for start in range(0, 3_000, 50):
        text = " ".join(
            f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676)}q" for n in range(start, start + 50)
        )
        snapshot.learn(Feedback(text=text, verdict=Verdict.RIGHT, function="music.play"))
    assert len(snapshot.ngrams) > 4 * max(known, 1024)
    assert all(map(np.shares_memory, tables, (snapshot.softmax.table, snapshot.bayes.table)))
