"""Options that several commands share, and how their values are read."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
#: Longer than any job may live; what is above it is a slip of the keyboard.
_LONGEST_SECONDS = 366 * 86_400


def duration(text: str) -> timedelta:
    """Read `30`, `1.5s`, `250ms`, `5m`, `1h30m` or `2d`; a number alone means seconds."""
    parts = _PART.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        msg = f"{text!r} is no duration; write 30s, 250ms, 5m, 1h30m or 2d"
        raise typer.BadParameter(msg)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > _LONGEST_SECONDS:
        msg = f"{text!r} is longer than a year"
        raise typer.BadParameter(msg)
    return timedelta(seconds=seconds)


AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE:NAME",
        help="Where the registry is, looked up from the current folder. Default: DISPATCHER_APP, else tasks:registry.",
        show_default=False,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The Redis/Valkey server. Default: DISPATCHER_URL, else an embedded server in the state folder.",
        show_default=False,
    ),
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="PATH",
        help="Models are kept in there, instead of on the server; then there is no feedback log.",
        show_default=False,
    ),
]
UntrainedOption = Annotated[
    bool, typer.Option("--untrained", help="As the code alone makes it: no model, nothing that was said, no server.")
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows that cannot be judged, instead of refusing the file.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write JSON, and nothing else, to standard output; words go to standard error.")
]
