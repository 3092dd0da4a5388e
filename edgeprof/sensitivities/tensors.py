"""`tensor_error`: one tensor in float and in 8 bits, value by value, over real data: ranges, percentiles, histograms, what is clipped.

The other value is what layers read in the quantized model, behind DequantizeLinear. In the whole model (``mode="all"``) it holds what went
wrong before it as well; with ``mode="only"`` the layer alone is quantized and only its own rounding and clipping is seen.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from html import escape
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeprof import units
from edgeprof.analysis.names import shorten
from edgeprof.errors import UsageError, did_you_mean
from edgeprof.models.graph import Graph
from edgeprof.recipes.recipe import Quantization
from edgeprof.scoring import MOST_DB
from edgeprof.sensitivities import bench
from edgeprof.sensitivities.bench import Setup
from edgeprof.sensitivities.result import show_db
from edgeprof.sensitivities.trials import ALL, Trial
from edgeprof.workshop import CALIBRATION, Told, Workshop

Array = NDArray[Any]
Part = Literal["output", "input", "weights"]
BINS = 80
PERCENTILES = (0.1, 1.0, 25.0, 50.0, 75.0, 99.0, 99.9)
SAMPLES = 64


@dataclass(frozen=True, eq=False)
class TensorError:
    """A tensor in float and as its readers get it from the quantized model.

    ``low``, ``high``: what the 8 bits can hold, NaN where the tensor is not quantized or each channel has its own scale. ``clipped``: part
    of the float values outside of that. ``scale``, ``zero_point``: one, or one for each channel; empty where it stays float.
    ``edges``: (bins + 1,); ``float_counts``, ``quantized_counts``: (bins,), both over the same bins. ``percentiles``: percent to
    (float, quantized).
    """

    tensor: str
    layer: str
    part: Part
    mode: str
    dtype: str
    n: int
    float_range: tuple[float, float]
    quantized_range: tuple[float, float]
    low: float
    high: float
    clipped: float
    sqnr_db: float
    levels: int
    scale: Array = field(repr=False)
    zero_point: Array = field(repr=False)
    edges: Array = field(repr=False)
    float_counts: Array = field(repr=False)
    quantized_counts: Array = field(repr=False)
    percentiles: Mapping[float, tuple[float, float]] = field(repr=False)

    @property
    def is_quantized(self) -> bool:
        """Whether the tensor is in 8 bits at all."""
        return bool(len(self.scale))

    def facts(self) -> list[str]:
        """What is to say of it, in short."""
        channels = f", {len(self.scale)} scales" if len(self.scale) > 1 else f", scale {self.scale[0]:.3g}" if len(self.scale) else ""
        found = [f"{self.dtype}{channels}" if self.is_quantized else "stays float", f"SQNR {show_db(self.sqnr_db)}"]
        found.append(f"float {self.float_range[0]:.4g} to {self.float_range[1]:.4g}")
        found.append(f"quantized {self.quantized_range[0]:.4g} to {self.quantized_range[1]:.4g}")
        if not math.isnan(self.low):
            found.append(f"8 bits hold {self.low:.4g} to {self.high:.4g}, {units.share(self.clipped)} clipped")
        return [*found, f"{self.levels} different values of {self.n:,}"] if self.is_quantized else [*found, f"{self.n:,} values"]

    def record(self) -> dict[str, Any]:
        """All of it as plain data; NaN is None."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        percentiles = [{"percent": percent, "float": a, "quantized": b} for percent, (a, b) in self.percentiles.items()]
        return {name: _plain(value) for name, value in told.items()} | {"percentiles": percentiles}

    def __repr__(self) -> str:
        return f"<TensorError of '{shorten(self.tensor)}' ({self.part} of {shorten(self.layer)}): {'; '.join(self.facts())}>"

    def _repr_html_(self) -> str:
        head = "<tr><th>Percentile</th><th>Float</th><th>Quantized</th></tr>"
        body = "".join(f"<tr><td>{percent:g} %</td><td>{a:.4g}</td><td>{b:.4g}</td></tr>" for percent, (a, b) in self.percentiles.items())
        return f"<p>{escape(repr(self)[1:-1])}</p><table><thead>{head}</thead><tbody>{body}</tbody></table>"


