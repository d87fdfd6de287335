"""Measures against numbers worked out by hand."""

import pytest

from dispatcher.selection.measures import Share, calibration, latency, roc, wilson


def test_wilsons_interval_is_the_one_of_the_textbook() -> None:
    # p = 0.8, n = 10, z² = 3.8415: middle (0.8 + 0.1921) / 1.3841, half 1.96 · √(0.016 + 0.0096) / 1.3841.
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=5e-5)


def test_an_interval_stays_between_0_and_1_and_knows_nothing_of_no_rows() -> None:
    # All of n right: the lower end is n / (n + z²).
    assert wilson(10, 10) == pytest.approx((10 / 13.8415, 1), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0, 3.8415 / 13.8415), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_a_share_of_no_rows_has_no_value() -> None:
    assert Share(hits=0, rows=0).value is None
    assert Share(hits=3, rows=4).value == 0.75
    assert Share(hits=8, rows=10).interval == wilson(8, 10)


def test_the_area_below_the_curve_counts_the_pairs_and_a_tie_as_half() -> None:
    # Of the six pairs 0.9 > 0.5, 0.9 > 0.1, 0.5 = 0.5, 0.5 > 0.1, 0.4 < 0.5 and 0.4 > 0.1: four and a half are right.
    made = roc([0.9, 0.5, 0.4], [0.5, 0.1])
    assert made.auroc == pytest.approx(4.5 / 6)


def test_the_curve_goes_through_each_threshold_from_nothing_to_everything() -> None:
    made = roc([0.9, 0.5, 0.4], [0.5, 0.1])
    points = [(point.threshold, point.false_positive_rate, point.true_positive_rate) for point in made.points]
    assert points[0] == (None, 0, 0)
    assert points[1:] == [
        (0.9, 0, pytest.approx(1 / 3)),
        (0.5, 0.5, pytest.approx(2 / 3)),
        (0.4, 0.5, 1),
        (0.1, 1, 1),
    ]


def test_points_on_a_straight_line_are_left_out() -> None:
    made = roc([0.9, 0.8, 0.7], [0.3, 0.2, 0.1])
    assert made.auroc == 1
    assert [point.threshold for point in made.points] == [None, 0.7, 0.1]


def test_one_score_for_all_is_a_coin_and_a_swapped_one_is_worse() -> None:
    assert roc([1.0, 1.0], [1.0]).auroc == 0.5
    assert len(roc([1.0, 1.0], [1.0]).points) == 2
    assert roc([0.1], [0.9]).auroc == 0


@pytest.mark.parametrize(("inside", "outside"), [([], [0.5]), ([0.5], []), ([], [])])
def test_without_rows_of_both_kinds_there_is_no_curve(inside, outside) -> None:
    assert roc(inside, outside) is None


def test_the_area_is_the_one_below_the_drawn_points() -> None:
    import random

    source = random.Random(7)
    inside = [round(source.gauss(0.6, 0.2), 1) for _ in range(200)]
    outside = [round(source.gauss(0.4, 0.2), 1) for _ in range(150)]
    made = roc(inside, outside)
    below = sum(
        (b.false_positive_rate - a.false_positive_rate) * (a.true_positive_rate + b.true_positive_rate) / 2
        for a, b in zip(made.points, made.points[1:], strict=False)
    )
    assert made.auroc == pytest.approx(below)
    pairs = [(i > o) + (i == o) / 2 for i in inside for o in outside]
    assert made.auroc == pytest.approx(sum(pairs) / len(pairs))


def test_the_calibration_error_is_the_mean_gap_weighted_by_rows() -> None:
    # Two bins. Up to 0.5: 0.2 and 0.4, one right: |0.5 - 0.3|. Above: 0.9, 0.8, 0.7, all right: |1 - 0.8|.
    made = calibration([0.2, 0.4, 0.9, 0.8, 0.7], [False, True, True, True, True], bins=2)
    assert made.ece == pytest.approx(2 / 5 * 0.2 + 3 / 5 * 0.2)
    assert [(b.low, b.high, b.rows) for b in made.bins] == [(0, 0.5, 2), (0.5, 1, 3)]
    assert [b.accuracy for b in made.bins] == [0.5, 1]
    assert [b.confidence for b in made.bins] == pytest.approx([0.3, 0.8])


def test_a_border_belongs_to_the_bin_below_it_and_0_to_the_first() -> None:
    made = calibration([0.0, 0.5, 1.0], [False, False, True], bins=2)
    assert [b.rows for b in made.bins] == [2, 1]


def test_there_are_fifteen_bins_and_an_empty_one_says_nothing() -> None:
    made = calibration([1.0], [True])
    assert len(made.bins) == 15
    assert made.ece == 0
    assert (made.bins[0].rows, made.bins[0].confidence, made.bins[0].accuracy) == (0, None, None)
    assert calibration([], []) is None


def test_latency_is_in_milliseconds_between_the_rows_that_are_nearest() -> None:
    # 101 times: the percentiles are rows themselves.
    made = latency([n / 1_000 for n in range(101)])
    assert (made.p50_ms, made.p95_ms, made.p99_ms) == pytest.approx((50, 95, 99))
    assert latency([0.001, 0.002]).p95_ms == pytest.approx(1.95)
    assert latency([]) is None
