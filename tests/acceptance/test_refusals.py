"""What is refused, is refused at once, with a typed error, before anything is queued."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from dispatcher import Call, Dispatcher, Failed
from dispatcher.errors import (
    Acceptance,
    ArgumentLimitError,
    CallRefusedError,
    InvalidArgumentsError,
    InvalidToolCallError,
    UnknownFunctionError,
)
from dispatcher.model.outcome import ErrorKind
from tests.acceptance import functions
from tests.acceptance.functions import registry
from tests.acceptance.helpers import LONG, Marks, Worker

LONGEST_REFUSAL_SECONDS = 0.050
ROUNDS = 3
SURROGATE = "\ud800"


def nest(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth - 1):
        nested = [nested]
    return nested


def nest_text(depth: int, inside: str = "") -> str:
    return "[" * depth + inside + "]" * depth


NAMES = {
    "unknown": "no_such_function",
    "nearly": "ad",
    "other case": "Add",
    "empty": "",
    "cyrillic a": "\u0430dd",  # looks like add
    "full width": "\uff41dd",
    "zero width": "a\u200bdd",
    "with space": "add ",
    "with newline": "add\n",
    "dunder": "__import__",
    "dunder in a part": "add.__class__",
    "builtin": "eval",
    "a module's": "os.system",
    "celery's own": "celery.backend_cleanup",
    "celery's starmap": "celery.starmap",
    "surrogate": SURROGATE,
    "null byte": "add\x00",
    "path": "../../etc/passwd",
    "very long": "a" * 1_000_000,
}

#: Function, arguments, error, its kind.
Row = tuple[str, Any, type[CallRefusedError], str | None]

PYTHON: dict[str, Row] = {
    "missing": ("check", {}, InvalidArgumentsError, "missing"),
    "extra": ("check", {"number": 1, "more": 2}, InvalidArgumentsError, "extra_forbidden"),
    "text for a number": ("check", {"number": "1"}, InvalidArgumentsError, "int_type"),
    "bool for int": ("check", {"number": True}, InvalidArgumentsError, "int_type"),
    "bool for float": ("check", {"number": 1, "ratio": True}, InvalidArgumentsError, "float_type"),
    "int for bool": ("check", {"number": 1, "flag": 1}, InvalidArgumentsError, "bool_type"),
    "float for int": ("check", {"number": 1.5}, InvalidArgumentsError, None),
    "null for text": ("check", {"number": 1, "text": None}, InvalidArgumentsError, "string_type"),
    "an object": ("echo", {"value": object()}, ArgumentLimitError, "type"),
    "a function": ("echo", {"value": print}, ArgumentLimitError, "type"),
    "nan": ("check", {"number": 1, "ratio": float("nan")}, ArgumentLimitError, "number"),
    "infinity": ("echo", {"value": [float("inf")]}, ArgumentLimitError, "number"),
    "minus infinity": ("echo", {"value": {"x": float("-inf")}}, ArgumentLimitError, "number"),
    "5,000 digits": ("check", {"number": 10**5_000 - 1}, ArgumentLimitError, "integer"),
    "5,000 digits, negative": ("echo", {"value": [-(10**5_000)]}, ArgumentLimitError, "integer"),
    "surrogate": ("check", {"number": 1, "text": SURROGATE}, ArgumentLimitError, "text"),
    "surrogate as a key": ("echo", {"value": {SURROGATE: 1}}, ArgumentLimitError, "text"),
    # The object of all arguments is the first level.
    "33 levels": ("echo", {"value": nest(32)}, ArgumentLimitError, "depth"),
    "100,000 levels": ("echo", {"value": nest(100_000)}, ArgumentLimitError, "depth"),
    "257 KB": ("echo", {"value": "x" * 257 * 1024}, ArgumentLimitError, "size"),
    "20 MB": ("echo", {"value": "x" * 20_000_000}, ArgumentLimitError, "size"),
    "20 MB in pieces": ("echo", {"value": ["x" * 1_000] * 20_000}, ArgumentLimitError, "size"),
    "20 MB of numbers": ("echo", {"value": [1] * 10_000_000}, ArgumentLimitError, "size"),
    "no mapping": ("echo", [1, 2], CallRefusedError, None),
}

TEXT: dict[str, Row] = {
    "missing": ("check", "{}", InvalidArgumentsError, "missing"),
    "extra": ("check", '{"number": 1, "more": 2}', InvalidArgumentsError, "extra_forbidden"),
    "text for a number": ("check", '{"number": "1"}', InvalidArgumentsError, "int_type"),
    "bool for int": ("check", '{"number": true}', InvalidArgumentsError, "int_type"),
    "nan": ("check", '{"number": 1, "ratio": NaN}', ArgumentLimitError, "number"),
    "infinity": ("check", '{"number": 1, "ratio": Infinity}', ArgumentLimitError, "number"),
    "minus infinity": ("echo", '{"value": -Infinity}', ArgumentLimitError, "number"),
    "1e999": ("check", '{"number": 1, "ratio": 1e999}', ArgumentLimitError, "number"),
    "1e999, hidden": ("echo", '{"value": [{"x": [-1e999]}]}', ArgumentLimitError, "number"),
    "5,000 digits": ("check", '{"number": ' + "9" * 5_000 + "}", ArgumentLimitError, "integer"),
    "1,000,000 digits": ("check", '{"number": ' + "9" * 200_000 + "}", ArgumentLimitError, "integer"),
    "surrogate, escaped": ("check", '{"number": 1, "text": "\\ud800"}', ArgumentLimitError, "text"),
    "surrogate, escaped, as a key": ("echo", '{"value": {"\\udfff": 1}}', ArgumentLimitError, "text"),
    "surrogate": ("check", '{"number": 1, "text": "' + SURROGATE + '"}', ArgumentLimitError, "text"),
    "invalid UTF-8": ("check", b'{"number": 1, "text": "\xff"}', ArgumentLimitError, "text"),
    "overlong UTF-8": ("check", b'{"number": 1, "text": "\xc0\xaf"}', ArgumentLimitError, "text"),
    "duplicate key": ("check", '{"number": 1, "number": 2}', ArgumentLimitError, "duplicate"),
    "duplicate key, escaped": ("check", '{"number": 1, "n\\u0075mber": 2}', ArgumentLimitError, "duplicate"),
    "duplicate key, inside": ("echo", '{"value": {"a": 1, "a": 1}}', ArgumentLimitError, "duplicate"),
    "33 levels": ("echo", '{"value": ' + nest_text(32) + "}", ArgumentLimitError, "depth"),
    "100,000 levels": ("echo", '{"value": ' + nest_text(100_000) + "}", ArgumentLimitError, "depth"),
    "100,000 levels, never closed": ("echo", '{"value": ' + "[" * 100_000, ArgumentLimitError, None),
    "257 KB": ("echo", '{"value": "' + "x" * 257 * 1024 + '"}', ArgumentLimitError, "size"),
    "20 MB": ("echo", '{"value": "' + "x" * 20_000_000 + '"}', ArgumentLimitError, "size"),
    "20 MB of bytes": ("echo", b'{"value": "' + b"x" * 20_000_000 + b'"}', ArgumentLimitError, "size"),
    "cut short": ("check", '{"number": 1', ArgumentLimitError, "syntax"),
    "two values": ("check", '{"number": 1} {"number": 2}', ArgumentLimitError, "syntax"),
    "a comment": ("check", '{"number": 1} // one', ArgumentLimitError, "syntax"),
    "a list": ("check", "[1]", InvalidArgumentsError, "dict_type"),
    "nothing": ("check", "", ArgumentLimitError, "syntax"),
}


@pytest.fixture
def ledger(client: redis.Redis) -> Callable[[], dict[str, object]]:
    """What the server holds of jobs and messages."""

    def read() -> dict[str, object]:
        queues = [f"{base}{priority}" for base in ("default", "idle") for priority in ("", ".high", ".bulk")]
        return {
            "accepted": client.hget("{dispatcher}:counts", "accepted"),
            "unsettled": client.zcard("{dispatcher}:due"),
            "jobs": sum(1 for _ in client.scan_iter("{dispatcher}:job:*", count=1_000)),
            "messages": {queue: client.llen(queue) for queue in [*queues, "celery"]},
        }

    return read


async def refuse(request: Callable[[], Awaitable[object]]) -> tuple[CallRefusedError, float]:
    """The refusal, and how long the quickest of some tries took."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with pytest.raises(CallRefusedError) as caught:
            await request()
        seconds.append(time.perf_counter() - began)
    return caught.value, min(seconds)


