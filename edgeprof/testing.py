"""Builders for tests and examples: small Profiles and Graphs whose numbers can be checked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.records import schema
from edgeprof.records.profile import Finding, Instrument, Latency, NodeFate, Origin, Profile, RunContext

_OPS = ("Conv", "Relu", "Add", "MatMul", "Softmax", "ReorderInput")


def make_graph(ops: Sequence[str], *, name: str = "toy", shape: tuple[int, ...] = (1, 8)) -> Graph:
    """A chain of one-input one-output layers ``<op>_<i>``, each tensor float32 of ``shape``."""
    names = ["x", *(f"t{i}" for i in range(len(ops) - 1)), "y"] if ops else ["x"]
    layers = tuple(Layer(f"{op}_{i}", op, (names[i],), (names[i + 1],)) for i, op in enumerate(ops))
    tensors = {n: TensorInfo(n, "float32", shape) for n in names}
    return Graph(name, layers, (tensors[names[0]],), (tensors[names[-1]],), tensors, opsets={"": 17}, ir_version=8)


def make_layers(latencies_ms: Sequence[float], *, plain_ms: float | None = None, **columns: Sequence[Any]) -> pd.DataFrame:
    """A layer table with these latencies, a ±5 % interval, and a ``(between layers)`` row.

    ``columns`` overrides whole columns, one value a layer (the row between layers excluded).
    """
    n = len(latencies_ms)
    latency = np.asarray(latencies_ms, dtype=float)
    plain = float(latency.sum() * 1.02) if plain_ms is None else plain_ms
    table: dict[str, Any] = {c.name: _blank(c.dtype, n + 1) for c in schema.LAYER_COLUMNS}
    table["index"] = np.arange(n + 1)
    table["op_type"] = [_OPS[i % len(_OPS)] for i in range(n)] + [""]
    table["name"] = [f"/block{i // 4}/{_OPS[i % len(_OPS)].lower()}_{i}" for i in range(n)] + [schema.BETWEEN_LAYERS]
    table["kind"] = ["inserted" if op.startswith("Reorder") else "layer" for op in table["op_type"][:-1]] + ["between"]
    table["source_nodes"] = [[] if kind != "layer" else [name] for kind, name in zip(table["kind"], table["name"], strict=True)]
    table["runtime_name"] = [*table["name"][:-1], ""]
    table["provider"] = ["CPUExecutionProvider"] * n + [""]
    table["precision"] = ["float32"] * n + [""]
    table["output_shape"] = ["1×16×32×32"] * n + [""]
    between = plain - latency.sum()
    table["latency_ms"] = np.append(latency, between)
    table["latency_low_ms"] = np.append(latency * 0.95, between - 0.01)
    table["latency_high_ms"] = np.append(latency * 1.05, between + 0.01)
    table["latency_p95_ms"] = np.append(latency * 1.2, np.nan)
    table["latency_raw_ms"] = np.append(latency + 0.0015, np.nan)
    table["share"] = table["latency_ms"] / plain
    table["calls"] = np.append(np.ones(n), np.nan)
    table["macs"] = np.append(latency * 1e7, np.nan)
    table["param_bytes"] = np.append(np.full(n, 4096.0), np.nan)
    table["activation_bytes"] = np.append(np.full(n, 65536.0), np.nan)
    table["arithmetic_intensity"] = 2 * table["macs"] / (table["param_bytes"] + table["activation_bytes"])
    for name, values in columns.items():
        table[name] = [*values, _blank(schema.column(name).dtype, 1)[0]]
    return pd.DataFrame(table)


def make_profile(
    latencies_ms: Sequence[float] = (0.5, 0.1, 0.2, 0.2),
    *,
    runs: int = 8,
    origin: Origin = "measured",
    seed: int = 0,
    findings: tuple[Finding, ...] = (),
    **columns: Any,
) -> Profile:
    """A Profile with ``runs`` plain and ``runs`` instrumented runs in blocks of four, with 2 % noise by ``seed``."""
    layers = make_layers(latencies_ms, **columns)
    measured = layers[layers["kind"] != "between"]
    plain = float(layers["latency_ms"].sum())
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange((2 * runs + 3) // 4), 4)[: 2 * runs]
    instrumented = block % 2 == 1
    run_latency = plain * (1 + 0.02 * rng.standard_normal(2 * runs)) + instrumented * 0.002 * len(measured)
    run_table = pd.DataFrame({
        "run": np.arange(2 * runs), "block": block // 2, "instrumented": instrumented,
        "start_ms": np.concatenate([[0.0], np.cumsum(run_latency)[:-1]]) if runs else np.empty(0),
        "latency_ms": run_latency, "outlier": np.zeros(2 * runs, bool),
    })  # fmt: skip
    ids = run_table.loc[run_table["instrumented"], "run"].to_numpy()
    grid_run, grid_layer = np.meshgrid(ids, measured["index"].to_numpy(), indexing="ij")
    latency = np.asarray(latencies_ms)[None, :] * (1 + 0.02 * rng.standard_normal((len(ids), len(measured))))
    spans = pd.DataFrame({
        "layer": grid_layer.ravel(), "run": grid_run.ravel(), "start_ms": np.zeros(grid_run.size),
        "latency_raw_ms": (latency + 0.0015).ravel(), "latency_ms": latency.ravel(),
    })  # fmt: skip
    context = RunContext(
        "toy.onnx", model_sha256="ab" * 32, runtime="onnxruntime", runtime_version="1.32.0",
        providers=("CPUExecutionProvider",), threads=1, runs=runs, warmup_runs=5, blocks=max(1, runs // 4),
        started_at="2026-11-23T12:00:00+00:00", load_ms=12.0, first_run_ms=3.0, closure=0.02,
        input_shapes={"x": (1, 3, 32, 32)},
        latency=Latency(plain, plain * 0.99, plain * 1.01, plain, plain * 1.05, plain * 1.1, plain, plain * 0.95, plain * 1.2, runs),
        instrument=Instrument("tiny-nodes", 0.8, 0.05, 3.0, 2.8, 1.0, plain + 0.002 * len(measured)),
        fingerprint={"cpu_model": "Test CPU", "governor": "performance"},
    )  # fmt: skip
    nodes = tuple(
        NodeFate(node, op, "executed", (name,))
        for name, op, sources in zip(measured["name"], measured["op_type"], measured["source_nodes"], strict=True)
        for node in sources
    )
    return Profile(layers, context, origin, None, run_table, spans, nodes=nodes, findings=findings)


def _blank(dtype: str, n: int) -> list[Any]:
    fill: dict[str, Any] = {"str": "", "list": (), "int64": 0}
    return [fill.get(dtype, np.nan)] * n
