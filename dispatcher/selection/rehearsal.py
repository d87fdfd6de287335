"""What was said before, learnt again: each feedback is one small batch, itself and a few of before.

One pass over texts leaves much untold: the first ones were learnt when next to nothing was known. A verdict of "wrong"
above all says more later, when the functions that are left have become known. Two dozen of before, taken in turn, cost
one product with the head for all, and are learnt as if they had been said now.

Those that were confirmed count for more than those that were wrong: what is known of these is only what they do not
ask for. A head that is fitted to that as closely finds functions for them by chance.

Which ones is a matter of how many were learnt, not of chance: they follow the golden ratio, which spreads them evenly.

Source: Lin 1992, "Self-Improving Reactive Agents Based on Reinforcement Learning, Planning and Teaching" (experience
replay); Knuth 1998, "The Art of Computer Programming", volume 3, section 6.4, for the golden ratio.
"""

from typing import Final

import numpy as np

from dispatcher.selection.embedding import Embedding
from dispatcher.selection.judgement import Judged, candidates_of
from dispatcher.selection.loss import Floats, softmax
from dispatcher.selection.unsaid import beliefs, spread

#: Texts of before that are learnt again with each.
AGAIN: Final = 24
#: What a text of before counts that was confirmed, and one that a function was wrong for.
CONFIRMED: Final = 1.5
DENIED: Final = 0.6
#: Texts that are kept; the newest takes the place of the oldest.
MAX_TEXTS: Final = 4_096
#: Below this nothing is learnt: it was known.
SURPRISE: Final = 0.05
#: The part of the golden ratio behind the point.
_GOLDEN: Final = 0.6180339887498949


class Rehearsal:
    """Texts that the embedding's head has learnt, and learns again."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self._count = 0
        self._width = candidates_of(embedding.size)
        #: Whether candidates are all functions, in order: then they need not be kept.
        self._are_all = self._width == embedding.size
        self._vectors = np.zeros((0, embedding.meaning.dimension), dtype=np.float32)
        self._candidates = np.zeros((0, 0 if self._are_all else self._width), dtype=np.int64)
        self._rest = np.zeros((0, self._width), dtype=np.float32)
        self._first = np.zeros((0, self._width), dtype=np.float32)
        self._places = np.zeros(0, dtype=np.int64)
        self._right = np.zeros(0, dtype=bool)
        self._foreign = np.zeros(0, dtype=bool)
        #: What each counts once it is one of before.
        self._weights = np.zeros(0, dtype=np.float32)

    def __len__(self) -> int:
        return min(self._count, MAX_TEXTS)

    def learn(self, judged: Judged, surprise: float, gates: Floats, examples: Floats) -> None:
        """One step: this text, and some of before; none where it was no surprise.

        Args:
            judged: the text.
            surprise: the size of the loss's gradient by the logit of the judged function.
            gates: the weight of the embedding for each function, shape (functions,).
            examples: how many each function has, shape (functions,).
        """
        known, place = len(self), self._keep(judged)
        if surprise < SURPRISE:
            return
        texts = np.array([*self._again(known), place])
        vectors, places = self._vectors[texts], self._places[texts]
        candidates = None if self._are_all else self._candidates[texts]
        if candidates is not None:
            gates, examples = gates[candidates], examples[candidates]
        logits = self._embedding.logits_among(vectors, candidates, self._foreign[texts])
        logits *= gates
        logits += self._rest[texts]
        believed = beliefs(self._first[texts], places, examples)
        gradient = spread(softmax(logits), places, self._right[texts], believed)
        weights = self._weights[texts]
        # Said now, it counts once.
        weights[-1] = judged.weight
        gradient *= weights[:, None]
        self._embedding.learn_together(vectors, candidates, gradient)

    def _again(self, known: int) -> list[int]:
        """The texts of before whose turn it is, of so many."""
        turns = range(AGAIN * self._count + 1, AGAIN * (self._count + 1) + 1) if known else ()
        return [int(turn * _GOLDEN % 1 * known) for turn in turns]

    def _keep(self, judged: Judged) -> int:
        place = self._count % MAX_TEXTS
        if place >= len(self._places):
            self._grow()
        self._vectors[place] = judged.vector
        if not self._are_all:
            self._candidates[place] = judged.candidates
        self._rest[place], self._first[place] = judged.rest, judged.first
        self._places[place], self._right[place] = judged.place, judged.right
        self._weights[place] = judged.weight * (CONFIRMED if judged.right else DENIED)
        self._foreign[place] = judged.foreign
        self._count += 1
        return place

    def _grow(self) -> None:
        size = min(MAX_TEXTS, max(64, 2 * len(self._places)))
        for name in ("_vectors", "_candidates", "_rest", "_first", "_places", "_right", "_foreign", "_weights"):
            old = getattr(self, name)
            new = np.zeros((size, *old.shape[1:]), dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
