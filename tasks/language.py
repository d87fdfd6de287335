"""Functions on what a text says and how it is written."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from tasks.shared import registry
from tasks.wording import HAN, sentences, terms, words

#: Sentences that a summary is chosen from.
MAX_SENTENCES = 2_000

_SCRIPTS = {
    "Japanese": re.compile("[\u3040-\u30ff]"),
    "Chinese": HAN,
    "Korean": re.compile("[\uac00-\ud7af\u1100-\u11ff]"),
    "Russian": re.compile("[\u0400-\u04ff]"),
    "Greek": re.compile("[\u0370-\u03ff]"),
    "Arabic": re.compile("[\u0600-\u06ff]"),
    "Hebrew": re.compile("[\u0590-\u05ff]"),
    "Thai": re.compile("[\u0e00-\u0e7f]"),
    "Hindi": re.compile("[\u0900-\u097f]"),
}

#: The commonest short words of languages in Latin script.
_COMMON_WORDS = {
    "English": "the of and to in is that it was for on are with as be this have at not you",
    "German": "der die das und ist nicht ein eine zu den mit von auf für im dem sich auch es ich",
    "French": "le la les et des est un une que dans pour pas qui sur au avec ce il je vous",
    "Spanish": "el la los las y es un una que en de para por con no se lo como más su",
    "Italian": "il lo la gli e è un una che di per non con sono del della si come ma anche",
    "Portuguese": "o a os as e é um uma que de para com não se do da em no na mais",
    "Dutch": "de het een en van is dat niet op te zijn voor met die er aan ook ik maar om",
}
_COMMON = {language: frozenset(listed.split()) for language, listed in _COMMON_WORDS.items()}


@dataclass(frozen=True, kw_only=True)
class Keyword:
    """A term and how often it stands in the text."""

    term: str
    count: int


@registry.function(
    name="language.keywords",
    tags={"text", "extract", "topic"},
    examples=(
        "what are the key terms in this article?",
        "list the top five keywords of the report",
        "which topics does this text mention most often",
        "提取这篇文章的关键词",
        "这段文字的主题词有哪些",
    ),
)
def keywords(text: str, count: int = 8) -> list[Keyword]:
    """Find the key terms of a text: those that are said most often, common words left out.

    Chinese terms are pairs of characters.

    Args:
        text: the text to read, English or Chinese.
        count: how many terms to list, 1 to 50.

    Raises:
        ValueError: if count is out of range.
    """
    if not 1 <= count <= 50:  # noqa: PLR2004 - the range the docstring names
        msg = f"count must be 1 to 50, not {count}"
        raise ValueError(msg)
    return [Keyword(term=term, count=times) for term, times in Counter(terms(text)).most_common(count)]


@registry.function(
    name="language.summarise",
    tags={"text", "shorten"},
    examples=(
        "summarise this article in two sentences",
        "give me the gist of the text",
        "TL;DR please",
        "总结一下这篇文章的要点",
        "用三句话概括下面的内容",
    ),
)
def summarise(text: str, sentences_wanted: int = 3) -> list[str]:
    """Summarise a text by its most telling sentences, in their own order and words.

    A sentence tells the more, the more often its terms occur in the whole text; the first one gets a small bonus.

    Args:
        text: the text to shorten, English or Chinese.
        sentences_wanted: how many sentences to keep, 1 to 20.

    Raises:
        ValueError: if the text holds no sentence, more than 2,000, or sentences_wanted is out of range.
    """
    if not 1 <= sentences_wanted <= 20:  # noqa: PLR2004 - the range the docstring names
        msg = f"sentences_wanted must be 1 to 20, not {sentences_wanted}"
        raise ValueError(msg)
    found = sentences(text)
    if not found or len(found) > MAX_SENTENCES:
        msg = f"a text of 1 to {MAX_SENTENCES:,} sentences can be summarised, not one of {len(found):,}"
        raise ValueError(msg)
    frequency = Counter(terms(text))

    def telling(position: int) -> float:
        own = terms(found[position])
        average = sum(frequency[term] for term in own) / (len(own) + 3)
        return average * (1.2 if position == 0 else 1.0)

    best = sorted(range(len(found)), key=telling, reverse=True)[:sentences_wanted]
    return [found[position] for position in sorted(best)]


@dataclass(frozen=True, kw_only=True)
class LanguageGuess:
    """Which language a text is most likely in."""

    #: The English name, or "unknown".
    language: str
    #: 0 to 1: the share of letters, or of common words, that spoke for it.
    confidence: float
    based_on: Literal["script", "common words", "nothing"]


@registry.function(
    name="language.detect",
    tags={"text", "identify"},
    examples=(
        "which language is this written in?",
        "detect the language: Guten Morgen, wie geht es dir",
        "is this Spanish or Portuguese",
        "这是什么语言？",
        "识别这句话的语种",
    ),
)
def detect(text: str) -> LanguageGuess:
    """Detect the language of a text by its script, and in Latin script by its common words.

    Args:
        text: a sentence or more; single words are often guessed wrong.
    """
    letters = sum(map(str.isalpha, text))
    scripts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    if scripts["Japanese"] > scripts["Chinese"] / 10:
        scripts["Japanese"] += scripts.pop("Chinese")
    script = max(scripts, key=lambda name: scripts[name])
    if letters and scripts[script] / letters > 0.3:  # noqa: PLR2004 - names and terms in Latin letters are common
        return LanguageGuess(
            language=script, confidence=round(min(1.0, scripts[script] / letters), 2), based_on="script"
        )
    found = [word.casefold() for word in words(text)]
    hits = {language: sum(word in common for word in found) for language, common in _COMMON.items()}
    best = max(hits, key=lambda language: hits[language])
    if not hits[best]:
        return LanguageGuess(language="unknown", confidence=0.0, based_on="nothing")
    return LanguageGuess(language=best, confidence=round(hits[best] / sum(hits.values()), 2), based_on="common words")


@dataclass(frozen=True, kw_only=True)
class Readability:
    """How hard an English text is to read."""

    #: About 0 (very hard) to 100 (very easy).
    reading_ease: float
    #: Years of school in the United States.
    school_grade: float
    level: Literal["very easy", "easy", "plain", "hard", "very hard"]
    words_per_sentence: float
    syllables_per_word: float


@registry.function(
    name="language.readability",
    tags={"text", "quality"},
    examples=(
        "how easy is this text to read?",
        "give me the Flesch reading score",
        "what grade level is this paragraph written at",
        "这段英文的可读性怎么样",
        "评估一下这篇英语文章的阅读难度",
    ),
)
def readability(text: str) -> Readability:
    """Score how easy an English text is to read: Flesch reading ease and Flesch-Kincaid school grade.

    Source: R. Flesch, "A new readability yardstick", 1948; J. P. Kincaid et al., Research Branch Report 8-75, 1975.

    Args:
        text: an English text of at least one sentence.

    Raises:
        ValueError: if the text holds no English word.
    """
    found = [word for word in words(text) if word[0].isascii() and word[0].isalpha()]
    if not found:
        msg = "readability is scored for English; the text holds no English word"
        raise ValueError(msg)
    per_sentence = len(found) / max(1, len(sentences(text)))
    per_word = sum(map(_syllables, found)) / len(found)
    ease = 206.835 - 1.015 * per_sentence - 84.6 * per_word
    return Readability(
        reading_ease=round(ease, 1),
        school_grade=round(max(0.0, 0.39 * per_sentence + 11.8 * per_word - 15.59), 1),
        level=_level(ease),
        words_per_sentence=round(per_sentence, 1),
        syllables_per_word=round(per_word, 2),
    )


def _level(ease: float) -> Literal["very easy", "easy", "plain", "hard", "very hard"]:
    if ease >= 90:  # noqa: PLR2004 - Flesch's own bounds, here and below
        return "very easy"
    if ease >= 70:  # noqa: PLR2004
        return "easy"
    if ease >= 50:  # noqa: PLR2004
        return "plain"
    return "hard" if ease >= 30 else "very hard"  # noqa: PLR2004


def _syllables(word: str) -> int:
    """Groups of vowels, a silent final e not counted. Right for about nine words of ten."""
    plain = word.casefold()
    groups = len(re.findall("[aeiouy]+", plain))
    silent = plain.endswith("e") and not plain.endswith(("le", "ee")) and groups > 1
    return max(1, groups - silent)
