"""The figures as tables for a terminal, as a table for the docs, and as data."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.markdown import heading, line
from benchmarks.selection.figures import Figure
from benchmarks.values import write_target, write_value

#: Between them the table stands in the docs.
MARKERS = ("<!-- bench-selection -->", "<!-- /bench-selection -->")

_HEADS = ("run", "measure", "figure", "95 %", "rows", "before", "target", "reached")
_MARKDOWN_HEADS = ("data", "run", "measure", "figure", "before", "target", "reached")


def show(screen: Console, figures: Iterable[Figure], kinds: Mapping[str, str]) -> None:
    """Write a table for each data set.

    Args:
        screen: where to.
        figures: those of a data set one after the other.
        kinds: what stands beside the name of each data set.
    """
    for data, own in groupby(figures, key=lambda figure: figure.data):
        kind = kinds.get(data)
        title = f"\n{data}" + (f" ({kind})" if kind else "")
        table = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False)
        for head in _HEADS:
            table.add_column(head, justify="right" if head in {"figure", "95 %", "rows"} else "left")
        previous = ""
        for figure in own:
            run = figure.run if figure.run != previous else ""
            previous = figure.run
            table.add_row(*map(Text, (run, *_cells(figure))), style=_STYLES[figure.reached])
        screen.print(table)


_STYLES: Mapping[bool | None, str] = {True: "green", False: "red", None: ""}


def _cells(figure: Figure) -> tuple[str, ...]:
    between = ""
    if figure.interval is not None:
        low, high = (write_value(bound, figure.unit).removesuffix(" %") for bound in figure.interval)
        between = f"{low} to {high}"
    return (
        figure.measure,
        write_value(figure.value, figure.unit),
        between,
        f"{figure.rows:,}" if figure.rows else "",
        *_promise(figure),
    )


def _promise(figure: Figure) -> tuple[str, str, str]:
    """What was measured before, what was promised, and whether it is kept."""
    target = figure.target
    reached = {True: "yes", False: "no", None: ""}[figure.reached]
    return target.baseline if target is not None else "", write_target(target, figure.unit), reached


def summarise(figures: Sequence[Figure]) -> str:
    """How many targets are reached, in a sentence."""
    known = [figure.reached for figure in figures if figure.reached is not None]
    if not known:
        return "no target is known for this data"
    return f"{sum(known)} of {len(known)} targets reached"


def markdown(figures: Iterable[Figure], foot: str) -> str:
    """The table as it stands in the docs, between its markers.

    Args:
        figures: all of them.
        foot: a line below: the machine and the versions.
    """
    lines = [MARKERS[0], *heading(_MARKDOWN_HEADS)]
    for figure in figures:
        value = write_value(figure.value, figure.unit)
        bold = f"**{value}**" if figure.target is not None else value
        lines.append(line((figure.data, figure.run, figure.measure, bold, *_promise(figure))))
    return "\n".join((*lines, "", foot, MARKERS[1]))


def as_data(figure: Figure) -> dict[str, Any]:
    """A figure as JSON data: shares and errors from 0 to 1, times in seconds, memory in bytes."""
    target = figure.target
    return {
        "data": figure.data,
        "run": figure.run,
        "measure": figure.measure,
        "value": figure.value,
        "unit": str(figure.unit),
        "rows": figure.rows,
        "interval": None if figure.interval is None else list(figure.interval),
        "target": None
        if target is None
        else {"at_least": target.at_least, "at_most": target.at_most, "before": target.baseline},
        "reached": figure.reached,
    }
