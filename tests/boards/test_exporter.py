"""Scrapes over HTTP, on loopback; boards are functions that say what an agent would."""

from __future__ import annotations

import socket
import sys
import threading
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgeprof.boards.exporter import BoardCollector, metrics, serve
from edgeprof.boards.health import Health
from edgeprof.errors import BoardLost, MissingExtra, UsageError
from tests.boards.told import GB, PI


def dead():
    raise BoardLost("The link to it broke.")


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (s.name, *(s.labels.get(k) for k in ("board", "zone", "cpu", "resource") if k in s.labels and s.name != "edgeprof_board_info")): s
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


@pytest.fixture
def hanging():
    """A board that does not answer until the test is over."""
    end = threading.Event()
    asked = []

    def ask():
        asked.append(1)
        end.wait()
        return {}

    ask.asked = asked
    yield ask
    end.set()


def test_a_scrape_shows_all_boards_and_does_not_wait_for_one_that_hangs(hanging):
    counts = {"throttle_count": {"cpu0": 7}}
    told = {**PI, "environment": {**PI["environment"], **counts}}
    server = serve({"pi5": lambda: told, "nano": dead, "orin": hanging}, port=0, scrape_waits_s=0.5)
    try:
        found = scrape(server.address)
        scrape(server.address)
    finally:
        server.close()
    value = {key: sample.value for key, sample in found.items()}
    up = "edgeprof_board_up"
    assert (value[up, "pi5"], value[up, "nano"], value[up, "orin"]) == (1, 0, 0)
    assert value["edgeprof_board_temperature_celsius", "pi5", "thermal_zone0 cpu-thermal"] == 83.4
    assert value["edgeprof_board_clock_hertz", "pi5", "1"] == 2.4e9
    assert value["edgeprof_board_memory_available_bytes", "pi5"] == 6 * GB
    assert value["edgeprof_board_disk_free_bytes", "pi5"] == 2e8
    assert value["edgeprof_board_throttled", "pi5"] == 1
    assert value["edgeprof_board_under_voltage", "pi5"] == 0
    assert value["edgeprof_board_load1", "pi5"] == 0.5
    assert value["edgeprof_board_uptime_seconds", "pi5"] == 200_000
    assert value["edgeprof_board_busy", "pi5"] == 1
    assert value["edgeprof_board_throttle_events_total", "pi5", "0"] == 7
    assert value["edgeprof_board_pressure_ratio", "pi5", "cpu"] == 0.01
    info = found["edgeprof_board_info",].labels
    assert (info["board"], info["runtime"], info["governor"]) == ("pi5", "onnxruntime 1.32.0", "ondemand")
    assert {key[1] for key in value if key[0] != up and len(key) > 1} == {"pi5"}  # of the others nothing is known, so nothing is said
    assert len(hanging.asked) == 1  # a second one is not sent after the first


def test_a_board_is_not_asked_again_too_soon():
    asked = []
    server = serve({"pi5": lambda: asked.append(1) or {}}, port=0, every_s=3600)
    try:
        for _ in range(3):
            assert scrape(server.address)["edgeprof_board_up", "pi5"].value == 1
    finally:
        server.close()
    assert len(asked) == 1


def test_a_board_that_falls_silent_is_down_and_comes_back():
    """Its last answer is shown while it is only late."""
    answers, waits = [threading.Event() for _ in range(2)], iter(range(2))
    answers[0].set()

    def ask():
        answers[next(waits)].wait()
        return {"environment": {"load_1min": 1.0}}

    def up(silent_s, waits_s=0.0):
        collector._silent_s, collector._scrape_waits_s = silent_s, waits_s
        return next(m for m in collector.collect() if m.name == "edgeprof_board_up").samples[0].value

    collector = BoardCollector({"pi5": ask}, every_s=0)
    assert up(silent_s=60, waits_s=60) == 1
    assert up(silent_s=60) == 1  # asked a second time, and late
    assert up(silent_s=0) == 0
    collector._every_s = 3600
    answers[1].set()
    assert up(silent_s=0, waits_s=60) == 1


def test_a_port_that_is_taken_is_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match=r"cannot be served on 127\.0\.0\.1:.*--listen"):
        serve({}, port=taken.getsockname()[1])
    with pytest.raises(UsageError, match="--listen"):
        serve({}, port=99999)


def test_it_listens_on_this_machine_alone():
    server = serve({}, port=0)
    try:
        assert server.address.startswith("127.0.0.1:")
    finally:
        server.close()
    with pytest.raises(OSError):
        scrape(server.address)


def test_without_the_package_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra, match=r"edgeprof\[metrics\]"):
        serve({}, port=0)


def test_names_follow_the_conventions_and_labels_cannot_break_out():
    told = {"environment": {"board_model": 'x"} 1\nevil{a="', "temperature_c": {'"\\': 1.0}}}
    families = list(metrics([Health.of('b"\n', told)]))
    assert all(family.name.startswith("edgeprof_board_") and family.documentation.endswith(".") for family in families)
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(BoardCollector({'b"\n': lambda: told}))
    parsed = {f.name for f in text_string_to_metric_families(generate_latest(registry).decode())}
    assert parsed == {family.name for family in families}
