"""Plug-ins, installed for real: a folder on the path with a module and a dist-info that registers it."""

from __future__ import annotations

import math
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from edgeprof.boards.meters import available, open_meter, open_meters
from edgeprof.errors import MeterError, UsageError

Install = Callable[..., Path]

GOOD = """
from collections import namedtuple

Channel = namedtuple("Channel", "name unit kind scope title")
closed = []


class Meter:
    channels = [Channel("bench/power_mw", "mW", "sample", "board", "power"), Channel("bench/energy_mj", "mJ", "counter", "board", "energy")]
    totals = {"board": ["bench/energy_mj"]}
    rate_hz = 20

    def __init__(self, address):
        self.address = address

    def read(self):
        return [1500, 2.5]

    def close(self):
        closed.append(self.address)


def open(address):
    return Meter(address)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package: ``source`` as its module, registered as ``name``."""

    def install(source: str = GOOD, *, name: str = "bench", package: str = "edgeprof-bench", target: str = "open") -> Path:
        module = package.replace("-", "_")
        site = tmp_path / package
        info = site / f"{module}-0.3.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source, "utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.3\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[edgeprof.sensors]\n{name} = {module}:{target}\n", "utf-8")
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, module, raising=False)
        return site

    before = set(sys.modules)
    yield install
    for module in set(sys.modules) - before:
        if module.startswith("edgeprof_"):
            del sys.modules[module]


def changed(**members: str) -> str:
    """The good meter with members of its class replaced; None leaves one out."""
    lines = [f"    Meter.{name} = {value}" if value != "None" else f"    del Meter.{name}" for name, value in members.items()]
    return GOOD + "\nif True:\n" + "\n".join(lines) + "\n"


def test_a_plug_in_of_its_own_classes(install):
    install()
    meter = open_meter("bench:/dev/ttyACM0?x=1:2")
    assert meter.name == "bench"
    assert [tuple(channel) for channel in meter.channels] == [
        ("bench/power_mw", "mW", "sample", "board", "power"),
        ("bench/energy_mj", "mJ", "counter", "board", "energy"),
    ]
    assert meter.totals == {"board": ["bench/energy_mj"]}
    assert meter.rate_hz == 20
    assert meter.read() == [1500.0, 2.5]
    assert {type(value) for value in meter.read()} == {float}
    meter.watch(1)
    meter.close()
    assert sys.modules["edgeprof_bench"].closed == ["/dev/ttyACM0?x=1:2"], "it got what follows the first colon"


def test_it_is_listed_and_not_imported(install):
    install()
    found = {meter.name: meter for meter in available()}
    assert [found["bench"].package, found["bench"].version, found["bench"].is_plugin, found["bench"].problem] == [
        "edgeprof-bench",
        "0.3",
        True,
        "",
    ]
    assert "edgeprof_bench" not in sys.modules


def test_unknown_meters_name_those_that_are_known(install):
    install()
    with pytest.raises(UsageError, match=r"no meter 'bensch'\. Known are: bench, joulescope, otii, visa"):
        open_meter("bensch:1")


def test_two_of_one_name(install):
    install(package="edgeprof-one")
    install(package="edgeprof-two")
    with pytest.raises(
        MeterError, match=r"The plug-in bench of edgeprof-one cannot be used: edgeprof-two registers a meter of this name too"
    ):
        open_meter("bench")
    assert all("Uninstall one" in meter.problem for meter in available() if meter.name == "bench")


def test_a_plug_in_cannot_take_the_name_of_a_meter_of_edgeprof(install):
    install(name="visa")
    with pytest.raises(UsageError, match="no VISA resource"):
        open_meter("visa:/dev/ttyACM0")
    assert [meter.problem for meter in available() if meter.is_plugin] == [
        "edgeprof has a meter 'visa' of its own. Register the plug-in under another name."
    ]


