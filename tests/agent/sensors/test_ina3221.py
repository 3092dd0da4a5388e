"""Rails of Jetson modules, in both layouts."""

from __future__ import annotations

import math

import pytest

from edgeprof.agent import sensors
from edgeprof.agent.sensors import ina3221
from tests.agent.sensors.trees import (
    AGX_ORIN,
    AGX_THOR,
    AGX_XAVIER,
    NANO,
    ORIN_NANO,
    TX2,
    XAVIER_NX,
    ina3221_hwmon,
    ina3221_iio,
    plant,
    public_folder,
    seal,
    without_rights,
)  # fmt: skip


def readings(root: str) -> dict[str, float]:
    (sensor,) = ina3221.discover(root).sensors
    values = dict(zip([channel.name for channel in sensor.channels], sensor.read(), strict=True))
    sensor.close()
    return values


def test_orin_nano(tmp_path):
    """VDD_IN is the module; the other two are parts of it. Power is voltage times current."""
    root = plant(tmp_path, ORIN_NANO)
    (sensor,) = ina3221.discover(root).sensors
    assert readings(root) == {
        "ina3221/VDD_IN_mw": 4828.544, "ina3221/VDD_CPU_GPU_CV_mw": 933.248, "ina3221/VDD_SOC_mw": 1501.312,
    }  # fmt: skip
    assert sensor.totals == {"module": ["ina3221/VDD_IN_mw"]}
    assert [channel.scope for channel in sensor.channels] == ["module", "rail", "soc"]
    assert sensor.rate_hz == 1000 / 27


def test_agx_orin(tmp_path):
    """The memory's rail is fed by VIN_SYS_5V0: it is read, but not added. NC and the sum of shunts measure nothing."""
    root = plant(tmp_path, AGX_ORIN)
    (sensor,) = ina3221.discover(root).sensors
    assert readings(root) == {
        "ina3221/VDD_GPU_SOC_mw": 3362.24, "ina3221/VDD_CPU_CV_mw": 480.32, "ina3221/VIN_SYS_5V0_mw": 4868.64,
        "ina3221/VDDQ_VDD2_1V8AO_mw": 397.44,
    }  # fmt: skip
    assert sensor.totals == {"module": ["ina3221/VDD_GPU_SOC_mw", "ina3221/VDD_CPU_CV_mw", "ina3221/VIN_SYS_5V0_mw"]}
    assert sensor.rate_hz == 150


@pytest.mark.parametrize(
    ("board", "total_mw", "rails"),
    [
        (NANO, 1774, ["POM_5V_IN"]),
        (TX2, 1649, ["VDD_IN"]),
        (XAVIER_NX, 3264, ["VDD_IN"]),
        (AGX_XAVIER, 120 + 468 + 937 + 0 + 312 + 1458, ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]),
    ],
    ids=["nano", "tx2", "xavier-nx", "agx-xavier"],
)
def test_jetpack_4(board, total_mw, rails, tmp_path):
    root = plant(tmp_path, board)
    found = ina3221.discover(root)
    (sensor,) = found.sensors
    values = readings(root)
    assert not found.problems
    assert sensor.totals == {"module": [f"ina3221/{rail}_mw" for rail in rails]}
    assert sum(values[name] for name in sensor.totals["module"]) == total_mw


def test_tx2_reads_all_three_chips(tmp_path):
    """The carrier board's rails are read beside the module's, and are no part of it."""
    assert readings(plant(tmp_path, TX2)) == {
        "ina3221/VDD_SYS_GPU_mw": 153, "ina3221/VDD_SYS_SOC_mw": 306, "ina3221/VDD_4V0_WIFI_mw": 0, "ina3221/VDD_IN_mw": 1649,
        "ina3221/VDD_SYS_CPU_mw": 306, "ina3221/VDD_SYS_DDR_mw": 173, "ina3221/VDD_MUX_mw": 2293, "ina3221/VDD_5V0_IO_SYS_mw": 180,
        "ina3221/VDD_3V3_SYS_mw": 39,
    }  # fmt: skip


def test_jetpack_4_without_power_files(tmp_path):
    files = {name: text for name, text in NANO.items() if "in_power" not in name}
    assert readings(plant(tmp_path, files))["ina3221/POM_5V_IN_mw"] == 1774.08


def test_jetpack_4_shows_a_device_under_two_names(tmp_path):
    root = plant(tmp_path, NANO)
    device = tmp_path / "sys/bus/i2c/drivers/ina3221x/6-0040"
    (device / "iio_device").symlink_to("iio:device0")
    assert len(readings(root)) == 3
    (device / "iio:device0").rename(device / "iio_device.0")
    (device / "iio_device").unlink()
    (device / "iio_device.0").rename(device / "iio_device")
    assert len(readings(root)) == 3


def test_negative_power_is_no_measurement(tmp_path):
    values = readings(plant(tmp_path, AGX_THOR))
    assert math.isnan(values["ina3221/VDD_GPU_mw"])
    assert values["ina3221/VDD_CPU_SOC_MSS_mw"] == 6523.776


def test_unknown_rails_are_not_guessed(tmp_path):
    found = ina3221.discover(plant(tmp_path, AGX_THOR))
    (sensor,) = found.sensors
    ((name, sentence),) = found.problems
    assert sensor.totals == {}
    assert name == "ina3221-rails-info"
    assert "ina3221/VDD_GPU_mw, ina3221/VDD_CPU_SOC_MSS_mw, ina3221/VIN_SYS_5V0_mw" in sentence
    assert "--rail VDD_GPU" in sentence


