"""Standard operators in the place of ONNX Runtime's own, for shape inference only.

A model that ONNX Runtime optimised and saved holds operators that ONNX's shape inference does not know, and says no shapes
of its own. Each has outputs of the same type and shape as one or two standard operators; those are put into the copy of the graph that
inference reads. The layers of the Graph keep their operators. Definitions:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from edgeprof.models.layers import domain_of
from edgeprof.models.operators import MICROSOFT, NCHWC, ONNX

_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_SLICE_WITH_INPUTS = 10  # opset


class _Writer:
    """Makes the nodes that stand in for one node of a graph."""

    def __init__(self, graph: Any, node: Any, sizes: Mapping[str, Sequence[int]], opset: int) -> None:
        self.graph = graph
        self.opset = opset
        self.node = node
        self.sizes = sizes  # of initializers
        self.nodes: list[Any] = []

    def input(self, place: int) -> str:
        return str(self.node.input[place]) if place < len(self.node.input) else ""

    def attribute(self, name: str, default: int = 0) -> int:
        return next((int(a.i) for a in self.node.attribute if a.name == name), default)

    def add(self, op_type: str, inputs: Sequence[str], output: str = "", *, keep: Sequence[str] = (), **attributes: Any) -> str:
        """One node; it keeps the attributes named in ``keep``. The tensor that it makes, by default the original node's."""
        from onnx import helper

        made = output or str(self.node.output[0])
        new = helper.make_node(op_type, list(inputs), [made], **attributes)
        new.attribute.extend(a for a in self.node.attribute if a.name in keep)
        self.nodes.append(new)
        return made

    def inner(self, what: str) -> str:
        """Name of a tensor that only the stand-in has."""
        return f"{self.node.output[0]}/stand-in/{what}"

    def weights(self, shape: Sequence[int]) -> str:
        """An initializer of this shape with no data."""
        tensor = self.graph.initializer.add()
        tensor.name = self.inner("weights")
        tensor.data_type = _FLOAT
        tensor.dims.extend(shape)
        tensor.data_location = tensor.EXTERNAL
        return str(tensor.name)

    def integers(self, what: str, values: Sequence[int]) -> str:
        from onnx import helper

        self.graph.initializer.append(helper.make_tensor(self.inner(what), _INT64, [len(values)], list(values)))
        return self.inner(what)


_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides")
_GEMM = ("alpha", "beta", "transA", "transB")


