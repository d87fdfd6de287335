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
    malformed,
    plain,
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
        return _calls_of(content) if isinstance(content, list) else []
    if isinstance(response, list):
        return _calls_of(response) if sure or any(_type_of(item) in _KNOWN for item in response) else None
    return [response] if _type_of(response) == _CALL else None


def _calls_of(content: Sequence[object]) -> Sequence[object]:
    return [block for block in content if _type_of(block) in {_CALL, ""}]


def _type_of(block: object) -> str:
    """The type a block says it has; empty where it says none."""
    block = plain(block)
    return str(block.get("type", "")) if isinstance(block, dict) else ""


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
