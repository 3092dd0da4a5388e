"""What a door loads, and when: a board may have little memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib import import_module

import pytest

from edgeprof.agent import protocol
from edgeprof.agent.door import ANSWERED_IN
from edgeprof.boards.package import agent_zipapp


@pytest.mark.parametrize("request_", ANSWERED_IN)
def test_each_request_has_its_function(request_):
    module = import_module(f"edgeprof.agent.{ANSWERED_IN[request_]}")
    assert callable(getattr(module, request_.replace("-", "_")))


@pytest.fixture
def loaded(tmp_path):
    """Which modules a door has loaded when it is gone, by what it was asked."""
    program = tmp_path / "door.py"
    program.write_text(
        "import json, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from edgeprof_agent.serve import main\n"
        "main(['door', sys.argv[2]])\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    (tmp_path / "agent.pyz").write_bytes(agent_zipapp())

    def loaded(*requests):
        said = b"".join(protocol.encode(kind, fields) for kind, fields in requests)
        command = [sys.executable, "-I", "-S", str(program), str(tmp_path / "agent.pyz"), str(tmp_path / "folder")]
        done = subprocess.run(command, input=said, capture_output=True, check=True)
        stream = io.BytesIO(done.stdout)
        assert [protocol.read(stream).type for _ in range(len(requests) + 1)] == ["hello", *["reply"] * len(requests)]
        return set(json.loads(done.stderr))

    return loaded


def answering(modules):
    return {name.partition(".")[2] for name in modules if name.startswith("edgeprof_agent.")} & {*ANSWERED_IN.values()}


def test_a_door_that_was_asked_nothing_holds_nothing_that_answers(loaded):
    modules = loaded()
    assert answering(modules) == set()
    assert not modules & {"typing", "subprocess", "socket", "shutil", "hashlib"}


def test_a_request_loads_what_answers_it(loaded):
    assert answering(loaded(("have", {"digests": []}))) == {"store"}
    assert answering(loaded(("jobs", {}))) == {"store", "jobs"}
