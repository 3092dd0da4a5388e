"""Boards that cannot be set up, and those whose answers are not to be trusted."""

from __future__ import annotations

import pytest

from edgeprof.boards.about import About, Installation, refusal

PI = {
    "system": "Linux", "machine": "aarch64", "bits": 64, "libc": "glibc", "libc_version": "2.36", "python": "3.11.2", "tag": "cp311",
    "implementation": "CPython", "venv": True, "folder": "/home/pi/.cache/edgeprof", "free_bytes": 10**10, "unwritable": "",
}  # fmt: skip


def test_a_board_that_can_be_set_up():
    about = About.parse(PI)
    assert refusal(about) is None
    assert about.words == "CPython 3.11.2 on aarch64 with glibc 2.36"
    assert (about.python_version, about.glibc) == ((3, 11, 2), (2, 36))


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"machine": "armv7l", "bits": 32}, "Expected a 64-bit board (x86_64 or aarch64), came armv7l"),
        ({"machine": "armv7l", "bits": None}, "came armv7l"),
        ({"machine": "armv6l", "bits": 32}, "came armv6l"),
        ({"machine": "i686", "bits": 32}, "came i686"),
        ({"bits": 32}, "Expected a 64-bit Python on the board, came a 32-bit one on aarch64"),
        ({"libc": "musl", "libc_version": ""}, "Expected glibc on the board, came musl"),
        ({"python": "3.6.9", "tag": "cp36"}, "Expected Python 3.8 or newer on the board, came 3.6.9"),
        ({"python": "2.7.18", "tag": "cp27"}, "came 2.7.18"),
        ({"implementation": "PyPy", "tag": "pp310"}, "Expected CPython on the board, came PyPy"),
        ({"system": "Darwin", "machine": "arm64"}, "Expected Linux on the board, came Darwin"),
        ({"machine": "riscv64"}, "came riscv64: ONNX Runtime has no wheels for it"),
        ({"venv": False}, "apt-get install python3-venv"),
        ({"unwritable": "Read-only file system"}, "/home/pi/.cache/edgeprof cannot be written to: Read-only file system"),
    ],
)
def test_refusals(facts, says):
    reason = refusal(About.parse({**PI, **facts}))
    assert reason is not None
    assert says in reason
    assert reason.endswith(".")


def test_a_python_too_old_for_the_agent_tells_its_version_alone():
    assert "JetPack 4" in refusal(About.parse({"python": "3.6.9"}))
    assert refusal(About.parse({})) is None


def test_answers_of_a_hostile_board():
    about = About.parse({
        "python": "3.11.2\x1b[2J\nnext", "machine": "a" * 10**6, "folder": ["x"], "free_bytes": -1, "bits": True, "venv": "yes", "own": 7,
        "libc_version": "2.36", "libc": "glibc\u202e", "installed": [3, {"name": "n\0", "fits": 1, "runtime": {}}] + [{}] * 10**4,
        "unwritable": float("nan"), "tag": None,
    })  # fmt: skip
    assert about.python == "3.11.2 [2J next"
    assert about.python_version == (3, 11, 2)
    assert len(about.machine) == 200
    assert (about.folder, about.unwritable, about.tag) == ("", "", "")
    assert (about.free_bytes, about.bits, about.venv, about.own) == (None, None, None, None)
    assert about.installed[0] == Installation("n", "", "", fits=False, current=False)
    assert len(about.installed) < 200
    assert about.glibc == (2, 36)
    assert [About.parse({"free_bytes": number}).free_bytes for number in (10**400, float("inf"), True)] == [None] * 3
