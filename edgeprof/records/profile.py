"""The central type: a `Profile` is one table, one row a layer, with where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import pandas as pd

from edgeprof.models.fates import Fate
from edgeprof.models.graph import Graph
from edgeprof.records import schema
from edgeprof.records.board_state import clean
from edgeprof.records.context import RunContext

Origin = Literal["measured", "estimated", "replayed", "imported", "simulated"]


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

    ``layers`` has exactly `schema.COLUMNS`, the other tables exactly theirs (`schema.TABLES`). The constructor checks that and
    copies the tables; functions return new Profiles. ``graph`` is the original model without weights, ``nodes`` says what became of
    each of its nodes. ``parent`` is the sha256 of the model this one was made from.
    """

    layers: pd.DataFrame
    context: RunContext
    origin: Origin = "measured"
    parent: str | None = None
    runs: pd.DataFrame = field(default_factory=lambda: empty_table("runs"))
    spans: pd.DataFrame = field(default_factory=lambda: empty_table("spans"))
    samples: pd.DataFrame = field(default_factory=lambda: empty_table("samples"))
    windows: pd.DataFrame = field(default_factory=lambda: empty_table("windows"))
    tensors: pd.DataFrame = field(default_factory=lambda: empty_table("tensors"))
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
    def basis(self) -> Origin:
        """How the numbers came about: ``origin``, or that of the recording which was replayed."""
        recorded = self.context.recorded_origin
        return next((one for one in get_args(Origin) if one == recorded), self.origin) if self.origin == "replayed" else self.origin

    @property
    def measured_layers(self) -> pd.DataFrame:
        """``layers`` without the `schema.BETWEEN_LAYERS` row."""
        return self.layers[self.layers["kind"] != "between"]

    def __repr__(self) -> str:
        return f"<Profile {clean(self.title, 500)}: {len(self.measured_layers)} layers, {len(self.runs)} runs>"


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
