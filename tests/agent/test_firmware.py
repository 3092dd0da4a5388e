"""What firmware and kernel say of a board, from folders that look like one."""

from __future__ import annotations

import os
import sys

import pytest

from edgeprof.agent import firmware, health
from tests.agent.sensors.trees import ORIN_NANO, command, plant

PI = {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"}
FLAGS_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"
NVPMODEL = """# comment < POWER_MODEL ID=2 NAME=WRONG >
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=12 NAME=7W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=0 >
"""


@pytest.mark.parametrize(
    ("bits", "now", "since_boot"),
    [
        ("0x0", [], []),
        ("0x1", ["under-voltage"], []),
        ("0x50000", [], ["under-voltage", "throttled"]),
        ("0xe0008", ["soft temperature limit"], ["clock capped", "throttled", "soft temperature limit"]),
        ("0x50005", ["under-voltage", "throttled"], ["under-voltage", "throttled"]),
    ],
)
def test_flags_of_a_raspberry_pi(bits, now, since_boot, tmp_path):
    root = plant(tmp_path, PI)
    command(tmp_path, f'[ "$1" = get_throttled ] && echo throttled={bits}\n')
    assert firmware.throttle_flags(root) == {"now": now, "since_boot": since_boot}
    assert health.fingerprint(root)["throttle_flags"] == {"now": now, "since_boot": since_boot}


@pytest.mark.parametrize(("text", "now"), [("50005\n", ["under-voltage", "throttled"]), ("0x4", ["throttled"]), ("0\n", [])])
def test_flags_without_a_command_come_from_the_kernel(text, now, tmp_path):
    assert firmware.throttle_flags(plant(tmp_path, {**PI, FLAGS_FILE: text}))["now"] == now


def test_a_command_that_may_not_be_used_does_not_hide_the_file(tmp_path):
    root = plant(tmp_path, {**PI, FLAGS_FILE: "8\n"})
    command(tmp_path, "echo VCHI initialization failed\n")
    assert firmware.throttle_flags(root)["now"] == ["soft temperature limit"]


@pytest.mark.parametrize("text", ["", "zz", "0x123456789", "-1", "5 5", "throttled=0x5"])
def test_flags_that_are_no_number_are_not_known(text, tmp_path):
    assert firmware.throttle_flags(plant(tmp_path, {**PI, FLAGS_FILE: text})) is None


def test_other_boards_have_no_such_flags(tmp_path):
    assert firmware.throttle_flags(plant(tmp_path, {**ORIN_NANO, FLAGS_FILE: "5"})) is None


def test_alarms_of_a_jetson(tmp_path):
    root = plant(tmp_path, {**ORIN_NANO, "sys/class/hwmon/hwmon1/name": "ina3221\n"})
    folder = "sys/class/hwmon/hwmon1"
    assert firmware.alarms(root) is None
    plant(tmp_path, {f"{folder}/in1_label": "VDD_IN\n", f"{folder}/curr1_crit_alarm": "0\n", f"{folder}/curr1_max_alarm": "0\n"})
    assert firmware.alarms(root) == []
    assert health.fingerprint(root)["alarms"] == []  # known, and none is up
    plant(tmp_path, {f"{folder}/curr1_max_alarm": "1\n"})
    assert firmware.alarms(root) == ["current of VDD_IN over its limit (ina3221)"]
    assert firmware.cooling(root) == {"thermal-cpufreq": 3, "devfreq-17000000.gpu": 0}  # the fan does not count


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        ({"var/lib/nvpmodel/status": "pmode:0002 fmode:fan_mode_quiet\n", "etc/nvpmodel.conf": NVPMODEL}, "MAXN_SUPER"),
        ({"var/lib/nvpmodel/status": "pmode:0012\n", "etc/nvpmodel.conf": NVPMODEL}, "7W"),
        ({"var/lib/nvpmodel/status": "pmode:0001\n", "etc/nvpmodel.conf": NVPMODEL}, "mode 1"),
        ({"var/lib/nvpmodel/status": "pmode:0000\n"}, "mode 0"),
        ({"var/lib/nvpmodel/status": "nothing", "etc/nvpmodel.conf": NVPMODEL}, None),
        ({"sys/firmware/acpi/platform_profile": "balanced\n"}, "balanced"),
        ({}, None),
    ],
)
def test_power_mode(files, mode, tmp_path):
    assert firmware.power_mode(plant(tmp_path, files)) == mode


def supply(name, **files):
    return {f"sys/class/power_supply/{name}/{key}": value for key, value in files.items()}


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (supply("BAT0", type="Battery", status="Discharging") | supply("AC", type="Mains", online="0"), "battery"),
        (supply("BAT0", type="Battery", status="Charging") | supply("AC", type="Mains", online="1"), "mains"),
        (supply("BAT0", type="Battery", status="Full"), "mains"),
        (supply("mouse", type="Battery", status="Discharging", scope="Device"), None),
        (supply("AC", type="Mains", online="0"), None),
        ({}, None),
    ],
)
def test_power_source(files, source, tmp_path):
    assert firmware.power_source(plant(tmp_path, files)) == source


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n", "6 (L4T 36.4.3)"),
        ("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64", "4 (L4T 32.7.1)"),
        ("# R99 (release), REVISION: 1.0, GCID: 1", "L4T 99.1.0"),
        ("R36", None),
    ],
)
def test_jetpack(text, release, tmp_path):
    assert firmware.jetpack(plant(tmp_path, {"etc/nv_tegra_release": text})) == release


def test_gpu_of_a_jetson(tmp_path):
    gpu = "sys/class/devfreq/17000000.gpu"
    more = {f"{gpu}/max_freq": "1020000000\n", f"{gpu}/governor": "nvhost_podgov\n", f"{gpu}/device/load": "842\n"}
    assert firmware.gpu(plant(tmp_path, {**ORIN_NANO, **more})) == {
        "name": "17000000.gpu", "clock_khz": 306_000, "clock_max_khz": 1_020_000, "governor": "nvhost_podgov", "load_share": 0.842,
    }  # fmt: skip


def test_gpu_load_is_per_mille_there_and_per_cent_here(tmp_path):
    nano, radeon = plant(tmp_path / "nano", {"sys/devices/gpu.0/load": "0\n"}), tmp_path / "radeon"
    plant(radeon, {"sys/class/drm/card1/device/gpu_busy_percent": "37\n", "sys/class/drm/card1-DP-1/device/gpu_busy_percent": "99"})
    assert firmware.gpu(nano) == {"load_share": 0.0}
    assert firmware.gpu(str(radeon)) == {"load_share": 0.37}
    assert firmware.gpu(plant(tmp_path / "odd", {"sys/devices/gpu.0/load": "4000\n"})) == {}


@pytest.mark.skipif(os.path.exists("/etc/nvpmodel.conf"), reason="this is a Jetson")
def test_commands_are_run_on_this_machine_alone(tmp_path, monkeypatch):
    """A recorded board that has nvpmodel.conf must not be answered for by the machine that reads it."""
    tool = tmp_path / "bin" / "nvpmodel"
    tool.parent.mkdir()
    tool.write_text(f"#!{sys.executable}\nprint('NV Power Mode: 25W')\nprint(1)\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    assert firmware.power_mode(plant(tmp_path / "board", {"etc/nvpmodel.conf": NVPMODEL})) is None
    assert "NV Power Mode: 25W" in firmware._said("/", "nvpmodel", "-q")
    assert firmware._said("/", "no-such-command") == ""
