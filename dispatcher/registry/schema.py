"""Signature and docstring → the types, descriptions and JSON Schemas of one function. Run once, at registration."""

import inspect
import re
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, NotRequired, Required, TypeAlias

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.fields import Field, FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, SchemaError, from_json, to_json
from typing_extensions import TypedDict

from dispatcher.errors import RegistrationError

#: A JSON Schema, draft 2020-12.
JsonSchema: TypeAlias = dict[str, object]

#: Bytes travel as base64, and a float that is no number is never quietly null.
BYTES_AND_NUMBERS: Final = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False, ser_json_inf_nan="constants"
)

#: Every style of docstring begins its sections on a line of their own, or with a sign before a name.
_MAY_HAVE_SECTIONS: Final = re.compile(r"[\n:@]").search

#: What pydantic, and typing under it, raise about types they cannot work with.
_TYPE_ERRORS: Final = (
    PydanticUserError,
    PydanticUndefinedAnnotation,
    SchemaError,
    NameError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter of a function."""

    name: str
    hint: object
    required: bool
    default: object
    positional_only: bool
    keyword_only: bool
    #: From the docstring; empty where it says nothing.
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """What a function takes and returns, as types."""

    #: How messages name the function: `module.qualname`.
    where: str
    parameters: tuple[Parameter, ...]
    returns: object
    #: From the docstring, without its sections.
    description: str


class PlainJsonSchema(GenerateJsonSchema):
    """Without the titles that pydantic makes of field names: they say nothing, and a model pays for each word."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def refuse(where: str, problem: str) -> RegistrationError:
    """The error that says which function cannot be registered, why, and what to do."""
    return RegistrationError(f"cannot register {where}: {problem}")


def where_is(function: Callable[..., object]) -> str:
    """How messages name a function."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}.{name}"


def read_signature(function: Callable[..., object], local_names: Mapping[str, object]) -> Signature:
    """The types and descriptions of a function.

    Args:
        function: a plain `def` or `async def`.
        local_names: what the place of the definition sees, for type hints that are text.

    Raises:
        RegistrationError: for a parameter without a type hint, `*args`, `**kwargs`, or a hint that cannot be resolved.
    """
    where = where_is(function)
    parameters = inspect.signature(function).parameters.values()
    hints = _read_hints(where, function, local_names)
    description, about = _read_docstring(inspect.getdoc(function) or "")
    return Signature(
        where=where,
        parameters=tuple(
            _read_parameter(where, parameter, hints, about, first=index == 0)
            for index, parameter in enumerate(parameters)
        ),
        returns=_read_return(where, hints),
        description=description,
    )


def _read_hints(where: str, function: Callable[..., object], local_names: Mapping[str, object]) -> dict[str, object]:
    try:
        return typing.get_type_hints(inspect.unwrap(function), localns=dict(local_names), include_extras=True)
    except NameError as error:
        problem = f"a type hint names {error.name!r}, which is not defined there; import it or define it before"
    except (TypeError, SyntaxError, AttributeError) as error:
        problem = f"a type hint cannot be read: {error}"
    raise refuse(where, problem)


def _read_return(where: str, hints: Mapping[str, object]) -> object:
    returns = hints.get("return", object)
    if returns in {typing.NoReturn, typing.Never}:
        return None
    origin = typing.get_origin(returns) or returns
    if isinstance(origin, type) and issubclass(origin, Iterator | AsyncIterator):
        raise refuse(where, "it returns an iterator, which cannot be sent; return a list")
    return returns


def _read_parameter(
    where: str, parameter: inspect.Parameter, hints: Mapping[str, object], about: Mapping[str, str], *, first: bool
) -> Parameter:
    name, default = parameter.name, parameter.default
    if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
        raise refuse(where, f"it takes {stars}{name}, which no schema can describe; name each parameter")
    if name not in hints:
        if first and name in {"self", "cls"}:
            raise refuse(where, f"it is a method (its first parameter is {name!r}); register a plain function")
        raise refuse(where, f"parameter {name!r} has no type hint; write `{name}: <type>`")
    if isinstance(default, FieldInfo):
        raise refuse(
            where, f"parameter {name!r} has Field(…) as its default; write `{name}: Annotated[<type>, Field(…)] = …`"
        )
    return Parameter(
        name=name,
        hint=hints[name],
        required=default is inspect.Parameter.empty,
        default=default,
        positional_only=parameter.kind is inspect.Parameter.POSITIONAL_ONLY,
        keyword_only=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
        description=about.get(name, ""),
    )


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """What the function does, and what each parameter is: Google, NumPy and Sphinx styles."""
    if not _MAY_HAVE_SECTIONS(text):
        return text.strip(), {}
    import docstring_parser  # noqa: PLC0415 - not needed where every function says what it does in a line

    try:
        parsed = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return text.strip(), {}
    paragraphs = [part.strip() for part in (parsed.short_description, parsed.long_description) if part]
    about = {param.arg_name: " ".join((param.description or "").split()) for param in parsed.params}
    return "\n\n".join(paragraphs), about


# --- the arguments as one type ----------------------------------------------------------------------------------


def build_arguments_type(signature: Signature) -> type:
    """One TypedDict of all parameters: its keys may be any name, and an argument that was left out stays out."""
    keys = {p.name: _key_type(p) for p in signature.parameters}
    arguments: type = TypedDict("Arguments", keys)  # type: ignore[misc]
    arguments.__pydantic_config__ = ConfigDict(extra="forbid", **BYTES_AND_NUMBERS)  # type: ignore[attr-defined]
    return arguments


def _key_type(parameter: Parameter) -> object:
    hint = parameter.hint
    if parameter.description and not _describes_itself(hint):
        hint = Annotated[hint, Field(description=parameter.description)]
    return Required[hint] if parameter.required else NotRequired[hint]


def _describes_itself(hint: object) -> bool:
    notes = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()  # type: ignore[attr-defined]
    return any(isinstance(note, FieldInfo) and note.description for note in notes)


def build_adapter(where: str, what: str, hint: object) -> TypeAdapter[object]:
    """A pydantic adapter of a list of a type; `TypeAdapter` takes our configuration for no other form of every type.

    Raises:
        RegistrationError: naming `what` (a parameter, the return type), if pydantic can make none.
    """
    try:
        return TypeAdapter(list[hint], config=BYTES_AND_NUMBERS)  # type: ignore[valid-type]
    except _TYPE_ERRORS as error:
        problem = f"{what} has a type that cannot be checked: {_first_line(error)}"
    raise refuse(where, problem)


def build_arguments_adapter(signature: Signature) -> TypeAdapter[object]:
    """The adapter of all parameters; where there can be none, the error names the parameter."""
    try:
        return build_adapter(signature.where, "a parameter", build_arguments_type(signature))
    except RegistrationError:
        _blame_parameter(signature)
        raise


def _blame_parameter(signature: Signature) -> None:
    """Raise the error that names the parameter at fault, if one is alone at fault."""
    for parameter in signature.parameters:
        what = f"parameter {parameter.name!r}"
        adapter = build_adapter(signature.where, what, parameter.hint)
        build_json_schema(signature.where, what, adapter, serialized=False)


def build_json_schema(where: str, what: str, adapter: TypeAdapter[object], *, serialized: bool) -> JsonSchema:
    """The JSON Schema of the type that an adapter holds a list of.

    Raises:
        RegistrationError: naming `what`, if the type has none.
    """
    mode: typing.Literal["serialization", "validation"] = "serialization" if serialized else "validation"
    try:
        listed = adapter.json_schema(schema_generator=PlainJsonSchema, mode=mode)
    except _TYPE_ERRORS as error:
        problem = f"{what} has a type that JSON cannot carry: {_first_line(error)}"
    else:
        return _unlist(listed)
    raise refuse(where, problem)


def _unlist(listed: JsonSchema) -> JsonSchema:
    """The schema of a list's items on its own: written out at the top, unless it refers to itself."""
    schema = typing.cast("JsonSchema", listed.get("items", {}))
    definitions = typing.cast("dict[str, JsonSchema]", listed.get("$defs", {}))
    target = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    inner = [part for definition in definitions.values() for part in iterate_schemas(definition)]
    if target in definitions and not any(part.get("$ref") == schema["$ref"] for part in inner):
        schema = {**definitions.pop(target), **{key: value for key, value in schema.items() if key != "$ref"}}
    return {**schema, "$defs": definitions} if definitions else schema


def build_parameters_schema(
    signature: Signature, adapter: TypeAdapter[object], *, sensitive: frozenset[str], closed: bool
) -> JsonSchema:
    """The JSON Schema of all arguments.

    Args:
        signature: the function's.
        adapter: of its arguments.
        sensitive: parameters whose defaults are not shown.
        closed: whether nested objects refuse keys they do not name.

    Raises:
        RegistrationError: naming the parameter whose type has no JSON Schema, or that hides its value.
    """
    try:
        schema = build_json_schema(signature.where, "a parameter", adapter, serialized=False)
    except RegistrationError:
        _blame_parameter(signature)
        raise
    schema.pop("title", None)
    properties = typing.cast("dict[str, JsonSchema]", schema.setdefault("properties", {}))
    for parameter in signature.parameters:
        if not parameter.required and parameter.name not in sensitive:
            _set_default(properties[parameter.name], parameter.default)
    for part in iterate_schemas(schema):
        if part.get("writeOnly"):
            raise refuse(
                signature.where,
                "a parameter has a secret type (SecretStr, SecretBytes), which hides its value and so cannot be sent; "
                "use str or bytes, and name the parameter in `sensitive`",
            )
        if closed and part.get("type") == "object" and "properties" in part:
            part.setdefault("additionalProperties", False)
    return schema


def check_kinds(where: str, what: str, kinds: frozenset[str]) -> None:
    """Refuse types that pydantic can describe but that no JSON text can stand for.

    Raises:
        RegistrationError: naming what to use in their place.
    """
    if "generator" in kinds:
        raise refuse(where, f"{what} is an Iterable, which is only read once; use list, tuple, set or Sequence")


def _set_default(schema: JsonSchema, default: object) -> None:
    try:
        text = to_json(default, bytes_mode="base64", inf_nan_mode="constants")
        schema["default"] = from_json(text, allow_inf_nan=False)
    except (PydanticSerializationError, ValueError):
        return  # a default that JSON has no word for stays unsaid


def iterate_schemas(schema: JsonSchema) -> Iterator[JsonSchema]:
    """The schema itself and every schema in it; `$ref`s are not followed, their targets come once, from `$defs`."""
    yield schema
    for keyword, inner in schema.items():
        if keyword in {"properties", "$defs", "patternProperties", "dependentSchemas"} and isinstance(inner, dict):
            parts = list(inner.values())
        elif keyword in {"anyOf", "oneOf", "allOf", "prefixItems"} and isinstance(inner, list):
            parts = inner
        elif keyword in {"items", "additionalProperties", "not", "contains", "propertyNames", "contentSchema"}:
            parts = [inner]
        else:
            continue
        for part in parts:
            if isinstance(part, dict):
                yield from iterate_schemas(part)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
