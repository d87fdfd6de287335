"""The producer's face without asyncio: for scripts, Django views and notebooks.

A thin face: an event loop on a thread of its own runs a `Dispatcher`, and every method here waits for the method of the
same name there. Safe to share between threads. Create it after forking, never before.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack

from dispatcher.client.chooser import SelectionCounts
from dispatcher.client.dispatcher import Dispatcher
from dispatcher.client.handle import Handle
from dispatcher.client.map_options import MapOptions
from dispatcher.client.parts import Part
from dispatcher.client.row_feed import RowFeed
from dispatcher.errors import SettingsError
from dispatcher.model.call import Call
from dispatcher.model.job import JobStatus, Priority
from dispatcher.model.outcome import Outcome
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.registry.tools import ToolFormat
from dispatcher.selection.rules import KeywordRule
from dispatcher.selection.selection import Selection
from dispatcher.selection.selector import ConversationState, Selector
from dispatcher.settings import Settings
from dispatcher.transport.dead_letters import DeadLetters
from dispatcher.transport.replies import DeadLetter

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_CLOSED = "this SyncDispatcher was closed while a call of it was under way"


class SyncHandle(Generic[R_co]):
    """A `Handle` that blocks instead of being awaited."""

    def __init__(self, owner: "SyncDispatcher", handle: Handle[R_co]) -> None:
        self._owner = owner
        self._handle = handle

    def __repr__(self) -> str:
        return repr(self._handle)

    @property
    def id(self) -> str:
        """The job's id: the Celery task id too."""
        return self._handle.id

    @property
    def function(self) -> str:
        """The function's registered name."""
        return self._handle.function

    @property
    def deadline_at(self) -> datetime:
        """When the job expires, aware, in UTC, by the server's clock."""
        return self._handle.deadline_at

    @property
    def repeated(self) -> bool:
        """Whether the idempotency key named a job that existed already."""
        return self._handle.repeated

    @property
    def cached(self) -> bool:
        """Whether the outcome came from the result cache."""
        return self._handle.cached

    @property
    def shared(self) -> bool:
        """Whether the call joined the job that ran for an equal one already."""
        return self._handle.shared

    @property
    def done(self) -> bool:
        """Whether the outcome is here already."""
        return self._handle.done

    def outcome(self, timeout: timedelta | None = None) -> Outcome[R_co]:
        """See `Handle.outcome`."""
        return self._owner.run(self._handle.outcome(timeout))

    def result(self, timeout: timedelta | None = None) -> R_co:
        """See `Handle.result`."""
        return self._owner.run(self._handle.result(timeout))

    def status(self) -> JobStatus:
        """See `Handle.status`."""
        return self._owner.run(self._handle.status())

    def cancel(self, reason: str = "", *, hard: bool = False) -> bool:
        """See `Handle.cancel`."""
        return self._owner.run(self._handle.cancel(reason, hard=hard))

    @property
    def selection(self) -> Selection | None:
        """What selected the function; None where the caller named it."""
        return self._handle.selection

    def feedback(
        self,
        *,
        right: bool | None = None,
        function: Function[..., Any] | str | None = None,
        nothing: bool = False,
        source: str | None = None,
    ) -> None:
        """See `Handle.feedback`."""
        self._owner.run(self._handle.feedback(right=right, function=function, nothing=nothing, source=source))


