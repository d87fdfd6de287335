"""Layers of a transformer, checked against finite differences."""

import numpy as np
import pytest

from dispatcher.selection import adapting
from dispatcher.selection.adapting import Adapting, _contrasted
from dispatcher.selection.encoders.encoder import unit
from dispatcher.selection.layers import PARTS, Layer, Packed
from dispatcher.selection.loss import Slope

WIDTH, MIDDLE, HEADS = 6, 10, 2
SHAPES = {"i": (WIDTH, MIDDLE), "ib": (MIDDLE,), "d": (MIDDLE, WIDTH)} | dict.fromkeys("qkvo", (WIDTH, WIDTH))
LENGTHS = np.array([3, 1, 4])


def make_weights(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [0.5 * rng.standard_normal(SHAPES.get(part, (WIDTH,))).astype(np.float32) for part in PARTS]


def make_rows(count: int, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(9).standard_normal((count, width)).astype(np.float32)


def slope_along(loss, parameter: np.ndarray, way: np.ndarray) -> float:
    """How the loss changes along a way, by central differences."""
    start, step = parameter.copy(), np.float32(1e-2)
    parameter[:] = start + step * way
    above = loss()
    parameter[:] = start - step * way
    below = loss()
    parameter[:] = start
    return (above - below) / (2 * float(step))


@pytest.mark.parametrize("part", [*PARTS, "input"])
def test_slopes_of_a_layer_are_those_of_its_result(part):
    weights, rows, packed = make_weights(1), make_rows(8), Packed(LENGTHS)
    by_mean = make_rows(3)

    def loss() -> float:
        return float((packed.mean(Layer(weights, HEADS, packed).forward(rows)) * by_mean).sum())

    layer = Layer(weights, HEADS, packed)
    layer.forward(rows)
    by_rows, by_weights = layer.backward(packed.spread(by_mean))
    parameter, slope = (
        (rows, by_rows)
        if part == "input"
        else next((w, by) for name, w, by in zip(PARTS, weights, by_weights, strict=True) if name == part)
    )
    way = np.random.default_rng(3).standard_normal(parameter.shape).astype(np.float32)
    assert float((slope * way).sum()) == pytest.approx(slope_along(loss, parameter, way), rel=0.02, abs=0.01)


def test_a_text_is_read_the_same_alone_and_among_others():
    weights, rows = make_weights(1), make_rows(8)
    together = Layer(weights, HEADS, Packed(LENGTHS)).forward(rows)
    alone = Layer(weights, HEADS, Packed(LENGTHS[2:])).forward(rows[4:])
    assert together[4:] == pytest.approx(alone, abs=1e-5)


def make_adapting(*, dropped: float) -> Adapting:
    return Adapting(
        read=np.split(make_rows(8), [3, 4]),
        rows=unit(make_rows(3, WIDTH + 2)),
        common=0.1 * make_rows(1)[0],
        columns=slice(1, WIDTH + 1),
        share=0.8,
        labels=np.array([0, 1, 1]),
        weights=np.array([1, 2, 0.5], dtype=np.float32),
        layers=[*make_weights(1), *make_weights(2)],
        prototypes=make_rows(2, WIDTH + 2),
        heads=HEADS,
        dropped=dropped,
    )


@pytest.mark.parametrize("place", [0, 6, 16, 26, 32])
def test_slopes_of_adapting_are_those_of_its_loss(place):
    objective = make_adapting(dropped=0)
    parameters = objective.start()
    _, slopes = objective.slopes(parameters, np.arange(3), np.random.default_rng(0))
    way = np.random.default_rng(3).standard_normal(parameters[place].shape).astype(np.float32) / 10
    along = slope_along(lambda: objective.loss(parameters), parameters[place], way)
    assert float((slopes[place].values * way).sum()) == pytest.approx(along, rel=0.05, abs=0.01)


@pytest.mark.parametrize("place", range(2 * len(PARTS) + 1))
def test_slopes_with_dropout_are_those_of_the_loss_with_the_same_numbers_dropped(place):
    objective = make_adapting(dropped=0.3)
    parameters = objective.start()

    def look(seed: int) -> tuple[float, list[Slope]]:
        return objective.slopes(parameters, np.arange(3), np.random.default_rng(seed))

    loss, slopes = look(5)
    assert look(5)[0] == loss
    assert abs(look(6)[0] - loss) > 0.01
    assert abs(objective.loss(parameters) - loss) > 0.01
    way = np.random.default_rng(3).standard_normal(parameters[place].shape).astype(np.float32) / 10
    along = slope_along(lambda: look(5)[0], parameters[place], way)
    assert float((slopes[place].values * way).sum()) == pytest.approx(along, rel=0.05, abs=0.02)


def test_a_text_that_is_nearest_to_its_function_still_has_to_come_nearer(monkeypatch):
    objective = make_adapting(dropped=0)
    parameters = objective.start()
    with_margin = objective.loss(parameters)
    monkeypatch.setattr(adapting, "MARGIN", 0.0)
    assert with_margin > objective.loss(parameters) + 0.1


def test_texts_of_one_function_are_drawn_to_each_other():
    labels, weights = np.array([0, 0, 1, 2]), np.array([1, 2, 1, 1], dtype=np.float32)
    requests = unit(make_rows(4))
    loss, slope = _contrasted(requests, labels, weights)
    moved = unit(requests - np.float32(0.01) * slope)
    assert _contrasted(moved, labels, weights)[0] < loss
    assert moved[0] @ moved[1] > requests[0] @ requests[1]
    way = np.random.default_rng(3).standard_normal(requests.shape).astype(np.float32) / 10
    along = slope_along(lambda: _contrasted(requests, labels, weights)[0], requests, way)
    assert float((slope * way).sum()) == pytest.approx(along, rel=0.02, abs=0.01)


@pytest.mark.parametrize("texts", [1, 3])
def test_texts_of_different_functions_alone_are_left_where_they_are(texts):
    loss, slope = _contrasted(unit(make_rows(texts)), np.arange(texts), np.ones(texts, dtype=np.float32))
    assert loss == 0
    assert not slope.any()


def test_adapting_counts_the_contrast_between_texts(monkeypatch):
    objective = make_adapting(dropped=0)
    with_contrast = objective.loss(objective.start())
    monkeypatch.setattr(adapting, "CONTRAST", 0.0)
    assert with_contrast > objective.loss(objective.start()) + 0.1
