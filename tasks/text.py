"""Functions on texts: count, compare, clean, and find what is in them."""

import difflib
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from tasks.shared import registry
from tasks.wording import HAN, sentences, words

#: Lines of each side of a comparison. The matcher's time grows with their product.
MAX_DIFF_LINES = 2_000

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9_.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}(?![\w-])", re.ASCII
)
_URL = re.compile(r"\bhttps?://[^\s<>\"'，。；、）】》]{1,2000}", re.ASCII)
_PHONE = re.compile(r"(?<![\w.+])\+?\(?\d{1,4}\)?(?:[ -]?\(?\d{2,5}\)?){1,4}(?![\w])", re.ASCII)
#: Digits of a telephone number. Source: ITU-T E.164 allows 15; the shortest national numbers in common use have 7.
_PHONE_DIGITS = range(7, 16)
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class TextCounts:
    """How long a text is, counted in several ways."""

    #: English words and numbers, plus each Chinese character as a word of its own.
    words: int
    chinese_characters: int
    characters: int
    characters_without_blanks: int
    sentences: int
    lines: int
    #: At 230 English words or 400 Chinese characters a minute.
    reading_minutes: float


@registry.function(
    name="text.count_words",
    tags={"text", "length"},
    examples=(
        "How many words are in this paragraph?",
        "count the words and sentences: To be or not to be.",
        "what's the character count of my essay",
        "这段话有多少个字？",
        "帮我统计一下字数：今天天气很好。",
    ),
)
def count_words(text: str) -> TextCounts:
    """Count the words, characters, sentences and lines of a text, Chinese characters included.

    Args:
        text: the text to count, in any language.
    """
    found = words(text)
    han = sum(1 for word in found if HAN.match(word))
    return TextCounts(
        words=len(found),
        chinese_characters=han,
        characters=len(text),
        characters_without_blanks=sum(not character.isspace() for character in text),
        sentences=len(sentences(text)),
        lines=len(text.splitlines()),
        reading_minutes=round((len(found) - han) / 230 + han / 400, 2),
    )


@dataclass(frozen=True, kw_only=True)
class TextDifference:
    """What changed between two texts."""

    #: 0 for nothing in common, 1 for equal.
    similarity: float
    added_lines: int
    removed_lines: int
    #: In unified format; empty for equal texts.
    unified: str


@registry.function(
    name="text.diff",
    tags={"text", "compare"},
    examples=(
        "What changed between these two versions?",
        "compare the old and the new text line by line",
        "show me the differences between draft one and draft two",
        "比较这两段文字有什么不同",
        "两个版本之间改了哪些地方？",
    ),
)
def diff(before: str, after: str) -> TextDifference:
    """Compare two versions of a text line by line and show the differences.

    Args:
        before: the older version.
        after: the newer version.

    Raises:
        ValueError: if a version has more than 2,000 lines.
    """
    old, new = before.splitlines(), after.splitlines()
    longest = max(len(old), len(new))
    if longest > MAX_DIFF_LINES:
        msg = f"each version may have {MAX_DIFF_LINES:,} lines, not {longest:,}"
        raise ValueError(msg)
    unified = list(difflib.unified_diff(old, new, "before", "after", lineterm=""))
    changes = unified[2:]
    return TextDifference(
        similarity=round(difflib.SequenceMatcher(None, old, new).ratio(), 4),
        added_lines=sum(line.startswith("+") for line in changes),
        removed_lines=sum(line.startswith("-") for line in changes),
        unified="\n".join(unified),
    )


@registry.function(
    name="text.slugify",
    tags={"text", "url"},
    examples=(
        "turn this headline into a URL slug: Ten Ways to Brew Coffee",
        "make a url friendly name from a title",
        "把这个标题转换成网址别名：My Summer Trip",
        "生成一个适合做链接的短名",
    ),
)
def slugify(text: str, separator: Literal["-", "_"] = "-", max_length: int = 80) -> str:
    """Turn a title into a slug for URLs and file names: lower case, no accents, no punctuation.

    Chinese characters stay, as browsers and file systems take them.

    Args:
        text: the title.
        separator: what stands between the words.
        max_length: the longest slug in characters, 1 to 200; it is cut at a word where possible.

    Raises:
        ValueError: if the title holds no letter or digit, or max_length is out of range.
    """
    if not 1 <= max_length <= 200:  # noqa: PLR2004 - the range the docstring names
        msg = f"max_length must be 1 to 200, not {max_length}"
        raise ValueError(msg)
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    parts = re.findall(r"[^\W_]+", plain.replace("'", "").replace("’", ""))
    if not parts:
        msg = "the title holds no letter or digit to make a slug from"
        raise ValueError(msg)
    slug = separator.join(parts)
    if len(slug) > max_length:
        cut = slug[: max_length + 1].rpartition(separator)[0]
        slug = cut or slug[:max_length]
    return slug


@registry.function(
    name="text.change_case",
    tags={"text", "format"},
    examples=(
        "convert this sentence to upper case",
        "write the heading in title case",
        "make it snake_case",
        "把这段英文全部变成大写",
        "转换成驼峰命名",
    ),
)
def change_case(text: str, style: Literal["upper", "lower", "title", "sentence", "snake", "kebab", "camel"]) -> str:
    """Change the letter case of a text: upper, lower, title, sentence, or a programmer's snake, kebab or camel case.

    Args:
        text: the text to change.
        style: the case to change it to.
    """
    if style == "upper":
        return text.upper()
    if style == "lower":
        return text.lower()
    if style == "title":
        return re.sub(r"[^\W\d_]+(?:['’][^\W\d_]+)?", lambda word: word.group().capitalize(), text)
    if style == "sentence":
        return re.sub(r"(^\s*|[.!?]\s+)([^\W\d_])", lambda m: m.group(1) + m.group(2).upper(), text.lower())
    parts = [part.lower() for part in re.findall(r"[^\W_]+", re.sub(r"([a-z\d])([A-Z])", r"\1 \2", text))]
    if style == "camel":
        return "".join([*parts[:1], *(part.capitalize() for part in parts[1:])])
    return ("_" if style == "snake" else "-").join(parts)


@dataclass(frozen=True, kw_only=True)
class Contacts:
    """The addresses found in a text, each once, in the order of their first appearance."""

    emails: list[str]
    urls: list[str]
    phones: list[str]


@registry.function(
    name="text.extract_contacts",
    tags={"text", "extract", "contact"},
    examples=(
        "find all email addresses and phone numbers in this message",
        "pull the links out of this text: see https://example.org",
        "extract contact details",
        "从这段话里提取邮箱和电话号码",
        "找出文中所有的网址",
    ),
)
def extract_contacts(text: str) -> Contacts:
    """Extract the e-mail addresses, web links and phone numbers that a text holds.

    Args:
        text: the text to search.
    """
    emails = _EMAIL.findall(text)
    urls = [url.rstrip(".,;:!?)]}") for url in _URL.findall(text)]
    # Addresses hold digits too, and dates look like numbers: both go before numbers are looked for.
    rest = _DATE.sub(" ; ", _URL.sub(" ; ", _EMAIL.sub(" ; ", text)))
    phones = [found.strip() for found in _PHONE.findall(rest) if sum(map(str.isdigit, found)) in _PHONE_DIGITS]
    return Contacts(
        emails=list(dict.fromkeys(emails)), urls=list(dict.fromkeys(urls)), phones=list(dict.fromkeys(phones))
    )
