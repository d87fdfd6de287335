"""Watches what `up` started: shows its output, starts again what ended by itself, and ends all in order."""

import asyncio
import signal
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

from rich.text import Text

from dispatcher.cli.command import CommandError
from dispatcher.cli.fleet import (
    dashboard_data,
    password_hint,
    start_dashboard,
    start_workers,
    wait_until_ready,
)
from dispatcher.cli.output import Output
from dispatcher.cli.processes import Child, Crew
from dispatcher.cli.server import ServerInUse, server_in_use
from dispatcher.clock import Clock, SystemClock
from dispatcher.extras import install_command
from dispatcher.monitoring.flower import FlowerLauncher, is_available
from dispatcher.settings import Settings
from dispatcher.transport.state_folder import is_alive

#: A process that ends by itself more often than so within so many seconds is not started again.
MAX_RESTARTS: Final = 3
WITHIN_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2
#: Before something is started again.
_PAUSE_SECONDS: Final = 1.0
#: Seconds that the dashboard is given to stop.
_FLOWER_SECONDS: Final = 5.0
_STYLES: Final = ("cyan", "magenta", "yellow", "blue", "green")


class Restarts:
    """Counts how often each process was started again, and says when that is enough."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: dict[str, deque[float]] = defaultdict(deque)

    def allow(self, name: str) -> bool:
        """Whether that process may be started again, now; counts as having been."""
        now, times = self._clock.monotonic(), self._times[name]
        while times and times[0] <= now - WITHIN_SECONDS:
            times.popleft()
        if len(times) >= MAX_RESTARTS:
            return False
        times.append(now)
        return True


class Supervisor:
    """Watches the children of one terminal.

    Args:
        crew: all of them.
        workers: those whose output comes through pipes, and that end first.
        server: what they use; started again if it is ours and dies.
        output: where lines and events go.
        clock: for counting restarts.
    """

    def __init__(
        self,
        crew: Crew,
        workers: Sequence[Child],
        server: ServerInUse,
        output: Output,
        clock: Clock | None = None,
    ) -> None:
        self._crew = crew
        self._workers = workers
        self._server = server
        self._output = output
        self._restarts = Restarts(clock if clock is not None else SystemClock())
        self._ending = threading.Event()
        self._sign = signal.SIGINT

    def show_output(self, child: Child, style: str | None = None) -> None:
        """Show a child's lines, each with the child's name before it, until its pipe ends."""
        chosen = style or _STYLES[self._crew.children.index(child) % len(_STYLES)]
        source = child.process.stdout
        if source is None:
            return

        def copy() -> None:
            for line in source:
                text = line.decode("utf-8", "replace").rstrip()
                self._output.screen.print(Text.assemble((f"{child.name:9}| ", chosen), text), soft_wrap=True)

        threading.Thread(target=copy, name=f"dispatcher-{child.name}", daemon=True).start()

    def run(self) -> signal.Signals:
        """Watch until Ctrl-C or SIGTERM, then let the workers finish.

        Returns:
            The signal that ended it.

        Raises:
            CommandError: something ended by itself too often.
            KeyboardInterrupt: Ctrl-C again, while the workers were finishing.
        """
        before = {sign: signal.signal(sign, self._on_signal) for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            while not self._ending.wait(_LOOK_SECONDS):
                self._look()
            self.event("stopping", "the workers finish their calls; Ctrl-C again does not wait")
            self._crew.stop(self._workers)
            self._crew.stop([child for child in self._crew.children if child not in self._workers], _FLOWER_SECONDS)
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)
        return self._sign

    def event(self, event: str, text: str, **data: object) -> None:
        """Say what happens: a line for people, or a JSON line."""
        if self._output.as_json:
            self._output.json({"event": event, **data}, one_line=True)
        else:
            self._output.screen.print(Text.assemble(("up       | ", "bold"), text), soft_wrap=True)

    def _on_signal(self, sign: int, _frame: FrameType | None) -> None:
        if self._ending.is_set():
            raise KeyboardInterrupt
        self._sign = signal.Signals(sign)
        self._ending.set()

    def _look(self) -> None:
        for child in self._crew.children:
            code = child.process.poll()
            if code is not None and self._again(
                child.name, f"{child.name} ended by itself with code {code}", child.last_words
            ):
                self._crew.restart(child)
                self.show_output(child)
                self.event("started", f"{child.name} is started again", process=child.name, pid=child.process.pid)
        embedded = self._server.embedded
        if embedded is None or not embedded.is_owner or embedded.pid is None or is_alive(embedded.pid):
            return
        if self._again("server", f"the server ended by itself; its log is {embedded.log_path}", ""):
            embedded.restart()
            self.event("started", "the server is started again", process="server", pid=embedded.pid)

    def _again(self, name: str, problem: str, last_words: str) -> bool:
        """Whether to start again what has ended by itself, after a moment."""
        self.event("ended", problem, process=name)
        if not self._restarts.allow(name):
            msg = f"{problem}; it was started again {MAX_RESTARTS} times already\n{last_words}".rstrip()
            raise CommandError(msg)
        # Whatever ended it may end us all: then nothing is to be started.
        return not self._ending.wait(_PAUSE_SECONDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What `up` is to run."""

    #: Of the registry, as `module:attribute`.
    place: str
    #: Worker nodes.
    workers: int
    #: Processes of each; None: as many as the machine has.
    concurrency: int | None
    #: Whether the dashboard is wanted.
    flower: bool
    #: None takes the setting.
    flower_port: int | None


def run_all(settings: Settings, plan: Plan, output: Output) -> signal.Signals:
    """Run all that is planned until a signal ends it.

    Returns:
        That signal.

    Raises:
        DispatcherError: something could not be started, or ended by itself too often.
        KeyboardInterrupt: Ctrl-C while starting, or twice.
    """
    with server_in_use(settings, stop=True) as server, Crew() as crew:
        server.check()
        workers = start_workers(crew, server, plan.place, count=plan.workers, concurrency=plan.concurrency)
        supervisor = Supervisor(crew, workers, server, output)
        supervisor.event("server", f"server on {server.address} ({server.how})", address=server.address, how=server.how)
        for child in workers:
            supervisor.show_output(child)
            supervisor.event("started", f"{child.name} is starting", process=child.name, pid=child.process.pid)
        launcher = _start_flower(crew, server, plan, supervisor) if plan.flower else None
        asyncio.run(wait_until_ready(workers, server))
        supervisor.event("ready", "ready for calls; try, in another terminal: dispatcher functions")
        if launcher is not None:
            text = f"dashboard on {launcher.address}, user {launcher.user}, {password_hint(launcher)}"
            supervisor.event("flower", text, **dashboard_data(launcher))
        return supervisor.run()


def _start_flower(crew: Crew, server: ServerInUse, plan: Plan, supervisor: Supervisor) -> FlowerLauncher | None:
    if not is_available():
        text = f"no dashboard: Flower is not installed ({install_command('dashboard')})"
        supervisor.event("no_flower", text)
        return None
    launcher = FlowerLauncher(server.settings, server.url)
    start_dashboard(crew, launcher, plan.flower_port)
    return launcher
