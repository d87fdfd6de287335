"""A model is made from everything that was said, and takes the place of another only where it is better."""

import math
from dataclasses import replace

import pytest

from dispatcher import Registry
from dispatcher.errors import ModelError
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.evaluation import Judged, Labelled, judge, summarise
from dispatcher.selection.example import Example
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.misled import is_right
from dispatcher.selection.retraining import Score, challenge, cost_of, gather, rate
from dispatcher.selection.selection import Decision
from dispatcher.selection.thresholds import Thresholds


def make_registry() -> Registry:
    registry = Registry()

    @registry.function(aliases=["rain"], examples=["is it going to rain"])
    def weather() -> str:
        """Tell the forecast."""
        return "rain"

    @registry.function
    def mail(to: str) -> None:
        """Send a mail."""

    return registry


REGISTRY = make_registry()


def said(text: str, verdict: str, function: str = "", weight: float = 1.0, **more: str) -> Feedback:
    return Feedback(text=text, verdict=Verdict(verdict), function=function, weight=weight, **more)


def known(*feedback: Feedback, rows: tuple[Labelled, ...] = ()) -> dict[str, str | None]:
    gathered = gather(REGISTRY, rows, feedback)
    found = {example.text: example.function for example in gathered.examples}
    return found | {row.text: row.labels[0] if row.labels else None for row in gathered.held_out}


START = {"is it going to rain": "weather"}


def test_examples_come_from_the_registry_files_and_what_was_said() -> None:
    rows = (Labelled(text="a letter", labels=("mail", "weather")), Labelled(text="sing"))
    assert known(said("will it pour", "right", "weather"), said("dance", "nothing"), rows=rows) == {
        **START, "a letter": "mail", "sing": None, "will it pour": "weather", "dance": None,
    }  # fmt: skip
    sources = gather(REGISTRY, rows, [said("dance", "nothing")]).sources
    assert sources == {"registry": 1, "files": 2, "feedback": 1}


def test_the_latest_that_was_said_of_a_text_counts() -> None:
    assert known(said("x", "right", "weather"), said(" X", "right", "mail")) == {**START, " X": "mail"}
    assert known(said("x", "right", "weather"), said("x", "nothing")) == {**START, "x": None}
    assert known(said("x", "right", "weather"), said("x", "wrong", "weather")) == START
    assert known(said("x", "right", "weather"), said("x", "wrong", "mail")) == {**START, "x": "weather"}
    assert known(said("Is it going to RAIN", "wrong", "rain")) == {}


def test_a_guess_takes_no_example_away() -> None:
    assert known(said("x", "right", "weather"), said("x", "wrong", "weather", 0.1)) == {**START, "x": "weather"}


def test_aliases_count_and_functions_that_are_gone_do_not() -> None:
    assert known(said("x", "right", "rain"), said("y", "right", "gone"), said("z", "wrong", "gone")) == {
        **START, "x": "weather",
    }  # fmt: skip


def test_the_state_goes_with_an_example() -> None:
    gathered = gather(REGISTRY, (), [said(f"x{n}", "right", "weather", topic="sky") for n in range(5)])
    states = [
        example.state for example in gathered.examples if example.function and example.text != "is it going to rain"
    ]
    assert {state.topic for state in states} == {"sky"}


def test_the_same_texts_are_held_out_every_time_and_never_the_registrys_own() -> None:
    rows = [Labelled(text=f"text {n}", labels=("mail",)) for n in range(1_000)]
    first, again = gather(REGISTRY, rows, []), gather(REGISTRY, reversed([*rows, Labelled(text="more")]), [])
    held_out = {row.text for row in first.held_out}
    assert held_out == {row.text for row in again.held_out} - {"more"}
    assert 120 < len(held_out) < 180
    assert not held_out & {example.text for example in first.examples}
    assert "is it going to rain" not in held_out


TAILS = ("it", "that", "this", "the lot", "them", "all", "some", "half")


def rows(words: dict[str | None, str]) -> list[Labelled]:
    tails = [f"{a} {b}" for a in TAILS for b in ("now", "soon", "please", "again", "once", "twice")]
    return [
        Labelled(text=f"{word} {tail}", labels=() if function is None else (function,))
        for function, word in words.items()
        for tail in tails
    ]


def test_a_challenger_that_has_learnt_beats_one_that_has_not() -> None:
    gathered = gather(REGISTRY, rows({"weather": "wug", "mail": "dax", None: "blicket"}), [])
    steps: list[str] = []
    model, score = challenge(REGISTRY, gathered, progress=steps.append)
    untrained = rate(REGISTRY, None, gathered.held_out, meaning=None)
    assert score.beats(untrained)
    assert not untrained.beats(score)
    assert not score.beats(score)
    assert score.accuracy > 0.8
    assert model.metrics["held_out_accuracy"] == score.accuracy
    assert model.metrics["held_out"] == len(gathered.held_out)
    assert steps[-1] == "comparing on what was held out"


def test_a_challenger_learns_the_validation_texts_too_but_never_one_that_was_held_out() -> None:
    gathered = gather(REGISTRY, rows({"weather": "wug", "mail": "dax", None: "blicket"}), [])
    told = [Example(text=f"quux {number}", function="mail") for number in range(12)]
    held = [Example(text=row.text.upper(), function=row.labels[0]) for row in gathered.held_out if row.labels]
    model, _ = challenge(REGISTRY, gathered, validation=[*told, *held])
    assert {example.text for example in told} & set(model.examples.texts)
    assert not {example.text for example in held} & set(model.examples.texts)
    learnt = [example for example in gathered.examples if example.function]
    assert model.calls.sum() == len(learnt) + len(told)


