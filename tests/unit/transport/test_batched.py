"""Commands of many jobs share round trips, and none is forgotten."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ResponseError

from dispatcher.transport.batched import LIMIT, SETTLED_TOGETHER, BatchedLedger
from dispatcher.transport.script import Command, text_of


def command(number: int) -> Command[int]:
    return Command("lease", (), (number,), int)


class Ledger:
    """Answers each command with its number, when it is let."""

    def __init__(self) -> None:
        self.round_trips: list[int] = []
        self.error: Exception | None = None

    async def run_many_settled(self, commands: list[Command[Any]]) -> list[Any]:
        self.round_trips.append(len(commands))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return [one.args[0] if one.args[0] >= 0 else ValueError("negative") for one in commands]


async def test_what_is_asked_in_a_tick_travels_together() -> None:
    ledger = Ledger()
    batched = BatchedLedger(ledger)  # type: ignore[arg-type]
    assert await asyncio.gather(*[batched.submit(command(n)) for n in range(50)]) == list(range(50))
    assert ledger.round_trips == [50]


async def test_a_round_trip_is_bounded() -> None:
    ledger = Ledger()
    batched = BatchedLedger(ledger)  # type: ignore[arg-type]
    await asyncio.gather(*[batched.submit(command(n)) for n in range(2 * LIMIT + 1)])
    assert ledger.round_trips == [LIMIT, LIMIT, 1]


async def test_none_is_forgotten_however_they_come() -> None:
    """Also those that come in the very step in which the last round trip has ended."""
    batched = BatchedLedger(Ledger())  # type: ignore[arg-type]

    async def ask_again_and_again(number: int) -> None:
        for turn in range(50):
            assert await batched.submit(command(number)) == number
            for _ in range((number * 7 + turn) % 5):
                await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(*[ask_again_and_again(number) for number in range(40)])
        # And where nobody else comes, who would have it sent with his own.
        await ask_again_and_again(0)


async def test_a_refusal_is_that_commands_own_and_a_broken_connection_everybodys() -> None:
    ledger = Ledger()
    batched = BatchedLedger(ledger)  # type: ignore[arg-type]
    fine, refused = batched.submit(command(1)), batched.submit(command(-1))
    assert await fine == 1
    with pytest.raises(ValueError, match="negative"):
        await refused
    ledger.error = ConnectionError("away")
    for future in [batched.submit(command(n)) for n in range(3)]:
        with pytest.raises(ConnectionError):
            await future
    ledger.error = None
    assert await batched.submit(command(4)) == 4


async def test_one_that_no_longer_waits_disturbs_nobody() -> None:
    batched = BatchedLedger(Ledger())  # type: ignore[arg-type]
    gone, staying = batched.submit(command(1)), batched.submit(command(2))
    gone.cancel()
    assert await staying == 2


def settlement(job_id: str) -> Command[str]:
    return Command("settle", ("prefix", f"result-{job_id}"), (2, job_id, 1), lambda replies: text_of(replies[0]))


class SettlingLedger:
    """Says of each settlement whose it is; of job `broken` that it is."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.error: Exception | None = None

    async def run_many_settled(self, commands: list[Command[Any]]) -> list[Any]:
        self.asked += [(one.script, len(one.keys) - 1) for one in commands]
        await asyncio.sleep(0)
        return [self.answer(one) for one in commands]

    def answer(self, one: Command[Any]) -> Any:
        if one.script != "settle":
            return one.args[0]
        if self.error is not None:
            return self.error
        ids = [str(word) for word in one.args[1::3]]
        assert one.keys == ("prefix", *(f"result-{job_id}" for job_id in ids))
        return one.read([b"error:WRONGTYPE" if job_id == "broken" else job_id.encode() for job_id in ids])


async def test_jobs_that_end_in_a_tick_are_settled_by_one_script() -> None:
    ledger = SettlingLedger()
    batched = BatchedLedger(ledger)  # type: ignore[arg-type]
    asked: list[Any] = [settlement("a"), command(5), settlement("b"), settlement("c")]
    assert await asyncio.gather(*map(batched.submit, asked)) == ["a", 5, "b", "c"]
    assert ledger.asked == [("lease", -1), ("settle", 3)]


async def test_a_script_settles_no_more_than_the_server_may_be_held_up_by() -> None:
    ledger = SettlingLedger()
    batched = BatchedLedger(ledger)  # type: ignore[arg-type]
    names = [str(number) for number in range(SETTLED_TOGETHER + 1)]
    assert await asyncio.gather(*[batched.submit(settlement(name)) for name in names]) == names
    assert ledger.asked == [("settle", SETTLED_TOGETHER), ("settle", 1)]


async def test_a_broken_record_spoils_no_other_settlement() -> None:
    ledger = SettlingLedger()
    batched = BatchedLedger(ledger)  # type: ignore[arg-type]
    asked = [batched.submit(settlement(name)) for name in ("a", "broken", "c")]
    assert (await asked[0], await asked[2]) == ("a", "c")
    with pytest.raises(ResponseError, match=r"^WRONGTYPE$"):
        await asked[1]
    ledger.error = ResponseError("OOM")
    for future in [batched.submit(settlement(name)) for name in ("a", "b")]:
        with pytest.raises(ResponseError, match="OOM"):
            await future
