/**
 * What charts of points share: marks, two axes, zoom, hover card, selection, keyboard, names that cover nothing. Stands before pareto.js
 * and roofline.js and after base.js and axes.js, in one scope.
 */

const PAN = 4; // px that make a click a drag
const REACH = 5; // px around a point that still hit it
const SMALLEST_WINDOW = 1 / 400; // of an axis, when zoomed in
const LINE = 14; // height of a name
let chartsOfPoints = 0;

// ---- marks ----

const ANGLES = { "triangle-up": [3, -90], "triangle-down": [3, 90], diamond: [4, -90], pentagon: [5, -90], hexagon: [6, -90] };

/** The outline of a mark around (x, y), so that all shapes of one `r` look equally large. */
function markPath(c, shape, x, y, r) {
  c.beginPath();
  if (shape === "square") return c.rect(x - 0.86 * r, y - 0.86 * r, 1.72 * r, 1.72 * r);
  const points = markCorners(shape, r);
  if (!points) return c.arc(x, y, r, 0, 7);
  points.forEach(([a, b], i) => (i ? c.lineTo(x + a, y + b) : c.moveTo(x + a, y + b)));
  c.closePath();
}

function markCorners(shape, r) {
  const turn = (n, from, far) => Array.from({ length: n }, (_, i) => {
    const angle = ((from + (360 * i) / n) * Math.PI) / 180;
    return [far(i) * Math.cos(angle), far(i) * Math.sin(angle)];
  });
  if (ANGLES[shape]) return turn(...ANGLES[shape], () => (ANGLES[shape][0] === 3 ? 1.3 : 1.14) * r);
  if (shape === "star") return turn(10, -90, (i) => (i % 2 ? 0.55 : 1.3) * r);
  if (shape === "hourglass") return [[-r, -r], [r, -r], [-r, r], [r, r]];
  if (shape === "bowtie") return [[-r, -r], [r, r], [r, -r], [-r, r]];
  if (shape !== "cross" && shape !== "x") return null;
  const [t, l] = [0.42 * r, 1.15 * r];
  const cross = [[-t, -l], [t, -l], [t, -t], [l, -t], [l, t], [t, t], [t, l], [-t, l], [-t, t], [-l, t], [-l, -t], [-t, -t]];
  return shape === "cross" ? cross : cross.map(([a, b]) => [0.71 * (a - b), 0.71 * (a + b)]);
}

/** A mark: filled, or hollow for what no board ran. */
function drawMark(c, { shape, hollow }, x, y, r, color, ground) {
  markPath(c, shape, x, y, r);
  c.fillStyle = hollow ? ground : color;
  c.strokeStyle = hollow ? color : ground;
  c.lineWidth = hollow ? 1.8 : 1;
  c.fill();
  c.stroke();
}

// ---- names ----

const meets = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/**
 * Where each of `names` [{x, y, widths, gap, must}] covers no obstacle and no name before it (figures/placing.py does it for pictures).
 * @returns for each {left, top, right, bottom, far, size: which of its widths} or null; what `must` stand somewhere may stand farther off
 */
function placeNames(names, obstacles, box, betterNot = []) {
  const taken = [...obstacles];
  const hits = (one, others) => others.reduce((sum, other) => sum + meets(one, other), 0);
  const least = (places, cost) => places.map((one) => [cost(one), one]).sort((a, b) => a[0] - b[0])[0]?.[1] ?? null;
  return names.map((name) => {
    const inside = name.widths.flatMap((width, size) => placesOf(name, width, size)).filter((one) => within(one, box));
    const free = inside.filter((one) => !taken.some((other) => meets(one, other)));
    let best = least(free, (one) => one.far + 30 * one.size + 10 * hits(one, betterNot));
    if (!best && name.must) best = least(inside, (one) => hits(one, taken));
    if (best) taken.push(best);
    return best;
  });
}

const AROUND = [[1, -1], [-1, -1], [1, 1], [-1, 1], [1, 0], [-1, 0], [0, -1], [0, 1]];