@pytest.mark.parametrize("way", ["registry", "call by hand"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_a_name_that_is_none_is_refused_at_once(
    dispatcher: Dispatcher, ledger: Callable[[], object], name: str, way: str
) -> None:
    async def request() -> object:
        call = registry.bind(name, {"a": 1}) if way == "registry" else Call(function=name, version="1", arguments="{}")
        return await dispatcher.dispatch(call)

    before = ledger()
    error, seconds = await refuse(request)
    assert type(error) is UnknownFunctionError
    assert error.accepted is Acceptance.NO
    assert len(str(error)) < 500
    str(error).encode()
    assert seconds <= LONGEST_REFUSAL_SECONDS
    assert ledger() == before


@pytest.mark.parametrize("row", PYTHON.values(), ids=PYTHON)
async def test_python_arguments_that_do_not_fit_are_refused_at_once(
    dispatcher: Dispatcher, ledger: Callable[[], object], row: Row
) -> None:
    await check_refusal(dispatcher, ledger, row)


@pytest.mark.parametrize("row", TEXT.values(), ids=TEXT)
async def test_json_text_that_does_not_fit_is_refused_at_once(
    dispatcher: Dispatcher, ledger: Callable[[], object], row: Row
) -> None:
    await check_refusal(dispatcher, ledger, row)


async def check_refusal(dispatcher: Dispatcher, ledger: Callable[[], object], row: Row) -> None:
    function, arguments, expected, kind = row

    async def request() -> object:
        return await dispatcher.dispatch(registry.bind(function, arguments))

    before = ledger()
    error, seconds = await refuse(request)
    assert isinstance(error, expected)
    assert error.accepted is Acceptance.NO
    if kind is not None:
        found = error.kind if isinstance(error, ArgumentLimitError) else error.issues[0].kind
        assert found == kind
    assert len(str(error)) < 1_000
    assert seconds <= LONGEST_REFUSAL_SECONDS
    assert ledger() == before


def openai(name: str, arguments: object) -> dict[str, object]:
    return {"tool_calls": [{"id": "call-1", "type": "function", "function": {"name": name, "arguments": arguments}}]}


def anthropic(name: str, arguments: object) -> dict[str, object]:
    block = {"type": "tool_use", "id": "call-1", "name": name, "input": arguments}
    return {"role": "assistant", "content": [block]}


TOOL_CALLS = (
    {f"name: {name}": (openai(text, "{}"), UnknownFunctionError) for name, text in NAMES.items() if text}
    | {f"openai: {name}": (openai(row[0], row[1]), row[2]) for name, row in TEXT.items() if row[1]}
    | {
        f"anthropic: {name}": (anthropic(row[0], row[1]), row[2])
        for name, row in PYTHON.items()
        if isinstance(row[1], dict)
    }
)


@pytest.mark.parametrize(("response", "expected"), TOOL_CALLS.values(), ids=TOOL_CALLS)
async def test_a_tool_call_that_does_not_fit_is_answered_at_once_with_what_is_wrong(
    dispatcher: Dispatcher, ledger: Callable[[], object], response: dict[str, Any], expected: type[CallRefusedError]
) -> None:
    before = ledger()
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        messages = await dispatcher.run_tool_calls(response, timeout=LONG)
        seconds.append(time.perf_counter() - began)
    text = json.dumps(messages)
    assert "call-1" in text
    codes = [kind.code for kind in (expected, *expected.__subclasses__())]
    assert any(code in text for code in codes), text[:500]
    assert len(text) < 2_000
    assert min(seconds) <= LONGEST_REFUSAL_SECONDS
    assert ledger() == before


async def test_a_response_that_is_none_is_refused_at_once(dispatcher: Dispatcher) -> None:
    for response in (None, 7, "call add", {"role": "user"}, object()):
        error, seconds = await refuse(lambda response=response: dispatcher.run_tool_calls(response))
        assert type(error) is InvalidToolCallError
        assert seconds <= LONGEST_REFUSAL_SECONDS


async def test_arguments_forged_behind_the_registrys_back_are_refused_by_the_worker(
    dispatcher: Dispatcher, marks: Marks, label: str
) -> None:
    for arguments in ('{"label": 1, "seconds": 0}', "[]", "{", '{"label": "' + label + '", "seconds": 1e999}'):
        job = await dispatcher.dispatch(Call(function="hold", version="1", arguments=arguments))
        outcome = await job.outcome(LONG)
        assert isinstance(outcome, Failed)
        assert outcome.error.kind is ErrorKind.INVALID_ARGUMENTS
    assert marks.of(label) == []


async def test_after_all_refusals_the_next_good_call_runs(dispatcher: Dispatcher, worker: Worker) -> None:
    job = await dispatcher.dispatch(functions.add.call(1, 2))
    assert await job.result(LONG) == 3
    assert worker.alive
