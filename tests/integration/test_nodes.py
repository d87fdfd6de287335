"""Worker nodes that report themselves."""

import threading
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest
import redis

from dispatcher.clock import SystemClock
from dispatcher.transport import nodes as module
from dispatcher.transport.keys import Keys
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.nodes import SILENCE, NodeReport, NodeReporter, farewell_command, read_nodes, report_command
from dispatcher.transport.script import Command

T = TypeVar("T")

NODE = NodeReport(
    hostname="worker1@host",
    pid=77,
    pool="prefork",
    concurrency=8,
    active=3,
    queues=("default", "default.high"),
    fingerprint="abc",
    versions={"celery": "5.7.0", "python": "3.12.1"},
    up_for=timedelta(minutes=5),
)


@pytest.fixture
def keys(namespace: str) -> Keys:
    return Keys(namespace)


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    return Ledger(client)


def test_a_report_is_read_as_it_was_made(client: redis.Redis, ledger: Ledger, keys: Keys) -> None:
    ledger.run(report_command(keys, NODE))
    (read,) = read_nodes(client, keys)
    assert replace(read, age=timedelta(0)) == NODE
    assert timedelta(0) <= read.age < timedelta(seconds=20)


def test_the_latest_report_counts(client: redis.Redis, ledger: Ledger, keys: Keys) -> None:
    ledger.run(report_command(keys, NODE))
    ledger.run(report_command(keys, replace(NODE, pid=78, active=0)))
    (read,) = read_nodes(client, keys)
    assert (read.pid, read.active) == (78, 0)


def test_nodes_are_listed_by_name_and_each_namespace_has_its_own(
    client: redis.Redis, ledger: Ledger, keys: Keys
) -> None:
    for name in ("b@host", "a@host"):
        ledger.run(report_command(keys, replace(NODE, hostname=name)))
    assert [node.hostname for node in read_nodes(client, keys)] == ["a@host", "b@host"]
    assert read_nodes(client, Keys(f"{keys.namespace}-other")) == []


def test_a_node_that_says_farewell_is_gone_at_once(client: redis.Redis, ledger: Ledger, keys: Keys) -> None:
    ledger.run(report_command(keys, NODE))
    ledger.run(farewell_command(keys, NODE.hostname))
    assert read_nodes(client, keys) == []
    assert client.exists(keys.node(NODE.hostname), keys.nodes) == 0


def test_a_silent_node_is_forgotten(client: redis.Redis, ledger: Ledger, keys: Keys) -> None:
    ledger.run(report_command(keys, NODE))
    seconds, _ = client.time()
    client.zadd(keys.nodes, {NODE.hostname: (seconds - SILENCE.total_seconds() - 1) * 1000})
    assert read_nodes(client, keys) == []
    ledger.run(report_command(keys, replace(NODE, hostname="other@host")))
    assert client.zrange(keys.nodes, 0, -1) == [b"other@host"]


def test_nothing_is_kept_for_ever(client: redis.Redis, ledger: Ledger, keys: Keys) -> None:
    ledger.run(report_command(keys, NODE))
    for key in (keys.node(NODE.hostname), keys.nodes):
        assert 0 < client.pttl(key) <= SILENCE.total_seconds() * 1000


def test_a_reporter_reports_until_it_is_stopped(client: redis.Redis, ledger: Ledger, keys: Keys) -> None:
    reporter = NodeReporter(ledger, keys, NODE, SystemClock())
    reporter.start()
    while not (nodes := read_nodes(client, keys)):
        pass
    assert nodes[0].hostname == NODE.hostname
    reporter.stop()
    assert read_nodes(client, keys) == []


class Away:
    """A ledger whose server cannot be reached until it is told to be back."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.asked = threading.Semaphore(0)
        self.back = False

    def run(self, command: Command[T]) -> T:
        self.asked.release()
        if not self.back:
            msg = "away"
            raise redis.ConnectionError(msg)
        return self.ledger.run(command)


def test_a_server_that_is_away_ends_no_reporter(
    client: redis.Redis, ledger: Ledger, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORT_INTERVAL", timedelta(milliseconds=10))
    away = Away(ledger)
    reporter = NodeReporter(away, keys, NODE, SystemClock())  # type: ignore[arg-type]
    reporter.start()
    for _ in range(3):
        assert away.asked.acquire(timeout=10), "it has ended"
    assert read_nodes(client, keys) == []
    away.back = True
    for _ in range(3):
        assert away.asked.acquire(timeout=10), "it has ended"
    assert [node.hostname for node in read_nodes(client, keys)] == [NODE.hostname]

    away.back = False
    reporter.stop()
    assert not reporter._thread.is_alive()
    assert [node.hostname for node in read_nodes(client, keys)] == [NODE.hostname], "nobody heard that it ends"
