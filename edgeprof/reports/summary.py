"""What a report says in words about one profile: tiles, how the numbers were obtained, what they were taken on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from edgeprof import units
from edgeprof.analysis.budget import process_peak
from edgeprof.analysis.memory import model_peak
from edgeprof.figures.theme import origin_label
from edgeprof.models.cost import total_cost
from edgeprof.models.fates import Fate
from edgeprof.records.context import Energy, RunContext
from edgeprof.records.profile import Profile
from edgeprof.reports.sensed import energy_method, memory_method

_FATES: dict[Fate, str] = {
    "executed": "carried out by a layer",
    "folded": "computed once at load time",
    "removed": "removed as having no effect",
    "unattributed": "not attributed to any layer",
}


@dataclass(frozen=True)
class Tile:
    """One number of the summary; ``note`` says what it is in a few words."""

    title: str
    value: str
    note: str = ""


def tiles(profile: Profile) -> list[Tile]:
    """The summary: latency first, then size of the model, then what qualifies the numbers."""
    context = profile.context
    end = context.latency
    layers = profile.measured_layers
    verb = "estimated" if profile.basis == "estimated" else f"{end.runs} plain runs"
    found = [
        Tile("Median latency", *_median(profile, verb)),
        Tile("p95", units.latency(end.p95_ms), "95 of 100 runs are faster"),
        Tile("p99", units.latency(end.p99_ms), "99 of 100 runs are faster"),
        Tile("Load", units.latency(context.load_ms), "reading and optimising the model"),
        Tile("First run", units.latency(context.first_run_ms), "before any warm-up"),
        Tile("Layers", str(len(layers)), f"carry out {len(profile.nodes)} original nodes" if profile.nodes else "as executed"),
        Tile("MACs", units.count(_sum(layers["macs"])), "multiply-accumulates a run"),
        Tile("Weights", units.size(_weights(profile)), _file_size(context)),
        Tile("Between layers", _between_share(profile), "of the time lies in no layer"),
        Tile("Instrument", *_instrument(profile)),
    ]
    if (peak := model_peak(profile)) is not None:
        found.append(Tile("Peak memory, model", units.size(peak.bytes), f"activations and workspace, {peak.basis}"))
    most, phase = process_peak(profile)
    if not math.isnan(most):
        found.append(Tile("Peak memory, process", units.size(most), f"resident, in phase {phase}"))
    if context.energy.above_idle_mj is not None:
        found.append(Tile("Energy", *_energy(context.energy)))
    return found


def _energy(told: Energy) -> tuple[str, str]:
    nan = float("nan")
    low, high = (nan if end is None else end for end in (told.above_idle_low_mj, told.above_idle_high_mj))
    value, _, interval = units.energy_interval(told.above_idle_mj or 0.0, low, high).partition(" [")
    note = f"one run, above idle; {units.energy(told.inference_mj)} in all"
    return value, f"[{interval} at 95 %, {note}" if interval else note


def _weights(profile: Profile) -> float:
    """Bytes of the model's weights, each once; layers that share one each have it in their row."""
    return total_cost(profile.graph).param_bytes if profile.graph is not None else _sum(profile.measured_layers["param_bytes"])


def _median(profile: Profile, verb: str) -> tuple[str, str]:
    end = profile.context.latency
    if end.median_ms is None:
        return units.MISSING, "not measured"
    nan = float("nan")
    shown = units.latency_interval(end.median_ms, nan if end.low_ms is None else end.low_ms, nan if end.high_ms is None else end.high_ms)
    value, _, interval = shown.partition(" [")
    return value, f"[{interval} at 95 %, {verb}" if interval else verb


def _sum(values: pd.Series[float]) -> float:
    return float(values.sum(min_count=1))


def _file_size(context: RunContext) -> str:
    return "" if context.model_bytes is None else f"model file {units.size(context.model_bytes)}"


def _between_share(profile: Profile) -> str:
    row = profile.layers.loc[profile.layers["kind"] == "between", "share"]
    return units.share(None if row.empty else float(row.iloc[0]))


def _instrument(profile: Profile) -> tuple[str, str]:
    if profile.context.instrument.method == "none":
        return units.MISSING, "not corrected for the profiler"
    both = profile.measured_layers.dropna(subset=["latency_ms", "latency_raw_ms"])
    if both.empty:
        return units.MISSING, "no raw times"
    taken = float((both["latency_raw_ms"] - both["latency_ms"]).sum())
    sign = "−" if taken >= 0 else "+"
    return f"{sign}{units.latency(abs(taken))}", f"taken off {len(both)} layers for the profiler"


