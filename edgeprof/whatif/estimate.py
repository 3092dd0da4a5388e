"""`estimate`: the Profile that a recipe would give, with an error bar, and nothing in it that was measured of the changed model.

Latency is `fit`'s. What else is estimated, and how:

1. **Energy** of a unit: its measured energy times what its time becomes; power is taken to stay, since no changed model was metered.
   Idle power is paid for the whole time.
2. **Peak memory**: tensors of the model with their new widths and element types, alive as they are now; the measured peak is scaled
   by what that changes.
3. **Size**: the file with its weights at their new widths and types, scales and zero points included.
4. **MACs** are counted from the changed widths.

All that has an interval has that of the latency at least.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from edgeprof.errors import UsageError
from edgeprof.models.graph import Graph
from edgeprof.recipes.plan import Plan, plan
from edgeprof.recipes.recipe import FLOAT, Recipe, recipe_text
from edgeprof.records import schema
from edgeprof.records.context import Energy, Instrument, Latency, Memory
from edgeprof.records.profile import Finding, Profile
from edgeprof.whatif.fit import Costs, Prediction, fit

BOUNDARY = "(format changes)"
"""Name of the row for quantizing, dequantizing, reordering and casting between layers, all together."""

_DTYPES = {"int8": "int8", "fp16": "float16"}
_WEIGHT_PARTS: Mapping[str, float] = {"int8": 0.25, "fp16": 0.5, "int8-weights": 0.25, "int4-weights": 0.125 + 0.03}
"""Bytes of a weight as a part of float32's; int4 has a float scale for each 32 weights."""
_ACTIVATION_PARTS: Mapping[str, float] = {"int8": 0.25, "fp16": 0.5}
_NODE_BYTES = 220.0
"""Of a QuantizeLinear or DequantizeLinear with its names, scale and zero point in a file."""


def estimate(profile: Profile | Costs, recipe: Recipe, variants: Sequence[Profile] = ()) -> Profile:
    """What ``recipe`` would bring; its origin is ``estimated``, its parent the model, and its context holds the recipe.

    Args:
        profile: of the model as it is on the board in question, or what `fit` made of it and its variants (quicker for many recipes).
        recipe: what would be changed.
        variants: measured profiles of variants on the same board (`edgeprof.variants.measure_variants`); without any, only recipes that
            change nothing can be estimated.

    Raises:
        UsageError: the variants do not say enough; the sentence says what to measure.
        RecipeError: the recipe does not fit the model.
    """
    costs = profile if isinstance(profile, Costs) else fit(profile, variants)
    if costs.base.origin == "estimated":
        raise UsageError("An estimate cannot be made from an estimate. Give the measured profile of the model.")
    planned = plan(recipe, costs.graph, costs.target)
    predicted = costs.predict(planned)
    context = costs.base.context
    total = predicted.total_ms
    layers = _layers(costs, planned, predicted)
    return Profile(
        layers=layers,
        context=replace(
            context,
            model_name=f"{context.model_name} with {recipe.name or 'a recipe'}",
            model_sha256="",
            model_bytes=_model_bytes(costs, planned),
            runs=0,
            warmup_runs=None,
            blocks=None,
            sessions=None,
            started_at="",
            latency=Latency(total, *_ends(total, costs.error)),
            load_ms=None,
            first_run_ms=None,
            instrument=Instrument(),
            closure=None,
            memory=_memory(costs, planned),
            energy=_energy(costs, _unit_energy(costs, predicted), total),
            fingerprint_after={},
            scores={},
            recipe=recipe_text(recipe),
            recorded_origin="",
        ),
        origin="estimated",
        parent=context.model_sha256,
        graph=planned.graph,
        findings=tuple(_findings(costs, recipe, predicted)),
    )


def totals(costs: Costs, recipe: Recipe) -> dict[str, float]:
    """What `estimate` says of the whole: ``latency_ms, energy_mj, peak_memory_bytes, model_bytes``; NaN is not known."""
    planned = plan(recipe, costs.graph, costs.target)
    predicted = costs.predict(planned)
    energy = _energy(costs, _unit_energy(costs, predicted), predicted.total_ms).inference_mj
    return {"latency_ms": predicted.total_ms, "energy_mj": math.nan if energy is None else energy, **sizes(costs, planned)}


def sizes(costs: Costs, planned: Plan) -> dict[str, float]:
    """``peak_memory_bytes`` and ``model_bytes`` of a plan, which need no variants; NaN where the base profile does not have them."""
    told = {"peak_memory_bytes": _memory(costs, planned).peak_bytes, "model_bytes": _model_bytes(costs, planned)}
    return {name: math.nan if value is None else float(value) for name, value in told.items()}


