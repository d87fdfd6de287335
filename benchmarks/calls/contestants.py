"""Who is compared, and how each is started: two worker processes, in the form that its documentation gives."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.calls.environments import environment_of
from benchmarks.calls.peers.producing import AT_ONCE_VARIABLE, URL_VARIABLE
from benchmarks.calls.processes import Command

OURS: Final = "dispatcher"
CELERY: Final = "celery"
#: Calls that may wait at once in each of the two processes, at most. Who is quicker with fewer has fewer: where each of
#: them holds a connection to the server, a hundred.
AT_ONCE: Final = 1000
FEWER_AT_ONCE: Final = 100
_PRODUCE: Final = "benchmarks.calls.peers.produce"
_PEERS: Final = "benchmarks.calls.peers.with_"

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

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
    #: How many of these at once in a process.
    at_once: int = AT_ONCE
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
    """Dispatcher, as `python -m dispatcher.node …`."""
    start = ("python", "-m", "dispatcher.node", "benchmarks.calls.worker", "--loglevel=WARNING")
    quiet = ("--without-gossip", "--without-mingle")
    pool = f"--pool={'asyncio' if has_asyncio_pool() else 'threads'}"
    waiting = [(*start, *quiet, pool, f"--concurrency={AT_ONCE}", f"--hostname=waiting{n}@%h") for n in (1, 2)]
    return Contestant(
        name=OURS,
        workers=[(*start, *quiet, "--pool=prefork", "--concurrency=2")],
        waiting=waiting,
        processes=3,
        producer="benchmarks.calls.producer",
        less={},
    )


def _celery() -> Contestant:
    start = ("celery", "-A", f"{_PEERS}celery", "worker", "--loglevel=WARNING")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    waiting = [
        (*start, *quiet, "--pool=threads", f"--concurrency={FEWER_AT_ONCE}", f"--hostname=waiting{n}@%h")
        for n in (1, 2)
    ]
    return Contestant(
        name=CELERY,
        workers=[(*start, *quiet, "--concurrency=2")],
        waiting=waiting,
        processes=3,
        producer=f"{_PEERS}celery",
        less=PEER_CALLS,
    )


def _taskiq() -> Contestant:
    start = ("taskiq", "worker", f"{_PEERS}taskiq:broker", "--workers=2", "--log-level=WARNING")
    return Contestant(
        name="taskiq",
        workers=[start],
        waiting=[(*start, f"--max-async-tasks={AT_ONCE}")],
        processes=3,
        producer=f"{_PEERS}taskiq",
        less=PEER_CALLS,
    )


def _dramatiq() -> Contestant:
    told = (f"{_PEERS}dramatiq", "--processes=2")
    return Contestant(
        name="dramatiq",
        workers=[("dramatiq", *told)],
        waiting=[("dramatiq-gevent", *told, f"--threads={FEWER_AT_ONCE}")],
        processes=3,
        producer=f"{_PEERS}dramatiq",
        less=PEER_CALLS,
    )


def _arq() -> Contestant:
    workers = [("arq", f"{_PEERS}arq.WorkerSettings")] * 2
    return Contestant(name="arq", workers=workers, waiting=workers, producer=f"{_PEERS}arq", less=PEER_CALLS)


def _saq() -> Contestant:
    workers = [("saq", f"{_PEERS}saq.settings", "--workers=2", "--quiet")]
    return Contestant(
        name="saq",
        workers=workers,
        waiting=workers,
        at_once=FEWER_AT_ONCE,
        producer=f"{_PEERS}saq",
        less=PEER_CALLS,
    )


def _huey() -> Contestant:
    told = (f"{_PEERS}huey.huey", "--quiet", "--no-periodic")
    greenlets = (
        "python",
        "-m",
        "benchmarks.calls.peers.huey_gevent",
        *told,
        "-k",
        "greenlet",
        "-w",
        str(FEWER_AT_ONCE),
    )
    return Contestant(
        name="huey",
        workers=[("huey_consumer", *told, "-k", "process", "-w", "2")],
        waiting=[greenlets] * 2,
        processes=3,
        producer=f"{_PEERS}huey",
        less=PEER_CALLS,
    )


def _rq() -> Contestant:
    workers = [("rq", "worker-pool", "bench", "--num-workers=2", "--quiet")]
    return Contestant(name="rq", workers=workers, waiting=(), processes=3, producer=f"{_PEERS}rq", less=RQ_CALLS)


#: Everybody, by name, in the order of a round.
CONTESTANTS: Final[Mapping[str, Callable[[], Contestant]]] = {
    OURS: ours,
    CELERY: _celery,
    "taskiq": _taskiq,
    "dramatiq": _dramatiq,
    "arq": _arq,
    "saq": _saq,
    "huey": _huey,
    "rq": _rq,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A contestant and where its programs are."""

    contestant: Contestant
    programs: Path
    environment: Mapping[str, str]

    def workers(self, *, waiting: bool) -> list[Command]:
        """The commands of its workers."""
        if waiting:
            return [
                self.command(argv, {AT_ONCE_VARIABLE: str(self.contestant.at_once)}) for argv in self.contestant.waiting
            ]
        return [self.command(argv) for argv in self.contestant.workers]

    def producer(self, work: str, count: int) -> Command:
        """The command of its producer."""
        return self.command(("python", "-m", _PRODUCE, self.contestant.producer, work, str(count)))

    def command(self, argv: Argv, more: Mapping[str, str] = _NOTHING) -> Command:
        """One of its programs, and what it is told."""
        program, *told = argv
        return Command(argv=[str(self.programs / program), *told], environment={**self.environment, **more})


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
    # RQ is told by a variable of its own name, so that the password is in no command line.
    environment = {URL_VARIABLE: url, {OURS: "DISPATCHER_URL", "rq": "RQ_REDIS_URL"}.get(name, URL_VARIABLE): url}
    return Place(contestant=CONTESTANTS[name](), programs=programs, environment=environment)
