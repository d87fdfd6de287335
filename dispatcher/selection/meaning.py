"""Sentence vectors as the tiers use them: an encoder's, without what all of them have in common.

    request      v  = e(text) - g, scaled to length 1
    description  v' = e(text) - (Σ e over the registry + MEAN_WEIGHT · g) / (functions + MEAN_WEIGHT), likewise

e is the encoder and g the mean of its vectors over requests of every kind, which ships with the project. Sentence
vectors crowd in one corner of their space, and a request differs from a description by being a request. Parts of a
vector that are 0 stay 0: there an encoder could read nothing.

An encoder for English makes something of a text in Chinese about a film with an English title, and it is of no use: a
text of which a good part is in another script is read by the multilingual encoders alone. Where there is a dictionary,
the encoder for English reads a Chinese text word for word in English:

    request      v  = what multilingual encoders say of the text, and what the one for English says of its gloss,
                      each as long beside the other as in the gloss's own v

Source: Arora, Liang and Ma 2017, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings".
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Final

import numpy as np

from dispatcher.errors import ModelError
from dispatcher.extras import install_command
from dispatcher.selection.encoders.available import find_encoders, make_encoder
from dispatcher.selection.encoders.combined import AND, TIMES, exchange, weighted_parts
from dispatcher.selection.encoders.encoder import MULTILINGUAL, Encoder, Rows, unit
from dispatcher.selection.encoders.glossary import Glossary, find_glossary
from dispatcher.selection.encoders.minilm import NAMES, MiniLM
from dispatcher.selection.encoders.own import find_own
from dispatcher.selection.loss import Floats
from dispatcher.selection.stored import Array
from dispatcher.selection.words import is_foreign

#: How many descriptions the general mean is worth beside the registry's own.
MEAN_WEIGHT: Final = 10.0
#: Descriptions and examples whose vectors are remembered, so that a changed registry is read again at no cost.
MAX_REMEMBERED: Final = 50_000
#: Requests whose vectors are remembered: feedback comes soon after what it is about.
MAX_REQUESTED: Final = 1_000
#: Requests that are read together.
AT_ONCE: Final = 512


#: Shares of the encoders that are used together where they are installed, the best mixture first.
MIXTURES: Final = (
    {"minilm-l6-int8/1": 0.5, "use-multilingual-v3/1": 0.25, "e5-small-multilingual-q4/1": 0.25},
    {"minilm-l6-int8/1": 0.6, "use-multilingual-v3/1": 0.4},
    {"minilm-l6-int8/1": 1.0},
    {"use-multilingual-v3/1": 1.0},
    {"e5-small-multilingual-q4/1": 1.0},
    {"wordllama-l2-256/1": 1.0},
)

#: The name of the best mixture that is installed, alone or as a part of another.
AUTO: Final = "auto"
#: The encoder whose last layers can be adapted.
MINILM: Final = NAMES["mean"]

#: The mean vector of the requests in `common/requests.txt`, by encoder. Made by `make common-vectors`.
_COMMON: Final = Path(__file__).with_name("common") / "vectors.npz"
#: Those of encoders of one's own that this process has made.
_made: dict[str, Floats] = {}


class Meaning:
    """An encoder, and what requests have in common."""

    def __init__(
        self,
        encoder: Encoder,
        common: Floats,
        *,
        multilingual: Floats | None = None,
        glossary: Glossary | None = None,
    ) -> None:
        """Take an encoder.

        Args:
            encoder: makes the vectors.
            common: g, shape (dimension,).
            multilingual: 1 for the numbers that texts in any language have, 0 for those of English alone; None where
                that is not known, or there is none of the first kind.
            glossary: gives the English of a text to encoders for English alone; None where there are none of them.
        """
        self.encoder = encoder
        self._glossary = glossary
        self._multilingual = multilingual
        self._common = common.astype(np.float32)
        self._remembered: OrderedDict[str, Floats] = OrderedDict()
        self._requested: OrderedDict[str, Floats] = OrderedDict()
        #: What need not be asked of the encoder: v of requests, and e of descriptions.
        self._known_requests: Mapping[str, Floats] = {}
        self._known_encodings: Mapping[str, Floats] = {}
        #: The newest one that was adapted, and with which weights.
        self._adapted: tuple[Sequence[Floats], Meaning] | None = None

    @property
    def name(self) -> str:
        return self.encoder.name

    @property
    def dimension(self) -> int:
        return self.encoder.dimension

    def request(self, text: str) -> Floats:
        """V of one text, shape (dimension,)."""
        row = self._known_requests.get(text, self._requested.get(text))
        if row is None:
            row = self._readable([text], _without(self._look_up([text]), self._common), self._look_up)[0]
            self._requested[text] = row
            if len(self._requested) > MAX_REQUESTED:
                self._requested.popitem(last=False)
        return row

    def requests(self, texts: Sequence[str]) -> Floats:
        """V of each text, shape (texts, dimension)."""
        known = self._known_requests
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if len(new) == len(texts):
            return self._read(texts)
        read = dict(zip(new, self._read(new), strict=True)) if new else {}
        return np.stack([known[text] if text in known else read[text] for text in texts])

    def _read(self, texts: Sequence[str]) -> Floats:
        return self._readable(texts, _without(self.encodings(texts), self._common), self.encodings)

    def read_ahead(self, texts: Sequence[str]) -> None:
        """Read requests together that will be asked about one by one, in less time; they are remembered."""
        for begin in range(0, len(texts), AT_ONCE):
            self.requests(texts[begin : begin + AT_ONCE])

    def knowing(self, requests: Mapping[str, Floats], descriptions: Mapping[str, Floats]) -> "Meaning":
        """The same, which does not ask the encoder about these texts.

        Args:
            requests: v by text.
            descriptions: e by text.
        """
        known = copy(self)
        known._known_requests, known._known_encodings = requests, descriptions  # noqa: SLF001 - a copy of this
        return known

    @property
    def adaptable(self) -> tuple[slice, float] | None:
        """Which numbers the encoder makes that can be adapted, and how long they are together; None: none can be."""
        if self.name != MINILM and not hasattr(self.encoder, "exchange"):
            return None
        parts, shipped = weighted_parts(self.name), _shipped()
        begin, total = 0, sum(weight for _, weight in parts)
        for name, weight in parts:
            common = _common_vector(name, shipped)
            if common is None:
                return None
            end = begin + len(common)
            if name == MINILM:
                return slice(begin, end), float((weight / total) ** 0.5)
            begin = end
        return None

    @property
    def common(self) -> Floats:
        """G, shape (dimension,)."""
        return self._common

    def adapted(self, weights: Sequence[Floats]) -> "Meaning":
        """The same with other weights in the last layers of the encoder that can be adapted."""
        if self._adapted is None or self._adapted[0] is not weights:
            part = MiniLM(adapted=weights)
            encoder = exchange(self.encoder, part)
            self._adapted = (
                weights,
                Meaning(encoder, self._common, multilingual=self._multilingual, glossary=self._glossary),
            )
        return self._adapted[1]

    @property
    def multilingual(self) -> Floats | None:
        """1 for the numbers that texts in any language have, 0 for the others; None where there are none of these."""
        return self._multilingual

    @property
    def crosses_languages(self) -> bool:
        """Whether a text in any language is near a text in English that means the same."""
        return self._multilingual is not None

    def foreign(self, vectors: Floats) -> Floats:
        """The same requests as if in another language: without what an encoder for English alone would say of them."""
        return vectors if self._multilingual is None else unit(vectors * self._multilingual)

    def is_foreign(self, text: str) -> bool:
        """Whether a text is left to the multilingual encoders."""
        return self._multilingual is not None and is_foreign(text)

    @property
    def has_glossary(self) -> bool:
        """Whether Chinese is read in English too, by a dictionary."""
        return self._glossary is not None

    def has_english(self, vectors: Floats) -> Array:
        """Whether an encoder for English says anything of requests; shape (requests,), of one request a number."""
        if self._multilingual is None:
            return np.ones(vectors.shape[:-1], dtype=bool)
        return np.asarray((vectors * (1 - self._multilingual)).any(axis=-1))

    def descriptions(self, texts: Sequence[str]) -> Floats:
        """V' of each text of a registry, shape (texts, dimension)."""
        encoded = self.encodings(texts)
        mean = (encoded.sum(axis=0) + np.float32(MEAN_WEIGHT) * self._common) / np.float32(len(texts) + MEAN_WEIGHT)
        return _without(encoded, mean)

    def _readable(self, texts: Sequence[str], rows: Floats, encode: Callable[[Sequence[str]], Rows]) -> Floats:
        """Only what encoders say of texts that they can read, by themselves or in English."""
        foreign = [place for place, text in enumerate(texts) if self.is_foreign(text)]
        if foreign:
            rows[foreign] = self._glossed([texts[place] for place in foreign], self.foreign(rows[foreign]), encode)
        return rows

    def _glossed(self, texts: Sequence[str], rows: Floats, encode: Callable[[Sequence[str]], Rows]) -> Floats:
        """Requests in other languages, with what an encoder for English says of their glosses, where they have one."""
        if self._glossary is None or self._multilingual is None:
            return rows
        glosses = [self._glossary.gloss(text) for text in texts]
        glossed = [place for place, gloss in enumerate(glosses) if gloss]
        if glossed:
            english = _without(encode([glosses[place] for place in glossed]), self._common)
            shared = np.linalg.norm(english * self._multilingual, axis=1, keepdims=True)
            rows[glossed] = unit(english * (1 - self._multilingual) + rows[glossed] * shared)
        return rows

    def encodings(self, texts: Sequence[str]) -> Floats:
        """E of each text, which is remembered; shape (texts, dimension)."""
        found = {text: self._find(text) for text in texts}
        new = [text for text, row in found.items() if row is None]
        if new:
            read = dict(zip(new, self.encoder.encode(new), strict=True))
            found |= read
            self._remembered.update(read)
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = found[text]
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return rows

    def _look_up(self, texts: Sequence[str]) -> Floats:
        """E of each text; what is new is not remembered."""
        found = [self._find(text) for text in texts]
        known = [row for row in found if row is not None]
        return np.stack(known) if known and len(known) == len(texts) else self.encoder.encode(texts)

    def _find(self, text: str) -> Floats | None:
        row = self._remembered.get(text)
        return self._known_encodings.get(text) if row is None else row


