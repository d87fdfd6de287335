"""A process has a job before Celery knows of it, and Celery deals with it as with any other."""

import json
import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import billiard.pool
import pytest
from billiard.exceptions import WorkerLostError
from celery import Celery
from celery.app.trace import trace_task_ret
from celery.signals import task_received
from kombu import Connection
from kombu.asynchronous import Hub

from dispatcher.execution import prompt_pool, talk
from dispatcher.execution.begun import Begun
from dispatcher.execution.celery_task import FunctionTask, ShownRequest, register, request_of
from dispatcher.execution.ending import Ending
from dispatcher.execution.leases import NO_OFFER, Asked
from dispatcher.execution.prompt_pool import Pool, give
from dispatcher.execution.talk import GIVEN, Talk
from dispatcher.registry.registry import Registry
from dispatcher.transport.guard import PlainWakeUp, read_plain
from dispatcher.transport.guarded import Message
from dispatcher.transport.message import new_body, write_plain_message
from tests.integration.test_prompt_pool import Told, add, hub, messages_of, no_timers, pool_on, run_until

__all__ = ["hub", "no_timers"]


class Executor:
    """Of a process that notes in a file what it runs."""

    def __init__(self, path: str) -> None:
        self._path = path

    def ask_early(self, job_id: str, worker: str) -> None:
        self._write("asked", job_id)

    def expect(self, job_id: str, worker: str, asked: Asked) -> bool:
        self._write("asked", job_id, str(asked.offer), asked.nonce)
        return True

    def execute(self, job_id: str, worker: str) -> Ending:
        self._write("run", job_id)
        if job_id.startswith("long"):
            signal.pause()
        return Ending(what="succeeded", text=f"{job_id} by {os.getpid()}")

    def _write(self, *words: str) -> None:
        with open(self._path, "a", encoding="utf-8") as file:  # noqa: PTH123 - one write, of a process that may be killed
            file.write(" ".join(words) + "\n")


@pytest.fixture
def written(tmp_path: Any) -> Any:
    return tmp_path / "written"


@pytest.fixture
def app(written: Any, monkeypatch: pytest.MonkeyPatch) -> Celery:
    made = Celery("unit", set_as_current=False, broker="memory://")
    registry = Registry()
    registry.function(add)
    register(made, registry, lambda: Executor(str(written)))  # type: ignore[arg-type,return-value]
    made.finalize()
    monkeypatch.setattr(talk, "current_app", made)
    monkeypatch.setattr("celery.app.trace.current_app", SimpleNamespace(_get_current_object=lambda: made))
    return made


@pytest.fixture
def pool(app: Celery, hub: Hub) -> Iterator[Pool]:
    with pool_on(hub) as made:
        yield made


def wake_up(job_id: str, shown: str = "{}") -> PlainWakeUp:
    found = read_plain(write_plain_message(job_id, shown, function="add", queue="q", origin="producer-1").encode())
    assert found is not None
    return found


def read(written: Any) -> list[str]:
    """The lines that processes have written so far."""
    return written.read_text().splitlines() if written.exists() else []


def as_celery_asks(pool: Pool, job_id: str) -> Told:
    """What Celery asks the pool for upon a wake-up that it was given."""
    told = Told()
    request = request_of(wake_up(job_id), "w@h")
    told.job = told.apply(pool, trace_task_ret, "add", job_id, request, new_body(), None, None, job_id=job_id)  # type: ignore[attr-defined]
    return told


