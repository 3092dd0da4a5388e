"""Laws of the doctor: it takes any profile, and says nothing that is not in its list."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgeprof.analysis.doctor import IDS, diagnose
from edgeprof.models.graph import Layer
from tests.analysis.doctor.patients import OLD, PI, ZEN, patient, row
from tests.laws import examples
from tests.records import strategies


@examples(0.5)
@given(strategies.profiles(), st.none() | strategies.profiles())
def test_any_profile_can_be_diagnosed(profile, baseline):
    found = diagnose(profile, baseline=baseline)
    assert {one.id for one in found} <= set(IDS)
    assert len({one.id for one in found}) == len(found)
    json.dumps(found.as_dict(), allow_nan=False)
    assert len(found.table) == len(found)
    assert found._repr_html_() and repr(found)


@st.composite
def patients(draw):
    """Profiles whose rows are real operators over a chain, with any times, so that the rules have something to say."""
    ops = draw(st.lists(st.sampled_from(
        ["Conv", "QLinearConv", "QuantizeLinear", "DequantizeLinear", "Cast", "Transpose", "ReorderInput", "Gemm", "Erf", "Relu"]
    ), min_size=1, max_size=8))  # fmt: skip
    times = st.floats(-1, 1e3) | st.sampled_from([float("nan"), float("inf")])
    rows = [
        row(f"n{i}", op, 1.0, draw(st.sampled_from(["float32", "int8", "uint8", ""])), kind=draw(st.sampled_from(["layer", "inserted"])),
            macs=draw(st.sampled_from([0.0, 1e6])), param_bytes=draw(st.sampled_from([0.0, 1e7])), arithmetic_intensity=0.5)
        for i, op in enumerate(ops)
    ]  # fmt: skip
    layers = [
        Layer(f"n{i}", op, (f"t{draw(st.integers(0, i))}", "w", draw(st.sampled_from(["u8", "s8"]))), (f"t{i + 1}",))
        for i, op in enumerate(ops)
    ]
    profile = patient(
        rows, layers, inputs=("t0",), outputs=(f"t{len(ops)}",), weights={"w": draw(st.sampled_from([(24, 22, 3, 3), (20, 20)]))},
        types={"u8": "uint8", "s8": "int8"}, fingerprint=draw(st.sampled_from([ZEN, OLD, PI])),
        providers=draw(st.sampled_from([(), ("CUDAExecutionProvider", "CPUExecutionProvider")])),
    )  # fmt: skip
    table = profile.layers.copy()
    for end in ("latency_ms", "latency_low_ms", "latency_high_ms"):
        table[end] = [*draw(st.lists(times, min_size=len(ops), max_size=len(ops))), 0.0]
    return replace(profile, layers=table)


@examples(0.6)
@given(patients(), st.none() | patients())
def test_costs_are_measured_or_not_known(profile, baseline):
    for one in diagnose(profile, baseline=baseline):
        assert not one.cost_ms < 0 and one.cost_ms != float("inf")
        assert one.text and one.experiment and one.title
        assert not one.layers or set(one.layers) <= {*profile.layers["name"], *(() if baseline is None else baseline.layers["name"])}