def _unit_energy(costs: Costs, predicted: Prediction) -> list[float]:
    """Millijoules of each unit: as measured, times what its time becomes."""
    return [
        own["energy_mj"] * time / own["latency_ms"] if own["latency_ms"] > 0 else math.nan
        for own, time in zip(costs.figures, predicted.time_ms.tolist(), strict=True)
    ]


def _layers(costs: Costs, planned: Plan, predicted: Prediction) -> pd.DataFrame:
    energies = _unit_energy(costs, predicted)
    measured = costs.figures
    cost = planned.costs
    rows = []
    for number, unit in enumerate(costs.units):
        time = float(predicted.time_ms[number])
        spread = costs.spread(number)
        own = measured[number]
        precision = predicted.precision[number]
        macs = math.fsum(cost[name].macs for name in unit.nodes)
        params = math.fsum(_weight_bytes(cost[name].param_bytes, planned.precision.get(name, FLOAT)) for name in unit.nodes)
        moved = math.fsum(cost[name].activation_bytes for name in unit.nodes) * _ACTIVATION_PARTS.get(precision, 1.0)
        low, high = _ends(time, max(spread, costs.error) if not math.isnan(costs.error) else spread)
        energy = energies[number]
        energy_low, energy_high = _ends(energy, max(spread, _relative(own), 0.0 if math.isnan(costs.error) else costs.error))
        rows.append({
            "name": unit.leader, "op_type": unit.op_type, "kind": "layer", "source_nodes": list(unit.nodes), "provider": own["provider"],
            "precision": _DTYPES.get(precision, own["precision"]), "output_shape": _shape(planned.graph, unit.nodes[-1]),
            "latency_ms": time, "latency_low_ms": low, "latency_high_ms": high, "calls": 1.0, "macs": macs, "param_bytes": params,
            "activation_bytes": moved, "arithmetic_intensity": 2 * macs / (params + moved) if params + moved > 0 else math.nan,
            "power_mw": own["power_mw"], "energy_mj": energy, "energy_low_mj": energy_low, "energy_high_mj": energy_high,
            "energy_method": "" if math.isnan(energy) else "estimated: measured power, estimated time",
        })  # fmt: skip
    rows.append({"name": BOUNDARY, "op_type": "QuantizeLinear", "kind": "inserted", **_timed(predicted.boundary_ms, costs.error)})
    return _table(rows, predicted.total_ms)


def _relative(own: Mapping[str, Any]) -> float:
    half = (own["energy_high_mj"] - own["energy_low_mj"]) / 2
    return abs(half / own["energy_mj"]) if own["energy_mj"] and not math.isnan(half) else 0.0


def _table(rows: list[dict[str, Any]], total: float) -> pd.DataFrame:
    blanks: dict[str, Any] = {column.name: {"str": "", "list": []}.get(column.dtype, math.nan) for column in schema.LAYER_COLUMNS}
    full = [
        {**blanks, **row, "index": number, "share": row["latency_ms"] / total if total > 0 else math.nan} for number, row in enumerate(rows)
    ]
    return pd.DataFrame(full, columns=list(schema.COLUMNS))


def _timed(time: float, error: float) -> dict[str, float]:
    low, high = _ends(time, error)
    return {"latency_ms": time, "latency_low_ms": low, "latency_high_ms": high}


def _ends(value: float, error: float) -> tuple[float, float]:
    """Ends of the interval of a quantity that is not negative."""
    return (max(0.0, value * (1 - error)), value * (1 + error)) if not math.isnan(value * error) else (math.nan, math.nan)


def _shape(graph: Graph, node: str) -> str:
    layer = next(layer for layer in graph.layers if layer.name == node)
    shape = graph.tensor(layer.outputs[0]).shape if layer.outputs else None
    return "×".join(str(dim) for dim in shape) if shape else ""


def _weight_bytes(param_bytes: float, precision: str) -> float:
    return param_bytes * _WEIGHT_PARTS.get(precision, 1.0)


def _model_bytes(costs: Costs, planned: Plan) -> int | None:
    before = costs.base.context.model_bytes
    if before is None:
        return None
    old, new = costs.as_it_is.costs, planned.costs
    top = [layer.name for layer in costs.graph.layers if layer.parent is None]
    saved = _known_sum(
        _weight_bytes(old[name].param_bytes, FLOAT) - _weight_bytes(new[name].param_bytes, planned.precision.get(name, FLOAT))
        for name in top
    )
    added = _NODE_BYTES * sum(3 for name in top if planned.precision.get(name) == "int8")
    return max(0, round(before - saved + added))