def tensor_error(
    model: str | os.PathLike[str] | Graph | Workshop,
    tensor: str,
    *,
    data: Any = None,
    part: Part | None = None,
    mode: Literal["all", "only"] = "all",
    samples: int = SAMPLES,
    calibration: Any = CALIBRATION,
    quantization: Quantization | None = None,
    bins: int = BINS,
    told: Told | None = None,
) -> TensorError:
    """One tensor of ``model`` in float and int8.

    Args:
        model: path of an ONNX model, its Graph, or a Workshop, which brings its data along.
        tensor: the name of a tensor, weights included, or of a layer. A Relu or Clip that is part of an 8-bit layer gives its output.
        data: samples; part calibrates, of the rest ``samples`` are run.
        part: of a layer: its ``output`` (default), first ``input`` or ``weights``.
        mode: ``all`` layers are quantized, or ``only`` the one that makes (weights: reads) the tensor.
        samples: how many to run.
        calibration: as of `Workshop`.
        quantization: how int8 is made.
        bins: of the histograms.
        told: hears of progress.

    Raises:
        UsageError: there is no such tensor or layer, or an option makes no sense.
        EdgeprofError: the model cannot be quantized or run.
    """
    if mode not in ("all", "only") or part not in (None, "output", "input", "weights") or bins < 1 or samples < 1:
        raise UsageError("mode is 'all' or 'only', part 'output', 'input' or 'weights', bins and samples are 1 or more.")
    if isinstance(model, Workshop):
        return _with(model, tensor, part, mode, samples, quantization, bins, told)
    with Workshop(model, data=data, calibration=calibration) as shop:
        return _with(shop, tensor, part, mode, samples, quantization, bins, told)


def _with(
    shop: Workshop, tensor: str, part: Part | None, mode: str, samples: int, settings: Quantization | None, bins: int, told: Told | None
) -> TensorError:
    if shop.data is None:
        raise UsageError("A tensor's values need data: samples that are like those in use. Give some: data=...")
    layer, found, index = place_of(tensor, part, shop.graph)
    follow = found == "output" and layer == tensor
    setup = Setup(
        shop.graph.path, shop.graph, shop.data.take(samples, 0), shop.calibration, settings or Quantization(), shop.target, "sqnr_db"
    )
    return shop.worker.call(_compared, setup, layer, found, index, mode, bins, follow, told=told)


def place_of(tensor: str, part: Part | None, graph: Graph) -> tuple[str, Part, int]:
    """Layer, part and position of what ``tensor`` names. UsageError when it names nothing."""
    layers = [layer for layer in graph.layers if layer.parent is None]
    named = next((layer for layer in layers if layer.name == tensor), None)
    if named is not None:
        if part != "weights":
            return named.name, part or "output", 0
        stored = [index for index, name in enumerate(named.inputs) if name in graph.initializers]
        if not stored:
            raise UsageError(f"'{tensor}' has no stored weights. Name another layer, or a tensor.")
        return named.name, "weights", stored[0]
    for layer in layers:
        if tensor in layer.outputs:
            return layer.name, "output", layer.outputs.index(tensor)
        if tensor in layer.inputs and (tensor in graph.initializers or any(tensor == one.name for one in graph.inputs)):
            return layer.name, "weights" if tensor in graph.initializers else "input", layer.inputs.index(tensor)
    known = [layer.name for layer in layers] + [name for layer in layers for name in (*layer.outputs, *layer.inputs) if name]
    raise UsageError(f"{graph.name} has no layer or tensor '{tensor}'{did_you_mean(tensor, known)}.")


