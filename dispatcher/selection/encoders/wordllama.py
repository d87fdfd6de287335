"""WordLlama: the mean of static word vectors. English, and a hundred times as fast as the others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from dispatcher.selection.encoders.encoder import MAX_TOKENS, Rows, encode_distinct, is_latin
from dispatcher.selection.encoders.pinned import PinnedFile, not_installed

NAME: Final = "wordllama-l2-256/1"
EXTRA: Final = "embedding-fast"
MODULES: Final = ("safetensors", "tokenizers", "wordllama")

_REQUIREMENT: Final = "wordllama==0.4.0.post1"
_WEIGHTS: Final = PinnedFile(
    module="wordllama",
    path="weights/l2_supercat_256.safetensors",
    sha256="64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    requirement=_REQUIREMENT,
    extra=EXTRA,
)
_TOKENISER: Final = PinnedFile(
    module="wordllama",
    path="tokenizers/l2_supercat_tokenizer_config.json",
    sha256="93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
    requirement=_REQUIREMENT,
    extra=EXTRA,
)


class WordLlama:
    """English sentences without their word order: 256 numbers.

    Only the package's files are read, none of its code is run: importing it turns on logging for the whole program,
    and what it does with these files are the few lines below. So it cannot download anything either.

    Threads may share it: nothing is changed after it is made.

    Source: https://github.com/dleemiller/WordLlama (MIT). Its vectors were trained from the token vectors of language
    models, Llama 2 70B among them: whether that model's own licence reaches them is for its users to judge.
    """

    def __init__(self, *, weights: Path | None = None, tokeniser: Path | None = None) -> None:
        """Load it.

        Args:
            weights: where `l2_supercat_256.safetensors` stands, if not in the installed package.
            tokeniser: where `l2_supercat_tokenizer_config.json` stands, if not in the installed package.

        Raises:
            ModelError: a package is not installed, or a file is not the pinned one.
        """
        self.name = NAME
        self.dimension = 256
        weights, tokeniser = _WEIGHTS.locate(weights), _TOKENISER.locate(tokeniser)
        try:
            from safetensors.numpy import load_file
            from tokenizers import Tokenizer
        except ImportError as error:
            raise not_installed(error.name or "safetensors", extra=EXTRA, cause=error) from error
        #: Half precision, as it is stored: 16 MB, and rows are few enough to widen them one text at a time.
        self._vectors = load_file(weights)["embedding.weight"]
        self._tokeniser = Tokenizer.from_file(str(tokeniser))
        self._tokeniser.no_padding()
        self._tokeniser.enable_truncation(MAX_TOKENS)

    def encode(self, texts: Sequence[str]) -> Rows:
        return encode_distinct(texts, self.dimension, self._encode)

    def _encode(self, texts: list[str]) -> Rows:
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            # One by one, not encode_batch(): that would make a pool of threads, which does not survive a fork.
            ids = self._tokeniser.encode(text, add_special_tokens=False).ids if is_latin(text) else []
            if ids:
                row[:] = self._vectors[ids].mean(axis=0, dtype=np.float32)
        return rows
