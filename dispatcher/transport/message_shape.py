"""What the parts of a Celery message must look like: the fields of its headers and properties, and its signatures.

Source: Celery's message protocol, version 2; `celery.app.task.Context`, `celery.canvas`.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeGuard

from celery.app.task import Context
from celery.utils.time import maybe_iso8601

#: Longer than any id or name that Celery makes.
MAX_NAME_CHARACTERS: Final = 255
#: Time limits above a year are mistakes, and sums with them may overflow.
MAX_SECONDS: Final = 366 * 24 * 3600
#: Celery counts a backoff as 2 ** retries.
MAX_RETRIES: Final = 10_000
#: A date outside is a mistake, and its conversion between time zones may overflow.
YEARS: Final = range(1970, 2200)
#: Enough of a name to recognise it.
MAX_QUOTED: Final = 80
#: Entries in a header that Celery does not know.
MAX_SMALL: Final = 64

#: Celery's built-in tasks that no message needs where results are in Redis. `map`, `starmap` and `chunks` call any
#: registered task from inside a message, past its own checks; `chord_unlock` retries for ever; the others only start
#: other messages. `celery.accumulate` stays: `Task.replace` with a group uses it.
FORBIDDEN_TASKS: Final = frozenset(
    f"celery.{name}"
    for name in ("backend_cleanup", "chain", "chord", "chord_unlock", "chunks", "group", "map", "starmap")
)
#: What a signature that is made of other signatures calls itself: never a message, but part of one.
_COMPOSITES: Final = {"chain": "celery.chain", "group": "celery.group", "chord": "celery.chord"}


class Refused(Exception):  # noqa: N818 - a verdict, not an error
    """Raised by a check: the message is garbage. The text is the reason; it holds no value but names."""


def refuse(reason: str) -> NoReturn:
    """Say that the message is garbage."""
    raise Refused(reason) from None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: what it must be, as a test and in words."""

    fits: Callable[[Any], bool]
    must_be: str


def described(value: object) -> str:
    """What a value is, without what it says."""
    words = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else words.get(type(value), f"a {type(value).__name__}")


def quoted(name: object) -> str:
    """A name, cut short; of anything else what it is."""
    if not isinstance(name, str):
        return described(name)
    return ascii(name) if len(name) <= MAX_QUOTED else ascii(name[:MAX_QUOTED]) + "…"


def check_fields(values: object, fields: Mapping[str, Field], kind: str, *, required: tuple[str, ...] = ()) -> None:
    """Check every field that is known; others are left alone.

    Raises:
        Refused: naming the first field that is wrong or missing.
    """
    if not isinstance(values, dict):
        refuse(f"{kind} must be an object, not {described(values)}")
    for name in required:
        if name not in values:
            refuse(f"{kind} {name!r} is missing")
    for name, value in values.items():
        field = fields.get(name)
        if field is not None and not field.fits(value):
            refuse(f"{kind} {name!r} must be {field.must_be}, not {described(value)}")


def check_small(value: object, where: str) -> None:
    """Check a value that Celery hands on without looking: a scalar, or a small array or object."""
    if isinstance(value, list | dict) and len(value) > MAX_SMALL:
        refuse(f"{where} has {len(value)} entries, more than the {MAX_SMALL} allowed")


def check_task_name(name: str, known: Container[str] | None, where: str) -> None:
    """Check that a task may be run from a message, and that this worker has it where `known` is given."""
    if name in FORBIDDEN_TASKS:
        refuse(f"{where} {name!r} is one of Celery's own that starts other tasks, which is not taken")
    if known is not None and name not in known:
        refuse(f"{where} {quoted(name)} is not registered with this worker")


