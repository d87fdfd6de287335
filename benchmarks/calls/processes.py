"""Programs that are started, watched and, whatever happens, ended."""

import ctypes
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.calls.cpu import all_processes, cpu_seconds, tree
from dispatcher.errors import DispatcherError

ROOT: Final = Path(__file__).parents[2]
#: PR_SET_PDEATHSIG.
_SET_PARENT_DEATH_SIGNAL: Final = 1
#: A program that was told to end is given this long.
_END_SECONDS: Final = 5.0
#: One that starts, on a busy machine.
_START_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05
#: Workers are ready when they have used less than this share of a processor for so long.
_QUIET_SHARE: Final = 0.3
_QUIET_SECONDS: Final = 0.3
#: Those that ask the server again and again are never quiet: after so long they are taken for ready.
_NEVER_QUIET_SECONDS: Final = 6.0
_ENDED: Final = "has ended by itself"
#: How much of a log is shown.
_TAIL_LINES: Final = 15


class BenchError(DispatcherError):
    """Something could not be measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A program and what it is told."""

    argv: Sequence[str]
    environment: Mapping[str, str]


class Running:
    """A program in a process group of its own, which ends with it.

    Args:
        command: what to run.
        log: where its output goes; a producer's standard output goes to us.
        talking: whether it is one that we talk to.
    """

    def __init__(self, command: Command, log: Path, *, talking: bool = False) -> None:
        self._command = command
        self._log = log
        self._talking = talking
        self._buffer = b""

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE if self._talking else None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                self._command.argv,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self._command.environment},
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - we have one thread
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        """Have it end in its own time; then end it, and what is left of its group."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def finish(self) -> None:
        """End its input, and let it end by itself."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)

    def must_live(self) -> None:
        """Look whether it still runs.

        Raises:
            BenchError: it has ended, with the last lines that it wrote.
        """
        if self._process.poll() is not None:
            raise self._failed(_ENDED)

    def _failed(self, what: str) -> BenchError:
        return BenchError(f"{' '.join(self._command.argv[1:4])} {what}:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    # --- talking

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        stream = self._process.stdin
        if stream is not None:
            stream.write(line.encode() + b"\n")
            stream.flush()

    def hear(self, within: float) -> str:
        """The next line that it writes.

        Raises:
            BenchError: none came in time, or it has ended.
        """
        until = time.monotonic() + within
        while b"\n" not in self._buffer:
            if not self._read(until - time.monotonic()):
                what = f"said nothing within {within:.0f} s"
                raise self._failed(what)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def _read(self, within: float) -> bool:
        """Read what it writes next; False if that takes too long."""
        stream = self._process.stdout
        if stream is None or within <= 0:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if not selector.select(within):
                return False
        read = os.read(stream.fileno(), 65_536)
        if not read:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
            raise self._failed(_ENDED)
        self._buffer += read
        return True


def _end_with_parent() -> None:
    """Have the system end this process when we are killed. Source: prctl(2)."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def start_all(stack: ExitStack, commands: Sequence[Command], log: Path) -> list[Running]:
    """Start programs that end with the stack."""
    return [stack.enter_context(Running(command, log)) for command in commands]


def wait_until_quiet(workers: Sequence[Running], processes: int) -> None:
    """Wait until workers have started all their processes and have nothing more to do.

    Raises:
        BenchError: one has ended.
    """
    began = quiet_since = time.monotonic()
    before = 0.0
    while True:
        for worker in workers:
            worker.must_live()
        now = time.monotonic()
        there = tree([worker.pid for worker in workers], all_processes())
        used = cpu_seconds(there)
        if len(there) < processes or used - before > _QUIET_SHARE * (now - quiet_since) + 0.01:
            quiet_since, before = now, used
        elif now - quiet_since >= _QUIET_SECONDS:
            return
        if len(there) >= processes and now - began > _NEVER_QUIET_SECONDS:
            return
        if now - began > _START_SECONDS:
            msg = f"{len(there)} processes of {processes} have started within {_START_SECONDS:.0f} s"
            raise BenchError(msg)
        time.sleep(_LOOK_SECONDS)
