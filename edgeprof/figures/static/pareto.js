/**
 * Candidates by two objectives: the front, the sweet spot, constraints, estimates joined to their measurements. Drawn on a canvas.
 *
 *   const view = renderPareto(element, data, options);
 *
 * data       {meta, numbers} of figures.pareto_view.pareto_view(profiles, keys=...).to_json(); numbers may be base64, ArrayBuffer or a view of one
 * options    all optional
 *   selection  keys of candidates            x, y   objectives on the axes; none: those of the data
 *   height     of the chart in px; 0: fits   theme  "auto" (JupyterLab, VS Code, then the system) | "light" | "dark"
 *   embedded   true: without header
 *   onSelect   (keys) => {}: a person changed the selection (not called for select())
 *   onChange   ({x, y}) => {}: a person changed the axes; ({open: key}) => {}: a double click or Enter on a candidate
 * returns    {element, select(keys), set({any of the options, data}), destroy()}
 *
 * base.js, d3-scale, axes.js and points.js stand in front of it; the style sheet is pareto.css. New data keeps axes, zoom and selection.
 */

const SHAPE_OF = { measured: "circle", replayed: "square", imported: "triangle-up", estimated: "diamond", simulated: "cross" };
const HOLLOW = ["estimated", "simulated"]; // no board ran it
const RADIUS = { front: 6.5, unsure: 5.5, dominated: 5, aside: 4.5 };
const DRAWN = ["aside", "dominated", "unsure", "front"]; // the front on top
const MANY = 60; // with more points only the front has bars
const FEW = 16; // with no more all have names
const NOBODY = 0xffff;

export function renderPareto(el, data, options = {}) {
  return made(el, () => new ParetoView(el, data, options));
}

class ParetoView extends PointsView {
  constructor(el, data, options) {
    super(el, "ep-pareto", options);
    this.load(data);
    this.build();
    this.applyTheme();
    this.arrange();
    this.select(options.selection ?? []);
    this.watch();
  }

  load(data) {
    this.data = unpack(data);
    this.keys = this.data.keys;
    const { x, y } = { ...this.data.axes, ...this.wished(this.options) };
    Object.assign(this.options, { x, y });
    this.twins = new Map(); // row -> [[row of the other, texts of the errors]]
    const { estimates, measurements } = this.data.arrays;
    estimates.forEach((row, i) => {
      for (const [from, to] of [[row, measurements[i]], [measurements[i], row]]) {
        this.twins.set(from, [...(this.twins.get(from) ?? []), [to, this.data.errors[i]]]);
      }
    });
    this.useAxes();
  }

  /** The wished axes, if the data have such a pair. */
  wished({ x, y }) {
    const wish = { x: x ?? this.data.axes.x, y: y ?? this.data.axes.y };
    return this.data.pairs[`${wish.x} ${wish.y}`] ? wish : {};
  }

  text(name, row) {
    return this.data.texts[name]?.[this.data.arrays[name][row]] ?? "";
  }

  /** The points of the chosen pair of axes. */
  useAxes() {
    const { arrays, keys, standings, objectives } = this.data;
    this.name = `${this.options.x} ${this.options.y}`;
    this.pair = this.data.pairs[this.name];
    this.axes = this.pair.axes;
    this.emptyText = this.pair.empty;
    const [xi, yi] = [this.options.x, this.options.y].map((name) => objectives.findIndex((one) => one.name === name));
    const reading = (i, axis, row) => ["value", "low", "high"].map((end) => arrays[`${end} ${i}`][row] * this.axes[axis].scale);
    this.standing = keys.map((_, row) => standings[arrays[`standing ${this.name}`][row]]);
    const rows = keys.map((_, row) => row).filter((row) => this.standing[row] !== "missing");
    rows.sort((a, b) => DRAWN.indexOf(this.standing[a]) - DRAWN.indexOf(this.standing[b]) || a - b);
    this.items = rows.map((row) => {
      const [[x, ...xEnds], [y, ...yEnds]] = [reading(xi, 0, row), reading(yi, 1, row)];
      const basis = this.text("basis", row);
      const small = rows.length > MANY && this.standing[row] !== "front" ? 1.5 : 0;
      return {
        row, key: keys[row], x, y, xEnds, yEnds, standing: this.standing[row], shape: SHAPE_OF[basis] ?? "circle", hollow: HOLLOW.includes(basis),
        r: RADIUS[this.standing[row]] - small, alpha: { aside: 0.55, dominated: 0.85 }[this.standing[row]],
      };
    });
    this.itemOf = new Map(this.items.map((item) => [item.row, item]));
  }

