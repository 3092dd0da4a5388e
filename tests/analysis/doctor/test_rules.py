"""Each rule of the doctor on a profile where it fires, with its numbers, and on one where it does not."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgeprof.analysis.doctor import IDS, diagnose
from edgeprof.models.graph import Layer
from edgeprof.records.profile import Finding
from edgeprof.testing import make_peaks
from tests.analysis.doctor.patients import OLD, PI, ZEN, found, patient, quantize, row


def ids(profile, **options):
    return set(found(diagnose(profile, **options)))


# Q/DQ left unfused


def chain(second="Conv", *, precision="float32", zero_point="uint8", last=True):
    """x -> Q -> DQ -> conv1 (int8) -> Q -> DQ -> ``second`` -> Q -> DQ -> y; with ``last`` False the second's output stays float."""
    q0, d0 = quantize("x")
    q1, d1 = quantize("a")
    q2, d2 = quantize("b")
    layers = [q0, d0, Layer("conv1", "Conv", ("x_dq", "w1"), ("a",)), q1, d1, Layer("second", second, ("a_dq", "w2"), ("b",))]
    layers += [q2, replace(d2, outputs=("y",))] if last else [Layer("out", "Identity", ("b",), ("y",))]
    rows = [
        row("x_Q", "QuantizeLinear", 0.02, "uint8"),
        row("conv1", "QLinearConv", 0.5, "int8", sources=["x_DQ", "conv1", "a_Q"], macs=1e6),
        row("a_DQ", "DequantizeLinear", 0.1),
        row("second", second, 0.2, precision, macs=1e6),
        *([row("b_Q", "QuantizeLinear", 0.08, zero_point), row("b_DQ", "DequantizeLinear", 0.02)] if last else []),
    ]
    types = dict.fromkeys(("x_zp", "a_zp", "b_zp"), zero_point)
    return patient(rows, layers, types=types, weights={"w1": (8, 8, 1, 1), "w2": (8, 8, 1, 1)})


def test_unfused_beside_an_operator_without_a_kernel():
    one = found(diagnose(chain("Erf")))["qdq-unfused"]
    assert one.severity == "warning" and one.cost_ms == pytest.approx(0.22)
    assert (one.cost_low_ms, one.cost_high_ms) == (pytest.approx(0.22 * 0.95), pytest.approx(0.22 * 1.05))
    assert one.layers == ("x_Q", "a_DQ", "b_Q", "b_DQ")
    assert "2 QuantizeLinear and 2 DequantizeLinear run as layers of their own" in one.text
    assert "2 beside operators without an int8 kernel (Erf); 2 at the model's inputs and outputs" in one.text
    assert one.evidence["no_int8_kernel_ms"] == pytest.approx(0.18) and one.evidence["model_edge_layers"] == 2
    assert "only feed Erf" in one.experiment


def test_unfused_beside_a_layer_left_float():
    one = found(diagnose(chain(last=False)))["qdq-unfused"]
    assert "1 beside layers that the model keeps in float (second)" in one.text
    assert one.experiment.startswith("Quantize second too")


def test_unfused_with_int8_activations_on_x86():
    one = found(diagnose(chain(zero_point="int8")))["qdq-unfused"]
    assert one.evidence["int8_activations_layers"] == 2 and "uint8" in one.experiment


def test_unfused_for_no_reason_known():
    assert found(diagnose(chain()))["qdq-unfused"].evidence["not_fused_layers"] == 2


def test_unfused_pair_with_nothing_between():
    (q, d), (q2, d2) = quantize("x"), quantize("z", of="x_dq")
    rows = [row(name, op, 0.1, p) for name, op, p in (("x_DQ", "DequantizeLinear", "float32"), ("z_Q", "QuantizeLinear", "uint8"))]
    one = found(diagnose(patient(rows, [q, d, q2, replace(d2, outputs=("y",))])))["qdq-unfused"]
    assert one.evidence == {"layers": 2, "back_to_back_layers": 2, "back_to_back_ms": pytest.approx(0.2)}


