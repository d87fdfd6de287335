"""Why a function came where it came: which words, examples and earlier calls spoke for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dispatcher.selection import fusion
from dispatcher.selection.features import hash_tokens, tokens
from dispatcher.selection.lexical import root
from dispatcher.selection.words import STOP_WORDS

if TYPE_CHECKING:
    from dispatcher.selection.reading import Reading
    from dispatcher.selection.scores import Scores
    from dispatcher.selection.snapshot import Snapshot

#: Words named in a sentence.
MAX_WORDS: Final = 4
#: Likeness from which an example is worth showing: below this it would puzzle more than explain.
LIKE: Final = 0.4


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One thing that spoke for a function, or against it."""

    #: The tier that it comes from.
    tier: str
    #: What it is, for a person.
    detail: str
    #: What it adds to the logit: above 0 for the function, below 0 against it.
    weight: float


def explain(snapshot: "Snapshot", reading: "Reading", scores: "Scores", position: int) -> tuple[Evidence, ...]:
    """Everything that a candidate's logit is made of, the weightiest first."""
    gates = snapshot.gates
    found: list[Evidence] = []
    for tier, logits in scores.tiers.items():
        # Against the mean of all functions: only differences decide.
        weight = float(gates[tier][position] * (logits[position] - logits.mean()))
        if detail := _detail(tier, snapshot, reading, position):
            found.append(Evidence(tier=tier, detail=detail, weight=weight))
    return tuple(sorted(found, key=lambda evidence: -evidence.weight))


def summarise(snapshot: "Snapshot", reading: "Reading", scores: "Scores", position: int) -> str:
    """What spoke for a candidate, in a few words."""
    details: list[str] = []
    for evidence in explain(snapshot, reading, scores, position):
        if evidence.weight > 0.1 and evidence.detail not in details:  # noqa: PLR2004 - less would not be noticed
            details.append(evidence.detail)
    return "; ".join(details[:3]) or "nothing in particular"


def _detail(tier: str, snapshot: "Snapshot", reading: "Reading", position: int) -> str:  # noqa: PLR0911 - a tier each
    match tier:
        case fusion.LEXICAL:
            return _shared_terms(snapshot, reading, position)
        case fusion.NGRAMS | fusion.BAYES:
            return _learnt_words(snapshot, reading, position)
        case fusion.EMBEDDING:
            return "its description means something similar"
        case fusion.NEIGHBOURS:
            return _like(snapshot, reading, position)
        case fusion.SHAPE:
            return "the numbers and choices that it takes"
        case fusion.PRIOR:
            calls = float(snapshot.bayes.calls[position])
            return f"asked for {calls:g} times before" if calls > 0 else ""
        case fusion.KEYWORDS:
            return _rules(snapshot, reading, position)
    return ""


def _shared_terms(snapshot: "Snapshot", reading: "Reading", position: int) -> str:
    shares = snapshot.lexicon.shared(dict.fromkeys(reading.terms), position)
    strongest = sorted(shares, key=lambda term: -shares[term])[:MAX_WORDS]
    written = {root(word): word for word in reversed(tokens(reading.text))}
    return "words: " + ", ".join(written.get(term, term) for term in strongest) if strongest else ""


def _learnt_words(snapshot: "Snapshot", reading: "Reading", position: int) -> str:
    """The words whose n-grams speak for the function."""
    weights: dict[str, float] = {}
    for word in dict.fromkeys(tokens(reading.text)):
        if word not in STOP_WORDS:
            read = snapshot.ngrams.read(hash_tokens([word]))
            weights[word] = float(snapshot.softmax.shares(read, position).sum()) if len(read.rows) else 0.0
    strongest = [word for word in sorted(weights, key=lambda word: -weights[word]) if weights[word] > 0.5]  # noqa: PLR2004
    shown = [word if word.strip("0") else "a number" for word in strongest[:MAX_WORDS]]
    return "words: " + ", ".join(shown) if shown else ""


def _like(snapshot: "Snapshot", reading: "Reading", position: int) -> str:
    if snapshot.neighbours is None:
        return ""
    text, cosine = snapshot.neighbours.nearest(reading.vector, position)
    return f"like “{text}”" if cosine >= LIKE else ""


def _rules(snapshot: "Snapshot", reading: "Reading", position: int) -> str:
    whys = [why for share, why in snapshot.keywords.matches(reading, position) if share > 0]
    return "; ".join(dict.fromkeys(whys))
