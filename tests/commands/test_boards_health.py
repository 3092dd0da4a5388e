"""``edgeprof boards health`` and ``serve-metrics``, called as the command line calls them."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from edgeprof import boards
from edgeprof.commands.boards import health as board_health
from edgeprof.commands.boards import serve_metrics as board_metrics
from edgeprof.errors import BoardLost, UsageError

RUN = """
import argparse, sys
from edgeprof.commands.boards import {module}
parser = argparse.ArgumentParser()
{module}.add_arguments(parser)
sys.exit({module}.run(parser.parse_args(sys.argv[1:])))
"""


def args(command, *words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


class Board:
    """Says ``told``, or raises it; knows whether it was closed."""

    def __init__(self, told):
        self.told, self.closed = told, False

    def health(self):
        if isinstance(self.told, Exception):
            raise self.told
        return self.told

    def close(self):
        self.closed = True


WELL = {
    "environment": {"governor": "performance", "board_model": "[bold]Pi[/bold]\x1b[2J"},
    "runtimes": {"onnxruntime": {"version": "1.32.0", "providers": []}},
}


@pytest.fixture
def fleet(monkeypatch):
    found = {"pi5": Board(WELL), "nano": Board(BoardLost("The link to nano broke."))}
    monkeypatch.setattr(boards, "names", lambda: list(found))
    real = boards.get_board
    monkeypatch.setattr(boards, "get_board", lambda name: found.get(name) or real(name))
    return found


def test_all_boards_with_what_to_do(fleet, capsys):
    assert board_health.run(args(board_health)) == 1
    out = capsys.readouterr().out
    assert "ok   governor          performance" in out
    assert "[bold]Pi[/bold] [2J" in out and "\x1b" not in out  # no markup, no control characters
    assert "fail board             not reached\n                       The link to nano broke." in out
    assert out.endswith("fail: nano; info: pi5\n")
    assert all(board.closed for board in fleet.values())


def test_json_of_one_board(fleet, capsys):
    assert board_health.run(args(board_health, "pi5", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema_version"] == 1
    (board,) = told["boards"]
    assert (board["board"], board["reached"], board["status"]) == ("pi5", True, "info")
    assert board["rows"][0].keys() == {"item", "value", "unit", "text", "status", "advice"}


def test_a_name_that_is_no_board(fleet):
    with pytest.raises(UsageError, match="no board 'pi6'"):
        board_health.run(args(board_health, "pi5", "pi6"))


def test_this_machine_for_real(capsys):
    status = board_health.run(args(board_health, "local", "--json"))
    (board,) = json.loads(capsys.readouterr().out)["boards"]
    assert status == (1 if board["status"] == "fail" else 0)
    assert {"kernel", "python", "onnxruntime", "sensors"} <= {row["item"] for row in board["rows"]}


def started(module, *words):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, "-c", RUN.format(module=module), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_watching_goes_on_until_ctrl_c():
    with started("health", "simulated", "--json", "--watch", "1") as watching:
        lines = [watching.stdout.readline() for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate()
    assert [json.loads(line)["boards"][0]["status"] for line in lines] == ["fail", "fail"]
    assert (watching.returncode, err) == (0, "")


def test_metrics_are_served_until_ctrl_c():
    with started("serve_metrics", "local", "--listen", ":0") as serving:
        said = serving.stderr.readline()
        with urllib.request.urlopen(said.split(" on ")[1].split()[0].rstrip("."), timeout=60) as answer:
            text = answer.read().decode()
        serving.send_signal(signal.SIGINT)
        _, err = serving.communicate()
    assert 'edgeprof_board_up{board="local"} 1.0' in text
    assert "127.0.0.1" in said
    assert (serving.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.0.0.0:9464", ("0.0.0.0", 9464)), ("[::1]:80", ("::1", 80)), (":9999", ("127.0.0.1", 9999)), ("lab:1", ("lab", 1))],
)
def test_addresses(text, expected):
    assert board_metrics.address(text) == expected


@pytest.mark.parametrize("text", ["9464", "1.2.3.4", "a:b", "a:70000", "::1:80", "a b:1", ""])
def test_no_addresses(text):
    with pytest.raises(UsageError, match="--listen"):
        board_metrics.address(text)
