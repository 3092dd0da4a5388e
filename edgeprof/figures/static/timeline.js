/**
 * Timeline of a session: phases, runs, layers and what sensors said, over one axis of time. No dependencies; knows nothing of Jupyter.
 *
 *   import { renderTimeline } from "./timeline.js";
 *   const view = renderTimeline(element, data, options);
 *
 * data       {meta, numbers} of figures.timeline.timeline(profile).to_json(); numbers may be base64, ArrayBuffer or any view of one
 * options    all optional
 *   window     [start, end] in ms since the job's start; empty: the whole session
 *   detail     {meta, numbers} of figures.timeline.timeline_detail(profile, start, end).to_json(): drawn where it covers the window
 *   canDetail  true when onChange({window}) is answered with set({detail})
 *   selection  names of layers         selectedRuns  numbers of runs
 *   embedded   true: no header, one line of controls, the legend on demand; the whole view is `height` px high
 *   height     of the lanes in px; 0: fits    theme      "auto" (JupyterLab, VS Code, then the system) | "light" | "dark"
 *   onSelect   (names) => {}: a person changed the selection (not called for select())
 *   onSelectRuns  (numbers) => {}: a person changed the selected runs
 *   onChange   ({window}) => {}: a person moved or zoomed, and has stopped for a moment
 * returns    {element, select(names), selectRuns(numbers), set({any of the options, data}), destroy()}
 *
 * New data keep what is selected, which lanes are off, and the window; one that reached to the end of the session still does.
 *
 * timeline_drawing.js stands in front of this module, in the same scope; the style sheet is timeline.css. Texts reach the page as text
 * nodes only. Errors are shown inside the element.
 */

const REST_MS = 120; // a window is told when it has stood still that long
const ENERGY = ["mJ", "J", "kJ"];

export function renderTimeline(el, data, options = {}) {
  return made(el, () => new Timeline(el, data, options));
}

// ---- the view ----

class Timeline extends TimelineDrawing {
  constructor(el, data, options) {
    super(el, "ep-timeline", { window: [], height: 0, ...options });
    this.off = new Set(); // ids of lanes and channels that are switched off
    this.on = new Set(); // ids of lanes that a person wants though they do not fit
    this.crowded = []; // lanes that are left out because they do not fit
    this.selected = new Set();
    this.chosenRuns = new Set(options.selectedRuns ?? []); // numbers of runs
    this.hover = null;
    this.drag = null;
    this.load(data, options.detail);
    this.build();
    this.applyTheme();
    this.arrange();
    this.look(this.options.window);
    this.select(options.selection ?? []);
    this.watch();
  }

  load(data, detail) {
    this.data = unpack(data);
    this.whole = this.parts(this.data);
    this.detail = detail?.meta ? this.parts(unpack(detail)) : null;
    const { names, op_families: families, extent } = this.data;
    this.shortNames = names.map((name) => name.slice(this.data.common_path));
    this.rowOf = new Map(names.map((name, i) => [name, i]));
    this.families = [...new Set(families)];
    this.familyOf = families.map((family) => this.families.indexOf(family));
    const [start, end] = extent ?? [0, 1];
    this.extent = end - start >= LEAST_MS ? [start, end] : [start - 0.5, start + 0.5];
    this.depths = this.data.arrays.depth.reduce((m, d) => max(m, d), 0) + 1;
    this.windowRows = this.data.arrays.win_row.reduce((m, r) => max(m, r), 0) + 1;
    this.miniPicture = null;
  }

  /** Readings, runs and layers of the whole session or of a detail. */
  parts({ series, window, runs_of, spans_of, arrays: a }) {
    const runs = { start: a.run_start, ms: a.run_ms, flags: a.run_flags, block: a.run_block, number: a.run_number };
    const spans = { run: a.span_run, first: a.span_first, layer: a.span_layer, offset: a.span_offset, raw: a.span_raw, ms: a.span_ms };
    const lines = series.map((s, k) => {
      const mean = a[`v${k}`];
      return { ...s, time: a[`t${k}`], mean, low: a[`l${k}`] ?? mean, high: a[`h${k}`] ?? mean, failed: a[`f${k}`] };
    });
    return { window, lines, runs, spans, runs_of, spans_of, sentAt: new Map(Array.from(a.span_run, (run, k) => [run, k])) };
  }

  /** The finest that is there of what the window shows. */
  get part() {
    const { detail, window: w } = this;
    return detail && detail.window[0] <= w[0] && detail.window[1] >= w[1] ? detail : this.whole;
  }

  // -- frame: header, controls, lanes, legend, notes --

