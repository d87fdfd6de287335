"""What brings back what was lost: when a wake-up is taken for lost, and what a sweep does."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError

from dispatcher.execution.sweeper import LIMIT, ROUNDS, QueueWatch, Sweeper
from dispatcher.settings import Settings
from dispatcher.testing import FakeClock
from dispatcher.transport.replies import Looked, QueueState, WakeUp
from tests.unit.execution.fakes import FakeLedger

GRACE = 5.0
SETTINGS = Settings(republish_grace_seconds=GRACE)


class TestQueueWatch:
    def test_at_first_nothing_is_lost(self) -> None:
        watch = QueueWatch(GRACE)
        watch.see(0, 10, broker_is_empty=False)
        assert watch.must_have_started(0) == 0

    def test_what_was_started_counts_when_the_grace_is_over(self) -> None:
        watch = QueueWatch(GRACE)
        for now in range(9):
            watch.see(now, now * 10, broker_is_empty=False)
        assert watch.must_have_started(8) == 30, "what was started at 3, five seconds before"

    def test_an_empty_queue_loses_all_when_it_stays_empty_for_the_grace(self) -> None:
        watch = QueueWatch(GRACE)
        watch.see(0, 0, broker_is_empty=True)
        watch.see(4.9, 0, broker_is_empty=True)
        assert watch.must_have_started(4.9) == 0
        watch.see(5, 0, broker_is_empty=True)
        assert watch.must_have_started(5) is None

    def test_one_message_seen_begins_the_waiting_anew(self) -> None:
        watch = QueueWatch(GRACE)
        watch.see(0, 0, broker_is_empty=True)
        watch.see(4, 0, broker_is_empty=False)
        watch.see(5, 0, broker_is_empty=True)
        assert watch.must_have_started(6) == 0

    steps = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 50), st.booleans()), min_size=1, max_size=40)

    @given(steps)
    def test_only_what_had_been_started_a_whole_grace_ago_counts(self, steps: list[tuple[float, int, bool]]) -> None:
        watch, now, started = QueueWatch(GRACE), 0.0, 0
        seen: list[tuple[float, int, bool]] = []
        for pause, more, empty in steps:
            now, started = now + pause, started + more
            watch.see(now, started, broker_is_empty=empty)
            seen.append((now, started, empty))
            answer = watch.must_have_started(now)
            old = [number for at, number, _ in seen if at <= now - GRACE]
            since = next((at for at, _, _ in reversed(seen[: _last_full(seen) + 1])), None)
            if answer is None:
                assert all(empty for at, _, empty in seen if at >= now - GRACE)
                assert since is None or since < now - GRACE
            else:
                assert answer == (max(old) if old else 0)

    @given(steps)
    def test_it_remembers_no_more_than_it_needs(self, steps: list[tuple[float, int, bool]]) -> None:
        watch, now = QueueWatch(GRACE), 0.0
        for pause, started, empty in steps:
            now += pause
            watch.see(now, started, broker_is_empty=empty)
            assert sum(at <= now - GRACE for at, _ in watch._started) <= 1


def _last_full(seen: list[tuple[float, int, bool]]) -> int:
    return max((index for index, (_, _, empty) in enumerate(seen) if not empty), default=-1)


class FakeBroker:
    def __init__(self) -> None:
        self.published: list[WakeUp] = []
        self.told: list[tuple[str, str]] = []
        self.empty: set[str] = set()
        self.error: Exception | None = None
        self.disconnected = 0

    def publish(self, wake_ups: list[WakeUp]) -> None:
        if self.error is not None:
            raise self.error
        self.published += wake_ups

    def is_empty(self, queue: str) -> bool:
        return queue in self.empty

    def tell(self, event: str, job_id: str, **_: Any) -> None:
        self.told.append((event, job_id))

    def disconnect(self) -> None:
        self.disconnected += 1


def wake_up(job_id: str) -> WakeUp:
    return WakeUp(job_id=job_id, function="add", queue="default", shown="{}")


class Bench:
    def __init__(self, **answers: Any) -> None:
        self.clock, self.broker = FakeClock(), FakeBroker()
        self.ledger = FakeLedger(
            **{"due": [[]], "queues": [[]], "lost": [[]], "untold": [[]], "look": [Looked(action="nothing")], **answers}
        )
        self.sweeper = Sweeper(self.broker, self.ledger, SETTINGS, "node", self.clock)  # type: ignore[arg-type]

    def asked(self) -> list[str]:
        return [command.script for command in self.ledger.asked]


def queue(name: str = "default", waiting: int = 1, started: int = 0) -> QueueState:
    return QueueState(name=name, waiting=waiting, started=started, oldest=timedelta(0))


class TestSweep:
    def test_due_jobs_are_looked_at_and_published(self) -> None:
        bench = Bench(
            due=[["a", "b", "c"]],
            look=[Looked(action="publish", wake_up=wake_up("a")), Looked(action="nothing"),
                  Looked(action="publish", wake_up=wake_up("c"))],
        )  # fmt: skip
        bench.sweeper.sweep()
        assert [one.job_id for one in bench.broker.published] == ["a", "c"]

    def test_another_node_that_sweeps_is_left_alone(self) -> None:
        bench = Bench(due=[None])
        bench.sweeper.sweep()
        assert bench.asked() == ["due"]

    def test_a_full_round_is_followed_by_another(self) -> None:
        bench = Bench(due=[["x"] * LIMIT, ["y"], []])
        bench.sweeper.sweep()
        assert bench.asked().count("due") == 2
        assert bench.asked().count("look") == LIMIT + 1

    def test_ends_that_no_worker_saw_are_told_to_flower(self) -> None:
        ends = [Looked(action=action, function="add") for action in ("expired", "gave_up", "cancelled")]
        bench = Bench(due=[["a", "b", "c"]], look=ends)
        bench.sweeper.sweep()
        assert bench.broker.told == [("task-revoked", "a"), ("task-failed", "b"), ("task-revoked", "c")]

    def test_one_broken_record_keeps_no_other_from_its_due(self, caplog: pytest.LogCaptureFixture) -> None:
        bench = Bench(
            due=[["a", "broken", "c"]],
            look=[Looked(action="publish", wake_up=wake_up("a")), lambda _: ResponseError("user_script:1: no number"),
                  Looked(action="publish", wake_up=wake_up("c"))],
            queues=[[queue()]],
        )  # fmt: skip
        bench.sweeper.sweep()
        assert [one.job_id for one in bench.broker.published] == ["a", "c"]
        assert "lost" in bench.asked()
        assert [record.job_id for record in caplog.records if "look_failed" in record.message] == ["broken"]
        assert [command.args[0] for command in bench.ledger.asked_for("postpone")] == ["broken"]

    def test_what_the_server_refuses_is_due_again_in_the_next_sweep(self) -> None:
        bench = Bench(due=[["a"]], look=lambda _: OutOfMemoryError("OOM command not allowed"), queues=[[queue()]])
        bench.sweeper.sweep()
        assert bench.ledger.asked_for("postpone") == []

    def test_a_lost_wake_up_is_published_again_when_the_queue_has_been_empty_for_the_grace(self) -> None:
        bench = Bench(queues=[[queue()]], lost=[[], [wake_up("a")]])
        bench.broker.empty = {"default"}
        bench.sweeper.sweep()
        bench.clock.advance(GRACE)
        bench.sweeper.sweep()
        uptos = [command.args[1] for command in bench.ledger.asked_for("lost")]
        assert uptos == ["(0", "+inf"]
        assert [one.job_id for one in bench.broker.published] == ["a"]

    def test_a_broker_that_lost_everything_gets_it_back_in_as_many_rounds_as_a_sweep_has(self) -> None:
        lost = [[wake_up(f"{part}-{number}") for number in range(LIMIT)] for part in range(3)]
        bench = Bench(queues=[[queue()]], lost=[*lost, []])
        bench.sweeper.sweep()
        assert len(bench.broker.published) == 3 * LIMIT
        assert [command.args[4] for command in bench.ledger.asked_for("lost")] == [0, LIMIT, 2 * LIMIT, 3 * LIMIT]

    def test_what_one_sweep_publishes_is_bounded_and_every_queue_has_its_turn(self) -> None:
        queues = [queue("first"), queue("second")]
        bench = Bench(queues=[queues], lost=[[wake_up(str(number)) for number in range(LIMIT)]])
        bench.sweeper.sweep()
        assert [command.args[0] for command in bench.ledger.asked_for("lost")] == ["first"] * ROUNDS + ["second"]

    def test_what_later_jobs_overtook_is_looked_for_up_to_them(self) -> None:
        bench = Bench(queues=[[queue(started=40)], [queue(started=70)]])
        bench.sweeper.sweep()
        bench.clock.advance(GRACE)
        bench.sweeper.sweep()
        assert [command.args[1] for command in bench.ledger.asked_for("lost")] == ["(0", "(40"]

    def test_the_broker_is_not_asked_about_queues_in_which_nothing_waits(self) -> None:
        bench = Bench(queues=[[queue(waiting=0)]])
        bench.broker.is_empty = None  # type: ignore[assignment,method-assign]
        bench.sweeper.sweep()
        assert "lost" not in bench.asked()

    def test_who_takes_over_the_sweep_begins_without_old_knowledge(self) -> None:
        bench = Bench(queues=[[queue(started=40)]], due=[[], None, []])
        bench.sweeper.sweep()
        bench.clock.advance(GRACE)
        bench.sweeper.sweep()
        bench.sweeper.sweep()
        assert [command.args[1] for command in bench.ledger.asked_for("lost")] == ["(0", "(0"]


class TestThread:
    def run_once(self, bench: Bench) -> None:
        """The thread's body, for one round."""
        rounds = iter([False, True])
        bench.sweeper._ending.wait = lambda _: next(rounds)  # type: ignore[method-assign,assignment]
        bench.sweeper._run()

    @pytest.mark.parametrize("error", [OperationalError("away"), RedisConnectionError("away"), ZeroDivisionError()])
    def test_a_sweep_that_fails_is_logged_and_another_node_may_try(
        self, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench = Bench(due=[["a"]], look=[Looked(action="publish", wake_up=wake_up("a"))])
        bench.broker.error = error
        self.run_once(bench)
        assert "sweep_failed" in caplog.text
        stops = [command for command in bench.ledger.asked_for("due") if command.args == ("node", 0, 0)]
        assert stops
        assert bench.broker.disconnected

    def test_a_server_that_is_away_is_borne(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        bench = Bench(due=[RedisConnectionError("away")])
        self.run_once(bench)
        assert "sweep_failed" in caplog.text
        assert "sweeper_not_released" in caplog.text

    def test_at_its_end_a_node_lets_another_sweep(self) -> None:
        bench = Bench()
        self.run_once(bench)
        assert bench.ledger.asked[-1].args == ("node", 0, 0)

    def test_start_and_stop(self) -> None:
        bench = Bench()
        bench.sweeper.start()
        bench.sweeper.stop()
        assert bench.sweeper._thread is not None
        assert not bench.sweeper._thread.is_alive()
