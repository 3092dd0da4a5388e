"""Energy by layer from windows and samples: sessions made by hand, whose energies can be computed in the head."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.records.energy import layer_energy
from edgeprof.records.layer_times import LayerTimes
from edgeprof.records.rows import Row
from edgeprof.records.sensing import Channel, Samples
from edgeprof.records.trace import EnergyGroup, EnergyTrace, RunPlan, Trace, Window
from edgeprof.testing import make_graph

NAN = math.nan
NS_PER_S = 1_000_000_000
RAIL = Channel("ina3221/VDD_IN_mw", "mW", scope="module")
HOT = Channel("thermal/soc_c", "°C")


class Session:
    """What ran one after another, and the power that was drawn meanwhile: read a hundred times a second, never at a moment of change."""

    def __init__(self, rate_hz: float = 100.0) -> None:
        self.windows: list[Window] = []
        self._time: list[np.ndarray] = []
        self._value: list[np.ndarray] = []
        self._now, self._period = 0, NS_PER_S / rate_hz

    def add(self, phase, seconds, milliwatts, *, group=-1, number=-1, runs=0, note="", read=True) -> Session:
        """A window of constant power, or of one that goes from ``milliwatts[0]`` to ``milliwatts[1]``."""
        start, self._now = self._now, self._now + round(seconds * NS_PER_S)
        self.windows.append(Window(phase, start, self._now, "", group, number, runs, note))
        if read:
            times = np.arange(start + self._period / 2, self._now, self._period)
            ends = milliwatts if isinstance(milliwatts, tuple) else (milliwatts, milliwatts)
            self._time.append(times.astype(np.int64))
            self._value.append(np.interp(times, [start, self._now], ends))
        return self

    def idle(self, milliwatts=2000.0, number=-1, **more) -> Session:
        return self.add("idle", 1, milliwatts, number=number, **more)

    def model(self, milliwatts=5000.0, blocks=4, runs=500, number=-1, **more) -> Session:
        for _ in range(blocks):
            self.add("model", 1, milliwatts, number=number, runs=runs, **more)
        return self

    def loop(self, group, milliwatts, number=0, **more) -> Session:
        return self.add("layers", more.pop("seconds", 1), milliwatts, group=group, number=number, runs=100, **more)

    def trace(self, energy="layers", groups=(), skipped=None, refused="", channels=(RAIL.name,), **more) -> Trace:
        """``groups``: positions of the nodes of each loop."""
        made = tuple(g if isinstance(g, EnergyGroup) else EnergyGroup(tuple(g), 10, (1e6,) * len(g)) for g in groups)
        samples = Samples(*(np.concatenate(part) if part else np.empty(0) for part in (self._time, [], self._value)))
        samples = replace(samples, time_ns=samples.time_ns.astype(np.int64), channel=np.zeros(len(samples), np.int32))
        told = EnergyTrace(tuple(channels), "module", made, skipped or {}, refused, planned_s=30.0)
        plan = RunPlan(energy=energy)
        fields = {"channels": (RAIL, HOT), "samples": samples, "windows": tuple(self.windows), "energy": told} | more
        return Trace(plan, "onnxruntime", "1.32.0", (), (), **fields)


def times(*latency_ms: float, below_ms: float = 0.0, above_ms: float = 0.0) -> LayerTimes:
    latency = np.array(latency_ms) * 1e6
    blank = np.full(len(latency), NAN)
    empty = np.empty((0, len(latency)))
    return LayerTimes(
        latency, latency - below_ms * 1e6, latency + above_ms * 1e6, blank, blank, blank, 0, 0, 0, 1, 1, 1, empty, empty, empty, 0, 0
    )


def rows_of(graph: Graph) -> list[Row]:
    return [Row(layer.name, layer.name, layer.op_type, "nested" if layer.parent else "layer", layer.parent or "") for layer in graph.layers]


def energy_of(trace: Trace, latency: LayerTimes, graph: Graph | None = None):
    graph = graph or make_graph(["Conv"] * len(latency.latency))
    return layer_energy(trace, rows_of(graph), graph, latency)


TWO = Session().idle().model().idle().loop(0, 4000).loop(1, 6000).idle(number=0)
"""Idle 2 W; the model 5 W, 2 ms a run: 10 mJ a run, 6 mJ of them above idle. Two layers of 2 W and 4 W above idle."""


def two(session: Session = TWO, latency: LayerTimes | None = None, **more):
    return energy_of(session.trace(groups=[[0], [1]], **more), latency or times(1.0, 0.9))


# ---- the whole model ----


def test_energy_of_an_inference():
    found = two().context
    assert found.inference_mj == pytest.approx(10) and found.above_idle_mj == pytest.approx(6)
    assert (found.loop_mw, found.loop_ms, found.idle_mw) == pytest.approx((5000, 2, 2000))
    assert (found.idle_before_mw, found.idle_after_mw) == pytest.approx((2000, 2000))
    assert (found.runs, found.seconds) == (2000, 4) and found.samples > 380
    assert (found.asked, found.channels, found.scope, found.planned_s) == ("layers", (RAIL.name,), "module", 30)
    assert found.inference_low_mj == pytest.approx(10) and found.inference_high_mj == pytest.approx(10), "all blocks are alike"


def test_the_interval_holds_how_blocks_differ():
    session = Session().idle()
    for milliwatts in (4900, 4950, 5000, 5050, 5100):
        session.model(milliwatts, blocks=1)
    found = energy_of(session.idle().trace("model"), times(1.0)).context
    assert found.inference_mj == pytest.approx(10)
    assert 9.8 < found.inference_low_mj < 9.97 and 10.03 < found.inference_high_mj < 10.2
    assert found.above_idle_low_mj < 6 < found.above_idle_high_mj


def test_one_block_alone_has_no_interval():
    found = energy_of(Session().idle().model(blocks=1).idle().loop(0, 4000).trace(groups=[[0]]), times(1.0)).context
    assert found.inference_mj == pytest.approx(10)
    assert found.inference_low_mj is None and found.inference_high_mj is None
    assert found.above_idle_low_mj is None and found.above_idle_high_mj is None
    assert found.closure_gap is not None and found.closure_gap_low is None


def test_blocks_count_by_their_runs():
    """Twice as many runs in one block: 1000 + 500 + ... runs, 5 J each block."""
    found = energy_of(Session().idle().model(blocks=1, runs=1000).model(blocks=1, runs=250).idle().trace("model"), times(1.0)).context
    assert found.inference_mj == pytest.approx(10_000 / 1250)
    assert found.loop_ms == pytest.approx(2000 / 1250)


def test_the_models_loops_within_the_passes_count_too():
    session = Session().idle().model(4000, blocks=1).idle().model(6000, blocks=1, number=0).idle(number=0)
    assert energy_of(session.trace("model"), times(1.0)).context.inference_mj == pytest.approx(10)


def test_only_the_model_was_asked_for():
    found = energy_of(Session().idle().model().idle().trace("model"), times(1.0, 1.0))
    assert found.context.method == "model" and found.context.reason == "" and found.context.layers_mj is None
    assert np.isnan(found.energy_mj).all() and found.method == ("", "", "")


def test_rest_while_sampling_slowly_is_no_baseline():
    session = Session().idle(1900, note="slow").idle(2000).model().idle(2100)
    found = energy_of(session.trace("model"), times(1.0)).context
    assert (found.idle_mw, found.idle_before_mw, found.idle_after_mw) == pytest.approx((2050, 2000, 2100))
    assert found.above_idle_mj == pytest.approx((5000 - 2050) / 500)


def test_what_sampling_costs_is_told_from_rests_on_both_sides_of_the_slow_one():
    """A board that cools by 40 mW from rest to rest; reading costs 100 mW."""
    session = Session().idle(2080).idle(1960, note="slow").idle(2040).model().idle(2000)
    found = energy_of(session.trace("model"), times(1.0)).context
    assert found.sampling_mw == pytest.approx(100)
    assert found.sampling_error_mw == pytest.approx(0)
    assert (found.idle_mw, found.idle_before_mw, found.idle_after_mw) == pytest.approx((2020, 2040, 2000)), "those around the loop"


def test_a_board_that_was_never_read_slowly_tells_no_cost():
    assert energy_of(Session().idle().model().idle().trace("model"), times(1.0)).context.sampling_mw is None


def test_power_that_falls_slowly_after_the_loop_is_a_lag():
    """The rest begins at the loop's 5 W and falls evenly to 2 W: over the first third, less what is trimmed, 80 % are still to go."""
    session = Session(1000).idle().model().add("idle", 1, (5000, 2000))
    assert energy_of(session.trace("model"), times(1.0)).context.lag == pytest.approx((4500 - 2500) / (5000 - 2500), rel=0.01)
    assert energy_of(Session().idle().model().idle().trace("model"), times(1.0)).context.lag == 0
    assert energy_of(Session().idle().model().trace("model"), times(1.0)).context.lag is None


