"""Prometheus metrics of a real node, before and after real calls."""

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.request import ProxyHandler, build_opener

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatcher import Dispatcher, Settings
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance.functions import add, fail, registry
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, Worker, eventually, soon

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that a test may kill."""
    with EmbeddedServer(tmp_path_factory.mktemp("measured")) as running:
        yield running


@pytest.fixture
def measured(own_server: EmbeddedServer, label: str) -> Settings:
    """A ledger in which nothing has happened, and a port for its figures."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings.load(url=own_server.url, namespace=f"measured-{label}", metrics_port=port, **QUICK_SETTINGS)


def scrape(settings: Settings) -> Samples:
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{settings.metrics_port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


async def test_what_happens_is_counted(measured: Settings, start_worker: Callable[..., Worker]) -> None:
    worker = start_worker(measured)
    before = scrape(measured)
    async with Dispatcher(registry, settings=measured) as dispatcher:
        for handle in [await dispatcher.dispatch(add.call(a=number)) for number in range(3)]:
            await handle.outcome(LONG)
        await (await dispatcher.dispatch(fail.call())).outcome(LONG)
        waiting = await dispatcher.dispatch(add.call(a=1), delay=timedelta(hours=1))
        after = scrape(measured)
        await waiting.cancel()

    def grown(name: str, **labels: str) -> float:
        return (value(after, name, **labels) or 0) - (value(before, name, **labels) or 0)

    assert grown("dispatcher_accepted_total") == 5
    assert grown("dispatcher_attempts_total") == 4
    assert grown("dispatcher_outcomes_total", function="add", state="succeeded") == 3
    assert grown("dispatcher_outcomes_total", function="fail", state="failed") == 1
    assert grown("dispatcher_dead_letters") == 1
    assert grown("dispatcher_unsettled_jobs") == 1
    await soon(
        lambda: (
            (value(scrape(measured), "dispatcher_sweeps_total") or 0) > (value(before, "dispatcher_sweeps_total") or 0)
        )
    )
    assert value(after, "dispatcher_running_jobs") == 0
    assert value(after, "dispatcher_waiting_jobs", queue="default") == 0
    assert value(after, "dispatcher_up") == 1
    assert value(after, "dispatcher_node_concurrency", node=f"{worker.log.stem}@test") == 2


async def test_jobs_that_wait_are_seen_with_their_age(measured: Settings, start_worker: Callable[..., Worker]) -> None:
    start_worker(measured, "-Q", "default.bulk")  # nobody takes what waits in `default`
    async with Dispatcher(registry, settings=measured) as dispatcher:
        handles = [await dispatcher.dispatch(add.call(a=number)) for number in range(4)]
        assert value(scrape(measured), "dispatcher_waiting_jobs", queue="default") == 4
        await soon(lambda: (value(scrape(measured), "dispatcher_oldest_waiting_seconds", queue="default") or 0) > 0.5)
        for handle in handles:
            await handle.cancel()
    assert value(scrape(measured), "dispatcher_waiting_jobs", queue="default") == 0
    assert value(scrape(measured), "dispatcher_oldest_waiting_seconds", queue="default") == 0


async def test_one_node_of_a_machine_serves_and_the_others_work_all_the_same(
    measured: Settings, start_worker: Callable[..., Worker]
) -> None:
    first, second = start_worker(measured), start_worker(measured)
    eventually(lambda: "metrics_not_served" in second.log.read_text())
    eventually(lambda: value(scrape(measured), "dispatcher_nodes") == 2)
    first.stop()
    async with Dispatcher(registry, settings=measured) as dispatcher:
        assert await (await dispatcher.dispatch(add.call(a=1, b=1))).result(LONG) == 2


def test_a_server_that_is_away_is_a_metric_not_an_error(
    own_server: EmbeddedServer, measured: Settings, start_worker: Callable[..., Worker]
) -> None:
    start_worker(measured)
    assert value(scrape(measured), "dispatcher_up") == 1
    own_server.kill()
    assert scrape(measured) == {("dispatcher_up", frozenset()): 0}
    own_server.restart()
    eventually(lambda: value(scrape(measured), "dispatcher_up") == 1)