def make_score(*judged: Judged) -> Score:
    losses = [-math.log(max(0.001, row.probabilities[0] if row.first_is_right else 0.0)) for row in judged]
    return Score(
        accuracy=sum(map(is_right, judged)) / len(judged),
        loss=sum(losses) / len(judged),
        cost=sum(map(cost_of, judged)) / len(judged),
        evaluation=summarise(judged),
    )


def make_judged(first: str, probability: float, decision: str = "act", *, right: str | None = "mail") -> Judged:
    called = (first,) if decision == "act" else ()
    return Judged(
        text="x",
        expected=right,
        ranked=(first,),
        probabilities=(probability,),
        decision=Decision(decision),
        calls=called,
        choices=(first,) if decision == "ask" else (),
    )


@pytest.mark.parametrize(
    ("judged", "cost"),
    [
        (make_judged("mail", 0.9), 0),
        (make_judged("weather", 0.9), 3),
        (make_judged("mail", 0.4, "ask"), 1),
        (make_judged("weather", 0.4, "ask"), 2),
        (make_judged("mail", 0.2, "abstain"), 2),
        (make_judged("mail", 0.2, "abstain", right=None), 0),
        (make_judged("mail", 0.4, "ask", right=None), 1),
        (make_judged("mail", 0.9, right=None), 3),
    ],
)
def test_a_wrong_call_costs_most_and_a_question_least(judged, cost) -> None:
    assert cost_of(judged) == cost


def test_a_question_helps_where_the_right_one_is_among_the_choices_that_the_user_is_given() -> None:
    ranked, probabilities = ("weather", "mail", "sing", "dance"), (0.3, 0.2, 0.2, 0.2)
    asked = replace(make_judged("weather", 0.3, "ask"), ranked=ranked, probabilities=probabilities)
    assert cost_of(replace(asked, choices=("weather", "sing", "mail"))) == 1
    assert cost_of(replace(asked, choices=("weather",))) == 2
    assert cost_of(replace(asked, decision=Decision.ABSTAIN, choices=("mail",))) == 2


def test_what_a_question_costs_goes_by_what_a_selector_really_asks() -> None:
    """A candidate of next to no probability is the second, and is not asked about."""
    told = Registry()
    for name in ("archive", "delete"):
        told.function(name=name, examples=[f"{name} {what}" for what in ("this", "all mail", "the letter")])(
            lambda: None
        )
    selector = Cascade(told, thresholds=Thresholds(act_at=0.99, ask_at=0.01, together_at=0.0))
    (judged,) = judge(selector, [Labelled(text="archive my mail", labels=("delete",))])
    assert judged.decision is Decision.ASK
    assert judged.found_in(2)
    assert judged.choices == ("archive",)
    assert cost_of(judged) == 2


def test_one_text_more_does_not_outweigh_probabilities_that_are_untrue() -> None:
    unsure = [make_judged("mail", 0.4, "ask")] * 8
    true = make_score(*[make_judged("mail", 0.9)] * 90, *unsure, *[make_judged("weather", 0.4, "ask")] * 2)
    bold = make_score(*[make_judged("mail", 0.99)] * 93, *[make_judged("weather", 0.99)] * 7)
    lying = make_score(*[make_judged("mail", 0.3)] * 99, make_judged("weather", 0.3))
    assert lying.accuracy > true.accuracy > bold.accuracy
    assert true.beats(bold)
    assert true.beats(lying)


def test_as_many_texts_told_with_fewer_questions_are_better() -> None:
    asks = make_score(*[make_judged("mail", 0.6, "ask")] * 50, *[make_judged("mail", 0.6)] * 50)
    acts = make_score(*[make_judged("mail", 0.6)] * 100)
    assert acts.accuracy == asks.accuracy
    assert acts.beats(asks)
    assert not asks.beats(acts)


def test_what_differs_by_rounding_is_no_better() -> None:
    one = make_score(*[make_judged("mail", 0.801)] * 20, make_judged("weather", 0.9))
    other = make_score(*[make_judged("mail", 0.8)] * 20, make_judged("weather", 0.9))
    assert one.loss < other.loss
    assert not one.beats(other)
    perfect = make_score(make_judged("mail", 1.0))
    assert not perfect.beats(perfect)


def test_one_that_was_taught_the_wrong_things_does_not() -> None:
    true = rows({"weather": "wug", "mail": "dax", None: "blicket"})
    gathered = gather(REGISTRY, true, [])
    _, good = challenge(REGISTRY, gathered)
    lies = gather(REGISTRY, rows({"mail": "wug", "weather": "dax", None: "blicket"}), [])
    model, _ = challenge(REGISTRY, lies)
    assert not rate(REGISTRY, model, gathered.held_out, meaning=None).beats(good)


def test_too_little_to_learn_from_is_told_with_how_much_is_needed() -> None:
    with pytest.raises(ModelError, match=r"0 texts beside the registry's own examples .* about 67 labelled texts"):
        challenge(REGISTRY, gather(REGISTRY, (), ()))
    nothing = gather(Registry(), [Labelled(text=f"text {n}") for n in range(200)], [])
    with pytest.raises(ModelError, match="no example of any registered function"):
        challenge(Registry(), nothing)
