"""A server that is not there, goes away, refuses, is full or is frozen: a typed error in time, and nothing lost."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from dispatcher import Dispatcher, Settings, Succeeded, SyncDispatcher
from dispatcher.errors import (
    Acceptance,
    OutcomeTimeoutError,
    ServerAuthError,
    ServerError,
    ServerFullError,
    ServerUnreachableError,
)
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.functions import registry
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, Marks, Worker, eventually, soon

#: How long a producer of these tests tries, and how long one answer may take.
TRIES_SECONDS = 1.0
ANSWER_SECONDS = 1.0
#: No wait of a producer may take longer than both, and what a busy machine adds.
LONGEST_SECONDS = TRIES_SECONDS + 2 * ANSWER_SECONDS + 2


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that these tests kill, freeze and fill."""
    with EmbeddedServer(tmp_path_factory.mktemp("faulty")) as server:
        yield server


@pytest.fixture(scope="module")
def survivor(own: EmbeddedServer, marks: Marks) -> Iterator[Worker]:
    """One worker for all of these tests: it outlives them all."""
    with Worker(Settings.load(url=own.url, **QUICK_SETTINGS), marks) as worker:
        yield worker


@pytest.fixture
def impatient(own: EmbeddedServer) -> Settings:
    """A producer's settings: it does not wait for long."""
    return Settings.load(
        url=f"{own.url}?socket_timeout={ANSWER_SECONDS}",
        dispatch_timeout_seconds=TRIES_SECONDS,
        outage_seconds=1.5,
        poll_interval_seconds=0.2,
    )


@pytest.fixture
async def producer(impatient: Settings, survivor: Worker) -> AsyncIterator[Dispatcher]:
    async with Dispatcher(registry, settings=impatient) as dispatcher:
        job = await dispatcher.dispatch(functions.add.call(1))
        assert await job.result(LONG) == 1
        yield dispatcher
        # Whatever was done to the server, the worker works and so does the producer.
        job = await soon(lambda: dispatched(dispatcher, functions.add.call(2)))
        assert await job.result(LONG) == 2
        assert survivor.alive


async def dispatched(dispatcher: Dispatcher, call):
    try:
        return await dispatcher.dispatch(call)
    except ServerError:
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def expect(kind: type[ServerError], own_url: str, *, within: float = LONGEST_SECONDS) -> Iterator[SimpleNamespace]:
    """That very error, in time, with the server's address and without its password."""
    caught = SimpleNamespace(error=None)
    began = time.monotonic()
    with pytest.raises(ServerError) as raised:
        yield caught
    assert time.monotonic() - began <= within
    assert type(raised.value) is kind
    host = own_url.rpartition("@")[2].partition("?")[0]
    assert host in str(raised.value)
    assert host in raised.value.address
    password = own_url.partition("://:")[2].partition("@")[0]
    assert password
    assert password not in str(raised.value)
    caught.error = raised.value


# --- not there


def nowhere() -> tuple[str, Settings]:
    url = f"redis://:no-secret-here@127.0.0.1:{free_port()}/0"
    return url, Settings.load(url=url, dispatch_timeout_seconds=TRIES_SECONDS)


async def test_a_server_that_is_not_there_is_an_error_at_the_producers_start() -> None:
    url, settings = nowhere()
    dispatcher = Dispatcher(registry, settings=settings)
    with expect(ServerUnreachableError, url) as caught:
        await dispatcher.start()
    assert caught.error.accepted is Acceptance.NO
    await dispatcher.close()


def test_a_server_that_is_not_there_is_an_error_at_the_synchronous_producers_start() -> None:
    url, settings = nowhere()
    dispatcher = SyncDispatcher(registry, settings=settings)
    with expect(ServerUnreachableError, url):
        dispatcher.start()
    with expect(ServerUnreachableError, url):
        dispatcher.start()
    dispatcher.close()


async def test_a_worker_waits_for_a_server_that_is_not_there_yet_and_then_works(
    tmp_path: Path, start_worker: Callable[..., Worker], marks: Marks
) -> None:
    with EmbeddedServer(tmp_path / "late") as server:
        url = server.url
        settings = Settings.load(url=url, **QUICK_SETTINGS)
        async with Dispatcher(registry, settings=settings) as dispatcher:
            job = await dispatcher.dispatch(functions.add.call(40, 2))
            assert await dispatcher.flush()
        server.kill()
        worker = start_worker(settings, wait=False)
        worker.wait_for_log("Cannot connect to")
        assert worker.alive
        assert url.partition("://:")[2].partition("@")[0] not in worker.log.read_text()

        server.restart()
        worker.wait_until_ready()
        async with Dispatcher(registry, settings=settings) as dispatcher:
            handle = await dispatcher.handle(job.id)
            assert await handle.result(LONG) == 42


