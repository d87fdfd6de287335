"""Functions that are named, and texts that are known: both always win."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.registry.registry import Registry
from dispatcher.selection.card import Card
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.exact import NOTHING, Exact, plain
from dispatcher.selection.selection import Decision
from dispatcher.selection.words import read_request
from tests.unit.selection.making import add

NAMES = ("text.slugify", "count_words", "countLines", "sha256", "help", "time", "echo")


def make_exact(*names: str) -> Exact:
    return Exact([Card(name=name) for name in names])


def named(text: str, *names: str) -> list[str]:
    names = names or NAMES
    return [names[position] for position in make_exact(*names).named(text, read_request(text))]


@pytest.mark.parametrize("name", NAMES[:4])
@pytest.mark.parametrize(
    "frame",
    ["{}", "please run {} on it", "用{}处理", "{}: some text", "(({}))", "{}.", "tell me:\n{}", "`{}`", "“{}”, now!"],
)
def test_a_name_that_is_no_ordinary_word_is_found_wherever_it_stands(name, frame):
    assert named(frame.format(name)) == [name]


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(NAMES[:4]))
def test_a_name_is_found_between_any_two_texts_that_do_not_go_on_with_it(before, after, name):
    text = f"{before} {name} {after}"
    found = named(text)
    others = {other for other in NAMES if other != name and other.lower() in text.lower()}
    # What stands before a colon may be named instead: the rest is what the text is about.
    assert name in found or others


@pytest.mark.parametrize(
    "text",
    ["COUNT_WORDS of this", "Count_Words", "countlines please", "TEXT.SLUGIFY", "\uff43ount\uff3fwords"],
)
def test_a_name_in_another_case_or_width_is_found(text):
    assert len(named(text)) == 1


@pytest.mark.parametrize(
    "text",
    ["recount_words", "count_wordsmith", "text.slugify.old", "text.slugify2", "my.count_words", "context.slugify"],
)
def test_a_name_inside_a_longer_one_is_not_named(text):
    assert named(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "сount_words",  # noqa: RUF001 - Cyrillic es
        "cоunt_words of this",  # noqa: RUF001 - Cyrillic o
        "text.ѕlugify",  # noqa: RUF001 - Cyrillic dze
        "tехt.slugify",  # noqa: RUF001 - Cyrillic ie and ha
        "`hеlp`",  # noqa: RUF001 - Cyrillic ie
    ],
)
def test_letters_of_another_script_that_look_like_a_name_do_not_name_it(text):
    assert named(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "help",
        "Help!",
        "`help`",
        "'help' me",
        "“help”",
        "help()",
        "use help(topic)",
        "call help",
        "run the help function",
        "help tool, please",
        "invoke help.",
        "执行 help",
    ],
)
def test_an_ordinary_word_is_a_name_where_it_is_marked_as_one(text):
    assert named(text) == ["help"]


@pytest.mark.parametrize(
    "text", ["what time is it", "can you help me", "time flies: help", "no echo in here", "the help was great"]
)
def test_an_ordinary_word_is_no_name_where_it_is_said_like_any_other(text):
    assert named(text) == []


@pytest.mark.parametrize("text", ["count words", "Count Words!", "count-words", "count_words"])
def test_a_name_of_several_words_is_named_by_a_text_that_is_these_words(text):
    assert named(text) == ["count_words"]


def test_names_that_differ_in_a_digit_are_told_apart_as_people_write_them():
    names = ("users.get_v1", "users.getV2")
    assert named("users get v1", *names) == ["users.get_v1"]
    assert named("Users, get V2", *names) == ["users.getV2"]


def test_a_name_as_people_write_it_names_nothing_where_more_is_said():
    assert named("count words and lines") == []
    assert named("please count words") == []


def test_two_names_that_are_written_alike_are_both_named():
    assert named("count words", "count_words", "countWords") == ["count_words", "countWords"]


def test_the_instruction_names_before_the_material_does():
    assert named("count_words: text.slugify is a fine function") == ["count_words"]
    assert named("what is this: text.slugify") == ["text.slugify"]


def test_an_alias_names_its_function():
    exact = Exact([Card(name="text.count"), Card(name="text.slugify", aliases=("make_slug",))])
    text = "make_slug of this title"
    assert exact.named(text, read_request(text)) == [1]


def test_of_two_names_that_differ_in_case_only_the_one_as_written_is_meant():
    names = ("sendMail", "sendmail_", "SendMail")
    assert named("please sendMail now", *names) == ["sendMail"]
    assert named("please SendMail now", *names) == ["SendMail"]
    assert sorted(named("please SENDMAIL now", *names)) == ["SendMail", "sendMail"]


def test_ordinary_words_that_differ_in_case_only_are_told_apart_too():
    assert named("`Help`", "help", "Help") == ["Help"]
    assert named("`help`", "help", "Help") == ["help"]


def test_whether_case_matters_is_known():
    assert make_exact("sendMail", "SendMail").case_matters
    assert make_exact("help", "Help").case_matters
    assert not make_exact(*NAMES).case_matters


@pytest.mark.parametrize("name", NAMES)
def test_a_named_function_is_acted_on_whatever_else_the_text_says(name):
    registry = Registry()
    for other in NAMES:
        add(registry, other, "Say how late it is, in words.")
    selection = Cascade(registry).select(f"`{name}`")
    assert selection.decision is Decision.ACT
    assert selection.function == name
    assert selection.candidates[0].why == "named in the text"


def test_several_named_functions_are_asked_between():
    registry = Registry()
    for name in NAMES:
        add(registry, name)
    selection = Cascade(registry).select("count_words or text.slugify, whichever")
    assert selection.decision is Decision.ASK
    assert {candidate.function for candidate in selection.candidates} == {"count_words", "text.slugify"}
    assert "count_words" in selection.response


# --- known texts


def test_an_example_is_known_but_for_case_blanks_and_punctuation():
    exact = Exact([Card(name="a"), Card(name="b", examples=("Make me a sandwich!", "做三明治"))])
    for text in ("Make me a sandwich!", "make  me a SANDWICH", "Make me: a sandwich?", "做三明治。"):
        assert exact.known(text) == 1
    assert exact.known("make me two sandwiches") is None
    assert exact.known("") is None


def test_a_text_is_learnt_learnt_anew_and_forgotten():
    exact = make_exact("a", "b")
    exact.learn("Do it!", 1, source="ann", plausible=True)
    assert exact.known("do it") == 1
    exact.learn("do IT", 0, source="ann", plausible=True)
    assert exact.known("Do it.") == 0
    exact.forget("do it", 1)
    assert exact.known("Do it!") == 0
    exact.forget("do it", 0)
    assert exact.known("Do it!") is None
    exact.forget("never known", 0)


def test_a_text_may_be_known_to_ask_for_nothing():
    exact = Exact([Card(name="a", examples=("do it",))])
    exact.learn("Do it", NOTHING, source="ann", plausible=True)
    assert exact.known("do it") == NOTHING


def test_one_source_alone_does_not_decide_for_others_what_nobody_else_would_think_of():
    exact = make_exact("a", "b")
    for _ in range(3):
        exact.learn("do it", 1, source="ann", plausible=False)
    assert exact.known("do it") is None
    assert exact.known("do it", "bob") is None
    assert exact.known("do it", "ann") == 1
    exact.learn("do it", 1, source="bob", plausible=False)
    assert exact.known("do it") == exact.known("do it", "eve") == 1


def test_sources_that_contradict_each_other_are_no_two_sources():
    exact = make_exact("a", "b")
    exact.learn("do it", 0, source="ann", plausible=False)
    exact.learn("do it", 1, source="bob", plausible=False)
    assert exact.known("do it") is None


def test_sources_of_a_text_are_bounded():
    exact = make_exact("a")
    for number in range(1_000):
        exact.learn("do it", 0, source=str(number), plausible=False)
    assert exact.known("do it") == 0
    assert len(exact._known["do it"].sources) < 100


def test_a_text_without_a_word_is_never_known():
    exact = make_exact("a")
    exact.learn("?!", 0, source="", plausible=True)
    assert exact.known("…") is None
    assert exact.known("") is None


def test_known_texts_are_bounded_and_the_oldest_go(monkeypatch):
    monkeypatch.setattr("dispatcher.selection.exact.MAX_KNOWN", 3)
    exact = make_exact("a")
    numbers = ("one", "two", "three", "four")
    for number in numbers:
        exact.learn(number, 0, source="", plausible=True)
    assert [exact.known(number) for number in numbers] == [None, 0, 0, 0]


@settings(deadline=None)
@given(st.text())
def test_a_plain_text_is_its_own_plain_text(text):
    assert plain(plain(text)) == plain(text)
