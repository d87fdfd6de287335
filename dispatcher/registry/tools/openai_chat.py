"""OpenAI Chat Completions, and the many servers that speak it.

Source: OpenAI API reference, Chat Completions: `tools`, `choices[].message.tool_calls`, messages of role `tool`.
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
from dispatcher.registry.tools.openai_strict import fits_strict_mode

if TYPE_CHECKING:
    from dispatcher.registry.function import Function


def export(function: "Function[..., object]") -> JsonObject:
    """A tool definition."""
    schema = function.parameters_schema
    return {
        "type": "function",
        "function": {
            "name": function.tool_name,
            "description": function.description,
            "parameters": copy.deepcopy(schema),
            "strict": fits_strict_mode(schema),
        },
    }


def find(response: object, sure: bool) -> Sequence[object] | None:  # noqa: FBT001 - as `Format.find` has it
    """A completion (its first choice), an assistant message, a list of tool calls, or one tool call."""
    if isinstance(response, list):
        return response if sure or any(_is_call(plain(item)) for item in response) else None
    if not isinstance(response, dict):
        return None
    if isinstance(choices := response.get("choices"), list):
        choice = plain(choices[0]) if choices else {}
        message = plain(choice.get("message")) if isinstance(choice, dict) else None
        return _calls_of(message) if isinstance(message, dict) else []
    if "tool_calls" in response:
        return _calls_of(response)
    return [response] if _is_call(response) else None


def _calls_of(message: dict[str, object]) -> Sequence[object]:
    calls = message.get("tool_calls")
    if calls is None:
        return []
    return calls if isinstance(calls, list) else [calls]


def _is_call(item: object) -> bool:
    return isinstance(item, dict) and "function" in item


def read(item: object) -> RawToolCall:
    """One tool call, as it stands."""
    item = plain(item)
    if not isinstance(item, dict):
        return malformed(item, "an object with id, type and function")
    function = plain(item.get("function"))
    if item.get("type", "function") != "function":
        return check_raw(item.get("id"), "", None, "its type is not 'function'")
    if not isinstance(function, dict):
        return check_raw(item.get("id"), "", None, "it has no object 'function'")
    return check_raw(item.get("id"), function.get("name"), function.get("arguments"))


def write(replies: Sequence[tuple[ToolCall, Reply]]) -> list[JsonObject]:
    """One message of role `tool` each."""
    return [
        {"role": "tool", "tool_call_id": call.call_id, "content": write_text(reply, error_as_json=True)}
        for call, reply in replies
    ]


FORMAT = Format(export=export, find=find, read=read, write=write)
