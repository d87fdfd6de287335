"""The selector that is used where none is given."""

import logging

import pytest

from dispatcher import Cascade, Decision, KeywordRule, Settings
from dispatcher.client import selecting
from dispatcher.client.selecting import find_meaning, make_selector
from dispatcher.errors import ModelError, UnknownFunctionError
from tests.unit.client.talk import make_registry


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch) -> None:
    monkeypatch.setattr(selecting, "_told", set())


def test_the_encoder_is_loaded_at_the_first_selection(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(selecting, "find_meaning", asked.append)
    selector = make_selector(make_registry(), Settings(encoder="some/1"))
    assert asked == []
    assert selector.uses_encoder
    for _ in range(3):
        assert selector.select("tell the forecast").function == "weather"
    assert asked == ["some/1"]
    assert not selector.uses_encoder


def test_none_loads_nothing(monkeypatch) -> None:
    monkeypatch.setattr(selecting, "load_meaning", None)
    selector = make_selector(make_registry(), Settings(encoder="none"))
    assert not selector.uses_encoder
    assert selector.select("tell the forecast").function == "weather"
    assert selector.quick


def test_without_the_extras_it_works_and_says_once_what_they_would_add(monkeypatch, caplog) -> None:
    monkeypatch.setattr(selecting, "find_encoders", tuple)
    monkeypatch.setattr(selecting, "missing", lambda: ("an extra would add meaning",))
    with caplog.at_level(logging.INFO, logger=selecting.__name__):
        for _ in range(2):
            assert make_selector(make_registry(), Settings()).select("tell the forecast").function == "weather"
    assert caplog.messages == ["no_encoder: an extra would add meaning"]


def test_an_encoder_that_is_broken_is_gone_without_and_told(monkeypatch, caplog) -> None:
    def broken() -> None:
        msg = "its weights are not the pinned ones"
        raise ModelError(msg)

    monkeypatch.setattr(selecting, "find_encoders", lambda: ("one",))
    monkeypatch.setattr(selecting, "load_meaning", broken)
    assert find_meaning("auto") is None
    assert find_meaning("auto") is None
    assert caplog.messages == ["encoder_not_used: its weights are not the pinned ones"]


def test_an_encoder_that_is_named_must_be_there() -> None:
    selector = make_selector(make_registry(), Settings(encoder="no-such"))
    for _ in range(2):
        with pytest.raises(ModelError, match="no-such"):
            selector.select("tell the forecast")


def test_thresholds_come_from_the_settings_one_by_one() -> None:
    def decide(**settings: float) -> Decision:
        return make_selector(make_registry(), Settings(encoder="none", **settings)).select("the forecast").decision

    assert decide() is Decision.ACT
    assert decide(select_act_at=1.0) is Decision.ASK
    assert decide(select_act_at=1.0, select_ask_at=1.0) is Decision.ABSTAIN


def test_rules_are_taken() -> None:
    settings = Settings(encoder="none")
    rules = [KeywordRule(function="weather", any_of=("frobnicate",))]
    selector = make_selector(make_registry(), settings, rules)
    assert isinstance(selector, Cascade)
    assert selector.select("frobnicate").candidates[0].function == "weather"
    with pytest.raises(UnknownFunctionError):
        make_selector(make_registry(), settings, [KeywordRule(function="wether", any_of=("x",))])
