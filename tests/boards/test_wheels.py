"""Wheels for boards: this machine's pip, asked for another one's platform. The index is a folder of small wheels."""

from __future__ import annotations

import os
import zipfile

import pytest

from edgeprof.boards import wheel_store
from edgeprof.boards.about import About
from edgeprof.boards.wheels import abis, platforms, resolve
from edgeprof.errors import BoardError, OutputError, UsageError
from tests.agent.wheels import make_wheel
from tests.boards.test_about import PI

PLATFORM = "manylinux_2_28_aarch64"


def board(python: str = "3.11.2", tag: str = "cp311", **facts: object) -> About:
    return About.parse({**PI, "python": python, "tag": tag, **facts})


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes packages from, and from nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in (("CONFIG_FILE", os.devnull), ("NO_INDEX", "1"), ("FIND_LINKS", str(folder)), ("CACHE_DIR", str(tmp_path / "pip"))):
        monkeypatch.setenv(f"PIP_{name}", value)
    make_wheel(folder, "pip", "99.0", {})
    make_wheel(folder, "numpy", "2.5.5", {"numpy/__init__.py": ""}, tags=f"cp311-cp311-{PLATFORM}")
    make_wheel(folder, "numpy", "1.26.4", {"numpy/__init__.py": ""}, tags=f"cp311-cp311-{PLATFORM}")
    make_wheel(folder, "sympy", "1.14.0", {}, requires=["mpmath"])
    make_wheel(folder, "mpmath", "1.3.0", {})
    return folder


def runtime(index, version: str, *requires: str, tags: str = f"cp311-cp311-{PLATFORM}") -> None:
    make_wheel(index, "onnxruntime", version, {"onnxruntime/__init__.py": "x" * 5000}, tags=tags, requires=requires)


def test_newest_for_the_board_with_what_it_needs_there(index, tmp_path):
    """Neither what is for another Python, C library or machine, nor what only tools need, nor what only this machine's markers ask for."""
    runtime(index, "1.20.0", "numpy", "sympy", 'only-here; platform_machine != "aarch64"', 'only-there; platform_machine == "aarch64"')
    runtime(index, "1.21.0", tags="cp312-cp312-manylinux_2_28_aarch64")
    runtime(index, "1.22.0", tags="cp311-cp311-manylinux_2_39_aarch64")
    runtime(index, "1.23.0", tags="cp311-cp311-manylinux_2_28_riscv64")
    make_wheel(index, "only_here", "1", {})
    make_wheel(index, "only_there", "1", {})
    found = resolve(board(), into=tmp_path / "cache")

    assert found.name == "cp311-onnxruntime-1.20.0"
    assert found.versions == {"numpy": "2.5.5", "onnxruntime": "1.20.0", "only-there": "1", "pip": "99.0"}
    assert found.left_out == ("mpmath", "sympy")
    assert [wheel.path.name for wheel in found.wheels if wheel.is_pip] == ["pip-99.0-py3-none-any.whl"]
    assert found.unpacked_bytes % 4096 == 0
    assert all(wheel.size_bytes == wheel.path.stat().st_size for wheel in found.wheels)

    runtime(index, "1.24.0")
    assert resolve(board(), into=tmp_path / "cache") == found, "the boards of a fleet get the same versions"


def test_versions_before_119_get_a_numpy_before_2(index, tmp_path):
    runtime(index, "1.18.1", "numpy")
    runtime(index, "1.20.0", "numpy")
    assert resolve(board(), into=tmp_path / "cache", version="1.18.1").versions["numpy"] == "1.26.4"


def test_a_version_that_there_is_not(index, tmp_path):
    for version in ("1.19.2", "1.20.0", "1.20.1rc1"):
        runtime(index, version)
    with pytest.raises(BoardError) as told:
        resolve(board(), into=tmp_path / "cache", version="7.7")
    assert str(told.value) == (
        "Expected wheels of onnxruntime 7.7 for CPython 3.11.2 on aarch64 with glibc 2.36 (cp311), and there are none. "
        "This board can have 1.19.2 to 1.20.0."
    )
    with pytest.raises(BoardError, match=r"there are none\. The index that pip uses here has none for such"):
        resolve(board("3.12.1", "cp312"), into=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.fixture
def unreachable(monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://secret:password@127.0.0.1:9/simple")


def test_no_index_can_be_reached(index, unreachable, tmp_path):
    with pytest.raises(BoardError) as told:
        resolve(board(), into=tmp_path / "cache")
    assert "cannot be reached" in str(told.value)
    assert "127.0.0.1" not in str(told.value)
    assert "password" not in str(told.value)


def test_what_was_downloaded_before_serves_without_an_index(index, tmp_path, monkeypatch, request):
    runtime(index, "1.20.0")
    before = resolve(board(), into=tmp_path / "cache")
    monkeypatch.setattr(wheel_store, "FRESH_S", 0.0)
    request.getfixturevalue("unreachable")
    found = resolve(board(), into=tmp_path / "cache")
    assert found.offline
    assert found.wheels == before.wheels

    (saved,) = (tmp_path / "cache" / "sets").iterdir()
    store = wheel_store.Store(tmp_path / "cache")
    assert store.load(saved.stem).wheels == before.wheels
    found.wheels[0].path.write_bytes(b"damaged")
    assert store.load(saved.stem) is None


def test_the_cache_forgets_what_nothing_needs_any_more(index, tmp_path, monkeypatch):
    runtime(index, "1.20.0")
    (old,) = (wheel for wheel in resolve(board(), into=tmp_path / "cache").wheels if not wheel.is_pip)
    runtime(index, "1.21.0")
    monkeypatch.setattr(wheel_store, "FRESH_S", -1.0)
    found = resolve(board(), into=tmp_path / "cache")
    assert found.versions["onnxruntime"] == "1.21.0"
    assert not old.path.exists()
    assert all(wheel.path.exists() for wheel in found.wheels)


def test_a_cache_that_cannot_be_written(index, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="cannot be kept"):
        resolve(board(), into=tmp_path / "cache")


def test_what_pip_calls_a_wheel_and_is_none(index, tmp_path):
    path = index / f"onnxruntime-1.20.0-cp311-cp311-{PLATFORM}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "")
    with pytest.raises(BoardError, match=r"pip could not find wheels|is no wheel"):
        resolve(board(), into=tmp_path / "cache")


@pytest.mark.parametrize("version", ["", "newest", "1.0 --index-url=x", "../1", "1.0\n"])
def test_versions_that_are_none(version, tmp_path):
    with pytest.raises(UsageError, match="Expected the version"):
        resolve(board(), into=tmp_path, version=version)


@pytest.mark.parametrize("facts", [{"tag": "../x"}, {"libc": "", "libc_version": ""}, {"machine": ""}, {"python": "new"}])
def test_boards_that_do_not_say_what_they_are(facts, tmp_path):
    with pytest.raises(BoardError, match="did not say"):
        resolve(board(**{"tag": "cp311", **facts}), into=tmp_path)


def test_tags():
    """As packaging's `manylinux` tags are, of PEP 600 and its forerunners."""
    old = platforms(board(libc_version="2.18"))
    assert old == ["manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"]
    x86 = platforms(board(machine="x86_64", libc_version="2.13"))
    assert x86[:4] == ["manylinux_2_13_x86_64", "manylinux_2_12_x86_64", "manylinux2010_x86_64", "manylinux_2_11_x86_64"]
    assert x86[-3:] == ["manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    assert abis(board()) == ["cp311", "abi3", "none"]
    assert abis(board(tag="cp313t")) == ["cp313t", "none"]
