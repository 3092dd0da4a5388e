"""What can go wrong with a board over SSH, a real OpenSSH server: one sentence, what was measured is kept, nothing is left there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import parser

import edgeprof as ep
from edgeprof import profiler
from edgeprof.boards import line, opening
from edgeprof.boards.base import Cancelled, Event, Job, Progress, Waiting
from edgeprof.boards.entries import Entry, add
from edgeprof.boards.ssh import SshBoard
from edgeprof.commands import main
from edgeprof.commands.boards import setup
from edgeprof.errors import BoardBusy, BoardError, BoardLost, BoardUnreachable, RunFailed, UsageError
from edgeprof.models.inputs import make_inputs
from edgeprof.records.trace import EnergyPlan, RunPlan
from tests.boards.offered import VERSION, offered
from tests.boards.ssh.faulty import FEW, MANY, at, in_phase, is_one_sentence, layers_came, lose, opens, write_big, write_slow
from tests.boards.ssh.fleet import RELAY
from tests.boards.ssh.rig import Sshd, await_, make_key


@pytest.fixture(autouse=True)
def clean(sshd: Sshd) -> Iterator[None]:
    """Whatever happens: no process is left on the board, no job, and the lock is free."""
    yield
    sshd.is_left_clean()


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return write_slow(tmp_path)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    return write_big(tmp_path)


@pytest.fixture
def model(make_model) -> Path:
    return make_model("one node")


def start(board: SshBoard, model: Path, **options) -> Job:
    return board.start(model, RunPlan(**{"inputs": make_inputs(ep.load_model(model)), "runs": MANY, "warmup": 1} | options))


# No way to it


def program(folder: Path, body: str) -> str:
    """A stand-in for the board's Python."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{body}\n")
    path.chmod(0o755)
    return str(path)


