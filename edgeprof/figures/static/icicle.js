/**
 * Icicle of a profile: layers from left to right in the order they ran, as wide as their time, under the blocks that hold them; or
 * longest first, with the cumulative share as a line. Drawn on a canvas.
 *
 *   import { renderIcicle } from "./icicle.js";
 *   const view = renderIcicle(element, data, options);
 *
 * data       {meta, numbers} of figures.icicle.icicle(profile).to_json(); numbers may be base64, ArrayBuffer or any view of one
 * options    all optional
 *   measure    what widths say: "latency_ms" | "energy_mj" | "macs" ..., one of meta.measures
 *   color      "op_family" | "precision" | ... (meta.categories) or the name of a column
 *   order      "time" | "longest"            selection  names of layers
 *   height     of the chart in px; 0: fits   theme      "auto" (JupyterLab, VS Code, then the system) | "light" | "dark"
 *   embedded   no header of its own
 *   onSelect   (names) => {}: a person changed the selection (not called for select())
 *   onChange   ({measure | color | order: value}) => {}: a person changed a control
 * returns    {element, select(names), set({any of the options, data}), destroy()}
 *
 * d3-scale, axes.js and base.js stand in front of it; the style sheet is icicle.css. Texts reach the page as text nodes only.
 */

const ICICLE = { side: 12, row: 24, layers: 96, strip: 6, axis: 46, gap: 8, left: 70, right: 48, names: 92, chart: 230, drag: 4 };
const LEAST_PX = 0.5; // what is narrower is drawn together with its neighbours
let icicles = 0;

export function renderIcicle(el, data, options = {}) {
  return made(el, () => new Icicle(el, data, options));
}

class Icicle extends View {
  constructor(el, data, options) {
    super(el, "ep-icicle", { measure: "latency_ms", color: "op_family", order: "time", height: 0, ...options });
    this.id = `ep-icicle-${(icicles += 1)}`;
    this.selected = new Set(); // positions of layers
    this.active = { level: Infinity, layer: 0 }; // a level beyond the blocks is the layer itself
    this.hover = null;
    this.inks = new Map();
    this.load(data);
    this.build();
    this.applyTheme();
    this.arrange();
    this.select(options.selection ?? []);
    this.watch();
  }

  load(data) {
    this.data = unpack(data);
    const { names, texts, arrays } = this.data;
    this.text = (name, i) => texts[name]?.[arrays[name][i]] ?? "";
    this.rowOf = new Map(names.map((name, i) => [name, i]));
    this.between = names.findIndex((_, i) => this.text("kind", i) === "between");
    this.layers = names.length - (this.between >= 0);
    this.blocks = Array.from(arrays.block_level, (level, k) => ({
      level, first: arrays.block_first[k], end: arrays.block_end[k], text: texts.block[arrays.block[k]],
    }));
    this.levels = Array.from({ length: this.data.depth }, (_, level) => this.blocks.filter((block) => block.level === level));
    this.columnOf = new Map(this.data.columns.map((column) => [column.name, column]));
  }

  value(name, i) {
    return this.data.arrays[name]?.[i] ?? NaN;
  }

  get byLength() {
    return this.options.order === "longest";
  }

  build() {
    const on = (fn) => this.guard(fn);
    const button = (text, label, act) => h("button", { type: "button", "aria-label": label, title: label, onclick: on(act) }, text);
    this.tools = h("div", { class: "ep-tools", role: "toolbar", "aria-label": "Icicle controls" });
    this.zoomOut = button("−", "Zoom out", () => this.zoom(2));
    this.zoomIn = button("+", "Zoom in", () => this.zoom(0.5));
    this.zooms = h("div", { class: "ep-icicle-zoom", role: "group", "aria-label": "Zoom" }, this.zoomOut, this.zoomIn);
    this.crumbs = h("nav", { class: "ep-crumbs", "aria-label": "Blocks around what is shown" });
    this.chart = h("div", { class: "ep-icicle-chart", role: "listbox", tabindex: 0, "aria-multiselectable": "true", "aria-orientation": "horizontal", "data-lm-suppress-shortcuts": "true" });
    this.canvas = h("canvas", { role: "presentation" });
    this.voice = h("div", { id: `${this.id}-item`, class: "ep-voice", role: "option" });
    this.chart.append(this.voice, this.canvas);
    this.empty = h("div", { class: "ep-empty", hidden: true });
    this.legend = h("div", { class: "ep-legend" });
    this.notes = h("div", { class: "ep-icicle-notes" });
    this.merged = h("span", {});
    this.card = h("div", { class: "ep-card", hidden: true, "aria-hidden": "true" });
    this.live = h("div", { class: "ep-voice", "aria-live": "polite" });
    this.element.replaceChildren(this.header(this.data), this.tools, this.crumbs, this.chart, this.empty, this.legend, this.notes, this.live, this.card);
    const events = {
      pointerdown: (e) => this.press(e), pointermove: (e) => this.pointer(e), pointerleave: () => this.unhover(), pointerup: () => (this.drag = null),
      click: (e) => this.click(e), dblclick: (e) => this.doubleClick(e), keydown: (e) => this.key(e),
      focus: () => (this.speak(), this.redraw()), blur: () => this.redraw(),
    };
    for (const [name, react] of Object.entries(events)) this.chart.addEventListener(name, on(react));
    this.chart.addEventListener("wheel", on((e) => this.wheel(e)), { passive: false });
  }

  controls() {
    const { measures, categories, columns } = this.data;
    const titles = (names) => Object.fromEntries(names.map((name) => [name, this.columnOf.get(name).title]));
    const parts = [this.segments("Order", { time: "In order", longest: "Longest first" }, this.options.order, (value) => this.change({ order: value }))];
    if (measures.length > 1) parts.push(this.menu("Measure", titles(measures), this.options.measure, (value) => this.change({ measure: value })));
    parts.push(this.menu("Colour", { ...categories, ...titles(columns.map((c) => c.name)) }, this.options.color, (value) => this.change({ color: value })));
    this.tools.replaceChildren(...parts, this.zooms);
  }

