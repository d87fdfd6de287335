"""The abstention models and the thresholds that are used where none was trained."""

from typing import Final

import numpy as np

from dispatcher.selection.abstention import SIGNALS, Abstention
from dispatcher.selection.thresholds import Thresholds


def _default(bias: float, **weights: float) -> Abstention:
    return Abstention(
        weights=np.array([weights.get(signal, 0.0) for signal in SIGNALS]),
        means=np.zeros(len(SIGNALS)),
        spreads=np.ones(len(SIGNALS)),
        bias=bias,
    )


#: Both were fitted to registries of 1 to 739 functions known by their descriptions alone, each kind and size counting
#: alike; half of the texts ask for a function that is not there. A signal that helped on some kinds and hurt on others,
#: or that would have counted against what it means, was left out.
#: By words alone. What `taught` counts was fitted to such registries with one to eight examples of each function.
WORDS_ABSTENTION: Final = _default(
    -0.8, words=-0.11, words_first=0.15, coverage=0.7, agreement=0.41, named=0.72, described=1.32, taught=0.4
)
#: With sentence vectors, whose logits tell what was learnt by themselves.
MEANING_ABSTENTION: Final = _default(
    -2.3, margin=0.07, words=-0.16, meaning=0.14, meaning_first=0.18, agreement=0.8, named=0.2, described=0.5
)

#: For both. Where no function may be meant a question is of no use; where three candidates together have less than
#: `together_at`, it is mostly in vain.
UNTRAINED_THRESHOLDS: Final = Thresholds(act_at=0.4, ask_at=0.4, together_at=0.3)

#: For a model whose training had too few functions or texts for one of its own. What was learnt is not in the
#: descriptions: that a text shares little with them counts less than where they are all there is.
#: By words alone.
TRAINED_WORDS_ABSTENTION: Final = _default(
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
TRAINED_MEANING_ABSTENTION: Final = _default(
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
