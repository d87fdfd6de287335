"""The one loss of everything that is trained here: cross-entropy over a softmax, with a pull towards where it started.

For examples i with inputs x, labels y and weights v (their mean is 1), over the classes c:

    z = x W + b,    p = softmax(z)
    loss(W, b) = 1/n Σ v_i (-log p_i[y_i]) + l2/2 |W - W0|²
    d loss / d z_i = v_i (p_i - onehot(y_i)) / n

W0 is where the weights start: what the functions' descriptions say. With no examples the best W is W0, with many the
data decide: it is the maximum a posteriori estimate under a Gaussian prior around W0.

Source: Bishop 2006, "Pattern Recognition and Machine Learning", sections 4.3.4 and 3.3.1.
"""

from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Integers: TypeAlias = npt.NDArray[np.int64]

_ONES: Final = np.ones(1_024, dtype=np.float32)


def ones(count: int) -> Floats:
    """So many ones, to read: as a product with them a sum takes three quarters of the time."""
    return _ONES[:count] if count <= len(_ONES) else np.ones(count, dtype=np.float32)


def softmax(logits: Floats) -> Floats:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return np.asarray(powers, dtype=np.float32)


def log_softmax(logits: Floats) -> Floats:
    """Logarithms of the probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.asarray(shifted, dtype=np.float32)


def cross_entropy(logits: Floats, labels: Integers, weights: Floats) -> tuple[float, Floats]:
    """The mean loss, and its gradient by the logits.

    Args:
        logits: shape (n, classes).
        labels: shape (n,), the right class of each.
        weights: shape (n,).
    """
    rows = np.arange(len(labels))
    logs = log_softmax(logits)
    loss = -float(weights @ logs[rows, labels]) / len(labels)
    gradient = np.exp(logs)
    gradient[rows, labels] -= 1.0
    gradient *= (weights / np.float32(len(labels)))[:, None]
    return loss, gradient


class Inputs(Protocol):
    """Examples as a linear model reads them: a matrix that is never built whole where it is sparse."""

    def __len__(self) -> int: ...

    @property
    def width(self) -> int:
        """Columns: the rows of the weights."""
        ...

    def take(self, batch: Integers) -> tuple[Floats, Integers | None]:
        """Some examples as a dense matrix, and which columns it has; None for all of them, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Dense:
    """Vectors, one a row."""

    rows: Floats

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        return int(self.rows.shape[1])

    def take(self, batch: Integers) -> tuple[Floats, Integers | None]:
        return self.rows[batch], None


@dataclass(frozen=True, slots=True)
class Sparse:
    """Rows that are mostly 0: where each begins, and the columns and values that are not 0, one row after another."""

    starts: Integers
    columns: Integers
    values: Floats
    width: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, batch: Integers) -> tuple[Floats, Integers | None]:
        sizes = self.starts[batch + 1] - self.starts[batch]
        places = np.arange(int(sizes.sum())) + np.repeat(self.starts[batch] - np.cumsum(sizes) + sizes, sizes)
        columns, inverse = np.unique(self.columns[places], return_inverse=True)
        dense = np.zeros((len(batch), len(columns)), dtype=np.float32)
        # A column that a row names twice counts twice.
        np.add.at(dense, (np.repeat(np.arange(len(batch)), sizes), inverse), self.values[places])
        return dense, columns


@dataclass(frozen=True, slots=True)
class Slope:
    """How the loss changes with one parameter: with all its rows, or with those that a batch touches."""

    values: Floats
    #: The rows of the parameter that `values` speaks of; None for all.
    rows: Integers | None = None


class Objective(Protocol):
    """A loss to make small, on some examples, by changing parameters."""

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def start(self) -> list[Floats]:
        """The parameters to begin with: arrays of one's own."""
        ...

    def loss(self, parameters: list[Floats]) -> float:
        """The whole loss."""
        ...

    def slopes(self, parameters: list[Floats], batch: Integers, rng: np.random.Generator) -> tuple[float, list[Slope]]:
        """The loss of a batch, and the slope of each parameter there."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """The objective of a linear model; its parameters are W, shape (width, classes), and b, shape (classes,)."""

    inputs: Inputs
    labels: Integers
    #: How much each example counts; their mean is 1.
    weights: Floats
    #: The strength of the pull towards the starting weights.
    l2: float
    #: W0, shape (width, classes).
    origin: Floats
    #: What is added to the logits while it learns and is no part of the model, shape (classes,): what is known of the
    #: classes without the text.
    prior: Floats | float = 0.0

    def __len__(self) -> int:
        return len(self.labels)

    def start(self) -> list[Floats]:
        return [self.origin.copy(), np.zeros(self.origin.shape[1], dtype=np.float32)]

    def loss(self, parameters: list[Floats]) -> float:
        total = 0.0
        for batch in np.array_split(np.arange(len(self)), max(1, len(self) // 1024)):
            total += self._data_loss(parameters, batch)[0] * len(batch)
        return total / max(1, len(self)) + self.l2 / 2 * float(((parameters[0] - self.origin) ** 2).sum())

    def slopes(
        self,
        parameters: list[Floats],
        batch: Integers,
        rng: np.random.Generator,  # noqa: ARG002 - nothing is drawn
    ) -> tuple[float, list[Slope]]:
        loss, by_logits, inputs, rows = self._data_loss(parameters, batch)
        by_weights = inputs.T @ by_logits
        if self.l2:
            chosen = slice(None) if rows is None else rows
            by_weights += np.float32(self.l2) * (parameters[0][chosen] - self.origin[chosen])
        return loss, [Slope(by_weights, rows), Slope(by_logits.sum(axis=0))]

    def _data_loss(self, parameters: list[Floats], batch: Integers) -> tuple[float, Floats, Floats, Integers | None]:
        weights, bias = parameters
        inputs, rows = self.inputs.take(batch)
        logits = inputs @ (weights if rows is None else weights[rows]) + (bias + self.prior)
        loss, by_logits = cross_entropy(logits, self.labels[batch], self.weights[batch])
        return loss, by_logits, inputs, rows
