"""Evaluating a selector, with numbers worked out by hand."""

import pytest

from dispatcher import KeywordSelector, Registry
from dispatcher.selection.evaluation import (
    Confusion,
    Judged,
    Labelled,
    evaluate,
    judge,
    judge_one,
    summarise,
)
from dispatcher.selection.selection import Candidate, Decision, Selection
from dispatcher.testing import FakeClock

ACT, SEVERAL, ASK, ABSTAIN = Decision.ACT, Decision.SEVERAL, Decision.ASK, Decision.ABSTAIN


def judged(expected, ranked, decision=ACT, *, in_scope=1.0, accepted=(), calls=None, seconds=0.0) -> Judged:
    """A judged text; `ranked` holds names and probabilities."""
    names = tuple(ranked)
    if calls is None:
        calls = names[:1] if decision is ACT else ()
    return Judged(
        text="…",
        expected=expected,
        accepted=frozenset(accepted),
        ranked=names,
        probabilities=tuple(ranked.values()),
        in_scope=in_scope,
        decision=decision,
        calls=tuple(calls),
        seconds=seconds,
    )


ROWS = (
    judged("a", {"a": 0.8, "b": 0.1}, in_scope=0.9, seconds=0.001),
    judged("a", {"b": 0.6, "a": 0.3}, in_scope=0.9, seconds=0.002),
    judged("b", {"b": 0.4, "a": 0.3}, ASK, in_scope=0.8, seconds=0.003),
    judged("b", {"c": 0.2, "a": 0.15, "b": 0.05}, ABSTAIN, in_scope=0.5, seconds=0.004),
    judged(None, {}, ABSTAIN, in_scope=0.1, seconds=0.005),
    judged(None, {"a": 0.3}, ASK, in_scope=0.5, seconds=0.006),
    judged(None, {"c": 0.7}, ACT, in_scope=0.8, seconds=0.007),
)


@pytest.fixture(scope="module")
def evaluation():
    return summarise(ROWS)


def test_rows_and_decisions_are_counted_in_scope_and_out_of_it(evaluation) -> None:
    assert evaluation.rows == 7
    assert evaluation.decisions_in_scope == {ACT: 2, SEVERAL: 0, ASK: 1, ABSTAIN: 1}
    assert evaluation.decisions_out_of_scope == {ACT: 1, SEVERAL: 0, ASK: 1, ABSTAIN: 1}


def test_accuracy_looks_at_the_first_candidate_whatever_was_decided(evaluation) -> None:
    assert (evaluation.accuracy.hits, evaluation.accuracy.rows) == (2, 4)


def test_recall_is_taken_only_where_so_many_candidates_are_given(evaluation) -> None:
    assert {k: share.hits for k, share in evaluation.recall_at.items()} == {1: 2, 3: 4}
    ten = judged("j", dict.fromkeys("abcdefghij", 0.1))
    assert {k: share.value for k, share in summarise([ten]).recall_at.items()} == {1: 0, 3: 0, 5: 0, 10: 1}
    assert summarise([judged("a", {}, ABSTAIN)]).recall_at[1].value == 0


def test_calls_are_right_only_where_nobody_is_asked(evaluation) -> None:
    assert (evaluation.accuracy_of_calls.hits, evaluation.accuracy_of_calls.rows) == (1, 4)
    assert (evaluation.precision_of_calls.hits, evaluation.precision_of_calls.rows) == (1, 3)


def test_out_of_scope_only_abstaining_counts_and_asking_is_told_apart(evaluation) -> None:
    assert (evaluation.out_of_scope_recall.hits, evaluation.out_of_scope_recall.rows) == (1, 3)
    assert (evaluation.out_of_scope_asked.hits, evaluation.out_of_scope_asked.rows) == (1, 3)


def test_scope_is_told_by_in_scope(evaluation) -> None:
    # In scope .9 .9 .8 .5, out of it .1 .5 .8: of twelve pairs nine are right, two are ties, and .5 < .8 is wrong.
    assert evaluation.scope.auroc == pytest.approx((9 + 2 / 2) / 12)


def test_calibration_in_scope_is_of_the_probability_given_that_a_function_is_meant(evaluation) -> None:
    # .8/.9 right, .6/.9 wrong, .4/.8 right, .2/.5 wrong: each in a bin of its own.
    gaps = [1 - 0.8 / 0.9, 0.6 / 0.9, 0.5, 0.4]
    assert evaluation.calibration_given_scope.ece == pytest.approx(sum(gaps) / 4)


def test_plain_calibration_is_of_all_rows_and_never_right_out_of_scope(evaluation) -> None:
    # .8 right, .6 wrong, .4 right, .2 wrong; out of scope nothing said, .3 and .7 wrong. .6 lies in the bin to .6.
    gaps = [0.2, 0.6, 0.6, 0.2, 0, 0.3, 0.7]
    assert evaluation.calibration.ece == pytest.approx(sum(gaps) / 7)
    assert sum(b.rows for b in evaluation.calibration.bins) == 7


