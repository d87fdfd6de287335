"""Why a function came where it came."""

import numpy as np
import pytest

from dispatcher.selection import explanation
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.rules import KeywordRule
from dispatcher.selection.snapshot import Snapshot
from tests.unit.selection.making import add, make_cards, make_meaning, make_registry, trained


def test_it_names_the_words_of_the_text_as_they_were_written():
    why = Cascade(make_registry()).select("Counting WORDS, please").candidates[0].why
    assert "counting" in why
    assert "words" in why
    assert "please" not in why


@pytest.mark.parametrize("with_meaning", [False, True])
@pytest.mark.parametrize("with_model", [False, True])
@pytest.mark.parametrize("text", ["count the words of a text", "weather and songs", "zyx", "字数"])
def test_every_candidate_has_one(with_meaning, with_model, text):
    cascade = Cascade(
        make_registry(),
        meaning=make_meaning() if with_meaning else None,
        model=trained(with_meaning=with_meaning) if with_model else None,
    )
    selection = cascade.select(text)
    assert len(selection.candidates) == 6
    assert all(candidate.why for candidate in selection.candidates)
    assert selection.reason


def test_it_shows_the_example_that_was_most_alike():
    registry = make_registry()
    add(registry, "food.order", "Order food.", examples=("bring me a large pizza", "i am hungry"))
    evidence = Cascade(registry, meaning=make_meaning()).explain("bring me one large pizza now")["food.order"]
    assert "like “bring me a large pizza”" in [each.detail for each in evidence]


def test_it_says_how_often_a_function_was_asked_for():
    cascade = Cascade(make_registry())
    for _ in range(3):
        cascade.learn(Feedback(text="zany tunes", verdict=Verdict.RIGHT, function="music.play"))
    details = [evidence.detail for evidence in cascade.explain("merry tunes")["music.play"]]
    assert "asked for 3 times before" in details


def test_it_says_which_words_were_learnt():
    cascade = Cascade(make_registry())
    for _ in range(5):
        cascade.learn(Feedback(text="zany tunes", verdict=Verdict.RIGHT, function="music.play"))
    candidates = {candidate.function: candidate for candidate in cascade.select("another zany request").candidates}
    assert "zany" in candidates["music.play"].why


def test_it_says_which_rule_spoke():
    cascade = Cascade(make_registry(), [KeywordRule(function="music.play", any_of=("zephyr",), weight=9.0)])
    assert "zephyr" in cascade.select("a zephyr").candidates[0].why


def test_it_costs_nothing_until_it_is_asked_for(monkeypatch):
    asked = []
    plain = explanation.explain
    monkeypatch.setattr(explanation, "explain", lambda *parts: asked.append(1) or plain(*parts))
    selection = Cascade(make_registry()).select("count the words of a text")
    assert selection.function == "text.count_words"
    assert asked == []
    assert selection.reason
    assert asked == [1]


def test_the_evidence_is_ranked_and_adds_up_to_what_tells_two_functions_apart():
    snapshot = Snapshot(make_cards())
    reading = snapshot.read("count the words of a song")
    scores = snapshot.score(reading)
    first, second = np.argsort(-scores.fused)[:2]
    weights = {}
    for position in (first, second):
        evidence = explanation.explain(snapshot, reading, scores, int(position))
        assert [e.weight for e in evidence] == sorted((e.weight for e in evidence), reverse=True)
        weights[position] = sum(e.weight for e in evidence)
    assert weights[first] > weights[second]


def test_explaining_ranks_the_functions_as_selecting_does():
    cascade, text = Cascade(make_registry()), "count the words of a song"
    assert list(cascade.explain(text)) == [candidate.function for candidate in cascade.select(text).candidates]
