"""The worker nodes that are up: each reports itself every few seconds, and is forgotten when it falls silent."""

import json
import logging
import os
import platform
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError
from typing import Any, Final

import celery
import redis

from dispatcher.clock import Clock
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.keys import Keys
from dispatcher.transport.lean_imports import version
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.script import Command, milliseconds, text_of

logger = logging.getLogger(__name__)

#: Between two reports.
REPORT_INTERVAL: Final = timedelta(seconds=5)
#: A node that has not reported for so long is down: several reports must be lost in a row.
SILENCE: Final = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReport:
    """What a worker node says of itself."""

    #: Celery's name of it, as `worker1@host`.
    hostname: str
    #: Of the node's main process.
    pid: int
    #: Celery's name of the pool: prefork, threads, solo, …
    pool: str
    #: Jobs it can run at once.
    concurrency: int
    #: Messages it has in hand: those that run, and those that wait for a free process.
    active: int
    queues: tuple[str, ...]
    #: `Registry.fingerprint`: nodes that differ run different functions.
    fingerprint: str
    #: By name: dispatcher, celery, python.
    versions: dict[str, str]
    #: How long it had been up when it reported.
    up_for: timedelta
    #: Since it reported, by the server's clock.
    age: timedelta = timedelta(0)


def report_command(keys: Keys, report: NodeReport) -> Command[str]:
    """Tell the ledger that a node is up."""
    fields: dict[str, str | int] = {
        "pid": report.pid,
        "pool": report.pool,
        "concurrency": report.concurrency,
        "active": report.active,
        "queues": json.dumps(report.queues),
        "fingerprint": report.fingerprint,
        "versions": json.dumps(report.versions),
        "up_ms": milliseconds(report.up_for),
    }
    args = (report.hostname, milliseconds(SILENCE), *(part for pair in fields.items() for part in pair))
    return Command("report", (keys.prefix,), args, text_of)


def farewell_command(keys: Keys, hostname: str) -> Command[str]:
    """Tell the ledger that a node ends."""
    return Command("report", (keys.prefix,), (hostname, milliseconds(SILENCE)), text_of)


def nodes_command(keys: Keys) -> Command[list[NodeReport]]:
    """Ask which nodes are up, by their names."""

    def read(reply: list[tuple[bytes, bytes, list[bytes]]]) -> list[NodeReport]:
        nodes = [_read(name, age, fields) for name, age, fields in reply]
        return sorted(nodes, key=lambda node: node.hostname)

    return Command("nodes", (keys.prefix,), (milliseconds(SILENCE),), read)


def read_nodes(client: redis.Redis, keys: Keys) -> list[NodeReport]:
    """The worker nodes that are up, by name.

    Raises:
        redis.RedisError: as redis-py raised it.
    """
    return Ledger(client).run(nodes_command(keys))


def describe_node(consumer: Any, fingerprint: str) -> NodeReport:  # noqa: ANN401 - Celery is not typed
    """What this worker node is, as seen from its main process when it is ready.

    Args:
        consumer: Celery's, as `worker_ready` sends it.
        fingerprint: of the registry.
    """
    pool = type(consumer.pool)
    return NodeReport(
        hostname=consumer.hostname,
        pid=os.getpid(),
        pool=pool.__module__.rpartition(".")[2] if pool.__module__.startswith("celery.") else pool.__qualname__,
        concurrency=int(consumer.pool.num_processes),
        active=0,
        queues=tuple(consumer.app.amqp.queues.consume_from),
        fingerprint=fingerprint,
        versions={"dispatcher": _own_version(), "celery": celery.__version__, "python": platform.python_version()},
        up_for=timedelta(0),
    )


class NodeReporter:
    """A thread in a worker node's main process that reports it until `stop`.

    Args:
        ledger: safe to share with other threads of the process.
        keys: of the namespace.
        node: as it is when it is ready.
        clock: for how long it has been up.
    """

    def __init__(self, ledger: Ledger, keys: Keys, node: NodeReport, clock: Clock) -> None:
        self._ledger = ledger
        self._keys = keys
        self._node = node
        self._clock = clock
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher-reporter", daemon=True)

    def start(self) -> None:
        """Report now, and then every few seconds."""
        self._thread.start()

    def stop(self) -> None:
        """Say that the node ends. Waits at most a few seconds for a report in progress."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        from celery.worker import state as celery_state  # noqa: PLC0415 - producers ask for nodes, and run none

        ready_at = self._clock.monotonic()
        while True:
            up_for = timedelta(seconds=self._clock.monotonic() - ready_at)
            report = replace(self._node, active=len(celery_state.reserved_requests), up_for=up_for)
            self._send(report_command(self._keys, report))
            if self._ending.wait(REPORT_INTERVAL.total_seconds()):
                break
        self._send(farewell_command(self._keys, self._node.hostname))

    def _send(self, command: Command[str]) -> None:
        try:
            self._ledger.run(command)
        except SERVER_FAILURES as error:
            # The server is away, which others say louder.
            logger.debug("report_failed: %s", error, extra={"reason": str(error)})


def _read(name: bytes, age: bytes, flat: list[bytes]) -> NodeReport:
    texts = [text_of(part) for part in flat]
    fields = dict(zip(texts[::2], texts[1::2], strict=True))
    return NodeReport(
        hostname=text_of(name),
        pid=int(fields["pid"]),
        pool=fields["pool"],
        concurrency=int(fields["concurrency"]),
        active=int(fields["active"]),
        queues=tuple(json.loads(fields["queues"])),
        fingerprint=fields["fingerprint"],
        versions=json.loads(fields["versions"]),
        up_for=timedelta(milliseconds=int(fields["up_ms"])),
        age=timedelta(milliseconds=int(age)),
    )


def _own_version() -> str:
    try:
        return version("function-dispatcher")
    except PackageNotFoundError:
        return "unknown"
