import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import NoFunctionSelectedError, UnknownFunctionError
from dispatcher.registry.registry import Registry
from dispatcher.selection.keyword import KeywordRule, KeywordSelector, Weights
from dispatcher.selection.selection import Decision
from dispatcher.selection.selector import ConversationState


def make_registry() -> Registry:
    registry = Registry()

    @registry.function(
        name="text.count_words", tags={"length"}, examples=("How many words are in this?", "统计这段话的字数")
    )
    def count_words(text: str) -> int:
        """Count the words of a text."""
        return len(text.split())

    @registry.function(name="mail.send_invoice", examples=("bill customer 7 for 12.50", "给客户开发票"))
    def send_invoice(customer: int, amount: float) -> None:
        """Email an invoice to a customer."""

    @registry.function(name="help", examples=("what can you do?",))
    def show_help(topic: str = "") -> str:
        """Explain the assistant."""
        return topic

    return registry


@pytest.fixture
def registry() -> Registry:
    return make_registry()


@pytest.fixture
def selector(registry) -> KeywordSelector:
    return KeywordSelector(registry)


# --- without rules


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("how many words does this have", "text.count_words"),
        ("please count the words of my essay", "text.count_words"),
        ("send an invoice to our new customer", "mail.send_invoice"),
        ("帮我统计一下字数", "text.count_words"),
        ("开发票给这个客户", "mail.send_invoice"),
        ("What can you do", "help"),
    ],
)
def test_names_descriptions_and_examples_are_enough_to_select_by(selector, text, function):
    selection = selector.select(text)
    assert selection.decision is Decision.ACT
    assert selection.function == function
    assert selection.response == ""


def test_candidates_are_ranked_and_their_probabilities_leave_room_for_none_of_these(selector):
    selection = selector.select("how many words does the invoice to the customer have")
    probabilities = [candidate.probability for candidate in selection.candidates]
    assert len(probabilities) == 2
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) < 1


def test_a_candidate_says_what_spoke_for_it(selector):
    why = selector.select("count the words").candidates[0].why
    assert "word" in why
    assert "count" in why


def test_what_is_to_be_worked_on_does_not_choose_the_function(selector):
    selection = selector.select("count the words: please email an invoice to the customer")
    assert selection.function == "text.count_words"


def test_a_label_before_a_colon_is_no_instruction(selector):
    assert selector.select("Question: how many words are in this text?").function == "text.count_words"


# --- abstaining and asking


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the text is empty"),
        (" \n\t\u3000", "the text is empty"),
        ("🙂🙂", "the text holds no word"),
        ("?!…", "the text holds no word"),
        ("water the flowers", "no function shares a word with the text"),
    ],
)
def test_a_text_that_no_function_fits_is_answered_by_the_default_response(selector, text, reason):
    selection = selector.select(text)
    assert selection.decision is Decision.ABSTAIN
    assert selection.reason == reason
    assert selection.function is None
    assert selection.call is None
    assert selection.response.startswith("Sorry")


def test_the_default_response_is_in_the_language_of_the_text_or_else_of_the_state(selector):
    assert selector.select("给花浇水").response.startswith("抱歉")
    assert selector.select("🙂", ConversationState(language="zh")).response.startswith("抱歉")


def test_the_caller_can_give_its_own_default_response(registry):
    assert KeywordSelector(registry, default_response="Pardon?").select("water").response == "Pardon?"
    both = KeywordSelector(registry, default_response={"en": "Pardon?", "zh": "什么？"})
    assert both.select("给花浇水").response == "什么？"


def test_an_empty_registry_abstains():
    assert KeywordSelector(Registry()).select("count").reason == "the registry holds no function"


def test_two_functions_that_fit_alike_are_asked_about(registry):
    rules = (
        KeywordRule(function="text.count_words", any_of=("report",)),
        KeywordRule(function="mail.send_invoice", any_of=("report",)),
    )
    selection = KeywordSelector(registry, rules).select("the report")
    assert selection.decision is Decision.ASK
    assert selection.function is None
    assert selection.response == "Did you mean mail.send_invoice or text.count_words?"
    assert [choice.function for choice in selection.choices] == ["mail.send_invoice", "text.count_words"]
    with pytest.raises(NoFunctionSelectedError, match="several functions"):
        selection.bind({})


def test_a_question_in_chinese_is_asked_in_chinese(registry):
    rules = [KeywordRule(function=name, any_of=("报告",)) for name in ("text.count_words", "mail.send_invoice")]
    assert (
        KeywordSelector(registry, rules).select("报告").response == "您是指 mail.send_invoice 还是 text.count_words？"
    )


