"""The Workbench's widget without a browser: what it tells, what it makes of what a browser says, and what it leaves where nobody looks."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient

import edgeprof as ep
from edgeprof.errors import EdgeprofError, OutputError, UsageError
from edgeprof.testing import make_profile
from edgeprof.widgets.base import WIDGET_MIME
from edgeprof.workbench import following, widget
from edgeprof.workbench.views import MODULES, VIEWS
from edgeprof.workbench.widget import Workbench
from tests.laws import examples

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
MODEL = SAMPLES / "dscnn_mnist.onnx"
CONV = "/stem/conv/Conv"


@pytest.fixture
def two():
    """A Workbench of two profiles of one model."""
    wb = ep.Workbench([make_profile(), make_profile((0.4, 0.1, 0.2, 0.3))])
    yield wb
    wb.close()


@pytest.fixture
def deciding(tmp_path):
    """A Workbench of a model that was measured, and of the model itself: what can be decided there."""
    wb = ep.Workbench(SAMPLES / "dscnn_mnist.edgeprof", model=MODEL, study=tmp_path / "s", precisions=("int8-weights",), widths=())
    wb.bench.shown = "p1"
    yield wb
    wb.close()


def heard(wb, **message):
    """The one answer to a message of the browser, and its buffers."""
    sent = []
    wb.send = lambda content, buffers=None: sent.append((content, list(buffers or [])))
    wb._heard(wb, {"id": "1", **message}, [])
    ((answer, buffers),) = sent
    assert answer["id"] == "1" and len({"answer", "error"} & answer.keys()) == 1
    json.dumps(answer, allow_nan=False)  # so it can be sent
    return answer, buffers


def act(wb, name, **values):
    """What is answered when a person wants something done."""
    return heard(wb, ask="act", name=name, values=values)[0]


def texts(wb):
    return [note["text"] for note in wb.notes]


# ---- what is told ----


def test_profiles_are_told(two):
    assert [one["key"] for one in two.subjects] == ["p1", "p2"] and (two.shown, two.against) == ("p2", "p1")
    assert two.decide is None and two.tasks == [] and two.notes == [] and tuple(two.can_go) == (False, False)
    assert two.head["header"]["origin_label"] == "measured" and two.profile is two.bench.profile_of("p2")
    assert two.empty == {} and two.offers == {}
    act(two, "against", key="")
    assert set(two.empty) == {"compare"} and "Choose what to compare with" in two.empty["compare"]["text"]
    assert repr(two) == "<Workbench of toy.onnx: 2 to look at>" and set(two.hashes) == set(MODULES)


def test_one_profile_alone_says_what_two_would_bring():
    wb = ep.Workbench(make_profile())
    assert set(wb.empty) == {"candidates", "compare"} and "ep.Workbench([a, b])" in wb.empty["compare"]["text"]


def test_a_model_that_was_not_measured_says_what_to_do(tmp_path):
    wb = ep.Workbench(MODEL, study=tmp_path / "s")
    assert wb.head["header"]["origin_label"] == "not measured yet" and wb.head["header"]["number"] == "–"
    assert wb.empty["heatmap"]["action"] == "measure_base" and wb.profile is None and wb.subjects == []
    assert wb.decide["chosen"]["hint"] == "Layers can be selected when the model was measured."
    for view in VIEWS:
        if view != "pareto":
            assert view in wb.empty, "what cannot be drawn says why"
    with pytest.raises(UsageError, match="nothing to show yet"):
        wb.save_page(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists() and not (tmp_path / "s").exists()
    wb.close()


def test_state_is_small_and_can_be_sent(deciding):
    state = {name: value for name, value in deciding.get_state().items() if not name.startswith("_")}
    assert len(json.dumps(state, allow_nan=False)) < 30_000
    assert len(deciding._esm) < 60_000, "it travels with every Workbench"


@pytest.mark.parametrize(
    ("subject", "options", "sentence"),
    [
        (7, {}, "given a int"),
        ([], {}, "empty list"),
        (make_profile(), {"theme": "blue"}, "theme"),
        (MODEL, {"runs": "many"}, "wrong type"),
        (MODEL, {"rnus": 3}, "rnus"),
        (MODEL, {"board": "nothing-like-it"}, "nothing-like-it"),
    ],
)
def test_arguments_that_make_no_sense(subject, options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgeprofError, match=sentence):
        ep.Workbench(subject, **options)
    assert list(tmp_path.iterdir()) == []


# ---- one selection ----


def test_the_selection_goes_both_ways(two):
    two.selection = ["/block0/relu_1"]
    assert two.selected == {"layers": ["/block0/relu_1"], "runs": [], "candidates": []} and tuple(two.can_go) == (True, False)
    two.set_state({"selected": {"layers": ["/block0/conv_0"], "candidates": ["p2"], "runs": []}})
    assert two.selection.layers == ("/block0/conv_0",) and two.selection.candidates == ("p2",)
    act(two, "back")
    assert two.selected["layers"] == ["/block0/relu_1"] and tuple(two.can_go) == (True, True)
    act(two, "forward")
    assert two.selection.candidates == ("p2",)
    with pytest.raises(UsageError, match=r"no layer 'conv_0'"):
        two.selection = ["conv_0"]
    act(two, "show", key="p1")
    assert two.shown == "p1" and two.against == "" and two.selected["layers"] == ["/block0/conv_0"], "the same nodes"


@pytest.mark.parametrize(
    "wish",
    [
        {"layers": ["/gone"]}, {"runs": [10**9]}, {"runs": [True]}, {"candidates": ["c9"]}, {"layers": 5}, {"layers": [["a"]]},
        {"layers": [None]}, {"runs": ["first"]}, {"candidates": {"a": 1}},
    ],
)  # fmt: skip
def test_what_a_browser_cannot_select_is_a_note_and_the_selection_stays(two, wish):
    two.selection = ["/block0/relu_1"]
    two.set_state({"selected": wish})
    assert two.selection.layers == ("/block0/relu_1",) and len(two.notes) == 1
    assert two.selected == {"layers": ["/block0/relu_1"], "runs": [], "candidates": []}, "the browser hears what is selected"


# ---- messages ----


def opened(packed):
    return json.loads(zlib.decompress(packed))


def test_each_view_has_its_module_and_its_data(two):
    for module in MODULES:
        _, buffers = heard(two, ask="module", name=module)
        assert "export function render" in opened(buffers[0])["source"] and len(buffers) == 1
    for view in VIEWS:
        if view == "table":
            continue  # it is drawn from the heatmap's data
        _, buffers = heard(two, ask="view", name=view, values={})
        parts = opened(buffers[0])
        assert parts[0]["part"] == "data" and len(parts) == len(buffers) - 1
        for part, packed in zip(parts, buffers[1:], strict=True):
            numbers = zlib.decompress(packed)
            for array in part["meta"]["arrays"].values():
                assert array["offset"] + array["length"] * int(array["type"][1]) <= len(numbers)


@pytest.mark.parametrize(
    "message",
    [
        {}, {"ask": "act", "name": "no_such"}, {"ask": "view", "name": "../../etc/passwd"}, {"ask": "module", "name": "../base"},
        {"ask": "module", "name": "workbench"}, {"ask": ["act"], "name": {}}, {"ask": "act", "name": "__init__"},
        {"ask": "act", "name": "close"},
    ],
)  # fmt: skip
def test_what_it_does_not_know_is_a_sentence(two, message):
    assert heard(two, **message)[0]["error"].startswith("The Workbench does not know")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=True) | st.text(max_size=5) | st.just("p1"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["key", "index", "x", "0"]), inner, max_size=2),
    max_leaves=4,
)
NAMES = ("key", "index", "id", "nodes", "precision", "prune", "what", "window", "runs", "metric", "baseline", "x", "y", "collapse")
WITHOUT_WORK = sorted(set(widget._ACTS) - {"learn", "estimate", "build", "measure", "measure_base", "score", "save", "load"})


@examples(0.5)
@given(
    asked=st.tuples(st.just("act"), st.sampled_from(WITHOUT_WORK)) | st.tuples(st.just("view"), st.sampled_from(VIEWS)),
    values=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=3) | ANYTHING,
)
def test_whatever_is_said_is_answered_and_it_lives_on(asked, values):
    wb = living()
    heard(wb, ask=asked[0], name=asked[1], values=values)
    wb.selection = ["/block0/relu_1"]
    wb.selection = []
    assert wb.profile is not None and len(wb.notes) <= widget.MOST_NOTES
    json.dumps(wb.notes)


_LIVING = []


def living():
    """One Workbench for all examples of a law: it has to survive them."""
    if not _LIVING:
        _LIVING.append(ep.Workbench([make_profile(), make_profile((0.4, 0.1, 0.2, 0.3))]))
    return _LIVING[0]


def test_what_goes_wrong_is_a_note_that_can_be_closed(two):
    act(two, "show", key="p9")
    assert texts(two) == ["There is no 'p9' here. There are: p1, p2."] and two.shown == "p2"
    act(two, "dismiss", id=two.notes[0]["id"])
    assert two.notes == []
    for _ in range(60):
        act(two, "show", key="p9")
    assert len(two.notes) == widget.MOST_NOTES
    act(two, "measure")
    assert "Give the model too" in texts(two)[-1]


def test_deciding_from_the_browser(deciding):
    assert deciding.decide["chosen"]["title"] == "No layer selected"
    deciding.set_state({"selected": {"layers": [CONV], "runs": [], "candidates": []}})
    chosen = deciding.decide["chosen"]
    assert chosen["names"] == [CONV] and [one["name"] for one in chosen["precisions"]] == ["fp32", "int8-weights"]
    act(deciding, "decide", prune=0.5)
    recipe = deciding.decide["recipe"]
    assert len(recipe["decisions"]) == 1 and recipe["can_undo"] and not recipe["can_redo"] and "50" in recipe["decisions"][0]["text"]
    assert "0.5" in act(deciding, "code")["answer"]["text"]
    act(deciding, "undo")
    assert deciding.decide["recipe"]["decisions"] == [] and deciding.decide["recipe"]["can_redo"]
    act(deciding, "redo")
    act(deciding, "select_nodes", nodes=[CONV])
    act(deciding, "remove", index=0)
    assert deciding.decide["recipe"]["hint"] == "Empty: the model as it is."
    for values in ({"precision": "int3"}, {"prune": 7.0}, {"prune": "half"}, {"precision": ["int8"]}):
        act(deciding, "decide", **values)
        assert deciding.bench.recipe.decisions == ()


# ---- saving ----


def test_saving_says_where_or_why_not(deciding, tmp_path):
    deciding.selection = [CONV]
    deciding.bench.decide(prune=0.5)
    choices = {one["what"]: one for one in act(deciding, "save_choices")["answer"]["choices"]}
    assert set(choices) == {"recipe", "page", "all"} and choices["recipe"]["load"]
    for what, path in (("recipe", "a.recipe.toml"), ("page", "a.html"), ("all", "a.study")):
        answer = act(deciding, "save", what=what, path=str(tmp_path / path))
        assert answer["answer"]["text"] == f"Saved as {tmp_path / path}." and (tmp_path / path).exists()
    deciding.bench.reset()
    assert "undo" in act(deciding, "load", what="recipe", path=str(tmp_path / "a.recipe.toml"))["answer"]["text"]
    assert len(deciding.decide["recipe"]["decisions"]) == 1
    act(deciding, "load", what="recipe", path=str(tmp_path / "a.html"))
    act(deciding, "save", what="page", path=str(tmp_path / "none" / "a.html"))
    act(deciding, "save", what="all", path=str(tmp_path / "a.study"))
    assert len(deciding.decide["recipe"]["decisions"]) == 1 and len(deciding.notes) == 3
    assert "something at" in texts(deciding)[-1] and "Cannot write" in texts(deciding)[-2]
    with pytest.raises(OutputError, match="Cannot write"):
        deciding.save_page(tmp_path / "none" / "a.html")


# ---- what a kernel that ended left, and what is followed while it runs ----


def test_what_a_kernel_that_died_left_is_told(tmp_path):
    study = ep.Study.create(tmp_path / "s")
    left = study.path / following.KEPT
    replace(make_profile(runs=4), origin="measured").save(left)
    wb = ep.Workbench(MODEL, study=tmp_path / "s")
    assert any("A measurement ended with its kernel" in text and str(left) in text for text in texts(wb))
    assert len(ep.load(left).runs) == 8 and wb.profile is None, "what is partial is never the measurement"
    wb.close()


# ---- where nobody looks ----


def test_under_nbclient_it_measures_and_leaves_its_picture_alone(tmp_path):
    cell = f"import edgeprof as ep\nep.Workbench({str(MODEL)!r}, study={str(tmp_path / 's')!r}, runs=3, warmup=1, memory=False)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    NotebookClient(notebook, kernel_name="python3", timeout=300).execute()
    (output,) = notebook.cells[0].outputs
    assert sorted(output["data"]) == ["image/png", "text/plain"] and WIDGET_MIME not in str(output)
    assert output["data"]["text/plain"] == "<Workbench of dscnn_mnist.onnx: 1 to look at>"
    assert output["metadata"]["image/png"]["width"] == Workbench.picture_width and "widgets" not in notebook.metadata


def test_models_that_are_not_related_are_looked_at_one_by_one(tmp_path):
    wb = ep.Workbench([SAMPLES / "dscnn_mnist.edgeprof", SAMPLES / "resnet8_mnist.edgeprof"])
    for view in ("candidates", "compare"):
        assert "not known to be made from each other" in heard(wb, ask="view", name=view, values={})[0]["error"]
    assert "answer" in heard(wb, ask="view", name="pareto", values={})[0]
    assert wb.save_page(tmp_path / "a.html").stat().st_size > 100_000


def test_a_profile_without_a_measured_layer_is_drawn(tmp_path):
    wb = ep.Workbench(make_profile((np.nan, np.nan), runs=0))
    assert len(wb.picture()) > 1000 and wb.save_page(tmp_path / "a.html").is_file()
