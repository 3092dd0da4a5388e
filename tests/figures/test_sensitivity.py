"""Figures of sensitivity and of one tensor: laws on tables made by hand, and names that must not be HTML."""

import json
import math

import numpy as np
import pytest

from edgeprof.errors import UsageError
from edgeprof.figures import sensitivity_bars, tensor_histogram
from edgeprof.sensitivities import TensorError
from tests.sensitivity.nets import made

HOSTILE = "</script><img src=x onerror=alert(1)>&\u202e<b>" + "x" * 2000


def histogram(**fields):
    told = {
        "tensor": "y", "layer": "conv", "part": "output", "mode": "all", "dtype": "uint8", "n": 10, "float_range": (0.0, 4.0),
        "quantized_range": (0.0, 3.0), "low": 0.0, "high": 3.0, "clipped": 0.1, "sqnr_db": 20.0, "levels": 3, "scale": np.array([0.01]),
        "zero_point": np.array([0]), "edges": np.linspace(0, 4, 5), "float_counts": np.array([5, 3, 1, 1]),
        "quantized_counts": np.array([5, 3, 2, 0]), "percentiles": {50.0: (1.0, 1.0)},
    }  # fmt: skip
    return TensorError(**told | fields)


def titles(figure):
    return [axis.title.text for axis in figure.select_xaxes()]


def test_panels_follow_what_is_known():
    labels = made([(0.01, 30.0), (0.0, 50.0)], whole_db=25.0, saved_ms=[0.2, 0.1])
    assert titles(sensitivity_bars(labels)) == ["Loss of top1<br>(points)", "SQNR of the outputs<br>(dB), less is worse", "Saves<br>(µs)"]
    bare = made([(0.01, 30.0)], metric="sqnr_db")
    assert titles(sensitivity_bars(bare)) == ["SQNR of the outputs<br>(dB), less is worse", "Saves<br>(B of the file)"]
    assert len(sensitivity_bars(labels).layout.shapes) == 1 and not sensitivity_bars(bare).layout.shapes


def test_orders_and_what_is_left_out():
    found = made([(0.0, 50.0), (0.0, 20.0), (0.0, 30.0)], saved_ms=[0.1, 0.2, 0.9])
    names = lambda figure: list(figure.layout.yaxis.ticktext)  # noqa: E731
    assert names(sensitivity_bars(found)) == ["/layer1", "/layer2", "/layer0"]
    assert names(sensitivity_bars(found, order="saved_ms"))[0] == "/layer2"
    short = sensitivity_bars(found, order="model", top=2)
    assert names(short) == ["/layer0", "/layer1"] and short.layout.meta["note"] == "1 more layers left out · no loss can be told from 0"


def test_estimated_savings_are_hatched_measured_are_not():
    for basis, shape in (("estimated", "/"), ("measured in place", None)):
        figure = sensitivity_bars(made([(0.0, 30.0)], saved_ms=[0.2], basis=basis))
        assert [trace.marker.pattern.shape for trace in figure.data if trace.type == "bar"] == [shape]
        assert ("estimated" in titles(figure)[-1]) == (basis == "estimated")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_are_not_html(theme):
    figure = sensitivity_bars(made([(0.1, 20.0)], names=[HOSTILE], ops=[HOSTILE], model_name=HOSTILE, whole_db=10.0), theme=theme)
    text = json.dumps(figure.to_plotly_json(), default=lambda value: value.item())
    assert "<img" not in text and "\\u202e\\" not in text and "&lt;img" in text
    text = json.dumps(tensor_histogram(histogram(tensor=HOSTILE, layer=HOSTILE), theme=theme).to_plotly_json(), default=str)
    assert "<img" not in text and "&lt;img" in text


def test_nothing_done_is_an_empty_figure():
    figure = sensitivity_bars(made([None, None]))
    assert list(figure.layout.yaxis.ticktext) == [] and "2 trials left" in figure.layout.title.text


def test_histograms_share_their_bins_and_show_what_8_bits_hold():
    figure = tensor_histogram(histogram())
    floats, quantized = figure.data
    assert floats.x == quantized.x == (0, 1, 2, 3, 4) and floats.y == (5, 3, 1, 1, 1) and quantized.y == (5, 3, 2, None, None)
    assert len(figure.layout.shapes) == 2 and figure.layout.yaxis.type == "log"
    assert tensor_histogram(histogram(low=math.nan, high=math.nan), log=False).layout.yaxis.type == "linear"


def test_options_that_make_no_sense():
    found = made([(0.0, 30.0)])
    for options in ({"theme": "blue"}, {"order": "size"}):
        with pytest.raises(UsageError):
            sensitivity_bars(found, **options)
    with pytest.raises(UsageError):
        tensor_histogram(histogram(), theme="blue")