# --- going away


async def test_a_server_killed_in_the_middle_loses_no_accepted_call(
    own: EmbeddedServer, producer: Dispatcher, marks: Marks, label: str
) -> None:
    quick = [await producer.dispatch(functions.add.call(number)) for number in range(100)]
    held = [await producer.dispatch(functions.hold.call(f"{label}-{n}", 0.5)) for n in range(4)]
    delayed = [await producer.dispatch(functions.add.call(n), delay=timedelta(seconds=1)) for n in range(5)]
    await soon(lambda: marks.started(f"{label}-0") == 1)

    own.kill()
    own.restart()
    jobs = [*quick, *held, *delayed]
    outcomes = await asyncio.gather(*(patient_outcome(job) for job in jobs))
    assert [outcome.value for outcome in outcomes] == [*range(100), *["held"] * 4, *range(5)]


async def patient_outcome(job) -> Succeeded:
    """The outcome, however often the wait for it is cut short."""
    until = time.monotonic() + LONG.total_seconds()
    while time.monotonic() < until:
        try:
            return await job.outcome(LONG)
        except ServerError:
            await asyncio.sleep(0.1)
    raise AssertionError


async def test_waits_bear_an_outage_for_so_long_and_the_same_handle_gives_the_outcome_later(
    own: EmbeddedServer, producer: Dispatcher, impatient: Settings, marks: Marks, label: str
) -> None:
    job = await producer.dispatch(functions.hold.call(label, 0.5))
    other = await producer.dispatch(functions.hold.call(f"{label}-other", 0.5))
    await soon(lambda: marks.started(label) == 1)
    own.kill()
    began = time.monotonic()
    with expect(ServerUnreachableError, own.url) as caught:
        await job.outcome()
    assert caught.error.accepted is Acceptance.YES
    assert time.monotonic() - began >= impatient.outage_seconds - 0.5
    with expect(ServerUnreachableError, own.url, within=0.5):
        await other.result()
    with expect(ServerUnreachableError, own.url):
        await job.status()
    with expect(ServerUnreachableError, own.url):
        await job.cancel()
    with expect(ServerUnreachableError, own.url) as caught:
        await producer.dispatch(functions.add.call(1))
    assert caught.error.accepted is Acceptance.NO, "there was nobody to accept it"

    own.restart()
    assert (await patient_outcome(job)).value == "held"
    assert (await patient_outcome(other)).value == "held"


async def test_a_wait_with_a_time_of_its_own_ends_then_though_the_server_is_away(
    own: EmbeddedServer, producer: Dispatcher, label: str
) -> None:
    job = await producer.dispatch(functions.hold.call(label, 0.2))
    own.kill()
    began = time.monotonic()
    with pytest.raises(OutcomeTimeoutError):
        await job.outcome(timedelta(seconds=0.5))
    assert time.monotonic() - began < 1.5
    own.restart()
    assert (await patient_outcome(job)).value == "held"


async def test_a_dispatch_that_meets_a_short_outage_waits_it_out(own: EmbeddedServer, survivor: Worker) -> None:
    settings = Settings.load(url=own.url, dispatch_timeout_seconds=20)
    async with Dispatcher(registry, settings=settings) as dispatcher:
        own.kill()
        dispatching = asyncio.create_task(dispatcher.dispatch(functions.add.call(1, 1)))
        await asyncio.sleep(0.3)
        assert not dispatching.done()
        await asyncio.to_thread(own.restart)
        job = await dispatching
        assert await job.result(LONG) == 2


# --- refusing


async def test_a_wrong_password_is_an_error_at_once(own: EmbeddedServer) -> None:
    url = own.url.replace(own.url.partition("://:")[2].partition("@")[0], "a-wrong-password")
    settings = Settings.load(url=url, dispatch_timeout_seconds=TRIES_SECONDS)
    with expect(ServerAuthError, url) as caught:
        async with Dispatcher(registry, settings=settings):
            pass
    assert caught.error.accepted is Acceptance.NO


