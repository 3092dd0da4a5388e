"""int8: weights and activations, static, as QuantizeLinear and DequantizeLinear around each layer (QDQ).

ONNX Runtime's quantizer does the work, on ranges that `calibration` finds. What is done besides, so that a recipe comes true layer by
layer and every layer keeps its name:

1. a BatchNormalization after a Conv is folded into it, as ONNX Runtime does with float models, unless it is to stay float;
2. a Relu or Clip after an 8-bit layer is part of it, unless it is to stay float; the quantizer leaves it out, it is put back: at load
   the runtime drops it where the rounding does the same;
3. constants that other layers read as well are copied, and float layers read the float values wherever their maker is float too;
4. what came out is looked at: a layer is int8 only where all that it reads and gives is 8-bit. Where that is not so, nothing is done
   to the layer, and the change says why;
5. a layer with weights that stays float between 8-bit ones gets a Clip without bounds before it: ONNX Runtime takes a float weight
   between DequantizeLinear and QuantizeLinear for one that was forgotten, and would quantize it with one scale for all channels
   (WeightBiasQuantization, microsoft/onnxruntime pull 22969), which is worse than what the recipe left out.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from edgeprof.datasets import Dataset
from edgeprof.errors import RecipeError
from edgeprof.recipes.base import Change, Work, refuse_or_report
from edgeprof.recipes.calibration import Ranges, ranges
from edgeprof.recipes.kernels import ACTIVATIONS, COMPUTING, PASSING, bias_row, data_inputs, is_quantized, lacks_kernel
from edgeprof.recipes.wiring import Wiring, attribute, copied, element_types, import_opset, in_opset, opset_of, put_in_order, reads

FEW_SAMPLES = 32
"""Fewer are taken, with a note: ranges of activations are found from some hundreds as a rule."""
_LEAST_OPSET = 13  # scales for each channel
_NARROWED = ("Conv", "ConvTranspose", "Gemm")  # whose float weights ONNX Runtime may quantize by itself
_FLOAT32, _FLOATS = 1, (1, 10, 11, 16)  # of onnx.TensorProto: float32; it, float16, double and bfloat16


def quantize(work: Work) -> Work:
    """The work with the layers in int8 that are to be."""
    floats = [Change(layer, "precision", "fp32", "fp32") for layer, choice in work.choices.items() if choice.precision == "fp32"]
    asked = [layer for layer, choice in work.choices.items() if choice.precision == "int8"]
    if not asked:
        return work.then(work.model, floats)
    _refuse_quantized(work)
    data = work.needs_data("int8")
    model, notes = in_opset(copied(work.model), _LEAST_OPSET, work.graph.name, "int8")
    nodes, wiring = list(model.graph.node), Wiring(model)
    folded = _fold_norms(wiring, work)
    types = element_types(model, work.graph)
    reasons = dict.fromkeys((layer for layer in asked if layer not in folded), "it is not there any more")
    for node in nodes:
        if node.name in reasons:
            reasons[node.name] = _cannot(node, wiring, types, opset_of(model))
    wanted = [layer for layer, reason in reasons.items() if not reason]
    wiring.sweep()
    result, done = _quantized(model, wanted, work, data, reasons, types)
    changes = [_change(work, layer, folded, done, reasons) for layer in asked]
    return work.then(result, [*floats, *changes], [*notes, *_notes(work, data, folded, bool(done))])


def prepared(work: Work) -> Any:
    """The float model that `quantize` quantizes: in an operator set that has all it needs, norms folded into the layers before (case 1)."""
    model, _ = in_opset(copied(work.model), _LEAST_OPSET, work.graph.name, "int8")
    wiring = Wiring(model)
    _fold_norms(wiring, work)
    wiring.sweep()
    return model


def _change(work: Work, layer: str, folded: Mapping[str, str], done: set[str], reasons: Mapping[str, str]) -> Change:
    if layer in folded:
        return Change(layer, "precision", "int8", f"folded into '{folded[layer]}'")
    if layer in done:
        return Change(layer, "precision", "int8", "int8")
    return refuse_or_report(work, layer, "precision", "int8", reasons.get(layer, "what it reads or gives is not 8-bit"))


def _notes(work: Work, data: Dataset, folded: Mapping[str, str], any_done: bool) -> list[str]:
    notes = []
    target, settings = work.target, work.quantization
    if any_done and settings.activation_type == "auto":
        kind = "x86" if target.is_x86 else (target.architecture or "processors other than x86")
        notes.append(f"Activations are {target.activation_type}, which ONNX Runtime is fastest with on {kind} ({target.name}).")
    if any_done and settings.activation_type not in ("auto", target.activation_type):
        notes.append(
            f"Activations are {settings.activation_type}, as the recipe says; on {target.name} ONNX Runtime is made for "
            f"{target.activation_type}, and may compute some layers in float."
        )
    if any_done and target.reduce_range:
        notes.append(f"Weights keep to 7 bits: {target.name} has no 8-bit dot product, and sums of wider ones would saturate.")
    if folded:
        notes.append(f"{len(folded)} BatchNormalization {'layer is' if len(folded) == 1 else 'layers are'} folded into the Conv before.")
    if any_done and len(data) < FEW_SAMPLES:
        samples = "1 sample" if len(data) == 1 else f"{len(data)} samples"
        notes.append(f"Calibrated with {samples} only; ranges of activations are surer with some hundreds.")
    return notes


def _refuse_quantized(work: Work) -> None:
    found = sorted({layer.op_type for layer in work.graph.layers if is_quantized(layer.op_type)})
    if found:
        raise RecipeError(
            f"{work.graph.name} is quantized already (it has {', '.join(found)}). Give the float model that it was made from."
        )


def _fold_norms(wiring: Wiring, work: Work) -> dict[str, str]:
    """Case 1: which BatchNormalization went into which Conv."""
    folded: dict[str, str] = {}
    for node in list(wiring.graph.node):
        conv = wiring.maker.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or conv.op_type != "Conv" or not _wants(work, conv.name, "int8") or not _wants(work, node.name, None, "int8"):
            continue
        if wiring.readers[node.input[0]] != [node] or node.input[0] in wiring.outputs or attribute(node, "training_mode", 0):
            continue
        if len([name for name in node.output if name]) == 1 and _fold_norm(wiring, conv, node):
            folded[node.name] = conv.name
    return folded


def _fold_norm(wiring: Wiring, conv: Any, norm: Any) -> bool:
    scale, shift, mean, variance = (wiring.constant(name) for name in norm.input[1:5])
    weight = wiring.constant(conv.input[1])
    biased = len(conv.input) > 2 and bool(conv.input[2])
    bias = wiring.constant(conv.input[2]) if biased else None
    if any(one is None for one in (scale, shift, mean, variance, weight)) or (biased and bias is None):
        return False
    assert scale is not None and shift is not None and mean is not None and variance is not None and weight is not None  # noqa: S101
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + attribute(norm, "epsilon", 1e-5))
    moved = shift + ((0.0 if bias is None else bias.astype(np.float64)) - mean) * factor
    wiring.give(conv, 1, (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32), f"{conv.input[1]}_folded")
    while len(conv.input) < 3:
        conv.input.append("")
    conv.input[2] = ""
    wiring.give(conv, 2, moved.astype(np.float32), f"{conv.name}_bias")
    wiring.graph.node.remove(norm)
    conv.output[0] = norm.output[0]
    wiring.maker[norm.output[0]] = conv
    return True


def _wants(work: Work, layer: str, *precisions: str | None) -> bool:
    choice = work.choices.get(layer)
    return (choice.precision if choice else None) in precisions


def _cannot(node: Any, wiring: Wiring, types: Mapping[str, int], opset: int) -> str:
    """Why a node cannot be int8, as a clause, as far as that can be told beforehand."""
    if any(one.HasField("g") or one.graphs for one in node.attribute):
        return f"{node.op_type} runs other layers inside it"
    data = data_inputs(node)
    if not _has_float(data, types) or not _has_float(node.output, types):
        return "it works on no float values"
    if all(wiring.constant(name) is not None for name in node.output if name):
        return "it gives a constant"
    if reason := lacks_kernel(node, wiring, opset):
        return reason
    for name in data:
        if types.get(name) != _FLOAT32:
            return f"'{name}' is not float32"
        values = wiring.constant(name)
        if values is not None and not np.isfinite(values).all():
            return f"its constant '{name}' has values that are not finite"
    return ""


def _has_float(names: Iterable[str], types: Mapping[str, int]) -> bool:
    return any(types.get(name, _FLOAT32) in _FLOATS for name in names if name)


def _quantized(
    model: Any, wanted: list[str], work: Work, data: Dataset, reasons: dict[str, str], types: Mapping[str, int]
) -> tuple[Any, set[str]]:
    """The quantized model and which layers are int8 in it. What turns out not to be is left out with a reason, and all is done anew."""
    wiring = Wiring(model)
    found = _ranges(model, data, _tensors(wiring, wanted, types), work)
    for node in model.graph.node:
        odd = [name for name in (*data_inputs(node), *node.output) if not all(map(math.isfinite, found.get(name, (0.0, 0.0))))]
        if node.name in wanted and odd:
            wanted = [layer for layer in wanted if layer != node.name]
            reasons[node.name] = f"'{odd[0]}' has values that are not finite on the calibration data"
    while wanted:
        riders = _riders(wiring, wanted, work)
        result = _once(model, [*wanted, *riders], found, work, types)
        done = _true_ones(Wiring(result), wanted, riders)
        if len(done) == len(wanted):
            return result, done
        for layer in set(wanted) - done:
            op = wiring.node(layer).op_type
            passes = op in PASSING | ACTIVATIONS
            reasons[layer] = f"{op} is 8-bit only where what it reads is, and that is float" if passes else "what it reads is not 8-bit"
        wanted = [layer for layer in wanted if layer in done]
    return model, set()


def _ranges(model: Any, data: Dataset, names: list[str], work: Work) -> Ranges:
    missing = [name for name in names if name not in work.ranges]
    work.ranges.update(ranges(model, data, missing, work.quantization.calibration) if missing else {})
    return {name: work.ranges[name] for name in names}


def _tensors(wiring: Wiring, wanted: list[str], types: Mapping[str, int]) -> list[str]:
    """The tensors whose ranges are needed: what those layers read and give in float32, and the activations that go with them."""
    names: dict[str, None] = {}
    for node in wiring.graph.node:
        before = wiring.maker.get(node.input[0]) if node.op_type in ACTIVATIONS and node.input else None
        if node.name in wanted or (before is not None and before.name in wanted):
            names |= dict.fromkeys(name for name in (*data_inputs(node), *node.output) if name)
    return [name for name in names if types.get(name) == _FLOAT32 and wiring.constant(name) is None]


def _riders(wiring: Wiring, wanted: list[str], work: Work) -> list[str]:
    """Case 2: activations of which the recipe says nothing, each right after a layer that is int8."""
    found = []
    for node in wiring.graph.node:
        before = wiring.maker.get(node.input[0]) if node.op_type in ACTIVATIONS and _wants(work, node.name, None) else None
        alone = before is not None and wiring.readers[node.input[0]] == [node] and node.input[0] not in wiring.outputs
        if before is not None and alone and before.name in wanted and before.op_type in COMPUTING:
            found.append(node.name)
    return found


def _once(model: Any, chosen: list[str], found: Ranges, work: Work, types: Mapping[str, int]) -> Any:
    """ONNX Runtime's quantizer, and the cases 2 and 3 of the module."""
    before = copied(model)
    wiring = Wiring(before)
    _make_gemms_plain(wiring, chosen)
    overrides = _own_constants(wiring, chosen, _activation_type(work)) | _softmax_ranges(wiring, chosen, found)
    wiring.sweep(keep=lambda node: node.name in work.choices and node.op_type not in ("Constant", "ConstantOfShape"))
    result = _run_quantizer(before, chosen, found, work, overrides, types)
    _put_back(result, before, chosen)
    _free_float_readers(result, chosen)
    _part_inputs(result, chosen)
    _keep_float(result, chosen)
    put_in_order(result)
    _tidy(result, before)
    return result


