"""What the guard lets pass and what it refuses, without a server."""

import base64
import json
from uuid import UUID

import pytest
from celery import Celery, chain, chord, group
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.transport import memory
from kombu.utils.json import dumps

from dispatcher.transport import guard
from dispatcher.transport.guard import Verdict, check, check_control, is_deeper
from dispatcher.transport.message import BODY, BODY_TEXT, write_message
from dispatcher.transport.message_shape import FORBIDDEN_TASKS
from dispatcher.transport.replies import WakeUp
from tests.malformed import ABSENT, EMBED, SIGNATURE, TASK, embedding, malformed, message, raw

MAX_BYTES = 1024 * 1024
MALFORMED = malformed()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def judged(content: bytes) -> Verdict:
    # As in a worker: Celery's own tasks are registered too.
    return check(content, max_bytes=MAX_BYTES, known_tasks={TASK, "celery.accumulate", *FORBIDDEN_TASKS})


def test_a_good_message_passes_and_is_decoded_as_kombu_would_decode_it() -> None:
    sent = message()
    assert judged(json.dumps(sent).encode()) == Verdict(payload=sent)


def test_what_kombu_encodes_with_a_type_of_its_own_is_decoded_so() -> None:
    customer = UUID(int=7)
    sent = message(headers={"customer": customer}, body=json.loads(dumps([[customer], {}, None])))
    assert judged(dumps(sent).encode()) == Verdict(payload=sent)


def test_a_wake_ups_body_is_known_and_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(base64.b64decode(BODY_TEXT)) == BODY
    wake_up = write_message(WakeUp(job_id="job-1", function=TASK, queue="default", shown="{}"), "producer-1")
    monkeypatch.setattr(guard, "_read_body", None)
    assert judged(wake_up.encode()) == Verdict(payload=json.loads(wake_up))


WAKE_UPS = st.builds(
    WakeUp,
    job_id=st.uuids().map(str),
    function=st.just(TASK),
    queue=st.sampled_from(["default", "default.high", "pictures.bulk"]),
    shown=st.text(max_size=60),
    head=st.booleans(),
    attempts=st.integers(0, 20_000),
    others=st.lists(st.uuids().map(str), max_size=2).map(tuple),
)


@given(WAKE_UPS)
def test_a_wake_up_is_judged_alike_on_the_short_way_and_on_the_long_one(wake_up: WakeUp) -> None:
    text = write_message(wake_up, "producer-1").encode()
    short = judged(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "_read_wake_up", lambda _: None)
        assert judged(text) == short
    assert (short.payload is None) == (wake_up.attempts > 10_000)


def test_a_plain_wake_up_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_message(WakeUp(job_id="job-1", function=TASK, queue="default", shown="{'a': 'ä'}"), "producer-1")
    monkeypatch.setattr(guard, "_read_message", None)
    assert judged(text.encode()) == Verdict(payload=json.loads(text))


def test_what_only_equals_a_wake_ups_number_is_refused() -> None:
    text = write_message(WakeUp(job_id="job-1", function=TASK, queue="a", shown=""), "producer-1")
    assert judged(text.replace('"priority":0', '"priority":false').encode()).payload is None


PLAIN = write_message(
    WakeUp(job_id="job-1", function=TASK, queue="a", shown='say "ä"\n\\', attempts=10_000), "producer-1"
)


def test_a_plain_wake_up_is_read_as_what_it_says() -> None:
    tag = json.loads(PLAIN)["properties"]["delivery_tag"]
    plain = guard.read_plain(PLAIN.encode())
    assert plain == (TASK, "job-1", 10_000, 'say "ä"\n\\', "producer-1", "a", tag)
    assert plain is not None
    assert plain.message() == json.loads(PLAIN)
    assert plain.message()["headers"]["timelimit"] is not plain.message()["headers"]["timelimit"]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ('"id":"job-1"', '"id":"job-2"'),
        ('"correlation_id":"job-1"', '"correlation_id":"job-2"'),
        ('"id":"job-1"', '"id":"jöb-1"'),
        ('"retries":10000', '"retries":10001'),
        ('"retries":10000', '"retries":01'),
        ('"origin":"producer-1"', '"origin":""'),
        ('"origin":"producer-1"', f'"origin":"{"o" * 256}"'),
        ('"eta":null', '"eta":"2030-01-01T00:00:00"'),
        ('"priority":0', '"priority":1'),
        ('"dispatcher_job":1', '"dispatcher_job":1,"dispatcher_head":true'),
        ("ä", "\\u00e4"),
        ("ä", "\t"),
        ("ä", '"'),
        (",", ", "),
        ("}", "}\n"),
    ],
)
def test_what_is_not_quite_a_plain_wake_up_goes_the_long_way(text: str, other: str) -> None:
    assert text in PLAIN
    assert guard.read_plain(PLAIN.replace(text, other).encode()) is None


