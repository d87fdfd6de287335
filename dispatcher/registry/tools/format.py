"""What the four formats have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from dispatcher.errors import CallRefusedError
from dispatcher.model.call import Call

if TYPE_CHECKING:
    from dispatcher.registry.function import Function

#: OpenAI Chat Completions, OpenAI Responses, Anthropic Messages, Model Context Protocol.
ToolFormat = Literal["openai", "openai-responses", "anthropic", "mcp"]

#: JSON as Python data.
JsonObject: TypeAlias = dict[str, object]

#: Characters of a caller's call id; providers' own have about 30.
_MAX_CALL_ID: Final = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class RawToolCall:
    """A tool call as it stands in a response, before any function is looked up."""

    #: The caller's id of it; empty where it has none.
    call_id: str
    #: The tool name it asks for; empty where it has none.
    name: str
    #: JSON text or an object.
    arguments: Mapping[str, object] | str | bytes
    #: Why it is not of its format; empty if it is.
    problem: str = ""
    #: The JSON-RPC request that it came in and that the answer must name, for MCP.
    request: Mapping[str, object] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """One tool call of a response: a call to dispatch, or the reason why there is none."""

    #: The caller's id of it, which its result carries; empty where it came without one.
    call_id: str
    #: The tool name that was asked for.
    name: str
    call: Call[object] | None
    #: Set where `call` is None.
    error: CallRefusedError | None
    raw: RawToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What became of a tool call, before it is put into a format."""

    #: The JSON text of the value; None for an error.
    value: str | None = None
    #: The error as data: `code`, `message` and more where there is more; None for a value.
    error: JsonObject | None = None
    #: The JSON Schema of the value.
    schema: JsonObject | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One format: four functions."""

    #: A function as a tool definition.
    export: "Callable[[Function[..., object]], JsonObject]"
    #: The tool calls in a response, each as it stands; None if the response is not of this format. Of a list nothing
    #: is doubted where the caller is sure, having named the format.
    find: Callable[[object, bool], Sequence[object] | None]
    #: One tool call. Never fails: what is wrong with it stands in `problem`.
    read: Callable[[object], RawToolCall]
    #: The messages that answer tool calls.
    write: Callable[[Sequence[tuple[ToolCall, Reply]]], list[JsonObject]]


def plain(item: object) -> object:
    """The data of a provider's object (`.model_dump()`), or the item itself."""
    dump = None if isinstance(item, type) else getattr(item, "model_dump", None)
    return dump() if callable(dump) else item


def type_of(item: object) -> str:
    """The type an item of a response says it has; empty where it says none."""
    item = plain(item)
    return str(item.get("type", "")) if isinstance(item, dict) else ""


def find_typed(items: Sequence[object], call_type: str) -> Sequence[object]:
    """The tool calls among typed items, and what says no type: that is for `read` to judge."""
    return [item for item in items if type_of(item) in {call_type, ""}]


def check_raw(call_id: object, name: object, arguments: object, problem: str = "") -> RawToolCall:
    """A tool call whose parts may be anything; the first fault is its problem."""
    if not isinstance(call_id, str) or not call_id:
        problem = problem or "it has no id"
    elif len(call_id) > _MAX_CALL_ID:
        problem = problem or f"its id is {len(call_id):,} characters long; at most {_MAX_CALL_ID} are taken"
    if not isinstance(name, str) or not name:
        problem = problem or "it has no name"
    given: Mapping[str, object] | str | bytes = {}
    if isinstance(arguments, Mapping | str | bytes):
        given = arguments
    elif arguments is not None:
        problem = problem or f"its arguments are a {type(arguments).__name__}"
    return RawToolCall(
        call_id=call_id if isinstance(call_id, str) else "",
        name=name if isinstance(name, str) else "",
        # Models that call a function without parameters may send nothing at all.
        arguments={} if isinstance(given, str) and not given.strip() else given,
        problem=problem,
    )


def malformed(item: object, wanted: str) -> RawToolCall:
    """A tool call that is not even an object."""
    return RawToolCall(call_id="", name="", arguments={}, problem=f"it is a {type(item).__name__}, not {wanted}")
