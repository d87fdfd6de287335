"""Examples told apart: which functions a fold leaves out."""

import pytest

from dispatcher.selection.example import Example
from dispatcher.selection.folds import FOLDS, split
from dispatcher.selection.tuning import MIN_OUTSIDE


def examples_of(functions: int) -> list[Example]:
    return [
        Example(text=f"text {number} of {name}", function=f"function_{name}")
        for name in range(functions)
        for number in range(FOLDS)
    ]


@pytest.mark.parametrize("functions", [10, 37, 60])
def test_each_fold_leaves_out_others_and_no_more_than_a_tenth(functions):
    folds = list(split(examples_of(functions), seed=0))
    gone = [name for fold in folds for name in fold.left_out]
    assert len(folds) == FOLDS
    assert len(set(gone)) == len(gone)
    for fold in folds:
        assert 1 <= len(fold.left_out) <= -(-functions // 10)
        assert {e.function for e in (*fold.part, *fold.held_out)}.isdisjoint(fold.left_out)
        assert len(fold.absent) == len(fold.left_out) * FOLDS
        assert all(e.function is None for e in fold.absent)


def test_no_function_is_left_out_where_there_are_too_few_or_texts_enough_that_nothing_fits():
    outside = [Example(text=f"nothing {number}", function=None) for number in range(MIN_OUTSIDE)]
    for examples in (examples_of(9), [*examples_of(60), *outside]):
        assert all(not fold.left_out for fold in split(examples, seed=0))
