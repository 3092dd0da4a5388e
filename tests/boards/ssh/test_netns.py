"""Cables that are pulled and power that goes, on boards in network namespaces: packets vanish, and nobody is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Thread
from typing import Any

import pytest

import edgeprof as ep
from edgeprof.boards import line
from edgeprof.boards.entries import add
from edgeprof.boards.ssh import SshBoard, digest_of
from edgeprof.commands import main
from edgeprof.errors import BoardLost, BoardUnreachable
from tests.agent.wheels import NAME
from tests.boards.offered import VERSION, offered
from tests.boards.ssh.faulty import FEW, MANY, at, in_phase, is_one_sentence, layers_came, lose, opens, write_big, write_slow
from tests.boards.ssh.fleet import Fleet, NetBoard, why_not
from tests.boards.ssh.rig import await_

REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("fleet"), 1) as made:
        yield made


@pytest.fixture
def far(fleet: Fleet) -> Iterator[NetBoard]:
    (board,) = fleet.boards
    yield board
    board.plug()
    board.is_left_clean()


@pytest.fixture
def board(far: NetBoard) -> Iterator[SshBoard]:
    made = SshBoard(far.entry)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead link is known within 10 s; here within 2."""
    assert line.KEEPALIVE_S * (line.KEEPALIVES + 1) <= 10
    monkeypatch.setattr(line, "KEEPALIVE_S", 0.5)


def test_cable_pulled_in_the_run_then_the_job_is_fetched(far, board, tmp_path):
    slow = write_slow(tmp_path)

    def unplug() -> None:
        far.unplug()
        far.agent("work").suspend()  # so that the job is not over when the loss is known, however fast the machine is

    name = lose(far, board, slow, unplug, tmp_path)
    assert far.agent("keep").is_running()
    far.agent("work").resume()
    far.plug()
    profile = ep.attach(name, slow, board=board, progress=False)
    assert profile.context.runs == MANY and "incomplete" not in {finding.id for finding in profile.findings}


def test_cable_pulled_in_transfer_then_only_the_rest_is_sent(far, board, tmp_path):
    """First as a set-up sends wheels, then as a job sends its model."""
    big, heard = write_big(tmp_path), []
    part = far.cache / "blobs" / f".part-{digest_of(big.with_name('big.data'))}"

    def pull(phase: str, done: int, total: int) -> None:
        if done > 4 << 20:
            far.unplug()

    with (
        pytest.raises(BoardLost, match=r"The link to b1 was lost \(Server not responding to keepalive\)\.") as caught,
        board.session() as session,
    ):
        session.put(big.with_name("big.data"), pull)
    is_one_sentence(caught.value)
    far.plug()
    first = part.stat().st_size
    await_(lambda: not far.agents(), "the door of the lost link lives on")
    with pytest.raises(BoardLost, match="The link to b1 was lost") as caught:
        ep.profile(big, board=board, **FEW | {"progress": at(lambda event: in_phase("send")(event) and event.done > 2 * first, far.unplug)})
    is_one_sentence(caught.value)
    far.plug()
    second = part.stat().st_size
    await_(lambda: not far.agents(), "the door of the lost link lives on")
    assert ep.profile(big, board=board, **FEW | {"progress": heard.append}).context.runs == 4
    assert 4 << 20 < first < second <= next(event.done for event in heard if in_phase("send")(event))


