"""Temperatures, and what slows processors down."""

from __future__ import annotations

import math
import os
import signal
import subprocess
from pathlib import Path

import pytest

from edgeprof.agent.sensors import thermal
from tests.agent.sensors.trees import LAPTOP, NANO, ORIN_NANO, jetson_zones, plant

FOLDER = "sys/class/thermal"


def readings(root: str) -> dict[str, float]:
    (sensor,) = thermal.discover(root).sensors
    values = dict(zip([channel.name for channel in sensor.channels], sensor.read(), strict=True))
    sensor.close()
    return values


def test_jetson(tmp_path):
    """Zones at -256 °C do not work; the fan costs no speed."""
    assert readings(plant(tmp_path, ORIN_NANO)) == {
        "thermal/cpu-thermal_c": 46.406, "thermal/gpu-thermal_c": 46.031, "thermal/tj-thermal_c": 46.406,
        "thermal/thermal-cpufreq_state": 3.0, "thermal/devfreq-17000000.gpu_state": 0.0,
    }  # fmt: skip


def test_scopes(tmp_path):
    (sensor,) = thermal.discover(
        plant(tmp_path, {**NANO, **jetson_zones(("CPU-therm", "1"), ("GPU-therm", "1"), ("AO-therm", "1"))})
    ).sensors
    assert [channel.scope for channel in sensor.channels][:3] == ["cpu", "gpu", "system"]
    assert sensor.rate_hz == 2


def test_laptop(tmp_path):
    """Zones of one name get numbers; twelve processors are one channel; powerclamp says -1 at rest."""
    assert readings(plant(tmp_path, LAPTOP)) == {
        "thermal/acpitz_c": 41.0, "thermal/x86_pkg_temp_c": 61.0, "thermal/acpitz-2_c": 39.0,
        "thermal/Processor_state": 0.0, "thermal/intel_powerclamp_state": 0.0,
    }  # fmt: skip


def test_the_most_slowed_processor_counts(tmp_path):
    root = plant(tmp_path, LAPTOP)
    (tmp_path / FOLDER / "cooling_device7/cur_state").write_text("2\n")
    (tmp_path / FOLDER / "cooling_device3/cur_state").write_text("garbage\n")
    assert readings(root)["thermal/Processor_state"] == 2


def test_zone_10_comes_after_zone_2(tmp_path):
    root = plant(tmp_path, jetson_zones(*((f"zone-{i}", str(1000 * (i + 1))) for i in range(12))))
    assert list(readings(root).values()) == [float(i + 1) for i in range(12)]


@pytest.mark.parametrize("text", ["0", "-1", "-256000", "garbage", "", "nan"])
def test_zones_that_do_not_work(text, tmp_path):
    assert thermal.discover(plant(tmp_path, jetson_zones(("broken", text)))).sensors == []


def test_a_zone_that_is_asleep_is_kept(tmp_path):
    """A GPU at rest has no temperature; when the model runs on it, it has."""
    root = plant(tmp_path, jetson_zones(("gpu-thermal", "1"), ("cpu-thermal", "40000")))
    temp = tmp_path / FOLDER / "thermal_zone0/temp"
    temp.unlink()
    temp.symlink_to("/proc/self/mem")
    (sensor,) = thermal.discover(root).sensors
    asleep, awake = sensor.read()
    assert math.isnan(asleep)
    assert awake == 40
    sensor.close()
    temp.unlink()
    temp.write_text("50000\n")
    assert sensor.read() == [50.0, 40.0]


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="needs a Linux /proc")
def test_a_zone_that_vanishes_while_it_is_open(tmp_path):
    """A file of a process is gone when the process is, as one of a device is: the open file gives an error. Then it comes back."""
    root = plant(tmp_path, jetson_zones(("cpu-thermal", "1")))
    temp = tmp_path / FOLDER / "thermal_zone0/temp"
    temp.unlink()
    with subprocess.Popen(["sleep", "600"]) as device:
        number = Path(f"/proc/{device.pid}/oom_score_adj")
        number.write_text("700")
        temp.symlink_to(number)
        (sensor,) = thermal.discover(root).sensors
        assert sensor.read() == [0.7]
        device.send_signal(signal.SIGKILL)
        device.wait()
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            sensor.read()
        assert caught.value.errno
    os.unlink(temp)
    temp.write_text("45000\n")
    assert sensor.read() == [45.0]


def test_a_zone_without_a_type(tmp_path):
    assert readings(plant(tmp_path, {f"{FOLDER}/thermal_zone4/temp": "51000\n"})) == {"thermal/thermal_zone4_c": 51.0}
