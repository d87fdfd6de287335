"""A text that asks for several things."""

from dataclasses import replace

import pytest

from dispatcher.selection.cascade import Cascade
from dispatcher.selection.compound import split_request
from dispatcher.selection.deciding import Decider
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.selection import Decision
from tests.unit.selection.making import DESCRIPTIONS, make_registry

TRANSLATE = "translate hello world"
COUNT = "count the words in my essay"
PLAY = "play some music"


@pytest.fixture
def cascade() -> Cascade:
    return Cascade(make_registry())


@pytest.mark.parametrize("between", [" and ", " and then ", ", then ", "; ", ". ", " plus ", ", and also ", "! "])
@pytest.mark.parametrize(("one", "other"), [(TRANSLATE, COUNT), (COUNT, TRANSLATE), (PLAY, COUNT)])
def test_two_requests_that_are_both_sure_are_told_apart_in_their_order(cascade, between, one, other):
    text = f"{one}{between}{other}"
    selection = cascade.select(text)
    assert selection.decision is Decision.SEVERAL
    assert [part.text for part in selection.parts] == [one, other]
    assert [part.function for part in selection.parts] == [cascade.select(part).function for part in (one, other)]
    assert all(part.decision is Decision.ACT for part in selection.parts)
    assert selection.text == text
    assert selection.function is None
    assert selection.response == ""
    assert all(str(part.function) in selection.reason for part in selection.parts)


@pytest.mark.parametrize(("probability", "told_apart"), [(0.985, True), (0.995, False)])
def test_a_text_that_is_beyond_doubt_as_a_whole_is_not_told_apart(monkeypatch, cascade, probability, told_apart):
    """A trained model gives clear texts more than 0.97, and compound ones may look clear too."""
    text, weigh = f"{TRANSLATE} and {COUNT}", Decider._weigh

    def weigh_the_whole(decider, reading, allowed):
        found = weigh(decider, reading, allowed)
        if reading.text != text:
            return found
        first, *others = found.candidates
        return replace(found, candidates=(replace(first, probability=probability), *others))

    monkeypatch.setattr(Decider, "_weigh", weigh_the_whole)
    assert (cascade.select(text).decision is Decision.SEVERAL) is told_apart


def test_three_requests_are_three_parts(cascade):
    selection = cascade.select(f"{PLAY}, then {COUNT} and {TRANSLATE}")
    assert [part.function for part in selection.parts] == ["music.play", "text.count_words", "text.translate"]


def test_chinese_requests_are_told_apart_at_chinese_words():
    registry = make_registry({"weather": "查询天气预报", "mail.send": "发送电子邮件"})
    selection = Cascade(registry).select("查询天气预报，然后发送电子邮件")
    assert [part.function for part in selection.parts] == ["weather", "mail.send"]


def test_a_part_that_is_known_word_for_word_is_sure(cascade):
    for source in ("ann", "bob"):
        cascade.learn(Feedback(text="do the usual", verdict=Verdict.RIGHT, function="mail.send_invoice", source=source))
    selection = cascade.select(f"{TRANSLATE} and then do the usual")
    assert [part.function for part in selection.parts] == ["text.translate", "mail.send_invoice"]


@pytest.mark.parametrize(
    "text",
    [
        f"{TRANSLATE} and ponder quantum gravity",  # one part is nothing's
        f"{COUNT} and count all the words in the text",  # one function twice
        "play rock and roll of an artist",  # too short to be requests
        "translate a sentence",
    ],
)
def test_a_text_whose_parts_are_not_all_sure_gets_one_decision(cascade, text):
    selection = cascade.select(text)
    assert selection.decision is not Decision.SEVERAL
    assert selection.parts == ()


def test_a_part_that_alone_would_be_called_but_is_as_likely_meant_as_not_is_no_request_of_its_own(cascade):
    alone = cascade.select("song lyrics")
    assert alone.decision is Decision.ACT
    assert alone.candidates[0].probability < 0.5
    assert cascade.select(f"{COUNT} and song lyrics").function == "text.count_words"


def test_each_part_must_be_allowed(cascade):
    text = f"{TRANSLATE} and {COUNT}"
    allowed = cascade.select(text, only={"text.translate", "text.count_words", "text.slugify"})
    assert allowed.decision is Decision.SEVERAL
    assert cascade.select(text, only={"text.translate", "text.slugify"}).decision is not Decision.SEVERAL


@pytest.mark.parametrize(
    "text",
    [
        f"count the words of a text: {TRANSLATE} and then {PLAY}",
        f"count the words of a text：{TRANSLATE}, then {PLAY}",
        f"count the words of a text:{TRANSLATE} and {PLAY}",
        "翻译：你好世界，然后统计一下字数",
        f'count the words of "{TRANSLATE} and then {PLAY}"',
        f"count the words of “{TRANSLATE}. {PLAY}”",
    ],
)
def test_what_a_text_is_about_is_never_cut(cascade, text):
    assert split_request(text) == [text]
    assert cascade.select(text).decision is not Decision.SEVERAL


@pytest.mark.parametrize("text", ["meet me at 10:30 and call the office", "read https://example.org and tell me more"])
def test_not_every_colon_ends_an_instruction(text):
    assert len(split_request(text)) == 2


def test_a_list_of_many_things_and_a_long_text_are_material():
    assert len(split_request(" and ".join([COUNT] * 9))) == 1
    assert len(split_request(f"{COUNT} and {'very ' * 200}well")) == 1


def test_every_function_of_the_assistant_can_be_half_of_a_compound():
    cascade = Cascade(make_registry())
    texts = [description.rstrip(".").lower() for description in DESCRIPTIONS.values()]
    told = [cascade.select(f"{one} and then {other}").decision for one in texts for other in texts if one != other]
    assert told.count(Decision.SEVERAL) >= 0.7 * len(told)


@pytest.mark.parametrize(
    "between", [";", "；", "。", "！", "？", ".", "!", "?", "AND", " then", "Also", "pLus", "al\u017fo"]
)
def test_a_text_is_told_apart_whatever_stands_between(between):
    assert split_request(f"count words {between} play music") == ["count words", "play music"]


@pytest.mark.parametrize("between", ["然后", "接着", "并且", "以及", "再", "同时"])
def test_a_chinese_text_is_told_apart_whatever_stands_between(between):
    assert split_request(f"统计字数{between}播放音乐") == ["统计字数", "播放音乐"]
