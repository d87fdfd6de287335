"""The four formats."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dispatcher.registry.function import Function

ToolFormat = Literal["openai", "openai-responses", "anthropic", "mcp"]


def export_tool(function: "Function[..., object]", format: ToolFormat) -> dict[str, object]:
    raise NotImplementedError
