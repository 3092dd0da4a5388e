"""Types and shapes of the tensors between layers, by ONNX's own shape inference and some help.

ONNX's inference knows every standard operator but computes few shapes: after ``Where`` or ``Div`` on a shape, as PyTorch
exports them, all that follows is unknown. So it runs in rounds; between rounds `fold` computes small tensors from constants
and known shapes. Operators of ONNX Runtime are read as standard ones, see `standins`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeprof.models import fold, standins
from edgeprof.models.graph import TensorInfo
from edgeprof.models.layers import domain_of
from edgeprof.models.shapes import info_of, set_shape

_MOST_ROUNDS = 200
_LONGEST_VECTOR = 65536
_LARGEST_NUMBER = 2**31
_NEWEST_OPSET = 10**6  # an opset of 2**62 is no number for onnx
_HIDDEN = "(not inferred)"
_WITH_OPEN_ENDS = frozenset({"Slice", "Shape", "Constant"})  # 2**63 - 1 may mean the end, or be a value
_IR_WITH_PLAIN_INITIALIZERS = 4  # before, the inference overlooks initializers that are not inputs too; ONNX Runtime saves such models


@dataclass
class Inferred:
    """What is known of the model's tensors."""

    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def infer(model: Any, declared: Mapping[str, Any], symbols: Mapping[str, int]) -> Inferred:
    """Types and shapes of all tensors of an expanded ModelProto whose inputs have concrete shapes; ``model`` is changed.

    1. What the file itself says of inner tensors (``declared``) is left out at first: it may belong to other input sizes. Only
    the outputs of operators that ONNX does not know keep it. 2. In rounds, small tensors that follow from constants and known
    shapes are computed. 3. When that ends, what is still open gets what the file says, and 2 is tried again.
    """
    result = Inferred()
    used = _used(model.graph)
    model.ir_version = max(model.ir_version, _IR_WITH_PLAIN_INITIALIZERS)
    standins.put_in(model)
    _hide_absurd_nodes(model)
    _forget_inner_shapes(model, declared, symbols)
    helped = follow_values = False
    values = fold.Values(model)
    for _ in range(_MOST_ROUNDS):
        inferred = _run(model, follow_values, result)
        if inferred is None:
            break
        result.tensors = dict(_collect(inferred.graph))
        open_tensors = [name for name in used if not is_known(result.tensors.get(name))]
        if not open_tensors:
            break
        if not follow_values and _may_follow_values(model, result.tensors):
            follow_values = True
            values.fold(result.tensors)
            continue
        if values.fold(result.tensors):
            continue
        if helped or not _declare(model, {name: declared[name] for name in open_tensors if name in declared}, symbols):
            result.notes += _contradictions(model)
            break
        helped = True
    for name, type_proto in declared.items():
        if not is_known(result.tensors.get(name)):
            result.tensors[name] = _better(result.tensors.get(name), info_of(name, type_proto, symbols))
    return result


def is_known(info: TensorInfo | None) -> bool:
    """True when type and every axis are known."""
    return info is not None and bool(info.dtype) and info.shape is not None and all(isinstance(dim, int) for dim in info.shape)


