"""Energy counters of processors."""

from __future__ import annotations

import math

import pytest

from edgeprof.agent.sensors import rapl
from tests.agent.sensors.trees import LAPTOP, plant, public_folder, seal, without_rights

ZONE = "sys/class/powercap/intel-rapl:0"


@pytest.fixture
def sensor(tmp_path):
    (sensor,) = rapl.discover(plant(tmp_path, LAPTOP)).sensors
    return sensor


def test_zones(sensor):
    """The -mmio twin counts a package a second time; psys holds it again."""
    assert [(c.name, c.scope) for c in sensor.channels] == [
        ("rapl/package-0_mj", "package"), ("rapl/package-0-core_mj", "rail"), ("rapl/package-0-dram_mj", "dram"), ("rapl/psys_mj", "board"),
    ]  # fmt: skip
    assert sensor.totals == {"package": ["rapl/package-0_mj"], "dram": ["rapl/package-0-dram_mj"]}


def test_wrap_around(sensor, tmp_path):
    assert sensor.read() == [0.0] * 4
    (tmp_path / ZONE / "energy_uj").write_text("262143328850\n")
    assert sensor.read()[0] == 328.85
    (tmp_path / ZONE / "energy_uj").write_text("149\n")
    assert sensor.read()[0] == 329.0
    (tmp_path / ZONE / "energy_uj").write_text("1149\n")
    assert sensor.read()[0] == 330.0


def test_one_zone_that_is_gone_leaves_the_others(sensor, tmp_path):
    (tmp_path / ZONE / "energy_uj").unlink()
    first, *others = sensor.read()
    assert math.isnan(first)
    assert others == [0.0] * 3


def test_a_range_that_is_missing(tmp_path):
    files = {name: text for name, text in LAPTOP.items() if not name.endswith("max_energy_range_uj")}
    (sensor,) = rapl.discover(plant(tmp_path, files)).sensors
    assert sensor.read()[0] == 0
    (tmp_path / ZONE / "energy_uj").write_text("10\n")
    assert sensor.read()[0] == 0, "wrapped or reset, nobody knows"
    (tmp_path / ZONE / "energy_uj").write_text("5010\n")
    assert sensor.read()[0] == 5


def test_two_packages(tmp_path):
    files = {**LAPTOP, "sys/class/powercap/intel-rapl:1/name": "package-1\n", "sys/class/powercap/intel-rapl:1:0/name": "dram\n",
             "sys/class/powercap/intel-rapl:1:0/energy_uj": "1\n"}  # fmt: skip
    (sensor,) = rapl.discover(plant(tmp_path, files)).sensors
    assert sensor.totals == {
        "package": ["rapl/package-0_mj", "rapl/package-1_mj"],
        "dram": ["rapl/package-0-dram_mj", "rapl/package-1-dram_mj"],
    }


def test_permission():
    with public_folder() as folder:
        root = plant(folder, LAPTOP)
        seal(*folder.glob("sys/class/powercap/*/energy_uj"))
        found = without_rights(lambda: rapl.discover(root))
    assert list(found.sensors) == []
    ((name, sentence),) = found.problems
    assert name == "rapl-permission"
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in sentence
