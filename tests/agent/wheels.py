"""Small wheels made by hand: a stand-in for the runtime and for numpy, and pip's own, which every Python that can make environments has."""

from __future__ import annotations

import base64
import hashlib
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeprof.agent.installed import tag

RUNTIME = """
import numpy
__version__ = "9.9.9"
class SessionOptions: pass
class Input: name, shape = "x", [1]
class InferenceSession:
    def __init__(self, model, options, providers): open(model, "rb").close()
    def get_inputs(self): return [Input]
    def run(self, outputs, feeds): return [feeds["x"]]
def get_available_providers(): return ["CPUExecutionProvider"]
"""
NUMPY = """
__version__ = "8.8.8"
class Array:
    def __init__(self, truth): self.truth = truth
    def all(self): return self.truth
def ones(shape, dtype): return Array(True)
def isfinite(array): return array
"""
NAME = f"{tag()}-onnxruntime-9.9.9"


def make_wheel(
    folder: Path, package: str, version: str, files: Mapping[str, str | bytes], *, tags: str = "py3-none-any", requires: Sequence[str] = ()
) -> Path:
    """A wheel that pip takes, with ``files`` beside its metadata."""
    path = folder / f"{package}-{version}-{tags}.whl"
    info = f"{package}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}", *(f"Requires-Dist: {text}" for text in requires)]
    contents = {
        **files,
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: {tags}\n",
    }
    data = {name: text.encode() if isinstance(text, str) else text for name, text in contents.items()}
    record = [f"{name},sha256={_digest(each)},{len(each)}" for name, each in data.items()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in data.items():
            archive.writestr(name, each)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    return path


def pip_wheel() -> Path:
    """The wheel of pip that comes with this Python."""
    import ensurepip

    folders = [Path(ensurepip.__file__).parent / "_bundled", Path(sysconfig.get_config_var("WHEEL_PKG_DIR") or "/usr/share/python-wheels")]
    found = [path for folder in folders for path in folder.glob("pip-*.whl")]
    if not found:
        pytest.skip(f"{sys.executable} comes without a wheel of pip")
    return found[0]


def runtime_wheels(folder: Path, runtime: str = RUNTIME) -> list[Path]:
    """pip, the stand-in for a runtime, and what it needs."""
    script = {"onnxruntime-9.9.9.data/scripts/onnxruntime_test": "#!python\nprint(1)\n"}
    return [
        pip_wheel(),
        make_wheel(folder, "onnxruntime", "9.9.9", {"onnxruntime/__init__.py": runtime, **script}, requires=["numpy"]),
        make_wheel(folder, "numpy", "8.8.8", {"numpy/__init__.py": NUMPY}),
    ]


def sent(board: Path, wheels: Iterable[Path]) -> list[dict[str, Any]]:
    """Copies wheels to a board's folder, as a host does; what it tells of them."""
    (board / "blobs").mkdir(parents=True, exist_ok=True)
    told = []
    for wheel in wheels:
        data = wheel.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        place = board / "blobs" / digest
        place.write_bytes(data)
        told.append({"filename": wheel.name, "sha256": digest, "path": str(place)})
    return told


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
