"""What a recipe costs in answers, estimated from what each of its decisions costs alone.

1. **Noise adds up.** Each decision adds noise to the outputs; the noise of several is taken as the sum of theirs, as a part of the
   outputs' power (Zhou, Moosavi-Dezfooli, Cheung & Frossard, "Adaptive Quantization for Deep Neural Network", AAAI 2018).
2. **Noise to loss is a curve** of this model and this data, through the variants that were scored: the least squares fit that never falls
   (pool adjacent violators, Ayer et al. 1955), linear between them, 0 without noise. Beyond the noisiest variant the last slope goes on.
3. The error is the root mean square of what variants miss when they are left out of the curve in turn, doubled.

Where the metric is SQNR itself, there is no curve: the score is the summed noise in dB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from edgeprof.models.graph import Graph
from edgeprof.recipes.plan import prunable_groups, quantizable
from edgeprof.recipes.recipe import FLOAT, Recipe, choices

Key = tuple[str, str]
"""Layer and decision: ``("/conv/Conv", "int8")``, ``("/conv/Conv", "prune 0.25")``."""


@dataclass(frozen=True, eq=False)
class Quality:
    """What decisions cost, alone and together.

    ``noise``: power of what a decision adds to the outputs, as a part of theirs. ``value``: the model's own score in ``metric``.
    ``points``: (summed noise, measured loss) of variants that were scored; loss is how much worse the score became.
    """

    noise: Mapping[Key, float]
    metric: str
    value: float
    better: Literal["higher", "lower"] = "higher"
    points: tuple[tuple[float, float], ...] = ()

    def noise_of(self, recipe: Recipe, graph: Graph) -> float:
        """Summed noise of a recipe; NaN when a layer with weights has a decision that was never tried alone.

        Layers without weights that follow their neighbours into 8 bits count as none: what they add is in the curve. Of a group that is
        pruned together its first layer's ratio counts; between ratios that were tried noise is read from a line through them and 0.
        """
        weighted, leaders = set(quantizable(graph)), set(prunable_groups(graph))
        total = 0.0
        for layer, choice in choices(recipe, graph).items():
            if choice.precision not in (None, FLOAT):
                total += self.noise.get((layer, choice.precision), math.nan if layer in weighted else 0.0)
            if choice.prune and layer in leaders:
                total += self._pruned(layer, choice.prune)
        return total

    def _pruned(self, layer: str, ratio: float) -> float:
        known = self._ratios.get(layer)
        if not known:
            return math.nan
        return float(np.interp(ratio, *zip((0.0, 0.0), *known, strict=True))) if ratio <= known[-1][0] else math.nan

    @cached_property
    def _ratios(self) -> dict[str, list[tuple[float, float]]]:
        """Of each layer the (ratio, noise) that were tried, the smallest ratio first."""
        found: dict[str, list[tuple[float, float]]] = {}
        for (layer, decision), noise in self.noise.items():
            if decision.startswith("prune "):
                found.setdefault(layer, []).append((float(decision.removeprefix("prune ")), noise))
        return {layer: sorted(pairs) for layer, pairs in found.items()}

    def loss(self, noise: float) -> float:
        """How much worse the score becomes with so much noise at the outputs; NaN when nothing is known."""
        if math.isnan(noise):
            return math.nan
        if self.metric == "sqnr_db":
            return -self.score(noise)
        return _on_curve(noise, self.points)

    def score(self, noise: float) -> float:
        """The score with so much noise."""
        if self.metric == "sqnr_db":
            return 200.0 if noise <= 0 else -10 * math.log10(noise)
        loss = self.loss(noise)
        return self.value - loss if self.better == "higher" else self.value + loss

    @property
    def error(self) -> float:
        """How far a loss may be off, 95 %; NaN when fewer than three variants were scored."""
        if len(self.points) < 3 or self.metric == "sqnr_db":
            return math.nan
        missed = [_on_curve(noise, [*self.points[:n], *self.points[n + 1 :]]) - loss for n, (noise, loss) in enumerate(self.points)]
        return 2 * math.sqrt(math.fsum(e * e for e in missed) / len(missed))


def _on_curve(noise: float, points: Sequence[tuple[float, float]]) -> float:
    if not points:
        return math.nan
    at, loss = _rising([(0.0, 0.0), *sorted(points)])
    if noise <= at[-1]:
        return float(np.interp(noise, at, loss))
    slope = (loss[-1] - loss[-2]) / (at[-1] - at[-2]) if len(at) > 1 and at[-1] > at[-2] else 0.0
    return loss[-1] + slope * (noise - at[-1])


def _rising(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Points whose values never fall, nearest to the given ones; points at the same place become one. The first is kept as it is."""
    blocks: list[list[float]] = []  # place, value, weight
    for place, value in points:
        if blocks and place == blocks[-1][0]:
            weight = blocks[-1][2] + 1
            blocks[-1][1:] = [blocks[-1][1] + (value - blocks[-1][1]) / weight, weight]
        else:
            blocks.append([place, value, 1.0])
    pools: list[list[float]] = []  # first, after the last, value, weight
    for number, (_, value, weight) in enumerate(blocks):
        pools.append([number, number + 1, max(0.0, value), weight])
        while len(pools) > 1 and pools[-2][2] > pools[-1][2]:
            last, before = pools.pop(), pools.pop()
            total = before[3] + last[3]
            pools.append([before[0], last[1], (before[2] * before[3] + last[2] * last[3]) / total, total])
    values = [value for first, end, value, _ in pools for _ in range(int(end - first))]
    values[0] = 0.0 if blocks[0][0] == 0 else values[0]
    return [block[0] for block in blocks], values
