"""What functions say of themselves in a few words, and how much of it a text says.

    share = Σ idf over the terms of the name (or the first sentence) that the text has / Σ idf over all of them

A text that asks for a function says, as a rule, what the function is for; one that only shares some words with it may
be about anything. How much of the text a function has is the lexical tier's to say; this is the other way round. What
comes after the first sentence of a description is detail that nobody repeats when asking.
"""

import re
from collections.abc import Collection, Sequence
from typing import Final

from dispatcher.selection.card import Card
from dispatcher.selection.lexical import Lexicon, terms
from dispatcher.selection.words import split_name

#: Terms that a first sentence has at least: "Note." says nothing of a function.
_LEAST: Final = 2
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+|(?<=[。！？])")


class Outline:
    """The names and first sentences of a set of functions, each read when its function first comes first."""

    def __init__(self, cards: Sequence[Card], lexicon: Lexicon) -> None:
        self._cards = cards
        self._lexicon = lexicon
        self._names: dict[int, list[frozenset[str]]] = {}
        self._sentences: dict[int, frozenset[str]] = {}

    def shares(self, found: Collection[str], position: int) -> tuple[float, float]:
        """How much of a function's name, and of the first sentence about it, the terms of a text are: 0 to 1 each.

        The best of its names counts. A function that is not described has its name alone to say.
        """
        if position not in self._names:
            self._read(position)
        text = frozenset(found)
        named = max((self._share(name, text) for name in self._names[position]), default=0.0)
        sentence = self._sentences[position]
        return named, self._share(sentence, text) if sentence else named

    def _read(self, position: int) -> None:
        card = self._cards[position]
        names = [frozenset(terms(split_name(name))) for name in card.names]
        self._names[position] = [name for name in names if name]
        sentences = (frozenset(terms(sentence)) for sentence in _SENTENCE_END.split(card.description))
        first = next((sentence for sentence in sentences if len(sentence) >= _LEAST), None)
        self._sentences[position] = first or frozenset(terms(card.description))

    def _share(self, own: frozenset[str], text: frozenset[str]) -> float:
        rarity = self._lexicon.rarity
        return sum(map(rarity, own & text)) / sum(map(rarity, own))
