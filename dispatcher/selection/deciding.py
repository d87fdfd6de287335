"""What becomes of one text: the tiers' probabilities, and what the exact tier knows, as a decision.

Act, ask, or abstain, by the thresholds; a text that asks for several functions, each for itself beyond doubt, is told
apart into its parts.
"""

import math
from collections.abc import Collection, Sequence
from functools import cached_property, partial
from typing import Final

import numpy as np

from dispatcher.registry.function import Function
from dispatcher.selection import explanation
from dispatcher.selection.abstention import Abstention
from dispatcher.selection.compound import split_request
from dispatcher.selection.exact import NOTHING
from dispatcher.selection.loss import Floats
from dispatcher.selection.reading import Reading
from dispatcher.selection.responses import Responses, question
from dispatcher.selection.scores import MAX_CANDIDATES, ranked
from dispatcher.selection.selection import Candidate, Decision, Selection, make_candidate
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.signals import signals_of
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.thresholds import Thresholds
from dispatcher.selection.twins import Twins
from dispatcher.selection.words import MAX_TEXT_CHARACTERS, Language, language_of

#: What a named function, or a text that is known, is given as a probability.
SURE: Final = 0.99
#: From this probability on a text asks for one function only: two would share what there is.
BEYOND_DOUBT: Final = 0.99
#: Candidates that a question is about, at most.
MAX_CHOICES: Final = 3
#: A candidate of less than this share of the first one's probability is not asked about.
WORTH_ASKING: Final = 0.25
#: What a part of a text asks for is called beside others' only where it is more probable than not.
LIKELY: Final = 0.5


class Decider:
    """Decides over the functions of one snapshot, by one model.

    Args:
        snapshot: the tiers.
        functions: those of the snapshot, in its order.
        abstention: says whether any function is meant.
        thresholds: from which probability on what is decided.
        responses: the answers where no function is called.
        version: of the model; empty where none was trained.
    """

    def __init__(  # noqa: PLR0913 - all that a decision goes by
        self,
        snapshot: Snapshot,
        functions: Sequence[Function[..., object]],
        *,
        abstention: Abstention,
        thresholds: Thresholds,
        responses: Responses,
        version: str,
    ) -> None:
        self.snapshot = snapshot
        self._functions = functions
        self._names = [card.name for card in snapshot.cards]
        self._abstention = abstention
        self._thresholds = thresholds
        self._responses = responses
        self._version = version

    @cached_property
    def _twins(self) -> Twins:
        return Twins(self.snapshot.cards, self.snapshot.keywords)

    def decide(self, text: str, state: ConversationState | None, only: Collection[str] | None) -> Selection:
        """Say which function the text asks for; see `Selector.select`."""
        snapshot, allowed = self.snapshot, self._allowed(only)
        if not snapshot.size:
            return self._abstain(text, state, "the registry holds no function")
        if allowed is not None and np.isneginf(allowed).all():
            return self._abstain(text, state, "no function of the registry is among those that may be selected")
        reading = snapshot.read(text, state)
        if not reading.tokens:
            return self._abstain(text, state, "the text is empty" if not text.strip() else "the text holds no word")
        exact = self._exact(reading, allowed)
        if exact is not None and exact.decision is not Decision.ASK:
            return exact
        whole = exact or self._weigh(reading, allowed)
        return self._several(whole, state, allowed) or whole

    def _exact(self, reading: Reading, allowed: Floats | None) -> Selection | None:
        """A selection of what the text names, or is known to mean; None where it does neither."""
        snapshot, text, state = self.snapshot, reading.text, reading.state
        # Most texts name nothing, and what is asked in them need not be told from what it is asked about.
        named = [] if snapshot.exact.names_none(text) else snapshot.exact.named(text, reading.request)
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

    def _weigh(self, reading: Reading, allowed: Floats | None) -> Selection:
        """A selection by all tiers."""
        snapshot = self.snapshot
        scores = snapshot.score(reading)
        asked, logs = (scores, scores.logs) if allowed is None else self._twins.hand_over(reading, scores, allowed)
        # What an untrained selector goes by was fitted to texts whose words are mostly unknown.
        heard = reading.heard if snapshot.is_trained else 1.0
        in_scope = self._abstention.in_scope(signals_of(snapshot, reading, asked), heard=heard)
        order = scores.ranking if allowed is None else ranked(logs, MAX_CANDIDATES)
        explain = partial(partial, explanation.summarise, snapshot, reading, scores)
        candidates = tuple(
            [make_candidate(self._names[i], in_scope * math.exp(logs.item(i)), explain(i)) for i in order]
        )
        if allowed is not None:
            # What a text means does not change with what its caller may call.
            in_scope *= float(np.exp(logs).sum())
        thresholds = self._thresholds
        note = "; only the beginning of the text was read" if len(reading.text) > MAX_TEXT_CHARACTERS else ""
        together = sum(candidate.probability for candidate in candidates[:MAX_CHOICES])
        # What is no number is not enough either: an encoder of one's own may give such.
        if not (in_scope >= thresholds.ask_at and together >= thresholds.together_at):
            reason = f"no function fits the text well enough{note}"
            return self._abstain(reading.text, reading.state, reason, candidates, in_scope)
        if candidates[0].probability < thresholds.act_at:
            return self._ask(reading.text, reading.state, candidates, f"several functions may be meant{note}", in_scope)
        return self._act(reading.text, candidates, order[0], in_scope, note)

    def _several(self, whole: Selection, state: ConversationState | None, allowed: Floats | None) -> Selection | None:
        """The parts of a text that asks for several functions; None where it asks for one."""
        if whole.candidates[0].probability >= BEYOND_DOUBT:
            return None
        parts = split_request(whole.text)
        if len(parts) < 2:  # noqa: PLR2004 - one part is the whole
            return None
        selections = []
        for part in parts:
            selection = self._part(self.snapshot.read(part, state), allowed)
            if selection is None:
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
            model=self._version,
        )

    def _part(self, reading: Reading, allowed: Floats | None) -> Selection | None:
        """What a part of a text asks for beyond doubt; None where it does not."""
        if not reading.tokens:
            return None
        selection = self._exact(reading, allowed) or self._weigh(reading, allowed)
        sure = selection.decision is Decision.ACT and selection.candidates[0].probability > LIKELY
        return selection if sure else None

    def _allowed(self, only: Collection[str] | None) -> Floats | None:
        """0 for the functions that may be selected, -inf for the others; None where all may."""
        if only is None:
            return None
        snapshot = self.snapshot
        allowed = np.full(snapshot.size, -np.inf, dtype=np.float32)
        allowed[[snapshot.names[name] for name in only if name in snapshot.names]] = 0
        return allowed

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
            model=self._version,
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
        choices = tuple(c for c in candidates[:MAX_CHOICES] if c.probability >= least)
        if len(choices) == 1:
            reason = reason.replace("several functions", "one function")
        return Selection(
            text=text,
            candidates=candidates,
            decision=Decision.ASK,
            choices=choices,
            stated_reason=reason,
            response=question([c.function for c in choices], language_of(text, otherwise=_language(state))),
            in_scope=in_scope,
            model=self._version,
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
            model=self._version,
        )


def _language(state: ConversationState | None) -> Language | None:
    return None if state is None else state.language
