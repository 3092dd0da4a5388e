"""What a decision saves on the board, as far as it is known there.

1. ``estimated``: where costs were fitted (`edgeprof.whatif.fit`): the estimate without the decision less the one with it, changes of
   format included. ``only`` is against the model as it is, ``without`` against the model in which all other layers have it. Nothing is
   said of layers that the runtime carries out as part of others.
2. ``measured in place``: what the layer takes in the profile of the model less what it takes in that of the model in which all layers
   have the decision. Layers that the runtime carries out as one count for the one with the most MACs; changes of format between
   layers do not count. Of pruning nothing can be said so: what goes is shared by several layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgeprof.models.cost import graph_costs
from edgeprof.models.graph import Graph
from edgeprof.recipes.recipe import Quantization, Recipe
from edgeprof.records.profile import Profile
from edgeprof.sensitivities.trials import ALL, Trial, prune_part, recipe_of
from edgeprof.whatif import Costs, estimate
from edgeprof.whatif.units import units_of

ESTIMATED = "estimated"
MEASURED = "measured in place"


@dataclass(frozen=True)
class Saving:
    """Milliseconds with a 95 % interval, and millijoules; NaN: not known. ``basis`` is one of the module's, or empty."""

    ms: float = math.nan
    low_ms: float = math.nan
    high_ms: float = math.nan
    mj: float = math.nan
    basis: str = ""


NOT_KNOWN = Saving()


@dataclass
class Savings:
    """`of` says what a trial's decision saves. ``whole``: profiles of the models in which all layers have a decision."""

    base: Profile | None = None
    whole: Mapping[str, Profile] = field(default_factory=dict)
    costs: Costs | None = None
    quantization: Quantization = field(default_factory=Quantization)

    def __post_init__(self) -> None:
        self._in_place = {} if self.base is None else {name: in_place(self.base, profile) for name, profile in self.whole.items()}
        self._estimates: dict[Recipe, Profile] = {}

    def of(self, trial: Trial, every: Sequence[str]) -> Saving:
        """What the decision of ``trial`` saves; nothing is said of weights or activations alone."""
        if trial.is_half:
            return NOT_KNOWN
        if self.costs is not None:
            return self._estimated(trial, every)
        return self._whole(trial) if trial.mode == "all" else self._in_place.get(trial.decision, {}).get(trial.layer, NOT_KNOWN)

    def order(self, graph: Graph) -> dict[str, float]:
        """How much hangs on each layer: its part of the time where that was measured, else of the MACs and weights."""
        base = self.base if self.base is not None else self.costs.base if self.costs is not None else None
        if base is not None:
            layers = base.measured_layers
            times = zip(layers["source_nodes"], layers["latency_ms"].tolist(), strict=True)
            return {name: time for sources, time in times for name in sources if not math.isnan(time)}
        return {name: sum(value for value in (cost.macs, 10 * cost.params) if value > 0) for name, cost in graph_costs(graph).items()}

    def _estimated(self, trial: Trial, every: Sequence[str]) -> Saving:
        assert self.costs is not None  # noqa: S101
        leads = {unit.leader for unit in self.costs.units}
        if prune_part(trial.decision) is None and trial.layer not in (*leads, ALL):
            return NOT_KNOWN
        after = self._estimate(recipe_of(trial, every, self.quantization))
        if trial.mode == "without":
            before, after = after, self._estimate(recipe_of(Trial(trial.decision, "all", ALL), every, self.quantization))
        else:
            before = self._estimate(Recipe())
        return Saving(_ms(before) - _ms(after), mj=_mj(before) - _mj(after), basis=ESTIMATED)

    def _estimate(self, recipe: Recipe) -> Profile:
        if recipe not in self._estimates:
            assert self.costs is not None  # noqa: S101
            self._estimates[recipe] = estimate(self.costs, recipe)
        return self._estimates[recipe]

    def _whole(self, trial: Trial) -> Saving:
        if self.base is None or trial.decision not in self.whole:
            return NOT_KNOWN
        before, after = self.base, self.whole[trial.decision]
        half = math.hypot(_half(before), _half(after))
        ms = _ms(before) - _ms(after)
        return Saving(ms, ms - half, ms + half, _mj(before) - _mj(after), "measured")


def in_place(before: Profile, after: Profile) -> dict[str, Saving]:
    """What each unit of layers takes less in ``after``, by the layer that leads it."""
    if before.graph is None:
        return {}
    units = units_of(before.graph, [before, after])
    place = {node: unit.leader for unit in units for node in unit.nodes}
    sums = [_sums(profile, place) for profile in (before, after)]
    found = {}
    for unit in units:
        (old, old_half, old_mj), (new, new_half, new_mj) = (one.get(unit.leader, (math.nan,) * 3) for one in sums)
        half = math.hypot(old_half, new_half)
        found[unit.leader] = Saving(old - new, old - new - half, old - new + half, old_mj - new_mj, MEASURED)
    return found


def can_be_measured(decision: str) -> bool:
    """Whether a whole model tells what layers save in it."""
    return prune_part(decision) is None


def _sums(profile: Profile, place: Mapping[str, str]) -> dict[str, tuple[float, float, float]]:
    """Milliseconds, half of their 95 % interval, and millijoules by leader."""
    layers = profile.measured_layers
    layers = layers[(layers["kind"] != "nested") & layers["latency_ms"].notna()]
    found: dict[str, tuple[float, float, float]] = {}
    columns = (layers[name].tolist() for name in ("latency_ms", "latency_low_ms", "latency_high_ms", "energy_mj"))
    for sources, time, low, high, energy in zip(layers["source_nodes"], *columns, strict=True):
        leader = next((place[name] for name in sources if name in place), None)
        if leader is not None:
            before = found.get(leader, (0.0, 0.0, 0.0))
            found[leader] = (before[0] + time, math.hypot(before[1], (high - low) / 2), before[2] + energy)
    return found


def _ms(profile: Profile) -> float:
    value = profile.context.latency.median_ms
    return math.nan if value is None else value


def _half(profile: Profile) -> float:
    low, high = profile.context.latency.low_ms, profile.context.latency.high_ms
    return math.nan if low is None or high is None else (high - low) / 2


def _mj(profile: Profile) -> float:
    value = profile.context.energy.above_idle_mj
    return math.nan if value is None else value
