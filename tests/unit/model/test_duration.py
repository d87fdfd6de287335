"""A number where a duration is wanted is refused in words: nobody knows whether seconds were meant."""

from datetime import timedelta
from typing import Any

import pytest

from dispatcher.errors import RetryLater
from dispatcher.model.duration import check_duration
from dispatcher.model.retry import RetryPolicy

number: Any = 5


def test_a_timedelta_is_a_duration() -> None:
    check_duration("delay", timedelta(seconds=5))
    with pytest.raises(TypeError, match=r"delay must be a timedelta, not 5; write timedelta\(seconds=…\)"):
        check_duration("delay", number)


def test_a_function_that_asks_to_be_retried_in_5_is_told_what_to_write() -> None:
    with pytest.raises(TypeError, match="after must be a timedelta, not 5"):
        RetryLater(number)


@pytest.mark.parametrize("wait", ["first_wait", "longest_wait"])
def test_a_retry_policys_waits_are_durations(wait: str) -> None:
    with pytest.raises(TypeError, match=f"{wait} must be a timedelta, not 5"):
        RetryPolicy(**{wait: number})
