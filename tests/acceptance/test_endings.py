"""How a call ends when its function fails, asks for more time, or returns what cannot be sent."""

import asyncio
import time
from datetime import timedelta

import pytest

from dispatcher import Dispatcher, Failed, Succeeded
from dispatcher.errors import IdempotencyConflictError
from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorKind
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, Marks, Worker


async def fail(dispatcher: Dispatcher, call) -> Failed:
    outcome = await (await dispatcher.dispatch(call)).outcome(LONG)
    assert isinstance(outcome, Failed)
    return outcome


async def test_a_delayed_call_runs_after_its_delay_and_not_before(
    dispatcher: Dispatcher, marks: Marks, label: str
) -> None:
    began = time.monotonic()
    job = await dispatcher.dispatch(functions.hold.call(label, 0), delay=timedelta(seconds=1))
    assert (await job.status()).state is JobState.SCHEDULED
    assert await job.result(LONG) == "held"
    assert time.monotonic() - began >= 1
    assert marks.started(label) == 1


async def test_one_idempotency_key_is_one_job_however_often_and_at_once_it_is_dispatched(
    dispatcher: Dispatcher, marks: Marks, label: str
) -> None:
    call = functions.hold.call(label, 0.2)
    jobs = await asyncio.gather(*(dispatcher.dispatch(call, idempotency_key=label) for _ in range(5)))
    assert len({job.id for job in jobs}) == 1
    assert sorted(job.repeated for job in jobs) == [False, True, True, True, True]
    assert [await job.result(LONG) for job in jobs] == ["held"] * 5
    again = await dispatcher.dispatch(call, idempotency_key=label)
    assert await again.result(LONG) == "held"
    assert marks.started(label) == 1

    with pytest.raises(IdempotencyConflictError) as caught:
        await dispatcher.dispatch(functions.hold.call(label, 0.3), idempotency_key=label)
    assert caught.value.job_id == jobs[0].id
    # Another function's keys are its own.
    other = await dispatcher.dispatch(functions.add.call(1), idempotency_key=label)
    assert await other.result(LONG) == 1


async def test_the_idempotency_key_reaches_the_function(dispatcher: Dispatcher, label: str) -> None:
    keyed = await dispatcher.dispatch(functions.whoami.call(), idempotency_key=label)
    keyless = await dispatcher.dispatch(functions.whoami.call(), deadline=timedelta(seconds=60))
    assert (await keyed.result(LONG))["key"] == label
    seen = await keyless.result(LONG)
    assert seen["key"] == seen["id"] == keyless.id
    assert seen["attempt"] == 1
    assert 50 <= seen["left"] <= 60


async def test_a_failure_is_tried_again_as_the_policy_says(dispatcher: Dispatcher, marks: Marks, label: str) -> None:
    job = await dispatcher.dispatch(functions.flaky.call(label, 2))
    assert await job.outcome(LONG) == Succeeded(value=3, attempts=3)
    status = await job.status()
    assert (status.attempt, status.failures, status.lost) == (3, 2, 0)

    hopeless = await fail(dispatcher, functions.flaky.call(f"{label}-hopeless", 99))
    assert (hopeless.error.type, hopeless.error.message, hopeless.attempts) == ("ConnectionError", "try 3", 3)
    assert len(marks.of(f"{label}-hopeless")) == 3


async def test_retry_later_waits_as_long_as_it_asks(dispatcher: Dispatcher, marks: Marks, label: str) -> None:
    job = await dispatcher.dispatch(functions.later.call(label, 700))
    assert await job.outcome(LONG) == Succeeded(value=2, attempts=2)
    first, second = map(float, marks.of(label))
    assert second - first >= 0.7


async def test_give_up_is_final(dispatcher: Dispatcher, marks: Marks, label: str) -> None:
    outcome = await fail(dispatcher, functions.give_up.call(label))
    assert outcome.error.kind is ErrorKind.GAVE_UP
    assert outcome.error.message == "there is no such customer"
    assert (outcome.attempts, len(marks.of(label))) == (1, 1)


async def test_a_function_that_leaves_like_a_script_fails_and_its_worker_stays(
    dispatcher: Dispatcher, worker: Worker
) -> None:
    outcome = await fail(dispatcher, functions.leave.call(3))
    assert (outcome.error.kind, outcome.error.type) == (ErrorKind.FUNCTION, "SystemExit")
    assert await (await dispatcher.dispatch(functions.add.call(1))).result(LONG) == 1
    assert worker.alive


async def test_results_that_cannot_be_sent_fail_the_call_and_say_why(dispatcher: Dispatcher) -> None:
    for call, why in (
        (functions.huge.call(5_000_000), "larger"),
        (functions.wrong.call(), "int"),
        (functions.surrogate.call(), "surrogate"),
    ):
        outcome = await fail(dispatcher, call)
        assert outcome.error.kind is ErrorKind.RESULT
        assert why in outcome.error.message
    largest = await dispatcher.dispatch(functions.huge.call(4_000_000))
    assert len(await largest.result(LONG)) == 4_000_000


async def test_a_failure_tells_where_and_hides_what_is_sensitive(dispatcher: Dispatcher) -> None:
    outcome = await fail(dispatcher, functions.log_in.call("ada", "correct horse"))
    assert outcome.error.type == "PermissionError"
    assert outcome.error.message == "ada may not log in with ***"
    assert "in log_in" in outcome.error.traceback
    assert "correct horse" not in repr(outcome)


async def test_a_failed_call_stays_among_the_dead_letters_whole(dispatcher: Dispatcher) -> None:
    job = await dispatcher.dispatch(functions.log_in.call("ada", "correct horse"))
    await job.outcome(LONG)
    letter = next(letter for letter in await dispatcher.dead_letters.list() if letter.id == job.id)
    assert (letter.function, letter.replayable) == ("log_in", True)
    assert "ada" in letter.arguments_shown
    assert "PermissionError" in letter.reason
    assert "correct horse" not in repr(letter)
