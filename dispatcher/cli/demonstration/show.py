"""The demo itself: starts what is needed, runs every request, reports, and leaves nothing behind."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dispatcher.cli.demonstration import report as reports
from dispatcher.cli.demonstration.report import Report
from dispatcher.cli.demonstration.requests import Request
from dispatcher.cli.demonstration.run import Tried, try_all
from dispatcher.cli.fleet import (
    dashboard_data,
    must_run,
    password_hint,
    start_dashboard,
    start_workers,
    wait_until_ready,
)
from dispatcher.cli.loading import Loaded
from dispatcher.cli.output import Output
from dispatcher.cli.processes import Child, Crew
from dispatcher.cli.server import ServerInUse, server_in_use
from dispatcher.client.dispatcher import Dispatcher
from dispatcher.extras import install_command
from dispatcher.monitoring.flower import FlowerLauncher, is_available
from dispatcher.settings import Settings

T = TypeVar("T")

#: Between two looks whether the workers live.
_LOOK_SECONDS = 0.25
#: Flower shows what it has seen: it must listen before the first call. Slower than this, and the demo goes on without.
_FLOWER_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Show:
    """One demo."""

    loaded: Loaded
    requests: Sequence[Request]
    output: Output
    #: Worker nodes.
    workers: int
    #: Whether everything is left running until Ctrl-C.
    keep: bool
    #: Longest wait for all outcomes.
    patience: timedelta

    def run(self, settings: Settings) -> bool:
        """Run it. Whatever happens, no process of ours is left.

        Returns:
            Whether every accepted call has its outcome.

        Raises:
            DispatcherError: something could not be started, or ended by itself.
        """
        with server_in_use(settings, stop=True) as server, Crew() as crew:
            server.check()
            self.output.note(f"server     {server.address} ({server.how})")
            workers = self._start_workers(crew, server)
            launcher = self._start_flower(crew, server)
            report = asyncio.run(self._try_all(server, workers, crew, launcher))
            if self.output.as_json:
                self.output.json({**report.to_data(), "flower": None if launcher is None else dashboard_data(launcher)})
            else:
                reports.show(report, self.output.screen)
            self._tell_flower(launcher)
            if self.keep:
                self._keep()
            return report.complete

    def _start_workers(self, crew: Crew, server: ServerInUse) -> list[Child]:
        folder = server.settings.state_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        each = max(1, (os.cpu_count() or 2) // self.workers)
        self.output.note(f"workers    {self.workers} nodes of {each} {'process' if each == 1 else 'processes'}")
        return start_workers(crew, server, self.loaded.place, count=self.workers, concurrency=each, logs=folder)

    def _start_flower(self, crew: Crew, server: ServerInUse) -> FlowerLauncher | None:
        if not is_available():
            self.output.note(f"dashboard  not installed; {install_command('dashboard')}")
            return None
        launcher = FlowerLauncher(server.settings, server.url)
        start_dashboard(crew, launcher)
        self.output.note(f"dashboard  {launcher.address}")
        return launcher

    async def _try_all(
        self, server: ServerInUse, workers: Sequence[Child], crew: Crew, launcher: FlowerLauncher | None
    ) -> Report:
        async with Dispatcher(
            self.loaded.registry, settings=server.settings, selector=self.loaded.make_selector(server.settings)
        ) as dispatcher:
            with self.output.notes.status("starting the workers"):
                ready = [wait_until_ready(workers, server)]
                if launcher is not None:
                    ready.append(_wait_for_flower(launcher, crew.children[-1]))
                await asyncio.gather(*ready)
            with self._progress() as on_end:
                clock = dispatcher.clock
                began = clock.monotonic()
                tried = await _while_alive(
                    workers, try_all(dispatcher, self.requests, patience=self.patience, on_end=on_end)
                )
                return Report(tried=tried, took=timedelta(seconds=clock.monotonic() - began))

    @contextmanager
    def _progress(self) -> Iterator[Callable[[Tried], None]]:
        """A live bar; gives what must be told of each request as it ends."""
        progress = Progress(
            TextColumn("requests"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[endings]}"),
            TimeElapsedColumn(),
            console=self.output.notes,
        )
        endings: Counter[str] = Counter()
        with progress:
            bar = progress.add_task("requests", total=len(self.requests), endings="")

            def on_end(tried: Tried) -> None:
                endings[tried.ending] += 1
                progress.update(bar, advance=1, endings=", ".join(f"{n} {word}" for word, n in endings.most_common()))

            yield on_end

    def _tell_flower(self, launcher: FlowerLauncher | None) -> None:
        if launcher is None:
            return
        if not self.keep:
            self.output.note("Flower showed it all, and is stopped now; to look at it: dispatcher demo --keep")
            return
        self.output.note(f"Flower: {launcher.address}, user {launcher.user}, {password_hint(launcher)}")

    def _keep(self) -> None:
        self.output.note("everything keeps running, for other terminals too; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            while True:
                Event().wait(1)


async def _wait_for_flower(launcher: FlowerLauncher, child: Child) -> None:
    await asyncio.to_thread(launcher.wait, child.process, _FLOWER_SECONDS)


async def _while_alive(workers: Sequence[Child], work: Coroutine[Any, Any, T]) -> T:
    """Do the work, as long as any worker lives: one of several may be killed, and the others finish its calls.

    Raises:
        CommandError: all have ended; shows the end of a log.
    """
    task = asyncio.ensure_future(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=_LOOK_SECONDS)
            if done:
                return task.result()
            if not any(child.running for child in workers):
                must_run(workers)
    finally:
        task.cancel()