def load_meaning(name: str = AUTO, *, threads: int = 1) -> Meaning:
    """An encoder with what goes with it.

    Args:
        name: of the encoder, as `make_encoder` takes it; `auto` for the best mixture of those that are installed,
            which may be a part of one: `auto + folder:/models/all-mpnet-base-v2`.
        threads: how many may work on one text.

    Raises:
        ModelError: it is not installed, or not what it claims to be; no encoder is installed at all.
    """
    return meaning_of(make_encoder(full_name(name), threads=threads))


def full_name(name: str) -> str:
    """The name of a mixture with the encoders of its parts that are `auto`, each with its share.

    Raises:
        ModelError: `auto` is a part, and no encoder is installed; or a weight is no number.
    """
    parts = weighted_parts(name)
    if all(part != AUTO for part, _ in parts):
        return name
    best = weighted_parts(default_name())
    spread = [
        (single, weight * share)
        for part, weight in parts
        for single, share in (best if part == AUTO else [(part, 1.0)])
    ]
    return AND.join(f"{weight:g}{TIMES}{single}" for single, weight in spread)


def default_name(*, without: Collection[str] = ()) -> str:
    """The name of the best mixture of the encoders that are installed.

    Args:
        without: extras whose encoders are left out.

    Raises:
        ModelError: none is.
    """
    installed = {offer.name for offer in find_encoders() if offer.extra not in without}
    for mixture in MIXTURES:
        if mixture.keys() <= installed:
            return AND.join(f"{share:g}{TIMES}{name}" for name, share in mixture.items())
    msg = f"no sentence encoder is installed; {install_command('embedding')} brings two"
    raise ModelError(msg)


