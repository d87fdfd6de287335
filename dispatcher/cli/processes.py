"""Child processes of one terminal: worker nodes and the dashboard. None of them outlives this process.

Each has a session of its own, so that Ctrl-C in the terminal reaches us alone and we end them in the right order. Each
holds the read end of a pipe as its standard input (`--with-parent`): it ends when we do, however we end.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dispatcher.clock import SystemClock

#: Seconds that children are given to finish what they do when nobody wants to wait.
HURRY_SECONDS: Final = 3.0
#: Seconds that a child which was told to end at once is given, before it is ended.
_AT_ONCE_SECONDS: Final = 1.5
_POLL_SECONDS: Final = 0.02
#: The last lines of a log that an error shows.
_LAST_LINES: Final = 12


@dataclass(kw_only=True, eq=False)
class Child:
    """One child process."""

    name: str
    #: Starts it, again too.
    launch: "Callable[[], subprocess.Popen[bytes]]"
    process: "subprocess.Popen[bytes]"
    #: None where its output is read through a pipe.
    log: Path | None

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def last_words(self) -> str:
        """The end of its log."""
        if self.log is None:
            return ""
        with suppress(OSError):
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:])
        return ""

    def signal(self, sign: signal.Signals) -> None:
        """Tell its main process something, if it still runs."""
        if self.running:
            self.process.send_signal(sign)

    def sweep(self) -> None:
        """End whatever is left of its session: a main process that was killed leaves its pool behind."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Crew:
    """The children of this process, ended together when the `with` block is left."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    def start(self, name: str, launch: "Callable[[], subprocess.Popen[bytes]]", *, log: Path | None = None) -> Child:
        """Start a child.

        Args:
            name: for people.
            launch: starts it, in a session of its own and with a pipe as its standard input.
            log: where its output goes.

        Raises:
            OSError: it cannot be started.
        """
        child = Child(name=name, launch=launch, process=launch(), log=log)
        self.children.append(child)
        return child

    def restart(self, child: Child) -> None:
        """Start a child that has ended again, after ending what it left behind."""
        child.sweep()
        child.process = child.launch()

    def stop(self, children: Sequence[Child], patience: float | None = None) -> None:
        """Ask children to end when their calls are done, and wait for that.

        Args:
            children: of this crew.
            patience: seconds before they are ended at once; None waits as long as it takes.

        Raises:
            KeyboardInterrupt: Ctrl-C while waiting; then they were ended at once.
        """
        for child in children:
            child.signal(signal.SIGTERM)
        try:
            if not _wait(children, patience):
                self._hurry(children)
        except KeyboardInterrupt:
            self._hurry(children)
            raise
        finally:
            for child in children:
                child.sweep()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(self.children, HURRY_SECONDS)

    def _hurry(self, children: Sequence[Child]) -> None:
        """End children at once; their calls are given to others when their leases end."""
        for sign in (signal.SIGQUIT, signal.SIGKILL):
            for child in children:
                child.signal(sign)
            if _wait(children, _AT_ONCE_SECONDS):
                return


def spawn(command: Sequence[str], environment: Mapping[str, str], log: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start a program as a child of ours must be started, in the current folder.

    Args:
        command: the program and its arguments.
        environment: on top of ours.
        log: where its output goes; None gives a pipe, `process.stdout`, that must be read.
    """
    variables = {**os.environ, **environment}
    if log is None:
        return subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )
    with log.open("wb") as file:
        return subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=variables, start_new_session=True
        )


def _wait(children: Sequence[Child], seconds: float | None) -> bool:
    """Whether all have ended in time."""
    now = SystemClock().monotonic
    until = None if seconds is None else now() + seconds
    while any(child.running for child in children):
        if until is not None and now() > until:
            return False
        time.sleep(_POLL_SECONDS)
    return True