  change(values) {
    Object.assign(this.options, values);
    if (!values.color) this.view = null;
    this.arrange();
    this.options.onChange?.(values);
  }

  // -- what is where --

  arrange() {
    const { measures, categories } = this.data;
    if (!measures.includes(this.options.measure) && measures.length) [this.options.measure] = measures;
    if (!categories[this.options.color] && !this.columnOf.has(this.options.color)) this.options.color = "op_family";
    this.column = this.columnOf.get(this.options.measure);
    this.values = Float64Array.from({ length: this.layers }, (_, i) => this.value(this.options.measure, i));
    this.edges = new Float64Array(this.layers + 1); // as edges() of figures/icicle.py
    for (let i = 0; i < this.layers; i++) this.edges[i + 1] = this.edges[i] + (this.values[i] > 0 ? this.values[i] : 0);
    this.whole = this.edges[this.layers];
    this.rank = Array.from(this.values.keys()).filter((i) => this.values[i] > 0).sort((a, b) => this.values[b] - this.values[a] || a - b);
    this.placeOf = new Map(this.rank.map((i, place) => [i, place]));
    this.cumulative = new Float64Array(this.rank.length + 1);
    this.rank.forEach((i, place) => (this.cumulative[place + 1] = this.cumulative[place] + this.values[i]));
    this.hideOrShow();
    this.controls();
    this.full = [0, this.byLength ? this.rank.length : this.whole];
    this.view = this.view && this.view[1] > this.view[0] && this.view[1] <= this.full[1] * (1 + 1e-9) ? this.view : this.full;
    this.active.layer = min(this.active.layer, max(0, this.layers - 1));
    this.chart.setAttribute("aria-label", `${this.data.title}: ${this.byLength ? "layers, longest first" : "layers in the order they ran, under their blocks"}`);
    this.layout();
    this.drawLegend();
  }

  hideOrShow() {
    let text = "";
    if (!this.layers) text = "This profile has no layers. Profile a model with instrumented runs, or open another .edgeprof file.";
    else if (!this.column) text = "This profile has no numbers to make widths of. Profile the model with instrumented runs.";
    else if (!this.whole) text = `Nothing has a width: no layer has a number above zero for ${spoken(this.column.title)}. Choose another measure, or profile the model again.`;
    this.empty.textContent = text;
    this.empty.hidden = !text;
    this.chart.hidden = this.legend.hidden = this.notes.hidden = Boolean(text);
    this.zooms.hidden = Boolean(text);
  }

  get zoomed() {
    return this.view[0] > this.full[0] || this.view[1] < this.full[1];
  }

  resize() {
    if (this.chart.clientWidth !== this.plan?.width) this.layout(); // the height follows from what was just laid out
  }

  layout() {
    const width = this.chart.clientWidth;
    this.plan = null;
    if (this.chart.hidden || !width) return;
    if (!this.colors.ink) this.applyTheme(); // a notebook makes the view before it puts it into the page
    this.plan = this.byLength ? this.layoutByLength(width) : this.layoutInOrder(width);
    fit(this.canvas, width, this.plan.height);
    this.redraw();
  }

  layoutInOrder(width) {
    const top = 2;
    const rows = this.data.depth * ICICLE.row;
    const below = ICICLE.strip + ICICLE.axis;
    const height = max(this.options.height || top + rows + ICICLE.layers + below, top + rows + 40 + below);
    const inner = width - 2 * ICICLE.side;
    const between = this.between < 0 || this.zoomed ? 0 : max(0, this.value(this.options.measure, this.between)) || 0;
    const end = ICICLE.side + (between ? ((inner - ICICLE.gap) * this.whole) / (this.whole + between) : inner);
    const layers = top + rows;
    return { width, height, left: ICICLE.side, end, top, layers, bottom: height - below, between: between ? [end + ICICLE.gap, width - ICICLE.side] : null };
  }

  layoutByLength(width) {
    const narrow = width < 560;
    const left = narrow ? 56 : ICICLE.left;
    const end = width - ICICLE.right;
    const named = (end - left) / max(1, this.view[1] - this.view[0]) >= 15;
    const below = named ? ICICLE.names : ICICLE.axis;
    const height = max(this.options.height || ICICLE.chart + below, 120 + below);
    return { width, height, left, end, top: 14, bottom: height - below, named };
  }

  /** From a number on the axis to pixels. */
  x(value) {
    const [a, b] = this.view;
    return this.plan.left + ((value - a) / (b - a)) * (this.plan.end - this.plan.left);
  }

  at(x) {
    const [a, b] = this.view;
    return a + ((x - this.plan.left) / (this.plan.end - this.plan.left)) * (b - a);
  }

  levelTop(level) {
    return this.plan.top + level * ICICLE.row;
  }

  // -- drawing --

