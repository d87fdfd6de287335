"""A sentence encoder of one's own: a sentence-transformers folder with an ONNX file, run by onnxruntime."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from dispatcher.errors import ModelError
from dispatcher.selection.encoders.encoder import (
    MAX_TOKENS,
    MULTILINGUAL,
    Rows,
    encode_distinct,
    is_latin,
    refuse_one_text,
    unit,
)
from dispatcher.selection.encoders.folders import as_model_error, find_model
from dispatcher.selection.encoders.pinned import not_installed
from dispatcher.selection.encoders.sessions import BATCH, Session, run_by_length

if TYPE_CHECKING:
    import tokenizers

logger = logging.getLogger(__name__)

#: Before the path of the folder, where an encoder is asked for by name.
PREFIX: Final = "folder:"
#: Between the path and the version that the folder must have.
PINNED: Final = "#"
EXTRA: Final = "embedding"

#: What a model that pools by itself calls its vectors.
_POOLED: Final = "sentence_embedding"
#: The shape of (texts, tokens, numbers), which is pooled here, and of (texts, numbers).
_OF_TOKENS, _OF_TEXTS = 3, 2
#: How onnxruntime calls the narrow kind of whole numbers.
_INT32: Final = "tensor(int32)"
#: Tokens that a vocabulary of one language does not have.
_MANY_LANGUAGES: Final = 100_000
#: What an encoder is tried on: texts of as many tokens, mostly.
_TRIED: Final = ("send the invoice to a customer", "play the music in a kitchen", "Größe 42 😀 字")
#: How far two vectors of a text may be apart; see `Encoder`.
_EQUAL: Final = 1e-5

_Hidden = npt.NDArray[np.float32]
_Ids = npt.NDArray[np.int64]

#: Those that this process holds, by name.
_held: "WeakValueDictionary[str, OwnModel]" = WeakValueDictionary()


class OwnModel:
    """Sentences as a model of one's own reads them.

    The folder is one as sentence-transformers writes it, with the model as ONNX:

        model.onnx or onnx/model.onnx   ids of (texts, tokens) to (texts, tokens, numbers); or, as sentence_embedding,
                                        to (texts, numbers), which is preferred
        tokenizer.json                  of the library tokenizers
        modules.json, 1_Pooling/…       how the vectors of tokens become one
        sentence_bert_config.json, tokenizer_config.json, config_sentence_transformers.json
                                        the longest text, whether it is lowered, and the default prompt

    A model of 100,000 tokens and more, or with "multilingual" in its folder's name, is taken for one of many
    languages; any other reads Latin letters only, as an encoder for English does. The name is that of the folder, with
    a version made of what is in it: two folders of the same name and content give the same vectors, wherever they
    stand. Files of a folder in use must not be changed: put another folder in its place.

    Threads may share it; with one thread for each text a child process may go on using it after a fork.
    """

    def __init__(self, path: Path, *, pinned: str = "", threads: int = 1) -> None:
        """Load it.

        Args:
            path: the folder, or the ONNX file in it.
            pinned: the version that it must have, or its first digits; any where empty.
            threads: how many work on one text.

        Raises:
            ModelError: onnxruntime or tokenizers is not installed; a file is not there or cannot be read; the model
                needs what is not done here, or it is of another version.
        """
        with as_model_error(f"the encoder in {path} cannot be read"):
            found = find_model(path)
            version = found.version()
            settings = found.settings()
        if not version.startswith(pinned.lower()):
            msg = f"the encoder in {path} is of version {version}, not {pinned}: its files are others"
            raise ModelError(msg)
        self._prompt, self._lowers = settings.prompt, bool(settings.do_lower_case)
        longest = min(settings.longest or MAX_TOKENS, MAX_TOKENS)
        self._tokeniser = _open_tokeniser(found.tokeniser, longest)
        #: Tokens that stand around every text, or before it.
        self._marks = len(self._tokeniser.encode(self._prompt).ids)
        if longest <= self._marks:
            msg = f"the encoder in {path} reads {longest} tokens of a text, with its own marks: none is left for words"
            raise ModelError(msg)
        title = found.title
        if MULTILINGUAL not in title and self._tokeniser.get_vocab_size() >= _MANY_LANGUAGES:
            title += f"-{MULTILINGUAL}"
        self.name = f"{title}/{version}"
        self._multilingual = MULTILINGUAL in title
        try:
            with as_model_error(f"{found.model} cannot be run"):
                self._session = Session(str(found.model), threads)
                self._output = self._choose_output()
                self._poolings = found.poolings(self._prompt) if self._output[1] == _OF_TOKENS else []
                self._at_once = self._try()
        except ImportError as error:
            raise not_installed(error.name or "onnxruntime", extra=EXTRA, cause=error) from error
        _held[self.name] = self
        if not self._multilingual:
            logger.info("own_encoder: %s reads Latin letters only", self.name, extra={"encoder": self.name})

    def encode(self, texts: Sequence[str]) -> Rows:
        """See `Encoder`.

        Raises:
            ModelError: the model fails on a text.
        """
        refuse_one_text(texts)
        with as_model_error(f"the encoder {self.name} failed"):
            return encode_distinct(texts, self.dimension, self._encode)

    def _encode(self, texts: list[str]) -> Rows:
        rows = run_by_length(self._ids(texts), self.dimension, self._run, marks=self._marks, at_once=self._at_once)
        # A model of half-precision numbers may overflow; such a text has not been read.
        rows[~np.isfinite(rows).all(axis=1)] = 0
        return rows

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        read = [self._prompt + (text.lower() if self._lowers else text) for text in texts]
        reads = [self._multilingual or is_latin(text) for text in texts]
        return [self._tokeniser.encode(text).ids if known else [] for text, known in zip(read, reads, strict=True)]

    def _run(self, ids: _Ids) -> Rows:
        known = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape),
        }
        asked = self._session.inputs
        unknown = asked.keys() - known.keys()
        if unknown:
            msg = f"it asks for {', '.join(sorted(unknown))}; known are {', '.join(known)}"
            raise ValueError(msg)
        kinds = {name: np.int32 if kind == _INT32 else np.int64 for name, kind in asked.items()}
        inputs = {name: known[name].astype(kind) for name, kind in kinds.items()}
        hidden: _Hidden = self._session.run([self._output[0]], inputs)[0].astype(np.float32)
        if not self._poolings:
            return hidden
        return np.concatenate([_pool(hidden, pooling) for pooling in self._poolings], axis=1)

    def _choose_output(self) -> tuple[str, int]:
        """Which of the model's outputs is read, and how many axes it has.

        Raises:
            ValueError: none is a vector.
        """
        shapes = {name: len(shape) for name, shape in self._session.outputs.items()}
        order = sorted(shapes, key=lambda name: (name != _POOLED, -shapes[name]))
        for name in order:
            if shapes[name] in {_OF_TOKENS, _OF_TEXTS}:
                return name, shapes[name]
        msg = "it gives no vectors of tokens or texts"
        raise ValueError(msg)

    def _try(self) -> int:
        """Run some texts, and give how many may be run at once.

        Quantised models scale the numbers of a batch by the greatest of all: of them texts are run one by one.

        Raises:
            ValueError: its vectors are of no use.
        """
        ids = [tokens for tokens in self._ids(_TRIED) if tokens] or self._ids(["a"])
        alone = [self._run(np.array([tokens], dtype=np.int64)) for tokens in ids]
        self.dimension = alone[0].shape[-1]
        if any(row.shape != (1, self.dimension) or not np.isfinite(row).all() for row in alone):
            msg = f"its vectors are not of finite numbers, (texts, {self.dimension})"
            raise ValueError(msg)
        same = [tokens for tokens in ids if len(tokens) == len(ids[0])]
        longest = max(ids, key=len)
        twice = [longest, longest[::-1]] if len(same) == 1 else same
        together = unit(self._run(np.array(twice, dtype=np.int64)))
        apart = unit(np.concatenate([self._run(np.array([tokens], dtype=np.int64)) for tokens in twice]))
        return BATCH if float(np.abs(together - apart).max()) <= _EQUAL else 1


def open_own(name: str, *, threads: int = 1) -> OwnModel:
    """Make the encoder of a name: `folder:/models/all-mpnet-base-v2`, with `#` and a version at its end or without.

    Raises:
        ModelError: as `OwnModel` does.
    """
    path, _, pinned = name.removeprefix(PREFIX).partition(PINNED)
    if not path.strip():
        msg = f"{name!r} names no folder: {PREFIX}/its/path"
        raise ModelError(msg)
    with as_model_error(f"{path} names no folder"):
        expanded = Path(path.strip()).expanduser()
    return OwnModel(expanded, pinned=pinned.strip(), threads=threads)


def find_own(name: str) -> OwnModel | None:
    """Give the encoder of one's own that has a name, `all-mpnet-base-v2/1f0c…`, where this process holds it."""
    return _held.get(name)


