"""Deadlines, timeouts and cancellations, for functions that listen and for those that do not."""

import asyncio
import time
from datetime import timedelta

import pytest

from dispatcher import Cancelled, Dispatcher, Expired, Failed, Settings
from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorKind
from dispatcher.transport.state_folder import is_alive
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, Marks, Worker, soon


async def fill(dispatcher: Dispatcher, label: str, seconds: float) -> list[object]:
    """Give both processes of the worker something to do."""
    jobs = [await dispatcher.dispatch(functions.hold.call(f"{label}-fill-{n}", seconds)) for n in range(2)]
    for job in jobs:
        await soon(lambda job=job: is_running(dispatcher, job.id))
    return jobs


async def is_running(dispatcher: Dispatcher, job_id: str) -> bool:
    return (await dispatcher.status(job_id)).state is JobState.RUNNING


async def check_worker(dispatcher: Dispatcher, worker: Worker) -> None:
    job = await dispatcher.dispatch(functions.add.call(20, 22))
    assert await job.result(LONG) == 42
    assert worker.alive


# --- deadlines


async def test_a_deadline_that_passes_while_the_call_waits_expires_it_unrun(
    dispatcher: Dispatcher, marks: Marks, label: str
) -> None:
    fillers = await fill(dispatcher, label, 2)
    began = time.monotonic()
    job = await dispatcher.dispatch(functions.hold.call(label, 0), deadline=timedelta(seconds=0.5))
    assert await job.outcome(LONG) == Expired(attempts=0)
    assert 0.5 <= time.monotonic() - began < 4
    for filler in fillers:
        await filler.outcome(LONG)
    await (await dispatcher.dispatch(functions.add.call(1))).outcome(LONG)
    assert marks.started(label) == 0
    assert (await job.status()).state is JobState.EXPIRED


async def test_a_deadline_that_passes_while_the_call_runs_stops_it(
    dispatcher: Dispatcher, marks: Marks, label: str
) -> None:
    job = await dispatcher.dispatch(functions.hold.call(label, 30), deadline=timedelta(seconds=1))
    assert await job.outcome(LONG) == Expired(attempts=1)
    assert marks.started(label) == 1
    assert marks.count(label, "end") == 0


async def test_a_deadline_stops_a_coroutine_too(dispatcher: Dispatcher, marks: Marks, label: str) -> None:
    job = await dispatcher.dispatch(functions.hold_async.call(label, 30), deadline=timedelta(seconds=1))
    assert await job.outcome(LONG) == Expired(attempts=1)
    assert marks.of(label)[1:] == ["cancelled"]


# --- timeouts


@pytest.mark.parametrize("function", [functions.sleep_in_c, functions.swallow_timeout], ids=lambda f: f.name)
async def test_a_timeout_ends_the_call_whatever_the_function_does(
    dispatcher: Dispatcher, settings: Settings, worker: Worker, marks: Marks, label: str, function
) -> None:
    began = time.monotonic()
    job = await dispatcher.dispatch(function.call(label, 60))
    outcome = await job.outcome(LONG)
    assert isinstance(outcome, Failed)
    assert outcome.error.kind is ErrorKind.TIMEOUT
    assert outcome.attempts == 1
    # The function's timeout is one second; one that does not listen has its grace besides.
    assert time.monotonic() - began < 1 + settings.kill_grace_seconds + 3
    assert marks.count(label, "end") == 0
    if function is functions.swallow_timeout:
        assert marks.count(label, "swallowed CallTimedOut") == 1
        await soon(lambda: not is_alive(marks.pid(label)))
    await check_worker(dispatcher, worker)


# --- cancellations


async def test_cancelling_a_call_that_waits_ends_it_unrun(dispatcher: Dispatcher, marks: Marks, label: str) -> None:
    fillers = await fill(dispatcher, label, 1)
    job = await dispatcher.dispatch(functions.hold.call(label, 0))
    delayed = await dispatcher.dispatch(functions.hold.call(label, 0), delay=timedelta(seconds=1))
    assert await job.cancel("not needed")
    assert await delayed.cancel()
    began = time.monotonic()
    assert await job.outcome(LONG) == Cancelled(reason="not needed", attempts=0)
    assert await delayed.outcome(LONG) == Cancelled(reason="cancelled by the producer", attempts=0)
    assert time.monotonic() - began < 0.5
    assert not await job.cancel(), "it has its outcome already"
    for filler in fillers:
        await filler.outcome(LONG)
    await asyncio.sleep(0.5)
    assert marks.started(label) == 0


async def test_cancelling_a_running_def_interrupts_it_and_lets_it_clean_up(
    dispatcher: Dispatcher, worker: Worker, marks: Marks, label: str
) -> None:
    job = await dispatcher.dispatch(functions.tidy.call(label, 60))
    await soon(lambda: marks.started(label) == 1)
    assert await job.cancel("too late")
    assert await job.outcome(LONG) == Cancelled(reason="too late", attempts=1)
    assert marks.of(label)[1:] == ["cleaned up"]
    await check_worker(dispatcher, worker)


async def test_cancelling_a_running_coroutine_cancels_it(
    dispatcher: Dispatcher, worker: Worker, marks: Marks, label: str
) -> None:
    job = await dispatcher.dispatch(functions.hold_async.call(label, 60))
    await soon(lambda: marks.started(label) == 1)
    assert await job.cancel()
    assert await job.outcome(LONG) == Cancelled(reason="cancelled by the producer", attempts=1)
    assert marks.of(label)[1:] == ["cancelled"]
    await check_worker(dispatcher, worker)


@pytest.mark.parametrize("hard", [False, True])
async def test_cancelling_a_def_that_does_not_listen_ends_its_process_and_not_the_worker(
    dispatcher: Dispatcher, settings: Settings, worker: Worker, marks: Marks, label: str, hard: bool
) -> None:
    job = await dispatcher.dispatch(functions.swallow.call(label, 60))
    await soon(lambda: marks.started(label) == 1)
    pid = marks.pid(label)
    assert await job.cancel("stop", hard=hard)
    began = time.monotonic()
    outcome = await job.outcome(LONG)
    assert isinstance(outcome, Cancelled)
    assert outcome.reason == "stop"
    if hard:
        assert time.monotonic() - began < 0.5, "the outcome does not wait for the function"
    await soon(lambda: not is_alive(pid))
    # The heartbeat that tells it, and its grace.
    assert time.monotonic() - began < 1 + settings.kill_grace_seconds + 3
    assert marks.count(label, "end") == 0
    assert marks.started(label) == 1
    await check_worker(dispatcher, worker)
    assert marks.started(label) == 1
