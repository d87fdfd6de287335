"""`map`: one function over many rows, with a bounded window and jobs sized by how long the calls take."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dispatcher.client.cached_rows import LOOKED_UP, CachedRows
from dispatcher.client.job_size import JobSize
from dispatcher.client.map_options import WINDOW, MapOptions, make_report
from dispatcher.client.map_progress import Report
from dispatcher.client.parts import JobRun, Part
from dispatcher.errors import ArgumentIssue, CallRefusedError, InvalidArgumentsError
from dispatcher.model.call import Call
from dispatcher.model.outcome import ErrorInfo, ErrorKind, Failed, Outcome, type_name
from dispatcher.registry.function import Function

if TYPE_CHECKING:
    from dispatcher.client.cached_calls import CachedCalls
    from dispatcher.client.dispatcher import Dispatcher
    from dispatcher.client.resuming import Resuming

R = TypeVar("R")
Row = Mapping[str, object] | Call[R]

#: Rows bound before other tasks of the loop get a turn.
TURN = 50
#: Bytes of arguments in one job, and under way at once, about.
JOB_BYTES, WINDOW_BYTES = 512 * 1024, 64 * 1024 * 1024
#: Seconds that a slow source may keep the rows of an unfinished job waiting.
LINGER = 0.05
#: Jobs under way before any has ended, and seconds until they may be twice as many: how long a call takes is not known,
#: and jobs of one quick call each would be dear.
UNKNOWN_JOBS, UNKNOWN_SECONDS = 32, 0.1
#: Why jobs of a map are cancelled.
STOPPED = "map was stopped early"


class Bulk(Generic[R]):
    """One run of `map`.

    Args:
        dispatcher: what takes the jobs.
        function: of every call.
        window: rows under way at once.
        calls_per_job: None sizes the jobs by how long the calls take.
        deadline: of each job.
        ordered: whether outcomes come in the order of the rows, or as jobs end.
        cached: where rows are looked for, of a function that keeps its results.
        resuming: what is known of a run before this one, for one that may be resumed.
        report: says how far it is.
    """

    def __init__(
        self,
        dispatcher: "Dispatcher",
        function: Function[..., R],
        *,
        window: int,
        calls_per_job: int | None,
        deadline: timedelta | None,
        ordered: bool = True,
        cached: "CachedCalls | None" = None,
        resuming: "Resuming | None" = None,
        report: Report | None = None,
    ) -> None:
        if window < 1 or (calls_per_job is not None and calls_per_job < 1):
            msg = f"window and calls_per_job must be at least 1, not {window} and {calls_per_job}"
            raise ValueError(msg)
        self._dispatcher = dispatcher
        self._function = function
        self._window = window
        self._size = JobSize(calls_per_job, at_once=function.is_async)
        self._deadline = deadline
        self._ordered = ordered
        self._resuming = resuming
        # Rows of one that may be resumed have jobs of their own, as calls with an idempotency key do.
        keeps = function.options.cache is not None and resuming is None
        self._cached = CachedRows(function, cached, self._size, self._run_job) if keeps and cached else None
        self._report = report
        #: The one that is being filled.
        self._part: Part[R] = Part(0)
        self._stale: asyncio.TimerHandle | None = None
        #: Under way, and, where the order does not matter, ended.
        self._parts: deque[Part[R]] = deque()
        self._ended: deque[Part[R]] = deque()
        self._rows = self._bytes = 0
        self._unknown_jobs = UNKNOWN_JOBS
        #: What has jobs accepted now, and whether nobody wants their outcomes.
        self._accepting: set[asyncio.Task[Any] | None] = set()
        self._stopped = False
        #: Something ended: for who waits for outcomes, and for who waits for room.
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def run(self, rows: Iterable[Row[R]] | AsyncIterable[Row[R]]) -> AsyncIterator[Outcome[R]]:
        """Yield outcomes, in the order of the rows."""
        async with aclosing(self.parts(rows)) as parts:
            async for part in parts:
                for outcome in part.result():
                    yield outcome

    async def run_unordered(
        self, rows: Iterable[Row[R]] | AsyncIterable[Row[R]]
    ) -> AsyncIterator[tuple[int, Outcome[R]]]:
        """Yield the position of each row and its outcome."""
        async with aclosing(self.parts(rows)) as parts:
            async for part in parts:
                for numbered in part.numbered():
                    yield numbered

    async def parts(self, rows: Iterable[Row[R]] | AsyncIterable[Row[R]]) -> AsyncGenerator[Part[R], None]:
        """Yield rows that have ended together; those of one part are let go when the next is asked for."""
        reader = asyncio.ensure_future(self._read(rows))
        reader.add_done_callback(lambda _: self._news.set())
        try:
            while (part := await self._next(reader)) is not None:
                yield part
                self._let_go(part)
        finally:
            await self._end(reader)

    # --- rows in --------------------------------------------------------------------------------------------------

    async def _read(self, rows: Iterable[Row[R]] | AsyncIterable[Row[R]]) -> None:
        if self._resuming is not None:
            await self._resuming.start()
        if isinstance(rows, AsyncIterable):
            async for row in rows:
                self._add(row)
                if self._stale is None and self._part.rows:
                    self._stale = asyncio.get_running_loop().call_later(LINGER, self._send_what_there_is)
                await self._make_room()
        else:
            for count, row in enumerate(rows):
                self._add(row)
                await self._make_room()
                if count % TURN == 0:
                    await asyncio.sleep(0)
        self._send()

    def _add(self, row: Row[R]) -> None:
        part = self._part
        try:
            call = row if isinstance(row, Call) else self._function.bind(row)
            if call.function != self._function.name:
                problem = f"the row is a call of {call.function}"
                raise InvalidArgumentsError(
                    self._function.name, [ArgumentIssue(location="", problem=problem, kind="function")]
                )
            part.add(call)
        except CallRefusedError as refusal:
            error = ErrorInfo(kind=ErrorKind.INVALID_ARGUMENTS, type=type_name(refusal), message=str(refusal))
            part.refuse(Failed(error=error, attempts=0))
        if len(part.rows) >= min(self._wished_size(), self._window) or part.bytes >= JOB_BYTES:
            self._send()

    def _wished_size(self) -> int:
        if self._cached is not None:
            return max(self._size.calls, LOOKED_UP)
        known = None if self._resuming is None else self._resuming.rows_from(self._part.first)
        return self._size.calls if known is None else known

    async def _make_room(self) -> None:
        """Wait until another row may be read."""
        while self._is_full():
            self._send()  # or nothing would ever end
            self._room.clear()
            if self._size.known:
                await self._room.wait()
                continue
            # Not `wait_for`: where there is room in the turn it is cancelled in, Python 3.11's goes on uncancelled.
            with suppress(TimeoutError):
                async with asyncio.timeout(UNKNOWN_SECONDS):
                    await self._room.wait()
            self._unknown_jobs *= 2

    def _is_full(self) -> bool:
        if self._rows + len(self._part.rows) >= self._window or self._bytes + self._part.bytes >= WINDOW_BYTES:
            return True
        return not self._size.known and len(self._parts) >= self._unknown_jobs

    def _send_what_there_is(self) -> None:
        self._stale = None
        if self._resuming is None or self._resuming.rows_from(self._part.first) is None:
            self._send()

    def _send(self) -> None:
        if self._stale is not None:
            self._stale.cancel()
            self._stale = None
        part = self._part
        if not part.rows:
            return
        self._part = Part(part.first + len(part.rows))
        self._parts.append(part)
        self._rows += len(part.rows)
        self._bytes += part.bytes
        part.outcomes = asyncio.ensure_future(self._outcomes(part))
        part.outcomes.add_done_callback(lambda _: self._note_end(part))

    # --- jobs -----------------------------------------------------------------------------------------------------

    async def _outcomes(self, part: Part[R]) -> list[Outcome[R]]:
        if not part.calls:
            return part.refused()
        if self._resuming is not None:
            return await self._resuming.outcomes(part, self._run_job)
        if self._cached is not None:
            return part.merge(await self._cached.outcomes(part.calls))
        return part.read(self._function, await self._run_job(part.calls, None))

    async def _run_job(self, calls: list[Call[R]], idempotency_key: str | None) -> JobRun:
        task = asyncio.current_task()
        self._accepting.add(task)
        try:
            handle = await self._dispatcher.dispatch_job(
                calls, deadline=self._deadline, priority="bulk", idempotency_key=idempotency_key
            )
        finally:
            self._accepting.discard(task)
        if self._stopped:
            await handle.cancel(STOPPED)
            raise asyncio.CancelledError
        try:
            record = await handle.record()
        except asyncio.CancelledError:
            # Whoever iterates has stopped: what is left must not run for nobody.
            await asyncio.shield(handle.cancel(STOPPED))
            raise
        if not handle.repeated:
            self._size.learn(record, len(calls))
        return JobRun(record=record, repeated=handle.repeated)

    # --- outcomes out ---------------------------------------------------------------------------------------------

    def _note_end(self, part: Part[R]) -> None:
        if not self._ordered:
            self._ended.append(part)
        self._news.set()
        self._room.set()

    async def _next(self, reader: asyncio.Task[None]) -> Part[R] | None:
        """The next part that has ended; None when all have.

        Raises:
            Exception: what the source of the rows raised.
        """
        while True:
            if reader.done():
                reader.result()
            if self._ordered and self._parts and self._parts[0].has_ended:
                return self._parts.popleft()
            if self._ended:
                part = self._ended.popleft()
                self._parts.remove(part)
                return part
            if reader.done() and not self._parts:
                return None
            self._news.clear()
            await self._news.wait()

    def _let_go(self, part: Part[R]) -> None:
        self._rows -= len(part.rows)
        self._bytes -= part.bytes
        self._room.set()
        if self._report is not None:
            self._report.add(part.result())

    async def _end(self, reader: asyncio.Task[None]) -> None:
        if self._stale is not None:
            self._stale.cancel()
        self._stopped = True
        left = [reader, *(part.outcomes for part in self._parts if part.outcomes is not None)]
        for task in left:
            # A job on its way to the ledger is accepted, whoever stops waiting: it is cancelled when it is there.
            if task not in self._accepting:
                task.cancel()
        # Until their jobs are cancelled: the dispatcher may be closed next.
        await asyncio.gather(*left, return_exceptions=True)
        if self._report is not None:
            self._report.close()


def make_bulk(
    dispatcher: "Dispatcher",
    function: Function[..., R],
    rows: object,
    options: MapOptions,
    *,
    ordered: bool,
    cached: "CachedCalls | None",
    resuming: "Resuming | None",
) -> Bulk[R]:
    """One run of `map`, as its options say."""
    return Bulk(
        dispatcher,
        function,
        window=options.get("window", WINDOW),
        calls_per_job=options.get("calls_per_job"),
        deadline=options.get("deadline"),
        ordered=ordered,
        cached=cached,
        resuming=resuming,
        report=make_report(function.name, rows, options, dispatcher.clock),
    )
