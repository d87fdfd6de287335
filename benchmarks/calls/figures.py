"""What is promised of calls, in one place, and the figures that are held against it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.calls.contestants import CELERY, OURS
from benchmarks.calls.runs import Median
from benchmarks.values import Target, Unit

# --- kinds of work with peers -----------------------------------------------------------------------------------------

MAP: Final = "map"
SEPARATE: Final = "separate"
SINGLE: Final = "single"
WAIT_MAP: Final = "wait-map"
WAIT_SEPARATE: Final = "wait-separate"

# --- kinds of work of ours alone --------------------------------------------------------------------------------------

IN_FLIGHT: Final = "in-flight"
LANES: Final = "lanes"
MILLION: Final = "million"
CACHE: Final = "cache"
IDLE: Final = "idle"
START: Final = "start"
IMPORT: Final = "import"

#: What each kind of work is, for people.
TITLES: Final[Mapping[str, str]] = {
    MAP: "no-op calls by map",
    SEPARATE: "no-op calls, each by itself",
    SINGLE: "one call at a time, idle",
    WAIT_MAP: "calls that wait 100 ms, by map",
    WAIT_SEPARATE: "calls that wait 100 ms, each by itself",
    IN_FLIGHT: "10,000 calls that wait 1 s, one worker process",
    LANES: "an interactive call while a bulk map saturates the workers",
    MILLION: "a long map against a short one",
    CACHE: "result cache hit",
    IDLE: "idle workers, two processes",
    START: "worker start to first outcome",
    IMPORT: "import dispatcher",
}

# --- measures ---------------------------------------------------------------------------------------------------------

AGAINST_CELERY: Final = "against Celery"
AGAINST_FASTEST: Final = "against the fastest peer"
CPU: Final = "processor time a call"
TIME: Final = "time"
P50: Final = "p50"
P99_TO_P50: Final = "p99 to own p50"
MEMORY: Final = "memory"
P99_TO_IDLE: Final = "p99 to idle p99"
RATE_RATIO: Final = "rate, long to short"
GROWTH: Final = "growth of the producer's memory"
RESIDENT: Final = "resident memory"
HEAVY: Final = "heavy modules imported"

_MEGABYTE: Final = 1e6

#: What must hold on a quiet machine, by kind of work and measure.
TARGETS: Final[Mapping[tuple[str, str], Target]] = {
    (MAP, AGAINST_CELERY): Target(at_least=40),
    (MAP, AGAINST_FASTEST): Target(at_least=10),
    (MAP, CPU): Target(at_most=100e-6, baseline="aim 80 µs; Huey 1,187, Dramatiq 1,244, Celery 4,580"),
    (SEPARATE, AGAINST_CELERY): Target(at_least=12),
    (SEPARATE, AGAINST_FASTEST): Target(at_least=3),
    (SINGLE, AGAINST_CELERY): Target(at_most=0.5, baseline="Celery 4.1 ms, Huey 1.3"),
    (SINGLE, P99_TO_P50): Target(at_most=3),
    (WAIT_MAP, TIME): Target(at_most=0.35, baseline="Dramatiq 1.6 s, Huey 2.1, Celery 6.0"),
    (WAIT_SEPARATE, AGAINST_FASTEST): Target(at_most=0.6),
    (IN_FLIGHT, TIME): Target(at_most=2.5),
    (IN_FLIGHT, MEMORY): Target(at_most=300 * _MEGABYTE),
    (LANES, P99_TO_IDLE): Target(at_most=3),
    (MILLION, RATE_RATIO): Target(at_least=0.9),
    (MILLION, GROWTH): Target(at_most=10 * _MEGABYTE, baseline="flat"),
    (CACHE, P50): Target(at_most=0.3e-3),
    (IDLE, RESIDENT): Target(at_most=140 * _MEGABYTE, baseline="Celery 140 MB, Dramatiq 85, SAQ 58"),
    (START, AGAINST_CELERY): Target(at_most=1.2, baseline="Celery 0.75 s"),
    (IMPORT, TIME): Target(at_most=0.25),
    (IMPORT, HEAVY): Target(at_most=0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number of ours."""

    work: str
    measure: str
    #: None where it could not be measured.
    value: float | None
    unit: Unit
    #: What it was computed from, or why there is none.
    note: str = ""

    @property
    def target(self) -> Target | None:
        """What is promised of it; None where nothing is."""
        return TARGETS.get((self.work, self.measure))

    @property
    def held(self) -> bool | None:
        """Whether that is kept; None where nothing is promised or measured."""
        return None if self.target is None or self.value is None else self.target.reached_by(self.value)


