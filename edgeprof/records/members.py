"""The members of a bundle as bytes and back: ``profile.json``, ``graph.json`` and a parquet file a table.

Reading takes bytes from anywhere: JSON is checked against the types of the dataclasses, tables against `schema.TABLES` and `ROW_LIMITS`.
What does not fit raises `MemberError`, and nothing else does.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edgeprof.models.graph import AttributeValue, Graph, Layer, TensorInfo
from edgeprof.records import schema
from edgeprof.records.context import RunContext
from edgeprof.records.profile import Finding, NodeFate, Origin

ROW_LIMITS: Mapping[str, int] = {
    "layers": 1_000_000, "runs": 10_000_000, "spans": 50_000_000, "samples": 50_000_000, "windows": 1_000_000, "tensors": 10_000_000,
}  # fmt: skip
"""Rows that a table may claim to have; a few bytes of parquet can claim any number."""

TEXT_LIMIT = 1 << 30
"""Bytes that the strings of one column may have together once a dictionary is written out."""

_ARROW: Mapping[str, Any] = {
    "int64": pa.int64(), "int32": pa.int32(), "float64": pa.float64(), "float32": pa.float32(), "bool": pa.bool_(),
    "str": pa.string(), "list": pa.list_(pa.string()),
}  # fmt: skip

T = TypeVar("T")


class MemberError(Exception):
    """A member does not hold what it should; the text says how."""


class Header(msgspec.Struct, frozen=True):
    """``profile.json`` but for the schema version: everything of a Profile that is no table and no graph.

    ``members`` is the sha256 of each other member. A number that is NaN or infinite is null in the file and None after.
    """

    origin: Origin
    parent: str | None
    context: RunContext
    findings: tuple[Finding, ...]
    nodes: tuple[NodeFate, ...]
    members: dict[str, str]


class _LayerFile(msgspec.Struct, frozen=True):
    """A `Layer` with its attributes tagged by type."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    domain: str
    attributes: dict[str, _Attribute]
    given_name: str
    parent: str | None
    branch: str | None


class _GraphFile(msgspec.Struct, frozen=True):
    """A `Graph` as JSON."""

    name: str
    layers: tuple[_LayerFile, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    tensors: dict[str, TensorInfo]
    initializers: tuple[str, ...]
    constants: dict[str, tuple[int, ...]]
    format: str
    opsets: dict[str, int]
    ir_version: int
    producer: str
    path: str
    digest: str
    file_bytes: int
    external_files: tuple[str, ...]
    notes: tuple[str, ...]


class _Attribute(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attribute of a layer: exactly one of these is set. JSON has no infinity, so floats that are not finite are words."""

    i: int | None = None
    f: float | str | None = None
    s: str | None = None
    b: str | None = None
    ints: tuple[int, ...] | None = None
    floats: tuple[float | str, ...] | None = None
    strings: tuple[str, ...] | None = None


def header_bytes(header: Header) -> bytes:
    """``profile.json``, indented for people."""
    fields = {"schema_version": schema.SCHEMA_VERSION, **{name: getattr(header, name) for name in Header.__struct_fields__}}
    return msgspec.json.format(_json_bytes(fields), indent=1)


def header_from(fields: object) -> Header:
    """The header in decoded JSON of the current version."""
    return _converted(fields, Header)


def graph_bytes(graph: Graph) -> bytes:
    """``graph.json``."""
    fields = {name: getattr(graph, name) for name in _GraphFile.__struct_fields__}
    fields["initializers"] = sorted(graph.initializers)
    fields["layers"] = [_layer_fields(layer) for layer in graph.layers]
    return _json_bytes(fields)


def graph_from(fields: object) -> Graph:
    """The Graph in decoded JSON of the current version."""
    file = _converted(fields, _GraphFile)
    values = {name: getattr(file, name) for name in _GraphFile.__struct_fields__}
    layers = tuple(
        Layer(**{name: getattr(layer, name) for name in _LayerFile.__struct_fields__} | {"attributes": _attributes_from(layer)})
        for layer in file.layers
    )
    return Graph(**values | {"layers": layers, "initializers": frozenset(file.initializers)})


def json_from(data: bytes) -> dict[str, Any]:
    """A JSON object as a dict."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MemberError(str(error)) from error


def table_bytes(name: str, table: pd.DataFrame) -> bytes:
    """The table ``name`` of `schema.TABLES` as parquet: plain types, zstd, title, unit and meaning as metadata of each field."""
    columns = schema.TABLES[name]
    arrays = [_arrow_array(table[c.name], c.dtype) for c in columns]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=_arrow_schema(columns)), sink, compression="zstd")
    return sink.getvalue()


def empty_arrow(name: str) -> pa.Table:
    """The table ``name`` with no rows, for a bundle that is older than the table."""
    return _arrow_schema(schema.TABLES[name]).empty_table()


