"""Otii through the maker's own client, against a server on loopback that speaks its protocol."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otii_tcp_client import otii_connection
from otii_tcp_client.otii_connection import OtiiConnection

from edgeprof.boards.meters import open_meter, otii
from edgeprof.errors import MeterError, UsageError
from tests.boards.meters.otii_server import BLOCK_S, OtiiServer, Refusal, line

STATISTICS = "recording_get_channel_statistics"


@pytest.fixture
def server() -> Iterator[OtiiServer]:
    with OtiiServer() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits 3 s for an answer, and edgeprof 3 s more; here both wait half a second."""
    monkeypatch.setattr(OtiiConnection.send_and_receive, "__defaults__", (0.5,))
    monkeypatch.setattr(otii, "_LATE_S", 0.5)


def refuse(code: str):
    def answer(_):
        raise Refusal(code)

    return answer


def test_readings(server):
    meter = open_meter(server.spec)
    assert [channel.name for channel in meter.channels] == ["otii/energy_mj", "otii/power_mw", "otii/current_ma", "otii/voltage_mv"]
    assert [channel.kind for channel in meter.channels] == ["counter", "sample", "sample", "sample"]
    assert {channel.scope for channel in meter.channels} == {"board"}
    assert meter.totals == {"board": ["otii/energy_mj"]}
    assert meter.channels[0].title == "Otii Arc Bench: energy of the main output"
    first = meter.read()
    assert first[0] == 0
    assert all(math.isnan(value) for value in first[1:]), "means need a reading before"
    assert meter.read() == pytest.approx([2000 * BLOCK_S, 2000, 400, 5000])
    server.application.power_w = 6.0
    assert meter.read() == pytest.approx([8000 * BLOCK_S, 6000, 1200, 5000])
    meter.close()


def test_the_board_keeps_its_power_and_the_recording_ends(server):
    meter = open_meter(server.spec)
    assert server.application.recording
    meter.close()
    assert not server.application.recording
    assert not [one for one in server.application.heard if one.startswith(("arc_set", "otii_set", "recording_delete"))]


@given(st.lists(st.tuples(st.floats(0, 50), st.sampled_from(["", "Command timeout", "Not ready"])), max_size=12))
def test_no_energy_is_lost_by_readings_that_fail(steps):
    with OtiiServer() as server:
        meter = open_meter(server.spec)
        meter.read()
        begin_j = server.application.energy_j[-1]
        for power_w, failure in [*steps, (1.0, "")]:
            server.application.power_w = power_w
            if failure:
                server.application.instead[STATISTICS] = refuse(failure)
            values = meter.read()
            server.application.instead.clear()
            assert all(math.isnan(value) for value in values) == bool(failure)
        assert values[0] == pytest.approx(1e3 * (server.application.energy_j[-1] - begin_j))
        meter.close()


def test_voltage_alone_may_fail(server):
    meter = open_meter(server.spec)
    meter.read()
    usual = server.application._recording_get_channel_statistics
    server.application.instead[STATISTICS] = lambda data: usual(data) if data["channel"] == "mc" else refuse("Not ready")(data)
    energy_mj, power_mw, current_ma, voltage_mv = meter.read()
    assert (energy_mj, power_mw, current_ma) == pytest.approx((500, 2000, 400))
    assert math.isnan(voltage_mv)
    meter.close()


@pytest.mark.parametrize("answer", [{}, {"to": None}, {"to": "3"}, {"to": True}, {"to": math.nan}])
def test_answers_without_a_number_are_nan(server, answer):
    meter = open_meter(server.spec)
    meter.read()
    server.application.instead["recording_get_channel_info"] = lambda _: answer
    assert all(math.isnan(value) for value in meter.read())
    server.application.instead.clear()
    assert meter.read()[0] == pytest.approx(500)
    meter.close()