def method(profile: Profile) -> list[str]:
    """How the numbers were obtained, sentence by sentence."""
    last = "MACs and bytes are counted from the model's shapes. A dash means not measured or not known, never zero."
    if profile.basis == "estimated":
        of = f" of a change to the model {profile.parent[:12]}" if profile.parent else ""
        return [f"The numbers are estimated, not measured: a what-if{of}. Nothing was run for them.", last]
    corrected = profile.context.instrument.method != "none"
    return [
        f"The numbers are {origin_label(profile)}.",
        _runs_sentence(profile),
        _instrument_sentence(profile)
        if corrected
        else "The runtime's profiler was not calibrated: layer times hold its cost and are not corrected.",
        "A layer's latency is the median over blocks of its part of the block's plain time, times the plain median. The 95 % interval"
        " comes from drawing whole blocks again (bootstrap), plain runs and calibration included.",
        "The row (between layers) is the median of the plain runs less the sum of the layers; nothing is scaled to hide it.",
        *memory_method(profile),
        *energy_method(profile),
        last,
    ]


def _runs_sentence(profile: Profile) -> str:
    context = profile.context
    plain = int((~profile.runs["instrumented"]).sum()) or context.latency.runs
    instrumented = int(profile.runs["instrumented"].sum())
    blocks = f" in {_many(context.blocks, 'block')}" if context.blocks else ""
    sessions = f" over {_many(context.sessions, 'session')}" if context.sessions else ""
    warmup = f", after {_many(context.warmup_runs, 'warm-up run')}" if context.warmup_runs is not None else ""
    if not instrumented:
        return f"{_many(plain, 'plain run')}{blocks}{sessions}{warmup}; inputs: {context.input_source}."
    return (
        f"{_many(plain, 'plain run')} (runtime's profiler off) and {instrumented} instrumented (on) were interleaved"
        f"{blocks}{sessions}{warmup}; inputs: {context.input_source}."
    )


def _instrument_sentence(profile: Profile) -> str:
    """What the profiler costs and what was taken off, with the coefficients of the fit."""
    i = profile.context.instrument
    told = [f"The cost of the runtime's profiler was calibrated with nets of tiny nodes ({i.method})."]
    if i.offset_us is not None:
        told.append(f"Taken off a layer's own time: {i.offset_us:.3g} µs in the median.")
    if i.base_ratio is not None and i.tensor_ratio is not None:
        told.append(f"It is {i.base_ratio:.3g} + {i.tensor_ratio:.3g} for each input and output, times the gap to the next event.")
    if i.gap_us is not None:
        told.append(f"That gap is {i.gap_us:.3g} µs in the median.")
    if i.resolution_us is not None:
        told.append(f"The runtime rounds durations down to steps of {i.resolution_us:.3g} µs.")
    plain = profile.context.latency.median_ms
    if i.instrumented_median_ms and plain:
        told.append(f"Instrumented runs took {units.latency(i.instrumented_median_ms)}, plain ones {units.latency(plain)}.")
    return " ".join(told)


def fates(profile: Profile) -> str:
    """``100 carried out by a layer, 20 computed once at load time``."""
    counts = Counter(node.fate for node in profile.nodes)
    same = sum(node.layers == (node.node,) for node in profile.nodes)
    which = "each" if same == counts["executed"] else f"{same} of them"
    named = f" ({which} by one with the node's own name)" if same else ""
    return ", ".join(f"{counts[fate]} {words}{named * (fate == 'executed')}" for fate, words in _FATES.items() if counts[fate])


def context_rows(profile: Profile) -> list[tuple[str, str]]:
    """What is needed to repeat the measurement, as label and text; what is not known is left out."""
    c = profile.context
    rows: list[tuple[str, Any]] = [
        ("Model", c.model_name), ("Model sha256", c.model_sha256), ("Made from sha256", profile.parent), ("Model format", c.model_format),
        ("Board", c.board), ("Runtime", f"{c.runtime} {c.runtime_version}".strip()), ("Providers", c.providers),
        ("Provider options", c.provider_options), ("Threads", c.threads), ("Optimization", c.optimization), ("CPUs", c.cpus),
        ("Input shapes", {k: "×".join(map(str, shape)) for k, shape in c.input_shapes.items()}), ("Inputs", c.input_source),
        ("Runs asked for", c.runs or None), ("Warm-up runs", c.warmup_runs), ("Blocks", c.blocks), ("Sessions", c.sessions),
        ("Started", c.started_at), ("Peak memory", {k: units.size(v.peak_bytes) for k, v in c.memory.process.items()}),
        ("Precision", sorted(set(profile.measured_layers["precision"]) - {""})),
        ("Scores", c.scores), ("Versions", c.versions),
    ]  # fmt: skip
    return [(label, text) for label, value in rows if (text := plain_text(value))]


def fingerprint_rows(profile: Profile) -> list[tuple[str, str, str]]:
    """State of the board: key, before and after; after is empty where nothing was read."""
    before, after = profile.context.fingerprint, profile.context.fingerprint_after
    keys = [*before, *(key for key in after if key not in before)]
    return [(key, plain_text(before.get(key)), plain_text(after.get(key))) for key in keys]


def plain_text(value: object) -> str:
    """``value`` on one line: ``a: 1, b: 2`` for a mapping, ``1, 2`` for a list, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(plain_text(item) for item in value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _many(n: int | None, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
