"""What a caller says of a selection, as feedback that a selector learns from; and who has to ask again."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from dispatcher.errors import NoSelectionError
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.selection import Decision, Selection
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.words import normalise

#: A request that is repeated within so many seconds was not answered.
REPEATED_WITHIN: Final = 60.0
#: Requests that are remembered for it; the oldest go first.
MAX_REQUESTS: Final = 4_096
#: Characters of a text above which it is not remembered: nobody says it twice.
MAX_CHARACTERS: Final = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Opinion:
    """What a caller said: one of the three."""

    right: bool | None = None
    function: Function[..., Any] | str | None = None
    nothing: bool = False

    def __post_init__(self) -> None:
        said = (self.right is not None) + (self.function is not None) + self.nothing
        if said != 1:
            msg = f"feedback says one thing: right=…, function=… or nothing=True; {said} were given"
            raise ValueError(msg)


def feedbacks_of(
    selection: Selection, opinion: Opinion, registry: Registry, state: ConversationState | None, source: str
) -> list[Feedback]:
    """The feedback that an opinion is: one, but of each part that was right, or of each choice that was wrong.

    Raises:
        UnknownFunctionError: the function that would have been right is not registered.
        NoSelectionError: the selection does not say of which function it is right or wrong.
    """
    if opinion.nothing:
        return [_feedback(selection.text, Verdict.NOTHING, "", state, source)]
    if opinion.function is not None:
        name = opinion.function.name if isinstance(opinion.function, Function) else opinion.function
        return [_feedback(selection.text, Verdict.RIGHT, registry.get(name).name, state, source)]
    if opinion.right and selection.decision is Decision.ABSTAIN:
        return [_feedback(selection.text, Verdict.NOTHING, "", state, source)]
    if opinion.right and selection.decision is Decision.SEVERAL:
        return [
            _feedback(part.text, Verdict.RIGHT, part.function, state, source)
            for part in selection.parts
            if part.function is not None
        ]
    if not opinion.right and selection.choices:
        return [
            _feedback(selection.text, Verdict.WRONG, choice.function, state, source) for choice in selection.choices
        ]
    verdict = Verdict.RIGHT if opinion.right else Verdict.WRONG
    return [_feedback(selection.text, verdict, _first(selection), state, source)]


def wrong(text: str, function: str, state: ConversationState | None, *, source: str, weight: float = 1.0) -> Feedback:
    """That a function was not the one."""
    return _feedback(text, Verdict.WRONG, function, state, source, weight)


def _first(selection: Selection) -> str:
    if selection.function is not None:
        return selection.function
    if selection.decision is Decision.ABSTAIN or not selection.candidates:
        msg = (
            "the selection abstained, so no function was right or wrong; say which would have been right with "
            "function=…, or that none is with nothing=True"
        )
        raise NoSelectionError(msg)
    return selection.candidates[0].function


def _feedback(  # noqa: PLR0917 - in the order of Feedback's fields
    text: str, verdict: Verdict, function: str, state: ConversationState | None, source: str, weight: float = 1.0
) -> Feedback:
    return Feedback(
        text=text,
        verdict=verdict,
        function=function,
        weight=weight,
        source=source,
        previous_function=(state.previous_function if state is not None else None) or "",
        topic=(state.topic if state is not None else None) or "",
    )


class RecentRequests:
    """Who asked for what in the last minute, to tell when somebody has to ask again."""

    def __init__(self) -> None:
        self._asked: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, text: str, user: str | None, function: str, now: float) -> str | None:
        """Remember a request that was answered with a function.

        Args:
            text: what was said.
            user: who said it; what nobody said is not remembered.
            function: what was selected.
            now: seconds of a clock that does not go back.

        Returns:
            The function that the same request was answered with just before; None where there was none.
        """
        if user is None or len(text) > MAX_CHARACTERS:
            return None
        key = (user, normalise(text))
        before = self._asked.pop(key, None)
        self._asked[key] = (function, now)
        if len(self._asked) > MAX_REQUESTS:
            self._asked.popitem(last=False)
        return before[0] if before is not None and now - before[1] <= REPEATED_WITHIN else None

    def settle(self, text: str, user: str | None) -> None:
        """Forget a request: somebody has said how the answer was."""
        if user is not None:
            self._asked.pop((user, normalise(text)), None)
