"""Profiles of a model and of what a recipe made of it, by hand: for tests of what is compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.recipes.recipe import Decision, Recipe, recipe_text
from edgeprof.records.profile import Profile
from edgeprof.records.schema import BETWEEN_LAYERS
from edgeprof.testing import make_profile

BASE, INT8 = "ab" * 32, "cd" * 32
_OPS = {"q": "QuantizeLinear", "d": "DequantizeLinear", "c": "Cast"}


def ran(*layers: str, times=None, sha=BASE, parent=None, recipe="", **options) -> Profile:
    """A profile with a layer for each text of nodes. Nodes ``q...``, ``d...`` and ``c...`` are format changes; ``(Op)`` the runtime inserted."""
    sources = [[] if layer.startswith("(") else layer.split() for layer in layers]
    times = np.arange(1.0, len(layers) + 1) if times is None else times
    names = [layer if layer.startswith("(format") else layer.strip("()") for layer in layers]
    profile = make_profile(
        times, name=names, source_nodes=sources, runs=1, runtime_name=[f"rt {layer}" for layer in layers],
        op_type=[(_OPS.get(own[0][0], "Conv") if len(own) == 1 else "Conv") if own else layer.strip("()") for own, layer in zip(sources, layers, strict=True)], **options,
    )  # fmt: skip
    table = profile.layers
    table["kind"] = [*("layer" if own else "inserted" for own in sources), "between"]
    table.loc[len(table) - 1, "name"] = BETWEEN_LAYERS
    nodes = dict.fromkeys(node for own in sources for node in own)
    made = tuple(Layer(node, _OPS.get(node[0], "Conv"), (), ()) for node in nodes)
    graph = Graph("toy", made, (), (), {"x": TensorInfo("x")}, digest=sha)
    context = replace(
        profile.context,
        model_sha256=sha,
        recipe=recipe_text(Recipe((Decision(pattern="*", precision="int8"),), name=recipe)) if recipe else "",
    )
    return replace(profile, layers=table, graph=graph, context=context, parent=parent, nodes=())


def base() -> Profile:
    """Two blocks, the second with a residual addition, as a runtime fuses them."""
    return ran("k1 relu1", "k2", "k3 add", "(Reorder)", times=[4.0, 3.0, 2.0, 0.5])


def int8(**options) -> Profile:
    """The same after a recipe: what k1 makes is read by k2 and by the addition, so both carry out its DequantizeLinear."""
    layers = ("qx", "dx k1 relu1 q1", "d1 k2 q2", "d2 k3 q3", "d1 d3 add qy", "dy", "(Transpose)")
    return ran(*layers, times=[0.2, 1.0, 1.5, 0.5, 0.4, 0.1, 0.3], sha=INT8, parent=BASE, recipe="all int8", **options)


def estimated() -> Profile:
    """An estimate of the same recipe: one row for all that is inserted."""
    return ran(
        "k1 relu1",
        "k2",
        "k3 add",
        "(format changes)",
        times=[1.1, 1.4, 1.0, 0.6],
        sha="",
        parent=BASE,
        recipe="all int8",
        origin="estimated",
    )
