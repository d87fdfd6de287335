"""Binding: the one way from JSON text and from Python data to a call, and back to what the function is called with."""

import dataclasses
import enum
import json
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dispatcher.errors import Acceptance, ArgumentLimitError, CallRefusedError, InvalidArgumentsError
from dispatcher.model.limits import Limits
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1


class Row(BaseModel):
    sku: str
    amount: Decimal = Decimal(1)
    tags: set[str] = set()


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0
    label: bytes = b""


registry = Registry()


@registry.function
def invoice(customer_id: int, amount: Decimal, note: str = "", rows: list[Row] = []) -> None: ...  # noqa: B006


@registry.function
def echo(value: Any) -> None: ...


@registry.function
def typed(
    colour: Colour = Colour.RED,
    size: Size = Size.SMALL,
    mode: Literal["fast", "slow"] = "fast",
    day: date | None = None,
    moment: datetime | None = None,
    span: timedelta = timedelta(0),
    key: UUID | None = None,
    raw: bytes = b"",
    price: Decimal = Decimal(0),
    ratio: float = 0.0,
    point: Point | None = None,
    names: frozenset[str] = frozenset(),
    pair: tuple[int, str] | None = None,
    table: dict[int, list[str]] = {},  # noqa: B006
    either: int | str = 0,
    flag: bool = False,
) -> None: ...


def refused(function: Function[..., Any], arguments: Any) -> CallRefusedError:
    begun = time.process_time()
    with pytest.raises(CallRefusedError) as caught:
        function.bind(arguments)
    # Fifty milliseconds are promised; far more here, since test machines are shared.
    assert time.process_time() - begun < 2
    assert caught.value.accepted is Acceptance.NO
    assert str(caught.value).startswith(f"{function.name}: ")
    assert len(str(caught.value)) < 5000
    return caught.value


# --- one canonical text -----------------------------------------------------------------------------------------


def test_a_call_holds_the_arguments_that_were_given_as_compact_json_in_declared_order():
    call = invoice.bind('{ "note": "é", "amount": "12.50", "customer_id": 7 }')
    assert (call.function, call.version, call.call_id) == ("invoice", "1", None)
    assert call.arguments == '{"customer_id":7,"amount":"12.50","note":"é"}'
    assert invoice.bind({"customer_id": 1, "amount": 2}, call_id="c1").call_id == "c1"


def test_every_way_of_binding_gives_equal_calls():
    wanted = invoice.bind('{"customer_id":7,"amount":"12.50","rows":[{"sku":"a","tags":["x","y"]}]}')
    row = {"sku": "a", "tags": {"y", "x"}}
    same = [
        invoice.call(7, Decimal("12.50"), rows=[Row(sku="a", tags={"y", "x"})]),
        invoice.call(amount=Decimal("12.50"), customer_id=7, rows=[row]),
        invoice.bind({"rows": (row,), "amount": Decimal("12.50"), "customer_id": 7}),
        invoice.bind(MappingProxyType({"rows": [row], "amount": "12.50", "customer_id": 7})),
        invoice.bind(b'{"amount":"12.50","rows":[{"tags":["y","x"],"sku":"a"}],"customer_id":7}'),
        registry.bind("invoice", {"amount": "12.50", "customer_id": 7, "rows": [row]}),
    ]
    assert [call.arguments for call in same] == [wanted.arguments] * len(same)
    assert {call.digest for call in same} == {wanted.digest}


def test_binding_the_canonical_text_again_changes_nothing():
    call = typed.bind(
        {
            "span": timedelta(days=1, microseconds=1),
            "ratio": 1,
            "raw": b"\xff\x00",
            "names": {"b", "a", "c"},
            "table": {2: ["x"], 1: []},
            "moment": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        }
    )
    assert typed.bind(call.arguments) == call
    assert '"names":["a","b","c"]' in call.arguments


def test_a_default_that_is_left_out_stays_out_and_one_that_is_given_stays_in():
    assert invoice.call(1, Decimal(2)).arguments == '{"customer_id":1,"amount":"2"}'
    assert invoice.call(1, Decimal(2), "").arguments == '{"customer_id":1,"amount":"2","note":""}'
    assert invoice.load_arguments('{"customer_id":1,"amount":"2"}') == ((), {"customer_id": 1, "amount": Decimal(2)})