def test_the_error_of_rest_is_in_every_interval_above_idle():
    """Rest that climbs by 400 mW within itself, twice; the loop itself is constant, so that nothing else errs."""
    found = energy_of(Session(1000).idle((1800, 2200)).model().idle((1800, 2200)).trace("model"), times(1.0)).context
    of_a_rest = np.std([40, 120, 200, 280, 360], ddof=1) / math.sqrt(5)
    half = (found.above_idle_high_mj - found.above_idle_low_mj) / 2
    assert half == pytest.approx(1.96 * of_a_rest / math.sqrt(2) / 500, rel=0.15)
    assert found.inference_high_mj == pytest.approx(found.inference_low_mj)


def test_a_sensor_that_stops_changing_in_the_middle_does_not_count_from_there():
    """It sticks at 5 W within the model's loop: two blocks and the rest after them read alike."""
    session = Session().idle(1990).idle(2010).model(4990, blocks=1).model(5010, blocks=1).model(5000).idle(5000)
    found = energy_of(session.trace("model"), times(1.0)).context
    assert found.stuck_s == pytest.approx(5, abs=0.05)
    assert found.above_idle_mj == pytest.approx((5000 - 2010) / 500)
    assert found.idle_after_mw is None


def test_loops_that_were_read_by_a_stuck_sensor_have_no_power():
    session = Session().idle(2000).model(5000).idle(2005).loop(0, 4000).loop(1, 6000).model(5005, blocks=1, number=0)
    for number in (1, 2):
        session.idle(5005, number=number).loop(0, 5005, number).model(5005, blocks=1, number=number).loop(1, 5005, number)
    found = two(session, times(1.0, 1.0))
    assert found.power_mw[:2].tolist() == pytest.approx([1995, 3995], abs=3)
    assert found.context.passes == 1


