"""The JSON Schemas made of signatures and docstrings."""

from __future__ import annotations

import dataclasses
import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema
import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from dispatcher.registry.registry import Registry


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    sku: str = Field(description="stock keeping unit")
    count: int = 1


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


class Tree(BaseModel):
    children: list[Tree] = []


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    deep: bool


registry = Registry()

GOOGLE = """Count things.

    In two paragraphs.

    Args:
        text: where to look,
            in any language.
        limit: at most so many.

    Returns:
        how many.
    """
NUMPY = """Count things.

    In two paragraphs.

    Parameters
    ----------
    text : str
        where to look,
        in any language.
    limit
        at most so many.

    Returns
    -------
    int
        how many.
    """
SPHINX = """Count things.

    In two paragraphs.

    :param text: where to look,
        in any language.
    :param int limit: at most so many.
    :returns: how many.
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_descriptions_come_from_every_docstring_style(docstring):
    def count(text: str, limit: int = 10, other: bool = False) -> int: ...

    count.__doc__ = docstring
    function = Registry().function(count)

    assert function.description == "Count things.\n\nIn two paragraphs."
    properties = function.parameters_schema["properties"]
    assert properties["text"] == {"type": "string", "description": "where to look, in any language."}
    assert properties["limit"] == {"type": "integer", "description": "at most so many.", "default": 10}
    assert properties["other"] == {"type": "boolean", "default": False}


def test_a_field_s_own_description_wins_over_the_docstring():
    @Registry().function
    def count(
        text: Annotated[str, Field(description="from the field", min_length=1)], more: Annotated[int, Field(ge=1)] = 1
    ) -> int:
        """Count.

        Args:
            text: from the docstring.
            more: also from the docstring.
        """

    properties = count.parameters_schema["properties"]
    assert properties["text"] == {"type": "string", "minLength": 1, "description": "from the field"}
    assert properties["more"] == {
        "type": "integer",
        "minimum": 1,
        "description": "also from the docstring.",
        "default": 1,
    }


def test_a_function_without_a_docstring_has_an_empty_description():
    @Registry().function
    def quiet() -> int: ...

    assert quiet.description == ""
    assert quiet.parameters_schema == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


@registry.function
def everything(
    text: str,
    number: float,
    flag: bool,
    price: Decimal,
    day: date,
    moment: datetime,
    hour: time,
    span: timedelta,
    key: UUID,
    raw: bytes,
    colour: Colour,
    mode: Literal["fast", "slow"],
    item: Item,
    point: Point,
    options: Options,
    tree: Tree,
    open_: Open,
    pair: tuple[int, str],
    names: set[str],
    table: dict[str, list[int]],
    either: int | str,
    maybe: int | None = None,
    anything: Any = None,
    items: list[Item] = [],  # noqa: B006
) -> dict[str, list[Item]]: ...


EXAMPLE = {
    "text": "a",
    "number": 1,
    "flag": True,
    "price": "12.50",
    "day": "2026-01-02",
    "moment": "2026-01-02T03:04:05Z",
    "hour": "03:04:05",
    "span": "PT5S",
    "key": "12345678-1234-5678-1234-567812345678",
    "raw": "AAE=",
    "colour": "red",
    "mode": "fast",
    "item": {"sku": "x"},
    "point": {"x": 1.5},
    "options": {},
    "tree": {"children": [{}]},
    "open_": {"x": 1, "more": 2},
    "pair": [1, "a"],
    "names": ["a"],
    "table": {"a": [1]},
    "either": "x",
}


def test_every_schema_is_valid_and_agrees_with_the_binding():
    schema = everything.parameters_schema
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator.check_schema(everything.result_schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(EXAMPLE)
    everything.bind(EXAMPLE)
    for wrong in [{"flag": "x"}, {"mode": "medium"}, {"item": {}}, {"pair": [1]}, {"surplus": 1}]:
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(EXAMPLE | wrong)


def test_the_schema_lists_what_is_required_and_closes_objects():
    schema = everything.parameters_schema
    assert schema["required"] == list(EXAMPLE)
    assert schema["additionalProperties"] is False
    assert "title" not in schema
    assert schema["$defs"]["Open"]["additionalProperties"] is True


def test_objects_are_closed_where_nothing_says_that_they_are_open():
    @Registry().function
    def take(item: Item, point: Point, options: Options) -> None: ...

    definitions = take.parameters_schema["$defs"]
    assert {name: part["additionalProperties"] for name, part in definitions.items()} == {
        "Item": False,
        "Point": False,
        "Options": False,
    }
    assert definitions["Item"]["properties"]["sku"] == {"type": "string", "description": "stock keeping unit"}


def test_the_default_of_a_sensitive_argument_is_not_in_the_schema():
    @Registry().function(sensitive=["token"])
    def take(token: str = "hunter2", other: bytes = b"\xff", odd: float = float("nan")) -> None: ...

    assert "hunter2" not in str(take.parameters_schema)
    assert take.parameters_schema["properties"]["other"]["default"] == "_w=="
    assert "default" not in take.parameters_schema["properties"]["odd"]


def test_result_schemas_stand_alone():
    @Registry().function
    def one() -> Item: ...

    @Registry().function
    def many() -> list[Item]: ...

    @Registry().function
    def tree() -> Tree: ...

    @Registry().function
    def untyped(): ...

    @Registry().function
    def nothing() -> None: ...

    assert one.result_schema["type"] == "object"
    assert one.result_schema["properties"]["sku"]["type"] == "string"
    assert many.result_schema["items"] == {"$ref": "#/$defs/Item"}
    assert tree.result_schema["$ref"] == "#/$defs/Tree"
    assert untyped.result_schema == {}
    assert nothing.result_schema == {"type": "null"}
    for function in (one, many, tree):
        jsonschema.Draft202012Validator.check_schema(function.result_schema)
    jsonschema.Draft202012Validator(tree.result_schema).validate({"children": [{"children": []}]})


def test_a_registration_does_not_change_a_user_s_model():
    class Bag(BaseModel):
        names: set[str]
        rows: list[int] = []

    before = Bag.__pydantic_core_schema__
    text = repr(before)

    @Registry().function
    def take(bag: Bag) -> Bag: ...

    assert Bag.__pydantic_core_schema__ is before
    assert repr(before) == text
