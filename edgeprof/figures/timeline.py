"""View data of the timeline: what ran when, and what sensors said meanwhile. Drawn by ``static/timeline.js`` and `timeline_picture`.

1. All times are ms since the job's start on the board's clock, so windows, runs, layers and readings share one axis.
2. A layer reaches from its start as far as the runtime's profiler said it took; its corrected latency comes along as a number.
   A layer that is called more than once a run stands at its first call with the time of all its calls.
3. Readings: see `edgeprof.figures.timeline_series`. ``per`` says how many share a column; 1: each reading is there.
4. Of too many spans those of evenly chosen runs come along, of too many runs all outliers and evenly chosen others; ``runs_of`` and
   ``spans_of`` say how many of how many. `timeline_detail` has more of a shorter time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.figures.labels import interval
from edgeprof.figures.theme import THEMES, op_family
from edgeprof.figures.timeline_series import Series, all_series, budgets, columns
from edgeprof.figures.view import ViewData, header, pack, themes
from edgeprof.records.profile import Profile
from edgeprof.records.sensing import SensorUse

MOST_POINTS = 120_000
"""Readings, or columns of readings, in a view."""

MOST_SPANS = 120_000
"""Layers of single runs in a view."""

MOST_RUNS = 20_000

_CLOCK_MS = 1e-6  # a nanosecond: windows that follow each other do not overlap

INSTRUMENTED, OUTLIER, HAS_LAYERS, LAYERS_SENT = 1, 2, 4, 8
"""Bits of the array ``run_flags``."""

LANE_TITLES = {"power": "Power", "memory": "Memory", "temperature": "Temperature", "clocks": "Clocks", "in %": "Load"}
LANE_FORMATS = {"power": ("mW", "W", "kW"), "memory": ("B", "kB", "MB", "GB", "TB"), "clocks": ("MHz", "GHz")}
"""Units of a lane, each 1000 of the one before; a lane that is not here is shown in its own unit, without one as a count."""

PHASE_COLORS = {
    "light": {
        "load": "#d9d3ee", "warmup": "#f3dfc2", "measure": "#bcdcf0", "memory": "#d5e6b8", "idle": "#eceff2", "model": "#f7ccb4",
        "layers": "#c9e8dc", "cooldown": "#dde2e8",
    },
    "dark": {
        "load": "#3d3560", "warmup": "#55431f", "measure": "#17465f", "memory": "#3c4a1c", "idle": "#22272e", "model": "#6a3417",
        "layers": "#1d4d40", "cooldown": "#2f363f",
    },
}  # fmt: skip
"""Ground of each phase; text in the theme's ink can be read on all of them."""

_LINE_FAMILIES = ("convolution", "matrix", "activation", "attention", "normalization", "pooling", "elementwise", "control")
_CARD_COLUMNS = ("latency_ms", "latency_low_ms", "latency_high_ms", "energy_mj", "energy_low_mj", "energy_high_mj", "calls")


def timeline(profile: Profile, *, most_points: int = MOST_POINTS, most_spans: int = MOST_SPANS) -> ViewData:
    """The whole session of ``profile``, with all that the header, the lanes and the hover card say."""
    return Session(profile).whole(most_points=most_points, most_spans=most_spans)


def timeline_detail(
    profile: Profile, start_ms: float, end_ms: float, *, most_points: int = MOST_POINTS, most_spans: int = MOST_SPANS
) -> ViewData:
    """Readings, runs and layers from ``start_ms`` to ``end_ms``, as finely as the limits allow: for a zoomed view."""
    return Session(profile).detail(start_ms, end_ms, most_points=most_points, most_spans=most_spans)


