"""Whole jobs on simulated boards: whether energies come out as they are, and whether the board can be had in every shape."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import edgeprof as ep
from edgeprof.analysis import findings
from edgeprof.boards.base import Cancelled, Done, Planned, Progress, Sampled
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.boards.simulation.spec import BoardSpec
from edgeprof.errors import UsageError
from edgeprof.models.inputs import make_inputs
from edgeprof.records.trace import EnergyPlan, RunPlan
from tests.boards.conftest import MODELS, chain, graph_of
from tests.records import strategies

SHORT = EnergyPlan(budget_s=6, passes=2, model_s=1, samples=20, warm_limit_s=5)
QUICK = {"runs": 4, "warmup": 1, "progress": False}


def measured(path: Path, spec: BoardSpec | None = None, *, known=None, **options):
    board = SimulatedBoard(spec, known=known)
    return ep.profile(path, board=board, **(QUICK | {"energy": "layers", "energy_plan": SHORT} | options))


def ids(profile) -> set[str]:
    return {finding.id for finding in findings(profile)} | {finding.id for finding in profile.findings}


@pytest.fixture
def net(make_model) -> Path:
    return make_model("two branches")


# ---- are energies what they are? ----

LAYERS = 16
SLOW = BoardSpec(rate_hz=10, average_ms=100, idle_mw=3000, isolation_bias=0)
"""A sensor as slow and coarse as they come: ten readings a second, in steps of 40 mW, with 1 % noise."""


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> Path:
    """A chain of matrix products; what they take is the world's to say."""
    names = ["x", *(f"t{i}" for i in range(LAYERS - 1)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], "w"], [names[i + 1]], name=f"n{i}") for i in range(LAYERS)]
    weight = numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")
    path = tmp_path_factory.mktemp("products") / "products.onnx"
    onnx.save(graph_of(nodes, {"x": [1, 8]}, {"y": [1, 8]}, [weight]), path)
    return path


def attributed(path: Path, spec: BoardSpec, known: dict[str, tuple[float, float]]):
    """(profile, found and true energies of the layers in mJ, true energy of a run above idle in mJ)."""
    profile = measured(path, spec, known=known, runs=20, energy_plan=EnergyPlan(budget_s=60, seed=spec.seed))
    truth = SimulatedBoard(spec, known=known).truth(path)["energy_mj"].to_numpy()
    call = spec.call_us / 1e6 * spec.compute_mw / 2
    return profile, profile.measured_layers["energy_mj"].to_numpy(), truth, truth.sum() + call


def test_energies_of_layers_are_true_in_a_minute_at_ten_readings_a_second(products):
    errors, held, anchors = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        times, powers = np.exp(rng.uniform(math.log(0.1), math.log(8), LAYERS)), rng.uniform(500, 6000, LAYERS)
        known = {f"n{i}": (float(times[i]), float(powers[i])) for i in range(LAYERS)}
        spec = BoardSpec(**(vars(SLOW) | {"seed": seed}))
        profile, found, truth, whole = attributed(products, spec, known)
        layers = profile.measured_layers
        errors += np.abs(found / truth - 1).tolist()
        held += ((layers["energy_low_mj"] <= truth) & (truth <= layers["energy_high_mj"])).tolist()
        anchors.append(abs(profile.context.energy.above_idle_mj / whole - 1))
        assert abs(profile.context.energy.closure_gap) < 0.02 and "energy-closure" not in ids(profile)
    assert np.median(errors) < 0.02 and np.quantile(errors, 0.9) < 0.06
    assert np.mean(held) >= 0.8, "of the 95 % intervals"
    assert max(anchors) < 0.01


def test_a_layer_of_ten_times_its_neighbours_power_is_found(products):
    """All take as long; who multiplies time by mean power sees nothing."""
    known = {f"n{i}": (1.0, 6000.0 if i == 5 else 600.0) for i in range(LAYERS)}
    profile, found, truth, _ = attributed(products, SLOW, known)
    assert int(np.argmax(found)) == 5
    assert found[5] / np.median(np.delete(found, 5)) == pytest.approx(10, rel=0.1)
    assert np.abs(found / truth - 1).max() < 0.15
    assert profile.measured_layers["power_mw"].iloc[5] == pytest.approx(6000, rel=0.02)


