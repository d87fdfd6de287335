"""`python -m workers.health`: exits 0 if the worker node here consumes, else 1 and says why. A container's probe.

It looks at the age of a file and asks nobody, so that a probe costs the fleet nothing. Several nodes on one machine
each get a file of their own by `WORKER_HEALTH_FILE`.
"""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from dispatcher import DispatcherError, Settings

#: Between two touches.
INTERVAL: Final = timedelta(seconds=5)
#: A file that was not touched for so long is old: several touches must have failed.
OLD: Final = timedelta(seconds=30)

FILE_VARIABLE: Final = "WORKER_HEALTH_FILE"


def health_file() -> Path:
    """The file of this node: what `WORKER_HEALTH_FILE` names, else `worker.health` in the state folder."""
    named = os.environ.get(FILE_VARIABLE)
    return Path(named) if named else Settings.load().state_dir / "worker.health"


def problem(path: Path, now: float) -> str | None:
    """What is wrong with the node that touches this file; None if nothing is.

    Args:
        path: its health file.
        now: seconds since the epoch.
    """
    try:
        age = timedelta(seconds=now - path.stat().st_mtime)
    except FileNotFoundError:
        return f"no worker consumes: there is no {path}"
    if age > OLD:
        return f"the worker hangs: it last touched {path} {age.total_seconds():.0f} s ago"
    return None


def main() -> None:
    """Exit 0 or 1."""
    try:
        found = problem(health_file(), time.time())
    except DispatcherError as error:
        found = str(error)
    if found is not None:
        sys.exit(found)


if __name__ == "__main__":
    main()
