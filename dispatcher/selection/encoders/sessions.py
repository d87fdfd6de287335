"""How models are run by onnxruntime, one text at a time or many: on few threads, without padding, and past forks."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Condition, get_ident
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from dispatcher.selection.encoders.encoder import Rows

if TYPE_CHECKING:
    import onnxruntime

#: Texts that are run together: more is no faster, and takes memory.
BATCH: Final = 32


class _Runs:
    """The runs that are under way in this process. A fork waits for them, and none begins until it is over.

    The library locks what it takes memory from; a child of a fork would find it locked for ever where another thread
    was in a run just then.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._threads: Counter[int] = Counter()
        os.register_at_fork(before=self._hold, after_in_parent=self._go_on, after_in_child=self._go_on)

    @contextmanager
    def one(self) -> Iterator[None]:
        own = get_ident()
        with self._changed:
            self._threads[own] += 1
        try:
            yield
        finally:
            with self._changed:
                self._threads[own] -= 1
                if not self._threads[own]:
                    del self._threads[own]
                    self._changed.notify_all()

    def _hold(self) -> None:
        self._changed.acquire()
        # A signal's handler may fork in the midst of its own thread's run.
        while self._threads.keys() - {get_ident()}:
            self._changed.wait()

    def _go_on(self) -> None:
        self._changed.release()


_runs = _Runs()


class Session:
    """A model that is loaded."""

    def __init__(self, model: str | bytes, threads: int) -> None:
        """Load it.

        Args:
            model: a file's path or its bytes.
            threads: how many work on one run; with one no pool of threads is made, which a fork would not take along.

        Raises:
            ImportError: onnxruntime is not installed.
        """
        with _runs.one():
            self._session = _open(model, threads)
        #: Name and type of what it reads, and name and shape of what it gives.
        self.inputs = {put.name: str(put.type) for put in self._session.get_inputs()}
        self.outputs = {output.name: tuple(output.shape or ()) for output in self._session.get_outputs()}

    def run(self, names: Sequence[str] | None, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Give the outputs of these names, or all."""
        with _runs.one():
            given: list[npt.NDArray[Any]] = self._session.run(names, inputs)
        return given


def _open(model: str | bytes, threads: int) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: it warns of graphics cards that are not there
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_by_length(
    ids: Sequence[Sequence[int]],
    dimension: int,
    run: Callable[[npt.NDArray[np.int64]], Rows],
    *,
    marks: int,
    at_once: int = BATCH,
) -> Rows:
    """Give a row for each text, those of as many tokens run together, so that nothing is padded.

    Args:
        ids: the tokens of each text.
        dimension: numbers in a row.
        run: from (texts, tokens) to (texts, dimension).
        marks: tokens that every text has; of one that has no others the row is zeros.
        at_once: how many are run together at most.
    """
    rows = np.zeros((len(ids), dimension), dtype=np.float32)
    lengths: dict[int, list[int]] = {}
    for place, tokens in enumerate(ids):
        if len(tokens) > marks:
            lengths.setdefault(len(tokens), []).append(place)
    for places in lengths.values():
        for start in range(0, len(places), at_once):
            batch = places[start : start + at_once]
            rows[batch] = run(np.array([ids[place] for place in batch], dtype=np.int64))
    return rows
