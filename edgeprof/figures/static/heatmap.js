/**
 * Heatmap of a profile: layers x metrics and layers x runs; or of one model on several boards: layers x boards. Drawn on a canvas.
 * No dependencies; knows nothing of Jupyter.
 *
 *   import { renderHeatmap } from "./heatmap.js";
 *   const view = renderHeatmap(element, data, options);
 *
 * data       {meta, numbers} of figures.heatmap.heatmap(profile).to_json(), or figures.boards.boards(profiles).to_json();
 *            numbers may be base64, ArrayBuffer or any view of one
 * options    all optional
 *   runs       {meta, numbers} of figures.heatmap.heatmap_runs(profile).to_json(); null: asked for with onChange({mode: "runs"})
 *   mode       "metrics" | "runs"            sort       "execution" | "op_type" | name of a column ("latency_ms")
 *              boards: "absolute" | "share" | "ratio"
 *   group      "none" | "op_type" | "block": rows put together   values  "absolute" | "share": of the column's total
 *   selection  names of layers               statistic  "max" | "median", how runs that share a column are put together
 *   selectedRuns  numbers of runs
 *   embedded   true: no header, no table; the whole view is `height` px high
 *   height     of the grid in px; 0: fits    theme      "auto" (JupyterLab, VS Code, then the system) | "light" | "dark"
 *   onSelect   (names) => {}: a person changed the selection (not called for select())
 *   onSelectRuns  (numbers) => {}: a person changed the selected runs
 *   onChange   ({mode | sort | group | values | statistic | metric | baseline: value}) => {}: a person changed a control
 *   canAsk     true when onChange({statistic}) is answered with set({runs}) and other numbers with set({data}): shows such controls
 * returns    {element, select(names), selectRuns(numbers), set({any of the options, data}), destroy()}
 *
 * New data keep scroll, sort, search, open groups and what is selected, by name. While a profile runs its header holds `running`: true
 * or words such as "34 of 100 runs".
 *
 * heatmap_groups.js stands in front of this module, in the same scope. The style sheet is heatmap.css. Texts reach the page as text nodes only. Errors are shown inside the element.
 */

const ROW = 22;
const GAP = 8; // sets the row between layers apart
const MAP_WIDTH = 26;
let views = 0;

export function renderHeatmap(el, data, options = {}) {
  return made(el, () => new Heatmap(el, data, options));
}

// ---- the view ----

class Heatmap extends HeatmapGroups {
  constructor(el, data, options) {
    super(el, "ep-heatmap", { sort: "execution", group: "none", values: "absolute", statistic: "max", height: 0, ...options });
    this.id = `ep-heatmap-${(views += 1)}`;
    this.scaleWish = "auto";
    this.relative = true;
    this.query = "";
    this.selected = new Set();
    this.active = { row: 0, col: 0 }; // place in the order shown, column shown
    this.hover = null;
    this.pinned = null; // rows of the linked table, kept while a person selects inside it
    this.tableSort = null;
    this.load(data, options.runs);
    this.build();
    this.applyTheme();
    this.arrange();
    this.select(options.selection ?? []);
    this.chosenRuns = new Set(options.selectedRuns ?? []);
    this.drawTable();
    this.watch();
  }

  load(data, runs) {
    this.data = unpack(data);
    this.runs = runs?.meta ? unpack(runs) : null;
    this.membersOf = undefined;
    const { names, texts, arrays } = this.data;
    this.text = (name, row) => texts[name]?.[arrays[name][row]] ?? "";
    this.element.classList.toggle("ep-boards", Boolean(this.data.modes));
    this.modes = this.data.modes ?? { metrics: { title: "Metrics", columns: this.data.columns }, runs: { title: "Runs" } };
    if (!this.modes[this.options.mode]) [this.options.mode] = Object.keys(this.modes);
    this.lead = this.data.lead ?? { name: "latency_ms", title: "Latency", by: "latency", estimated: this.data.header.origin === "estimated" };
    this.leadColumn = this.data.columns.find((column) => column.name === this.lead.name);
    this.rowOf = new Map(names.map((name, i) => [name, i]));
    this.between = names.findIndex((_, i) => this.text("kind", i) === "between");
    this.layers = names.length - (this.between >= 0);
  }

  get byRun() {
    return this.options.mode === "runs";
  }

  /** The mode that is shown; one with runs has no metrics of its own. */
  get shown() {
    return this.modes[this.options.mode];
  }

  get metrics() {
    return this.shown.columns ?? this.data.columns;
  }

  /** Whether the numbers of a column are shown as shares of its total. */
  asShare(column) {
    return this.options.values === "share" && !this.byRun && column.total > 0;
  }

  // -- frame: header, controls, grid, legend, table --

  build() {
    const on = (fn) => this.guard(fn);
    this.grid = h("div", { class: "ep-scroll", role: "grid", tabindex: 0, "aria-multiselectable": "true", "data-lm-suppress-shortcuts": "true" });
    this.canvas = h("canvas", { class: "ep-canvas", role: "presentation" });
    this.space = h("div", { class: "ep-space", role: "presentation" }, this.canvas);
    this.voice = h("div", { id: `${this.id}-cell`, role: "gridcell" });
    this.voiceRow = h("div", { class: "ep-voice", role: "row" }, this.voice);
    this.grid.append(this.voiceRow, this.space);
    this.map = h("canvas", { class: "ep-map", "aria-hidden": "true", title: "Whole model by latency" });
    this.card = h("div", { class: "ep-card", hidden: true, "aria-hidden": "true" });
    this.empty = h("div", { class: "ep-empty", hidden: true });
    this.live = h("div", { class: "ep-voice", "aria-live": "polite" });
    this.legend = h("div", { class: "ep-legend" });
    this.table = h("div", { class: "ep-table" });
    this.tools = h("div", { class: "ep-tools", role: "toolbar", "aria-label": "Heatmap controls" });
    this.search = h("input", { type: "search", placeholder: "Search layers, or /regex/", "aria-label": "Search layers", "data-lm-suppress-shortcuts": "true" });
    this.count = h("span", { class: "ep-count" });
    this.body = h("div", { class: "ep-grid" }, this.grid, this.map);
    this.badge = h("span", { class: "ep-running", hidden: true });
    this.more = h("button", { type: "button", class: "ep-more-tools", "aria-expanded": "false", "aria-label": "More controls", title: "More controls", onclick: on(() => this.showMore()) }, "⋯");
    this.head = this.header(this.data);
    this.element.replaceChildren(this.head, this.tools, this.body, this.empty, this.legend, this.table, this.live, this.card);

    this.search.addEventListener("input", on(() => this.filter(this.search.value)));
    this.search.addEventListener("keydown", on((e) => this.searchKey(e)));
    this.grid.addEventListener("scroll", on(() => this.redraw()));
    this.grid.addEventListener("pointermove", on((e) => this.pointer(e)));
    this.grid.addEventListener("pointerleave", on(() => this.unhover()));
    this.grid.addEventListener("click", on((e) => this.click(e)));
    this.grid.addEventListener("keydown", on((e) => this.key(e)));
    this.grid.addEventListener("focus", on(() => (this.speak(), this.redraw())));
    this.grid.addEventListener("blur", on(() => this.redraw()));
    this.map.addEventListener("pointerdown", on((e) => (this.map.setPointerCapture(e.pointerId), this.dragMap(e))));
    this.map.addEventListener("pointermove", on((e) => e.buttons && this.dragMap(e)));
  }