def test_a_layer_takes_the_power_of_its_loop_times_its_time_in_the_model():
    found = two()
    assert found.power_mw.tolist() == pytest.approx([2000, 4000, NAN], nan_ok=True)
    assert found.energy_mj.tolist() == pytest.approx([2.0, 3.6, 0.4])
    assert found.isolated_ms.tolist() == pytest.approx([1, 1, NAN], nan_ok=True)
    assert found.method[:2] == ("own loop", "own loop") and "less the sum" in found.method[2]


def test_what_the_layers_leave_is_a_gap_and_nothing_is_scaled():
    found = two()
    assert found.context.layers_mj == pytest.approx(5.6)
    assert found.context.closure_gap == pytest.approx(1 - 5.6 / 6)
    assert np.nansum(found.energy_mj) == pytest.approx(found.context.above_idle_mj), "with the row between layers"
    assert found.context.method == "layers" and found.context.reason == ""


def test_the_closed_column_sums_to_the_models_energy():
    closed = two().closed_mj
    assert closed[:2].tolist() == pytest.approx([2.0 * 6 / 5.6, 3.6 * 6 / 5.6]) and math.isnan(closed[2])


def test_layers_that_sum_to_more_make_a_negative_gap():
    found = two(latency=times(2.0, 1.0))
    assert found.context.closure_gap == pytest.approx(1 - 8 / 6) and found.energy_mj[2] == pytest.approx(-2)
    assert np.nansum(found.closed_mj) == pytest.approx(6)


