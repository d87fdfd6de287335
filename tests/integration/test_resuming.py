"""A map with a key, interrupted and run again: what has ended is taken over, the rest is run."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from dispatcher import Dispatcher, Failed, Registry, Succeeded
from dispatcher.testing import embedded_dispatcher
from dispatcher.transport.connection import connect_async
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.map_journal import MapJournal

#: How often each number was asked for.
calls: Counter[int] = Counter()
gate = asyncio.Event()

registry = Registry()


@registry.function
def square(number: int) -> int:
    """Square a number."""
    calls[number] += 1
    if number == 13:
        msg = "unlucky"
        raise ValueError(msg)
    return number * number


@pytest.fixture(autouse=True)
def _none_made() -> None:
    calls.clear()


@pytest.fixture
async def dispatcher() -> AsyncIterator[Dispatcher]:
    async with embedded_dispatcher(registry) as made:
        yield made


def rows(count: int) -> Iterator[dict[str, object]]:
    for number in range(count):
        yield {"number": number}


async def run(dispatcher: Dispatcher, count: int, *, stop_at: int | None = None, key: str = "import") -> list[object]:
    """The outcomes of a run, as values; one that stops early closes the iteration, as `break` would."""
    values: list[object] = []
    outcomes = dispatcher.map(square, rows(count), key=key, calls_per_job=5, window=20)
    async for outcome in outcomes:
        values.append(outcome.value if isinstance(outcome, Succeeded) else type(outcome).__name__)
        if stop_at is not None and len(values) == stop_at:
            await outcomes.aclose()  # type: ignore[attr-defined]
            break
    return values


def expected(count: int) -> list[object]:
    return [number * number if number != 13 else "Failed" for number in range(count)]


async def test_a_run_that_is_repeated_calls_nothing_again_and_gives_the_same_outcomes(dispatcher: Dispatcher) -> None:
    assert await run(dispatcher, 32) == expected(32)
    assert await run(dispatcher, 32) == expected(32)
    assert set(calls.values()) == {1}


async def test_a_run_that_was_stopped_goes_on_where_it_was(dispatcher: Dispatcher) -> None:
    assert len(await run(dispatcher, 60, stop_at=21)) == 21
    made = Counter(calls)
    assert await run(dispatcher, 60) == expected(60)
    assert all(calls[number] == 1 for number in range(20)), "what was handed out is not called again"
    assert sum(calls.values()) - sum(made.values()) <= 60 - 20


async def test_more_rows_than_before_are_called_and_the_former_are_not(dispatcher: Dispatcher) -> None:
    await run(dispatcher, 10)
    assert await run(dispatcher, 25) == expected(25)
    assert set(calls.values()) == {1}


async def test_rows_that_changed_are_called_anew(dispatcher: Dispatcher) -> None:
    await run(dispatcher, 10)
    changed = [{"number": 100 + number} for number in range(10)]
    outcomes = [one async for one in dispatcher.map(square, changed, key="import", calls_per_job=5)]
    assert outcomes[0] == Succeeded(value=10_000)
    assert calls[100] == 1


async def test_another_key_is_another_run(dispatcher: Dispatcher) -> None:
    await run(dispatcher, 10)
    await run(dispatcher, 10, key="another")
    assert calls[0] == 2


async def test_without_a_key_nothing_is_taken_over(dispatcher: Dispatcher) -> None:
    for _ in range(2):
        outcomes = [one async for one in dispatcher.map(square, rows(14), calls_per_job=5)]
        assert isinstance(outcomes[13], Failed)
    assert calls[0] == 2


async def test_what_a_run_of_very_many_jobs_left_is_read_in_steps(
    server: EmbeddedServer, client: redis.Redis, namespace: str
) -> None:
    """The server does nothing else while it gives out a whole hash."""
    name = f"{namespace}:journal"
    client.hset(name, mapping={str(5 * number): "5" for number in range(5_000)})
    client.config_resetstat()
    async with connect_async(server.url, role="test") as connected:
        found = await MapJournal(connected, name, keep_seconds=60, address="").read()
    client.delete(name)
    assert found == {5 * number: 5 for number in range(5_000)}
    steps = client.info("commandstats")
    assert steps["cmdstat_hscan"]["calls"] >= 5
    assert "cmdstat_hgetall" not in steps


async def test_positions_stay_those_of_the_rows_when_it_is_resumed_without_order(dispatcher: Dispatcher) -> None:
    await run(dispatcher, 20, stop_at=7)
    found = {}
    async for position, outcome in dispatcher.map_unordered(square, rows(40), key="import", calls_per_job=5):
        found[position] = outcome.value if isinstance(outcome, Succeeded) else type(outcome).__name__
    assert [found[position] for position in range(40)] == expected(40)
