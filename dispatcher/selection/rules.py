"""Keyword rules: what a deployment knows about how its users ask."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from dispatcher.errors import UnknownFunctionError
from dispatcher.registry.registry import Registry
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.words import WORD_CHARACTER, Request, normalise

#: A state condition of this value holds when there is any value at all.
ANY = "*"
#: The score at which a rule's word is even odds between its function and none, and by how much more it is e to 1.
EVEN, TEMPERATURE = 2.0, 0.5

_NUMBER = r"\d+(?:[.,]\d+)*"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeywordRule:
    """Words, and a conversation state, that speak for a function.

    A term is a word or a phrase. It is compared without regard to case or character width, at word boundaries in
    scripts that have them and anywhere in Chinese. `*` at a word's end lets it go on (`summar*`), `|` separates terms
    of which one is enough (`count*|how many`), `#` stands for a number in digits.

    Raises:
        ValueError: if the rule has no condition, an empty term, an unknown state key, or a weight that is not a number.
    """

    #: The registered name, or an alias, of the function that the rule speaks for.
    function: str
    #: One of these is enough.
    any_of: tuple[str, ...] = ()
    #: Each of these must be there.
    all_of: tuple[str, ...] = ()
    #: None of these may be in the instruction.
    none_of: tuple[str, ...] = ()
    #: What the conversation must be in: `previous_function`, `topic`, `language` or `slots.<name>`, with the value it
    #: must have, or `*` for any.
    state: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: Added to the function's score when the rule matches; negative to speak against it.
    weight: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", MappingProxyType(dict(self.state)))
        if not (self.any_of or self.all_of or self.state):
            msg = f"a rule for {self.function} needs any_of, all_of or state"
            raise ValueError(msg)
        for name in ("any_of", "all_of", "none_of"):
            # A lone string would be read as a tuple of its letters.
            if isinstance(getattr(self, name), str):
                msg = f"{name} of a rule for {self.function} must be a tuple of texts, not one text"
                raise ValueError(msg)  # noqa: TRY004 - a rule's faults are all of one kind to its author
        terms = (*self.any_of, *self.all_of, *self.none_of)
        if not all(normalise(part).strip("* ") for term in terms for part in term.split("|")):
            msg = f"a rule for {self.function} has an empty term"
            raise ValueError(msg)
        for key in self.state:
            if key not in {"previous_function", "topic", "language"} and not re.fullmatch(r"slots\..+", key):
                msg = f"a rule for {self.function} has the unknown state key {key!r}"
                raise ValueError(msg)
        if not math.isfinite(self.weight):
            msg = f"the weight of a rule for {self.function} must be a finite number, not {self.weight}"
            raise ValueError(msg)


class CompiledRule:
    """A rule made ready to be matched many times."""

    def __init__(self, rule: KeywordRule) -> None:
        self.rule = rule
        self._needed = tuple(
            tuple(_Term(part) for term in terms for part in term.split("|"))
            for terms in (rule.any_of, *((term,) for term in rule.all_of))
            if terms
        )
        self._forbidden = tuple(_Term(part) for term in rule.none_of for part in term.split("|"))

    def match(self, request: Request, state: ConversationState, material_weight: float) -> tuple[float, str]:
        """Say how far the rule matches, 0 to 1, and which words did.

        1 where all words stand in the instruction; `material_weight` where one is found in the material only.
        """
        if not all(_holds(key, wanted, state) for key, wanted in self.rule.state.items()):
            return 0.0, ""
        share, found = 1.0, []
        for terms in self._needed:
            words = _find(terms, request.instruction)
            if words is None:
                words = _find(terms, request.material)
                share = material_weight
            if words is None:
                return 0.0, ""
            found.append(words)
        if _find(self._forbidden, request.instruction) is not None:
            return 0.0, ""
        conditions = [f"{key} is {value}" for key, value in self.rule.state.items()]
        return share, "rule: " + ", ".join(dict.fromkeys((*found, *conditions)))


def compile_rules(rules: Sequence[KeywordRule], registry: Registry) -> tuple[CompiledRule, ...]:
    """Make rules ready to be matched.

    Raises:
        UnknownFunctionError: one names a function that is not registered.
    """
    for rule in rules:
        if rule.function not in registry:
            raise UnknownFunctionError(rule.function, hint="a KeywordRule names it")
    return tuple(CompiledRule(rule) for rule in rules)


class _Term:
    """A term: a fixed part, which is quick to look for and nearly always missing, and the whole as an expression."""

    def __init__(self, term: str) -> None:
        term = normalise(term)
        spaced = re.compile(WORD_CHARACTER)
        # Boundaries only where the term itself begins or ends in a spaced script.
        before = rf"(?<!{WORD_CHARACTER})" if spaced.match(term) else ""
        after = rf"(?!{WORD_CHARACTER})" if spaced.match(term[-1]) else ""
        self.fixed = max((word.removesuffix("*") for word in term.split() if word != "#"), key=len, default="")
        self._pattern = before + r"\ ".join(map(_word, term.split())) + after

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """Compiled when first needed: a thousand terms take a second, and most are never looked for."""
        return re.compile(self._pattern)


def _find(terms: tuple[_Term, ...], text: str) -> str | None:
    """The words of the first of these terms that is in the text."""
    for term in terms:
        if term.fixed in text:
            match = term.expression.search(text)
            if match is not None:
                return match.group()
    return None


def _holds(key: str, wanted: str, state: ConversationState) -> bool:
    actual = state.slots.get(key.removeprefix("slots.")) if key.startswith("slots.") else getattr(state, key)
    return actual is not None and wanted in (ANY, actual)


def _word(word: str) -> str:
    if word == "#":
        return _NUMBER
    return re.escape(word.removesuffix("*")) + (rf"{WORD_CHARACTER}*" if word.endswith("*") else "")
