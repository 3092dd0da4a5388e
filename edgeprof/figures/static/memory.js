/**
 * Memory of a profile: what is in use while each layer runs, the life of each buffer, the owners of the peak. Drawn on a canvas.
 *
 *   import { renderMemory } from "./memory.js";
 *   const view = renderMemory(element, data, options);
 *
 * data       {meta, numbers} of figures.memory.memory(profile).to_json(); numbers may be base64, ArrayBuffer or any view of one
 * options    all optional
 *   selection  names of layers
 *   embedded   true: no header, no verdict, no tables; the whole view is `height` px high, one panel at a time where two do not fit
 *   height     of the chart in px; 0: as it likes    theme  "auto" (JupyterLab, VS Code, then the system) | "light" | "dark"
 *   onSelect   (names) => {}: a person changed the selection (not called for select())
 * returns    {element, select(names), set({any of the options, data}), destroy()}
 *
 * New data keep zoom, search and selection (by name). Layers run from left to right in the order of execution. The style sheet is memory.css. Texts reach the page as text nodes only.
 */

const LEFT = 66;
const RIGHT = 14;
const HEAD = 24; // the peak's label
const TITLE = 28;
const CURVE = 118;
const BARS = 236;
const LANE = 11; // a row of a lane
const LANE_ROWS = 4;
const AXIS = 34;
const SLANTED = 108; // at most
const LEAST_PANEL = 150; // px of two panels that can be read
const FEWEST = 4; // layers, when zoomed in
const DRAG = 4; // px that make a click a drag
const PANELS = { bars: "Buffers", curve: "In use" };
const COLOURS = { op: "Op type", kind: "Kind", peak: "At the peak" };
let memoryViews = 0;

export function renderMemory(el, data, options = {}) {
  return made(el, () => new MemoryView(el, data, options));
}

class MemoryView extends View {
  constructor(el, data, options) {
    super(el, "ep-memory", { height: 0, ...options });
    this.id = `ep-memory-${(memoryViews += 1)}`;
    this.colour = "op";
    this.panel = "bars"; // the one that is shown where two do not fit
    this.query = "";
    this.selected = new Set(); // positions of layers
    this.active = { layer: 0, buffer: -1 };
    this.hover = null;
    this.load(data);
    this.build();
    this.applyTheme();
    this.arrange();
    this.select(options.selection ?? []);
    this.watch();
  }

  load(data) {
    this.data = unpack(data);
    const { names, arrays, kinds, peak, plan, budget } = this.data;
    this.layers = names.length;
    this.rowOf = new Map(names.map((name, i) => [name, i]));
    this.view = [0, max(1, this.layers)];
    this.inputKind = kinds.indexOf("input");
    const own = [];
    const lanes = { "held by the caller": [], "size not known": [] };
    for (let b = 0; b < arrays.first.length; b++) {
      if (arrays.kind[b] === this.inputKind) lanes["held by the caller"].push(b);
      else if (known(arrays.offset[b])) own.push(b);
      else lanes["size not known"].push(b);
    }
    // large ones last: where a pixel holds many, the largest is seen
    this.bars = own.sort((a, b) => arrays.size[a] - arrays.size[b]);
    this.lanes = Object.entries(lanes)
      .filter(([, buffers]) => buffers.length)
      .map(([title, buffers]) => ({ title, ...this.packLane(buffers) }));
    this.labels = names.map((name, i) => this.label(name, i));
    this.longest = this.labels.reduce((most, label) => max(most, label.length), 0);
    const some = (high, low) => this.labels.some((_, i) => this.value(high, i) > (this.value(low, i) || 0));
    this.has = { held: some("live", "counted"), workspace: some("peak", "live") && some("peak", "counted") };
    this.hasCurve = Boolean(arrays.live ?? arrays.peak ?? arrays.counted) && this.layers > 0;
    const tops = [plan?.bytes ?? 0, peak?.bytes ?? 0];
    for (const name of ["counted", "live", "peak"]) for (const value of arrays[name] ?? []) if (value > tops[0]) tops[0] = value;
    const top = max(...tops) || 1;
    this.showBudget = budget != null && budget.line > 0 && budget.line <= 1.4 * top;
    this.top = max(top, this.showBudget ? budget.line : 0) * 1.06;
  }

  /** A layer's name as it stands under the chart, without the op type that many exporters put at its end. */
  label(name, layer) {
    const end = name.lastIndexOf("/");
    return end > 0 && name.slice(end + 1).replace(/_\d+$/, "") === this.opType(layer) ? name.slice(0, end) : name;
  }

  /** Rows of a lane such that bars do not overlap; what finds no row shares the last one. */
  packLane(buffers) {
    const { first, last } = this.data.arrays;
    const ends = [];
    const row = new Map();
    let crowd = 0;
    for (const b of buffers) {
      let k = ends.findIndex((end) => end < first[b]);
      if (k < 0) k = min(ends.length, LANE_ROWS - 1);
      if (ends[k] >= first[b]) crowd += 1;
      ends[k] = max(ends[k] ?? -1, last[b]);
      row.set(b, k);
    }
    return { buffers, row, rows: ends.length, crowd };
  }

  // -- what the numbers say --

  /** [tensor, layer that makes it] of all tensors that lie in a buffer, in the order they are made. */
  sharers(b) {
    const { tensors, arrays, sharers } = this.data;
    return [[tensors[b], arrays.kind[b] === this.inputKind ? -1 : arrays.first[b]], ...(sharers[b] ?? [])];
  }

  /** Layers that make what lies in a buffer; none for one of the caller. */
  makers(b) {
    return this.sharers(b).map(([, layer]) => layer).filter((layer) => layer >= 0);
  }

  /** The tensor that lies in buffer `b` while `layer` runs. */
  tensorAt(b, layer) {
    const inside = this.sharers(b);
    return inside.findLast(([, maker]) => maker <= layer) ?? inside[0];
  }

  alive(b, layer) {
    return this.data.arrays.first[b] <= layer && this.data.arrays.last[b] >= layer;
  }

  atPeak(b) {
    return this.data.peak != null && this.data.peak.layer >= 0 && this.alive(b, this.data.peak.layer);
  }

  kind(b) {
    return this.data.kinds[this.data.arrays.kind[b]];
  }

  opType(layer) {
    return this.data.op_types[this.data.arrays.op_type[layer]] ?? "";
  }

  value(name, layer) {
    return this.data.arrays[name]?.[layer] ?? NaN;
  }

  // -- frame: header, controls, chart, legend, verdict, tables --

