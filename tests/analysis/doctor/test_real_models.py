"""Int8 models made with ONNX Runtime's own quantizer and measured for real: the runtime does what the doctor says it does."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

from edgeprof.analysis.doctor import diagnose
from edgeprof.profiler import profile
from edgeprof.recipes.target import this_machine
from tests.analysis.doctor.patients import found

WIDTH, SIDE = 16, 48


class _Samples(quantization.CalibrationDataReader):
    def __init__(self):
        self.left = 2

    def get_next(self):
        self.left -= 1
        return (
            {"x": np.random.default_rng(self.left).standard_normal((1, WIDTH, SIDE, SIDE)).astype(np.float32)} if self.left >= 0 else None
        )


@pytest.fixture(scope="module")
def float_model(tmp_path_factory):
    """stem -> Erf -> conv -> + stem -> last."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((WIDTH, WIDTH, 3, 3)).astype(np.float32), f"w{i}") for i in range(3)]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="stem", pads=[1] * 4), helper.make_node("Erf", ["a"], ["b"], name="erf"),
        helper.make_node("Conv", ["b", "w1"], ["c"], name="conv", pads=[1] * 4), helper.make_node("Add", ["c", "a"], ["d"], name="add"),
        helper.make_node("Conv", ["d", "w2"], ["y"], name="last", pads=[1] * 4),
    ]  # fmt: skip
    described = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, WIDTH, SIDE, SIDE]) for name in ("x", "y")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", described[:1], described[1:], weights), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    path = tmp_path_factory.mktemp("doctor") / "float.onnx"
    onnx.save(model, path)
    return path


def measured(path):
    return profile(path, runs=10, warmup=2, memory=False, progress=False)


@pytest.fixture(scope="module")
def int8(float_model):
    """Profiles by activation type."""
    made = {}
    for name in ("QUInt8", "QInt8"):
        path = float_model.with_name(f"{name}.onnx")
        activations = getattr(quantization.QuantType, name)
        quantization.quantize_static(
            str(float_model), str(path), _Samples(), activation_type=activations, weight_type=quantization.QuantType.QInt8, per_channel=True
        )
        made[name] = measured(path)
    return made


def test_conversions_around_an_operator_without_a_kernel(int8):
    one = found(diagnose(int8["QUInt8"]))["qdq-unfused"]
    assert one.evidence["no_int8_kernel_layers"] == 2 and "Erf" in one.text
    assert one.cost_ms > 0
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(int8["QUInt8"].layers["op_type"])


@pytest.mark.skipif(not this_machine().is_x86, reason="int8 activations are the right choice there")
def test_int8_activations_are_not_fused_on_x86(int8):
    signed, unsigned = found(diagnose(int8["QInt8"])), found(diagnose(int8["QUInt8"]))
    assert signed["activation-type"].evidence["wanted"] == "uint8" and "activation-type" not in unsigned
    assert signed["qdq-unfused"].evidence["layers"] > unsigned["qdq-unfused"].evidence["layers"]


def test_against_the_float_model(float_model, int8):
    one = found(diagnose(int8["QUInt8"], baseline=measured(float_model)))["against-baseline"]
    assert one.evidence["matched_layers"] >= 4  # x86 adds within a convolution
    assert one.evidence["conversions_ms"] > 0
    assert "times as fast" in one.text
