"""What functions say of themselves in a few words, and how much of it a text says.

    share = Σ idf over the terms of the name (or the first sentence) that the text has / Σ idf over all of them

A text that asks for a function says, as a rule, what the function is for; one that only shares some words with it may
be about anything. How much of the text a function has is the lexical tier's to say; this is the other way round. What
comes after the first sentence of a description is detail that nobody repeats when asking.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from dispatcher.selection.card import Card
from dispatcher.selection.lexical import Lexicon, terms
from dispatcher.selection.words import split_name

#: Terms that a first sentence has at least: "Note." says nothing of a function.
_LEAST: Final = 2
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+|(?<=[。！？])")


def first_sentence(description: str) -> str:
    """The first sentence that says something; all of a description where none does."""
    sentences = _SENTENCE_END.split(description)
    return next((sentence for sentence in sentences if len(set(terms(sentence))) >= _LEAST), description)


class _Terms(NamedTuple):
    """Terms that belong together: what each weighs, and all of them."""

    weights: dict[str, float]
    total: float

    def share(self, text: frozenset[str]) -> float:
        weights = self.weights
        return sum([weights[term] for term in text if term in weights]) / self.total


class Outline:
    """The names and first sentences of a set of functions, each read when its function first comes first."""

    def __init__(self, cards: Sequence[Card], lexicon: Lexicon) -> None:
        self._cards = cards
        self._lexicon = lexicon
        #: By position: each name, and the first sentence.
        self._read: dict[int, tuple[list[_Terms], _Terms | None]] = {}

    def shares(self, found: Iterable[str], position: int) -> tuple[float, float]:
        """How much of a function's name, and of the first sentence about it, the terms of a text are: 0 to 1 each.

        The best of its names counts. A function that is not described has its name alone to say.
        """
        own = self._read.get(position)
        if own is None:
            own = self._read[position] = self._find(self._cards[position])
        names, sentence = own
        text = frozenset(found)
        named = max([name.share(text) for name in names], default=0.0)
        return named, named if sentence is None else sentence.share(text)

    def _find(self, card: Card) -> tuple[list[_Terms], _Terms | None]:
        names = [frozenset(terms(split_name(name))) for name in card.names]
        first = frozenset(terms(first_sentence(card.description)))
        return [self._weigh(name) for name in names if name], self._weigh(first) if first else None

    def _weigh(self, found: Iterable[str]) -> _Terms:
        weights = {term: self._lexicon.rarity(term) for term in found}
        return _Terms(weights, sum(weights.values()))
