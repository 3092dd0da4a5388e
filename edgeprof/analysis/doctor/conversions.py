"""QuantizeLinear and DequantizeLinear that run as layers of their own, and why the runtime did not fuse them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from edgeprof.analysis.doctor.base import CONVERSIONS, INT8, Case, Cost, Diagnosis, Row, cost_of, dearest, diagnosis, many
from edgeprof.analysis.names import listed
from edgeprof.models.graph import Layer

QUANTIZED_KERNELS = frozenset({
    "Add", "ArgMax", "AveragePool", "Clip", "Concat", "Conv", "DepthToSpace", "Expand", "Flatten", "Gather", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
"""Operators that ONNX Runtime's CPU carries out on 8-bit numbers: onnxruntime/quantization/registry.py, and what only moves them."""

_ABSORBED = frozenset({"Relu", "Clip"})
"""What a quantized layer takes in with its output's range."""


@dataclass(frozen=True)
class _Reason:
    """Why a conversion stands alone. ``place``: where it stands, before the neighbours' names. ``experiment``: what changes it."""

    key: str
    place: str
    experiment: str


_NO_KERNEL = _Reason(
    "no_int8_kernel",
    "beside operators without an int8 kernel",
    'Leave the layers that only feed {names} in float as well (precision = "fp32" in a recipe), so that there is less to convert.',
)
_FLOAT = _Reason(
    "float_neighbour",
    "beside layers that the model keeps in float",
    'Quantize {names} too (precision = "int8" in a recipe), and look at what that costs in accuracy.',
)
_INT8_ON_X86 = _Reason(
    "int8_activations",
    "around layers with int8 activations, which are fused on ARM alone",
    'Quantize the model again with activation_type = "uint8".',
)
_EDGE = _Reason(
    "model_edge",
    "at the model's inputs and outputs",
    "Hand the model 8-bit inputs and take 8-bit outputs, where the caller has them anyway.",
)
_BACK_TO_BACK = _Reason(
    "back_to_back",
    "in pairs with nothing between",
    "Give both ends of the pair the same scale and zero point, so that the pair has no effect and goes.",
)
_UNEXPLAINED = _Reason(
    "not_fused",
    "around layers that could be int8 but were not fused",
    "Profile once more with `--optimization extended`, to see which rewriting of the runtime is in the way.",
)


def unfused(case: Case) -> Iterator[Diagnosis]:
    """Conversions of activations that run on their own."""
    rows = [row for row in case.rows if row.converts and not case.of_weights(row)]
    cost = cost_of(rows)
    if not case.worth(cost):
        return
    told: dict[_Reason, list[Row]] = defaultdict(list)
    names: dict[_Reason, dict[str, None]] = defaultdict(dict)
    for row in dearest(rows):
        reason, neighbours = _why(case, row)
        told[reason].append(row)
        names[reason].update(dict.fromkeys(neighbours))
    order = sorted(told, key=lambda reason: -max(0.0, cost_of(told[reason]).ms or 0.0))
    parts = [f"{len(told[r])} {r.place}{f' ({listed(names[r], most=2)})' if names[r] else ''}" for r in order]
    text = f"{_counted(rows)} as {'a layer' if len(rows) == 1 else 'layers'} of their own: {case.takes(cost)}. Of these {'; '.join(parts)}."
    evidence: dict[str, float | str] = {"layers": len(rows)}
    for reason in order:
        evidence |= {f"{reason.key}_layers": len(told[reason]), f"{reason.key}_ms": cost_of(told[reason]).ms}
    experiment = order[0].experiment.format(names=listed(names[order[0]], most=2) or "their neighbours")
    yield diagnosis("qdq-unfused", case.severity(cost), "Q/DQ left unfused", text, rows, evidence, cost, experiment)


def weights(case: Case) -> Iterator[Diagnosis]:
    """Weights that are stored in few bits and made float again in every run."""
    rows = [row for row in case.rows if row.converts and case.of_weights(row)]
    cost = cost_of(rows)
    if not case.worth(cost):
        return
    readers = {case.rows[at].name: None for row in rows for at in sorted(case.after.get(row.at, ()))}
    whose = f" (of {listed(readers, most=2)})" if readers else ""
    text = f"{many(len(rows), 'stored tensor')}{whose} become float anew in every run: {case.takes(cost)}."
    experiment = "Keep these weights float, or let a layer read them as they are: int8 activations (static QDQ), or MatMulNBits."
    evidence = {"tensors": len(rows), "readers": len(readers)}
    yield diagnosis("weights-dequantized", case.severity(cost), "Weights dequantized in every run", text, rows, evidence, cost, experiment)


