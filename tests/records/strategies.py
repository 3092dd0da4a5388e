"""Hypothesis strategies for records: Profiles of any size with odd names, NaN and infinite numbers."""

import dataclasses

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from edgeprof.models.graph import DTYPE_BITS, Graph, Layer, TensorInfo
from edgeprof.records import schema
from edgeprof.records.context import Energy, EnergyGroupUse, Instrument, Latency, Memory, RunContext, Thermal
from edgeprof.records.profile import Finding, NodeFate, Profile
from edgeprof.records.sensing import Channel, SensorUse
from edgeprof.records.trace import ProcessMemory

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
numbers = st.floats(allow_nan=True, allow_infinity=True)
measured = st.none() | st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**40)
int64s = st.integers(-(2**63), 2**63 - 1)

_cells = {
    "int64": int64s,
    "int32": st.integers(-(2**31), 2**31 - 1),
    "float64": numbers,
    "float32": st.floats(width=32),
    "bool": st.booleans(),
    "str": text,
    "list": st.lists(text, max_size=3),
}


@st.composite
def tables(draw, name, max_size=6):
    """A table of `schema.TABLES` with any values its types allow."""
    rows = draw(st.integers(0, max_size))
    columns = {}
    for c in schema.TABLES[name]:
        values = draw(st.lists(_cells[c.dtype], min_size=rows, max_size=rows))
        dtype = {"str": "str", "list": "object"}.get(c.dtype, c.dtype)
        columns[c.name] = pd.Series(values, dtype=dtype)
    return pd.DataFrame(columns)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(text, json_values, max_size=3)

latencies = st.builds(Latency, *[measured] * 9, runs=counts)
instruments = st.builds(Instrument, method=text, **{f.name: measured for f in dataclasses.fields(Instrument) if f.default is None})
processes = st.builds(ProcessMemory, *[st.none() | counts] * 4)
memories = st.builds(
    Memory,
    sources=st.dictionaries(text, text, max_size=2),
    peak_bytes=measured,
    peak_layer=text,
    process=st.dictionaries(text, processes, max_size=2),
)
loops = st.builds(EnergyGroupUse, st.lists(text, max_size=2).map(tuple), *[measured] * 3, copies=counts, seconds=measured)
energies = st.builds(
    Energy,
    method=text,
    reason=text,
    channels=st.lists(text, max_size=2).map(tuple),
    idle_mw=measured,
    groups=st.lists(loops, max_size=2).map(tuple),
)
thermals = st.builds(Thermal, warm_s=measured, flat=st.none() | st.booleans(), throttled=st.lists(text, max_size=2).map(tuple))
channels = st.builds(Channel, text, text, st.sampled_from(["sample", "counter"]), text, text)
sensors = st.builds(SensorUse, text, st.lists(channels, max_size=2).map(tuple), measured, measured, counts, counts, text)
contexts = st.builds(
    RunContext,
    model_name=text,
    model_sha256=text,
    model_bytes=st.none() | counts,
    board=text,
    providers=st.lists(text, max_size=2).map(tuple),
    provider_options=st.dictionaries(text, st.dictionaries(text, text, max_size=2), max_size=2),
    threads=st.none() | counts,
    cpus=st.none() | st.lists(counts, max_size=3).map(tuple),
    input_shapes=st.dictionaries(text, st.lists(counts, max_size=4).map(tuple), max_size=2),
    latency=latencies,
    instrument=instruments,
    closure=measured,
    memory=memories,
    energy=energies,
    thermal=thermals,
    sensors=st.lists(sensors, max_size=2).map(tuple),
    sampling_cpu_share=measured,
    fingerprint=json_objects,
    fingerprint_after=json_objects,
    versions=st.dictionaries(text, text, max_size=2),
    scores=json_objects,
)

dims = st.none() | text | counts
tensors = st.builds(
    TensorInfo,
    text,
    st.sampled_from(["", "string", *DTYPE_BITS]),
    st.none() | st.lists(dims, max_size=4).map(tuple),
)
attributes = (
    int64s
    | st.floats(allow_nan=False)
    | text
    | st.binary(max_size=8)
    | st.lists(int64s, max_size=3).map(tuple)
    | st.lists(st.floats(allow_nan=False), min_size=1, max_size=3).map(tuple)
    | st.lists(text, min_size=1, max_size=3).map(tuple)
)
names = st.lists(text, max_size=3).map(tuple)
layers = st.builds(
    Layer,
    text,
    text,
    names,
    names,
    domain=text,
    attributes=st.dictionaries(text, attributes, max_size=3),
    given_name=text,
    parent=st.none() | text,
    branch=st.none() | text,
)
graphs = st.builds(
    Graph,
    text,
    st.lists(layers, max_size=3).map(tuple),
    st.lists(tensors, max_size=2).map(tuple),
    st.lists(tensors, max_size=2).map(tuple),
    st.dictionaries(text, tensors, max_size=3),
    initializers=st.frozensets(text, max_size=3),
    constants=st.dictionaries(text, st.lists(int64s, max_size=3).map(tuple), max_size=2),
    opsets=st.dictionaries(text, counts, max_size=2),
    producer=text,
    digest=text,
    file_bytes=counts,
    external_files=names,
    notes=names,
)

findings = st.builds(Finding, text, st.sampled_from(["info", "warning", "error"]), text, names)
fates = st.builds(NodeFate, text, text, st.sampled_from(["executed", "folded", "removed", "unattributed"]), names)


@st.composite
def profiles(draw):
    """Any Profile, its numbers and names without sense."""
    return Profile(
        draw(tables("layers")),
        draw(contexts),
        draw(st.sampled_from(["measured", "estimated", "replayed", "imported", "simulated"])),
        draw(st.none() | text),
        draw(tables("runs")),
        draw(tables("spans")),
        draw(tables("samples")),
        draw(tables("windows")),
        draw(tables("tensors")),
        draw(st.none() | graphs),
        tuple(draw(st.lists(fates, max_size=2))),
        tuple(draw(st.lists(findings, max_size=2))),
    )


def assert_same(a, b):
    """Equal in every table, NaN and types included, and in everything else."""
    for name in schema.TABLES:
        pd.testing.assert_frame_equal(getattr(a, name), getattr(b, name), check_exact=True)
        for c in schema.TABLES[name]:
            if c.dtype == "list":
                assert [list(v) for v in getattr(a, name)[c.name]] == [list(v) for v in getattr(b, name)[c.name]]
            elif c.is_metric:
                x, y = getattr(a, name)[c.name].to_numpy(), getattr(b, name)[c.name].to_numpy()
                assert np.array_equal(np.signbit(x[~np.isnan(x)]), np.signbit(y[~np.isnan(y)]))
    for name in ("context", "origin", "parent", "graph", "nodes", "findings"):
        assert getattr(a, name) == getattr(b, name)
