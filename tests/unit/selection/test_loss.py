"""The losses, checked against finite differences, and the descents that make them small."""

from dataclasses import replace

import numpy as np
import pytest

from dispatcher.selection import network
from dispatcher.selection.loss import Dense, Linear, Slope, Sparse, cross_entropy, log_softmax, softmax
from dispatcher.selection.network import Layered
from dispatcher.selection.optimisers import Adam, FullBatch, MiniBatch, fit, stochastic

EVERYTHING = np.arange(12)


class Undrawn:
    """Drops nothing: every unit is kept, whatever the share."""

    def random(self, shape, dtype):
        return np.ones(shape, dtype=dtype)


def numbers(seed: int, *shape: int) -> np.ndarray:
    """Of double precision: the checks then see the gradient, and not the rounding."""
    return np.random.default_rng(seed).standard_normal(shape)


def numeric_slope(loss, parameter: np.ndarray) -> np.ndarray:
    """By central differences."""
    slope = np.zeros_like(parameter)
    for place in np.ndindex(*parameter.shape):
        kept, step = parameter[place], 1e-2
        parameter[place] = kept + step
        above = loss()
        parameter[place] = kept - step
        slope[place] = (above - loss()) / (2 * step)
        parameter[place] = kept
    return slope


def whole(slope: Slope, like: np.ndarray) -> np.ndarray:
    if slope.rows is None:
        return slope.values
    full = np.zeros_like(like)
    full[slope.rows] = slope.values
    return full


def as_sparse(rows: np.ndarray) -> Sparse:
    """Its cells that are not 0, each told as two halves: a column that a row names twice counts twice."""
    starts, columns, values = [0], [], []
    for row in rows:
        for column in np.flatnonzero(row):
            columns += [column, column]
            values += [row[column] / 2] * 2
        starts.append(len(columns))
    return Sparse(
        starts=np.array(starts), columns=np.array(columns), values=np.array(values, np.float32), width=rows.shape[1]
    )


def make_rows(seed: int = 0, examples: int = 12, width: int = 5) -> np.ndarray:
    rows = numbers(seed, examples, width).astype(np.float32)
    rows[np.abs(rows) < 0.4] = 0
    return rows


def make_linear(*, sparse: bool = False, l2: float = 0.3) -> Linear:
    rows = make_rows()
    labels = np.random.default_rng(2).integers(0, 3, len(rows))
    weights = np.abs(numbers(3, len(rows))) + 0.2
    weights /= weights.mean()
    return Linear(
        inputs=as_sparse(rows) if sparse else Dense(rows),
        labels=labels,
        weights=weights.astype(np.float32),
        l2=l2,
        origin=numbers(4, rows.shape[1], 3).astype(np.float32),
        prior=np.log(np.array([3, 2, 1], dtype=np.float32)),
    )


# --- the loss


def test_probabilities_sum_to_one_however_large_the_logits():
    logits = np.array([[1000.0, 0.0], [-1000.0, -1000.0], [3.0, 1.0]], dtype=np.float32)
    assert softmax(logits).sum(axis=1) == pytest.approx(1)
    assert np.exp(log_softmax(logits)) == pytest.approx(softmax(logits), abs=1e-6)


def test_what_may_not_be_selected_has_no_probability():
    logs = log_softmax(np.array([1.0, -np.inf, 2.0], dtype=np.float32))
    assert np.isneginf(logs[1])
    assert np.exp(logs).sum() == pytest.approx(1)


def test_the_gradient_of_the_cross_entropy_is_what_finite_differences_say():
    logits = numbers(0, 6, 4)
    labels, weights = np.array([0, 1, 2, 3, 1, 1]), np.abs(numbers(1, 6))
    _, gradient = cross_entropy(logits, labels, weights)
    expected = numeric_slope(lambda: cross_entropy(logits, labels, weights)[0], logits)
    assert gradient == pytest.approx(expected, abs=2e-4)


def test_an_example_of_no_weight_teaches_nothing():
    logits, labels = numbers(0, 3, 4).astype(np.float32), np.array([0, 1, 2])
    _, gradient = cross_entropy(logits, labels, np.array([1.0, 0.0, 1.0], np.float32))
    assert not gradient[1].any()
    assert gradient[0].any()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_slopes_of_a_linear_model_are_what_finite_differences_say(sparse, l2):
    objective = make_linear(sparse=sparse, l2=l2)
    parameters = [numbers(5, 5, 3), numbers(6, 3)]
    _, slopes = objective.slopes(parameters, EVERYTHING, np.random.default_rng(0))
    for parameter, slope in zip(parameters, slopes, strict=True):
        expected = numeric_slope(lambda: objective.loss(parameters), parameter)
        assert whole(slope, parameter) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("batch", [np.array([3]), np.array([7, 0, 7]), EVERYTHING[::2]])