def test_it_runs_in_the_process_that_was_given_it_and_is_noted_as_any_other(hub: Hub, pool: Pool, written: Any) -> None:
    (process,) = pool._pool
    for number in range(3):
        job_id = f"job-{number}"
        kinds = messages_of(pool)
        assert pool.give(wake_up(job_id), "w@h")
        assert pool._busy_workers == {process.inqW_fd}
        told = as_celery_asks(pool, job_id)
        assert told.given == 1
        assert pool._worker_active(process)
        run_until(hub, lambda told=told: told.results)
        ((failed, text, _),) = told.results
        assert (failed, text) == (0, f"{job_id} by {process.pid}")
        assert [pid for pid, _ in told.accepted] == [process.pid]
        assert billiard.pool.ACK not in kinds, "its node was not woken for it"
        assert not pool._cache
        assert not pool._quiet
        assert not pool._busy_workers
    assert [line.split()[:2] for line in written.read_text().splitlines()] == [
        [what, f"job-{number}"] for number in range(3) for what in ("asked", "run")
    ]


def test_it_is_known_to_run_while_it_does_and_lost_with_its_process(hub: Hub, pool: Pool) -> None:
    assert pool.give(wake_up("long-1"), "w@h")
    told = as_celery_asks(pool, "long-1")
    run_until(hub, lambda: told.accepted)
    (process,) = pool._pool
    os.kill(process.pid, signal.SIGKILL)
    run_until(hub, lambda: told.failures)
    assert isinstance(told.failures[0], WorkerLostError)
    assert [pid for pid, _ in told.accepted] == [process.pid]


def test_one_that_was_not_begun_when_its_process_was_lost_is_given_to_another(
    no_timers: None,
    hub: Hub,
    pool: Pool,
    written: Any,
) -> None:
    (process,) = pool._pool
    asked: list[str] = []
    pool._voices[process] = SimpleNamespace(number=1, ask=lambda *words: bool(asked.extend(words)) or True, close=list)  # type: ignore[assignment]
    os.kill(process.pid, signal.SIGSTOP)
    assert pool.give(wake_up("job-1"), "w@h")
    nonce, _ = asked
    told = as_celery_asks(pool, "job-1")
    os.kill(process.pid, signal.SIGKILL)
    run_until(hub, lambda: told.results)
    assert told.results[0][1] != f"job-1 by {process.pid}"
    assert [pid for pid, _ in told.accepted] == [pool._pool[0].pid]
    # The lease that the first was given is the second's, by its nonce; it hears no answer to what was asked for the first.
    assert written.read_text().splitlines() == [f"asked job-1 {NO_OFFER} {nonce}", "run job-1"]
    assert not pool._voices


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_process_is_told_before_it_is_asked_for(is_heard: bool, hub: Hub, pool: Pool, written: Any) -> None:
    (process,) = pool._pool
    asked: list[str] = []
    pool._voices[process] = SimpleNamespace(  # type: ignore[assignment]
        number=3, ask=lambda *words: bool(asked.extend(words)) or is_heard, close=list
    )
    assert pool.give(wake_up("job-1"), "w@h")
    told = as_celery_asks(pool, "job-1")
    run_until(hub, lambda: told.results)
    nonce, job_id = asked
    assert job_id == "job-1"
    assert written.read_text().splitlines() == [f"asked job-1 3 {nonce}", "run job-1"]
    assert (process in pool._voices) is is_heard


def test_of_one_that_celery_does_not_ask_for_nothing_is_left(hub: Hub, pool: Pool, written: Any) -> None:
    assert pool.give(wake_up("job-1"), "w@h")
    other = Told()
    other.apply(pool, abs, -7, job_id="job-2")
    run_until(hub, lambda: other.results)
    assert other.results == [7]
    assert "run job-1" in written.read_text().splitlines()
    assert not pool._cache
    assert not pool._busy_workers


def test_one_that_celery_asks_for_when_it_has_run_is_given_as_any_other(hub: Hub, pool: Pool, written: Any) -> None:
    assert pool.give(wake_up("job-1"), "w@h")
    run_until(hub, lambda: not pool._untaken)
    told = as_celery_asks(pool, "job-1")
    run_until(hub, lambda: told.results)
    # The ledger refuses it then; this executor does not.
    assert written.read_text().split().count("run") == 2
    assert not pool._cache