@contextmanager
def listener(backlog: int) -> Iterator[int]:
    """A port that takes connections and says nothing; with no room left, packets to it get no answer."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        if not backlog:
            for _ in range(4):
                other = stack.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def at_port(entry: Entry, port: int) -> Entry:
    return replace(entry, address=entry.address.rpartition(":")[0] + f":{port}")


OLD_PYTHON = "sys.version_info = (3, 6, 9, 'final', 0)\nsys.argv.pop(0)\nexec(sys.argv.pop(1))"


def stand_in(body: str) -> Callable[[Entry, Path], Entry]:
    return lambda entry, folder: replace(entry, python=program(folder, body))


def with_(**changes: str) -> Callable[[Entry, Path], Entry]:
    return lambda entry, folder: replace(entry, **changes)


def wrong_key(entry: Entry, folder: Path) -> Entry:
    return replace(entry, key=str(make_key(folder / "other")))


UNREACHABLE: dict[str, tuple[Callable[[Entry, Path], Entry], str]] = {
    "wrong key": (wrong_key, r"does not let .* in with the key .*ssh-copy-id"),
    "no such key": (with_(key="/nowhere/key"), r"The key /nowhere/key of ssh is not there\. Name another"),
    "refused": (lambda entry, folder: at_port(entry, 1), r"refused the connection: no SSH server listens there"),
    "no such host": (with_(address="ssh://board.invalid"), r"There is no host called 'board.invalid'"),
    "no Python": (with_(python="/nowhere/python3"), r"There is no '/nowhere/python3' on ssh"),
    "old Python": (stand_in(OLD_PYTHON), r"is Python 3\.6\.9; the agent needs 3\.8 or newer"),
    "broken Python": (stand_in("sys.exit('no libc')"), r"status 1 .*It said: no libc"),
    "killed Python": (stand_in("os.kill(os.getpid(), 9)"), r"killed by SIGKILL"),
    "endless noise": (stand_in("while True: print('noise')"), r"prints without end"),
    "no folder": (with_(folder="/dev/null/edgeprof"), r"cannot be put in /dev/null/edgeprof on ssh: .*Not a directory"),
}


@pytest.mark.parametrize("kind", UNREACHABLE)
def test_no_way_to_the_board(kind, sshd, model, tmp_path):
    change, sentence = UNREACHABLE[kind]
    board = SshBoard(change(sshd.entry, tmp_path))
    with pytest.raises(BoardError, match=sentence) as caught:
        ep.profile(model, board=board, **FEW)
    is_one_sentence(caught.value)
    assert isinstance(caught.value, BoardUnreachable | BoardLost) and caught.value.profile is None
    board.close()
    await_(lambda: not sshd_runs(sshd, "python"), "the stand-in is left on the board")


def sshd_runs(sshd: Sshd, word: str) -> list[psutil.Process]:
    found = []
    for process in sshd.sessions():
        try:
            if word in " ".join(process.cmdline()[:2]) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize(("backlog", "limit"), [(0, "CONNECT_S"), (5, "LOGIN_S")])
def test_address_that_never_answers(backlog, limit, sshd, model, monkeypatch):
    monkeypatch.setattr(line, limit, 0.5)
    with listener(backlog) as port, pytest.raises(BoardUnreachable, match=r"did not (answer|log in) within .* s\. Is it") as caught:
        ep.profile(model, board=SshBoard(at_port(sshd.entry, port)), **FEW)
    is_one_sentence(caught.value)


def test_host_keys(sshd, model, tmp_path):
    known = tmp_path / "known_hosts"
    known.touch()
    entry = replace(sshd.entry, known_hosts=str(known))
    with pytest.raises(BoardUnreachable, match=r"is not in .*known_hosts, .*edgeprof boards check ssh"):
        ep.profile(model, board=SshBoard(entry), **FEW)
    kind, other = make_key(tmp_path / "other").with_suffix(".pub").read_text().split()[:2]
    known.write_text(f"[127.0.0.1]:{sshd.port} {kind} {other}\n")
    with pytest.raises(BoardUnreachable, match=r"is not the one in .*set up anew, or somebody stands between.*ssh-keygen -R") as caught:
        ep.profile(model, board=SshBoard(entry), **FEW)
    is_one_sentence(caught.value)
    assert known.read_text().count("\n") == 1  # nothing was written down


HANGS = {
    "says nothing": "signal.pause()",
    "says nothing and takes nothing in": "os.kill(os.getpid(), signal.SIGSTOP)",
    "says half": "sys.stdout.write('EDGEPROF '); sys.stdout.flush()\nwhile True: signal.pause()",
    "never gets the agent": "sys.argv[:] = ['python', *sys.argv[3:]]\nprint('EDGEPROF', sys.argv[1], 'send', flush=True)\nsignal.pause()",
}


@pytest.mark.parametrize("kind", HANGS)
def test_python_that_hangs_and_does_not_see_that_the_host_is_gone(kind, sshd, model, tmp_path, monkeypatch):
    monkeypatch.setattr(line, "ANSWERS_S", 2.0)
    python = program(tmp_path, f"import signal\n[signal.signal(each, signal.SIG_IGN) for each in (1, 2, 13, 15)]\n{HANGS[kind]}")
    board = SshBoard(replace(sshd.entry, python=python))
    with pytest.raises(BoardLost, match=r"ssh took the connection but its Python said nothing for 2 s\. Look what it is busy") as caught:
        ep.profile(model, board=board, **FEW)
    is_one_sentence(caught.value)
    await_(lambda: not sshd_runs(sshd, python), "the Python that hangs is left on the board")
    board.close()


# Noise


def test_banner_and_noise_are_passed_over(sshd, model, tmp_path):
    banner = tmp_path / "banner"
    banner.write_text("Private system.\n\x1b[31mEP1 2 0\n")
    with (
        Sshd(tmp_path / "noisy", "noisy", settings=f"Banner {banner}") as noisy,
        noisy.login(
            "echo Welcome; echo 'EDGEPROF 0123 ready'; printf 'EP1 2 0\\n{}\\0\\n'; echo a warning >&2", "head -c 3000000 /dev/zero >&2 &"
        ),
    ):
        profile = ep.profile(model, board=(board := SshBoard(noisy.entry)), **FEW)
        board.close()
        noisy.is_left_clean()
    assert profile.context.runs == 4 and profile.context.board == "noisy"


# The link is cut


def test_link_cut_in_transfer_then_only_the_rest_is_sent(sshd, ssh_board, big, monkeypatch):
    monkeypatch.setattr(line, "PING_S", 0.02)  # answers to pings come between the others
    sent: list[Progress] = []

    def halfway(event: Event) -> bool:
        return isinstance(event, Progress) and event.phase == "send" and event.done > 1 << 20

    with pytest.raises(BoardLost, match="The link to ssh was lost") as caught:
        ep.profile(big, board=ssh_board, **FEW | {"progress": at(halfway, sshd.cut)})
    is_one_sentence(caught.value)
    (part,) = (sshd.cache / "blobs").glob(".part-*")
    there = part.stat().st_size
    assert 1 << 20 <= there < 64_000_000
    profile = ep.profile(big, board=ssh_board, **FEW | {"progress": lambda event: sent.append(event) if in_phase("send")(event) else None})
    assert profile.context.runs == 4
    assert there < sent[0].done < sent[-1].done == sent[-1].total
    assert not list((sshd.cache / "blobs").glob(".part-*"))


def test_link_cut_in_the_run_and_the_door_killed(sshd, ssh_board, slow, tmp_path):
    for how in (sshd.cut, lambda: sshd.agent("door").kill()):
        name = lose(sshd, ssh_board, slow, how, tmp_path)
        assert [job.state for job in ssh_board.jobs()] == ["running"]
        profile = ep.attach(name, slow, board=ssh_board, progress=False)
        assert profile.context.runs == MANY and "incomplete" not in {finding.id for finding in profile.findings}
        sshd.is_left_clean()


def test_door_hangs_in_the_run_while_the_link_is_alive(sshd, ssh_board, slow, tmp_path, monkeypatch):
    monkeypatch.setattr(line, "SILENT_S", 3.0)
    monkeypatch.setattr(line, "PING_S", 0.1)
    doors: list[psutil.Process] = []

    def stop() -> None:
        doors.append(sshd.agent("door"))
        doors[0].suspend()

    name = lose(sshd, ssh_board, slow, stop, tmp_path)
    doors[0].resume()
    profile = ep.attach(name, slow, board=ssh_board, progress=False)
    assert profile.context.runs == MANY


# Something dies on the board


def kill_worker(sshd: Sshd) -> None:
    for process in sshd.agents():
        if process.cmdline()[-1] == "work":
            process.kill()


@pytest.mark.parametrize("who", ["keep", "work"])
def test_process_of_a_job_killed(who, sshd, ssh_board, slow, tmp_path):
    how = (lambda: sshd.agent("keep").kill()) if who == "keep" else (lambda: kill_worker(sshd))
    with pytest.raises(BoardLost, match=r"died: killed by SIGKILL\. What was measured until then is kept") as caught:
        ep.profile(slow, board=ssh_board, runs=MANY, warmup=1, progress=at(layers_came, how))
    is_one_sentence(caught.value)
    opens(caught.value.profile, tmp_path)


def test_runtime_that_crashes(sshd, ssh_board, model):
    with (
        sshd.runtime("os.write(2, b'cannot open cheese'); os.kill(os.getpid(), signal.SIGSEGV)"),
        pytest.raises(BoardLost, match=r"killed by SIGSEGV\. Nothing had been measured.*another version.*cannot open cheese") as caught,
    ):
        ep.profile(model, board=ssh_board, **FEW)
    is_one_sentence(caught.value)


def test_runtime_that_hangs_frees_the_board(sshd, ssh_board, model, monkeypatch):
    monkeypatch.setattr(opening, "SILENT_LIMIT_S", 0.5)
    quick = EnergyPlan(model_s=0.5, loop_s=0.1, idle_s=0.2, warm_limit_s=0)
    with sshd.runtime("signal.pause()"), pytest.raises(BoardLost, match=r"said nothing for 1 s and was ended; the runtime hangs") as caught:
        ep.profile(model, board=ssh_board, energy_plan=quick, **FEW)
    is_one_sentence(caught.value)


def test_clock_of_the_board_jumps(sshd, ssh_board, model, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import itertools, time\nnow, jumps = time.time, itertools.cycle([0, 4e8, -4e8])\ntime.time = lambda: now() + next(jumps)\n"
    )
    with sshd.login(f"PYTHONPATH={tmp_path}; export PYTHONPATH"):
        profile = ep.profile(model, board=ssh_board, **FEW)
    assert profile.context.runs == 4
    assert profile.runs["start_ms"].is_monotonic_increasing and (profile.runs["latency_ms"] < 60_000).all()


# No room


def test_file_that_the_board_has_no_room_for(sshd, ssh_board, big):
    small_files = sshd.login("ulimit -f 4096")  # 2 MB
    with small_files, pytest.raises(BoardError, match=r"ssh refused: File too large .*Raise the limit .*ulimit -f") as caught:
        ep.profile(big, board=ssh_board, **FEW)
    is_one_sentence(caught.value)
    entry = replace(sshd.entry, cache_mb=1)
    assert ep.profile(big, board=SshBoard(entry), **FEW).context.runs == 4  # a job's own files are never removed


def test_spool_of_a_job_outgrows_the_files_of_the_board(sshd, ssh_board, slow, tmp_path):
    def limit() -> None:
        size = (sshd.jobs[0] / "spool").stat().st_size
        sshd.agent("keep").rlimit(psutil.RLIMIT_FSIZE, (size + (80 << 10), psutil.RLIM_INFINITY))

    with pytest.raises(BoardError, match=r"The board could not go on: File too large: on the board\. Raise .*ulimit -f") as caught:
        ep.profile(slow, board=ssh_board, runs=MANY, warmup=1, progress=at(layers_came, limit))
    is_one_sentence(caught.value)
    opens(caught.value.profile, tmp_path)


def test_trace_of_the_runtime_outgrows_the_files_of_the_board(sshd, ssh_board, make_model):
    """The runtime itself tells nobody, and what it wrote until then looks whole."""
    limited = sshd.login("ulimit -f 4096")
    with limited, pytest.raises(BoardError, match=r"could not go on: File too large: the runtime's trace\. Raise .*ulimit -f") as caught:
        ep.profile(make_model("long chain"), board=ssh_board, runs=30, warmup=1, memory=False, progress=False)
    is_one_sentence(caught.value)


@pytest.fixture
def small_disk(sshd: Sshd, tmp_path: Path) -> Iterator[Path]:
    """A file system of 80 MB that the board, or the host, keeps its files on."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file:
        for piece in (bytes(1 << 20), bytes(1 << 12), bytes(1)):
            try:
                while True:
                    file.write(piece)
            except OSError:
                continue