CHANNEL = "[Channel({!r}, {!r}, {!r}, {!r}, 'title')]"
UNFIT = {
    "no channels": (changed(channels="[]"), "it has no channels"),
    "channels missing": (changed(channels="None"), "it has no channels"),
    "channels a text": (changed(channels="'bench/power_mw'"), "it has no channels"),
    "channels are texts": (changed(channels="['bench/power_mw']"), "one of its channels has no name"),
    "channel without title": (
        changed(channels="[namedtuple('C', 'name unit kind scope')('bench/a_mw', 'mW', 'sample', 'board')]"),
        "has no title",
    ),
    "two of a name": (
        changed(channels="Meter.channels + Meter.channels[:1]", read="lambda self: [1, 2, 3]"),
        "two of its channels are called 'bench/power_mw'",
    ),
    "watts": (changed(channels=CHANNEL.format("bench/power_w", "W", "sample", "board"), totals="{}"), "'W', not one of mW, mJ, mA, mV, °C"),
    "sampled energy": (
        changed(channels=CHANNEL.format("bench/e_mj", "mJ", "sample", "board"), totals="{}"),
        "in mJ is a 'sample', not a 'counter'",
    ),
    "counted power": (
        changed(channels=CHANNEL.format("bench/p_mw", "mW", "counter", "board"), totals="{}"),
        "in mW is a 'counter', not a 'sample'",
    ),
    "strange scope": (changed(channels=CHANNEL.format("bench/p_mw", "mW", "sample", "desk"), totals="{}"), "'desk', not one of board"),
    "name of another": (
        changed(channels=CHANNEL.format("visa/power_mw", "mW", "sample", "board"), totals="{}"),
        "is not called bench/WHAT_mw",
    ),
    "name without unit": (
        changed(channels=CHANNEL.format("bench/power", "mW", "sample", "board"), totals="{}"),
        "is not called bench/WHAT_mw",
    ),
    "name of a unit alone": (
        changed(channels=CHANNEL.format("bench/_mw", "mW", "sample", "board"), totals="{}"),
        "is not called bench/WHAT_mw",
    ),
    "name with a bell": (
        changed(channels=CHANNEL.format("bench/\a_mw", "mW", "sample", "board"), totals="{}"),
        "is not called bench/WHAT_mw",
    ),
    "too few values": (changed(read="lambda self: [1]"), "read() returned 1 values for 2 channels"),
    "too many values": (changed(read="lambda self: [1, 2, 3]"), "read() returned 3 values for 2 channels"),
    "no list": (changed(read="lambda self: None"), "read() returned None, not a list"),
    "texts": (changed(read="lambda self: ['1', 2]"), "'1' in place of a number"),
    "truths": (changed(read="lambda self: [1, True]"), "True in place of a number"),
    "nothing": (changed(read="lambda self: [1, None]"), "None in place of a number"),
    "cannot be read": (changed(read="None"), "it has no read()"),
    "cannot be closed": (changed(close="None"), "it has no close()"),
    "no rate": (changed(rate_hz="None"), "its rate_hz is None"),
    "rate of 0": (changed(rate_hz="0"), "its rate_hz is 0"),
    "rate of nothing": (changed(rate_hz="float('nan')"), "its rate_hz is nan"),
    "total of the desk": (changed(totals="{'desk': ['bench/power_mw']}"), "its totals hold 'desk'"),
    "total of a text": (changed(totals="{'board': 'bench/power_mw'}"), "its totals hold 'board', which is not one of"),
    "total of strangers": (changed(totals="{'board': ['ina/power_mw']}"), "names 'ina/power_mw'"),
    "total twice": (changed(totals="{'board': ['bench/power_mw', 'bench/power_mw']}"), "or named twice"),
    "total of nothing": (changed(totals="{'board': [None]}"), "names 'None'"),
    "total of lists": (changed(totals="{'board': [[]]}"), "names '[]'"),
    "totals a list": (changed(totals="['bench/power_mw']"), "its totals are no mapping"),
    "none": ("def open(address):\n    return None\n", "returned NoneType, which is no sensor: it has no read()"),
}


@pytest.mark.parametrize(("source", "words"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_is_refused(install, source, words):
    install(source)
    with pytest.raises(MeterError) as raised:
        open_meter("bench:a")
    text = str(raised.value)
    assert words in text
    assert text.startswith("The plug-in bench of edgeprof-bench 0.3 returned ")
    assert text.endswith("See docs/meters.md for what a plug-in must return.")
    assert "\n" not in text
    closed = getattr(sys.modules["edgeprof_bench"], "closed", ["a"])
    assert closed == ([] if words == "it has no close()" else ["a"]), "what was opened is closed"


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("import surely_not_there\n", "open", "ModuleNotFoundError: No module named 'surely_not_there'"),
        ("", "open", "AttributeError"),
        ("open = 3\n", "open", "TypeError: 'int' object is not callable"),
        (
            "def open(address):\n    raise ValueError('no port\\n' + address)\n",
            "open",
            "failed to open '/dev/x': ValueError: no port /dev/x",
        ),
        ("def open(address):\n    raise OSError(2, 'No such file')\n", "open", "FileNotFoundError: [Errno 2] No such file"),
    ],
)
def test_what_fails_to_open(install, source, target, words):
    install(source, target=target)
    with pytest.raises(MeterError) as raised:
        open_meter("bench:/dev/x")
    assert str(raised.value).startswith("The plug-in bench of edgeprof-bench 0.3 failed to open '/dev/x': ")
    assert words in str(raised.value)


