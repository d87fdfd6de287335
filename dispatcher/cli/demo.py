"""`dispatcher demo`: see it work, on real parts, in one command."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.options import AppOption, JsonOption, UrlOption, duration


def demo(
    *,
    requests: Annotated[
        Path, typer.Option(help="JSON Lines: a text a line, and the arguments where the text is not enough.")
    ] = Path("examples/requests.jsonl"),
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=64, help="Worker nodes.")] = 2,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    timeout: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, metavar="TIME", help="Longest wait for all outcomes. Default: 2m.", show_default=False
        ),
    ] = None,
    app: AppOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn the requests of a file into function calls on real workers, and report how each of them ended.

    Starts a server (unless one is configured), worker nodes and the Flower dashboard, and stops them again. Exit code 1
    if an accepted call has no outcome.
    """
    from dispatcher.cli.command import FAILED
    from dispatcher.cli.demonstration.requests import read_requests
    from dispatcher.cli.demonstration.show import Show
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.output import Output

    settings = read_settings(app=app, url=url)
    asked = read_requests(requests)
    show = Show(
        loaded=load(settings.app),
        requests=asked,
        output=Output(as_json=as_json),
        workers=workers,
        keep=keep,
        patience=timeout if timeout is not None else timedelta(minutes=2),
    )
    if not show.run(settings):
        raise typer.Exit(FAILED)
