"""Installing on a board: whole or not at all, whatever is sent and whenever it is cut short. Real environments, real pip, small wheels."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from edgeprof.agent.install import check, install
from edgeprof.agent.installed import Lock, installed, interpreter, place_of, python_of, remove, root_of, tag
from edgeprof.agent.runtimes import Refused
from tests.agent.wheels import NAME, NUMPY, RUNTIME, make_wheel, pip_wheel, runtime_wheels, sent


@pytest.fixture
def board(tmp_path):
    return tmp_path / "board"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return str(path)


def nobody(phase: str, done: int, total: int) -> None:
    """Hears nothing."""


def left(board: Path) -> list[str]:
    return sorted(name for name in os.listdir(root_of(str(board))) if name != ".lock")


INSTALLER = """
import json, sys
from edgeprof.agent.install import install
told = json.load(sys.stdin)
def say(*words):
    print(json.dumps(words), flush=True)
install(told["board"], told["name"], told["wheels"], say, told["model"])
"""


def started(board: Path, model: str, wheels: list[dict], limit_bytes: int | None = None) -> subprocess.Popen:
    limited = None if limit_bytes is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    command = [sys.executable, "-c", INSTALLER]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limited
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"board": str(board), "name": NAME, "wheels": wheels, "model": model}))
    process.stdin.close()
    process.stdin = None  # so that `communicate` leaves it alone
    return process


def test_cut_short_begun_anew_used_and_removed(board, model, tmp_path):
    wheels, heard = sent(board, runtime_wheels(tmp_path)), []
    process = started(board, model, wheels)
    assert next(line for line in process.stdout if "unpack" in line)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert children
    assert not psutil.wait_procs(children, timeout=20)[1], "pip goes on without the agent"
    assert left(board) == [".new-" + NAME]
    assert python_of(str(board)) is None
    assert installed(str(board)) == []

    found = install(str(board), NAME, wheels, lambda *words: heard.append(words), model)
    assert found == {
        "version": "9.9.9",
        "numpy": "8.8.8",
        "providers": ["CPUExecutionProvider"],
        "name": NAME,
        "python": python_of(str(board)),
        "bytes": found["bytes"],
        "already": False,
    }
    assert left(board) == ["chosen", NAME]
    assert not os.listdir(board / "blobs")
    assert list(dict.fromkeys(phase for phase, _, _ in heard)) == ["environment", "unpack", "check"]
    assert all(done <= total for _, done, total in heard)
    place = Path(place_of(str(board), NAME))
    assert {path.name[:6] for path in (place / "bin").iterdir()} == {"python"}
    prefix = subprocess.check_output([found["python"], "-c", "import sys, onnxruntime; print(sys.prefix)"], text=True)
    assert prefix.strip() == str(place)
    (told,) = installed(str(board))
    assert (told["fits"], told["current"], told["version"]) == (True, True, "9.9.9")

    assert install(str(board), NAME, [], nobody) == {**found, "already": True}
    next(place.glob("lib/*/site-packages/numpy/__init__.py")).unlink()
    with pytest.raises(Refused, match="numpy"):
        check(str(board), NAME)
    assert remove(str(board)) == [NAME]
    assert python_of(str(board)) is None
    assert left(board) == []


def test_a_link_that_breaks_meanwhile_ends_it(board, model, tmp_path):
    def say(phase: str, done: int, total: int) -> None:
        if phase == "unpack":
            raise BrokenPipeError(32, "Broken pipe")

    before = psutil.Process().children()
    with pytest.raises(BrokenPipeError):
        install(str(board), NAME, sent(board, runtime_wheels(tmp_path)), say, model)
    assert left(board) == []
    assert psutil.Process().children() == before


def test_no_room_in_the_middle(board, model, tmp_path):
    big = make_wheel(tmp_path, "big", "1", {"big.bin": b"\0" * 3_000_000})
    process = started(board, model, sent(board, [*runtime_wheels(tmp_path), big]), limit_bytes=1_000_000)
    _, errors = process.communicate()
    assert "bytes are needed in" in errors.splitlines()[-1]
    assert left(board) == []


def test_no_room_from_the_start(board, model, tmp_path):
    board.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(board)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        with pytest.raises(Refused, match=r"16\d{6} bytes are needed in .* and \d+ are free") as refused:
            install(str(board), NAME, sent(board, runtime_wheels(tmp_path)), nobody, model)
        assert refused.value.kind == "disk"
        assert left(board) == []
    finally:
        subprocess.run(["umount", str(board)], check=True)


def with_member(folder: Path, name: str, mode: int = 0) -> Path:
    path = make_wheel(folder, "hostile", "1", {})
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, "/etc/passwd")
    return path


def bomb(folder: Path) -> Path:
    """Two members that claim 4 GB each."""
    path = make_wheel(folder, "hostile", "1", {"a": "1", "b": "2"})
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<I", data, at + 24, 0xFFFFFFF0)
        at = data.find(b"PK\x01\x02", at + 4)
    path.write_bytes(data)
    return path


def no_zip(folder: Path) -> Path:
    path = folder / "hostile-1-py3-none-any.whl"
    path.write_bytes(b"PK not really")
    return path


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: with_member(folder, "../../outside"), "would lie outside"),
        (lambda folder: with_member(folder, "/tmp/outside"), "would lie outside"),
        (lambda folder: with_member(folder, "..\\outside"), "would lie outside"),
        (lambda folder: with_member(folder, "hostile-1.data/data/../../../outside"), "would lie outside"),
        (lambda folder: with_member(folder, "link", 0o120777), "a link or a device"),
        (lambda folder: with_member(folder, "pipe", 0o010644), "a link or a device"),
        (bomb, r"claims to hold \d files of 2\d{10} bytes|claims to hold \d files of \d{11} bytes"),
        (no_zip, "is no wheel"),
        (lambda folder: make_wheel(folder, "hostile", "1", {}, tags="cp27-cp27m-win32"), "not a supported wheel on this platform"),
        (lambda folder: folder.joinpath("hostile.exe"), "file name of a wheel"),
        (lambda folder: make_wheel(folder, "pip", "1", {}), "one of them pip's"),
    ],
    ids=["dots", "absolute", "backslash", "data scheme", "symlink", "fifo", "bomb", "no zip", "other platform", "name", "two pips"],
)
def test_hostile_wheels_are_refused_and_nothing_is_left(board, model, tmp_path, make, why):
    path = make(tmp_path)
    if not path.exists():
        path.write_bytes(b"MZ")
    with pytest.raises(Refused, match=why):
        install(str(board), NAME, sent(board, [pip_wheel(), path]), nobody, model)
    assert left(board) == []
    assert not [*tmp_path.rglob("outside"), *tmp_path.parent.glob("outside"), *Path("/tmp").glob("outside")]


def test_a_damaged_wheel_is_removed_so_that_it_is_sent_again(board, model, tmp_path):
    wheels = sent(board, runtime_wheels(tmp_path))
    Path(wheels[2]["path"]).write_bytes(b"\0" * 100)
    with pytest.raises(Refused, match=r"numpy-8\.8\.8-py3-none-any\.whl is damaged"):
        install(str(board), NAME, wheels, nobody, model)
    assert [os.path.exists(wheel["path"]) for wheel in wheels] == [True, True, False]


@pytest.mark.parametrize(
    "name", ["../x", "cp311", "cp27-onnxruntime-1.0", f"{tag()}-tensorflow-1.0", f"{tag()}-onnxruntime-1/0", NAME + "\n"]
)
def test_names_that_are_none(board, name):
    with pytest.raises(Refused, match="expected a runtime for this Python"):
        install(str(board), name, [], nobody)
    with pytest.raises(Refused):
        check(str(board), name)
    with pytest.raises(Refused):
        remove(str(board), name)
    assert not board.exists()


def test_a_runtime_that_does_not_run_is_not_kept(board, model, tmp_path):
    broken = RUNTIME + "\nraise ImportError('libgomp.so.1: cannot open shared object file: No such file or directory')\n"
    with pytest.raises(Refused, match=r"the library libgomp\.so\.1 is missing") as refused:
        install(str(board), NAME, sent(board, runtime_wheels(tmp_path, broken)), nobody, model)
    assert refused.value.kind == "check"
    assert left(board) == []


def test_one_at_a_time(board):
    os.makedirs(root_of(str(board)))
    with Lock(root_of(str(board))):
        for attempt in (lambda: install(str(board), NAME, [], nobody), lambda: remove(str(board))):
            with pytest.raises(Refused, match="another set-up"):
                attempt()


def test_a_folder_that_is_a_file(tmp_path, model):
    (tmp_path / "board").write_text("not a folder")
    with pytest.raises(Refused, match="cannot be written to"):
        install(str(tmp_path / "board"), NAME, [], nobody, model)


def test_the_boards_own_runtime_is_tried_with_its_own_python(monkeypatch, model, tmp_path):
    venv = tmp_path / "own"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "numpy.py").write_text(NUMPY)
    (site / "onnxruntime.py").write_text(RUNTIME)
    monkeypatch.setattr(sys, "executable", interpreter(str(venv)))
    assert check(str(tmp_path), "", model)["version"] == "9.9.9"
