"""Embedded servers of the same user in other folders: whoever starts a second one may have meant the first.

The state folder is looked up from the current folder, so that a worker and a producer which are started in two folders
have a server each, and the producer's calls wait for a worker that never hears of them.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dispatcher.settings import Settings
from dispatcher.transport.state_folder import CONFIG, StateFolder


def folders_elsewhere(settings: Settings) -> list[Path]:
    """Other state folders in which an embedded server runs; none where a server, or one folder for all, is named."""
    if settings.url is not None or settings.state_dir.is_absolute():
        return []
    named, own = settings.state_dir.parts, StateFolder(settings.state_dir).path.resolve()
    found = {folder for folder in _folders_running() if folder.parts[-len(named) :] == named}
    return sorted(folder for folder in found if folder.resolve() != own)


def mention_elsewhere(settings: Settings) -> str:
    """The same in words that follow what was said of this folder's server; empty where there is none."""
    folders = folders_elsewhere(settings)
    if not folders:
        return ""
    others = ", ".join(map(str, folders[:3])) + (" and others" if len(folders) > 3 else "")  # noqa: PLR2004
    return (
        f"another embedded server runs in {others}: who shall share one must be started in the same folder, "
        "or with the same DISPATCHER_STATE_DIR or DISPATCHER_URL"
    )


def _folders_running() -> Iterator[Path]:
    for words in _command_lines():
        config = Path(os.fsdecode(words[-1])) if words else Path()
        # A server of ours is started with its configuration and nothing else.
        if len(words) == 2 and config.name == CONFIG and config.is_absolute():  # noqa: PLR2004
            yield config.parent


def _command_lines() -> Iterator[list[bytes]]:
    """Those of this user's processes, as far as the system shows them."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if path.stat().st_uid == os.getuid():
                yield (path / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    if not Path("/proc/self").exists():
        with suppress(OSError, subprocess.SubprocessError):
            command = ["ps", "-ww", "-x", "-o", "command="]
            lines = subprocess.run(command, capture_output=True, timeout=5, check=False).stdout.splitlines()  # noqa: S603
            yield from (line.strip().split(b" ", 1) for line in lines)
