"""The selector that puts all tiers together, and learns.

1. A text that names a function, or that is known word for word, is decided at once (`exact`).
2. Else every tier gives its logits (`snapshot`), the fusion makes one probability of them, and the abstention model
   says whether any function is meant at all.
3. Two thresholds decide: act, ask, or abstain (`deciding`). A text that asks for several functions, each for itself
   beyond doubt, is told apart into its parts.

Words alone take a fraction of a millisecond, sentence vectors some milliseconds. What was selected is kept in a cache
under the normalised text, the state, what the registry says, and what was learnt.
"""

import hashlib
import logging
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from threading import Lock, RLock
from typing import Final

from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.selection import explanation
from dispatcher.selection.cache import SelectionCache
from dispatcher.selection.card import cards_of
from dispatcher.selection.deciding import Decider
from dispatcher.selection.defaults import MEANING_ABSTENTION, UNTRAINED_THRESHOLDS, WORDS_ABSTENTION
from dispatcher.selection.embedding import examples_of
from dispatcher.selection.feedback import Feedback
from dispatcher.selection.fusion import TIERS
from dispatcher.selection.lookalike_log import log_lookalikes
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import Model
from dispatcher.selection.responses import DEFAULT_RESPONSES, Responses
from dispatcher.selection.rules import KeywordRule, compile_rules
from dispatcher.selection.selection import Selection
from dispatcher.selection.selector import ConversationState, names_allowed
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.thresholds import Thresholds
from dispatcher.selection.words import Language

logger = logging.getLogger(__name__)

#: Feedback that is kept to be learnt again when the registry changes; the oldest goes first.
MAX_KEPT: Final = 20_000


