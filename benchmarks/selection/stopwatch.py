"""How long one call takes, of many."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from benchmarks.selection import figures
from benchmarks.selection.figures import Figure
from benchmarks.values import Unit

#: Calls before the watch runs: what is made at the first call is no call's time.
WARM_UP = 20

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Seconds of single calls."""

    p50: float
    p95: float
    #: Of the processor in this thread alone: what a busy machine does beside it does not count.
    cpu_p50: float
    calls: int

    def figures(self, data: str, run: str) -> tuple[Figure, ...]:
        """The figures of it."""
        measures = {figures.P50: self.p50, figures.P95: self.p95, figures.CPU_P50: self.cpu_p50}
        if self.calls == 1:
            del measures[figures.P95]
        return tuple(
            Figure(data=data, run=run, measure=measure, value=value, unit=Unit.SECONDS, rows=self.calls)
            for measure, value in measures.items()
        )


class Stopwatch:
    """Times calls one by one."""

    def __init__(self) -> None:
        self._wall: list[int] = []
        self._cpu: list[int] = []

    def time(self, call: Callable[[], object]) -> None:
        """Call, and note how long it took."""
        cpu = time.thread_time_ns()
        began = time.perf_counter_ns()
        call()
        ended = time.perf_counter_ns()
        self._cpu.append(time.thread_time_ns() - cpu)
        self._wall.append(ended - began)

    @property
    def calls(self) -> int:
        return len(self._wall)

    def timing(self) -> Timing:
        """What was noted; at least one call must have been."""
        p50, p95 = np.percentile(self._wall, [50, 95])
        return Timing(
            p50=float(p50) / 1e9,
            p95=float(p95) / 1e9,
            cpu_p50=float(np.median(self._cpu)) / 1e9,
            calls=len(self._wall),
        )


def time_each(call: Callable[[T], object], arguments: Iterable[T]) -> Timing:
    """Time a call with each argument; the first ones only warm up."""
    given = list(arguments)
    for argument in given[:WARM_UP]:
        call(argument)
    watch = Stopwatch()
    for argument in given[WARM_UP:] or given:
        watch.time(lambda argument=argument: call(argument))  # type: ignore[misc] # mypy infers no default's type
    return watch.timing()
