"""Widths that the processor's kernels fill up to whole blocks: what is filled up is computed and thrown away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeprof import units
from edgeprof.analysis.doctor.base import Case, Diagnosis, Row, cost_of, diagnosis, many, total
from edgeprof.analysis.doctor.providers import CPU
from edgeprof.analysis.names import shorten
from edgeprof.models.graph import Layer

INPUT_MULTIPLE = 4
"""Input channels of a convolution that are no multiple of this keep it out of ONNX Runtime's blocked layout."""


def widths(case: Case) -> Iterator[Diagnosis]:
    """Float Conv, Gemm and MatMul on x86, where ONNX Runtime computes in blocks of 8 (AVX2) or 16 (AVX-512).

    1. Output channels and columns are filled up to whole blocks. The part of a layer's time that goes into what was filled up is an
       estimate from that: on a CPU with AVX-512 a Conv with 24 channels takes as long as one with 32, and a MatMul with 33 columns as one
       with 48. A product of a single row is computed another way, and is left out.
    2. A Conv with as many input channels as a block or more, but no multiple of four, is not computed in the blocked layout at all,
       and its neighbours need reorders. What that costs is not known here.
    """
    if not case.target.is_x86 or not case.target.features:
        return
    block = case.target.channel_multiple
    padded = [(row, outputs, _filled(outputs, block)) for row, _, outputs in _wide(case) if outputs % block]
    outside = [row for row, inputs, _ in _wide(case) if "Conv" in row.cores and inputs > block and inputs % INPUT_MULTIPLE]
    costs = {row.at: cost_of([row]).times(1 - outputs / filled) for row, outputs, filled in padded}
    cost = total(cost for cost in costs.values() if cost.ms > 0)
    if not case.worth(cost) and not outside:
        return
    padded.sort(key=lambda entry: -max(0.0, costs[entry[0].at].ms))
    said = []
    if case.worth(cost):
        row, outputs, filled = padded[0]
        said.append(
            f"{many(len(padded), 'layer')} {'has' if len(padded) == 1 else 'have'} widths that are no multiple of {block}: an estimated"
            f" {units.latency(cost.ms)} ({units.share(case.part(cost))}) goes into filling them up, most in {shorten(row.name)}"
            f" ({outputs} of {filled})."
        )
        experiment = f"Widen {shorten(row.name)} to {filled} channels, which should take no longer, or prune it to a multiple of {block}."
    if outside:
        said.append(
            f"{many(len(outside), 'Conv')} with input channels that are no multiple of {INPUT_MULTIPLE}"
            f" {'stays' if len(outside) == 1 else 'stay'} out of the blocked layout, such as {shorten(outside[0].name)}."
        )
        if len(said) == 1:
            experiment = (
                f"Bring the input channels of {shorten(outside[0].name)} to a multiple of {block} by pruning what makes them, and measure."
            )
    rows = list(dict.fromkeys([*(row for row, _, _ in padded), *outside]))
    evidence: dict[str, float | str] = {
        "block": block,
        "padded_layers": len(padded),
        "outside_layout": len(outside),
        "estimate": "from widths",
    }
    yield diagnosis(
        "channels-off-alignment", case.severity(cost), "Channels off alignment", " ".join(said), rows, evidence, cost, experiment
    )


def _filled(width: int, block: int) -> int:
    return -(-width // block) * block


def _wide(case: Case) -> Iterator[tuple[Row, int, int]]:
    """Float rows whose second operand has a known shape: input channels (of a group), output channels."""
    for layer in case.graph.layers:
        row = case.row_of.get(layer.name)
        if row is None or row.precision != "float32" or layer.op_type not in row.cores or len(layer.inputs) < 2:
            continue
        if row.provider not in ("", CPU):
            continue
        shape = case.graph.tensor(layer.inputs[1]).shape
        known = [dim for dim in shape or () if isinstance(dim, int) and dim > 0]
        if not shape or len(known) != len(shape) or (width := _width(layer, known)) is None:
            continue
        if layer.op_type == "Conv" or row.macs > width[0] * width[1]:
            yield row, *width


def _width(layer: Layer, shape: Sequence[int]) -> tuple[int, int] | None:
    if layer.op_type == "Conv" and len(shape) == 4:
        return shape[1], shape[0]
    if layer.op_type == "Gemm" and len(shape) == 2:
        return (shape[1], shape[0]) if layer.attributes.get("transB") else (shape[0], shape[1])
    return (shape[-2], shape[-1]) if layer.op_type == "MatMul" and len(shape) >= 2 else None
