"""Profiles with tensors for tests of memory: one made by hand, and all kinds of them for laws."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from edgeprof.records.context import Memory
from edgeprof.records.trace import ProcessMemory
from edgeprof.testing import make_profile

NAN = math.nan


def tensor_table(rows):
    """Rows are (tensor, kind, size_bytes, producer, last_use, storage)."""
    names = ("tensor", "kind", "size_bytes", "producer", "last_use", "storage")
    table = pd.DataFrame(rows, columns=list(names)).astype({"size_bytes": float})
    return table.assign(dtype="float32", shape="", at_peak=False).astype(dict.fromkeys(("producer", "last_use", "storage"), np.int32))


def with_memory(rows, *, live=None, peak=None, workspace=None, layers=None, memory=None, origin="measured", **columns):
    """A Profile of ``layers`` layers whose tensors are ``rows``; the others are columns of the layer table."""
    given = {"live_memory_bytes": live, "peak_memory_bytes": peak, "workspace_bytes": workspace}
    given = {name: values for name, values in given.items() if values is not None}
    n = layers or len(next(iter(given.values())))
    profile = make_profile([0.1] * n, runs=0, origin=origin, **given, **columns)
    context = replace(profile.context, memory=memory or Memory())
    return replace(profile, context=context, tensors=tensor_table(rows))


def residual(**changes):
    """Four layers: a convolution, an activation in place of it, a second convolution, and a sum in place of the first.

    The runtime holds 40 bytes more than the tensors while the second convolution runs, which takes 32 bytes for itself.
    """
    rows = [
        ("x", "input", 100, -1, 0, 0),
        ("a", "activation", 400, 0, 1, 1),
        ("b", "activation", 400, 1, 3, 1),
        ("c", "activation", 160, 2, 3, 3),
        ("y", "output", 400, 3, 3, 1),
    ]
    numbers = {
        "live": [400, 400, 600, 560],
        "peak": [464, 400, 632, 560],
        "workspace": [64, 0, 32, 0],
        "name": ["conv1", "relu", "conv2", "add"],
    }
    process = {"load": ProcessMemory(50_000, 60_000), "steady": ProcessMemory(55_000, 58_000)}
    sources = {"live_memory_bytes": "events", "peak_memory_bytes": "events", "workspace_bytes": "statistics"}
    memory = Memory(sources, 632.0, "conv2", process=process)
    return with_memory(rows, **({"memory": memory, "op_type": ["Conv", "Relu", "Conv", "Add"]} | numbers | changes))


sizes = st.integers(0, 1 << 40).map(float) | st.just(NAN)


@st.composite
def memory_profiles(draw, *, most_layers=8, most_tensors=12, any_storage=False):
    """Profiles of all kinds: measured or not, sizes known or not, tensors in place of earlier ones, or none at all."""
    n = draw(st.integers(1, most_layers))
    rows = []
    for i in range(draw(st.integers(0, most_tensors))):
        producer = draw(st.integers(-1, n - 1))
        kind = "input" if producer < 0 else draw(st.sampled_from(["activation", "output"]))
        storage = draw(st.integers(-9, 99) if any_storage else st.integers(0, i))
        rows.append((f"t{i}", kind, draw(sizes), producer, draw(st.integers(producer, n - 1)), storage))
    columns = {name: draw(st.none() | st.lists(sizes, min_size=n, max_size=n)) for name in ("live", "peak", "workspace")}
    said = draw(st.none() | st.integers(0, 1 << 41).map(float))
    sources = draw(st.sampled_from([{}, {"peak_memory_bytes": "events"}, {"peak_memory_bytes": "shapes: an estimate"}]))
    memory = Memory(sources, said, draw(st.sampled_from(["", "/block0/conv_0", "elsewhere"])))
    return with_memory(rows, layers=n, memory=memory, **columns)
