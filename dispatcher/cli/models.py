"""`dispatcher models`: which models are kept, and which of them is in use."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dispatcher.cli.command import command
from dispatcher.cli.options import FolderOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from dispatcher.cli.output import Output
    from dispatcher.selection.stored import ModelStore

app = typer.Typer(help="Trained models: list them, use another, go back.", invoke_without_command=True)

#: Of the metrics, those that a table shows, and what they are called there. When it was trained stands in the version.
_SHOWN = {
    "held_out_accuracy": "told rightly",
    "held_out_cost": "cost",
    "held_out_loss": "log-loss",
    "ece": "ECE",
    "auroc": "AUROC",
}


def list_(*, folder: FolderOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List the models that are kept, the newest first."""
    from dispatcher.cli.output import Output

    async def work(store: "ModelStore") -> "Sequence[Mapping[str, Any]]":
        return await store.versions()

    rows = _with_store(work, folder, url)
    output = Output(as_json=as_json)
    if as_json:
        output.json([{**row, "created_at": row["created_at"].isoformat()} for row in rows])
    elif rows:
        _show(output, rows)
    else:
        output.note("no models; train one: dispatcher train")


def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    *,
    folder: FolderOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Use a kept model from now on; producers take it within seconds."""

    async def work(store: "ModelStore") -> str:
        await store.promote(version)
        return version

    _tell(_with_store(work, folder, url), as_json=as_json)


def rollback(*, folder: FolderOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Use the model before the one in use."""

    async def work(store: "ModelStore") -> str:
        from dispatcher.errors import ModelError

        champion = await store.champion()
        older = [row["version"] for row in await store.versions() if champion is not None and row["version"] < champion]
        if not older:
            msg = "there is no model in use" if champion is None else f"no model older than {champion} is kept"
            raise ModelError(msg)
        await store.promote(older[0])
        return str(older[0])

    _tell(_with_store(work, folder, url), as_json=as_json)


def _with_store(work: "Callable[[ModelStore], Awaitable[Any]]", folder: "Path | None", url: str | None) -> Any:  # noqa: ANN401 - whatever the work gives
    import asyncio

    from dispatcher.cli.loading import read_settings
    from dispatcher.cli.model_places import in_folder, on_server
    from dispatcher.cli.server import server_in_use

    settings = read_settings(url=url)

    async def in_place() -> Any:  # noqa: ANN401
        return await work(in_folder(folder, settings).store)  # type: ignore[arg-type]

    if folder is not None:
        return asyncio.run(in_place())
    with server_in_use(settings) as server:

        async def run() -> Any:  # noqa: ANN401
            async with on_server(server.settings, server.url, server.address) as place:
                return await work(place.store)

        return asyncio.run(run())


def _tell(version: str, *, as_json: bool) -> None:
    from dispatcher.cli.output import Output

    output = Output(as_json=as_json)
    if as_json:
        output.json({"champion": version})
    else:
        output.text(f"{version} is in use now")


def _show(output: "Output", rows: "Sequence[Mapping[str, Any]]") -> None:
    from rich.table import Column, Table
    from rich.text import Text

    # The other commands take versions whole.
    table = Table("", Column("version", no_wrap=True), *_SHOWN.values(), box=None, pad_edge=False)
    for row in rows:
        metrics = row["metrics"]
        numbers = (f"{metrics[name]:.4f}" if name in metrics else "" for name in _SHOWN)
        table.add_row(*map(Text, ("*" if row["champion"] else "", row["version"], *numbers)))
    output.screen.print(table)


def models(
    context: typer.Context, *, folder: FolderOption = None, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """Trained models: list them, use another, go back. Alone it lists them."""
    if context.invoked_subcommand is None:
        list_(folder=folder, url=url, as_json=as_json)


app.callback(invoke_without_command=True)(command(models))
for _name, _function in (("list", list_), ("promote", promote), ("rollback", rollback)):
    app.command(_name)(command(_function))
