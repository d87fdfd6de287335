"""`dispatcher call`: one call of one function, by name."""

from datetime import timedelta
from typing import Annotated

import typer

from dispatcher.cli.options import AppOption, JsonOption, UrlOption, duration

TimeoutOption = Annotated[
    timedelta | None,
    typer.Option(
        parser=duration, metavar="TIME", help="How long to wait for the outcome. Default: until the deadline."
    ),
]
KeyOption = Annotated[
    str | None, typer.Option(help="The same key with the same arguments gives the same job, not another.")
]
DeadlineOption = Annotated[
    timedelta | None,
    typer.Option(parser=duration, metavar="TIME", help="When the job expires. Default: the function's own."),
]
DelayOption = Annotated[
    timedelta | None, typer.Option(parser=duration, metavar="TIME", help="How long it waits before it may run.")
]
NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Print the job's id and leave; see: dispatcher status ID")
]


def call(
    name: Annotated[str, typer.Argument(help="The function's name.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JSON | name=value …]", help="A JSON object, `-` to read one, or name=value pairs."),
    ] = None,
    *,
    timeout: TimeoutOption = None,
    idempotency_key: KeyOption = None,
    deadline: DeadlineOption = None,
    delay: DelayOption = None,
    no_wait: NoWaitOption = False,
    app: AppOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call a function, wait for the outcome and print the result.

    Times are written 30s, 250ms, 5m or 1h30m.
    """
    from dispatcher.cli.arguments import read_arguments
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.one_call import Asked, run_one
    from dispatcher.cli.output import Output

    settings = read_settings(app=app, url=url)
    loaded = load(settings.app)
    function = loaded.registry.get(name)
    bound = function.bind(read_arguments(function, arguments or []))
    asked = Asked(timeout=timeout, idempotency_key=idempotency_key, deadline=deadline, delay=delay, wait=not no_wait)
    run_one(settings, loaded, bound, asked, Output(as_json=as_json), also={})
