"""Selections that may be used again, inside one process."""

from collections import OrderedDict
from collections.abc import Collection, Hashable
from typing import Final

from dispatcher.selection.selection import Selection
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.words import normalise

#: Selections kept; the least recently used go first.
MAX_SELECTIONS: Final = 4_096
#: Characters of a text above which its selection is not kept: nobody says it twice.
MAX_CHARACTERS: Final = 512


class SelectionCache:
    """The last selections, by text, state, and what may be selected.

    What the registry says and what was learnt are not part of the key: whoever owns the cache empties it when they
    change, which is rarer than a selection, and quicker.
    """

    def __init__(self, size: int = MAX_SELECTIONS) -> None:
        """Make an empty cache.

        Args:
            size: selections kept; 0 keeps none.
        """
        self._size = size
        self._kept: OrderedDict[Hashable, Selection] = OrderedDict()
        #: How often a selection was found, and how often not, since the start.
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    @staticmethod
    def key(
        text: str, state: ConversationState | None, only: Collection[str] | None, *, case_matters: bool
    ) -> Hashable | None:
        """What equal selections have in common; None for a text that is not worth keeping."""
        if len(text) > MAX_CHARACTERS:
            return None
        said = " ".join(text.split()) if case_matters else normalise(text)
        if state is None and only is None:
            return said
        return said, None if state is None else state.key, None if only is None else frozenset(only)

    def find(self, key: Hashable | None) -> Selection | None:
        """The selection kept under a key."""
        found = None if key is None else self._kept.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable | None, selection: Selection) -> None:
        """Keep a selection."""
        if key is None or not self._size:
            return
        self._kept[key] = selection
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: the registry, or what was learnt, has changed."""
        self._kept.clear()
