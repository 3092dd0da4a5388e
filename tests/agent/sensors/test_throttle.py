"""Signs that a board slows itself down: as sentences, and as numbers that rise."""

from __future__ import annotations

import math

import pytest

from edgeprof.agent.sensors.throttle import active, discover, flags
from tests.agent.sensors.trees import LAPTOP, ORIN_NANO, PI_5, command, plant

THROTTLE = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"


def sensor_of(root: str):
    (sensor,) = discover(root).sensors
    assert [channel.name for channel in sensor.channels] == ["throttle/count", "throttle/active"]
    assert [channel.kind for channel in sensor.channels] == ["counter", "sample"]
    assert sensor.rate_hz == 1
    return sensor


def test_counters_of_a_laptop(tmp_path):
    """Each CPU of a package repeats the package's count, and not at the same time."""
    root = plant(tmp_path, LAPTOP)
    assert flags(root) == ["package 0 throttled 6 times", "cpu1 core throttled 3 times"]
    assert active(root) == []
    sensor = sensor_of(root)
    assert sensor.read() == [0.0, 0.0]  # what was before the first reading is not ours
    (tmp_path / THROTTLE.format(2)).write_text("4\n")
    assert sensor.read() == [4.0, 0.0]
    assert sensor.read() == [4.0, 0.0]
    (tmp_path / THROTTLE.format(2)).write_text("0\n")
    (tmp_path / THROTTLE.format(1)).write_text("garbage\n")
    assert sensor.read() == [4.0, 0.0]
    assert "cpu2 core throttled 4 times" not in flags(root)


def test_many_counters_are_one_sentence_that_rises(tmp_path):
    root = plant(tmp_path, {THROTTLE.format(i): f"{i + 1}\n" for i in range(8)})
    assert flags(root) == ["8 cores and packages throttled 36 times, cpu7 core most (8)"]
    (tmp_path / THROTTLE.format(0)).write_text("2\n")
    assert flags(root) == ["8 cores and packages throttled 37 times, cpu7 core most (8)"]


def test_quiet_counters_say_nothing(tmp_path):
    assert flags(plant(tmp_path, {THROTTLE.format(0): "0\n"})) == []


def test_jetson_is_slowed_down(tmp_path):
    """A fan that runs is no throttling."""
    root = plant(tmp_path, ORIN_NANO)
    assert flags(root) == active(root) == ["slowed down by thermal-cpufreq"]
    sensor = sensor_of(root)
    assert sensor.read() == [1.0, 1.0]  # up at the first reading: that counts
    state = tmp_path / "sys/class/thermal/cooling_device2/cur_state"
    state.write_text("5\n")
    assert sensor.read() == [1.0, 1.0]
    state.write_text("0\n")
    assert sensor.read() == [1.0, 0.0]
    assert flags(root) == []
    state.write_text("1\n")
    assert sensor.read() == [2.0, 1.0]


def test_alarms(tmp_path):
    folder = "sys/class/hwmon/hwmon1"
    files = {
        f"{folder}/name": "ina3221\n",
        f"{folder}/in1_label": "VDD_IN\n",
        f"{folder}/curr1_max_alarm": "1\n",
        f"{folder}/curr1_crit_alarm": "0\n",
        f"{folder}/in0_alarm": "1\n",  # board monitors raise these at will
        f"{folder}/temp2_crit_alarm": "1\n",
        f"{folder}/temp10_crit_alarm": "x\n",
        "sys/class/hwmon/hwmon3/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon3/in0_lcrit_alarm": "1\n",
    }
    root = plant(tmp_path, files)
    assert flags(root) == [
        "current of VDD_IN over its limit (ina3221)",
        "temperature of temp2 over its critical limit (ina3221)",
        "under-voltage now (rpi_volt)",
    ]
    assert sensor_of(root).read() == [3.0, 3.0]


@pytest.fixture
def pi(tmp_path):
    return plant(tmp_path, {name: text for name, text in PI_5.items() if "hwmon" not in name})


