"""The neighbours tier: what was asked for in the most similar texts of before.

    s(f) = log(ε + Σ over f's remembered texts m:  exp(τ (v · v_m - 1))) - log ε

A text that is nearly one of before counts much, a distant one nothing, and several count together. Texts that a
function was wrong for speak against it in the same way.

Source: Silverman 1986, "Density Estimation for Statistics and Data Analysis", kernel estimates.
"""

from collections import defaultdict
from typing import Final

import numpy as np

from dispatcher.selection.loss import Floats

#: How fast a text stops counting with its distance, and what a function without any near text has.
TAU: Final = 20.0
EPSILON: Final = 0.01
#: Texts remembered of a function, and of all.
MAX_OF_FUNCTION: Final = 32
MAX_TEXTS: Final = 8_192
#: What a wrong function's text counts, by a right one's.
WRONG: Final = 0.5
#: A part of a vector that is shorter says nothing.
SHORTEST: Final = 0.1
#: Texts whose lengths are worked out at once.
BLOCK: Final = 256


class Neighbours:
    """Remembered texts of a set of functions."""

    def __init__(self, size: int, dimension: int, multilingual: Floats | None = None) -> None:
        """Remember nothing yet.

        Args:
            size: the functions.
            dimension: of a vector.
            multilingual: 1 for the numbers that texts in any language have, 0 for the others; None: all have all.
        """
        self.size = size
        self._multilingual = multilingual
        #: How long what each text says in any language is; 0 where that was not asked for yet.
        self._lengths = np.zeros(64, dtype=np.float32)
        self._dimension = dimension
        self._vectors = np.zeros((64, dimension), dtype=np.float32)
        self._positions = np.zeros(64, dtype=np.int64)
        #: 1 where the function was right, below 0 where it was wrong.
        self._signs = np.zeros(64, dtype=np.float32)
        self._texts: list[str] = []
        self._of: defaultdict[int, list[int]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, vector: Floats, position: int, text: str, *, right: bool = True) -> None:
        """Remember a text; a function's oldest makes room."""
        own = self._of[position]
        if len(own) >= MAX_OF_FUNCTION:
            place = own.pop(0)
            self._texts[place] = text
        elif len(self) >= MAX_TEXTS:
            return
        else:
            place = len(self)
            if place >= len(self._positions):
                self._grow()
            self._texts.append(text)
            self._positions[place] = position
        own.append(place)
        self._vectors[place] = vector
        self._signs[place] = 1.0 if right else -WRONG
        self._lengths[place] = 0.0

    def read(self, vector: Floats, nothing: int, *, shared: bool = False) -> tuple[Floats, tuple[float, float]]:
        """What `logits` and `closeness` say, for one product with the remembered vectors, which is most of the work.

        Args:
            vector: of the text.
            nothing: the position of the texts that nothing fits.
            shared: whether what texts in any language say is compared alone, where the text says no more.
        """
        cosines = self._cosines(vector)
        if shared and self._multilingual is not None and not (vector * (1 - self._multilingual)).any():
            cosines /= self._lengths_of(self._multilingual)
        return self._logits(cosines), self._closeness(cosines, nothing)

    def logits(self, vector: Floats) -> Floats:
        """Shape (functions,): 0 for a function without a near text."""
        return self._logits(self._cosines(vector))

    def closeness(self, vector: Floats, nothing: int) -> tuple[float, float]:
        """The cosine of the nearest text that a function was right for, and of the nearest at position `nothing`."""
        return self._closeness(self._cosines(vector), nothing)

    def _lengths_of(self, multilingual: Floats) -> Floats:
        """How long what each text says in any language is: few texts are foreign, so it is worked out for the first."""
        lengths = self._lengths[: len(self)]
        new = (lengths == 0).nonzero()[0]
        for places in np.array_split(new, len(new) // BLOCK + 1):
            lengths[places] = np.sqrt(np.square(self._vectors[places]) @ multilingual)
        np.maximum(lengths, SHORTEST, out=lengths)
        return lengths

    def _cosines(self, vector: Floats) -> Floats:
        """Of the remembered texts."""
        found: Floats = self._vectors[: len(self)] @ vector
        return found

    def _logits(self, cosines: Floats) -> Floats:
        count = len(cosines)
        if not count:
            return np.zeros(self.size, dtype=np.float32)
        near = np.exp(np.float32(TAU) * (cosines - np.float32(1)))
        signs, positions = self._signs[:count], self._positions[:count]
        wrong = signs < 0
        right = np.bincount(positions, np.where(wrong, 0, near * signs), minlength=self.size)
        scores = np.log(right / EPSILON + 1)
        if wrong.any():
            scores -= np.log(
                np.bincount(positions, np.where(wrong, near * -signs, 0), minlength=self.size) / EPSILON + 1
            )
        return scores.astype(np.float32)

    def _closeness(self, cosines: Floats, nothing: int) -> tuple[float, float]:
        count = len(cosines)
        right = self._signs[:count] > 0
        if not right.any():
            return 0.0, 0.0
        confirmed = np.where(right, cosines, np.float32(-1))
        refused = self._positions[:count] == nothing
        best = [float(confirmed[group].max()) if group.any() else 0.0 for group in (~refused, refused)]
        return max(best[0], 0.0), max(best[1], 0.0)

    def nearest(self, vector: Floats, position: int) -> tuple[str, float]:
        """The nearest text of a function and its cosine; empty where it has none."""
        own = [place for place in self._of[position] if self._signs[place] > 0]
        if not own:
            return "", 0.0
        cosines = self._vectors[own] @ vector
        best = int(cosines.argmax())
        return self._texts[own[best]], float(cosines[best])

    def _grow(self) -> None:
        size = 2 * len(self._positions)
        for name in ("_vectors", "_positions", "_signs", "_lengths"):
            old = getattr(self, name)
            new = np.zeros((size, *old.shape[1:]), dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