@pytest.fixture
def set_up(far, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """``edgeprof boards setup b1``: its status and what it says; wheels are 32 MB of stand-ins."""
    offered(tmp_path / "cache" / "edgeprof" / "wheels", 32 << 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEPROF_BOARDS", str(tmp_path / "boards.toml"))
    add(far.entry, tmp_path / "boards.toml")

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["boards", "setup", "b1", *arguments])
        said = capsys.readouterr()
        return status, said.err if status else said.out

    return run


def is_lost_link(status: int, said: str) -> None:
    assert status == 2 and said == "The link to b1 was lost (Server not responding to keepalive).\n"


def test_cable_pulled_in_set_up_then_it_goes_on(far, set_up, monkeypatch):
    """First while wheels are sent, then while they are installed."""
    say = line.Line.say

    def say_and_pull(self: line.Line, kind: str, fields: Mapping[str, Any], payload: bytes = b"") -> None:
        if kind == "put" and fields["offset"] > 16 << 20:
            far.unplug()
        say(self, kind, fields, payload)

    with monkeypatch.context() as patch:
        patch.setattr(line.Line, "say", say_and_pull)
        is_lost_link(*set_up("--runtime-version", VERSION))
    far.plug()
    await_(lambda: not far.agents(), "the door of the lost link lives on")  # it may take in one more piece, that was on its way
    (part,) = (far.cache / "blobs").glob(".part-*")
    there = part.stat().st_size
    assert there > 8 << 20 and not list((far.cache / "runtimes").glob("*"))

    def pull_when_installing() -> None:
        await_(lambda: list((far.cache / "runtimes").glob("*")))
        far.unplug()

    offsets: list[int] = []

    def say_and_note(self: line.Line, kind: str, fields: Mapping[str, Any], payload: bytes = b"") -> None:
        if kind == "put" and part.name.endswith(fields["digest"]):
            offsets.append(fields["offset"])
        say(self, kind, fields, payload)

    puller = Thread(target=pull_when_installing)
    puller.start()
    with monkeypatch.context() as patch:
        patch.setattr(line.Line, "say", say_and_note)
        is_lost_link(*set_up("--runtime-version", VERSION))
    puller.join()
    assert offsets[0] == there  # what had arrived was not sent again
    far.plug()
    await_(lambda: not far.agents(), "the door of the lost link lives on")
    status, said = set_up("--runtime-version", VERSION)
    assert status == 0 and said.splitlines()[-1].startswith(("Set up: onnxruntime 9.9.9", "Already set up: onnxruntime 9.9.9"))
    assert [path.name for path in (far.cache / "runtimes").iterdir() if path.is_dir()] == [NAME]
    assert set_up("--remove") == (0, f"Removed {NAME}.\n")


def test_sixteen_boards_are_swept_and_no_job_is_lost(tmp_path, make_model):
    with Fleet(tmp_path / "fleet", 16) as fleet:
        boards = [SshBoard(each.entry) for each in fleet.boards]
        settings = [{"threads": 1}, {"threads": 2}]
        found = ep.sweep(make_model("one node"), boards=boards, settings=settings, out=tmp_path / "study", memory=False, **FEW)
        assert list(found.table["status"]) == ["done"] * 32 and set(found.table["attempts"]) == {1}
        assert sorted(set(found.table["board"])) == sorted(board.name for board in boards)
        for board, each in zip(boards, fleet.boards, strict=True):
            board.close()
            each.is_left_clean()


def test_power_lost_in_the_run_then_again_on(far, board, tmp_path, monkeypatch):
    slow = write_slow(tmp_path)
    with pytest.raises(BoardLost, match=r"The link to b1 was lost.* --attach b1/.*What was measured until then is kept") as caught:
        ep.profile(slow, board=board, runs=MANY, warmup=1, progress=at(layers_came, far.lose_power))
    opens(caught.value.profile, tmp_path)
    monkeypatch.setattr(line, "CONNECT_S", 1.0)
    monkeypatch.setattr(line, "LOGIN_S", 1.0)
    with pytest.raises(BoardUnreachable) as unreachable:
        ep.profile(slow, board=board, **FEW)
    is_one_sentence(unreachable.value)
    monkeypatch.undo()
    far.boot()
    (job,) = board.jobs()
    assert job.state == "died"
    with pytest.raises(BoardLost, match="it ended without a word") as caught:
        ep.attach(f"b1/{job.job}", slow, board=board, progress=False)
    opens(caught.value.profile, tmp_path)
    assert ep.profile(slow, board=board, **FEW).context.runs == 4
