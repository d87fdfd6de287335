"""What is said of a text, beside what was thought of it: the gradient of a step, and the functions that share it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dispatcher.selection import fusion
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.loss import Floats, Integers, log_softmax, softmax
from dispatcher.selection.softmax import NEGLIGIBLE
from dispatcher.selection.unsaid import MOST_SURE, beliefs

if TYPE_CHECKING:
    from dispatcher.selection.reading import Reading
    from dispatcher.selection.scores import Scores
    from dispatcher.selection.snapshot import Snapshot

#: Registries of more functions learn a text for its likeliest, so many; those that are smaller for all.
WHOLE: Final = 256
MAX_CANDIDATES: Final = 64
#: Tiers that learn from each feedback.
LEARNING: Final = frozenset({fusion.NGRAMS, fusion.BAYES, fusion.PRIOR, fusion.EMBEDDING, fusion.NEIGHBOURS})


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One text with what was said of it."""

    #: Empty where there is no encoder.
    vector: Floats
    foreign: bool
    #: The functions that it may have been, the judged one among them; shape (candidates,).
    candidates: Integers
    #: Of the judged one among them.
    place: int
    right: bool
    #: The feedback's, times what the text stands for.
    weight: float
    #: What all tiers but the embedding said of the candidates.
    rest: Floats
    #: P0: what was believed of them before anything was learnt, as probabilities; 0 where the function was right.
    first: Floats

    def believed(self, examples: Floats) -> Floats:
        """What is believed of the candidates, where a function was wrong; shape (candidates,).

        Args:
            examples: how many each function has, shape (functions,).
        """
        own = examples.take(self.candidates)
        found: Floats = beliefs(self.first[None], np.array([self.place]), own[None])[0]
        return found


def judge(snapshot: "Snapshot", reading: "Reading", scores: "Scores", feedback: Feedback, position: int) -> Judged:
    """A text with what was said of it, and the functions that it may have been."""
    right, most = feedback.verdict is Verdict.RIGHT, candidates_of(snapshot.size)
    first = None if right else _first_logs(snapshot, reading, scores)
    logs = scores.logs if first is None else np.maximum(scores.logs, first)
    candidates = _likeliest(logs, most, position)
    rest = scores.fused
    if fusion.EMBEDDING in scores.tiers:
        rest = rest - snapshot.gates[fusion.EMBEDDING] * scores.tiers[fusion.EMBEDDING]
    return Judged(
        vector=np.empty(0, dtype=np.float32) if snapshot.embedding is None else reading.vector,
        foreign=reading.foreign,
        candidates=candidates,
        place=int((candidates == position).argmax()),
        right=right,
        weight=feedback.weight * _worth(snapshot, scores, position, right=right),
        rest=rest.take(candidates),
        first=np.zeros(most, dtype=np.float32) if first is None else softmax(first.take(candidates)),
    )


def _worth(snapshot: "Snapshot", scores: "Scores", position: int, *, right: bool) -> float:
    """How many texts it stands for; a function that was told, not confirmed, is learnt as what it is."""
    confirmed = right and int(scores.logs.argmax()) == position
    return snapshot.unsaid.worth(scores.logs.item(position)) if confirmed else 1.0


def candidates_of(size: int) -> int:
    """For how many of so many functions a text is learnt."""
    return size if size <= WHOLE else MAX_CANDIDATES


def gradient_of(logs: Floats, position: int, *, right: bool) -> dict[int, float]:
    """Of the loss by the logit of each function that has anything to learn.

    The loss is -log P(f) where f is right, and -log(1 - P(f)) where it is wrong: all that is known then is that it
    was another.

    Args:
        logs: log P, shape (functions,).
        position: of f.
        right: whether it is.
    """
    probabilities = np.exp(logs)
    matters = (probabilities > NEGLIGIBLE).nonzero()[0]
    gradient: dict[int, float] = dict(zip(matters.tolist(), probabilities[matters].tolist(), strict=True))
    own = probabilities.item(position)
    if right:
        gradient[position] = own - 1.0
        return gradient
    own = min(own, MOST_SURE)
    gradient = {i: -own / (1 - own) * probability for i, probability in gradient.items()}
    gradient[position] = own
    return gradient


def _first_logs(snapshot: "Snapshot", reading: "Reading", scores: "Scores") -> Floats:
    """Log P0(f): what was thought of a text before anything was learnt in use."""
    logits = np.zeros(snapshot.size, dtype=np.float32)
    for tier, own in scores.tiers.items():
        if tier not in LEARNING:
            logits += snapshot.gates[tier] * own
    if snapshot.embedding is not None and fusion.EMBEDDING in scores.tiers:
        weight = np.float32(snapshot.fusion.weights[fusion.EMBEDDING].untrained)
        logits += weight * snapshot.embedding.first_logits(reading.vector, foreign=reading.foreign)
    return log_softmax(logits)


def _likeliest(logs: Floats, most: int, position: int) -> Integers:
    """The likeliest functions, and this one in any case; in no order, but where they are all."""
    if most == len(logs):
        return np.arange(most)
    found = np.argpartition(logs, -most)[-most:]
    if not (found == position).any():
        found[0] = position
    return found
