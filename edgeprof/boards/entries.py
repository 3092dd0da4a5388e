"""``boards.toml``: the boards that a user named, in the user's settings and in the project's folder, which comes first.

    [pi5]
    address = "ssh://pi@192.168.1.20"     # or a name from ~/.ssh/config
    python = "python3.11"                 # default: python3
    sensors = ["pi_pmic", "thermal"]      # default: all that are there
    cache_mb = 1000                       # room for models that were sent there

No password is ever kept: keys, the SSH agent and passphrases that are asked for do the rest.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgeprof.errors import OutputError, UsageError, did_you_mean

FILE = "boards.toml"
RESERVED = ("local", "simulated", "replay")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One board of the user's.

    ``address`` is ``ssh://user@host:port`` or a name that ``~/.ssh/config`` knows; ``jump`` a host to go through, as ``ssh -J`` takes it.
    ``key``, ``known_hosts`` and ``ssh_config`` are files to use in place of the usual ones. ``python`` is the interpreter there,
    ``folder`` where edgeprof keeps its files there, ``lock`` the file that keeps two measurements apart (empty: the board's own).
    ``sensors``: families to read, None for all. ``cache_mb``: room for files that were sent there; ``time_limit_s``: of a measurement,
    None for no limit.
    """

    name: str
    address: str
    jump: str = ""
    key: str = ""
    known_hosts: str = ""
    ssh_config: str = ""
    python: str = "python3"
    folder: str = "~/.cache/edgeprof"
    lock: str = ""
    sensors: tuple[str, ...] | None = None
    cache_mb: int = 2048
    time_limit_s: float | None = None

    @property
    def user(self) -> str | None:
        """User of the address, None for what SSH's own settings say."""
        user = urlsplit(self.address).username
        return unquote(user) if user else None

    @property
    def host(self) -> str:
        """Host of the address, or its name in SSH's settings."""
        return urlsplit(self.address).hostname or ""

    @property
    def port(self) -> int | None:
        """Port of the address, None for what SSH's own settings say."""
        return urlsplit(self.address).port

    @property
    def jump_host(self) -> Entry | None:
        """The last host that ``jump`` names, itself reached through those before it; None when there is none.

        It has the board's key, known hosts and settings. UsageError when it is no address.
        """
        before, _, last = self.jump.rpartition(",")
        if not self.jump:
            return None
        host = entry_for(last.strip(), "jump")
        return replace(
            host, name=f"the jump host of {self.name}", jump=before, key=self.key, known_hosts=self.known_hosts, ssh_config=self.ssh_config
        )


def user_file() -> Path:
    """The user's own boards file, whether there is one or not; ``EDGEPROF_BOARDS`` names another."""
    named = os.environ.get("EDGEPROF_BOARDS")
    if named:
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("edgeprof") / FILE


def project_file() -> Path:
    """The boards file of the current folder, whether there is one or not."""
    return Path(FILE)


def read_entries() -> dict[str, Entry]:
    """All boards by name; those of the project's file stand for those of the same name in the user's.

    Raises:
        UsageError: a file says something that makes no sense; the sentence names file and board.
    """
    return {entry.name: entry for path in (user_file(), project_file()) for entry in _entries_of(path)}


def entry_of(name: str) -> Entry | None:
    """The board of this name; None when nobody named one so."""
    return read_entries().get(name)


def entry_for(address: str, name: str = "", **options: Any) -> Entry:
    """A checked entry for ``address``; without a ``name`` it is called by the address's host."""
    text, shown = address if "://" in address else f"ssh://{address}", ascii(_without_password(address))[1:-1]
    advice = "Give ssh://user@host:port or a name from ~/.ssh/config."
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"'{shown}' is no address. {advice}") from error
    if parts.password is not None:
        raise UsageError("The address holds a password; edgeprof keeps none. Leave it out and use a key (ssh-copy-id) or the SSH agent.")
    if parts.scheme != "ssh" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"'{shown}' is no address. {advice}")
    if any(not c.isprintable() or c.isspace() for c in unquote(text)) or parts.hostname.startswith("-"):
        raise UsageError(f"'{shown}' is no address: it holds characters that no host's name has. {advice}")
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"'{shown}' is no address: a port is a number from 1 to 65535.")
    return checked(Entry(name or parts.hostname, text.rstrip("/"), **options))


