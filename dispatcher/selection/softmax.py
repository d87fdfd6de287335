"""The softmax tier: a linear model over hashed n-grams, started from what the functions say about themselves.

    x(text)  = idf-weighted n-grams of the text, of length 1
    W0[f]    = SCALE · x(description and examples of f)
    logit(f) = x(text) · W[f] + b[f],    W = W0 before anything was learnt

so that without any example the logits are scaled cosines, and each feedback is one stochastic step of the cross-entropy
from there (`learn`). Offline training is in `dispatcher.selection.training`.

A registry of up to DENSE_FUNCTIONS functions has one dense table of weights; a larger one keeps W0 as postings, and
what is learnt in a table of the functions that anything was learnt about: 10,000 functions take tens of megabytes.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from dispatcher.selection.card import Card
from dispatcher.selection.features import BUCKETS, Buckets, buckets, hash_tokens, tokens
from dispatcher.selection.grid import FEW, Grid, Vocabulary
from dispatcher.selection.loss import Floats, Integers
from dispatcher.selection.stored import Array
from dispatcher.selection.words import split_name

#: What a cosine of 1 is worth as a logit, before anything is learnt.
SCALE: Final = 12.0
#: What the name's n-grams count once more, beside everything that a function says about itself.
NAME_WEIGHT: Final = 0.25
#: Registries of more functions have no dense table.
DENSE_FUNCTIONS: Final = 1_000
#: Rows and cells of the tables at most: 2²⁵ cells are 128 MB.
MAX_ROWS: Final = 400_000
MAX_CELLS: Final = 1 << 25
#: Rows that dense tables have room for at least, as far as there may be so many.
ROOM: Final = 1 << 16
#: In large registries an n-gram of more than this share of the functions tells nothing, and costs most.
COMMON: Final = 0.05
#: The step of online learning; Adagrad makes it smaller for n-grams that were met often.
RATE: Final = 0.5
#: Functions of less probability than this are left alone by a step: they have next to nothing to learn from it.
NEGLIGIBLE: Final = 1e-3


class Read(NamedTuple):
    """What was read of a text."""

    #: The rows of its n-grams, those that are known; one that occurs twice is there twice.
    rows: Integers
    #: Their values; the whole text's have length 1, unknown ones included.
    values: Floats


class Ngrams:
    """Rows and idf weights of n-grams."""

    def __init__(self, documents: Sequence[Buckets], columns: int, *, least: int = 1) -> None:
        """Count n-grams in documents.

        Args:
            documents: the distinct buckets of each text that idf is to be counted over.
            columns: of the tables that will have these rows: they bound how many there may be.
            least: documents that an n-gram must be in to have a row.
        """
        self._vocabulary = Vocabulary(_most_rows(columns))
        frequency = np.zeros(BUCKETS, dtype=np.int32)
        for document in documents:
            frequency[document] += 1
        self._vocabulary.add(np.flatnonzero(frequency >= least))
        count = len(documents)
        self._unmet = np.float32(np.log(1 + count) + 1)
        known = frequency[self._vocabulary.buckets].astype(np.float32)
        self._idf: Floats = (np.log(np.float32(1 + count) / (1 + known)) + 1).astype(np.float32)
        #: The same, and room for new ones.
        self._room = self._idf

    @classmethod
    def load(cls, found: Buckets, idf: Floats, unmet: float, columns: int) -> "Ngrams":
        """With the rows and weights that a model was trained with."""
        ngrams = cls([], columns)
        ngrams._vocabulary = Vocabulary(max(len(found), _most_rows(columns)))
        ngrams._vocabulary.add_in_order(found)
        ngrams._idf = ngrams._room = idf[: len(ngrams._vocabulary)].astype(np.float32)
        ngrams._unmet = np.float32(unmet)
        return ngrams

    def __len__(self) -> int:
        return len(self._vocabulary)

    @property
    def room(self) -> int:
        """Rows that a dense table should have room for: copying it, in a feedback, takes up to 200 ms."""
        return min(self._vocabulary.limit, max(ROOM, 2 * len(self)))

    @property
    def buckets(self) -> Buckets:
        return self._vocabulary.buckets

    @property
    def idf(self) -> Floats:
        """By row."""
        return self._idf

    @property
    def unmet(self) -> float:
        """The idf of an n-gram that was never met."""
        return float(self._unmet)

    def add(self, found: Buckets) -> None:
        """Give new n-grams a row each."""
        self._vocabulary.add(found)
        self._make_room()

    def add_few(self, found: list[int]) -> list[int]:
        """Give a text's n-grams that have none a row each; the rows."""
        rows = self._vocabulary.add_few(found)
        self._make_room()
        return rows

    def _make_room(self) -> None:
        size = len(self._vocabulary)
        if size > len(self._room):
            room = np.full(size + size // 2, self._unmet, dtype=np.float32)
            room[: len(self._idf)] = self._idf
            self._room = room
        self._idf = self._room[:size]

    def look_up(self, found: Buckets) -> tuple[Integers, Floats, Buckets]:
        """The rows of a text's buckets and their idf, and the buckets that have no row."""
        rows, known = self._vocabulary.look_up(found)
        unknown = found[:0] if len(rows) == len(found) else found[~known]
        return rows, self._idf.take(rows), unknown

    def look_up_few(self, found: list[int]) -> tuple[Integers, Floats, list[int]]:
        """The same of ten buckets or so."""
        few, unknown = self._vocabulary.look_up_few(found)
        rows = np.array(few, dtype=np.int64)
        return rows, self._idf.take(rows), unknown

    def read(self, found: Buckets) -> Read:
        """The rows and values of a text's buckets."""
        rows = self._vocabulary.rows(found)
        values = self._idf.take(rows)
        unknown = len(found) - len(rows)
        length = float(values @ values) + unknown * float(self._unmet) ** 2
        return Read(rows, values / np.float32(max(length, 1e-12) ** 0.5))

    def read_document(self, found: Buckets) -> Read:
        """The same for a long text: what is repeated counts by the logarithm of how often."""
        distinct, counts = np.unique(found, return_counts=True)
        known = self._vocabulary.known(distinct)
        rows = self._vocabulary.rows(distinct)
        values = (1 + np.log(counts[known])).astype(np.float32) * self._idf[rows]
        return Read(rows, values / np.float32(max(float(values @ values), 1e-12) ** 0.5))


def _most_rows(columns: int) -> int:
    return min(MAX_ROWS, max(1024, MAX_CELLS // max(1, columns)))


def document_of(card: Card) -> Buckets:
    """The buckets of everything a function says about itself but its examples."""
    texts = (*map(split_name, card.names), card.description, *(f"{split_name(n)} {d}" for n, d in card.parameters))
    return hash_tokens(tokens(" ".join((*texts, *card.tags)), limit=None))


def start_of(card: Card, ngrams: Ngrams) -> Read:
    """W0 of a function, of length 1: its description and examples, each of length 1 before they are added."""
    parts = [ngrams.read_document(document_of(card))]
    named = ngrams.read_document(hash_tokens(tokens(split_name(card.name))))
    parts.append(Read(named.rows, named.values * np.float32(NAME_WEIGHT)))
    parts += [ngrams.read(buckets(example)) for example in card.examples]
    rows, places = np.unique(np.concatenate([part.rows for part in parts]), return_inverse=True)
    values = np.bincount(places, np.concatenate([part.values for part in parts])).astype(np.float32)
    return Read(rows, values / np.float32(max(float(values @ values), 1e-12) ** 0.5))


class Softmax:
    """The weights of a set of functions."""

    def __init__(self, cards: Sequence[Card], ngrams: Ngrams) -> None:
        self.size = len(cards)
        self.ngrams = ngrams
        for card in cards:
            ngrams.add(np.unique(np.concatenate([document_of(card), *map(buckets, card.examples)])))
        starts = [start_of(card, ngrams) for card in cards]
        self._bias = np.zeros(self.size, dtype=np.float32)
        #: How often the table has changed.
        self.changes = 0
        self._dense = self.size <= DENSE_FUNCTIONS
        room = ngrams.room if self._dense else FEW
        self._squares = Grid(1, room)
        self._squares.grow(len(ngrams), 1)
        #: Columns of the table: all functions, or those that anything was learnt about.
        self._learnt: list[int] = list(range(self.size)) if self._dense else []
        self._column_of = {position: column for column, position in enumerate(self._learnt)}
        self._table = Grid(len(self._learnt), room)
        self._table.grow(len(ngrams), len(self._learnt))
        self._postings: Postings | None = None
        if self._dense:
            for position, start in enumerate(starts):
                self._table.cells[start.rows, position] = start.values * np.float32(SCALE)
        else:
            self._postings = Postings(starts, len(ngrams))

    @property
    def is_dense(self) -> bool:
        """Whether `table` is all that there is, beside the bias."""
        return self._dense

    @property
    def table(self) -> Floats:
        """The weights of a dense model, shape (n-grams, functions)."""
        return self._table.cells

    @property
    def bias(self) -> Floats:
        return self._bias

    def load(self, delta: Array, bias: Array, positions: Mapping[int, int]) -> None:
        """Take in what was learnt offline.

        Args:
            delta: what was added to W0, shape (n-grams, columns).
            bias: shape (columns,).
            positions: the function of each column, those that there still are.
        """
        self.changes += 1
        for column, position in positions.items():
            own = self._column(position)
            self._table.cells[: len(delta), own] += delta[:, column]
            self._bias[position] += bias[column]

    def logits(self, read: Read) -> Floats:
        """Shape (functions,)."""
        learnt = read.values @ self._table.cells[read.rows]
        if self._postings is None:
            learnt += self._bias
            return learnt
        total = self._postings.dot(read, self.size)
        total *= np.float32(SCALE)
        total += self._bias
        if self._learnt:
            total[self._learnt] += learnt
        return total

    def meet(self, found: list[int]) -> list[int]:
        """Give a text's n-grams that have none a row each, so that something can be learnt about them; the rows."""
        self.changes += 1
        rows = self.ngrams.add_few(found)
        size = len(self.ngrams)
        self._table.grow(size, self._table.columns)
        self._squares.grow(size, 1)
        return rows

    def learn(self, read: Read, gradient: Mapping[int, float], weight: float = 1.0) -> None:
        """One stochastic step of gradient descent with Adagrad.

        Args:
            read: the text's n-grams; those without a row teach nothing (see `meet`).
            gradient: of the loss by the logit of each function that it is worth it for.
            weight: of the example.
        """
        if not gradient or not len(read.rows):
            return
        self.changes += 1
        positions = np.fromiter(gradient, np.int64, len(gradient))
        columns = positions if self._dense else np.array([self._column(position) for position in gradient])
        by_logit = np.fromiter(gradient.values(), np.float32, len(gradient))
        if weight != 1:
            by_logit *= np.float32(weight)
        squares = read.values * read.values
        squares *= by_logit.dot(by_logit)
        squares += self._squares.flat.take(read.rows)
        self._squares.flat[read.rows] = squares
        squares += np.float32(1e-2)
        steps = read.values / np.sqrt(squares, out=squares)
        self._table.add(read.rows, columns, steps[:, None] * (np.float32(-RATE) * by_logit))
        self._bias[positions] -= np.float32(0.02) * by_logit

    def shares(self, read: Read, position: int) -> Floats:
        """What each n-gram of a text adds to the logit of one function, in the order of `read.rows`."""
        total = np.zeros(len(read.rows), dtype=np.float32)
        if position in self._column_of:
            total += read.values * self._table.cells[read.rows, self._column_of[position]]
        if self._postings is not None:
            total += np.float32(SCALE) * read.values * self._postings.column(read.rows, position)
        return total

    def _column(self, position: int) -> int:
        column = self._column_of.get(position)
        if column is None:
            column = self._column_of[position] = len(self._learnt)
            self._learnt.append(position)
            self._table.grow(len(self.ngrams), len(self._learnt))
        return column


class Postings:
    """A table that is mostly zeros, by rows."""

    def __init__(self, columns: Sequence[Read], rows: int) -> None:
        found = np.concatenate([column.rows for column in columns])
        positions = np.repeat(np.arange(len(columns)), [len(column.rows) for column in columns])
        values = np.concatenate([column.values for column in columns])
        common = np.bincount(found, minlength=rows) > COMMON * len(columns)
        kept = ~common[found]
        found, positions, values = found[kept], positions[kept], values[kept]
        order = np.argsort(found, kind="stable")
        self._positions, self._values = positions[order].astype(np.int32), values[order]
        self._starts = np.zeros(rows + 1, dtype=np.int64)
        np.cumsum(np.bincount(found, minlength=rows), out=self._starts[1:])

    def dot(self, read: Read, columns: int) -> Floats:
        """The product of a row vector with the table, shape (columns,)."""
        rows, values = self._own(read)
        sizes = self._starts[rows + 1] - self._starts[rows]
        ends = np.cumsum(sizes)
        places = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(self._starts[rows] - ends + sizes, sizes)
        weights = np.repeat(values, sizes) * self._values[places]
        return np.bincount(self._positions[places], weights, minlength=columns).astype(np.float32)

    def column(self, rows: Integers, position: int) -> Floats:
        """The cells of some rows in one column."""
        cells = np.zeros(len(rows), dtype=np.float32)
        for number, row in enumerate(rows):
            if row + 1 < len(self._starts):
                span = slice(self._starts[row], self._starts[row + 1])
                cells[number] = self._values[span][self._positions[span] == position].sum()
        return cells

    def _own(self, read: Read) -> Read:
        """Without rows that came after the table was made."""
        own = read.rows + 1 < len(self._starts)
        return Read(read.rows[own], read.values[own])
