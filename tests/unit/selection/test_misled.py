"""One source alone cannot have a new model send to its function what others say means another."""

import pytest

from dispatcher import Registry
from dispatcher.errors import ModelError
from dispatcher.selection import retraining
from dispatcher.selection.evaluation import Judged, Labelled
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.misled import Lessons, confirmed, find_misleader
from dispatcher.selection.retraining import challenge_fairly
from dispatcher.selection.selection import Decision

TAILS = [
    f"{a} {b}"
    for a in ("it", "that", "this", "them", "all", "some", "the lot")
    for b in ("now", "soon", "once", "twice", "please", "again")
]


def make_registry() -> Registry:
    registry = Registry()

    @registry.function(name="orders.list", examples=["show what was ordered"])
    def orders() -> None:
        """List orders."""

    @registry.function(name="data.delete")
    def delete() -> None:
        """Delete data."""

    return registry


REGISTRY = make_registry()
ROWS = [
    Labelled(text=f"{word} {tail} 7", labels=labels)
    for word, labels in (("wug", ("orders.list",)), ("dax", ("data.delete",)), ("blicket", ()))
    for tail in TAILS
]


def said(text: str, function: str, source: str, verdict: Verdict = Verdict.RIGHT) -> Feedback:
    return Feedback(text=text, verdict=verdict, function=function, source=source)


def flood(source: str, times: int = 120) -> list[Feedback]:
    """Texts like those that files say mean another function, each with another number."""
    return [said(f"wug {TAILS[n % len(TAILS)]} {n + 100}", "data.delete", source) for n in range(times)]


def train(feedback: list[Feedback], champion=None):
    return challenge_fairly(REGISTRY, ROWS, feedback, champion)


@pytest.fixture(scope="module")
def champion():
    return train([]).model


def test_what_one_source_floods_the_log_with_is_left_out(champion) -> None:
    honest = [said(f"blip {tail}", "orders.list", f"user {n}") for n, tail in enumerate(TAILS)]
    made = train([*honest, *flood("mallory")], champion)
    assert made.left_out == ("mallory",)
    assert made.gathered.sources["feedback"] == len(honest)
    assert made.score.accuracy > 0.8


def test_one_source_that_contradicts_nobody_is_heard(champion) -> None:
    made = train([said(f"blip {tail}", "orders.list", "ann") for tail in TAILS], champion)
    assert made.left_out == ()
    assert made.gathered.sources["feedback"] == len(TAILS)


def test_where_too_many_mislead_nothing_is_made_and_they_are_named(champion, monkeypatch) -> None:
    monkeypatch.setattr(retraining, "MAX_LEFT_OUT", 0)
    with pytest.raises(ModelError, match="'mallory' said makes a model worse"):
        train(flood("mallory"), champion)


def test_of_one_source_fewer_texts_count_than_must_be_lost() -> None:
    asked = confirmed(REGISTRY, ROWS[:5], flood("mallory"))
    assert sum(one.source == "mallory" for one in asked) == 2
    assert sum(not one.source for one in asked) == 6


def judged(row: Labelled, predicted: str) -> Judged:
    return Judged(
        text=row.text,
        expected=row.labels[0],
        ranked=(predicted,),
        probabilities=(1.0,),
        decision=Decision.ACT,
        calls=(predicted,),
    )


@pytest.mark.parametrize(
    ("sources", "expected"),
    [(["mallory"] * 60, "mallory"), ([f"user {n}" for n in range(60)], None)],
)
def test_only_what_one_source_taught_alone_is_held_against_it(sources, expected) -> None:
    asked = confirmed(REGISTRY, ROWS[: len(TAILS)], [])
    feedback = [said(f"wug {TAILS[n % len(TAILS)]} x{n}", "data.delete", source) for n, source in enumerate(sources)]
    before = [judged(one.row, "orders.list") for one in asked]
    after = [judged(one.row, "data.delete") for one in asked]
    assert find_misleader(asked, before, after, Lessons(REGISTRY, ROWS, feedback)) == expected
    assert find_misleader(asked, after, after, Lessons(REGISTRY, ROWS, feedback)) is None
