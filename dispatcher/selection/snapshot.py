"""All tiers over the functions of a registry as it is at one moment, and what they have learnt."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dispatcher.selection import fusion
from dispatcher.selection.abstention import SIGNALS, Numbers, energy
from dispatcher.selection.bayes import Bayes, states_of
from dispatcher.selection.card import Card
from dispatcher.selection.embedding import Embedding
from dispatcher.selection.evidence import Index
from dispatcher.selection.exact import NOTHING, Exact
from dispatcher.selection.features import Buckets, buckets
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.fusion import Fusion
from dispatcher.selection.lexical import MAX_TERM_CHARACTERS, Lexicon, terms
from dispatcher.selection.loss import Floats, Integers, log_softmax, softmax
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import Model
from dispatcher.selection.neighbours import Neighbours
from dispatcher.selection.network import LENGTH, Network
from dispatcher.selection.rehearsal import MAX_CANDIDATES, Judged, Rehearsal
from dispatcher.selection.rules import CompiledRule
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.shape import Shape
from dispatcher.selection.softmax import NEGLIGIBLE, Ngrams, Read, Softmax, document_of
from dispatcher.selection.unsaid import MOST_SURE, Unsaid, beliefs, share_out
from dispatcher.selection.words import Request, read_request, words

if TYPE_CHECKING:
    from dispatcher.selection.distance import Distance
    from dispatcher.selection.latent import Latent

#: The probability from which on a function was thought of by the selector itself.
PLAUSIBLE = 0.02
#: The probability of a favourite from which on it is not plausible that nothing fits.
CLEAR_FAVOURITE = 0.9
#: What shared words, and a like example, add at most, as in the keyword selector.
WORD_WEIGHT, EXAMPLE_WEIGHT = 3.0, 5.0
#: Functions above which shared words are left to BM25, which is quicker.
MAX_EVIDENCE = 500
#: Tiers that learn from each feedback.
LEARNING = frozenset({fusion.NGRAMS, fusion.BAYES, fusion.PRIOR, fusion.EMBEDDING, fusion.NEIGHBOURS})
#: How far above the mean a tier's favourite is.
FAVOUR = 0.3
#: What a rule found only in the material counts.
MATERIAL_WEIGHT = 0.25


class Reading:
    """A text, read as far as any tier has needed to yet."""

    def __init__(self, text: str, state: ConversationState | None, snapshot: "Snapshot") -> None:
        self.text = text
        self.state = state
        self._snapshot = snapshot

    @cached_property
    def request(self) -> Request:
        return read_request(self.text)

    @cached_property
    def whole(self) -> str:
        """Normalised, with nothing told apart."""
        return self.request.whole.instruction

    @cached_property
    def terms(self) -> list[str]:
        return terms(self.text[:MAX_TERM_CHARACTERS])

    @cached_property
    def buckets(self) -> Buckets:
        return buckets(self.text)

    @cached_property
    def ngrams(self) -> Read:
        return self._snapshot.ngrams.read(self.buckets)

    @cached_property
    def met(self) -> float:
        """The share of its n-grams, by idf, that were met before."""
        return float(self.ngrams.values @ self.ngrams.values)

    @cached_property
    def familiar(self) -> np.float32:
        """How much the tiers that count words should say: less where they know fewer than half of them."""
        return np.float32(min(1.0, 2 * self.met))

    @cached_property
    def vector(self) -> Floats:
        """Only where there is an encoder."""
        assert self._snapshot.embedding is not None  # noqa: S101 - its callers look first
        return self._snapshot.embedding.meaning.request(self.text)

    @cached_property
    def network(self) -> Floats:
        """The network's logits, "none of these" at the end; only where there is one."""
        assert self._snapshot.network is not None  # noqa: S101 - its callers look first
        return self._snapshot.network.logits(self.vector * np.float32(LENGTH))

    @cached_property
    def latent(self) -> Floats:
        """The latent network's logits, likewise."""
        assert self._snapshot.latent is not None  # noqa: S101 - its callers look first
        return self._snapshot.latent.logits(self.ngrams)

    @cached_property
    def states(self) -> tuple[str, ...]:
        return states_of(self.state)


