"""The layer tables of several profiles as one, and values as plain data: what the CSV, JSON, Parquet and Excel reports share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgeprof.records.profile import Profile

ID_COLUMNS: dict[str, str] = {
    "profile": "Position of the profile in the report, from 0.",
    "model": "File name of the model.",
    "board": "Board it ran on.",
    "runtime": "Runtime and its version.",
    "threads": "Threads the runtime was given.",
    "origin": "measured, estimated, replayed or imported.",
    "started_at": "When the measurement started (ISO 8601).",
}
"""Columns that stand before the layer columns and say which profile a row is of."""


def layer_table(profiles: Sequence[Profile]) -> pd.DataFrame:
    """All layers of all profiles, `ID_COLUMNS` first, then exactly `schema.COLUMNS`."""
    return pd.concat([_with_ids(i, profile) for i, profile in enumerate(profiles)], ignore_index=True)


def _with_ids(position: int, profile: Profile) -> pd.DataFrame:
    context = profile.context
    ids = pd.DataFrame({
        "profile": position, "model": context.model_name, "board": context.board,
        "runtime": f"{context.runtime} {context.runtime_version}".strip(),
        "threads": math.nan if context.threads is None else float(context.threads),
        "origin": profile.origin, "started_at": context.started_at,
    }, index=profile.layers.index)  # fmt: skip
    return pd.concat([ids, profile.layers], axis=1)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One dictionary a row; NaN is None."""
    columns = [[plain(value) for value in table[name].tolist()] for name in table.columns]
    return [dict(zip(map(str, table.columns), row, strict=True)) for row in zip(*columns, strict=True)]


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: dataclasses and mappings as objects, NaN and infinity as None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(item) for item in value]
    return str(value)