  build() {
    const on = (fn) => this.guard(fn);
    this.tools = h("div", { class: "ep-tools", role: "toolbar", "aria-label": "Timeline controls" });
    this.readout = h("span", { class: "ep-readout" });
    this.mini = h("canvas", { class: "ep-mini", "aria-hidden": "true", title: "Whole session: drag the window, or its edges" });
    this.canvas = h("canvas", { class: "ep-canvas", "aria-hidden": "true" });
    this.over = h("canvas", { class: "ep-over", "aria-hidden": "true" });
    const label = `${this.data.title}: timeline`;
    this.plot = h("div", { class: "ep-plot", tabindex: 0, role: "application", "aria-label": label, "data-lm-suppress-shortcuts": "true" }, this.canvas, this.over);
    this.missing = h("div", { class: "ep-empty", hidden: !this.data.missing.samples }, this.data.missing.samples);
    this.lower = h("div", { class: "ep-lanes" }, this.plot, this.missing);
    this.body = h("div", {}, this.mini, this.lower);
    this.empty = h("div", { class: "ep-empty", hidden: true });
    this.legend = h("div", { class: "ep-legend" });
    this.hint = h("p", { class: "ep-hint" });
    this.notes = h("ul", { class: "ep-notes" });
    this.live = h("div", { class: "ep-voice", "aria-live": "polite" });
    this.card = h("div", { class: "ep-card", hidden: true, "aria-hidden": "true" });
    this.below = h("div", { class: "ep-below" }, this.legend, this.hint, this.notes);
    this.head = this.header(this.data);
    this.element.replaceChildren(this.head, this.tools, this.body, this.empty, this.below, this.live, this.card);
    this.controls();
    this.showEmpty();
    this.focused = false;
    this.noted = null;
    const { plot, mini } = this;
    plot.addEventListener("pointerdown", on((e) => this.press(e)));
    plot.addEventListener("pointermove", on((e) => this.pointer(e)));
    plot.addEventListener("pointerup", on((e) => this.release(e)));
    plot.addEventListener("click", on((e) => this.click(e)));
    plot.addEventListener("pointercancel", on(() => ((this.drag = null), this.redraw())));
    plot.addEventListener("pointerleave", on(() => this.unhover()));
    plot.addEventListener("dblclick", on(() => this.move(this.extent)));
    plot.addEventListener("wheel", on((e) => this.wheel(e)), { passive: false });
    plot.addEventListener("keydown", on((e) => this.key(e)));
    for (const [event, focused] of [["focus", true], ["blur", false]]) plot.addEventListener(event, on(() => ((this.focused = focused), this.drawHint())));
    mini.addEventListener("pointerdown", on((e) => this.pressMini(e)));
    mini.addEventListener("pointermove", on((e) => this.dragMini(e)));
    mini.addEventListener("pointerup", on(() => (this.miniDrag = null)));
  }

  controls() {
    const button = (text, title, run, disabled = false) => h("button", { type: "button", title, disabled, onclick: this.guard(run) }, text);
    const { measure } = this.data;
    const runs = this.whole.runs.start.length;
    const state = JSON.stringify([Boolean(measure), runs > 0]);
    if (state === this.controlsMade) return; // new data must not take the focus away
    this.controlsMade = state;
    const { embedded } = this.options;
    this.jumps = {
      whole: button(embedded ? "All" : "Whole session", "The whole session (key 0, or double click)", () => this.move(this.extent)),
      measure: button(embedded ? "Measured" : "Measurement", "From the first to the last measured run", () => this.move(this.data.measure), !measure),
      run: button("One run", "A typical run, with its layers (n and p: the next and the previous one)", () => this.moveToRun(this.data.typical_run), !runs),
    };
    const step = [
      button(embedded ? "‹" : "‹ Run", "Previous run (key p; Shift: instrumented ones only)", (e) => this.stepRun(-1, e.shiftKey), !runs),
      button(embedded ? "›" : "Run ›", "Next run (key n; Shift: instrumented ones only)", (e) => this.stepRun(1, e.shiftKey), !runs),
    ];
    const zoom = [button("−", "Zoom out (key −)", () => this.zoom(2)), button("+", "Zoom in (key +)", () => this.zoom(0.5))];
    const group = (label, ...buttons) => h("div", { class: "ep-segments", role: "group", "aria-label": label }, ...buttons);
    this.tools.replaceChildren(group("Jump", ...Object.values(this.jumps)), group("Run", ...step), group("Zoom", ...zoom), this.readout, ...(embedded ? [this.legendButton()] : []));
  }

  /** Inside of something else the legend lies over the lanes, when it is asked for. */
  legendButton() {
    const show = () => {
      const open = this.element.classList.toggle("ep-open");
      this.legendToggle.setAttribute("aria-expanded", String(open));
    };
    this.legendToggle = h("button", { type: "button", class: "ep-legend-button", "aria-expanded": "false", title: "Legend, lanes and notes", onclick: this.guard(show) }, "Legend");
    return this.legendToggle;
  }

  showEmpty() {
    const nothing = !this.data.extent;
    this.empty.textContent = nothing
      ? "This profile holds nothing with a time: no phases, no runs and no readings. Profile the model again, or open another .edgeprof file."
      : "";
    this.empty.hidden = !nothing;
    this.tools.hidden = this.body.hidden = this.legend.hidden = this.hint.hidden = nothing;
    this.missing.textContent = this.data.missing.samples;
    this.missing.hidden = !this.data.missing.samples || Boolean(this.options.embedded && this.options.height);
  }

  // -- which lanes, where --

