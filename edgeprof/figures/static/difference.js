/**
 * The difference between two profiles: a waterfall of where the time went, or rows side by side. Drawn on a canvas; base.js, d3-scale and
 * axes.js stand in front. Knows nothing of Jupyter.
 *
 *   const view = renderDifference(element, data, options);
 *
 * data       {meta, numbers} of figures.difference.difference(...).to_json(); numbers may be base64, ArrayBuffer or any view of one
 * options    all optional
 *   mode       "waterfall" | "side"                 by    "row" | "op_type" | "block"
 *   top        how many stand alone in the waterfall    sort  "size" | "execution"; side by side also "ratio"
 *   modes      false: no choice of the mode, for who has one of its own
 *   selection  names of layers          theme  "auto" (JupyterLab, VS Code, then the system) | "light" | "dark"
 *   height     of the chart in px; 0: fits the rows, up to 20
 *   embedded   true: no header of its own
 *   onSelect   (names) => {}: a person changed the selection (not called for select())
 *   onChange   ({mode | by | top | sort | metric | baseline | other: value}) => {}: a person changed a control
 *   canAsk     true when onChange({metric | baseline | other}) is answered with set({data}): shows such controls
 * returns    {element, select(names), set({any of the options, data}), destroy()}
 *
 * The style sheet is difference.css. Texts reach the page as text nodes only. Errors are shown inside the element.
 */

const DIFFERENCE = { head: 24, foot: 46, waterfall: 25, side: 37, most: 20, tops: [8, 12, 20, 40] };
const STANDS = { layer: 0, inserted: 1, between: 2, oneSided: 3 };
let differences = 0;

export function renderDifference(el, data, options = {}) {
  return made(el, () => new Difference(el, data, options));
}

class Difference extends View {
  constructor(el, data, options) {
    super(el, "ep-difference", { mode: "waterfall", by: "row", top: 12, sort: "size", height: 0, ...options });
    this.id = `ep-difference-${(differences += 1)}`;
    this.selected = new Set();
    this.active = 0;
    this.hover = null;
    this.query = "";
    this.load(data);
    this.build();
    this.applyTheme();
    this.arrange();
    this.select(options.selection ?? []);
    this.watch();
  }

  load(data) {
    this.data = unpack(data);
    const { names, texts, arrays, groups } = this.data;
    this.rowOf = new Map(names.map((name, i) => [name, i]));
    this.text = (name, row) => texts[name]?.[arrays[name][row]] ?? "";
    if (!groups[this.options.by]) this.options.by = "row";
    if (this.options.mode !== "side") this.options.mode = "waterfall";
    this.members = {};
    for (const by of Object.keys(groups)) {
      this.members[by] = [];
      arrays[`${by} group`].forEach((group, row) => (this.members[by][group] ??= []).push(row));
    }
  }

  build() {
    const on = (fn) => this.guard(fn);
    this.grid = h("div", { class: "ep-rows", role: "listbox", tabindex: 0, "aria-multiselectable": "true", "data-lm-suppress-shortcuts": "true" });
    this.canvas = h("canvas", { role: "presentation" });
    this.space = h("div", { class: "ep-rows-space", role: "presentation" }, this.canvas);
    this.voice = h("div", { id: `${this.id}-row`, role: "option", class: "ep-voice" });
    this.grid.append(this.voice, this.space);
    this.card = h("div", { class: "ep-card", hidden: true, "aria-hidden": "true" });
    this.empty = h("div", { class: "ep-empty", hidden: true });
    this.live = h("div", { class: "ep-voice", "aria-live": "polite" });
    this.legend = h("div", { class: "ep-legend" });
    this.tools = h("div", { class: "ep-tools", role: "toolbar", "aria-label": "Controls of the difference" });
    this.search = h("input", { type: "search", placeholder: "Search layers, or /regex/", "aria-label": "Search layers", "data-lm-suppress-shortcuts": "true" });
    this.search.value = this.query;
    this.count = h("span", { class: "ep-count" });
    this.finder = h("div", { class: "ep-search" }, this.search, this.count);
    this.element.replaceChildren(this.header(this.data), this.tools, this.grid, this.empty, this.legend, this.live, this.card);
    this.search.addEventListener("input", on(() => this.filter(this.search.value)));
    this.search.addEventListener("keydown", on((e) => this.searchKey(e)));
    this.grid.addEventListener("scroll", on(() => this.redraw()));
    this.grid.addEventListener("pointermove", on((e) => this.pointer(e)));
    this.grid.addEventListener("pointerleave", on(() => this.unhover()));
    this.grid.addEventListener("click", on((e) => this.click(e)));
    this.grid.addEventListener("keydown", on((e) => this.key(e)));
    this.grid.addEventListener("focus", on(() => (this.speak(), this.redraw())));
    this.grid.addEventListener("blur", on(() => this.redraw()));
  }