def test_arguments_are_loaded_as_the_types_the_function_declares():
    values = {
        "colour": Colour.BLUE,
        "size": Size.SMALL,
        "mode": "slow",
        "day": date(2026, 1, 2),
        "moment": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "span": timedelta(days=-1, seconds=5),
        "key": UUID(int=5),
        "raw": bytes(range(256)),
        "price": Decimal("1E+3"),
        "ratio": 0.1,
        "point": Point(x=1.0, label=b"\xff"),
        "names": frozenset({"a", "b"}),
        "pair": (1, "x"),
        "table": {1: ["a"], -2: []},
        "either": "5",
        "flag": True,
    }
    args, kwargs = typed.load_arguments(typed.bind(values).arguments)
    assert args == ()
    assert kwargs == values
    assert {name: type(value) for name, value in kwargs.items()} == {
        name: type(value) for name, value in values.items()
    }


# --- parameters of every kind -----------------------------------------------------------------------------------


def test_parameters_may_have_any_name():
    @Registry().function
    def odd(
        schema: int,
        json: int,
        copy: int,
        model_config: int,
        model_fields: int,
        _private: int,
        __dunder__: int,
        self_: int,
        größe: int,  # noqa: PLC2401
        values: int = 0,
    ) -> list[int]:
        return [schema, json, copy, model_config, model_fields, _private, __dunder__, self_, größe, values]

    call = odd.call(1, 2, 3, 4, 5, 6, 7, 8, größe=9)
    args, kwargs = odd.load_arguments(call.arguments)
    assert odd(*args, **kwargs) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert list(odd.parameters_schema["properties"])[:4] == ["schema", "json", "copy", "model_config"]


def test_positional_only_and_keyword_only_parameters_work():
    @Registry().function
    def mixed(a: int, b: int = 2, c: int = 3, /, d: int = 4, *, e: int = 5) -> list[int]:
        return [a, b, c, d, e]

    def run(text: str) -> list[int]:
        args, kwargs = mixed.load_arguments(text)
        return mixed(*args, **kwargs)

    assert run(mixed.call(1).arguments) == [1, 2, 3, 4, 5]
    assert run(mixed.call(1, 7, d=8, e=9).arguments) == [1, 7, 3, 8, 9]
    assert run('{"c":9,"a":1}') == [1, 2, 9, 4, 5]
    assert mixed.load_arguments('{"a":1,"c":9}') == ((1, 2, 9), {})
    with pytest.raises(InvalidArgumentsError, match="takes 4 positional arguments, not 5"):
        mixed.call(1, 2, 3, 4, 5)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgumentsError, match="a: is given twice"):
        mixed.call(1, a=2)


def test_a_function_without_parameters_takes_an_empty_object():
    @Registry().function
    def ping() -> str:
        return "pong"

    assert ping.call().arguments == ping.bind("{}").arguments == "{}"
    assert ping.load_arguments("{}") == ((), {})
    with pytest.raises(InvalidArgumentsError, match="which takes none"):
        ping.bind('{"a":1}')


def test_constraints_of_annotations_hold():
    @Registry().function
    def count(text: Annotated[str, Field(max_length=3)], limit: Annotated[int, Field(ge=1)] = 1) -> None: ...

    assert count.bind('{"text":"abc"}').arguments == '{"text":"abc"}'
    error = refused(count, '{"text":"abcd","limit":0}')
    assert [issue.location for issue in error.issues] == ["text", "limit"]


