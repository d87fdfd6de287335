"""How a measured value is written, and what it must reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_MILLISECOND: Final = 1e-3
_MICROSECOND: Final = 1e-6
_MEGABYTE: Final = 1e6


class Unit(StrEnum):
    """What a figure's value is, and so how it is written."""

    #: From 0 to 1; written in percent.
    SHARE = "share"
    #: A difference of two shares; written in percentage points.
    POINTS = "points"
    #: An error from 0 to 1; written as it is.
    ERROR = "error"
    SECONDS = "seconds"
    BYTES = "bytes"
    #: So many a second.
    RATE = "rate"
    #: One value divided by another.
    RATIO = "ratio"
    COUNT = "count"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a figure must reach, in the unit of the figure."""

    at_least: float | None = None
    at_most: float | None = None
    #: What a simple program measured before, as text; empty where nothing was.
    baseline: str = ""

    def reached_by(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


def _write_seconds(value: float) -> str:
    if value < 0.1 * _MILLISECOND:
        return f"{value / _MICROSECOND:.1f} µs"
    if value < 1:
        return f"{value / _MILLISECOND:.3g} ms"
    return f"{value:.1f} s"


_WRITERS: Final[Mapping[Unit, Callable[[float], str]]] = {
    Unit.SHARE: lambda value: f"{100 * value:.1f} %",
    Unit.POINTS: lambda value: f"{100 * value:.1f} points",
    Unit.ERROR: lambda value: f"{value:.3f}",
    Unit.BYTES: lambda value: f"{value / _MEGABYTE:.0f} MB",
    Unit.SECONDS: _write_seconds,
    Unit.RATE: lambda value: f"{value:,.0f}/s",
    Unit.RATIO: lambda value: f"{value:.3g} ×",
    Unit.COUNT: lambda value: f"{value:,.0f}",
}


def write_value(value: float | None, unit: Unit) -> str:
    """A value for people."""
    return "–" if value is None else _WRITERS[unit](value)  # noqa: RUF001 - a dash


def write_target(target: Target | None, unit: Unit) -> str:
    """What must be reached, for people; empty where there is nothing."""
    if target is None:
        return ""
    bounds = (("≥", target.at_least), ("≤", target.at_most))
    return " and ".join(f"{sign} {write_value(bound, unit)}" for sign, bound in bounds if bound is not None)