def _counted(rows: list[Row]) -> str:
    quantize = sum(row.op_type == "QuantizeLinear" for row in rows)
    counts = ((quantize, "QuantizeLinear"), (len(rows) - quantize, "DequantizeLinear"))
    return f"{' and '.join(f'{n} {op}' for n, op in counts if n)} run{'s' * (len(rows) == 1)}"


def _why(case: Case, row: Row) -> tuple[_Reason, list[str]]:
    """The reason, and the neighbours it lies with: their names, or op types without a kernel. One that did run in int8 is none."""
    layer = next((case.layer[s] for s in row.sources if s in case.layer and case.layer[s].op_type in CONVERSIONS), None)
    if layer is None:
        return _UNEXPLAINED, []
    forward = row.op_type == "DequantizeLinear"
    near = _readers(case, layer) if forward else [case.maker[t] for t in layer.inputs[:1] if t in case.maker]
    if not near or (forward and set(layer.outputs) & case.results):
        return _EDGE, []
    if any(one.op_type in CONVERSIONS for one in near):
        return _BACK_TO_BACK, []
    in_float = [one for one in near if one.name not in case.row_of or case.row_of[one.name].precision not in INT8]
    found: dict[_Reason, list[str]] = defaultdict(list)
    for one in in_float or near:
        reason = _reason(case, one, layer)
        found[reason].append(one.op_type if reason is _NO_KERNEL else one.name)
    reason = next(reason for reason in (_NO_KERNEL, _FLOAT, _INT8_ON_X86, _UNEXPLAINED) if reason in found)
    return reason, found[reason]


def _reason(case: Case, neighbour: Layer, conversion: Layer) -> _Reason:
    if neighbour.op_type not in QUANTIZED_KERNELS:
        return _NO_KERNEL
    whole = all(not t or case.is_constant(t) or _is(case.maker.get(t), "DequantizeLinear") for t in neighbour.inputs[:2])
    if neighbour.op_type in _ABSORBED and not whole:  # what it is absorbed by must be quantized
        makers = [case.maker[t] for t in neighbour.inputs[:1] if t in case.maker]
        return _reason(case, makers[0], conversion) if makers and makers[0].op_type not in _ABSORBED else _FLOAT
    if not whole or not _quantized_after(case, neighbour):
        return _FLOAT
    return _INT8_ON_X86 if case.target.is_x86 and activation_type(case, conversion) == "int8" else _UNEXPLAINED


def _quantized_after(case: Case, layer: Layer) -> bool:
    """Whether all that read its output quantize it first, a Relu or Clip between them allowed."""
    after = _readers(case, layer)
    if after and all(one.op_type in _ABSORBED for one in after):
        after = [reader for one in after for reader in _readers(case, one)]
    return bool(after) and not set(layer.outputs) & case.results and all(one.op_type == "QuantizeLinear" for one in after)


def _readers(case: Case, layer: Layer) -> list[Layer]:
    return [reader for tensor in layer.outputs for reader in case.readers.get(tensor, ())]


def _is(layer: Layer | None, op_type: str) -> bool:
    return layer is not None and layer.op_type == op_type


def activation_type(case: Case, conversion: Layer) -> str:
    """Element type of the 8-bit side of a QuantizeLinear or DequantizeLinear of the model: that of its zero point, or of the tensor."""
    zero_point = conversion.inputs[2] if len(conversion.inputs) > 2 else ""
    side = conversion.outputs if conversion.op_type == "QuantizeLinear" else conversion.inputs
    tensors = [case.graph.tensor(name).dtype for name in (zero_point, *side[:1]) if name]
    return next((dtype for dtype in tensors if dtype), "uint8")


def conversion_cost(case: Case) -> Cost:
    """Time of all conversions of activations that run on their own."""
    return cost_of(row for row in case.rows if row.converts and not case.of_weights(row))
