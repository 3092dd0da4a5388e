"""The timeline's module in a plain page, as the HTML report uses it: no Jupyter."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

from edgeprof import units
from edgeprof.figures.modules import script, style
from edgeprof.figures.timeline import timeline, timeline_detail
from edgeprof.records.context import Energy, RunContext
from edgeprof.records.profile import empty_table
from edgeprof.records.sensing import Channel, SensorUse
from edgeprof.testing import make_profile, make_sensed_profile

pytestmark = pytest.mark.ui

PAGE = """<!doctype html><meta charset="utf-8"><style>{css}</style>
<body style="margin:0"><div id="view"></div><div style="height:3000px"></div>
<script type="module">{js}
const errors = window.errors = [];
addEventListener("error", (e) => errors.push(e.message));
window.view = renderTimeline(document.getElementById("view"), {data}, {{ theme: "light", ...{options},
  onSelect: (names) => (window.names = names), onSelectRuns: (runs) => (window.chosen = runs),
  onChange: (change) => (window.told = change) }});
</script>"""
PROFILE = make_sensed_profile(runs=12)
END = timeline(PROFILE).meta["extent"][1]
HOSTILE = "<img src=x onerror='window.pwned=1'>"


def as_json(data):
    return json.dumps(data.to_json()).replace("<", "\\u003c")


def show(page, profile, limits=None, **options):
    """Shows ``profile`` in ``page``."""
    data = as_json(timeline(profile, **(limits or {})))
    page.set_content(PAGE.format(css=style("timeline"), js=script("timeline"), data=data, options=json.dumps(options)))
    page.wait_for_function("() => window.view")
    return page


@pytest.fixture
def session(page):
    """The whole session of `PROFILE`; at the end no script may have failed."""
    yield show(page, PROFILE)
    assert page.evaluate("() => window.errors") == []


def window(page):
    return page.evaluate("() => view.window")


def spot(page, ms, lane):
    """Where a time lies in a lane, in pixels of the page; in the middle of the lane's first row."""
    x, y = page.evaluate(
        """([ms, id]) => { const lane = view.lanes.find((one) => one.id === id), box = view.plot.getBoundingClientRect();
            return [box.left + view.x(ms), box.top + lane.top + 7]; }""",
        [ms, lane],
    )
    return x, y


def hover(page, ms, lane):
    page.mouse.move(*spot(page, ms, lane))
    return page.locator(".ep-card")


def middle_of_run(profile, run):
    row = profile.runs.iloc[run]
    return row["start_ms"] + row["latency_ms"] / 2


# ---- moving and zooming ----


def test_the_page_scrolls_past_the_view_until_it_is_clicked(session):
    session.mouse.move(*spot(session, 9000, "power"))
    session.mouse.wheel(0, 120)
    session.wait_for_function("() => scrollY > 0")
    assert window(session) == [0, END]
    expect(session.locator(".ep-hint")).to_contain_text("Click the lanes, then scroll to zoom")
    session.evaluate("() => scrollTo(0, 0)")
    session.mouse.click(*spot(session, 9000, "power"))
    expect(session.locator(".ep-hint")).to_contain_text("Scroll to zoom. Drag to pan")
    x, y = spot(session, 9000, "power")
    session.mouse.wheel(0, -240)
    session.wait_for_function("() => view.window[1] - view.window[0] < 20000")
    assert spot(session, 9000, "power") == pytest.approx((x, y), abs=0.6), "what is under the pointer stays there"
    assert session.evaluate("() => scrollY") == 0


def test_with_ctrl_the_wheel_zooms_at_once(session):
    session.mouse.move(*spot(session, 9000, "power"))
    session.keyboard.down("Control")
    session.mouse.wheel(0, -240)
    session.keyboard.up("Control")
    session.wait_for_function("() => view.window[1] - view.window[0] < 20000")