  /** Controls are made anew only when they change: new data must not close an open menu. */
  controls() {
    const { mode, sort, statistic, values } = this.options;
    const shares = this.metrics.some((column) => column.total > 0);
    const asked = (this.options.canAsk && this.data.menus) || [];
    const binned = this.byRun && this.options.canAsk && this.runs?.runs_per_column > 1;
    const ways = Object.entries(this.data.groups ?? {}).map(([key, { title }]) => [key, title]);
    const state = [this.options.mode, this.modes, sort, this.sorts(), statistic, this.way, ways, values, shares, asked, binned, this.relative, this.scaleWish];
    const made = JSON.stringify(state, (key, value) => (key === "columns" ? undefined : value));
    if (made === this.controlsMade) return;
    this.controlsMade = made;
    const parts = [
      this.segments("View", Object.fromEntries(Object.entries(this.modes).map(([key, { title }]) => [key, title])), mode, (value) => this.change({ mode: value })),
      this.menu("Sort", this.sorts(), sort, (value) => this.change({ sort: value })),
    ];
    if (ways.length) parts.push(this.menu("Group", { none: "None", ...Object.fromEntries(ways) }, this.way ?? "none", (value) => this.regroup(value)));
    if (this.way) parts.push(this.folds());
    const extra = asked.map(({ name, title, choices, value }) => this.menu(title, choices, value, (picked) => this.options.onChange?.({ [name]: picked })));
    if (shares && !this.byRun) {
      extra.push(this.menu("Values", { absolute: "Absolute", share: "Share of total" }, values, (value) => this.change({ values: value })));
    }
    if (this.shown.diverging) {
      // one scale only
    } else if (!this.byRun) {
      const wishes = { auto: "Auto", linear: "Linear", log: "Log" };
      extra.push(this.menu("Scale", wishes, this.scaleWish, (value) => ((this.scaleWish = value), this.arrange())));
    } else {
      const kinds = { ratio: "× median", ms: "ms" };
      extra.push(this.segments("Colour", kinds, this.relative ? "ratio" : "ms", (v) => ((this.relative = v === "ratio"), this.arrange())));
      if (binned) extra.push(this.menu("Column", { max: "Maximum", median: "Median" }, statistic, (value) => this.change({ statistic: value })));
    }
    for (const part of extra) part.classList.add("ep-extra");
    // the search box stays in the page: moving it would take its focus away
    this.tools.querySelectorAll(":scope > :not(.ep-search, .ep-running)").forEach((old) => old.remove());
    if (!this.search.parentElement) this.tools.append(this.badge, h("div", { class: "ep-search" }, this.search, this.count));
    this.tools.prepend(...parts, ...extra, ...(this.options.embedded && extra.length ? [this.more] : []));
  }

  folds() {
    const button = (text, title, open) => h("button", { type: "button", title, "aria-label": title, onclick: this.guard(() => this.openAll(open)) }, text);
    return h("div", { class: "ep-segments ep-folds", role: "group", "aria-label": "Groups" }, button("▸", "Collapse all", false), button("▾", "Expand all", true));
  }

  regroup(group) {
    this.options.group = group;
    if (this.way && this.query) this.openFound();
    this.grid.scrollTop = 0;
    this.active.row = 0;
    this.change({ group });
  }

  showMore() {
    const open = this.element.classList.toggle("ep-more");
    this.more.setAttribute("aria-expanded", String(open));
    this.resize();
  }

  /** Says that the profile is still running, and how far it is. */
  drawBadge() {
    const { running } = this.data.header;
    const text = !running ? "" : typeof running === "string" ? running : "running";
    if (this.badge.textContent !== text) this.badge.textContent = text;
    this.badge.hidden = !text;
  }

  sorts() {
    const { name, title, note } = this.lead;
    const fixed = { execution: this.data.order ?? "Execution order", [name]: note ? `${title}, ${note}` : title, op_type: "Op type" };
    const columns = Object.values(this.modes).flatMap((mode) => mode.columns ?? []);
    const more = columns.find((c) => c.name === this.options.sort && !fixed[c.name]);
    return more ? { ...fixed, [more.name]: more.label ? more.name : more.title } : fixed;
  }

  /** A person changed a control. */
  change(values) {
    Object.assign(this.options, values);
    if (values.sort) this.grid.scrollTop = 0; // who sorts wants to see what comes first
    this.arrange();
    this.options.onChange?.(values);
  }

  // -- which rows, which columns, where --

  arrange() {
    this.controls();
    this.options.sort = this.options.sort === "latency" ? this.lead.name : this.options.sort;
    const shown = [];
    for (let i = 0; i < this.data.names.length; i++) if (i !== this.between && this.matches(i)) shown.push(i);
    this.order = this.way ? this.inGroups(shown) : this.sorted(shown);
    if (this.between >= 0 && this.matches(this.between)) this.order.push(this.between);
    this.place = new Map(this.order.map((row, i) => [row, i]));
    this.longest = this.tallest();
    this.count.textContent = this.query ? `${grouped(shown.length)} of ${grouped(this.layers)}` : `${grouped(this.layers)} layers`;
    this.columns = this.byRun ? (this.runs?.columns ?? []) : this.metrics;
    this.scales = this.byRun ? [] : this.columns.map((c) => c.scales[this.scaleWish]);
    if (this.keptActive != null) {
      const at = this.order.findIndex((row) => this.title(row) === this.keptActive);
      if (at >= 0) this.active.row = at;
      this.keptActive = null;
    }
    this.active.row = min(this.active.row, max(0, this.order.length - 1));
    this.active.col = min(this.active.col, max(0, this.columns.length - 1));
    this.drawBadge();
    this.grid.setAttribute("role", this.way ? "treegrid" : "grid");
    this.grid.setAttribute("aria-rowcount", this.order.length);
    this.grid.setAttribute("aria-colcount", this.columns.length);
    this.grid.setAttribute("aria-label", `${this.data.title}: layers by ${this.options.mode}`);
    this.showEmpty();
    this.resize();
    this.drawLegend();
  }

  /** The largest number that is drawn as a bar. */
  tallest() {
    let most = 0;
    for (let i = 0; i < this.data.names.length; i++) most = max(most, this.value(this.lead.name, i) || 0);
    if (this.way) for (let i = 0; i < this.groups.length; i++) most = max(most, this.value(this.lead.name, this.data.names.length + i) || 0);
    return most;
  }

  matches(row) {
    if (!this.query) return true;
    const texts = [this.data.names[row], this.text("op_type", row)];
    if (this.regex) return texts.some((t) => this.regex.test(t));
    return texts.some((t) => t.toLowerCase().includes(this.query));
  }