# --- rules


def test_a_rule_adds_words_that_the_function_does_not_say(registry):
    rule = KeywordRule(function="mail.send_invoice", any_of=("dun*",))
    selection = KeywordSelector(registry, [rule]).select("dunning for the late payers")
    assert selection.function == "mail.send_invoice"
    assert selection.candidates[0].why == "rule: dunning"


def test_the_conversation_tells_what_a_follow_up_means(registry):
    rule = KeywordRule(
        function="mail.send_invoice", any_of=("another one",), state={"previous_function": "mail.send_invoice"}
    )
    selector = KeywordSelector(registry, [rule])
    assert selector.select("another one").function is None
    state = ConversationState(previous_function="mail.send_invoice")
    assert selector.select("another one", state).function == "mail.send_invoice"


def test_a_negative_weight_speaks_against(registry):
    against = KeywordRule(function="text.count_words", any_of=("never",), weight=-20)
    assert KeywordSelector(registry, [against]).select("never count the words").decision is Decision.ABSTAIN


def test_a_rule_for_an_unknown_function_is_an_error_at_once(registry):
    with pytest.raises(UnknownFunctionError, match="a KeywordRule names it"):
        KeywordSelector(registry, [KeywordRule(function="text.count_wrods", any_of=("count",))])


def test_a_rule_may_use_an_alias():
    registry = Registry()

    @registry.function(name="new.name", aliases=("old.name",))
    def function() -> None:
        """Do it."""

    selector = KeywordSelector(registry, [KeywordRule(function="old.name", any_of=("frobnicate",))])
    assert selector.select("frobnicate").function == "new.name"


# --- named exactly


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("text.count_words", "text.count_words"),
        ("email an invoice to the customer, with TEXT.COUNT_WORDS", "text.count_words"),
        ("send an invoice: text.count_words", "text.count_words"),
        ("请用text.count_words处理客户发票", "text.count_words"),
        ("use \uff4d\uff41\uff49\uff4c.send_invoice.", "mail.send_invoice"),
        ("`help`", "help"),
        ("help me email an invoice with mail.send_invoice", "mail.send_invoice"),
    ],
)
def test_a_function_named_exactly_wins(selector, text, function):
    selection = selector.select(text)
    assert selection.function == function
    assert selection.reason == "named in the text"


@pytest.mark.parametrize(
    "text", ["t\u0435xt.count_w\u043erds", "text.count_words_all", "xtext.count_words", "text.count_words.x"]
)
def test_what_only_looks_like_a_name_is_none(selector, text):
    assert selector.select(text).reason != "named in the text"


def test_two_named_functions_are_asked_about(selector):
    selection = selector.select("text.count_words or mail.send_invoice")
    assert selection.decision is Decision.ASK
    assert {candidate.function for candidate in selection.candidates} == {"text.count_words", "mail.send_invoice"}


# --- a registry that changes


def test_a_function_registered_later_is_selected_at_once(registry, selector):
    assert selector.select("translate this letter").function is None

    @registry.function(name="text.translate")
    def translate(text: str) -> str:
        """Translate a letter."""
        return text

    assert selector.select("translate this letter").function == "text.translate"


def test_a_function_that_is_gone_is_no_candidate_any_more():
    registry = make_registry()
    selector = KeywordSelector(registry, [KeywordRule(function="text.count_words", any_of=("words",))])
    assert selector.select("how many words").function == "text.count_words"
    registry.remove("text.count_words")
    selection = selector.select("how many words, text.count_words")
    assert selection.function is None
    assert selection.candidates == ()


def test_a_function_that_takes_the_place_of_another_is_selected_at_once(registry, selector):
    registry.remove("text.count_words")

    @registry.function(name="text.count_words")
    def water(plant: str) -> None:
        """Water the flowers."""

    selection = selector.select("text.count_words")
    assert selection.chosen is water
    assert selector.select("how many are in this?").function is None  # nearly an example of the other


def test_a_registry_that_has_not_changed_is_not_read_again(registry, selector, monkeypatch):
    monkeypatch.setattr(selector, "_index", lambda: pytest.fail("indexed again"))
    assert selector.select("count the words").function == "text.count_words"


# --- for a caller who may not call everything

ALL = ("text.count_words", "mail.send_invoice", "help")


