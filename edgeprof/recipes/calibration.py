"""Ranges of tensors on calibration data, with memory for one batch at a time however much data there is.

1. ``minmax``: smallest and largest value.
2. ``percentile``: ends that leave out 0.001 % of the values; ``entropy``: those whose histogram loses least when it is quantized
   (Kullback-Leibler; Migacz 2017). Both are ONNX Runtime's own, given histograms over the whole range that a first pass found.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof import apart, running
from edgeprof.datasets import Dataset
from edgeprof.recipes.recipe import Calibration

Array = NDArray[Any]
Ranges = dict[str, tuple[float, float]]

_BINS = {"entropy": 128, "percentile": 2048}
_PERCENTILE = 99.999


def ranges(model: Any, data: Dataset, names: Sequence[str], method: Calibration = "minmax") -> Ranges:
    """The smallest and largest value of each tensor of ``names``, which are float32; NaN or inf where the data makes it so.

    Raises:
        ModelError: the runtime refuses the model or fails on a sample.
    """
    passes = 1 if method == "minmax" else 2
    found: Ranges = dict.fromkeys(names, (0.0, 0.0))
    seen: set[str] = set()
    for values in _values(model, data, names, passes, 0):
        for name, array in values.items():
            if array.size:
                low, high = float(array.min()), float(array.max())
                before = found[name] if name in seen else (low, high)
                found[name] = float(np.minimum(before[0], low)), float(np.maximum(before[1], high))  # NaN stays NaN
                seen.add(name)
    if method == "minmax":
        return found
    sure = [name for name in names if name in seen and np.isfinite(found[name]).all() and found[name] != (0.0, 0.0)]
    return found | _narrowed(found, _values(model, data, sure, passes, 1), sure, method)


def _narrowed(found: Ranges, batches: Iterator[dict[str, Array]], names: Sequence[str], method: Calibration) -> Ranges:
    from onnxruntime.quantization.calibrate import HistogramCollector

    bins = _BINS[method]
    ends = {name: max(abs(low), abs(high)) for name, (low, high) in found.items()}
    counts = {name: np.zeros(bins, np.int64) for name in names}
    for values in batches:
        for name, array in values.items():
            counts[name] += np.histogram(array, bins, range=(-ends[name], ends[name]))[0]
    collector = HistogramCollector(
        method=method, symmetric=False, num_bins=bins, num_quantized_bins=128, percentile=_PERCENTILE, scenario="same"
    )
    for name in names:
        edges = np.linspace(-ends[name], ends[name], bins + 1, dtype=np.float32)
        low, high = (np.float32(end) for end in found[name])
        collector.histogram_dict[name] = (counts[name], edges, low, high, np.float32(ends[name]))
    if not names:
        return {}
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of its progress
        chosen = collector.compute_collection_result()
    return {name: (float(np.ravel(chosen[name][0])[0]), float(np.ravel(chosen[name][1])[0])) for name in names}


def _values(model: Any, data: Dataset, names: Sequence[str], passes: int, number: int) -> Iterator[dict[str, Array]]:
    """The tensors, a batch at a time. Those that the model is fed with are not asked of it."""
    fed = {entry.name for entry in model.graph.input}
    asked = [name for name in names if name not in fed]
    if not names:
        return
    session = running.open_session(running.with_outputs(model, asked).SerializeToString()) if asked else None
    done = 0
    for feed, count in data.batches():
        values = {name: np.asarray(feed[name]) for name in names if name in fed}
        if session is not None:
            values |= dict(zip(asked, running.run(session, asked, feed), strict=True))
        yield values
        done += count
        apart.tell("calibrate", number * len(data) + done, passes * len(data))