  arrange() {
    const { arrays } = this.data;
    const lanes = [];
    const add = (id, title, rows, more = {}) => this.off.has(id) || lanes.push({ id, title, height: rows * HEIGHTS[id], ...more });
    if (arrays.win_start.length) add("windows", "Phases", this.windowRows);
    if (arrays.run_start.length) add("runs", "Runs", 2);
    if (arrays.run_start.length) add("layers", "Layers", this.depths);
    for (const lane of this.data.lanes) {
      const channels = lane.channels.filter((channel) => !this.off.has(`channel ${channel.series}`));
      if (channels.length && !this.off.has(lane.id)) lanes.push({ ...lane, channels, height: HEIGHTS.readings, many: lane.channels.length > MANY, scale: this.scale(lane, channels) });
    }
    this.lanes = this.fitting(lanes);
    this.resize();
    this.drawLegend();
    this.drawHint();
  }

  /** Of lanes that do not fit the height inside of something else those at the end are left out, unless a person wants them. */
  fitting(lanes) {
    this.crowded = [];
    if (!this.options.embedded || !this.options.height) return lanes;
    const least = (lane) => (lane.channels ? LEAST_READINGS : lane.height) + GAP;
    let left = this.roomForLanes() - AXIS - lanes.reduce((sum, lane) => sum + least(lane), 0);
    for (const lane of [...lanes].reverse()) {
      if (left >= 0 || lane === lanes[0]) break;
      if (this.on.has(lane.id) || lane.id === "power" || lane.id === "runs") continue;
      this.crowded.push(lane.id);
      left += least(lane);
    }
    return lanes.filter((lane) => !this.crowded.includes(lane.id));
  }

  /** What controls and strip leave of the height that was given. */
  roomForLanes() {
    return this.options.height - this.tools.offsetHeight - 6 - this.miniHeight - 4;
  }

  /** Power starts at zero, for its area is energy; other units show what lies between the least and the most of the session. */
  scale(lane, channels) {
    const ranges = channels.map((channel) => channel.range).filter(Boolean);
    let low = min(...ranges.map((range) => range[0]));
    let high = max(...ranges.map((range) => range[1]));
    if (!ranges.length) return { low: 0, high: 1, seen: null };
    const seen = [low, high];
    if (lane.id === "power") [low, high] = [min(0, low), max(high, this.data.idle_mw ?? high)];
    const pad = (high - low) * 0.08 || abs(high) * 0.05 || 1;
    return { low: low >= 0 ? max(0, lane.id === "power" ? 0 : low - pad) : low - pad, high: high + pad, seen };
  }

  resize() {
    const width = this.body.clientWidth;
    if (this.body.hidden || !width) return;
    if (!this.colors.ink) {
      this.applyTheme(); // a notebook makes the view before it puts it into the page
      this.drawLegend();
    }
    const readings = this.lanes.filter((lane) => lane.channels);
    const given = this.options.embedded && this.options.height ? this.roomForLanes() : this.options.height;
    if (given && readings.length) {
      const others = AXIS + this.lanes.reduce((sum, lane) => sum + (lane.channels ? 0 : lane.height) + GAP, 0);
      for (const lane of readings) lane.height = max(LEAST_READINGS, floor((given - others) / readings.length));
    }
    let top = AXIS;
    for (const lane of this.lanes) [lane.top, top] = [top, top + lane.height + GAP];
    const gutter = width < 520 ? 92 : width < 860 ? 112 : 150;
    this.place = { gutter, width, inner: width - gutter - 8, height: top };
    for (const canvas of [this.canvas, this.over]) fit(canvas, width, top);
    fit(this.mini, width, this.miniHeight);
    this.lower.style.maxHeight = this.options.embedded && given ? `${max(60, given)}px` : "";
    this.plot.style.height = `${top}px`;
    this.miniPicture = null;
    this.redraw();
  }

  // -- the window --

  /** Shows this stretch of time: within the session and not narrower than LEAST_MS. */
  look(range) {
    const [first, last] = this.extent;
    let [start, end] = range?.length === 2 && range.every(known) ? range : this.extent;
    const width = min(last - first, max(LEAST_MS, end - start));
    const middle = end - start < LEAST_MS ? (start + end) / 2 - width / 2 : start;
    start = min(max(first, middle), last - width);
    this.window = [start, width === last - first ? last : start + width];
    this.redraw();
  }

  /** A person moved or zoomed. */
  move(range) {
    this.look(range);
    this.options.window = this.window;
    clearTimeout(this.resting);
    this.resting = setTimeout(this.guard(() => (this.speak(), this.options.onChange?.({ window: this.window }))), REST_MS);
  }

  zoom(factor, at = this.hover ? this.hover.time : (this.window[0] + this.window[1]) / 2) {
    const [start, end] = this.window;
    const width = min(this.extent[1] - this.extent[0], max(LEAST_MS, (end - start) * factor));
    const share = (at - start) / (end - start);
    this.move([at - width * share, at + width * (1 - share)]);
  }

  pan(share) {
    const [start, end] = this.window;
    this.move([start + (end - start) * share, end + (end - start) * share]);
  }