@pytest.mark.usefixtures("impatient")
def test_a_late_answer_is_not_taken_for_the_next_one(server):
    meter = open_meter(server.spec)
    meter.read()
    server.application.instead["recording_get_channel_info"] = lambda _: b""
    assert all(math.isnan(value) for value in meter.read())
    server.application.instead.clear()
    server.send(line({"type": "response", "trans_id": str(otii_connection.trans_id), "data": {"to": 1e9}}))
    assert meter.read() == pytest.approx([500, 2000, 400, 5000])
    meter.close()


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_never_comes_is_given_up(server):
    meter = open_meter(server.spec)
    meter.read()
    server.application.instead["recording_get_channel_info"] = lambda _: b""
    meter.read()
    server.application.instead.clear()
    assert all(math.isnan(value) for value in meter.read()), "it was waited for once more"
    assert meter.read()[0] == pytest.approx(500)
    meter.close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("strange", [b'{"type": "information", "info": "device removed"}\r\n', b"not JSON\r\n", b"{}\r\n", b"\xff\xfe\r\n"])
def test_messages_that_nobody_asked_for(server, strange):
    """An unknown message in front of an answer: that reading is NaN, later ones are right."""
    meter = open_meter(server.spec)
    meter.read()
    usual = server.application._recording_get_channel_info

    def both(data):
        server.send(strange)
        return usual(data)

    server.application.instead["recording_get_channel_info"] = both
    assert all(math.isnan(value) for value in meter.read())
    server.application.instead.clear()
    readings = [meter.read() for _ in range(3)]
    assert readings[-1][1:] == pytest.approx([2000, 400, 5000])
    assert readings[-1][0] == pytest.approx(1e3 * (server.application.energy_j[-1] - server.application.energy_j[1]))
    meter.close()


@pytest.mark.usefixtures("impatient")
def test_silence_is_an_oserror_in_the_end(server):
    meter = open_meter(server.spec)
    meter.read()
    server.application.instead["recording_get_channel_info"] = lambda _: b""
    with pytest.raises(OSError, match="does not answer any more"):
        for _ in range(3):
            meter.read()
    meter.close()


def test_the_application_is_closed_in_the_middle(server):
    meter = open_meter(server.spec)
    meter.read()
    server.quit()
    with pytest.raises(OSError, match="was lost"):
        meter.read()
    meter.close()


def test_the_device_is_unplugged_in_the_middle(server):
    meter = open_meter(server.spec)
    meter.read()
    server.application.instead["recording_get_channel_info"] = refuse("Device not connected")
    with pytest.raises(OSError, match="unplugged"):
        meter.read()
    meter.close()


def test_a_recording_that_stands_still_is_an_oserror(server, monkeypatch):
    """Constant energy would look like a board that draws nothing."""
    meter = open_meter(server.spec)
    now_s = 0.0
    monkeypatch.setattr(meter, "_clock", lambda: now_s)
    meter.read()
    server.application.recording = False
    assert all(math.isnan(value) for value in meter.read())
    now_s = 6.0
    with pytest.raises(OSError, match="stands still"):
        meter.read()
    server.application.recording = True
    assert meter.read()[0] == pytest.approx(500)
    meter.close()


# Opening


def test_nobody_listens_there():
    with OtiiServer() as server:
        spec = server.spec
    with pytest.raises(MeterError, match=r"no Otii application at 127\.0\.0\.1:\d+: .*refused.*enable its TCP server"):
        open_meter(spec)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n", b"{}\r\n", b"[1]\r\n"])
def test_something_else_listens_there(server, greeting):
    server.application.greeting = greeting
    with pytest.raises(MeterError, match="no Otii application"):
        open_meter(server.spec)


def test_the_connection_is_denied(server):
    server.application.greeting = {"type": "error", "errorcode": "Connection denied", "trans_id": ""}
    with pytest.raises(MeterError, match="refused the connection: Connection denied"):
        open_meter(server.spec)


def test_no_device(server):
    server.application.devices = []
    with pytest.raises(MeterError, match="sees no Arc or Ace"):
        open_meter(server.spec)


def test_one_of_several_devices(server):
    server.application.devices = [
        {"device_id": "Arc01", "name": "Left", "type": "Arc"},
        {"device_id": "Ace02", "name": "Right", "type": "Ace"},
        {"device_id": "Uart3", "name": "Log", "type": "Uart"},
    ]
    with pytest.raises(MeterError, match=r"several Otii devices: Left, Right\. Name one, as in otii\?device=Left"):
        open_meter(server.spec)
    with pytest.raises(MeterError, match="no Otii device 'Middle'"):
        open_meter(f"{server.spec}?device=Middle")
    meter = open_meter(f"{server.spec}?device=Right")
    assert meter.channels[0].title.startswith("Otii Ace Right")
    meter.read()
    assert server.application.asked[-1]["device_id"] == "Ace02"
    meter.close()


