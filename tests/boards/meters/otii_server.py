"""A stand-in for the Otii application: its TCP server, which speaks JSON objects that end in CR LF.

Requests, answers and error codes are those that otii-tcp-client 1.0.13 sends and reads.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

GREETING = {
    "type": "information",
    "info": "connected",
    "data": {"otii_version": "3.5.5", "protocol_version": "0.1", "server": "otii-server"},
}
BLOCK_S = 0.25


class Refusal(Exception):
    """An error answer with this code."""


class Application:
    """What the application knows: devices, a login, licences, a project, a recording of a board that draws ``power_w``.

    Each question for how far the recording is finds it `BLOCK_S` longer. ``instead`` overrides the answer to a command by a function
    of its data, which may raise a `Refusal`, or return bytes to be sent as they are (b"": nothing is sent).
    """

    def __init__(self) -> None:
        self.devices = [{"device_id": "Arc01", "name": "Bench", "type": "Arc"}]
        self.main_is_on = True
        self.logged_in = True
        self.licenses: list[dict[str, Any]] = []
        self.project_id = 1
        self.power_w, self.voltage_v = 2.0, 5.0
        self.energy_j: list[float] = [0.0]  # at the end of each block
        self.recording = False
        self.recordings = 0
        self.heard: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.instead: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self.greeting: dict[str, Any] | bytes = GREETING

    def answer(self, request: dict[str, Any]) -> bytes:
        command, data = request["cmd"], request.get("data", {})
        self.heard.append(command)
        self.asked.append(data)
        head = {"cmd": command, "trans_id": request["trans_id"]}
        try:
            answer = (self.instead.get(command) or getattr(self, f"_{command}"))(data)
        except Refusal as refusal:
            return line({"type": "error", "errorcode": str(refusal), "data": {"message": "as asked", **data}, **head})
        return answer if isinstance(answer, bytes) else line({"type": "response", "data": answer or {}, **head})

    def _otii_is_logged_in(self, data):
        return {"logged_in": self.logged_in}

    def _otii_login(self, data):
        if data != {"username": "ada", "password": "secret"}:
            raise Refusal("Could not login")
        self.logged_in = True

    def _otii_logout(self, data):
        self.logged_in = False

    def _otii_get_licenses(self, data):
        return {"licenses": self.licenses}

    def _otii_reserve_license(self, data):
        next(one for one in self.licenses if one["id"] == data["license_id"])["reserved_to"] = "ada"

    def _otii_return_license(self, data):
        next(one for one in self.licenses if one["id"] == data["license_id"])["reserved_to"] = ""

    def _otii_get_devices(self, data):
        return {"devices": self.devices}

    def _otii_get_active_project(self, data):
        return {"project_id": self.project_id}

    def _otii_create_project(self, data):
        self.project_id = 7
        return {"project_id": 7}

    def _arc_get_main(self, data):
        return {"value": self.main_is_on}

    def _arc_enable_channel(self, data):
        assert data["channel"] in ("mc", "mv")

    def _project_start_recording(self, data):
        assert data["project_id"] == self.project_id
        self.recording, self.recordings = True, self.recordings + 1

    def _project_stop_recording(self, data):
        self.recording = False

    def _project_get_last_recording(self, data):
        return {"recording_id": self.recordings or -1, "name": "Recording"}

    def _recording_get_channel_info(self, data):
        if self.recording:
            self.energy_j.append(self.energy_j[-1] + self.power_w * BLOCK_S)
        return {"offset": 0.0, "from": 0.0, "to": BLOCK_S * (len(self.energy_j) - 1), "sample_rate": 4000}

    def _recording_get_channel_statistics(self, data):
        start, end = (round(data[edge] / BLOCK_S) for edge in ("from", "to"))
        energy_j, seconds = self.energy_j[end] - self.energy_j[start], data["to"] - data["from"]
        if data["channel"] == "mv":
            return {"min": self.voltage_v, "max": self.voltage_v, "average": self.voltage_v}
        return {"min": 0.0, "max": 1.0, "average": energy_j / seconds / self.voltage_v, "energy": energy_j}


class OtiiServer:
    """That application at a port of its own, for as long as the context lasts."""

    def __init__(self) -> None:
        self.application = Application()

    def __enter__(self) -> OtiiServer:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.quit()

    @property
    def spec(self) -> str:
        return f"otii:127.0.0.1:{self._listening.getsockname()[1]}"

    def send(self, data: bytes) -> None:
        """Sends something to the client that is connected."""
        self._connections[-1].sendall(data)

    def quit(self) -> None:
        """Ends all connections; nobody listens there any more."""
        if self._listening.fileno() >= 0:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                with connection, suppress(OSError), connection.makefile("rb") as requests:
                    greeting = self.application.greeting
                    connection.sendall(greeting if isinstance(greeting, bytes) else line(greeting))
                    for request in requests:
                        connection.sendall(self.application.answer(json.loads(request)))


def line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\r\n"
