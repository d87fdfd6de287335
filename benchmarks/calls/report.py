"""The figures as tables for a terminal, as a table for the README, and as data."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.calls.contestants import OURS
from benchmarks.calls.figures import TITLES, Figure
from benchmarks.calls.runs import Median
from benchmarks.markdown import heading, line
from benchmarks.values import Unit, write_target, write_value

#: Between them the table stands in the README.
MARKERS = ("<!-- bench -->", "<!-- /bench -->")

_RIGHT = {"calls", "rate", "time", "p50", "p99", "producer", "worker", "server", "processor", "times ours", "figure"}
_PEER_HEADS = ("", "calls", "time", "rate", "p50", "p99", "producer", "worker", "server", "processor", "times ours")
_FIGURE_HEADS = ("work", "measure", "figure", "target", "held", "from", "before")
_MARKDOWN_HEADS = ("work", "measure", "figure", "target", "held", "from")
_STYLES: Mapping[bool | None, str] = {True: "green", False: "red", None: ""}
_HELD: Mapping[bool | None, str] = {True: "yes", False: "no", None: ""}


def show_medians(screen: Console, medians: Sequence[Median]) -> None:
    """A table for each kind of work: everybody's medians, the processor time split by who used it."""
    for work, own in groupby(medians, key=lambda median: median.work):
        listed = list(own)
        ours = next((median for median in listed if median.contestant == OURS), None)
        _print(screen, TITLES[work], _PEER_HEADS, [(_peer_cells(median, ours), "") for median in listed])
    if medians:
        screen.print("Processor time is of one call. Rates and costs are comparable where numbers of calls differ.")


def _peer_cells(median: Median, ours: Median | None) -> tuple[str, ...]:
    cpu = median.cpu
    return (
        median.contestant,
        f"{median.calls:,}",
        write_value(median.seconds, Unit.SECONDS),
        write_value(median.rate, Unit.RATE),
        *("" if value is None else write_value(value, Unit.SECONDS) for value in (median.p50, median.p99)),
        *(f"{1e6 * value:,.0f} µs" for value in (cpu.producer, cpu.worker, cpu.server, cpu.total)),
        "" if ours is None or median is ours else f"{median.cpu.total / ours.cpu.total:.3g}",
    )


def show_figures(screen: Console, figures: Iterable[Figure]) -> None:
    """Our figures, what is promised of them, and whether it is kept."""
    rows = [(_figure_cells(figure), _STYLES[figure.held]) for figure in figures]
    _print(screen, "figures and targets", _FIGURE_HEADS, rows)


def _figure_cells(figure: Figure) -> tuple[str, ...]:
    target = figure.target
    return (
        TITLES[figure.work],
        figure.measure,
        write_value(figure.value, figure.unit),
        write_target(target, figure.unit),
        _HELD[figure.held],
        figure.note,
        target.baseline if target is not None else "",
    )


def _print(screen: Console, title: str, heads: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]) -> None:
    table = Table(title=Text(f"\n{title}", style="bold"), title_justify="left", box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in _RIGHT else "left")
    for cells, style in rows:
        table.add_row(*map(Text, cells), style=style)
    screen.print(table)


def summarise(figures: Iterable[Figure]) -> str:
    """How many targets are held, in a sentence."""
    known = [figure.held for figure in figures if figure.held is not None]
    return f"{sum(known)} of {len(known)} targets held" if known else "no target was measured"


def markdown(medians: Sequence[Median], figures: Iterable[Figure], foot: str) -> str:
    """The tables as they stand in the README, between their markers.

    Args:
        medians: of everybody.
        figures: ours.
        foot: a line below: the machine and the versions.
    """
    lines = [MARKERS[0]]
    for work, own in groupby(medians, key=lambda median: median.work):
        lines += [f"**{TITLES[work]}**", "", *heading(["contestant", *_PEER_HEADS[1:-1]])]
        lines += [*(line(_peer_cells(median, None)[:-1]) for median in own), ""]
    lines += heading(_MARKDOWN_HEADS)
    lines += [line(_figure_cells(figure)[: len(_MARKDOWN_HEADS)]) for figure in figures]
    return "\n".join((*lines, "", foot, MARKERS[1]))


def median_as_data(median: Median) -> dict[str, Any]:
    """Medians as JSON data: times in seconds, processor time in microseconds a call."""
    cpu = median.cpu
    return {
        "contestant": median.contestant,
        "work": median.work,
        "calls": median.calls,
        "rounds": median.rounds,
        "seconds": round(median.seconds, 4),
        "rate": round(median.rate, 1),
        "p50_us": None if median.p50 is None else round(1e6 * median.p50),
        "p99_us": None if median.p99 is None else round(1e6 * median.p99),
        "cpu_us_per_call": {
            name: round(1e6 * value, 1)
            for name, value in (
                ("producer", cpu.producer),
                ("worker", cpu.worker),
                ("server", cpu.server),
                ("total", cpu.total),
            )
        },
    }


def figure_as_data(figure: Figure) -> dict[str, Any]:
    """A figure as JSON data: times in seconds, memory in bytes."""
    target = figure.target
    return {
        "work": figure.work,
        "measure": figure.measure,
        "value": figure.value,
        "unit": str(figure.unit),
        "note": figure.note,
        "target": None if target is None else {"at_least": target.at_least, "at_most": target.at_most},
        "held": figure.held,
    }