def test_its_own_errors_of_edgeprof_pass(install):
    install("from edgeprof.errors import UsageError\n\ndef open(address):\n    raise UsageError('Give a port.')\n")
    with pytest.raises(UsageError, match=r"^Give a port\.$"):
        open_meter("bench")


def test_a_first_reading_that_fails(install):
    install(GOOD + "\n\ndef fail(self):\n    raise OSError('unplugged')\n\n\nMeter.read = fail\n")
    with pytest.raises(MeterError, match="first reading failed: unplugged"):
        open_meter("bench:a")
    assert sys.modules["edgeprof_bench"].closed == ["a"]


@pytest.mark.parametrize(
    ("read", "words"),
    [
        ("lambda self: [1]", "cannot be read: read\\(\\) returned 1 values for 2 channels"),
        ("lambda self: {}['x']", "failed to read: KeyError: 'x'"),
        ("lambda self: 1 / 0", "failed to read: ZeroDivisionError"),
    ],
)
def test_whatever_goes_wrong_later_is_an_oserror(install, read, words):
    install()
    meter = open_meter("bench")
    sys.modules["edgeprof_bench"].Meter.read = eval(read)
    with pytest.raises(OSError, match=words):
        meter.read()
    meter.close()


def test_what_is_not_finite_was_not_measured(install):
    install()
    meter = open_meter("bench")
    sys.modules["edgeprof_bench"].Meter.read = lambda self: [math.inf, 10**400]
    assert [math.isnan(value) for value in meter.read()] == [True, True]
    meter.close()


def test_closing_never_fails(install):
    install(changed(close="lambda self: 1 / 0"))
    open_meter("bench").close()


def test_several_meters_get_names_of_their_own(install):
    install()
    meters = open_meters(["bench:a", "bench:b", "bench:c"])
    assert [meter.name for meter in meters] == ["bench", "bench-2", "bench-3"]
    assert [channel.name for channel in meters[1].channels] == ["bench-2/power_mw", "bench-2/energy_mj"]
    assert meters[1].totals == {"board": ["bench-2/energy_mj"]}
    names = [channel.name for meter in meters for channel in meter.channels]
    assert len(set(names)) == len(names)
    for meter in meters:
        meter.close()


def test_all_meters_or_none(install):
    install()
    with pytest.raises(UsageError, match="no meter 'nothing'"):
        open_meters(["bench:a", "bench:b", "nothing"])
    assert sorted(sys.modules["edgeprof_bench"].closed) == ["a", "b"]


# The example of docs/meters.md


class Ppk2:
    """In place of ppk2_api's PPK2_MP: gives each sample as four bytes, as the real one does."""

    def __init__(self, port, buffer_max_size_seconds=10, buffer_chunk_seconds=0.1, **kwargs):
        self.port, self.calls, self.waiting_ua = port, [], []

    def __getattr__(self, name):
        if name not in ("get_modifiers", "set_source_voltage", "use_ampere_meter", "toggle_DUT_power", "start_measuring", "stop_measuring"):
            raise AttributeError(name)
        return lambda *args: self.calls.append((name, *args))

    def get_data(self):
        data = b"".join(sample.to_bytes(4, "little") for sample in self.waiting_ua)
        self.waiting_ua = []
        return data

    def get_samples(self, data):
        samples = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        return samples, [0] * len(samples)


def test_the_worked_example(install, monkeypatch):
    text = (Path(__file__).parents[3] / "docs" / "meters.md").read_text("utf-8")
    source = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Ppk2" in block)
    project = tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    assert project["project"]["entry-points"] == {"edgeprof.sensors": {"ppk2": "edgeprof_ppk2:open"}}
    package = ModuleType("ppk2_api.ppk2_api")
    package.PPK2_MP = Ppk2
    monkeypatch.setitem(sys.modules, "ppk2_api", ModuleType("ppk2_api"))
    monkeypatch.setitem(sys.modules, "ppk2_api.ppk2_api", package)
    install(source, name="ppk2", package=project["project"]["name"])
    meter = open_meter("ppk2:/dev/ttyACM0@5000")
    ppk2 = meter._found._ppk2
    assert ppk2.port == "/dev/ttyACM0"
    assert ("set_source_voltage", 5000) in ppk2.calls
    assert all(math.isnan(value) for value in meter.read())
    ppk2.waiting_ua = [100_000, 300_000] * 50_000  # a second at 0.2 A and 5 V
    assert meter.read() == pytest.approx([1000, 200])
    meter.close()
    assert ppk2.calls[-1] == ("stop_measuring",)
