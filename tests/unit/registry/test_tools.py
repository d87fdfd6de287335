"""Functions offered, called and answered in the four tool formats."""

import json
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from dispatcher.errors import (
    BacklogFullError,
    InvalidArgumentsError,
    InvalidToolCallError,
    UnknownFunctionError,
)
from dispatcher.model.outcome import Cancelled, ErrorInfo, ErrorKind, Expired, Failed, Succeeded
from dispatcher.registry.registry import Registry
from dispatcher.registry.tools import ToolCallBatch, read_tool_calls

FORMATS = ["openai", "openai-responses", "anthropic", "mcp"]

registry = Registry()


class Receipt(BaseModel):
    number: int
    note: str = ""


@registry.function(name="text.count_words", aliases=["words"])
def count_words(text: str) -> int:
    """Count words.

    Args:
        text: where to count.
    """
    return len(text.split())


@registry.function
def greet(name: Annotated[str, Field(min_length=1)], style: Literal["warm", "cold"] = "warm") -> str:
    """Greet someone."""
    return f"{style} greetings, {name}"


@registry.function
def bill(customer_id: int) -> Receipt:
    """Bill a customer."""
    return Receipt(number=customer_id)


@registry.function
def ping() -> None:
    """Do nothing."""


@registry.function
def anything(): ...


# --- offering ---------------------------------------------------------------------------------------------------


def parameters_of(tool: dict[str, Any]) -> dict[str, Any]:
    found = tool.get("function", tool)
    return next(found[key] for key in ("parameters", "input_schema", "inputSchema") if key in found)


@pytest.mark.parametrize("form", FORMATS)
def test_every_function_is_offered_with_a_valid_schema_and_a_legal_name(form):
    tools = registry.tools(form)
    assert len(tools) == len(registry)
    json.dumps(tools)
    for tool, function in zip(tools, registry, strict=True):
        named = tool.get("function", tool)
        assert named["name"] == function.tool_name
        assert "." not in named["name"]
        assert named["description"] == function.description
        jsonschema.Draft202012Validator.check_schema(parameters_of(tool))
        assert parameters_of(tool) == function.parameters_schema
        assert parameters_of(tool)["type"] == "object"


def test_each_format_has_its_own_frame():
    chat = registry.tools("openai", only=["words"])[0]
    assert set(chat) == {"type", "function"}
    assert chat["type"] == "function"
    responses = registry.tools("openai-responses", only=["words"])[0]
    assert responses == {"type": "function"} | chat["function"]
    anthropic = registry.tools("anthropic", only=["words"])[0]
    assert set(anthropic) == {"name", "description", "input_schema"}
    mcp = registry.tools("mcp", only=["words"])[0]
    assert set(mcp) == {"name", "description", "inputSchema", "outputSchema"}


def test_strict_mode_is_asked_for_where_the_schema_is_of_its_kind():
    strict = {tool["name"]: tool["strict"] for tool in registry.tools("openai-responses")}
    assert strict == {"text-count_words": True, "greet": False, "bill": True, "ping": True, "anything": True}


def test_strict_mode_looks_into_nested_schemas():
    other = Registry()

    class Closed(BaseModel):
        x: int

    class Defaulted(BaseModel):
        x: int = 1

    @other.function
    def good(one: Closed, many: list[Closed], maybe: int | None, mode: Literal["a", "b"]) -> None: ...

    @other.function
    def defaulted(one: list[Defaulted]) -> None: ...

    @other.function
    def table(one: dict[str, int]) -> None: ...

    @other.function
    def untyped(one: Any) -> None: ...

    @other.function
    def unique(one: set[int]) -> None: ...

    @other.function
    def raw(one: bytes) -> None: ...

    strict = {tool["function"]["name"]: tool["function"]["strict"] for tool in other.tools("openai")}
    assert strict == dict.fromkeys(["defaulted", "table", "untyped", "unique", "raw"], False) | {"good": True}


def test_mcp_promises_the_structured_content_it_gives():
    for name, value in [("words", 5), ("greet", "hi"), ("bill", Receipt(number=1)), ("ping", None)]:
        function = registry.get(name)
        (tool,) = registry.tools("mcp", only=[name])
        jsonschema.Draft202012Validator.check_schema(tool["outputSchema"])
        assert tool["outputSchema"]["type"] == "object"
        arguments = {"words": {"text": "a"}, "greet": {"name": "a"}, "bill": {"customer_id": 1}, "ping": {}}[name]
        batch = read_tool_calls(registry, {"name": function.tool_name, "arguments": arguments})
        (result,) = batch.write([Succeeded(value=value)])
        jsonschema.validate(result["structuredContent"], tool["outputSchema"])
    assert "outputSchema" not in registry.tools("mcp", only=["anything"])[0]


