"""`dispatcher evaluate`: how good the selector is on labelled texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dispatcher.cli.options import AppOption, FolderOption, JsonOption, SkipBadOption, UntrainedOption, UrlOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress, TaskID

    from dispatcher.cli.labelled import Rows
    from dispatcher.cli.output import Output
    from dispatcher.clock import Clock
    from dispatcher.selection.evaluation import Evaluation
    from dispatcher.selection.selector import Selector

#: A run that is over sooner shows no progress, in seconds.
_QUIET_SECONDS = 1.0


def evaluate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.jsonl", help='Rows as {"text": …, "label": a function, several, or null}.')
    ],
    *,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Draw the reliability diagram, the confusion matrix and the ROC curve as PNG files in there.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use only the first N rows.", show_default=False)
    ] = None,
    skip_bad: SkipBadOption = False,
    untrained: UntrainedOption = False,
    folder: FolderOption = None,
    app: AppOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how good the selector is on labelled texts: accuracy, abstention, calibration, confusions, latency.

    It is judged as producers have it: with the model in use, and with what was said since. A model that was trained on
    these very rows is judged too well.

    Exit code 2 when the file cannot be used. How good the selector is never changes the exit code.
    """
    from dispatcher.cli import pictures
    from dispatcher.cli.labelled import take_rows
    from dispatcher.cli.learnt import learnt_selector
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.output import Output
    from dispatcher.cli.report import evaluation_data, show
    from dispatcher.clock import SystemClock

    settings = read_settings(app=app, url=url)
    loaded = load(settings.app)
    output = Output(as_json=as_json)
    if plots is not None:
        pictures.require()
    read = take_rows(file, loaded.registry, output, limit=limit, skip_bad=skip_bad)
    selector = learnt_selector(loaded, settings, folder=folder, untrained=untrained)
    evaluation = _evaluate(selector, read, SystemClock(), output)
    drawn = [] if plots is None else pictures.draw(evaluation, plots)
    if as_json:
        drawn_data = {"pictures": [str(path) for path in drawn]} if plots is not None else {}
        output.json({"file": str(file), "skipped": read.skipped, **evaluation_data(evaluation), **drawn_data})
    else:
        show(output.screen, evaluation)
    for path in drawn:
        output.note(f"drawn: {path}")


def _evaluate(selector: "Selector", read: "Rows", clock: "Clock", output: "Output") -> "Evaluation":
    """Evaluate, with a bar on standard error where that is a terminal and it takes long."""
    from rich.progress import Progress

    from dispatcher.selection.evaluation import evaluate as run

    with Progress(console=output.notes, transient=True, disable=not output.notes.is_terminal) as bar:
        task = bar.add_task("selecting", total=len(read.rows), visible=False)
        return run(selector, read.rows, clock=clock, progress=_stepper(bar, task, clock))


def _stepper(bar: "Progress", task: "TaskID", clock: "Clock") -> "Callable[[], None]":
    start = clock.monotonic()

    def step() -> None:
        bar.update(task, advance=1, visible=clock.monotonic() - start > _QUIET_SECONDS)

    return step