def test_drag_pans_and_python_hears_of_it_once_it_rests(session):
    session.evaluate("() => view.set({window: [9000, 10000]})")
    x, y = spot(session, 9500, "power")
    session.mouse.move(x, y)
    session.mouse.down()
    session.mouse.move(x + 50, y)
    session.mouse.move(x + 107, y)
    session.mouse.up()
    per_pixel = session.evaluate("() => view.pixelMs")
    assert window(session) == pytest.approx([9000 - 107 * per_pixel, 10000 - 107 * per_pixel])
    session.wait_for_function("() => window.told")
    assert session.evaluate("() => window.told.window") == pytest.approx(window(session))
    assert session.evaluate("() => window.names") is None, "a drag is no click"


def test_other_data_replaces_everything(session):
    other = make_profile([0.5, 0.1], runs=4)
    session.evaluate("(data) => view.set({data: JSON.parse(data), window: [], selection: ['/block0/relu_1']})", as_json(timeline(other)))
    extent = timeline(other).meta["extent"]
    assert session.evaluate("() => [view.window, view.selection()]") == [extent, ["/block0/relu_1"]]
    expect(session.locator(".ep-plot + .ep-empty")).to_be_visible()
    session.evaluate("(data) => view.set({data: JSON.parse(data), window: [], selection: []})", as_json(timeline(PROFILE)))
    session.evaluate("(data) => view.set({data: JSON.parse(data)})", as_json(timeline(PROFILE)))
    expect(session.locator(".ep-notes")).to_contain_text("Sensors: ina3221")
    assert window(session) == [0, END]


def test_setting_the_window_from_outside_is_not_told(session):
    session.evaluate("() => view.set({window: [9000, 10000]})")
    session.keyboard.press("Tab")
    expect(session.locator(".ep-readout")).to_contain_text("9.0000 s – 10.0000 s")
    assert session.evaluate("() => [window.told, view.resting]") == [None, None]


def test_shift_drag_zooms_to_a_range_and_a_double_click_shows_everything(session):
    (x0, y), (x1, _) = spot(session, 3000, "power"), spot(session, 5000, "power")
    session.keyboard.down("Shift")
    session.mouse.move(x0, y)
    session.mouse.down()
    session.mouse.move((x0 + x1) / 2, y)
    session.mouse.move(x1, y)
    session.mouse.up()
    session.keyboard.up("Shift")
    assert window(session) == pytest.approx([3000, 5000], abs=2 * END / 1200)
    session.mouse.dblclick(*spot(session, 4000, "power"))
    assert window(session) == [0, END]


def test_keys(session):
    session.evaluate("() => view.set({window: [9000, 10000]})")
    session.locator(".ep-plot").focus()
    steps = {
        "ArrowRight": [9200, 10200], "ArrowLeft": [9000, 10000], "+": [9250, 9750], "-": [9000, 10000], "Shift+ArrowRight": [9900, 10900],
        "0": [0, END], "=": [END / 4, END * 3 / 4], "_": [0, END],
    }  # fmt: skip
    for key, expected in steps.items():
        session.keyboard.press(key)
        assert window(session) == pytest.approx(expected), key


def test_n_and_p_go_from_run_to_run(session):
    runs = PROFILE.runs
    session.get_by_role("button", name="One run").click()
    session.locator(".ep-plot").focus()

    def at():
        start, end = window(session)
        return int(np.flatnonzero(runs["start_ms"] <= (start + end) / 2)[-1])

    first = at()
    assert runs["instrumented"][first] and window(session)[0] <= runs["start_ms"][first]
    session.keyboard.press("n")
    assert at() == first + 1
    session.keyboard.press("p")
    session.keyboard.press("p")
    assert at() == first - 1
    for key, way in (("Shift+N", 1), ("Shift+P", -1)):
        for _ in range(5):
            before = at()
            session.keyboard.press(key)
            there = [i for i in runs.index[runs["instrumented"]] if (i - before) * way > 0]
            assert at() == (min(there, key=lambda i: abs(i - before)) if there else before)
    for _ in range(30):
        session.keyboard.press("n")
    assert at() == len(runs) - 1, "it stops at the last run"
    expect(session.locator("[aria-live]")).to_contain_text(f"Run {len(runs) - 1} instrumented, block 2")


