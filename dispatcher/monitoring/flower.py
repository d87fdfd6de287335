"""Flower, Celery's dashboard, closed to everybody who has no password.

Two ways lead to it, and both end here: `FlowerLauncher`, which `dispatcher flower`, `up` and `demo` use, starts it as a
program of ours; `celery -A yours flower` is Celery's own command, which asks `close_dashboard` before it listens.
"""

import os
import secrets
import socket
import subprocess
import sys
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Final
from urllib.request import ProxyHandler, build_opener

from dispatcher.clock import Clock, SystemClock
from dispatcher.errors import NoServerError, SettingsError
from dispatcher.extras import install_command
from dispatcher.settings import Settings
from dispatcher.transport.state_folder import StateFolder

#: Nobody but this machine may look, unless somebody says so.
HOST: Final = "127.0.0.1"
USER: Final = "flower"
PASSWORD_FILE: Final = "flower.password"  # noqa: S105 - its name
#: The arguments are in `kwargs`; wake-ups have no others. Errors are in `result`.
COLUMNS: Final = "name,kwargs,state,result,retries,runtime,worker,received,uuid"

#: Seconds. Flower takes one or two to start, more on a busy machine.
_START_SECONDS: Final = 30.0
_LISTEN_SECONDS: Final = 5.0
#: What kombu logs when events arrive.
_LISTENS: Final = b"Connected to"
_POLL_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Password:
    """What opens the dashboard."""

    path: Path
    text: str
    #: Whether it was made just now, and nobody has seen it yet.
    is_new: bool

    @classmethod
    def of(cls, settings: Settings) -> "Password":
        """The one kept in the state folder, readable by its user alone; made at first use.

        Raises:
            SettingsError: the folder cannot be written to.
        """
        folder = StateFolder(settings.state_dir)
        path = folder.path / PASSWORD_FILE
        try:
            kept = _read_secret(path)
            if kept:
                return cls(path=path, text=kept, is_new=False)
            folder.prepare()
            made = secrets.token_urlsafe(18)
            folder.write_secret(path, made + "\n")
        except (OSError, NoServerError) as error:
            msg = f"the dashboard's password cannot be kept in {path}; set DISPATCHER_STATE_DIR to a folder of yours"
            raise SettingsError(msg) from error
        return cls(path=path, text=made, is_new=True)


def is_available() -> bool:
    """Whether Flower is installed."""
    return find_spec("flower") is not None


class FlowerLauncher:
    """Starts the dashboard as a process of its own: on loopback, with a password, read-only, nothing kept on disk.

    Neither the dashboard's password nor the server's is in a command line, where every user of the machine could read
    it.

    Args:
        settings: the port, the state folder, the broker.
        url: the server that holds the ledger.
        clock: how waiting is measured.

    Raises:
        SettingsError: the state folder cannot be written to.
    """

    def __init__(self, settings: Settings, url: str, clock: Clock | None = None) -> None:
        self._settings = settings
        self._url = url
        self._clock = clock if clock is not None else SystemClock()
        self._port = settings.flower_port
        self._password = Password.of(settings)

    @property
    def user(self) -> str:
        return USER

    @property
    def password(self) -> str:
        return self._password.text

    @property
    def is_new_password(self) -> bool:
        """Whether it was made just now: the caller shows it, once."""
        return self._password.is_new

    @property
    def password_path(self) -> Path:
        """Where it is kept."""
        return self._password.path

    @property
    def address(self) -> str:
        """Where the dashboard is, for a browser."""
        return f"http://{HOST}:{self._port}"

    @property
    def log_path(self) -> Path:
        """What the dashboard says."""
        return StateFolder(self._settings.state_dir).path / "flower.log"

    def start(self, port: int | None = None) -> "subprocess.Popen[bytes]":
        """Start it, and return at once. It ends when it is told to, or when this process does.

        Args:
            port: None takes `flower_port`; 0 takes any free one.

        Raises:
            SettingsError: Flower is not installed, or the port is taken.
        """
        if not is_available():
            msg = f"the dashboard needs Flower: {install_command('dashboard')}"
            raise SettingsError(msg)
        self._port = _free_port(self._settings.flower_port if port is None else port)
        with os.fdopen(os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dispatcher.monitoring.flower_main"],
                stdin=subprocess.PIPE,  # it ends when this does, however this process dies
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,  # a terminal's Ctrl-C is for us: the dashboard stays until the workers are done
            )

    def wait(self, process: "subprocess.Popen[bytes]", seconds: float = _START_SECONDS) -> bool:
        """Wait until the dashboard answers. False when it has ended, or takes longer than that."""
        began = self._clock.monotonic()
        while process.poll() is None:
            waited = self._clock.monotonic() - began
            # It shows what it has heard, and it answers before it listens: by its log, if that says so in time.
            listens = waited >= min(_LISTEN_SECONDS, seconds) or _LISTENS in self.log_path.read_bytes()
            if listens and _answers(f"{self.address}/healthcheck"):
                return True
            if waited >= seconds:
                return False
            Event().wait(_POLL_SECONDS)
        return False

    def _environment(self) -> dict[str, str]:
        settings = self._settings
        broker = settings.broker_url
        ours = {
            "DISPATCHER_URL": self._url,
            "DISPATCHER_BROKER_URL": None if broker is None else broker.get_secret_value(),
            "DISPATCHER_NAMESPACE": settings.namespace,
            "DISPATCHER_STATE_DIR": str(settings.state_dir.absolute()),
            "DISPATCHER_MAX_MESSAGE_BYTES": str(settings.max_message_bytes),
            "DISPATCHER_FLOWER_PORT": str(self._port),
        }
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        return kept | {name: value for name, value in ours.items() if value is not None}


def close_dashboard(settings: Settings) -> None:
    """Give `celery -A yours flower` what it lacks, unless the user has said otherwise: loopback, a password, read-only.

    An address, `--basic_auth` or `--auth` of the user's own stand. `FLOWER_READ_ONLY=false` brings the buttons back;
    those that revoke and start calls go past the ledger.

    Raises:
        SettingsError: a password is needed, and the state folder cannot be written to.
    """
    from tornado.options import options  # noqa: PLC0415 - comes with Flower, which is optional

    if not options.address and not options.unix_socket:
        options.address = HOST
    if not options.basic_auth and not options.auth:
        password = Password.of(settings)
        options.basic_auth = [f"{USER}:{password.text}"]
        sys.stderr.write(f"Flower asks for a login: {describe_login(password, to_terminal=sys.stderr.isatty())}\n")
    if "FLOWER_READ_ONLY" not in os.environ:
        options.read_only = True


def describe_login(password: Password, *, to_terminal: bool) -> str:
    """Who may come in: with a new password, once, and only to people; what is no terminal is a log."""
    if password.is_new and to_terminal:
        return f"user {USER}, password {password.text} (kept in {password.path}; shown only now)"
    return f"user {USER}, password in {password.path}"


def _read_secret(path: Path) -> str:
    try:
        path.chmod(0o600)
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        # As the dashboard does: a port whose old connections linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            msg = f"the dashboard's port {port} is taken; set DISPATCHER_FLOWER_PORT to another"
            raise SettingsError(msg) from error
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        # No proxy: the address is this machine's own.
        with build_opener(ProxyHandler({})).open(url, timeout=_ANSWER_SECONDS) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