def test_idle_is_a_line_between_rests():
    """Rests of 2 W and 3 W around two loops of 1 s: their middles lie at 1/3 and 2/3 between those of the rests."""
    session = Session().idle().model().idle().idle(number=0).loop(0, 5000).loop(1, 5000).idle(3000, number=0)
    assert two(session).power_mw[:2].tolist() == pytest.approx([3000 - 1000 / 3, 3000 - 2000 / 3])


def test_before_the_first_rest_and_behind_the_last_idle_is_theirs():
    session = Session().loop(0, 4000).idle().model().idle(3000).loop(1, 6000)
    assert two(session).power_mw[:2].tolist() == pytest.approx([2000, 3000])


def test_passes_are_averaged_and_their_scatter_is_the_interval():
    """Three passes of one loop, 100 mW apart; the other loop does not scatter, and is as sure as both together."""
    session = Session().idle().model().idle()
    for number, milliwatts in enumerate((3900, 4000, 4100)):
        session.loop(0, milliwatts, number).loop(1, 6000, number)
    found = two(session.idle(number=2), times(1.0, 1.0))
    pooled = math.sqrt(((100 / 3900) ** 2 + (100 / 4100) ** 2) / 4)
    half = 1.96 * pooled * np.array([4000, 6000]) / math.sqrt(3)
    assert found.context.passes == 3
    assert found.power_mw[:2].tolist() == pytest.approx([2000, 4000])
    assert found.high_mj[:2].tolist() == pytest.approx([(2000 + half[0]) / 1000, (4000 + half[1]) / 1000])
    assert found.low_mj[:2].tolist() == pytest.approx([(2000 - half[0]) / 1000, (4000 - half[1]) / 1000])
    assert found.context.groups[0].low_mw == pytest.approx(2000 - half[0]) and found.context.groups[0].seconds == 3
    assert found.context.closure_gap_low < found.context.closure_gap < found.context.closure_gap_high


def test_the_interval_of_the_time_is_in_that_of_the_energy():
    found = two(latency=times(1.0, 0.9, below_ms=0.1, above_ms=0.2))
    assert found.low_mj[0] == pytest.approx(2.0 - 0.2) and found.high_mj[0] == pytest.approx(2.0 + 0.4)


def test_a_time_without_an_interval_leaves_that_of_the_power():
    latency = replace(times(1.0, 0.9), low=np.full(2, NAN), high=np.full(2, NAN))
    found = two(latency=latency)
    assert found.low_mj[:2].tolist() == pytest.approx([2.0, 3.6])


def test_one_pass_alone_goes_by_the_scatter_within_it():
    """Power that climbs within the loop: five parts, their means 20, 60, 100, 140 and 180 mW above its start."""
    session = Session(1000).idle().model().idle().loop(0, (3900, 4100), seconds=10).loop(1, 6000)
    found = two(session, times(1.0, 1.0))
    assert found.context.passes == 1
    error = np.std([20, 60, 100, 140, 180], ddof=1) / math.sqrt(5)
    assert found.high_mj[0] - found.energy_mj[0] == pytest.approx(2.776 * error / 1000, rel=0.01), "Student's t of five parts"


