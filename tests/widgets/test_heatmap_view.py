"""Traits of the heatmap in a cell, without a browser; a notebook run by nbclient."""

import base64
import importlib.util
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from edgeprof.errors import UsageError
from edgeprof.figures.heatmap import heatmap as heatmap_data
from edgeprof.testing import make_profile
from edgeprof.widgets import HeatmapView, heatmap
from edgeprof.widgets.base import View, compact, somebody_is_there


def test_selection_is_a_tuple_of_names_and_selected_their_rows():
    view = heatmap(make_profile([0.5, 0.1, 0.2]), selection=["/block0/add_2", "/block0/conv_0"])
    assert view.selection == ("/block0/add_2", "/block0/conv_0")
    assert view.selected["name"].tolist() == ["/block0/conv_0", "/block0/add_2"]
    assert view.selected["latency_ms"].tolist() == [0.5, 0.2]
    view.selection = ["/block0/relu_1"]
    assert view.selection == ("/block0/relu_1",)
    view.selection = ()
    assert view.selected.empty


def test_selection_can_be_observed():
    view, seen = heatmap(make_profile()), []
    view.observe(lambda change: seen.append(change.new), "selection")
    view.selection = ["/block0/relu_1"]
    view.set_state({"selection": ["/block0/add_2"]})  # as the browser does it
    assert seen == [("/block0/relu_1",), ("/block0/add_2",)]


def test_unknown_layer_is_refused_with_the_nearest_name():
    view = heatmap(make_profile())
    with pytest.raises(Exception, match=r"no layer '/block0/conv0' in this profile \(did you mean '/block0/conv_0'\?\)"):
        view.selection = ["/block0/conv0"]
    assert view.selection == ()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"heigth": 300}, r"heatmap takes no argument 'heigth' \(did you mean 'height'\?\)"),
        ({"mode": "layers"}, "mode"),
        ({"sort": "latencyms"}, r"Cannot sort by 'latencyms' \(did you mean 'latency_ms'\?\)"),
        ({"selection": ["nothing like it"]}, "There is no layer"),
    ],
)
def test_arguments_that_make_no_sense(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        heatmap(make_profile(), **arguments)


def test_something_that_is_no_profile():
    with pytest.raises(UsageError, match=r"expected a Profile or the path of a \.edgeprof file, got int"):
        heatmap([1, 2])


def test_unknown_trait_of_the_view():
    with pytest.raises(UsageError, match="HeatmapView takes no argument 'colour'"):
        HeatmapView(make_profile(), colour="red")


def test_numbers_go_out_as_bytes():
    profile = make_profile([0.5, 0.1])
    state = heatmap(profile).get_state()
    assert state["data"]["numbers"] == heatmap_data(profile).numbers and state["runs"] == {}
    assert len(state["_esm"].encode()) < 62 * 1024


def test_runs_are_sent_when_looked_at():
    view = heatmap(make_profile(runs=8))
    view.set_state({"mode": "runs"})
    assert len(view.runs["meta"]["columns"]) == 8
    view.statistic = "median"
    assert view.runs["meta"]["statistic"] == "median"
    assert heatmap(make_profile(runs=8), mode="runs").runs["meta"]["runs"] == 8


def test_view_of_a_thousand_layers_is_half_a_megabyte_at_most():
    view = heatmap(make_profile(np.random.default_rng(0).lognormal(size=1000)))
    state = view.get_state()
    size = len(state["data"]["numbers"]) + len(str(state["data"]["meta"])) + len(state["_esm"]) + len(state["_css"])
    assert size + len(view.picture()) * 4 / 3 < 500_000


def test_nobody_is_there_outside_a_kernel():
    assert not somebody_is_there()
    assert heatmap(make_profile()).comm is None


# ---- static picture ----

PICTURED = {
    "small": make_profile(),
    "estimated": make_profile(origin="estimated"),
    "no runs": make_profile([0.5, 0.1], runs=0),
    "300 layers": make_profile(np.full(300, 0.1)),
    "not measured": make_profile([np.nan, 0.1]),
}


@pytest.mark.parametrize("mode", ["metrics", "runs"])
@pytest.mark.parametrize("profile", PICTURED.values(), ids=PICTURED)
def test_picture_of(profile, mode):
    image = Image.open(io.BytesIO(heatmap(profile, mode=mode).picture()))
    assert image.width == 1560 and len(image.convert("RGB").getcolors(1 << 20)) > 10


def test_mimebundle_is_a_picture_with_its_text():
    bundle, metadata = heatmap(make_profile())._repr_mimebundle_()
    assert sorted(bundle) == ["image/png", "text/plain"] and metadata["image/png"]["width"] == 1040
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"].startswith("<HeatmapView of toy.onnx on local")


# ---- small parts ----


def test_compact_keeps_code_and_texts():
    source = '/** Head.\n * more\n */\nconst a = "b = // c";\n\n  // alone\n  if (b < 2) { c(1, "d, e"); } // why\nf = `${g} / 2`;'
    assert compact(source) == 'const a = "b = // c";\nif(b<2){c(1,"d, e");}\nf = `${g} / 2`;'


def test_the_base_view_has_no_picture():
    with pytest.raises(NotImplementedError):
        View(make_profile()).picture()


@pytest.mark.parametrize("package", ["anywidget", "matplotlib"])
def test_without_the_extra(package):
    assert importlib.util.find_spec(package)
    code = f"""
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else real(name, *rest)
try:
    import edgeprof.widgets
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        f'MissingExtra Views in a notebook need the package {package}, which is not installed. Do: pip install "edgeprof[notebook]"'
    )
