"""Which encoders are installed, what the others would add, and how one is made from its name."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from typing import Final

from dispatcher.errors import ModelError
from dispatcher.extras import install_command
from dispatcher.selection.encoders import e5, minilm, use, wordllama
from dispatcher.selection.encoders.combined import TIMES, CombinedEncoder, weighted_parts
from dispatcher.selection.encoders.encoder import Encoder
from dispatcher.selection.encoders.own import PREFIX, find_own, open_own
from dispatcher.selection.encoders.pinned import is_installed


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """An encoder that there is, installed or not."""

    #: Its `Encoder.name`.
    name: str
    #: The extra of ours that installs it.
    extra: str
    #: What must be there, as it is imported.
    modules: tuple[str, ...]
    #: What it is good for, to go on with a sentence.
    adds: str
    #: Makes it, on so many threads.
    make: Callable[[int], Encoder]

    @property
    def installed(self) -> bool:
        """Whether everything it needs is there. Nothing of it is run."""
        return all(map(is_installed, self.modules))


#: The best ones first.
OFFERS: Final[tuple[Offer, ...]] = (
    Offer(
        name=minilm.NAMES["mean"],
        extra=minilm.EXTRA,
        modules=minilm.MODULES,
        adds="what English sentences mean",
        make=lambda threads: minilm.MiniLM(threads=threads),
    ),
    Offer(
        name=minilm.NAMES["mean+max"],
        extra=minilm.EXTRA,
        modules=minilm.MODULES,
        adds="what English sentences mean, twice as wide",
        make=lambda threads: minilm.MiniLM(pooling="mean+max", threads=threads),
    ),
    Offer(
        name=minilm.NAMES["mean+cls"],
        extra=minilm.EXTRA,
        modules=minilm.MODULES,
        adds="what English sentences mean, twice as wide",
        make=lambda threads: minilm.MiniLM(pooling="mean+cls", threads=threads),
    ),
    Offer(
        name=use.NAME,
        extra=use.EXTRA,
        modules=use.MODULES,
        adds="what sentences mean in 16 languages, Chinese and English among them",
        make=lambda threads: use.MultilingualUSE(threads=threads),
    ),
    Offer(
        name=e5.NAME,
        extra=e5.EXTRA,
        modules=e5.MODULES,
        adds="what sentences mean in 100 languages, slowly",
        make=lambda threads: e5.MultilingualE5(threads=threads),
    ),
    Offer(
        name=wordllama.NAME,
        extra=wordllama.EXTRA,
        modules=wordllama.MODULES,
        adds="what English words mean, without their order and in a fraction of the time",
        make=lambda _: wordllama.WordLlama(),
    ),
)

_made: dict[tuple[str, int], Encoder] = {}
_lock = RLock()
# A child of a fork would find it locked for ever where another thread was loading one just then.
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def find_encoders() -> tuple[Offer, ...]:
    """Give the encoders that are installed, the best ones first. Nothing of them is run."""
    return tuple(offer for offer in OFFERS if offer.installed)


def missing() -> tuple[str, ...]:
    """Say what each extra that is not installed would add, a sentence each."""
    extras: dict[str, list[Offer]] = {}
    for offer in OFFERS:
        extras.setdefault(offer.extra, []).append(offer)
    without = "" if find_encoders() else " (without any of them texts are compared by words only)"
    return tuple(
        f"`{install_command(extra)}` would add {'; '.join(dict.fromkeys(o.adds for o in absent))}" + without
        for extra, offers in extras.items()
        if (absent := [offer for offer in offers if not offer.installed])
    )


def make_encoder(name: str, *, threads: int = 1) -> Encoder:
    """Give the encoder of a name; each is made once in a process.

    Args:
        name: an `Encoder.name`, or one without its version for the newest; a folder of one's own, as in
            `folder:/models/all-mpnet-base-v2`; several with weights are combined:
            `0.7*minilm-l6-int8/1 + 0.3*use-multilingual-v3/1`.
        threads: how many may work on one call.

    Raises:
        ModelError: there is none of that name, or it is not installed, or its weights are not the pinned ones; a
            folder holds none.
    """
    parts = weighted_parts(name)
    if len(parts) == 1 and TIMES not in name:
        return _make(name.strip(), threads)
    encoders = [_make(single, threads) for single, _ in parts]
    weights = [weight for _, weight in parts]
    try:
        return CombinedEncoder(encoders, weights)
    except ValueError as error:
        msg = f"{name!r} names no encoder: {error}"
        raise ModelError(msg) from None


def _make(name: str, threads: int) -> Encoder:
    if name.startswith(PREFIX):
        with _lock:
            return _make_once((name, threads), lambda: open_own(name, threads=threads))
    own = find_own(name)
    if own is not None:
        return own
    offer = next((offer for offer in OFFERS if name in {offer.name, offer.name.partition("/")[0]}), None)
    if offer is None:
        msg = (
            f"there is no encoder {name[:80]!r}; there are {', '.join(offer.name for offer in OFFERS)}, "
            f"and your own as {PREFIX}/its/path, each between blanks where they are added up"
        )
        raise ModelError(msg)
    absent = [module for module in offer.modules if not is_installed(module)]
    if absent:
        msg = (
            f"the encoder {offer.name} needs {' and '.join(absent)}, not installed here: {install_command(offer.extra)}"
        )
        raise ModelError(msg)
    with _lock:
        return _make_once((offer.name, threads), lambda: offer.make(threads))


def _make_once(key: tuple[str, int], make: Callable[[], Encoder]) -> Encoder:
    if key not in _made:
        _made[key] = make()
    return _made[key]
