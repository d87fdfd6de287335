"""One function over many rows: in order, bounded, in jobs as large as the calls are quick."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any, cast

import pytest

from dispatcher.client.bulk import UNKNOWN_JOBS, UNKNOWN_SECONDS, Bulk
from dispatcher.client.cached_calls import CachedCalls
from dispatcher.client.cached_rows import JOBS_AT_ONCE, LOOKED_UP
from dispatcher.client.dispatcher import Dispatcher
from dispatcher.client.job_size import FEWEST_AT_ONCE, FIRST_AT_ONCE, LARGEST_JOB, RESULT_BYTES, JobSize
from dispatcher.client.map_progress import MapProgress, Report
from dispatcher.errors import BacklogFullError
from dispatcher.model.call import Call
from dispatcher.model.job import JobState, Priority
from dispatcher.model.outcome import ErrorInfo, ErrorKind, Expired, Failed, Outcome, Succeeded
from dispatcher.registry.registry import Registry
from dispatcher.testing import FakeClock, RecordingDispatcher
from dispatcher.transport.outcomes import CallRecord, JobRecord
from tests.unit.client.fakes import settle

registry = Registry()


@registry.function
def double(number: int) -> int:
    """Double."""
    return number * 2


@registry.function
def halve(number: int) -> int:
    """Halve."""
    return number // 2


class FakeJob:
    """A job's handle; ends when the test, or the dispatcher that made it, says so."""

    def __init__(self, calls: list[Call[int]]) -> None:
        self.calls = calls
        self.repeated = False
        self.ended: asyncio.Future[JobRecord] = asyncio.get_running_loop().create_future()
        self.cancelled: list[str] = []

    async def record(self) -> JobRecord:
        return await asyncio.shield(self.ended)

    async def cancel(self, reason: str) -> bool:
        self.cancelled.append(reason)
        return True

    def end(self, seconds: float = 0.0, attempts: int = 1) -> None:
        """Let every call return what `double` would."""
        numbers = [json.loads(call.arguments)["number"] for call in self.calls]
        entries = [CallRecord(state=JobState.SUCCEEDED, value=str(double(number))) for number in numbers]
        self.ended.set_result(JobRecord(attempts=attempts, calls=tuple(entries), seconds=seconds))


class FakeDispatcher:
    """Takes jobs, and ends each at once with `seconds` a call, or leaves that to the test."""

    def __init__(self, seconds: float | None = None) -> None:
        self.jobs: list[FakeJob] = []
        self.asked: list[tuple[timedelta | None, Priority]] = []
        self.seconds = seconds
        self.failure: Exception | None = None

    async def dispatch_job(
        self, calls: list[Call[int]], *, deadline: timedelta | None, priority: Priority, idempotency_key: str | None
    ) -> FakeJob:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        job = FakeJob(calls)
        self.jobs.append(job)
        self.asked.append((deadline, priority))
        if self.seconds is not None:
            job.end(self.seconds * len(calls))
        return job

    @property
    def sizes(self) -> list[int]:
        return [len(job.calls) for job in self.jobs]

    def bulk(
        self,
        window: int = 2_000,
        calls_per_job: int | None = None,
        deadline: timedelta | None = None,
        **options: Any,
    ) -> Bulk[int]:
        inner = cast("Dispatcher", self)
        return Bulk(inner, double, window=window, calls_per_job=calls_per_job, deadline=deadline, **options)


def rows(count: int) -> list[dict[str, object]]:
    return [{"number": number} for number in range(count)]


def doubled(count: int) -> list[Outcome[int]]:
    return [Succeeded(value=number * 2) for number in range(count)]


async def collect(outcomes: AsyncIterator[Outcome[int]], into: list[Outcome[int]]) -> None:
    async for outcome in outcomes:
        into.append(outcome)  # noqa: PERF401 - a comprehension gives nothing before the end


