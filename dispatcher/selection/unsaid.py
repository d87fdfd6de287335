"""What a verdict of "wrong" leaves unsaid: which function would have been right.

    share  ω    = W / (W + R / TOLD + DOUBTED)
    doubt  d    = 1 - the greatest probability, without any favour
    reach  r    = the share of the functions of fewer than FEW examples that have any
    favour f    = ω (FAVOUR / √(1 + n_f) + TRIAL · d r / √(1 + n_f + w_f))  added to the logit of f
    gradient    by z_c: P(c),  by z_f: -P(c) ((1 - FIRST) P(f) / (1 - P(c)) + FIRST · q_f)         where c was wrong
    q_f         ∝ P0(f) / √(1 + n_f) for f ≠ c
    worth       P(f)^-ω, at most MOST_WORTH                                          where f came first and was right

W and R count what was said to be wrong and right, w_f how often f was wrong, n_f the examples of f. P0 is what the
tiers say that never learn in use. Who is told only right or wrong hears of a function only where it came first: one
that never does is never confirmed, loses to the others with each of their successes, and comes first even less. Three
things are against that. A function with few examples is favoured, the more so the more was left unsaid. One that was
seldom tried is favoured above all where nothing fits well: what comes first there is mostly wrong anyway, so that a
trial costs little, and one that is right teaches as much as a function that is told. And what a wrong function lacks
goes to the others not only as they stand now, but as they stood before anything was learnt, those with few examples
above all. Where the right function is always told, ω and all three are 0.

What is confirmed is no fair sample either: of requests that a function came first for with P(f) it was right for about
so many, and the rest of them taught nothing but that. A text that was confirmed in doubt stands for those, too.

Of functions that nobody asks for, trials would all be in vain. How many those are shows in the others: where most
functions are asked for, some have been once or twice; where none has few examples but those that have none, the rest
are not in use.

Source: Auer, Cesa-Bianchi and Fischer 2002, "Finite-time Analysis of the Multiarmed Bandit Problem", for optimism;
Good 1953, "The Population Frequencies of Species", for what the seldom seen say of the unseen;
Chapelle and Li 2011, "An Empirical Evaluation of Thompson Sampling", for logistic models under such feedback;
Horvitz and Thompson 1952, "A Generalization of Sampling Without Replacement", for weighing what is seldom seen;
Ishida et al. 2017, "Learning from Complementary Labels"; Dempster, Laird and Rubin 1977 for sharing out an example
among the classes that it may be of.
"""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from dispatcher.selection.loss import Floats, Integers
from dispatcher.selection.stored import Array

#: What a function without examples is favoured by, as a logit, where nothing was ever told.
FAVOUR: Final = 2.0
#: And what one that was never tried is favoured by beside that, in a text that no function fits at all.
TRIAL: Final = 16.0
#: Examples from which on a function is known to be in use.
FEW: Final = 5.0
#: Verdicts of "right" that are worth one of "wrong", and how many of "wrong" it takes until they count half.
TOLD: Final = 10.0
DOUBTED: Final = 10.0
#: How much of a wrong function's probability goes to the others as they stood before anything was learnt.
FIRST: Final = 0.7
#: What a confirmed text counts at most: one that hardly any function fits would drown the others.
MOST_WORTH: Final = 3.0
#: Functions that would gain less of a probability than this from a wrong one are left alone by a step.
NEGLIGIBLE: Final = 4e-3
#: A wrong function's probability is taken for at most this: the step grows without bound towards 1.
MOST_SURE: Final = 0.98


class Unsaid:
    """Counts what was said of a set of functions, by weight."""

    def __init__(self, size: int) -> None:
        self._right = 0.0
        #: w_f, by function.
        self._wrong = np.zeros(size, dtype=np.float32)
        #: Their sum.
        self._all_wrong = 0.0
        #: What functions are favoured by in every text, and beside that in one of nothing but doubt; None for nothing.
        self._favour: tuple[Floats, Floats] | None = None

    def add(self, position: int, weight: float, *, right: bool) -> None:
        """Count a verdict about a function."""
        if right:
            self._right += weight
        else:
            self._wrong[position] += weight
            self._all_wrong += weight

    def weigh(self, examples: Floats) -> None:
        """Work out what functions are favoured by, now that they have so many examples, shape (functions,)."""
        if self._all_wrong:
            trial = TRIAL * self.share * _reach(examples)
            self._favour = (
                (FAVOUR * self.share / np.sqrt(1 + examples)).astype(np.float32),
                (trial / np.sqrt(1 + examples + self._wrong)).astype(np.float32),
            )

    @property
    def share(self) -> float:
        """ω: 0 where the right function was always told, towards 1 where it seldom is."""
        return self._all_wrong / (self._all_wrong + self._right / TOLD + DOUBTED)

    def worth(self, log_probability: float) -> float:
        """How many texts one stands for that was confirmed where its function came first with this log P(f)."""
        return min(MOST_WORTH, math.exp(-self.share * log_probability))

    def favour(self, logits: Floats) -> Floats | None:
        """What is added to the logits of a text, which are without it; None for nothing."""
        if self._favour is None:
            return None
        scarce, tried = self._favour
        favour: Floats = np.float32(1 - _greatest(logits)) * tried
        favour += scarce
        return favour


def _reach(examples: Floats) -> float:
    """How many of the functions of few examples are in use."""
    few = int(np.count_nonzero(examples < FEW))
    return 1 - int(np.count_nonzero(examples == 0)) / few if few else 0.0


def _greatest(logits: Floats) -> float:
    """The greatest probability."""
    return 1 / float(np.add.reduce(np.exp(logits - np.maximum.reduce(logits))))


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
