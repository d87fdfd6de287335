"""Confirmed texts are looked at again: whether learning has made the selector worse."""

from dispatcher import Cascade
from dispatcher.client import guard as module
from dispatcher.client.guard import Guard
from dispatcher.selection.model import Model
from tests.unit.client.talk import make_registry, right, stored


def test_it_sees_how_far_the_accuracy_fell() -> None:
    registry = make_registry()
    model = Model.load(stored(registry, "wug", "weather"))
    selector = Cascade(registry, model=model)
    guard = Guard(selector, registry, model)
    guard.begin()
    assert guard.find_fall() is None
    for text in model.examples.texts:
        for source in ("ann", "bob"):
            selector.learn(right(text, "mail.send", source))
    fall = guard.find_fall()
    assert fall is not None
    assert fall.now < fall.before - module.MAX_LOSS
    assert fall.texts == len(model.examples.texts) + 3


def test_one_text_that_changed_its_mind_is_no_fall() -> None:
    registry = make_registry()
    model = Model.load(stored(registry, "wug", "weather"))
    selector = Cascade(registry, model=model)
    guard = Guard(selector, registry, model)
    guard.begin()
    selector.learn(right("count words", "mail.send"))
    assert guard.find_fall() is None


def test_functions_that_came_or_went_do_not_count() -> None:
    registry = make_registry()
    selector = Cascade(registry)
    guard = Guard(selector, registry, None)
    guard.begin()
    for name in ("weather", "mail.send", "text.count"):
        registry.remove(name)
    assert guard.find_fall() is None


def test_it_looks_at_so_many_texts_and_always_the_same(monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_TEXTS", 4)
    registry = make_registry()
    model = Model.load(stored(registry, "wug", "weather"))
    chosen = [Guard(Cascade(registry), registry, model)._texts for _ in range(2)]
    assert len(chosen[0]) == 4
    assert chosen[0] == chosen[1]
