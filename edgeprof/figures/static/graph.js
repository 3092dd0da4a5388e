/**
 * The model's graph: original nodes as boxes, coloured by a metric of the layer that carries each out; repeated blocks fold. On a canvas.
 * No dependencies; knows nothing of Jupyter.
 *
 *   import { renderGraph } from "./graph.js";
 *   const view = renderGraph(element, data, options);
 *
 * data       {meta, numbers} of figures.graph.graph(profile).to_json(); numbers may be base64, ArrayBuffer or any view of one
 * options    all optional
 *   metric     name of a metric column           collapsed  names of the blocks that are folded; null: as the data says
 *   selection  names of layers                   height     of the plot in px; 0: fits
 *   theme      "auto" (JupyterLab, VS Code, then the system) | "light" | "dark"      embedded  no header of its own
 *   onSelect   (names) => {}: a person changed the selection (not called for select())
 *   onChange   ({metric | collapsed: value}) => {}: a person changed a control
 * returns    {element, select(names), set({any of the options, data}), destroy()}
 *
 * Levels are laid out in Python; an open block stretches the level around it (figures/graph_compose.py tells how, and draws the picture).
 * The style sheet is graph.css. Texts reach the page as text nodes only. Errors are shown inside the element.
 */

const [NODE, BLOCK, INPUT] = [0, 1, 2];
const STRIP = 44;
const MARGIN = 18;
const SLACK = 3; // pixels that a pointer may move and still click
const [NAMES_AT, OPS_AT, CURVES_AT] = [0.55, 0.26, 0.1]; // zoom from which these can be made out
const [LEAST_ZOOM, MOST_ZOOM] = [0.002, 3];
const CAPSULE = 5; // room around the nodes of one layer
const IN_CARD = new Set(["latency_ms", "share", "energy_mj", "macs", "param_bytes", "peak_memory_bytes"]);
let graphs = 0;

export function renderGraph(el, data, options = {}) {
  return made(el, () => new ModelGraph(el, data, options));
}

/** One axis of a level: stretched where open blocks lie; spans are [start, end, length that is wanted]. */
function stretch(spans) {
  const at = [...new Set([0, ...spans.flatMap(([start, end]) => [start, end])])].sort((a, b) => a - b);
  const slope = at.map(() => 1);
  for (const [start, end, wanted] of spans) {
    for (let k = at.indexOf(start); at[k] < end; k++) slope[k] = max(slope[k], wanted / (end - start));
  }
  const to = [at[0]];
  for (let k = 1; k < at.length; k++) to.push(to[k - 1] + (at[k] - at[k - 1]) * slope[k - 1]);
  return (v) => {
    let [low, high] = [0, at.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (at[middle] <= v) low = middle;
      else high = middle - 1;
    }
    return to[low] + (v - at[low]) * slope[low];
  };
}

/** Puts the levels together: {width, height, boxes, frames, lines} with every place on the page. */
function compose(data, isOpen) {
  const { blocks, sizes, arrays: a } = data;
  const items = blocks.map(() => []);
  const edges = blocks.map(() => []);
  a.item_level.forEach((level, i) => items[level].push(i));
  a.edge_level.forEach((level, e) => edges[level].push(e));
  const opened = (i) => (a.item_kind[i] === BLOCK && isOpen(a.item_ref[i]) ? a.item_ref[i] : 0);
  const levels = blocks.map(() => null);
  const outer = (number) => [max(levels[number].width, sizes.least) + 2 * sizes.pad, levels[number].height + sizes.head + 2 * sizes.pad];
  const anchor = (number) => levels[number].x(a.level_anchor[number]);
  const leftPart = (number) => anchor(number) + (outer(number)[0] - levels[number].width) / 2;
  for (let level = blocks.length - 1; level >= 0; level--) {
    const [across, down] = [[], []];
    for (const i of items[level]) {
      const number = opened(i);
      if (!number) continue;
      const [w, height] = outer(number);
      const [x, left] = [a.item_x[i], leftPart(number)];
      across.push([x - a.item_w[i] / 2, x, left], [x, x + a.item_w[i] / 2, w - left]);
      down.push([a.item_y[i] - a.item_h[i] / 2, a.item_y[i] + a.item_h[i] / 2, height]);
    }
    const [x, y] = [stretch(across), stretch(down)];
    levels[level] = { x, y, width: x(a.level_w[level]), height: y(a.level_h[level]), left: 0, top: 0 };
  }
  const done = { width: levels[0].width, height: levels[0].height, boxes: [], frames: [], lines: [] };
  const end = (of, gate, here, port, below) => {
    if (port) return [here.left + here.x(a.port_x[of]), below ? here.top - sizes.pad - sizes.head : here.top + here.height + sizes.pad];
    const number = opened(of);
    const height = number ? outer(number)[1] : a.item_h[of];
    let x = here.left + here.x(a.item_x[of]);
    if (number && gate) x += levels[number].x(a.port_x[gate - 1]) - anchor(number);
    return [x, here.top + here.y(a.item_y[of]) + (below ? height : -height) / 2];
  };
  const put = (level) => {
    const here = levels[level];
    for (const i of items[level]) {
      const [x, y, number] = [here.left + here.x(a.item_x[i]), here.top + here.y(a.item_y[i]), opened(i)];
      const [w, height] = number ? outer(number) : [a.item_w[i], a.item_h[i]];
      const kind = a.item_kind[i];
      const box = { item: i, kind, ref: a.item_ref[i], level, x: x - (number ? leftPart(number) : w / 2), y: y - height / 2, w, h: height, open: number > 0 };
      (number ? done.frames : done.boxes).push(box);
      if (!number) continue;
      levels[number].left = x - anchor(number);
      levels[number].top = box.y + sizes.head + sizes.pad;
      put(number);
    }
    for (const e of edges[level]) {
      const flags = a.edge_flags[e];
      const start = end(a.edge_from[e], a.edge_from_port[e], here, flags & 1, true);
      const stop = end(a.edge_to[e], a.edge_to_port[e], here, flags & 2, false);
      const points = [...start, start[0], here.top + here.y(a.edge_leave[e])];
      for (let k = a.bend_start[e]; k < a.bend_start[e + 1]; k++) points.push(here.left + here.x(a.bend_x[k]), here.top + here.y(a.bend_y[k]));
      points.push(stop[0], here.top + here.y(a.edge_arrive[e]), ...stop);
      let [left, right] = [Infinity, -Infinity];
      for (let k = 0; k < points.length; k += 2) [left, right] = [min(left, points[k]), max(right, points[k])];
      done.lines.push({ e, points, left, right, top: start[1], bottom: stop[1], inner: Boolean(flags & 2), from: flags & 1 ? -1 : a.edge_from[e], to: flags & 2 ? -1 : a.edge_to[e] });
    }
  };
  put(0);
  return done;
}

class ModelGraph extends View {
  constructor(el, data, options) {
    super(el, "ep-graph", { height: 0, metric: null, collapsed: null, ...options });
    this.id = `ep-graph-${(graphs += 1)}`;
    this.selected = new Set(); // rows of layers
    this.scaleWish = "auto";
    this.query = "";
    this.hover = null;
    this.active = null; // key of a box: see keyOf
    this.zoom = 0;
    this.at = { x: 0, y: 0 }; // place of the plot's upper left corner in the drawing
    this.load(data);
    this.build();
    this.applyTheme();
    this.arrange();
    this.select(options.selection ?? []);
    this.watch();
  }

