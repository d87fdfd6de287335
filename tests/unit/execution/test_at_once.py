"""The calls of an `async def`'s job run at once: each with its own time, its own context and its own end."""

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dispatcher import Registry, current_job
from dispatcher.errors import CallCancelled, LeaseLost
from dispatcher.execution import calls, supervisor
from dispatcher.execution.context import Attempt, OneOfMany
from dispatcher.execution.ending import Ending
from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorKind
from dispatcher.settings import Settings
from dispatcher.transport.outcomes import CallRecord, decode_done
from tests.unit.execution import bench as module
from tests.unit.execution.bench import SETTINGS, Bench, Benches, Patch, does
from tests.unit.execution.fakes import lease_of

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


def values(*given: object) -> list[dict[str, object]]:
    return [{"value": value} for value in given]


def attempt_of(made: Bench) -> Attempt:
    (attempt,) = made.executor._runs
    return attempt


def call_of(made: Bench, index: int) -> OneOfMany:
    return attempt_of(made).calls[index]


def look(made: Bench) -> threading.Thread:
    """As the supervisor does when something is due: on a thread of its own."""
    thread = threading.Thread(target=made.executor._supervisor.look, args=([attempt_of(made)],))
    thread.start()
    return thread


def states(made: Bench) -> list[str]:
    return [str(call.state) for call in made.record.calls]


class TestAtOnce:
    @pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (100, 7)])
    def test_as_many_run_at_once_as_the_limit_says(
        self, bench: Benches, monkeypatch: Patch, limit: int, most: int
    ) -> None:
        running = highest = 0

        async def act(value: object) -> object:
            nonlocal running, highest
            running += 1
            highest = max(highest, running)
            await asyncio.sleep(0.001)
            running -= 1
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values(*range(7))))
        monkeypatch.setattr(made.executor._maker, "_at_once", lambda _: limit)
        assert made.run() == Ending(what="succeeded", text="7 of 7 calls succeeded")
        assert highest == most
        assert [call.value for call in made.record.calls] == [str(n) for n in range(7)]

    def test_the_limit_is_the_functions_or_the_settings(self) -> None:
        registry = Registry()

        @registry.function(at_once=7)
        async def own() -> None:
            """Have a limit."""

        @registry.function
        async def other() -> None:
            """Have none."""

        maker = calls.CallMaker(None, None, None, Settings(calls_at_once=9))  # type: ignore[arg-type]
        assert (maker._at_once(own), maker._at_once(other)) == (7, 9)

    def test_each_has_a_context_of_its_own_and_knows_its_job(self, bench: Benches, monkeypatch: Patch) -> None:
        async def act(value: object) -> list[object]:
            before = name.get()
            name.set(str(value))
            await asyncio.sleep(0.001)
            return [before, name.get(), current_job().id]

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values(1, 2)))
        made.run()
        assert [call.value for call in made.record.calls] == [f'["nobody", "{n}", "job-1"]' for n in (1, 2)]

    def test_one_bad_row_fails_alone(self, bench: Benches, monkeypatch: Patch) -> None:
        async def act(value: object) -> object:
            return object() if value == "unsendable" else value

        does(monkeypatch, act)
        made = bench(lease_of("do_async", {"value": 1}, {"nonsense": 1}, "{", {"value": "unsendable"}, {"value": 5}))
        made.run()
        kinds = [call.error.kind if call.error else None for call in made.record.calls]
        assert kinds == [None, ErrorKind.INVALID_ARGUMENTS, ErrorKind.INVALID_ARGUMENTS, ErrorKind.RESULT, None]

    def test_what_stands_already_is_not_called_again(self, bench: Benches, monkeypatch: Patch) -> None:
        seen: list[object] = []

        async def act(value: object) -> object:
            seen.append(value)
            return value

        does(monkeypatch, act)
        done = {1: CallRecord(state=JobState.SUCCEEDED, value='"before"')}
        made = bench(lease_of("do_async", *values("a", "b", "c"), done=done))
        made.run()
        assert seen == ["a", "c"]
        assert [call.value for call in made.record.calls] == ['"a"', '"before"', '"c"']

    @pytest.mark.parametrize("ending", [SystemExit(3), asyncio.CancelledError(), MemoryError()])
    def test_whatever_one_raises_is_its_own_failure(
        self, bench: Benches, monkeypatch: Patch, ending: BaseException
    ) -> None:
        async def act(value: object) -> object:
            await asyncio.sleep(0)
            if value == "leave":
                raise ending
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values("stay", "leave", "stay"), failures=9))
        made.run()
        assert states(made) == ["succeeded", "failed", "succeeded"]

    def test_the_workers_own_shutdown_passes_and_settles_nothing(self, bench: Benches, monkeypatch: Patch) -> None:
        class WorkerShutdown(SystemExit):
            pass

        async def act(value: object) -> object:
            if value == "leave":
                raise WorkerShutdown
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values("stay", "leave", "stay")))
        with pytest.raises(WorkerShutdown):
            made.run()
        assert list(made.ledger.settlements()) == []
        assert made.executor._runs == {}


