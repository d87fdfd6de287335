"""Whether a raw message from the broker is fit for Celery: the checks, without any connection.

Celery trusts what it finds in its queue: a header of the wrong type, a body that is not JSON or a name nobody knows can
end or freeze the whole worker (of 35 malformed messages, 13 ended a Celery 5.7 worker and one froze it). So each
message is looked at first, cheapest check first: size, nesting, JSON, the shape of kombu's message, Celery's headers,
and the body, which is decoded here the way Celery will decode it later.

Source: Celery's message protocol, version 2; kombu's virtual transports (`virtual.Channel`, `virtual.Message`).
"""

import base64
import json
import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, NamedTuple, NoReturn

import kombu.utils.json
from pydantic_core import from_json

from dispatcher.registry.strict_json import is_deeper
from dispatcher.transport.message import BODY_TEXT, write_message
from dispatcher.transport.message_shape import (
    CONTROL_HEADERS,
    DELIVERY_INFO,
    FORBIDDEN_TASKS,
    HEADERS,
    MAX_NAME_CHARACTERS,
    MAX_RETRIES,
    PROPERTIES,
    RESERVED_HEADERS,
    Refused,
    check_embed,
    check_fields,
    check_small,
    check_task_name,
    described,
    quoted,
    refuse,
)
from dispatcher.transport.replies import WakeUp

#: Levels of objects and arrays in a message, its body apart: headers with a small value of their own inside.
MESSAGE_DEPTH: Final = 16
#: Levels in a body: our arguments may have 32, and each part of a Celery canvas stands 2 to 4 levels below the whole.
BODY_DEPTH: Final = 128
#: Celery's own are 20; tracing and stamps add a few.
MAX_HEADERS: Final = 128

#: A wake-up that says nothing yet.
_WAKE_UP: Final[dict[str, Any]] = json.loads(write_message(WakeUp(job_id="", function="", queue="", shown=""), ""))

_HEADERS: Final[dict[str, Any]] = _WAKE_UP["headers"]
_PROPERTIES: Final[dict[str, Any]] = _WAKE_UP["properties"]

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the guard says of a message: either its payload, or the reason why it is garbage."""

    #: The message as kombu's channel delivers it, decoded once. None for garbage.
    payload: dict[str, object] | None = None
    #: Empty for a good message. Names the place and the kind of the problem, never a value but the names
    #: of a task, a header or a content type.
    reason: str = ""


def check(raw: bytes, *, max_bytes: int, known_tasks: Container[str] | None) -> Verdict:
    """Look at a message from a task queue.

    Args:
        raw: the message as it was popped from the list.
        max_bytes: a longer message is not even read.
        known_tasks: the tasks this worker has; None where that is not known, and names are then not looked up.
    """
    return _judge(_check_task, raw, max_bytes, known_tasks)


def is_known(task: str, known: Container[str]) -> bool:
    """Whether a worker that has these tasks may run this one from a message."""
    return task in known and task not in FORBIDDEN_TASKS


def check_control(raw: bytes, *, max_bytes: int, command: bool = False) -> Verdict:
    """Look at a message of Celery's remote control or events: from pub/sub, or from a list of replies.

    Args:
        raw: the message as it arrived.
        max_bytes: a longer message is not even read.
        command: whether it arrived where commands to workers do.
    """
    return _judge(_check_control, raw, max_bytes, command)


def _judge(check_it: Callable[..., dict[str, Any]], raw: bytes, max_bytes: int, *args: object) -> Verdict:
    try:
        if len(raw) > max_bytes:
            return Verdict(reason=f"message of {len(raw):,} bytes, more than the {max_bytes:,} allowed")
        return Verdict(payload=check_it(raw, *args))
    except Refused as refused:
        return Verdict(reason=str(refused))


def _check_task(raw: bytes, known_tasks: Container[str] | None) -> dict[str, Any]:
    wake_up = _read_wake_up(raw)
    if wake_up is not None:
        check_task_name(wake_up["headers"]["task"], known_tasks, "task")
        return wake_up
    payload, headers = _read_message(raw)
    task = headers.get("task")
    if task is None:
        msg = "no header 'task': not a task, or one of Celery's protocol 1, which is not taken (task_protocol=2 is)"
        raise Refused(msg)
    check_fields(headers, HEADERS, "header", required=("id", "task"))
    check_task_name(task, known_tasks, "task")
    for name in headers.keys() - HEADERS.keys():
        if name in RESERVED_HEADERS:
            refuse(f"header {quoted(name)} would overwrite a part of Celery's own request")
        check_small(headers[name], f"header {quoted(name)}")
    if payload.get("body") == BODY_TEXT:
        return payload  # a wake-up of ours; it has no arguments
    body = _read_body(payload)
    if not isinstance(body, list) or len(body) != 3:  # noqa: PLR2004 - protocol 2: args, kwargs, embed
        refuse(f"body must be the array [args, kwargs, embed], not {_shape(body)}")
    args, kwargs, embed = body
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        refuse(f"body's args and kwargs must be an array and an object, not {_shape(args)} and {_shape(kwargs)}")
    check_embed(embed)
    return payload


class PlainWakeUp(NamedTuple):
    """What a plain wake-up, as producers publish by the thousand, says that others do not."""

    function: str
    job_id: str
    attempts: int
    shown: str
    origin: str
    queue: str
    tag: str

    def message(self) -> dict[str, Any]:
        """The whole of it, decoded."""
        return _WAKE_UP | {"headers": self.headers(), "properties": self.properties()}

    def headers(self) -> dict[str, Any]:
        """The message's headers."""
        return _HEADERS | {
            "id": self.job_id,
            "root_id": self.job_id,
            "task": self.function,
            "kwargsrepr": self.shown,
            "origin": self.origin,
            "retries": self.attempts,
            "timelimit": [None, None],
        }

    def properties(self) -> dict[str, Any]:
        """The message's properties."""
        return _PROPERTIES | {
            "correlation_id": self.job_id,
            "delivery_info": {"exchange": "", "routing_key": self.queue},
            "delivery_tag": self.tag,
        }