def test_buttons_jump_and_show_where_one_is(session):
    whole, measure = (session.get_by_role("button", name=name) for name in ("Whole session", "Measurement"))
    expect(whole).to_have_attribute("aria-pressed", "true")
    measure.click()
    assert window(session) == timeline(PROFILE).meta["measure"]
    expect(measure).to_have_attribute("aria-pressed", "true")
    expect(whole).to_have_attribute("aria-pressed", "false")
    session.get_by_role("button", name="Run ›").click()
    assert window(session)[1] - window(session)[0] < 3
    whole.click()
    assert window(session) == [0, END]


def test_it_zooms_down_to_100_nanoseconds_and_no_further(session):
    session.evaluate("() => view.set({window: [9000, 10000]})")
    session.locator(".ep-plot").focus()
    for _ in range(40):
        session.keyboard.press("+")
    start, end = window(session)
    assert end - start == pytest.approx(1e-4, rel=1e-3)
    expect(session.locator(".ep-readout")).to_contain_text("0.100 µs")


def test_the_strip_moves_and_resizes_the_window(session):
    strip = session.locator(".ep-mini").bounding_box()
    y = strip["y"] + 20

    def x(ms):
        place = session.evaluate("() => [view.place.gutter, view.place.inner]")
        return strip["x"] + place[0] + ms / END * place[1]

    session.evaluate("() => view.set({window: [4000, 8000]})")
    session.mouse.move(x(6000), y)
    session.mouse.down()
    session.mouse.move(x(9000), y)
    session.mouse.up()
    assert window(session) == pytest.approx([7000, 11000], rel=1e-3)
    session.mouse.move(x(11000) - 1, y)
    session.mouse.down()
    session.mouse.move(x(13000) - 1, y)
    session.mouse.up()
    assert window(session) == pytest.approx([7000, 13000], rel=1e-2)
    session.mouse.click(x(18000), y)
    assert window(session) == pytest.approx([15000, 21000], rel=1e-2)


# ---- what it says ----


def test_the_card_reads_every_lane(session):
    session.evaluate("() => view.set({window: [0, 35]})")
    run = int(PROFILE.runs.index[PROFILE.runs["instrumented"]][0])
    span = PROFILE.spans[(PROFILE.spans["run"] == run) & (PROFILE.spans["layer"] == 5)].iloc[0]
    layer = PROFILE.layers.iloc[5]
    card = hover(session, span["start_ms"] + span["latency_raw_ms"] / 2, "layers")
    interval = units.latency_interval(*(layer[f"latency{end}_ms"] for end in ("", "_low", "_high")))
    for text in (
        "measure, ", f"Run {run}", "instrumented, block 0", "/block1/reorderinput_5", "ReorderInput", "Energy a run",
        f"{units.latency(span['latency_ms'])} (", "with the profiler’s own time", interval,
        "VDD_IN = total", "W, read", "Resident set", "57.0 MB", "45 °C", "1.50 GHz",
    ):  # fmt: skip
        expect(card).to_contain_text(text)
    expect(hover(session, 0.2, "runs")).to_contain_text("Run 0plain, block 0")


def test_the_card_of_the_energy_measurement(session):
    loop = PROFILE.windows[PROFILE.windows["phase"] == "layers"].iloc[3]
    card = hover(session, (loop["start_ms"] + loop["end_ms"]) / 2, "windows")
    expect(card).to_contain_text(f"layers: {loop['label']}, 400 ms, pass 0, 1\u202f000 runs")
    assert "Run" not in card.inner_text().split()