def compare(medians: Iterable[Median]) -> list[Figure]:
    """Our figures of one kind of work, from everybody's medians of it."""
    by_name = {median.contestant: median for median in medians}
    ours = by_name.pop(OURS, None)
    if ours is None:
        return []
    peers, celery = list(by_name.values()), by_name.get(CELERY)
    match ours.work:
        case "map" | "separate":
            return _of_many(ours, celery, peers)
        case "single":
            return _of_single(ours, celery, peers)
        case _:
            return _of_waiting(ours, peers)


def _of_many(ours: Median, celery: Median | None, peers: Sequence[Median]) -> list[Figure]:
    fastest = max(peers, key=lambda peer: peer.rate, default=None)
    figures = [Figure(work=ours.work, measure="rate", value=ours.rate, unit=Unit.RATE)]
    figures += [
        Figure(
            work=ours.work,
            measure=measure,
            value=ours.rate / peer.rate if peer is not None else None,
            unit=Unit.RATIO,
            note=f"{peer.contestant} {peer.rate:,.0f}/s" if peer is not None else "no peer was measured",
        )
        for measure, peer in ((AGAINST_CELERY, celery), (AGAINST_FASTEST, fastest))
    ]
    split = f"producer {_us(ours.cpu.producer)}, worker {_us(ours.cpu.worker)}, server {_us(ours.cpu.server)} µs"
    return [*figures, Figure(work=ours.work, measure=CPU, value=ours.cpu.total, unit=Unit.SECONDS, note=split)]


def _of_single(ours: Median, celery: Median | None, peers: Sequence[Median]) -> list[Figure]:
    timed = [peer for peer in peers if peer.p50 is not None]
    fastest = min(timed, key=lambda peer: peer.p50 or 0.0, default=None)
    figures = [Figure(work=SINGLE, measure=P50, value=ours.p50, unit=Unit.SECONDS)]
    for measure, peer in ((AGAINST_CELERY, celery), (AGAINST_FASTEST, fastest)):
        value = None if peer is None else _ratio(ours.p50, peer.p50)
        note = (
            "no peer was measured" if peer is None or peer.p50 is None else f"{peer.contestant} {1e3 * peer.p50:.2f} ms"
        )
        figures.append(Figure(work=SINGLE, measure=measure, value=value, unit=Unit.RATIO, note=note))
    note = "" if ours.p99 is None else f"p99 {1e3 * ours.p99:.2f} ms"
    tail = Figure(work=SINGLE, measure=P99_TO_P50, value=_ratio(ours.p99, ours.p50), unit=Unit.RATIO, note=note)
    return [*figures, tail, Figure(work=SINGLE, measure=CPU, value=ours.cpu.total, unit=Unit.SECONDS)]


def _of_waiting(ours: Median, peers: Sequence[Median]) -> list[Figure]:
    """Times of equally many calls are compared; a peer that was given fewer of them is not."""
    fastest = min((peer for peer in peers if peer.calls == ours.calls), key=lambda peer: peer.seconds, default=None)
    against = Figure(
        work=ours.work,
        measure=AGAINST_FASTEST,
        value=None if fastest is None else ours.seconds / fastest.seconds,
        unit=Unit.RATIO,
        note="no peer was measured" if fastest is None else f"{fastest.contestant} {fastest.seconds:.2f} s",
    )
    return [Figure(work=ours.work, measure=TIME, value=ours.seconds, unit=Unit.SECONDS), against]


def _ratio(value: float | None, to: float | None) -> float | None:
    return None if value is None or to is None else value / to


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:,.0f}"
