"""Layers of a transformer encoder in numpy, forwards and backwards: what it takes to train the last ones further.

    y = norm(x + drop(attention(x))),   z = norm(y + drop(gelu(y I + i) O + o))
    attention(x) = Σ over heads:  drop(softmax(q kᵀ / √width)) v,  all three linear in x, then a linear map

While it learns, a layer drops a share of what attention looks at and of what is added to its rows; else it drops
nothing. Rows are the tokens of all texts of a batch, one after the other; only attention looks at texts by themselves.

Source: Vaswani et al. 2017, "Attention Is All You Need"; Ba, Kiros and Hinton 2016 for the norm; Hendrycks and Gimpel
2016 for gelu; Abramowitz and Stegun 1964, 7.1.26, for the error function, up to 1.5e-7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dispatcher.selection.dropout import mask
from dispatcher.selection.loss import Floats, Integers, softmax

#: Of a layer, in this order: query, key, value and output of attention, its norm, both maps behind it, and their norm.
PARTS: Final = ("q", "qb", "k", "kb", "v", "vb", "o", "ob", "g1", "b1", "i", "ib", "d", "db", "g2", "b2")

_EPSILON: Final = np.float32(1e-12)
#: Added to what attention may not look at.
_HIDDEN: Final = np.float32(-1e9)


@dataclass(frozen=True, slots=True)
class Packed:
    """Where the tokens of a batch's texts stand."""

    #: How many tokens each text has.
    lengths: Integers

    @property
    def places(self) -> tuple[Integers, Integers]:
        """The text and the place in it of each row."""
        owners = np.repeat(np.arange(len(self.lengths)), self.lengths)
        starts = np.cumsum(self.lengths) - self.lengths
        return owners, np.arange(len(owners)) - starts[owners]

    def mean(self, rows: Floats) -> Floats:
        """The mean of each text's rows."""
        starts = np.cumsum(self.lengths) - self.lengths
        mean: Floats = np.add.reduceat(rows, starts, axis=0)
        mean /= self.lengths[:, None]
        return mean

    def spread(self, slope: Floats) -> Floats:
        """The slope by each row, from that by the mean."""
        spread: Floats = np.repeat(slope / self.lengths[:, None].astype(np.float32), self.lengths, axis=0)
        return spread


