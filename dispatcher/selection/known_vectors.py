"""What an encoder said of texts when a model was trained. It goes with the model: no process need read them again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dispatcher.selection.loss import Floats
from dispatcher.selection.stored import Array, rows_in_bytes, rows_in_floats

#: Texts that are kept at most, the first ones: 7 MB of a model, for 896 numbers of each.
MAX_KNOWN = 8_192

#: What the names of the three arrays end with.
_DIGESTS, _BYTES, _SCALES = "digests", "bytes", "scales"


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownVectors:
    """Vectors by text. The texts themselves are not in it."""

    #: The first eight bytes of each text's sha256, shape (texts,).
    digests: npt.NDArray[np.uint64]
    #: Shape (texts, dimension).
    vectors: Floats

    @classmethod
    def of(cls, texts: Sequence[str], vectors: Floats) -> "KnownVectors":
        """Keep a vector for each text."""
        return cls(digests=np.array([_digest(text) for text in texts], dtype=np.uint64), vectors=vectors)

    def find(self, texts: Sequence[str]) -> dict[str, Floats]:
        """The vectors of those that are among these texts."""
        places = {int(digest): place for place, digest in enumerate(self.digests)}
        found = {text: places.get(_digest(text)) for text in texts}
        return {text: self.vectors[place] for text, place in found.items() if place is not None}

    def fits(self, dimension: int) -> bool:
        """Whether there is a vector of so many numbers for each text, and nothing but numbers."""
        return (
            self.digests.ndim == 1
            and self.vectors.shape == (len(self.digests), dimension)
            and bool(np.isfinite(self.vectors).all())
        )

    def dump(self, name: str) -> dict[str, Array]:
        """As arrays whose names begin with this."""
        codes, scales = rows_in_bytes(self.vectors)
        return {f"{name}_{_DIGESTS}": self.digests, f"{name}_{_BYTES}": codes, f"{name}_{_SCALES}": scales}

    @classmethod
    def load(cls, arrays: Mapping[str, Array], name: str) -> "KnownVectors | None":
        """What was dumped; None where nothing was."""
        if f"{name}_{_DIGESTS}" not in arrays:
            return None
        return cls(
            digests=arrays[f"{name}_{_DIGESTS}"].astype(np.uint64),
            vectors=rows_in_floats(arrays[f"{name}_{_BYTES}"], arrays[f"{name}_{_SCALES}"]),
        )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8])
