"""An environment for each peer, made once from its pins."""

import hashlib
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.calls.processes import BenchError

PINS: Final = Path(__file__).parent / "peers"
#: What its environment was made from.
_MARK: Final = ".pins"
_INSTALL_SECONDS: Final = 600


def environment_of(name: str, folder: Path, note: Callable[[str], None]) -> Path:
    """The folder with a peer's programs; its environment is made if it is missing or its pins have changed.

    Args:
        name: of the peer.
        folder: where environments are kept.
        note: told what takes a while.

    Raises:
        BenchError: it cannot be made.
    """
    pins = PINS / f"{name}.txt"
    wanted = _fingerprint(pins)
    own = (folder / name).absolute()
    mark = own / _MARK
    if not mark.is_file() or mark.read_text(encoding="utf-8") != wanted:
        note(f"installing {name} (once)")
        venv.create(own, clear=True, with_pip=True)
        _install(own, pins)
        mark.write_text(wanted, encoding="utf-8")
    return own / "bin"


def _install(own: Path, pins: Path) -> None:
    command = [
        str(own / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "-qq",
        "-r",
        str(pins),
    ]
    try:
        made = subprocess.run(  # noqa: S603 - our own pins
            command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        msg = f"installing {pins.name} took longer than {_INSTALL_SECONDS} s"
        raise BenchError(msg) from None
    if made.returncode != 0:
        msg = f"{pins.name} cannot be installed: {made.stderr.strip()}"
        raise BenchError(msg)


def _fingerprint(pins: Path) -> str:
    return hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()


def pinned(name: str) -> dict[str, str]:
    """The versions of a peer's distributions."""
    lines = (PINS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)