def test_a_batch_is_read_alike_from_dense_and_from_sparse_inputs(batch):
    rows = make_rows()
    dense, columns = as_sparse(rows).take(batch)
    full = np.zeros((len(batch), rows.shape[1]), np.float32)
    full[:, columns] = dense
    assert full == pytest.approx(Dense(rows).take(batch)[0], abs=1e-6)
    parameters = [numbers(5, 5, 3), numbers(6, 3)]
    of_dense, of_sparse = (
        make_linear(sparse=sparse, l2=0).slopes(parameters, batch, np.random.default_rng(0)) for sparse in (False, True)
    )
    assert of_dense[0] == pytest.approx(of_sparse[0], abs=1e-6)
    for one, other, parameter in zip(of_dense[1], of_sparse[1], parameters, strict=True):
        assert whole(one, parameter) == pytest.approx(whole(other, parameter), abs=1e-6)


def test_a_sparse_row_without_anything_is_a_row_of_zeros():
    inputs = Sparse(starts=np.array([0, 0, 1]), columns=np.array([2]), values=np.array([3.0], np.float32), width=4)
    dense, columns = inputs.take(np.array([0, 1]))
    assert dense.tolist() == [[0.0], [3.0]]
    assert columns.tolist() == [2]


def test_the_pull_is_towards_the_start_and_not_towards_zero():
    objective = make_linear(l2=1e4)
    fitted = fit(objective, FullBatch(rate=1e-5), epochs=50)
    assert fitted.parameters[0] == pytest.approx(objective.origin, abs=0.01)


# --- the network's loss


def make_layered(**changes: object) -> Layered:
    rows = numbers(0, 12, 4)
    labels = np.random.default_rng(2).integers(0, 3, 12)
    weights = np.abs(numbers(3, 12)) + 0.1
    return replace(Layered(vectors=rows, labels=labels, weights=weights, classes=3), **changes)


def small_parameters() -> list[np.ndarray]:
    return [numbers(5, 4, 6), numbers(6, 6), numbers(7, 6, 3), numbers(8, 3)]


def test_the_slopes_of_the_network_are_what_finite_differences_say_where_nothing_is_dropped():
    objective, parameters = make_layered(), small_parameters()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(network, "DROP_INPUTS", 0.0)
        patched.setattr(network, "DROP_HIDDEN", 0.0)
        loss, slopes = objective.slopes(parameters, EVERYTHING, Undrawn())
        assert loss == pytest.approx(objective.loss(parameters), abs=1e-5)
        for parameter, slope in zip(parameters, slopes, strict=True):
            expected = numeric_slope(lambda: objective.slopes(parameters, EVERYTHING, Undrawn())[0], parameter)
            assert slope.values == pytest.approx(expected, abs=5e-3)


def test_the_slopes_of_the_network_are_right_for_whatever_was_dropped():
    objective, parameters = make_layered(), small_parameters()

    def dropping():
        return objective.slopes(parameters, EVERYTHING, np.random.default_rng(11))

    loss, slopes = dropping()
    assert loss != pytest.approx(objective.loss(parameters), abs=1e-3)
    for parameter, slope in zip(parameters, slopes, strict=True):
        expected = numeric_slope(lambda: dropping()[0], parameter)
        assert slope.values == pytest.approx(expected, abs=2e-2)


# --- the optimisers


def make_convex() -> Linear:
    """Two hundred examples whose labels overlap: the best weights are finite, and there is one best loss."""
    rows = numbers(0, 200, 5).astype(np.float32)
    chances = softmax(rows @ numbers(1, 5, 3).astype(np.float32))
    labels = np.array(
        [np.random.default_rng(i).choice(3, p=p / p.sum()) for i, p in enumerate(chances.astype(np.float64))]
    )
    return Linear(
        inputs=Dense(rows),
        labels=labels,
        weights=np.ones(200, np.float32),
        l2=0.05,
        origin=np.zeros((5, 3), np.float32),
    )


def steepness(objective: Linear, parameters: list[np.ndarray]) -> float:
    _, slopes = objective.slopes(parameters, np.arange(len(objective)), np.random.default_rng(0))
    return max(float(np.abs(slope.values).max()) for slope in slopes)


def test_what_is_known_without_the_text_is_not_learnt_again():
    """Texts that are all alike, nine in ten of one class: they say nothing, and the prior says it all."""
    labels = np.repeat([0, 1], [90, 10])
    gaps = []
    for prior in (0.0, np.log(np.array([90, 10], dtype=np.float32))):
        alike = Linear(
            inputs=Dense(np.ones((100, 1), np.float32)),
            labels=labels,
            weights=np.ones(100, np.float32),
            l2=0.0,
            origin=np.zeros((1, 2), np.float32),
            prior=prior,
        )
        weights, bias = fit(alike, FullBatch(rate=0.5), epochs=300).parameters
        learnt = weights[0] + bias
        gaps.append(float(learnt[0] - learnt[1]))
    assert gaps == pytest.approx([np.log(9), 0], abs=0.02)


