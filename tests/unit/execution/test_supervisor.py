"""Who watches the attempts: leases kept, calls stopped in time, and those that do not stop given up."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from dispatcher.errors import CallCancelled, CallTimedOut, LeaseLost
from dispatcher.execution import supervisor as module
from dispatcher.execution.context import Attempt
from dispatcher.execution.supervisor import Supervisor, run_in_main_thread
from dispatcher.model.job import Progress
from dispatcher.settings import Settings
from dispatcher.testing import FakeClock
from dispatcher.transport.commands import Commands
from tests.unit.execution.fakes import FakeLedger
from tests.unit.execution.test_context import attempt_with

SETTINGS = Settings(lease_seconds=3, kill_grace_seconds=2)


class Watch:
    """A supervisor whose thread does nothing: the test looks when it wants to."""

    def __init__(self, **answers: Any) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger(**answers)
        self.abandoned: list[Attempt] = []
        self.supervisor = Supervisor(self.ledger, Commands(SETTINGS), self.clock, SETTINGS, self.abandoned.append)  # type: ignore[arg-type]
        self.attempts: list[Attempt] = []

    def start(self, timeout: float = 100, **changes: Any) -> Attempt:
        attempt = attempt_with(job_id=f"job-{len(self.attempts)}", **changes)
        self.supervisor._attempts[attempt.job_id] = attempt
        self.attempts.append(attempt)
        attempt.begin_call(self.clock.monotonic() + timeout)
        return attempt

    def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.supervisor.look(list(self.supervisor._attempts.values()))

    def beats(self) -> list[tuple[Any, ...]]:
        return [command.args for command in self.ledger.asked_for("heartbeat")]


class TestLeases:
    def test_all_are_kept_in_one_round_trip_a_third_of_the_lease_apart(self) -> None:
        watch = Watch()
        watch.start(token=4)
        watch.start(token=7)
        for _ in range(30):
            watch.after(0.1)
        assert [args[1:] for args in watch.beats()] == [("job-0", 4, "", "job-1", 7, "")] * 3

    def test_a_plain_celery_call_has_no_lease(self) -> None:
        watch = Watch()
        watch.start(token=0)
        watch.after(5)
        assert watch.beats() == []

    def test_progress_travels_along(self) -> None:
        watch = Watch()
        watch.start().progress = Progress(done=1, total=2, message="half")
        watch.after(1)
        assert watch.beats()[0][3] == '[1, 2, "half"]'

    def test_a_server_that_is_away_stops_nobody(self) -> None:
        watch = Watch(heartbeat=[RedisConnectionError("away"), OSError("away"), ["kept"]])
        attempt = watch.start()
        for _ in range(3):
            watch.after(1)
        assert attempt.interruption is None
        assert len(watch.beats()) == 3

    def test_a_lost_lease_stops_the_call(self) -> None:
        watch = Watch(heartbeat=[["lost"]])
        attempt = watch.start()
        watch.after(1)
        assert attempt.interruption is LeaseLost

    def test_a_cancelled_job_is_stopped_with_the_reason_whatever_is_in_it(self) -> None:
        watch = Watch(heartbeat=[["cancel:a: b"]])
        attempt = watch.start()
        watch.after(1)
        assert (attempt.interruption, attempt.cancel_reason) == (CallCancelled, "a: b")

    def test_an_abandoned_attempt_keeps_no_lease(self) -> None:
        watch = Watch()
        watch.start(timeout=1)
        watch.after(1)
        watch.after(2)
        watch.after(5)
        assert len(watch.abandoned) == 1
        assert len(watch.beats()) == 2, "not after it was given up"


class TestTimes:
    def test_a_call_is_stopped_at_its_time_and_not_before(self) -> None:
        watch = Watch()
        attempt = watch.start(timeout=1.5)
        watch.after(1.4)
        assert attempt.interruption is None
        watch.after(0.1)
        assert attempt.interruption is CallTimedOut

    def test_a_call_that_stops_within_the_grace_is_not_given_up(self) -> None:
        watch = Watch()
        attempt = watch.start(timeout=1)
        watch.after(1)
        watch.after(1.9)
        attempt.end_call()
        watch.after(100)
        assert watch.abandoned == []

    def test_a_call_that_does_not_stop_is_given_up_once(self) -> None:
        watch = Watch()
        attempt = watch.start(timeout=1)
        watch.after(1)
        watch.after(1.9)
        assert watch.abandoned == []
        watch.after(0.1)
        watch.after(10)
        assert watch.abandoned == [attempt]
        assert attempt.given_up.is_set()

    def test_whoever_waits_for_the_giving_up_is_freed_also_when_it_fails(self) -> None:
        watch = Watch()
        watch.supervisor._abandon = _raise
        attempt = watch.start(timeout=1)
        watch.after(1)
        with pytest.raises(ZeroDivisionError):
            watch.after(2)
        assert attempt.given_up.is_set()

    def test_a_cancelled_call_that_does_not_stop_is_given_up_too(self) -> None:
        watch = Watch(heartbeat=[["cancel:x"], ["cancel:x"]])
        attempt = watch.start()
        watch.after(1)
        watch.after(2)
        assert watch.abandoned == [attempt]

    def test_the_next_event_is_the_first_of_beat_timeout_and_grace(self) -> None:
        watch = Watch()
        now = watch.clock.monotonic()
        watch.supervisor._next_beat = now + 1
        assert watch.supervisor._next_event() == now + 1
        attempt = watch.start(timeout=0.4)
        assert watch.supervisor._next_event() == now + 0.4
        watch.after(0.5)
        assert watch.supervisor._next_event() == now + 1
        watch.supervisor._next_beat = now + 99
        assert watch.supervisor._next_event() == now + 0.5 + 2
        attempt.end_call()
        assert watch.supervisor._next_event() == now + 99


def _raise(_: Attempt) -> None:
    raise ZeroDivisionError


class TestReaching:
    def test_a_coroutine_is_cancelled_on_its_loop(self) -> None:
        watch = Watch()

        async def main() -> str:
            attempt = watch.start(timeout=1)
            attempt.task = asyncio.ensure_future(asyncio.sleep(60))  # type: ignore[assignment]
            watch.after(1)
            await asyncio.wait([attempt.task])  # type: ignore[type-var, list-item]
            return "cancelled" if attempt.task.cancelled() else "not"  # type: ignore[union-attr]

        assert asyncio.run(main()) == "cancelled"

    def test_a_function_in_the_main_thread_is_interrupted_where_it_is(self) -> None:
        watch = Watch()
        attempt = watch.start(timeout=1, thread=threading.main_thread())
        run_in_main_thread(attempt)
        attempt.interruptible = True
        try:
            with pytest.raises(CallTimedOut):
                watch.after(1)
        finally:
            run_in_main_thread(None)
        assert not attempt.interruptible, "once"

    @pytest.mark.parametrize("ready", ["not interruptible", "nothing runs"])
    def test_a_signal_that_comes_too_late_or_too_early_does_nothing(self, ready: str) -> None:
        watch = Watch()
        attempt = watch.start(timeout=1, thread=threading.main_thread())
        run_in_main_thread(attempt)
        if ready == "nothing runs":
            run_in_main_thread(None)
        try:
            watch.after(1)
        finally:
            run_in_main_thread(None)
        assert attempt.interruption is CallTimedOut

    def test_a_late_signal_for_one_call_does_not_hit_the_next(self) -> None:
        attempt = attempt_with()
        attempt.begin_call(10)
        attempt.interrupt(CallTimedOut, 10)
        attempt.end_call()
        attempt.begin_call(20)
        run_in_main_thread(attempt)
        attempt.interruptible = True
        try:
            module._on_interrupt(0, None)
        finally:
            run_in_main_thread(None)


class TestThread:
    """The thread itself, on the real clock, with waits that end when something happens."""

    @pytest.fixture
    def make(self) -> Iterator[Callable[..., Supervisor]]:
        from dispatcher.clock import SystemClock

        made: list[Supervisor] = []

        def build(ledger: FakeLedger, abandon: Callable[[Attempt], None], settings: Settings) -> Supervisor:
            made.append(Supervisor(ledger, Commands(settings), SystemClock(), settings, abandon))  # type: ignore[arg-type]
            return made[-1]

        yield build
        for one in made:
            one.close()
            assert one._thread is None or not one._thread.is_alive()

    def test_it_survives_what_goes_wrong_in_it(self, make: Callable[..., Supervisor], caplog: Any) -> None:
        beats = threading.Semaphore(0)

        def broken(_: object) -> list[str]:
            beats.release()
            msg = "cannot be"
            raise TypeError(msg)

        watcher = make(FakeLedger(heartbeat=[broken]), lambda _: None, Settings(lease_seconds=0.5))
        watcher.watch(attempt_with())
        assert beats.acquire(timeout=10)
        assert beats.acquire(timeout=10), "it beats again"
        assert "supervision_failed" in caplog.text

    def test_a_timeout_shorter_than_a_beat_is_kept_to(self, make: Callable[..., Supervisor]) -> None:
        given_up = threading.Event()
        watcher = make(FakeLedger(), lambda _: given_up.set(), Settings(lease_seconds=3600, kill_grace_seconds=0.1))
        # As if the heartbeats were an hour apart: only `expect` can wake it in time.
        watcher._beat = 3600
        attempt = attempt_with()
        watcher.watch(attempt)
        while watcher._asleep_until == 0:
            threading.Event().wait(0.001)
        stop_at = watcher._clock.monotonic() + 0.01
        attempt.begin_call(stop_at)
        watcher.expect(stop_at)
        assert given_up.wait(10)

    def test_short_jobs_do_not_wake_it_each(self, make: Callable[..., Supervisor]) -> None:
        watcher = make(FakeLedger(), lambda _: None, Settings(lease_seconds=3600))
        watcher._beat = 3600
        looks: list[int] = []
        watcher.look = lambda attempts: looks.append(len(attempts))  # type: ignore[method-assign]
        for number in range(50):
            attempt = attempt_with(job_id=str(number))
            watcher.watch(attempt)
            while watcher._asleep_until == 0:
                threading.Event().wait(0.001)
            watcher.release(attempt)
        threading.Event().wait(0.05)
        assert looks == []

    def test_a_job_that_comes_when_it_has_long_had_nothing_to_do_keeps_its_lease(
        self, make: Callable[..., Supervisor]
    ) -> None:
        beats = threading.Semaphore(0)

        def kept(_: object) -> list[str]:
            beats.release()
            return ["kept"]

        watcher = make(FakeLedger(heartbeat=[kept, kept]), lambda _: None, Settings(lease_seconds=0.5))
        first = attempt_with(job_id="first")
        watcher.watch(first)
        watcher.release(first)
        threading.Event().wait(0.3)
        watcher.watch(attempt_with(job_id="second"))
        assert beats.acquire(timeout=10)
        assert beats.acquire(timeout=10), "it beats again"

    def test_it_ends_while_it_watches_nothing(self, make: Callable[..., Supervisor]) -> None:
        watcher = make(FakeLedger(), lambda _: None, Settings(lease_seconds=0.5))
        attempt = attempt_with()
        watcher.watch(attempt)
        watcher.release(attempt)

        def idles() -> bool:
            with watcher._changed:  # which it lets go of only while it waits
                return watcher._asleep_until == math.inf

        until = time.monotonic() + 10
        while not idles():
            assert time.monotonic() < until
            time.sleep(0.01)
        watcher.close()
        assert watcher._thread is not None
        assert not watcher._thread.is_alive()

    def test_releasing_an_attempt_does_not_release_the_one_that_came_after_it(
        self, make: Callable[..., Supervisor]
    ) -> None:
        watcher = make(FakeLedger(), lambda _: None, SETTINGS)
        first, second = attempt_with(token=1), attempt_with(token=2)
        watcher.watch(first)
        watcher.watch(second)
        watcher.release(first)
        assert list(watcher._attempts.values()) == [second]


class TestManyAttempts:
    def test_however_often_calls_begin_it_does_not_look_at_all_of_them_each_time(self) -> None:
        watch = Watch()
        looks: list[int] = []
        watch.supervisor.look = lambda attempts: looks.append(len(attempts))  # type: ignore[method-assign]
        for number in range(2000):
            watch.supervisor.watch(attempt_with(job_id=f"job-{number}"))
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            watch.supervisor.expect(0.0)
            time.sleep(0.001)
        watch.supervisor.close()
        assert 1 <= len(looks) <= 25, "with 20 ms of rest after each"
