"""The exact tier: a text that names a function, or that is known word for word. Both always win.

A name that cannot be an ordinary word (`text.slugify`, `count_words`, `countWords`) counts wherever it stands. A name
that is one (`time`, `help`) counts where it is marked as a name: alone, in quotes or backticks, with a bracket behind
it, or called a function or tool in so many words; "what time is it" names nothing. A name of several words counts as
people write it, too, where it is all of the text: "Count words!".
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dispatcher.selection.card import Card
from dispatcher.selection.words import MAX_TEXT_CHARACTERS, WORD_CHARACTER, Request, normalise, split_name

_IDENTIFIER = re.compile(rf"{WORD_CHARACTER}+(?:[.]{WORD_CHARACTER}+)*")
_INNER_CAPITAL = re.compile(r"[a-z0-9][A-Z]")
_NAME: Final = rf"{WORD_CHARACTER}++"
#: Where a word begins. A search that tried each of its letters would take the square of its length.
_BEGIN: Final = rf"(?<!{WORD_CHARACTER})"
_MARKED_WORD = re.compile(
    rf"""["'`“‘「]({_NAME})["'`”’」]"""  # noqa: RUF001 - quotes that people type
    rf"|{_BEGIN}({_NAME})\("
    rf"|(?:run|call|invoke|execute|function|tool|调用|执行|运行)\s+(?:the\s+)?({_NAME})(?:\s+(?:function|tool))?[.!?。！]?$"
    rf"|{_BEGIN}({_NAME})\s+(?:function|tool)\b"
)
_WORDS = re.compile(r"\w+")
#: By ASCII code: the character itself where it is of a word, else a blank.
_WORDS_ONLY: Final = "".join(chr(code) if _WORDS.match(chr(code)) else " " for code in range(128))
#: Characters of a text whose plain form is remembered.
_SHORT: Final = 512
#: The position of a text that is known to ask for no function.
NOTHING: Final = -1
#: Known texts that are remembered; the oldest are forgotten first.
MAX_KNOWN: Final = 100_000
#: Sources of one claim that are remembered: two are enough.
MAX_SOURCES: Final = 8


@dataclass(kw_only=True, slots=True)
class _Claim:
    """What a text is said to mean."""

    position: int
    #: Whether the selector thought of it by itself, or the function's author said so.
    plausible: bool
    sources: set[str]


class Exact:
    """Names and known texts of a set of functions."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self._names: dict[str, tuple[int, ...]] = {}
        self._words: dict[str, tuple[int, ...]] = {}
        #: By what it is as people write it: the functions of each name of several words.
        self._written: dict[str, tuple[int, ...]] = {}
        self._spellings = [card.names for card in cards]
        for position, card in enumerate(cards):
            for name in card.names:
                written = plain(split_name(name))
                if " " in written:
                    self._written[written] = tuple(dict.fromkeys((*self._written.get(written, ()), position)))
                found = self._names if _is_marked(name) else self._words
                folded = normalise(name)
                found[folded] = tuple(dict.fromkeys((*found.get(folded, ()), position)))
        #: The first word of each name: a text that has none of them names nothing.
        self._first_words = {word for name in (*self._names, *self._words) for word in plain(name).split()[:1]}
        #: Whether two names differ in case only: then texts that differ in case only may not mean the same.
        self.case_matters = any(len(held) > 1 for held in (*self._names.values(), *self._words.values()))
        self._known: dict[str, _Claim] = {}
        for position, card in enumerate(cards):
            for example in card.examples:
                self._known.setdefault(plain(example), _Claim(position=position, plausible=True, sources=set()))

    def known(self, text: str, user: str = "") -> int | None:
        """The function that a text is known to mean, but for case, blanks and punctuation, or NOTHING.

        None where nothing is known of it: also where a single source said so, and neither is it `user`, nor was it
        plausible. One source alone must not decide for all what a text means.
        """
        claim = self._known.get(plain(text))
        if claim is None or not (claim.plausible or len(claim.sources) > 1 or (user and user in claim.sources)):
            return None
        return claim.position

    def learn(self, text: str, position: int, *, source: str, plausible: bool) -> None:
        """Remember what a text means: a function, or NOTHING.

        Args:
            text: what was said.
            position: what it means.
            source: who says so.
            plausible: whether the selector thought of it by itself.
        """
        key = plain(text)
        if not key:
            return
        claim = self._known.pop(key, None)
        if claim is None or claim.position != position:
            claim = _Claim(position=position, plausible=plausible, sources=set())
        if source not in claim.sources and len(claim.sources) < MAX_SOURCES:
            # Said again by the same source, it is plausible only because it was learnt.
            claim.plausible |= plausible
            claim.sources.add(source)
        self._known[key] = claim
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def forget(self, text: str, position: int) -> None:
        """A text does not mean this function, after all."""
        claim = self._known.get(plain(text))
        if claim is not None and claim.position == position:
            del self._known[plain(text)]

    def names_none(self, text: str) -> bool:
        """Whether it is clear at first sight that no name stands in a text."""
        words = plain(text)
        return text.isascii() and words not in self._written and self._first_words.isdisjoint(words.split())

    def named(self, text: str, request: Request) -> list[int]:
        """The functions whose names stand in a text: in its instruction if there are any, else in its material."""
        if self.names_none(text):
            return []
        written = self._written.get(plain(text))
        if written is not None:
            return self._prefer_exact_case(list(written), text)
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
        folded = normalise(text[:MAX_TEXT_CHARACTERS])
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
    """As much of a text as is read, without what does not change its meaning: case, blanks, punctuation."""
    return _plain_short(text) if len(text) <= _SHORT else _plain(text)


def _plain(text: str) -> str:
    folded = normalise(text[:MAX_TEXT_CHARACTERS])
    if folded.isascii():
        return " ".join(folded.translate(_WORDS_ONLY).split())
    return " ".join(_WORDS.findall(folded))


#: Names and known texts are looked up by the same form, and so is what is learnt.
_plain_short: Final = lru_cache(maxsize=1024)(_plain)


def _is_marked(name: str) -> bool:
    """Whether a name cannot be an ordinary word."""
    return any(character in "._" or character.isdigit() for character in name) or bool(_INNER_CAPITAL.search(name))
