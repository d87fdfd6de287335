"""What a call costs the server, counted by the server itself.

INFO commandstats counts every command, those inside scripts too, so only commands that no script uses can be told from it.
MONITOR says of each command which connection sent it, and marks those of scripts. Both are looked at.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
import redis

from dispatcher import Dispatcher, Settings
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, Worker, soon

CALLS = 200
WARM_UP = 20
#: Commands that none of our scripts uses, so each is a round trip of its own.
NEVER_IN_SCRIPTS = ("evalsha", "eval", "lpush", "rpush", "brpop", "rpop", "mget", "llen", "subscribe", "ping", "setex")


@pytest.fixture(scope="module")
def quiet_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server for nobody else, and a sweeper that does not sweep while we count."""
    with EmbeddedServer(tmp_path_factory.mktemp("quiet")) as server:
        yield Settings.load(url=server.url, sweep_interval_seconds=60)


class Watcher:
    """Every top-level command, by the connection that sent it."""

    def __init__(self, url: str) -> None:
        self._client = connect(url, blocking=True, role="watcher")
        self.seen: list[tuple[str, str]] = []

    @contextmanager
    def watch(self, client: redis.Redis) -> Iterator[None]:
        """Listen; `client` says when to end."""
        started, ended = threading.Event(), threading.Event()

        def listen() -> None:
            with self._client.monitor() as monitor:
                started.set()
                for command in monitor.listen():
                    if command["command"] == "ECHO the end":
                        ended.set()
                        return
                    if command["client_type"] != "lua":
                        address = f"{command['client_address']}:{command['client_port']}"
                        self.seen.append((address, command["command"].partition(" ")[0].upper()))

        thread = threading.Thread(target=listen)
        thread.start()
        assert started.wait(10)
        try:
            yield
        finally:
            client.echo("the end")
            assert ended.wait(10)
            thread.join()
            self._client.close()

    def count(self, who: Mapping[str, str]) -> dict[str, Counter[str]]:
        """The commands of each kind of connection; `who` has the kind of each address."""
        counted: dict[str, Counter[str]] = {}
        for address, command in self.seen:
            counted.setdefault(who.get(address, "gone"), Counter())[command] += 1
        return counted


def connections(client: redis.Redis, unnamed: str) -> dict[str, str]:
    """Address → the name that the connection gave itself. kombu's have none."""
    return {entry["addr"]: entry["name"] or unnamed for entry in client.client_list()}


def pops_that_wait(client: redis.Redis) -> int:
    """How many connections wait for a message."""
    return sum(entry["cmd"] == "brpop" and "b" in entry["flags"] for entry in client.client_list())


def stats(client: redis.Redis) -> Counter[str]:
    """How often each command was run, inside scripts or not."""
    entries = client.info("commandstats").items()
    return Counter({name.removeprefix("cmdstat_"): entry["calls"] for name, entry in entries})


async def test_a_single_call_costs_the_producer_one_round_trip_and_the_worker_three(
    quiet_settings: Settings, start_worker: Callable[..., Worker]
) -> None:
    url = quiet_settings.url.get_secret_value()
    with connect(url, role="test") as client:
        async with Dispatcher(functions.registry, settings=quiet_settings) as dispatcher:

            async def call_one_after_another(count: int) -> None:
                for number in range(count):
                    job = await dispatcher.dispatch(functions.add.call(number, 1))
                    assert await job.result(LONG) == number + 1

            # The producer connects before there is a worker: so we know whose the connections without a name are.
            early = await dispatcher.dispatch(functions.add.call(1, 1))
            assert await dispatcher.flush()
            who = connections(client, "publisher")
            start_worker(quiet_settings, "-c", "1", app="tests.acceptance.silent_worker_app")
            await early.result(LONG)
            await call_one_after_another(WARM_UP)

            # An outcome may be here before its worker has sent for the next message. Each call of the watch begins with
            # a pop that waits and ends with one: so as many are sent in it as there are calls.
            await soon(lambda: pops_that_wait(client))
            watcher = Watcher(url)
            with watcher.watch(client):
                before = stats(client)
                await call_one_after_another(CALLS)
                await soon(lambda: pops_that_wait(client))
                spent = stats(client) - before
            who = connections(client, "consumer") | who

    counted = watcher.count(who)
    for ours in ("dispatcher-test", "dispatcher-watcher"):
        counted.pop(ours, None)
    # What comes with the clock and not with the calls: a health check now and then, the collector's look at the store
    # every other second, the worker's report of itself, kombu's look at what was never acknowledged, a BRPOP that
    # waited a second for nothing.
    by_the_clock = sum(counted.pop("dispatcher-sweeper", Counter()).values())
    for kind in counted.values():
        by_the_clock += kind.pop("PING", 0)
    by_the_clock += counted["dispatcher-producer"].pop("MGET", 0)
    consumed = counted.pop("consumer")
    pops = consumed.pop("BRPOP")
    by_the_clock += sum(consumed.values())

    assert {name: dict(kinds) for name, kinds in counted.items() if kinds} == {
        "dispatcher-producer": {"EVALSHA": CALLS},  # accept, which publishes too
        "dispatcher-worker": {"EVALSHA": 2 * CALLS},  # lease, settle
    }
    assert CALLS <= pops <= CALLS + 10
    assert by_the_clock <= 40

    assert CALLS <= spent["brpop"] <= CALLS + 10
    assert spent["lpush"] == CALLS
    assert 3 * CALLS <= spent["evalsha"] + spent["eval"] <= 3 * CALLS + 20
    assert sum(spent[name] for name in NEVER_IN_SCRIPTS) <= 5 * CALLS + 40  # the push is inside the script


async def test_collecting_costs_nothing_but_a_batched_look_at_the_store_now_and_then(
    quiet_settings: Settings, start_worker: Callable[..., Worker]
) -> None:
    url = quiet_settings.url.get_secret_value()
    with connect(url, role="test") as client:
        async with Dispatcher(functions.registry, settings=quiet_settings) as dispatcher:
            handles = [await dispatcher.dispatch(functions.add.call(number)) for number in range(500)]
            assert await dispatcher.flush()
            watcher = Watcher(url)
            with watcher.watch(client):
                start_worker(quiet_settings)
                assert [await handle.result(LONG) for handle in handles] == list(range(500))
            who = connections(client, "other")

    counted = watcher.count(who)
    assert set(counted.get("dispatcher-collector", {})) <= {"PING"}, "only the subscription, which was there before"
    looks = counted.get("dispatcher-producer", Counter())
    assert set(looks) <= {"MGET", "PING"}
    assert looks["MGET"] <= 30, "one look at all that is awaited, every other second"
