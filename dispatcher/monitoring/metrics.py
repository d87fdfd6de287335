"""Prometheus metrics: what the ledger knows, read when Prometheus asks. docs/monitoring.md lists them.

Every node that serves them tells of the whole fleet: scrape one, or several and take the highest. Importing this module
raises a SettingsError where prometheus-client is not installed.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Final, Protocol
from wsgiref.simple_server import WSGIServer

from dispatcher.errors import SettingsError
from dispatcher.extras import install_command
from dispatcher.settings import Settings
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.fleet import FleetCounts, fleet_command
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.nodes import NodeReport, nodes_command
from dispatcher.transport.replies import QueueState

try:
    from prometheus_client import CollectorRegistry, Metric, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    msg = f"metrics need prometheus-client: {install_command('dashboard')}"
    raise SettingsError(msg) from error

logger = logging.getLogger(__name__)

#: Nobody but this machine may ask.
HOST: Final = "127.0.0.1"

#: The ledger's counters without a label: its name there, the metric's name, what it counts.
_COUNTERS: Final = (
    ("accepted", "accepted", "Jobs accepted into the ledger."),
    ("repeated", "repeated", "Dispatches whose idempotency key named a job that existed already."),
    ("attempts", "attempts", "Attempts started by workers."),
    ("retries", "retries", "Attempts that failed and will be followed by another."),
    ("lost", "lost_attempts", "Attempts whose worker fell silent until its lease ended."),
    ("stale", "stale_settlements", "Outcomes that did not count, because another attempt had the job by then."),
    ("garbage", "garbage_messages", "Messages on a queue that were none, kept as dead letters."),
    ("replayed", "replayed", "Dead letters made live again."),
    ("feedback", "feedback", "Feedbacks on selections that were logged, to be learnt from."),
    ("feedback_refused", "feedback_refused", "Feedbacks refused, because their source had said enough for a minute."),
    ("invalidations", "invalidations", "Invalidations of kept results."),
    ("sweeps", "sweeps", "Looks at what is due, by all nodes together."),
)
#: Those with one: the first part of the counter's name there, the metric's name, the label, what it counts.
_LABELLED: Final = (
    ("refused", "refused", "reason", "Dispatches that the ledger refused."),
    ("republished", "republished", "reason", "Wake-ups published again, by why they had to be."),
)


class Sources(Protocol):
    """Where the numbers come from."""

    def read(self) -> tuple[FleetCounts, list[QueueState], list[NodeReport]]:
        """All of them, as they are now.

        Raises:
            SERVER_FAILURES: the server is away or refuses.
        """
        ...


class LedgerSources:
    """Reads them from the ledger, in three round trips."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._commands = Commands(settings)
        self._ledger = Ledger(connect(url, role="metrics", max_connections=2))

    def read(self) -> tuple[FleetCounts, list[QueueState], list[NodeReport]]:
        keys = self._commands.keys
        return (
            self._ledger.run(fleet_command(keys)),
            self._ledger.run(self._commands.queues()),
            self._ledger.run(nodes_command(keys)),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._ledger.client.close()


class LedgerCollector(Collector):
    """A Prometheus collector; `prometheus_client.REGISTRY.register(…)` adds it to the metrics of a program of yours."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._was_up = True

    def describe(self) -> Iterable[Metric]:
        """Nothing: else registering would ask the server."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now; only `dispatcher_up 0` while the server does not say."""
        try:
            counts, queues, nodes = self._sources.read()
        except SERVER_FAILURES as error:
            if self._was_up:
                logger.warning("metrics_unread: %s", error, extra={"reason": str(error)})
            self._was_up = False
            yield _up(0)
            return
        self._was_up = True
        yield _up(1)
        yield from _jobs(counts)
        yield from _queues(queues)
        yield from _counters(counts.counters)
        yield _by_function("outcome", "outcomes", "state", "Calls that ended, by how.", counts.counters)
        yield _by_function("cache", "cache_lookups", "result", "Calls whose function keeps results.", counts.counters)
        yield from _nodes(nodes)


def _up(value: int) -> Metric:
    return GaugeMetricFamily("dispatcher_up", "Whether the ledger could be read for this scrape.", value)


def _jobs(counts: FleetCounts) -> Iterator[Metric]:
    yield GaugeMetricFamily("dispatcher_unsettled_jobs", "Accepted jobs without an outcome.", counts.unsettled)
    yield GaugeMetricFamily("dispatcher_running_jobs", "Jobs that a worker holds.", counts.running)
    yield GaugeMetricFamily("dispatcher_dead_letters", "Jobs given up and garbage, kept.", counts.dead_letters)


def _queues(queues: Iterable[QueueState]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("dispatcher_waiting_jobs", "Jobs that wait in a queue.", labels=("queue",))
    oldest = GaugeMetricFamily(
        "dispatcher_oldest_waiting_seconds",
        "Since the first job in a queue was accepted; 0 when none waits.",
        labels=("queue",),
    )
    for queue in queues:
        waiting.add_metric((queue.name,), queue.waiting)
        oldest.add_metric((queue.name,), queue.oldest.total_seconds())
    yield waiting
    yield oldest


def _counters(counters: Mapping[str, int]) -> Iterator[Metric]:
    for key, name, text in _COUNTERS:
        yield CounterMetricFamily(f"dispatcher_{name}", text, counters.get(key, 0))
    for key, name, label, text in _LABELLED:
        family = CounterMetricFamily(f"dispatcher_{name}", text, labels=(label,))
        for counter, value in counters.items():
            first, _, rest = counter.partition(":")
            if first == key and rest:
                family.add_metric((rest,), value)
        yield family


def _by_function(key: str, name: str, label: str, text: str, counters: Mapping[str, int]) -> Metric:
    """Counters whose names there are `key:<the label's value>:<function>`."""
    family = CounterMetricFamily(f"dispatcher_{name}", text, labels=("function", label))
    for counter, value in counters.items():
        first, _, rest = counter.partition(":")
        if first == key:
            how, _, function = rest.partition(":")
            family.add_metric((function, how), value)
    return family


def _nodes(nodes: Iterable[NodeReport]) -> Iterator[Metric]:
    nodes = list(nodes)
    yield GaugeMetricFamily("dispatcher_nodes", "Worker nodes that are up.", len(nodes))
    slots = GaugeMetricFamily("dispatcher_node_concurrency", "Jobs that a node can run at once.", labels=("node",))
    age = GaugeMetricFamily("dispatcher_node_report_age_seconds", "Since a node last reported.", labels=("node",))
    for node in nodes:
        slots.add_metric((node.hostname,), node.concurrency)
        age.add_metric((node.hostname,), node.age / timedelta(seconds=1))
    yield slots
    yield age


class MetricsServer:
    """Serves the metrics on a port of loopback, from a thread of its own."""

    def __init__(self, server: WSGIServer, thread: threading.Thread, sources: LedgerSources) -> None:
        self._server = server
        self._thread = thread
        self._sources = sources

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def stop(self) -> None:
        """End the thread, and let go of the port and the connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._sources.close()


def serve_metrics(settings: Settings, url: str, port: int) -> MetricsServer:
    """Serve the metrics on `http://127.0.0.1:port/metrics`, until `stop` or the end of the process.

    Args:
        settings: the namespace.
        url: the server that holds the ledger. It need not be up.
        port: 0 for any free one.

    Raises:
        OSError: another process has the port, as another node on this machine does.
    """
    sources = LedgerSources(settings, url)
    registry = CollectorRegistry()
    registry.register(LedgerCollector(sources))
    try:
        server, thread = start_http_server(port, addr=HOST, registry=registry)
    except OSError:
        sources.close()
        raise
    return MetricsServer(server, thread, sources)
