"""Axis sizes that the first layers' weights ask of an input whose shape is open: channels of a Conv, columns of a MatMul."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgeprof.models.graph import Layer, TensorInfo

_HANDED_ON = frozenset(
    {"Cast", "QuantizeLinear", "DequantizeLinear", "Sub", "Add", "Mul", "Div", "Identity", "BatchNormalization", "Clip", "Relu"}
)
_FARTHEST = 6


def feature_sizes(inputs: Sequence[TensorInfo], layers: Sequence[Layer], weights: Mapping[str, TensorInfo]) -> dict[str, dict[int, int]]:
    """Input -> axis -> size, from the first Conv, MatMul or Gemm with stored weights that the input reaches."""
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)
    sizes = {}
    for tensor in inputs:
        if tensor.shape is not None and any(not isinstance(dim, int) for dim in tensor.shape):
            sizes[tensor.name] = _first_asked(tensor.name, len(tensor.shape), readers, weights)
    return sizes


def _first_asked(name: str, rank: int, readers: Mapping[str, list[Layer]], weights: Mapping[str, TensorInfo]) -> dict[int, int]:
    for layer, read_as in _reached(name, readers):
        asked = _asked(layer, read_as, weights, rank)
        if asked:
            return asked
    return {}


def _reached(name: str, readers: Mapping[str, list[Layer]]) -> Iterator[tuple[Layer, str]]:
    """Layers that read the tensor, or it after layers that keep its shape; with the name they read it by."""
    frontier = [name]
    for _ in range(_FARTHEST):
        following: list[str] = []
        for tensor in frontier:
            for layer in readers.get(tensor, ()):
                yield layer, tensor
                if layer.op_type in _HANDED_ON:
                    following += layer.outputs[:1]
        frontier = following


def _asked(layer: Layer, name: str, weights: Mapping[str, TensorInfo], rank: int) -> dict[int, int]:
    if len(layer.inputs) < 2 or layer.inputs[0] != name or layer.inputs[1] not in weights:
        return {}
    shape = [dim for dim in weights[layer.inputs[1]].shape or () if isinstance(dim, int)]
    if layer.op_type == "Conv" and len(shape) == rank and rank > 2:
        group = layer.attributes.get("group", 1)
        return {1: shape[1] * (group if isinstance(group, int) else 1)}
    if layer.op_type == "MatMul" and len(shape) >= 2:
        return {rank - 1: shape[-2]}
    if layer.op_type == "Gemm" and len(shape) == 2 and rank == 2 and not layer.attributes.get("transA"):
        return {1: shape[1] if layer.attributes.get("transB") else shape[0]}
    return {}
