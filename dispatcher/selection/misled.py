"""Whether one source alone has misled a training: what it said made a model worse on what everybody else said.

The rate of a source is bounded, but the trainer reads the whole log: an hour of one user's word can outweigh all
examples, and stands among the held-out texts too. So a new model is asked again what others confirmed. Where it tells
texts worse than the one before, by what one source alone taught, what that source said is left out.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.registry.registry import Registry
from dispatcher.selection.evaluation import Judged, Labelled
from dispatcher.selection.example import MAX_LOSS, MIN_LOST, TAIL
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.words import normalise, words

#: Texts that are asked about again, at most; with a sentence encoder two models take about five seconds for them.
MAX_TEXTS: Final = 400
#: Texts of any one source that count: with fewer than `MIN_LOST` nobody can have another left out.
OF_ONE: Final = MIN_LOST - 1
#: Texts most like one that was lost, by which is told who taught it.
NEAREST: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """A text that a new model should still tell rightly."""

    row: Labelled
    #: Who said so; empty for the registry and for files.
    source: str = ""


def confirmed(registry: Registry, rows: Iterable[Labelled], feedback: Sequence[Feedback]) -> list[Confirmed]:
    """What the registry, files and each source say, whatever others have said of the same texts since."""
    found = [
        Confirmed(row=Labelled(text=example + TAIL, labels=(function.name,)))
        for function in registry
        for example in function.options.examples
    ]
    found += [Confirmed(row=row) for row in rows]
    said = {(one.source, normalise(one.text)): one for one in feedback if one.verdict is not Verdict.WRONG}
    counts: Counter[str] = Counter()
    for (source, _), one in sorted(said.items(), key=lambda item: _digest(item[1].text)):
        counts[source] += 1
        if source and counts[source] <= OF_ONE and (not one.function or one.function in registry):
            labels = (registry.get(one.function).name,) if one.function else ()
            found.append(Confirmed(row=Labelled(text=one.text, labels=labels), source=source))
    return sorted(found, key=lambda one: _digest(one.row.text))[:MAX_TEXTS]


class Lessons:
    """Who taught what a function is called for: to find who taught a model to take a text for it.

    Args:
        registry: its examples are nobody's.
        rows: of files, nobody's either.
        feedback: what was said.
    """

    def __init__(self, registry: Registry, rows: Iterable[Labelled], feedback: Iterable[Feedback]) -> None:
        #: By function, None being "no function": the words of each text, and who said it.
        self._taught: dict[str | None, list[tuple[frozenset[str], str]]] = defaultdict(list)
        for function in registry:
            for example in function.options.examples:
                self._add(function.name, example, "")
        for row in rows:
            self._add(row.labels[0] if row.labels else None, row.text, "")
        for said in feedback:
            if said.verdict is Verdict.NOTHING:
                self._add(None, said.text, said.source)
            elif said.verdict is Verdict.RIGHT and said.function in registry:
                self._add(registry.get(said.function).name, said.text, said.source)

    def _add(self, function: str | None, text: str, source: str) -> None:
        self._taught[function].append((frozenset(words(normalise(text))), source))

    def teacher_of(self, text: str, function: str | None) -> str:
        """Who said most of what is most like the text among what the function is called for; empty: nobody alone."""
        own = frozenset(words(normalise(text)))
        likenesses = [
            (2 * len(own & taught) / (len(own) + len(taught)), source)
            for taught, source in self._taught[function]
            if not own.isdisjoint(taught)
        ]
        nearest = Counter(source for _, source in sorted(likenesses, reverse=True)[:NEAREST])
        source, count = nearest.most_common(1)[0] if nearest else ("", 0)
        return source if 2 * count > nearest.total() else ""


def find_misleader(
    asked: Sequence[Confirmed], before: Sequence[Judged], after: Sequence[Judged], lessons: Lessons
) -> str | None:
    """The source that a new model is worse for; None where there is none.

    Args:
        asked: the texts.
        before: what the model in use says of them.
        after: what the new one says.
        lessons: that the new one had.
    """
    lost: Counter[str] = Counter()
    for one, old, new in zip(asked, before, after, strict=True):
        if is_right(old) and not is_right(new):
            lost[lessons.teacher_of(one.row.text, new.predicted)] += 1
    del lost[""]
    for source, count in lost.most_common(1):
        others = sum(one.source != source for one in asked)
        if count >= MIN_LOST and count / others > MAX_LOSS:
            return source
    return None


def is_right(judged: Judged) -> bool:
    """Whether a text was told rightly: called, or asked about first, where a function fits; else abstained from."""
    return judged.predicted in judged.accepted if judged.expected is not None else judged.predicted is None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
