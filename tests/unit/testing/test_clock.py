"""A clock that stands still until told to go on."""

from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.testing import FakeClock


def test_it_stands_still_and_goes_on_when_told() -> None:
    clock = FakeClock(datetime(2031, 5, 6, tzinfo=UTC))
    before = clock.now(), clock.monotonic()
    assert (clock.now(), clock.monotonic()) == before
    clock.advance(timedelta(minutes=2))
    clock.advance(0.5)
    assert clock.now() == datetime(2031, 5, 6, 0, 2, 0, 500_000, tzinfo=UTC)
    assert clock.monotonic() - before[1] == 120.5


def test_time_does_not_go_back_but_calendars_do() -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
    stopwatch = clock.monotonic()
    clock.set_calendar(clock.now() - timedelta(days=1))
    assert clock.monotonic() == stopwatch
