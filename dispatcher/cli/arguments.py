"""Arguments of a call as people type them: one JSON object, or key=value pairs."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from dispatcher.registry.function import Function


def read_arguments(function: Function[..., object], words: Sequence[str]) -> str | dict[str, object]:
    """What `Function.bind` takes.

    One word that begins with a brace is JSON, and `-` is JSON from standard input: both go on as text, so that the
    registry's own strict reading applies. Else every word is `name=value`; a value is JSON if it can be read as JSON,
    and the parameter is no plain text, else text.

    Raises:
        typer.BadParameter: a word is neither, or standard input is no text.
    """
    if list(words) == ["-"]:
        return _standard_input()
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        return words[0]
    properties = function.parameters_schema.get("properties", {})
    arguments: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            msg = f"{word!r} is neither name=value nor a JSON object; see: dispatcher functions {function.name}"
            raise typer.BadParameter(msg)
        if name in arguments:
            msg = f"{name!r} is given twice"
            raise typer.BadParameter(msg)
        schema = properties.get(name) if isinstance(properties, Mapping) else None
        arguments[name] = _value(value, schema)
    return arguments


def _standard_input() -> str:
    """All of it, whatever the locale says of its encoding, and without a byte-order mark."""
    if sys.stdin is None:  # whoever started this process has closed it
        msg = "there is no standard input to read"
        raise typer.BadParameter(msg)
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        msg = "standard input is not UTF-8"
        raise typer.BadParameter(msg) from None


def _value(text: str, schema: object) -> object:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, str) or not isinstance(schema, Mapping):
        return value
    # 2024 for a title is text; "2024" in quotes is the text 2024. A decimal stays as typed: 12.50 is not 12.5.
    return text if schema.get("type") == "string" or _is_decimal(schema) else value


def _is_decimal(schema: Mapping[str, object]) -> bool:
    kinds = schema.get("anyOf")
    if not isinstance(kinds, list):
        return False
    return {kind.get("type") for kind in kinds if isinstance(kind, Mapping)} == {"number", "string"}


def read_object(text: str) -> dict[str, object]:
    """A JSON object given as the value of an option.

    Raises:
        typer.BadParameter: it is something else.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"--arguments must be a JSON object: {error}"
        raise typer.BadParameter(msg) from None
    if not isinstance(value, dict):
        msg = f"--arguments must be a JSON object, not {type(value).__name__}"
        raise typer.BadParameter(msg)
    return value
