"""The four sample networks in PyTorch. Attribute names here become node names in the ONNX files."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

CLASSES = 10


def resnet8() -> nn.Module:
    """ResNet8 in the shape of MLPerf Tiny's, one grey channel, 28x28."""
    return _chain(
        stem=_conv(1, 16, kernel=3),
        stage1=Residual(16, 16, stride=1),
        stage2=Residual(16, 32, stride=2),
        stage3=Residual(32, 64, stride=2),
        head=_head(64),
    )


def dscnn() -> nn.Module:
    """DS-CNN in the shape of MLPerf Tiny's: a strided stem, then four depthwise separable blocks."""
    return _chain(
        stem=_conv(1, 64, kernel=3, stride=2),
        block1=_separable(64),
        block2=_separable(64),
        block3=_separable(64),
        block4=_separable(64),
        head=_head(64),
    )


def mobilenetv2() -> nn.Module:
    """MobileNetV2 of reduced depth and width, one grey channel, 96x96."""
    return _chain(
        stem=_conv(1, 16, kernel=3, stride=2, activation="relu6"),
        block1=InvertedResidual(16, 16, stride=1, expansion=2),
        block2=InvertedResidual(16, 24, stride=2, expansion=6),
        block3=InvertedResidual(24, 24, stride=1, expansion=6),
        block4=InvertedResidual(24, 48, stride=2, expansion=6),
        block5=InvertedResidual(48, 48, stride=1, expansion=6),
        block6=InvertedResidual(48, 96, stride=1, expansion=6),
        block7=InvertedResidual(96, 96, stride=1, expansion=6),
        block8=InvertedResidual(96, 128, stride=2, expansion=6),
        top=_conv(128, 256, activation="relu6"),
        head=_head(256),
    )


def vit() -> nn.Module:
    """A vision transformer with a convolutional stem: 64 tokens of 96 from 96x96, pooled by mean."""
    tokens, width = 64, 96
    return _chain(
        stem=_chain(
            conv1=_conv(1, 16, kernel=3, stride=2),
            conv2=_conv(16, 32, kernel=3, stride=2),
            conv3=_conv(32, 48, kernel=3),
            patches=nn.Conv2d(48, width, kernel_size=3, stride=3),
        ),
        tokens=Tokens(tokens, width),
        block1=Encoder(tokens, width, heads=4),
        block2=Encoder(tokens, width, heads=4),
        block3=Encoder(tokens, width, heads=4),
        block4=Encoder(tokens, width, heads=4),
        block5=Encoder(tokens, width, heads=4),
        block6=Encoder(tokens, width, heads=4),
        norm=nn.LayerNorm(width),
        pool=TokenMean(),
        fc=nn.Linear(width, CLASSES),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is 1x1 where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels_in, channels_out, kernel=3, stride=stride)
        self.conv2 = _conv(channels_out, channels_out, kernel=3, activation=None)
        same = channels_in == channels_out and stride == 1
        project = None if same else _conv(channels_in, channels_out, stride=stride, activation=None)
        self.shortcut = project or nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        return self.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel by 3x3, project by 1x1 without an activation."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.adds = channels_in == channels_out and stride == 1
        self.expand = _conv(channels_in, wide, activation="relu6")
        self.depthwise = _conv(wide, wide, kernel=3, stride=stride, groups=wide, activation="relu6")
        self.project = _conv(wide, channels_out, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


class Tokens(nn.Module):
    """A feature map as a row of tokens, each with a learned position added."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.shape = (-1, width, tokens)
        self.position = nn.Parameter(torch.randn(1, tokens, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) to (n, h * w, width)."""
        return x.reshape(self.shape).transpose(1, 2) + self.position


class Encoder(nn.Module):
    """A transformer block, normalised before attention and before the two linear layers."""

    def __init__(self, tokens: int, width: int, heads: int, expansion: int = 2) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(tokens, width, heads)
        self.residual1 = Sum()
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _chain(
            fc1=nn.Linear(width, width * expansion),
            gelu=nn.GELU(),
            fc2=nn.Linear(width * expansion, width),
        )
        self.residual2 = Sum()

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to the same."""
        x = self.residual1(x, self.attention(self.norm1(x)))
        return self.residual2(x, self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Self-attention in plain operators, each in a module of its own so that it has a name to read."""

    def __init__(self, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        shape = (-1, tokens, heads, width // heads)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.query_heads = Split(shape, order=(0, 2, 1, 3))
        self.key_heads = Split(shape, order=(0, 2, 3, 1))
        self.value_heads = Split(shape, order=(0, 2, 1, 3))
        self.scores = Product(scale=(width // heads) ** -0.5)
        self.softmax = nn.Softmax(dim=-1)
        self.mix = Product()
        self.join = Join((-1, tokens, width))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to the same."""
        query = self.query_heads(self.query(x))
        key = self.key_heads(self.key(x))
        value = self.value_heads(self.value(x))
        weights = self.softmax(self.scores(query, key))
        return self.out(self.join(self.mix(weights, value)))


class Split(nn.Module):
    """(n, tokens, width) to (n, tokens, heads, depth), axes then in the given order."""

    def __init__(self, shape: tuple[int, ...], order: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.order = shape, order

    def forward(self, x: Tensor) -> Tensor:
        """Shapes are fixed numbers, so that the ONNX file computes none."""
        return x.reshape(self.shape).permute(self.order)


class Join(nn.Module):
    """(n, heads, tokens, depth) to (n, tokens, width)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """The inverse of `Split` for the query's order."""
        return x.permute(0, 2, 1, 3).reshape(self.shape)


class Product(nn.Module):
    """A matrix product, of the scaled left side where there is a scale."""

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(..., i, j) and (..., j, k) to (..., i, k)."""
        return (left if self.scale is None else left * self.scale) @ right


class Sum(nn.Module):
    """A residual addition."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two of one shape to the same."""
        return x + y


class TokenMean(nn.Module):
    """The mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to (n, width)."""
        return x.mean(dim=1)


def _chain(**steps: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(steps))


def _conv(
    channels_in: int,
    channels_out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: str | None = "relu",
) -> nn.Sequential:
    """A convolution that keeps the size (but for its stride), batch normalisation, an activation."""
    activations = {"relu": nn.ReLU, "relu6": nn.ReLU6}
    steps: dict[str, nn.Module] = {
        "conv": nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        "norm": nn.BatchNorm2d(channels_out),
    }
    if activation:
        steps[activation] = activations[activation]()
    return _chain(**steps)


def _separable(channels: int) -> nn.Sequential:
    return _chain(
        depthwise=_conv(channels, channels, kernel=3, groups=channels),
        pointwise=_conv(channels, channels),
    )


def _head(channels: int) -> nn.Sequential:
    return _chain(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, CLASSES))
