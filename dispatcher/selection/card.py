"""What a selector reads of a function: its name and everything it says about itself, as text."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from dispatcher.registry.function import Function

#: Characters of one text that a card keeps. A description of a megabyte tells no more than its first pages.
MAX_TEXT: Final = 4_000
#: Examples that a card keeps; the first ones were chosen with the most care.
MAX_EXAMPLES: Final = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """The texts of one function. Equal cards are selected alike."""

    #: The registered name.
    name: str
    #: Other names that find it.
    aliases: tuple[str, ...] = ()
    description: str = ""
    #: Name and description of each parameter; the description is empty where none was written.
    parameters: tuple[tuple[str, str], ...] = ()
    #: What people say when they want it.
    examples: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name, and then the aliases."""
        return (self.name, *self.aliases)


_cards: WeakKeyDictionary[Function[..., object], Card] = WeakKeyDictionary()


def card_of(function: Function[..., object]) -> Card:
    """The card of a registered function; made once."""
    card = _cards.get(function)
    if card is None:
        card = _cards[function] = _make(function)
    return card


def cards_of(functions: Iterable[Function[..., object]]) -> tuple[Card, ...]:
    return tuple(map(card_of, functions))


def _make(function: Function[..., object]) -> Card:
    properties = function.parameters_schema.get("properties", {})
    parameters: list[tuple[str, str]] = []
    if isinstance(properties, dict):
        for name, schema in properties.items():
            description = schema.get("description", "") if isinstance(schema, dict) else ""
            parameters.append((str(name), str(description)[:MAX_TEXT]))
    return Card(
        name=function.name,
        aliases=function.aliases,
        description=function.description[:MAX_TEXT],
        parameters=tuple(parameters),
        examples=tuple(example[:MAX_TEXT] for example in function.options.examples[:MAX_EXAMPLES]),
        tags=tuple(sorted(function.options.tags)),
    )