def test_a_plain_wake_up_that_is_not_utf_8_goes_the_long_way() -> None:
    assert guard.read_plain(PLAIN.encode("latin-1")) is None


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (("headers", "retries"), True),
        (("headers", "retries"), "1"),
        (("headers", "id"), "a\nb"),
        (("headers", "task"), "celery.chunks"),
        (("headers", "task"), "somebody.elses"),
        (("headers", "kwargsrepr"), ["a"]),
        (("headers", "kwargsrepr"), "\ud800"),
        (("headers", "update"), 1),
        (("properties", "delivery_tag"), ""),
        (("properties", "delivery_info"), None),
        (("properties", "delivery_info"), [[]]),
        (("headers",), []),
        (("content-encoding",), "latin-1"),
    ],
)
def test_a_wake_up_that_was_tampered_with_is_refused(part: tuple[str, ...], value: object) -> None:
    message = json.loads(write_message(WakeUp(job_id="job-1", function=TASK, queue="a", shown=""), "producer-1"))
    place = message
    for name in part[:-1]:
        place = place[name]
    place[part[-1]] = value
    # As our producers write it: without blanks.
    assert judged(json.dumps(message, separators=(",", ":")).encode()).payload is None


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_a_malformed_message_is_refused_with_a_reason(name: str) -> None:
    verdict = judged(MALFORMED[name])
    assert verdict.payload is None
    assert 0 < len(verdict.reason) < 400


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x" * (MAX_BYTES + 1), "message of 1,048,577 bytes, more than the 1,048,576 allowed"),
        (b"[" * 100_000, "message nests deeper than 16 levels"),
        (raw(body=b"[" * 200 + b"]" * 200), "body nests deeper than 128 levels"),
        (raw(headers={"task": ABSENT}), "no header 'task': not a task, or one of Celery's protocol 1"),
        (raw(headers={"task": "tiny.ad"}), "task 'tiny.ad' is not registered with this worker"),
        (raw(headers={"retries": "3"}), "header 'retries' must be a whole number from 0 to 10000, not a string"),
        (raw(headers={"update": 1}), "header 'update' would overwrite a part of Celery's own request"),
        (raw(headers={"compression": "gzip"}), "a compressed message is not taken"),
        (raw(content_type="application/x-python-serialize"), "content-type must be application/json, not 'application/x-python"),
        (raw(properties={"delivery_tag": ABSENT}), "property 'delivery_tag' is missing"),
        (raw(encoded="?"), "body is not base64"),
        (raw(body=[[], {}]), "body must be the array [args, kwargs, embed], not an array of 2"),
        (embedding(callbacks=[{**SIGNATURE, "options": 7}]), "embed's callbacks: signature 'options' must be an object, not a number"),
    ],
)  # fmt: skip
def test_the_reason_names_the_place_and_what_it_must_be(content: bytes, reason: str) -> None:
    assert judged(content).reason.startswith(reason)


def test_a_message_of_exactly_the_allowed_size_passes() -> None:
    content = raw()
    assert check(content, max_bytes=len(content), known_tasks=None).payload is not None
    assert check(content, max_bytes=len(content) - 1, known_tasks=None).payload is None


def test_without_known_tasks_any_name_passes_but_those_that_run_others() -> None:
    assert check(raw(headers={"task": "other"}), max_bytes=MAX_BYTES, known_tasks=None).payload is not None
    for name in FORBIDDEN_TASKS:
        assert check(raw(headers={"task": name}), max_bytes=MAX_BYTES, known_tasks=None).payload is None


def test_the_reason_never_holds_a_value_of_the_arguments() -> None:
    bodies: list[object] = [
        "hunter2",
        ["hunter2", {}, EMBED],
        [{"password": "hunter2"}, {}, EMBED],
        [[], {}, {**EMBED, "chain": [{**SIGNATURE, "args": "hunter2"}]}],
        [[{"__type__": "hunter2", "__value__": "hunter2"}], {}, EMBED],
    ]
    contents = [*(raw(body=body) for body in bodies), raw(headers={"kwargsrepr": ["hunter2"], "retries": "hunter2"})]
    for content in contents:
        verdict = judged(content)
        assert verdict.payload is None
        assert "hunter2" not in verdict.reason


@pytest.mark.parametrize(
    "missing",
    ["shadow", "eta", "group_index", "stamps", "stamped_headers", "timelimit", "retries", "origin", "root_id"],
)
def test_headers_that_celery_does_without_may_be_missing(missing: str) -> None:
    assert judged(raw(headers={missing: ABSENT})).reason == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"dispatcher_head": True, "dispatcher_job": 1},
        {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "baggage": "a=b"},
        {"headers": {"sentry-trace": "x"}, "redelivered": True},
        {"eta": "2026-11-22T13:28:04.257387+00:00", "expires": "2026-11-22T13:28:04", "timelimit": [60, 30.5]},
        {"stamps": {"customer": ["7"]}, "stamped_headers": ["customer"]},
        {"kwargsrepr": "{'text': '\U0001f600 [[[{{{ \\\" 中文'}"},
        {"id": "my task/7 ü"},
    ],
)
def test_headers_of_real_producers_pass(headers: dict[str, object]) -> None:
    assert judged(raw(headers=headers)).reason == ""


