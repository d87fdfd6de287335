"""All tiers over the functions of a registry as it is at one moment, and what they have learnt."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dispatcher.selection import fusion
from dispatcher.selection.bayes import Bayes, states_of
from dispatcher.selection.card import Card
from dispatcher.selection.embedding import Embedding
from dispatcher.selection.exact import NOTHING, Exact
from dispatcher.selection.features import buckets, tokens
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.fusion import Fusion
from dispatcher.selection.judgement import gradient_of, judge
from dispatcher.selection.keyword_tier import KeywordTier
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
from dispatcher.selection.tiers import find_tiers
from dispatcher.selection.unsaid import Unsaid, share_out

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
        # A trained model knows more of examples than how like them a text is.
        self.keywords = KeywordTier(self.cards, self.names, rules, liken=model is None)
        # Nor does it ask how a function describes itself: what was learnt is not in the descriptions.
        self.outline = Outline(self.cards, self.lexicon) if model is None else None
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
            if model is not None:
                meaning = model.reader(meaning, self.cards)
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
        # As a product, which adds up faster than a sum does.
        fused: Floats = ones(len(gates)).dot(weighed)
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
        found = find_tiers(self)
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

    @property
    def is_trained(self) -> bool:
        """Whether there is anything that was learnt offline."""
        return self.outline is None

    @property
    def gates(self) -> Mapping[str, Floats]:
        """The weight of each tier for each function, shape (functions,)."""
        return self._gates

    # --- learn --------------------------------------------------------------------------------------------------

    def learn_again(self, feedbacks: Sequence[Feedback]) -> None:
        """Learn what was said before, in order."""
        heard = [feedback for feedback in feedbacks if self._heeds(feedback)]
        if self.embedding is not None:
            # A registry that changes has all of them learnt once more.
            self.embedding.meaning.read_ahead([feedback.text for feedback in heard])
        for feedback in heard:
            self.learn(feedback)

    def _heeds(self, feedback: Feedback) -> bool:
        """Whether a feedback is about what is here."""
        return feedback.function in self.names or (feedback.verdict is Verdict.NOTHING and self.size > 0)

    def learn(self, feedback: Feedback) -> None:
        """One stochastic step of every tier; a feedback about a function that is not here teaches nothing."""
        if not self._heeds(feedback):
            return
        position = self.names.get(feedback.function)
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
        if self._waiting and any(self._gates[tier].any() for tier in self._waiting):
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