async def test_outcomes_come_in_the_order_of_the_rows() -> None:
    dispatcher = FakeDispatcher(seconds=0.001)
    assert [outcome async for outcome in dispatcher.bulk().run(rows(300))] == doubled(300)


async def test_the_order_is_kept_when_later_jobs_end_first() -> None:
    dispatcher, outcomes = FakeDispatcher(), list[Outcome[int]]()
    running = asyncio.create_task(collect(dispatcher.bulk(calls_per_job=2).run(rows(6)), outcomes))
    await settle()
    dispatcher.jobs[2].end()
    dispatcher.jobs[1].end()
    await settle()
    assert outcomes == []
    dispatcher.jobs[0].end()
    await running
    assert outcomes == doubled(6)


async def test_no_rows_give_no_outcomes() -> None:
    dispatcher = FakeDispatcher(seconds=0)
    assert [outcome async for outcome in dispatcher.bulk().run([])] == []
    assert dispatcher.jobs == []


async def test_a_row_that_does_not_fit_fails_in_its_place_and_is_not_queued() -> None:
    dispatcher = FakeDispatcher(seconds=0)
    given: list[dict[str, object]] = [{"number": 1}, {"number": "many"}, {}, {"number": 4}]
    outcomes = [outcome async for outcome in dispatcher.bulk(calls_per_job=4).run(given)]
    assert [outcomes[0], outcomes[3]] == [Succeeded(value=2), Succeeded(value=8)]
    for refused in outcomes[1:3]:
        assert isinstance(refused, Failed)
        assert (refused.error.kind, refused.attempts) == (ErrorKind.INVALID_ARGUMENTS, 0)
    assert dispatcher.sizes == [2]


async def test_rows_that_are_all_refused_need_no_job() -> None:
    dispatcher = FakeDispatcher(seconds=0)
    outcomes = [outcome async for outcome in dispatcher.bulk(calls_per_job=2).run([{}, {}, {}])]
    assert len(outcomes) == 3
    assert all(isinstance(outcome, Failed) for outcome in outcomes)
    assert dispatcher.jobs == []


async def test_calls_that_are_bound_already_are_rows_too() -> None:
    dispatcher = FakeDispatcher(seconds=0)
    calls = [double.call(number) for number in range(3)]
    assert [outcome async for outcome in dispatcher.bulk().run(calls)] == doubled(3)


async def test_a_call_of_another_function_is_refused_in_its_place() -> None:
    dispatcher = FakeDispatcher(seconds=0)
    first, second = [outcome async for outcome in dispatcher.bulk().run([halve.call(2), double.call(0)])]
    assert isinstance(first, Failed)
    assert "halve" in first.error.message
    assert second == Succeeded(value=0)


async def test_rows_may_come_from_an_async_iterable() -> None:
    async def given() -> AsyncIterator[dict[str, object]]:
        for row in rows(7):
            yield row
            await asyncio.sleep(0)

    dispatcher = FakeDispatcher(seconds=0)
    assert [outcome async for outcome in dispatcher.bulk().run(given())] == doubled(7)


async def test_jobs_grow_with_quick_calls_up_to_a_bound() -> None:
    dispatcher = FakeDispatcher(seconds=1e-6)
    assert len([outcome async for outcome in dispatcher.bulk().run(rows(3_000))]) == 3_000
    assert dispatcher.sizes[0] == 1
    assert max(dispatcher.sizes) == LARGEST_JOB


def test_jobs_grow_by_steps_as_one_quick_call_says_little() -> None:
    size, sizes = JobSize(None), []
    for _ in range(6):
        size.learn(JobRecord(attempts=1, calls=()), size.calls)
        sizes.append(size.calls)
    assert sizes == [4, 16, 64, 256, 1000, 1000]


async def test_jobs_hold_about_as_much_work_as_is_wished() -> None:
    dispatcher = FakeDispatcher(seconds=0.01)
    assert len([outcome async for outcome in dispatcher.bulk().run(rows(200))]) == 200
    assert max(dispatcher.sizes) == 7


