"""Whatever dies, an accepted call ends in one outcome."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import redis

from dispatcher import Dispatcher, Failed, Settings, Succeeded
from dispatcher.model.outcome import ErrorKind
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, ROOT, Marks, Worker, environment_of, soon

StartWorker = Callable[..., Worker]

#: After the lease, until an outcome must be there.
SLACK_SECONDS = 3


# --- workers


async def test_a_killed_workers_call_has_its_outcome_within_lease_and_three_seconds_from_another_worker(
    own_dispatcher: Dispatcher, own_settings: Settings, start_worker: StartWorker, marks: Marks, label: str
) -> None:
    workers = [start_worker(own_settings, wait=False), start_worker(own_settings, wait=False)]
    for worker in workers:
        worker.wait_until_ready()
    job = await own_dispatcher.dispatch(functions.hold_first.call(label, 60))
    await soon(lambda: marks.started(label) == 1)
    victim = next(worker for worker in workers if os.getpgid(marks.pid(label)) == worker.pid)

    victim.kill()
    killed = time.monotonic()
    assert await job.outcome(LONG) == Succeeded(value="held", attempts=2)
    assert time.monotonic() - killed <= own_settings.lease_seconds + SLACK_SECONDS
    assert marks.started(label) == 2
    status = await job.status()
    assert (status.attempt, status.lost, status.failures) == (2, 1, 0)
    assert victim.log.stem not in status.worker


async def test_a_killed_pool_process_costs_its_call_one_attempt_and_the_worker_nothing(
    dispatcher: Dispatcher, settings: Settings, worker: Worker, marks: Marks, label: str
) -> None:
    job = await dispatcher.dispatch(functions.hold_first.call(label, 60))
    await soon(lambda: marks.started(label) == 1)

    os.kill(marks.pid(label), signal.SIGKILL)
    killed = time.monotonic()
    assert await job.outcome(LONG) == Succeeded(value="held", attempts=2)
    assert time.monotonic() - killed <= settings.lease_seconds + SLACK_SECONDS
    assert marks.started(label) == 2
    assert worker.alive


async def test_a_call_that_may_run_once_only_is_not_run_again_when_its_worker_is_killed(
    dispatcher: Dispatcher, settings: Settings, marks: Marks, label: str
) -> None:
    job = await dispatcher.dispatch(functions.hold_once.call(label, 60))
    await soon(lambda: marks.started(label) == 1)

    os.kill(marks.pid(label), signal.SIGKILL)
    killed = time.monotonic()
    outcome = await job.outcome(LONG)
    assert time.monotonic() - killed <= settings.lease_seconds + SLACK_SECONDS
    assert isinstance(outcome, Failed)
    assert outcome.error.kind is ErrorKind.LOST
    assert outcome.attempts == 1
    assert job.id in [letter.id for letter in await dispatcher.dead_letters.list()]
    # Long enough for another attempt, if there were one.
    await asyncio.sleep(3 * settings.sweep_interval_seconds)
    assert marks.started(label) == 1


async def test_a_call_that_kills_its_process_again_and_again_becomes_a_dead_letter(
    dispatcher: Dispatcher, settings: Settings, worker: Worker, marks: Marks, label: str
) -> None:
    job = await dispatcher.dispatch(functions.crash.call(label))
    outcome = await job.outcome(LONG)
    assert isinstance(outcome, Failed)
    assert outcome.error.kind is ErrorKind.LOST
    assert outcome.attempts == settings.max_lost_attempts
    assert marks.count(label, "ran") == settings.max_lost_attempts
    letter = next(letter for letter in await dispatcher.dead_letters.list() if letter.id == job.id)
    assert letter.replayable
    assert "lost" in letter.reason
    assert worker.alive


async def test_a_worker_that_is_frozen_for_longer_than_its_lease_cannot_spoil_the_outcome(
    own_dispatcher: Dispatcher, own_settings: Settings, start_worker: StartWorker, marks: Marks, label: str
) -> None:
    frozen = start_worker(own_settings)
    job = await own_dispatcher.dispatch(functions.hold.call(label, 1))
    await soon(lambda: marks.started(label) == 1)
    frozen.signal(signal.SIGSTOP)
    start_worker(own_settings)
    assert await job.outcome(LONG) == Succeeded(value="held", attempts=2)

    frozen.signal(signal.SIGCONT)
    stale = await own_dispatcher.dispatch(functions.add.call(1))
    assert await stale.result(LONG) == 1
    # The first attempt ends too, or is told that its lease is lost; what it says does not count.
    frozen.wait_for_log(f"{job.id}] ignored")
    assert (await job.status()).attempt == 2
    assert await (await own_dispatcher.handle(job.id)).outcome(LONG) == Succeeded(value="held", attempts=2)


# --- producers and messages


async def test_a_producer_killed_between_accepting_and_publishing_loses_nothing(
    dispatcher: Dispatcher, settings: Settings, marks: Marks, label: str
) -> None:
    command = [sys.executable, "-m", "tests.acceptance.lost_producer", label]
    environment = {**os.environ, **environment_of(settings)}
    ended = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b""), ended.stderr.decode()

    # The same key finds the job of the dead producer.
    job = await dispatcher.dispatch(functions.hold.call(label, 0), idempotency_key=label)
    assert job.repeated
    assert await job.result(LONG) == "held"
    assert marks.started(label) == 1


async def test_messages_deleted_or_doubled_by_hand_change_nothing(
    own_dispatcher: Dispatcher,
    own_settings: Settings,
    own_client: redis.Redis,
    start_worker: StartWorker,
    marks: Marks,
    label: str,
) -> None:
    labels = [f"{label}-{number}" for number in range(8)]
    jobs = [await own_dispatcher.dispatch(functions.hold.call(each, 0)) for each in labels]
    lonely = await own_dispatcher.dispatch(functions.idle.call(7))
    assert await own_dispatcher.flush()
    messages = own_client.lrange("default", 0, -1)
    assert len(messages) == 8
    # One in the middle is gone, one is there six times, and the only message of another queue is gone with its queue.
    assert own_client.lrem("default", 1, messages[4]) == 1
    own_client.lpush("default", *[messages[2]] * 5)
    assert own_client.delete("idle") == 1

    start_worker(own_settings)
    for job in jobs:
        assert await job.outcome(LONG) == Succeeded(value="held", attempts=1)
    assert await lonely.outcome(LONG) == Succeeded(value=7, attempts=1)
    own_client.lpush("default", *messages)
    await soon(lambda: own_client.llen("default") == 0)
    last = await own_dispatcher.dispatch(functions.add.call(1))
    assert await last.result(LONG) == 1
    assert [marks.started(each) for each in labels] == [1] * 8


async def test_a_second_wake_up_of_a_running_call_does_not_start_it_twice(
    dispatcher: Dispatcher, client: redis.Redis, marks: Marks, label: str
) -> None:
    kept: list[bytes] = []
    with client.monitor() as monitor:
        job = await dispatcher.dispatch(functions.hold.call(label, 1.5))
        await asyncio.to_thread(lambda: kept.append(_published(monitor, job.id)))
    await soon(lambda: marks.started(label) == 1)
    client.lpush("default", *kept * 3)
    assert await job.outcome(LONG) == Succeeded(value="held", attempts=1)
    assert await (await dispatcher.dispatch(functions.add.call(1))).result(LONG) == 1
    assert marks.started(label) == 1


def _published(monitor: redis.client.Monitor, job_id: str) -> bytes:
    """The wake-up of a job, as it passes."""
    for command in monitor.listen():
        word, _, rest = command["command"].partition(" ")
        if word.upper() == "LPUSH" and job_id in rest:
            return rest.partition(" ")[2].encode()
    raise AssertionError
