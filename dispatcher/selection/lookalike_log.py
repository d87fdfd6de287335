"""Says in the log which functions of a registry look alike: once for each pair, when a selector first reads it.

The registry cannot say so itself when a function is registered: it stands below the selectors, and knows no word. Every
selector reads the registry before its first selection and again when it has changed, which is soon enough for whoever
wrote the functions. Workers select nothing and stay quiet.
"""

import logging
import threading
from typing import Final
from weakref import WeakKeyDictionary, WeakSet

from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.selection.card import card_of
from dispatcher.selection.lint import MAX_PAIRS, find_lookalikes

logger = logging.getLogger(__name__)

#: Functions above which nothing is compared unless the caller asks: 2,000 take a third of a second, once.
MAX_FUNCTIONS: Final = 2_000
#: Lines at a time; where more look alike, one line says how many.
MAX_LINES: Final = 20

_lock: Final = threading.Lock()
#: The revision that was looked at last.
_looked: Final[WeakKeyDictionary[Registry, int]] = WeakKeyDictionary()
#: What was said already, by the first function of a pair: functions are shared between registries.
_said: Final[WeakKeyDictionary[Function[..., object], WeakSet[Function[..., object]]]] = WeakKeyDictionary()


def log_lookalikes(registry: Registry, *, most_functions: int | None = MAX_FUNCTIONS) -> None:
    """Log a warning `functions_look_alike` for each pair that looks alike and was not logged before.

    Its fields are `first`, `second`, `likeness` (0 to 1) and `apart`, the words that would tell them apart. Where more
    than `MAX_LINES` pairs are new, the most alike are logged, and `functions_look_alike_more` with their `count`.
    Costs nothing where the registry has not changed since.

    Args:
        registry: whose functions.
        most_functions: a registry of more is passed over. None: none is.
    """
    if most_functions is not None and len(registry) > most_functions:
        return
    revision = registry.revision
    with _lock:
        if _looked.get(registry) == revision:
            return
        _looked[registry] = revision
    functions = {function.name: function for function in registry}
    found = find_lookalikes(map(card_of, functions.values()), most=MAX_PAIRS)
    with _lock:
        new = [pair for pair in found if _is_new(functions[pair.first], functions[pair.second])]
    for pair in new[:MAX_LINES]:
        logger.warning(
            "functions_look_alike: “%s” and “%s”: %s; %s",
            pair.first,
            pair.second,
            pair.why,
            pair.advice,
            extra={"first": pair.first, "second": pair.second, "likeness": pair.likeness, "apart": pair.apart},
        )
    if len(new) > MAX_LINES:
        count = len(new) - MAX_LINES
        logger.warning(
            "functions_look_alike_more: %d more pairs; `dispatcher doctor` lists them", count, extra={"count": count}
        )


def _is_new(first: Function[..., object], second: Function[..., object]) -> bool:
    """Whether nothing was said of the two yet; from now on it was."""
    said = _said.setdefault(first, WeakSet())
    if second in said:
        return False
    said.add(second)
    return True
