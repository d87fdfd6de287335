"""A sentence encoder of one's own: a sentence-transformers folder with an ONNX file, run by onnxruntime."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, PositiveInt, ValidationError

from dispatcher.errors import ModelError
from dispatcher.selection.encoders.encoder import MAX_TOKENS, MULTILINGUAL, Rows, encode_distinct, is_latin
from dispatcher.selection.encoders.pinned import checksum, not_installed
from dispatcher.selection.encoders.sessions import open_session, run_by_length

if TYPE_CHECKING:
    import onnxruntime
    import tokenizers

#: Before the path of the folder, where an encoder is asked for by name.
PREFIX: Final = "folder:"
#: Between the path and the version that the folder must have.
PINNED: Final = "#"
EXTRA: Final = "embedding"

_MODELS: Final = ("model.onnx", "onnx/model.onnx")
_TOKENISER: Final = "tokenizer.json"
_MODULES: Final = "modules.json"
_SETTINGS: Final = ("sentence_bert_config.json", "config_sentence_transformers.json")
#: Steps of a sentence-transformers model that are done here; of every model the rows are scaled to length 1.
_STEPS: Final = frozenset({"Transformer", "Pooling", "Normalize"})
#: How a folder says how tokens are pooled: by a name or several, or, before 2026, by a switch for each.
_POOLING: Final = "pooling_mode"
_SWITCHES: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: What a model may read, of each token.
_IDS, _SEEN, _KIND = "input_ids", "attention_mask", "token_type_ids"
_INPUTS: Final = frozenset({_IDS, _SEEN, _KIND})
#: Of the sha256 of everything in the folder that decides about vectors: so many hex digits are the version.
_DIGITS: Final = 12
#: (texts, tokens, numbers): what is pooled. (texts, numbers): what the model pooled itself.
_OF_TOKENS, _OF_TEXTS = 3, 2
_ANYTHING: Final = np.ones((1, 3), dtype=np.int64)

_Hidden = npt.NDArray[np.float32]


class OwnModel:
    """Sentences as a model of one's own reads them.

    The folder is one as sentence-transformers writes it, with the model as ONNX:

        model.onnx or onnx/model.onnx   (texts, tokens) of ids to (texts, tokens, numbers), or to (texts, numbers)
        tokenizer.json                  of the library tokenizers
        modules.json, 1_Pooling/…       how tokens become one vector: the mean where it is not said
        config_sentence_transformers.json, sentence_bert_config.json   the default prompt, and the longest text

    A name with "multilingual" in it is taken for a model of many languages; any other reads Latin letters only, as
    an encoder for English does. The name is that of the folder, with a version made of what is in it: two folders of
    the same name and content give the same vectors, wherever they stand.

    Threads may share it; with one thread for each text a child process may go on using it after a fork.
    """

    def __init__(self, folder: Path, *, pinned: str = "", threads: int = 1) -> None:
        """Load it.

        Args:
            folder: where it stands.
            pinned: the version that it must have, or its first digits; any where empty.
            threads: how many work on one text.

        Raises:
            ModelError: onnxruntime or tokenizers is not installed; a file is not there or cannot be read; the model
                needs what is not done here, or it is of another version.
        """
        if not folder.is_dir():
            msg = f"{folder} is no folder with a sentence encoder"
            raise ModelError(msg)
        model = _model_of(folder)
        version = _version_of(folder, model)
        if not version.startswith(pinned.lower()):
            msg = f"the encoder in {folder} is of version {version}, not {pinned}: its files are others"
            raise ModelError(msg)
        self.name = f"{_name_of(folder)}/{version}"
        modules, settings = _read_json(folder / _MODULES, list), _read_settings(folder)
        self._prompt = settings.prompts.get(settings.default_prompt_name or "", "")
        self._poolings = _poolings_of(folder, modules, self._prompt)
        self._tokeniser = _open_tokeniser(folder / _TOKENISER, settings.max_seq_length or MAX_TOKENS)
        #: Tokens around every text.
        self._marks = len(self._tokeniser.encode("").ids)
        self._multilingual = MULTILINGUAL in self.name
        self._session, self._output = _open_model(model, threads)
        self.dimension = self._run(_ANYTHING).shape[1]

    def encode(self, texts: Sequence[str]) -> Rows:
        return encode_distinct(texts, self.dimension, self._encode)

    def _encode(self, texts: list[str]) -> Rows:
        ids = [self._tokeniser.encode(self._prompt + text).ids if self._reads(text) else [] for text in texts]
        return run_by_length(ids, self.dimension, self._run, marks=self._marks)

    def _reads(self, text: str) -> bool:
        return self._multilingual or is_latin(text)

    def _run(self, ids: npt.NDArray[np.int64]) -> Rows:
        known = {_IDS: ids, _SEEN: np.ones_like(ids), _KIND: np.zeros_like(ids)}
        inputs = {put.name: known[put.name] for put in self._session.get_inputs()}
        hidden: _Hidden = self._session.run([self._output], inputs)[0].astype(np.float32)
        if hidden.ndim == _OF_TEXTS:
            return hidden
        return np.concatenate([_pool(hidden, pooling) for pooling in self._poolings], axis=1)


def open_own(name: str, *, threads: int = 1) -> OwnModel:
    """Make the encoder of a name: `folder:/models/all-mpnet-base-v2`, with `#` and a version at its end or without.

    Raises:
        ModelError: as `OwnModel` does.
    """
    path, _, pinned = name.removeprefix(PREFIX).partition(PINNED)
    return OwnModel(Path(path).expanduser(), pinned=pinned, threads=threads)


def _model_of(folder: Path) -> Path:
    found = next((folder / name for name in _MODELS if (folder / name).is_file()), None)
    if found is None:
        msg = (
            f"{folder} holds no {' or '.join(_MODELS)}: export the model to ONNX "
            "(`optimum-cli export onnx --task feature-extraction`), or take the one on the model's page"
        )
        raise ModelError(msg)
    return found


def _name_of(folder: Path) -> str:
    """The folder's name, without what has a meaning in the names of encoders."""
    return re.sub(r"[^\w.-]+", "-", folder.resolve().name.lower()).strip("-") or "own"