  filter(text) {
    const searched = Boolean(this.query);
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
    if (this.way && Boolean(this.query) !== searched) this.openFound();
    this.grid.scrollTop = 0;
    this.arrange();
  }

  /** All groups are open while a search is on, and as they were after it. */
  openFound() {
    if (this.query) this.openBefore = this.opened[this.way];
    this.opened[this.way] = this.query ? new Set(this.groups) : this.openBefore;
  }

  sorted(rows) {
    const { sort } = this.options;
    if (sort === "execution") return rows;
    const values = this.data.arrays[sort === "op_type" ? this.lead.name : sort];
    const number = (row) => (known(values?.[row]) ? values[row] : -Infinity);
    const byNumber = (a, b) => (number(a) === number(b) ? a - b : number(b) - number(a));
    if (sort !== "op_type") return rows.sort(byNumber);
    return rows.sort((a, b) => this.text("op_type", a).localeCompare(this.text("op_type", b)) || byNumber(a, b));
  }

  showEmpty() {
    let text = "";
    if (!this.layers) text = "This profile has no layers. Profile a model with instrumented runs, or open another .edgeprof file.";
    else if (this.byRun && !this.data.instrumented_runs) {
      text = "This profile has no instrumented runs, so there is nothing to show run by run. Profile the model again with runs=100, or look at the metrics.";
    } else if (this.byRun && !this.columns.length) text = "Loading the runs …";
    else if (!this.order.length) text = "No layer matches the search. Press Esc in the search box to see all of them.";
    this.empty.textContent = text;
    this.empty.hidden = !text;
    this.body.hidden = this.legend.hidden = Boolean(text);
    this.table.hidden = !this.layers;
  }

  resize() {
    const width = this.body.clientWidth;
    if (this.body.hidden || !width) return;
    if (!this.colors.ink) this.applyTheme(); // a notebook makes the view before it puts it into the page
    const rows = this.order.length * ROW + (this.between >= 0 ? GAP : 0) + 2;
    const given = this.options.embedded && this.options.height ? this.roomInside() : this.options.height;
    const room = given ? (head) => max(2 * ROW, given - head) : () => min(rows, 22 * ROW + GAP);
    let plan = this.layout(width);
    const overflow = rows > room(plan.head);
    if (overflow) plan = this.layout(width - MAP_WIDTH - 12);
    const height = plan.head + room(plan.head);
    this.plan = { ...plan, overflow, height };
    this.body.classList.toggle("ep-overflow", overflow);
    this.body.style.height = `${height}px`;
    this.space.style.height = `${plan.head + rows - 2}px`;
    fit(this.canvas, plan.width, height - 2);
    fit(this.map, MAP_WIDTH, height);
    this.mapPicture = null;
    this.redraw();
  }

  /** What the controls and the legend leave of the height that was given. */
  roomInside() {
    const outer = (node) => (node.hidden ? 0 : node.offsetHeight + parseFloat(getComputedStyle(node).marginTop) + parseFloat(getComputedStyle(node).marginBottom));
    return this.options.height - outer(this.tools) - outer(this.legend);
  }

  /** Where things lie for a grid of this width: label, op type, bar, cells. */
  layout(width) {
    const runs = this.byRun;
    const n = max(1, this.columns.length);
    const op = width > 940 ? 112 : 0;
    const bar = round(min(120, max(52, width * 0.08)));
    const longest = this.data.names.reduce((m, name) => max(m, name.length), 8) * 7 + 30;
    const label = round(min(longest + 14 * Boolean(this.way), max(width < 520 ? 126 : 170, min(440, width * 0.3))));
    const x = label + op + bar + 10;
    const angled = !runs && (width - x - 4) / n < 70;
    const boards = Boolean(this.data.modes); // their names are longer than those of metrics
    const low = this.options.embedded && this.options.height && this.options.height < 400; // a pane has little room for heads
    const [slant, tilt] = low ? [boards ? 56 : 36, boards ? 92 : 72] : boards ? [76, 140] : [44, 104];
    const cell = min(runs ? 34 : boards ? 136 : 104, (width - x - (angled ? slant : 4)) / n); // the last slanted heading needs room
    const lines = 22 * this.columns.some((c) => c.note) + 18 * this.columns.some((c) => c.origin);
    return { width, label, op, bar, x, cell, angled, head: runs ? 52 : angled ? tilt : 54 + lines };
  }

  rowTop(i) {
    return this.plan.head + i * ROW + (this.order[i] === this.between ? GAP : 0) - this.grid.scrollTop;
  }

  rowAt(y) {
    if (y < this.plan.head) return -1;
    const i = floor((y - this.plan.head + this.grid.scrollTop) / ROW);
    const last = this.order.length - 1;
    if (i >= last && this.order[last] === this.between) return y >= this.rowTop(last) && y < this.rowTop(last) + ROW ? last : y < this.rowTop(last) - GAP ? min(i, last - 1) : -2;
    return i <= last ? i : -2;
  }

  // -- drawing --