def test_fused_conversions_are_no_case():
    profile = patient([row("conv1", "QLinearConv", 0.5, "int8", sources=["x_DQ", "conv1", "a_Q"])], chain().graph.layers)
    assert "qdq-unfused" not in ids(profile)


def test_conversions_that_take_next_to_nothing_are_not_told():
    profile = patient([row("x_Q", "QuantizeLinear", 0.0001, "uint8"), row("conv1", "QLinearConv", 0.5, "int8")])
    assert "qdq-unfused" not in ids(profile)


# Weights


def weighted(stored):
    layers = [Layer("w_DQ", "DequantizeLinear", ("w_q", "scale"), ("w",)), Layer("norm", "LayerNormalization", ("x", "w"), ("y",))]
    return patient([row("w_DQ", "DequantizeLinear", 0.1), row("norm", "LayerNormalization", 0.4)], layers, weights=stored)


def test_weights_dequantized_in_every_run():
    told = found(diagnose(weighted({"w_q": (8,)})))
    one = told["weights-dequantized"]
    assert one.cost_ms == pytest.approx(0.1) and "1 stored tensor (of norm) become float anew" in one.text
    assert "qdq-unfused" not in told


def test_a_computed_tensor_is_no_weight():
    assert "weights-dequantized" not in ids(weighted({}))


# Movement


@pytest.mark.parametrize(
    ("id_", "op_type", "kind"),
    [
        ("layout-reorders", "ReorderInput", "inserted"),
        ("layout-reorders", "ReorderOutput", "inserted"),
        ("casts", "Cast", "inserted"),
        ("casts", "Cast", "layer"),
        ("transposes", "Transpose", "inserted"),
        ("device-copies", "MemcpyToHost", "inserted"),
    ],
)
def test_movement(id_, op_type, kind):
    told = found(diagnose(patient([row("conv", "Conv", 0.8), row("moved", op_type, 0.2, kind=kind)])))
    one = told[id_]
    assert one.layers == ("moved",) and one.cost_ms == pytest.approx(0.2) and one.severity == "warning"
    assert one.text.startswith(f"1 {op_type}: 200 µs, 19.6 % of the time.")
    assert one.evidence == {"layers": 1, "inserted": int(kind == "inserted")}


def test_transposes_of_the_model_and_movement_without_time_are_no_case():
    rows = [row("conv", "Conv", 0.8), row("t", "Transpose", 0.2), row("r", "ReorderOutput", -0.01, kind="inserted")]
    assert not ids(patient(rows)) & {"transposes", "layout-reorders"}


# Islands


def island(inner_ms=0.05, boundary_ms=0.06, inner="float32", outer="int8"):
    """before -> DQ -> inner -> Q -> after, all of other precision than ``inner``."""
    q, _ = quantize("b")
    layers = [
        Layer("before", "Conv", ("x",), ("a_q",)), Layer("a_DQ", "DequantizeLinear", ("a_q", "scale"), ("a",)),
        Layer("inner", "Conv", ("a",), ("b",)), q, Layer("after", "Conv", ("b_q",), ("y",)),
    ]  # fmt: skip
    rows = [
        row("before", "Conv", 0.5, outer), row("a_DQ", "DequantizeLinear", boundary_ms), row("inner", "Conv", inner_ms, inner),
        row("b_Q", "QuantizeLinear", boundary_ms), row("after", "Conv", 0.5, outer),
    ]  # fmt: skip
    return patient(rows, layers)


@pytest.mark.parametrize(("inner", "outer", "word"), [("float32", "int8", "float"), ("int8", "float32", "int8")])
def test_island(inner, outer, word):
    one = found(diagnose(island(inner=inner, outer=outer)))["precision-islands"]
    assert one.layers == ("inner",) and one.cost_ms == pytest.approx(0.12)
    assert f"inner in {word}" in one.text and "gains" not in one.text
    assert math.isnan(one.evidence["gain_ms"]) and one.evidence["boundary_ms"] == pytest.approx(0.12)