def test_power_and_energy_of_what_is_shown(session):
    rail = PROFILE.samples[PROFILE.samples["channel"] == "ina3221/VDD_IN_mw"]
    inside = rail[(rail["time_ms"] >= 5000) & (rail["time_ms"] < 6000)]
    session.evaluate("() => view.set({window: [5000, 6000]})")
    mean = inside["value"].mean()
    text = f"VDD_IN: mean {units.significant(mean / 1000, 3)} W  ·  {units.significant(mean / 1000, 3)} J"
    expect(session.locator(".ep-readout")).to_contain_text(text)
    session.evaluate("() => view.set({window: [5000, 5010]})")
    expect(session.locator(".ep-readout")).not_to_contain_text("mean")


def test_failed_readings_are_gaps_and_say_so(page):
    rail = Channel("ina/a_mw", "mW", "sample", "board", "rail A")
    time = np.arange(0, 1000, 10.0)
    samples = pd.DataFrame({"time_ms": time, "channel": rail.name, "value": np.where((time > 300) & (time < 600), np.nan, 1000.0)})
    profile = make_profile(runs=0)
    context = replace(profile.context, sensors=(SensorUse("ina", (rail,), 100, 98.0),), energy=Energy(channels=(rail.name,)))
    show(page, replace(profile, samples=samples, context=context))
    expect(hover(page, 450, "power")).to_contain_text("the reading failed")
    expect(hover(page, 700, "power")).to_contain_text("1.00 W")
    expect(page.locator(".ep-readout")).to_contain_text("rail A: mean 1.00 W  ·  energy not known: readings failed")
    line = page.evaluate(
        """() => { const lane = view.lanes.find((one) => one.id === "power"), ratio = view.canvas.width / view.place.width;
            const line = (ms) => { const c = view.canvas.getContext("2d"), [top, height] = [lane.top + 2, lane.height - 8];
              const { data } = c.getImageData(view.x(ms) * ratio, top * ratio, 1, height * ratio); // opaque blue is the line
              return data.some((alpha, i) => i % 4 === 3 && alpha > 150 && data[i - 1] - data[i - 3] > 80); };
            view.draw(); return [line(450), line(705)]; }"""
    )
    assert line == [False, True]


def test_a_counter_says_that_it_is_drawn_as_power(page):
    counter = Channel("rapl/package_mj", "mJ", "counter", "package", "package-0")
    samples = pd.DataFrame({"time_ms": [0.0, 100.0, 200.0], "channel": counter.name, "value": [0.0, 200.0, 600.0]})
    profile = make_profile(runs=0)
    show(page, replace(profile, samples=samples, context=replace(profile.context, sensors=(SensorUse("rapl", (counter,)),))))
    expect(hover(page, 150, "power")).to_contain_text("4.00 W, mean of 100 ms")
    expect(page.locator(".ep-notes")).to_contain_text(
        "package-0: energy counters, drawn as power: difference over the time between two readings."
    )


def test_columns_of_readings_say_what_they_are_and_a_detail_replaces_them(page):
    show(page, PROFILE, {"most_points": 200, "most_spans": 16}, canDetail=True)
    notes = page.locator(".ep-notes")
    expect(notes).to_contain_text("Each column of VDD_IN = total is the least, the mean and the most of up to")
    expect(notes).to_contain_text("Layers of 2 of 12 instrumented runs, evenly chosen; the others are hatched; zoom in for all of them.")
    expect(page.locator(".ep-readout")).to_contain_text("≈")
    expect(hover(page, 6000, "power")).to_contain_text("readings)")
    detail = as_json(timeline_detail(PROFILE, 5000, 8000))
    page.evaluate("(d) => view.set({window: [5500, 7500], detail: JSON.parse(d)})", detail)
    expect(notes).not_to_contain_text("Each column")
    expect(page.locator(".ep-readout")).not_to_contain_text("≈")
    page.evaluate("() => view.set({window: [5500, 9500]})")
    expect(notes).to_contain_text("Each column")


def test_layers_that_were_not_sent_are_said_not_to_be_drawn(page):
    show(page, PROFILE, {"most_spans": 8})
    page.evaluate("() => view.set({window: [0, 60]})")
    runs = PROFILE.runs.index[PROFILE.runs["instrumented"]]
    expect(hover(page, middle_of_run(PROFILE, runs[5]), "runs")).to_contain_text("not drawn for this run")


