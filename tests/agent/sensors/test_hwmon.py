"""Hardware monitors of any kind."""

from __future__ import annotations

import math

import pytest

from edgeprof.agent.sensors import hwmon
from tests.agent.sensors.trees import AGX_ORIN, AGX_THOR, LAPTOP, PI_5, ina3221_hwmon, plant, public_folder, seal, without_rights

INA226 = {
    "sys/class/hwmon/hwmon0/name": "ina226\n",
    "sys/class/hwmon/hwmon0/in0_input": "12\n",
    "sys/class/hwmon/hwmon0/in1_input": "5104\n",
    "sys/class/hwmon/hwmon0/curr1_input": "1250\n",
    "sys/class/hwmon/hwmon0/power1_input": "6375000\n",
    "sys/class/hwmon/hwmon0/update_interval": "18\n",
}
PMBUS = {
    "sys/class/hwmon/hwmon3/name": "lm25066\n",
    "sys/class/hwmon/hwmon3/in1_label": "vin\n",
    "sys/class/hwmon/hwmon3/in1_input": "12050\n",
    "sys/class/hwmon/hwmon3/curr1_label": "iin\n",
    "sys/class/hwmon/hwmon3/curr1_input": "820\n",
    "sys/class/hwmon/hwmon3/in10_input": "3300\n",
    "sys/class/hwmon/hwmon3/curr10_input": "100\n",
    "sys/class/hwmon/hwmon3/power1_label": "pin\n",
    "sys/class/hwmon/hwmon3/power1_input": "9840000\n",
    "sys/class/hwmon/hwmon3/in2_input": "5000\n",
    "sys/class/hwmon/hwmon3/curr2_input": "1500\n",
}


