"""What the tiers say of every function, and in which order that puts them."""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from dispatcher.selection.abstention import energy
from dispatcher.selection.loss import Floats

#: Functions that are ranked: candidates in a Selection.
MAX_CANDIDATES: Final = 10


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
    # Quicker than sorting, or telling the likeliest apart and sorting those, and of equal ones the first comes first.
    left = logs.copy()
    order: list[int] = []
    for _ in range(min(most, len(left))):
        place = int(left.argmax())
        if left.item(place) == -math.inf:
            break
        order.append(place)
        left[place] = -math.inf
    return order