@pytest.mark.parametrize("skew_ms", [40.0, -40.0])
def test_a_sensor_whose_clock_is_off_by_less_than_it_averages_does_no_harm(products, skew_ms):
    known = {f"n{i}": (1.0, 1000.0 + 250 * i) for i in range(LAYERS)}
    _, found, truth, _ = attributed(products, BoardSpec(**(vars(SLOW) | {"skew_ms": skew_ms})), known)
    assert np.median(np.abs(found / truth - 1)) < 0.02


def test_layers_that_draw_otherwise_by_themselves_leave_a_gap_that_is_said(products):
    known = {f"n{i}": (1.0, 3000.0) for i in range(LAYERS)}
    biased = BoardSpec(**(vars(SLOW) | {"isolation_bias": 0.3, "seed": 7}))  # of this seed the layers draw 15 % more on average
    profile, found, truth, _ = attributed(products, biased, known)
    gap = profile.context.energy.closure_gap
    assert gap < -0.1 and "energy-closure" in ids(profile)
    assert gap == pytest.approx(1 - found.sum() / truth.sum(), abs=0.02)
    assert profile.context.energy.above_idle_mj == pytest.approx(truth.sum(), rel=0.02), "the whole is right for all that"


# ---- the board in every shape ----


@pytest.mark.parametrize("kind", [name for name in MODELS if name != "long chain"])
def test_energy_of_every_kind_of_model(kind, make_model):
    profile = measured(make_model(kind))
    told, layers = profile.context.energy, profile.measured_layers
    top = layers[layers["kind"] != "nested"]
    assert profile.origin == "simulated" and told.inference_mj > told.above_idle_mj > 0
    assert (layers.loc[layers["kind"] == "nested", "energy_method"].str.startswith("part of")).all()
    assert layers.loc[layers["kind"] == "nested", "energy_mj"].isna().all()
    if not len(top):
        assert told.method == "model" and told.reason == "The optimised model has no layers."
        return
    assert told.method == "layers" and (top["energy_mj"].notna() == top["energy_method"].str.contains("loop")).all()
    assert top["energy_mj"].notna().all() or kind in ("strings", "dynamic outputs", "loop"), "they move next to nothing, or nobody knows"
    if top["energy_mj"].notna().any():
        assert layers["energy_closed_mj"].sum() == pytest.approx(told.above_idle_mj)
        assert profile.layers["energy_mj"].sum() == pytest.approx(told.above_idle_mj)


def test_a_thousand_layers(tmp_path):
    onnx.save(chain(1000), tmp_path / "long.onnx")
    plan = EnergyPlan(budget_s=80, passes=1, model_s=0.5, samples=10, warm_limit_s=1, small_us=0)
    profile = measured(tmp_path / "long.onnx", BoardSpec(rate_hz=100, average_ms=10), runs=1, memory=False, energy_plan=plan)
    assert len(profile.measured_layers) == 1000 == len(profile.context.energy.groups)
    assert profile.context.energy.passes == 1
    assert profile.measured_layers["energy_method"].str.startswith(("own loop", "not told")).all()


def test_without_a_power_sensor_all_else_is_measured(net):
    profile = measured(net, BoardSpec(rate_hz=0))
    assert profile.context.energy.reason == "There is no power sensor." and profile.context.energy.method == ""
    assert profile.measured_layers["energy_mj"].isna().all() and profile.measured_layers["latency_ms"].notna().all()
    assert {channel.name for use in profile.context.sensors for channel in use.channels} == {"simulated/soc_c", "simulated/cpu_mhz"}
    assert "energy-not-measured" in ids(profile)


def test_only_the_sensors_that_were_asked_for_are_read(net):
    profile = measured(net, sensors=["environment"])
    assert set(profile.samples["channel"]) == {"simulated/soc_c", "simulated/cpu_mhz"}
    assert profile.context.energy.reason == "There is no power sensor."
    assert measured(net, sensors=[]).samples.empty


def test_a_channel_that_is_not_there_is_named(net):
    profile = measured(net, energy_plan=EnergyPlan(channels=("VDD_GPU",)))
    assert profile.context.energy.reason == "No power channel is called 'VDD_GPU'; there are: simulated/input_mw."
    by_end = measured(net, energy="model", energy_plan=EnergyPlan(channels=("input",), model_s=1, samples=20, warm_limit_s=1))
    assert by_end.context.energy.channels == ("simulated/input_mw",) and by_end.context.energy.method == "model"


