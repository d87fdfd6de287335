"""Several encoders as one: where one knows English best and another other languages, together they know both."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from dispatcher.errors import ModelError
from dispatcher.selection.encoders.encoder import Encoder, Rows, unit

#: Between the parts of a combined name.
AND: Final = " + "
#: Between a weight and a name.
TIMES: Final = "*"


def weighted_parts(name: str) -> list[tuple[str, float]]:
    """Each encoder and its weight in a combined name; the encoder alone where nothing is combined.

    Raises:
        ModelError: a weight is no number.
    """
    parts = []
    for part in name.split(AND):
        weight, times, single = part.partition(TIMES)
        try:
            parts.append((single.strip(), float(weight)) if times else (part.strip(), 1.0))
        except ValueError:
            msg = f"{name[:200]!r} names no encoder: {weight.strip()!r} before {TIMES} is no number"
            raise ModelError(msg) from None
    return parts


def exchange(encoder: Encoder, part: Encoder) -> Encoder:
    """An encoder with another in the place of its part of that name, or in its own.

    Args:
        encoder: of that name itself, or made of parts.
        part: what takes the place.
    """
    if encoder.name == part.name:
        return part
    exchanged: Encoder = encoder.exchange(part)  # type: ignore[attr-defined]  # only what is made of parts has it
    return exchanged


class CombinedEncoder:
    """Puts the rows of several encoders side by side, each scaled.

    A cosine of combined rows is the weighted mean of the encoders' cosines, the weights being shares of their sum.
    Where an encoder has nothing to read in a text, the others speak for it alone.

    The name says all, as `0.7*minilm-l6-int8/1 + 0.3*use-multilingual-v3/1`: `make_encoder` makes it again from that.
    """

    def __init__(self, encoders: Sequence[Encoder], weights: Sequence[float] | None = None) -> None:
        """Make one.

        Args:
            encoders: at least one.
            weights: how much each counts, above 0; all the same where not given.

        Raises:
            ValueError: there is no encoder, or the weights do not fit them.
        """
        weights = [1.0] * len(encoders) if weights is None else list(weights)
        if not encoders or len(weights) != len(encoders):
            msg = f"{len(encoders)} encoders and {len(weights)} weights: at least one, and as many of each, are needed"
            raise ValueError(msg)
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            msg = f"weights of encoders are numbers above 0, not {weights}"
            raise ValueError(msg)
        # As precise as the name says them, so that what is made from the name is the same.
        shares = [f"{weight / sum(weights):.6g}" for weight in weights]
        self.name = AND.join(f"{share}{TIMES}{part.name}" for share, part in zip(shares, encoders, strict=True))
        self.dimension = sum(encoder.dimension for encoder in encoders)
        self._parts = [(encoder, math.sqrt(float(share))) for encoder, share in zip(encoders, shares, strict=True)]

    def exchange(self, encoder: Encoder) -> "CombinedEncoder":
        """The same with another encoder in the place of the one of its name."""
        encoders = [encoder if part.name == encoder.name else part for part, _ in self._parts]
        return CombinedEncoder(encoders, [scale**2 for _, scale in self._parts])

    def encode(self, texts: Sequence[str]) -> Rows:
        rows = [encoder.encode(texts) * np.float32(scale) for encoder, scale in self._parts]
        return unit(np.concatenate(rows, axis=1))