def test_a_body_may_hold_brackets_and_quotes_in_its_strings() -> None:
    assert judged(raw(body=[["[" * 1000 + '"\\' + "{" * 1000], {}, None])).reason == ""


def test_what_celery_itself_publishes_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("unit", broker="memory://", backend="cache+memory://", set_as_current=False)
    sent: list[dict[str, object]] = []

    @app.task(name=TASK, shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    canvases = [
        add.s(1, 2),
        add.s(1, 2).set(link=add.s(3), link_error=[add.s(4)], countdown=5, expires=60, priority=3, time_limit=9),
        chain(add.s(1, 2), add.s(3), group(add.s(4), add.s(5)), add.s(6), group(add.s(7), chain(add.s(8), add.s(9)))),
        chain(add.s(1, 2), chord([add.s(3), add.s(4)], chain(add.s(5), chord([add.s(6), add.s(7)], add.s(8))))),
    ]
    monkeypatch.setattr(memory.Channel, "_put", lambda _channel, _queue, content, **_: sent.append(content))
    for canvas in canvases:
        canvas.apply_async()
    app.close()
    assert len(sent) == len(canvases)
    assert [judged(dumps(content).encode()).reason for content in sent] == [""] * len(canvases)


def test_a_canvas_of_many_chords_is_not_too_deep() -> None:
    signature: dict[str, object] = SIGNATURE
    for _ in range(20):
        signature = {
            **SIGNATURE,
            "task": "celery.chord",
            "subtask_type": "chord",
            "kwargs": {"header": [SIGNATURE], "body": signature},
        }
    assert judged(embedding(chain=[signature])).reason == ""


def test_control_messages_pass_and_their_garbage_does_not() -> None:
    ping = {"method": "ping", "arguments": {}, "destination": ["a@b"], "pattern": None, "matcher": None}
    control = raw(headers={"task": ABSENT, "clock": 7, "expires": 1.5}, body=ping)
    assert check_control(control, max_bytes=MAX_BYTES, command=True).reason == ""
    event = raw(headers={"hostname": "a@b"}, body=[{"type": "worker-heartbeat"}])
    assert check_control(event, max_bytes=MAX_BYTES).reason == ""
    assert check_control(event, max_bytes=MAX_BYTES, command=True).payload is None
    for headers in ({"clock": "7"}, {"ticket": {}}, {"expires": "never"}):
        assert check_control(raw(headers=headers, body=ping), max_bytes=MAX_BYTES).payload is None


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b'{"a": "\\')
def test_no_bytes_make_the_guard_raise(content: bytes) -> None:
    assert judged(content).payload is None
    assert check_control(content, max_bytes=MAX_BYTES).payload is None


@given(st.sampled_from(sorted(message()["headers"])), JSON)
def test_no_value_of_a_header_makes_the_guard_raise(name: str, value: object) -> None:
    verdict = judged(raw(headers={name: value}))
    assert (verdict.payload is None) == bool(verdict.reason)


@given(JSON, JSON, JSON)
def test_no_body_makes_the_guard_raise(args: object, kwargs: object, embed: object) -> None:
    for body in ([args, kwargs, embed], [[], {}, {"chord": embed, "chain": [args]}]):
        verdict = judged(raw(body=body))
        assert (verdict.payload is None) == bool(verdict.reason)


def depth(value: object) -> int:
    if isinstance(value, list | dict):
        return 1 + max((depth(part) for part in (value.values() if isinstance(value, dict) else value)), default=0)
    return 0


@given(JSON, st.integers(0, 8))
def test_depth_is_measured_as_json_nests(value: object, limit: int) -> None:
    assert is_deeper(json.dumps(value).encode(), limit) == (depth(value) > limit)


@pytest.mark.parametrize("content", [b'"' + b'\\"' * 500_000, b"[]," * 300_000, b'{"":' * 250_000, b'"\\' * 500_000])
def test_long_texts_are_measured_in_one_pass(content: bytes) -> None:
    # A pass that began again at each quote would take minutes here: pytest's own timeout is the check.
    assert is_deeper(content, 0) in {True, False}
    assert guard.check(content, max_bytes=2 * MAX_BYTES, known_tasks=None).payload is None


def test_base64_is_read_strictly() -> None:
    good = base64.b64encode(json.dumps([[], {}, None]).encode()).decode()
    assert judged(raw(encoded=good)).reason == ""
    assert judged(raw(encoded=good[:4] + "\n" + good[4:])).reason == "body is not base64"