def test_energy_is_not_measured_when_it_was_not_asked_for(net):
    profile = measured(net, energy="off")
    assert profile.context.energy.asked == "off" and profile.context.energy.reason.startswith("It was not asked for")
    assert not any(identity.startswith("energy") for identity in ids(profile))


def test_energy_of_the_model_alone(net):
    profile = measured(net, energy="model")
    assert profile.context.energy.method == "model" and profile.context.energy.reason == ""
    assert profile.measured_layers["energy_mj"].isna().all() and "layers" not in set(profile.windows["phase"])


@pytest.mark.parametrize("rate_hz", [1.0, 10.0, 1000.0])
def test_few_readings_are_enough_where_they_were_asked_for(rate_hz, products):
    """Rests are long enough for the sensor too, so that it is not blamed for them."""
    known = {f"n{i}": (1.0, 3000.0) for i in range(LAYERS)}
    plan = EnergyPlan(samples=30, model_s=1, idle_s=0.5, warm_limit_s=1)
    profile = measured(products, BoardSpec(rate_hz=rate_hz, average_ms=800 / rate_hz), known=known, energy="model", energy_plan=plan)
    assert profile.context.energy.reason == "" and profile.context.energy.above_idle_mj == pytest.approx(16 * 3, rel=0.05)


@pytest.mark.parametrize(
    ("rate_hz", "plan"),
    [
        (10.0, {"budget_s": 200, "passes": 5}),
        (200.0, {"budget_s": 30}),
        (1.0, {"passes": 2, "loop_s": 0.5, "samples": 10}),
        (200.0, {"passes": 2, "loop_s": 0.1, "cool_down_s": 5}),
        (10.0, {"passes": 1, "samples": 60, "idle_s": 4}),
    ],
)
def test_it_takes_as_long_as_was_announced(rate_hz, plan, products):
    known = {f"n{i}": (1.0, 3000.0) for i in range(LAYERS)}
    said: list[float] = []
    profile = measured(
        products,
        BoardSpec(rate_hz=rate_hz, average_ms=1),
        known=known,
        memory=False,
        energy_plan=EnergyPlan(warm_limit_s=1, **plan),
        progress=lambda event: said.append(event.seconds) if isinstance(event, Planned) else None,
    )
    windows = profile.windows[profile.windows["phase"].isin(["idle", "model", "layers", "cooldown"])]
    anchor, passes = windows[windows["pass"] < 0], windows[windows["pass"] >= 0]
    took = [(part["end_ms"].max() - part["start_ms"].min()) / 1e3 for part in (anchor, passes) if len(part)]
    assert took == pytest.approx(said, rel=0.03)
    assert "budget_s" not in plan or took[1] == pytest.approx(plan["budget_s"], rel=0.03)


