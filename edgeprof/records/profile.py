"""The central type: a `Profile` is one table, one row a layer, with where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from edgeprof.models.fates import Fate
from edgeprof.models.graph import Graph
from edgeprof.records import schema

Origin = Literal["measured", "estimated", "replayed", "imported"]


@dataclass(frozen=True)
class Finding:
    """Something a reader of the numbers must know.

    ``id`` is stable and meant for machines (``drift``, ``governor-not-fixed``), ``text`` is one sentence for people.
    """

    id: str
    severity: Literal["info", "warning", "error"]
    text: str
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Latency:
    """End-to-end latency of the plain (not instrumented) runs, in ms. None is not measured."""

    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    runs: int = 0


@dataclass(frozen=True)
class Instrument:
    """How the runtime's profiler changed what it measured, and the correction used (see docs/method.md).

    The time that the profiler spends inside a layer's own time is ``(base_ratio + tensor_ratio * tensors) * gap``: ``tensors``
    are the layer's inputs and outputs, ``gap`` the time from one event's end to the next one's start, which the profiler spends
    too and which is seen in the model's own trace. The two ratios are fitted on the board with nets of tiny nodes, run
    among the model's runs. ``gap_us`` and ``offset_us`` are the medians over layers, ``resolution_us`` the step of the
    runtime's durations, which it rounds down. All None when there was no calibration: then nothing was corrected.
    """

    method: str = "none"
    base_ratio: float | None = None
    tensor_ratio: float | None = None
    gap_us: float | None = None
    offset_us: float | None = None
    resolution_us: float | None = None
    instrumented_median_ms: float | None = None


@dataclass(frozen=True)
class RunContext:
    """Everything needed to read the numbers and to repeat them. None is not known or not measured."""

    model_name: str
    model_sha256: str = ""
    model_format: str = "onnx"
    model_bytes: int | None = None
    board: str = "local"
    runtime: str = ""
    runtime_version: str = ""
    providers: tuple[str, ...] = ()
    provider_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    threads: int | None = None
    optimization: str = "all"
    cpus: tuple[int, ...] | None = None
    runs: int = 0
    warmup_runs: int | None = None
    blocks: int | None = None
    sessions: int | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    input_source: str = "random"
    started_at: str = ""
    latency: Latency = Latency()
    load_ms: float | None = None
    first_run_ms: float | None = None
    instrument: Instrument = Instrument()
    closure: float | None = None
    peak_memory_bytes: Mapping[str, int] = field(default_factory=dict)
    energy_mj: float | None = None
    energy_method: str = ""
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    fingerprint_after: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeFate:
    """What became of one original node; ``layers`` are the names of the layers that carry it out."""

    node: str
    op_type: str
    fate: Fate
    layers: tuple[str, ...] = ()


def empty_table(name: str) -> pd.DataFrame:
    """The table ``name`` of `schema.TABLES` with no rows."""
    return pd.DataFrame({c.name: pd.Series(dtype=_storage_dtype(c.dtype)) for c in schema.TABLES[name]})


@dataclass(frozen=True, eq=False)
class Profile:
    """What was measured (or estimated) of one model on one board with one setting.

    ``layers`` has exactly `schema.COLUMNS`, ``runs``, ``spans`` and ``samples`` exactly theirs (`schema.TABLES`). The
    constructor checks that and copies the tables; functions return new Profiles. ``graph`` is the original model without
    weights, ``nodes`` says what became of each of its nodes. ``parent`` is the sha256 of the model this one was made from.
    """

    layers: pd.DataFrame
    context: RunContext
    origin: Origin = "measured"
    parent: str | None = None
    runs: pd.DataFrame = field(default_factory=lambda: empty_table("runs"))
    spans: pd.DataFrame = field(default_factory=lambda: empty_table("spans"))
    samples: pd.DataFrame = field(default_factory=lambda: empty_table("samples"))
    graph: Graph | None = None
    nodes: tuple[NodeFate, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        for name in schema.TABLES:
            object.__setattr__(self, name, checked_table(name, getattr(self, name)))

    def save(self, path: str) -> None:
        """Writes the bundle ``path`` (see `edgeprof.records.bundle`)."""
        from edgeprof.records.bundle import save

        save(self, path)

    @property
    def title(self) -> str:
        """``model on board, runtime version, threads, origin``: what every view says first."""
        context = self.context
        threads = "" if context.threads is None else f", {context.threads} thread{'s' * (context.threads != 1)}"
        runtime = f"{context.runtime} {context.runtime_version}".strip()
        return f"{context.model_name} on {context.board}, {runtime}{threads}, {self.origin}"

    @property
    def measured_layers(self) -> pd.DataFrame:
        """``layers`` without the `schema.BETWEEN_LAYERS` row."""
        return self.layers[self.layers["kind"] != "between"]

    def __repr__(self) -> str:
        return f"<Profile {self.title}: {len(self.measured_layers)} layers, {len(self.runs)} runs>"


def checked_table(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A copy of ``table`` with the schema's column order and types; ValueError when columns differ."""
    columns = schema.TABLES[name]
    expected, came = [c.name for c in columns], list(table.columns)
    if sorted(expected) != sorted(map(str, came)):
        missing, extra = sorted(set(expected) - set(came)), sorted(set(came) - set(expected))
        raise ValueError(f"table {name!r}: missing columns {missing}, unknown columns {extra}")
    copy = {}
    for c in columns:
        values = table[c.name]
        if c.dtype == "list":
            copy[c.name] = pd.Series([list(v) for v in values], index=table.index, dtype=object)
        elif c.dtype == "str":
            copy[c.name] = values.fillna("").astype("str")
        else:
            copy[c.name] = values.astype(np.dtype(c.dtype))
    return pd.DataFrame(copy).reset_index(drop=True)


def _storage_dtype(dtype: str) -> str:
    return {"list": "object", "str": "str"}.get(dtype, dtype)
