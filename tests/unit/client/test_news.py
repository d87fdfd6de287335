"""Waits end at the news, or when their time is over, with one timer for all of them."""

import asyncio
from collections.abc import Callable

import pytest

from dispatcher.client.news import SLACK, Alarms, News

#: Seconds; no test lasts so long.
LONG = 1_000.0


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the event loop was asked to call back."""
    asked: list[float] = []
    loop = asyncio.get_running_loop()
    real = loop.call_at

    def call_at(when: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        asked.append(when)
        return real(when, callback, *args)

    monkeypatch.setattr(loop, "call_at", call_at)
    return asked


async def start(*waits: "asyncio.Task[bool]") -> None:
    """Let waits begin."""
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waits)


async def test_news_end_every_wait_for_them_and_no_other() -> None:
    alarms, news, other = Alarms(), News(), News()
    waits = [asyncio.create_task(alarms.wait(news, LONG)) for _ in range(3)]
    elsewhere = asyncio.create_task(alarms.wait(other, LONG))
    await start(*waits, elsewhere)
    news.set()
    assert await asyncio.gather(*waits) == [True] * 3
    assert not elsewhere.done()
    elsewhere.cancel()


async def test_news_that_are_there_are_not_waited_for() -> None:
    news = News()
    news.set()
    assert await Alarms().wait(news, 0)
    news.clear()
    assert not await Alarms().wait(news, 0)


async def test_a_wait_ends_when_its_time_is_over_whatever_the_order_in_which_they_began() -> None:
    alarms, ended = Alarms(), list[float]()

    async def wait(seconds: float) -> None:
        assert not await alarms.wait(News(), seconds)
        ended.append(seconds)

    await asyncio.wait_for(asyncio.gather(*(wait(seconds) for seconds in (0.03, 0.01, 0.02, 0, -1))), 5)
    assert ended[2:] == [0.01, 0.02, 0.03]


async def test_a_thousand_waits_share_a_timer(timers: list[float]) -> None:
    alarms, news = Alarms(), News()
    waits = [asyncio.create_task(alarms.wait(news, LONG + number)) for number in range(1_000)]
    await start(*waits)
    assert len(timers) == 1
    news.set()
    await asyncio.gather(*waits)


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    alarms, news = Alarms(), News()
    for _ in range(2 * SLACK + 1):
        wait = asyncio.create_task(alarms.wait(news, LONG))
        await start(wait)
        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)
    assert not news._waiting
    assert len(alarms._due) <= SLACK


async def test_waits_that_have_ended_do_not_pile_up_until_their_time_would_have_been_over() -> None:
    alarms = Alarms()
    for _ in range(10 * SLACK):
        news = News()
        asyncio.get_running_loop().call_soon(news.set)
        assert await alarms.wait(news, LONG)
    assert len(alarms._due) <= SLACK + 1


async def test_no_timer_is_left_when_all_have_ended() -> None:
    alarms, news = Alarms(), News()
    wait = asyncio.create_task(alarms.wait(news, LONG))
    await start(wait)
    news.set()
    await wait
    alarms.forget_ended()
    assert alarms._timer is None


async def test_forgetting_what_has_ended_keeps_what_has_not() -> None:
    alarms = Alarms()
    wait = asyncio.create_task(alarms.wait(News(), 0.01))
    await start(wait)
    alarms.forget_ended()
    assert not await asyncio.wait_for(wait, 5)
