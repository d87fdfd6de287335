"""What a selector says about a text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dispatcher.errors import DispatcherError, NoFunctionSelectedError
from dispatcher.model.call import Call
from dispatcher.registry.function import Function
from dispatcher.selection.words import material_of


class Decision(StrEnum):
    """What the caller should do with the candidates."""

    #: Call the first candidate.
    ACT = "act"
    #: The text asks for several functions: each of `parts` says one of them, in the order of the text.
    SEVERAL = "several"
    #: Ask the user which of the candidates is meant.
    ASK = "ask"
    #: Call nothing: answer with the default response.
    ABSTAIN = "abstain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A function that may be meant."""

    #: The function's registered name.
    function: str
    #: From 0 to 1. What is missing from the sum of all candidates to 1 stands for the functions that are not listed,
    #: and for "none of these".
    probability: float
    #: What spoke for it, or how to find that out: explaining costs more than selecting.
    explain: str | Callable[[], str] = field(default="", repr=False, compare=False)

    @property
    def why(self) -> str:
        """What spoke for it, in a few words for a person."""
        return self.explain if isinstance(self.explain, str) else self.explain()


#: How the fields of a frozen one are set, the quick way.
_SET_FUNCTION, _SET_PROBABILITY, _SET_EXPLAIN = (
    Candidate.__dict__[name].__set__ for name in ("function", "probability", "explain")
)


def make_candidate(function: str, probability: float, explain: Callable[[], str]) -> Candidate:
    """A candidate, in a third of the time: ten of them were a tenth of a selection (`benchmarks.selection`, speed)."""
    candidate = object.__new__(Candidate)
    _SET_FUNCTION(candidate, function)
    _SET_PROBABILITY(candidate, probability)
    _SET_EXPLAIN(candidate, explain)
    return candidate


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Ranked candidates and a decision, or an abstention that says why."""

    #: The text, whole and as it came.
    text: str
    #: The likeliest first. May be filled even where the decision is to abstain, to show what was considered.
    candidates: tuple[Candidate, ...] = ()
    decision: Decision
    #: Where the decision is to ask: the candidates that the user is to choose from, the likeliest first.
    choices: tuple[Candidate, ...] = ()
    #: Why this decision, for a person; empty where the first candidate's `why` says it.
    stated_reason: str = field(default="", repr=False)
    #: What to answer when no function is called, in the language of the text. Empty when the decision is to act.
    response: str = ""
    #: The probability that any function of the registry is meant, from 0 to 1.
    in_scope: float = 1.0
    #: Where the decision is SEVERAL: a selection for each part of the text, each with the decision to act.
    parts: "tuple[Selection, ...]" = ()
    #: The version of the model that selected; empty where none was trained.
    model: str = ""
    #: The chosen function itself, when the decision is to act.
    chosen: Function[..., object] | None = field(default=None, repr=False, compare=False)

    @property
    def reason(self) -> str:
        """Why this decision, for a person."""
        return self.stated_reason or (self.candidates[0].why if self.candidates else "")

    @property
    def function(self) -> str | None:
        """The chosen function's name; None where the caller is to ask or to abstain."""
        return None if self.chosen is None else self.chosen.name

    @property
    def call(self) -> Call[object] | None:
        """The call, where the chosen function needs nothing but the text; else None, and `bind` takes the rest.

        That is a function with no required argument, or with a single one of plain type `str`. The latter gets what
        stands after the first colon of the text ("count the words: …"), or the whole text where nothing does.
        None also where the text does not fit that argument; `bind({})` then raises the reason.
        """
        if self.chosen is None:
            return None
        filled = self._from_text()
        if filled is None:
            return None
        try:
            return self.chosen.bind(filled)
        except DispatcherError:
            return None

    def bind(self, arguments: Mapping[str, object] | None = None) -> Call[object]:
        """Make the call. Arguments given here win over those taken from the text (see `call`).

        Raises:
            NoFunctionSelectedError: if no function was chosen.
            InvalidArgumentsError: if the arguments do not fit the function; and the other refusals of `Function.bind`.
        """
        if self.chosen is None:
            raise NoFunctionSelectedError(self.reason)
        return self.chosen.bind({**(self._from_text() or {}), **(arguments or {})})

    def _from_text(self) -> dict[str, object] | None:
        """The arguments that the text alone gives; None where it cannot give all that are required."""
        if self.chosen is None:
            return None
        schema = self.chosen.parameters_schema
        required, properties = schema.get("required", []), schema.get("properties", {})
        if not required:
            return {}
        if not isinstance(required, list) or not isinstance(properties, dict) or len(required) > 1:
            return None
        name = str(required[0])
        return {name: material_of(self.text)} if _is_plain_text(properties.get(name)) else None


def _is_plain_text(schema: object) -> bool:
    """Whether a schema takes any text: a `str`, and no date, URL or choice between words."""
    return (
        isinstance(schema, dict)
        and schema.get("type") == "string"
        and not schema.keys() & {"format", "enum", "const", "pattern", "contentEncoding"}
    )
