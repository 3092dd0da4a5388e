"""Builders for tests and examples: small Profiles and Graphs whose numbers can be checked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.records import schema
from edgeprof.records.context import Energy, EnergyGroupUse, Instrument, Latency, Memory, RunContext, Thermal
from edgeprof.records.peaks import Ceiling, Peaks, machine_of
from edgeprof.records.profile import Finding, NodeFate, Origin, Profile
from edgeprof.records.sensing import Channel, SensorUse
from edgeprof.records.trace import ProcessMemory

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
    raw = latency + 0.0015
    room = np.minimum(1, run_latency[ids] / raw.sum(axis=1)) if raw.size else np.ones(len(ids))  # layers end with their run
    start = run_table["start_ms"].to_numpy()[ids, None] + (raw.cumsum(axis=1) - raw) * room[:, None]
    spans = pd.DataFrame({
        "layer": grid_layer.ravel(), "run": grid_run.ravel(), "start_ms": start.ravel(),
        "latency_raw_ms": raw.ravel(), "latency_ms": latency.ravel(),
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


def make_peaks(gflops: Mapping[str, float] | None = None, memory_gb_s: float = 10.0, *, interval: float = 0.02, **fields: Any) -> Peaks:
    """Peaks of the board of `make_profile`, each with an interval of ``interval`` to either side."""
    context = make_profile(runs=0).context
    told = {name: getattr(context, name) for name in ("board", "runtime", "runtime_version", "providers", "threads")}

    def ceiling(kind: Literal["compute", "memory"], value: float, precision: str = "") -> Ceiling:
        return Ceiling(kind, value, value * (1 - interval), value * (1 + interval), precision, f"the {kind} net")

    compute = {precision: ceiling("compute", value, precision) for precision, value in (gflops or {"float32": 100.0}).items()}
    when = "2026-11-23T12:00:00+00:00"
    about = {"machine": machine_of(context.fingerprint), "cpu": "Test CPU", "measured_at": when}
    return Peaks(compute, ceiling("memory", memory_gb_s), **(told | about | fields))


def make_sensed_profile(
    latencies_ms: Sequence[float] = (0.5, 0.1, 0.2, 0.2, 0.4, 0.05, 0.3, 0.25),
    *,
    runs: int = 8,
    origin: Origin = "measured",
    seed: int = 0,
    rate_hz: float = 50.0,
    passes: int = 3,
    **columns: Any,
) -> Profile:
    """`make_profile` with memory, energy, tensors, windows and samples, as a board with one power rail gives them.

    Layers draw 1 W to 3 W above an idle power of 2 W. Tensors make a chain of float32 of differing sizes; every fourth layer works in
    place, and the first tensor is read again by the last layer. The session: measure, memory, idle, model loop, loops of layers.
    """
    n = len(latencies_ms)
    rng = np.random.default_rng(seed)
    power = 1000 + 2000 * rng.random(n)
    energy = power * np.asarray(latencies_ms) / 1000
    sizes = 1024.0 * (16 + rng.integers(0, 48, n))
    in_place = [i > 0 and i % 4 == 3 for i in range(n)]
    for i in range(1, n):
        sizes[i] = sizes[i - 1] if in_place[i] else sizes[i]
    tensors = _chain_tensors(sizes, in_place)
    live = np.array([_live_at(tensors, i) for i in range(n)])
    workspace = np.where(np.arange(n) % 3 == 0, 8192.0, 0.0)
    profile = make_profile(
        latencies_ms, runs=runs, origin=origin, seed=seed, power_mw=power, energy_mj=energy, energy_low_mj=energy * 0.98,
        energy_high_mj=energy * 1.02, energy_closed_mj=energy * 1.01, latency_isolated_ms=np.asarray(latencies_ms) * 0.97,
        energy_method=["own loop"] * n, live_memory_bytes=live, peak_memory_bytes=live + workspace, workspace_bytes=workspace,
        **columns,
    )  # fmt: skip
    peak = int(np.argmax(live + workspace))
    tensors["at_peak"] = (tensors["producer"] <= peak) & (tensors["last_use"] >= peak) & (tensors["kind"] != "input")
    windows = _session(profile, passes)
    samples = _session_samples(windows, power, float(energy.sum() / sum(latencies_ms) * 1000), rate_hz, rng)
    names = tuple(profile.measured_layers["name"])
    rail = Channel("ina3221/VDD_IN_mw", "mW", "sample", "module", "VDD_IN")
    others = tuple(Channel(name, unit, "sample", scope, title) for name, unit, scope, title in _OTHER_CHANNELS)
    whole = float(energy.sum()) * 1.02
    context = replace(
        profile.context,
        memory=Memory(
            {"live_memory_bytes": "runtime events", "peak_memory_bytes": "runtime events", "workspace_bytes": "node statistics"},
            float((live + workspace).max()), names[peak], 4096.0, 1048576.0,
            {phase: ProcessMemory(rss, rss + 2_000_000, 900, 0) for phase, rss in
             (("import", 48_000_000), ("load", 55_000_000), ("first run", 57_000_000), ("steady", 57_500_000))},
        ),
        energy=Energy(
            "layers", "layers", "", (rail.name,), "module", whole + 2.0 * sum(latencies_ms), whole * 0.99 + 2.0 * sum(latencies_ms),
            whole * 1.01 + 2.0 * sum(latencies_ms), whole, whole * 0.98, whole * 1.02, 4000.0, float(sum(latencies_ms)), 2000.0, 1990.0,
            2010.0, 15.0, 4.0, 0.0, 0.0, 2500, 250, 5.0, passes, float(energy.sum()), 1 - 1 / 1.02, 0.005, 0.035, 40.0,
            tuple(EnergyGroupUse((name,), p, p * 0.98, p * 1.02, 4, 6.0) for name, p in zip(names, power, strict=True)),
        ),
        thermal=Thermal(12.0, True, 45.0, 58.5, 57.0, (), "mark", 0.0),
        sensors=(
            SensorUse("ina3221", (rail,), rate_hz, rate_hz * 0.998, int((samples["channel"] == rail.name).sum()), 3),
            SensorUse("process", others[:1], 10.0, 10.0), SensorUse("thermal", others[1:2], 2.0, 2.0),
            SensorUse("clocks", others[2:], 2.0, 2.0),
        ),
        sampling_cpu_share=0.008,
    )  # fmt: skip
    return replace(profile, context=context, windows=windows, samples=samples, tensors=tensors)


_OTHER_CHANNELS = (
    ("process/rss_bytes", "B", "process", "Resident set"),
    ("thermal/cpu-thermal_c", "°C", "cpu", "cpu-thermal"),
    ("clocks/cpu0_mhz", "MHz", "cpu", "CPU 0"),
)


def _chain_tensors(sizes: np.ndarray[Any, Any], in_place: Sequence[bool]) -> pd.DataFrame:
    """Input ``x``, then ``t0`` ... ``y``: a tensor a layer, the row of each layer's output being its number plus one."""
    n = len(sizes)
    names = ["x", *(f"t{i}" for i in range(n - 1)), "y"][: n + 1]
    storage = [0]
    for i in range(n):
        storage.append(storage[i] if in_place[i] else i + 1)
    last_use = [0, *(min(i + 1, n - 1) for i in range(n))]
    if n > 2:
        last_use[1] = n - 1  # a skip connection
    return pd.DataFrame({
        "tensor": names, "kind": ["input", *["activation"] * (n - 1), "output"][: n + 1], "dtype": ["float32"] * (n + 1),
        "shape": [f"1×{int(size // 4)}" for size in (1024.0, *sizes)], "size_bytes": [1024.0, *sizes],
        "producer": np.arange(-1, n, dtype=np.int32), "last_use": np.array(last_use, np.int32), "storage": np.array(storage, np.int32),
        "at_peak": np.zeros(n + 1, bool),
    })  # fmt: skip


