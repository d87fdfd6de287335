"""Workers started as `python -m dispatcher.node`: what they left out when they began is there when it is needed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery, chord

from dispatcher import Dispatcher, Settings
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, PATIENCE_SECONDS, QUICK_SETTINGS, Worker


@pytest.fixture
def own(server: EmbeddedServer, label: str) -> Settings:
    return Settings(url=server.url, namespace=f"node-{label}", **QUICK_SETTINGS)


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "asyncio"])
async def test_calls_of_both_kinds_run(pool: str, own: Settings, start_worker: Callable[..., Worker]) -> None:
    start_worker(own, "--pool", pool, by="dispatcher.node")
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        for function in (functions.add, functions.add_async):
            assert await (await dispatcher.dispatch(function.call(1, 2))).result(LONG) == 3
            outcomes = [outcome async for outcome in dispatcher.map(function, [(n, 1) for n in range(50)])]
            assert len(outcomes) == 50


def test_plain_celery_calls_run_with_all_that_celery_offers(
    own_settings: Settings, start_worker: Callable[..., Worker]
) -> None:
    start_worker(own_settings, "--pool=prefork", by="dispatcher.node")
    url = own_settings.url.get_secret_value()  # type: ignore[union-attr]
    with Celery("plain", broker=url, backend=url, set_as_current=False) as app:
        add = app.signature(functions.add.name)
        eta = datetime.now(UTC) + timedelta(seconds=0.5)
        later = add.clone((1, 2)).apply_async(eta=eta, expires=eta + timedelta(minutes=1))
        assert later.get(timeout=PATIENCE_SECONDS) == 3
        assert datetime.now(UTC) >= eta
        joined = chord([add.clone((n, n)) for n in range(3)], app.signature(functions.total.name))
        assert joined.apply_async().get(timeout=PATIENCE_SECONDS) == 6
