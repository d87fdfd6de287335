"""Model Context Protocol.

Source: MCP specification 2025-06-18, Server features, Tools: `tools/list`, `tools/call`, structured content.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from dispatcher.registry.tools.content import load_value, write_text
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

_METHOD = "tools/call"
#: The key of a result that is no object, since structured content must be one.
_RESULT = "result"


def export(function: "Function[..., object]") -> JsonObject:
    """A tool definition; what is no object is promised as the `result` of one."""
    tool: JsonObject = {
        "name": function.tool_name,
        "description": function.description,
        "inputSchema": copy.deepcopy(function.parameters_schema),
    }
    schema = copy.deepcopy(function.result_schema)
    if schema.get("type") == "object":
        tool["outputSchema"] = schema
    elif schema:
        definitions = schema.pop("$defs", None)
        tool["outputSchema"] = {
            "type": "object",
            "properties": {_RESULT: schema},
            "required": [_RESULT],
            **({} if definitions is None else {"$defs": definitions}),
        }
    return tool


def find(response: object, sure: bool) -> Sequence[object] | None:  # noqa: FBT001 - as `Format.find` has it
    """A request `tools/call` with or without its JSON-RPC frame, its params alone, or a list of these."""
    if isinstance(response, list):
        return response if sure or any(_is_call(plain(item)) for item in response) else None
    return [response] if _is_call(response) else None


def _is_call(item: object) -> bool:
    if not isinstance(item, dict) or "type" in item:
        return False
    return "method" in item or ("name" in item and "arguments" in item)


def read(item: object) -> RawToolCall:
    """One tool call, as it stands."""
    item = plain(item)
    if not isinstance(item, dict):
        return malformed(item, "a request tools/call")
    problem = ""
    params: object = item
    if "method" in item or "jsonrpc" in item or "params" in item:
        params = plain(item.get("params"))
        if item.get("method") != _METHOD:
            problem = f"its method is not {_METHOD!r}"
        elif not isinstance(params, dict):
            problem = "it has no object 'params'"
    if not isinstance(params, dict):
        params = {}
    given, request_id = params.get("arguments"), item.get("id")
    if isinstance(given, str | bytes):
        problem = problem or "its arguments are text, not an object"
    # Ids are text or integers; params alone have none, and are answered all the same.
    known = isinstance(request_id, str | int) and not isinstance(request_id, bool)
    call_id = str(request_id) if known else ""
    raw = replace(check_raw(call_id or "-", params.get("name"), given, problem), call_id=call_id)
    return replace(raw, request=item if "jsonrpc" in item else None)


def write(replies: Sequence[tuple[ToolCall, Reply]]) -> list[JsonObject]:
    """One CallToolResult each, in the JSON-RPC frame of its request if it came in one."""
    return [_frame(call.raw.request, _write_result(reply)) for call, reply in replies]


def _write_result(reply: Reply) -> JsonObject:
    text = write_text(reply, error_as_json=False)
    result: JsonObject = {"content": [{"type": "text", "text": text}], "isError": reply.error is not None}
    if reply.error is None:
        value, schema = load_value(cast("str", reply.value)), reply.schema or {}
        if schema.get("type") == "object" or (not schema and isinstance(value, dict)):
            result["structuredContent"] = value
        elif schema:
            result["structuredContent"] = {_RESULT: value}
    return result


def _frame(request: Mapping[str, object] | None, result: JsonObject) -> JsonObject:
    if request is None:
        return result
    return {"jsonrpc": "2.0", "id": request.get("id"), "result": result}


FORMAT = Format(export=export, find=find, read=read, write=write)