def test_a_tool_can_be_changed_without_changing_the_function():
    tool = registry.tools("anthropic", only=["greet"])[0]
    tool["input_schema"]["properties"].clear()
    assert greet.parameters_schema["properties"]


def test_a_wrong_format_or_name_is_refused():
    with pytest.raises(ValueError, match="openai-responses"):
        registry.tools("gemini")
    with pytest.raises(UnknownFunctionError):
        registry.tools("mcp", only=["nothing"])


# --- responses as the providers give them -----------------------------------------------------------------------


def response_of(form: str, calls: list[tuple[Any, Any, Any]]) -> dict[str, Any] | list[Any]:
    """A provider's response that asks for calls of (id, name, arguments)."""
    if form == "openai":
        tool_calls = [
            {"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}} for i, n, a in calls
        ]
        message = {"role": "assistant", "content": None, "tool_calls": tool_calls}
        return {
            "id": "x",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        }
    if form == "openai-responses":
        output = [
            {
                "type": "function_call",
                "id": f"fc_{i}",
                "call_id": i,
                "name": n,
                "arguments": json.dumps(a),
                "status": "completed",
            }
            for i, n, a in calls
        ]
        return {
            "id": "x",
            "object": "response",
            "output": [{"type": "reasoning", "id": "r", "summary": []}, *output, {"type": "message", "content": []}],
        }
    if form == "anthropic":
        blocks = [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in calls]
        return {
            "id": "x",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Well."}, *blocks],
            "stop_reason": "tool_use",
        }
    return [
        {"jsonrpc": "2.0", "id": i, "method": "tools/call", "params": {"name": n, "arguments": a}} for i, n, a in calls
    ]


GOOD = [
    ("c1", "text-count_words", {"text": "a b"}),
    ("c2", "greet", {"name": "é", "style": "cold"}),
    ("c3", "ping", {}),
]


def shorter(form: str, response: Any) -> list[Any]:
    """The same tool calls, without the frames around them."""
    if form == "openai":
        message = response["choices"][0]["message"]
        return [message, message["tool_calls"], tuple(message["tool_calls"])]
    if form == "openai-responses":
        return [response["output"]]
    if form == "anthropic":
        return [response["content"], {"role": "assistant", "content": response["content"]}]
    return [[{"id": call["id"], **call["params"]} for call in response]]


class Dumped:
    """Stands for a provider's object."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def model_dump(self) -> Any:
        return self.data


@pytest.mark.parametrize("form", FORMATS)
def test_tool_calls_are_read_whatever_surrounds_them(form):
    response = response_of(form, GOOD)
    wanted = [registry.bind(name.replace("-", "."), arguments, call_id=i) for i, name, arguments in GOOD]
    objects = [Dumped(response)] if isinstance(response, dict) else []
    for given in [response, *shorter(form, response), *objects]:
        for asked in (None, form):
            batch = read_tool_calls(registry, given, asked)
            assert [item.call for item in batch.calls] == wanted
            assert [item.call_id for item in batch.calls] == ["c1", "c2", "c3"]
            assert [item.name for item in batch.calls] == ["text-count_words", "greet", "ping"]
            assert [item.error for item in batch.calls] == [None] * 3
    for part in shorter(form, response):
        if isinstance(part, list):
            assert [item.call for item in read_tool_calls(registry, [Dumped(item) for item in part]).calls] == wanted


@pytest.mark.parametrize("form", FORMATS)
def test_one_tool_call_alone_is_read(form):
    shortest = shorter(form, response_of(form, GOOD[:1]))[-1]
    parts = shortest["content"] if isinstance(shortest, dict) else shortest
    (single,) = [part for part in parts if "text-count_words" in str(part)]
    assert read_tool_calls(registry, single).calls[0].call == registry.bind("words", '{"text":"a b"}', call_id="c1")


@pytest.mark.parametrize("form", FORMATS)
def test_one_bad_tool_call_does_not_spoil_the_others(form):
    response = response_of(
        form,
        [
            GOOD[0],
            ("c2", "gret", {"name": "x"}),
            ("c3", "greet", {"name": 5, "extra": 1}),
            ("c4", "greet", ["not", "an", "object"]),
            ("c5", None, {}),
            (None, "ping", {}),
            ("", "ping", {}),
            (["c8"], "ping", {}),
            ("x" * 1000, "ping", {}),
            ("c10", "__class__", {}),
            ("c11", "greet", "not json"),
            GOOD[1],
        ],
    )
    batch = read_tool_calls(registry, response)
    errors = [None if item.error is None else type(item.error) for item in batch.calls]
    if form == "mcp":  # answered under whatever id the frame has
        assert errors[5:8] == [None] * 3
        errors[5:8] = [InvalidToolCallError] * 3
    assert errors[:3] == [None, UnknownFunctionError, InvalidArgumentsError]
    assert errors[3] in {InvalidArgumentsError, InvalidToolCallError}
    assert errors[4:9] == [InvalidToolCallError] * 5
    assert errors[9] is UnknownFunctionError
    assert errors[10] is not None
    assert errors[11] is None
    assert [item.call is None for item in batch.calls] == [item.error is not None for item in batch.calls]

    written = batch.write(
        [
            Succeeded(value=2),
            *[None if item.call is None else Expired() for item in batch.calls[1:-1]],
            Succeeded(value="hi"),
        ]
    )
    results = written[0]["content"] if form == "anthropic" else written
    assert len(results) == 12
    assert "greet" in json.dumps(results[1])
    assert "c3" in json.dumps(results[2])


@pytest.mark.parametrize("form", FORMATS)
def test_a_response_without_tool_calls_gives_an_empty_batch(form):
    response = response_of(form, [])
    batch = read_tool_calls(registry, response)
    assert batch.calls == ()
    assert batch.write([]) == []


def test_an_answer_in_words_has_no_tool_calls():
    for response in [
        {"choices": [{"message": {"role": "assistant", "content": "Hello."}}]},
        {"choices": []},
        {"role": "assistant", "content": "Hello.", "tool_calls": None},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello."}]}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
        {"role": "assistant", "content": "Hello."},
        [{"type": "text", "text": "Hello."}],
        [{"type": "reasoning", "summary": []}, {"type": "message", "content": []}],
        [],
    ]:
        assert read_tool_calls(registry, response).calls == ()


def test_the_arguments_of_a_call_without_any_may_be_missing():
    for given in [
        {"id": "c", "type": "function", "function": {"name": "ping", "arguments": ""}},
        {"id": "c", "function": {"name": "ping", "arguments": None}},
        {"type": "function_call", "call_id": "c", "name": "ping"},
        {"type": "tool_use", "id": "c", "name": "ping"},
        {"id": "c", "method": "tools/call", "params": {"name": "ping"}},
    ]:
        assert read_tool_calls(registry, given).calls[0].call == registry.bind("ping", {}, call_id="c")


def test_json_text_where_an_object_is_wanted_is_refused():
    for given in [
        {"type": "tool_use", "id": "c", "name": "ping", "input": "{}"},
        {"name": "ping", "arguments": "{}"},
    ]:
        assert isinstance(read_tool_calls(registry, given).calls[0].error, InvalidToolCallError)


def test_tool_calls_of_other_kinds_are_refused_one_by_one():
    custom = {"id": "c1", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    good = {"id": "c2", "type": "function", "function": {"name": "ping", "arguments": "{}"}}
    batch = read_tool_calls(
        registry, {"role": "assistant", "tool_calls": [custom, good, None, {"id": "c4", "function": 5}]}
    )
    assert [item.call_id for item in batch.calls] == ["c1", "c2", "", "c4"]
    assert [item.call is not None for item in batch.calls] == [False, True, False, False]
    other = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert "tools/call" in str(read_tool_calls(registry, other).calls[0].error)


@pytest.mark.parametrize(
    "response",
    [None, 5, "text", b"bytes", {}, {"error": {"message": "overloaded"}}, [5], [{}], [None], object(), Dumped(None)],
)
def test_what_is_no_response_is_refused_as_a_whole(response):
    with pytest.raises(InvalidToolCallError, match="is of none of the formats openai"):
        read_tool_calls(registry, response)


def test_a_response_of_another_format_than_was_said_is_refused():
    with pytest.raises(InvalidToolCallError, match="is not of the format 'mcp'"):
        read_tool_calls(registry, response_of("openai", GOOD), "mcp")
    with pytest.raises(ValueError, match="no tool format"):
        read_tool_calls(registry, [], "gemini")


def test_what_stands_in_a_list_is_not_doubted_where_the_format_is_named():
    assert read_tool_calls(registry, [{"type": "image"}], "anthropic").calls == ()
    for form in FORMATS:
        (item,) = read_tool_calls(registry, [5], form).calls
        assert isinstance(item.error, InvalidToolCallError)
    (item,) = read_tool_calls(registry, [{"id": "c", "type": "custom"}], "openai").calls
    assert item.call_id == "c"


# --- answers ----------------------------------------------------------------------------------------------------

FAILED = Failed(
    error=ErrorInfo(kind=ErrorKind.FUNCTION, type="ValueError", message="no such street", traceback="secret frames")
)


def batch_of(form: str, *names: str) -> ToolCallBatch:
    arguments = {"words": {"text": "a"}, "greet": {"name": "a"}, "bill": {"customer_id": 1}}
    calls = [(f"c{i}", name, arguments.get(name, {})) for i, name in enumerate(names, 1)]
    return read_tool_calls(registry, response_of(form, calls))


def test_openai_chat_answers_with_one_tool_message_each():
    batch = batch_of("openai", "words", "greet", "bill", "ping", "bill")
    assert batch.write(
        [Succeeded(value=2), '"hi"', Succeeded(value=Receipt(number=7)), Succeeded(value=None), FAILED]
    ) == [
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {"role": "tool", "tool_call_id": "c2", "content": "hi"},
        {"role": "tool", "tool_call_id": "c3", "content": '{"number":7,"note":""}'},
        {"role": "tool", "tool_call_id": "c4", "content": "null"},
        {
            "role": "tool",
            "tool_call_id": "c5",
            "content": '{"error": {"code": "function", "message": "ValueError: no such street", "type": "ValueError"}}',
        },
    ]


def test_openai_responses_answers_with_one_output_item_each():
    batch = batch_of("openai-responses", "words", "bill")
    first, second = batch.write([Succeeded(value=2), Cancelled(reason="changed my mind")])
    assert first == {"type": "function_call_output", "call_id": "c1", "output": "2"}
    assert second["call_id"] == "c2"
    assert json.loads(second["output"]) == {
        "error": {"code": "cancelled", "message": "the call was cancelled: changed my mind"}
    }


def test_anthropic_answers_with_all_results_in_one_user_message():
    batch = batch_of("anthropic", "greet", "bill", "nothing")
    assert batch.write([Succeeded(value="hi"), Expired(), None]) == [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "hi", "is_error": False},
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": "expired: the call's deadline passed before it had a result",
                    "is_error": True,
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "c3",
                    "content": "unknown_function: no function is registered as 'nothing'; did you mean 'anything'?",
                    "is_error": True,
                },
            ],
        }
    ]


def test_mcp_answers_with_structured_content_in_the_frame_of_the_request():
    batch = read_tool_calls(
        registry,
        [
            {
                "jsonrpc": "2.0",
                "id": 7,
                "method": "tools/call",
                "params": {"name": "bill", "arguments": {"customer_id": 1}},
            },
            {"method": "tools/call", "params": {"name": "text-count_words", "arguments": {"text": "a"}}},
            {"name": "anything", "arguments": {}},
            {"name": "anything", "arguments": {}},
            {"jsonrpc": "2.0", "id": "s", "method": "tools/call", "params": {"name": "bill"}},
        ],
    )
    assert [item.call_id for item in batch.calls] == ["7", "", "", "", "s"]
    assert batch.calls[1].call.call_id is None
    bill_result, words_result, listed, mapped, refused = batch.write(
        [Succeeded(value=Receipt(number=7)), Succeeded(value=2), "[1]", '{"a":1}', None]
    )
    assert bill_result == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {
            "content": [{"type": "text", "text": '{"number":7,"note":""}'}],
            "structuredContent": {"number": 7, "note": ""},
            "isError": False,
        },
    }
    assert words_result == {
        "content": [{"type": "text", "text": "2"}],
        "structuredContent": {"result": 2},
        "isError": False,
    }
    assert "structuredContent" not in listed
    assert mapped["structuredContent"] == {"a": 1}
    assert (refused["jsonrpc"], refused["id"], refused["result"]["isError"]) == ("2.0", "s", True)
    assert "customer_id: is required" in refused["result"]["content"][0]["text"]


@pytest.mark.parametrize("form", FORMATS)
def test_every_ending_is_told_under_its_own_id(form):
    endings = [
        Succeeded(value=1),
        FAILED,
        Cancelled(),
        Expired(),
        BacklogFullError("default", 5),
        InvalidToolCallError("odd"),
        Succeeded(value="no number"),
    ]
    batch = batch_of(form, *["words"] * len(endings))
    text = json.dumps(batch.write(endings))
    for index in range(1, 8):
        assert f'"c{index}"' in text
    for said in ["no such street", "was cancelled", "deadline passed", "waiting jobs", "odd", "declared return type"]:
        assert said in text
    assert "secret frames" not in text


def test_what_is_wrong_with_arguments_is_told_as_data():
    batch = batch_of("openai", "bill")
    broken = read_tool_calls(registry, response_of("openai", [("c1", "bill", {"customer_id": "x"})]))
    error = json.loads(broken.write([None])[0]["content"])["error"]
    assert error["code"] == "invalid_arguments"
    assert error["issues"] == [
        {"location": "customer_id", "problem": "Input should be a valid integer", "kind": "int_type"}
    ]
    with pytest.raises(ValueError, match="no result for the tool call 'c1'"):
        batch.write([None])
    with pytest.raises(ValueError, match="zip"):
        batch.write([])
    # Whatever is said of a refused call, its own error is what counts.
    assert "invalid_arguments" in broken.write([Succeeded(value=1)])[0]["content"]


def test_text_that_is_no_json_is_passed_on_as_it_is():
    assert batch_of("openai", "greet").write(['"broken'])[0]["content"] == '"broken'
