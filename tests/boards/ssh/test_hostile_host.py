"""The agent's door on a board, whatever a host says to it: it answers or ends, and nothing outside its folder is touched."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from edgeprof.agent import protocol
from edgeprof.boards.opening import opening
from edgeprof.boards.package import agent_zipapp
from edgeprof.records.trace import RunPlan
from tests.boards.conftest import MODELS
from tests.laws import examples

MEMORY_BYTES = 400 << 20
"""Of address space: a door that sets aside what a host claims to send does not get it."""
JOB = "20260101T000000-0123abcd"
WITHIN_S = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board's files: the agent, edgeprof's folder, and ``outside``, which is none of its business."""
    root = tmp_path_factory.mktemp("world")
    (root / "agent.pyz").write_bytes(agent_zipapp())
    (root / "outside").mkdir()
    (root / "outside" / "precious").write_text("do not touch")
    (root / "folder").mkdir(mode=0o700)
    return root


def talk(world: Path, said: bytes) -> tuple[list[protocol.Frame], int]:
    """What a door answers to ``said``, and how it ends when the host is gone."""
    command = [sys.executable, "-X", "utf8", str(world / "agent.pyz"), "door", str(world / "folder")]
    before = {path: path.read_bytes() for path in outside(world)}
    done = subprocess.run(command, input=said, capture_output=True, timeout=WITHIN_S, check=False, preexec_fn=limited)
    assert {path: path.read_bytes() for path in outside(world)} == before, "something outside the folder changed"
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    stream, frames = io.BytesIO(done.stdout), []
    while (frame := protocol.read(stream)) is not None:
        frames.append(frame)
    assert frames[0].type == "hello"
    return frames[1:], done.returncode


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def outside(world: Path) -> Iterator[Path]:
    for path in world.rglob("*"):
        if path.is_file() and not path.is_relative_to(world / "folder"):
            yield path


def put(data: bytes) -> bytes:
    return protocol.encode("put", {"digest": hashlib.sha256(data).hexdigest(), "size": len(data), "offset": 0}, data)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


NO_FRAMES = {
    "words": (b"GET / HTTP/1.1\r\n\r\n", "expected a frame"),
    "endless header": (b"E" * 100_000, "expected a frame"),
    "header over the limit": (b"EP1 %d 0\n" % (1 << 30), "over the limit"),
    "payload over the limit": (b"EP1 20 %d\n" % (900 << 20) + b" " * 1000, "over the limit"),
    "absurd payload": (b"EP1 20 99999999999999999999\n", "over the limit"),
    "cut off": (protocol.encode("ping", {})[:-3], "ended inside a frame"),
    "cut off in the payload": (protocol.encode("put", {}, bytes(1000))[:-3], "ended inside a frame"),
    "no JSON": (b"EP1 3 0\nxyz", "not JSON"),
    "deep JSON": (b"EP1 100000 0\n" + b"[" * 100_000, "not JSON"),
    "no type": (b"EP1 2 0\n{}", "no type"),
    "negative": (b"EP1 -5 0\n", "expected a frame"),
}


@pytest.mark.parametrize("kind", NO_FRAMES)
def test_what_is_no_frame_ends_the_talk(kind, world):
    said, sentence = NO_FRAMES[kind]
    frames, status = talk(world, said if "cut off" in kind else said + protocol.encode("ping", {}))
    assert [frame.type for frame in frames] == ["error"] and sentence in frames[0].fields["message"]
    assert status == 2


OUT = "../" * 8 + "outside/precious"
NAMES = ("../outside/x", "/etc/passwd", "..", ".", "", "a/../../b", "a//b", "a\0b", "a\\b", "x" * 300, "/".join("d" * 30), "\udcff" * 200)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_lead_elsewhere_are_refused(name, world):
    model, first = b"model", b"opening"
    files = {"job": JOB, "files": {name: digest(model)}, "opening": digest(first)}
    frames, status = talk(world, put(model) + put(first) + protocol.encode("start", files))
    assert [frame.type for frame in frames] == ["reply", "reply", "error"] and status == 2
    assert "inside the model's folder" in frames[-1].fields["message"]
    assert not list((world / "folder").glob("jobs/*"))