def _own_constants(wiring: Wiring, chosen: list[str], kind: Any) -> dict[str, list[dict[str, Any]]]:
    """Case 3 for constants. What comes back are those that have one scale for all their channels."""
    from onnxruntime.quantization import QuantType

    whole: dict[str, list[dict[str, Any]]] = {}
    for node in wiring.graph.node:
        if node.name not in chosen:
            continue
        for index, name in enumerate(node.input):
            if not name or name not in data_inputs(node) or wiring.constant(name) is None:
                continue
            is_weight = node.op_type in ("Conv", "Gemm", "MatMul")
            shared = any(reader.name not in chosen for reader in wiring.readers.get(name, [])) or name not in wiring.stored
            if shared or (is_weight and len(wiring.readers.get(name, [])) > 1):
                wiring.own(node, index)
            values = wiring.constant(node.input[index])
            if node.op_type == "MatMul" and values is not None and (index == 0 or values.ndim != 2):
                whole[node.input[index]] = [{"quant_type": kind if index == 0 else QuantType.QInt8}]  # the first is of activations' kind
    return whole


def _make_gemms_plain(wiring: Wiring, chosen: list[str]) -> None:
    """The factors of a Gemm go into its constants: with others than 1, what the runtime's 8-bit kernel adds is not the bias."""
    for node in wiring.graph.node:
        if node.name not in chosen or node.op_type != "Gemm":
            continue
        alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
        row, weight = bias_row(node, wiring), wiring.constant(node.input[1])
        if weight is not None and alpha != 1:
            wiring.give(node, 1, (weight * alpha).astype(weight.dtype), node.input[1])
        if row is not None:
            wiring.give(node, 2, (row * beta).astype(row.dtype), node.input[2])
        kept = [one for one in node.attribute if one.name not in ("alpha", "beta")]
        del node.attribute[:]
        node.attribute.extend(kept)