@dataclass(kw_only=True, slots=True)
class Scores:
    """What the tiers say of every function."""

    #: By tier, shape (functions,).
    tiers: dict[str, Floats]
    #: All together, shape (functions,).
    fused: Floats
    #: log P(f | a function is meant), shape (functions,).
    logs: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.logs = log_softmax(self.fused)


class Snapshot:
    """The tiers of a set of functions."""

    def __init__(
        self,
        cards: Sequence[Card],
        *,
        rules: Sequence[CompiledRule] = (),
        meaning: Meaning | None = None,
        model: Model | None = None,
        tiers: frozenset[str] | None = None,
    ) -> None:
        """Build the tiers.

        Args:
            cards: the functions.
            rules: what speaks for a function beside its own words; those of functions that there are not are left out.
            meaning: the encoder and what goes with it; None to go by words alone.
            model: what was learnt offline, of these and perhaps of other functions.
            tiers: the names of those that are used; None: all.
        """
        self.cards = tuple(cards)
        self.size = len(self.cards)
        self.names = {name: position for position, card in enumerate(self.cards) for name in card.names}
        self.exact = Exact(self.cards)
        self.lexicon = Lexicon(self.cards)
        self.shape = Shape(self.cards)
        self.rules = tuple((self.names[rule.rule.function], rule) for rule in rules if rule.rule.function in self.names)
        # What a trained model knows of words is more than this does.
        self._evidence = Index(self.cards) if model is None and self.size <= MAX_EVIDENCE else None
        columns = min(self.size, 1_000)
        if model is None:
            self.ngrams = Ngrams([np.unique(document_of(card)) for card in self.cards], columns)
        else:
            self.ngrams = Ngrams.load(model.buckets, model.idf, model.unmet, columns)
        self.softmax = Softmax(self.cards, self.ngrams)
        self.bayes = Bayes(self.size, self.ngrams)
        self.embedding: Embedding | None = None
        self.neighbours: Neighbours | None = None
        self.rehearsal: Rehearsal | None = None
        self.unsaid = Unsaid()
        if meaning is not None:
            self.embedding = Embedding(self.cards, meaning)
            # One place more than functions: the texts that nothing fits.
            self.neighbours = Neighbours(self.size + 1, meaning.dimension)
            self.rehearsal = Rehearsal(self.embedding)
        #: How many examples each function has.
        self.examples = np.zeros(self.size, dtype=np.float32)
        default = fusion.WORDS if meaning is None else fusion.MEANING
        self.fusion = default if model is None else model.fusion
        if tiers is not None:
            self.fusion = Fusion(weights={t: w for t, w in self.fusion.weights.items() if t in tiers})
        self.distance: Distance | None = None
        self.network: Network | None = None
        self.latent: Latent | None = None
        # A model remembers what it was trained on, the functions' own examples among it: they count once.
        self._remember_examples(frozenset() if model is None else frozenset(model.examples.texts))
        #: What was scored last, and how much had been learnt by then: feedback often comes right after.
        self._last: tuple[Reading, Scores, int] | None = None
        self._learnt = 0
        self._gates: dict[str, Floats] = {}
        if model is not None:
            model.install(self)
        self._weigh_tiers()

    def _remember_examples(self, known: frozenset[str]) -> None:
        """Count and remember the functions' own examples, but for those that are known already."""
        own = [(i, example) for i, card in enumerate(self.cards) for example in card.examples if example not in known]
        for position, example in own:
            self.bayes.add(self.ngrams.read(buckets(example)), position)
            self.examples[position] += 1
        if own and self.neighbours is not None and self.embedding is not None:
            vectors = self.embedding.meaning.requests([example for _, example in own])
            for (position, example), vector in zip(own, vectors, strict=True):
                self.neighbours.add(vector, position, example)

    # --- select -------------------------------------------------------------------------------------------------

    def read(self, text: str, state: ConversationState | None = None) -> Reading:
        return Reading(text, state, self)

    def score(self, reading: Reading) -> Scores:
        """What each tier says of each function, and all of them together."""
        scores = self.fuse({tier: logits_of(reading) for tier, logits_of in self._active.items()})
        self._last = (reading, scores, self._learnt)
        return scores

    def fuse(self, tiers: dict[str, Floats]) -> Scores:
        """The logits of all tiers as one."""
        if not tiers:
            return Scores(tiers=tiers, fused=np.zeros(self.size, dtype=np.float32))
        gates = np.stack([self._gates[tier] for tier in tiers])
        fused: Floats = np.einsum("tf,tf->f", gates, np.stack(list(tiers.values())))
        favour = self.unsaid.favour(self.examples)
        return Scores(tiers=tiers, fused=fused if favour is None else fused + favour)

    def set_fusion(self, fusion: Fusion) -> None:
        """Weigh the tiers otherwise from now on."""
        self.fusion = fusion
        self._weigh_tiers()

    def _weigh_tiers(self) -> None:
        self._gates = self.fusion.gates(self.examples)
        #: The tiers that count for any function: the others need not be asked.
        self._active = {
            tier: logits_of
            for tier, logits_of in self._find_tiers().items()
            if tier in self._gates and self._gates[tier].any()
        }

    def _find_tiers(self) -> dict[str, Callable[[Reading], Floats]]:
        """How each tier that there is gives its logits."""
        found: dict[str, Callable[[Reading], Floats]] = {
            fusion.LEXICAL: lambda reading: self.lexicon.scores(reading.terms),
            fusion.NGRAMS: lambda reading: self.softmax.logits(reading.ngrams) * reading.familiar,
            fusion.SHAPE: lambda reading: self.shape.scores(reading.whole) * reading.familiar,
        }
        if self.bayes.calls.any():
            found[fusion.BAYES] = lambda reading: self.bayes.logits(reading.ngrams) * reading.familiar
            found[fusion.PRIOR] = self._prior
        if self.latent is not None:
            found[fusion.LATENT] = lambda reading: reading.latent[: self.size] * reading.familiar
        if self.network is not None:
            found[fusion.NETWORK] = lambda reading: reading.network[: self.size]
        if self.embedding is not None and self.neighbours is not None:
            embedding, neighbours = self.embedding, self.neighbours
            found[fusion.EMBEDDING] = lambda reading: embedding.logits(reading.vector)
            found[fusion.NEIGHBOURS] = lambda reading: neighbours.logits(reading.vector)[: self.size]
        if self.rules or self._evidence is not None:
            found[fusion.KEYWORDS] = self._keywords
        return found

    def _prior(self, reading: Reading) -> Floats:
        """How often functions were asked for, as far as that is known: who never came first was never confirmed."""
        prior, unknown = self.bayes.log_prior(reading.states), self.unsaid.share
        return prior if not unknown else prior - np.float32(unknown) * self.bayes.log_prior()

    def _keywords(self, reading: Reading) -> Floats:
        """As the keyword selector scores: rules, and the words and examples that text and function share."""
        scores = np.zeros(self.size, dtype=np.float32)
        state = reading.state if reading.state is not None else ConversationState()
        for position, rule in self.rules:
            share, _ = rule.match(reading.request, state, MATERIAL_WEIGHT)
            scores[position] += share * rule.rule.weight
        if self._evidence is not None:
            request = reading.request
            found = self._evidence.read(
                words(request.instruction), words(request.material), MATERIAL_WEIGHT, range(self.size)
            )
            for position, evidence in found.items():
                scores[position] += evidence.score(WORD_WEIGHT, EXAMPLE_WEIGHT)
        return scores

    @property
    def gates(self) -> Mapping[str, Floats]:
        """The weight of each tier for each function, shape (functions,)."""
        return self._gates

    def matches(self, reading: Reading, position: int) -> list[tuple[float, str]]:
        """How far each rule of a function matches, and which words did."""
        state = reading.state if reading.state is not None else ConversationState()
        return [rule.match(reading.request, state, MATERIAL_WEIGHT) for at, rule in self.rules if at == position]

    def signals(self, reading: Reading, scores: Scores) -> Numbers:
        """What speaks for and against that any function is meant; see `abstention.SIGNALS`."""
        first = int(scores.fused.argmax())
        logs, tiers = scores.logs, scores.tiers
        favourite = float(logs[first])
        second = float(np.partition(logs, -2)[-2]) if self.size > 1 else -10.0
        found = {
            "doubt": math.log(max(1e-4, 1 - math.exp(favourite))),
            "margin": min(10.0, favourite - second),
            "met": reading.met,
        }
        votes = []
        for tier, name in ((fusion.NGRAMS, "words"), (fusion.EMBEDDING, "meaning")):
            if tier in tiers:
                found[name], found[f"{name}_first"] = energy(tiers[tier]), float(tiers[tier][first])
                votes.append(_favours(tiers[tier], first))
        if fusion.LEXICAL in tiers:
            found["coverage"] = float(tiers[fusion.LEXICAL][first]) / max(1e-6, self.lexicon.most(reading.terms))
            votes.append(_favours(tiers[fusion.LEXICAL], first))
        found["agreement"] = sum(votes) / max(1, len(votes))
        if self.neighbours is not None:
            found["near"], found["refused"] = self.neighbours.closeness(reading.vector, self.size)
        if self.distance is not None:
            found["distance"] = float(self.distance.nearest(reading.vector[None])[0])
        for tier, name, logits in (
            (fusion.NETWORK, "", None if self.network is None else reading.network),
            (fusion.LATENT, "_words", None if self.latent is None else reading.latent),
        ):
            if tier in tiers and logits is not None:
                found[f"network{name}"] = energy(tiers[tier])
                found[f"known{name}"] = found[f"network{name}"] - float(logits[-1])
        return np.array([found.get(signal, 0.0) for signal in SIGNALS])

    # --- learn --------------------------------------------------------------------------------------------------

    def learn(self, feedback: Feedback) -> None:
        """One stochastic step of every tier; a feedback about a function that is not here teaches nothing."""
        position = self.names.get(feedback.function)
        if position is None and (feedback.verdict is not Verdict.NOTHING or not self.size):
            return
        reading, scores = self._look_again(feedback)
        self.softmax.meet(reading.buckets)
        met = self.ngrams.read(reading.buckets)
        self._learnt += 1
        if position is None:
            self._learn_nothing(reading, scores, feedback)
            return
        right = feedback.verdict is Verdict.RIGHT
        plausible = float(np.exp(scores.logs[position])) >= PLAUSIBLE
        gradient = self._gradient(scores, position, right=right)
        judged = None if right and self.rehearsal is None else self._judge(reading, scores, position, feedback)
        if judged is not None and not right:
            believed = beliefs(judged.first[None], np.array([judged.place]), self.examples[judged.candidates][None])
            gradient = share_out(gradient, position, judged.candidates, believed[0])
        self.softmax.learn(met, gradient, feedback.weight)
        if judged is not None and self.rehearsal is not None and self.neighbours is not None:
            if fusion.EMBEDDING in scores.tiers:
                surprise = abs(gradient[position]) * feedback.weight
                self.rehearsal.learn(judged, surprise, self._gates[fusion.EMBEDDING], self.examples)
            self.neighbours.add(reading.vector, position, feedback.text, right=right)
        self.unsaid.add(feedback.weight, right=right)
        if right:
            self.bayes.add(met, position, reading.states, feedback.weight)
            self.examples[position] += feedback.weight
            self._weigh_function(position)
            if feedback.weight >= 1:
                self.exact.learn(feedback.text, position, source=feedback.source, plausible=plausible)
        elif feedback.weight >= 1:
            self.exact.forget(feedback.text, position)

    def _look_again(self, feedback: Feedback) -> tuple[Reading, Scores]:
        """What the tiers say of a text now; they need not be asked again where nothing was learnt in between."""
        state = ConversationState(previous_function=feedback.previous_function or None, topic=feedback.topic or None)
        if self._last is not None:
            reading, scores, learnt = self._last
            if learnt == self._learnt and reading.text == feedback.text and reading.states == states_of(state):
                return reading, scores
        reading = self.read(feedback.text, state)
        return reading, self.score(reading)

    def _judge(self, reading: Reading, scores: Scores, position: int, feedback: Feedback) -> Judged:
        """A text with what was said of it, and the functions that it may have been."""
        right = feedback.verdict is Verdict.RIGHT
        logs = first = scores.logs
        if not right:
            first = self._first_logs(reading, scores)
            logs = np.maximum(logs, first)
        candidates = _likeliest(logs, min(MAX_CANDIDATES, self.size), position)
        rest = scores.fused[candidates]
        if fusion.EMBEDDING in scores.tiers:
            rest -= self._gates[fusion.EMBEDDING][candidates] * scores.tiers[fusion.EMBEDDING][candidates]
        return Judged(
            vector=np.empty(0, dtype=np.float32) if self.embedding is None else reading.vector,
            candidates=candidates,
            place=int((candidates == position).argmax()),
            right=right,
            weight=feedback.weight,
            rest=rest,
            first=first[candidates] if right else softmax(first[candidates]),
        )

    def _first_logs(self, reading: Reading, scores: Scores) -> Floats:
        """Log P0(f): what was thought of a text before anything was learnt in use."""
        logits = np.zeros(self.size, dtype=np.float32)
        for tier in scores.tiers.keys() - LEARNING:
            logits += self._gates[tier] * scores.tiers[tier]
        if self.embedding is not None and fusion.EMBEDDING in scores.tiers:
            weight = np.float32(self.fusion.weights[fusion.EMBEDDING].untrained)
            logits += weight * (self.embedding.start @ reading.vector)
        return log_softmax(logits)

    def _weigh_function(self, position: int) -> None:
        """Weigh the tiers anew for one function, whose examples have changed."""
        for tier, gate in self.fusion.gates(self.examples[position : position + 1]).items():
            self._gates[tier][position] = gate[0]
        if len(self._active) < len(self._gates):
            self._weigh_tiers()

    def _learn_nothing(self, reading: Reading, scores: Scores, feedback: Feedback) -> None:
        """Remember a text as one that no function fits."""
        plausible = float(np.exp(scores.logs.max())) < CLEAR_FAVOURITE
        if feedback.weight >= 1:
            self.exact.learn(reading.text, NOTHING, source=feedback.source, plausible=plausible)
        if self.neighbours is not None:
            self.neighbours.add(reading.vector, self.size, reading.text)

    @staticmethod
    def _gradient(scores: Scores, position: int, *, right: bool) -> dict[int, float]:
        """Of the loss by the logit of each function that has anything to learn.

        The loss is -log P(f) where f is right, and -log(1 - P(f)) where it is wrong: all that is known then is that it
        was another.
        """
        probabilities = np.exp(scores.logs)
        matters = np.flatnonzero(probabilities > NEGLIGIBLE)
        if right:
            gradient = {int(i): float(probabilities[i]) for i in matters}
            gradient[position] = float(probabilities[position]) - 1.0
            return gradient
        own = min(float(probabilities[position]), MOST_SURE)
        gradient = {int(i): -own / (1 - own) * float(probabilities[i]) for i in matters}
        gradient[position] = own
        return gradient

    def count(self, counts: Mapping[int, float]) -> None:
        """Add to the examples that functions are known to have."""
        for position, count in counts.items():
            self.examples[position] += count


def _likeliest(logs: Floats, most: int, position: int) -> Integers:
    """The likeliest functions, and this one in any case; in no order."""
    if most >= len(logs):
        return np.arange(len(logs))
    found = np.argpartition(logs, -most)[-most:]
    if not (found == position).any():
        found[0] = position
    return found


def _favours(logits: Floats, position: int) -> bool:
    """Whether a function is a tier's favourite; a tier that says nearly the same of all has none."""
    return int(logits.argmax()) == position and float(logits[position] - logits.mean()) > FAVOUR
