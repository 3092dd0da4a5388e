"""What a reader of a profile should look at first: the longest layers, and findings with their evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pandas as pd

from edgeprof.analysis.energy import energy_findings
from edgeprof.analysis.names import listed, shorten
from edgeprof.records.profile import Finding, Profile
from edgeprof.units import latency, share

_SEVERITIES = ("error", "warning", "info")

GAP_ABOVE, GAP_BELOW = 0.05, -0.02
"""Shares of the plain median beyond which the row between layers is a warning."""

TINY_MS = 0.005
"""Below 5 µs a layer's time is mostly the runtime's cost of starting it."""

WIDE_HALF_WIDTH, WIDE_SHARE = 0.25, 0.01
"""An interval wider than ±25 % is worth a word for a layer that takes at least 1 % of the time."""

INSERTED_WARNING = 0.05
RAW_GAP = 0.05
TAIL_RATIO = 1.5


def top_layers(profile: Profile, n: int = 10) -> pd.DataFrame:
    """The ``n`` layers with the most time, longest first; layers with no latency are not among them."""
    timed = profile.measured_layers.dropna(subset=["latency_ms"])
    return timed.sort_values("latency_ms", ascending=False, kind="stable").head(n).reset_index(drop=True)


def findings(profile: Profile) -> tuple[Finding, ...]:
    """What stands out, each with its evidence: errors, then warnings, then the rest, those of the measurement itself first.

    The findings that the profile carries are kept as they are; one found here again under the same id is left out.
    """
    known = {finding.id for finding in profile.findings}
    if "outliers" in known:
        known.add("long-tail")  # the same runs, said already
    found = [finding for rule in _RULES for finding in rule(profile) if finding.id not in known]
    return tuple(sorted((*profile.findings, *found), key=lambda finding: _SEVERITIES.index(finding.severity)))


def _closure_gap(profile: Profile) -> Iterator[Finding]:
    between = profile.layers[profile.layers["kind"] == "between"]
    if between.empty or math.isnan(gap := float(between["share"].iloc[0])):
        return
    ms, low, high = (float(between[name].iloc[0]) for name in ("latency_ms", "latency_low_ms", "latency_high_ms"))
    if gap > GAP_ABOVE:
        text = f"{latency(ms)}, {share(gap)} of the whole, lies in no layer"
    elif gap < GAP_BELOW:
        text = f"The layers sum to {latency(-ms)} ({share(-gap)}) more than the whole model takes: single layers may be read too long"
    else:
        return
    if low <= 0 <= high:
        yield Finding("closure-gap", "info", f"{text}; the interval from {latency(low)} to {latency(high)} covers zero.")
    else:
        yield Finding("closure-gap", "warning", f"{text}.")


def _not_corrected(profile: Profile) -> Iterator[Finding]:
    timed = profile.measured_layers["latency_ms"].notna().any()
    if profile.origin in ("measured", "replayed", "simulated") and timed and profile.context.instrument.method == "none":
        text = "Layer times hold the runtime profiler's own cost: no calibration was made, nothing was corrected."
        yield Finding("not-corrected", "warning", text)


def _inserted(profile: Profile) -> Iterator[Finding]:
    layers = profile.measured_layers
    inserted = layers[layers["kind"] == "inserted"]
    if inserted.empty:
        return
    ms, part = inserted["latency_ms"].sum(min_count=1), inserted["share"].sum(min_count=1)
    if not ms > 0:  # not measured, or too short to be told from zero
        return
    counts = inserted["op_type"].value_counts()
    ops = listed((f"{op} {n}" for op, n in counts.items()), most=4)
    take = f"take{'s' * (len(inserted) == 1)} {latency(ms)}, {share(part)} of the time"
    text = f"{_layers(len(inserted))} inserted by the runtime ({ops}) {take}."
    yield Finding("inserted-layers", "warning" if part >= INSERTED_WARNING else "info", text, tuple(inserted["name"]))


def _wide_intervals(profile: Profile) -> Iterator[Finding]:
    if profile.basis == "estimated":
        return  # no runs narrow it
    layers = profile.measured_layers
    half = (layers["latency_high_ms"] - layers["latency_low_ms"]) / 2 / layers["latency_ms"]
    wide = layers.assign(half=half)[(half > WIDE_HALF_WIDTH) & (layers["share"] >= WIDE_SHARE)].sort_values("half", ascending=False)
    if wide.empty:
        return
    text = (
        f"{_layers(len(wide))} with at least {share(WIDE_SHARE)} of the time ha{'s' if len(wide) == 1 else 've'} an interval wider than"
        f" ±{share(WIDE_HALF_WIDTH)}, widest {shorten(wide['name'].iloc[0])} with ±{share(wide['half'].iloc[0])}: more runs narrow it."
    )
    yield Finding("wide-intervals", "warning", text, tuple(wide["name"]))


def _tail(profile: Profile) -> Iterator[Finding]:
    end = profile.context.latency
    if end.median_ms and end.p99_ms and end.p99_ms > TAIL_RATIO * end.median_ms:
        ratio = f"{end.p99_ms / end.median_ms:.1f} times the median of {latency(end.median_ms)}"
        text = f"One run in a hundred takes {latency(end.p99_ms)} or more, {ratio}."
        yield Finding("long-tail", "warning", text)


def _unattributed(profile: Profile) -> Iterator[Finding]:
    lost = [node.node for node in profile.nodes if node.fate == "unattributed"]
    if lost:
        text = f"{len(lost)} of {len(profile.nodes)} original nodes could not be attributed to a layer: {listed(lost)}."
        yield Finding("unattributed-nodes", "warning", text)


def _concentration(profile: Profile) -> Iterator[Finding]:
    """The fewest layers that hold half of the layers' time."""
    order = top_layers(profile, len(profile.layers))
    positive = order[order["latency_ms"] > 0]
    if len(positive) < 3:
        return
    part = positive["latency_ms"].cumsum() / positive["latency_ms"].sum()
    k = int((part < 0.5).sum()) + 1
    names, ms = tuple(positive["name"].head(k)), positive["latency_ms"].head(k).sum()
    if k <= max(1, len(order) // 4):
        take = f"take{'s' * (k == 1)} half of the layers' time ({latency(ms)})"
        text = f"{_layers(k)} of {len(order)} {take}: {_with_share(positive, k)}."
        yield Finding("time-concentrated", "info", text, names)
    else:
        text = f"Time is spread: half of it lies in {k} of {len(order)} layers; the longest is {_with_share(positive, 1)}."
        yield Finding("time-spread", "info", text, names)


def _with_share(layers: pd.DataFrame, most: int) -> str:
    rows = layers.head(min(most, 3))
    shown = ", ".join(f"{shorten(name)} ({share(part)})" for name, part in zip(rows["name"], rows["share"], strict=True))
    return f"{shown} and {most - 3} more" if most > 3 else shown


def _time_without_macs(profile: Profile) -> Iterator[Finding]:
    """Operators with a tenth of the time or more, whose part of the MACs is under a third of that."""
    table = profile.measured_layers.groupby("op_type")[["latency_ms", "macs"]].sum(min_count=1).sort_values("latency_ms", ascending=False)
    time = table["latency_ms"] / table["latency_ms"].sum()
    work = table["macs"] / table["macs"].sum()
    rows = table[(time >= 0.1) & (work < time / 3)]
    if rows.empty:
        return
    parts = ", ".join(
        f"{shorten(op)} {share(t)} of the time for {share(w) if w else 'none'} of the MACs"
        for op, t, w in zip(rows.index[:3], time[rows.index], work[rows.index], strict=False)
    )
    names = profile.measured_layers.loc[profile.measured_layers["op_type"].isin(rows.index), "name"]
    yield Finding("time-without-macs", "info", f"Time that is not arithmetic: {parts}.", tuple(names))


def tiny_layers(profile: Profile) -> pd.DataFrame:
    """Layers under `TINY_MS`; none unless they are a fifth of all, or take a twentieth of the time."""
    timed = profile.measured_layers.dropna(subset=["latency_ms"])
    tiny = timed[timed["latency_ms"] < TINY_MS]
    return tiny if len(tiny) >= 0.2 * max(1, len(timed)) or tiny["share"].sum() >= 0.05 else tiny.head(0)


def _tiny(profile: Profile) -> Iterator[Finding]:
    tiny = tiny_layers(profile)
    if tiny.empty:
        return
    timed, part = int(profile.measured_layers["latency_ms"].count()), tiny["share"].sum()
    take, each = ("takes", "") if len(tiny) == 1 else ("take", " each")
    text = (
        f"{len(tiny)} of {_layers(timed)} {take} under {latency(TINY_MS, 1)}{each}, together {latency(tiny['latency_ms'].sum())}"
        f" ({share(part)}): there the runtime's cost of starting a layer rules, not its arithmetic."
    )
    yield Finding("tiny-layers", "info", text, tuple(tiny["name"]))


def _raw_gap(profile: Profile) -> Iterator[Finding]:
    if profile.context.instrument.method == "none":
        return  # nothing was corrected: both say what the profiler said
    both = profile.measured_layers.dropna(subset=["latency_ms", "latency_raw_ms"])
    raw, corrected = both["latency_raw_ms"].sum(), both["latency_ms"].sum()
    if corrected > 0 and abs(raw / corrected - 1) > RAW_GAP:
        way = "more" if raw > corrected else "less"
        text = (
            f"As the runtime's profiler says them the layers sum to {latency(raw)}, {share(abs(raw / corrected - 1))} {way}"
            f" than the corrected {latency(corrected)}."
        )
        yield Finding("raw-gap", "info", text)


def _unknown_macs(profile: Profile) -> Iterator[Finding]:
    layers = profile.measured_layers
    unknown = layers[layers["macs"].isna() & (layers["kind"] == "layer")]
    if not unknown.empty:
        ops = listed((f"{op} {n}" for op, n in unknown["op_type"].value_counts().items()), most=4)
        text = f"MACs of {_layers(len(unknown))} are not known ({ops}; {share(unknown['share'].sum(min_count=1))} of the time)."
        yield Finding("uncounted", "info", text, tuple(unknown["name"]))


def _below_zero(profile: Profile) -> Iterator[Finding]:
    layers = profile.measured_layers
    below = layers[layers["latency_ms"] <= 0]
    if not below.empty:
        cause = "the correction is as large as the time that was read"
        text = f"{_layers(len(below))} cannot be told from zero: {cause} ({listed(below['name'])})."
        yield Finding("not-above-zero", "info", text, tuple(below["name"]))


def _layers(n: int) -> str:
    return f"{n} layer{'s' * (n != 1)}"


_RULES: tuple[Callable[[Profile], Iterator[Finding]], ...] = (
    _closure_gap,
    _not_corrected,
    _inserted,
    _wide_intervals,
    _tail,
    _unattributed,
    _concentration,
    _time_without_macs,
    _tiny,
    _raw_gap,
    _unknown_macs,
    _below_zero,
    energy_findings,
)
