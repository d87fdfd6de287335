"""The abstention models that are used before any was trained."""

from typing import Final

import numpy as np

from dispatcher.selection.abstention import SIGNALS, Abstention


def _default(bias: float, **weights: float) -> Abstention:
    return Abstention(
        weights=np.array([weights.get(signal, 0.0) for signal in SIGNALS]),
        means=np.zeros(len(SIGNALS)),
        spreads=np.ones(len(SIGNALS)),
        bias=bias,
    )


#: Both were fitted to registries of descriptions alone, their right functions taken away for half of the texts.
#: By words alone.
WORDS_ABSTENTION: Final = _default(
    -0.33,
    doubt=-0.24,
    margin=-0.02,
    words=-0.22,
    words_first=0.16,
    coverage=2.0,
    met=-0.83,
    agreement=1.84,
)
#: With sentence vectors.
MEANING_ABSTENTION: Final = _default(
    -1.1,
    doubt=-0.14,
    margin=-0.04,
    words=-0.18,
    words_first=-0.04,
    coverage=-0.08,
    meaning=-0.13,
    meaning_first=0.32,
    near=-0.58,
    met=-0.65,
    agreement=2.95,
)
