"""Rows of a `map` that stand together in the input: some refused, the others in one job."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from dispatcher.client.handle import entries_of, read_outcome
from dispatcher.errors import ResultError
from dispatcher.model.call import Call
from dispatcher.model.outcome import ErrorInfo, ErrorKind, Failed, Outcome, type_name
from dispatcher.registry.function import Function
from dispatcher.transport.outcomes import CallRecord, JobRecord

if TYPE_CHECKING:
    import asyncio

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRun:
    """What became of a job of a `map`."""

    record: JobRecord
    #: Whether it is the job of an earlier run.
    repeated: bool


class Part(Generic[R]):
    """Rows in the order of the input.

    Args:
        first: the position of its first row, from 0.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.calls: list[Call[R]] = []
        #: For each row its refusal, or None for the next call of the job.
        self.rows: list[Failed | None] = []
        #: Of all arguments, about.
        self.bytes = 0
        #: Once it is under way.
        self.outcomes: asyncio.Task[list[Outcome[R]]] | None = None

    def add(self, call: Call[R]) -> None:
        """Another row, which fits."""
        self.calls.append(call)
        self.rows.append(None)
        self.bytes += len(call.arguments)

    def refuse(self, refusal: Failed) -> None:
        """Another row, which does not."""
        self.rows.append(refusal)

    @property
    def has_ended(self) -> bool:
        return self.outcomes is not None and self.outcomes.done()

    def result(self) -> list[Outcome[R]]:
        """The outcome of each row.

        Raises:
            CallRefusedError, ServerError: the job was not accepted.
        """
        return [] if self.outcomes is None else self.outcomes.result()

    def numbered(self) -> Iterable[tuple[int, Outcome[R]]]:
        """The position of each row, and its outcome. Raises as `result` does."""
        return enumerate(self.result(), self.first)

    def refused(self) -> list[Outcome[R]]:
        """The outcomes where every row was refused."""
        return [row for row in self.rows if row is not None]

    def read(self, function: Function[..., R], run: JobRun) -> list[Outcome[R]]:
        """The outcomes where one job ran all calls."""
        record = run.record
        attempts = record.attempts
        return self.merge([read_entry(function, entry, attempts) for entry in entries_of(record, len(self.calls))])

    def merge(self, ran: list[Outcome[R]]) -> list[Outcome[R]]:
        """The outcomes of all rows, from those of the calls."""
        if len(ran) == len(self.rows):
            return ran
        following = iter(ran)
        return [next(following) if row is None else row for row in self.rows]


def read_entry(function: Function[..., R], entry: CallRecord, attempts: int) -> Outcome[R]:
    """One call's outcome; a value that cannot be read fails that call alone."""
    try:
        outcome: Outcome[R] = read_outcome(function, entry, attempts)
    except ResultError as unreadable:
        error = ErrorInfo(kind=ErrorKind.RESULT, type=type_name(unreadable), message=str(unreadable))
        return Failed(error=error, attempts=attempts)
    return outcome
