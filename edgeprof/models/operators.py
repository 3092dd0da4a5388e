"""Which class each operator belongs to when MACs are counted.

Every operator of the ONNX standard stands in exactly one place: a formula in `macs`, one of the classes below that have no
MACs by convention, or `NOT_DEFINED`. A test holds this against the schemas of the installed onnx.
"""

from __future__ import annotations

from collections.abc import Mapping

ONNX = ""
ONNX_ML = "ai.onnx.ml"
ONNX_PREVIEW = "ai.onnx.preview"
ONNX_TRAINING = "ai.onnx.preview.training"
MICROSOFT = "com.microsoft"
NCHWC = "com.microsoft.nchwc"
NHWC = "com.ms.internal.nhwc"

CONTROL_FLOW = frozenset((ONNX, op) for op in ("If", "Loop", "Scan", "SequenceMap"))
"""MACs stand on the nested rows, for one pass of a body; how often and which body runs is known only at run time, so NaN."""

NOT_DEFINED: Mapping[tuple[str, str], str] = {
    (ONNX, "DFT"): "depends on the algorithm: n log n for an FFT, n * n as a matrix product",
    (ONNX, "STFT"): "depends on the algorithm: n log n for an FFT, n * n as a matrix product",
    (ONNX, "Det"): "depends on the algorithm",
    (ONNX, "ImageDecoder"): "depends on the picture's format and content",
    (ONNX_ML, "SVMClassifier"): "depends on the kernel",
    (ONNX_ML, "SVMRegressor"): "depends on the kernel",
    (ONNX_TRAINING, "Gradient"): "a derivative of other layers",
}
"""Operators of the standard that may multiply and accumulate, and why their number is not defined by the specification."""

ONLY_THE_SHAPE = frozenset({(ONNX, "Shape"), (ONNX, "Size")})
"""Operators that do not read the data of their input."""


def _names(domain: str, names: str) -> frozenset[tuple[str, str]]:
    return frozenset((domain, name) for name in names.split())


_MOVES_DATA = _names(
    ONNX,
    """
    BitCast Cast CastLike CenterCropPad Compress Concat ConcatFromSequence Constant ConstantOfShape DepthToSpace Expand EyeLike Flatten
    Gather GatherElements GatherND Identity NonZero OneHot Optional OptionalGetElement OptionalHasElement Pad Range Reshape ReverseSequence
    Scatter ScatterElements ScatterND SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Size
    Slice SpaceToDepth Split SplitToSequence Squeeze TensorScatter Tile Transpose Trilu Unsqueeze Where
    """,
)

_ELEMENTWISE = _names(
    ONNX,
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Celu Clip Cos Cosh
    DequantizeLinear Div Dropout DynamicQuantizeLinear Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN
    LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu RotaryEmbedding Round Selu
    Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum SwiGLU Swish Tan Tanh ThresholdedRelu Xor
    """,
)

_NORMALIZES = _names(
    ONNX,
    """
    BatchNormalization GroupNormalization Hardmax InstanceNormalization LRN LayerNormalization LogSoftmax LpNormalization
    MeanVarianceNormalization RMSNormalization Softmax
    """,
)

_POOLS_OR_REDUCES = _names(
    ONNX,
    """
    ArgMax ArgMin AveragePool Col2Im CumProd CumSum GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool MaxRoiPool MaxUnpool
    NegativeLogLikelihoodLoss NonMaxSuppression ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare SoftmaxCrossEntropyLoss TopK Unique
    """,
)

_INTERPOLATES = _names(ONNX, "GridSample Resize RoiAlign Upsample")

_GENERATES = _names(
    ONNX,
    """
    Bernoulli BlackmanWindow HammingWindow HannWindow MelWeightMatrix Multinomial RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike
    """,
)

_TEXT = _names(ONNX, "RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer")

_ML = _names(
    ONNX_ML,
    """
    ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer LabelEncoder Normalizer OneHotEncoder
    Scaler TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor ZipMap
    """,
)

_TRAINING = _names(ONNX_TRAINING, "Adagrad Adam Momentum")

_ONNX_RUNTIME_IN_ONNX = _names(
    ONNX,
    """
    Affine Crop FusedBatchNorm GivenTensorFill ImageScaler MemcpyFromHost MemcpyToHost ParametricSoftplus Scale ScaledTanh
    SimplifiedLayerNormalization
    """,
)
"""Operators that ONNX Runtime has in the standard domain though the standard does not."""

_MICROSOFT = _names(
    MICROSOFT,
    """
    BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu BitmaskBiasDropout BitmaskDropout BranchwiseRMSNorm CropAndResize DequantizeBFP
    DequantizeLinear DequantizeWithOrder DynamicTimeWarping EmbedLayerNormalization ExpandDims FastGelu GatedAdd GatedRMSNorm
    GatherBlockQuantized GatherND Gelu GemmaRotaryEmbedding GridSample GroupNorm IsAllFinite MRotaryEmbedding MaxpoolWithMask MulInteger
    MurmurHash3 NGramRepeatBlock NhwcMaxPool Pad QEmbedLayerNormalization QLinearAdd QLinearAveragePool QLinearConcat
    QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere QOrderedGelu
    QOrderedLayerNormalization QuantizeBFP QuantizeLinear QuantizeWithOrder QuickGelu RMSNormRotary Range ReduceSumInteger RemovePadding
    RestorePadding RotaryEmbedding SampleOp ScaledSiLU SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization SwiGLU
    Tokenizer TorchEmbedding Trilu UnfoldTensor Unique
    """,
)

_BLOCKED = _names(NCHWC, "AveragePool GlobalAveragePool GlobalMaxPool MaxPool ReorderInput ReorderOutput Upsample")

_CHANNELS_LAST = _names(
    NHWC,
    """
    AveragePool BatchNormalization DepthToSpace GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample InstanceNormalization LRN LpPool
    MaxPool MaxUnpool QLinearAveragePool Resize SpaceToDepth
    """,
)

CLASSES: Mapping[str, frozenset[tuple[str, str]]] = {
    "moves data": _MOVES_DATA,
    "elementwise": _ELEMENTWISE,
    "normalization": _NORMALIZES,
    "pooling or reduction": _POOLS_OR_REDUCES,
    "interpolation": _INTERPOLATES,
    "generation": _GENERATES,
    "text": _TEXT,
    "classical": _ML,
    "optimizer step": _TRAINING,
    "ONNX Runtime": _ONNX_RUNTIME_IN_ONNX | _MICROSOFT | _BLOCKED | _CHANNELS_LAST,
}
"""Classes of operators that have no MACs by the convention in `cost`."""

_NO_MACS = frozenset().union(*CLASSES.values())


def has_no_macs(domain: str, op_type: str) -> bool:
    """True when the operator is known to be no contraction."""
    return (domain, op_type) in _NO_MACS
