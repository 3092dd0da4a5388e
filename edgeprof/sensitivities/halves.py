"""Half of what int8 does to a model: its weights alone, or its activations alone.

Both are made of the quantized model: pairs of QuantizeLinear and DequantizeLinear around activations become nothing again, or each
DequantizeLinear of a stored tensor gives way to the float values that it stands for. Then also those of activations are written out as
arithmetic: ONNX Runtime would take a float weight between them for one that was forgotten and quantize it (WeightBiasQuantization).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprof.recipes.wiring import Wiring


def weights_alone(quantized: Any) -> Any:
    """The model with its 8-bit weights and biases, all activations float. Changed in place."""
    wiring = Wiring(quantized)
    for node in quantized.graph.node:
        rounder = wiring.maker.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if rounder is not None and rounder.op_type == "QuantizeLinear":
            node.op_type = "Identity"
            del node.attribute[:]
            node.input[:] = [rounder.input[0]]
    return quantized


def activations_alone(quantized: Any, before: Any) -> Any:
    """The model with its 8-bit activations, weights and biases as they are in ``before``, the float model. Changed in place."""
    wiring, floats = Wiring(quantized), Wiring(before)
    by_name = {node.name: node for node in before.graph.node}
    for node in list(quantized.graph.node):
        original = by_name.get(node.name)
        if original is None:
            continue
        for index, name in enumerate(node.input):
            maker = wiring.maker.get(name) if name else None
            if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in wiring.stored:
                continue
            values = floats.constant(original.input[index])
            if values is not None:
                wiring.give(node, index, values, f"{name}_float")
    for node in list(quantized.graph.node):
        if node.op_type == "DequantizeLinear" and node.input[0] not in wiring.stored:
            _write_out(wiring, node)
    return quantized


def _write_out(wiring: Wiring, node: Any) -> None:
    """``(q - zero point) * scale`` in place of DequantizeLinear; activations have one scale."""
    import onnx

    source, scale, output = node.input[0], node.input[1], node.output[0]
    zero = wiring.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    less = wiring.store(np.asarray(0 if zero is None else zero, np.float32), f"{output}_zero")
    cast, moved = (wiring.fresh(f"{output}_{word}") for word in ("cast", "moved"))
    make = onnx.helper.make_node
    wiring.insert(
        node,
        make("Cast", [source], [cast], wiring.fresh(f"{node.name}_cast"), to=onnx.TensorProto.FLOAT),
        make("Sub", [cast, less], [moved], wiring.fresh(f"{node.name}_sub")),
        make("Mul", [moved, scale], [output], wiring.fresh(f"{node.name}_mul")),
    )
    wiring.graph.node.remove(node)
