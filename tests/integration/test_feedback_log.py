"""The feedback log on a real server: how much one may say, how long it stays, and what somebody spoilt by hand."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
import redis
import redis.asyncio

from dispatcher.errors import Acceptance, FeedbackRefusedError, ServerUnreachableError
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.settings import Settings
from dispatcher.transport.connection import connect_async
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.feedback_log import MAX_ENTRY_BYTES, RedisFeedbackLog
from dispatcher.transport.keys import Keys
from tests.integration.ledger_rig import Rig


@pytest.fixture
async def loop_client(server: EmbeddedServer) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect_async(server.url, role="test") as connected:
        yield connected


@pytest.fixture
def keys(rig: Rig) -> Keys:
    return rig.keys


@pytest.fixture
def log(loop_client: redis.asyncio.Redis, rig: Rig) -> RedisFeedbackLog:
    return make_log(loop_client, rig)


def make_log(client: redis.asyncio.Redis, rig: Rig, **settings: int) -> RedisFeedbackLog:
    return RedisFeedbackLog(client, rig.keys, Settings(namespace=rig.settings.namespace, **settings))


def right(text: str, source: str = "") -> Feedback:
    return Feedback(text=text, verdict=Verdict.RIGHT, function="text.count", source=source)


def by_hand(client: redis.Redis, keys: Keys, entry: str | bytes, field: str = "entry", position: str = "*") -> str:
    return client.xadd(keys.feedback, {field: entry}, id=position).decode()


def pass_time(rig: Rig, seconds: int = 60) -> None:
    """What every source said is moved into the past."""
    for key in rig.client.scan_iter(match=f"{rig.keys.prefix}feedback-source:*"):
        said = rig.client.lrange(key, 0, -1)
        rig.client.delete(key)
        rig.client.rpush(key, *(int(at) - seconds * 1_000 for at in said))
        rig.client.expire(key, 60)


async def texts(log: RedisFeedbackLog, after: str = RedisFeedbackLog.start) -> list[str]:
    return [entry.feedback.text for entry in await log.read(after)]


class TestHowMuchOneMaySay:
    async def test_a_source_says_so_much_within_a_minute_and_is_told_when_it_may_say_more(
        self, loop_client: redis.asyncio.Redis, rig: Rig
    ) -> None:
        log = make_log(loop_client, rig, feedback_per_source=3)
        for number in range(3):
            await log.append(right(f"{number}", "ann"), producer="p")
        with pytest.raises(FeedbackRefusedError) as caught:
            await log.append(right("one too many", "ann"), producer="another producer")
        error = caught.value
        assert (error.source, error.limit, error.accepted) == ("ann", 3, Acceptance.NO)
        assert timedelta(seconds=50) < error.retry_after <= timedelta(minutes=1)
        assert "'ann' would have given more than 3 feedbacks within a minute" in str(error)
        assert "DISPATCHER_FEEDBACK_PER_SOURCE" in str(error)
        assert "try again in 60 s" in str(error)
        assert await texts(log) == ["0", "1", "2"]
        assert (rig.counts()["feedback"], rig.counts()["feedback_refused"]) == (3, 1)

    async def test_what_is_said_at_once_is_logged_whole_or_not_at_all(
        self, loop_client: redis.asyncio.Redis, rig: Rig
    ) -> None:
        log = make_log(loop_client, rig, feedback_per_source=4)
        at_once = [right(text, "ann") for text in ("a", "b")]
        positions = await log.append(*at_once, producer="p")
        assert [entry.position for entry in await log.read(log.start)] == positions
        await log.append(right("c", "ann"), producer="p")
        with pytest.raises(FeedbackRefusedError):
            await log.append(*at_once, producer="p")
        await log.append(right("d", "ann"), producer="p")
        assert await texts(log) == ["a", "b", "c", "d"]
        assert (rig.counts()["feedback"], rig.counts()["feedback_refused"]) == (4, 2)
        pass_time(rig)
        await log.append(*at_once, producer="p")
        assert len(await texts(log)) == 6

    async def test_who_may_wait_for_room_is_told_how_long_until_all_of_it_has_some(
        self, loop_client: redis.asyncio.Redis, rig: Rig
    ) -> None:
        log = make_log(loop_client, rig, feedback_per_source=2)
        await log.append(right("a", "ann"), producer="p")
        pass_time(rig, 30)
        await log.append(right("b", "ann"), producer="p")
        with pytest.raises(FeedbackRefusedError) as one:
            await log.append(right("c", "ann"), producer="p")
        with pytest.raises(FeedbackRefusedError) as two:
            await log.append(right("c", "ann"), right("d", "ann"), producer="p")
        assert one.value.retry_after <= timedelta(seconds=30) < two.value.retry_after

    async def test_more_than_a_source_may_say_is_taken_where_it_said_nothing_else(
        self, loop_client: redis.asyncio.Redis, rig: Rig
    ) -> None:
        log = make_log(loop_client, rig, feedback_per_source=2)
        at_once = [right(text, "ann") for text in ("a", "b", "c")]
        await log.append(*at_once, producer="p")
        for later in (at_once[:1], at_once):
            with pytest.raises(FeedbackRefusedError):
                await log.append(*later, producer="p")
        pass_time(rig)
        await log.append(*at_once, producer="p")
        assert len(await texts(log)) == 6

    async def test_a_refusal_of_one_keeps_no_other_from_speaking(
        self, loop_client: redis.asyncio.Redis, rig: Rig
    ) -> None:
        log = make_log(loop_client, rig, feedback_per_source=1)
        for source in ("ann", "bob", ""):
            await log.append(right(source, source), producer="p")
            with pytest.raises(FeedbackRefusedError):
                await log.append(right("more", source), producer="p")
        assert await texts(log) == ["ann", "bob", ""]

    async def test_who_names_no_source_counts_by_the_producer(self, loop_client: redis.asyncio.Redis, rig: Rig) -> None:
        log = make_log(loop_client, rig, feedback_per_source=1)
        await log.append(right("a"), producer="p1")
        await log.append(right("b"), producer="p2")
        await log.append(right("c", "p1"), producer="p3")  # a source called like a producer is another
        with pytest.raises(FeedbackRefusedError, match="'producer p1'"):
            await log.append(right("d"), producer="p1")

    async def test_after_the_minute_it_may_say_as_much_again(self, loop_client: redis.asyncio.Redis, rig: Rig) -> None:
        log = make_log(loop_client, rig, feedback_per_source=2)
        for turn in range(3):
            for number in range(2):
                await log.append(right(f"{turn}{number}", "ann"), producer="p")
            with pytest.raises(FeedbackRefusedError):
                await log.append(right("more", "ann"), producer="p")
            pass_time(rig)
        assert len(await texts(log)) == 6

    async def test_a_moment_before_the_minute_is_over_it_may_not(
        self, loop_client: redis.asyncio.Redis, rig: Rig
    ) -> None:
        log = make_log(loop_client, rig, feedback_per_source=1)
        await log.append(right("a", "ann"), producer="p")
        pass_time(rig, 57)
        with pytest.raises(FeedbackRefusedError) as caught:
            await log.append(right("b", "ann"), producer="p")
        assert timedelta(0) < caught.value.retry_after <= timedelta(seconds=3)

    async def test_the_window_slides_so_that_no_minute_holds_more(
        self, loop_client: redis.asyncio.Redis, rig: Rig
    ) -> None:
        log = make_log(loop_client, rig, feedback_per_source=2)
        await log.append(right("old", "ann"), producer="p")
        pass_time(rig)
        for text in ("a", "b"):
            await log.append(right(text, "ann"), producer="p")
        with pytest.raises(FeedbackRefusedError):
            await log.append(right("c", "ann"), producer="p")

    async def test_producers_at_once_cannot_get_past_it(self, server: EmbeddedServer, rig: Rig) -> None:
        async def flood(producer: str) -> int:
            said = 0
            async with connect_async(server.url, role="test") as client:
                log = make_log(client, rig, feedback_per_source=10)
                for number in range(20):
                    try:
                        await log.append(right(f"{producer} {number}", "mallory"), producer=producer)
                    except FeedbackRefusedError:
                        continue
                    said += 1
            return said

        assert sum(await asyncio.gather(*(flood(f"p{number}") for number in range(4)))) == 10
        assert rig.client.xlen(rig.keys.feedback) == 10

    async def test_a_counter_lives_a_minute_and_does_not_show_who_it_is_of(
        self, log: RedisFeedbackLog, rig: Rig
    ) -> None:
        await log.append(right("a", "ann@example.org"), producer="p")
        (counter,) = [key for key in rig.every_key() if "feedback-source" in key]
        assert "ann" not in counter
        assert 50_000 < rig.client.pttl(counter) <= 60_000

    async def test_a_counter_that_somebody_spoilt_does_not_silence_its_source(
        self, loop_client: redis.asyncio.Redis, rig: Rig
    ) -> None:
        log = make_log(loop_client, rig, feedback_per_source=1)
        await log.append(right("a", "ann"), producer="p")
        (counter,) = [key for key in rig.every_key() if "feedback-source" in key]
        rig.client.lset(counter, 0, "yesterday")
        await log.append(right("b", "ann"), producer="p")
        assert await texts(log) == ["a", "b"]


class TestHowMuchStays:
    async def test_every_append_renews_its_life(self, loop_client: redis.asyncio.Redis, rig: Rig) -> None:
        log = make_log(loop_client, rig, feedback_ttl_seconds=1_000)
        await log.append(right("a"), producer="p")
        rig.client.expire(rig.keys.feedback, 5)
        await log.append(right("b"), producer="p")
        assert 990 < rig.client.ttl(rig.keys.feedback) <= 1_000

    def test_by_default_it_lives_for_90_days(self) -> None:
        assert Settings().feedback_ttl_seconds == timedelta(days=90).total_seconds()

    async def test_of_too_many_the_oldest_go_and_a_reader_passes_over_the_gap(
        self, loop_client: redis.asyncio.Redis, rig: Rig
    ) -> None:
        log = make_log(loop_client, rig, max_feedback=50, feedback_per_source=10_000)
        (first,) = await log.append(right("0"), producer="p")
        for number in range(1, 400):
            await log.append(right(str(number)), producer="p")
        assert 50 <= rig.client.xlen(rig.keys.feedback) <= 150
        left = await texts(log, first)
        assert left == [str(number) for number in range(400 - len(left), 400)]

    async def test_a_position_outlives_the_loss_of_the_log(self, log: RedisFeedbackLog, rig: Rig) -> None:
        (before,) = await log.append(right("before"), producer="p")
        rig.client.delete(rig.keys.feedback)
        assert await log.last() == log.start
        await log.append(right("after"), producer="p")
        assert await texts(log, before) == ["after"]

    async def test_an_entry_has_a_time_and_a_size(self, log: RedisFeedbackLog, rig: Rig) -> None:
        seconds, _ = rig.client.time()
        await log.append(right("🙂" * 5_000), producer="p")
        (entry,) = await log.read(log.start)
        assert abs(entry.at - seconds) < 5
        assert entry.feedback.text == "🙂" * 4_096
        with pytest.raises(ValueError, match=f"at most {MAX_ENTRY_BYTES:,} bytes"):
            await log.append(right("a", "x" * MAX_ENTRY_BYTES), producer="p")
        assert await log.last() == entry.position

    async def test_half_a_character_is_logged_as_a_question_mark(self, log: RedisFeedbackLog) -> None:
        await log.append(right("half \ud83d of it", source="\udc00"), producer="p")
        assert await texts(log) == ["half ? of it"]


GOOD = {
    "v": 1,
    "producer": "p",
    "feedback": {
        "text": "by hand",
        "verdict": "right",
        "function": "text.count",
        "weight": 1,
        "source": "",
        "previous_function": "",
        "topic": "",
    },
}

BROKEN: dict[str, str | bytes] = {
    "no JSON": "no JSON",
    "no text": b"\xff\xfe\x00",
    "nothing": "",
    "deep": "[" * 50_000,
    "a list": "[]",
    "another version": json.dumps(GOOD | {"v": 2}),
    "no version": json.dumps({name: GOOD[name] for name in ("producer", "feedback")}),
    "something more": json.dumps(GOOD | {"admin": True}),
    "something more within": json.dumps(GOOD | {"feedback": GOOD["feedback"] | {"admin": True}}),
    "an unknown verdict": json.dumps(GOOD | {"feedback": GOOD["feedback"] | {"verdict": "splendid"}}),
    "a contradiction": json.dumps(GOOD | {"feedback": GOOD["feedback"] | {"verdict": "nothing"}}),
    "a weight of 1000": json.dumps(GOOD | {"feedback": GOOD["feedback"] | {"weight": 1000}}),
    "a weight of NaN": json.dumps(GOOD | {"feedback": GOOD["feedback"] | {"weight": float("nan")}}),
    "a weight in words": json.dumps(GOOD | {"feedback": GOOD["feedback"] | {"weight": "1"}}),
}


class TestBrokenEntries:
    @pytest.fixture(autouse=True)
    def _ends(self, rig: Rig) -> Iterator[None]:
        """What is made by hand has no time to live of its own."""
        yield
        rig.client.delete(rig.keys.feedback)

    @pytest.mark.parametrize("name", BROKEN)
    async def test_one_is_logged_and_passed_over(
        self, log: RedisFeedbackLog, rig: Rig, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        await log.append(right("before"), producer="p")
        position = by_hand(rig.client, rig.keys, BROKEN[name])
        await log.append(right("after"), producer="p")
        assert await texts(log) == ["before", "after"]
        (record,) = caplog.records
        assert (record.message, record.levelno) == ("feedback_not_read", logging.WARNING)
        assert record.__dict__["position"] == position
        assert record.__dict__["reason"]
        assert "by hand" not in record.__dict__["reason"], "what somebody said is not repeated"

    async def test_an_entry_of_another_field_is_passed_over(self, log: RedisFeedbackLog, rig: Rig) -> None:
        by_hand(rig.client, rig.keys, json.dumps(GOOD), field="other")
        by_hand(rig.client, rig.keys, json.dumps(GOOD))
        assert await texts(log) == ["by hand"]

    async def test_a_reader_gets_past_any_number_of_them(self, log: RedisFeedbackLog, rig: Rig) -> None:
        (before,) = await log.append(right("before"), producer="p")
        for _ in range(25):
            by_hand(rig.client, rig.keys, "broken")
        assert [entry.feedback.text for entry in await log.read(before, 10)] == []
        await log.append(right("after"), producer="p")
        assert [entry.feedback.text for entry in await log.read(before, 10)] == ["after"]
        assert [entry.feedback.text for entry in await log.read(log.start, 10)] == ["before"]

    async def test_a_reader_that_waits_behind_them_meets_each_once(
        self, log: RedisFeedbackLog, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        (position,) = await log.append(right("before"), producer="p")
        for _ in range(3):
            by_hand(rig.client, rig.keys, "broken")
            for _ in range(5):
                assert list(await log.read(position)) == []
        assert len(caplog.records) == 3

    async def test_the_newest_position_is_that_of_a_broken_one_too(self, log: RedisFeedbackLog, rig: Rig) -> None:
        await log.append(right("before"), producer="p")
        position = by_hand(rig.client, rig.keys, "broken")
        assert await log.last() == position

    @pytest.mark.parametrize(
        "position", ["", "-", "1-", "1-2-3", "9" * 30, "18446744073709551615-18446744073709551615"]
    )
    async def test_a_position_that_is_none_is_refused_before_the_server_is_asked(
        self, log: RedisFeedbackLog, position: str
    ) -> None:
        with pytest.raises(ValueError, match="no position"):
            await log.read(position)

    async def test_the_start_of_a_log_in_memory_is_a_start_here_too(self, log: RedisFeedbackLog) -> None:
        await log.append(right("a"), producer="p")
        assert await texts(log, "0") == ["a"]


async def test_a_server_that_is_away_is_named(rig: Rig) -> None:
    async with connect_async("redis://127.0.0.1:1/0", role="test") as nobody:
        log = make_log(nobody, rig)
        for ask in (log.append(right("a"), producer="p"), log.read(log.start), log.last()):
            with pytest.raises(ServerUnreachableError, match=r"redis://127\.0\.0\.1:1/0") as caught:
                await ask
            assert caught.value.accepted is Acceptance.NO
