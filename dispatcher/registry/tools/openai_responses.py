"""OpenAI Responses.

Source: OpenAI API reference, Responses: `tools`, output items `function_call`, input items `function_call_output`.
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
from dispatcher.registry.tools.openai_strict import fits_strict_mode

if TYPE_CHECKING:
    from dispatcher.registry.function import Function

_CALL = "function_call"
#: By any of these a list is known as output items.
_KNOWN = {_CALL, "message", "reasoning"}


def export(function: "Function[..., object]") -> JsonObject:
    """A tool definition; `strict` is always said, since here it is on where it is left out."""
    schema = function.parameters_schema
    return {
        "type": "function",
        "name": function.tool_name,
        "description": function.description,
        "parameters": copy.deepcopy(schema),
        "strict": fits_strict_mode(schema),
    }


def find(response: object, sure: bool) -> Sequence[object] | None:  # noqa: FBT001 - as `Format.find` has it
    """A response, a list of output items, or one item. Messages, reasoning and others' tools are passed over."""
    if isinstance(response, dict) and isinstance(response.get("output"), list):
        return find_typed(response["output"], _CALL)
    if isinstance(response, list):
        return find_typed(response, _CALL) if sure or any(type_of(item) in _KNOWN for item in response) else None
    return [response] if type_of(response) == _CALL else None


def read(item: object) -> RawToolCall:
    """One tool call, as it stands."""
    item = plain(item)
    if not isinstance(item, dict):
        return malformed(item, "an object with call_id, name and arguments")
    problem = "" if item.get("type") == _CALL else f"its type is not {_CALL!r}"
    return check_raw(item.get("call_id"), item.get("name"), item.get("arguments"), problem)


def write(replies: Sequence[tuple[ToolCall, Reply]]) -> list[JsonObject]:
    """One input item each."""
    return [
        {"type": "function_call_output", "call_id": call.call_id, "output": write_text(reply, error_as_json=True)}
        for call, reply in replies
    ]


FORMAT = Format(export=export, find=find, read=read, write=write)
