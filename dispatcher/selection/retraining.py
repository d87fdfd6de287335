"""A new model from everything that was said, and whether it is better than the one in use.

A part of the texts, chosen by their own digest, is held out of every training. So a text that was held out once always
is, and the model in use has not seen it either. A challenger takes the champion's place only where it is better there:

    badness = mean over the held-out texts of  cost of the decision - log P(what was right)

The cost says what a caller notices, abstention and thresholds too, but a few texts decide it by chance; the logarithm
says of every text how true its probabilities are, but nothing of what comes of them.

Source: Gneiting and Raftery 2007 (proper scoring rules).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dispatcher.errors import ModelError
from dispatcher.registry.registry import Registry
from dispatcher.selection.card import cards_of
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.evaluation import Evaluation, Judged, Labelled, judge, summarise
from dispatcher.selection.example import Example
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.misled import Lessons, confirmed, find_misleader, is_right
from dispatcher.selection.model import Model
from dispatcher.selection.rules import KeywordRule, compile_rules
from dispatcher.selection.selection import Decision
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.training import train
from dispatcher.selection.tuning import WRONG_COST
from dispatcher.selection.words import normalise

#: Percent of the texts that are held out.
HELD_OUT: Final = 15
#: Fewer held-out texts cannot tell two models apart.
MIN_HELD_OUT: Final = 10
#: A weaker feedback was guessed from what happened: it takes no example away.
SAID: Final = 0.5
#: A right function's probability is taken for at least this: one that is not among the candidates has none.
LEAST: Final = 1e-3
#: Sources that are left out of a training, at most.
MAX_LEFT_OUT: Final = 3
#: What it costs to abstain from a text that a function fits, or to ask about others, where a question about the right
#: one costs 1: the user has to say it anew, but has nothing to undo.
MISSED_COST: Final = 2.0
#: The share by which a model must be less bad to be better.
MARGIN: Final = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What there is to learn from, each text once."""

    examples: tuple[Example, ...]
    held_out: tuple[Labelled, ...]
    #: Texts by where they came from: `registry`, `files`, `feedback`.
    sources: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How good a selector is on the held-out texts."""

    #: The share told rightly: called, or asked about first, where a function fits; abstained from where none does.
    accuracy: float
    #: The mean of -log P(what was right).
    loss: float
    #: The mean of what decisions cost: 1 for a question about what is right, or of a text that asks for nothing.
    cost: float
    evaluation: Evaluation

    def beats(self, other: "Score") -> bool:
        """Whether it is better, by what its decisions cost and how true its probabilities are, both together.

        A model that was stored is rounded: the same one trained twice is no better than itself.
        """
        return self.cost + self.loss < (other.cost + other.loss) * (1 - MARGIN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenger:
    """A new model, and what it was made of."""

    model: Model
    score: Score
    gathered: Gathered
    #: Sources whose feedback was left out: each alone had made the model worse for the others.
    left_out: tuple[str, ...]


def gather(registry: Registry, rows: Iterable[Labelled], feedback: Iterable[Feedback]) -> Gathered:
    """Put everything together that is known of the functions that there are; the latest that was said of a text counts.

    Args:
        registry: its own examples come first, and are never held out: every selector knows them.
        rows: from files. Of several labels the first is learnt.
        feedback: the oldest first. RIGHT makes an example, NOTHING one that no function fits; WRONG takes one away.
    """
    found: dict[str, tuple[str, Example, tuple[str, ...]]] = {}
    for function in registry:
        for text in function.options.examples:
            found[normalise(text)] = ("registry", Example(text=text, function=function.name), (function.name,))
    for row in rows:
        first = row.labels[0] if row.labels else None
        found[normalise(row.text)] = ("files", Example(text=row.text, function=first, state=row.state), row.labels)
    for said in feedback:
        _take(said, registry, found)
    examples, held_out = [], []
    for key, (source, example, labels) in found.items():
        if source != "registry" and _is_held_out(key):
            held_out.append(Labelled(text=example.text, labels=labels, state=example.state))
        else:
            examples.append(example)
    return Gathered(
        examples=tuple(examples),
        held_out=tuple(held_out),
        sources=Counter(source for source, _, _ in found.values()),
    )


def _take(said: Feedback, registry: Registry, found: dict[str, tuple[str, Example, tuple[str, ...]]]) -> None:
    key = normalise(said.text)
    if said.verdict is Verdict.WRONG:
        if said.weight >= SAID and key in found and _name(said.function, registry) == found[key][1].function:
            del found[key]
        return
    function = None if said.verdict is Verdict.NOTHING else _name(said.function, registry)
    if said.verdict is Verdict.RIGHT and function is None:
        return
    state = None
    if said.previous_function or said.topic:
        state = ConversationState(previous_function=said.previous_function or None, topic=said.topic or None)
    example = Example(text=said.text, function=function, state=state, weight=said.weight)
    found[key] = ("feedback", example, () if function is None else (function,))


def _name(name: str, registry: Registry) -> str | None:
    return registry.get(name).name if name in registry else None


def _is_held_out(key: str) -> bool:
    digest = hashlib.sha256(key.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:4]) % 100 < HELD_OUT


def challenge(  # noqa: PLR0913 - all of one training
    registry: Registry,
    gathered: Gathered,
    *,
    rules: Sequence[KeywordRule] = (),
    validation: Sequence[Example] = (),
    meaning: Meaning | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Model, Score]:
    """Train a model, and say how good it is on what was held out. Its metrics say so too.

    Raises:
        ModelError: there is too little to learn from.
    """
    missing = MIN_HELD_OUT - len(gathered.held_out)
    if missing > 0:
        given = sum(count for source, count in gathered.sources.items() if source != "registry")
        msg = (
            f"there is too little to learn from: of {given} texts beside the registry's own examples "
            f"{len(gathered.held_out)} fell among those that are held out, and {MIN_HELD_OUT} are needed to tell "
            f"whether a model is better; about {math.ceil(missing * 100 / HELD_OUT)} labelled texts or feedbacks more "
            "will do"
        )
        raise ModelError(msg)
    model = train(
        cards_of(registry),
        gathered.examples,
        validation=_without(validation, gathered.held_out),
        rules=compile_rules(rules, registry),
        meaning=meaning,
        refit=True,
        progress=progress,
    )
    progress("comparing on what was held out")
    score = rate(registry, model, gathered.held_out, rules=rules, meaning=meaning)
    metrics = {
        **model.metrics,
        "held_out": float(len(gathered.held_out)),
        "held_out_accuracy": score.accuracy,
        "held_out_loss": score.loss,
        "held_out_cost": score.cost,
    }
    return replace(model, metrics=metrics), score


def challenge_fairly(  # noqa: PLR0913 - all of one training
    registry: Registry,
    rows: Sequence[Labelled],
    feedback: Sequence[Feedback],
    champion: Model | None,
    *,
    rules: Sequence[KeywordRule] = (),
    validation: Sequence[Example] = (),
    meaning: Meaning | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Challenger:
    """Gather, train and rate a model; again without a source that alone has misled it (`misled`).

    Raises:
        ModelError: there is too little to learn from, or too many sources mislead.
    """
    left_out: list[str] = []
    asked = confirmed(registry, rows, feedback)
    texts = [one.row for one in asked]

    def ask(model: Model | None) -> tuple[Judged, ...]:
        return judge(Cascade(registry, rules, meaning=meaning, model=model), texts) if feedback else ()

    before = ask(champion)
    while len(left_out) <= MAX_LEFT_OUT:
        heard = [said for said in feedback if said.source not in left_out]
        gathered = gather(registry, rows, heard)
        model, score = challenge(
            registry, gathered, rules=rules, validation=validation, meaning=meaning, progress=progress
        )
        progress("asking for what others confirmed")
        misleader = find_misleader(asked, before, ask(model), Lessons(registry, rows, heard)) if feedback else None
        if misleader is None:
            return Challenger(model=model, score=score, gathered=gathered, left_out=tuple(left_out))
        left_out.append(misleader)
    msg = (
        f"what {', '.join(map(repr, left_out))} said makes a model worse on what others confirmed: look at the feedback"
    )
    raise ModelError(msg)


def _without(examples: Sequence[Example], held_out: Sequence[Labelled]) -> list[Example]:
    """Examples but those whose texts were held out: a model that learnt them would be rated too well."""
    texts = {normalise(row.text) for row in held_out}
    return [example for example in examples if normalise(example.text) not in texts]


def rate(
    registry: Registry,
    model: Model | None,
    held_out: Sequence[Labelled],
    *,
    rules: Sequence[KeywordRule] = (),
    meaning: Meaning | None,
) -> Score:
    """How good a model is; None: what the functions say of themselves."""
    judged = judge(Cascade(registry, rules, meaning=meaning, model=model), held_out)
    return Score(
        accuracy=sum(map(is_right, judged)) / len(judged),
        loss=sum(map(_loss, judged)) / len(judged),
        cost=sum(map(cost_of, judged)) / len(judged),
        evaluation=summarise(judged),
    )


def cost_of(judged: Judged) -> float:
    """What the decision about a text costs, a question that helps being 1."""
    if judged.calls:
        return 0.0 if judged.calls_are_right else WRONG_COST
    if judged.expected is None:
        return 1.0 if judged.decision is Decision.ASK else 0.0
    return 1.0 if judged.asks_rightly else MISSED_COST


def _loss(judged: Judged) -> float:
    if judged.expected is None:
        right = 1 - judged.in_scope
    else:
        pairs = zip(judged.ranked, judged.probabilities, strict=True)
        right = sum(probability for name, probability in pairs if name in judged.accepted)
    return -math.log(min(1.0, max(LEAST, right)))