def check_embed(embed: object) -> None:
    """Check the third part of a body: what Celery is to start after the task."""
    if embed is None:
        return
    if not isinstance(embed, dict) or not embed.keys() <= {"callbacks", "errbacks", "chain", "chord"}:
        refuse("body's embed must be an object with no more than callbacks, errbacks, chain and chord")
    for name in ("callbacks", "errbacks", "chain"):
        _check_signatures(embed.get(name), f"embed's {name}")
    if embed.get("chord") is not None:
        _check_signature(embed["chord"], "embed's chord")


def _check_signatures(signatures: object, where: str, *, required: bool = False) -> None:
    if signatures is None and not required:
        return
    if not isinstance(signatures, list):
        refuse(f"{where} must be an array of signatures, not {described(signatures)}")
    for signature in signatures:
        _check_signature(signature, where)


def _check_signature(signature: object, where: str) -> None:
    """Check one signature and those inside it. Its task may be another worker's, so the name is not looked up."""
    check_fields(signature, _SIGNATURE, f"{where}: signature", required=("task", "args", "kwargs", "options"))
    assert isinstance(signature, dict)  # noqa: S101 - for mypy; check_fields refuses anything else
    kind, options, kwargs = signature.get("subtask_type"), signature["options"], signature["kwargs"]
    check_fields(options, _OPTIONS, f"{where}: signature option")
    for name in ("link", "link_error", "chain"):
        linked = options.get(name)
        _check_signatures([linked] if isinstance(linked, dict) else linked, f"{where}: {name}")
    if options.get("chord") is not None:
        _check_signature(options["chord"], f"{where}: chord")
    if kind is None:
        check_task_name(signature["task"], None, f"{where}: task")
        return
    if signature["task"] != _COMPOSITES[kind]:
        refuse(f"{where}: a {kind} must have the task {_COMPOSITES[kind]!r}, not {quoted(signature['task'])}")
    if kind != "chord":
        _check_signatures(kwargs.get("tasks"), f"{where}: {kind}'s tasks", required=True)
        return
    header, body = kwargs.get("header"), kwargs.get("body")
    _check_signatures([header] if isinstance(header, dict) else header, f"{where}: chord's header", required=True)
    if body is not None:
        _check_signature(body, f"{where}: chord's body")


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_name(value: object) -> bool:
    """Whether Celery can take it for an id or a name."""
    # Printable leaves out NUL, line ends, invisible characters and surrogates.
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARACTERS and value.isprintable()


