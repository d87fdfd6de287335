"""A pydantic adapter made ready for many calls: what is in its core schema, and what is made of it.

The core schema is copied with two changes, since the original may belong to a user's model. Sets are written in sorted
order: else equal arguments would have different digests in different processes. For long texts lists stop at the first
wrong item: else 80,000 wrong items cost half a second to report (as they still do in lists inside models).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import (
    CoreConfig,
    CoreSchema,
    PydanticSerializationUnexpectedValue,
    SchemaSerializer,
    SchemaValidator,
    ValidationError,
    core_schema,
    to_json,
)

from dispatcher.errors import ArgumentIssue

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import TypeAdapter

CONFIG: Final = CoreConfig(
    ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False, ser_json_inf_nan="constants"
)

#: Parts of a core schema that hold values, classes and functions instead of schemas.
_NO_SCHEMAS: Final = frozenset({"metadata", "default", "serialization", "cls", "config", "expected", "members"})
_SETS: Final = frozenset({"set", "frozenset"})
#: What the writing of a model needs of its schema.
_MODEL_KEYS: Final = ("type", "cls", "schema", "config", "root_model")
_FAIL_FAST: Final = frozenset({"list", "tuple", "set", "frozenset"})

#: Texts of fewer characters are validated to the end, so that a caller learns of everything wrong at once.
_SHORT: Final = 16 * 1024
#: Issues that one error lists, and characters of one name in a location.
_MAX_ISSUES: Final = 20
_MAX_NAME: Final = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """What validates and writes the values of one type."""

    validator: SchemaValidator
    #: Stops at the first wrong item of a list.
    hasty_validator: SchemaValidator
    serializer: SchemaSerializer
    #: Of a list of JSON texts; None for a type with code of its own in it.
    many_validator: SchemaValidator | None
    #: The types of all core schemas in it; `serialization` where one writes itself in a way of its own, `odd-keys`
    #: for keys that are not plain text, `open` for an object that says it takes any keys.
    kinds: frozenset[str]
    #: Whether some object in it says that it takes any keys.
    open: bool

    def validate_json(self, text: str, *, closed: bool) -> object:
        """The value that JSON text stands for, strictly.

        Raises:
            pydantic_core.ValidationError: if it does not fit.
        """
        validator = self.validator if len(text) < _SHORT else self.hasty_validator
        if closed and not self.open:
            return validator.validate_json(text, strict=True, extra="forbid")
        return validator.validate_json(text, strict=True)

    def validate_texts(self, texts: Sequence[str]) -> list[object] | None:
        """The values of many JSON texts, in one pass; None where they must be looked at one by one.

        A type with code of its own in it is: that code may take its time, and every call has its own.

        Raises:
            pydantic_core.ValidationError: if one of them does not fit.
        """
        if self.many_validator is None or any(len(text) >= _SHORT for text in texts):
            return None
        if not self.open:
            return self.many_validator.validate_python(texts, strict=True, extra="forbid")  # type: ignore[no-any-return]
        return self.many_validator.validate_python(texts, strict=True)  # type: ignore[no-any-return]

    def validate_python(self, value: object) -> object:
        """The same for a Python value that is to be of the type already.

        Raises:
            pydantic_core.ValidationError: if it is not.
        """
        return self.validator.validate_python(value, strict=True, extra=None if self.open else "forbid")


def compile_adapter(adapter: "TypeAdapter[object]") -> Compiled:
    """Make the validators and the serializer of the type that an adapter holds a list of."""
    schema = _take_item(adapter.core_schema)
    kinds: set[str] = set()
    written = _rebuild(schema, kinds, _sort_sets)
    hasty = _rebuild(schema, set(), _fail_fast)
    return Compiled(
        validator=SchemaValidator(schema, CONFIG),
        many_validator=None if any("function" in kind for kind in kinds) else _build_many(schema),
        hasty_validator=SchemaValidator(hasty, CONFIG),
        serializer=_build_serializer(written, own=bool(kinds & _SETS) and bool(kinds & {"model", "dataclass"})),
        kinds=frozenset(kinds),
        open="open" in kinds,
    )


def _build_many(schema: CoreSchema) -> SchemaValidator:
    if schema["type"] == "definitions":
        listed = core_schema.list_schema(core_schema.json_schema(schema["schema"]))
        return SchemaValidator(core_schema.definitions_schema(listed, schema["definitions"]), CONFIG)
    return SchemaValidator(core_schema.list_schema(core_schema.json_schema(schema)), CONFIG)


def _build_serializer(schema: CoreSchema, *, own: bool) -> SchemaSerializer:
    """A serializer of a changed schema.

    Args:
        schema: the changed one.
        own: whether it has to go into classes that bring a serializer of theirs along, which sorts nothing.
    """
    if not own:
        return SchemaSerializer(schema, CONFIG)
    try:
        return SchemaSerializer(schema, CONFIG, _use_prebuilt=False)
    except TypeError:  # pydantic 2.12 lacks the argument, and there this is enough
        return SchemaSerializer(_rebuild(schema, set(), _write_here), CONFIG)


def _take_item(schema: CoreSchema) -> CoreSchema:
    if schema["type"] == "definitions":
        return core_schema.definitions_schema(_take_item(schema["schema"]), schema["definitions"])
    if schema["type"] != "list":
        msg = f"expected the core schema of a list, not {schema['type']}"
        raise TypeError(msg)
    return cast("CoreSchema", schema.get("items_schema", core_schema.any_schema()))


def _rebuild(node: Any, kinds: set[str], change: "Callable[[dict[str, Any]], None]") -> Any:  # noqa: ANN401 - any part
    """A copy of a core schema, with each schema in it changed, and its kinds noted."""
    if isinstance(node, list):
        return [_rebuild(part, kinds, change) for part in node]
    if isinstance(node, tuple):
        return tuple(_rebuild(part, kinds, change) for part in node)
    if not isinstance(node, dict):
        return node
    copy = {key: part if key in _NO_SCHEMAS else _rebuild(part, kinds, change) for key, part in node.items()}
    if isinstance(node.get("type"), str):
        kinds.add(node["type"])
        if "serialization" in node:
            kinds.add("serialization")
        if node["type"] == "dict" and node.get("keys_schema", {}).get("type") != "str":
            kinds.add("odd-keys")
        config = node.get("config") or {}
        if "allow" in {node.get("extra_behavior"), config.get("extra_fields_behavior")}:
            kinds.add("open")
        change(copy)
    return copy


def _sort_sets(schema: dict[str, Any]) -> None:
    if schema["type"] in _SETS and "serialization" not in schema:
        schema["serialization"] = core_schema.wrap_serializer_function_ser_schema(
            _write_sorted, return_schema=core_schema.any_schema(), when_used="json"
        )


def _write_here(schema: dict[str, Any]) -> None:
    """Have a model written by this schema: else pydantic takes the serializer of the class, which sorts nothing."""
    if schema["type"] == "model" and "serialization" not in schema:
        schema["serialization"] = {key: schema[key] for key in _MODEL_KEYS if key in schema}


def _fail_fast(schema: dict[str, Any]) -> None:
    if schema["type"] in _FAIL_FAST:
        schema["fail_fast"] = True


def _write_sorted(value: object, handler: core_schema.SerializerFunctionWrapHandler) -> list[object]:
    if not isinstance(value, set | frozenset):
        msg = "expected a set"
        raise PydanticSerializationUnexpectedValue(msg)
    return sorted(handler(value), key=to_json)


def read_issues(error: ValidationError, sensitive: frozenset[str]) -> list[ArgumentIssue]:
    """What pydantic found, without any value.

    Args:
        error: pydantic's.
        sensitive: arguments of which only the kind of problem is told: messages of validators may quote the value.
    """
    if error.error_count() > _SHORT:
        problem = f"{error.error_count():,} values do not fit, too many to list"
        return [ArgumentIssue(location="", problem=problem, kind="too_many_issues")]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    issues = []
    for detail in found[:_MAX_ISSUES]:
        location, kind, problem = detail["loc"], detail["type"], detail["msg"]
        if location and location[0] in sensitive:
            location = location[:1]
            problem = "is required" if kind == "missing" else f"is not valid ({kind})"
        issues.append(ArgumentIssue(location=".".join(map(_shorten, location)), problem=problem, kind=kind))
    if len(found) > _MAX_ISSUES:
        more = f"and {len(found) - _MAX_ISSUES:,} more"
        issues.append(ArgumentIssue(location="", problem=more, kind="too_many_issues"))
    return issues


def _shorten(part: object) -> str:
    text = str(part)
    return text if len(text) <= _MAX_NAME else text[:_MAX_NAME] + "…"
