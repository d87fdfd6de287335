"""Trains the last three layers of an encoder further, so that a registry's own examples come to stand apart.

    v(text) = unit(e(text) - g),   logit(f) = SCALE (v(text) · unit(p_f) - MARGIN [f is the text's])
    loss    = cross-entropy(logits) + CONTRAST · mean over the batch's other texts j of the text's own function:
              -log softmax(NEARNESS v(text) · v(j))        over all other texts of the batch

The layers' weights and one prototype p_f for each function go down the loss of the examples together, from layers that
requests have moved already (`beginning_for`) and from the functions' starts. What other encoders say of a text stands
in v as it did. A frozen encoder tells apart what people in general tell apart; of ten examples a function that is what
most errors come from, not the head over it. The second part draws texts of one function to each other, wherever its
prototype is.

Ten examples are soon known by heart. Dropout makes each pass read them in another way, and with the margin a text is
not done with when it is nearest to its own function, but when it is so by a good deal: more is learnt from them.

Source: Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning"; Howard and Ruder 2018, "Universal
Language Model Fine-tuning for Text Classification", for training the last layers with a small rate, what is above them
with a larger one; Wang et al. 2018, "CosFace: Large Margin Cosine Loss for Deep Face Recognition", for the margin;
Khosla et al. 2020, "Supervised Contrastive Learning"; Gunel et al. 2021, "Supervised Contrastive Learning for
Pre-trained Language Model Fine-tuning", for that beside the cross-entropy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dispatcher.selection.encoders.encoder import unit
from dispatcher.selection.encoders.minilm import HEADS, MiniLM
from dispatcher.selection.layers import PARTS, Layer, Packed
from dispatcher.selection.linear_training import Labelled
from dispatcher.selection.loss import Floats, Integers, Slope, cross_entropy, log_softmax
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.optimisers import Adam, Epoch, fit
from dispatcher.selection.request_layers import request_layers

#: What a cosine of 1 is worth as a logit.
SCALE: Final = 20.0
#: The rate of the layers, and how much faster the prototypes move.
RATE: Final = 5e-4
FASTER: Final = 10.0
EPOCHS: Final = 12
#: The share of the passes in which the rate rises.
WARMING: Final = 0.1
#: By how much of a cosine a text is to be nearer to its own function than to others.
MARGIN: Final = 0.15
#: What the contrast between a batch's texts counts beside the cross-entropy, and what a cosine of 1 is worth in it.
CONTRAST: Final = 0.3
NEARNESS: Final = 10.0
#: The share of numbers that the layers do without while they learn.
DROPPED: Final = 0.1
#: Examples below which there is too little to learn from, and the most that are looked at: of each function as many.
LEAST: Final = 500
MOST: Final = 2_000
BATCH: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """Where adapting begins."""

    #: The weights of the layers, as `MiniLM.open_layers` gives them.
    layers: Sequence[Floats]
    #: The encoder with these layers, one that can be adapted.
    meaning: Meaning


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapting:
    """The objective; its parameters are the weights of the layers and, at the end, the prototypes."""

    #: What the layers read of each text, shape (tokens, numbers).
    read: Sequence[Floats]
    #: The encoders' rows of the texts less what all requests have in common, shape (texts, dimension).
    rows: Floats
    #: What all requests have in common in the numbers that the layers make.
    common: Floats
    #: Which numbers these are, and how long they are together.
    columns: slice
    share: float
    labels: Integers
    weights: Floats
    #: Where the weights and the prototypes begin.
    layers: Sequence[Floats]
    prototypes: Floats
    heads: int
    #: The share of numbers that the layers do without in `slopes`; in `loss` there is none.
    dropped: float = DROPPED

    def __len__(self) -> int:
        return len(self.labels)

    def start(self) -> list[Floats]:
        return [*(weights.copy() for weights in self.layers), unit(self.prototypes) / np.float32(FASTER)]

    def loss(self, parameters: list[Floats]) -> float:
        return self._slopes(parameters, np.arange(len(self)))[0]

    def slopes(self, parameters: list[Floats], batch: Integers, rng: np.random.Generator) -> tuple[float, list[Slope]]:
        loss, slopes = self._slopes(parameters, batch, rng)
        return loss, [Slope(slope) for slope in slopes]

    def _slopes(
        self, parameters: list[Floats], batch: Integers, rng: np.random.Generator | None = None
    ) -> tuple[float, list[Floats]]:
        packed = Packed(np.array([len(self.read[place]) for place in batch]))
        layers = [
            Layer(parameters[begin : begin + len(PARTS)], self.heads, packed, dropped=self.dropped, rng=rng)
            for begin in range(0, len(self.layers), len(PARTS))
        ]
        rows = np.concatenate([self.read[place] for place in batch])
        for layer in layers:
            rows = layer.forward(rows)
        means = packed.mean(rows)
        vectors = self.rows[batch].copy()
        vectors[:, self.columns] = np.float32(self.share) * unit(means) - self.common
        requests, prototypes = unit(vectors), unit(parameters[-1])
        labels, weights = self.labels[batch], self.weights[batch]
        loss, by_requests, by_prototypes = _classified(requests, prototypes, labels, weights)
        apart, by_apart = _contrasted(requests, labels, weights)
        loss += CONTRAST * apart
        by_requests += np.float32(CONTRAST) * by_apart
        by_vectors = _unit_back(by_requests, vectors)
        by_rows = packed.spread(_unit_back(np.float32(self.share) * by_vectors[:, self.columns], means))
        slopes = [_unit_back(by_prototypes, parameters[-1])]
        for layer in reversed(layers):
            by_rows, by_weights = layer.backward(by_rows)
            slopes = by_weights + slopes
        return loss, slopes


def _classified(
    requests: Floats, prototypes: Floats, labels: Integers, weights: Floats
) -> tuple[float, Floats, Floats]:
    """The cross-entropy by prototypes, and its slopes by requests and by prototypes; all rows are of length 1."""
    logits: Floats = requests @ prototypes.T
    logits[np.arange(len(labels)), labels] -= np.float32(MARGIN)
    logits *= np.float32(SCALE)
    loss, by_logits = cross_entropy(logits, labels, weights)
    by_logits *= np.float32(SCALE)
    return loss, by_logits @ prototypes, by_logits.T @ requests


def _contrasted(requests: Floats, labels: Integers, weights: Floats) -> tuple[float, Floats]:
    """The contrast between texts, and its slope by requests; a text without another of its function has none."""
    same = labels[:, None] == labels
    np.fill_diagonal(same, val=False)
    logits: Floats = np.float32(NEARNESS) * (requests @ requests.T)
    # Not -inf: a batch may be of one text.
    np.fill_diagonal(logits, -1e9)
    logs = log_softmax(logits)
    shares = same / np.maximum(same.sum(axis=1, keepdims=True), 1).astype(np.float32)
    counted = weights * same.any(axis=1) / np.float32(len(labels))
    loss = -float(counted @ (shares * logs).sum(axis=1))
    by_logits = (np.exp(logs) - shares) * (np.float32(NEARNESS) * counted)[:, None]
    return loss, by_logits @ requests + by_logits.T @ requests


def _unit_back(by_unit: Floats, rows: Floats) -> Floats:
    """The slope by rows, from that by the rows at length 1."""
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    scaled = rows / lengths
    by_rows: Floats = (by_unit - (by_unit * scaled).sum(axis=1, keepdims=True) * scaled) / lengths
    return by_rows


def is_worth_it(meaning: Meaning, examples: int) -> bool:
    """Whether there are enough examples to adapt an encoder by, and an encoder that can be."""
    return examples >= LEAST and meaning.adaptable is not None


def beginning_for(meaning: Meaning, examples: int) -> Beginning:
    """Where layers begin: as requests moved them; with more examples than are looked at, as the encoder has them.

    Raises:
        ModelError: as `request_layers` raises it.
    """
    if examples > MOST:
        return Beginning(layers=MiniLM().open_layers(())[1], meaning=meaning)
    layers = request_layers()
    return Beginning(layers=layers, meaning=meaning.adapted(layers))


def _sample(labels: Integers, seed: int) -> Integers:
    """The places of at most `MOST` examples, as many of each function as can be, in their order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    nth = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        nth[own] = np.arange(len(own))
    chosen: Integers = np.sort(order[np.argsort(nth[order], kind="stable")][:MOST])
    return chosen


