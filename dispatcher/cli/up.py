"""`dispatcher up`: everything that is needed, in one terminal."""

from typing import Annotated

import typer

from dispatcher.cli.flower import PortOption
from dispatcher.cli.options import AppOption, UrlOption


def up(
    *,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=64, help="Worker nodes.")] = 1,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            "-c",
            min=1,
            help="Calls at once in each node. Default: as many as processors.",
            show_default=False,
        ),
    ] = None,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Without the dashboard.")] = False,
    port: PortOption = None,
    app: AppOption = None,
    url: UrlOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="What happens, as JSON lines on standard output; logs on standard error.")
    ] = False,
) -> None:
    """Run a server (unless one is configured), worker nodes and the Flower dashboard in one terminal.

    Ctrl-C ends it: the workers finish their calls, then the dashboard and the server stop. Ctrl-C again does not wait.
    A process that ends by itself is started again, three times within a minute at most.
    """
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.output import Output
    from dispatcher.cli.supervision import Plan, run_all

    settings = read_settings(app=app, url=url)
    loaded = load(settings.app)
    plan = Plan(place=loaded.place, workers=workers, concurrency=concurrency, flower=not no_flower, flower_port=port)
    sign = run_all(settings, plan, Output(as_json=as_json))
    raise typer.Exit(128 + sign)
