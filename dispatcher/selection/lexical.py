"""The lexical tier: BM25 over what functions say about themselves, each kind of text a field with a weight of its own.

    score(q, f) = Σ over distinct terms t of q:  idf(t) · tf(t, f) (k1 + 1) / (tf(t, f) + k1)
    tf(t, f)    = Σ over fields:  weight · occurrences / (1 - b + b · length / mean length)
    idf(t)      = log(1 + (N + BACKGROUND - n(t) + 0.5) / (n(t) + 0.5))

N is the number of functions, n(t) how many of them have t in any field. How rare a word is cannot be told from three
functions: each registry is taken for part of a larger one, whose other BACKGROUND functions have none of its terms.

Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", section 3.6 (BM25F).
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from dispatcher.selection.card import Card
from dispatcher.selection.loss import Floats, Integers
from dispatcher.selection.words import CAMEL, STOP_PAIRS, STOP_WORDS, UNSPACED, normalise, split_ascii, split_name

#: How soon a term's repetitions stop counting, and how much a long text is held against it.
K1: Final = 1.5
B: Final = 0.5
#: Functions without any of a registry's terms that it is thought to stand among. Without them a word that one of three
#: functions has would be worth a fifth of what it is worth in two hundred, and clear requests would look doubtful.
BACKGROUND: Final = 100
#: What a field says. A parameter's name or description speaks of what a call needs, not of what the function does.
NAME, DESCRIPTION, EXAMPLE, TAG, PARAMETER, PARAMETER_DESCRIPTION = 1.0, 1.0, 1.0, 0.7, 0.5, 0.5

#: Characters of a request that are read.
MAX_TERM_CHARACTERS: Final = 2_000

_RUN = re.compile(rf"[{UNSPACED}]+|\d+|[^\W\d_{UNSPACED}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")

#: Endings that make other words of one stem, the longest first.
_ENDINGS: Final = tuple(
    sorted(
        """
        ization isation ational fulness iveness ousness ations ation ments ment ings ing ators ator ated ates ate
        tions tion sion ors or ers er ed ly al ive ity e y
        """.split(),  # noqa: SIM905 - a list of forty quoted words cannot be read
        key=len,
        reverse=True,
    )
)
_SHORTEST_STEM: Final = 3


def terms(text: str) -> list[str]:
    """The terms of a text: stems of words that mean something, pairs of Chinese characters, numbers."""
    # There is no camel case without a capital behind the first letter.
    folded = normalise(text if text[1:].islower() else CAMEL.sub(" ", text))
    if folded.isascii():
        runs = split_ascii(folded)
        if not "".join(runs).isalpha():
            runs = [run for word in runs for run in _RUN.findall(word)]
        return [root(run) for run in runs if run not in STOP_WORDS]
    found: list[str] = []
    for run in _RUN.findall(folded):
        if _UNSPACED.match(run):
            pairs = [run[i : i + 2] for i in range(len(run) - 1)] or [run]
            found.extend(pair for pair in pairs if pair not in STOP_PAIRS)
        elif run not in STOP_WORDS:
            found.append(root(run))
    return found


def term_of(word: str) -> str:
    """The term of a normalised word of ASCII letters; empty where it means nothing."""
    return "" if word in STOP_WORDS else root(word)


@lru_cache(maxsize=65_536)
def root(word: str) -> str:
    """Take English endings off, more of them than `words.stem` does: BM25 weighs what is left by how rare it is.

    Only ever compared with other roots: it need not be a word.
    """
    if len(word) <= _SHORTEST_STEM or not word.isascii():
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith("sses"):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            word = word[: -len(ending)]
            break
    if len(word) > _SHORTEST_STEM and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word


class Lexicon:
    """The terms of all functions, turned round: a request costs no more than the functions that share its terms."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self.size = len(cards)
        documents = [_weigh(card) for card in cards]
        counts = self._frequencies(documents)
        holders: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for position, found in enumerate(counts):
            for term, frequency in found.items():
                holders[term].append((position, frequency))
        #: By term: the functions that have it, and what it adds to the score of each.
        self._postings: dict[str, tuple[Integers, Floats]] = {}
        self._most: dict[str, float] = {}
        #: What a term could add that a single function has.
        self._rarest = self._idf(1) * (K1 + 1) / 2
        for term, held in holders.items():
            positions = np.array([position for position, _ in held], dtype=np.int64)
            tf = np.array([frequency for _, frequency in held], dtype=np.float32)
            idf = self._idf(len(held))
            adds = np.float32(idf) * tf * np.float32(K1 + 1) / (tf + np.float32(K1))
            self._postings[term] = positions, adds
            self._most[term] = float(adds.max())

    @staticmethod
    def _frequencies(documents: Sequence[Sequence[tuple[float, list[str]]]]) -> list[dict[str, float]]:
        """By function: the weighted, length-normalised frequency of each of its terms."""
        fields = len(documents[0]) if documents else 0
        means = [max(1.0, sum(len(d[i][1]) for d in documents) / len(documents)) for i in range(fields)]
        weighed: list[dict[str, float]] = []
        for document in documents:
            frequencies: defaultdict[str, float] = defaultdict(float)
            for (weight, found), mean in zip(document, means, strict=True):
                share = weight / (1 - B + B * len(found) / mean)
                for term, count in Counter(found).items():
                    frequencies[term] += share * count
            weighed.append(frequencies)
        return weighed

    def rarity(self, term: str) -> float:
        """The idf of a term; of one that no function has, as if one had it."""
        posting = self._postings.get(term)
        return self._idf(1 if posting is None else len(posting[0]))

    def _idf(self, holders: int) -> float:
        """How rare a term is that so many functions have."""
        return math.log(1 + (self.size + BACKGROUND - holders + 0.5) / (holders + 0.5))

    def scores(self, found: Iterable[str]) -> Floats:
        """The BM25 score of each function, shape (functions,), for the terms of a request."""
        total = np.zeros(self.size, dtype=np.float32)
        for term in set(found):
            posting = self._postings.get(term)
            if posting is not None:
                total[posting[0]] += posting[1]
        return total

    def most(self, found: Iterable[str]) -> float:
        """The highest score that these terms could give, if one function had them all; unknown ones are the rarest."""
        return sum([self._most.get(term, self._rarest) for term in set(found)])

    def shared(self, found: Iterable[str], position: int) -> dict[str, float]:
        """What each term of a request adds to the score of one function."""
        shares: dict[str, float] = {}
        for term in found:
            positions, adds = self._postings.get(term, (None, None))
            if positions is not None and adds is not None:
                at = int(np.searchsorted(positions, position))
                if at < len(positions) and positions[at] == position:
                    shares[term] = float(adds[at])
        return shares


def _weigh(card: Card) -> list[tuple[float, list[str]]]:
    """The fields of a function: weight and terms."""
    return [
        (NAME, terms(" ".join(map(split_name, card.names)))),
        (DESCRIPTION, terms(card.description)),
        (PARAMETER, terms(" ".join(split_name(name) for name, _ in card.parameters))),
        (PARAMETER_DESCRIPTION, terms(" ".join(description for _, description in card.parameters))),
        (EXAMPLE, terms(" ".join(card.examples))),
        (TAG, terms(" ".join(map(split_name, card.tags)))),
    ]
