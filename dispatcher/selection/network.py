"""The network tier: one hidden layer over sentence vectors, with a class for what no function is meant by.

    h = relu(v A + a),   z = h B + b,   z has one place more than there are functions: "none of these"
    score(f) = z_f,      known(text) = log Σ exp(z_f over functions) - z_none

Nobody has examples of everything that people may say. What lies between two functions is made up instead: for pairs of
examples of different functions, a point on the line between them, as long as the first, is an example of none. That
teaches the network where a function's texts end, which a linear model cannot say.

Source: Zhang et al. 2018, "mixup", for lines between examples; Zhou, Ye and Zhan 2021, "Learning Placeholders for
Open-Set Recognition", for such points as a class of their own; Srivastava et al. 2014 for dropout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dispatcher.selection.dropout import mask
from dispatcher.selection.loss import Floats, Integers, Slope, cross_entropy
from dispatcher.selection.stored import Array

#: Hidden units.
HIDDEN: Final = 512
#: Made-up examples of none, by one real example.
MADE_UP: Final = 0.25
#: How far from the nearer end they may lie.
FROM, TO = 0.3, 0.7
#: Shares of the inputs and of the hidden units that a step does without.
DROP_INPUTS, DROP_HIDDEN = 0.1, 0.4
#: Vectors are this long inside the network: its starting weights are tuned to it.
LENGTH: Final = 7.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """Trained weights. Columns are functions, those that it was trained on, and "none of these" at the end."""

    inner: Floats
    inner_bias: Floats
    outer: Floats
    outer_bias: Floats

    def logits(self, vectors: Floats) -> Floats:
        """Shape (texts, columns + 1)."""
        return self.finish(vectors @ self.inner)

    def finish(self, hidden: Floats) -> Floats:
        """The same of what comes to the hidden units, shape (texts, hidden), which is lost."""
        hidden += self.inner_bias
        logits: Floats = np.maximum(hidden, 0, out=hidden) @ self.outer
        logits += self.outer_bias
        return logits

    def arrange(self, positions: Mapping[int, int], size: int) -> "Network":
        """The same for functions in another order; one that it does not know gets a column that is never likely.

        Args:
            positions: the new place of each column.
            size: the number of functions.
        """
        outer = np.zeros((len(self.outer), size + 1), dtype=np.float32)
        bias = np.full(size + 1, UNKNOWN, dtype=np.float32)
        for column, position in {**positions, self.outer.shape[1] - 1: size}.items():
            outer[:, position], bias[position] = self.outer[:, column], self.outer_bias[column]
        return Network(inner=self.inner, inner_bias=self.inner_bias, outer=outer, outer_bias=bias)

    def fits(self, dimension: int, columns: int) -> bool:
        """Whether it takes vectors of a dimension, knows so many functions, and holds nothing but numbers."""
        inner, outer = self.inner.shape, self.outer.shape
        shapes = (inner, outer, self.inner_bias.shape, self.outer_bias.shape)
        hidden = len(self.inner_bias)
        return shapes == ((dimension, hidden), (hidden, columns + 1), (hidden,), (columns + 1,)) and all(
            np.isfinite(array).all() for array in (self.inner, self.inner_bias, self.outer, self.outer_bias)
        )

    def dump(self) -> dict[str, Array]:
        return {
            "network_inner": self.inner.astype(np.float16),
            "network_inner_bias": self.inner_bias,
            "network_outer": self.outer.astype(np.float16),
            "network_outer_bias": self.outer_bias,
        }

    @classmethod
    def load(cls, arrays: Mapping[str, Array]) -> "Network | None":
        """What `dump` gave; None where there is none."""
        if "network_inner" not in arrays:
            return None
        return cls(
            inner=arrays["network_inner"].astype(np.float32),
            inner_bias=arrays["network_inner_bias"].astype(np.float32),
            outer=arrays["network_outer"].astype(np.float32),
            outer_bias=arrays["network_outer_bias"].astype(np.float32),
        )


#: The bias of a function that the network does not know.
UNKNOWN: Final = -30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Layered:
    """The network's objective; its parameters are A, a, B and b."""

    #: Shape (examples, dimension), already LENGTH long.
    vectors: Floats
    labels: Integers
    weights: Floats
    #: Functions, and one more for none.
    classes: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def start(self) -> list[Floats]:
        rng = np.random.default_rng(self.seed)
        width = self.vectors.shape[1]
        return [
            (rng.standard_normal((width, HIDDEN)) * np.sqrt(2 / width)).astype(np.float32),
            np.zeros(HIDDEN, dtype=np.float32),
            np.zeros((HIDDEN, self.classes), dtype=np.float32),
            np.zeros(self.classes, dtype=np.float32),
        ]

    def loss(self, parameters: list[Floats]) -> float:
        inner, inner_bias, outer, outer_bias = parameters
        logits = np.maximum(self.vectors @ inner + inner_bias, 0) @ outer + outer_bias
        return cross_entropy(logits, self.labels, self.weights)[0]

    def slopes(self, parameters: list[Floats], batch: Integers, rng: np.random.Generator) -> tuple[float, list[Slope]]:
        inner, inner_bias, outer, outer_bias = parameters
        inputs: Floats = self.vectors[batch] * mask(rng, (len(batch), self.vectors.shape[1]), DROP_INPUTS)
        summed: Floats = inputs @ inner + inner_bias
        passing: Floats = (summed > 0) * mask(rng, summed.shape, DROP_HIDDEN)
        hidden: Floats = summed * passing
        loss, by_logits = cross_entropy(hidden @ outer + outer_bias, self.labels[batch], self.weights[batch])
        by_summed = (by_logits @ outer.T) * passing
        return loss, [
            Slope(inputs.T @ by_summed),
            Slope(by_summed.sum(axis=0)),
            Slope(hidden.T @ by_logits),
            Slope(by_logits.sum(axis=0)),
        ]


def make_up(vectors: Floats, labels: Integers, *, seed: int) -> Floats:
    """Points between examples of different functions, as long as the examples, shape (about n · MADE_UP, dimension)."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, len(vectors), (2, max(1, int(MADE_UP * len(vectors)))))
    apart = labels[first] != labels[second]
    first, second = first[apart], second[apart]
    share = rng.uniform(FROM, TO, (len(first), 1)).astype(np.float32)
    between = share * vectors[first] + (1 - share) * vectors[second]
    lengths = np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-6)
    made: Floats = between * (np.linalg.norm(vectors[first], axis=1, keepdims=True) / lengths)
    return made
