"""Which power channels count, rule by rule, and the power over a stretch of time, against what was put in."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.agent.power import Readings, Source, answer, choose
from edgeprof.agent.sampler import RECORD

CPU = ["CPUExecutionProvider"]
GPU = ["CUDAExecutionProvider", "CPUExecutionProvider"]
NAN = float("nan")


def sensor(name, rate_hz=20.0, totals=None, *, external=False, counter=False, channels=(), more=()):
    """As in a ``sensors`` frame: power channels ``<name>/<channel>_<unit>``, those of ``more`` in other units."""
    unit, ending, kind = ("mJ", "_mj", "counter") if counter else ("mW", "_mw", "sample")
    totals = {scope: [f"{name}/{one}{ending}" for one in names] for scope, names in (totals or {}).items()}
    names = dict.fromkeys([*itertools.chain(*totals.values()), *(f"{name}/{one}{ending}" for one in channels)])
    made = [{"name": one, "unit": unit, "kind": kind, "scope": "rail", "title": ""} for one in names]
    made += [{"name": one, "unit": other, "kind": "sample", "scope": "rail", "title": ""} for one, other in more]
    return {"name": name, "rate_hz": rate_hz, "channels": made, "totals": totals} | ({"external": True} if external else {})


RAPL = sensor("rapl", 20, {"package": ["package-0"], "dram": ["dram-0"]}, counter=True, channels=["core-0"])
NVML = sensor("nvml", 10, {"gpu": ["gpu-0"]}, counter=True)
JETSON = sensor("ina3221", 25, {"module": ["VDD_IN"]}, channels=["VDD_CPU_GPU_CV", "VDD_SOC"], more=[("ina3221/VDD_IN_mv", "mV")])
BATTERY = sensor("battery0", 1, {"board": ["battery"]})
CHIP = sensor("hwmon3", 5, {"device": ["power1"]})
RAILS = sensor("hwmon4", 40, channels=["3v3", "5v"])
METER = sensor("joulescope", 2, {"board": ["power"]}, external=True)
METER_2 = sensor("otii", 100, {"board": ["main"]}, external=True)
WARM = sensor("thermal", 2, more=[("thermal/cpu_c", "°C")])


def chosen(sensors, wanted=(), providers=CPU):
    source, why_not = choose(sensors, wanted, providers)
    assert (source is None) == bool(why_not)
    return source


# Rule 1


def test_channels_that_were_asked_for_count_before_all_others():
    found = chosen([JETSON, METER], ["ina3221/VDD_SOC_mw"])
    assert found == Source(("ina3221/VDD_SOC_mw",), "chosen", 25)


@pytest.mark.parametrize("name", ["VDD_SOC", "ina3221/VDD_SOC_mw"])
def test_the_short_name_will_do(name):
    assert chosen([JETSON, RAPL], [name]).channels == ("ina3221/VDD_SOC_mw",)


def test_several_are_added_up_each_once_at_the_rate_of_the_slowest():
    found = chosen([JETSON, RAPL, METER], ["VDD_SOC", "package-0", "ina3221/VDD_SOC_mw", "joulescope/power_mw"])
    assert found == Source(("ina3221/VDD_SOC_mw", "rapl/package-0_mj", "joulescope/power_mw"), "chosen", 2)


def test_a_name_that_fits_two_is_refused_and_the_full_one_is_not():
    twins = [sensor("hwmon1", channels=["5v"]), sensor("hwmon2", channels=["5v"])]
    source, why_not = choose(twins, ["5v"], CPU)
    assert source is None
    assert why_not == "several power channels are called '5v'; there are: hwmon1/5v_mw, hwmon2/5v_mw"
    assert chosen(twins, ["hwmon2/5v_mw"]).channels == ("hwmon2/5v_mw",)


def test_a_full_name_wins_over_a_short_one():
    odd = [sensor("a", channels=["x"]), sensor("b", channels=["a/x_mw"])]
    assert chosen(odd, ["a/x_mw"]).channels == ("a/x_mw",)


@pytest.mark.parametrize("name", ["VDD", "vdd_in", "VDD_IN_mw", "VDD_IN_mv", "ina3221", "cpu", "ina3221/VDD_IN_mv", ""])
def test_a_name_that_fits_none_is_refused_with_all_that_there_are(name):
    source, why_not = choose([JETSON, WARM], ["VDD_SOC", name], CPU)
    assert source is None
    assert why_not == f"no power channel is called {name!r}; there are: ina3221/VDD_IN_mw, ina3221/VDD_CPU_GPU_CV_mw, ina3221/VDD_SOC_mw"


def test_a_name_where_there_is_no_power():
    assert choose([WARM], ["VDD_IN"], CPU) == (None, "no power channel is called 'VDD_IN'; there are: none")


# Rule 2


def test_an_external_meter_sees_the_whole_board():
    assert chosen([JETSON, RAPL, NVML, BATTERY, METER], providers=GPU) == Source(("joulescope/power_mw",), "board", 2)


def test_of_two_meters_the_first_that_was_named():
    assert chosen([JETSON, METER, METER_2]).channels == ("joulescope/power_mw",)
    assert chosen([JETSON, METER_2, METER]).channels == ("otii/main_mw",)


def test_a_meter_without_a_total_leaves_it_to_the_board():
    assert chosen([JETSON, sensor("plug", channels=["a"], external=True)]).channels == ("ina3221/VDD_IN_mw",)


def test_a_meter_of_a_part_of_the_board_is_not_taken_for_the_whole():
    part = sensor("plug", 100, {"gpu": ["slot"], "package": ["cpu"]}, external=True)
    assert chosen([RAPL, part], providers=GPU).channels == ("rapl/package-0_mj", "rapl/dram-0_mj")
    assert choose([part], [], GPU)[1].endswith("--rail: plug/slot_mw, plug/cpu_mw")
    assert chosen([RAPL, part], ["slot"]).channels == ("plug/slot_mw",)
    assert chosen([RAPL, sensor("plug", 100, {"module": ["in"]}, external=True)]) == Source(("plug/in_mw",), "module", 100)


def test_a_meter_of_voltage_alone_is_no_power_meter():
    assert chosen([sensor("dmm", external=True, more=[("dmm/voltage_mv", "mV")]), RAPL]).scope == "package+dram"


# Rule 3


def test_the_module_before_the_processor():
    assert chosen([RAPL, JETSON]) == Source(("ina3221/VDD_IN_mw",), "module", 25)


def test_board_then_module_then_packages_then_what_may_be_anything():
    scopes = ("board", "module", "package", "soc", "device")
    sensors = [sensor(scope, rate, {scope: ["in"]}) for rate, scope in enumerate(scopes, 1)]
    for i, scope in enumerate(scopes):
        for order in itertools.permutations(sensors[i:]):
            assert chosen(order).scope == scope


def test_of_two_with_one_scope_the_one_that_is_read_more_often():
    slow, fast = (sensor(name, rate, {"board": ["in"]}) for name, rate in (("slow", 1), ("fast", 30)))
    assert chosen([slow, fast]).channels == chosen([fast, slow]).channels == ("fast/in_mw",)


def test_a_total_of_several_channels_is_taken_as_a_whole():
    many = sensor("pi_pmic", 4, {"module": ["3v3", "1v8", "core"]})
    assert chosen([many]).channels == ("pi_pmic/3v3_mw", "pi_pmic/1v8_mw", "pi_pmic/core_mw")


def test_a_battery_only_when_there_is_nothing_else():
    assert chosen([BATTERY]) == Source(("battery0/battery_mw",), "board", 1)
    assert chosen([BATTERY, RAPL]).scope == "package+dram"
    assert chosen([BATTERY, CHIP]).scope == "device"
    assert chosen([RAPL, CHIP]).scope == "package+dram"
    assert chosen([BATTERY, NVML], providers=GPU).scope == "gpu"
    assert chosen([BATTERY, NVML]).channels == ("battery0/battery_mw",)


# Rule 4


def test_packages_and_their_memory():
    assert chosen([RAPL]) == Source(("rapl/package-0_mj", "rapl/dram-0_mj"), "package+dram", 20)


def test_two_packages_are_added_up():
    two = sensor("rapl", 20, {"package": ["package-0", "package-1"]}, counter=True)
    assert chosen([two]).channels == ("rapl/package-0_mj", "rapl/package-1_mj")


@pytest.mark.parametrize(
    "provider",
    ["CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"],
)
def test_the_gpu_beside_them_when_the_model_runs_on_it(provider):
    found = chosen([RAPL, NVML], providers=[provider, "CPUExecutionProvider"])
    assert found == Source(("rapl/package-0_mj", "rapl/dram-0_mj", "nvml/gpu-0_mj"), "package+dram+gpu", 10)


@pytest.mark.parametrize("provider", ["ROCMExecutionProvider", "MIGraphXExecutionProvider"])
def test_only_the_gpu_of_the_maker_that_the_provider_is_for(provider):
    card = sensor("hwmon-amdgpu", 10, {"gpu": ["x"]})
    card["channels"][0]["name"] = card["totals"]["gpu"][0] = "hwmon/amdgpu-PPT_mw"
    assert chosen([RAPL, NVML, card], providers=[provider]).channels == ("rapl/package-0_mj", "rapl/dram-0_mj", "hwmon/amdgpu-PPT_mw")
    assert chosen([RAPL, NVML, card], providers=GPU).channels == ("rapl/package-0_mj", "rapl/dram-0_mj", "nvml/gpu-0_mj")


def test_graphics_inside_the_processor_are_not_added_to_its_package():
    inside = sensor("hwmon-amdgpu", 10, {"soc": ["PPT"]})
    assert chosen([RAPL, NVML, inside], providers=GPU).scope == "package+dram+gpu"
    assert chosen([RAPL, inside], providers=["ROCMExecutionProvider"]).scope == "package+dram"
    assert chosen([inside, CHIP]).scope == "soc"


def test_a_source_averages_as_long_as_the_slowest_of_its_sensors():
    assert chosen([RAPL, NVML | {"average_s": 1.0}], providers=GPU).average_s == 1.0
    assert chosen([RAPL, NVML | {"average_s": 1.0}]).average_s == 0.0
    assert chosen([JETSON | {"average_s": 0.5}, RAPL], ["VDD_SOC", "package-0"]).average_s == 0.5


@pytest.mark.parametrize("providers", [CPU, [], ["OpenVINOExecutionProvider"], ["XnnpackExecutionProvider"]])
def test_not_the_gpu_when_it_does_not(providers):
    assert chosen([RAPL, NVML], providers=providers).scope == "package+dram"


def test_the_gpu_alone():
    assert chosen([NVML], providers=GPU) == Source(("nvml/gpu-0_mj",), "gpu", 10)
    assert choose([NVML, WARM], [], CPU) == (None, "the only power sensor covers the GPU, and the model runs elsewhere")


# Rule 5 and what is left


def test_rails_without_a_total_are_named_to_choose_from():
    why = "no power channel is known to be the total; name those to add up with --rail: "
    assert choose([RAILS], [], CPU) == (None, why + "hwmon4/3v3_mw, hwmon4/5v_mw")
    assert choose([RAILS, NVML], [], CPU) == (None, why + "hwmon4/3v3_mw, hwmon4/5v_mw, nvml/gpu-0_mj")


def test_memory_alone_is_no_total():
    dram = sensor("rapl", 20, {"dram": ["dram-0"]}, counter=True)
    assert choose([dram], [], CPU)[1].endswith("--rail: rapl/dram-0_mj")
    assert chosen([dram, BATTERY]).channels == ("battery0/battery_mw",)


@pytest.mark.parametrize("sensors", [[], [WARM], [sensor("dmm", external=True, more=[("dmm/voltage_mv", "mV")])]])
def test_no_power_sensor_at_all(sensors):
    assert choose(sensors, [], CPU) == (None, "there is no power sensor")


def test_energy_that_is_no_counter_is_no_power():
    odd = sensor("odd", more=[("odd/energy_mj", "mJ")])
    assert choose([odd], [], CPU) == (None, "there is no power sensor")


ALL = [RAPL, NVML, JETSON, BATTERY, CHIP, RAILS, METER, METER_2, WARM]


@given(st.lists(st.sampled_from(ALL), unique_by=lambda s: s["name"]), st.sampled_from([CPU, GPU, []]))
def test_whatever_there_is_the_choice_is_of_what_is_there(sensors, providers):
    source, why_not = choose(sensors, [], providers)
    assert (source is None) == bool(why_not)
    if source is not None:
        rates = {c["name"]: s["rate_hz"] for s in sensors for c in s["channels"] if c["unit"] in ("mW", "mJ")}
        assert set(source.channels) <= set(rates)
        assert source.rate_hz == min(rates[name] for name in source.channels)
        assert len(set(source.channels)) == len(source.channels) > 0
        families = {name.partition("/")[0] for name in source.channels}
        assert len(families) == 1 or families == {"rapl", "nvml"}, "they would overlap"
        assert "nvml" not in families or providers == GPU


# Power over a stretch of time

S = 1_000_000_000


def readings(values, kind="sample", period_ns=S // 20, channel=0, channels=1, start_ns=S):
    """`Readings` of ``channels`` channels of which one was read; (readings, (first time, last time))."""
    unit, ending = ("mJ", "_mj") if kind == "counter" else ("mW", "_mw")
    made = [{"name": f"m/c{i}{ending}", "unit": unit, "kind": kind, "scope": "board", "title": ""} for i in range(channels)]
    found = Readings([{"name": "m", "rate_hz": 20, "channels": made, "totals": {}}], Source((f"m/c{channel}{ending}",), "board", 20))
    times = [start_ns + i * period_ns for i in range(len(values))]
    found.add(b"".join(RECORD.pack(time, channel, value) for time, value in zip(times, values, strict=True)))
    return found, (times[0], times[-1])


@given(st.floats(0, 1e6), st.integers(10, 300), st.integers(10_000, 10**10))
def test_constant_power_is_that_power_without_an_error(power_mw, count, period_ns):
    found, window = readings([power_mw] * count, period_ns=period_ns)
    told = found.window(*window)
    assert told.mean_mw == pytest.approx(power_mw, rel=1e-12)
    assert told.error_mw == pytest.approx(0, abs=1e-9 * power_mw)
    assert (told.readings, told.values) == (count, 1)


@given(
    st.floats(1, 1e6), st.lists(st.integers(10**6, 10**9), min_size=10, max_size=100), st.floats(0, 1e9)
)  # unevenly read: what counts are the differences
def test_a_counter_that_grows_evenly_is_that_power_without_an_error(power_mw, steps_ns, began_mj):
    times = list(itertools.accumulate(steps_ns, initial=S))
    made = [{"name": "m/c_mj", "unit": "mJ", "kind": "counter", "scope": "board", "title": ""}]
    found = Readings([{"name": "m", "rate_hz": 20, "channels": made, "totals": {}}], Source(("m/c_mj",), "board", 20))
    found.add(b"".join(RECORD.pack(time, 0, began_mj + power_mw * (time - S) / S) for time in times))
    told = found.window(times[0], times[-1])
    # a counter of 64 bits floating point near 1e9 mJ has steps of 1e-7 mJ, over at least 2 ms
    least_s = min(b - a for a, b in itertools.pairwise(times)) / S
    grain = 8 * math.ulp(began_mj + power_mw * (times[-1] - S) / S) / least_s
    assert told.mean_mw == pytest.approx(power_mw, rel=1e-9, abs=grain)
    assert told.error_mw <= 1e-9 * power_mw + grain
    assert told.readings == len(times)


@given(st.lists(st.floats(0, 1e5), min_size=10, max_size=100))
def test_a_mean_lies_between_its_readings(values):
    found, window = readings(values)
    told = found.window(*window)
    assert min(values) - 1e-6 <= told.mean_mw <= max(values) + 1e-6
    assert told.error_mw >= 0
    assert told.values == len(set(values))


def test_means_and_errors_by_hand():
    """Five parts of two readings and one reading over: 1, 2, 3, 4, 5 mW; the standard error of 5 means is their deviation over √5."""
    found, window = readings([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 99])
    told = found.window(*window)
    assert told.mean_mw == 3
    assert told.error_mw == pytest.approx(math.sqrt(2.5 / 5))
    assert (told.readings, told.values) == (11, 6)


def test_only_what_lies_within_counts_its_ends_included():
    found, _ = readings([7.0] * 20 + [1.0] * 20 + [7.0] * 20)
    told = found.window(S + 20 * S // 20, S + 39 * S // 20)
    assert (told.mean_mw, told.readings) == (1.0, 20)
    assert found.window(S + 20 * S // 20, S + 39 * S // 20 - 1).readings == 19


@pytest.mark.parametrize("kind", ["sample", "counter"])
@pytest.mark.parametrize(("count", "enough"), [(0, False), (1, False), (9, False), (10, True)])
def test_too_few_readings_say_nothing(count, enough, kind):
    found, _ = readings([1.0] * 40, kind)
    assert (found.window(S, S + (count - 1) * S // 20) is not None) == enough


def test_readings_that_failed_do_not_count():
    found, window = readings([2.0, NAN] * 10)
    assert found.window(*window).readings == 10
    assert found.window(*window).mean_mw == 2
    found, window = readings([2.0, NAN] * 9)
    assert found.window(*window) is None


@given(st.integers(11, 60), st.integers(2, 59), st.floats(1, 1e5))
def test_a_reset_takes_nothing_from_the_power(count, reset, power_mw):
    values = [power_mw * i / 20 for i in range(count)]
    after = values[: min(reset, count)] + [power_mw * i / 20 for i in range(count - min(reset, count))]
    found, window = readings(after, "counter")
    assert found.window(*window).mean_mw == pytest.approx(power_mw)


def test_what_failed_is_told_with_the_problem_of_the_sensor():
    found, window = readings([NAN] * 30)
    source = Source(("m/c0_mw",), "board", 20)
    told = answer(found, *window, source, [("m-charging", "unplug it"), ("other", "no")])
    assert told == {"readings": 0, "failed": 30, "problems": ["unplug it"]}
    found, window = readings([1.0] * 30)
    assert answer(found, *window, source, []) == found.window(*window)._asdict()


def test_channels_are_added_up_and_their_errors_in_quadrature():
    channels = [{"name": f"m/{i}_mw", "unit": "mW", "kind": "sample", "scope": "rail", "title": ""} for i in range(3)]
    found = Readings([{"name": "m", "channels": channels}], Source(("m/0_mw", "m/2_mw"), "chosen", 20))
    steps = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]
    for i, step in enumerate(steps):
        found.add(b"".join(RECORD.pack(S + i, channel, value) for channel, value in ((0, step), (1, 500.0), (2, 10.0 * step))))
    told = found.window(S, S + 10)
    assert told.mean_mw == 33
    assert told.error_mw == pytest.approx(math.hypot(math.sqrt(0.5), 10 * math.sqrt(0.5)))
    assert (told.readings, told.values) == (11, 5)


def test_one_silent_channel_makes_the_sum_unknown():
    found, window = readings([1.0] * 20, channels=2)
    other, _ = readings([1.0] * 20, channels=2, channel=1)
    assert found.window(*window) is not None and other.window(*window) is not None
    channels = [{"name": f"m/c{i}_mw", "unit": "mW", "kind": "sample", "scope": "rail", "title": ""} for i in range(2)]
    both = Readings([{"name": "m", "channels": channels}], Source(("m/c0_mw", "m/c1_mw"), "chosen", 20))
    both.add(b"".join(RECORD.pack(S + i, 0, 1.0) for i in range(20)))
    assert both.window(S, S + 20) is None


def test_channels_are_found_by_their_number_over_all_sensors():
    first = {"name": "a", "channels": [{"name": f"a/{i}_c", "unit": "°C", "kind": "sample", "scope": "soc", "title": ""} for i in range(2)]}
    second = {"name": "b", "channels": [{"name": "b/in_mw", "unit": "mW", "kind": "sample", "scope": "board", "title": ""}]}
    found = Readings([first, second], Source(("b/in_mw",), "board", 20))
    found.add(b"".join(RECORD.pack(S + i, channel, 10.0**channel) for i in range(20) for channel in range(3)))
    assert found.window(S, S + 20).mean_mw == 100


def test_only_so_much_is_kept_and_the_newest_stays(monkeypatch):
    monkeypatch.setattr("edgeprof.agent.power._MOST_KEPT", 100)
    found, (start, end) = readings([float(i) for i in range(1000)])
    assert 50 <= found.window(start, end).readings <= 100
    assert found.window(end - 20 * S // 20, end).mean_mw == pytest.approx(988, abs=2)
