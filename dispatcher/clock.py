"""The only place that reads the machine's clock.

Everything that needs the time takes a `Clock`, so that unit tests run on a fake one and never sleep.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the time is, twice: by the calendar and by a stopwatch."""

    def now(self) -> datetime:
        """The calendar time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
