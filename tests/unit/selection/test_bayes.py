"""Counts of what was asked before: sums, whoever wrote them and in whichever order."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.selection.bayes import Bayes, states_of
from dispatcher.selection.features import buckets
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.softmax import Ngrams

TEXTS = ("count the words", "play a song", "weather in paris", "count songs", "统计字数")
STATES = ((), ("topic=music",), ("topic=music", "previous=play"), ("previous=count",))
SIZE = 4

calls = st.tuples(
    st.sampled_from(TEXTS), st.integers(0, SIZE - 1), st.sampled_from(STATES), st.sampled_from((1.0, 0.5, 2.0))
)


def make_bayes(size: int = SIZE) -> Bayes:
    return Bayes(size, Ngrams([np.unique(buckets(text)) for text in TEXTS], size))


def counted(entries, size: int = SIZE) -> Bayes:
    bayes = make_bayes(size)
    for text, position, state, weight in entries:
        bayes.add(bayes._ngrams.read(buckets(text)).rows, position, state, weight)
    return bayes


def says(bayes: Bayes) -> list[np.ndarray]:
    """Everything that it says of some texts and states."""
    return [bayes.logits(bayes._ngrams.read(buckets(text))) for text in TEXTS] + [
        bayes.log_prior(state) for state in STATES
    ]


def assert_alike(one: Bayes, other: Bayes) -> None:
    for mine, yours in zip(says(one), says(other), strict=True):
        assert mine == pytest.approx(yours, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(calls, max_size=12), st.randoms())
def test_counts_do_not_depend_on_the_order(entries, random):
    shuffled = entries.copy()
    random.shuffle(shuffled)
    assert_alike(counted(entries), counted(shuffled))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(calls, st.booleans()), max_size=12))
def test_what_two_producers_counted_adds_up_to_what_one_counts(entries):
    halves = [[entry for entry, first in entries if first is whose] for whose in (True, False)]
    together = make_bayes()
    everybody = dict(enumerate(range(SIZE)))
    for half in map(counted, halves):
        together.load(half.dump(range(SIZE)), half.calls, everybody)
        for key, counts in half.states.items():
            together.load_state(key, counts)
    assert_alike(together, counted([entry for entry, _ in entries]))


@settings(max_examples=40, deadline=None)
@given(st.lists(calls, max_size=8), st.lists(calls, max_size=8))
@example([], [("count the words", 2, (), 2.0)] * 3)
def test_a_negative_weight_takes_back_what_was_counted(stays, taken_back):
    away = [(text, position, state, -weight) for text, position, state, weight in taken_back]
    assert_alike(counted(stays + taken_back + away), counted(stays))


def test_no_more_is_taken_back_than_was_counted():
    once = [("count the words", 0, (), 1.0), ("play a song", 1, (), 1.0)]
    bayes = counted([*once, *[("count the words", 0, (), -1.0)] * 3])
    logits = bayes.logits(bayes._ngrams.read(buckets("count the words")))
    assert np.isfinite(logits).all()
    assert logits[0] == 0


def test_a_text_speaks_for_the_function_that_it_was_counted_for():
    bayes = counted([("count the words", 0, (), 1.0), ("play a song", 1, (), 1.0), ("weather in paris", 2, (), 1.0)])
    for text, position in (("words", 0), ("a song", 1), ("paris", 2)):
        assert int(bayes.logits(bayes._ngrams.read(buckets(text))).argmax()) == position


def test_a_function_that_was_never_counted_has_nothing_said_about_it():
    bayes = counted([("count the words", 0, (), 1.0)])
    logits = bayes.logits(bayes._ngrams.read(buckets("play a song")))
    assert not logits[1:].any()
    assert not make_bayes().logits(bayes._ngrams.read(buckets("count"))).any()


def test_counts_are_taken_in_by_function_and_those_of_lost_ones_left_out():
    trained = counted([("count the words", 0, (), 3.0), ("play a song", 1, (), 2.0)])
    changed = make_bayes()
    changed.load(trained.dump(range(SIZE)), trained.calls, {1: 3})
    assert changed.calls.tolist() == [0, 0, 0, 2]
    assert int(changed.logits(changed._ngrams.read(buckets("song"))).argmax()) == 3


# --- the prior


def test_without_a_call_every_function_is_as_likely():
    assert make_bayes().log_prior() == pytest.approx(np.log(1 / SIZE), abs=1e-6)


def test_the_prior_is_a_distribution_and_grows_with_the_calls():
    bayes = counted([("play a song", 1, (), 1.0)] * 5 + [("count songs", 0, (), 1.0)])
    prior = np.exp(bayes.log_prior())
    assert prior.sum() == pytest.approx(1)
    assert prior[1] > prior[0] > prior[2] == pytest.approx(prior[3])


def test_the_prior_knows_what_was_called_in_this_state():
    entries = [("play a song", 1, ("topic=music",), 1.0)] * 6 + [("count songs", 0, ("topic=text",), 1.0)] * 6
    bayes = counted(entries)
    plain, music = np.exp(bayes.log_prior()), np.exp(bayes.log_prior(("topic=music",)))
    assert plain[0] == pytest.approx(plain[1])
    assert music[1] > plain[1]
    assert music[0] < plain[0]
    assert music.sum() == pytest.approx(1)


def test_in_a_state_that_was_never_seen_the_prior_is_the_general_one():
    bayes = counted([("play a song", 1, ("topic=music",), 1.0)] * 6)
    assert bayes.log_prior(("topic=gardens",)) == pytest.approx(bayes.log_prior())
    both = bayes.log_prior(("topic=music", "previous=never"))
    assert both == pytest.approx(bayes.log_prior(("topic=music",)))


def test_a_few_calls_in_a_state_outweigh_the_general_prior_only_by_degrees():
    general = [("count songs", 0, (), 1.0)] * 20
    once, often = (
        np.exp(counted(general + [("play a song", 1, ("topic=music",), 1.0)] * n).log_prior(("topic=music",)))
        for n in (1, 50)
    )
    assert once[0] > once[1]
    assert often[1] > often[0]


def test_the_keys_of_a_state_go_from_the_general_to_the_particular():
    assert states_of(None) == ()
    assert states_of(ConversationState()) == ()
    assert states_of(ConversationState(topic="music", previous_function="play")) == ("topic=music", "previous=play")


@given(st.lists(st.sampled_from(["count", "the", "words", "a", "song"]), min_size=1, max_size=8))
def test_an_ngram_that_a_text_has_twice_is_counted_twice(words):
    once, apart = make_bayes(), make_bayes()
    rows = once._ngrams.read(buckets(" ".join(words))).rows
    once.add(rows, 0)
    for row in rows:
        apart.add(np.array([row]), 0)
    assert once.table == pytest.approx(apart.table, abs=1e-5)
