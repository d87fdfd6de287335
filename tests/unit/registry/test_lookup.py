"""Finding a function by name, and what is said where there is none."""

import time

import pytest

from dispatcher.errors import Acceptance, UnknownFunctionError
from dispatcher.registry.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    registry = Registry()

    @registry.function(name="text.count_words", aliases=["words"])
    def count_words(text: str) -> int: ...

    @registry.function
    def send_invoice(customer_id: int) -> None: ...

    return registry


@pytest.mark.parametrize(
    ("name", "near", "hint"),
    [
        ("send_invoce", "send_invoice", ""),
        ("SEND_INVOICE", "send_invoice", ""),
        ("sendInvoice", "send_invoice", ""),
        ("count_words", "text.count_words", ""),
        ("text.count", "text.count_words", ""),
        ("word", "words", ""),
        ("s\u0435nd_invoice", "send_invoice", "CYRILLIC SMALL LETTER IE, which looks like"),
        ("send_inv\u03bfice", "send_invoice", "GREEK SMALL LETTER OMICRON"),
        ("\uff53end_invoice", "send_invoice", "FULLWIDTH"),
        ("send\u200b_invoice", "send_invoice", "ZERO WIDTH SPACE"),
        (" send_invoice", "send_invoice", "SPACE"),
        ("send_invoice\n", "send_invoice", "U+000A"),
        ("send_invoice\0", "send_invoice", "U+0000"),
        ("send_invoice\ud800", "send_invoice", "U+D800"),
        ("__class__", None, "underscore"),
        ("text.__class__", None, "underscore"),
        ("_found", None, "underscore"),
        ("bind", None, ""),
        ("os.system", None, ""),
        ("celery.backend_cleanup", None, ""),
        ("", None, "empty"),
        ("\u0435" * 10_000_000, None, "10,000,000 characters"),
        ("a" * 129, None, "129 characters"),
        (None, None, "text"),
        (5, None, "text"),
        (["send_invoice"], None, "text"),
        (b"send_invoice", None, "text"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_an_unknown_name_is_refused_with_what_may_have_been_meant(registry, name, near, hint):
    assert name not in registry
    for look in (registry.get, lambda name: registry.bind(name, "{}")):
        begun = time.process_time()
        with pytest.raises(UnknownFunctionError) as caught:
            look(name)
        assert time.process_time() - begun < 2
        error = caught.value
        assert error.accepted is Acceptance.NO
        assert hint in str(error)
        assert len(str(error)) < 1000
        str(error).encode("ascii")
        if near is not None:
            assert near in error.near


def test_a_name_is_found_as_it_is_written_or_by_an_alias(registry):
    function = registry.get("text.count_words")
    assert registry.get("words") is function
    assert "words" in registry
    assert registry.bind("words", {"text": "a b"}).function == "text.count_words"


def test_looking_for_near_names_is_quick_among_thousands():
    registry = Registry()

    def one() -> None: ...

    for index in range(1000):
        registry.function(name=f"group_{index}.function_{index}")(one)
    begun = time.process_time()
    with pytest.raises(UnknownFunctionError) as caught:
        registry.get("group_77.functoin_77")
    assert time.process_time() - begun < 3
    assert "group_77.function_77" in caught.value.near
