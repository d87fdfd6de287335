"""Celery's other pools: a function that does not stop is settled in time, and harms nothing but its own place."""

from collections.abc import Callable

import pytest

from dispatcher import Dispatcher, Failed, Settings
from dispatcher.model.outcome import ErrorKind
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, Marks, Worker, soon


@pytest.fixture
def own(server: EmbeddedServer, label: str) -> Settings:
    return Settings(url=server.url, namespace=f"pool-{label}", **QUICK_SETTINGS)


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio"])
async def test_a_function_that_does_not_stop_ends_no_process(
    pool: str, own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
) -> None:
    worker = start_worker(own, "--pool", pool, "-c", "2")
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        job = await dispatcher.dispatch(functions.swallow_timeout.call(label, 4))
        outcome = await job.outcome(LONG)
        assert isinstance(outcome, Failed)
        assert outcome.error.kind is ErrorKind.TIMEOUT
        assert marks.count(label, "end") == 0, "settled while the function still runs"
        assert await (await dispatcher.dispatch(functions.add.call(1, 2))).result(LONG) == 3
        assert await (await dispatcher.dispatch(functions.add_async.call(1, 2))).result(LONG) == 3
        await soon(lambda: marks.count(label, "end") == 1)
        assert marks.pid(label) == worker.pid, "it ran in the node's only process"
        assert worker.alive
        assert await job.outcome() == outcome, "what it returned in the end counts no more"


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio"])
async def test_coroutines_are_stopped_in_time(
    pool: str, own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
) -> None:
    start_worker(own, "--pool", pool, "-c", "2")
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        job = await dispatcher.dispatch(functions.hold_async.call(label, 60))
        await soon(lambda: marks.started(label) == 1)
        assert await job.cancel("enough")
        assert (await job.outcome(LONG)).reason == "enough"  # type: ignore[union-attr]
        assert marks.count(label, "end") == 0
