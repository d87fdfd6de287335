"""What becomes of a failed attempt: a decision, made from data alone."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from dispatcher.errors import CallTimedOut, GiveUp, RetryLater
from dispatcher.model.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `wait`."""

    wait: timedelta


@dataclass(frozen=True, slots=True)
class Final:
    """The failure is the outcome."""


RetryDecision = Retry | Final


def decide(
    policy: RetryPolicy,
    error: BaseException,
    *,
    failures: int,
    time_left: timedelta,
    draw: Callable[[], float] = random.random,
) -> RetryDecision:
    """Decide on another attempt.

    Args:
        policy: the function's.
        error: what the attempt raised.
        failures: attempts that failed, this one included.
        time_left: until the job's deadline. A retry that would come later is none.
        draw: evenly from 0 to 1, for the jitter.
    """
    if isinstance(error, GiveUp) or failures >= policy.max_attempts:
        return Final()
    if isinstance(error, RetryLater):
        wait = max(timedelta(0), error.after)
    elif isinstance(error, CallTimedOut) or (isinstance(error, policy.on) and not isinstance(error, policy.never_on)):
        wait = backoff(policy, failures, draw)
    else:
        return Final()
    return Retry(wait) if wait < time_left else Final()


def backoff(policy: RetryPolicy, failures: int, draw: Callable[[], float]) -> timedelta:
    """The wait after the given number of failures (at least 1)."""
    first, longest = policy.first_wait.total_seconds(), policy.longest_wait.total_seconds()
    try:
        full = min(first * policy.factor ** (failures - 1), longest)
    except OverflowError:
        full = longest if first > 0 else 0.0
    return timedelta(seconds=full * draw() if policy.jitter else full)
