"""Functions as LLM tools: offered, called and answered in the formats of OpenAI, Anthropic and MCP.

    tools = registry.tools("anthropic")                  # what to offer
    batch = read_tool_calls(registry, response)          # what the model asked for, each checked on its own
    messages = batch.write(outcomes)                     # what it gets back, under its own call ids

Each format is one module with the same four parts, gathered in a `Format`.
"""

from dispatcher.registry.tools.batch import ToolCallBatch, read_tool_calls
from dispatcher.registry.tools.format import Reply, ToolCall, ToolFormat
from dispatcher.registry.tools.formats import export_tool

__all__ = ["Reply", "ToolCall", "ToolCallBatch", "ToolFormat", "export_tool", "read_tool_calls"]
