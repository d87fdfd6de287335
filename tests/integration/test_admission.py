"""Acceptance of many at once on a real server, and that its messages are the ones kombu would write."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from redis.exceptions import ResponseError

from dispatcher.errors import BacklogFullError, IdempotencyConflictError
from dispatcher.settings import Settings
from dispatcher.transport.app import create_app, list_prefix
from dispatcher.transport.broker import Broker
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.message import Message, write_message
from dispatcher.transport.replies import Accepted, WakeUp
from tests.integration.ledger_rig import Rig


@pytest.fixture(autouse=True)
def _empty_queue(rig: Rig) -> Iterator[None]:
    """No worker takes what is published here."""
    yield
    rig.client.delete(f"{rig.keys.queues}default")


def message(rig: Rig, first: int, last: int, text: str = "wake up") -> Message:
    return Message(list_key=f"{rig.keys.queues}default", text=text, first=first, last=last)


def published(rig: Rig) -> list[bytes]:
    """What the workers would take, in that order."""
    return rig.client.lrange(f"{rig.keys.queues}default", 0, -1)[::-1]


def test_what_is_accepted_is_published_with_it_in_order_and_once(rig: Rig) -> None:
    jobs = [rig.job() for _ in range(3)]
    command = rig.commands.accept_many(jobs, [message(rig, 0, 1, "first two"), message(rig, 2, 2, "third")])
    answers = rig.ledger.run(command)
    assert [answer.sequence for answer in answers if isinstance(answer, Accepted)] == [1, 2, 3]
    assert published(rig) == [b"first two", b"third"]
    assert rig.ledger.run(command) == answers, "a lost reply may be asked for again"
    assert published(rig) == [b"first two", b"third"]


def test_a_message_goes_out_where_any_of_its_jobs_is_new(rig: Rig) -> None:
    rig.accept(idempotency_key="k", digest="d")
    jobs = [rig.job(idempotency_key="k", digest="d"), rig.job(), rig.job(idempotency_key="k", digest="e")]
    first, second, third = rig.ledger.run(
        rig.commands.accept_many(
            jobs, [message(rig, 0, 0, "repeated"), message(rig, 0, 1, "one new"), message(rig, 2, 2)]
        )
    )
    assert isinstance(first, Accepted)
    assert not first.new
    assert isinstance(second, Accepted)
    assert isinstance(third, IdempotencyConflictError)
    assert published(rig) == [b"one new"]


def test_one_key_given_twice_at_once_is_one_job(rig: Rig) -> None:
    jobs = [rig.job(idempotency_key="k", digest="d") for _ in range(2)]
    first, second = rig.ledger.run(rig.commands.accept_many(jobs))
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert (first.new, second.new) == (True, False)
    assert second.job_id == first.job_id


def test_a_queue_takes_as_many_as_it_has_room_for(rig: Rig) -> None:
    small = rig.with_settings(max_backlog=2)
    answers = small.ledger.run(small.commands.accept_many([small.job() for _ in range(4)]))
    assert [isinstance(answer, BacklogFullError) for answer in answers] == [False, False, True, True]
    assert rig.counts()["refused:backlog_full"] == 2


def test_a_record_that_somebody_broke_spoils_its_own_job_only(rig: Rig) -> None:
    jobs = [rig.job() for _ in range(3)]
    rig.client.lpush(rig.keys.job(jobs[1].id), "no hash")
    answers = rig.ledger.run(rig.commands.accept_many(jobs, [message(rig, 0, 2)]))
    assert isinstance(answers[1], ResponseError)
    for job in (jobs[0], jobs[2]):
        assert rig.in_due(job.id) is not None, "whatever was accepted is looked at"
        assert rig.waits_in(job.id) == ["default"]
    assert len(published(rig)) == 1
    rig.client.delete(rig.keys.job(jobs[1].id))


def test_what_waits_for_its_time_is_not_published(rig: Rig) -> None:
    job = rig.job(delay=timedelta(minutes=1))
    rig.ledger.run(rig.commands.accept_many([job], [message(rig, 0, 0)]))
    assert published(rig) == []


@pytest.mark.parametrize("wake_up", [
    WakeUp(job_id="a-1", function="text.count", queue="default", shown='{"text":"ä"}'),
    WakeUp(job_id="a-1", function="text.count", queue="default", shown="{}", others=("a-2", "a-3"), attempts=2),
])  # fmt: skip
def test_a_message_is_what_kombu_would_have_written(rig: Rig, server: EmbeddedServer, wake_up: WakeUp) -> None:
    settings = Settings(namespace=rig.settings.namespace, url=server.url)
    broker = Broker(create_app(settings, server.url), origin="producer-1")
    try:
        broker.publish([wake_up])
    finally:
        broker.disconnect()
    (by_kombu,) = rig.client.lrange(f"{list_prefix(settings)}default", 0, -1)
    expected, ours = json.loads(by_kombu), json.loads(write_message(wake_up, "producer-1"))
    for each in (expected, ours):
        assert each["properties"].pop("delivery_tag")
    assert ours == expected
