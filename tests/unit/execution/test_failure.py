"""From an exception to data: nothing secret in it, and nothing that cannot be sent."""

import json
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from dispatcher.errors import (
    ArgumentLimitError,
    CallCancelled,
    CallTimedOut,
    GiveUp,
    InvalidArgumentsError,
    ResultError,
    UnknownFunctionError,
)
from dispatcher.execution.failure import MESSAGE_LIMIT, TRACEBACK_LIMIT, describe, secrets_of
from dispatcher.model.envelope import EnvelopeError
from dispatcher.model.outcome import ErrorKind


class BadlyMadeError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - so that it has a traceback
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("x"), ErrorKind.FUNCTION),
        (SystemExit(1), ErrorKind.FUNCTION),
        (CallCancelled("x"), ErrorKind.FUNCTION),
        (GiveUp("x"), ErrorKind.GAVE_UP),
        (CallTimedOut("x"), ErrorKind.TIMEOUT),
        (UnknownFunctionError("f"), ErrorKind.UNKNOWN_FUNCTION),
        (InvalidArgumentsError("f", []), ErrorKind.INVALID_ARGUMENTS),
        (ArgumentLimitError("f", "size", "x"), ErrorKind.INVALID_ARGUMENTS),
        (ResultError("x"), ErrorKind.RESULT),
        (EnvelopeError("x"), ErrorKind.ENVELOPE),
    ],
)
def test_the_kind_says_where_a_failure_came_from(error: BaseException, kind: ErrorKind) -> None:
    assert describe(error).kind is kind


def test_the_type_is_named_as_celery_finds_it() -> None:
    assert describe(ValueError()).type == "ValueError"
    assert describe(BadlyMadeError()).type == f"{__name__}.BadlyMadeError"
    assert describe(json.JSONDecodeError("x", "", 0)).type == "json.decoder.JSONDecodeError"


def test_a_traceback_shows_the_functions_frames_and_its_causes() -> None:
    def innermost() -> None:
        msg = "the cause"
        raise KeyError(msg)

    try:
        try:
            innermost()
        except KeyError as cause:
            msg = "the effect"
            raise ValueError(msg) from cause
    except ValueError as error:
        text = describe(error).traceback
    assert "innermost" in text
    assert "the cause" in text
    assert text.rstrip().endswith("ValueError: the effect")


def test_errors_of_our_own_checks_have_no_traceback() -> None:
    assert describe(raised(InvalidArgumentsError("f", []))).traceback == ""


def test_a_deep_traceback_keeps_its_innermost_frames_within_the_limit() -> None:
    def dig(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 100_000)
        dig(depth - 1)

    try:
        dig(200)
    except ValueError as error:
        info = describe(error)
    assert len(info.traceback) <= TRACEBACK_LIMIT
    assert len(info.message) == MESSAGE_LIMIT


def test_an_error_whose_text_cannot_be_made_is_described_all_the_same() -> None:
    info = describe(raised(BadlyMadeError()))
    assert "cannot be shown: RuntimeError" in info.message
    assert "BadlyMadeError" in info.traceback


def test_lone_surrogates_do_not_reach_the_wire() -> None:
    info = describe(raised(ValueError("a\ud800b")))
    assert info.message == "a?b"
    assert info.traceback.encode()


def test_a_function_with_odd_globals_is_described_all_the_same() -> None:
    names: dict[str, object] = {"__name__": None}
    exec("def odd(): raise ValueError('x')", names)
    with pytest.raises(ValueError, match="x") as caught:
        names["odd"]()  # type: ignore[operator]
    assert describe(caught.value).message == "x"


class TestSecrets:
    def test_they_are_hidden_in_message_and_traceback(self) -> None:
        info = describe(raised(ValueError("no card 4111-1111")), ["4111-1111"])
        assert info.message == "no card ***"
        assert "4111" not in info.traceback

    def test_one_that_stands_where_the_traceback_is_cut_is_hidden_too(self) -> None:
        secret = "s3cr3t-" * 20
        for shift in range(0, 160, 20):
            error = raised(ValueError(secret + "x" * (TRACEBACK_LIMIT - shift)))
            assert "s3cr3t" not in describe(error, [secret]).traceback

    def test_one_that_stands_where_the_message_is_cut_is_hidden_too(self) -> None:
        error = ValueError("x" * (MESSAGE_LIMIT - 3) + "hunter2")
        assert "hun" not in describe(error, ["hunter2"]).message

    def test_very_short_ones_are_not_looked_for(self) -> None:
        assert describe(ValueError("7 of 77"), ["7"]).message == "7 of 77"

    def test_values_are_found_however_deep_and_in_every_form_they_print_in(self) -> None:
        @dataclass
        class Card:
            number: str
            pins: list[int]

        class Login(BaseModel):
            user: str
            password: SecretStr

        values = {
            "open": "visible",
            "card": Card("4111-1111", [12345]),
            "login": Login(user="root", password=SecretStr("hunter2")),
            "more": {"amount": [Decimal("12.50")], "name": "Zoë", "none": None, "flag": True},
        }
        found = secrets_of(values, {"card", "login", "more", "absent"})
        assert {"4111-1111", "12345", "root", "hunter2", "12.50", "Zoë", "'Zo\\xeb'", "Decimal('12.50')"} <= set(found)
        assert "visible" not in found
        assert "True" not in found
        assert found == sorted(found, key=len, reverse=True), "the longest first, so that none is hidden in part"

    @given(st.text("0123456789Ж漢'\"\\", min_size=3, max_size=30), st.text("xyz \n", max_size=50))
    def test_a_secret_is_nowhere_in_what_is_sent(self, secret: str, around: str) -> None:
        said = f"{around}{secret}{around}{secret!r}{around}{secret!a}"
        info = describe(raised(ValueError(said)), secrets_of({"s": secret}, ["s"]))
        assert secret not in info.message
        assert secret not in info.traceback.replace(__file__, "")


@given(st.text(st.characters(), max_size=100))
def test_whatever_an_error_says_can_be_sent(text: str) -> None:
    info = describe(raised(ValueError(text)))
    assert json.loads(json.dumps([info.message, info.traceback])) == [info.message, info.traceback]
    assert (info.message + info.traceback).encode() or not text
