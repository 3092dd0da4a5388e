"""The agent runs on any Python from 3.8 on, with nothing but the standard library."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import edgeprof.agent
from edgeprof.agent import protocol
from edgeprof.boards.package import agent_zipapp

FOLDER = Path(edgeprof.agent.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
OWN_IMPORTS = {
    "runtimes/onnxruntime.py": {"numpy", "onnxruntime"},
    "runtimes/onnx_layers.py": {"numpy"},
    "sensors/nvml.py": {"pynvml"},
}
"""What a file may import beside the standard library: a runtime its own, a sensor its driver."""


def python_38() -> str | None:
    found = shutil.which("python3.8")
    works = found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0
    if works:
        return found
    homes = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))
    return str(homes[0]) if homes else None


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "agent.pyz"
    path.write_bytes(agent_zipapp())
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_syntax_of_38(path):
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_standard_library_only(path):
    allowed = set(sys.stdlib_module_names) | OWN_IMPORTS.get(path.relative_to(FOLDER).as_posix(), set())
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }  # fmt: skip
    assert imported <= allowed


def test_archive_holds_the_agent_and_nothing_else():
    with zipfile.ZipFile(io.BytesIO(agent_zipapp())) as archive:
        names = set(archive.namelist())
    assert names == {"__main__.py", *(f"edgeprof_agent/{path.relative_to(FOLDER).as_posix()}" for path in FILES)}
    assert "edgeprof_agent" not in packages_distributions()


def test_archive_is_the_same_each_time():
    before = agent_zipapp()
    agent_zipapp.cache_clear()
    assert agent_zipapp() == before


def talk(python: str, archive: Path, words: bytes) -> tuple[list[protocol.Frame], int]:
    done = subprocess.run([python, "-I", "-S", str(archive)], input=words, capture_output=True, check=False)
    stream, frames = io.BytesIO(done.stdout), []
    while (frame := protocol.read(stream)) is not None:
        frames.append(frame)
    return frames, done.returncode


@pytest.fixture(params=["this", "3.8"])
def python(request):
    found = sys.executable if request.param == "this" else python_38()
    if found is None:
        pytest.skip("no Python 3.8 on PATH")
    return found


def test_hello_and_bye(python, archive):
    (hello,), status = talk(python, archive, protocol.encode("bye", {}))
    assert hello.type == "hello"
    assert hello.fields["protocol"] == protocol.PROTOCOL
    assert status == 0


def test_hello_and_silence(python, archive):
    frames, status = talk(python, archive, b"")
    assert [frame.type for frame in frames] == ["hello"]
    assert status == 0


def test_health_without_a_runtime(python, archive):
    (_, result), status = talk(python, archive, protocol.encode("health", {}))
    assert result.fields["environment"]["python"]
    assert "not installed" in result.fields["runtimes"]["onnxruntime"]["error"]
    assert status == 0


def test_job_without_a_runtime(python, archive):
    job = {"frames": 0, "options": {}, "workdir": ".", "compression": 0, "runtime": "onnxruntime"}
    frames, status = talk(python, archive, protocol.encode("job", job))
    assert frames[-1].type == "error"
    assert frames[-1].fields["kind"] == "no-runtime"
    assert "onnxruntime is not installed" in frames[-1].fields["message"]
    assert status == 1


def test_word_out_of_turn(python, archive):
    frames, status = talk(python, archive, protocol.encode("trace", {}))
    assert frames[-1].fields["kind"] == "protocol"
    assert status == 2


def test_noise_ends_it(python, archive):
    frames, status = talk(python, archive, b"GET / HTTP/1.1\r\n\r\n")
    assert [frame.type for frame in frames] == ["hello"]
    assert status != 0