# ---- selection, legend ----


def test_click_selects_layers(session):
    session.get_by_role("button", name="One run").click()
    start, end = window(session)
    run = int(np.flatnonzero(PROFILE.runs["start_ms"] <= (start + end) / 2)[-1])
    spans = PROFILE.spans[PROFILE.spans["run"] == run].sort_values("start_ms")
    middles = (spans["start_ms"] + spans["latency_raw_ms"] / 2).tolist()
    session.mouse.click(*spot(session, middles[2], "layers"))
    assert session.evaluate("() => window.names") == ["/block0/add_2"]
    session.keyboard.down("Control")
    session.mouse.click(*spot(session, middles[0], "layers"))
    session.keyboard.up("Control")
    assert session.evaluate("() => window.names") == ["/block0/conv_0", "/block0/add_2"]
    expect(session.locator("[aria-live]")).to_contain_text("2 layers selected")
    session.mouse.click(*spot(session, middles[2], "layers"))
    session.mouse.click(*spot(session, middles[2], "layers"))
    assert session.evaluate("() => window.names") == []
    session.mouse.click(*spot(session, middles[2], "layers"))
    session.keyboard.press("Escape")
    assert session.evaluate("() => window.names") == []


def test_a_click_into_a_loop_selects_its_layers(session):
    loop = PROFILE.windows[PROFILE.windows["phase"] == "layers"].iloc[5]
    session.mouse.click(*spot(session, (loop["start_ms"] + loop["end_ms"]) / 2, "windows"))
    assert session.evaluate("() => window.names") == [loop["label"]]


def test_selecting_from_outside_is_seen_and_not_told(session):
    def picture():
        return session.evaluate("() => (view.draw(), view.canvas.toDataURL())")

    session.get_by_role("button", name="One run").click()
    plain = picture()
    session.evaluate("() => view.select(['/block0/add_2', 'not there'])")
    assert picture() != plain
    assert session.evaluate("() => [view.selection(), window.names]") == [["/block0/add_2"], None]


def test_lanes_and_channels_are_switched_off_in_the_legend(session):
    lanes = "() => view.lanes.map((lane) => lane.id)"
    assert session.evaluate(lanes) == ["windows", "runs", "layers", "power", "memory", "temperature", "clocks"]
    memory = session.locator(".ep-legend").get_by_role("button", name="Memory")
    memory.click()
    expect(memory).to_have_attribute("aria-pressed", "false")
    session.locator(".ep-legend").get_by_role("button", name="cpu-thermal").click()
    assert session.evaluate(lanes) == ["windows", "runs", "layers", "power", "clocks"]
    memory.click()
    assert session.evaluate(lanes) == ["windows", "runs", "layers", "power", "memory", "clocks"]


# ---- odd profiles ----


def moment(*values):
    """Readings of channels with hostile names at one moment."""
    channels = tuple(Channel(f"x/{i}", "mW", title=HOSTILE) for i in range(len(values)))
    samples = pd.DataFrame({"time_ms": [5.0] * len(values), "channel": [c.name for c in channels], "value": values})
    profile = make_profile(runs=0)
    return replace(profile, samples=samples, context=replace(profile.context, sensors=(SensorUse(HOSTILE, channels),)))


CIRCLE = make_profile([0.5, 0.1], runs=4, name=["a", "b"], parent=["b", "a"])
ODD = {
    "one reading": moment(1000.0),
    "a failed one": moment(np.nan),
    "many channels": moment(*range(30)),
    "not measured": make_profile([np.nan, 0.1]),
    "parents in a circle": CIRCLE,
    "no layers": replace(make_profile(), layers=make_profile().layers.iloc[:0], spans=empty_table("spans")),
    "windows alone": replace(make_profile(runs=0), windows=PROFILE.windows),
    "windows unsorted": replace(PROFILE, windows=PROFILE.windows.iloc[::-1]),
    "spans alone": replace(PROFILE, samples=empty_table("samples"), windows=empty_table("windows")),
    "no context": replace(PROFILE, context=RunContext("x.onnx")),
}


