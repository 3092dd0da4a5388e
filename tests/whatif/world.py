"""A board whose times are known: each layer takes ``start + price * work`` by its precision, each change of format so much an element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from edgeprof.models import load_model
from edgeprof.models.cost import graph_costs
from edgeprof.models.graph import Graph
from edgeprof.recipes.plan import Plan, plan
from edgeprof.recipes.recipe import Recipe, recipe_text
from edgeprof.recipes.target import Target
from edgeprof.records import schema
from edgeprof.records.context import Latency
from edgeprof.records.profile import Profile
from edgeprof.testing import make_profile
from edgeprof.whatif.units import Unit, crossings

SAMPLES = Path(__file__).parents[2] / "sample_models"
TARGET = Target("x86_64", frozenset({"avx2", "avx512f", "avx512_vnni"}), "test CPU")
PRICES: Mapping[str, tuple[float, float]] = {"fp32": (2e-3, 1e-7), "int8": (1e-3, 4e-8)}
"""Milliseconds to start a layer, and for a MAC (or a byte, where there are none)."""
QUANTIZE_MS = {("float", "int8"): 3e-7, ("int8", "float"): 2e-7, ("blocked", "int8"): 5e-7, ("int8", "blocked"): 4e-7}


def graph_of(name: str) -> Graph:
    return load_model(SAMPLES / f"{name}.onnx")


def measured(graph: Graph, recipe: Recipe | None = None, noise: float = 0.0, seed: int = 0) -> Profile:
    """What the board says of the model, or of what a recipe makes of it; ``noise``: relative, on each layer."""
    rng = np.random.default_rng(seed)
    planned = Plan({}, graph) if recipe is None else plan(recipe, graph, TARGET)
    cost = graph_costs(planned.graph)
    units = [Unit(layer.name, layer.op_type, (layer.name,)) for layer in graph.layers]
    rows = []
    for unit in units:
        start, price = PRICES[planned.precision.get(unit.leader, "fp32")]
        work = cost[unit.leader].macs or cost[unit.leader].activation_bytes
        rows.append((unit.leader, unit.op_type, "layer", [unit.leader], start + price * work))
    for number, (pair, elements) in enumerate(changes(units, planned)):
        if pair in QUANTIZE_MS:
            rows.append((f"q{number}", "QuantizeLinear", "inserted", [], QUANTIZE_MS[pair] * elements))
    times = [time * (1 + noise * rng.standard_normal()) for *_, time in rows]
    profile = make_profile(times, seed=seed)
    layers = profile.layers.copy()
    for name, values in zip(("name", "op_type", "kind", "source_nodes"), zip(*(row[:4] for row in rows), strict=True), strict=True):
        layers[name] = pd.Series([*values, layers[name].iloc[-1]], index=layers.index)
    layers["runtime_name"] = layers["name"]
    between = layers["kind"] == "between"
    layers.loc[between, "latency_ms"] = 0.01 * sum(times)
    total = 1.01 * sum(times)
    context = replace(
        profile.context,
        model_name=f"{graph.name}.onnx" if recipe is None else f"{graph.name}, {recipe.name}",
        model_sha256=graph.digest if recipe is None else f"{abs(hash(recipe_text(recipe))):064x}"[:64],
        model_bytes=graph.file_bytes,
        latency=Latency(total, total * 0.99, total * 1.01, runs=50),
        recipe="" if recipe is None else recipe_text(recipe),
    )
    return replace(
        profile, layers=layers[list(schema.COLUMNS)], context=context, parent=None if recipe is None else graph.digest, graph=planned.graph
    )


def changes(units: list[Unit], planned: Plan) -> list[tuple[tuple[str, str], float]]:
    """Formats and elements of what goes from layer to layer."""

    def kind(number: int) -> str:
        if number < 0:
            return "float"
        if planned.precision.get(units[number].leader) == "int8":
            return "int8"
        return "blocked" if units[number].op_type in ("Conv", "GlobalAveragePool", "MaxPool", "AveragePool") else "float"

    return [((kind(a), kind(b)), elements) for a, b, elements in crossings(units, planned.graph)]