  moveToRun(i) {
    const { start, ms } = this.whole.runs;
    const room = max(ms[i], LEAST_MS) * 0.03;
    this.move([start[i] - room, start[i] + ms[i] + room]);
  }

  stepRun(way, instrumented) {
    const { start, ms, flags } = this.whole.runs;
    const middle = (this.window[0] + this.window[1]) / 2;
    let i = upTo(start, middle) - 1;
    const inside = i >= 0 && middle <= start[i] + ms[i] && this.window[1] - this.window[0] < 3 * ms[i];
    if (way > 0 || inside) i += way; // from a wide window first to the run before its middle
    while (instrumented && i >= 0 && i < start.length && !(flags[i] & INSTRUMENTED)) i += way;
    if (i >= 0 && i < start.length) this.moveToRun(i);
  }

  // -- texts around the lanes --

  drawReadout() {
    const [start, end] = this.window;
    const step = max(this.pixelMs, LEAST_MS);
    const parts = [`${clockText(start, step)} – ${clockText(end, step)}`, lengthText(end - start), ...this.powerInView()];
    this.readout.textContent = parts.join("  ·  ");
    const same = (range) => Boolean(range) && abs(range[0] - start) < step && abs(range[1] - end) < step;
    this.jumps.whole.setAttribute("aria-pressed", String(same(this.extent)));
    this.jumps.measure.setAttribute("aria-pressed", String(same(this.data.measure) && !same(this.extent)));
  }

  /** Mean of the total in the window, and its energy unless a reading failed; nothing where fewer than two readings lie in it. */
  powerInView() {
    const lane = this.data.lanes.find((one) => one.id === "power");
    const channel = lane?.channels.find((one) => one.total);
    if (!channel) return [];
    const line = this.part.lines[channel.series];
    const [start, end] = [max(this.window[0], line.time[0]), min(this.window[1], line.end)];
    const first = max(0, upTo(line.time, start) - 1);
    const last = upTo(line.time, end);
    if (last - first < 3) return [];
    let [sum, held, failed] = [0, 0, false];
    for (let i = first; i < last; i++) {
      const ms = min(end, line.time[i + 1] ?? line.end) - max(start, line.time[i]);
      if (!known(line.mean[i]) || line.failed?.[i]) failed = true;
      if (!known(line.mean[i]) || ms <= 0) continue;
      sum += line.mean[i] * ms;
      held += ms;
    }
    const about = line.per > 1 ? "≈ " : "";
    return [`${channel.title.replace(" = total", "")}: mean ${about}${valueText(sum / held, lane.units)}`, failed ? "energy not known: readings failed" : `${about}${valueText(sum / 1000, ENERGY)}`];
  }

  drawHint() {
    const scroll = this.focused ? "Scroll to zoom" : "Click the lanes, then scroll to zoom (or Ctrl + scroll at once)";
    this.hint.textContent = `${scroll}. Drag to pan, Shift + drag to zoom to a range, double click for the whole session. Keys: ← → pan, + − zoom, 0 whole session, n p next and previous run, Esc clears the selection.`;
  }

  drawNotes() {
    const { part, data } = this;
    const notes = [];
    const more = this.options.canDetail ? "; zoom in for all of them" : "";
    const columns = data.lanes.flatMap((lane) => lane.channels).filter((channel) => part.lines[channel.series].per > 1);
    if (columns.length) {
      const pers = [...new Set(columns.map((channel) => part.lines[channel.series].per))];
      notes.push(`Each column of ${columns.length === 1 ? columns[0].title : `${columns.length} channels`} is the least, the mean and the most of up to ${grouped(max(...pers))} readings${more}.`);
    }
    const [sent, all] = part.spans_of;
    if (sent < all) notes.push(`Layers of ${grouped(sent)} of ${grouped(all)} instrumented runs, evenly chosen; the others are hatched${more}.`);
    const [runs, allRuns] = part.runs_of;
    if (runs < allRuns) notes.push(`${grouped(runs)} of ${grouped(allRuns)} runs: all outliers and evenly chosen others${more}.`);
    if (data.sensors.length && !data.missing.samples) notes.push(`Sensors: ${data.sensors.join(" · ")}.`);
    const channels = data.lanes.flatMap((lane) => lane.channels);
    const total = channels.find((channel) => channel.total);
    if (total) notes.push(`Total power: ${total.names.length > 1 ? "the sum of " : ""}${total.names.join(", ")}${total.scope && `; covers: ${total.scope}`}.`);
    const counters = channels.filter((channel) => channel.counter && channel.sensor);
    if (counters.length) notes.push(`${counters.map((channel) => channel.title).join(", ")}: energy counters, drawn as power: difference over the time between two readings.`);
    const failing = (line) => line.failed?.some((v) => v) || line.mean.some((v) => !known(v));
    const failed = channels.filter((channel) => failing(part.lines[channel.series]));
    if (failed.length) notes.push(`A mark at the foot of a lane: readings that failed (${failed.map((channel) => channel.title).join(", ")}).`);
    const text = notes.join("\n");
    if (text === this.noted) return;
    this.noted = text;
    this.notes.replaceChildren(...notes.map((note) => h("li", {}, note)));
  }

