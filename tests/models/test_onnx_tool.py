"""Our MACs against those of onnx-tool, an independent counter, layer by layer on nine image networks.

Where the two differ, they differ by convention, and by exactly this much:

- Conv and Gemm: onnx-tool counts adding the bias as one MAC an output element; we count multiply-accumulates only.
- Elementwise operators, normalizations, pooling, Softmax, Sum: onnx-tool gives each element a weight (Exp 32, Div 4, compare 1 ...);
  by our convention they have no MACs.
- MatMul and everything that moves data: no difference.
"""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeprof.models import load_model
from edgeprof.models.cost import graph_costs, uncounted

onnx_tool = pytest.importorskip("onnx_tool")

LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
BIAS_COUNTED = {"Conv": 2, "Gemm": 2}  # place of the bias
WEIGHTED_ELEMENTS = {
    "Relu", "BatchNormalization", "Add", "Mul", "Sum", "Softmax", "LRN", "MaxPool", "AveragePool", "GlobalAveragePool",
}  # fmt: skip


def their_macs(path, inputs):
    graph = onnx_tool.Model(str(path)).graph
    graph.shape_infer({tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in inputs})
    graph.profile()
    return {node.output[0]: float(np.ravel(node.macs)[0]) for node in graph.nodemap.values()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem.removeprefix("light_"))
def test_the_same_macs_but_for_conventions(path):
    graph = load_model(path)
    ours, theirs = graph_costs(graph), their_macs(path, graph.inputs)
    compared = 0
    for layer in graph.layers:
        if layer.outputs[0] not in theirs:
            continue
        mine, other = ours[layer.name].macs, theirs[layer.outputs[0]]
        if layer.op_type in BIAS_COUNTED:
            has_bias = len(layer.inputs) > BIAS_COUNTED[layer.op_type]
            assert other == mine + (graph.tensor(layer.outputs[0]).elements if has_bias else 0), layer.name
            compared += 1
        elif layer.op_type in WEIGHTED_ELEMENTS:
            assert mine == 0
            assert other > 0
        else:
            assert mine == other, (layer.op_type, layer.name)
    assert compared >= 8
    assert uncounted(graph) == ()
    assert not math.isnan(sum(cost.activation_bytes for cost in ours.values()))
