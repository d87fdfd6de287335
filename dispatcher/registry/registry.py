"""Which functions there are: name → Function."""

import hashlib
import inspect
import json
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from dispatcher.model.call import Call
from dispatcher.model.limits import Limits
from dispatcher.registry.declaration import Declared, read_declaration
from dispatcher.registry.function import AsyncFunction, Function, SyncFunction
from dispatcher.registry.names import explain_unknown
from dispatcher.registry.schema import JsonSchema, read_signature, refuse, where_is

if TYPE_CHECKING:
    from dispatcher.registry.tools.format import ToolFormat

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """What `@registry.function(...)` gives: takes a function, gives the `Function`."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine is an R too, but the first match counts
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncFunction[P, R]: ...


class Registry:
    """Name → Function. Aliases make renames safe.

    Args:
        limits: how much the arguments and the result of a call may hold.
        async_queue: the queue of every `async def` that names none, so that workers with an asyncio pool can have them
            for themselves. None: the same as of a `def`.
    """

    def __init__(self, *, limits: Limits | None = None, async_queue: str | None = None) -> None:
        self._async_queue = async_queue
        self._limits = Limits() if limits is None else limits
        self._functions: dict[str, Function[..., object]] = {}
        #: Names and aliases.
        self._found: dict[str, Function[..., object]] = {}
        self._revision = 0
        #: With the revision that it is of.
        self._fingerprint = (-1, "")
        #: Held while functions come or go, so that two threads cannot take one name.
        self._changing = threading.Lock()

    # --- register -----------------------------------------------------------------------------------------------

    @overload
    def function(  # type: ignore[overload-overlap]  # as above
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncFunction[P, R]: ...
    @overload
    def function(self, function: Callable[P, R], /) -> SyncFunction[P, R]: ...
    @overload
    def function(self, /, **options: Unpack[Declared]) -> Decorator: ...
    def function(self, function: Callable[..., object] | None = None, /, **options: Unpack[Declared]) -> object:
        """Register a `def` or an `async def` with type hints: `@registry.function`, or with options in brackets.

        Raises:
            RegistrationError: the function cannot be registered as written; says why, and what to do.
        """
        local_names = dict(sys._getframe(1).f_locals)  # noqa: SLF001 - what type hints given as text refer to
        if function is not None:
            return self._register(function, {**options}, local_names)

        def decorate(decorated: Callable[..., object], /) -> object:
            return self._register(decorated, {**options}, local_names)

        return decorate

    def include(self, other: "Registry") -> None:
        """Take in all functions of another registry, under their own names.

        Raises:
            RegistrationError: a name or alias is taken already; then none is taken in.
        """
        functions = list(other)
        with self._changing:
            for function in functions:
                self._refuse_clash(function, repr(function))
            self._add(*functions)

    def remove(self, name: str) -> Function[..., object]:
        """Take a function out, with its aliases; all of its names are free again. Gives the function.

        Selectors on this registry choose it no more. Calls accepted before stay accepted: a worker that still has it
        runs them, and on one that has not they fail as calls of an unknown function.

        Args:
            name: its name or an alias.

        Raises:
            UnknownFunctionError: there is none; names the nearest.
        """
        with self._changing:
            function = self.get(name)
            for known in (function.name, *function.aliases):
                del self._found[known]
            del self._functions[function.name]
            self._changed()
        return function

    def _register(
        self, function: Callable[..., object], options: dict[str, object], local_names: dict[str, object]
    ) -> Function[..., object]:
        where = where_is(function)
        if isinstance(function, Function):
            raise refuse(where, "it is registered already; use registry.include(…) to share functions")
        if not isinstance(function, FunctionType):
            raise refuse(where, f"it is a {type(function).__name__}; register a plain def or async def")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise refuse(where, "it is a generator, whose results cannot be sent; return a list")
        if self._async_queue is not None and inspect.iscoroutinefunction(function):
            options.setdefault("queue", self._async_queue)
        signature = read_signature(function, local_names)
        declaration = read_declaration(where, function.__name__, options, [p.name for p in signature.parameters])
        kind = AsyncFunction if inspect.iscoroutinefunction(function) else SyncFunction
        made: Function[..., object] = kind(function, declaration=declaration, signature=signature, limits=self._limits)
        with self._changing:
            self._refuse_clash(made, where)
            self._add(made)
        return made

    def _refuse_clash(self, function: Function[..., object], where: str) -> None:
        names = (function.name, *function.aliases)
        if len(set(names)) < len(names):
            raise refuse(where, f"it has the same name twice among its name and aliases: {', '.join(names)}")
        for name in names:
            if name in self._found:
                taken = where_is(self._found[name].callable)
                raise refuse(where, f"the name {name!r} is taken by {taken}; give another with name=…")

    def _add(self, *functions: Function[..., object]) -> None:
        for function in functions:
            self._functions[function.name] = function
            for name in (function.name, *function.aliases):
                self._found[name] = function
        self._changed()

    def _changed(self) -> None:
        # Last: who reads the revision and then the functions may see newer functions than that, never older ones.
        self._revision += 1

    # --- look up ------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Function[..., object]:
        """The function of that exact name or alias.

        Raises:
            UnknownFunctionError: there is none; names the nearest.
        """
        function = self._found.get(name) if isinstance(name, str) else None
        if function is None:
            raise explain_unknown(name, self._found)
        return function

    def bind(
        self, name: str, arguments: Mapping[str, object] | str | bytes, *, call_id: str | None = None
    ) -> Call[object]:
        """A call of the function of that name; see `Function.bind`.

        Raises:
            CallRefusedError: no such function, or the arguments do not fit it.
        """
        return self.get(name).bind(arguments, call_id=call_id)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._found

    def __iter__(self) -> Iterator[Function[..., object]]:
        return iter(tuple(self._functions.values()))

    def __len__(self) -> int:
        return len(self._functions)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, without aliases, in the order of registration."""
        return tuple(self._functions)

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def revision(self) -> int:
        """Grows whenever functions come or go: whoever keeps something made of them compares it, and nothing else.

        Read it before the functions themselves. Of this object in this process only; `fingerprint` compares programs.
        """
        return self._revision

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, versions and schemas, as hex: equal where two programs register the same functions."""
        revision = self._revision
        known, fingerprint = self._fingerprint
        if known != revision:
            parts = [[f.name, f.version, f.parameters_schema, f.result_schema] for f in self]
            text = json.dumps(sorted(parts, key=lambda part: str(part[0])), sort_keys=True)
            fingerprint = hashlib.sha256(text.encode()).hexdigest()
            self._fingerprint = (revision, fingerprint)
        return fingerprint

    # --- tools --------------------------------------------------------------------------------------------------

    def tools(self, format: "ToolFormat", *, only: Iterable[str] | None = None) -> list[JsonSchema]:  # noqa: A002
        """The functions as a provider's API takes them, ready for `tools=…`.

        Args:
            format: `openai` (Chat Completions), `openai-responses`, `anthropic` or `mcp`.
            only: names of the functions to offer. Default: all.

        Raises:
            UnknownFunctionError: `only` names one that there is not.
            ValueError: there is no such format.
        """
        from dispatcher.registry.tools.formats import export_tool  # noqa: PLC0415 - a worker never needs it

        functions = list(self) if only is None else [self.get(name) for name in only]
        return [export_tool(function, format) for function in functions]
