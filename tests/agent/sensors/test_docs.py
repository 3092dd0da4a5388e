"""The example of docs/sensors.md works, and its tables name every family."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgeprof.agent import sensors
from tests.agent.sensors.test_family import check
from tests.agent.sensors.trees import plant, public_folder, seal, without_rights

TEXT = Path(__file__).parents[3].joinpath("docs/sensors.md").read_text()
EXAMPLE, TEST = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
CHIP = "sys/bus/i2c/drivers/ltc2945/0-006f"


@pytest.fixture
def ltc2945(monkeypatch):
    """The example as a module of the package, listed in FAMILIES as it says."""
    module = ModuleType("edgeprof.agent.sensors.ltc2945")
    module.__package__ = sensors.__name__
    exec(compile(EXAMPLE, "docs/sensors.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sensors, "FAMILIES", (*sensors.FAMILIES, "ltc2945"))
    return module


def test_the_example(ltc2945, tmp_path):
    names = {"plant": plant, "ltc2945": ltc2945}
    exec(compile(TEST, "docs/sensors.md", "exec"), names)
    names["test_supply"](tmp_path)


def test_the_example_keeps_the_contract(ltc2945, tmp_path):
    found = sensors.discover(plant(tmp_path, {f"{CHIP}/power1_input": "4321000\n", f"{CHIP}/label": "supply\n"}))
    assert [sensor.name for sensor in found.sensors] == ["ltc2945"]
    assert check(found) == 1


def test_the_example_says_who_may_read(ltc2945):
    with public_folder() as folder:
        root = plant(folder, {f"{CHIP}/power1_input": "4321000\n", f"{CHIP}/label": "supply\n"})
        seal(folder / CHIP / "power1_input")
        found = without_rights(lambda: ltc2945.discover(root))
    assert list(found.sensors) == []
    assert [name for name, _ in found.problems] == ["ltc2945-permission"]


def test_every_family_is_in_the_table():
    rows = re.findall(r"^\| `([a-z0-9_]+)` \|", TEXT, re.MULTILINE)
    assert set(sensors.FAMILIES) <= set(rows)
