"""`dispatcher dead`: jobs given up, and messages that never were jobs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dispatcher.cli.command import command
from dispatcher.cli.options import JsonOption, UrlOption

if TYPE_CHECKING:
    from dispatcher.cli.output import Output
    from dispatcher.cli.server import ServerInUse
    from dispatcher.cli.shapes import Json
    from dispatcher.client.dispatcher import Dispatcher
    from dispatcher.errors import DispatcherError
    from dispatcher.transport.replies import DeadLetter

app = typer.Typer(help="Dead letters: list them, look at one, replay or discard them.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(metavar="ID")]
JobsArgument = Annotated[list[str] | None, typer.Argument(metavar="[ID …]", show_default=False)]
AllOption = Annotated[bool, typer.Option("--all", help="All that match --function, or all.")]
FunctionOption = Annotated[str | None, typer.Option("--function", help="Only of this function.", show_default=False)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 100,
    function: FunctionOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters, the newest first."""
    from dispatcher.cli.loading import read_settings
    from dispatcher.cli.output import Output
    from dispatcher.cli.session import with_dispatcher
    from dispatcher.cli.shapes import letter_data

    async def work(dispatcher: "Dispatcher", _: "ServerInUse") -> "Sequence[DeadLetter]":
        return await _find(dispatcher, function)

    letters = with_dispatcher(read_settings(url=url), work)[:limit]
    output = Output(as_json=as_json)
    if as_json:
        output.json([letter_data(letter) for letter in letters])
    elif letters:
        _show_list(output, letters)
    else:
        output.note("no dead letters")


def show(job: JobArgument, *, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show one dead letter, with the traceback of its last failure."""
    from dispatcher.cli.jobs import stored_outcome
    from dispatcher.cli.loading import read_settings
    from dispatcher.cli.output import Output, visible
    from dispatcher.cli.session import with_dispatcher
    from dispatcher.cli.shapes import letter_data
    from dispatcher.errors import UnknownJobError

    async def work(dispatcher: "Dispatcher", _: "ServerInUse") -> "Json":
        letter = next((letter for letter in await _find(dispatcher, None) if letter.id == job), None)
        if letter is None:
            raise UnknownJobError(job)
        record = await stored_outcome(dispatcher, job) if letter.function else None
        error = record.calls[0].error if record is not None else None
        return {
            **letter_data(letter),
            "attempts": None if record is None else record.attempts,
            "traceback": None if error is None else error.traceback,
        }

    data = with_dispatcher(read_settings(url=url), work)
    output = Output(as_json=as_json)
    if as_json:
        output.json(data)
        return
    traceback = data.pop("traceback")
    for name, value in data.items():
        output.text(visible(f"{name.replace('_', ' '):16}{'' if value is None else value}"))
    if traceback:
        output.text(visible(f"\n{traceback.rstrip()}"))


def replay(
    jobs: JobsArgument = None,
    *,
    every: AllOption = False,
    function: FunctionOption = None,
    yes: YesOption = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make dead letters live again, under their own ids, with fresh attempts and a fresh deadline."""
    _do("replay", jobs, every=every, function=function, yes=yes, url=url, as_json=as_json)


def discard(
    jobs: JobsArgument = None,
    *,
    every: AllOption = False,
    function: FunctionOption = None,
    yes: YesOption = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget dead letters; their outcomes stay as long as outcomes are kept."""
    _do("discard", jobs, every=every, function=function, yes=yes, url=url, as_json=as_json)


def _do(
    verb: str,
    jobs: Sequence[str] | None,
    *,
    every: bool,
    function: str | None,
    yes: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """Replay or discard dead letters, and report."""
    from dispatcher.cli.command import FAILED
    from dispatcher.cli.loading import read_settings
    from dispatcher.cli.output import Output, error_data
    from dispatcher.cli.session import with_dispatcher

    if every == bool(jobs) or (function is not None and not every):
        msg = "name the dead letters by their ids, or say --all, with --function F for those of one function"
        raise typer.BadParameter(msg)

    async def work(dispatcher: "Dispatcher", _: "ServerInUse") -> "dict[str, DispatcherError | None]":
        chosen = list(jobs or [])
        if every:
            letters = await _find(dispatcher, function)
            chosen = [letter.id for letter in letters if letter.replayable or verb != "replay"]
            if chosen and not yes:
                typer.confirm(f"{verb} {len(chosen)} dead letters?", abort=True, err=True)
        return await _do_each(dispatcher, verb, chosen)

    ended = with_dispatcher(read_settings(url=url), work)
    done = [job for job, error in ended.items() if error is None]
    refused = {job: error for job, error in ended.items() if error is not None}
    output = Output(as_json=as_json)
    if as_json:
        output.json({f"{verb}ed": done, "refused": {job: error_data(error) for job, error in refused.items()}})
    else:
        output.text(f"{verb}ed {len(done)} dead letters" if len(done) != 1 else f"{verb}ed {done[0]}")
    for error in refused.values():
        output.complain(str(error))
    if refused:
        raise typer.Exit(FAILED)


async def _do_each(dispatcher: "Dispatcher", verb: str, jobs: Sequence[str]) -> "dict[str, DispatcherError | None]":
    """What came of each, up to the one at which the server failed: what was done before is told all the same.

    Raises:
        ServerError: it failed at the first.
    """
    from dispatcher.errors import ServerError

    ended: dict[str, DispatcherError | None] = {}
    for job in jobs:
        try:
            ended[job] = await _do_one(dispatcher, verb, job)
        except ServerError as error:
            if not ended:
                raise
            ended[job] = error
            break
    return ended


async def _do_one(dispatcher: "Dispatcher", verb: str, job: str) -> "DispatcherError | None":
    """Each by itself: what cannot be done to one spoils no other."""
    from dispatcher.errors import DispatcherError, ServerError, UnknownJobError

    letters = dispatcher.dead_letters
    try:
        if verb == "replay":
            await letters.replay(job)
        elif not await letters.discard(job):
            return UnknownJobError(job)
    except ServerError:
        raise
    except DispatcherError as error:
        return error
    return None


async def _find(dispatcher: "Dispatcher", function: str | None) -> "Sequence[DeadLetter]":
    letters = await dispatcher.dead_letters.list(dispatcher.settings.max_dead_letters)
    return [letter for letter in letters if function is None or letter.function == function]


def _show_list(output: "Output", letters: "Sequence[DeadLetter]") -> None:
    from rich.table import Column, Table

    from dispatcher.cli.output import cell

    # The other commands take ids whole.
    ids, times = Column("id", no_wrap=True), Column("given up", no_wrap=True)
    table = Table(ids, "function", times, "reason", box=None, pad_edge=False)
    for letter in letters:
        when = letter.dead_at.astimezone().strftime("%m-%d %H:%M:%S")
        cells = (letter.id, letter.function or "(no job)", when, letter.reason)
        table.add_row(*map(cell, cells))
    output.screen.print(table)


for _name, _function in (("list", list_), ("show", show), ("replay", replay), ("discard", discard)):
    app.command(_name)(command(_function))
