"""Whether any function is meant at all: a logistic model over several signals, never the largest probability alone.

A softmax must give its mass to somebody: a text about nothing that the registry knows may well have one clear
favourite. What such a text does not have is strong logits, a similar text of before, or tiers that agree.

    P(a function is meant) = 1 - (1 - P(learnt)) (1 - P(ruled))
    P(learnt) = 1 / (1 + exp(-(w · (x - m) / s + b)))
    P(ruled)  = 1 / (1 + exp(-(r - 2) / 0.5))      0 where no rule matches

x are the signals, m and s their mean and spread where the weights were learnt; r is the sum of the weights of the
keyword rules that speak for the first candidate. A rule is a person's word: it says as much as to the keyword selector
(0.88 for one of weight 3), however strange the text is to all that was learnt.

The weights are learnt with both kinds of texts counting equally, however few of one are known. Where another share of
them is to be expected to ask for a function, only the bias is another: b + log(share / (1 - share)).

Source: Liu et al. 2020, "Energy-based Out-of-distribution Detection"; Hendrycks et al. 2022, "Scaling
Out-of-Distribution Detection for Real-World Settings" (largest logit); Lee et al. 2018, "A Simple Unified Framework
for Detecting Out-of-Distribution Samples and Adversarial Attacks" (distances, combined by a logistic model); King and
Zeng 2001, "Logistic Regression in Rare Events Data", section 4.1 (prior correction).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import mul
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dispatcher.selection.loss import Floats, ones
from dispatcher.selection.rules import EVEN, TEMPERATURE

#: The signals, in the order of the weights. A tier that is not there gives 0.
SIGNALS: Final = (
    "doubt",  # log of what the first candidate's probability lacks to 1
    "margin",  # log of the first's probability over the second's, at most 10
    "words",  # energy of the n-grams' logits
    "words_first",  # the first candidate's own
    "coverage",  # the share of the text's terms, by rarity, that the first candidate has
    "meaning",  # energy of the embedding's logits
    "meaning_first",  # the first candidate's own
    "near",  # cosine of the nearest remembered text
    "refused",  # cosine of the nearest text that nothing fits
    "distance",  # Mahalanobis distance to the nearest function's mean
    "known",  # energy of the network's functions above its "none of these"
    "network",  # energy of the network's functions
    "known_words",  # the same two of the latent network
    "network_words",
    "met",  # the share of the text's n-grams, by idf, that were met before
    "agreement",  # share of the tiers whose favourite is the first candidate
    "named",  # the share of the first candidate's name, by rarity, that the text says; only before any training
    "described",  # likewise, of the first sentence of its description
    "taught",  # likewise, how sure the first candidate is, as far as it has examples
    "ruled",  # the weights of the keyword rules that speak for the first candidate; never learnt
)

_RULED: Final = SIGNALS.index("ruled")
#: Those that say in which language a text is, as much as whether a function is meant.
_OF_LANGUAGE: Final = tuple(
    map(SIGNALS.index, ("words", "words_first", "coverage", "known_words", "network_words", "met", "distance"))
)

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Abstention:
    """The weights of the signals."""

    weights: Numbers
    means: Numbers
    spreads: Numbers
    bias: float
    #: The same as weights of the plain signals: of a few numbers a list is quicker than an array.
    _plain: list[float] = field(init=False, repr=False, compare=False)
    _plain_bias: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain = self.weights / self.spreads
        object.__setattr__(self, "_plain", plain.tolist())
        object.__setattr__(self, "_plain_bias", self.bias - float(plain @ self.means))

    def in_scope(self, signals: Sequence[float] | Numbers, *, heard: float = 1.0) -> float:
        """The probability that a function is meant.

        Args:
            signals: of the text.
            heard: how far it is in the examples' language, from 0 to 1: signals that tell that count as far, and are
                their means for the rest.
        """
        if heard < 1:
            signals = list(signals)
            for place in _OF_LANGUAGE:
                signals[place] = heard * signals[place] + (1 - heard) * self.means.item(place)
        learnt = _logistic(sum(map(mul, self._plain, signals), self._plain_bias))
        ruled = signals[_RULED]
        return learnt if ruled <= 0 else 1 - (1 - learnt) * (1 - _logistic((ruled - EVEN) / TEMPERATURE))

    def expecting(self, share: float) -> "Abstention":
        """The same where such a share of texts asks for a function, and not the half that it was learnt with."""
        return replace(self, bias=self.bias + math.log(share / (1 - share)))

    def dump(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "signals": list(SIGNALS),
            "weights": self.weights.tolist(),
            "means": self.means.tolist(),
            "spreads": self.spreads.tolist(),
            "bias": self.bias,
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> "Abstention":
        """What `dump` gave; signals that it does not know count nothing."""
        known = {name: number for number, name in enumerate(data["signals"])}

        def take(key: str, otherwise: float) -> Numbers:
            return np.array([float(data[key][known[n]]) if n in known else otherwise for n in SIGNALS])

        return cls(
            weights=take("weights", 0.0),
            means=take("means", 0.0),
            spreads=take("spreads", 1.0),
            bias=float(data["bias"]),
        )


def _logistic(score: float) -> float:
    return 1 / (1 + math.exp(-min(max(score, -30.0), 30.0)))


def fit_abstention(inside: Numbers, outside: Numbers, *, share: float = 0.5, l2: float = 3e-3) -> Abstention:
    """Learn the weights.

    Args:
        inside: signals of texts that ask for a function, shape (n, signals).
        outside: of texts that ask for none.
        share: of the texts in use that ask for a function, as far as is known: the two sets are weighted to it.
        l2: how strongly the weights are held at 0.
    """
    signals = np.concatenate((inside, outside))
    signals[:, _RULED] = 0
    means, spreads = signals.mean(axis=0), signals.std(axis=0)
    spreads[spreads < 1e-9] = 1.0  # noqa: PLR2004 - a signal that never changes
    design = np.column_stack(((signals - means) / spreads, np.ones(len(signals))))
    labels = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    weights = np.r_[np.full(len(inside), share / len(inside)), np.full(len(outside), (1 - share) / len(outside))]
    ridge = np.eye(design.shape[1]) * l2
    ridge[-1, -1] = 1e-9
    beta = np.zeros(design.shape[1])
    for _ in range(60):
        meant = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weights * (meant - labels)) + ridge @ beta
        curvature = (design * (weights * meant * (1 - meant))[:, None]).T @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        beta -= step
        if np.abs(step).max() < 1e-8:  # noqa: PLR2004 - converged
            break
    return Abstention(weights=beta[:-1], means=means, spreads=spreads, bias=float(beta[-1]))


def energy(logits: Floats) -> float:
    """Log Σ exp(logits)."""
    top = logits[logits.argmax()]
    powers = logits - top
    np.exp(powers, powers)
    return float(top) + math.log(powers.dot(ones(len(powers))))
