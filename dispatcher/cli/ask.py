"""`dispatcher ask`: a text in, the function it asks for called."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from dispatcher.cli.options import AppOption, JsonOption, UrlOption, duration

if TYPE_CHECKING:
    from dispatcher.cli.output import Output
    from dispatcher.selection.selection import Selection


def ask(
    text: Annotated[str, typer.Argument(help="What somebody wants, in words.")],
    *,
    arguments: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="What the function needs beyond the text, as an object.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be called.")] = False,
    timeout: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, metavar="TIME", help="How long to wait. Default: until the deadline.", show_default=False
        ),
    ] = None,
    app: AppOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Select the function that a text asks for, show why, and call it.

    Exit code 1 when no function fits well enough to be called.
    """
    from dispatcher.cli.arguments import read_object
    from dispatcher.cli.command import FAILED
    from dispatcher.cli.learnt import learnt_selector
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.one_call import Asked, run_one
    from dispatcher.cli.output import Output, error_data
    from dispatcher.cli.shapes import selection_data
    from dispatcher.errors import DispatcherError

    settings = read_settings(app=app, url=url)
    given = read_object(arguments) if arguments is not None else {}
    loaded = load(settings.app)
    output = Output(as_json=as_json)
    selection = learnt_selector(loaded, settings).select(text)
    _show(output, selection)
    if selection.function is None:
        if as_json:
            output.json(selection_data(selection))
        else:
            output.text(selection.response)
        raise typer.Exit(FAILED)
    try:
        call = selection.bind(given)
    except DispatcherError as error:
        if not as_json:
            raise
        # With what was selected: whoever asked has to know for which function arguments are missing.
        output.json({**selection_data(selection), "error": error_data(error)})
        output.complain(str(error))
        raise typer.Exit(FAILED) from None
    data = {**selection_data(selection), "arguments": call.arguments}
    if dry_run:
        if as_json:
            output.json(data)
        else:
            output.text(f"{call.function} {call.arguments}")
        return
    asked = Asked(timeout=timeout, idempotency_key=None, deadline=None, delay=None, wait=True)
    run_one(settings, loaded, call, asked, output, also=data)


def _show(output: "Output", selection: "Selection") -> None:
    """The ranked candidates and the reason, on standard error: standard output holds the result alone."""
    from rich.table import Column, Table

    from dispatcher.cli.output import cell

    if selection.candidates:
        table = Table(Column("candidate", no_wrap=True), "probability", "why", box=None, pad_edge=False)
        for candidate in selection.candidates:
            cells = (candidate.function, f"{candidate.probability:.2f}", candidate.why)
            table.add_row(*map(cell, cells))
        output.notes.print(table)
    output.note(f"{selection.decision}: {selection.reason}")
