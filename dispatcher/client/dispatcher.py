"""The producer's face: select, dispatch, collect. For asyncio; `dispatcher.client.sync` is the same without `await`."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar, Unpack

from dispatcher.client.arriving import arriving
from dispatcher.client.bulk import Bulk, make_bulk
from dispatcher.client.cached_calls import to_invalidate
from dispatcher.client.chooser import SelectionCounts
from dispatcher.client.gathering import gather
from dispatcher.client.handle import Handle
from dispatcher.client.jobs import check_dispatch
from dispatcher.client.map_options import MapOptions, check_map
from dispatcher.client.producer import Producer
from dispatcher.client.resuming import Resuming
from dispatcher.client.tool_calls import run_tool_calls
from dispatcher.client.verdicts import Opinion
from dispatcher.clock import Clock, SystemClock
from dispatcher.errors import InvalidArgumentsError, NoFunctionSelectedError
from dispatcher.model.call import Call
from dispatcher.model.duration import check_duration
from dispatcher.model.job import Priority
from dispatcher.model.outcome import Outcome
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.registry.tools import ToolFormat
from dispatcher.selection.rules import KeywordRule
from dispatcher.selection.selection import Selection
from dispatcher.selection.selector import ConversationState, Selector
from dispatcher.settings import Settings
from dispatcher.transport.dead_letters import DeadLetters

P = ParamSpec("P")
R = TypeVar("R")


class Dispatcher(Producer):
    """Dispatches calls of a registry's functions, and brings their outcomes back.

    Use it as `async with Dispatcher(registry) as dispatcher:`, in one event loop.

    Args:
        registry: the functions that may be called.
        settings: read from the environment when None.
        selector: for `select` and `dispatch_text`, and of no other dispatcher; when None a `Cascade` on the registry,
            by the settings. One that can learn does, from its first use on: see `feedback`.
        rules: what speaks for a function beside its own words, for that `Cascade`.
        clock: for deadlines and intervals.

    Raises:
        ValueError: `rules` are given together with a `selector`, which knows nothing of them.
        UnknownFunctionError: a rule names a function that is not registered.
        TypeError: `registry` is no Registry, or `settings` are no Settings.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        settings: Settings | None = None,
        selector: Selector | None = None,
        rules: Sequence[KeywordRule] = (),
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(registry, Registry):
            msg = f"a Dispatcher takes a Registry, not {registry!r:.60}"
            raise TypeError(msg)
        if settings is not None and not isinstance(settings, Settings):
            msg = f"settings must be Settings, not a {type(settings).__name__}; write Settings.load(url=…)"
            raise TypeError(msg)
        if selector is not None and rules:
            msg = "give rules to the selector itself, or leave the selector out"
            raise ValueError(msg)
        settings = settings or Settings.load()
        selector = selector or _default_selector(registry, settings, rules)
        super().__init__(registry, settings, selector, clock or SystemClock())

    async def dispatch(
        self,
        call: Call[R],
        *,
        idempotency_key: str | None = None,
        deadline: timedelta | datetime | None = None,
        delay: timedelta | None = None,
        priority: Priority | None = None,
    ) -> Handle[R]:
        """Have a call accepted and queued. Returns as soon as the ledger holds it.

        Where the function keeps its results (`cache`) and an equal call's result is kept, the handle has its outcome at
        once, and there is no job; where an equal call's job is under way, this one shares it. An idempotency key asks
        for a job of its own. docs/guarantees.md says what holds for calls that share.

        Args:
            call: made by `function.call(...)` or `registry.bind(...)`.
            idempotency_key: dispatching again with this key and the same arguments gives the same job, not another.
            deadline: when the job expires, from now or at a moment (aware); None takes the function's.
            delay: how long the job must wait before it may run.
            priority: None takes the function's.

        Raises:
            CallRefusedError: the ledger holds no such job now; the subclass says why.
            ServerError: see its `accepted`.
            TypeError: `call` is no call, as a function itself is none, or a time is a number.
        """
        check_dispatch(call, deadline=deadline, delay=delay, idempotency_key=idempotency_key)
        if idempotency_key is None and self._cached_calls is not None:
            function = self.registry.get(call.function)
            if function.options.cache is not None:
                return await self._cached_calls.dispatch(call, deadline=deadline, delay=delay, priority=priority)
        return await self.dispatch_job(
            [call], idempotency_key=idempotency_key, deadline=deadline, delay=delay, priority=priority
        )

    async def invalidate(
        self,
        what: Function[..., Any] | Call[Any] | str | None = None,
        *,
        version: str | None = None,
        tag: str | None = None,
    ) -> None:
        """Make kept results useless: no call dispatched from now on, by any producer, is given one of them.

        Nor does it share a job that was accepted before; who has a handle on such a job gets its outcome.

        Args:
            what: a function or its name: all its results; a call: those of equal calls.
            version: of the function, that version's alone.
            tag: those of all functions with this tag, instead of `what`.

        Raises:
            ValueError: neither `what` nor `tag` was said, or both; or a version without a function.
            UnknownFunctionError: the function is not registered.
            ServerError: it may not have been done.
        """
        self._must_be_started()
        topics, names = to_invalidate(self.registry, what, version, tag)
        await self._ask(self.ledger.run(self.commands.invalidate(topics, names)))

    async def select(
        self, text: str, state: ConversationState | None = None, *, only: Collection[str] | None = None
    ) -> Selection:
        """Find the function that a text asks for.

        The first time, a sentence encoder is loaded where one is installed, and what was learnt before is fetched.

        Args:
            text: what was said. Nothing in it widens what may be selected.
            state: of the conversation.
            only: names or aliases of the functions that this caller may call; those that there are not are passed
                over. None: all.

        Raises:
            ModelError: the encoder that the settings name cannot be used.
            TypeError: `text` is no text, or `only` is one.
        """
        return await self._chooser.select(text, state, only=only)

    async def feedback(
        self,
        selection: Selection,
        *,
        right: bool | None = None,
        function: Function[..., Any] | str | None = None,
        nothing: bool = False,
        state: ConversationState | None = None,
        source: str | None = None,
    ) -> None:
        """Say how a selection was: the very next one knows it, and within seconds those of all other producers.

        Say one of `right`, `function` and `nothing`.

        Args:
            selection: of `select`.
            right: whether its function was the right one; of an abstention, True: that no function fits; where the
                selection asks, False: that none of its choices is right.
            function: which function would have been right.
            nothing: that no function fits.
            state: what `select` was given.
            source: who says so, as the rate is bounded for each; None takes the state's user, else this producer.

        Raises:
            ValueError: none of the three was said, or more than one.
            UnknownFunctionError: `function` is not registered.
            NoSelectionError: the selection does not say which function was right or wrong.
            FeedbackRefusedError: the source has said as much as it may within a minute; each of several choices or
                parts counts. Nothing was learnt.
            ServerError: it may have been logged; it was not learnt here.
            TypeError: `selection` is none.
        """
        if not isinstance(selection, Selection):
            msg = f"feedback is on a Selection, not on {selection!r:.60}; a handle has `feedback` of its own"
            raise TypeError(msg)
        opinion = Opinion(right=right, function=function, nothing=nothing)
        await self._learn(selection, opinion, state, source)

    @property
    def selection_counts(self) -> SelectionCounts:
        """What was selected and said here, for metrics of your own."""
        return self._chooser.counts

    async def dispatch_text(
        self,
        text: str,
        arguments: Mapping[str, object] | None = None,
        *,
        state: ConversationState | None = None,
        only: Collection[str] | None = None,
        idempotency_key: str | None = None,
        deadline: timedelta | datetime | None = None,
        delay: timedelta | None = None,
    ) -> Handle[object]:
        """Select by text, bind, dispatch. The handle takes feedback.

        Args:
            text: what the user said.
            arguments: what the function needs beyond the text.
            state: of the conversation.
            only: as in `select`.
            idempotency_key: as in `dispatch`.
            deadline: as in `dispatch`.
            delay: as in `dispatch`.

        Raises:
            NoFunctionSelectedError: the selector abstained, or would rather ask.
            CallRefusedError, ServerError: as `dispatch` does.
        """
        selection = await self.select(text, state, only=only)
        if selection.function is None:
            raise NoFunctionSelectedError(selection.reason)
        try:
            call = selection.bind(arguments)
        except InvalidArgumentsError:
            self._chooser.note_misfit(selection, state)
            raise
        handle = await self.dispatch(call, idempotency_key=idempotency_key, deadline=deadline, delay=delay)
        if not handle.repeated:
            self._chooser.note_request(selection, state)
        handle._remember(selection, state, self._chooser)  # noqa: SLF001 - two halves of one thing
        return handle

    async def run_tool_calls(
        self,
        response: object,
        *,
        format: ToolFormat | None = None,  # noqa: A002 - the word everybody uses
        timeout: timedelta | None = None,
        only: Collection[str] | None = None,
    ) -> list[dict[str, object]]:
        """Run every tool call in an LLM's response at once, and give the tool results in the same format.

        Errors are results too: a call that is refused, fails, or takes longer than `timeout` says so under its own
        call id, and spoils no other.

        Args:
            response: from OpenAI (Chat Completions or Responses), Anthropic or MCP, as an object or as data.
            format: which of them; found out when None.
            timeout: for all of them together; None waits until each job's deadline.
            only: names of the functions that this model was offered: it may name others. None: all.

        Raises:
            InvalidToolCallError: the response is of none of these formats.
        """
        return await run_tool_calls(self, response, format, timeout, only)

    def map(
        self,
        function: Function[P, R],
        rows: Iterable[Mapping[str, object] | Call[R]] | AsyncIterable[Mapping[str, object] | Call[R]],
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[Outcome[R]]:
        """Call a function with every row, and yield the outcomes in the order of the rows.

        A row that does not fit the function yields Failed without being queued, and spoils no other. Memory is
        bounded by the window, however long the input. Stopping early cancels what is under way.

        Args:
            function: what to call.
            rows: arguments by name, or calls already bound.
            options: see `MapOptions`.

        Raises:
            ValueError: the window or a job has no room.
            TypeError: there is no such option, the rows are one row, or the function is a name.
        """
        return self._bulk(function, rows, options, ordered=True).run(rows)

    def map_unordered(
        self,
        function: Function[P, R],
        rows: Iterable[Mapping[str, object] | Call[R]] | AsyncIterable[Mapping[str, object] | Call[R]],
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[tuple[int, Outcome[R]]]:
        """As `map`, but yield outcomes as jobs end, each with the position of its row, from 0.

        One slow row then holds up no other.
        """
        return self._bulk(function, rows, options, ordered=False).run_unordered(rows)

    def _bulk(self, function: Function[P, R], rows: object, options: MapOptions, *, ordered: bool) -> Bulk[R]:
        """One run of `map`, of either face."""
        self._must_be_started()
        check_map(function, rows, options)
        key, cached = options.get("key"), self._cached_calls
        resuming = None if key is None else Resuming(key, function, self._connected.journal(function.name, key))
        return make_bulk(self, function, rows, options, ordered=ordered, cached=cached, resuming=resuming)

    async def gather(self, *calls: Call[R]) -> list[Outcome[R]]:
        """Dispatch calls at once and wait for all outcomes, in the order of the calls.

        Raises:
            CallRefusedError, ServerError: when a call is not accepted; the others run all the same.
            TypeError: one of them is no call; then none is dispatched.
        """
        return await gather(self, calls)

    async def as_completed(
        self,
        handles: Iterable[Handle[R]],
        timeout: timedelta | None = None,
    ) -> AsyncIterator[Handle[R]]:
        """Yield handles as their outcomes arrive; `await handle.outcome()` then returns at once."""
        async for handle in arriving(handles, timeout):
            yield handle

    async def handle(self, job_id: str) -> Handle[object]:
        """A handle on a job dispatched by anybody, also long ago.

        Raises:
            UnknownJobError: the ledger holds no such job.
        """
        status = await self.status(job_id)
        function = self.registry.get(status.function)
        pending = self.collector.expect(job_id)
        self.collector.fetch_soon(pending)
        return Handle(self, pending, function, status.deadline_at)

    @property
    def dead_letters(self) -> DeadLetters:
        """Jobs given up, and messages that never were jobs: list, replay, discard."""
        self._must_be_started()
        return DeadLetters(self.ledger, self.commands, self._connected.publisher, self.settings, self.address)

    async def flush(self, timeout: timedelta = timedelta(seconds=5)) -> bool:
        """Wait until every accepted call has been published; False if that took longer than `timeout`."""
        self._must_be_started()
        check_duration("timeout", timeout)
        return await asyncio.to_thread(self._connected.publisher.flush, timeout.total_seconds())


def _default_selector(registry: Registry, settings: Settings, rules: Sequence[KeywordRule]) -> Selector:
    # Importing what selects, and numpy with it, takes 0.2 s: for those who bring their own selector it need not.
    from dispatcher.client.selecting import make_selector  # noqa: PLC0415

    return make_selector(registry, settings, rules)
