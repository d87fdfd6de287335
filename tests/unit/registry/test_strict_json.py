"""The trust boundary itself: what text and what Python data it lets through."""

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.registry import strict_json
from dispatcher.registry.strict_json import Carried, JsonRefusedError, StrictJson, is_deeper

STRICT = StrictJson(max_bytes=1024, depth=4, integer_digits=20)


@pytest.mark.parametrize(
    ("text", "deeper"),
    [
        ("", False),
        ("1", False),
        ("[[[[]]]]", False),
        ("[[[[[]]]]]", True),
        ('{"a":{"b":[{"c":1}]}}', False),
        ('{"a":{"b":[{"c":[]}]}}', True),
        ("[[],[],[],[],[],[]]", False),
        ("[[[],{}],[{},[]],[],{}]", False),
        ('["[[[[[[[["]', False),
        (r'["\"[[[[[[[["]', False),
        (r'["\\",[[[[]]]]]', True),
        ('["]]]]",[[[[]]]]]', True),
        ("[" * 100_000, True),
        ("[" * 100_000 + "]" * 100_000, True),
    ],
)
def test_depth_is_known_before_parsing(text, deeper):
    assert is_deeper(text.encode(), 4) is deeper


@pytest.mark.parametrize(
    "text", ["][" * 50_000, "]" * 100_000, '"' * 99_999, '[[[[["' + '\\"' * 50_000, '[[[[["' + "\\" * 99_999]
)
def test_text_that_is_not_json_is_measured_in_linear_time(text):
    begun = time.process_time()
    is_deeper(text.encode(), 4)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x" * 1025, "size"),
        ("é" * 600, "size"),
        (b"x" * 1025, "size"),
        ("[[[[[]]]]]", "depth"),
        ("[" * 1000, "depth"),
        ("9" * 21, "integer"),
        ("[-" + "9" * 21 + "]", "integer"),
        ("NaN", "number"),
        ("[Infinity]", "number"),
        ("[-Infinity]", "number"),
        ("1e999", "number"),
        ("-1E999", "number"),
        ('{"a":1,"a":1}', "duplicate"),
        (r'{"a":1,"\u0061":1}', "duplicate"),
        ('[{"b":{"a":1,"c":2,"a":1}}]', "duplicate"),
        ('"\ud800"', "text"),
        (r'"\ud800"', "text"),
        (r'{"\udfff":1}', "text"),
        (r'["\ude00\ud83d"]', "text"),
        (b'"\xff"', "text"),
        (b'"\xed\xa0\x80"', "text"),
        (b'"\xc0\x80"', "text"),
        ("", "syntax"),
        ("{", "syntax"),
        ("[1,]", "syntax"),
        ("{'a':1}", "syntax"),
        ("01", "syntax"),
        ("1 2", "syntax"),
        ("\ufeff{}", "syntax"),
        ('"\x01"', "syntax"),
        (b"\x00", "syntax"),
        ("undefined", "syntax"),
    ],
)
def test_text_is_refused_by_kind(text, kind):
    with pytest.raises(JsonRefusedError) as caught:
        STRICT.check_text(text)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        " [1, 2.5, true, null] ",
        '"\U0001f600"',
        r'"\ud83d\ude00"',
        r'"\u0000"',
        "9" * 20,
        "-" + "9" * 20,
        "1e308",
        "[[[[]]]]",
        '{"a":{"a":1}}',
    ],
)
def test_strict_json_passes(text):
    assert STRICT.check_text(text) == text
    assert STRICT.check_text(text.encode()) == text
    json.loads(text)


@pytest.mark.parametrize("text", ["x" * 1025, "[[[[[]]]]]", "9" * 21, "[NaN]", "[-Infinity]", "1" * 1024, r'"\ud800"'])
def test_what_a_serializer_wrote_is_refused_like_other_text(text):
    with pytest.raises(JsonRefusedError) as other:
        STRICT.check_text(text.encode())
    with pytest.raises(JsonRefusedError) as caught:
        STRICT.check_written(text.encode())
    assert (caught.value.kind, str(caught.value)) == (other.value.kind, str(other.value))


@pytest.mark.parametrize("text", ['"NaN"', '{"a":[1,"\u00e9"]}', "[[[[]]]]", "9" * 20, r'"\u001f"', "1" * 20 + ".5"])
def test_what_a_serializer_wrote_passes_like_other_text(text):
    assert STRICT.check_written(text.encode()) == text


def test_a_problem_never_quotes_the_text():
    for text in ['{"secret":1,"secret":2}', '["secret', "secret", '{"a": secret}', b'"secret\xff"']:
        with pytest.raises(JsonRefusedError) as caught:
            STRICT.check_text(text)
        assert "secret" not in str(caught.value)


def test_python_data_is_told_apart_by_what_json_has_words_for():
    assert STRICT.check_value({"a": [1, 2.5, "x", None, True, {}]}) is Carried.NATIVE
    assert STRICT.check_value({"a": (1, 2)}) is Carried.CONVERTED
    assert STRICT.check_value([b"x"]) is Carried.CONVERTED
    assert STRICT.check_value({1: 2}) is Carried.OPAQUE
    assert STRICT.check_value([{"a": {"b": object()}}]) is Carried.OPAQUE


def test_shared_data_is_counted_as_often_as_it_would_be_written():
    part: object = ["x" * 8] * 8
    for _ in range(3):
        part = [part] * 8
    with pytest.raises(JsonRefusedError) as caught:
        STRICT.check_value(part)
    assert caught.value.kind in {"size", "depth"}


def test_a_dict_of_its_own_kind_cannot_hold_up_the_walk():
    class Endless(dict):
        def values(self):
            while True:
                yield 1

    assert STRICT.check_value(Endless(a=1)) is Carried.NATIVE


def judged(text):
    """What is said of a text: the kind of what is wrong with it."""
    try:
        assert StrictJson(max_bytes=1024, depth=4, integer_digits=100).check_text(text) == text
    except JsonRefusedError as error:
        return error.kind
    return None


@given(
    st.lists(st.sampled_from(["{", "}", "[", "]", ",", ":", '"a"', "1", "-0", "1e999", "NaN", "\\u00e4", " ", "tru"]))
)
@example(['{"a":1,"a":2}'])
@example([" 1"])
@example(["1 "])
@example(["1 2"])
@example(['"\\ud800"'])
@example(['"\ud800"'])
@example(["1e400"])
@example(["-Infinity"])
@example([""])
def test_short_text_is_judged_alike_at_once_and_at_length(parts):
    text = "".join(parts)
    short = judged(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "_reads_at_once", lambda _: False)
        assert judged(text) == short


def test_short_text_is_read_at_once_and_long_numbers_are_counted(monkeypatch):
    monkeypatch.setattr(STRICT, "_decoder", None)
    assert STRICT.check_text('{"a":[1.5,"ä"]}') == '{"a":[1.5,"ä"]}'
    monkeypatch.undo()
    with pytest.raises(JsonRefusedError, match="20 digits"):
        STRICT.check_text("1" * 21)
