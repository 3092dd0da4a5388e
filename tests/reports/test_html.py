"""HTML report: what stands in the page without a browser. tests/ui/test_report.py looks at it in one."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import plotly.offline
import pytest

from edgeprof.figures.theme import DARK, LIGHT
from edgeprof.records.context import Memory
from edgeprof.records.profile import Finding, NodeFate
from edgeprof.records.trace import ProcessMemory
from edgeprof.reports import html
from edgeprof.testing import make_profile, make_sensed_profile
from tests.analysis.memory_profiles import residual, with_memory

HOSTILE = '</script></style><img src=x onerror="window.hacked=1">\'&\u202e' + "\u05d0" * 40 + "y" * 2000


class Page(HTMLParser):
    """Tags, texts outside scripts, and the data of scripts by id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.data, self._inside = [], [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else None
        if tag == "script" and dict(attrs).get("id"):
            self._inside = dict(attrs)["id"]

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside is None:
            self.text.append(data)
        elif self._inside not in ("script", "style"):
            self.data[self._inside] = json.loads(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def page(*profiles):
    return Page(html.render(profiles).decode())


def many_layers(n, runs, seed):
    rng = np.random.default_rng(seed)
    names = [f"/model/backbone/stage{i // 12}/block{i // 4 % 3}/layer_{i}" for i in range(n)]
    return make_profile(rng.lognormal(-3, 1, n), runs=runs, seed=seed, name=names, source_nodes=[[name] for name in names])


def test_diagnoses_stand_in_the_page_once_and_names_are_text():
    names = [f"<b>{i}</b>" for i in range(6)]
    made = page(make_profile([0.002] * 5 + [0.5], name=names, source_nodes=[[name] for name in names], op_type=["<i>Add</i>"] * 6))
    text = " ".join(made.text)
    assert "What could be faster" in text and "most often for <i>Add</i>" in text
    assert text.count("tiny-layers") == 1  # the finding of that name is left to the diagnosis
    assert "What could be faster" not in " ".join(page(make_profile([0.5])).text)


def test_all_numbers_stand_in_the_page_without_scripts():
    profile = make_profile([0.5, 0.1, 0.2], findings=(Finding("drift", "warning", "Runs became 8 % slower."),))
    made = page(profile)
    text = " ".join(made.text)
    for expected in (
        "toy.onnx", "local", "onnxruntime 1.32.0", "1 thread", "2026-11-23 12:00", "measured", "816 µs", "[808, 824] at 95 %, 8 plain runs",
        "Runs became 8 % slower.", "/block0/conv_0", "475.0 – 525.0", "61.3 %", "(between layers)", "12.0 ms", "performance", "abababab",
    ):  # fmt: skip
        assert expected in text, expected


def test_nothing_is_loaded_and_only_our_scripts_may_run():
    made = page(make_profile())
    attributes = [(tag, name) for tag, attrs in made.tags for name in attrs]
    assert not [pair for pair in attributes if pair[1] in ("src", "srcset", "action", "data") or pair[1].startswith("on")]
    assert all(attrs["href"].startswith("#") for tag, attrs in made.tags if "href" in attrs)
    assert "link" not in dict(made.tags)
    policy = next(attrs["content"] for tag, attrs in made.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe-inline" not in policy.split("style-src")[0]
    assert policy.count("sha256-") == sum(tag == "script" and attrs["type"] != "application/json" for tag, attrs in made.tags)


def test_hostile_names_stay_text():
    hostile = make_profile(
        [0.5, 0.1], name=[HOSTILE, "ok"], op_type=[HOSTILE, "Conv"], provider=[HOSTILE, "CPU"], output_shape=[HOSTILE, "1"],
        source_nodes=[[HOSTILE], []], findings=(Finding(HOSTILE, "info", HOSTILE),),
    )  # fmt: skip
    hostile = replace(
        hostile,
        nodes=(NodeFate(HOSTILE, HOSTILE, "unattributed", (HOSTILE, "x")),),
        context=replace(hostile.context, model_name=HOSTILE, board=HOSTILE, fingerprint={HOSTILE: HOSTILE}, runtime=HOSTILE),
    )
    made, plain = page(hostile), page(make_profile([0.5, 0.1]))
    assert made.count("img") == 0 and made.count("script") == plain.count("script")
    assert "\u202e" not in "".join(made.text)
    assert made.data["p0-heatmap-data"]["meta"]["names"][0] == HOSTILE, "the heatmap gets the real name, as data"


def test_figures_are_data_of_the_page():
    data = page(make_profile()).data
    assert {"p0-ops-data", "p0-layers-data", "p0-roofline-data", "p0-heatmap-data", "p0-runs-data", "swap"} == set(data)
    assert {trace["type"] for trace in data["p0-layers-data"]["data"]} == {"bar", "scatter"}
    assert "title" not in data["p0-roofline-data"]["layout"] or not data["p0-roofline-data"]["layout"]["title"]


def test_a_timeline_stands_in_the_page_where_anything_but_runs_has_a_time():
    assert "Timeline" not in page(make_profile()).text and "renderTimeline" not in html.render([make_profile()]).decode()
    made = page(make_profile(), make_sensed_profile(rate_hz=500.0))
    assert "Timeline" in made.text and {"p1-timeline-data"} == {name for name in made.data if "timeline" in name}
    series = made.data["p1-timeline-data"]["meta"]["series"]
    assert series[0]["per"] > 1 and len(json.dumps(made.data["p1-timeline-data"])) < 200_000


def test_memory_stands_in_the_page_where_the_profile_says_something_of_it():
    bare = page(make_profile())
    assert "Memory" not in bare.text and "renderMemory" not in html.render([make_profile()]).decode()
    profile = residual(param_bytes=[100, 0, 68, 0])
    board = replace(profile.context, fingerprint={"memory_bytes": {"MemTotal": 10**6}})
    made = page(make_profile(), replace(profile, context=board))
    text = " ".join(made.text)
    for expected in (
        "Who owns the peak in", "conv2", "+ 2 in place", "400 B", "63.3 %", "(held by the runtime for reuse)", "632 B", "(end of the run)",
        "The model alone fits: weights 168 B (counted)", "60.0 kB", "Live bytes:", "Peak memory, model", "Peak memory, process",
    ):  # fmt: skip
        assert expected in text, expected
    assert {"p1-memory-data"} == {name for name in made.data if "memory" in name}
    assert made.data["p1-memory-data"]["meta"]["owners"] == [], "the table stands in the page already"


def test_memory_of_the_process_alone_has_a_table_and_no_chart():
    profile = make_profile()
    context = replace(profile.context, memory=Memory(process={"load": ProcessMemory(None, 63_000_000)}))
    made = page(replace(profile, context=context))
    text = " ".join(made.text)
    assert "63.0 MB" in text and "This profile has no tensors" in text and "p0-memory-data" not in made.data
    assert not [attrs for _, attrs in made.tags if "data-memory" in attrs]


def test_hostile_names_of_tensors_stay_text():
    rows = [(HOSTILE, "activation", 64, 0, 1, 0), ("y", "output", 64, 1, 1, 0)]
    memory = Memory({"live_memory_bytes": HOSTILE}, 64.0, HOSTILE, process={HOSTILE: ProcessMemory(1, 2)})
    hostile = with_memory(rows, live=[64, 64], name=[HOSTILE, "ok"], memory=memory)
    made, plain = page(hostile), page(with_memory(rows, live=[64, 64]))
    assert made.count("img") == 0 and made.count("script") == plain.count("script")
    assert "\u202e" not in "".join(made.text)
    assert made.data["p0-memory-data"]["meta"]["tensors"] == [HOSTILE]


def test_every_colour_of_a_figure_has_a_dark_twin():
    swap = html.color_swap()
    text = html.render([make_profile(op_type=["Conv", "MatMul", "Relu", "ReorderInput"])]).decode()
    used = set()
    for name in ("ops", "layers", "roofline"):
        used |= set(re.findall("#[0-9a-f]{6}", re.search(rf'id="p0-{name}-data">(.*?)</script>', text)[1]))
    assert used and used <= set(swap)
    assert swap[LIGHT.surface] == DARK.surface
    for family, color in LIGHT.families.items():
        assert swap[color] == DARK.families[family]


def test_several_profiles_and_their_overview():
    made = page(make_profile(), make_profile(origin="estimated"))
    assert {"p0-ops-data", "p1-ops-data"} <= set(made.data)
    assert "2 profiles" in "".join(made.text) and "estimated, not measured" in "".join(made.text)
    assert [attrs["id"] for tag, attrs in made.tags if tag == "article"] == ["p0", "p1"]


def test_the_runtimes_name_stands_beside_the_layers_where_it_differs():
    assert "Runtime's name" not in page(make_profile([0.1, 0.2])).text
    named = page(make_profile([0.1, 0.2], runtime_name=["/block0/conv_0", "fused_7"])).text
    assert "Runtime's name" in named and "fused_7" in named and named.count("/block0/conv_0") == 1


def test_fates_of_nodes():
    profile = replace(make_profile(), nodes=(NodeFate("a", "Conv", "executed", ("a",)), NodeFate("b", "Identity", "removed")))
    text = "".join(page(profile).text)
    assert "1 carried out by a layer (each by one with the node's own name), 1 removed as having no effect." in text
    assert "The other 1 node" in text


def test_an_estimate_says_so_and_claims_no_runs():
    text = " ".join(page(replace(make_profile(origin="estimated"), parent="cd" * 32)).text)
    assert "estimated, not measured" in text and "Nothing was run" in text and "plain runs" not in text


@pytest.mark.parametrize("latencies", [[math.nan, math.nan], [0.0, 0.0], [-0.1, 0.2]])
def test_odd_numbers(latencies):
    made = page(make_profile([0.1, 0.2], latency_ms=latencies))
    assert "nan" not in " ".join(made.text).lower().replace("nanoseconds", "")


def test_nothing_measured_at_all():
    profile = make_profile([0.1])
    bare = replace(profile, layers=profile.layers.iloc[1:], runs=profile.runs.iloc[:0], spans=profile.spans.iloc[:0], nodes=(),
                   context=type(profile.context)("x.onnx"))  # fmt: skip
    assert "not measured" in " ".join(page(bare).text)


def test_profiles_of_one_model_have_their_boards_side_by_side():
    other = make_profile([0.1, 0.2])
    other = replace(other, context=replace(other.context, board=HOSTILE))
    made = page(make_profile([0.2, 0.1]), other)
    assert len(made.data["b0-heatmap-data"]["meta"]["columns"]) == 2
    assert len(made.data["b0-compared-data"]["layout"]["yaxis"]["ticktext"]) == 2
    assert "energy: not measured" in " ".join(made.text)
    third = replace(other, context=replace(other.context, model_sha256="cd" * 32))
    assert not any(name.startswith("b0") for name in page(make_profile(), third).data), "of different models nothing is compared"


def test_a_large_report_stays_small():
    one = many_layers(500, 12, 0)
    assert len(html.render([one])) < 2_500_000
    assert len(html.render([one] * 10)) < 6_000_000


def test_the_bundle_fits_the_installed_plotly():
    bundled = re.search(r"plotly-basic-(\d+)\.(\d+)\.(\d+)\.min\.js", html.PLOTLY.name)
    head = html.PLOTLY.read_text("utf-8")[:300]
    assert "Licensed under the MIT license" in head and f"v{bundled[1]}.{bundled[2]}.{bundled[3]}" in head
    assert plotly.offline.get_plotlyjs_version().split(".")[0] == bundled[1]


def test_a_row_of_the_table_is_small_and_can_be_sorted():
    text = html.render([make_profile([0.5, 0.1, 0.2])]).decode()
    row = next(row for row in re.findall("<tr class.*?</tr>", text, re.S) if "/block0/conv_0" in row)
    assert re.sub(r"\s+", " ", row).startswith(
        '<tr class="f-convolution"><th><bdi>/block0/conv_0</bdi></th><td>0</td><td class="t">Conv</td><td data-k="0.5">500.0</td>'
    )
    assert len(row) < 500