async def test_jobs_of_slow_calls_hold_one_call() -> None:
    dispatcher = FakeDispatcher(seconds=1.0)
    assert len([outcome async for outcome in dispatcher.bulk().run(rows(30))]) == 30
    assert dispatcher.sizes == [1] * 30


async def test_jobs_shrink_again_when_calls_become_slow() -> None:
    dispatcher = FakeDispatcher(seconds=1e-6)

    def given() -> Iterator[dict[str, object]]:
        yield from rows(500)
        dispatcher.seconds = 1.0
        yield from rows(500)

    assert len([outcome async for outcome in dispatcher.bulk().run(given())]) == 1_000
    assert dispatcher.sizes[-20:] == [1] * 20


async def test_a_fixed_job_size_stays() -> None:
    dispatcher = FakeDispatcher(seconds=1e-6)
    assert len([outcome async for outcome in dispatcher.bulk(calls_per_job=3).run(rows(10))]) == 10
    assert dispatcher.sizes == [3, 3, 3, 1]


@pytest.mark.parametrize(
    ("window", "calls_per_job"), [(10, 1), (10, 4), (10, 9), (10, 10), (10, 50), (10, None), (1, None)]
)
async def test_no_more_rows_are_read_than_the_window_holds(window: int, calls_per_job: int | None) -> None:
    dispatcher, read, outcomes = FakeDispatcher(), 0, list[Outcome[int]]()

    def given() -> Iterator[dict[str, object]]:
        nonlocal read
        for row in rows(60):
            read += 1
            yield row

    running = asyncio.create_task(collect(dispatcher.bulk(window, calls_per_job).run(given()), outcomes))
    most = 0
    while not running.done():
        await settle()
        most = max(most, read - len(outcomes))
        for job in [job for job in dispatcher.jobs if not job.ended.done()][:1]:
            job.end(seconds=1e-6)
    assert outcomes == doubled(60)
    assert most <= window
    assert max(dispatcher.sizes) <= window


async def test_the_window_is_used() -> None:
    dispatcher = FakeDispatcher()
    running = asyncio.create_task(collect(dispatcher.bulk(10, 1).run(rows(60)), []))
    await settle()
    assert len(dispatcher.jobs) == 10
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_stopping_early_cancels_what_is_under_way_and_reads_no_more() -> None:
    dispatcher, taken = FakeDispatcher(), []

    def given() -> Iterator[dict[str, object]]:
        for row in rows(1_000):
            taken.append(row)
            yield row

    outcomes = dispatcher.bulk(10, 1).run(given())
    first: asyncio.Task[Outcome[int]] = asyncio.ensure_future(anext(outcomes))
    await settle()
    dispatcher.jobs[0].end()
    assert await first == Succeeded(value=0)
    await outcomes.aclose()  # type: ignore[attr-defined]
    assert dispatcher.jobs[0].cancelled == []
    assert all(job.cancelled == ["map was stopped early"] for job in dispatcher.jobs[1:])
    assert len(taken) <= 11


async def test_stopping_in_the_turn_in_which_there_is_room_again_reads_no_more() -> None:
    dispatcher, taken = FakeDispatcher(), []

    def given() -> Iterator[dict[str, object]]:
        for row in rows(1_000):
            taken.append(row)
            yield row

    async def take_one() -> None:
        async with aclosing(cast("AsyncGenerator[Outcome[int], None]", dispatcher.bulk().run(given()))) as outcomes:
            await anext(outcomes)

    running = asyncio.create_task(take_one())
    await settle()
    dispatcher.jobs[0].end()
    done, _ = await asyncio.wait({running}, timeout=2)
    assert done, "the rows are still read, for nobody"
    assert len(taken) <= UNKNOWN_JOBS + 1
    assert all(job.cancelled for job in dispatcher.jobs[1:])


