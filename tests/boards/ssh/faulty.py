"""What tests of faults share: models that can be disturbed, listeners that act once, and what every end must be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import edgeprof as ep
from edgeprof.boards.base import Arrived, Event, Progress
from edgeprof.boards.ssh import SshBoard
from edgeprof.errors import BoardLost, EdgeprofError
from edgeprof.records.profile import Profile
from tests.boards.ssh.rig import Sshd

MANY = 1500
"""Runs of the slow model that take some seconds, so that whoever wants to disturb them is in time."""
FEW = {"runs": 4, "warmup": 1, "progress": False}


def write_slow(folder: Path) -> Path:
    """Takes some milliseconds a run."""
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[300,300] x) => (float[300,300] y) { a = MatMul(x, x)\n y = Relu(a) }'
    onnx.save(parser.parse_model(text), folder / "slow.onnx")
    return folder / "slow.onnx"


def write_big(folder: Path) -> Path:
    """Takes a moment to be sent: its weights are 64 MB beside it."""
    model = parser.parse_model('<ir_version: 8, opset_import: ["": 17]> g (float[1,4000] x) => (float[1,4000] y) { y = MatMul(x, w) }')
    # never the same: a board keeps what it once got
    weights = np.random.default_rng().standard_normal((4000, 4000)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    onnx.save(model, folder / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    return folder / "big.onnx"


def at(wanted: Callable[[Event], bool], act: Callable[[], object]) -> Callable[[Event], None]:
    """A listener that acts once, at the first event that is ``wanted``."""
    acted: list[bool] = []

    def listen(event: Event) -> None:
        if wanted(event) and not acted:
            acted.append(True)
            act()

    return listen


def layers_came(event: Event) -> bool:
    return isinstance(event, Arrived)


def in_phase(phase: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Progress) and event.phase == phase


def opens(profile: Profile | None, folder: Path) -> None:
    """A partial profile can be saved and opened, and says that it is one."""
    assert profile is not None
    profile.save(folder / "partial.edgeprof")
    loaded = ep.load(folder / "partial.edgeprof")
    assert "incomplete" in {finding.id for finding in loaded.findings}
    assert 0 < loaded.context.runs < MANY


def is_one_sentence(error: EdgeprofError) -> None:
    text = str(error)
    own = text.partition(" Its last words: ")[0].partition(" It said: ")[0]
    assert text.isprintable() and own.endswith((".", "?")) and len(text) < 900, text


def lose(sshd: Sshd, board: SshBoard, model: Path, how: Callable[[], object], folder: Path) -> str:
    """Loses the link in the run; the name of the job, which goes on."""
    with pytest.raises(BoardLost, match=rf"profile --attach {board.name}/\S+` fetches it.* What was measured until then is kept") as caught:
        ep.profile(model, board=board, runs=MANY, warmup=1, progress=at(layers_came, how))
    is_one_sentence(caught.value)
    opens(caught.value.profile, folder)
    (job,) = sshd.jobs
    assert f"{board.name}/{job.name}`" in str(caught.value)
    return f"{board.name}/{job.name}"
