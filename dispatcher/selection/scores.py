"""What the tiers say of every function, and in which order that puts them."""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from dispatcher.selection.abstention import energy
from dispatcher.selection.loss import Floats

#: Functions that are ranked: candidates in a Selection.
MAX_CANDIDATES: Final = 10
#: Functions up to which sorting all is quicker than finding the likeliest.
SMALL: Final = 200


@dataclass(kw_only=True, slots=True)
class Scores:
    """What the tiers say of every function."""

    #: By tier, shape (functions,).
    tiers: dict[str, Floats]
    #: All together, shape (functions,).
    fused: Floats
    #: log P(f | a function is meant), shape (functions,).
    logs: Floats = field(init=False)
    _ranking: list[int] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.logs = self.fused - np.float32(energy(self.fused)) if len(self.fused) else self.fused

    @property
    def ranking(self) -> list[int]:
        """The positions of the likeliest functions, the first first."""
        if self._ranking is None:
            self._ranking = ranked(self.logs, MAX_CANDIDATES)
        return self._ranking


def ranked(logs: Floats, most: int) -> list[int]:
    """The positions of the likeliest functions, the first first; those that may not be selected are left out."""
    if len(logs) <= SMALL:
        order = (-logs).argsort(kind="stable")[:most].tolist()
    else:
        top = np.sort(logs.argpartition(-most)[-most:])
        order = top[(-logs[top]).argsort(kind="stable")].tolist()
    if order and logs.item(order[-1]) > -math.inf:
        return list(order)
    return [place for place in order if logs.item(place) > -math.inf]
