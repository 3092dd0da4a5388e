"""Builders of small ONNX files."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def build(nodes, inputs, outputs=(), initializers=(), *, opset=17, ir=8, functions=(), opsets=(), name="g", **graph):
    """A ModelProto. ``inputs``: name -> shape, or ValueInfoProtos; ``outputs``: names, shapes are left open."""
    ins = [value(n, s) for n, s in inputs.items()] if isinstance(inputs, dict) else list(inputs)
    outs = [onnx.ValueInfoProto(name=o) if isinstance(o, str) else o for o in outputs]
    body = helper.make_graph(list(nodes), name, ins, outs, list(initializers), **graph)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in opsets)]
    return helper.make_model(body, opset_imports=imports, ir_version=ir, functions=list(functions))


@pytest.fixture
def model_file(tmp_path):
    """A function that writes a model as `build` makes it, or a ModelProto, and returns its path."""

    def write(nodes, *args, file="model.onnx", **kwargs):
        model = nodes if isinstance(nodes, onnx.ModelProto) else build(nodes, *args, **kwargs)
        path = tmp_path / file
        path.write_bytes(model.SerializeToString())
        return path

    return write