class SyncDispatcher:
    """A `Dispatcher` for code without an event loop; use it as `with SyncDispatcher(registry) as dispatcher:`."""

    def __init__(
        self,
        registry: Registry,
        *,
        settings: Settings | None = None,
        selector: Selector | None = None,
        rules: Sequence[KeywordRule] = (),
    ) -> None:
        self._inner = Dispatcher(registry, settings=settings, selector=selector, rules=rules)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started_in = os.getpid()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """See `Dispatcher.start`."""
        if self._loop is not None:
            return
        self._started_in = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name="dispatcher-client", daemon=True)
        self._thread.start()
        try:
            self.run(self._inner.start())
        except BaseException:
            self._stop_loop()
            raise

    def close(self) -> None:
        """See `Dispatcher.close`."""
        if self._loop is not None and not self._is_forked:
            try:
                self.run(self._inner.close())
            finally:
                self._stop_loop()

    def dispatch(
        self,
        call: Call[R],
        *,
        idempotency_key: str | None = None,
        deadline: timedelta | datetime | None = None,
        delay: timedelta | None = None,
        priority: Priority | None = None,
    ) -> SyncHandle[R]:
        """See `Dispatcher.dispatch`."""
        handle = self.run(
            self._inner.dispatch(
                call, idempotency_key=idempotency_key, deadline=deadline, delay=delay, priority=priority
            )
        )
        return SyncHandle(self, handle)

    def select(
        self, text: str, state: ConversationState | None = None, *, only: Collection[str] | None = None
    ) -> Selection:
        """See `Dispatcher.select`."""
        return self.run(self._inner.select(text, state, only=only))

    def feedback(
        self,
        selection: Selection,
        *,
        right: bool | None = None,
        function: Function[..., Any] | str | None = None,
        nothing: bool = False,
        state: ConversationState | None = None,
        source: str | None = None,
    ) -> None:
        """See `Dispatcher.feedback`."""
        self.run(
            self._inner.feedback(selection, right=right, function=function, nothing=nothing, state=state, source=source)
        )

    @property
    def selection_counts(self) -> SelectionCounts:
        """See `Dispatcher.selection_counts`."""
        return self._inner.selection_counts

    def dispatch_text(
        self,
        text: str,
        arguments: Mapping[str, object] | None = None,
        *,
        state: ConversationState | None = None,
        only: Collection[str] | None = None,
        idempotency_key: str | None = None,
        deadline: timedelta | datetime | None = None,
        delay: timedelta | None = None,
    ) -> SyncHandle[object]:
        """See `Dispatcher.dispatch_text`."""
        handle = self.run(
            self._inner.dispatch_text(
                text,
                arguments,
                state=state,
                only=only,
                idempotency_key=idempotency_key,
                deadline=deadline,
                delay=delay,
            )
        )
        return SyncHandle(self, handle)

    def run_tool_calls(
        self,
        response: object,
        *,
        format: ToolFormat | None = None,  # noqa: A002 - the word everybody uses
        timeout: timedelta | None = None,
        only: Collection[str] | None = None,
    ) -> list[dict[str, object]]:
        """See `Dispatcher.run_tool_calls`."""
        return self.run(self._inner.run_tool_calls(response, format=format, timeout=timeout, only=only))

    def map(
        self,
        function: Function[P, R],
        rows: Iterable[Mapping[str, object] | Call[R]],
        **options: Unpack[MapOptions],
    ) -> Iterator[Outcome[R]]:
        """See `Dispatcher.map`. The rows are read in the thread that iterates over the outcomes."""
        for part in self._parts(function, rows, options, ordered=True):
            yield from part.result()

    def map_unordered(
        self,
        function: Function[P, R],
        rows: Iterable[Mapping[str, object] | Call[R]],
        **options: Unpack[MapOptions],
    ) -> Iterator[tuple[int, Outcome[R]]]:
        """See `Dispatcher.map_unordered`. The rows are read in the thread that iterates over the outcomes."""
        for part in self._parts(function, rows, options, ordered=False):
            yield from part.numbered()

    def _parts(
        self,
        function: Function[P, R],
        rows: Iterable[Mapping[str, object] | Call[R]],
        options: MapOptions,
        *,
        ordered: bool,
    ) -> Iterator[Part[R]]:
        """Rows that ended together, so that the two threads meet once for each job and not for each row."""
        feed: RowFeed[Mapping[str, object] | Call[R]] = RowFeed(rows, self._inner.clock)
        bulk = self._inner._bulk(function, rows, options, ordered=ordered)  # noqa: SLF001 - two faces of one thing
        return self._iterate(bulk.parts(feed), feed)

    def gather(self, *calls: Call[R]) -> list[Outcome[R]]:
        """See `Dispatcher.gather`."""
        return self.run(self._inner.gather(*calls))

    def as_completed(
        self, handles: Iterable[SyncHandle[R]], timeout: timedelta | None = None
    ) -> Iterator[SyncHandle[R]]:
        """See `Dispatcher.as_completed`."""
        by_inner = {handle._handle: handle for handle in handles}  # noqa: SLF001 - two halves of one thing
        for inner in self._iterate(self._inner.as_completed(by_inner, timeout)):
            yield by_inner[inner]

    def handle(self, job_id: str) -> SyncHandle[object]:
        """See `Dispatcher.handle`."""
        return SyncHandle(self, self.run(self._inner.handle(job_id)))

    def status(self, job_id: str) -> JobStatus:
        """See `Dispatcher.status`."""
        return self.run(self._inner.status(job_id))

    def cancel(self, job_id: str, reason: str = "", *, hard: bool = False) -> bool:
        """See `Dispatcher.cancel`."""
        return self.run(self._inner.cancel(job_id, reason, hard=hard))

    def invalidate(
        self,
        what: Function[..., Any] | Call[Any] | str | None = None,
        *,
        version: str | None = None,
        tag: str | None = None,
    ) -> None:
        """See `Dispatcher.invalidate`."""
        self.run(self._inner.invalidate(what, version=version, tag=tag))

    @property
    def dead_letters(self) -> "SyncDeadLetters":
        """See `Dispatcher.dead_letters`."""
        return SyncDeadLetters(self, self._inner.dead_letters)

    def flush(self, timeout: timedelta = timedelta(seconds=5)) -> bool:
        """See `Dispatcher.flush`."""
        return self.run(self._inner.flush(timeout))

    def run(self, coroutine: Coroutine[Any, Any, R], feed: RowFeed[Any] | None = None) -> R:
        """Wait for a coroutine of the inner dispatcher. Ctrl-C cancels the wait, not the job.

        Args:
            coroutine: of the inner dispatcher.
            feed: rows that it may want meanwhile.
        """
        loop = self._loop
        if loop is None or self._is_forked:
            coroutine.close()
            msg = "this SyncDispatcher is not started; use it as `with SyncDispatcher(registry) as dispatcher:`"
            if self._is_forked:
                msg = "this SyncDispatcher was started before this process was forked; start one after forking"
            raise SettingsError(msg)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # closed by another thread in this very moment
            coroutine.close()
            raise SettingsError(_CLOSED) from None
        try:
            if feed is not None:
                feed.serve(future)
            return future.result()
        except CancelledError:
            raise SettingsError(_CLOSED) from None
        except BaseException:
            future.cancel()
            raise

    @property
    def _is_forked(self) -> bool:
        """Whether the thread that ran the event loop was left behind in a parent process."""
        return self._loop is not None and self._started_in != os.getpid()

    def _iterate(self, outcomes: AsyncIterator[R], feed: RowFeed[Any] | None = None) -> Iterator[R]:
        try:
            while True:
                try:
                    yield self.run(_next(outcomes), feed)
                except StopAsyncIteration:
                    return
        finally:
            # An iteration that was left half-way ends when it is collected, which may be after the end of all.
            if self._loop is not None and not self._is_forked:
                self.run(_close(outcomes))

    def _stop_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()


