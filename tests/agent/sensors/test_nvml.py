"""NVIDIA GPUs through a stand-in for their driver's library."""

from __future__ import annotations

import math
import sys

import pytest

from edgeprof.agent.sensors import nvml
from tests.agent.sensors.trees import plant

DRIVER = {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n"}
LIBRARY = '''
"""As much of pynvml as is used; GPUS is what the machine has."""


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    def __str__(self):
        return "Not Supported"


class NVMLError_LibraryNotFound(NVMLError):
    def __str__(self):
        return "NVML Shared Library Not Found"


GPUS = []
LOG = []
BROKEN = []


def nvmlInit():
    if "init" in BROKEN:
        raise NVMLError_LibraryNotFound
    LOG.append("init")


def nvmlShutdown():
    LOG.append("shutdown")
    if "shutdown" in BROKEN:
        raise NVMLError("Uninitialized")


def nvmlDeviceGetCount():
    if "count" in BROKEN:
        raise NVMLError("GPU is lost")
    return len(GPUS)


def nvmlDeviceGetHandleByIndex(number):
    return GPUS[number]


def _ask(handle, what):
    answer = handle.get(what)
    if answer is None:
        raise NVMLError_NotSupported
    return answer


def nvmlDeviceGetName(handle):
    return _ask(handle, "name")


def nvmlDeviceGetTotalEnergyConsumption(handle):
    return _ask(handle, "energy_mj")


def nvmlDeviceGetPowerUsage(handle):
    return _ask(handle, "power_mw")
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    plant(tmp_path / "packages", {"pynvml.py": LIBRARY})
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    import pynvml

    yield pynvml
    sys.modules.pop("pynvml", None)


@pytest.fixture
def root(tmp_path):
    return plant(tmp_path / "root", DRIVER)


def test_a_gpu_that_counts_energy(library, root):
    gpu = {"name": "NVIDIA RTX A2000", "energy_mj": 81_234_567, "power_mw": 20_000}
    library.GPUS.append(gpu)
    found = nvml.discover(root)
    (sensor,) = found.sensors
    assert [tuple(channel) for channel in sensor.channels] == [("nvml/gpu0_mj", "mJ", "counter", "gpu", "GPU 0 NVIDIA RTX A2000")]
    assert sensor.totals == {"gpu": ["nvml/gpu0_mj"]}
    assert (sensor.rate_hz, sensor.average_s) == (20, 1)
    assert sensor.read() == [0.0]
    gpu["energy_mj"] += 1234
    assert sensor.read() == [1234.0]
    gpu["energy_mj"] = 5  # the driver was loaded anew
    assert sensor.read() == [0.0]
    gpu["energy_mj"] = 8
    assert sensor.read() == [3.0]
    sensor.close()
    assert library.LOG == ["init", "shutdown"]


def test_an_older_gpu_tells_its_power(library, root):
    library.GPUS.append({"name": b"Quadro P400", "power_mw": 7_350})
    (sensor,) = nvml.discover(root).sensors
    assert [tuple(channel) for channel in sensor.channels] == [("nvml/gpu0_mw", "mW", "sample", "gpu", "GPU 0 Quadro P400")]
    assert sensor.read() == [7350.0]


def test_several_gpus(library, root):
    """One counts, one tells its power, one is silent; readings that fail are NaN, and an error only when all fail."""
    library.GPUS += [{"energy_mj": 10}, {"name": "T400"}, {"name": "P400", "power_mw": 5_000}]
    found = nvml.discover(root)
    (sensor,) = found.sensors
    assert sensor.totals == {"gpu": ["nvml/gpu0_mj", "nvml/gpu2_mw"]}
    assert [name for name, _ in found.problems] == ["nvml-unsupported"]
    assert found.problems[0][1].endswith("of GPU 1")
    assert sensor.read() == [0.0, 5000.0]
    del library.GPUS[2]["power_mw"]
    library.GPUS[0]["energy_mj"] = 14
    first, second = sensor.read()
    assert first == 4
    assert math.isnan(second)
    del library.GPUS[0]["energy_mj"]
    with pytest.raises(OSError, match="Not Supported"):
        sensor.read()


def test_negative_power_is_no_measurement(library, root):
    library.GPUS.append({"power_mw": -1})
    (sensor,) = nvml.discover(root).sensors
    assert math.isnan(sensor.read()[0])


def test_a_gpu_that_tells_nothing(library, root):
    library.GPUS.append({"name": "Tegra"})
    found = nvml.discover(root)
    assert list(found.sensors) == []
    assert [name for name, _ in found.problems] == ["nvml-unsupported"]
    assert library.LOG == ["init", "shutdown"]


@pytest.mark.parametrize(("broken", "words"), [("init", "NVML Shared Library Not Found"), ("count", "GPU is lost")])
def test_a_driver_that_does_not_answer(broken, words, library, root):
    library.BROKEN += [broken, "shutdown"]
    found = nvml.discover(root)
    assert list(found.sensors) == []
    ((name, sentence),) = found.problems
    assert name == "nvml-failed"
    assert words in sentence


def test_no_gpus(library, root):
    assert nvml.discover(root) == ([], [])


def test_without_the_package(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    found = nvml.discover(root)
    assert list(found.sensors) == []
    ((name, sentence),) = found.problems
    assert name == "nvml-package"
    assert sentence.endswith("pip install nvidia-ml-py")


def test_the_library_is_left_alone_without_a_driver(library, tmp_path):
    library.GPUS.append({"power_mw": 1})
    assert list(nvml.discover(plant(tmp_path / "bare", {"proc/driver/other/version": ""})).sensors) == []
    assert library.LOG == []
    assert len(nvml.discover(plant(tmp_path / "device", {"dev/nvidiactl": ""})).sensors) == 1


def test_jetson_modules_are_left_to_their_rails(library, tmp_path):
    library.GPUS.append({"power_mw": 1})
    files = {**DRIVER, "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0000\0nvidia,tegra234\0"}
    assert list(nvml.discover(plant(tmp_path / "orin", files)).sensors) == []