  get side() {
    return this.options.mode === "side";
  }

  number(name, group) {
    return this.data.arrays[`${this.options.by} ${name}`][group];
  }

  /** `12 layers`, `1 op type`. */
  counted(n) {
    const unit = this.data.groups[this.options.by].title.toLowerCase();
    return `${grouped(n)} ${n === 1 ? unit.slice(0, -1) : unit}`;
  }

  nameOf(group) {
    return this.options.by === "row" ? this.data.names[group] : this.data.groups[this.options.by].names[group];
  }

  controls() {
    const { mode, by, top, sort, modes, canAsk, onChange } = this.options;
    const parts = [];
    if (modes !== false) parts.push(this.segments("View", { waterfall: "Waterfall", side: "Side by side" }, mode, (v) => this.change({ mode: v })));
    for (const { name, title, choices, value, not } of (canAsk && this.data.menus) || []) {
      const others = Object.fromEntries(Object.entries(choices).filter(([key]) => key !== not));
      parts.push(this.menu(title, others, value, (picked) => onChange?.({ [name]: picked })));
    }
    const ways = Object.fromEntries(Object.entries(this.data.groups).map(([key, { title }]) => [key, title]));
    if (Object.keys(ways).length > 1) parts.push(this.menu("By", ways, by, (v) => this.change({ by: v })));
    const sorts = { size: "Largest difference", execution: "Model order", ...(this.side && { ratio: "Ratio" }) };
    parts.push(this.menu("Sort", sorts, sorts[sort] ? sort : "size", (v) => this.change({ sort: v })));
    if (!this.side) {
      const all = this.data.arrays[`${by} order`].length;
      const counts = [...new Set([...DIFFERENCE.tops.filter((n) => n < all), min(all, 60), ...(top < all ? [top] : [])])].sort((a, b) => a - b);
      const value = min(top, counts.at(-1));
      parts.push(this.menu("Show", Object.fromEntries(counts.map((n) => [` ${n}`, n === all ? `all ${n}` : `top ${n}`])), ` ${value}`, (v) => this.change({ top: Number(v) })));
    }
    this.tools.querySelectorAll(":scope > :not(.ep-search)").forEach((old) => old.remove());
    if (!this.finder.parentElement) this.tools.append(this.finder);
    this.finder.hidden = !this.side;
    this.tools.prepend(...parts);
  }

  /** A person changed a control. */
  change(values) {
    Object.assign(this.options, values);
    this.active = 0;
    this.grid.scrollTop = 0;
    this.arrange();
    this.options.onChange?.(values);
  }

  // -- what is shown, from above to below --

  arrange() {
    this.controls();
    this.items = this.side ? this.pairs() : this.steps();
    this.active = min(this.active, max(0, this.items.length - 1));
    const what = this.side ? "side by side" : "as a waterfall";
    this.grid.setAttribute("aria-label", `${this.data.title}, ${what}`);
    const shown = this.items.filter((item) => item.group !== undefined).length;
    this.count.textContent = this.counted(shown);
    this.showEmpty();
    this.mark();
    this.resize();
    this.drawLegend();
  }

