"""The producer's face: select, dispatch, collect. For asyncio; `dispatcher.client.sync` is the same without `await`."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack

from dispatcher.client.acceptor import Acceptor
from dispatcher.client.arriving import arriving
from dispatcher.client.bulk import Bulk
from dispatcher.client.cached_calls import CachedCalls, to_invalidate
from dispatcher.client.chooser import Chooser, SelectionCounts
from dispatcher.client.collector import Collector, Pending
from dispatcher.client.gathering import Gathering
from dispatcher.client.handle import Handle
from dispatcher.client.jobs import check_delay, make_job, sendable, time_left
from dispatcher.client.map_options import WINDOW, MapOptions, check_map, make_report
from dispatcher.client.resuming import Resuming
from dispatcher.client.shared_selections import SharedSelections
from dispatcher.client.silence import Silence
from dispatcher.client.tool_calls import run_tool_calls
from dispatcher.client.turns import Turns
from dispatcher.client.verdicts import Opinion
from dispatcher.clock import Clock, SystemClock
from dispatcher.errors import (
    Acceptance,
    InvalidArgumentsError,
    NoFunctionSelectedError,
    ServerUnreachableError,
    SettingsError,
    UnknownJobError,
)
from dispatcher.model.call import Call
from dispatcher.model.job import CANCELLED_BY_PRODUCER, Job, JobStatus, Priority
from dispatcher.model.outcome import Outcome
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.registry.tools import ToolFormat
from dispatcher.selection.rules import KeywordRule
from dispatcher.selection.selection import Selection
from dispatcher.selection.selector import ConversationState, Selector
from dispatcher.settings import Settings
from dispatcher.transport.admission import Admission
from dispatcher.transport.announcements import Announcements
from dispatcher.transport.app import create_app, list_prefix
from dispatcher.transport.broker import Broker
from dispatcher.transport.cache import ResultCache
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect_async, redact, server_errors
from dispatcher.transport.dead_letters import DeadLetters
from dispatcher.transport.embedded import EmbeddedServer, find_server
from dispatcher.transport.failure import SERVER_FAILURES, translate
from dispatcher.transport.feedback_log import RedisFeedbackLog
from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.map_journal import MapJournal
from dispatcher.transport.nodes import nodes_command
from dispatcher.transport.publisher import Publisher
from dispatcher.transport.replies import Accepted
from dispatcher.transport.selection_cache import SharedSelectionCache

logger = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

#: Seconds that a closing dispatcher waits for wake-ups it has not published yet; the sweeper publishes the rest.
FLUSH_TIMEOUT = 5.0
#: Dispatches prepared in one turn of the event loop.
TURN = 100


class Dispatcher:
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
        if selector is not None and rules:
            msg = "give rules to the selector itself, or leave the selector out"
            raise ValueError(msg)
        self.registry = registry
        self.settings = settings or Settings.load()
        self.selector: Selector = selector or _default_selector(registry, self.settings, rules)
        self.clock: Clock = clock or SystemClock()
        self.commands = Commands(self.settings, self.clock)
        #: This producer's id: the name of its announcements' channel.
        self.producer = uuid.uuid4().hex
        self._chooser = Chooser(registry, self.selector, self.settings, clock=self.clock, producer=self.producer)
        self._server: EmbeddedServer | None = None
        self._url: str | None = None
        #: For functions that keep their results; None where there is no server that could.
        self._cached_calls: CachedCalls | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Find the server and subscribe to announcements.

        Raises:
            NoServerError: none is configured, and none could be started.
            ServerError: it cannot be used; the address is named.
        """
        if self._url is not None:
            return
        url, self._server = await asyncio.to_thread(find_server, self.settings)
        #: The server's address without its password.
        self.address = redact(url)
        self._client = connect_async(url, role="producer")
        self._subscriber = connect_async(url, role="collector", blocking=True)
        self.ledger = AsyncLedger(self._client)
        self._cached_calls = CachedCalls(self, ResultCache(self._client, self.commands, self.producer))
        app, origin = create_app(self.settings, url, self.registry), f"producer-{self.producer[:8]}"
        self._publisher = Publisher(Broker(app, origin=origin))
        self._turns = Turns(TURN)
        admission = Admission(
            self.ledger, self.commands, self._publisher, origin=origin, list_prefix=list_prefix(self.settings)
        )
        self._acceptor = Acceptor(admission, self.clock, self.address, self.settings.dispatch_timeout_seconds)
        keys = self.commands.keys
        self.collector = Collector(
            Announcements(self._subscriber, keys, self.producer),
            self.ledger,
            keys=keys,
            settings=self.settings,
            clock=self.clock,
            address=self.address,
            silence=Silence(self._nodes, self.settings, self.clock, self.address),
        )
        self._connect_selector()
        self._url = url
        try:
            with server_errors(self.address):
                await self._start_collecting()
        except BaseException:
            await self.close()
            raise

    def _connect_selector(self) -> None:
        client, keys = self._client, self.commands.keys
        store = None
        if self._chooser.learning is not None:
            from dispatcher.transport.model_store import RedisModelStore  # noqa: PLC0415 - it needs numpy

            store = RedisModelStore(client, keys, self.settings)
        self._chooser.connect(
            RedisFeedbackLog(client, keys, self.settings),
            store,
            SharedSelections(SharedSelectionCache(client, keys, self.settings), self.registry),
        )

    async def _nodes(self) -> Sequence[object]:
        return await self.ledger.run(nodes_command(self.commands.keys))

    async def _start_collecting(self) -> None:
        give_up = self.clock.monotonic() + self.settings.dispatch_timeout_seconds
        while True:
            try:
                await self.collector.start()
            except SERVER_FAILURES as error:
                problem = translate(error, self.address, accepted=Acceptance.NO)
                if not isinstance(problem, ServerUnreachableError) or self.clock.monotonic() >= give_up:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def close(self) -> None:
        """Publish what is left, and let go of the server. Accepted calls go on without us."""
        if self._url is None:
            return
        self._url = None
        await self._chooser.close()
        if self._cached_calls is not None:
            await self._cached_calls.close()
        await self._acceptor.close()
        await self.collector.close()
        await asyncio.to_thread(self._publisher.close, FLUSH_TIMEOUT)
        for client in (self._client, self._subscriber):
            await client.aclose()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

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
        """
        if idempotency_key is None and self._cached_calls is not None:
            function = self.registry.get(call.function)
            if function.options.cache is not None:
                return await self._cached_calls.dispatch(call, deadline=deadline, delay=delay, priority=priority)
        return await self.dispatch_job(
            [call], idempotency_key=idempotency_key, deadline=deadline, delay=delay, priority=priority
        )

    async def dispatch_job(
        self,
        calls: list[Call[R]],
        *,
        idempotency_key: str | None = None,
        deadline: timedelta | datetime | None = None,
        delay: timedelta | None = None,
        priority: Priority | None = None,
    ) -> Handle[R]:
        """Have one job of many calls of one function accepted; its handle gives `outcomes`."""
        function = self.registry.get(calls[0].function)
        job, pending, accepted = await self._accept(
            calls, idempotency_key=idempotency_key, deadline=deadline, delay=delay, priority=priority
        )
        if not accepted.new:
            pending = self.collector.expect(accepted.job_id)
            self.collector.fetch_soon(pending)
            return Handle(self, pending, function, accepted.deadline_at, repeated=True)
        return Handle(self, pending, function, accepted.deadline_at, time_left=job.deadline)

    async def _accept(
        self,
        calls: list[Call[R]],
        *,
        idempotency_key: str | None = None,
        deadline: timedelta | datetime | None = None,
        delay: timedelta | None = None,
        priority: Priority | None = None,
        shared: bool = False,
    ) -> tuple[Job, Pending, Accepted]:
        """Make a job and have it accepted: the job, what its outcome comes to, and the ledger's answer."""
        self._must_be_started()
        await self._turns.take()
        job = self._make_job(
            calls, idempotency_key=idempotency_key, deadline=deadline, delay=delay, priority=priority, shared=shared
        )
        pending = self.collector.expect(job.id)
        accepted = await self._acceptor.accept(job)
        self.collector.server_answered()
        return job, pending, accepted

    def _make_job(
        self,
        calls: list[Call[R]],
        *,
        idempotency_key: str | None = None,
        deadline: timedelta | datetime | None = None,
        delay: timedelta | None = None,
        priority: Priority | None = None,
        shared: bool = False,
    ) -> Job:
        self._must_be_started()
        function = self.registry.get(calls[0].function)
        default = timedelta(seconds=self.settings.default_deadline_seconds)
        left = time_left(function, deadline, default=default, now=self.clock.now())
        if deadline is None and delay is not None:
            check_delay(function, left, delay)
        return make_job(
            function,
            calls,
            producer=self.producer,
            deadline=left,
            delay=delay,
            priority=priority,
            idempotency_key=idempotency_key,
            shared=shared,
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
            right: whether its function was the right one; of an abstention, True: that no function fits.
            function: which function would have been right.
            nothing: that no function fits.
            state: what `select` was given.
            source: who says so, as the rate is bounded for each; None takes the state's user, else this producer.

        Raises:
            ValueError: none of the three was said, or more than one.
            UnknownFunctionError: `function` is not registered.
            NoSelectionError: the selection does not say which function was right or wrong.
            FeedbackRefusedError: the source has said as much as it may within a minute; nothing was learnt.
            ServerError: it may have been logged; it was not learnt here.
        """
        self._must_be_started()
        opinion = Opinion(right=right, function=function, nothing=nothing)
        await self._chooser.feedback(selection, opinion, state=state, source=source)

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
            TypeError: there is no such option, or the rows are one row.
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
        check_map(rows, options)
        key = options.get("key")
        return Bulk(
            self,
            function,
            window=options.get("window", WINDOW),
            calls_per_job=options.get("calls_per_job"),
            deadline=options.get("deadline"),
            ordered=ordered,
            cached=self._cached_calls,
            resuming=None if key is None else Resuming(key, function, self._journal(function, key)),
            report=make_report(function.name, rows, options, self.clock),
        )

    def _journal(self, function: Function[..., Any], key: str) -> MapJournal:
        name = self.commands.keys.map_journal(function.name, key)
        return MapJournal(self._client, name, keep_seconds=self.settings.idempotency_ttl_seconds, address=self.address)

    async def gather(self, *calls: Call[R]) -> list[Outcome[R]]:
        """Dispatch calls at once and wait for all outcomes, in the order of the calls.

        Raises:
            CallRefusedError, ServerError: when a call is not accepted; the others run all the same.
        """
        if any(self._keeps_results(name) for name in {call.function for call in calls}):
            return await self._gather_each(calls)
        return await Gathering(self, calls).run()

    async def _gather_each(self, calls: Iterable[Call[R]]) -> list[Outcome[R]]:
        """As `gather`, with a task for each call."""

        async def run(call: Call[R]) -> Outcome[R]:
            handle = await self.dispatch(call)
            return await handle.outcome()

        return list(await asyncio.gather(*(run(call) for call in calls)))

    def _keeps_results(self, name: str) -> bool:
        return name in self.registry and self.registry.get(name).options.cache is not None

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

    async def status(self, job_id: str) -> JobStatus:
        """What the ledger knows of a job now.

        Raises:
            UnknownJobError: it holds no such job.
            ServerError: it cannot be asked.
        """
        status = await self._ask(self.ledger.status(self.commands.keys, job_id))
        if status is None:
            raise UnknownJobError(job_id)
        return status

    async def cancel(self, job_id: str, reason: str = "", *, hard: bool = False) -> bool:
        """Cancel a job; see `Handle.cancel`."""
        return await self._give_up(job_id, reason, hard=hard, producer="") in {"cancelled", "requested"}

    async def _give_up(self, job_id: str, reason: str, *, hard: bool, producer: str) -> str:
        """As `cancel`; with a producer, only as far as no other shares the job: the ledger's word."""
        reason = sendable(reason) or CANCELLED_BY_PRODUCER
        word = await self._ask(
            self.ledger.run(self.commands.cancel(job_id, reason=reason, hard=hard, producer=producer))
        )
        if word == "unknown":
            raise UnknownJobError(job_id)
        return word

    @property
    def dead_letters(self) -> DeadLetters:
        """Jobs given up, and messages that never were jobs: list, replay, discard."""
        self._must_be_started()
        return DeadLetters(self.ledger, self.commands, self._publisher, self.settings, self.address)

    async def flush(self, timeout: timedelta = timedelta(seconds=5)) -> bool:
        """Wait until every accepted call has been published; False if that took longer than `timeout`."""
        self._must_be_started()
        return await asyncio.to_thread(self._publisher.flush, timeout.total_seconds())

    async def _ask(self, answer: Awaitable[R]) -> R:
        self._must_be_started()
        with server_errors(self.address):
            return await answer

    def _must_be_started(self) -> None:
        if self._url is None:
            msg = "this Dispatcher is not started; use it as `async with Dispatcher(registry) as dispatcher:`"
            raise SettingsError(msg)


def _default_selector(registry: Registry, settings: Settings, rules: Sequence[KeywordRule]) -> Selector:
    # Importing what selects, and numpy with it, takes 0.2 s: for those who bring their own selector it need not.
    from dispatcher.client.selecting import make_selector  # noqa: PLC0415

    return make_selector(registry, settings, rules)
