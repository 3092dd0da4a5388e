"""Values of a model's constants: those it stores, and those that its nodes compute from them (a few exporters write weights so)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Constants:
    """Values by name, of an onnx ModelProto."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers = {name: node for node in model.graph.node for name in node.output if name}
        self._values: dict[str, Array] = {}

    def value(self, name: str) -> Array:
        """The value; not to be written to. What is one number everywhere takes no more memory than that."""
        import onnx

        if name not in self._values:
            self._values[name] = (
                onnx.numpy_helper.to_array(self.stored[name]) if name in self.stored else self._computed(self.makers[name], name)
            )
        return self._values[name]

    def _computed(self, node: Any, name: str) -> Array:
        import onnx
        from onnx.reference import ReferenceEvaluator

        attributes: dict[str, Any] = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "ConstantOfShape":
            filling = onnx.numpy_helper.to_array(attributes["value"]).reshape(()) if "value" in attributes else np.float32(0)
            return np.broadcast_to(filling, self.value(node.input[0]).tolist())
        inputs = [one for one in node.input if one]
        if node.op_type == "Unsqueeze":
            axes = attributes["axes"] if "axes" in attributes else self.value(node.input[1]).tolist()
            return np.expand_dims(self.value(node.input[0]), tuple(axes))
        graph = onnx.helper.make_graph(
            [node],
            "constant",
            [onnx.ValueInfoProto(name=one) for one in inputs],
            [onnx.ValueInfoProto(name=one) for one in node.output if one],
        )
        alone = onnx.helper.make_model(graph, opset_imports=list(self.model.opset_import), ir_version=self.model.ir_version)
        names = [one for one in node.output if one]
        found = ReferenceEvaluator(alone).run(names, {one: np.ascontiguousarray(self.value(one)) for one in inputs})
        return np.asarray(found[names.index(name)])