  color(item) {
    return { front: this.colors.bar, unsure: this.colors.warning }[item.standing] ?? this.colors.muted;
  }

  // -- frame --

  build() {
    this.buildChart();
    this.tools = h("div", { class: "ep-tools", role: "toolbar", "aria-label": "Axes" });
    this.head = h("header", {});
    this.element.replaceChildren(this.head, this.tools, this.chart, this.empty, this.legend, this.notes, this.live, this.card);
  }

  arrange() {
    const header = { ...this.data.header, number: this.pair.number, number_note: this.pair.number_note };
    this.putHeader({ header, findings: this.data.findings });
    this.drawControls();
    super.arrange();
    this.tellLines(this.pair.lines);
  }

  drawControls() {
    if (this.tools.contains(document.activeElement)) return; // live data must not take a menu out of somebody's hands
    const choices = Object.fromEntries(this.data.objectives.map((one) => [one.name, one.title]));
    const menus = ["x", "y"].map((axis) => this.menu({ x: "Across", y: "Up" }[axis], choices, this.options[axis], (name) => this.changeAxis(axis, name)));
    this.tools.replaceChildren(...menus);
  }

  /** A person chose an objective; one that is on the other axis changes places. */
  changeAxis(axis, name) {
    const other = axis === "x" ? "y" : "x";
    if (this.options[other] === name) this.options[other] = this.options[axis];
    this.options[axis] = name;
    const selects = this.tools.querySelectorAll("select");
    [selects[0].value, selects[1].value] = [this.options.x, this.options.y];
    this.window = [[0, 1], [0, 1]];
    this.useAxes();
    this.arrange();
    this.options.onChange?.({ x: this.options.x, y: this.options.y });
  }

  enter(item) {
    this.options.onChange?.({ open: item.key });
  }

  // -- words --

  title(item) {
    return this.data.labels[item.row];
  }

  facts({ row }) {
    const { objectives, shown, arrays } = this.data;
    const facts = objectives.map((one, i) => {
      const off = (this.twins.get(row) ?? []).map(([, errors]) => errors[i]).filter(Boolean);
      const note = [this.text(`note ${i}`, row), off.length ? `estimate ${off.join(", ")}` : ""].filter(Boolean).join("; ");
      return [one.title, shown[i][row], note && `(${note})`];
    });
    facts.push(["Model", this.text("model", row)], ["Recipe", this.text("recipe", row)], ["Where", this.text("where", row)]);
    facts.push(["Origin", this.text("origin", row) + (arrays.baseline[row] ? "; the baseline" : "")], ["Standing", this.standingText(row)]);
    if (this.data.constraints.length) {
      const verdict = arrays.meets[row] ? "meets all" : "does not meet all";
      facts.push(["Constraints", verdict + (arrays.doubt[row] ? ", a bound lies inside an interval" : "")]);
    }
    return facts.filter(([, text]) => text);
  }

  standingText(row) {
    const by = this.data.arrays[`by ${this.name}`][row];
    const other = by === NOBODY ? "" : this.data.labels[by];
    const standing = this.standing[row];
    if (standing === "front") return row === this.pair.sweet ? "on the front, the sweet spot" : "on the front";
    if (standing === "dominated") return `dominated by ${other}`;
    if (standing === "unsure") return `cannot be told from the front: ${other} is better by its values, but not beyond the intervals`;
    return this.text(`why ${this.name}`, row);
  }

