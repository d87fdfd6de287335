"""Any Celery client reads our outcomes and calls our functions: no import of ours on its side."""

import asyncio
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from dispatcher import Dispatcher
from dispatcher.errors import CallRefusedError
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, PATIENCE_SECONDS, Marks, Worker, soon


def get(result: AsyncResult, **options: object) -> object:
    return result.get(timeout=PATIENCE_SECONDS, **options)


# --- reading the outcome of a job


async def test_a_plain_celery_app_reads_the_value_of_a_job(dispatcher: Dispatcher, plain: Celery) -> None:
    job = await dispatcher.dispatch(functions.add.call(2, 3))
    assert await job.result(LONG) == 5
    result = AsyncResult(job.id, app=plain)
    assert result.get(timeout=PATIENCE_SECONDS) == 5
    assert (result.state, result.successful()) == ("SUCCESS", True)


async def test_a_plain_celery_app_that_waits_before_the_job_ends_is_told_when_it_does(
    dispatcher: Dispatcher, plain: Celery, label: str
) -> None:
    job = await dispatcher.dispatch(functions.hold.call(label, 1.0))
    values: list[object] = []
    waiting = threading.Thread(target=lambda: values.append(get(AsyncResult(job.id, app=plain))))
    waiting.start()
    await job.outcome(LONG)
    await soon(lambda: values == ["held"])
    waiting.join()


async def test_a_failed_job_raises_its_error_in_a_plain_celery_app(dispatcher: Dispatcher, plain: Celery) -> None:
    job = await dispatcher.dispatch(functions.fail.call("no such thing"))
    await job.outcome(LONG)
    with pytest.raises(ValueError, match="no such thing"):
        get(AsyncResult(job.id, app=plain))
    assert "fail" in AsyncResult(job.id, app=plain).traceback


async def test_a_cancelled_and_an_expired_job_are_revoked_to_a_plain_celery_app(
    dispatcher: Dispatcher, plain: Celery
) -> None:
    cancelled = await dispatcher.dispatch(functions.add.call(1), delay=timedelta(minutes=1))
    assert await cancelled.cancel("changed my mind")
    expired = await dispatcher.dispatch(
        functions.add.call(1), delay=timedelta(seconds=9), deadline=timedelta(seconds=0.1)
    )
    await expired.outcome(LONG)
    with pytest.raises(TaskRevokedError, match="changed my mind"):
        get(AsyncResult(cancelled.id, app=plain))
    with pytest.raises(TaskRevokedError, match="expired"):
        get(AsyncResult(expired.id, app=plain))


async def test_a_job_that_a_plain_celery_app_revokes_ends_as_cancelled(
    dispatcher: Dispatcher, plain: Celery, marks: Marks, label: str
) -> None:
    waiting = await dispatcher.dispatch(functions.hold.call(f"{label}-waits", 0), delay=timedelta(seconds=1))
    running = await dispatcher.dispatch(functions.hold.call(f"{label}-runs", 60))
    await soon(lambda: marks.started(f"{label}-runs") == 1)
    await asyncio.to_thread(plain.control.revoke, waiting.id)
    await asyncio.to_thread(plain.control.revoke, running.id, terminate=True)
    outcomes = [await job.outcome(timedelta(seconds=10)) for job in (waiting, running)]
    assert [outcome.reason for outcome in outcomes] == ["revoked through Celery"] * 2
    assert marks.of(f"{label}-waits") == []


async def test_a_revocation_that_another_worker_wrote_is_taken_for_no_outcome(
    dispatcher: Dispatcher, plain: Celery, label: str
) -> None:
    job = await dispatcher.dispatch(functions.hold.call(label, 1.5))
    await asyncio.to_thread(plain.backend.mark_as_revoked, job.id, reason="revoked")
    assert await job.result(LONG) == "held"


# --- plain calls


@pytest.mark.parametrize("name", ["add", "add_async"])
def test_a_function_is_a_celery_task_of_its_name(plain: Celery, name: str) -> None:
    assert get(plain.send_task(name, kwargs={"a": 40, "b": 2})) == 42
    assert get(plain.send_task(name, args=[40, 2])) == 42


