"""A measurement in a notebook's cell: the heatmap fills while it runs and stays; without a notebook there is the bar."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.manager import start_new_kernel

import edgeprof as ep
from edgeprof.errors import UsageError
from edgeprof.figures.power_lane import HEIGHT, WIDTH, power_lane
from edgeprof.widgets.base import WIDGET_MIME
from tests.laws import examples

SAMPLES = Path(__file__).parents[1] / "sample_models"
MODEL = SAMPLES / "dscnn_mnist.onnx"
CELL = f"""
import edgeprof as ep
p = ep.profile("{MODEL}", board="simulated", runs=20, energy="model", progress="live")
"""


def test_a_cell_shows_the_heatmap_and_power_and_keeps_the_heatmap(tmp_path):
    manager, client = start_new_kernel(kernel_name="python3")
    said = []
    try:
        reply = client.execute_interactive(CELL, allow_stdin=True, timeout=120, output_hook=said.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok"
    shown = {}
    for message in said:
        if message["msg_type"] in ("display_data", "update_display_data") and "display_id" in message["content"]["transient"]:
            shown.setdefault(message["content"]["transient"]["display_id"], []).append(message["content"]["data"])
    lane, view, still = shown.values()
    assert all(place[0]["text/html"] == "" for place in (lane, view, still))  # made before anything was measured
    assert lane[-1]["text/html"] == ""
    model = view[-1][WIDGET_MIME]["model_id"]
    assert base64.b64decode(still[-1]["image/png"]).startswith(b"\x89PNG")
    tails = [m["content"]["data"]["state"]["still"] for m in said if _sets(m, model, "still")]
    assert still[-1]["image/png"].endswith(tails[-1])


def _sets(message, model: str, name: str) -> bool:
    content = message["content"]
    return message["msg_type"] == "comm_msg" and content["comm_id"] == model and name in content["data"].get("state", {})


def test_where_nobody_looks_there_is_the_bar(capsys):
    profile = ep.profile(MODEL, board="simulated", runs=4, progress="live")
    assert profile.context.runs == 4
    assert "dscnn_mnist: " in capsys.readouterr().err


def test_what_progress_can_be_is_said():
    with pytest.raises(UsageError, match="progress is 'lively'; give None, False, 'live' or a function"):
        ep.profile(MODEL, board="simulated", progress="lively")


# The lane of power


class Texts(HTMLParser):
    """What a reader sees, and the tags that it is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.paths = "", [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "path":
            self.paths.append(dict(attrs)["d"])

    def handle_data(self, data):
        self.text += data


@given(
    power=st.lists(st.floats(-1e6, 1e7) | st.just(float("nan")), min_size=1, max_size=300),
    seconds=st.floats(0.5, 100),
)
@examples(1)
def test_a_lane_stays_in_its_frame_and_breaks_where_nothing_is_known(power, seconds):
    values = np.array(power)
    html = power_lane([("Board", np.linspace(0, 60, len(values)), values)], seconds, "measured")
    if not np.isfinite(values).any():
        assert html == ""
        return
    (path,) = Texts(html).paths
    points = [tuple(map(float, part.split())) for part in path.replace("M", "L").split("L") if part]
    assert all(0 <= x <= WIDTH + 0.1 and 0 <= y <= HEIGHT for x, y in points)
    assert path.startswith("M") or not points


def test_a_lane_says_what_it_shows_and_runs_nothing():
    time = np.arange(40) / 2
    gap = np.where((time > 5) & (time < 8), np.nan, 2_500.0)
    name = "<script>alert(1)</script>"
    read = Texts(power_lane([(name, time, gap), *((f"rail {i}", time, gap / 2) for i in range(5))], 30, "simulated, no real board"))
    assert "script" not in read.tags
    assert "2.50 W" in read.text
    assert "simulated, no real board" in read.text
    assert "and 2 more" in read.text
    assert [path.count("M") for path in read.paths] == [2, 2, 2, 2]
    assert power_lane([], 30, "measured") == ""