def test_short_layers_share_a_loop_and_its_power():
    found = energy_of(
        Session().idle().model().idle().loop(0, 4000).loop(1, 3000).trace(groups=[[0], [1, 2]]),
        times(1.0, 0.5, 0.2),
        make_graph(["Conv", "Relu", "Relu"]),
    )
    assert found.power_mw[:3].tolist() == pytest.approx([2000, 1000, 1000])
    assert found.energy_mj[:3].tolist() == pytest.approx([2.0, 0.5, 0.2])
    assert found.method[1] == "loop of 2 short Relu layers, whose power they share"
    assert found.context.groups[1].layers == ("Relu_1", "Relu_2") and found.context.groups[1].copies == 10


def test_times_of_a_node_that_was_not_timed_alone_are_not_known():
    groups = [EnergyGroup((0,), 1, (0.0,)), EnergyGroup((1,), 1, ())]
    assert np.isnan(energy_of(TWO.trace(groups=groups), times(1.0, 1.0)).isolated_ms).all()


def test_a_layer_without_a_loop_says_why():
    found = energy_of(TWO.trace(groups=[[0], [2]], skipped={1: "its input s is no plain tensor"}), times(1.0, 1.0, 1.0))
    assert found.method[1] == "no loop: its input s is no plain tensor"
    assert math.isnan(found.energy_mj[1]) and math.isnan(found.power_mw[1]) and math.isnan(found.closed_mj[1])
    assert found.energy_mj[[0, 2]].tolist() == pytest.approx([2, 4])


def test_nodes_that_are_not_there_hurt_nobody():
    found = energy_of(TWO.trace(groups=[[0, 99, -1], [1]], skipped={-1: "so", 98: "so"}), times(1.0, 1.0))
    assert found.energy_mj[:2].tolist() == pytest.approx([2, 4]) and found.method[:2] == ("own loop", "own loop")


def test_layers_of_bodies_are_part_of_the_layer_around_them():
    tensors = {name: TensorInfo(name, "float32", (8,)) for name in "xty"}
    layers = (
        Layer("conv", "Conv", ("x",), ("t",)),
        Layer("loop", "Loop", ("t",), ("y",)),
        Layer("loop/body/if", "If", ("t",), ("u",), parent="loop", branch="body"),
        Layer("loop/body/if/then/relu", "Relu", ("t",), ("v",), parent="loop/body/if", branch="then"),
    )
    graph = Graph("g", layers, (tensors["x"],), (tensors["y"],), tensors)
    found = energy_of(TWO.trace(groups=[[0], [1]]), times(1.0, 0.1, 0.3, 0.5), graph)
    assert found.energy_mj[:2].tolist() == pytest.approx([2.0, 4 * 0.9]), "0.1 ms of its own, 0.8 ms in its bodies"
    assert np.isnan(found.energy_mj[2:4]).all()
    assert found.method[2:4] == ("part of loop", "part of loop/body/if")
    assert np.nansum(found.energy_mj) == pytest.approx(6), "nothing counts twice"


def test_a_layer_that_the_sensor_cannot_tell_from_idle_has_no_energy():
    session = Session().idle().model().idle()
    for number, milliwatts in enumerate((2050, 1900, 2120)):
        session.loop(0, 4000, number).loop(1, milliwatts, number)
    found = two(session.idle(number=2))
    assert math.isnan(found.energy_mj[1]) and math.isnan(found.low_mj[1]) and math.isnan(found.closed_mj[1])
    assert found.method[1].startswith("not told from idle: 23 mW, give or take ")
    assert found.energy_mj[0] == pytest.approx(2) and found.context.layers_mj == pytest.approx(2)


@pytest.mark.parametrize("milliwatts", [2000, 1500])
def test_a_loop_at_or_below_idle_is_not_told_from_it(milliwatts):
    found = two(Session().idle().model().idle().loop(0, 4000).loop(1, milliwatts))
    assert math.isnan(found.energy_mj[1]) and found.method[1].startswith("not told from idle")


