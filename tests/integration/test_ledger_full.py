"""A server at `maxmemory`: nothing new is accepted, and what was accepted comes to its end."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import redis
from kombu import Producer
from kombu.exceptions import KombuError
from kombu.transport import redis as kombu_redis
from redis.exceptions import OutOfMemoryError, ResponseError

from dispatcher.settings import Settings
from dispatcher.transport.app import create_app
from dispatcher.transport.broker import Broker
from dispatcher.transport.broker_writes import HEAD_HEADER
from dispatcher.transport.cache import Kept, Wanted
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.failure import is_out_of_memory
from dispatcher.transport.guarded import Channel
from dispatcher.transport.replies import Accepted, Lease, WakeUp
from tests.integration.ledger_rig import Rig, succeeded


@pytest.fixture
def rig(own: EmbeddedServer, namespace: str) -> Iterator[Rig]:
    with connect(own.url, role="test") as client:
        made = Rig(client, Settings(namespace=namespace, url=own.url))
        # So that a few connections are a small part of all that is in use.
        client.setrange("of-others", 20_000_000, "x")
        try:
            yield made
            assert made.keys_without_ttl() == []
        finally:
            client.config_set("maxmemory", 0)


@contextmanager
def at(client: redis.Redis, part: float) -> Iterator[None]:
    """A server of which so much is in use, where 1 is what it may."""
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] / part))
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def full(rig: Rig):
    """Full, and some of the reserve is left."""
    return at(rig.client, 1.03)


def over(rig: Rig):
    """Full, and the reserve is used up."""
    return at(rig.client, 1.2)


def test_a_new_job_is_refused_whether_or_not_there_is_a_reserve(rig: Rig) -> None:
    for filled in (full(rig), over(rig)):
        with filled:
            for changes in ({}, {"delay": timedelta(seconds=9)}, {"idempotency_key": "k"}):
                with pytest.raises(ResponseError) as caught:
                    rig.accept(**changes)
                assert is_out_of_memory(caught.value)
    assert rig.every_key() == [], "nothing of a job that was refused stays"


def test_who_repeats_an_idempotency_key_is_told_of_the_job_that_there_is(rig: Rig) -> None:
    first = rig.accept(idempotency_key="k")
    with over(rig):
        again = rig.accept(idempotency_key="k")
        assert (again.job_id, again.new) == (first.job_id, False)
        known, new = rig.ledger.run(rig.commands.accept_many([rig.job(idempotency_key="k"), rig.job()]))
    assert isinstance(known, Accepted)
    assert known.job_id == first.job_id
    assert isinstance(new, ResponseError), "in the same request, what is new is refused"
    assert is_out_of_memory(new)
    assert rig.counts()["repeated"] == 2
    assert rig.waits_in(first.job_id) == ["default"]


def test_what_is_kept_of_equal_calls_is_found(rig: Rig) -> None:
    job_id, token = rig.running()
    keep = [Kept(name="f:digest", entry="1", lifetime=timedelta(minutes=1))]
    assert rig.settle(job_id, token, keep=keep) == "settled"
    with over(rig):
        wanted = [Wanted(name=name, topics=("f",), function="f", queue="") for name in ("f:digest", "f:other")]
        assert [found.entry for found in rig.ledger.run(rig.commands.find("producer", wanted))] == ["1", None]


def test_calls_that_have_ended_are_recorded_so_that_they_are_not_made_again(rig: Rig) -> None:
    job_id, token = rig.running(calls=("{}", "{}"))
    with over(rig):
        assert rig.ledger.run(rig.commands.save(job_id, token, dict(enumerate(succeeded().calls)))) == "saved"
    rig.advance(60)
    assert rig.look(job_id).action == "publish"
    assert list(rig.leased(job_id).done) == [0]


def test_a_producer_shares_a_job_again_with_the_reserve_used_up(rig: Rig) -> None:
    job_id = rig.waiting()
    with over(rig):
        assert rig.ledger.run(rig.commands.rejoin(job_id, "producer")) == "joined"
    assert rig.field(job_id, "sharers") == " producer"


def test_outcomes_are_recorded_with_the_reserve_used_up(rig: Rig) -> None:
    ones = [rig.running() for _ in range(6)]
    (alone, token), (failing, _), (again, _), *together = ones
    with over(rig):
        assert rig.settle(alone, token) == "settled"
        assert rig.settle(failing, token, succeeded("[1]")) == "settled"
        assert rig.retry(again, token) == "scheduled"
        command = rig.commands.settle_together([rig.commands.settle(one, 1, succeeded()) for one, _ in together])
        assert rig.ledger.run(command) == ["settled"] * 3
    assert [rig.state(one) for one, _ in ones] == ["succeeded", "succeeded", "scheduled", *["succeeded"] * 3]
    assert all(rig.stored(one) for one, _ in together)


def test_outcomes_are_not_kept_for_equal_calls_meanwhile(rig: Rig) -> None:
    keep = [Kept(name="f:digest", entry="1", lifetime=timedelta(minutes=1))]
    (job_id, token), (later, _) = rig.running(), rig.running()
    with full(rig):
        assert rig.settle(job_id, token, keep=keep) == "settled"
        assert not rig.client.exists(rig.keys.cached("f", "digest"))
    assert rig.settle(later, 1, keep=keep) == "settled"
    assert rig.client.exists(rig.keys.cached("f", "digest"))


def test_leases_are_kept_given_back_and_cancelled_with_the_reserve_used_up(rig: Rig) -> None:
    (kept, token), (returned, _), (stopped, _) = (rig.running() for _ in range(3))
    waiting = rig.waiting()
    with over(rig):
        assert rig.beat(kept, token) == "kept"
        assert rig.ledger.run(rig.commands.give_back([(returned, 1)])) == ["default"]
        assert rig.cancel(stopped, hard=True) == "cancelled"
        assert rig.cancel(waiting) == "cancelled"
    assert rig.waits_in(returned) == ["default"]
    assert [rig.state(one) for one in (kept, returned, stopped, waiting)] == [
        "running", "waiting", "cancelled", "cancelled",
    ]  # fmt: skip


def test_what_is_over_is_ended_with_the_reserve_used_up_and_what_is_due_waits_for_room(rig: Rig) -> None:
    late = rig.waiting(deadline=timedelta(seconds=1))
    broken = rig.waiting(deadline=timedelta(seconds=1))
    lost, _ = rig.running()
    due = rig.accept(delay=timedelta(seconds=30)).job_id
    rig.advance(60)
    with over(rig):
        assert sorted(rig.due() or []) == sorted([late, broken, lost, due])
        rig.ledger.run(rig.commands.postpone(broken, timedelta(minutes=1)))
        assert rig.look(late).action == "expired"
        assert [rig.look(one).action for one in (lost, due)] == ["nothing", "nothing"]
        assert rig.due() == [], "they are not looked at again at once"
        assert rig.field(lost, "lost") is None, "it must not count as lost each time that it is looked at"
    rig.advance(30)
    with full(rig):
        assert [rig.look(one).action for one in (lost, due)] == ["publish", "publish"]
    assert rig.field(lost, "lost") == "1"


def test_a_lost_attempt_that_is_the_last_ends_its_job_with_the_reserve_used_up(rig: Rig) -> None:
    once, _ = rig.running(delivery="at_most_once")
    often, _ = rig.running()
    rig.client.hset(rig.keys.job(often), "lost", rig.settings.max_lost_attempts - 1)
    rig.advance(60)
    with over(rig):
        assert [rig.look(one).action for one in (once, often)] == ["gave_up", "gave_up"]
    assert [rig.state(one) for one in (once, often)] == ["failed", "failed"]


def test_jobs_are_given_out_as_long_as_there_is_a_reserve(rig: Rig) -> None:
    alone, second, third, last = (rig.waiting() for _ in range(4))
    with full(rig):
        assert isinstance(rig.lease(alone), Lease)
        both = rig.ledger.run(rig.commands.lease_many([second, third], "worker", "nonce"))
        assert [type(one) for one in both] == [Lease, Lease]
    with over(rig), pytest.raises(OutOfMemoryError):
        rig.lease(last)
    assert rig.waits_in(last) == ["default"]
    assert isinstance(rig.lease(last), Lease)


def test_where_a_user_may_not_ask_how_much_is_in_use_there_is_no_reserve(own: EmbeddedServer, rig: Rig) -> None:
    job_id = rig.waiting()
    rig.client.execute_command("ACL", "SETUSER", "modest", "on", ">modest", "~*", "&*", "+@all", "-info")
    host = own.url.rpartition("@")[2]
    with connect(f"redis://modest:modest@{host}") as client:
        modest = Rig(client, rig.settings)
        with full(rig), pytest.raises(OutOfMemoryError):
            modest.lease(job_id)
        assert isinstance(modest.lease(job_id), Lease)


def test_none_of_several_leaves_its_queue_without_having_been_given_out(rig: Rig) -> None:
    several = [rig.waiting() for _ in range(3)]
    with over(rig), pytest.raises(OutOfMemoryError):
        rig.ledger.run(rig.commands.lease_many(several, "worker", "nonce"))
    assert [rig.waits_in(one) for one in several] == [["default"]] * 3


def test_lost_wake_ups_are_found_as_long_as_there_is_a_reserve(rig: Rig) -> None:
    job_id = rig.waiting()
    rig.advance(600)
    with over(rig):
        assert rig.lost() == []
    with full(rig):
        assert [one.job_id for one in rig.lost()] == [job_id]


@pytest.mark.parametrize("head", [False, True])
def test_workers_publish_on_the_reserve_and_producers_do_not(own: EmbeddedServer, rig: Rig, head: bool) -> None:
    wake_up = WakeUp(job_id="j", function="f", queue="q", shown="", head=head)
    key = f"{rig.keys.queues}q"
    app = create_app(rig.settings, own.url)
    worker, producer = Broker(app, "worker", on_reserve=True), Broker(app, "producer")
    try:
        with full(rig):
            worker.publish([replace(wake_up, job_id=name) for name in "abc"])
            with pytest.raises(KombuError):
                producer.publish([wake_up])
        with over(rig), pytest.raises(KombuError):
            worker.publish([wake_up])
        # Workers take from the right.
        taken = [json.loads(rig.client.rpop(key))["headers"]["id"] for _ in range(rig.client.llen(key))]
        assert taken == list("cba" if head else "abc")
    finally:
        worker.disconnect()
        producer.disconnect()
        rig.client.delete(key)


@pytest.mark.parametrize("head", [False, True])
def test_what_a_node_asks_the_broker_is_in_no_transaction_in_which_redis_refuses_everything(
    own: EmbeddedServer, rig: Rig, head: bool
) -> None:
    def transactions() -> int:
        return rig.client.info("commandstats").get("cmdstat_multi", {"calls": 0})["calls"]

    key, before = f"{rig.keys.queues}q", transactions()
    with create_app(rig.settings, own.url).connection_for_write() as connection:
        channel = connection.channel()
        channel.on_reserve = True
        # Alone, as Celery publishes a retry, and not among several.
        Producer(channel).publish({}, exchange="", routing_key="q", headers={HEAD_HEADER: head})
        assert channel.queue_declare("q", passive=True).message_count == 1
    assert rig.client.delete(key) == 1
    assert transactions() == before


@pytest.mark.parametrize("head", [False, True])
def test_a_node_that_stops_puts_back_what_it_did_not_begin_with_the_reserve_used_up(
    own: EmbeddedServer, rig: Rig, head: bool
) -> None:
    with create_app(rig.settings, own.url).connection_for_write() as connection:
        channel = connection.channel()
        Producer(channel).publish({}, exchange="", routing_key="q", headers={HEAD_HEADER: head, "id": "j"})
        assert channel.basic_get("q").headers["id"] == "j"
        assert channel.basic_get("q") is None
        with over(rig):
            channel.close()
    (left,) = rig.client.lrange(f"{rig.keys.queues}q", 0, -1)
    assert json.loads(left)["headers"]["id"] == "j"
    rig.client.delete(f"{rig.keys.queues}q")


def test_a_node_that_asks_its_neighbours_when_it_starts_hears_nothing(own: EmbeddedServer, rig: Rig) -> None:
    app = create_app(rig.settings, own.url)
    with app.connection_for_write() as connection, over(rig):
        assert isinstance(connection.default_channel, Channel)
        assert app.control.inspect(timeout=0.1, connection=connection).hello("node", {}) is None


@pytest.mark.parametrize("error", [OutOfMemoryError("command not allowed"), ResponseError("WRONGTYPE")])
def test_a_queue_is_deleted_outside_of_a_transaction_where_redis_refuses_one(
    own: EmbeddedServer, rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(kombu_redis.Channel, "_delete", refuse)
    rig.client.rpush(f"{rig.keys.queues}q", "message")
    with create_app(rig.settings, own.url).connection_for_write() as connection:
        channel = connection.channel()
        if is_out_of_memory(error):
            channel._delete("q", "q", "q", "")
        else:
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                channel._delete("q", "q", "q", "")
    assert rig.client.delete(f"{rig.keys.queues}q") == (0 if is_out_of_memory(error) else 1)
