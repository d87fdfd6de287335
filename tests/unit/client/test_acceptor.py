"""Jobs dispatched together are accepted together, and each caller hears of its own job."""

import asyncio
from datetime import timedelta
from typing import cast

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from dispatcher.client import acceptor as module
from dispatcher.client.acceptor import AT_ONCE, BATCH, Acceptor
from dispatcher.errors import (
    Acceptance,
    BacklogFullError,
    DispatcherError,
    ServerError,
    ServerFullError,
    ServerUnreachableError,
    SettingsError,
)
from dispatcher.model.job import Job
from dispatcher.testing import FakeClock
from dispatcher.transport.admission import Admission
from dispatcher.transport.replies import Accepted
from tests.unit.client.fakes import ADDRESS, FakeLedger, connection_broke, never_connected, settle

TIMEOUT = 5.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def ledger(clock: FakeClock) -> FakeLedger:
    return FakeLedger(clock)


@pytest.fixture
def acceptor(ledger: FakeLedger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Acceptor:
    monkeypatch.setattr(module, "PAUSE", 0)
    return Acceptor(cast("Admission", ledger), clock, ADDRESS, TIMEOUT)


def job(job_id: str) -> Job:
    return Job(id=job_id, function="add", version="1", calls=("{}",), queue="default", deadline=timedelta(minutes=1))


async def accept_all(acceptor: Acceptor, *job_ids: str) -> list[Accepted | BaseException]:
    return await asyncio.gather(*(acceptor.accept(job(job_id)) for job_id in job_ids), return_exceptions=True)


async def test_what_is_dispatched_in_one_turn_shares_a_round_trip(acceptor: Acceptor, ledger: FakeLedger) -> None:
    answers = await accept_all(acceptor, "a", "b", "c")
    assert ledger.batches == [["a", "b", "c"]]
    assert [answer.job_id for answer in answers if isinstance(answer, Accepted)] == ["a", "b", "c"]


async def test_what_is_dispatched_later_takes_another_round_trip(acceptor: Acceptor, ledger: FakeLedger) -> None:
    await accept_all(acceptor, "a")
    await accept_all(acceptor, "b")
    assert ledger.batches == [["a"], ["b"]]


async def test_many_jobs_take_several_round_trips_a_few_of_them_at_once(acceptor: Acceptor, ledger: FakeLedger) -> None:
    job_ids = [str(number) for number in range(BATCH * (AT_ONCE + 2) + 1)]
    ledger.gate.clear()
    accepting = asyncio.create_task(accept_all(acceptor, *job_ids))
    await settle()
    assert ledger.under_way == AT_ONCE
    ledger.gate.set()
    answers = await accepting
    assert [len(batch) for batch in ledger.batches] == [BATCH] * (AT_ONCE + 2) + [1]
    assert [answer.job_id for answer in answers if isinstance(answer, Accepted)] == job_ids
    assert ledger.most_under_way == AT_ONCE


async def test_a_refusal_of_one_spoils_no_other(acceptor: Acceptor, ledger: FakeLedger) -> None:
    refusal = BacklogFullError("default", 1)
    ledger.answers["b"] = refusal
    first, second, third = await accept_all(acceptor, "a", "b", "c")
    assert isinstance(first, Accepted)
    assert second is refusal
    assert isinstance(third, Accepted)


async def test_a_server_that_refuses_one_command_is_named_to_its_caller_alone(
    acceptor: Acceptor, ledger: FakeLedger
) -> None:
    ledger.answers["b"] = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    first, second = await accept_all(acceptor, "a", "b")
    assert isinstance(first, Accepted)
    assert isinstance(second, ServerFullError)
    assert (second.address, second.accepted) == (ADDRESS, Acceptance.NO)


async def test_a_short_interruption_is_not_seen_by_the_caller(acceptor: Acceptor, ledger: FakeLedger) -> None:
    ledger.failures = [connection_broke(), never_connected()]
    (answer,) = await accept_all(acceptor, "a")
    assert isinstance(answer, Accepted)
    assert ledger.batches == [["a"]] * 3


async def test_the_server_is_tried_until_the_time_for_a_dispatch_is_over(
    acceptor: Acceptor, ledger: FakeLedger, clock: FakeClock
) -> None:
    ledger.failure = never_connected()
    ledger.before = lambda: clock.advance(1)
    (error,) = await accept_all(acceptor, "a")
    assert isinstance(error, ServerUnreachableError)
    assert len(ledger.batches) == TIMEOUT


async def test_a_job_that_was_never_sent_is_known_not_to_be_accepted(
    acceptor: Acceptor, ledger: FakeLedger, clock: FakeClock
) -> None:
    ledger.failure = never_connected()
    ledger.before = lambda: clock.advance(TIMEOUT)
    (error,) = await accept_all(acceptor, "a")
    assert isinstance(error, ServerUnreachableError)
    assert error.accepted is Acceptance.NO


async def test_whether_a_job_was_accepted_is_unknown_once_an_answer_was_lost(
    acceptor: Acceptor, ledger: FakeLedger, clock: FakeClock
) -> None:
    ledger.failures = [connection_broke()]
    ledger.failure = never_connected()
    ledger.before = lambda: clock.advance(TIMEOUT / 2)
    (error,) = await accept_all(acceptor, "a")
    assert len(ledger.batches) == 2
    assert isinstance(error, ServerUnreachableError)
    assert error.accepted is Acceptance.UNKNOWN


async def test_a_refusal_after_a_lost_answer_leaves_it_unknown_too(acceptor: Acceptor, ledger: FakeLedger) -> None:
    ledger.failures = [connection_broke()]
    ledger.answers["a"] = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    (error,) = await accept_all(acceptor, "a")
    assert isinstance(error, ServerFullError)
    assert error.accepted is Acceptance.UNKNOWN


async def test_a_server_that_refuses_is_not_tried_again(acceptor: Acceptor, ledger: FakeLedger) -> None:
    ledger.failure = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    (error,) = await accept_all(acceptor, "a")
    assert isinstance(error, ServerFullError)
    assert len(ledger.batches) == 1


@pytest.mark.parametrize("failure", [connection_broke(), ResponseError("something nobody has heard of")])
async def test_each_caller_gets_an_error_of_its_own(
    failure: Exception, acceptor: Acceptor, ledger: FakeLedger, clock: FakeClock
) -> None:
    ledger.failure = failure
    ledger.before = lambda: clock.advance(TIMEOUT)
    errors = await accept_all(acceptor, "a", "b", "c")
    assert all(isinstance(error, ServerError) for error in errors)
    assert {str(error) for error in errors} == {str(errors[0])}
    assert len({id(error) for error in errors}) == 3


async def test_nobody_waits_for_ever_when_the_round_trip_is_broken_off(acceptor: Acceptor, ledger: FakeLedger) -> None:
    ledger.gate.clear()
    accepting = asyncio.create_task(accept_all(acceptor, "a", "b"))
    await settle()
    for task in acceptor._tasks:
        task.cancel()
    errors = await accepting
    assert [error.accepted for error in errors if isinstance(error, DispatcherError)] == [Acceptance.UNKNOWN] * 2


async def test_a_caller_that_is_cancelled_spoils_no_other(acceptor: Acceptor, ledger: FakeLedger) -> None:
    ledger.gate.clear()
    tasks = [asyncio.create_task(acceptor.accept(job(job_id))) for job_id in ("a", "b")]
    await settle()
    tasks[0].cancel()
    ledger.gate.set()
    assert (await tasks[1]).job_id == "b"
    assert tasks[0].cancelled()


async def test_a_job_whose_caller_is_cancelled_before_it_was_sent_is_not_sent(
    acceptor: Acceptor, ledger: FakeLedger
) -> None:
    accepting = [acceptor.accept(job(job_id)) for job_id in ("a", "b")]
    tasks = [asyncio.create_task(one) for one in accepting]
    asyncio.get_running_loop().call_soon(tasks[0].cancel)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ledger.batches == [["b"]]


async def test_a_job_whose_caller_has_gone_is_not_sent_again(acceptor: Acceptor, ledger: FakeLedger) -> None:
    ledger.failure = never_connected()
    tasks = [asyncio.create_task(acceptor.accept(job(job_id))) for job_id in ("a", "b")]
    await settle()
    tasks[0].cancel()
    await settle()
    ledger.failure = None
    await tasks[1]
    assert ledger.batches[-1] == ["b"]


async def close_before_the_answer(acceptor: Acceptor, ledger: FakeLedger) -> None:
    closing = asyncio.create_task(acceptor.close())
    await settle()
    assert not closing.done()
    ledger.gate.set()
    await closing
    assert ledger.under_way == 0


async def test_closing_waits_for_the_answers_that_are_on_their_way(acceptor: Acceptor, ledger: FakeLedger) -> None:
    ledger.gate.clear()
    accepting = asyncio.create_task(accept_all(acceptor, "a"))
    await asyncio.sleep(0)
    await close_before_the_answer(acceptor, ledger)
    assert isinstance((await accepting)[0], Accepted)


async def test_nothing_is_taken_after_closing(acceptor: Acceptor, ledger: FakeLedger) -> None:
    await acceptor.close()
    with pytest.raises(SettingsError, match="closed"):
        await acceptor.accept(job("a"))
    assert ledger.batches == []


class TestOneByOne:
    """A job that came alone is followed by others that do: they are not kept waiting for company."""

    @pytest.fixture(autouse=True)
    async def one_came_alone(self, acceptor: Acceptor, ledger: FakeLedger) -> None:
        await accept_all(acceptor, "a")
        ledger.batches.clear()

    async def test_the_next_is_sent_before_the_loop_turns(self, acceptor: Acceptor, ledger: FakeLedger) -> None:
        accepting = asyncio.create_task(acceptor.accept(job("b")))
        await asyncio.sleep(0)
        assert ledger.batches == [["b"]]
        assert (await accepting).job_id == "b"

    async def test_those_that_come_while_it_is_on_its_way_share_a_round_trip(
        self, acceptor: Acceptor, ledger: FakeLedger
    ) -> None:
        answers = await accept_all(acceptor, "b", "c", "d")
        assert ledger.batches == [["b"], ["c", "d"]]
        assert [answer.job_id for answer in answers if isinstance(answer, Accepted)] == ["b", "c", "d"]
        await accept_all(acceptor, "e", "f")
        assert ledger.batches[2:] == [["e", "f"]], "after company, company is expected"

    async def test_a_short_interruption_is_not_seen(self, acceptor: Acceptor, ledger: FakeLedger) -> None:
        ledger.failures = [connection_broke(), never_connected()]
        assert (await acceptor.accept(job("b"))).job_id == "b"
        assert ledger.batches == [["b"]] * 3

    async def test_a_refusal_is_raised(self, acceptor: Acceptor, ledger: FakeLedger, clock: FakeClock) -> None:
        ledger.answers["b"] = BacklogFullError("default", 5)
        with pytest.raises(BacklogFullError):
            await acceptor.accept(job("b"))
        ledger.failure = never_connected()
        ledger.before = lambda: clock.advance(TIMEOUT)
        with pytest.raises(ServerUnreachableError) as caught:
            await acceptor.accept(job("c"))
        assert caught.value.accepted is Acceptance.NO

    async def test_it_is_not_sent_again_when_its_caller_is_cancelled(
        self, acceptor: Acceptor, ledger: FakeLedger
    ) -> None:
        ledger.failure = never_connected()
        accepting = asyncio.create_task(acceptor.accept(job("b")))
        await settle()
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        sent = len(ledger.batches)
        await settle()
        assert accepting.cancelled()
        assert len(ledger.batches) == sent
        ledger.failure = None
        assert (await acceptor.accept(job("c"))).job_id == "c"

    async def test_closing_waits_for_its_answer(self, acceptor: Acceptor, ledger: FakeLedger) -> None:
        ledger.gate.clear()
        accepting = asyncio.create_task(acceptor.accept(job("b")))
        await settle()
        await close_before_the_answer(acceptor, ledger)
        assert (await accepting).job_id == "b"
        with pytest.raises(SettingsError, match="closed"):
            await acceptor.accept(job("c"))

    async def test_where_something_is_done_after_the_answer_it_goes_the_usual_way(
        self, ledger: FakeLedger, clock: FakeClock
    ) -> None:
        acceptor = Acceptor(cast("Admission", ledger), clock, ADDRESS, TIMEOUT, alone=False)
        await acceptor.accept(job("b"))
        ledger.gate.clear()
        accepting = asyncio.create_task(acceptor.accept(job("c")))
        await settle()
        accepting.cancel()
        await settle()
        assert ledger.under_way == 1, "its answer is still waited for"
        ledger.gate.set()
        await acceptor.close()
        assert ledger.under_way == 0