  build() {
    const on = (fn) => this.guard(fn);
    this.chart = h("div", { class: "ep-chart", role: "listbox", tabindex: 0, "aria-multiselectable": "true", "aria-orientation": "horizontal", "data-lm-suppress-shortcuts": "true" });
    this.canvas = h("canvas", { class: "ep-lives", role: "presentation" });
    this.voice = h("div", { id: `${this.id}-layer`, class: "ep-voice", role: "option" });
    this.chart.append(this.voice, this.canvas);
    this.strip = h("canvas", { class: "ep-strip", "aria-hidden": "true", title: "All layers; drag to move" });
    this.card = h("div", { class: "ep-card", hidden: true, "aria-hidden": "true" });
    this.empty = h("div", { class: "ep-empty", hidden: true });
    this.live = h("div", { class: "ep-voice", "aria-live": "polite" });
    this.legend = h("div", { class: "ep-legends" });
    this.body = h("div", { class: "ep-memory-body" }, this.chart, this.strip);
    this.head = this.header(this.data);
    this.below = h("div", {});
    this.element.replaceChildren(this.head, this.tools(), this.body, this.empty, this.legend, this.below, this.live, this.card);
    this.fillBelow();

    this.chart.addEventListener("pointerdown", on((e) => this.press(e)));
    this.chart.addEventListener("pointermove", on((e) => this.pointer(e)));
    this.chart.addEventListener("pointerup", on(() => (this.drag = null)));
    this.chart.addEventListener("pointerleave", on(() => this.unhover()));
    this.chart.addEventListener("click", on((e) => this.click(e)));
    this.chart.addEventListener("dblclick", on(() => this.doubleClick()));
    this.chart.addEventListener("wheel", on((e) => this.wheel(e)), { passive: false });
    this.chart.addEventListener("keydown", on((e) => this.key(e)));
    this.chart.addEventListener("focus", on(() => (this.speak(), this.redraw())));
    this.chart.addEventListener("blur", on(() => this.redraw()));
    this.strip.addEventListener("pointerdown", on((e) => (this.strip.setPointerCapture(e.pointerId), this.dragStrip(e))));
    this.strip.addEventListener("pointermove", on((e) => e.buttons && this.dragStrip(e)));
  }

  /** Verdict, what is missing, tables. Inside of something else only what is missing, and that only when there is nothing else to see. */
  fillBelow() {
    if (!this.options.embedded) return void this.below.replaceChildren(...this.tables());
    const nothing = !this.hasCurve && !this.data.arrays.first.length;
    return void this.below.replaceChildren(...(nothing && this.data.missing.length ? [this.missingList()] : []));
  }

  missingList() {
    return h("ul", { class: "ep-missing" }, ...this.data.missing.map((text) => h("li", {}, text)));
  }

  tools() {
    const on = (fn) => this.guard(fn);
    const button = (text, label, act) => h("button", { type: "button", "aria-label": label, title: label, onclick: on(act) }, text);
    this.zoomOut = button("−", "Zoom out", () => this.zoomStep(2));
    this.zoomIn = button("+", "Zoom in", () => this.zoomStep(0.5));
    const small = this.options.embedded;
    this.zoomAll = button(small ? "All" : "All layers", "Show all layers", () => this.show(0, this.layers));
    this.search = h("input", { type: "search", placeholder: "Search tensors and layers", "aria-label": "Search tensors and layers", "data-lm-suppress-shortcuts": "true" });
    this.search.addEventListener("input", on(() => this.filter()));
    this.search.addEventListener("keydown", on((e) => this.searchKey(e)));
    this.count = h("span", { class: "ep-count" });
    this.colours = this.segments("Colour by", COLOURS, this.colour, (value) => this.recolorBy(value));
    const zoom = h("div", { class: "ep-zoom", role: "group", "aria-label": "Zoom" }, this.zoomOut, this.zoomIn, this.zoomAll);
    this.panels = this.segments("Panel", PANELS, this.panel, (value) => this.showPanel(value));
    const legend = button("Legend", "Legend", () => {
      const open = this.element.classList.toggle("ep-open");
      legend.setAttribute("aria-expanded", String(open));
    });
    legend.classList.add("ep-legend-button");
    legend.hidden = !small;
    this.bar = h("div", { class: "ep-tools", role: "toolbar", "aria-label": "Memory controls" }, this.panels, this.colours, zoom, legend, h("div", { class: "ep-search" }, this.search, this.count));
    return this.bar;
  }

  showPanel(value) {
    this.panel = value;
    for (const button of this.panels.children) button.setAttribute("aria-checked", String(button.dataset.value === value));
    this.resize();
  }

  recolorBy(value) {
    this.colour = value;
    for (const button of this.colours.children) button.setAttribute("aria-checked", String(button.dataset.value === value));
    this.recolor();
  }

  arrange() {
    const { arrays, title } = this.data;
    const nothing = !this.hasCurve && !arrays.first.length;
    let text = "";
    if (!this.layers) text = "This profile has no layers. Profile a model with instrumented runs, or open another .edgeprof file.";
    else if (nothing) text = "This profile says nothing of memory by layer. What is missing, and how to get it, stands below.";
    this.empty.textContent = text;
    this.empty.hidden = !text;
    this.panels.hidden = true;
    const low = text && this.options.embedded && this.options.height; // words that do not fit scroll
    Object.assign(this.element.style, { maxHeight: low ? `${this.options.height}px` : "", overflow: low ? "auto" : "" });
    this.body.hidden = this.legend.hidden = this.bar.hidden = Boolean(text);
    this.colours.hidden = this.search.parentElement.hidden = !arrays.first.length;
    this.chart.setAttribute("aria-label", `${title}: memory by layer`);
    this.active.layer = min(this.active.layer, max(0, this.layers - 1));
    this.filter();
    this.resize();
    this.show(...this.view);
    this.drawLegend();
  }

  // -- where things lie --

  resize() {
    const width = this.body.clientWidth;
    if (this.body.hidden || !width) return;
    if (!this.colors.ink) this.applyTheme(); // a notebook makes the view before it puts it into the page
    this.plan = this.layout(width);
    fit(this.canvas, width, this.plan.height);
    fit(this.strip, width, 22);
    this.stripPicture = null;
    this.redraw();
  }

  layout(width) {
    const given = this.options.embedded && this.options.height ? this.roomInside() : this.options.height;
    const low = this.options.embedded && given > 0 && given < 340; // a pane: what is not the chart gives way
    const slanted = !low && this.slanted(width);
    const axis = slanted ? min(SLANTED, this.longest * 4.8 + 18) : AXIS;
    const both = this.hasCurve && this.bars.length > 0;
    const spare = (panels) => given - HEAD - axis - panels * TITLE - this.laneRoom(this.lanes);
    const one = low && both && spare(2) < LEAST_PANEL;
    this.panels.hidden = !one;
    const hasCurve = this.hasCurve && !(one && this.panel === "bars");
    const bars = this.bars.length > 0 && !(one && this.panel === "curve");
    const shownLanes = low && (!bars || spare(1) < 70) ? [] : this.lanes;
    const fixed = HEAD + axis + this.laneRoom(shownLanes) + (hasCurve ? TITLE : 0) + (bars ? TITLE : 0);
    const wish = (hasCurve ? CURVE : 0) + (bars ? BARS : 0);
    const room = given ? max(60, given - fixed) : bars ? wish : 200;
    const curve = hasCurve ? round(bars ? (room * CURVE) / (CURVE + BARS) : room) : 0;
    const panels = {};
    let y = HEAD;
    if (hasCurve) {
      panels.curve = { top: y + TITLE, height: curve };
      y += TITLE + curve;
    }
    if (bars) {
      panels.bars = { top: y + TITLE, height: room - curve };
      y += TITLE + room - curve;
    }
    panels.lanes = shownLanes.map((lane) => {
      const top = y + 8;
      y = top + lane.rows * LANE + 2;
      return { ...lane, top };
    });
    return { width, inner: width - LEFT - RIGHT, axis: y, slanted, height: y + axis, ...panels };
  }

  laneRoom(lanes) {
    return lanes.reduce((sum, lane) => sum + lane.rows * LANE + 10, 0);
  }

  /** What the controls and the strip leave of the height that was given. */
  roomInside() {
    return this.options.height - (this.bar.hidden ? 0 : this.bar.offsetHeight + 6) - (this.zoomed ? 26 : 0);
  }

  /** Names under the chart stand slanted where each layer has room for one line of text but not for its name. */
  slanted(width) {
    const px = (width - LEFT - RIGHT) / this.layers;
    return px >= 15 && px < this.nameWidth;
  }

