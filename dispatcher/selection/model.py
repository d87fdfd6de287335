"""What was learnt offline, of a set of functions: as arrays for the tiers, and as a `StoredModel` to keep."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from dispatcher.errors import ModelError
from dispatcher.selection import fusion
from dispatcher.selection.abstention import Abstention
from dispatcher.selection.defaults import TRAINED_WORDS_ABSTENTION
from dispatcher.selection.distance import Distance
from dispatcher.selection.embedding import examples_of, texts_of
from dispatcher.selection.encoders.minilm import fit_layers
from dispatcher.selection.features import BUCKETS, Buckets
from dispatcher.selection.fusion import Fusion
from dispatcher.selection.known_vectors import KnownVectors
from dispatcher.selection.latent import Latent
from dispatcher.selection.loss import Floats, Integers
from dispatcher.selection.network import Network
from dispatcher.selection.stored import StoredModel, make_version
from dispatcher.selection.thresholds import Thresholds

if TYPE_CHECKING:
    from dispatcher.selection.card import Card
    from dispatcher.selection.meaning import Meaning
    from dispatcher.selection.snapshot import Snapshot

#: What the arrays and the JSON of a stored model mean; a model of another format is refused.
FORMAT = 3
#: Formats that are read too: what they lack is that the encoder's layers may be adapted.
OLDER = (2,)
#: What the arrays of known vectors begin with.
_REQUESTS, _DESCRIPTIONS = "requests", "descriptions"


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Which n-grams were met in texts of which function, those that were: one entry each."""

    rows: Integers
    columns: Integers
    values: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Remembered texts."""

    texts: tuple[str, ...]
    #: The column of the function of each; the number of columns for texts that nothing fits.
    columns: Integers


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """Everything learnt. Columns are functions by name, so that a registry may change under it."""

    version: str = ""
    #: The position in the feedback log up to which it has learnt.
    position: str = ""
    #: The name of each column's function.
    functions: tuple[str, ...]
    #: The bucket and idf weight of each n-gram, and the idf of those that were never met.
    buckets: Buckets
    idf: Floats
    unmet: float
    #: What was added to the softmax tier's starting weights, shape (n-grams, columns), and the bias.
    ngrams: Floats
    ngrams_bias: Floats
    counts: Counts
    #: How many texts of each function were counted.
    calls: Floats
    #: Calls by state and function name.
    states: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    #: The encoder's name; empty for a model of words alone.
    encoder: str = ""
    #: The encoder's last layers as they were trained further; nothing where they were not.
    adapted: Sequence[Floats] = ()
    #: What was added to the embedding tier's starting head, shape (columns, dimension), and the bias.
    head: Floats
    head_bias: Floats
    #: The same two for requests in other scripts, or no number where no encoder reads them.
    foreign_head: Floats
    foreign_bias: Floats
    examples: Examples
    #: What the encoder says of examples as `Meaning.requests`, and of functions as `Meaning.encodings`; None where
    #: there is no encoder, or a model is of before these were kept.
    known_requests: KnownVectors | None = None
    known_descriptions: KnownVectors | None = None
    #: Whether a dictionary gave the English of what `known_requests` has of texts in Chinese.
    has_glossary: bool = False
    #: The words of all texts that were learnt from, of which `examples` are a part, the most frequent ones first.
    words: tuple[str, ...] = ()
    distance: Distance | None = None
    network: Network | None = None
    latent: Latent | None = None
    fusion: Fusion
    abstention: Abstention
    thresholds: Thresholds
    #: On held-out examples, by name.
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: The learning curve of each trained tier: a list of epochs.
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)

    def for_encoder(self, name: str) -> "Model":
        """What this model is where another encoder is installed than it was trained with, or none (an empty name).

        How its tiers hold together, whether any function is meant, and from where on to act were all learnt with that
        encoder's word: without it the tiers by words hardly count, and all texts are taken for meant, or none. It then
        has what a model by words has whose training found too little to learn these from.
        """
        if self.encoder in ("", name):
            return self
        return replace(
            self,
            fusion=fusion.WORDS,
            abstention=TRAINED_WORDS_ABSTENTION,
            thresholds=Thresholds(),
        )

    def reader(self, meaning: "Meaning", cards: Sequence["Card"]) -> "Meaning":
        """The encoder as it was trained further, which need not read again what it has read for this model.

        One that the model was not trained with is left as it is.
        """
        if self.encoder != meaning.name or self.head.shape[1] != meaning.dimension:
            return meaning
        if self.adapted:
            if meaning.adaptable is None:
                return meaning
            meaning = meaning.adapted(self.adapted)
        if self.known_requests is None or self.known_descriptions is None:
            return meaning
        texts = [*self.examples.texts, *examples_of(cards)]
        if meaning.has_glossary != self.has_glossary:
            texts = [text for text in texts if not meaning.is_foreign(text)]
        return meaning.knowing(self.known_requests.find(texts), self.known_descriptions.find(texts_of(cards)))

    def install(self, snapshot: "Snapshot") -> None:
        """Give a snapshot's tiers what was learnt of the functions that it has.

        A function that was renamed with an alias is found by it; one that there no longer is teaches nobody.
        """
        positions = {
            column: snapshot.names[name] for column, name in enumerate(self.functions) if name in snapshot.names
        }
        snapshot.softmax.load(self.ngrams, self.ngrams_bias, positions)
        snapshot.bayes.load(self.counts, self.calls, positions)
        for key, calls in self.states.items():
            own = {snapshot.names[name]: count for name, count in calls.items() if name in snapshot.names}
            snapshot.bayes.load_state(key, own)
        snapshot.count({position: float(self.calls[column]) for column, position in positions.items()})
        if self.latent is not None:
            snapshot.latent = self.latent.arrange(positions, snapshot.size)
        if snapshot.embedding is None or snapshot.neighbours is None:
            return
        meaning = snapshot.embedding.meaning
        if self.encoder == meaning.name and self.head.shape[1] == meaning.dimension:
            snapshot.embedding.load(self.head, self.head_bias, positions)
            if len(self.foreign_bias) and meaning.crosses_languages:
                snapshot.embedding.load_foreign(self.foreign_head, self.foreign_bias, positions)
            snapshot.distance = self.distance
            if self.network is not None:
                snapshot.network = self.network.arrange(positions, snapshot.size)
        nothing = len(self.functions)
        owners = {**positions, nothing: snapshot.size}
        kept = [
            (text, owners[int(column)])
            for text, column in zip(self.examples.texts, self.examples.columns, strict=True)
            if int(column) in owners
        ]
        if kept:
            vectors = snapshot.embedding.meaning.requests([text for text, _ in kept])
            for (text, position), vector in zip(kept, vectors, strict=True):
                snapshot.neighbours.add(vector, position, text)

    def store(self, now: datetime) -> StoredModel:
        """As arrays and JSON, under a new version."""
        arrays: dict[str, Any] = {
            "buckets": self.buckets.astype(np.int32),
            "idf": self.idf,
            "ngrams": self.ngrams.astype(np.float16),
            "ngrams_bias": self.ngrams_bias,
            "counts_rows": self.counts.rows.astype(np.int32),
            "counts_columns": self.counts.columns.astype(np.int32),
            "counts_values": self.counts.values,
            "calls": self.calls,
            "head": self.head.astype(np.float16),
            "head_bias": self.head_bias,
            "foreign_head": self.foreign_head.astype(np.float16),
            "foreign_bias": self.foreign_bias,
            "examples": self.examples.columns.astype(np.int32),
        }
        arrays |= {f"adapted_{place:02}": weights.astype(np.float16) for place, weights in enumerate(self.adapted)}
        if self.known_requests is not None:
            arrays |= self.known_requests.dump(_REQUESTS)
        if self.known_descriptions is not None:
            arrays |= self.known_descriptions.dump(_DESCRIPTIONS)
        if self.distance is not None:
            arrays |= self.distance.dump()
        if self.latent is not None:
            arrays |= self.latent.dump()
        if self.network is not None:
            arrays |= self.network.dump()
        meta = {
            "format": FORMAT,
            "functions": list(self.functions),
            "unmet": self.unmet,
            "states": {key: dict(calls) for key, calls in self.states.items()},
            "encoder": self.encoder,
            "has_glossary": self.has_glossary,
            "examples": list(self.examples.texts),
            "words": list(self.words),
            "fusion": self.fusion.dump(),
            "abstention": self.abstention.dump(),
            "thresholds": asdict(self.thresholds),
            "curves": {tier: [dict(epoch) for epoch in curve] for tier, curve in self.curves.items()},
        }
        return StoredModel(
            version=make_version(now, arrays),
            created_at=now,
            metrics=dict(self.metrics),
            position=self.position,
            meta=meta,
            arrays=arrays,
        )

    @classmethod
    def load(cls, stored: StoredModel) -> "Model":
        """What `store` made.

        Raises:
            ModelError: it is of another format, or its parts do not fit together.
        """
        try:
            model = cls._load(stored)
            _check(model)
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            msg = f"model {stored.version} cannot be used: {error!r}"
            raise ModelError(msg) from None
        return model

    @classmethod
    def _load(cls, stored: StoredModel) -> "Model":
        meta, arrays = stored.meta, stored.arrays
        if meta["format"] not in {FORMAT, *OLDER}:
            msg = f"it is of format {meta['format']!r}, and this version reads {FORMAT}; train anew"
            raise ValueError(msg)
        return cls(
            version=stored.version,
            position=stored.position,
            functions=tuple(map(str, meta["functions"])),
            buckets=arrays["buckets"].astype(np.int64),
            idf=arrays["idf"].astype(np.float32),
            unmet=float(meta["unmet"]),
            ngrams=arrays["ngrams"].astype(np.float32),
            ngrams_bias=arrays["ngrams_bias"].astype(np.float32),
            counts=Counts(
                rows=arrays["counts_rows"].astype(np.int64),
                columns=arrays["counts_columns"].astype(np.int64),
                values=arrays["counts_values"].astype(np.float32),
            ),
            calls=arrays["calls"].astype(np.float32),
            states={key: {name: float(n) for name, n in calls.items()} for key, calls in meta["states"].items()},
            encoder=str(meta["encoder"]),
            adapted=tuple(arrays[name].astype(np.float32) for name in sorted(arrays) if name.startswith("adapted_")),
            head=arrays["head"].astype(np.float32),
            head_bias=arrays["head_bias"].astype(np.float32),
            foreign_head=arrays["foreign_head"].astype(np.float32),
            foreign_bias=arrays["foreign_bias"].astype(np.float32),
            examples=Examples(texts=tuple(meta["examples"]), columns=arrays["examples"].astype(np.int64)),
            known_requests=KnownVectors.load(arrays, _REQUESTS),
            known_descriptions=KnownVectors.load(arrays, _DESCRIPTIONS),
            has_glossary=bool(meta.get("has_glossary", False)),
            words=tuple(map(str, meta.get("words", ()))),
            distance=Distance.load(arrays),
            network=Network.load(arrays),
            latent=Latent.load(arrays),
            fusion=Fusion.load(meta["fusion"]),
            abstention=Abstention.load(meta["abstention"]),
            thresholds=Thresholds(**meta["thresholds"]),
            metrics=stored.metrics,
            curves=meta["curves"],
        )


def _check(model: Model) -> None:
    """Refuse arrays that would be found out in the middle of a selection."""
    grams, columns = len(model.buckets), len(model.functions)
    fits = (
        model.idf.shape == (grams,)
        and model.ngrams.shape == (grams, columns)
        and model.ngrams_bias.shape == model.head_bias.shape == model.calls.shape == (columns,)
        and (not model.encoder or (model.head.ndim == 2 and len(model.head) == columns))  # noqa: PLR2004 - a row a function
        and (not model.foreign_bias.size or model.foreign_bias.shape == model.head_bias.shape)
        and (not model.foreign_bias.size or model.foreign_head.shape == model.head.shape)
        and model.counts.rows.shape == model.counts.columns.shape == model.counts.values.shape
        and len(model.examples.texts) == len(model.examples.columns)
        and (not grams or (int(model.buckets.min()) >= 0 and int(model.buckets.max()) < BUCKETS))
        and (not len(model.counts.rows) or 0 <= int(model.counts.rows.min()) <= int(model.counts.rows.max()) < grams)
    )
    for known in (model.known_requests, model.known_descriptions):
        fits = fits and (known is None or known.fits(model.head.shape[1]))
    if model.adapted:
        fits = fits and fit_layers(model.adapted)
    if model.network is not None:
        fits = fits and model.network.fits(model.head.shape[1], columns)
    if model.latent is not None:
        basis = model.latent.basis
        fits = fits and basis.ndim == 2 and len(basis) <= grams  # noqa: PLR2004 - an n-gram a row
        fits = fits and model.latent.network.fits(basis.shape[1], columns)
    if model.distance is not None:
        fits = fits and model.distance.fits(model.head.shape[1])
    numbers = (
        model.idf,
        model.ngrams,
        model.ngrams_bias,
        model.head,
        model.head_bias,
        model.foreign_head,
        model.foreign_bias,
        model.calls,
        model.counts.values,
        np.array([model.unmet, model.abstention.bias]),
        *(np.array([weight.untrained, weight.trained]) for weight in model.fusion.weights.values()),
        model.abstention.weights,
        model.abstention.means,
        model.abstention.spreads,
        *(() if model.latent is None else (model.latent.basis,)),
        *model.adapted,
    )
    if not fits or not all(np.isfinite(array).all() for array in numbers):
        msg = "its arrays do not fit together, or hold what is no number"
        raise ValueError(msg)
