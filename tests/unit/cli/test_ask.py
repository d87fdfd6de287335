"""`dispatcher ask` where no call is made: what was selected, and what is missing."""

import pytest

BILL = '''

@registry.function
def bill(customer: int, amount: float) -> None:
    """Bill a customer."""
'''


@pytest.fixture(autouse=True)
def bills(folder) -> None:
    shop = folder / "shop.py"
    shop.write_text(shop.read_text() + BILL)


def test_where_arguments_are_missing_the_data_say_for_which_function(run) -> None:
    ran = run("ask", "bill the customer", "--app", "shop", "--json")
    assert ran.code == 1
    assert ran.data["function"] == "bill"
    assert (ran.data["error"]["code"], ran.data["error"]["accepted"]) == ("invalid_arguments", "no")
    assert ran.words.endswith("error: bill: customer: is required; amount: is required")


def test_without_json_it_is_a_line(run) -> None:
    ran = run("ask", "bill the customer", "--app", "shop")
    assert (ran.code, ran.out) == (1, "")
    assert ran.words.endswith("error: bill: customer: is required; amount: is required")