  /** The waterfall: the baseline's whole, what differs most, the rest, what was inserted, what no layer explains, the other's whole. */
  steps() {
    const { by, sort, top } = this.options;
    const { arrays, sides, summed } = this.data;
    if (!summed || !this.data.names.length || !sides.every((side) => known(side.total))) return [];
    const order = arrays[`${by} order`];
    const n = min(top, order.length);
    const first = [...order.slice(0, n)];
    if (sort === "execution") first.sort((a, b) => a - b);
    const part = (group) => ({ group, rows: this.members[by][group], name: this.nameOf(group), kind: this.number("kind", group) });
    const items = first.map((group) => ({ ...part(group), moved: this.number("difference", group) }));
    if (n < order.length) {
      const rows = [...order.slice(n)].flatMap((group) => this.members[by][group]);
      const [moved, low, high] = ["rest", "rest_low", "rest_high"].map((name) => this.number(name, n));
      items.push({ name: `The other ${this.counted(order.length - n)}`, rows, moved, low, high, rest: true, kind: STANDS.layer });
    }
    const kinds = arrays[`${by} kind`];
    const apart = [...kinds.keys()].filter((group) => kinds[group] !== STANDS.layer && (this.number("moved", group) || known(this.number("difference", group))));
    apart.sort((a, b) => (kinds[a] === STANDS.between) - (kinds[b] === STANDS.between) || a - b);
    const lone = apart.filter((group) => kinds[group] === STANDS.oneSided);
    for (const group of apart) if (kinds[group] === STANDS.inserted) items.push({ ...part(group), moved: this.number("moved", group) });
    if (lone.length) {
      const moved = lone.reduce((sum, group) => sum + this.number("moved", group), 0);
      const rows = lone.flatMap((group) => this.members[by][group]);
      items.push({ name: "(measured of one only)", rows, moved, low: NaN, high: NaN, rest: true, kind: STANDS.oneSided });
    }
    for (const group of apart) if (kinds[group] === STANDS.between) items.push({ ...part(group), moved: this.number("moved", group) });
    let at = sides[0].total;
    for (const item of items) {
      [item.low, item.high] = [item.low ?? this.number("difference_low", item.group), item.high ?? this.number("difference_high", item.group)];
      [item.from, item.to] = [at, (at += item.moved)];
    }
    const total = (side) => ({ name: sides[side].label, total: sides[side], rows: [], side });
    return [total(0), ...items, total(1)];
  }

  /** Side by side: every row or group that one of the two has. */
  pairs() {
    const { by, sort } = this.options;
    const kinds = this.data.arrays[`${by} kind`];
    const shown = [...kinds.keys()].filter((group) => this.has(group) && this.matches(group));
    const size = (group) => abs(this.number("difference", group)) || 0;
    const far = (group) => abs(log(this.number("ratio", group)));
    const key = { size, ratio: (group) => (known(far(group)) ? far(group) : -1) }[sort];
    if (key || sort !== "execution") shown.sort((a, b) => (key ?? size)(b) - (key ?? size)(a) || a - b);
    const last = (group) => kinds[group] === STANDS.between;
    shown.sort((a, b) => last(a) - last(b));
    return shown.map((group) => ({ group, rows: this.members[by][group], name: this.nameOf(group), kind: kinds[group] }));
  }

  /** True where one of the two has a layer; profiles that are not shown may have rows of their own. */
  has(group) {
    return this.members[this.options.by][group].some((row) => this.data.sides.some((side) => this.ran(side, row)));
  }

  ran(side, row) {
    return this.data.texts.ran[this.data.arrays[side.ran][row]];
  }