@pytest.mark.parametrize(("probability", "in_scope", "said"), [(0.5, 0.4, 1), (0.5, 0, 1), (0, 0, 0)])
def test_a_probability_above_in_scope_is_as_sure_as_can_be(probability, in_scope, said) -> None:
    made = summarise([judged("a", {"a": probability}, in_scope=in_scope)]).calibration_given_scope
    assert made.ece == 1 - said


def test_confusions_name_what_a_text_is_taken_for_the_most_frequent_first(evaluation) -> None:
    # Asking counts as its first candidate: the second row out of scope is taken for a.
    assert evaluation.confusions == (
        Confusion(expected="a", predicted="b", rows=1),
        Confusion(expected="b", predicted=None, rows=1),
        Confusion(expected=None, predicted="a", rows=1),
        Confusion(expected=None, predicted="c", rows=1),
    )
    assert summarise([*ROWS, ROWS[6]]).confusions[0] == Confusion(expected=None, predicted="c", rows=2)


def test_each_class_has_its_recall_and_precision(evaluation) -> None:
    shown = {
        score.function: (score.recall.hits, score.recall.rows, score.precision.rows) for score in evaluation.classes
    }
    assert shown == {"a": (1, 2, 2), "b": (1, 2, 2), "c": (0, 0, 1), None: (1, 3, 2)}
    assert [score.function for score in evaluation.classes] == ["a", "b", "c", None]
    assert [score.f1 for score in evaluation.classes] == pytest.approx([0.5, 0.5, 0, 0.4])


def test_latency_is_over_all_rows(evaluation) -> None:
    assert evaluation.latency.p50_ms == pytest.approx(4)


def test_any_of_several_right_functions_is_right_and_confuses_nothing() -> None:
    made = summarise([judged("a", {"b": 0.9, "a": 0.1}, accepted={"a", "b"})])
    assert (made.accuracy.value, made.accuracy_of_calls.value, made.confusions) == (1, 1, ())
    assert [score.function for score in made.classes] == ["b"]


def test_several_calls_are_right_where_each_is() -> None:
    both = judged("a", {"a": 0.5, "b": 0.5}, SEVERAL, accepted={"a", "b"}, calls=("a", "b"))
    one = judged("a", {"a": 0.5, "b": 0.5}, SEVERAL, calls=("a", "b"))
    assert both.calls_are_right
    assert not one.calls_are_right
    assert summarise([one]).confusions == (Confusion(expected="a", predicted="b", rows=1),)


def test_no_rows_are_no_error() -> None:
    made = summarise([])
    assert (made.rows, made.accuracy.value, made.scope, made.calibration, made.latency) == (0, None, None, None, None)
    assert made.classes == made.confusions == ()


def test_records_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="1 candidates with 0 probabilities"):
        Judged(text="", expected=None, ranked=("a",), decision=ACT)
    with pytest.raises(ValueError, match="functions are accepted where none is expected: a"):
        Judged(text="", expected=None, accepted=frozenset("a"), decision=ACT)


class Slow:
    """Takes a second longer for each text, and five minutes for the first."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.texts: list[str] = []

    def select(self, text, state=None, *, only=None) -> Selection:
        self.clock.advance(len(self.texts) if self.texts else 300)
        self.texts.append(text)
        return Selection(text=text, candidates=(Candidate(function="a", probability=0.5),), decision=ASK)


def test_each_selection_is_timed_and_what_the_first_one_loads_is_not() -> None:
    clock = FakeClock()
    selector, steps = Slow(clock), []
    rows = judge(
        selector,
        [Labelled(text="x", labels=("a",)), Labelled(text="y")],
        clock=clock,
        progress=lambda: steps.append(len(selector.texts)),
    )
    assert [row.seconds for row in rows] == [1, 2]
    assert [row.text for row in rows] == ["x", "y"]
    assert steps == [2, 3]


def test_what_a_selector_says_is_put_beside_the_label() -> None:
    parts = tuple(_acting(name) for name in "ab")
    several = Selection(text="both", decision=SEVERAL, parts=parts, in_scope=0.7)
    row = judge_one(Labelled(text="both", labels=("a", "b")), several, seconds=2.0)
    assert (row.expected, row.accepted, row.calls) == ("a", {"a", "b"}, ("a", "b"))
    assert (row.decision, row.in_scope, row.seconds) == (SEVERAL, 0.7, 2.0)


def _acting(name: str) -> Selection:
    registry = Registry()

    @registry.function(name=name)
    def function() -> None:
        """Do it."""

    return Selection(text=name, decision=ACT, chosen=function)


def test_a_real_selector_is_evaluated() -> None:
    registry = Registry()

    @registry.function(examples=["what does the tea cost", "price of milk"])
    def price(item: str) -> float:
        """Say what something costs."""
        return 1.0

    made = evaluate(
        KeywordSelector(registry),
        [Labelled(text="price of milk", labels=("price",)), Labelled(text="zzz")],
    )
    assert (made.accuracy.value, made.accuracy_of_calls.value, made.out_of_scope_recall.value) == (1, 1, 1)
    assert made.latency.p50_ms > 0