def test_full_batch_descent_comes_to_rest_where_the_loss_is_flat():
    objective = make_convex()
    fitted = fit(objective, FullBatch(rate=0.5), epochs=300)
    assert steepness(objective, objective.start()) > 0.05
    assert steepness(objective, fitted.parameters) < 1e-3


@pytest.mark.parametrize(
    ("optimiser", "epochs"),
    [(MiniBatch(batch_size=20, rate=0.5), 60), (stochastic(rate=0.5), 25), (Adam(batch_size=50, rate=0.02), 100)],
)
def test_every_optimiser_reaches_the_loss_of_full_batch_descent_on_a_convex_problem(optimiser, epochs):
    objective = make_convex()
    best = objective.loss(fit(objective, FullBatch(rate=0.5), epochs=300).parameters)
    start = objective.loss(objective.start())
    reached = objective.loss(fit(objective, optimiser, epochs=epochs).parameters)
    assert best - 1e-5 <= reached <= best + 0.02 * (start - best)


def test_each_pass_sees_every_example_once():
    rng = np.random.default_rng(0)
    for optimiser, steps in (
        (FullBatch(), 1),
        (MiniBatch(batch_size=4), 3),
        (stochastic(), 10),
        (Adam(batch_size=6), 2),
    ):
        batches = list(optimiser.batches(10, rng))
        assert len(batches) == steps
        assert sorted(np.concatenate(batches)) == list(range(10))


def test_one_seed_gives_one_result():
    objective = make_convex()
    first, second, other = (fit(objective, MiniBatch(20), epochs=3, seed=seed).parameters[0] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


class Script:
    """A validation set whose loss is known in advance; notes the parameters that it was asked about."""

    def __init__(self, *losses: float) -> None:
        self.losses, self.seen = list(losses), []

    def loss(self, parameters):
        self.seen.append(parameters[0].copy())
        return self.losses[len(self.seen) - 1]


def test_training_stops_where_validation_no_longer_gains_and_keeps_the_best_parameters():
    validation = Script(5.0, 3.0, 4.0, 3.5, 9.0, 1.0)
    fitted = fit(make_convex(), MiniBatch(20), epochs=6, validation=validation, patience=3)
    assert [epoch.valid_loss for epoch in fitted.curve] == [5.0, 3.0, 4.0, 3.5, 9.0]
    assert (fitted.parameters[0] == validation.seen[1]).all()
    assert (fitted.parameters[0] != validation.seen[4]).any()


def test_training_that_does_not_stop_looks_at_validation_and_keeps_the_last_parameters():
    validation = Script(5.0, 3.0, 4.0, 3.5, 9.0, 10.0)
    fitted = fit(make_convex(), MiniBatch(20), epochs=6, validation=validation, patience=1, stops=False)
    assert [epoch.valid_loss for epoch in fitted.curve] == [5.0, 3.0, 4.0, 3.5, 9.0, 10.0]
    assert (fitted.parameters[0] == validation.seen[5]).all()


@pytest.mark.parametrize(("progress", "share"), [(0, 0), (0.05, 0.5), (0.1, 1), (0.5, 1), (0.9, 1)])
def test_adams_rate_rises_while_it_warms_up(progress, share):
    cold, warmed = np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32)
    for parameter, warming in ((cold, 0.0), (warmed, 0.1)):
        Adam(rate=0.1, warming=warming).step([parameter], [Slope(np.ones((2, 2), np.float32))], progress)
    assert (cold < 0).all()
    assert warmed == pytest.approx(share * cold)


def test_patience_counts_from_the_last_gain():
    validation = Script(5.0, 6.0, 4.0, 6.0, 3.0, 6.0)
    fitted = fit(make_convex(), MiniBatch(20), epochs=6, validation=validation, patience=2)
    assert len(fitted.curve) == 6
    assert (fitted.parameters[0] == validation.seen[4]).all()


def test_the_learning_curve_is_kept_and_told_while_it_is_drawn():
    told = []
    fitted = fit(make_convex(), FullBatch(rate=0.5), epochs=20, on_epoch=told.append)
    assert tuple(told) == fitted.curve
    assert [epoch.epoch for epoch in fitted.curve] == list(range(1, 21))
    assert all(epoch.valid_loss is None for epoch in fitted.curve)
    assert fitted.curve[-1].train_loss < fitted.curve[0].train_loss


def test_training_leaves_the_start_alone():
    objective = make_convex()
    fit(objective, MiniBatch(20), epochs=2)
    assert not objective.origin.any()