def test_island_that_pays():
    assert "precision-islands" not in ids(island(inner_ms=0.2))


def test_layers_of_one_precision_are_no_island():
    assert "precision-islands" not in ids(island(inner="int8"))


def test_island_that_cannot_be_int8():
    profile = island()
    layers = tuple(replace(layer, op_type="Erf") if layer.name == "inner" else layer for layer in profile.graph.layers)
    ops = ["Erf" if name == "inner" else op for name, op in zip(profile.layers["name"], profile.layers["op_type"], strict=True)]
    profile = replace(profile, graph=replace(profile.graph, layers=layers), layers=profile.layers.assign(op_type=ops))
    assert found(diagnose(profile))["precision-islands"].experiment.startswith("Leave more of what surrounds inner in float")


def test_island_against_a_baseline():
    profile = island(inner="int8", outer="float32")

    def baseline(inner_ms):
        return patient([row("before", "Conv", 0.5), row("inner", "Conv", inner_ms), row("after", "Conv", 0.5)], profile.graph.layers)

    one = found(diagnose(profile, baseline=baseline(0.1)))["precision-islands"]
    assert one.evidence["gain_ms"] == pytest.approx(0.05) and one.cost_ms == pytest.approx(0.07)
    assert "precision-islands" not in ids(profile, baseline=baseline(0.2))


# Providers


def test_cpu_fallback():
    rows = [row("conv", "Conv", 0.6, provider="CUDAExecutionProvider"), row("nms", "NonMaxSuppression", 0.4)]
    providers = ("CUDAExecutionProvider", "CPUExecutionProvider")
    one = found(diagnose(patient(rows, providers=providers)))["cpu-fallback"]
    assert one.layers == ("nms",) and one.cost_ms == pytest.approx(0.4)
    assert one.text.startswith("1 of 2 layers run on the CPU though CUDAExecutionProvider came first: 400 µs, 39.2 % of the time.")
    assert "cpu-fallback" not in ids(patient(rows))
    assert "cpu-fallback" not in ids(patient(rows[:1], providers=providers))


# Alignment


def convolution(weights, op_type="Conv", fingerprint=ZEN, **attributes):
    layers = [Layer("conv", op_type, ("x", "w"), ("y",), attributes=attributes)]
    return patient([row("conv", op_type, 1.0, macs=1e6)], layers, weights={"w": weights}, fingerprint=fingerprint)


def test_output_channels_off_alignment():
    one = found(diagnose(convolution((24, 32, 3, 3))))["channels-off-alignment"]
    assert one.cost_ms == pytest.approx(0.25) and "(24 of 32)" in one.text and "estimated" in one.text
    assert one.evidence["block"] == 16
    assert "channels-off-alignment" not in ids(convolution((24, 32, 3, 3), fingerprint=OLD))  # blocks of 8
    assert "channels-off-alignment" not in ids(convolution((32, 32, 3, 3)))
    assert "channels-off-alignment" not in ids(convolution((24, 32, 3, 3), fingerprint=PI))


def test_input_channels_that_keep_a_conv_out_of_the_blocked_layout():
    one = found(diagnose(convolution((32, 22, 3, 3))))["channels-off-alignment"]
    assert math.isnan(one.cost_ms) and one.evidence["outside_layout"] == 1 and "blocked layout" in one.text
    assert "channels-off-alignment" not in ids(convolution((32, 3, 3, 3)))  # the first layer reads channels as they come