def _known_sum(values: Iterable[float]) -> float:
    return math.fsum(value for value in values if not math.isnan(value))


def _memory(costs: Costs, planned: Plan) -> Memory:
    base = costs.base.context.memory
    if base.peak_bytes is None or costs.base.tensors.empty:
        return Memory()
    maker = {name: layer.name for layer in costs.graph.layers for name in layer.outputs if name}
    parts = []
    for name, size in zip(costs.base.tensors["tensor"], costs.base.tensors["size_bytes"].tolist(), strict=True):
        elements = costs.graph.tensor(name).elements
        ratio = planned.graph.tensor(name).elements / elements if elements > 0 else 1.0
        part = _ACTIVATION_PARTS.get(planned.precision.get(maker.get(name, ""), FLOAT), 1.0)
        parts.append(size * (1.0 if math.isnan(ratio) else ratio) * part)
    before, after = _peak(costs.base, costs.base.tensors["size_bytes"].tolist()), _peak(costs.base, parts)
    if not before > 0:
        return Memory()
    return Memory(sources={"peak_memory_bytes": "an estimate"}, peak_bytes=base.peak_bytes * after / before)


def _peak(profile: Profile, sizes: Sequence[float]) -> float:
    """Most bytes alive at once, each storage as large as the largest tensor in it."""
    tensors = profile.tensors
    last = int(max(tensors["last_use"].max(), tensors["producer"].max()))
    alive = np.zeros(last + 1)
    storages: dict[int, list[float]] = {}
    columns = (tensors[name].tolist() for name in ("storage", "producer", "last_use"))
    for own, start, end, size in zip(*columns, sizes, strict=True):
        if not math.isnan(size):
            known = storages.setdefault(own, [start, end, size])
            known[:] = [min(known[0], start), max(known[1], end), max(known[2], size)]
    for start, end, size in storages.values():
        alive[max(0, int(start)) : max(0, int(end)) + 1] += size
    return float(alive.max(initial=0.0))


def _energy(costs: Costs, units: Sequence[float], total: float) -> Energy:
    base = costs.base.context.energy
    before = costs.base.context.latency.median_ms
    if base.above_idle_mj is None or not before:
        return Energy(reason="The model's energy was not measured, so nothing can be said of the recipe's.")
    old = [own["energy_mj"] for own in costs.figures]
    known = [(a, b) for a, b in zip(units, old, strict=True) if not math.isnan(a + b)]
    summed, before_mj = math.fsum(a for a, _ in known), math.fsum(b for _, b in known)
    by_layer = base.method == "layers" and before_mj > 0
    above = base.above_idle_mj * (summed / before_mj if by_layer else total / before)
    idle = (base.idle_mw or 0.0) * total / 1e3
    error = max(costs.error if not math.isnan(costs.error) else 0.0, _relative_energy(base))
    return Energy(
        method=f"estimated from the model's energy {'by layer' if by_layer else 'and the change of its time'}",
        channels=base.channels,
        scope=base.scope,
        inference_mj=above + idle,
        inference_low_mj=_ends(above + idle, error)[0],
        inference_high_mj=_ends(above + idle, error)[1],
        above_idle_mj=above,
        above_idle_low_mj=_ends(above, error)[0],
        above_idle_high_mj=_ends(above, error)[1],
        idle_mw=base.idle_mw,
    )


def _relative_energy(energy: Energy) -> float:
    low, high, value = energy.above_idle_low_mj, energy.above_idle_high_mj, energy.above_idle_mj
    return (high - low) / 2 / value if low is not None and high is not None and value else 0.0


def _findings(costs: Costs, recipe: Recipe, predicted: Prediction) -> list[Finding]:
    n = len(costs.variants) - 1
    told = (
        f" Variants that were left out of it were estimated within {costs.error:.1%} (95 %, {len(costs.errors)} variants)."
        if not math.isnan(costs.error)
        else " How far off it may be is not known: fewer than two variants were measured."
    )
    text = f"This is an estimate from the profile of the model and {n} variant{'s' * (n != 1)} of it on {costs.base.context.board}.{told}"
    found = [Finding("estimate", "info", text)]
    if predicted.borrowed:
        n = len(predicted.borrowed)
        text = f"{n} layer{'s' * (n != 1)} were never measured at the precision they would have; the ratio of others stands in."
        found.append(Finding("estimate-borrowed", "warning", text, predicted.borrowed))
    if any(decision.sparsity for decision in recipe.decisions):
        text = "Sparse weights bring no speed on this runtime, which has no sparse kernels; the estimate counts none."
        found.append(Finding("estimate-sparsity", "info", text))
    return found
