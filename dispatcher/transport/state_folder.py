"""The folder an embedded server lives in: its files, its secret, and the lock that says whose it is."""

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import weakref
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from dispatcher.errors import NoServerError

#: A log larger than this is set aside at the next start; one older log is kept.
_MAX_LOG_BYTES: Final = 5 * 1024 * 1024
_LAST_LOG_LINES: Final = 8

#: The server's configuration; the server's command line ends with its path.
CONFIG: Final = "server.conf"

#: Only its owner may read what holds the password.
_SECRET_MODE: Final = 0o600


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningServer:
    """What one process tells another about the server in the folder."""

    #: With the password.
    url: str = field(repr=False)
    pid: int


class StateFolder:
    """The files of one embedded server. Its data and secrets are readable by its user alone."""

    def __init__(self, path: Path) -> None:
        # The server runs in its data folder, so every path it is given is absolute.
        self.path = path.absolute()
        self.config = self.path / CONFIG
        self.log = self.path / "server.log"
        self.pid_file = self.path / "server.pid"
        self._record = self.path / "server.json"
        self._password = self.path / "server-password"
        self._lock = self.path / "lock"
        self._lock_fd: int | None = None

    @property
    def name(self) -> str:
        """How errors name the server, as long as it has no address."""
        return f"embedded server in {self.path}"

    def prepare(self) -> None:
        """Make the folder, and tell git to leave it alone.

        Raises:
            NoServerError: it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
            os.close(os.open(self._lock, os.O_RDWR | os.O_CREAT, _SECRET_MODE))
        except OSError as error:
            raise self.unwritable(error) from error

    def unwritable(self, error: OSError) -> NoServerError:
        """The error for a folder that does not take our files."""
        problem = (
            f"cannot write to its folder ({error.strerror or error}); "
            "set DISPATCHER_STATE_DIR to a folder of yours, or DISPATCHER_URL to a server that runs"
        )
        return NoServerError(self.name, problem)

    # --- whose it is

    def try_lock(self) -> bool:
        """Become the owner, if nobody is. The system takes the lock back when this process ends, however it ends."""
        if self._lock_fd is not None:
            return True
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT, _SECRET_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self._lock_fd = fd
        _remember(self)
        return True

    def unlock(self) -> None:
        """Stop being the owner. A file closed in a forked child keeps its parent's lock."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    @property
    def owner(self) -> str:
        """The process that holds the lock, for errors."""
        with suppress(OSError):
            pid = self._lock.read_text()
            if pid.isdecimal():
                return f"process {pid}"
        return "another process"

    # --- what is in it

    def password(self) -> str:
        """The server's password, made at the first start."""
        with suppress(FileNotFoundError):
            self._password.chmod(_SECRET_MODE)
            kept = self._password.read_text().strip()
            if kept:
                return kept
        made = secrets.token_urlsafe(24)
        self.write_secret(self._password, made + "\n")
        return made

    def write_secret(self, path: Path, text: str) -> None:
        """Write a file whole or not at all, never readable by others, not even for a moment."""
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            draft.unlink()
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRET_MODE)
        # Bytes of a path that are no UTF-8 are written as they are.
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        draft.replace(path)

    def last_port(self) -> int | None:
        """The port of the last start: who still knows the old address finds the server again."""
        with suppress(OSError, ValueError):
            for line in self.config.read_text("utf-8", "surrogateescape").splitlines():
                if line.startswith("port "):
                    return int(line.removeprefix("port "))
        return None

    def record(self, server: RunningServer) -> None:
        """Tell others where the server is."""
        self.write_secret(self._record, json.dumps(asdict(server)) + "\n")

    def forget(self) -> None:
        """The server is gone, or about to go."""
        for path in (self._record, self.pid_file):
            path.unlink(missing_ok=True)

    def recorded(self) -> RunningServer | None:
        """What the last owner told; whether it still runs is another question."""
        try:
            data = json.loads(self._record.read_text())
            return RunningServer(url=str(data["url"]), pid=int(data["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def pids(self) -> set[int]:
        """Processes that may be this folder's server: what the owner noted, and what the server did."""
        found = {server.pid} if (server := self.recorded()) is not None else set()
        with suppress(OSError, ValueError):
            found.add(int(self.pid_file.read_text()))
        return {pid for pid in found if self.is_ours(pid)}

    def is_ours(self, pid: int) -> bool:
        """Whether that process lives and was started with this folder's configuration, not a namesake of a dead one."""
        return pid > 0 and is_alive(pid) and os.fsencode(self.config) in _command_line(pid)

    # --- its log

    def open_log(self) -> BinaryIO:
        """The log, to be written to at its end."""
        return os.fdopen(os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _SECRET_MODE), "ab")

    def log_size(self) -> int:
        """Bytes in the log, after setting aside one that has grown too large."""
        with suppress(FileNotFoundError):
            size = self.log.stat().st_size
            if size <= _MAX_LOG_BYTES:
                return size
            self.log.replace(self.log.with_name("server.log.1"))
        return 0

    def log_since(self, offset: int) -> str:
        """The last lines that came into the log after `offset` bytes."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(offset)
            lines = file.read(64 * 1024).decode(errors="replace").splitlines()
            return "\n".join(lines[-_LAST_LOG_LINES:])
        return ""

    def clear(self, path: Path) -> None:
        """Remove a folder inside this one."""
        shutil.rmtree(path, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return True  # no /proc here (macOS), where the system collects what has ended at once
    return state != b"Z"


def _command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    with suppress(OSError, subprocess.SubprocessError):
        command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, timeout=5, check=False).stdout  # noqa: S603
    return b""


_locked: "weakref.WeakSet[StateFolder]" = weakref.WeakSet()
_hooked: list[bool] = []


def _remember(folder: StateFolder) -> None:
    """Let forked children drop their copy of the lock: else they would hold it when the owner is long dead."""
    _locked.add(folder)
    if not _hooked:
        _hooked.append(True)
        os.register_at_fork(after_in_child=_drop_locks)


def _drop_locks() -> None:
    for folder in list(_locked):
        folder.unlock()