def _softmax_ranges(wiring: Wiring, chosen: list[str], found: Ranges) -> dict[str, list[dict[str, Any]]]:
    """Softmax keeps to the range that was found; the quantizer takes 0 to 1, of which a thousand even classes leave nothing."""
    outputs = [node.output[0] for node in wiring.graph.node if node.name in chosen and node.op_type == "Softmax"]
    return {name: [{"rmin": np.float32(0.0), "rmax": np.float32(found[name][1])}] for name in outputs}


def _activation_type(work: Work) -> Any:
    from onnxruntime.quantization import QuantType

    kind = work.quantization.activation_type
    return QuantType.QUInt8 if (work.target.activation_type if kind == "auto" else kind) == "uint8" else QuantType.QInt8


def _run_quantizer(
    model: Any, chosen: list[str], found: Ranges, work: Work, overrides: dict[str, list[dict[str, Any]]], types: Mapping[str, int]
) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    given = onnx.ModelProto()
    given.CopyFrom(model)
    known = {entry.name for entry in (*given.graph.value_info, *given.graph.input, *given.graph.output)}
    touched = [name for node in given.graph.node if node.name in chosen for name in (*node.input, *node.output)]
    names = dict.fromkeys(name for name in touched if name in types)
    given.graph.value_info.extend(onnx.helper.make_tensor_value_info(name, types[name], None) for name in names if name not in known)
    add_infer_metadata(given)  # types are all that it wants to know, and those are there
    pairs = {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in found.items()}
    with _quiet():
        quantizer = QDQQuantizer(
            given,
            work.quantization.per_channel,
            work.target.reduce_range,
            QuantType.QInt8,
            _activation_type(work),
            TensorsData(CalibrationMethod.MinMax, pairs),
            chosen,
            [],
            sorted(COMPUTING | PASSING | ACTIVATIONS),
            {"TensorQuantOverrides": overrides},
        )
        quantizer.quantize_model()
    return quantizer.model.model