@pytest.mark.parametrize("missing", ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"])
def test_a_sum_with_a_rail_missing_is_none(missing, tmp_path):
    files = {name: text.replace(missing, "NC") for name, text in AGX_ORIN.items()}
    found = ina3221.discover(plant(tmp_path, files))
    assert found.sensors[0].totals == {}
    assert [name for name, _ in found.problems] == ["ina3221-rails-info"]


@pytest.mark.parametrize("label", ["NC", "nc\n", "", "   ", "\0"])
def test_channels_without_a_rail(label, tmp_path):
    root = plant(tmp_path, ina3221_hwmon("1-0040", "hwmon0", {1: ("VDD_IN", 5000, 1000), 2: (label, 5000, 1000)}))
    assert readings(root) == {"ina3221/VDD_IN_mw": 5000.0}


def test_a_channel_that_is_switched_off(tmp_path):
    files = ina3221_hwmon("1-0040", "hwmon0", {1: ("VDD_IN", 5000, 1000), 2: ("VDD_SOC", 5000, 10)}, in2_enable="0\n")
    assert list(readings(plant(tmp_path, files))) == ["ina3221/VDD_IN_mw"]


def test_two_rails_of_one_name(tmp_path):
    files = {
        **ina3221_hwmon("1-0040", "hwmon0", {1: ("VDD_IN", 5000, 1000)}),
        **ina3221_hwmon("1-0041", "hwmon1", {1: ("VDD_IN", 5000, 3)}),
    }
    assert readings(plant(tmp_path, files)) == {"ina3221/VDD_IN_mw": 5000.0, "ina3221/VDD_IN-2_mw": 15.0}


@pytest.mark.parametrize(
    ("files", "rate_hz"),
    [({"samples": "64\n"}, 150 / 64), ({"update_interval": "1\n"}, 150), ({"update_interval": "0\n", "samples": "4\n"}, 37.5),
     ({"update_interval": "garbage", "samples": "-1"}, 150), ({"update_interval": "6758\n", "samples": "1024\n"}, 1000 / 6758),
     ({"update_interval": "99999999\n"}, 0.1)],
)  # fmt: skip
def test_rate(files, rate_hz, tmp_path):
    found = ina3221.discover(plant(tmp_path, ina3221_hwmon("1-0040", "hwmon0", {1: ("VDD_IN", 5000, 1000)}, **files)))
    assert found.sensors[0].rate_hz == rate_hz


def test_the_slowest_chip_decides(tmp_path):
    files = {
        **ina3221_hwmon("1-0040", "hwmon0", {1: ("VDD_IN", 5000, 1000)}, update_interval="7\n"),
        **ina3221_hwmon("1-0041", "hwmon1", {1: ("CVB_ATX_12V", 12000, 3)}, update_interval="100\n"),
        **ina3221_hwmon("1-0042", "hwmon2", {1: ("NC", 0, 0)}, update_interval="1000\n"),
    }
    assert ina3221.discover(plant(tmp_path, files)).sensors[0].rate_hz == 10


def test_a_tree_that_has_the_class_only(tmp_path):
    """Symlinks from drivers to devices are often lost when a tree is recorded."""
    files = {name.replace("bus/i2c/drivers/ina3221/1-0040/hwmon", "class/hwmon"): text for name, text in ORIN_NANO.items()}
    root = plant(tmp_path, files)
    assert readings(root)["ina3221/VDD_IN_mw"] == 4828.544
    assert ina3221.covered(root) == {"hwmon1"}
    assert not sensors.discover(root, ["hwmon"]).sensors


def test_a_chip_under_both_paths_is_read_once(tmp_path):
    root = plant(tmp_path, ORIN_NANO)
    (tmp_path / "sys/class/hwmon").mkdir()
    (tmp_path / "sys/class/hwmon/hwmon1").symlink_to(tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1")
    assert len(readings(root)) == 3


def test_a_rail_that_vanishes_leaves_the_others(tmp_path):
    (sensor,) = ina3221.discover(plant(tmp_path, ORIN_NANO)).sensors
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    (folder / "curr1_input").unlink()
    first, *others = sensor.read()
    assert math.isnan(first)
    assert others == [933.248, 1501.312]
    sensor.close()
    for path in folder.glob("*_input"):
        path.unlink()
    with pytest.raises(FileNotFoundError):
        sensor.read()


def test_readings_that_are_none(tmp_path):
    (sensor,) = ina3221.discover(plant(tmp_path, ORIN_NANO)).sensors
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    (folder / "in1_input").write_text("")
    (folder / "curr2_input").write_text("garbage")
    (folder / "in3_input").unlink()
    (folder / "in3_input").symlink_to("/proc/self/mem")
    assert all(math.isnan(value) for value in sensor.read())
    (folder / "in1_input").write_text("5072\n")
    assert sensor.read()[0] == 4828.544


@pytest.mark.parametrize(
    ("board", "shown"),
    [(ORIN_NANO, "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/*_input"),
     (NANO, "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/*_input")],
    ids=["jetpack-5", "jetpack-4"],
)  # fmt: skip
def test_permission(board, shown):
    with public_folder() as folder:
        root = plant(folder, board)
        seal(*folder.glob("sys/bus/i2c/drivers/*/*/**/*_input"))
        found = without_rights(lambda: ina3221.discover(root))
    assert list(found.sensors) == []
    ((name, sentence),) = found.problems
    assert name == "ina3221-permission"
    assert sentence.endswith(f"with: sudo chmod a+r {shown}")


def test_names_from_the_board_are_cleaned(tmp_path):
    root = plant(tmp_path, ina3221_iio("0-0040", "iio:device0", {0: ('<b>VDD\x1b[31m "IN"', 5000, 1000, 5000)}))
    assert list(readings(root)) == ["ina3221/b_VDD_31m_IN_mw"]
