"""Where the guarded transport takes the place of kombu's, without a server."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from queue import Empty
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
from celery import Celery
from kombu.transport import memory

from dispatcher.settings import Settings
from dispatcher.transport.guarded import Channel, Message, Transport, use_guarded
from dispatcher.transport.lanes import Lanes
from dispatcher.transport.message import BODY, write_message
from dispatcher.transport.poller import LeanPoller
from dispatcher.transport.replies import WakeUp
from tests.malformed import ABSENT, message


def guarded_app(url: str) -> Celery:
    app = Celery("unit", broker=url, set_as_current=False)
    app.conf.broker_transport_options = {"ack_emulation": False}
    use_guarded(app, Settings(namespace="unit", max_message_bytes=5000, max_dead_letters=7, dead_letter_ttl_seconds=60))
    return app


@pytest.mark.parametrize(
    "url",
    ["redis://localhost:1/2", "rediss://localhost:1?ssl_cert_reqs=CERT_REQUIRED", "redis+socket:///nowhere/socket"],
)
def test_every_url_that_leads_to_redis_leads_to_the_guard(url: str) -> None:
    app = guarded_app(url)
    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection_for_read().clone()):
        assert connection.get_transport_cls() is Transport
        assert type(connection.transport) is Transport
        assert connection.transport_options["ack_emulation"] is False


@pytest.mark.parametrize("url", ["rediss://localhost:1", "rediss://localhost:1?ssl_cert_reqs=CERT_REQUIRED"])
def test_tls_stays_on(url: str) -> None:
    assert guarded_app(url).connection_for_read().ssl


def test_the_guard_stays_after_a_failover() -> None:
    connection = guarded_app("redis://localhost:1;redis://localhost:2").connection_for_read()
    connection.maybe_switch_next()
    assert connection.port == 2
    assert connection.get_transport_cls() is Transport


def test_a_broker_of_another_kind_keeps_its_own_transport() -> None:
    assert guarded_app("memory://").connection_for_read().get_transport_cls() is memory.Transport


def test_an_app_that_has_asked_for_its_broker_before_is_guarded_all_the_same() -> None:
    app = Celery("unit", broker="redis://localhost:1", set_as_current=False)
    assert app.connection_for_read().get_transport_cls() is not Transport
    use_guarded(app, Settings())
    assert app.connection_for_read().get_transport_cls() is Transport


def test_the_settings_reach_the_channel() -> None:
    options = guarded_app("redis://localhost:1").connection_for_read().transport_options
    assert options["guard_namespace"] == "unit"
    assert options["guard_max_bytes"] == 5000
    assert options["guard_dead_ttl_seconds"] == 60
    assert options["guard_max_dead"] == 7
    assert {name for name in options if name.startswith("guard_")} <= set(Channel.from_transport_options)


def test_other_connections_in_the_process_are_left_alone() -> None:
    guarded_app("redis://localhost:1")
    assert kombu.Connection("redis://localhost:1").get_transport_cls() is not Transport


def delivered(payload: dict[str, Any]) -> Message:
    channel = kombu.Connection("memory://").channel()
    message = Message(payload, channel=channel, accept={"application/json"})
    assert Channel.Message is Message
    return message


@pytest.fixture
def app() -> Celery:
    made = guarded_app("redis://localhost:1")
    made.conf.task_default_queue = "a"
    return made


@pytest.fixture
def order() -> list[object]:
    """What happened, one after the other."""
    return []


@pytest.fixture
def read(app: Celery, order: list[object], monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Has a channel read a message from a queue."""
    channel: Any = Channel.__new__(Channel)
    channel.connection = SimpleNamespace(client=app.connection_for_read())
    channel._garbage_sink = None
    channel._queue_cycle = Lanes()
    monkeypatch.setattr(channel, "_flush_brpop_reauth", lambda: None)
    monkeypatch.setattr(channel, "_deliver_guarded", lambda *_: order.append("given"))

    def read_one(queue: str, text: str) -> None:
        monkeypatch.setattr(channel, "_read_reply", lambda: (queue.encode(), text.encode()))
        channel._brpop_read()

    return read_one