@pytest.mark.parametrize(
    ("bits", "sentences"),
    [("0x0", []), ("0x1", ["under-voltage now (get_throttled)"]), ("0x2", ["clock capped now (get_throttled)"]),
     ("0x4", ["throttled now (get_throttled)"]), ("0x8", ["soft temperature limit now (get_throttled)"]),
     ("0x50000", ["under-voltage since boot (get_throttled)", "throttled since boot (get_throttled)"]),
     ("0xE0008", ["soft temperature limit now (get_throttled)", "clock capped since boot (get_throttled)",
                  "throttled since boot (get_throttled)", "soft temperature limit since boot (get_throttled)"]),
     ("0xFFF0FFF0", [])],
)  # fmt: skip
def test_bits(bits, sentences, pi, tmp_path):
    command(tmp_path, f'test "$1" = get_throttled && echo throttled={bits}')
    assert flags(pi) == sentences
    assert active(pi) == [sentence for sentence in sentences if " now " in sentence]


def test_firmware_over_time(pi, tmp_path):
    """What only the bits since boot show happened between two readings; what was before the first one is not counted."""
    said = []

    def after(bits):
        command(tmp_path, f"echo throttled={bits}")
        said.append(sensor.read())
        return said[-1]

    command(tmp_path, "echo throttled=0x40000")
    sensor = sensor_of(pi)
    assert after("0x40000") == [0.0, 0.0]
    assert after("0x50005") == [2.0, 2.0]
    assert after("0x50004") == [2.0, 1.0]
    assert after("0x50000") == [2.0, 0.0]
    assert after("0x70000") == [3.0, 0.0]
    assert after("0x70001") == [4.0, 1.0]
    assert [count for count, _ in said] == sorted(count for count, _ in said)


@pytest.mark.parametrize("script", ["echo throttled=zz", "echo nonsense", "exit 1", "echo throttled=0x123456789"])
def test_firmware_that_makes_no_sense(script, pi, tmp_path):
    command(tmp_path, script)
    found = discover(pi)
    assert list(found.sensors) == []
    assert [name for name, _ in found.problems] == ["throttle-failed"]
    assert flags(pi) == []


def test_firmware_that_may_not_be_asked(tmp_path):
    """The kernel's own watch over the voltage is left."""
    root = plant(tmp_path, PI_5)
    command(tmp_path, "echo 'VCHI initialization failed'; exit 255")
    found = discover(root)
    ((name, sentence),) = found.problems
    assert name == "throttle-permission"
    assert "sudo usermod -aG video $USER" in sentence
    assert found.sensors[0].read() == [0.0, 0.0]
    (tmp_path / "sys/class/hwmon/hwmon3/in0_lcrit_alarm").write_text("1\n")
    assert found.sensors[0].read() == [1.0, 1.0]
    assert flags(root) == ["under-voltage now (rpi_volt)"]


def test_a_source_that_fails_meanwhile(tmp_path):
    """How many flags are up is then not known; events go on being counted, and its flags are not new when it is back."""
    root = plant(tmp_path, PI_5)
    command(tmp_path, "echo throttled=0x10001")
    sensor = sensor_of(root)
    assert sensor.read() == [1.0, 1.0]
    command(tmp_path, "exit 1")
    count, active = sensor.read()
    assert count == 1
    assert math.isnan(active)
    command(tmp_path, "echo throttled=0x10001")
    assert sensor.read() == [1.0, 1.0]


def test_all_sources_gone(tmp_path):
    root = plant(tmp_path, {THROTTLE.format(0): "1\n"})
    sensor = sensor_of(root)
    (tmp_path / THROTTLE.format(0)).unlink()
    with pytest.raises(FileNotFoundError):
        sensor.read()


def test_no_firmware_is_asked_on_other_boards(tmp_path):
    root = plant(tmp_path, ORIN_NANO)
    command(tmp_path, f"touch {tmp_path}/was-run; echo throttled=0xf")
    assert flags(root) == ["slowed down by thermal-cpufreq"]
    assert not (tmp_path / "was-run").exists()
