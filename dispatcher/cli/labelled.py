"""Labelled texts from a JSON Lines file, one row a line.

    {"text": "count the words: a b", "label": "text.count_words"}
    {"text": "book me a flight", "label": null}
    {"text": "sort the names, each once", "label": ["data.sort_records", "data.deduplicate"]}

`function` is another word for `label`. A list means that any of its functions is right. No function is right where the
label is null, empty or "oos". Other fields are left alone: data sets bring their own.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from dispatcher.cli.command import CommandError
from dispatcher.cli.output import Output
from dispatcher.registry.registry import Registry
from dispatcher.selection.evaluation import Labelled

#: What a data set calls "out of scope", unless a function of that name is registered.
_NONE: Final = "oos"
#: The exit code of a file that cannot be used, as of any wrong use.
WRONG_USE: Final = 2
#: Problems that an error lists; a file of another kind has one in each line.
_SHOWN: Final = 10


class RowsError(CommandError):
    """A file of labelled texts cannot be read, or holds rows that cannot be judged."""

    code = "rows"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What a file holds."""

    rows: tuple[Labelled, ...]
    #: What is wrong with the rows that were left out, each with the number of its line.
    problems: tuple[str, ...]
    #: How many rows were left out.
    skipped: int


class _UnknownLabelError(Exception):
    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.label = label


def read_rows(path: Path, registry: Registry, *, limit: int | None = None, skip_bad: bool = False) -> Rows:
    """Read the rows of a file.

    Args:
        path: of the file, in UTF-8.
        registry: whose functions the labels name, by name or alias.
        limit: read no more than so many good rows.
        skip_bad: leave out what cannot be judged.

    Raises:
        RowsError: the file cannot be read, or holds no row; without `skip_bad`, also where a row cannot be judged.
    """
    rows: list[Labelled] = []
    broken: list[str] = []
    unknown: dict[str, list[int]] = {}
    try:
        # The lines of a file, not of `splitlines`, which also cuts at characters that may stand inside a JSON text.
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if limit is not None and len(rows) >= limit:
                    break
                if not line.strip():
                    continue
                try:
                    rows.append(_read(line, registry))
                except _UnknownLabelError as error:
                    unknown.setdefault(error.label, []).append(number)
                except (ValueError, TypeError, RecursionError) as error:
                    broken.append(f"line {number}: {error}")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        msg = f"cannot read {path}: {reason}"
        raise RowsError(msg) from None
    skipped = len(broken) + sum(map(len, unknown.values()))
    problems = (*_first(broken), *_unknown_labels(unknown))
    if problems and not skip_bad:
        msg = "\n  ".join([f"{path}: {_rows(skipped)} cannot be judged; --skip-bad leaves them out", *problems])
        raise RowsError(msg)
    if not rows:
        msg = f"{path} holds no row" + (" that can be judged" if skipped else "")
        raise RowsError(msg)
    return Rows(rows=tuple(rows), problems=problems, skipped=skipped)


def take_rows(path: Path, registry: Registry, output: Output, *, limit: int | None = None, skip_bad: bool) -> Rows:
    """The same for a command: says what was left out.

    Raises:
        typer.Exit: for the same reasons, which were said.
    """
    try:
        read = read_rows(path, registry, limit=limit, skip_bad=skip_bad)
    except RowsError as error:
        output.error(error, dispatches=False)
        raise typer.Exit(WRONG_USE) from None
    if read.skipped:
        output.note("\n  ".join([f"left out of {path}: {read.skipped}", *read.problems]))
    return read


def _read(line: str, registry: Registry) -> Labelled:
    try:
        data = json.loads(line)
    except ValueError as error:
        msg = f"no JSON: {error}"
        raise ValueError(msg) from None
    if not isinstance(data, dict):
        msg = 'a row is an object with a "text" and a "label"'
        raise TypeError(msg)
    if not isinstance(data.get("text"), str):
        msg = 'no "text"' if "text" not in data else '"text" is no text'
        raise TypeError(msg)
    found = [name for name in ("label", "function") if name in data]
    if not found:
        msg = 'no "label"; write null where no function fits'
        raise ValueError(msg)
    return Labelled(text=data["text"], labels=_labels(data[found[0]], registry))


def _labels(label: object, registry: Registry) -> tuple[str, ...]:
    if label is None or label == "" or (label == _NONE and _NONE not in registry):
        return ()
    given = label if isinstance(label, list) else [label]
    names = [name for name in given if isinstance(name, str) and name]
    if len(names) < len(given):
        msg = "a label is a function's name, a list of names, or null"
        raise TypeError(msg)
    for name in names:
        if name not in registry:
            raise _UnknownLabelError(name)
    # An alias counts as its function; a function is listed once.
    return tuple(dict.fromkeys(registry.get(name).name for name in names))


def _first(problems: list[str]) -> Iterable[str]:
    yield from problems[:_SHOWN]
    if len(problems) > _SHOWN:
        yield f"and {len(problems) - _SHOWN} more lines"


def _unknown_labels(lines: dict[str, list[int]]) -> Iterable[str]:
    """The unknown labels in one line, the most frequent first."""
    if lines:
        ranked = sorted(lines.items(), key=lambda item: -len(item[1]))
        shown = [f"{label!r} ({_rows(len(where))}, first in line {where[0]})" for label, where in ranked[:_SHOWN]]
        more = f" and {len(ranked) - _SHOWN} more" if len(ranked) > _SHOWN else ""
        yield f"labels that are not registered: {', '.join(shown)}{more}"


def _rows(count: int) -> str:
    return f"{count} row{'s' if count != 1 else ''}"
