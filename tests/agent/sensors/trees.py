"""Folders that look like boards, and ways to be refused by them."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

NOBODY = 65534


def plant(root: Path | str, files: Mapping[str, str | bytes]) -> str:
    """Writes files below ``root``; the root, as sensors take it."""
    for name, content in files.items():
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(root)


def command(root: Path | str, script: str) -> None:
    """Puts a vcgencmd of these shell lines into a recorded board."""
    path = Path(root, "usr/bin/vcgencmd")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own lie in one that only their owner may."""
    folder = Path(tempfile.mkdtemp(prefix="edgeprof-sensors-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def seal(*paths: Path | str) -> None:
    """From now on only root may read these files."""
    for path in paths:
        assert Path(path).exists()
        Path(path).chmod(0o000)


def without_rights(call: Callable[[], Any]) -> Any:
    """What ``call`` returns to a user who is not root."""
    if os.geteuid() != 0:
        return call()
    source, sink = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn when other tests left threads; the child runs no thread
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(source)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(sink, pickle.dumps(call()))
            status = 0
        finally:
            os._exit(status)
    os.close(sink)
    with os.fdopen(source, "rb") as file:
        answer = file.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(answer)


def ina3221_hwmon(device: str, hwmon: str, rails: Mapping[int, tuple[str, int, int]], **more: str) -> dict[str, str]:
    """An INA3221 as JetPack 5 and 6 show it: label, mV and mA by channel."""
    folder = f"sys/bus/i2c/drivers/ina3221/{device}/hwmon/{hwmon}"
    files = {f"{folder}/name": "ina3221\n"}
    for number, (label, millivolt, milliampere) in rails.items():
        files[f"{folder}/in{number}_label"] = label + "\n"
        files[f"{folder}/in{number}_input"] = f"{millivolt}\n"
        files[f"{folder}/in{number}_enable"] = "1\n"
        files[f"{folder}/curr{number}_input"] = f"{milliampere}\n"
        files[f"{folder}/curr{number}_max_alarm"] = "0\n"
        files[f"{folder}/curr{number}_crit_alarm"] = "0\n"
    files[f"{folder}/in7_label"] = "sum of shunt voltages\n"
    files[f"{folder}/in7_input"] = "760\n"
    files[f"{folder}/curr4_input"] = "360\n"
    return {**files, **{f"{folder}/{name}": text for name, text in more.items()}}


def ina3221_iio(device: str, iio: str, rails: Mapping[int, tuple[str, int, int, int]]) -> dict[str, str]:
    """An INA3221 as JetPack 4 shows it: label, mV, mA and mW by channel."""
    folder = f"sys/bus/i2c/drivers/ina3221x/{device}/{iio}"
    files = {f"{folder}/name": "ina3221x\n"}
    for number, (label, millivolt, milliampere, milliwatt) in rails.items():
        files[f"{folder}/rail_name_{number}"] = label + "\n"
        files[f"{folder}/in_voltage{number}_input"] = f"{millivolt}\n"
        files[f"{folder}/in_current{number}_input"] = f"{milliampere}\n"
        files[f"{folder}/in_power{number}_input"] = f"{milliwatt}\n"
        files[f"{folder}/crit_current_limit_{number}"] = "3960\n"
    return files


def jetson_zones(*zones: tuple[str, str]) -> dict[str, str]:
    """Thermal zones: type, and what stands in ``temp``."""
    return {
        f"sys/class/thermal/thermal_zone{i}/{name}": text + "\n"
        for i, zone in enumerate(zones)
        for name, text in zip(("type", "temp"), zone, strict=True)
    }


def policies(*groups: tuple[str, int]) -> dict[str, str]:
    """Groups of CPUs that share a clock: ``related_cpus`` and kHz."""
    files = {}
    for cpus, khz in groups:
        folder = f"sys/devices/system/cpu/cpufreq/policy{cpus.split()[0]}"
        files[f"{folder}/related_cpus"] = cpus + "\n"
        files[f"{folder}/scaling_cur_freq"] = f"{khz}\n"
    return files


NANO = {
    "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3450-0000\0nvidia,tegra210\0",
    **ina3221_iio("6-0040", "iio:device0", {
        0: ("POM_5V_IN", 4928, 360, 1774), 1: ("POM_5V_GPU", 4928, 8, 39), 2: ("POM_5V_CPU", 4936, 40, 197),
    }),
    **jetson_zones(("AO-therm", "42500"), ("CPU-therm", "33500"), ("GPU-therm", "31500"), ("PMIC-Die", "100000")),
    **policies(("0 1 2 3", 1_479_000)),
    "sys/class/devfreq/57000000.gpu/cur_freq": "76800000\n",
}  # fmt: skip

TX2 = {
    **ina3221_iio("0-0040", "iio:device0", {
        0: ("VDD_SYS_GPU", 19224, 8, 153), 1: ("VDD_SYS_SOC", 19224, 16, 306), 2: ("VDD_4V0_WIFI", 4792, 0, 0),
    }),
    **ina3221_iio("0-0041", "iio:device1", {
        0: ("VDD_IN", 19176, 86, 1649), 1: ("VDD_SYS_CPU", 19224, 16, 306), 2: ("VDD_SYS_DDR", 4792, 36, 173),
    }),
    **ina3221_iio("0-0042", "iio:device2", {
        0: ("VDD_MUX", 19112, 120, 2293), 1: ("VDD_5V0_IO_SYS", 5016, 36, 180), 2: ("VDD_3V3_SYS", 3320, 12, 39),
    }),
}  # fmt: skip

XAVIER_NX = {
    **ina3221_iio("7-0040", "iio:device0", {
        0: ("VDD_IN", 4976, 656, 3264), 1: ("VDD_CPU_GPU_CV", 4976, 80, 398), 2: ("VDD_SOC", 4976, 184, 915),
    }),
}  # fmt: skip

AGX_XAVIER = {
    **ina3221_iio("1-0040", "iio:device0", {0: ("GPU", 19112, 6, 120), 1: ("CPU", 19112, 24, 468), 2: ("SOC", 19112, 49, 937)}),
    **ina3221_iio("1-0041", "iio:device1", {0: ("CV", 19112, 0, 0), 1: ("VDDRQ", 19112, 16, 312), 2: ("SYS5V", 19112, 76, 1458)}),
}

ORIN_NANO = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
    **ina3221_hwmon("1-0040", "hwmon1", {
        1: ("VDD_IN", 5072, 952), 2: ("VDD_CPU_GPU_CV", 5072, 184), 3: ("VDD_SOC", 5072, 296),
    }, update_interval="27\n", samples="4\n"),
    **jetson_zones(("cpu-thermal", "46406"), ("gpu-thermal", "46031"), ("cv0-thermal", "-256000"), ("tj-thermal", "46406")),
    **policies(("0 1 2 3", 1_510_400), ("4 5", 729_600)),
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
    "sys/class/devfreq/15340000.vic/cur_freq": "115200000\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "2\n",
    "sys/class/thermal/cooling_device1/type": "thermal-cpufreq-0\n",
    "sys/class/thermal/cooling_device1/cur_state": "0\n",
    "sys/class/thermal/cooling_device2/type": "thermal-cpufreq-4\n",
    "sys/class/thermal/cooling_device2/cur_state": "3\n",
    "sys/class/thermal/cooling_device3/type": "devfreq-17000000.gpu\n",
    "sys/class/thermal/cooling_device3/cur_state": "0\n",
}  # fmt: skip

AGX_ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    **ina3221_hwmon("1-0040", "hwmon3", {
        1: ("VDD_GPU_SOC", 12008, 280), 2: ("VDD_CPU_CV", 12008, 40), 3: ("VIN_SYS_5V0", 4968, 980),
    }),
    **ina3221_hwmon("1-0041", "hwmon4", {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 4968, 80), 3: ("NC", 0, 0)}),
}  # fmt: skip

