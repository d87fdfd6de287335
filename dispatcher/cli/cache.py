"""`dispatcher cache`: what the result cache did, and how to make it forget."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dispatcher.cli.command import command
from dispatcher.cli.options import AppOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from rich.table import Table

    from dispatcher.cli.server import ServerInUse
    from dispatcher.client.dispatcher import Dispatcher
    from dispatcher.model.call import Call
    from dispatcher.registry.function import Function
    from dispatcher.registry.registry import Registry

app = typer.Typer(help="The result cache: what it did, and how to make it forget.", no_args_is_help=True)

#: How a call was answered, in the order of the columns.
RESULTS = ("hit", "shared", "miss")


def show(*, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show how many calls of each function were answered by kept results (hit), by jobs under way (shared), or not."""
    from dispatcher.cli.loading import read_settings
    from dispatcher.cli.output import Output
    from dispatcher.cli.session import with_dispatcher
    from dispatcher.transport.connection import server_errors
    from dispatcher.transport.fleet import fleet_command

    async def work(dispatcher: "Dispatcher", _: "ServerInUse") -> dict[str, int]:
        with server_errors(dispatcher.address):
            return (await dispatcher.ledger.run(fleet_command(dispatcher.commands.keys))).counters

    counters = with_dispatcher(read_settings(url=url), work)
    functions = _by_function(counters)
    output = Output(as_json=as_json)
    if as_json:
        output.json({"functions": functions, "invalidations": counters.get("invalidations", 0)})
    elif functions:
        output.screen.print(_table(functions))
    else:
        output.note("no call of a function that keeps its results was made")


def invalidate(
    name: Annotated[str | None, typer.Argument(help="The function's name.", show_default=False)] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JSON | name=value …]", help="Of one call alone, as `call` takes them.", show_default=False
        ),
    ] = None,
    *,
    version: Annotated[
        str | None, typer.Option(help="Of this version of the function alone.", show_default=False)
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="Of every function with this tag, instead of a name.", show_default=False)
    ] = None,
    app: AppOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make kept results useless, for every producer and at once; jobs under way are shared no more."""
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.output import Output
    from dispatcher.cli.session import with_dispatcher

    if (name is None) == (tag is None) or (version is not None and (name is None or arguments)):
        msg = "name a function, with --version or the arguments of one call or neither; or say --tag"
        raise typer.BadParameter(msg)
    settings = read_settings(app=app, url=url)
    registry = load(settings.app).registry
    concerned = _concerned(registry, name, tag)
    what = None if name is None else _what(registry.get(name), arguments)

    async def work(dispatcher: "Dispatcher", _: "ServerInUse") -> None:
        await dispatcher.invalidate(what, version=version, tag=tag)

    with_dispatcher(settings, work, registry=registry)
    output = Output(as_json=as_json)
    if as_json:
        output.json({"invalidated": concerned, "version": version, "tag": tag, "one_call": bool(arguments)})
    else:
        output.text(f"invalidated {'one call of ' if arguments else ''}{', '.join(concerned)}")


def _concerned(registry: "Registry", name: str | None, tag: str | None) -> list[str]:
    """The functions whose results are meant.

    Raises:
        CommandError: none of them keeps results, so that a slip would look like success.
    """
    from dispatcher.cli.command import CommandError

    chosen = [registry.get(name)] if name is not None else [one for one in registry if tag in one.options.tags]
    concerned = sorted(one.name for one in chosen if one.options.cache is not None)
    if not concerned:
        msg = f"no function with the tag {tag!r} keeps its results" if name is None else f"{name} keeps no results"
        raise CommandError(msg)
    return concerned


def _what(function: "Function[..., object]", arguments: list[str] | None) -> "Function[..., Any] | Call[Any]":
    from dispatcher.cli.arguments import read_arguments

    return function.bind(read_arguments(function, arguments)) if arguments else function


def _by_function(counters: dict[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for counter, value in sorted(counters.items()):
        first, _, rest = counter.partition(":")
        how, _, function = rest.partition(":")
        if first == "cache" and how in RESULTS:
            found.setdefault(function, dict.fromkeys(RESULTS, 0))[how] = value
    return found


def _table(functions: dict[str, dict[str, int]]) -> "Table":
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column("function", no_wrap=True), *RESULTS, "saved", box=None, pad_edge=False)
    for name, row in functions.items():
        saved = (row["hit"] + row["shared"]) / max(sum(row.values()), 1)
        table.add_row(Text(name), *(f"{row[how]:,}" for how in RESULTS), f"{saved:.0%}")
    return table


for _name, _function in (("show", show), ("invalidate", invalidate)):
    app.command(_name)(command(_function))
