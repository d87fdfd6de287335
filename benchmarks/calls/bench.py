"""What all parts of the benchmark share, and the part that everybody takes part in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from benchmarks.calls import figures
from benchmarks.calls.contestants import Place, place
from benchmarks.calls.figures import Figure, compare
from benchmarks.calls.processes import BenchError
from benchmarks.calls.runs import Median, Run, in_rounds, median_of, run_once
from dispatcher.transport.embedded import EmbeddedServer

#: How many calls of each kind of work.
CALLS: Final[Mapping[str, int]] = MappingProxyType(
    {
        figures.MAP: 100_000,
        figures.SEPARATE: 10_000,
        figures.SINGLE: 300,
        figures.WAIT_MAP: 2_000,
        figures.WAIT_SEPARATE: 2_000,
    }
)
#: The same for a first look.
QUICK_CALLS: Final[Mapping[str, int]] = MappingProxyType(
    {
        figures.MAP: 10_000,
        figures.SEPARATE: 1_000,
        figures.SINGLE: 50,
        figures.WAIT_MAP: 500,
        figures.WAIT_SEPARATE: 500,
    }
)
#: What a peer does less of is less by this factor in a first look, and never less than so much.
QUICK_SHARE: Final = 10
FEWEST: Final = 50


@dataclass(kw_only=True)
class Bench:
    """One run of the benchmark."""

    server: EmbeddedServer
    #: For environments, logs and the server's data.
    folder: Path
    rounds: int
    quick: bool
    #: Who takes part.
    names: Sequence[str]
    #: Calls of the long map.
    long: int
    #: Told what begins.
    note: Callable[[str], None]
    runs: list[Run] = field(default_factory=list)
    medians: list[Median] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    #: Who could not be measured at what.
    missing: list[str] = field(default_factory=list)
    #: More than the figures, by kind of work: data for JSON.
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        return self.folder / "bench"

    def place(self, name: str) -> Place:
        """A contestant, ready to run."""
        return place(name, self.server.url, self.folder / "peers", self.note)

    def calls_of(self, place: Place, work: str) -> int:
        """How many calls a contestant is given."""
        usual = (QUICK_CALLS if self.quick else CALLS)[work]
        less = place.contestant.less.get(work, usual)
        return min(usual, max(FEWEST, less // QUICK_SHARE) if self.quick and less < usual else less)

    def with_peers(self, work: str) -> None:
        """Let everybody do one kind of work in turn, round by round."""
        places = []
        for name in self.names:
            try:
                chosen = self.place(name)
            except BenchError as error:
                self.note(f"{name} cannot take part: {error}")
                self.missing.append(f"{name}: {work}")
                continue
            if chosen.workers(waiting=work.startswith("wait")):
                places.append(chosen)
            else:
                self.note(f"    {name} has no form for calls that wait; left out")

        def run(chosen: Place) -> Run:
            return run_once(self.server, chosen, work, self.calls_of(chosen, work), self.logs)

        runs = in_rounds(self.rounds, places, run, self.note)
        self.runs += runs
        own = [[one for one in runs if one.contestant == chosen.contestant.name] for chosen in places]
        self.missing += [
            f"{chosen.contestant.name}: {work}"
            for chosen, group in zip(places, own, strict=True)
            if len(group) < self.rounds
        ]
        medians = [median_of(group) for group in own if group]
        self.medians += medians
        self.figures += compare(medians)