async def test_a_job_on_its_way_to_the_ledger_is_cancelled_too() -> None:
    gate = asyncio.Event()

    class Slow(FakeDispatcher):
        async def dispatch_job(self, calls: list[Call[int]], **options: Any) -> FakeJob:
            await gate.wait()
            return await super().dispatch_job(calls, **options)

    dispatcher = Slow()
    running = asyncio.create_task(collect(dispatcher.bulk(3, 1).run(rows(100)), []))
    await settle()
    running.cancel()
    await settle()
    gate.set()
    await asyncio.gather(running, return_exceptions=True)
    assert [job.cancelled for job in dispatcher.jobs] == [["map was stopped early"]] * 3


async def test_a_consumer_that_is_cancelled_cancels_what_is_under_way() -> None:
    dispatcher = FakeDispatcher()
    running = asyncio.create_task(collect(dispatcher.bulk(5, 1).run(rows(100)), []))
    await settle()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert [job.cancelled for job in dispatcher.jobs] == [["map was stopped early"]] * 5


async def test_an_error_in_the_input_is_raised_and_cancels_what_is_under_way() -> None:
    dispatcher = FakeDispatcher()

    def given() -> Iterator[dict[str, object]]:
        yield from rows(30)
        msg = "the file ends here"
        raise OSError(msg)

    with pytest.raises(OSError, match="ends here"):
        await collect(dispatcher.bulk(calls_per_job=1).run(given()), [])
    assert dispatcher.jobs
    assert all(job.cancelled for job in dispatcher.jobs)


async def test_a_job_that_is_not_accepted_ends_the_run() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.failure = BacklogFullError("default.bulk", 1)
    with pytest.raises(BacklogFullError):
        await collect(dispatcher.bulk().run(rows(3)), [])


async def test_how_each_call_of_a_job_ended_is_told_of_its_own_row() -> None:
    dispatcher, outcomes = FakeDispatcher(), list[Outcome[int]]()
    running = asyncio.create_task(collect(dispatcher.bulk(calls_per_job=3).run(rows(3)), outcomes))
    await settle()
    broken = ErrorInfo(kind=ErrorKind.FUNCTION, type="ValueError", message="no")
    calls = (
        CallRecord(state=JobState.SUCCEEDED, value="0"),
        CallRecord(state=JobState.FAILED, error=broken),
        CallRecord(state=JobState.SUCCEEDED, value='"text"'),
    )
    dispatcher.jobs[0].ended.set_result(JobRecord(attempts=2, calls=calls))
    await running
    assert outcomes[:2] == [Succeeded(value=0, attempts=2), Failed(error=broken, attempts=2)]
    assert isinstance(outcomes[2], Failed)
    assert outcomes[2].error.kind is ErrorKind.RESULT


async def test_a_job_that_ended_as_a_whole_ended_so_for_every_row() -> None:
    dispatcher, outcomes = FakeDispatcher(), list[Outcome[int]]()
    running = asyncio.create_task(collect(dispatcher.bulk(calls_per_job=3).run(rows(3)), outcomes))
    await settle()
    dispatcher.jobs[0].ended.set_result(JobRecord(attempts=0, calls=(CallRecord(state=JobState.EXPIRED),)))
    await running
    assert outcomes == [Expired()] * 3


async def test_jobs_are_of_low_priority_and_have_the_deadline_that_was_asked_for() -> None:
    dispatcher = FakeDispatcher(seconds=0)
    await collect(dispatcher.bulk(deadline=timedelta(hours=1)).run(rows(1)), [])
    assert dispatcher.asked == [(timedelta(hours=1), "bulk")]


@pytest.mark.parametrize(
    "wrong",
    [lambda d: d.bulk(window=0), lambda d: d.bulk(calls_per_job=0), lambda d: d.bulk(window=-1, calls_per_job=1)],
)
async def test_a_window_or_a_job_without_room_is_refused(wrong: Callable[[FakeDispatcher], Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        wrong(FakeDispatcher())


@pytest.mark.parametrize("start", ["map", "map_unordered"])
@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        ([], {"keys": "june"}, "no option keys; there are window, .*key"),
        ("abc", {}, "a str is one"),
        ({"n": 1}, {}, "a dict is one"),
    ],
)
async def test_an_option_that_there_is_not_and_rows_that_are_one_row_are_refused(
    start: str, given: Any, options: dict[str, Any], says: str
) -> None:
    async with RecordingDispatcher(registry) as dispatcher:
        with pytest.raises(TypeError, match=says):
            getattr(dispatcher, start)(double, given, **options)


