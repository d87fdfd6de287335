"""What a real server does wrong becomes the right error, with its address and without its password."""

import asyncio
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from dispatcher.errors import (
    Acceptance,
    ServerAuthError,
    ServerError,
    ServerFullError,
    ServerUnreachableError,
    ServerUnusableError,
)
from dispatcher.transport.connection import check_server, connect, connect_async, kombu_url, server_errors
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.facts import warn_of_eviction

SHORT = timedelta(milliseconds=500).total_seconds()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of this file's own, because these tests fill it and lock people out of it."""
    with EmbeddedServer(tmp_path_factory.mktemp("own"), persist=False) as running:
        yield running


@pytest.fixture
def admin(own: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(own.url) as client:
        yield client
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


def secret(url: str) -> str:
    return url.partition("://:")[2].partition("@")[0]


def without_password(url: str) -> str:
    return url.replace(f":{secret(url)}@", "")


def with_password(url: str, password: str) -> str:
    return url.replace(secret(url), password)


def expect(kind: type[ServerError], url: str, command, *, accepted: Acceptance = Acceptance.UNKNOWN) -> ServerError:
    """Run a command on a client of `url`, and see that it ends in that very error, naming the server only."""
    with connect(url) as client, pytest.raises(ServerError) as caught, server_errors(url, accepted=accepted):
        command(client)
    error = caught.value
    assert type(error) is kind
    assert without_password(url).split("/?")[0].rstrip("/") in str(error)
    assert secret(url) == "" or secret(url) not in str(error)
    return error


@pytest.mark.parametrize("change", [without_password, lambda url: with_password(url, "wrong-password")])
def test_a_missing_or_wrong_password_is_an_auth_error_in_both_kinds_of_client(own: EmbeddedServer, change) -> None:
    url = change(own.url)
    assert expect(ServerAuthError, url, lambda client: client.ping()).accepted is Acceptance.NO

    async def ask() -> None:
        async with connect_async(url) as client:
            with server_errors(url):
                await client.ping()

    with pytest.raises(ServerAuthError) as caught:
        asyncio.run(ask())
    assert own.address in str(caught.value)
    assert "wrong-password" not in str(caught.value)


def test_a_user_without_the_rights_is_an_auth_error_in_plain_commands_and_scripts(
    own: EmbeddedServer, admin: redis.Redis
) -> None:
    admin.execute_command("ACL", "SETUSER", "reader", "on", ">reading", "~*", "+@read", "+@scripting")
    url = own.url.replace(f":{secret(own.url)}@", "reader:reading@")
    for command in (lambda c: c.set("k", 1), lambda c: c.eval("return redis.call('set', KEYS[1], 1)", 1, "k")):
        with connect(url) as client, pytest.raises(ServerAuthError, match="may not do") as caught, server_errors(url):
            command(client)
        assert "reading" not in str(caught.value)


def test_a_full_server_is_a_full_error_in_plain_commands_and_scripts(own: EmbeddedServer, admin: redis.Redis) -> None:
    admin.config_set("maxmemory", "1mb")
    url = own.url
    assert expect(ServerFullError, url, lambda c: c.set("k", "x" * 2000)).accepted is Acceptance.NO
    expect(ServerFullError, url, lambda c: c.eval("return redis.call('set', KEYS[1], ARGV[1])", 1, "k", "x" * 2000))
    expect(ServerFullError, url, lambda c: c.eval("#!lua\nreturn redis.call('set', KEYS[1], ARGV[1])", 1, "k", "x"))
    admin.config_set("maxmemory", 0)
    assert admin.set("k", "x") is True


def test_an_unknown_command_means_a_server_too_old(own: EmbeddedServer) -> None:
    expect(ServerUnusableError, own.url, lambda c: c.execute_command("NOSUCHCOMMAND", "argument"))


def test_a_replica_is_not_written_to(own: EmbeddedServer, admin: redis.Redis) -> None:
    try:
        admin.replicaof("127.0.0.1", "1")
        expect(ServerUnusableError, own.url, lambda c: c.set("k", 1))
        assert check_server(admin).role == "slave"
    finally:
        admin.replicaof("NO", "ONE")


def test_a_port_where_nobody_listens_is_unreachable_at_once_and_nothing_was_accepted() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"redis://:password@127.0.0.1:{free.getsockname()[1]}/0"
        began = time.monotonic()
        assert expect(ServerUnreachableError, url, lambda c: c.ping()).accepted is Acceptance.NO
    assert time.monotonic() - began < 1


def test_a_server_that_is_silent_after_the_command_leaves_acceptance_unknown() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0?socket_timeout={SHORT}"
        began = time.monotonic()
        with (
            connect(url) as client,
            pytest.raises(ServerUnreachableError) as caught,
            server_errors(url, accepted=Acceptance.UNKNOWN),
        ):
            client.ping()
    assert caught.value.accepted is Acceptance.UNKNOWN
    assert time.monotonic() - began < SHORT + 1


def test_a_connection_cut_while_waiting_leaves_acceptance_unknown(own: EmbeddedServer, admin: redis.Redis) -> None:
    with connect(own.url, blocking=True, role="cut") as client:
        client.ping()
        victim = next(each["id"] for each in admin.client_list() if each["name"] == "dispatcher-cut")

        async def cut() -> None:
            waiting = asyncio.create_task(asyncio.to_thread(client.blpop, ["never"], 0))
            while not any(each["id"] == victim and each["flags"] == "b" for each in admin.client_list()):
                await asyncio.sleep(0.01)
            admin.client_kill_filter(_id=victim)
            with server_errors(own.url, accepted=Acceptance.UNKNOWN):
                await waiting

        with pytest.raises(ServerUnreachableError) as caught:
            asyncio.run(cut())
        assert caught.value.accepted is Acceptance.UNKNOWN
        assert client.ping()  # the next command connects again


def test_a_pooled_connection_that_died_meanwhile_is_replaced_without_an_error(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as own, connect(own.url) as client:
        client.set("k", "v")
        own.restart()
        assert client.get("k") == b"v"


async def test_an_async_pooled_connection_that_died_meanwhile_is_replaced_without_an_error(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as own:
        async with connect_async(own.url) as client:
            await client.set("k", "v")
            await asyncio.to_thread(own.restart)
            assert await client.get("k") == b"v"


async def test_more_callers_than_connections_wait_instead_of_failing(own: EmbeddedServer) -> None:
    async with connect_async(own.url, role="crowd", max_connections=2) as client:
        await asyncio.gather(*(client.incr("crowd") for _ in range(500)))
        names = [each["name"] for each in await client.client_list()]
        assert await client.get("crowd") == b"500"
    assert names.count("dispatcher-crowd") <= 2


def test_a_blocking_client_waits_longer_than_its_answer_timeout(own: EmbeddedServer) -> None:
    with connect(f"{own.url}?socket_timeout={SHORT}", blocking=True) as client:
        assert client.blpop(["never"], timeout=SHORT * 2) is None


def test_the_facts_of_a_server_are_what_it_says_of_itself(server: EmbeddedServer, client: redis.Redis) -> None:
    facts = check_server(client)
    assert facts.address == server.address
    assert facts.kind in ("valkey", "redis")
    assert facts.version >= (6, 2)
    assert (facts.aof_enabled, facts.appendfsync, facts.maxmemory_policy) == (True, "everysec", "noeviction")
    assert (facts.role, facts.cluster_enabled, facts.auth_required) == ("master", False, True)
    assert facts.maxmemory_bytes == 0
    assert facts.used_memory_bytes is not None
    assert facts.used_memory_bytes > 0


def test_what_a_user_may_not_ask_is_none_and_no_error(own: EmbeddedServer, admin: redis.Redis) -> None:
    admin.execute_command("ACL", "SETUSER", "modest", "on", ">modest", "~*", "+@all", "-config")
    with connect(own.url.replace(f":{secret(own.url)}@", "modest:modest@")) as client:
        facts = check_server(client)
    assert facts.appendfsync is None
    assert facts.maxmemory_policy == "noeviction"


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_would_throw_jobs_away_is_warned_of(admin: redis.Redis, policy: str, caplog) -> None:
    admin.config_set("maxmemory-policy", policy)
    admin.config_set("maxmemory", "1gb")
    warn_of_eviction(admin)
    (record,) = caplog.records
    assert (record.levelname, record.policy) == ("WARNING", policy)
    assert record.getMessage().startswith("server_evicts: ")
    assert "noeviction" in record.getMessage()


@pytest.mark.parametrize(("policy", "most"), [("noeviction", "1gb"), ("allkeys-lru", "0")])
def test_nobody_is_warned_of_a_server_that_keeps_all(admin: redis.Redis, policy: str, most: str, caplog) -> None:
    admin.config_set("maxmemory-policy", policy)
    admin.config_set("maxmemory", most)
    warn_of_eviction(admin)
    assert caplog.records == []


def test_where_a_server_cannot_be_asked_nobody_is_warned(own: EmbeddedServer, admin: redis.Redis, caplog) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("maxmemory", "1gb")
    admin.execute_command("ACL", "SETUSER", "curt", "on", ">curt", "~*", "+@all", "-info", "-config")
    with connect(own.url.replace(f":{secret(own.url)}@", "curt:curt@")) as client:
        warn_of_eviction(client)
    with connect("redis://127.0.0.1:1/0") as away:
        warn_of_eviction(away)
    assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == []


def test_a_server_that_lets_anybody_in_is_found_out(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, persist=False) as own, connect(own.url) as client:
        client.config_set("requirepass", "")
        assert check_server(client).auth_required is False


def test_an_old_server_is_refused_with_its_version(own: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(own.url) as client:
        monkeypatch.setattr(client, "info", lambda: {"redis_version": "5.0.7"})
        with pytest.raises(ServerUnusableError, match=r"Redis 5\.0\.7; Dispatcher needs Redis ≥ 6\.2"):
            check_server(client)


def test_kombu_connects_with_our_spelling_over_tcp_and_over_a_socket(tmp_path: Path) -> None:
    import kombu

    path = tmp_path / "v.sock"
    with EmbeddedServer(tmp_path / "state", persist=False, config={"unixsocket": str(path)}) as own:
        password = secret(own.url)
        for url in (own.url, f"unix://:{password}@{path}?db=1", f"redis+socket://:{password}@{path}"):
            with kombu.Connection(kombu_url(url)) as connection:
                queue = connection.SimpleQueue("q")
                queue.put("hello")
                assert queue.get(timeout=2).payload == "hello"
                queue.close()
            with connect(url) as client:
                assert client.exists("_kombu.binding.q")
