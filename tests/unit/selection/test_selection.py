from dataclasses import FrozenInstanceError
from datetime import date
from typing import Literal

import pytest

from dispatcher.errors import InvalidArgumentsError, NoFunctionSelectedError
from dispatcher.registry.registry import Registry
from dispatcher.selection.selection import Candidate, Decision, Selection, make_candidate
from dispatcher.selection.selector import ConversationState

registry = Registry()


@registry.function(name="shout")
def shout(text: str, times: int = 1) -> str:
    return text * times


@registry.function(name="status")
def status(verbose: bool = False) -> str:
    return str(verbose)


@registry.function(name="weekday")
def weekday(day: date) -> int:
    return day.weekday()


@registry.function(name="pick")
def pick(colour: Literal["red", "blue"]) -> str:
    return colour


@registry.function(name="join")
def join(left: str, right: str) -> str:
    return left + right


def chosen(name: str, text: str) -> Selection:
    return Selection(text=text, decision=Decision.ACT, stated_reason="", chosen=registry.get(name))


@pytest.mark.parametrize(
    ("text", "argument"), [("shout: hello you", "hello you"), ("喊出来：你好", "你好"), ("hello", "hello")]
)
def test_a_function_of_one_text_is_bound_to_the_text(text, argument):
    call = chosen("shout", text).call
    assert call is not None
    assert call == shout.call(argument)


def test_a_function_that_requires_nothing_is_bound_to_nothing():
    assert chosen("status", "how are you").call == status.call()


@pytest.mark.parametrize("name", ["weekday", "pick", "join"])
def test_a_function_that_needs_more_than_the_text_has_no_call(name):
    selection = chosen(name, "red")
    assert selection.function == name
    assert selection.call is None


def test_given_arguments_are_added_to_those_of_the_text_and_win_over_them():
    assert chosen("shout", "shout: hey").bind({"times": 2}) == shout.call("hey", times=2)
    assert chosen("shout", "shout: hey").bind({"text": "ho"}) == shout.call("ho")


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(InvalidArgumentsError):
        chosen("join", "a").bind({"left": "a"})
    with pytest.raises(InvalidArgumentsError):
        chosen("shout", "hey").bind({"times": "two"})


def test_a_text_that_no_argument_can_hold_gives_no_call_and_bind_says_why():
    selection = chosen("shout", "\ud800")
    assert selection.call is None
    with pytest.raises(Exception, match="surrogate"):
        selection.bind()


def test_an_abstention_cannot_be_bound():
    selection = Selection(text="x", decision=Decision.ABSTAIN, stated_reason="nothing fits")
    assert selection.function is None
    assert selection.call is None
    with pytest.raises(NoFunctionSelectedError, match="nothing fits"):
        selection.bind({})


def test_a_state_is_frozen_hashable_and_apart_from_what_it_was_made_of():
    slots = {"city": "Oslo"}
    state = ConversationState(slots=slots)
    slots["city"] = "Lund"
    assert state.slots == {"city": "Oslo"}
    assert state == ConversationState(slots={"city": "Oslo"})
    assert hash(state) == hash(ConversationState(slots={"city": "Oslo"}))
    with pytest.raises(TypeError):
        state.slots["city"] = "Rome"


def test_a_candidate_that_is_made_the_quick_way_is_like_any_other():
    quick = make_candidate("shout", 0.5, lambda: "because")
    assert quick == Candidate(function="shout", probability=0.5)
    assert hash(quick) == hash(Candidate(function="shout", probability=0.5))
    assert (quick.why, repr(quick)) == ("because", "Candidate(function='shout', probability=0.5)")
    with pytest.raises(FrozenInstanceError):
        quick.probability = 0.6  # type: ignore[misc] # what must not work
