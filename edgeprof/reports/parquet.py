"""Parquet report: the layer tables of all profiles as one typed table."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from edgeprof._version import __version__
from edgeprof.records.profile import Profile
from edgeprof.records.schema import LAYER_COLUMNS, SCHEMA_VERSION
from edgeprof.reports.tables import ID_COLUMNS, layer_table, plain


def render(profiles: Sequence[Profile]) -> bytes:
    """Typed columns, ``source_nodes`` a list of strings, not measured is null.

    The contexts stand in the file's metadata under ``edgeprof``, as JSON.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = layer_table(profiles)
    schema = pa.schema([*_id_fields(pa), *(pa.field(c.name, _arrow_type(pa, c.dtype)) for c in LAYER_COLUMNS)])
    arrays = [pa.array(table[field.name].tolist(), field.type, from_pandas=True) for field in schema]
    about = {
        "schema_version": SCHEMA_VERSION,
        "generator": f"edgeprof {__version__}",
        "profiles": [{"title": p.title, "parent": p.parent, "context": plain(p.context)} for p in profiles],
    }
    metadata = {"edgeprof": json.dumps(about, allow_nan=False)}
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema.with_metadata(metadata)), buffer, compression="zstd")
    return buffer.getvalue()


def _id_fields(pa: Any) -> list[Any]:
    types = {"profile": pa.int64(), "threads": pa.float64()}
    return [pa.field(name, types.get(name, pa.string())) for name in ID_COLUMNS]


def _arrow_type(pa: Any, dtype: str) -> Any:
    types = {"str": pa.string(), "list": pa.list_(pa.string()), "int64": pa.int64(), "float64": pa.float64()}
    return types[dtype]
