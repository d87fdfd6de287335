"""What tests of learning share: a few functions, a store in memory, and small models."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.errors import ModelError
from dispatcher.registry.registry import Registry
from dispatcher.selection.card import cards_of
from dispatcher.selection.example import Example
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.stored import StoredModel
from dispatcher.selection.training import train

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)


def make_registry() -> Registry:
    registry = Registry()

    @registry.function(name="text.count", examples=["count the words of this page"])
    def count(text: str) -> int:
        """Count the words of a text."""
        return len(text.split())

    @registry.function(name="mail.send", examples=["send a letter to somebody"])
    def send(to: int) -> None:
        """Send a mail."""

    @registry.function(name="weather", examples=["is it going to rain"])
    def weather() -> str:
        """Tell the forecast."""
        return "rain"

    return registry


def right(text: str, function: str, source: str = "") -> Feedback:
    return Feedback(text=text, verdict=Verdict.RIGHT, function=function, source=source)


class MemoryStore:
    """A `ModelStore` in memory."""

    def __init__(self) -> None:
        self.models: dict[str, StoredModel] = {}
        self.named: str | None = None
        self.loads = 0

    async def save(self, model: StoredModel, *, promote: bool) -> None:
        self.models[model.version] = model
        if promote:
            self.named = model.version

    async def load(self, version: str) -> StoredModel:
        self.loads += 1
        if version not in self.models:
            msg = f"there is no model of version {version}"
            raise ModelError(msg)
        return self.models[version]

    async def champion(self) -> str | None:
        return self.named

    async def promote(self, version: str) -> None:
        self.named = version

    async def versions(self) -> Sequence[Mapping[str, Any]]:
        return [{"version": version} for version in sorted(self.models, reverse=True)]


def stored(registry: Registry, word: str, function: str, *, position: str = "", day: int = 0) -> StoredModel:
    """A model that has learnt that a made-up word asks for a function."""
    tails = ("it", "them", "this now", "all of that", "something", "the thing")
    examples = [Example(text=f"{word} {tail}", function=function) for tail in tails]
    others = [Example(text=text, function=name) for text, name in (("count words", "text.count"), ("rain", "weather"))]
    none = [Example(text=text, function=None) for text in ("sing a song", "who is the king", "play chess with me")]
    model = train(cards_of(registry), [*examples, *others, *none])
    return replace(model, position=position).store(NOON + timedelta(days=day))
