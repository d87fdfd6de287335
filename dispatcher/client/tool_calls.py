"""An LLM's tool calls in, its tool results out; the calls themselves are ordinary jobs."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from dispatcher.errors import DispatcherError
from dispatcher.model.outcome import Outcome
from dispatcher.registry.tools import ToolCall, ToolFormat, read_tool_calls

if TYPE_CHECKING:
    from dispatcher.client.dispatcher import Dispatcher


async def run_tool_calls(
    dispatcher: "Dispatcher",
    response: object,
    format: ToolFormat | None,  # noqa: A002
    timeout: timedelta | None,
) -> list[dict[str, object]]:
    """See `Dispatcher.run_tool_calls`."""
    batch = read_tool_calls(dispatcher.registry, response, format)
    outcomes = await asyncio.gather(*(_run(dispatcher, call, timeout) for call in batch.calls))
    return batch.write(outcomes)


async def _run(
    dispatcher: "Dispatcher",
    tool_call: ToolCall,
    timeout: timedelta | None,
) -> Outcome[object] | DispatcherError:
    if tool_call.call is None:
        return tool_call.error or DispatcherError("the tool call was refused")
    try:
        handle = await dispatcher.dispatch(tool_call.call)
        return await handle.outcome(timeout)
    except DispatcherError as error:
        return error
