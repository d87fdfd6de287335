"""How the loss is made small: full-batch, mini-batch and stochastic gradient descent behind one protocol.

Full-batch descent looks at all examples before each step and goes along the exact gradient, with Nesterov's momentum;
mini-batch and stochastic descent look at some, or one, and let Adagrad give each row of a parameter a rate of its own,
which suits features that are seldom seen. All take shorter steps towards the end, and so come to rest at the same loss.

Source: Sutskever et al. 2013 for Nesterov's momentum as it is written here; Duchi, Hazan and Singer 2011 for Adagrad;
Loshchilov and Hutter 2017 for the cosine by which rates fall.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dispatcher.selection.loss import Floats, Integers, Objective, Slope


class Optimiser(Protocol):
    """A way to choose the examples of each step, and to step."""

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Integers]:
        """The examples of each step of one pass over all of them."""
        ...

    def step(self, parameters: list[Floats], slopes: list[Slope], progress: float) -> None:
        """Change the parameters in place.

        Args:
            parameters: arrays.
            slopes: of the loss, at these parameters.
            progress: how much of all passes is done, from 0 to 1.
        """
        ...


@dataclass(slots=True)
class FullBatch:
    """All examples a step, with momentum."""

    rate: float = 1.0
    momentum: float = 0.9
    _speeds: list[Floats] = field(default_factory=list, repr=False)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Integers]:  # noqa: ARG002 - nothing is drawn
        yield np.arange(size)

    def step(self, parameters: list[Floats], slopes: list[Slope], progress: float) -> None:
        if not self._speeds:
            self._speeds = [np.zeros_like(parameter) for parameter in parameters]
        rate = np.float32(self.rate * _falling(progress))
        momentum = np.float32(self.momentum)
        for parameter, slope, speed in zip(parameters, slopes, self._speeds, strict=True):
            by = slope.values
            if slope.rows is not None:
                by = np.zeros_like(parameter)
                by[slope.rows] = slope.values
            np.multiply(speed, momentum, out=speed)
            np.subtract(speed, rate * by, out=speed)
            np.add(parameter, momentum * speed - rate * by, out=parameter)


@dataclass(slots=True)
class MiniBatch:
    """Some examples a step, in a new order each pass, with Adagrad."""

    batch_size: int = 64
    rate: float = 0.5
    _squares: list[Floats] = field(default_factory=list, repr=False)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Integers]:
        order = rng.permutation(size)
        for begin in range(0, size, self.batch_size):
            yield order[begin : begin + self.batch_size]

    def step(self, parameters: list[Floats], slopes: list[Slope], progress: float) -> None:
        if not self._squares:
            # One rate a row, not a number: else the squares would take the parameter's memory once more.
            self._squares = [np.full((len(p), 1) if p.ndim > 1 else len(p), 1e-8, np.float32) for p in parameters]
        rate = np.float32(self.rate * _falling(progress))
        for parameter, slope, squares in zip(parameters, slopes, self._squares, strict=True):
            if parameter.ndim == 1:
                np.add(squares, slope.values**2, out=squares)
                np.subtract(parameter, np.float32(0.1) * rate * slope.values / np.sqrt(squares), out=parameter)
                continue
            rows = slope.rows if slope.rows is not None else slice(None)
            squares[rows] += (slope.values**2).sum(axis=1, keepdims=True)
            parameter[rows] -= rate * slope.values / np.sqrt(squares[rows])


@dataclass(slots=True)
class Adam:
    """Mini-batches, with momentum and a rate of its own for each number: for networks, whose loss has valleys.

    Source: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization".
    """

    batch_size: int = 256
    rate: float = 0.003
    #: The share of all passes in which the rate rises: weights that are good already are not thrown about.
    warming: float = 0.0
    _means: list[Floats] = field(default_factory=list, repr=False)
    _squares: list[Floats] = field(default_factory=list, repr=False)
    _steps: int = 0

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Integers]:
        yield from MiniBatch(self.batch_size).batches(size, rng)

    def step(self, parameters: list[Floats], slopes: list[Slope], progress: float) -> None:
        if not self._means:
            self._means = [np.zeros_like(parameter) for parameter in parameters]
            self._squares = [np.zeros_like(parameter) for parameter in parameters]
        self._steps += 1
        corrected = math.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
        warm = min(1.0, progress / self.warming) if self.warming else 1.0
        rate = np.float32(self.rate * warm * _falling(progress) * corrected)
        for parameter, slope, mean, square in zip(parameters, slopes, self._means, self._squares, strict=True):
            np.add(np.float32(0.9) * mean, np.float32(0.1) * slope.values, out=mean)
            np.add(np.float32(0.999) * square, np.float32(0.001) * slope.values**2, out=square)
            np.subtract(parameter, rate * mean / (np.sqrt(square) + np.float32(1e-8)), out=parameter)


def stochastic(rate: float = 0.5) -> MiniBatch:
    """One example a step: mini-batches of one."""
    return MiniBatch(batch_size=1, rate=rate)


def _falling(progress: float) -> float:
    """From 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One pass over the examples, for the learning curve."""

    epoch: int
    #: The mean loss of the pass, as it was met.
    train_loss: float
    #: The loss on the validation examples after it; None where there are none.
    valid_loss: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """Trained parameters, and how the loss fell."""

    parameters: list[Floats]
    curve: tuple[Epoch, ...]


def fit(  # noqa: PLR0913 - all of one training
    objective: Objective,
    optimiser: Optimiser,
    *,
    epochs: int,
    validation: Objective | None = None,
    stops: bool = True,
    patience: int = 3,
    seed: int = 0,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Fitted:
    """Train from the objective's starting parameters.

    Args:
        objective: what to make small.
        optimiser: how.
        epochs: passes over the examples at most.
        validation: where its loss has not fallen for `patience` passes, training stops, and the best parameters are
            given.
        stops: whether it does; else the loss is only looked at, and the last parameters are given.
        patience: in passes.
        seed: of the order of the examples, and of whatever the objective draws.
        on_epoch: told after each pass.
    """
    rng = np.random.default_rng(seed)
    parameters = objective.start()
    best, best_loss, waited = parameters, math.inf, 0
    curve: list[Epoch] = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        batches = list(optimiser.batches(len(objective), rng))
        for number, batch in enumerate(batches):
            loss, slopes = objective.slopes(parameters, batch, rng)
            total += loss * len(batch)
            optimiser.step(parameters, slopes, (epoch - 1 + number / len(batches)) / epochs)
        valid_loss = None if validation is None else validation.loss(parameters)
        curve.append(Epoch(epoch=epoch, train_loss=total / max(1, len(objective)), valid_loss=valid_loss))
        on_epoch(curve[-1])
        if valid_loss is None or not stops:
            continue
        if valid_loss < best_loss:
            best, best_loss, waited = [p.copy() for p in parameters], valid_loss, 0
        elif (waited := waited + 1) >= patience:
            break
    return Fitted(parameters=best if stops and validation is not None else parameters, curve=tuple(curve))
