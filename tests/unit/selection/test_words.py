import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.selection.words import (
    MAX_TEXT_CHARACTERS,
    is_foreign,
    language_of,
    material_of,
    name_words,
    normalise,
    read_request,
    stem,
    without_latin,
    words,
)


def test_full_width_letters_capitals_and_blanks_do_not_matter():
    assert normalise("\uff23\uff2f\uff35\uff2e\uff34　the\n\tWords") == "count the words"


def test_chinese_becomes_pairs_of_characters_and_polite_forms_are_dropped():
    assert words("帮我统计字数") == ("我统", "统计", "计字", "字数")


def test_stop_words_say_nothing():
    assert words("can you please tell me what this is") == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [("counting", "count"), ("summarize", "summarise"), ("planned", "plan"), ("copies", "copy"), ("removed", "remove")],
)
def test_endings_of_the_same_word_meet(one, other):
    assert stem(one) == stem(other)


def test_short_words_keep_their_endings():
    assert stem("as") == "as"
    assert stem("red") == "red"


def test_a_name_is_cut_at_dots_underscores_and_humps():
    assert name_words("text.countWords_fast") == ("text", "count", "word", "fast")


def test_what_stands_after_a_colon_or_in_quotes_is_material():
    request = read_request('Count the words in "to be": or not to be')
    assert request.instruction == "count the words in"
    assert request.material == '"to be" or not to be'


@pytest.mark.parametrize("text", ["see https://example.org now", "remind me at 10:30", "see http://a.example:8080/x"])
def test_the_colons_of_addresses_and_times_end_no_instruction(text):
    assert read_request(text).material == ""
    assert material_of(text) == text


def test_a_text_of_quotes_only_is_its_own_instruction():
    assert read_request('"hello"').instruction == '"hello"'


@pytest.mark.parametrize(
    ("text", "material"),
    [
        ("count: a b", "a b"),
        ("统计字数：今天 天气", "今天 天气"),
        ("no colon here ", "no colon here"),
        ("nothing after:", "nothing after:"),
        ("Ratio of step 2: a:b", "a:b"),
    ],
)
def test_the_material_is_the_text_after_the_first_colon_as_it_was_written(text, material):
    assert material_of(text) == material


@pytest.mark.parametrize(
    ("text", "language"),
    [("hello", "en"), ("统计字数", "zh"), ("用 Python 写", "zh"), ("今日はいい天気", "en"), ("123", "en")],
)
def test_the_answer_is_in_the_language_of_the_text(text, language):
    assert language_of(text) == language


def test_a_text_without_letters_takes_the_language_it_is_told():
    assert language_of("🙂 42", otherwise="zh") == "zh"
    assert language_of("ok", otherwise="zh") == "en"


@given(st.text())
def test_any_text_can_be_read(text):
    request = read_request(text)
    assert len(request.instruction) + len(request.material) <= MAX_TEXT_CHARACTERS * 4
    words(request.instruction)
    material_of(text)
    language_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "明天会下雨吗",
        "播放 Taylor Swift 的歌",
        "把 Midnight Train 添加到我的 road trip 列表",
        "帮我 set an alarm",
        "какая завтра погода",
        "включи Taylor Swift",
        "明日の天気は？",
        "ما حالة الطقس غدا",
        "พรุ่งนี้ฝนจะตกไหม",
    ],
)
def test_a_text_is_foreign_also_where_the_names_in_it_are_latin(text):
    assert is_foreign(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "…",
        "12:30",
        "will it rain tomorrow",
        "wird es morgen regnen in Köln?",
        "how is 谢谢 said in polite Japanese",
        "5 µm in mm",
    ],
)
def test_a_text_in_latin_letters_is_not_foreign(text):
    assert not is_foreign(text)


def test_without_its_latin_words_a_text_keeps_the_others():
    assert without_latin("播放 Beyoncé 的 Halo_2 歌曲").split() == ["播放", "的", "歌曲"]
    assert not without_latin("\uff26ull width_12").strip()


@given(st.text())
def test_any_text_is_foreign_or_not_and_has_a_rest(text):
    assert is_foreign(text) in {True, False}
    assert not any("a" <= character <= "z" for character in without_latin(text))
