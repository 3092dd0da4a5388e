"""What a board tells a host before it is set up."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from edgeprof.agent.about import about, libc_of, own_runtime


def test_this_machine(tmp_path):
    folder = tmp_path / "not" / "there"
    told = about(str(folder))
    assert told["machine"] == platform.machine()
    assert told["python"] == platform.python_version()
    assert told["tag"].startswith(f"cp{sys.version_info[0]}{sys.version_info[1]}")
    assert told["bits"] in (32, 64)
    assert told["venv"] is True
    assert told["free_bytes"] > 0
    assert told["unwritable"] == ""
    assert told["own"]["name"].startswith("onnxruntime")
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_said(tmp_path):
    """A Python with nothing of its own."""
    code = "import sys, types; e = types.ModuleType('edgeprof'); e.__path__ = [sys.argv[1]]; sys.modules['edgeprof'] = e\n"
    code += "sys.modules.pop('venv', None); from edgeprof.agent.about import about; print(about(sys.argv[2])['own'])"
    import edgeprof

    told = subprocess.check_output([sys.executable, "-I", "-S", "-c", code, edgeprof.__path__[0], str(tmp_path)], text=True)
    assert told == "None\n"


def test_a_folder_that_cannot_be_written_to():
    assert about("/proc/edgeprof")["unwritable"]


@pytest.mark.parametrize(
    ("files", "libc"),
    [
        ({"lib/ld-musl-aarch64.so.1": ""}, "musl"),
        ({"proc/self/maps": "7f00-7f01 r-xp 00000000 08:01 12 /lib/ld-musl-armhf.so.1\n"}, "musl"),
        ({"lib/ld-linux-aarch64.so.1": "", "proc/self/maps": "7f00-7f01 r-xp 0 08:01 12 /lib/libc.so.6\n"}, ""),
        ({}, ""),
    ],
)
def test_libc_without_a_word_from_the_system(tmp_path, files, libc):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert libc_of(str(tmp_path)) == (libc, "")


@pytest.mark.parametrize(
    ("names", "own"),
    [
        (
            ["onnxruntime_gpu-1.16.0.dist-info", "numpy-1.24.2.egg-info"],
            {"name": "onnxruntime-gpu", "version": "1.16.0", "numpy": "1.24.2"},
        ),
        (["onnxruntime-1.19.2.dist-info", "numpy-2.0.2.dist-info"], {"name": "onnxruntime", "version": "1.19.2", "numpy": "2.0.2"}),
        (["onnxruntime-1.19.2.dist-info"], None),
        (["numpy-2.0.2.dist-info", "onnxruntime"], None),
        (["onnx-1.19.2.dist-info", "numpy-2.0.2-py3.11.egg-info"], None),
    ],
)
def test_own_runtime(tmp_path, names, own):
    for name in names:
        (tmp_path / name).mkdir()
    assert own_runtime([str(tmp_path / "not there"), str(tmp_path)]) == own