AGX_THOR = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    **ina3221_hwmon("1-0040", "hwmon2", {
        1: ("VDD_GPU", 19416, -20), 2: ("VDD_CPU_SOC_MSS", 19416, 336), 3: ("VIN_SYS_5V0", 5016, 1300),
    }),
    "sys/class/hwmon/hwmon2/name": "ina3221\n",
    "sys/class/hwmon/hwmon5/name": "ina238\n",
    "sys/class/hwmon/hwmon5/in1_label": "VIN\n",
    "sys/class/hwmon/hwmon5/in1_input": "19500\n",
    "sys/class/hwmon/hwmon5/curr1_input": "1194\n",
    "sys/class/hwmon/hwmon5/power1_input": "23284000\n",
}  # fmt: skip

PMIC = """ 3V7_WL_SW_A current(0)=0.09076080A
   3V3_SYS_A current(1)=0.08880966A
   1V8_SYS_A current(2)=0.17761920A
  DDR_VDD2_A current(3)=0.21765000A
  DDR_VDDQ_A current(4)=0.06372600A
   1V1_SYS_A current(5)=0.18249780A
    0V8_SW_A current(6)=0.38354100A
  VDD_CORE_A current(7)=5.98110000A
   3V3_DAC_A current(17)=0.00006105A
   3V3_ADC_A current(18)=0.00042735A
   0V8_AON_A current(16)=0.00323565A
      HDMI_A current(22)=0.02319900A
 3V7_WL_SW_V volt(8)=3.70562000V
   3V3_SYS_V volt(9)=3.31369500V
   1V8_SYS_V volt(10)=1.80512600V
  DDR_VDD2_V volt(11)=1.10439500V
  DDR_VDDQ_V volt(12)=0.60146460V
   1V1_SYS_V volt(13)=1.10842400V
    0V8_SW_V volt(14)=0.80256300V
  VDD_CORE_V volt(15)=0.86941200V
   3V3_DAC_V volt(20)=3.31257300V
   3V3_ADC_V volt(21)=3.30738300V
   0V8_AON_V volt(19)=0.79919400V
      HDMI_V volt(23)=5.11320000V
     EXT5V_V volt(24)=5.11857000V
      BATT_V volt(25)=0.00000000V
"""