@pytest.mark.parametrize(
    "text",
    [
        "count the words",
        "how many words are in this?",
        "text.count_words",
        "TEXT.COUNT_WORDS: email an invoice to the customer",
        "wc: this",
        "统计这段话的字数",
        "frobnicate this",
    ],
)
def test_what_a_caller_may_not_call_is_no_candidate_even_when_named(text):
    registry = make_registry()

    @registry.function(name="text.count_lines", aliases=("wc",))
    def count_lines(text: str) -> int:
        """Count the words on each line."""

    rules = [KeywordRule(function=name, any_of=("frobnicate",)) for name in ("text.count_words", "text.count_lines")]
    selection = KeywordSelector(registry, rules).select(text, only=["mail.send_invoice", "help"])
    assert selection.function in {None, "mail.send_invoice"}
    assert {c.function for c in selection.candidates} <= {"mail.send_invoice", "help"}
    assert "count" not in selection.response


def test_a_name_that_may_not_be_called_hides_none_that_may_be(selector):
    selection = selector.select("text.count_words or mail.send_invoice", only={"mail.send_invoice"})
    assert selection.function == "mail.send_invoice"
    assert selection.reason == "named in the text"


def test_an_example_of_two_functions_finds_the_one_that_may_be_called(registry):
    @registry.function(name="zoo.answer", examples=("what can you do?",))
    def answer() -> str:
        """Answer."""
        return ""

    assert KeywordSelector(registry).select("what can you do?", only=["zoo.answer"]).function == "zoo.answer"


def test_what_may_be_called_can_be_said_by_alias_and_unknown_names_are_passed_over():
    registry = Registry()

    @registry.function(name="text.count_words", aliases=("wc",))
    def count_words(text: str) -> int:
        """Count the words."""

    assert KeywordSelector(registry).select("count words", only=["wc", "gone.away"]).function == "text.count_words"


@pytest.mark.parametrize("only", [(), [], frozenset(), {"gone.away"}, ""])
def test_a_caller_who_may_call_nothing_gets_an_abstention(selector, only):
    selection = selector.select("text.count_words", only=only)
    assert selection.decision is Decision.ABSTAIN
    assert selection.reason == "no function of the registry is among those that may be selected"
    assert selection.candidates == ()
    assert selection.response.startswith("Sorry")


@pytest.mark.parametrize(
    "text", ["count the words", "text.count_words", "send an invoice", "water", "what can you do?"]
)
def test_a_caller_who_may_call_everything_gets_what_everybody_gets(selector, text):
    assert selector.select(text, only=ALL) == selector.select(text)


# --- bounds


def test_a_text_of_a_megabyte_is_read_at_its_beginning_only_and_quickly(selector):
    text = "count the words: " + "lorem ipsum " * 90_000
    begun = time.process_time()
    selection = selector.select(text)
    assert time.process_time() - begun < 0.25
    assert selection.function == "text.count_words"
    assert selection.reason.endswith("only the beginning of the text was read")
    assert selection.text == text
    assert selection.call is None  # more than a call may hold


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "字" * 10**6, "a:" * 500_000, '"' * 10**6, "count words " * 80_000, "\ufdfa" * 10**6]
)
def test_no_text_takes_long(selector, text):
    begun = time.process_time()
    selector.select(text)
    assert time.process_time() - begun < 0.25


SELECTOR = KeywordSelector(make_registry())
PIECES = st.sampled_from(
    ["count", "words", "invoice", "字数", "help", ":", '"', "text.count_words", "\x00", "\ud800", "🙂"]
)


@given(st.text() | st.lists(PIECES | st.text(max_size=5)).map(" ".join))
def test_any_text_gets_a_selection_that_holds_together(text):
    selection = SELECTOR.select(text)
    assert SELECTOR.select(text) == selection
    assert all(0 < candidate.probability <= 1 for candidate in selection.candidates)
    assert sum(candidate.probability for candidate in selection.candidates) <= 1.000001
    assert {candidate.function for candidate in selection.candidates} <= {
        "text.count_words",
        "mail.send_invoice",
        "help",
    }
    assert (selection.function is not None) == (selection.decision is Decision.ACT)
    assert (selection.response == "") == (selection.decision is Decision.ACT)
    assert selection.call is None or selection.call.function == selection.function


@pytest.mark.parametrize(
    "wrong",
    [
        {"act_at": 1.1},
        {"ask_at": 0.0},
        {"ask_at": 0.7, "act_at": 0.6},
        {"temperature": 0.0},
        {"material_weight": 2.0},
        {"none_score": float("inf")},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Weights(**wrong)


def test_a_higher_threshold_makes_the_selector_ask(registry):
    unsure = KeywordSelector(registry, weights=Weights(act_at=1.0))
    assert unsure.select("how many words does it have").decision is Decision.ASK