def test_a_worker_with_a_wrong_password_says_so_and_keeps_knocking(
    own: EmbeddedServer, start_worker: Callable[..., Worker]
) -> None:
    url = own.url.replace(own.url.partition("://:")[2].partition("@")[0], "a-wrong-password")
    worker = start_worker(Settings.load(url=url, **QUICK_SETTINGS), wait=False)
    host = url.rpartition("@")[2]
    worker.wait_for_log(f"Cannot connect to redis://:**@{host}: invalid username-password pair")
    assert worker.alive
    assert "a-wrong-password" not in worker.log.read_text()


async def test_a_password_changed_in_the_middle_is_an_error_and_changed_back_it_is_forgotten(
    own: EmbeddedServer, producer: Dispatcher, label: str
) -> None:
    job = await producer.dispatch(functions.hold.call(label, 0.5))
    with connect(own.url) as admin:
        right = admin.config_get("requirepass")["requirepass"]
        admin.config_set("requirepass", "changed")
        try:
            for kind in ("normal", "pubsub"):
                admin.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            with expect(ServerAuthError, own.url) as caught:
                await producer.dispatch(functions.add.call(1))
            assert caught.error.accepted is Acceptance.NO
            with expect(ServerAuthError, own.url):
                await job.status()
            with expect(ServerAuthError, own.url):
                await job.outcome()
        finally:
            admin.config_set("requirepass", right)
    assert (await patient_outcome(job)).value == "held"


# --- full


@contextmanager
def full(server: EmbeddedServer) -> Iterator[None]:
    with connect(server.url) as admin:
        admin.config_set("maxmemory", 1)
        try:
            yield
        finally:
            admin.config_set("maxmemory", 0)


async def test_a_full_server_refuses_new_calls_and_loses_none(
    own: EmbeddedServer, producer: Dispatcher, survivor: Worker, marks: Marks, label: str
) -> None:
    running = await producer.dispatch(functions.hold.call(label, 0.5))
    await soon(lambda: marks.started(label) == 1)
    delayed = await producer.dispatch(functions.add.call(3, 4), delay=timedelta(seconds=0.3))
    with full(own):
        waiting = [await dispatched(producer, functions.add.call(number)) for number in range(3)]
        assert waiting == [None, None, None]
        with expect(ServerFullError, own.url, within=0.5) as caught:
            await producer.dispatch(functions.add.call(1))
        assert caught.error.accepted is Acceptance.NO
        assert await running.result(LONG) == "held", "its outcome is recorded all the same"
        assert survivor.alive
        await asyncio.sleep(0.5)
        assert not delayed.done, "far above what it may use, the server has no room for a job that is to be run"
    assert await delayed.result(LONG) == 7


# --- frozen


async def test_a_frozen_server_hangs_nobody(
    own: EmbeddedServer, producer: Dispatcher, survivor: Worker, marks: Marks, label: str
) -> None:
    job = await producer.dispatch(functions.hold.call(label, 0.2))
    key = label
    os.kill(own.pid, signal.SIGSTOP)
    try:
        with expect(ServerUnreachableError, own.url) as caught:
            await producer.dispatch(functions.hold.call(f"{label}-new", 0), idempotency_key=key)
        assert caught.error.accepted is Acceptance.UNKNOWN
        with expect(ServerUnreachableError, own.url):
            await job.status()
        with expect(ServerUnreachableError, own.url):
            await job.outcome()
        began = time.monotonic()
        with pytest.raises((OutcomeTimeoutError, ServerUnreachableError)):
            await job.outcome(timedelta(seconds=0.5))
        assert time.monotonic() - began < 1.5
    finally:
        os.kill(own.pid, signal.SIGCONT)
    assert (await patient_outcome(job)).value == "held"
    # Whether it was accepted is not known; with its key it is safe to ask again, and it runs once.
    again = await soon(lambda: dispatched_again(producer, functions.hold.call(f"{label}-new", 0), key))
    assert (await patient_outcome(again)).value == "held"
    assert marks.started(f"{label}-new") == 1


async def dispatched_again(dispatcher: Dispatcher, call, key: str):
    try:
        return await dispatcher.dispatch(call, idempotency_key=key)
    except ServerError:
        return None


def test_the_worker_that_went_through_all_this_still_reports_itself_and_stops_in_its_own_time(
    own: EmbeddedServer, survivor: Worker
) -> None:
    with connect(own.url) as client:
        assert eventually(lambda: client.zcard("{dispatcher}:due") == 0)
    assert survivor.alive
    survivor.stop()
    assert survivor.process.returncode == 0