class Layer:
    """One layer over one batch; it keeps what going back needs."""

    def __init__(
        self,
        weights: Sequence[Floats],
        heads: int,
        packed: Packed,
        *,
        dropped: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Take weights in the order of `PARTS`.

        Args:
            weights: of this layer.
            heads: of attention.
            packed: the batch.
            dropped: the share of numbers that it does without.
            rng: chooses them; without it none is dropped.
        """
        self._w = dict(zip(PARTS, weights, strict=True))
        self._dropped, self._rng = dropped, rng
        self._heads = heads
        self._packed = packed
        self._kept: dict[str, Any] = {}

    def forward(self, x: Floats) -> Floats:
        w, kept = self._w, self._kept
        q, k, v = (self._by_head(x @ w[part] + w[part + "b"]) for part in "qkv")
        seen = np.arange(q.shape[2]) < self._packed.lengths[:, None]
        scores = q @ k.swapaxes(2, 3) / np.float32(np.sqrt(q.shape[3]))
        shares = softmax(np.where(seen[:, None, None, :], scores, _HIDDEN))
        stay = {"q": self._stay(shares.shape), "o": self._stay(x.shape), "d": self._stay(x.shape)}
        used: Floats = shares * stay["q"]
        looked = self._by_row(used @ v)
        y, first = _norm(x + (looked @ w["o"] + w["ob"]) * stay["o"], w["g1"], w["b1"])
        before = y @ w["i"] + w["ib"]
        after, slope = _gelu(before)
        z, second = _norm(y + (after @ w["d"] + w["db"]) * stay["d"], w["g2"], w["b2"])
        kept.update(x=x, q=q, k=k, v=v, shares=shares, used=used, looked=looked, first=first, y=y, after=after)
        kept.update(slope=slope, second=second, stay=stay)
        return z

    def backward(self, by_z: Floats) -> tuple[Floats, list[Floats]]:
        """The slopes by x and by each of the weights, from that by z."""
        w, kept, stay = self._w, self._kept, self._kept["stay"]
        by: dict[str, Floats] = {}
        by_sum, by["g2"], by["b2"] = _norm_back(by_z, w["g2"], kept["second"])
        by_added = by_sum * stay["d"]
        by["d"], by["db"] = kept["after"].T @ by_added, by_added.sum(axis=0)
        by_before = (by_added @ w["d"].T) * kept["slope"]
        by["i"], by["ib"] = kept["y"].T @ by_before, by_before.sum(axis=0)
        by_first, by["g1"], by["b1"] = _norm_back(by_sum + by_before @ w["i"].T, w["g1"], kept["first"])
        by_added = by_first * stay["o"]
        by["o"], by["ob"] = kept["looked"].T @ by_added, by_added.sum(axis=0)
        by_looked = self._by_head(by_added @ w["o"].T)
        shares, width = kept["shares"], np.float32(np.sqrt(kept["q"].shape[3]))
        by_shares = (by_looked @ kept["v"].swapaxes(2, 3)) * stay["q"]
        by_scores = shares * (by_shares - (by_shares * shares).sum(axis=3, keepdims=True)) / width
        inner = {
            "q": by_scores @ kept["k"],
            "k": by_scores.swapaxes(2, 3) @ kept["q"],
            "v": kept["used"].swapaxes(2, 3) @ by_looked,
        }
        by_x = by_first
        for part, slope in inner.items():
            rows = self._by_row(slope)
            by[part], by[part + "b"] = kept["x"].T @ rows, rows.sum(axis=0)
            by_x = by_x + rows @ w[part].T
        return by_x, [by[part] for part in PARTS]

    def _stay(self, shape: tuple[int, ...]) -> Floats | np.float32:
        """What numbers are multiplied by: 0 where they are dropped; the number 1 where none is."""
        return np.float32(1) if self._rng is None else mask(self._rng, shape, self._dropped)

    def _by_head(self, rows: Floats) -> Floats:
        """From (tokens, numbers) to (texts, heads, longest, width)."""
        owners, places = self._packed.places
        lengths = self._packed.lengths
        padded = np.zeros((len(lengths), int(lengths.max()), rows.shape[1]), dtype=np.float32)
        padded[owners, places] = rows
        return padded.reshape(*padded.shape[:2], self._heads, -1).swapaxes(1, 2)

    def _by_row(self, padded: Floats) -> Floats:
        owners, places = self._packed.places
        texts, heads, longest, width = padded.shape
        return padded.swapaxes(1, 2).reshape(texts, longest, heads * width)[owners, places]


def _norm(rows: Floats, gain: Floats, shift: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    centred = rows - rows.mean(axis=1, keepdims=True)
    by = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + _EPSILON)
    scaled = centred * by
    return scaled * gain + shift, (scaled, by)


def _norm_back(by_out: Floats, gain: Floats, kept: tuple[Floats, Floats]) -> tuple[Floats, Floats, Floats]:
    scaled, by = kept
    by_scaled = by_out * gain
    means = by_scaled.mean(axis=1, keepdims=True), (by_scaled * scaled).mean(axis=1, keepdims=True)
    return by * (by_scaled - means[0] - scaled * means[1]), (by_out * scaled).sum(axis=0), by_out.sum(axis=0)


def _gelu(rows: Floats) -> tuple[Floats, Floats]:
    """Gelu and its slope."""
    bell = np.exp(np.float32(-0.5) * rows * rows)
    t = 1 / (1 + np.float32(0.3275911 / np.sqrt(2)) * np.abs(rows))
    tail = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = (tail + np.float32(factor)) * t
    below = np.float32(0.5) * tail * bell
    below = np.where(rows > 0, 1 - below, below)
    return rows * below, below + rows * bell * np.float32(1 / np.sqrt(2 * np.pi))