class Cascade:
    """Selects by everything there is: names, rules, words, counts, trained weights and sentence vectors."""

    def __init__(  # noqa: PLR0913 - by name, each with a default
        self,
        registry: Registry,
        rules: Sequence[KeywordRule] = (),
        *,
        meaning: Meaning | Callable[[], Meaning | None] | None = None,
        model: Model | None = None,
        tiers: Collection[str] | None = None,
        thresholds: Thresholds | None = None,
        act_at: float | None = None,
        ask_at: float | None = None,
        default_response: str | Mapping[Language, str] = DEFAULT_RESPONSES,
        cache: SelectionCache | None = None,
    ) -> None:
        """Make a selector over a registry, whose later changes it follows.

        Args:
            registry: the functions to select from.
            rules: what speaks for a function beside its own words.
            meaning: sentence vectors, or what loads them at the first selection; None goes by words alone.
            model: what was learnt offline.
            tiers: names of the tiers to use (see `dispatcher.selection.fusion`); None uses all.
            thresholds: from which probability on what is decided; None takes the model's.
            act_at: from which probability on to act, over what the thresholds say.
            ask_at: likewise, below which to abstain.
            default_response: the answer when nothing fits: one text, or one for each language ("en" must be there).
            cache: of selections; one of its own when None.

        Raises:
            UnknownFunctionError: a rule names a function that is not registered.
            ValueError: there is no tier of one of these names.
        """
        self._registry = registry
        self._rules = compile_rules(rules, registry)
        self._meaning = None if callable(meaning) else meaning
        self._load_meaning = meaning if callable(meaning) else None
        self._loading = Lock()
        self._model = model
        if tiers is not None and not set(tiers) <= set(TIERS):
            msg = f"no tier is called {', '.join(sorted(set(tiers) - set(TIERS)))}; there are {', '.join(TIERS)}"
            raise ValueError(msg)
        self._tiers = None if tiers is None else frozenset(tiers)
        self._thresholds = thresholds
        self._act_at = act_at
        self._ask_at = ask_at
        self._responses = Responses(default_response)
        self.cache = cache if cache is not None else SelectionCache()
        self._kept: list[Feedback] = []
        # Selecting reads arrays that learning changes.
        self._lock = RLock()
        self._revision = -1
        self._decider: Decider | None = None
        #: With the revision of the registry that it is of.
        self._fingerprint = (-1, b"")

    # --- select -------------------------------------------------------------------------------------------------

    def select(
        self, text: str, state: ConversationState | None = None, *, only: Collection[str] | None = None
    ) -> Selection:
        """Say which function the text asks for; see `Selector.select`."""
        only = names_allowed(only)
        with self._lock:
            decider = self._decider_now()
            key = self.cache.key(text, state, only, case_matters=decider.snapshot.exact.case_matters)
            cached = self.cache.find(key)
            # The parts of a text give arguments: they must be those of this one.
            if cached is not None and (not cached.parts or cached.text == text):
                return _as_said(cached, text)
            selection = decider.decide(text, state, only)
            self.cache.keep(key, selection)
            return selection

    def explain(
        self, text: str, state: ConversationState | None = None
    ) -> Mapping[str, tuple[explanation.Evidence, ...]]:
        """What each candidate's logit is made of, by function, the likeliest first."""
        with self._lock:
            snapshot = self._decider_now().snapshot
            if not snapshot.size:
                return {}
            reading = snapshot.read(text, state)
            scores = snapshot.score(reading)
            return {snapshot.cards[i].name: explanation.explain(snapshot, reading, scores, i) for i in scores.ranking}

    @property
    def thresholds(self) -> Thresholds:
        return self._thresholds_of(self._serving(self._model))

    def _thresholds_of(self, model: Model | None) -> Thresholds:
        found = self._thresholds
        if found is None:
            found = UNTRAINED_THRESHOLDS if model is None else model.thresholds
        if self._act_at is None and self._ask_at is None:
            return found
        return Thresholds(
            act_at=found.act_at if self._act_at is None else self._act_at,
            ask_at=found.ask_at if self._ask_at is None else self._ask_at,
            together_at=found.together_at if self._ask_at is None else 0.0,
        )

    @property
    def version(self) -> str:
        """Of the model in use; empty where none was trained."""
        return "" if self._model is None else self._model.version

    # --- learn --------------------------------------------------------------------------------------------------

    def learn(self, feedback: Feedback) -> None:
        """Learn from one feedback; the next selection knows it. One about a function that is not here is kept only."""
        with self._lock:
            self._decider_now().snapshot.learn(feedback)
            self._kept.append(feedback)
            if len(self._kept) > MAX_KEPT:
                del self._kept[: MAX_KEPT // 10]
            self.cache.clear()

    def use(self, model: Model | None, since: Sequence[Feedback] = ()) -> None:
        """Take another model, and learn again what was said since it was trained.

        Selections go on with the old one until the new one is ready. What another thread has the selector learn
        meanwhile is lost: whoever uses and learns takes turns.
        """
        revision, functions = self._registry.revision, tuple(self._registry)
        kept = list(since)[-MAX_KEPT:]
        decider = self._build(functions, model, kept)
        with self._lock:
            self._model = model
            self._kept = kept
            self._revision, self._decider = revision, decider
            self.cache.clear()
        if model is not None and self._serving(model) is not model:
            reason = f"it was trained with {model.encoder}, which is not the encoder here: it goes by words alone"
            told = {"version": model.version, "encoder": model.encoder, "reason": reason}
            logger.warning("model_without_its_encoder: %s", reason, extra=told)

    @property
    def model(self) -> Model | None:
        """What it goes by, beside what it has learnt since."""
        return self._model

    # --- for whoever must not wait --------------------------------------------------------------------------------

    @property
    def uses_encoder(self) -> bool:
        """Whether it goes by sentence vectors too; before the first selection, whether it would."""
        return self._meaning is not None or self._load_meaning is not None

    @property
    def quick(self) -> bool:
        """Whether a selection takes a fraction of a millisecond now: no encoder, nothing to build, nobody before it."""
        if self.uses_encoder or self._built is None:
            return False
        if not self._lock.acquire(blocking=False):
            return False
        self._lock.release()
        return True

    def recall(
        self, text: str, state: ConversationState | None = None, *, only: Collection[str] | None = None
    ) -> Selection | None:
        """What `select` would take from its cache; None where it would have to select, or to wait."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            key = self._key(text, state, only)
            found = self.cache.find(key) if key is not None and key in self.cache else None
        finally:
            self._lock.release()
        if found is None or (found.parts and found.text != text):
            return None
        return _as_said(found, text)

    def remember(
        self, selection: Selection, state: ConversationState | None = None, *, only: Collection[str] | None = None
    ) -> None:
        """Have `select` give this from now on, which an equal selector has selected; nothing where it would wait."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            key = self._key(selection.text, state, only)
            if key is not None:
                self.cache.keep(key, selection)
        finally:
            self._lock.release()

    def _key(self, text: str, state: ConversationState | None, only: Collection[str] | None) -> Hashable | None:
        decider = self._built
        if decider is None:
            return None
        return self.cache.key(text, state, only, case_matters=decider.snapshot.exact.case_matters)

    @property
    def fingerprint(self) -> bytes:
        """Equal for selectors that select alike once they have the same model and have learnt the same."""
        revision = self._registry.revision
        known, fingerprint = self._fingerprint
        if known != revision:
            meaning = self._find_meaning()
            parts = (
                cards_of(self._registry),
                self._registry.fingerprint,
                [rule.rule for rule in self._rules],
                None if self._tiers is None else sorted(self._tiers),
                (self._thresholds, self._act_at, self._ask_at),
                None if meaning is None else (meaning.name, meaning.has_glossary),
            )
            fingerprint = hashlib.sha256(repr(parts).encode("utf-8", "replace")).digest()
            self._fingerprint = (revision, fingerprint)
        return fingerprint

    def untaught(self) -> "Cascade":
        """Another one of the same model, that has learnt nothing since: to compare this one with, not for long."""
        with self._lock:
            return Cascade(
                self._registry,
                [compiled.rule for compiled in self._rules],
                meaning=self._find_meaning(),
                model=self._model,
                tiers=self._tiers,
                thresholds=self._thresholds,
                act_at=self._act_at,
                ask_at=self._ask_at,
                cache=SelectionCache(0),
            )

    # --- the registry -------------------------------------------------------------------------------------------

    @property
    def _built(self) -> Decider | None:
        """The tiers, where they are those of the registry as it is now."""
        return self._decider if self._revision == self._registry.revision else None

    def _decider_now(self) -> Decider:
        """The tiers of the registry as it is now, built where it has changed."""
        decider = self._built
        if decider is None:
            log_lookalikes(self._registry)
            revision, functions = self._registry.revision, tuple(self._registry)
            decider = self._build(functions, self._model, self._kept)
            self._revision, self._decider = revision, decider
            self.cache.clear()
        return decider

    def _build(
        self, functions: Sequence[Function[..., object]], model: Model | None, kept: Sequence[Feedback]
    ) -> Decider:
        meaning = self._find_meaning()
        model = self._serving(model)
        snapshot = Snapshot(cards_of(functions), rules=self._rules, meaning=meaning, model=model, tiers=self._tiers)
        snapshot.learn_again(kept)
        known = () if model is None else (*model.examples.texts, *model.words)
        snapshot.remember_words([*known, *examples_of(snapshot.cards), *(feedback.text for feedback in kept)])
        untrained = WORDS_ABSTENTION if meaning is None else MEANING_ABSTENTION
        return Decider(
            snapshot,
            functions,
            abstention=untrained if model is None else model.abstention,
            thresholds=self._thresholds_of(model),
            responses=self._responses,
            version="" if model is None else model.version,
        )

    def _serving(self, model: Model | None) -> Model | None:
        """A model as it serves with the encoder that is here."""
        meaning = self._find_meaning()
        return None if model is None else model.for_encoder("" if meaning is None else meaning.name)

    def _find_meaning(self) -> Meaning | None:
        """The sentence vectors, loaded when they are first asked for."""
        with self._loading:
            if self._load_meaning is not None:
                self._meaning, self._load_meaning = self._load_meaning(), None
            return self._meaning


def _as_said(selection: Selection, text: str) -> Selection:
    """The same selection, of a text that differs from its own in what does not matter."""
    return selection if selection.text == text else replace(selection, text=text)
