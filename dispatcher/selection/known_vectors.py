"""What an encoder said of texts when a model was trained. It goes with the model: no process need read them again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dispatcher.selection.loss import Floats
from dispatcher.selection.signed_bytes import rows_in_bytes, rows_in_floats
from dispatcher.selection.stored import Array

#: Texts that are kept at most, the first ones: 7 MB of a model, for 896 numbers of each.
MAX_KNOWN = 8_192

#: A row's largest number is 127 times as large at most. Encoders' rows have a length of about 1.
_LARGEST = 1.0
#: What the names of the three arrays end with.
_DIGESTS, _BYTES, _SCALES = "digests", "bytes", "scales"


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownVectors:
    """Vectors by text. The texts themselves are not in it."""

    #: The first eight bytes of each text's sha256, shape (texts,).
    digests: npt.NDArray[np.uint64]
    #: Shape (texts, dimension): numbers, or where a model was stored signed bytes.
    rows: Floats | npt.NDArray[np.int8]
    #: What each row's bytes are times, shape (texts,); None for numbers.
    scales: Floats | None = None

    @classmethod
    def of(cls, texts: Sequence[str], vectors: Floats) -> "KnownVectors":
        """Keep a vector for each text."""
        return cls(digests=np.array([_digest(text) for text in texts], dtype=np.uint64), rows=vectors)

    def find(self, texts: Sequence[str]) -> dict[str, Floats]:
        """The vectors of those that are among these texts, not to be written to."""
        places = {int(digest): place for place, digest in enumerate(self.digests)}
        found = {text: place for text in texts if (place := places.get(_digest(text))) is not None}
        chosen = list(found.values())
        vectors = self.rows[chosen]
        if self.scales is not None:
            vectors = rows_in_floats(vectors, self.scales[chosen])
        vectors.flags.writeable = False
        return dict(zip(found, vectors, strict=True))

    def fits(self, dimension: int) -> bool:
        """Whether there is a vector of so many numbers for each text, none of them out of bounds."""
        scales = np.ones(len(self.rows), np.float32) if self.scales is None else self.scales
        return (
            self.digests.shape == scales.shape == (len(self.rows),)
            and self.rows.shape == (len(self.digests), dimension)
            and self.rows.dtype == (np.float32 if self.scales is None else np.int8)
            and bool((np.abs(scales) <= _LARGEST).all())
        )

    def dump(self, name: str) -> dict[str, Array]:
        """As arrays whose names begin with this."""
        codes, scales = rows_in_bytes(self.rows) if self.scales is None else (self.rows, self.scales)
        return {f"{name}_{_DIGESTS}": self.digests, f"{name}_{_BYTES}": codes, f"{name}_{_SCALES}": scales}

    @classmethod
    def load(cls, arrays: Mapping[str, Array], name: str) -> "KnownVectors | None":
        """What was dumped; None where nothing was."""
        if f"{name}_{_DIGESTS}" not in arrays:
            return None
        return cls(
            digests=arrays[f"{name}_{_DIGESTS}"].astype(np.uint64),
            rows=arrays[f"{name}_{_BYTES}"],
            scales=arrays[f"{name}_{_SCALES}"].astype(np.float32),
        )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])
