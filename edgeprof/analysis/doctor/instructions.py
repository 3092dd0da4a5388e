"""What the processor does not do fast with 8-bit numbers: no dot product, activations of the wrong sign."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgeprof.analysis.doctor.base import INT8, Case, Cost, Diagnosis, Row, Severity, cost_of, diagnosis, many
from edgeprof.analysis.doctor.conversions import activation_type, conversion_cost
from edgeprof.analysis.names import visible
from edgeprof.units import latency


def no_dot_product(case: Case) -> Iterator[Diagnosis]:
    """Products of 8-bit numbers on a CPU that needs several instructions for each."""
    rows = [row for row in case.rows if row.precision in INT8 and row.macs > 0]
    if not rows or case.target.has_dot_product is not False:
        return
    spent = cost_of(rows)
    missing = "VNNI" if case.target.is_x86 else "dot-product"
    text = (
        f"{many(len(rows), 'int8 layer')} ({latency(spent.ms)} together) on {visible(case.target.name)}, which lacks {missing}"
        " instructions: int8 may be no faster than float there."
    )
    extra = " On such a CPU weights must keep to 7 bits as well (reduce_range), or sums saturate." if case.target.is_x86 else ""
    experiment = f"Compare with the float model on this board: `edgeprof doctor MODEL --baseline FLOAT_MODEL`.{extra}"
    evidence: dict[str, float | str] = {
        "int8_layers": len(rows), "int8_ms": spent.ms, "cpu_features": " ".join(sorted(case.target.features)),
    }  # fmt: skip
    yield diagnosis("no-dot-product", "warning", "No dot-product instructions", text, rows, evidence, Cost(), experiment)


def wrong_sign(case: Case) -> Iterator[Diagnosis]:
    """Activations of the type that the runtime's kernels are not made for on this processor.

    On x86 the runtime turns int8 activations into uint8 at load time where they are read once; where not, it leaves the layers around
    them float. Its int8 kernels themselves are for uint8 activations there. It counts only if int8 is what was executed.
    """
    if not case.target.architecture:
        return
    if case.target.is_x86:
        rows = [row for row in case.rows if _quantizes_to_int8(case, row) or _reads_int8(case, row)]
        unfused = conversion_cost(case)
        cost = unfused if any(row.converts for row in rows) and unfused.ms > 0 else Cost()
        wanted, came = "uint8", "int8"
        why = f"ONNX Runtime fuses only uint8 there and computes in float around the others; conversions alone take {latency(cost.ms)}"
        if math.isnan(cost.ms):
            why = "ONNX Runtime's kernels there are made for uint8"
    else:
        rows = [row for row in case.rows if row.precision in INT8 and row.macs > 0 and "uint8" in _read_types(case, row)]
        cost, wanted, came = Cost(), "int8", "uint8"
        why = "ONNX Runtime's kernels there are fastest with int8"
    if not rows:
        return
    severity: Severity = "warning" if case.target.is_x86 else "info"
    text = f"{many(len(rows), 'layer')} with {came} activations on {visible(case.target.architecture)}. {why}."
    experiment = f'Quantize again with activation_type = "{wanted}" (auto chooses it for this board), and compare.'
    evidence: dict[str, float | str] = {"layers": len(rows), "activations": came, "wanted": wanted, "conversions_ms": cost.ms}
    yield diagnosis("activation-type", severity, f"Activations are {came}", text, rows, evidence, cost, experiment)


def _quantizes_to_int8(case: Case, row: Row) -> bool:
    """A QuantizeLinear that ran as it stands in the model, with int8 as its result."""
    layers = [case.layer[s] for s in row.sources if s in case.layer and case.layer[s].op_type == "QuantizeLinear"]
    return row.op_type == "QuantizeLinear" and row.precision == "int8" and any(activation_type(case, one) == "int8" for one in layers)


def _reads_int8(case: Case, row: Row) -> bool:
    """A quantized operator that stood in the model as such (QLinearConv ...), and so could not be changed."""
    layers = [case.layer[s] for s in row.sources if s in case.layer and case.layer[s].op_type == row.op_type]
    return row.op_type.startswith("QLinear") and any(case.graph.tensor(one.inputs[0]).dtype == "int8" for one in layers if one.inputs)


def _read_types(case: Case, row: Row) -> set[str]:
    """Types of the activations that its nodes dequantize, as the model has them."""
    layers = [case.layer[s] for s in row.sources if s in case.layer]
    dequantized = [one for one in layers if one.op_type == "DequantizeLinear" and one.inputs and not case.is_constant(one.inputs[0])]
    return {activation_type(case, one) for one in dequantized}