def read_plain(raw: bytes) -> PlainWakeUp | None:
    """Read a plain wake-up; None for all else, also for one that is not quite one.

    It is the very text that our producers write but for a few names, a number and a text. To compare the rest takes a
    tenth of the time that all checks take, before a call has begun (benchmark: single).
    """
    found = _PLAIN.fullmatch(raw)
    if found is None:
        return None
    function, job_id, attempts, shown, origin, queue, tag = found.group(*PlainWakeUp._fields)
    try:
        text = from_json(b'"%s"' % shown, cache_strings=False) if b"\\" in shown else shown.decode()
    except ValueError:
        return None
    return PlainWakeUp(
        function.decode(), job_id.decode(), int(attempts), text, origin.decode(), queue.decode(), tag.decode()
    )


def _plain_pattern() -> re.Pattern[bytes]:
    """What `write_message` writes of a plain wake-up."""
    blanks = {name: f"the {name} of it" for name in PlainWakeUp._fields}
    said = WakeUp(job_id=blanks["job_id"], function=blanks["function"], queue=blanks["queue"], shown=blanks["shown"])
    text = json.loads(write_message(said, blanks["origin"]))
    text["properties"]["delivery_tag"] = blanks["tag"]
    pattern = re.escape(json.dumps(text, separators=(",", ":")))
    pattern = pattern.replace('"retries":0', f'"retries":{re.escape(blanks["attempts"])}')
    # Longer or otherwise printable names, and other escapes, go the long way.
    name, number = f"[ !#-\\[\\]-~]{{1,{MAX_NAME_CHARACTERS}}}", f"0|[1-9][0-9]{{0,3}}|{MAX_RETRIES}"
    shown = r'[^"\\\x00-\x1f]*(?:\\["\\/bfnrt][^"\\\x00-\x1f]*)*'
    for blank, what in blanks.items():
        kind = number if blank == "attempts" else shown if blank == "shown" else name
        first, *others = pattern.split(re.escape(what))
        pattern = f"{first}(?P<{blank}>{kind}){f'(?P={blank})'.join(others)}"
    return re.compile(pattern.encode())


def _read_wake_up(raw: bytes) -> dict[str, Any] | None:
    plain = read_plain(raw)
    return None if plain is None else plain.message()


