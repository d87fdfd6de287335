"""The guarded transport under real Celery workers on a real server: garbage, lost servers, the head of the queue."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import kombu
import pytest
import redis
from celery import chain, chord, group
from kombu.common import ignore_errors
from kombu.transport import redis as kombu_redis

from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.wire import pack
from tests.integration.guarded_app import create
from tests.malformed import ABSENT, malformed, raw

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


@contextmanager
def running_workers(
    server: EmbeddedServer, namespace: str, folder: Path, pools: dict[str, tuple[str, ...]]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    with ExitStack() as stack:
        yield {
            pool: stack.enter_context(worker(server.url, f"{namespace}-{pool}", folder / f"{pool}.log", *options))
            for pool, options in pools.items()
        }


def eventually(true: Callable[[], object], what: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < until, what()
        time.sleep(0.05)


def small(contents: dict[str, bytes]) -> list[bytes]:
    return [content for content in contents.values() if len(content) < 1_000_000]


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
            assert (
                b"Celery failed at it: KeyError" in kept[garbage["a message at which Celery itself fails"]][b"reason"]
            )
        assert all(own_client.pttl(key) > 0 for key in own_client.scan_iter(f"{{{namespace}-*}}:job:garbage-*"))


def test_control_garbage_costs_neither_the_worker_nor_remote_control(
    own_server: EmbeddedServer, own_client: redis.Redis, tmp_path: Path, namespace: str
) -> None:
    app = create(own_server.url, namespace)
    # A good command in form, whose parts the handlers choke on.
    for_control = [raw(body=body) for body in ([], 7, {}, {"method": 7}, {"method": "ping", "arguments": [1]},
                   {"method": "ping", "reply_to": "x"}, {"method": "ping", "reply_to": {"exchange": 1}},
                   {"method": "ping", "destination": 7}, {"method": "ping", "pattern": [], "matcher": {}},
                   {"method": "no_such_command"}, {"method": "ping", "arguments": {"unknown": 1}},
                   {"method": "ping", "pattern": "x", "matcher": "no such matcher"})]  # fmt: skip
    for_events = [raw(body=body, delivery_info={"routing_key": "worker.x"}, headers={"hostname": "x", "clock": 1})
                  for body in ({}, {"type": 7}, {"type": "worker-elect"}, {"type": "worker-heartbeat"}, [{}, 7])]  # fmt: skip
    with worker(own_server.url, namespace, tmp_path / "log", "--pool", "solo") as process:
        assert app.send_task("tiny.add", args=[1, 1]).get(timeout=PATIENCE_SECONDS) == 2
        for content in (*for_control, *small(malformed())):
            own_client.publish("/0.celery.pidbox", content)
        for content in (*for_events, *small(malformed())):
            for kind in ("worker.elect", "worker.elect.ack", "worker.heartbeat"):
                own_client.publish(f"/0.celeryev/{kind}", content)
        assert app.send_task("tiny.add", args=[2, 2]).get(timeout=PATIENCE_SECONDS) == 4
        assert app.control.inspect(destination=[f"{namespace}@test"], timeout=5, limit=1).ping()
        assert app.control.inspect(destination=[f"{namespace}@test"], timeout=5, limit=1).registered()
        assert process.poll() is None
    log = (tmp_path / "log").read_text()
    assert "control_message_refused: message nests deeper" in log
    assert "Trying to re-establish" not in log
    assert dead_letters(own_client, namespace) == []


def test_canvases_of_celery_pass_the_guard_and_give_the_right_values(
    own_server: EmbeddedServer, own_client: redis.Redis, tmp_path: Path, namespace: str
) -> None:
    app = create(own_server.url, namespace)
    add, total = app.tasks["tiny.add"], app.tasks["tiny.total"]
    with worker(own_server.url, namespace, tmp_path / "log", "--pool", "solo", "--without-gossip"):
        asked = [
            (group(add.s(n, n) for n in range(3)), [0, 2, 4]),
            (chain(add.s(1, 2), add.s(3), add.s(4)), 10),
            (chord([add.s(1, 1), add.s(2, 2)], total.s()), 6),
            (chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s(), add.s(10)), 17),
            (chord([chain(add.s(1, 1), add.s(1)), group(add.s(1, 1), add.s(2, 2))], total.s()), 9),
            (add.s(1, 2).set(link_error=total.s(), expires=600, countdown=0.1, priority=3, time_limit=60), 3),
            (app.tasks["tiny.spread"].s(3), [0, 2, 4]),
            (app.tasks["tiny.spread"].s(3) | total.s(), 6),
            (app.tasks["tiny.retried"].s(), 2),
        ]
        for canvas, expected in asked:
            assert canvas.apply_async().get(timeout=PATIENCE_SECONDS) == expected, canvas
        stamped = add.s(1, 1)
        stamped.stamp(customer="7", append_stamps=True)
        assert stamped.apply_async(headers={"traceparent": "00-ab-cd-01"}).get(timeout=PATIENCE_SECONDS) == 2
    assert dead_letters(own_client, namespace) == []


def test_a_server_that_is_killed_again_and_again_costs_no_worker(tmp_path: Path, namespace: str) -> None:
    pools = {"solo": ("--pool", "solo"), "prefork": ("--pool", "prefork", "-c", "1")}
    with (
        EmbeddedServer(tmp_path / "server") as server,
        running_workers(server, namespace, tmp_path, pools) as workers,
    ):
        for kill in range(3):
            for pool, process in workers.items():
                with create(server.url, f"{namespace}-{pool}") as app:
                    assert app.send_task("tiny.add", args=[kill, 1]).get(timeout=PATIENCE_SECONDS) == kill + 1, pool
                assert process.poll() is None
            if kill < 2:
                server.kill()
                time.sleep(0.2)
                server.restart()


@pytest.mark.parametrize("ack_emulation", [False, True])
def test_a_lost_connection_with_a_message_in_hand_can_be_collected_and_closed(
    tmp_path: Path, ack_emulation: bool, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    # What Celery 5.7.0 does with a connection it has lost; kombu's own transport ends in an AttributeError here.
    with EmbeddedServer(tmp_path / "server") as server:
        app = create(server.url, namespace, ack_emulation=ack_emulation)
        connection = app.connection_for_read()
        own, other = connection.default_channel, connection.channel()
        kombu.Consumer(other, [kombu.Queue("other")]).consume()
        held: list[object] = []
        kombu.Consumer(own, [app.amqp.queues[namespace]], callbacks=[lambda body, _: held.append(body)]).consume()
        app.send_task("tiny.add", args=[1, 2])
        connection.drain_events(timeout=5)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.1)
        server.kill()
        connection.collect(socket_timeout=1)
        ignore_errors(connection, connection.close)
    assert len(held) == 1
    assert "EMERGENCY" not in caplog.text


@pytest.mark.parametrize("batched", [False, True])
def test_a_message_with_the_head_header_goes_to_the_head_of_its_queue(
    own_server: EmbeddedServer, own_client: redis.Redis, namespace: str, batched: bool
) -> None:
    app = create(own_server.url, namespace)
    with app.connection_for_write() as connection, kombu.Producer(connection.channel(), auto_declare=False) as producer:
        context = producer.batch(max_size=10) if batched else nullcontext()
        with context:
            for name, head in (("first", None), ("second", False), ("restarted", True)):
                headers = {"id": name} if head is None else {"id": name, "dispatcher_head": head}
                producer.publish([[], {}, None], exchange="", routing_key=namespace, serializer="json", headers=headers)
    taken = [json.loads(own_client.rpop(namespace))["headers"]["id"] for _ in range(3)]
    assert taken == ["restarted", "first", "second"]


def test_the_oldest_dead_letter_makes_room_for_garbage(
    own_server: EmbeddedServer, own_client: redis.Redis, namespace: str
) -> None:
    app = create(own_server.url, namespace)
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "guard_max_dead": 3}
    own_client.zadd(f"{{{namespace}}}:dead", {"oldest": time.time() * 1000 - 60_000})
    own_client.hset(f"{{{namespace}}}:job:oldest", "state", "failed")
    with app.connection_for_read() as connection:
        own_client.lpush(namespace, b"garbage 1", b"garbage 2", b"garbage 3")
        assert connection.default_channel.basic_get(namespace) is None
    kept = {letter[b"raw"] for letter in dead_letters(own_client, namespace)}
    assert kept == {b"garbage 1", b"garbage 2", b"garbage 3"}
    assert not own_client.exists(f"{{{namespace}}}:job:oldest")


def test_a_good_message_behind_garbage_is_got(
    own_server: EmbeddedServer, own_client: redis.Redis, namespace: str
) -> None:
    app = create(own_server.url, namespace)
    own_client.lpush(namespace, b"garbage", raw(headers={"id": "good"}))
    with app.connection_for_read() as connection:
        got = connection.default_channel.basic_get(namespace, no_ack=True)
    assert got is not None
    assert got.headers["id"] == "good"


def test_garbage_that_cannot_be_recorded_is_logged_and_passed_over(
    own_server: EmbeddedServer, own_client: redis.Redis, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = create(own_server.url, namespace)
    own_client.set(f"{{{namespace}}}:dead", "not a sorted set")
    own_client.lpush(namespace, b"garbage")
    with app.connection_for_read() as connection:
        assert connection.default_channel.basic_get(namespace) is None
    assert "garbage_not_recorded: message is not JSON" in caplog.text


def test_a_server_that_refuses_commands_for_a_while_costs_no_worker(
    own_server: EmbeddedServer, own_client: redis.Redis, tmp_path: Path, namespace: str
) -> None:
    app = create(own_server.url, namespace)
    with worker(own_server.url, namespace, tmp_path / "log", "--pool", "solo", "--without-gossip") as process:
        assert app.send_task("tiny.add", args=[1, 1]).get(timeout=PATIENCE_SECONDS) == 2
        own_client.set(namespace, "not a list")
        eventually(
            lambda: "server_refused_brpop: WRONGTYPE" in (tmp_path / "log").read_text(),
            lambda: "the worker did not notice",
        )
        own_client.delete(namespace)
        assert app.send_task("tiny.add", args=[2, 2]).get(timeout=PATIENCE_SECONDS) == 4
        assert process.poll() is None


def test_replies_and_lists_of_others_are_not_taken_for_tasks(
    own_server: EmbeddedServer, own_client: redis.Redis, namespace: str
) -> None:
    app = create(own_server.url, namespace)
    with app.connection_for_read() as connection:
        own_client.lpush(
            "reply.pidbox", b"garbage", raw(headers={"task": ABSENT}, body={"worker@test": {"ok": "pong"}})
        )
        got = connection.default_channel.basic_get("reply.pidbox", no_ack=True)
    assert got is not None
    assert got.decode() == {"worker@test": {"ok": "pong"}}
    assert dead_letters(own_client, namespace) == []


def test_a_unix_socket_leads_to_the_guard_too(tmp_path_factory: pytest.TempPathFactory, namespace: str) -> None:
    folder = tmp_path_factory.mktemp("socket")
    with EmbeddedServer(folder / "server", config={"unixsocket": f"{folder}/s"}) as server:
        password = urlsplit(server.url).password
        app = create(f"redis+socket://:{password}@{folder}/s", namespace)
        app.send_task("tiny.add", args=[1, 2])
        with connect(server.url) as client, app.connection_for_read() as connection:
            client.rpush(namespace, b"garbage")
            got = connection.default_channel.basic_get(namespace, no_ack=True)
            assert got is not None
            assert got.headers["task"] == "tiny.add"
            assert len(dead_letters(client, namespace)) == 1


@pytest.mark.parametrize("prefix", ["", "elsewhere:"])
def test_it_asks_for_messages_in_kombus_own_words(own_server: EmbeddedServer, prefix: str) -> None:
    app = create(own_server.url, "words")
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "global_keyprefix": prefix}
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        for queue in ("one", "one.bulk", "two"):
            channel.basic_consume(queue, no_ack=True, callback=print, consumer_tag=queue)
        channel.client.connection = Mock()
        sent = channel.client.connection
        for _ in range(3):
            for timeout in (None, 0, 5):
                kombu_redis.Channel._brpop_start(channel, timeout)
                channel._brpop_start(timeout)
                (kombus,), (ours,) = sent.send_command.call_args_list, sent.send_packed_command.call_args_list
                assert ours.args[0] == [pack(kombus.args)]
                assert (channel._in_poll, channel._brpop_sent_at is None) == (sent, False)
                sent.reset_mock()
            channel._queue_cycle.rotate("one")
        channel._in_poll = None
        channel.client.connection = None


def test_a_client_that_sends_is_made_once_for_a_pool(own_server: EmbeddedServer) -> None:
    with create(own_server.url, "clients").connection_for_write() as connection:
        channel = connection.default_channel
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
            assert first.ping()
        channel._disconnect_pools()
        with channel.conn_or_acquire() as third:
            assert third is not first
            assert third.ping()