class TestStopping:
    def test_a_timeout_ends_the_call_whose_time_is_over_and_no_other(self, bench: Benches, monkeypatch: Patch) -> None:
        async def act(value: object) -> object:
            if value == "slow":
                await asyncio.sleep(60)
            while len(attempt_of(made).calls) < 2:
                await asyncio.sleep(0)
            if value == "late":  # its time began after the slow one's
                call_of(made, 1).stop_at += 100  # type: ignore[operator]
                made.clock.advance(61)
                await asyncio.to_thread(look(made).join)
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values("slow", "late"), failures=9))
        made.run()
        first, second = made.record.calls
        assert first.error is not None
        assert (first.error.kind, second.state) == (ErrorKind.TIMEOUT, JobState.SUCCEEDED)

    def test_each_calls_time_begins_when_it_does(self, bench: Benches, monkeypatch: Patch) -> None:
        left: list[timedelta] = []

        async def act(value: object) -> object:
            left.append(current_job().time_left)
            made.clock.advance(10)
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values(1, 2, 3)))
        monkeypatch.setattr(made.executor._maker, "_at_once", lambda _: 2)
        made.run()
        # The second was begun with the first, and looked ten seconds later; the third was begun after both.
        assert left == [timedelta(seconds=60), timedelta(seconds=50), timedelta(seconds=60)]

    def test_calls_after_the_deadline_expire_and_those_before_count(self, bench: Benches, monkeypatch: Patch) -> None:
        async def act(value: object) -> object:
            made.clock.advance(400)
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values(*range(4))))
        monkeypatch.setattr(made.executor._maker, "_at_once", lambda _: 2)
        made.run()
        assert states(made) == ["succeeded", "succeeded", "expired", "expired"]

    def test_a_cancelled_job_tells_every_call_and_what_has_ended_stands(
        self, bench: Benches, monkeypatch: Patch
    ) -> None:
        cleaned: list[object] = []

        async def act(value: object) -> object:
            if value == "quick":
                return value
            try:
                if value == "first":
                    await asyncio.sleep(0.01)
                    attempt_of(made).cancel_reason = "enough"
                    made.interrupt(CallCancelled)
                    assert current_job().cancelled
                await asyncio.sleep(60)
            finally:
                cleaned.append(value)

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values("quick", "first", "second")))
        made.run()
        assert sorted(map(str, cleaned)) == ["first", "second"]
        assert [(call.state, call.reason) for call in made.record.calls] == [
            ("succeeded", ""),
            ("cancelled", "enough"),
            ("cancelled", "enough"),
        ]

    def test_a_job_that_belongs_to_another_attempt_is_not_settled(self, bench: Benches, monkeypatch: Patch) -> None:
        async def act(_: object) -> None:
            if current_job().cancelled:
                pytest.fail("none is begun after that")
            made.interrupt(LeaseLost)
            await asyncio.sleep(60)

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values(1, 2, 3)))
        assert made.run() == Ending(what="dropped", text="another attempt has the job")
        assert made.ledger.asked_for("settle") == []

    def test_a_coroutine_that_has_not_begun_is_not_interrupted_by_a_signal(
        self, bench: Benches, monkeypatch: Patch
    ) -> None:
        """The signal is for a `def` in the main thread; where no handler waits for it, it ends the process."""
        signals: list[object] = []
        monkeypatch.setattr(supervisor.signal, "pthread_kill", lambda *args: signals.append(args))
        does(monkeypatch, lambda _: pytest.fail("it must not be called"))
        made = bench(lease_of("do_async"))
        submit = made.executor._coroutines.submit

        def told_before_it_begins(coroutine: Any) -> Any:
            made.interrupt(CallCancelled)
            return submit(coroutine)

        monkeypatch.setattr(made.executor._coroutines, "submit", told_before_it_begins)
        assert made.run().what == "cancelled"
        assert signals == []


