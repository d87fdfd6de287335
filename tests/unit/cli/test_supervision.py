"""When a process is started again, and when no more."""

from datetime import UTC, datetime

from dispatcher.cli.supervision import MAX_RESTARTS, WITHIN_SECONDS, Restarts


class HandClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


def test_a_process_is_started_again_a_few_times_within_a_minute_and_no_more() -> None:
    restarts = Restarts(HandClock())
    assert [restarts.allow("worker-1") for _ in range(MAX_RESTARTS + 1)] == [True] * MAX_RESTARTS + [False]


def test_each_process_is_counted_by_itself() -> None:
    restarts = Restarts(HandClock())
    for _ in range(MAX_RESTARTS):
        restarts.allow("worker-1")
    assert restarts.allow("worker-2")


def test_what_was_long_ago_no_longer_counts() -> None:
    clock = HandClock()
    restarts = Restarts(clock)
    for _ in range(100):
        assert restarts.allow("worker-1")
        clock.seconds += WITHIN_SECONDS / MAX_RESTARTS