def test_main_output_that_is_off_is_left_off(server):
    server.application.main_is_on = False
    with pytest.raises(MeterError, match="is off"):
        open_meter(server.spec)
    assert not server.application.recording


def test_a_project_is_made_where_there_is_none(server):
    server.application.project_id = -1
    meter = open_meter(server.spec)
    assert server.application.project_id == 7
    meter.close()


def test_no_recording(server):
    server.application.instead["project_get_last_recording"] = lambda _: {"recording_id": -1}
    with pytest.raises(MeterError, match="started no recording"):
        open_meter(server.spec)
    assert not server.application.recording, "what was begun is ended"


def test_a_licence_is_reserved_and_given_back(server, monkeypatch):
    monkeypatch.setenv("OTII_USERNAME", "ada")
    monkeypatch.setenv("OTII_PASSWORD", "secret")
    application = server.application
    application.logged_in = False
    application.licenses = [
        {"id": 1, "type": "Battery", "available": True, "reserved_to": ""},
        {"id": 2, "type": "Automation", "available": False, "reserved_to": "bob"},
        {"id": 3, "type": "Pro", "available": True, "reserved_to": ""},
        {"id": 4, "type": "Enterprise", "available": True, "reserved_to": ""},
    ]
    meter = open_meter(server.spec)
    assert [one["reserved_to"] for one in application.licenses] == ["", "bob", "", "ada"]
    meter.close()
    assert [one["reserved_to"] for one in application.licenses] == ["", "bob", "", ""]
    assert application.heard[-3:] == ["project_stop_recording", "otii_return_license", "otii_logout"]


def test_a_licence_that_is_reserved_already_stays_so(server):
    server.application.licenses = [
        {"id": 1, "type": "Automation", "available": True, "reserved_to": ""},
        {"id": 2, "type": "All", "available": True, "reserved_to": "ada"},
    ]
    meter = open_meter(server.spec)
    meter.close()
    assert [one["reserved_to"] for one in server.application.licenses] == ["", "ada"]
    assert "otii_reserve_license" not in server.application.heard


@pytest.mark.parametrize(
    ("command", "code"),
    [("otii_get_devices", "Not logged in"), ("project_start_recording", "No license"), ("arc_get_main", "Invalid command")],
)
def test_refusals_are_told(server, command, code, monkeypatch):
    monkeypatch.delenv("OTII_USERNAME", raising=False)
    server.application.logged_in = False
    server.application.instead[command] = refuse(code)
    with pytest.raises(MeterError, match=code) as raised:
        open_meter(server.spec)
    assert ("OTII_USERNAME" in str(raised.value)) == (code != "Invalid command")


def test_a_wrong_password(server, monkeypatch):
    monkeypatch.setenv("OTII_USERNAME", "ada")
    monkeypatch.setenv("OTII_PASSWORD", "wrong")
    server.application.logged_in = False
    with pytest.raises(MeterError, match=r"Could not login.*OTII_PASSWORD") as raised:
        open_meter(server.spec)
    assert "wrong" not in str(raised.value)


@pytest.mark.parametrize("address", ["host:port", "host:0", "host:65536", "host:1:", "host:-1"])
def test_addresses_that_make_no_sense(address):
    with pytest.raises(UsageError, match="HOST:PORT"):
        open_meter(f"otii:{address}")


def test_unknown_options():
    with pytest.raises(UsageError, match="no option 'rate'"):
        open_meter("otii:localhost?rate=5")


@pytest.mark.parametrize(
    ("place", "expected"),
    [("", ("127.0.0.1", 1905)), ("bench", ("bench", 1905)), ("bench:99", ("bench", 99)), (":99", ("127.0.0.1", 99))],
)
def test_host_and_port(place, expected):
    assert otii._host_and_port(place) == expected
