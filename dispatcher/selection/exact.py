"""The exact tier: a text that names a function, or that is known word for word. Both always win.

A name that cannot be an ordinary word (`text.slugify`, `count_words`, `countWords`) counts wherever it stands. A name
that is one (`time`, `help`) counts where it is marked as a name: alone, in quotes or backticks, with a bracket behind
it, or called a function or tool in so many words; "what time is it" names nothing.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from dispatcher.selection.card import Card
from dispatcher.selection.words import WORD_CHARACTER, Request, normalise

_IDENTIFIER = re.compile(rf"{WORD_CHARACTER}+(?:[.]{WORD_CHARACTER}+)*")
_INNER_CAPITAL = re.compile(r"[a-z0-9][A-Z]")
_NAME: Final = rf"{WORD_CHARACTER}+"
_MARKED_WORD = re.compile(
    rf"""["'`“‘「]({_NAME})["'`”’」]"""
    rf"|({_NAME})\("
    rf"|(?:run|call|invoke|execute|function|tool|调用|执行|运行)\s+(?:the\s+)?({_NAME})(?:\s+(?:function|tool))?[.!?。！]?$"
    rf"|({_NAME})\s+(?:function|tool)\b"
)
#: Known texts that are remembered; the oldest are forgotten first.
MAX_KNOWN: Final = 100_000


class Exact:
    """Names and known texts of a set of functions."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self._names: dict[str, tuple[int, ...]] = {}
        self._words: dict[str, tuple[int, ...]] = {}
        self._spellings = [card.names for card in cards]
        for position, card in enumerate(cards):
            for name in card.names:
                found = self._names if _is_marked(name) else self._words
                folded = normalise(name)
                found[folded] = tuple(dict.fromkeys((*found.get(folded, ()), position)))
        self._known: dict[str, int] = {}
        for position, card in enumerate(cards):
            for example in card.examples:
                self._known.setdefault(plain(example), position)

    @property
    def case_matters(self) -> bool:
        """Whether two names differ in case only: then texts that differ in case only may not mean the same."""
        return any(len(positions) > 1 for positions in (*self._names.values(), *self._words.values()))

    def known(self, text: str) -> int | None:
        """The function that a text is known to mean, but for case, blanks and punctuation; None where it is not."""
        return self._known.get(plain(text))

    def learn(self, text: str, position: int | None) -> None:
        """Remember, or with None forget, what a text means."""
        key = plain(text)
        self._known.pop(key, None)
        if position is not None and key:
            self._known[key] = position
            if len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]

    def named(self, text: str, request: Request) -> list[int]:
        """The functions whose names stand in a text: in its instruction if there are any, else in its material."""
        for part in (request.instruction, request.material):
            found = dict.fromkeys(
                position for name in _IDENTIFIER.findall(part) for position in self._names.get(name, ())
            )
            if found:
                return self._prefer_exact_case(list(found), text)
        if not self._words:
            return []
        return self._prefer_exact_case(list(dict.fromkeys(self._marked_words(text))), text)

    def _marked_words(self, text: str) -> Iterable[int]:
        whole = self._words.get(plain(text))
        if whole is not None:
            return whole
        folded = normalise(text)
        return [
            position
            for match in _MARKED_WORD.finditer(folded)
            for name in match.groups()
            if name is not None
            for position in self._words.get(name, ())
        ]

    def _prefer_exact_case(self, found: list[int], text: str) -> list[int]:
        if len(found) < 2:  # noqa: PLR2004 - nothing to prefer
            return found
        return [i for i in found if any(name in text for name in self._spellings[i])] or found


def plain(text: str) -> str:
    """A text without what does not change its meaning: case, blanks, punctuation."""
    return " ".join(re.findall(r"\w+", normalise(text)))


def _is_marked(name: str) -> bool:
    """Whether a name cannot be an ordinary word."""
    return any(character in "._" or character.isdigit() for character in name) or bool(_INNER_CAPITAL.search(name))
