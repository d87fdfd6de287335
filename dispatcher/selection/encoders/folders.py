"""What stands in the folder of a sentence-transformers model, as far as it decides about vectors."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import BaseModel, PositiveInt, ValidationError

from dispatcher.errors import ModelError
from dispatcher.selection.encoders.pinned import checksum

#: Where the model stands, below the folder, unless a file is named.
_MODELS: Final = ("model.onnx", "onnx/model.onnx")
_ONNX: Final = ".onnx"
_TOKENISER: Final = "tokenizer.json"
_MODULES: Final = "modules.json"
_POOLING_FILE: Final = "1_Pooling/config.json"
#: What is said of how a model is used, the last word first.
_SETTINGS: Final = ("config_sentence_transformers.json", "sentence_*_config.json", "tokenizer_config.json")
#: Steps that are done here, or that do nothing to vectors; rows are always scaled to length 1.
_STEPS: Final = frozenset({"Transformer", "Pooling", "Normalize", "Dropout"})
#: Before 2026 there was a switch for each way of pooling instead of their names.
_SWITCHES: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: The same weights for other programs, and what is only read by people: no part of the version.
_OTHERS: Final = frozenset({".md", ".safetensors", ".h5", ".msgpack", ".ot", ".xml", ".gitattributes", _ONNX})
_OTHER_WEIGHTS: Final = "pytorch_model.bin"
#: Of the sha256 of everything that decides about vectors: so many hex digits are the version.
_DIGITS: Final = 12


class ModelSettings(BaseModel):
    """What sentence-transformers writes down of how a model is used, as far as it matters here."""

    max_seq_length: PositiveInt | None = None
    model_max_length: PositiveInt | None = None
    do_lower_case: bool | None = None
    prompts: dict[str, str] | None = None
    default_prompt_name: str | None = None

    @property
    def prompt(self) -> str:
        """What stands before every text."""
        return (self.prompts or {}).get(self.default_prompt_name or "", "")

    @property
    def longest(self) -> int | None:
        """Tokens of the longest text, its marks among them."""
        said = [length for length in (self.max_seq_length, self.model_max_length) if length is not None]
        return min(said, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """A folder with a model."""

    folder: Path
    #: The ONNX file.
    model: Path

    @property
    def tokeniser(self) -> Path:
        return self.folder / _TOKENISER

    @property
    def title(self) -> str:
        """The folder's name, without what has a meaning in the names of encoders."""
        return re.sub(r"[^\w.-]+", "-", Path(os.path.abspath(self.folder)).name.lower()).strip("-") or "own"  # noqa: PTH100 - a link keeps its own name

    def version(self) -> str:
        """Made of all files that decide about vectors: the same wherever they stand."""
        folders = {self.folder, self.model.parent, *self.folder.glob("[0-9]_*")}
        files = [path for folder in folders for path in folder.iterdir() if path.is_file() and self._decides(path)]
        sums = sorted(f"{path.relative_to(self.folder).as_posix()}\0{checksum(path)}\0" for path in files)
        return hashlib.sha256("".join(sums).encode()).hexdigest()[:_DIGITS]

    def _decides(self, path: Path) -> bool:
        return path == self.model or not (
            path.name.startswith(".") or path.suffix in _OTHERS or path.name == _OTHER_WEIGHTS
        )

    def settings(self) -> ModelSettings:
        """What is said of how the model is used.

        Raises:
            ModelError: it is not as sentence-transformers writes it.
        """
        paths = [path for name in reversed(_SETTINGS) for path in sorted(self.folder.glob(name))]
        read = {key: value for path in paths for key, value in _read_json(path, dict[str, Any]).items()}
        try:
            return ModelSettings.model_validate(read)
        except ValidationError as error:
            problem = error.errors()[0]
            msg = f"{self.folder}: {'.'.join(map(str, problem['loc']))} in its settings: {problem['msg']}"
            raise ModelError(msg) from None

    def poolings(self, prompt: str) -> list[str]:
        """How the vectors of a text's tokens become one: these side by side.

        Raises:
            ModelError: it is not said, or not known.
        """
        path = self._pooling_path()
        if not path.is_file():
            msg = (
                f"{self.folder} does not say how the vectors of tokens become one: write {_POOLING_FILE} as the "
                'model\'s page has it, {"pooling_mode": "mean"} or "cls"'
            )
            raise ModelError(msg)
        wanted = _read_json(path, dict[str, Any])
        switched = [name for switch, name in _SWITCHES.items() if wanted.get(switch) is True]
        said = wanted.get("pooling_mode") or switched or "mean"
        chosen = [str(name) for name in (said if isinstance(said, list) else [said])]
        if not set(_SWITCHES.values()).issuperset(chosen):
            msg = (
                f"the encoder in {self.folder} pools by {', '.join(chosen)}; known are {', '.join(_SWITCHES.values())}"
            )
            raise ModelError(msg)
        if prompt and wanted.get("include_prompt") is False:
            msg = f"the encoder in {self.folder} pools without its prompt, which is not done here"
            raise ModelError(msg)
        return chosen

    def _pooling_path(self) -> Path:
        modules: Sequence[Any] = _read_json(self.folder / _MODULES, list[Any])
        steps = {str(step.get("type", "")).rpartition(".")[2]: step for step in modules if isinstance(step, dict)}
        others = sorted(steps.keys() - _STEPS)
        if others:
            msg = (
                f"the encoder in {self.folder} needs {', '.join(others)}, which is not done here: export it with an "
                "output sentence_embedding"
            )
            raise ModelError(msg)
        path = steps.get("Pooling", {}).get("path")
        return self.folder / (_POOLING_FILE if path is None else f"{path}/config.json")


def find_model(path: Path) -> ModelFolder:
    """Find the model of a folder, or the folder of a model's file.

    Raises:
        ModelError: there is none.
    """
    if path.suffix == _ONNX and path.is_file():
        folder = path.parent if (path.parent / _TOKENISER).is_file() else path.parent.parent
        return ModelFolder(folder=folder, model=path)
    if not path.is_dir():
        msg = f"{path} is no folder with a sentence encoder"
        raise ModelError(msg)
    found = next((path / name for name in _MODELS if (path / name).is_file()), None)
    if found is None:
        msg = (
            f"{path} holds no {' or '.join(_MODELS)}: export the model to ONNX "
            "(`optimum-cli export onnx --task feature-extraction`), or take the one on the model's page"
        )
        raise ModelError(msg)
    return ModelFolder(folder=path, model=found)


@contextmanager
def as_model_error(what: str) -> Iterator[None]:
    """Raise whatever goes wrong as a `ModelError` that says what was done: libraries raise classes of all kinds."""
    try:
        yield
    except (ModelError, ImportError):
        raise
    except Exception as error:
        msg = f"{what}: {str(error) or type(error).__name__}"
        raise ModelError(msg[:500]) from error


def _read_json(path: Path, kind: Any) -> Any:  # noqa: ANN401 - a value of that kind
    """A file's value; an empty one where it is not there."""
    plain = get_origin(kind)
    if not path.is_file():
        return plain()
    with as_model_error(f"{path} cannot be read"):
        value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, plain):
        msg = f"{path} is not as sentence-transformers writes it: no {plain.__name__}"
        raise ModelError(msg)
    return value