# --- what does not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "issues"),
    [
        ("{}", [("customer_id", "missing"), ("amount", "missing")]),
        ('{"customer_id":true,"amount":1}', [("customer_id", "int_type")]),
        ('{"customer_id":"5","amount":1}', [("customer_id", "int_type")]),
        ('{"customer_id":5.0,"amount":1}', [("customer_id", "int_type")]),
        ('{"customer_id":null,"amount":1}', [("customer_id", "int_type")]),
        ('{"customer_id":5,"amount":true}', [("amount", "decimal_type")]),
        ('{"customer_id":5,"amount":"x"}', [("amount", "decimal_parsing")]),
        ('{"customer_id":5,"amount":"NaN"}', [("amount", "finite_number")]),
        ('{"customer_id":5,"amount":1,"note":5}', [("note", "string_type")]),
        ('{"customer_id":5,"amount":1,"extra":5}', [("extra", "extra_forbidden")]),
        ('{"customer_id":5,"amount":1,"Note":""}', [("Note", "extra_forbidden")]),
        ('{"customer_id":5,"amount":1,"rows":{}}', [("rows", "list_type")]),
        (
            '{"customer_id":5,"amount":1,"rows":[{"sku":"a"},{"sku":"b","amount":[]}]}',
            [("rows.1.amount", "decimal_type")],
        ),
        ('{"customer_id":5,"amount":1,"rows":[{"sku":"a","zz":1}]}', [("rows.0.zz", "extra_forbidden")]),
        (
            '{"customer_id":"a","rows":[{}]}',
            [("customer_id", "int_type"), ("amount", "missing"), ("rows.0.sku", "missing")],
        ),
        ("[]", [("", "dict_type")]),
        ('"x"', [("", "dict_type")]),
        ("null", [("", "dict_type")]),
        ("5", [("", "dict_type")]),
    ],
)
def test_what_does_not_fit_is_listed_by_place_and_kind(arguments, issues):
    error = refused(invoice, arguments)
    assert isinstance(error, InvalidArgumentsError)
    assert [(issue.location, issue.kind) for issue in error.issues] == issues
    data = json.loads(arguments)
    if isinstance(data, dict):  # Python data goes the same way
        again = refused(invoice, data)
        assert again.issues == error.issues


def test_an_unknown_argument_is_answered_with_the_known_ones():
    error = refused(invoice, {"customer": 5, "customer_id": 5, "amount": 1})
    assert (
        str(error)
        == "invoice: customer: is not an argument of this function, which takes customer_id, amount, note, rows"
    )


def test_models_that_ask_for_more_keys_get_them():
    @Registry().function
    def take(item: Open) -> None: ...

    assert take.load_arguments('{"item":{"x":1,"more":2}}')[1]["item"].more == 2


def test_many_issues_are_cut_short():
    @Registry().function
    def take(table: dict[str, int]) -> None: ...

    error = refused(take, {"table": {str(i): "x" for i in range(100)}})
    assert len(error.issues) == 21
    assert error.issues[-1].problem == "and 80 more"
    error = refused(take, {"table": {str(i): "x" for i in range(20_000)}})
    assert [issue.kind for issue in error.issues] == ["too_many_issues"]


def test_a_list_full_of_faults_is_refused_at_the_first():
    error = refused(invoice, '{"rows":[' + ",".join(["[]"] * 80_000) + "]}")
    assert "rows.0" in {issue.location for issue in error.issues}


def test_a_long_name_is_cut_in_the_message():
    assert len(str(refused(invoice, {"k" * 100_000: 1}))) < 500


