"""Why a runtime does not run, in words."""

from __future__ import annotations

import pytest

from edgeprof.agent.first_run import explain, first_run
from edgeprof.agent.runtimes import Refused

TRACEBACK = 'Traceback (most recent call last):\n  File "<string>", line 3, in <module>\nImportError: '


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("libgomp.so.1: cannot open shared object file: No such file or directory", "the library libgomp.so.1 is missing (Debian"),
        ("libcudart.so.12: cannot open shared object file: No such file", "the library libcudart.so.12 is missing"),
        ("/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by x.so)", "libstdc++ is too old: it has no GLIBCXX_3.4.32"),
        ("/lib/libc.so.6: version `GLIBC_2.38' not found (required by x.so)", "C library is too old: it has no GLIBC_2.38"),
        ("/x/libgomp-d22.so.1: cannot allocate memory in static TLS block", "set LD_PRELOAD to it"),
        ("/x/pybind.so: failed to map segment from shared object", "noexec"),
        ("No module named 'numpy'", "the module numpy is missing"),
        ("something\nelse went wrong", "else went wrong"),
    ],
)  # fmt: skip
def test_what_python_said(said, why):
    assert why in explain(1, TRACEBACK + said)


def test_without_a_word():
    assert explain(3, "") == "exit status 3"
    assert explain(-99, "") == "killed by signal 99"


@pytest.mark.parametrize(("name", "why"), [("ILL", "this CPU lacks an instruction"), ("SEGV", "it crashed"), ("KILL", "out of memory")])
def test_a_signal(tmp_path, name, why):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nkill -{name} $$\n")
    python.chmod(0o700)
    with pytest.raises(Refused, match=f"killed by SIG{name} .*{why}"):
        first_run(str(python), "model.onnx")


def test_no_python(tmp_path):
    with pytest.raises(Refused, match="cannot be started"):
        first_run(str(tmp_path / "python"), "model.onnx")


def test_one_that_says_nothing():
    with pytest.raises(Refused, match="exit status 0"):
        first_run("/bin/true", "model.onnx")
