"""The encoder's last layers as requests have moved them already: where adapting to few examples begins.

    W' = W + (A · scale) B                 A, B of a few columns and rows, as bytes

all-MiniLM-L6-v2 was trained on sentences of every kind. Its last three layers were trained further on texts that ask
for one of many functions, and what moved ships with the project: of each map the `RANK` largest directions, `KEPT` of
the way. So it holds what tells apart what people ask for in general, rather than what stood in these texts. An encoder
has these layers only where a registry's own examples adapt them further, never as it is; where the examples are more
than are looked at, they begin as the encoder has them (`adapting.beginning_for`).

Source: Phang, Févry and Bowman 2018, "Sentence Encoders on STILTs", for training on another labelled task in between;
Zhang et al. 2021, "Effectiveness of Pre-training for Few-shot Intent Classification", for intents; Hu et al. 2022,
"LoRA: Low-Rank Adaptation of Large Language Models", for differences of low rank; Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models", for weights between those before and after.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from dispatcher.errors import ModelError
from dispatcher.selection.encoders.minilm import MiniLM
from dispatcher.selection.loss import Floats
from dispatcher.selection.signed_bytes import to_bytes
from dispatcher.selection.stored import SPOILT, Array

#: Directions of each map that are kept, and how much of the way the weights go: measured in
#: docs/selection-experiments.md.
RANK: Final = 32
KEPT: Final = 0.6

#: Made by `make request-layers`.
SHIPPED: Final = Path(__file__).with_name("common") / "request_layers.npz"


def request_layers(path: Path = SHIPPED) -> tuple[Floats, ...]:
    """The weights of the last layers, moved by requests, in the order of `layers.PARTS` for each.

    Raises:
        ModelError: the encoder is not installed, or its weights are not the pinned ones; what they moved by cannot be
            read.
    """
    _, own = MiniLM().open_layers(())
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as shipped:
            moved = [_difference(shipped, place, row=weights.ndim == 1) for place, weights in enumerate(own)]
    except SPOILT as error:
        msg = f"{path.name} cannot be read: {error}; install the package anew, or `make request-layers` in a checkout"
        raise ModelError(msg) from error
    if any(
        step.shape != weights.shape or not np.isfinite(step).all() for step, weights in zip(moved, own, strict=True)
    ):
        msg = f"{path.name} does not fit the encoder; install the package anew, or `make request-layers` in a checkout"
        raise ModelError(msg)
    return tuple(weights + step for weights, step in zip(own, moved, strict=True))


def to_low_rank(
    before: Sequence[Floats], after: Sequence[Floats], *, rank: int = RANK, kept: float = KEPT
) -> dict[str, Array]:
    """What `request_layers` reads: of each difference between two maps the largest directions; rows as they are."""
    arrays: dict[str, Array] = {}
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        difference = np.float32(kept) * (new - old)
        if difference.ndim == 1:
            arrays[_name(place, "row")] = difference.astype(np.float16)
            continue
        left, sizes, right = np.linalg.svd(difference, full_matrices=False)
        arrays[_name(place, "from")], from_scale = to_bytes(left[:, :rank], axis=0)
        arrays[_name(place, "into")], into_scale = to_bytes(right[:rank].T, axis=0)
        arrays[_name(place, "scale")] = (sizes[:rank] * from_scale[0] * into_scale[0]).astype(np.float32)
    return arrays


def _difference(shipped: Mapping[str, Array], place: int, *, row: bool) -> Floats:
    if row:
        return np.asarray(shipped[_name(place, "row")], dtype=np.float32)
    out_of, scale, into = (shipped[_name(place, name)].astype(np.float32) for name in ("from", "scale", "into"))
    difference: Floats = ((out_of * scale) @ into.T).astype(np.float32)
    return difference


def _name(place: int, part: str) -> str:
    return f"{place:02}_{part}"