def readings(root: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for sensor in hwmon.discover(root).sensors:
        values.update(zip([channel.name for channel in sensor.channels], sensor.read(), strict=True))
        sensor.close()
    return values


def test_one_meter_alone_is_a_total(tmp_path):
    """The chip's own power is taken; its voltage times its current is the same thing."""
    root = plant(tmp_path, INA226)
    found = hwmon.discover(root)
    (sensor,) = found.sensors
    assert readings(root) == {"hwmon/ina226-power1_mw": 6375.0}
    assert sensor.totals == {"device": ["hwmon/ina226-power1_mw"]}
    assert sensor.name == "hwmon-ina226"
    assert sensor.rate_hz == 1000 / 18
    assert not found.problems


def test_several_meters_are_no_total(tmp_path):
    root = plant(tmp_path, {**INA226, **PMBUS})
    found = hwmon.discover(root)
    assert readings(root) == {
        "hwmon/ina226-power1_mw": 6375.0,
        "hwmon/lm25066-rail2_mw": 7500.0,
        "hwmon/lm25066-rail10_mw": 330.0,
        "hwmon/lm25066-pin_mw": 9840.0,
    }
    assert [sensor.totals for sensor in found.sensors] == [{}, {}]
    ((name, sentence),) = found.problems
    assert name == "hwmon-info"
    assert all(channel in sentence for channel in readings(root))
    assert "--rail" in sentence


def test_numbers_sort_as_numbers(tmp_path):
    names = list(readings(plant(tmp_path, PMBUS)))
    assert names.index("hwmon/lm25066-rail2_mw") < names.index("hwmon/lm25066-rail10_mw")


def test_two_chips_of_a_kind(tmp_path):
    twin = {name.replace("hwmon0", "hwmon10"): text for name, text in INA226.items()}
    twin["sys/class/hwmon/hwmon10/power1_input"] = "1000\n"
    root = plant(tmp_path, {**INA226, **twin})
    assert readings(root) == {"hwmon/ina226-power1_mw": 6375.0, "hwmon/ina226-2-power1_mw": 1.0}
    assert [sensor.name for sensor in hwmon.discover(root).sensors] == ["hwmon-ina226", "hwmon-ina226-2"]


def test_energy_counts_from_the_first_reading(tmp_path):
    path = tmp_path / "sys/class/hwmon/hwmon0/energy1_input"
    root = plant(tmp_path, {"sys/class/hwmon/hwmon0/name": "scmi_sensors", "sys/class/hwmon/hwmon0/energy1_label": "soc pwr"})
    path.write_text("123456789\n")
    (sensor,) = hwmon.discover(root).sensors
    (channel,) = sensor.channels
    assert (channel.name, channel.unit, channel.kind) == ("hwmon/scmi_sensors-soc_pwr_mj", "mJ", "counter")
    assert sensor.totals == {"device": [channel.name]}
    assert sensor.read() == [0.0]
    path.write_text("123460000\n")
    assert sensor.read() == [3.211]
    path.write_text("17\n")
    assert sensor.read() == [0.0], "it was reset"
    path.write_text("1017\n")
    assert sensor.read() == [1.0]


def test_graphics_inside_the_processor(tmp_path):
    """Battery and charger show up as monitors, too; both are another family's."""
    (sensor,) = hwmon.discover(plant(tmp_path, LAPTOP)).sensors
    assert sensor.read() == [7048.0]
    assert sensor.totals == {"soc": ["hwmon/amdgpu-PPT_mw"]}, "it sees the whole processor"
    assert sensor.channels[0].scope == "soc"
    assert (sensor.rate_hz, sensor.average_s) == (10, 0)


@pytest.mark.parametrize("sign", ["fan1_input", "temp2_input"])
def test_graphics_card(sign, tmp_path):
    (sensor,) = hwmon.discover(plant(tmp_path, {**LAPTOP, f"sys/class/hwmon/hwmon2/{sign}": "1200\n"})).sensors
    assert sensor.totals == {"gpu": ["hwmon/amdgpu-PPT_mw"]}
    assert sensor.channels[0].scope == "gpu"


@pytest.mark.parametrize(("interval", "seconds"), [("1000", 1.0), ("250", 0.25), ("-1", 0.0), ("soon", 0.0), ("99999999", 60.0)])
def test_what_a_reading_averages_over(interval, seconds, tmp_path):
    folder = "sys/class/hwmon/hwmon0"
    files = {f"{folder}/name": "power_meter", f"{folder}/power1_average": "5000000", f"{folder}/power1_average_interval": interval}
    (sensor,) = hwmon.discover(plant(tmp_path, files)).sensors
    assert sensor.average_s == seconds


@pytest.mark.parametrize(("text", "mw"), [("4294967295000", None), ("99000000000", 99e6)])
def test_what_no_board_draws_is_no_measurement(text, mw, tmp_path):
    (value,) = readings(plant(tmp_path, {**INA226, "sys/class/hwmon/hwmon0/power1_input": text})).values()
    assert math.isnan(value) if mw is None else value == mw


def test_input_goes_before_average(tmp_path):
    root = plant(tmp_path, {**LAPTOP, "sys/class/hwmon/hwmon2/power1_input": "5000000\n"})
    assert readings(root) == {"hwmon/amdgpu-PPT_mw": 5000.0}


def test_a_card_whose_parts_are_measured(tmp_path):
    folder = "sys/class/hwmon/hwmon0"
    files = {f"{folder}/name": "xe", f"{folder}/energy1_input": "10", f"{folder}/energy2_input": "5", f"{folder}/energy2_label": "pkg"}
    (sensor,) = hwmon.discover(plant(tmp_path / "a", files)).sensors
    assert sensor.totals == {}
    (sensor,) = hwmon.discover(plant(tmp_path / "b", {**files, f"{folder}/energy1_label": "card"})).sensors
    assert sensor.totals == {"gpu": ["hwmon/xe-card_mj"]}


def test_a_gpu_beside_one_meter(tmp_path):
    found = hwmon.discover(plant(tmp_path, {**LAPTOP, **{name.replace("hwmon0", "hwmon7"): text for name, text in INA226.items()}}))
    assert [sensor.totals for sensor in found.sensors] == [{"soc": ["hwmon/amdgpu-PPT_mw"]}, {"device": ["hwmon/ina226-power1_mw"]}]


def test_batteries_are_known_by_their_device(tmp_path):
    root = plant(tmp_path, {**INA226, "sys/class/hwmon/hwmon0/device/type": "Battery\n"})
    assert not hwmon.discover(root).sensors


def test_jetson_rails_are_left_to_ina3221(tmp_path):
    files = {name.replace("bus/i2c/drivers/ina3221/1-0040/hwmon", "class/hwmon"): text for name, text in AGX_ORIN.items()}
    assert readings(plant(tmp_path, files)) == {}


def test_thor(tmp_path):
    """The carrier board's meter sees all; the module's rails are not taken twice."""
    (sensor,) = hwmon.discover(plant(tmp_path, AGX_THOR)).sensors
    assert sensor.read() == [23284.0]
    assert sensor.totals == {"board": ["hwmon/ina238-VIN_mw"]}


def test_vin_elsewhere_is_just_a_meter(tmp_path):
    (sensor,) = hwmon.discover(plant(tmp_path, {**AGX_THOR, "proc/device-tree/model": "Some board"})).sensors
    assert sensor.totals == {"device": ["hwmon/ina238-VIN_mw"]}


def test_an_ina3221_without_labels(tmp_path):
    """On other boards nobody named its channels: they are meters like others. The fourth is a sum, the rest are shunts."""
    files = {
        name.replace("bus/i2c/drivers/ina3221/1-0040/hwmon", "class/hwmon"): text
        for name, text in ina3221_hwmon("1-0040", "hwmon0", {1: ("", 5000, 100), 3: ("", 12000, 50)}).items()
        if not name.endswith("_label")
    }
    files["sys/class/hwmon/hwmon0/in4_input"] = "40\n"
    assert readings(plant(tmp_path, files)) == {"hwmon/ina3221-rail1_mw": 500.0, "hwmon/ina3221-rail3_mw": 600.0}


@pytest.mark.parametrize("chip", ["iio_hwmon", "ucsi_source_psy_USBC000:001", "tcpm_source_psy_5_004e"])
def test_numbers_that_do_not_belong_together(chip, tmp_path):
    files = {"name": chip, "in1_input": "5000", "curr1_input": "3000"}
    assert readings(plant(tmp_path, {f"sys/class/hwmon/hwmon0/{name}": text for name, text in files.items()})) == {}


def test_monitors_of_other_things(tmp_path):
    assert readings(plant(tmp_path, PI_5)) == {}


@pytest.mark.parametrize("text", ["", "garbage", "-5", "nan", "inf"])
def test_readings_that_are_none(text, tmp_path):
    values = readings(plant(tmp_path, {**INA226, "sys/class/hwmon/hwmon0/power1_input": text}))
    assert math.isnan(values["hwmon/ina226-power1_mw"])


@pytest.mark.parametrize(("text", "rate_hz"), [("1", 100), ("0", 10), ("-3", 10), ("x", 10), ("2000", 0.5), ("1000000", 0.1)])
def test_rate(text, rate_hz, tmp_path):
    (sensor,) = hwmon.discover(plant(tmp_path, {**INA226, "sys/class/hwmon/hwmon0/update_interval": text})).sensors
    assert sensor.rate_hz == rate_hz


def test_permission_of_one_chip_leaves_the_others():
    with public_folder() as folder:
        root = plant(folder, {**INA226, **PMBUS})
        seal(folder / "sys/class/hwmon/hwmon3/power1_input")
        names, problems = without_rights(lambda: ([s.name for s in hwmon.discover(root).sensors], list(hwmon.discover(root).problems)))
    assert names == ["hwmon-ina226"]
    ((name, sentence),) = problems
    assert name == "hwmon-permission"
    assert sentence.endswith("with: sudo chmod a+r /sys/class/hwmon/hwmon3/*_input")
