"""Thresholds: where to abstain, and where to act."""

import numpy as np
import pytest

from dispatcher.selection.tuning import MIN_OUTSIDE, _find_thresholds

ALL_RIGHT = np.ones(200, dtype=bool)


def spread(low: float, high: float, count: int = 200) -> np.ndarray:
    return np.linspace(low, high, count)


def find(*, right=ALL_RIGHT, sure=None, in_scope, foreign, tempted=None):
    sure = np.ones(len(right)) if sure is None else sure
    tempted = foreign if tempted is None else tempted
    return _find_thresholds(right, sure, in_scope, foreign, tempted)


def test_where_both_kinds_are_far_apart_little_is_lost():
    found = find(in_scope=spread(0.6, 1), foreign=spread(0, 0.4))
    assert 0.6 < found.ask_at < 0.62


def test_where_they_overlap_more_is_given_up_than_always_may_be():
    crowd = find(in_scope=spread(0.3, 1), foreign=np.full(200, 0.33))
    assert crowd.ask_at == pytest.approx(0.33, abs=0.005)
    assert find(in_scope=spread(0.3, 1), foreign=np.full(200, 0.2)).ask_at < 0.32
    # Not at any price.
    assert find(in_scope=spread(0.3, 1), foreign=np.full(200, 0.6)).ask_at < 0.32


def test_a_few_texts_that_nothing_fits_decide_nothing():
    few = find(in_scope=spread(0.3, 1), foreign=np.full(MIN_OUTSIDE - 1, 0.33))
    assert few == find(in_scope=spread(0.3, 1), foreign=np.zeros(0))


def test_it_does_not_act_on_what_nothing_fits_where_asking_is_cheaper():
    """All selections of functions are right: without the others it would act on everything."""
    alone = find(in_scope=spread(0.3, 1), foreign=spread(0, 0.2))
    tempted = find(in_scope=spread(0.3, 1), foreign=np.r_[spread(0, 0.2, 100), np.full(100, 0.38)])
    assert alone.act_at < 0.35
    assert tempted.ask_at < 0.38 < tempted.act_at
