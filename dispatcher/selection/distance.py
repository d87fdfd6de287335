"""How far a text is from everything that was asked before: the Mahalanobis distance, relative to a plain one.

Each function's texts are taken for a Gaussian around their mean, all with one covariance, shrunk towards a multiple of
the identity. From the squared distance to the nearest mean is taken what the text would have to one Gaussian over all:
unusual words alone do not make a text foreign.

Source: Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks";
Ren et al. 2021, "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", for the relative distance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dispatcher.selection.loss import Floats, Integers
from dispatcher.selection.stored import Array

#: How far the covariance is shrunk.
SHRINK: Final = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """Means in a space where the covariance is the identity."""

    #: Takes a vector there, shape (dimension, dimension).
    whitening: Floats
    #: Of each function, shape (functions, dimension).
    means: Floats
    #: The same for one Gaussian over all.
    general_whitening: Floats
    general_mean: Floats

    def nearest(self, vectors: Floats) -> Floats:
        """The relative distance of each vector to the nearest mean, shape (vectors,)."""
        own = vectors @ self.whitening
        squares = (own**2).sum(axis=1, keepdims=True) - 2 * own @ self.means.T + (self.means**2).sum(axis=1)
        general = ((vectors @ self.general_whitening - self.general_mean) ** 2).sum(axis=1)
        nearest: Floats = squares.min(axis=1) - general
        return nearest

    def fits(self, dimension: int) -> bool:
        """Whether it takes vectors of a dimension, and holds nothing but numbers."""
        square = (dimension, dimension)
        return (
            self.whitening.shape == self.general_whitening.shape == square
            and self.means.ndim == 2  # noqa: PLR2004 - a mean a row
            and self.means.shape[1:] == self.general_mean.shape == (dimension,)
            and all(
                np.isfinite(array).all()
                for array in (self.whitening, self.means, self.general_whitening, self.general_mean)
            )
        )

    @classmethod
    def fit(cls, vectors: Floats, labels: Integers, classes: int) -> "Distance":
        """Learn means and covariances from labelled vectors."""
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)
        means = np.zeros((classes, vectors.shape[1]), dtype=np.float32)
        np.add.at(means, labels, vectors)
        means /= counts[:, None].astype(np.float32)
        present = np.unique(labels)
        whitening = _whiten(vectors - means[labels], max(1, len(vectors) - len(present)))
        mean = vectors.mean(axis=0)
        general = _whiten(vectors - mean, max(1, len(vectors) - 1))
        return cls(
            whitening=whitening,
            means=means[present] @ whitening,
            general_whitening=general,
            general_mean=mean @ general,
        )

    def dump(self) -> dict[str, Array]:
        return {
            "distance_whitening": self.whitening,
            "distance_means": self.means,
            "distance_general_whitening": self.general_whitening,
            "distance_general_mean": self.general_mean,
        }

    @classmethod
    def load(cls, arrays: Mapping[str, Array]) -> "Distance | None":
        if "distance_whitening" not in arrays:
            return None
        return cls(
            whitening=arrays["distance_whitening"].astype(np.float32),
            means=arrays["distance_means"].astype(np.float32),
            general_whitening=arrays["distance_general_whitening"].astype(np.float32),
            general_mean=arrays["distance_general_mean"].astype(np.float32),
        )


def _whiten(centred: Floats, freedom: int) -> Floats:
    """The matrix that makes the shrunk covariance of centred rows the identity."""
    covariance = (centred.T @ centred).astype(np.float64) / freedom
    size = len(covariance)
    # Texts that are all alike have no spread: 1e-7 keeps the result within what float16 can store.
    covariance = (1 - SHRINK) * covariance + SHRINK * (np.trace(covariance) / size + 1e-7) * np.eye(size)
    return np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
