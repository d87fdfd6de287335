"""The embedding tier: a linear head over sentence vectors, started from the functions' descriptions.

    D[f]     = v'(name, description and parameters of f) + v'(its description) + NAME_WEIGHT · v'(its name), of length 1
    H0[f]    = D[f] + Σ v(example) over its examples, of length SCALE
    logit(f) = v(text) · H[f] + b[f],    H = H0 before anything was learnt

An encoder makes one vector of a text, however much it says: what a long one says last, or beside the point, drowns the
rest. So what a function does, what it is called, and all that is known of it each speak for themselves.

A request in another script than the examples' has a head of its own, F, over the numbers of multilingual encoders
alone: the one above leans on what an encoder for English says, which is not there then. Where a dictionary gave that
encoder something to read, both heads speak, and err at different texts:

    logit(f) = (1 - GLOSSED) (w · F[f] + c[f]) + GLOSSED (v(text) · H[f] + b[f])    w: what multilingual encoders say

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
#: What a function's name counts beside what is written about it: a name says less, and is often an abbreviation.
NAME_WEIGHT: Final = 0.5
#: The step of online learning.
RATE: Final = 2.0
#: The step of a bias, by that of its row.
BIAS: Final = 0.02
#: Gradients by a logit that are left: each costs a row of both heads.
NEGLIGIBLE: Final = 4e-3
#: What the head for English counts of a foreign request that was read word for word.
GLOSSED: Final = 0.4
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
        #: The same two for foreign requests; empty where no encoder reads them.
        self._foreign_head = self.foreign_start.copy()
        self._foreign_bias = np.zeros(len(self._foreign_head), dtype=np.float32)
        #: How much longer the rows of H0 are for foreign requests, in the numbers that both have.
        self._foreign_scale: Floats = _ratio(self._foreign_head, self._start)

    @property
    def start(self) -> Floats:
        """H0, shape (functions, dimension)."""
        return self._start

    @property
    def foreign_start(self) -> Floats:
        """H0 of foreign requests, shape (functions, dimension); no row where no encoder reads them."""
        if not self.meaning.crosses_languages:
            return self._start[:0]
        return self.meaning.foreign(self._start) * np.float32(SCALE)

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

    def load_foreign(self, delta: Array, bias: Array, positions: Mapping[int, int]) -> None:
        """The same for foreign requests."""
        for column, position in positions.items():
            self._foreign_head[position] += delta[column].astype(np.float32)
            self._foreign_bias[position] += np.float32(bias[column])

    def logits(self, vector: Floats, *, foreign: bool = False) -> Floats:
        """Shape (functions,)."""
        if not foreign:
            product: Floats = self._head @ vector
            product += self._bias
            return product
        own: Floats = self._foreign_head @ self.meaning.foreign(vector)
        own += self._foreign_bias
        return _blend(own, self.logits(vector)) if self.meaning.has_english(vector) else own

    def first_logits(self, vector: Floats, *, foreign: bool = False) -> Floats:
        """The logits before anything was learnt, shape (functions,)."""
        if not foreign:
            found: Floats = self._start @ vector
            return found
        own: Floats = self._start @ self.meaning.foreign(vector)
        # The vector is zero where the two differ otherwise.
        own *= self._foreign_scale
        return _blend(own, self.first_logits(vector)) if self.meaning.has_english(vector) else own

    def learn(self, vector: Floats, gradient: Mapping[int, float], weight: float = 1.0) -> None:
        """One stochastic step.

        Args:
            vector: of the text.
            gradient: of the loss by the logits of functions; those that it is next to nothing for are left.
            weight: of the example.
        """
        learnt = {position: by_logit for position, by_logit in gradient.items() if abs(by_logit) > NEGLIGIBLE}
        if not learnt:
            return
        vectors = [(self._head, self._bias, vector)]
        if len(self._foreign_head):
            # What is taught in one language holds in the others.
            vectors.append((self._foreign_head, self._foreign_bias, self.meaning.foreign(vector)))
        # Row by row: for the few functions that there are as a rule this takes a third of the time of `_step`.
        for position, by_logit in learnt.items():
            step = np.float32(by_logit) * np.float32(RATE * weight)
            for head, bias, own in vectors:
                head[position] -= step * own
                bias[position] -= np.float32(BIAS) * step

    def logits_among(self, vectors: Floats, candidates: Integers | None, foreign: Array) -> Floats:
        """Of some functions for each of several texts, shape (texts, candidates).

        Args:
            vectors: of the texts, shape (texts, dimension).
            candidates: positions, shape (texts, candidates); None for all functions.
            foreign: which of the texts are, shape (texts,).
        """
        found = _among(self._head, self._bias, vectors, candidates)
        if foreign.any():
            own = None if candidates is None else candidates[foreign]
            abroad = self.meaning.foreign(vectors[foreign])
            said = _among(self._foreign_head, self._foreign_bias, abroad, own)
            glossed = self.meaning.has_english(vectors[foreign])
            said[glossed] = _blend(said[glossed], found[foreign][glossed])
            found[foreign] = said
        return found

    def learn_together(self, vectors: Floats, candidates: Integers | None, gradient: Floats) -> None:
        """One step for several texts.

        Args:
            vectors: of the texts, shape (texts, dimension).
            candidates: positions, shape (texts, candidates), distinct for each text; None for all functions.
            gradient: of the loss by the logits of these, likewise; functions that it is next to nothing for are left.
        """
        by_function = gradient.T
        if candidates is not None:
            by_function = np.zeros((self.size, len(vectors)), dtype=np.float32)
            by_function[candidates, np.arange(len(vectors))[:, None]] = gradient
        positions = (np.maximum.reduce(np.abs(by_function), axis=1) > NEGLIGIBLE).nonzero()[0]
        self._step(positions, by_function.take(positions, axis=0) * np.float32(RATE), vectors)

    def _step(self, positions: Integers, steps: Floats, vectors: Floats) -> None:
        """Go down in both heads.

        Args:
            positions: distinct, shape (functions,).
            steps: by function and text, shape (functions, texts).
            vectors: of the texts, shape (texts, dimension).
        """
        by_bias = np.float32(BIAS) * np.add.reduce(steps, axis=1)
        self._head[positions] -= steps @ vectors
        self._bias[positions] -= by_bias
        if len(self._foreign_head):
            # What is taught in one language holds in the others.
            self._foreign_head[positions] -= steps @ self.meaning.foreign(vectors)
            self._foreign_bias[positions] -= by_bias


def _blend(foreign: Floats, english: Floats) -> Floats:
    """What both heads say of a foreign request that was read word for word."""
    return foreign + np.float32(GLOSSED) * (english - foreign)


def _ratio(foreign: Floats, start: Floats) -> Floats:
    """By how much the rows of one are greater than those of the other, where they are not zero."""
    products = np.einsum("fd,fd->f", foreign, start[: len(foreign)])
    return np.asarray(SCALE**2 / np.maximum(products, np.float32(1e-6)), dtype=np.float32)


def _among(head: Floats, bias: Floats, vectors: Floats, candidates: Integers | None) -> Floats:
    found: Floats
    if candidates is None:
        found = vectors @ head.T
        found += bias
        return found
    if len(head) <= SMALL * candidates.shape[1]:
        found = (vectors @ head.T)[np.arange(len(vectors))[:, None], candidates]
    else:
        found = np.einsum("tcd,td->tc", head[candidates], vectors)
    found += bias[candidates]
    return found


def render(card: Card) -> str:
    """Everything that a function says about itself, as one text."""
    named = split_name(card.name)
    described = f"{named}: {card.description}" if card.description else named
    if not card.parameters:
        return described
    takes = "; ".join(f"{split_name(name)}: {text}" if text else split_name(name) for name, text in card.parameters)
    return f"{described} {takes}"


def texts_of(cards: Sequence[Card]) -> list[str]:
    """What functions say about themselves: first all whole, then all descriptions, then all names."""
    names = [split_name(card.name) for card in cards]
    described = [card.description or name for card, name in zip(cards, names, strict=True)]
    return [*map(render, cards), *described, *names]


def examples_of(cards: Sequence[Card]) -> list[str]:
    """Functions' own examples."""
    return [example for card in cards for example in card.examples]


def _starts(cards: Sequence[Card], meaning: Meaning) -> Floats:
    if not cards:
        return np.zeros((0, meaning.dimension), dtype=np.float32)
    texts, count = texts_of(cards), len(cards)
    starts = meaning.descriptions(texts[:count])
    starts += meaning.descriptions(texts[count : 2 * count])
    starts += np.float32(NAME_WEIGHT) * meaning.descriptions(texts[2 * count :])
    starts = unit(starts)
    owners = [position for position, card in enumerate(cards) for _ in card.examples]
    if owners:
        np.add.at(starts, owners, meaning.requests(examples_of(cards)))
    return unit(starts)
