"""Functions on dates and time: count days, wait, remind."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pydantic import AwareDatetime

from dispatcher import GiveUp, RetryLater, RetryPolicy, current_job_or_none
from tasks.shared import registry

#: The furthest that days are counted one by one for holidays and weekends: about 270 years.
MAX_DAYS = 100_000
#: A reminder further ahead belongs in a calendar.
MAX_AHEAD = timedelta(hours=12)
MAX_TIMER_SECONDS = 60.0
#: How often a timer says how far it is.
_TICK_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class DaySpan:
    """How far two dates are apart."""

    #: Negative if the second date is earlier.
    days: int
    weeks: float
    #: Mondays to Fridays that are no holiday, the first date counted and the last one not.
    business_days: int


@registry.function(
    name="dates.days_between",
    tags={"dates", "calendar"},
    examples=(
        "how many days are there between March 1 and June 15?",
        "days until Christmas",
        "count the business days from today to the deadline",
        "两个日期之间相差多少天",
        "距离春节还有几天",
    ),
)
def days_between(start: date, end: date, holidays: list[date] | None = None) -> DaySpan:
    """Count the days, weeks and business days between two dates.

    Args:
        start: the first date, as 2025-03-01.
        end: the second date.
        holidays: days off beside Saturdays and Sundays, at most 1,000.

    Raises:
        ValueError: if the dates are more than 100,000 days apart, or there are too many holidays.
    """
    days = (end - start).days
    if abs(days) > MAX_DAYS or len(holidays or ()) > 1_000:  # noqa: PLR2004 - the number the docstring names
        msg = f"dates may be {MAX_DAYS:,} days apart with 1,000 holidays between, not {abs(days):,}"
        raise ValueError(msg)
    first, last = min(start, end), max(start, end)
    weeks, rest = divmod((last - first).days, 7)
    working = weeks * 5 + sum((first.weekday() + extra) % 7 < 5 for extra in range(rest))  # noqa: PLR2004 - Saturday
    working -= sum(first <= day < last and day.weekday() < 5 for day in set(holidays or ()))  # noqa: PLR2004 - Saturday
    return DaySpan(days=days, weeks=round(days / 7, 2), business_days=working if days >= 0 else -working)


@registry.function(
    name="dates.add_business_days",
    tags={"dates", "calendar", "deadline"},
    examples=(
        "what date is ten working days after May 2?",
        "add 5 business days to the invoice date",
        "when is the delivery due, three workdays from Monday",
        "5个工作日之后是几号",
        "从周一算起十个工作日后是哪天",
    ),
)
def add_business_days(start: date, days: int, holidays: list[date] | None = None) -> date:
    """Find the date that is a number of business days after (or before) a date.

    Args:
        start: the date to count from, as 2025-03-01; not counted itself.
        days: how many Mondays to Fridays, -5,000 to 5,000.
        holidays: days off beside Saturdays and Sundays.

    Raises:
        ValueError: if days is out of range, or the calendar ends (year 1 or 9999).
    """
    if abs(days) > 5_000:  # noqa: PLR2004 - the number the docstring names
        msg = f"days must be -5,000 to 5,000, not {days:,}"
        raise ValueError(msg)
    off, step, left, day = set(holidays or ()), 1 if days > 0 else -1, abs(days), start
    try:
        while left:
            day += timedelta(days=step)
            left -= day.weekday() < 5 and day not in off  # noqa: PLR2004 - Saturday
    except OverflowError:
        msg = "the calendar ends before that many business days"
        raise ValueError(msg) from None
    return day


@dataclass(frozen=True, kw_only=True)
class TimerEnded:
    """A timer that ran to its end."""

    label: str
    seconds: float


@registry.function(
    name="dates.timer",
    tags={"time", "wait", "countdown"},
    timeout=timedelta(seconds=MAX_TIMER_SECONDS + 10),
    examples=(
        "set a timer for 2 seconds",
        "start a countdown of half a minute",
        "ping me in one second",
        "计时两秒钟",
        "开始一个30秒的倒计时",
    ),
)
async def timer(seconds: float, label: str = "") -> TimerEnded:
    """Start a countdown that reports its progress, and answer when it ends.

    Waits without holding a thread: thousands run on one worker at once.

    Args:
        seconds: how long, 0 to 60.
        label: what the timer is for.

    Raises:
        ValueError: if seconds is out of range.
    """
    if not 0 <= seconds <= MAX_TIMER_SECONDS:
        msg = f"a timer runs 0 to {MAX_TIMER_SECONDS:g} seconds, not {seconds:g}"
        raise ValueError(msg)
    job = current_job_or_none()
    waited = 0.0
    while waited < seconds:
        pause = min(_TICK_SECONDS, seconds - waited)
        await asyncio.sleep(pause)
        waited += pause
        if job is not None:
            job.progress(waited, seconds, label)
    return TimerEnded(label=label, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Reminder:
    """A reminder that is due."""

    message: str
    due_at: datetime
    late_seconds: float


@registry.function(
    name="dates.remind",
    tags={"time", "schedule"},
    # One attempt that finds it is too early, one that delivers, and some for clocks that disagree.
    retry=RetryPolicy(max_attempts=5),
    deadline=MAX_AHEAD + timedelta(hours=1),
    examples=(
        "remind me at 15:30 to call the dentist",
        "send me a reminder before the meeting",
        "don't let me forget to water the plants tonight",
        "下午三点提醒我开会",
        "到时候提醒我吃药",
    ),
)
def remind(message: str, due_at: AwareDatetime) -> Reminder:
    """Deliver a reminder at its time. Too early, it asks to be tried again then, and holds no worker meanwhile.

    Args:
        message: what to be reminded of.
        due_at: when, with its time zone, as 2025-03-01T15:30:00+01:00; at most twelve hours ahead.

    Raises:
        RetryLater: until then, when it is too early.
        GiveUp: if it is further ahead than twelve hours.
        ValueError: if the message is empty.
    """
    if not message.strip():
        msg = "a reminder needs a message"
        raise ValueError(msg)
    ahead = due_at - _now()
    if ahead > MAX_AHEAD:
        msg = f"reminders reach {MAX_AHEAD} ahead; {due_at:%Y-%m-%d %H:%M} belongs in a calendar"
        raise GiveUp(msg)
    if ahead > timedelta(0):
        raise RetryLater(ahead, reason=f"not due before {due_at:%Y-%m-%d %H:%M:%S %Z}")
    return Reminder(message=message.strip(), due_at=due_at, late_seconds=round(-ahead.total_seconds(), 3))


def _now() -> datetime:
    return datetime.now(UTC)
