"""`dispatcher flower`: the dashboard alone."""

from typing import Annotated

import typer

from dispatcher.cli.options import UrlOption

PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65_535,
        help="The dashboard's port on loopback, 0 for any. Default: 5555.",
        show_default=False,
    ),
]


def flower(
    *,
    port: PortOption = None,
    url: UrlOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Where it is, as one JSON line on standard output.")] = False,
) -> None:
    """Start the Flower dashboard on loopback, with a password, until Ctrl-C."""
    from dispatcher.cli.command import CommandError
    from dispatcher.cli.fleet import dashboard_data, password_hint, start_dashboard
    from dispatcher.cli.loading import read_settings
    from dispatcher.cli.output import Output
    from dispatcher.cli.processes import Crew
    from dispatcher.cli.server import server_in_use
    from dispatcher.monitoring.flower import FlowerLauncher

    output = Output(as_json=as_json)
    with server_in_use(read_settings(url=url)) as server, Crew() as crew:
        server.check()
        launcher = FlowerLauncher(server.settings, server.url)
        child = start_dashboard(crew, launcher, port)
        if not launcher.wait(child.process):
            msg = f"the dashboard did not start; its log ({launcher.log_path}) ends so:\n{child.last_words}"
            raise CommandError(msg)
        output.note(f"Flower: {launcher.address}, user {launcher.user}, {password_hint(launcher)}; Ctrl-C ends it")
        if as_json:
            output.json(dashboard_data(launcher), one_line=True)
        code = child.process.wait()
        msg = f"the dashboard ended by itself with code {code}; its log ({launcher.log_path}):\n{child.last_words}"
        raise CommandError(msg)
