"""Trains a network tier."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from dispatcher.selection.linear_training import MANY_TEXTS, Labelled
from dispatcher.selection.loss import Floats
from dispatcher.selection.network import Layered, Network, make_up
from dispatcher.selection.optimisers import Adam, Epoch, fit

#: Passes over many examples; three times as many over few.
EPOCHS: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedNetwork:
    """A network, and how its loss fell."""

    network: Network
    curve: tuple[Epoch, ...]


def train_network(vectors: Floats, labelled: Labelled) -> TrainedNetwork:
    """Train a network on examples, and on made-up ones of none.

    Args:
        vectors: shape (examples, dimension), `network.LENGTH` long.
        labelled: what they are examples of.
    """
    labels, weights = labelled.labels, labelled.weights
    between = make_up(vectors, labels, seed=labelled.seed)
    objective = Layered(
        vectors=np.concatenate((vectors, between)),
        labels=np.concatenate((labels, np.full(len(between), labelled.functions, dtype=np.int64))),
        weights=np.concatenate((weights / weights.mean(), np.ones(len(between), dtype=np.float32))),
        classes=labelled.functions + 1,
        seed=labelled.seed,
    )
    many = len(labels) > MANY_TEXTS
    optimiser = Adam(batch_size=256, rate=0.003) if many else Adam(batch_size=32, rate=0.001)
    fitted = fit(objective, optimiser, epochs=EPOCHS if many else 3 * EPOCHS, seed=labelled.seed)
    inner, inner_bias, outer, outer_bias = fitted.parameters
    network = Network(inner=inner, inner_bias=inner_bias, outer=outer, outer_bias=outer_bias)
    return TrainedNetwork(network=network, curve=fitted.curve)
