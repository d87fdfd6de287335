"""Arguments as people type them."""

import codecs
import io
import sys
from datetime import timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import Registry
from dispatcher.cli.arguments import read_arguments, read_object
from dispatcher.cli.options import duration

registry = Registry()


@registry.function
def buy(item: str, count: int = 1, tags: list[str] | None = None, note: str | None = None) -> str:
    """Buy something."""
    return item


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ([], {}),
        (["item=tea", "count=3"], {"item": "tea", "count": 3}),
        (["count=three"], {"count": "three"}),
        (['tags=["a", "b"]'], {"tags": ["a", "b"]}),
        (["item=a=b"], {"item": "a=b"}),
        (["item="], {"item": ""}),
        (["item=2024"], {"item": "2024"}),
        (["item=true"], {"item": "true"}),
        (['item="2024"'], {"item": "2024"}),
        (["note=null"], {"note": None}),
        (["other=1"], {"other": 1}),
    ],
)
def test_values_are_json_where_they_can_be_and_the_parameter_is_no_text(words, arguments) -> None:
    assert read_arguments(buy, words) == arguments


def test_a_json_object_goes_on_as_text_so_that_the_strict_reading_applies() -> None:
    text = '{"item": "tea", "item": "milk"}'
    assert read_arguments(buy, [text]) == text


@pytest.fixture
def type_in(monkeypatch):
    """Puts bytes on standard input, under a locale that takes them for something else."""

    def put(given: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="latin-1"))

    return put


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_dash_reads_standard_input_as_utf_8(type_in, mark: bytes) -> None:
    type_in(mark + '{"item": "thé 茶"}'.encode())
    assert read_arguments(buy, ["-"]) == '{"item": "thé 茶"}'


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_standard_input_in_another_encoding_is_refused(type_in, encoding: str) -> None:
    type_in('{"item": "thé"}'.encode(encoding))
    with pytest.raises(typer.BadParameter, match="standard input is not UTF-8"):
        read_arguments(buy, ["-"])


def test_without_standard_input_a_dash_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(typer.BadParameter, match="there is no standard input"):
        read_arguments(buy, ["-"])


@given(st.text(min_size=1).filter(lambda text: text.strip() != ""))
def test_any_text_reaches_a_text_parameter_as_it_is_unless_it_is_a_json_string(text: str) -> None:
    if text.strip().startswith('"'):
        return
    assert read_arguments(buy, [f"item={text}"]) == {"item": text}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"text"'])
def test_an_option_for_arguments_takes_an_object_only(text) -> None:
    with pytest.raises(typer.BadParameter, match="must be a JSON object"):
        read_object(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("1.5s", 1.5), ("250ms", 0.25), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), (" 7 ", 7), ("0", 0)],
)
def test_a_duration_is_read(text, seconds) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1,5s", "1x", "nan", "inf", "1h 30m", "1e3"])
def test_what_is_no_duration_is_refused_with_examples(text) -> None:
    with pytest.raises(typer.BadParameter, match="write 30s, 250ms, 5m, 1h30m or 2d"):
        duration(text)