def test_no_layer_told_from_idle_is_no_sum_of_zero():
    found = two(Session().idle().model().idle().loop(0, 2000).loop(1, 1990))
    assert found.context.layers_mj is None and found.context.closure_gap is None
    assert found.context.closure_gap_low is None and found.context.closure_gap_high is None
    assert np.isnan(found.energy_mj).all() and np.isnan(found.closed_mj).all()


def test_a_layer_that_never_ran_has_no_energy():
    found = two(latency=times(1.0, NAN))
    assert math.isnan(found.energy_mj[1]) and found.context.layers_mj == pytest.approx(2)


def test_a_layer_of_no_time_takes_nothing():
    found = two(latency=times(1.0, 0.0, below_ms=0.1, above_ms=0.1))
    assert found.energy_mj[1] == 0 and found.low_mj[1] == pytest.approx(-0.4) and found.high_mj[1] == pytest.approx(0.4)


def test_readings_of_nothing_at_all_do_not_divide_by_nothing():
    session = Session().idle(0).model(0, blocks=3).model(1, blocks=1).idle(0)
    for number in range(2):
        session.loop(0, 0, number).loop(1, 0, number)
    found = two(session)
    assert np.isnan(found.energy_mj).all()


# ---- throttling ----


def test_windows_in_which_the_board_slowed_itself_down_are_left_out():
    session = Session().idle().model(5000, blocks=3).model(9000, blocks=1, note="throttled").idle()
    session.loop(0, 4000).loop(1, 6000).loop(0, 9000, 1, note="throttled").loop(1, 6000, 1)
    found = two(session)
    assert found.context.inference_mj == pytest.approx(10) and found.context.runs == 1500
    assert found.power_mw[:2].tolist() == pytest.approx([2000, 4000])
    assert found.context.groups[0].seconds == 1 and found.context.groups[1].seconds == 2


def test_they_are_kept_when_they_are_the_rule():
    session = Session().idle().model(5000, blocks=1).model(7000, blocks=3, note="throttled").idle()
    for number in range(2):
        session.loop(0, 4000, number, note="throttled").loop(1, 6000, number, note="throttled")
    found = two(session)
    assert found.context.inference_mj == pytest.approx(13) and found.context.passes == 2
    assert found.power_mw[:2].tolist() == pytest.approx([2000, 4000])


def test_a_model_that_always_throttles_beside_layers_that_do_not():
    session = Session().idle().model(5000, blocks=2, note="throttled").idle()
    for number in range(3):
        session.loop(0, 4000, number).loop(1, 6000, number)
    found = two(session)
    assert found.context.inference_mj == pytest.approx(10) and found.energy_mj[0] == pytest.approx(2)


def test_a_loop_that_always_throttled_says_so():
    session = Session().idle().model().idle()
    for number in range(3):
        session.loop(0, 4000, number).loop(1, 6000, number, note="throttled")
    found = two(session.loop(0, 4000, 3))
    assert found.method[1] == "no loop that can be used: the board slowed itself down" and math.isnan(found.energy_mj[1])
    assert found.context.groups[1].power_mw is None and found.context.groups[1].layers == ("Conv_1",)


# ---- stopped, or not measured ----


def test_stopped_within_the_first_pass_the_layers_that_were_reached_have_energies():
    found = two(Session().idle().model().idle().loop(0, 4000), complete=False)
    assert found.energy_mj[0] == pytest.approx(2) and math.isnan(found.energy_mj[1])
    assert found.method[1] == "no loop that can be used: it was stopped before"
    assert found.context.method == "layers" and found.context.passes == 1


def test_stopped_before_the_first_loop_only_the_model_has_an_energy():
    found = two(Session().idle().model().idle(), complete=False)
    assert found.context.method == "model" and found.context.inference_mj == pytest.approx(10)
    assert found.context.reason == "No loop of a layer can be used: it was stopped before."
    assert np.isnan(found.energy_mj).all()


