"""Otii Arc and Ace, through the TCP server of the Otii application: ``otii[:HOST[:PORT]][?device=NAME]``.

A recording is started in the project that is active there (or in a new one), and its statistics are asked for again and again: each time
the energy from where the last reading ended to the newest sample. So energy is summed over all samples that the instrument took, four
thousand a second and more, and a reading that fails loses none of it: the next one covers its time too. Main output, supply mode and
voltage are left as they are: this is what powers the board.

The client numbers requests and takes no answer but that to the last one. When one did not come in time, it is waited for once more and
dropped before anything else is asked; otherwise every later answer would be one too late.

Source: otii-tcp-client 1.0.13, ``recording.py``, ``otii_connection.py``, ``otii_client.py``; its example ``ampere_mode_measurement.py``.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from edgeprof.agent.sensors.base import COUNTER, NAN, SAMPLE, Sensor
from edgeprof.boards.meters.base import board_channel, needs, plain, shown, split_options
from edgeprof.errors import EdgeprofError, MeterError, UsageError

if TYPE_CHECKING:
    from otii_tcp_client.arc import Arc
    from otii_tcp_client.otii import Otii as Application
    from otii_tcp_client.otii_connection import OtiiConnection
    from otii_tcp_client.project import Project
    from otii_tcp_client.recording import Recording

_HOST, _PORT = "127.0.0.1", 1905
_REACH_S = 3.0
_LATE_S = 3.0
_DEVICES_S = 3
_STANDSTILL_S = 5.0
_MOST_SILENCES = 3
_LICENSE = "Automation"
_USER, _PASSWORD = "OTII_USERNAME", "OTII_PASSWORD"  # names of variables, as the client has them
_CURRENT, _VOLTAGE = "mc", "mv"  # "main current", "main voltage"

T = TypeVar("T")


class Otii(Sensor):
    """One device that a recording runs of. Current, voltage and power are means since the reading before."""

    name = "otii"
    rate_hz = 10.0

    def __init__(self, server: Server, device: Arc, recording: Recording, clock: Callable[[], float] = time.monotonic) -> None:
        title = f"Otii {shown(device.type)} {shown(device.name)}"
        channels = [
            board_channel(self.name, "energy", "mJ", COUNTER, f"{title}: energy of the main output"),
            board_channel(self.name, "power", "mW", SAMPLE, f"{title}: power, mean since the reading before"),
            board_channel(self.name, "current", "mA", SAMPLE, f"{title}: current, mean since the reading before"),
            board_channel(self.name, "voltage", "mV", SAMPLE, f"{title}: voltage, mean since the reading before"),
        ]
        super().__init__(channels, {"board": [channels[0].name]})
        self._server = server
        self._device = device
        self._recording = recording
        self._clock = clock
        self._moved_s = clock()
        self._end_s = NAN
        self._energy_mj = 0.0

    def read(self) -> list[float]:
        """See `Sensor.read`; NaN when there are no samples since the reading before."""
        nothing = [NAN] * len(self.channels)
        end_s = _number(self._server.ask(lambda: self._recording.get_channel_info(self._device.id, _CURRENT)), "to")
        start_s = self._end_s
        if math.isnan(start_s) and not math.isnan(end_s):  # the first reading: counting begins here
            self._advance(end_s)
            return [0.0, *nothing[1:]]
        if not end_s > start_s:
            self._check_that_it_records()
            return nothing
        current = self._statistics(_CURRENT, start_s, end_s)
        energy_j = _number(current, "energy")
        if math.isnan(energy_j):
            return nothing
        self._advance(end_s)
        self._energy_mj += energy_j * 1e3
        voltage_v = _number(self._statistics(_VOLTAGE, start_s, end_s), "average")
        return [self._energy_mj, energy_j * 1e3 / (end_s - start_s), _number(current, "average") * 1e3, voltage_v * 1e3]

    def close(self) -> None:
        """See `Sensor.close`; the recording ends and stays in the project."""
        self._server.close()

    def _statistics(self, channel: str, start_s: float, end_s: float) -> Mapping[str, Any] | None:
        return self._server.ask(lambda: self._recording.get_channel_statistics(self._device.id, channel, start_s, end_s))

    def _advance(self, end_s: float) -> None:
        self._end_s = end_s
        self._moved_s = self._clock()

    def _check_that_it_records(self) -> None:
        if self._clock() - self._moved_s > _STANDSTILL_S:
            raise OSError(f"The recording of the Otii {shown(self._device.name)} stands still. Was it stopped in the Otii application?")


class Server:
    """The connection to the Otii application, and what is to be given back at its end."""

    def __init__(self, connection: OtiiConnection, application: Application) -> None:
        self.application = application
        self._connection = connection
        self._at_end: list[Callable[[], object]] = []
        self._late = ""
        self._silences = 0

    def at_end(self, action: Callable[[], object]) -> None:
        """Has something done before the connection is closed; the last first."""
        self._at_end.append(action)

    def ask(self, request: Callable[[], T]) -> T | None:
        """What a request gives; None when it was refused, or not answered in time. OSError when there is nobody to answer."""
        from otii_tcp_client import otii_connection
        from otii_tcp_client.otii_connection import DisconnectedException
        from otii_tcp_client.otii_exception import Otii_Exception

        try:
            self._drop_late_answer()
            answer = request()
        except Otii_Exception as error:
            if error.type == "Device not connected":
                raise OSError("The Otii device was unplugged.") from error
            return None
        except TimeoutError as error:
            self._late = "" if self._late else str(otii_connection.trans_id)
            self._silences += 1
            if self._silences >= _MOST_SILENCES:
                raise OSError("The Otii application does not answer any more.") from error
            return None
        except (DisconnectedException, OSError) as error:
            raise OSError("The connection to the Otii application was lost.") from error
        except Exception:  # what the client makes of an answer to another request, or of one that it cannot read
            self._late = self._late or str(otii_connection.trans_id)
            return None
        self._silences = 0
        return answer

    def close(self) -> None:
        """Ends what was begun and closes the connection."""
        for action in reversed(self._at_end):
            with suppress(Exception):  # of the client, when the application is gone
                action()
        self._at_end.clear()
        self._connection.close_connection()

    def _drop_late_answer(self) -> None:
        if self._late:
            self._connection.receive_response(_LATE_S, self._late)
            self._late = ""


def open(address: str) -> Otii:
    """The device at an address, ``[HOST[:PORT]][?device=NAME]``; the only one there unless it is named."""
    place, options = split_options(address, ("device",), "otii")
    host, port = _host_and_port(place)
    server = _connected(host, port)
    try:
        _license(server)
        device = _the_one(server.application.get_devices(_DEVICES_S), plain(options.get("device", "")))
        return Otii(server, device, _recording(server, device))
    except BaseException as error:
        server.close()
        if isinstance(error, EdgeprofError) or not isinstance(error, Exception):
            raise
        # Otii_Exception, DisconnectedException, OSError, and KeyError where an answer lacks something
        raise MeterError(f"The Otii application at {host}:{port} failed: {_reason(error)}.{_advice(error)}") from error


def _host_and_port(place: str) -> tuple[str, int]:
    host, colon, port = place.rpartition(":") if ":" in place else (place, "", "")
    if colon and not (port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"'{place}' is no address of an Otii application. Give HOST:PORT, such as {_HOST}:{_PORT}.")
    return host or _HOST, int(port) if colon else _PORT


def _connected(host: str, port: int) -> Server:
    with needs("otii"):
        from otii_tcp_client.otii import Otii as Application
        from otii_tcp_client.otii_connection import OtiiConnection
    connection = OtiiConnection(host, port)
    try:
        socket.create_connection((host, port), _REACH_S).close()  # the client would wait minutes for a host that is off
        greeting = connection.connect_to_server()
        if greeting["type"] != "error":
            return Server(connection, Application(connection))
        reason = shown(greeting.get("errorcode", ""))
        connection.close_connection()
    except Exception as error:  # the client lets JSONDecodeError and KeyError through when something else answers there
        if getattr(connection, "sock", None) is not None:
            connection.close_connection()
        reason = _reason(error)
        raise MeterError(f"There is no Otii application at {host}:{port}: {reason}. Start it, and enable its TCP server.") from error
    raise MeterError(f"The Otii application at {host}:{port} refused the connection: {reason}.")


def _license(server: Server) -> None:
    """Logs in with what the environment says, and reserves a licence if one is free and none is reserved yet.

    Without a login nothing is done: the application knows whether it wants one.
    """
    from otii_tcp_client.otii_client import LICENSE_MAP

    application = server.application
    if not application.is_logged_in():
        user, password = os.environ.get(_USER), os.environ.get(_PASSWORD)
        if not user or not password:
            return
        application.login(user, password)
        server.at_end(application.logout)
    fitting = [one for one in application.get_licenses() if one["available"] and _LICENSE in LICENSE_MAP.get(one["type"], ())]
    free = next((one["id"] for one in fitting if not one["reserved_to"]), None)
    if free is not None and all(not one["reserved_to"] for one in fitting):
        application.reserve_license(free)
        server.at_end(lambda: application.return_license(free))


def _the_one(devices: list[Arc], name: str) -> Arc:
    if not devices:
        raise MeterError("The Otii application sees no Arc or Ace. Plug it in, and check that it shows up there.")
    found = [device for device in devices if not name or name in (device.name, device.id)]
    if len(found) == 1:
        return found[0]
    there = ", ".join(shown(device.name) for device in devices)
    if not found:
        raise MeterError(f"There is no Otii device '{name}'. Connected are: {there}.")
    raise MeterError(f"There are several Otii devices: {there}. Name one, as in otii?device={shown(devices[0].name)}.")


def _recording(server: Server, device: Arc) -> Recording:
    if not device.get_main():
        text = f"The main output of the Otii {shown(device.name)} is off, so that nothing flows through it."
        raise MeterError(f"{text} Switch it on in the Otii application and let the board start.")
    project = _project(server.application)
    for channel in (_CURRENT, _VOLTAGE):
        device.enable_channel(channel, True)
    project.start_recording()
    server.at_end(project.stop_recording)
    recording = project.get_last_recording()
    if recording is None:
        raise MeterError("The Otii application started no recording. Start one there by hand to see why, and end it again.")
    return recording


def _project(application: Application) -> Project:
    from otii_tcp_client.otii import OtiiException

    try:
        return application.get_active_project()
    except OtiiException:
        return application.create_project()


def _number(answer: Mapping[str, Any] | None, key: str) -> float:
    """A number out of an answer; NaN when it is not there."""
    value = answer.get(key) if isinstance(answer, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else NAN


def _reason(error: Exception) -> str:
    return shown(getattr(error, "type", "") or error) or type(error).__name__


def _advice(error: Exception) -> str:
    if getattr(error, "type", "") in ("Not logged in", "No license", "Could not login", "License could not be reserved"):
        return f" Log in there and reserve an {_LICENSE} licence, or set {_USER} and {_PASSWORD}."
    return ""
