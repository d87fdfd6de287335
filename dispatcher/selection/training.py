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

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dispatcher.errors import ModelError
from dispatcher.selection import fusion
from dispatcher.selection.adapting import Beginning, adapt, beginning_for, is_worth_it
from dispatcher.selection.bayes import Bayes, states_of
from dispatcher.selection.card import Card
from dispatcher.selection.defaults import TRAINED_MEANING_ABSTENTION, TRAINED_WORDS_ABSTENTION
from dispatcher.selection.embedding import SCALE, Embedding, examples_of, texts_of
from dispatcher.selection.example import Example
from dispatcher.selection.features import buckets, tokens
from dispatcher.selection.folds import key_of, split
from dispatcher.selection.known_vectors import MAX_KNOWN, KnownVectors
from dispatcher.selection.latent import Latent, find_basis, project
from dispatcher.selection.linear_training import MANY_TEXTS, Labelled, train_linear
from dispatcher.selection.loss import Floats, Integers, Sparse
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import Examples, Model
from dispatcher.selection.neighbours import MAX_OF_FUNCTION, MAX_TEXTS
from dispatcher.selection.network_training import train_network
from dispatcher.selection.optimisers import Epoch
from dispatcher.selection.rules import CompiledRule
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.softmax import Ngrams, Read, Softmax, document_of
from dispatcher.selection.thresholds import Thresholds
from dispatcher.selection.tuning import HeldOut, keep_refusing, look_at, tune
from dispatcher.selection.vector_training import train_vector_tiers

