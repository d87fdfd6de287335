"""What holds for any arguments, any results and any text."""

import dataclasses
import json
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from dispatcher.errors import CallRefusedError, InvalidToolCallError, RegistrationError, ResultError
from dispatcher.registry.registry import Registry
from dispatcher.registry.strict_json import is_deeper
from dispatcher.registry.tools import read_tool_calls

settings.register_profile("registry", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("registry")

registry = Registry()


class Item(BaseModel):
    sku: str
    price: Decimal = Decimal(0)
    tags: frozenset[str] = frozenset()


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@registry.function(sensitive=["token"])
def everything(
    number: int,
    text: str = "",
    ratio: float = 0.0,
    price: Decimal = Decimal(0),
    raw: bytes = b"",
    day: date | None = None,
    moment: datetime | None = None,
    span: timedelta = timedelta(0),
    key: UUID | None = None,
    item: Item | None = None,
    points: list[Point] = [],  # noqa: B006
    table: dict[str, list[int]] = {},  # noqa: B006
    names: set[str] = set(),  # noqa: B006
    pair: tuple[int, str] = (0, ""),
    token: str = "",
) -> tuple[list[Item], dict[str, Point], set[int] | None]: ...


@registry.function
def echo(value: Any) -> Any: ...


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
whole = st.integers(-(10**300), 10**300)
finite = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=3)
points = st.builds(Point, x=finite, y=finite)
items = st.builds(Item, sku=text, price=decimals, tags=st.frozensets(text, max_size=3))

arguments = st.fixed_dictionaries(
    {"number": whole},
    optional={
        "text": text,
        "ratio": finite,
        "price": decimals,
        "raw": st.binary(max_size=50),
        "day": st.none() | st.dates(),
        "moment": st.none() | st.datetimes(),
        "span": st.timedeltas(timedelta(-(10**5)), timedelta(10**5)),
        "key": st.none() | st.uuids(),
        "item": st.none() | items,
        "points": st.lists(points, max_size=3),
        "table": st.dictionaries(text, st.lists(whole, max_size=3), max_size=3),
        "names": st.sets(text, max_size=4),
        "pair": st.tuples(whole, text),
        "token": text,
    },
)

json_values = st.recursive(
    st.none() | st.booleans() | whole | finite | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.decimals()
    | st.dates()
    | st.complex_numbers()
    | points
    | items
    | st.just(object()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none() | st.floats(), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(arguments)
def test_arguments_come_back_as_they_were_given(given):
    call = everything.bind(given)
    assert everything.load_arguments(call.arguments) == ((), given)
    assert everything.bind(call.arguments) == call
    assert everything.call(**given) == call
    assert list(json.loads(call.arguments)) == [
        name for name in everything.parameters_schema["properties"] if name in given
    ]


@given(json_values)
def test_any_json_value_comes_back_from_text_and_from_python(value):
    calls = {echo.bind({"value": value}).arguments, echo.bind(json.dumps({"value": value})).arguments}
    assert len(calls) == 1
    assert echo.load_arguments(calls.pop()) == ((), {"value": value})
    assert echo.load_result(echo.dump_result(value)) == value


@given(
    st.tuples(
        st.lists(items, max_size=3), st.dictionaries(text, points, max_size=3), st.none() | st.sets(whole, max_size=3)
    )
)
def test_results_come_back_as_they_were_returned(result):
    assert everything.load_result(everything.dump_result(result)) == result


@given(
    st.text()
    | st.binary()
    | json_values.map(json.dumps)
    | st.dictionaries(st.sampled_from(["number", "text", "item", "table", "zz"]), json_values).map(json.dumps)
)
def test_no_text_causes_anything_but_a_refusal(given):
    for function in (everything, echo):
        for load in (function.bind, function.load_arguments):
            with suppress(CallRefusedError):
                load(given)
        with suppress(ResultError):
            function.load_result(given)
        assert isinstance(function.show(given), str)


@given(st.dictionaries(st.sampled_from(["number", "value", "item", "zz"]) | st.text(max_size=2), anything, max_size=4))
def test_no_python_data_causes_anything_but_a_refusal(given):
    for function in (everything, echo):
        try:
            call = function.bind(given)
        except CallRefusedError:
            continue
        assert function.bind(call.arguments) == call


@given(anything)
def test_what_can_be_sent_as_a_result_comes_back_equal(value):
    try:
        sent = echo.dump_result(value)
    except ResultError:
        return
    assert echo.load_result(sent) == value


@given(st.text() | st.integers())
def test_no_name_causes_anything_but_a_refusal(name):
    try:
        registry.get(name)
    except CallRefusedError as error:
        str(error).encode("ascii")


@given(st.text())
def test_no_name_of_a_function_causes_anything_but_a_registration_error(name):
    other = Registry()

    def one() -> None: ...

    try:
        other.function(name=name)(one)
    except RegistrationError:
        assert name not in other
    else:
        assert other.get(name).tool_name.replace("-", ".") == name


@given(
    st.recursive(
        anything,
        lambda inner: (
            st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "message",
                        "tool_calls",
                        "output",
                        "content",
                        "role",
                        "type",
                        "id",
                        "call_id",
                        "name",
                        "arguments",
                        "input",
                        "function",
                        "method",
                        "params",
                        "jsonrpc",
                    ]
                ),
                inner
                | st.sampled_from(["tool_use", "function_call", "function", "assistant", "tools/call", "echo", "{}"]),
                max_size=5,
            )
            | st.lists(inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_no_response_causes_anything_but_a_refusal(response):
    for form in (None, "openai", "openai-responses", "anthropic", "mcp"):
        try:
            batch = read_tool_calls(registry, response, form)
        except InvalidToolCallError:
            continue
        batch.write(["1"] * len(batch.calls))


@given(
    st.lists(st.sampled_from(["[", "]", "{", "}", '"', "\\", ",", "1"]), max_size=30).map("".join), st.integers(1, 4)
)
def test_depth_told_without_parsing_agrees_with_the_parser(text, depth):
    def measure(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(measure, inner), default=0)

    try:
        parsed = json.loads(text)
    except ValueError:
        is_deeper(text.encode(), depth)
    else:
        assert is_deeper(text.encode(), depth) is (measure(parsed) > depth)
