"""What `up` and `demo` start: worker nodes and the dashboard."""

import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.cli.command import CommandError
from dispatcher.cli.nodes import ping_nodes
from dispatcher.cli.processes import Child, Crew, spawn
from dispatcher.cli.server import ServerInUse
from dispatcher.clock import SystemClock
from dispatcher.errors import SettingsError
from dispatcher.monitoring.flower import FlowerLauncher

if TYPE_CHECKING:
    import subprocess

#: Seconds that nodes are given to start; a cold start on a busy machine takes about five.
START_SECONDS = 45.0
_PING_SECONDS = 0.5


def start_workers(
    crew: Crew, server: ServerInUse, place: str, *, count: int, concurrency: int | None, logs: Path | None = None
) -> list[Child]:
    """Start worker nodes that end with this process.

    Args:
        crew: whose children they become.
        server: what they work for; they are told its address in their environment, where no process list shows it.
        place: of the registry, as `module:attribute`.
        count: how many nodes.
        concurrency: processes of each; None: as many as the machine has.
        logs: a folder for their logs; None for pipes.
    """
    command = [sys.executable, "-m", "dispatcher", "worker", "--with-parent", "--quiet", "--app", place]
    if concurrency is not None:
        command += ["--concurrency", str(concurrency)]
    environment = {"DISPATCHER_URL": server.url, "PYTHONUNBUFFERED": "1"}
    workers = []
    for number in range(1, count + 1):
        name = f"worker-{number}"
        log = None if logs is None else logs / f"{name}.log"
        workers.append(crew.start(name, partial(spawn, command, environment, log), log=log))
    return workers


def start_dashboard(crew: Crew, launcher: FlowerLauncher, port: int | None = None) -> Child:
    """Start the dashboard.

    Args:
        crew: whose child it becomes.
        launcher: its `address` is right afterwards.
        port: None takes the setting, or any free one where that is taken, most likely by another dashboard.

    Raises:
        SettingsError: Flower is not installed, or the port is taken.
    """

    def launch() -> "subprocess.Popen[bytes]":
        try:
            return launcher.start(port)
        except SettingsError:
            if port is not None:
                raise
            return launcher.start(0)

    return crew.start("flower", launch, log=launcher.log_path)


async def wait_until_ready(workers: Sequence[Child], server: ServerInUse) -> None:
    """Wait until every one of these nodes answers.

    Raises:
        CommandError: one of them ended, or does not answer in time; shows the end of its log.
    """
    clock = SystemClock()
    until = clock.monotonic() + START_SECONDS
    missing = list(workers)
    while missing:
        must_run(workers)
        if clock.monotonic() > until:
            msg = f"{missing[0].name} was not ready within {START_SECONDS:g} s\n{missing[0].last_words}"
            raise CommandError(msg)
        names = await asyncio.to_thread(ping_nodes, server, enough=len(workers), seconds=_PING_SECONDS)
        missing = [child for child in missing if not any(f"worker-{child.process.pid}@" in name for name in names)]


def must_run(children: Sequence[Child]) -> None:
    """Check that children live.

    Raises:
        CommandError: one of them has ended; shows the end of its log.
    """
    for child in children:
        code = child.process.poll()
        if code is not None:
            msg = f"{child.name} ended by itself with code {code}\n{child.last_words}".rstrip()
            raise CommandError(msg)


def password_hint(launcher: FlowerLauncher) -> str:
    """The dashboard's password where nobody has seen it yet, else where it is kept."""
    if launcher.is_new_password:
        return f"password {launcher.password} (shown once; kept in {launcher.password_path})"
    return f"password in {launcher.password_path}"


def dashboard_data(launcher: FlowerLauncher) -> dict[str, str]:
    """Where the dashboard is, as JSON data; its password is in a file."""
    return {"address": launcher.address, "user": launcher.user, "password_file": str(launcher.password_path)}
