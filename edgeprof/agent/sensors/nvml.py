"""NVIDIA GPUs through their driver's library NVML: an energy counter (mJ) where the GPU has one (Volta and later), else its power (mW).

Needs the package nvidia-ml-py. On many GPUs since Ampere the power is a mean over one second, and A100 and H100 look at a quarter of
the time only; the counter is made from the same. Values change every 10 to 100 ms. All GPUs of the machine are read and make up the
total, other users' work included. Jetson modules are read by their rails (`ina3221`), since NVML says nothing of power there.

Sources: NVML API reference, nvmlDeviceGetTotalEnergyConsumption and nvmlDeviceGetPowerUsage; arXiv 2312.02741 (what the sensors see).
"""

from __future__ import annotations

import errno
import functools
import os
from typing import Any, Callable, List, Optional, Tuple

from ..files import text_of
from .base import COUNTER, MOST_CHANNELS, NAN, SAMPLE, Channel, Counter, Found, Sensor

_SIGNS = ("proc/driver/nvidia", "dev/nvidiactl")


class Nvml(Sensor):
    """All GPUs. ``library`` is the module pynvml, initialised; ``meters`` are what each GPU offers."""

    name = "nvml"
    rate_hz = 20.0
    average_s = 1.0

    def __init__(self, library: Any, meters: List[Tuple[Channel, Callable[[], float]]]) -> None:
        channels = [channel for channel, _ in meters]
        super().__init__(channels, {"gpu": [channel.name for channel in channels]})
        self._library = library
        self._meters = [(read, Counter() if channel.kind == COUNTER else None) for channel, read in meters]

    def read(self) -> List[float]:
        """See `Sensor.read`."""
        values, gone = [], []
        for read, counter in self._meters:
            try:
                value = float(read())
                values.append(NAN if value < 0 else counter.total(value) if counter else value)
            except self._library.NVMLError as error:
                values.append(NAN)
                gone.append(error)
        if len(gone) == len(values):
            raise OSError(errno.EIO, "the NVIDIA driver says: %s" % gone[0])
        return values

    def close(self) -> None:
        """See `Sensor.close`."""
        _shut(self._library)


def discover(sysroot: str = "/") -> Found:
    """The NVIDIA GPUs of this machine. The library is imported only where there is a sign of one."""
    if not any(os.path.exists(os.path.join(sysroot, sign)) for sign in _SIGNS) or _is_jetson(sysroot):
        return Found([])
    try:
        import pynvml
    except ImportError:
        text = "There is an NVIDIA driver, but its library for Python is missing. Install it on the board with: pip install nvidia-ml-py"
        return Found([], [("nvml-package", text)])
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Found([], [("nvml-failed", "The NVIDIA driver does not answer: %s" % error)])
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(min(pynvml.nvmlDeviceGetCount(), MOST_CHANNELS))]
    except pynvml.NVMLError as error:
        _shut(pynvml)
        return Found([], [("nvml-failed", "The NVIDIA driver does not list its GPUs: %s" % error)])
    offers = [_meter(pynvml, number, handle) for number, handle in enumerate(handles)]
    meters = [meter for meter in offers if meter is not None]
    silent = [number for number, meter in enumerate(offers) if meter is None]
    problems = []
    if silent:
        text = "The NVIDIA driver reports neither energy nor power of GPU %s" % ", ".join(map(str, silent))
        problems.append(("nvml-unsupported", text))
    if not meters:
        _shut(pynvml)
        return Found([], problems)
    return Found([Nvml(pynvml, meters)], problems)


def _meter(library: Any, number: int, handle: Any) -> Optional[Tuple[Channel, Callable[[], float]]]:
    """The channel of one GPU and how it is read, or None."""
    ways = (
        (library.nvmlDeviceGetTotalEnergyConsumption, "mJ", COUNTER),
        (library.nvmlDeviceGetPowerUsage, "mW", SAMPLE),
    )
    for read, unit, kind in ways:
        try:
            read(handle)
        except library.NVMLError:  # NotSupported as a rule; NoPermission, or a GPU that fell off the bus
            continue
        channel = Channel("nvml/gpu%d_%s" % (number, unit.lower()), unit, kind, "gpu", "GPU %d %s" % (number, _title(library, handle)))
        return channel, functools.partial(read, handle)
    return None


def _title(library: Any, handle: Any) -> str:
    try:
        name = library.nvmlDeviceGetName(handle)
    except library.NVMLError:
        return ""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _shut(library: Any) -> None:
    try:
        library.nvmlShutdown()
    except library.NVMLError:
        return


def _is_jetson(sysroot: str) -> bool:
    return "nvidia,tegra" in (text_of(sysroot, "proc/device-tree/compatible") or "")
