/**
 * Layers of a profile under the ceilings of the board: achieved GFLOP/s over arithmetic intensity. Drawn on a canvas.
 *
 *   const view = renderRoofline(element, data, options);
 *
 * data       {meta, numbers} of figures.roofline_view.roofline_view(profile).to_json(); numbers may be base64, ArrayBuffer or a view of one
 * options    all optional
 *   selection  names of layers
 *   height     of the chart in px; 0: fits   theme  "auto" (JupyterLab, VS Code, then the system) | "light" | "dark"
 *   embedded   true: without header
 *   onSelect   (names) => {}: a person changed the selection (not called for select())
 * returns    {element, select(names), set({any of the options, data}), destroy()}
 *
 * base.js, d3-scale, axes.js and points.js stand in front of it; the style sheet is roofline.css. New data keeps zoom and selection.
 */

const LARGEST = 17; // px, the radius of the layer that takes most
const LEAST = 3.2;
const NAMED = 6; // layers that have their names, those that take most
const NAMED_SELECTED = 12;

export function renderRoofline(el, data, options = {}) {
  return made(el, () => new RooflineView(el, data, options));
}

class RooflineView extends PointsView {
  constructor(el, data, options) {
    super(el, "ep-roofline", options);
    this.load(data);
    this.build();
    this.applyTheme();
    this.arrange();
    this.select(options.selection ?? []);
    this.watch();
  }

  load(data) {
    this.data = unpack(data);
    const { names, arrays, families, axes, estimated, empty } = this.data;
    this.keys = names;
    this.axes = axes;
    this.emptyText = empty;
    this.rowOf = new Map(names.map((name, i) => [name, i]));
    this.opOf = new Map(); // family -> an op type of it, for its colour
    names.forEach((_, row) => this.opOf.set(arrays.family[row], arrays.op_type[row]));
    const largest = arrays.share.reduce((most, share) => (share > most ? share : most), 0) || 1;
    const rows = names.map((_, row) => row).filter((row) => known(arrays.intensity[row]));
    rows.sort((a, b) => (arrays.share[b] || 0) - (arrays.share[a] || 0) || a - b); // the small ones on top
    this.items = rows.map((row) => ({
      row, key: names[row], x: arrays.intensity[row], y: arrays.gflops[row], hollow: estimated, alpha: estimated ? 1 : 0.85,
      shape: families[arrays.family[row]].shape, r: max(LEAST, LARGEST * Math.sqrt(max(0, arrays.share[row] || 0) / largest)),
    }));
    this.itemOf = new Map(this.items.map((item) => [item.row, item]));
  }

  text(name, row) {
    return this.data.texts[name]?.[this.data.arrays[name][row]] ?? "";
  }

  color(item) {
    return this.theme.ops[this.data.arrays.op_type[item.row]];
  }

  // -- frame --

  build() {
    this.buildChart();
    this.head = h("header", {});
    this.element.replaceChildren(this.head, this.chart, this.empty, this.legend, this.notes, this.live, this.card);
  }

  arrange() {
    this.putHeader(this.data);
    super.arrange();
    this.selectionChanged();
  }

  /** Says which of the selected layers are no points. */
  selectionChanged() {
    const away = [...this.selected].map((name) => this.rowOf.get(name)).filter((row) => row !== undefined && !this.itemOf.has(row));
    const why = [...new Set(away.map((row) => this.text("why", row)))].join(", ");
    const line = `${grouped(away.length)} selected layer${away.length === 1 ? " is" : "s are"} not shown (${why}).`;
    this.tellLines([...(this.data.empty ? [] : this.data.lines), ...(away.length ? [line] : [])]);
  }

  // -- words --

  title(item) {
    return item.key;
  }

