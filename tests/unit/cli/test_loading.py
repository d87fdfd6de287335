"""Finding the registry: `--app` and what is said when it is not there."""

import pytest

from dispatcher.cli.loading import load, read_settings
from dispatcher.errors import RegistrationError, SettingsError
from dispatcher.settings import Settings


def test_a_registry_is_found_from_the_current_folder_with_the_selector_beside_it(folder) -> None:
    loaded = load("shop:registry")
    assert loaded.registry.names == ("price", "mail.send")
    assert loaded.selector.select("price please").function == "price"


def test_the_attribute_may_be_left_out(folder) -> None:
    assert load("shop").place == "shop:registry"


def test_what_is_called_selector_and_selects_nothing_is_left_alone(folder) -> None:
    (folder / "other.py").write_text("from shop import registry\nselector = 'not one'\n")
    assert load("other").selector is None


RULED = """
from dispatcher import KeywordRule
from shop import registry

keyword_rules = [KeywordRule(function="price", any_of=("zephyr",))]
"""


def test_rules_beside_the_registry_are_for_the_usual_selector(folder) -> None:
    (folder / "ruled.py").write_text(RULED)
    loaded = load("ruled")
    assert loaded.selector is None
    assert loaded.make_selector(Settings(encoder="none")).select("zephyr").function == "price"


def test_a_selector_of_ones_own_goes_before_rules(folder) -> None:
    (folder / "both.py").write_text(RULED + "from shop import selector\n")
    loaded = load("both")
    assert loaded.make_selector(Settings()) is loaded.selector
    assert loaded.rules == ()


@pytest.mark.parametrize("wrong", ["'zephyr'", "[1]", "{}"])
def test_rules_that_are_none_are_refused(folder, wrong) -> None:
    (folder / "wrong.py").write_text(f"from shop import registry\nkeyword_rules = {wrong}\n")
    with pytest.raises(SettingsError, match="`keyword_rules` must be a sequence of KeywordRule"):
        load("wrong")


def test_a_missing_module_is_named_with_the_folder_that_was_searched(folder) -> None:
    with pytest.raises(
        SettingsError, match=r"no module 'shap' in .*--app module:attribute or DISPATCHER_APP"
    ) as raised:
        load("shap:registry")
    assert str(folder) in str(raised.value)


def test_a_missing_import_of_the_module_is_told_apart_from_a_missing_module(folder) -> None:
    (folder / "needy.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(SettingsError, match=r"importing 'needy' raised ModuleNotFoundError.*needy\.py, line 1"):
        load("needy:registry")


def test_a_module_that_raises_is_reported_with_the_line(folder) -> None:
    (folder / "broken.py").write_text("\n\n1 / 0\n")
    with pytest.raises(SettingsError, match=r"ZeroDivisionError: division by zero .*broken\.py, line 3"):
        load("broken:registry")


def test_a_module_that_cannot_be_parsed_is_reported_with_its_own_line(folder) -> None:
    (folder / "unwritten.py").write_text("\n\ndef f(:\n")
    with pytest.raises(SettingsError, match=r"SyntaxError: invalid syntax \(.*unwritten\.py, line 3\)$"):
        load("unwritten:registry")


def test_a_module_that_ends_the_program_is_reported(folder) -> None:
    (folder / "script.py").write_text("import sys\nsys.exit('done')\n")
    with pytest.raises(SettingsError, match=r"importing 'script' raised SystemExit: done .*script\.py, line 2"):
        load("script:registry")


def test_a_function_that_cannot_be_registered_speaks_for_itself(folder) -> None:
    (folder / "wrong.py").write_text(
        "from dispatcher import Registry\nregistry = Registry()\n@registry.function\ndef f(x): ...\n"
    )
    with pytest.raises(RegistrationError):
        load("wrong:registry")


def test_a_missing_attribute_is_answered_with_the_registries_there_are(folder) -> None:
    with pytest.raises(SettingsError, match="has no attribute 'stock', not a Registry; it has registry, empty"):
        load("shop:stock")


def test_something_that_is_no_registry_is_refused_by_its_type(folder) -> None:
    with pytest.raises(SettingsError, match="has a int as 'number', not a Registry"):
        load("shop:number")


@pytest.mark.parametrize("place", ["", "shop:", "shop.py:registry:x", "a b:c", "../shop:registry", "1shop:registry"])
def test_what_is_no_place_is_refused_with_an_example(folder, place) -> None:
    with pytest.raises(SettingsError, match="as in tasks:registry"):
        load(place)


def test_options_go_before_the_environment(folder, monkeypatch) -> None:
    monkeypatch.setenv("DISPATCHER_APP", "one:registry")
    assert read_settings().app == "one:registry"
    assert read_settings(app="two:registry").app == "two:registry"
    assert read_settings(url="redis://there:1/0").url.get_secret_value() == "redis://there:1/0"


def test_a_loading_error_is_a_line_and_with_json_also_data(run) -> None:
    ran = run("functions", "--app", "nowhere:registry", "--json")
    assert ran.code == 1
    assert ran.data["error"]["code"] == "settings"
    assert ran.data["error"]["accepted"] == "no"
    assert ran.words.startswith("error: cannot load 'nowhere:registry'")
    assert "Traceback" not in ran.err