  drawLegend() {
    const { data, theme } = this;
    const swatch = (color, kind = "") => {
      const node = h("i", { class: `ep-swatch ${kind}` });
      node.style.background = color;
      return node;
    };
    const toggle = (id, title, ...content) =>
      h("button", { type: "button", class: "ep-toggle", "aria-pressed": String(!this.off.has(id) && !this.crowded.includes(id)), title, onclick: this.guard(() => this.toggle(id)) }, ...content);
    const key = (color, text) => h("span", { class: "ep-swatch-key" }, swatch(color), text);
    const row = (head, ...content) => h("div", { class: "ep-legend-row" }, head, h("div", {}, ...content));
    const rows = [];
    const hide = "Click to switch the lane off and on";
    if (data.arrays.win_start.length) rows.push(row(toggle("windows", hide, "Phases"), ...data.phases.map((phase) => key(theme.phases[phase] ?? this.colors.line, phase))));
    if (data.arrays.run_start.length) {
      const outliers = data.arrays.run_flags.some((flags) => flags & OUTLIER);
      const marks = [key(this.colors.bar, "plain"), key(this.colors.quiet, "instrumented"), ...(outliers ? [key(this.colors.warning, "▼ outlier")] : [])];
      rows.push(row(toggle("runs", hide, "Runs"), ...marks));
      const families = this.families.map((family, f) => key(this.familyColors[f], family));
      const corrected = data.arrays.span_ms.some((ms, j) => ms < data.arrays.span_raw[j] * 0.99);
      rows.push(row(toggle("layers", hide, "Layers"), ...families, ...(corrected ? [h("span", { class: "ep-note" }, `pale end: ${data.holders.length ? "layers inside, and " : ""}the profiler’s own time`)] : [])));
    }
    for (const lane of data.lanes) {
      const [only] = lane.channels;
      if (lane.channels.length === 1 && only.title === lane.title) {
        rows.push(h("div", {}, toggle(lane.id, this.channelTitle(only), swatch(this.colorOf(only, lane), "ep-line"), lane.title)));
        continue;
      }
      const many = lane.channels.length > MANY;
      const channels = many ? [h("span", { class: "ep-note" }, `${lane.channels.length} channels`)] : lane.channels.map((channel) => {
        const line = swatch(this.colorOf(channel, { ...lane, many }), channel.total ? "ep-line ep-total" : "ep-line");
        return toggle(`channel ${channel.series}`, this.channelTitle(channel), line, channel.title);
      });
      rows.push(row(toggle(lane.id, hide, lane.title), ...channels));
    }
    this.legend.replaceChildren(...rows);
    if (this.legendToggle) this.legendToggle.textContent = this.crowded.length ? `Legend · ${this.crowded.length} more` : "Legend";
  }

  channelTitle(channel) {
    const from = channel.counter ? "energy counter, drawn as power" : "";
    return [channel.names.join(" + "), channel.scope && `covers ${channel.scope}`, from, "click to switch off and on"].filter(Boolean).join(", ");
  }

  toggle(id) {
    const focus = document.activeElement?.title;
    if (this.crowded.includes(id)) this.on.add(id);
    else if (!this.off.delete(id)) this.off.add(id);
    this.unhover();
    this.arrange();
    if (focus) [...this.legend.querySelectorAll("button")].find((button) => button.title === focus)?.focus();
  }

  // -- what is where --

  /** Position of the reading that holds at this time, -1 when none does. */
  readingAt(line, time) {
    if (!line.time.length || time < line.time[0] || time > line.end + this.pixelMs) return -1;
    return upTo(line.time, time) - 1;
  }

  windowsAt(time) {
    const { win_start: start, win_end: end } = this.data.arrays;
    const found = [];
    for (let i = 0; i < start.length && start[i] <= time; i++) if (time <= end[i]) found.push(i);
    return found.filter((i) => time < end[i]).concat(found.filter((i) => time >= end[i])).slice(0, 3);
  }

  runAt(time) {
    const { start, ms } = this.part.runs;
    const i = upTo(start, time + this.pixelMs / 2) - 1;
    return i >= 0 && time <= start[i] + max(ms[i], this.pixelMs) ? i : -1;
  }

  /** The span at this time in this row (any: -1): where several share a pixel the longest. */
  spanAt(time, depth) {
    const { runs, spans, sentAt } = this.part;
    const half = this.pixelMs / 2;
    let best = -1;
    for (let i = this.runAt(time); i >= 0 && runs.start[i] + runs.ms[i] >= time - half; i--) {
      const k = sentAt.get(i);
      if (k === undefined) continue;
      for (let j = spans.first[k]; j < spans.first[k + 1]; j++) {
        const start = runs.start[i] + spans.offset[j];
        const at = this.data.arrays.depth[spans.layer[j]];
        if (start > time + half || start + spans.raw[j] < time - half || (depth >= 0 && at !== depth)) continue;
        const deeper = best < 0 || at > this.data.arrays.depth[spans.layer[best]];
        if (deeper || (at === this.data.arrays.depth[spans.layer[best]] && spans.raw[j] > spans.raw[best])) best = j;
      }
    }
    return best;
  }