#: Passes over the examples, and the rate, of the softmax tier.
EPOCHS: Final = 10
RATE: Final = 1.0
#: Examples below which there is too little to train a network.
MIN_NETWORK: Final = 500
#: Held-out examples that fusion looks at, at most.
MAX_HELD_OUT: Final = 4_000
#: Words that a model knows the sums of from the start, at most: about as many as there is room for.
MAX_WORDS: Final = 8_192


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
    functions = [example.function for example in known if example.function is not None]
    if not functions:
        msg = "there is no example of any registered function to train on"
        raise ModelError(msg)
    if meaning is not None and is_worth_it(meaning, len(functions)):
        trainer.beginning = beginning_for(meaning, len(functions))
    trainer.networks = len(functions) >= MIN_NETWORK and len(set(functions)) > 1
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
        #: Where the encoder's layers begin to be adapted, in all folds; None: in none.
        self.beginning: Beginning | None = None
        #: Whether networks are trained: likewise, or the folds would say nothing of how far to trust them.
        self.networks = False
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
        unaware.beginning, unaware.networks = self.beginning, self.networks
        return unaware

    # --- one model ----------------------------------------------------------------------------------------------

    def fit(self, examples: Sequence[Example], validation: Sequence[Example]) -> Model:
        """Train the tiers; fusion, abstention and thresholds are the defaults."""
        inside = [example for example in examples if example.function is not None]
        labelled = Labelled(
            labels=self._labels(inside),
            weights=np.array([example.weight for example in inside], dtype=np.float32),
            functions=len(self._cards),
            seed=self._seed,
        )
        checked = [example for example in validation if example.function is not None]
        checks = self._labels(checked)
        texts = [buckets(example.text) for example in inside]
        documents = [np.unique(document_of(card)) for card in self._cards]
        least = 2 if len(texts) > MANY_TEXTS else 1
        ngrams = Ngrams([*map(np.unique, texts), *documents], len(self._cards), least=least)
        reads = [ngrams.read(found) for found in texts]
        inputs, start = _sparse(reads, len(ngrams)), Softmax(self._cards, ngrams).table.copy()
        checked_inputs = _sparse([ngrams.read(buckets(example.text)) for example in checked], len(ngrams))
        self._progress("training the softmax tier")
        words = train_linear(inputs, labelled, start, (checked_inputs, checks), l2=0.0, rate=RATE, epochs=EPOCHS)
        bayes = self._counted(ngrams, reads, inside, labelled)
        model = Model(
            functions=tuple(card.name for card in self._cards),
            buckets=ngrams.buckets.copy(),
            idf=ngrams.idf.copy(),
            unmet=ngrams.unmet,
            ngrams=words.parameters[0] - start,
            ngrams_bias=words.parameters[1],
            counts=bayes.dump(range(len(self._cards))),
            calls=bayes.calls.astype(np.float32),
            states={
                key: {self._cards[position].name: count for position, count in calls.items()}
                for key, calls in bayes.states.items()
            },
            head=np.zeros((len(self._cards), 0), np.float32),
            head_bias=np.zeros(len(self._cards), np.float32),
            foreign_head=np.zeros((0, 0), np.float32),
            foreign_bias=np.zeros(0, np.float32),
            examples=self._remembered(examples),
            words=_common_words(inside),
            fusion=fusion.WORDS,
            abstention=TRAINED_WORDS_ABSTENTION,
            thresholds=Thresholds(),
            curves={"softmax": _points(words.curve)},
        )
        model = self._with_latent(model, inputs, labelled)
        if self._meaning is None:
            return model
        return self._with_vectors(model, self._meaning, inside, labelled, (checked, checks))

    def _labels(self, inside: Sequence[Example]) -> Integers:
        """The positions of the examples' functions."""
        return np.array([self._positions[str(example.function)] for example in inside], dtype=np.int64)

    def _counted(self, ngrams: Ngrams, reads: Sequence[Read], inside: Sequence[Example], labelled: Labelled) -> Bayes:
        bayes = Bayes(len(self._cards), ngrams)
        for read, label, example in zip(reads, labelled.labels, inside, strict=True):
            bayes.add(read.rows, int(label), states_of(example.state), example.weight)
        return bayes

    def _with_latent(self, model: Model, inputs: Sparse, labelled: Labelled) -> Model:
        """A model with the network by words too, where there is enough to train one."""
        if not self.networks:
            return model
        self._progress("finding the latent dimensions")
        basis = find_basis(inputs, seed=self._seed)
        self._progress("training a network")
        trained = train_network(project(inputs, basis), labelled)
        latent = Latent(basis=basis, network=trained.network)
        return replace(model, latent=latent, curves={**model.curves, "latent": _points(trained.curve)})

    def _with_vectors(
        self,
        model: Model,
        meaning: Meaning,
        inside: Sequence[Example],
        labelled: Labelled,
        validation: tuple[Sequence[Example], Integers],
    ) -> Model:
        """A model with the tiers over sentence vectors too."""
        adapted = self._adapt(inside, labelled)
        reader = meaning.adapted(adapted) if adapted else meaning
        learnt = train_vector_tiers(
            self._cards, reader, inside, labelled, validation, networks=self.networks, progress=self._progress
        )
        network = learnt.network
        return replace(
            model,
            encoder=meaning.name,
            adapted=adapted,
            known_requests=_known([*model.examples.texts, *examples_of(self._cards)], reader.requests),
            known_descriptions=_known(texts_of(self._cards), reader.encodings),
            has_glossary=reader.has_glossary,
            head=learnt.delta,
            head_bias=learnt.bias,
            foreign_head=learnt.foreign_delta,
            foreign_bias=learnt.foreign_bias,
            distance=learnt.distance,
            network=None if network is None else network.network,
            fusion=fusion.MEANING,
            abstention=TRAINED_MEANING_ABSTENTION,
            curves={
                **model.curves,
                "embedding": _points(learnt.curve),
                **({} if network is None else {"network": _points(network.curve)}),
            },
        )

    def _adapt(self, inside: Sequence[Example], labelled: Labelled) -> tuple[Floats, ...]:
        """The encoder's last layers, trained further; nothing where they are not."""
        if self.beginning is None:
            return ()
        self._progress("adapting the encoder")
        starts = Embedding(self._cards, self.beginning.meaning).start / np.float32(SCALE)
        return adapt(self.beginning, starts, [example.text for example in inside], labelled)

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


def _common_words(examples: Sequence[Example]) -> tuple[str, ...]:
    """The words that most of the texts have, the most frequent ones first."""
    counts = Counter(word for example in examples for word in set(tokens(example.text)))
    return tuple(word for word, _ in sorted(counts.items(), key=lambda counted: (-counted[1], counted[0]))[:MAX_WORDS])


def _known(texts: Sequence[str], read: Callable[[Sequence[str]], Floats]) -> KnownVectors:
    """What an encoder says of texts, for whoever has the model."""
    kept = list(dict.fromkeys(texts))[:MAX_KNOWN]
    return KnownVectors.of(kept, read(kept))


def _points(curve: Sequence[Epoch]) -> list[Mapping[str, float]]:
    """A learning curve as a model keeps it."""
    return [
        {"epoch": e.epoch, "train_loss": e.train_loss} | ({} if e.valid_loss is None else {"valid_loss": e.valid_loss})
        for e in curve
    ]


def _sparse(reads: Sequence[Read], width: int) -> Sparse:
    starts = np.zeros(len(reads) + 1, dtype=np.int64)
    np.cumsum([len(read.rows) for read in reads], out=starts[1:])
    return Sparse(
        starts=starts,
        columns=np.concatenate([read.rows for read in reads]) if reads else np.empty(0, np.int64),
        values=np.concatenate([read.values for read in reads]) if reads else np.empty(0, np.float32),
        width=width,
    )
