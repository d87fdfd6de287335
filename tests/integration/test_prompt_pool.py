"""A prefork pool whose processes note what they begin, on a loop as Celery's worker has one."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from billiard.pool import ACK, READY, TASK
from celery.concurrency import asynpool, prefork, solo
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from dispatcher.execution import prompt_pool
from dispatcher.execution.prompt_pool import Begun, Pool, PromptPool, asking_early, noting

#: Seconds that anything may take here.
LONG = 20


class Told:
    """What a pool says of one job."""

    def __init__(self) -> None:
        self.accepted: list[tuple[int, float]] = []
        self.results: list[Any] = []
        self.failures: list[Any] = []

    def apply(self, pool: Pool, function: Callable[..., Any], *args: Any) -> Any:
        return pool.apply_async(
            function,
            args,
            accept_callback=lambda pid, at: self.accepted.append((pid, at)),
            callback=self.results.append,
            error_callback=lambda info: self.failures.append(info.exception.exc),
        )


@pytest.fixture
def hub() -> Iterator[Hub]:
    before = get_event_loop()
    made = Hub()
    set_event_loop(made)
    yield made
    made.close()
    set_event_loop(before)


@pytest.fixture
def pool(hub: Hub) -> Iterator[Pool]:
    made = Pool(1, threads=False, lost_worker_timeout=0.1)
    made.register_with_event_loop(hub)
    yield made
    made.terminate()
    made.join()


def run_until(hub: Hub, done: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    hub.call_repeatedly(0.01, lambda: None)
    while not done():
        assert time.monotonic() < end
        hub.run_once()


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
    assert not pool._cache


def test_a_job_that_has_ended_was_known_to_run(hub: Hub, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_pool, "LOOK", 60)
    several = [Told() for _ in range(5)]
    for told in several:
        told.apply(pool, abs, -1)
    run_until(hub, lambda: all(told.results for told in several))
    assert all(len(told.accepted) == 1 for told in several)
    assert not pool._cache


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


def test_only_that_a_job_was_begun_is_not_sent() -> None:
    begun, sent = Begun(), []
    put = noting(begun, sent.append)
    put((ACK, (7, None, 1.5, 4711, None)))
    put((READY, (7, None, (True, 1), 3)))
    assert begun.time_of(7) == 1.5
    assert sent == [(READY, (7, None, (True, 1), 3))]


@pytest.mark.parametrize(
    "message", [None, (TASK, (1, None, abs, (-1,), {})), (TASK, (1, None, abs, ("a", "b", {}), {}))]
)
def test_what_is_no_wake_up_of_ours_is_handed_on(message: object) -> None:
    assert asking_early(lambda: message)() is message


def test_only_a_pool_of_processes_is_replaced() -> None:
    processes, alone = prefork.TaskPool(app=None), solo.TaskPool(app=None)
    for pool in (processes, alone):
        PromptPool(SimpleNamespace()).create(SimpleNamespace(pool=pool))
    assert processes.Pool is Pool
    assert prefork.TaskPool.Pool is asynpool.AsynPool, "of other apps in this process"
    assert not hasattr(alone, "Pool")
