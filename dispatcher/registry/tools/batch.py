"""The tool calls of one response: read each on its own, answered together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dispatcher.errors import CallRefusedError, DispatcherError, InvalidArgumentsError, InvalidToolCallError
from dispatcher.model.outcome import Cancelled, Expired, Failed, Outcome, Succeeded
from dispatcher.registry.names import from_tool_name
from dispatcher.registry.tools.format import Format, JsonObject, RawToolCall, Reply, ToolCall, ToolFormat
from dispatcher.registry.tools.formats import find_calls

if TYPE_CHECKING:
    from dispatcher.model.call import Call
    from dispatcher.registry.registry import Registry


@dataclass(frozen=True, kw_only=True)
class ToolCallBatch:
    """The tool calls of one response."""

    registry: "Registry"
    format: Format
    #: In the response's order. One that is refused stands among them, with its error.
    calls: tuple[ToolCall, ...]

    def write(self, results: Sequence[str | Outcome[object] | DispatcherError | None]) -> list[JsonObject]:
        """The messages that answer the response, in its format and under its call ids, errors included.

        Args:
            results: one for each of `calls`, in order: an outcome, an error, or a value's JSON text.
                For a call that was refused None will do: its own error is told.

        Raises:
            ValueError: there are more or fewer results than calls, or None for a call that was not refused.
        """
        replies = [(call, self._reply(call, result)) for call, result in zip(self.calls, results, strict=True)]
        return self.format.write(replies)

    def _reply(self, call: ToolCall, result: str | Outcome[object] | DispatcherError | None) -> Reply:
        if call.call is None or result is None:
            if call.error is None:
                msg = f"there is no result for the tool call {call.call_id!r} of {call.name}"
                raise ValueError(msg)
            return Reply(error=describe_error(call.error))
        if isinstance(result, DispatcherError):
            return Reply(error=describe_error(result))
        if not isinstance(result, str | Succeeded):
            return Reply(error=_describe_failure(result))
        function = self.registry.get(call.call.function)
        try:
            text = result if isinstance(result, str) else function.dump_result(result.value)
        except DispatcherError as error:
            return Reply(error=describe_error(error))
        return Reply(value=text, schema=function.result_schema)


def read_tool_calls(registry: "Registry", response: object, format: ToolFormat | None = None) -> ToolCallBatch:  # noqa: A002
    """Read the tool calls of a provider's response. One that is wrong does not spoil the others.

    Args:
        registry: whose functions may be called.
        response: the provider's response as a dict or as an object with `.model_dump()`, the message in it, or its
            tool calls alone.
        format: Default: found out.

    Raises:
        InvalidToolCallError: the response as a whole is of no known format, or not of the given one.
        ValueError: there is no such format.
    """
    found, items = find_calls(response, format)
    calls = tuple(_bind(registry, found.read(item)) for item in items)
    return ToolCallBatch(registry=registry, format=found, calls=calls)


def _bind(registry: "Registry", raw: RawToolCall) -> ToolCall:
    call: Call[object] | None = None
    error: CallRefusedError | None = None
    if raw.problem:
        error = InvalidToolCallError(f"the tool call is malformed: {raw.problem}")
    else:
        try:
            call = registry.bind(from_tool_name(raw.name), raw.arguments, call_id=raw.call_id or None)
        except CallRefusedError as refusal:
            error = refusal
    return ToolCall(call_id=raw.call_id, name=raw.name, call=call, error=error, raw=raw)


def describe_error(error: DispatcherError) -> JsonObject:
    """An error of ours as data for a model: what was wrong, and where."""
    described: JsonObject = {"code": error.code, "message": str(error)}
    if isinstance(error, InvalidArgumentsError):
        described["issues"] = [
            {"location": issue.location, "problem": issue.problem, "kind": issue.kind} for issue in error.issues
        ]
    return described


def _describe_failure(outcome: Failed | Cancelled | Expired) -> JsonObject:
    if isinstance(outcome, Failed):
        error = outcome.error
        return {"code": str(error.kind), "message": str(error), "type": error.type}
    if isinstance(outcome, Cancelled):
        return {"code": "cancelled", "message": "the call was cancelled" + (outcome.reason and f": {outcome.reason}")}
    return {"code": "expired", "message": "the call's deadline passed before it had a result"}