# --- outcomes as they come, progress, and what may be resumed


async def test_without_order_outcomes_come_as_jobs_end_with_the_positions_of_their_rows() -> None:
    dispatcher, outcomes = FakeDispatcher(), list[tuple[int, Outcome[int]]]()
    bulk = dispatcher.bulk(calls_per_job=2, ordered=False)

    async def take() -> None:
        async for numbered in bulk.run_unordered(rows(6)):
            outcomes.append(numbered)

    running = asyncio.create_task(take())
    await settle()
    dispatcher.jobs[2].end()
    await settle()
    assert outcomes == [(4, Succeeded(value=8)), (5, Succeeded(value=10))]
    dispatcher.jobs[0].end()
    dispatcher.jobs[1].end()
    await running
    assert [position for position, _ in outcomes] == [4, 5, 0, 1, 2, 3]


async def test_rows_of_a_source_that_pauses_are_sent_and_handed_out_meanwhile() -> None:
    going_on = asyncio.Event()

    async def given() -> AsyncIterator[dict[str, object]]:
        for row in rows(3):
            yield row
        await going_on.wait()

    dispatcher, outcomes = FakeDispatcher(seconds=0), list[Outcome[int]]()
    running = asyncio.create_task(collect(dispatcher.bulk(calls_per_job=100).run(given()), outcomes))
    async with asyncio.timeout(5):
        while len(outcomes) < 3:
            await asyncio.sleep(0.01)
    assert dispatcher.sizes == [3]
    going_on.set()
    await running
    assert outcomes == doubled(3)


