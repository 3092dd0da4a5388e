"""One tensor in float and in 8 bits: exact on arrays made by hand, and on a net."""

import math

import numpy as np
import pytest

from edgeprof.errors import UsageError
from edgeprof.models import load_model
from edgeprof.recipes.recipe import Quantization
from edgeprof.sensitivities import tensor_error
from edgeprof.sensitivities.tensors import _measured, place_of
from edgeprof.workshop import Workshop
from tests.sensitivity.nets import images, net


def test_ranges_histograms_and_what_is_clipped_are_exact():
    floats = np.array([-1.0, 0.0, 0.5, 1.0, 3.0, 10.0])
    held = np.clip(np.rint(floats / 0.01), 0, 255) * 0.01
    found = _measured(lambda: iter([(floats[:3], held[:3]), (floats[3:], held[3:])]), 11, np.array([0.01]), np.array([0]), "uint8")
    assert (found["low"], found["high"], found["n"]) == pytest.approx((0.0, 2.55, 6))
    assert found["float_range"] == (-1.0, 10.0) and found["quantized_range"] == pytest.approx((0.0, 2.55))
    assert found["clipped"] == pytest.approx(3 / 6), "-1, 3 and 10"
    assert found["float_counts"].tolist() == [1, 2, 1, 0, 1, 0, 0, 0, 0, 0, 1] and found["quantized_counts"].sum() == 6
    noise = ((floats - held) ** 2).sum()
    assert found["sqnr_db"] == pytest.approx(10 * math.log10((floats**2).sum() / noise)) and found["levels"] == 4
    assert found["percentiles"][50.0][0] == pytest.approx(0.5, abs=0.01)


def test_values_that_are_all_the_same_have_a_histogram():
    same = np.zeros(5)
    found = _measured(lambda: iter([(same, same)]), 4, np.zeros(0), np.zeros(0), "")
    assert found["float_counts"].sum() == 5 and found["sqnr_db"] == 200 and math.isnan(found["clipped"])


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(UsageError, match="not finite"):
        _measured(lambda: iter([(np.array([math.nan]), np.zeros(1))]), 4, np.zeros(0), np.zeros(0), "")


def test_names(tmp_path):
    graph = load_model(net(tmp_path / "net.onnx"))
    assert place_of("second", None, graph) == ("second", "output", 0) and place_of("second", "weights", graph) == ("second", "weights", 1)
    assert place_of("second.w", None, graph) == ("second", "weights", 1) and place_of("x", None, graph) == ("first", "input", 0)
    assert place_of("third.r", None, graph) == ("third_relu", "output", 0)
    for name, part, text in (("secnd", None, "did you mean 'second'"), ("pool", "weights", "no stored weights")):
        with pytest.raises(UsageError, match=text):
            place_of(name, part, graph)


def test_a_damaged_weight_shows(tmp_path):
    path = net(tmp_path / "net.onnx", damaged="second")
    with Workshop(path, data=images(), calibration=16) as shop:
        one_scale = tensor_error(shop, "second", part="weights", quantization=Quantization(per_channel=False))
        by_channel = tensor_error(shop, "second.w")
        output = tensor_error(shop, "first", mode="only")
        with pytest.raises(UsageError, match="cannot be int8 by itself"):
            tensor_error(shop, "flatten", mode="only")
    assert one_scale.dtype == "int8" and len(one_scale.scale) == 1 and one_scale.levels < 50
    assert len(by_channel.scale) == 6 and by_channel.levels > 3 * one_scale.levels and math.isnan(by_channel.clipped)
    assert output.layer == "first_relu" and output.is_quantized and output.low == pytest.approx(0, abs=1e-6) and output.sqnr_db > 30
    assert output.float_counts.sum() == output.quantized_counts.sum() == output.n == 32 * 6 * 64
    assert "<b>" not in one_scale._repr_html_() and "99.9 %" in output._repr_html_()
    assert output.record()["clipped"] == output.clipped and by_channel.record()["clipped"] is None


def test_options_that_make_no_sense(tmp_path):
    path = net(tmp_path / "net.onnx")
    for options in ({"mode": "some"}, {"part": "bias"}, {"bins": 0}, {"samples": 0}):
        with pytest.raises(UsageError, match="mode is 'all' or 'only'"):
            tensor_error(path, "second", data=images(), **options)
