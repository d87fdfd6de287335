"""A Valkey/Redis server of our own, for development, demo and tests: nothing to install first, nothing left behind."""

import atexit
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from redis.exceptions import BusyLoadingError, RedisError

from dispatcher.clock import Clock, SystemClock
from dispatcher.errors import NoServerError
from dispatcher.settings import Settings
from dispatcher.transport.address import redact
from dispatcher.transport.binary import find_binary
from dispatcher.transport.connection import connect
from dispatcher.transport.elsewhere import mention_elsewhere
from dispatcher.transport.state_folder import RunningServer, StateFolder, is_alive

logger = logging.getLogger(__name__)

_HOST: Final = "127.0.0.1"
#: Below the state folder: the data of a server that keeps it.
_DATA: Final = "data"
#: A server with little data answers within 0.1 s; this is for a machine that is very busy.
_START_SECONDS: Final = 20.0
#: One that says that it is loading its data is given this long: about 100 MB of log a second.
_LOADING_SECONDS: Final = 300.0
_STOP_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.02
#: One knock at the door: whoever else may listen on that port need not answer at all.
_PING_SECONDS: Final = 1.0
#: Somebody else may take a port between our finding it free and the server's taking it.
_PORT_TRIES: Final = 5
_PORT_TAKEN = ("address already in use", "failed listening on port")

#: What the server may see of our environment: not our settings, which hold secrets.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

_NO_CONFIG: Mapping[str, str] = MappingProxyType({})


