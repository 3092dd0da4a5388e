"""Sweeps on one host: queues, resuming, failures, stopping, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest

import edgeprof as ep
from edgeprof.boards.base import Arrived, Done, Progress
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.commands import main
from edgeprof.errors import EdgeprofError, InputError, ModelNotFound, StudyError, UsageError
from edgeprof.models.probes import make_probes
from edgeprof.sweeping.conduct import Begun, Ended
from tests.fleet_boards import Counting, LostBoard, ScriptedBoard, ScriptedJob, playing, quick, refusing, stubborn
from tests.loops import inside_a_loop

FEW = {"runs": 3, "warmup": 1, "memory": False}
ROOT = Path(__file__).parent.parent


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two models in the current folder."""
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path, probe in zip(paths, make_probes(), strict=False):
        path.write_bytes(probe.model)
    return paths


def swept(models, boards, **options):
    return ep.sweep(models, boards=boards, progress=options.pop("progress", False), **options)


def test_every_model_on_every_board_with_every_setting(models):
    found = swept(models, ["simulated", "simulated:?gmacs_per_s=1"], settings=[{"threads": 1}, {"threads": 2, "seed": 7}], **FEW)
    table = found.table
    assert [*table["model"]] == ["a.onnx", "a.onnx", "b.onnx", "b.onnx"] * 2
    assert [*table["board"]] == ["simulated"] * 4 + ["simulated:?gmacs_per_s=1"] * 4
    assert [*table["threads"]] == [1, 2] * 4
    assert [*table["seed"]] == [0, 7] * 4
    assert set(table["status"]) == {"done"} and set(table["attempts"]) == {1}
    assert not found.interrupted and found.failures.empty
    for row in table.to_dict("records"):
        profile = ep.load(found.study.path / "profiles" / row["file"])
        context = profile.context
        assert (context.model_name, context.board, context.threads, context.runs) == (row["model"], row["board"], row["threads"], 3)
        assert context.latency.median_ms == row["latency_ms"]
        assert context.latency.p95_ms == row["latency_p95_ms"]
    assert sorted(path.name for path in found.study.path.iterdir()) == [".locks", "index.sqlite", "models", "profiles", "study.toml"]


def test_a_simulated_fleet_measures_the_same_twice(models):
    one, two = (swept(models[:1], ["simulated", "simulated:?seed=3"], out=out, **FEW).table for out in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)
    assert one["latency_ms"].nunique() == 2


def test_what_is_done_is_not_measured_again(models):
    boards = [playing("a"), playing("b")]
    swept(models[:1], boards)
    again = swept(models, boards)
    assert [*again.table["status"]] == ["skipped", "done"] * 2
    assert [board.started for board in boards] == [2, 2]
    assert [*again.table["latency_ms"]] == [1.0] * 4
    assert not again.failures.size
    forced = swept(models, boards, resume=False)
    assert [*forced.table["status"]] == ["done"] * 4
    assert [*forced.table["attempts"]] == [2] * 4
    assert [board.started for board in boards] == [4, 4]


def test_another_setting_model_or_board_is_another_cell(models):
    board = quick("a")
    for number, change in enumerate([{}, {"threads": 2}, {"seed": 1}, {"energy_plan": ep.EnergyPlan(passes=2)}], 1):
        assert [*swept(models[0], board, **change).table["status"]] == ["done"]
        assert len(ep.Study("study").table) == number
    models[0].write_bytes(make_probes()[2].model)
    assert [*swept(models[0], board).table["status"]] == ["done"]
    assert [*swept(models[0], quick("a", seed=1)).table["status"]] == ["skipped"]  # the same recording by what it says of itself
    assert [*swept(models[0], quick("z")).table["status"]] == ["done"]
    assert [*swept(models[0], SimulatedBoard(name="a"), **FEW).table["status"]] == ["done"]


def test_inputs_count_by_their_content(models):
    board = quick("a")
    size = [dim if isinstance(dim, int) else 1 for dim in ep.load_model(models[0]).inputs[0].shape]
    for value, status in ((0.0, "done"), (1.0, "done"), (0.0, "skipped")):
        np.savez("x.npz", x=np.full(size, value, np.float32))
        assert [*swept(models[0], board, inputs="x.npz").table["status"]] == [status]


