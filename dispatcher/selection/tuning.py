"""Learns what holds the tiers together: fusion, abstention and thresholds, from examples that the tiers did not see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from dispatcher.selection.abstention import SIGNALS, Numbers, fit_abstention
from dispatcher.selection.example import Example
from dispatcher.selection.fusion import TIERS, fit_fusion, keep_pace, set_temperature, share_of
from dispatcher.selection.loss import Floats, Integers, softmax
from dispatcher.selection.measures import calibration, roc
from dispatcher.selection.model import Model
from dispatcher.selection.signals import signals_of
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.thresholds import Thresholds

#: Texts that nothing fits, below which they are too few to learn from.
MIN_OUTSIDE: Final = 20
#: The share of right selections that abstaining always may cost.
MAX_LOST: Final = 0.015
#: The share of texts that ask for no function, as far as is known.
OUTSIDE_SHARE: Final = 0.1
#: What a wrong call costs, asking being 1.
WRONG_COST: Final = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """What the tiers said of examples that they did not see."""

    #: By tier, shape (examples, functions).
    logits: Mapping[str, Floats]
    #: The right function of each; -1 where there is none.
    labels: Integers
    #: How far each function was from untrained to trained for each of them (`share_of`), shape (examples, functions).
    shares: Floats
    #: Weighs the tiers as a model does, and gives the signals that come of it, shape (examples, signals).
    signals: Callable[[Model], Numbers]

    @classmethod
    def join(cls, parts: Sequence["HeldOut"]) -> "HeldOut":
        # A part without examples has no tiers.
        judged = [part for part in parts if part.logits]
        tiers = set.intersection(*(set(part.logits) for part in judged)) if judged else set()
        return cls(
            logits={tier: np.concatenate([part.logits[tier] for part in judged]) for tier in TIERS if tier in tiers},
            labels=np.concatenate([part.labels for part in parts]),
            shares=np.concatenate([part.shares for part in judged]) if judged else np.zeros((0, 0), np.float32),
            signals=lambda model: np.concatenate([part.signals(model) for part in parts]),
        )


def look_at(snapshot: Snapshot, examples: Sequence[Example]) -> HeldOut:
    """What a snapshot's tiers say of examples."""
    if snapshot.embedding is not None:
        snapshot.embedding.meaning.requests([example.text for example in examples])
    readings = [snapshot.read(example.text, example.state) for example in examples]
    scored = [snapshot.score(reading) for reading in readings]
    tiers = scored[0].tiers.keys() if scored else ()
    labels = [-1 if e.function is None else snapshot.names[e.function] for e in examples]

    def signals(model: Model) -> Numbers:
        snapshot.set_fusion(model.fusion)
        fused = (snapshot.fuse(scores.tiers) for scores in scored)
        found = [signals_of(snapshot, *pair) for pair in zip(readings, fused, strict=True)]
        return np.array(found).reshape(len(readings), len(SIGNALS))

    return HeldOut(
        logits={tier: np.stack([scores.tiers[tier] for scores in scored]) for tier in tiers},
        labels=np.array(labels, dtype=np.int64),
        shares=np.broadcast_to(share_of(snapshot.examples), (len(labels), snapshot.size)),
        signals=signals,
    )


def tune(model: Model, inside: HeldOut, outside: HeldOut) -> Model:
    """Learn fusion, abstention and thresholds.

    Args:
        model: with trained tiers.
        inside: examples that ask for a function.
        outside: texts that ask for none.
    """
    learnt = [tier for tier in inside.logits if tier in model.fusion.weights]
    logits = [inside.logits[tier] for tier in learnt]
    fused = fit_fusion(learnt, logits, inside.labels, start=model.fusion, shares=inside.shares)
    fused = keep_pace(fused, learnt, logits, start=model.fusion)
    fused = set_temperature(fused, learnt, logits, inside.labels, start=model.fusion, shares=inside.shares)
    model = replace(model, fusion=fused)
    signals = inside.signals(model)
    right, sure = _outcome(model, inside)
    foreign = outside.signals(model) if len(outside.labels) else np.zeros((0, len(SIGNALS)))
    even = fit_abstention(signals, foreign) if len(foreign) >= MIN_OUTSIDE else model.abstention
    abstention = even.expecting(1 - OUTSIDE_SHARE)
    in_scope = np.array([abstention.in_scope(row) for row in signals])
    refused = np.array([abstention.in_scope(row) for row in foreign])
    # Their logits are of other functions; how sure the first candidate was is among the signals.
    tempted = -np.expm1(foreign[:, SIGNALS.index("doubt")]) * refused
    thresholds = _find_thresholds(right, sure, in_scope, refused, tempted)
    metrics = _measure(right, sure, in_scope, refused, thresholds)
    return replace(model, abstention=abstention, thresholds=thresholds, metrics=metrics)


