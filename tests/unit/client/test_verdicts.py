"""From what a caller says to feedback; and who has to ask again."""

from dataclasses import replace
from typing import Any, cast

import pytest

from dispatcher import ConversationState, Decision, Selection
from dispatcher.client import verdicts
from dispatcher.client.verdicts import Opinion, RecentRequests, feedbacks_of, wrong
from dispatcher.errors import NoSelectionError, UnknownFunctionError
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.selection import Candidate
from tests.unit.client.talk import make_registry

REGISTRY = make_registry()
COUNT, WEATHER = REGISTRY.get("text.count"), REGISTRY.get("weather")
CANDIDATES = (Candidate(function="text.count", probability=0.6), Candidate(function="weather", probability=0.2))
ACTED = Selection(text="t", candidates=CANDIDATES, decision=Decision.ACT, chosen=COUNT)
ASKED = Selection(text="t", candidates=CANDIDATES, decision=Decision.ASK)
ABSTAINED = Selection(text="t", candidates=CANDIDATES, decision=Decision.ABSTAIN)


def said(selection: Selection, state: ConversationState | None = None, **opinion) -> list[tuple[str, str, str]]:
    made = feedbacks_of(selection, Opinion(**opinion), REGISTRY, state, "ann")
    return [(feedback.text, str(feedback.verdict), feedback.function) for feedback in made]


@pytest.mark.parametrize("opinion", [{}, {"right": True, "nothing": True}, {"right": False, "function": "weather"}])
def test_one_thing_is_said_at_a_time(opinion) -> None:
    with pytest.raises(ValueError, match="says one thing"):
        Opinion(**opinion)


def test_of_a_question_every_choice_is_wrong_or_one_is_right() -> None:
    asked = replace(ASKED, choices=CANDIDATES)
    assert said(asked, right=False) == [("t", "wrong", "text.count"), ("t", "wrong", "weather")]
    assert said(asked, function="weather") == [("t", "right", "weather")]
    assert said(asked, right=True) == [("t", "right", "text.count")]


@pytest.mark.parametrize("selection", [ACTED, ASKED])
def test_right_and_wrong_are_about_the_first_function(selection) -> None:
    assert said(selection, right=True) == [("t", "right", "text.count")]
    assert said(selection, right=False) == [("t", "wrong", "text.count")]


def test_the_right_function_may_be_named_or_given() -> None:
    assert said(ASKED, function="weather") == said(ABSTAINED, function=WEATHER) == [("t", "right", "weather")]
    with pytest.raises(UnknownFunctionError, match="whether"):
        said(ACTED, function="whether")
    with pytest.raises(UnknownFunctionError, match="a name is text"):
        said(ACTED, function=cast("Any", 3))


def test_no_function_may_be_right() -> None:
    assert said(ACTED, nothing=True) == said(ABSTAINED, right=True) == [("t", "nothing", "")]


def test_an_abstention_is_not_wrong_without_saying_what_would_have_been_right() -> None:
    with pytest.raises(NoSelectionError, match="function=…"):
        said(ABSTAINED, right=False)
    with pytest.raises(NoSelectionError):
        said(Selection(text="t", decision=Decision.ASK), right=True)


def test_each_part_of_a_text_that_was_told_apart_is_right() -> None:
    parts = tuple(
        Selection(text=f.name, candidates=CANDIDATES, decision=Decision.ACT, chosen=f) for f in (COUNT, WEATHER)
    )
    several = Selection(text="t", candidates=CANDIDATES, decision=Decision.SEVERAL, parts=parts)
    assert said(several, right=True) == [("text.count", "right", "text.count"), ("weather", "right", "weather")]
    assert said(several, function="weather") == [("t", "right", "weather")]


def test_the_state_and_the_source_go_with_it() -> None:
    state = ConversationState(previous_function="mail.send", topic="money", user="bob")
    (feedback,) = feedbacks_of(ACTED, Opinion(right=True), REGISTRY, state, "ann")
    assert feedback == Feedback(
        text="t",
        verdict=Verdict.RIGHT,
        function="text.count",
        source="ann",
        previous_function="mail.send",
        topic="money",
    )
    assert wrong("t", "weather", None, source="ann", weight=0.1).weight == 0.1


class TestWhoAsksAgain:
    def test_the_same_request_of_the_same_user_within_a_minute(self) -> None:
        recent = RecentRequests()
        assert recent.add("Count it", "ann", "text.count", 0) is None
        assert recent.add(" count  IT", "ann", "weather", 59) == "text.count"
        assert recent.add("count it", "ann", "weather", 119) == "weather"
        assert recent.add("count it", "ann", "weather", 180) is None

    def test_others_and_other_texts_do_not_count(self) -> None:
        recent = RecentRequests()
        recent.add("count it", "ann", "text.count", 0)
        assert recent.add("count it", "bob", "text.count", 1) is None
        assert recent.add("count them", "ann", "text.count", 1) is None
        assert recent.add("count it", None, "text.count", 1) is None
        assert recent.add("x" * 1_000, "ann", "text.count", 1) is None
        assert recent.add("x" * 1_000, "ann", "text.count", 2) is None

    def test_who_has_said_how_the_answer_was_only_asks_anew(self) -> None:
        recent = RecentRequests()
        recent.add("count it", "ann", "text.count", 0)
        recent.settle("COUNT it", "ann")
        recent.settle("never asked", "ann")
        recent.settle("count it", None)
        assert recent.add("count it", "ann", "text.count", 1) is None

    def test_memory_is_bounded(self, monkeypatch) -> None:
        monkeypatch.setattr(verdicts, "MAX_REQUESTS", 3)
        recent = RecentRequests()
        for number in range(10):
            recent.add(f"text {number}", "ann", "weather", 0)
        assert len(recent) == 3
        assert recent.add("text 0", "ann", "weather", 1) is None
        assert recent.add("text 9", "ann", "weather", 1) == "weather"