def adapt(beginning: Beginning, starts: Floats, texts: Sequence[str], labelled: Labelled) -> tuple[Floats, ...]:
    """Train the layers on as many of a registry's examples as are looked at; see `train_layers`."""
    chosen = _sample(labelled.labels, labelled.seed)
    looked_at = replace(labelled, labels=labelled.labels[chosen], weights=labelled.weights[chosen])
    return train_layers(beginning, starts, [texts[int(place)] for place in chosen], looked_at)


def train_layers(  # noqa: PLR0913 - all of one training
    beginning: Beginning,
    starts: Floats,
    texts: Sequence[str],
    labelled: Labelled,
    *,
    epochs: int = EPOCHS,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> tuple[Floats, ...]:
    """Train the layers.

    Args:
        beginning: where the weights begin.
        starts: of each function, of length 1 or zeros, shape (functions, dimension).
        texts: the examples.
        labelled: the function of each, its weight, and the seed of the order in which they are looked at.
        epochs: passes over the examples.
        on_epoch: told after each pass.

    Returns:
        The layers' weights as `Meaning.adapted` takes them; none where the encoder can read none of the texts.
    """
    meaning = beginning.meaning
    place = meaning.adaptable
    if place is None:
        return ()
    read, _ = MiniLM().open_layers(texts)
    legible = np.array([len(rows) > 0 for rows in read])
    if not legible.any():
        return ()
    rows = meaning.requests(texts)
    prototypes = starts.copy()
    np.add.at(prototypes, labelled.labels, rows)
    objective = Adapting(
        read=[tokens for tokens in read if len(tokens)],
        rows=rows[legible],
        common=meaning.common[place[0]],
        columns=place[0],
        share=place[1],
        labels=labelled.labels[legible],
        weights=labelled.weights[legible] / labelled.weights.mean(),
        layers=beginning.layers,
        prototypes=prototypes,
        heads=HEADS,
    )
    optimiser = Adam(batch_size=BATCH, rate=RATE, warming=WARMING)
    return tuple(fit(objective, optimiser, epochs=epochs, seed=labelled.seed, on_epoch=on_epoch).parameters[:-1])