@pytest.mark.parametrize(
    ("op_type", "shape", "attributes"), [("Gemm", (64, 20), {}), ("Gemm", (20, 64), {"transB": 1}), ("MatMul", (64, 20), {})]
)
def test_columns_off_alignment(op_type, shape, attributes):
    assert found(diagnose(convolution(shape, op_type, **attributes)))["channels-off-alignment"].cost_ms == pytest.approx(1 - 20 / 32)


def test_a_product_of_one_row_is_not_computed_in_blocks():
    layers = [Layer("fc", "Gemm", ("x", "w"), ("y",))]
    profile = patient([row("fc", "Gemm", 1.0, macs=64 * 20)], layers, weights={"w": (64, 20)})
    assert "channels-off-alignment" not in ids(profile)


# Memory


def product(param_bytes, intensity):
    return patient([row("fc", "Gemm", 1.0, param_bytes=param_bytes, arithmetic_intensity=intensity)], fingerprint=ZEN)


def test_bound_by_reading_weights():
    one = found(diagnose(product(16e6, 0.5)))["memory-bound-weights"]
    assert one.cost_ms == pytest.approx(0.75) and one.evidence["gb_s"] == pytest.approx(16) and "an estimate" in one.text
    assert "int8-weights" in one.experiment
    assert "the board: 20.0 GB/s" in found(diagnose(product(16e6, 0.5), peaks=make_peaks(memory_gb_s=20.0)))["memory-bound-weights"].text


def test_not_bound_by_memory():
    assert "memory-bound-weights" not in ids(product(16e6, 50.0))
    assert "memory-bound-weights" not in ids(product(1e4, 0.5))
    assert "memory-bound-weights" not in found(diagnose(product(16e6, 0.5), peaks=make_peaks(memory_gb_s=200.0)))


# Overhead


def test_tiny_layers_without_conversions():
    rows = [*(row(f"add{i}", "Add", 0.002) for i in range(5)), row("q", "QuantizeLinear", 0.002, "uint8"), row("conv", "Conv", 0.1)]
    one = found(diagnose(patient(rows)))["tiny-layers"]
    assert len(one.layers) == 5 and one.cost_ms == pytest.approx(0.01) and "most often for Add" in one.text
    assert "tiny-layers" not in ids(patient([row("conv", "Conv", 0.1), row("add", "Add", 0.02)]))


# Instructions


def test_no_dot_product():
    rows = [row("conv", "QLinearConv", 0.5, "int8", macs=1e6)]
    one = found(diagnose(patient(rows, fingerprint=OLD)))["no-dot-product"]
    assert math.isnan(one.cost_ms) and "VNNI" in one.text and one.evidence["int8_ms"] == pytest.approx(0.5)
    assert "no-dot-product" not in ids(patient(rows, fingerprint=ZEN))
    assert "no-dot-product" not in ids(patient(rows, fingerprint={}))  # not known
    assert "no-dot-product" not in ids(patient([row("conv", "Conv", 0.5, macs=1e6)], fingerprint=OLD))


def test_int8_activations_on_x86():
    one = found(diagnose(chain(zero_point="int8")))["activation-type"]
    assert one.layers == ("b_Q",) and one.evidence["wanted"] == "uint8" and one.cost_ms == pytest.approx(0.22)
    assert "activation-type" not in ids(chain())


def test_int8_activations_of_a_model_in_operator_format():
    layers = [Layer("conv", "QLinearConv", ("x", "s", "z", "w"), ("y",))]
    profile = patient([row("conv", "QLinearConv", 0.5, "int8", macs=1e6)], layers, types={"x": "int8"})
    assert found(diagnose(profile))["activation-type"].layers == ("conv",)
    uint8 = patient([row("conv", "QLinearConv", 0.5, "int8", macs=1e6)], layers, types={"x": "uint8"})
    assert "activation-type" not in ids(uint8)


def test_uint8_activations_on_arm():
    def on_pi(zero_point):
        profile = chain(zero_point=zero_point)
        return replace(profile, context=replace(profile.context, fingerprint=PI))

    one = found(diagnose(on_pi("uint8")))["activation-type"]
    assert one.layers == ("conv1",) and one.severity == "info" and one.evidence["wanted"] == "int8"
    assert "activation-type" not in ids(on_pi("int8"))


