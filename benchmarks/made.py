"""A made model of any size, and profiles of it: what the measurements of the views are about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.records.profile import Profile
from edgeprof.testing import make_sensed_profile

OPS = ("Conv", "Relu", "Conv", "Add", "MatMul", "Mul", "Softmax", "LayerNormalization")


def model(layers: int) -> Graph:
    """So many nodes with long names, in numbered blocks of eight with a skip connection each, in stages of forty."""
    ops = [OPS[i % 8] for i in range(layers)]
    names = [f"/model/encoder/stages.{i // 40}/blocks.{i // 8}/mlp/{op}_{i}" for i, op in enumerate(ops)]
    outputs = [f"{name}_output_0" for name in names]
    reads = [["x"] if not i else [outputs[i - 1], *([outputs[i - 4]] if ops[i] == "Add" and i >= 4 else [])] for i in range(layers)]
    nodes = [Layer(name, op, tuple(read), (out,)) for name, op, read, out in zip(names, ops, reads, outputs, strict=True)]
    tensors = {out: TensorInfo(out, "float32", (1, 64, 8 << i % 3, 56)) for i, out in enumerate(outputs)}
    return Graph("made", tuple(nodes), (TensorInfo("x", "float32", (1, 3, 224, 224)),), (tensors[outputs[-1]],), tensors)


def profile(graph: Graph, *, runs: int = 20, seed: int = 0, quicker: float = 1.0) -> Profile:
    """A profile of ``graph`` with times, energy, memory, costs and a session of a power rail; ``seed`` makes the times."""
    rng, n = np.random.default_rng(seed), len(graph.layers)
    names = [layer.name for layer in graph.layers]
    bytes_of = {name: rng.lognormal(12, 1, n).round() for name in ("param_bytes", "activation_bytes")}
    made = make_sensed_profile(
        quicker * rng.lognormal(-3, 1, n), runs=runs, seed=seed, name=names, runtime_name=names, source_nodes=[[name] for name in names],
        op_type=[layer.op_type for layer in graph.layers], macs=rng.lognormal(14, 2, n).round(), calls=[2.0] * n,
        output_shape=["1×64×8×56"] * n, **bytes_of,
    )  # fmt: skip
    return replace(made, graph=graph)


def pair(layers: int) -> tuple[Profile, Profile]:
    """Two profiles of one model: as it is, and quicker."""
    graph = model(layers)
    return profile(graph), profile(graph, seed=1, quicker=0.8)
