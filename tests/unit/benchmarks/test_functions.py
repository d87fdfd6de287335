"""Functions registered from what data sets say of them."""

import pytest

from benchmarks.selection.functions import from_labels, make_name, register, to_words
from benchmarks.selection.kinds import Spec
from dispatcher.registry.names import find_fault
from dispatcher.selection.card import card_of


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("book_flight", "book_flight"),
        ("alarm/set_alarm", "alarm.set_alarm"),
        ("PDF&URLTool", "PDF_URLTool"),
        ("what's up?", "what_s_up"),
        ("2nd.try", "f_2nd.try"),
        ("math.factorial", "math.factorial"),
        ("a//b..c:", "a.b.c"),
        ("celery", "f_celery"),
        ("天气", "function"),
        ("", "function"),
        ("x" * 80, "x" * 64),
        ("class", "class"),
    ],
)
def test_a_label_becomes_the_nearest_name_that_can_be_registered(label, name) -> None:
    assert make_name(label) == name
    assert find_fault(name) == ""


def test_two_labels_never_become_one_name() -> None:
    known = register(Spec(name=name, description="") for name in ("a b", "a_b", "a-b", "天", "气", "x" * 70, "x" * 71))
    assert known.names == {
        "a b": "a_b",
        "a_b": "a_b_2",
        "a-b": "a_b_3",
        "天": "function",
        "气": "function_2",
        "x" * 70: "x" * 64,
        "x" * 71: "x" * 62 + "_2",
    }
    assert len(known.registry) == 7


def test_a_function_that_comes_twice_is_registered_once() -> None:
    known = register([Spec(name="tea", description="Brews."), Spec(name="tea", description="Brews again.")])
    assert [(function.name, function.description) for function in known.registry] == [("tea", "Brews.")]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("alarm/set_alarm", "alarm set alarm"),
        ("BookRestaurant", "book restaurant"),
        ("w2", "w2"),
        ("PDFReader", "pdf reader"),
        ("天气/查询", "天气 查询"),
    ],
)
def test_a_label_is_described_by_its_words(label, words) -> None:
    assert to_words(label) == words
    known = from_labels([label])
    assert known.registry.get(known.names[label]).description == words


def parameters_of(parameters):
    known = register([Spec(name="f", description="Does it.", parameters=parameters)])
    return known.registry.get("f")


def test_a_schema_becomes_typed_parameters() -> None:
    function = parameters_of(
        {
            "type": "dict",
            "properties": {
                "count": {"type": "integer", "description": "how many"},
                "ratio": {"type": "float"},
                "name": {"type": "string", "description": "of whom"},
                "loud": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "point": {"type": "tuple", "items": {"type": "float"}},
                "more": {"type": "dict", "properties": {"deep": {"type": "integer"}}},
                "unit": {"type": "string", "enum": ["metric", "imperial"]},
                "any": {"type": "any"},
                "either": {"type": ["string", "null"]},
            },
            "required": ["count", "ratio", "name", "loud", "tags", "point", "more", "unit", "any", "either"],
        }
    )
    properties = function.parameters_schema["properties"]
    assert properties["count"] == {"type": "integer", "description": "how many"}
    assert properties["ratio"] == {"type": "number"}
    assert properties["name"] == {"type": "string", "description": "of whom"}
    assert properties["loud"] == {"type": "boolean"}
    assert properties["tags"] == {"type": "array", "items": {"type": "string"}}
    assert properties["point"] == {"type": "array", "items": {"type": "number"}}
    assert properties["more"]["type"] == "object"
    assert properties["unit"] == {"type": "string", "enum": ["metric", "imperial"]}
    assert properties["any"] == {}
    assert properties["either"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert len(function.parameters_schema["required"]) == 10


def test_a_selector_reads_the_parameters() -> None:
    card = card_of(
        parameters_of(
            {
                "properties": {
                    "count": {"type": "integer", "description": "how many"},
                    "unit": {"type": "string", "enum": ["metric", "imperial"], "description": "of measure"},
                },
                "required": ["count", "unit"],
            }
        )
    )
    assert card.parameters == (("count", "how many"), ("unit", "of measure"))
    assert card.choices == ("metric", "imperial")
    assert card.numbers == 1


def test_what_is_not_required_may_be_left_out() -> None:
    function = parameters_of(
        {
            "properties": {"a": {"type": "integer"}, "b": {"type": "string", "default": "x"}, "c": {"type": "null"}},
            "required": ["a"],
        }
    )
    assert function.parameters_schema["required"] == ["a"]
    assert function.parameters_schema["properties"]["b"] == {"type": "string", "default": "x"}
    function.bind({"a": 1})
    function.bind({"a": 1, "b": "y", "c": None})


def test_parameters_that_python_has_no_word_for_are_renamed() -> None:
    function = parameters_of(
        {"properties": {name: {"type": "string"} for name in ("class", "from-date", "from date", "2nd", "")}}
    )
    assert list(function.parameters_schema["properties"]) == ["class_", "from_date", "from_date_", "p_2nd", "p_"]


@pytest.mark.parametrize("parameters", [{}, {"properties": None}, {"properties": {"a": 7}, "required": "a"}])
def test_what_is_no_schema_is_taken_for_an_empty_one(parameters) -> None:
    assert "required" not in parameters_of(parameters).parameters_schema
