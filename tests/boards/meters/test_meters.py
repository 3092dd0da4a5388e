"""The family: which meters there are, what is imported when, and that documentation and packaging know them all."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgeprof.boards.meters import METERS, available, open_meter, visa
from edgeprof.boards.meters.base import split_options
from edgeprof.errors import BoardError, MeterError, MissingExtra, UsageError

ROOT = Path(__file__).parents[3]
PACKAGES = ("joulescope", "pyvisa", "otii_tcp_client", "serial", "usb")


def test_available():
    own = [meter for meter in available() if not meter.is_plugin]
    assert [meter.name for meter in own] == list(METERS)
    versions = {meter.name: meter.version for meter in own}
    assert versions["visa"]
    assert versions["otii"]
    assert {meter.problem for meter in own} == {""}


def test_nothing_is_imported_before_a_meter_is_opened():
    code = f"""
import importlib, sys
from edgeprof.boards.meters import METERS, available
available()
for module, _ in METERS.values():
    importlib.import_module(module)
print([m for m in {(*PACKAGES, "numpy", "pandas")!r} if m in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("spec", "package", "extra"),
    [("joulescope", "joulescope", "joulescope"), ("otii", "otii_tcp_client", "otii"), ("visa:ASRL1::INSTR", "pyvisa", "visa")],
)
def test_a_package_that_is_missing(monkeypatch, spec, package, extra):
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf'needs the package {package}.*pip install "edgeprof\[{extra}\]"'):
        open_meter(spec)


@pytest.mark.parametrize("spec", ["", ":", "VISA:ASRL1::INSTR", "ppk2:/dev/ttyACM0", "../otii", "edgeprof"])
def test_meters_that_are_not_there(spec):
    with pytest.raises(UsageError, match=r"There is no meter '.*'\. Known are: joulescope, otii, visa; .*docs/meters\.md"):
        open_meter(spec)


def test_a_meter_that_fails_is_a_board_error():
    """What was measured without it is kept: that is what callers do with a BoardError."""
    assert issubclass(MeterError, BoardError)


def test_each_meter_has_its_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for name, (_, package) in METERS.items():
        assert any(requirement.startswith(f"{package}>=") for requirement in project[name])


def test_the_documentation_names_each_meter_and_its_specs_can_be_read():
    text = (ROOT / "docs" / "meters.md").read_text("utf-8")
    for name in METERS:
        assert f'pip install "edgeprof[{name}]"' in text
    specs = re.findall(r"^ +visa:(.*)$", text, re.MULTILINE)
    assert len(specs) >= 4
    for spec in specs:
        resource, options = split_options(spec, visa._OPTIONS, "visa")
        assert "::" in resource
        visa._queries(options)
        visa._commands(options)
    for option in visa._OPTIONS:
        assert f"`{option}=" in text
