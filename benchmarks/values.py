"""How a measured value is written, and what it must reach."""

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


def write_value(value: float | None, unit: Unit) -> str:
    """A value for people."""
    if value is None:
        return "–"  # noqa: RUF001 - a dash
    match unit:
        case Unit.SHARE:
            return f"{100 * value:.1f} %"
        case Unit.POINTS:
            return f"{100 * value:.1f} points"
        case Unit.ERROR:
            return f"{value:.3f}"
        case Unit.BYTES:
            return f"{value / _MEGABYTE:.0f} MB"
        case Unit.SECONDS:
            return _write_seconds(value)
        case Unit.RATE:
            return f"{value:,.0f}/s"
        case Unit.RATIO:
            return f"{value:.3g} ×"
        case Unit.COUNT:
            return f"{value:,.0f}"


def _write_seconds(value: float) -> str:
    if value < 0.1 * _MILLISECOND:
        return f"{value / _MICROSECOND:.1f} µs"
    if value < 1:
        return f"{value / _MILLISECOND:.3g} ms"
    return f"{value:.1f} s"


def write_target(target: Target | None, unit: Unit) -> str:
    """What must be reached, for people; empty where there is nothing."""
    if target is None:
        return ""
    bounds = (("≥", target.at_least), ("≤", target.at_most))
    return " and ".join(f"{sign} {write_value(bound, unit)}" for sign, bound in bounds if bound is not None)
