"""How labels pass an operator: one rule a family, `RULES` by op type. What has no rule pins all that reaches it (`values.other`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgeprof.models.graph import Layer
from edgeprof.recipes.pruning.labels import Flow
from edgeprof.recipes.pruning.rules import places, shapes, values, weights

Rule = Callable[[Flow, Layer], None]

FOLLOWS_SIZES: Mapping[str, tuple[int, ...]] = {
    "Concat": (), "Slice": (0,), "Gather": (0,), "Squeeze": (0,), "Unsqueeze": (0,), "Cast": (0,), "Identity": (0,), "Reshape": (1,),
    "Resize": (3,),
}  # fmt: skip
"""Inputs (none: all) whose rules know what to do with sizes that count labels; elsewhere such sizes pin what they count."""


def _each(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: Mapping[str, Rule] = {
    **_each(weights.conv, "Conv ConvTranspose"),
    **_each(weights.gemm, "Gemm"),
    **_each(weights.matmul, "MatMul"),
    **_each(values.per_channel, "BatchNormalization InstanceNormalization"),
    **_each(
        values.unary,
        "Relu LeakyRelu Clip Sigmoid Tanh Erf Gelu HardSwish HardSigmoid Elu Selu Celu Softplus Softsign Mish Swish ThresholdedRelu Abs Neg"
        " Exp Log Sqrt Reciprocal Floor Ceil Round Sign Sin Cos Not Cast Identity Dropout Shrink",
    ),
    **_each(
        values.broadcast, "Add Sub Mul Div Pow Max Min Sum Mean PRelu Where Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor Mod"
    ),
    **_each(values.spatial, "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool"),
    **_each(places.resize, "Resize Upsample"),
    **_each(places.pad, "Pad"),
    **_each(places.transpose, "Transpose"),
    **_each(places.concat, "Concat"),
    **_each(places.split, "Split"),
    **_each(places.slice_, "Slice"),
    **_each(places.gather, "Gather"),
    **_each(shapes.size_of, "Shape"),
    **_each(shapes.squeeze, "Squeeze Unsqueeze"),
    **_each(shapes.flatten, "Flatten"),
    **_each(shapes.reshape, "Reshape"),
    **_each(
        values.reduce,
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare ArgMax ArgMin",
    ),
    **_each(values.along_axis, "Softmax LogSoftmax Hardmax LpNormalization LayerNormalization RMSNormalization"),
    **_each(values.across_channels, "LRN GroupNormalization MeanVarianceNormalization"),
}