ODD = {
    "unknown": ("format-disk", {}),
    "id that leads elsewhere": ("kill", {"job": "../../outside"}),
    "id with a line end": ("kill", {"job": JOB + "\n"}),
    "id that is none": ("attach", {"job": ["x"]}),
    "digest that leads elsewhere": ("have", {"digests": [OUT]}),
    "digest with a line end": ("have", {"digests": ["a" * 64 + "\n"]}),
    "digests that are none": ("have", {"digests": 5}),
    "no digest": ("put", {"size": 1, "offset": 0}),
    "piece outside its file": ("put", {"digest": "a" * 64, "size": 10, "offset": -1}),
    "file of absurd size": ("put", {"digest": "a" * 64, "size": 1 << 60, "offset": 0}),
    "files that are none": ("start", {"job": JOB, "files": [], "opening": "a" * 64}),
    "runtime that leads elsewhere": ("remove-runtime", {"name": "../../outside"}),
    "file of no job": ("get", {"job": JOB, "name": OUT, "offset": 0}),
    "infinite piece": ("put", {"digest": "a" * 64, "size": 10, "offset": "Infinity"}),
    "wheel that leads elsewhere": ("install", {"name": "x", "wheels": [{"filename": "x", "sha256": OUT}], "model": "a" * 64}),
    "too many words": ("start", {"job": JOB, "files": {}, "opening": "a" * 64, "about": {"x": "y" * 2_000_000}}),
}


@pytest.mark.parametrize("kind", ODD)
def test_requests_that_make_no_sense_are_refused(kind, world):
    frames, status = talk(world, protocol.encode(*ODD[kind]))
    assert [frame.type for frame in frames] == ["error"]
    assert frames[0].fields["message"] and len(json.dumps(frames[0].fields)) < 1000
    assert status in (0, 2)
    assert not list((world / "folder").glob("jobs/*"))


def test_a_piece_that_does_not_fit_leaves_nothing(world):
    wrong = protocol.encode("put", {"digest": digest(b"right"), "size": 5, "offset": 0}, b"wrong")
    frames, _ = talk(world, wrong)
    assert "its sha256 differs" in frames[0].fields["message"]
    gap = protocol.encode("put", {"digest": digest(b"right"), "size": 5, "offset": 3, "goes_on": True}, b"ht")
    frames, _ = talk(world, gap)
    assert "expected the piece from byte 0 on, came byte 3" in frames[0].fields["message"]
    assert digest(b"right") not in {path.name for path in (world / "folder" / "blobs").iterdir()}


@pytest.mark.parametrize("field", ["model_path", "workdir"])
def test_a_job_cannot_reach_outside_its_folder(field, world, tmp_path):
    onnx.save(MODELS["one node"](tmp_path), tmp_path / "model.onnx")
    model = (tmp_path / "model.onnx").read_bytes()
    plan = RunPlan(runs=1, warmup=0, inputs={"x": np.zeros((1, 8), np.float32)})
    first = opening(Path("model/model.onnx"), plan, "onnxruntime", workdir="work", compression=0, lock=str(tmp_path / "lock"))
    stream = io.BytesIO(first)
    job = protocol.read(stream)
    first = protocol.encode("job", {**job.fields, field: str(world / "outside")}) + stream.read()
    files = {"job": JOB, "files": {"model.onnx": digest(model)}, "opening": digest(first)}
    said = put(model) + put(first) + protocol.encode("start", files) + protocol.encode("attach", {"job": JOB})
    command = [sys.executable, "-X", "utf8", str(world / "agent.pyz"), "door", str(world / "folder")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as door:
        door.stdin.write(said)
        door.stdin.flush()
        frames = []
        while not frames or frames[-1].type != "ended":
            frames.append(protocol.read(door.stdout))
        door.stdin.write(protocol.encode("forget", {"job": JOB}))
        door.stdin.close()
        assert protocol.read(door.stdout).type == "reply"
    (error,) = [frame for frame in frames if frame.type == "error"]
    assert "inside the job's folder" in error.fields["message"]
    assert sorted(path.name for path in (world / "outside").iterdir()) == ["precious"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
    | st.sampled_from([*NAMES, OUT, JOB, "a" * 64, digest(b"x"), 1 << 70, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KINDS = ("ping", "have", "put", "get", "start", "attach", "jobs", "kill", "forget", "remove-runtime", "cancel", "nonsense")
FIELDS = ("job", "digest", "digests", "name", "files", "opening", "about", "size", "offset", "goes_on", "cache_limit_bytes", "type")
FRAMES = st.builds(
    lambda kind, fields, payload: protocol.encode(kind, {key: value for key, value in fields.items() if key != "type"}, payload),
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=5),
    st.binary(max_size=20),
)


@examples(0.3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(FRAMES | st.binary(max_size=30), max_size=8))
def test_whatever_is_said_the_door_answers_or_ends(world, said):
    frames, status = talk(world, b"".join(said))
    assert status in (0, 1, 2)
    assert {frame.type for frame in frames} <= {"reply", "pong", "error", "progress"}
    with contextlib.suppress(FileNotFoundError):
        assert {path.name for path in (world / "folder").iterdir()} <= {"blobs", "jobs", "runtimes"}
