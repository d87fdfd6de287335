"""Calls that are gathered are dispatched and awaited together, and each is still a call of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from dispatcher.client import collector
from dispatcher.client.gathering import JOBS, OUTCOMES
from dispatcher.client.handle import DEADLINE_GRACE, READ_ON_THREAD
from dispatcher.errors import (
    Acceptance,
    BacklogFullError,
    OutcomeTimeoutError,
    ResultError,
    ServerUnreachableError,
    SettingsError,
    UnknownFunctionError,
    UnknownJobError,
)
from dispatcher.model.call import Call
from dispatcher.model.job import Job, JobState, JobStatus
from dispatcher.model.outcome import Expired, Failed, Outcome, Succeeded
from dispatcher.registry.registry import Registry
from dispatcher.transport.outcomes import CallRecord
from dispatcher.transport.replies import Accepted
from tests.unit.client.fakes import NoServerDispatcher, connection_broke, meta_of, meta_with, never_connected, settle

registry = Registry()
MANY = 3 * JOBS + 7


@registry.function(deadline=timedelta(minutes=5))
def double(number: int) -> int:
    """Double."""
    return 2 * number


@registry.function(deadline=timedelta(minutes=1))
def shout(text: str) -> str:
    """Shout."""
    return text.upper()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "FIRST_PAUSE", 0)
    monkeypatch.setattr(collector, "LONGEST_PAUSE", 0)


class Rig:
    """A dispatcher without a server, and the jobs that it had accepted."""

    def __init__(self, dispatcher: NoServerDispatcher) -> None:
        self.dispatcher = dispatcher
        self.ledger = dispatcher.fake_ledger
        self.jobs: list[Job] = []
        accept = self.ledger.accept

        async def remember(jobs: Sequence[Job]) -> list[Accepted | Exception]:
            self.jobs += jobs
            return await accept(jobs)

        self.ledger.accept = remember  # type: ignore[method-assign]

    def start(self, *calls: Call[int]) -> "asyncio.Task[list[Outcome[int]]]":
        return asyncio.create_task(self.dispatcher.gather(*calls))

    def id_of(self, number: int) -> str:
        (found,) = {job.id for job in self.jobs if job.calls == (f'{{"number":{number}}}',)}
        return found

    def end(self, number: int, value: str) -> None:
        job_id = self.id_of(number)
        self.dispatcher.announcements.announce(job_id, meta_of(job_id, value))

    def status(self, job_id: str) -> JobStatus:
        now = self.dispatcher.clock.now()
        return JobStatus(
            id=job_id, function="double", queue="default", state=JobState.RUNNING, calls=1, attempt=1,
            failures=0, lost=0, accepted_at=now, deadline_at=now,
        )  # fmt: skip


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with NoServerDispatcher(registry) as dispatcher:
        yield Rig(dispatcher)


@pytest.fixture
async def impatient() -> AsyncIterator[Rig]:
    """Bears no outage at all."""
    async with NoServerDispatcher(registry, outage_seconds=1e-9) as dispatcher:
        yield Rig(dispatcher)


async def test_outcomes_come_in_the_order_of_the_calls_whatever_ended_first(rig: Rig) -> None:
    gathering = rig.start(*(double.call(number) for number in range(MANY)))
    await settle()
    for number in reversed(range(MANY)):
        rig.end(number, str(2 * number))
    assert await gathering == [Succeeded(value=2 * number) for number in range(MANY)]
    assert max(len(batch) for batch in rig.ledger.batches) <= JOBS


async def test_nothing_to_gather_is_gathered_at_once(rig: Rig) -> None:
    assert await rig.dispatcher.gather() == []
    assert rig.ledger.batches == []


async def test_equal_calls_have_a_job_and_an_outcome_each(rig: Rig) -> None:
    gathering = rig.start(double.call(1), double.call(1))
    await settle()
    first, second = rig.jobs
    rig.dispatcher.announcements.announce(first.id, meta_of(first.id, "2"))
    rig.dispatcher.announcements.announce(second.id, meta_with(second.id, CallRecord(state=JobState.EXPIRED)))
    assert await gathering == [Succeeded(value=2), Expired(attempts=1)]


async def test_a_call_that_fails_is_an_outcome_like_another(rig: Rig) -> None:
    gathering = rig.start(double.call(1), double.call(2))
    await settle()
    job_id = rig.id_of(1)
    rig.dispatcher.announcements.announce(job_id, meta_with(job_id, CallRecord(state=JobState.FAILED)))
    rig.end(2, "4")
    first, second = await gathering
    assert isinstance(first, Failed)
    assert second == Succeeded(value=4)


async def test_a_refusal_is_raised_and_the_others_run_all_the_same(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = BacklogFullError("default", 1)
    accept = rig.ledger._accept
    monkeypatch.setattr(rig.ledger, "_accept", lambda job: refusal if job.calls == ('{"number":3}',) else accept(job))
    gathering = rig.start(*(double.call(number) for number in range(MANY)))
    with pytest.raises(BacklogFullError):
        await gathering
    await settle()
    assert len(rig.jobs) == MANY


async def test_a_call_of_a_function_that_there_is_not_is_raised_and_the_others_run(rig: Rig) -> None:
    unknown: Call[int] = Call(function="nobody", version="1", arguments="{}")
    with pytest.raises(UnknownFunctionError):
        await rig.start(double.call(1), unknown, double.call(2))
    await settle()
    assert [job.function for job in rig.jobs] == [double.name] * 2


async def test_a_server_that_is_away_is_raised_as_of_a_dispatch(rig: Rig) -> None:
    rig.ledger.failure = never_connected()
    rig.ledger.before = lambda: rig.dispatcher.fake_clock.advance(timedelta(seconds=60))
    with pytest.raises(ServerUnreachableError) as caught:
        await rig.start(double.call(1), double.call(2))
    assert caught.value.accepted is Acceptance.NO


async def test_a_value_that_is_no_result_is_raised(rig: Rig) -> None:
    gathering = rig.start(double.call(1), double.call(2))
    await settle()
    rig.end(2, '"four"')
    with pytest.raises(ResultError):
        await gathering


async def test_a_job_of_many_calls_under_its_id_is_refused(rig: Rig) -> None:
    gathering = rig.start(double.call(1))
    await settle()
    rig.dispatcher.announcements.announce(rig.id_of(1), meta_of(rig.id_of(1), "1", "2"))
    with pytest.raises(ResultError, match="holds 2 calls"):
        await gathering


async def test_what_was_not_sent_when_it_is_cancelled_is_not_sent(rig: Rig) -> None:
    rig.ledger.gate.clear()
    gathering = rig.start(*(double.call(number) for number in range(20 * JOBS)))
    await settle()
    sent = len(rig.jobs)
    gathering.cancel()
    await settle()
    rig.ledger.gate.set()
    await settle()
    assert gathering.cancelled()
    assert 0 < sent < 20 * JOBS
    assert len(rig.jobs) == sent


async def test_an_outcome_that_comes_before_the_answer_counts(rig: Rig) -> None:
    rig.ledger.gate.clear()
    gathering = rig.start(double.call(1), double.call(2))
    await settle()
    rig.end(1, "2")
    await settle()
    rig.ledger.gate.set()
    await settle()
    rig.end(2, "4")
    assert await gathering == [Succeeded(value=2), Succeeded(value=4)]


async def test_a_job_that_was_accepted_before_is_looked_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def repeated(job: Job) -> Accepted:
        rig.ledger.stored[job.id] = meta_of(job.id, "2")
        return Accepted(job_id=job.id, deadline_at=rig.dispatcher.clock.now(), new=False, sequence=0)

    monkeypatch.setattr(rig.ledger, "_accept", repeated)
    assert await asyncio.wait_for(rig.dispatcher.gather(double.call(1)), 5) == [Succeeded(value=2)]


async def test_a_large_value_is_read_too(rig: Rig) -> None:
    gathering = asyncio.create_task(rig.dispatcher.gather(shout.call("a")))
    await settle()
    (job,) = rig.jobs
    large = "A" * (READ_ON_THREAD + 1)
    rig.dispatcher.announcements.announce(job.id, meta_of(job.id, f'"{large}"'))
    assert await gathering == [Succeeded(value=large)]


async def test_an_outage_ends_the_wait_for_what_was_accepted(impatient: Rig) -> None:
    gathering = impatient.start(double.call(1))
    await settle()
    impatient.dispatcher.announcements.failure = never_connected()
    impatient.dispatcher.announcements.heard.put_nowait(connection_broke())
    with pytest.raises(ServerUnreachableError) as caught:
        await asyncio.wait_for(gathering, 5)
    assert caught.value.accepted is Acceptance.YES


async def test_an_outage_of_the_announcements_does_not_end_what_is_still_to_be_accepted(impatient: Rig) -> None:
    impatient.ledger.gate.clear()
    gathering = impatient.start(double.call(1))
    await settle()
    impatient.dispatcher.announcements.failure = never_connected()
    impatient.dispatcher.announcements.heard.put_nowait(connection_broke())
    await settle()
    assert impatient.dispatcher.collector.outage is not None
    assert not gathering.done()
    impatient.dispatcher.announcements.failure = None
    impatient.ledger.gate.set()
    await settle()
    impatient.end(1, "2")
    assert await asyncio.wait_for(gathering, 5) == [Succeeded(value=2)]


async def test_closing_ends_the_wait(rig: Rig) -> None:
    gathering = rig.start(double.call(1))
    await settle()
    await rig.dispatcher.close()
    with pytest.raises(ServerUnreachableError, match="closed"):
        await asyncio.wait_for(gathering, 5)


async def test_a_dispatcher_that_is_not_started_says_so() -> None:
    dispatcher = NoServerDispatcher(registry)
    await dispatcher.start()
    await dispatcher.close()
    with pytest.raises(SettingsError, match="not started"):
        await asyncio.wait_for(dispatcher.gather(double.call(1)), 5)


async def test_a_wait_ends_after_the_deadline_of_whichever_call_it_is(rig: Rig) -> None:
    """The first call has a later deadline than the second."""
    gathering = asyncio.create_task(rig.dispatcher.gather(double.call(1), shout.call("a")))
    await settle()
    late = next(job.id for job in rig.jobs if job.function == shout.name)
    rig.ledger.statuses[late] = rig.status(late)
    rig.dispatcher.fake_clock.advance(timedelta(minutes=1) + DEADLINE_GRACE)
    rig.end(1, "2")
    with pytest.raises(OutcomeTimeoutError) as caught:
        await asyncio.wait_for(gathering, 5)
    assert caught.value.job_id == late


async def test_a_deadline_that_passes_after_its_call_has_ended_hides_no_later_one(rig: Rig) -> None:
    calls = (double.call(1), shout.call("a"), double.call(2), double.call(3))
    gathering = asyncio.create_task(rig.dispatcher.gather(*calls))
    await settle()
    quick = next(job.id for job in rig.jobs if job.function == shout.name)
    rig.dispatcher.announcements.announce(quick, meta_of(quick, '"A"'))
    await settle()
    rig.dispatcher.fake_clock.advance(timedelta(minutes=1) + DEADLINE_GRACE)
    rig.end(2, "4")
    await settle()
    assert not gathering.done()
    late = rig.id_of(1)
    rig.ledger.statuses[late] = rig.status(late)
    rig.dispatcher.fake_clock.advance(timedelta(minutes=4))
    rig.end(3, "6")
    with pytest.raises(OutcomeTimeoutError) as caught:
        await asyncio.wait_for(gathering, 5)
    assert caught.value.job_id == late


async def test_a_job_that_is_no_longer_kept_is_not_waited_for(rig: Rig) -> None:
    gathering = rig.start(double.call(1), double.call(2))
    await settle()
    rig.dispatcher.fake_clock.advance(timedelta(minutes=5) + DEADLINE_GRACE)
    rig.end(1, "2")
    with pytest.raises(UnknownJobError):
        await asyncio.wait_for(gathering, 5)


async def test_a_handle_on_one_of_the_jobs_gets_its_outcome_too(rig: Rig) -> None:
    gathering = rig.start(double.call(1))
    await settle()
    rig.ledger.statuses[rig.id_of(1)] = rig.status(rig.id_of(1))
    handle = await rig.dispatcher.handle(rig.id_of(1))
    rig.end(1, "2")
    assert await handle.outcome() == Succeeded(value=2)
    assert await gathering == [Succeeded(value=2)]


async def test_thousands_of_calls_leave_the_event_loop_free(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    made, read = [0], [0]
    make_job, load = rig.dispatcher._make_job, double.load_result

    def count_made(calls: list[Call[int]]) -> Job:
        made[-1] += 1
        return make_job(calls)

    def count_read(text: str | bytes) -> int:
        read[-1] += 1
        return load(text)

    monkeypatch.setattr(rig.dispatcher, "_make_job", count_made)
    monkeypatch.setattr(double, "load_result", count_read)
    gathering = rig.start(*(double.call(number) for number in range(MANY)))
    for _ in range(30):
        await asyncio.sleep(0)
        made.append(0)
    assert sum(made) == MANY
    assert max(made) <= JOBS
    for job in rig.jobs:
        pending = rig.dispatcher.collector.expect(job.id)
        pending.resolve(meta_of(job.id, "2"))
    while not gathering.done():
        await asyncio.sleep(0)
        read.append(0)
    assert sum(read) == MANY
    assert max(read) <= OUTCOMES
