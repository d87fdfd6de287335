"""What the n-grams of a text add up to in the tables of the tiers.

Most of a selection by words alone is adding up rows of tables: a hundred n-grams, each in another place of memory. Most
n-grams are inside words, and words come again: what those of a frequent word add up to is remembered until anything is
learnt (`benchmarks.selection`, speed). The frequent words of what a model was trained on are known before any text is.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from dispatcher.selection.features import Buckets, between, pairs_of, read_word
from dispatcher.selection.loss import Floats, Integers
from dispatcher.selection.softmax import Ngrams, Read

#: Cells of what is remembered at most: 8 MB.
MAX_CELLS: Final = 1 << 21
#: Texts that a word is in before what it adds up to is remembered: that costs as much as a few of them save.
OFTEN: Final = 4
#: What rows are added up with where all count alike: a product is faster than a sum.
_ONES: Final = np.ones(1_024, dtype=np.float32)
#: Words that are counted; where there are more, counting begins anew.
MAX_COUNTED: Final = 8_192


class Table(NamedTuple):
    """What rows are added up of."""

    #: Shape (n-grams, columns); n-grams that came later add nothing.
    cells: Floats
    #: Whether each row counts by its idf, or all alike.
    by_idf: bool


class _Part(NamedTuple):
    """Some n-grams of a text: those that have a row."""

    rows: Integers
    idf: Floats
    #: The sum of the squares of `idf`.
    square: float
    #: Of the word that they are inside of, and where its sum is kept; 0 and -1 where they are not remembered.
    number: int = 0
    slot: int = -1


class Sum:
    """A text, added up."""

    __slots__ = ("_parts", "count", "length", "met", "tables", "unknown")

    def __init__(self, parts: Sequence[_Part], unknown: Buckets, unmet: float) -> None:
        self._parts = parts
        #: The buckets that have no row yet.
        self.unknown = unknown
        #: How many n-grams have one.
        self.count = sum([len(part.rows) for part in parts])
        known = sum([part.square for part in parts])
        square = max(known + len(unknown) * unmet * unmet, 1e-12)
        #: Of the vector of all its n-grams, unknown ones included.
        self.length = square**0.5
        #: The share of its n-grams, by idf, that have a row.
        self.met = known / square
        #: The sum of the rows of each table; empty where there is none.
        self.tables: Sequence[Floats] = ()

    def read(self, met: tuple[Integers, Floats] | None = None) -> Read:
        """Row by row.

        Args:
            met: the rows and idf of what was unknown, where it has rows by now.
        """
        rows, idf = [part.rows for part in self._parts], [part.idf for part in self._parts]
        if met is not None:
            rows.append(met[0])
            idf.append(met[1])
        values: Floats = np.concatenate(idf)
        values /= np.float32(self.length)
        return Read(np.concatenate(rows), values)


class Sums:
    """Adds up texts."""

    def __init__(self, ngrams: Ngrams) -> None:
        self._ngrams = ngrams
        self._tables: Sequence[Table] = ()
        #: Where the columns of each table begin and end, in all their columns.
        self._spans: list[tuple[int, int]] = []
        self._words: dict[str, _Part] = {}
        self._counts: dict[str, int] = {}
        #: By slot.
        self._kept = np.empty((0, 0), dtype=np.float32)

    def __len__(self) -> int:
        """How many words are remembered."""
        return len(self._words)

    def use(self, tables: Sequence[Table]) -> None:
        """Add up these from now on; what was remembered of others, or of what they held before, is forgotten."""
        self._tables = tables
        ends = np.cumsum([0, *(table.cells.shape[1] for table in tables)]).tolist()
        self._spans = list(pairwise(ends))
        if self._kept.shape[1] != ends[-1]:
            self._kept = np.empty((MAX_CELLS // max(1, ends[-1]), ends[-1]), dtype=np.float32)
        self._words.clear()

    def read(self, found: list[str]) -> Sum:
        """Add up a text.

        Args:
            found: its words, as `features.tokens` gives them.
        """
        hashes, slots, parts, loose = [], [], [], []
        for word in found:
            part = self._words.get(word)
            if part is None:
                number, own = read_word(word)
                loose.append(own)
            else:
                number = part.number
                parts.append(part)
                slots.append(part.slot)
            hashes.append(number)
        if loose or not "".join(found).isascii():
            rest, unknown = _part(*self._ngrams.look_up(np.concatenate([between(found, hashes), *loose])))
        else:
            rest, unknown = _part(*self._ngrams.look_up_few(pairs_of(hashes)))
        total = Sum([rest, *parts], unknown, self._ngrams.unmet)
        if self._tables:
            added = self._add_up(rest)
            if slots:
                added += _ones(len(slots)) @ self._kept.take(slots, axis=0)
            total.tables = [added[begin:end] for begin, end in self._spans]
            if loose:
                self._count(found)
        return total

    def remember(self, words: Iterable[str]) -> None:
        """Remember words, as long as there is room; those with n-grams that were never met are passed over."""
        for word in words:
            if len(self._words) >= len(self._kept):
                return
            if word in self._words:
                continue
            number, own = read_word(word)
            part, unknown = _part(*self._ngrams.look_up(own), number, len(self._words))
            if not len(unknown):
                self._kept[part.slot] = self._add_up(part)
                self._words[word] = part

    def _add_up(self, part: _Part) -> Floats:
        """The sums of all tables, one after another."""
        sums = []
        for cells, by_idf in self._tables:
            rows, weights = part.rows, part.idf
            if len(cells) < len(self._ngrams):
                inside = rows < len(cells)
                rows, weights = rows[inside], weights[inside]
            # `take` is twice as fast as indexing, but copies all of a table that has gaps.
            found = cells.take(rows, axis=0) if cells.flags.c_contiguous else cells[rows]
            sums.append((weights if by_idf else _ones(len(rows))) @ found)
        return np.concatenate(sums)

    def _count(self, found: list[str]) -> None:
        """Count the words that are not remembered, and remember one that has come often enough."""
        often = None
        for word in found:
            if word not in self._words:
                count = self._counts[word] = self._counts.get(word, 0) + 1
                if count >= OFTEN:
                    often = word
        if often is not None:
            self.remember([often])
        if len(self._counts) > MAX_COUNTED:
            self._counts.clear()


def _part(rows: Integers, idf: Floats, unknown: Buckets, number: int = 0, slot: int = -1) -> tuple[_Part, Buckets]:
    return _Part(rows, idf, float(idf @ idf), number, slot), unknown


def _ones(count: int) -> Floats:
    return _ONES[:count] if count <= len(_ONES) else np.ones(count, dtype=np.float32)