  facts({ row }) {
    const { arrays, bounds, estimated } = this.data;
    const at = (name) => arrays[name][row];
    const said = estimated ? ", estimated" : "";
    const share = known(at("share")) ? `(${show(at("share"), "share")} of the time${said})` : said && "(estimated)";
    return [
      ["Kind", [this.text("op_type", row), this.text("precision", row)].filter(Boolean).join(", ")],
      ["Latency", showInterval(at("latency_ms"), at("latency_low_ms"), at("latency_high_ms"), "latency"), share],
      ["MACs", show(at("macs"), "count")],
      ["Intensity", show(at("intensity"), "number", "FLOP/B")],
      ["Achieved", show(at("gflops"), "number", "GFLOP/s")],
      ["Data", show(at("gb_s"), "number", "GB/s")],
      ["Of its roof", show(at("roof_share"), "share"), at("roof_share") > 1.0005 ? "(above: its data came from a cache)" : ""],
      ["Bound by", bounds[at("bound")]],
    ].filter(([, text]) => text && text !== MISSING);
  }

  // -- drawing --

  drawBelow(c) {
    this.ceilingTexts = [];
    const { ceilings, bandwidths, ridges } = this.data;
    this.lineBoxes = [];
    this.textBoxes = [];
    const { left, width, top, height } = this.plan.box;
    const highest = ceilings[0]?.value ?? Infinity;
    const fastest = bandwidths[0]?.value ?? Infinity;
    this.shadeBeyond(c, highest, fastest);
    const [x0, x1] = this.plan.x.domain();
    for (const one of bandwidths) {
      const end = min(x1, highest / one.value);
      this.drawCeiling(c, one, [x0, x0 * one.value], [end, end * one.value]);
    }
    for (const one of ceilings) this.drawCeiling(c, one, [max(x0, one.value / fastest), one.value], [x1, one.value]);
    ridges.forEach((ridge) => this.drawRidge(c, ridge, left, left + width, top + height));
  }

  /** What lies above the roof is beyond the board, or beyond what this profile has seen. */
  shadeBeyond(c, highest, fastest) {
    if (!known(highest) || !known(fastest)) return;
    const { left, top, width } = this.plan.box;
    const [x0, x1] = this.plan.x.domain();
    c.beginPath();
    c.moveTo(left, this.at(1, x0 * fastest));
    if (highest / fastest > x0) c.lineTo(this.at(0, min(x1, highest / fastest)), this.at(1, min(highest, x1 * fastest)));
    c.lineTo(left + width, this.at(1, min(highest, x1 * fastest)));
    c.lineTo(left + width, top - 10);
    c.lineTo(left, top - 10);
    c.closePath();
    c.globalAlpha = 0.5;
    c.fillStyle = this.colors.hover;
    c.fill();
    c.globalAlpha = 1;
  }

  drawCeiling(c, { text, solid }, from, to) {
    const { colors } = this;
    const [[ax, ay], [bx, by]] = [from, to].map(([x, y]) => [this.at(0, x), this.at(1, y)]);
    if (bx <= ax) return;
    c.strokeStyle = colors.muted;
    c.lineWidth = 1.8;
    c.setLineDash(solid ? [] : [7, 5]);
    c.beginPath();
    c.moveTo(ax, ay);
    c.lineTo(bx, by);
    c.stroke();
    c.setLineDash([]);
    this.lineBoxes.push(...steps(ax, ay, bx, by));
    this.ceilingTexts.push({ text, ax, ay, bx, by });
  }

  /** The name of a ceiling along its line, where it covers no layer if there is such a place: of a slope from its lower end, else from the right. */
  writeCeiling(c, { text, ax, ay, bx, by }) {
    const { left, top, width, height } = this.plan.box;
    const angle = Math.atan2(by - ay, bx - ax);
    const flat = by === ay;
    if (flat && (by < top - 8 || by > top + height)) return;
    c.font = this.colors.small;
    const wide = c.measureText(text).width;
    const from = flat ? max(ax, left) : max(ax, left, ax + (ay - top - height) / -Math.tan(angle));
    const length = (min(bx, left + width) - from) / Math.cos(angle);
    if (length < wide + 12) return; // a line below the chart has it too
    const along = (d, off) => [from + d * Math.cos(angle) + off * Math.sin(angle), ay + (from - ax) * Math.tan(angle) + d * Math.sin(angle) - off * Math.cos(angle)];
    const count = floor((length - wide - 12) / 12) + 1;
    const starts = Array.from({ length: count }, (_, i) => (flat ? length - wide - 6 - 12 * i : 8 + 12 * i));
    const boxesAt = (d) => steps(...along(d, 8), ...along(d + wide, 8), 7);
    const points = this.items.filter((item) => this.inside(item, 20)).map(({ px, py, r }) => ({ left: px - r, right: px + r, top: py - r, bottom: py + r }));
    const clear = starts.find((d) => !boxesAt(d).some((box) => box.top < top - 6 || [...points, ...this.textBoxes].some((other) => meets(box, other))));
    const d = clear ?? starts[0];
    this.textBoxes.push(...boxesAt(d));
    c.save();
    c.translate(...along(d, 8));
    c.rotate(angle);
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.strokeStyle = this.colors.surface;
    c.lineWidth = 3;
    c.strokeText(text, 0, 0);
    c.fillStyle = this.colors.muted;
    c.fillText(text, 0, 0);
    c.restore();
  }