def test_a_budget_that_is_too_short_for_the_sensor_is_refused_before_it_is_spent(products):
    known = {f"n{i}": (1.0, 3000.0) for i in range(LAYERS)}

    def with_budget(seconds):
        plan = EnergyPlan(budget_s=seconds, samples=40, warm_limit_s=1)
        return measured(products, BoardSpec(rate_hz=2, average_ms=1), known=known, memory=False, energy_plan=plan)

    profile = with_budget(10)
    told = profile.context.energy
    assert told.method == "model" and told.inference_mj > 0 and "layers" not in set(profile.windows["phase"])
    assert told.reason.startswith(
        "The budget leaves 0.04 s for each of 17 loops, in which a sensor of 2 readings a second says too little;"
    )
    enough = re.search(r"give it (\d+) s or more\.$", told.reason)[1]
    assert with_budget(int(enough)).context.energy.method == "layers"
    assert with_budget(int(enough) // 2).context.energy.method == "model"


def test_a_board_that_gets_too_hot_says_so(products):
    known = {f"n{i}": (1.0, 3000.0) for i in range(LAYERS)}
    hot = BoardSpec(throttle_c=52, warm_s=5, throttle_factor=2)
    profile = measured(products, hot, known=known)
    assert "energy-throttled" in ids(profile) and profile.context.thermal.throttled[0].startswith("the simulated processor became too hot")
    assert profile.context.thermal.hottest_c > 52 and "throttled" in set(profile.windows["note"])
    assert profile.context.energy.inference_mj > 0


def test_too_hot_it_stops_where_that_was_asked_for(products):
    known = {f"n{i}": (1.0, 3000.0) for i in range(LAYERS)}
    plan = EnergyPlan(budget_s=20, passes=2, model_s=5, warm_limit_s=0, on_throttle="stop")
    profile = measured(products, BoardSpec(throttle_c=52, warm_s=5), known=known, energy_plan=plan)
    assert {"throttle-stop", "incomplete", "energy-throttled"} <= ids(profile)
    assert profile.context.energy.passes < 2


def test_the_time_limit_is_of_the_whole_job(products):
    """Simulated time: latency and the model's loop fit into it, the loops of layers do not."""
    known = {f"n{i}": (0.1, 3000.0) for i in range(LAYERS)}
    plan = EnergyPlan(budget_s=100, passes=1, model_s=1, samples=20, warm_limit_s=1)
    profile = measured(products, known=known, energy_plan=plan, time_limit_s=30)
    last = float(profile.windows["end_ms"].max()) / 1e3
    assert {"time-limit", "incomplete"} <= ids(profile) and 25 < last < 36
    early = measured(products, known=known, energy_plan=plan, time_limit_s=0.01)
    assert "time-limit" in ids(early) and early.context.energy.reason == "It was stopped before energy was measured."


def test_the_same_seed_is_the_same_measurement_and_another_seed_another(net):
    def of(seed):
        return measured(net, BoardSpec(seed=seed))

    first, again, other = of(1), of(1), of(2)
    for table in ("layers", "runs", "spans", "samples", "windows", "tensors"):
        assert getattr(first, table).equals(getattr(again, table)), table
    assert first.context.energy == again.context.energy != other.context.energy


def test_a_profile_of_it_is_saved_and_loaded_whole(net, tmp_path):
    profile = measured(net)
    profile.save(str(tmp_path / "x.edgeprof"))
    strategies.assert_same(ep.load(tmp_path / "x.edgeprof"), profile)


def test_events_of_a_job_with_energy(net):
    graph = ep.load_model(net)
    plan = RunPlan(runs=4, warmup=1, inputs=make_inputs(graph), energy="layers", energy_plan=SHORT)
    events = list(SimulatedBoard().start(net, plan).events())
    assert isinstance(events[-1], Done) and events[-1].trace.complete
    texts = [event.text for event in events if isinstance(event, Planned)]
    assert len(texts) == 2 and texts[0].startswith("energy of the model will take about") and "loops of" in texts[1]
    done = [event for event in events if isinstance(event, Progress) and event.phase == "energy"]
    assert done[-1].done == done[-1].total
    sampled = [event.samples for event in events if isinstance(event, Sampled)]
    assert sum(map(len, sampled)) == len(events[-1].trace.samples)
    last = np.concatenate([part.time_ns[part.channel == 0] for part in sampled])
    assert (np.diff(last) > 0).all()


def test_cancelled_while_energy_is_measured_the_rest_is_kept(products):
    graph = ep.load_model(products)
    plan = RunPlan(runs=4, warmup=1, inputs=make_inputs(graph), energy="layers", energy_plan=EnergyPlan(budget_s=20_000, passes=2))
    job = SimulatedBoard().start(products, plan)
    last = None
    for event in job.events():
        if isinstance(event, Progress) and event.phase == "energy" and event.done == 1:
            job.cancel()
        last = event
    assert isinstance(last, Cancelled) and not last.trace.complete
    assert sum(len(block.plain_ns) for block in last.trace.blocks) == 4
    assert any(window.phase == "model" for window in last.trace.windows)


def test_truth(net):
    table = SimulatedBoard().truth(net)
    assert list(table.columns) == ["name", "op_type", "latency_ms", "power_mw", "energy_mj"]
    assert table["op_type"].tolist() == ["Conv", "Relu", "Conv", "Sigmoid", "Add"]
    assert table["energy_mj"].tolist() == pytest.approx((table["latency_ms"] * table["power_mw"] / 1000).tolist())


def test_it_has_a_meter_of_its_own(net):
    with pytest.raises(UsageError, match="A simulated board has a meter of its own; leave meters out"):
        SimulatedBoard().start(net, RunPlan(meters=("joulescope",)))


def test_what_it_is_stands_in_the_profile(net):
    profile = measured(net, BoardSpec(seed=7, noise=0.02))
    told = profile.context.fingerprint
    assert told["board_model"] == "simulated" and told["simulation"]["seed"] == 7 and told["simulation"]["noise"] == 0.02
    assert profile.context.runtime == "simulated" and profile.title.endswith("simulated")