def _version_of(folder: Path, model: Path) -> str:
    """Made of all files that decide about vectors: the same wherever they stand."""
    steps = [str(path.relative_to(folder)) for path in folder.glob("*/config.json")]
    files = {name: folder / name for name in (_TOKENISER, _MODULES, *_SETTINGS, *steps) if (folder / name).is_file()}
    # The model and, beside it, the weights that stand in files of their own.
    files |= {path.name: path for path in model.parent.iterdir() if path.is_file() and path.name.startswith(model.name)}
    try:
        sums = "".join(f"{name}\0{checksum(path)}\0" for name, path in sorted(files.items()))
    except OSError as error:
        msg = f"{folder} cannot be read ({error.strerror})"
        raise ModelError(msg) from None
    return hashlib.sha256(sums.encode()).hexdigest()[:_DIGITS]


class _Settings(BaseModel):
    """What sentence-transformers writes down of how a model is used, as far as it matters here."""

    max_seq_length: PositiveInt | None = None
    prompts: dict[str, str] = {}
    default_prompt_name: str | None = None


def _read_settings(folder: Path) -> _Settings:
    read = {key: value for name in _SETTINGS for key, value in _read_json(folder / name, dict).items()}
    try:
        return _Settings.model_validate(read)
    except ValidationError as error:
        problem = error.errors()[0]
        msg = f"{folder}: {'.'.join(map(str, problem['loc']))} in its settings: {problem['msg']}"
        raise ModelError(msg) from None


