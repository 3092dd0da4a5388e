"""Small models of every kind that a board must be able to run, the boards, and a temporary folder that must be empty again."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import edgeprof as ep
from edgeprof.boards.base import Board, Event, Job
from edgeprof.boards.local import LocalBoard
from edgeprof.boards.replay import ReplayBoard
from edgeprof.boards.simulated import SimulatedBoard
from edgeprof.boards.ssh import SshBoard
from edgeprof.records.trace import RunPlan
from tests.boards.ssh import rig

HEAD = '<ir_version: 8, opset_import: ["": 17]>'
RNG = np.random.default_rng(0)


def text(body: str, *weights: tuple[str, np.ndarray]) -> onnx.ModelProto:
    model = parser.parse_model(f"{HEAD}\n{body}")
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights)
    return model


def weights(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def chain(n: int) -> onnx.ModelProto:
    names = ["x", *(f"t{i}" for i in range(n - 1)), "y"]
    ops = ("Relu", "Neg", "Abs", "Tanh")
    nodes = [helper.make_node(ops[i % 4], [names[i]], [names[i + 1]], name=f"n{i}") for i in range(n)]
    return graph_of(nodes, {"x": [1, 4]}, {"y": [1, 4]})


def graph_of(nodes, inputs: dict[str, list[int]], outputs: dict[str, list[int]], initializers=()) -> onnx.ModelProto:
    infos = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in part.items()] for part in (inputs, outputs)]
    return helper.make_model(
        helper.make_graph(nodes, "g", *infos, list(initializers)), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def external(folder: Path) -> onnx.ModelProto:
    model = text("g (float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }", ("w", weights(64, 64)))
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return onnx.load(folder / "model.onnx", load_external_data=False)


def branches(_: Path) -> onnx.ModelProto:
    return text(
        "g (float[1,8,16,16] x) => (float[1,8,16,16] y) {"
        " a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, wa)\n ra = Relu(a)\n"
        " b = Conv<kernel_shape=[1,1]>(x, wb)\n sb = Sigmoid(b)\n y = Add(ra, sb) }",
        ("wa", weights(8, 8, 3, 3)),
        ("wb", weights(8, 8, 1, 1)),
    )


def qdq(_: Path) -> onnx.ModelProto:
    scale, zero = np.float32(0.05), np.int8(0)
    return text(
        "g (float[1,16] x) => (float[1,16] y) {"
        " xq = QuantizeLinear(x, s, z)\n xd = DequantizeLinear(xq, s, z)\n wd = DequantizeLinear(wq, s, z)\n"
        " m = MatMul(xd, wd)\n mq = QuantizeLinear(m, s, z)\n y = DequantizeLinear(mq, s, z) }",
        ("s", np.array(scale)),
        ("z", np.array(zero)),
        ("wq", RNG.integers(-127, 127, (16, 16)).astype(np.int8)),
    )


MODELS: dict[str, Callable[[Path], onnx.ModelProto]] = {
    "one node": lambda _: text("g (float[1,8] x) => (float[1,8] y) { y = Softmax(x) }"),
    "two branches": branches,
    "strings": lambda _: text("g (string[4] x) => (string[4] y) { y = Identity(x) }"),
    "ints": lambda _: text("g (int64[1,4] ids) => (float[1,4,8] y) { y = Gather(table, ids) }", ("table", weights(32, 8))),
    "no inputs": lambda _: text("g () => (float[n] y) { r = RandomNormal<shape=[8]>()\n y = Relu(r) }"),
    "dynamic shapes": lambda _: text("g (float[batch, n] x) => (float[batch, n] y) { r = Relu(x)\n y = Softmax(r) }"),
    "dynamic outputs": lambda _: text("g (float[8] x) => (int64[1, n] y) { y = NonZero(x) }"),
    "if": lambda _: text(
        "g (float[1,8] x, bool c) => (float[1,8] y) { y = If (c) <"
        " then_branch = t () => (float[1,8] a) { a = Relu(x) },"
        " else_branch = e () => (float[1,8] b) { n = Neg(x)\n b = Relu(n) }> }"
    ),
    "loop": lambda _: text(
        "g (float[8] x) => (float[8] y) { n = Constant<value_int = 3>()\n"
        " y = Loop (n, , x) <body = b (int64 i, bool c, float[8] s) => (bool d, float[8] t) { d = Identity(c)\n t = Tanh(s) }> }"
    ),
    "external data": external,
    "int8": qdq,
    "float16": lambda _: text(
        "g (float16[1,16] x) => (float16[1,16] y) { m = MatMul(x, w)\n y = Relu(m) }", ("w", weights(16, 16, dtype="float16"))
    ),
    "no nodes": lambda _: graph_of([], {"x": [1, 8]}, {"x": [1, 8]}),
    "long chain": lambda _: chain(2000),  # twice as deep as Python recurses
}


BOARDS = ("local", "ssh", "simulated")
"""Boards that can be made here; one that is added is put to the whole suite."""
MANY = {"local": 2_000, "ssh": 2_000, "simulated": 100_000}
"""Runs that take long enough to be disturbed; a simulated board makes a hundred of them at once."""


def real_only(reason: str) -> pytest.MarkDecorator:
    """Puts a test to boards that run the model; ``reason`` is for who reads it."""
    return pytest.mark.parametrize("board", ["local", "ssh"], indirect=True)


def with_replay(test: Callable[..., None]) -> Callable[..., None]:
    """Puts a test to recordings too: one that asks nothing which was not recorded."""
    mark = pytest.mark.parametrize("board", [*BOARDS, "replay"], indirect=True)
    return mark(test)


class Recorded:
    """A replay of whatever model it is given, recorded on a simulated board first."""

    name, origin = "simulated", "replayed"

    def start(self, model: Path, plan: RunPlan, runtime: str = "onnxruntime") -> Job:
        recording = ep.profile(model, board=SimulatedBoard(), runs=plan.runs, warmup=plan.warmup, progress=False)
        return ReplayBoard(recording, speed=1).start(model, plan, runtime)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Sshd]:
    """A board that an OpenSSH server of its own leads to."""
    if rig.SSHD is None or rig.KEYGEN is None:
        pytest.skip("there is no OpenSSH server; install openssh-server")
    server = rig.Sshd(tmp_path_factory.mktemp("sshd") / "board", "ssh")
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def ssh_board(sshd: rig.Sshd) -> Iterator[SshBoard]:
    """That board, seen from here; the connection is kept from test to test, as in a notebook."""
    board = SshBoard(sshd.entry)
    yield board
    board.close()


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    """Each of `BOARDS`; nothing may be left on it when the test ends."""
    if request.param != "ssh":
        yield {"local": LocalBoard, "simulated": SimulatedBoard, "replay": Recorded}[request.param]()
        return
    yield request.getfixturevalue("ssh_board")
    request.getfixturevalue("sshd").is_left_clean()


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[[str], Path]:
    """Writes one of `MODELS` to a folder and returns its path."""

    def make(name: str) -> Path:
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        onnx.save(MODELS[name](folder), folder / "model.onnx")
        return folder / "model.onnx"

    return make


def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all temporary files of a test go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for all temporary files, which must be empty when the test ends."""
    folder = own_temporary_folder(tmp_path, monkeypatch)
    yield folder
    for thread in threading.enumerate():  # of jobs that nobody waited for
        if thread.name.startswith("edgeprof-"):
            thread.join()
    assert not list(folder.iterdir()), "temporary files were left behind"


def until(job: Job, wanted: Callable[[Event], bool], then: Callable[[], object]) -> list[Event]:
    """All events of the job; ``then`` is called at the first one that is ``wanted``."""
    events, called = [], False
    for event in job.events():
        events.append(event)
        if wanted(event) and not called:
            called = True
            then()
    assert called
    return events
