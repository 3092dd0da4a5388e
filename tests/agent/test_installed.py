"""Which of several installations jobs use, and which are none."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from edgeprof.agent.installed import choose, installed, interpreter, place_of, python_of, remove, tag, this_python


def put(folder: Path, name: str, **changes: object) -> str:
    place = Path(place_of(str(folder), name))
    (place / "bin").mkdir(parents=True)
    os.symlink(sys.executable, interpreter(str(place)))
    made_for = dict(zip(("tag", "machine", "bits"), this_python(), strict=True))
    (place / "edgeprof.json").write_text(json.dumps({**made_for, **changes}))
    return interpreter(str(place))


def names(folder: Path) -> list[str]:
    return [manifest["name"] for manifest in installed(str(folder))]


def test_newest_by_number_until_one_is_chosen(tmp_path):
    old, rc, new = (put(tmp_path, f"{tag()}-onnxruntime-{version}") for version in ("1.9.0", "1.10.0rc1", "1.10.0"))
    assert python_of(str(tmp_path)) == new
    choose(str(tmp_path), f"{tag()}-onnxruntime-1.9.0")
    assert python_of(str(tmp_path)) == old
    assert [manifest["version"] for manifest in installed(str(tmp_path)) if manifest["current"]] == ["1.9.0"]
    remove(str(tmp_path), f"{tag()}-onnxruntime-1.9.0")
    remove(str(tmp_path), f"{tag()}-onnxruntime-1.10.0")
    assert python_of(str(tmp_path)) == rc


@pytest.mark.parametrize("changes", [{"tag": "cp399"}, {"machine": "pdp11"}, {"bits": 16}])
def test_made_for_another_python(tmp_path, changes):
    name = f"{tag()}-onnxruntime-1.9.0"
    put(tmp_path, name, **changes)
    choose(str(tmp_path), name)
    assert python_of(str(tmp_path)) is None
    assert [(manifest["fits"], manifest["current"]) for manifest in installed(str(tmp_path))] == [(False, False)]
    assert remove(str(tmp_path)) == [name]


def test_the_python_it_was_made_with_is_gone(tmp_path):
    python = Path(put(tmp_path, f"{tag()}-onnxruntime-1.9.0"))
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert python_of(str(tmp_path)) is None


@pytest.mark.parametrize("manifest", ["", "[]", "null", "{}", '{"tag": 1}', "\0"])
def test_without_a_manifest_it_is_none(tmp_path, manifest):
    name = f"{tag()}-onnxruntime-1.9.0"
    put(tmp_path, name)
    Path(place_of(str(tmp_path), name), "edgeprof.json").write_text(manifest)
    assert names(tmp_path) == []
    assert python_of(str(tmp_path)) is None


def test_other_names_are_none(tmp_path):
    put(tmp_path, ".new-" + f"{tag()}-onnxruntime-1.9.0")
    put(tmp_path, "something")
    assert names(tmp_path) == []
    assert remove(str(tmp_path)) == []
    assert os.listdir(tmp_path / "runtimes").count("something") == 1


def test_nothing_there(tmp_path):
    assert installed(str(tmp_path)) == []
    assert python_of(str(tmp_path)) is None
    assert remove(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
