"""Trains a linear tier: from its start in the functions' descriptions down the cross-entropy of labelled examples."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from dispatcher.selection.loss import Dense, Floats, Integers, Linear, Sparse
from dispatcher.selection.optimisers import Fitted, MiniBatch, fit

#: With more texts than this batches are larger, n-grams of one text only are left out, and the head over vectors stops
#: early.
MANY_TEXTS: Final = 2_000
#: Least validation examples that early stopping listens to.
MIN_VALIDATION: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """What examples are examples of."""

    #: The position of each example's function, and what each counts: both of shape (examples,).
    labels: Integers
    weights: Floats
    #: How many functions there are.
    functions: int
    #: Of every order in which they are looked at.
    seed: int

    def __len__(self) -> int:
        return len(self.labels)


def train_linear(  # noqa: PLR0913 - all of one objective
    inputs: Dense | Sparse,
    labelled: Labelled,
    start: Floats,
    validation: tuple[Dense | Sparse, Integers],
    *,
    l2: float,
    rate: float,
    epochs: int,
    stops: bool = True,
) -> Fitted:
    """Train the weights and the bias.

    Args:
        inputs: of the examples.
        labelled: what they are examples of.
        start: of the weights, shape (features, functions).
        validation: inputs and functions of the examples that early stopping looks at; with fewer than
            `MIN_VALIDATION` there is none.
        l2: the pull towards the start.
        rate: of Adagrad.
        epochs: passes over the examples.
        stops: whether the parameters of the least validation loss are taken, and not the last ones.
    """
    prior = log_prior(labelled)
    weights = labelled.weights / np.float32(labelled.weights.mean())
    objective = Linear(inputs=inputs, labels=labelled.labels, weights=weights, l2=l2, origin=start, prior=prior)
    held_out = None
    if len(validation[1]) >= MIN_VALIDATION:
        ones = np.ones(len(validation[1]), np.float32)
        held_out = Linear(inputs=validation[0], labels=validation[1], weights=ones, l2=0, origin=start, prior=prior)
    return fit(
        objective,
        MiniBatch(64 if len(labelled) > MANY_TEXTS else 16, rate),
        validation=held_out,
        epochs=epochs,
        seed=labelled.seed,
        stops=stops,
        patience=epochs,
    )


def log_prior(labelled: Labelled) -> Floats:
    """The logarithm of how often each function is asked for, up to a number that is the same for all.

    A head that learns beside it learns what a text says, and not how often a function was asked for: that the prior
    tier knows, as far as it holds. A function's description counts as one example.
    """
    prior = np.log(np.bincount(labelled.labels, labelled.weights, minlength=labelled.functions) + 1)
    centred: Floats = (prior - prior.mean()).astype(np.float32)
    return centred