def _check_control(raw: bytes, command: bool) -> dict[str, Any]:  # noqa: FBT001 - private, named at its one caller
    payload, headers = _read_message(raw)
    check_fields(headers, CONTROL_HEADERS, "header")
    body = _read_body(payload)
    parts = body if isinstance(body, list) and not command else [body]
    if not all(isinstance(part, dict) for part in parts):
        refuse(f"body must be an object, not {_shape(body)}")
    if command:
        _check_command(body)
    return payload


def _check_command(body: dict[str, Any]) -> None:
    """Check what `kombu.pidbox.Node.handle_message` unpacks without looking."""
    reply_to, destination = body.get("reply_to"), body.get("destination")
    reply_fits = reply_to is None or (
        isinstance(reply_to, dict) and all(isinstance(reply_to.get(name), str) for name in ("exchange", "routing_key"))
    )
    everyone = destination is None or isinstance(destination, str)
    if not (
        isinstance(body.get("method"), str)
        and isinstance(body.get("arguments"), dict | None)
        and isinstance(body.get("ticket"), str | None)
        and (everyone or (isinstance(destination, list) and all(isinstance(name, str) for name in destination)))
        and all(isinstance(body.get(name), str | None) for name in ("pattern", "matcher"))
        and reply_fits
    ):
        msg = "body is no remote control command: its method, arguments, destination, ticket or reply_to is malformed"
        raise Refused(msg)


def _read_message(raw: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Decode what kombu's channel pushed, and check all of it but the body: the message, and its headers."""
    payload = _decode(raw, MESSAGE_DEPTH, "message")
    if not isinstance(payload, dict):
        refuse(f"message must be an object, not {_shape(payload)}")
    headers, properties = payload.get("headers"), payload.get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        refuse(f"headers and properties must be objects, not {_shape(headers)} and {_shape(properties)}")
    if payload.get("content-type") != "application/json":
        refuse(f"content-type must be application/json, not {quoted(payload.get('content-type'))}")
    if payload.get("content-encoding") != "utf-8":
        refuse(f"content-encoding must be utf-8, not {quoted(payload.get('content-encoding'))}")
    if "compression" in headers:
        refuse("a compressed message is not taken: its size is not known before it has been unpacked")
    if len(headers) > MAX_HEADERS:
        refuse(f"{len(headers)} headers, more than the {MAX_HEADERS} allowed")
    check_fields(properties, PROPERTIES, "property", required=("delivery_tag", "delivery_info", "body_encoding"))
    check_fields(properties["delivery_info"], DELIVERY_INFO, "delivery_info", required=("exchange", "routing_key"))
    return payload, headers


def _read_body(payload: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    text = payload.get("body")
    if not isinstance(text, str):
        refuse(f"body must be a string of base64, not {_shape(text)}")
    try:
        # kombu's own decoder drops characters that are not base64; what it writes has none.
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        refuse("body is not base64")
    return _decode(raw, BODY_DEPTH, "body")


def _decode(raw: bytes, max_depth: int, where: str) -> Any:  # noqa: ANN401 - JSON
    if is_deeper(raw, max_depth):
        refuse(f"{where} nests deeper than {max_depth} levels")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        refuse(f"{where} is not UTF-8 at byte {error.start:,}")
    try:
        value = _JSON.decode(text)
        if _SURROGATE.search(text) is not None:
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        refuse(f"{where} holds half of a surrogate pair, which is no character")
    except json.JSONDecodeError as error:
        refuse(f"{where} is not JSON: {error}")
    # Python's limit on digits, and whatever kombu's decoders of `__type__` raise at a value they do not like.
    except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RecursionError) as error:
        refuse(f"{where} cannot be decoded ({type(error).__name__})")
    return value


def _refuse_constant(name: str) -> NoReturn:
    refuse(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        refuse("a number is too large")
    return value


def _shape(value: object) -> str:
    return f"an array of {len(value)}" if isinstance(value, list) else described(value)


#: As kombu decodes messages and Celery their bodies, `{"__type__": …}` as Decimal, UUID and so on included: a value
#: that those decoders choke on is found now.
_JSON: Final = json.JSONDecoder(
    object_hook=kombu.utils.json.object_hook, parse_constant=_refuse_constant, parse_float=_finite_float
)

_PLAIN: Final = _plain_pattern()
