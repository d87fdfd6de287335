"""The arguments of many calls in one pass: the same values, and the same refusals, as one by one."""

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field

from dispatcher import Registry
from dispatcher.errors import ArgumentLimitError, InvalidArgumentsError
from dispatcher.model.limits import Limits
from dispatcher.registry.function import Function

registry = Registry(limits=Limits(arguments_bytes=2000, depth=6))


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    x: int
    tags: set[str] = set()


@dataclass
class Pair:
    left: int
    right: "Pair | None" = None


@registry.function
def scalars(number: int, ratio: float = 1.0, flag: bool = False, text: str = "", nothing: None = None) -> None:
    """Take one of each."""


@registry.function
def rich(
    point: Point,
    pair: Pair | None = None,
    when: datetime | None = None,
    day: date | None = None,
    wait: timedelta = timedelta(0),
    amount: Decimal = Decimal(0),
    raw: bytes = b"",
    own: UUID | None = None,
    colour: Colour = Colour.RED,
    kind: Literal["a", 1] = "a",
    both: tuple[int, str] = (0, ""),
    words: frozenset[str] = frozenset(),
    low: Annotated[int, Field(ge=0)] = 0,
) -> None:
    """Take what JSON has no word for."""


@registry.function
def anything(value: object, more: dict[str, Any] | None = None) -> None:
    """Take any JSON."""


@registry.function
def by_position(first: int, second: int = 2, /, *, third: int = 3) -> None:
    """Take some by position."""


calls_of_the_validator: list[int] = []


def check(value: int) -> int:
    calls_of_the_validator.append(value)
    return value


@registry.function
def checked(value: Annotated[int, AfterValidator(check)]) -> None:
    """Have code of its own."""


POINT = '{"x":1,"tags":["b","a"]}'
TEXTS: dict[str, list[str]] = {
    "scalars": [
        '{"number":1}', '{"number":-5,"ratio":2,"flag":true,"text":"é\\u00e9\\n"}', ' { "number" : 7 } ', '{"number":"1"}',
        '{"number":1.0}', '{"number":1,"number":2}', '{"number":NaN}', '{"number":1,"extra":2}', "{}", "[]", "", "{", "null",
        '{"number":1}{"number":2}', '{"number":1},{"number":2}', '{"number":1', "2}", '{"number":123456789012345678901234567890}',
        '{"number":1,"text":"\\ud800"}', '{"number":1,"ratio":1e999}', '{"number":1,"ratio":Infinity}', '{"number":01}',
        '{"number":1,"text":"' + "x" * 3000 + '"}', '{"number":1,"nothing":null}', '{"number":true}', "{'number':1}",
    ],
    "rich": [
        f'{{"point":{POINT}}}',
        f'{{"point":{POINT},"pair":{{"left":1,"right":{{"left":2}}}},"when":"2030-01-01T00:00:00Z","day":"2030-01-01"}}',
        f'{{"point":{POINT},"wait":"PT5S","amount":"1.50","raw":"YWI=","own":"12345678-1234-5678-1234-567812345678"}}',
        f'{{"point":{POINT},"colour":"red","kind":1,"both":[1,"a"],"words":["b","a"],"low":3}}',
        f'{{"point":{POINT},"low":-1}}', f'{{"point":{POINT},"amount":1.5}}', '{"point":{"x":1,"y":2}}', '{"point":{"x":"1"}}',
        f'{{"point":{POINT},"raw":"?"}}', f'{{"point":{POINT},"when":5}}', f'{{"point":{POINT},"both":[1]}}',
    ],
    "anything": [
        '{"value":null}', '{"value":[1,{"a":[2.5,"x"]}],"more":{"k":[]}}', '{"value":[[[[[1]]]]]}', '{"value":[[[[[[1]]]]]]}',
        '{"value":{"a":1,"a":2}}', '{"value":NaN}', '{"value":[1', "2]}", '{"value":1},{"value":2}', '{"value":"],["}',
    ],
    "by_position": ['{"first":1}', '{"first":1,"second":5}', '{"first":1,"third":9}', '{"second":1}'],
    "checked": ['{"value":1}', '{"value":"x"}'],
}  # fmt: skip


def one_by_one(function: Function[..., Any], texts: list[str]) -> object:
    try:
        return [function.load_arguments(text) for text in texts]
    except (InvalidArgumentsError, ArgumentLimitError) as error:
        return str(error)


def together(function: Function[..., Any], texts: list[str]) -> object:
    try:
        return function.load_many(texts)
    except (InvalidArgumentsError, ArgumentLimitError) as error:
        return str(error)


@given(st.data())
def test_the_same_as_one_by_one(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(TEXTS)))
    texts = data.draw(st.lists(st.sampled_from(TEXTS[name]), min_size=1, max_size=6))
    function = registry.get(name)
    assert repr(together(function, texts)) == repr(one_by_one(function, texts))


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_each_text_alone(name: str) -> None:
    function = registry.get(name)
    for text in TEXTS[name]:
        assert repr(together(function, [text, text])) == repr(one_by_one(function, [text, text]))


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=20))
def test_values_come_back_in_order_and_are_each_calls_own(numbers: list[int]) -> None:
    loaded = registry.get("anything").load_many([json.dumps({"value": [number]}) for number in numbers])
    assert [kwargs["value"] for _, kwargs in loaded] == [[number] for number in numbers]
    loaded[0][1]["value"].append("changed")  # type: ignore[attr-defined]
    assert all("changed" not in kwargs["value"] for _, kwargs in loaded[1:])  # type: ignore[operator]


def test_texts_that_are_json_only_when_put_side_by_side_are_refused() -> None:
    with pytest.raises(ArgumentLimitError, match="JSON"):
        registry.get("anything").load_many(['{"value":[1', '2]},{"value":3}'])


def test_code_of_the_functions_own_sees_its_values_one_by_one() -> None:
    calls_of_the_validator.clear()
    with pytest.raises(InvalidArgumentsError):
        registry.get("checked").load_many(['{"value":1}', '{"value":"x"}', '{"value":3}'])
    assert calls_of_the_validator == [1], "not ahead of its turn"
    assert registry.get("checked")._arguments._compiled.many_validator is None
    assert registry.get("rich")._arguments._compiled.many_validator is not None
