"""How the tiers' logits become one probability for each function, and how sure that any function is meant.

    z(f) = Σ over tiers k:  w_k(n_f) · s_k(f)
    w_k(n) = untrained_k + (trained_k - untrained_k) · n / (n + GATE)
    P(f | a function is meant) = softmax(z)

s_k are a tier's logits, n_f the examples that a function has. A function nobody asked for yet is judged by what it says
about itself, one with many examples by what was learnt from them, and both compete in one softmax. The weights are
learnt on examples that the tiers did not see, with the n_f of then; a plain sum would count the same evidence several
times. Where they grow, untrained functions' weights grow as far: else these would lose to the others with each text.

Source: Jacobs et al. 1991, "Adaptive Mixtures of Local Experts", for gates; Guo et al. 2017, "On Calibration of Modern
Neural Networks", for scaling logits until probabilities are true; Wolpert 1992, "Stacked Generalization".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np

from dispatcher.selection.loss import Floats, Integers, log_softmax, softmax

T = TypeVar("T", float, Floats)

#: Examples at which a function stands half way between untrained and trained.
GATE: Final = 5.0

#: What a trained weight is taken for at least, where its logarithm is.
LEAST: Final = 0.02

#: Tiers in the order of their columns.
TIERS: Final = (
    "lexical",
    "ngrams",
    "bayes",
    "latent",
    "embedding",
    "network",
    "neighbours",
    "shape",
    "prior",
    "keywords",
)
LEXICAL, NGRAMS, BAYES, LATENT, EMBEDDING, NETWORK, NEIGHBOURS, SHAPE, PRIOR, KEYWORDS = TIERS


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """What a tier's logits count for a function without examples, and for one with many."""

    untrained: float
    trained: float

    def times(self, factor: float) -> "Weight":
        return Weight(untrained=factor * self.untrained, trained=factor * self.trained)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fusion:
    """The weight of each tier."""

    weights: Mapping[str, Weight] = field(default_factory=dict)

    def gates(self, examples: Floats) -> dict[str, Floats]:
        """The weight of each tier for each function, shape (functions,).

        Args:
            examples: how many each function has, shape (functions,).
        """
        share = share_of(examples).astype(np.float32)
        return {
            tier: np.float32(weight.untrained) + np.float32(weight.trained - weight.untrained) * share
            for tier, weight in self.weights.items()
        }

    def fuse(self, tiers: Sequence[str], logits: Sequence[Floats], shares: Floats) -> Floats:
        """The logits of some tiers as one, shape (examples, functions).

        Args:
            tiers: names.
            logits: of each, shape (examples, functions).
            shares: how far each function was from untrained to trained for each example, likewise.
        """
        fused = np.zeros(shares.shape, dtype=np.float32)
        for untrained, gained, own in zip(*self.ends(tiers), logits, strict=True):
            fused += (untrained + gained * shares) * own
        return fused

    def ends(self, tiers: Sequence[str]) -> tuple[Floats, Floats]:
        """The weights of some tiers for a function without examples, and what they differ by for one with many."""
        weights = [self.weights[tier] for tier in tiers]
        untrained = np.array([weight.untrained for weight in weights], dtype=np.float32)
        return untrained, np.array([weight.trained - weight.untrained for weight in weights], dtype=np.float32)

    def dump(self) -> dict[str, Any]:
        """As JSON has it."""
        return {tier: [weight.untrained, weight.trained] for tier, weight in self.weights.items()}

    @classmethod
    def load(cls, data: Mapping[str, Sequence[float]]) -> "Fusion":
        """What `dump` gave."""
        return cls(weights={t: Weight(untrained=float(u), trained=float(v)) for t, (u, v) in data.items()})


def share_of(examples: T) -> T:
    """How far a function with so many examples is from untrained to trained."""
    return examples / (examples + GATE)


#: Without a model and without an encoder. Chosen on registries of descriptions alone, the same numbers for all.
WORDS: Final = Fusion(
    weights={
        LEXICAL: Weight(untrained=0.3, trained=0.3),
        NGRAMS: Weight(untrained=1.2, trained=1.4),
        BAYES: Weight(untrained=0.0, trained=0.3),
        LATENT: Weight(untrained=0.0, trained=0.3),
        SHAPE: Weight(untrained=1.2, trained=0.5),
        PRIOR: Weight(untrained=0.3, trained=0.3),
        KEYWORDS: Weight(untrained=1.0, trained=1.0),
    }
)
#: Without a model, with an encoder.
MEANING: Final = Fusion(
    weights={
        LEXICAL: Weight(untrained=0.1, trained=0.05),
        NGRAMS: Weight(untrained=0.35, trained=0.35),
        BAYES: Weight(untrained=0.0, trained=0.1),
        LATENT: Weight(untrained=0.0, trained=0.1),
        EMBEDDING: Weight(untrained=0.9, trained=0.8),
        NETWORK: Weight(untrained=0.0, trained=0.15),
        NEIGHBOURS: Weight(untrained=0.0, trained=0.4),
        SHAPE: Weight(untrained=1.0, trained=0.5),
        PRIOR: Weight(untrained=0.3, trained=0.3),
        KEYWORDS: Weight(untrained=1.0, trained=1.0),
    }
)