  // -- pointer --

  spot(event) {
    const box = this.plot.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const lane = this.lanes.find((one) => y >= one.top && y < one.top + one.height);
    return { x, y, lane, time: this.timeAt(x), inside: x >= this.place.gutter && x <= this.place.gutter + this.place.inner };
  }

  press(event) {
    if (event.button !== 0) return;
    this.plot.setPointerCapture(event.pointerId);
    const { x } = this.spot(event);
    this.drag = { x, now: x, window: this.window, range: event.shiftKey, moved: false };
    if (event.shiftKey) event.preventDefault(); // or the page selects text
    this.plot.focus({ preventScroll: true });
  }

  pointer(event) {
    const spot = this.spot(event);
    const { drag } = this;
    if (drag && event.buttons) {
      drag.now = spot.x;
      drag.moved ||= abs(drag.now - drag.x) > 3;
      if (!drag.moved) return;
      this.card.hidden = true;
      const by = ((drag.x - drag.now) / this.place.inner) * (drag.window[1] - drag.window[0]);
      if (drag.range) this.drawOver();
      else this.move([drag.window[0] + by, drag.window[1] + by]);
      return;
    }
    if (!spot.inside) return this.unhover();
    this.hover = spot;
    this.fillCard();
    this.drawOver();
    this.moveCard(event);
  }

