"""Anthropic Messages.

Source: Anthropic API reference, Messages: `tools`, content blocks `tool_use` and `tool_result`.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dispatcher.registry.tools.content import write_text
from dispatcher.registry.tools.format import (
    Format,
    JsonObject,
    RawToolCall,
    Reply,
    ToolCall,
    check_raw,
    find_typed,
    malformed,
    plain,
    type_of,
)

if TYPE_CHECKING:
    from dispatcher.registry.function import Function

_CALL = "tool_use"
#: By any of these a list is known as content blocks.
_KNOWN = {_CALL, "text", "thinking", "redacted_thinking"}


def export(function: "Function[..., object]") -> JsonObject:
    """A tool definition."""
    return {
        "name": function.tool_name,
        "description": function.description,
        "input_schema": copy.deepcopy(function.parameters_schema),
    }


def find(response: object, sure: bool) -> Sequence[object] | None:  # noqa: FBT001 - as `Format.find` has it
    """A message, a list of content blocks, or one block. Text, thinking and the provider's tools are passed over."""
    if isinstance(response, dict) and response.get("role") == "assistant" and "content" in response:
        content = response["content"]
        return find_typed(content, _CALL) if isinstance(content, list) else []
    if isinstance(response, list):
        return find_typed(response, _CALL) if sure or any(type_of(item) in _KNOWN for item in response) else None
    return [response] if type_of(response) == _CALL else None


def read(item: object) -> RawToolCall:
    """One tool call, as it stands."""
    item = plain(item)
    if not isinstance(item, dict):
        return malformed(item, "a block with id, name and input")
    given = item.get("input")
    problem = "" if item.get("type") == _CALL else f"its type is not {_CALL!r}"
    if isinstance(given, str | bytes):
        problem = problem or "its input is text, not an object"
    return check_raw(item.get("id"), item.get("name"), given, problem)


def write(replies: Sequence[tuple[ToolCall, Reply]]) -> list[JsonObject]:
    """One user message with all results: the API takes them only together, right after the message that asked."""
    if not replies:
        return []
    blocks = [
        {
            "type": "tool_result",
            "tool_use_id": call.call_id,
            "content": write_text(reply, error_as_json=False),
            "is_error": reply.error is not None,
        }
        for call, reply in replies
    ]
    return [{"role": "user", "content": blocks}]


FORMAT = Format(export=export, find=find, read=read, write=write)