@pytest.mark.parametrize("is_read", [True, False])
def test_one_that_celery_does_not_ask_for_ends_with_its_process(
    is_read: bool, hub: Hub, pool: Pool, written: Any
) -> None:
    (process,) = pool._pool
    if not is_read:
        os.kill(process.pid, signal.SIGSTOP)
    assert pool.give(wake_up("long-1"), "w@h")
    run_until(hub, lambda: not is_read or "run long-1" in read(written))
    os.kill(process.pid, signal.SIGKILL)
    run_until(hub, lambda: process not in pool._pool and pool._all_inqueues)
    assert not pool._untaken
    told = as_celery_asks(pool, "job-1")
    run_until(hub, lambda: told.results)
    assert ("run long-1" in read(written)) is is_read, "no other process finds it in its pipe"


def test_one_that_celery_has_not_asked_for_keeps_its_process(hub: Hub, pool: Pool) -> None:
    (process,) = pool._pool
    assert pool.give(wake_up("long-1"), "w@h")
    assert pool._worker_active(process)
    pool.flush()  # the connection to the broker was lost, and what Celery asks for is run by others
    assert not pool.give(wake_up("job-1"), "w@h"), "nobody is free"


def test_nothing_is_given_where_it_could_not_be_taken_at_once(hub: Hub, pool: Pool) -> None:
    assert not pool.give(wake_up("job-1", shown="x" * prompt_pool.AT_ONCE), "w@h"), "too large"
    busy = Told()
    busy.apply(pool, abs, -1)
    assert not pool.give(wake_up("job-1"), "w@h"), "nobody is free"
    run_until(hub, lambda: busy.results)
    pool.close()
    assert not pool.give(wake_up("job-1"), "w@h"), "the pool takes nothing more"
    assert pool._given is None


def test_a_process_makes_of_it_what_celery_would_give_it(app: Celery) -> None:
    text = write_plain_message("job-1", '{"a": "ä"}', function="add", queue="q", origin="producer-1")
    said, payload = read_plain(text.encode()), json.loads(text)
    assert said is not None
    message = Message(payload, channel=Connection("memory://").channel())
    asked = ShownRequest(
        message, app=app, task=app.tasks["add"], headers=message.headers, body=message.body, hostname="w@h"
    )
    job = Talk(lambda: (GIVEN, (7, "w@h", (NO_OFFER, "nonce", 1.5), said)), print, Begun()).hear()
    number, _, trace, arguments, _ = job[1]
    assert (number, trace) == (7, trace_task_ret)
    assert arguments == (
        asked.type,
        asked.id,
        asked.request_dict,
        asked.body,
        asked.content_type,
        asked.content_encoding,
    )


def test_where_somebody_may_change_what_is_received_nothing_is_given_before(
    app: Celery, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = SimpleNamespace(strategies={"add": None}, disable_rate_limits=True, hostname="w@h")
    node = SimpleNamespace(pool=SimpleNamespace(_pool=pool), consumer=consumer, semaphore=None)
    given: list[str] = []
    monkeypatch.setattr(pool, "give", lambda said, _: bool(given.append(said.job_id)) or True)

    def listen(**_: Any) -> None:
        """Anybody."""

    task_received.connect(listen)
    try:
        assert not give(node, app.tasks, wake_up("job-1"))
    finally:
        task_received.disconnect(listen)
    assert give(node, app.tasks, wake_up("job-2"))
    assert not give(node, {"add": object()}, wake_up("job-3")), "no function of ours"
    consumer.strategies.clear()
    assert not give(node, app.tasks, wake_up("job-3"))
    assert given == ["job-2"]


def test_a_process_asks_before_it_does_anything_else(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(FunctionTask, "expect", lambda _, job_id, *__: order.append(f"asked {job_id}"))
    monkeypatch.setattr(talk, "request_of", lambda *_: order.append("made") or {})
    Talk(lambda: (GIVEN, (7, "w@h", (NO_OFFER, "nonce", 1.5), wake_up("job-1"))), print, Begun()).hear()
    assert order == ["asked job-1", "made"]
