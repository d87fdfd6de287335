"""Text to words: what every selector that counts or compares words stands on.

Latin and other alphabetic scripts are cut at word boundaries and lightly stemmed; Chinese, which has no boundaries to
cut at, becomes overlapping pairs of characters.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

#: The languages a selector answers in.
Language = Literal["en", "zh"]

#: Characters of a text that a selector reads. A request is said in its first lines; what follows is material, and a
#: text of 1 MB must cost no more than one of 4 KB.
MAX_TEXT_CHARACTERS = 4096

#: Kana and Han (with its extension A): scripts written without spaces.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_RUN = re.compile(rf"[{UNSPACED}]+|[^\W\d_{UNSPACED}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile("[\u3040-\u30ff]")
_LETTER = re.compile(r"[^\W\d_]")
#: Where a word of a name begins with a capital: `count|Words`, `parse|HTTP|Header`.
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

#: A character of a spaced word, for boundaries: `json` is a whole word in `校验json格式`, and is not in `jsonify`.
WORD_CHARACTER = rf"[^\W{UNSPACED}]"

#: The first letter after the last Latin one.
AFTER_LATIN = "\u0250"
_LATIN = re.compile(rf"[^\W{AFTER_LATIN}-\U0010ffff]+")
#: Letters that a character of Chinese or Japanese is worth, and the share of a text from which on it is foreign.
_LETTERS_OF_UNSPACED, _LEAST_FOREIGN = 4, 0.25

#: Characters of a text whose normalised form is remembered.
_SHORT = 512

#: A colon that ends an instruction: not the one of `https://`, of `10:30` or of `host:80`.
_COLON = re.compile(r"(?<![0-9A-Za-z])[:\uff1a](?!//)|[:\uff1a](?!\d|//)")
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”|「[^」]*」|《[^》]*》')
#: What one of the two above begins with.
_TELLS_APART = re.compile('[:\uff1a"“「《]')

#: By ASCII code: the character itself where it is of a word, else a blank.
_WORDS_ONLY = "".join(chr(code) if chr(code).isalnum() else " " for code in range(128))

#: Words that say nothing about which function is meant.
STOP_WORDS = frozenset(
    """
    a about all also am an and any anything are as at be been but by can could did do does for from get give
    had has have he hello her hey hi him his how i if in into is it its just let like make many me much must
    my need no not now of on one or our out please put say she should show so some something tell than thank
    thanks that the their them then there these they this those to up us want was we were what when where
    which who why will with would you your ll re ve s t m d
    """.split()  # noqa: SIM905 - a list of a hundred quoted words cannot be read
)

#: Pairs of characters that say nothing either: polite forms, question words, particles.
STOP_PAIRS = frozenset(
    """
    一下 一个 帮我 我把 请帮 请问 请把 这个 这段 这些 那个 给我 我看 看看 什么 怎么 多少 是多 可以 能不
    不能 我想 想要 要知 知道 从 在 里 中 把 将 的 是 和 与 有 吗 呢 了 我
    请 给 第 下面 以下 下这 个是 的是 少是 帮忙 麻烦 你好 我的 谢谢 把这 把下 有多 几个 有哪 哪些
    么样 哪里 所有 算这
    """.split()  # noqa: SIM905 - as above
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A text, told apart into what is asked and what it is asked about."""

    #: Normalised, without quoted parts, up to the first colon. All of the text where that would leave no word.
    instruction: str
    #: Normalised: the rest. Empty where there is none.
    material: str
    #: Whether the text was longer than a selector reads.
    cut: bool

    @property
    def whole(self) -> "Request":
        """The same text with nothing told apart."""
        if not self.material:
            return self
        return Request(instruction=f"{self.instruction} {self.material}".strip(), material="", cut=self.cut)


def normalise(text: str) -> str:
    """Bring a text to one form: NFKC (full-width letters become plain ones), case folded, blanks single."""
    return _normalise_short(text) if len(text) <= _SHORT else _normalise(text)


@lru_cache(maxsize=1024)
def _normalise_short(text: str) -> str:
    """Every part of a selector asks for the same text's form."""
    return _normalise(text)