  matches(group) {
    if (!this.query) return true;
    const texts = [this.nameOf(group), this.text("op_type", this.members[this.options.by][group][0])];
    return texts.some((t) => (this.regex ? this.regex.test(t) : t.toLowerCase().includes(this.query)));
  }

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
    this.grid.scrollTop = 0;
    this.arrange();
  }

  showEmpty() {
    const { names, summed, sides, metric_title: title } = this.data;
    let text = "";
    if (!names.length) text = "These profiles have no layers. Profile the models with instrumented runs, or open other .edgeprof files.";
    else if (!this.side && !summed) text = `${title} is not a sum over layers, so there is no waterfall of it. Look at the layers side by side.`;
    else if (!this.items.length && this.query) text = "No layer matches the search. Press Esc in the search box to see all of them.";
    else if (!this.items.length) text = `${title} was measured of neither ${sides[0].label} nor ${sides[1].label}. Choose another metric.`;
    this.empty.textContent = text;
    this.empty.hidden = !text;
    this.grid.hidden = this.legend.hidden = Boolean(text);
  }

  // -- where things lie --

  resize() {
    const width = this.element.clientWidth && this.grid.clientWidth;
    if (this.grid.hidden || !width) return;
    if (!this.colors.ink) this.applyTheme(); // a notebook makes the view before it puts it into the page
    const line = this.side ? DIFFERENCE.side : DIFFERENCE.waterfall;
    const { head, foot } = DIFFERENCE;
    const rows = this.items.length * line;
    const most = this.side ? floor((DIFFERENCE.most * DIFFERENCE.waterfall) / line) * line : rows;
    const room = this.options.height ? max(3 * line, this.options.height - head - foot) : min(rows, most);
    const wide = width > 860;
    const narrow = width < 480;
    const label = round(min(this.longest() * 6.6 + 34, max(narrow ? 116 : 150, min(360, width * 0.3))));
    const value = wide ? 186 : narrow ? 70 : 92;
    const ratio = this.side ? (narrow ? 44 : 56) : 0;
    const box = { left: label + 6, top: head, width: max(60, width - label - value - ratio - 26), height: room };
    this.plan = { width, line, room, wide, label, box, value: box.left + box.width + 14, ratio: width - 8, height: head + room + foot };
    this.grid.classList.toggle("ep-many", rows > room);
    this.grid.style.height = `${this.plan.height}px`;
    this.space.style.height = `${rows + head + foot}px`;
    if (rows > room) this.plan.ratio = this.grid.clientWidth - 8;
    this.scale = this.scaled();
    fit(this.canvas, this.grid.clientWidth, this.plan.height);
    this.redraw();
  }

  longest() {
    return this.items.reduce((most, item) => max(most, item.name.length), 8);
  }

  scaled() {
    const { box } = this.plan;
    let [low, high] = this.side ? this.pairEnds() : this.stepEnds();
    this.cutOff = !this.side && low > 0 && high - low < 0.4 * high;
    if (this.cutOff) low = max(0, low - (high - low) * 0.18);
    else low = min(0, low);
    if (!(high > low)) high = low + 1;
    return d3.scaleLinear([low, high + (high - low) * 0.02], [box.left, box.left + box.width]);
  }

  /** Smallest and largest number of the waterfall. Long whiskers do not press the steps together: what reaches far beyond them is cut. */
  stepEnds() {
    const ends = (numbers) => {
      const seen = numbers.filter(known);
      return [min(...seen), max(...seen)];
    };
    const [low, high] = ends(this.items.flatMap(({ total, from, to }) => (total ? [total.total] : [from, to])));
    const [least, most] = ends(this.items.flatMap(({ total, from, low: l, high: u }) => (total ? [total.low ?? NaN, total.high ?? NaN] : [from + l, from + u])).concat(low, high));
    const room = 0.6 * (high - low || high || 1);
    return [max(least, low - room), min(most, high + room)];
  }

  pairEnds() {
    const names = ["before", "before_high", "after", "after_high"];
    let [low, high] = [0, 0];
    for (const { group } of this.items) {
      for (const name of names) {
        const value = this.number(name, group);
        if (value > high) high = value;
        else if (value < low) low = value;
      }
    }
    return [low, high];
  }

  top(i) {
    return DIFFERENCE.head + i * this.plan.line - this.grid.scrollTop;
  }

  // -- drawing --

  draw() {
    if (!this.plan || this.grid.hidden) return;
    const c = pen(this.canvas);
    const { plan, colors } = this;
    const { head } = DIFFERENCE;
    const ratio = window.devicePixelRatio || 1;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, plan.width, plan.height);
    this.drawAxes(c);
    c.save();
    c.beginPath();
    c.rect(0, head, plan.width, plan.room);
    c.clip();
    const first = max(0, floor(this.grid.scrollTop / plan.line));
    const last = min(this.items.length - 1, ceil((this.grid.scrollTop + plan.room) / plan.line));
    for (let i = first; i <= last; i++) this.drawItem(c, i);
    c.restore();
    c.fillStyle = colors.line;
    c.fillRect(0, head - 1, plan.width, 1);
  }

  drawAxes(c) {
    const { plan, colors, scale } = this;
    const { format, metric_title: title, unit } = this.data;
    const [a, b] = scale.domain();
    const [factor, name] = UNITS[format]?.(max(abs(a), abs(b))) ?? [1, ""];
    const show1 = (v) => (UNITS[format] ? `${+(v * factor).toPrecision(6)}` : show(v, format, unit));
    const text = (v) => (v === 0 ? "0" : show1(v));
    const named = UNITS[format] ? name : "";
    drawAxis(c, colors, "bottom", ticksOf(scale, "bottom", text), `${title}${named && `, ${named}`}${this.cutOff ? "; the axis does not begin at 0" : ""}`, plan.box);
    c.font = colors.small;
    c.fillStyle = colors.muted;
    c.textBaseline = "middle";
    c.textAlign = "left";
    c.fillText(this.options.by === "row" ? "Layer" : this.data.groups[this.options.by].title, 12, 12);
    if (!this.side) {
      c.fillText("Difference", plan.value, 12);
      return;
    }
    c.fillText(plan.wide ? "Value [95 % interval]" : "Value", plan.value, 12);
    c.textAlign = "right";
    c.fillText("Ratio", plan.ratio, 12);
  }

  /** A filled bar; hatched when it was not measured. */
  bar(c, x, y, width, height, hatched, color, open = false) {
    c.fillStyle = color;
    c.globalAlpha = open ? 0.25 : 1;
    c.fillRect(x, y, width, height);
    c.globalAlpha = 1;
    if (hatched) this.hatch(c, x, y, width, height, this.colors.surface);
    if (!open && !hatched) return;
    c.strokeStyle = color;
    c.lineWidth = 1;
    c.strokeRect(x + 0.5, y + 0.5, max(0, width - 1), height - 1);
  }

  drawItem(c, i) {
    const { plan, colors, items } = this;
    const item = items[i];
    const y = this.top(i);
    const marked = this.marks[i];
    if (marked || this.hover === i) {
      c.fillStyle = marked === 2 ? colors.selected : colors.hover;
      c.fillRect(0, y, plan.width, plan.line);
    }
    if (marked) {
      c.fillStyle = colors.accent;
      c.fillRect(0, y, marked === 2 ? 3 : 1, plan.line);
    }
    if (item.total || items[i - 1]?.total || item.kind === STANDS.between) {
      c.fillStyle = colors.line;
      c.fillRect(0, y, plan.width, 1);
    }
    this.drawName(c, item, y);
    if (item.total) this.drawTotal(c, item, y);
    else if (this.side) this.drawPair(c, item, y);
    else this.drawStep(c, item, y);
    if (!this.side && items[i + 1]) this.drawLink(c, item.total ? item.total.total : item.to, y);
    if (document.activeElement === this.grid && this.active === i) {
      c.strokeStyle = colors.accent;
      c.lineWidth = 2;
      c.strokeRect(2, y + 1, plan.width - 4, plan.line - 2);
    }
  }

  drawName(c, item, y) {
    const { plan, colors, theme } = this;
    const middle = y + plan.line / 2 + 0.5;
    const quiet = item.rest || (item.kind !== undefined && item.kind !== STANDS.layer);
    if (!item.total && !item.rest && item.kind !== STANDS.between && this.options.by !== "block") {
      c.fillStyle = theme.ops[this.data.arrays.op_type[item.rows[0]]];
      c.fillRect(10, y + 4, 4, plan.line - 8);
    }
    c.font = `${item.total ? "600 " : quiet ? "italic " : ""}${colors.font}`;
    c.fillStyle = quiet ? colors.muted : colors.ink;
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.fillText(this.cut(c, item.name, plan.label - 24), item.total ? 10 : 20, middle);
  }

  drawTotal(c, { total }, y) {
    const { plan, colors, scale } = this;
    const [from, to] = [scale(max(0, scale.domain()[0])), scale(total.total)];
    this.bar(c, min(from, to), y + 5, max(1, abs(to - from)), plan.line - 10, total.hatched, total === this.data.sides[0] ? colors.quiet : colors.bar);
    if (this.cutOff) this.drawTear(c, plan.box.left + 9, y + 3, plan.line - 6);
    this.whisker(c, scale(total.low ?? NaN), scale(total.high ?? NaN), y + plan.line / 2);
    const text = plan.wide ? showInterval(total.total, total.low, total.high, this.data.format, this.data.unit) : show(total.total, this.data.format, this.data.unit);
    this.write(c, text, y, colors.ink, true);
  }

  /** Two slanted lines: what stands left of them is left out. */
  drawTear(c, x, y, height) {
    c.strokeStyle = this.colors.surface;
    c.lineWidth = 3;
    for (const d of [0, 6]) {
      c.beginPath();
      c.moveTo(x + d - 3, y + height);
      c.lineTo(x + d + 3, y);
      c.stroke();
    }
  }

  drawStep(c, item, y) {
    const { plan, colors, scale, theme } = this;
    const [from, to] = [scale(item.from), scale(item.to)];
    const color = item.kind === STANDS.between ? colors.muted : theme.diverging[item.moved > 0 ? 7 : 1];
    const same = this.isSame(item);
    const hatched = item.kind === STANDS.oneSided || this.data.sides.some((side) => side.hatched);
    this.bar(c, min(from, to), y + 5, max(2, abs(to - from)), plan.line - 10, hatched, color, same);
    this.whisker(c, scale(item.from + item.low), scale(item.from + item.high), y + plan.line / 2);
    this.write(c, this.signed(item.moved, item.low, item.high, plan.wide), y, same ? colors.muted : colors.ink);
  }

  /** True where the intervals of both overlap: these runs do not tell them apart. */
  isSame(item) {
    return item.group === undefined ? item.low <= 0 && item.high >= 0 : this.number("same", item.group) === 1;
  }

  /** A thin line down to where the next bar begins. */
  drawLink(c, value, y) {
    const { plan, colors } = this;
    const x = round(this.scale(value)) + 0.5;
    c.strokeStyle = colors.muted;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(x, y + plan.line - 5);
    c.lineTo(x, y + plan.line + 5);
    c.stroke();
  }

  whisker(c, low, high, middle) {
    const y = floor(middle);
    if (!(high - low >= 2)) return;
    const { box } = this.plan;
    const [a, b] = [max(low, box.left), min(high, box.left + box.width + 8)];
    c.fillStyle = this.colors.surface; // a rim, so that it shows on bars of any colour
    c.fillRect(a - 1, y - 1, b - a + 2, 3);
    c.fillStyle = this.colors.ink;
    c.fillRect(a, y, b - a, 1);
    if (a === low) c.fillRect(a, y - 4, 1, 8);
    if (b === high) c.fillRect(b - 1, y - 4, 1, 8);
  }

  drawPair(c, item, y) {
    const { plan, colors, scale, data } = this;
    const zero = scale(0);
    const same = this.isSame(item);
    ["before", "after"].forEach((name, side) => {
      const [value, low, high] = ["", "_low", "_high"].map((end) => this.number(`${name}${end}`, item.group));
      const at = y + 5 + side * 14;
      const color = side ? colors.bar : colors.quiet;
      const absent = !item.rows.some((row) => this.ran(data.sides[side], row));
      if (!absent && !known(value)) this.hatch(c, zero, at, 24, 12);
      else if (!absent) {
        const to = scale(value);
        this.bar(c, min(zero, to), at, max(1, abs(to - zero)), 12, data.sides[side].hatched, color);
        this.whisker(c, scale(low), scale(high), at + 6);
      }
      c.font = colors.small;
      c.textAlign = "left";
      c.fillStyle = absent || !known(value) ? colors.muted : colors.ink;
      const number = plan.wide ? showInterval(value, low, high, data.format, data.unit) : show(value, data.format, data.unit);
      c.fillText(absent ? "no such layer" : known(value) ? number : plan.wide ? `${MISSING} not measured` : MISSING, plan.value, at + 6.5);
    });
    const ratio = this.number("ratio", item.group);
    c.textAlign = "right";
    c.font = same || !known(ratio) ? colors.font : `600 ${colors.font}`;
    c.fillStyle = same || !known(ratio) ? colors.muted : colors.ink;
    c.fillText(`${same ? "≈ " : ""}${show(ratio, "ratio")}`, plan.ratio, y + plan.line / 2 + 0.5);
  }

  write(c, text, y, ink, bold = false) {
    const { plan, colors } = this;
    c.font = `${bold ? "600 " : ""}${plan.wide ? colors.small : colors.small}`;
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.fillStyle = ink;
    c.fillText(text, plan.value, y + plan.line / 2 + 0.5);
  }

  /** A difference with its sign, `+120 µs [+90, +150]` in short. */
  signed(value, low, high, whole = true) {
    const { format, unit } = this.data;
    const text = whole ? showInterval(value, low, high, format, unit) : show(value, format, unit);
    return `${value > 0 ? "+" : ""}${text}`.replaceAll("-", "−");
  }

  drawLegend() {
    if (this.legend.hidden) return;
    const { data, theme, colors } = this;
    const mark = (text, kind = "", color = "") => {
      const node = h("span", { class: `ep-mark ${kind}` }, text);
      if (color) node.style.setProperty("--c", color);
      return node;
    };
    const told = ({ label, origin }) => (label.endsWith(origin) ? label : `${label}: ${origin}`);
    const fills = [colors.quiet, colors.bar];
    const parts = this.side ? data.sides.map((side, k) => mark(told(side), side.hatched ? "ep-mark-hatched" : "", fills[k])) : [];
    if (!this.side) parts.push(mark("less", "", theme.diverging[1]), mark("more", "", theme.diverging[7]));
    const some = this.items.some((item) => !item.total && this.isSame(item));
    if (some && !this.side) parts.push(mark("pale: the intervals overlap, not distinguishable", "ep-mark-open"));
    if (some && this.side) parts.push(h("span", {}, "≈ the intervals overlap, not distinguishable"));
    if (this.items.some((item) => item.total || known(item.low) || this.side)) parts.push(mark(this.side ? "95 % interval" : "95 % interval, of a difference the worst case of both", "ep-mark-whisker"));
    const odd = this.side ? [] : data.sides.filter((side) => side.hatched).map(told);
    if (odd.length) parts.push(mark(`hatched: ${odd.join("; ")}`, "ep-mark-hatched", theme.diverging[1]));
    if (this.items.some((item) => item.kind === STANDS.oneSided)) parts.push(h("span", {}, "measured of one only: nothing is known of the difference"));
    if (this.items.some((item) => item.kind === STANDS.inserted)) parts.push(h("em", {}, "(in brackets): inserted, no node of the model"));
    this.legend.replaceChildren(...parts);
  }

  // -- hover --

  rowAt(event) {
    const y = event.clientY - this.canvas.getBoundingClientRect().top;
    if (y < DIFFERENCE.head || y >= DIFFERENCE.head + this.plan.room) return null;
    const i = floor((y - DIFFERENCE.head + this.grid.scrollTop) / this.plan.line);
    return i < this.items.length ? i : null;
  }

  pointer(event) {
    const old = this.hover;
    this.hover = this.rowAt(event);
    if (old !== this.hover) {
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
    const item = this.items[this.hover];
    this.card.hidden = !item;
    if (!item) return;
    const list = h("dl", {});
    for (const [name, text, strong] of this.facts(item)) list.append(h("dt", {}, name), h("dd", { class: strong ? "ep-strong" : null }, text));
    this.card.replaceChildren(h("div", { class: "ep-card-title" }, item.name), list);
  }

  facts(item) {
    const { data } = this;
    const number = (value, low, high) => showInterval(value, low ?? NaN, high ?? NaN, data.format, data.unit).replace(MISSING, "not measured");
    const [before, after] = data.sides;
    if (item.total) return [[data.metric_title, number(item.total.total, item.total.low, item.total.high)], ["Origin", item.total.origin || "measured"]];
    const facts = [];
    const [row] = item.rows;
    if (item.group === undefined) facts.push(["Layers", grouped(item.rows.length)]);
    else if (this.options.by !== "row") facts.push(["Layers", item.rows.length > 4 ? grouped(item.rows.length) : item.rows.map((r) => data.names[r]).join(", ")]);
    else if (this.text("op_type", row)) facts.push(["Op type", item.kind === STANDS.inserted ? `${this.text("op_type", row)}, inserted` : this.text("op_type", row)]);
    if (item.group !== undefined) {
      ["before", "after"].forEach((name, k) => {
        const absent = !item.rows.some((r) => this.ran(data.sides[k], r));
        facts.push([data.sides[k].label, absent ? "no such layer" : number(...["", "_low", "_high"].map((end) => this.number(name + end, item.group)))]);
      });
    }
    const [moved, low, high] = this.moved(item);
    if (known(moved)) facts.push(["Difference", `${this.signed(moved, low, high)}${this.isSame(item) ? ", not distinguishable: the intervals overlap" : ""}`, true]);
    if (item.group !== undefined && known(this.number("ratio", item.group))) facts.push(["Ratio", show(this.number("ratio", item.group), "ratio")]);
    const all = after.total - before.total;
    if (known(moved) && known(all) && all) facts.push(["Of the whole difference", show(moved / all, "share")]);
    if (item.rows.length === 1) this.addRan(facts, row);
    return facts;
  }

  /** The difference with its ends; what was measured of one only has none. */
  moved(item) {
    if (item.group === undefined) return [item.kind === STANDS.oneSided ? NaN : item.moved, item.low, item.high];
    return ["difference", "difference_low", "difference_high"].map((name) => this.number(name, item.group));
  }

  addRan(facts, row) {
    const { sides, sources } = this.data;
    const nodes = sources[row];
    if (nodes?.length) facts.push(["Original nodes", nodes.length > 4 ? `${nodes.slice(0, 3).join(", ")} and ${nodes.length - 3} more` : nodes.join(", ")]);
    const [a, b] = sides.map((side) => this.ran(side, row));
    if (this.text("kind", row) === "between") return;
    if (a && a === b) facts.push(["Ran as", a]);
    else if (a || b) facts.push(...[a, b].flatMap((text, k) => (text ? [["Ran as", `${text} (${sides[k].label})`]] : [])));
  }

  // -- selection --

  click(event) {
    const i = this.rowAt(event);
    if (i === null) return;
    const anchor = this.active;
    this.active = i;
    if (event.shiftKey) this.pick(this.range(anchor, i), true);
    else this.pick(this.items[i].rows, event.ctrlKey || event.metaKey, true);
    this.speak();
  }

  range(a, b) {
    return this.items.slice(min(a, b), max(a, b) + 1).flatMap((item) => item.rows);
  }

  /** A person selects rows: instead of the selection, or added to it; `toggle` takes away what is selected already. */
  pick(rows, add, toggle = false) {
    const had = rows.length > 0 && rows.every((row) => this.selected.has(row)) && (add || this.selected.size === rows.length);
    if (!add) this.selected.clear();
    if (toggle && had) rows.forEach((row) => this.selected.delete(row));
    else rows.forEach((row) => this.selected.add(row));
    this.mark();
    this.redraw();
    this.options.onSelect?.(this.selection());
  }

  /** How much of each item is selected: 0 nothing, 1 some of it, 2 all. */
  mark() {
    this.marks = this.items.map(({ rows }) => {
      if (!rows.length || !this.selected.size) return 0;
      const n = rows.reduce((count, row) => count + this.selected.has(row), 0);
      return n === rows.length ? 2 : n ? 1 : 0;
    });
  }

  /** Selects these layers (from outside) and scrolls to the first of them. */
  select(names) {
    this.selected = new Set(names.map((name) => this.rowOf.get(name)).filter((row) => row !== undefined));
    this.mark();
    const first = this.marks.findIndex(Boolean);
    if (first >= 0) this.reveal(first);
    this.redraw();
  }

  reveal(i) {
    if (!this.plan) return;
    this.active = i;
    const y = i * this.plan.line;
    if (y < this.grid.scrollTop) this.grid.scrollTop = y;
    else if (y > this.grid.scrollTop + this.plan.room - this.plan.line) this.grid.scrollTop = y - this.plan.room + this.plan.line;
  }

  key(event) {
    const last = this.items.length - 1;
    const page = max(1, floor((this.plan?.room ?? 0) / (this.plan?.line ?? 1)) - 1);
    const { active } = this;
    const moves = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: last };
    if (event.key in moves) {
      this.reveal(min(last, max(0, moves[event.key])));
      if (event.shiftKey) this.pick(this.range(active, this.active), true);
    } else if (event.key === " " || event.key === "Enter") {
      if (this.items[active]) this.pick(this.items[active].rows, event.ctrlKey || event.metaKey || event.shiftKey, true);
    } else if (event.key === "Escape") this.pick([], false);
    else if (event.key === "/" && this.side) this.search.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.speak();
    this.redraw();
  }

  /** Says the current row to a screen reader. */
  speak() {
    const item = this.items[this.active];
    if (!item) return;
    const told = this.facts(item).filter(([name]) => name !== "Ran as" && name !== "Original nodes");
    const words = told.map(([name, text]) => `${name} ${text}`).join(", ");
    this.voice.textContent = visible(`${item.name}, ${words}${this.marks[this.active] === 2 ? ", selected" : ""}`);
    this.live.textContent = this.voice.textContent;
    this.voice.setAttribute("aria-selected", String(this.marks[this.active] === 2));
    this.voice.setAttribute("aria-posinset", this.active + 1);
    this.voice.setAttribute("aria-setsize", this.items.length);
    this.grid.setAttribute("aria-activedescendant", this.voice.id);
  }

  // -- outside: theme, size, options --

  recolor() {
    this.drawLegend();
    this.redraw();
  }

  /** Changes options from outside; onChange is not called for them. New data keeps selection, scroll and what is shown, where it still can. */
  set(values) {
    this.guard(() => {
      const { data, selection, ...rest } = values;
      Object.assign(this.options, rest);
      const names = selection ?? this.selection();
      if (data) {
        const { scrollTop } = this.grid;
        const focused = this.element.contains(document.activeElement) && document.activeElement === this.grid;
        this.load(data);
        this.build();
        this.applyTheme();
        this.selected = new Set(names.map((name) => this.rowOf.get(name)).filter((row) => row !== undefined));
        this.arrange();
        this.grid.scrollTop = scrollTop;
        if (focused) this.grid.focus({ preventScroll: true });
        return;
      }
      this.applyTheme();
      this.arrange();
      if (selection) this.select(selection);
    })();
  }
}