class EmbeddedServer:
    """A server that belongs to the process that started it, and that others on this machine may share.

    It listens on loopback only, asks for a password that is in no command line, and logs every write to disk
    (`appendonly`, once a second). The owner stops it on leaving the `with` block, in `stop()`, or at its exit; a
    process that only shares it never does. An owner that was killed leaves it running: the next process adopts it, with
    all data. It lives in a session of its own, so that Ctrl-C in a terminal does not end it before the workers have
    settled what they hold. (Linux could end it with its parent, but `PR_SET_PDEATHSIG` goes by the *thread* that
    started it.)

    Args:
        state_dir: its data, log, password and lock. Made if missing.
        port: unset: the last one, if that is free, else any free one.
        persist: False keeps nothing beyond a stop or a kill.
        config: more lines for the server's configuration, on top of ours.
        clock: how waiting is measured.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int | None = None,
        persist: bool = True,
        config: Mapping[str, str] = _NO_CONFIG,
        clock: Clock | None = None,
    ) -> None:
        self._folder = StateFolder(state_dir)
        self._wanted_port = port
        self._persist = persist
        self._extra = dict(config)
        self._clock = clock if clock is not None else SystemClock()
        self._data = self._folder.path / (_DATA if persist else "scratch")
        self._running: RunningServer | None = None
        self._child: subprocess.Popen[bytes] | None = None
        #: The process that owns the server; a forked child has this object too, and must leave the server alone.
        self._owner_pid: int | None = None

    @classmethod
    def attach_or_start(
        cls,
        state_dir: Path,
        *,
        port: int | None = None,
        persist: bool = True,
        config: Mapping[str, str] = _NO_CONFIG,
    ) -> Self:
        """Share the server that runs in `state_dir`, or adopt it if its owner died, or start one.

        `port`, `persist` and `config` are for a server started here; one that runs already is taken as it is.

        Raises:
            NoServerError: saying why, and what to do.
        """
        server = cls(state_dir, port=port, persist=persist, config=config)
        server._folder.prepare()
        until = server._clock.monotonic() + _START_SECONDS
        while not server._share():
            if server._own():
                return server
            if server._clock.monotonic() > until:
                problem = (
                    f"{server._folder.owner} owns it, but it does not answer; end that process, "
                    "or set DISPATCHER_STATE_DIR to another folder"
                )
                raise NoServerError(server._folder.name, problem)
            time.sleep(_POLL_SECONDS)
        return server

    def start(self) -> Self:
        """Start the server, or adopt one whose owner died. Nothing happens if this object runs it already.

        Raises:
            NoServerError: another process owns it, or it cannot be started: saying why, and what to do.
        """
        if self._running is not None:
            return self
        self._folder.prepare()
        if not self._own():
            problem = f"{self._folder.owner} owns it already; share it with EmbeddedServer.attach_or_start(…)"
            raise NoServerError(self._folder.name, problem)
        return self

    @property
    def url(self) -> str:
        """Where it is, password included.

        Raises:
            NoServerError: it was not started.
        """
        if self._running is None:
            raise NoServerError(self._folder.name, "it was not started, or is stopped")
        return self._running.url

    @property
    def address(self) -> str:
        """Where it is, for people: without the password."""
        return redact(self.url)

    @property
    def pid(self) -> int | None:
        """The server's process; None if it was not started, or is stopped."""
        return self._running.pid if self._running is not None else None

    @property
    def is_owner(self) -> bool:
        """Whether this process is the one that stops it."""
        return self._owner_pid == os.getpid()

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self._folder.log

    def stop(self) -> None:
        """Stop the server, with all it was told on disk, if this process owns it; else only let go of it."""
        if self.is_owner:
            # Gone from the record first: nobody shall begin to share a server that is about to stop.
            self._folder.forget()
            self._end(signal.SIGTERM)
            if not self._persist:
                self._folder.clear(self._data)
        self.leave()

    def leave(self) -> None:
        """Let go of the server without stopping it. It then belongs to the next process that wants one here."""
        if self.is_owner:
            atexit.unregister(self.stop)
            self._folder.unlock()
            self._owner_pid = None
        self._running = None
        if self._child is not None:
            self._child.returncode = self._child.poll() or 0  # no warning about a child that is left to live
            self._child = None

    def kill(self) -> None:
        """End the server at once, as a crash would (SIGKILL). `restart` brings it back. For fault tests; owner only."""
        self._must_own()
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start the server again on the same port and data, stopping it first if it runs. Owner only.

        Raises:
            NoServerError: it cannot be started, most likely because its port was taken meanwhile.
        """
        self._must_own()
        self._end(signal.SIGTERM)
        self._launch(_port(self.url))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # --- who has it

    def _share(self) -> bool:
        """Use the server that another process runs, if it answers."""
        server = self._folder.recorded()
        if server is None or not self._folder.is_ours(server.pid) or self._ping(server.url) != "up":
            return False
        if self._folder.try_lock():  # nobody owns it: adopting it is for `_own`
            return False
        self._running = server
        return True

    def _own(self) -> bool:
        """Take the lock, then the server that is there, or a new one. False if another process has the lock."""
        try:
            if not self._folder.try_lock():
                return False
            self._owner_pid = os.getpid()
            if not self._adopt():
                self._launch(self._wanted_port)
        except OSError as error:
            self._abandon()
            raise self._folder.unwritable(error) from error
        except BaseException:
            self._abandon()
            raise
        atexit.register(self.stop)
        return True

    def _abandon(self) -> None:
        self._end(signal.SIGKILL)
        self.leave()

    def _adopt(self) -> bool:
        """Take over the server of an owner that died. One that runs and does not answer is ended: it holds our data."""
        server = self._folder.recorded()
        if server is not None and self._folder.is_ours(server.pid) and self._wait_until_up(server):
            self._running = server
            return True
        for pid in self._folder.pids():
            self._end_process(pid, signal.SIGTERM)
        self._folder.forget()
        return False

    def _must_own(self) -> None:
        if not self.is_owner or self._running is None:
            raise NoServerError(self._folder.name, "only the process that started it may kill or restart it")

    # --- starting

    def _launch(self, port: int | None) -> None:
        binary = find_binary(self._folder.name)
        password = self._folder.password()
        if not self._persist and self._running is None:
            self._folder.clear(self._data)
        self._data.mkdir(exist_ok=True, mode=0o700)
        for _ in range(_PORT_TRIES):
            chosen = port if port is not None else _free_port(self._folder.last_port())
            self._folder.write_secret(self._folder.config, self._configuration(chosen, password))
            offset = self._folder.log_size()
            self._child = self._spawn(binary)
            server = RunningServer(url=f"redis://:{password}@{_HOST}:{chosen}/0", pid=self._child.pid)
            self._running = server
            self._folder.record(server)
            if self._wait_until_up(server):
                return
            self._end(signal.SIGKILL)
            log = self._folder.log_since(offset)
            if port is not None or not any(sign in log.lower() for sign in _PORT_TAKEN):
                break
        self._folder.forget()
        problem = f"{binary} did not start on port {chosen}; the end of its log ({self._folder.log}):\n{log}\n"
        raise NoServerError(self._folder.name, problem)

    def _spawn(self, binary: Path) -> "subprocess.Popen[bytes]":
        with self._folder.open_log() as log:  # what it says before it has read where its log is
            return subprocess.Popen(  # noqa: S603 - our own program and our own file
                [str(binary), str(self._folder.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._data,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                start_new_session=True,
            )

    def _configuration(self, port: int, password: str) -> str:
        lines = {
            "bind": _HOST,
            "port": str(port),
            "protected-mode": "yes",
            "requirepass": password,
            "daemonize": "no",
            "dir": _quote(self._data),
            "logfile": _quote(self._folder.log),
            "pidfile": _quote(self._folder.pid_file),
            # The server's command line stays as we wrote it: by it we know our own from a namesake of its pid.
            "set-proc-title": "no",
            "appendonly": "yes" if self._persist else "no",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            # A job's record stays in the compact form with its envelope in it: 40 % less memory for each separate call,
            # for at most 4 % more of the server's time (docs/scale.md). The older name: every version knows it.
            "hash-max-ziplist-value": "1024",
        }
        return "".join(f"{name} {value}\n" for name, value in (lines | self._extra).items())

    def _wait_until_up(self, server: RunningServer) -> bool:
        """Whether the server answers in time. False at once when its process has ended."""
        began = self._clock.monotonic()
        while (state := self._ping(server.url)) != "up":
            ended = self._child.poll() is not None if self._child is not None else not is_alive(server.pid)
            patience = _LOADING_SECONDS if state == "loading" else _START_SECONDS
            if ended or self._clock.monotonic() - began > patience:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _ping(self, url: str) -> str:
        """One of: up, loading, down. Our password let in proves that it is our server."""
        try:
            with connect(f"{url}?socket_timeout={_PING_SECONDS}", role="embedded") as client:
                client.ping()
        except BusyLoadingError:
            return "loading"
        except RedisError:
            return "down"
        return "up"

    # --- ending

    def _end(self, how: signal.Signals) -> None:
        """End the server's process and wait for it; nothing if it has ended."""
        if self._child is not None:
            if self._child.poll() is None:
                self._child.send_signal(how)
            try:
                self._child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        elif self._running is not None and self._folder.is_ours(self._running.pid):
            self._end_process(self._running.pid, how)

    def _end_process(self, pid: int, how: signal.Signals) -> None:
        """The same for a process that is not our child."""
        for sign in (how, signal.SIGKILL):
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                return
            until = self._clock.monotonic() + _STOP_SECONDS
            while is_alive(pid) and self._clock.monotonic() < until:
                time.sleep(_POLL_SECONDS)
            if not is_alive(pid):
                return


