"""Trains everything over sentence vectors: both heads of the embedding tier, the distance, the network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dispatcher.selection.card import Card
from dispatcher.selection.distance import Distance
from dispatcher.selection.embedding import SCALE, Embedding
from dispatcher.selection.example import Example
from dispatcher.selection.gaussian import fit_gaussian
from dispatcher.selection.linear_training import MANY_TEXTS, Labelled, train_linear
from dispatcher.selection.loss import Dense, Floats, Integers
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.network import LENGTH
from dispatcher.selection.network_training import TrainedNetwork, train_network
from dispatcher.selection.optimisers import Epoch

#: The rate of a head, and its passes over the examples.
RATE: Final = 0.5
EPOCHS: Final = 20
#: The pull towards the head's start, by one example: the prior counts less, the more examples there are.
PULL: Final = 2.0
#: How much of the start the head is pulled to: a description says less than examples do, where there are any.
START: Final = 0.5
#: What the head of means counts beside the one that descends, where a request is in another language.
GAUSSIAN: Final = 2.0
#: What an example counts as if in another language.
FOREIGN_WEIGHT: Final = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorTiers:
    """What was learnt over sentence vectors."""

    curve: tuple[Epoch, ...]
    #: What is added to the start of the head, shape (functions, dimension).
    delta: Floats
    bias: Floats
    #: The same two for foreign requests; no number where no encoder reads them.
    foreign_delta: Floats
    foreign_bias: Floats
    distance: Distance
    #: None where none was trained.
    network: TrainedNetwork | None


def train_vector_tiers(  # noqa: PLR0913 - all of one training
    cards: Sequence[Card],
    meaning: Meaning,
    inside: Sequence[Example],
    labelled: Labelled,
    validation: tuple[Sequence[Example], Integers],
    *,
    networks: bool,
    progress: Callable[[str], None],
) -> VectorTiers:
    """Train them.

    Args:
        cards: the functions.
        meaning: makes the vectors.
        inside: examples of functions.
        labelled: what they are examples of.
        validation: examples that early stopping looks at, and their functions.
        networks: whether a network is trained.
        progress: told what begins.
    """
    checked, checks = validation
    progress("encoding the examples")
    embedding = Embedding(cards, meaning)
    vectors = meaning.requests([example.text for example in inside])
    checked_vectors = meaning.requests([example.text for example in checked])
    progress("training the embedding tier")
    head, bias, curve = _train_head(vectors, labelled, embedding.start, (checked_vectors, checks))
    foreign_delta, foreign_bias = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    if meaning.crosses_languages:
        share = float(np.mean([meaning.is_foreign(example.text) for example in inside]))
        foreign, checked_foreign = meaning.foreign(vectors), meaning.foreign(checked_vectors)
        start = embedding.foreign_start
        learnt = _train_head(foreign, labelled, start, (checked_foreign, checks))[:2]
        means = fit_gaussian(foreign, labelled.labels, labelled.weights, start / np.float32(SCALE))
        both = _join(learnt, means, GAUSSIAN * (1 - share), foreign, _spread((head, bias), vectors))
        foreign_delta, foreign_bias = both[0] - start, both[1]
    network = None
    if networks:
        progress("training a network")
        network = train_network(*_with_foreign(meaning, vectors, labelled))
    return VectorTiers(
        curve=curve,
        delta=head - embedding.start,
        bias=bias,
        foreign_delta=foreign_delta,
        foreign_bias=foreign_bias,
        distance=Distance.fit(vectors, labelled.labels, len(cards)),
        network=network,
    )


def _train_head(
    vectors: Floats, labelled: Labelled, start: Floats, validation: tuple[Floats, Integers]
) -> tuple[Floats, Floats, tuple[Epoch, ...]]:
    """A head that descends from its start, its bias, and how it came to them.

    Of few examples it is not stopped where the validation loss is least. With ten a function that is after two passes,
    when it is as sure as it should be and has not yet found what tells them apart; how sure it says to be, fusion sets.
    """
    scale = np.float32(LENGTH)
    fitted = train_linear(
        Dense(vectors * scale),
        labelled,
        (start * np.float32(START) / scale).T.copy(),
        (Dense(validation[0] * scale), validation[1]),
        l2=PULL / len(labelled),
        rate=RATE,
        epochs=EPOCHS,
        stops=len(labelled) > MANY_TEXTS,
    )
    return fitted.parameters[0].T * scale, fitted.parameters[1], fitted.curve


def _with_foreign(meaning: Meaning, vectors: Floats, labelled: Labelled) -> tuple[Floats, Labelled]:
    """The examples, and as many as if in other languages, for a network that could not tell by itself."""
    scaled = vectors * np.float32(LENGTH)
    if not meaning.crosses_languages:
        return scaled, labelled
    foreign = meaning.foreign(vectors)
    if np.array_equal(foreign, vectors):
        return scaled, labelled
    return np.concatenate((scaled, foreign * np.float32(LENGTH))), replace(
        labelled,
        labels=np.concatenate((labelled.labels, labelled.labels)),
        weights=np.concatenate((labelled.weights, labelled.weights * np.float32(FOREIGN_WEIGHT))),
    )


def _spread(head: tuple[Floats, Floats], vectors: Floats) -> float:
    """How far apart the logits of a request are."""
    return max(float((vectors @ head[0].T + head[1]).std(axis=1).mean()), 1e-6)


def _join(
    learnt: tuple[Floats, Floats], means: tuple[Floats, Floats], share: float, vectors: Floats, spread: float
) -> tuple[Floats, Floats]:
    """Two heads as one, the second by its share of the first, the logits of both together so far apart."""
    scale = share * _spread(learnt, vectors) / _spread(means, vectors)
    joined = learnt[0] + np.float32(scale) * means[0], learnt[1] + np.float32(scale) * means[1]
    overall = np.float32(spread / _spread(joined, vectors))
    return joined[0] * overall, joined[1] * overall