def checked(entry: Entry) -> Entry:
    """``entry`` itself; UsageError when it makes no sense."""
    if not NAME.fullmatch(entry.name):
        raise UsageError(f"'{ascii(entry.name)[1:-1]}' cannot be a board's name. Use up to 64 letters, digits, '.', '_' and '-'.")
    if entry.name in RESERVED:
        raise UsageError(f"'{entry.name}' is a board that every machine has. Choose another name.")
    if not 0 < entry.cache_mb <= 1 << 20:
        raise UsageError(f"cache_mb of {entry.name} is {entry.cache_mb}; give megabytes from 1 to {1 << 20}.")
    if entry.time_limit_s is not None and not 0 < entry.time_limit_s < float("inf"):
        raise UsageError(f"time_limit_s of {entry.name} is {entry.time_limit_s}; give a number of seconds above 0, or leave it out.")
    host: Entry | None = entry
    while host is not None:
        host = host.jump_host
    for field in ("python", "folder"):
        if not getattr(entry, field) or "\0" in getattr(entry, field):
            raise UsageError(f"{field} of {entry.name} is empty; leave it out for '{getattr(Entry('x', 'y'), field)}'.")
    return entry


def add(entry: Entry, path: Path | None = None, *, replace_it: bool = False) -> Path:
    """Writes ``entry`` into a boards file (the user's unless ``path`` names another) and returns which; the rest of the file stays as it
    is.

    Raises:
        UsageError: there is a board of this name and ``replace_it`` is False.
        OutputError: the file cannot be written.
    """
    import tomlkit

    file = path or user_file()
    document = _document(file)
    if entry.name in document and not replace_it:
        raise UsageError(f"There is a board '{entry.name}' in {file} already. Choose another name, remove it first, or use --replace.")
    table = tomlkit.table()
    for field in fields(Entry):
        value = getattr(entry, field.name)
        if field.name != "name" and value != field.default:
            table[field.name] = list(value) if isinstance(value, tuple) else value
    document[entry.name] = table
    _write(file, tomlkit.dumps(document))
    return file


def remove(name: str) -> Path:
    """Takes a board out of the file that it stands in, and returns which; UsageError when it stands in none."""
    import tomlkit

    for file in (project_file(), user_file()):
        document = _document(file)
        if name in document:
            del document[name]
            _write(file, tomlkit.dumps(document))
            return file
    raise UsageError(f"There is no board '{name}' in {user_file()}{did_you_mean(name, read_entries())}.")


def _entries_of(path: Path) -> Iterator[Entry]:
    known = {field.name for field in fields(Entry)} - {"name"}
    for name, said in _parsed(path).items():
        where = f"Board '{ascii(name)[1:-1]}' in {path}"
        if not isinstance(said, Mapping):
            raise UsageError(f'{where} is no table. Write [{name}] and below it address = "ssh://user@host".')
        for key in said:
            if key in ("password", "passphrase"):
                raise UsageError(f"{where} holds a {key}; edgeprof keeps none. Remove it and use a key or the SSH agent.")
            if key not in known:
                raise UsageError(
                    f"{where} has '{key}', which means nothing{did_you_mean(key, known)}. Known are: {', '.join(sorted(known))}."
                )
        if not isinstance(said.get("address"), str):
            raise UsageError(f'{where} has no address. Add address = "ssh://user@host".')
        options = {key: _value(where, key, value) for key, value in said.items() if key != "address"}
        yield (
            replace(entry_for(said["address"], name), **options)
            if not options
            else checked(replace(entry_for(said["address"], name), **options))
        )


def _value(where: str, key: str, value: Any) -> Any:
    if key == "sensors":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f'{where}: sensors is {value!r}; expected a list of names such as ["thermal"].')
        return tuple(value)
    wanted: tuple[type, ...] = {"cache_mb": (int,), "time_limit_s": (int, float)}.get(key, (str,))
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise UsageError(f"{where}: {key} is {value!r}; expected {'a number' if int in wanted else 'a text'}.")
    return value


def _parsed(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} cannot be read: {error}. Correct it, or move it away and add the boards again.") from error


def _document(path: Path) -> Any:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    _parsed(path)
    try:
        return tomlkit.parse(_text(path))
    except TOMLKitError as error:
        raise UsageError(f"{path} cannot be read: {error}. Correct it, or move it away and add the boards again.") from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UsageError(f"{path} is larger than {_MOST_BYTES:,} bytes; a boards file is not.")
        return data.decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} cannot be read: it is no UTF-8 text. Save it as UTF-8.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}. Free space or change permissions, then try again."
        ) from error


def _without_password(address: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1@", address)
