"""A labelled text: what a selector is trained on and judged by."""

from dataclasses import dataclass

from dispatcher.selection.selector import ConversationState


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A text and what it asked for."""

    text: str
    #: The registered name; None where no function fits.
    function: str | None
    state: ConversationState | None = None
    weight: float = 1.0
