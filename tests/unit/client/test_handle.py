"""A handle gives the outcome, says why there is none, and never waits without end."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import pytest

from dispatcher.client import collector
from dispatcher.client.handle import DEADLINE_GRACE, READ_ON_THREAD, Handle
from dispatcher.errors import (
    Acceptance,
    CallCancelledError,
    CallExpiredError,
    CallFailedError,
    OutcomeTimeoutError,
    ResultError,
    ServerUnreachableError,
    UnknownJobError,
)
from dispatcher.model.job import JobState, JobStatus
from dispatcher.model.outcome import Cancelled, ErrorInfo, ErrorKind, Expired, Failed, Succeeded
from dispatcher.registry.registry import Registry
from dispatcher.transport import outcomes
from dispatcher.transport.outcomes import CallRecord
from dispatcher.transport.replies import Accepted
from tests.unit.client.fakes import ADDRESS, NoServerDispatcher, meta_of, meta_with, never_connected, settle

registry = Registry()

NO_TIME = timedelta(0)
BROKEN = ErrorInfo(kind=ErrorKind.FUNCTION, type="ValueError", message="no such animal")


@registry.function(deadline=timedelta(minutes=5))
def shout(text: str) -> str:
    """Shout."""
    return text.upper()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "FIRST_PAUSE", 0)
    monkeypatch.setattr(collector, "LONGEST_PAUSE", 0)


@pytest.fixture
async def dispatcher() -> AsyncIterator[NoServerDispatcher]:
    async with NoServerDispatcher(registry) as dispatcher:
        yield dispatcher


@pytest.fixture
async def impatient() -> AsyncIterator[NoServerDispatcher]:
    """Bears no outage at all."""
    async with NoServerDispatcher(registry, outage_seconds=1e-9) as dispatcher:
        yield dispatcher


@pytest.fixture
async def handle(dispatcher: NoServerDispatcher) -> Handle[str]:
    return await dispatcher.dispatch(shout.call("a"))


def end(dispatcher: NoServerDispatcher, handle: Handle[Any], *calls: CallRecord, attempts: int = 1) -> None:
    dispatcher.announcements.announce(handle.id, meta_with(handle.id, *calls, attempts=attempts))


def status_of(handle: Handle[Any], dispatcher: NoServerDispatcher) -> JobStatus:
    now = dispatcher.clock.now()
    return JobStatus(
        id=handle.id, function=handle.function, queue="default", state=JobState.RUNNING, calls=1, attempt=1,
        failures=0, lost=0, accepted_at=now, deadline_at=now,
    )  # fmt: skip


async def test_a_value_is_the_outcome_and_the_result(dispatcher: NoServerDispatcher, handle: Handle[str]) -> None:
    assert not handle.done
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'), attempts=3)
    assert await handle.outcome() == Succeeded(value="A", attempts=3)
    assert await handle.result() == "A"
    assert handle.done


async def test_a_failure_is_an_outcome_and_raised_by_result(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    end(dispatcher, handle, CallRecord(state=JobState.FAILED, error=BROKEN), attempts=2)
    failed = Failed(error=BROKEN, attempts=2)
    assert await handle.outcome() == failed
    with pytest.raises(CallFailedError, match="no such animal") as caught:
        await handle.result()
    assert caught.value.outcome == failed
    assert (caught.value.job_id, caught.value.accepted) == (handle.id, Acceptance.YES)


async def test_a_cancellation_is_an_outcome_and_raised_by_result(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    end(dispatcher, handle, CallRecord(state=JobState.CANCELLED, reason="too late"), attempts=0)
    assert await handle.outcome() == Cancelled(reason="too late", attempts=0)
    with pytest.raises(CallCancelledError, match="too late"):
        await handle.result()


async def test_an_expiry_is_an_outcome_and_raised_by_result(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    end(dispatcher, handle, CallRecord(state=JobState.EXPIRED), attempts=0)
    assert await handle.outcome() == Expired(attempts=0)
    with pytest.raises(CallExpiredError):
        await handle.result()


async def test_a_failure_without_a_recorded_error_is_a_failure(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    end(dispatcher, handle, CallRecord(state=JobState.FAILED))
    assert isinstance(await handle.outcome(), Failed)


async def test_a_value_of_another_type_is_no_result(dispatcher: NoServerDispatcher, handle: Handle[str]) -> None:
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value="[1]"))
    with pytest.raises(ResultError):
        await handle.outcome()


async def test_what_is_no_outcome_is_not_read_as_one(dispatcher: NoServerDispatcher, handle: Handle[str]) -> None:
    dispatcher.announcements.announce(handle.id, b'{"status": "SUCCESS", "result": "A"}')
    with pytest.raises(ResultError):
        await handle.outcome()


async def test_the_outcomes_of_many_calls_come_in_their_order(dispatcher: NoServerDispatcher) -> None:
    handle = await dispatcher.dispatch_job([shout.call("a"), shout.call("b")])
    end(
        dispatcher,
        handle,
        CallRecord(state=JobState.SUCCEEDED, value='"A"'),
        CallRecord(state=JobState.FAILED, error=BROKEN),
    )
    assert await handle.outcomes(None, calls=2) == (Succeeded(value="A"), Failed(error=BROKEN))


async def test_a_job_of_many_calls_that_ended_as_a_whole_ended_so_for_each(dispatcher: NoServerDispatcher) -> None:
    handle = await dispatcher.dispatch_job([shout.call("a"), shout.call("b")])
    end(dispatcher, handle, CallRecord(state=JobState.EXPIRED), attempts=0)
    assert await handle.outcomes(None, calls=2) == (Expired(), Expired())


async def test_a_wait_ends_when_its_time_is_over_and_the_job_goes_on(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    with pytest.raises(OutcomeTimeoutError, match="goes on") as caught:
        await handle.outcome(NO_TIME)
    assert (caught.value.job_id, caught.value.accepted) == (handle.id, Acceptance.YES)
    assert dispatcher.fake_ledger.cancelled == []
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'))
    assert await handle.result() == "A"


async def test_a_number_is_no_time_to_wait_for(handle: Handle[str]) -> None:
    with pytest.raises(TypeError, match=r"timeout must be a timedelta, not 0\.2; write timedelta"):
        await handle.result(cast("Any", 0.2))


async def test_an_outcome_that_is_here_is_given_without_any_time(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'))
    await settle()
    assert await handle.result(NO_TIME) == "A"


async def test_a_wait_without_a_timeout_ends_after_the_deadline(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    dispatcher.fake_ledger.statuses[handle.id] = status_of(handle, dispatcher)
    dispatcher.fake_clock.advance(timedelta(minutes=5) + DEADLINE_GRACE)
    with pytest.raises(OutcomeTimeoutError):
        await handle.outcome()


async def test_a_wait_without_a_timeout_lasts_until_the_deadline_and_a_grace(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    dispatcher.fake_clock.advance(timedelta(minutes=5) + DEADLINE_GRACE - timedelta(seconds=1))
    waiting = asyncio.create_task(handle.outcome())
    await settle()
    assert not waiting.done()
    end(dispatcher, handle, CallRecord(state=JobState.EXPIRED), attempts=0)
    assert await waiting == Expired()


async def test_a_wait_for_a_job_that_is_no_longer_kept_says_so(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    dispatcher.fake_clock.advance(timedelta(minutes=5) + DEADLINE_GRACE)
    with pytest.raises(UnknownJobError):
        await handle.outcome()


async def test_a_wait_that_is_woken_without_a_reason_goes_on_and_lets_others_run(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    handle._pending.wake()
    waiting = asyncio.create_task(handle.outcome())
    await asyncio.wait_for(settle(), 5)
    assert not waiting.done()
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'))
    assert await waiting == Succeeded(value="A")


async def test_a_server_whose_clock_is_wrong_does_not_change_how_long_is_waited(
    dispatcher: NoServerDispatcher,
) -> None:
    dispatcher.fake_ledger.clock = type(dispatcher.fake_clock)(dispatcher.clock.now() - timedelta(days=1))
    handle = await dispatcher.dispatch(shout.call("a"))
    waiting = asyncio.create_task(handle.outcome())
    await settle()
    assert not waiting.done()
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'))
    assert await waiting == Succeeded(value="A")


async def test_the_longest_deadline_there_is_can_be_waited_for(dispatcher: NoServerDispatcher) -> None:
    dispatcher.fake_ledger.answers = EveryJob(dispatcher)
    handle = await dispatcher.dispatch(shout.call("a"), deadline=timedelta.max)
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'))
    assert await handle.result() == "A"


class EveryJob(dict[str, Accepted | Exception]):
    """Accepts each job with a deadline that a calendar can show, as the real ledger does."""

    def __init__(self, dispatcher: NoServerDispatcher) -> None:
        super().__init__()
        self._deadline_at = dispatcher.clock.now() + timedelta(days=365 * 300)

    def get(self, job_id: str, default: Any = None) -> Any:
        return Accepted(job_id=job_id, deadline_at=self._deadline_at, new=True, sequence=1)


async def test_several_tasks_may_await_one_call(dispatcher: NoServerDispatcher, handle: Handle[str]) -> None:
    waiting = [asyncio.create_task(handle.result()) for _ in range(5)]
    await settle()
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'))
    assert await asyncio.gather(*waiting) == ["A"] * 5


async def test_cancelling_an_await_cancels_neither_the_call_nor_another_await(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    waiting = [asyncio.create_task(handle.result()) for _ in range(2)]
    await settle()
    waiting[0].cancel()
    await settle()
    assert waiting[0].cancelled()
    assert dispatcher.fake_ledger.cancelled == []
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'))
    assert await waiting[1] == "A"


async def test_cancelling_asks_the_ledger(dispatcher: NoServerDispatcher, handle: Handle[str]) -> None:
    assert await handle.cancel("changed my mind")
    ((job_id, *rest),) = dispatcher.fake_ledger.cancelled
    assert job_id == handle.id
    assert "changed my mind" in rest


async def test_the_ledger_is_asked_for_the_status(dispatcher: NoServerDispatcher, handle: Handle[str]) -> None:
    dispatcher.fake_ledger.statuses[handle.id] = status_of(handle, dispatcher)
    assert (await handle.status()).state is JobState.RUNNING


async def test_an_outage_is_raised_from_every_wait_as_an_error_of_its_own(impatient: NoServerDispatcher) -> None:
    handle = await impatient.dispatch(shout.call("a"))
    waiting = [asyncio.create_task(handle.outcome()) for _ in range(2)]
    await settle()
    impatient.announcements.failure = never_connected()
    impatient.announcements.break_off()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, ServerUnreachableError) for error in errors)
    assert [(error.address, error.accepted) for error in errors if isinstance(error, ServerUnreachableError)] == [
        (ADDRESS, Acceptance.YES)
    ] * 2
    assert errors[0] is not errors[1]


async def test_a_wait_that_an_outage_ended_may_be_made_again(impatient: NoServerDispatcher) -> None:
    handle = await impatient.dispatch(shout.call("a"))
    impatient.announcements.failure = never_connected()
    impatient.announcements.break_off()
    with pytest.raises(ServerUnreachableError):
        await handle.outcome()
    impatient.announcements.failure = None
    impatient.fake_ledger.stored[handle.id] = meta_of(handle.id, '"A"')
    await settle()
    assert await handle.result() == "A"


async def test_closing_the_dispatcher_ends_the_wait(dispatcher: NoServerDispatcher, handle: Handle[str]) -> None:
    waiting = asyncio.create_task(handle.outcome())
    await settle()
    await dispatcher.close()
    with pytest.raises(ServerUnreachableError, match="closed") as caught:
        await waiting
    assert caught.value.accepted is Acceptance.YES


async def test_a_repeated_key_gives_a_handle_on_the_first_job(dispatcher: NoServerDispatcher) -> None:
    dispatcher.fake_ledger.answers = SameJob(dispatcher)
    dispatcher.fake_ledger.stored["first"] = meta_of("first", '"A"')
    handle = await dispatcher.dispatch(shout.call("a"), idempotency_key="once")
    assert handle.repeated
    assert handle.id == "first"
    assert await handle.result() == "A"


class SameJob(dict[str, Accepted | Exception]):
    """Knows the key of every job."""

    def __init__(self, dispatcher: NoServerDispatcher) -> None:
        super().__init__()
        self._accepted = Accepted(
            job_id="first", deadline_at=dispatcher.clock.now() + timedelta(minutes=1), new=False, sequence=0
        )

    def get(self, job_id: str, default: Any = None) -> Any:
        return self._accepted


async def test_a_new_job_is_neither_repeated_nor_cached(dispatcher: NoServerDispatcher, handle: Handle[str]) -> None:
    assert (handle.repeated, handle.cached) == (False, False)
    assert dispatcher.fake_ledger.batches == [[handle.id]]
    assert handle.deadline_at == dispatcher.clock.now() + timedelta(minutes=5)


@pytest.mark.parametrize("length", [READ_ON_THREAD + 1, 10])
async def test_large_outcomes_are_read_on_a_thread_and_small_ones_are_not(
    length: int, dispatcher: NoServerDispatcher, handle: Handle[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, decode = [], outcomes.decode

    def noting(meta: str | bytes) -> Any:
        threads.append(threading.current_thread())
        return decode(meta)

    monkeypatch.setattr(outcomes, "decode", noting)
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value=json.dumps("a" * length)))
    assert await handle.result() == "a" * length
    assert [thread is threading.main_thread() for thread in threads] == [length == 10]


async def test_an_outcome_is_read_once(
    dispatcher: NoServerDispatcher, handle: Handle[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'))
    first = await handle.outcome()
    monkeypatch.setattr(outcomes, "decode", None)
    assert await handle.outcome() is first


async def test_a_handle_shows_its_job_and_its_outcome(dispatcher: NoServerDispatcher, handle: Handle[str]) -> None:
    assert repr(handle) == f"<Handle {handle.id} of shout>"
    end(dispatcher, handle, CallRecord(state=JobState.SUCCEEDED, value='"A"'))
    await handle.outcome()
    assert "Succeeded(value='A'" in repr(handle)


async def test_a_handle_on_a_job_of_somebody_else_finds_its_outcome(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    dispatcher.fake_ledger.statuses["theirs"] = status_of(handle, dispatcher)
    dispatcher.fake_ledger.stored["theirs"] = meta_of("theirs", '"A"')
    theirs = await dispatcher.handle("theirs")
    assert await theirs.result() == "A"
    with pytest.raises(UnknownJobError):
        await dispatcher.handle("nobody's")


async def test_as_completed_gives_handles_as_their_outcomes_come(dispatcher: NoServerDispatcher) -> None:
    handles = [await dispatcher.dispatch(shout.call(text)) for text in "abc"]
    arriving = dispatcher.as_completed(handles)
    for index in (2, 0, 1):
        end(dispatcher, handles[index], CallRecord(state=JobState.SUCCEEDED, value='"A"'))
        assert await anext(arriving) is handles[index]
    with pytest.raises(StopAsyncIteration):
        await anext(arriving)


async def test_an_outcome_that_comes_in_the_last_moment_counts(
    dispatcher: NoServerDispatcher, handle: Handle[str]
) -> None:
    waiting = asyncio.create_task(handle.result(NO_TIME))
    await asyncio.sleep(0)
    handle._pending.resolve(meta_of(handle.id, '"A"'))
    assert await waiting == "A"


async def test_the_one_outcome_of_a_job_of_many_calls_is_a_typed_error(dispatcher: NoServerDispatcher) -> None:
    handle = await dispatcher.dispatch(shout.call("hey"))
    dispatcher.announcements.announce(handle.id, meta_of(handle.id, '"A"', '"B"'))
    with pytest.raises(ResultError, match="holds 2 calls"):
        await handle.outcome()
    assert len((await handle.record()).calls) == 2