def test_a_model_is_read_once_for_all_jobs(models, monkeypatch):
    from edgeprof.models import onnx as reader

    read = []
    original = reader.load_onnx
    monkeypatch.setattr(reader, "load_onnx", lambda path, *rest, **named: read.append(str(path)) or original(path, *rest, **named))
    swept(models[0], ["simulated", "simulated:hot"], settings=[{"threads": 1}, {"threads": 2}], **FEW)
    assert read.count(str(models[0])) == 1


# One queue a board


def test_boards_run_side_by_side_and_one_job_at_a_time(models):
    lock, now, most = threading.Lock(), {}, {}
    all_there = threading.Barrier(3, timeout=60)  # breaks unless three boards run at once

    class Job(ScriptedJob):
        def __init__(self, board):
            super().__init__()
            with lock:
                now[board] = now.get(board, 0) + 1
                most[board] = max(most.get(board, 0), now[board])
            threading.Thread(target=self.work, args=(board,), daemon=True).start()

        def work(self, board):
            all_there.wait()
            with lock:
                now[board] -= 1
            self._events.put(Done(quick(board).profile))

    boards = [ScriptedBoard(name, lambda name=name: Job(name)) for name in "abc"]
    table = swept(models, boards, settings=[{"seed": seed} for seed in range(3)]).table
    assert set(table["status"]) == {"done"}
    assert most == {"a": 1, "b": 1, "c": 1}


def test_listeners_hear_all_in_their_own_thread(models):
    listener = Counting()
    swept(models, [quick("a"), refusing("b", "It is off.")], progress=listener)
    assert listener.threads == {threading.get_ident()}
    assert [(event.number, event.total, event.cell.model) for event in listener.of(Begun, "a")] == [(1, 2, "a.onnx"), (2, 2, "b.onnx")]
    assert [(event.status, event.error) for event in listener.of(Ended, "b")] == [("failed", "It is off.")] * 2
    assert listener.of(Progress, "a") and listener.of(Arrived, "a")


def test_a_bar_a_board(models, capsys):
    swept(models, [quick("a"), quick("b\x1b[2J")], progress=None)
    shown = capsys.readouterr().err
    assert "a: b.onnx" in shown and "\x1b[2J" not in shown


def test_a_running_event_loop_does_not_matter(models):
    assert inside_a_loop(lambda: swept(models[0], quick("a")).table["status"][0]) == "done"


# Failures


def test_failures_stop_nobody_and_are_listed(models):
    boards = [refusing("off", "The board is off. Switch it on."), quick("fine"), LostBoard(name="lost")]
    found = swept(models[0], boards, **FEW)
    assert [*found.table["status"]] == ["failed", "done", "failed"]
    assert [*found.failures["board"]] == ["off", "lost"]
    off, _, lost = found.table.to_dict("records")
    assert off["error"] == "The board is off. Switch it on." and off["file"] == "" and np.isnan(off["latency_ms"])
    assert lost["error"].startswith("The link to the board was lost") and lost["file"].endswith(".partial.edgeprof")
    kept = ep.load(found.study.path / "profiles" / lost["file"])
    assert any(finding.id == "incomplete" for finding in kept.findings)
    assert kept.context.latency.median_ms == lost["latency_ms"]


def test_what_failed_is_tried_again_by_a_new_call_only(models):
    board = refusing("a", "It is off.")
    swept(models[0], board)
    assert board.started == 1
    swept(models[0], board)
    found = swept(models[0], quick("a"))  # another identity: a replay
    assert board.started == 2
    assert [*ep.Study("study").table["attempts"]] == [2, 1]
    assert [*found.table["status"]] == ["done"]


def test_a_bug_fails_one_cell(models):
    def bug():
        raise ZeroDivisionError("oops")

    found = swept(models[0], [ScriptedBoard("a", bug), quick("b")])
    assert [*found.table["status"]] == ["failed", "done"]
    assert found.table["error"][0] == "edgeprof itself failed with ZeroDivisionError: oops. This is a bug: report it."


