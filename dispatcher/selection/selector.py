"""The one protocol of all selectors, and what they may know of the conversation."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dispatcher.selection.selection import Selection
from dispatcher.selection.words import Language

if TYPE_CHECKING:
    from dispatcher.selection.feedback import Feedback
    from dispatcher.selection.model import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationState:
    """What came before the text, as far as the caller wants to say. Everything may be left out."""

    #: The function of the user's last request that was called.
    previous_function: str | None = None
    #: The caller's own word for what the conversation is about.
    topic: str | None = None
    #: What the conversation has filled in so far, by name.
    slots: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: The language to answer in where the text itself does not show one.
    language: Language | None = None
    #: Who asks: feedback is bounded for each, and a request repeated by one speaks against the function that was
    #: selected before.
    user: str | None = None

    def __post_init__(self) -> None:
        # A copy behind a read-only view: a state that is used as a cache key must not change later.
        object.__setattr__(self, "slots", MappingProxyType(dict(self.slots)))

    @property
    def key(self) -> tuple[object, ...]:
        """Everything it says, in an order of its own: equal states have equal keys."""
        own = (getattr(self, part.name) for part in fields(self))
        return tuple(tuple(sorted(value.items())) if isinstance(value, Mapping) else value for value in own)


def names_allowed(only: Collection[str] | None) -> Collection[str] | None:
    """The names that a caller may call, safe to be read more than once.

    Raises:
        TypeError: it is one name, whose letters would be taken for names.
    """
    if only is None or isinstance(only, frozenset):
        return only
    if isinstance(only, str):
        msg = f"`only` is a collection of names: write only=[{only!r}]"
        raise TypeError(msg)
    return frozenset(only)


class Selector(Protocol):
    """Finds the function that a text asks for, or says that there is none.

    Selecting is pure computation: no network, no file, no clock, and one answer for one registry, text and state.
    It may be called from several threads. Only functions that the registry holds at that moment are candidates, a
    function whose exact name stands in the text comes first, and no text, however long or odd, makes it raise.
    """

    def select(
        self, text: str, state: ConversationState | None = None, *, only: Collection[str] | None = None
    ) -> Selection:
        """Say which function the text asks for.

        Args:
            text: what was said. It is read as data: nothing in it widens what may be selected.
            state: of the conversation.
            only: names of the functions that this caller may call; others are no candidates, whatever the text says.
                None: all that the registry holds.
        """
        ...


@runtime_checkable
class LearningSelector(Selector, Protocol):
    """A selector that is better tomorrow because of what was said today. One belongs to one dispatcher."""

    @property
    def version(self) -> str:
        """Of the model in use; empty where none was trained."""
        ...

    def learn(self, feedback: "Feedback") -> None:
        """Learn from one feedback: the very next selection knows it. It never raises."""
        ...

    def use(self, model: "Model | None", since: Sequence["Feedback"] = ()) -> None:
        """Take another model, and learn again what was said since it was trained; takes up to seconds.

        Args:
            model: None goes back to what the functions say of themselves.
            since: the oldest first.
        """
        ...
