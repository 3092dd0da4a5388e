"""Trace + Graph -> Profile. Nanoseconds become milliseconds here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgeprof.errors import TraceError
from edgeprof.models.cost import Cost, uncounted
from edgeprof.models.graph import Graph
from edgeprof.records import schema
from edgeprof.records.conditions import condition_findings, mark_outliers
from edgeprof.records.context import Instrument, Latency, RunContext, Thermal
from edgeprof.records.energy import LayerEnergy, layer_energy
from edgeprof.records.instrument import RESOLUTION_NS, Calibration, calibrate
from edgeprof.records.layer_times import DRAWS, LayerTimes, layer_times
from edgeprof.records.memory import LayerMemory, layer_memory
from edgeprof.records.profile import Finding, Origin, Profile
from edgeprof.records.rows import Row, Rows, make_rows, row_costs
from edgeprof.records.trace import Block, EnergyTrace, Trace
from edgeprof.units import NS_PER_MS, NS_PER_US


def build_profile(
    trace: Trace,
    graph: Graph,
    executed: Graph | None,
    *,
    input_source: str = "random",
    origin: Origin = "measured",
    most_draws: int = DRAWS,
) -> Profile:
    """The Profile that ``trace``, a recording of ``graph``, gives.

    ``executed`` is the optimised graph, read from `Trace.executed_model`, or None when the runtime did not save it; then events are
    matched with the original graph by their names. ``most_draws``: for the intervals, as of `edgeprof.records.layer_times`.

    Raises:
        TraceError: the trace holds no run of the model.
    """
    blocks = [block for block in trace.blocks if len(block.spans.run_start_ns)]
    if not blocks:
        raise TraceError("The trace holds no whole run of the model. Record it again, with at least one run after loading.")
    rows = make_rows(blocks, graph, executed)
    calibration = calibrate(trace.probes, [block.index for block in blocks])
    times = layer_times(blocks, rows.of_kind, len(rows.rows), calibration, trace.probes, most_draws)
    runs = _runs(blocks, trace.start_ns)
    memory = layer_memory(trace.memory, rows, executed, graph, trace.process)
    energy = layer_energy(trace, rows.rows, executed, times)
    return Profile(
        layers=_layers(rows.rows, times, memory, energy, graph),
        context=replace(
            _context(trace, graph, times, runs, calibration, input_source),
            memory=memory.context,
            energy=energy.context,
            thermal=_thermal(trace),
        ),
        origin=origin,
        runs=runs,
        spans=_spans(times, runs, trace.start_ns),
        samples=_samples(trace),
        windows=_windows(trace),
        tensors=memory.tensors,
        graph=replace(graph, path=PurePath(graph.path).name),  # a bundle is handed on: no folder of this machine in it
        nodes=rows.nodes,
        findings=(*condition_findings(trace, runs), *_graph_findings(rows, graph, calibration)),
    )


def _layers(rows: Sequence[Row], times: LayerTimes, memory: LayerMemory, energy: LayerEnergy, graph: Graph) -> pd.DataFrame:
    n = len(rows)
    costs = [_of_a_run(row, cost, calls) for row, cost, calls in zip(rows, row_costs(rows, graph), times.calls, strict=True)]
    # without plain runs the instrumented ones are the only whole there is
    whole = times.plain if not math.isnan(times.plain) else float(np.nansum(times.latency))
    blank = [math.nan] * (n + 1)
    table: dict[str, Any] = {c.name: blank for c in schema.LAYER_COLUMNS if c.is_metric} | {
        "index": range(n + 1),
        "name": [*(row.name for row in rows), schema.BETWEEN_LAYERS],
        "runtime_name": [*(row.runtime_name for row in rows), ""],
        "op_type": [*(row.op_type for row in rows), ""],
        "kind": [*(row.kind for row in rows), "between"],
        "parent": [*(row.parent for row in rows), ""],
        "source_nodes": [*(row.sources for row in rows), ()],
        "provider": [*(row.types.provider if row.types else "" for row in rows), ""],
        "precision": [*(row.precision for row in rows), ""],
        "output_shape": [*(row.output_shape for row in rows), ""],
        "latency_ms": np.append(times.latency, times.between) / NS_PER_MS,
        "latency_low_ms": np.append(times.low, times.between_low) / NS_PER_MS,
        "latency_high_ms": np.append(times.high, times.between_high) / NS_PER_MS,
        "latency_p95_ms": np.append(times.p95, math.nan) / NS_PER_MS,
        "latency_raw_ms": np.append(times.raw, math.nan) / NS_PER_MS,
        "share": np.append(times.latency, times.between) / whole if whole else blank,
        "calls": np.append(times.calls, math.nan),
        "macs": [*(c.macs for c in costs), math.nan],
        "param_bytes": [*(c.param_bytes for c in costs), math.nan],
        "activation_bytes": [*(c.activation_bytes for c in costs), math.nan],
        "live_memory_bytes": np.append(memory.live, math.nan),
        "peak_memory_bytes": np.append(memory.peak, math.nan),
        "workspace_bytes": np.append(memory.workspace, math.nan),
        "arithmetic_intensity": [*(_intensity(c.macs, c.param_bytes + c.activation_bytes) for c in costs), math.nan],
        "power_mw": energy.power_mw,
        "energy_mj": energy.energy_mj,
        "energy_low_mj": energy.low_mj,
        "energy_high_mj": energy.high_mj,
        "energy_closed_mj": energy.closed_mj,
        "latency_isolated_ms": energy.isolated_ms,
        "energy_method": energy.method,
    }
    return pd.DataFrame(table)


def _of_a_run(row: Row, cost: Cost, calls: float) -> Cost:
    """What a layer inside a body costs in a run of the model: once for each call, as its latency; not known when it never ran."""
    if row.kind != "nested":
        return cost
    factor = calls if calls else math.nan
    return Cost(cost.macs * factor, cost.params, cost.param_bytes, cost.activation_bytes * factor)


def _intensity(macs: float, nbytes: float) -> float:
    return 2 * macs / nbytes if nbytes > 0 else math.nan


def _runs(blocks: Sequence[Block], start_ns: int) -> pd.DataFrame:
    parts = []
    for block in blocks:
        for instrumented, starts, durations in (
            (False, block.plain_start_ns, block.plain_ns),
            (True, block.instrumented_start_ns, block.instrumented_ns),
        ):
            parts.append(_part(block.index, instrumented, starts, durations, start_ns))
        if not len(block.instrumented_ns):  # a trace from elsewhere: the runtime's own event around each run
            parts.append(_part(block.index, True, block.spans.run_start_ns, block.spans.run_duration_ns, start_ns))
    table = pd.concat(parts, ignore_index=True).sort_values("start_ms", kind="stable", ignore_index=True)
    table["run"] = np.arange(len(table))
    table["outlier"] = False
    for kind in (False, True):
        chosen = table["instrumented"] == kind
        table.loc[chosen, "outlier"] = mark_outliers(table.loc[chosen, "latency_ms"].to_numpy())
    return table


def _part(block: int, instrumented: bool, starts: npt.NDArray[np.int64], durations: npt.NDArray[np.int64], start_ns: int) -> pd.DataFrame:
    return pd.DataFrame({
        "run": np.zeros(len(starts), np.int64),
        "block": np.full(len(starts), block, np.int64),
        "instrumented": np.full(len(starts), instrumented),
        "start_ms": (starts - start_ns) / NS_PER_MS,
        "latency_ms": durations / NS_PER_MS,
        "outlier": np.zeros(len(starts), bool),
    })  # fmt: skip


def _spans(times: LayerTimes, runs: pd.DataFrame, start_ns: int) -> pd.DataFrame:
    """One row a layer and instrumented run in which it ran. Runs of `LayerTimes` stand in the order of blocks."""
    ordered = runs[runs["instrumented"]].sort_values(["block", "start_ms"], kind="stable")["run"].to_numpy()
    run, layer = np.nonzero(~np.isnan(times.run_start))
    return pd.DataFrame({
        "layer": layer.astype(np.int32),
        "run": ordered[run].astype(np.int32),
        "start_ms": (times.run_start[run, layer] - start_ns) / NS_PER_MS,
        "latency_raw_ms": (times.run_raw[run, layer] / NS_PER_MS).astype(np.float32),
        "latency_ms": (times.run_latency[run, layer] / NS_PER_MS).astype(np.float32),
    })  # fmt: skip


def _samples(trace: Trace) -> pd.DataFrame:
    """In the order of time; of several channels read at once in the channels' order."""
    samples, names = trace.samples, [channel.name for channel in trace.channels]
    order = np.lexsort((samples.channel, samples.time_ns))
    return pd.DataFrame({
        "time_ms": (samples.time_ns[order] - trace.start_ns) / NS_PER_MS,
        "channel": pd.Series(np.array(names, object)[samples.channel[order]] if names else [], dtype="str"),
        "value": samples.value[order],
    })  # fmt: skip