  drawAbove(c) {
    for (const one of this.ceilingTexts) this.writeCeiling(c, one);
  }

  /** Where a ceiling meets the slope: to the left layers wait for memory, to the right for arithmetic. */
  drawRidge(c, { x, y }, left, right, bottom) {
    const [px, py] = [this.at(0, x), this.at(1, y)];
    if (px < left || px > right || py > bottom) return;
    const { colors } = this;
    c.strokeStyle = colors.muted;
    c.lineWidth = 1;
    c.setLineDash([2, 4]);
    c.beginPath();
    c.moveTo(px, py);
    c.lineTo(px, bottom);
    c.stroke();
    c.setLineDash([]);
    drawMark(c, { shape: "diamond" }, px, py, 4.5, colors.ink, colors.surface);
    c.font = colors.small;
    const text = `ridge ${show(x, "number")} FLOP/B`;
    const wide = c.measureText(text).width;
    const at = px + 5 + wide < right ? px + 5 : px - 5 - wide;
    const box = { left: at - 2, right: at + wide + 2, top: bottom - 16, bottom: bottom - 2 };
    if (this.textBoxes.some((other) => meets(other, box))) return;
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.fillStyle = colors.muted;
    c.fillText(text, at, bottom - 9);
    this.textBoxes.push(box);
  }

  drawNames(c) {
    const chosen = this.items.filter((item) => this.selected.has(item.key)).slice(0, NAMED_SELECTED);
    const names = chosen.map((item) => ({ item, text: item.key, color: this.colors.accent, bold: true, must: chosen.length < 4 }));
    const shown = this.items.filter((item) => this.inside(item));
    for (const item of shown.slice(0, NAMED)) if (!this.selected.has(item.key)) names.push({ item, text: item.key, color: this.colors.ink });
    this.named = this.writeNames(c, names, { obstacles: this.textBoxes, betterNot: this.lineBoxes });
  }

  drawLegend() {
    const { colors, data } = this;
    if (!colors?.ink) return;
    const families = [...new Set(this.items.map((item) => data.arrays.family[item.row]))].sort((a, b) => a - b);
    const items = families.map((family) => {
      const mark = { shape: data.families[family].shape, hollow: data.estimated };
      return this.legendItem(data.families[family].name, (c) => drawMark(c, mark, 9, 7, 4.5, this.theme.ops[this.opOf.get(family)], colors.surface));
    });
    items.push(h("span", { class: "ep-item" }, `area: share of the time${data.estimated ? "; hollow: estimated" : ""}`));
    this.legend.replaceChildren(...items);
  }

  // -- outside --

  /** Changes options and data from outside; zoom and selection stay. */
  set(values) {
    this.guard(() => {
      const { data, selection, ...rest } = values;
      const chosen = selection ?? this.selection();
      Object.assign(this.options, rest);
      if (data) this.load(data);
      this.applyTheme();
      this.arrange();
      this.select(chosen);
    })();
  }
}

/** Small boxes along a line, for what had better not lie on it. */
function steps(ax, ay, bx, by, half = 2) {
  const count = max(1, ceil(Math.hypot(bx - ax, by - ay) / 12));
  return Array.from({ length: count + 1 }, (_, i) => {
    const [x, y] = [ax + ((bx - ax) * i) / count, ay + ((by - ay) * i) / count];
    return { left: x - half - 4, right: x + half + 4, top: y - half, bottom: y + half };
  });
}
