"""Boards whose cable can be pulled: each a network namespace with its own address and processes, joined to a hub by a virtual cable.

Nothing of this machine's own network is touched. Whoever goes to a board is a process in the hub (``ProxyCommand``), so tests stay where
they are. Needs root, ``ip``, ``unshare`` and an OpenSSH server; `why_not` says what is missing.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from tests.boards.ssh.rig import KEYGEN, SSHD, Sshd, await_

RELAY = Path(__file__).with_name("relay.py")
NET = "192.0.2"


def why_not() -> str:
    """Why there can be no fleet here; empty when there can."""
    if os.getuid() != 0:
        return "only root can make network namespaces"
    for program, found in (("ip", shutil.which("ip")), ("unshare", shutil.which("unshare")), ("sshd", SSHD), ("ssh-keygen", KEYGEN)):
        if not found:
            return f"there is no {program}"
    name = f"ep{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    run("ip", "netns", "del", name)
    return ""


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


class Fleet:
    """A hub and ``count`` boards, ``b1``, ``b2`` ...; a context."""

    def __init__(self, folder: Path, count: int) -> None:
        self._tag = f"ep{secrets.token_hex(3)}"
        self.hub = f"{self._tag}-hub"
        self.boards: list[NetBoard] = []
        self._names = [self.hub]
        run("ip", "netns", "add", self.hub)
        try:
            run("ip", "-n", self.hub, "link", "add", "br0", "type", "bridge")
            run("ip", "-n", self.hub, "addr", "add", f"{NET}.1/24", "dev", "br0")
            run("ip", "-n", self.hub, "link", "set", "br0", "up")
            for number in range(1, count + 1):
                self._add(folder, number)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process and removes every namespace."""
        for board in self.boards:
            board.close()
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _add(self, folder: Path, number: int) -> None:
        space = f"{self._tag}-b{number}"
        run("ip", "netns", "add", space)
        self._names.append(space)
        run("ip", "-n", self.hub, "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "-n", self.hub, "link", "set", f"v{number}", "master", "br0", "up")
        for command in ("link set lo up", f"addr add {NET}.{10 + number}/24 dev eth0", "link set eth0 up"):
            run("ip", "-n", space, *command.split())
        self.boards.append(NetBoard(self.hub, space, folder / f"b{number}", number))


class NetBoard(Sshd):
    """A board of a fleet."""

    def __init__(self, hub: str, space: str, folder: Path, number: int) -> None:
        self._hub, self._cable = hub, f"v{number}"
        self.address = f"{NET}.{10 + number}"
        inside = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        self.prefix = ("ip", "netns", "exec", space, *inside)
        command = f"ProxyCommand ip netns exec {hub} {sys.executable} -S {RELAY} %h %p\n"
        super().__init__(folder, f"b{number}", ssh_config=command)

    def unplug(self) -> None:
        """Pulls the cable: packets vanish, and nobody is told."""
        run("ip", "-n", self._hub, "link", "set", self._cable, "down")

    def plug(self) -> None:
        """Puts the cable back."""
        run("ip", "-n", self._hub, "link", "set", self._cable, "up")

    def lose_power(self) -> None:
        """Pulls the cable, then ends every process at once."""
        self.unplug()
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        await_(lambda: not self.agents(), "a process lives on without power")

    def boot(self) -> None:
        """Power and cable are back."""
        self.plug()
        self.start()

    def _listens(self) -> bool:
        code = f"import socket; socket.create_connection(({self.address!r}, {self.port}), 1)"
        command = ["ip", "netns", "exec", self._hub, sys.executable, "-S", "-c", code]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
