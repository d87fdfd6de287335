"""N-grams that mean alike brought together: latent semantic analysis, for a network by words alone.

    X ≈ U S Vᵀ,   l(text) = x(text) V, scaled to a fixed length

X are the n-gram rows of the training texts. Texts that share no n-gram, but n-grams that occur in the same texts, come
to lie near each other. The decomposition is found by random projection with power iterations.

Source: Deerwester et al. 1990, "Indexing by Latent Semantic Analysis"; Halko, Martinsson and Tropp 2011, "Finding
Structure with Randomness", algorithm 4.4.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from dispatcher.selection.encoders.encoder import unit
from dispatcher.selection.loss import Floats, Integers, Sparse
from dispatcher.selection.network import LENGTH, Network
from dispatcher.selection.softmax import Read
from dispatcher.selection.stored import Array

#: Dimensions kept, at most a third of the texts.
DIMENSIONS: Final = 256
#: Dimensions beside them while the decomposition is found, and passes that sharpen it.
OVERSAMPLING: Final = 16
ITERATIONS: Final = 1
#: Texts in a block of a product, or n-grams.
BLOCK: Final = 256
#: Cells up to which a product is kept in full: 8 MB.
WHOLE: Final = 1 << 21
#: The greatest whole number of two bytes.
MOST: Final = 32_767


class Rounded(NamedTuple):
    """A product; where it is large, rounded to whole numbers: half the memory."""

    cells: Array
    #: What 1 stands for; where they are rounded, a thirty thousandth of the greatest.
    step: float


def multiply(left: Floats, right: Floats) -> Rounded:
    """The product of two matrices."""
    if len(left) * right.shape[1] <= WHOLE:
        return Rounded(left @ right, 1.0)
    # Block by block: there is never all of it in full.
    blocks = [slice(begin, begin + BLOCK) for begin in range(0, len(left), BLOCK)]
    step = max(float(np.abs(left[rows] @ right).max()) for rows in blocks) / MOST or 1.0
    cells = np.empty((len(left), right.shape[1]), dtype=np.int16)
    for rows in blocks:
        cells[rows] = np.rint(left[rows] @ right / np.float32(step))
    return Rounded(cells, step)


@dataclass(frozen=True, kw_only=True)
class Latent:
    """A basis, and a network over it."""

    #: V, shape (n-grams, dimensions).
    basis: Floats
    network: Network
    #: One of the same basis and the same inner weights, whose rows may be worked out already.
    like: "Latent | None" = None

    @cached_property
    def inner_rows(self) -> Rounded:
        """V A: what each n-gram gives to the network's hidden units, shape (n-grams, hidden).

        A text's rows of it are added up: a product of its own with A reads half a megabyte, and was a tenth of a
        selection (`benchmarks.selection`, speed).
        """
        return multiply(self.basis, self.network.inner) if self.like is None else self.like.inner_rows

    def logits(self, read: Read) -> Floats:
        """The network's logits, shape (columns + 1,)."""
        known = read.rows < len(self.basis)
        vector = read.values[known] @ self.basis[read.rows[known]]
        return self.network.logits(vector * np.float32(_scale(vector)))

    def weigh(self, vector: Floats, hidden: Floats) -> Floats:
        """The same of x V and what is added up in `inner_rows`, for an x of any length."""
        return self.network.finish(hidden * np.float32(_scale(vector) * self.inner_rows.step))

    def arrange(self, positions: Mapping[int, int], size: int) -> "Latent":
        """The same for functions in another order; see `Network.arrange`."""
        return Latent(basis=self.basis, network=self.network.arrange(positions, size), like=self)

    def dump(self) -> dict[str, Array]:
        network = {f"latent_{name}": array for name, array in self.network.dump().items()}
        return {"latent_basis": self.basis.astype(np.float16), **network}

    @classmethod
    def load(cls, arrays: Mapping[str, Array]) -> "Latent | None":
        """What `dump` gave; None where there is none."""
        own = {name.removeprefix("latent_"): array for name, array in arrays.items() if name.startswith("latent_")}
        network = Network.load(own)
        return None if network is None else cls(basis=own["basis"].astype(np.float32), network=network)


def _scale(vector: Floats) -> float:
    """What makes a vector LENGTH long."""
    return LENGTH / max(math.sqrt(float(vector.dot(vector))), 1e-12)


def find_basis(inputs: Sparse, *, seed: int) -> Floats:
    """V of the texts' n-gram rows, shape (inputs.width, dimensions)."""
    size = min(DIMENSIONS, max(2, len(inputs) // 3))
    rng = np.random.default_rng(seed)
    projected = _times(inputs, rng.standard_normal((inputs.width, size + OVERSAMPLING)).astype(np.float32))
    for _ in range(ITERATIONS):
        orthogonal, _ = np.linalg.qr(projected)
        projected = _times(inputs, _transposed_times(inputs, orthogonal))
    orthogonal, _ = np.linalg.qr(projected)
    small = _transposed_times(inputs, orthogonal)
    values, vectors = np.linalg.eigh(small.T @ small)
    order = np.argsort(-values)[:size]
    basis: Floats = (small @ vectors[:, order] / np.sqrt(np.maximum(values[order], 1e-9))).astype(np.float32)
    return basis


def project(inputs: Sparse, basis: Floats) -> Floats:
    """The latent vectors of all texts, each LENGTH long."""
    return unit(_times(inputs, basis)) * np.float32(LENGTH)


def _times(inputs: Sparse, matrix: Floats) -> Floats:
    """X @ matrix."""
    product = np.zeros((len(inputs), matrix.shape[1]), dtype=np.float32)
    for batch in _blocks(len(inputs)):
        dense, columns = inputs.take(batch)
        product[batch] = dense @ matrix[columns]
    return product


def _transposed_times(inputs: Sparse, matrix: Floats) -> Floats:
    """Xᵀ @ matrix."""
    product = np.zeros((inputs.width, matrix.shape[1]), dtype=np.float32)
    for batch in _blocks(len(inputs)):
        dense, columns = inputs.take(batch)
        product[columns] += dense.T @ matrix[batch]
    return product


def _blocks(size: int) -> list[Integers]:
    return [np.arange(begin, min(begin + BLOCK, size)) for begin in range(0, size, BLOCK)]
