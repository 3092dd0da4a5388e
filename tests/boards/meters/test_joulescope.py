"""Joulescopes with a stand-in for the maker's package; its real classes too where it is installed, with a driver that has no USB."""

from __future__ import annotations

import importlib.metadata
import inspect
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.boards.meters import joulescope, open_meter
from edgeprof.errors import MeterError, MissingExtra
from tests.boards.meters.joulescope_package import API, Device, package, statistics


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch):
    """Plugs instruments in; without any, the package finds none."""

    def plug_in(*devices: Device, failure: Exception | None = None) -> None:
        monkeypatch.setitem(sys.modules, "joulescope", package(list(devices), failure))

    return plug_in


def test_readings(plug_in):
    device = Device()
    plug_in(device)
    meter = open_meter("joulescope")
    assert [(c.name, c.unit, c.kind) for c in meter.channels] == [
        ("joulescope/energy_mj", "mJ", "counter"),
        ("joulescope/power_mw", "mW", "sample"),
        ("joulescope/current_ma", "mA", "sample"),
        ("joulescope/voltage_mv", "mV", "sample"),
    ]
    assert {channel.scope for channel in meter.channels} == {"board"}
    assert meter.totals == {"board": ["joulescope/energy_mj"]}
    assert meter.channels[0].title == "JS220-001234: energy"
    assert meter.rate_hz == 100
    assert meter.read() == pytest.approx([0, 2000, 400, 5000])
    device.send(statistics(0.5, power_w=3.0, current_a=0.75, voltage_v=4.0))
    assert meter.read() == pytest.approx([500, 3000, 750, 4000])
    assert meter.read() == pytest.approx([500, 3000, 750, 4000]), "the newest block, as long as there is no newer one"
    meter.close()


def test_how_it_is_opened(plug_in):
    """In the state it is in, so that the board keeps its power; ranges only after that."""
    device = Device()
    plug_in(device)
    open_meter("joulescope").close()
    assert device.calls == [
        "statistics_callback_register",
        "parameter_set reduction_frequency 100",
        "parameter_set buffer_duration 1",
        "open mode=restore",
        "parameter_set i_range auto",
        "parameter_set v_range 15V",
        "statistics_callback_unregister",
        "close",
    ]


def test_a_js110_is_slow(plug_in):
    plug_in(Device("js110"))
    meter = open_meter("joulescope")
    assert meter.rate_hz == 2
    meter.close()


@pytest.mark.parametrize("serial", ["005678", "JS220-005678", "js220-005678"])
def test_one_of_several(plug_in, serial):
    devices = Device("js110", "001234"), Device("js220", "005678")
    plug_in(*devices)
    with pytest.raises(MeterError, match="several Joulescopes: JS110-001234, JS220-005678"):
        open_meter("joulescope")
    meter = open_meter(f"joulescope:{serial}")
    assert [device.is_open for device in devices] == [False, True]
    meter.close()


def test_none_of_that_number(plug_in):
    plug_in(Device())
    with pytest.raises(MeterError, match=r"no Joulescope '99'\. Connected are: JS220-001234"):
        open_meter("joulescope:99")


def test_none_at_all(plug_in):
    plug_in()
    with pytest.raises(MeterError, match="udev"):
        open_meter("joulescope")


def test_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "joulescope", None)
    with pytest.raises(MissingExtra, match=r'pip install "edgeprof\[joulescope\]"'):
        open_meter("joulescope")


def test_usb_that_cannot_be_used(plug_in):
    plug_in(failure=RuntimeError("jsdrv_initialize failed 5"))
    with pytest.raises(MeterError, match="jsdrv_initialize failed 5"):
        open_meter("joulescope")


def test_one_that_another_program_uses(plug_in):
    device = Device()
    device.failure = RuntimeError("jsdrv_open timed out")
    plug_in(device)
    with pytest.raises(MeterError, match=r"JS220-001234 cannot be opened: jsdrv_open timed out\. Close the Joulescope application"):
        open_meter("joulescope")
    assert device.calls[-1] == "close"


def test_one_that_sends_nothing():
    device = Device(at_once=False)
    with pytest.raises(MeterError, match="sends nothing"):
        joulescope.Joulescope(device).start(patience_s=0)


def test_unplugged_in_the_middle(plug_in):
    device = Device()
    plug_in(device)
    meter = open_meter("joulescope")
    device.unplug()
    with pytest.raises(OSError, match="JS220-001234 was unplugged"):
        meter.read()
    meter.close()


