"""The study folder: what is in it, several processes at once, damage, and names from anywhere."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import tomllib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import edgeprof as ep
from edgeprof.errors import OutputError, StudyError, UsageError
from edgeprof.models.probes import make_probes
from edgeprof.studies import Cell, Study
from edgeprof.testing import make_profile

SETTINGS = {"threads": 1, "runs": 100, "shapes": None}


def cell(model: str = "a.onnx", board: str = "pi5", **settings) -> Cell:
    return Cell(model, "ab" * 32, board, SETTINGS | settings, tuple(settings), {"origin": "measured"}, {"edgeprof": "0.1.0"})


def measured(study: Study, one: Cell, latency_ms: float = 2.0) -> None:
    with study.owner() as owner:
        assert study.claim(one, owner) is None
        study.finish(one, "done", make_profile([latency_ms], plain_ms=latency_ms))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.create(tmp_path / "s", "boards of the lab")


def test_what_is_done_can_be_found_again(study):
    one, two = cell(), cell(threads=2)
    measured(study, one, 2.0)
    measured(study, two, 3.0)
    again = ep.Study.open(study.path)
    assert again.name == "boards of the lab"
    table = again.table
    assert list(table["threads"]) == [1, 2]
    assert list(table["latency_ms"]) == [2.0, 3.0]
    assert "runs" not in table  # nobody gave it
    assert again.profile(two.key).context.latency.median_ms == 3.0
    assert again.profile(table["key"][0]).context.latency.median_ms == 2.0
    assert again.profile(table["file"][0]).context.latency.median_ms == 2.0
    assert [profile.context.latency.median_ms for profile in again.profiles(model="a", board="pi5")] == [2.0, 3.0]
    assert again.profiles(board="other") == []


def test_numbers_that_were_not_measured_are_nan(study):
    measured(study, cell())
    assert pd.isna(study.table["energy_mj"][0])
    assert study.table["energy_mj"].dtype == float


def test_a_key_must_name_one_cell(study):
    measured(study, cell())
    with pytest.raises(UsageError, match="No cell of this study has the key 'zz'"):
        study.profile("zz")
    with study.owner() as owner:
        study.claim(cell(threads=2), owner)
        study.finish(cell(threads=2), "failed", None, "The board is off.")
    with pytest.raises(UsageError, match="has no profile: it is failed"):
        study.profile(cell(threads=2).key)


@pytest.mark.parametrize("change", [
    {"model_sha256": "cd" * 32}, {"board": "pi4"}, {"settings": {**SETTINGS, "threads": 2}}, {"identity": {"origin": "replayed"}},
    {"versions": {"edgeprof": "0.2.0"}}, {"settings": {**SETTINGS, "shapes": {"x": [1, 2]}}},
])  # fmt: skip
def test_anything_that_matters_makes_another_cell(change):
    assert replace(cell(), **change).key != cell().key


def test_names_of_models_do_not_matter():
    assert cell(model="b.onnx").key == cell().key


# Claims


def test_one_of_many_gets_a_cell(study):
    got = []
    start = threading.Barrier(8)

    def take() -> None:
        with Study(study.path).owner() as owner:
            start.wait()
            if study.claim(cell(), owner) is None:
                got.append(owner)
            start.wait()  # nobody leaves while others still try

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert study.table["attempts"][0] == 1


def test_a_claim_ends_with_its_process(study):
    code = f"""
