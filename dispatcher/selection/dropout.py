"""Dropout: what a network learns must not lean on any single number.

Source: Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
"""

import numpy as np

from dispatcher.selection.loss import Floats


def mask(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> Floats:
    """0 for a share of the numbers, and as much more than 1 for the others that their sum stays."""
    kept = rng.random(shape, dtype=np.float32) >= np.float32(share)
    return (kept * np.float32(1 / (1 - share))).astype(np.float32)