def _put_back(result: Any, before: Any, chosen: list[str]) -> None:
    """Case 2: the activations that the quantizer took out, each behind the layer that it belongs to."""
    import onnx

    there = {node.name for node in result.graph.node}
    gone = [node for node in before.graph.node if node.name in chosen and node.name not in there]
    wiring = Wiring(result)
    stored = {one.name: one for one in before.graph.initializer}
    behind: dict[str, list[Any]] = {}
    for node in reversed(gone):
        back = onnx.NodeProto()
        back.CopyFrom(node)
        if node.output[0] in wiring.outputs and f"{node.output[0]}_QuantizeLinear_Input" in wiring.maker:
            back.output[0] = f"{node.output[0]}_QuantizeLinear_Input"
        maker = wiring.maker[back.output[0]]
        maker.output[[*maker.output].index(back.output[0])] = node.input[0]
        wiring.maker[node.input[0]] = maker
        behind.setdefault(maker.name, []).insert(0, back)
        result.graph.initializer.extend(stored.pop(name) for name in node.input[1:] if name in stored and name not in wiring.stored)
    nodes = [one for node in result.graph.node for one in (node, *behind.get(node.name, []))]
    del result.graph.node[:]
    result.graph.node.extend(nodes)


def _free_float_readers(result: Any, chosen: list[str]) -> None:
    """Case 3 for activations: float layers, and outputs of the model, have the float values of float layers."""
    wiring = Wiring(result)
    for rounder in result.graph.node:
        source = rounder.input[0] if rounder.op_type == "QuantizeLinear" else ""
        maker = wiring.maker.get(source)
        if not source or (maker is not None and maker.name in chosen) or source in wiring.stored:
            continue
        for widener in wiring.readers.get(rounder.output[0], []):
            rounded = widener.output[0]
            readers = wiring.readers.get(rounded, [])
            if rounded in wiring.outputs:
                _give_output_its_floats(wiring, source, widener, maker)
                source = rounded
            for reader in readers:
                inside = reader.name in chosen or is_quantized(reader.op_type)
                _reconnect(reader, rounded, widener.output[0] if inside else source)


