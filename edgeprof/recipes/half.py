"""fp16: a layer's weights and values are float16, with a Cast where a float layer follows or comes before.

ONNX Runtime's converter (`onnxruntime.transformers.float16`) makes every tensor of a model float16 and casts around the layers that are to
stay, so that float layers next to each other get rounded values. Here only the chosen layers are touched; its list of operators that
do not stand float16 is taken over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeprof.errors import ModelError
from edgeprof.recipes.base import Change, Work, refuse_or_report
from edgeprof.recipes.wiring import Wiring, copied, element_types, opset_of

_FLOAT32, _FLOAT16 = 1, 10  # of onnx.TensorProto
_LARGEST = float(np.finfo(np.float16).max)
_VALUES_ALONE = ("Constant", "ConstantOfShape", "Cast")
_NOTE = (
    "fp16 layers are cast to and from float at their borders; where ONNX Runtime has no fp16 kernel for a processor, it computes them in "
    "float: a smaller file, not faster unless measured."
)


def half(work: Work) -> Work:
    """The work with the layers in fp16 that are to be."""
    asked = [layer for layer, choice in work.choices.items() if choice.precision == "fp16"]
    if not asked:
        return work
    model = copied(work.model)
    wiring, types = Wiring(model), element_types(model, work.graph)
    nodes = {node.name: node for node in model.graph.node}
    reasons: dict[str, str] = {}
    chosen: dict[str, tuple[list[int], list[int]]] = {}
    for layer in asked:
        if layer not in nodes:
            reasons[layer] = "it is not there any more"
            continue
        places, reason = _places(nodes[layer], wiring, types, opset_of(model, nodes[layer].domain))
        if reason:
            reasons[layer] = reason
        else:
            chosen[layer] = places
    changed = _halved(model, chosen)
    if chosen and (refused := _refused(changed)):
        changed, taken = _one_by_one(model, chosen)
        reasons |= {layer: f"the runtime does not take it so ({refused})" for layer in chosen if layer not in taken}
    changes = [
        refuse_or_report(work, layer, "precision", "fp16", reasons[layer])
        if layer in reasons
        else Change(layer, "precision", "fp16", "fp16")
        for layer in asked
    ]
    return work.then(changed, changes, [_NOTE] if any(change.done for change in changes) else [])


def _places(node: Any, wiring: Wiring, types: Mapping[str, int], opset: int) -> tuple[tuple[list[int], list[int]], str]:
    """Which inputs and outputs of a node become float16; or why none can, as a clause."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

    nothing: tuple[list[int], list[int]] = ([], [])
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        return nothing, f"{node.op_type} runs other layers inside it"
    if node.op_type in _VALUES_ALONE:
        return nothing, f"{node.op_type} only makes values for others"
    if node.op_type in DEFAULT_OP_BLOCK_LIST:
        return nothing, f"ONNX Runtime's fp16 converter leaves {node.op_type} in float"
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type, opset, ""):
        return nothing, f"{node.op_type} is no operator of ONNX itself, and what types it takes is not known"
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    able = {entry.type_param_str for entry in schema.type_constraints if "tensor(float16)" in entry.allowed_type_strs}
    read = [index for index, name in enumerate(node.input) if name and types.get(name) == _FLOAT32 and _kind(schema.inputs, index) in able]
    kinds = {_kind(schema.inputs, index) for index in read}
    given = [
        index for index, name in enumerate(node.output) if name and types.get(name) == _FLOAT32 and _kind(schema.outputs, index) in kinds
    ]
    if not read or not given:
        floats = any(types.get(name) == _FLOAT32 for name in (*node.input, *node.output))
        return nothing, f"{node.op_type} takes no float16" if floats else "it works on no float32 values"
    for index in read:
        values = wiring.constant(node.input[index])
        if values is not None and values.size and not float(np.max(np.abs(values))) <= _LARGEST:
            return nothing, f"'{node.input[index]}' has values beyond what fp16 holds ({_LARGEST:,.0f})"
    return (read, given), ""


def _kind(formals: Any, index: int) -> str:
    """The type variable of an input or output; the last one of a schema may stand for many."""
    if not formals:
        return ""
    return str(formals[min(index, len(formals) - 1)].type_str)


def _halved(model: Any, chosen: Mapping[str, tuple[list[int], list[int]]]) -> Any:
    """A copy with the ``chosen`` layers in fp16. Each tensor keeps its name and its float32 values for the layers that stay float."""
    import onnx

    changed = copied(model)
    wiring = Wiring(changed)
    narrow: dict[str, str] = {}
    nodes: list[Any] = []
    for node in changed.graph.node:
        reads, gives = chosen.get(node.name, ([], []))
        for index in reads:
            name = node.input[index]
            if name not in narrow:
                narrow[name] = _narrow(wiring, name, nodes)
            node.input[index] = narrow[name]
        nodes.append(node)
        for index in gives:
            name = node.output[index]
            narrow[name] = node.output[index] = wiring.fresh(f"{name}_fp16")
            nodes.append(onnx.helper.make_node("Cast", [narrow[name]], [name], name=f"{name}/to_fp32", to=_FLOAT32))
    _replace_nodes(changed, nodes)
    _drop_unread_casts(changed, {node.name for node in model.graph.node})
    return changed


def _narrow(wiring: Wiring, name: str, nodes: list[Any]) -> str:
    """The name of the float16 of a tensor: a constant's is stored, another's is cast, once for all who read it."""
    import onnx

    values = wiring.constant(name)
    if values is not None:
        return wiring.store(values.astype(np.float16), f"{name}_fp16")
    narrow = wiring.fresh(f"{name}_fp16")
    nodes.append(onnx.helper.make_node("Cast", [name], [narrow], name=f"{name}/to_fp16", to=_FLOAT16))
    return narrow


def _drop_unread_casts(model: Any, names: set[str]) -> None:
    """Takes out casts back to float32 that nobody reads, and constants of which only the float16 is left."""
    wiring = Wiring(model)
    used = {*wiring.readers, *wiring.outputs}
    kept = [node for node in model.graph.node if node.name in names or node.op_type != "Cast" or node.output[0] in used]
    _replace_nodes(model, kept)
    Wiring(model).sweep(keep=lambda node: node.op_type not in ("Constant", "ConstantOfShape"))


def _replace_nodes(model: Any, nodes: list[Any]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]  # those of a graph end with it
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _refused(model: Any) -> str:
    """Why the runtime does not take the model; empty when it does."""
    from edgeprof import running

    try:
        running.open_session(model.SerializeToString())
    except ModelError as error:
        return str(error)[:200]
    return ""


def _one_by_one(model: Any, chosen: Mapping[str, tuple[list[int], list[int]]]) -> tuple[Any, set[str]]:
    """The model with those layers in fp16 that the runtime takes so, each tried by itself."""
    taken = {layer: places for layer, places in chosen.items() if not _refused(_halved(model, {layer: places}))}
    changed = _halved(model, taken)
    return (changed, set(taken)) if not _refused(changed) else (model, set())
