"""`dispatcher functions`."""

import pytest


def test_the_table_has_a_line_for_each_function(run) -> None:
    ran = run("functions", "--app", "shop")
    assert ran.code == 0
    assert "price" in ran.out
    assert "Say what something costs." in " ".join(ran.out.split())
    assert "Of course in euros." not in ran.out
    assert "slow" in ran.out
    assert ran.err == ""


def test_json_says_everything_about_each_function(run) -> None:
    price, send = run("functions", "--app", "shop", "--json").data
    assert (price["name"], price["queue"], price["async"], price["tags"]) == ("price", "slow", False, ["money"])
    assert price["parameters"]["required"] == ["item"]
    assert price["result"] == {"type": "number"}
    assert (send["name"], send["async"], send["sensitive"]) == ("mail.send", True, ["body"])


def test_one_function_is_shown_in_detail(run) -> None:
    ran = run("functions", "price", "--app", "shop")
    assert "Of course in euros." in ran.out
    assert '"item"' in ran.out
    assert "said as    a price please" in ran.out


def test_one_function_as_json_is_one_object(run) -> None:
    assert run("functions", "price", "--app", "shop", "--json").data["name"] == "price"


@pytest.mark.parametrize("format_", ["openai", "openai-responses", "anthropic", "mcp"])
def test_the_export_is_ready_for_a_provider(run, format_) -> None:
    tools = run("functions", "--app", "shop", "--format", format_).data
    assert len(tools) == 2
    assert run("functions", "price", "--app", "shop", "--format", format_).data == tools[:1]


def test_an_unknown_name_is_answered_with_the_nearest(run) -> None:
    ran = run("functions", "prise", "--app", "shop")
    assert ran.code == 1
    assert ran.words == "error: no function is registered as 'prise'; did you mean 'price'?"
