"""`dispatcher status` and `dispatcher cancel`: one job, by its id."""

from typing import TYPE_CHECKING, Annotated

import typer

from dispatcher.cli.options import JsonOption, UrlOption

if TYPE_CHECKING:
    from dispatcher.cli.output import Output
    from dispatcher.cli.server import ServerInUse
    from dispatcher.cli.shapes import Json
    from dispatcher.client.dispatcher import Dispatcher
    from dispatcher.transport.outcomes import JobRecord

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB_ID", help="As `call --no-wait` printed it; Celery's task id too.")
]


def status(job: JobArgument, *, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show what the ledger knows of a job, and its outcome if it has one."""
    from dispatcher.cli.loading import read_settings
    from dispatcher.cli.output import Output
    from dispatcher.cli.session import with_dispatcher
    from dispatcher.cli.shapes import outcome_data, status_data

    async def work(dispatcher: "Dispatcher", _: "ServerInUse") -> "Json":
        found = await dispatcher.status(job)
        data = status_data(found)
        record = await stored_outcome(dispatcher, job) if found.state.settled else None
        # What a job of many calls returned is too much for a status.
        data["outcome"] = None if record is None or found.calls > 1 else outcome_data(record)
        return data

    data = with_dispatcher(read_settings(url=url), work)
    output = Output(as_json=as_json)
    if as_json:
        output.json(data)
    else:
        _show(output, data)


def cancel(
    job: JobArgument,
    *,
    reason: Annotated[str, typer.Option(help="Kept with the outcome.", show_default=False)] = "",
    hard: Annotated[
        bool, typer.Option("--hard", help="The outcome is Cancelled at once, whatever the function still does.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a job: a waiting one at once, a running one is told to stop. Exit code 1 if it had its outcome already."""
    from dispatcher.cli.command import FAILED
    from dispatcher.cli.loading import read_settings
    from dispatcher.cli.output import Output
    from dispatcher.cli.session import with_dispatcher

    async def work(dispatcher: "Dispatcher", _: "ServerInUse") -> tuple[bool, str]:
        done = await dispatcher.cancel(job, reason, hard=hard)
        return done, str((await dispatcher.status(job)).state)

    done, state = with_dispatcher(read_settings(url=url), work)
    output = Output(as_json=as_json)
    if as_json:
        output.json({"id": job, "cancelled": done, "state": state})
    elif not done:
        output.complain(f"job {job} had its outcome already: {state}")
    elif state == "cancelled":
        output.text(f"job {job} is cancelled")
    else:
        output.text(f"job {job} is {state}, and was told to stop")
    if not done:
        raise typer.Exit(FAILED)


async def stored_outcome(dispatcher: "Dispatcher", job: str) -> "JobRecord | None":
    """The outcome as it is stored; None where there is none, or none any more.

    Raises:
        ServerError: the server cannot be asked.
        ResultError: what is stored cannot be read.
    """
    from dispatcher.transport.connection import server_errors
    from dispatcher.transport.outcomes import decode

    with server_errors(dispatcher.address):
        meta = await dispatcher.ledger.client.get(dispatcher.commands.keys.result(job))
    return None if meta is None else decode(meta)


def _show(output: "Output", data: "Json") -> None:
    import json

    from rich.table import Table
    from rich.text import Text

    from dispatcher.cli.output import cell

    table = Table(show_header=False, box=None, pad_edge=False)
    outcome = data.pop("outcome")
    progress = data.pop("progress")
    for name, value in data.items():
        if value is not None:
            table.add_row(Text(name.replace("_", " "), style="bold"), cell(str(value)))
    if progress is not None:
        of = "" if progress["total"] is None else f" of {progress['total']:g}"
        table.add_row(Text("progress", style="bold"), cell(f"{progress['done']:g}{of} {progress['message']}"))
    if outcome is not None:
        error = outcome.get("error")
        if error is not None:
            ended = f"{error['type']}: {error['message']}"
        elif "value" in outcome:
            ended = json.dumps(outcome["value"], ensure_ascii=False)
        else:
            ended = str(outcome.get("reason", ""))
        table.add_row(Text("outcome", style="bold"), cell(ended))
    output.screen.print(table)
