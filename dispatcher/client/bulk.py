"""`map`: one function over many rows, with a bounded window and jobs sized by how long the calls take."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from dispatcher.client.handle import entries_of, read_outcome
from dispatcher.errors import ArgumentIssue, CallRefusedError, InvalidArgumentsError, ResultError
from dispatcher.model.call import Call
from dispatcher.model.outcome import ErrorInfo, ErrorKind, Failed, Outcome, type_name
from dispatcher.registry.function import Function
from dispatcher.transport.outcomes import CallRecord

if TYPE_CHECKING:
    from dispatcher.client.dispatcher import Dispatcher

R = TypeVar("R")
Row = Mapping[str, object] | Call[R]

#: Seconds of work that a job should hold: much more than its own cost, little enough to spread over workers.
JOB_SECONDS = 0.075
LARGEST_JOB = 200
#: A job grows at most by this factor: one quick call says little about the next.
GROWTH = 4


class _Part(Generic[R]):
    """Rows that stand together in the input: some refused, the others in one job."""

    def __init__(self) -> None:
        self.calls: list[Call[R]] = []
        #: For each row its refusal, or None for the next call of the job.
        self.rows: list[Failed | None] = []
        self.outcomes: asyncio.Task[list[Outcome[R]]] | None = None


class Bulk(Generic[R]):
    """One run of `map`."""

    def __init__(
        self,
        dispatcher: "Dispatcher",
        function: Function[..., R],
        *,
        window: int,
        calls_per_job: int | None,
        deadline: timedelta | None,
    ) -> None:
        if window < 1 or (calls_per_job is not None and calls_per_job < 1):
            msg = f"window and calls_per_job must be at least 1, not {window} and {calls_per_job}"
            raise ValueError(msg)
        self._dispatcher = dispatcher
        self._function = function
        self._window = window
        self._fixed = calls_per_job
        self._size = calls_per_job or 1
        self._deadline = deadline
        self._parts: deque[_Part[R]] = deque()
        self._under_way = 0

    async def run(self, rows: Iterable[Row[R]] | AsyncIterable[Row[R]]) -> AsyncIterator[Outcome[R]]:
        """Yield outcomes in the order of the rows."""
        part: _Part[R] = _Part()
        try:
            async for row in _each(rows):
                self._add(part, row)
                if len(part.rows) >= min(self._size, self._window):
                    self._send(part)
                    part = _Part()
                while self._parts and (self._is_full(part) or self._first_is_done()):
                    for outcome in await self._take():
                        yield outcome
            if part.rows:
                self._send(part)
            while self._parts:
                for outcome in await self._take():
                    yield outcome
        finally:
            left = [part.outcomes for part in self._parts if part.outcomes is not None]
            for task in left:
                task.cancel()
            # Until their jobs are cancelled: the dispatcher may be closed next.
            await asyncio.gather(*left, return_exceptions=True)

    def _add(self, part: _Part[R], row: Row[R]) -> None:
        try:
            call = row if isinstance(row, Call) else self._function.bind(row)
            if call.function != self._function.name:
                problem = f"the row is a call of {call.function}"
                raise InvalidArgumentsError(
                    self._function.name, [ArgumentIssue(location="", problem=problem, kind="function")]
                )
            part.calls.append(call)
            part.rows.append(None)
        except CallRefusedError as refusal:
            error = ErrorInfo(kind=ErrorKind.INVALID_ARGUMENTS, type=type_name(refusal), message=str(refusal))
            part.rows.append(Failed(error=error, attempts=0))

    def _send(self, part: _Part[R]) -> None:
        part.outcomes = asyncio.ensure_future(self._outcomes(part))
        self._parts.append(part)
        self._under_way += len(part.rows)

    async def _outcomes(self, part: _Part[R]) -> list[Outcome[R]]:
        if not part.calls:
            return [row for row in part.rows if row is not None]
        handle = await self._dispatcher.dispatch_job(part.calls, deadline=self._deadline, priority="bulk")
        try:
            record = await handle.record()
        except asyncio.CancelledError:
            # Whoever iterates has stopped: what is left must not run for nobody.
            await asyncio.shield(handle.cancel("map was stopped early"))
            raise
        self._learn(record.seconds, len(part.calls))
        ran = iter(entries_of(record, len(part.calls)))
        return [self._read(next(ran), record.attempts) if row is None else row for row in part.rows]

    def _read(self, entry: CallRecord, attempts: int) -> Outcome[R]:
        try:
            outcome: Outcome[R] = read_outcome(self._function, entry, attempts)
        except ResultError as unreadable:
            error = ErrorInfo(kind=ErrorKind.RESULT, type=type_name(unreadable), message=str(unreadable))
            return Failed(error=error, attempts=attempts)
        return outcome

    def _learn(self, seconds: float, calls: int) -> None:
        if self._fixed is None:
            wished = int(JOB_SECONDS * calls / max(seconds, 1e-6))
            self._size = max(1, min(wished, self._size * GROWTH, LARGEST_JOB))

    def _is_full(self, part: _Part[R]) -> bool:
        return self._under_way + len(part.rows) >= self._window

    def _first_is_done(self) -> bool:
        task = self._parts[0].outcomes
        return task is not None and task.done()

    async def _take(self) -> list[Outcome[R]]:
        part = self._parts.popleft()
        self._under_way -= len(part.rows)
        return await part.outcomes if part.outcomes is not None else []


async def _each(rows: Iterable[Row[R]] | AsyncIterable[Row[R]]) -> AsyncIterator[Row[R]]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
        return
    for count, row in enumerate(rows):
        yield row
        if count % 20 == 0:
            await asyncio.sleep(0)
