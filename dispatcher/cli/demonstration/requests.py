"""The demo's requests: a JSON Lines file, one request a line.

    {"id": "r1", "text": "count the words: a b", "arguments": {…}?, "expect": "text.count_words"?, "also": […]?,
     "outcome": "succeeded" | "failed" | "refused"?}

`expect` names the function that should be selected, or `none`; `also` names others that are as good. `outcome` says how
it should end.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dispatcher.cli.command import CommandError

#: `expect` of a request that no function fits.
NONE: Final = "none"
_FIELDS: Final = frozenset({"id", "text", "arguments", "expect", "also", "outcome", "note"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request."""

    id: str
    text: str
    #: What the function needs beyond the text.
    arguments: Mapping[str, object] = field(default_factory=dict)
    #: The functions of which any would be right; `none` for no function; empty where the file does not say.
    expected: frozenset[str] = frozenset()
    #: How it should end; empty where the file does not say.
    outcome: str = ""

    def selects_right(self, function: str | None) -> bool:
        """Whether that function, or None for an abstention, is what the file expects."""
        return (NONE if function is None else function) in self.expected


def read_requests(path: Path) -> list[Request]:
    """Read the file.

    Raises:
        CommandError: there is no such file, or a line of it is no request.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        msg = (
            f"there is no file {path}; the demo's requests are in the repository, not in the package: run it from a "
            "clone (make demo), or name a file of your own with --requests"
        )
        raise CommandError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read {path}: {error}"
        raise CommandError(msg) from None
    requests = list(_read_lines(path, lines))
    if not requests:
        msg = f"{path} holds no request"
        raise CommandError(msg)
    return requests


def _read_lines(path: Path, lines: Iterable[str]) -> Iterable[Request]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _read(json.loads(line), f"line-{number}")
        except (ValueError, TypeError, RecursionError) as error:
            msg = f"{path}, line {number}: {error}"
            raise CommandError(msg) from None


def _read(data: Any, default_id: str) -> Request:  # noqa: ANN401 - JSON
    if not isinstance(data, dict) or not isinstance(data.get("text"), str):
        msg = 'a request is an object with a "text"'
        raise TypeError(msg)
    unknown = sorted(data.keys() - _FIELDS)
    if unknown:
        msg = f"unknown field {unknown[0]!r}"
        raise ValueError(msg)
    arguments = data.get("arguments") or {}
    if not isinstance(arguments, dict):
        msg = '"arguments" must be an object'
        raise TypeError(msg)
    expect = [data["expect"]] if "expect" in data else []
    return Request(
        id=str(data.get("id", default_id)),
        text=data["text"],
        arguments=arguments,
        expected=frozenset(map(str, (*expect, *data.get("also", ())))),
        outcome=str(data.get("outcome", "")),
    )
