"""The bundle ``NAME.edgeprof``: a Profile as one zip file that other tools can read too.

``profile.json`` (schema version, origin, context, findings, what became of each node, sha256 of each other member),
``layers.parquet``, ``runs.parquet``, ``spans.parquet``, ``samples.parquet``, ``windows.parquet``, ``tensors.parquet`` and ``graph.json``.

Rules:

1. A bundle is written under another name in the same folder, flushed to the disk and renamed: never half a one.
2. The same Profile gives the same bytes.
3. A bundle may come from anyone. Only the members above are read, never unpacked to disk; sizes are limited before memory
   is taken; types and checksums are checked; nothing in it is ever run.
4. A newer schema is refused with a sentence; an older one is upgraded by `UPGRADES`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from edgeprof.errors import BundleDamaged, BundleError, BundleTooNew, OutputError
from edgeprof.records import members
from edgeprof.records.members import Header, MemberError
from edgeprof.records.profile import Finding, Profile, empty_table
from edgeprof.records.schema import SCHEMA_VERSION, TABLES

HEADER, GRAPH = "profile.json", "graph.json"
TABLE_MEMBERS: Mapping[str, str] = {name: f"{name}.parquet" for name in TABLES}
FIRST_VERSION: Mapping[str, int] = {"windows": 2, "tensors": 2}
"""Schema version that a table first stood in; the others were there from the start."""

FILE_LIMIT = 1 << 30
"""Bytes of the whole file, and of all its members together."""

MEMBER_LIMIT = 512 << 20
"""Bytes of one member, unpacked."""

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, LookupError, OverflowError)
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Contents:
    """A bundle as it was written, whatever its version: JSON decoded, tables as arrow, nothing checked against the schema yet.

    ``graph`` is None when there is none. Members that could not be read are in ``damaged``, with the reason.
    """

    header: dict[str, Any]
    tables: dict[str, pa.Table]
    graph: dict[str, Any] | None
    damaged: dict[str, str] = field(default_factory=dict)


def _from_1(old: Contents) -> Contents:
    """Version 2 has windows, tensors, more about memory and energy (neither of which version 1 measured by layer)."""
    context = dict(old.header["context"])
    peaks = context.pop("peak_memory_bytes", {})
    context["memory"] = {"process": {str(phase): {"peak_bytes": peak} for phase, peak in peaks.items()}}
    tables = {name: members.empty_arrow(name) for name in ("windows", "tensors")} | old.tables
    if "layers" in tables:
        blank = pa.array([float("nan")] * len(tables["layers"]), pa.float64())
        for name in ("live_memory_bytes", "energy_closed_mj", "latency_isolated_ms"):
            tables["layers"] = tables["layers"].append_column(name, blank)
    return Contents({**old.header, "context": context}, tables, old.graph, old.damaged)


UPGRADES: tuple[Callable[[Contents], Contents], ...] = (_from_1,)
"""``UPGRADES[v - 1]`` makes contents of version ``v`` into those of ``v + 1``."""


def save(profile: Profile, path: str | Path) -> None:
    """Writes ``path``; OutputError when that fails, and then a file that was there before is untouched.

    Numbers in the context that are NaN or infinite are saved as not known (None). BundleError when the profile holds something
    that has no place in a bundle.
    """
    try:
        data = _zipped(_member_bytes(profile))
    except (MemberError, UnicodeEncodeError, pa.ArrowException) as error:
        raise BundleError(f"This profile cannot be saved: {error}.") from error
    write_atomically(Path(path), data)


def load(path: str | Path, *, partial: bool = False) -> Profile:
    """The Profile in ``path``.

    BundleError when it is no bundle, BundleTooNew when it was written by a newer edgeprof, BundleDamaged when members are
    missing or damaged.
    ``partial`` loads the rest of a damaged one, with empty tables or no graph in place of what is damaged, and a Finding that says
    so; without ``profile.json`` nothing can be loaded.
    """
    path = Path(path)
    archive = _open(path)
    with archive:
        contents = _upgraded(_read(archive, path), path)
    return _profile(contents, path, partial=partial)


def _member_bytes(profile: Profile) -> dict[str, bytes]:
    data = {member: members.table_bytes(name, getattr(profile, name)) for name, member in TABLE_MEMBERS.items()}
    if profile.graph is not None:
        data[GRAPH] = members.graph_bytes(profile.graph)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
    header = Header(profile.origin, profile.parent, profile.context, profile.findings, profile.nodes, sums)
    data = {HEADER: members.header_bytes(header), **data}
    too_big = [name for name, content in data.items() if len(content) > MEMBER_LIMIT]
    if too_big or sum(map(len, data.values())) > FILE_LIMIT:
        raise MemberError(f"it is too big ({', '.join(too_big) or 'all members together'})")
    return data


def _zipped(data: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in data.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # the same bytes on every system
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".parquet") else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def write_atomically(path: Path, data: bytes) -> None:
    """Writes ``data`` under another name, flushes it to the disk and renames it to ``path``; OutputError when that fails."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}. Free some space, or choose another folder.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the new name survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _open(path: Path) -> zipfile.ZipFile:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise BundleError(f"Cannot read {path}: {error.strerror or error}. Give the path of a .edgeprof bundle.") from error
    if len(data) > FILE_LIMIT:
        raise BundleError(f"{path.name} is larger than {FILE_LIMIT >> 30} GiB; no bundle is.")
    if not data.startswith(b"PK"):
        came = "is empty" if not data else "is not a zip file"
        raise BundleError(f"{path.name} {came}. Expected a .edgeprof bundle, as Profile.save writes it.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _ZIP_ERRORS as error:
        raise BundleDamaged(f"{path.name} is cut off or damaged: its list of members cannot be read ({error}). Copy it again.") from error
    _check_members(archive, path)
    return archive


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuses two members of one name, and sizes that no bundle has, before anything is unpacked."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) <= 1000 else []
    if len(names) > 1000 or twice:
        raise BundleError(
            f"{path.name} is not a bundle: it holds {'two members named ' + repr(twice[0]) if twice else 'too many members'}."
        )
    known = [info for info in infos if info.filename in {HEADER, GRAPH, *TABLE_MEMBERS.values()}]
    if any(info.file_size > MEMBER_LIMIT for info in known) or sum(info.file_size for info in known) > FILE_LIMIT:
        raise BundleError(f"{path.name} claims to unpack to more than {MEMBER_LIMIT >> 20} MiB a member; it was not read.")


def _read(archive: zipfile.ZipFile, path: Path) -> Contents:
    """All members that can be read; BundleDamaged when ``profile.json`` cannot."""
    try:
        header = members.json_from(_unpack(archive, HEADER))
    except MemberError as error:
        if HEADER not in archive.namelist():
            raise BundleDamaged(
                f"{path.name} is not a bundle or is damaged: {HEADER} is missing. Give a .edgeprof file.", (HEADER,)
            ) from error
        raise BundleDamaged(f"{path.name} is damaged: {HEADER} cannot be read ({error}).", (HEADER,)) from error
    _check_version(header, path)
    contents = Contents(header, {}, None)
    sums = header.get("members")
    sums = sums if isinstance(sums, dict) else {}
    for name, member in TABLE_MEMBERS.items():
        if FIRST_VERSION.get(name, 1) > header["schema_version"]:
            continue
        with _noting(contents.damaged, member):
            contents.tables[name] = members.arrow_from(name, _checked(archive, member, sums))
    graph = None
    if GRAPH in sums:
        with _noting(contents.damaged, GRAPH):
            graph = members.json_from(_checked(archive, GRAPH, sums))
    return Contents(header, contents.tables, graph, contents.damaged)


@contextlib.contextmanager
def _noting(damaged: dict[str, str], member: str) -> Any:
    """Notes a MemberError of ``member`` and goes on."""
    try:
        yield
    except MemberError as error:
        damaged[member] = str(error)


def _unpack(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        info = archive.getinfo(member)
    except KeyError as error:
        raise MemberError("it is missing") from error
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MemberError("it is packed in an unexpected way")
    try:
        return archive.read(info)
    except _ZIP_ERRORS as error:
        raise MemberError(str(error) or type(error).__name__) from error


def _checked(archive: zipfile.ZipFile, member: str, sums: Mapping[str, object]) -> bytes:
    data = _unpack(archive, member)
    if hashlib.sha256(data).hexdigest() != sums.get(member):
        raise MemberError("its checksum is wrong")
    return data


def _check_version(header: Mapping[str, Any], path: Path) -> None:
    version = header.get("schema_version")
    if type(version) is not int or version < 1:
        raise BundleDamaged(f"{path.name} is not a bundle or is damaged: {HEADER} names no schema version.", (HEADER,))
    if version > SCHEMA_VERSION:
        raise BundleTooNew(
            f"{path.name} was written by a newer edgeprof (schema {version}; this one reads up to {SCHEMA_VERSION}). "
            "Update edgeprof to open it."
        )


def _upgraded(contents: Contents, path: Path) -> Contents:
    version = contents.header["schema_version"]
    for upgrade in UPGRADES[version - 1 :]:
        try:
            contents = upgrade(contents)
        except (MemberError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError) as error:
            raise BundleDamaged(f"{path.name} is damaged: it does not hold what schema {version} says ({error}).", (HEADER,)) from error
    return contents


def _profile(contents: Contents, path: Path, *, partial: bool) -> Profile:
    """Everything checked against the types and the schema of the current version."""
    damaged = dict(contents.damaged)
    try:
        header = members.header_from(contents.header)
    except MemberError as error:
        raise BundleDamaged(f"{path.name} is damaged: {HEADER} holds something unexpected ({error}).", (HEADER,)) from error
    tables: dict[str, pd.DataFrame] = {}
    for name, member in TABLE_MEMBERS.items():
        if name in contents.tables:
            with _noting(damaged, member):
                tables[name] = members.table_from(name, contents.tables[name])
    graph = None
    if contents.graph is not None:
        with _noting(damaged, GRAPH):
            graph = members.graph_from(contents.graph)
    if damaged and not partial:
        raise BundleDamaged(
            f"{path.name} is damaged: {_listed(damaged)}. Read the rest with --partial (Python: load(..., partial=True)).", tuple(damaged)
        )
    findings = header.findings
    if damaged:
        findings += (Finding("bundle-damaged", "error", f"The file was damaged and not all of it could be read: {_listed(damaged)}."),)
    tables |= {name: empty_table(name) for name in TABLES if name not in tables}
    return Profile(
        **tables, context=header.context, origin=header.origin, parent=header.parent, graph=graph, nodes=header.nodes, findings=findings
    )


def _listed(damaged: Mapping[str, str]) -> str:
    return "; ".join(f"{member} ({reason})" for member, reason in damaged.items())
