"""The selector that puts all tiers together, and learns.

1. A text that names a function, or that is known word for word, is decided at once (`exact`).
2. Else every tier gives its logits, the fusion makes one probability of them, and the abstention model says whether any
   function is meant at all.
3. Two thresholds decide: act, ask, or abstain. A text that asks for several functions, each for itself beyond doubt, is
   told apart into its parts.

Words alone take a fraction of a millisecond, sentence vectors some milliseconds. What was selected is kept in a cache
under the normalised text, the state, what the registry says, and what was learnt.
"""

import hashlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock, RLock
from typing import Final

import numpy as np

from dispatcher.errors import UnknownFunctionError
from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.selection import explanation
from dispatcher.selection.abstention import Abstention
from dispatcher.selection.cache import SelectionCache
from dispatcher.selection.card import cards_of
from dispatcher.selection.compound import split_request
from dispatcher.selection.defaults import MEANING_ABSTENTION, WORDS_ABSTENTION
from dispatcher.selection.exact import NOTHING
from dispatcher.selection.feedback import Feedback
from dispatcher.selection.lookalike_log import log_lookalikes
from dispatcher.selection.loss import Floats
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import Model, Thresholds
from dispatcher.selection.responses import DEFAULT_RESPONSES, Responses, question
from dispatcher.selection.rules import CompiledRule, KeywordRule
from dispatcher.selection.selection import Candidate, Decision, Selection
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.snapshot import Reading, Snapshot
from dispatcher.selection.words import Language, language_of

