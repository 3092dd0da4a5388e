"""Sweeps on a real Dask cluster: a scheduler and two workers, each with a board; what is sent, what is lost, what is refused."""

from __future__ import annotations

import datetime
import ipaddress
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from distributed import Client, LocalCluster
from distributed import Event as Flag
from distributed.security import Security

import edgeprof as ep
from edgeprof import __version__
from edgeprof.boards.base import Progress
from edgeprof.errors import UsageError
from edgeprof.models.probes import make_probes
from edgeprof.sweeping import cluster as clusters
from edgeprof.sweeping.cluster import Cluster, measure
from edgeprof.sweeping.conduct import Begun
from edgeprof.sweeping.plan import make_plan
from tests.fleet_boards import Counting, quick

FEW = {"runs": 3, "warmup": 1, "memory": False}
MANY = {"runs": 20_000, "warmup": 1, "memory": False}
ROOT = Path(__file__).parent.parent


class Process:
    """A program of Dask; its output is read until it says ``ready``, and then thrown away."""

    def __init__(self, folder: Path, ready: str, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = next(line for line in self.process.stderr if ready in line)
        self.reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.reader.start()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.reader.join()
        self.process.stderr.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler, a worker under a nanny with the board ``simulated``, and one without with ``simulated:hot``."""
    folder = tmp_path_factory.mktemp("dask")
    scheduler = Process(folder, "Scheduler at:", "scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard")
    address = scheduler.said.split()[-1]
    common = ("worker", address, "--nthreads=1", "--no-dashboard")
    nanny = Process(folder, "Registered to:", *common, "--resources", "board:simulated=1", "--local-directory", "one")
    plain = Process(folder, "Registered to:", *common, "--no-nanny", "--resources", "board:simulated:hot=1", "--local-directory", "two")
    yield address
    for process in (nanny, plain, scheduler):
        process.end()


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, set_as_default=False) as found:
        yield found


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model whose path is another one on a worker, which has another current folder: so it must be sent."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.onnx").write_bytes(make_probes()[0].model)
    return "/proc/self/cwd/tiny.onnx"


def swept(model, address, boards, **options):
    return ep.sweep(model, boards=boards, dask=address, progress=options.pop("progress", False), **options)


def test_the_same_table_as_from_here(model, address):
    boards, settings = ["simulated", "simulated:hot"], [{"threads": 1}, {"threads": 2}]
    listener = Counting()
    found = swept(model, address, boards, settings=settings, progress=listener, **FEW)
    assert [*found.table["status"]] == ["done"] * 4
    here = ep.sweep(model, boards=boards, settings=settings, out="here", progress=False, **FEW)
    without_keys = [table.drop(columns=["key", "file"]) for table in (found.table, here.table)]
    pd.testing.assert_frame_equal(*without_keys)
    assert {board for board, event in listener.heard if isinstance(event, Progress)} == {*boards}
    assert len(listener.of(Begun)) == 4
    assert found.study.profile(found.table["key"][0]).context.model_name == "tiny.onnx"
    assert {*swept(model, address, boards, settings=settings, **FEW).table["status"]} == {"skipped"}


def test_a_killed_worker_is_told_and_nothing_is_run_again(model, address, client):
    info = client.scheduler_info(n_workers=-1)["workers"]
    worker = next(place for place, told in info.items() if "board:simulated" in told["resources"])
    pid = client.run(os.getpid, workers=[worker])[worker]
    killed = []

    def kill(board, event):
        if board == "simulated" and isinstance(event, Progress) and not killed:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    found = swept(model, address, ["simulated", "simulated:hot"], settings=[MANY], progress=kill, time_limit_s=1e-3)
    lost, other = found.table.to_dict("records")
    assert killed
    assert (lost["status"], lost["attempts"], other["status"]) == ("failed", 1, "done")
    assert "was lost in the middle of it. Nothing was run again" in lost["error"]
    client.wait_for_workers(2, timeout=60)  # the nanny has started another
    again = swept(model, address, ["simulated"], **FEW)
    assert [*again.table["status"]] == ["done"]
    assert [*again.study.table["attempts"]] == [1, 1, 1]


def test_a_second_attempt_refuses(model, address, client):
    [task] = make_plan(model, "simulated", None, FEW, remote=True).tasks["simulated"]
    request = {
        "token": "t",
        "topic": "t",
        "edgeprof": __version__,
        "board": "simulated",
        "cell": asdict(task.cell),
        "path": "x",
        "shapes": None,
    }
    request["options"] = dict(task.options)
    data = Path(model).read_bytes()
    first, second, other = (
        client.submit(measure, {**request, **change}, data, pure=False, key=f"test-{number}", resources={"board:simulated": 1}).result()
        for number, change in enumerate([{}, {}, {"edgeprof": "0.0.1", "token": "u"}])
    )
    assert first["status"] == "done"
    assert (second["status"], second.get("bundle")) == ("failed", None)
    assert "Nothing was run again" in second["error"]
    assert other["error"] == f"The worker has edgeprof {__version__}, not 0.0.1. Install the same on both."
    Flag("edgeprof-begun-t", client=client).clear()


def test_stopping_keeps_what_was_measured(model, address):
    def stop(board, event):
        if isinstance(event, Progress) and event.phase == "measure" and event.done:
            raise KeyboardInterrupt

    found = swept(model, address, "simulated", settings=[MANY], progress=stop)
    assert found.interrupted and [*found.table["status"]] == ["cancelled"]
    assert any(finding.id == "incomplete" for finding in found.study.profiles(partial=True)[0].findings)


def hold(name: str) -> None:
    Flag(name).wait()


def test_stopping_behind_somebody_else(model, address, client):
    held = client.submit(hold, "held", resources={"board:simulated": 1}, pure=False)

    def stop(board, event):
        if isinstance(event, Begun):
            raise KeyboardInterrupt

    found = swept(model, address, "simulated", progress=stop, **FEW)
    assert [*found.table["status"]] == ["cancelled"]
    Flag("held", client=client).set()
    held.result()
    Flag("held", client=client).clear()


def test_what_cannot_be_is_said_at_once(model, address, client, monkeypatch):
    with pytest.raises(UsageError, match=r'No worker .* has the board .pi5.\. Start one .*--resources "board:pi5=1"'):
        swept(model, address, ["simulated", "pi5"])
    with pytest.raises(UsageError, match="a board is a name that the cluster's workers know"):
        swept(model, address, [quick("a")])
    with pytest.raises(UsageError, match="give the files ca, cert and key"):
        swept(model, address, "simulated", dask_security={"ca": "x"})
    with pytest.raises(UsageError, match="The file 'x' for the ca of TLS is not there"):
        swept(model, address, "simulated", dask_security={"ca": "x", "cert": "x", "key": "x"})
    monkeypatch.setattr(clusters, "CONNECT_WITHIN_S", 0.5)
    with pytest.raises(UsageError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1:"):
        swept(model, "tcp://127.0.0.1:1", "simulated")
    with Cluster(address) as found:
        monkeypatch.setattr(found, "workers", lambda board: {"tcp://a": 1, "tcp://b": 1})
        with pytest.raises(UsageError, match="is declared 2 times by 2 worker"):
            found.runner("simulated")
    assert not Path("study").exists()


def test_a_board_that_left_is_an_error_not_a_wait(model, address, monkeypatch):
    monkeypatch.setattr(clusters, "BOARD_BACK_WITHIN_S", 0)
    monkeypatch.setattr(clusters, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(Cluster, "workers", lambda self, board: {})
    [task] = make_plan(model, "gone", None, FEW, remote=True).tasks["gone"]
    with Cluster(address) as found:
        outcome = clusters.ClusterRunner(found, "gone").run(task, lambda event: None, lambda: None)
    assert (outcome.status, outcome.error) == (
        "failed",
        "The worker of the board 'gone' left the Dask cluster. Start it again, then sweep again.",
    )


def test_a_scheduler_that_dies_keeps_what_is_done_and_the_sweep_goes_on_with_another(model, tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "CONNECT_WITHIN_S", 2.0)
    began = []

    def kill(board, event):
        if isinstance(event, Begun):
            began.append(board)
        if len(began) == 2 and isinstance(event, Progress) and event.phase == "measure":
            scheduler.process.kill()

    with own_cluster(tmp_path / "first") as (address, scheduler):
        found = swept(model, address, "simulated", settings=[FEW, MANY, {**FEW, "runs": 4}], progress=kill)
    done, *lost = found.table.to_dict("records")
    assert done["status"] == "done" and [each["status"] for each in lost] == ["failed", "failed"]
    for each in lost:
        assert "scheduler" in each["error"] and each["error"].endswith(".") and each["error"].isprintable()
    with own_cluster(tmp_path / "second") as (address, _):
        again = swept(model, address, "simulated", settings=[FEW, {**FEW, "runs": 4}])
    assert sorted(again.table["status"]) == ["done", "skipped"]


@contextmanager
def own_cluster(folder: Path) -> Iterator[tuple[str, Process]]:
    """A scheduler that may be killed, and a worker with the board ``simulated``."""
    folder.mkdir()
    scheduler = Process(folder, "Scheduler at:", "scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard")
    address = scheduler.said.split()[-1]
    options = ("--nthreads=1", "--no-dashboard", "--no-nanny", "--resources", "board:simulated=1", "--death-timeout", "1")
    worker = Process(folder, "Registered to:", "worker", address, *options)
    try:
        yield address, scheduler
    finally:
        worker.end()
        scheduler.end()


def certificates(folder: Path) -> dict[str, str]:
    """A key and a certificate that it signed itself, which is its own authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edgeprof test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - datetime.timedelta(days=1), now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    (folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    return {"ca": str(folder / "cert.pem"), "cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


def test_tls(model, tmp_path):
    files = certificates(tmp_path)
    both = {f"tls_{who}_{what}": files[what] for who in ("scheduler", "worker", "client") for what in ("cert", "key")}
    security = Security(require_encryption=True, tls_ca_file=files["ca"], **both)
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": False}
    with LocalCluster(protocol="tls", host="127.0.0.1", security=security, resources={"board:simulated": 1}, **options) as cluster:
        assert cluster.scheduler_address.startswith("tls://")
        found = swept(model, cluster.scheduler_address, "simulated", dask_security=files, **FEW)
        assert [*found.table["status"]] == ["done"]
        with pytest.raises(UsageError, match="and the files of TLS"):
            swept(model, cluster.scheduler_address, "simulated", **FEW)
