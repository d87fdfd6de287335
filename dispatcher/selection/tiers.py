"""How each tier of a snapshot gives its logits for a text: shape (functions,) each."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dispatcher.selection import fusion
from dispatcher.selection.loss import Floats
from dispatcher.selection.reading import Reading

if TYPE_CHECKING:
    from dispatcher.selection.snapshot import Snapshot


def find_tiers(snapshot: "Snapshot") -> dict[str, Callable[[Reading], Floats]]:
    """The tiers that there are, by name."""
    size = snapshot.size
    found: dict[str, Callable[[Reading], Floats]] = {}
    # The encoder first: what a feedback that follows will change, the processor then still has at hand.
    if snapshot.embedding is not None and snapshot.neighbours is not None:
        embedding = snapshot.embedding
        found[fusion.EMBEDDING] = lambda reading: embedding.logits(reading.vector, foreign=reading.foreign)
        found[fusion.NEIGHBOURS] = lambda reading: reading.neighbours[0][:size]
    if snapshot.network is not None:
        found[fusion.NETWORK] = lambda reading: reading.network[:size]
    found[fusion.LEXICAL] = lambda reading: _as_far_as_read(reading.lexical[0], reading)
    found[fusion.NGRAMS] = lambda reading: _weaken(_softmax(snapshot, reading), reading.familiar)
    if not snapshot.shape.is_silent:
        found[fusion.SHAPE] = lambda reading: _weaken(snapshot.shape.scores(reading.whole), reading.familiar)
    if snapshot.bayes.calls.any():
        found[fusion.BAYES] = lambda reading: _weaken(_bayes(snapshot, reading), reading.familiar)
        found[fusion.PRIOR] = lambda reading: _as_far_as_read(_prior(snapshot, reading), reading)
    if snapshot.latent is not None:
        found[fusion.LATENT] = lambda reading: _weaken(reading.latent[:size], reading.familiar)
    if not snapshot.keywords.are_silent:
        found[fusion.KEYWORDS] = snapshot.keywords.logits
    return found


def _softmax(snapshot: "Snapshot", reading: Reading) -> Floats:
    if not snapshot.softmax.is_dense:
        return snapshot.softmax.logits(reading.ngrams)
    return reading.sum.tables[0] / np.float32(reading.sum.length) + snapshot.softmax.bias


def _bayes(snapshot: "Snapshot", reading: Reading) -> Floats:
    if not snapshot.softmax.is_dense:
        return snapshot.bayes.logits(reading.ngrams)
    return snapshot.bayes.weigh(reading.sum.tables[1], reading.sum.count)


def _prior(snapshot: "Snapshot", reading: Reading) -> Floats:
    """How often functions were asked for, as far as that is known: who never came first was never confirmed."""
    prior, unknown = snapshot.bayes.log_prior(reading.states), snapshot.unsaid.share
    return prior if not unknown else prior - np.float32(unknown) * snapshot.bayes.log_prior()


def _as_far_as_read(logits: Floats, reading: Reading) -> Floats:
    """What holds in the language that the text is in."""
    return _weaken(logits, reading.language) if reading.foreign else logits


def _weaken(logits: Floats, share: float) -> Floats:
    return logits if share == 1 else logits * np.float32(share)
