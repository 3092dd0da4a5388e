"""`edgeprof profile`: a real measurement through the command line."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

import edgeprof as ep
from edgeprof.boards.base import Arrived, Board, Job, Planned, Progress
from edgeprof.commands import profile
from edgeprof.errors import BoardLost, OutputError
from edgeprof.records import bundle
from edgeprof.records.context import RunContext

FEW = ("--runs", 3, "--warmup", 1)


def finding_ids(path: Path) -> set[str]:
    return {finding.id for finding in ep.load(path).findings}


def test_progress_is_text_with_units(monkeypatch):
    """Phases and plans are words of a board: no markup, and no links."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    told = []
    for event in (Progress("[/x][b]", 1, 2), Progress("send", 10_000, 20_000), Planned(3.0, "[/y] it takes"), Progress("warmup", 0, 0)):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", terminal)
        with profile.shown_progress("[i]m.onnx", quiet=False) as listen:
            listen(Progress("send", 9281, 9281))
            listen(event)
        told.append(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()))
    assert "[i]m.onnx: [/x][b]" in told[0] and "1/2" in told[0]
    assert "10.0 kB of 20.0 kB" in told[1]
    assert "[/y] it takes. Ctrl-C ends it" in told[2]
    assert "warmup" in told[3] and "9281" not in told[3] + told[1]


def test_saves_and_shows(edgeprof, folder):
    status, out, err = edgeprof("profile", "tiny.onnx", *FEW)
    assert status == 0
    assert err == "Saved tiny.edgeprof.\n"
    assert out.startswith("tiny.onnx on local, onnxruntime ")
    assert "Split" in out
    profile = ep.load(folder / "tiny.edgeprof")
    assert (profile.origin, profile.context.runs) == ("measured", 3)
    assert sorted(path.name for path in folder.iterdir()) == ["tiny.edgeprof", "tiny.onnx"]


def test_all_options_reach_the_measurement(edgeprof, folder):
    np.savez(folder / "inputs.npz", x=np.zeros((1, 1, 1, 5760), np.float32))
    cpu = min(os.sched_getaffinity(0))
    options = [
        "--board=local",
        "--runtime=onnxruntime",
        "--provider=CPUExecutionProvider",
        "--threads=2",
        "--optimization=basic",
        f"--cpus={cpu}",
    ]
    options += [
        "--provider-option=CPUExecutionProvider.use_arena=1",
        "--inputs=inputs.npz",
        "--shape=x=1,1,1,5760",
        "--seed=3",
        "--time-limit=100",
    ]
    status, out, err = edgeprof("profile", "tiny.onnx", *FEW, *options, "--energy=off", "-o", "other.edgeprof", "--quiet")
    assert (status, out, err) == (0, "", "")
    context: RunContext = ep.load("other.edgeprof").context
    assert (context.threads, context.optimization, context.cpus, context.input_source) == (2, "basic", (cpu,), "given")
    assert context.providers == ("CPUExecutionProvider",)
    assert context.provider_options == {"CPUExecutionProvider": {"use_arena": "1"}}


def test_json(edgeprof):
    status, out, err = edgeprof("profile", "tiny.onnx", *FEW, "--json")
    assert (status, err) == (0, "Saved tiny.edgeprof.\n")
    assert json.loads(out)["context"]["runs"] == 3


def test_time_limit_keeps_what_there_is(edgeprof):
    status, out, _ = edgeprof("profile", "tiny.onnx", "--runs", 2000, "--warmup", 1, "--time-limit", 0.001)
    assert status == 0
    assert "stopped after" in out
    assert "incomplete" in finding_ids(Path("tiny.edgeprof"))


def test_earlier_profile_is_replaced(edgeprof, folder):
    (folder / "tiny.edgeprof").write_text("old")
    assert edgeprof("profile", "tiny.onnx", *FEW, "--quiet")[0] == 0
    assert ep.load(folder / "tiny.edgeprof").context.runs == 3


# Ends that were not planned


@pytest.fixture
def slow_model(folder: Path) -> Path:
    text = (
        '<ir_version: 8, opset_import: ["": 17]> g (float[200,200] x) => (float[200,200] y)'
        " { a = MatMul(x, x)\n b = MatMul(a, x)\n c = MatMul(b, x)\n y = MatMul(c, x) }"
    )
    onnx.save(parser.parse_model(text), folder / "slow.onnx")
    return folder / "slow.onnx"