def test_blocks_that_stop_coming():
    clock, device = Clock(), Device()
    meter = joulescope.Joulescope(device, clock)
    meter.start()
    clock.now_s = 2.9
    assert meter.read()[1] == 2000
    clock.now_s = 3.1
    with pytest.raises(OSError, match="has sent nothing for 3 s"):
        meter.read()
    device.send(statistics(1.0))
    assert meter.read()[0] == 1000, "the energy of that time is not lost"
    meter.close()


@given(st.lists(st.tuples(st.floats(0, 1e3), st.booleans()), min_size=1, max_size=20))
def test_energy_is_the_sum_of_all_steps(steps):
    """Whether or not every block is read."""
    device = Device()
    meter = joulescope.Joulescope(device)
    meter.start()
    assert meter.read()[0] == 0
    energy_j = 0.0
    for step_j, is_read in steps:
        energy_j += step_j
        device.send(statistics(energy_j))
        if is_read:
            meter.read()
    assert meter.read()[0] == pytest.approx(1e3 * energy_j)


def test_what_cannot_be_measured_is_nan():
    device = Device()
    meter = joulescope.Joulescope(device)
    meter.start()
    device.send(statistics(math.nan, math.nan, math.nan, 5.0))
    assert [math.isnan(value) for value in meter.read()] == [True, True, True, False]


# The real package


def test_the_real_package_has_these_signatures():
    """Of the version that is installed, when it is one of those in the file."""
    real = pytest.importorskip("joulescope")
    version = importlib.metadata.version("joulescope")
    if version not in API:
        pytest.skip(f"joulescope {version} is not among {', '.join(API)}")
    from joulescope.v1 import device, js110, js220

    classes = {"Device": device.Device, "DeviceJs110": js110.DeviceJs110, "DeviceJs220": js220.DeviceJs220}
    for name, expected in API[version].items():
        owner, _, attribute = name.rpartition(".")
        found = getattr(classes[owner] if owner else real, attribute)
        if expected == "property":
            assert isinstance(found, property)
        else:
            parameters = [p for p in inspect.signature(found).parameters.values() if p.name != "self"]
            assert [p.name + "=" * (p.default is not p.empty) for p in parameters] == expected


class Driver:
    """In place of pyjoulescope_driver.Driver: knows no USB, keeps what is published, hands out what is sent."""

    def __init__(self) -> None:
        self.published: dict[str, object] = {}
        self.told: dict[str, object] = {}
        self.opened = ""

    def open(self, path, mode=None, timeout=None):
        self.opened = mode

    def close(self, path, timeout=None):
        self.opened = ""

    def publish(self, topic, value, timeout=None):
        self.published[topic] = value

    def subscribe(self, topic, flags, fn, timeout=None):
        self.told[topic] = fn

    def unsubscribe(self, topic, fn, timeout=None):
        self.told.pop(topic, None)


def driver_block(energy_j: float) -> dict:
    """A block as the driver sends it, before the package has looked at it."""
    signals = {name: {"avg": {"value": 2.0}, "std": {"value": 0.0, "units": ""}} for name in ("current", "voltage", "power")}
    accumulators = {"charge": {"value": 0.0}, "energy": {"value": energy_j}}
    return {"time": {"samples": {"value": [0, 20000]}}, "signals": signals, "accumulators": accumulators}


@pytest.mark.parametrize(("model", "topic"), [("js220", "s/stats/value"), ("js110", "s/sstats/value")])
def test_the_real_classes_with_a_driver_of_no_usb(model, topic):
    pytest.importorskip("joulescope")
    if not importlib.metadata.version("joulescope").startswith("1.5."):
        pytest.skip("later versions want more of the driver than stands in for it here")
    from joulescope.v1 import js110, js220

    driver = Driver()
    real = {"js110": js110.DeviceJs110, "js220": js220.DeviceJs220}[model](driver, f"u/{model}/001234")
    real.config = "off"
    meter = joulescope.Joulescope(real)
    with pytest.raises(MeterError, match=f"{model.upper()}-001234 was opened but sends nothing"):
        meter.start(patience_s=0)
    assert driver.opened == "restore"
    send = driver.told[f"u/{model}/001234/{topic}"]
    send(topic, driver_block(10.0))
    assert meter.read() == [0, 2000, 2000, 2000]
    send(topic, driver_block(10.5))
    assert meter.read()[0] == 500
    assert driver.published[f"u/{model}/001234/s/stats/scnt"] == {"js220": 10_000, "js110": 20_000}[model]
    meter.close()
    assert driver.told == {}
    with pytest.raises(OSError, match="unplugged"):
        meter.read()
