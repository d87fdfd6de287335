"""Stopping a call that must stop, and settling without one that does not."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dispatcher.errors import CallCancelled, CallTimedOut, Interrupted, LeaseLost
from dispatcher.execution import supervisor
from dispatcher.execution.ending import Ending
from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorKind
from dispatcher.transport.replies import Lease
from tests.unit.execution.bench import SETTINGS, Bench, Benches, Patch, does, raises
from tests.unit.execution.fakes import lease_of


class TestStopping:
    """The test's thread is the main thread, so functions are interrupted as in a process of the prefork pool."""

    def test_a_timeout_stops_one_call_and_not_the_next(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            if value == "slow":
                made.interrupt(CallTimedOut)
                pytest.fail("it must not come so far")
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do", {"value": "slow"}, {"value": "quick"}))
        made.run()
        first, second = made.record.calls
        assert first.error is not None
        assert (first.error.kind, second.state) == (ErrorKind.TIMEOUT, JobState.SUCCEEDED)

    def test_a_timeout_is_retried(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, lambda _: made.interrupt(CallTimedOut))
        made = bench(lease_of("do_again"), settle="scheduled")
        assert made.run().what == "retried"

    def test_the_deadline_stops_a_call_which_then_expired_and_did_not_fail(
        self, bench: Benches, monkeypatch: Patch
    ) -> None:
        does(monkeypatch, lambda _: made.interrupt(CallTimedOut))
        made = bench(lease_of("do_again", time_left=timedelta(seconds=5)))
        assert made.run().what == "expired"
        assert made.record.state is JobState.EXPIRED

    def test_a_cancelled_job_ends_where_it_is(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            if value == 1:
                next(iter(made.executor._runs)).cancel_reason = "enough"
                made.interrupt(CallCancelled)
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do_again", *({"value": n} for n in range(3))))
        made.run()
        assert [(call.state, call.reason) for call in made.record.calls] == [
            ("succeeded", ""),
            ("cancelled", "enough"),
            ("cancelled", "enough"),
        ]

    def test_however_a_function_puts_its_stopping_it_was_stopped(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(_: Any) -> object:
            try:
                made.interrupt(CallCancelled)
            finally:
                raise ValueError("cleaning up went wrong")  # noqa: EM101, TRY003

        does(monkeypatch, act)
        made = bench(lease_of("do_again"))
        assert made.run().what == "cancelled"

    def test_a_function_that_returns_after_being_cancelled_has_a_result(
        self, bench: Benches, monkeypatch: Patch
    ) -> None:
        def act(_: Any) -> object:
            try:
                made.interrupt(CallCancelled)
            except CallCancelled:
                return "done all the same"

        does(monkeypatch, act)
        made = bench(lease_of("do"))
        assert made.run() == Ending(what="succeeded", text='"done all the same"')

    def test_a_function_that_stops_by_itself_was_not_cancelled(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, raises(CallCancelled("my own word")))
        made = bench(lease_of("do"))
        assert made.run().what == "failed"

    def test_a_job_that_belongs_to_another_attempt_is_not_settled(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, lambda _: made.interrupt(LeaseLost))
        made = bench(lease_of("do_again", {}, {}))
        assert made.run() == Ending(what="dropped", text="another attempt has the job")
        assert made.ledger.asked_for("settle") == []

    def test_a_job_cancelled_before_its_first_call_makes_none(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, lambda _: pytest.fail("it must not be called"))
        made = bench(lease_of("do"))
        begin = made.executor.begin

        def cancelled(lease: Lease) -> Any:
            run = begin(lease)
            made.interrupt(CallCancelled)
            return run

        monkeypatch.setattr(made.executor, "begin", cancelled)
        assert made.run().what == "cancelled"

    def test_a_coroutine_is_cancelled_and_cleans_up(self, bench: Benches, monkeypatch: Patch) -> None:
        cleaned = threading.Event()

        async def act() -> None:
            try:
                made.interrupt(CallTimedOut)
                await asyncio.sleep(60)
            finally:
                cleaned.set()

        does(monkeypatch, lambda _: act())
        made = bench(lease_of("do_async"), settle="scheduled")
        assert made.run().what == "retried"
        assert cleaned.is_set()

    def test_a_coroutine_that_swallows_its_cancellation_has_a_result(self, bench: Benches, monkeypatch: Patch) -> None:
        async def act() -> str:
            try:
                made.interrupt(CallCancelled)
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "I was faster"
            return "never"

        does(monkeypatch, lambda _: act())
        made = bench(lease_of("do_async"))
        assert made.run() == Ending(what="succeeded", text='"I was faster"')


class TestAbandonment:
    """A function that does not stop when told to: the supervisor settles without it."""

    @pytest.fixture
    def ended(self, monkeypatch: Patch) -> list[str]:
        calls: list[str] = []
        monkeypatch.setattr(supervisor, "end_process", lambda: calls.append("ended"))
        return calls

    def stubborn(self, made: Callable[[], Bench], reason: type[Interrupted]) -> Callable[[Any], object]:
        """Swallows every interruption, and returns when the supervisor has given up."""

        def act(value: Any) -> object:
            if value == "good":
                return value
            bench = made()
            with contextlib.suppress(BaseException):  # as some functions do
                bench.interrupt(reason)
            bench.clock.advance(SETTINGS.kill_grace_seconds)
            (attempt,) = bench.executor._runs
            # On another thread, as always; it or the supervisor's own gives up, whichever looks first.
            threading.Thread(target=bench.executor._supervisor.look, args=([attempt],)).start()
            assert attempt.given_up.wait(10)
            return "too late"

        return act

    def test_it_is_settled_as_timed_out_and_its_own_end_does_not_count(
        self, bench: Benches, monkeypatch: Patch, ended: list[str]
    ) -> None:
        does(monkeypatch, self.stubborn(lambda: made, CallTimedOut))
        made = bench(lease_of("do"))
        assert made.run().what == "dropped"
        error = made.record.calls[0].error
        assert error is not None
        assert error.kind is ErrorKind.TIMEOUT
        assert "did not stop when told to" in error.message
        assert ended == [], "a thread cannot be ended, so nothing else is"

    def test_it_may_be_retried(self, bench: Benches, monkeypatch: Patch, ended: list[str]) -> None:
        does(monkeypatch, self.stubborn(lambda: made, CallTimedOut))
        made = bench(lease_of("do_again"), settle="scheduled")
        assert made.run().what == "dropped"
        assert len(list(made.ledger.retries())) == 1
        assert list(made.ledger.settlements()) == []

    def test_in_a_pool_process_the_process_ends_with_it_and_takes_no_other_job(
        self, bench: Benches, monkeypatch: Patch, ended: list[str]
    ) -> None:
        does(monkeypatch, self.stubborn(lambda: made, CallCancelled))
        made = bench(lease_of("do"), in_pool_process=True)
        assert made.run().what == "dropped"
        assert ended == ["ended"]
        assert made.record.state is JobState.CANCELLED

    def test_the_process_ends_also_when_settling_fails(
        self, bench: Benches, monkeypatch: Patch, ended: list[str]
    ) -> None:
        def broken(_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        does(monkeypatch, self.stubborn(lambda: made, CallTimedOut))
        made = bench(lease_of("do"), settle=[broken], in_pool_process=True)
        assert made.run().what == "dropped"
        assert ended == ["ended"]

    def test_a_lost_lease_is_given_up_without_a_word_to_the_ledger(
        self, bench: Benches, monkeypatch: Patch, ended: list[str]
    ) -> None:
        does(monkeypatch, self.stubborn(lambda: made, LeaseLost))
        made = bench(lease_of("do"), in_pool_process=True)
        assert made.run().what == "dropped"
        assert made.ledger.asked_for("settle") == []
        assert ended == ["ended"]

    def test_of_many_calls_those_behind_the_one_that_hangs_are_made_in_another_attempt(
        self, bench: Benches, monkeypatch: Patch, ended: list[str]
    ) -> None:
        does(monkeypatch, self.stubborn(lambda: made, CallTimedOut))
        calls = ({"value": "good"}, {"value": "stubborn"}, {"value": "not yet"})
        made = bench(lease_of("do", *calls), settle="scheduled")
        made.run()
        ((wait, done),) = made.ledger.retries()
        assert wait == timedelta(0)
        states = {index: (call.state, call.error.kind if call.error else None) for index, call in done.items()}
        assert states == {0: ("succeeded", None), 1: ("failed", "timeout")}

    def test_of_many_calls_those_behind_the_one_that_hangs_are_cancelled_with_the_job(
        self, bench: Benches, monkeypatch: Patch, ended: list[str]
    ) -> None:
        does(monkeypatch, self.stubborn(lambda: made, CallCancelled))
        made = bench(lease_of("do", {"value": "good"}, {"value": "stubborn"}, {"value": "not any more"}))
        made.run()
        assert [call.state for call in made.record.calls] == ["succeeded", "cancelled", "cancelled"]

    def test_of_many_calls_those_behind_the_one_that_hangs_past_the_deadline_expire(
        self, bench: Benches, monkeypatch: Patch, ended: list[str]
    ) -> None:
        does(monkeypatch, self.stubborn(lambda: made, CallTimedOut))
        lease = lease_of("do", {"value": "good"}, {"value": "stubborn"}, {}, time_left=timedelta(seconds=60))
        made = bench(lease)
        made.run()
        assert [call.state for call in made.record.calls] == ["succeeded", "expired", "expired"]

    def test_a_coroutine_that_blocks_the_loop_is_left_behind(
        self, bench: Benches, monkeypatch: Patch, ended: list[str]
    ) -> None:
        go_on = threading.Event()

        async def act() -> None:
            (attempt,) = made.executor._runs
            while attempt.waited_for is None:
                await asyncio.sleep(0)
            made.interrupt(CallTimedOut)
            made.clock.advance(SETTINGS.kill_grace_seconds)
            threading.Thread(target=made.executor._supervisor.look, args=([attempt],)).start()
            go_on.wait(10)

        does(monkeypatch, lambda _: act())
        made = bench(lease_of("do_async"), settle="scheduled")
        assert made.run().what == "dropped"
        go_on.set()
