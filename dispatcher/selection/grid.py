"""Growing tables: rows for the features that were met, columns for the functions that are known."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from dispatcher.selection.features import BUCKETS, Buckets
from dispatcher.selection.loss import Floats, Integers

#: Rows that a table has room for from the beginning.
FEW: Final = 1024


class Vocabulary:
    """Which row each bucket has. Rows are given out in the order in which buckets are first met."""

    def __init__(self, limit: int) -> None:
        """An empty vocabulary of at most `limit` rows; buckets that come later have none."""
        #: How many rows there may be.
        self.limit = limit
        self._rows = np.full(BUCKETS, -1, dtype=np.int32)
        self._size = 0
        self._buckets = np.empty(1024, dtype=np.int64)

    def __len__(self) -> int:
        return self._size

    @property
    def buckets(self) -> Buckets:
        """The bucket of each row."""
        return self._buckets[: self._size]

    def add(self, found: Buckets) -> None:
        """Give a row to each bucket that has none, as long as there are any."""
        new = found[self._rows[found] < 0]
        if not len(new):
            return
        # As `np.unique`, which takes ten times as long for the few that a text has.
        self.add_in_order(np.array(list(dict.fromkeys(new.tolist())), dtype=np.int64))

    def add_few(self, found: list[int]) -> list[int]:
        """Give a row to each bucket that has none, as long as there are any; the rows of those that have one then.

        For the few that a text has a tenth of the time of `np.unique` and two look-ups.
        """
        rows, size, given = self._rows, self._size, []
        row_of = rows.item
        for bucket in found:
            row = row_of(bucket)
            if row < 0:
                if size == self.limit:
                    continue
                if size == len(self._buckets):
                    self._buckets = np.resize(self._buckets, 2 * size)
                self._buckets[size] = bucket
                rows[bucket] = row = size
                size += 1
            given.append(row)
        self._size = size
        return given

    def add_in_order(self, new: Buckets) -> None:
        """Give rows to distinct buckets that have none, in their order."""
        new = new[: self.limit - self._size]
        end = self._size + len(new)
        if end > len(self._buckets):
            self._buckets = np.resize(self._buckets, max(end, 2 * len(self._buckets)))
        self._buckets[self._size : end] = new
        self._rows[new] = np.arange(self._size, end)
        self._size = end

    def known(self, found: Buckets) -> npt.NDArray[np.bool_]:
        """Which of the buckets have a row."""
        return self._rows[found] >= 0

    def rows(self, found: Buckets) -> Integers:
        """The rows of the buckets that have one."""
        return self.look_up(found)[0]

    def look_up_few(self, found: Iterable[int]) -> tuple[list[int], list[int]]:
        """The rows of those that have one, and the others: for ten buckets or so, quicker than `look_up`."""
        row_of = self._rows.item
        rows, unknown = [], []
        for bucket in found:
            row = row_of(bucket)
            if row >= 0:
                rows.append(row)
            else:
                unknown.append(bucket)
        return rows, unknown

    def look_up(self, found: Buckets) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """The rows of the buckets that have one, and which of them do."""
        rows = self._rows.take(found)
        known = rows >= 0
        return rows.compress(known).astype(np.int64), known


class Grid:
    """A table of numbers that begins as zeros and grows in both directions."""

    def __init__(self, columns: int, room: int = FEW) -> None:
        """An empty table.

        Args:
            columns: that it has.
            room: rows that it can grow to without being copied; memory is given as they are written to.
        """
        self._allot(np.zeros((max(FEW, room), columns), dtype=np.float32))
        self.rows = 0
        self.columns = columns

    def _allot(self, cells: Floats) -> None:
        self._cells = cells
        #: All cells as one row, until it grows: two dimensions take twice the time.
        self.flat = cells.reshape(-1)

    @property
    def cells(self) -> Floats:
        """Shape (rows, columns): a view, to read and to change."""
        return self._cells[: self.rows, : self.columns]

    def add(self, rows: Integers, columns: Integers, amounts: Floats) -> None:
        """Add to the cells where rows and columns meet; a row that is there twice is added to once.

        Args:
            rows: shape (n,).
            columns: shape (m,).
            amounts: shape (n, m), the same in all places of one row.
        """
        places = rows * self._cells.shape[1]
        if len(columns) == 1:
            # Most texts leave no doubt about the other functions.
            places, amounts = places + columns, amounts.reshape(-1)
        else:
            places = places[:, None] + columns
        self.flat[places] = self.flat.take(places) + amounts

    def column(self, number: int) -> Floats:
        """The cells of one column, shape (rows,): a view, to read and to change."""
        return self._cells[: self.rows, number]

    def grow(self, rows: int, columns: int) -> None:
        """Make it at least this large."""
        if rows <= self.rows and columns <= self.columns:
            return
        height, width = self._cells.shape
        if rows > height or columns > width:
            taller = height if rows <= height else max(rows, height + height // 2)
            wider = width if columns <= width else max(columns, width + width // 4)
            cells = np.zeros((taller, wider), dtype=np.float32)
            cells[: self.rows, : self.columns] = self.cells
            self._allot(cells)
        self.rows, self.columns = max(self.rows, rows), max(self.columns, columns)