async def test_while_nothing_is_known_of_the_calls_few_jobs_are_under_way() -> None:
    dispatcher = FakeDispatcher()
    running = asyncio.create_task(collect(dispatcher.bulk().run(rows(5_000)), []))
    await settle()
    assert dispatcher.sizes == [1] * UNKNOWN_JOBS
    await asyncio.sleep(1.5 * UNKNOWN_SECONDS)
    assert len(dispatcher.jobs) >= 2 * UNKNOWN_JOBS, "calls that take long are not held back for it"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_arguments_of_one_job_are_bounded() -> None:
    @registry.function
    def length(text: str) -> int:
        """Measure."""
        return len(text)

    dispatcher = FakeDispatcher()
    bulk = Bulk(cast("Dispatcher", dispatcher), length, window=100, calls_per_job=100, deadline=None)
    running = asyncio.create_task(collect(bulk.run([{"text": "x" * 200_000}] * 7), []))
    await settle()
    assert dispatcher.sizes == [3, 3, 1]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_jobs_hold_fewer_calls_where_results_are_large() -> None:
    size = JobSize(None)
    large = CallRecord(state=JobState.SUCCEEDED, value="x" * (RESULT_BYTES // 10))
    for _ in range(5):
        size.learn(JobRecord(attempts=1, calls=(large,) * size.calls, seconds=1e-6), size.calls)
    assert size.calls == 10


def test_coroutines_that_run_at_once_go_into_large_jobs_however_long_they_wait() -> None:
    size = JobSize(None, at_once=True)
    assert size.calls == FIRST_AT_ONCE
    size.learn(JobRecord(attempts=1, calls=(), seconds=60.0), size.calls)
    assert size.calls == FEWEST_AT_ONCE


async def test_progress_is_told_now_and_then_and_at_the_end() -> None:
    told, clock = list[MapProgress](), FakeClock()
    report = Report(told.append, 4, clock)
    report.add([Succeeded(value=1), Expired()])
    assert told == []
    clock.advance(2)
    report.add([Succeeded(value=1)])
    assert (told[0].done, told[0].failed, told[0].rate, told[0].time_left) == (3, 1, 1.5, timedelta(seconds=1 / 1.5))
    report.close()
    assert told[-1].done == 3


def test_where_nobody_knows_how_many_rows_there_are_no_time_is_promised() -> None:
    assert MapProgress(done=3, failed=0, total=None, seconds=1.0).time_left is None
    assert MapProgress(done=0, failed=0, total=9, seconds=0.0).time_left is None


async def test_a_run_reports_its_progress_to_the_end() -> None:
    told = list[MapProgress]()
    dispatcher = FakeDispatcher(seconds=0)
    report = Report(told.append, 30, FakeClock())
    await collect(dispatcher.bulk(report=report).run(rows(30)), [])
    assert (told[-1].done, told[-1].total) == (30, 30)


@registry.function(cache=timedelta(minutes=1))
def cube(number: int) -> int:
    """Cube."""
    return number**3


class FakeCached:
    """Has kept the results of the numbers it is given."""

    def __init__(self, *numbers: int) -> None:
        self.kept = {cube.call(number).arguments: CallRecord(state=JobState.SUCCEEDED, value="0") for number in numbers}
        self.looked_up: list[int] = []

    async def find(self, _: object, calls: list[Call[int]]) -> list[CallRecord | None]:
        await asyncio.sleep(0)
        self.looked_up.append(len(calls))
        return [self.kept.get(call.arguments) for call in calls]


def cached_bulk(dispatcher: FakeDispatcher, cached: FakeCached, **options: Any) -> Bulk[int]:
    given: dict[str, Any] = {"window": 2_000, "calls_per_job": None, "deadline": None, **options}
    return Bulk(cast("Dispatcher", dispatcher), cube, cached=cast("CachedCalls", cached), **given)


async def test_rows_that_are_kept_are_in_no_job_and_are_looked_up_together() -> None:
    dispatcher, cached = FakeDispatcher(seconds=0.001), FakeCached(*range(100, 1_000))
    outcomes = [outcome async for outcome in cached_bulk(dispatcher, cached).run(rows(1_000))]
    assert outcomes[100:] == [Succeeded(value=0, attempts=0)] * 900
    assert outcomes[:100] == doubled(100)  # what the fake jobs return
    assert sum(dispatcher.sizes) == 100
    assert len(cached.looked_up) <= 1_000 / LOOKED_UP


async def test_equal_rows_that_are_looked_up_together_run_once() -> None:
    dispatcher = FakeDispatcher(seconds=0)
    given = [{"number": number % 3} for number in range(LOOKED_UP)]
    outcomes = [outcome async for outcome in cached_bulk(dispatcher, FakeCached()).run(given)]
    assert outcomes == [Succeeded(value=number % 3 * 2) for number in range(LOOKED_UP)]
    assert sum(dispatcher.sizes) == 3


async def test_of_rows_looked_up_together_few_jobs_of_the_wished_size_are_under_way() -> None:
    dispatcher = FakeDispatcher()
    bulk = cached_bulk(dispatcher, FakeCached(), calls_per_job=2)
    running = asyncio.create_task(collect(bulk.run(rows(LOOKED_UP)), []))
    await settle()
    assert dispatcher.sizes == [2] * JOBS_AT_ONCE
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert all(job.cancelled for job in dispatcher.jobs)


async def test_a_job_that_is_not_accepted_raises_and_the_others_are_cancelled() -> None:
    dispatcher = FakeDispatcher()
    running = asyncio.create_task(collect(cached_bulk(dispatcher, FakeCached(), calls_per_job=1).run(rows(40)), []))
    await settle()
    dispatcher.failure = BacklogFullError("default.bulk", 1)
    dispatcher.jobs[0].end()
    with pytest.raises(BacklogFullError):
        await running
    assert all(job.cancelled for job in dispatcher.jobs[1:])