def _give_output_its_floats(wiring: Wiring, source: str, widener: Any, maker: Any) -> None:
    """The name of an output of the model goes from what DequantizeLinear gives to what the layer itself gives."""
    name = widener.output[0]
    widener.output[0] = wiring.fresh(f"{name}_DequantizeLinear_Output")
    for node in wiring.readers.get(source, []):
        _reconnect(node, source, name)
    if maker is not None:
        maker.output[[*maker.output].index(source)] = name


def _part_inputs(result: Any, chosen: list[str]) -> None:
    """A layer that reads one tensor twice (a product with itself) gets it from two DequantizeLinear: else the runtime leaves it float."""
    import onnx

    wiring = Wiring(result)
    for node in list(result.graph.node):
        for index, name in enumerate(node.input):
            maker = wiring.maker.get(name)
            if node.name not in chosen or name not in node.input[:index] or maker is None or maker.op_type != "DequantizeLinear":
                continue
            twin = onnx.NodeProto()
            twin.CopyFrom(maker)
            twin.name, twin.output[0] = f"{maker.name}_{index}_of_{node.name}", wiring.fresh(f"{name}_{index}")
            node.input[index] = twin.output[0]
            result.graph.node.append(twin)


def _keep_float(result: Any, chosen: list[str]) -> None:
    """Case 5."""
    import onnx

    wiring = Wiring(result)
    for node in list(result.graph.node):
        maker = wiring.maker.get(node.input[0]) if node.op_type in _NARROWED and node.name not in chosen else None
        if maker is not None and maker.op_type == "DequantizeLinear" and _is_rounded(node.output[0], wiring):
            name = wiring.fresh(f"{node.input[0]}_as_it_is")
            result.graph.node.append(onnx.helper.make_node("Clip", [node.input[0]], [name], f"{node.name}_stays_float"))
            node.input[0] = name


def _is_rounded(name: str, wiring: Wiring) -> bool:
    """Whether a tensor goes into QuantizeLinear, perhaps through activations."""
    return any(
        node.op_type == "QuantizeLinear" or (node.op_type in ACTIVATIONS and _is_rounded(node.output[0], wiring))
        for node in wiring.readers.get(name, [])
    )


def _reconnect(node: Any, before: str, after: str) -> None:
    for index, name in enumerate(node.input):
        if name == before:
            node.input[index] = after


def _tidy(result: Any, before: Any) -> None:
    """The model's own words in place of the quantizer's, and nothing that nobody reads."""
    known = {entry.name for entry in before.graph.value_info}
    kept = [entry for entry in result.graph.value_info if entry.name in known]
    del result.graph.value_info[:]
    result.graph.value_info.extend(kept)
    del result.metadata_props[:]
    result.metadata_props.extend(before.metadata_props)
    result.producer_name, result.producer_version = before.producer_name, before.producer_version
    used = {name for node in result.graph.node for name in reads(node)} | {output.name for output in result.graph.output}
    dead = [one for one in result.graph.initializer if one.name not in used]
    for one in dead:
        result.graph.initializer.remove(one)
    for node in result.graph.node:
        if node.domain == "com.microsoft":
            import_opset(result, "com.microsoft")


def _true_ones(wiring: Wiring, wanted: list[str], riders: list[str]) -> set[str]:
    """Case 4: those layers all of whose data comes out of DequantizeLinear and goes into QuantizeLinear, activations in between."""
    inside = {*wanted, *riders}
    types = {one.name: one.data_type for one in wiring.graph.initializer}
    done = set()
    for node in wiring.graph.node:
        if node.name in wanted:
            read = [name for name in data_inputs(node) if types.get(name, _FLOAT32) == _FLOAT32]
            if all(_comes_8bit(name, wiring, inside) for name in read) and all(
                _goes_8bit(name, wiring, inside) for name in node.output if name
            ):
                done.add(node.name)
    return done


def _comes_8bit(name: str, wiring: Wiring, inside: set[str]) -> bool:
    maker = wiring.maker.get(name)
    if maker is None:
        return False
    is_activation = (
        bool(wiring.readers[name][0].op_type in ACTIVATIONS) and maker.name in inside and maker.op_type in COMPUTING | ACTIVATIONS
    )
    return maker.op_type == "DequantizeLinear" or is_activation


def _goes_8bit(name: str, wiring: Wiring, inside: set[str]) -> bool:
    readers = wiring.readers.get(name, [])
    if len(readers) != 1 or name in wiring.outputs:
        return not readers and name not in wiring.outputs
    (reader,) = readers
    if reader.op_type == "QuantizeLinear":
        return True
    return reader.op_type in ACTIVATIONS and reader.name in inside and _goes_8bit(reader.output[0], wiring, inside)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's advice, which goes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
