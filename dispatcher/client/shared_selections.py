"""Selections that another producer has made: where selecting takes longer than asking the server."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from dispatcher.registry.registry import Registry
from dispatcher.selection.selection import Candidate, Decision, Selection
from dispatcher.selection.selector import ConversationState
from dispatcher.transport.selection_cache import SharedSelectionCache

#: What a value looks like; it is part of the key, so that two versions do not read each other's.
FORMAT: Final = 2
#: Candidates whose reasons are kept: finding one out costs more than the rest.
EXPLAINED: Final = 3


class SharedSelections:
    """Finds and keeps selections by everything that they depend on.

    Args:
        cache: on the server.
        registry: what is read names its functions, or counts as not found.
    """

    def __init__(self, cache: SharedSelectionCache, registry: Registry) -> None:
        self._cache = cache
        self._registry = registry
        #: How often a selection was found, and how often not, since the start.
        self.hits = 0
        self.misses = 0

    async def find(self, key: bytes, text: str) -> Selection | None:
        """The selection under a key; it never fails."""
        value = await self._cache.find(key)
        found = None if value is None else read_selection(value, text, self._registry)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    async def keep(self, key: bytes, value: str) -> None:
        """Keep what `write_selection` wrote; it never fails."""
        await self._cache.keep(key, value)


def key_of(
    text: str, state: ConversationState | None, only: Collection[str] | None, *, selector: bytes, learnt: str
) -> bytes:
    """What equal selections have in common.

    Args:
        text: blanks do not count. Case does: it may tell two functions' names apart.
        state: of the conversation, with who asks: what one alone has taught holds for that one.
        only: names of the functions that may be selected.
        selector: what it reads of the functions, as a digest.
        learnt: its model, and what it has learnt since.
    """
    known = None if state is None else state.key
    parts = [FORMAT, " ".join(text.split()), known, None if only is None else sorted(set(only)), selector.hex(), learnt]
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def write_selection(selection: Selection) -> str:
    """A selection as JSON text. Its own text is left out: whoever finds it has that."""
    return json.dumps(_data(selection, whole=True), separators=(",", ":"))


def _data(selection: Selection, *, whole: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "decision": str(selection.decision),
        "function": selection.function,
        "candidates": [
            [c.function, c.probability, c.why if rank < EXPLAINED else ""]
            for rank, c in enumerate(selection.candidates)
        ],
        "choices": len(selection.choices),
        "reason": selection.stated_reason,
        "response": selection.response,
        "in_scope": selection.in_scope,
        "model": selection.model,
        "parts": [_data(part, whole=False) for part in selection.parts],
    }
    return data if whole else {**data, "text": selection.text}


def read_selection(value: str, text: str, registry: Registry) -> Selection | None:
    """What `write_selection` wrote; None where it is of other functions than there are, or is no selection."""
    try:
        return _read(json.loads(value), text, registry)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _read(data: Mapping[str, Any], text: str, registry: Registry) -> Selection:
    candidates = tuple(
        Candidate(function=_known(name, registry), probability=float(probability), explain=str(why))
        for name, probability, why in data["candidates"]
    )
    decision, function = Decision(data["decision"]), data["function"]
    parts = tuple(_read(part, str(part["text"]), registry) for part in data["parts"])
    if (decision is Decision.ACT) != (function is not None) or (decision is Decision.SEVERAL) != bool(parts):
        msg = "what was decided and what was chosen contradict each other"
        raise ValueError(msg)
    return Selection(
        text=text,
        candidates=candidates,
        decision=decision,
        choices=candidates[: int(data["choices"])],
        stated_reason=str(data["reason"]),
        response=str(data["response"]),
        in_scope=float(data["in_scope"]),
        model=str(data["model"]),
        parts=parts,
        chosen=None if function is None else registry.get(_known(function, registry)),
    )


def _known(name: object, registry: Registry) -> str:
    if not isinstance(name, str) or name not in registry:
        msg = "it names a function that there is not"
        raise ValueError(msg)
    return name