function placesOf({ x, y, gap, must }, width, size) {
  return (must ? [0, 26, 52, 90, 140] : [0]).flatMap((far) =>
    AROUND.filter(([across, down]) => !far || (across && down)).map(([across, down]) => {
      const away = far || (across && down ? gap * 0.8 : gap + 2);
      const left = x + across * away - (across < 0 ? width : across ? 0 : width / 2);
      const top = y + down * away - (down < 0 ? LINE : down ? 0 : LINE / 2);
      return { left, top, right: left + width, bottom: top + LINE, far, across, size };
    }),
  );
}

const within = (one, box) => one.left >= box.left && one.right <= box.right && one.top >= box.top && one.bottom <= box.bottom;

// ---- the chart ----

/**
 * A chart of points. The view sets `items` [{key, x, y, r, shape, hollow, color}] in the order in which they are drawn, x and y in the units
 * of `axes` [{low, high, log, title}, ...] (powers of ten when log), and has `facts(item)`, `drawBelow(c)`, `drawNames(c)`, `keys` and `enter(item)`.
 */
class PointsView extends View {
  constructor(el, name, options) {
    super(el, name, { height: 0, ...options });
    this.id = `${name}-${(chartsOfPoints += 1)}`;
    this.selected = new Set(); // keys
    this.window = [[0, 1], [0, 1]]; // parts of the axes that are shown
    this.items = [];
    this.hover = this.active = this.drag = this.plan = this.picture = null;
  }

  // -- frame --

  buildChart() {
    const on = (fn) => this.guard(fn);
    this.chart = h("div", { class: "ep-points", role: "listbox", tabindex: 0, "aria-multiselectable": "true", "data-lm-suppress-shortcuts": "true" });
    this.canvas = h("canvas", { class: "ep-plot", role: "presentation" });
    this.voice = h("div", { id: `${this.id}-point`, class: "ep-voice", role: "option" });
    this.chart.append(this.voice, this.canvas);
    this.card = h("div", { class: "ep-card", hidden: true, "aria-hidden": "true" });
    this.empty = h("div", { class: "ep-empty", hidden: true });
    this.live = h("div", { class: "ep-voice", "aria-live": "polite" });
    this.legend = h("div", { class: "ep-legend ep-marks" });
    this.notes = h("ul", { class: "ep-lines" });
    this.reset = h("button", { type: "button", class: "ep-reset", hidden: true, onclick: on(() => this.zoomAll()) }, "Show all (0)");
    this.chart.append(this.reset);

    this.canvas.addEventListener("pointerdown", on((e) => this.press(e)));
    this.canvas.addEventListener("pointermove", on((e) => this.pointer(e)));
    this.canvas.addEventListener("pointerup", on((e) => this.release(e)));
    this.canvas.addEventListener("pointercancel", on(() => ((this.drag = null), this.redraw())));
    this.canvas.addEventListener("pointerleave", on(() => this.unhover()));
    this.canvas.addEventListener("click", on((e) => this.click(e)));
    this.canvas.addEventListener("dblclick", on((e) => this.doubleClick(e)));
    this.canvas.addEventListener("wheel", on((e) => this.wheel(e)), { passive: false });
    this.chart.addEventListener("keydown", on((e) => this.key(e)));
    this.chart.addEventListener("focus", on(() => (this.speak(), this.redraw())));
    this.chart.addEventListener("blur", on(() => (this.unhover(), this.redraw())));
  }

  putHeader(told) {
    const head = this.header(told);
    this.head.replaceWith(head);
    this.head = head;
  }

  /** New points or axes: what is active or hovered is looked up again by its key. */
  arrange() {
    const again = (old) => (old ? (this.items.find((item) => item.key === old.key) ?? null) : null);
    this.active = again(this.active);
    this.hover = again(this.hover);
    const nothing = !this.axes?.length || !this.items.length;
    this.empty.textContent = nothing ? this.emptyText : "";
    this.empty.hidden = !nothing;
    this.chart.hidden = this.legend.hidden = nothing;
    this.chart.setAttribute("aria-label", `${this.data.title}: ${this.items.length} points`);
    this.resize();
    this.drawLegend();
    if (this.hover) this.fillCard();
    else this.card.hidden = true;
  }

  // -- where things lie --

  resize() {
    const width = this.chart.clientWidth;
    if (this.chart.hidden || !width) return;
    if (!this.colors.ink) this.applyTheme(); // a notebook makes the view before it puts it into the page
    const height = this.options.height || round(min(460, max(300, width * 0.5)));
    fit(this.canvas, width, height);
    this.plan = { width, height };
    this.locate();
  }

