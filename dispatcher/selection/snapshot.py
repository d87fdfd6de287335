"""All tiers over the functions of a registry as it is at one moment, and what they have learnt."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from dispatcher.selection import fusion
from dispatcher.selection.abstention import SIGNALS, energy
from dispatcher.selection.bayes import Bayes, states_of
from dispatcher.selection.card import Card
from dispatcher.selection.embedding import Embedding
from dispatcher.selection.evidence import Index
from dispatcher.selection.exact import NOTHING, Exact
from dispatcher.selection.features import buckets, tokens
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.fusion import Fusion
from dispatcher.selection.judgement import gradient_of, judge
from dispatcher.selection.languages import languages_of
from dispatcher.selection.lexical import Lexicon
from dispatcher.selection.loss import Floats, Integers, ones
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import Model
from dispatcher.selection.neighbours import Neighbours
from dispatcher.selection.outline import Outline
from dispatcher.selection.reading import Reading
from dispatcher.selection.rehearsal import Rehearsal
from dispatcher.selection.rules import CompiledRule
from dispatcher.selection.scores import Scores
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.shape import Shape
from dispatcher.selection.softmax import Ngrams, Softmax, document_of
from dispatcher.selection.sums import Sum, Sums, Table
from dispatcher.selection.unsaid import Unsaid, share_out
from dispatcher.selection.words import words

if TYPE_CHECKING:
    from dispatcher.selection.distance import Distance
    from dispatcher.selection.latent import Latent
    from dispatcher.selection.network import Network

#: The probability from which on a function was thought of by the selector itself.
PLAUSIBLE = 0.02
#: How far P may be from 1, times what a tier counts, for a function that was right to teach the tier's weights nothing.
KNOWN = 0.01
#: The probability of a favourite from which on it is not plausible that nothing fits.
CLEAR_FAVOURITE = 0.9
#: What a like example adds at most, as in the keyword selector. Shared words add nothing here: BM25 and the n-grams
#: count them already.
EXAMPLE_WEIGHT = 5.0
#: Functions above which examples are left to the other tiers, which are quicker.
MAX_EVIDENCE = 500
#: How much of a first candidate's sureness counts: log of what its probability lacks to 1.
SURE_ENOUGH = 5.0
#: How far above the mean a tier's favourite is.
FAVOUR = 0.3
#: What a rule found only in the material counts.
MATERIAL_WEIGHT = 0.25


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
        # What a trained model knows of examples is more than this does.
        likened = model is None and self.size <= MAX_EVIDENCE and any(card.examples for card in self.cards)
        self._evidence = Index(self.cards) if likened else None
        # Nor does it ask how a function describes itself: what was learnt is not in the descriptions.
        self._outline = Outline(self.cards, self.lexicon) if model is None else None
        columns = min(self.size, 1_000)
        if model is None:
            self.ngrams = Ngrams([np.unique(document_of(card)) for card in self.cards], columns)
        else:
            self.ngrams = Ngrams.load(model.buckets, model.idf, model.unmet, columns)
        self.softmax = Softmax(self.cards, self.ngrams)
        self.bayes = Bayes(self.size, self.ngrams)
        self._sums = Sums(self.ngrams, self.lexicon)
        #: What `_sums` adds up, as it was when it was told: how often tables had changed, and the latent basis.
        self._summed: tuple[int, int, Latent | None] = (-1, -1, None)
        self.embedding: Embedding | None = None
        self.neighbours: Neighbours | None = None
        self.rehearsal: Rehearsal | None = None
        self.unsaid = Unsaid(self.size)
        if meaning is not None:
            if model is not None and model.adapted and model.encoder == meaning.name and meaning.adaptable is not None:
                meaning = meaning.adapted(model.adapted)
            self.embedding = Embedding(self.cards, meaning)
            # One place more than functions: the texts that nothing fits.
            self.neighbours = Neighbours(self.size + 1, meaning.dimension, meaning.multilingual)
            self.rehearsal = Rehearsal(self.embedding)
        #: The tiers whose weights learn from each feedback.
        self._weighed = (fusion.NGRAMS,) if self.embedding is None else (fusion.NGRAMS, fusion.EMBEDDING)
        #: What was learnt from offline.
        self._texts = () if model is None else model.examples.texts
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
            self.bayes.add(self.ngrams.read(buckets(example)).rows, position)
            self.examples[position] += 1
        if own and self.neighbours is not None and self.embedding is not None:
            vectors = self.embedding.meaning.requests([example for _, example in own])
            for (position, example), vector in zip(own, vectors, strict=True):
                self.neighbours.add(vector, position, example)

    # --- select -------------------------------------------------------------------------------------------------

    def read(self, text: str, state: ConversationState | None = None) -> Reading:
        return Reading(text, state, self)

    @cached_property
    def languages(self) -> frozenset[str]:
        """Those but English that much of what was learnt from offline is in, or of what functions say of themselves."""
        return languages_of(self._texts or [text for card in self.cards for text in (card.description, *card.examples)])

    def score(self, reading: Reading) -> Scores:
        """What each tier says of each function, and all of them together."""
        tiers = {tier: logits_of(reading) for tier, logits_of in self._active.items()}
        scores = self._fuse(tiers, self._active_gates)
        self._last = (reading, scores, self._learnt)
        return scores

    def fuse(self, tiers: dict[str, Floats]) -> Scores:
        """The logits of tiers as one."""
        return self._fuse(tiers, np.array([self._gates[tier] for tier in tiers]))

    def _fuse(self, tiers: dict[str, Floats], gates: Floats) -> Scores:
        """The same with their weights, shape (tiers, functions)."""
        if not tiers:
            return Scores(tiers=tiers, fused=np.zeros(self.size, dtype=np.float32))
        weighed = np.concatenate(tuple(tiers.values())).reshape(gates.shape)
        weighed *= gates
        fused: Floats = np.add.reduce(weighed)
        favour = self.unsaid.favour(fused)
        if favour is not None:
            fused += favour
        return Scores(tiers=tiers, fused=fused)

    def set_fusion(self, fusion: Fusion) -> None:
        """Weigh the tiers otherwise from now on."""
        self.fusion = fusion
        self._weigh_tiers()

    def _weigh_tiers(self) -> None:
        gates = self.fusion.gates(self.examples)
        found = self._find_tiers()
        #: The tiers that count for any function: the others need not be asked.
        self._active = {t: logits_of for t, logits_of in found.items() if t in gates and gates[t].any()}
        others = [tier for tier in gates if tier not in self._active]
        #: Those that may come to count when something is learnt.
        self._waiting = [tier for tier in others if tier in (*found, fusion.BAYES, fusion.PRIOR)]
        order = [*self._active, *others]
        #: Shape (tiers, functions), the active ones first. `_gates` looks at its rows.
        self._all_gates = np.array([gates[tier] for tier in order])
        self._active_gates = self._all_gates[: len(self._active)]
        self._gates = dict(zip(order, self._all_gates, strict=True))
        self._untrained, self._gained = self.fusion.ends(order)

    def _find_tiers(self) -> dict[str, Callable[[Reading], Floats]]:
        """How each tier that there is gives its logits."""
        found: dict[str, Callable[[Reading], Floats]] = {
            fusion.LEXICAL: lambda reading: _as_far_as_read(reading.lexical[0], reading),
            fusion.NGRAMS: lambda reading: _weaken(self._softmax_logits(reading), reading.familiar),
        }
        if not self.shape.is_silent:
            found[fusion.SHAPE] = lambda reading: _weaken(self.shape.scores(reading.whole), reading.familiar)
        if self.bayes.calls.any():
            found[fusion.BAYES] = lambda reading: _weaken(self._bayes_logits(reading), reading.familiar)
            found[fusion.PRIOR] = lambda reading: _as_far_as_read(self._prior(reading), reading)
        if self.latent is not None:
            found[fusion.LATENT] = lambda reading: _weaken(reading.latent[: self.size], reading.familiar)
        if self.network is not None:
            found[fusion.NETWORK] = lambda reading: reading.network[: self.size]
        if self.embedding is not None and self.neighbours is not None:
            embedding = self.embedding
            found[fusion.EMBEDDING] = lambda reading: embedding.logits(reading.vector, foreign=reading.foreign)
            found[fusion.NEIGHBOURS] = lambda reading: reading.neighbours[0][: self.size]
        if self.rules or self._evidence is not None:
            found[fusion.KEYWORDS] = self._keywords
        return found

    def _prior(self, reading: Reading) -> Floats:
        """How often functions were asked for, as far as that is known: who never came first was never confirmed."""
        prior, unknown = self.bayes.log_prior(reading.states), self.unsaid.share
        return prior if not unknown else prior - np.float32(unknown) * self.bayes.log_prior()

    def add_up(self, found: list[str]) -> Sum:
        """What the n-grams of a text's words add up to in the tables of the tiers, where those are dense."""
        self._follow_tables()
        return self._sums.read(found)

    def remember_words(self, texts: Iterable[str]) -> None:
        """Have what the words of texts add up to at hand, until anything is learnt: the most frequent ones first."""
        if not self.softmax.is_dense:
            return
        counts = Counter(word for text in texts for word in set(tokens(text)))
        self._follow_tables()
        self._sums.remember(word for word, _ in counts.most_common())

    def _follow_tables(self) -> None:
        """Have the tables that there are now added up."""
        changes, counted, latent = self._summed
        if changes != self.softmax.changes or counted != self.bayes.changes or latent is not self.latent:
            tables = [Table(self.softmax.table, by_idf=True), Table(self.bayes.table, by_idf=False)]
            if self.latent is not None and self.softmax.is_dense:
                tables += [Table(self.latent.basis, by_idf=True), Table(self.latent.inner_rows.cells, by_idf=True)]
            self._sums.use(tables if self.softmax.is_dense else ())
            self._summed = (self.softmax.changes, self.bayes.changes, self.latent)

    def _softmax_logits(self, reading: Reading) -> Floats:
        if not self.softmax.is_dense:
            return self.softmax.logits(reading.ngrams)
        return reading.sum.tables[0] / np.float32(reading.sum.length) + self.softmax.bias

    def _bayes_logits(self, reading: Reading) -> Floats:
        if not self.softmax.is_dense:
            return self.bayes.logits(reading.ngrams)
        return self.bayes.weigh(reading.sum.tables[1], reading.sum.count)

    def _keywords(self, reading: Reading) -> Floats:
        """As the keyword selector scores: rules, and the likeness to examples."""
        scores = np.zeros(self.size, dtype=np.float32)
        state = reading.state if reading.state is not None else ConversationState()
        for position, rule in self.rules:
            share, _ = rule.match(reading.request, state, MATERIAL_WEIGHT)
            scores[position] += share * rule.rule.weight
        if self._evidence is not None:
            for position, likeness in self._evidence.likenesses(words(reading.request.instruction)).items():
                scores[position] += EXAMPLE_WEIGHT * likeness**2
        return scores

    @property
    def is_trained(self) -> bool:
        """Whether there is anything that was learnt offline."""
        return self._outline is None

    @property
    def gates(self) -> Mapping[str, Floats]:
        """The weight of each tier for each function, shape (functions,)."""
        return self._gates

    def _ruled(self, reading: Reading, position: int) -> float:
        """The weights of a function's rules, as far as they match."""
        state = reading.state if reading.state is not None else ConversationState()
        return sum(
            rule.match(reading.request, state, MATERIAL_WEIGHT)[0] * rule.rule.weight
            for at, rule in self.rules
            if at == position
        )

    def matches(self, reading: Reading, position: int) -> list[tuple[float, str]]:
        """How far each rule of a function matches, and which words did."""
        state = reading.state if reading.state is not None else ConversationState()
        return [rule.match(reading.request, state, MATERIAL_WEIGHT) for at, rule in self.rules if at == position]

    def signals(self, reading: Reading, scores: Scores) -> list[float]:
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
        if self._outline is not None:
            named, described = self._outline.shares(reading.terms, first)
            sure = min(SURE_ENOUGH, -found["doubt"]) if others else 0.0
            taught = fusion.share_of(self.examples.item(first)) * sure
            found |= {"named": named, "described": described, "taught": taught}
        if fusion.KEYWORDS in tiers:
            found["ruled"] = self._ruled(reading, first)
        if self.neighbours is not None:
            found["near"], found["refused"] = reading.neighbours[1]
        if self.distance is not None:
            found["distance"] = float(self.distance.nearest(reading.vector[None])[0])
        if fusion.NETWORK in tiers:
            found["network"] = energy(tiers[fusion.NETWORK])
            found["known"] = found["network"] - reading.network.item(-1)
        if fusion.LATENT in tiers:
            found["network_words"] = energy(tiers[fusion.LATENT])
            found["known_words"] = found["network_words"] - reading.latent.item(-1)
        return list(map(found.get, SIGNALS, repeat(0.0)))

    # --- learn --------------------------------------------------------------------------------------------------

    def learn(self, feedback: Feedback) -> None:
        """One stochastic step of every tier; a feedback about a function that is not here teaches nothing."""
        position = self.names.get(feedback.function)
        if position is None and (feedback.verdict is not Verdict.NOTHING or not self.size):
            return
        reading, scores = self._look_again(feedback)
        unknown = reading.sum.unknown
        rows = reading.sum.rows(self.softmax.meet(unknown) if unknown else ())
        self._learnt += 1
        if position is None:
            self._learn_nothing(reading, scores, feedback)
            return
        right = feedback.verdict is Verdict.RIGHT
        plausible = math.exp(scores.logs.item(position)) >= PLAUSIBLE
        self.unsaid.add(position, feedback.weight, right=right)
        self._step(reading, scores, rows, feedback, position)
        if right:
            self.bayes.add(rows, position, reading.states, feedback.weight)
            self.examples[position] += feedback.weight
            self._weigh_function(position)
            if feedback.weight >= 1:
                self.exact.learn(feedback.text, position, source=feedback.source, plausible=plausible)
        elif feedback.weight >= 1:
            self.exact.forget(feedback.text, position)
        self.unsaid.weigh(self.examples)

    def _step(self, reading: Reading, scores: Scores, rows: Integers, feedback: Feedback, position: int) -> None:
        """One step of the weights, and the text remembered."""
        right = feedback.verdict is Verdict.RIGHT
        taught = self._taught(scores, position) if right else self._weighed
        gradient = gradient_of(scores.logs, position, right=right) if taught else {}
        rehearsal = self.rehearsal if fusion.EMBEDDING in scores.tiers else None
        # Who always tells the right function leaves nothing unsaid, and does not wait for what follows from it.
        judged = None
        if self.unsaid.share and not (right and rehearsal is None):
            judged = judge(self, reading, scores, feedback, position)
            if not right:
                gradient = share_out(gradient, position, judged.candidates, judged.believed(self.examples))
        if fusion.NGRAMS in taught:
            self.softmax.learn(reading.sum.weigh(rows), gradient, feedback.weight)
        if self.embedding is None or self.neighbours is None:
            return
        if judged is None or rehearsal is None:
            if fusion.EMBEDDING in taught:
                self.embedding.learn(reading.vector, gradient, feedback.weight)
        else:
            surprise = abs(gradient.get(position, 0.0)) * feedback.weight
            rehearsal.learn(judged, surprise, self._gates[fusion.EMBEDDING], self.examples)
        self.neighbours.add(reading.vector, position, feedback.text, right=right)

    def _taught(self, scores: Scores, position: int) -> Sequence[str]:
        """The tiers whose weights have anything to learn from its being this function."""
        doubt, gates = 1 - math.exp(scores.logs.item(position)), self._gates
        return [tier for tier in self._weighed if tier not in gates or doubt * gates[tier].item(position) > KNOWN]

    def _look_again(self, feedback: Feedback) -> tuple[Reading, Scores]:
        """What the tiers say of a text now; they need not be asked again where nothing was learnt in between."""
        if self._last is not None:
            reading, scores, learnt = self._last
            if learnt == self._learnt and reading.text == feedback.text and reading.states == states_of(feedback):
                return reading, scores
        state = ConversationState(previous_function=feedback.previous_function or None, topic=feedback.topic or None)
        reading = self.read(feedback.text, state)
        return reading, self.score(reading)

    def _weigh_function(self, position: int) -> None:
        """Weigh the tiers anew for one function, whose examples have changed."""
        share = fusion.share_of(self.examples.item(position))
        gates = self._all_gates[:, position]
        np.multiply(self._gained, share, out=gates)
        gates += self._untrained
        if any(self._gates[tier].any() for tier in self._waiting):
            self._weigh_tiers()

    def _learn_nothing(self, reading: Reading, scores: Scores, feedback: Feedback) -> None:
        """Remember a text as one that no function fits."""
        plausible = float(np.exp(scores.logs.max())) < CLEAR_FAVOURITE
        if feedback.weight >= 1:
            self.exact.learn(reading.text, NOTHING, source=feedback.source, plausible=plausible)
        if self.neighbours is not None:
            self.neighbours.add(reading.vector, self.size, reading.text)

    def count(self, counts: Mapping[int, float]) -> None:
        """Add to the examples that functions are known to have."""
        for position, count in counts.items():
            self.examples[position] += count


def _as_far_as_read(logits: Floats, reading: Reading) -> Floats:
    """What holds in the language that the text is in."""
    return _weaken(logits, reading.language) if reading.foreign else logits


def _weaken(logits: Floats, share: float) -> Floats:
    return logits if share == 1 else logits * np.float32(share)


def _favours(logits: Floats, position: int) -> bool:
    """Whether a function is a tier's favourite; a tier that says nearly the same of all has none."""
    if int(logits.argmax()) != position:
        return False
    return logits.item(position) - float(logits.dot(ones(len(logits)))) / len(logits) > FAVOUR
