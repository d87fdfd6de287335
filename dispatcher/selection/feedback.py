"""What people say about a selection, as data: the one thing that a selector learns from in use."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from dispatcher.selection.words import MAX_TEXT_CHARACTERS


class Verdict(StrEnum):
    """What was said."""

    #: `function` is the one that the text asks for.
    RIGHT = "right"
    #: `function` is not the one; which would have been is not known.
    WRONG = "wrong"
    #: No function is the one: the text is out of scope.
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """One verdict on one text.

    Raises:
        ValueError: the parts contradict each other, or a weight is outside 0 to 1.
    """

    #: As it came; cut to what a selector reads.
    text: str
    verdict: Verdict
    #: The registered name that the verdict is about; empty for `NOTHING`.
    function: str = ""
    #: How much it counts: 1 where a person said it, less where it was guessed from what happened.
    weight: float = 1.0
    #: Who said it: a user, or a producer. The rate is bounded for each.
    source: str = ""
    #: Of the conversation, as in `ConversationState`; empty where there was none.
    previous_function: str = ""
    topic: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text[:MAX_TEXT_CHARACTERS])
        if (self.verdict is Verdict.NOTHING) == bool(self.function):
            msg = f"a verdict {self.verdict.value!r} {'names no' if self.function else 'needs a'} function"
            raise ValueError(msg)
        if not 0 < self.weight <= 1:
            msg = f"the weight of a feedback is above 0 and at most 1, not {self.weight}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A feedback in the log."""

    #: Where it stands: given to `FeedbackLog.read` to go on after it. Later entries have greater positions.
    position: str
    feedback: Feedback
    #: When it was logged, in seconds since the epoch, by the log's own clock.
    at: float
    #: The producer that logged it; it has learnt from it already.
    producer: str


class FeedbackLog(Protocol):
    """Every feedback in one order, the same for all producers: what is learnt is what the log holds.

    Counts of words and functions are sums over the log, so two producers that write at once and then read end with the
    counts of one producer that wrote everything.
    """

    #: The position before the first entry.
    start: str

    async def append(self, feedback: Feedback, *others: Feedback, producer: str) -> Sequence[str]:
        """Add what one source says at once, all or nothing; gives the positions."""
        ...

    async def read(self, after: str, limit: int = 1_000) -> Sequence[Entry]:
        """Entries after a position, the oldest first. Those that the log no longer holds are passed over."""
        ...

    async def last(self) -> str:
        """The position of the newest entry; `start` where there is none."""
        ...


class MemoryFeedbackLog:
    """A log inside one process: for tests, and for a selector that learns without a server."""

    start = "0"

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    @property
    def entries(self) -> Sequence[Entry]:
        return tuple(self._entries)

    async def append(self, feedback: Feedback, *others: Feedback, producer: str) -> Sequence[str]:
        first = len(self._entries) + 1
        added = [
            Entry(position=str(position), feedback=one, at=0.0, producer=producer)
            for position, one in enumerate((feedback, *others), first)
        ]
        self._entries += added
        return [entry.position for entry in added]

    async def read(self, after: str, limit: int = 1_000) -> Sequence[Entry]:
        return self._entries[int(after) : int(after) + limit]

    async def last(self) -> str:
        return str(len(self._entries))
