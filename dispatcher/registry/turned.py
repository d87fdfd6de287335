"""Values that JSON writes as text, and that nobody reads back as what they were.

`b"abc"`, a date or a Decimal are text in JSON. A parameter that declares such a type makes them of that text again; one
that declares `str`, or nothing, would get the text instead of the value, and never know.
"""

from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Final
from uuid import UUID

_WRITTEN_AS_TEXT: Final = (bytes, bytearray, date, time, timedelta, Decimal, UUID, PurePath)
_NOTHING: Final = object()


def find_turned_into_text(given: object, read: object) -> str | None:
    """Where a value became text, as a path of names and positions like `rows.3.day`; None where none did.

    Args:
        given: Python data, already known to be neither deep nor large.
        read: what was made of the JSON that was written of it.
    """
    stack = [(given, read, "")]
    while stack:
        item, became, path = stack.pop()
        if isinstance(item, _WRITTEN_AS_TEXT):
            if isinstance(became, str):
                return path
        elif isinstance(item, Mapping):
            stack += [(child, _member(became, name), _join(path, name)) for name, child in item.items()]
        elif isinstance(item, list | tuple) and isinstance(became, list | tuple) and len(item) == len(became):
            pairs = enumerate(zip(item, became, strict=True))
            stack += [(child, read_child, _join(path, index)) for index, (child, read_child) in pairs]
    return None


def _member(became: object, name: object) -> object:
    if isinstance(became, Mapping):
        return became.get(name, _NOTHING)
    return getattr(became, name, _NOTHING) if isinstance(name, str) else _NOTHING


def _join(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)
