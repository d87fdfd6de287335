"""Which formats there are, and which of them a response is of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dispatcher.errors import InvalidToolCallError
from dispatcher.registry.tools import anthropic, mcp, openai_chat, openai_responses
from dispatcher.registry.tools.format import Format, JsonObject, ToolFormat, plain

if TYPE_CHECKING:
    from dispatcher.registry.function import Function

#: In the order in which a response is tried on them.
FORMATS: Final[dict[ToolFormat, Format]] = {
    "openai": openai_chat.FORMAT,
    "openai-responses": openai_responses.FORMAT,
    "anthropic": anthropic.FORMAT,
    "mcp": mcp.FORMAT,
}


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        ValueError: there is none.
    """
    for known, found in FORMATS.items():
        if known == name:
            return found
    msg = f"there is no tool format {name!r}; there are {', '.join(FORMATS)}"
    raise ValueError(msg)


def export_tool(function: "Function[..., object]", tool_format: ToolFormat) -> JsonObject:
    """The function as a tool definition.

    Raises:
        ValueError: there is no such format.
    """
    return find_format(tool_format).export(function)


def find_calls(response: object, tool_format: ToolFormat | None) -> tuple[Format, Sequence[object]]:
    """The format of a response, and the tool calls in it as they stand.

    Raises:
        InvalidToolCallError: the response is of no known format, or not of the given one.
        ValueError: there is no such format.
    """
    response = plain(response)
    if isinstance(response, tuple):
        response = list(response)
    wanted = list(FORMATS.values()) if tool_format is None else [find_format(tool_format)]
    if response == []:
        return wanted[0], []
    for candidate in wanted:
        if (calls := candidate.find(response, tool_format is not None)) is not None:
            return candidate, calls
    kind = f"a {type(response).__name__}"
    if isinstance(response, dict):
        kind += " with the keys " + (", ".join(str(key)[:40] for key in list(response)[:10]) or "(none)")
    if tool_format is None:
        msg = f"the response ({kind}) is of none of the formats {', '.join(FORMATS)}; give format=… if it is"
    else:
        msg = f"the response ({kind}) is not of the format {tool_format!r}"
    raise InvalidToolCallError(msg)
