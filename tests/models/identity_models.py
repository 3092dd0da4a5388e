"""Models whose rewriting by ONNX Runtime is known by construction, and the runtime's own rewriting of them."""

import json

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgeprof.models import load_model

LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class Net:
    """Writes a model node by node: ``op`` returns the name of what the node makes, nodes are named ``<op_type>_<number>``."""

    def __init__(self, opset=17, seed=0, dtype=np.float32):
        self.nodes, self.stored, self.inputs, self.domains = [], [], [], []
        self.opset, self.dtype, self.functions = opset, dtype, []
        self.random, self.count = np.random.default_rng(seed), 0

    def input(self, *shape, name="x"):
        self.inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)), shape))
        return name

    def weight(self, *shape):
        return self.constant(self.random.standard_normal(shape) * 0.1, self.dtype)

    def constant(self, values, dtype=np.float32):
        self.count += 1
        self.stored.append(numpy_helper.from_array(np.asarray(values, dtype), f"w{self.count}"))
        return f"w{self.count}"

    def op(self, op_type, *inputs, outputs=1, name=None, domain="", **attributes):
        self.count += 1
        made = [f"t{self.count}"] if outputs == 1 else [f"t{self.count}_{i}" for i in range(outputs)]
        name = f"{op_type.lower()}_{self.count}" if name is None else name
        self.nodes.append(helper.make_node(op_type, inputs, made, name, domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def conv(self, x, inputs, outputs, k=3, group=1, name=None):
        weights = self.weight(outputs, inputs // group, k, k), self.weight(outputs)
        return self.op("Conv", x, *weights, kernel_shape=[k, k], pads=[k // 2] * 4, group=group, name=name)

    def norm(self, x, channels, name=None):
        scale, bias, mean, var = (self.constant(np.full(channels, v)) for v in (0.9, 0.1, 0.2, 1.1))
        return self.op("BatchNormalization", x, scale, bias, mean, var, name=name)

    def gelu(self, x):
        wave = self.op("Add", self.op("Erf", self.op("Div", x, self.constant(2**0.5))), self.constant(1.0))
        return self.op("Mul", self.op("Mul", x, wave), self.constant(0.5))

    def linear(self, x, inputs, outputs):
        return self.op("Add", self.op("MatMul", x, self.weight(inputs, outputs)), self.weight(outputs))

    def model(self, *outputs):
        made = [helper.make_tensor_value_info(o, helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)), None) for o in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, made, self.stored)
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in self.domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=self.functions)


def body(name, nodes, outputs, inputs=()):
    """A subgraph of float tensors."""
    made = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
    return helper.make_graph(nodes, name, list(inputs), made)


def without_names(model):
    """The same model, its nodes (nested ones too) without names."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    graphs = [bare.graph]
    for graph in graphs:
        for node in graph.node:
            node.ClearField("name")
            graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
    return bare


def rewrite(model, folder, level="all"):
    """(original, executed): the model and what the runtime makes of it, both read by the product's reader."""
    source, target = folder / "original.onnx", folder / f"executed_{level}.onnx"
    source.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    session(source, level, optimized_model_filepath=str(target))
    graphs = load_model(source), load_model(target)
    target.unlink()  # folded weights: up to 500 MB
    return graphs


def session(path, level="all", **options):
    chosen = ort.SessionOptions()
    chosen.graph_optimization_level, chosen.log_severity_level, chosen.intra_op_num_threads = LEVELS[level], 4, 1
    for name, value in options.items():
        setattr(chosen, name, value)
    return ort.InferenceSession(str(path), chosen, providers=["CPUExecutionProvider"])


def record(model, folder, runs=2):
    """(original, executed, node events of the runtime's trace as it wrote them)."""
    source, target = folder / "original.onnx", folder / "executed.onnx"
    source.write_bytes(model.SerializeToString())
    running = session(source, optimized_model_filepath=str(target), enable_profiling=True, profile_file_prefix=str(folder / "trace"))
    feeds = {i.name: np.random.default_rng(0).standard_normal(i.shape).astype(np.float32) for i in running.get_inputs()}
    for _ in range(runs):
        running.run(None, feeds)
    with open(running.end_profiling()) as file:
        events = [e for e in json.load(file) if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    return load_model(source), load_model(target), sorted(events, key=lambda e: (e["ts"], -e["dur"]))
