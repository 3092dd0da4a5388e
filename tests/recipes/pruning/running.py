"""The step by itself, in this process, and models run by the real runtime."""

import numpy as np
import onnxruntime

from edgeprof.recipes.base import Work
from edgeprof.recipes.build import prune_recipe
from edgeprof.recipes.prune import prune
from edgeprof.recipes.pruning.groups import graph_of
from edgeprof.recipes.recipe import Decision, Quantization, Recipe, choices
from edgeprof.recipes.target import Target

PLAIN = Target()
"""A processor of which nothing is known: eight channels at a time."""


def work_for(model, *decisions, data=None, target=PLAIN):
    graph = graph_of(model)
    return Work(model, graph, choices(Recipe(decisions), graph), Quantization(), target, data)


def pruned(model, ratio=0.25, **options):
    return prune(work_for(model, *prune_recipe(ratio).decisions, **options))


def pruned_by(model, data=None, target=PLAIN, **wishes):
    """Decisions by layer: ``conv=0.25`` is a part that goes, ``conv=8`` how many channels stay."""
    decisions = [
        Decision(layer=name, **({"channels": wish} if isinstance(wish, int) else {"prune": wish})) for name, wish in wishes.items()
    ]
    return prune(work_for(model, *decisions, data=data, target=target))


def outputs(model, seed=0):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(seed)
    feed = {one.name: random.random([dim if isinstance(dim, int) else 1 for dim in one.shape], np.float32) for one in session.get_inputs()}
    return session.run(None, feed)


def parameters(model):
    """Numbers of floating point that the model stores."""
    return sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer if tensor.data_type == 1)


def width_of(model, layer):
    """Output channels of a layer, read from its weights."""
    node = next(node for node in model.graph.node if node.name == layer)
    dims = next(list(tensor.dims) for tensor in model.graph.initializer if tensor.name == node.input[1])
    turned = node.op_type == "MatMul" or (node.op_type == "Gemm" and not any(one.name == "transB" and one.i for one in node.attribute))
    return dims[1] if turned else dims[0]
