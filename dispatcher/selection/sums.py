"""What the n-grams of a text add up to in the tables of the tiers.

Most of a selection by words alone is adding up rows of tables: a hundred n-grams, each in another place of memory. Most
n-grams are inside words, and words come again: what those of a frequent word add up to is remembered until anything is
learnt (`benchmarks.selection`, speed). The frequent words of what a model was trained on are known before any text is.
What a word says as a term is remembered with it: it is said where a text has no term twice.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dispatcher.selection.features import between, pairs_of, read_word
from dispatcher.selection.lexical import Lexicon, term_of
from dispatcher.selection.loss import Floats, Integers, ones
from dispatcher.selection.softmax import Ngrams, Read
from dispatcher.selection.stored import Array

#: Cells of what is remembered at most: 16 MB.
MAX_CELLS: Final = 1 << 22
#: Texts that a word is in before what it adds up to is remembered: that costs as much as a few of them save.
OFTEN: Final = 4
#: Words that are counted; where there are more, counting begins anew.
MAX_COUNTED: Final = 8_192


class Table(NamedTuple):
    """What rows are added up of."""

    #: Shape (n-grams, columns), of any precision; n-grams that came later add nothing.
    cells: Array
    #: Whether each row counts by its idf, or all alike.
    by_idf: bool


class _Ready(NamedTuple):
    """A table, as it is added up."""

    cells: Array
    by_idf: bool
    #: Whether rows can be taken from it as from one piece of memory: that is twice as fast.
    is_whole: bool
    #: Whether n-grams came later than its last row.
    is_short: bool
    #: Where its columns stand in what is added up.
    begin: int
    end: int


class _Word(NamedTuple):
    """A word that is remembered."""

    #: Its hash.
    number: int
    #: Of the n-grams inside it: all have one.
    rows: Integers
    #: Where what they add up to is kept.
    slot: int
    #: Empty where it means nothing.
    term: str


class Sum:
    """A text, added up."""

    __slots__ = ("_ngrams", "_rows", "count", "length", "met", "tables", "terms", "unknown")

    def __init__(
        self,
        ngrams: Ngrams,
        rows: Sequence[Integers],
        unknown: list[int],
        added: Floats,
        tables: Sequence[_Ready],
    ) -> None:
        self._ngrams = ngrams
        self._rows = rows
        #: What `Lexicon.scores` and `Lexicon.most` say of the words; None where they are no distinct terms.
        self.terms: tuple[Floats, float] | None = None
        #: The buckets that have no row yet.
        self.unknown = unknown
        #: The sum of the rows of each table; empty where there is none.
        self.tables = [added[table.begin : table.end] for table in tables]
        known, unmet = added.item(-2), ngrams.unmet
        square = max(known + len(unknown) * unmet * unmet, 1e-12)
        #: How many n-grams have a row.
        self.count = int(added.item(-1))
        #: Of the vector of all its n-grams, unknown ones included.
        self.length = square**0.5
        #: The share of its n-grams, by idf, that have a row.
        self.met = known / square

    def read(self) -> Read:
        """Row by row."""
        return self.weigh(self.rows())

    def rows(self, met: Sequence[int] = ()) -> Integers:
        """Of its n-grams; one that occurs twice is there twice.

        Args:
            met: the rows of what was unknown, where it has rows by now.
        """
        if not met and len(self._rows) == 1:
            return self._rows[0]
        parts: list[npt.ArrayLike] = [*self._rows, met] if met else [*self._rows]
        return np.concatenate(parts)

    def weigh(self, rows: Integers) -> Read:
        """With its values, which take the rows' idf."""
        values: Floats = self._ngrams.idf.take(rows)
        values /= np.float32(self.length)
        return Read(rows, values)