def test_a_model_that_changes_meanwhile_is_not_measured(models):
    found = swept(models, playing("a", lambda: models[1].write_bytes(b"another") and None))
    assert [*found.table["status"]] == ["done", "failed"]
    assert "changed since the sweep began" in found.table["error"][1]


def test_a_study_that_cannot_be_written_fails_its_cells(models):
    def spoil():
        folder = Path("study", "profiles")
        folder.rmdir()
        folder.write_text("in the way")

    found = swept(models[0], playing("a", spoil))
    assert found.table["status"][0] == "failed"
    assert "Cannot write" in found.table["error"][0]


@pytest.mark.parametrize(("options", "error", "said"), [
    ({"treads": 2}, UsageError, r"no option 'treads' \(did you mean 'threads'\?\)"),
    ({"settings": [{"board": "x"}]}, UsageError, "no option 'board'"),
    ({"settings": {"threads": 1}}, UsageError, "expected a list of dicts"),
    ({"settings": []}, UsageError, "settings is empty"),
    ({"settings": [{"threads": -1}]}, UsageError, "threads is -1"),
    ({"settings": [{"threads": "two"}]}, UsageError, "wrong type"),
    ({"settings": [{"threads": 1}, {}]}, UsageError, "Settings 1 and 2 are the same"),
    ({"settings": [{"providers": {1, 2}}]}, UsageError, "a setting cannot hold"),
    ({"inputs": "none.npz"}, InputError, "Cannot read the inputs none.npz"),
    ({"boards": []}, UsageError, "boards is empty"),
    ({"boards": ["simulated", "simulated"]}, UsageError, "Two boards are called 'simulated'"),
    ({"boards": ["pi6"]}, UsageError, "no board 'pi6'"),
    ({"models": []}, UsageError, "models is empty"),
    ({"models": ["none.onnx"]}, ModelNotFound, "none.onnx"),
    ({"models": ["a.onnx", "./a.onnx"]}, UsageError, "are the same model"),
    ({"out": "a.onnx"}, StudyError, "is a file"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_runs(models, options, error, said):
    board = refusing("a", "never")
    given = {"models": models, "boards": [board], **options}
    with pytest.raises(error, match=said) as caught:
        swept(given.pop("models"), given.pop("boards"), **given)
    assert isinstance(caught.value, EdgeprofError)
    assert board.started == 0 and not Path("study").exists()


# Stopping


def stop_at(kind, times=1):
    """A listener that stops the sweep at the first event of this kind, as Ctrl-C does, and ``times`` times in a row."""
    left = [times]

    def listen(board, event):
        if left[0] and (left[0] < times or isinstance(event, kind)):
            left[0] -= 1
            raise KeyboardInterrupt

    return listen


def test_stopping_keeps_what_was_measured(models):
    found = swept(models, "simulated", runs=20_000, warmup=1, memory=False, progress=stop_at(Arrived))
    assert found.interrupted
    assert [*found.table["status"]] == ["cancelled", "cancelled"]
    first, second = found.table.to_dict("records")
    assert first["file"].endswith(".partial.edgeprof") and first["attempts"] == 1
    assert any(finding.id == "incomplete" for finding in ep.load(Path("study/profiles", first["file"])).findings)
    assert second["error"] == "It was not begun." and second["attempts"] == 0
    assert [*ep.Study("study").table["status"]] == ["cancelled"]
    assert [path.name for path in Path("study/.locks").iterdir()] == ["open"]


def test_what_was_stopped_is_measured_by_the_next_call(models):
    board = ScriptedBoard("a", lambda: ScriptedJob(Progress("measure", 0, 1)))
    assert swept(models[0], board, progress=stop_at(Progress)).table["status"][0] == "cancelled"
    assert [*swept(models[0], playing("a")).table[["status", "attempts"]].iloc[0]] == ["done", 2]


def test_the_second_time_kills(models):
    other = threading.Event()

    def listen(board, event):
        if board == "a" and isinstance(event, Progress):
            raise KeyboardInterrupt
        if board == "b" and isinstance(event, Ended):
            other.set()
            raise KeyboardInterrupt

    obedient = ScriptedBoard("b", lambda: ScriptedJob(Progress("measure", 0, 1)))
    found = swept(models[0], [stubborn("a"), obedient], progress=listen)
    assert other.is_set() and found.interrupted
    assert [*found.table["status"]] == ["cancelled", "cancelled"]


def test_a_listener_that_fails_ends_all_jobs(models):
    def listen(board, event):
        if isinstance(event, Progress):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        swept(models, stubborn("a"), progress=listen)
    for thread in threading.enumerate():
        if thread.name.startswith("edgeprof-"):
            thread.join()
    assert [*ep.Study("study").table["status"]] == ["cancelled"]


# The command line


def test_command(models, capsys):
    arguments = [
        "sweep",
        "a.onnx",
        "b.onnx",
        "--board",
        "simulated",
        "--set",
        "threads=1,2",
        "--set",
        "memory=no",
        "--set",
        "warmup=1",
        "--runs=3",
    ]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert len([line for line in shown.out.splitlines() if "simulated" in line and " done " in line]) == 4
    assert shown.err.endswith("4 done in study.\n")
    assert "simulated: b.onnx (threads=2, runs=3, warmup=1, memory=false) done" in shown.err
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema_version"], told["interrupted"]) == (1, False)
    assert [cell["status"] for cell in told["cells"]] == ["skipped"] * 4
    assert [cell["threads"] for cell in told["cells"]] == [1, 2, 1, 2]
    assert main([*arguments, "--force", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert {*ep.Study("study").table["attempts"]} == {2}


def test_command_lists_failures_below(models, capsys):
    onnx.save(onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) { y = Relu(x) }'), "c.onnx")
    swept("c.onnx", "simulated", out="recorded", **FEW)
    [recording] = Path("recorded/profiles").iterdir()
    assert main(["sweep", "a.onnx", "c.onnx", "--board", f"replay:{recording}", "--runs=3"]) == 1
    shown = capsys.readouterr()
    assert "failed a.onnx on simulated (runs=3): The recording is of c.onnx" in " ".join(shown.out.split())
    assert shown.err.endswith("1 done, 1 failed in study.\n")


@pytest.mark.parametrize(("arguments", "said"), [
    (["--set", "threads"], "--set is 'threads'; expected"),
    (["--set", "treads=1"], "no option 'treads' (did you mean 'threads'?)"),
    (["--set", "threads=1", "--set", "threads=2"], "Give all values at once: threads=1,2"),
    (["--set", "threads=x"], "--set threads is 'x'"),
    (["--set", "memory=maybe"], "give yes or no"),
    (["--set", "seed=" + ",".join(map(str, range(1001)))], "more than 1000"),
    (["--dask-ca", "x"], "missing: --dask-cert, --dask-key"),
    (["--board", "simulated", "--board", "simulated"], "Two boards"),
    (["-o", "a.onnx"], "is a file"),
])  # fmt: skip
def test_command_refuses(models, capsys, arguments, said):
    assert main(["sweep", "a.onnx", *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.out == ""


def command(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "edgeprof", "sweep", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_ctrl_c_ends_with_a_table(models):
    run = command("a.onnx", "--board=simulated", "--set", "runs=3,20000", "--set", "memory=no", "--set", "warmup=1")
    assert "done" in run.stderr.readline()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 130
    assert " done " in out and " cancelled " in out
    assert "Stopped; the same command measures the rest." in err
    assert "Traceback" not in err


def test_two_processes_share_one_study(models):
    arguments = ("a.onnx", "b.onnx", "--board=simulated", "--set", "seed=0,1,2", "--set", "memory=no", "--set", "warmup=1", "--runs=3")
    both = [command(*arguments) for _ in range(2)]
    for run in both:
        out, err = run.communicate(timeout=120)
        assert run.returncode in (0, 1), err  # 1: the other one was still at a cell
        assert "Traceback" not in err and len([line for line in out.splitlines() if line.startswith(("a.onnx", "b.onnx"))]) == 6
    table = ep.Study("study").table
    assert len(table) == 6
    assert {*table["status"]} == {"done"} and {*table["attempts"]} == {1}
    assert sorted(path.name for path in Path("study/profiles").iterdir()) == sorted(table["file"])
    assert len(ep.Study("study").requests) == 1
