"""Results: what is read is what was returned, or it is refused."""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, computed_field
from typing_extensions import TypedDict

from dispatcher.errors import Acceptance, ResultError
from dispatcher.model.limits import Limits
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry


class Colour(enum.Enum):
    RED = "red"


class Item(BaseModel):
    sku: str
    price: Decimal = Decimal(0)
    weight: float = 0.0
    tags: set[str] = set()

    @computed_field
    @property
    def label(self) -> str:
        return self.sku.upper()


class BigItem(Item):
    size: int = 0


class Box(BaseModel):
    _count: int = PrivateAttr(0)
    raw: bytes = b""


@dataclasses.dataclass
class Point:
    x: float
    raw: bytes = b""


@dataclasses.dataclass(eq=False)
class Lonely:
    x: int


@dataclasses.dataclass
class Tagged:
    tags: frozenset[str] | set[str]


class Bag(BaseModel):
    tags: set[str] = set()
    bags: list["Bag"] = []


class Pair(NamedTuple):
    a: int
    b: str


class Shape(TypedDict, total=False):
    sides: int


def returning(hint: Any, **limits: int) -> Function[..., Any]:
    def function(): ...

    function.__annotations__["return"] = hint
    return Registry(limits=Limits(**limits)).function(function)


ROUND_TRIPS = [
    (None, None),
    (int, -(10**300)),
    (float, 0.1),
    (float, 5),
    (bool, True),
    (str, "é\U0001f600\0"),
    (bytes, bytes(range(256))),
    (Decimal, Decimal("1.10")),
    (Decimal, Decimal("1E+5")),
    (date, date(2026, 1, 2)),
    (time, time(1, 2, 3, 4)),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001
    (datetime, datetime(2026, 1, 2, tzinfo=UTC)),
    (datetime, datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
    (datetime, datetime(2026, 7, 2, tzinfo=ZoneInfo("Europe/Berlin"))),
    (timedelta, timedelta(days=-1, microseconds=1)),
    (UUID, UUID(int=7)),
    (Colour, Colour.RED),
    (Literal["a", 1], 1),
    (list[int], [1, 2]),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (set[str], {"b", "a"}),
    (frozenset[int], frozenset({1})),
    (dict[str, Decimal], {"a": Decimal("0.10")}),
    (dict[int, str], {1: "a", -5: "b"}),
    (dict[UUID, int], {UUID(int=1): 1}),
    (int | None, None),
    (int | str, "5"),
    (int | str, 5),
    (Item, Item(sku="a", price=Decimal("1.10"), tags={"x", "y"})),
    (list[Item], [Item(sku="a")]),
    (Item | None, None),
    (BigItem | Item, BigItem(sku="a", size=3)),
    (Point, Point(x=1.5, raw=b"\xff")),
    (dict[str, Point], {"a": Point(x=1.0)}),
    (Pair, Pair(1, "x")),
    (Shape, {"sides": 3}),
    (Shape, {}),
    (IPv4Address, IPv4Address("127.0.0.1")),
    (PurePosixPath, PurePosixPath("/tmp")),
    (Any, {"a": [1, 2.5, None, True, "x"]}),
    (object, [{}]),
    (dict[str, Any], {"a": {"b": []}}),
    (Sequence[int], [1, 2]),
    (Mapping[str, int], {"a": 1}),
    (Annotated[int, Field(ge=0)], 3),
    (dict[str, Decimal | str], {"a": "plain text"}),
]  # fmt: skip


def name_of(value: object) -> str:
    """The same in every process: tests beside each other are told apart by it."""
    return repr(sorted(value) if isinstance(value, set) else value)[:50]


@pytest.mark.parametrize(("hint", "value"), ROUND_TRIPS, ids=name_of)
def test_a_result_comes_back_as_what_was_returned(hint, value):
    function = returning(hint)
    text = function.dump_result(value)
    loaded = function.load_result(text)
    assert loaded == value
    assert function.load_result(text.encode()) == value
    if not isinstance(value, int):
        assert type(loaded) is type(value)


def test_a_dataclass_that_equals_only_itself_comes_back_with_the_same_fields():
    function = returning(Lonely)
    assert function.load_result(function.dump_result(Lonely(x=5))).x == 5


def test_sets_are_written_in_one_order_wherever_they_are():
    letters = set("hgfedcba")
    order = '["a","b","c","d","e","f","g","h"]'
    assert returning(set[str]).dump_result(letters) == order
    assert returning(list[set[str] | None]).dump_result([letters, None]) == f"[{order},null]"
    assert returning(int | set[str]).dump_result(letters) == order
    assert returning(set[int]).dump_result({10, 9, -1}) == "[-1,10,9]"
    for hint, value in [
        (Item, Item(sku="s", tags=letters)),
        (BigItem | Point, BigItem(sku="s", tags=letters)),
        (Tagged, Tagged(letters)),
        (Bag, Bag(tags=letters, bags=[Bag(tags=letters)])),
    ]:
        text = returning(hint).dump_result(value)
        assert order in text
        if hint is Bag:
            assert text.count(order) == 2


REFUSED = [
    (int, "5", "int"),
    (int, True, "bool"),
    (int, 5.0, "float"),
    (int, None, "NoneType"),
    (None, 5, "int"),
    (str, b"x", "bytes"),
    (str, 5, "int"),
    (float, float("nan"), "finite"),
    (float, float("inf"), "finite"),
    (list[float], [1.0, float("-inf")], "1"),
    (Decimal, Decimal("Infinity"), "finite"),
    (Decimal, 1.5, "float"),
    (list[int], (1, 2), "tuple"),
    (list[int], [1, "2"], "1"),
    (tuple[int, int], [1, 2], "list"),
    (set[int], [1], "list"),
    (dict[str, int], {1: 1}, "dict"),
    (Item, {"sku": "a"}, "dict"),
    (Point, {"x": 1}, "dict"),
    (Colour, "red", "str"),
    (datetime, "2026-01-02T00:00:00", "str"),
    (Shape, {"sides": 3, "more": 1}, "more"),
    (Shape, {"sides": "3"}, "sides"),
    (Annotated[int, Field(ge=0)], -1, "greater"),
    # Objects that pydantic itself takes on trust.
    (Item, Item.model_construct(sku="a", weight=float("nan")), "NaN"),
    (Item, Item.model_construct(sku=5), "JSON cannot carry"),
    (list[Item], [Item.model_construct(sku="a", weight=float("inf"))], "NaN"),
    (Point, Point(x=float("nan")), "NaN"),
    (Point, Point(x="far"), "JSON cannot carry"),
    (Item, BigItem(sku="a", size=3), "something else"),
    (list[Item], [BigItem(sku="a", size=3)], "something else"),
    (Box, Box(raw=b"\xff"), "JSON cannot carry"),
    # What JSON has no word for, where the type does not say what it is.
    (Any, (1, 2), "something else"),
    (Any, {1, 2}, "something else"),
    (object, Decimal(1), "something else"),
    (dict[str, Any], {"when": datetime(2026, 1, 1, tzinfo=UTC)}, "something else"),
    (dict[str, object], {"a": b"x"}, "something else"),
    (Any, {1: 2}, "something else"),
    (Any, Item(sku="a"), "something else"),
    (Any, Colour.RED, "something else"),
    (datetime | str, "2026-01-01T00:00:00", "something else"),
    (Item | None, {"sku": "a"}, "dict"),
    (list[Item], [{"sku": "a"}], "dict"),
    (dict[tuple[int, int], int], {(1, 2): 3}, ""),
    (Any, float("nan"), "NaN"),
    (Any, [{"a": float("inf")}], "NaN"),
    (Any, object(), "JSON cannot carry"),
    (Any, (i for i in iter(int, 1)), "generator"),
    (Any, len, "builtin_function_or_method"),
    (Any, 1j, ""),
    # Beyond the limits.
    (str, "\ud800", ""),
    (Any, {"\ud800": 1}, "surrogate"),
    (Item, Item(sku="a", tags={"\udfff"}), "surrogate"),
    (int, 10**320, "digits"),
    (Any, 10**5000, "digits"),
    (str, "x" * 5_000_000, "bytes"),
    (list[int], [0] * 3_000_000, "bytes"),
    (Any, ["x" * 5_000_000], "bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "value", "said"), REFUSED, ids=lambda value: type(value).__name__)
def test_a_result_that_would_not_come_back_the_same_is_refused(hint, value, said):
    function = returning(hint)
    with pytest.raises(ResultError) as caught:
        function.dump_result(value)
    assert said in str(caught.value)
    assert str(caught.value).startswith("function: ")
    assert caught.value.accepted is Acceptance.YES
    assert len(str(caught.value)) < 1000


def test_a_result_nests_as_deep_as_it_may():
    def nested(levels: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(levels - 1):
            value = [value]
        return value

    cyclic: list[Any] = []
    cyclic.append(cyclic)
    function = returning(Any)
    assert function.load_result(function.dump_result(nested(32))) == nested(32)
    for value in (nested(33), nested(100_000), cyclic):
        with pytest.raises(ResultError, match="32 levels"):
            function.dump_result(value)


def test_a_result_is_bounded_by_the_registry_s_limit():
    function = returning(str, result_bytes=10)
    assert function.dump_result("x" * 8) == '"xxxxxxxx"'
    with pytest.raises(ResultError, match="10 bytes"):
        function.dump_result("x" * 9)
    with pytest.raises(ResultError, match="10 bytes"):
        function.load_result('"xxxxxxxxx"')


@pytest.mark.parametrize(
    "text", ["", "{", '"5"', "5.5", "null", "NaN", "1e999", '{"a":1}', b"\xff", "5 5", "9" * 400, "[" * 100_000]
)
def test_text_that_is_no_result_of_the_type_is_refused(text):
    with pytest.raises(ResultError, match=r"cannot be read as the declared return type"):
        returning(int).load_result(text)


def test_a_private_state_that_would_be_lost_is_not_lost_quietly():
    box = Box()
    box._count = 5
    with pytest.raises(ResultError, match="something else"):
        returning(Box).dump_result(box)


def test_a_result_marked_sensitive_is_not_quoted_by_a_validator():
    def complain(value: str) -> str:
        msg = f"{value} is wrong"
        raise ValueError(msg)

    registry = Registry()

    @registry.function(sensitive_result=True)
    def hidden() -> Annotated[str, AfterValidator(complain)]: ...

    @registry.function
    def open_() -> Annotated[str, AfterValidator(complain)]: ...

    with pytest.raises(ResultError, match="value_error") as caught:
        hidden.dump_result("hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ResultError, match="plain is wrong"):
        open_.dump_result("plain")


def test_the_error_tells_no_value():
    with pytest.raises(ResultError) as caught:
        returning(int).dump_result("hunter2")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None
