"""What a selector reads of a function: its name and everything it says about itself, as text."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from dispatcher.registry.function import Function
from dispatcher.selection.words import split_name

#: Characters of one text that a card keeps. A description of a megabyte tells no more than its first pages.
MAX_TEXT: Final = 4_000
#: Words of a parameter's name that say that it is a date.
_DATE_WORDS: Final = frozenset({"date", "dates", "day", "datetime"})
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
    #: How many of the required parameters are numbers.
    numbers: int = 0
    #: Whether any parameter may be a number, or hold some.
    takes_numbers: bool = False
    #: Whether any parameter is a date.
    takes_dates: bool = False
    #: The words that parameters choose between.
    choices: tuple[str, ...] = ()

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
    """The cards of registered functions, in their order."""
    return tuple(map(card_of, functions))


def _make(function: Function[..., object]) -> Card:
    schema = function.parameters_schema
    properties, required = schema.get("properties", {}), schema.get("required", [])
    shapes = {str(n): s for n, s in properties.items() if isinstance(s, dict)} if isinstance(properties, dict) else {}
    return Card(
        name=function.name,
        aliases=function.aliases,
        description=function.description[:MAX_TEXT],
        parameters=tuple((name, str(shape.get("description", ""))[:MAX_TEXT]) for name, shape in shapes.items()),
        examples=tuple(example[:MAX_TEXT] for example in function.options.examples[:MAX_EXAMPLES]),
        tags=tuple(sorted(function.options.tags)),
        numbers=sum(_is_number(shapes[name]) for name in required if name in shapes)
        if isinstance(required, list)
        else 0,
        takes_numbers=any(_holds_numbers(shape) for shape in shapes.values()),
        takes_dates=any(_is_date(name, shape) for name, shape in shapes.items()),
        choices=tuple(word for shape in shapes.values() for word in _choices(shape)),
    )


def _is_number(schema: object) -> bool:
    if not isinstance(schema, dict):
        return False
    return schema.get("type") in {"integer", "number"} or any(map(_is_number, schema.get("anyOf", ())))


def _holds_numbers(schema: object) -> bool:
    if not isinstance(schema, dict):
        return False
    return (
        _is_number(schema)
        or schema.get("type") in {"array", "object"}
        or any(map(_holds_numbers, schema.get("anyOf", ())))
    )


def _is_date(name: str, schema: object) -> bool:
    """By its type, or where it is a text, by its name: dates are often passed as texts."""
    if not isinstance(schema, dict):
        return False
    if schema.get("format") in {"date", "date-time"}:
        return True
    if schema.get("type") == "string" and not _DATE_WORDS.isdisjoint(split_name(name).lower().split()):
        return True
    return any(_is_date(name, other) for other in schema.get("anyOf", ()))


def _choices(schema: object) -> list[str]:
    if not isinstance(schema, dict):
        return []
    words = [word for word in schema.get("enum", ()) if isinstance(word, str)]
    return words + [word for other in schema.get("anyOf", ()) for word in _choices(other)]
