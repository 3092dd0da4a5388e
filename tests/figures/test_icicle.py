"""View data of the icicle: widths add up, every layer once and in order, and its picture."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeprof.figures.icicle import edges, icicle
from edgeprof.figures.icicle_picture import draw
from edgeprof.figures.theme import DARK
from edgeprof.testing import make_profile, make_sensed_profile
from tests.laws import examples

NAN = np.nan
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e\x00" + "y" * 3000


def profile_of(names, latencies=None, **columns):
    latencies = [0.1] * len(names) if latencies is None else latencies
    return make_profile(latencies, runs=0, name=names, source_nodes=[[name] for name in names], **columns)


def bars(view):
    """(level, first, end, text) of every block."""
    arrays = [view.array(name).tolist() for name in ("block_level", "block_first", "block_end", "block")]
    return [(level, first, end, view.meta["texts"]["block"][code]) for level, first, end, code in zip(*arrays, strict=True)]


def test_blocks_are_stretches_and_share_a_bar_where_one_holds_all_of_the_other():
    names = ["/m/stem/Conv", "/m/b1/attn/q", "/m/b1/attn/k", "/m/b1/mlp/fc", "/m/b2/x/a", "/m/b2/x/b", "/m/b1/late"]
    view = icicle(profile_of(names))
    assert bars(view) == [(0, 0, 7, "m"), (1, 1, 4, "b1"), (1, 4, 6, "b2/x"), (2, 1, 3, "attn")]
    assert view.meta["leaves"] == ["stem/Conv", "q", "k", "mlp/fc", "a", "b", "b1/late"]
    assert view.meta["depth"] == 3


def test_names_without_paths_make_no_blocks():
    view = icicle(profile_of(["Conv_0", "Relu_1"]))
    assert bars(view) == [] and view.meta["depth"] == 0 and view.meta["leaves"] == ["Conv_0", "Relu_1"]


@examples(0.4)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("abc"), max_size=3), st.one_of(st.just(NAN), st.floats(-0.01, 10))), min_size=1, max_size=14
    )
)
def test_widths_of_the_children_sum_to_the_parent_and_each_layer_is_there_once(rows):
    names = ["/".join([*path, f"layer_{i}"]) for i, (path, _) in enumerate(rows)]
    view = icicle(profile_of(names, [latency for _, latency in rows], plain_ms=1.0))
    at = edges(view.array("latency_ms")[: len(rows)]) if "latency_ms" in view.meta["arrays"] else np.zeros(len(rows) + 1)
    every = bars(view)
    for level, first, end, text in [(-1, 0, len(rows), ""), *every]:
        children = [bar for bar in every if bar[0] == level + 1 and first <= bar[1] and bar[2] <= end]
        held = [range(child[1], child[2]) for child in children]
        alone = [i for i in range(first, end) if not any(i in inner for inner in held)]
        assert sorted([*alone, *(i for inner in held for i in inner)]) == list(range(first, end))
        widths = sum(at[child[2]] - at[child[1]] for child in children) + sum(at[i + 1] - at[i] for i in alone)
        assert widths == pytest.approx(at[end] - at[first])
        assert level < 0 or (end - first > 1 and all(f"{text}/" in f"/{name}" for name in names[first:end]))
    assert view.meta["names"][:-1] == names
    assert (np.diff(at) >= 0).all()


def test_edges_give_no_width_to_what_was_not_measured_or_is_below_zero():
    assert edges(np.array([0.5, NAN, -0.1, 0.25])).tolist() == [0, 0.5, 0.5, 0.5, 0.75]
    assert edges(np.array([])).tolist() == [0]


def test_what_can_be_a_width_and_what_a_colour():
    meta = icicle(make_sensed_profile()).meta
    assert meta["measures"] == ["latency_ms", "macs", "param_bytes", "activation_bytes", "energy_mj"]
    assert {"power_mw", "peak_memory_bytes", "arithmetic_intensity"} <= {column["name"] for column in meta["columns"]}
    assert list(meta["categories"]) == ["op_family", "kind"], "one precision, one provider: nothing to tell apart"
    energy = next(column for column in meta["columns"] if column["name"] == "energy_mj")
    assert energy["interval"] == ["energy_low_mj", "energy_high_mj"] and not energy["estimated"]
    assert all(column["estimated"] for column in icicle(make_profile(origin="estimated")).meta["columns"])
    mixed = icicle(profile_of(["a", "b"], precision=["int8", "float32"])).meta
    assert "precision" in mixed["categories"] and len(set(mixed["themes"]["dark"]["precision"])) == 3


def test_ten_thousand_layers_stay_small():
    view = icicle(profile_of([f"/m/layer.{i // 20}/part{i // 5 % 4}/op_{i}" for i in range(10_000)]))
    assert len(view.numbers) < 1_000_000 and len(bars(view)) == 1 + 500 + 2000


PICTURED = {
    "small": make_profile(),
    "estimated": make_sensed_profile(origin="estimated"),
    "one not measured": make_profile([0.5, NAN, 0.2]),
    "nested": profile_of([f"/m/layer.{i // 20}/part{i // 5 % 4}/op_{i}" for i in range(400)]),
    "hostile": profile_of([f"{HOSTILE}/a", f"{HOSTILE}/b"]),
    "not measured": make_profile([NAN] * 3, macs=[NAN] * 3, param_bytes=[NAN] * 3, activation_bytes=[NAN] * 3),
    "no layers": replace(make_profile(runs=0), layers=make_profile(runs=0).layers.iloc[:0]),
}


@pytest.mark.parametrize("profile", PICTURED.values(), ids=PICTURED)
def test_pictures(profile):
    view = icicle(profile)
    for options in ({}, {"order": "longest", "color": "kind"}, {"measure": "macs", "theme": DARK}):
        image = Image.open(io.BytesIO(draw(view, **options)))
        assert image.width == 1560 and len(image.convert("RGB").getcolors(1 << 20)) > 8


def test_a_selection_and_a_colour_show_in_the_picture():
    view = icicle(make_profile())
    plain = draw(view)
    assert draw(view, selection=["/block0/add_2"]) != plain != draw(view, color="macs")
