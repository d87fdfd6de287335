"""The keyword tier: what a person's rules say of each function, and how like its examples a text is.

Words that a text shares with a description add nothing here: BM25 and the n-grams count them already.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from dispatcher.selection.card import Card
from dispatcher.selection.evidence import Index
from dispatcher.selection.loss import Floats
from dispatcher.selection.reading import Reading
from dispatcher.selection.rules import CompiledRule
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.words import words

#: What a like example adds at most, as in the keyword selector.
EXAMPLE_WEIGHT: Final = 5.0
#: Functions above which examples are left to the other tiers, which are quicker.
MAX_EVIDENCE: Final = 500
#: What a rule found only in the material counts.
MATERIAL_WEIGHT: Final = 0.25


class KeywordTier:
    """The rules and examples of a set of functions."""

    def __init__(
        self, cards: Sequence[Card], names: Mapping[str, int], rules: Sequence[CompiledRule], *, liken: bool
    ) -> None:
        """Gather them.

        Args:
            cards: the functions.
            names: their positions.
            rules: those of functions that there are not are left out.
            liken: whether to compare texts with examples, where there are any.
        """
        self._size = len(cards)
        self._rules = tuple((names[rule.rule.function], rule) for rule in rules if rule.rule.function in names)
        likened = liken and self._size <= MAX_EVIDENCE and any(card.examples for card in cards)
        self._evidence = Index(cards) if likened else None

    @property
    def are_silent(self) -> bool:
        """Whether there is nothing that could speak for a function."""
        return not self._rules and self._evidence is None

    def logits(self, reading: Reading) -> Floats:
        """As the keyword selector scores: rules, and the likeness to examples."""
        scores = np.zeros(self._size, dtype=np.float32)
        state = _state_of(reading)
        for position, rule in self._rules:
            share, _ = rule.match(reading.request, state, MATERIAL_WEIGHT)
            scores[position] += share * rule.rule.weight
        if self._evidence is not None:
            for position, likeness in self._evidence.likenesses(words(reading.request.instruction)).items():
                scores[position] += EXAMPLE_WEIGHT * likeness**2
        return scores

    def ruled(self, reading: Reading, position: int) -> float:
        """The weights of a function's rules, as far as they match."""
        state = _state_of(reading)
        return sum(
            rule.match(reading.request, state, MATERIAL_WEIGHT)[0] * rule.rule.weight
            for at, rule in self._rules
            if at == position
        )

    def matches(self, reading: Reading, position: int) -> list[tuple[float, str]]:
        """How far each rule of a function matches, and which words did."""
        state = _state_of(reading)
        return [rule.match(reading.request, state, MATERIAL_WEIGHT) for at, rule in self._rules if at == position]


def _state_of(reading: Reading) -> ConversationState:
    return reading.state if reading.state is not None else ConversationState()
