"""Trains everything offline: from labelled texts to a `Model`.

1. Each tier is trained alone, from its start in the functions' descriptions; the linear ones stop early where there are
   validation examples, the one over vectors only where there are many others.
2. On examples that the tiers did not see, the fusion, the abstention model and the two thresholds are learnt. Where no
   such examples are given, the training examples are told apart into folds, and what a fold holds out is unknown in
   it: the functions' own examples lack it too. Where no text is known that nothing fits, each fold also leaves some
   functions out: their texts are what a text looks like whose function is not there.
3. The tiers are trained again on everything, where there were folds, or where the caller wants the validation examples
   to be learnt from too: what holds the tiers together stays as it was found on examples that they had not seen.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dispatcher.errors import ModelError
from dispatcher.selection import fusion
from dispatcher.selection.adapting import COUNTING, adapt, is_worth_it
from dispatcher.selection.bayes import Bayes, states_of
from dispatcher.selection.card import Card
from dispatcher.selection.defaults import TRAINED_MEANING_ABSTENTION, TRAINED_WORDS_ABSTENTION
from dispatcher.selection.distance import Distance
from dispatcher.selection.embedding import SCALE, Embedding
from dispatcher.selection.example import Example
from dispatcher.selection.features import buckets
from dispatcher.selection.folds import key_of, split
from dispatcher.selection.gaussian import fit_gaussian
from dispatcher.selection.latent import Latent, find_basis, project
from dispatcher.selection.loss import Dense, Floats, Integers, Linear, Sparse
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import Examples, Model, Thresholds
from dispatcher.selection.neighbours import MAX_OF_FUNCTION, MAX_TEXTS
from dispatcher.selection.network import LENGTH, Layered, Network, make_up
from dispatcher.selection.optimisers import Adam, Epoch, Fitted, MiniBatch, fit
from dispatcher.selection.rules import CompiledRule
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.softmax import Ngrams, Read, Softmax, document_of
from dispatcher.selection.tuning import HeldOut, keep_refusing, look_at, tune

#: Passes over the examples, and rates of the two linear tiers.
EPOCHS: Final = 10
NGRAMS_RATE: Final = 1.0
HEAD_RATE: Final = 0.5
HEAD_EPOCHS: Final = 20
#: The pull towards the head's start, by one example: the prior counts less, the more examples there are.
HEAD_PULL: Final = 2.0
#: How much of the start the head is pulled to: a description says less than examples do, where there are any.
HEAD_START: Final = 0.5
#: Passes of the network, and examples below which there is too little to train one.
NETWORK_EPOCHS: Final = 10
MIN_NETWORK: Final = 500
#: With more texts than this, n-grams of one text only are left out, and the head over vectors stops early.
MANY_TEXTS: Final = 2_000
#: What the head of means counts beside the one that descends, where a request is in another language.
GAUSSIAN: Final = 2.0
#: What an example counts as if in another language.
FOREIGN_WEIGHT: Final = 0.3
#: Held-out examples that fusion looks at, at most.
MAX_HELD_OUT: Final = 4_000
#: Least validation examples that early stopping listens to.
MIN_VALIDATION: Final = 100


def train(  # noqa: PLR0913 - all of one training
    cards: Sequence[Card],
    examples: Sequence[Example],
    *,
    validation: Sequence[Example] = (),
    rules: Sequence[CompiledRule] = (),
    meaning: Meaning | None = None,
    refit: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Model:
    """Train a model.

    Args:
        cards: the functions; examples of others are left out.
        examples: what the weights are learnt from.
        validation: what fusion, calibration, abstention and thresholds are learnt from, and early stopping looks at.
            Where there is none, the examples are told apart into folds for it.
        rules: what speaks for a function beside its own words: they are no part of the model, but it is learnt how far
            they are to be trusted beside the tiers.
        meaning: sentence vectors; None trains by words alone.
        refit: whether the tiers are trained once more in the end, on the validation examples too. What the model says
            it reached is what it reached before.
        seed: of every order and split.
        progress: told what begins, a few words each.

    Raises:
        ModelError: there is no example of any of the functions.
    """
    trainer = _Trainer(tuple(cards), rules, meaning, seed, progress)
    known = trainer.known(examples)
    if not any(example.function for example in known):
        msg = "there is no example of any registered function to train on"
        raise ModelError(msg)
    trainer.adapts = meaning is not None and is_worth_it(meaning, sum(e.function is not None for e in known))
    held_out = trainer.known(validation)
    if any(example.function for example in held_out):
        base = trainer.fit(known, held_out)
        inside, outside = trainer.judge(base, held_out, [e for e in known if e.function is None])
        progress("learning how the tiers hold together")
        tuned = tune(base, inside, outside)
        if not refit:
            return tuned
        final = _keep_tuning(tuned, trainer.fit([*known, *held_out], ()))
        _, outside = trainer.judge(final, (), [e for e in (*known, *held_out) if e.function is None])
        return keep_refusing(final, outside)
    insides, outsides = [], []
    for fold in split(known, seed):
        unaware = trainer.without(fold.held_out + fold.absent)
        base = unaware.fit(fold.part, ())
        inside, outside = unaware.judge(base, fold.held_out, fold.absent, left_out=fold.left_out)
        insides.append(inside)
        outsides.append(outside)
    final = trainer.fit(known, ())
    progress("learning how the tiers hold together")
    return tune(final, HeldOut.join(insides), HeldOut.join(outsides)) if insides else final


def _keep_tuning(tuned: Model, final: Model) -> Model:
    """A model with the tiers of one, and with what was found out about how they hold together from another."""
    return replace(
        final,
        fusion=tuned.fusion,
        abstention=tuned.abstention,
        thresholds=tuned.thresholds,
        metrics=tuned.metrics,
        curves=tuned.curves,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """Everything that is learnt over sentence vectors."""

    curve: tuple[Epoch, ...]
    #: What is added to the start of the head, shape (functions, dimension).
    delta: Floats
    bias: Floats
    #: The same two for foreign requests; no number where no encoder reads them.
    foreign_delta: Floats
    foreign_bias: Floats
    distance: Distance
    network: tuple[Network, tuple[Epoch, ...]] | None


class _Trainer:
    """Trains on one set of functions."""

    def __init__(
        self,
        cards: tuple[Card, ...],
        rules: Sequence[CompiledRule],
        meaning: Meaning | None,
        seed: int,
        progress: Callable[[str], None],
    ) -> None:
        self._cards = cards
        self._rules = rules
        self._meaning = meaning
        self._seed = seed
        self._progress = progress
        #: Whether the encoder is adapted: in all folds, or in none.
        self.adapts = False
        self._positions = {name: position for position, card in enumerate(cards) for name in card.names}

    def known(self, examples: Sequence[Example]) -> list[Example]:
        """The examples of functions that there are, under their registered names."""
        return [
            e if e.function is None else replace(e, function=self._cards[self._positions[e.function]].name)
            for e in examples
            if e.function is None or e.function in self._positions
        ]

    def without(self, held_out: Sequence[Example]) -> "_Trainer":
        """A trainer whose functions' own examples have none of these texts."""
        hidden = {key_of(example.text) for example in held_out}
        cards = tuple(
            replace(card, examples=tuple(text for text in card.examples if key_of(text) not in hidden))
            for card in self._cards
        )
        unaware = _Trainer(cards, self._rules, self._meaning, self._seed, self._progress)
        unaware.adapts = self.adapts
        return unaware

    # --- one model ----------------------------------------------------------------------------------------------

    def fit(self, examples: Sequence[Example], validation: Sequence[Example]) -> Model:
        """Train the tiers; fusion, abstention and thresholds are the defaults."""
        inside = [example for example in examples if example.function is not None]
        labels = np.array([self._positions[str(example.function)] for example in inside], dtype=np.int64)
        size = len(self._cards)
        texts = [buckets(example.text) for example in inside]
        documents = [np.unique(document_of(card)) for card in self._cards]
        ngrams = Ngrams([*map(np.unique, texts), *documents], size, least=2 if len(texts) > MANY_TEXTS else 1)
        softmax = Softmax(self._cards, ngrams)
        start = softmax.table.copy()
        reads = [ngrams.read(found) for found in texts]
        checked = [example for example in validation if example.function is not None]
        checks = np.array([self._positions[str(example.function)] for example in checked], dtype=np.int64)
        weights = np.array([example.weight for example in inside], dtype=np.float32)
        inputs = _sparse(reads, len(ngrams))
        self._progress("training the softmax tier")
        words = self._descend(
            inputs,
            labels,
            weights,
            start,
            (_sparse([ngrams.read(buckets(e.text)) for e in checked], len(ngrams)), checks),
            l2=0.0,
            rate=NGRAMS_RATE,
            epochs=EPOCHS,
        )
        bayes = Bayes(size, ngrams)
        for read, label, example in zip(reads, labels, inside, strict=True):
            bayes.add(read.rows, int(label), states_of(example.state), example.weight)
        latent = self._latent(inputs, labels, weights)
        adapted = self._adapt(inside, labels, weights)
        meaning = self._meaning
        if meaning is not None and adapted:
            meaning = meaning.adapted(adapted, COUNTING)
        head = None if meaning is None else self._head(meaning, inside, labels, weights, (checked, checks))
        curves = {"softmax": words.curve}
        if latent is not None:
            curves["latent"] = latent[1]
        if head is not None:
            curves["embedding"] = head.curve
            if head.network is not None:
                curves["network"] = head.network[1]
        return Model(
            functions=tuple(card.name for card in self._cards),
            buckets=ngrams.buckets.copy(),
            idf=ngrams.idf.copy(),
            unmet=ngrams.unmet,
            ngrams=words.parameters[0] - start,
            ngrams_bias=words.parameters[1],
            counts=bayes.dump(range(size)),
            calls=bayes.calls.astype(np.float32),
            states={
                key: {self._cards[position].name: count for position, count in calls.items()}
                for key, calls in bayes.states.items()
            },
            encoder="" if self._meaning is None else self._meaning.name,
            adapted=adapted,
            counting=COUNTING if adapted else 1.0,
            head=np.zeros((size, 0), np.float32) if head is None else head.delta,
            head_bias=np.zeros(size, np.float32) if head is None else head.bias,
            foreign_head=np.zeros((0, 0), np.float32) if head is None else head.foreign_delta,
            foreign_bias=np.zeros(0, np.float32) if head is None else head.foreign_bias,
            examples=self._remembered(examples),
            latent=None if latent is None else latent[0],
            distance=None if head is None else head.distance,
            network=None if head is None or head.network is None else head.network[0],
            fusion=fusion.WORDS if self._meaning is None else fusion.MEANING,
            abstention=TRAINED_WORDS_ABSTENTION if self._meaning is None else TRAINED_MEANING_ABSTENTION,
            thresholds=Thresholds(),
            curves={
                tier: [
                    {"epoch": e.epoch, "train_loss": e.train_loss}
                    | ({} if e.valid_loss is None else {"valid_loss": e.valid_loss})
                    for e in curve
                ]
                for tier, curve in curves.items()
            },
        )

    def _adapt(self, inside: Sequence[Example], labels: Integers, weights: Floats) -> tuple[Floats, ...]:
        """The encoder's last layers, trained further; nothing where they are not."""
        if self._meaning is None or not self.adapts:
            return ()
        self._progress("adapting the encoder")
        starts = Embedding(self._cards, self._meaning).start / np.float32(SCALE)
        return adapt(self._meaning, starts, [e.text for e in inside], labels, weights, seed=self._seed)

    def _head(
        self,
        meaning: Meaning,
        inside: Sequence[Example],
        labels: Integers,
        weights: Floats,
        validation: tuple[Sequence[Example], Integers],
    ) -> "_Head":
        """Everything over sentence vectors."""
        checked, checks = validation
        self._progress("encoding the examples")
        embedding = Embedding(self._cards, meaning)
        vectors = meaning.requests([example.text for example in inside])
        checked_vectors = meaning.requests([example.text for example in checked])
        self._progress("training the embedding tier")
        head, bias, curve = self._linear(vectors, labels, weights, embedding.start, (checked_vectors, checks))
        foreign_delta, foreign_bias = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
        if meaning.crosses_languages:
            share = float(np.mean([meaning.is_foreign(example.text) for example in inside]))
            foreign, checked_foreign = meaning.foreign(vectors), meaning.foreign(checked_vectors)
            start = embedding.foreign_start
            learnt = self._linear(foreign, labels, weights, start, (checked_foreign, checks))[:2]
            means = fit_gaussian(foreign, labels, weights, start / np.float32(SCALE))
            both = _join(learnt, means, GAUSSIAN * (1 - share), foreign, _spread((head, bias), vectors))
            foreign_delta, foreign_bias = both[0] - start, both[1]
        return _Head(
            curve=curve,
            delta=head - embedding.start,
            bias=bias,
            foreign_delta=foreign_delta,
            foreign_bias=foreign_bias,
            distance=Distance.fit(vectors, labels, len(self._cards)),
            network=self._network(*self._with_foreign(vectors, labels, weights), examples=len(labels)),
        )

    def _linear(
        self, vectors: Floats, labels: Integers, weights: Floats, start: Floats, validation: tuple[Floats, Integers]
    ) -> tuple[Floats, Floats, tuple[Epoch, ...]]:
        """A head that descends from its start, its bias, and how it came to them.

        Of few examples it is not stopped where the validation loss is least. With ten a function that is after two
        passes, when it is as sure as it should be and has not yet found what tells them apart; how sure it says to be,
        fusion sets.
        """
        scale = np.float32(LENGTH)
        fitted = self._descend(
            Dense(vectors * scale),
            labels,
            weights,
            (start * np.float32(HEAD_START) / scale).T.copy(),
            (Dense(validation[0] * scale), validation[1]),
            l2=HEAD_PULL / len(labels),
            rate=HEAD_RATE,
            epochs=HEAD_EPOCHS,
            stops=len(labels) > MANY_TEXTS,
        )
        return fitted.parameters[0].T * scale, fitted.parameters[1], fitted.curve

    def _with_foreign(self, vectors: Floats, labels: Integers, weights: Floats) -> tuple[Floats, Integers, Floats]:
        """The examples, and as many as if in other languages, for a network that could not tell by itself."""
        scaled = vectors * np.float32(LENGTH)
        if self._meaning is None or not self._meaning.crosses_languages:
            return scaled, labels, weights
        foreign = self._meaning.foreign(vectors)
        if np.array_equal(foreign, vectors):
            return scaled, labels, weights
        return (
            np.concatenate((scaled, foreign * np.float32(LENGTH))),
            np.concatenate((labels, labels)),
            np.concatenate((weights, weights * np.float32(FOREIGN_WEIGHT))),
        )

    def _latent(self, inputs: Sparse, labels: Integers, weights: Floats) -> tuple[Latent, tuple[Epoch, ...]] | None:
        """The network by words; None where there is too little to train one."""
        if len(labels) < MIN_NETWORK:
            return None
        self._progress("finding the latent dimensions")
        basis = find_basis(inputs, seed=self._seed)
        trained = self._network(project(inputs, basis), labels, weights, examples=len(labels))
        return None if trained is None else (Latent(basis=basis, network=trained[0]), trained[1])

    def _network(
        self, vectors: Floats, labels: Integers, weights: Floats, *, examples: int
    ) -> tuple[Network, tuple[Epoch, ...]] | None:
        """The trained network; None where there are too few examples; what was made of them is not counted."""
        if examples < MIN_NETWORK or len(np.unique(labels)) < 2:  # noqa: PLR2004 - between two functions
            return None
        self._progress("training a network")
        between = make_up(vectors, labels, seed=self._seed)
        objective = Layered(
            vectors=np.concatenate((vectors, between)),
            labels=np.concatenate((labels, np.full(len(between), len(self._cards), dtype=np.int64))),
            weights=np.concatenate((weights / weights.mean(), np.ones(len(between), dtype=np.float32))),
            classes=len(self._cards) + 1,
            seed=self._seed,
        )
        many = len(labels) > MANY_TEXTS
        optimiser = Adam(batch_size=256, rate=0.003) if many else Adam(batch_size=32, rate=0.001)
        fitted = fit(objective, optimiser, epochs=NETWORK_EPOCHS if many else 3 * NETWORK_EPOCHS, seed=self._seed)
        inner, inner_bias, outer, outer_bias = fitted.parameters
        return Network(inner=inner, inner_bias=inner_bias, outer=outer, outer_bias=outer_bias), fitted.curve

    def _descend(  # noqa: PLR0913 - all of one objective
        self,
        inputs: Dense | Sparse,
        labels: Integers,
        weights: Floats,
        start: Floats,
        validation: tuple[Dense | Sparse, Integers],
        *,
        l2: float,
        rate: float,
        epochs: int,
        stops: bool = True,
    ) -> Fitted:
        prior = log_prior(labels, weights, start.shape[1])
        weights = weights / np.float32(weights.mean())
        objective = Linear(inputs=inputs, labels=labels, weights=weights, l2=l2, origin=start, prior=prior)
        held_out = None
        if len(validation[1]) >= MIN_VALIDATION:
            ones = np.ones(len(validation[1]), np.float32)
            held_out = Linear(inputs=validation[0], labels=validation[1], weights=ones, l2=0, origin=start, prior=prior)
        batch = 64 if len(labels) > MANY_TEXTS else 16
        return fit(
            objective,
            MiniBatch(batch, rate),
            validation=held_out,
            epochs=epochs,
            seed=self._seed,
            stops=stops,
            patience=epochs,
        )

    def _remembered(self, examples: Sequence[Example]) -> Examples:
        """Texts for the neighbours: as many of each function as it may have."""
        rng = np.random.default_rng(self._seed)
        kept: dict[int, list[str]] = {}
        nothing = len(self._cards)
        for index in rng.permutation(len(examples)):
            example = examples[int(index)]
            column = nothing if example.function is None else self._positions[example.function]
            own = kept.setdefault(column, [])
            if len(own) < MAX_OF_FUNCTION:
                own.append(example.text)
        texts = [(text, column) for column, own in sorted(kept.items()) for text in own][:MAX_TEXTS]
        return Examples(
            texts=tuple(text for text, _ in texts), columns=np.array([column for _, column in texts], dtype=np.int64)
        )

    def judge(
        self,
        model: Model,
        held_out: Sequence[Example],
        outside: Sequence[Example],
        *,
        left_out: Collection[str] = (),
    ) -> tuple[HeldOut, HeldOut]:
        """What a model's tiers say of examples that they did not see, and of texts that nothing fits.

        Args:
            model: trained on others.
            held_out: examples.
            outside: texts that nothing fits where the functions that are left out are not there.
            left_out: names of functions.
        """
        self._progress("judging held-out examples")
        nothing = len(self._cards)
        # Texts that nothing fits are judged without remembering them: each would find itself.
        mine = model.examples.columns != nothing
        forgetful = replace(
            model,
            examples=Examples(
                texts=tuple(text for text, keep in zip(model.examples.texts, mine, strict=True) if keep),
                columns=model.examples.columns[mine],
            ),
        )
        snapshot = Snapshot(self._cards, rules=self._rules, meaning=self._meaning, model=forgetful)
        inside = [example for example in held_out if example.function is not None]
        if len(inside) > MAX_HELD_OUT:
            chosen = np.random.default_rng(self._seed).permutation(len(inside))[:MAX_HELD_OUT]
            inside = [inside[int(index)] for index in chosen]
        outside = [*(example for example in held_out if example.function is None), *outside]
        without = snapshot
        if left_out:
            # Not only untrained: its description would still find what is meant for it.
            cards = [card for card in self._cards if card.name not in left_out]
            without = Snapshot(cards, rules=self._rules, meaning=self._meaning, model=forgetful)
        return look_at(snapshot, inside), replace(look_at(without, outside), logits={})


def log_prior(labels: Integers, weights: Floats, size: int) -> Floats:
    """The logarithm of how often each function is asked for, up to a number that is the same for all.

    A head that learns beside it learns what a text says, and not how often a function was asked for: that the prior
    tier knows, as far as it holds. A function's description counts as one example.
    """
    prior = np.log(np.bincount(labels, weights, minlength=size) + 1)
    centred: Floats = (prior - prior.mean()).astype(np.float32)
    return centred


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


def _sparse(reads: Sequence[Read], width: int) -> Sparse:
    starts = np.zeros(len(reads) + 1, dtype=np.int64)
    np.cumsum([len(read.rows) for read in reads], out=starts[1:])
    return Sparse(
        starts=starts,
        columns=np.concatenate([read.rows for read in reads]) if reads else np.empty(0, np.int64),
        values=np.concatenate([read.values for read in reads]) if reads else np.empty(0, np.float32),
        width=width,
    )
