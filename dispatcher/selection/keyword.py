"""A selector from keyword rules and from what the functions say about themselves: no training, no model.

How a text is scored:

1. The text is cut into instruction and material ("count the words: …"); words of the material count less, by
   `material_weight`.
2. Each function gets a score: the weights of its rules that match, plus `word_weight * (1 - exp(-w))` where w sums the
   rarity of the words that text and function share, plus `example_weight` times the squared likeness of its nearest
   example (half a match is mostly chance). A text that is an example, word for word, scores as a full match.
3. Probabilities are a softmax over the scores above 0 and a fixed `none_score` that stands for "none of these":

       p(f) = exp(s(f) / T) / (exp(none_score / T) + sum over g of exp(s(g) / T))

4. The first candidate at `act_at` or above: act. At `ask_at` or above: ask. Else: abstain.

The probabilities rank and separate; they are not calibrated on data, as a trained selector's are.
"""

import math
import re
from collections.abc import Collection, Container, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from dispatcher.registry.function import Function
from dispatcher.registry.registry import Registry
from dispatcher.selection.card import cards_of
from dispatcher.selection.evidence import Evidence, Index
from dispatcher.selection.lookalike_log import log_lookalikes
from dispatcher.selection.responses import DEFAULT_RESPONSES, Responses, question
from dispatcher.selection.rules import EVEN, TEMPERATURE, CompiledRule, KeywordRule, compile_rules
from dispatcher.selection.selection import Candidate, Decision, Selection
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.words import WORD_CHARACTER, Language, Request, language_of, normalise, read_request, words

__all__ = ["DEFAULT_RESPONSES", "KeywordRule", "KeywordSelector", "Weights"]

#: Candidates in a Selection. Nobody reads more, and a model that asks offers two or three.
MAX_CANDIDATES = 5

