"""Prometheus metrics, from numbers that the test makes up."""

import logging
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from dispatcher.errors import SettingsError
from dispatcher.extras import install_command
from dispatcher.monitoring.metrics import LedgerCollector
from dispatcher.transport.fleet import FleetCounts
from dispatcher.transport.nodes import NodeReport
from dispatcher.transport.replies import QueueState

COUNTS = FleetCounts(
    unsettled=12,
    running=3,
    dead_letters=2,
    counters={
        "accepted": 20,
        "attempts": 25,
        "retries": 4,
        "lost": 1,
        "refused:backlog_full": 6,
        "republished:lost_message": 2,
        "republished:due": 5,
        "outcome:succeeded:send_invoice": 7,
        "outcome:failed:send_invoice": 1,
        "outcome:succeeded:text.slugify": 3,
        "cache:hit:send_invoice": 5,
        "cache:miss:send_invoice": 2,
        "invalidations": 3,
        "a_counter_of_a_later_version": 9,
    },
)
QUEUES = [
    QueueState(name="default", waiting=9, started=100, oldest=timedelta(milliseconds=2500)),
    QueueState(name="default.bulk", waiting=0, started=4, oldest=timedelta(0)),
]
NODE = NodeReport(
    hostname="worker1@host",
    pid=77,
    pool="prefork",
    concurrency=8,
    active=3,
    queues=("default",),
    fingerprint="abc",
    versions={"celery": "5.7.0"},
    up_for=timedelta(minutes=5),
    age=timedelta(seconds=1.5),
)


class Sources:
    """Gives the numbers above, or fails as the test says."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def read(self) -> tuple[FleetCounts, list[QueueState], list[NodeReport]]:
        if self.error is not None:
            raise self.error
        return COUNTS, QUEUES, [NODE]


@pytest.fixture
def sources() -> Sources:
    return Sources()


@pytest.fixture
def scrape(sources: Sources) -> Callable[[], list[Sample]]:
    """What Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(sources))

    def read() -> list[Sample]:
        text = generate_latest(registry).decode()
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    return read


def value(samples: list[Sample], name: str, **labels: str) -> float:
    (found,) = (sample.value for sample in samples if sample.name == name and sample.labels == labels)
    return found


def test_a_queue_tells_how_much_waits_in_it_and_since_when(scrape: Callable[[], list[Sample]]) -> None:
    samples = scrape()
    assert value(samples, "dispatcher_waiting_jobs", queue="default") == 9
    assert value(samples, "dispatcher_oldest_waiting_seconds", queue="default") == 2.5
    assert value(samples, "dispatcher_waiting_jobs", queue="default.bulk") == 0


def test_jobs_are_counted_by_where_they_are(scrape: Callable[[], list[Sample]]) -> None:
    samples = scrape()
    assert value(samples, "dispatcher_unsettled_jobs") == 12
    assert value(samples, "dispatcher_running_jobs") == 3
    assert value(samples, "dispatcher_dead_letters") == 2


def test_outcomes_are_counted_by_function_and_state(scrape: Callable[[], list[Sample]]) -> None:
    samples = scrape()
    assert value(samples, "dispatcher_outcomes_total", function="send_invoice", state="succeeded") == 7
    assert value(samples, "dispatcher_outcomes_total", function="send_invoice", state="failed") == 1
    assert value(samples, "dispatcher_outcomes_total", function="text.slugify", state="succeeded") == 3


def test_lookups_of_kept_results_are_counted_by_function_and_result(scrape: Callable[[], list[Sample]]) -> None:
    samples = scrape()
    assert value(samples, "dispatcher_cache_lookups_total", function="send_invoice", result="hit") == 5
    assert value(samples, "dispatcher_cache_lookups_total", function="send_invoice", result="miss") == 2
    assert value(samples, "dispatcher_invalidations_total") == 3


def test_a_counter_that_never_counted_is_zero_not_missing(scrape: Callable[[], list[Sample]]) -> None:
    samples = scrape()
    assert value(samples, "dispatcher_accepted_total") == 20
    assert value(samples, "dispatcher_stale_settlements_total") == 0
    assert value(samples, "dispatcher_sweeps_total") == 0


def test_refusals_and_republished_wake_ups_say_why(scrape: Callable[[], list[Sample]]) -> None:
    samples = scrape()
    assert value(samples, "dispatcher_refused_total", reason="backlog_full") == 6
    assert value(samples, "dispatcher_republished_total", reason="lost_message") == 2


def test_nodes_are_counted_and_named(scrape: Callable[[], list[Sample]]) -> None:
    samples = scrape()
    assert value(samples, "dispatcher_nodes") == 1
    assert value(samples, "dispatcher_node_concurrency", node="worker1@host") == 8
    assert value(samples, "dispatcher_node_report_age_seconds", node="worker1@host") == 1.5


def test_every_metric_is_ours_by_name_and_says_what_it_is(sources: Sources) -> None:
    families = list(LedgerCollector(sources).collect())
    assert all(family.name.startswith("dispatcher_") for family in families)
    assert all(family.documentation.endswith(".") for family in families)
    assert len({family.name for family in families}) == len(families)


@pytest.mark.parametrize("error", [redis.ConnectionError("gone"), redis.TimeoutError("slow"), OSError("no route")])
def test_a_server_that_is_away_is_reported_and_breaks_nothing(
    sources: Sources, scrape: Callable[[], list[Sample]], error: Exception
) -> None:
    sources.error = error
    assert [(sample.name, sample.value) for sample in scrape()] == [("dispatcher_up", 0)]
    sources.error = None
    assert value(scrape(), "dispatcher_up") == 1


def test_an_outage_is_logged_once(
    sources: Sources, scrape: Callable[[], list[Sample]], caplog: pytest.LogCaptureFixture
) -> None:
    sources.error = redis.ConnectionError("gone")
    with caplog.at_level(logging.WARNING):
        scrape()
        scrape()
        assert [record.getMessage() for record in caplog.records] == ["metrics_unread: gone"]
        sources.error = None
        scrape()
        sources.error = redis.ConnectionError("gone again")
        scrape()
    assert [record.getMessage() for record in caplog.records] == ["metrics_unread: gone", "metrics_unread: gone again"]


def test_registering_asks_the_server_nothing(sources: Sources) -> None:
    sources.error = AssertionError("the server was asked")
    CollectorRegistry().register(LedgerCollector(sources))


def test_without_prometheus_client_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "dispatcher.monitoring.metrics")
    with pytest.raises(SettingsError, match=re.escape(install_command("dashboard"))):
        import_module("dispatcher.monitoring.metrics")
