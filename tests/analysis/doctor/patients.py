"""Small profiles with a graph, for the doctor: rows and nodes are written down by hand."""

from dataclasses import replace

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.testing import make_profile

ZEN = {"machine": "x86_64", "cpu_model": "Test CPU", "cpu_features": ["avx2", "avx512f", "avx512_vnni"]}
OLD = {"machine": "x86_64", "cpu_model": "Old CPU", "cpu_features": ["avx2"]}
PI = {"machine": "aarch64", "cpu_model": "Cortex-A76", "cpu_features": ["asimddp"]}


def row(name, op_type, ms, precision="float32", *, kind="layer", sources=None, provider="CPUExecutionProvider", macs=0.0, **more):
    """One executed layer; it carries out the node of its own name unless ``sources`` says otherwise."""
    own = [] if kind == "inserted" else [name]
    return {
        "name": name, "runtime_name": name, "op_type": op_type, "latency_ms": ms, "precision": precision, "kind": kind,
        "provider": provider, "source_nodes": own if sources is None else sources, "macs": macs, "param_bytes": 0.0,
        "arithmetic_intensity": 0.0, **more,
    }  # fmt: skip


def patient(rows, layers=(), *, types=None, weights=None, inputs=("x",), outputs=("y",), fingerprint=ZEN, **context):
    """A Profile of ``rows``. ``types``: element type by tensor; ``weights``: shape (and so an initializer) by tensor."""
    profile = make_profile([one["latency_ms"] for one in rows])
    table = profile.layers.copy()
    for key in rows[0].keys() - {"latency_ms"}:
        table[key] = [*(one[key] for one in rows), table[key].iloc[-1]]
    profile = replace(profile, layers=table)
    tensors = {name: TensorInfo(name, dtype, (1, 8)) for name, dtype in (types or {}).items()}
    tensors |= {name: TensorInfo(name, (types or {}).get(name, "float32"), shape) for name, shape in (weights or {}).items()}
    described = [[TensorInfo(name, "float32", (1, 8)) for name in names] for names in (inputs, outputs)]
    graph = Graph("toy", tuple(layers), *map(tuple, described), tensors, frozenset(weights or {}))
    return replace(profile, graph=graph if layers else None, context=replace(profile.context, fingerprint=fingerprint, **context))


def quantize(tensor, *, of=None):
    """The QuantizeLinear of ``tensor`` and its DequantizeLinear, as quantizers name them."""
    source = of or tensor
    return (
        Layer(f"{tensor}_Q", "QuantizeLinear", (source, "scale", f"{tensor}_zp"), (f"{tensor}_q",)),
        Layer(f"{tensor}_DQ", "DequantizeLinear", (f"{tensor}_q", "scale", f"{tensor}_zp"), (f"{tensor}_dq",)),
    )


def found(diagnoses):
    """Diagnoses by id."""
    return {one.id: one for one in diagnoses}