  /** Width from which a layer has its name under it, upright. */
  get nameWidth() {
    return min(92, this.longest * 6.5 + 10);
  }

  get px() {
    return this.plan.inner / (this.view[1] - this.view[0]);
  }

  x(layer) {
    return LEFT + (layer - this.view[0]) * this.px;
  }

  y(panel, bytes) {
    return panel.top + panel.height * (1 - bytes / this.top);
  }

  /** The layer at a place; where layers are narrower than pixels the one of the pixel that takes most. */
  layerAt(x) {
    const { arrays } = this.data;
    const at = (place) => min(this.layers - 1, max(0, floor(this.view[0] + (place - LEFT) / this.px)));
    const heights = arrays.peak ?? arrays.live ?? arrays.counted;
    let best = at(x);
    for (let i = best; heights && this.px < 1 && i <= at(x + 1); i++) if (heights[i] > heights[best]) best = i;
    return best;
  }

  // -- zoom and pan --

  show(from, to) {
    const width = min(this.layers, max(min(FEWEST, this.layers), to - from));
    const start = min(this.layers - width, max(0, from));
    this.view = [start, start + width];
    this.zoomAll.disabled = this.zoomOut.disabled = width >= this.layers;
    this.zoomIn.disabled = width <= FEWEST;
    const changed = this.strip.hidden !== width >= this.layers;
    this.strip.hidden = width >= this.layers;
    if (changed && this.options.embedded && this.plan) this.resize();
    this.redraw();
  }

  /** Shows `factor` times as many layers around the active layer, if that is in sight, else around the middle. */
  zoomStep(factor) {
    const [from, to] = this.view;
    const at = this.active.layer + 0.5;
    const seen = at >= from && at <= to;
    this.zoom(factor, seen ? at : (from + to) / 2);
    if (seen) this.reveal(this.active.layer);
  }

  /** Shows `factor` times as many layers; the layer at `at` stays where it is. */
  zoom(factor, at) {
    const [from, to] = this.view;
    const width = min(this.layers, max(min(FEWEST, this.layers), (to - from) * factor));
    const part = (at - from) / (to - from);
    this.show(at - part * width, at + (1 - part) * width);
  }

  get zoomed() {
    return this.view[1] - this.view[0] < this.layers;
  }

  /** The wheel zooms once the chart has the focus, or with Ctrl; else the page scrolls. Sideways it moves. */
  wheel(event) {
    const sideways = abs(event.deltaX) > abs(event.deltaY) || event.shiftKey;
    if (sideways && this.zoomed) {
      const by = (event.deltaX || event.deltaY) / this.px;
      this.show(this.view[0] + by, this.view[1] + by);
    } else if (event.ctrlKey || event.metaKey || document.activeElement === this.chart) {
      if (event.deltaY > 0 && !this.zoomed) return;
      const x = event.clientX - this.canvas.getBoundingClientRect().left;
      this.zoom(1.0015 ** event.deltaY, this.view[0] + min(1, max(0, (x - LEFT) / this.plan.inner)) * (this.view[1] - this.view[0]));
    } else return;
    event.preventDefault();
    this.unhover();
  }

  press(event) {
    if (event.button === 0) this.drag = { x: event.clientX, view: this.view, moved: false };
  }

  dragTo(event) {
    const by = (event.clientX - this.drag.x) / this.px;
    if (!this.drag.moved && abs(event.clientX - this.drag.x) < DRAG) return;
    if (!this.drag.moved) this.chart.setPointerCapture(event.pointerId);
    this.drag.moved = this.dragged = true;
    this.unhover();
    this.show(this.drag.view[0] - by, this.drag.view[1] - by);
  }

  dragStrip(event) {
    const box = this.strip.getBoundingClientRect();
    const at = ((event.clientX - box.left - LEFT) / this.plan.inner) * this.layers;
    const half = (this.view[1] - this.view[0]) / 2;
    this.show(at - half, at + half);
  }

  reveal(layer) {
    const [from, to] = this.view;
    if (layer >= from && layer + 1 <= to) return;
    const width = to - from;
    this.show(layer + 0.5 - width / 2, layer + 0.5 + width / 2);
  }

  // -- drawing --