class Session:
    """What a profile recorded over time, put in order once so that details can be had quickly.

    ``runs`` and ``windows`` are in the order of time; ``extent`` is from the first thing to the last one, None when there is nothing.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.series = all_series(profile)
        self.windows = _ordered(profile.windows, "end_ms")
        self.runs = _ordered(profile.runs, "latency_ms")
        self._spans = _SpanTable(profile, self.runs)
        self.extent = self._extent()

    def whole(self, *, most_points: int = MOST_POINTS, most_spans: int = MOST_SPANS) -> ViewData:
        """See `timeline`."""
        profile, context = self.profile, self.profile.context
        part, arrays = self._part(-math.inf, math.inf, most_points, most_spans)
        layers = profile.measured_layers
        op_codes, op_types = pd.factorize(layers["op_type"])
        windows, window_arrays = self._windows(layers)
        meta = {
            "view": "timeline",
            "title": profile.title,
            "header": header(profile, *self._headline()),
            "findings": [{"severity": f.severity, "text": f.text} for f in profile.findings],
            "extent": self.extent,
            "measure": self._measurement(),
            "typical_run": typical_run(arrays),
            "names": [str(name) for name in layers["name"]],
            "common_path": _common_path(list(layers["name"])),
            "holders": np.flatnonzero(layers["name"].isin(set(layers["parent"]) - {""})).tolist(),
            "op_types": [str(op) for op in op_types],
            "op_families": [op_family(str(op)) for op in op_types],
            "lanes": list(self._lanes()),
            "idle_mw": context.energy.idle_mw if any(s.lane == "power" for s in self.series) else None,
            "sensors": list(_sensor_notes(profile)),
            "missing": {"samples": self._no_samples(), "spans": self._no_spans()},
            "themes": _themes([str(op) for op in op_types]),
            **windows,
            **part,
        }
        arrays |= window_arrays | {"op": _small(op_codes), "depth": _small(_depths(layers))}
        arrays |= {name: layers[name].to_numpy(np.float64) for name in _CARD_COLUMNS if layers[name].notna().any()}
        return pack(meta, arrays)

    def detail(self, start_ms: float, end_ms: float, *, most_points: int = MOST_POINTS, most_spans: int = MOST_SPANS) -> ViewData:
        """See `timeline_detail`."""
        part, arrays = self._part(start_ms, end_ms, most_points, most_spans)
        return pack({"view": "timeline-detail", "window": [start_ms, end_ms], **part}, arrays)

    # -- what whole and detail have in common --

    def _part(self, start_ms: float, end_ms: float, most_points: int, most_spans: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        series, arrays = self._readings(start_ms, end_ms, most_points)
        starts, ends = self.runs["start_ms"].to_numpy(), (self.runs["start_ms"] + self.runs["latency_ms"]).to_numpy()
        inside = np.flatnonzero((ends >= start_ms) & (starts <= end_ms))
        chosen = _thinned(inside, self.runs["outlier"].to_numpy()[inside])
        # layers of runs that are drawn, and of no others
        with_layers = chosen[self._spans.counts[chosen] > 0]
        sent = self._spans.evenly(with_layers, most_spans)
        shown = self.runs.iloc[chosen]
        flags = shown["instrumented"] * INSTRUMENTED + shown["outlier"] * OUTLIER
        flags = flags.to_numpy(np.int64) + HAS_LAYERS * (self._spans.counts[chosen] > 0) + LAYERS_SENT * np.isin(chosen, sent)
        arrays |= {
            "run_start": starts[chosen],
            "run_ms": shown["latency_ms"].to_numpy(np.float32),
            "run_flags": flags.astype(np.uint8),
            "run_block": _small(shown["block"].to_numpy()),
            "run_number": _small(shown["run"].to_numpy()),
            "span_run": _small(np.searchsorted(chosen, sent)),
            **self._spans.arrays(sent),
        }
        with_any = int((self._spans.counts[inside] > 0).sum())
        return {"series": series, "runs_of": [len(chosen), len(inside)], "spans_of": [len(sent), with_any]}, arrays

    def _readings(self, start_ms: float, end_ms: float, most_points: int) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
        parts = [s.between(start_ms, end_ms) for s in self.series]
        places = budgets([part.stop - part.start for part in parts], most_points)
        meta, arrays = [], {}
        for k, (s, part, most) in enumerate(zip(self.series, parts, places, strict=True)):
            c = columns(s.time_ms[part], s.value[part], most)
            arrays[f"t{k}"] = c.time_ms
            if c.per == 1:
                arrays[f"v{k}"] = c.mean.astype(np.float32)
            else:
                arrays |= {f"{key}{k}": values.astype(np.float32) for key, values in (("l", c.low), ("v", c.mean), ("h", c.high))}
                arrays[f"f{k}"] = c.failed.astype(np.uint8)
            after = s.time_ms[part.stop] if part.stop < len(s) else s.end_ms
            meta.append({"per": c.per, "end": float(after)})
        return meta, arrays

    # -- what only the whole has --

    def _extent(self) -> list[float] | None:
        ends = [(s.time_ms[0], s.end_ms) for s in self.series]
        if len(self.windows):
            ends.append((self.windows["start_ms"].min(), self.windows["end_ms"].max()))
        if len(self.runs):
            ends.append((self.runs["start_ms"].min(), (self.runs["start_ms"] + self.runs["latency_ms"]).max()))
        return [float(min(start for start, _ in ends)), float(max(end for _, end in ends))] if ends else None

    def _measurement(self) -> list[float] | None:
        """From the first to the last run of the measurement: the windows of that phase, or the runs where there are none."""
        windows = self.windows[self.windows["phase"] == "measure"]
        if len(windows):
            return [float(windows["start_ms"].min()), float(windows["end_ms"].max())]
        if len(self.runs):
            return [float(self.runs["start_ms"].min()), float((self.runs["start_ms"] + self.runs["latency_ms"]).max())]
        return None

    def _windows(self, layers: pd.DataFrame) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Windows as arrays. Labels that are names of layers are sent as their position, others after all names."""
        table = self.windows
        phases, phase_names = pd.factorize(table["phase"])
        notes, note_names = pd.factorize(table["note"])
        place = {str(name): i for i, name in enumerate(layers["name"])}
        names = len(place)
        labels = np.array([place.setdefault(str(label), len(place)) for label in table["label"]], np.int64)
        groups = [[place[name] for name in group.layers if place.get(name, names) < names] for group in self.profile.context.energy.groups]
        meta = {
            "phases": [str(name) for name in phase_names],
            "notes": [str(name) for name in note_names],
            "labels": list(place)[names:],
            "groups": groups,
        }
        return meta, {
            "win_start": table["start_ms"].to_numpy(), "win_end": table["end_ms"].to_numpy(), "win_phase": _small(phases),
            "win_note": _small(notes), "win_label": _small(labels), "win_row": _small(_window_rows(table)),
            "win_group": _small(table["group"].to_numpy(np.int64) + 1), "win_pass": _small(table["pass"].to_numpy(np.int64) + 1),
            "win_runs": table["runs"].to_numpy(np.float64),
        }  # fmt: skip

    def _lanes(self) -> Iterator[dict[str, Any]]:
        """Lanes in their order; ``channels`` holds positions in ``series`` with what the legend and the card say of each."""
        for lane in dict.fromkeys(s.lane for s in self.series):
            places = [k for k, s in enumerate(self.series) if s.lane == lane]
            first = self.series[places[0]]
            yield {
                "id": lane,
                "title": LANE_TITLES.get(lane, "Others" if first.unit else first.title),
                "unit": first.unit,
                "units": _lane_units(lane, first.unit),
                "channels": [_channel(k, self.series[k]) for k in places],
            }

    def _headline(self) -> tuple[str, str]:
        """The one number: energy of an inference where it was measured, else mean power, else how long it all took."""
        energy, nan = self.profile.context.energy, math.nan
        origin = ", estimated" if self.profile.basis == "estimated" else ""
        if energy.inference_mj is not None:
            low, high = (nan if v is None else v for v in (energy.inference_low_mj, energy.inference_high_mj))
            note = f"energy of one inference{origin}, {energy.scope or 'total'}{'' if math.isnan(low) else ', 95 % interval'}"
            return interval("energy_mj", energy.inference_mj, low, high), note
        total = next((s for s in self.series if s.total), None)
        if total is not None and not math.isnan(total.mean()):
            return show(total.mean(), "power", "mW"), f"mean power over the session{origin}, {total.scope or 'total'}"
        if self.extent is None:
            return units.MISSING, "nothing was recorded over time"
        return units.latency(self.extent[1] - self.extent[0]), f"whole session{origin}; power was not measured"

    def _no_samples(self) -> str:
        """Why there is no lane of readings, and what to do; empty when there is one."""
        if self.series:
            return ""
        sensors = self.profile.context.sensors
        found = "; ".join(f"{use.name}: {use.problem or 'no reading'}" for use in sensors)
        looked = f"Looked for: {found}." if found else "This profile names no sensor."
        return f"No sensor was read during this session. {looked} “edgeprof doctor” says what can be read here and what hinders it."

    def _no_spans(self) -> str:
        if self._spans.counts.any():
            return ""
        if self.runs["instrumented"].any():
            return "The instrumented runs of this profile hold no times of single layers."
        return "No instrumented runs, so no layers: profile the model with runs=100."