def interrupted(*arguments: str, when: bytes) -> tuple[int, str, str]:
    """Runs the command with standard error on a terminal, and sends it a Ctrl-C as soon as the terminal shows ``when``."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-m", "edgeprof", "profile", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, stdin=slave, env=environment)
    os.close(slave)
    seen, sent = b"", False
    while True:
        try:
            piece = os.read(master, 1 << 12)
        except OSError:
            piece = b""
        if not piece:
            break
        seen += piece
        if not sent and when in seen:
            sent = True
            process.send_signal(signal.SIGINT)
    os.close(master)
    out, _ = process.communicate()
    assert sent, seen
    return process.returncode, out.decode(), seen.decode()


def test_interrupt_keeps_what_was_measured(slow_model, folder):
    status, out, err = interrupted("slow.onnx", "--runs", "1000", "--warmup", "1", when=b"measure")
    assert status == 130
    assert "Traceback" not in err
    assert "of 1000 plain runs. Saved slow.edgeprof." in err
    assert "slow.onnx on local" in out
    profile = ep.load("slow.edgeprof")
    assert 0 < profile.context.runs < 1000
    assert "incomplete" in finding_ids(folder / "slow.edgeprof")
    assert sorted(path.name for path in folder.iterdir()) == ["slow.edgeprof", "slow.onnx", "tiny.onnx"]


def test_interrupt_does_not_replace_an_earlier_profile(slow_model, folder, saved):
    saved.rename(folder / "slow.edgeprof")
    before = (folder / "slow.edgeprof").read_bytes()
    status, _, err = interrupted("slow.onnx", "--runs", "1000", "--warmup", "1", when=b"measure")
    assert status == 130
    assert "Saved slow.partial.edgeprof." in err
    assert (folder / "slow.edgeprof").read_bytes() == before
    assert "incomplete" in finding_ids(folder / "slow.partial.edgeprof")


def test_interrupt_before_anything_was_measured(slow_model, folder):
    status, out, err = interrupted("slow.onnx", "--runs", "1000", "--warmup", "1000000", when=b"load")
    assert (status, out) == (130, "")
    assert "Stopped. Nothing was kept." in err
    assert not (folder / "slow.edgeprof").exists()


class Doomed:
    """The local board, whose agent dies as soon as it has said something."""

    name = "doomed"
    origin = "measured"

    def start(self, model, plan, runtime="onnxruntime") -> Job:
        from edgeprof.boards.local import LocalBoard

        job = LocalBoard(name=self.name).start(model, plan, runtime)
        events = job.events

        def watched():
            for event in events():
                if isinstance(event, Arrived):
                    os.kill(job._link.pid, signal.SIGKILL)
                yield event

        job.events = watched
        return job


def test_lost_board_leaves_a_partial_profile(edgeprof, slow_model, folder, monkeypatch):
    board: Board = Doomed()
    monkeypatch.setattr("edgeprof.profiler.get_board", lambda name: board)
    status, out, err = edgeprof("profile", "slow.onnx", "--runs", 2000, "--warmup", 1)
    assert (status, out) == (2, "")
    assert "The agent on doomed died: killed by SIGKILL. What was measured until then is kept." in err
    assert "It is saved in slow.edgeprof, marked as incomplete." in err
    assert "incomplete" in finding_ids(folder / "slow.edgeprof")


def test_lost_board_with_nothing_measured_leaves_nothing(edgeprof, folder, monkeypatch):
    def lost(*_, **__):
        raise BoardLost("The agent on b died. Nothing had been measured yet.")

    monkeypatch.setattr("edgeprof.profiler.profile", lost)
    assert edgeprof("profile", "tiny.onnx") == (2, "", "The agent on b died. Nothing had been measured yet.\n")
    assert [path.name for path in folder.iterdir()] == ["tiny.onnx"]


def test_profile_that_cannot_be_saved_after_all_is_kept_elsewhere(edgeprof, folder, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    save = bundle.save

    def full(profile, path):
        if not Path(path).is_absolute():
            raise OutputError(f"Cannot write {path}: No space left on device.")
        save(profile, path)

    monkeypatch.setattr(bundle, "save", full)
    status, _, err = edgeprof("profile", "tiny.onnx", *FEW)
    assert status == 2
    (kept,) = elsewhere.rglob("*.edgeprof")
    assert f"The profile was saved as {kept} instead." in err
    assert ep.load(kept).context.runs == 3
