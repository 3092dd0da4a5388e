"""Host keys and what else can keep a connection from coming about, each as a sentence that says what to do.

A board's key is compared with the user's ``known_hosts`` and nothing is ever accepted silently: `host_key` fetches a key so that a person
can look at its fingerprint, `accept` writes it down once they agreed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.boards.entries import Entry
from edgeprof.boards.line import CONNECT_S, LOGIN_S, connection_options, tunnel_to
from edgeprof.boards.ssh_settings import SshSettings, settings_of
from edgeprof.boards.words import clean
from edgeprof.errors import BoardError, BoardUnreachable, OutputError

if TYPE_CHECKING:
    import asyncssh

_CHANGED = (
    "The host key of {name} is not the one in {file}: either the board was set up anew, or somebody stands between. "
    "If you know that it was set up anew, remove the old key with `ssh-keygen -R {known_as}`, then run `edgeprof boards check {board}`."
)
_UNKNOWN = (
    "The host key of {name} ({host}) is not in {file}, so it cannot be told whether this is yours. "
    "Run `edgeprof boards check {board}`: it shows the fingerprint and asks."
)


class HostKeyUnknown(BoardUnreachable):
    """The host key of ``entry``, the board or a jump host on the way to it, is not known yet."""

    def __init__(self, message: str, entry: Entry) -> None:
        super().__init__(message)
        self.entry = entry


class HostKeyChanged(BoardUnreachable):
    """The board's host key is another than the one that is known."""


def unreachable(entry: Entry, error: Exception) -> BoardError:
    """What an error of connecting means, and what to do."""
    meant = _meant(entry, error)
    if meant.args and str(meant).startswith("the jump host"):
        meant.args = (str(meant).replace("the", "The", 1), *meant.args[1:])
    return meant


def _meant(entry: Entry, error: Exception) -> BoardError:
    import asyncssh

    if isinstance(error, BoardError):
        return error
    host = where(entry)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _key_error(entry)
    if isinstance(error, asyncssh.PermissionDenied):
        key = f"the key {entry.key}" if entry.key else "any key that SSH offers"
        user = entry.user or "the user of SSH's settings"
        advice = "Put your public key there with `ssh-copy-id`, or name another with --key."
        return BoardUnreachable(f"{entry.name} ({host}) does not let {user} in with {key}. {advice}")
    if isinstance(error, asyncssh.KeyEncryptionError | asyncssh.KeyImportError):
        return _key_unusable(entry, str(error))
    if isinstance(error, OSError) and error.filename and entry.key and not Path(entry.key).expanduser().is_file():
        return BoardUnreachable(f"The key {entry.key} of {entry.name} is not there. Name another with --key, or leave it to the SSH agent.")
    if isinstance(error, asyncssh.ConfigParseError):
        return BoardUnreachable(f"SSH's settings cannot be read: {clean(str(error))}. Correct {entry.ssh_config or '~/.ssh/config'}.")
    if isinstance(error, asyncssh.KeyExchangeFailed) and _known(entry):
        return _key_error(entry)
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return BoardUnreachable(f"{entry.name} ({host}) did not answer within {CONNECT_S:.0f} s. Is it on, and in the same network?")
    if isinstance(error, socket.gaierror):
        return BoardUnreachable(f"There is no host called '{entry.host}' (board {entry.name}). Check the address in your boards file.")
    if isinstance(error, ConnectionRefusedError):
        return BoardUnreachable(
            f"{entry.name} ({host}) refused the connection: no SSH server listens there. Start one, or correct the port."
        )
    if isinstance(error, asyncssh.ConnectionLost) and "timeout" in str(error):
        return BoardUnreachable(
            f"{entry.name} ({host}) takes connections but did not log in within {LOGIN_S:.0f} s. Is it busy, or is that no SSH server?"
        )
    if isinstance(error, OSError) and error.filename:
        return BoardUnreachable(f"{clean(str(error.filename))} cannot be read: {error.strerror}. Name the right file for {entry.name}.")
    if isinstance(error, asyncssh.ConnectionLost):
        return BoardUnreachable(f"{entry.name} ({host}) closed the connection before it was made. Try again; its own log says why.")
    reason = clean(str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)) or type(error).__name__
    return BoardUnreachable(f"{entry.name} ({host}) cannot be reached: {reason}. Check its address, and that `ssh` gets there.")


