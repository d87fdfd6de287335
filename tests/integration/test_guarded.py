"""The guarded transport under real Celery workers on a real server: garbage, lost servers, the head of the queue."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import kombu
import pytest
import redis
from celery import Celery, chain, chord, group
from kombu.common import ignore_errors

from dispatcher.settings import Settings
from dispatcher.transport.connection import connect, kombu_url
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.guarded import Channel, GuardedConnection, Transport, use_guarded
from tests.integration.guarded_app import create
from tests.malformed import malformed, message, raw

ROOT = Path(__file__).parents[2]
#: For a busy machine; a worker is up within two seconds on a quiet one.
PATIENCE_SECONDS = 40


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that these tests fill with garbage, and kill."""
    with EmbeddedServer(tmp_path_factory.mktemp("guarded")) as running:
        yield running


@pytest.fixture
def own_client(own_server: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(own_server.url, role="test") as connected:
        yield connected


@contextmanager
def worker(url: str, namespace: str, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process; stopped at the end, in its own time if it still listens."""
    command = [sys.executable, "-m", "celery", "-A", "tests.integration.guarded_app", "worker"]
    environment = {**os.environ, "GUARDED_URL": url, "GUARDED_NAMESPACE": namespace, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--without-mingle", "-l", "INFO", "-n", f"{namespace}@test", *options],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def eventually(true: Callable[[], object], what: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < until, what()
        time.sleep(0.05)


def dead_letters(client: redis.Redis, namespace: str) -> list[dict[bytes, bytes]]:
    ids = client.zrange(f"{{{namespace}}}:dead", 0, -1)
    return [client.hgetall(f"{{{namespace}}}:job:{each.decode()}") for each in ids]


def test_garbage_in_the_queue_costs_neither_the_worker_nor_a_good_call(
    own_server: EmbeddedServer, own_client: redis.Redis, tmp_path: Path, namespace: str
) -> None:
    garbage = malformed()
    garbage["a message at which Celery itself fails"] = raw(headers={"task": "tiny.broken"})
    pools = {"solo": ("--pool", "solo"), "prefork": ("--pool", "prefork", "-c", "1", "--without-gossip")}
    with running_workers(own_server, namespace, tmp_path, pools) as workers:
        apps = {pool: create(own_server.url, f"{namespace}-{pool}") for pool in pools}
        results: list[Any] = []
        for number, content in enumerate(garbage.values()):
            for pool, app in apps.items():
                own_client.lpush(f"{namespace}-{pool}", content)
                if number % 10 == 0:
                    results.append((number, app.send_task("tiny.add", args=[number, 1])))
        for number, result in results:
            assert result.get(timeout=PATIENCE_SECONDS) == number + 1
        for pool, app in apps.items():
            name = f"{namespace}-{pool}"
            assert app.send_task("tiny.add", args=[2, 3]).get(timeout=PATIENCE_SECONDS) == 5
            eventually(lambda name=name: own_client.llen(name) == 0, lambda: "the queue is not empty")
            assert workers[pool].poll() is None, (tmp_path / f"{pool}.log").read_text()[-2000:]
            assert app.control.ping(timeout=5, limit=1, destination=[f"{name}@test"])
            letters = dead_letters(own_client, name)
            kept = {letter[b"raw"]: letter for letter in letters}
            for what, content in garbage.items():
                assert content[: 64 * 1024] in kept, what
                letter = kept[content[: 64 * 1024]]
                assert letter[b"reason"], what
                assert letter[b"state"] == b"garbage"
                assert letter[b"queue"] == name.encode()
                assert int(letter[b"bytes"]) == len(content)
            assert len(letters) == len(garbage)
            assert b"Celery failed at it: KeyError" in kept[garbage["a message at which Celery itself fails"]][b"reason"]
        assert all(own_client.pttl(key) > 0 for key in own_client.scan_iter(f"{{{namespace}-*}}:job:garbage-*"))


@contextmanager
def running_workers(
    server: EmbeddedServer, namespace: str, folder: Path, pools: dict[str, tuple[str, ...]]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    with ExitStack() as stack:
        yield {
            pool: stack.enter_context(worker(server.url, f"{namespace}-{pool}", folder / f"{pool}.log", *options))
            for pool, options in pools.items()
        }
