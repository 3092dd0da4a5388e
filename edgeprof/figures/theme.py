"""Colours and scales that every view shares: notebook, HTML report, plotly figures and static pictures.

1. Sequential scales run away from the background: pale to dark on light, dark to pale on dark. Lightness (OKLab) is linear
   in the value, so equal steps look equal and the scale survives colour blindness and grey print.
2. Diverging scales have the background's lightness in the middle: blue is below, orange is above (never red and green).
3. Not measured has no colour: views hatch it or leave it empty, with a dash.
4. Op types are coloured by family, and the name always stands beside the colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgeprof.records.profile import Origin, Profile


@dataclass(frozen=True)
class Theme:
    """Colours of one theme, as ``#rrggbb``. Text colours reach WCAG AA (4.5:1) on ``surface`` and ``raised``.

    ``sequential`` and ``diverging`` are nine equally spaced stops each (`scale_colors` interpolates, `colorscale` is plotly's
    form). ``accent`` marks a selection, ``warning`` an outlier, a limit or anything estimated.
    """

    name: str
    surface: str
    raised: str
    ink: str
    ink_muted: str
    line: str
    accent: str
    good: str
    warning: str
    bar: str
    missing: str
    sequential: tuple[str, ...]
    diverging: tuple[str, ...]
    families: dict[str, str]

    def op_color(self, op_type: str) -> str:
        """Colour of an op type: the colour of its family."""
        return self.families[op_family(op_type)]


LIGHT = Theme(
    "light",
    surface="#ffffff", raised="#f6f8fa", ink="#1a1f26", ink_muted="#59636e", line="#d5dbe1",
    accent="#b8400b", good="#0b6e4f", warning="#8f4023", bar="#147daa", missing="#8b949e",
    sequential=("#e4f9f7", "#b0e4e3", "#83cdcf", "#56b4c2", "#239ab8", "#147daa", "#1c5f98", "#25437e", "#24295f"),
    diverging=("#085f96", "#4f84af", "#85a8c7", "#bacedf", "#f1f4f6", "#dec5bc", "#c59888", "#ab6c56", "#8f4023"),
    families={
        "convolution": "#1f6fb5", "matrix": "#c4550e", "attention": "#a8326e", "recurrent": "#8a4b9e", "activation": "#1d8a5f",
        "normalization": "#6a5acd", "pooling": "#8a7a00", "elementwise": "#2a9fc4", "quantization": "#a0713a",
        "movement": "#7a8490", "control": "#c23b4a", "other": "#5c6670",
    },
)  # fmt: skip

DARK = Theme(
    "dark",
    surface="#111418", raised="#1c2128", ink="#e8ebef", ink_muted="#a3acb7", line="#39424d",
    accent="#ffb454", good="#56cfaf", warning="#f3ad6d", bar="#26b2b1", missing="#77818d",
    sequential=("#232843", "#2c3e65", "#2c5784", "#22759b", "#1293ab", "#26b2b1", "#56cfaf", "#9de5a3", "#e8f49e"),
    diverging=("#6cc9fd", "#5b9dc3", "#4a738b", "#384b57", "#252728", "#554537", "#876649", "#bb885b", "#f3ad6d"),
    families={
        "convolution": "#5aa7ec", "matrix": "#f08a45", "attention": "#ea6fae", "recurrent": "#c68bdb", "activation": "#4cc795",
        "normalization": "#a79af5", "pooling": "#c9b92c", "elementwise": "#63cdee", "quantization": "#d3a56c",
        "movement": "#99a3af", "control": "#f27a86", "other": "#b3bcc6",
    },
)  # fmt: skip

THEMES = {"light": LIGHT, "dark": DARK}

ORIGIN_LABELS: dict[Origin, str] = {
    "measured": "measured",
    "estimated": "estimated, not measured",
    "replayed": "replayed from a recording",
    "imported": "imported from another tool",
    "simulated": "simulated, no real board",
}
"""What a badge or a title says of a Profile's origin. Estimated ones are hatched wherever they are drawn."""


def origin_label(profile: Profile) -> str:
    """How the numbers of ``profile`` came about; of a replay also how those of its recording did, unless they were measured."""
    label = ORIGIN_LABELS[profile.origin]
    return label if profile.basis in (profile.origin, "measured") else f"{label}, {ORIGIN_LABELS[profile.basis]}"


# Looked for in this order in the op type, lower-case and without underscores; the first hit decides.
_FAMILY_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("control", ("if", "loop", "scan", "while", "call")),  # whole words, see op_family
    ("movement", ("reorder", "memcpy")),
    ("convolution", ("conv",)),
    ("attention", ("attention", "rotaryembedding")),
    ("recurrent", ("lstm", "gru", "rnn")),
    ("normalization", ("softmax", "normalization", "layernorm", "batchnorm", "instancenorm", "l2norm", "lrn")),
    ("matrix", ("matmul", "gemm", "fullyconnected", "einsum")),
    ("quantization", ("quantize", "cast")),
    ("pooling", ("pool", "reduce", "argmax", "argmin", "topk", "mean")),
    ("activation", ("relu", "sigmoid", "tanh", "gelu", "clip", "swish", "elu", "mish", "softplus", "logistic", "erf")),
    ("movement", (
        "reshape", "transpose", "concat", "split", "slice", "gather", "scatter", "squeeze", "flatten", "pad", "expand", "tile",
        "resize", "upsample", "shape", "identity", "depthtospace", "spacetodepth", "copy", "constant", "pack",
    )),
    ("elementwise", (
        "add", "sub", "mul", "div", "pow", "sqrt", "exp", "log", "max", "min", "abs", "neg", "sum", "where", "equal", "less", "greater",
        "floor", "ceil", "round", "not", "and", "or", "sin", "cos", "square",
    )),
)  # fmt: skip


@lru_cache(1024)
def op_family(op_type: str) -> str:
    """The family of an ONNX, ONNX Runtime or TFLite op type: ``convolution``, ``matrix``, ..., or ``other``."""
    word = op_type.lower().replace("_", "")
    for family, parts in _FAMILY_WORDS:
        hit = word in parts if family == "control" else any(part in word for part in parts)
        if hit:
            return family
    return "other"


def colorscale(stops: Sequence[str]) -> list[list[float | str]]:
    """``stops`` in plotly's form: ``[[0.0, "#..."], ..., [1.0, "#..."]]``."""
    return [[i / (len(stops) - 1), color] for i, color in enumerate(stops)]


def scale_colors(positions: NDArray[np.float64], stops: Sequence[str]) -> NDArray[np.uint8]:
    """RGB of each position from 0 to 1 on the scale; shape ``positions.shape + (3,)``. NaN becomes black: mask it yourself."""
    table = np.array([rgb(stop) for stop in stops], dtype=float)
    at = np.clip(np.nan_to_num(np.asarray(positions, dtype=float)), 0, 1)
    grid = np.linspace(0, 1, len(stops))
    channels = [np.interp(at, grid, table[:, c]) for c in range(3)]
    colors = np.stack(channels, axis=-1).round().astype(np.uint8)
    colors[np.isnan(positions)] = 0
    return colors


def rgb(color: str) -> tuple[int, int, int]:
    """``(r, g, b)``, 0 to 255, of ``#rrggbb``."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