def test_disk_of_the_board_is_full(sshd, slow, big, small_disk, tmp_path):
    board = SshBoard(replace(sshd.entry, folder=str(small_disk / "cache")))
    with pytest.raises(
        BoardError, match=r"ssh refused: [\d,]+ bytes are needed in its folder and [\d,]+ are free.*Free space there"
    ) as caught:
        ep.profile(big, board=board, **FEW)
    is_one_sentence(caught.value)
    with pytest.raises(BoardError, match=r"The board could not go on: No space left on device") as caught:
        ep.profile(slow, board=board, runs=MANY, warmup=1, progress=at(layers_came, lambda: fill(small_disk)))
    is_one_sentence(caught.value)
    opens(caught.value.profile, tmp_path)
    board.close()
    for path in (small_disk / "cache" / "agent").iterdir():
        path.unlink()
    fill(small_disk)
    with pytest.raises(BoardUnreachable, match=r"The agent cannot be put in .*No space left on device.*Free space") as caught:
        ep.profile(slow, board=board, **FEW)
    is_one_sentence(caught.value)
    board.close()


# Several at once


def test_second_host_waits_and_is_served(sshd, ssh_board, slow, model):
    other = SshBoard(sshd.entry)
    first = start(ssh_board, slow)
    events = first.events()
    next(event for event in events if in_phase("measure")(event))
    with pytest.raises(BoardBusy, match=r"ssh is in use by .*@.* since \d\d:\d\d:\d\d \(.*\)\. Wait for it with --wait") as caught:
        ep.profile(model, board=other, wait_s=0, **FEW)
    is_one_sentence(caught.value)
    assert other.health()["in_use"]["who"] == opening.who()
    heard: list[Event] = []

    def wait(event: Event) -> None:
        heard.append(event)
        at(lambda event: isinstance(event, Waiting), first.cancel)(event)

    profile = ep.profile(model, board=other, wait_s=60, **FEW | {"progress": wait})
    assert profile.context.runs == 4
    assert any(isinstance(event, Waiting) and "ssh is in use by" in event.text for event in heard)
    assert list(events)
    other.close()


