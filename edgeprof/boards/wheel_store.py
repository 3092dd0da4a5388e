"""This user's cache of wheels for boards: what was downloaded once is there without a network too."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FRESH_S = 12 * 3600.0
"""So long what the index said is the newest is not asked for again: the boards of a fleet get the same versions."""
_BLOCK_BYTES = 4096


@dataclass(frozen=True)
class Wheel:
    """A wheel in the cache; ``unpacked_bytes`` is what it takes on a disk."""

    path: Path
    sha256: str
    size_bytes: int
    unpacked_bytes: int

    @property
    def is_pip(self) -> bool:
        """Whether it is pip's, which installs the others and is not installed itself."""
        return self.path.name.startswith("pip-")


@dataclass(frozen=True)
class Resolved:
    """What a board needs: ``name`` of the installation, its wheels (pip's too), versions by package, and which were left out."""

    name: str
    runtime: str
    wheels: tuple[Wheel, ...]
    versions: dict[str, str]
    left_out: tuple[str, ...] = ()
    asked_unix_s: float = 0.0
    offline: bool = False
    """True when no index could be reached, and this is what it said at ``asked_unix_s``."""

    @property
    def unpacked_bytes(self) -> int:
        """What all of them take on a disk."""
        return sum(wheel.unpacked_bytes for wheel in self.wheels if not wheel.is_pip)

    @property
    def version(self) -> str:
        """The runtime's."""
        return self.versions[self.runtime]

    @property
    def is_fresh(self) -> bool:
        """Whether the index need not be asked again."""
        return 0 <= time.time() - self.asked_unix_s < FRESH_S

    def from_before(self) -> Resolved:
        """The same, for when no index can be reached."""
        return dataclasses.replace(self, offline=True)


class Store:
    """Wheels in ``<sha256>/<filename>``, and which of them belong together in ``sets/<key>.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def room(self) -> Iterator[Path]:
        """A folder beside the wheels, to download into; removed in the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="download-", dir=self.folder, ignore_cleanup_errors=True) as name:
            yield Path(name)

    def load(self, key: str) -> Resolved | None:
        """The set that was saved as ``key``; None when there is none or a file of it is not what it was."""
        try:
            saved = json.loads(self._index(key).read_text(encoding="utf-8"))
            wheels = tuple(self._wheel(self.folder / each["sha256"] / each["filename"]) for each in saved["wheels"])
            if [wheel.sha256 for wheel in wheels] != [each["sha256"] for each in saved["wheels"]]:
                return None
            return _resolved(saved["tag"], saved["runtime"], wheels, tuple(saved["left_out"]), float(saved["asked_unix_s"]))
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None

    def save(self, key: str, tag: str, runtime: str, downloaded: Sequence[Path], left_out: tuple[str, ...]) -> Resolved:
        """Takes the downloaded files in, and remembers them as the set ``key``."""
        wheels = []
        for path in downloaded:
            wheel = self._wheel(path)
            place = self.folder / wheel.sha256 / path.name
            place.parent.mkdir(exist_ok=True)
            path.replace(place)
            wheels.append(Wheel(place, wheel.sha256, wheel.size_bytes, wheel.unpacked_bytes))
        found = _resolved(tag, runtime, tuple(wheels), left_out, time.time())
        saved = {
            "tag": tag,
            "runtime": runtime,
            "asked_unix_s": found.asked_unix_s,
            "left_out": left_out,
            "wheels": [{"filename": wheel.path.name, "sha256": wheel.sha256} for wheel in wheels],
        }
        index = self._index(key)
        index.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False, encoding="utf-8") as file:
            json.dump(saved, file, indent=1)
        Path(file.name).replace(index)
        self._forget()
        return found

    def _forget(self) -> None:
        """Removes wheels that are in no set any more; those of today may be in another process's that is not yet written."""
        used = {each["sha256"] for index in self.folder.glob("sets/*.json") for each in json.loads(index.read_text())["wheels"]}
        for entry in self.folder.iterdir():
            if re.fullmatch("[0-9a-f]{64}", entry.name) and entry.name not in used and time.time() - entry.stat().st_mtime > FRESH_S:
                shutil.rmtree(entry, ignore_errors=True)

    def _index(self, key: str) -> Path:
        return self.folder / "sets" / f"{key}.json"

    @staticmethod
    def _wheel(path: Path) -> Wheel:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(-(-member.file_size // _BLOCK_BYTES) * _BLOCK_BYTES for member in archive.infolist())
        return Wheel(path, digest, path.stat().st_size, unpacked)


def package_of(wheel: Path) -> str:
    """The normalised name of the package that a wheel's file name tells."""
    return re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()


def _resolved(tag: str, runtime: str, wheels: tuple[Wheel, ...], left_out: tuple[str, ...], asked_unix_s: float) -> Resolved:
    versions = {package_of(wheel.path): wheel.path.name.split("-")[1] for wheel in wheels}
    return Resolved(f"{tag}-{runtime}-{versions[runtime]}", runtime, wheels, versions, left_out, asked_unix_s)
