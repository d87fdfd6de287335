"""How models are run by onnxruntime, one text at a time or many: on few threads, and without padding."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from dispatcher.selection.encoders.encoder import Rows

if TYPE_CHECKING:
    import onnxruntime

#: Texts that are run together: more is no faster, and takes memory.
_BATCH: Final = 32


def open_session(model: str | bytes, threads: int) -> "onnxruntime.InferenceSession":
    """Load a model, a file's path or its bytes.

    With one thread no pool of threads is made, and a child process may go on using it after a fork.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: it warns of graphics cards that are not there
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_by_length(
    ids: Sequence[Sequence[int]], dimension: int, run: Callable[[npt.NDArray[np.int64]], Rows], *, marks: int
) -> Rows:
    """Give a row for each text, those of as many tokens run together, so that nothing is padded.

    Args:
        ids: the tokens of each text.
        dimension: numbers in a row.
        run: from (texts, tokens) to (texts, dimension).
        marks: tokens that every text has; of one that has no others the row is zeros.
    """
    rows = np.zeros((len(ids), dimension), dtype=np.float32)
    lengths: dict[int, list[int]] = {}
    for place, tokens in enumerate(ids):
        if len(tokens) > marks:
            lengths.setdefault(len(tokens), []).append(place)
    for places in lengths.values():
        for start in range(0, len(places), _BATCH):
            batch = places[start : start + _BATCH]
            rows[batch] = run(np.array([ids[place] for place in batch], dtype=np.int64))
    return rows