def _compared(setup: Setup, layer: str, part: Part, index: int, mode: str, bins: int, follow: bool) -> TensorError:
    """In the process apart. ``follow``: of a layer whose activation is rounded along with it, what that gives."""
    from edgeprof.recipes.kernels import ACTIVATIONS
    from edgeprof.recipes.wiring import Wiring

    own = bench.Bench(setup)
    every = own.survey("int8").every
    trial = Trial("int8", "all", ALL) if mode == "all" else Trial("int8", "only", layer)
    quantized, reason = own.make(trial, every)
    if reason:
        raise UsageError(f"'{layer}' cannot be int8 by itself: {reason}. Compare it in the whole model: mode='all'.")
    before = own.float_model(every)
    floats, wiring = Wiring(before), Wiring(quantized)
    left, right = floats.node(layer), wiring.node(layer)
    if left is None or right is None:
        raise UsageError(f"'{layer}' is folded into the layer before and has no tensor of its own in int8. Name that layer.")
    readers = wiring.readers.get(right.output[0], [])
    if follow and len(readers) == 1 and readers[0].op_type in ACTIVATIONS:
        left, right, layer = floats.node(readers[0].name), readers[0], readers[0].name
    name = str((left.output if part == "output" else left.input)[index])
    other = _read_by(wiring, str(right.output[index])) if part == "output" else str(right.input[index])
    scale, zero, dtype = _grid(wiring, other)
    if part == "weights":
        values = floats.constant(name)
        if values is None:
            raise UsageError(f"'{name}' of '{layer}' is not constant. Name it as an input.")
        batches = [(np.asarray(values, np.float64), _widened(wiring, other, values))]
        measured = _measured(lambda: iter(batches), bins, scale, zero, dtype)
    else:
        measured = _measured(lambda: _values(before, quantized, name, other, setup), bins, scale, zero, dtype)
    return TensorError(tensor=name, layer=layer, part=part, mode=mode, dtype=dtype, scale=scale, zero_point=zero, **measured)


def _read_by(wiring: Any, output: str) -> str:
    """The tensor that stands for a layer's output in the quantized model: what DequantizeLinear makes of it, where there is one."""
    rounder = next((node for node in wiring.readers.get(output, []) if node.op_type == "QuantizeLinear"), None)
    wideners = [] if rounder is None else [node for node in wiring.readers.get(rounder.output[0], []) if node.op_type == "DequantizeLinear"]
    return str(wideners[0].output[0]) if wideners else output


def _grid(wiring: Any, name: str) -> tuple[Array, Array, str]:
    """Scale, zero point and type of a tensor that DequantizeLinear makes; empty ones of any other."""
    maker = wiring.maker.get(name)
    if maker is None or maker.op_type != "DequantizeLinear":
        return np.zeros(0), np.zeros(0), ""
    scale = wiring.constant(maker.input[1])
    zero = wiring.constant(maker.input[2]) if len(maker.input) > 2 and maker.input[2] else None
    if scale is None:
        return np.zeros(0), np.zeros(0), ""
    kind = zero.dtype.name if zero is not None else "uint8"
    zeros = np.zeros_like(np.atleast_1d(scale)) if zero is None else np.atleast_1d(zero)
    return np.atleast_1d(scale).astype(np.float64), zeros.astype(np.int64), kind


def _widened(wiring: Any, name: str, values: Array) -> Array:
    """A stored tensor as the quantized model reads it: through DequantizeLinear, or as it is."""
    maker = wiring.maker.get(name)
    if maker is None or maker.op_type != "DequantizeLinear":
        found = wiring.constant(name)
        return np.asarray(values if found is None else found, np.float64)
    from edgeprof.recipes.wiring import attribute

    stored = np.asarray(wiring.constant(maker.input[0]), np.float64)
    scale, zero, _ = _grid(wiring, name)
    shape = [1] * stored.ndim
    if len(scale) > 1:
        shape[attribute(maker, "axis", 1)] = len(scale)
    return np.asarray((stored - zero.reshape(shape)) * scale.reshape(shape))


