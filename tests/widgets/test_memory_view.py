"""Traits of the memory view in a cell, without a browser; its static picture."""

import io

import numpy as np
import pytest
from PIL import Image

from edgeprof.errors import UsageError
from edgeprof.figures.memory import memory as memory_data
from edgeprof.figures.memory_picture import draw
from edgeprof.figures.theme import DARK
from edgeprof.records.context import Memory
from edgeprof.testing import make_profile, make_sensed_profile
from edgeprof.widgets import MemoryView, memory
from tests.analysis.memory_profiles import NAN, residual, with_memory

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e\x00" + "y" * 3000


def test_selection_owners_and_verdict():
    view = memory(residual(), budget="1 kB", selection=["add", "conv1"])
    assert view.selection == ("add", "conv1") and view.selected["name"].tolist() == ["conv1", "add"]
    assert view.owners["size_bytes"].sum() == 632
    assert view.verdict.budget.bytes == 1000 and view.verdict.process.fits is False
    assert memory(make_profile()).verdict is None


def test_a_new_budget_is_judged_and_sent():
    view, sent = memory(residual(param_bytes=[0] * 4)), []
    assert view.data["meta"]["verdict"] == []
    view.observe(lambda change: sent.append([one["answer"] for one in change.new["meta"]["verdict"]]), "data")
    view.budget = "631 B"
    view.budget = 632
    assert sent == [["no", "no"], ["yes", "no"]] and view.budget == 632
    with pytest.raises(UsageError, match="Expected a budget"):
        view.budget = "lots"
    assert view.budget == 632 and len(sent) == 2
    view.budget = None
    assert view.verdict is None and sent[-1] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"budgets": 300}, r"memory takes no argument 'budgets' \(did you mean 'budget'\?\)"),
        ({"budget": "much"}, "Expected a budget such as"),
        ({"selection": ["conv3"]}, r"There is no layer 'conv3' in this profile \(did you mean 'conv2'\?\)"),
        ({"height": -1}, "height"),
    ],
)
def test_arguments_that_make_no_sense(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        memory(residual(), **arguments)


def test_something_that_is_no_profile():
    with pytest.raises(UsageError, match=r"memory expected a Profile or the path of a \.edgeprof file, got dict"):
        memory({})
    with pytest.raises(UsageError, match="MemoryView takes no argument 'colour'"):
        MemoryView(residual(), colour="red")


def test_a_bundle_is_read_from_its_path(tmp_path):
    make_sensed_profile().save(str(tmp_path / "x.edgeprof"))
    assert memory(tmp_path / "x.edgeprof").owners["size_bytes"].sum() == make_sensed_profile().context.memory.peak_bytes


def test_view_of_a_thousand_layers_is_half_a_megabyte_at_most():
    n = 1000
    rows = [
        (f"/model/block{i // 10}/conv_{i}/Conv_output_0", "activation", 4096.0 * (1 + i % 7), i, min(i + 3, 999), i) for i in range(1000)
    ]
    view = memory(with_memory(rows, layers=n, live=[30_000.0] * n, peak=[31_000.0] * n, workspace=[1000.0] * n))
    state = view.get_state()
    assert state["data"]["numbers"] == memory_data(view.profile).numbers
    size = len(state["data"]["numbers"]) + len(str(state["data"]["meta"])) + len(state["_esm"]) + len(state["_css"])
    assert size + len(view.picture()) * 4 / 3 < 500_000


# ---- static picture ----


def many(n):
    return with_memory(
        [(f"t{i}", "activation", 64.0 * (1 + i % 9), i, min(n - 1, i + 2), i) for i in range(n)], layers=n, live=[2000.0] * n
    )


PICTURED = {
    "by hand": residual(),
    "everything": make_sensed_profile(),
    "estimated": residual(origin="estimated"),
    "counted": residual(live=None, peak=None, memory=Memory()),
    "nothing known": make_profile([0.1]),
    "no tensors": with_memory([], live=[64, NAN], peak=[80, NAN], workspace=[16, 0]),
    "NaN everywhere": with_memory([("a", "activation", NAN, 0, 1, 0)], live=[NAN, NAN], peak=[NAN, NAN], workspace=[NAN, NAN]),
    "zeros": with_memory([("a", "activation", 0, 0, 0, 0)], live=[0], peak=[0], workspace=[0]),
    "many owners": with_memory([(f"t{i}", "output", 16.0 * i, 0, 0, i) for i in range(70)], layers=1),
    "hostile": residual(name=[HOSTILE, "b", "c", "d"]),
    "10,000 layers": many(10_000),
}


@pytest.mark.parametrize("profile", PICTURED.values(), ids=PICTURED)
def test_picture_of(profile):
    picture = memory(profile, budget=500, selection=[profile.layers["name"].iloc[0]]).picture()
    image = Image.open(io.BytesIO(picture))
    assert image.width == 1560 and len(image.convert("RGB").getcolors(1 << 20)) > 10
    assert len(picture) < 150_000


def test_picture_has_bars_of_the_right_height():
    """Below half of the peak the bar of 400 bytes fills the chart in layer 1; above it there is nothing."""
    profile = with_memory([("a", "activation", 400, 0, 1, 0), ("b", "activation", 400, 1, 1, 1)], layers=2, op_type=["Conv", "Conv"])
    image = np.asarray(Image.open(io.BytesIO(draw(memory_data(profile)))).convert("RGB")).astype(int)
    blue = np.abs(image - [0x1F, 0x6F, 0xB5]).sum(axis=2) < 12
    left, right = (blue[:, round(x * 1.5)].sum() for x in (300, 800))
    assert right == pytest.approx(2 * left, rel=0.02) and left > 100


def test_picture_follows_the_theme():
    image = Image.open(io.BytesIO(draw(memory_data(residual()), theme=DARK))).convert("RGB")
    assert image.getpixel((2, image.height - 40)) == pytest.approx((0x11, 0x14, 0x18), abs=3)
