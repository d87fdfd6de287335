"""Words and sentences of English and Chinese texts: what the functions on language share."""

import re

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:[.,]\d+)*")
_HAN_RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+")
#: A sentence ends at 。！？ anywhere, and at .!? before a blank or the end, which leaves 3.5 and e.g.x whole.
_SENTENCE_END = re.compile(r"(?<=[。！？；])|(?<=[.!?])(?=\s)|\n{2,}")

ENGLISH_STOP_WORDS = frozenset(
    """
    a about after all also an and any are as at be because been before but by can could did do does for from
    had has have he her here him his how i if in into is it its just may me more most my no not of on one only
    or other our out over she so some such than that the their them then there these they this those to too up
    us was we were what when where which while who will with would you your
    """.split()  # noqa: SIM905 - a list of a hundred quoted words cannot be read
)

CHINESE_STOP_CHARACTERS = frozenset(
    "的了是在和与及或也都就而着过把被对于从到这那其之以为有不会能要可我你他她它们个一上下中里后前很更最还又"
)


def words(text: str) -> list[str]:
    """Split into words, each Chinese character counting as one; numbers count as words, punctuation does not."""
    found: list[str] = []
    for word in _WORD.findall(text):
        if HAN.search(word):
            found.extend(filter(None, re.split("([\u3400-\u4dbf\u4e00-\u9fff])", word)))
        else:
            found.append(word)
    return found


def sentences(text: str) -> list[str]:
    """Split into sentences, in order, without the blanks around them."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def terms(text: str) -> list[str]:
    """Give what a text is about, in order and with repeats.

    English words without stop words, and Chinese pairs of characters.
    """
    found = [
        word.casefold()
        for word in words(text)
        if len(word) > 1
        and not word[0].isdigit()
        and not HAN.search(word)
        and word.casefold() not in ENGLISH_STOP_WORDS
    ]
    for run in _HAN_RUN.findall(text):
        pairs = (run[i : i + 2] for i in range(len(run) - 1))
        found.extend(pair for pair in pairs if not CHINESE_STOP_CHARACTERS & set(pair))
    return found
