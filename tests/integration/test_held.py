"""Threads exchange commands with the server, on connections that survive the server's moods."""

import threading
import time
from collections.abc import Iterator

import pytest
import redis
from redis.connection import DefaultParser
from redis.exceptions import BusyLoadingError, RedisError, ResponseError
from redis.exceptions import TimeoutError as SilentServer

from dispatcher.transport.connection import HEALTH_CHECK_SECONDS, connect
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.held import Held


@pytest.fixture(params=[True, False], ids=["kept", "given back"])
def held(request: pytest.FixtureRequest, server: EmbeddedServer) -> Iterator[Held]:
    with connect(server.url, role="held", max_connections=3) as client:
        yield Held(client, keep=request.param)


def connections(client: redis.Redis) -> list[str]:
    return [entry["id"] for entry in client.client_list() if entry["name"] == "dispatcher-held"]


def end_all(client: redis.Redis) -> None:
    for one in connections(client):
        client.client_kill_filter(_id=one)


def test_commands_are_answered_in_order_and_a_refusal_is_an_entry(held: Held) -> None:
    first, refused, last = held.exchange([("ECHO", "a"), ("INCR", "a", "b"), ("ECHO", b"c")])
    assert (first, last) == (b"a", b"c")
    assert isinstance(refused, ResponseError)


def test_what_was_sent_is_answered_later_and_nobody_else_reads_it(held: Held) -> None:
    sent = held.send([("ECHO", "early")])
    assert held.exchange([("ECHO", "meanwhile")]) == [b"meanwhile"]
    assert held.receive(sent, 1) == [b"early"]
    held.drop(held.send([("ECHO", "nobody's")]))
    assert held.exchange([("ECHO", "next")]) == [b"next"]


def test_one_connection_serves_all_exchanges_of_a_thread(held: Held, client: redis.Redis) -> None:
    ids = {held.exchange([("CLIENT", "ID")])[0] for _ in range(5)}
    assert len(ids) == 1
    assert [str(one) for one in ids] == connections(client)


def test_a_connection_that_was_closed_while_nobody_used_it_costs_no_command(held: Held, client: redis.Redis) -> None:
    for _ in range(3):
        assert held.exchange([("ECHO", "here")]) == [b"here"]
        end_all(client)


def test_after_an_exchange_that_broke_off_nobody_reads_its_late_reply(server: EmbeddedServer) -> None:
    with connect(f"{server.url}?socket_timeout=0.1", role="held") as client:
        held = Held(client, keep=True)
        held.exchange([("ECHO", "first")])
        with pytest.raises(SilentServer):
            held.exchange([("BLPOP", "nothing-comes", 1)])
        assert held.exchange([("ECHO", "next")]) == [b"next"]


def test_threads_at_once_each_have_a_connection_and_no_more_are_kept_than_one(held: Held, client: redis.Redis) -> None:
    began, answers = threading.Barrier(3), []

    def ask(number: int) -> None:
        began.wait(10)
        answers.extend((number, int(held.exchange([("ECHO", number)])[0])) for _ in range(50))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(answers) == 150
    assert all(asked == answered for asked, answered in answers)
    # Two are left for whoever else uses the client.
    others = [held._pool.get_connection() for _ in range(2)]
    for other in others:
        held._pool.release(other)


def test_it_works_again_after_its_client_was_closed(held: Held) -> None:
    assert held.exchange([("ECHO", "a")]) == [b"a"]
    held._pool.disconnect()
    assert held.exchange([("ECHO", "b")]) == [b"b"]


def test_a_word_that_is_no_text_takes_no_connection(held: Held, client: redis.Redis) -> None:
    with pytest.raises(UnicodeEncodeError):
        held.exchange([("ECHO", "\ud800")])
    assert connections(client) == []


def test_nobody_there_is_said(held: Held) -> None:
    with connect("redis://127.0.0.1:1", role="held") as nowhere, pytest.raises(RedisError):
        Held(nowhere, keep=True).exchange([("PING",)])


def test_a_connection_that_was_idle_for_long_is_tried_before_it_is_used(
    held: Held, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pings() -> int:
        counts: dict[str, dict[str, int]] = client.info("commandstats")
        return counts.get("cmdstat_ping", {"calls": 0})["calls"]

    held.exchange([("ECHO", "a")])
    before, monotonic = pings(), time.monotonic
    held.exchange([("ECHO", "b")])
    assert pings() == before
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 2 * HEALTH_CHECK_SECONDS)
    assert held.exchange([("ECHO", "c")]) == [b"c"]
    held.exchange([("ECHO", "d")])
    monkeypatch.undo()  # or the client that counts tries its own
    assert pings() == before + 1


def test_a_long_reply_is_read_whole(held: Held) -> None:
    for _ in range(2):
        assert held.exchange([("ECHO", "x" * 1_000_000)]) == [b"x" * 1_000_000]


def test_a_server_that_still_loads_is_no_refusal(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.exchange([("ECHO", "a")])
    monkeypatch.setattr(DefaultParser, "parse_error", lambda *_: BusyLoadingError("LOADING"))
    held._pool.disconnect()
    with pytest.raises(BusyLoadingError):
        held.exchange([("INCR", "a", "b")])
