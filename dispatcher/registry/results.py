"""What a function returns: written so that what is read is what was returned, or refused."""

from typing import Final

from pydantic_core import PydanticSerializationError, ValidationError

from dispatcher.errors import ResultError
from dispatcher.model.limits import Limits
from dispatcher.registry.compiled import compile_adapter, read_issues
from dispatcher.registry.schema import (
    JsonSchema,
    Signature,
    build_adapter,
    build_json_schema,
    check_kinds,
    iterate_schemas,
    refuse,
)
from dispatcher.registry.strict_json import Carried, JsonRefusedError, StrictJson

#: Core schemas whose JSON is read back as what was written, whatever the value.
_FAITHFUL: Final = frozenset(
    {
        *("none", "bool", "int", "float", "str", "bytes", "decimal", "uuid", "date", "time", "datetime", "timedelta"),
        *("literal", "enum", "nullable", "list", "tuple", "set", "frozenset", "dict", "typed-dict", "typed-dict-field"),
        *("definitions", "definition-ref"),
    }
)

#: Those of them in which a serializer may write a key of an object twice: it is told what to call them.
_RENAMED: Final = frozenset({"typed-dict", "typed-dict-field"})

#: Core schemas in which pydantic takes an object as it is, NaN in a field of it included.
_UNLOOKED: Final = frozenset({"any", "model", "dataclass", "is-instance", "custom-error"})

#: Core schemas in which two values of different classes can have the same fields.
_TOLD_APART: Final = frozenset({"any", "model", "union", "tagged-union"})


class Results:
    """The results of one function. Built once, at registration.

    Args:
        function: the registered name, for messages.
        signature: what the function returns.
        limits: how much a result may hold.
        hidden: whether messages may not tell what a validator said, which may quote the value.

    Raises:
        RegistrationError: for a return type that cannot be checked, or that JSON cannot carry.
    """

    def __init__(self, function: str, signature: Signature, limits: Limits, *, hidden: bool) -> None:
        self._function = function
        self._hidden = hidden
        adapter = build_adapter(signature.where, "the return type", signature.returns)
        self._compiled = compile_adapter(adapter)
        check_kinds(signature.where, "the return type", self._compiled.kinds)
        self.schema: JsonSchema = build_json_schema(signature.where, "the return type", adapter, serialized=True)
        if any(part.get("writeOnly") for part in iterate_schemas(self.schema)):
            raise refuse(
                signature.where,
                "the return type holds a secret type, which hides its value; return str and set sensitive_result=True",
            )
        self._json = StrictJson(max_bytes=limits.result_bytes, depth=limits.depth, integer_digits=limits.integer_digits)
        kinds = self._compiled.kinds
        self._look_inside = bool(kinds & _UNLOOKED) or "serialization" in kinds
        self._read_back = not kinds <= _FAITHFUL
        self._check_written = self._json.check_written if kinds <= _FAITHFUL - _RENAMED else self._json.check_text

    def dump(self, value: object) -> str:
        """The JSON text of a returned value.

        Raises:
            ResultError: the value is not of the declared type, or does not survive as JSON.
        """
        carried = self._check_value(value) if self._look_inside else Carried.NATIVE
        checked = self._check_type(value)
        text = self._write(checked)
        if self._read_back and not (carried is Carried.NATIVE and self._compiled.kinds <= _FAITHFUL | {"any"}):
            self._compare(checked, text)
        return text

    def load(self, text: str | bytes) -> object:
        """The value that JSON text of a result stands for.

        Raises:
            ResultError: the text is not strict JSON, or does not fit the declared type.
        """
        try:
            return self._compiled.validate_json(self._json.check_text(text), closed=False)
        except JsonRefusedError as error:
            problem = str(error)
        except ValidationError as error:
            problem = self._tell(error)
        raise self._refuse(why=f"the result cannot be read as the declared return type: {problem}")

    # --- steps --------------------------------------------------------------------------------------------------

    def _check_value(self, value: object) -> Carried:
        try:
            return self._json.check_value(value)
        except JsonRefusedError as error:
            problem = str(error)
        raise self._refuse(why=f"the result cannot be sent: {problem}")

    def _check_type(self, value: object) -> object:
        try:
            checked = self._compiled.validate_python(value)
        except ValidationError as error:
            problem = self._tell(error)
        else:
            # pydantic takes a dict for a model, strict or not.
            if "model" not in self._compiled.kinds or checked == value:
                return checked
            problem = "it would have to be changed first, as a dict into a model"
        raise self._refuse(why=f"returned a {type(value).__name__} that is not of the declared return type: {problem}")

    def _write(self, value: object) -> str:
        try:
            return self._check_written(self._compiled.serializer.to_json(value, round_trip=True, warnings="error"))
        except JsonRefusedError as error:
            problem = str(error)
        except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
            problem = f"JSON cannot carry it ({type(error).__name__})"
        raise self._refuse(why=f"the result cannot be sent: {problem}")

    def _compare(self, value: object, text: str) -> None:
        """Read the text back, where the type alone does not promise that it comes back the same."""
        loaded = self.load(text)
        if _same(loaded, value):
            return
        serializer = self._compiled.serializer
        if (
            type(loaded) is type(value)
            and not self._compiled.kinds & _TOLD_APART
            and _same(serializer.to_python(loaded), serializer.to_python(value))
        ):
            return  # a dataclass that is equal only to itself
        problem = (
            "the result cannot be sent: JSON would bring it back as something else, as a tuple becomes a list; "
            f"declare its exact type as the return type of {self._function}"
        )
        raise self._refuse(why=problem)

    def _tell(self, error: ValidationError) -> str:
        issues = read_issues(error, frozenset())
        if self._hidden:
            return ", ".join(sorted({issue.kind for issue in issues}))
        return "; ".join(f"{i.location}: {i.problem}" if i.location else i.problem for i in issues)

    def _refuse(self, *, why: str) -> ResultError:
        return ResultError(f"{self._function}: {why}")


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and bool(one == other)
