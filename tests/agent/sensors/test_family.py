"""What holds for every family: the contract, hostile folders, nothing there at all."""

from __future__ import annotations

import math
import os
import re
import tempfile
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.agent import sensors
from edgeprof.agent.sensors.base import COUNTER, MOST_CHANNELS, SAMPLE, Found
from edgeprof.agent.sensors.process import Process
from edgeprof.agent.sensors.throttle import flags
from tests.agent.sensors.trees import BOARDS, PMIC, command, plant, public_folder
from tests.laws import examples

NAME = re.compile(r"[a-z0-9_]+/[A-Za-z0-9_.+-]+")
ENDINGS = {"mW": "_mw", "mJ": "_mj", "V": "_v", "A": "_a", "°C": "_c", "MHz": "_mhz", "B": "_bytes", "": "", "%": ""}
SCOPES = {"board", "module", "package", "cpu", "gpu", "dram", "soc", "rail", "process", "system"}
TOTALS = {"board", "module", "package", "dram", "gpu", "soc", "device"}
PI_ANSWERS = f"""case "$1" in
pmic_read_adc) cat <<'END'
{PMIC}END
;;
get_throttled) echo throttled=0x50000 ;;
esac
"""


def check(found: Found) -> int:
    """The contract; the number of channels."""
    names = [channel.name for sensor in found.sensors for channel in sensor.channels]
    assert len(set(names)) == len(names)
    assert len({sensor.name for sensor in found.sensors}) == len(found.sensors)
    for sensor in found.sensors:
        assert 0 < sensor.rate_hz <= 150
        assert 0 <= sensor.average_s <= 60
        assert sensor.channels
        for channel in sensor.channels:
            assert NAME.fullmatch(channel.name)
            assert channel.name.endswith(ENDINGS[channel.unit])
            assert channel.kind in (SAMPLE, COUNTER)
            assert channel.scope in SCOPES
        for scope, total in sensor.totals.items():
            assert scope in TOTALS
            assert len(set(total)) == len(total) > 0
            assert {channel.name for channel in sensor.channels if channel.unit in ("mW", "mJ")} >= set(total)
        check_values(sensor)
        sensor.close()
        sensor.close()
    for name, sentence in found.problems:
        assert re.fullmatch("[a-z0-9_]+-[a-z]+(-info)?", name)
        assert len(sentence) > 20
        sentence.encode()
    return len(names)


def check_values(sensor):
    for _ in range(2):
        try:
            values = sensor.read()
        except OSError:
            continue
        assert len(values) == len(sensor.channels)
        for channel, value in zip(sensor.channels, values, strict=True):
            assert isinstance(value, float)
            assert not math.isinf(value)
            assert not (value < 0 and channel.unit in ("mW", "mJ", "°C", "MHz", "B"))


def test_every_file_is_a_family_and_listed():
    folder = Path(sensors.__file__).parent
    helpers = {"__init__", "base", "vcgencmd"}
    assert set(sensors.FAMILIES) == {path.stem for path in folder.glob("*.py")} - helpers
    assert len(set(sensors.FAMILIES)) == len(sensors.FAMILIES)


@pytest.mark.parametrize("board", BOARDS)
def test_contract(board, tmp_path):
    root = plant(tmp_path, BOARDS[board])
    if board == "pi-5":
        command(tmp_path, PI_ANSWERS)
    assert check(sensors.discover(root)) > 0


@pytest.mark.parametrize("family", sensors.FAMILIES)
def test_nothing_there(family, tmp_path):
    found = import_module(f"edgeprof.agent.sensors.{family}").discover(str(tmp_path))
    assert list(found.sensors) == list(found.problems) == []


def test_this_machine():
    found = sensors.discover()
    assert check(found) >= 4
    assert "process" in [sensor.name for sensor in found.sensors]
    assert all(isinstance(sentence, str) for sentence in flags())


def test_unknown_family(tmp_path):
    found = sensors.discover(str(tmp_path), ["rapl", "crystal_ball"])
    assert found.sensors == []
    ((name, sentence),) = found.problems
    assert name == "sensor-unknown"
    assert "'crystal_ball'" in sentence
    assert "ina3221" in sentence


