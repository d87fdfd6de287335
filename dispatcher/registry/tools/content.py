"""The text that a model reads as a tool's result."""

import json
from typing import cast

from dispatcher.registry.tools.format import Reply


def write_text(reply: Reply, *, error_as_json: bool) -> str:
    """A value as JSON text, or as itself if it is text; an error as JSON or as a line.

    Args:
        reply: what became of the call.
        error_as_json: for formats that have no field of their own to say that it is an error.
    """
    if reply.error is not None:
        if error_as_json:
            return json.dumps({"error": reply.error}, ensure_ascii=False)
        return f"{reply.error['code']}: {reply.error['message']}"
    value = cast("str", reply.value)
    loaded = load_value(value) if value.startswith('"') else None
    return loaded if isinstance(loaded, str) else value


def load_value(text: str) -> object:
    """The value of a result's JSON text; the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
