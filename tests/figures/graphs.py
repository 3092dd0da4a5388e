"""Models for tests of the graph view: chains, blocks with names and without, random ones; profiles of them."""

from dataclasses import replace

from hypothesis import strategies as st

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.records.profile import NodeFate
from edgeprof.testing import make_profile


def make_model(nodes, edges, *, ops=None, inputs=1):
    """A model of nodes with these names; node 0 and all that nothing leads to read the input, what nobody reads is an output."""
    ops = ops or [("Conv", "Relu", "Add", "MatMul")[i % 4] for i in range(len(nodes))]
    reads = [[f"t{a}" for a, b in edges if b == i] or ["x0"] for i in range(len(nodes))]
    layers = tuple(Layer(name, ops[i], (*reads[i], f"w{i}"), (f"t{i}",)) for i, name in enumerate(nodes))
    read = {a for a, _ in edges}
    tensors = {f"t{i}": TensorInfo(f"t{i}", "float32", (1, 8)) for i in range(len(nodes))}
    weights = {f"w{i}": TensorInfo(f"w{i}", "float32", (8, 8)) for i in range(len(nodes))}
    outputs = tuple(tensors[f"t{i}"] for i in range(len(nodes)) if i not in read)
    given = tuple(TensorInfo(f"x{k}", "float32", (1, 8)) for k in range(inputs))
    return Graph("toy", layers, given, outputs, {**tensors, **weights}, initializers=frozenset(weights))


def profile_of(model, *, fused=1, fates=(), latencies=None, **columns):
    """A profile of ``model``: so many nodes a layer, in their order; nodes named in ``fates`` have no layer."""
    gone = dict(fates)
    kept = [layer for layer in model.layers if layer.name not in gone]
    groups = [kept[i : i + fused] for i in range(0, len(kept), fused)]
    times = latencies or [0.1 + 0.01 * (7 * i % 13) for i in range(len(groups))]
    names, sources = [g[0].name for g in groups], [[layer.name for layer in g] for g in groups]
    profile = make_profile(times, runs=2, name=names, op_type=[g[0].op_type for g in groups], source_nodes=sources, **columns)
    table = profile.layers.assign(kind=["layer"] * len(groups) + ["between"])
    layer_of = {node: name for name, group in zip(names, sources, strict=True) for node in group}
    nodes = tuple(
        NodeFate(layer.name, layer.op_type, gone.get(layer.name, "executed"), () if layer.name in gone else (layer_of[layer.name],))
        for layer in model.layers
    )
    return replace(profile, layers=table, graph=model, nodes=nodes)


def blocks_model(blocks=3, named=True):
    """``stem``, then residual blocks of four nodes, then ``head``."""
    names, edges = ["/stem/Conv"], []
    ops = ["Gemm"]
    for k in range(blocks):
        start = len(names)
        prefix = f"/block{k}" if named else f"n{k}_"
        names += (
            [f"{prefix}/a/Conv", f"{prefix}/Relu", f"{prefix}/b/Conv", f"{prefix}/Add"] if named else [f"{prefix}{j}" for j in range(4)]
        )
        ops += ["Conv", "Relu", "Conv", "Add"]
        edges += [(start - 1, start), (start, start + 1), (start + 1, start + 2), (start + 2, start + 3), (start - 1, start + 3)]
    edges.append((len(names) - 1, len(names)))
    return make_model([*names, "/head/Gemm" if named else "head"], edges, ops=[*ops, "Gemm"])


@st.composite
def models(draw, most=24):
    """Random acyclic models, some with names that make blocks."""
    count = draw(st.integers(1, most))
    edges = [(a, b) for b in range(1, count) for a in sorted(draw(st.sets(st.integers(max(0, b - 8), b - 1), min_size=0, max_size=3)))]
    prefixes = draw(
        st.lists(st.sampled_from(["", "/block1", "/block2", "/block2/layer.0", "/block2/layer.1", "/a"]), min_size=count, max_size=count)
    )
    if draw(st.booleans()):
        prefixes.sort()
    ops = draw(st.lists(st.sampled_from(["Conv", "Relu", "Add"]), min_size=count, max_size=count))
    return make_model([f"{prefix}/n{i}" for i, prefix in enumerate(prefixes)], edges, ops=ops)