def put_in(model: Any) -> None:
    """Replace the operators of ONNX Runtime that have a stand-in, in the model's main graph."""
    graph = model.graph
    if not any((domain_of(node), node.op_type) in _STAND_INS for node in graph.node):
        return
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    nodes = []
    for node in graph.node:
        write = _STAND_INS.get((domain_of(node), node.op_type))
        writer = _Writer(graph, node, sizes, opset)
        if write is not None and node.input and node.output:
            write(writer)
        nodes += writer.nodes or [node]
    copies = [_copy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _copy(node: Any) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def _same(writer: _Writer, place: int = 0) -> None:
    """The first output is like one input; further outputs of skip layers are like it too."""
    writer.add("Identity", [writer.input(place)])
    if writer.node.op_type.startswith("Skip") and len(writer.node.output) > 3 and writer.node.output[3]:
        writer.add("Identity", [writer.input(place)], writer.node.output[3])


def _like(writer: _Writer, op_type: str, places: Sequence[int], keep: Sequence[str] = ()) -> None:
    if not writer.attribute("channels_last"):
        writer.add(op_type, [writer.input(place) for place in places if writer.input(place)], keep=keep)


def _matrix_product(writer: _Writer) -> None:
    if writer.attribute("transBatchA") or writer.attribute("transBatchB"):
        return
    stored = writer.sizes.get(writer.input(1), ())
    if writer.attribute("transB") and not writer.attribute("transA") and len(stored) >= 2:
        writer.add("MatMul", [writer.input(0), writer.weights([*stored[:-2], stored[-1], stored[-2]])])
    elif writer.attribute("transA") or writer.attribute("transB"):
        a = "...ki" if writer.attribute("transA") else "...ik"
        b = "...jk" if writer.attribute("transB") else "...kj"
        writer.add("Einsum", [writer.input(0), writer.input(1)], equation=f"{a},{b}->...ij")
    else:
        writer.add("MatMul", [writer.input(0), writer.input(1)])


def _integer_product(writer: _Writer) -> None:
    product = writer.add("MatMulInteger", [writer.input(0), writer.input(1)], writer.inner("product"))
    writer.add("Cast", [product], to=_FLOAT)


def _packed_product(writer: _Writer) -> None:
    """B is packed; its true shape is in the attributes K and N."""
    writer.add("MatMul", [writer.input(0), writer.weights([writer.attribute("K"), writer.attribute("N")])])


def _quantized_gemm(writer: _Writer) -> None:
    """The output has A's type with y_scale, else it is float."""
    to_float = not writer.input(7)
    made = writer.add("Gemm", [writer.input(0), writer.input(3)], writer.inner("product") if to_float else "", keep=_GEMM)
    if to_float:
        writer.add("Cast", [made], to=_FLOAT)


def _quantized_concat(writer: _Writer) -> None:
    """Inputs are the output's scale and zero point, then tensor, scale, zero point for each."""
    writer.add("Concat", list(writer.node.input[2::3]), keep=("axis",))


def _attention(writer: _Writer, *, to_float: bool = False) -> None:
    """(batch, tokens, in) becomes (batch, tokens, size of V)."""
    weights = writer.sizes.get(writer.input(1))
    if not weights or len(weights) != 2:
        return
    parts = next((list(a.ints) for a in writer.node.attribute if a.name == "qkv_hidden_sizes"), [])
    size = parts[2] if len(parts) == 3 else weights[1] // 3
    made = writer.add("MatMul", [writer.input(0), writer.weights([weights[0], size])], writer.inner("product") if to_float else "")
    if to_float:
        writer.add("Cast", [made], to=_FLOAT)


def _query_like(writer: _Writer) -> None:
    """Attention over separate Q and K: the output is like the query."""
    if writer.input(1):
        writer.add("Identity", [writer.input(0)])


def _from_blocked(writer: _Writer) -> None:
    """Channels were padded to whole blocks; ``channels`` of them are real."""
    channels = writer.attribute("channels")
    last = writer.attribute("channels_last")
    made = writer.inner("channels") if last else ""
    if writer.opset < _SLICE_WITH_INPUTS:
        made = writer.add("Slice", [writer.input(0)], made, starts=[0], ends=[channels], axes=[1])
    else:
        bounds = [writer.integers(what, [value]) for what, value in (("start", 0), ("end", channels), ("axis", 1))]
        made = writer.add("Slice", [writer.input(0), *bounds], made)
    if last:
        writer.add("Transpose", [made], perm=[0, 2, 3, 1])


def _to_blocked(writer: _Writer) -> None:
    if writer.attribute("channels_last"):
        writer.add("Transpose", [writer.input(0)], perm=[0, 3, 1, 2])
    else:
        writer.add("Identity", [writer.input(0)])


_LIKE_THE_FIRST_INPUT = (
    "BiasGelu", "BiasSoftmax", "BiasDropout", "FastGelu", "Gelu", "GemmaRotaryEmbedding", "QLinearLeakyRelu", "QLinearSigmoid",
    "QLinearSoftmax", "QuickGelu", "RotaryEmbedding", "ScaledSiLU", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
    "SkipGroupNorm", "GroupNorm", "Trilu",
)  # fmt: skip

_STAND_INS: Mapping[tuple[str, str], Callable[[_Writer], None]] = {
    **{(MICROSOFT, op): _same for op in _LIKE_THE_FIRST_INPUT},
    (ONNX, "SimplifiedLayerNormalization"): _same,
    (MICROSOFT, "FusedConv"): partial(_like, op_type="Conv", places=(0, 1, 2), keep=_CONV),
    (MICROSOFT, "QLinearConv"): partial(_like, op_type="QLinearConv", places=range(9), keep=_CONV),
    (MICROSOFT, "FusedGemm"): partial(_like, op_type="Gemm", places=(0, 1, 2), keep=_GEMM),
    (MICROSOFT, "QLinearAdd"): partial(_like, op_type="Add", places=(0, 3)),
    (MICROSOFT, "QLinearMul"): partial(_like, op_type="Mul", places=(0, 3)),
    (MICROSOFT, "QLinearAveragePool"): partial(_like, op_type="AveragePool", places=(0,), keep=_POOL),
    (MICROSOFT, "QLinearGlobalAveragePool"): partial(_like, op_type="GlobalAveragePool", places=(0,)),
    (MICROSOFT, "QuantizeLinear"): partial(_like, op_type="QuantizeLinear", places=(0, 1, 2), keep=("axis",)),
    (MICROSOFT, "DequantizeLinear"): partial(_like, op_type="DequantizeLinear", places=(0, 1, 2), keep=("axis",)),
    (MICROSOFT, "Pad"): partial(_like, op_type="Pad", places=(0, 1, 2), keep=("mode",)),
    (MICROSOFT, "EmbedLayerNormalization"): partial(_like, op_type="Gather", places=(2, 0)),
    (MICROSOFT, "DynamicQuantizeMatMul"): partial(_like, op_type="MatMul", places=(0, 1)),
    (MICROSOFT, "FusedMatMul"): _matrix_product,
    (MICROSOFT, "FusedMatMulActivation"): _matrix_product,
    (MICROSOFT, "TransposeMatMul"): _matrix_product,
    (MICROSOFT, "MatMulIntegerToFloat"): _integer_product,
    (MICROSOFT, "MatMulNBits"): _packed_product,
    (MICROSOFT, "MatMulBnb4"): _packed_product,
    (MICROSOFT, "QGemm"): _quantized_gemm,
    (MICROSOFT, "QLinearConcat"): _quantized_concat,
    (MICROSOFT, "Attention"): _attention,
    (MICROSOFT, "QAttention"): partial(_attention, to_float=True),
    (MICROSOFT, "MultiHeadAttention"): _query_like,
    (MICROSOFT, "DecoderMaskedMultiHeadAttention"): _query_like,
    (MICROSOFT, "GroupQueryAttention"): _query_like,
    (NCHWC, "Conv"): partial(_like, op_type="Conv", places=(0, 1, 2), keep=_CONV),
    (NCHWC, "MaxPool"): partial(_like, op_type="MaxPool", places=(0,), keep=_POOL),
    (NCHWC, "AveragePool"): partial(_like, op_type="AveragePool", places=(0,), keep=_POOL),
    (NCHWC, "GlobalAveragePool"): partial(_like, op_type="GlobalAveragePool", places=(0,)),
    (NCHWC, "GlobalMaxPool"): partial(_like, op_type="GlobalMaxPool", places=(0,)),
    (NCHWC, "ReorderInput"): _to_blocked,
    (NCHWC, "ReorderOutput"): _from_blocked,
}
