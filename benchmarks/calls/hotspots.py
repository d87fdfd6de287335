"""`python -m benchmarks.calls.hotspots`: where a call's time goes, in the producer, the workers and the server."""

import json
import logging
import pstats
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.calls import figures
from benchmarks.calls.contestants import OURS, Place, place
from benchmarks.calls.peers.producing import GO
from benchmarks.calls.processes import ROOT, Command, Running, start_all, wait_until_quiet
from benchmarks.calls.profiler import PROFILE_VARIABLE
from benchmarks.calls.runs import clear
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer

_SECONDS: Final = 300.0
#: Columns of the tables in a file.
_WIDTH: Final = 150
_MICROSECONDS: Final = 1e6
#: How many calls of each kind of work.
CALLS: Final[Mapping[str, int]] = {figures.SINGLE: 500, figures.MAP: 20_000}
#: Whose profiles are written, and what they are.
ROLES: Final[Mapping[str, str]] = {
    "producer": "producer",
    "node": "worker node, main process",
    "pool": "worker node, the processes of its pool together",
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    only: Annotated[
        list[str] | None, typer.Option(metavar="WORK", help=f"Only this: {', '.join(CALLS)}. May be repeated.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Functions shown of each process.")] = 15,
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="For logs and the server's data.")] = Path(
        ".dispatcher"
    ),
) -> None:
    """Profile single calls and a map: functions by their own processor time, the server's commands by theirs."""
    logging.getLogger("dispatcher").setLevel(logging.ERROR)
    screen = Console()
    if not screen.is_terminal:
        screen.width = _WIDTH
    (folder / "bench").mkdir(parents=True, exist_ok=True)
    with EmbeddedServer(folder / "bench") as server:
        for work, calls in CALLS.items():
            if not only or work in only:
                screen.print(f"\n[bold]{figures.TITLES[work]}[/bold]: {calls:,} calls")
                _profile(screen, server, work, calls, top, folder / "bench")


def _profile(screen: Console, server: EmbeddedServer, work: str, calls: int, top: int, logs: Path) -> None:  # noqa: PLR0913, PLR0917
    ours = place(OURS, server.url, logs, lambda _: None)
    with tempfile.TemporaryDirectory() as profiles:
        before, after = _run(server, ours, work, calls, Path(profiles), logs / "profile.log")
        for role, title in ROLES.items():
            files = sorted(Path(profiles).glob(f"{role}-*.prof"))
            if files:
                _show(screen, title, _added(files), calls, top)
    _show_commands(screen, commands_between(before, after), calls, top)


def _run(  # noqa: PLR0913, PLR0917 - one place only
    server: EmbeddedServer, ours: Place, work: str, calls: int, profiles: Path, log: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Have the work done under watch; gives the server's counts before and after."""
    clear(server)
    watched = {PROFILE_VARIABLE: str(profiles)}
    with ExitStack() as stack:
        workers = start_all(stack, [_with(command, watched) for command in ours.workers(waiting=False)], log)
        wait_until_quiet(workers, ours.contestant.processes)
        producer = stack.enter_context(Running(_with(ours.producer(work, calls), watched), log, talking=True))
        producer.hear(_SECONDS)
        before = _counts(server)
        producer.tell(GO)
        json.loads(producer.hear(_SECONDS))
        after = _counts(server)
        producer.finish()
    return before, after


def _with(command: Command, environment: Mapping[str, str]) -> Command:
    return Command(argv=command.argv, environment={**command.environment, **environment})


def _counts(server: EmbeddedServer) -> dict[str, Any]:
    with connect(server.url, role="bench") as client:
        counts: dict[str, Any] = client.info("commandstats")
    return counts


def commands_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """How often each command ran between two looks, and its microseconds; those inside scripts are counted too."""
    changed = {}
    for name, counts in after.items():
        earlier = before.get(name, {"calls": 0, "usec": 0})
        calls = counts["calls"] - earlier["calls"]
        if calls and name != "cmdstat_info":
            changed[name.removeprefix("cmdstat_")] = (calls, counts["usec"] - earlier["usec"])
    return changed


def _added(files: Iterable[Path]) -> pstats.Stats:
    first, *others = map(str, files)
    return pstats.Stats(first).add(*others) if others else pstats.Stats(first)


def _show(screen: Console, title: str, stats: pstats.Stats, calls: int, top: int) -> None:
    profile = stats.get_stats_profile()
    total = _MICROSECONDS * profile.total_tt / calls
    table = _table(f"{title}: {total:,.0f} µs a call under watch", "own µs a call", "share", "runs a call", "function")
    raw: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = stats.stats  # type: ignore[attr-defined]
    for (file, line, name), (_, runs, own, _, _) in sorted(raw.items(), key=lambda item: -item[1][2])[:top]:
        share = own / profile.total_tt if profile.total_tt else 0.0
        where = f"{short(file)}:{line} {name}" if line else name
        table.add_row(f"{_MICROSECONDS * own / calls:,.1f}", f"{100 * share:.1f} %", f"{runs / calls:.2f}", where)
    screen.print(table)


def _show_commands(screen: Console, commands: Mapping[str, tuple[int, int]], calls: int, top: int) -> None:
    # A script's time holds that of the commands in it: only what clients send is added up.
    table = _table("server", "µs a call", "runs a call", "command")
    for name, (runs, usec) in sorted(commands.items(), key=lambda item: -item[1][1])[:top]:
        table.add_row(f"{usec / calls:,.1f}", f"{runs / calls:.2f}", name.replace("|", " "))
    screen.print(table)


def _table(title: str, *heads: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head in {"function", "command"} else "right", no_wrap=True)
    return table


def short(file: str) -> str:
    """A file's path without what is the same for all: the project's folder, or that of installed packages."""
    for root in (f"{ROOT}/", *(f"{path}/" for path in sys.path if path)):
        if file.startswith(root):
            return file.removeprefix(root).rpartition("site-packages/")[2]
    return file


if __name__ == "__main__":
    app()
