import pytest

from dispatcher.selection.rules import CompiledRule, KeywordRule
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.words import read_request

NO_STATE = ConversationState()


def share(rule: KeywordRule, text: str, state: ConversationState = NO_STATE) -> float:
    return CompiledRule(rule).match(read_request(text), state, 0.25)[0]


def test_one_of_any_of_is_enough():
    rule = KeywordRule(function="f", any_of=("sum", "total"))
    assert share(rule, "the TOTAL, please") == 1
    assert share(rule, "the rest, please") == 0


def test_each_of_all_of_is_needed_and_a_bar_offers_a_choice():
    rule = KeywordRule(function="f", all_of=("count|number of", "word*"))
    assert share(rule, "number of words") == 1
    assert share(rule, "number of lines") == 0


def test_a_word_of_none_of_forbids():
    rule = KeywordRule(function="f", any_of=("sort",), none_of=("sort of",))
    assert share(rule, "sort this") == 1
    assert share(rule, "it is sort of nice") == 0


def test_words_are_matched_whole_unless_they_end_in_a_star():
    rule = KeywordRule(function="f", any_of=("sum",))
    assert share(rule, "summary") == 0
    assert share(KeywordRule(function="f", any_of=("sum*",)), "summary") == 1
    assert share(rule, "the sum.") == 1


def test_chinese_is_matched_anywhere_and_latin_words_beside_it_are_whole():
    assert share(KeywordRule(function="f", any_of=("字数",)), "请统计字数吧") == 1
    assert share(KeywordRule(function="f", any_of=("json",)), "校验json格式") == 1
    assert share(KeywordRule(function="f", any_of=("json",)), "校验jsonp格式") == 0


def test_a_hash_sign_stands_for_a_number():
    rule = KeywordRule(function="f", all_of=("# km",))
    assert share(rule, "how long is 3.5 km") == 1
    assert share(rule, "how long is one km") == 0


def test_signs_are_taken_literally():
    rule = KeywordRule(function="f", any_of=("% of", "c++"))
    assert share(rule, "15% of 80") == 1
    assert share(rule, "a c++ question") == 1
    assert share(rule, "a cc question") == 0


def test_what_is_found_only_in_the_material_counts_less():
    rule = KeywordRule(function="f", any_of=("average",))
    assert share(rule, "count the words: the average of all") == 0.25


def test_a_state_condition_must_hold():
    rule = KeywordRule(function="f", any_of=("again",), state={"previous_function": "f", "slots.city": "*"})
    assert share(rule, "again") == 0
    assert share(rule, "again", ConversationState(previous_function="f")) == 0
    assert share(rule, "again", ConversationState(previous_function="f", slots={"city": "Oslo"})) == 1
    assert share(rule, "again", ConversationState(previous_function="g", slots={"city": "Oslo"})) == 0


def test_the_state_alone_can_speak_for_a_function():
    rule = KeywordRule(function="f", state={"topic": "billing"})
    assert share(rule, "and now?", ConversationState(topic="billing")) == 1


def test_a_match_says_which_words_it_found():
    rule = CompiledRule(KeywordRule(function="f", all_of=("count*", "word*"), state={"topic": "*"}))
    why = rule.match(read_request("counting my words"), ConversationState(topic="x"), 0.25)[1]
    assert why == "rule: counting, words, topic is *"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "needs any_of, all_of or state"),
        ({"any_of": ("",)}, "empty term"),
        ({"all_of": ("a||b",)}, "empty term"),
        ({"any_of": ("*",)}, "empty term"),
        ({"any_of": "count"}, "must be a tuple"),
        ({"any_of": ("a",), "state": {"mood": "good"}}, "unknown state key 'mood'"),
        ({"any_of": ("a",), "state": {"slots.": "x"}}, "unknown state key"),
        ({"any_of": ("a",), "weight": float("nan")}, "finite"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said.replace("'", ".")):
        KeywordRule(function="f", **wrong)


def test_a_rule_does_not_change_with_the_mapping_it_was_made_from():
    state = {"topic": "a"}
    rule = KeywordRule(function="f", state=state)
    state["topic"] = "b"
    assert rule.state == {"topic": "a"}
