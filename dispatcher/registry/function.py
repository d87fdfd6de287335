"""A registered function: a typed callable, what it takes and returns, and how it wants to be run."""

import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, cast

from dispatcher.model.call import Call
from dispatcher.model.limits import Limits
from dispatcher.registry.arguments import Arguments
from dispatcher.registry.declaration import Declaration
from dispatcher.registry.names import to_tool_name
from dispatcher.registry.options import FunctionOptions
from dispatcher.registry.redaction import show_arguments
from dispatcher.registry.results import Results
from dispatcher.registry.schema import JsonSchema, Signature

P = ParamSpec("P")
R = TypeVar("R")


class Function(Generic[P, R]):
    """A registered callable with its spec. Made by `@registry.function`, never by hand.

    `P` are its parameters, `R` is what it returns, or what its coroutine does. Calling it calls the function itself,
    here and now, with nothing checked; `.call(...)` makes a `Call` to dispatch.

    Raises:
        RegistrationError: if its types cannot be checked, or JSON cannot carry them.
    """

    def __init__(
        self, function: Callable[P, object], *, declaration: Declaration, signature: Signature, limits: Limits
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        #: Whether calling it gives a coroutine.
        self.is_async = inspect.iscoroutinefunction(function)
        self._declaration = declaration
        self._description = signature.description if declaration.description is None else declaration.description
        options = declaration.options
        self._arguments = Arguments(declaration.name, signature, limits, options.sensitive)
        self._results = Results(declaration.name, signature, limits, hidden=options.sensitive_result)
        self._limits = limits

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> object:
        """Call the function itself, here and now."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Function {self.name} version {self.version}>"

    # --- what it is ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._declaration.name

    @property
    def tool_name(self) -> str:
        """The name that LLM providers see: `-` for each `.`."""
        return to_tool_name(self.name)

    @property
    def version(self) -> str:
        return self._declaration.version

    @property
    def description(self) -> str:
        return self._description

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names that find it."""
        return self._declaration.aliases

    @property
    def options(self) -> FunctionOptions:
        return self._declaration.options

    @property
    def callable(self) -> Callable[P, object]:
        """The function as it was written."""
        return self._function

    @property
    def parameters_schema(self) -> JsonSchema:
        """The JSON Schema of the object of all arguments. Shared: copy it before changing it."""
        return self._arguments.schema

    @property
    def result_schema(self) -> JsonSchema:
        """The JSON Schema of the result. Shared: copy it before changing it."""
        return self._results.schema

    # --- arguments ----------------------------------------------------------------------------------------------

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """A call of it, to dispatch.

        Raises:
            InvalidArgumentsError: the arguments do not fit.
            ArgumentLimitError: they are too large, too deep, or hold what JSON cannot carry.
        """
        return self._make_call(self._arguments.bind_call(args, kwargs), None)

    def bind(self, arguments: Mapping[str, object] | str | bytes, *, call_id: str | None = None) -> Call[R]:
        """A call of it with arguments by name, as JSON text or as Python data.

        Args:
            arguments: one JSON object, or the same as a mapping.
            call_id: the caller's own id of this call.

        Raises:
            InvalidArgumentsError: the arguments do not fit.
            ArgumentLimitError: they are too large, too deep, or hold what JSON cannot carry.
        """
        if isinstance(arguments, str | bytes):
            return self._make_call(self._arguments.bind_text(arguments), call_id)
        return self._make_call(self._arguments.bind_values(arguments), call_id)

    def load_arguments(self, text: str | bytes) -> tuple[tuple[object, ...], dict[str, object]]:
        """What to call the callable with: positional and named arguments, as the types it declares.

        Raises:
            InvalidArgumentsError: the arguments do not fit.
            ArgumentLimitError: they are too large, too deep, or not strict JSON.
        """
        return self._arguments.load(text)

    @property
    def loads_in_one_pass(self) -> bool:
        """Whether `load_many` takes one pass for texts of ordinary length, and runs no code of a type's own."""
        return self._arguments.loads_in_one_pass

    def load_many(self, texts: Sequence[str]) -> list[tuple[tuple[object, ...], dict[str, object]]]:
        """The same for many calls, in one pass where that can be done.

        Raises:
            InvalidArgumentsError, ArgumentLimitError: the arguments of one do not fit; `load_arguments` says of which.
        """
        return self._arguments.load_many(texts)

    def show(self, arguments: object, limit: int = 1000) -> str:
        """The arguments for logs and dashboards: sensitive ones as `***`, at most `limit` characters. Never fails.

        Args:
            arguments: JSON text, as in `Call.arguments`.
            limit: characters.
        """
        return show_arguments(arguments, self.options.sensitive, limit, self._limits.arguments_bytes)

    def _make_call(self, text: str, call_id: str | None) -> Call[R]:
        return Call(function=self.name, version=self.version, arguments=text, call_id=call_id)

    # --- results ------------------------------------------------------------------------------------------------

    def dump_result(self, value: object) -> str:
        """The JSON text of what it returned.

        Raises:
            ResultError: the value is not of the declared type, too large, too deep, or would not come back the same.
        """
        return self._results.dump(value)

    def load_result(self, text: str | bytes) -> R:
        """What it returned, from JSON text.

        Raises:
            ResultError: the text is not strict JSON, too large, or does not fit the declared type.
        """
        return cast("R", self._results.load(text))


class SyncFunction(Function[P, R]):
    """A registered `def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, here and now."""
        return cast("R", self._function(*args, **kwargs))


class AsyncFunction(Function[P, R]):
    """A registered `async def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Make the function's coroutine, here and now."""
        return cast("Coroutine[Any, Any, R]", self._function(*args, **kwargs))
