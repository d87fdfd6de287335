"""Running one job: what a worker makes of every answer of the ledger and of everything a function may do."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from dispatcher import GiveUp, RetryLater, current_job, current_job_or_none
from dispatcher.errors import CallTimedOut
from dispatcher.execution.ending import Ending
from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorKind
from dispatcher.transport.outcomes import CallRecord
from dispatcher.transport.replies import Looked, NoLease
from tests.unit.execution.bench import AWAY, Benches, Patch, cached, do, does, raises
from tests.unit.execution.fakes import lease_of


class TestTheLease:
    @pytest.mark.parametrize(
        ("reason", "what"),
        [
            ("unknown", "dropped"),
            ("leased_elsewhere", "dropped"),
            ("not_due", "dropped"),
            ("settled:succeeded", "dropped"),
            ("settled:cancelled", "cancelled"),
            ("settled:expired", "expired"),
        ],
    )
    def test_a_wake_up_that_is_not_to_be_run_is_dropped(self, bench: Benches, reason: str, what: str) -> None:
        made = bench(NoLease(reason))
        assert made.run().what == what
        assert [command.script for command in made.ledger.asked] == ["lease"]

    @pytest.mark.parametrize(
        ("action", "what"), [("expired", "expired"), ("gave_up", "failed"), ("cancelled", "cancelled")]
    )
    def test_a_late_wake_up_ends_the_job_where_that_is_due(self, bench: Benches, action: Any, what: str) -> None:
        made = bench(NoLease("look"), look=Looked(action=action))
        assert made.run().what == what
        assert [command.script for command in made.ledger.asked] == ["lease", "look"]

    def test_a_late_wake_up_of_a_job_that_waits_again_is_used(self, bench: Benches) -> None:
        made = bench([NoLease("look"), lease_of("do", {"value": 1})], look=Looked(action="publish"))
        assert made.run() == Ending(what="succeeded", text="1")
        first, second = made.ledger.asked_for("lease")
        assert first.args == second.args, "under the same nonce: it is one delivery"

    def test_a_reply_that_was_lost_is_asked_for_again(self, bench: Benches) -> None:
        made = bench([AWAY, OSError("away"), lease_of("do")])
        assert made.run().what == "succeeded"
        assert len({command.args for command in made.ledger.asked_for("lease")}) == 1

    def test_a_job_that_was_asked_for_early_is_asked_for_once(self, bench: Benches) -> None:
        made = bench([lease_of("do", {"value": 1}), AssertionError("asked again")])
        made.executor.ask_early("job-1", "worker-1")
        (early,) = made.ledger.unread
        assert made.run() == Ending(what="succeeded", text="1")
        assert made.ledger.asked_for("lease") == [early]
        assert early.args[0] == "worker-1"

    def test_an_early_answer_that_was_lost_is_asked_for_again_under_its_nonce(self, bench: Benches) -> None:
        made = bench([AWAY, lease_of("do")])
        made.executor.ask_early("job-1", "worker-1")
        assert made.run().what == "succeeded"
        first, second = made.ledger.asked_for("lease")
        assert first.args == second.args

    def test_who_cannot_ask_early_asks_in_time(self, bench: Benches, monkeypatch: Patch) -> None:
        made = bench(lease_of("do"))
        monkeypatch.setattr(made.ledger, "ask", raises(AWAY))
        made.executor.ask_early("job-1", "worker-1")
        assert made.run().what == "succeeded"

    def test_an_early_answer_is_for_its_own_job_only(self, bench: Benches) -> None:
        made = bench(lease_of("do"))
        made.executor.ask_early("job-0", "worker-1")
        made.executor.ask_early("job-2", "worker-1")
        (early,) = made.ledger.unread
        assert early.args[-1] == "job-2", "nobody waits for the first any more"
        assert made.run().what == "succeeded"
        assert made.ledger.unread == []
        assert [command.args[-1] for command in made.ledger.asked_for("lease")] == ["job-1"]

    def test_who_is_told_twice_of_a_job_asks_once(self, bench: Benches) -> None:
        made = bench(lease_of("do"))
        made.executor.ask_early("job-1", "worker-1")
        made.executor.ask_early("job-1", "worker-1")
        assert len(made.ledger.unread) == 1

    def test_an_early_answer_that_waited_is_not_trusted(self, bench: Benches) -> None:
        made = bench(lease_of("do"))
        made.executor.ask_early("job-1", "worker-1")
        (early,) = made.ledger.unread
        made.clock.advance(2)
        assert made.run().what == "succeeded"
        assert made.ledger.unread == []
        assert [command.args for command in made.ledger.asked_for("lease")] == [early.args]

    def test_each_job_is_asked_for_anew(self, bench: Benches) -> None:
        made = bench(lease_of("do"))
        made.executor.ask_early("job-1", "worker-1")
        made.run()
        made.run()
        assert len({command.args for command in made.ledger.asked_for("lease")}) == 2

    def test_an_outage_that_lasts_drops_the_wake_up(self, bench: Benches) -> None:
        def away(_: object) -> None:
            made.clock.advance(6)
            raise AWAY

        made = bench(away)
        assert made.run() == Ending(what="dropped", text="the ledger cannot be reached")
        assert len(made.ledger.asked) == 2, "after 10 s of outage there is no third"


class TestClassification:
    def test_a_value_is_a_success(self, bench: Benches) -> None:
        made = bench(lease_of("do", {"value": {"a": [1, None]}}))
        assert made.run() == Ending(what="succeeded", text='{"a":[1,null]}')
        assert made.record.calls == (CallRecord(state=JobState.SUCCEEDED, value='{"a": [1, null]}'),)

    def test_an_exception_is_a_failure(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, raises(ValueError("no")))
        made = bench(lease_of("do", attempt=4))
        assert made.run() == Ending(what="failed", text="ValueError: no")
        assert made.record.attempts == 4
        error = made.record.calls[0].error
        assert error is not None
        assert (error.kind, error.type, error.message) == (ErrorKind.FUNCTION, "ValueError", "no")
        assert "in act" in error.traceback
        assert "execution/execute.py" not in error.traceback

    @pytest.mark.parametrize(
        "error",
        [
            SystemExit(1),
            asyncio.CancelledError(),
            RecursionError(),
            MemoryError(),
            BaseExceptionGroup("g", [ValueError()]),
        ],
    )
    @pytest.mark.parametrize("function", ["do", "do_async"])
    def test_whatever_a_function_raises_is_its_failure(
        self, bench: Benches, monkeypatch: Patch, error: BaseException, function: str
    ) -> None:
        does(monkeypatch, raises(error))
        lease = lease_of(function, failures=9)
        assert bench(lease).run().what == "failed"

    def test_the_workers_own_shutdown_passes_and_settles_nothing(self, bench: Benches, monkeypatch: Patch) -> None:
        class WorkerShutdown(SystemExit):
            pass

        for error in (WorkerShutdown(), KeyboardInterrupt()):
            does(monkeypatch, raises(error))
            made = bench(lease_of("do"))
            with pytest.raises(type(error)):
                made.run()
            assert list(made.ledger.settlements()) == []
            assert made.executor._runs == {}

    def test_arguments_that_do_not_fit_any_more_are_a_failure_that_is_not_retried(self, bench: Benches) -> None:
        for wrong in ('{"nonsense": 1}', "[]", "{", '{"value": NaN}'):
            made = bench(lease_of("do_again", wrong))
            assert made.run().what == "failed"
            error = made.record.calls[0].error
            assert error is not None
            assert error.kind is ErrorKind.INVALID_ARGUMENTS

    def test_a_result_that_cannot_be_sent_is_a_failure_that_is_not_retried(
        self, bench: Benches, monkeypatch: Patch
    ) -> None:
        does(monkeypatch, lambda _: object())
        made = bench(lease_of("do_again"))
        assert made.run().what == "failed"
        error = made.record.calls[0].error
        assert error is not None
        assert error.kind is ErrorKind.RESULT

    def test_an_unknown_function_fails_every_call(self, bench: Benches) -> None:
        made = bench(lease_of("gone", {}, {}))
        assert made.run().what == "failed"
        assert [call.error.kind for call in made.record.calls if call.error] == [ErrorKind.UNKNOWN_FUNCTION] * 2

    def test_a_renamed_function_is_found_under_its_old_name(self, bench: Benches) -> None:
        assert bench(lease_of("log_in_before", {"user": "me", "password": "hunter2"})).run().what == "succeeded"

    @pytest.mark.parametrize(
        "envelope", ["", "nonsense", '{"v": 99}', '{"v":1,"function":"do","version":"1","calls":[]}']
    )
    def test_a_record_that_cannot_be_read_is_a_failure(self, bench: Benches, envelope: str) -> None:
        made = bench(lease_of("do", envelope=envelope))
        assert made.run().what == "failed"
        (call,) = made.record.calls
        assert call.error is not None
        assert call.error.kind is ErrorKind.ENVELOPE

    def test_a_coroutine_runs_with_its_context(self, bench: Benches, monkeypatch: Patch) -> None:
        async def look() -> list[object]:
            await asyncio.sleep(0)
            return [current_job().id, current_job().attempt]

        does(monkeypatch, lambda _: look())
        assert bench(lease_of("do_async", attempt=2)).run().text == '["job-1",2]'

    def test_secrets_are_hidden_in_failures_and_results(self, bench: Benches) -> None:
        failing = bench(lease_of("log_in", {"user": "nobody", "password": "hunter2"}))
        assert failing.run() == Ending(what="failed", text="PermissionError: nobody is refused with ***")
        error = failing.record.calls[0].error
        assert error is not None
        assert "hunter2" not in error.traceback
        fine = bench(lease_of("log_in", {"user": "me", "password": "hunter2"}))
        assert fine.run() == Ending(what="succeeded", text="***")
        assert fine.record.calls[0].value == '"me:hunter2"'

    def test_a_result_worth_keeping_is_kept_under_the_calls_digest(self, bench: Benches) -> None:
        made = bench(lease_of("cached", '{"number":7}'))
        made.run()
        (command,) = made.ledger.asked_for("settle")
        assert command.args[-3:] == (f"cached:{cached.call(7).digest}", "s7", 60_000)

    def test_the_current_job_is_gone_afterwards(self, bench: Benches) -> None:
        bench(lease_of("do")).run()
        assert current_job_or_none() is None


class TestRetries:
    def test_a_failure_that_may_be_retried_is_given_its_wait(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, raises(ConnectionError("busy")))
        made = bench(lease_of("do_again", failures=1), settle="scheduled")
        assert made.run() == Ending(what="retried", text="ConnectionError: busy", wait=timedelta(seconds=4))
        assert list(made.ledger.retries()) == [(timedelta(seconds=4), {})]

    def test_the_last_attempts_failure_is_the_outcome(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, raises(ConnectionError("busy")))
        assert bench(lease_of("do_again", failures=2)).run().what == "failed"

    def test_lost_attempts_do_not_use_up_the_functions_own(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, raises(ConnectionError("busy")))
        assert bench(lease_of("do_again", attempt=6, lost=5), settle="scheduled").run().what == "retried"

    def test_the_function_may_ask_for_another_time_or_for_none(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, raises(RetryLater(timedelta(seconds=33), "not yet")))
        made = bench(lease_of("do_again"), settle="scheduled")
        assert made.run() == Ending(
            what="retried", text="dispatcher.errors.RetryLater: not yet", wait=timedelta(seconds=33)
        )
        does(monkeypatch, raises(GiveUp("hopeless")))
        made = bench(lease_of("do_again"))
        assert made.run().what == "failed"
        error = made.record.calls[0].error
        assert error is not None
        assert error.kind is ErrorKind.GAVE_UP

    def test_a_retry_that_would_come_after_the_deadline_is_none(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, raises(ConnectionError("busy")))
        made = bench(lease_of("do_again", time_left=timedelta(seconds=2)))
        assert made.run().what == "failed"

    def test_a_cancelled_job_is_not_retried_but_cancelled_for_the_producers_reason(
        self, bench: Benches, monkeypatch: Patch
    ) -> None:
        does(monkeypatch, raises(ConnectionError("busy")))
        made = bench(lease_of("do_again"), settle=["cancel:too: late", "settled"])
        assert made.run() == Ending(what="cancelled", text="too: late")
        (call,) = made.record.calls
        assert (call.state, call.reason) == (JobState.CANCELLED, "too: late")

    def test_a_settlement_is_tried_until_the_server_is_back(self, bench: Benches) -> None:
        made = bench(lease_of("do"), settle=[AWAY, AWAY, "settled"])
        assert made.run().what == "succeeded"
        assert len(set(made.ledger.asked_for("settle"))) <= 3
        assert len({command.args[:3] for command in made.ledger.asked_for("settle")}) == 1

    def test_the_lease_is_kept_while_a_settlement_waits_for_the_server(self, bench: Benches) -> None:
        def away(_: object) -> None:
            made.clock.advance(5)
            made.executor._supervisor.look(list(made.executor._supervisor._attempts.values()))
            raise AWAY

        made = bench(lease_of("do"), settle=[away, "settled"], heartbeat=[["lost"]])
        assert made.run().what == "succeeded", "whatever the heartbeat was told: the settlement itself is the judge"
        assert len(made.ledger.asked_for("heartbeat")) >= 1
        assert made.executor._supervisor._attempts == {}

    def test_a_settlement_that_comes_too_late_says_so(self, bench: Benches) -> None:
        made = bench(lease_of("do"), settle=[AWAY, "stale"])
        ending = made.run()
        assert ending.what == "dropped"
        assert "did not count" in ending.text

    def test_a_settlement_that_cannot_be_delivered_says_that_it_may_not_count(self, bench: Benches) -> None:
        def away(_: object) -> None:
            made.clock.advance(11)
            raise AWAY

        made = bench(lease_of("do"), settle=[away])
        ending = made.run()
        assert ending.what == "dropped"
        assert "cannot be reached" in ending.text


class TestManyCalls:
    def test_each_has_its_own_outcome(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, lambda value: 10 // value)
        made = bench(lease_of("do", *({"value": n} for n in (1, 0, 5))))
        assert made.run() == Ending(what="succeeded", text="2 of 3 calls succeeded")
        assert [call.state for call in made.record.calls] == ["succeeded", "failed", "succeeded"]
        assert made.record.calls[2].value == "2"

    def test_only_those_that_may_be_retried_are_and_the_others_stand(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            if value == "busy":
                raise ConnectionError
            if value == "hopeless":
                raise GiveUp
            return value

        does(monkeypatch, act)
        values = ("good", "busy", "hopeless")
        made = bench(lease_of("do_again", *({"value": value} for value in values)), settle="scheduled")
        assert made.run() == Ending(what="retried", text="ConnectionError: ", wait=timedelta(seconds=2))
        ((_, done),) = made.ledger.retries()
        assert {index: call.state for index, call in done.items()} == {0: "succeeded", 2: "failed"}

    def test_what_stands_already_is_not_called_again(self, bench: Benches, monkeypatch: Patch) -> None:
        seen: list[Any] = []
        does(monkeypatch, lambda value: seen.append(value) or value)
        done = {0: CallRecord(state=JobState.SUCCEEDED, value='"before"')}
        made = bench(lease_of("do_again", {"value": "a"}, {"value": "b"}, done=done))
        made.run()
        assert seen == ["b"]
        assert [call.value for call in made.record.calls] == ['"before"', '"b"']

    def test_the_longest_wait_counts(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, lambda value: raises(RetryLater(timedelta(seconds=value)))(value))
        made = bench(lease_of("do_again", {"value": 3}, {"value": 30}), settle="scheduled")
        assert made.run().wait == timedelta(seconds=30)

    def test_calls_after_the_deadline_expire_and_those_before_count(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(value: Any) -> object:
            made.clock.advance(400)
            return value

        does(monkeypatch, act)
        made = bench(lease_of("do", *({"value": n} for n in range(4))))
        made.run()
        assert [call.state for call in made.record.calls] == ["succeeded", "succeeded", "expired", "expired"]

    def test_a_failure_at_the_deadline_stays_a_failure(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(_: Any) -> object:
            made.clock.advance(700)
            raise ConnectionError

        does(monkeypatch, act)
        made = bench(lease_of("do_again", {}, {}))
        made.run()
        assert [call.state for call in made.record.calls] == ["failed", "expired"]


class TestPlainCeleryCalls:
    def test_the_function_runs_and_gives_json(self, bench: Benches) -> None:
        made = bench(None)
        assert made.executor.call_directly(do, '{"value": [1]}', "task-1") == "[1]"
        assert made.ledger.asked == []

    def test_it_is_stopped_at_its_timeout(self, bench: Benches, monkeypatch: Patch) -> None:
        def act(_: Any) -> None:
            (attempt,) = made.executor._supervisor._attempts.values()
            made.clock.advance(61)
            made.executor._supervisor.interrupt(attempt, CallTimedOut)

        does(monkeypatch, act)
        made = bench(None)
        with pytest.raises(CallTimedOut):
            made.executor.call_directly(do, "{}", "task-1")
        assert made.executor._supervisor._attempts == {}

    def test_it_has_no_current_job(self, bench: Benches, monkeypatch: Patch) -> None:
        does(monkeypatch, lambda _: current_job_or_none() is None)
        assert json.loads(bench(None).executor.call_directly(do, "{}", "task-1")) is True