  load(data) {
    this.data = unpack(data);
    const { names, texts, arrays, blocks, columns } = this.data;
    this.rowOf = new Map(names.map((name, i) => [name, i]));
    this.text = (name, i) => texts[name]?.[arrays[name][i]] ?? "";
    this.nodes = arrays.node_op_type.length - this.data.inputs.length - this.data.outputs.length;
    this.nodesOf = names.map(() => []); // of each layer
    for (let node = 0; node < this.nodes; node++) for (const row of this.layersOf(node)) this.nodesOf[row].push(node);
    this.homes = new Uint32Array(arrays.node_op_type.length); // block of each node
    arrays.item_kind.forEach((kind, i) => kind !== BLOCK && (this.homes[arrays.item_ref[i]] = arrays.item_level[i]));
    blocks.forEach((block, number) => number && block.head >= 0 && (this.homes[block.head] = block.parent));
    this.headOf = new Map(blocks.map((block, number) => [block.head, number]).filter(([head]) => head >= 0));
    if (!columns.some((column) => column.name === this.options.metric)) this.options.metric = this.data.metric;
    this.options.collapsed ??= this.data.collapsed;
    this.fold(this.options.collapsed);
    this.labels = [];
  }

  fold(names) {
    const folded = new Set(names);
    this.folded = new Set(this.data.blocks.map((block, number) => (number && folded.has(block.name) ? number : 0)).filter(Boolean));
  }

  layersOf(node) {
    const row = this.data.arrays.layer[node];
    return this.data.more_layers[node] ?? (row >= 0 ? [row] : []);
  }

  get column() {
    return this.data.columns.find((column) => column.name === this.options.metric);
  }

  /** Blocks around a node or block, innermost first. */
  around(block) {
    const path = [];
    for (let at = block; at; at = this.data.blocks[at].parent) path.push(at);
    return path;
  }

  // -- frame: header, controls, plot, legend --

  build() {
    const on = (fn) => this.guard(fn);
    const had = this.plot && document.activeElement === this.plot;
    this.tools = h("div", { class: "ep-tools", role: "toolbar", "aria-label": "Graph controls" });
    this.search = h("input", { type: "search", placeholder: "Search nodes, or /regex/", "aria-label": "Search nodes", "data-lm-suppress-shortcuts": "true" });
    this.search.value = this.query;
    this.count = h("span", { class: "ep-count" });
    this.canvas = h("canvas", { class: "ep-canvas", "aria-hidden": "true" });
    this.strip = h("canvas", { class: "ep-strip", "aria-hidden": "true", title: "Whole graph: drag to move" });
    const label = `${this.data.title}: graph of the model, ${this.nodes} nodes`;
    this.plot = h("div", { class: "ep-plot", tabindex: 0, role: "application", "aria-label": label, "data-lm-suppress-shortcuts": "true" }, this.canvas);
    this.body = h("div", { class: "ep-graph-body" }, this.plot, this.strip);
    this.empty = h("div", { class: "ep-empty", hidden: true });
    this.legend = h("div", { class: "ep-legend" });
    this.hint = h("p", { class: "ep-hint" });
    this.live = h("div", { class: "ep-voice", "aria-live": "polite" });
    this.card = h("div", { class: "ep-card", hidden: true, "aria-hidden": "true" });
    this.element.replaceChildren(this.header(this.data), this.tools, this.body, this.empty, this.legend, this.hint, this.live, this.card);
    this.search.addEventListener("input", on(() => this.filter(this.search.value)));
    this.search.addEventListener("keydown", on((e) => this.searchKey(e)));
    const { plot, strip } = this;
    plot.addEventListener("pointerdown", on((e) => this.press(e)));
    plot.addEventListener("pointermove", on((e) => this.pointer(e)));
    plot.addEventListener("pointerup", on((e) => this.release(e)));
    plot.addEventListener("pointercancel", on(() => (this.drag = null)));
    plot.addEventListener("pointerleave", on(() => this.unhover()));
    plot.addEventListener("dblclick", on((e) => this.doubleClick(e)));
    plot.addEventListener("wheel", on((e) => this.wheel(e)), { passive: false });
    plot.addEventListener("keydown", on((e) => this.key(e)));
    for (const event of ["focus", "blur"]) plot.addEventListener(event, on(() => (this.drawHint(), event === "focus" && this.speak(), this.redraw())));
    strip.addEventListener("pointerdown", on((e) => (strip.setPointerCapture(e.pointerId), this.dragStrip(e))));
    strip.addEventListener("pointermove", on((e) => e.buttons && this.dragStrip(e)));
    if (had) plot.focus({ preventScroll: true });
  }

  controls() {
    const { columns, blocks } = this.data;
    const button = (text, title, run, disabled = false) => h("button", { type: "button", title, disabled, onclick: this.guard(run) }, text);
    const group = (label, ...buttons) => h("div", { class: "ep-segments", role: "group", "aria-label": label }, ...buttons);
    const metrics = Object.fromEntries(columns.map(({ name, title }) => [name, title]));
    const parts = [];
    if (columns.length) {
      parts.push(this.menu("Colour", metrics, this.options.metric, (metric) => this.change({ metric })));
      parts.push(this.menu("Scale", { auto: "Auto", linear: "Linear", log: "Log" }, this.scaleWish, (value) => ((this.scaleWish = value), this.recolor())));
    }
    if (blocks.length > 1) {
      const all = blocks.slice(1).map((block) => block.name);
      const fold = button("Fold all", "Each repeated block as one box", () => this.refold(all), this.folded.size === all.length);
      parts.push(group("Blocks", fold, button("Open all", "Every node", () => this.refold([]), !this.folded.size)));
    }
    const zoom = [button("−", "Zoom out (key −)", () => this.zoomBy(1 / 1.4)), button("+", "Zoom in (key +)", () => this.zoomBy(1.4))];
    parts.push(group("Zoom", ...zoom, button("Fit", "The whole graph (key 0)", () => this.fitAll())));
    this.tools.querySelectorAll(":scope > :not(.ep-search)").forEach((old) => old.remove());
    if (!this.search.parentElement) this.tools.append(h("div", { class: "ep-search" }, this.search, this.count));
    this.tools.prepend(...parts);
  }

  /** A person changed a control. */
  change(values) {
    Object.assign(this.options, values);
    this.recolor();
    this.options.onChange?.(values);
  }

  /** A person folds these blocks and opens all others; what is at `anchor` stays where it is. */
  refold(collapsed, anchor = this.middleBox()) {
    const whole = this.zoom <= this.wholeZoom() * 1.001;
    this.options.collapsed = collapsed;
    this.fold(collapsed);
    this.arrange();
    const after = anchor && this.places.get(this.standsFor(anchor));
    if (whole && this.wholeZoom() >= NAMES_AT) this.fitAll();
    else if (after) {
      this.at.y += after.y - anchor.y;
      this.at.x += after.x + after.w / 2 - anchor.x - anchor.w / 2;
      this.zoom = max(this.zoom, whole ? NAMES_AT + 0.1 : 0);
      this.moved();
    }
    this.options.onChange?.({ collapsed });
  }

