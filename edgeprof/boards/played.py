"""What a recording looked like when it had been played up to a moment: a part of the recorded Profile, for who looks on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from edgeprof.records.context import Energy, Latency, Memory
from edgeprof.records.profile import Finding, Profile, empty_table

_MEMORY = ("live_memory_bytes", "peak_memory_bytes", "workspace_bytes")
_ENERGY = ("power_mw", "energy_mj", "energy_low_mj", "energy_high_mj", "energy_closed_mj", "latency_isolated_ms")
_TIMES = ("latency_ms", "latency_low_ms", "latency_high_ms", "latency_p95_ms", "latency_raw_ms", "share")


def played(profile: Profile, until_ms: float, blocks: int) -> Profile | None:
    """The Profile of the first ``blocks`` blocks of runs, with what else had been recorded by ``until_ms``; None when there are no runs.

    A layer's latency is the median of its corrected times in the runs so far: the recording keeps no calibration that the whole
    computation could be done with again. It has no interval, therefore; memory is there when its phase is over, energy in the end.
    """
    numbers = list(dict.fromkeys(profile.runs["block"]))[:blocks]
    runs = profile.runs[profile.runs["block"].isin(numbers)]
    spans = profile.spans[profile.spans["run"].isin(runs["run"])]
    if not len(spans):
        return None
    windows = profile.windows[profile.windows["end_ms"] <= until_ms]
    has_memory = bool((windows["phase"] == "memory").any())
    context = replace(
        profile.context,
        recorded_origin=profile.basis,
        runs=int((~runs["instrumented"]).sum()),
        blocks=len(numbers),
        latency=_latency(runs),
        energy=Energy(asked=profile.context.energy.asked, reason="It is not measured yet." if profile.context.energy.method else ""),
        memory=profile.context.memory if has_memory else Memory(),
    )
    return replace(
        profile,
        layers=_layers(profile.layers, runs, spans, has_memory=has_memory),
        context=context,
        origin="replayed",
        runs=runs,
        spans=spans,
        samples=profile.samples[profile.samples["time_ms"] <= until_ms],
        windows=windows,
        tensors=profile.tensors if has_memory else empty_table("tensors"),
        findings=(Finding("incomplete", "warning", "The recording was played up to here."), *profile.findings),
    )


def _layers(layers: pd.DataFrame, runs: pd.DataFrame, spans: pd.DataFrame, *, has_memory: bool) -> pd.DataFrame:
    by_layer = spans.groupby("layer")
    plain = runs.loc[~runs["instrumented"], "latency_ms"].median()
    found: dict[str, Any] = {name: np.full(len(layers), math.nan) for name in (*_TIMES, *_ENERGY, *(() if has_memory else _MEMORY))}
    index = layers["index"]
    found["latency_ms"] = index.map(by_layer["latency_ms"].median()).to_numpy(float)
    found["latency_p95_ms"] = index.map(by_layer["latency_ms"].quantile(0.95)).to_numpy(float)
    found["latency_raw_ms"] = index.map(by_layer["latency_raw_ms"].median()).to_numpy(float)
    between = (layers["kind"] == "between").to_numpy()
    found["latency_ms"][between] = plain - np.nansum(found["latency_ms"][~between])
    whole = plain if plain > 0 else np.nansum(found["latency_ms"])
    found["share"] = found["latency_ms"] / whole if whole > 0 else found["share"]
    return layers.assign(**found, energy_method="")


def _latency(runs: pd.DataFrame) -> Latency:
    plain = runs.loc[~runs["instrumented"], "latency_ms"].to_numpy()
    if not len(plain):
        return Latency()
    p50, p95, p99 = (float(v) for v in np.percentile(plain, [50, 95, 99]))
    return Latency(p50, None, None, p50, p95, p99, float(plain.mean()), float(plain.min()), float(plain.max()), len(plain))
