"""What a selector reads of a function, what it answers, and what it is told."""

from datetime import date
from typing import Literal

import pytest

from dispatcher.registry.registry import Registry
from dispatcher.selection import card as card_module
from dispatcher.selection.card import Card, card_of, cards_of
from dispatcher.selection.feedback import Feedback, MemoryFeedbackLog, Verdict
from dispatcher.selection.responses import DEFAULT_RESPONSES, Responses, question
from dispatcher.selection.words import MAX_TEXT_CHARACTERS
from tests.unit.selection.making import add


def make_card(function, **options) -> Card:
    registry = Registry()
    registry.function(**options)(function)
    return card_of(next(iter(registry)))


# --- cards


def test_a_card_holds_everything_that_a_function_says_about_itself():
    def send(to: str, copies: int = 1) -> None:
        """Send a letter.

        Args:
            to: who gets it.
        """

    card = make_card(send, name="mail.send", aliases=("post",), tags={"b", "a"}, examples=("write to Ann",))
    assert card.names == ("mail.send", "post")
    assert card.description.startswith("Send a letter.")
    assert card.parameters == (("to", "who gets it."), ("copies", ""))
    assert card.tags == ("a", "b")
    assert card.examples == ("write to Ann",)


def test_numbers_are_counted_where_they_are_required_and_seen_where_they_may_be():
    def area(base: float, height: int, unit: str, digits: int = 2) -> None: ...
    def scale(factor: float | None = None) -> None: ...
    def mean(values: list[float]) -> None: ...
    def shout(text: str) -> None: ...

    assert [make_card(f).numbers for f in (area, scale, mean, shout)] == [2, 0, 0, 0]
    assert [make_card(f).takes_numbers for f in (area, scale, mean, shout)] == [True, True, True, False]


def test_a_date_is_known_by_its_type_or_by_the_name_of_a_text():
    def typed(since: date | None = None) -> None: ...
    def named(departure_date: str) -> None: ...
    def neither(update: str, dates: int) -> None: ...

    assert [make_card(f).takes_dates for f in (typed, named, neither)] == [True, True, False]


def test_the_words_that_a_parameter_chooses_between_are_known():
    def paint(
        shade: Literal["light", "dark"], number: Literal[1, 2] = 1, frame: Literal["oak", "ash"] | None = None
    ) -> None: ...

    assert make_card(paint).choices == ("light", "dark", "oak", "ash")


def test_a_card_is_made_once_and_equal_functions_have_equal_cards():
    one, other = Registry(), Registry()
    for registry in (one, other):
        add(registry, "a", "Do it.", examples=("do",))
    assert cards_of(one) == cards_of(other)
    assert card_of(one.get("a")) is card_of(one.get("a"))


def test_a_description_and_examples_without_end_are_cut(monkeypatch):
    monkeypatch.setattr(card_module, "MAX_TEXT", 10)
    monkeypatch.setattr(card_module, "MAX_EXAMPLES", 2)
    registry = Registry()
    add(registry, "a", "Do it again and again.", examples=("one", "two two two two", "three"))
    card = card_of(registry.get("a"))
    assert card.description == "Do it agai"
    assert card.examples == ("one", "two two tw")


# --- answers


def test_the_default_response_is_in_the_language_of_the_text():
    responses = Responses(DEFAULT_RESPONSES)
    assert responses.default("hello", None) == DEFAULT_RESPONSES["en"]
    assert responses.default("你好", "en") == DEFAULT_RESPONSES["zh"]
    assert responses.default("🎉", "zh") == DEFAULT_RESPONSES["zh"]
    assert responses.default("🎉", None) == DEFAULT_RESPONSES["en"]


def test_one_default_response_serves_every_language():
    assert Responses("No.").default("你好", None) == "No."
    assert Responses({"en": "No."}).default("你好", None) == "No."


def test_a_question_names_what_may_be_meant():
    assert question(["a", "b", "c"], "en") == "Did you mean a or b or c?"
    assert question(["a", "b"], "zh") == "您是指 a 还是 b？"


# --- feedback


@pytest.mark.parametrize(
    ("verdict", "function", "said"),
    [
        (Verdict.RIGHT, "", "needs a function"),
        (Verdict.WRONG, "", "needs a function"),
        (Verdict.NOTHING, "a", "names no function"),
    ],
)
def test_a_verdict_that_contradicts_itself_is_refused(verdict, function, said):
    with pytest.raises(ValueError, match=said):
        Feedback(text="x", verdict=verdict, function=function)


@pytest.mark.parametrize("weight", [0, -1, 1.01, float("nan"), float("inf")])
def test_a_weight_is_above_zero_and_at_most_one(weight):
    with pytest.raises(ValueError, match="weight"):
        Feedback(text="x", verdict=Verdict.NOTHING, weight=weight)


def test_a_feedbacks_text_is_cut_to_what_is_read():
    assert len(Feedback(text="a" * 1_000_000, verdict=Verdict.NOTHING).text) == MAX_TEXT_CHARACTERS


async def test_a_log_gives_everything_in_one_order_and_from_anywhere_on():
    log = MemoryFeedbackLog()
    assert await log.last() == log.start
    assert await log.read(log.start) == []
    said = [Feedback(text=str(number), verdict=Verdict.NOTHING) for number in range(5)]
    positions = [position for feedback in said for position in await log.append(feedback, producer="p")]
    assert await log.last() == positions[-1]
    assert [entry.feedback for entry in await log.read(log.start)] == said
    assert [entry.position for entry in await log.read(positions[1], limit=2)] == positions[2:4]
    assert await log.read(positions[-1]) == []