  /** What is nearest to the middle of the window. */
  middleBox() {
    const [x, y] = [this.at.x + this.plan.width / 2 / this.zoom, this.at.y + this.plan.height / 2 / this.zoom];
    const far = (box) => abs(box.x + box.w / 2 - x) + abs(box.y + box.h / 2 - y);
    return this.drawn.boxes.reduce((best, box) => (!best || far(box) < far(best) ? box : best), null);
  }

  /** Key of what shows a box of an earlier arrangement now. */
  standsFor(box) {
    if (box.kind !== BLOCK) return this.shownKey(box.ref);
    const outermost = this.around(box.ref).filter((number) => this.folded.has(number)).at(-1);
    return `block ${outermost ?? box.ref}`;
  }

  toggle(number) {
    const { blocks } = this.data;
    const folded = new Set(this.folded);
    if (!folded.delete(number)) folded.add(number);
    this.active = `block ${number}`;
    this.refold([...folded].sort((a, b) => a - b).map((n) => blocks[n].name), this.places.get(this.active));
    this.speak();
  }

  // -- what is drawn, where --

  arrange() {
    this.drawn = compose(this.data, (number) => !this.folded.has(number));
    const { boxes, frames } = this.drawn;
    this.places = new Map([...frames, ...boxes].map((box) => [this.keyOf(box), box]));
    this.links = new Map(); // key -> {up, down}: keys that edges lead to
    const { link_from: from, link_to: to, layer } = this.data.arrays;
    const near = (key) => this.links.get(key) ?? this.links.set(key, { up: new Set(), down: new Set() }).get(key);
    this.bands = [];
    for (let k = 0; k < from.length; k++) {
      const [a, b] = [this.shownKey(from[k]), this.shownKey(to[k])];
      if (a === b) continue;
      near(a).down.add(b);
      near(b).up.add(a);
      const row = layer[from[k]];
      if (row < 0 || row !== layer[to[k]]) continue;
      const [above, below] = [this.places.get(a), this.places.get(b)];
      if (above.kind === NODE && below.kind === NODE) this.bands.push({ row, above, below });
    }
    this.fused = boxes.filter((box) => box.kind === NODE && layer[box.ref] >= 0 && this.nodesOf[layer[box.ref]].length > 1);
    if (!this.places.has(this.active)) this.active = null;
    this.hover = null;
    this.card.hidden = true;
    this.look();
    this.controls();
    this.showEmpty();
    this.resize();
    this.drawLegend();
  }

  keyOf(box) {
    return box.kind === BLOCK ? `block ${box.ref}` : `node ${box.ref}`;
  }

  /** Key of what stands for a node: itself, the outermost folded block around it, or the block that it is the head of. */
  shownKey(node) {
    const head = this.headOf.get(node);
    const outermost = this.around(this.homes[node]).filter((number) => this.folded.has(number)).at(-1);
    if (outermost) return `block ${outermost}`;
    return head ? `block ${head}` : `node ${node}`;
  }

  showEmpty() {
    this.empty.textContent = this.data.empty;
    this.empty.hidden = !this.data.empty;
    this.tools.hidden = this.body.hidden = this.legend.hidden = this.hint.hidden = Boolean(this.data.empty);
  }

  resize() {
    const width = this.body.clientWidth;
    if (this.body.hidden || !width) return;
    if (!this.colors.ink) {
      this.applyTheme(); // a notebook makes the view before it puts it into the page
      this.drawLegend();
    }
    const wanted = min(620, max(260, this.drawn.height + 2 * MARGIN));
    const height = this.options.height || (this.plan?.chosen ? max(this.plan.height, wanted) : wanted);
    this.plan = { width: width - STRIP - 6, height, chosen: !this.options.height };
    this.body.style.height = `${height}px`;
    fit(this.canvas, this.plan.width, height);
    fit(this.strip, STRIP, height);
    this.stripPicture = null;
    if (!this.zoom) this.goHome();
    this.keepInside();
    this.drawHint();
    this.redraw();
  }

  // -- the window --

  wholeZoom() {
    if (!this.plan) return 0;
    return min((this.plan.width - 2 * MARGIN) / max(1, this.drawn.width), (this.plan.height - 2 * MARGIN) / max(1, this.drawn.height), 1);
  }

  /** The whole graph where it can be read so, else its beginning. */
  goHome() {
    const whole = this.wholeZoom();
    if (whole >= 0.6) return this.fitAll();
    this.zoom = min(1, max(NAMES_AT + 0.1, (this.plan.width - 2 * MARGIN) / this.drawn.width));
    const { boxes } = this.drawn;
    const first = boxes.find((box) => box.kind === INPUT) ?? boxes.reduce((best, box) => (box.y < best.y ? box : best), boxes[0]);
    const middle = first ? first.x + first.w / 2 : this.drawn.width / 2;
    const narrow = this.drawn.width * this.zoom < this.plan.width;
    this.at = { x: (narrow ? this.drawn.width / 2 : middle) - this.plan.width / 2 / this.zoom, y: -MARGIN / this.zoom };
    this.moved();
  }

  fitAll() {
    this.zoom = max(LEAST_ZOOM, this.wholeZoom());
    this.at = { x: this.drawn.width / 2 - this.plan.width / 2 / this.zoom, y: this.drawn.height / 2 - this.plan.height / 2 / this.zoom };
    this.moved();
  }

  moved() {
    this.keepInside();
    this.redraw();
  }

  /** Some of the graph stays in the window. */
  keepInside() {
    if (!this.plan || !this.zoom) return;
    const keep = (at, size, room) => {
      const shown = room / this.zoom;
      const slack = MARGIN / this.zoom;
      if (size + 2 * slack <= shown) return size / 2 - shown / 2;
      return min(max(at, -slack - shown / 3), size + slack - (2 * shown) / 3);
    };
    this.at = { x: keep(this.at.x, this.drawn.width, this.plan.width), y: keep(this.at.y, this.drawn.height, this.plan.height) };
  }

  zoomBy(factor, x = this.plan.width / 2, y = this.plan.height / 2) {
    const zoom = min(MOST_ZOOM, max(min(this.wholeZoom(), 0.5), this.zoom * factor));
    this.at = { x: this.at.x + x / this.zoom - x / zoom, y: this.at.y + y / this.zoom - y / zoom };
    this.zoom = zoom;
    this.moved();
  }

  /** Brings a box into the window, if it is not in it. */
  reveal(box) {
    if (!this.plan || !this.zoom || !box) return;
    const [w, height] = [this.plan.width / this.zoom, this.plan.height / this.zoom];
    const head = min(box.h, height / 2);
    if (box.x >= this.at.x && box.x + min(box.w, w) <= this.at.x + w && box.y >= this.at.y && box.y + head <= this.at.y + height) return;
    this.at = { x: box.x + box.w / 2 - w / 2, y: box.y + head / 2 - height / 2 };
    this.moved();
  }

  // -- numbers --

  valueOf(box, name = this.options.metric) {
    const { arrays } = this.data;
    if (box.kind === BLOCK) return arrays[`block_${name}`]?.[box.ref] ?? NaN;
    const row = box.kind === NODE ? arrays.layer[box.ref] : -1;
    return row >= 0 ? (arrays[name]?.[row] ?? NaN) : NaN;
  }

