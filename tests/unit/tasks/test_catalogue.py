"""What holds for each function of the catalogue."""

import re

import pytest

from dispatcher import Cascade
from tasks import keyword_rules, registry

FUNCTIONS = pytest.mark.parametrize("function", list(registry), ids=lambda function: function.name)
SELECTOR = Cascade(registry, keyword_rules)
HAN = re.compile("[\u4e00-\u9fff]")


def test_there_are_enough_functions_to_choose_from():
    assert len(registry) >= 30
    assert sum(function.is_async for function in registry) >= 2


@FUNCTIONS
def test_each_function_has_examples_in_english_and_chinese(function):
    chinese = [example for example in function.options.examples if HAN.search(example)]
    assert len(chinese) >= 2
    assert len(function.options.examples) - len(chinese) >= 2


@FUNCTIONS
def test_each_argument_is_described(function):
    properties = function.parameters_schema.get("properties", {})
    assert all(argument.get("description") for argument in properties.values())
    assert function.description


@FUNCTIONS
def test_each_example_speaks_for_its_function_before_all_others(function):
    for example in function.options.examples:
        selection = SELECTOR.select(example)
        assert selection.candidates, example
        assert selection.candidates[0].function == function.name, example