# --- limits -----------------------------------------------------------------------------------------------------


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def bomb() -> list[Any]:
    value: list[Any] = ["x"]
    for _ in range(30):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (float("nan"), "number"),
        ([{"a": float("inf")}], "number"),
        ((float("-inf"),), "number"),
        (Decimal("NaN"), "number"),
        (Point(x=float("nan")), "number"),
        (10**320, "integer"),
        (-(10**5000), "integer"),
        ({10**5000: 1}, "integer"),
        ("\ud800", "text"),
        ({"\udfff": 1}, "text"),
        (["a\ud83d"], "text"),
        (nested(32), "depth"),
        (nested(100_000), "depth"),
        (cyclic(), "depth"),
        (bomb(), "size"),
        ("x" * 257 * 1024, "size"),
        ("é" * 200 * 1024, "size"),
        ("x" * 20_000_000, "size"),
        (b"x" * 200 * 1024, "size"),
        ([0] * 5_000_000, "size"),
        (dict.fromkeys(range(100_000)), "size"),
        ({1: "a", "1": "b"}, "duplicate"),
        ({(1, 2): 3}, "type"),
        ({None: 3}, "type"),
        (object(), "type"),
        ([range(10**9)], "type"),
        ((i for i in iter(int, 1)), "type"),
        (len, "type"),
        (int, "type"),
        (memoryview(b"x"), "type"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) or len(value) > 9 else ascii(value),
)
def test_python_data_that_json_cannot_carry_is_refused_before_it_is_written(value, kind):
    error = refused(echo, {"value": value})
    assert isinstance(error, ArgumentLimitError)
    assert error.kind == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"value":NaN}', "number"),
        ('{"value":-Infinity}', "number"),
        ('{"value":1e999}', "number"),
        ('{"value":' + "1" * 5000 + "}", "integer"),
        (r'{"value":"\ud800"}', "text"),
        ('{"value":"\ud800"}', "text"),
        (b'{"value":"\xff"}', "text"),
        ('{"value":1,"value":1}', "duplicate"),
        ('{"value":[{"a":1,"a":1}]}', "duplicate"),
        ('{"value":' + "[" * 32 + "]" * 32 + "}", "depth"),
        ("[" * 100_000 + "]" * 100_000, "depth"),
        ('{"value":' * 20_000, "depth"),
        ('{"value":"' + "x" * 257 * 1024 + '"}', "size"),
        (b'{"value":"' + b"x" * 20_000_000 + b'"}', "size"),
        (" " * 300_000 + "{}", "size"),
        ("", "syntax"),
        ("{'value':1}", "syntax"),
        ("{}{}", "syntax"),
        (bytearray(b"{}"), "type"),
        (None, "type"),
        ([("value", 1)], "type"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_text_beyond_the_limits_is_refused_and_so_it_is_when_it_is_loaded(text, kind):
    error = refused(echo, text)
    assert isinstance(error, ArgumentLimitError)
    assert error.kind == kind
    if isinstance(text, str | bytes):
        with pytest.raises(ArgumentLimitError) as caught:
            echo.load_arguments(text)
        assert caught.value.kind == kind


def test_what_is_just_within_the_limits_passes():
    for value in [nested(31), 10**320 - 1, -(10**320 - 1), "x" * (256 * 1024 - 12), [0] * 131_000, "\0", "\U0001f600"]:
        call = echo.bind({"value": value})
        assert echo.load_arguments(call.arguments) == ((), {"value": value})
    assert len(echo.bind({"value": "x" * (256 * 1024 - 12)}).arguments) == 256 * 1024


def test_the_canonical_text_keeps_the_limit_too():
    small = Registry(limits=Limits(arguments_bytes=40))

    @small.function
    def floats(values: list[float]) -> None: ...

    assert floats.bind('{"values":[1,2]}').arguments == '{"values":[1.0,2.0]}'
    error = refused(floats, '{"values":[1,2,3,4,5,6,7,8,9,1,2,3]}')
    assert error.kind == "size"  # each of them grows by two characters


def test_the_worker_checks_again():
    with pytest.raises(InvalidArgumentsError):
        invoice.load_arguments('{"customer_id":"5","amount":1}')
    with pytest.raises(InvalidArgumentsError):
        invoice.load_arguments('{"customer_id":5,"amount":1,"extra":1}')


# --- what must not be told --------------------------------------------------------------------------------------


def test_no_message_tells_a_value():
    @Registry().function
    def take(count: int, when: datetime, mode: Literal["a", "b"], key: UUID, rows: list[int]) -> None: ...

    value = "hunter2-hunter2"
    error = refused(take, dict.fromkeys(["count", "when", "mode", "key", "rows"], value))
    assert len(error.issues) == 5
    assert "hunter2" not in str(error)
    assert "hunter2" not in repr(error.issues)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_validator_s_message_may_quote_an_argument_but_never_a_sensitive_one():
    def complain(value: str) -> str:
        msg = f"{value} is too simple"
        raise ValueError(msg)

    class Secret(BaseModel):
        inner: Annotated[str, AfterValidator(complain)]

    @Registry().function(sensitive=["token", "nested", "table"])
    def take(
        token: Annotated[str, AfterValidator(complain)],
        nested: Secret,
        table: dict[str, int],
        note: Annotated[str, AfterValidator(complain)],
    ) -> None: ...

    error = refused(
        take, {"token": "hunter2", "nested": {"inner": "hunter2"}, "table": {"hunter2": "hunter2"}, "note": "plain"}
    )
    assert "hunter2" not in str(error)
    assert [(i.location, i.problem) for i in error.issues[:3]] == [
        ("token", "is not valid (value_error)"),
        ("nested", "is not valid (value_error)"),
        ("table", "is not valid (int_type)"),
    ]
    assert "plain is too simple" in error.issues[3].problem
    assert refused(take, {}).issues[0].problem == "is required"


# --- what people see --------------------------------------------------------------------------------------------


def test_sensitive_arguments_are_shown_as_stars():
    @Registry().function(sensitive=["token", "nested"])
    def take(token: str, nested: dict[str, Any], note: str = "") -> None: ...

    call = take.call("hunter2", {"deep": ["hunter2"]}, note="é")
    assert take.show(call.arguments) == '{"token":"***","nested":"***","note":"é"}'
    assert take.show(call.arguments, limit=10) == '{"token":…'
    assert len(take.show(take.call("x", {}, "y" * 5000).arguments)) == 1000


@pytest.mark.parametrize(
    "odd",
    [
        None,
        5,
        b"hunter2",
        {"token": "hunter2"},
        "hunter2",
        "[" * 100_000,
        "hunter2" * 10**6,
        '["hunter2"]',
        '{"token":"hunter2\ud800"}',
        '{"token":"hunter2"',
        "",
        '{"\ud800":1}',
        '{"a":NaN}',
    ],
)
@pytest.mark.parametrize("limit", [1000, 10, 1, 0, -5])
def test_showing_never_fails_and_never_tells_what_it_cannot_read(odd, limit):
    @Registry().function(sensitive=["token"])
    def take(token: str) -> None: ...

    @Registry().function
    def harmless(note: str) -> None: ...

    shown = take.show(odd, limit)
    assert "hunter2" not in shown
    for text in (shown, harmless.show(odd, limit)):
        assert len(text) <= max(limit, 0)
        text.encode()


def test_arguments_without_anything_sensitive_are_shown_as_they_are():
    assert echo.show('{"value":1}') == '{"value":1}'
    assert echo.show('{"value":"' + "x" * 2000 + '"}') == '{"value":"' + "x" * 989 + "…"


class TestValuesThatJsonWritesAsText:
    @pytest.mark.parametrize(
        "value", [b"abc", bytearray(b"abc"), date(2026, 1, 2), Decimal("1.50"), UUID(int=1), timedelta(seconds=1)]
    )
    def test_they_are_no_text_for_a_parameter_that_wants_text_or_says_nothing(self, value: object) -> None:
        registry = Registry()

        @registry.function
        def read(text: str = "", anything: object = None, rows: list[dict[str, str]] = []) -> None:  # noqa: B006
            """Read."""

        for arguments, location in (
            ({"text": value}, "text"),
            ({"anything": value}, "anything"),
            ({"rows": [{"a": "b"}, {"a": value}]}, "rows.1.a"),
        ):
            with pytest.raises(InvalidArgumentsError) as refused:
                registry.bind("read", arguments)
            assert [issue.location for issue in refused.value.issues] == [location]

    def test_a_parameter_that_declares_their_type_gets_them_back(self) -> None:
        registry = Registry()

        @registry.function
        def read(raw: bytes, day: date, amount: Decimal, rows: list[dict[str, date]]) -> None:
            """Read."""

        given = {"raw": b"abc", "day": date(2026, 1, 2), "amount": Decimal("1.50"), "rows": [{"a": date(2026, 1, 2)}]}
        call = registry.bind("read", given)
        assert registry.get("read").load_arguments(call.arguments) == ((), given)
