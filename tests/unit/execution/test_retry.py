"""What becomes of a failed attempt."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import CallTimedOut, GiveUp, RetryLater
from dispatcher.execution.retry import Final, Retry, backoff, decide
from dispatcher.model.retry import RetryPolicy

HOUR = timedelta(hours=1)
POLICY = RetryPolicy(max_attempts=3, first_wait=timedelta(seconds=1), factor=2, jitter=False)

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    first_wait=st.timedeltas(timedelta(0), timedelta(minutes=1)),
    factor=st.floats(1, 100),
    longest_wait=st.timedeltas(timedelta(minutes=1), timedelta(days=30)),
    jitter=st.booleans(),
)
draws = st.floats(0, 1, exclude_max=True)


def wait_after(error: BaseException, policy: RetryPolicy = POLICY, failures: int = 1, left: timedelta = HOUR) -> object:
    decision = decide(policy, error, failures=failures, time_left=left, draw=lambda: 0.5)
    return decision.wait.total_seconds() if isinstance(decision, Retry) else decision


def test_each_failure_doubles_the_wait_until_the_attempts_are_used_up() -> None:
    assert [wait_after(ValueError(), failures=n) for n in (1, 2, 3, 4)] == [1, 2, Final(), Final()]


def test_one_attempt_is_all_there_is_by_default() -> None:
    for error in (ValueError(), CallTimedOut(), RetryLater(timedelta(0))):
        assert wait_after(error, RetryPolicy()) == Final()


def test_only_what_the_policy_names_is_tried_again() -> None:
    policy = RetryPolicy(max_attempts=9, jitter=False, on=(OSError,), never_on=(FileNotFoundError,))
    assert wait_after(ConnectionError(), policy) == 1
    assert wait_after(ValueError(), policy) == Final()
    assert wait_after(FileNotFoundError(), policy) == Final()


def test_a_timeout_is_tried_again_whatever_the_policy_names() -> None:
    assert wait_after(CallTimedOut(), RetryPolicy(max_attempts=2, jitter=False, on=(OSError,))) == 1


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_what_is_no_exception_is_final(error: BaseException) -> None:
    assert wait_after(error) == Final()


def test_give_up_is_final_though_it_is_an_exception() -> None:
    assert wait_after(GiveUp("no")) == Final()


def test_the_function_may_choose_the_wait_itself() -> None:
    assert wait_after(RetryLater(timedelta(seconds=17))) == 17
    assert wait_after(RetryLater(timedelta(seconds=-17))) == 0
    assert wait_after(RetryLater(timedelta(seconds=17)), failures=3) == Final()


def test_a_retry_at_or_after_the_deadline_is_none() -> None:
    assert wait_after(ValueError(), left=timedelta(seconds=1.001)) == 1
    assert wait_after(ValueError(), left=timedelta(seconds=1)) == Final()
    assert wait_after(RetryLater(timedelta(0)), left=timedelta(0)) == Final()
    assert wait_after(RetryLater(timedelta(0)), left=timedelta(seconds=-5)) == Final()


@given(policies, st.integers(1, 10_000), draws)
def test_a_wait_is_never_negative_nor_longer_than_the_longest(policy: RetryPolicy, failures: int, draw: float) -> None:
    wait = backoff(policy, failures, lambda: draw)
    assert timedelta(0) <= wait <= policy.longest_wait


@given(policies, st.integers(1, 60), draws)
def test_jitter_only_shortens_and_without_it_the_wait_is_exact(policy: RetryPolicy, failures: int, draw: float) -> None:
    full = backoff(policy, failures, lambda: 1.0)
    wait = backoff(policy, failures, lambda: draw)
    assert wait <= full if policy.jitter else wait == full


@given(policies, st.integers(1, 60))
def test_waits_grow(policy: RetryPolicy, failures: int) -> None:
    assert backoff(policy, failures, lambda: 1.0) <= backoff(policy, failures + 1, lambda: 1.0)


@pytest.mark.parametrize("failures", [1, 2, 100, 10_000])
def test_no_first_wait_means_no_wait_at_all(failures: int) -> None:
    assert backoff(RetryPolicy(max_attempts=2, first_wait=timedelta(0)), failures, lambda: 1.0) == timedelta(0)


@given(policies, st.sampled_from([ValueError(), CallTimedOut(), RetryLater(timedelta(seconds=3)), SystemExit()]),
       st.integers(1, 30), st.timedeltas(timedelta(0), timedelta(days=1)), draws)  # fmt: skip
def test_a_retry_is_always_within_the_attempts_and_before_the_deadline(
    policy: RetryPolicy, error: BaseException, failures: int, left: timedelta, draw: float
) -> None:
    decision = decide(policy, error, failures=failures, time_left=left, draw=lambda: draw)
    if isinstance(decision, Retry):
        assert failures < policy.max_attempts
        assert decision.wait < left