  // -- drawing --

  drawBelow(c) {
    this.boundBoxes = [];
    this.boundLines = [];
    for (const constraint of this.data.constraints) this.drawBound(c, constraint);
    this.drawTwins(c);
    this.drawFront(c);
    const loud = this.items.length > MANY ? this.items.filter((item) => item.standing === "front") : this.items;
    for (const item of loud) this.drawBars(c, item, item.standing === "front" ? 0.75 : 0.4);
  }

  /** What misses a constraint on an axis is shaded up to its bound. */
  drawBound(c, { objective, bound, text }) {
    const axis = [this.options.x, this.options.y].indexOf(objective);
    if (axis < 0) return;
    const { left, top, width, height } = this.plan.box;
    const lower = this.data.objectives.find((one) => one.name === objective).better === "lower";
    const at = this.at(axis, bound * this.axes[axis].scale);
    const [near, far] = axis ? [top + height, top] : [left, left + width];
    const edge = min(max(near, far), max(min(near, far), at));
    const end = lower ? far : near;
    const shade = axis ? [left, min(edge, end), width, abs(end - edge)] : [min(edge, end), top, abs(end - edge), height];
    c.globalAlpha = 0.25;
    c.fillStyle = this.colors.line;
    c.fillRect(...shade);
    c.globalAlpha = 0.6;
    this.hatch(c, ...shade);
    c.globalAlpha = 1;
    if (edge !== at) return;
    c.strokeStyle = c.fillStyle = this.colors.warning;
    c.lineWidth = 1.5;
    c.setLineDash([6, 4]);
    c.beginPath();
    if (axis) (c.moveTo(left, at), c.lineTo(left + width, at));
    else (c.moveTo(at, top), c.lineTo(at, top + height));
    c.stroke();
    c.setLineDash([]);
    this.boundLines.push(axis ? { left, right: left + width, top: at - 1, bottom: at + 1 } : { left: at - 1, right: at + 1, top, bottom: top + height });
    c.font = this.colors.small;
    c.textBaseline = "middle";
    c.textAlign = "left";
    const wide = c.measureText(text).width;
    const x = axis ? left + width - wide - 4 : min(left + width - wide - 2, max(left + 2, lower ? at - wide - 6 : at + 6));
    const y = axis ? (lower ? at + 10 : at - 10) : top + 6;
    const ground = { left: x - 3, right: x + wide + 3, top: y - 7, bottom: y + 7 };
    c.fillStyle = this.colors.surface;
    c.fillRect(ground.left, ground.top, wide + 6, 14);
    c.fillStyle = this.colors.warning;
    c.fillText(text, x, y);
    this.boundBoxes.push(ground);
  }

  drawTwins(c) {
    this.data.arrays.estimates.forEach((row, i) => this.drawTwin(c, row, this.data.arrays.measurements[i], this.colors.muted, 1));
  }

  drawTwin(c, a, b, color, width) {
    const [from, to] = [this.itemOf.get(a), this.itemOf.get(b)];
    if (!from || !to) return;
    c.beginPath();
    c.moveTo(from.px, from.py);
    c.lineTo(to.px, to.py);
    c.strokeStyle = color;
    c.lineWidth = width;
    c.setLineDash([2, 3]);
    c.stroke();
    c.setLineDash([]);
  }

  /** What can be had at most: a step line through the front, from the best of the axis that runs across. */
  drawFront(c) {
    const front = this.frontItems();
    c.beginPath();
    front.forEach(({ px, py }, i) => {
      if (!i) return c.moveTo(px, py);
      c.lineTo(px, front[i - 1].py);
      c.lineTo(px, py);
    });
    c.strokeStyle = this.colors.bar;
    c.lineWidth = 1.8;
    c.stroke();
  }

