"""An LLM's tool calls in, its tool results out; the calls themselves are ordinary jobs."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

from dispatcher.errors import DispatcherError
from dispatcher.model.duration import check_duration
from dispatcher.model.outcome import Outcome
from dispatcher.registry.names import explain_unknown
from dispatcher.registry.tools import ToolCall, ToolFormat, read_tool_calls
from dispatcher.selection.selector import names_allowed

if TYPE_CHECKING:
    from dispatcher.client.dispatcher import Dispatcher


async def run_tool_calls(
    dispatcher: "Dispatcher",
    response: object,
    format: ToolFormat | None,  # noqa: A002
    timeout: timedelta | None,
    only: Collection[str] | None = None,
) -> list[dict[str, object]]:
    """See `Dispatcher.run_tool_calls`."""
    if timeout is not None:
        check_duration("timeout", timeout)  # before any call is dispatched
    registry, names = dispatcher.registry, names_allowed(only)
    allowed = None if names is None else {registry.get(name).name for name in names if name in registry}
    batch = read_tool_calls(registry, response, format)
    outcomes = await asyncio.gather(*(_run(dispatcher, call, timeout, allowed) for call in batch.calls))
    return batch.write(outcomes)


async def _run(
    dispatcher: "Dispatcher",
    tool_call: ToolCall,
    timeout: timedelta | None,
    allowed: Collection[str] | None,
) -> Outcome[object] | DispatcherError:
    if tool_call.call is None:
        return tool_call.error or DispatcherError("the tool call was refused")
    if allowed is not None and tool_call.call.function not in allowed:
        # As if it were not there: which others there are is none of the model's business.
        return explain_unknown(tool_call.call.function, allowed)
    try:
        handle = await dispatcher.dispatch(tool_call.call)
        return await handle.outcome(timeout)
    except DispatcherError as error:
        return error