def all_graphs(graph: Any) -> Iterator[Any]:
    """The graph and every subgraph in it, outer before inner."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_graphs(attribute.g)
            for inner in attribute.graphs:
                yield from all_graphs(inner)


def _may_follow_values(model: Any, tensors: Mapping[str, TensorInfo]) -> bool:
    """False when a vector is so long that ONNX, which keeps a protobuf message for each element of one, would take for ever."""
    lengths = [info.shape[0] for info in tensors.values() if info.shape is not None and len(info.shape) == 1]
    lengths += [tensor.dims[0] for graph in all_graphs(model.graph) for tensor in graph.initializer if len(tensor.dims) == 1]
    return all(length <= _LONGEST_VECTOR for length in lengths if isinstance(length, int))


def _hide_absurd_nodes(model: Any) -> None:
    """Take nodes out of the inference that would crash or hang it, found by feeding it damaged models; their outputs stay unknown.

    1. A required input is absent. 2. A number is beyond all sizes. 3. A Split says another number of parts than it has outputs.
    """
    fewest: dict[tuple[str, str], int] = {}
    opsets = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import}
    for graph in all_graphs(model.graph):
        for node in graph.node:
            key = (domain_of(node), node.op_type)
            if key not in fewest:
                fewest[key] = _required_inputs(*key, opsets.get(key[0], 1))
            if "" in node.input[: fewest[key]] or len(node.input) < fewest[key] or _is_absurd(node):
                node.op_type = _HIDDEN


def _required_inputs(domain: str, op_type: str, opset: int) -> int:
    """How many inputs the operator has at the front that must be there, in this opset."""
    import onnx.defs

    try:
        schema = onnx.defs.get_schema(op_type, min(opset, _NEWEST_OPSET), domain)
    except onnx.defs.SchemaError:
        return 0
    optional = (i for i, formal in enumerate(schema.inputs) if formal.option != onnx.defs.OpSchema.FormalParameterOption.Single)
    return int(min(next(optional, len(schema.inputs)), schema.min_input))


def _is_absurd(node: Any) -> bool:
    if node.op_type in _WITH_OPEN_ENDS:
        return False
    for attribute in node.attribute:
        if attribute.name == "num_outputs" and node.op_type == "Split" and attribute.i != len(node.output):
            return True
        if abs(attribute.i) > _LARGEST_NUMBER or any(abs(number) > _LARGEST_NUMBER for number in attribute.ints):
            return True
    return False


def _run(model: Any, follow_values: bool, result: Inferred) -> Any | None:
    import onnx.shape_inference

    try:
        return onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=follow_values)
    except Exception as error:  # onnx raises many kinds; a model without shapes is still a model
        result.notes.append(f"Shape inference failed, so sizes are as the file says them: {_one_line(error)}")
        return None


def _contradictions(model: Any) -> list[str]:
    """What the inference finds wrong, as a note: mostly a default size that the model cannot take."""
    import onnx.shape_inference

    try:
        onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=True, data_prop=False)
    except Exception as error:
        text = _one_line(error)
        return [] if "No Op registered" in text or "No opset import" in text else [f"Shape inference stopped: {text}"]
    return []


def _one_line(error: Exception, limit: int = 300) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _forget_inner_shapes(model: Any, declared: Mapping[str, Any], symbols: Mapping[str, int]) -> None:
    import onnx.defs

    for graph in all_graphs(model.graph):
        del graph.value_info[:]
        names = {output.name for output in graph.output}
        for output in graph.output:
            output.ClearField("type")
        for node in graph.node:
            if not onnx.defs.has(node.op_type, domain=domain_of(node)):
                _add(graph, {name: declared[name] for name in node.output if name in declared}, names, symbols)


def _declare(model: Any, types: Mapping[str, Any], symbols: Mapping[str, int]) -> bool:
    """Put what the file says of some tensors into the graphs that make them; False when it says nothing useful."""
    useful = {name: type_proto for name, type_proto in types.items() if info_of(name, type_proto).shape is not None}
    if not useful:
        return False
    graph = model.graph
    _add(graph, useful, {output.name for output in graph.output}, symbols)
    return True


def _add(graph: Any, types: Mapping[str, Any], output_names: set[str], symbols: Mapping[str, int]) -> None:
    for name, type_proto in types.items():
        if name in output_names:
            value = next(output for output in graph.output if output.name == name)
        else:
            value = graph.value_info.add()
            value.name = name
        value.type.CopyFrom(type_proto)
        info = info_of(name, type_proto, symbols)
        if info.shape is not None:
            set_shape(value, info)


def _used(graph: Any) -> list[str]:
    """Tensors that nodes of the main graph make and anything reads."""
    read = {name for each in all_graphs(graph) for node in each.node for name in node.input}
    read |= {output.name for each in all_graphs(graph) for output in each.output}
    return [name for node in graph.node for name in node.output if name in read and name]


def _collect(graph: Any) -> Iterator[tuple[str, TensorInfo]]:
    for each in all_graphs(graph):
        for value in [*each.input, *each.value_info, *each.output]:
            info = info_of(value.name, value.type)
            yield value.name, _without_made_up_names(info)


def _without_made_up_names(info: TensorInfo) -> TensorInfo:
    """``unk__0`` is a name that the inference invents for an axis it does not know."""
    if info.shape is None or all(isinstance(dim, int) for dim in info.shape):
        return info
    shape = tuple(None if isinstance(dim, str) and dim.startswith("unk__") else dim for dim in info.shape)
    return TensorInfo(info.name, info.dtype, shape)


def _better(known: TensorInfo | None, declared: TensorInfo) -> TensorInfo:
    if known is None:
        return declared
    shape = declared.shape if known.shape is None or (declared.shape is not None and is_known(declared)) else known.shape
    return TensorInfo(known.name, known.dtype or declared.dtype, shape)