@pytest.mark.parametrize("profile", ODD.values(), ids=ODD)
def test_odd_profiles_are_drawn(page, profile):
    show(page, profile)
    page.wait_for_function("() => view.frame === null && view.canvas.width > 300")
    box = page.locator(".ep-plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.locator(".ep-plot").focus()
    for key in ("n", "+", "p", "ArrowRight", "0"):
        page.keyboard.press(key)
    assert page.evaluate("() => [window.errors, document.querySelectorAll('.ep-error').length, window.pwned]") == [[], 0, None]


def test_names_are_text_and_never_markup(page):
    profile = replace(make_profile([0.5, 0.1], name=[HOSTILE, "</script><script>window.pwned=1</script>"]), windows=PROFILE.windows)
    profile = replace(profile, windows=profile.windows.assign(label=HOSTILE, phase=HOSTILE, note=HOSTILE))
    show(page, profile)
    page.get_by_role("button", name="One run").click()
    first = int(profile.runs.index[profile.runs["instrumented"]][0])
    hover(
        page,
        sum(window(page)) / 2 if first < 0 else page.evaluate("() => view.window[0] + (view.window[1] - view.window[0]) * 0.3"),
        "layers",
    )
    expect(page.locator(".ep-card")).to_contain_text("<img src=x")
    assert page.evaluate("() => window.pwned") is None and page.locator("#view img").count() == 0


def test_nothing_to_show_says_what_to_do(page):
    show(page, make_profile(runs=0))
    expect(page.locator(".ep-empty:visible")).to_contain_text("Profile the model again")
    assert page.locator(".ep-plot").is_hidden()


def test_without_sensors_it_names_those_that_were_looked_for(page):
    profile = make_profile()
    context = replace(profile.context, sensors=(SensorUse("rapl", problem="not readable"),))
    show(page, replace(profile, context=context))
    expect(page.locator(".ep-plot + .ep-empty")).to_contain_text("rapl: not readable. “edgeprof doctor” says")
    assert page.evaluate("() => view.lanes.map((lane) => lane.id)") == ["runs", "layers"]


def test_ten_thousand_layers_are_put_together_until_one_zooms_in(page):
    profile = make_profile(np.full(10_000, 0.01), runs=4)
    show(page, profile, {"most_spans": 40_000})
    page.get_by_role("button", name="One run").click()
    start, end = window(page)
    run = int(np.flatnonzero(profile.runs["start_ms"] <= (start + end) / 2)[-1])
    span = profile.spans[(profile.spans["run"] == run) & (profile.spans["layer"] == 6003)].iloc[0]
    at = span["start_ms"] + span["latency_raw_ms"] / 2
    page.evaluate("(at) => view.set({window: [at - 0.05, at + 0.05]})", at)
    page.mouse.click(*spot(page, at, "layers"))
    assert page.evaluate("() => [window.names, window.errors]") == [[profile.layers["name"][6003]], []]


def test_an_hour_of_readings_is_drawn(page):
    names = [f"ina/R{k}_mw" for k in range(6)]
    n = 150 * 3600
    values = np.tile(np.random.default_rng(0).random(n) * 1000, 6)
    samples = pd.DataFrame({"time_ms": np.tile(np.arange(n) * 1000 / 150, 6), "channel": np.repeat(names, n), "value": values})
    profile = make_profile()
    sensor = SensorUse("ina", tuple(Channel(name, "mW") for name in names), 150.0, 149.2)
    show(page, replace(profile, samples=samples, context=replace(profile.context, sensors=(sensor,))))
    expect(page.locator(".ep-readout")).to_contain_text("0 s – 1:00:00  ·  1:00:00 h")
    expect(page.locator(".ep-notes")).to_contain_text("Each column of 6 channels")
    page.locator(".ep-plot").focus()
    page.keyboard.press("+")
    assert page.evaluate("() => window.errors") == []


# ---- size and theme ----


def test_follows_the_system_theme_outside_jupyter(page):
    page.emulate_media(color_scheme="dark")
    show(page, PROFILE, theme="auto")
    expect(page.locator(".ep-timeline.ep-dark")).to_be_visible()
    dark = page.evaluate("() => (view.draw(), view.canvas.toDataURL())")
    page.emulate_media(color_scheme="light")
    expect(page.locator(".ep-timeline.ep-light")).to_be_visible()
    assert page.evaluate("() => (view.draw(), view.canvas.toDataURL())") != dark


def test_a_narrow_page_has_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 700, "height": 900})
    show(page, PROFILE)
    assert page.evaluate("() => document.documentElement.scrollWidth <= 700")
    page.set_viewport_size({"width": 1500, "height": 900})
    page.wait_for_function("() => document.querySelector('.ep-canvas').clientWidth > 1300")


