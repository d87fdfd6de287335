"""The one protocol of all encoders, and what they all do with a text before and after their model sees it."""

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from dispatcher.selection.words import AFTER_LATIN, MAX_TEXT_CHARACTERS

#: Characters of a text that an encoder reads, blanks already made single: about eight for each of its tokens.
MAX_CHARACTERS: Final = 1_024
#: Tokens of a text that a model reads, its own marks of beginning and end among them. A request is said in its first
#: lines, and a model's time grows with their number.
MAX_TOKENS: Final = 128
#: In the names of encoders that read more than English.
MULTILINGUAL: Final = "multilingual"

#: Vectors of texts, one a row.
Rows = npt.NDArray[np.float32]

#: What no tokeniser takes: a C string ends at a zero, and half a surrogate pair has no UTF-8.
_UNREADABLE = re.compile("[\x00\ud800-\udfff]")


class Encoder(Protocol):
    """Turns texts into vectors.

    An encoder is loaded when it is made and never changes afterwards. The same text gives the same vector, up to 1e-5
    in each number, alone or in any batch, in any thread; vectors from different kinds of processor may differ more.
    """

    @property
    def name(self) -> str:
        """A stable id with its version, as `minilm-l6-int8/1`: vectors of different names are never compared."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> Rows:
        """Give a row of length 1 for each text; a row of zeros where a text has nothing to read.

        Only the first `MAX_CHARACTERS` characters and `MAX_TOKENS` tokens are read. May be called from many threads
        at once.

        Raises:
            TypeError: `texts` is one text instead of a sequence of them.
        """
        ...


def read_text(text: str) -> str:
    """Give what an encoder reads of a text: its beginning, blanks made single. Empty where nothing can be seen."""
    head = " ".join(_UNREADABLE.sub(" ", text[:MAX_TEXT_CHARACTERS]).split())[:MAX_CHARACTERS].rstrip()
    return head if any(character.isprintable() and character != " " for character in head) else ""


def refuse_one_text(texts: Sequence[str]) -> None:
    """Refuse a text in the place of a sequence of texts: its letters would be encoded one by one.

    Raises:
        TypeError: it is one.
    """
    if isinstance(texts, str):
        msg = "encode() takes a sequence of texts, not one text: put it in a list"
        raise TypeError(msg)


def is_latin(text: str) -> bool:
    """Whether most of a text's letters are Latin: an English model makes vectors of others too, but of no meaning."""
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(character < AFTER_LATIN for character in letters) >= len(letters)


def encode_distinct(texts: Sequence[str], dimension: int, encode: Callable[[list[str]], Rows]) -> Rows:
    """Read texts, hand each distinct one that is not empty to `encode` once, and normalise the rows it gives."""
    refuse_one_text(texts)
    read = [read_text(text) for text in texts]
    places = {text: place for place, text in enumerate(dict.fromkeys(filter(None, read)))}
    rows = np.zeros((len(read), dimension), dtype=np.float32)
    if places:
        distinct = unit(encode(list(places)))
        for row, text in zip(rows, read, strict=True):
            if text:
                row[:] = distinct[places[text]]
    return rows


def unit(rows: Rows) -> Rows:
    """Rows scaled to length 1; a row of zeros stays one."""
    if rows.ndim == 1:
        return rows * rows.dtype.type(1 / (float(rows @ rows) ** 0.5 or 1.0))
    lengths = np.sqrt(np.add.reduce(rows * rows, axis=-1, keepdims=True))
    lengths[lengths == 0] = 1
    scaled: Rows = np.divide(rows, lengths, dtype=rows.dtype)
    return scaled
