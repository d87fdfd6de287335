"""Messages as Celery's Redis queue may hold them: a good one, and many ways of being malformed."""

import base64
import bz2
import json
import lzma
import pickle
import zlib
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

TASK = "tiny.add"
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SIGNATURE = {"task": TASK, "args": [1], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
#: Not a value: this field is left out.
ABSENT = object()


def message(
    *,
    body: object = ABSENT,
    encoded: object = ABSENT,
    headers: Mapping[str, object] | None = None,
    properties: Mapping[str, object] | None = None,
    delivery_info: Mapping[str, object] | None = None,
    **top: object,
) -> dict[str, Any]:
    """A good message of the task `tiny.add`, with parts of it replaced or left out.

    Args:
        body: JSON data, or bytes as they are before base64.
        encoded: the body as it stands in the message.
    """
    job_id = str(uuid4())
    content = [[2, 3], {}, EMBED] if body is ABSENT else body
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    whole: dict[str, object] = {
        "body": base64.b64encode(raw).decode() if encoded is ABSENT else encoded,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": _changed(_headers(job_id), headers),
        "properties": _changed(
            {
                "correlation_id": job_id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": _changed({"exchange": "", "routing_key": "celery"}, delivery_info),
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
            properties,
        ),
    }
    return _changed(whole, {name.replace("_", "-"): value for name, value in top.items()})


def raw(**changes: Any) -> bytes:
    """The same, as it stands in the list."""
    return json.dumps(message(**changes)).encode()


def embedding(**parts: object) -> bytes:
    """A good message whose embed has these parts."""
    return raw(body=[[2, 3], {}, {**EMBED, **parts}])


def _headers(job_id: str) -> dict[str, object]:
    return {
        "lang": "py",
        "task": TASK,
        "id": job_id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": job_id,
        "parent_id": None,
        "argsrepr": "(2, 3)",
        "kwargsrepr": "{}",
        "origin": "1@test",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }


def _changed(values: dict[str, object], changes: Mapping[str, object] | None) -> dict[str, object]:
    return {name: value for name, value in {**values, **(changes or {})}.items() if value is not ABSENT}


def _headers_of_wrong_types() -> Iterable[tuple[str, bytes]]:
    wrong: Mapping[str, list[object]] = {
        "task": [None, 7, [], {}, "", "x" * 300, "tiny.add\n", "tiny\u200b.add"],
        "id": [None, 7, [], {}, "", "a\x00b", "x" * 300, "line\nline", ABSENT],
        "root_id": [7, [], {}, "a\x00b"],
        "parent_id": [7, ["x"]],
        "group": [7, {}],
        "group_index": ["1", -1, True, 1e300],
        "retries": [None, "3", -1, 10**400, True, [], 1.5],
        "timelimit": [5, [], [1], [1, 2, 3], ["a", "b"], [-1, None], [10**30, None], {}, "ab", [True, None]],
        "eta": [5, "", "tomorrow", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59", {}, "2026-13-45", "x" * 10_000],
        "expires": [5, "", "never", "9999-12-31T23:59:59-14:00", []],
        "argsrepr": [7, {}, ["x"]],
        "kwargsrepr": [7, []],
        "origin": [7, {}],
        "lang": [7, []],
        "shadow": [7, ["x"], {}],
        "ignore_result": ["yes", 1, {}],
        "replaced_task_nesting": [None, "1", -1],
        "stamped_headers": ["abc", {}, [1], [["x"]], 7],
        "stamps": [[], "x", 7],
        "headers": [[], "x", 7],
    }
    for name, values in wrong.items():
        for position, value in enumerate(values):
            yield f"header {name} #{position}", raw(headers={name: value})
    for name in (
        "update",
        "get",
        "callbacks",
        "chord",
        "args",
        "kwargs",
        "__class__",
        "as_execution_options",
        "_protected",
    ):
        yield f"header {name} replaces a part of the request", raw(headers={name: "x"})
    yield "a header with a large value", raw(headers={"x": list(range(1000))})
    yield "a thousand headers", raw(headers={f"x{n}": n for n in range(1000)})


def _properties_of_wrong_types() -> Iterable[tuple[str, bytes]]:
    wrong: Mapping[str, list[object]] = {
        "delivery_tag": [None, 7, [], {}, "", ABSENT],
        "delivery_info": [None, 7, [], "x", {}, ABSENT],
        "body_encoding": [None, "rot13", 7, [], "utf-8", ABSENT],
        "priority": ["high", -1, 10**400, 1e300, [], True],
        "correlation_id": [7, []],
        "reply_to": [7, []],
        "delivery_mode": ["2", 99],
    }
    for name, values in wrong.items():
        for position, value in enumerate(values):
            yield f"property {name} #{position}", raw(properties={name: value})
    yield "exchange of the wrong type", raw(delivery_info={"exchange": 7})
    yield "routing key missing", raw(delivery_info={"routing_key": ABSENT})
    yield "routing key of the wrong type", raw(delivery_info={"routing_key": ["celery"]})


def _bodies() -> Iterable[tuple[str, bytes]]:
    bad: Mapping[str, object] = {
        "null": None, "number": 7, "string": "x", "empty": [], "two parts": [[], {}], "four parts": [[], {}, None, None],
        "args an object": [{}, {}, EMBED], "args a string": ["ab", {}, EMBED], "args null": [None, {}, EMBED],
        "kwargs an array": [[], [], EMBED], "kwargs null": [[], None, EMBED], "embed a string": [[], {}, "x"],
        "embed an array": [[], {}, []], "protocol 1": {"task": TASK, "id": "1", "args": [], "kwargs": {}},
        "embed with an unknown part": [[], {}, {"hostname": "x"}], "NaN": b"[[NaN],{},null]",
        "Infinity": b"[[-Infinity],{},null]", "1e999": b"[[1e999],{},null]", "not JSON": b"\x80\x04K\x01.",
        "not UTF-8": b'[["\xff\xfe"],{},null]', "half a surrogate": b'[["\\ud800"],{},null]',
        "an integer of 5,000 digits": b"[[" + b"7" * 5000 + b"],{},null]",
        "deep": b"[" * 100_000 + b"]" * 100_000, "deep without an end": b'{"a":' * 100_000,
        "an unknown type of kombu's": [[{"__type__": "os.system", "__value__": "id"}], {}, None],
        "a uuid of kombu's with wrong parts": [[{"__type__": "uuid", "__value__": 7}], {}, None],
        "a type of kombu's that is a list": [[{"__type__": [], "__value__": 7}], {}, None],
        "a pickle": pickle.dumps([[], {}, None]),
    }  # fmt: skip
    for name, body in bad.items():
        yield f"body: {name}", raw(body=body)
    for name, encoded in {"bad base64": "!!!not base64!!!", "cut base64": "W1tdLHt9LG51bG", "null": None, "number": 7, "list": [1], "empty": "", "not ASCII": "\xe9\xe9\xe9\xe9"}.items():  # fmt: skip
        yield f"encoded body: {name}", raw(encoded=encoded)


def _embeds() -> Iterable[tuple[str, bytes]]:
    def changed(**parts: object) -> dict[str, object]:
        return _changed(dict(SIGNATURE), parts)

    signatures: Mapping[str, object] = {
        "a number": 7, "a string": "tiny.add", "empty": {}, "task null": changed(task=None), "task a list": changed(task=[]),
        "no options": changed(options=ABSENT), "options a list": changed(options=[]), "args a string": changed(args="ab"),
        "kwargs a list": changed(kwargs=[]), "unknown subtask type": changed(subtask_type="zip"),
        "subtask type a list": changed(subtask_type=[]), "map": changed(task="celery.map"),
        "chunks as a subtask": changed(task="celery.chunks", subtask_type="chunks"),
        "a link that is a string": changed(options={"link": "x"}), "a link to map": changed(options={"link": [changed(task="celery.starmap")]}),
        "a chain without tasks": changed(task="celery.chain", subtask_type="chain"),
        "a group of numbers": changed(task="celery.group", subtask_type="group", kwargs={"tasks": [1, 2]}),
        "a chord without a header": changed(task="celery.chord", subtask_type="chord", kwargs={"body": SIGNATURE}),
        "a chord with a body of the wrong type": changed(task="celery.chord", subtask_type="chord", kwargs={"header": [SIGNATURE], "body": 7}),
        "a chord in disguise": changed(subtask_type="chord", kwargs={"header": [SIGNATURE], "body": SIGNATURE}),
        "an id with NUL": changed(options={"task_id": "a\x00b"}), "a queue that is an object": changed(options={"queue": {"name": "x"}}),
    }  # fmt: skip
    for name, signature in signatures.items():
        yield f"callback: {name}", embedding(callbacks=[signature])
        yield f"chord: {name}", embedding(chord=signature)
    for part in ("callbacks", "errbacks", "chain"):
        for position, value in enumerate((7, "x", {}, [7], [None], [[SIGNATURE]])):
            yield f"{part} #{position}", embedding(**{part: value})


def _wholes() -> Iterable[tuple[str, bytes]]:
    yield "body absent", json.dumps(_changed(message(), {"body": ABSENT})).encode()
    yield from {
        "empty": b"", "not JSON": b"hello", "not JSON, in braces": b"{hello}", "null": b"null", "true": b"true", "number": b"42",
        "string": b'"x"', "array": b"[]", "array of a message": b"[" + raw() + b"]", "empty object": b"{}", "NUL": b"\x00" * 100,
        "NaN": b"NaN", "invalid UTF-8": b'{"body": "\xff"}', "cut off": raw()[:-20], "two messages": raw() + raw(),
        "UTF-16": raw().decode().encode("utf-16"), "deep": b"[" * 100_000 + b"]" * 100_000,
        "deep without an end": b'{"a":' * 100_000, "deep inside a header": raw(headers={"x": 0}).replace(b'"x": 0', b'"x": ' + b"[" * 900 + b"]" * 900),
        "a pickle": pickle.dumps({"task": TASK}), "an unclosed string of quotes": b'"' + b'\\"' * 200_000,
        "NaN in a header": raw(headers={"x": float("nan")}), "1e999 in a header": raw(headers={"x": 1}).replace(b'"x": 1', b'"x": 1e999'),
        "half a surrogate in the id": raw(headers={"id": "\ud800"}), "half a surrogate in a header": raw(headers={"x": "a\udfffb"}),
        "a uuid of kombu's with wrong parts, in a header": raw(headers={"x": {"__type__": "uuid", "__value__": {"hex": 7}}}),
        "headers absent": raw().replace(b'"headers"', b'"heads"'),
        "protocol 1": raw(headers={"task": ABSENT}, body={"task": TASK, "id": "1", "args": [2, 3], "kwargs": {}}),
        "an unknown task": raw(headers={"task": "os.system"}), "a look-alike task": raw(headers={"task": "tiny.\u0430dd"}),
        "a dunder task": raw(headers={"task": "__import__"}),
        "celery.map": raw(headers={"task": "celery.map"}, body=[[], {"task": SIGNATURE, "it": [1]}, None]),
        "celery.starmap": raw(headers={"task": "celery.starmap"}), "celery.chunks": raw(headers={"task": "celery.chunks"}),
        "celery.chord_unlock": raw(headers={"task": "celery.chord_unlock"}),
        "20 MB": b"x" * 20_000_000, "20 MB of a body": raw(body=[["x" * 20_000_000], {}, None]),
    }.items()  # fmt: skip
    for name in ("headers", "properties"):
        for position, value in enumerate((None, 7, "x", [], [["task", TASK]])):
            yield f"{name} #{position}", json.dumps({**message(), name: value}).encode()
    for kind in (
        "application/x-python-serialize",
        "application/x-yaml",
        "application/x-msgpack",
        "application/data",
        "text/plain",
        "",
        None,
        7,
        [],
        ABSENT,
    ):
        yield f"content type {'absent' if kind is ABSENT else repr(kind)}", raw(content_type=kind)
    for encoding in ("binary", "utf-16", "rot13", "", None, 7, [], ABSENT):
        yield f"content encoding {'absent' if encoding is ABSENT else repr(encoding)}", raw(content_encoding=encoding)


def _bombs() -> Iterable[tuple[str, bytes]]:
    zeros = b"[[" + b" " * 50_000_000 + b"],{},null]"
    for kind, packed in {
        "application/x-gzip": zlib.compress(zeros), "application/x-bz2": bz2.compress(zeros, 1), "application/x-lzma": lzma.compress(zeros, preset=0),
        "unknown": b"x", "gzip": zlib.compress(b"[[1],{},null]"),
    }.items():  # fmt: skip
        yield f"compressed: {kind}", raw(headers={"compression": kind}, body=packed)
    for position, value in enumerate((7, [], {"a": 1}, None)):
        yield f"compression #{position}", raw(headers={"compression": value})


def malformed() -> dict[str, bytes]:
    """Every malformed message by a name that says what is wrong."""
    found: dict[str, bytes] = {}
    for source in (_wholes, _headers_of_wrong_types, _properties_of_wrong_types, _bodies, _embeds, _bombs):
        for name, content in source():
            assert name not in found, name
            found[name] = content
    return found
