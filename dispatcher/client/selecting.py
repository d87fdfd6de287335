"""The selector that is used where none is given: everything there is, as far as it is installed."""

import logging
import threading
from collections.abc import Sequence

from dispatcher.errors import ModelError
from dispatcher.registry.registry import Registry
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.encoders import find_encoders, missing
from dispatcher.selection.meaning import AUTO, Meaning, load_meaning
from dispatcher.selection.rules import KeywordRule
from dispatcher.settings import Settings

logger = logging.getLogger(__name__)

NONE = "none"

_told: set[str] = set()
_telling = threading.Lock()


def make_selector(registry: Registry, settings: Settings, rules: Sequence[KeywordRule] = ()) -> Cascade:
    """A selector by names, rules, words and, where one is installed, a sentence encoder.

    The encoder is loaded at the first selection, which takes a second or three; once in a process.

    Args:
        registry: the functions.
        settings: `encoder`, `select_act_at` and `select_ask_at` are read.
        rules: what speaks for a function beside its own words.

    Raises:
        UnknownFunctionError: a rule names a function that is not registered.
    """
    return Cascade(
        registry,
        rules,
        meaning=None if settings.encoder == NONE else lambda: find_meaning(settings.encoder),
        act_at=settings.select_act_at,
        ask_at=settings.select_ask_at,
    )


def find_meaning(name: str) -> Meaning | None:
    """Load an encoder.

    Args:
        name: as the setting `encoder` has it. With "auto" there may be none, and it is logged what one would add.

    Raises:
        ModelError: the encoder that is named is not installed, or not what it claims to be.
    """
    if name == NONE:
        return None
    if name != AUTO:
        return load_meaning(name)
    if not find_encoders():
        for advice in missing():
            if _is_new(advice):
                logger.info("no_encoder: %s", advice, extra={"reason": advice})
        return None
    try:
        return load_meaning()
    except ModelError as error:
        if _is_new(str(error)):
            logger.warning("encoder_not_used: %s", error, extra={"reason": str(error)})
        return None


def _is_new(message: str) -> bool:
    """Whether it was not logged yet: once in a process is enough."""
    with _telling:
        new = message not in _told
        _told.add(message)
    return new
