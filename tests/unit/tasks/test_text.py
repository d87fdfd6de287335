import time

import pytest

from tasks.text import change_case, count_words, diff, extract_contacts, slugify


def test_english_words_and_chinese_characters_are_counted_together():
    counts = count_words("Hello 世界! It's 3.5 km.\nBye.")
    assert (counts.words, counts.chinese_characters, counts.sentences, counts.lines) == (7, 2, 3, 2)
    assert counts.characters == 27
    assert counts.characters_without_blanks == 22


def test_chinese_sentences_end_at_their_own_full_stop():
    counts = count_words("春眠不觉晓，处处闻啼鸟。夜来风雨声！")
    assert (counts.words, counts.sentences) == (15, 2)


def test_an_empty_text_counts_nothing():
    counts = count_words("")
    assert (counts.words, counts.sentences, counts.lines, counts.reading_minutes) == (0, 0, 0, 0.0)


def test_reading_time_grows_with_the_words():
    assert count_words("word " * 460).reading_minutes == 2.0
    assert count_words("字" * 400).reading_minutes == 1.0


def test_a_difference_names_the_changed_lines():
    found = diff("a\nb\nc", "a\nB\nc\nd")
    assert (found.added_lines, found.removed_lines) == (2, 1)
    assert found.unified.splitlines()[3:] == [" a", "-b", "+B", " c", "+d"]
    assert found.similarity == pytest.approx(4 / 7, abs=1e-4)


def test_lines_that_look_like_a_header_are_counted_as_lines():
    assert diff("-- x", "").removed_lines == 1


def test_equal_texts_have_no_difference():
    found = diff("same\n", "same\n")
    assert (found.similarity, found.unified, found.added_lines) == (1.0, "", 0)


def test_too_many_lines_are_refused():
    with pytest.raises(ValueError, match="2,001"):
        diff("x\n" * 2001, "")


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Crème Brûlée — The Perfect Recipe!", "creme-brulee-the-perfect-recipe"),
        ("It's 10 o'clock", "its-10-oclock"),
        ("深入理解 Redis", "深入理解-redis"),
        ("Straße & Ærø", "strasse-ærø"),
    ],
)
def test_a_slug_keeps_letters_and_digits_only(title, slug):
    assert slugify(title) == slug


def test_a_long_slug_is_cut_at_a_word():
    assert slugify("one two three", max_length=8) == "one-two"
    assert slugify("one two three", max_length=7) == "one-two"
    assert slugify("incomprehensibilities", max_length=5) == "incom"
    assert slugify("A b", separator="_") == "a_b"


@pytest.mark.parametrize(
    "arguments", [{"text": "?!"}, {"text": "a", "max_length": 0}, {"text": "a", "max_length": 201}]
)
def test_no_slug_can_be_made_of_nothing_or_of_any_length(arguments):
    with pytest.raises(ValueError, match=r"letter or digit|max_length"):
        slugify(**arguments)


@pytest.mark.parametrize(
    ("style", "changed"),
    [
        ("upper", "DON'T PANIC. IT IS userHTTPName".upper()),
        ("lower", "don't panic. it is userhttpname"),
        ("title", "Don't Panic. It Is Userhttpname"),
        ("sentence", "Don't panic. It is userhttpname"),
    ],
)
def test_prose_changes_its_case(style, changed):
    assert change_case("Don't panic. it is userHTTPName", style) == changed


@pytest.mark.parametrize(
    ("style", "changed"), [("snake", "user_first_name"), ("kebab", "user-first-name"), ("camel", "userFirstName")]
)
@pytest.mark.parametrize("text", ["userFirstName", "User first-name", "user_first_name"])
def test_an_identifier_changes_its_case_from_any_other(text, style, changed):
    assert change_case(text, style) == changed


def test_contacts_are_found_once_each_in_order():
    found = extract_contacts(
        "Mail anna@example.org or bo.b+x@mail.example.com (again: anna@example.org). See https://example.org/a?b=1, "
        "or (http://example.com). Call +44 20 7946 0958 or 010-6552-9988."
    )
    assert found.emails == ["anna@example.org", "bo.b+x@mail.example.com"]
    assert found.urls == ["https://example.org/a?b=1", "http://example.com"]
    assert found.phones == ["+44 20 7946 0958", "010-6552-9988"]


def test_contacts_are_found_between_chinese_characters():
    found = extract_contacts("请写信到chen@example.com，或访问https://example.cn/help。")
    assert found.emails == ["chen@example.com"]
    assert found.urls == ["https://example.cn/help"]


def test_dates_and_short_numbers_are_no_phone_numbers():
    assert extract_contacts("on 2025-03-01 we sold 1234 units for 99 each").phones == []


def test_a_hostile_text_is_searched_in_good_time():
    for text in ("a" * 200_000, "a@" * 100_000, "1 " * 100_000, "a.b@" + "c." * 100_000):
        begun = time.process_time()
        extract_contacts(text)
        assert time.process_time() - begun < 5
