"""A `map` with a key goes on where an earlier run with that key was interrupted.

Each of its jobs has an idempotency key of its own, made of the map's key, the position and the arguments of its rows,
so that the ledger gives the earlier run's job back: its outcome where it ended, the job itself where it still runs.
Where jobs began and ended is kept beside, since their sizes depend on how long the calls took.
"""

import hashlib
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, TypeVar

from dispatcher.client.handle import entries_of
from dispatcher.client.parts import JobRun, Part, read_entry
from dispatcher.errors import UnknownJobError
from dispatcher.model.call import Call
from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorKind, Outcome
from dispatcher.registry.function import Function
from dispatcher.transport.map_journal import MapJournal
from dispatcher.transport.outcomes import CallRecord

R = TypeVar("R")


class Resuming:
    """What is known of the runs before this one.

    Args:
        key: of the map.
        function: of every call.
        journal: where its jobs began and ended.
    """

    def __init__(self, key: str, function: Function[..., Any], journal: MapJournal) -> None:
        self._key = key
        self._function = function
        self._journal = journal
        self._rows: dict[int, int] = {}
        self._bounds: list[int] = []

    async def start(self) -> None:
        """Read what earlier runs left.

        Raises:
            ServerError: it cannot be read.
        """
        self._rows = await self._journal.read()
        self._bounds = sorted(self._rows, reverse=True)

    def rows_from(self, first: int) -> int | None:
        """How many rows the job held that began at this row; None where there was none, or no row may be told apart."""
        while self._bounds and self._bounds[-1] < first:
            self._bounds.pop()
        if not self._bounds:
            return None
        return self._rows[first] if self._bounds[-1] == first else None

    async def outcomes(
        self, part: Part[R], run: Callable[[list[Call[R]], str | None], Awaitable[JobRun]]
    ) -> list[Outcome[R]]:
        """The outcomes of a part's rows: those that stand, and of the others as they are run now."""
        if self._rows.get(part.first) != len(part.rows):
            await self._journal.note(part.first, len(part.rows))
        key, calls = self._job_key(part), list(part.calls)
        ended: dict[int, Outcome[R]] = {}
        left = list(range(len(calls)))
        for again in count():
            try:
                ran = await run([calls[index] for index in left], f"{key}:{again}" if again else key)
            except UnknownJobError:
                continue  # it ended so long ago that its outcome is no longer kept
            undone = []
            for index, entry in zip(left, entries_of(ran.record, len(left)), strict=True):
                if ran.repeated and _is_undone(entry):
                    undone.append(index)
                else:
                    ended[index] = read_entry(self._function, entry, ran.record.attempts)
            left = undone
            if not left:
                break
        return part.merge([ended[index] for index in range(len(calls))])

    def _job_key(self, part: Part[Any]) -> str:
        digest = hashlib.sha256("\n".join(call.digest for call in part.calls).encode()).hexdigest()
        return f"map:{hashlib.sha256(self._key.encode()).hexdigest()[:32]}:{part.first}:{digest}"


def _is_undone(entry: CallRecord) -> bool:
    """Whether a call of an earlier run was given up from outside, and so is to be made again."""
    if entry.state in {JobState.CANCELLED, JobState.EXPIRED}:
        return True
    return entry.error is not None and entry.error.kind is ErrorKind.LOST
