"""How a board is, from what its agent says; and what a hostile one can do with that, which is nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeprof as ep
from edgeprof.boards.health import STATUSES, TABLE_COLUMNS, Health, ask, health_of, health_table
from edgeprof.boards.local import LocalBoard
from edgeprof.boards.replay import ReplayBoard
from edgeprof.errors import BoardLost, UsageError
from tests.agent.sensors.trees import ORIN_NANO, command, plant
from tests.boards.told import GB, PI
from tests.records.board_states import anything, shaped

PARTS = ("runtimes", "sensors", "problems", "in_use")
TOLD = st.fixed_dictionaries({}, optional={"environment": shaped | anything, **dict.fromkeys(PARTS, anything)})
WHEN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def row(health, item):
    (found,) = [r for r in health.rows() if r.item == item]
    return found


def test_rows_of_a_raspberry_pi_that_is_not_well():
    pi = Health.of("pi5", PI, WHEN)
    assert pi.worst == "warn" and pi.throttled is True and pi.reached
    assert row(pi, "in use")[3:5] == ("by ann@desk for 2 min", "info")
    assert row(pi, "governor").status == "warn" and "cpupower" in row(pi, "governor").advice
    assert row(pi, "clock")[1:4] == (2_400_000, "kHz", "2.40 GHz of 2.40 GHz")
    assert row(pi, "temperature")[1:5] == (83.4, "°C", "83.4 °C (thermal_zone0 cpu-thermal)", "warn")
    assert row(pi, "throttled")[3:5] == ("throttled", "warn")
    assert row(pi, "since boot")[3:5] == ("throttled, under-voltage", "info")
    assert row(pi, "supply").status == "ok"  # it was too weak once, and is not now
    assert row(pi, "swap").value == GB / 2
    assert row(pi, "disk")[3:5] == ("200 MB free of 32.0 GB", "warn")
    assert row(pi, "others")[3:5] == ("chromium 0.80 CPUs", "warn")
    assert row(pi, "uptime").text == "2 d 7 h"
    assert [(r.value, r.status) for r in pi.rows() if r.item == "sensor problem"] == [("pi_pmic-permission", "warn"), ("x-info", "info")]
    assert all(r.advice for r in pi.rows() if r.status == "warn" and r.item != "sensor problem")


def test_status_is_the_worst_of_its_rows():
    well = {
        "environment": {"governor": "performance"},
        "runtimes": {"onnxruntime": {"version": "1", "providers": []}},
        "sensors": [{"name": "rapl"}],
    }
    assert Health.of("a", well, WHEN).worst == "ok"
    assert Health.of("a", {**well, "environment": {}}, WHEN).worst == "info"
    assert Health.of("a", {**well, "environment": {"python": "3.7.3", "governor": "performance"}}, WHEN).worst == "fail"
    assert Health.of("a", {**well, "environment": {"disk_free_bytes": 1000}}, WHEN).worst == "fail"
    broken = Health.of("a", {**well, "runtimes": {"onnxruntime": {"error": "it is not installed"}}}, WHEN)
    assert broken.worst == "fail" and row(broken, "onnxruntime").advice == "it is not installed"


@pytest.mark.parametrize(
    ("told", "in_use"),
    [
        ({}, None),
        ({"in_use": None}, ""),
        ({"in_use": {}}, "by somebody"),
        ({"in_use": {"who": "bo"}}, "by bo"),
        ({"in_use": "bo"}, "by bo"),
    ],
)
def test_who_uses_it(told, in_use):
    assert Health.of("a", told, WHEN).in_use == in_use


def test_a_board_that_cannot_be_reached_is_a_row_too():
    def dead():
        raise BoardLost("The link to nano broke.")

    def broken():
        raise ZeroDivisionError("oh")

    gone = ask("nano", dead)
    assert (gone.worst, gone.reached, gone.throttled) == ("fail", False, None)
    assert gone.rows() == [("board", None, "", "not reached", "fail", "The link to nano broke.")]
    assert "ZeroDivisionError" in ask("nano", broken).error
    assert "no sense" in ask("nano", lambda: ["what"]).error
    assert "recording" in ask("replay", health_of(ReplayBoard.__new__(ReplayBoard))).error


def test_a_table_has_a_row_for_each_board():
    table = health_table([Health.of("pi5", PI, WHEN), Health.unreachable("nano", "It is off.")])
    assert list(table.columns) == list(TABLE_COLUMNS)
    pi, nano = (table.iloc[i] for i in (0, 1))
    assert (pi["board"], pi["status"], pi["throttled"], pi["runtime"]) == ("pi5", "warn", "throttled", "onnxruntime 1.32.0")
    assert (pi["clock_khz"], pi["temperature_c"], pi["memory_available_bytes"]) == (2_400_000, 83.4, 6 * GB)
    assert (pi["sensors"], pi["providers"]) == ("thermal, clocks", "CPUExecutionProvider")
    assert (nano["board"], nano["status"], nano["problems"], nano["model"]) == ("nano", "fail", "It is off.", None)
    assert nano[["clock_khz", "temperature_c", "disk_free_bytes", "uptime_s"]].isna().all()
    assert str(table["disk_free_bytes"].dtype) == "float64"
    assert health_table([]).empty


def test_hostile_text_stays_on_its_line():
    name = "\x1b[2J\u202e<script>alert(1)</script>\n" * 50
    told = {
        "environment": {"board_model": name, "power_mode": name, "governor": [name], "temperature_c": {name: 20.0}},
        "runtimes": {name: {"version": name, "providers": [name]}}, "sensors": [{"name": name}], "problems": [[name, name]],
        "in_use": {"who": name},
    }  # fmt: skip
    health = Health.of(name, told, WHEN)
    for told_row in health.rows():
        assert told_row.text.isprintable() and len(told_row.text) < 1000
        assert told_row.item.isprintable()
    assert health.name.isprintable() and len(health.name) <= 200
    assert "<script" not in health_table([health]).to_html()


def test_a_flood_is_bounded():
    flood = {
        "environment": {
            "temperature_c": {str(i): 1.0 for i in range(100_000)}, "governor": ["x"] * 100_000, **{str(i): i for i in range(10_000)},
        },
        "runtimes": {str(i): {"version": "1"} for i in range(10_000)},
        "sensors": [{"name": str(i)} for i in range(10_000)],
        "problems": [[str(i), "y" * 10_000] for i in range(10_000)],
    }  # fmt: skip
    health = Health.of("a", flood, WHEN)
    assert len(json.dumps(health.to_json())) < 200_000


@settings(max_examples=150, deadline=None)
@given(TOLD | anything)
def test_whatever_an_agent_says_can_be_shown(told):
    health = Health.of("board", told, WHEN)
    assert health.worst in STATUSES
    assert json.loads(json.dumps(health.to_json(), allow_nan=False))["status"] == health.worst
    assert all(r.text.isprintable() and r.advice.isprintable() and r.status in STATUSES for r in health.rows())
    assert isinstance(health_table([health]), pd.DataFrame)


def test_a_recorded_jetson_through_a_real_agent(tmp_path):
    """All the way: files, agent, frames, rows."""
    alarm = "sys/class/hwmon/hwmon9"
    plant(tmp_path, {
        **ORIN_NANO, "var/lib/nvpmodel/status": "pmode:0000\n", "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1\n", f"{alarm}/name": "ina3221\n",
        f"{alarm}/curr1_crit_alarm": "1\n",
        f"{alarm}/in1_label": "VDD_IN\n", "sys/class/devfreq/17000000.gpu/device/load": "700\n",
    })  # fmt: skip
    jetson = ask("orin", LocalBoard(sysroot=tmp_path).health)
    assert row(jetson, "power mode").value == "15W"
    assert row(jetson, "JetPack").value == "6 (L4T 36.4.3)"
    assert row(jetson, "GPU load")[3:5] == ("70%", "warn")
    assert row(jetson, "throttled").text == "current of VDD_IN over its critical limit (ina3221), slowed down by thermal-cpufreq"
    assert "ina3221" in jetson.sensors
    assert row(jetson, "onnxruntime").status == "ok" and row(jetson, "python").status == "ok"


def test_a_pi_that_may_not_be_asked_says_how_to_allow_it(tmp_path):
    plant(tmp_path, {"proc/device-tree/model": "Raspberry Pi 4 Model B\0"})
    command(tmp_path, "echo VCHI initialization failed\n")
    pi = ask("pi4", LocalBoard(sysroot=tmp_path).health)
    assert pi.throttled is None
    assert any(r.value == "throttle-permission" and "usermod" in r.text for r in pi.rows())


def test_the_users_boards_in_a_table_and_in_a_cell():
    """Asked through the public names, whatever modules were imported before."""
    table = ep.boards.status("local", "simulated")
    assert list(table["board"]) == ["local", "simulated"]
    assert table["status"][1] == "fail"
    assert "simulation, not a board" in table["problems"][1]
    view = ep.board_health("local")
    try:
        view.refresh()
        assert [row["board"] for row in view.rows] == ["local"]
        assert view.error == ""
    finally:
        view.close()
    with pytest.raises(UsageError, match="named twice"):
        ep.board_health("local", "local")
