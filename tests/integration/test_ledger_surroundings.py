"""The ledger and what is around it: announcements, Celery's clients, key names, forgotten scripts, many at once."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from celery import Celery, states
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from dispatcher.errors import BacklogFullError
from dispatcher.model.job import Progress
from dispatcher.settings import Settings
from dispatcher.transport.cache import Kept, Wanted
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect, connect_async, kombu_url
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.garbage import GarbageSink
from dispatcher.transport.ledger import AsyncLedger, Ledger
from dispatcher.transport.script import script
from tests.integration.ledger_rig import Rig, failed, succeeded


class TestAnnouncements:
    def test_the_producer_hears_the_outcome_itself(self, rig: Rig) -> None:
        job_id, token = rig.running(producer="p1")
        (heard,) = rig.heard(lambda: rig.settle(job_id, token, succeeded('"ü"')), rig.keys.announcements("p1"))
        name, _, meta = heard.partition(b"\n")
        assert name.decode() == job_id
        assert meta == rig.stored(job_id)

    def test_an_outcome_over_64_kib_is_announced_by_its_id_alone(self, rig: Rig) -> None:
        job_id, token = rig.running(producer="p1")
        large = succeeded(json.dumps("x" * 65_536))
        heard = rig.heard(lambda: rig.settle(job_id, token, large), rig.keys.announcements("p1"))
        assert heard == [f"{job_id}\n".encode()]

    def test_celerys_own_clients_hear_it_under_the_results_name(self, rig: Rig) -> None:
        job_id, token = rig.running(producer="")
        heard = rig.heard(lambda: rig.settle(job_id, token), rig.keys.result(job_id))
        assert heard == [rig.stored(job_id)]

    def test_every_way_to_end_is_announced_and_a_repeated_settlement_is_not(self, rig: Rig) -> None:
        waiting, (running, token), late = rig.waiting(), rig.running(), rig.waiting()

        def end() -> None:
            rig.cancel(waiting)
            for _ in range(2):
                rig.settle(running, token, failed())
            rig.advance(700)
            rig.look(late)

        heard = rig.heard(end, rig.keys.announcements("tester"))
        assert [data.partition(b"\n")[0].decode() for data in heard] == [waiting, running, late]


class TestCelery:
    @pytest.fixture
    def app(self, server: EmbeddedServer) -> Iterator[Celery]:
        made = Celery("plain", backend=kombu_url(server.url), set_as_current=False)
        yield made
        made.backend.result_consumer.stop()
        made.backend.client.close()

    def test_a_success_is_celerys_success(self, rig: Rig, app: Celery) -> None:
        job_id, token = rig.running()
        rig.settle(job_id, token, succeeded('{"sum": [1, 2.5, null]}'))
        result = AsyncResult(job_id, app=app)
        assert result.get(timeout=5) == {"sum": [1, 2.5, None]}
        assert result.status == states.SUCCESS

    def test_a_failure_raises_the_functions_exception(self, rig: Rig, app: Celery) -> None:
        result = AsyncResult(rig.dead(), app=app)
        with pytest.raises(ValueError, match="broken"):
            result.get(timeout=5)
        assert result.status == states.FAILURE

    def test_cancelled_expired_and_partly_done_are_read_too(self, rig: Rig, app: Celery) -> None:
        cancelled, expired = rig.waiting(), rig.waiting()
        partly, token = rig.running(calls=("{}", "{}"))
        rig.retry(partly, token, 5, {1: succeeded('"done"').calls[0]})
        rig.cancel(cancelled, "no")
        rig.advance(700)
        for job_id in (expired, partly):
            rig.look(job_id)
        for job_id, text in ((cancelled, "no"), (expired, "expired")):
            result = AsyncResult(job_id, app=app)
            assert result.status == states.REVOKED
            with pytest.raises(TaskRevokedError, match=text):
                result.get(timeout=5)
        assert AsyncResult(partly, app=app).get(timeout=5) == [None, "done"]


def run_everything(rig: Rig) -> list[str]:
    """Every script once or more; the ids of the jobs."""
    done, token = rig.running(idempotency_key="k", digest="d", producer="p")
    rig.beat(done, token, Progress(done=1))
    rig.settle(done, token, succeeded(), keep=[Kept(name="text.count:d", entry="s7", lifetime=timedelta(seconds=9))])
    shared = rig.waiting(topics=("function:text.count",), flight="text.count:e", producer="p")
    wanted = Wanted(name="text.count:e", topics=("function:text.count",), function="text.count", queue="default")
    rig.ledger.run(rig.commands.find("q", [wanted]))
    rig.ledger.run(rig.commands.invalidate(["function:text.count"], ["text.count:e"]))
    rig.ledger.run(rig.commands.rejoin(shared, "p"))
    rig.cancel(shared)
    again, token = rig.running(calls=("{}", "{}"))
    rig.retry(again, token, 1, {0: succeeded().calls[0]})
    dead = rig.dead()
    rig.replay(dead)
    rig.cancel(dead)
    forgotten = rig.dead()
    rig.ledger.run(rig.commands.discard(forgotten))
    late = rig.waiting()
    rig.advance(700)
    rig.lost()
    for job_id in rig.due() or []:
        rig.look(job_id)
    rig.queues()
    rig.ledger.run(rig.commands.stop_sweeping("node"))
    GarbageSink(client=rig.client, namespace=rig.settings.namespace, ttl_seconds=60, max_dead=10).record_garbage(
        "default", b"{", "not JSON"
    )
    return [done, shared, again, dead, forgotten, late]


class TestKeys:
    def test_every_key_is_in_the_hash_slot_of_the_namespace(self, rig: Rig) -> None:
        before = set(rig.client.scan_iter())
        ids = run_everything(rig)
        made = {key.decode() for key in set(rig.client.scan_iter()) - before}
        assert made - set(rig.every_key()) == {rig.keys.result(job_id) for job_id in ids}
        assert all(key.startswith("{" + rig.settings.namespace + "}:") for key in rig.every_key())

    def test_with_a_result_prefix_results_are_in_that_slot_too(self, rig: Rig) -> None:
        prefix = "{" + rig.settings.namespace + "}:"
        before = set(rig.client.scan_iter())
        run_everything(rig.with_settings(result_prefix=prefix))
        made = {key.decode() for key in set(rig.client.scan_iter()) - before}
        assert all(key.startswith(prefix) for key in made)

    def test_a_user_who_may_touch_nothing_else_can_do_everything(self, rig: Rig, server: EmbeddedServer) -> None:
        name = f"user-{rig.settings.namespace}"
        rig.client.acl_setuser(
            name,
            enabled=True,
            nopass=True,
            keys=[f"{rig.keys.prefix}*", "celery-task-meta-*"],
            channels=[f"{rig.keys.prefix}*", "celery-task-meta-*"],
            categories=["+@all"],
            reset=True,
        )
        try:
            with connect(server.url, role="test") as own:
                own.execute_command("AUTH", name, "")
                ids = run_everything(Rig(own, rig.settings))
        finally:
            rig.client.acl_deluser(name)
        assert all(rig.state(job_id) in {"succeeded", "cancelled", "failed", "expired"} for job_id in ids)


class TestForgottenScripts:
    """A server that was restarted, or told SCRIPT FLUSH, does not hold our scripts."""

    def test_one_command_is_run_from_its_text(self, rig: Rig) -> None:
        rig.client.script_flush()
        assert rig.accept().new
        assert rig.client.script_exists(script("accept").sha) == [True]

    def test_of_many_commands_each_is_run_once(self, rig: Rig) -> None:
        ids = [rig.waiting() for _ in range(3)]
        rig.client.script_flush()
        commands = [
            *(rig.commands.lease(job_id, "w", job_id) for job_id in ids),
            rig.commands.lease("nobody", "w", "n"),
        ]
        rig.ledger.run(rig.commands.lease(rig.waiting(), "w", "n"))
        answers = rig.ledger.run_many_settled(commands)
        assert [getattr(answer, "attempt", None) for answer in answers] == [1, 1, 1, None]
        rig.client.script_flush()
        looks = rig.ledger.run_many_settled([rig.commands.look(job_id) for job_id in ids])
        assert [getattr(looked, "action", looked) for looked in looks] == ["nothing"] * 3

    async def test_the_event_loops_ledger_does_the_same(self, rig: Rig, server: EmbeddedServer) -> None:
        rig.client.script_flush()
        async with connect_async(server.url, role="test") as client:
            ledger = AsyncLedger(client)
            jobs = [rig.job() for _ in range(3)]
            results = await ledger.run_many_settled([rig.commands.accept(job) for job in jobs])
            assert [getattr(result, "job_id", result) for result in results] == [job.id for job in jobs]
            assert rig.counts()["accepted"] == 3
            rig.client.script_flush()
            assert (await ledger.run(rig.commands.accept(jobs[0]))).job_id == jobs[0].id
            assert await ledger.run_many_settled([]) == []


class TestManyAtOnce:
    async def test_a_refusal_of_one_spoils_no_other(self, rig: Rig, server: EmbeddedServer) -> None:
        commands = Commands(Settings(namespace=rig.settings.namespace, max_backlog=1))
        rig.accept(idempotency_key="k", digest="d", queue="other")
        batch = [rig.job(), rig.job(), rig.job(queue="other", idempotency_key="k", digest="e"), rig.job(queue="third")]
        async with connect_async(server.url, role="test") as client:
            results = await AsyncLedger(client).run_many_settled([commands.accept(job) for job in batch])
        kinds = [type(result).__name__ for result in results]
        assert kinds == ["Accepted", "BacklogFullError", "IdempotencyConflictError", "Accepted"]

    async def test_the_event_loops_ledger_raises_a_single_refusal(self, rig: Rig, server: EmbeddedServer) -> None:
        commands = Commands(Settings(namespace=rig.settings.namespace, max_backlog=1))
        async with connect_async(server.url, role="test") as client:
            ledger = AsyncLedger(client)
            await ledger.run(commands.accept(rig.job()))
            with pytest.raises(BacklogFullError):
                await ledger.run(commands.accept(rig.job()))

    def test_a_broken_record_is_its_own_entry(self, rig: Rig) -> None:
        broken, good = rig.waiting(), rig.waiting()
        rig.client.hset(rig.keys.job(broken), "deadline_ms", "yesterday")
        results = rig.ledger.run_many_settled([rig.commands.look(broken), rig.commands.look(good)])
        assert isinstance(results[0], Exception)
        assert getattr(results[1], "action", "") == "nothing"
        rig.client.delete(rig.keys.job(broken))

    async def test_two_ledgers_racing_for_a_lease_make_one_attempt(self, rig: Rig, server: EmbeddedServer) -> None:
        job_id = rig.waiting()
        async with connect_async(server.url, role="test") as client:
            ledger = AsyncLedger(client)
            requests = (ledger.run(rig.commands.lease(job_id, "w", str(nonce))) for nonce in range(20))
            answers = await asyncio.gather(*requests)
        assert sum(hasattr(answer, "token") for answer in answers) == 1


def test_a_status_is_read_from_the_event_loop_too(rig: Rig, server: EmbeddedServer) -> None:
    job_id = rig.waiting()

    async def ask() -> object:
        async with connect_async(server.url, role="test") as client:
            ledger = AsyncLedger(client)
            return await ledger.status(rig.keys, job_id), await ledger.status(rig.keys, "nobody")

    found, missing = asyncio.run(ask())
    assert found == rig.status(job_id)
    assert missing is None


def test_a_ledger_can_be_shared_between_threads(rig: Rig) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ledger = Ledger(rig.client)
    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(lambda _: ledger.run(rig.commands.accept(rig.job())), range(64)))
    assert sorted(one.sequence for one in accepted) == list(range(1, 65))