  draw() {
    if (!this.plan || this.body.hidden) return;
    const c = pen(this.canvas);
    const { plan } = this;
    const ratio = this.canvas.width / plan.width;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, plan.width, plan.height);
    c.textBaseline = "middle";
    for (const panel of [plan.curve, plan.bars]) if (panel) this.drawScale(c, panel);
    this.clipped(c, 0, plan.axis, () => this.drawBands(c));
    if (plan.curve) this.clipped(c, plan.curve.top - 2, plan.curve.height + 3, () => this.drawCurve(c, plan.curve));
    if (plan.bars) this.clipped(c, plan.bars.top - 2, plan.bars.height + 3, () => this.drawBars(c, plan.bars));
    for (const lane of plan.lanes) this.drawLane(c, lane);
    this.drawPeak(c);
    if (plan.curve) this.drawTitle(c, plan.curve, this.data.arrays.live ? "In use while each layer runs" : "Tensors alive while each layer runs");
    if (plan.bars) {
      const room = this.drawThin(c, plan.bars);
      this.drawTitle(c, plan.bars, "Buffers from maker to last reader, at the offsets of a static plan", room);
    }
    this.drawAxis(c);
    this.drawActive(c);
    this.drawStrip();
  }

  /** Runs `paint` with everything beyond the layers cut off. */
  clipped(c, top, height, paint) {
    c.save();
    c.beginPath();
    c.rect(LEFT, top, this.plan.inner, height);
    c.clip();
    paint();
    c.restore();
  }

  drawTitle(c, panel, text, room = this.plan.inner) {
    c.font = this.colors.small;
    c.textAlign = "left";
    const shown = this.cut(c, text, room);
    c.fillStyle = this.colors.surface; // the line of the peak ends at words
    c.fillRect(LEFT, panel.top - 18, c.measureText(shown).width + 2, 14);
    c.fillStyle = this.colors.muted;
    c.fillText(shown, LEFT, panel.top - 11);
  }

  /** Says how many bars could not be drawn at their height. @returns the room that is left beside it */
  drawThin(c, panel) {
    const text = `${grouped(this.thin)} of ${grouped(this.bars.length)} are thinner than a pixel; all are counted`;
    c.font = this.colors.small;
    const room = this.plan.inner - c.measureText(text).width - 16;
    if (!this.thin || room < 200) return this.plan.inner;
    c.fillStyle = this.colors.muted;
    c.textAlign = "right";
    c.fillText(text, LEFT + this.plan.inner, panel.top - 11);
    return room;
  }

  drawScale(c, panel) {
    const { plan, colors } = this;
    c.font = colors.small;
    c.textAlign = "right";
    for (const [bytes, label] of byteTicks(this.top, panel.height)) {
      const y = round(this.y(panel, bytes)) - 0.5;
      c.fillStyle = colors.line;
      c.fillRect(LEFT, y, plan.inner, 1);
      c.fillStyle = colors.muted;
      c.fillText(label, LEFT - 8, y);
    }
  }

  drawBands(c) {
    const { plan, colors } = this;
    const height = plan.axis - HEAD;
    c.fillStyle = colors.selected;
    for (const layer of this.selected) c.fillRect(this.x(layer), HEAD, max(1, this.px), height);
    c.fillStyle = colors.accent;
    for (const layer of this.selected) c.fillRect(this.x(layer), plan.axis - 3, max(2, this.px), 3);
    if (this.hover) {
      c.fillStyle = colors.hover;
      c.fillRect(this.x(this.hover.layer), HEAD, max(1, this.px), height);
    }
  }

  /** Tensors alive as an area, what the runtime holds beyond them hatched, workspace on top, and what was measured as lines. */
  drawCurve(c, panel) {
    const { colors } = this;
    const steps = this.steps();
    const bottom = panel.top + panel.height;
    const box = (step, from, to, paint) => {
      const [a, b] = [this.y(panel, from), this.y(panel, to)];
      if (a > b) paint(step.x, b, step.w, a - b);
    };
    for (const step of steps) {
      const { counted, live, peak } = step;
      c.fillStyle = colors.bar;
      c.globalAlpha = 0.34;
      if (known(counted)) box(step, 0, counted, (...at) => c.fillRect(...at));
      c.globalAlpha = 1;
      if (this.estimated) box(step, 0, counted, (...at) => this.hatch(c, ...at, colors.surface));
      if (known(live)) box(step, counted || 0, live, (...at) => this.drawHeld(c, counted, at));
      c.fillStyle = colors.warning;
      c.globalAlpha = 0.5;
      if (known(peak)) box(step, known(live) ? live : counted || 0, peak, (...at) => c.fillRect(...at));
      c.globalAlpha = 1;
      if (this.data.arrays.live && !known(live)) this.hatch(c, step.x, bottom - 6, step.w, 6);
    }
    const width = this.px < 2 ? 0.8 : 1.5;
    this.drawSteps(c, panel, steps, "peak", colors.warning, min(1, width));
    if (this.data.arrays.live) this.drawSteps(c, panel, steps, "live", colors.ink, width);
    else this.drawSteps(c, panel, steps, "counted", colors.bar, width);
    if (this.showBudget) this.drawBudget(c, panel);
  }

  /** What is held beyond the tensors is hatched; where no tensor is known nothing can be told apart. */
  drawHeld(c, counted, box) {
    if (known(counted)) return this.hatch(c, ...box, this.colors.quiet);
    c.fillStyle = this.colors.quiet;
    c.globalAlpha = 0.35;
    c.fillRect(...box);
    c.globalAlpha = 1;
    if (this.estimated) this.hatch(c, ...box, this.colors.surface);
  }

  /** What a line shows from left to right: a layer each, or where layers are narrower than pixels the highest of each pixel. */
  steps() {
    const [from, to] = this.view;
    const names = ["counted", "live", "peak"];
    const steps = [];
    if (this.px >= 1) {
      for (let i = floor(from); i < min(this.layers, ceil(to)); i++) {
        steps.push({ x: this.x(i), w: this.px, ...Object.fromEntries(names.map((name) => [name, this.value(name, i)])) });
      }
      return steps;
    }
    for (let pixel = 0; pixel < this.plan.inner; pixel++) {
      const step = { x: LEFT + pixel, w: 1, counted: NaN, live: NaN, peak: NaN };
      const end = min(this.layers, floor(from + (pixel + 1) / this.px));
      for (let i = floor(from + pixel / this.px); i < end; i++) {
        for (const name of names) {
          const value = this.value(name, i);
          if (!(step[name] >= value) && known(value)) step[name] = value;
        }
      }
      steps.push(step);
    }
    return steps;
  }

  drawSteps(c, panel, steps, name, color, width) {
    c.beginPath();
    let before = NaN;
    for (const step of steps) {
      const value = step[name];
      if (known(value)) {
        const y = this.y(panel, value);
        if (known(before)) c.lineTo(step.x, y);
        else c.moveTo(step.x, y);
        c.lineTo(step.x + step.w, y);
      }
      before = value;
    }
    c.strokeStyle = color;
    c.lineWidth = width;
    c.setLineDash(this.estimated ? [5, 3] : []);
    c.stroke();
    c.setLineDash([]);
  }

  drawBudget(c, panel) {
    const { colors, data } = this;
    const y = round(this.y(panel, data.budget.line)) - 0.5;
    c.strokeStyle = c.fillStyle = colors.accent;
    c.lineWidth = 1.5;
    c.setLineDash([7, 4]);
    c.beginPath();
    c.moveTo(LEFT, y);
    c.lineTo(this.plan.width, y);
    c.stroke();
    c.setLineDash([]);
    c.font = colors.small;
    const text = this.cut(c, data.budget.label, this.plan.inner - 12);
    const width = c.measureText(text).width;
    const at = y - 9 > panel.top ? y - 9 : y + 10;
    const x = LEFT + this.plan.inner - width - 6;
    c.fillStyle = colors.surface;
    c.globalAlpha = 0.85;
    c.fillRect(x - 4, at - 7, width + 8, 14);
    c.globalAlpha = 1;
    c.fillStyle = colors.accent;
    c.textAlign = "left";
    c.fillText(text, x, at);
  }

  drawBars(c, panel) {
    const { arrays } = this.data;
    const [from, to] = this.view;
    this.thin = 0;
    for (const b of this.bars) {
      if (arrays.last[b] < from || arrays.first[b] > to) continue;
      this.drawBar(c, panel, b);
    }
    for (const b of this.bars) if (this.outlined(b)) this.outline(c, this.box(panel, b), this.colors.accent, 2);
    if (this.hover?.buffer >= 0 && !known(this.hover.lane)) this.outline(c, this.box(panel, this.hover.buffer), this.colors.ink, 1.5);
  }

  /** [x, y, width, height] of a buffer's bar, never less than a pixel. */
  box(panel, b) {
    const { arrays } = this.data;
    const [x, end] = [this.x(arrays.first[b]), this.x(arrays.last[b] + 1)];
    const [low, high] = [this.y(panel, arrays.offset[b]), this.y(panel, arrays.offset[b] + arrays.size[b])];
    const gap = end - x > 5 ? 1 : 0;
    const thin = low - high > 4 ? 1 : 0;
    return [x, high, max(1, end - x - gap), max(1, low - high - thin)];
  }

  outlined(b) {
    return this.selected.size > 0 && this.makers(b).some((layer) => this.selected.has(layer));
  }

  drawBar(c, panel, b) {
    const box = this.box(panel, b);
    const [x, y, w, height] = box;
    if (height <= 1) this.thin += 1;
    const alpha = this.query && !this.found.has(b) ? 0.15 : 1;
    c.globalAlpha = alpha;
    const inside = this.sharers(b);
    inside.forEach(([, maker], k) => {
      const left = k ? max(x, this.x(maker)) : x;
      const right = k + 1 < inside.length ? min(x + w, this.x(inside[k + 1][1])) : x + w;
      if (right <= left && k) return;
      c.fillStyle = this.fill(b, maker);
      c.fillRect(left, y, right - left, height);
      if (this.estimated) {
        c.globalAlpha = alpha * 0.5; // names must stay readable
        this.hatch(c, left, y, right - left, height, this.colors.surface);
        c.globalAlpha = alpha;
      }
      const cut = k > 0 && height >= 4 && this.px >= 3;
      if (cut) this.drawTakeover(c, left, y, height);
      this.drawName(c, inside[k][0], left + (cut ? 6 : 0), right, y, height, this.fill(b, maker));
    });
    c.globalAlpha = 1;
  }

  /** Where the next tensor takes over the memory of the one before: a cut with an arrow head. */
  drawTakeover(c, x, y, height) {
    const half = min(5, height / 2);
    c.fillStyle = this.colors.surface;
    c.fillRect(x - 0.75, y, 1.5, height);
    c.beginPath();
    c.moveTo(x, y + height / 2 - half);
    c.lineTo(x + half, y + height / 2);
    c.lineTo(x, y + height / 2 + half);
    c.fill();
  }

  /** The name of a tensor in what is seen of its bar, where that is wide and high enough. */
  drawName(c, name, left, right, y, height, color) {
    const from = max(left, LEFT);
    const room = min(right, LEFT + this.plan.inner) - from - 12;
    if (height < 14 || room < 36) return;
    c.font = this.colors.small;
    c.fillStyle = inkOn(color);
    c.textAlign = "left";
    c.fillText(this.cut(c, name, room), from + 6, y + height / 2 + 0.5);
  }

  fill(b, maker) {
    const { theme, colors } = this;
    if (this.colour === "peak") return this.atPeak(b) ? colors.warning : colors.quiet;
    if (this.colour === "kind") return theme.kinds[this.kind(b)];
    return theme.ops[this.data.arrays.op_type[maker]] ?? colors.quiet;
  }

  outline(c, [x, y, w, height], color, width) {
    c.strokeStyle = color;
    c.lineWidth = width;
    c.strokeRect(x, y, w, height);
  }

  /** Buffers that count in no sum, as thin bars of one height: those of the caller, those of unknown size. */
  drawLane(c, lane) {
    const { plan, colors } = this;
    c.font = colors.tiny;
    c.fillStyle = colors.muted;
    c.textAlign = "right";
    const words = lane.title.split(" ");
    if (lane.rows * LANE >= 22) [words.slice(0, 2).join(" "), words.slice(2).join(" ")].forEach((line, k) => c.fillText(line, LEFT - 8, lane.top + 6 + k * 11));
    else c.fillText(lane.title === "held by the caller" ? "caller's" : "no size", LEFT - 8, lane.top + 5);
    this.clipped(c, lane.top - 2, lane.rows * LANE + 4, () => {
      for (const b of lane.buffers) {
        const box = this.laneBox(lane, b);
        c.fillStyle = colors.quiet;
        c.globalAlpha = this.query && !this.found.has(b) ? 0.15 : 0.55;
        c.fillRect(...box);
        this.hatch(c, ...box, colors.surface);
        c.globalAlpha = 1;
        if (this.hover?.buffer === b) this.outline(c, box, colors.ink, 1.5);
      }
      this.nameLane(c, lane);
    });
    c.fillStyle = colors.line;
    c.fillRect(LEFT, lane.top - 5, plan.inner, 1);
  }

  /** Names beside the bars, where there is room up to the next one. */
  nameLane(c, lane) {
    const { arrays } = this.data;
    c.font = this.colors.tiny;
    c.fillStyle = this.colors.muted;
    c.textAlign = "left";
    const next = new Map();
    for (const b of [...lane.buffers].reverse()) {
      const [x, y, w] = this.laneBox(lane, b);
      const row = lane.row.get(b);
      const end = min(next.get(row) ?? Infinity, LEFT + this.plan.inner);
      const room = end - (x + w) - 12;
      const crowd = row === LANE_ROWS - 1 ? lane.crowd : 0;
      const text = crowd ? `${this.data.tensors[b]} and ${grouped(crowd)} more` : this.data.tensors[b];
      const size = known(arrays.size[b]) && !crowd ? `  ${show(arrays.size[b], "size")}` : "";
      if (room > 30 && x + w > LEFT) c.fillText(this.cut(c, text + size, room), x + w + 5, y + 4.5);
      next.set(row, x);
    }
  }

  laneBox(lane, b) {
    const { first, last } = this.data.arrays;
    const [x, end] = [this.x(first[b]), this.x(last[b] + 1)];
    return [x, lane.top + lane.row.get(b) * LANE, max(1.5, end - x - 1), LANE - 2];
  }

  drawPeak(c) {
    const { plan, colors, data } = this;
    const peak = data.peak;
    if (!peak || peak.layer < 0) return;
    const x = this.x(peak.layer + 0.5);
    if (x < LEFT || x > LEFT + plan.inner) return;
    c.strokeStyle = colors.ink;
    c.lineWidth = 1;
    c.setLineDash([3, 3]);
    c.beginPath();
    c.moveTo(x, HEAD - 4);
    c.lineTo(x, plan.axis);
    c.stroke();
    c.setLineDash([]);
    c.font = `600 ${colors.small}`;
    c.fillStyle = colors.ink;
    const text = this.cut(c, `Peak ${show(peak.bytes, "size")} in ${data.names[peak.layer]}`, plan.inner - 20);
    const half = c.measureText(text).width / 2;
    c.textAlign = "center";
    c.fillText(text, min(plan.width - RIGHT - half, max(LEFT + half, x)), 10);
    c.beginPath();
    c.moveTo(x - 4, HEAD - 7);
    c.lineTo(x + 4, HEAD - 7);
    c.lineTo(x, HEAD - 1);
    c.fill();
  }

  /** Names of layers where they have room, else their numbers. */
  drawAxis(c) {
    const { plan, colors } = this;
    c.fillStyle = colors.muted;
    c.fillRect(LEFT, plan.axis, plan.inner, 1);
    c.font = colors.small;
    const [from, to] = this.view;
    const named = this.px >= this.nameWidth;
    const slanted = !named && plan.slanted;
    const step = named || slanted ? 1 : niceStep((60 / this.px) | 0 || 1);
    const room = plan.height - plan.axis;
    for (let i = ceil(from / step) * step; i < to && i < this.layers; i += step) {
      const x = this.x(i + 0.5);
      c.fillStyle = this.selected.has(i) ? colors.accent : colors.muted;
      if (x < LEFT || x > LEFT + plan.inner) continue;
      if (slanted) {
        c.save();
        c.translate(x + 3, plan.axis + 6);
        c.rotate(-0.9);
        c.textAlign = "right";
        c.fillText(this.cut(c, this.labels[i], min((room - 14) / 0.78, (x - 8) / 0.62)), 0, 0);
        c.restore();
        continue;
      }
      c.fillRect(round(x), plan.axis, 1, 4);
      c.textAlign = "center";
      c.fillText(named ? this.cut(c, this.labels[i], this.px - 10) : grouped(i), x, plan.axis + 13);
    }
    if (slanted) return;
    c.textAlign = "left";
    c.fillStyle = colors.muted;
    const some = `layers ${grouped(floor(from))} – ${grouped(min(this.layers, ceil(to)) - 1)} of ${grouped(this.layers)}`;
    c.fillText(`${this.zoomed ? some : plural(this.layers, "layer")} in the order of execution`, LEFT, plan.axis + 27);
  }

  drawActive(c) {
    if (document.activeElement !== this.chart || !this.layers) return;
    const { plan, colors } = this;
    const { layer, buffer } = this.active;
    const lane = plan.lanes.find((one) => one.row.has(buffer));
    let box = [this.x(layer), HEAD, max(2, this.px), plan.axis - HEAD];
    if (lane) box = this.laneBox(lane, buffer);
    else if (buffer >= 0 && plan.bars) box = this.box(plan.bars, buffer);
    this.clipped(c, 0, plan.height, () => {
      this.outline(c, box, colors.surface, 4);
      this.outline(c, box, colors.accent, 2);
    });
  }

  /** All layers as a strip under the chart, when it shows only some of them. */
  drawStrip() {
    this.strip.hidden = !this.zoomed;
    if (!this.zoomed) return;
    const { plan, colors } = this;
    const c = pen(this.strip);
    const ratio = this.strip.width / plan.width;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, plan.width, 22);
    this.stripPicture ??= this.stripHeights();
    c.fillStyle = colors.quiet;
    this.stripPicture.forEach((value, pixel) => c.fillRect(LEFT + pixel, 22 - (value / this.top) * 22, 1, (value / this.top) * 22));
    const scale = plan.inner / this.layers;
    c.fillStyle = colors.accent;
    for (const layer of this.selected) c.fillRect(LEFT + layer * scale, 18, max(2, scale), 4);
    c.fillStyle = colors.hover;
    const [x, w] = [LEFT + this.view[0] * scale, max(4, (this.view[1] - this.view[0]) * scale)];
    c.fillRect(x, 0, w, 22);
    this.outline(c, [x + 1, 1, w - 2, 20], colors.ink, 2);
  }

  stripHeights() {
    const { arrays } = this.data;
    const values = arrays.peak ?? arrays.live ?? arrays.counted ?? [];
    const heights = new Float32Array(max(1, floor(this.plan.inner)));
    for (let i = 0; i < values.length; i++) {
      const from = floor((i / values.length) * heights.length);
      const to = max(from + 1, floor(((i + 1) / values.length) * heights.length));
      for (let k = from; k < to; k++) if (values[i] > heights[k]) heights[k] = values[i];
    }
    return heights;
  }

  get estimated() {
    return this.data.header.origin === "estimated";
  }

  // -- legend, verdict, tables --

  drawLegend() {
    if (this.legend.hidden) return;
    const { arrays, plan, live_basis: basis } = this.data;
    const key = (color, text, kind = "ep-tint") => {
      const swatch = h("i", { class: kind });
      swatch.style.setProperty("--c", color);
      return h("span", { class: "ep-item" }, swatch, text);
    };
    const rows = [];
    if (this.hasCurve) {
      const items = [];
      if (arrays.live) items.push(key(this.colors.ink, `in use, ${basis}`, "ep-rule"));
      if (arrays.counted) items.push(key(this.colors.bar, `tensors alive, ${this.estimated ? "estimated" : "counted from shapes"}`, "ep-tint ep-pale"));
      if (arrays.counted && this.has.held) items.push(key(this.colors.quiet, "held by the runtime for reuse", "ep-tint ep-hatched"));
      if (this.has.workspace) items.push(key(this.colors.warning, "workspace while the layer ran", "ep-tint ep-pale"));
      rows.push(items);
    }
    if (this.bars.length) {
      const items = this.colourItems().map(([color, text]) => key(color, text));
      if (Object.keys(this.data.sharers).length) items.push(h("span", { class: "ep-item" }, "❯ next tensor in place"));
      rows.push(items);
    }
    const notes = [];
    if (plan) notes.push(`The static plan (greedy by size) needs ${show(plan.bytes, "size")}; the tensors alive at once take ${show(plan.least, "size")}. Offsets are planned, not addresses.`);
    notes.push(`Click a ${this.bars.length ? "bar or a layer" : "layer"} to select; once clicked, the wheel zooms, dragging moves, a double click shows all.`);
    this.legend.replaceChildren(...rows.map((items) => h("div", { class: "ep-legend" }, ...items)), h("p", { class: "ep-remark" }, notes.join(" ")));
  }

  colourItems() {
    const { theme, colors, data } = this;
    if (this.colour === "peak") return [[colors.warning, "alive at the peak"], [colors.quiet, "not alive at the peak"]];
    if (this.colour === "kind") return data.kinds.filter((kind) => kind !== "input").map((kind) => [theme.kinds[kind], kind]);
    const makers = this.bars.flatMap((b) => this.makers(b)).sort((a, b) => a - b);
    const used = new Set(makers.map((layer) => data.arrays.op_type[layer]));
    const families = new Map([...used].map((op) => [data.families[op], theme.ops[op]]));
    return [...families].map(([family, color]) => [color, family]);
  }

  tables() {
    const { verdict, missing, sources, owners, process } = this.data;
    const parts = [];
    if (verdict.length) parts.push(h("ul", { class: "ep-verdict" }, ...verdict.map((one) => this.answer(one))));
    if (missing.length) parts.push(this.missingList());
    this.table = h("div", { class: "ep-table ep-owners", hidden: !owners.length });
    const memory = h("div", { class: "ep-table ep-process", hidden: !process.length }, ...this.processTable());
    parts.push(h("div", { class: "ep-tables", hidden: !owners.length && !process.length }, this.table, memory));
    const from = sources.flatMap(([what, text]) => [h("dt", {}, what), h("dd", {}, text)]);
    const caption = h("div", { class: "ep-caption" }, "Where the numbers come from");
    parts.push(h("div", { class: "ep-sources", hidden: !sources.length }, caption, h("dl", {}, ...from)));
    this.drawTable();
    return parts;
  }

  answer({ answer, sentence }) {
    const name = { yes: "ep-yes", no: "ep-no", "not known": "ep-unknown" }[answer];
    return h("li", { class: name }, h("b", {}, { yes: "fits", no: "does not fit", "not known": "not known" }[answer]), h("span", {}, sentence));
  }

  drawTable() {
    const { owners, peak } = this.data;
    if (!owners.length || this.options.embedded) return;
    const head = [["Owner", false], ["Size", true], ["Share", true], ["Made by", false], ["Last read by", false]];
    const headings = head.map(([title, number]) => h("th", { scope: "col", class: number ? "ep-num" : null }, title));
    const body = owners.map((owner) => this.ownerRow(owner));
    const total = h("tr", { class: "ep-total" }, h("td", {}, "Peak"), h("td", { class: "ep-num" }, show(peak.bytes, "size")), h("td", { class: "ep-num" }, show(1, "share")), h("td", {}), h("td", {}));
    const where = peak.layer >= 0 ? ` in ${this.data.names[peak.layer]}` : "";
    const table = h("table", {}, h("thead", {}, h("tr", {}, ...headings)), h("tbody", {}, ...body), h("tfoot", {}, total));
    this.table.replaceChildren(h("div", { class: "ep-caption" }, `Who owns the peak of ${show(peak.bytes, "size")}${where}`), h("div", { class: "ep-table-scroll" }, table));
  }

  ownerRow(owner) {
    const names = [owner.name, ...owner.sharers];
    const chosen = owner.layers.length > 0 && owner.layers.every((layer) => this.selected.has(layer));
    const name = owner.layers.length ? h("button", { type: "button", class: "ep-link" }, shortened(owner.name, 40)) : owner.name;
    const words = [owner.sharers.length ? `+ ${owner.sharers.length} in place` : "", owner.kind === "output" ? "output" : ""].filter(Boolean);
    const more = words.length ? [h("em", {}, ` ${words.join(", ")}`)] : [];
    const share = h("td", { class: "ep-num ep-share" }, show(owner.share ?? NaN, "share"));
    share.style.setProperty("--w", String(min(1, max(0, owner.share ?? 0))));
    const onclick = owner.layers.length ? this.guard((e) => this.pick(owner.layers, e.ctrlKey || e.metaKey || e.shiftKey, true)) : null;
    const cells = [
      h("td", { title: names.join(", ") }, name, ...more), h("td", { class: "ep-num" }, show(owner.bytes ?? NaN, "size")), share,
      h("td", { title: owner.producer }, shortened(owner.producer, 34)), h("td", { title: owner.consumer }, shortened(owner.consumer, 34)),
    ];
    const row = h("tr", { class: [chosen ? "ep-selected" : "", owner.layers.length ? "" : "ep-rest"].join(" ").trim() || null }, ...cells);
    if (onclick) row.addEventListener("click", onclick);
    return row;
  }

  processTable() {
    const { process } = this.data;
    const most = max(1, ...process.map(({ rss, peak }) => max(rss ?? 0, peak ?? 0)));
    const faults = process.some(({ minor, major }) => minor != null || major != null);
    const head = ["Phase", "At its end", "Highest", ...(faults ? ["Page faults"] : [])];
    const rows = process.map(({ phase, rss, peak, minor, major }) => {
      const high = h("td", { class: "ep-num ep-share" }, show(peak ?? NaN, "size"));
      high.style.setProperty("--w", String((peak ?? 0) / most));
      const cells = [h("td", {}, phase), h("td", { class: "ep-num" }, show(rss ?? NaN, "size")), high];
      if (faults) cells.push(h("td", { class: "ep-num", title: "minor + major" }, `${known(minor) ? grouped(minor) : MISSING} + ${known(major) ? grouped(major) : MISSING}`));
      return h("tr", {}, ...cells);
    });
    const headings = head.map((title, k) => h("th", { scope: "col", class: k ? "ep-num" : null }, title));
    return [h("div", { class: "ep-caption" }, "The process, resident, by phase"), h("div", { class: "ep-table-scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ...headings)), h("tbody", {}, ...rows)))];
  }

  // -- hover --

  hit(event) {
    const frame = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    if (!this.plan || x < LEFT || x > LEFT + this.plan.inner || y < HEAD) return null;
    const layer = this.layerAt(x);
    const inside = ([left, top, w, height], by) => x >= left - by && x <= left + w + by && y >= top - by && y <= top + height + by;
    const { bars, lanes } = this.plan;
    if (bars && y >= bars.top && y <= bars.top + bars.height) {
      const here = this.bars.filter((b) => inside(this.box(bars, b), 0));
      const near = here.length ? here : this.bars.filter((b) => inside(this.box(bars, b), 1));
      return { layer, buffer: near.at(-1) ?? -1, beside: here.length - 1 }; // they are sorted: the last is the largest
    }
    const k = lanes.findIndex((lane) => y >= lane.top && y <= lane.top + lane.rows * LANE);
    if (k >= 0) return { layer, buffer: lanes[k].buffers.find((b) => inside(this.laneBox(lanes[k], b), 1)) ?? -1, beside: 0, lane: k };
    return { layer, buffer: -1, beside: 0 };
  }

  pointer(event) {
    if (this.drag && !(event.buttons & 1)) this.drag = null;
    if (this.drag) this.dragTo(event);
    if (this.drag?.moved) return;
    const hit = this.hit(event);
    const old = this.hover;
    this.hover = hit;
    if (old?.layer !== hit?.layer || old?.buffer !== hit?.buffer) {
      this.fillCard();
      this.redraw();
    }
    this.moveCard(event);
  }

  unhover() {
    this.hover = null;
    this.card.hidden = true;
    this.redraw();
  }

  fillCard() {
    const { hover } = this;
    this.card.hidden = !hover;
    if (!hover) return;
    const { layer, buffer } = hover;
    const title = buffer >= 0 ? this.tensorAt(buffer, layer)[0] : this.data.names[layer];
    const facts = buffer >= 0 ? this.bufferFacts(buffer, layer) : this.layerFacts(layer);
    const list = h("dl", {});
    for (const [name, text] of facts) list.append(h("dt", {}, name), h("dd", { class: name === "Size" || name === "In use" ? "ep-strong" : null }, text));
    const more = hover.beside > 0 ? [h("p", {}, `and ${grouped(hover.beside)} more here, too small to tell apart: zoom in`)] : [];
    this.card.replaceChildren(h("div", { class: "ep-card-title" }, title), list, ...more);
  }

  bufferFacts(b, layer) {
    const { arrays, names, types, peak } = this.data;
    const inside = this.sharers(b);
    const [tensor, maker] = this.tensorAt(b, layer);
    const before = inside[inside.findIndex(([name]) => name === tensor) - 1];
    const others = inside.map(([name]) => name).filter((name) => name !== tensor);
    const kind = this.kind(b);
    const facts = [["Size", show(arrays.size[b], "size").replace(MISSING, "not known")]];
    if (types[arrays.type[b]]) facts.push(["Type and shape", types[arrays.type[b]]]);
    facts.push(["Kind", kind === "input" ? "input, held by the caller: in no sum" : kind]);
    facts.push(["Made by", maker >= 0 ? names[maker] : "the caller"]);
    facts.push(["Last read by", kind === "output" ? "the caller, after the run" : names[arrays.last[b]]]);
    if (before) facts.push(["In place of", before[0]]);
    if (others.length > 1 || (others.length && !before)) facts.push(["Same memory", others.join(", ")]);
    const lived = arrays.last[b] - arrays.first[b] + 1;
    facts.push(["Alive", `layers ${grouped(arrays.first[b])} to ${grouped(arrays.last[b])}, ${grouped(lived)} in all`]);
    if (peak && kind !== "input") facts.push(["Share of the peak", this.atPeak(b) ? show(arrays.size[b] / peak.bytes, "share") : "none: not alive then"]);
    if (known(arrays.offset[b])) facts.push(["Planned offset", show(arrays.offset[b], "size")]);
    return facts;
  }

  layerFacts(layer) {
    const { arrays, live_basis: basis } = this.data;
    const bytes = (name) => show(this.value(name, layer), "size").replace(MISSING, "not measured");
    const facts = [["Layer", `${grouped(layer)}, ${this.opType(layer)}`]];
    if (arrays.live) facts.push(["In use", `${bytes("live")} (${basis})`]);
    if (arrays.counted) facts.push(["Tensors alive", `${bytes("counted")} (counted)`]);
    const rest = this.value("live", layer) - this.value("counted", layer);
    if (rest) facts.push([rest < 0 ? "Counted, not held" : "Held for reuse", show(abs(rest), "size")]);
    if (arrays.unsized?.[layer]) facts.push(["Size not known", plural(arrays.unsized[layer], "buffer")]);
    if (arrays.workspace) facts.push(["Workspace", bytes("workspace")]);
    if (arrays.peak) facts.push(["Highest while it ran", bytes("peak")]);
    if (layer === this.data.peak?.layer) facts.push(["", "the peak of the whole run"]);
    return facts.filter(([name, text]) => name !== "Held for reuse" || text !== MISSING);
  }

  // -- selection --

  click(event) {
    if (this.dragged) return void (this.dragged = false);
    if (event.detail > 1) return; // the second half of a double click
    const hit = this.hit(event);
    if (!hit) return;
    this.before = new Set(this.selected);
    const anchor = this.active.layer;
    this.active = { layer: hit.layer, buffer: hit.buffer };
    const add = event.ctrlKey || event.metaKey;
    if (event.shiftKey) this.pick(range(anchor, hit.layer), true);
    else this.pick(hit.buffer >= 0 ? this.makers(hit.buffer) : [hit.layer], add, true);
    this.speak();
  }

  /** Shows all layers; what its first click selected is undone. */
  doubleClick() {
    this.show(0, this.layers);
    if (!this.before || same(this.before, this.selected)) return;
    this.selected = this.before;
    this.tell();
  }

  /** A person selects layers: instead of the selection, or added to it; `toggle` takes away what is selected already. */
  pick(layers, add, toggle = false) {
    const had = layers.length > 0 && layers.every((layer) => this.selected.has(layer)) && (add || this.selected.size === layers.length);
    if (!add) this.selected.clear();
    for (const layer of layers) {
      if (toggle && had) this.selected.delete(layer);
      else this.selected.add(layer);
    }
    this.tell();
  }

  tell() {
    this.redraw();
    this.drawTable();
    this.options.onSelect?.(this.selection());
  }

  /** Selects these layers (from outside) and moves to the first of them. */
  select(names) {
    const layers = new Set(names.map((name) => this.rowOf.get(name)).filter((layer) => layer !== undefined));
    if (same(layers, this.selected)) return;
    this.selected = layers;
    if (layers.size && this.plan) this.reveal(min(...layers));
    this.redraw();
    this.drawTable();
  }

  // -- keyboard and voice --

  key(event) {
    const page = max(1, round((this.view[1] - this.view[0]) / 10));
    const { layer, buffer } = this.active;
    const last = this.layers - 1;
    const moves = { ArrowRight: layer + 1, ArrowLeft: layer - 1, PageDown: layer + page, PageUp: layer - page, Home: 0, End: last };
    const to = moves[event.key];
    if (to !== undefined) {
      this.active.layer = min(last, max(0, to));
      if (buffer >= 0 && !this.alive(buffer, this.active.layer)) this.active.buffer = -1;
      this.reveal(this.active.layer);
      if (event.shiftKey && this.active.layer !== layer) this.pick(range(layer, this.active.layer), true);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.step(event.key === "ArrowUp" ? 1 : -1);
    else if (event.key === " " || event.key === "Enter") {
      this.pick(buffer >= 0 ? this.makers(buffer) : [layer], event.ctrlKey || event.metaKey || event.shiftKey, true);
    } else if (event.key === "Escape") {
      this.selected.clear();
      this.tell();
    } else if (event.key === "+" || event.key === "=") this.zoomStep(0.5);
    else if (event.key === "-") this.zoomStep(2);
    else if (event.key === "0") this.show(0, this.layers);
    else if (event.key === "/") this.search.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.speak();
    this.redraw();
  }

  /** To the next buffer up or down among those alive in the active layer; beyond the last is the layer itself. */
  step(by) {
    const { arrays } = this.data;
    const shown = [...this.bars, ...this.lanes.flatMap((lane) => lane.buffers)].filter((b) => this.alive(b, this.active.layer));
    const rank = (b) => (known(arrays.offset[b]) ? arrays.offset[b] : -1 - b);
    shown.sort((a, b) => rank(a) - rank(b));
    const at = shown.indexOf(this.active.buffer);
    const next = at < 0 ? (by > 0 ? 0 : shown.length - 1) : at + by;
    this.active.buffer = shown[next] ?? -1;
  }

  /** Says what is active to a screen reader. */
  speak() {
    const { layer, buffer } = this.active;
    if (!this.layers) return;
    const chosen = buffer >= 0 ? this.outlined(buffer) : this.selected.has(layer);
    const facts = buffer >= 0 ? this.bufferFacts(buffer, layer) : this.layerFacts(layer);
    const name = buffer >= 0 ? `tensor ${this.tensorAt(buffer, layer)[0]}` : this.data.names[layer];
    this.voice.textContent = `${name}, ${facts.map((fact) => fact.join(" ").trim()).join(", ")}${chosen ? ", selected" : ""}`;
    this.live.textContent = this.voice.textContent;
    this.voice.setAttribute("aria-selected", String(chosen));
    this.voice.setAttribute("aria-posinset", layer + 1);
    this.voice.setAttribute("aria-setsize", this.layers);
    this.chart.setAttribute("aria-activedescendant", this.voice.id);
  }

  // -- search --

  filter() {
    this.query = this.search.value.trim().toLowerCase();
    const count = this.data.arrays.first.length;
    this.found = new Set();
    if (this.query) for (let b = 0; b < count; b++) if (this.matches(b)) this.found.add(b);
    this.count.textContent = this.query ? `${grouped(this.found.size)} of ${grouped(count)}` : plural(count, "buffer");
    this.redraw();
  }

  matches(b) {
    const texts = this.sharers(b).flatMap(([name, layer]) => [name, this.data.names[layer] ?? "", layer >= 0 ? this.opType(layer) : ""]);
    return texts.some((text) => text.toLowerCase().includes(this.query));
  }

  searchKey(event) {
    event.stopPropagation();
    if (event.key === "Escape") {
      this.search.value = "";
      this.filter();
    }
    if (event.key === "Enter") this.toNext();
    if (event.key === "Escape" || event.key === "ArrowDown") this.chart.focus({ preventScroll: true });
  }

  /** Moves to the next buffer that was found. */
  toNext() {
    const { first } = this.data.arrays;
    const found = [...this.found].sort((a, b) => first[a] - first[b] || a - b);
    const next = found[(found.indexOf(this.active.buffer) + 1) % found.length];
    if (next === undefined) return;
    this.active = { layer: first[next], buffer: next };
    this.reveal(first[next]);
    this.speak();
    this.redraw();
  }

  // -- outside: theme, options --

  recolor() {
    this.drawLegend();
    this.redraw();
  }

  /** Changes options from outside. */
  set(values) {
    this.guard(() => {
      const { data, selection, ...rest } = values;
      Object.assign(this.options, rest);
      if (data) this.exchange(data);
      this.applyTheme();
      this.arrange();
      if (selection) this.select(selection);
    })();
  }

  /** Other data of the same view: what is selected stays, by name, and the zoom unless the layers are others. */
  exchange(data) {
    const [chosen, view, count, active] = [this.selection(), this.view, this.layers, this.data.names[this.active.layer]];
    const head = JSON.stringify([this.data.header, this.data.findings]);
    this.load(data);
    if (count === this.layers) this.view = view;
    this.selected = new Set(chosen.map((name) => this.rowOf.get(name)).filter((layer) => layer !== undefined));
    this.active = { layer: this.rowOf.get(active) ?? 0, buffer: -1 };
    this.hover = null;
    this.card.hidden = true;
    if (JSON.stringify([this.data.header, this.data.findings]) !== head) this.replaceHead();
    const { scrollTop = 0 } = this.below.querySelector(".ep-table-scroll") ?? {};
    this.fillBelow();
    const scroll = this.below.querySelector(".ep-table-scroll");
    if (scroll) scroll.scrollTop = scrollTop;
  }

  replaceHead() {
    const open = [...this.head.querySelectorAll("details")].map((details) => details.open);
    const head = this.header(this.data);
    head.querySelectorAll("details").forEach((details, k) => (details.open = open[k] ?? details.open));
    this.head.replaceWith(head);
    this.head = head;
  }
}

// ---- small helpers ----

function range(a, b) {
  return Array.from({ length: abs(a - b) + 1 }, (_, i) => min(a, b) + i);
}

function plural(n, noun) {
  return `${grouped(n)} ${noun}${n === 1 ? "" : "s"}`;
}

function same(a, b) {
  return a.size === b.size && [...a].every((one) => b.has(one));
}

/** `text` in at most `length` letters, its middle left out: the end tells layers apart. */
function shortened(text, length) {
  if (text.length <= length) return text;
  return `${text.slice(0, floor((length - 1) * 0.4))}…${text.slice(text.length - ceil((length - 1) * 0.6))}`;
}

function niceStep(least) {
  const size = 10 ** floor(Math.log10(least));
  return [1, 2, 5, 10].map((k) => k * size).find((step) => step >= least);
}

/** [bytes, label] of the lines of a scale from 0 to `top`, some 34 px apart. */
function byteTicks(top, height) {
  const step = niceStep(max(1, top / max(1, floor(height / 34))));
  const [unit, name] = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]].find(([size]) => top >= size) ?? [1, "B"];
  const decimals = max(0, -floor(Math.log10(step / unit)));
  return Array.from({ length: floor(top / step) + 1 }, (_, i) => [i * step, `${((i * step) / unit).toFixed(decimals)} ${name}`]);
}

/** Black or white, whichever can be read on this colour. */
function inkOn(color) {
  const [r, g, b] = [1, 3, 5].map((i) => (parseInt(color.slice(i, i + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#0b0f14" : "#ffffff";
}