def _is_name_or_empty(value: object) -> bool:
    return value is None or value == "" or is_name(value)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_flag(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _is_date(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, str) or not 0 < len(value) <= 64:  # noqa: PLR2004 - the longest ISO date has 32
        return False
    try:
        date = maybe_iso8601(value)
    except (ValueError, OverflowError):
        return False
    return date is not None and date.year in YEARS


def _is_timelimit(value: object) -> bool:
    return value is None or (
        isinstance(value, list)
        and len(value) == 2  # noqa: PLR2004 - hard, soft
        and all(part is None or (_is_number(part) and 0 <= part <= MAX_SECONDS) for part in value)
    )


def _is_list_of_text(value: object) -> bool:
    return value is None or (
        isinstance(value, list) and len(value) <= MAX_SMALL and all(isinstance(part, str) for part in value)
    )


def _is_small_object(value: object) -> bool:
    return value is None or (isinstance(value, dict) and len(value) <= MAX_SMALL)


def _whole(highest: int, *, none: bool = True) -> Field:
    def fits(value: object) -> bool:
        if value is None:
            return none
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest

    return Field(fits, f"a whole number from 0 to {highest}")


_NAME = Field(is_name, f"a printable string of 1 to {MAX_NAME_CHARACTERS} characters")
_NAME_OR_EMPTY = Field(_is_name_or_empty, f"a printable string of at most {MAX_NAME_CHARACTERS} characters, or null")
_TEXT = Field(_is_text, "a string or null")
_FLAG = Field(_is_flag, "a boolean or null")
_DATE = Field(_is_date, f"an ISO 8601 date between {YEARS.start} and {YEARS.stop}, or null")
_SMALL_OBJECT = Field(_is_small_object, f"an object of at most {MAX_SMALL} entries, or null")
_TIMELIMIT = Field(_is_timelimit, f"two numbers of seconds from 0 to {MAX_SECONDS}, or nulls")
_BASE64 = Field(lambda value: value == "base64", "'base64'")
_OBJECT = Field(lambda value: isinstance(value, dict), "an object")
_SECONDS = Field(lambda value: value is None or (_is_number(value) and abs(value) < 2**63), "a number or null")

#: The headers of a task.
HEADERS: Final[Mapping[str, Field]] = {
    "id": _NAME,
    "task": _NAME,
    "root_id": _NAME_OR_EMPTY,
    "parent_id": _NAME_OR_EMPTY,
    "group": _NAME_OR_EMPTY,
    "taskset": _NAME_OR_EMPTY,
    "group_index": _whole(2**31),
    "lang": _NAME_OR_EMPTY,
    "shadow": _NAME_OR_EMPTY,
    "origin": _NAME_OR_EMPTY,
    "eta": _DATE,
    "expires": _DATE,
    "retries": _whole(MAX_RETRIES, none=False),
    "timelimit": _TIMELIMIT,
    "argsrepr": _TEXT,
    "kwargsrepr": _TEXT,
    "ignore_result": _FLAG,
    "replaced_task_nesting": _whole(MAX_RETRIES, none=False),
    "stamped_headers": Field(_is_list_of_text, f"an array of at most {MAX_SMALL} strings, or null"),
    "stamps": _SMALL_OBJECT,
    "headers": _SMALL_OBJECT,
}

#: Names that Celery makes attributes of the running task's request: as headers they would replace its own parts,
#: methods among them.
RESERVED_HEADERS: Final = frozenset(dir(Context)) - HEADERS.keys()

#: Every message's properties, remote control and events included.
PROPERTIES: Final[Mapping[str, Field]] = {
    "delivery_tag": _NAME,
    "body_encoding": _BASE64,
    "delivery_info": _OBJECT,
    "correlation_id": _NAME_OR_EMPTY,
    "reply_to": _NAME_OR_EMPTY,
    "priority": _whole(255),
    "delivery_mode": _whole(2),
    "expiration": _TEXT,
}

DELIVERY_INFO: Final[Mapping[str, Field]] = {
    "exchange": _NAME_OR_EMPTY,
    "routing_key": _NAME_OR_EMPTY,
    "priority": _whole(255),
}

#: The headers of remote control commands, their replies, and events.
CONTROL_HEADERS: Final[Mapping[str, Field]] = {
    "clock": _whole(2**63),
    "expires": _SECONDS,
    "ticket": _NAME_OR_EMPTY,
    "hostname": _NAME_OR_EMPTY,
}

_SIGNATURE: Final[Mapping[str, Field]] = {
    "task": _NAME,
    "args": Field(lambda value: isinstance(value, list), "an array"),
    "kwargs": _OBJECT,
    "options": _OBJECT,
    "subtask_type": Field(
        lambda value: value is None or (isinstance(value, str) and value in _COMPOSITES), "chain, group, chord or null"
    ),
    "immutable": _FLAG,
}

_OPTIONS: Final[Mapping[str, Field]] = {
    "task_id": _NAME_OR_EMPTY,
    "root_id": _NAME_OR_EMPTY,
    "parent_id": _NAME_OR_EMPTY,
    "group_id": _NAME_OR_EMPTY,
    "group_index": _whole(2**31),
    "reply_to": _NAME_OR_EMPTY,
    "queue": _NAME_OR_EMPTY,
    "routing_key": _NAME_OR_EMPTY,
    "priority": _whole(255),
    "retries": _whole(MAX_RETRIES),
    "link": Field(lambda value: value is None or isinstance(value, list | dict), "signatures or null"),
    "link_error": Field(lambda value: value is None or isinstance(value, list | dict), "signatures or null"),
}