class Sums:
    """Adds up texts."""

    def __init__(self, ngrams: Ngrams, lexicon: Lexicon | None = None) -> None:
        self._ngrams = ngrams
        self._lexicon = lexicon if lexicon is not None else Lexicon([])
        self._tables: Sequence[_Ready] = ()
        self._words: dict[str, _Word] = {}
        self._counts: dict[str, int] = {}
        #: By slot: the sums of all tables, one after another, what the word says as a term, and the most that it could,
        #: the sum of the squares of idf, and how many rows.
        self._kept = np.empty((0, 3), dtype=np.float32)
        #: Where in a row of it stands what the word says as a term.
        self._said = slice(-3 - self._lexicon.size, -3)

    def __len__(self) -> int:
        """How many words are remembered."""
        return len(self._words)

    def use(self, tables: Sequence[Table]) -> None:
        """Add up these from now on; what was remembered of others, or of what they held before, is forgotten."""
        spans = pairwise(np.cumsum([0, *(table.cells.shape[1] for table in tables)]).tolist())
        size = len(self._ngrams)
        self._tables = [
            _Ready(cells, by_idf, cells.flags.c_contiguous, len(cells) < size, begin, end)
            for (cells, by_idf), (begin, end) in zip(tables, spans, strict=True)
        ]
        width = 3 + (self._lexicon.size if tables else 0) + sum(table.cells.shape[1] for table in tables)
        if self._kept.shape[1] != width:
            self._kept = np.empty((MAX_CELLS // width if tables else 0, width), dtype=np.float32)
        self._words.clear()
        # Where feedback follows feedback, nothing is remembered that would be forgotten before it comes again.
        self._counts.clear()

    def read(self, found: list[str]) -> Sum:
        """Add up a text.

        Args:
            found: its words, as `features.tokens` gives them.
        """
        hashes, known, loose, strangers = [], [], [], []
        for word in found:
            part = self._words.get(word)
            if part is None:
                number, own = read_word(word)
                loose.append(own)
                strangers.append(word)
            else:
                number = part.number
                known.append(part)
            hashes.append(number)
        rows: Integers
        unknown: list[int]
        joined = "".join(found)
        if loose or not joined.isascii():
            rows, idf, strange = self._ngrams.look_up(np.concatenate([between(found, hashes), *loose]))
            unknown = strange.tolist()
        else:
            rows, idf, unknown = self._ngrams.look_up_few(pairs_of(hashes))
        added = self._add_up(rows, idf)
        if known:
            slots = [part.slot for part in known]
            added += ones(len(slots)).dot(self._kept.take(slots, axis=0))
        total = Sum(self._ngrams, [rows, *[part.rows for part in known]], unknown, added, self._tables)
        if self._tables:
            if loose:
                self._count(found)
            if joined.isascii() and joined.isalpha():
                total.terms = self._add_terms(added, known, strangers)
        return total

    def _add_terms(
        self, added: Floats, known: Sequence[_Word], strangers: Sequence[str]
    ) -> tuple[Floats, float] | None:
        """What the terms of words say together; None where there is one twice, which says nothing more."""
        others = [term for term in map(term_of, strangers) if term]
        terms = [word.term for word in known if word.term] + others
        if len(set(terms)) < len(terms):
            return None
        scores, most = added[self._said], added.item(-3)
        if others:
            scores += self._lexicon.scores(others)
            most += self._lexicon.most(others)
        return scores, most

    def remember(self, words: Iterable[str]) -> None:
        """Remember words, as long as there is room; those with n-grams that were never met are passed over."""
        for word in words:
            if len(self._words) >= len(self._kept):
                return
            if word in self._words:
                continue
            number, own = read_word(word)
            rows, idf, unknown = self._ngrams.look_up(own)
            if not len(unknown):
                slot, term = len(self._words), term_of(word)
                added = self._add_up(rows, idf)
                if term:
                    added[self._said], added[-3] = self._lexicon.scores([term]), self._lexicon.most([term])
                self._kept[slot] = added
                self._words[word] = _Word(number, rows, slot, term)

    def _add_up(self, rows: Integers, idf: Floats) -> Floats:
        """The sums of all tables, one after another, the sum of the squares of idf, and how many rows."""
        sums = np.zeros(self._kept.shape[1], dtype=np.float32)
        count = len(rows)
        if not count:
            return sums
        sums[-2], sums[-1] = idf.dot(idf), count
        every = ones(count)
        for cells, by_idf, is_whole, is_short, begin, end in self._tables:
            own, weights = rows, idf if by_idf else every
            if is_short:
                inside = rows < len(cells)
                own, weights = rows[inside], weights[inside]
            taken = cells.take(own, axis=0) if is_whole else cells[own]
            weights.dot(taken, out=sums[begin:end])
        return sums

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
