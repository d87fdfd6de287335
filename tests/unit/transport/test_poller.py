"""kombu's poller is left alone while every channel is as it should be, and only then."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.transport.redis import MultiChannelPoller

from dispatcher.transport.poller import LeanPoller


class FakeClient:
    """Connected."""

    def __init__(self) -> None:
        self.connection = SimpleNamespace(_sock=object())


class FakeChannel:
    """One that consumes a list and a fanout exchange, asked for and polled."""

    def __init__(self) -> None:
        self.client, self.subclient = FakeClient(), FakeClient()
        self._active_queues, self.active_fanout_queues = ["tasks", "events"], {"events"}
        self._in_poll, self._in_listen = self.client.connection, self.subclient.connection
        self.qos = SimpleNamespace(can_consume=lambda: True)


class Bench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns = 0
        monkeypatch.setattr(MultiChannelPoller, "on_poll_start", self.count)
        self.channel = FakeChannel()
        self.poller = LeanPoller()
        self.poller.add(self.channel)
        self.polled = self.poller._chan_to_sock
        self.polled[self.channel, self.channel.client, "BRPOP"] = object()
        self.polled[self.channel, self.channel.subclient, "LISTEN"] = object()

    def count(self) -> None:
        self.turns += 1

    def turn(self) -> int:
        """One of the loop; how often kombu was asked so far."""
        self.poller.on_poll_start()
        return self.turns


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_nothing_is_done_where_nothing_is_to_be_done(bench: Bench) -> None:
    assert bench.turn() == 0


CHANGES: dict[str, Callable[[Bench], Any]] = {
    "no BRPOP is under way": lambda b: setattr(b.channel, "_in_poll", None),
    "the connection of a BRPOP was given up": lambda b: setattr(b.channel, "_in_poll", object()),
    "the connection was lost": lambda b: setattr(b.channel.client.connection, "_sock", None),
    "the client was closed": lambda b: delattr(b.channel, "client"),
    "its socket is not polled": lambda b: b.polled.pop((b.channel, b.channel.client, "BRPOP")),
    "nobody listens": lambda b: setattr(b.channel, "_in_listen", None),
    "the listener was lost": lambda b: setattr(b.channel.subclient.connection, "_sock", None),
    "the listener is not polled": lambda b: b.polled.pop((b.channel, b.channel.subclient, "LISTEN")),
    "it may take no more": lambda b: setattr(b.channel.qos, "can_consume", lambda: False),
    "a reply waits until it may": lambda b: b.poller._paused_brpop.setdefault(3, ()),
    "another channel is new": lambda b: b.poller.add(FakeChannel()),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_kombu_sees_to_it_where_something_is_not_as_it_should_be(bench: Bench, what: str) -> None:
    CHANGES[what](bench)
    assert bench.turn() == 1


def test_a_channel_that_consumes_nothing_wants_nothing(bench: Bench) -> None:
    bench.channel._active_queues, bench.channel.active_fanout_queues = [], set()
    bench.channel._in_poll = bench.channel._in_listen = None
    assert bench.turn() == 0
