"""The figures as tables, for a terminal and for docs/scale.md, and as data."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.markdown import heading, line
from benchmarks.scale.needs import (
    KEPT_HOURS,
    PEAKS,
    Cost,
    Limits,
    Load,
    Upkeep,
    breaks_first,
    most_calls_per_day,
    needed,
    producers,
    shards,
)
from benchmarks.values import Unit, write_value
from dispatcher.execution.sweeper import LIMIT, ROUNDS
from dispatcher.settings import Settings

#: Between them the tables stand in docs/scale.md.
MARKERS: Final = ("<!-- scale -->", "<!-- /scale -->")
_MICRO: Final = 1e6
#: From here on a number of bytes is written in the next larger unit.
_UNITS: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """A table."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def write_bytes(value: float) -> str:
    """Bytes for people, with three digits."""
    for size, unit in _UNITS:
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def tables(costs: Mapping[str, Cost], upkeep: Upkeep | None, limits: Limits, calls_per_day: float) -> list[Rows]:
    """Everything that is said."""
    made = [_costs(costs), _needs(costs, limits, calls_per_day), _one_server(costs, limits)]
    if upkeep is not None:
        made.append(_upkeep(upkeep, Settings()))
    return made


def _costs(costs: Mapping[str, Cost]) -> Rows:
    heads = ("calls", "waiting", "kept", "server's core", "requests", "commands", "network", "log of writes",
             "producer's loop")  # fmt: skip
    rows = [
        (
            title,
            write_bytes(cost.waiting_bytes),
            write_bytes(cost.kept_bytes),
            f"{_MICRO * cost.server_seconds:.3g} µs",
            f"{cost.requests:.3g}",
            f"{cost.commands:.3g}",
            write_bytes(cost.in_bytes + cost.out_bytes),
            write_bytes(cost.log_bytes),
            f"{_MICRO * cost.producer_seconds:.3g} µs",
        )
        for title, cost in costs.items()
    ]
    return Rows(title="what one call costs", heads=heads, rows=rows)


def _needs(costs: Mapping[str, Cost], limits: Limits, calls_per_day: float) -> Rows:
    heads = ("calls", "peak", "kept for", "memory", "cores", "network/s", "log/s", "servers", "breaks first",
             "producers' loops")  # fmt: skip
    rows = []
    for title, cost in costs.items():
        for peak in PEAKS:
            for hours in KEPT_HOURS:
                need = needed(cost, Load(calls_per_day=calls_per_day, peak=peak, kept_hours=hours))
                rows.append(
                    (
                        title,
                        f"{peak} ×",
                        f"{hours} h",
                        write_bytes(need.memory_bytes),
                        f"{need.cores:.2g}",
                        write_bytes(need.network_bytes),
                        write_bytes(need.log_bytes),
                        f"{shards(need, limits):,}",
                        breaks_first(need, limits),
                        f"{producers(need, limits):,}" if not math.isnan(need.loops) else "",
                    )
                )
    return Rows(title=f"what {calls_per_day:,.0f} calls a day need", heads=heads, rows=rows)


def _one_server(costs: Mapping[str, Cost], limits: Limits) -> Rows:
    heads = ("calls", *(f"peak {peak} ×, kept for {hours} h" for peak in PEAKS for hours in KEPT_HOURS))
    rows = [
        (
            title,
            *(
                f"{most_calls_per_day(cost, limits, peak=peak, kept_hours=hours) / 1e6:,.0f} million"
                for peak in PEAKS
                for hours in KEPT_HOURS
            ),
        )
        for title, cost in costs.items()
    ]
    return Rows(title="calls a day that one server bears", heads=heads, rows=rows)


def _upkeep(upkeep: Upkeep, settings: Settings) -> Rows:
    interval = settings.sweep_interval_seconds
    due = upkeep.due_rate(LIMIT * ROUNDS, interval)
    lost = upkeep.lost_rate(LIMIT * ROUNDS, interval + settings.republish_grace_seconds)

    def per_gigabyte(seconds: float) -> str:
        return f"{write_value(upkeep.per_gigabyte(seconds), Unit.SECONDS)} a GB"

    rows = [
        ("data that the next four were measured on", write_bytes(upkeep.data_bytes)),
        ("a rewrite of the log, beside the calls", per_gigabyte(upkeep.rewrite_seconds)),
        ("at its begin nobody is answered", per_gigabyte(upkeep.fork_seconds)),
        ("a restart, the log just rewritten", per_gigabyte(upkeep.restart_seconds)),
        ("a restart, the log as it was written", per_gigabyte(upkeep.replay_seconds)),
        ("delayed, retried and lost jobs that come back, at most", write_value(due, Unit.RATE)),
        ("jobs that come back where a broker has lost all messages, at most", write_value(lost, Unit.RATE)),
    ]
    return Rows(title="what a namespace takes beside the calls", heads=("what", "figure"), rows=rows)


def assumptions(limits: Limits) -> str:
    """What the numbers of servers rest on."""
    return (
        f"Taken for granted: a server holds {write_bytes(limits.memory_bytes)} of data, is busy for "
        f"{limits.core:.0%} of its core, moves {write_bytes(limits.network_bytes)}/s over the network and writes "
        f"{write_bytes(limits.log_bytes)}/s of log; a producer's event loop is busy for {limits.loop:.0%}."
    )


def show(screen: Console, made: Iterable[Rows]) -> None:
    """The tables on a terminal."""
    for rows in made:
        table = Table(title=rows.title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for number, head in enumerate(rows.heads):
            table.add_column(head, justify="left" if number == 0 or head == "breaks first" else "right")
        for row in rows.rows:
            table.add_row(*row)
        screen.print(table)
        screen.print()


def markdown(made: Sequence[Rows], foot: Sequence[str]) -> str:
    """The tables as they stand in docs/scale.md.

    Args:
        made: the tables.
        foot: paragraphs below: the assumptions, the machine.
    """
    lines = [MARKERS[0]]
    for rows in made:
        lines += [f"**{rows.title[0].upper()}{rows.title[1:]}**", "", *heading(rows.heads)]
        lines += [*map(line, rows.rows), ""]
    for paragraph in foot:
        lines += [paragraph, ""]
    return "\n".join((*lines[:-1], MARKERS[1]))


def as_data(costs: Mapping[str, Cost], upkeep: Upkeep | None, limits: Limits, calls_per_day: float) -> dict[str, Any]:
    """All numbers: seconds, bytes, and what each load needs."""
    needs = [
        {
            "calls": title,
            "peak": peak,
            "kept_hours": hours,
            **asdict(need := needed(cost, Load(calls_per_day=calls_per_day, peak=peak, kept_hours=hours))),
            "servers": shards(need, limits),
            "breaks_first": breaks_first(need, limits),
        }
        for title, cost in costs.items()
        for peak in PEAKS
        for hours in KEPT_HOURS
    ]
    return {
        "calls_per_day": calls_per_day,
        "limits": asdict(limits),
        "costs": {title: asdict(cost) for title, cost in costs.items()},
        "upkeep": None if upkeep is None else asdict(upkeep),
        "needs": needs,
    }
