"""One run: a contestant does one kind of work once, and what that took is noted."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.calls.contestants import Place
from benchmarks.calls.cpu import Split
from benchmarks.calls.peers.producing import GO, READY
from benchmarks.calls.processes import BenchError, Running, start_all, wait_until_quiet
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer

#: Until a producer has had its first calls run.
_READY_SECONDS: Final = 90.0
#: Until all its work is done.
_WORK_SECONDS: Final = 900.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What one run took."""

    contestant: str
    work: str
    calls: int
    #: By the producer's clock, from the first call until the last result was read.
    seconds: float
    #: Processor time of all calls together.
    cpu: Split
    #: From sending to the result, of each call in seconds; empty where calls are not timed one by one.
    latencies: Sequence[float] = field(default=(), repr=False)
    #: More that the producer said.
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    def as_data(self) -> dict[str, Any]:
        """As JSON data: seconds, and microseconds of processor time for each call."""
        each = self.cpu.per(self.calls)
        data = {
            "contestant": self.contestant,
            "work": self.work,
            "calls": self.calls,
            "seconds": round(self.seconds, 4),
            "cpu_us_per_call": {
                name: round(1e6 * value, 1)
                for name, value in (("producer", each.producer), ("worker", each.worker), ("server", each.server))
            },
        }
        if self.latencies:
            data["latencies_us"] = [round(1e6 * latency) for latency in self.latencies]
        return {**data, **self.more}


def clear(server: EmbeddedServer) -> None:
    """Empty the server."""
    with connect(server.url, role="bench") as client:
        client.flushall()


def run_once(server: EmbeddedServer, place: Place, work: str, calls: int, folder: Path) -> Run:
    """Empty the server, start the workers, have the work done, end them.

    Args:
        server: what all use.
        place: who does it.
        work: its name.
        calls: how many.
        folder: for logs.

    Raises:
        BenchError: it could not be done.
    """
    clear(server)
    log = folder / f"{place.contestant.name}.log"
    log.write_bytes(b"")
    waiting = work.startswith("wait")
    with ExitStack() as stack:
        workers = start_all(stack, place.workers(waiting=waiting), log)
        processes = len(workers) if waiting else place.contestant.processes
        wait_until_quiet(workers, processes)
        producer = stack.enter_context(Running(place.producer(work, calls), log, talking=True))
        if producer.hear(_READY_SECONDS) != READY:
            msg = f"{place.contestant.name}: the producer did not say that it is ready"
            raise BenchError(msg)
        wait_until_quiet(workers, processes)
        roots = {
            "producer": [producer.pid],
            "worker": [worker.pid for worker in workers],
            "server": [server.pid] if server.pid is not None else [],
        }
        before = Split.now(**roots)
        producer.tell(GO)
        said = json.loads(producer.hear(_WORK_SECONDS))
        cpu = Split.now(**roots).since(before)
    seconds, latencies = said.pop("seconds"), said.pop("latencies", ())
    name = place.contestant.name
    return Run(contestant=name, work=work, calls=calls, seconds=seconds, cpu=cpu, latencies=latencies, more=said)


@dataclass(frozen=True, kw_only=True, slots=True)
class Median:
    """The medians of some runs of the same work by the same contestant."""

    contestant: str
    work: str
    calls: int
    rounds: int
    seconds: float
    rate: float
    #: Processor time for each call.
    cpu: Split
    p50: float | None
    p99: float | None


def median_of(runs: Sequence[Run]) -> Median:
    """The median of each number by itself, but for processor time: that of the run in the middle of the totals."""
    first = runs[0]
    by_total = sorted((run.cpu.per(run.calls) for run in runs), key=lambda cpu: cpu.total)
    return Median(
        contestant=first.contestant,
        work=first.work,
        calls=first.calls,
        rounds=len(runs),
        seconds=statistics.median(run.seconds for run in runs),
        rate=statistics.median(run.rate for run in runs),
        cpu=by_total[len(by_total) // 2],
        p50=_median_percentile(runs, 50),
        p99=_median_percentile(runs, 99),
    )


def _median_percentile(runs: Iterable[Run], percent: float) -> float | None:
    values = [float(np.percentile(run.latencies, percent)) for run in runs if run.latencies]
    return statistics.median(values) if values else None


def in_rounds(
    rounds: int, places: Sequence[Place], run: Callable[[Place], Run], note: Callable[[str], None]
) -> list[Run]:
    """Let everybody run once in each round, in turn; one that fails is left out of the rounds to come."""
    runs: list[Run] = []
    failed: set[str] = set()
    for number in range(rounds):
        for place in places:
            name = place.contestant.name
            if name in failed:
                continue
            try:
                runs.append(run(place))
            except BenchError as error:
                failed.add(name)
                note(f"{name} could not be measured: {error}")
            else:
                cpu = runs[-1].cpu.per(runs[-1].calls).total
                note(f"    round {number + 1}: {name} {runs[-1].rate:,.0f}/s, {1e6 * cpu:,.0f} µs of processor a call")
    return runs