import os
from edgeprof.studies import Study
from tests.test_study import cell
held = Study({str(study.path)!r}).owner()
assert Study({str(study.path)!r}).claim(cell(), held.__enter__()) is None
os._exit(1)
"""
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": str(root)})
    row = study.table.iloc[0]
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert "ended without a word" in row["error"]
    measured(study, cell())
    assert study.table["attempts"][0] == 2
    assert [path.name for path in (study.path / ".locks").iterdir()] == ["open"]


def test_what_had_come_is_found_when_a_process_was_killed(study):
    with study.owner() as owner:
        assert study.claim(cell(), owner) is None
        make_profile(runs=4).save(str(study.partial(cell())))
        assert study.table["status"][0] == "running"
    row = study.table.iloc[0]
    assert (row["status"], row["file"]) == ("failed", study.partial(cell()).name)
    assert row["error"] == "What measured it ended without a word; what had come until then is kept."
    assert [len(profile.runs) for profile in study.profiles(partial=True)] == [8]
    assert study.profiles() == []
    measured(study, cell())
    assert not study.partial(cell()).exists()
    assert study.table["status"][0] == "done"


def test_what_had_come_is_found_when_nothing_else_is_there(study):
    with study.owner() as owner:
        assert study.claim(cell(), owner) is None
        make_profile(runs=4).save(str(study.partial(cell())))
        study.finish(cell(), "failed", None, "The board was lost.")
    assert study.table["file"][0] == study.partial(cell()).name


def test_done_is_not_claimed_unless_one_insists(study):
    measured(study, cell())
    with study.owner() as owner:
        assert study.claim(cell(), owner)["status"] == "done"
        assert study.claim(cell(), owner, again=True) is None
        assert study.claim(cell(), owner, again=True)["status"] == "running"  # now it is under way
        study.finish(cell(), "failed", None, "It is off.")
    assert list(study.table[["status", "attempts", "error"]].iloc[0]) == ["failed", 2, "It is off."]
    assert pd.isna(study.table["latency_ms"][0])


def test_what_was_deleted_is_not_done(study):
    measured(study, cell())
    (study.path / "profiles" / study.table["file"][0]).unlink()
    assert study.table["status"][0] == "failed"
    measured(study, cell())
    assert study.table["status"][0] == "done"


# Damage


def request_of(one: Cell) -> dict:
    import json

    told = json.dumps({"identity": one.identity, "versions": one.versions})
    return {
        "models": [{"name": one.model, "sha256": one.model_sha256}],
        "boards": [{"name": one.board, "told": told}],
        "settings": [{"label": one.label, "given": list(one.given), "options": json.dumps(one.settings)}],
    }


@pytest.mark.parametrize("damage", ["missing", "no database", "truncated", "other tables"])
def test_an_index_is_made_again(study, damage):
    one = cell(threads=2)
    study.add_request(request_of(one))
    measured(study, one)
    with study.owner() as owner:
        study.claim(cell(threads=3), owner)
        study.finish(cell(threads=3), "cancelled", make_profile(), "It was stopped.")
    before, path = study.table.iloc[0], study.path / "index.sqlite"
    if damage == "other tables":
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE cells")
        db.close()
    else:
        data = path.read_bytes()
        path.unlink()
        if damage != "missing":
            path.write_bytes(b"not a database " * 100 if damage == "no database" else data[: len(data) // 2])
    again = Study(study.path)
    done = again.table[again.table["status"] == "done"].iloc[0]
    assert list(done[["key", "threads", "latency_ms", "file"]]) == list(before[["key", "threads", "latency_ms", "file"]])
    assert (path.with_name("index.sqlite.damaged").exists()) == (damage != "missing")
    assert sorted(again.table["status"]) == ["done", "failed"]  # what was cut short is known by its file alone
    with again.owner() as owner:
        assert again.claim(one, owner)["status"] == "done"


def test_a_newer_index_is_left_alone(study):
    db = sqlite3.connect(study.path / "index.sqlite")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StudyError, match="newer edgeprof"):
        Study(study.path)


def test_a_damaged_study_toml_is_said(study):
    (study.path / "study.toml").write_text("name = ")
    with pytest.raises(StudyError, match=r"study\.toml is damaged"):
        study.add_request({"models": [], "boards": [], "settings": []})


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for name, said in (("letters", "holds other files"), ("file", "is a file")):
        with pytest.raises(StudyError, match=said):
            Study.create(tmp_path / name)
    with pytest.raises(StudyError, match=r"holds no study\.toml"):
        Study(tmp_path / "letters")
    with pytest.raises(StudyError, match="is not there"):
        Study(tmp_path / "none")
    with pytest.raises(OutputError, match="Cannot write in the study"):
        Study.create("/proc/none")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["mine.txt"]


def test_requests_are_noted_once(study):
    study.add_request(request_of(cell()))
    study.add_request(request_of(cell()))
    study.add_request(request_of(cell(threads=2)))
    assert [request["settings"][0]["label"] for request in study.requests] == ["", "threads=2"]
    assert tomllib.loads((study.path / "study.toml").read_text())["name"] == "boards of the lab"


# Names and models

HOSTILE = [
    "../../../etc/passwd",
    "/etc/passwd",
    "a\x1b[31mb\n",
    "<script>alert(1)</script>",
    "x" * 5000,
    "-rf",
    "..",
    "",
    "--a--b",
    "ボード\u202e",
    "con|nul:*?",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_inside_the_folder(study, name):
    one = replace(cell(threads=2), model=name + ".onnx", board=name)
    measured(study, one)
    [path] = (study.path / "profiles").iterdir()
    assert path.name == study.table["file"][0]
    assert len(path.name) < 200
    assert path.name.isascii() and path.name.isprintable() and not set(path.name) & set("/\\<>|:*?\" '")
    assert path.name.count("--") == 3 and not path.name.startswith(("-", "."))
    assert "<script>" not in study.table._repr_html_()


def test_errors_of_boards_are_one_bounded_line(study):
    with study.owner() as owner:
        study.claim(cell(), owner)
        study.finish(cell(), "failed", None, "bad\x1b]0;title\x07\nline " + "x" * 100_000)
    [error] = study.table["error"]
    assert error.startswith("bad\\u001b]0;title\\u0007 line")
    assert error.isprintable() and len(error) == 1000


def test_models_are_kept_by_their_hash(study, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(make_probes()[0].model)
    graph = ep.load_model(path)
    kept = study.keep_model(graph)
    assert kept.name == f"{graph.digest}.onnx"
    assert kept.read_bytes() == path.read_bytes()
    kept.unlink()
    path.write_bytes(make_probes()[1].model)
    with pytest.raises(StudyError, match="changed while it was read"):
        study.keep_model(graph)
    assert study.keep_model(replace(graph, file_bytes=1 << 30)) is None
    assert study.keep_model(replace(graph, external_files=("w.bin",))) is None
