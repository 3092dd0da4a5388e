"""`edgeprof show`: the table, its width, and what it does with names from anywhere."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from edgeprof.commands.screen import print_profile
from edgeprof.records import bundle
from edgeprof.records.context import Latency
from edgeprof.records.profile import Profile
from edgeprof.records.schema import COLUMNS
from edgeprof.testing import make_profile

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def shown(profile: Profile, width: int = 100, **options) -> str:
    stream = io.StringIO()
    print_profile(Console(file=stream, width=width, color_system=None), profile, **options)
    return stream.getvalue()


def rows(text: str) -> list[str]:
    """Lines of the table, without its heading."""
    return text.split("\n\n")[1].splitlines()[1:]


def test_longest_first_and_the_whole_last(edgeprof, saved):
    status, out, err = edgeprof("show", saved)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in rows(out)] == ["0", "2", "3", "1", "(between", "end"]
    assert "toy.onnx on local, onnxruntime 1.32.0, 1 thread\nOrigin   measured\nLatency  1.020 ms [1.010, 1.030] median end to end" in out


def test_table_of_a_toy(saved, edgeprof):
    table = edgeprof("show", saved)[1].split("\n\n")[1]
    assert [line.rstrip() for line in table.splitlines()] == [
        "# Layer            Op type Time ms 95 % interval             Share   MACs Weights",
        "0 /block0/conv_0   Conv      0.500 [0.475, 0.525] ████████  49.0 % 5.00 M 4.10 kB",
        "2 /block0/add_2    Add       0.200 [0.190, 0.210] ███▎      19.6 % 2.00 M 4.10 kB",
        "3 /block0/matmul_3 MatMul    0.200 [0.190, 0.210] ███▎      19.6 % 2.00 M 4.10 kB",
        "1 /block0/relu_1   Relu      0.100 [0.095, 0.105] █▋         9.8 % 1.00 M 4.10 kB",
        "  (between layers)           0.020 [0.010, 0.030] ▍          2.0 %",
        "  end to end                 1.020 [1.010, 1.030]          100.0 % 10.0 M 16.4 kB",
    ]


def test_order_of_execution(edgeprof, saved):
    out = edgeprof("show", saved, "--sort", "execution")[1]
    assert [line.split()[0] for line in rows(out)] == ["0", "1", "2", "3", "(between", "end"]


def test_top_says_what_it_leaves_out(edgeprof, saved):
    out = edgeprof("show", saved, "--top", 2)[1]
    assert [line.split()[0] for line in rows(out)] == ["0", "2", "(2", "(between", "end"]
    assert re.search(r"\(2 more layers\) +0\.300 +29\.4 %", out)


def test_all_shows_every_row(edgeprof, folder):
    bundle.save(make_profile([0.01] * 60), folder / "long.edgeprof")
    assert len(rows(edgeprof("show", "long.edgeprof")[1])) == 20 + 3 + 1  # the legend of inserted layers
    assert len(rows(edgeprof("show", "long.edgeprof", "--all")[1])) == 60 + 2 + 1


def test_by_op_type(edgeprof, saved):
    out = edgeprof("show", saved, "--by", "op_type")[1]
    assert "Op type          Layers Time ms" in out
    assert [line.split()[0] for line in rows(out)] == ["Conv", "Add", "MatMul", "Relu", "(between", "end"]


def test_inserted_and_nested_layers_are_marked():
    profile = make_profile([0.1] * 6)
    profile.layers.loc[4, "kind"] = "nested"
    text = shown(profile)
    assert "> /block1/softmax_4" in text
    assert "+ /block1/reorderinput_5" in text
    assert "+ inserted by the runtime" in text
    assert "> runs inside an If, Loop, Scan or function" in text


def test_findings_come_last(edgeprof, folder):
    profile = make_profile([0.001] * 5)
    bundle.save(profile, folder / "x.edgeprof")
    assert re.search(r"\ninfo     .*under 5 µs", edgeprof("show", "x.edgeprof")[1])


@pytest.mark.parametrize(("origin", "words"), [("estimated", "ESTIMATED"), ("imported", "not corrected"), ("replayed", "from a recording")])
def test_origin_is_openly_said(origin, words):
    assert words in shown(make_profile(origin=origin)).splitlines()[1]


def test_nothing_measured_is_a_dash():
    profile = make_profile(latency_ms=[np.nan] * 4, latency_low_ms=[np.nan] * 4, latency_high_ms=[np.nan] * 4, share=[np.nan] * 4)
    profile = replace(profile, context=replace(profile.context, latency=Latency()))
    text = shown(profile)
    assert "nan" not in text.lower()
    assert "not measured" in text
    assert "sum of the layers" in text


def test_one_unit_for_all_rows():
    assert "Time µs" in shown(make_profile([0.01, 0.002]))
    assert "Time ms" in shown(make_profile([10.0, 0.002]))
    assert "Time s" in shown(make_profile([20_000.0, 0.002]))


@pytest.mark.parametrize("width", [60, 80, 99, 100, 120, 160, 250])
@pytest.mark.parametrize("name", ["short", "/a/very/long/path" * 20, "日本語のとても長い名前" * 10, "", "e\u0301" * 60])
def test_lines_fit_the_width(width, name):
    profile = make_profile([0.5, 0.1], name=[name, f"{name}2"], op_type=["O" * 100, "Conv"], output_shape=["1×2×3×4" * 20, ""])
    for by in ("layer", "op_type"):
        lines = shown(profile, width, by=by).splitlines()
        assert max(map(cell_len, lines)) <= width
        assert any("[475.0, 525.0]" in line and "%" in line for line in lines)


def test_long_names_keep_both_ends():
    text = shown(make_profile([0.5], name=["/start/" + "x" * 200 + "/end"]), 100)
    assert re.search(r"/start/x+…x+/end ", text)


HOSTILE = [
    "[red]bold[/red]",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "a\nb",
    "a\rb",
    "\u202eltr",
    "[/]",
    "[link=http://x]y",
    ":smile:",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_they_are(name):
    profile = make_profile([0.5], name=[name], op_type=[name], precision=[name], output_shape=[name])
    profile = replace(profile, context=replace(profile.context, model_name=name, board=name, input_shapes={name: (1,)}))
    for by in ("layer", "op_type"):
        text = shown(profile, 200, by=by)
        assert not set(text) & set("\x1b\x07\r\u202e")
        if name.isprintable():
            assert name in text


def test_piped_output_has_no_control_codes_and_is_wide_enough(edgeprof, saved, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = edgeprof("show", saved)[1]
    assert "\x1b" not in out
    assert "MACs" in out


@pytest.mark.parametrize(("width", "costs"), [(80, False), (160, True)])
def test_in_a_terminal(width, costs, saved):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    done = subprocess.Popen(
        [sys.executable, "-m", "edgeprof", "show", str(saved)], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    text = read_terminal(master)
    assert done.wait() == 0
    assert "\x1b[1m" in text
    lines = ESCAPES.sub("", text).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert any("MACs" in line for line in lines) == costs


def read_terminal(master: int) -> str:
    pieces = []
    while True:
        try:
            pieces.append(os.read(master, 1 << 16))
        except OSError:  # the other end is closed
            break
        if not pieces[-1]:
            break
    os.close(master)
    return b"".join(pieces).decode()


def test_json(edgeprof, saved):
    status, out, err = edgeprof("show", saved, "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert list(told) == ["schema_version", "origin", "parent", "context", "layers", "op_types", "findings"]
    assert told["schema_version"] == 2
    assert told["origin"] == "measured"
    assert list(told["layers"][0]) == list(COLUMNS)
    assert [layer["latency_ms"] for layer in told["layers"]] == pytest.approx([0.5, 0.1, 0.2, 0.2, 0.02])
    assert told["layers"][0]["energy_mj"] is None
    assert told["context"]["latency"]["median_ms"] == pytest.approx(1.02)
    assert {"op_type", "layers", "latency_ms"} <= set(told["op_types"][0])


def test_damaged_bundle_can_be_shown_in_part(edgeprof, saved):
    data = saved.read_bytes()
    at = data.index(b"PAR1", data.index(b"spans.parquet"))
    saved.write_bytes(data[: at + 8] + b"\0\0\0\0" + data[at + 12 :])
    status, _, err = edgeprof("show", saved)
    assert status == 2
    assert "spans.parquet" in err
    assert "--partial" in err
    status, out, _ = edgeprof("show", saved, "--partial")
    assert status == 0
    assert "error    The file was damaged" in out
