"""The vocabulary of BERT: the commonest words of English, and the pieces that all others are made of.

Source: bert-base-uncased, `vocab.txt` (Apache-2.0, see NOTICE); Devlin et al. 2019.
"""

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from dispatcher.errors import ModelError
from dispatcher.extras import reinstall_command
from dispatcher.selection.encoders.pinned import refuse_other

_PACKED: Final = Path(__file__).with_name("bert-base-uncased-vocab.txt.gz")
#: Unpacked. Packed it is another file for each version of zlib.
_SHA256: Final = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def read_vocabulary(packed: Path | None = None) -> list[str]:
    """Words, pieces that do not begin a word (`##ing`) and marks (`[CLS]`), by number.

    Args:
        packed: where the packed vocabulary stands, if not in this package.

    Raises:
        ModelError: it cannot be read, or is another one.
    """
    path = packed if packed is not None else _PACKED
    mend = reinstall_command()
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, ValueError) as error:
        msg = f"{path} cannot be read ({error}); to mend it: {mend}"
        raise ModelError(msg) from None
    refuse_other(path, found=hashlib.sha256(data).hexdigest(), expected=_SHA256, mend=mend)
    return data.decode().splitlines()


@cache
def english_words() -> frozenset[str]:
    """Its words alone, case folded and without accents: some 20,000, and names that English texts are full of.

    Raises:
        ModelError: as `read_vocabulary`.
    """
    return frozenset(word for word in read_vocabulary() if word.isascii() and word.isalpha())