def arrow_from(name: str, data: bytes) -> pa.Table:
    """The parquet table in ``data``, its strings as dictionaries; its columns are not checked yet (it may be of an older version)."""
    return _guarded(lambda: _read_parquet(name, data))


def table_from(name: str, table: pa.Table) -> pd.DataFrame:
    """The table as pandas has it, once its columns are those of the current version."""
    return _guarded(lambda: _to_pandas(name, table))


def _read_parquet(name: str, data: bytes) -> pa.Table:
    texts = [c.name for c in schema.TABLES[name] if c.dtype == "str"]
    file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
    rows = [file.metadata.num_rows, sum(file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups))]
    if not 0 <= min(rows) <= max(rows) <= ROW_LIMITS[name]:
        raise MemberError(f"it claims {max(rows):,} rows; at most {ROW_LIMITS[name]:,} make sense")
    return file.read(use_threads=False)


def _to_pandas(name: str, table: pa.Table) -> pd.DataFrame:
    columns = schema.TABLES[name]
    if sorted(table.column_names) != sorted(c.name for c in columns):
        raise MemberError(f"its columns are {table.column_names}")
    for c in columns:
        _check_text(table.column(c.name))
    plain = table.select([c.name for c in columns]).cast(_arrow_schema(columns))
    if any(plain.column(c.name).null_count for c in columns):
        raise MemberError("a value is null")
    frame: pd.DataFrame = plain.to_pandas()
    return frame


def _check_text(column: Any) -> None:
    """MemberError when a dictionary's strings would need more than `TEXT_LIMIT` once written out."""
    if not pa.types.is_dictionary(column.type):
        return
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        total += pc.sum(lengths.cast(pa.int64()).take(chunk.indices)).as_py() or 0
    if total > TEXT_LIMIT:
        raise MemberError(f"its strings would need {total:,} bytes")


def _guarded(read: Callable[[], T]) -> T:
    try:
        return read()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as error:
        raise MemberError(str(error).strip().split("\n")[0] or type(error).__name__) from error


def _arrow_schema(columns: Iterable[schema.Column]) -> pa.Schema:
    fields = []
    for c in columns:
        metadata = {"title": c.title, "unit": c.unit, "meaning": c.meaning}
        fields.append(pa.field(c.name, _ARROW[c.dtype], metadata={key: text for key, text in metadata.items() if text}))
    return pa.schema(fields, metadata={"edgeprof.schema_version": str(schema.SCHEMA_VERSION)})


def _arrow_array(values: pd.Series[Any], dtype: str) -> Any:
    if dtype in ("str", "list"):
        return pa.array(values.tolist(), _ARROW[dtype])
    return pa.array(values.to_numpy(), _ARROW[dtype], from_pandas=False)  # NaN stays NaN and does not become null


def _layer_fields(layer: Layer) -> dict[str, Any]:
    fields = {name: getattr(layer, name) for name in _LayerFile.__struct_fields__}
    return fields | {"attributes": {name: _attribute(value) for name, value in layer.attributes.items()}}


def _attribute(value: AttributeValue) -> _Attribute:
    if isinstance(value, bytes):
        return _Attribute(b=base64.b64encode(value).decode())
    if isinstance(value, str):
        return _Attribute(s=value)
    if isinstance(value, float):
        return _Attribute(f=_float_out(value))
    if isinstance(value, int):
        return _Attribute(i=value)
    if value and all(isinstance(v, str) for v in value):
        return _Attribute(strings=tuple(str(v) for v in value))
    if any(isinstance(v, float) for v in value):
        return _Attribute(floats=tuple(_float_out(float(v)) for v in value))
    return _Attribute(ints=tuple(int(v) for v in value))


def _attributes_from(layer: _LayerFile) -> dict[str, AttributeValue]:
    return {name: _attribute_value(name, attribute) for name, attribute in layer.attributes.items()}


def _attribute_value(name: str, attribute: _Attribute) -> AttributeValue:
    values: list[AttributeValue] = [v for v in (attribute.i, attribute.s, attribute.ints, attribute.strings) if v is not None]
    try:
        if attribute.f is not None:
            values.append(float(attribute.f))
        if attribute.floats is not None:
            values.append(tuple(float(v) for v in attribute.floats))
        if attribute.b is not None:
            values.append(base64.b64decode(attribute.b, validate=True))
    except ValueError as error:
        raise MemberError(f"attribute {name!r}: {error}") from error
    if len(values) != 1:
        raise MemberError(f"attribute {name!r} has {len(values)} values")
    return values[0]


def _float_out(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _converted(fields: object, to: type[T]) -> T:
    try:
        return msgspec.convert(fields, to)
    except (msgspec.ValidationError, RecursionError) as error:
        raise MemberError(str(error)) from error


def _json_bytes(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MemberError(str(error)) from error


def _plain(value: object) -> object:
    """What stands in the JSON for a value of another library."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} cannot be saved")
