"""What functions say of themselves in a few words, and what it says about whether any is meant."""

import pytest

from dispatcher.registry.registry import Registry
from dispatcher.selection.card import Card
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.lexical import Lexicon, terms
from dispatcher.selection.outline import Outline
from dispatcher.selection.selection import Decision
from tests.unit.selection.making import add, make_registry

CARDS = (
    Card(name="tide.highWater", description="Tell the next high water of a harbour. Heights are in metres, UTC."),
    Card(name="letters.post", aliases=("mail",), description="Carry letters to the office."),
    Card(name="lamp.dim"),
    Card(name="the", description=""),
    Card(name="weather", description="查询天气预报。结果按小时给出。"),
    Card(name="clock", description="Note. Set an alarm clock."),
)


def shares(text: str, position: int) -> tuple[float, float]:
    return Outline(CARDS, Lexicon(CARDS)).shares(terms(text), position)


def test_a_text_that_says_all_of_a_name_and_of_the_first_sentence_says_everything():
    assert shares("the next high water and tide of this harbour", 0) == pytest.approx((1, 1))


def test_what_comes_after_the_first_sentence_need_not_be_said_and_says_nothing():
    assert shares("high water in metres", 0) == shares("high water", 0)
    assert shares("查询天气预报", 4)[1] == pytest.approx(1)


def test_a_rare_word_is_a_greater_share():
    cards = (*CARDS, *(Card(name=f"harbour.{word}", description="Watch it.") for word in ("crane", "gate", "light")))
    outline = Outline(cards, Lexicon(cards))
    assert outline.shares(terms("water"), 0)[1] > outline.shares(terms("harbour"), 0)[1] > 0


def test_the_best_of_the_names_counts():
    assert shares("mail", 1)[0] == pytest.approx(1)
    assert shares("post letters", 1)[0] == pytest.approx(1)


def test_a_function_without_a_description_has_its_name_alone_to_say():
    assert shares("dim the lamp", 2) == pytest.approx((1, 1))
    assert shares("lamp", 2)[1] == shares("lamp", 2)[0] < 1


def test_a_name_that_means_nothing_is_said_by_no_text():
    assert shares("the", 3) == (0, 0)


def test_a_sentence_of_one_word_is_not_what_a_function_says():
    assert shares("set an alarm clock", 5)[1] == pytest.approx(1)


def test_that_words_are_shared_is_less_than_that_a_function_is_asked_for():
    registry = Registry()
    add(registry, "mail.send_invoice", "Send an invoice to a customer.")
    cascade = Cascade(registry)
    asked = cascade.select("send this customer the invoice").in_scope
    beside_the_point = cascade.select("what does the customer say").in_scope
    assert asked > 0.8
    assert beside_the_point < asked - 0.2


def test_a_choice_of_many_like_functions_is_a_question_though_three_of_them_are_not_all():
    times = ("daily", "weekly", "monthly", "yearly", "hourly", "final", "first")
    selection = Cascade(make_registry({f"report.{time}": f"Print the {time} report." for time in times})).select(
        "print the report"
    )
    assert sum(candidate.probability for candidate in selection.candidates[:3]) < 0.4
    assert selection.decision is Decision.ASK


def ask_for_coffee(cascade: Cascade, function: str) -> None:
    """Confirm a function for five texts."""
    for said in (
        "coffee please",
        "a strong coffee for me",
        "make us some coffee",
        "start the coffee",
        "time for coffee",
    ):
        cascade.learn(Feedback(text=said, verdict=Verdict.RIGHT, function=function, source="ann"))


def test_what_was_learnt_in_use_counts_though_no_description_says_it():
    cascade = Cascade(make_registry())
    text = "get the coffee going"
    before = cascade.select(text)
    ask_for_coffee(cascade, "music.play")
    after = cascade.select(text)
    assert before.decision is Decision.ABSTAIN
    assert (after.decision, after.function) == (Decision.ACT, "music.play")


def test_examples_of_the_only_function_there_is_do_not_make_it_meant_by_every_text():
    registry = Registry()
    add(registry, "cafe.brew", "Prepare a hot beverage.")
    cascade = Cascade(registry)
    before = cascade.select("who won the match").in_scope
    ask_for_coffee(cascade, "cafe.brew")
    assert cascade.select("who won the match").in_scope < before + 0.1
