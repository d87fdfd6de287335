"""The Bayes tier: P(function | text, state) from counts of what was asked before.

    log P(f | text, s) = log P(f | s) + 1/√m Σ over the text's m n-grams i of log P(i | f)  + constant
    P(i | f) = (n_if + ALPHA) / (n_f + ALPHA · V)
    P(f | s) = (n_sf + PRIOR · P(f)) / (n_s + PRIOR),   P(f) = (n_f' + 1) / (n' + F)

n_if counts n-gram i in texts that asked for f, n_f all their n-grams, V the n-grams that are known, n_sf the calls of f
in state s, n_f' all calls of f, F the functions. N-grams of one word overlap and say the same thing many times, which
naive Bayes takes for independent evidence: dividing by √m rather than adding plainly keeps its probabilities moderate.

Counts are sums over the feedback log: they do not depend on the order, or on which producer wrote what.

Source: Manning, Raghavan and Schütze 2008, "Introduction to Information Retrieval", section 13.2 (multinomial model);
Rennie et al. 2003, "Tackling the Poor Assumptions of Naive Bayes Text Classifiers".
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from dispatcher.selection.abstention import Numbers
from dispatcher.selection.feedback import Feedback
from dispatcher.selection.grid import FEW, Grid
from dispatcher.selection.loss import Floats, Integers
from dispatcher.selection.model import Counts
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.softmax import DENSE_FUNCTIONS, Ngrams, Read
from dispatcher.selection.stored import Array

#: The smoothing of n-gram counts.
ALPHA: Final = 0.1
#: How many calls the general prior of a function is worth in a state that was seen before.
PRIOR: Final = 5.0
#: Distinct states that are counted; later ones have the general prior.
MAX_STATES: Final = 10_000


class Bayes:
    """Counts of a set of functions."""

    def __init__(self, size: int, ngrams: Ngrams) -> None:
        self.size = size
        self._ngrams = ngrams
        self._is_dense = size <= DENSE_FUNCTIONS
        #: log(1 + n_if / ALPHA), shape (n-grams, columns): selecting adds them up, and counts can be had back.
        #: A function of many has a column from its first count on; of a few all have one from the first count of any.
        self._logs = Grid(0, ngrams.room if self._is_dense else FEW)
        self._positions: list[int] = []
        self._column_of: dict[int, int] = {}
        #: n_f, by function.
        self._totals = np.zeros(size, dtype=np.float64)
        #: n_f', by function.
        self._calls = np.zeros(size, dtype=np.float64)
        self._states: dict[str, dict[int, float]] = {}
        #: How often the counts have changed.
        self.changes = 0
        #: log P(f), until the next count.
        self._prior: Floats | None = None
        #: log(1 + n_f / (ALPHA · V)) and the function of each column, likewise.
        self._lengths: Floats | None = None
        self._columns = np.empty(0, dtype=np.int64)

    @property
    def calls(self) -> Array:
        """How often each function was asked for, shape (functions,)."""
        return self._calls

    def add(self, rows: Integers, position: int, state: Iterable[str] = (), weight: float = 1.0) -> None:
        """Count a text that asked for a function.

        Args:
            rows: of its n-grams; one that occurs twice is there twice.
            position: the function.
            state: what was known of the conversation, as `states_of` gives it.
            weight: how much it counts; negative takes back.
        """
        self.changes += 1
        cells = self._logs.column(self._column(position))
        # log(1 + (n + w) / ALPHA) from log(1 + n / ALPHA), w as often as a row is there.
        grown = cells[rows]
        cells[rows] = np.exp(grown, out=grown)
        # An amount of another type takes six times as long.
        np.add.at(cells, rows, np.float32(weight / ALPHA))
        grown = cells[rows]
        if weight < 0:
            # What float32 made of the counts is rounded off: what is taken back as often as it was counted is gone.
            counts = np.round((grown - 1) * np.float32(ALPHA), 3)
            grown[:] = 1 + np.maximum(counts, 0) / np.float32(ALPHA)
        cells[rows] = np.log(grown, out=grown)
        self._totals[position] += weight * len(rows)
        self._calls[position] += weight
        self._prior = self._lengths = None
        for key in state:
            if key in self._states or len(self._states) < MAX_STATES:
                calls = self._states.setdefault(key, {})
                calls[position] = calls.get(position, 0.0) + weight

    def logits(self, read: Read) -> Floats:
        """What the words say, shape (functions,): 0 for a function that was never counted."""
        rows = read.rows[read.rows < self._logs.rows]
        # As a product, which adds up faster than a sum does.
        return self.weigh(np.ones(len(rows), dtype=np.float32) @ self._logs.cells[rows], len(read.rows))

    def weigh(self, found: Floats, count: int) -> Floats:
        """The same of the sum of the table's rows, of so many n-grams."""
        if not self._positions or not count:
            return np.zeros(self.size, dtype=np.float32)
        if self._lengths is None:
            vocabulary = ALPHA * max(1, len(self._ngrams))
            self._columns = np.array(self._positions)
            self._lengths = np.log1p(np.maximum(self._totals[self._columns], 0) / vocabulary).astype(np.float32)
        own: Floats = found - np.float32(count) * self._lengths
        own /= np.float32(count**0.5)
        if self._is_dense:
            return own
        total = np.zeros(self.size, dtype=np.float32)
        total[self._columns] = own
        return total

    @property
    def table(self) -> Floats:
        """What `weigh` wants the sum of, shape (n-grams, columns); n-grams that came later count nothing."""
        return self._logs.cells

    def log_prior(self, state: Iterable[str] = ()) -> Floats:
        """Log P(f | state), shape (functions,)."""
        if self._prior is None:
            calls = np.maximum(self._calls, 0)
            self._prior = np.log((calls + 1) / (calls.sum() + self.size)).astype(np.float32)
        prior = self._prior
        for key in state:
            counts = self._states.get(key)
            if counts:
                own = np.zeros(self.size)
                own[list(counts)] = np.maximum(list(counts.values()), 0)
                prior = np.log((own + PRIOR * np.exp(prior)) / (own.sum() + PRIOR)).astype(np.float32)
        return prior

    def _counts(self, rows: Integers, column: int) -> Numbers:
        """n_if of some n-grams, of the function of a column."""
        counts: Numbers = np.expm1(self._logs.cells[rows, column].astype(np.float64)) * ALPHA
        return counts

    def dump(self, positions: Sequence[int]) -> Counts:
        """The counts of some functions, in columns of that order."""
        rows, columns, values = [], [], []
        for column, position in enumerate(positions):
            if position in self._column_of:
                own = self._column_of[position]
                met = np.flatnonzero(self._logs.cells[:, own])
                rows.append(met)
                columns.append(np.full(len(met), column))
                values.append(self._counts(met, own))
        if not rows:
            return Counts(rows=np.empty(0, np.int64), columns=np.empty(0, np.int64), values=np.empty(0, np.float32))
        return Counts(
            rows=np.concatenate(rows),
            columns=np.concatenate(columns),
            # What float32 made of them in the logarithms is rounded off again.
            values=np.round(np.concatenate(values), 3).astype(np.float32),
        )

    @property
    def states(self) -> Mapping[str, Mapping[int, float]]:
        """Calls by state and function."""
        return self._states

    def load(self, counts: Counts, calls: Array, positions: Mapping[int, int]) -> None:
        """Take in counts.

        Args:
            counts: of n-grams.
            calls: shape (columns,).
            positions: the function of each column, those that there still are.
        """
        self.changes += 1
        for column, position in positions.items():
            own = self._column(position)
            of_it = counts.columns == column
            rows, values = counts.rows[of_it], counts.values[of_it]
            self._logs.cells[rows, own] = np.log1p(np.maximum(self._counts(rows, own) + values, 0) / ALPHA)
            self._totals[position] += float(values.sum(dtype=np.float64))
            self._calls[position] += float(calls[column])
        self._prior = self._lengths = None

    def load_state(self, key: str, calls: Mapping[int, float]) -> None:
        """Take in how often functions were called in a state."""
        counts = self._states.setdefault(key, {})
        for position, count in calls.items():
            counts[position] = counts.get(position, 0.0) + count

    def _column(self, position: int) -> int:
        if position not in self._column_of:
            new = list(range(self.size)) if self._is_dense else [position]
            self._column_of.update({own: column for column, own in enumerate(new, len(self._positions))})
            self._positions += new
        self._logs.grow(len(self._ngrams), len(self._positions))
        return position if self._is_dense else self._column_of[position]


def states_of(state: ConversationState | Feedback | None) -> tuple[str, ...]:
    """The keys under which calls are counted by state, the most telling last."""
    if state is None:
        return ()
    keys = []
    if state.topic:
        keys.append(f"topic={state.topic}")
    if state.previous_function:
        keys.append(f"previous={state.previous_function}")
    return tuple(keys)