def _key_unusable(entry: Entry, reason: str) -> BoardError:
    key = f"The key {entry.key or 'in ~/.ssh'}"
    if "must be specified" in reason:
        add = f"ssh-add {entry.key}".rstrip()
        return BoardUnreachable(
            f"{key} needs a passphrase and there is no terminal to ask for it. Load it into the SSH agent with `{add}`."
        )
    advice = "Try again, or load it into the SSH agent" if "assphrase" in reason else "Name another, or load it into the SSH agent"
    return BoardUnreachable(f"{key} cannot be used: {clean(reason)}. {advice}.")


def where(entry: Entry) -> str:
    """Host, and port when one was named."""
    return f"{entry.host}:{entry.port}" if entry.port else entry.host


def known_hosts_file(entry: Entry) -> Path:
    """Where the board's host key stands; while it stands nowhere, where it is written down."""
    files = _settings(entry).known_hosts
    return next((file for file in files if _known_in(file, entry)), files[0])


async def host_key(entry: Entry) -> asyncssh.SSHKey:
    """The key that the host at the other end has now, whoever it is; BoardUnreachable when there is none to be had.

    A jump host on the way must be known: HostKeyUnknown names it.
    """
    import asyncssh

    tunnel = await tunnel_to(entry)
    try:
        options = connection_options(entry)
        kept: dict[str, Any] = {key: options[key] for key in ("host", "port", "config") if key in options}
        async with asyncio.timeout(CONNECT_S + LOGIN_S):
            key = await asyncssh.get_server_host_key(**kept, tunnel=tunnel)
    except Exception as error:
        raise unreachable(entry, error) from error
    finally:
        if tunnel:
            tunnel.close()
    if key is None:
        raise BoardUnreachable(f"{entry.name} ({where(entry)}) shows no host key. Check that an SSH server listens there.")
    return key


async def first_key(entry: Entry) -> tuple[Entry, asyncssh.SSHKey]:
    """The first host on the way to the board that is not known, or the board itself, with its key."""
    try:
        return entry, await host_key(entry)
    except HostKeyUnknown as unknown:
        return await first_key(unknown.entry)


def fingerprint(key: asyncssh.SSHKey) -> str:
    """As OpenSSH shows it: ``SHA256:...``."""
    return str(key.get_fingerprint())


def accept(entry: Entry, key: asyncssh.SSHKey) -> Path:
    """Writes the key into the known hosts and returns the file; OutputError when it cannot be written."""
    found = _settings(entry)
    path = found.known_hosts[0]
    kind, data = key.export_public_key().decode().split()[:2]
    line = f"{found.known_as} {kind} {data}\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
                file.write("\n")
            file.write(line)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}. Change permissions, then try again.") from error
    return path


def _key_error(entry: Entry) -> BoardError:
    file = known_hosts_file(entry)
    fields = {"name": entry.name, "board": entry.name.split()[-1], "host": where(entry), "file": file}
    if not _known(entry):
        return HostKeyUnknown(_UNKNOWN.format(**fields), entry)
    other = "" if file == Path("~/.ssh/known_hosts").expanduser() else f" -f {shlex.quote(str(file))}"
    return HostKeyChanged(_CHANGED.format(**fields, known_as=f"'{_settings(entry).known_as}'{other}"))


def _known(entry: Entry) -> bool:
    """Whether some key of the host is written down."""
    return any(_known_in(file, entry) for file in _settings(entry).known_hosts)


def _known_in(file: Path, entry: Entry) -> bool:
    import asyncssh

    found = _settings(entry)
    with contextlib.suppress(OSError, ValueError, asyncssh.Error):
        return any(asyncssh.match_known_hosts(str(file), found.host, "", found.port)[:3])
    return False


def _settings(entry: Entry) -> SshSettings:
    """SSH's settings for the board; those that there are without a file where that cannot be read."""
    with contextlib.suppress(Exception):
        return settings_of(entry)
    return settings_of(replace(entry, ssh_config=os.devnull))
