"""Functions registered as a user would, from what a data set says of them: names, descriptions and JSON Schemas."""

import inspect
import keyword
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Union

from pydantic import Field

from benchmarks.selection.kinds import Spec
from dispatcher.registry.names import MAX_LENGTH, find_fault
from dispatcher.registry.registry import Registry

_ODD: Final = re.compile(r"[^A-Za-z0-9_]+")
_PARTS: Final = re.compile(r"[./:]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD: Final = re.compile(r"[\W_]+")

#: Types of JSON Schema, and of what resembles it, in Python.
_TYPES: Final[Mapping[str, object]] = {
    "string": str,
    "integer": int,
    "number": float,
    "float": float,
    "double": float,
    "boolean": bool,
    "dict": dict[str, object],
    "object": dict[str, object],
    "null": None,
}
_LISTS: Final = frozenset({"array", "list", "tuple", "set"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """Functions, and what a data set calls them."""

    registry: Registry
    #: The registered name of each of the data set's.
    names: Mapping[str, str]


def register(specs: Iterable[Spec]) -> Registered:
    """Register functions; one that a data set has twice is registered once."""
    registry = Registry()
    names: dict[str, str] = {}
    for spec in specs:
        if spec.name not in names:
            names[spec.name] = make_name(spec.name, registry)
            declare = registry.function(name=names[spec.name], description=spec.description)
            declare(make_function(spec.parameters))
    return Registered(registry=registry, names=names)


def from_labels(labels: Iterable[str]) -> Registered:
    """Register a function for each label, which is all that is known of it."""
    return register(specs_of(labels))


def specs_of(labels: Iterable[str]) -> list[Spec]:
    """A function for each label, which is all that is known of it."""
    return [Spec(name=label, description=to_words(label)) for label in labels]


def to_words(label: str) -> str:
    """A label as words: `alarm/set_alarm` and `SetAlarm` become `alarm set alarm` and `set alarm`."""
    return " ".join(_NO_WORD.sub(" ", _CAMEL.sub(" ", label)).lower().split())


def make_name(label: str, taken: Registry | None = None) -> str:
    """A name that can be registered, as near as possible to what a data set calls a function.

    Args:
        label: the data set's name.
        taken: whose names cannot be had again.
    """
    parts = [_ODD.sub("_", part).strip("_") for part in _PARTS.split(label)]
    parts = [part if part[0].isalpha() else f"f_{part}" for part in parts if part]
    name = ".".join(parts)[:MAX_LENGTH].rstrip("._") or "function"
    if find_fault(name):
        name = f"f_{name}"[:MAX_LENGTH].rstrip("._")
    free, count = name, 1
    while taken is not None and free in taken:
        count += 1
        free = f"{name[: MAX_LENGTH - len(f'_{count}')]}_{count}"
    return free


def make_function(parameters: Mapping[str, Any]) -> Callable[..., None]:
    """A Python function with the parameters of a JSON Schema, with types and descriptions. It does nothing."""

    def function(**_: object) -> None:
        """Do nothing."""

    properties = parameters.get("properties")
    required = parameters.get("required")
    shapes = properties if isinstance(properties, dict) else {}
    needed = frozenset(map(str, required)) if isinstance(required, list) else frozenset()
    made: dict[str, inspect.Parameter] = {}
    for own, shape in shapes.items():
        shape = shape if isinstance(shape, dict) else {}  # noqa: PLW2901 - what is no schema says nothing
        name = _parameter_name(own, made)
        made[name] = inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=_hint(shape, optional=own not in needed),
            default=inspect.Parameter.empty if own in needed else shape.get("default"),
        )
    function.__signature__ = inspect.Signature(list(made.values()))  # type: ignore[attr-defined]
    function.__annotations__ = {name: parameter.annotation for name, parameter in made.items()} | {"return": None}
    return function


def _parameter_name(own: str, taken: Mapping[str, object]) -> str:
    name = _ODD.sub("_", own).strip("_")
    if not name.isidentifier():
        name = f"p_{name}"
    if keyword.iskeyword(name):
        name += "_"
    while name in taken:
        name += "_"
    return name


def _hint(shape: Mapping[str, Any], *, optional: bool) -> object:
    """The type hint of a parameter."""
    hint = type_of(shape)
    if optional and shape.get("default") is None:
        hint = operator.getitem(Union, (hint, None))
    description = shape.get("description")
    return Annotated[hint, Field(description=description)] if isinstance(description, str) and description else hint


def type_of(shape: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a type hint is any object
    """The Python type of a JSON Schema; `object` where it says nothing that Python has a word for."""
    choices = shape.get("enum")
    if isinstance(choices, list) and choices and all(isinstance(choice, str | int | bool) for choice in choices):
        return operator.getitem(Literal, tuple(choices))
    kind = shape.get("type")
    if isinstance(kind, list) and kind:
        return operator.getitem(Union, tuple(type_of({**shape, "type": each}) for each in kind))
    if kind in _LISTS:
        items = shape.get("items")
        inner: Any = type_of(items) if isinstance(items, dict) else object
        return list[inner]
    return _TYPES.get(str(kind), object)
