"""A labelled text: what a selector is trained on and judged by."""

from dataclasses import dataclass
from typing import Final

from dispatcher.selection.selector import ConversationState

#: By how much confirmed texts may be told worse, before what was said is taken to mislead.
MAX_LOSS: Final = 0.02
#: With few texts one that changed its mind is more than that; so many must at least.
MIN_LOST: Final = 3
#: Put behind a registered example to make a confirmed text: one that is known word for word says nothing of the rest.
TAIL: Final = ", thanks"


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A text and what it asked for."""

    text: str
    #: The registered name; None where no function fits.
    function: str | None
    state: ConversationState | None = None
    weight: float = 1.0
