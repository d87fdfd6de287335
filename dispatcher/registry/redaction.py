"""Arguments as people may see them."""

import json
from typing import Final

#: Stands for a value that must not be seen.
HIDDEN: Final = "***"


def show_arguments(arguments: object, sensitive: frozenset[str], limit: int, max_bytes: int) -> str:
    """The arguments as short text, sensitive ones hidden. Never fails, and never shows what it cannot read.

    Args:
        arguments: JSON text of one object.
        sensitive: arguments whose values are hidden, whole.
        limit: characters of the answer.
        max_bytes: longer texts are not looked into.
    """
    if not isinstance(arguments, str):
        return _cut(f"<{type(arguments).__name__}>", limit)
    if not sensitive:
        return _cut(arguments[: max(limit, 0) + 1].encode(errors="backslashreplace").decode(), limit)
    if len(arguments) > max_bytes:
        return _cut(f"<{len(arguments):,} characters>", limit)
    try:
        values = json.loads(arguments)
        if not isinstance(values, dict):
            return _cut(f"<{type(values).__name__}>", limit)
        shown = json.dumps(
            {name: HIDDEN if name in sensitive else value for name, value in values.items()},
            ensure_ascii=False,
            separators=(",", ":"),
        )
    except (ValueError, RecursionError):
        return _cut(f"<{len(arguments):,} characters that are not JSON>", limit)
    return _cut(shown.encode(errors="backslashreplace").decode(), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"[: max(limit, 0)]
