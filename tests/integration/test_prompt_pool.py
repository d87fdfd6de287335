"""A prefork pool whose processes note what they begin, on a loop as Celery's worker has one."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import util
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import pytest
from billiard.exceptions import WorkerLostError
from billiard.pool import ACK, READY, TASK
from celery import Celery
from celery.concurrency import asynpool, prefork, solo
from celery.worker import state
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from dispatcher.execution import prompt_pool, talk
from dispatcher.execution.begun import Begun
from dispatcher.execution.celery_task import FunctionTask, register
from dispatcher.execution.lean_hub import LeanHub
from dispatcher.execution.prompt_pool import Pool, PromptPool, foretell
from dispatcher.execution.talk import EARLY, QUIET, Talk
from dispatcher.execution.worker import make_worker_app
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.app import create_app
from dispatcher.transport.message import OTHERS_HEADER, WAKE_UP_HEADER

#: Seconds that anything may take here.
LONG = 20


class Told:
    """What a pool says of one job, as to a request of Celery's."""

    def __init__(self) -> None:
        self.given = 0
        self.accepted: list[tuple[int, float]] = []
        self.results: list[Any] = []
        self.failures: list[Any] = []

    def on_given(self) -> None:
        self.given += 1

    def on_accepted(self, pid: int, at: float) -> None:
        self.accepted.append((pid, at))

    def apply(self, pool: Pool, function: Callable[..., Any], *args: Any, job_id: str | None = None) -> Any:
        return pool.apply_async(
            function,
            args,
            accept_callback=self.on_accepted,
            callback=self.results.append,
            error_callback=lambda info: self.failures.append(info.exception.exc),
            correlation_id=job_id,
        )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # Kombu has each process close the connections that it was forked with. One that `inspect` of another test left waiting
    # for replies takes ten seconds to close.
    monkeypatch.setattr(util, "_afterfork_registry", WeakValueDictionary())
    before = get_event_loop()
    made = Hub()
    set_event_loop(made)
    yield made
    made.close()
    set_event_loop(before)


@contextmanager
def pool_on(hub: Hub, processes: int = 1) -> Iterator[Pool]:
    made = Pool(processes, threads=False, lost_worker_timeout=0.1)
    made.register_with_event_loop(hub)
    run_until(hub, lambda: len(made._all_inqueues) == processes)
    yield made
    made.terminate()
    made.join()


@pytest.fixture
def pool(hub: Hub) -> Iterator[Pool]:
    with pool_on(hub) as made:
        yield made


def run_until(hub: Hub, done: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    hub.call_repeatedly(0.01, lambda: None)
    while not done():
        assert time.monotonic() < end
        hub.run_once()


def soon(done: Callable[[], object]) -> None:
    """Wait for what another process does, where the loop must not run."""
    end = time.monotonic() + LONG
    while not done():
        assert time.monotonic() < end
        time.sleep(0.001)


def messages_of(pool: Pool) -> list[int]:
    """What kinds of messages the node gets from now on."""
    kinds: list[int] = []
    handlers = pool._result_handler.state_handlers
    for kind, handle in list(handlers.items()):
        handlers[kind] = lambda *args, kind=kind, handle=handle: (kinds.append(kind), handle(*args))
    return kinds


def test_a_job_that_runs_is_known_to_run_before_it_ends(hub: Hub, pool: Pool) -> None:
    told, kinds = Told(), messages_of(pool)
    job = told.apply(pool, time.sleep, 1)
    began = time.monotonic()
    run_until(hub, lambda: told.accepted)
    ((pid, at),) = told.accepted
    assert job.accepted()
    assert not told.results
    assert pid == pool._pool[0].pid
    assert began - 1 < at <= time.monotonic() < began + 0.9
    run_until(hub, lambda: told.results)
    assert len(told.accepted) == 1
    assert kinds.count(READY) == 1
    assert ACK not in kinds, "its node was not woken for it"
    assert told.given == 1
    assert not pool._cache
    assert not pool._quiet


def test_a_job_that_has_ended_was_known_to_run(hub: Hub, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_pool, "LOOK", 60)
    told, kinds = Told(), messages_of(pool)
    told.apply(pool, abs, -1)
    run_until(hub, lambda: told.results)
    assert len(told.accepted) == 1
    assert ACK not in kinds
    assert not pool._cache


def test_of_a_job_that_had_to_wait_it_is_said_that_it_was_begun(hub: Hub, pool: Pool) -> None:
    kinds, several = messages_of(pool), [Told() for _ in range(3)]
    for told in several:
        told.apply(pool, abs, -1)
    run_until(hub, lambda: all(told.results for told in several))
    assert [told.given for told in several] == [1, 0, 0]
    assert [len(told.accepted) for told in several] == [1, 1, 1]
    assert kinds.count(ACK) == 2, "its node may fetch another at once"
    assert not pool._cache


def test_whoever_does_not_ask_for_it_hears_of_the_beginning_at_once(hub: Hub, pool: Pool) -> None:
    kinds, accepted = messages_of(pool), []
    pool.apply_async(abs, (-1,), accept_callback=lambda pid, at: accepted.append((pid, at)))
    run_until(hub, lambda: accepted)
    assert ACK in kinds


def test_a_job_that_does_not_fit_into_the_pipe_at_once_arrives(hub: Hub, pool: Pool) -> None:
    told = Told()
    told.apply(pool, len, "x" * 300_000)
    told.apply(pool, len, "x" * 4_000)
    run_until(hub, lambda: len(told.results) == 2)
    assert told.results == [300_000, 4_000]


def test_a_job_that_was_begun_is_lost_with_its_process_and_one_that_was_not_is_given_to_another(
    hub: Hub, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_pool, "LOOK", 60)
    begun, waiting = Told(), Told()
    job = begun.apply(pool, time.sleep, 60)
    waiting.apply(pool, abs, -7)
    (process,) = pool._pool
    run_until(hub, lambda: process.inq.begun.time_of(job._job))
    assert not begun.accepted
    os.kill(process.pid, signal.SIGKILL)
    run_until(hub, lambda: begun.failures and waiting.results)
    assert isinstance(begun.failures[0], WorkerLostError)
    assert [pid for pid, _ in begun.accepted] == [process.pid]
    assert waiting.results == [7]


@pytest.fixture
def no_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "timers", {})