def _values(before: Any, quantized: Any, name: str, other: str, setup: Setup) -> Any:
    """The tensor in both models, a batch at a time."""
    from edgeprof import running

    fed = {entry.name for entry in before.graph.input}
    sessions = [
        None if one in fed else running.open_session(running.with_outputs(model, [one]).SerializeToString())
        for model, one in ((before, name), (quantized, other))
    ]
    for feed, _ in setup.data.batches():
        pair = [
            np.asarray(feed[one] if session is None else running.run(session, [one], feed)[0], np.float64)
            for session, one in zip(sessions, (name, other), strict=True)
        ]
        yield pair[0], pair[1]


def _measured(batches: Any, bins: int, scale: Array, zero: Array, dtype: str) -> dict[str, Any]:
    """Two passes: ranges and powers, then histograms over the range of both. Percentiles are read from a fine histogram."""
    ends = np.array([[math.inf, -math.inf]] * 2)
    signal = noise = 0.0
    n = 0
    for pair in batches():
        for side, values in enumerate(pair):
            if values.size:
                ends[side] = min(ends[side][0], values.min()), max(ends[side][1], values.max())
        signal, noise, n = signal + float((pair[0] ** 2).sum()), noise + float(((pair[0] - pair[1]) ** 2).sum()), n + pair[0].size
    if not n or not np.isfinite(ends).all():
        raise UsageError("The tensor has no values, or some that are not finite; nothing can be said of it.")
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    high = high if high > low else low + 1.0
    grid = _holds(scale, zero, dtype)
    fine = bins * max(1, 8000 // bins)
    counts = np.zeros((2, fine), np.int64)
    clipped, levels = 0, np.zeros(0)
    for pair in batches():
        for side, values in enumerate(pair):
            counts[side] += np.histogram(values, fine, range=(low, high))[0]
        if not math.isnan(grid[0]):
            step = float(scale[0]) / 2
            clipped += int(((pair[0] < grid[0] - step) | (pair[0] > grid[1] + step)).sum())
        levels = np.unique(np.concatenate([levels, np.unique(pair[1].astype(np.float32))]))[:100_000]
    edges = np.linspace(low, high, fine + 1)
    coarse = counts.reshape(2, bins, -1).sum(axis=2)
    return {
        "n": n, "float_range": (float(ends[0][0]), float(ends[0][1])), "quantized_range": (float(ends[1][0]), float(ends[1][1])),
        "low": grid[0], "high": grid[1], "clipped": clipped / n if not math.isnan(grid[0]) else math.nan, "levels": len(levels),
        "sqnr_db": MOST_DB if noise == 0 else 10 * math.log10(signal / noise) if signal > 0 else math.nan,
        "edges": edges[:: fine // bins], "float_counts": coarse[0], "quantized_counts": coarse[1],
        "percentiles": {one: (_percentile(counts[0], edges, one), _percentile(counts[1], edges, one)) for one in PERCENTILES},
    }  # fmt: skip


def _holds(scale: Array, zero: Array, dtype: str) -> tuple[float, float]:
    if len(scale) != 1 or dtype not in ("int8", "uint8"):
        return math.nan, math.nan
    least, most = (0, 255) if dtype == "uint8" else (-128, 127)
    return float(scale[0] * (least - zero[0])), float(scale[0] * (most - zero[0]))


def _percentile(counts: Array, edges: Array, percent: float) -> float:
    """The middle of the bin in which the percentile lies."""
    at = int(np.searchsorted(np.cumsum(counts), percent / 100 * counts.sum()))
    at = min(at, len(counts) - 1)
    return float((edges[at] + edges[at + 1]) / 2)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value
