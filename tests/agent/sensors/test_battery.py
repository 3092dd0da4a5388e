"""Batteries: they tell the board's power only while they feed it."""

from __future__ import annotations

import math

import pytest

from edgeprof.agent.sensors import battery
from tests.agent.sensors.trees import LAPTOP, plant, public_folder, seal, without_rights

FOLDER = "sys/class/power_supply"


def supply(name: str, **files: str) -> dict[str, str]:
    return {f"{FOLDER}/{name}/{file}": text + "\n" for file, text in {"type": "Battery", **files}.items()}


def test_laptop(tmp_path):
    """Neither the charger nor the mouse counts."""
    found = battery.discover(plant(tmp_path, LAPTOP))
    (sensor,) = found.sensors
    assert [tuple(channel) for channel in sensor.channels] == [("battery/BAT0_mw", "mW", "sample", "board", "Battery BAT0")]
    assert sensor.read() == [8423.0]
    assert sensor.totals == {"board": ["battery/BAT0_mw"]}
    assert sensor.rate_hz <= 1
    assert not found.problems


@pytest.mark.parametrize("current", ["1250000", "-1250000"])
def test_voltage_times_current_whatever_its_sign(current, tmp_path):
    root = plant(tmp_path, supply("bq27441", status="Discharging", voltage_now="3912000", current_now=current))
    assert battery.discover(root).sensors[0].read() == [4890.0]


def test_power_goes_before_voltage_times_current(tmp_path):
    root = plant(tmp_path, supply("B", status="Discharging", voltage_now="3912000", current_now="1000000", power_now="-4000000"))
    assert battery.discover(root).sensors[0].read() == [4000.0]


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown", ""])
def test_a_battery_that_does_not_feed_the_board(status, tmp_path):
    root = plant(tmp_path, supply("BAT0", status=status, power_now="15000000"))
    found = battery.discover(root)
    (sensor,) = found.sensors
    ((name, sentence),) = found.problems
    assert name == "battery-charging"
    assert "Unplug the charger" in sentence
    assert math.isnan(sensor.read()[0])
    (tmp_path / FOLDER / "BAT0/status").write_text("Discharging\n")
    assert sensor.read() == [15000.0]


def test_two_batteries(tmp_path):
    """One feeds the board, the other rests and says 0: that is its power. One that is charged meanwhile tells nothing of the board."""
    root = plant(tmp_path, {**supply("BAT1", status="Discharging", power_now="9000000"), **supply("BAT0", status="Unknown", power_now="0")})
    (sensor,) = battery.discover(root).sensors
    assert sensor.totals == {"board": ["battery/BAT0_mw", "battery/BAT1_mw"]}
    assert sensor.read() == [0.0, 9000.0]
    (tmp_path / FOLDER / "BAT0/power_now").write_text("500000\n")
    resting, giving = sensor.read()
    assert math.isnan(resting)
    assert giving == 9000
    (tmp_path / FOLDER / "BAT1/status").write_text("Charging\n")
    assert all(math.isnan(value) for value in sensor.read())


@pytest.mark.parametrize(
    "files",
    [{"type": "Mains"}, {"type": "USB"}, {"scope": "Device"}, {"present": "0"}, {"type": ""}],
    ids=["charger", "usb", "mouse", "empty bay", "no type"],
)
def test_what_is_no_battery_of_the_board(files, tmp_path):
    found = battery.discover(plant(tmp_path, supply("X", **{"status": "Discharging", "power_now": "1000000", **files})))
    assert list(found.sensors) == list(found.problems) == []


def test_a_battery_without_power(tmp_path):
    """Percent alone is no power, nor is a voltage."""
    assert not battery.discover(plant(tmp_path, supply("BAT0", status="Discharging", capacity="80", voltage_now="3900000"))).sensors


def test_a_battery_that_is_taken_out(tmp_path):
    (sensor,) = battery.discover(plant(tmp_path, LAPTOP)).sensors
    (tmp_path / FOLDER / "BAT0/power_now").unlink()
    with pytest.raises(FileNotFoundError):
        sensor.read()


@pytest.mark.parametrize("text", ["", "garbage", "nan"])
def test_readings_that_are_none(text, tmp_path):
    (sensor,) = battery.discover(plant(tmp_path, supply("BAT0", status="Discharging", power_now=text))).sensors
    assert math.isnan(sensor.read()[0])


def test_permission():
    with public_folder() as folder:
        root = plant(folder, LAPTOP)
        seal(folder / FOLDER / "BAT0/power_now")
        found = without_rights(lambda: battery.discover(root))
    assert list(found.sensors) == []
    ((name, sentence),) = found.problems
    assert name == "battery-permission"
    assert sentence.endswith("with: sudo chmod a+r /sys/class/power_supply/*/*_now")