def meaning_of(encoder: Encoder) -> Meaning:
    """A meaning from an encoder, with its common vector: the shipped one, or that of a folder's.

    An encoder that is a class of one's own has zeros instead.
    """
    shipped = _shipped()
    parts = [(name, share, _common_vector(name, shipped)) for name, share in weighted_parts(encoder.name)]
    total = sum(share for _, share, _ in parts)
    known = [(name, share, own) for name, share, own in parts if own is not None]
    if len(known) == len(parts):
        common = np.concatenate([own * np.float32((share / total) ** 0.5) for _, share, own in known])
        if common.shape == (encoder.dimension,):
            kinds = [np.full(len(own), MULTILINGUAL in name, dtype=np.float32) for name, _, own in known]
            multilingual = np.concatenate(kinds)
            if not multilingual.any():
                return Meaning(encoder, common)
            glossary = None if multilingual.all() else find_glossary()
            return Meaning(encoder, common, multilingual=multilingual, glossary=glossary)
    return Meaning(encoder, np.zeros(encoder.dimension, dtype=np.float32))


def common_of(encoder: Encoder, requests: Sequence[str]) -> Rows:
    """The mean of an encoder's vectors of requests, of those that it can read; zeros where it reads none."""
    rows = encoder.encode(requests)
    mean: Rows = rows.sum(axis=0) / np.float32(max(1, int(rows.any(axis=1).sum())))
    return mean


def write_common(path: Path = _COMMON) -> None:
    """Write the common vectors of all encoders that are installed, and keep what the file holds of the others."""
    requests = _requests(path)
    vectors = _shipped(path) | {_key(offer.name): common_of(offer.make(1), requests) for offer in find_encoders()}
    np.savez(path, allow_pickle=False, **{name: vectors[name] for name in sorted(vectors)})


def _requests(path: Path = _COMMON) -> list[str]:
    return path.with_name("requests.txt").read_text(encoding="utf-8").splitlines()


def _common_vector(name: str, shipped: Mapping[str, Floats]) -> Floats | None:
    """The common vector of an encoder: shipped, or made, once in a process, of the requests that are."""
    if _key(name) in shipped:
        return shipped[_key(name)]
    own = find_own(name)
    if own is None:
        return None
    if name not in _made:
        _made[name] = common_of(own, _requests())
    return _made[name]


def _shipped(path: Path = _COMMON) -> dict[str, Floats]:
    with np.load(path, allow_pickle=False) as shipped:
        return {name: shipped[name] for name in shipped.files}


def _key(name: str) -> str:
    """An encoder's name as an array may be called."""
    return name.replace("/", "-")


def _without(rows: Floats, common: Floats) -> Floats:
    return unit(np.where(rows != 0, rows - common, np.float32(0)))