class TestAbandonment:
    @pytest.fixture
    def ended(self, monkeypatch: Patch) -> list[str]:
        ends: list[str] = []
        monkeypatch.setattr(supervisor, "end_process", lambda: ends.append("ended"))
        return ends

    def stubborn(self, made: Callable[[], Bench], go_on: asyncio.Event) -> Callable[[Any], object]:
        async def act(value: object) -> object:
            if value != "stubborn":
                await go_on.wait()
                return value
            while len(attempt_of(made()).calls) < 2:
                await asyncio.sleep(0)
            call_of(made(), 1).stop_at += 1000  # type: ignore[operator]
            made().clock.advance(61)
            look(made()).join()
            while not go_on.is_set():
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    made().clock.advance(SETTINGS.kill_grace_seconds)
                    look(made()).join()
                    asyncio.get_running_loop().call_later(0.05, go_on.set)
            return "too late"

        return act

    @pytest.mark.parametrize("in_pool_process", [False, True])
    def test_one_that_does_not_stop_is_left_behind_and_the_others_go_on(
        self, bench: Benches, monkeypatch: Patch, ended: list[str], in_pool_process: bool
    ) -> None:
        does(monkeypatch, self.stubborn(lambda: made, asyncio.Event()))
        made = bench(lease_of("do_async", *values("stubborn", "good"), failures=9), in_pool_process=in_pool_process)
        assert made.run().what == "succeeded"
        first, second = made.record.calls
        assert first.error is not None
        assert "did not stop when told to" in first.error.message
        assert second.value == '"good"'
        assert ended == ["ended"] * in_pool_process, "it goes on unheard, and a process of its own ends with it"

    def test_calls_that_hold_up_the_loop_are_settled_without_it_and_the_others_are_made_in_another_attempt(
        self, bench: Benches, monkeypatch: Patch, ended: list[str]
    ) -> None:
        go_on = threading.Event()

        async def act(value: object) -> object:
            if value == "good":
                return value
            while 0 not in made.executor._runs[attempt_of(made)].ended:
                await asyncio.sleep(0)
            made.clock.advance(61)
            for _ in range(3):
                look(made).join()
                made.clock.advance(SETTINGS.kill_grace_seconds)
            go_on.wait(10)
            return "too late"

        does(monkeypatch, act)
        made = bench(lease_of("do_async", *values("good", "block", "not yet")), settle="scheduled")
        monkeypatch.setattr(made.executor._maker, "_at_once", lambda _: 2)
        threading.Timer(0.3, go_on.set).start()
        assert made.run().what == "dropped"
        ((_, done),) = made.ledger.retries()
        assert {index: call.state for index, call in done.items()} == {0: "succeeded"}, "a timeout may be retried"
        assert len(list(made.ledger.settlements())) == 0


