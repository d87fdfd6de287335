import pytest

from tasks.language import Keyword, detect, keywords, readability, summarise


def test_keywords_are_the_commonest_terms_without_stop_words():
    text = "The library is new. The new library has a garden, and the garden is the pride of the library."
    assert keywords(text, count=3) == [
        Keyword(term="library", count=3),
        Keyword(term="new", count=2),
        Keyword(term="garden", count=2),
    ]


def test_chinese_keywords_are_pairs_of_characters():
    assert keywords("物流很快，物流给力，客服态度好，物流点赞。", count=1) == [Keyword(term="物流", count=3)]


@pytest.mark.parametrize("count", [0, 51, -1])
def test_the_number_of_keywords_has_bounds(count):
    with pytest.raises(ValueError, match="1 to 50"):
        keywords("text", count)


TEXT = (
    "Solar power is growing. Solar panels turn light into power. My cat sleeps. "
    "Panels of solar cells are cheap, and cheap power wins. It rained."
)


def test_a_summary_keeps_the_most_telling_sentences_in_their_order():
    assert summarise(TEXT, 2) == ["Solar power is growing.", "Panels of solar cells are cheap, and cheap power wins."]
    assert "My cat sleeps." not in summarise(TEXT, 3)


def test_a_short_text_is_its_own_summary():
    assert summarise("Just this. And that.", 5) == ["Just this.", "And that."]


def test_chinese_texts_are_summarised_by_sentence():
    text = "设计方案很好。猫在睡觉。委员喜欢设计方案。方案的设计造价高。"
    assert "猫在睡觉。" not in summarise(text, 3)


@pytest.mark.parametrize(
    ("text", "wanted", "said"),
    [
        ("", 3, "not one of 0"),
        (" \n", 3, "not one of 0"),
        ("x. " * 2001, 3, "not one of 2,001"),
        ("A.", 0, "not 0"),
        ("A.", 21, "not 21"),
    ],
)
def test_what_cannot_be_summarised_is_refused(text, wanted, said):
    with pytest.raises(ValueError, match=said):
        summarise(text, wanted)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The house is on the hill and it was sold", "English"),
        ("Ich habe den Schlüssel nicht und die Tür ist zu", "German"),
        ("Je ne sais pas pourquoi il est parti avec la voiture", "French"),
        ("No sé qué hacer con el perro de mi vecino", "Spanish"),
        ("Non so che cosa fare con il cane, ma come si chiama?", "Italian"),
        ("Bom dia, você não vem com a gente?", "Portuguese"),
        ("De trein is niet op tijd en ik moet naar het werk", "Dutch"),
        ("今天天气很好", "Chinese"),
        ("今日は天気がいいですね", "Japanese"),
        ("오늘 날씨가 좋네요", "Korean"),
        ("Здравствуйте, мой заказ не пришёл", "Russian"),
        ("我用 Python 和 Redis 写了一个服务", "Chinese"),
    ],
)
def test_languages_are_told_apart(text, language):
    guess = detect(text)
    assert guess.language == language
    assert 0 < guess.confidence <= 1


def test_what_holds_no_known_word_is_of_unknown_language():
    assert detect("xyzzy plugh").language == "unknown"
    assert detect("12345").confidence == 0.0


def test_reading_ease_follows_fleschs_formula():
    score = readability("The cat sat on the mat.")
    # 6 words, 1 sentence, 6 syllables: 206.835 - 1.015 * 6 - 84.6 * 1
    assert score.reading_ease == 116.1
    assert score.school_grade == 0.0
    assert score.level == "very easy"
    assert (score.words_per_sentence, score.syllables_per_word) == (6.0, 1.0)


def test_long_words_and_sentences_are_hard():
    text = "Notwithstanding considerable organisational difficulties, implementation necessitated interdepartmental coordination."
    assert readability(text).level == "very hard"
    assert readability(text).school_grade > 16


def test_a_text_without_english_words_has_no_reading_score():
    with pytest.raises(ValueError, match="no English word"):
        readability("今天天气很好。")
