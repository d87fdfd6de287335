"""How good a selector is: labelled texts in, shares with their intervals out.

A text is *in scope* where some function is right for it, and *out of scope* where none is. The selector's answer is
looked at three ways, and each number says which:

- its *first candidate*, whatever was decided;
- its *calls*: the functions that would be called without asking anybody. One where it decides to act, those of the
  parts where it decides that several are meant, none where it asks or abstains. Calls are right where there is one at
  least and each is a right one;
- its *class*, for confusions: no function where it abstains, the first call that is wrong (else the first) where it
  calls, the first candidate where it asks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dispatcher.clock import Clock, SystemClock
from dispatcher.selection.measures import Calibration, Latency, Roc, Share, calibration, latency, roc
from dispatcher.selection.selection import Decision, Selection
from dispatcher.selection.selector import ConversationState, Selector

#: The numbers of candidates at which the recall is taken.
RECALLS_AT: Final = (1, 3, 5, 10)

#: Selected once before the watch runs: what a selector loads when it is first asked is no row's time.
_WARM_UP: Final = "what is this?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A text, and what is right for it."""

    text: str
    #: The names of the functions of which any is right; the first is the one that confusions name. Empty: none fits.
    labels: tuple[str, ...] = ()
    state: ConversationState | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A labelled text, and what a selector said of it.

    Raises:
        ValueError: names and probabilities do not pair up.
    """

    text: str
    #: The right function; None where none fits.
    expected: str | None
    #: Every right function; `expected` belongs to it without being named.
    accepted: frozenset[str] = frozenset()
    #: The candidates, the likeliest first, and the probability of each.
    ranked: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    #: The probability that any function is meant.
    in_scope: float = 1.0
    decision: Decision
    #: The functions that would be called without asking anybody.
    calls: tuple[str, ...] = ()
    #: Where it asks: the functions that the user is to choose from.
    choices: tuple[str, ...] = ()
    #: How long it took.
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if len(self.ranked) != len(self.probabilities):
            msg = f"{len(self.ranked)} candidates with {len(self.probabilities)} probabilities"
            raise ValueError(msg)
        if self.expected is None:
            if self.accepted:
                msg = f"functions are accepted where none is expected: {', '.join(sorted(self.accepted))}"
                raise ValueError(msg)
        else:
            object.__setattr__(self, "accepted", self.accepted | {self.expected})

    @property
    def first(self) -> str | None:
        """The first candidate; None where there is none."""
        return self.ranked[0] if self.ranked else None

    @property
    def first_is_right(self) -> bool:
        return self.first in self.accepted

    @property
    def calls_are_right(self) -> bool:
        return bool(self.calls) and self.accepted.issuperset(self.calls)

    @property
    def predicted(self) -> str | None:
        """The class that the answer puts the text in; None is "no function"."""
        if self.decision is Decision.ABSTAIN:
            return None
        if self.calls:
            return next((name for name in self.calls if name not in self.accepted), self.calls[0])
        return self.first

    @property
    def asks_rightly(self) -> bool:
        """Whether it asks, and a right function is among the choices."""
        return self.decision is Decision.ASK and not self.accepted.isdisjoint(self.choices)

    def found_in(self, count: int) -> bool:
        """Whether a right function is among the first candidates."""
        return not self.accepted.isdisjoint(self.ranked[:count])


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Rows of one class that were put in another; None is "no function"."""

    expected: str | None
    predicted: str | None
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScore:
    """How well one class is told from all others."""

    #: None is "no function".
    function: str | None
    #: The rows that are of the class, and those that were put in it: each with how many of them rightly.
    recall: Share
    precision: Share

    @property
    def f1(self) -> float:
        """The harmonic mean of recall and precision; 0 where nothing was right."""
        both = self.recall.rows + self.precision.rows
        return 2 * self.recall.hits / both if both else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What a selector got right and wrong."""

    rows: int
    #: How many rows in scope, and out of scope, were decided how.
    decisions_in_scope: Mapping[Decision, int]
    decisions_out_of_scope: Mapping[Decision, int]
    #: Of the rows in scope: the first candidate is right, whatever was decided.
    accuracy: Share
    #: Of the rows in scope: a right function is among the first so many candidates. Left out where the selector never
    #: gives so many, since that would only repeat the number before.
    recall_at: Mapping[int, Share]
    #: Of the rows in scope: the calls are right. Asking and abstaining count as wrong.
    accuracy_of_calls: Share
    #: Of all rows with a call: the calls are right. Out of scope, every call is wrong.
    precision_of_calls: Share
    #: Of the rows out of scope: it abstains. Asking does not count.
    out_of_scope_recall: Share
    #: Of the rows out of scope: it asks.
    out_of_scope_asked: Share
    #: Telling rows in scope from rows out of scope by `Selection.in_scope`; None where either has no row.
    scope: Roc | None
    #: Of the rows in scope: the first candidate's probability given that some function is meant, that is
    #: min(1, probability / in_scope), against its being right. A row without candidates says 0 and is wrong.
    calibration_given_scope: Calibration | None
    #: Of all rows: the first candidate's probability as it stands, against its being right. Out of scope it never is.
    calibration: Calibration | None
    #: The most frequent first.
    confusions: tuple[Confusion, ...]
    #: By name, "no function" last.
    classes: tuple[ClassScore, ...]
    latency: Latency | None


def evaluate(
    selector: Selector,
    rows: Iterable[Labelled],
    *,
    clock: Clock | None = None,
    progress: Callable[[], None] | None = None,
) -> Evaluation:
    """Run a selector over labelled texts, and say how good it is.

    Args:
        selector: asked once more before the first row, untimed, so that what it loads is not counted.
        rows: the labelled texts.
        clock: times each selection.
        progress: called after each row.
    """
    return summarise(judge(selector, rows, clock=clock, progress=progress))


def judge(
    selector: Selector,
    rows: Iterable[Labelled],
    *,
    clock: Clock | None = None,
    progress: Callable[[], None] | None = None,
) -> tuple[Judged, ...]:
    """Run a selector over labelled texts; the arguments are those of `evaluate`."""
    clock = clock if clock is not None else SystemClock()
    judged: list[Judged] = []
    selector.select(_WARM_UP)
    for row in rows:
        start = clock.monotonic()
        selection = selector.select(row.text, row.state)
        judged.append(judge_one(row, selection, seconds=clock.monotonic() - start))
        if progress is not None:
            progress()
    return tuple(judged)


def judge_one(row: Labelled, selection: Selection, *, seconds: float) -> Judged:
    """Put what was said of a text beside what is right for it."""
    parts = selection.parts if selection.decision is Decision.SEVERAL else (selection,)
    return Judged(
        text=row.text,
        expected=row.labels[0] if row.labels else None,
        accepted=frozenset(row.labels),
        ranked=tuple(candidate.function for candidate in selection.candidates),
        probabilities=tuple(candidate.probability for candidate in selection.candidates),
        in_scope=selection.in_scope,
        decision=selection.decision,
        calls=tuple(part.function for part in parts if part.function is not None),
        choices=tuple(candidate.function for candidate in selection.choices),
        seconds=seconds,
    )


def summarise(judged: Iterable[Judged]) -> Evaluation:
    """Count and average what was judged."""
    rows = tuple(judged)
    inside = tuple(row for row in rows if row.expected is not None)
    outside = tuple(row for row in rows if row.expected is None)
    return Evaluation(
        rows=len(rows),
        decisions_in_scope=_decisions(inside),
        decisions_out_of_scope=_decisions(outside),
        accuracy=_share(row.first_is_right for row in inside),
        recall_at=_recall_at(rows, inside),
        accuracy_of_calls=_share(row.calls_are_right for row in inside),
        precision_of_calls=_share(row.calls_are_right for row in rows if row.calls),
        out_of_scope_recall=_share(row.decision is Decision.ABSTAIN for row in outside),
        out_of_scope_asked=_share(row.decision is Decision.ASK for row in outside),
        scope=roc([row.in_scope for row in inside], [row.in_scope for row in outside]),
        calibration_given_scope=calibration([_given_scope(row) for row in inside], [r.first_is_right for r in inside]),
        calibration=calibration([_said(row) for row in rows], [row.first_is_right for row in rows]),
        confusions=_confusions(rows),
        classes=_classes(rows),
        latency=latency([row.seconds for row in rows]),
    )


def _share(right: Iterable[bool]) -> Share:
    judged = tuple(right)
    return Share(hits=sum(judged), rows=len(judged))


def _decisions(rows: Sequence[Judged]) -> Mapping[Decision, int]:
    counted = Counter(row.decision for row in rows)
    return MappingProxyType({decision: counted[decision] for decision in Decision})


def _recall_at(rows: Sequence[Judged], inside: Sequence[Judged]) -> Mapping[int, Share]:
    most = max((len(row.ranked) for row in rows), default=0)
    counts = [count for count in RECALLS_AT if count == 1 or count <= most]
    return MappingProxyType({count: _share(row.found_in(count) for row in inside) for count in counts})


def _said(row: Judged) -> float:
    return row.probabilities[0] if row.probabilities else 0.0


def _given_scope(row: Judged) -> float:
    said = _said(row)
    # Also where in_scope is 0 and the first candidate is not: the two contradict each other, and 1 is the limit.
    return min(1.0, said / row.in_scope) if row.in_scope > 0 else float(said > 0)


def _class_of(row: Judged) -> str | None:
    """The right class. Where several functions are right, it is the predicted one if that is among them."""
    return row.predicted if row.predicted in row.accepted else row.expected


def _confusions(rows: Sequence[Judged]) -> tuple[Confusion, ...]:
    counted = Counter((_class_of(row), row.predicted) for row in rows)
    wrong = [
        Confusion(expected=expected, predicted=predicted, rows=count)
        for (expected, predicted), count in counted.items()
        if expected != predicted
    ]
    return tuple(sorted(wrong, key=lambda c: (-c.rows, _by_name(c.expected), _by_name(c.predicted))))


def _classes(rows: Sequence[Judged]) -> tuple[ClassScore, ...]:
    of = Counter(_class_of(row) for row in rows)
    put_in = Counter(row.predicted for row in rows)
    right = Counter(row.predicted for row in rows if row.predicted == _class_of(row))
    return tuple(
        ClassScore(
            function=name,
            recall=Share(hits=right[name], rows=of[name]),
            precision=Share(hits=right[name], rows=put_in[name]),
        )
        for name in sorted(of.keys() | put_in.keys(), key=_by_name)
    )


def _by_name(name: str | None) -> tuple[bool, str]:
    return (name is None, name or "")