def test_without_loops_it_says_why():
    trace = Session().idle().model().idle().trace()
    stopped = replace(trace, energy=replace(trace.energy, planned_s=None))
    assert energy_of(stopped, times(1.0)).context.reason == "It was stopped before any layer was measured."
    assert energy_of(trace, times(1.0)).context.reason == "No layer can be run by itself."
    assert energy_of(trace, times()).context.reason == "The optimised model has no layers."


def test_without_the_executed_graph_no_loop_can_be_matched_with_a_layer():
    found = layer_energy(TWO.trace(groups=[[0], [1]]), rows_of(make_graph(["Conv", "Conv"])), None, times(1.0, 1.0))
    assert found.context.method == "model" and "optimised model" in found.context.reason
    assert np.isnan(found.energy_mj).all()


def test_stopped_before_the_models_loop():
    found = energy_of(Session().idle().trace(), times(1.0)).context
    assert (found.method, found.reason) == ("", "It was stopped before the model's energy was known.")


def test_stopped_before_the_energy_phase():
    for trace in (Session().trace(channels=()), replace(Session().trace(), energy=None)):
        found = energy_of(trace, times(1.0)).context
        assert (found.asked, found.method, found.reason) == ("layers", "", "It was stopped before energy was measured.")


def test_energy_that_was_not_asked_for():
    trace = replace(Session().trace("off"), energy=None)
    assert energy_of(trace, times(1.0)).context.reason.startswith("It was not asked for; a power sensor is there")
    no_sensor = replace(trace, no_power="there is no power sensor", channels=())
    assert energy_of(no_sensor, times(1.0)).context.reason == "There is no power sensor."


def test_a_trace_that_knows_nothing_of_power_claims_no_sensor():
    trace = replace(Session().trace("off"), energy=None, channels=(HOT,))
    assert energy_of(trace, times(1.0)).context.reason == ""


def test_a_refusal_is_kept_word_by_word():
    why = "the power sensor can tell the model from rest (600 mW above idle), but in the time of a layer's loop it is only good for 400 mW"
    found = energy_of(Session().idle().model().idle().trace(refused=why), times(1.0)).context
    assert found.method == "model" and found.reason == f"The{why[3:]}."
    assert found.inference_mj == pytest.approx(10)
    nothing = energy_of(Session().trace(channels=(), refused="there is no power sensor"), times(1.0)).context
    assert (nothing.method, nothing.reason) == ("", "There is no power sensor.")


def test_a_stuck_sensor():
    found = energy_of(Session().idle(3000).model(3000).idle(3000).trace(), times(1.0))
    assert (found.context.method, found.context.inference_mj) == ("", None)
    assert found.context.reason == "The power sensor is stuck: all its readings are the same."
    assert np.isnan(found.energy_mj).all()


def test_too_few_readings():
    found = energy_of(Session(rate_hz=1).idle().model().idle().trace(), times(1.0)).context
    assert (found.method, found.reason) == ("", "The power sensor gave too few readings.")
    silent = Session().idle(read=False).model(read=False).idle(read=False)
    assert energy_of(silent.trace(), times(1.0)).context.reason == "The power sensor gave too few readings."


def test_a_loop_with_too_few_readings_says_so():
    found = two(Session().idle().model().idle().loop(0, 4000).loop(1, 6000, read=False))
    assert found.method[1] == "no loop that can be used: the power sensor gave too few readings"


def test_no_rest():
    found = energy_of(Session().model(blocks=2).model(5001).trace(), times(1.0)).context
    assert (found.method, found.reason) == ("", "The board was not seen at rest, so idle power is not known.")
    only_slow = energy_of(Session().idle(note="slow").model().trace(), times(1.0)).context
    assert only_slow.reason == "The board was not seen at rest, so idle power is not known."


def test_a_model_that_the_sensor_cannot_tell_from_rest():
    session = Session()
    for milliwatts in (2000, 2100):
        session.idle((milliwatts, milliwatts + 200)).model((milliwatts + 10, milliwatts + 210), blocks=2)
    found = energy_of(session.idle(2100).trace("model"), times(1.0)).context
    assert found.method == "model" and found.reason.startswith("The power sensor cannot tell the model from rest: ")
    assert found.above_idle_low_mj < 0 < found.above_idle_high_mj


