"""Training examples told apart, so that what holds the tiers together is learnt from texts that they did not see.

A text is in one fold alone, however often it was said. Where few texts are known that nothing fits, each fold also
leaves some functions out: their texts are what a text looks like whose function is not there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dispatcher.selection.exact import plain
from dispatcher.selection.example import Example
from dispatcher.selection.tuning import MIN_OUTSIDE

#: Folds; large sets need fewer.
FOLDS, FEW_FOLDS, MANY_EXAMPLES = 5, 3, 5_000
#: One of so many functions is left out in some fold. With more, those that are left in are told apart too easily there:
#: what is learnt from them is too sure of itself.
LEFT_OUT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One way to tell the examples apart."""

    #: To train on.
    part: tuple[Example, ...]
    #: Of functions that are trained.
    held_out: tuple[Example, ...]
    #: Of no function, or of one that is left out.
    absent: tuple[Example, ...]
    #: The functions that are left out.
    left_out: frozenset[str]


def split(examples: Sequence[Example], seed: int) -> Iterator[Fold]:
    """The folds of examples, those that leave something to train on and something to look at."""
    rng = np.random.default_rng(seed)
    inside = [example for example in examples if example.function is not None]
    outside = [example for example in examples if example.function is None]
    count = FOLDS if len(inside) < MANY_EXAMPLES else FEW_FOLDS
    fold_of = _stratify(inside, count, rng)
    names = sorted({str(example.function) for example in inside})
    enough = len(outside) >= MIN_OUTSIDE
    groups = LEFT_OUT * count
    group_of = {name: int(group) for name, group in zip(names, rng.permutation(len(names)) % groups, strict=True)}
    if enough or len(names) < groups:
        group_of = dict.fromkeys(names, -1)
    for fold in range(count):
        left_out = frozenset(name for name, group in group_of.items() if group == fold)
        theirs = [replace(e, function=None) for e in inside if e.function in left_out]
        stays = [(e, f) for e, f in zip(inside, fold_of, strict=True) if group_of[str(e.function)] != fold]
        part = [e for e, f in stays if f != fold]
        held_out = [e for e, f in stays if f == fold]
        absent = outside if enough else [*theirs, *outside]
        if part and held_out:
            yield Fold(part=(*part, *outside), held_out=tuple(held_out), absent=tuple(absent), left_out=left_out)


def key_of(text: str) -> str:
    """Equal for texts that differ in case, blanks and punctuation only."""
    return plain(text) or text


def _stratify(examples: Sequence[Example], count: int, rng: np.random.Generator) -> list[int]:
    """A fold for each example, so that each function is spread over all folds."""
    keys = [key_of(example.text) for example in examples]
    by_name: dict[str, list[str]] = {}
    for key, example in dict(zip(keys, examples, strict=True)).items():
        by_name.setdefault(str(example.function), []).append(key)
    fold_of: dict[str, int] = {}
    for own in by_name.values():
        offset = int(rng.integers(count))
        for number, place in enumerate(rng.permutation(len(own))):
            fold_of[own[int(place)]] = (number + offset) % count
    return [fold_of[key] for key in keys]