  draw() {
    if (!this.plan || this.chart.hidden) return;
    const c = pen(this.canvas);
    const { plan } = this;
    const ratio = this.canvas.width / plan.width;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, plan.width, plan.height);
    this.tally = 0;
    if (this.byLength) this.drawByLength(c);
    else this.drawInOrder(c);
    this.drawCrumbs();
    this.zoomOut.disabled = !this.zoomed;
    this.merged.textContent = this.tally ? `${grouped(this.tally)} layers narrower than half a pixel are drawn together, as the longest of them; zoom in to tell them apart.` : "";
  }

  drawInOrder(c) {
    const { plan } = this;
    c.save();
    c.beginPath();
    c.rect(plan.left - 1, 0, plan.end - plan.left + 2, plan.height);
    c.clip();
    for (const block of this.blocks) this.drawBlock(c, block);
    this.drawLayers(c);
    this.drawMarks(c);
    c.restore();
    this.drawBetween(c);
    this.drawTimeAxis(c);
  }

  drawBlock(c, block) {
    const { plan, colors } = this;
    const [x0, x1] = [max(plan.left, this.x(this.edges[block.first])), min(plan.end, this.x(this.edges[block.end]))];
    if (x1 - x0 < LEAST_PX) return;
    const y = this.levelTop(block.level);
    const w = max(0.5, x1 - x0 - (x1 - x0 > 3));
    c.fillStyle = colors.surface;
    c.fillRect(x0, y, x1 - x0, plan.layers - y);
    c.globalAlpha = 0.4; // what lies in the block and in no block within it hangs below it
    c.fillStyle = colors.raised;
    c.fillRect(x0, y, w, plan.layers - y - 2);
    c.globalAlpha = 1;
    c.fillStyle = colors.raised;
    c.fillRect(x0, y, w, ICICLE.row - 2);
    const chosen = this.chosen(block.first, block.end);
    if (chosen) {
      c.fillStyle = colors.selected;
      if (chosen === block.end - block.first) c.fillRect(x0, y, w, ICICLE.row - 2);
      c.fillStyle = colors.accent;
      c.fillRect(x0, y + ICICLE.row - 4, chosen === block.end - block.first ? w : min(w, 6), 2);
    }
    if (w < 22) return;
    c.textBaseline = "middle";
    c.textAlign = "left";
    c.font = colors.small;
    const share = `${show((this.edges[block.end] - this.edges[block.first]) / this.whole, "share")}`;
    const room = c.measureText(share).width + 14;
    const text = this.cut(c, block.text, w - 10 - (w > 130 ? room : 0));
    if (text !== block.text && text.length < 5) return;
    c.fillStyle = colors.ink;
    c.fillText(text, x0 + 5, y + ICICLE.row / 2 - 0.5);
    if (w <= 130) return;
    c.fillStyle = colors.muted;
    c.textAlign = "right";
    c.fillText(share, x0 + w - 6, y + ICICLE.row / 2 - 0.5);
  }

  drawLayers(c) {
    const { edges, view } = this;
    let i = this.layerAt(view[0]);
    while (i < this.layers && edges[i] < view[1]) {
      const x0 = this.x(edges[i]);
      const x1 = this.x(edges[i + 1]);
      if (x1 - x0 >= LEAST_PX) this.drawLayer(c, i++, x0, x1);
      else if (edges[i + 1] === edges[i]) i += 1;
      else i = this.drawTogether(c, i, x0);
    }
  }

  /** The layers from i on that are too narrow, up to a pixel of them, in the colour of the longest. @returns the next layer */
  drawTogether(c, i, x0) {
    const { edges, plan } = this;
    let [longest, j, x1] = [i, i, x0];
    let selected = false;
    for (; j < this.layers && x1 - x0 < 1; j++) {
      const end = this.x(edges[j + 1]);
      if (end - this.x(edges[j]) >= LEAST_PX) break;
      if (edges[j + 1] > edges[j]) this.tally += 1;
      if (this.values[j] > this.values[longest]) longest = j;
      selected ||= this.selected.has(j);
      x1 = end;
    }
    this.paint(c, longest, x0, plan.layers, max(0.5, x1 - x0), plan.bottom - plan.layers);
    if (selected) this.mark(c, x0, max(1.5, x1 - x0));
    return max(j, i + 1);
  }

  mark(c, x, w) {
    c.fillStyle = this.colors.accent;
    c.fillRect(x, this.plan.bottom + 1, w, ICICLE.strip - 2);
  }

  drawLayer(c, i, from, to) {
    const { plan } = this;
    const [x0, x1] = [max(plan.left - 2, from), min(plan.end + 2, to)];
    const w = x1 - x0 - (x1 - x0 > 3 ? 1 : 0);
    const height = plan.bottom - plan.layers;
    const ink = this.paint(c, i, x0, plan.layers, w, height);
    if (this.selected.has(i)) this.mark(c, x0, max(1.5, w));
    if (w < 14) return;
    c.save();
    c.font = this.colors.small;
    c.fillStyle = ink;
    c.textBaseline = "middle";
    c.textAlign = "center";
    c.translate(x0 + w / 2, plan.layers + height / 2);
    const upright = w < 72;
    if (upright) c.rotate(-Math.PI / 2);
    const room = upright ? height - 8 : w - 8;
    const text = this.label(c, this.data.leaves[i], i, room);
    if (text) c.fillText(text, 0, upright || height < 34 ? 0 : -7);
    if (!upright && height >= 34) {
      const number = show(this.values[i], this.column.format, this.column.unit);
      c.globalAlpha = 0.85;
      if (c.measureText(number).width <= room) c.fillText(number, 0, 8);
    }
    c.restore();
  }

  /** A bar in the colour of layer i. @returns the ink that can be read on it */
  paint(c, i, x, y, w, height) {
    const { color } = this.options;
    const column = this.data.categories[color] ? null : this.columnOf.get(color);
    let step = null;
    if (!column) step = this.inkOn(this.theme[color][this.data.arrays[color][i]]);
    else if (known(this.value(color, i))) step = this.lut[round(place(this.value(color, i), column.scale) * 255)];
    if (!step) {
      c.fillStyle = this.hatching;
      c.fillRect(x, y, w, height);
      return this.colors.ink;
    }
    c.fillStyle = step.fill;
    c.fillRect(x, y, w, height);
    if (this.column.estimated || column?.estimated) {
      c.globalAlpha = 0.28;
      c.fillStyle = this.veil;
      c.fillRect(x, y, w, height);
      c.globalAlpha = 1;
    }
    return step.ink;
  }

  /** A layer's name in this room: without the op type that exporters put at the end where that helps, else cut; "" where only crumbs would be left. */
  label(c, name, i, room) {
    if (c.measureText(name).width <= room) return name;
    const short = name.toLowerCase().endsWith(`/${this.text("op_type", i).toLowerCase()}`) ? name.slice(0, name.lastIndexOf("/")) : name;
    const text = this.cut(c, short, room);
    return text === short || text.length >= 5 ? text : "";
  }

  inkOn(color) {
    if (!this.inks.has(color)) this.inks.set(color, ramp([color, color])[0]);
    return this.inks.get(color);
  }

  /** Hovered and active bars. */
  drawMarks(c) {
    const focused = document.activeElement === this.chart;
    for (const [item, isActive] of [[this.hover, false], [focused ? this.activeItem() : null, true]]) {
      if (!item || item.first === this.between) continue;
      const [x0, x1] = [this.x(this.edges[item.first]), this.x(this.edges[item.end])];
      const [y, height] = item.block ? [this.levelTop(item.block.level), ICICLE.row - 2] : [this.plan.layers, this.plan.bottom - this.plan.layers];
      this.outline(c, x0, y, x1 - x0 - 1, height, isActive);
    }
  }

  outline(c, x, y, w, height, isActive) {
    if (isActive) {
      c.strokeStyle = this.colors.surface;
      c.lineWidth = 4;
      c.strokeRect(x + 1, y + 1, max(1, w - 2), height - 2);
    }
    c.strokeStyle = isActive ? this.colors.accent : this.colors.ink;
    c.lineWidth = isActive ? 2 : 1.5;
    c.strokeRect(x + 1, y + 1, max(1, w - 2), height - 2);
  }

  drawBetween(c) {
    const { plan, colors } = this;
    if (!plan.between) return;
    const [x0, x1] = plan.between;
    const [y, height] = [plan.layers, plan.bottom - plan.layers];
    c.fillStyle = colors.quiet;
    c.fillRect(x0, y, max(1, x1 - x0), height);
    if (this.selected.has(this.between)) this.mark(c, x0, max(1.5, x1 - x0));
    if (this.hover?.first === this.between) this.outline(c, x0, y, x1 - x0, height, false);
    if (x1 - x0 < 14) return;
    c.save();
    c.fillStyle = this.inkOn(colors.quiet).ink;
    c.font = colors.small;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.translate((x0 + x1) / 2, y + height / 2);
    const upright = x1 - x0 < 90;
    if (upright) c.rotate(-Math.PI / 2);
    c.fillText(this.cut(c, "between layers", (upright ? height : x1 - x0) - 8), 0, 0);
    c.restore();
  }

  /** Factor and name of the one unit that all ticks of an axis have. */
  axisUnit(most) {
    const { format, unit } = this.column;
    if (UNITS[format]) return UNITS[format](most);
    if (format !== "size" && format !== "count") return [1, unit];
    const names = format === "size" ? ["B", "kB", "MB", "GB", "TB"] : ["", "k", "M", "G", "T"];
    const step = min(4, max(0, floor(log(most) / log(1000) + 1e-9)));
    return [1000 ** -step, names[step]];
  }

  drawTimeAxis(c) {
    const { plan, view } = this;
    const [factor, unit] = this.axisUnit(view[1]);
    const scale = d3.scaleLinear().domain(view.map((v) => v * factor)).range([plan.left, plan.end]);
    const ticks = ticksOf(scale, "bottom", (v) => String(Number(v.toPrecision(6))));
    const narrow = plan.width < 620;
    const what = this.options.measure === "latency_ms" ? (narrow ? "Time" : "Time in one inference, layers in the order they ran") : narrow ? this.column.title : `${this.column.title}, layers in the order they ran`;
    drawAxis(c, this.colors, "bottom", ticks, unit ? `${what} (${unit})` : what, { left: plan.left, top: plan.bottom + ICICLE.strip, width: plan.end - plan.left, height: 0 });
  }

  // -- longest first --

  drawByLength(c) {
    const { plan, colors, view, rank } = this;
    const box = { left: plan.left, top: plan.top, width: plan.end - plan.left, height: plan.bottom - plan.top };
    const highest = this.values[rank[floor(view[0])]];
    const [factor, unit] = this.axisUnit(highest);
    const y = d3.scaleLinear().domain([0, highest * factor * 1.04]).range([plan.bottom, plan.top]);
    const title = unit ? `${this.column.title} (${unit})` : this.column.title;
    drawAxis(c, colors, "left", ticksOf(y, "left", (v) => String(Number(v.toPrecision(6)))), title, box);
    if (!plan.named) {
      const ranks = d3.scaleLinear().domain([view[0] + 0.5, view[1] + 0.5]).range([plan.left, plan.end]);
      const ticks = ticksOf(ranks, "bottom", (v) => grouped(v)).filter(({ value }) => Number.isInteger(value) && value >= 1);
      drawAxis(c, colors, "bottom", ticks, "Layers, longest first", { ...box, top: plan.bottom, height: 0 });
    }
    c.save();
    c.beginPath();
    c.rect(plan.left, 0, box.width, plan.height);
    c.clip();
    const step = box.width / (view[1] - view[0]);
    const last = min(rank.length, ceil(view[1]));
    let drawn = -Infinity;
    for (let k = floor(view[0]); k < last; k++) {
      const x = this.x(k);
      if (step < LEAST_PX && x < drawn + 1) {
        this.tally += 1;
        continue;
      }
      drawn = x;
      const top = y(this.values[rank[k]] * factor);
      this.paint(c, rank[k], x, top, max(0.6, step - (step > 3)), plan.bottom - top);
    }
    for (const i of this.selected) if (this.placeOf.has(i)) this.markBar(c, this.placeOf.get(i), step, y, factor);
    this.drawCumulative(c, box, step);
    const focused = document.activeElement === this.chart;
    for (const [i, isActive] of [[this.hover?.first, false], [focused ? this.active.layer : undefined, true]]) {
      if (!this.placeOf.has(i)) continue;
      const top = y(this.values[i] * factor);
      this.outline(c, this.x(this.placeOf.get(i)) - 1, top - 1, max(3, step), plan.bottom - top + 1, isActive);
    }
    c.restore();
    if (plan.named) this.drawNames(c, step, last);
  }

  markBar(c, place, step, y, factor) {
    c.fillStyle = this.colors.accent;
    c.fillRect(this.x(place), this.plan.bottom + 1, max(1.5, step - (step > 3)), ICICLE.strip - 2);
    c.strokeStyle = this.colors.accent;
    c.lineWidth = 2;
    const top = y(this.values[this.rank[place]] * factor);
    if (step > 6) c.strokeRect(this.x(place) + 1, top + 1, step - 3, max(0, this.plan.bottom - top - 1));
  }

  drawCumulative(c, box, step) {
    const { plan, colors, view } = this;
    const level = (share) => plan.bottom - share * (plan.bottom - plan.top - 6);
    const [from, to] = [max(0, floor(view[0])), min(this.rank.length, ceil(view[1]))];
    c.strokeStyle = colors.ink;
    c.lineWidth = 1.5;
    c.beginPath();
    const stride = max(1, floor(1 / step));
    for (let k = from; k <= to; k += stride) c.lineTo(this.x(k), level(this.cumulative[k] / this.whole));
    c.lineTo(this.x(to), level(this.cumulative[to] / this.whole));
    c.stroke();
    const most = this.cumulative.findIndex((sum) => sum >= 0.8 * this.whole);
    c.setLineDash([4, 3]);
    c.strokeStyle = colors.muted;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(this.x(most), plan.bottom);
    c.lineTo(this.x(most), level(0.8));
    c.lineTo(plan.end, level(0.8));
    c.stroke();
    c.setLineDash([]);
    c.font = colors.small;
    c.fillStyle = colors.ink;
    c.textBaseline = "top";
    const text = `${grouped(most)} of ${grouped(this.layers)} layers make 80 %`;
    const room = plan.end - this.x(most) - 16 > c.measureText(text).width;
    c.textAlign = room ? "left" : "right";
    if (this.x(most) >= plan.left) c.fillText(text, room ? this.x(most) + 8 : plan.end - 6, level(0.8) + 6);
    c.restore(); // the numbers stand outside the plot
    c.save();
    c.font = colors.small;
    c.fillStyle = colors.muted;
    c.textAlign = "left";
    c.textBaseline = "middle";
    for (const share of [0, 0.2, 0.4, 0.6, 0.8, 1]) c.fillText(`${round(share * 100)} %`, plan.end + 6, level(share));
    c.beginPath();
    c.rect(plan.left - 2, 0, box.width + 2, plan.height);
    c.clip();
  }

  drawNames(c, step, last) {
    const { plan, colors } = this;
    c.font = colors.small;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (let k = ceil(this.view[0]); k < last; k++) {
      const i = this.rank[k];
      c.fillStyle = this.selected.has(i) ? colors.accent : colors.ink;
      c.save();
      c.translate(this.x(k + 0.5) + 3, plan.bottom + 12);
      c.rotate(-Math.PI / 4);
      const block = this.innermost(i);
      const name = block ? `${block.text.split("/").at(-1)}/${this.data.leaves[i]}` : this.data.leaves[i]; // the outer blocks are alike for many
      c.fillText(this.label(c, name, i, min(106, max(40, (this.x(k + 0.5) - 4) * 1.38))), 0, 0);
      c.restore();
    }
  }

  // -- legend, crumbs, notes --

  drawLegend() {
    if (this.legend.hidden) return;
    const { color } = this.options;
    const column = this.data.categories[color] ? null : this.columnOf.get(color);
    const parts = [h("span", { class: "ep-legend-title" }, column ? column.title : this.data.categories[color])];
    let missing = false;
    if (column) {
      const bar = h("span", { class: "ep-ramp" });
      bar.style.background = `linear-gradient(to right, ${this.theme.sequential.join(", ")})`;
      const text = (v) => show(v, column.format, column.unit);
      parts.push(h("span", {}, `${column.scale.below ? "≤ " : ""}${text(column.scale.min)}`), bar, h("span", {}, text(column.scale.max)), h("span", { class: "ep-note" }, column.scale.log ? "log" : "linear"));
      for (let i = 0; i < this.layers; i++) missing ||= !known(this.value(color, i));
    } else {
      const sums = new Map();
      for (let i = 0; i < this.layers; i++) {
        const code = this.data.arrays[color][i];
        sums.set(code, (sums.get(code) ?? 0) + (this.values[i] > 0 ? this.values[i] : 0));
      }
      for (const [code, sum] of [...sums].sort((a, b) => b[1] - a[1])) {
        const tint = h("span", { class: "ep-icicle-tint" });
        tint.style.background = this.theme[color][code];
        parts.push(h("span", { class: "ep-icicle-key" }, tint, `${this.data.texts[color][code] || "not told"} `, h("b", {}, show(sum / this.whole, "share"))));
      }
    }
    if (missing) parts.push(h("span", { class: "ep-key" }, "not measured"));
    if (this.column?.estimated || column?.estimated) parts.push(h("span", { class: "ep-icicle-estimated" }, "estimated, not measured"));
    this.legend.replaceChildren(...parts);
    this.notes.replaceChildren(...this.remarks().map((text) => h("span", {}, text)), this.merged);
  }

  remarks() {
    const { measure } = this.options;
    const title = spoken(this.column.title);
    const remarks = [];
    const none = this.values.filter((v) => Number.isNaN(v)).length;
    const flat = this.values.filter((v) => v <= 0).length;
    if (none) remarks.push(`${grouped(none)} of ${grouped(this.layers)} layers have no width: ${title} not measured.`);
    if (flat) remarks.push(`${grouped(flat)} ${flat === 1 ? "layer has" : "layers have"} no width: ${title} of zero${this.values.some((v) => v < 0) ? " or below" : ""}.`);
    const between = this.between < 0 ? NaN : this.value(measure, this.between);
    if (between < 0) remarks.push(`(between layers): −${show(-between, this.column.format, this.column.unit)}. The layers sum to more than the whole run.`);
    else if (between > 0) remarks.push(`Grey at the end: ${show(between, this.column.format, this.column.unit)} that no layer explains.`);
    if (!this.data.depth && !this.byLength) remarks.push("The names of these layers tell of no blocks.");
    remarks.push(this.byLength ? `The line is the cumulative share of ${title} over the layers.` : "Double click a block to zoom in; Backspace goes out.");
    return remarks;
  }

  drawCrumbs() {
    const around = this.zoomed && !this.byLength ? this.blocks.filter((b) => this.edges[b.first] <= this.view[0] * (1 + 1e-9) && this.edges[b.end] >= this.view[1] * (1 - 1e-9)) : [];
    const key = `${this.zoomed}|${around.map((b) => `${b.level}:${b.first}`)}`;
    if (key === this.crumbsDrawn) return;
    this.crumbsDrawn = key;
    const button = (text, act) => h("button", { type: "button", class: "ep-link", onclick: this.guard(act) }, text);
    const parts = around.map((block) => button(block.text, () => this.show(this.edges[block.first], this.edges[block.end])));
    this.crumbs.replaceChildren(...(this.zoomed ? [button(this.byLength ? "All layers" : "Whole model", () => this.show(...this.full)), ...parts] : []));
    this.crumbs.hidden = !this.zoomed;
  }

  // -- hover --

  layerAt(value) {
    let [low, high] = [0, this.layers];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.edges[middle + 1] > value) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** What lies under the pointer: {first, end, block} with block null for a layer. */
  hit(event) {
    if (!this.plan) return null;
    const { left, top } = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    const { plan } = this;
    if (y < plan.top || y > plan.height - 14) return null;
    if (plan.between && x >= plan.between[0] && x <= max(plan.between[1], plan.between[0] + 2) && y >= plan.layers) return { first: this.between, end: this.between + 1, block: null };
    if (x < plan.left || x > plan.end) return null;
    if (this.byLength) {
      const i = this.rank[floor(this.at(x))];
      return i === undefined ? null : { first: i, end: i + 1, block: null };
    }
    const i = this.longestAround(x);
    if (i >= this.layers) return null;
    if (y >= plan.layers) return y <= plan.bottom + ICICLE.strip ? { first: i, end: i + 1, block: null } : null;
    const at = floor((y - plan.top) / ICICLE.row);
    for (let level = at; level >= 0; level--) {
      const block = this.blockOf(level, i);
      if (block) return { first: block.first, end: block.end, block }; // below it hangs what is in no block within it
    }
    return null;
  }

  /** The layer at x; where a pixel holds several, the longest of them. */
  longestAround(x) {
    const [from, to] = [this.layerAt(this.at(x - 0.5)), this.layerAt(this.at(x + 0.5))];
    const here = this.layerAt(this.at(x));
    if (to - from < 2) return here;
    let best = from;
    for (let i = from; i <= min(to, this.layers - 1); i++) if (this.values[i] > this.values[best]) best = i;
    return best;
  }

  blockOf(level, i) {
    const blocks = this.levels[level];
    let [low, high] = [0, blocks.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (blocks[middle].end <= i) low = middle + 1;
      else if (blocks[middle].first > i) high = middle - 1;
      else return blocks[middle];
    }
    return null;
  }

  pointer(event) {
    if (this.drag && event.buttons) return this.dragTo(event);
    const hit = this.hit(event);
    if (hit?.first !== this.hover?.first || hit?.end !== this.hover?.end || hit?.block !== this.hover?.block) {
      this.hover = hit;
      this.fillCard();
      this.redraw();
    }
    this.moveCard(event);
    return undefined;
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
    const title = hover.block ? this.pathOf(hover.block) : this.data.names[hover.first];
    const list = h("dl", {});
    const strong = this.column.title;
    for (const [name, text] of hover.block ? this.blockFacts(hover.block) : this.facts(hover.first)) {
      list.append(h("dt", {}, name), h("dd", { class: name === strong ? "ep-strong" : null }, text));
    }
    this.card.replaceChildren(h("div", { class: "ep-card-title" }, title), list);
  }

  /** The blocks that hold a bar, and its own text. */
  pathOf(block) {
    const outer = this.levels.slice(0, block.level).map((_, level) => this.blockOf(level, block.first)?.text);
    return [...outer, block.text].join("/");
  }

  blockFacts(block) {
    const { first, end } = block;
    const values = this.values.slice(first, end);
    const none = values.filter((v) => Number.isNaN(v)).length;
    const sum = this.edges[end] - this.edges[first];
    let longest = first;
    for (let i = first; i < end; i++) if (this.values[i] > (this.values[longest] || 0)) longest = i;
    const facts = [["Layers", grouped(end - first)], [this.column.title, show(none === end - first ? NaN : sum, this.column.format, this.column.unit)], ["Share of all layers", show(sum / this.whole, "share")]];
    if (none) facts.push(["Not measured", `${grouped(none)} of them, so the sum is too small`]);
    if (this.values[longest] > 0) facts.push(["Longest", `${this.data.names[longest]}, ${show(this.values[longest], this.column.format, this.column.unit)}`]);
    if (this.options.measure === "latency_ms") facts.push(["From", show(this.edges[first], "latency")]);
    return facts;
  }

  facts(i) {
    const facts = [];
    const op = this.text("op_type", i);
    const kind = this.text("kind", i);
    if (op) facts.push(["Op type", kind === "layer" ? op : `${op}, ${kind}`]);
    const sources = this.data.sources[i];
    if (sources?.length) facts.push(["Original nodes", sources.length > 4 ? `${sources.slice(0, 3).join(", ")} and ${sources.length - 3} more` : sources.join(", ")]);
    for (const name of ["precision", "provider"]) if (this.text(name, i)) facts.push([name === "precision" ? "Precision" : "Provider", this.text(name, i)]);
    const none = [];
    for (const column of this.data.columns) {
      const value = this.value(column.name, i);
      const [low, high] = column.interval.map((name) => this.value(name, i));
      const text = showInterval(value, low, high, column.format, column.unit);
      if (known(value)) facts.push([column.title, column.estimated ? `${text}, estimated` : text]);
      else none.push(column.title);
    }
    if (i !== this.between && this.values[i] > 0) {
      facts.push(["Share of all layers", show(this.values[i] / this.whole, "share")]);
      if (this.byLength) facts.push(["With all longer ones", show(this.cumulative[this.placeOf.get(i) + 1] / this.whole, "share")]);
    }
    if (none.length && i !== this.between) facts.push(["Not measured", none.join(", ")]);
    return facts;
  }

  // -- zoom --

  /** Shows this stretch of the axis, kept within the whole. */
  show(from, to) {
    const [a, b] = this.full;
    const least = this.byLength ? min(4, b) : (b - a) * 1e-6;
    const width = min(b - a, max(least, to - from));
    const start = max(a, min(from, b - width));
    this.view = [start, start + width];
    if (width >= (b - a) * (1 - 1e-9)) this.view = this.full;
    this.unhover();
    this.layout();
  }

  zoom(factor, around = (this.view[0] + this.view[1]) / 2) {
    this.show(around - (around - this.view[0]) * factor, around + (this.view[1] - around) * factor);
  }

  into(item) {
    if (this.byLength || this.edges[item.end] <= this.edges[item.first]) return;
    this.show(this.edges[item.first], this.edges[item.end]);
  }

  /** To the innermost block that holds more than what is shown, else the whole model. */
  out() {
    const size = (b) => this.edges[b.end] - this.edges[b.first];
    const shown = this.view[1] - this.view[0];
    const around = this.byLength ? [] : this.blocks.filter((b) => this.edges[b.first] <= this.view[0] + shown * 1e-9 && this.edges[b.end] >= this.view[1] - shown * 1e-9 && size(b) > shown * 1.001);
    const next = around.at(-1);
    if (next) this.show(this.edges[next.first], this.edges[next.end]);
    else this.show(...this.full);
  }

  /** The wheel zooms once the chart has the focus, or with Ctrl; else the page scrolls. Sideways it moves. */
  wheel(event) {
    if (!this.plan) return;
    const sideways = abs(event.deltaX) > abs(event.deltaY) || event.shiftKey;
    if (sideways && this.zoomed) {
      const by = ((event.deltaX || event.deltaY) * (this.view[1] - this.view[0])) / (this.plan.end - this.plan.left);
      this.show(this.view[0] + by, this.view[1] + by);
    } else if (event.ctrlKey || event.metaKey || document.activeElement === this.chart) {
      if (event.deltaY > 0 && !this.zoomed) return;
      const x = event.clientX - this.canvas.getBoundingClientRect().left;
      this.zoom(1.0015 ** event.deltaY, min(this.view[1], max(this.view[0], this.at(x))));
    } else return;
    event.preventDefault();
  }

  press(event) {
    this.dragged = false;
    if (event.button === 0) this.drag = { x: event.clientX, view: this.view };
  }

  dragTo(event) {
    const moved = event.clientX - this.drag.x;
    if (!this.zoomed || (!this.dragged && abs(moved) < ICICLE.drag)) return;
    if (!this.dragged) this.chart.setPointerCapture(event.pointerId);
    this.dragged = true;
    const [a, b] = this.drag.view;
    const by = (-moved * (b - a)) / (this.plan.end - this.plan.left);
    this.show(a + by, b + by);
  }

  // -- selection and keys --

  click(event) {
    const dragged = this.dragged;
    [this.drag, this.dragged] = [null, false];
    const item = dragged ? null : this.hit(event);
    if (event.detail > 1) return;
    this.before = null;
    if (!item) return;
    this.before = new Set(this.selected);
    const anchor = this.active.layer;
    if (item.first !== this.between) this.active = { level: item.block?.level ?? Infinity, layer: item.first };
    const add = event.ctrlKey || event.metaKey;
    if (event.shiftKey && !item.block && item.first !== this.between) this.pick(this.stretch(anchor, item.first), true);
    else this.pick(range(item.first, item.end), add || event.shiftKey, true);
    this.speak();
  }

  /** Layers from one to the other, as they are ordered on the screen. */
  stretch(a, b) {
    if (!this.byLength) return range(min(a, b), max(a, b) + 1);
    const [p, q] = [this.placeOf.get(a) ?? 0, this.placeOf.get(b) ?? 0];
    return this.rank.slice(min(p, q), max(p, q) + 1);
  }

  /** Zooms into the block; what its first click selected is undone. */
  doubleClick(event) {
    const item = this.hit(event);
    if (!item) return;
    if (this.before) {
      this.selected = this.before;
      this.tell();
    }
    if (item.first !== this.between) this.into(item.block ? item : (this.innermost(item.first) ?? item));
  }

  innermost(i) {
    return this.levels.map((_, level) => this.blockOf(level, i)).filter(Boolean).at(-1);
  }

  /** A person selects layers: instead of the selection, or added to it; `toggle` takes away what is selected already. */
  pick(layers, add, toggle = false) {
    const had = layers.length > 0 && layers.every((i) => this.selected.has(i)) && (add || this.selected.size === layers.length);
    if (!add) this.selected.clear();
    for (const i of layers) {
      if (toggle && had) this.selected.delete(i);
      else this.selected.add(i);
    }
    this.tell();
  }

  tell() {
    this.count();
    this.redraw();
    this.options.onSelect?.([...this.selected].sort((a, b) => a - b).map((i) => this.data.names[i]));
  }

  /** How many layers of [first, end) are selected. */
  chosen(first, end) {
    return this.selectedBefore[end] - this.selectedBefore[first];
  }

  count() {
    this.selectedBefore = new Uint32Array(this.layers + 1);
    for (let i = 0; i < this.layers; i++) this.selectedBefore[i + 1] = this.selectedBefore[i] + this.selected.has(i);
  }

  /** Selects these layers (from outside). */
  select(names) {
    this.selected = new Set(names.map((name) => this.rowOf.get(name)).filter((i) => i !== undefined));
    this.count();
    this.redraw();
  }

  /** The block or layer that the keys act on. */
  activeItem() {
    const { level, layer } = this.active;
    if (!this.layers) return null;
    const block = !this.byLength && level < this.data.depth ? this.blockOf(level, layer) : null;
    return block ? { first: block.first, end: block.end, block } : { first: layer, end: layer + 1, block: null };
  }

  key(event) {
    if (!this.layers || event.altKey) return;
    const item = this.activeItem();
    const act = {
      ArrowRight: () => this.step(1, event.shiftKey), ArrowLeft: () => this.step(-1, event.shiftKey),
      ArrowUp: () => this.up(item), ArrowDown: () => this.down(item),
      Home: () => this.goTo(this.byLength ? this.rank[0] : 0), End: () => this.goTo(this.byLength ? this.rank.at(-1) : this.layers - 1),
      " ": () => this.pick(range(item.first, item.end), event.ctrlKey || event.metaKey || event.shiftKey, true),
      Enter: () => (item.block ? this.into(item) : this.pick([item.first], false, true)),
      Backspace: () => this.out(), Escape: () => (this.zoomed ? this.out() : (this.selected.clear(), this.tell())),
      "+": () => this.zoom(0.5, this.middleOf(item)), "=": () => this.zoom(0.5, this.middleOf(item)), "-": () => this.zoom(2), 0: () => this.show(...this.full),
    }[event.key];
    if (!act || ((event.ctrlKey || event.metaKey) && event.key !== " ")) return;
    act();
    event.preventDefault();
    event.stopPropagation();
    this.speak();
    this.redraw();
  }

  middleOf(item) {
    return this.byLength ? (this.placeOf.get(item.first) ?? 0) + 0.5 : (this.edges[item.first] + this.edges[item.end]) / 2;
  }

  /** To the next bar of the same row; with Shift layers are selected on the way. */
  step(by, extend) {
    const { level, layer } = this.active;
    const item = this.activeItem();
    if (this.byLength) {
      this.goTo(this.rank[min(this.rank.length - 1, max(0, (this.placeOf.get(layer) ?? -by) + by))]);
    } else if (item.block) {
      const row = this.levels[level];
      const next = row[row.indexOf(item.block) + by];
      if (next) this.goTo(next.first, level);
    } else this.goTo(min(this.layers - 1, max(0, layer + by)));
    if (extend && !item.block) this.pick(this.stretch(layer, this.active.layer), true);
  }

  up(item) {
    if (this.byLength) return;
    for (let level = min(item.block ? item.block.level : this.data.depth, this.data.depth) - 1; level >= 0; level--) {
      const block = this.blockOf(level, this.active.layer);
      if (block) {
        this.active.level = level;
        return;
      }
    }
  }

  down(item) {
    if (!item.block) return;
    this.active.level = Infinity;
    for (let level = item.block.level + 1; level < this.data.depth; level++) {
      if (!this.blockOf(level, this.active.layer)) continue;
      this.active.level = level;
      return;
    }
  }

  /** Makes a layer, or the block of a level that holds it, the active one, and brings it into what is shown. */
  goTo(layer, level = Infinity) {
    if (layer === undefined) return;
    this.active = { level, layer };
    const item = this.activeItem();
    const [a, b] = this.byLength ? [this.placeOf.get(layer), this.placeOf.get(layer) + 1] : [this.edges[item.first], this.edges[item.end]];
    const width = this.view[1] - this.view[0];
    if (a < this.view[0]) this.show(a, a + width);
    else if (b > this.view[1]) this.show(b - width, b);
  }

  /** Says the active bar to a screen reader. */
  speak() {
    const item = this.activeItem();
    if (!item || !this.column) return;
    const chosen = this.chosen(item.first, item.end) === item.end - item.first;
    const number = (text) => text.replace(MISSING, "not measured");
    const sum = this.edges[item.end] - this.edges[item.first];
    const words = item.block
      ? [`block ${visible(this.pathOf(item.block))}`, `${item.end - item.first} layers`, show(sum, this.column.format, this.column.unit), show(sum / this.whole, "share")]
      : [visible(this.data.names[item.first]), this.text("op_type", item.first), `${this.column.title} ${number(show(this.values[item.first], this.column.format, this.column.unit))}`];
    this.voice.textContent = `${words.join(", ")}${chosen ? ", selected" : ""}`;
    this.live.textContent = this.voice.textContent;
    this.voice.setAttribute("aria-selected", String(chosen));
    this.chart.setAttribute("aria-activedescendant", this.voice.id);
  }

  // -- outside: theme, size, options --

  applyTheme() {
    super.applyTheme();
    this.lut = ramp(this.theme.sequential);
    this.colors.raised = getComputedStyle(this.element).getPropertyValue("--ep-raised").trim();
    this.veil = hatching(this.canvas.getContext("2d"), this.colors.surface, 5);
  }

  recolor() {
    this.drawLegend();
    this.redraw();
  }

  /** Changes options from outside; onChange is not called for them. */
  set(values) {
    this.guard(() => {
      const { data, selection, ...rest } = values;
      const other = ["measure", "order"].some((name) => rest[name] && rest[name] !== this.options[name]);
      if (data) this.exchange(data);
      Object.assign(this.options, rest);
      if (other) this.view = null;
      this.applyTheme();
      this.arrange();
      if (selection) this.select(selection);
    })();
  }

  /** Other data in the same view: the selection stays, and the stretch that is shown where its layers are still there. */
  exchange(data) {
    const selected = [...this.selected].map((i) => this.data.names[i]);
    const shown = this.zoomed && !this.byLength ? [this.layerAt(this.view[0]), this.layerAt(this.view[1] * (1 - 1e-9))].map((i) => this.data.names[min(i, this.layers - 1)]) : [];
    const active = this.data.names[this.active.layer];
    const focused = document.activeElement === this.chart;
    this.load(data);
    this.build();
    this.view = this.crumbsDrawn = null;
    this.active.layer = min(this.rowOf.get(active) ?? 0, max(0, this.layers - 1));
    this.applyTheme();
    this.arrange();
    this.select(selected);
    const [first, last] = shown.map((name) => this.rowOf.get(name));
    if (first < last && last < this.layers) this.show(this.edges[first], this.edges[last + 1]);
    if (focused) this.chart.focus({ preventScroll: true });
  }
}

/** A title within a sentence. */
function spoken(title) {
  return /^[A-Z]{2}/.test(title) ? title : `${title[0].toLowerCase()}${title.slice(1)}`;
}

/** Whole numbers from `first` up to, not with, `end`. */
function range(first, end) {
  return Array.from({ length: end - first }, (_, k) => first + k);
}
