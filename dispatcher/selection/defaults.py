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


#: Both were fitted to registries of 1 to 642 functions known by their descriptions alone, each kind and size counting
#: alike; half of the texts ask for a function that is not there. A signal that helped on some kinds and hurt on others,
#: or that would have counted against what it means, was left out.
#: By words alone.
WORDS_ABSTENTION: Final = _default(-1.02, doubt=-0.05, words=-0.07, words_first=0.12, coverage=3.0, agreement=0.86)
#: With sentence vectors.
MEANING_ABSTENTION: Final = _default(-2.43, margin=0.07, words=-0.23, meaning=0.2, meaning_first=0.21, agreement=0.87)