_IDENTIFIER = re.compile(rf"{WORD_CHARACTER}+(?:[.]{WORD_CHARACTER}+)*")
_WORDLIKE = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The numbers of the score. The defaults suit tens of functions with a few examples each.

    Raises:
        ValueError: if a number is out of range.
    """

    #: The most that shared words can add.
    word_weight: float = 3.0
    #: The most that likeness to an example can add.
    example_weight: float = 5.0
    #: What a word or a rule found only in the material counts, from 0 to 1.
    material_weight: float = 0.25
    #: The score of "none of these".
    none_score: float = EVEN
    #: The softmax temperature: lower is surer of itself.
    temperature: float = TEMPERATURE
    #: Probability from which to act, and from which to ask.
    act_at: float = 0.6
    ask_at: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.ask_at <= self.act_at <= 1:
            msg = f"thresholds must satisfy 0 < ask_at <= act_at <= 1, not {self.ask_at} and {self.act_at}"
            raise ValueError(msg)
        if not (self.temperature > 0 and 0 <= self.material_weight <= 1):
            msg = (
                "temperature must be above 0 and material_weight from 0 to 1, "
                f"not {self.temperature} and {self.material_weight}"
            )
            raise ValueError(msg)
        numbers = (self.word_weight, self.example_weight, self.none_score, self.temperature)
        if not all(math.isfinite(number) for number in numbers):
            msg = f"weights must be finite numbers, not {numbers}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Snapshot:
    """The registry as it was when it was last indexed."""

    #: Of the registry, read before the functions.
    revision: int
    functions: tuple[Function[..., object], ...]
    index: Index
    #: Position by name or alias.
    places: Mapping[str, int]
    #: Positions by case-folded name or alias. Those that differ in case only share an entry.
    names: Mapping[str, tuple[int, ...]]
    rules: tuple[tuple[int, CompiledRule], ...]


class KeywordSelector:
    """Selects by rules, names, tags, descriptions and examples. Works with no rule at all."""

    def __init__(
        self,
        registry: Registry,
        rules: Sequence[KeywordRule] = (),
        *,
        default_response: str | Mapping[Language, str] = DEFAULT_RESPONSES,
        weights: Weights | None = None,
    ) -> None:
        """Make a selector over a registry, whose later changes it follows.

        Args:
            registry: the functions to select from.
            rules: what speaks for a function beside its own words.
            default_response: the answer when nothing fits: one text, or one for each language ("en" must be there).
            weights: the numbers of the score.

        Raises:
            UnknownFunctionError: if a rule names a function that is not registered.
        """
        self._registry = registry
        self._rules = compile_rules(rules, registry)
        self._responses = Responses(default_response)
        self._weights = weights if weights is not None else Weights()
        self._snapshot = self._index()

    def select(
        self, text: str, state: ConversationState | None = None, *, only: Collection[str] | None = None
    ) -> Selection:
        """Say which function the text asks for; see `Selector.select`.

        Args:
            text: what was said.
            state: of the conversation.
            only: names or aliases of the functions that may be selected; names that nothing has are passed over.
        """
        state = state if state is not None else ConversationState()
        snapshot = self._current()
        request = read_request(text)
        if not snapshot.functions:
            return self._abstain(text, state, "the registry holds no function")
        among = range(len(snapshot.functions)) if only is None else _places(only, snapshot)
        if not among:
            return self._abstain(text, state, "no function of the registry is among those that may be selected")
        if not _WORDLIKE.search(request.instruction):
            return self._abstain(text, state, "the text is empty" if not text.strip() else "the text holds no word")
        named = self._named(text, request, snapshot, among)
        if named:
            return self._decide(text, state, snapshot, dict.fromkeys(named, (1 / len(named), "named in the text")))
        probabilities = self._probabilities(request, state, snapshot, among)
        return self._decide(text, state, snapshot, probabilities, cut=request.cut)

    def _current(self) -> _Snapshot:
        """The index of the registry as it is now. Two threads may both rebuild it; either result is right."""
        snapshot = self._snapshot
        if snapshot.revision != self._registry.revision:
            self._snapshot = snapshot = self._index()
        return snapshot

    def _index(self) -> _Snapshot:
        log_lookalikes(self._registry)
        revision = self._registry.revision
        functions = tuple(self._registry)
        places = {name: i for i, function in enumerate(functions) for name in (function.name, *function.aliases)}
        names: dict[str, tuple[int, ...]] = {}
        for name, position in places.items():
            names[normalise(name)] = (*names.get(normalise(name), ()), position)
        # A rule may use an alias, and may outlive its function.
        rules = tuple((places[rule.rule.function], rule) for rule in self._rules if rule.rule.function in places)
        return _Snapshot(
            revision=revision,
            functions=functions,
            index=Index(cards_of(functions)),
            places=places,
            names=names,
            rules=rules,
        )

    def _named(self, text: str, request: Request, snapshot: _Snapshot, among: Container[int]) -> list[int]:
        """The functions whose exact names stand in the text, in the first of these places where there is one.

        The instruction before the material, and names that look like names (`text.slugify`, `count_words`) before names
        that are also words (`help`); these count in the instruction only.
        """
        where: list[tuple[str, bool]] = [
            (request.instruction, True),
            (request.material, True),
            (request.instruction, False),
        ]
        for part, marked in where:
            found: dict[int, None] = {}
            for name in _IDENTIFIER.findall(part):
                if _is_marked(name) is marked:
                    found.update(dict.fromkeys(i for i in snapshot.names.get(name, ()) if i in among))
            if found:
                return _prefer_exact_case(list(found), text, snapshot)
        return []

    def _probabilities(
        self, request: Request, state: ConversationState, snapshot: _Snapshot, among: Container[int]
    ) -> dict[int, tuple[float, str]]:
        weights = self._weights
        rules = [(position, rule) for position, rule in snapshot.rules if position in among]
        asked, about = words(request.instruction), words(request.material)
        if not snapshot.index.knows(asked, among) and not any(rule.match(request, state, 0.0)[0] for _, rule in rules):
            # What stands before the colon was no instruction ("Question: …").
            request, asked = request.whole, (*asked, *about)
        evidence = snapshot.index.read(asked, about, weights.material_weight, among)
        same = snapshot.index.whole_example(f"{request.instruction} {request.material}", among)
        if same is not None:
            # Also the only evidence where all words are stop words ("what can you do?").
            found = evidence.setdefault(same[0], Evidence())
            found.likeness, found.example = 1.0, same[1]
        scores: dict[int, float] = {}
        whys: dict[int, list[str]] = {}
        for position, rule in rules:
            share, why = rule.match(request, state, weights.material_weight)
            if share > 0:
                scores[position] = scores.get(position, 0.0) + share * rule.rule.weight
                whys.setdefault(position, []).append(why)
        for position, found in evidence.items():
            score = found.score(weights.word_weight, weights.example_weight)
            scores[position] = scores.get(position, 0.0) + score
            whys.setdefault(position, []).append(found.why)
        scores = {position: score for position, score in scores.items() if score > 0}
        # Subtracting the largest keeps exp() in range and changes no probability.
        top = max([weights.none_score, *scores.values()])
        powers = {position: math.exp((score - top) / weights.temperature) for position, score in scores.items()}
        total = math.exp((weights.none_score - top) / weights.temperature) + sum(powers.values())
        return {
            position: (power / total, "; ".join(filter(None, whys[position]))) for position, power in powers.items()
        }

    def _decide(
        self,
        text: str,
        state: ConversationState,
        snapshot: _Snapshot,
        probabilities: Mapping[int, tuple[float, str]],
        *,
        cut: bool = False,
    ) -> Selection:
        # Names break ties, so that the order never depends on when a function was registered.
        ranked = sorted(probabilities, key=lambda i: (-probabilities[i][0], snapshot.functions[i].name))[
            :MAX_CANDIDATES
        ]
        candidates = tuple(
            Candidate(function=snapshot.functions[i].name, probability=probabilities[i][0], explain=probabilities[i][1])
            for i in ranked
        )
        # The rest is the share of "none of these".
        in_scope = min(1.0, sum(probability for probability, _ in probabilities.values()))
        note = "; only the beginning of the text was read" if cut else ""
        if not candidates or candidates[0].probability < self._weights.ask_at:
            reason = (
                "no function fits the text well enough" if candidates else "no function shares a word with the text"
            )
            return self._abstain(text, state, reason + note, candidates, in_scope)
        first = candidates[0]
        if first.probability < self._weights.act_at:
            choices = tuple(c for c in candidates if c.probability >= self._weights.ask_at / 2)
            return Selection(
                text=text,
                candidates=candidates,
                decision=Decision.ASK,
                choices=choices,
                stated_reason=f"{'several functions' if len(choices) > 1 else 'one function'} may be meant{note}",
                response=question([c.function for c in choices], language_of(text, otherwise=state.language)),
                in_scope=in_scope,
            )
        return Selection(
            text=text,
            candidates=candidates,
            decision=Decision.ACT,
            stated_reason=first.why + note,
            in_scope=in_scope,
            chosen=snapshot.functions[ranked[0]],
        )

    def _abstain(
        self,
        text: str,
        state: ConversationState,
        reason: str,
        candidates: tuple[Candidate, ...] = (),
        in_scope: float = 0.0,
    ) -> Selection:
        return Selection(
            text=text,
            candidates=candidates,
            decision=Decision.ABSTAIN,
            stated_reason=reason,
            response=self._responses.default(text, state.language),
            in_scope=in_scope,
        )


def _places(only: Collection[str], snapshot: _Snapshot) -> AbstractSet[int]:
    """The positions of the functions of these names."""
    return {snapshot.places[name] for name in only if name in snapshot.places}


def _is_marked(name: str) -> bool:
    """Whether a case-folded name cannot be an ordinary word."""
    return any(character in "._" or character.isdigit() for character in name)


def _prefer_exact_case(found: list[int], text: str, snapshot: _Snapshot) -> list[int]:
    functions = snapshot.functions
    exact = [i for i in found if any(name in text for name in (functions[i].name, *functions[i].aliases))]
    return exact or found