def _normalise(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def split_ascii(text: str) -> list[str]:
    """The runs of letters and digits of a text that is all ASCII, in a third of the time that `re` takes."""
    return text.translate(_WORDS_ONLY).split()


def read_request(text: str) -> Request:
    """Cut a text to the length that is read, and its instruction from its material."""
    head = unicodedata.normalize("NFKC", text[:MAX_TEXT_CHARACTERS])[:MAX_TEXT_CHARACTERS]
    if _TELLS_APART.search(head) is None:
        return Request(instruction=normalise(head), material="", cut=len(text) > MAX_TEXT_CHARACTERS)
    colon = _COLON.search(head)
    before, after = (head, "") if colon is None else (head[: colon.start()], head[colon.end() :])
    quoted = " ".join(_QUOTED.findall(before))
    before = _QUOTED.sub(" ", before)
    if _LETTER.search(before) is None:
        before, quoted, after = head, "", ""
    return Request(
        instruction=normalise(before),
        material=normalise(f"{quoted} {after}"),
        cut=len(text) > MAX_TEXT_CHARACTERS,
    )


def material_of(text: str) -> str:
    """Give what a text is about: what stands after the first colon, or all of it where nothing does.

    The colons of `https://`, `10:30` and `host:80` are not meant. Unlike `read_request`, nothing is normalised or cut.
    """
    colon = _COLON.search(text)
    return (text[colon.end() :].strip() if colon is not None else "") or text.strip()


def words(text: str) -> tuple[str, ...]:
    """Give the words of a normalised text that mean something: stems, and pairs of Chinese characters."""
    found: list[str] = []
    for run in _RUN.findall(text):
        if _HAN.match(run) or _KANA.match(run):
            found.extend(pair for pair in _pairs(run) if pair not in STOP_PAIRS)
        elif run not in STOP_WORDS:
            found.append(stem(run))
    return tuple(found)


def split_name(name: str) -> str:
    """Give the words of a name as people write them: `text.countWords_fast` → `text count Words fast`."""
    return re.sub(r"[\W_]+", " ", CAMEL.sub(" ", name)).strip()


def name_words(name: str) -> tuple[str, ...]:
    """Give the words of a function's name that mean something: `text.countWords_fast` → text, count, word, fast."""
    return words(normalise(split_name(name)))


def stem(word: str) -> str:
    """Take the commonest English endings off, so that `counting` meets `count` and `summarize` meets `summarise`.

    Only ever compared with other stems, so it need not be a word itself. Others scripts pass unchanged.
    """
    if not word.isascii():
        return word
    word = word.replace("iz", "is")
    for ending in ("ings", "ing", "ies", "ied", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:  # noqa: PLR2004 - shorter rests are other words
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word  # noqa: PLR2004


def is_foreign(text: str) -> bool:
    """Whether a good part of a text is in another script than the Latin one.

    Names of films, songs and companies often stay Latin: a quarter of the letters is enough. A character of Chinese or
    Japanese says as much as four letters.
    """
    if text.isascii():
        return False
    latin = other = 0
    for character in normalise(text[:_SHORT]):
        if _UNSPACED.match(character):
            other += _LETTERS_OF_UNSPACED
        elif character.isalpha():
            latin, other = (latin + 1, other) if character < AFTER_LATIN else (latin, other + 1)
    return _LEAST_FOREIGN * (latin + other) <= other != 0


def without_latin(text: str) -> str:
    """A text without its Latin words and its digits."""
    return _LATIN.sub(" ", normalise(text[:MAX_TEXT_CHARACTERS]))


def language_of(text: str, *, otherwise: Language | None = None) -> Language:
    """Say which language to answer in: Chinese where the text has Han and no kana, else English.

    Args:
        text: as it came.
        otherwise: what to say where the text holds no letter at all.
    """
    head = text[:MAX_TEXT_CHARACTERS]
    if _HAN.search(head) and not _KANA.search(head):
        return "zh"
    if otherwise is not None and _LETTER.search(head) is None:
        return otherwise
    return "en"


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] if len(run) > 1 else [run]
