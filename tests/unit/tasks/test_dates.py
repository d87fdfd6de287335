import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import GiveUp, RetryLater
from dispatcher.errors import InvalidArgumentsError
from tasks import dates
from tasks.dates import add_business_days, days_between, remind, timer

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


def test_days_weeks_and_business_days_are_counted():
    span = days_between(date(2025, 10, 1), date(2025, 10, 31))
    assert (span.days, span.weeks, span.business_days) == (30, 4.29, 22)


def test_holidays_are_no_business_days_unless_they_fall_on_a_weekend():
    holidays = [date(2025, 10, 3), date(2025, 10, 3), date(2025, 10, 4), date(2024, 1, 1)]
    assert days_between(date(2025, 10, 1), date(2025, 10, 31), holidays).business_days == 21


def test_going_back_counts_negative():
    span = days_between(date(2025, 3, 10), date(2025, 3, 3))
    assert (span.days, span.business_days) == (-7, -5)
    assert days_between(date(2025, 3, 3), date(2025, 3, 3)).business_days == 0


def test_spans_and_holidays_have_bounds():
    with pytest.raises(ValueError, match="100,000"):
        days_between(date(1, 1, 1), date(2025, 1, 1))
    with pytest.raises(ValueError, match="1,000"):
        days_between(date(2025, 1, 1), date(2025, 1, 2), [date(2025, 1, 1)] * 1001)


@pytest.mark.parametrize(
    ("start", "days", "end"),
    [
        (date(2025, 5, 2), 1, date(2025, 5, 5)),
        (date(2025, 5, 3), 1, date(2025, 5, 5)),
        (date(2025, 3, 10), -3, date(2025, 3, 5)),
        (date(2025, 5, 2), 0, date(2025, 5, 2)),
    ],
)
def test_business_days_skip_weekends(start, days, end):
    assert add_business_days(start, days) == end


def test_business_days_skip_holidays():
    off = [date(2025, 10, 1), date(2025, 10, 2), date(2025, 10, 3)]
    assert add_business_days(date(2025, 9, 29), 5, off) == date(2025, 10, 9)


@given(st.dates(date(1990, 1, 1), date(2050, 1, 1)).filter(lambda day: day.weekday() < 5), st.integers(0, 300))
def test_the_two_ways_of_counting_business_days_agree(start, days):
    assert days_between(start, add_business_days(start, days)).business_days == days


@pytest.mark.parametrize(("start", "days"), [(date(2025, 1, 1), 5001), (date(9999, 12, 1), 100), (date(1, 1, 2), -5)])
def test_business_days_have_bounds(start, days):
    with pytest.raises(ValueError, match="days"):
        add_business_days(start, days)


async def test_a_timer_waits_as_long_as_it_says(monkeypatch):
    pauses = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    rang = await timer(0.6, "tea")
    assert (rang.label, rang.seconds) == ("tea", 0.6)
    assert sum(pauses) == pytest.approx(0.6)
    assert len(pauses) == 3


async def test_a_timer_has_bounds():
    for seconds in (-1, 61):
        with pytest.raises(ValueError, match="0 to 60"):
            await timer(seconds)


@pytest.fixture
def at_noon(monkeypatch):
    monkeypatch.setattr(dates, "_now", lambda: NOW)


def test_a_reminder_that_is_due_is_delivered(at_noon):
    reminder = remind(" drink water ", NOW - timedelta(seconds=90))
    assert (reminder.message, reminder.late_seconds) == ("drink water", 90)
    assert remind("now", NOW).late_seconds == 0


def test_a_reminder_that_is_early_asks_to_be_tried_again_at_its_time(at_noon):
    with pytest.raises(RetryLater, match="not due before") as raised:
        remind("call home", NOW + timedelta(hours=2))
    assert raised.value.after == timedelta(hours=2)


def test_a_reminder_that_is_far_ahead_is_given_up(at_noon):
    with pytest.raises(GiveUp, match="calendar"):
        remind("open the box", NOW + timedelta(hours=13))


def test_a_reminder_needs_a_message_and_a_time_zone(at_noon):
    with pytest.raises(ValueError, match="message"):
        remind(" ", NOW)
    with pytest.raises(InvalidArgumentsError, match="due_at"):
        remind.bind({"message": "x", "due_at": "2025-03-01T15:00:00"})


def test_a_reminder_outlives_its_wait():
    assert remind.options.deadline is not None
    assert remind.options.deadline > dates.MAX_AHEAD
    assert remind.options.retry.max_attempts >= 2
