"""Selects, binds, dispatches and collects every request."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from dispatcher.cli.demonstration.requests import Request
from dispatcher.client.dispatcher import Dispatcher
from dispatcher.client.handle import Handle
from dispatcher.clock import Clock
from dispatcher.errors import CallRefusedError, NoFunctionSelectedError, OutcomeTimeoutError
from dispatcher.model.job import JobState
from dispatcher.transport.outcomes import JobRecord

#: Requests under way at once: enough to keep every worker busy, few enough that a time says something about a call.
AT_ONCE = 64


@dataclass(kw_only=True, slots=True)
class Tried:
    """What became of one request."""

    request: Request
    #: The selected function; None where the selector abstained.
    function: str | None = None
    #: Why it was not accepted.
    refusal: CallRefusedError | None = None
    #: Empty where it was refused.
    job_id: str = ""
    #: How it ended; None where it was refused, or where no outcome came in time.
    record: JobRecord | None = None
    #: From the dispatch to the outcome, as the producer sees it.
    took: timedelta = field(default=timedelta(0))

    @property
    def accepted(self) -> bool:
        return bool(self.job_id)

    @property
    def ending(self) -> str:
        """In a word: succeeded, failed, cancelled, expired, refused, or missing."""
        if self.refusal is not None:
            return "refused"
        return "missing" if self.record is None else str(self.record.state)

    @property
    def retries(self) -> int:
        return 0 if self.record is None else max(0, self.record.attempts - 1)


async def try_all(
    dispatcher: Dispatcher,
    requests: Sequence[Request],
    *,
    patience: timedelta,
    on_end: Callable[[Tried], None],
) -> list[Tried]:
    """Try every request, many at once, and wait for every outcome.

    Args:
        dispatcher: started.
        requests: what to try.
        patience: how long to wait for all outcomes together; a request without one by then is `missing`.
        on_end: told of each as it ends.

    Raises:
        ServerError: the server cannot be used.
    """
    at_once = asyncio.Semaphore(AT_ONCE)
    end = dispatcher.clock.monotonic() + patience.total_seconds()

    async def run(request: Request) -> Tried:
        async with at_once:
            tried = await _try(dispatcher, request, end)
        on_end(tried)
        return tried

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(request)) for request in requests]
    return [task.result() for task in tasks]


async def _try(dispatcher: Dispatcher, request: Request, end: float) -> Tried:
    tried = Tried(request=request)
    clock = dispatcher.clock
    try:
        selection = await dispatcher.select(request.text)
        tried.function = selection.function
        if selection.function is None:
            raise NoFunctionSelectedError(selection.reason)
        call = selection.bind(request.arguments)
        began = clock.monotonic()
        handle = await dispatcher.dispatch(call)
    except CallRefusedError as refusal:
        tried.refusal = refusal
        return tried
    tried.job_id = handle.id
    tried.record = await _record(handle, clock, end)
    tried.took = timedelta(seconds=clock.monotonic() - began)
    return tried


async def _record(handle: Handle[object], clock: Clock, end: float) -> JobRecord | None:
    try:
        record = await handle.record(timedelta(seconds=max(0.0, end - clock.monotonic())))
        if record.calls[0].state is JobState.SUCCEEDED:
            await handle.outcome()  # the value is read as the declared type too, as any caller would
    except OutcomeTimeoutError:
        return None
    return record
