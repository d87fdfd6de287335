"""Versions of one function: what is asked of one that a caller may not call, another one does as well.

Who may call `send_invoice` alone asks for it in words that fit `send_invoice_v2` too: half of the mass goes to a
function that is forbidden, and the text looks as if it asked for that. Two functions are versions of one where

- their names differ in marks of a version alone: `v2` anywhere, `legacy` or `deprecated` at an end; and
- the first sentences of their descriptions are the same, word for word, but for such a mark in brackets.

What else they say (details, parameters) tells what only one of them does. A text that has a word of it, that a keyword
rule of it alone matches, or that speaks of versions itself, asks for that one, and another is none to it.

Nothing less will do. Functions that are alike in all but a word (`delete_user` and `disable_user`, lamps 1 and 2, one
tool for two services) are told apart by that word, and a text that does not say it ("away with user 7") means only one
of them all the same.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from dispatcher.selection.card import Card
from dispatcher.selection.keyword_tier import KeywordTier
from dispatcher.selection.lexical import terms
from dispatcher.selection.loss import Floats
from dispatcher.selection.outline import first_sentence
from dispatcher.selection.reading import Reading
from dispatcher.selection.scores import Scores
from dispatcher.selection.words import normalise, split_name

_NUMBERED: Final = re.compile(r"v\d+")
_OUTDATED: Final = frozenset({"legacy", "deprecated"})
#: A mark of a version in brackets.
_REMARK: Final = re.compile(r"[(\[](?:v\d+|version \d+|legacy|deprecated)[)\]]")
#: What a text says of versions, or of old and new ways to do a thing.
_OF_VERSIONS: Final = re.compile(
    r"\b(?:v ?\d+|versions?|(?:old|new)(?:er|est)?|latest|previous|former|original|classic|legacy|deprecated)\b"
    r"|[旧新版]"
)

#: Log of the probability from which on a function is worth handing over.
LIKELY: Final = math.log(0.01)


class Twins:
    """Which functions are versions of one."""

    def __init__(self, cards: Sequence[Card], keywords: KeywordTier) -> None:
        self._cards = cards
        self._keywords = keywords
        #: By position: the other versions of those functions that have any.
        self._others: dict[int, list[int]] = {}
        named = _group(range(len(cards)), lambda position: _unversioned(cards[position].name))
        for group in named:
            for versions in _group(group, lambda position: _purpose(cards[position].description)):
                self._others |= {one: [other for other in versions if other != one] for one in versions}
        self._said: dict[int, frozenset[str]] = {}

    def hand_over(self, reading: Reading, scores: Scores, allowed: Floats) -> tuple[Scores, Floats]:
        """Give the mass of likely functions that may not be called to versions of them that may.

        Args:
            reading: the text.
            scores: of it.
            allowed: 0 for the functions that may be called, -inf for the others.

        Returns:
            The scores with such versions taken for one function, the likeliest of them: two that share the mass would
            look like doubt. And what `scores.logs` says once the mass is handed over, -inf where it may not be called.
        """
        logs = scores.logs + allowed
        found = self._found(reading, scores, allowed) if self._others else {}
        if not found:
            return scores, logs
        fused = scores.fused.copy()
        for heirs, forbidden in found.items():
            own = _together(map(logs.item, heirs))
            logs[[*heirs]] += _together((own, *map(scores.logs.item, forbidden))) - own
            versions = [*forbidden, *heirs]
            likeliest, together = max(versions, key=fused.item), _together(map(fused.item, versions))
            fused[versions] = -math.inf
            fused[likeliest] = together
        return Scores(tiers=scores.tiers, fused=fused), logs

    def _found(self, reading: Reading, scores: Scores, allowed: Floats) -> dict[tuple[int, ...], list[int]]:
        """The likely functions that may not be called, by the versions of them that do what the text asks."""
        logs, others = scores.logs, self._others
        likely = [i for i in scores.ranking if i in others and allowed.item(i) != 0 and logs.item(i) > LIKELY]
        found: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        if likely and not _OF_VERSIONS.search(reading.whole):
            for position in likely:
                heirs = self._heirs(position, reading, allowed)
                if heirs:
                    found[heirs].append(position)
        return found

    def _heirs(self, position: int, reading: Reading, allowed: Floats) -> tuple[int, ...]:
        """The other versions of a function that may be called, and say and are ruled for all that a text asks of it."""
        heirs = [other for other in self._others[position] if allowed.item(other) == 0]
        if not heirs:
            return ()
        asked, ruled = self._says(position).intersection(reading.terms), self._keywords.ruled(reading, position)
        return tuple(
            heir for heir in heirs if asked <= self._says(heir) and self._keywords.ruled(reading, heir) >= ruled
        )

    def _says(self, position: int) -> frozenset[str]:
        """The terms of all that a function says of itself, but for its examples: they are how people ask for it."""
        said = self._said.get(position)
        if said is None:
            card = self._cards[position]
            parts = (*map(split_name, card.names), card.description, *card.tags, *card.choices)
            named = [f"{split_name(name)} {description}" for name, description in card.parameters]
            said = self._said[position] = frozenset(terms(" ".join((*parts, *named))))
        return said


def _together(logs: Iterable[float]) -> float:
    """Log Σ exp of a few numbers; in Python, as numpy takes ten times as long for two."""
    logs = list(logs)
    top = max(logs)
    return top + math.log(sum([math.exp(each - top) for each in logs]))


def _group(positions: Iterable[int], key: Callable[[int], str | None]) -> list[list[int]]:
    """Positions of one key together, where it is more than one."""
    groups: defaultdict[str | None, list[int]] = defaultdict(list)
    for position in positions:
        groups[key(position)].append(position)
    return [group for shared, group in groups.items() if shared is not None and len(group) > 1]


def _unversioned(name: str) -> str | None:
    """A name without marks of a version; None where it is nothing else."""
    left = [word for word in split_name(name).casefold().split() if not _NUMBERED.fullmatch(word)]
    while left and left[-1] in _OUTDATED:
        left.pop()
    while left and left[0] in _OUTDATED:
        left.pop(0)
    return " ".join(left) or None


def _purpose(description: str) -> str:
    """The first sentence, without what does not change its meaning."""
    return " ".join(_REMARK.sub(" ", normalise(first_sentence(description))).split()).rstrip(" .!。")
