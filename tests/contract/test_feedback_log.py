"""What every feedback log promises."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dispatcher.selection.feedback import Feedback, FeedbackLog, MemoryFeedbackLog, Verdict
from dispatcher.settings import Settings
from dispatcher.transport.connection import connect_async
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.feedback_log import RedisFeedbackLog
from dispatcher.transport.keys import Keys


@pytest.fixture(params=["memory", "server"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[FeedbackLog]:
    if request.param == "memory":
        yield MemoryFeedbackLog()
        return
    server: EmbeddedServer = request.getfixturevalue("server")
    settings: Settings = request.getfixturevalue("settings")
    async with connect_async(server.url, role="test") as client:
        yield RedisFeedbackLog(client, Keys(settings.namespace), settings)


def right(text: str, **parts) -> Feedback:
    return Feedback(text=text, verdict=Verdict.RIGHT, function="text.count", **parts)


async def read_all(log: FeedbackLog, limit: int = 1_000) -> list[str]:
    texts, position = [], log.start
    while entries := await log.read(position, limit):
        texts += [entry.feedback.text for entry in entries]
        position = entries[-1].position
    return texts


async def test_an_empty_log_stands_at_its_start(log: FeedbackLog) -> None:
    assert await log.last() == log.start
    assert list(await log.read(log.start)) == []


async def test_what_was_said_comes_back_whole(log: FeedbackLog) -> None:
    said = [
        Feedback(text='how many words, "please"?\n数一下\0', verdict=Verdict.RIGHT, function="text.count", weight=0.25),
        Feedback(text="that one", verdict=Verdict.WRONG, function="text.count", source="ann", previous_function="a.b"),
        Feedback(text="tell me a joke", verdict=Verdict.NOTHING, topic="jokes"),
    ]
    positions = [position for feedback in said for position in await log.append(feedback, producer="p1")]
    entries = await log.read(log.start)
    assert [entry.feedback for entry in entries] == said
    assert [entry.position for entry in entries] == positions
    assert {entry.producer for entry in entries} == {"p1"}
    assert len(set(positions)) == 3
    assert await log.last() == positions[-1]


async def test_reading_goes_on_after_a_position_and_in_pages(log: FeedbackLog) -> None:
    positions = await log.append(*(right(f"text {number}") for number in range(7)), producer="p")
    assert [entry.feedback.text for entry in await log.read(positions[4])] == ["text 5", "text 6"]
    assert list(await log.read(positions[6])) == []
    assert len(await log.read(log.start, 3)) == 3
    assert list(await log.read(log.start, 0)) == []
    assert await read_all(log, 3) == [f"text {number}" for number in range(7)]


async def test_two_producers_at_once_share_one_order(log: FeedbackLog) -> None:
    async def say(producer: str) -> None:
        for number in range(25):
            await log.append(right(f"{producer} {number}"), producer=producer)

    await asyncio.gather(say("p1"), say("p2"))
    once, again = await read_all(log), await read_all(log, 7)
    assert once == again
    assert sorted(once) == sorted(f"{producer} {number}" for producer in ("p1", "p2") for number in range(25))
    for producer in ("p1", "p2"):
        own = [text for text in once if text.startswith(producer)]
        assert own == [f"{producer} {number}" for number in range(25)]


async def test_what_comes_while_one_reads_is_read_next(log: FeedbackLog) -> None:
    await log.append(right("before"), producer="p")
    (entry,) = await log.read(log.start)
    await log.append(right("after"), producer="p")
    assert [later.feedback.text for later in await log.read(entry.position)] == ["after"]


async def test_a_position_that_is_none_is_refused(log: FeedbackLog) -> None:
    with pytest.raises(ValueError, match="yesterday"):
        await log.read("yesterday")
