"""What a running function can know and say, and who decides how its call ends."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.errors import CallCancelled, CallTimedOut, LeaseLost
from dispatcher.execution.context import Attempt, CurrentJob, current_job, current_job_or_none, set_current_job
from dispatcher.model.job import Progress
from dispatcher.testing import FakeClock


def attempt_with(**changes: Any) -> Attempt:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    values: dict[str, Any] = {
        "job_id": "job-1",
        "token": 3,
        "number": 3,
        "function": "add",
        "idempotency_key": "",
        "accepted_at": now,
        "deadline_at": now + timedelta(minutes=1),
    }
    return Attempt(**{**values, **changes})


class TestCurrentJob:
    def test_it_tells_what_the_job_is(self) -> None:
        attempt = attempt_with(idempotency_key="k")
        job = CurrentJob(attempt, FakeClock())
        assert (job.id, job.attempt, job.idempotency_key, job.deadline) == ("job-1", 3, "k", attempt.deadline_at)

    def test_a_job_without_a_key_is_its_own_key_in_every_attempt(self) -> None:
        assert CurrentJob(attempt_with(), FakeClock()).idempotency_key == "job-1"

    def test_time_left_runs_down_to_zero_and_no_further(self) -> None:
        clock, attempt = FakeClock(), attempt_with()
        job = CurrentJob(attempt, clock)
        assert job.time_left == timedelta(0)
        attempt.begin_call(clock.monotonic() + 10)
        clock.advance(4)
        assert job.time_left == timedelta(seconds=6)
        clock.advance(60)
        assert job.time_left == timedelta(0)

    def test_it_says_when_to_stop_and_stops_where_it_is_safe(self) -> None:
        attempt = attempt_with()
        job = CurrentJob(attempt, FakeClock())
        job.raise_if_cancelled()
        attempt.interrupt(CallCancelled, 0)
        assert job.cancelled
        with pytest.raises(CallCancelled, match="the producer cancelled"):
            job.raise_if_cancelled()

    def test_progress_is_kept_for_the_next_heartbeat(self) -> None:
        attempt = attempt_with()
        job = CurrentJob(attempt, FakeClock())
        job.progress(1, 4, "x" * 500)
        assert attempt.progress == Progress(done=1.0, total=4.0, message="x" * 200)
        job.progress(2)
        assert attempt.progress == Progress(done=2.0)

    @pytest.mark.parametrize("wrong", ["many", None, object(), math.nan, math.inf, 1j])
    def test_progress_that_is_no_number_is_the_functions_own_error(self, wrong: Any) -> None:
        attempt = attempt_with()
        with pytest.raises((TypeError, ValueError)):
            CurrentJob(attempt, FakeClock()).progress(wrong, 1)
        assert attempt.progress is None, "it must never reach the thread that keeps the leases"

    def test_a_message_that_cannot_be_sent_is_made_sendable(self) -> None:
        attempt = attempt_with()
        CurrentJob(attempt, FakeClock()).progress(1, message="a\ud800")
        assert attempt.progress is not None
        assert attempt.progress.message == "a?"

    def test_outside_a_job_there_is_none(self) -> None:
        set_current_job(None)
        assert current_job_or_none() is None
        with pytest.raises(RuntimeError, match="outside a job"):
            current_job()

    def test_inside_a_job_it_is_that_job(self) -> None:
        job = CurrentJob(attempt_with(), FakeClock())
        set_current_job(job)
        try:
            assert current_job() is current_job_or_none() is job
        finally:
            set_current_job(None)


class TestWhoDecides:
    def test_a_timeout_is_of_the_call_that_runs_and_not_of_the_next(self) -> None:
        attempt = attempt_with()
        attempt.begin_call(10)
        assert not attempt.interrupt(CallTimedOut, 9)
        attempt.end_call()
        assert not attempt.interrupt(CallTimedOut, 11), "it ended in time, however late that was looked at"
        assert attempt.begin_call(20)
        assert not attempt.interrupt(CallTimedOut, 11)
        assert attempt.interrupt(CallTimedOut, 20)

    def test_after_a_timeout_the_next_call_starts_afresh(self) -> None:
        attempt = attempt_with()
        attempt.begin_call(10)
        attempt.interrupt(CallTimedOut, 10)
        attempt.end_call()
        assert attempt.begin_call(20)
        assert attempt.interruption is None

    @pytest.mark.parametrize("reason", [CallCancelled, LeaseLost])
    def test_after_a_cancellation_there_is_no_next_call(self, reason: type) -> None:
        attempt = attempt_with()
        attempt.begin_call(10)
        attempt.end_call()
        assert attempt.interrupt(reason, 5), "told between two calls"
        assert not attempt.begin_call(20)

    def test_it_is_told_once(self) -> None:
        attempt = attempt_with()
        attempt.begin_call(10)
        assert attempt.interrupt(CallCancelled, 1)
        assert not attempt.interrupt(LeaseLost, 2)
        assert attempt.interruption is CallCancelled

    def test_only_a_call_that_was_told_and_still_runs_is_abandoned(self) -> None:
        attempt = attempt_with()
        attempt.begin_call(10)
        assert not attempt.abandon(100, 2)
        attempt.interrupt(CallTimedOut, 10)
        assert not attempt.abandon(11, 2)
        assert attempt.abandon(12, 2)
        assert not attempt.abandon(13, 2), "once"

    def test_a_call_ends_or_is_abandoned_and_never_both(self) -> None:
        ended_first, abandoned_first = attempt_with(), attempt_with()
        for attempt in (ended_first, abandoned_first):
            attempt.begin_call(10)
            attempt.interrupt(CallTimedOut, 10)
        assert ended_first.end_call()
        assert not ended_first.abandon(99, 2)
        assert abandoned_first.abandon(99, 2)
        assert not abandoned_first.end_call()
        assert not abandoned_first.begin_call(200)
