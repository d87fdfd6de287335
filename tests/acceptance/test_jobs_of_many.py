"""Jobs of many calls: at once where the function is a coroutine, and never twice what was settled before a kill."""

import asyncio
import time
from collections.abc import Callable

import pytest

from dispatcher import Dispatcher, Failed, Settings, Succeeded
from dispatcher.model.outcome import ErrorKind
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, Marks, Worker, soon

POOLS = pytest.mark.parametrize("pool", ["prefork", "asyncio", "threads"])


@pytest.fixture
def own(server: EmbeddedServer, label: str) -> Settings:
    return Settings(url=server.url, namespace=f"many-{label}", **QUICK_SETTINGS)


@POOLS
async def test_the_calls_of_a_coroutines_job_run_at_once(
    own: Settings, start_worker: Callable[..., Worker], label: str, pool: str
) -> None:
    start_worker(own, "--pool", pool, "-c", "2")
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        began = time.monotonic()
        job = await dispatcher.dispatch_job([functions.hold_async.call(f"{label}-{n}", 1) for n in range(60)])
        outcomes = await job.outcomes(LONG, calls=60)
        assert outcomes == tuple(Succeeded(value="held", attempts=1) for _ in range(60))
        assert time.monotonic() - began < 15, "one after the other takes a minute"


@POOLS
async def test_each_call_has_its_own_time(
    own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str, pool: str
) -> None:
    start_worker(own, "--pool", pool, "-c", "2")
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        seconds = [60 if n % 2 else 0 for n in range(6)]
        job = await dispatcher.dispatch_job([functions.wait_briefly.call(label, wait) for wait in seconds])
        outcomes = await job.outcomes(LONG, calls=6)
        for wait, outcome in zip(seconds, outcomes, strict=True):
            if wait:
                assert isinstance(outcome, Failed)
                assert outcome.error.kind is ErrorKind.TIMEOUT
            else:
                assert isinstance(outcome, Succeeded)
        assert marks.started(label) == 6


@POOLS
async def test_one_that_does_not_stop_holds_up_none_of_the_others(
    own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str, pool: str
) -> None:
    worker = start_worker(own, "--pool", pool, "-c", "2")
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        seconds = [0.1, 5.0, 1.2]
        job = await dispatcher.dispatch_job([functions.swallow_timeout_async.call(label, wait) for wait in seconds])
        outcomes = await job.outcomes(LONG, calls=3)
        assert isinstance(outcomes[0], Succeeded)
        assert isinstance(outcomes[1], Failed)
        assert outcomes[1].error.kind is ErrorKind.TIMEOUT
        assert isinstance(outcomes[2], Succeeded), "it swallowed its timeout, but ended within its grace"
        assert await (await dispatcher.dispatch(functions.add.call(1, 2))).result(LONG) == 3
        assert worker.alive


@pytest.mark.parametrize(
    ("pool", "function"),
    [("prefork", functions.hold), ("prefork", functions.hold_async), ("asyncio", functions.hold_async)],
)
async def test_what_was_settled_before_a_kill_ran_once(
    own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str, pool: str, function
) -> None:
    worker = start_worker(own, "--pool", pool, "-c", "2")
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        quick = [function.call(f"{label}-{n}", 0.0) for n in range(10)]
        slow = [function.call(f"{label}-slow", 60.0)]
        rest = [functions.hold.call(f"{label}-rest", 0.0)] if function is functions.hold else []
        job = await dispatcher.dispatch_job([*quick, *slow, *rest])
        await soon(lambda: marks.started(f"{label}-slow") == 1)
        await soon(lambda: len(saved_of(dispatcher, job.id)) > 0)
        worker.kill()
        start_worker(own, "--pool", pool, "-c", "2")
        await soon(lambda: marks.started(f"{label}-slow") == 2)
        assert [marks.started(f"{label}-{n}") for n in range(10)] == [1] * 10
        assert await job.cancel("seen enough")
        outcomes = await job.outcomes(LONG, calls=len(quick) + len(slow) + len(rest))
        assert [type(outcome).__name__ for outcome in outcomes[:11]] == ["Succeeded"] * 10 + ["Cancelled"]


async def test_many_kills_lose_nothing_and_repeat_only_what_was_under_way(
    own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
) -> None:
    """Each attempt gets a second or two of work done before it is killed; the sixth kill would find nothing left."""
    settings = own.model_copy(update={"max_lost_attempts": 20})
    async with Dispatcher(functions.registry, settings=settings) as dispatcher:
        calls = [functions.hold.call(f"{label}-{n}", 0.2) for n in range(30)]
        job = await dispatcher.dispatch_job(calls)
        for _ in range(3):
            worker = start_worker(settings, "--pool", "prefork", "-c", "1")
            known = len(saved_of(dispatcher, job.id))
            await soon(lambda known=known: len(saved_of(dispatcher, job.id)) > known)
            worker.kill()
        start_worker(settings, "--pool", "prefork", "-c", "1")
        outcomes = await job.outcomes(LONG, calls=30)
        assert outcomes == tuple(Succeeded(value="held", attempts=outcomes[0].attempts) for _ in range(30))
        runs = [marks.started(f"{label}-{n}") for n in range(30)]
        assert min(runs) == 1
        # What ended in the second before a kill may not have been written yet.
        assert sum(runs) - 30 <= 3 * 8


def saved_of(dispatcher: Dispatcher, job_id: str) -> bytes:
    """What the ledger holds of the calls that have ended."""
    import redis

    with redis.Redis.from_url(dispatcher.settings.url.get_secret_value()) as client:
        return client.hget(dispatcher.commands.keys.job(job_id), "done") or b""


async def test_a_server_that_forgot_its_scripts_keeps_what_has_ended(
    own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
) -> None:
    import redis

    start_worker(own, "--pool", "asyncio", "-c", "2")
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        calls = [functions.hold_async.call(f"{label}-{n}", wait) for n, wait in enumerate([0.0, 4.0])]
        job = await dispatcher.dispatch_job(calls)
        with redis.Redis.from_url(own.url.get_secret_value()) as client:
            client.script_flush()
        await soon(lambda: len(saved_of(dispatcher, job.id)) > 0)
        await asyncio.sleep(0)
        assert all(isinstance(outcome, Succeeded) for outcome in await job.outcomes(LONG, calls=2))