class _SpanTable:
    """Spans beside the runs of a session: ``counts`` says how many each run has."""

    def __init__(self, profile: Profile, runs: pd.DataFrame) -> None:
        numbers = runs["run"].to_numpy()
        sorter = np.argsort(numbers, kind="stable")
        spans = profile.spans
        at = np.searchsorted(numbers, spans["run"].to_numpy(np.int64), sorter=sorter)
        at = sorter[np.minimum(at, len(sorter) - 1)] if len(sorter) else np.zeros(len(spans), np.int64)
        layer, start = spans["layer"].to_numpy(np.int64), spans["start_ms"].to_numpy()
        known = np.isfinite(start) & np.isfinite(spans["latency_raw_ms"].to_numpy())
        known &= (layer >= 0) & (layer < len(profile.measured_layers))  # the row between layers is the last one
        known &= (numbers[at] == spans["run"].to_numpy()) if len(sorter) else False
        order = np.flatnonzero(known)
        order = order[np.lexsort((start[order], at[order]))]
        self._run, self._layer = at[order], layer[order]
        self._offset = start[order] - runs["start_ms"].to_numpy()[self._run] if len(order) else np.empty(0)
        self._raw, self._latency = (spans[name].to_numpy()[order] for name in ("latency_raw_ms", "latency_ms"))
        self.counts = np.bincount(self._run, minlength=len(runs)).astype(np.int64)
        self._first = np.append(0, np.cumsum(self.counts))

    def evenly(self, runs: NDArray[np.int64], most_spans: int) -> NDArray[np.int64]:
        """Of ``runs`` so many, evenly chosen, that their spans are at most ``most_spans``; but never fewer than one run."""
        counts = self.counts[runs]
        if not len(runs) or counts.sum() <= most_spans:
            return runs
        return runs[_evenly(len(runs), max(1, most_spans // int(counts.max())))]

    def arrays(self, runs: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Spans of these runs: ``span_first`` says where each run's begin. ``span_offset`` is in ms since the start of the run."""
        chosen = np.concatenate([np.arange(self._first[r], self._first[r + 1]) for r in runs]) if len(runs) else np.empty(0, np.int64)
        return {
            "span_first": np.append(0, np.cumsum(self.counts[runs])).astype(np.float64),
            "span_layer": _small(self._layer[chosen]),
            "span_offset": self._offset[chosen].astype(np.float32),
            "span_raw": self._raw[chosen].astype(np.float32),
            "span_ms": self._latency[chosen].astype(np.float32),
        }


def typical_run(arrays: Mapping[str, NDArray[Any]]) -> int | None:
    """The run whose latency is the median of its kind: one whose layers are sent, where there is one, and no outlier; None without runs."""
    flags, ms = arrays["run_flags"], arrays["run_ms"]
    sent, usual = (flags & LAYERS_SENT) > 0, (flags & OUTLIER) == 0
    for wish in (sent & usual, sent, usual, np.ones(len(flags), bool)):
        found = np.flatnonzero(wish)
        if len(found):
            return int(found[np.argsort(ms[found], kind="stable")[len(found) // 2]])
    return None


def show(value: float, lane: str, unit: str) -> str:
    """``value`` of a lane as a person reads it: ``2.50 W``, ``57.0 MB``, ``45.2 °C``."""
    if math.isnan(value):
        return units.MISSING
    names = _lane_units(lane, unit)
    step = 0
    while abs(value) >= 999.5 and step < len(names) - 1:
        value, step = value / 1000, step + 1
    whole = names[step] == "B" and float(value).is_integer()
    return f"{f'{value:.0f}' if whole else units.significant(value, 3)} {names[step]}".rstrip()


def _lane_units(lane: str, unit: str) -> tuple[str, ...]:
    return LANE_FORMATS.get(lane, (unit,) if unit else ("", "k", "M", "G"))


def _common_path(names: Sequence[str]) -> int:
    """Length of the path that all names begin with: a box of a layer shows what is left, which tells the layers apart."""
    if len(names) < 2:
        return 0
    first, last = min(names), max(names)  # what these two share, all share
    shared = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), min(len(first), len(last)))
    path = max(first.rfind("/", 0, shared), first.rfind(".", 0, shared)) + 1
    return path if path < min(map(len, names)) else 0


def _ordered(table: pd.DataFrame, length: str) -> pd.DataFrame:
    """``table`` in the order of time, the longer of two that start together first, without rows that have no time.

    What would end before it starts ends where it starts.
    """
    start, extent = table["start_ms"].to_numpy(), table[length].to_numpy()
    order = np.lexsort((-extent, start))
    rows: pd.DataFrame = table.iloc[order[np.isfinite(start[order]) & np.isfinite(extent[order])]].reset_index(drop=True)
    rows[length] = np.maximum(rows[length], rows["start_ms"] if length == "end_ms" else 0.0)
    return rows


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    return np.arange(n) if n <= most else np.arange(most) * n // most


def _thinned(runs: NDArray[np.int64], outlier: NDArray[np.bool_]) -> NDArray[np.int64]:
    """At most `MOST_RUNS` of ``runs`` and every outlier among them."""
    if len(runs) <= MOST_RUNS:
        return runs
    return np.union1d(runs[_evenly(len(runs), MOST_RUNS)], runs[outlier])


def _small(values: Any) -> NDArray[Any]:
    """Whole numbers from 0 on in the smallest type that base.js reads."""
    numbers = np.asarray(values)
    top = int(numbers.max(initial=0))
    return numbers.astype(np.uint8 if top < 1 << 8 else np.uint16 if top < 1 << 16 else np.float64)


def _window_rows(windows: pd.DataFrame, most: int = 3) -> NDArray[np.int64]:
    """Row of each window, so that windows which hold others stand above them; beyond ``most`` rows the last is shared."""
    rows, ends = np.zeros(len(windows), np.int64), [-math.inf] * most
    for i, (start, end) in enumerate(zip(windows["start_ms"], windows["end_ms"], strict=True)):
        free = next((row for row in range(most) if ends[row] <= start + _CLOCK_MS), most - 1)
        rows[i], ends[free] = free, max(ends[free], end)
    return rows


def _depths(layers: pd.DataFrame, most: int = 3) -> NDArray[np.int64]:
    """How many control-flow layers each layer runs inside."""
    parents = dict(zip(layers["name"], layers["parent"], strict=True))
    depths = np.zeros(len(layers), np.int64)
    for i, parent in enumerate(layers["parent"]):
        at = parent
        while at and depths[i] < most:
            depths[i] += 1
            at = parents.get(at, "")
    return depths


def _channel(k: int, s: Series) -> dict[str, Any]:
    known = s.value[~np.isnan(s.value)]
    return {
        "series": k,
        "title": s.title,
        "scope": s.scope,
        "sensor": s.sensor,
        "names": list(s.channels),
        "counter": s.counter,
        "total": s.total,
        "range": [float(known.min()), float(known.max())] if len(known) else None,
        "readings": len(s),
        "failed": int(np.isnan(s.value).sum()),
    }


def _sensor_notes(profile: Profile) -> Iterator[str]:
    """A sentence a sensor: how fast it was read, what it missed, what was wrong with it. Last what sampling cost."""
    for use in profile.context.sensors:
        readings = f"{use.samples:,} readings".replace(",", "\u202f") if use.samples else ""
        said = ", ".join(part for part in (_rate(use), readings, f"{use.missed} missed" if use.missed else "") if part)
        yield f"{use.name}: {said or 'not read'}{f' – {use.problem}' if use.problem else ''}"
    if profile.context.sampling_cpu_share is not None:
        yield f"sampling took {units.share(profile.context.sampling_cpu_share)} of one CPU"


def _rate(use: SensorUse) -> str:
    if use.achieved_hz is None:
        return f"{use.rate_hz:g} Hz aimed at" if use.rate_hz is not None else ""
    aimed = "" if use.rate_hz is None else f" of {use.rate_hz:g}"
    return f"{units.significant(use.achieved_hz, 3)}{aimed} Hz"


def _themes(op_types: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Colours of op types, phases and lines in each theme."""
    shared = themes(op_types)
    return {
        name: {
            "ops": shared[name]["ops"],
            "phases": PHASE_COLORS[name],
            "lines": [theme.families[family] for family in _LINE_FAMILIES],
        }
        for name, theme in THEMES.items()
    }
