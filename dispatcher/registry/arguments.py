"""What a function takes: one way in for JSON text and for Python data, and one canonical text out."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from pydantic_core import PydanticSerializationError, SchemaSerializer, ValidationError, core_schema

from dispatcher.errors import ArgumentIssue, ArgumentLimitError, InvalidArgumentsError
from dispatcher.model.limits import Limits
from dispatcher.registry.compiled import CONFIG, Compiled, compile_adapter, read_issues
from dispatcher.registry.schema import (
    JsonSchema,
    Parameter,
    Signature,
    build_arguments_adapter,
    build_parameters_schema,
    check_kinds,
)
from dispatcher.registry.strict_json import Carried, JsonRefusedError, StrictJson
from dispatcher.registry.turned import find_turned_into_text

#: Writes Python data of any type, before it is known what the function wants.
_WRITER: Final = SchemaSerializer(core_schema.any_schema(), CONFIG)

#: What pydantic says of a value that it has no way to write.
_UNKNOWN_TYPE: Final = re.compile(r"unknown type: <class '([\w.<>]{1,200})'>")

#: Arguments and names of arguments that a message lists.
_MAX_LISTED: Final = 20


class Arguments:
    """The arguments of one function: checked, written and read. Built once, at registration.

    Args:
        function: the registered name, for messages.
        signature: what the function takes.
        limits: how much the arguments may hold.
        sensitive: parameters whose values no message may tell.

    Raises:
        RegistrationError: for a parameter of a type that cannot be checked, or that JSON cannot carry.
    """

    def __init__(self, function: str, signature: Signature, limits: Limits, sensitive: frozenset[str]) -> None:
        self._function = function
        self._sensitive = sensitive
        adapter = build_arguments_adapter(signature)
        self._compiled: Compiled = compile_adapter(adapter)
        check_kinds(signature.where, "a parameter", self._compiled.kinds)
        self._json = StrictJson(
            max_bytes=limits.arguments_bytes, depth=limits.depth, integer_digits=limits.integer_digits
        )
        self.schema: JsonSchema = build_parameters_schema(
            signature, adapter, sensitive=sensitive, closed=not self._compiled.open
        )
        self._parameters: dict[str, Parameter] = {p.name: p for p in signature.parameters}
        self._positional = [p.name for p in signature.parameters if not p.keyword_only]
        self._positional_only = [p for p in signature.parameters if p.positional_only]

    @property
    def loads_in_one_pass(self) -> bool:
        """Whether `load_many` takes one pass for texts of ordinary length, and runs no code of a type's own."""
        return self._compiled.many_validator is not None

    # --- in -----------------------------------------------------------------------------------------------------

    def bind_text(self, text: str | bytes) -> str:
        """The canonical text of arguments given as JSON text.

        Raises:
            ArgumentLimitError: the text is too large, too deep, or not strict JSON.
            InvalidArgumentsError: the arguments do not fit.
        """
        return self._write(self._validate(self._check_text(text)))

    def bind_values(self, values: Mapping[str, object]) -> str:
        """The canonical text of arguments given as Python data. Raises as `bind_text` does."""
        return self._bind(values)

    def bind_call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> str:
        """The canonical text of arguments given as in a Python call. Raises as `bind_text` does."""
        if args:
            kwargs = self._name_positional(args, kwargs)
        return self._bind(kwargs)

    def load(self, text: str | bytes) -> tuple[tuple[object, ...], dict[str, object]]:
        """What to call the callable with. Trusts the text no more than `bind_text` does, and raises as it does."""
        return self._place(self._validate(self._check_text(text)))

    def load_many(self, texts: Sequence[str]) -> list[tuple[tuple[object, ...], dict[str, object]]]:
        """The same for many calls, in one pass where that can be done. Raises as `load` does for the first at fault."""
        try:
            found = self._compiled.validate_texts(texts)
            if found is not None:
                # Each is JSON by itself by now: a list of them is a list of as many, whatever is in them.
                self._json.check_texts(texts)
                return [self._place(cast("dict[str, object]", values)) for values in found]
        except (ValidationError, JsonRefusedError):
            pass  # one by one, to say which
        return [self.load(text) for text in texts]

    # --- steps --------------------------------------------------------------------------------------------------

    def _place(self, values: dict[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
        """By position what has no name, by name the others."""
        if not self._positional_only:
            return (), values
        given = [index for index, p in enumerate(self._positional_only) if p.name in values]
        last = given[-1] + 1 if given else 0
        # A default before the last one given must be passed too: positions have no names.
        args = tuple(values.pop(p.name, p.default) for p in self._positional_only[:last])
        return args, values

    def _bind(self, values: Mapping[str, object]) -> str:
        text, carried = self._to_json(values)
        read = self._validate(text)
        if carried is not Carried.NATIVE:
            location = find_turned_into_text(values, read)
            if location is not None:
                problem = "Input should be a valid string, or of a type that the function declares"
                raise self._invalid(location=location, problem=problem, kind="string_type")
        return self._write(read)

    def _check_text(self, text: str | bytes) -> str:
        try:
            return self._json.check_text(text)
        except JsonRefusedError as error:
            refusal = self._refuse(error.kind, str(error))
        raise refusal

    def _to_json(self, values: Mapping[str, object]) -> tuple[str, Carried]:
        try:
            if type(values) is not dict:
                values = self._read_mapping(values)
            carried = self._json.check_value(values)
            text = _WRITER.to_json(values, exclude_unset=True, round_trip=True).decode()
            if carried is Carried.OPAQUE:
                return self._json.check_text(text), carried
        except JsonRefusedError as error:
            refusal = self._refuse(error.kind, str(error))
        except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
            found = _UNKNOWN_TYPE.search(str(error))  # of the message only the type: the rest may quote the value
            kind = f"of type {found[1]}" if found else "that cannot write itself"
            refusal = self._refuse("type", f"a value {kind}, which JSON cannot carry")
        else:
            if len(text) * 4 <= self._json.max_bytes or len(text.encode()) <= self._json.max_bytes:
                return text, carried
            refusal = self._too_large()
        raise refusal

    def _read_mapping(self, values: Mapping[str, object]) -> dict[str, object]:
        if not isinstance(values, Mapping):
            problem = f"a {type(values).__name__} where a mapping or JSON text is wanted"
            raise JsonRefusedError(problem, kind="type")
        if len(values) > self._json.max_bytes:
            raise self._too_large()
        return dict(values)

    def _validate(self, text: str) -> dict[str, object]:
        try:
            return cast("dict[str, object]", self._compiled.validate_json(text, closed=True))
        except ValidationError as error:
            issues = read_issues(error, self._sensitive)
        raise self._explain(issues)

    def _write(self, values: dict[str, object]) -> str:
        try:
            written = self._compiled.serializer.to_json(values, exclude_unset=True, round_trip=True)
        except (PydanticSerializationError, ValueError) as error:
            refusal = self._refuse("type", f"an argument whose type cannot write it again ({type(error).__name__})")
        else:
            if len(written) <= self._json.max_bytes:
                return written.decode()
            refusal = self._too_large()
        raise refusal

    def _name_positional(self, args: tuple[object, ...], kwargs: dict[str, object]) -> dict[str, object]:
        if len(args) > len(self._positional):
            problem = f"takes {len(self._positional)} positional arguments, not {len(args):,}"
            raise self._invalid(location="", problem=problem, kind="unexpected_positional_argument")
        named = dict(zip(self._positional, args, strict=False))
        for name in named:
            if name in kwargs:
                problem = "is given twice, by position and by name"
                raise self._invalid(location=name, problem=problem, kind="multiple_argument_values")
        return named | kwargs

    # --- refusals -----------------------------------------------------------------------------------------------

    def _explain(self, issues: list[ArgumentIssue]) -> InvalidArgumentsError | ArgumentLimitError:
        """Pydantic's issues in the words of functions and arguments."""
        if issues[0].kind == "json_invalid":  # pydantic's parser is stricter than Python's in some corner
            return self._refuse("syntax", "not JSON")
        if issues[0].kind == "dict_type" and not issues[0].location:
            return self._invalid(location="", problem="the arguments must be one JSON object", kind="dict_type")
        return InvalidArgumentsError(self._function, [self._reword(issue) for issue in issues])

    def _reword(self, issue: ArgumentIssue) -> ArgumentIssue:
        if issue.kind == "missing":
            return ArgumentIssue(location=issue.location, problem="is required", kind="missing")
        if issue.kind != "extra_forbidden":
            return issue
        if "." in issue.location and issue.location.split(".", 1)[0] in self._parameters:
            problem = "is not known there"
        else:
            names = ", ".join(list(self._parameters)[:_MAX_LISTED])
            problem = f"is not an argument of this function, which takes {names or 'none'}"
        return ArgumentIssue(location=issue.location, problem=problem, kind=issue.kind)

    def _invalid(self, *, location: str, problem: str, kind: str) -> InvalidArgumentsError:
        issue = ArgumentIssue(location=location, problem=problem, kind=kind)
        return InvalidArgumentsError(self._function, [issue])

    def _refuse(self, kind: str, problem: str) -> ArgumentLimitError:
        return ArgumentLimitError(self._function, kind, f"the arguments cannot be taken: {problem}")

    def _too_large(self) -> ArgumentLimitError:
        return self._refuse("size", f"larger than the {self._json.max_bytes:,} bytes of JSON allowed")
