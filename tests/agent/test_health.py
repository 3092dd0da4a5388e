"""What the agent says of a board, from folders that look like one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgeprof.agent import health

RASPBERRY_PI = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/cpuinfo": (
        "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd aes asimddp asimdhp fphp\n"
        "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nprocessor\t: 1\nRevision\t: c04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
    ),
    "proc/meminfo": "MemTotal:        8245696 kB\nMemFree:  100 kB\nMemAvailable:    7012345 kB\nSwapFree: 0 kB\n",
    "proc/loadavg": "0.08 0.03 0.01 1/180 1234\n",
    "proc/uptime": "12345.67 45678.90\n",
    "etc/os-release": 'NAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/class/thermal/thermal_zone0/temp": "48300\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    **{f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_governor": "ondemand\n" for i in range(4)},
    **{f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_cur_freq": "1500000\n" for i in range(4)},
    **{f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_max_freq": "2400000\n" for i in range(4)},
}
LAPTOP = {
    "sys/devices/virtual/dmi/id/product_name": "ThinkPad X1\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: 12th Gen Intel(R) Core(TM) i7-1260P\nflags\t\t: fpu sse2 avx2 avx_vnni\n",
    "sys/class/thermal/thermal_zone0/temp": "0\n",
    "sys/class/thermal/thermal_zone1/temp": "61000\n",
    "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone2/temp": "garbage\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "7\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "0\n",
    "sys/devices/system/cpu/cpufreq/boost": "1\n",
    "sys/devices/system/cpu/cpuidle/current_driver": "intel_idle\n",
}


@pytest.fixture
def sysroot(tmp_path):
    def make(files: dict[str, str]) -> str:
        for name, text in files.items():
            path = Path(tmp_path, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path)

    return make


def test_raspberry_pi(sysroot):
    found = health.fingerprint(sysroot(RASPBERRY_PI))
    assert found["board_model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["cpu_model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["cpu_features"] == ["asimddp", "fphp", "asimdhp"]
    assert found["cpus"] == 4
    assert found["governor"] == "ondemand"
    assert found["clock_khz"] == [1_500_000] * 4
    assert found["clock_max_khz"] == [2_400_000] * 4
    assert found["temperature_c"] == {"thermal_zone0 cpu-thermal": 48.3}
    assert found["memory_bytes"]["MemAvailable"] == 7_012_345 * 1024
    assert found["load_1min"] == 0.08
    assert found["uptime_s"] == 12345.67
    assert found["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert "virtual_machine" not in found
    assert "throttle_count" not in found


def test_laptop(sysroot):
    found = health.fingerprint(sysroot(LAPTOP))
    assert found["board_model"] == "ThinkPad X1"
    assert found["cpu_model"] == "12th Gen Intel(R) Core(TM) i7-1260P"
    assert found["cpu_features"] == ["avx2", "avx_vnni"]
    assert found["governor"] == ["performance", "powersave"]
    assert found["temperature_c"] == {"thermal_zone1 x86_pkg_temp": 61.0}
    assert found["throttle_count"] == {"cpu0": 7, "cpu1": 0}


def test_what_cannot_be_read_is_left_out(sysroot):
    found = health.fingerprint(sysroot({}))
    assert not {"board_model", "governor", "clock_khz", "temperature_c", "memory_bytes", "load_1min", "uptime_s"} & set(found)
    assert None not in found.values()


def test_processor_without_a_name(sysroot):
    assert health.fingerprint(sysroot({"proc/cpuinfo": "CPU implementer\t: 0x41\nCPU part\t: 0xd08\n"}))["cpu_model"] == (
        "CPU implementer 0x41 part 0xd08"
    )


def test_pressure(sysroot):
    cpu = "some avg10=12.50 avg60=1.12 avg300=1.48 total=3076904988\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    root = sysroot({"proc/pressure/cpu": cpu, "proc/pressure/memory": "some avg10=1e999 avg60\n"})
    assert health.fingerprint(root)["pressure_percent"] == {"cpu": 12.5}


def test_a_machine_is_told_from_others_without_its_id(sysroot, tmp_path):
    root = sysroot({"etc/machine-id": "0123456789abcdef0123456789abcdef\n"})
    alone = health.fingerprint(root)["machine_id"]
    assert alone == health.fingerprint(root)["machine_id"] and len(alone) == 16
    assert alone not in "0123456789abcdef0123456789abcdef"
    sysroot({"proc/device-tree/serial-number": "10000000deadbeef\0"})  # a copy of the card in another board
    assert health.fingerprint(root)["machine_id"] != alone
    assert "machine_id" not in health.fingerprint(str(tmp_path / "nothing"))


def test_disk_is_that_of_the_folder_even_before_there_is_one(sysroot, tmp_path):
    told = os.statvfs(tmp_path)
    found = health.fingerprint(sysroot({}), folder=str(tmp_path / "not" / "yet"))
    assert found["disk_total_bytes"] == told.f_blocks * told.f_frsize
    assert 0 < found["disk_free_bytes"] <= found["disk_total_bytes"]
    assert "disk_free_bytes" not in health.fingerprint(str(tmp_path))  # a recorded board's disk is not this one


def test_busy_processes_only_when_asked(sysroot):
    root = sysroot({})
    assert "busy_processes" not in health.fingerprint(root)
    assert health.fingerprint(root, busy=True)["busy_processes"] == []


@pytest.mark.parametrize("text", ["inf", "nan", "1e400", "-1e400"])
def test_what_is_no_number_is_left_out(text, sysroot):
    """Infinity cannot be sent as JSON: it would cost the whole answer."""
    files = {
        "sys/class/thermal/thermal_zone0/temp": text,
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": text,
        "proc/loadavg": text,
        "proc/uptime": text,
    }
    found = health.fingerprint(sysroot(files))
    assert not {"temperature_c", "throttle_count", "load_1min", "uptime_s"} & set(found)
    json.dumps(found, allow_nan=False)


def test_all_of_this_machine_can_be_sent():
    found = health.fingerprint(busy=True)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {"disk_free_bytes", "busy_processes", "python", "os", "kernel"} <= set(found)


def test_virtual_machine(sysroot):
    assert health.fingerprint(sysroot({"proc/cpuinfo": "flags : fpu hypervisor avx2\n"}))["virtual_machine"] is True


@pytest.mark.parametrize("name", ["proc/meminfo", "proc/loadavg", "proc/uptime", "proc/cpuinfo", "etc/os-release"])
@pytest.mark.parametrize("text", ["", "\n", "garbage", "MemTotal:\n", "MemTotal: many kB\n", "\0\0\0", "MemAvailable: 1\n: 2"])
def test_odd_files_do_not_stop_it(name, text, sysroot):
    assert health.fingerprint(sysroot({name: text}))["python"]


def test_memory_of_a_process(sysroot):
    root = sysroot({"proc/self/status": "Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n"})
    assert health.process_memory(sysroot=root) == {"VmRSS": 1024 * 1024, "VmHWM": 2048 * 1024}
    assert health.process_memory("1", root) == {}


def test_own_memory():
    assert health.process_memory()["VmRSS"] > 1 << 20
    assert health.available_memory() > 1 << 20