  draw() {
    if (!this.plan || this.body.hidden) return;
    const c = pen(this.canvas);
    const { plan, colors } = this;
    const ratio = this.canvas.width / plan.width;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, plan.width, plan.height);
    c.textBaseline = "middle";
    const first = max(0, floor(this.grid.scrollTop / ROW) - 1);
    const last = min(this.order.length - 1, ceil((this.grid.scrollTop + plan.height - plan.head) / ROW));
    c.save();
    c.beginPath();
    c.rect(0, plan.head, plan.width, plan.height);
    c.clip();
    for (let i = first; i <= last; i++) this.drawRow(c, i);
    this.drawActive(c);
    c.restore();
    if (this.byRun) this.drawRunHeads(c);
    else this.drawColumnHeads(c);
    if (this.byRun) this.drawChosenRuns(c);
    c.fillStyle = colors.line;
    c.fillRect(0, plan.head - 1, plan.width, 1);
    this.drawMap();
  }

  drawRow(c, i) {
    const { plan, colors, order } = this;
    const row = order[i];
    const y = this.rowTop(i);
    const isBetween = row === this.between;
    if (isBetween) {
      c.fillStyle = colors.line;
      c.fillRect(0, y - GAP / 2, plan.width, 1);
    }
    const chosen = this.isGroup(row) ? this.chosenIn(row) : 0;
    const selected = this.isGroup(row) ? chosen > 0 && chosen === this.layersOf(row).length : this.selected.has(row);
    if (selected || this.hover?.i === i) {
      c.fillStyle = selected ? colors.selected : colors.hover;
      c.fillRect(0, y, plan.width, ROW);
    }
    if (selected) {
      c.fillStyle = colors.accent;
      c.fillRect(0, y, 3, ROW);
    } else if (chosen) {
      c.fillStyle = colors.accent; // some of its layers
      for (const part of [1, 9, 17]) c.fillRect(0, y + part, 3, 4);
    }
    this.drawLabel(c, row, y, isBetween);
    this.drawBar(c, row, y);
    if (this.byRun) this.drawRunCells(c, row, y);
    else this.drawMetricCells(c, row, y, isBetween);
  }

  drawLabel(c, row, y, isBetween) {
    const { plan, colors, theme } = this;
    if (this.isGroup(row)) return this.drawGroupLabel(c, row, y);
    const kind = this.text("kind", row);
    const indent = (this.options.sort === "execution" ? 12 * this.depth(row) : 0) + (this.way && !isBetween ? 14 : 0);
    const x = 10 + indent;
    if (!isBetween) {
      c.fillStyle = theme.ops[this.data.arrays.op_type[row]];
      c.fillRect(x, y + 4, 4, ROW - 8);
    }
    const mark = { inserted: "+ ", nested: "↳ " }[kind] ?? "";
    c.fillStyle = isBetween || kind === "inserted" ? colors.muted : colors.ink;
    c.font = `${kind === "inserted" || isBetween ? "italic " : ""}${colors.font}`;
    c.textAlign = "left";
    c.fillText(this.cut(c, mark + this.data.names[row], plan.label - x - 14), x + 10, y + ROW / 2 + 0.5);
    if (plan.op) {
      c.font = colors.small;
      c.fillStyle = colors.muted;
      c.fillText(this.cut(c, this.text("op_type", row), plan.op - 10), plan.label + 2, y + ROW / 2 + 0.5);
    }
  }

  /** Latency, or what the view is about, beside the name, with its 95 % interval as a whisker. */
  drawBar(c, row, y) {
    const { plan, colors } = this;
    const x = plan.label + plan.op;
    const wide = (v) => (max(0, v) / (this.longest || 1)) * (plan.bar - 6);
    const value = this.value(this.lead.name, row);
    if (!known(value)) {
      if (!this.isAbsent(this.leadColumn, row)) this.hatch(c, x, y + 7, 24, ROW - 14);
      return;
    }
    const length = min(plan.bar, max(wide(value), value > 0 ? 1 : 0));
    c.fillStyle = row === this.between ? colors.muted : colors.bar;
    c.fillRect(x, y + 7, length, ROW - 14);
    if (this.lead.estimated) this.hatch(c, x, y + 7, length, ROW - 14, colors.surface);
    const [low, high] = (this.leadColumn?.interval ?? []).map((name) => min(plan.bar, wide(this.value(name, row))));
    if (high - low >= 2) {
      c.fillStyle = colors.ink;
      c.fillRect(x + low, y + ROW / 2 - 0.5, high - low, 1);
      c.fillRect(x + low, y + 8, 1, ROW - 16);
      c.fillRect(x + high - 1, y + 8, 1, ROW - 16);
    }
  }

  /** True where a board has no layer for this row. */
  isAbsent(column, row) {
    return Boolean(column?.ran) && !this.ran(column, row);
  }

  /** What a board ran for this row. */
  ran(column, row) {
    return this.data.texts.ran[this.data.arrays[column.ran][row]];
  }

  drawMetricCells(c, row, y, isBetween) {
    const { plan, colors } = this;
    const lut = this.shown.diverging ? this.divergingLut : this.lut;
    c.font = plan.cell < 52 ? colors.tiny : colors.small;
    c.textAlign = "center";
    const sample = this.data.modes ? show(0.888, this.columns[0].format) : "88.8 MB";
    const written = c.measureText(sample).width <= plan.cell - 4; // all numbers or none: the short ones alone would mislead
    this.columns.forEach((column, k) => {
      const x = plan.x + round(k * plan.cell);
      const w = round((k + 1) * plan.cell) - round(k * plan.cell) - 1;
      const value = this.value(column.name, row);
      let ink = colors.muted;
      const scale = this.scaleOf(k, row);
      if (!scale || this.isAbsent(column, row)) return;
      const measured = known(value) || (this.shown.diverging && known(this.value(this.data.columns[k].name, row))); // a ratio may not exist
      if (!measured) this.hatch(c, x, y, w, ROW - 1);
      else if (!isBetween && known(value)) {
        const step = lut[round(place(value, scale) * 255)];
        c.fillStyle = step.fill;
        c.fillRect(x, y, w, ROW - 1);
        ink = step.ink;
      }
      const text = written ? this.cellText(column, row, value) : ""; // plain numbers have their unit in the column's head
      c.fillStyle = ink;
      if (c.measureText(text).width <= w - 2) c.fillText(text, x + w / 2, y + ROW / 2);
    });
  }

  /** A column's scale for a layer or for a group; undefined where a group has no such number. */
  scaleOf(k, row) {
    return this.isGroup(row) ? this.columns[k].group_scales[this.way]?.[this.scaleWish] : this.scales[k];
  }

  /** A number as a cell has it; a difference has a sign, and ≈ where the intervals overlap. */
  cellText(column, row, value) {
    if (this.asShare(column)) return this.shareText(column, value);
    const same = column.same && this.value(column.same, row) ? "≈ " : "";
    return `${same}${column.signed && value > 0 ? "+" : ""}${show(value, column.format)}`;
  }

  shareText(column, value) {
    return show(value / column.total, "share");
  }

  drawRunCells(c, row, y) {
    const { plan } = this;
    const n = this.columns.length;
    const gap = plan.cell >= 6 ? 1 : 0;
    for (let k = 0; k < n; k++) {
      const x = round(plan.x + k * plan.cell);
      const w = round(plan.x + (k + 1) * plan.cell) - x - gap;
      const value = this.runValue(row, k);
      if (!known(value)) {
        this.hatch(c, x, y, w, ROW - 1);
        continue;
      }
      c.fillStyle = this.runColor(row, value);
      c.fillRect(x, y, w, ROW - 1);
    }
  }

  runColor(row, value) {
    const { ratio_limit: limit } = this.runs;
    const range = this.isGroup(row) ? this.runs.group_ranges_ms[this.way] : this.runs.range_ms;
    const at = this.relative
      ? 0.5 + (0.5 * log(value / this.medianOf(row))) / log(limit)
      : log(max(value, range[0]) / range[0]) / log(range[1] / range[0] || 1);
    return (this.relative ? this.divergingLut : this.lut)[round(min(1, max(0, at || 0)) * 255)].fill;
  }

  drawColumnHeads(c) {
    const { plan, colors } = this;
    this.columns.forEach((column, k) => {
      const x = plan.x + (k + 0.5) * plan.cell;
      if (column.hatched) this.hatch(c, x - plan.cell / 2, plan.head - 7, plan.cell - 1, 6, colors.warning);
      const on = this.options.sort === column.name || (this.hover?.k === k && this.hover.i === -1);
      c.fillStyle = on ? colors.accent : colors.ink;
      c.font = colors.small;
      const unit = column.format === "number" ? column.unit : this.asShare(column) ? "% of total" : "";
      const mark = this.options.sort === column.name ? " ▾" : "";
      if (plan.angled) {
        c.save();
        c.translate(x - 2, plan.head - 9);
        c.rotate(-Math.PI / 3.2);
        c.textAlign = "left";
        const tail = `${unit && ` (${unit})`}${column.origin ? ` ${column.origin}` : ""}${mark}`; // a title may be cut, its unit never
        c.fillText(this.cut(c, column.label ?? column.title, (plan.head - 10) * 1.2 - c.measureText(tail).width) + tail, 0, 0);
        c.restore();
        return;
      }
      c.textAlign = "center";
      const titles = wrap(c, column.title + mark, plan.cell - 6);
      const lines = [...titles, ...(column.note ? wrap(c, column.note, plan.cell - 6) : []), ...[unit, column.origin].filter(Boolean)];
      lines.forEach((line, j) => {
        if (j >= titles.length && !on) c.fillStyle = line === column.origin ? colors.warning : colors.muted;
        c.fillText(this.cut(c, line, plan.cell - 4), x, plan.head - (column.origin ? 14 : 10) - (lines.length - 1 - j) * 14);
      });
    });
    c.textAlign = "left";
    c.fillStyle = colors.muted;
    c.font = colors.small;
    c.fillText("Layer", 10, plan.head - 10);
    if (plan.op) c.fillText("Op type", plan.label + 2, plan.head - 10);
    const at = plan.label + plan.op;
    c.fillText(this.cut(c, this.lead.title, plan.bar), at, plan.head - 10 - 14 * Boolean(this.lead.note));
    if (this.lead.note) c.fillText(this.cut(c, this.lead.note, plan.bar), at, plan.head - 10);
  }

  /** Blocks as bands, each run's whole latency as a bar above zero, outliers marked. */
  drawRunHeads(c) {
    const { plan, colors } = this;
    const { run_ms: whole } = this.runs.arrays;
    const top = max(...whole.filter(known), 0) || 1;
    let start = 0;
    c.font = colors.small;
    c.textAlign = "left";
    this.columns.forEach((column, k) => {
      const x = round(plan.x + k * plan.cell);
      const w = max(1, round(plan.x + (k + 1) * plan.cell) - x - (plan.cell >= 4 ? 1 : 0));
      const height = max(1, (24 * whole[k]) / top);
      c.fillStyle = column.outlier ? colors.warning : colors.quiet;
      c.fillRect(x, plan.head - 3 - height, w, height);
      if (column.outlier) {
        c.beginPath();
        c.moveTo(x + w / 2 - 4, plan.head - 36);
        c.lineTo(x + w / 2 + 4, plan.head - 36);
        c.lineTo(x + w / 2, plan.head - 29);
        c.fill();
      }
      if (k + 1 < this.columns.length && this.columns[k + 1].block === column.block) return;
      const from = plan.x + start * plan.cell;
      const room = (k + 1 - start) * plan.cell;
      c.fillStyle = column.block % 2 ? colors.line : colors.quiet;
      c.fillRect(from, 12, room - 1, 2);
      c.fillStyle = colors.muted;
      const label = room > 54 ? `block ${column.block}` : String(column.block);
      if (c.measureText(label).width < room - 2) c.fillText(label, from, 5.5);
      if (k + 1 < this.columns.length && room > 14) {
        c.fillStyle = colors.muted;
        c.fillRect(round(from + room) - 1, 12, 1, plan.height);
      }
      start = k + 1;
    });
    c.fillStyle = colors.muted;
    c.fillText("Layer", 10, plan.head - 10);
    c.textAlign = "right";
    c.fillText("whole run", plan.x - 8, plan.head - 10);
  }

  drawActive(c) {
    if (document.activeElement !== this.grid || !this.order.length) return;
    const { plan, colors } = this;
    const x = plan.x + this.active.col * plan.cell;
    c.strokeStyle = colors.surface;
    c.lineWidth = 4;
    c.strokeRect(x, this.rowTop(this.active.row), plan.cell - 1, ROW - 1);
    c.strokeStyle = colors.accent;
    c.lineWidth = 2;
    c.strokeRect(x, this.rowTop(this.active.row), plan.cell - 1, ROW - 1);
  }

  /** The whole model as a strip: longest layer of each pixel row, selection, and what the grid shows now. */
  drawMap() {
    const { plan, colors } = this;
    this.map.hidden = !plan.overflow;
    if (!plan.overflow) return;
    const c = pen(this.map);
    const ratio = this.map.width / MAP_WIDTH;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, MAP_WIDTH, plan.height);
    this.mapPicture ??= this.mapLatencies(floor(plan.height));
    this.mapPicture.forEach((at, y) => {
      if (!(at > 0)) return;
      c.fillStyle = this.lut[round((at - 1) * 255)].fill;
      c.fillRect(0, y, MAP_WIDTH, 1);
    });
    const total = this.order.length * ROW;
    const y = (this.grid.scrollTop / total) * plan.height;
    const height = max(6, ((plan.height - plan.head) / total) * plan.height);
    c.fillStyle = colors.hover;
    c.fillRect(0, y, MAP_WIDTH, height);
    c.lineWidth = 2;
    c.strokeStyle = colors.ink;
    c.strokeRect(1, y + 1, MAP_WIDTH - 2, height - 2);
    c.fillStyle = colors.accent;
    for (const row of this.selected) if (this.placeOf(row) >= 0) c.fillRect(0, (this.placeOf(row) / this.order.length) * plan.height - 1, 10, 3);
  }

  dragMap(event) {
    const { plan } = this;
    const total = this.order.length * ROW;
    const at = (event.clientY - this.map.getBoundingClientRect().top) / plan.height;
    this.grid.scrollTop = at * total - (plan.height - plan.head) / 2;
  }

  /** Of each pixel row 1 + the place of the longest row there on its scale; 0: nothing. */
  mapLatencies(height) {
    const longest = new Float32Array(height);
    const { scales, group_scales: wide } = this.leadColumn ?? {};
    this.order.forEach((row, i) => {
      const value = this.value(this.lead.name, row);
      if (row === this.between || !(value > 0) || !scales) return;
      const at = 1 + place(value, this.isGroup(row) ? wide[this.way].auto : scales.auto);
      const from = floor((i / this.order.length) * height);
      const to = max(from + 1, floor(((i + 1) / this.order.length) * height));
      for (let y = from; y < to; y++) longest[y] = max(longest[y], at);
    });
    return longest;
  }

  depth(row) {
    let depth = 0;
    for (let parent = this.data.parents[row]; parent && depth < 5; parent = this.data.parents[this.rowOf.get(parent)]) depth += 1;
    return depth;
  }

  drawLegend() {
    if (this.legend.hidden) return;
    const runs = this.byRun;
    const stops = (runs ? this.relative : this.shown.diverging) ? this.theme.diverging : this.theme.sequential;
    const bar = h("span", { class: "ep-ramp" });
    bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    const [title, low, high, note] = runs ? this.runLegend() : this.metricLegend();
    this.legend.replaceChildren(h("span", { class: "ep-legend-title" }, title), h("span", {}, low), bar, h("span", {}, high));
    this.legend.append(h("span", { class: "ep-note" }, note), h("span", { class: "ep-key" }, "not measured"));
    if (this.data.modes) this.legend.append(h("span", { class: "ep-note" }, this.data.absent ?? "blank: the board has no such layer"));
    const kinds = new Set(this.data.texts.kind);
    if (kinds.has("inserted")) this.legend.append(h("em", {}, "+ inserted by the runtime"));
    if (kinds.has("nested")) this.legend.append(h("span", {}, "↳ nested"));
    if (runs && this.chosenRuns.size) this.legend.append(h("span", {}, `${grouped(this.chosenRuns.size)} run${this.chosenRuns.size === 1 ? "" : "s"} selected`));
    if (runs && this.columns.some((column) => column.outlier)) this.legend.append(h("span", { class: "ep-outlier" }, "▼ outlier run"));
  }

  /** The row under the pointer or the cursor. */
  get shownRow() {
    return this.order[this.hover && this.hover.i >= 0 ? this.hover.i : this.active.row] ?? 0;
  }

  metricLegend() {
    const k = min(this.hover?.k ?? this.active.col, this.columns.length - 1);
    const column = this.columns[k];
    const group = this.isGroup(this.shownRow) && this.scaleOf(k, this.shownRow);
    const scale = group || this.scales[k];
    const text = (v) => (this.asShare(column) ? this.shareText(column, v) : show(v, column.format, column.unit));
    const { legend = column.title, note = "each column has its own scale", diverging } = this.shown;
    const title = `${legend}${this.asShare(column) ? ", share of total" : ""}${group ? ", groups" : this.way ? ", layers" : ""}`;
    const more = `${scale.log ? "log" : "linear"}; ${note}${this.way ? ", groups and layers apart" : ""}`;
    return [title, `${scale.below ? "≤ " : ""}${text(scale.min)}`, `${diverging ? "≥ " : ""}${text(scale.max)}`, diverging ? note : more];
  }

  runLegend() {
    const { ratio_limit: limit, runs, runs_per_column: per, statistic } = this.runs;
    const group = this.isGroup(this.shownRow);
    const range = group ? this.runs.group_ranges_ms[this.way] : this.runs.range_ms;
    const binned = per > 1 ? `; each column is the ${statistic === "max" ? "maximum" : "median"} of up to ${per} runs` : "";
    const note = `${grouped(runs)} instrumented runs in the order they ran${binned}`;
    if (!this.relative) return [`Latency${this.way ? (group ? " of groups" : " of layers") : ""}, log`, `≤ ${show(range[0], "latency")}`, show(range[1], "latency"), note];
    return ["Latency over the layer's median".replace("layer", this.way ? "row" : "layer"), `≤ ${show(1 / limit, "ratio")}`, `≥ ${show(limit, "ratio")}`, note];
  }

  // -- hover --

  hit(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const k = floor((x - this.plan.x) / this.plan.cell);
    return { x, i: this.rowAt(y), k: k >= 0 && k < this.columns.length ? k : null };
  }

  pointer(event) {
    const hit = this.hit(event);
    const old = this.hover;
    this.hover = hit.i === -2 ? null : hit;
    if (old?.i !== this.hover?.i || old?.k !== this.hover?.k) {
      this.fillCard();
      if (!this.byRun || this.way) this.drawLegend();
      this.redraw();
    }
    this.grid.style.cursor = this.foldAt(hit) !== null || (this.byRun && hit.i === -1 && hit.k != null) ? "pointer" : "";
    this.moveCard(event);
  }

  /** The group whose triangle is there. */
  foldAt({ x, i }) {
    return i >= 0 && x < 22 && this.isGroup(this.order[i]) ? this.order[i] : null;
  }

  unhover() {
    this.hover = null;
    this.card.hidden = true;
    this.redraw();
  }

  fillCard() {
    const { hover } = this;
    const row = hover && hover.i >= 0 ? this.order[hover.i] : null;
    const column = hover?.k == null ? null : this.columns[hover.k];
    this.card.hidden = row == null && !column;
    if (this.card.hidden) return;
    const runs = this.byRun;
    const title = row == null ? (runs ? `Run ${column.label}` : (column.label ?? column.title)) : this.title(row);
    const parts = [h("div", { class: "ep-card-title" }, title)];
    let facts = [];
    if (row != null) facts = this.isGroup(row) ? this.groupFacts(row, runs ? hover.k : null) : this.facts(row, runs ? hover.k : null);
    else if (runs) facts = this.runFacts(hover.k);
    else parts.push(h("p", {}, `${column.meaning}${column.unit && !column.label ? ` In ${column.unit}.` : ""} Click to sort by it.`));
    const list = h("dl", {});
    const strong = row != null && !runs ? (column?.label ?? column?.title) : runs ? "In this run" : null;
    for (const [name, text] of facts) list.append(h("dt", {}, name), h("dd", { class: name === strong ? "ep-strong" : null }, text));
    const note = row != null && this.isGroup(row) ? [h("p", { class: "ep-card-note" }, this.groupNote())] : [];
    this.card.replaceChildren(...parts, list, ...note);
  }

  runFacts(k) {
    const column = this.columns[k];
    const facts = [["Block", String(column.block)], ["Whole run", show(this.runs.arrays.run_ms[k], "latency")], ["Click", "selects the run"]];
    if (this.runsOf(k).length > 1) facts[2][1] = `selects these ${grouped(this.runsOf(k).length)} runs`;
    return column.outlier ? [...facts, ["Outlier", "over 5 scaled MADs above the median"]] : facts;
  }

  facts(row, run) {
    const facts = [];
    if (run != null) {
      const value = this.runValue(row, run);
      const ratio = show(value / this.medianOf(row), "ratio");
      facts.push([`Run ${this.columns[run].label}`, `block ${this.columns[run].block}${this.columns[run].outlier ? ", outlier" : ""}`]);
      facts.push(["In this run", `${show(value, "latency")}, ${ratio} its median`]);
    }
    const kind = this.text("kind", row);
    const op = this.text("op_type", row);
    const columns = this.data.columns.filter((column) => run == null || /^latency|^share/.test(column.name));
    if (op) facts.push(["Op type", kind === "layer" ? op : `${op}, ${kind}`]);
    if (this.data.parents[row]) facts.push(["Inside", this.data.parents[row]]);
    const sources = this.data.sources[row];
    if (sources?.length) facts.push(["Original nodes", sources.length > 4 ? `${sources.slice(0, 3).join(", ")} and ${sources.length - 3} more` : sources.join(", ")]);
    for (const [name, title] of [["provider", "Provider"], ["precision", "Precision"], ["output_shape", "Output shape"]]) {
      if (run == null && this.text(name, row)) facts.push([title, this.text(name, row)]);
    }
    if (this.data.modes) return [...facts, ...this.boardFacts(row)];
    const [some, none] = [[], []];
    for (const column of columns) (known(this.value(column.name, row)) ? some : none).push(column);
    for (const column of some) facts.push([column.title, this.numberAndShare(column, row)]);
    if (known(this.value("latency_raw_ms", row))) facts.push(["Latency, raw", show(this.value("latency_raw_ms", row), "latency")]);
    if (run == null && this.text("energy_method", row)) facts.push(["Energy method", this.text("energy_method", row)]);
    if (none.length) facts.push(["Not measured", none.map((column) => column.title).join(", ")]);
    return facts;
  }

  /** Every board's number with its interval, share and ratio; then what each ran for it, boards that ran the same together. */
  boardFacts(row) {
    const others = Object.values(this.modes).slice(1);
    const facts = [];
    const ran = new Map();
    this.data.columns.forEach((column, k) => {
      const more = others.map(({ columns }) => columns[k]).filter(({ name }) => known(this.value(name, row)));
      const parts = [this.number(column, row), ...more.map((c) => this.cellText(c, row, this.value(c.name, row)))];
      const text = this.isAbsent(column, row) ? "no such layer" : parts.join(", ").replace(MISSING, "not measured");
      facts.push([column.label, text]);
      const own = this.ran(column, row);
      if (own && row !== this.between) ran.set(own, [...(ran.get(own) ?? []), column.label]);
    });
    for (const [text, boards] of ran) {
      const where = boards.length > 3 ? `${boards.length} boards` : boards.join("; ");
      facts.push(["Ran as", ran.size === 1 ? text : `${text} (${where})`]);
    }
    return facts;
  }

  /** A number of a layer with its unit, and its 95 % interval where there is one. */
  number(column, row) {
    const value = this.value(column.name, row);
    const [low, high] = (column.interval ?? []).map((name) => this.value(name, row));
    return showInterval(value, low, high, column.format, column.unit);
  }

  numberAndShare(column, row) {
    const value = this.value(column.name, row);
    const share = this.asShare(column) && known(value) ? `, ${this.shareText(column, value)} of the total` : "";
    return this.number(column, row) + share;
  }

  // -- selection --

  click(event) {
    const hit = this.hit(event);
    if (hit.i === -1 && hit.k != null && !this.byRun) {
      const { name } = this.columns[hit.k];
      this.change({ sort: this.options.sort === name ? "execution" : name });
    }
    if (this.byRun && hit.k != null && (hit.i === -1 || event.altKey)) {
      const from = event.shiftKey ? this.active.col : hit.k;
      this.active.col = hit.k;
      return this.pickRuns(span(from, hit.k), event.shiftKey || event.ctrlKey || event.metaKey);
    }
    if (hit.i < 0) return undefined;
    const anchor = this.active.row;
    this.active = { row: hit.i, col: hit.k ?? this.active.col };
    if (this.foldAt(hit) !== null) this.toggle(this.foldAt(hit));
    else if (event.shiftKey) this.pick(this.range(anchor, hit.i), true);
    else this.pick([this.order[hit.i]], event.ctrlKey || event.metaKey, true);
    return this.speak();
  }

  range(a, b) {
    return this.order.slice(min(a, b), max(a, b) + 1);
  }

  /** A person selects rows, groups with all their layers: instead of the selection, or added to it; `toggle` takes away what is selected already. */
  pick(rows, add, toggle = false) {
    const layers = [...new Set(rows.flatMap((row) => this.layersOf(row)))];
    const had = layers.every((row) => this.selected.has(row)) && (add || this.selected.size === layers.length);
    if (!add) this.selected.clear();
    for (const row of layers) {
      if (toggle && had) this.selected.delete(row);
      else this.selected.add(row);
    }
    this.tell();
  }

  tell() {
    this.pinned = null;
    this.redraw();
    this.drawTable();
    this.options.onSelect?.(this.selection());
  }

  /** Selects these layers (from outside) and scrolls to the first of them. */
  select(names) {
    const rows = names.map((name) => this.rowOf.get(name)).filter((row) => row !== undefined);
    if (rows.length === this.selected.size && rows.every((row) => this.selected.has(row))) return;
    this.selected = new Set(rows);
    this.pinned = null;
    const at = rows.length ? this.placeOf(rows[0]) : undefined;
    if (at !== undefined) this.reveal(at, true);
    this.redraw();
    this.drawTable();
  }

  /** Moves row `i` into the window: to its edge, or, where somebody else chose it, to its middle. */
  reveal(i, middle = false) {
    if (!this.plan) return;
    this.active.row = i;
    const y = i * ROW;
    const room = this.plan.height - this.plan.head - ROW - GAP;
    const [above, below] = [y < this.grid.scrollTop, y > this.grid.scrollTop + room];
    if (middle && (above || below)) this.grid.scrollTop = y - room / 2;
    else if (above) this.grid.scrollTop = y;
    else if (below) this.grid.scrollTop = y - room;
  }

  key(event) {
    const page = max(1, floor((this.plan.height - this.plan.head) / ROW) - 1);
    const { row, col } = this.active;
    const last = this.order.length - 1;
    if (this.keyInTree(event)) return;
    const moves = {
      ArrowDown: [row + 1, col], ArrowUp: [row - 1, col], ArrowRight: [row, col + 1], ArrowLeft: [row, col - 1],
      PageDown: [row + page, col], PageUp: [row - page, col], Home: [0, col], End: [last, col],
    };
    const move = moves[event.key];
    if (move) {
      this.active.col = min(this.columns.length - 1, max(0, move[1]));
      this.reveal(min(last, max(0, move[0])));
      if (event.shiftKey && move[0] !== row) this.pick(this.range(row, this.active.row), true);
      if (!this.byRun) this.drawLegend();
    } else if (event.key === " " || event.key === "Enter") {
      this.pick([this.order[row]], event.ctrlKey || event.metaKey || event.shiftKey, true);
    } else if (event.key === "Escape") {
      this.selected.clear();
      this.tell();
      if (this.chosenRuns.size) (this.chosenRuns.clear(), this.tellRuns());
    } else if (event.key === "r" && this.byRun && this.columns.length) this.pickRuns([col], event.ctrlKey || event.metaKey);
    else if (event.key === "/") this.search.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.speak();
    this.redraw();
  }

  /** Right opens a group, left closes it, and goes from a layer to its group. @returns whether the key was one of these */
  keyInTree(event) {
    const row = this.order[this.active.row];
    if (!this.way || row === undefined || event.shiftKey) return false;
    const open = this.isGroup(row) && this.isOpen(row);
    if (event.key === "ArrowRight" && this.isGroup(row) && !open) this.toggle(row, true);
    else if (event.key === "ArrowLeft" && open && this.active.col === 0) this.toggle(row, false);
    else if (event.key === "ArrowLeft" && !this.isGroup(row) && this.active.col === 0 && this.groupOf(row) >= 0) this.reveal(this.place.get(this.groupOf(row)));
    else return false;
    event.preventDefault();
    event.stopPropagation();
    this.speak();
    this.redraw();
    return true;
  }

  /** Says the current cell to a screen reader. */
  speak() {
    const row = this.order[this.active.row];
    if (row === undefined) return;
    const column = this.columns[this.active.col];
    let value = "";
    if (!this.byRun) value = `${column.label ?? column.title} ${this.number(column, row).replace(MISSING, "not measured")}`;
    else if (column) value = `run ${column.label} ${show(this.runValue(row, this.active.col), "latency")}`;
    const group = this.isGroup(row);
    const [all, some] = group ? [this.layersOf(row).length, this.chosenIn(row)] : [1, Number(this.selected.has(row))];
    const chosen = some === all;
    const what = group ? `group of ${grouped(all)} layers, ${this.isOpen(row) ? "expanded" : "collapsed"}` : this.text("op_type", row);
    const mark = chosen ? ", selected" : some ? `, ${grouped(some)} of ${grouped(all)} selected` : "";
    this.voice.textContent = `${visible(this.title(row))}, ${what}, ${value}${mark}`;
    if (group) this.voiceRow.setAttribute("aria-expanded", String(this.isOpen(row)));
    else this.voiceRow.removeAttribute("aria-expanded");
    this.live.textContent = this.voice.textContent;
    this.voiceRow.setAttribute("aria-rowindex", this.active.row + 1);
    this.voice.setAttribute("aria-colindex", this.active.col + 1);
    this.voice.setAttribute("aria-selected", String(chosen));
    this.grid.setAttribute("aria-activedescendant", this.voice.id);
  }

  // -- linked table --

  tableRows() {
    if (this.pinned) return this.pinned;
    if (this.selected.size) return [...this.selected].sort((a, b) => a - b);
    const number = (row) => this.value(this.lead.name, row) || 0;
    const rows = this.data.names.map((_, i) => i).filter((i) => i !== this.between);
    return rows.sort((a, b) => number(b) - number(a) || a - b).slice(0, 10);
  }

  drawTable() {
    if (this.options.embedded) return undefined;
    if (!this.layers) return this.table.replaceChildren();
    const { scrollTop = 0 } = this.table.querySelector(".ep-table-scroll") ?? {};
    const focused = this.table.contains(document.activeElement) ? document.activeElement.textContent : null;
    const all = this.tableRows();
    const fields = this.tableFields();
    const rows = all.slice(0, 100);
    const sort = this.tableSort && fields.find((field) => field.title === this.tableSort.title);
    if (sort) rows.sort((a, b) => compare(sort.key(a), sort.key(b)) * this.tableSort.sign);
    const many = all.length > rows.length ? `, the first ${rows.length} shown` : "";
    const chosen = `${grouped(this.selected.size)} selected layer${this.selected.size === 1 ? "" : "s"}${many}`;
    const top = this.pinned || !this.selected.size;
    const caption = top ? `Top ${all.length} by ${this.lead.by}${this.selected.size ? `, ${this.selected.size} selected` : ""}` : chosen;
    const head = h("tr", {}, ...fields.map((field) => this.tableHead(field)));
    const body = rows.map((row) => {
      const cells = fields.map((field) => h("td", { class: field.number ? "ep-num" : null, title: field.number ? null : field.text(row) }, field.text(row)));
      cells[0].replaceChildren(h("button", { type: "button", class: "ep-link" }, this.data.names[row]));
      const on = this.guard((e) => this.pickInTable(row, e));
      return h("tr", { class: top && this.selected.has(row) ? "ep-selected" : null, onclick: on }, ...cells);
    });
    const scroll = h("div", { class: "ep-table-scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)));
    this.table.replaceChildren(h("div", { class: "ep-caption" }, caption), scroll);
    scroll.scrollTop = scrollTop;
    if (focused) [...scroll.querySelectorAll("button")].find((button) => button.textContent === focused)?.focus({ preventScroll: true });
    return undefined;
  }

  tableFields() {
    const text = ([title, name]) => ({ title, text: (row) => this.text(name, row) || MISSING, key: (row) => this.text(name, row) });
    const name = (row) => this.data.names[row];
    const number = (c) => ({ title: c.label ?? c.title, number: true, text: (row) => this.number(c, row), key: (row) => this.value(c.name, row) });
    const after = [["Precision", "precision"], ["Output shape", "output_shape"], ["Provider", "provider"]].filter(([, key]) => this.data.texts[key]);
    return [{ title: "Layer", text: name, key: name }, text(["Op type", "op_type"]), ...this.metrics.map(number), ...after.map(text)];
  }

  tableHead(field) {
    const sort = this.tableSort?.title === field.title ? this.tableSort.sign : 0;
    const onclick = this.guard(() => {
      this.tableSort = { title: field.title, sign: sort ? -sort : field.number ? -1 : 1 };
      this.drawTable();
    });
    const order = { 1: "ascending", [-1]: "descending", 0: "none" }[sort];
    const label = `${field.title}${{ 1: " ▴", [-1]: " ▾", 0: "" }[sort]}`;
    return h("th", { class: field.number ? "ep-num" : null, scope: "col", "aria-sort": order }, h("button", { type: "button", onclick }, label));
  }

  pickInTable(row, event) {
    const pinned = this.tableRows();
    const add = event.ctrlKey || event.metaKey || event.shiftKey;
    if (this.pinned || !this.selected.size) {
      this.pick([row], add, true);
      this.pinned = pinned; // the top list stays as it is while a person works in it
      this.drawTable();
    } else if (add) this.pick([row], true, true);
    if (this.place.has(row)) this.reveal(this.place.get(row));
    this.redraw();
  }

  // -- outside: theme, size, options --

  applyTheme() {
    super.applyTheme();
    this.lut = ramp(this.theme.sequential);
    this.divergingLut = ramp(this.theme.diverging);
  }

  recolor() {
    this.drawLegend();
    this.redraw();
  }

  /** Changes options from outside; onChange is not called for them. */
  set(values) {
    this.guard(() => {
      const { data, runs, selection, selectedRuns, ...rest } = values;
      Object.assign(this.options, rest);
      if (data) this.exchange(data, runs);
      else if (runs) this.runs = runs.meta ? unpack(runs) : null;
      this.applyTheme();
      this.arrange();
      if (data) this.drawTable();
      if (data && this.hover) (this.hover.i < this.order.length && (this.hover.k ?? 0) < this.columns.length ? this.fillCard() : this.unhover());
      if (selection) this.select(selection);
      if (selectedRuns) this.selectRuns(selectedRuns);
    })();
  }

  /** Other data of the same view: what a person looks at and has selected stays, by name. Runs stay unless others come along. */
  exchange(data, runs) {
    const names = (rows) => rows?.map((row) => this.data.names[row]);
    const kept = [this.selection(), names(this.pinned), this.order.length ? this.title(this.order[this.active.row]) : null];
    const [old, count, oldRuns] = [JSON.stringify([this.data.header, this.data.findings]), this.data.names.length, this.runs];
    this.load(data, runs);
    if (!runs && count === this.data.names.length) this.runs = oldRuns;
    const rows = (list) => list?.map((name) => this.rowOf.get(name)).filter((row) => row !== undefined);
    this.selected = new Set(rows(kept[0]));
    this.pinned = rows(kept[1]) ?? null;
    this.keptActive = kept[2];
    if (JSON.stringify([this.data.header, this.data.findings]) !== old) this.replaceHead();
  }

  replaceHead() {
    const open = [...this.head.querySelectorAll("details")].map((details) => details.open);
    const head = this.header(this.data);
    head.querySelectorAll("details").forEach((details, k) => (details.open = open[k] ?? details.open));
    this.head.replaceWith(head);
    this.head = head;
  }
}

function span(a, b) {
  return Array.from({ length: abs(a - b) + 1 }, (_, i) => min(a, b) + i);
}
