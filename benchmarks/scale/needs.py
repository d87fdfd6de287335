"""From what one call costs to what a day of them needs. Arithmetic only: nothing is measured here."""

import math
from dataclasses import dataclass
from typing import Final

DAY_SECONDS: Final = 86_400
#: What a peak of the day is taken to be, as a multiple of the day's average.
PEAKS: Final = (3, 10)
#: For how long outcomes are kept, in hours.
KEPT_HOURS: Final = (1, 24)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one call costs, on average over the calls of a run."""

    #: Of the server's memory, while the call's job waits; its wake-up counts, where it is on the same server.
    waiting_bytes: float
    #: Of the server's memory, while its outcome is kept.
    kept_bytes: float
    #: Of the server's main thread, from acceptance to settlement.
    server_seconds: float
    #: Requests to the server, and the commands that it ran for them, those within scripts among them.
    requests: float
    commands: float
    #: Read and written by the server.
    in_bytes: float
    out_bytes: float
    #: Appended to the server's log of writes.
    log_bytes: float
    #: Of the producer's event loop.
    producer_seconds: float = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one server, or one producer, is taken to bear. Assumptions, not measurements: they are printed."""

    #: Of data. A machine of twice that has room for the copies that a rewrite of the log makes.
    memory_bytes: float = 32e9
    #: Of the server's main thread: beyond it, waits grow quickly.
    core: float = 0.6
    #: A second, both ways together: half of 10 Gbit/s.
    network_bytes: float = 600e6
    #: A second, of the log of writes.
    log_bytes: float = 100e6
    #: Of a producer's event loop.
    loop: float = 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """So many calls, and when."""

    calls_per_day: float
    #: The busiest second, as a multiple of the average one.
    peak: float
    #: How long outcomes are kept.
    kept_hours: float

    @property
    def average_rate(self) -> float:
        """Calls a second over the day."""
        return self.calls_per_day / DAY_SECONDS

    @property
    def peak_rate(self) -> float:
        return self.average_rate * self.peak

    @property
    def kept_calls(self) -> float:
        """The most calls whose outcomes are kept at once: the busy time may last for as long, but not beyond a day."""
        return min(self.peak_rate * self.kept_hours * 3600, self.calls_per_day * math.ceil(self.kept_hours / 24))


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a load needs altogether, of what one server has only so much."""

    memory_bytes: float
    #: Main threads of servers, wholly busy.
    cores: float
    network_bytes: float
    log_bytes: float
    #: Producers' event loops, wholly busy.
    loops: float


def needed(cost: Cost, load: Load) -> Need:
    """What a load of calls that cost so much needs."""
    rate = load.peak_rate
    return Need(
        memory_bytes=cost.kept_bytes * load.kept_calls,
        cores=cost.server_seconds * rate,
        network_bytes=(cost.in_bytes + cost.out_bytes) * rate,
        log_bytes=cost.log_bytes * rate,
        loops=cost.producer_seconds * rate,
    )


def shares(need: Need, limits: Limits) -> dict[str, float]:
    """How many servers each thing alone would take, the one that takes most first."""
    by_name = {
        "memory of kept outcomes": need.memory_bytes / limits.memory_bytes,
        "the server's core": need.cores / limits.core,
        "network": need.network_bytes / limits.network_bytes,
        "log of writes": need.log_bytes / limits.log_bytes,
    }
    return dict(sorted(by_name.items(), key=lambda item: item[1], reverse=True))


def shards(need: Need, limits: Limits) -> int:
    """How many servers are needed, each with a namespace of its own."""
    return max(1, math.ceil(max(shares(need, limits).values())))


def producers(need: Need, limits: Limits) -> int:
    """How many producers' event loops are needed."""
    return max(1, math.ceil(need.loops / limits.loop))


def breaks_first(need: Need, limits: Limits) -> str:
    """What one server runs out of first."""
    return next(iter(shares(need, limits)))


def most_calls_per_day(cost: Cost, limits: Limits, *, peak: float, kept_hours: float) -> float:
    """How many calls a day one server bears."""
    load = Load(calls_per_day=1.0, peak=peak, kept_hours=kept_hours)
    return 1 / max(shares(needed(cost, load), limits).values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Upkeep:
    """What a server and its sweeper take beside the calls."""

    #: Of the data that the next ones are about.
    data_bytes: float
    #: In which a rewrite of the log is done, beside the calls.
    rewrite_seconds: float
    #: In which the server answers nobody, at the begin of a rewrite.
    fork_seconds: float
    #: In which the server has read its log after a restart: one that was just rewritten, and one as it was written.
    restart_seconds: float
    replay_seconds: float
    #: Due jobs (delayed, retried, lost) in one sweep, and how long it took.
    swept_jobs: int
    sweep_seconds: float
    #: The time of a sweep that finds as many wake-ups lost.
    lost_seconds: float

    def per_gigabyte(self, seconds: float) -> float:
        return seconds / (self.data_bytes / 1e9)

    def due_rate(self, most_jobs: int, pause_seconds: float) -> float:
        """Due jobs a second that the one node which sweeps can bring back.

        Args:
            most_jobs: in one sweep.
            pause_seconds: between two sweeps.
        """
        return most_jobs / (pause_seconds + most_jobs * self.sweep_seconds / self.swept_jobs)

    def lost_rate(self, most_jobs: int, pause_seconds: float) -> float:
        """The same of jobs whose wake-ups were lost; the pause is until their queue is seen empty for long enough."""
        return most_jobs / (pause_seconds + most_jobs * self.lost_seconds / self.swept_jobs)
