"""A producer whose calls wait while no worker is up says so, and does not ask the ledger again and again."""

import logging

import pytest

from dispatcher.client import silence as module
from dispatcher.client.silence import AGAIN, WONDER, Silence
from dispatcher.settings import Settings
from dispatcher.testing import FakeClock


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.nodes: list[str] = []
        self.asked = 0
        self.silence = Silence(self._ask, Settings(), self.clock, "redis://server/0")
        self.since = self.clock.monotonic()

    async def _ask(self) -> list[str]:
        self.asked += 1
        return self.nodes


@pytest.fixture
def rig(monkeypatch) -> Rig:
    monkeypatch.setattr(module, "mention_elsewhere", lambda _: "another embedded server runs in /srv/shop")
    return Rig()


async def test_it_is_said_once_a_minute_and_not_at_once(rig, caplog) -> None:
    await rig.silence.look(rig.since)
    assert (rig.asked, caplog.messages) == (0, [])
    rig.clock.advance(WONDER)
    for _ in range(3):
        await rig.silence.look(rig.since)
    expected = "no_worker_is_up: calls wait for one on redis://server/0; another embedded server runs in /srv/shop"
    assert (rig.asked, caplog.messages) == (1, [expected])
    assert caplog.records[0].levelno == logging.WARNING
    rig.clock.advance(AGAIN)
    await rig.silence.look(rig.since)
    assert caplog.messages == [expected] * 2


async def test_where_a_worker_is_up_calls_only_take_long(rig, caplog) -> None:
    rig.nodes = ["worker@host"]
    rig.clock.advance(WONDER)
    await rig.silence.look(rig.since)
    assert (rig.asked, caplog.messages) == (1, [])


async def test_where_nothing_is_awaited_nobody_is_asked(rig) -> None:
    rig.clock.advance(WONDER)
    await rig.silence.look(None)
    assert rig.asked == 0
