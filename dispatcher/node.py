"""A worker node by its shortest way: `python -m dispatcher.node yours:app --concurrency=2`.

It runs Celery's own `worker` command, with all its options. `celery -A yours:app worker` does the same, and brings
along what that node never uses: Celery's other commands, an AMQP shell, whatever has a plugin in there (Flower has).
"""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.errors import DispatcherError
from dispatcher.transport.lean_imports import PARTS, import_without_parts, left_until_called, versions_by_themselves

if TYPE_CHECKING:
    from celery import Celery

#: What the command and any app of ours will need; the last two would come later, and what can be left with them.
_OF_CELERY = ("celery.apps.worker", "celery.bin.base", "celery.app.log", "kombu.utils.text")
#: What pools of Celery stand on that it does not install.
_POOL_PACKAGES = ("eventlet", "gevent")
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
        from celery.bin.base import CLIContext  # noqa: PLC0415
    from celery.bin.worker import worker  # noqa: PLC0415 - after the app, which says what pools there are

    options = app.user_options
    worker.params.extend([*options.get("worker", ()), *options.get("preload", ())])
    context = CLIContext(app=app, no_color=False, workdir=None, quiet=quiet)
    try:
        code = worker.main(
            list(arguments), "worker", standalone_mode=False, auto_envvar_prefix="CELERY_WORKER", obj=context
        )
    except ModuleNotFoundError as error:
        if error.name not in _POOL_PACKAGES:
            raise
        from click import ClickException  # noqa: PLC0415 - the path's own

        msg = f"the pool {error.name} needs the package of that name; prefork, asyncio, threads and solo need none"
        raise ClickException(msg) from None
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
        import_celery(arguments)
    with versions_by_themselves():
        return _run_app_at(place, arguments)


def _run_app_at(place: str, arguments: Sequence[str]) -> int:
    """The same, after `import_celery`."""
    with _importing():
        import celery  # noqa: PLC0415
        from celery.app.utils import find_app  # noqa: PLC0415
        from click import ClickException  # noqa: PLC0415

        celery.maybe_patch_concurrency()
        try:
            app = find_app(place)
        except DispatcherError as error:
            return _refuse(str(error))
        except ModuleNotFoundError as error:
            if not _is_of(place, error.name):
                raise
            return _refuse(f"there is no module {error.name!r} in {Path.cwd()} or among the installed packages")
    try:
        return run(app, arguments)
    except ClickException as error:
        error.show()
        return error.exit_code


def _refuse(problem: str) -> int:
    sys.stderr.write(f"error: {problem}\n")
    return 1


def _is_of(place: str, module: str | None) -> bool:
    """Whether a module is the one at that place, or a package around it."""
    return f"{place.partition(':')[0]}.".startswith(f"{module}.")


def import_celery(arguments: Sequence[str]) -> None:
    """Import what every worker needs of Celery and no more, as far as nothing has imported Celery before.

    Args:
        arguments: options of `celery worker`.
    """
    # Celery tells greenlets apart where it finds greenlet. The prefork pool has none, and is 2 MB smaller without it.
    prefork = _named_pool(arguments) == "prefork"
    without_greenlet = _unavailable("greenlet") if prefork else nullcontext()
    with left_until_called(), without_greenlet, _unavailable("pygments"):
        for package in PARTS:
            import_without_parts(package)
        for name in _OF_CELERY:
            import_module(name)


def _named_pool(arguments: Sequence[str]) -> str | None:
    """The pool that the command line asks for; None: it leaves that to the environment and the app."""
    pool = None
    for option, value in zip_longest(arguments, arguments[1:]):
        if option in ("-P", "--pool"):
            pool = value
        elif option.startswith("--pool="):
            pool = option.removeprefix("--pool=")
    return pool


@contextmanager
def _importing() -> Iterator[None]:
    """Look for no garbage meanwhile, nor ever in what is there then.

    What modules hold stays, and looking through it took an eighth of the start (benchmark: start).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
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
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write(f"{_USAGE}\n")
        return
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):  # noqa: PLR2004 - the program, and the app
        sys.exit(_USAGE)
    sys.exit(start(sys.argv[1], sys.argv[2:]))


if __name__ == "__main__":
    main()
