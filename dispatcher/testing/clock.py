"""A clock for tests."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock that stands still until told to go on; a `dispatcher.clock.Clock`.

    Args:
        now: the calendar time at first, aware.
    """

    def __init__(self, now: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 1_000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, duration: timedelta | float) -> None:
        """Let time pass.

        Args:
            duration: a number is seconds.

        Raises:
            ValueError: it is negative; `set_calendar` turns the calendar back, as people do.
        """
        duration = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
        if duration < timedelta(0):
            msg = f"time cannot go back by {duration}"
            raise ValueError(msg)
        self._now += duration
        self._monotonic += duration.total_seconds()

    def set_calendar(self, now: datetime) -> None:
        """Change the calendar time alone, forwards or back, as when somebody sets the machine's clock."""
        self._now = now
