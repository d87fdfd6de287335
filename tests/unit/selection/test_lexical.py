"""Words, and numbers and choices, compared with what functions say about themselves."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.registry.registry import Registry
from dispatcher.selection.card import Card, card_of
from dispatcher.selection.lexical import Lexicon, root, terms
from dispatcher.selection.shape import Shape
from dispatcher.selection.words import split_name

CARDS = (
    Card(name="text.countWords", description="Count the words of a text."),
    Card(name="mail.send", description="Send a letter.", parameters=(("recipient", "who gets it"),)),
    Card(name="food.order", description="", examples=("bring me a pizza",), tags=("delivery",)),
    Card(name="weather", description="查询天气预报"),
)


def best(text: str) -> int:
    scores = Lexicon(CARDS).scores(terms(text))
    return int(scores.argmax()) if scores.any() else -1


def test_names_are_split_on_dots_underscores_and_capitals():
    assert split_name("text.countWords_fast") == "text count Words fast"
    assert split_name("parseHTTPHeader") == "parse HTTP Header"
    assert split_name("plain") == "plain"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("counting", 0),
        ("countWords", 0),
        ("letters", 1),
        ("recipients", 1),
        ("pizza", 2),
        ("deliveries", 2),
        ("明天天气怎么样", 3),
        ("zebra", -1),
        ("the of a", -1),
    ],
)
def test_every_field_of_a_function_finds_it(text, position):
    assert best(text) == position


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("count", "counting"),
        ("translate", "translation"),
        ("summary", "summaries"),
        ("plan", "planned"),
        ("class", "classes"),
    ],
)
def test_forms_of_a_word_have_one_stem(one, other):
    assert root(one) == root(other)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(categories=["Ll", "Lo"]), min_size=1, max_size=20))
def test_no_word_loses_itself(word):
    assert root(word)


@settings(deadline=None)
@given(st.text())
def test_any_text_has_terms_and_no_score_is_negative(text):
    scores = Lexicon(CARDS).scores(terms(text))
    assert scores.shape == (4,)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert scores.max() <= Lexicon(CARDS).most(terms(text)) + 1e-3


def test_a_rare_term_says_more_than_a_common_one():
    lexicon = Lexicon([Card(name=name, description=f"Handle a file {name}") for name in ("alpha", "beta", "gamma")])
    assert lexicon.scores(["alpha"]).max() > lexicon.scores(["fil"]).max()


def test_a_word_of_one_function_is_rare_however_few_functions_there_are():
    others = [Card(name="other.thing", description="Do a thing.") for _ in range(198)]
    few, many = (Lexicon([*CARDS[:2], *more]).scores(terms("letter")).max() for more in ([], others))
    assert few > many / 2


def test_a_term_repeated_in_the_request_counts_once():
    lexicon = Lexicon(CARDS)
    assert (lexicon.scores(["letter"] * 5) == lexicon.scores(["letter"])).all()


def test_the_shares_of_the_terms_add_up_to_the_score():
    lexicon, found = Lexicon(CARDS), terms("count the words of a letter")
    scores = lexicon.scores(found)
    for position in range(len(CARDS)):
        assert sum(lexicon.shared(dict.fromkeys(found), position).values()) == pytest.approx(
            float(scores[position]), abs=1e-5
        )


def test_no_function_scores_nothing():
    assert Lexicon([]).scores(["word"]).shape == (0,)


# --- numbers and choices


def make_shape() -> Shape:
    registry = Registry()

    @registry.function
    def area(base: float, height: float) -> float:
        """Area."""
        return base * height

    @registry.function
    def shout(text: str) -> str:
        """Shout."""
        return text

    @registry.function
    def paint(colour: str, shade: Literal["light", "pitch black"]) -> None:
        """Paint."""

    @registry.function
    def wait() -> None:
        """Wait."""

    return Shape([card_of(function) for function in registry])


def test_a_function_of_numbers_fits_a_text_with_numbers_better():
    with_numbers, without = make_shape().scores("base 10 and height 5"), make_shape().scores("base and height")
    assert with_numbers[0] == max(with_numbers)
    assert with_numbers[1] < with_numbers[0]
    assert without[0] == min(without) < 0


def test_half_the_numbers_are_better_than_none():
    shape = make_shape()
    assert shape.scores("base")[0] < shape.scores("base 10")[0] < shape.scores("base 10 height 5")[0]


def test_numbers_may_be_words():
    assert make_shape().scores("base ten and height five")[0] == 0
    assert make_shape().scores("底十高五")[0] > make_shape().scores("底高")[0]


def test_a_choice_that_is_named_speaks_for_the_function_that_has_it():
    shape = make_shape()
    for text in ("make it light, please", "the pitch black one"):
        scores = shape.scores(text)
        assert scores[2] == scores.max() > 0
    assert shape.scores("highlight it")[2] <= 0


@pytest.mark.parametrize(
    "text",
    ["on december 13, 2019", "the 3rd of may", "2019-12-13", "13/12/2019", "tomorrow", "on friday", "12月13日", "明天"],
)
def test_a_date_speaks_for_the_function_that_takes_one(text):
    shape = Shape([Card(name="history", takes_dates=True), Card(name="forecast")])
    assert np.diff(shape.scores(f"the weather {text}"))[0] < 0
    assert np.diff(shape.scores("the weather of 40 cities that may march"))[0] == 0


def test_a_date_tells_nothing_where_all_functions_take_one():
    assert not Shape([Card(name="a", takes_dates=True), Card(name="b", takes_dates=True)]).scores("today").any()


def test_functions_without_numbers_or_choices_are_all_alike():
    assert not Shape([Card(name="a"), Card(name="b")]).scores("7 times light").any()


@settings(deadline=None)
@given(st.text())
def test_any_text_has_a_shape(text):
    assert np.isfinite(make_shape().scores(text)).all()