  /** Scales, ticks and the places of all points in this window. */
  locate() {
    if (!this.plan || !this.axes?.length) return;
    const { width, height } = this.plan;
    const [top, right, bottom] = [14, 18, 48];
    const c = pen(this.canvas);
    const y = this.scale(1, [height - bottom, top]);
    const yTicks = ticksOf(y, "left", numbersOf(y, "left"));
    c.font = this.colors.small;
    const left = ceil(30 + yTicks.reduce((most, tick) => max(most, c.measureText(tick.text).width), 0));
    const x = this.scale(0, [left, width - right]);
    const xTicks = ticksOf(x, "bottom", numbersOf(x, "bottom"));
    this.plan = { width, height, x, y, xTicks, yTicks, box: { left, top, width: width - right - left, height: height - bottom - top } };
    for (const item of this.items) {
      item.px = this.at(0, item.x);
      item.py = this.at(1, item.y);
    }
    this.order = [0, 1].map((axis) => {
      const by = axis ? (a, b) => b.py - a.py || a.px - b.px : (a, b) => a.px - b.px || b.py - a.py;
      return this.items.map((item, i) => [item, i]).sort(([a, i], [b, j]) => by(a, b) || i - j).map(([item]) => item);
    });
    this.reset.hidden = !this.zoomed;
    this.repaint();
  }

  scale(axis, range) {
    const { low, high, log } = this.axes[axis];
    const ends = this.window[axis].map((part) => low + (high - low) * part);
    return log ? d3.scaleLog(ends.map((end) => 10 ** end), range) : d3.scaleLinear(ends, range);
  }

  /** Pixel of a number on an axis; far away where it has no place. */
  at(axis, value) {
    if (this.axes[axis].log && value <= 0) return axis ? 1e5 : -1e5;
    return min(1e5, max(-1e5, (axis ? this.plan.y : this.plan.x)(value)));
  }

  inside(item, room = 0) {
    const { left, top, width, height } = this.plan.box;
    return item.px >= left - room && item.px <= left + width + room && item.py >= top - room && item.py <= top + height + room;
  }

  /** The point under the pointer, the nearest where several are, and how many others lie in the same place. */
  hit(x, y) {
    let found = null;
    let least = Infinity;
    for (const item of this.items) {
      const away = Math.hypot(item.px - x, item.py - y);
      if (away > item.r + REACH || away > least || !this.inside(item, 1)) continue;
      [found, least] = [item, away]; // of equals the one drawn last
    }
    return found;
  }

  // -- zoom --

  get zoomed() {
    return this.window.some(([a, b]) => b - a < 1);
  }

  zoomAll() {
    this.show([[0, 1], [0, 1]]);
  }

  show(window) {
    this.window = window.map(([a, b]) => {
      const size = min(1, max(SMALLEST_WINDOW, b - a));
      const start = min(1 - size, max(0, (a + b - size) / 2));
      return [start, start + size];
    });
    this.unhover();
    this.locate();
  }

  /** Shows `factor` times as much around the parts (u, v) of the axes, which stay where they are. */
  zoom(factor, u, v) {
    this.show(this.window.map(([a, b], axis) => {
      const size = min(1, max(SMALLEST_WINDOW, (b - a) * factor));
      const part = ((axis ? v : u) - a) / (b - a);
      return [(axis ? v : u) - part * size, (axis ? v : u) + (1 - part) * size];
    }));
  }

  /** Parts of the axes at a place in pixels. */
  parts(x, y) {
    const { left, top, width, height } = this.plan.box;
    const [[a, b], [c, d]] = this.window;
    return [a + (min(1, max(0, (x - left) / width)) * (b - a)), c + (min(1, max(0, 1 - (y - top) / height)) * (d - c))];
  }

  /** The wheel zooms once the chart has the focus, or with Ctrl; else the page scrolls. */
  wheel(event) {
    if (!(event.ctrlKey || event.metaKey || document.activeElement === this.chart)) return;
    if (event.deltaY > 0 && !this.zoomed) return;
    this.zoom(1.0015 ** event.deltaY, ...this.parts(...this.spot(event)));
    event.preventDefault();
  }

