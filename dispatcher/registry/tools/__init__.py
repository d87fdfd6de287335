"""Functions as LLM tools, tool calls as Calls, outcomes as tool results: OpenAI (Chat, Responses), Anthropic and MCP."""
