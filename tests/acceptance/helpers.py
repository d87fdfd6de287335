"""Worker processes, waiting, and counting what ran."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import redis

from dispatcher import Settings
from tests.acceptance.functions import MARKS_VARIABLE
from tests.integration.ledger_rig import WITHOUT_TTL

ROOT = Path(__file__).parents[2]
#: For a busy machine; on a quiet one a worker is up in two seconds.
PATIENCE_SECONDS = 40.0
LONG = timedelta(seconds=PATIENCE_SECONDS)

#: Short, so that faults are mended while a test watches; long enough that a busy machine causes none.
QUICK_SETTINGS = {
    "lease_seconds": 2.0,
    "sweep_interval_seconds": 0.2,
    "republish_grace_seconds": 1.0,
    "kill_grace_seconds": 0.5,
    "poll_interval_seconds": 0.5,
}


def eventually(check: Callable[[], Any], *, within: float = PATIENCE_SECONDS) -> Any:
    """What `check` gives, once it is true."""
    until = time.monotonic() + within
    while not (found := check()):
        assert time.monotonic() < until, f"not within {within:g} s: {inspect.getsource(check).strip()}; last: {found!r}"
        time.sleep(0.02)
    return found


async def soon(check: Callable[[], Any], *, within: float = PATIENCE_SECONDS) -> Any:
    """The same for an event loop, where `check` may be a coroutine function."""
    until = time.monotonic() + within
    while True:
        found = check()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < until, f"not within {within:g} s: {inspect.getsource(check).strip()}; last: {found!r}"
        await asyncio.sleep(0.02)


class Marks:
    """What the functions left behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, label: str) -> list[str]:
        path = self.folder / label
        return path.read_text().splitlines() if path.exists() else []

    def count(self, label: str, word: str) -> int:
        return sum(line.startswith(word) for line in self.of(label))

    def started(self, label: str) -> int:
        """How often the function was started."""
        return self.count(label, "start")

    def pid(self, label: str) -> int:
        """The process that last started it."""
        return int(next(line for line in reversed(self.of(label)) if line.startswith("start")).split()[1])


class Worker:
    """A real worker in a process of its own, which leads a process group: its pool's processes are in it."""

    #: Every worker that a test of this run started: a failed test shows the logs of those that live.
    live: list["Worker"] = []  # noqa: RUF012 - shared on purpose

    def __init__(
        self,
        settings: Settings,
        marks: Marks,
        *options: str,
        app: str = "tests.acceptance.worker_app",
        by: str = "celery",
    ) -> None:
        self._settings = settings
        self._marks = marks
        self._options = options
        program = [app] if by == "dispatcher.node" else ["-A", app, "worker"]
        self._command = [sys.executable, "-m", by, *program]
        self.log = marks.folder / f"worker-{len(Worker.live)}-{time.monotonic_ns()}.log"
        self._seen = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, *, wait: bool = True) -> Self:
        command = [*self._command, "-l", "INFO", "-n", f"{self.log.stem}@test"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        environment = {**os.environ, **environment_of(self._settings), MARKS_VARIABLE: str(self._marks.folder)}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *quiet, "-c", "2", *self._options],
                cwd=ROOT,
                env=environment | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        Worker.live.append(self)
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        self.wait_for_log(" ready.")

    def wait_for_log(self, text: str) -> None:
        """Until the log has a new line with this text."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            content = self.log.read_text(errors="replace")
            found = content.find(text, self._seen)
            if found >= 0:
                self._seen = found + len(text)
                return
            assert self.alive, f"the worker has ended:\n{content[-3000:]}"
            assert time.monotonic() < until, f"no {text!r} in the worker's log:\n{content[-3000:]}"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL for the main process and its pool at once, as when a machine dies."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def signal(self, sign: signal.Signals) -> None:
        """A signal for the main process and its pool."""
        os.killpg(self.pid, sign)

    def stop(self) -> None:
        """End it in its own time, which takes a second or two, then at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.kill()
        self.end()

    def end(self) -> None:
        """End it at once, for a test that is over. What comes of a warm shutdown is looked at by those that `stop`."""
        if self.alive:
            self.kill()
        if self in Worker.live:
            Worker.live.remove(self)

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()


def environment_of(settings: Settings) -> Mapping[str, str]:
    """The settings that were set, as the environment of a process."""
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        f"DISPATCHER_{name.upper()}": value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        for name, value in values.items()
        if value is not None
    }


def lasting_keys(client: redis.Redis) -> Iterator[str]:
    """Keys of ours that would stay for ever, but for those that are meant to; kombu's queues and bindings are its own."""
    for raw in client.scan_iter(match="{*}:*"):
        name = raw.decode()
        own = name.partition("}:")[2].removeprefix("queue:")  # what Celery keeps under a namespace
        if own.startswith((*WITHOUT_TTL, "_kombu", "unacked")) or client.type(raw) == b"list":
            continue
        if client.pttl(raw) == -1:
            yield name