def test_a_plain_call_takes_and_gives_values_that_json_has_no_word_for(plain: Celery) -> None:
    assert get(plain.send_task("pay", kwargs={"amount": "12.50", "on": "2031-01-01"})) == "12.51"


def test_a_plain_call_with_arguments_that_do_not_fit_fails_and_harms_nobody(plain: Celery, worker: Worker) -> None:
    for kwargs in ({"a": "2"}, {"a": True}, {"a": 1, "c": 2}, {}):
        with pytest.raises(CallRefusedError, match=r"^add: "):
            get(plain.send_task("add", kwargs=kwargs))
    assert get(plain.send_task("add", kwargs={"a": 1})) == 1
    assert worker.alive


def test_a_plain_call_that_fails_raises_its_error(plain: Celery) -> None:
    with pytest.raises(ValueError, match="broken"):
        get(plain.send_task("fail"))


def test_a_plain_call_is_tried_again_as_its_function_says(plain: Celery, marks: Marks, label: str) -> None:
    assert get(plain.send_task("flaky", kwargs={"label": label, "failures": 2})) == 3
    assert len(marks.of(label)) == 3
    hopeless = f"{label}-hopeless"
    with pytest.raises(Exception, match="try 3"):
        get(plain.send_task("flaky", kwargs={"label": hopeless, "failures": 9}))
    assert len(marks.of(hopeless)) == 3, "three attempts in all, the first one included"


def test_a_plain_call_is_stopped_at_its_functions_timeout(plain: Celery, marks: Marks, label: str) -> None:
    with pytest.raises(Exception, match="longer than its timeout"):
        get(plain.send_task("sleep_in_c", kwargs={"label": label, "seconds": 30}))
    assert marks.of(label)[1:] == []


def test_a_plain_call_has_no_job(plain: Celery) -> None:
    assert get(plain.send_task("whoami")) == {"id": ""}


# --- canvas


def test_a_group_gives_the_values_in_order(plain: Celery) -> None:
    adds = group(plain.signature("add", kwargs={"a": number, "b": 1}) for number in range(5))
    assert get(adds.apply_async()) == [1, 2, 3, 4, 5]


def test_a_chain_passes_each_value_on_as_the_first_argument(plain: Celery) -> None:
    steps = chain(
        plain.signature("add", args=(1, 2)), plain.signature("add_async", args=(10,)), plain.signature("double")
    )
    assert get(steps.apply_async()) == 26


def test_a_chord_hands_all_values_to_its_body(plain: Celery) -> None:
    header = [plain.signature("double", args=(number,)) for number in range(4)]
    assert get(chord(header, plain.signature("total")).apply_async()) == 12


def test_a_group_inside_a_chain_is_joined_before_the_next_step(plain: Celery) -> None:
    fan = group(plain.signature("add", args=(number,)) for number in (1, 2, 3))
    steps = chain(plain.signature("add", args=(10, 0)), fan, plain.signature("total"), plain.signature("double"))
    assert get(steps.apply_async()) == (11 + 12 + 13) * 2


def test_a_step_that_fails_stops_its_chain_and_fails_its_chord(plain: Celery, marks: Marks, label: str) -> None:
    steps = chain(plain.signature("fail"), plain.signature("hold", args=(0.0,), kwargs={"label": label}))
    with pytest.raises(ValueError, match="broken"):
        get(steps.apply_async().parent)
    body = chord([plain.signature("double", args=(1,)), plain.signature("fail")], plain.signature("total"))
    with pytest.raises(Exception, match="broken"):
        get(body.apply_async())
    assert marks.of(label) == []


def test_signatures_of_the_workers_app_work_as_those_of_a_plain_one(plain: Celery) -> None:
    assert Decimal(str(get(plain.signature("pay", kwargs={"amount": "1", "on": "2020-01-01"}).apply_async()))) == 1
