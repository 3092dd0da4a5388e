"""Clocks of CPUs and GPUs."""

from __future__ import annotations

import math

import pytest

from edgeprof.agent.sensors import clocks
from tests.agent.sensors.trees import LAPTOP, NANO, ORIN_NANO, plant, policies


def readings(root: str) -> dict[str, float]:
    (sensor,) = clocks.discover(root).sensors
    values = dict(zip([channel.name for channel in sensor.channels], sensor.read(), strict=True))
    sensor.close()
    return values


def test_jetson(tmp_path):
    """A channel for each group of CPUs; other engines have clocks, too."""
    root = plant(tmp_path, ORIN_NANO)
    assert readings(root) == {"clocks/cpu0-3_mhz": 1510.4, "clocks/cpu4-5_mhz": 729.6, "clocks/gpu_mhz": 306.0}
    (sensor,) = clocks.discover(root).sensors
    assert [channel.scope for channel in sensor.channels] == ["cpu", "cpu", "gpu"]
    assert sensor.rate_hz == 2


def test_nano(tmp_path):
    assert readings(plant(tmp_path, NANO)) == {"clocks/cpu0-3_mhz": 1479.0, "clocks/gpu_mhz": 76.8}


def test_many_cpus_are_three_channels(tmp_path):
    root = plant(tmp_path, {**LAPTOP, "sys/class/devfreq/fb000000.gpu/cur_freq": "1000000000\n"})
    assert readings(root) == {
        "clocks/cpu_min_mhz": 800.0, "clocks/cpu_mean_mhz": 1350.0, "clocks/cpu_max_mhz": 1900.0, "clocks/gpu_mhz": 1000.0,
    }  # fmt: skip
    for name in LAPTOP:
        if name.endswith("policy0/scaling_cur_freq"):
            (tmp_path / name).write_text("garbage")
    assert readings(root)["clocks/cpu_min_mhz"] == 900.0


def test_eight_groups_are_eight_channels(tmp_path):
    assert len(readings(plant(tmp_path, policies(*((str(cpu), 1000) for cpu in range(8)))))) == 8


def test_kernels_without_policies(tmp_path):
    files = {f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_cur_freq": f"{1000 * (i + 1)}\n" for i in (0, 1, 10, 2)}
    assert readings(plant(tmp_path, {**files, "sys/devices/system/cpu/cpuidle/x": ""})) == {
        "clocks/cpu0_mhz": 1.0, "clocks/cpu1_mhz": 2.0, "clocks/cpu2_mhz": 3.0, "clocks/cpu10_mhz": 11.0,
    }  # fmt: skip


@pytest.mark.parametrize("related", ["", "garbage\n", "\0"])
def test_a_group_that_does_not_say_whose(related, tmp_path):
    folder = "sys/devices/system/cpu/cpufreq/policy4"
    root = plant(tmp_path, {f"{folder}/related_cpus": related, f"{folder}/scaling_cur_freq": "5000\n"})
    assert readings(root) == {"clocks/cpu4_mhz": 5.0}


@pytest.mark.parametrize("text", ["0", "-1", "", "<unknown>"])
@pytest.mark.parametrize("groups", [2, 12])
def test_clocks_that_are_not_known(groups, text, tmp_path):
    files = {name: text if name.endswith("freq") else cpus for name, cpus in policies(*((str(i), 1) for i in range(groups))).items()}
    assert all(math.isnan(value) for value in readings(plant(tmp_path, files)).values())


@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("groups", [2, 12])
def test_cpus_that_vanish(groups, gpu, tmp_path):
    """What is left is read; an error comes when nothing is left."""
    files = policies(*((str(i), 1000) for i in range(groups)))
    path = tmp_path / "sys/class/devfreq/57000000.gpu/cur_freq"
    if gpu:
        plant(tmp_path, {"sys/class/devfreq/57000000.gpu/cur_freq": "1000000\n"})
    (sensor,) = clocks.discover(plant(tmp_path, files)).sensors
    for name in files:
        (tmp_path / name).unlink()
    if gpu:
        *cpus, last = sensor.read()
        assert all(math.isnan(value) for value in cpus)
        assert last == 1
        sensor.close()
        path.unlink()
    with pytest.raises(OSError):
        sensor.read()


def test_a_gpu_that_vanishes(tmp_path):
    files = policies(*((str(i), 1000) for i in range(12)))
    (sensor,) = clocks.discover(plant(tmp_path, {**files, "sys/class/devfreq/gpu/cur_freq": "1000000\n"})).sensors
    (tmp_path / "sys/class/devfreq/gpu/cur_freq").unlink()
    *cpus, gpu = sensor.read()
    assert cpus == [1.0, 1.0, 1.0]
    assert math.isnan(gpu)