def test_a_process_that_cannot_be_waited_for_yet_when_its_end_is_told_is_looked_for_again(
    no_timers: None, hub: Hub, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    told.apply(pool, time.sleep, 60)
    run_until(hub, lambda: told.accepted)
    (process,) = pool._pool
    poll, looks = process._popen.poll, []

    def poll_late(*args: Any) -> Any:
        looks.append(args)
        return poll(*args) if len(looks) > 9 else None

    monkeypatch.setattr(process._popen, "poll", poll_late)
    os.kill(process.pid, signal.SIGKILL)
    run_until(hub, lambda: told.failures)
    assert isinstance(told.failures[0], WorkerLostError)


def test_a_job_that_was_begun_while_its_end_was_looked_for_is_lost_with_its_process(
    no_timers: None, hub: Hub, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (process,) = pool._pool
    os.kill(process.pid, signal.SIGSTOP)
    told = Told()
    job = told.apply(pool, time.sleep, 60)
    poll = process._popen.poll

    def begin_and_end(*_: Any) -> Any:
        monkeypatch.setattr(process._popen, "poll", poll)
        os.kill(process.pid, signal.SIGCONT)
        soon(lambda: process.inq.begun.time_of(job._job))
        os.kill(process.pid, signal.SIGKILL)
        return poll(0)

    monkeypatch.setattr(process._popen, "poll", begin_and_end)
    pool.maintain_pool()
    run_until(hub, lambda: told.accepted)
    assert [pid for pid, _ in told.accepted] == [process.pid], "no other has begun it"
    run_until(hub, lambda: told.failures)
    assert isinstance(told.failures[0], WorkerLostError)


def test_a_job_is_not_given_to_another_before_all_is_heard_of_the_process_that_had_it(
    no_timers: None, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool_on(hub, processes=2) as pool:
        for process in pool._pool:
            os.kill(process.pid, signal.SIGSTOP)
        told = Told()
        process = told.apply(pool, abs, -7)._write_to
        (other,) = {*pool._pool} - {process}
        os.kill(other.pid, signal.SIGKILL)
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        poll = process._popen.poll

        def end_after_this(*_: Any) -> None:
            monkeypatch.setattr(process._popen, "poll", end)

        def end(*_: Any) -> Any:
            monkeypatch.setattr(process._popen, "poll", poll)
            os.kill(process.pid, signal.SIGCONT)
            assert process.outq._reader.poll(LONG), "it has ended its job"
            os.kill(process.pid, signal.SIGKILL)
            return poll(0)

        monkeypatch.setattr(process._popen, "poll", end_after_this)
        pool.maintain_pool()
        run_until(hub, lambda: told.results)
        assert [pid for pid, _ in told.accepted] == [process.pid]


def test_a_job_that_was_taken_back_and_runs_all_the_same_keeps_its_process_and_is_counted(hub: Hub, pool: Pool) -> None:
    (process,) = pool._pool
    os.kill(process.pid, signal.SIGSTOP)
    told = Told()
    told.apply(pool, abs, -1)
    pool.flush()  # the connection to the broker was lost
    pool.see_begun()
    free = pool._free()
    os.kill(process.pid, signal.SIGCONT)
    assert not free
    run_until(hub, pool._free)
    # A process that has run as many jobs as it may waits for half a minute until all that it said was heard.
    assert pool._on_ready_counters[process.pid].value == 1
    assert not pool._quiet
    assert not told.results


def test_a_job_that_was_taken_back_ends_with_a_process_that_has_not_read_it(hub: Hub, pool: Pool) -> None:
    (process,) = pool._pool
    os.kill(process.pid, signal.SIGSTOP)
    taken_back, told = Told(), Told()
    taken_back.apply(pool, time.sleep, 60)
    pool.flush()
    os.kill(process.pid, signal.SIGKILL)
    run_until(hub, lambda: process not in pool._pool and pool._all_inqueues)
    assert not pool._quiet
    told.apply(pool, abs, -1)
    run_until(hub, lambda: told.results)


def test_a_process_that_was_told_of_a_job_is_given_it(hub: Hub) -> None:
    pool = Pool(3, threads=False)
    pool.register_with_event_loop(hub)
    run_until(hub, lambda: len(pool._all_inqueues) == 3)
    free = pool._free
    # From the last: a job that nobody was told of is given to the first.
    pool._free = lambda: [pipe for pipe in reversed([*pool._all_inqueues]) if pipe in free()]  # type: ignore[assignment,method-assign,return-value]
    try:
        for number in range(3):
            pool.foretell("a task", f"job-{number}", "w@h")
            _, pipe = pool._told  # type: ignore[misc]  # it was told
            told = Told()
            told.apply(pool, time.sleep, 60, job_id=f"job-{number}")
            process = pool._fileno_to_inq[pipe]
            run_until(hub, lambda told=told: told.accepted)
            assert told.accepted[0][0] == process.pid
        pool.foretell("a task", "job-3", "w@h")
        assert pool._told is None, "nobody is free"
    finally:
        pool.terminate()
        pool.join()


def test_another_job_than_it_was_told_of_goes_to_any_process(hub: Hub, pool: Pool) -> None:
    pool.foretell("a task", "job-1", "w@h")
    told = Told()
    told.apply(pool, abs, -1)
    assert pool._told is None
    run_until(hub, lambda: told.results)


def test_a_process_that_was_given_a_job_counts_as_busy_before_it_has_begun(hub: Hub, pool: Pool) -> None:
    (process,) = pool._pool
    assert not pool._worker_active(process)
    told = Told()
    told.apply(pool, time.sleep, 0.3)
    assert not told.accepted
    assert pool._worker_active(process)
    with pytest.raises(ValueError, match="busy"):
        pool.shrink(1)
    run_until(hub, lambda: told.results)
    assert not pool._worker_active(process)


class TestForetelling:
    """Only what is certain to be given to the pool is foretold."""

    @pytest.fixture
    def node(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        pool = Pool.__new__(Pool)
        told: list[tuple[str, ...]] = []
        monkeypatch.setattr(pool, "foretell", lambda *words: told.append(words), raising=False)
        consumer = SimpleNamespace(
            strategies={"add": None}, disable_rate_limits=False, task_buckets=defaultdict(lambda: None), hostname="w@h"
        )
        return SimpleNamespace(
            pool=SimpleNamespace(_pool=pool), consumer=consumer, semaphore=SimpleNamespace(value=1), told=told
        )

    @staticmethod
    def told(node: Any, **headers: Any) -> list[tuple[str, ...]]:
        foretell(node, {"id": "job-1", "task": "add", WAKE_UP_HEADER: 1, **headers})
        return node.told  # type: ignore[no-any-return]

    def test_a_plain_wake_up_is_foretold(self, node: Any) -> None:
        assert self.told(node) == [("add", "job-1", "w@h")]

    def test_one_for_many_is_not(self, node: Any) -> None:
        assert not self.told(node, **{OTHERS_HEADER: ["job-2"]})

    def test_one_that_was_revoked_is_not(self, node: Any) -> None:
        state.revoked.add("job-1")
        try:
            assert not self.told(node)
        finally:
            state.revoked.discard("job-1")

    def test_one_that_nobody_here_runs_is_not(self, node: Any) -> None:
        assert not self.told(node, task="subtract")

    def test_one_whose_rate_is_limited_is_not_unless_no_rate_is(self, node: Any) -> None:
        node.consumer.task_buckets["add"] = object()
        assert not self.told(node)
        node.consumer.disable_rate_limits = True
        assert self.told(node)

    def test_one_that_must_wait_for_others_is_not(self, node: Any) -> None:
        node.semaphore.value = 0
        assert not self.told(node)
        node.semaphore = None
        assert self.told(node)

    def test_a_pool_that_is_not_ours_is_told_nothing(self, node: Any) -> None:
        node.pool._pool = None
        assert not self.told(node)


class TestAProcess:
    """What a process does with what it is sent."""

    @pytest.fixture
    def early(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        app = Celery("unit", set_as_current=False, broker="memory://")
        registry = Registry()
        registry.function(add)
        register(app, registry, lambda: None)  # type: ignore[arg-type,return-value]
        asked: list[dict[str, Any]] = []
        monkeypatch.setattr(FunctionTask, "ask_early", lambda _, request: asked.append(request))
        monkeypatch.setattr(talk, "current_app", app)
        return asked

    def test_asks_when_it_is_told_and_when_it_is_given_the_job(self, early: list[dict[str, Any]]) -> None:
        words, request = {"id": "job-1"}, {"id": "job-1", "hostname": "w@h"}
        job = (TASK, (1, None, abs, ("add", "job-1", request, [], None, None), {}))
        sent = iter([(EARLY, ("add", words)), job])
        assert Talk(lambda: next(sent), print, None).hear() == job
        assert early == [words, request]

    def test_asks_for_no_task_of_another_kind(self, early: list[dict[str, Any]]) -> None:
        job = (TASK, (1, None, abs, ("celery.accumulate", "job-1", {}, [], None, None), {}))
        assert Talk(lambda: job, print, None).hear() == job
        assert early == []

    def test_notes_only_of_a_quiet_job_that_it_was_begun(self) -> None:
        begun, said = Begun(), []
        heard = iter([(QUIET, (7, None, abs, (-1,), {})), (TASK, (8, None, abs, (-1,), {}))])
        talk = Talk(lambda: next(heard), said.append, begun)
        results = []
        for number in (7, 8):
            assert talk.hear() == (TASK, (number, None, abs, (-1,), {}))
            talk.say((ACK, (number, None, number + 0.5, 4711, None)))
            results.append((READY, (number, None, (True, 1), 3)))
            talk.say(results[-1])
        assert (begun.time_of(7), begun.time_of(8)) == (7.5, None)
        assert said == [results[0], (ACK, (8, None, 8.5, 4711, None)), results[1]]

    def test_says_all_where_it_can_note_nothing(self) -> None:
        said: list[Any] = []
        talk = Talk(lambda: (QUIET, (7, None, abs, (-1,), {})), said.append, None)
        talk.hear()
        talk.say((ACK, (7, None, 1.5, 4711, None)))
        assert said == [(ACK, (7, None, 1.5, 4711, None))]

    @pytest.mark.parametrize("message", [None, (TASK, (1, None, abs, ("a", "b", {}), {}))])
    def test_hands_on_what_is_no_task_of_ours(self, message: object) -> None:
        assert Talk(lambda: message, print, None).hear() == message


def add(a: int) -> int:
    """Add nothing."""
    return a


def test_a_note_is_of_one_job() -> None:
    begun = Begun()
    assert begun.time_of(7) is None
    child = os.fork()
    if child == 0:
        begun.note(7, 12.5)
        os._exit(0)
    os.waitpid(child, 0)
    assert begun.time_of(7) == 12.5
    begun.note(8, 13.5)
    assert (begun.time_of(7), begun.time_of(8)) == (None, 13.5)


def test_only_a_pool_of_processes_is_replaced() -> None:
    app = create_app(Settings(), "redis://localhost:1", name="unit")
    alone, processes = solo.TaskPool(app=None), prefork.TaskPool(app=None)
    PromptPool(SimpleNamespace()).create(SimpleNamespace(app=app, pool=alone))
    assert app.amqp.on_wake_up is None
    PromptPool(SimpleNamespace()).create(SimpleNamespace(app=app, pool=processes))
    assert app.amqp.on_wake_up is not None
    assert processes.Pool is Pool
    assert prefork.TaskPool.Pool is asynpool.AsynPool, "of other apps in this process"
    assert not hasattr(alone, "Pool")


def test_a_worker_has_the_steps_before_anything_registers_with_its_loop() -> None:
    steps = make_worker_app(Registry(), Settings(), "redis://localhost:1", name="unit").steps["worker"]
    assert {LeanHub, PromptPool} <= set(steps)
    # Where they stand in the order in which Celery makes and starts them.
    assert LeanHub.requires == ("celery.worker.components:Hub",)
    assert PromptPool.requires == ("celery.worker.components:Pool",)