def _windows(trace: Trace) -> pd.DataFrame:
    rows = sorted(trace.windows, key=lambda window: (window.start_ns, -window.end_ns))
    return pd.DataFrame({
        "phase": pd.Series([w.phase for w in rows], dtype="str"),
        "label": pd.Series([w.label for w in rows], dtype="str"),
        "group": np.array([w.group for w in rows], np.int32),
        "pass": np.array([w.round for w in rows], np.int32),
        "start_ms": np.array([w.start_ns - trace.start_ns for w in rows], float) / NS_PER_MS,
        "end_ms": np.array([w.end_ns - trace.start_ns for w in rows], float) / NS_PER_MS,
        "runs": np.array([w.runs for w in rows], np.int64),
        "note": pd.Series([w.note for w in rows], dtype="str"),
    })  # fmt: skip


def _thermal(trace: Trace) -> Thermal:
    zones = [i for i, channel in enumerate(trace.channels) if channel.unit == "°C"]
    series = [values for values in (trace.samples.of(i)[1] for i in zones) if len(values)]
    hottest = max(series, key=lambda values: float(values.max())) if series else np.empty(0)
    told = trace.energy or EnergyTrace()
    measured = trace.energy is not None and bool(told.channels)
    return Thermal(
        warm_s=told.warm_s,
        flat=told.flat,
        start_c=float(hottest[0]) if len(hottest) else None,
        hottest_c=float(hottest.max()) if len(hottest) else None,
        end_c=float(hottest[-1]) if len(hottest) else None,
        throttled=told.throttled,
        on_throttle=trace.plan.energy_plan.on_throttle if measured else "",
        cool_down_s=trace.plan.energy_plan.cool_down_s if measured else None,
    )


