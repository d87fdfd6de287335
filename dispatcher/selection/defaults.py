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


#: By words alone.
WORDS_ABSTENTION: Final = _default(-1.0, coverage=5.0, words_first=0.2)
#: With sentence vectors.
MEANING_ABSTENTION: Final = _default(-3.0, coverage=2.0, meaning_first=0.5)