  release() {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.range && drag.moved) {
      const [start, end] = [drag.x, drag.now].sort((a, b) => a - b).map((x) => this.timeAt(x));
      this.move([max(this.extent[0], start), min(this.extent[1], end)]);
    }
    this.still = !drag.moved;
    this.redraw();
  }

  unhover() {
    this.hover = null;
    this.card.hidden = true;
    if (this.place) this.drawOver();
  }

  /** Zooms only where it is asked for: a notebook must scroll past the view. */
  wheel(event) {
    if (!this.focused && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const unit = [1, 16, 400][event.deltaMode];
    const sideways = event.shiftKey || abs(event.deltaX) > abs(event.deltaY);
    const by = max(-240, min(240, (sideways ? event.deltaX || event.deltaY : event.deltaY) * unit));
    if (sideways) this.pan(by / 1000);
    else this.zoom(Math.exp(by * 0.0022), this.spot(event).inside ? this.spot(event).time : undefined);
    if (this.hover) this.pointer(event);
  }

  click(event) {
    const { lane, time, y, inside } = this.spot(event);
    if (!this.still || event.detail > 1 || !inside || !lane || lane.channels) return; // after a drag, or the second of a double click
    let rows = [];
    if (lane.id === "layers") {
      const j = this.spanAt(time, floor((y - lane.top) / HEIGHTS.layers));
      rows = j >= 0 ? [this.part.spans.layer[j]] : [];
    } else if (lane.id === "windows") {
      const row = floor((y - lane.top) / HEIGHTS.windows);
      rows = this.windowsAt(time).filter((i) => this.data.arrays.win_row[i] === row).flatMap((i) => this.groupOf(i));
    } else return void (lane.id === "runs" && this.pickRun(this.runIn(time, floor((y - lane.top) / HEIGHTS.runs)), event.ctrlKey || event.metaKey || event.shiftKey));
    this.pick(rows, event.ctrlKey || event.metaKey || event.shiftKey);
  }

  /** The run of this row at this time (0: plain, 1: instrumented), where several share a pixel the longest; -1: none. */
  runIn(time, row) {
    const { start, ms, flags } = this.part.runs;
    const half = this.pixelMs;
    let best = -1;
    for (let i = max(0, upTo(start, time + half) - 1); i >= 0 && (start[i] + ms[i] >= time - half || i + 1 >= upTo(start, time - half)); i--) {
      const here = start[i] <= time + half && start[i] + ms[i] >= time - half;
      if (here && Boolean(flags[i] & INSTRUMENTED) === (row === 1) && (best < 0 || ms[i] > ms[best])) best = i;
    }
    return best;
  }

  /** A person selects a run: instead of the selection, or added to it; the only one that is selected is taken away. */
  pickRun(i, add) {
    const run = i < 0 ? null : this.part.runs.number[i];
    const had = this.chosenRuns.has(run) && (add || this.chosenRuns.size === 1);
    if (run === null && (add || !this.chosenRuns.size)) return;
    if (!add) this.chosenRuns.clear();
    if (had) this.chosenRuns.delete(run);
    else if (run !== null) this.chosenRuns.add(run);
    this.tellRuns();
  }

  tellRuns() {
    this.redraw();
    this.options.onSelectRuns?.([...this.chosenRuns].sort((a, b) => a - b));
    this.speak();
  }

  /** Selects these runs, by their numbers, from outside. */
  selectRuns(runs) {
    this.chosenRuns = new Set(runs);
    this.redraw();
  }

  /** A person selects layers: instead of the selection, or added to it; what was the selection already is taken away. */
  pick(rows, add) {
    const had = rows.length > 0 && rows.every((row) => this.selected.has(row)) && (add || this.selected.size === rows.length);
    if (!add) this.selected.clear();
    for (const row of rows) {
      if (had) this.selected.delete(row);
      else this.selected.add(row);
    }
    this.tell();
  }

  tell() {
    this.redraw();
    this.options.onSelect?.(this.selection());
    this.speak();
  }

  /** Selects these layers (from outside). */
  select(names) {
    this.selected = new Set(names.map((name) => this.rowOf.get(name)).filter((row) => row !== undefined));
    this.redraw();
  }

  key(event) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      ArrowLeft: () => this.pan(event.shiftKey ? -0.9 : -0.2), ArrowRight: () => this.pan(event.shiftKey ? 0.9 : 0.2),
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), _: () => this.zoom(2), 0: () => this.move(this.extent),
      n: () => this.stepRun(1), p: () => this.stepRun(-1), N: () => this.stepRun(1, true), P: () => this.stepRun(-1, true),
      Escape: () => this.unselect(),
    };
    if (!Object.hasOwn(moves, key)) return;
    moves[key]();
    event.preventDefault();
    event.stopPropagation();
  }

  unselect() {
    this.selected.clear();
    this.tell();
    if (!this.chosenRuns.size) return;
    this.chosenRuns.clear();
    this.tellRuns();
  }

  // -- hover card and words --

  fillCard() {
    const { time } = this.hover;
    const list = h("dl", {});
    const add = (name, text, color) => {
      const mark = color ? [h("i", { class: "ep-swatch ep-line" })] : [];
      for (const node of mark) node.style.background = color;
      list.append(h("dt", {}, ...mark, name), h("dd", {}, text));
    };
    for (const i of this.windowsAt(time)) add("Phase", this.windowFacts(i));
    const run = this.runAt(time);
    if (run >= 0) for (const [name, text] of this.runFacts(run, time)) add(name, text);
    const { lane, y } = this.hover;
    const depth = lane?.id === "layers" ? floor((y - lane.top) / HEIGHTS.layers) : -1;
    const span = this.spanAt(time, depth);
    if (span >= 0) for (const [name, text, color] of this.layerFacts(span)) add(name, text, color);
    for (const one of this.lanes) if (one.channels) for (const [name, text, color] of this.readingFacts(one, time)) add(name, text, color);
    this.card.replaceChildren(h("div", { class: "ep-card-title" }, clockText(time, this.pixelMs)), list);
    this.card.hidden = false;
  }

  windowFacts(i) {
    const { arrays: a, phases, notes } = this.data;
    const phase = phases[a.win_phase[i]];
    const name = this.windowName(i);
    const parts = [name.startsWith(phase) ? name : `${phase}: ${name}`, lengthText(a.win_end[i] - a.win_start[i])];
    if (a.win_pass[i]) parts.push(`pass ${a.win_pass[i] - 1}`);
    if (a.win_runs[i]) parts.push(`${grouped(a.win_runs[i])} run${a.win_runs[i] === 1 ? "" : "s"}`);
    const note = notes[a.win_note[i]];
    if (note) parts.push(note === "slow" ? "sampled slowly, to see what sampling costs" : note);
    return parts.join(", ");
  }

  runFacts(i, time) {
    const { start, ms, flags, block, number } = this.part.runs;
    const kind = flags[i] & INSTRUMENTED ? "instrumented" : "plain";
    const facts = [[`Run ${number[i]}`, `${kind}, block ${block[i]}, ${show(ms[i], "latency")}${flags[i] & OUTLIER ? ", outlier" : ""}`]];
    if (this.pixelMs * 20 < ms[i]) facts.push(["In the run", `+${show(max(0, time - start[i]), "latency")}`]);
    if (flags[i] & HAS_LAYERS && !(flags[i] & LAYERS_SENT)) facts.push(["Layers", "not drawn for this run"]);
    return facts;
  }

  layerFacts(j) {
    const { spans } = this.part;
    const layer = spans.layer[j];
    const { names, op_types, arrays: a } = this.data;
    const value = (name) => a[name]?.[layer] ?? NaN;
    const more = this.data.holders.includes(layer) ? "the layers inside and the profiler’s own time" : "the profiler’s own time";
    const raw = spans.raw[j] - spans.ms[j] > spans.raw[j] * 0.005 ? ` (${show(spans.raw[j], "latency")} with ${more})` : "";
    const calls = value("calls") > 1 ? `, its ${show(value("calls"), "count")} calls drawn as one` : "";
    const facts = [["Layer", names[layer], this.theme.ops[a.op[layer]]], ["Op type", op_types[a.op[layer]]]];
    facts.push(["In this run", `${show(spans.ms[j], "latency")}${raw}${calls}`]);
    facts.push(["Typically", showInterval(value("latency_ms"), value("latency_low_ms"), value("latency_high_ms"), "latency")]);
    if (known(value("energy_mj"))) facts.push(["Energy a run", showInterval(value("energy_mj"), value("energy_low_mj"), value("energy_high_mj"), "number", "mJ")]);
    return facts;
  }

  readingFacts(lane, time) {
    if (lane.many) return [[lane.title, this.togetherText(lane, time), this.colorOf(lane.channels[0], lane)]];
    return lane.channels.map((channel) => [channel.title, this.readingText(lane, channel, time), this.colorOf(channel, lane)]);
  }

  togetherText(lane, time) {
    const values = lane.channels.map((channel) => this.part.lines[channel.series]).map((line) => line.mean[this.readingAt(line, time)]).filter(known);
    return values.length ? `${rangeText(min(...values), max(...values), lane.units)}, ${values.length} channels` : MISSING;
  }

  /** What a channel said at this time: one reading, or all of the column or pixel; how long ago, or of how long the mean is. */
  readingText(lane, channel, time) {
    const line = this.part.lines[channel.series];
    const last = this.readingAt(line, time);
    if (last < 0) return "no reading";
    const first = min(last, upTo(line.time, time - this.pixelMs));
    let [low, high, sum, n] = [Infinity, -Infinity, 0, 0];
    for (let i = first; i <= last; i++) {
      if (!known(line.mean[i])) continue;
      [low, high, sum, n] = [min(low, line.low[i]), max(high, line.high[i]), sum + line.mean[i], n + 1];
    }
    if (!n) return "the reading failed";
    const value = valueText(sum / n, lane.units);
    const failed = line.failed?.[last] ? ", some readings failed" : "";
    if (high > low) return `${value} (${rangeText(low, high, lane.units)}, ${line.per > 1 ? "up to " : ""}${grouped((last - first + 1) * line.per)} readings${failed})`;
    const next = line.time[last + 1] ?? line.end;
    if (channel.counter) return `${value}, mean of ${show(next - line.time[last], "latency")}`;
    const ago = time - line.time[last];
    return ago > 4 * this.pixelMs && line.per === 1 ? `${value}, read ${show(ago, "latency")} before` : value;
  }

  /** Says to a screen reader what the window shows. */
  speak() {
    const middle = (this.window[0] + this.window[1]) / 2;
    const run = this.runAt(middle);
    const phases = this.windowsAt(middle).map((i) => this.windowName(i)).join(", ");
    const inRun = run >= 0 && this.window[1] - this.window[0] < 4 * this.part.runs.ms[run] ? this.runFacts(run, middle)[0].join(" ") : "";
    const chosen = this.selected.size ? `${this.selected.size} layers selected` : "";
    const runs = this.chosenRuns.size ? `run ${[...this.chosenRuns].slice(0, 5).join(", ")} selected` : "";
    this.live.textContent = [this.readout.textContent, phases, inRun, chosen, runs].filter(Boolean).join(", ");
  }

  // -- outside: theme, size, options --

  applyTheme() {
    super.applyTheme();
    const { op_families: families } = this.data;
    this.familyColors = this.families.map((family) => this.theme.ops[families.indexOf(family)]);
    const ink = (color) => ramp([color, color])[0].ink;
    this.opInks = this.theme.ops.map(ink);
    this.inks = Object.fromEntries(["bar", "quiet", "warning"].map((name) => [name, ink(this.colors[name])]));
    this.miniPicture = null;
  }

  recolor() {
    this.drawLegend();
    this.redraw();
  }

  /** Changes options from outside; onChange is not called for them. */
  set(values) {
    this.guard(() => {
      const { data, detail, selection, selectedRuns, window: range, ...rest } = values;
      Object.assign(this.options, rest);
      if (data) this.exchange(data, detail);
      else if ("detail" in values) this.detail = detail?.meta ? this.parts(unpack(detail)) : null;
      this.applyTheme();
      if (data || "height" in rest || "theme" in rest) this.arrange();
      if (range) this.look(range);
      if (selection) this.select(selection);
      if (selectedRuns) this.selectRuns(selectedRuns);
      this.redraw();
    })();
  }

  /** Other data of the same session: what is selected stays, by name, and the window, which follows the end if it reached it. */
  exchange(data, detail) {
    const [chosen, [start, end], [first, last]] = [this.selection(), this.window, this.extent];
    const [same, old] = [() => JSON.stringify([this.data.names.length, this.data.lanes.map((lane) => lane.channels.length)]), this.detail];
    const [shape, head] = [same(), JSON.stringify([this.data.header, this.data.findings])];
    this.load(data, detail);
    if (!detail && shape === same()) this.detail = old;
    this.selected = new Set(chosen.map((name) => this.rowOf.get(name)).filter((row) => row !== undefined));
    if (JSON.stringify([this.data.header, this.data.findings]) !== head) this.replaceHead();
    this.controls();
    this.showEmpty();
    const moved = end >= last ? this.extent[1] - last : 0;
    this.look(start <= first && end >= last ? this.extent : [start + moved, end + moved]);
    this.hover = null;
    this.card.hidden = true;
  }

  replaceHead() {
    const open = [...this.head.querySelectorAll("details")].map((details) => details.open);
    const head = this.header(this.data);
    head.querySelectorAll("details").forEach((details, k) => (details.open = open[k] ?? details.open));
    this.head.replaceWith(head);
    this.head = head;
  }

  destroy() {
    clearTimeout(this.resting);
    super.destroy();
  }
}
