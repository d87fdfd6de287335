"""All tiers over the functions of a registry as it is at one moment, and what they have learnt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dispatcher.selection import fusion
from dispatcher.selection.abstention import SIGNALS, Numbers, energy
from dispatcher.selection.bayes import Bayes, states_of
from dispatcher.selection.card import Card
from dispatcher.selection.distance import Distance
from dispatcher.selection.embedding import Embedding
from dispatcher.selection.exact import Exact
from dispatcher.selection.features import Buckets, buckets
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.fusion import Fusion
from dispatcher.selection.latent import Latent
from dispatcher.selection.lexical import MAX_CHARACTERS, Lexicon, terms
from dispatcher.selection.loss import Floats, log_softmax
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import Model
from dispatcher.selection.neighbours import Neighbours
from dispatcher.selection.network import Network
from dispatcher.selection.rules import CompiledRule
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.shape import Shape
from dispatcher.selection.softmax import NEGLIGIBLE, Ngrams, Read, Softmax, document_of
from dispatcher.selection.words import Request, read_request

#: A wrong function's probability is taken for at most this: the step grows without bound towards 1.
MOST_SURE = 0.98
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
        return terms(self.text[:MAX_CHARACTERS])

    @cached_property
    def buckets(self) -> Buckets:
        return buckets(self.text)

    @cached_property
    def ngrams(self) -> Read:
        return self._snapshot.ngrams.read(self.buckets)

    @cached_property
    def vector(self) -> Floats:
        """Only where there is an encoder."""
        assert self._snapshot.embedding is not None  # noqa: S101 - its callers look first
        return self._snapshot.embedding.meaning.request(self.text)

    @cached_property
    def network(self) -> Floats:
        """The network's logits, "none of these" at the end; only where there is one."""
        assert self._snapshot.network is not None  # noqa: S101 - its callers look first
        return self._snapshot.network.logits(self.vector)

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

    def among(self, allowed: Floats) -> "Scores":
        """The same, where only some functions may be selected: `allowed` is 0 for those, and -inf for the others."""
        return Scores(tiers=self.tiers, fused=self.fused + allowed)


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
        self.version = "" if model is None else model.version
        self.exact = Exact(self.cards)
        self.lexicon = Lexicon(self.cards)
        self.shape = Shape(self.cards)
        self.rules = tuple((self.names[rule.rule.function], rule) for rule in rules if rule.rule.function in self.names)
        columns = min(self.size, 1_000)
        if model is None:
            self.ngrams = Ngrams([np.unique(document_of(card)) for card in self.cards], columns)
        else:
            self.ngrams = Ngrams.load(model.buckets, model.idf, model.unmet, columns)
        self.softmax = Softmax(self.cards, self.ngrams)
        self.bayes = Bayes(self.size, self.ngrams)
        self.embedding: Embedding | None = None
        self.neighbours: Neighbours | None = None
        if meaning is not None:
            self.embedding = Embedding(self.cards, meaning)
            # One place more than functions: the texts that nothing fits.
            self.neighbours = Neighbours(self.size + 1, meaning.dimension)
        #: How many examples each function has.
        self.examples = np.array([len(card.examples) for card in self.cards], dtype=np.float32)
        default = fusion.WORDS if meaning is None else fusion.MEANING
        self.fusion = default if model is None else model.fusion
        if tiers is not None:
            self.fusion = Fusion(weights={t: w for t, w in self.fusion.weights.items() if t in tiers})
        self.distance: Distance | None = None
        self.network: Network | None = None
        self.latent: Latent | None = None
        self._remember_examples()
        if model is not None:
            model.install(self)
        self._gates = self.fusion.gates(self.examples)

    def _remember_examples(self) -> None:
        for position, card in enumerate(self.cards):
            for example in card.examples:
                self.bayes.add(self.ngrams.read(buckets(example)), position)
        if self.neighbours is None or self.embedding is None:
            return
        examples = [(position, example) for position, card in enumerate(self.cards) for example in card.examples]
        if examples:
            vectors = self.embedding.meaning.requests([example for _, example in examples])
            for (position, example), vector in zip(examples, vectors, strict=True):
                self.neighbours.add(vector, position, example)

    # --- select -------------------------------------------------------------------------------------------------

    def read(self, text: str, state: ConversationState | None = None) -> Reading:
        return Reading(text, state, self)

    def score(self, reading: Reading) -> Scores:
        """What each tier says of each function, and all of them together."""
        found = {tier: self._tier(tier, reading) for tier in self._gates}
        return self.fuse({tier: logits for tier, logits in found.items() if logits is not None})

    def fuse(self, tiers: dict[str, Floats]) -> Scores:
        """The logits of all tiers as one."""
        fused = np.zeros(self.size, dtype=np.float32)
        for tier, logits in tiers.items():
            fused += self._gates[tier] * logits
        return Scores(tiers=tiers, fused=fused)

    def set_fusion(self, fusion: Fusion) -> None:
        """Weigh the tiers otherwise from now on."""
        self.fusion = fusion
        self._gates = fusion.gates(self.examples)

    def _tier(self, tier: str, reading: Reading) -> Floats | None:
        """A tier's logits; None where it has nothing to say."""
        match tier:
            case fusion.NGRAMS:
                return self.softmax.logits(reading.ngrams)
            case fusion.LEXICAL:
                return self.lexicon.scores(reading.terms)
            case fusion.BAYES:
                return self.bayes.logits(reading.ngrams)
            case fusion.EMBEDDING:
                return None if self.embedding is None else self.embedding.logits(reading.vector)
            case fusion.LATENT:
                return None if self.latent is None else reading.latent[: self.size]
            case fusion.NETWORK:
                return None if self.network is None else reading.network[: self.size]
            case fusion.NEIGHBOURS:
                return None if self.neighbours is None else self.neighbours.logits(reading.vector)[: self.size]
            case fusion.SHAPE:
                return self.shape.scores(reading.whole)
            case fusion.PRIOR:
                return self.bayes.log_prior(reading.states) if self.bayes.calls.any() else None
            case fusion.RULES:
                return self._rules(reading) if self.rules else None
        return None

    def _rules(self, reading: Reading) -> Floats:
        scores = np.zeros(self.size, dtype=np.float32)
        state = reading.state if reading.state is not None else ConversationState()
        for position, rule in self.rules:
            share, _ = rule.match(reading.request, state, MATERIAL_WEIGHT)
            scores[position] += share * rule.rule.weight
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
        second = float(np.partition(logs, -2)[-2]) if self.size > 1 else -10.0
        found = {
            "doubt": float(np.log(max(1e-4, 1 - float(np.exp(logs[first]))))),
            "margin": min(10.0, float(logs[first]) - second),
            "met": float(reading.ngrams.values @ reading.ngrams.values),
        }
        votes = []
        for tier, name in ((fusion.NGRAMS, "words"), (fusion.EMBEDDING, "meaning")):
            if tier in tiers:
                found[name], found[f"{name}_first"] = energy(tiers[tier]), float(tiers[tier][first])
                votes.append(int(tiers[tier].argmax()) == first)
        if fusion.LEXICAL in tiers:
            found["coverage"] = float(tiers[fusion.LEXICAL][first]) / max(1e-6, self.lexicon.most(reading.terms))
            votes.append(int(tiers[fusion.LEXICAL].argmax()) == first)
        found["agreement"] = sum(votes) / max(1, len(votes))
        if self.neighbours is not None:
            found["near"], found["refused"] = self.neighbours.closeness(reading.vector, self.size)
        if self.distance is not None:
            found["distance"] = float(self.distance.nearest(reading.vector[None])[0])
        if self.network is not None:
            found["network"] = energy(reading.network[: self.size])
            found["known"] = found["network"] - float(reading.network[-1])
        if self.latent is not None:
            found["network_words"] = energy(reading.latent[: self.size])
            found["known_words"] = found["network_words"] - float(reading.latent[-1])
        return np.array([found.get(signal, 0.0) for signal in SIGNALS])

    # --- learn --------------------------------------------------------------------------------------------------

    def learn(self, feedback: Feedback) -> None:
        """One stochastic step of every tier; a feedback about a function that is not here teaches nothing."""
        position = self.names.get(feedback.function)
        if feedback.verdict is not Verdict.NOTHING and position is None:
            return
        state = ConversationState(previous_function=feedback.previous_function or None, topic=feedback.topic or None)
        reading = self.read(feedback.text, state)
        self.ngrams.add(reading.buckets)
        if position is None:
            self._learn_nothing(reading)
            return
        right = feedback.verdict is Verdict.RIGHT
        gradient = self._gradient(self.score(reading), position, right=right)
        self.softmax.learn(reading.ngrams, gradient, feedback.weight)
        if self.embedding is not None and self.neighbours is not None:
            self.embedding.learn(reading.vector, gradient, feedback.weight)
            self.neighbours.add(reading.vector, position, feedback.text, right=right)
        if right:
            self.bayes.add(reading.ngrams, position, reading.states, feedback.weight)
            self.examples[position] += feedback.weight
            self._gates = self.fusion.gates(self.examples)
            if feedback.weight >= 1:
                self.exact.learn(feedback.text, position)
        elif self.exact.known(feedback.text) == position:
            self.exact.learn(feedback.text, None)

    def _learn_nothing(self, reading: Reading) -> None:
        self.exact.learn(reading.text, None)
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
        self._gates = self.fusion.gates(self.examples)

