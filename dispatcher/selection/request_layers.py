"""The encoder's last layers as requests have moved them already: where adapting begins.

    W' = W + (A · scale) B                 A, B of a few columns and rows, as bytes

all-MiniLM-L6-v2 was trained on sentences of every kind. Its last three layers were trained further on texts that ask
for one of many functions, and what moved ships with the project: of each map the `RANK` largest directions, `KEPT` of
the way. So it holds what tells apart what people ask for in general, rather than what stood in these texts. An encoder
has these layers only where a registry's own examples adapt them further, never as it is.

Source: Phang, Févry and Bowman 2018, "Sentence Encoders on STILTs", for training on another labelled task in between;
Zhang et al. 2021, "Effectiveness of Pre-training for Few-shot Intent Classification", for intents; Hu et al. 2022,
"LoRA: Low-Rank Adaptation of Large Language Models", for differences of low rank; Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models", for weights between those before and after.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from dispatcher.selection.encoders.minilm import MiniLM
from dispatcher.selection.loss import Floats
from dispatcher.selection.stored import Array

#: Directions of each map that are kept, and how much of the way the weights go.
RANK: Final = 32
KEPT: Final = 0.6

#: Made by `make request-layers`.
SHIPPED: Final = Path(__file__).with_name("common") / "request_layers.npz"

#: The greatest number of a signed byte.
_BYTE: Final = 127


def request_layers(path: Path = SHIPPED) -> tuple[Floats, ...]:
    """The weights of the last layers, trained on requests, in the order of `layers.PARTS` for each.

    Raises:
        ModelError: the encoder is not installed, or its weights are not the pinned ones.
    """
    _, own = MiniLM().open_layers(())
    with np.load(path, allow_pickle=False) as shipped:
        return tuple(weights + _difference(shipped, place) for place, weights in enumerate(own))


def shorten(
    before: Sequence[Floats], after: Sequence[Floats], *, rank: int = RANK, kept: float = KEPT
) -> dict[str, Array]:
    """What `request_layers` reads: of each difference between two maps the largest directions; rows as they are."""
    shortened: dict[str, Array] = {}
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        difference = np.float32(kept) * (new - old)
        if difference.ndim == 1:
            shortened[_row(place)] = difference.astype(np.float16)
            continue
        left, sizes, right = np.linalg.svd(difference, full_matrices=False)
        parts = left[:, :rank], right[:rank].T
        scales = [np.abs(part).max(axis=0) / _BYTE for part in parts]
        shortened[_from(place)], shortened[_into(place)] = (
            np.round(part / scale).astype(np.int8) for part, scale in zip(parts, scales, strict=True)
        )
        shortened[_scale(place)] = (sizes[:rank] * scales[0] * scales[1]).astype(np.float32)
    return shortened


def _difference(shipped: Mapping[str, Array], place: int) -> Floats:
    if _row(place) in shipped:
        return np.asarray(shipped[_row(place)], dtype=np.float32)
    scaled = shipped[_from(place)] * np.asarray(shipped[_scale(place)], dtype=np.float32)
    difference: Floats = scaled @ np.asarray(shipped[_into(place)], dtype=np.float32).T
    return difference


def _row(place: int) -> str:
    return f"{place:02}_row"


def _from(place: int) -> str:
    return f"{place:02}_from"


def _into(place: int) -> str:
    return f"{place:02}_into"


def _scale(place: int) -> str:
    return f"{place:02}_scale"
