"""The measures of an evaluation: shares with their intervals, ROC curves, calibration and latency. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

#: Standard deviations of a normal distribution that hold 95 % of it.
Z_95: Final = 1.959963984540054
#: Bins of a calibration. Source: Guo et al. 2017, who use 15.
BINS: Final = 15

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A share of rows: how many of how many."""

    hits: int
    rows: int

    @property
    def value(self) -> float | None:
        """From 0 to 1; None of no rows."""
        return self.hits / self.rows if self.rows else None

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies, with a confidence of 95 %."""
        return wilson(self.hits, self.rows)


def wilson(hits: int, rows: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a share; (0, 1) of no rows.

    With p = hits / n:  (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if rows == 0:
        return 0.0, 1.0
    p, extra = hits / rows, z * z / rows
    middle = (p + extra / 2) / (1 + extra)
    half = z * math.sqrt(p * (1 - p) / rows + extra / (4 * rows)) / (1 + extra)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, kw_only=True, slots=True)
class RocPoint:
    """What taking every row at or above a threshold for in scope gets right and wrong."""

    #: None: above every score, so that nothing is taken for in scope.
    threshold: float | None
    #: The share of the rows out of scope that are taken for in scope.
    false_positive_rate: float
    #: The share of the rows in scope that are.
    true_positive_rate: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Roc:
    """How well a score tells the rows in scope from those out of it."""

    #: 1 tells all apart; 0.5 is as good as a coin.
    auroc: float
    #: From (0, 0) to (1, 1). Those on a straight line between their neighbours are left out.
    points: tuple[RocPoint, ...]


def roc(inside: Sequence[float], outside: Sequence[float]) -> Roc | None:
    """The ROC curve of the scores of rows in scope and out of it, and the area below; None where either has no row.

    The area is the chance that a row in scope scores above one out of scope, where a tie counts half. It is taken from
    the Mann-Whitney statistic with middle ranks: (R - n(n+1)/2) / nm, for n rows in scope whose ranks among all sum to
    R, and m out of scope.

    Source: J. A. Hanley, B. J. McNeil, "The meaning and use of the area under a ROC curve", Radiology 143 (1982);
    T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27 (2006).
    """
    n, m = len(inside), len(outside)
    if not n or not m:
        return None
    scores = np.asarray([*inside, *outside], dtype=np.float64)
    meant = np.arange(n + m) < n
    levels, level_of, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(middle_ranks[level_of[meant]].sum())
    hits = np.bincount(level_of[meant], minlength=len(levels))[::-1].cumsum()
    misses = np.bincount(level_of[~meant], minlength=len(levels))[::-1].cumsum()
    points = [RocPoint(threshold=None, false_positive_rate=0.0, true_positive_rate=0.0)]
    last = len(levels) - 1
    steps = np.diff(np.stack([hits, misses]), axis=1, prepend=0)
    for i, threshold in enumerate(levels[::-1]):
        turns = i == last or steps[0, i] * steps[1, i + 1] != steps[1, i] * steps[0, i + 1]
        if turns:
            points.append(
                RocPoint(
                    threshold=float(threshold),
                    false_positive_rate=float(misses[i] / m),
                    true_positive_rate=float(hits[i] / n),
                )
            )
    return Roc(auroc=(rank_sum - n * (n + 1) / 2) / (n * m), points=tuple(points))


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """The rows whose confidence is above `low` and up to `high`; the first bin holds 0 too."""

    low: float
    high: float
    rows: int
    #: The mean of what was said, and the share that was right; None of no rows.
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How far what is said of being right is from being right."""

    #: The expected calibration error, from 0 to 1.
    ece: float
    #: Of equal width, from 0 to 1.
    bins: tuple[Bin, ...]


def calibration(confidences: Sequence[float], right: Sequence[bool], bins: int = BINS) -> Calibration | None:
    """The expected calibration error and its reliability bins; None of no rows.

    ECE = sum over the bins of |rows of the bin| / n · |share that is right - mean confidence|.

    Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3.
    """
    if not confidences:
        return None
    said: Numbers = np.asarray(confidences, dtype=np.float64)
    was: Numbers = np.asarray(right, dtype=np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.digitize(said, edges[1:-1], right=True)
    rows = np.bincount(place, minlength=bins)
    said_sums = np.bincount(place, weights=said, minlength=bins)
    was_sums = np.bincount(place, weights=was, minlength=bins)
    made = tuple(
        Bin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            rows=int(rows[i]),
            confidence=float(said_sums[i] / rows[i]) if rows[i] else None,
            accuracy=float(was_sums[i] / rows[i]) if rows[i] else None,
        )
        for i in range(bins)
    )
    return Calibration(ece=float(np.abs(was_sums - said_sums).sum() / len(said)), bins=made)


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """How long a selection took, in milliseconds: the middle, and what 95 and 99 of 100 stay below."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


def latency(seconds: Sequence[float]) -> Latency | None:
    """Percentiles with linear interpolation; None of no rows.

    Source: R. J. Hyndman, Y. Fan, "Sample quantiles in statistical packages", 1996, definition 7.
    """
    if not seconds:
        return None
    p50, p95, p99 = (float(value) * 1_000 for value in np.percentile(seconds, [50, 95, 99]))
    return Latency(p50_ms=p50, p95_ms=p95, p99_ms=p99)
