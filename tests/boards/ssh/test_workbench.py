"""The Workbench on a board over SSH, a real OpenSSH server: it follows, and a lost link costs a sentence, not what was measured."""

from __future__ import annotations

from pathlib import Path

import edgeprof as ep
from edgeprof.boards.base import Arrived, Event
from edgeprof.boards.ssh import SshBoard
from edgeprof.workbench import Task
from tests.boards.ssh.faulty import MANY, write_slow
from tests.boards.ssh.rig import Sshd


def test_measured_there_and_seen_while_it_runs(ssh_board: SshBoard, tmp_path: Path):
    seen = []
    wb = ep.Workbench(write_slow(tmp_path), board=ssh_board, study=tmp_path / "s.study", runs=40, warmup=1)
    wb.bench.on_change(lambda kinds: seen.append(wb.bench.live) if "profiles" in kinds and wb.bench.live is not None else None)
    task = wb.bench.measure("base")
    assert task.wait(120) and task.status == "done", task.error
    assert seen and seen[0].context.board == ssh_board.name and "running" in {finding.id for finding in seen[0].findings}
    assert wb.profile is wb.bench.base and wb.bench.live is None and wb.head["header"]["facts"][0] == f"on {ssh_board.name}"
    wb.close()


def test_link_lost_in_the_run(sshd: Sshd, ssh_board: SshBoard, tmp_path: Path):
    model, study = write_slow(tmp_path), tmp_path / "s.study"
    wb = ep.Workbench(model, board=ssh_board, study=study, runs=MANY, warmup=1)
    follow = wb.bench.on_event

    def hear(task: Task, event: Event) -> None:
        follow(task, event)
        if isinstance(event, Arrived):
            sshd.cut()

    wb.bench.on_event = hear
    task = wb.bench.measure("base")
    assert task.wait(120) and task.status == "failed"
    (job,) = sshd.jobs
    assert f"{ssh_board.name}/{job.name}" in task.error, "the sentence says how it is fetched"
    assert wb.bench.base is None and wb.bench.live is None, "a part of a measurement is none"
    assert [(note["kind"], note["action"]) for note in wb.notes] == [("error", "measure")]
    (kept,) = study.glob("profiles/*.partial.edgeprof")
    assert 0 < ep.load(kept).context.runs < MANY
    wb.close()
    assert ep.attach(f"{ssh_board.name}/{job.name}", model, board=ssh_board, progress=False).context.runs == MANY
    sshd.is_left_clean()