PI_5 = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
    **jetson_zones(("cpu-thermal", "48300")),
    **policies(("0 1 2 3", 1_500_000)),
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    "sys/class/hwmon/hwmon0/temp1_input": "48300\n",
    "sys/class/hwmon/hwmon1/name": "rp1_adc\n",
    "sys/class/hwmon/hwmon1/in1_input": "1482\n",
    "sys/class/hwmon/hwmon2/name": "pwmfan\n",
    "sys/class/hwmon/hwmon3/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon3/in0_lcrit_alarm": "0\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "1\n",
}

LAPTOP = {
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "262143000000\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "1000\n",
    "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl:0:1/name": "dram\n",
    "sys/class/powercap/intel-rapl:0:1/energy_uj": "2000\n",
    "sys/class/powercap/intel-rapl:0:1/max_energy_range_uj": "65712999613\n",
    "sys/class/powercap/intel-rapl:1/name": "psys\n",
    "sys/class/powercap/intel-rapl:1/energy_uj": "3000\n",
    "sys/class/powercap/intel-rapl:1/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl-mmio:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl-mmio:0/energy_uj": "5\n",
    "sys/class/power_supply/AC/type": "Mains\n",
    "sys/class/power_supply/AC/online": "0\n",
    "sys/class/power_supply/BAT0/type": "Battery\n",
    "sys/class/power_supply/BAT0/status": "Discharging\n",
    "sys/class/power_supply/BAT0/present": "1\n",
    "sys/class/power_supply/BAT0/power_now": "8423000\n",
    "sys/class/power_supply/hidpp_battery_0/type": "Battery\n",
    "sys/class/power_supply/hidpp_battery_0/scope": "Device\n",
    "sys/class/power_supply/hidpp_battery_0/status": "Discharging\n",
    "sys/class/power_supply/hidpp_battery_0/voltage_now": "3900000\n",
    "sys/class/power_supply/hidpp_battery_0/current_now": "10000\n",
    "sys/class/hwmon/hwmon0/name": "AC\n",
    "sys/class/hwmon/hwmon1/name": "BAT0\n",
    "sys/class/hwmon/hwmon1/in0_input": "11800\n",
    "sys/class/hwmon/hwmon1/power1_input": "8423000\n",
    "sys/class/hwmon/hwmon2/name": "amdgpu\n",
    "sys/class/hwmon/hwmon2/power1_average": "7048000\n",
    "sys/class/hwmon/hwmon2/power1_label": "PPT\n",
    "sys/class/hwmon/hwmon2/in0_input": "712\n",
    **jetson_zones(("acpitz", "0"), ("acpitz", "41000"), ("x86_pkg_temp", "61000"), ("INT3400 Thermal", "garbage"), ("acpitz", "39000")),
    **policies(*((str(cpu), 800_000 + 100_000 * cpu) for cpu in range(12))),
    **{f"sys/class/thermal/cooling_device{i}/{k}": v for i in range(12) for k, v in {"type": "Processor\n", "cur_state": "0\n"}.items()},
    "sys/class/thermal/cooling_device12/type": "intel_powerclamp\n",
    "sys/class/thermal/cooling_device12/cur_state": "-1\n",
    **{f"sys/devices/system/cpu/cpu{i}/thermal_throttle/core_throttle_count": f"{3 if i == 1 else 0}\n" for i in range(4)},
    **{f"sys/devices/system/cpu/cpu{i}/thermal_throttle/package_throttle_count": f"{5 + i % 2}\n" for i in range(4)},
    **{f"sys/devices/system/cpu/cpu{i}/topology/physical_package_id": "0\n" for i in range(4)},
}

BOARDS = {
    "nano": NANO, "tx2": TX2, "xavier-nx": XAVIER_NX, "agx-xavier": AGX_XAVIER, "orin-nano": ORIN_NANO, "agx-orin": AGX_ORIN,
    "agx-thor": AGX_THOR, "pi-5": PI_5, "laptop": LAPTOP,
}  # fmt: skip