def _live_at(tensors: pd.DataFrame, layer: int) -> float:
    alive = tensors[(tensors["producer"] <= layer) & (tensors["last_use"] >= layer) & (tensors["kind"] != "input")]
    return float(alive.groupby("storage")["size_bytes"].max().sum())


def _session(profile: Profile, passes: int) -> pd.DataFrame:
    """Windows of the whole job: blocks of runs, the memory phase, idle, the model in a loop, and loops of layers between rests."""
    n = len(profile.measured_layers)
    end = float((profile.runs["start_ms"] + profile.runs["latency_ms"]).max()) if len(profile.runs) else 0.0
    rows: list[tuple[str, str, int, int, float, int]] = [("measure", "", -1, -1, end, len(profile.runs)), ("memory", "", -1, -1, 400.0, 3)]
    rows += [("idle", "", -1, -1, 2000.0, 0), ("model", "", -1, -1, 5000.0, 2500), ("idle", "", -1, -1, 2000.0, 0)]
    for number in range(passes):
        order = np.random.default_rng(number).permutation(n)
        rows += [("layers", str(profile.layers["name"].iloc[i]), int(i), number, 400.0, 1000) for i in order]
        rows.append(("idle", "", -1, number, 1000.0, 0))
    lengths = np.array([row[4] for row in rows])
    starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    return pd.DataFrame({
        "phase": [row[0] for row in rows], "label": [row[1] for row in rows], "group": np.array([row[2] for row in rows], np.int32),
        "pass": np.array([row[3] for row in rows], np.int32), "start_ms": starts, "end_ms": starts + lengths,
        "runs": [row[5] for row in rows], "note": [""] * len(rows),
    })  # fmt: skip


def _session_samples(
    windows: pd.DataFrame, power: np.ndarray[Any, Any], model_mw: float, rate_hz: float, rng: np.random.Generator
) -> pd.DataFrame:
    """A power rail in steps of 40 mW with 1 % noise, and memory, temperature and clock twice a second."""
    end = float(windows["end_ms"].max())
    time = np.arange(0.0, end, 1000.0 / rate_hz)
    at = np.searchsorted(windows["start_ms"].to_numpy(), time, side="right") - 1
    phase, group = windows["phase"].to_numpy(object)[at], windows["group"].to_numpy()[at]
    above = np.where(phase == "layers", power[np.maximum(group, 0)], np.where(phase == "idle", 0.0, model_mw))
    rail = np.round((2000 + above) * (1 + 0.01 * rng.standard_normal(len(time))) / 40) * 40
    slow = np.arange(0.0, end, 500.0)
    values = (57e6 + 5e5 * np.sin(slow / 3000), 45 + 13 * (1 - np.exp(-slow / 8000)), np.full(len(slow), 1500.0))
    parts = [pd.DataFrame({"time_ms": time, "channel": "ina3221/VDD_IN_mw", "value": rail})]
    parts += [pd.DataFrame({"time_ms": slow, "channel": c[0], "value": v}) for c, v in zip(_OTHER_CHANNELS, values, strict=True)]
    return pd.concat(parts, ignore_index=True).sort_values("time_ms", kind="stable", ignore_index=True)


def _blank(dtype: str, n: int) -> list[Any]:
    fill: dict[str, Any] = {"str": "", "list": (), "int64": 0}
    return [fill.get(dtype, np.nan)] * n