def test_who_wants_to_is_told_of_wake_ups_before_celery_is_given_them(
    app: Celery, order: list[object], read: Callable[[str, str], None]
) -> None:
    wake_up = write_message(WakeUp(job_id="job-1", function="celery.accumulate", queue="a", shown=""), "producer-1")
    unknown = write_message(WakeUp(job_id="job-2", function="nobody.has.it", queue="a", shown=""), "producer-1")
    control = message(headers={"dispatcher_job": 1, "task": ABSENT, "id": ABSENT})
    control["body"] = base64.b64encode(b"{}").decode()
    read("a", wake_up)
    app.amqp.on_wake_up = lambda headers: order.append(headers["id"])  # type: ignore[attr-defined]
    read("a", wake_up)
    with pytest.raises(Empty):
        read("a", unknown)
    read("a", json.dumps(message(headers={"task": "celery.accumulate", "id": "a-plain-call"})))
    read("node.reply.celery.pidbox", json.dumps(control))
    assert order == ["given", "job-1", "given", "given", "given"]


@pytest.mark.parametrize("taken", [True, False])
def test_who_takes_a_plain_wake_up_has_it_first_and_is_not_told_of_it(
    taken: bool,
    app: Celery,
    order: list[object],
    read: Callable[[str, str], None],
) -> None:
    known, unknown = (
        WakeUp(job_id=f"job-{number}", function=function, queue="a", shown="")
        for number, function in ((1, "celery.accumulate"), (2, "nobody.has.it"))
    )
    app.amqp.on_wake_up = lambda headers: order.append(f"told of {headers['id']}")  # type: ignore[attr-defined]
    app.amqp.on_plain_wake_up = lambda plain: order.append(plain.job_id) or taken  # type: ignore[attr-defined]
    read("a", write_message(known, "producer-1"))
    with pytest.raises(Empty):
        read("a", write_message(unknown, "producer-1"))
    read("a", write_message(replace(known, job_id="job-3", head=True), "producer-1"))
    with pytest.raises(Empty):  # whatever comes where replies to remote control do
        read("node.reply.celery.pidbox", write_message(known, "producer-1"))
    told_of_one = [] if taken else ["told of job-1"]
    assert order == ["job-1", *told_of_one, "given", "told of job-3", "given"]


def test_a_plain_wake_up_that_is_too_large_is_taken_by_nobody(
    app: Celery, order: list[object], read: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Channel, "guard_max_bytes", 500)
    app.amqp.on_plain_wake_up = lambda _: pytest.fail("taken")  # type: ignore[attr-defined]
    wake_up = WakeUp(job_id="job-1", function="celery.accumulate", queue="a", shown="")
    with pytest.raises(Empty):
        read("a", write_message(wake_up, "producer-1"))
    assert order == []


def test_the_body_of_a_wake_up_is_not_decoded_and_each_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = json.loads(write_message(WakeUp(job_id="j", function="f", queue="q", shown="{}"), "origin"))
    with monkeypatch.context() as patched:
        patched.setattr(Message, "_decode", lambda _: pytest.fail("decoded"))
        one, other = delivered(payload).payload, delivered(payload).payload
    assert one == other == BODY
    one[1]["changed"] = one[2]["changed"] = True
    one[0].append("changed")
    assert other == BODY


def test_any_other_body_is_decoded_as_ever() -> None:
    payload = json.loads(write_message(WakeUp(job_id="j", function="f", queue="q", shown="{}"), "origin"))
    payload["body"] = base64.b64encode(b'[[1],{},{"chain":null}]').decode()
    assert delivered(payload).payload == [[1], {}, {"chain": None}]


def test_what_a_channel_has_made_is_handed_out_without_a_call() -> None:
    transport = guarded_app("redis://localhost:1").connection_for_read().transport
    assert type(transport.cycle) is LeanPoller
    for name in ("client", "subclient"):
        assert not hasattr(vars(Channel)[name], "__set__"), "what is in the instance's dictionary is found first"