def fit_fusion(  # noqa: PLR0913 - all of one fit
    tiers: Sequence[str],
    logits: Sequence[Floats],
    labels: Integers,
    *,
    start: Fusion,
    shares: Floats | float = 1.0,
    pull: float = 0.5,
    steps: int = 300,
) -> Fusion:
    """Learn what trained functions' tiers count, on examples that the tiers did not see.

    The weights stay above 0, and are pulled to where they start: a few examples change them a little.

    Args:
        tiers: names, of those that are learnt; the others keep their weights.
        logits: of each tier, shape (examples, functions).
        labels: the right function of each example.
        start: where the weights begin; what it says of untrained functions is kept.
        shares: how far each function was from untrained to trained when its logits were given, as `share_of` says.
        pull: how strongly the weights are held where they begin, in examples.
        steps: of full-batch descent, with Adam's rates.
    """
    stack = np.stack([np.asarray(tier, dtype=np.float32) for tier in logits])
    untrained = np.array([start.weights[tier].untrained for tier in tiers], dtype=np.float32)
    base = np.tensordot(untrained, stack, 1) * (1 - np.float32(shares))
    stack *= np.float32(shares)
    origin = _log_trained(start, tiers)
    theta = origin.copy()
    mean, square = np.zeros_like(theta), np.zeros_like(theta)
    right = stack[:, np.arange(len(labels)), labels].mean(axis=1)
    for step in range(1, steps + 1):
        fused = base + np.tensordot(np.exp(theta).astype(np.float32), stack, 1)
        probabilities = np.exp(log_softmax(fused))
        expected = np.einsum("nf,knf->k", probabilities, stack, optimize=True) / len(labels)
        gradient = (expected - right) * np.exp(theta) + pull / len(labels) * (theta - origin)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        rate = 0.1 * (1 - step / (steps * 1.05))
        theta -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-9)
    learnt = dict(zip(tiers, np.exp(theta), strict=True))
    return Fusion(
        weights={
            tier: Weight(untrained=weight.untrained, trained=float(learnt.get(tier, weight.trained)))
            for tier, weight in start.weights.items()
        }
    )


def keep_pace(fitted: Fusion, tiers: Sequence[str], logits: Sequence[Floats], *, start: Fusion) -> Fusion:
    """Have the weights of untrained functions grow as far as those of trained ones did, in the tiers that both have.

    Were only the trained weights to grow, a function with few examples would lose to the others with each text. Where
    tiers for trained functions alone take over, the others shrink, and all stays.

    Args:
        fitted: what `fit_fusion` made of `start`.
        tiers: names, of those that were learnt.
        logits: of each tier, shape (examples, functions).
        start: where the weights began.
    """
    both = [tier for tier in tiers if start.weights[tier].untrained]
    shared = [own for tier, own in zip(tiers, logits, strict=True) if start.weights[tier].untrained]
    before, now = (_spread(each, both, shared) if both else 0.0 for each in (start, fitted))
    growth = max(1.0, now / before) if before else 1.0
    grown = {tier: _grown(fitted.weights[tier], growth) for tier in tiers}
    return Fusion(weights={**fitted.weights, **grown})


def set_temperature(  # noqa: PLR0913 - all of one fit
    fitted: Fusion,
    tiers: Sequence[str],
    logits: Sequence[Floats],
    labels: Integers,
    *,
    start: Fusion,
    shares: Floats,
    pull: float = 0.5,
    halvings: int = 20,
) -> Fusion:
    """Multiply all weights by the one factor at which probabilities are truest, those of untrained functions too.

    Weights of untrained functions that keep pace grow after all others were learnt, and count a little for functions
    with a few examples too: their logits would be larger than was found to be true. What is minimised is the same.

    Args:
        fitted: what `keep_pace` made.
        tiers: names, of those that were learnt.
        logits: of each tier, shape (examples, functions).
        labels: the right function of each example.
        start: where the weights began.
        shares: as for `Fusion.fuse`.
        pull: how strongly each weight is held there, in examples.
        halvings: of the range in which the factor is looked for, from 1/e to e.
    """
    fused = fitted.fuse(tiers, logits, shares)
    right = fused[np.arange(len(labels)), labels].mean()
    moved = float(np.sum(_log_trained(fitted, tiers) - _log_trained(start, tiers)))
    low, high = -1.0, 1.0
    for _ in range(halvings):
        middle = (low + high) / 2
        factor = np.exp(middle)
        expected = (softmax(np.float32(factor) * fused) * fused).sum(axis=1).mean()
        too_sure = (expected - right) * factor + pull / len(labels) * (moved + len(tiers) * middle) > 0
        low, high = (low, middle) if too_sure else (middle, high)
    factor = float(np.exp((low + high) / 2))
    return Fusion(weights={**fitted.weights, **{tier: fitted.weights[tier].times(factor) for tier in tiers}})


def _log_trained(fusion: Fusion, tiers: Sequence[str]) -> Floats:
    """The logarithms of the weights for functions with many examples; one of nothing counts a little."""
    logs: Floats = np.log(np.array([max(fusion.weights[tier].trained, LEAST) for tier in tiers]))
    return logs


def _grown(weight: Weight, growth: float) -> Weight:
    """With an untrained weight that has grown, but not beyond the trained one."""
    return replace(weight, untrained=max(weight.untrained, min(growth * weight.untrained, weight.trained)))


def _spread(fusion: Fusion, tiers: Sequence[str], logits: Sequence[Floats]) -> float:
    """How far apart trained functions' logits are, all of these tiers together."""
    fused = sum(np.float32(fusion.weights[tier].trained) * own for tier, own in zip(tiers, logits, strict=True))
    return float(np.std(fused, axis=-1).mean())