# Dead and double


def test_dead_layers():
    layers = [Layer("conv", "Conv", ("x",), ("y",)), Layer("left", "Relu", ("x",), ("a",)), Layer("over", "Exp", ("a",), ("b",))]
    told = found(diagnose(patient([row("conv", "Conv", 0.5)], layers)))
    assert told["dead-layers"].layers == ("left", "over") and told["dead-layers"].cost_ms == 0
    running = found(diagnose(patient([row("conv", "Conv", 0.5), row("left", "Relu", 0.1)], layers)))["dead-layers"]
    assert running.cost_ms == pytest.approx(0.1) and running.evidence == {"layers": 2, "running": 1}
    assert "dead-layers" not in ids(patient([row("conv", "Conv", 0.5)], layers[:1]))


def test_a_layer_that_a_body_reads_is_not_dead():
    layers = [
        Layer("outer", "Relu", ("x",), ("a",)), Layer("if", "If", ("x",), ("y",)),
        Layer("if/then_branch/exp", "Exp", ("a",), ("b",), parent="if", branch="then_branch"),
    ]  # fmt: skip
    assert "dead-layers" not in ids(patient([row("if", "If", 0.5)], layers))


def twice(second):
    return [
        Layer("a", "Conv", ("x", "w"), ("a",), attributes={"group": 1}), Layer("ra", "Relu", ("a",), ("ra",)),
        second, Layer("rb", "Relu", ("b",), ("rb",)), Layer("add", "Add", ("ra", "rb"), ("y",)),
    ]  # fmt: skip


def test_duplicates_and_what_follows_from_them():
    same = Layer("b", "Conv", ("x", "w"), ("b",), attributes={"group": 1})
    one = found(diagnose(patient([row("a", "Conv", 0.5), row("b", "Conv", 0.5)], twice(same))))["duplicate-layers"]
    assert one.layers == ("b", "rb") and one.cost_ms == pytest.approx(0.5)
    for other in (replace(same, inputs=("x", "v")), replace(same, attributes={"group": 2}), replace(same, op_type="RandomNormalLike")):
        assert "duplicate-layers" not in ids(patient([row("a", "Conv", 0.5)], twice(other)))


# Against the baseline


def pair(int8_ms):
    layers = chain().graph.layers
    rows = [
        row("x_Q", "QuantizeLinear", 0.02, "uint8"),
        row("conv1", "QLinearConv", int8_ms, "int8", sources=["x_DQ", "conv1", "a_Q"]),
        row("a_DQ", "DequantizeLinear", 0.1),
        row("second", "Conv", 0.2),
        row("T", "Transpose", 0.05, "int8", kind="inserted"),
    ]
    float_layers = [Layer("conv1", "Conv", ("x", "w1"), ("a",)), Layer("second", "Conv", ("a", "w2"), ("y",))]
    return patient(rows, layers), patient([row("conv1", "Conv", 0.4), row("second", "Conv", 0.2)], float_layers)


def test_why_int8_is_not_faster():
    profile, baseline = pair(0.6)
    one = found(diagnose(profile, baseline=baseline))["against-baseline"]
    assert one.severity == "warning" and one.title == "Why it is not faster than the baseline"
    expected = {
        "matched_layers": 2, "slower_layers": 1, "slower_by_ms": 0.2, "unchanged_layers": 1, "conversions_ms": 0.12, "inserted_ms": 0.05,
        "float_layers": 1, "float_ms": 0.2, "won_ms": 0.0, "same_conditions": "yes",
    }  # fmt: skip
    assert {key: one.evidence[key] for key in expected} == {k: pytest.approx(v) if k.endswith("ms") else v for k, v in expected.items()}
    assert one.cost_ms == pytest.approx(0.37)
    assert "Q/DQ take 120 µs" in one.text and "(most conv1)" in one.text
    assert one.experiment.startswith("Leave conv1 in float")


