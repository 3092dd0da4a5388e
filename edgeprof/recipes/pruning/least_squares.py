"""Least squares from sums over rows, so that rows need not be kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Values = NDArray[np.float64]

_ROWS_AT_ONCE = 4096


@dataclass(eq=False)
class Sums:
    """Normal equations of rows: inputs with a 1 behind, (k + 1,), and targets. Only the last line of ``squares`` without ``whole``."""

    k: int
    m: int
    whole: bool

    def __post_init__(self) -> None:
        height = self.k + 1 if self.whole else 1
        self.squares = np.zeros((height, self.k + 1))
        self.products = np.zeros((height, self.m))
        self.targets = np.zeros(self.m)
        self._waiting: list[tuple[Array, Array]] = []

    def add(self, inputs: Array, targets: Array) -> None:
        """Takes rows in."""
        self._waiting.append((inputs, targets))
        if sum(len(rows) for rows, _ in self._waiting) >= _ROWS_AT_ONCE:
            self.close()

    def close(self) -> None:
        """Adds up what was taken in and waits."""
        if not self._waiting:
            return
        inputs, targets = (np.concatenate(parts).astype(np.float64) for parts in zip(*self._waiting, strict=True))
        self._waiting = []
        with_one = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
        left = with_one if self.whole else with_one[:, -1:]
        self.squares += left.T @ with_one
        self.products += left.T @ targets
        self.targets += (targets**2).sum(axis=0)

    def __add__(self, other: Sums) -> Sums:
        both = Sums(self.k, self.m, self.whole)
        both.squares, both.products, both.targets = (
            self.squares + other.squares, self.products + other.products, self.targets + other.targets,
        )  # fmt: skip
        return both

    @property
    def n(self) -> float:
        """How many rows there were."""
        return float(self.squares[-1, -1])

    def error(self, weights: Values) -> float:
        """Sum of squares of what weights (k + 1, m) leave of the targets."""
        cross = float((weights * self.products).sum())
        return max(0.0, float(self.targets.sum()) - 2 * cross + float((weights * (self.squares @ weights)).sum()))

    def variance(self) -> float:
        """Sum of squares of the targets around their means."""
        return float((self.targets - self.products[-1] ** 2 / max(self.n, 1)).sum())


def ridge_fit(sums: Sums, start: Values, ridge: float, has_bias: bool) -> Values:
    """Weights (k + 1, m) near ``start`` that give the targets best; with an infinite ``ridge`` the bias alone changes."""
    left = sums.products - sums.squares @ start  # what is left of the targets, against each input
    square, mean = sums.squares[:-1, :-1], sums.squares[-1, :-1] / max(sums.n, 1)
    wanted = left[:-1]
    if has_bias:
        square = square - np.outer(mean, mean) * sums.n
        wanted = wanted - np.outer(mean, left[-1])
    new = start.copy()
    if math.isfinite(ridge):
        size = float(np.trace(square)) / max(1, len(square))
        if size > 0:
            new[:-1] += np.linalg.solve(square + ridge * size * np.eye(len(square)), wanted)
    if has_bias:
        new[-1] += left[-1] / max(sums.n, 1) - mean @ (new[:-1] - start[:-1])
    return new
