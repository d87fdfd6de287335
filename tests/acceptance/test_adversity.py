"""What was found by trying to break it: each of these went wrong once."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from billiard import pool

from dispatcher import Dispatcher, Settings, SyncDispatcher
from dispatcher.errors import Acceptance, CallRefusedError, ServerUnreachableError, SettingsError
from dispatcher.execution.worker import WorkerSide
from dispatcher.transport.app import create_app
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.message import headers
from dispatcher.transport.replies import WakeUp
from tests.acceptance import functions
from tests.acceptance.functions import registry
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, ROOT, Worker, environment_of, soon

PREFIX = "{dispatcher}:"


@pytest.fixture(scope="module")
def sync(settings: Settings, worker: Worker) -> Iterator[SyncDispatcher]:
    with SyncDispatcher(registry, settings=settings) as started:
        yield started


# --- the producer


@pytest.fixture
async def shaken(tmp_path: Any) -> AsyncIterator[tuple[Dispatcher, Callable[[signal.Signals], None]]]:
    """A producer that bears no outage, and a way to freeze its server."""
    with EmbeddedServer(tmp_path) as server:
        settings = Settings.load(
            url=f"{server.url}?socket_timeout=0.3",
            outage_seconds=0.3,
            dispatch_timeout_seconds=0.3,
            **{**QUICK_SETTINGS, "poll_interval_seconds": 3.0},
        )
        with connect(server.url) as client:
            pid = client.info("server")["process_id"]
        async with Dispatcher(registry, settings=settings) as dispatcher:
            try:
                yield dispatcher, lambda sign: os.kill(pid, sign)
            finally:
                os.kill(pid, signal.SIGCONT)


async def test_an_outage_that_is_over_is_told_to_nobody_who_waits_later(
    shaken: tuple[Dispatcher, Callable[[signal.Signals], None]],
) -> None:
    dispatcher, send = shaken
    job = await dispatcher.dispatch(functions.add.call(1))
    send(signal.SIGSTOP)
    with pytest.raises(ServerUnreachableError):
        await job.outcome()
    send(signal.SIGCONT)
    del job
    later = await soon(lambda: _dispatched(dispatcher))
    # Nobody works for this server: the right answer is that nothing came.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(later.outcome(), 1)


async def _dispatched(dispatcher: Dispatcher) -> Any:
    try:
        return await dispatcher.dispatch(functions.add.call(1))
    except ServerUnreachableError:
        return None


async def test_a_handle_of_before_a_restart_says_that_its_dispatcher_was_closed(settings: Settings) -> None:
    dispatcher = Dispatcher(registry, settings=settings)
    await dispatcher.start()
    job = await dispatcher.dispatch(functions.add.call(1), delay=timedelta(minutes=5))
    await dispatcher.close()
    await dispatcher.start()
    with pytest.raises(ServerUnreachableError, match="closed"):
        await asyncio.wait_for(job.outcome(), 3)
    assert await dispatcher.cancel(job.id)
    await dispatcher.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"idempotency_key": ""},
        {"idempotency_key": "\ud800"},
        {"idempotency_key": "k" * 10_000},
        {"priority": "urgent"},
    ],
    ids=["empty key", "half a surrogate pair", "long key", "unknown priority"],
)
async def test_what_cannot_be_kept_of_a_dispatch_is_refused(dispatcher: Dispatcher, wrong: dict[str, Any]) -> None:
    with pytest.raises(CallRefusedError) as refused:
        await dispatcher.dispatch(functions.add.call(1), **wrong)
    assert refused.value.accepted is Acceptance.NO


async def test_a_reason_that_is_no_text_cancels_all_the_same(dispatcher: Dispatcher) -> None:
    job = await dispatcher.dispatch(functions.add.call(1), delay=timedelta(minutes=5))
    assert await job.cancel("\ud800" + "x" * 100_000)
    assert (await job.outcome(LONG)).reason == "?" + "x" * 999


def test_rows_are_read_in_the_thread_that_wants_the_outcomes(sync: SyncDispatcher) -> None:
    with sqlite3.connect(":memory:") as base:  # refuses to be used in another thread
        base.execute("create table rows (number integer)")
        base.executemany("insert into rows values (?)", [(number,) for number in range(500)])
        rows = ({"number": number} for (number,) in base.execute("select number from rows order by number"))
        outcomes = [outcome.value for outcome in sync.map(functions.double, rows)]
    assert outcomes == [2 * number for number in range(500)]


def test_rows_may_come_out_of_the_dispatcher_that_takes_them(sync: SyncDispatcher) -> None:
    rows = ({"number": sync.dispatch(functions.add.call(number)).result(LONG)} for number in range(3))
    assert [outcome.value for outcome in sync.map(functions.double, rows)] == [0, 2, 4]


def test_what_rows_raise_is_raised_after_the_rows_before_it(sync: SyncDispatcher) -> None:
    def rows() -> Iterator[dict[str, object]]:
        yield {"number": 1}
        msg = "the file ends here"
        raise LookupError(msg)

    with pytest.raises(LookupError, match="ends here"):
        list(sync.map(functions.double, rows()))


def test_a_dispatcher_taken_through_a_fork_says_so(sync: SyncDispatcher) -> None:
    assert sync.dispatch(functions.add.call(1)).result(LONG) == 1
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        try:
            sync.dispatch(functions.add.call(2))
        except SettingsError as error:
            sync.close()
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sync.dispatch(functions.add.call(2)).result(LONG) == 2


# --- the worker


@pytest.mark.parametrize("name", ["fork_and_return", "stop_loop"])
async def test_what_a_function_does_to_its_process_is_its_own_matter(dispatcher: Dispatcher, name: str) -> None:
    outcomes = await dispatcher.gather(*(registry.bind(name, {}) for _ in range(4)))
    assert {outcome.value for outcome in outcomes} <= {"parent", "stopped"}
    after = await dispatcher.gather(
        *(functions.add.call(1) for _ in range(8)), *(functions.add_async.call(1) for _ in range(8))
    )
    assert {outcome.value for outcome in after} == {1}


def test_a_process_of_a_node_that_ends_does_not_wait_half_a_minute_for_it(
    settings: Settings, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Should billiard give it another name, ending under load takes half a minute again, one time out of three.
    monkeypatch.setattr(pool, "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT", 300)
    app = create_app(settings, server.url, registry)
    WorkerSide(app, registry, settings, server.url).on_process_init()
    times, seconds = pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT, pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL
    assert times * seconds <= 1


# --- records that somebody broke


def _wake_up(job_id: str) -> str:
    """A message as a producer publishes it."""
    named = headers(WakeUp(job_id=job_id, function="add", queue="default", shown=""), "test")
    return json.dumps({
        "body": "W1tdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsLCAiZXJyYmFja3MiOiBudWxsLCAiY2hhaW4iOiBudWxsLCAiY2hvcmQiOiBudWxsfV0=",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": named,
        "properties": {
            "correlation_id": job_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "default"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": job_id,
        },
    })  # fmt: skip


@pytest.fixture
def broken(own_client: redis.Redis) -> redis.Redis:
    """A server on which more records are broken than a sweep looks at in one go."""
    own_client.set(f"{PREFIX}job:text", "no hash")
    own_client.hset(f"{PREFIX}job:bare", "state", "waiting")
    own_client.hset(f"{PREFIX}job:words", mapping={"state": "waiting", "deadline_ms": "soon", "queue": "default"})
    own_client.hset(f"{PREFIX}job:lease", "state", "running")
    for number in range(300):
        own_client.hset(f"{PREFIX}job:due-{number}", "state", "running")
    own_client.zadd(f"{PREFIX}due", {f"due-{number}": 1 for number in range(300)} | {"text": 1, "words": 1})
    own_client.zadd(f"{PREFIX}waiting:default", {"bare": -3, "words": -2, "text": -1})
    return own_client


async def test_broken_records_stand_in_no_other_jobs_way(
    own_dispatcher: Dispatcher, own_settings: Settings, broken: redis.Redis, start_worker: Callable[..., Worker]
) -> None:
    lost = await own_dispatcher.dispatch(functions.add.call(1))
    assert await own_dispatcher.flush()
    assert broken.delete("default") == 1
    broken.lpush("default", *(_wake_up(name) for name in ("text", "bare", "words", "lease")))
    delayed = await own_dispatcher.dispatch(functions.add.call(2), delay=timedelta(milliseconds=100))
    start_worker(own_settings)
    began = time.monotonic()
    prompt = await own_dispatcher.dispatch(functions.add.call(3))
    assert [await job.result(LONG) for job in (prompt, delayed, lost)] == [3, 2, 1]
    # A worker that took broken records for an outage would bear each of them for half a minute.
    assert time.monotonic() - began < own_settings.outage_seconds / 2


async def test_a_broken_dead_letter_hides_no_other(own_dispatcher: Dispatcher, own_client: redis.Redis) -> None:
    own_client.zadd(f"{PREFIX}dead", {b"\xff\xfe": 1, "typed": 2, "gone": 3, "whole": 4})
    own_client.set(f"{PREFIX}job:typed", "no hash")
    own_client.hset(f"{PREFIX}job:whole", mapping={"state": "garbage", "queue": "default", "reason": "no JSON"})
    assert [letter.id for letter in await own_dispatcher.dead_letters.list()] == ["whole"]
    assert own_client.delete(f"{PREFIX}dead", f"{PREFIX}job:typed", f"{PREFIX}job:whole") == 3


# --- the command line


def test_output_that_cannot_show_every_character_is_no_failure(settings: Settings, worker: Worker) -> None:
    command = [sys.executable, "-m", "dispatcher", "--help"]
    call = [sys.executable, "-m", "dispatcher", "call", "--app", "tests.acceptance.functions:registry"]
    environment = {**os.environ, **environment_of(settings), "PYTHONIOENCODING": "ascii"}
    for words in (command, [*call, "echo", "value=数据 ·"]):
        run = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=40, check=False)
        assert run.returncode == 0, run.stderr
    assert "\\u6570" in run.stdout
    words = [*call, "--json", "echo", "value=数据 é"]
    run = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=40, check=True)
    assert '"数据 é"' in json.dumps(json.loads(run.stdout), ensure_ascii=False)