  frontItems() {
    const better = this.data.objectives.find((one) => one.name === this.options.x).better;
    const sign = better === "lower" ? 1 : -1;
    return this.items.filter((item) => item.standing === "front").sort((a, b) => sign * (a.px - b.px) || a.row - b.row);
  }

  /** 95 % intervals; those of an estimate are dashed. */
  drawBars(c, item, alpha) {
    c.strokeStyle = this.color(item);
    c.globalAlpha = alpha;
    c.lineWidth = 1.2;
    for (const axis of [0, 1]) {
      const [low, high] = (axis ? item.yEnds : item.xEnds).map((end) => (known(end) ? this.at(axis, end) : NaN));
      if (!known(low) || !known(high)) continue;
      const line = (...ends) => (c.beginPath(), ends.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y))), c.stroke());
      c.setLineDash(item.hollow ? [4, 3] : []);
      line(...[low, high].map((end) => (axis ? [item.px, end] : [end, item.py])));
      c.setLineDash([]);
      for (const end of [low, high]) line(...[-3, 3].map((d) => (axis ? [item.px + d, end] : [end, item.py + d])));
    }
    c.globalAlpha = 1;
  }

  drawAbove(c) {
    for (const item of this.items) if (this.data.arrays.baseline[item.row]) this.drawBaseline(c, item.px, item.py, item.r);
    const sweet = this.itemOf.get(this.pair.sweet);
    if (sweet) this.drawSweet(c, sweet.px, sweet.py, sweet.r);
  }

  /** Four corners around the point that others are held against. */
  drawBaseline(c, x, y, r) {
    const [far, near] = [r + 5, r + 1];
    c.strokeStyle = this.colors.ink;
    c.lineWidth = 1.5;
    c.beginPath();
    for (const [a, b] of [[-1, -1], [1, -1], [1, 1], [-1, 1]]) {
      c.moveTo(x + a * near, y + b * far);
      c.lineTo(x + a * far, y + b * far);
      c.lineTo(x + a * far, y + b * near);
    }
    c.stroke();
  }

  drawSweet(c, x, y, r) {
    c.strokeStyle = this.colors.bar;
    c.lineWidth = 2;
    for (const away of [3.5, 7]) {
      c.beginPath();
      c.arc(x, y, r + away, 0, 7);
      c.stroke();
    }
  }

  drawSelected(c, item) {
    c.fillStyle = this.colors.selected;
    c.beginPath();
    c.arc(item.px, item.py, item.r + 9, 0, 7);
    c.fill();
    this.drawBars(c, item, 1);
    super.drawSelected(c, item);
  }

  drawHover(c, item) {
    for (const [other] of this.twins.get(item.row) ?? []) this.drawTwin(c, item.row, other, this.colors.ink, 1.8);
    this.drawBars(c, item, 1);
    this.drawItem(c, item);
    super.drawHover(c, item);
  }

  drawNames(c) {
    const { colors, data } = this;
    const basisEnd = (item) => `, ${this.text("basis", item.row)}`;
    const short = (item) => { // how a point came about is said by its shape
      const label = data.labels[item.row];
      return label.endsWith(basisEnd(item)) ? label.slice(0, -basisEnd(item).length) : label;
    };
    const wanted = new Map();
    const want = (item, more = {}) => item && wanted.set(item, { item, text: short(item), color: colors.muted, ...wanted.get(item), ...more });
    const sweet = this.itemOf.get(this.pair.sweet);
    want(sweet, { before: "sweet spot", color: colors.bar, bold: true, must: true });
    for (const item of this.items) if (data.arrays.baseline[item.row] && item !== sweet) want(item, { before: "baseline", color: colors.ink });
    for (const item of this.items) if (this.selected.has(item.key)) want(item, { color: colors.accent, bold: true });
    for (const item of this.frontItems()) want(item);
    if (this.items.length <= FEW) this.items.forEach((item) => want(item));
    const bars = this.items.length <= MANY ? this.items : this.frontItems();
    const ends = (axis, pair, own) => pair.map((end) => (known(end) ? this.at(axis, end) : own));
    const betterNot = bars.flatMap(({ px, py, xEnds, yEnds }) => {
      const [left, right] = ends(0, xEnds, px);
      const [bottom, top] = ends(1, yEnds, py);
      return [{ left, right, top: py - 1, bottom: py + 1 }, { left: px - 1, right: px + 1, top, bottom }];
    });
    const front = this.frontItems();
    front.slice(1).forEach((to, i) => {
      const from = front[i];
      betterNot.push({ left: min(from.px, to.px), right: max(from.px, to.px), top: from.py - 1, bottom: from.py + 1 });
      betterNot.push({ left: to.px - 1, right: to.px + 1, top: min(from.py, to.py), bottom: max(from.py, to.py) });
    });
    this.named = this.writeNames(c, [...wanted.values()], { obstacles: this.boundBoxes, betterNot: [...betterNot, ...this.boundLines] });
  }

  drawLegend() {
    const { colors } = this;
    if (!colors?.ink) return;
    const items = [];
    for (const standing of [...DRAWN].reverse()) {
      const some = this.items.find((item) => item.standing === standing);
      const paint = (c) => ((c.globalAlpha = some.alpha ?? 1), drawMark(c, { shape: "circle" }, 9, 7, 5, this.color(some), colors.surface));
      if (some) items.push(this.legendItem(this.data.standing_words[standing], paint));
    }
    for (const [basis, shape] of Object.entries(SHAPE_OF)) {
      const hollow = HOLLOW.includes(basis);
      const paint = (c) => drawMark(c, { shape, hollow }, 9, 7, 4.5, colors.ink, colors.surface);
      if (this.items.some((item) => item.shape === shape)) items.push(this.legendItem(`${basis}${hollow ? ", dashed bars" : ""}`, paint));
    }
    if (this.itemOf.get(this.pair.sweet)) items.push(this.legendItem("sweet spot", (c) => this.drawSweet(c, 9, 7, -0.5)));
    if (this.items.some((item) => this.data.arrays.baseline[item.row])) items.push(this.legendItem("baseline", (c) => this.drawBaseline(c, 9, 7, 1)));
    if (this.items.some((item) => (this.twins.get(item.row) ?? []).some(([other]) => this.itemOf.get(other)))) {
      const dots = (c) => ((c.strokeStyle = colors.muted), c.setLineDash([2, 3]), c.beginPath(), c.moveTo(0, 7), c.lineTo(18, 7), c.stroke());
      items.push(this.legendItem("estimate to its measurement", dots));
    }
    if (this.items.some((item) => [...item.xEnds, ...item.yEnds].some(known))) {
      items.push(h("span", { class: "ep-item" }, `bars: 95 % intervals${this.items.length > MANY ? " (front only)" : ""}`));
    }
    this.legend.replaceChildren(...items);
  }

  // -- outside --

  /** Changes options and data from outside; axes, zoom and selection stay. What is new is ringed for a moment. */
  set(values) {
    this.guard(() => {
      const { data, selection, ...rest } = values;
      const old = new Set(this.keys);
      const chosen = selection ?? this.selection();
      Object.assign(this.options, rest);
      if (data) this.load(data);
      else if (rest.x || rest.y) {
        Object.assign(this.options, { ...this.data.axes, ...this.wished(this.options) });
        this.useAxes();
      }
      this.applyTheme();
      this.arrange();
      this.select(chosen);
      if (data && old.size) this.ring(this.items.filter((item) => !old.has(item.key)));
    })();
  }

  /** A ring that spreads around points which have just come, for who does not mind motion. */
  ring(items) {
    if (!this.plan || items.length > 20 || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const item of items.filter((one) => this.inside(one))) {
      const ring = h("span", { class: "ep-arrived", style: `left: ${item.px}px; top: ${item.py}px`, "aria-hidden": "true" });
      ring.addEventListener("animationend", () => ring.remove());
      this.chart.append(ring);
    }
  }
}
