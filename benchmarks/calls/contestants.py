"""Who is compared, and how each is started: two worker processes, in the form that its documentation gives."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.calls.environments import environment_of
from benchmarks.calls.peers.producing import URL_VARIABLE
from benchmarks.calls.processes import Command

OURS: Final = "dispatcher"
CELERY: Final = "celery"
#: Calls that may wait at once in each of the two processes.
AT_ONCE: Final = 1000
_PRODUCE: Final = "benchmarks.calls.peers.produce"
_PEERS: Final = "benchmarks.calls.peers.with_"

#: What stands on a command line: the program, and what it is told.
Argv = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """One that is compared."""

    name: str
    #: How its workers are started for calls that are quick.
    workers: Sequence[Argv]
    #: And for calls that wait. Empty: it has no form for them.
    waiting: Sequence[Argv]
    #: Processes that these are at least, when all have started.
    processes: int = 2
    #: The module of its producer.
    producer: str
    #: Of the work that this is done with less of: how much.
    less: Mapping[str, int]


#: What the peers do as much of as they can in a minute or so: their rates and costs are for each call.
PEER_CALLS: Final = {"map": 5_000, "separate": 5_000}
RQ_CALLS: Final = {"map": 500, "separate": 500, "single": 100}


def has_asyncio_pool() -> bool:
    """Whether our workers can run coroutines on one event loop."""
    return find_spec("dispatcher.execution.asyncio_pool") is not None


def ours() -> Contestant:
    """Dispatcher, as `celery -A … worker`."""
    start = ("celery", "-A", "benchmarks.calls.worker", "worker", "--loglevel=WARNING")
    quiet = ("--without-gossip", "--without-mingle")
    pool = f"--pool={'asyncio' if has_asyncio_pool() else 'threads'}"
    waiting = [(*start, *quiet, pool, f"--concurrency={AT_ONCE}", f"--hostname=waiting{n}@%h") for n in (1, 2)]
    return Contestant(
        name=OURS,
        workers=[(*start, *quiet, "--concurrency=2")],
        waiting=waiting,
        processes=3,
        producer="benchmarks.calls.producer",
        less={},
    )


def _celery() -> Contestant:
    start = ("celery", "-A", f"{_PEERS}celery", "worker", "--loglevel=WARNING")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    waiting = [(*start, *quiet, "--pool=threads", "--concurrency=100", f"--hostname=waiting{n}@%h") for n in (1, 2)]
    return Contestant(
        name=CELERY,
        workers=[(*start, *quiet, "--concurrency=2")],
        waiting=waiting,
        processes=3,
        producer=f"{_PEERS}celery",
        less=PEER_CALLS,
    )


def _huey() -> Contestant:
    start = ("huey_consumer", f"{_PEERS}huey.huey", "--quiet", "--no-periodic")
    return Contestant(
        name="huey",
        workers=[(*start, "--worker-type=process", "--workers=2")],
        waiting=[(*start, "--worker-type=greenlet", f"--workers={AT_ONCE}")] * 2,
        producer=f"{_PEERS}huey",
        less=PEER_CALLS,
    )


#: Everybody, by name, in the order of a round.
CONTESTANTS: Final[Mapping[str, Callable[[], Contestant]]] = {
    OURS: ours,
    CELERY: _celery,
    "huey": _huey,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A contestant and where its programs are."""

    contestant: Contestant
    programs: Path
    environment: Mapping[str, str]

    def workers(self, *, waiting: bool) -> list[Command]:
        """The commands of its workers."""
        chosen = self.contestant.waiting if waiting else self.contestant.workers
        return [self._command(argv) for argv in chosen]

    def producer(self, work: str, count: int) -> Command:
        """The command of its producer."""
        return self._command(("python", "-m", _PRODUCE, self.contestant.producer, work, str(count)))

    def _command(self, argv: Argv) -> Command:
        program, *told = argv
        return Command(argv=[str(self.programs / program), *told], environment=self.environment)


def place(name: str, url: str, folder: Path, note: Callable[[str], None]) -> Place:
    """Make a contestant ready to run.

    Args:
        name: which.
        url: the server's address.
        folder: where environments are kept.
        note: told what takes a while.

    Raises:
        BenchError: its environment cannot be made.
    """
    programs = Path(sys.prefix) / "bin" if name == OURS else environment_of(name, folder, note)
    environment = {URL_VARIABLE: url}
    if name == OURS:
        environment["DISPATCHER_URL"] = url
    return Place(contestant=CONTESTANTS[name](), programs=programs, environment=environment)