  reveal(item) {
    if (this.inside(item)) return;
    const { low, high, log } = this.axes[0];
    const part = (value, axis) => ((axis.log ? Math.log10(value) : value) - axis.low) / (axis.high - axis.low);
    const middle = [part(item.x, { low, high, log }), part(item.y, this.axes[1])];
    this.show(this.window.map(([a, b], axis) => [middle[axis] - (b - a) / 2, middle[axis] + (b - a) / 2]));
  }

  // -- pointer --

  spot(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    if (event.button !== 0 || !this.plan) return;
    const [x, y] = this.spot(event);
    this.drag = { x, y, to: [x, y], window: this.window, box: event.shiftKey, moved: false };
    this.dragged = false;
  }

  pointer(event) {
    if (!this.plan) return;
    const [x, y] = this.spot(event);
    if (this.drag) return this.dragTo(event, x, y);
    const found = this.hit(x, y);
    this.canvas.style.cursor = found ? "pointer" : "";
    if (found !== this.hover) {
      this.hover = found;
      this.fillCard();
      this.redraw();
    }
    this.moveCard(event);
  }

  dragTo(event, x, y) {
    const { drag } = this;
    if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < PAN) return;
    if (!drag.moved) this.canvas.setPointerCapture(event.pointerId);
    drag.moved = this.dragged = true;
    this.hover = null;
    this.card.hidden = true;
    drag.to = [x, y];
    if (drag.box) return this.redraw();
    if (!this.zoomed) return;
    const { width, height } = this.plan.box;
    const by = [(drag.x - x) / width, (y - drag.y) / height];
    this.show(drag.window.map(([a, b], axis) => [a + by[axis] * (b - a), b + by[axis] * (b - a)]));
  }

  release(event) {
    const { drag } = this;
    this.drag = null;
    if (drag?.box && drag.moved) {
      const [left, right] = [drag.x, drag.to[0]].sort((a, b) => a - b);
      const [top, bottom] = [drag.y, drag.to[1]].sort((a, b) => a - b);
      const found = this.items.filter((item) => this.inside(item) && item.px >= left && item.px <= right && item.py >= top && item.py <= bottom);
      this.pick(found, event.ctrlKey || event.metaKey);
    }
    this.redraw();
  }

  click(event) {
    if (this.dragged) return (this.dragged = false);
    const item = this.hit(...this.spot(event));
    this.chart.focus({ preventScroll: true });
    if (!item) return;
    this.active = item;
    if (event.detail < 2) this.pick([item], event.ctrlKey || event.metaKey || event.shiftKey, true);
    this.speak();
  }

  doubleClick(event) {
    const item = this.hit(...this.spot(event));
    if (!item) return this.zoomAll();
    if (!this.selected.has(item.key)) this.pick([item], false); // its first click may have taken it out
    this.enter?.(item);
  }

  unhover() {
    this.hover = null;
    this.card.hidden = true;
    this.redraw();
  }

  fillCard() {
    const item = this.hover;
    this.card.hidden = !item;
    if (!item) return;
    const list = h("dl", {});
    for (const [name, text, note] of this.facts(item)) {
      const cell = h("dd", {}, h("span", {}, text));
      if (note) cell.append(" ", h("em", {}, note));
      list.append(h("dt", {}, name), cell);
    }
    const others = this.items.filter((other) => other !== item && Math.hypot(other.px - item.px, other.py - item.py) < 2).length;
    const more = others ? [h("p", {}, `${grouped(others)} more ${others > 1 ? "lie" : "lies"} here: arrow keys reach ${others > 1 ? "them" : "it"}`)] : [];
    this.card.replaceChildren(h("div", { class: "ep-card-title" }, this.title(item)), list, ...more);
  }

  // -- selection --

  pick(items, add, toggle = false) {
    const keys = items.map((item) => item.key);
    const had = keys.length > 0 && keys.every((key) => this.selected.has(key)) && (add || this.selected.size === keys.length);
    if (!add) this.selected.clear();
    for (const key of keys) {
      if (toggle && had) this.selected.delete(key);
      else this.selected.add(key);
    }
    this.tell();
  }

  tell() {
    this.selectionChanged?.();
    this.repaint();
    this.options.onSelect?.(this.selection());
  }

  /** Keys of what is selected, in the order of the data. */
  selection() {
    return this.keys.filter((key) => this.selected.has(key));
  }

  /** Selects these (from outside); what is not here is left out. */
  select(keys) {
    const here = new Set(this.keys);
    this.selected = new Set(keys.filter((key) => here.has(key)));
    this.selectionChanged?.();
    this.repaint();
  }

  // -- keyboard and voice --

  key(event) {
    if (event.target !== this.chart || !this.items.length || !this.plan) return;
    const add = event.ctrlKey || event.metaKey || event.shiftKey;
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 1], ArrowDown: [1, -1], Home: [0, -1e9], End: [0, 1e9] };
    const parts = (axis) => (this.window[axis][0] + this.window[axis][1]) / 2;
    if (steps[event.key]) this.step(...steps[event.key]);
    else if (event.key === " ") this.active && this.pick([this.active], add, true);
    else if (event.key === "Enter") this.active && (this.enter ? this.enter(this.active) : this.pick([this.active], add, true));
    else if (event.key === "Escape") {
      this.selected.clear();
      this.unhover();
      this.tell();
    } else if (event.key === "+" || event.key === "=") this.zoom(0.7, parts(0), parts(1));
    else if (event.key === "-") this.zoom(1 / 0.7, parts(0), parts(1));
    else if (event.key === "0") this.zoomAll();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.speak();
    this.redraw();
  }

  /** To the next point along an axis, with its card. */
  step(axis, by) {
    const order = this.order[axis];
    const at = order.indexOf(this.active);
    const to = at < 0 ? (by > 0 ? 0 : order.length - 1) : min(order.length - 1, max(0, at + by));
    this.active = order[abs(by) > 1 ? (by > 0 ? order.length - 1 : 0) : to];
    this.reveal(this.active);
    this.hover = this.active;
    this.fillCard();
    const box = this.canvas.getBoundingClientRect();
    this.moveCard({ clientX: box.left + this.active.px, clientY: box.top + this.active.py });
  }

  /** Says what is active to a screen reader. */
  speak() {
    const item = this.active;
    if (!item) return;
    const facts = this.facts(item).map(([name, text]) => `${name} ${text.replace(MISSING, "not known")}`.trim());
    const chosen = this.selected.has(item.key);
    this.voice.textContent = `${visible(this.title(item))}, ${facts.map(visible).join(", ")}${chosen ? ", selected" : ""}`;
    this.live.textContent = this.voice.textContent;
    this.voice.setAttribute("aria-selected", String(chosen));
    this.voice.setAttribute("aria-posinset", this.order[0].indexOf(item) + 1);
    this.voice.setAttribute("aria-setsize", this.items.length);
    this.chart.setAttribute("aria-activedescendant", this.voice.id);
  }

  // -- drawing: a picture of all that a pointer does not change, and above it what it does --

  recolor() {
    this.drawLegend();
    this.repaint();
  }

  repaint() {
    this.picture = null;
    this.redraw();
  }

  draw() {
    if (!this.plan?.box || this.chart.hidden) return;
    const { width, height } = this.plan;
    this.picture ??= this.paint();
    const c = pen(this.canvas);
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    c.drawImage(this.picture, 0, 0);
    const ratio = this.canvas.width / width;
    c.setTransform(ratio, 0, 0, this.canvas.height / height, 0, 0);
    this.clipped(c, () => {
      if (this.hover) this.drawHover(c, this.hover);
      if (this.active && document.activeElement === this.chart) this.drawRing(c, this.active, this.colors.ink, 5, [3, 2]);
    });
    if (this.drag?.box && this.drag.moved) this.drawBand(c);
  }

  paint() {
    const { width, height, xTicks, yTicks, box } = this.plan;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [this.canvas.width, this.canvas.height];
    const c = pen(canvas);
    c.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
    drawAxis(c, this.colors, "bottom", xTicks, this.axes[0].title, box);
    drawAxis(c, this.colors, "left", yTicks, this.axes[1].title, box);
    this.clipped(c, () => {
      this.drawBelow(c);
      for (const item of this.items) if (this.inside(item, 40)) this.drawItem(c, item);
      for (const item of this.items) if (this.selected.has(item.key) && this.inside(item, 40)) this.drawSelected(c, item);
      this.drawAbove?.(c);
      this.drawNames(c);
    });
    return canvas;
  }

  /** Runs `paint` with everything beyond the plot cut off. */
  clipped(c, paint) {
    const { left, top, width, height } = this.plan.box;
    c.save();
    c.beginPath();
    c.rect(left - 1, top - 8, width + 10, height + 9);
    c.clip();
    paint();
    c.restore();
  }

  drawItem(c, item) {
    c.globalAlpha = item.alpha ?? 1;
    drawMark(c, item, item.px, item.py, item.r, this.color(item), this.colors.surface);
    c.globalAlpha = 1;
  }

  drawSelected(c, item) {
    this.drawItem(c, item);
    this.drawRing(c, item, this.colors.accent, 3, [], 2.5);
  }

  drawHover(c, item) {
    this.drawRing(c, item, this.colors.ink, 2.5, []);
  }

  drawRing(c, item, color, away, dash, width = 1.5) {
    c.beginPath();
    c.arc(item.px, item.py, item.r + away, 0, 7);
    c.strokeStyle = color;
    c.lineWidth = width;
    c.setLineDash(dash);
    c.stroke();
    c.setLineDash([]);
  }

  drawBand(c) {
    const { x, y, to } = this.drag;
    c.fillStyle = this.colors.selected;
    c.strokeStyle = this.colors.accent;
    c.lineWidth = 1;
    c.fillRect(x, y, to[0] - x, to[1] - y);
    c.strokeRect(x + 0.5, y + 0.5, to[0] - x, to[1] - y);
  }

  /** Names [{item, text, before, color, bold, must}] beside their points, where they cover neither points nor each other. */
  writeNames(c, names, { obstacles = [], betterNot = [] } = {}) {
    const { left, top, width, height } = this.plan.box;
    const shown = names.filter(({ item }) => this.inside(item));
    const boxes = this.items.filter((item) => this.inside(item, 20)).map(({ px, py, r }) => ({ left: px - r, right: px + r, top: py - r, bottom: py + r }));
    const set = (one) => (c.font = `${one.bold ? "600 " : ""}${this.colors.small}`);
    const wishes = shown.map((one) => {
      set(one);
      const before = one.before ? `${one.before}: ` : "";
      one.cuts = [min(220, width * 0.42), 96].map((room) => before + this.cut(c, one.text, max(60, room - c.measureText(before).width)));
      const widths = [...new Set(one.cuts)].map((text) => c.measureText(text).width + 2);
      return { x: one.item.px, y: one.item.py, widths, gap: one.item.r + (one.bold ? 6 : 3), must: one.must };
    });
    const found = placeNames(wishes, [...boxes, ...obstacles], { left: left + 2, top: top - 6, right: left + width, bottom: top + height - 2 }, betterNot);
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.lineJoin = "round";
    found.forEach((place, i) => {
      if (!place) return;
      const one = shown[i];
      set(one);
      if (place.far) this.lead(c, one, place);
      c.strokeStyle = this.colors.surface;
      c.lineWidth = 3;
      c.strokeText(one.cuts[place.size], place.left + 1, place.top + LINE / 2);
      c.fillStyle = one.color;
      c.fillText(one.cuts[place.size], place.left + 1, place.top + LINE / 2);
    });
    return found;
  }

  /** A line from a point to its name that stands farther off. */
  lead(c, { item, color }, place) {
    const to = [place.across > 0 ? place.left - 1 : place.right + 1, place.top < item.py ? place.bottom - 3 : place.top + 3];
    const away = Math.hypot(to[0] - item.px, to[1] - item.py) || 1;
    const from = [item.px + ((to[0] - item.px) * (item.r + 4)) / away, item.py + ((to[1] - item.py) * (item.r + 4)) / away];
    c.beginPath();
    c.moveTo(...from);
    c.lineTo(...to);
    c.strokeStyle = color;
    c.lineWidth = 1;
    c.stroke();
  }

  /** A key of the legend with its mark, which `paint(c)` draws around the middle of 18 x 14 px. */
  legendItem(text, paint) {
    const canvas = h("canvas", { "aria-hidden": "true" });
    fit(canvas, 18, 14);
    const c = canvas.getContext("2d");
    const ratio = canvas.width / 18;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint(c);
    return h("span", { class: "ep-item" }, canvas, text);
  }

  tellLines(lines) {
    this.notes.replaceChildren(...lines.map((line) => h("li", {}, line)));
    this.notes.hidden = !lines.length;
  }
}
