"""Selections that are used again: the same answers, sooner."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.selection.cache import MAX_CHARACTERS, SelectionCache
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.selection import Decision, Selection
from dispatcher.selection.selector import ConversationState
from tests.unit.selection.making import DESCRIPTIONS, add, make_registry, trained

TEXT = "count the words of a text"
ABSTAINS = Selection(text="x", decision=Decision.ABSTAIN)


def key(text: str, state: ConversationState | None = None, only=None, *, case_matters: bool = False):
    return SelectionCache.key(text, state, only, case_matters=case_matters)


@pytest.fixture
def cascade() -> Cascade:
    return Cascade(make_registry())


# --- keys


def test_texts_that_differ_in_case_and_blanks_only_have_one_key():
    assert key("Count  the\nWORDS ") == key("count the words")
    assert key("Count the words") != key("count the word")


def test_where_case_matters_it_is_part_of_the_key():
    assert key("sendMail", case_matters=True) != key("SendMail", case_matters=True)
    assert key("sendMail  now", case_matters=True) == key("sendMail now", case_matters=True)


@pytest.mark.parametrize(
    "state",
    [
        ConversationState(topic="music"),
        ConversationState(previous_function="music"),
        ConversationState(language="zh"),
        ConversationState(slots={"city": "paris"}),
        ConversationState(slots={"city": "rome"}),
    ],
)
def test_the_state_is_part_of_the_key(state):
    assert key(TEXT, state) != key(TEXT)
    assert key(TEXT, state) != key(TEXT, ConversationState())
    assert hash(key(TEXT, state)) == hash(key(TEXT, state))


def test_the_order_of_slots_and_of_what_may_be_called_makes_no_difference():
    one, other = ConversationState(slots={"a": "1", "b": "2"}), ConversationState(slots={"b": "2", "a": "1"})
    assert key(TEXT, one) == key(TEXT, other)
    assert key(TEXT, only=["a", "b"]) == key(TEXT, only=("b", "a", "a"))


def test_what_may_be_called_is_part_of_the_key():
    assert len({key(TEXT), key(TEXT, only=()), key(TEXT, only=["a"]), key(TEXT, only=["a", "b"])}) == 4


def test_a_long_text_is_not_kept():
    cache = SelectionCache()
    assert key("a" * (MAX_CHARACTERS + 1)) is None
    cache.keep(None, ABSTAINS)
    assert len(cache) == 0
    assert cache.find(None) is None


# --- what is kept


def test_hits_and_misses_are_counted():
    cache = SelectionCache()
    assert cache.find("one") is None
    cache.keep("one", ABSTAINS)
    assert cache.find("one") is ABSTAINS
    assert cache.find("two") is None
    assert (cache.hits, cache.misses) == (1, 2)


def test_it_is_bounded_and_the_least_recently_used_go_first():
    cache = SelectionCache(2)
    cache.keep("one", ABSTAINS)
    cache.keep("two", ABSTAINS)
    cache.find("one")
    cache.keep("three", ABSTAINS)
    assert len(cache) == 2
    assert "one" in cache
    assert "two" not in cache


def test_a_cache_of_no_size_keeps_nothing():
    cache = SelectionCache(0)
    cache.keep("one", ABSTAINS)
    assert len(cache) == 0


def test_clearing_forgets_selections_but_not_what_was_counted():
    cache = SelectionCache()
    cache.keep("one", ABSTAINS)
    cache.find("one")
    cache.clear()
    assert len(cache) == 0
    assert cache.hits == 1


# --- in a selector


def test_the_same_text_is_selected_once(cascade):
    first = cascade.select(TEXT)
    assert cascade.select(TEXT) is first
    assert (cascade.cache.hits, cascade.cache.misses) == (1, 1)


def test_the_text_is_given_back_as_it_came(cascade):
    cascade.select(TEXT)
    for text in (TEXT.upper(), f"  {TEXT} "):
        selection = cascade.select(text)
        assert selection.text == text
        assert selection.function == "text.count_words"
    assert cascade.cache.hits == 2


def test_the_arguments_come_from_this_text_and_not_from_the_one_that_was_kept(cascade):
    for title in ("Some Title", "some TITLE"):
        assert json.loads(cascade.select(f"text.slugify: {title}").call.arguments) == {"text": title}


def test_the_parts_of_a_compound_text_come_from_this_text_too(cascade):
    kept = cascade.select("Translate the Letter and then play some Music")
    assert kept.decision is Decision.SEVERAL
    text = "translate the LETTER and then play some MUSIC"
    for selection in (cascade.select(text), cascade.recall(text)):
        assert selection is None or [part.text for part in selection.parts] == text.split(" and then ")


def test_state_and_what_may_be_called_are_told_apart(cascade):
    cascade.select(TEXT)
    cascade.select(TEXT, ConversationState(topic="words"))
    assert cascade.select(TEXT, only={"music.play"}).function is None
    assert cascade.cache.hits == 0
    assert cascade.select(TEXT).function == "text.count_words"
    assert cascade.cache.hits == 1


def test_learning_empties_it(cascade):
    cascade.select(TEXT)
    cascade.learn(Feedback(text="anything", verdict=Verdict.RIGHT, function="music.play"))
    assert len(cascade.cache) == 0
    cascade.select(TEXT)
    assert cascade.cache.hits == 0


def test_another_model_empties_it(cascade):
    cascade.select(TEXT)
    cascade.use(trained())
    assert len(cascade.cache) == 0
    assert cascade.select(TEXT).model == trained().version


def test_a_changed_registry_empties_it(cascade):
    cascade.select(TEXT)
    add(cascade._registry, "later")
    cascade.select("other words")
    assert len(cascade.cache) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.sampled_from([*DESCRIPTIONS.values(), *DESCRIPTIONS]), st.text(max_size=30)), max_size=6))
def test_a_cache_changes_no_answer(texts):
    cached, plain = Cascade(make_registry()), Cascade(make_registry(), cache=SelectionCache(0))
    for text in (*texts, *texts):
        mine, yours = cached.select(text), plain.select(text)
        assert (mine.text, mine.decision, mine.function, mine.response) == (
            yours.text,
            yours.decision,
            yours.function,
            yours.response,
        )


# --- for whoever must not wait


def test_what_is_kept_can_be_recalled_without_selecting(cascade):
    assert cascade.recall(TEXT) is None
    cascade.select(TEXT)
    assert cascade.recall(TEXT.upper()).text == TEXT.upper()
    assert cascade.recall(TEXT, only={"music.play"}) is None
    assert cascade.recall("never asked") is None
    add(cascade._registry, "later")
    assert cascade.recall(TEXT) is None


def test_what_an_equal_selector_selected_can_be_remembered(cascade):
    selection = Cascade(make_registry()).select(TEXT)
    cascade.remember(selection)
    assert cascade.recall(TEXT) is None  # nothing was built yet: there is nothing to compare with
    cascade.select("other words")
    cascade.remember(selection)
    assert cascade.recall(TEXT) is selection
