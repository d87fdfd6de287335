"""A linear head from means alone: for requests in a language that the examples are not in.

    p(v | f) = N(v; m_f, S),    so that    log P(f | v) = v · S⁻¹ m_f - m_f · S⁻¹ m_f / 2 + a number equal for all f

m_f is the mean of f's examples and of its description, S the covariance around the means, shrunk far towards a multiple
of the identity. A head that descends finds the directions in which the examples at hand can just be told apart; a
translation of them is moved in all directions at once, and its nearest mean is the surer guide.

Source: Fisher 1936, "The Use of Multiple Measurements in Taxonomic Problems"; Ledoit and Wolf 2004, "A
well-conditioned estimator for large-dimensional covariance matrices", for shrinking; Snell, Swersky and Zemel 2017,
"Prototypical Networks for Few-shot Learning", for means where examples are few.
"""

from typing import Final

import numpy as np

from dispatcher.selection.loss import Floats, Integers

#: How far the covariance is shrunk: the spread of other languages' texts is not in it.
SHRINK: Final = 0.8


def fit_gaussian(vectors: Floats, labels: Integers, weights: Floats, starts: Floats) -> tuple[Floats, Floats]:
    """The head, shape (functions, dimension), and its bias.

    Args:
        vectors: of the examples.
        labels: the function of each.
        weights: what each counts.
        starts: what each function says about itself, shape (functions, dimension); counts as one example of it.
    """
    counts = np.bincount(labels, weights, minlength=len(starts)).astype(np.float32) + np.float32(1)
    means = starts.astype(np.float32)
    np.add.at(means, labels, vectors * weights[:, None])
    means /= counts[:, None]
    middle = means.mean(axis=0)
    means -= middle
    head = np.linalg.solve(_covariance(vectors - middle - means[labels]), means.T).T
    bias = -(head @ middle) - (head * means).sum(axis=1) / 2
    return head.astype(np.float32), bias.astype(np.float32)


def _covariance(centred: Floats) -> Floats:
    covariance = (centred.T @ centred).astype(np.float64) / len(centred)
    size = len(covariance)
    # Texts that are all alike have no spread.
    even = (np.trace(covariance) / size + 1e-7) * np.eye(size)
    shrunk: Floats = (1 - SHRINK) * covariance + SHRINK * even
    return shrunk
