"""The embedded dispatcher of `dispatcher.testing`: real calls, with nothing to install or start."""

import asyncio
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from dispatcher import (
    Cancelled,
    Dispatcher,
    Expired,
    Failed,
    Registry,
    RetryPolicy,
    Settings,
    Succeeded,
    SyncDispatcher,
    current_job,
)
from dispatcher.model.outcome import ErrorKind
from dispatcher.testing import embedded_dispatcher, embedded_worker
from dispatcher.testing.embedded import QUICK_SETTINGS
from dispatcher.transport.embedded import EmbeddedServer

PATIENCE = timedelta(seconds=30)


async def test_calls_really_run_and_functions_may_be_closures() -> None:
    registry, seen = Registry(), list[int]()

    @registry.function
    def remember(number: int) -> int:
        """Remember a number."""
        seen.append(number)
        return number + 1

    async with embedded_dispatcher(registry) as dispatcher:
        assert await (await dispatcher.dispatch(remember.call(1))).result(PATIENCE) == 2
        outcomes = [outcome async for outcome in dispatcher.map(remember, ({"number": n} for n in range(2, 50)))]
    assert sorted(seen) == list(range(1, 50))
    assert [outcome.value for outcome in outcomes if isinstance(outcome, Succeeded)] == list(range(3, 51))


async def test_retries_delays_timeouts_deadlines_and_cancellations_are_as_on_a_worker() -> None:
    registry, go_on = Registry(), threading.Event()

    @registry.function(retry=RetryPolicy(max_attempts=3, first_wait=timedelta(milliseconds=1)))
    async def flaky() -> int:
        """Succeed the third time."""
        if current_job().attempt < 3:
            raise ConnectionError
        return current_job().attempt

    @registry.function(timeout=timedelta(milliseconds=100))
    async def slow() -> None:
        """Take too long."""
        await asyncio.sleep(60)

    @registry.function(timeout=timedelta(milliseconds=100))
    def deaf() -> None:
        """Take too long, and hear nothing."""
        go_on.wait(30)

    async with embedded_dispatcher(registry) as dispatcher:
        assert await (await dispatcher.dispatch(flaky.call())).result(PATIENCE) == 3
        assert await (await dispatcher.dispatch(flaky.call(), delay=timedelta(seconds=0.2))).result(PATIENCE) == 3
        for function in (slow, deaf):
            outcome = await (await dispatcher.dispatch(function.call())).outcome(PATIENCE)
            assert isinstance(outcome, Failed)
            assert outcome.error.kind is ErrorKind.TIMEOUT
        late = await dispatcher.dispatch(flaky.call(), delay=PATIENCE, deadline=timedelta(seconds=0.2))
        assert isinstance(await late.outcome(PATIENCE), Expired)
        waiting = await dispatcher.dispatch(flaky.call(), delay=PATIENCE)
        assert await waiting.cancel("enough")
        assert await waiting.outcome(PATIENCE) == Cancelled(reason="enough")
        go_on.set()


def test_the_same_without_asyncio(server: EmbeddedServer, namespace: str) -> None:
    registry = Registry()

    @registry.function
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    settings = Settings(url=server.url, namespace=namespace, **QUICK_SETTINGS)
    with embedded_worker(registry, settings), SyncDispatcher(registry, settings=settings) as dispatcher:
        assert dispatcher.dispatch(add.call(1, 2)).result(PATIENCE) == 3


async def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    registry = Registry()

    @registry.function
    async def nothing() -> None:
        """Do nothing."""

    before = set(threading.enumerate())
    async with embedded_dispatcher(registry, concurrency=2) as dispatcher:
        await (await dispatcher.dispatch(nothing.call())).result(PATIENCE)
        assert os.listdir(tmp_path)  # noqa: PTH208
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    until = time.monotonic() + 10
    while left := {t for t in threading.enumerate() if t.name.startswith("dispatcher")} - before:
        assert time.monotonic() < until, left
        await asyncio.sleep(0.01)


async def test_two_at_once_are_apart() -> None:
    def made(word: str) -> Registry:
        registry = Registry()

        @registry.function
        def say() -> str:
            """Say the word."""
            return word

        return registry

    one, two = made("one"), made("two")
    async with embedded_dispatcher(one) as first, embedded_dispatcher(two) as second:
        outcomes = await asyncio.gather(
            *(
                dispatcher.gather(*[registry.bind("say", {})] * 10)
                for dispatcher, registry in ((first, one), (second, two))
            )
        )
    assert [{outcome.value for outcome in each if isinstance(outcome, Succeeded)} for each in outcomes] == [
        {"one"},
        {"two"},
    ]


async def test_a_function_that_was_renamed_serves_producers_that_do_not_know_yet(
    server: EmbeddedServer, namespace: str
) -> None:
    before, after = Registry(), Registry()

    @before.function(name="old.name")
    def old(number: int) -> int:
        """Before."""
        return number

    @after.function(name="new.name", aliases=["old.name"])
    def new(number: int) -> int:
        """After."""
        return number + 1

    settings = Settings(url=server.url, namespace=namespace, **QUICK_SETTINGS)
    with embedded_worker(after, settings):
        async with Dispatcher(before, settings=settings) as dispatcher:
            assert await (await dispatcher.dispatch(old.call(1))).result(PATIENCE) == 2