def test_what_keeps_int8_from_being_faster_still():
    profile, baseline = pair(0.1)
    one = found(diagnose(profile, baseline=baseline))["against-baseline"]
    assert one.severity == "info" and one.evidence["faster_layers"] == 1 and one.evidence["won_ms"] == pytest.approx(0.3)
    assert one.cost_ms == pytest.approx(0.17) and one.experiment.startswith("See qdq-unfused")


def test_a_fused_layer_goes_by_a_name_that_a_recipe_can_use():
    profile, _ = pair(0.6)
    fused = patient([row("Fused_token_3", "FusedConv", 0.4, sources=["conv1", "second"])], profile.graph.layers)
    one = found(diagnose(profile, baseline=fused))["against-baseline"]
    assert one.layers == ("conv1",) and one.experiment.startswith("Leave conv1 in float")


def test_a_difference_within_the_intervals_is_none():
    profile, baseline = pair(0.402)  # intervals are ±5 %
    assert found(diagnose(profile, baseline=baseline))["against-baseline"].evidence["slower_layers"] == 0


def test_a_baseline_from_elsewhere():
    profile, baseline = pair(0.6)
    elsewhere = replace(baseline, context=replace(baseline.context, board="pi5", threads=4))
    one = found(diagnose(profile, baseline=elsewhere))["against-baseline"]
    assert "different conditions (board, threads)" in one.text and one.evidence["same_conditions"] == "no"


def test_a_profile_that_was_disturbed():
    profile, baseline = pair(0.6)
    busy = replace(profile, findings=(Finding("busy", "warning", "Others were running."),))
    assert "different conditions (busy)" in found(diagnose(busy, baseline=baseline))["against-baseline"].text


def test_a_baseline_with_other_names():
    profile, _ = pair(0.6)
    one = found(diagnose(profile, baseline=patient([row("other", "Conv", 0.4)])))["against-baseline"]
    assert one.evidence["matched_layers"] == 0 and "No layer of the baseline" in one.text


# The whole


def test_dearest_first_and_unknown_costs_last():
    costs = [one.cost_ms for one in diagnose(chain("Erf", zero_point="int8"))]
    known = [cost for cost in costs if not math.isnan(cost)]
    assert known == sorted(known, reverse=True) and not any(math.isnan(cost) for cost in costs[: len(known)])


def test_a_healthy_model():
    diagnoses = diagnose(patient([row("conv", "Conv", 1.0)]))
    assert diagnoses == () and repr(diagnoses) == "<0 diagnoses>" and "Nothing was found" in diagnoses._repr_html_()


def test_as_data_and_as_a_table():
    diagnoses = diagnose(convolution((32, 22, 3, 3)))
    told = json.loads(json.dumps(diagnoses.as_dict(), allow_nan=False))
    assert told["schema_version"] == 1
    assert [one["id"] for one in told["diagnoses"]] == ["channels-off-alignment"] and told["diagnoses"][0]["cost_ms"] is None
    assert diagnoses.table["id"].tolist() == ["channels-off-alignment"] and diagnoses.table["layers"].tolist() == [1]
    assert "channels-off-alignment" in repr(diagnoses)


def test_names_are_never_markup():
    name = "<script>alert(1)</script>"
    layers = [Layer(name, "Conv", ("x", "w"), ("y",))]
    page = diagnose(patient([row(name, "Conv", 1.0)], layers, weights={"w": (24, 32, 3, 3)}))._repr_html_()
    assert "&lt;script&gt;" in page and "<script>" not in page


def test_ids_are_those_of_the_documentation():
    text = Path(__file__).parents[3].joinpath("docs/doctor.md").read_text("utf-8")
    assert tuple(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE)) == IDS