def test_cancelled_while_the_board_starts_the_job(sshd, ssh_board, model, tmp_path, monkeypatch):
    """The door that was told to start it may be slower than the one that is told to end it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time\nmake = os.makedirs\n"
        "def slow(path, *rest, **named):\n    time.sleep(0.5 * ('/jobs/2' in path))\n    make(path, *rest, **named)\n"
        "os.makedirs = slow\n"
    )
    say, jobs = line.Line.say, []

    def say_and_cancel(self: line.Line, kind: str, *rest: object) -> None:
        say(self, kind, *rest)
        if kind == "start":
            threading.Thread(target=jobs[0].cancel).start()

    monkeypatch.setattr(line.Line, "say", say_and_cancel)
    with sshd.login(f"PYTHONPATH={tmp_path}; export PYTHONPATH"):
        jobs.append(start(ssh_board, model))
        assert isinstance(list(jobs[0].events())[-1], Cancelled)


# Ctrl-C, from the command line


class Host:
    """``edgeprof`` as a process of its own, with the board in its boards file."""

    def __init__(self, sshd: Sshd, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "EDGEPROF_BOARDS": str(folder / "boards.toml"), "TERM": "dumb"}
        add(sshd.entry, folder / "boards.toml")

    def begin(self, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgeprof", *map(str, arguments)]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: object, status: int = 0) -> tuple[str, str]:
        out, err = (process := self.begin(*arguments)).communicate(timeout=120)
        assert process.returncode == status, err
        return out, err


@pytest.fixture
def host(sshd: Sshd, tmp_path: Path) -> Host:
    return Host(sshd, tmp_path)


def interrupted(process: subprocess.Popen[str], again: bool = False) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    if again:
        process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert "Traceback" not in err
    return process.returncode, err


def measures(sshd: Sshd) -> bool:
    """Whether layer times have arrived in a job's spool."""
    return any((job / "spool").exists() and b'"type":"trace","of":""' in (job / "spool").read_bytes() for job in sshd.jobs)