def _read_json(path: Path, kind: type) -> Any:  # noqa: ANN401 - of that kind
    if not path.is_file():
        return kind()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise ModelError(msg) from None
    if not isinstance(value, kind):
        msg = f"{path} is not as sentence-transformers writes it: no {kind.__name__}"
        raise ModelError(msg)
    return value


def _poolings_of(folder: Path, modules: Sequence[Mapping[str, Any]], prompt: str) -> list[str]:
    """How the vectors of a text's tokens become one: these side by side."""
    steps = {str(module.get("type", "")).rpartition(".")[2]: module for module in modules if isinstance(module, dict)}
    if not _STEPS.issuperset(steps):
        msg = f"the encoder in {folder} needs {', '.join(sorted(steps.keys() - _STEPS))}, which is not done here"
        raise ModelError(msg)
    pooling = steps.get("Pooling")
    wanted = {} if pooling is None else _read_json(folder / str(pooling.get("path", "")) / "config.json", dict)
    said = wanted.get(_POOLING) or [name for switch, name in _SWITCHES.items() if wanted.get(switch) is True] or "mean"
    chosen = [str(name) for name in (said if isinstance(said, list) else [said])]
    if not set(_SWITCHES.values()).issuperset(chosen):
        msg = f"the encoder in {folder} pools by {', '.join(chosen)}; known are {', '.join(_SWITCHES.values())}"
        raise ModelError(msg)
    if prompt and wanted.get("include_prompt") is False:
        msg = f"the encoder in {folder} pools without its prompt, which is not done here"
        raise ModelError(msg)
    return chosen


def _pool(hidden: _Hidden, pooling: str) -> Rows:
    """From (texts, tokens, numbers) to (texts, numbers); no token is padding."""
    tokens = np.float32(hidden.shape[1])
    match pooling:
        case "cls":
            return hidden[:, 0]
        case "lasttoken":
            return hidden[:, -1]
        case "max":
            return np.asarray(hidden.max(axis=1))
        case "mean_sqrt_len_tokens":
            return np.asarray(hidden.sum(axis=1) / np.sqrt(tokens))
        case "weightedmean":
            places = np.arange(1, tokens + 1, dtype=np.float32)
            return np.asarray(np.einsum("btn,t->bn", hidden, places / places.sum()))
        case _:
            return np.asarray(hidden.mean(axis=1))


def _open_tokeniser(path: Path, longest: int) -> "tokenizers.Tokenizer":
    try:
        import tokenizers
    except ImportError as error:
        raise not_installed(error.name or "tokenizers", extra=EXTRA, cause=error) from error
    try:
        tokeniser = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        msg = f"{path} is no tokeniser: {error}"
        raise ModelError(msg) from None
    tokeniser.no_padding()
    tokeniser.enable_truncation(max(1, min(MAX_TOKENS, longest)))
    # The model's own marks in a text are only text.
    tokeniser.encode_special_tokens = True
    return tokeniser


def _open_model(path: Path, threads: int) -> "tuple[onnxruntime.InferenceSession, str]":
    """The model, and which of its outputs is read."""
    try:
        session = open_session(str(path), threads)
    except ImportError as error:
        raise not_installed(error.name or "onnxruntime", extra=EXTRA, cause=error) from error
    except Exception as error:  # noqa: BLE001 - the library's own classes have nothing in common but this
        msg = f"{path} cannot be run: {error}"
        raise ModelError(msg) from None
    unknown = {put.name for put in session.get_inputs()} - _INPUTS
    if unknown:
        msg = f"{path} asks for {', '.join(sorted(unknown))}; known are {', '.join(sorted(_INPUTS))}"
        raise ModelError(msg)
    for wanted in (_OF_TOKENS, _OF_TEXTS):
        for output in session.get_outputs():
            if output.shape is not None and len(output.shape) == wanted:
                return session, str(output.name)
    msg = f"{path} gives no vectors of tokens or texts"
    raise ModelError(msg)
