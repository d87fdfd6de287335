"""`--pool asyncio`: thousands of coroutines on one loop, and ordinary Celery tasks as they were."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded, WorkerLostError

from dispatcher import Cancelled, Dispatcher, Failed, Settings
from dispatcher.execution.asyncio_pool import CoroutineCancelledError
from dispatcher.model.outcome import ErrorKind
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, PATIENCE_SECONDS, QUICK_SETTINGS, Marks, Worker, eventually, soon

APP = "tests.acceptance.pool_worker_app"
TASKS = f"{APP}."


@pytest.fixture(scope="module")
def pool_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with EmbeddedServer(tmp_path_factory.mktemp("pool")) as running:
        yield Settings.load(url=running.url, **QUICK_SETTINGS)


@pytest.fixture(scope="module")
def pool(pool_settings: Settings, marks: Marks) -> Iterator[Worker]:
    """A worker with room for a hundred coroutines."""
    worker = Worker(pool_settings, marks, "--pool", "asyncio", "-c", "100", app=APP)
    with worker:
        yield worker


@pytest.fixture
def sender(pool_settings: Settings, pool: Worker) -> Iterator[Celery]:
    """A Celery app that knows nothing but the address."""
    url = pool_settings.url.get_secret_value()
    app = Celery("sender", broker=url, backend=url, set_as_current=False)
    with app:
        yield app
    app.backend.result_consumer.stop()
    app.backend.client.close()


@pytest.fixture
async def dispatcher(pool_settings: Settings, pool: Worker):
    async with Dispatcher(functions.registry, settings=pool_settings) as started:
        yield started


def run(sender: Celery, name: str, *args: object, **options: object) -> object:
    return sender.send_task(TASKS + name, args=args, **options).get(timeout=PATIENCE_SECONDS)


class TestJobs:
    async def test_many_wait_at_once(self, dispatcher: Dispatcher, label: str) -> None:
        began = time.monotonic()
        jobs = [await dispatcher.dispatch(functions.hold_async.call(f"{label}-{n}", 1)) for n in range(60)]
        assert [await job.result(LONG) for job in jobs] == ["held"] * 60
        assert time.monotonic() - began < 15, "one after the other takes a minute"

    async def test_def_and_async_def_run_side_by_side(self, dispatcher: Dispatcher) -> None:
        jobs = [
            await dispatcher.dispatch(f.call(n, 1)) for n in range(20) for f in (functions.add, functions.add_async)
        ]
        assert [await job.result(LONG) for job in jobs] == [n + 1 for n in range(20) for _ in "ab"]

    async def test_a_function_learns_of_its_job(self, dispatcher: Dispatcher) -> None:
        job = await dispatcher.dispatch(functions.whoami.call(), idempotency_key="own")
        assert (await job.result(LONG))["id"] == job.id

    async def test_a_retry_is_made(self, dispatcher: Dispatcher, label: str) -> None:
        assert await (await dispatcher.dispatch(functions.flaky.call(label, 2))).result(LONG) == 3

    async def test_a_timeout_and_a_deadline_stop_a_coroutine(
        self, dispatcher: Dispatcher, marks: Marks, label: str
    ) -> None:
        job = await dispatcher.dispatch(functions.hold_async.call(label, 30), deadline=timedelta(seconds=1))
        assert (await job.outcome(LONG)).attempts == 1
        assert marks.of(label)[1:] == ["cancelled"]

    async def test_one_that_swallows_its_cancellation_is_settled_without_it(
        self, dispatcher: Dispatcher, marks: Marks, label: str
    ) -> None:
        job = await dispatcher.dispatch(functions.swallow_async.call(label, 3))
        await soon(lambda: marks.started(label) == 1)
        assert await job.cancel("enough")
        began = time.monotonic()
        assert await job.outcome(LONG) == Cancelled(reason="enough", attempts=1)
        assert time.monotonic() - began < 2.5
        assert marks.count(label, "end") == 0
        await soon(lambda: marks.count(label, "end") == 1)

    async def test_one_that_blocks_the_loop_is_settled_in_time_and_the_others_go_on_after_it(
        self, dispatcher: Dispatcher, marks: Marks, label: str
    ) -> None:
        waiting = await dispatcher.dispatch(functions.hold_async.call(f"{label}-other", 2))
        await soon(lambda: marks.started(f"{label}-other") == 1)
        job = await dispatcher.dispatch(functions.block_loop.call(label, 4))
        outcome = await job.outcome(LONG)
        assert isinstance(outcome, Failed)
        assert outcome.error.kind is ErrorKind.TIMEOUT
        assert marks.count(label, "end") == 0
        assert await waiting.result(LONG) == "held"

    async def test_stopping_the_loop_or_leaving_takes_nobody_along(
        self, dispatcher: Dispatcher, pool: Worker, marks: Marks, label: str
    ) -> None:
        waiting = await dispatcher.dispatch(functions.hold_async.call(label, 1.5))
        await soon(lambda: marks.started(label) == 1)
        stopping = await dispatcher.dispatch(functions.stop_loop.call())
        leaving = await dispatcher.dispatch(functions.leave_async.call(3))
        assert await stopping.result(LONG) == "stopped"
        assert isinstance(await leaving.outcome(LONG), Failed)
        assert await waiting.result(LONG) == "held"
        assert pool.alive

    async def test_a_job_that_is_revoked_and_terminated_ends_as_cancelled(
        self, dispatcher: Dispatcher, sender: Celery, marks: Marks, label: str
    ) -> None:
        job = await dispatcher.dispatch(functions.hold_async.call(label, 60))
        await soon(lambda: marks.started(label) == 1)
        await asyncio.to_thread(sender.control.revoke, job.id, terminate=True)
        assert await job.outcome(timedelta(seconds=5)) == Cancelled(reason="revoked through Celery", attempts=1)
        await soon(lambda: marks.of(label)[1:] == ["cancelled"])


class TestOrdinaryTasks:
    def test_def_and_async_def(self, sender: Celery) -> None:
        assert run(sender, "plain_add", 1, 2) == 3
        assert run(sender, "async_add", 1, 2) == 3

    def test_a_bound_task_has_its_own_request_whatever_runs_meanwhile(self, sender: Celery) -> None:
        results = [sender.send_task(TASKS + "who_am_i") for _ in range(20)]
        for result in results:
            before, after, thread, _ = result.get(timeout=PATIENCE_SECONDS)
            assert before == after == result.id
            assert thread == "dispatcher-loop"

    def test_context_variables_are_a_tasks_own(self, sender: Celery) -> None:
        results = {n: sender.send_task(TASKS + "set_name", args=[f"n{n}"]) for n in range(20)}
        assert all(result.get(timeout=PATIENCE_SECONDS) == f"nobody n{n}" for n, result in results.items())

    def test_chain_group_and_chord(self, sender: Celery) -> None:
        def add(name: str, *args: int):
            return sender.signature(TASKS + name, args=args)

        chained = chain(add("async_add", 1, 2), add("plain_add", 10), add("async_add", 100), app=sender)()
        assert chained.get(timeout=PATIENCE_SECONDS) == 113
        grouped = group([add("async_add", n, n) for n in range(10)], app=sender)()
        assert grouped.get(timeout=PATIENCE_SECONDS) == [2 * n for n in range(10)]
        joined = chord([add("async_add", n, 0) for n in range(10)], app=sender)(sender.signature("total"))
        assert joined.get(timeout=PATIENCE_SECONDS) == 45

    def test_eta_and_countdown(self, sender: Celery) -> None:
        began = time.monotonic()
        later = sender.send_task(TASKS + "async_add", args=[1, 1], eta=datetime.now(UTC) + timedelta(seconds=1))
        soon_after = sender.send_task(TASKS + "async_add", args=[2, 2], countdown=0.2)
        assert soon_after.get(timeout=PATIENCE_SECONDS) == 4
        assert later.get(timeout=PATIENCE_SECONDS) == 2
        assert time.monotonic() - began >= 0.9

    def test_a_task_that_expired_is_not_run(self, sender: Celery) -> None:
        result = sender.send_task(TASKS + "async_add", args=[1, 1], countdown=0.5, expires=0.1)
        with pytest.raises(TaskRevokedError, match="expired"):
            result.get(timeout=PATIENCE_SECONDS)

    def test_retry_by_hand_and_by_itself(self, sender: Celery) -> None:
        assert run(sender, "retry_twice") == 2
        assert run(sender, "retry_by_itself") == 2

    def test_a_failure_is_its_own_and_on_failure_is_called(self, sender: Celery, marks: Marks, label: str) -> None:
        with pytest.raises(ValueError, match=label):
            run(sender, "fail_async", kwargs={"label": label})
        # Celery stores the failure before it calls on_failure.
        assert eventually(lambda: marks.of(label)) == [f"on_failure {label}"]

    @pytest.mark.parametrize("how", ["exit", "keyboard"])
    def test_leaving_the_process_is_only_that_tasks_end(self, sender: Celery, pool: Worker, how: str) -> None:
        with pytest.raises(WorkerLostError):
            run(sender, "leave_async", how)
        assert run(sender, "async_add", 1, 1) == 2
        assert pool.alive

    def test_one_that_cancels_itself_fails(self, sender: Celery) -> None:
        with pytest.raises(CoroutineCancelledError):
            run(sender, "leave_async", "cancel")

    def test_stopping_the_loop_stops_nothing(self, sender: Celery) -> None:
        assert run(sender, "stop_the_loop") == "stopped"

    def test_revoke_before_it_starts(self, sender: Celery, marks: Marks, label: str) -> None:
        result = sender.send_task(TASKS + "wait_async", args=[label, 0], countdown=0.5)
        result.revoke()
        with pytest.raises(TaskRevokedError):
            result.get(timeout=PATIENCE_SECONDS)
        assert marks.of(label) == []

    def test_revoke_and_terminate_ends_it_where_it_waits(self, sender: Celery, marks: Marks, label: str) -> None:
        result = sender.send_task(TASKS + "wait_async", args=[label, 60])
        eventually(lambda: marks.started(label) == 1)
        result.revoke(terminate=True)
        with pytest.raises(TaskRevokedError, match="terminated"):
            result.get(timeout=PATIENCE_SECONDS)
        eventually(lambda: marks.of(label)[1:] == ["cleaned up", "after cleaning up"])
        assert run(sender, "async_add", 1, 1) == 2

    def test_time_limits_are_kept(self, sender: Celery, marks: Marks, label: str) -> None:
        with pytest.raises(SoftTimeLimitExceeded):
            run(sender, "wait_async", label, 60, soft_time_limit=0.3)
        with pytest.raises(TimeLimitExceeded):
            run(sender, "wait_async", label, 60, time_limit=0.3)
        eventually(lambda: marks.count(label, "after cleaning up") == 2)

    def test_a_function_of_ours_is_a_task_too_and_keeps_its_timeout(self, sender: Celery, label: str) -> None:
        assert sender.send_task("add_async", args=[1, 2]).get(timeout=PATIENCE_SECONDS) == 3
        with pytest.raises(Exception, match="timeout"):
            sender.send_task("wait_briefly", args=[label, 60]).get(timeout=PATIENCE_SECONDS)


class TestInspection:
    def test_stats_tell_what_the_pool_does(self, sender: Celery, marks: Marks, label: str) -> None:
        result = sender.send_task(TASKS + "wait_async", args=[label, 1])
        eventually(lambda: marks.started(label) == 1)
        (stats,) = sender.control.inspect(timeout=5, limit=1).stats().values()
        pool = stats["pool"]
        assert pool["implementation"] == "dispatcher.execution.asyncio_pool:TaskPool"
        assert pool["max-concurrency"] == 100
        assert pool["running"] >= 1
        assert pool["loop"] in {"asyncio", "uvloop"}
        (active,) = sender.control.inspect(timeout=5, limit=1).active().values()
        assert result.id in [task["id"] for task in active]
        assert result.get(timeout=PATIENCE_SECONDS) == "waited"
        eventually(lambda: next(iter(sender.control.inspect(timeout=5, limit=1).active().values())) == [])


@pytest.fixture
def own(server: EmbeddedServer, label: str) -> Settings:
    return Settings(url=server.url, namespace=f"pool-{label}", **QUICK_SETTINGS)


class TestLife:
    async def test_a_warm_shutdown_lets_everything_end(
        self, own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
    ) -> None:
        worker = start_worker(own, "--pool", "asyncio", "-c", "5")
        async with Dispatcher(functions.registry, settings=own) as dispatcher:
            jobs = [
                await dispatcher.dispatch(function.call(f"{label}-{function.name}", 1.5))
                for function in (functions.hold_async, functions.hold)
            ]
            await soon(lambda: all(marks.started(f"{label}-{name}") for name in ("hold_async", "hold")))
            await asyncio.to_thread(worker.stop)
            assert worker.process is not None
            assert worker.process.returncode == 0
            assert [await job.result(LONG) for job in jobs] == ["held", "held"]
            assert all(marks.started(f"{label}-{name}") == 1 for name in ("hold_async", "hold"))

    @pytest.mark.parametrize("pool", ["asyncio", "prefork"])
    async def test_a_cold_shutdown_ends_at_once_and_another_worker_runs_the_job(
        self, own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str, pool: str
    ) -> None:
        worker = start_worker(own, "--pool", pool, "-c", "5")
        async with Dispatcher(functions.registry, settings=own) as dispatcher:
            job = await dispatcher.dispatch(functions.hold_async_first.call(label, 60))
            await soon(lambda: marks.started(label) == 1)
            assert worker.process is not None
            worker.process.send_signal(signal.SIGQUIT)
            assert worker.process is not None
            await asyncio.to_thread(worker.process.wait, 10)
            start_worker(own, "--pool", "asyncio", "-c", "5")
            assert await job.result(LONG) == "held"
            assert marks.started(label) == 2

    async def test_a_cold_shutdown_reaches_every_call_of_a_job(
        self, own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
    ) -> None:
        worker = start_worker(own, "--pool", "asyncio", "-c", "5")
        async with Dispatcher(functions.registry, settings=own) as dispatcher:
            job = await dispatcher.dispatch_job([functions.hold_async.call(f"{label}-{n}", 60) for n in range(3)])
            await soon(lambda: all(marks.started(f"{label}-{n}") for n in range(3)))
            assert worker.process is not None
            worker.process.send_signal(signal.SIGQUIT)
            await asyncio.to_thread(worker.process.wait, 10)
            assert [marks.count(f"{label}-{n}", "cancelled") for n in range(3)] == [1, 1, 1]
            assert not job.done, "its lease runs out, and another worker has it"

    async def test_the_limit_grows_and_shrinks(
        self, own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
    ) -> None:
        start_worker(own, "--pool", "asyncio", "-c", "1")
        control = Celery("control", broker=own.url.get_secret_value(), set_as_current=False)
        control.conf.broker_transport_options = {"global_keyprefix": f"{{{own.namespace}}}:queue:"}
        async with Dispatcher(functions.registry, settings=own) as dispatcher:
            jobs = [await dispatcher.dispatch(functions.hold_async.call(f"{label}-{n}", 2.5)) for n in range(3)]
            await soon(lambda: sum(marks.started(f"{label}-{n}") for n in range(3)) == 1)
            await asyncio.sleep(0.3)
            assert sum(marks.started(f"{label}-{n}") for n in range(3)) == 1
            with control:
                await asyncio.to_thread(control.control.pool_grow, 2)
                await soon(lambda: sum(marks.started(f"{label}-{n}") for n in range(3)) == 3, within=2)
                await asyncio.to_thread(control.control.pool_shrink, 2)
            assert [await job.result(LONG) for job in jobs] == ["held"] * 3
            after = [await dispatcher.dispatch(functions.hold_async.call(f"{label}-after-{n}", 1)) for n in range(2)]
            await soon(lambda: sum(marks.started(f"{label}-after-{n}") for n in range(2)) == 1)
            await asyncio.sleep(0.3)
            assert sum(marks.started(f"{label}-after-{n}") for n in range(2)) == 1
            for job in after:
                await job.result(LONG)

    async def test_celerys_autoscaler_moves_the_limit(
        self, own: Settings, start_worker: Callable[..., Worker], marks: Marks, label: str
    ) -> None:
        start_worker(own, "--pool", "asyncio", "--autoscale", "10,1")
        async with Dispatcher(functions.registry, settings=own) as dispatcher:
            jobs = [await dispatcher.dispatch(functions.hold_async.call(f"{label}-{n}", 3)) for n in range(6)]
            await soon(lambda: sum(marks.started(f"{label}-{n}") for n in range(6)) == 6, within=2.9)
            assert [await job.result(LONG) for job in jobs] == ["held"] * 6