def test_a_model_below_idle_closes_nothing():
    found = two(Session().idle().model(1900, blocks=3).model(1901, blocks=1).idle().loop(0, 4000).loop(1, 6000))
    assert found.context.above_idle_mj < 0 and found.context.reason.startswith("The power sensor cannot tell")
    assert found.context.closure_gap is None and np.isnan(found.closed_mj).all()
    assert found.energy_mj[:2].tolist() == pytest.approx([2.0, 3.6])


def test_no_layers_at_all():
    found = energy_of(Session().idle().model().idle().trace("model"), times())
    assert found.energy_mj.tolist() == pytest.approx([NAN], nan_ok=True) and found.context.inference_mj == pytest.approx(10)


# ---- laws ----

power = st.integers(100, 20_000)


@given(
    st.lists(st.tuples(power, st.floats(0.001, 50)), min_size=1, max_size=5), power, st.integers(0, 9000), st.integers(1, 3), st.randoms()
)
def test_what_is_drawn_is_found_in_any_order_and_adds_up(layers, model_mw, idle_mw, passes, chance):
    session = Session().idle(idle_mw).model(idle_mw + model_mw, blocks=2).idle(idle_mw)
    for number in range(passes):
        order = list(enumerate(layers))
        chance.shuffle(order)
        for group, (milliwatts, _) in order:
            session.loop(group, idle_mw + milliwatts, number)
        session.idle(idle_mw, number)
    found = energy_of(session.trace(groups=[[i] for i in range(len(layers))]), times(*(ms for _, ms in layers)))
    assert found.energy_mj[:-1].tolist() == pytest.approx([milliwatts * ms / 1000 for milliwatts, ms in layers])
    assert found.context.above_idle_mj == pytest.approx(model_mw / 500)
    assert found.energy_mj.sum() == pytest.approx(found.context.above_idle_mj)
    assert np.nansum(found.closed_mj) == pytest.approx(found.context.above_idle_mj)
    assert (found.low_mj[:-1] <= found.energy_mj[:-1]).all() and (found.high_mj[:-1] >= found.energy_mj[:-1]).all()
    assert found.context.inference_mj == pytest.approx((model_mw + idle_mw) / 500)


@given(st.data())
def test_whatever_came_nothing_breaks_and_what_is_not_known_is_none(data):
    """Windows in any order, of any phase, long or short, with readings that are missing, alike or absurd."""
    session = Session(rate_hz=data.draw(st.sampled_from([2, 10, 100])))
    for _ in range(data.draw(st.integers(0, 12))):
        session.add(
            data.draw(st.sampled_from(["idle", "model", "layers", "cooldown"])),
            data.draw(st.sampled_from([0.0, 0.01, 0.3, 2.0])),
            data.draw(st.sampled_from([0.0, 1500.0, 2000.0, 5000.0, NAN, math.inf, -800.0])),
            group=data.draw(st.integers(-1, 3)),
            runs=data.draw(st.sampled_from([0, 10])),
            note=data.draw(st.sampled_from(["", "", "throttled", "slow"])),
            read=data.draw(st.booleans()),
        )
    latency = times(*data.draw(st.lists(st.sampled_from([0.0, 1.0, NAN, -0.1]), min_size=3, max_size=3)))
    found = energy_of(session.trace(groups=[[0], [1, 2], []]), latency)
    told = found.context
    assert told.method != "" or (told.reason and told.inference_mj is None)
    assert not any(value is not None and isinstance(value, float) and math.isnan(value) for value in vars(told).values())
    assert told.layers_mj is None or told.layers_mj == pytest.approx(np.nansum(found.energy_mj[:-1]))
    for method, energy in zip(found.method[:-1], found.energy_mj[:-1], strict=True):
        assert math.isnan(energy) or method.startswith(("own loop", "loop of"))