def _open_tokeniser(path: Path, longest: int) -> "tokenizers.Tokenizer":
    try:
        import tokenizers
    except ImportError as error:
        raise not_installed(error.name or "tokenizers", extra=EXTRA, cause=error) from error
    with as_model_error(f"{path} is no tokeniser"):
        tokeniser = tokenizers.Tokenizer.from_file(str(path))
        tokeniser.no_padding()
        tokeniser.enable_truncation(longest)
        # The model's own marks in a text are only text.
        tokeniser.encode_special_tokens = True
    return tokeniser


def _pool(hidden: _Hidden, pooling: str) -> Rows:
    """From (texts, tokens, numbers) to (texts, numbers); no token is padding."""
    tokens = hidden.shape[1]
    match pooling:
        case "cls":
            return hidden[:, 0]
        case "lasttoken":
            return hidden[:, -1]
        case "max":
            return np.asarray(hidden.max(axis=1))
        case "mean_sqrt_len_tokens":
            return np.asarray(hidden.sum(axis=1) / np.float32(tokens**0.5))
        case "weightedmean":
            places = np.arange(1, tokens + 1, dtype=np.float32)
            return np.asarray(np.einsum("btn,t->bn", hidden, places / places.sum()))
        case _:
            return np.asarray(hidden.mean(axis=1))