#: Candidates in a Selection.
MAX_CANDIDATES: Final = 10
#: What a named function, or a text that is known, is given as a probability.
SURE: Final = 0.99
#: From this probability on a text asks for one function only: two would share what there is.
BEYOND_DOUBT: Final = 0.97
#: Feedback that is kept to be learnt again when the registry changes; the oldest goes first.
MAX_KEPT: Final = 20_000
#: A candidate of less than this share of the first one's probability is not asked about.
WORTH_ASKING: Final = 0.25


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
        """
        for rule in rules:
            if rule.function not in registry:
                raise UnknownFunctionError(rule.function, hint="a KeywordRule names it")
        self._registry = registry
        self._rules = tuple(CompiledRule(rule) for rule in rules)
        self._meaning = None if callable(meaning) else meaning
        self._load_meaning = meaning if callable(meaning) else None
        self._loading = Lock()
        self._model = model
        self._tiers = None if tiers is None else frozenset(tiers)
        self._thresholds = thresholds
        self._act_at = act_at
        self._ask_at = ask_at
        self._responses = Responses(default_response)
        self.cache = cache if cache is not None else SelectionCache()
        self._kept: list[Feedback] = []
        self._learnt = 0
        # Selecting reads arrays that learning changes.
        self._lock = RLock()
        self._revision = -1
        self._functions: tuple[Function[..., object], ...] = ()
        self._snapshot: Snapshot | None = None
        #: With the revision of the registry that it is of.
        self._fingerprint = (-1, b"")

    # --- select -------------------------------------------------------------------------------------------------

    def select(
        self, text: str, state: ConversationState | None = None, *, only: Collection[str] | None = None
    ) -> Selection:
        """Say which function the text asks for; see `Selector.select`."""
        with self._lock:
            snapshot = self._current()
            key = self.cache.key(text, state, only, case_matters=snapshot.exact.case_matters)
            cached = self.cache.find(key)
            # The parts of a text give arguments: they must be those of this one.
            if cached is not None and (not cached.parts or cached.text == text):
                return _as_said(cached, text)
            selection = self._select(text, state, self._allowed(snapshot, only), snapshot)
            self.cache.keep(key, selection)
            return selection

    def explain(
        self, text: str, state: ConversationState | None = None
    ) -> Mapping[str, tuple[explanation.Evidence, ...]]:
        """What each candidate's logit is made of, by function, the likeliest first."""
        with self._lock:
            snapshot = self._current()
            if not snapshot.size:
                return {}
            reading = snapshot.read(text, state)
            scores = snapshot.score(reading)
            return {
                snapshot.cards[i].name: explanation.explain(snapshot, reading, scores, i)
                for i in _ranked(scores.logs, MAX_CANDIDATES)
            }

    def _select(
        self, text: str, state: ConversationState | None, allowed: Floats | None, snapshot: Snapshot
    ) -> Selection:
        if not snapshot.size:
            return self._abstain(text, state, "the registry holds no function")
        if allowed is not None and np.isneginf(allowed).all():
            return self._abstain(text, state, "no function of the registry is among those that may be selected")
        reading = snapshot.read(text, state)
        if not len(reading.buckets):
            return self._abstain(text, state, "the text is empty" if not text.strip() else "the text holds no word")
        exact = self._exact(reading, allowed, snapshot)
        if exact is not None and exact.decision is not Decision.ASK:
            return exact
        whole = exact or self._weigh(reading, allowed, snapshot)
        return self._several(whole, state, allowed, snapshot) or whole

    def _exact(self, reading: Reading, allowed: Floats | None, snapshot: Snapshot) -> Selection | None:
        """A selection of what the text names, or is known to mean; None where it does neither."""
        text, state = reading.text, reading.state
        named = snapshot.exact.named(text, reading.request)
        why = "named in the text"
        if not named:
            known = snapshot.exact.known(text, "" if state is None else state.user or "")
            if known == NOTHING:
                return self._abstain(text, state, "known word for word as a text that no function fits")
            named = [] if known is None else [known]
            why = "known word for word"
        if not named:
            return None
        if allowed is not None:
            named = [position for position in named if allowed[position] == 0]
            if not named:
                return self._abstain(text, state, "what the text asks for may not be selected here")
        candidates = tuple(
            Candidate(function=snapshot.cards[i].name, probability=SURE / len(named), explain=why)
            for i in named[:MAX_CANDIDATES]
        )
        if len(named) > 1:
            return self._ask(text, state, candidates, "several functions are named", 1.0)
        return self._act(text, candidates, named[0], 1.0)

    def _weigh(self, reading: Reading, allowed: Floats | None, snapshot: Snapshot) -> Selection:
        """A selection by all tiers."""
        scores = snapshot.score(reading)
        in_scope = self._abstention.in_scope(snapshot.signals(reading, scores))
        logs = scores.logs if allowed is None else scores.logs + allowed
        ranked = _ranked(logs, MAX_CANDIDATES)
        candidates = tuple(
            Candidate(
                function=snapshot.cards[i].name,
                probability=in_scope * probability,
                explain=partial(explanation.summarise, snapshot, reading, scores, i),
            )
            for i, probability in zip(ranked, np.exp(logs[ranked]).tolist(), strict=True)
        )
        if allowed is not None:
            # What a text means does not change with what its caller may call.
            in_scope *= float(np.exp(logs).sum())
        thresholds = self.thresholds
        note = "; only the beginning of the text was read" if reading.request.cut else ""
        together = sum(candidate.probability for candidate in candidates[:3])
        if in_scope < thresholds.ask_at or together < thresholds.together_at:
            reason = f"no function fits the text well enough{note}"
            return self._abstain(reading.text, reading.state, reason, candidates, in_scope)
        if candidates[0].probability < thresholds.act_at:
            return self._ask(reading.text, reading.state, candidates, f"several functions may be meant{note}", in_scope)
        return self._act(reading.text, candidates, ranked[0], in_scope, note)

    def _several(
        self, whole: Selection, state: ConversationState | None, allowed: Floats | None, snapshot: Snapshot
    ) -> Selection | None:
        """The parts of a text that asks for several functions; None where it asks for one."""
        if whole.candidates[0].probability >= BEYOND_DOUBT:
            return None
        parts = split_request(whole.text)
        if len(parts) < 2:  # noqa: PLR2004 - one part is the whole
            return None
        selections = []
        for part in parts:
            reading = snapshot.read(part, state)
            if not len(reading.buckets):
                return None
            selection = self._exact(reading, allowed, snapshot) or self._weigh(reading, allowed, snapshot)
            if selection.decision is not Decision.ACT:
                return None
            selections.append(selection)
        if len({selection.function for selection in selections}) < len(selections):
            return None
        return Selection(
            text=whole.text,
            candidates=whole.candidates,
            decision=Decision.SEVERAL,
            stated_reason="the text asks for " + " and ".join(str(selection.function) for selection in selections),
            in_scope=min(selection.in_scope for selection in selections),
            parts=tuple(selections),
            model=self.version,
        )

    @property
    def thresholds(self) -> Thresholds:
        found = self._thresholds
        if found is None:
            found = Thresholds() if self._model is None else self._model.thresholds
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

    @property
    def _abstention(self) -> Abstention:
        if self._model is not None:
            return self._model.abstention
        return WORDS_ABSTENTION if self._meaning is None else MEANING_ABSTENTION

    def _act(
        self, text: str, candidates: tuple[Candidate, ...], first: int, in_scope: float, note: str = ""
    ) -> Selection:
        reason = f"{candidates[0].why}{note}" if note else ""
        return Selection(
            text=text,
            candidates=candidates,
            decision=Decision.ACT,
            stated_reason=reason,
            in_scope=in_scope,
            model=self.version,
            chosen=self._functions[first],
        )

    def _ask(
        self,
        text: str,
        state: ConversationState | None,
        candidates: tuple[Candidate, ...],
        reason: str,
        in_scope: float,
    ) -> Selection:
        least = candidates[0].probability * WORTH_ASKING
        near = [c.function for c in candidates[:3] if c.probability >= least]
        if len(near) == 1:
            reason = reason.replace("several functions", "one function")
        return Selection(
            text=text,
            candidates=candidates,
            decision=Decision.ASK,
            stated_reason=reason,
            response=question(near, language_of(text, otherwise=_language(state))),
            in_scope=in_scope,
            model=self.version,
        )

    def _abstain(
        self,
        text: str,
        state: ConversationState | None,
        reason: str,
        candidates: tuple[Candidate, ...] = (),
        in_scope: float = 0.0,
    ) -> Selection:
        return Selection(
            text=text,
            candidates=candidates,
            decision=Decision.ABSTAIN,
            stated_reason=reason,
            response=self._responses.default(text, _language(state)),
            in_scope=in_scope,
            model=self.version,
        )

    # --- learn --------------------------------------------------------------------------------------------------

    def learn(self, feedback: Feedback) -> None:
        """Learn from one feedback; the next selection knows it. One about a function that is not here is kept only."""
        with self._lock:
            self._current().learn(feedback)
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
        snapshot = self._build(functions, model, kept)
        with self._lock:
            self._model = model
            self._kept = kept
            self._revision, self._functions, self._snapshot = revision, functions, snapshot
            self.cache.clear()

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
        if self.uses_encoder or self._snapshot is None or self._revision != self._registry.revision:
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
        if self._snapshot is None or self._revision != self._registry.revision:
            return None
        return self.cache.key(text, state, only, case_matters=self._snapshot.exact.case_matters)

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
                "" if meaning is None else meaning.name,
            )
            fingerprint = hashlib.sha256(repr(parts).encode("utf-8", "replace")).digest()
            self._fingerprint = (revision, fingerprint)
        return fingerprint

    # --- the registry -------------------------------------------------------------------------------------------

    def _current(self) -> Snapshot:
        """The tiers of the registry as it is now."""
        if self._snapshot is None or self._revision != self._registry.revision:
            log_lookalikes(self._registry)
            revision, functions = self._registry.revision, tuple(self._registry)
            snapshot = self._build(functions, self._model, self._kept)
            self._revision, self._functions, self._snapshot = revision, functions, snapshot
            self.cache.clear()
        return self._snapshot

    def _build(
        self, functions: Sequence[Function[..., object]], model: Model | None, kept: Sequence[Feedback]
    ) -> Snapshot:
        snapshot = Snapshot(
            cards_of(functions), rules=self._rules, meaning=self._find_meaning(), model=model, tiers=self._tiers
        )
        for feedback in kept:
            snapshot.learn(feedback)
        return snapshot

    def _find_meaning(self) -> Meaning | None:
        """The sentence vectors, loaded when they are first asked for."""
        with self._loading:
            if self._load_meaning is not None:
                self._meaning, self._load_meaning = self._load_meaning(), None
            return self._meaning

    @staticmethod
    def _allowed(snapshot: Snapshot, only: Collection[str] | None) -> Floats | None:
        """0 for the functions that may be selected, -inf for the others; None where all may."""
        if only is None:
            return None
        allowed = np.full(snapshot.size, -np.inf, dtype=np.float32)
        allowed[[snapshot.names[name] for name in only if name in snapshot.names]] = 0
        return allowed


def _ranked(logs: Floats, most: int) -> list[int]:
    """The positions of the likeliest functions, the first first; those that may not be selected are left out."""
    top = np.argpartition(logs, -most)[-most:] if len(logs) > most else np.arange(len(logs))
    order = top[np.lexsort((top, -logs[top]))]
    ranked: list[int] = order[logs[order] > -np.inf].tolist()
    return ranked


def _language(state: ConversationState | None) -> Language | None:
    return None if state is None else state.language


def _as_said(selection: Selection, text: str) -> Selection:
    """The same selection, of a text that differs from its own in what does not matter."""
    return selection if selection.text == text else replace(selection, text=text)
