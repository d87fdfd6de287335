"""`dispatcher worker`: one worker node on this machine."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Final

import typer

from dispatcher.cli.options import AppOption, UrlOption
from dispatcher.parent import end_with_parent

#: Jobs at once of a pool of coroutines, which wait most of the time.
COROUTINES: Final = 1000

#: The end of the parent process, seen as the end of our standard input.
WithParentOption = Annotated[
    bool,
    typer.Option("--with-parent", hidden=True, help="End when standard input does: with the process that started us."),
]


def worker(
    *,
    celery: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- CELERY OPTIONS]", help="After `--`: any option of `celery worker`.", show_default=False
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            "-c",
            min=1,
            help="Jobs at once. Default: as many as processors; in the asyncio pool 1,000.",
            show_default=False,
        ),
    ] = None,
    pool: Annotated[str, typer.Option("--pool", "-P", help="The pool: prefork, asyncio, threads or solo.")] = "prefork",
    queues: Annotated[
        str | None,
        typer.Option(
            "--queues", "-Q", metavar="A,B", help="Only these queues. Default: all of the app.", show_default=False
        ),
    ] = None,
    hostname: Annotated[
        str | None,
        typer.Option(help="The node's name; %h is the host. Default: worker-<pid>@%h.", show_default=False),
    ] = None,
    loglevel: Annotated[str, typer.Option("--loglevel", "-l", help="debug, info, warning or error.")] = "info",
    app: AppOption = None,
    url: UrlOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No banner.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="No banner; one JSON line when it starts. The log goes to standard error.")
    ] = False,
    with_parent: WithParentOption = False,
) -> None:
    """Run the functions: a Celery worker node, ended by Ctrl-C when its calls are done.

    Several may run on one machine, and on many machines with one server (DISPATCHER_URL).
    """
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.output import Output
    from dispatcher.node import run
    from dispatcher.worker import create_worker_app

    settings = read_settings(app=app, url=url)
    if with_parent:
        end_with_parent()
    loaded = load(settings.app)
    celery_app = create_worker_app(loaded.registry, settings)
    name = hostname if hostname is not None else f"worker-{os.getpid()}@%h"
    if as_json:
        Output(as_json=True).json({"node": name, "pid": os.getpid(), "functions": len(loaded.registry)}, one_line=True)
        sys.stdout.flush()
        # Celery has a word to say on standard output when it ends.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    arguments = _celery_arguments(
        name, pool=pool, concurrency=concurrency, queues=queues, loglevel=loglevel, rest=celery or []
    )
    raise typer.Exit(_start(partial(run, celery_app, arguments, quiet=quiet or as_json)))


def _celery_arguments(
    hostname: str, *, pool: str, concurrency: int | None, queues: str | None, loglevel: str, rest: Sequence[str]
) -> list[str]:
    """What `celery worker` is told; what the user says after `--` comes last, and so wins."""
    arguments = [f"--hostname={hostname}", f"--pool={pool}", f"--loglevel={loglevel}"]
    # Nodes need not know each other: the ledger does. It saves about a second at the start.
    arguments += ["--without-gossip", "--without-mingle", "--task-events"]
    if concurrency is None and pool == "asyncio":
        concurrency = COROUTINES
    if concurrency is not None:
        arguments.append(f"--concurrency={concurrency}")
    if queues is not None:
        arguments.append(f"--queues={queues}")
    return [*arguments, *rest]


def _start(run_node: Callable[[], int]) -> int:
    """Run Celery's own command. Returns its exit code."""
    from click import ClickException  # Celery's own, and typer no longer is click

    try:
        return run_node()
    except ClickException as error:
        error.show()
        return error.exit_code
