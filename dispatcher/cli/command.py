"""What every command does alike: errors in a line or two, exit codes, and the output it is given."""

import functools
from collections.abc import Callable
from typing import TypeVar

import typer

from dispatcher.cli.output import Output
from dispatcher.errors import DispatcherError
from dispatcher.transport.address import redact

R = TypeVar("R")

#: Exit codes. Wrong use is 2, as typer has it.
FAILED, INTERRUPTED = 1, 130


class CommandError(DispatcherError):
    """A command cannot do its work, for a reason that is the command line's own."""

    code = "command"


def command(function: Callable[..., None], *, dispatches: bool = False) -> Callable[..., None]:
    """Wrap a command: an error of ours becomes a clear line and exit code 1, Ctrl-C becomes 130, never a traceback.

    What was typed reaches the command as characters only.

    Errors that are not ours are bugs, and keep their traceback.

    Args:
        function: the command.
        dispatches: whether its errors say what became of a call.
    """

    @functools.wraps(function)
    def run(*args: object, **options: object) -> None:
        for value in options.values():
            _check_characters(value)
        try:
            function(*args, **options)
        except DispatcherError as error:
            Output(as_json=bool(options.get("as_json"))).error(error, dispatches=dispatches)
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return run


def _check_characters(value: object) -> None:
    """A byte that is no UTF-8 comes as half a character, which can be sent nowhere. Paths may hold such bytes.

    Raises:
        typer.BadParameter: a text, or one of several, has one.
    """
    if isinstance(value, list | tuple):
        for one in value:
            _check_characters(one)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            url = f"the URL of {redact(value)} (not shown as it was given)" if "://" in value else None
            msg = f"{url or repr(value)} is not UTF-8"
            raise typer.BadParameter(msg) from None