def test_interrupted_before_the_run(sshd, host, ssh_board, slow, big, tmp_path):
    add(replace(sshd.entry, name="slow-python", python=program(tmp_path, "sys.stdin.buffer.read()")), tmp_path / "boards.toml")
    with listener(5) as port:
        add(at_port(replace(sshd.entry, name="silent"), port), tmp_path / "boards.toml")
        connecting = host.begin("profile", slow, "--board", "silent", "--quiet")
        await_(lambda: psutil.Process(connecting.pid).net_connections())
        assert interrupted(connecting) == (130, "Stopped. Nothing was kept.\n")
    opening_door = host.begin("profile", slow, "--board", "slow-python", "--quiet")
    await_(lambda: sshd_runs(sshd, str(tmp_path / "python")))
    assert interrupted(opening_door) == (130, "Stopped. Nothing was kept.\n")
    await_(lambda: not sshd_runs(sshd, str(tmp_path / "python")))
    sending = host.begin("profile", big, "--board", "ssh", "--quiet")
    await_(lambda: list((sshd.cache / "blobs").glob(".part-*")))
    assert interrupted(sending) == (130, "Stopped. Nothing was kept.\n")
    sshd.is_left_clean()
    holder = start(ssh_board, slow, runs=1_000_000)  # until it is cancelled
    events = holder.events()
    next(event for event in events if in_phase("measure")(event))
    waiting = host.begin("profile", slow, "--board", "ssh", "--wait", "100")
    assert "ssh is in use by" in waiting.stderr.readline()
    assert interrupted(waiting)[0] == 130
    holder.cancel()
    assert list(events)


