"""A text as hashed n-grams: what the counting and the linear tiers stand on.

A text becomes a bag of buckets: its words, its pairs of neighbouring words, and its character n-grams that do not cross
a word's boundary (a blank before and after each word counts as a character, so that endings and beginnings are told
apart). In Chinese and Japanese, which have no boundaries, each character is a word, so that characters, pairs and
triples are counted and no segmenter is needed. Digits are replaced by one sign: which number it is says nothing about
the function.

Hashes are our own polynomial ones over code points, equal in every process and on every machine: Python's `hash` of a
text is not.

Source: Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning", for the hashing trick;
Joachims 1998 and McNamee & Mayfield 2004 for words and character n-grams as features of short texts.
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from dispatcher.selection.words import UNSPACED, normalise, split_ascii

#: Bits of a bucket's number. At 2²⁰ buckets a registry's vocabulary of 10⁵ n-grams meets few collisions.
BITS: Final = 20
BUCKETS: Final = 1 << BITS

#: Lengths of the character n-grams inside a word.
SHORTEST: Final = 2
LONGEST: Final = 5

#: Characters that are hashed: what a person asks is said within them, and time is bounded for what is longer.
MAX_CHARACTERS: Final = 512

#: Characters of a word whose buckets are remembered: what is longer is no word that comes again.
_SHORT: Final = 32

Buckets = npt.NDArray[np.int64]

_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_DIGITS = re.compile(r"\d+")
_ASCII_DIGITS: Final = frozenset("0123456789")
_FACTOR: Final = 0x01000193
_BASE: Final = np.uint32(_FACTOR)
_MIX: Final = 0x85EBCA6B
_MASK: Final = 0xFFFFFFFF
_SHIFT: Final = 32 - BITS
_BLANK: Final = np.uint32(32)


def _powers() -> npt.NDArray[np.uint32]:
    """Column n: the factors of an n-gram of length SHORTEST + n; the first row is for the length itself."""
    powers = np.zeros((LONGEST + 1, LONGEST - SHORTEST + 1), dtype=np.uint32)
    with np.errstate(over="ignore"):
        for column in range(powers.shape[1]):
            factor = _BASE
            for row in range(SHORTEST + column + 1):
                powers[row, column] = factor
                factor = np.uint32(factor * _BASE)
    return powers


def _insides() -> npt.NDArray[np.uint8]:
    """1 where a character is inside an n-gram: a blank there means that it crosses a boundary."""
    inside = np.zeros((LONGEST, LONGEST - SHORTEST + 1), dtype=np.uint8)
    for column in range(inside.shape[1]):
        inside[1 : SHORTEST + column - 1, column] = 1
    return inside


_POWERS: Final = _powers()
_INSIDE: Final = _insides()
_STEPS: Final = np.arange(LONGEST, dtype=np.int64)
_POSITIONS: Final = np.arange(2 * MAX_CHARACTERS, dtype=np.int64)[:, None] + _STEPS


def tokens(text: str, limit: int | None = MAX_CHARACTERS) -> list[str]:
    """The words of a text as features see them: case folded, each Chinese character one, digits as `0`."""
    folded = normalise(text[:limit])
    if not (folded.isascii() and _ASCII_DIGITS.isdisjoint(folded)):
        folded = _DIGITS.sub("0", folded)
    return split_ascii(folded) if folded.isascii() else _TOKEN.findall(folded)


def buckets(text: str) -> Buckets:
    """The buckets of a text's features, in no order; a feature that occurs twice is there twice.

    Args:
        text: as it came; what follows the first MAX_CHARACTERS is not read.

    Returns:
        Shape (n,), each from 0 to BUCKETS - 1. Empty for a text without a letter or digit.
    """
    return hash_tokens(tokens(text))


def hash_tokens(found: list[str]) -> Buckets:
    """The buckets of a list of words, as `tokens` gives it."""
    if not found:
        return np.empty(0, dtype=np.int64)
    read = [read_word(word) for word in found]
    firsts = np.array([own.item(0) for _, own in read], dtype=np.int64)
    return np.concatenate((firsts, between(found, [number for number, _ in read]), *(own[1:] for _, own in read)))


def read_word(word: str) -> tuple[int, Buckets]:
    """A word's hash, and the buckets of the word itself and then of the character n-grams inside it."""
    return _read_short(word) if len(word) <= _SHORT else _read_word(word)


def between(found: list[str], hashes: list[int]) -> Buckets:
    """The buckets of what is of several words: pairs of neighbours, and three characters of a script without blanks.

    Args:
        found: the words.
        hashes: of each, as `read_word` gives it.
    """
    pairs = np.array(pairs_of(hashes), dtype=np.int64)
    if "".join(found).isascii():
        return pairs
    return np.concatenate((pairs, _triples(found, np.array(hashes, dtype=np.uint32))))


def pairs_of(hashes: list[int]) -> list[int]:
    """The buckets of pairs of neighbouring words, from the hash of each word."""
    found = []
    for before, after in pairwise(hashes):
        number = (before * _FACTOR & _MASK) ^ after
        # As `_bucket`, whose calls would be a quarter of this.
        number ^= number >> 15
        number = number * _MIX & _MASK
        found.append((number ^ number >> 13) >> _SHIFT)
    return found


def _read_word(word: str) -> tuple[int, Buckets]:
    number = crc32(word.encode("utf-8", "surrogatepass"))
    return number, np.concatenate(([_bucket(number)], _buckets_of(_character_ngrams(f" {word} "))))


#: Words come again in other texts. Hashing them anew was half of reading a text (`benchmarks.selection`, speed).
_read_short: Final = lru_cache(maxsize=8_192)(_read_word)


def _bucket(number: int) -> int:
    """The bucket of one hash, as `_buckets_of` gives it of many."""
    number ^= number >> 15
    number = number * _MIX & _MASK
    return (number ^ number >> 13) >> _SHIFT


def _buckets_of(hashes: npt.NDArray[np.uint32]) -> Buckets:
    # Numbers wrap round: that is what hashing them means.
    hashes = hashes ^ (hashes >> np.uint32(15))
    hashes *= np.uint32(_MIX)
    hashes ^= hashes >> np.uint32(13)
    return (hashes >> np.uint32(_SHIFT)).astype(np.int64)


def _triples(found: list[str], words: npt.NDArray[np.uint32]) -> Buckets:
    """The buckets of three characters in a row of a script without blanks."""
    unspaced = np.fromiter((_UNSPACED.match(word) is not None for word in found), dtype=bool, count=len(found))
    inside = unspaced[:-2] & unspaced[1:-1] & unspaced[2:]
    pairs = (words[:-2] * _BASE) ^ words[1:-1]
    return _buckets_of(((pairs * _BASE) ^ words[2:])[inside])


def _character_ngrams(padded: str) -> npt.NDArray[np.uint32]:
    """Hashes of the character n-grams that do not cross a boundary, of all lengths."""
    # Blanks after the end: an n-gram that would run over it has one inside, and is left out with the others.
    points = np.frombuffer((padded + "     ").encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    begins = len(padded) - 1
    windows = points[_POSITIONS[:begins] if begins <= len(_POSITIONS) else np.arange(begins)[:, None] + _STEPS]
    hashes = windows @ _POWERS[1:] + _POWERS[0]
    crossing = (windows == _BLANK).view(np.uint8) @ _INSIDE
    kept: npt.NDArray[np.uint32] = hashes[crossing == 0]
    return kept