class TestLeftForGood:
    """A call that was told to stop, and whose coroutine nobody drives any more."""

    @staticmethod
    def called(what: Callable[[Any], object], monkeypatch: Patch) -> Any:
        does(monkeypatch, what)
        call = OneOfMany(index=0, loop=asyncio.new_event_loop(), on_end=lambda _: None)
        call.loop.close()
        coroutine = calls._call_coroutine(call, module.registry.get("do_async"), ((), {}))
        coroutine.send(None)
        call.interrupt(CallCancelled, 0.0)
        return coroutine

    def test_says_nothing_of_it(self, monkeypatch: Patch) -> None:
        complaints: list[object] = []
        monkeypatch.setattr("sys.unraisablehook", complaints.append)
        coroutine = self.called(lambda _: asyncio.sleep(0), monkeypatch)
        del coroutine
        gc.collect()
        assert complaints == []

    def test_is_stopped_where_the_function_raises_the_same_of_itself(self, monkeypatch: Patch) -> None:
        async def act(_: object) -> None:
            await asyncio.sleep(0)
            raise GeneratorExit

        coroutine = self.called(act, monkeypatch)
        with pytest.raises(CallCancelled):
            coroutine.send(None)


class TestWhatHasEndedIsRecordedMeanwhile:
    def saves(self, made: Bench) -> list[dict[int, str]]:
        return [
            {index: str(call.state) for index, call in decode_done(str(command.args[2])).items()}
            for command in made.ledger.asked_for("save")
        ]

    def test_only_of_a_job_that_takes_longer_than_a_second(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            made.clock.advance(0.4)
            made.executor._supervisor.look([attempt_of(made)])
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do", *values(1, 2)))
        made.run()
        assert self.saves(made) == []

    def test_under_the_attempts_token_and_only_what_is_new(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            made.clock.advance(value)
            made.executor._supervisor.look([attempt_of(made)])
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do", *values(2, 2, 0, 2), token=7))
        made.run()
        assert self.saves(made) == [{0: "succeeded"}, {0: "succeeded", 1: "succeeded", 2: "succeeded"}]
        assert {command.args[:2] for command in made.ledger.asked_for("save")} == {("job-1", 7)}

    def test_failures_that_are_final_too_and_not_those_to_be_retried(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            if value == "look":
                made.clock.advance(2)
                made.executor._supervisor.look([attempt_of(made)])
            if value == "busy":
                raise ConnectionError
            if value == "hopeless":
                from dispatcher import GiveUp

                raise GiveUp
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do_again", *values("good", "busy", "hopeless", "look")), settle="scheduled")
        made.run()
        assert self.saves(made) == [{0: "succeeded", 2: "failed"}]

    def test_it_takes_a_bounded_share_of_the_time(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            made.clock.advance(1)
            made.executor._supervisor.look([attempt_of(made)])
            return value

        def slow(_: object) -> str:
            made.clock.advance(1)
            return "saved"

        does(monkeypatch, act)
        made = bench(lease_of("do", *values(*range(44))))
        made.ledger.answers["save"] = [slow]
        made.run()
        assert len(self.saves(made)) == 3, "a second of work every twenty"

    def test_a_job_of_one_call_records_nothing(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            made.clock.advance(5)
            made.executor._supervisor.look([attempt_of(made)])
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do"))
        made.run()
        assert self.saves(made) == []

    def test_a_server_that_is_away_is_asked_again(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            made.clock.advance(2)
            made.executor._supervisor.look([attempt_of(made)])
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do", *values(1, 2, 3)))
        made.ledger.answers["save"] = [module.AWAY, "saved"]
        assert made.run().what == "succeeded"
        assert self.saves(made) == [{0: "succeeded"}, {0: "succeeded", 1: "succeeded"}]
