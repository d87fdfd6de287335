"""What a verdict of "wrong" leaves unsaid: which function would have been right.

    share  ω    = W / (W + R / TOLD + DOUBTED)
    favour f    = FAVOUR · ω / √(1 + n_f)                               added to the logit of f
    gradient    by z_c: P(c),  by z_f: -P(c) ((1 - FIRST) P(f) / (1 - P(c)) + FIRST · q_f)         where c was wrong
    q_f         ∝ P0(f) / √(1 + n_f) for f ≠ c

W and R count what was said to be wrong and right, n_f the examples of f. P0 is what the tiers say that never learn in
use. Who is told only right or wrong hears of a function only where it came first: one that never does is never
confirmed, loses to the others with each of their successes, and comes first even less. Two things are against that.
A function with few examples is favoured, the more so the more was left unsaid. And what a wrong function lacks goes to
the others not only as they stand now, but as they stood before anything was learnt, those with few examples above all.
Where the right function is always told, ω and both are 0.

Source: Auer, Cesa-Bianchi and Fischer 2002, "Finite-time Analysis of the Multiarmed Bandit Problem", for optimism;
Chapelle and Li 2011, "An Empirical Evaluation of Thompson Sampling", for logistic models under such feedback;
Ishida et al. 2017, "Learning from Complementary Labels"; Dempster, Laird and Rubin 1977 for sharing out an example
among the classes that it may be of.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from dispatcher.selection.loss import Floats, Integers
from dispatcher.selection.stored import Array

#: What a function without examples is favoured by, as a logit, where nothing was ever told.
FAVOUR: Final = 3.0
#: Verdicts of "right" that are worth one of "wrong", and how many of "wrong" it takes until they count half.
TOLD: Final = 10.0
DOUBTED: Final = 10.0
#: How much of a wrong function's probability goes to the others as they stood before anything was learnt.
FIRST: Final = 0.7
#: Functions that would gain less of a probability than this from a wrong one are left alone by a step.
NEGLIGIBLE: Final = 4e-3
#: A wrong function's probability is taken for at most this: the step grows without bound towards 1.
MOST_SURE: Final = 0.98


class Unsaid:
    """Counts what was said, by weight."""

    def __init__(self) -> None:
        self._right = 0.0
        self._wrong = 0.0

    def add(self, weight: float, *, right: bool) -> None:
        """Count a verdict."""
        if right:
            self._right += weight
        else:
            self._wrong += weight

    @property
    def share(self) -> float:
        """ω: 0 where the right function was always told, towards 1 where it seldom is."""
        return self._wrong / (self._wrong + self._right / TOLD + DOUBTED)

    def favour(self, examples: Floats) -> Floats | None:
        """What is added to the logits of functions of so many examples; None for nothing."""
        if not self._wrong:
            return None
        return (FAVOUR * self.share / np.sqrt(1 + examples)).astype(np.float32)


def beliefs(first: Floats, places: Integers, examples: Floats) -> Floats:
    """q, shape (texts, candidates).

    Args:
        first: P0(f), likewise; 0 in texts whose function was right.
        places: of the judged function among the candidates, shape (texts,).
        examples: n_f, shape (texts, candidates), or (candidates,) where all texts have the same.
    """
    found = np.asarray(first / np.sqrt(1 + examples), dtype=np.float32)
    found[np.arange(len(places)), places] = 0
    found /= np.maximum(np.add.reduce(found, axis=1, keepdims=True), np.float32(1e-9))
    return found


def spread(probabilities: Floats, places: Integers, right: Array, believed: Floats) -> Floats:
    """The gradient of the loss by the logits of several texts, shape (texts, candidates).

    Args:
        probabilities: P(f) now, likewise.
        places: of the judged function among the candidates, shape (texts,).
        right: whether it was, shape (texts,).
        believed: q, as `beliefs` gives it.
    """
    texts = np.arange(len(places))
    own = probabilities[texts, places]
    doubted = np.minimum(own, np.float32(MOST_SURE))
    pushed = np.where(right, 1, np.float32(FIRST - 1) * doubted / (1 - doubted))
    gradient: Floats = pushed[:, None] * probabilities
    gradient -= (np.float32(FIRST) * doubted)[:, None] * believed
    gradient[texts, places] = np.where(right, own - 1, doubted)
    return gradient


def share_out(gradient: Mapping[int, float], wrong: int, candidates: Integers, believed: Floats) -> dict[int, float]:
    """The same of one text, from the gradient of -log(1 - P(wrong)) by function.

    Args:
        gradient: of functions that have anything to learn.
        wrong: the function that was.
        candidates: positions, shape (candidates,).
        believed: q of these.
    """
    own = gradient[wrong]
    shared = {position: (1 - FIRST) * by_logit for position, by_logit in gradient.items()}
    pulls = np.float32(FIRST * own) * believed
    places = (pulls > NEGLIGIBLE).nonzero()[0]
    for position, pull in zip(candidates[places].tolist(), pulls[places].tolist(), strict=True):
        shared[position] = shared.get(position, 0.0) - pull
    shared = {position: by_logit for position, by_logit in shared.items() if by_logit < -NEGLIGIBLE}
    shared[wrong] = own
    return shared