def has_data(state_dir: Path) -> bool:
    """Whether a server that keeps its data has ever run in this folder."""
    data = state_dir / _DATA
    return data.is_dir() and any(data.iterdir())


def find_server(settings: Settings) -> tuple[str, EmbeddedServer | None]:
    """The server to use: the configured one, else the embedded one in the state folder, shared or started.

    Starting takes about 0.1 s and blocks: from an event loop, call it in a thread.

    Returns:
        Its URL, password included; and the embedded server, for the caller to stop when it is done.

    Raises:
        NoServerError: none is configured, and none can be started.
    """
    if settings.url is not None:
        return settings.url.get_secret_value(), None
    server = EmbeddedServer.attach_or_start(settings.state_dir)
    if server.is_owner and (elsewhere := mention_elsewhere(settings)):
        folder = str(settings.state_dir.absolute())
        told = {"folder": folder, "reason": elsewhere}
        logger.warning("embedded_server_started: in %s, while %s", folder, elsewhere, extra=told)
    return server.url, server


def _free_port(wished: int | None) -> int:
    for port in (wished, 0):
        if port is None:
            continue
        with socket.socket() as probe:
            # As the server does: a port whose old connections linger is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    message = f"no free port on {_HOST}"
    raise NoServerError(_HOST, message)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def _quote(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
