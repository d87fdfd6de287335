"""The embedding tier: a linear head over sentence vectors, started from the functions' descriptions.

    H0[f]    = v'(f described with its parameters) + v'(without) + Σ v(example) over its examples, of length SCALE
    logit(f) = v(text) · H[f] + b[f],    H = H0 before anything was learnt

Source: Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning", for means of examples as a start.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from dispatcher.selection.card import Card
from dispatcher.selection.encoders.encoder import unit
from dispatcher.selection.loss import Floats, Integers
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.stored import Array
from dispatcher.selection.words import split_name

#: What a cosine of 1 is worth as a logit, before anything is learnt.
SCALE: Final = 20.0
#: The step of online learning.
RATE: Final = 2.0
#: Gradients that are left.
NEGLIGIBLE: Final = 1e-3
#: Up to so many functions for each candidate one product with the whole head is quicker than rows of it.
SMALL: Final = 8


class Embedding:
    """The head of a set of functions."""

    def __init__(self, cards: Sequence[Card], meaning: Meaning) -> None:
        """Encode what the functions say about themselves."""
        self.meaning = meaning
        self.size = len(cards)
        self._start: Floats = _starts(cards, meaning) * np.float32(SCALE)
        self._head: Floats = self._start.copy()
        self._bias = np.zeros(self.size, dtype=np.float32)
        #: What the logits of a request are multiplied by that only some of the encoders can read: fewer numbers of a
        #: vector speak for a function, and must not say less for it.
        self.foreign_scale = 1.0

    @property
    def start(self) -> Floats:
        """H0, shape (functions, dimension)."""
        return self._start

    @property
    def head(self) -> Floats:
        return self._head

    @property
    def bias(self) -> Floats:
        return self._bias

    def load(self, delta: Array, bias: Array, positions: Mapping[int, int]) -> None:
        """Take in what was learnt offline.

        Args:
            delta: what was added to H0, shape (columns, dimension).
            bias: shape (columns,).
            positions: the function of each column, those that there still are.
        """
        for column, position in positions.items():
            self._head[position] += delta[column].astype(np.float32)
            self._bias[position] += np.float32(bias[column])

    def logits(self, vector: Floats) -> Floats:
        """Shape (functions,)."""
        product: Floats = self._head @ vector
        if self.foreign_scale != 1 and self.meaning.is_foreign(vector):
            product *= np.float32(self.foreign_scale)
        product += self._bias
        return product

    def logits_among(self, vectors: Floats, candidates: Integers) -> Floats:
        """Of some functions for each of several texts, shape (texts, candidates).

        Args:
            vectors: of the texts, shape (texts, dimension).
            candidates: positions, shape (texts, candidates).
        """
        if self.size <= SMALL * candidates.shape[1]:
            logits = (vectors @ self._head.T)[np.arange(len(vectors))[:, None], candidates]
        else:
            logits = np.einsum("tcd,td->tc", self._head[candidates], vectors)
        if self.foreign_scale != 1:
            foreign = [self.meaning.is_foreign(vector) for vector in vectors]
            logits[foreign] *= np.float32(self.foreign_scale)
        found: Floats = logits + self._bias[candidates]
        return found

    def learn(self, vectors: Floats, candidates: Integers, gradient: Floats) -> None:
        """One step for several texts together.

        Args:
            vectors: of the texts, shape (texts, dimension).
            candidates: positions, shape (texts, candidates); distinct for each text.
            gradient: of the loss by the logits of these, likewise; what is next to nothing is left.
        """
        texts, places = (np.abs(gradient) > NEGLIGIBLE).nonzero()
        positions = candidates[texts, places]
        whole = np.zeros((self.size, len(vectors)), dtype=np.float32)
        whole[positions, texts] = np.float32(RATE) * gradient[texts, places]
        rows = np.bincount(positions, minlength=self.size).nonzero()[0]
        step = whole[rows]
        self._head[rows] -= step @ vectors
        self._bias[rows] -= np.float32(0.02) * step.sum(axis=1)


def render(card: Card, *, parameters: bool = True) -> str:
    """What a function says about itself, as one text; with its parameters or without."""
    named = split_name(card.name)
    described = f"{named}: {card.description}" if card.description else named
    if not parameters or not card.parameters:
        return described
    takes = "; ".join(f"{split_name(name)}: {text}" if text else split_name(name) for name, text in card.parameters)
    return f"{described} {takes}"


def _starts(cards: Sequence[Card], meaning: Meaning) -> Floats:
    if not cards:
        return np.zeros((0, meaning.dimension), dtype=np.float32)
    # What a function does, and what it takes, say different things: neither should drown the other.
    whole = meaning.descriptions([render(card) for card in cards])
    starts = unit(whole + meaning.descriptions([render(card, parameters=False) for card in cards]))
    owners = [position for position, card in enumerate(cards) for _ in card.examples]
    if owners:
        np.add.at(starts, owners, meaning.requests([example for card in cards for example in card.examples]))
    return unit(starts)
