"""What speaks for and against that any function is meant, worked out of what the tiers say of a text."""

import math
from itertools import repeat
from typing import TYPE_CHECKING, Final

from dispatcher.selection import fusion
from dispatcher.selection.abstention import SIGNALS, energy
from dispatcher.selection.loss import Floats, ones
from dispatcher.selection.reading import Reading
from dispatcher.selection.scores import Scores

if TYPE_CHECKING:
    from dispatcher.selection.snapshot import Snapshot

#: How much of a first candidate's sureness counts: log of what its probability lacks to 1.
SURE_ENOUGH: Final = 5.0
#: How far above the mean a tier's favourite is.
FAVOUR: Final = 0.3


def signals_of(snapshot: "Snapshot", reading: Reading, scores: Scores) -> list[float]:
    """What speaks for and against that any function is meant; see `abstention.SIGNALS`."""
    logs, tiers = scores.logs, scores.tiers
    first, *others = scores.ranking[:2]
    favourite = logs.item(first)
    second = logs.item(others[0]) if others else -10.0
    found = {
        "doubt": math.log(max(1e-4, 1 - math.exp(favourite))),
        "margin": min(10.0, favourite - second),
        "met": reading.met,
    }
    votes = []
    for tier, all_of_them, own in (
        (fusion.NGRAMS, "words", "words_first"),
        (fusion.EMBEDDING, "meaning", "meaning_first"),
    ):
        logits = tiers.get(tier)
        if logits is not None:
            found[all_of_them], found[own] = energy(logits), logits.item(first)
            votes.append(_favours(logits, first))
    terms = tiers.get(fusion.LEXICAL)
    if terms is not None:
        found["coverage"] = terms.item(first) / max(1e-6, reading.lexical[1])
        votes.append(_favours(terms, first))
    found["agreement"] = sum(votes) / max(1, len(votes))
    if snapshot.outline is not None:
        named, described = snapshot.outline.shares(reading.terms, first)
        sure = min(SURE_ENOUGH, -found["doubt"]) if others else 0.0
        taught = fusion.share_of(snapshot.examples.item(first)) * sure
        found |= {"named": named, "described": described, "taught": taught}
    if fusion.KEYWORDS in tiers:
        found["ruled"] = snapshot.keywords.ruled(reading, first)
    if snapshot.neighbours is not None:
        found["near"], found["refused"] = reading.neighbours[1]
    if snapshot.distance is not None:
        found["distance"] = float(snapshot.distance.nearest(reading.vector[None])[0])
    if fusion.NETWORK in tiers:
        found["network"] = energy(tiers[fusion.NETWORK])
        found["known"] = found["network"] - reading.network.item(-1)
    if fusion.LATENT in tiers:
        found["network_words"] = energy(tiers[fusion.LATENT])
        found["known_words"] = found["network_words"] - reading.latent.item(-1)
    return list(map(found.get, SIGNALS, repeat(0.0)))


def _favours(logits: Floats, position: int) -> bool:
    """Whether a function is a tier's favourite; a tier that says nearly the same of all has none."""
    if int(logits.argmax()) != position:
        return False
    return logits.item(position) - float(logits.dot(ones(len(logits)))) / len(logits) > FAVOUR