def keep_refusing(model: Model, outside: HeldOut) -> Model:
    """Move the threshold so that a model which was trained on more refuses what it refused before.

    With more texts, more is known of every text: all scores rise, those of texts that nothing fits too.

    Args:
        model: with tiers that were trained again, and thresholds and metrics from before.
        outside: texts that ask for none; no tier learns from them.
    """
    if "refused" not in model.metrics or len(outside.labels) < MIN_OUTSIDE:
        return model
    in_scope = [model.abstention.in_scope(row) for row in outside.signals(model)]
    ask_at = round(float(np.quantile(in_scope, model.metrics["refused"])), 4)
    return replace(model, thresholds=replace(model.thresholds, ask_at=ask_at))


def _outcome(model: Model, judged: HeldOut) -> tuple[npt.NDArray[np.bool_], Numbers]:
    """Whether the first candidate of each was right, and its probability where a function is meant."""
    known = {tier: logits for tier, logits in judged.logits.items() if tier in model.fusion.weights}
    probabilities = softmax(model.fusion.fuse(list(known), list(known.values()), judged.shares))
    first = probabilities.argmax(axis=1)
    return first == judged.labels, probabilities.max(axis=1).astype(np.float64)


def _find_thresholds(
    right: npt.NDArray[np.bool_], sure: Numbers, in_scope: Numbers, foreign: Numbers, tempted: Numbers
) -> Thresholds:
    """Abstain and act where it costs least.

    Args:
        right: whether the first candidate of each example was right.
        sure: its probability where a function is meant.
        in_scope: the probability that one is.
        foreign: the same of texts that ask for none.
        tempted: the probability of the first candidate of these.
    """
    scores = np.sort(in_scope[right])
    # One more than the share: of a few examples the least likely one would decide alone.
    lost = int(MAX_LOST * len(right)) + 1
    ask_at = float(scores[lost]) if len(scores) > lost else 0.5
    enough = len(foreign) >= MIN_OUTSIDE
    if enough:
        ask_at = max(ask_at, _cheapest_abstention(scores, np.sort(foreign)))
    joint, calls_nothing = (sure * in_scope)[in_scope >= ask_at], tempted[foreign >= ask_at] if enough else tempted[:0]
    wrong = ~right[in_scope >= ask_at]
    choices = np.unique(np.round(joint, 2))
    costs = [
        _cost_of_acting(at, joint, wrong, len(right)) * (1 - OUTSIDE_SHARE)
        + _cost_of_acting(at, calls_nothing, np.ones(len(calls_nothing), dtype=bool), len(foreign)) * OUTSIDE_SHARE
        for at in choices
    ]
    act_at = float(choices[int(np.argmin(costs))]) if len(choices) else Thresholds().act_at
    return Thresholds(act_at=round(min(max(act_at, 0.05), 0.95), 3), ask_at=round(ask_at, 4), together_at=0.0)


def _cost_of_acting(at: float, joint: Numbers, wrong: npt.NDArray[np.bool_], texts: int) -> float:
    """What it costs for each of so many texts to act from a probability on, and to ask below it."""
    return float((joint < at).sum() + WRONG_COST * ((joint >= at) & wrong).sum()) / max(1, texts)


def _cheapest_abstention(right: Numbers, foreign: Numbers) -> float:
    """The threshold at which what is lost and what is let through cost least together.

    Args:
        right: how probable it was that a function is meant, of selections that were right, sorted.
        foreign: the same of texts that ask for none, sorted.
    """
    choices = np.unique(np.round(np.concatenate((right, foreign)), 3))
    lost = np.searchsorted(right, choices) / max(1, len(right))
    passed = 1 - np.searchsorted(foreign, choices) / len(foreign)
    return float(choices[int(np.argmin((1 - OUTSIDE_SHARE) * lost + OUTSIDE_SHARE * passed))])


def _measure(
    right: npt.NDArray[np.bool_], sure: Numbers, in_scope: Numbers, foreign: Numbers, thresholds: Thresholds
) -> dict[str, float]:
    """What is known of the model from held-out examples."""
    metrics = {
        "accuracy": float(right.mean()),
        "loss": float(-np.log(np.clip(np.where(right, sure, 1 - sure), 1e-6, 1)).mean()),
        "accuracy_kept": float((right & (in_scope >= thresholds.ask_at)).mean()),
        "examples": float(len(right)),
    }
    calibrated = calibration(sure.tolist(), right.tolist())
    if calibrated is not None:
        metrics["ece"] = calibrated.ece
    curve = roc(in_scope.tolist(), foreign.tolist())
    if curve is not None:
        metrics["auroc"] = curve.auroc
        metrics["refused"] = float((foreign < thresholds.ask_at).mean())
    return metrics
