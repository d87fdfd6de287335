"""`dispatcher train`: a model from examples and from what was said, where it is better than the one in use."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dispatcher.cli.options import AppOption, FolderOption, JsonOption, SkipBadOption, UrlOption

if TYPE_CHECKING:
    from dispatcher.cli.model_places import ModelPlace
    from dispatcher.cli.output import Output
    from dispatcher.cli.retrain import Asked, Ended
    from dispatcher.selection.retraining import Score


def train(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE.jsonl …]", help='Rows as {"text": …, "label": a function, or null}.', show_default=False
        ),
    ] = None,
    *,
    validation: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Learn from these how the tiers hold together, then their words too. Default: folds of the examples.",
            show_default=False,
        ),
    ] = None,
    skip_bad: SkipBadOption = False,
    words_only: Annotated[bool, typer.Option("--words-only", help="Without a sentence encoder.")] = False,
    every: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Again and again, until Ctrl-C.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Train and compare; keep nothing.")] = False,
    plots: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Draw the learning curves as a PNG file in there.", show_default=False),
    ] = None,
    folder: FolderOption = None,
    app: AppOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model from the registry's examples, files of labelled texts, and the feedback on the server.

    It takes the place of the one in use only where it is better on texts that both have not seen. Exit code 1 where
    there is too little to learn from.
    """
    import asyncio

    from dispatcher.cli import pictures
    from dispatcher.cli.labelled import take_rows
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.model_places import in_folder, on_server
    from dispatcher.cli.output import Output
    from dispatcher.cli.retrain import Asked
    from dispatcher.cli.server import server_in_use
    from dispatcher.client.selecting import NONE, find_meaning
    from dispatcher.selection.example import Example

    settings = read_settings(app=app, url=url)
    loaded = load(settings.app)
    registry = loaded.registry
    output = Output(as_json=as_json)
    if plots is not None:
        pictures.require()
    given, checked = (
        [row for file in some for row in take_rows(file, registry, output, skip_bad=skip_bad).rows]
        for some in (files or [], [] if validation is None else [validation])
    )
    asked = Asked(
        registry=registry,
        rules=loaded.rules,
        rows=given,
        validation=[Example(text=row.text, function=row.labels[0] if row.labels else None) for row in checked],
        meaning=lambda: find_meaning(NONE if words_only else settings.encoder),
        dry_run=dry_run,
    )
    if folder is not None:
        asyncio.run(_train(asked, in_folder(folder, settings), output, every, plots))
        return
    with server_in_use(settings) as server:

        async def work() -> None:
            async with on_server(server.settings, server.url, server.address) as place:
                await _train(asked, place, output, every, plots)

        asyncio.run(work())


async def _train(
    asked: "Asked", place: "ModelPlace", output: "Output", every: float | None, plots: Path | None
) -> None:
    """Once, or again and again: then what stands in the way of one training is said, and the next is tried."""
    import asyncio

    from dispatcher.errors import DispatcherError

    if every is None:
        await _train_once(asked, place, output, plots, one_line=False)
        return
    while True:
        try:
            await _train_once(asked, place, output, plots, one_line=True)
        except DispatcherError as error:
            output.note(str(error))
        await asyncio.sleep(every)


async def _train_once(
    asked: "Asked", place: "ModelPlace", output: "Output", plots: Path | None, *, one_line: bool
) -> None:
    from dispatcher.cli.retrain import retrain
    from dispatcher.clock import SystemClock

    # Where nobody looks on, as in a log, each step would be a line of noise.
    with output.notes.status("beginning") as status:
        ended = await retrain(asked, place, SystemClock().now(), status.update)
    drawn = _draw(ended, plots)
    if output.as_json:
        output.json({**_data(ended, asked), **({"pictures": drawn} if plots is not None else {})}, one_line=one_line)
    else:
        _show(output, ended, asked)
    for path in drawn:
        output.note(f"drawn: {path}")


def _draw(ended: "Ended", plots: Path | None) -> list[str]:
    from dispatcher.cli import pictures

    if plots is None:
        return []
    plots.mkdir(parents=True, exist_ok=True)
    path = plots / "learning-curves.png"
    pictures.plot_learning_curves(ended.challenger.model.curves, path)
    return [str(path)]


def _data(ended: "Ended", asked: "Asked") -> dict[str, object]:
    gathered = ended.challenger.gathered
    return {
        "texts": dict(gathered.sources),
        "examples": len(gathered.examples),
        "held_out": len(gathered.held_out),
        "sources_left_out": list(ended.challenger.left_out),
        "challenger": _score_data(ended.challenger.score),
        "champion": ended.champion,
        "before": _score_data(ended.before),
        "better": ended.better,
        "promoted": ended.version,
        "dry_run": asked.dry_run,
    }


def _score_data(score: "Score") -> dict[str, float]:
    return {"accuracy": round(score.accuracy, 6), "loss": round(score.loss, 6), "cost": round(score.cost, 6)}


def _show(output: "Output", ended: "Ended", asked: "Asked") -> None:
    from rich.table import Table
    from rich.text import Text

    gathered = ended.challenger.gathered
    where = ", ".join(f"{count:,} from {source}" for source, count in gathered.sources.items())
    output.screen.print(
        f"{len(gathered.examples):,} examples, {len(gathered.held_out):,} held out ({where})", markup=False
    )
    table = Table("on what was held out", "before", "challenger", box=None, pad_edge=False)
    before, challenger = ended.before, ended.challenger.score
    rows = [
        ("model", ended.champion or "(untrained)", ended.version or "(not kept)"),
        ("told rightly", f"{before.accuracy:.1%}", f"{challenger.accuracy:.1%}"),
        ("cost of a text", f"{before.cost:.3f}", f"{challenger.cost:.3f}"),
        ("log-loss", f"{before.loss:.3f}", f"{challenger.loss:.3f}"),
        ("first candidate is right", *(_percent(s.evaluation.accuracy.value) for s in (before, challenger))),
        ("abstains, out of scope", *(_percent(s.evaluation.out_of_scope_recall.value) for s in (before, challenger))),
    ]
    for cells in rows:
        table.add_row(*map(Text, cells))
    output.screen.print(table)
    for source in ended.challenger.left_out:
        output.note(f"left out: what {source!r} said, which made a model worse on what others confirmed")
    if ended.version is not None:
        output.note(f"better: {ended.version} is in use now")
    elif ended.better:
        output.note("better; nothing was kept, as --dry-run says" if asked.dry_run else "better")
    else:
        output.note("not better: nothing has changed")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"  # noqa: RUF001 - a dash