def test_wanted_families_only(tmp_path):
    found = sensors.discover(plant(tmp_path, BOARDS["orin-nano"]), ["thermal", "ina3221"])
    assert [sensor.name for sensor in found.sensors] == ["thermal", "ina3221"]


contents = st.one_of(
    st.binary(max_size=40),
    st.integers(-(10**30), 10**30).map(lambda n: b"%d\n" % n),
    st.sampled_from([b"", b"nan", b"inf", b"NC", b"-1\n", b"\0", b"0", b"Battery\n", b"amdgpu\n", b"ina3221\n", b"VDD_IN\n"]),
    st.sampled_from(["folder", "loop", "pipe", "absent", "asleep"]),
)


@pytest.mark.parametrize("board", BOARDS)
@examples(1 / 4)
@given(data=st.data())
def test_broken_boards(board, data):
    """Any files of a board hold anything, or are something else."""
    files = dict(BOARDS[board])
    broken = data.draw(st.lists(st.sampled_from(sorted(files)), unique=True, min_size=1))
    with tempfile.TemporaryDirectory() as folder:
        plant(folder, {name: text for name, text in files.items() if name not in broken})
        for name in broken:
            spoil(Path(folder, name), data.draw(contents))
        check(sensors.discover(folder))
        assert all(isinstance(sentence, str) for sentence in flags(folder))


def spoil(path: Path, what: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(what, bytes):
        path.write_bytes(what)
    elif what == "folder":
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "asleep":
        path.symlink_to("/proc/self/mem")


CROWDS = {
    "ina3221": ("sys/class/hwmon/hwmon", {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "100"}),
    "rapl": ("sys/class/powercap/intel-rapl:", {"energy_uj": "1"}),
    "hwmon": ("sys/class/hwmon/hwmon", {"power1_input": "1"}),
    "battery": ("sys/class/power_supply/BAT", {"type": "Battery", "power_now": "1"}),
    "thermal": ("sys/class/thermal/thermal_zone", {"type": "cpu", "temp": "40000"}),
    "clocks": ("sys/devices/system/cpu/cpufreq/policy", {"scaling_cur_freq": "1000000"}),
    "throttle": ("sys/class/hwmon/hwmon", {"curr1_max_alarm": "1"}),
}


@pytest.fixture
def crowded():
    """A folder that is removed after the test: pytest keeps its own for three sessions."""
    with public_folder() as folder:
        yield folder


@pytest.mark.parametrize("family", CROWDS)
def test_thousands_of_entries(family, crowded):
    """All links to one device, as entries of a class are links."""
    path, files = CROWDS[family]
    plant(crowded, {f"device/{name}": text for name, text in files.items()})
    (crowded / path).parent.mkdir(parents=True)
    for i in range(3_000):
        os.symlink(crowded / "device", f"{crowded / path}{i}")
    found = import_module(f"edgeprof.agent.sensors.{family}").discover(str(crowded))
    assert 0 < check(found) <= MOST_CHANNELS


def test_ten_thousand_files_in_one_chip(crowded):
    plant(crowded, {"sys/class/hwmon/hwmon0/power1_input": "1"})
    for i in range(2, 10_000):
        os.symlink("power1_input", crowded / f"sys/class/hwmon/hwmon0/power{i}_input")
    found = sensors.discover(str(crowded), ["hwmon"])
    assert check(found) == MOST_CHANNELS
    assert found.sensors[0].channels[9].name == "hwmon/hwmon0-power10_mw"  # not power17, which sorts before it as text


def test_thousands_of_processes(crowded):
    """On a kernel without lists of children all are looked at; those below the watched one are read."""
    line = "{pid} (x) S {parent} 0 0 0 0 0 1 0 1 0 1 1 0 0 0 0 1 0 5 0 1\n"
    plant(crowded, {f"proc/{pid}/stat": line.format(pid=pid, parent=pid // 2) for pid in range(1, 3_000)})
    sensor = Process(str(crowded))
    sensor.watch(2)
    assert 1000 < sensor.read()[0] / os.sysconf("SC_PAGE_SIZE") <= 1025


def test_huge_files(tmp_path):
    """A file of 8 GiB (all holes) in place of each one that is read."""
    plant(tmp_path, BOARDS["laptop"])
    for name in BOARDS["laptop"]:
        os.truncate(tmp_path / name, 8 << 30)
    check(sensors.discover(str(tmp_path)))
