"""What `@registry.function(...)` may say, read and checked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypedDict, get_args

from dispatcher.model.job import Delivery, Priority
from dispatcher.model.retry import RetryPolicy
from dispatcher.registry.names import find_fault
from dispatcher.registry.options import FunctionOptions
from dispatcher.registry.schema import refuse

_QUEUE: Final = re.compile(r"[a-z0-9_.-]{1,100}")
_VERSION: Final = re.compile(r"[A-Za-z0-9_.+-]{1,40}")


class Declared(TypedDict, total=False):
    """The options of `@registry.function(...)`; `FunctionOptions` says what each of the second half means."""

    #: The registered name. Default: the function's own.
    name: str
    #: What changes when the meaning or the arguments change.
    version: str
    #: What the function does, for people and models. Default: the docstring without its sections.
    description: str
    #: Earlier names of the function, which still find it.
    aliases: Iterable[str]

    queue: str
    priority: Priority
    retry: RetryPolicy
    timeout: timedelta | None
    deadline: timedelta | None
    delivery: Delivery
    at_once: int | None
    cache: timedelta | None
    cache_failures: timedelta | None
    sensitive: Iterable[str]
    sensitive_result: bool
    examples: Iterable[str]
    tags: Iterable[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """The same, checked and with every default filled in."""

    name: str
    version: str
    #: None: the docstring's.
    description: str | None
    aliases: tuple[str, ...]
    options: FunctionOptions


def read_declaration(where: str, own_name: str, given: Mapping[str, object], parameters: Iterable[str]) -> Declaration:
    """Check what was declared about a function.

    Args:
        where: how messages name the function.
        own_name: the function's own name.
        given: a `Declared`, as unchecked as callers without a type checker leave it.
        parameters: the names of the function's parameters.

    Raises:
        RegistrationError: for an option that does not exist, or a value that is none of its values.
    """
    for option in given:
        if option not in Declared.__annotations__:
            import difflib  # noqa: PLC0415 - for this message only

            near = difflib.get_close_matches(option, Declared.__annotations__, n=1)
            raise refuse(where, f"there is no option {option!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    name = given.get("name", own_name)
    if fault := find_fault(name):
        raise refuse(where, fault + ("" if "name" in given else "; give another with name=…"))
    aliases = _read_texts(where, given, "aliases")
    for alias in aliases:
        if fault := find_fault(alias):
            raise refuse(where, f"an alias is wrong: {fault}")
    version = _read_text(where, given, "version", "1")
    if not _VERSION.fullmatch(version):
        raise refuse(where, f"version {version!r} must be 1 to 40 letters, digits, or any of . _ + -")
    return Declaration(
        name=str(name),
        version=version,
        description=_read_text(where, given, "description", "") if "description" in given else None,
        aliases=aliases,
        options=_read_options(where, given, tuple(parameters)),
    )


def _read_options(where: str, given: Mapping[str, object], parameters: tuple[str, ...]) -> FunctionOptions:
    queue = _read_text(where, given, "queue", "default")
    if not _QUEUE.fullmatch(queue):
        raise refuse(where, f"queue {queue!r} must be lower-case ASCII letters, digits, or any of _ . -")
    if queue.endswith((".high", ".bulk")):
        raise refuse(where, f"queue {queue!r} ends like a priority; name the queue alone, and set priority=…")
    sensitive = _read_texts(where, given, "sensitive")
    for name in sensitive:
        if name not in parameters:
            takes = ", ".join(parameters) or "no parameters"
            raise refuse(where, f"sensitive argument {name!r} is no parameter of it; it takes {takes}")
    examples = _read_texts(where, given, "examples")
    if any(not example.strip() for example in examples):
        raise refuse(where, "an example is empty; write what a person would say")
    if given.get("cache_failures") is not None and given.get("cache") is None:
        raise refuse(where, "cache_failures is for functions that keep their results; give it cache=… too")
    retry = given.get("retry", RetryPolicy())
    if not isinstance(retry, RetryPolicy):
        raise refuse(where, f"retry must be a RetryPolicy, not a {type(retry).__name__}")
    return FunctionOptions(
        queue=queue,
        priority=_read_choice(where, given, "priority", get_args(Priority), "normal"),  # type: ignore[arg-type]
        retry=retry,
        timeout=_read_duration(where, given, "timeout"),
        deadline=_read_duration(where, given, "deadline"),
        delivery=_read_choice(where, given, "delivery", get_args(Delivery), "at_least_once"),  # type: ignore[arg-type]
        at_once=_read_count(where, given, "at_once"),
        cache=_read_duration(where, given, "cache"),
        cache_failures=_read_duration(where, given, "cache_failures"),
        sensitive=frozenset(sensitive),
        sensitive_result=_read_choice(where, given, "sensitive_result", (False, True), default=False) is True,
        examples=examples,
        tags=frozenset(_read_texts(where, given, "tags")),
    )


def _read_text(where: str, given: Mapping[str, object], option: str, default: str) -> str:
    value = given.get(option, default)
    if not isinstance(value, str):
        raise refuse(where, f"{option} must be text, not a {type(value).__name__}")
    return value


def _read_texts(where: str, given: Mapping[str, object], option: str) -> tuple[str, ...]:
    values = given.get(option, ())
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise refuse(where, f"{option} must be a list of texts, not a {type(values).__name__}")
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str):
            raise refuse(where, f"{option} must be texts, but holds a {type(text).__name__}")
    return texts


def _read_duration(where: str, given: Mapping[str, object], option: str) -> timedelta | None:
    value = given.get(option)
    if value is None:
        return None
    if not isinstance(value, timedelta):
        raise refuse(where, f"{option} must be a timedelta, not a {type(value).__name__}; write timedelta(seconds=…)")
    if value <= timedelta(0):
        raise refuse(where, f"{option} must be longer than zero, not {value}")
    return value


def _read_count(where: str, given: Mapping[str, object], option: str) -> int | None:
    value = given.get(option)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise refuse(where, f"{option} must be a whole number from 1 on, not {value!r}")
    return value


def _read_choice(
    where: str, given: Mapping[str, object], option: str, choices: tuple[object, ...], default: object
) -> object:
    value = given.get(option, default)
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise refuse(where, f"{option} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    return value
