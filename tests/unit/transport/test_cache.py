"""What of a job is kept for equal calls, and how many lookups share a round trip. No server."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as ServerGoneError

from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorInfo, ErrorKind
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.cache import (
    BATCH,
    OF_THE_FUNCTION,
    Found,
    ResultCache,
    Wanted,
    entry_name,
    read_entry,
    topics_of,
    what_to_keep,
)
from dispatcher.transport.commands import Commands
from dispatcher.transport.outcomes import CallRecord, JobRecord

registry = Registry()


@registry.function(cache=timedelta(minutes=1), tags=["b", "a"], version="2")
def kept(number: int) -> int:
    """Kept."""
    return number


@registry.function(cache=timedelta(minutes=1), cache_failures=timedelta(seconds=5))
def failing(number: int) -> int:
    """Failures too."""
    return number


@registry.function
def forgotten(number: int) -> int:
    """Not kept."""
    return number


def failed(kind: ErrorKind) -> CallRecord:
    return CallRecord(state=JobState.FAILED, error=ErrorInfo(kind=kind, type="ValueError", message="no"))


GOOD = CallRecord(state=JobState.SUCCEEDED, value="[1,2]")
ARGUMENTS = '{"number":1}'


class TestKeeping:
    def test_each_call_that_succeeded_is_kept_under_its_name(self) -> None:
        record = JobRecord(attempts=1, calls=(GOOD, failed(ErrorKind.FUNCTION), GOOD))
        calls = [kept.call(number).arguments for number in range(3)]
        first, third = what_to_keep(kept, calls, record)
        assert (first.name, third.name) == (entry_name(kept.call(0)), entry_name(kept.call(2)))
        assert (first.entry, first.lifetime) == ("s[1,2]", timedelta(minutes=1))
        assert read_entry(first.entry) == GOOD

    @pytest.mark.parametrize("kind", list(ErrorKind))
    def test_a_failure_is_kept_where_asked_and_where_it_is_the_functions_own(self, kind: ErrorKind) -> None:
        record = JobRecord(attempts=1, calls=(failed(kind),))
        found = what_to_keep(failing, [ARGUMENTS], record)
        assert [read_entry(one.entry) for one in found] == ([failed(kind)] if kind in OF_THE_FUNCTION else [])
        assert all(one.lifetime == timedelta(seconds=5) for one in found)
        assert what_to_keep(kept, [ARGUMENTS], record) == []

    @pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.EXPIRED])
    def test_what_was_given_up_is_not_kept(self, state: JobState) -> None:
        assert what_to_keep(failing, [ARGUMENTS], JobRecord(attempts=0, calls=(CallRecord(state=state),))) == []

    def test_one_entry_that_stands_for_many_calls_is_not_kept(self) -> None:
        assert what_to_keep(kept, [ARGUMENTS] * 2, JobRecord(attempts=1, calls=(GOOD,))) == []

    def test_a_function_that_keeps_nothing_has_neither_topics_nor_entries(self) -> None:
        assert what_to_keep(forgotten, [ARGUMENTS], JobRecord(attempts=1, calls=(GOOD,))) == []
        assert topics_of(forgotten, "1") == ()

    def test_the_topics_are_the_function_its_version_and_its_tags(self) -> None:
        assert topics_of(kept, "1") == ("function:kept", "version:kept:1", "tag:a", "tag:b")

    def test_a_name_shows_no_argument_and_another_version_has_another(self) -> None:
        name = entry_name(kept.call(77_777))
        assert name.startswith("kept:")
        assert "77777" not in name
        assert entry_name(kept.call(1)) != entry_name(kept.call(2))


class FakeClient:
    """Answers when the test says so: for each call its own name, as what is kept."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def evalsha(self, sha: str, keys: int, *arguments: Any) -> list[list[bytes]]:
        names = list(arguments[2::4])
        self.asked.append(names)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return [[b"cached", f"s{name}".encode()] for name in names]


def wanted(number: int) -> Wanted:
    return Wanted(name=str(number), topics=("function:f",), function="f")


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def cache(client: FakeClient) -> ResultCache:
    return ResultCache(cast("redis.asyncio.Redis", client), Commands(Settings()), "producer")


class TestLookups:
    async def test_those_that_come_while_one_is_on_its_way_share_the_next(
        self, cache: ResultCache, client: FakeClient
    ) -> None:
        tasks = [asyncio.create_task(cache.find(wanted(number))) for number in range(BATCH + 5)]
        await asyncio.sleep(0)
        client.gate.set()
        assert await asyncio.gather(*tasks) == [Found(entry=f"s{number}") for number in range(BATCH + 5)]
        assert [len(names) for names in client.asked] == [1, BATCH, 4]
        assert await cache.find(wanted(9)) == Found(entry="s9")

    async def test_a_failure_is_that_of_all_who_shared_it_and_of_nobody_later(
        self, cache: ResultCache, client: FakeClient
    ) -> None:
        client.failure = ServerGoneError("gone")
        tasks = [asyncio.create_task(cache.find(wanted(number))) for number in range(3)]
        await asyncio.sleep(0)
        client.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, ServerGoneError) for answer in answers)
        client.failure = None
        assert await cache.find(wanted(1)) == Found(entry="s1")

    async def test_one_that_is_no_longer_waited_for_holds_up_no_other(
        self, cache: ResultCache, client: FakeClient
    ) -> None:
        asks, *wait = (asyncio.create_task(cache.find(wanted(number))) for number in range(4))
        await asyncio.sleep(0)
        for gone in (asks, wait[0]):
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        client.gate.set()
        async with asyncio.timeout(5):
            assert [await one for one in wait[1:]] == [Found(entry="s2"), Found(entry="s3")]
        await cache.close()
