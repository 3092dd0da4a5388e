"""Colours that can be told apart, by rule and not by eye."""

import numpy as np
import pytest

from edgeprof.figures.theme import DARK, LIGHT, THEMES, colorscale, op_family, rgb, scale_colors

themes = pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)


def linear(color):
    c = np.array(rgb(color)) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lightness(color):
    """OKLab lightness, 0 to 1."""
    to_lms = np.array(
        [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]]
    )
    return float(np.cbrt(to_lms @ linear(color)) @ [0.2104542553, 0.7936177850, -0.0040720468])


def contrast(a, b):
    high, low = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@themes
def test_sequential_lightness_is_linear(theme):
    steps = np.diff([lightness(c) for c in theme.sequential])
    assert np.ptp(steps) < 0.01 and (np.sign(steps) == np.sign(steps[0])).all()


@themes
def test_diverging_lightness_is_symmetric(theme):
    tones = np.array([lightness(c) for c in theme.diverging])
    assert np.abs(tones - tones[::-1]).max() < 0.01


@themes
def test_text_is_readable(theme):
    for ground in (theme.surface, theme.raised):
        for ink in (theme.ink, theme.ink_muted, theme.warning, theme.good, theme.accent):
            assert contrast(ink, ground) >= 4.5, (ink, ground)
        for color in theme.families.values():
            assert contrast(color, ground) >= 2.8, color


@pytest.mark.parametrize(
    ("op_type", "family"),
    [
        ("Conv", "convolution"), ("DEPTHWISE_CONV_2D", "convolution"), ("QLinearConv", "convolution"), ("FusedMatMul", "matrix"),
        ("FULLY_CONNECTED", "matrix"), ("ReorderInput", "movement"), ("LayerNormalization", "normalization"), ("Softmax", "normalization"),
        ("DequantizeLinear", "quantization"), ("GlobalAveragePool", "pooling"), ("If", "control"), ("HardSigmoid", "activation"),
        ("LeakyRelu", "activation"), ("Add", "elementwise"), ("Reshape", "movement"), ("ReduceMean", "pooling"), ("", "other"),
    ],
)  # fmt: skip
def test_op_family(op_type, family):
    assert op_family(op_type) == family
    assert LIGHT.op_color(op_type) == LIGHT.families[family]


def test_families_are_the_same_in_both_themes():
    assert list(LIGHT.families) == list(DARK.families)


def test_scale_colors():
    colors = scale_colors(np.array([0.0, 0.5, 1.0, np.nan, 2.0]), ("#000000", "#ffffff"))
    assert colors[:, 0].tolist() == [0, 128, 255, 0, 255]
    assert colorscale(("#000000", "#ffffff")) == [[0.0, "#000000"], [1.0, "#ffffff"]]