def _context(
    trace: Trace, graph: Graph, times: LayerTimes, runs: pd.DataFrame, calibration: Calibration | None, input_source: str
) -> RunContext:
    plan = trace.plan
    return RunContext(
        model_name=PurePath(graph.path).name or graph.name,
        model_sha256=graph.digest,
        model_format=graph.format,
        model_bytes=graph.file_bytes or None,
        board=trace.board,
        runtime=trace.runtime,
        runtime_version=trace.runtime_version,
        providers=trace.providers,
        provider_options=plan.provider_options,
        threads=plan.threads or None,
        optimization=plan.optimization,
        cpus=plan.cpus,
        runs=int((~runs["instrumented"]).sum()),
        warmup_runs=len(trace.warmup_ns) if trace.load_ns is not None else None,
        blocks=len(trace.blocks),
        sessions=len({block.session for block in trace.blocks}),
        input_shapes={name: tuple(array.shape) for name, array in plan.inputs.items()},
        input_source=input_source,
        started_at=trace.started_at,
        latency=_latency(runs, times),
        load_ms=_ms(trace.load_ns),
        first_run_ms=_ms(trace.first_run_ns),
        instrument=_instrument(times, runs, calibration),
        closure=times.between / times.plain if times.plain > 0 else None,
        sensors=trace.sensors,
        sampling_cpu_share=trace.sampling.get("cpu_share"),
        fingerprint=trace.environment,
        fingerprint_after=trace.environment_after,
        versions={name: version(name) for name in ("edgeprof", "onnx", "numpy", "pandas")},
    )


def _latency(runs: pd.DataFrame, times: LayerTimes) -> Latency:
    plain = runs.loc[~runs["instrumented"], "latency_ms"].to_numpy()
    if not len(plain):
        return Latency()
    p50, p95, p99 = (float(v) for v in np.percentile(plain, [50, 95, 99]))
    bounds = times.plain_low / NS_PER_MS, times.plain_high / NS_PER_MS
    return Latency(p50, *bounds, p50, p95, p99, float(plain.mean()), float(plain.min()), float(plain.max()), len(plain))


def _instrument(times: LayerTimes, runs: pd.DataFrame, calibration: Calibration | None) -> Instrument:
    instrumented = runs.loc[runs["instrumented"], "latency_ms"]
    middle = float(instrumented.median()) if len(instrumented) else None
    if calibration is None:
        return Instrument(instrumented_median_ms=middle)
    base, slope = calibration.coefficients()
    return Instrument("tiny-nodes", base, slope, times.gap / NS_PER_US, times.offset / NS_PER_US, RESOLUTION_NS / NS_PER_US, middle)


def _graph_findings(rows: Rows, graph: Graph, calibration: Calibration | None) -> list[Finding]:
    found = [Finding("assumed", "info", note) for note in graph.notes]
    if calibration is None:
        text = "There was no calibration: layer times are as the runtime's profiler says them, too long for short layers."
        found.append(Finding("not-corrected", "warning", text))
    if rows.unattributed:
        text = f"{len(rows.unattributed)} event names of the runtime fit no layer of the model; they have rows of their own."
        found.append(Finding("unattributed-events", "warning", text, rows.unattributed))
    lost = tuple(node.node for node in rows.nodes if node.fate == "unattributed")
    if lost:
        found.append(Finding("unattributed-nodes", "warning", f"{len(lost)} nodes of the model could not be matched with what ran.", lost))
    without = uncounted(graph)
    if without:
        found.append(Finding("uncounted", "info", f"MACs are not known for: {', '.join(without)}."))
    return found


def _ms(ns: int | Mapping[str, Any] | None) -> float | None:
    return ns / NS_PER_MS if isinstance(ns, int) else None
