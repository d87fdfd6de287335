"""The program `dispatcher`: its commands, in the order in which a newcomer needs them."""

import io
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from dispatcher.cli import (
    ask,
    cache,
    call,
    dead,
    demo,
    doctor,
    evaluate,
    explain,
    flower,
    functions,
    jobs,
    models,
    train,
    up,
    worker,
)
from dispatcher.cli.command import command

app = typer.Typer(
    name="dispatcher",
    help="Durable function calling for Python, on Celery.",
    epilog="Settings come from the environment (DISPATCHER_…). Exit codes: 0 done, 1 failed, 2 wrong use, 130 Ctrl-C.",
    no_args_is_help=True,
    # The locals of a frame may hold secrets; a traceback of Python's own does not show them.
    pretty_exceptions_enable=False,
)

_DISPATCHING = frozenset({"call", "ask"})
_RUN, _CALL, _SELECT, _LOOK = "Run it", "Call functions", "Select", "Look and mend"
for name, function, panel in (
    ("demo", demo.demo, _RUN),
    ("up", up.up, _RUN),
    ("worker", worker.worker, _RUN),
    ("flower", flower.flower, _RUN),
    ("call", call.call, _CALL),
    ("ask", ask.ask, _CALL),
    ("functions", functions.functions, _CALL),
    ("explain", explain.explain, _SELECT),
    ("evaluate", evaluate.evaluate, _SELECT),
    ("train", train.train, _SELECT),
    ("status", jobs.status, _LOOK),
    ("cancel", jobs.cancel, _LOOK),
    ("doctor", doctor.doctor, _LOOK),
):
    app.command(name, rich_help_panel=panel)(command(function, dispatches=name in _DISPATCHING))
app.add_typer(models.app, name="models", rich_help_panel=_SELECT)
app.add_typer(dead.app, name="dead", rich_help_panel=_LOOK)
app.add_typer(cache.app, name="cache", rich_help_panel=_LOOK)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        from importlib.metadata import version

        typer.echo(version("function-dispatcher"))
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Durable function calling for Python, on Celery."""


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal, or a pipe, that knows only ASCII or Latin-1 shows a Chinese text escaped; it is no failure.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="dispatcher")


def _on_sigterm(sign: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does, through every `finally`: what was started is stopped again."""
    signal.signal(sign, signal.SIG_IGN)
    raise SystemExit(128 + sign)
