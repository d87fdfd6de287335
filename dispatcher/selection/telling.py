"""The words that tell two functions apart: those that only one of them has, as people write them."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from dispatcher.selection.card import Card
from dispatcher.selection.words import UNSPACED, normalise, split_name, words

#: Words named of a function; more would not be read.
_MOST: Final = 3
#: Part of the heaviest word's weight below which another is not named beside it.
_TELLING: Final = 0.4
#: Characters of a Chinese word; more is a clause.
_LONGEST: Final = 4

_ALPHABETIC: Final = re.compile(rf"[^\W\d_{UNSPACED}]+")
_UNSPACED: Final = re.compile(f"[{UNSPACED}]")


def words_apart(
    one: tuple[Card, Mapping[str, float]], other: tuple[Card, Mapping[str, float]], *, common: AbstractSet[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the words of each of two functions that the other does not have, the heaviest first.

    Args:
        one: a function, with the weights of its stems.
        other: the other.
        common: stems of so many functions that they tell nothing.
    """
    return _own(*one, other[1], common), _own(*other, one[1], common)


def _own(
    card: Card, weights: Mapping[str, float], others: Mapping[str, float], common: AbstractSet[str]
) -> tuple[str, ...]:
    own = sorted(weights.keys() - others.keys() - common, key=lambda stem: (-weights[stem], stem))
    telling = [stem for stem in own if weights[stem] >= _TELLING * weights[own[0]]]
    text = _text(card)
    # The first word of a stem counts, and the name stands first.
    written = {stem: word for word in reversed(_ALPHABETIC.findall(text)) for stem in words(word)}
    shared = {character for stem in others for character in stem}
    shown = (_whole_word(stem, text, shared) if _UNSPACED.match(stem) else written.get(stem, stem) for stem in telling)
    # Several pairs of Chinese characters may be of one word.
    return tuple(dict.fromkeys(shown))[:_MOST]


def _text(card: Card) -> str:
    """Give all that its stems were taken from."""
    parts = (split_name(card.name), card.description, *(part for parameter in card.parameters for part in parameter))
    return normalise(" ".join(parts).replace("_", " "))


def _whole_word(pair: str, text: str, shared: AbstractSet[str]) -> str:
    """Give the word that a pair of characters is of: those of the two, and beside them, that the other text lacks."""
    at = text.find(pair)
    begin, end = at, at + len(pair)
    while begin > 0 and _lacks(text[begin - 1], shared):
        begin -= 1
    while end < len(text) and _lacks(text[end], shared):
        end += 1
    while begin < end and not _lacks(text[begin], shared):
        begin += 1
    while begin < end and not _lacks(text[end - 1], shared):
        end -= 1
    return text[begin:end] if 0 < end - begin <= _LONGEST else pair


def _lacks(character: str, shared: AbstractSet[str]) -> bool:
    return character not in shared and _UNSPACED.match(character) is not None