  get scale() {
    return (this.folded.size ? this.column.block_scales : this.column.scales)[this.scaleWish];
  }

  step(value) {
    return this.lut[round(place(value, this.scale) * 255)];
  }

  // -- drawing --

  draw() {
    if (!this.plan || this.body.hidden || !this.zoom) return;
    const c = pen(this.canvas);
    const { plan, zoom, at, drawn } = this;
    const ratio = this.canvas.width / plan.width;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, plan.width, plan.height);
    c.setTransform(ratio * zoom, 0, 0, ratio * zoom, -at.x * zoom * ratio, -at.y * zoom * ratio);
    const seen = { left: at.x, top: at.y, right: at.x + plan.width / zoom, bottom: at.y + plan.height / zoom };
    const isSeen = (box) => box.x < seen.right && box.x + box.w > seen.left && box.y < seen.bottom && box.y + box.h > seen.top;
    const boxes = drawn.boxes.filter(isSeen);
    const frames = drawn.frames.filter(isSeen);
    c.lineJoin = "round";
    for (const frame of frames) this.drawFrame(c, frame);
    this.drawCapsules(c, seen);
    this.drawLines(c, drawn.lines.filter((line) => line.left < seen.right && line.right > seen.left && line.top < seen.bottom && line.bottom > seen.top));
    for (const box of boxes) this.drawBox(c, box);
    for (const frame of frames) this.drawFrameHead(c, frame);
    this.drawActive(c);
    this.drawStrip(seen);
  }

  drawFrame(c, frame) {
    const { colors, zoom } = this;
    const chosen = this.isChosen(frame);
    c.strokeStyle = chosen ? colors.accent : colors.quiet;
    c.lineWidth = (chosen ? 2 : 1) / zoom;
    c.setLineDash(chosen === "some" ? [6 / zoom, 4 / zoom] : []);
    c.beginPath();
    c.roundRect(frame.x, frame.y, frame.w, frame.h, 8);
    this.tint(c);
    c.stroke();
    c.setLineDash([]);
  }

  tint(c) {
    c.fillStyle = this.colors.surface;
    c.fill();
    c.fillStyle = this.colors.hover;
    c.globalAlpha = 0.5;
    c.fill();
    c.globalAlpha = 1;
  }

  drawFrameHead(c, frame) {
    const { colors, zoom } = this;
    if (zoom < OPS_AT) return;
    const block = this.data.blocks[frame.ref];
    const [x, y] = [frame.x + 8, frame.y + 5];
    c.textBaseline = "middle";
    c.textAlign = "left";
    c.font = `600 ${colors.font}`;
    const head = block.head >= 0 ? `${this.text("node_op_type", block.head)}  ` : "";
    const title = this.cut(c, head + block.title, (frame.w - 34) * 0.62);
    const width = c.measureText(title).width;
    c.beginPath();
    c.rect(x - 2, y - 2, width + 28, 22);
    this.tint(c);
    this.drawSign(c, x, y, "−");
    c.fillStyle = colors.ink;
    c.fillText(title, x + 22, y + 9);
    const value = this.valueOf(frame);
    c.font = colors.small;
    c.fillStyle = colors.muted;
    const text = this.column ? `${this.column.how === "sum" ? "" : "≤ "}${show(value, this.column.format, this.column.unit)}` : "";
    const room = frame.w - 34 - width - 14;
    if (zoom < NAMES_AT || c.measureText(text).width > room) return;
    c.textAlign = "right";
    c.fillText(text, frame.x + frame.w - 10, y + 9);
  }

  /** The + or − that opens or folds a block. */
  drawSign(c, x, y, sign) {
    const { colors } = this;
    c.fillStyle = colors.surface;
    c.strokeStyle = colors.muted;
    c.lineWidth = 1;
    c.beginPath();
    c.roundRect(x, y + 1, 16, 16, 4);
    c.fill();
    c.stroke();
    c.fillStyle = colors.ink;
    c.fillRect(x + 4, y + 8.25, 8, 1.5);
    if (sign === "+") c.fillRect(x + 7.25, y + 5, 1.5, 8);
  }

  drawLines(c, lines) {
    const { colors, zoom } = this;
    const curved = zoom >= CURVES_AT;
    const trace = ({ points }) => {
      c.moveTo(points[0], points[1]);
      for (let k = 2; k < points.length; k += 2) {
        const [x0, y0, x, y] = [points[k - 2], points[k - 1], points[k], points[k + 1]];
        if (x0 === x || !curved) c.lineTo(x, y);
        else c.bezierCurveTo(x0, (y0 + y) / 2, x, (y0 + y) / 2, x, y);
      }
    };
    const tip = ({ points, to }) => {
      if (to < 0) return;
      const [x, y] = points.slice(-2);
      (c.moveTo(x - 3.5, y - 6), c.lineTo(x + 3.5, y - 6), c.lineTo(x, y));
    };
    const paint = (some, color, width) => {
      c.strokeStyle = c.fillStyle = color;
      c.lineWidth = width;
      c.beginPath();
      some.forEach(trace);
      c.stroke();
      if (zoom < 0.4) return;
      c.beginPath();
      some.forEach(tip);
      c.fill();
    };
    const spot = this.hover ?? this.focusedBox();
    const near = spot ? lines.filter((line) => this.touches(line, spot)) : [];
    const thin = max(1, min(1 / zoom, 3));
    paint(lines, colors.quiet, zoom < CURVES_AT ? 0.7 / zoom : thin);
    if (near.length) paint(near, colors.ink, 1.6 / min(1, max(zoom, 0.3)));
  }

  touches(line, box) {
    if (line.from === box.item || line.to === box.item) return true;
    return box.kind !== BLOCK && this.data.arrays.edge_node[line.e] === box.ref; // further on, in or behind blocks
  }

  /** Nodes of one layer share an outline. */
  drawCapsules(c, seen) {
    const { colors, zoom } = this;
    if (zoom < OPS_AT / 2) return;
    const { layer } = this.data.arrays;
    const row = this.hover?.kind === NODE ? layer[this.hover.ref] : -2;
    const groups = [
      [(r) => !this.selected.has(r) && r !== row, colors.quiet, 1],
      [(r) => !this.selected.has(r) && r === row, colors.ink, 1.6],
      [(r) => this.selected.has(r), colors.accent, 2.6],
    ];
    const boxes = this.fused.filter((box) => box.y < seen.bottom + 60 && box.y + box.h > seen.top - 60);
    const bands = this.bands.filter(({ above, below }) => above.y < seen.bottom && below.y + below.h > seen.top);
    for (const [belongs, color, width] of groups) {
      const some = boxes.filter((box) => belongs(layer[box.ref]));
      const joined = bands.filter((band) => belongs(band.row));
      for (const [grow, fill] of [[CAPSULE + width / max(zoom, 0.4), color], [CAPSULE, this.raised]]) {
        c.fillStyle = c.strokeStyle = fill;
        c.lineWidth = 8 + 2 * (grow - CAPSULE);
        c.beginPath();
        for (const { above, below } of joined.filter((band) => !this.isBeside(band))) {
          c.moveTo(above.x + above.w / 2, above.y + above.h);
          c.lineTo(below.x + below.w / 2, below.y);
        }
        c.stroke();
        c.beginPath();
        for (const box of some) c.roundRect(box.x - grow, box.y - grow, box.w + 2 * grow, box.h + 2 * grow, 7);
        for (const { above, below } of joined.filter((band) => this.isBeside(band))) c.rect(above.x - grow, above.y + above.h - 8, above.w + 2 * grow, below.y - above.y - above.h + 16);
        c.fill();
      }
    }
  }

  /** True for two nodes of a layer that stand right below each other. */
  isBeside({ above, below }) {
    return abs(above.x - below.x) < 1 && below.y - above.y - above.h < 60;
  }

  drawBox(c, box) {
    c.globalAlpha = this.query && !this.found.has(this.keyOf(box)) ? 0.22 : 1;
    if (box.kind === BLOCK) this.drawFolded(c, box);
    else if (box.kind === NODE) this.drawNode(c, box);
    else this.drawEnd(c, box);
    c.globalAlpha = 1;
  }

  /** Fill of a box: its number on the scale, hatched where there is none. @returns the ink that can be read on it */
  fill(c, box, radius) {
    const { colors } = this;
    const value = this.valueOf(box);
    c.beginPath();
    if (this.zoom < OPS_AT) c.rect(box.x, box.y, box.w, box.h);
    else c.roundRect(box.x, box.y, box.w, box.h, radius);
    if (!this.column || !known(value)) {
      c.fillStyle = colors.surface;
      c.fill();
      c.fillStyle = this.hatching;
      c.fill();
      return colors.ink;
    }
    const step = this.step(value);
    c.fillStyle = step.fill;
    c.fill();
    if (this.data.estimated) {
      c.save();
      c.globalAlpha *= 0.4;
      c.fillStyle = this.estimated;
      c.fill();
      c.restore();
    }
    return step.ink;
  }

  border(c, color, width, dash = []) {
    c.strokeStyle = color;
    c.lineWidth = width / max(this.zoom, 0.3);
    c.setLineDash(dash);
    c.stroke();
    c.setLineDash([]);
  }

  drawNode(c, box) {
    const { colors, zoom } = this;
    const node = box.ref;
    const row = this.data.arrays.layer[node];
    const ink = this.fill(c, box, 5);
    const chosen = this.isChosen(box);
    if (chosen && this.nodesOf[row].length === 1) this.border(c, colors.accent, 2.6);
    else if (row < 0) this.border(c, colors.muted, 1, [4, 3]);
    else if (zoom >= OPS_AT) this.border(c, this.hover === box ? colors.ink : colors.quiet, 1);
    if (zoom < OPS_AT) return;
    const op = this.text("node_op_type", node);
    c.textBaseline = "middle";
    if (zoom < NAMES_AT) {
      c.font = `600 17px ${this.face}`;
      c.textAlign = "center";
      this.write(c, op, box.x + box.w / 2, box.y + box.h / 2, box.w - 8, ink, row < 0);
      return;
    }
    const value = row >= 0 && this.column && this.nodesOf[row][0] === node ? show(this.valueOf(box), this.column.format, this.column.unit) : "";
    c.font = colors.small;
    c.textAlign = "right";
    const room = c.measureText(value).width;
    this.write(c, value, box.x + box.w - 7, box.y + 12.5, box.w, ink, row < 0 || !known(this.valueOf(box)));
    c.font = `600 ${colors.font}`;
    c.textAlign = "left";
    this.write(c, op, box.x + 8, box.y + 12.5, box.w - 22 - room, ink, row < 0);
    c.font = colors.small;
    this.write(c, this.label(node), box.x + 8, box.y + 28.5, box.w - 14, ink, row < 0);
  }

  /** A text cut to its room; on hatching it stands on a ground of its own. */
  write(c, text, x, y, width, ink, grounded) {
    const shown = this.cut(c, text, width);
    if (grounded && shown) {
      const w = c.measureText(shown).width;
      const left = { left: x, right: x - w, center: x - w / 2 }[c.textAlign];
      c.fillStyle = this.colors.surface;
      c.fillRect(left - 2, y - 7, w + 4, 14);
    }
    c.fillStyle = ink;
    c.fillText(shown, x, y + 0.5);
  }

  /** A node's name without what its block and its op type say already. */
  label(node) {
    return (this.labels[node] ??= this.shortName(node));
  }

  shortName(node) {
    const op = this.text("node_op_type", node);
    let name = this.data.nodes[node];
    const block = this.data.blocks[this.homes[node]];
    if (this.homes[node] && name.replace(/^\//, "").startsWith(`${block.name}/`)) name = name.replace(/^\//, "").slice(block.name.length + 1);
    if (name.endsWith(`/${op}`)) name = name.slice(0, -op.length - 1);
    return name === op ? "" : name.replace(/^\//, "") || name;
  }

  drawFolded(c, box) {
    const { colors, zoom } = this;
    const block = this.data.blocks[box.ref];
    const chosen = this.isChosen(box);
    if (zoom >= OPS_AT) {
      for (const shift of [6, 3]) {
        c.beginPath();
        c.roundRect(box.x + shift, box.y + shift, box.w - shift, box.h - shift + 1, 6);
        c.fillStyle = colors.surface;
        c.fill();
        this.border(c, colors.quiet, 1);
      }
    }
    const face = { ...box, w: box.w - 6, h: box.h - 5 };
    const ink = this.fill(c, face, 6);
    if (chosen || zoom >= OPS_AT) this.border(c, chosen ? colors.accent : this.hover === box ? colors.ink : colors.muted, chosen ? 2.6 : 1, chosen === "some" ? [6, 3] : []);
    if (zoom < OPS_AT) return;
    c.textBaseline = "middle";
    const bare = !known(this.valueOf(box)) || !this.column;
    if (zoom < NAMES_AT) {
      c.font = `600 17px ${this.face}`;
      c.textAlign = "center";
      this.write(c, block.title, face.x + face.w / 2, face.y + face.h / 2, face.w - 8, ink, bare);
      return;
    }
    this.drawSign(c, face.x + 7, face.y + 6, "+");
    const value = this.column ? show(this.valueOf(box), this.column.format, this.column.unit) : "";
    c.font = colors.small;
    c.textAlign = "right";
    const room = c.measureText(value).width;
    this.write(c, value, face.x + face.w - 8, face.y + 15, face.w, ink, bare);
    c.font = `600 ${colors.font}`;
    c.textAlign = "left";
    const head = block.head >= 0 ? `${this.text("node_op_type", block.head)}  ` : "";
    this.write(c, head + block.title, face.x + 30, face.y + 15, face.w - 46 - room, ink, bare);
    c.font = colors.small;
    const count = this.chosenIn(box.ref);
    const nodes = `${grouped(block.nodes)} nodes${count ? `, ${count} selected` : ""}`;
    this.write(c, nodes, face.x + 30, face.y + 35, face.w - 38, ink, bare);
  }

  /** An input or output of the model. */
  drawEnd(c, box) {
    const { colors, zoom } = this;
    c.beginPath();
    c.roundRect(box.x, box.y, box.w, box.h, box.h / 2);
    c.fillStyle = this.raised;
    c.fill();
    this.border(c, this.hover === box ? colors.ink : colors.quiet, 1);
    if (zoom < OPS_AT) return;
    c.textBaseline = "middle";
    c.textAlign = "center";
    c.font = zoom < NAMES_AT ? `16px ${this.face}` : colors.small;
    this.write(c, `${box.kind === INPUT ? "input" : "output"}  ${this.endOf(box).name}`, box.x + box.w / 2, box.y + box.h / 2, box.w - 16, colors.ink, false);
  }

  endOf(box) {
    const { inputs, outputs } = this.data;
    return box.kind === INPUT ? inputs[box.ref - this.nodes] : outputs[box.ref - this.nodes - inputs.length];
  }

  focusedBox() {
    return document.activeElement === this.plot ? this.places.get(this.active) : undefined;
  }

  drawActive(c) {
    const box = this.focusedBox();
    if (!box) return;
    const grow = 8;
    for (const [color, width] of [[this.colors.surface, 5], [this.colors.accent, 2]]) {
      c.strokeStyle = color;
      c.lineWidth = width / max(this.zoom, 0.3);
      c.setLineDash(width === 2 ? [5, 3] : []);
      c.beginPath();
      c.roundRect(box.x - grow, box.y - grow, box.w + 2 * grow, box.h + 2 * grow, 9);
      c.stroke();
    }
    c.setLineDash([]);
  }

  // -- the whole graph as a strip --

  get stripScale() {
    return [(STRIP - 6) / max(1, this.drawn.width), (this.plan.height - 6) / max(1, this.drawn.height)];
  }

  drawStrip(seen) {
    const c = pen(this.strip);
    const { plan, colors } = this;
    const ratio = this.strip.width / STRIP;
    this.stripPicture ??= this.paintStrip(ratio);
    const [sx, sy] = this.stripScale;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.strip.width, this.strip.height);
    c.drawImage(this.stripPicture, 0, 0);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const x = max(1, 3 + seen.left * sx);
    const y = max(1, 3 + seen.top * sy);
    const w = max(6, min(STRIP - 1, 3 + seen.right * sx) - x);
    const height = max(6, min(plan.height - 1, 3 + seen.bottom * sy) - y);
    c.fillStyle = colors.hover;
    c.fillRect(x, y, w, height);
    c.strokeStyle = colors.ink;
    c.lineWidth = 1.5;
    c.strokeRect(x, y, w, height);
  }

  paintStrip(ratio) {
    const picture = document.createElement("canvas");
    [picture.width, picture.height] = [this.strip.width, this.strip.height];
    const c = picture.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [sx, sy] = this.stripScale;
    for (const box of this.drawn.boxes) {
      const value = this.valueOf(box);
      const chosen = this.isChosen(box);
      c.fillStyle = this.column && known(value) ? this.step(value).fill : this.colors.line;
      c.globalAlpha = this.query && !this.found.has(this.keyOf(box)) ? 0.25 : 1;
      c.fillRect(3 + box.x * sx, 3 + box.y * sy, max(2, box.w * sx - 1), max(1, box.h * sy));
      if (!chosen) continue;
      c.fillStyle = this.colors.accent;
      c.fillRect(0, 3 + box.y * sy - 1, 8, max(3, box.h * sy));
    }
    return picture;
  }

  dragStrip(event) {
    const box = this.strip.getBoundingClientRect();
    const [sx, sy] = this.stripScale;
    this.at = {
      x: (event.clientX - box.left - 3) / sx - this.plan.width / 2 / this.zoom,
      y: (event.clientY - box.top - 3) / sy - this.plan.height / 2 / this.zoom,
    };
    this.moved();
  }

  // -- legend, hint --

  drawLegend() {
    if (this.data.empty) return;
    const parts = [];
    if (this.column) {
      const { title, how, format, unit } = this.column;
      const scale = this.scale;
      const text = (v) => show(v, format, unit);
      const bar = h("span", { class: "ep-ramp" });
      bar.style.background = `linear-gradient(to right, ${this.theme.sequential.join(", ")})`;
      parts.push(h("span", { class: "ep-legend-title" }, title), h("span", {}, `${scale.below ? "≤ " : ""}${text(scale.min)}`), bar, h("span", {}, text(scale.max)));
      parts.push(h("span", { class: "ep-note" }, scale.log ? "log" : "linear"));
      if (this.data.estimated) parts.push(h("span", { class: "ep-origin ep-origin-estimated" }, "estimated"));
      if (this.data.blocks.length > 1) parts.push(h("span", { class: "ep-note" }, `block: ${how === "sum" ? "sum of its layers" : "largest of its layers"}`));
    } else parts.push(h("span", { class: "ep-legend-title" }, "No metric was measured"));
    const { layer } = this.data.arrays;
    const rows = Array.from(layer.subarray(0, this.nodes));
    if (this.column && rows.some((row) => row >= 0 && !known(this.data.arrays[this.options.metric][row]))) parts.push(h("span", { class: "ep-key" }, "not measured"));
    if (rows.some((row) => row < 0)) parts.push(h("span", { class: "ep-key ep-dashed" }, "no layer runs it: folded, removed or not attributed"));
    if (this.nodesOf.some((nodes) => nodes.length > 1)) parts.push(h("span", { class: "ep-shared" }, "one outline: one layer"));
    const { layers, latency_ms: ms } = this.data.no_node;
    if (layers) parts.push(h("span", { class: "ep-note" }, `${grouped(layers)} layer${layers > 1 ? "s" : ""} without a node here${known(ms) ? ` (${show(ms, "latency")})` : ""}`));
    this.legend.replaceChildren(...parts);
  }

  drawHint() {
    const focused = document.activeElement === this.plot;
    const scroll = focused ? "Scroll to zoom" : "Click the graph, then scroll to zoom (or Ctrl + scroll at once)";
    const hidden = [...this.selected].filter((row) => !this.nodesOf[row].length).length;
    const note = hidden ? `${hidden} selected layer${hidden > 1 ? "s have" : " has"} no node in the model. ` : "";
    const blocks = this.data.blocks.length > 1 ? ", Enter opens or folds a block" : "";
    this.hint.textContent = `${note}${scroll}. Drag to pan. Keys: arrows walk along edges, space selects${blocks}, + − zoom, 0 whole graph, / searches, Esc clears the selection.`;
  }

  // -- pointer --

  spot(event) {
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    return { px, py, x: this.at.x + px / this.zoom, y: this.at.y + py / this.zoom };
  }

  /** What is under the pointer: a box, else the title of an open block. */
  hit({ x, y }) {
    const grow = this.zoom < 0.2 ? 2 / this.zoom : 2;
    const inside = (box, height = box.h) => x >= box.x - grow && x <= box.x + box.w + grow && y >= box.y - grow && y <= box.y + height + grow;
    return this.drawn.boxes.find((box) => inside(box)) ?? this.drawn.frames.findLast((frame) => inside(frame, this.data.sizes.head)) ?? null;
  }

  onSign(box, { x, y }) {
    return box.kind === BLOCK && this.zoom >= OPS_AT && x <= box.x + 28 && y <= box.y + 26;
  }

  press(event) {
    if (event.button) return;
    this.plot.setPointerCapture(event.pointerId);
    this.drag = { x: event.clientX, y: event.clientY, at: this.at, moved: false };
  }

  pointer(event) {
    if (this.drag) {
      const [dx, dy] = [event.clientX - this.drag.x, event.clientY - this.drag.y];
      this.drag.moved ||= abs(dx) > SLACK || abs(dy) > SLACK;
      if (this.drag.moved) {
        this.at = { x: this.drag.at.x - dx / this.zoom, y: this.drag.at.y - dy / this.zoom };
        this.card.hidden = true;
        this.plot.classList.add("ep-dragging");
        return this.moved();
      }
    }
    const spot = this.spot(event);
    const hit = this.hit(spot);
    this.plot.classList.toggle("ep-pointing", Boolean(hit));
    if (hit !== this.hover) {
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

  release(event) {
    const { drag } = this;
    this.drag = null;
    this.plot.classList.remove("ep-dragging");
    if (!drag || drag.moved || event.button) return;
    const spot = this.spot(event);
    const hit = this.hit(spot);
    const add = event.ctrlKey || event.metaKey || event.shiftKey;
    if (!hit) return;
    this.active = this.keyOf(hit);
    if (this.onSign(hit, spot)) return this.toggle(hit.ref);
    this.pick(this.rowsOf(hit), add);
    this.speak();
  }

  doubleClick(event) {
    const spot = this.spot(event);
    const hit = this.hit(spot);
    if (!hit) this.fitAll();
    else if (hit.kind === BLOCK && !this.onSign(hit, spot)) this.toggle(hit.ref);
  }

  wheel(event) {
    if (document.activeElement !== this.plot && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const unit = [1, 16, 400][event.deltaMode];
    const { px, py } = this.spot(event);
    if (event.shiftKey || abs(event.deltaX) > abs(event.deltaY)) {
      this.at = { ...this.at, x: this.at.x + ((event.deltaX || event.deltaY) * unit) / this.zoom };
      this.moved();
    } else this.zoomBy(Math.exp(-max(-240, min(240, event.deltaY * unit)) * 0.0022), px, py);
    this.pointer(event);
  }

  fillCard() {
    const box = this.hover;
    this.card.hidden = !box;
    if (!box) return;
    const [title, facts] = this.facts(box);
    const list = h("dl", {});
    for (const [name, text] of facts) list.append(h("dt", {}, name), h("dd", { class: name === this.column?.title ? "ep-strong" : null }, text));
    this.card.replaceChildren(h("div", { class: "ep-card-title" }, title), list);
  }

  facts(box) {
    if (box.kind === BLOCK) return this.blockFacts(box);
    if (box.kind !== NODE) {
      const end = this.endOf(box);
      return [end.name, [["Is", box.kind === INPUT ? "input of the model" : "output of the model"], ["Shape", end.shape || MISSING]]];
    }
    return [this.data.nodes[box.ref], this.nodeFacts(box.ref)];
  }

  nodeFacts(node) {
    const rows = this.layersOf(node);
    const facts = [["Op type", this.text("node_op_type", node)]];
    if (this.text("node_shape", node)) facts.push(["Output", this.text("node_shape", node)]);
    if (this.text("node_fate", node)) facts.push(["Fate", this.text("node_fate", node)]);
    for (const row of rows) {
      const others = this.nodesOf[row].length - 1;
      facts.push(["Runs in", `${this.data.names[row]}${others ? ` (one layer with ${others} other node${others > 1 ? "s" : ""})` : ""}`]);
    }
    if (rows.length) facts.push(...this.layerFacts(rows[0], node));
    return facts;
  }

  layerFacts(row, node) {
    const facts = [];
    const own = this.text("layer_op_type", row);
    if (own && own !== this.text("node_op_type", node)) facts.push(["Layer's op type", own]);
    for (const [name, title] of [["layer_provider", "Provider"], ["layer_precision", "Precision"]]) if (this.text(name, row)) facts.push([title, this.text(name, row)]);
    const none = [];
    for (const column of this.cardColumns) {
      const value = this.data.arrays[column.name][row];
      const [low, high] = column.interval.map((name) => this.data.arrays[name]?.[row]);
      if (known(value)) facts.push([column.title, showInterval(value, low, high, column.format, column.unit)]);
      else none.push(column.title);
    }
    if (this.data.estimated) facts.push(["Origin", "estimated, not measured"]);
    if (none.length) facts.push(["Not measured", none.join(", ")]);
    return facts;
  }

  /** Columns that the hover card tells: the chief ones, and what colours the graph. */
  get cardColumns() {
    return this.data.columns.filter(({ name }) => IN_CARD.has(name) || name === this.options.metric);
  }

  blockFacts(box) {
    const block = this.data.blocks[box.ref];
    const facts = [["Holds", `${grouped(block.nodes)} nodes in ${grouped(block.layers)} layers`]];
    if (block.head >= 0) facts.unshift(["Op type", this.text("node_op_type", block.head)]);
    for (const column of this.cardColumns) {
      const value = this.valueOf(box, column.name);
      const missing = this.rowsOf(box).filter((row) => !known(this.data.arrays[column.name][row])).length;
      const of = `${column.how === "sum" ? "sum" : "largest"}${missing ? `; ${missing} of ${block.layers} layers not measured` : ""}`;
      if (known(value)) facts.push([column.title, `${show(value, column.format, column.unit)} (${of})`]);
    }
    if (this.data.estimated) facts.push(["Origin", "estimated, not measured"]);
    facts.push(["Enter", box.open ? "folds it" : "opens it"]);
    return [block.head >= 0 ? this.data.nodes[block.head] : block.name, facts];
  }

  // -- selection --

  /** Layers of a box; of a block those of all nodes inside. */
  rowsOf(box) {
    if (box.kind === NODE) return this.layersOf(box.ref);
    if (box.kind !== BLOCK) return [];
    this.insideOf ??= this.findInside();
    return this.insideOf[box.ref];
  }

  findInside() {
    const inside = this.data.blocks.map(() => new Set());
    for (let node = 0; node < this.nodes; node++) {
      const numbers = this.around(this.homes[node]);
      if (this.headOf.has(node)) numbers.push(this.headOf.get(node));
      for (const number of numbers) for (const row of this.layersOf(node)) inside[number].add(row);
    }
    return inside.map((rows) => [...rows].sort((a, b) => a - b));
  }

  chosenIn(number) {
    return this.selected.size ? this.rowsOf({ kind: BLOCK, ref: number }).filter((row) => this.selected.has(row)).length : 0;
  }

  /** Whether a box is selected: false, true, or "some" of a block. */
  isChosen(box) {
    if (!this.selected.size) return false;
    const rows = this.rowsOf(box);
    const count = rows.filter((row) => this.selected.has(row)).length;
    return count === 0 ? false : box.kind === BLOCK && count < rows.length ? "some" : true;
  }

  /** A person selects layers: instead of the selection, or added to it; what is selected already is taken away. */
  pick(rows, add) {
    if (!rows.length) return;
    const had = rows.every((row) => this.selected.has(row)) && (add || this.selected.size === rows.length);
    if (!add) this.selected.clear();
    for (const row of rows) had ? this.selected.delete(row) : this.selected.add(row);
    this.tell();
  }

  tell() {
    this.stripPicture = null;
    this.drawHint();
    this.redraw();
    this.options.onSelect?.(this.selection());
  }

  /** Selects these layers (from outside) and brings the first into the window. */
  select(names) {
    const rows = names.map((name) => this.rowOf.get(name)).filter((row) => row !== undefined);
    if (rows.length === this.selected.size && rows.every((row) => this.selected.has(row))) return;
    this.selected = new Set(rows);
    this.stripPicture = null;
    const first = rows.find((row) => this.nodesOf[row].length);
    if (first !== undefined) {
      this.active = this.shownKey(this.nodesOf[first][0]);
      this.reveal(this.places.get(this.active));
    }
    this.drawHint();
    this.redraw();
  }

  // -- keyboard --

  key(event) {
    const box = this.places.get(this.active);
    const moves = { ArrowDown: "down", ArrowUp: "up", ArrowLeft: "left", ArrowRight: "right", Home: "first", End: "last" };
    if (moves[event.key]) this.walk(moves[event.key], box, event.shiftKey);
    else if (event.key === " ") box && this.pick(this.rowsOf(box), event.ctrlKey || event.metaKey || event.shiftKey);
    else if (event.key === "Enter") box?.kind === BLOCK && this.toggle(box.ref);
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.4);
    else if (event.key === "-") this.zoomBy(1 / 1.4);
    else if (event.key === "0") this.fitAll();
    else if (event.key === "Escape") (this.selected.clear(), this.tell());
    else if (event.key === "/") this.search.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.speak();
    this.redraw();
  }

  /** Up and down along edges, to the straightest; left and right to the next box at that height. */
  walk(way, box, add) {
    const { boxes } = this.drawn;
    const middle = (b) => b.x + b.w / 2;
    const nearest = (some, cost) => some.reduce((best, b) => (!best || cost(b) < cost(best) ? b : best), null);
    let next = null;
    if (!box || way === "first") next = nearest(boxes, (b) => b.y);
    else if (way === "last") next = nearest(boxes, (b) => -b.y);
    else if (way === "up" || way === "down") {
      const inside = box.open && way === "down" ? boxes.filter((b) => b.y > box.y && b.y < box.y + box.h && b.x > box.x && b.x < box.x + box.w) : [];
      const ends = [...(this.links.get(this.active)?.[way] ?? [])].map((key) => this.places.get(key));
      next = inside.length ? nearest(inside, (b) => b.y) : nearest(ends, (b) => abs(middle(b) - middle(box)) + abs(b.y - box.y) / 1000);
    } else {
      const sign = way === "right" ? 1 : -1;
      const beside = boxes.filter((b) => b !== box && sign * (middle(b) - middle(box)) > 1 && b.y < box.y + box.h && b.y + b.h > box.y);
      next = nearest(beside, (b) => abs(middle(b) - middle(box)));
    }
    if (!next) return;
    this.active = this.keyOf(next);
    this.reveal(next);
    if (add) {
      for (const row of this.rowsOf(next)) this.selected.add(row);
      this.tell();
    }
  }

  /** Says the current box to a screen reader. */
  speak() {
    const box = this.places.get(this.active);
    if (!box) return;
    const chosen = this.isChosen(box) ? ", selected" : "";
    const value = this.column && box.kind <= BLOCK ? `${this.column.title} ${show(this.valueOf(box), this.column.format, this.column.unit).replace(MISSING, "not measured")}` : "";
    if (box.kind === BLOCK) {
      const block = this.data.blocks[box.ref];
      this.live.textContent = visible(`Block ${block.title}, ${block.nodes} nodes, ${box.open ? "open" : "folded"}, ${value}${chosen}`);
    } else if (box.kind === NODE) {
      const fate = this.text("node_fate", box.ref);
      this.live.textContent = visible(`${this.text("node_op_type", box.ref)}, ${this.data.nodes[box.ref]}, ${fate || value}${chosen}`);
    } else this.live.textContent = visible(`${box.kind === INPUT ? "Input" : "Output"} ${this.endOf(box).name}`);
  }

  // -- search --

  filter(text) {
    this.query = text.trim().toLowerCase();
    this.regex = null;
    this.search.removeAttribute("aria-invalid");
    if (/^\/.+\/$/.test(text.trim())) {
      try {
        this.regex = new RegExp(text.trim().slice(1, -1), "i");
      } catch {
        this.search.setAttribute("aria-invalid", "true");
        this.query = "";
      }
    }
    this.look();
    const first = this.hits[0];
    if (this.query && first !== undefined) this.reveal(this.places.get(this.shownKey(first)));
    this.stripPicture = null;
    this.redraw();
  }

  /** Finds what matches the search: `hits` are nodes, `found` what stands for them. */
  look() {
    this.hits = [];
    const texts = this.regex ? (t) => this.regex.test(t) : (t) => t.toLowerCase().includes(this.query);
    for (let node = 0; this.query && node < this.nodes; node++) if (texts(this.data.nodes[node]) || texts(this.text("node_op_type", node))) this.hits.push(node);
    this.found = new Set(this.hits.map((node) => this.shownKey(node)));
    this.count.textContent = this.query ? `${grouped(this.hits.length)} of ${grouped(this.nodes)}` : `${grouped(this.nodes)} nodes`;
  }

  searchKey(event) {
    event.stopPropagation();
    if (event.key === "Escape") {
      this.search.value = "";
      this.filter("");
    }
    if (event.key === "Enter" && this.hits.length) {
      const keys = [...this.found];
      this.active = keys[(keys.indexOf(this.active) + 1) % keys.length];
      this.reveal(this.places.get(this.active));
      this.speak();
    }
    if (["Enter", "ArrowDown", "Escape"].includes(event.key)) this.plot.focus({ preventScroll: true });
  }

  // -- outside: theme, options --

  applyTheme() {
    super.applyTheme();
    this.lut = ramp(this.theme.sequential);
    const style = getComputedStyle(this.element);
    this.raised = style.getPropertyValue("--ep-raised").trim();
    this.face = style.fontFamily;
    this.estimated = hatching(this.canvas.getContext("2d"), this.colors.surface, 5);
    this.stripPicture = null;
  }

  recolor() {
    this.stripPicture = null;
    this.controls();
    this.drawLegend();
    this.fillCard();
    this.redraw();
  }

  /** Changes options from outside; onChange is not called for them. */
  set(values) {
    this.guard(() => {
      const { data, selection, ...rest } = values;
      const old = this.data.nodes;
      const kept = data && !selection ? this.selection() : selection;
      Object.assign(this.options, rest);
      if (data) {
        this.load(data);
        this.insideOf = null;
        this.selected.clear();
        if (old.length !== this.data.nodes.length || old.some((name, i) => name !== this.data.nodes[i])) {
          [this.zoom, this.active] = [0, null]; // another model
          this.fold((this.options.collapsed = rest.collapsed ?? this.data.collapsed));
        }
        this.build();
      } else if (rest.collapsed) this.fold(rest.collapsed);
      if (!this.data.columns.some((column) => column.name === this.options.metric)) this.options.metric = this.data.metric;
      this.applyTheme();
      this.arrange();
      if (kept) this.select(kept);
    })();
  }
}