def test_the_height_is_shared_by_the_lanes_of_readings(page):
    show(page, PROFILE, height=700)
    assert page.evaluate("() => view.place.height") == pytest.approx(700, abs=4)
    page.evaluate("() => view.set({height: 0})")
    assert page.evaluate("() => view.place.height") < 600


# ---- runs, live data, small panes ----


def test_a_click_on_a_run_selects_it(session):
    plain, instrumented = (PROFILE.runs[PROFILE.runs["instrumented"] == wish].iloc[2] for wish in (False, True))
    session.evaluate("() => view.set({window: [0, 130]})")
    row = {False: 7, True: 21}

    def click(run, **options):
        x, y = spot(session, run["start_ms"] + run["latency_ms"] / 2, "runs")
        session.mouse.click(x, y - 7 + row[bool(run["instrumented"])])

    click(plain)
    assert session.evaluate("() => [window.chosen, window.names]") == [[int(plain["run"])], None]
    session.keyboard.down("Control")
    click(instrumented)
    session.keyboard.up("Control")
    assert session.evaluate("() => window.chosen") == sorted([int(plain["run"]), int(instrumented["run"])])
    session.keyboard.press("Escape")
    assert session.evaluate("() => window.chosen") == []
    session.evaluate("() => { window.chosen = null; view.selectRuns([3]); }")
    assert session.evaluate("() => [window.chosen, view.chosenRuns.has(3)]") == [None, True]


def test_new_data_keep_the_window_unless_it_reached_the_end(session):
    data = as_json(timeline(make_sensed_profile(runs=16)))
    later = "(data) => { window.button = document.activeElement; view.set({data: JSON.parse(data)}); }"
    session.evaluate("() => { view.set({window: [1000, 2000]}); view.select(['/block0/relu_1']); view.toggle('memory'); }")
    session.get_by_role("button", name="Zoom in").or_(session.get_by_role("button", name="+")).focus()
    session.evaluate(later, data)
    kept = session.evaluate("() => [view.window, view.selection(), view.off.has('memory'), document.activeElement === window.button]")
    assert kept == [[1000, 2000], ["/block0/relu_1"], True, True]
    session.evaluate("() => view.set({window: [0, 1e9]})")
    session.evaluate(later, as_json(timeline(PROFILE)))
    assert window(session) == [0, END]


@pytest.mark.parametrize("width", [420, 700])
def test_embedded_it_fits_its_height_and_has_the_legend_on_demand(page, width):
    page.set_viewport_size({"width": width, "height": 600})
    show(page, PROFILE, embedded=True, height=260)
    assert 240 < page.locator(".ep-timeline").bounding_box()["height"] <= 261
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate("() => view.lanes.map((lane) => lane.id)") == ["windows", "runs", "layers", "power"]
    page.locator(".ep-legend-button").click()
    page.get_by_role("button", name="Memory").click()
    assert page.evaluate("() => view.lanes.map((lane) => lane.id)")[-1] == "memory", "what a person wants is there, and the lanes scroll"
