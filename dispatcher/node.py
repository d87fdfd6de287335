"""A worker node by its shortest way: `python -m dispatcher.node yours:app --concurrency=2`.

It runs Celery's own `worker` command, with all its options. `celery -A yours:app worker` does the same, and brings
along what that node never uses: Celery's other commands, an AMQP shell, whatever has a plugin in there (Flower has).
"""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

_USAGE = "usage: python -m dispatcher.node APP [options of `celery worker`]; APP as in `celery -A APP`"


def run(app: "Celery", arguments: Sequence[str], *, quiet: bool = False) -> int:
    """Be a worker node of this app until it ends, and return its exit code.

    Args:
        app: a worker's.
        arguments: options of `celery worker`.
        quiet: no banner.

    Raises:
        click.ClickException: an argument is wrong; nothing was started.
    """
    with _unavailable("pygments"):  # it colours what other commands print; its lexers cost 30 ms (benchmark: start)
        from celery.bin.base import CLIContext  # noqa: PLC0415 - after the app, which says what pools there are
    from celery.bin.worker import worker  # noqa: PLC0415

    options = app.user_options
    worker.params.extend([*options.get("worker", ()), *options.get("preload", ())])
    context = CLIContext(app=app, no_color=False, workdir=None, quiet=quiet)
    code = worker.main(
        list(arguments), "worker", standalone_mode=False, auto_envvar_prefix="CELERY_WORKER", obj=context
    )
    return code or 0


def start(place: str, arguments: Sequence[str]) -> int:
    """Import an app and be a worker node of it, and return the node's exit code.

    Args:
        place: of the app, as Celery's `-A` takes it.
        arguments: options of `celery worker`.
    """
    # As if the celery command had been called: Celery reads this to detach, to start anew and to name its process.
    sys.argv = [str(Path(sys.executable).with_name("celery")), "-A", place, "worker", *arguments]
    with _importing():
        import celery.apps.worker  # noqa: PLC0415 - what the command will need, while nobody looks for garbage
        from celery.app.utils import find_app  # noqa: PLC0415
        from click import ClickException  # noqa: PLC0415

        celery.maybe_patch_concurrency()
        app = find_app(place)
    try:
        return run(app, arguments)
    except ClickException as error:
        error.show()
        return error.exit_code


@contextmanager
def _importing() -> Iterator[None]:
    """Look for no garbage meanwhile: what modules hold stays, and looking through it took a tenth of the start."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _unavailable(name: str) -> Iterator[None]:
    """Have imports of a module fail that is not there yet. Source: the Python reference, section 5.3.1."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what the import system takes for "there is none"
    try:
        yield
    finally:
        del sys.modules[name]


def main() -> None:
    """Be the worker node that the command line asks for."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):  # noqa: PLR2004 - the program, and the app
        sys.exit(_USAGE)
    sys.exit(start(sys.argv[1], sys.argv[2:]))


if __name__ == "__main__":
    main()