@pytest.mark.parametrize("phase", ["send", "environment", "unpack", "check"])
def test_interrupted_in_set_up_then_it_goes_on(phase, sshd, tmp_path, monkeypatch, capsys):
    offered(tmp_path / "cache" / "edgeprof" / "wheels", 4 << 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEPROF_BOARDS", str(tmp_path / "boards.toml"))
    add(sshd.entry, tmp_path / "boards.toml")
    command, stopped = ["boards", "setup", "ssh", "--runtime-version", VERSION], threading.Event()

    @contextmanager
    def stopping() -> Iterator[Callable[[str, int, int], None]]:
        def show(at: str, done: int, total: int) -> None:
            if at == phase and not stopped.is_set():
                stopped.set()
                os.kill(os.getpid(), signal.SIGINT)

        yield show

    with monkeypatch.context() as patch:
        patch.setattr(setup, "_progress", stopping)
        assert main(command) == 130
    assert capsys.readouterr().err == "Stopped. What is on the board by now is used when it is set up again.\n"
    sshd.is_left_clean()
    assert main(command) == 0
    assert "et up: onnxruntime 9.9.9" in capsys.readouterr().out
    assert main(["boards", "setup", "ssh", "--remove"]) == 0


def test_interrupted_in_the_run(sshd, host, slow, tmp_path):
    running = host.begin("profile", slow, "--board", "ssh", "--runs", MANY, "-o", "x.edgeprof")
    await_(lambda: measures(sshd))
    status, err = interrupted(running)
    assert status == 130 and "Saved x.edgeprof." in err
    assert "incomplete" in {finding.id for finding in ep.load(tmp_path / "x.edgeprof").findings}
    sshd.is_left_clean()
    running = host.begin("profile", slow, "--board", "ssh", "--runs", MANY, "-o", "y.edgeprof")
    await_(lambda: measures(sshd))
    assert interrupted(running, again=True)[0] == 130


def test_host_killed_then_attached_from_the_command_line(sshd, host, slow, tmp_path):
    running = host.begin("profile", slow, "--board", "ssh", "--runs", 1000)
    await_(lambda: measures(sshd))
    running.kill()
    running.communicate()
    out, _ = host.run("boards", "jobs", "--json")
    (job,) = sshd.jobs
    assert f'"job": "{job.name}"' in out and '"model": "slow.onnx"' in out
    host.run("profile", "--attach", f"ssh/{job.name}", "-o", "fetched.edgeprof", "--quiet")
    profile = ep.load(tmp_path / "fetched.edgeprof")
    assert profile.context.runs == 1000 and profile.context.model_name == "slow.onnx"


# No room on this machine


def begun(sshd: Sshd, host: Host, model: Path, output: Path) -> subprocess.Popen[str]:
    """A measurement from the command line whose first layer times have arrived."""
    process = host.begin("profile", model, "--board", "ssh", "--runs", MANY, "--quiet", "-o", output)
    await_(lambda: measures(sshd) or process.poll() is not None)
    return process


def test_disk_of_the_host_is_full_then_the_job_is_fetched(sshd, host, slow, small_disk):
    """Neither the output nor the temporary folder has room: the board keeps what it measured until it can be saved."""
    output = small_disk / "x.edgeprof"
    host.environment["TMPDIR"] = str(small_disk)
    running = begun(sshd, host, slow, output)
    fill(small_disk)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 2 and not out, err
    (job,) = sshd.jobs
    assert err.startswith(f"Cannot write {output}: No space left on device. Free some space, or choose another folder. ")
    assert err.endswith(f"The board still has it: `edgeprof profile --attach ssh/{job.name}` fetches it.\n") and err.count("\n") == 1
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    assert "Nothing can be written in the output's folder" in host.run("profile", "--attach", f"ssh/{job.name}", "-o", output, status=2)[1]
    assert sshd.jobs == [job]
    (small_disk / "filler").unlink()
    host.run("profile", "--attach", f"ssh/{job.name}", "-o", output, "--quiet")
    profile = ep.load(output)
    assert profile.context.runs == MANY and not {"incomplete", "executed-unreadable"} & {finding.id for finding in profile.findings}
    assert [path.name for path in small_disk.iterdir()] == ["x.edgeprof"]


def test_disk_of_the_output_is_full(sshd, host, slow, small_disk, tmp_path):
    """What the temporary folder takes instead need not stay on the board."""
    running = begun(sshd, host, slow, small_disk / "x.edgeprof")
    fill(small_disk)
    err = running.communicate(timeout=120)[1]
    assert running.returncode == 2 and err.count("\n") == 1 and "--attach" not in err
    kept = Path(err.partition("The profile was saved as ")[2].removesuffix(" instead.\n"))
    assert ep.load(kept).context.runs == MANY
    shutil.rmtree(kept.parent)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_temporary_folder_is_full(sshd, host, slow, small_disk, tmp_path):
    """The model that the runtime made cannot be laid down to be read: what was measured is kept all the same."""
    host.environment["TMPDIR"] = str(small_disk)
    running = begun(sshd, host, slow, tmp_path / "x.edgeprof")
    fill(small_disk)
    err = running.communicate(timeout=120)[1]
    assert running.returncode == 0 and not err
    profile = ep.load(tmp_path / "x.edgeprof")
    assert profile.context.runs == MANY and "executed-unreadable" in {finding.id for finding in profile.findings}
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_disk_of_the_host_is_full_and_the_job_is_cut_short(sshd, host, slow, small_disk):
    """Both are said: why it ended, and that what there is cannot be saved."""
    host.environment["TMPDIR"] = str(small_disk)
    running = begun(sshd, host, slow, small_disk / "x.edgeprof")
    fill(small_disk)
    kill_worker(sshd)
    err = running.communicate(timeout=120)[1]
    assert running.returncode == 2 and err.count("\n") == 1
    assert "No space left on device" in err and "It was cut short: The agent on ssh died: killed by SIGKILL." in err
    (job,) = sshd.jobs
    assert f"--attach ssh/{job.name}`" in err
    host.run("boards", "jobs", "--kill", f"ssh/{job.name}")


# Detached


def test_detached_and_attached(sshd, host, ssh_board, make_model, model, slow, tmp_path):
    heavy = make_model("external data")
    with pytest.raises(UsageError, match=r"There is no option 'run'.*'runs'"):
        profiler.start(heavy, board=ssh_board, run=3)
    name = profiler.start(heavy, board=ssh_board, runs=5, warmup=1)
    with pytest.raises(UsageError, match=r"slow\.onnx is not the model that job .* runs \(model\.onnx\)"):
        ep.attach(name, slow, board=ssh_board, progress=False)
    fetched = ep.attach(name, board=ssh_board, progress=False)
    assert fetched.context.runs == 5 and "MatMul" in set(fetched.measured_layers["op_type"])
    with pytest.raises(BoardError, match=r"There is no job .* on ssh\. `edgeprof boards jobs ssh`"):
        ep.attach(name, board=ssh_board, progress=False)
    out, err = host.run("profile", slow, "--board", "ssh", "--runs", MANY, "--detach")
    assert err.count("\n") == 1 and f"--attach {out.strip()}`" in err
    host.run("boards", "jobs", "--kill", out.strip())
    sshd.is_left_clean()


def test_attached_to_a_job_that_failed_or_died(sshd, ssh_board, make_model, slow):
    name = profiler.start(make_model("ints"), board=ssh_board, inputs={"ids": np.full((1, 4), 99)}, runs=5)
    await_(lambda: [job.state for job in ssh_board.jobs()] == ["failed"])
    with pytest.raises(RunFailed, match=r"A run of the model failed: .*--inputs"):
        ep.attach(name, board=ssh_board, progress=False)
    sshd.is_left_clean()
    name = profiler.start(slow, board=ssh_board, runs=MANY)
    await_(lambda: measures(sshd))
    sshd.agent("keep").kill()
    await_(lambda: [job.state for job in ssh_board.jobs()] == ["died"])
    with pytest.raises(BoardLost, match=r"died: it ended without a word\. What was measured until then is kept") as caught:
        ep.attach(name, board=ssh_board, progress=False)
    assert 0 < caught.value.profile.context.runs < MANY
    is_one_sentence(caught.value)


def test_slow_link(sshd, slow, tmp_path):
    """50 ms each way; one piece in a hundred comes later, as when its packet was lost."""
    config = tmp_path / "config"
    config.write_text(f"ProxyCommand {sys.executable} -S {RELAY} %h %p 50 1\n")
    board = SshBoard(replace(sshd.entry, ssh_config=str(config)))
    profile = ep.profile(slow, board=board, **FEW)
    board.close()
    assert profile.context.runs == 4 and "incomplete" not in {finding.id for finding in profile.findings}


def test_inputs_that_are_big_or_texts(ssh_board, tmp_path):
    text = (
        '<ir_version: 8, opset_import: ["": 17]> g (float[n] x, string[3] s) => (float[n] y, string[3] t) { y = Relu(x)\n t = Identity(s) }'
    )
    onnx.save(parser.parse_model(text), tmp_path / "m.onnx")
    inputs = {"x": np.ones(5_000_000, np.float32), "s": np.array(["ä\0\n\x1b[2J", "\ud7ff", ""], object)}
    profile = ep.profile(tmp_path / "m.onnx", board=ssh_board, inputs=inputs, **FEW)
    assert profile.context.input_shapes == {"x": (5_000_000,), "s": (3,)}
