"""Held-out texts that learning in use must not spoil: what bounds how far anybody can mislead a selector."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dispatcher.registry.registry import Registry
from dispatcher.selection.example import MAX_LOSS, MIN_LOST, TAIL
from dispatcher.selection.selection import Decision, Selection
from dispatcher.selection.selector import Selector

if TYPE_CHECKING:
    from dispatcher.selection.model import Model

#: Texts that are selected again at each look. With a sentence encoder a look takes about a second, on a thread.
MAX_TEXTS: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Fall:
    """How far the accuracy fell, on the same texts."""

    before: float
    now: float
    texts: int


class Guard:
    """Compares what a selector says of confirmed texts with what it said when its model was new.

    Args:
        selector: asked from a thread; it may learn meanwhile.
        registry: whose examples are confirmed texts.
        model: whose examples are, too; None where there is none.
    """

    def __init__(self, selector: Selector, registry: Registry, model: "Model | None") -> None:
        self._selector = selector
        self._registry = registry
        #: The right function of each; None where no function fits.
        self._texts: dict[str, str | None] = {}
        for function in registry:
            self._texts.update((example + TAIL, function.name) for example in function.options.examples)
        if model is not None:
            names = (*model.functions, None)
            columns = (int(column) for column in model.examples.columns)
            self._texts.update(
                (text, names[column]) for text, column in zip(model.examples.texts, columns, strict=True)
            )
        chosen = sorted(self._texts, key=lambda text: hashlib.sha256(text.encode("utf-8", "replace")).digest())
        self._texts = {text: self._texts[text] for text in chosen[:MAX_TEXTS]}
        self._before: dict[str, bool] = {}

    def begin(self, *, taught: bool = False) -> None:
        """Remember what is right now; where the selector was taught already, what would be had it not been.

        A producer that starts reads what was said before: if that misleads, it must not be what others are measured by.
        """
        untaught = getattr(self._selector, "untaught", None) if taught else None
        self._before = self._look(self._selector if untaught is None else untaught())

    def find_fall(self) -> Fall | None:
        """How far the accuracy fell since; None where it did not, or no further than it may."""
        now = self._look(self._selector)
        both = now.keys() & self._before.keys()
        before_right = sum(self._before[text] for text in both)
        now_right = sum(now[text] for text in both)
        lost = before_right - now_right
        if lost < MIN_LOST or lost / len(both) <= MAX_LOSS:
            return None
        return Fall(before=before_right / len(both), now=now_right / len(both), texts=len(both))

    def _look(self, selector: Selector) -> dict[str, bool]:
        """Whether each text is told rightly; those of functions that there no longer are, are left out."""
        return {
            text: _is_right(selector.select(text), function)
            for text, function in self._texts.items()
            if function is None or function in self._registry
        }


def _is_right(selection: Selection, function: str | None) -> bool:
    if function is None:
        return selection.decision is Decision.ABSTAIN
    return bool(selection.candidates) and selection.candidates[0].function == function
