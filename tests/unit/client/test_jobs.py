"""A dispatch becomes the job that the ledger is asked to accept."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.client.jobs import make_job
from dispatcher.errors import CallRefusedError
from dispatcher.model.job import Job, Priority
from dispatcher.registry.registry import Registry
from dispatcher.transport.script import milliseconds
from tests.unit.client.fakes import NoServerDispatcher

registry = Registry()


@registry.function(queue="mail", version="7", delivery="at_most_once", sensitive=["password"])
def log_in(user: str, password: str = "") -> bool:
    """Log in."""
    return bool(user and password)


@registry.function(priority="high", deadline=timedelta(minutes=2))
def greet(name: str) -> str:
    """Greet."""
    return f"hello, {name}"


@registry.function
def plain(number: int) -> int:
    """Do nothing much."""
    return number


def job_of(*calls: Any, **options: Any) -> Job:
    given: dict[str, Any] = {
        "producer": "p", "deadline": timedelta(minutes=1), "delay": None, "priority": None, "idempotency_key": None,
    }  # fmt: skip
    return make_job(registry.get(calls[0].function), calls, **{**given, **options})


def test_a_job_says_what_to_run_and_for_whom() -> None:
    job = job_of(log_in.call("ann", password="pw"))
    assert (job.function, job.version, job.producer) == ("log_in", "7", "p")
    assert job.calls == (log_in.call("ann", password="pw").arguments,)
    assert (job.queue, job.delivery) == ("mail", "at_most_once")
    assert (job.deadline, job.delay) == (timedelta(minutes=1), timedelta(0))


def test_each_job_has_an_id_of_its_own() -> None:
    ids = [job_of(plain.call(1)).id for _ in range(3)]
    assert len({uuid.UUID(job_id) for job_id in ids}) == 3


def test_many_calls_keep_their_order() -> None:
    calls = [plain.call(number) for number in (3, 1, 2)]
    assert job_of(*calls).calls == tuple(call.arguments for call in calls)


def test_a_delay_is_kept() -> None:
    assert job_of(plain.call(1), delay=timedelta(seconds=9)).delay == timedelta(seconds=9)


@pytest.mark.parametrize(
    ("priority", "queue"),
    [(None, "default.high"), ("high", "default.high"), ("normal", "default"), ("bulk", "default.bulk")],
)
def test_a_priority_chooses_the_queue_and_none_takes_the_functions(priority: Priority | None, queue: str) -> None:
    assert job_of(greet.call("ann"), priority=priority).queue == queue


def test_an_idempotency_key_stands_for_the_function_its_version_and_the_arguments() -> None:
    call = plain.call(1)
    job = job_of(call, idempotency_key="once")
    assert (job.idempotency_key, job.digest) == ("once", call.digest)
    assert job_of(plain.call(2), idempotency_key="once").digest != job.digest


def test_a_key_of_many_calls_stands_for_all_of_them_in_their_order() -> None:
    first, second = plain.call(1), plain.call(2)
    digests = [
        job_of(*calls, idempotency_key="once").digest
        for calls in ((first, second), (first, second), (second, first), (first,), (first, second, second))
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_a_job_without_a_key_needs_no_digest() -> None:
    job = job_of(plain.call(1))
    assert (job.idempotency_key, job.digest) == (None, "")


def test_what_is_shown_holds_nothing_sensitive() -> None:
    shown = job_of(log_in.call("ann", password="pass-phrase")).arguments_shown
    assert "ann" in shown
    assert "pass-phrase" not in shown


def test_of_many_calls_their_number_and_the_first_is_shown() -> None:
    shown = job_of(log_in.call("ann", password="pass-phrase"), log_in.call("bob")).arguments_shown
    assert shown.startswith("2 calls")
    assert "ann" in shown
    assert "bob" not in shown
    assert "pass-phrase" not in shown


async def deadline_asked_for(deadline: timedelta | datetime | None, function: Any = plain) -> timedelta:
    """What the ledger is asked for."""
    async with NoServerDispatcher(registry, default_deadline_seconds=100) as dispatcher:
        handle = await dispatcher.dispatch(function.call(1 if function is plain else "ann"), deadline=deadline)
        left: timedelta = handle.deadline_at - dispatcher.clock.now()
        return left


async def test_a_deadline_is_from_now_or_at_a_moment() -> None:
    assert await deadline_asked_for(timedelta(seconds=7)) == timedelta(seconds=7)
    assert await deadline_asked_for(datetime(2030, 1, 1, 0, 0, 8, tzinfo=UTC)) == timedelta(seconds=8)


async def test_without_a_deadline_the_functions_is_taken_and_else_the_settings() -> None:
    assert await deadline_asked_for(None, greet) == timedelta(minutes=2)
    assert await deadline_asked_for(None, plain) == timedelta(seconds=100)


async def test_a_deadline_of_no_time_is_not_taken_for_none() -> None:
    assert await deadline_asked_for(timedelta(0), greet) == timedelta(0)


async def test_a_deadline_that_has_passed_leaves_no_time() -> None:
    assert await deadline_asked_for(datetime(2029, 12, 31, tzinfo=UTC)) == timedelta(0)
    assert milliseconds(timedelta(days=-1)) == 0


async def test_a_deadline_without_a_time_zone_is_refused() -> None:
    with pytest.raises(CallRefusedError, match="time zone"):
        await deadline_asked_for(datetime(2030, 1, 1))  # noqa: DTZ001 - the fault that is looked for


async def test_a_delay_that_outlasts_the_deadline_nobody_chose_is_refused() -> None:
    async with NoServerDispatcher(registry, default_deadline_seconds=100) as dispatcher:
        with pytest.raises(CallRefusedError, match="give it a later one"):
            await dispatcher.dispatch(plain.call(1), delay=timedelta(seconds=100))
        assert (await dispatcher.dispatch(plain.call(1), delay=timedelta(seconds=99))).deadline_at
        chosen = await dispatcher.dispatch(plain.call(1), delay=timedelta(seconds=9), deadline=timedelta(seconds=1))
        assert chosen.deadline_at


@pytest.mark.parametrize("key", ["", "x" * 1001, "lone \ud800 surrogate"])
async def test_an_idempotency_key_that_cannot_be_kept_is_refused(key: str) -> None:
    async with NoServerDispatcher(registry, default_deadline_seconds=100) as dispatcher:
        with pytest.raises(CallRefusedError, match="idempotency key"):
            await dispatcher.dispatch(plain.call(1), idempotency_key=key)
