"""What SSH's own settings (``~/.ssh/config``) say of a board: the name its key is known by, hosts to go through, files of known hosts.

AsyncSSH reads the same file, but takes ``UserKnownHostsFile none`` for leave to verify nothing, and does not say whose key it refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprof.boards.entries import Entry
from edgeprof.errors import BoardUnreachable

MOST_JUMPS = 8
_USER_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_SYSTEM_FILES = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


@dataclass(frozen=True)
class SshSettings:
    """``known_hosts``: files where keys are looked for; new ones go into the first."""

    host: str
    port: int
    known_as: str
    jump: str
    known_hosts: tuple[Path, ...]


def settings_of(entry: Entry) -> SshSettings:
    """How SSH would go to the board; AsyncSSH's own errors and OSError when its settings cannot be read."""
    import asyncssh

    asked: dict[str, Any] = {"host": entry.host, "config": str(Path(entry.ssh_config).expanduser()) if entry.ssh_config else ()}
    asked |= {key: value for key, value in (("port", entry.port), ("username", entry.user)) if value is not None}
    found = asyncssh.SSHClientConnectionOptions(**asked, client_keys=None, agent_path=None, known_hosts=None)
    host, port, alias = str(found.host), int(found.port), found.host_key_alias
    jump = str(found.tunnel or "")
    return SshSettings(
        host=str(alias or host),
        port=port,
        known_as=str(alias) if alias else host if port == 22 else f"[{host}]:{port}",
        jump="" if jump == entry.host else jump,  # ``Host *`` means the jump host too
        known_hosts=(Path(entry.known_hosts).expanduser(),) if entry.known_hosts else _known_hosts(found),
    )


def with_jumps(entry: Entry) -> Entry:
    """``entry`` with the jump hosts of SSH's settings, unless it names its own.

    Raises:
        BoardUnreachable: they lead nowhere.
    """
    if entry.name.count("the jump host of") >= MOST_JUMPS:
        raise BoardUnreachable(f"SSH's settings lead through more than {MOST_JUMPS} jump hosts. Correct ProxyJump of '{entry.host}' there.")
    return entry if entry.jump else replace(entry, jump=settings_of(entry).jump)


def _known_hosts(found: Any) -> tuple[Path, ...]:
    user = [name for name in found.config.get("UserKnownHostsFile", _USER_FILES) if name != "/dev/null"]
    names = [*(user or _USER_FILES), *found.config.get("GlobalKnownHostsFile", _SYSTEM_FILES)]
    return tuple(Path(name).expanduser() for name in names)
