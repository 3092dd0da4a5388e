"""Half of what int8 does to a model: its weights alone, or its activations alone.

Both are made of the quantized model: pairs of QuantizeLinear and DequantizeLinear around activations become nothing again, or each
DequantizeLinear of a stored tensor gives way to the float values that it stands for.
"""

from __future__ import annotations

from typing import Any

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
    return quantized