class SyncDeadLetters:
    """`DeadLetters` that block instead of being awaited."""

    def __init__(self, owner: SyncDispatcher, letters: DeadLetters) -> None:
        self._owner = owner
        self._letters = letters

    def count(self) -> int:
        """See `DeadLetters.count`."""
        return self._owner.run(self._letters.count())

    def list(self, limit: int = 100) -> list[DeadLetter]:
        """See `DeadLetters.list`."""
        return self._owner.run(self._letters.list(limit))

    def replay(self, job_id: str) -> None:
        """See `DeadLetters.replay`."""
        self._owner.run(self._letters.replay(job_id))

    def discard(self, job_id: str) -> bool:
        """See `DeadLetters.discard`."""
        return self._owner.run(self._letters.discard(job_id))


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        # Here, not where it is closed: there, as in a notebook, another loop may be running.
        loop.run_until_complete(_end_all())
    finally:
        loop.close()


async def _end_all() -> None:
    """End what other threads still wait for: they would wait for ever."""
    await asyncio.sleep(0)  # lets what was asked for last become a task
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _next(outcomes: AsyncIterator[R]) -> R:
    return await outcomes.__anext__()


async def _close(outcomes: AsyncIterator[Any]) -> None:
    close = getattr(outcomes, "aclose", None)
    if close is not None:
        await close()
