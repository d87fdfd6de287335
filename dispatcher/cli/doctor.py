"""`dispatcher doctor`: is everything as it should be?"""

from typing import TYPE_CHECKING

import typer

from dispatcher.cli.options import AppOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from dispatcher.cli.checks import Check
    from dispatcher.cli.output import Output


def doctor(*, app: AppOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Check the server, the registry, the workers and the queues, and say what to do. Exit code 1 if a check fails."""
    from dispatcher.cli.checks import Verdict
    from dispatcher.cli.command import FAILED
    from dispatcher.cli.examination import examine
    from dispatcher.cli.loading import read_settings
    from dispatcher.cli.output import Output

    output = Output(as_json=as_json)
    made: list[Check] = []
    for check in examine(read_settings(app=app, url=url)):
        made.append(check)
        if not as_json:
            _show(output, check)
    failed = any(check.verdict is Verdict.FAIL for check in made)
    if as_json:
        fields = ("name", "verdict", "found", "advice")
        output.json({"ok": not failed, "checks": [{name: str(getattr(c, name)) for name in fields} for c in made]})
    if failed:
        raise typer.Exit(FAILED)


def _show(output: "Output", check: "Check") -> None:
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    line = Text.assemble((f"{check.verdict:5}", styles[check.verdict]), (f"{check.name:13}", "bold"), check.found)
    output.screen.print(line, soft_wrap=True)
    if check.advice:
        output.screen.print(Text(f"{'':18}→ {check.advice}"), soft_wrap=True)
