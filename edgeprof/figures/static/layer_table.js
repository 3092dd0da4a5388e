/**
 * Table of the layers of a profile: sorted, filtered, searched, selected, summed. Rows are elements of the page; only those in sight are made.
 * No dependencies; knows nothing of Jupyter.
 *
 *   import { renderLayerTable } from "./layer_table.js";
 *   const view = renderLayerTable(element, data, options);
 *
 * data       {meta, numbers} of figures.heatmap.heatmap(profile).to_json(), the same that the heatmap takes
 * options    all optional
 *   sort       "execution", or ["op_type", "latency_ms ascending", ...]: columns, the most important first. Numbers run from the largest,
 *              texts from A, unless " ascending" or " descending" says otherwise
 *   query      what stands in the search box       columns   names of the columns that are shown; [] are the usual ones
 *   selection  names of layers
 *   height     of the rows in px; 0: fits          theme     "auto" (JupyterLab, VS Code, then the system) | "light" | "dark"
 *   embedded   no header of its own
 *   onSelect   (names) => {}: a person changed the selection (not called for select())
 *   onChange   ({sort | query | columns: value}) => {}: a person changed a control
 * returns    {element, select(names), set({any of the options, data}), destroy()}
 *
 * The style sheet is layer_table.css. Texts reach the page as text nodes only. Errors are shown inside the element.
 */

const LT_ROW = 24;
const LT_ROWS = 16; // shown where no height is asked for
const LT_SPARE = 6; // rows made beyond those in sight
const LT_TEXTS = { op_type: "Op type", kind: "Kind", precision: "Precision", output_shape: "Output shape", provider: "Provider", energy_method: "Energy method", nodes: "Original nodes", runtime_name: "Runtime's name" };
const LT_USUAL = ["op_type", "precision", "output_shape"];
const LT_MENUS = ["op_type", "kind", "precision"];
const LT_FACTORS = {
  latency: { ns: 1e-6, "µs": 1e-3, "μs": 1e-3, us: 1e-3, ms: 1, s: 1e3 },
  energy: { "µJ": 1e-3, "μJ": 1e-3, uJ: 1e-3, mJ: 1, J: 1e3 },
  share: { "%": 0.01 },
  size: { B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 },
  count: { k: 1e3, K: 1e3, M: 1e6, G: 1e9, T: 1e12 },
};
const LT_COMPARE = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b, "!=": (a, b) => a !== b };
const LT_BETWEEN = "between";
let layerTables = 0;

export function renderLayerTable(el, data, options = {}) {
  return made(el, () => new LayerTable(el, data, options));
}

/** A search that cannot be read; its message is for people. */
class Unreadable extends Error {}

class LayerTable extends View {
  constructor(el, data, options) {
    super(el, "ep-layers", { sort: [], query: "", columns: [], height: 0, ...options });
    this.id = `ep-layers-${(layerTables += 1)}`;
    this.selected = new Set();
    this.active = { row: 0, col: 0 }; // place in the order shown, -1 is the head; column shown
    this.anchor = 0;
    this.picks = {}; // column: text that is asked for
    this.onlySelected = false;
    this.test = () => true;
    this.load(data);
    this.build();
    this.applyTheme();
    this.readQuery();
    this.arrange();
    this.select(options.selection ?? []);
    this.cleanup.push(() => this.forget());
    this.watch();
  }

  load(data) {
    this.data = unpack(data);
    const { names, texts, arrays, sources = {}, runtime_names: runtime = {}, header } = this.data;
    this.rowOf = new Map(names.map((name, i) => [name, i]));
    const made = {
      name: (i) => names[i],
      nodes: (i) => (sources[i] ?? [names[i]]).join(", "),
      runtime_name: (i) => runtime[i] ?? names[i],
    };
    this.text = (name, i) => (made[name] ? made[name](i) : (texts[name]?.[arrays[name][i]] ?? ""));
    this.between = names.findIndex((_, i) => this.text("kind", i) === LT_BETWEEN);
    if (this.between >= 0) for (const name of ["nodes", "runtime_name"]) made[name] = ((own) => (i) => (i === this.between ? "" : own(i)))(made[name]);
    this.layers = names.length - (this.between >= 0);
    this.estimated = header.origin === "estimated";
    const known = (name) => made[name] || texts[name]?.some((text) => text);
    this.fields = [
      { name: "name", title: "Layer", width: 280 },
      ...Object.entries(LT_TEXTS).filter(([name]) => known(name)).map(([name, title]) => ({ name, title, width: { op_type: 116, precision: 84, kind: 84, output_shape: 124 }[name] ?? 190 })),
    ];
    const numbers = this.data.columns.map((column) => ({ ...column, number: true, width: column.interval.length ? 190 : column.additive ? 118 : 100, most: this.most(column.name), estimated: this.estimated || column.title.endsWith("(estimate)") }));
    this.fields.splice(2, 0, ...numbers);
    this.fieldOf = new Map(this.fields.map((field) => [field.name, field]));
    this.haystack = null;
  }

  value(name, i) {
    return this.data.arrays[name]?.[i] ?? NaN;
  }

  most(name) {
    let most = 0;
    for (let i = 0; i < this.layers; i++) most = max(most, this.value(name, i) || 0);
    return most;
  }

  build() {
    const on = (fn) => this.guard(fn);
    this.canvas = h("canvas"); // patterns of the theme are made with it
    this.tools = h("div", { class: "ep-tools", role: "toolbar", "aria-label": "Table controls" });
    this.search = h("input", { type: "search", placeholder: "Search, or latency_ms > 0.1", title: "Words, a pattern between slashes such as /conv\\d/, comparisons such as latency_ms > 100 µs", "aria-label": "Search layers", "aria-describedby": `${this.id}-problem`, "data-lm-suppress-shortcuts": "true", spellcheck: "false" });
    this.search.value = this.options.query;
    this.count = h("span", { class: "ep-count" });
    this.problem = h("div", { class: "ep-lt-problem", id: `${this.id}-problem`, role: "status", hidden: true });
    this.grid = h("div", { class: "ep-lt", role: "grid", tabindex: 0, "aria-multiselectable": "true", "aria-label": `${this.data.title}: layers`, "data-lm-suppress-shortcuts": "true" });
    this.head = h("div", { class: "ep-lt-head", role: "row", "aria-rowindex": 1 });
    this.rows = h("div", { class: "ep-lt-rows", role: "rowgroup" });
    this.foot = h("div", { class: "ep-lt-foot", role: "rowgroup" });
    this.grid.append(this.head, this.rows, this.foot);
    this.empty = h("div", { class: "ep-empty", hidden: true });
    this.legend = h("div", { class: "ep-legend" });
    this.status = h("span", { class: "ep-lt-status", role: "status" });
    this.element.replaceChildren(this.header(this.data), this.tools, this.problem, this.grid, this.empty, this.legend);
    this.chooser = h("details", { class: "ep-lt-columns" });
    this.search.addEventListener("input", on(() => this.searched()));
    this.search.addEventListener("keydown", on((e) => this.searchKey(e)));
    this.grid.addEventListener("scroll", on(() => this.redraw()), { passive: true });
    this.grid.addEventListener("click", on((e) => this.click(e)));
    this.grid.addEventListener("keydown", on((e) => this.key(e)));
    for (const name of ["focus", "blur"]) this.grid.addEventListener(name, on(() => this.showActive()));
    this.chooser.addEventListener("keydown", (e) => {
      if (e.key !== "Escape") return;
      this.chooser.open = false;
      this.chooser.querySelector("summary").focus();
    });
    const outside = (e) => this.chooser.contains(e.target) || (this.chooser.open = false);
    this.forget?.();
    document.addEventListener("pointerdown", outside);
    this.forget = () => document.removeEventListener("pointerdown", outside);
    this.controls();
  }

  controls() {
    const menus = LT_MENUS.filter((name) => this.fieldOf.has(name) && this.choices(name).length > 1);
    for (const name of LT_MENUS) if (!menus.includes(name)) delete this.picks[name];
    const parts = menus.map((name) => {
      const choices = { "": "All", ...Object.fromEntries(this.choices(name).map(([text, count]) => [text, `${text} (${grouped(count)})`])) };
      if (!(this.picks[name] in choices)) delete this.picks[name];
      return this.menu(LT_TEXTS[name], choices, this.picks[name] ?? "", (value) => ((this.picks[name] = value), this.arrange(true)));
    });
    this.only = h("button", { type: "button", class: "ep-lt-button", "aria-pressed": "false", onclick: this.guard(() => ((this.onlySelected = !this.onlySelected), this.arrange(true))) }, "Selected only");
    this.copyButton = h("button", { type: "button", class: "ep-lt-button", onclick: this.guard(() => this.copy()) }, "Copy CSV");
    const boxes = this.fields.slice(1).map((field) => {
      const box = h("input", { type: "checkbox", checked: this.isShown(field), onchange: this.guard(() => this.chooseColumn(field, box.checked)) });
      return h("label", { title: field.meaning }, box, field.title);
    });
    const usual = h("button", { type: "button", class: "ep-lt-button", onclick: this.guard(() => (this.change({ columns: [] }), this.controls(), (this.chooser.open = true))) }, "Usual columns");
    this.chooser.replaceChildren(h("summary", {}, "Columns"), h("div", { class: "ep-lt-choice" }, ...boxes, usual));
    this.tools.replaceChildren(...parts, this.only, this.chooser, this.copyButton, h("div", { class: "ep-search" }, this.search, this.count));
  }

  /** Texts of a column with their number of layers, the most frequent first. */
  choices(name) {
    const counts = new Map();
    for (let i = 0; i < this.layers; i++) counts.set(this.text(name, i), (counts.get(this.text(name, i)) ?? 0) + 1);
    return [...counts].filter(([text]) => text).sort((a, b) => b[1] - a[1]);
  }

  isShown({ name, number }) {
    const { columns } = this.options;
    return columns.length ? columns.includes(name) : number || LT_USUAL.includes(name);
  }

  chooseColumn(field, shown) {
    const columns = this.fields.slice(1).filter((f) => (f === field ? shown : this.isShown(f))).map((f) => f.name);
    this.change({ columns });
  }

  /** A person changed a control. */
  change(values) {
    Object.assign(this.options, values);
    this.arrange();
    this.options.onChange?.(values);
  }

  // -- which rows, in which order --

  arrange(toTop = false) {
    const shown = this.fields.slice(1).filter((field) => this.isShown(field));
    this.narrow = this.element.clientWidth < 620;
    if (this.narrow) shown.sort((a, b) => Boolean(b.number) - Boolean(a.number)); // the numbers first, where few columns are in sight
    this.shown = [this.fields[0], ...shown];
    this.keys = this.sortKeys();
    const at = this.order?.[this.active.row];
    const order = [];
    for (let i = 0; i < this.layers; i++) if (this.matches(i)) order.push(i);
    this.order = this.sorted(order);
    if (this.between >= 0 && this.matches(this.between)) this.order.push(this.between);
    this.placeOf = new Map(this.order.map((row, place) => [row, place]));
    const found = this.order.length - (this.order.at(-1) === this.between && this.between >= 0);
    this.count.textContent = found === this.layers ? `${grouped(this.layers)} layers` : `${grouped(found)} of ${grouped(this.layers)}`;
    this.only.setAttribute("aria-pressed", String(this.onlySelected));
    const place = toTop ? -1 : (this.placeOf.get(at) ?? -1);
    this.active = { row: place >= 0 ? place : min(max(0, this.active.row), max(0, this.order.length - 1)), col: min(this.active.col, this.shown.length - 1) };
    if (toTop) [this.active.row, this.grid.scrollTop] = [0, 0];
    this.anchor = min(this.anchor, max(0, this.order.length - 1));
    this.grid.setAttribute("aria-rowcount", this.order.length + 1);
    this.grid.setAttribute("aria-colcount", this.shown.length);
    this.showEmpty();
    this.drawHead();
    this.drawLegend();
    this.layout();
  }

  showEmpty() {
    let text = "";
    if (!this.layers) text = "This profile has no layers. Profile a model with instrumented runs, or open another .edgeprof file.";
    else if (!this.order.length && this.onlySelected && !this.selected.size) text = "No layer is selected. Select some, here or in another view, or switch “Selected only” off.";
    else if (!this.order.length) text = "No layer matches. Clear the search box and the menus to see all of them.";
    this.empty.textContent = text;
    this.empty.hidden = !text;
    this.grid.hidden = this.legend.hidden = Boolean(text);
  }

  matches(i) {
    if (this.onlySelected && !this.selected.has(i)) return false;
    for (const [name, wanted] of Object.entries(this.picks)) if (wanted && this.text(name, i) !== wanted) return false;
    return this.test(i);
  }

  sortKeys() {
    const wishes = [this.options.sort ?? []].flat();
    const keys = [];
    for (const wish of wishes) {
      const [name, way] = String(wish).split(" ");
      const field = this.fieldOf.get(name === "latency" ? "latency_ms" : name);
      if (field) keys.push({ field, sign: way ? (way === "ascending" ? 1 : -1) : field.number ? -1 : 1 });
    }
    return keys;
  }

  /** Not measured comes last, whichever way a column is sorted. */
  sorted(rows) {
    if (!this.keys.length) return rows;
    const keys = this.keys.map(({ field, sign }) => {
      if (field.number) {
        const values = this.data.arrays[field.name];
        return (a, b) => {
          const [x, y] = [values[a], values[b]];
          if (!known(x) || !known(y)) return known(y) - known(x);
          return x === y ? 0 : x < y ? -sign : sign;
        };
      }
      const ranks = this.ranksOf(field.name);
      return (a, b) => sign * (ranks[a] - ranks[b]);
    });
    return rows.sort((a, b) => {
      for (const key of keys) {
        const order = key(a, b);
        if (order) return order;
      }
      return a - b;
    });
  }

  /** Of each layer the place of its text among all, so that texts are compared once and not at every step. */
  ranksOf(name) {
    const texts = this.data.names.map((_, i) => this.text(name, i));
    const collator = new Intl.Collator("en", { numeric: true });
    const place = new Map([...new Set(texts)].sort(collator.compare).map((text, k) => [text, k]));
    return texts.map((text) => place.get(text));
  }

  /** A click on a head: the natural way, the other way, then the order of execution again. With `more` beside the other keys. */
  sortBy(field, more) {
    const natural = field.number ? -1 : 1;
    const had = this.keys.find((key) => key.field === field);
    const alone = this.keys.length === 1;
    let next = { field, sign: natural };
    if (had && (more || alone)) next = had.sign === natural ? { field, sign: -natural } : null;
    let keys = next ? [next] : [];
    if (more) keys = had ? this.keys.map((key) => (key === had ? next : key)).filter(Boolean) : [...this.keys, next];
    this.change({ sort: keys.map(({ field: { name }, sign }) => `${name} ${sign === 1 ? "ascending" : "descending"}`) });
  }

  // -- search --

  searched() {
    this.options.query = this.search.value;
    this.readQuery();
    this.arrange(true);
    this.options.onChange?.({ query: this.search.value });
  }

  /** Makes a test of the search; one that cannot be read leaves the last one as it is and says why. */
  readQuery() {
    let message = "";
    try {
      this.test = this.parse(this.options.query.trim());
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      message = error.message;
    }
    this.problem.textContent = visible(message);
    this.problem.hidden = !message;
    if (message) this.search.setAttribute("aria-invalid", "true");
    else this.search.removeAttribute("aria-invalid");
  }

  /** `/regex/`, comparisons such as `latency_ms > 100 µs`, and words, each of which must hold. */
  parse(query) {
    const tests = [];
    let rest = query.replace(/^\/(.+)\/(?=\s|$)/, (_, pattern) => {
      tests.push(this.pattern(pattern));
      return "";
    });
    if (/^\/.*\s/.test(rest) && /[<>=]/.test(rest)) throw new Unreadable("The pattern is not closed. Write it between two slashes, such as /conv\\d+/ latency_ms > 0.1.");
    rest = rest.replace(/([^\s<>=!]+)\s*(<=|>=|!=|==?|<|>)\s*([+-]?[\d.][^\s<>=!]*(?:\s+(?:ns|[µμu]?s|ms|[µμum]?J|%|[kKMG]i?B|B|[kKMGT]))?(?=\s|$)|[^\s<>=!]*)/g, (_, name, sign, value) => {
      tests.push(this.comparison(name, sign, value));
      return " ";
    });
    if (/[<>]/.test(rest)) throw new Unreadable("Expected a comparison such as latency_ms > 0.1, with a column before the sign and a number after it.");
    const words = rest.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) {
      const hay = this.hay();
      tests.push((i) => words.every((word) => hay[i].includes(word)));
    }
    return (i) => tests.every((test) => test(i));
  }

  pattern(text) {
    let regex;
    try {
      regex = new RegExp(text, "i");
    } catch (error) {
      throw new Unreadable(`The pattern /${text}/ cannot be read: ${error.message.split(": ").at(-1)}.`);
    }
    const names = ["name", "op_type", "nodes", "runtime_name"];
    return (i) => names.some((name) => regex.test(this.text(name, i)));
  }

  /** What words are looked for in, of each layer: its name, op type, original nodes and the runtime's name. */
  hay() {
    this.haystack ??= this.data.names.map((name, i) => [name, this.text("op_type", i), this.text("nodes", i), this.text("runtime_name", i)].join("\n").toLowerCase());
    return this.haystack;
  }

  comparison(name, sign, value) {
    const plain = (text) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
    const fits = (field) => [field.name, field.title, field.name.replace(/_(ms|mj|mw|bytes)$/, "")].some((text) => plain(text) === plain(name));
    const field = this.fields.find(fits);
    const numbers = this.fields.filter((f) => f.number).map((f) => f.name);
    if (!field) throw new Unreadable(`There is no column “${name}” to compare. Expected one of: ${[...numbers, "op_type", "precision"].join(", ")}.`);
    if (!value) throw new Unreadable(`Expected a value after “${name} ${sign}”, such as ${field.number ? `${field.name} > ${significant(field.most / 2 || 1, 2)}` : `${field.name} = ${this.choices(field.name)[0]?.[0] ?? "x"}`}.`);
    const holds = LT_COMPARE[sign === "==" ? "=" : sign];
    if (!field.number) {
      if (/[<>]/.test(sign)) throw new Unreadable(`${field.title} is a text: compare it with = or !=, such as ${field.name} = ${this.choices(field.name)[0]?.[0] ?? "x"}.`);
      return (i) => i !== this.between && holds(this.text(field.name, i).toLowerCase(), value.toLowerCase());
    }
    if (value === "none" && /^!?=/.test(sign)) return (i) => i !== this.between && known(this.value(field.name, i)) === (sign === "!=");
    const number = this.quantity(field, value);
    // what the table shows as 0.1 may be stored with seven digits
    const same = (a) => abs(a - number) <= 1e-6 * max(abs(a), abs(number));
    if (/^(=|==)$/.test(sign)) return (i) => same(this.value(field.name, i));
    if (sign === "!=") return (i) => known(this.value(field.name, i)) && !same(this.value(field.name, i));
    return (i) => i !== this.between && known(this.value(field.name, i)) && holds(this.value(field.name, i), number);
  }

  /** A number with or without a unit; without one it is in the unit of the column's name. */
  quantity(field, text) {
    const [, number, unit] = /^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(.*)$/i.exec(text) ?? [];
    const factors = LT_FACTORS[field.format] ?? { [field.unit]: 1 };
    if (number === undefined) throw new Unreadable(`Expected a number after “${field.name}”, got “${text}”. Write for instance ${field.name} > ${significant(field.most / 2 || 1, 2)}, or “none” for what was not measured.`);
    if (unit && !(unit in factors)) throw new Unreadable(`“${unit}” is no unit of ${field.name}. Expected ${Object.keys(factors).filter(Boolean).join(", ") || "a plain number"}, or no unit for ${field.unit || "the plain number"}.`);
    return Number(number) * (unit ? factors[unit] : 1);
  }

  searchKey(event) {
    event.stopPropagation();
    if (event.key === "Escape" && this.search.value) {
      this.search.value = "";
      this.searched();
    } else if (!["Enter", "ArrowDown", "Escape"].includes(event.key)) return;
    event.preventDefault();
    this.grid.focus({ preventScroll: true });
  }

  // -- drawing --

  resize() {
    const width = this.element.clientWidth;
    if (width === this.laidOut) return; // the height follows from what was just laid out
    if (width < 620 === this.narrow) this.layout();
    else this.arrange();
  }

  layout() {
    const width = this.element.clientWidth;
    this.laidOut = 0;
    this.drawn = null;
    if (this.grid.hidden) this.rows.replaceChildren();
    if (this.grid.hidden || !width) return;
    if (!this.colors.ink) this.applyTheme(); // a notebook makes the view before it puts it into the page
    this.laidOut = width;
    const widths = this.shown.map((field, k) => (k ? field.width : max(130, min(280, round(width * (this.narrow ? 0.4 : 0.3))))));
    const sum = widths.reduce((a, b) => a + b, 0);
    widths[0] += max(0, min(260, width - 30 - sum)); // the names take what is left over
    this.grid.style.setProperty("--lt-columns", widths.map((w) => `${w}px`).join(" "));
    this.grid.style.setProperty("--lt-width", `${widths.reduce((a, b) => a + b, 0)}px`);
    this.nameRoom = widths[0] - 24;
    this.rows.style.height = `${this.order.length * LT_ROW}px`;
    this.drawFoot();
    const rest = this.head.offsetHeight + this.foot.offsetHeight + 2;
    this.grid.style.maxHeight = `${this.options.height || LT_ROWS * LT_ROW + rest + 14}px`;
    this.drawn = null;
    this.redraw();
  }

  /** Makes the rows in sight; they are made anew only when others come into sight or something about them has changed. */
  draw() {
    if (this.grid.hidden || !this.nameRoom) return;
    const room = this.grid.clientHeight || 600;
    const first = max(0, floor(this.grid.scrollTop / LT_ROW) - LT_SPARE);
    const last = min(this.order.length, ceil((this.grid.scrollTop + room) / LT_ROW) + LT_SPARE);
    const drawn = `${first} ${last}`;
    if (this.drawn !== drawn) {
      this.drawn = drawn;
      this.rows.replaceChildren(...this.order.slice(first, last).map((row, k) => this.rowElement(row, first + k)));
    }
    this.showActive();
  }

  rowElement(i, place) {
    const chosen = this.selected.has(i);
    const kind = i === this.between ? " ep-lt-between" : "";
    const node = h("div", { class: `ep-lt-row${chosen ? " ep-lt-selected" : ""}${kind}`, role: "row", "aria-rowindex": place + 2, "aria-selected": String(chosen), "data-place": place });
    node.style.transform = `translateY(${place * LT_ROW}px)`;
    node.append(...this.shown.map((field, k) => this.cell(field, i, k)));
    return node;
  }

  cell(field, i, k) {
    const attributes = { id: `${this.id}-${i}-${k}`, role: k ? "gridcell" : "rowheader", "aria-colindex": k + 1, "data-col": k };
    if (!field.number) return this.textCell(field, i, k, attributes);
    const value = this.value(field.name, i);
    if (!known(value)) {
      const between = i === this.between;
      return h("div", { ...attributes, class: `ep-lt-number${between ? "" : " ep-lt-none"}`, title: between ? null : `${field.title}: not measured`, "aria-label": between ? null : "not measured" }, h("span", {}, between ? "" : MISSING));
    }
    const [low, high] = field.interval.map((name) => this.value(name, i));
    const [text, interval = ""] = showInterval(value, low, high, field.format, field.unit).split(" [");
    const node = h("div", { ...attributes, class: `ep-lt-number${field.estimated ? " ep-lt-guess" : ""}`, title: field.estimated ? `${field.title}: estimated` : null }, h("span", {}, text));
    if (interval) node.append(h("small", {}, `[${interval}`));
    if (["share", "latency_ms", "energy_mj"].includes(field.name) && value > 0 && i !== this.between && field.most) {
      node.classList.add("ep-lt-bar");
      node.style.setProperty("--lt-w", String(min(1, value / field.most)));
    }
    return node;
  }

  textCell(field, i, k, attributes) {
    const text = this.text(field.name, i);
    if (k) return h("div", { ...attributes, title: text }, text || (i === this.between ? "" : MISSING));
    const c = pen(this.canvas);
    c.font = this.colors.font;
    const kind = this.text("kind", i);
    const mark = { inserted: "+ ", nested: "↳ " }[kind] ?? "";
    const node = h("div", { ...attributes, class: `ep-lt-name${kind === "inserted" ? " ep-lt-inserted" : ""}`, title: text }, this.cut(c, mark + text, this.nameRoom));
    if (i !== this.between) node.style.setProperty("--lt-op", this.theme.ops[this.data.arrays.op_type[i]]);
    return node;
  }

  drawHead() {
    const cells = this.shown.map((field, k) => {
      const at = this.keys.findIndex((key) => key.field === field);
      const key = this.keys[at];
      const arrow = key ? (key.sign === 1 ? " ▴" : " ▾") : "";
      const nth = key && this.keys.length > 1 ? ` ${at + 1}` : "";
      const unit = field.format === "number" && field.unit ? ` (${field.unit})` : "";
      const sort = key ? (key.sign === 1 ? "ascending" : "descending") : "none";
      const title = `${field.meaning ? `${field.meaning} ` : ""}Click to sort, Shift+click to add to the sort.`;
      const parts = [h("span", {}, `${field.title}${unit}`)];
      if (field.estimated && !field.title.endsWith("(estimate)")) parts.push(h("em", { title: "estimated, not measured" }, "est."));
      if (key) parts.push(h("b", { "aria-hidden": "true" }, `${arrow}${nth}`));
      return h("div", { id: `${this.id}-h-${k}`, class: field.number ? "ep-lt-number" : k ? null : "ep-lt-name", role: "columnheader", "aria-sort": sort, "aria-colindex": k + 1, "data-col": k, title }, ...parts);
    });
    this.head.replaceChildren(...cells);
  }

  /** Sums of what is shown and of what is selected. */
  drawFoot() {
    const own = this.order.filter((i) => i !== this.between);
    const withBetween = own.length < this.order.length;
    const lines = [this.sumLine(`${grouped(own.length)} shown${withBetween ? ", and between" : ""}`, this.order)];
    if (this.selected.size) lines.push(this.sumLine(`${grouped(this.selected.size)} selected`, [...this.selected], "ep-lt-chosen"));
    this.foot.replaceChildren(...lines);
  }

  sumLine(title, rows, kind = "") {
    const cells = this.shown.map((field, k) => {
      if (!k) return h("div", { class: "ep-lt-name", role: "rowheader", title: "Sum over these layers" }, `Σ ${title}`);
      if (!field.additive) return h("div", { role: "gridcell" });
      let [sum, none, some] = [0, 0, 0];
      for (const i of rows) {
        const value = this.value(field.name, i);
        if (known(value)) [sum, some] = [sum + value, some + 1];
        else if (i !== this.between) none += 1;
      }
      const text = some ? show(sum, field.format, field.unit) : MISSING;
      const note = none && some ? `${grouped(none)} without` : "";
      const label = `${field.title}: ${some ? text : "not measured"}${note ? `, ${grouped(none)} of ${grouped(rows.length)} have no number and are not in it` : ""}${field.estimated ? ", estimated" : ""}`;
      const node = h("div", { class: `ep-lt-number${field.estimated ? " ep-lt-guess" : ""}`, role: "gridcell", title: label, "aria-label": label }, h("span", {}, text));
      if (note) node.append(h("small", {}, note));
      return node;
    });
    return h("div", { class: `ep-lt-row ${kind}`, role: "row" }, ...cells);
  }

  drawLegend() {
    const parts = [];
    if (this.estimated) parts.push(h("span", { class: "ep-lt-estimated" }, "estimated, not measured"));
    else if (this.shown.some((field) => field.estimated)) parts.push(h("span", { class: "ep-lt-estimated" }, "italic: an estimate"));
    const interval = this.shown.some((field) => field.interval?.length);
    if (interval) parts.push(h("span", { class: "ep-note" }, "[ ]: 95 % interval"));
    parts.push(h("span", { class: "ep-key" }, "not measured"));
    const kinds = new Set(this.data.texts.kind);
    if (kinds.has("inserted")) parts.push(h("em", {}, "+ inserted by the runtime"));
    if (kinds.has("nested")) parts.push(h("span", {}, "↳ nested"));
    this.legend.replaceChildren(...parts, this.status);
  }

  // -- selection --

  click(event) {
    const cell = event.target.closest("[data-col]");
    if (!cell) return;
    if (this.head.contains(cell)) {
      this.active = { row: -1, col: Number(cell.dataset.col) };
      this.sortBy(this.shown[this.active.col], event.shiftKey);
      this.showActive();
      return;
    }
    const row = Number(cell.parentElement.dataset.place);
    const from = this.anchor;
    this.active = { row, col: Number(cell.dataset.col) };
    if (event.shiftKey) this.pick(this.stretch(from, row), event.ctrlKey || event.metaKey);
    else {
      this.anchor = row;
      this.pick([this.order[row]], event.ctrlKey || event.metaKey, true);
    }
  }

  stretch(a, b) {
    return this.order.slice(min(a, b), max(a, b) + 1);
  }

  /** A person selects rows: instead of the selection, or added to it; `toggle` takes away what is selected already. */
  pick(rows, add, toggle = false) {
    const [only] = rows;
    const had = this.selected.has(only) && (add || this.selected.size === 1);
    if (!add) this.selected.clear();
    if (toggle && had) this.selected.delete(only);
    else rows.forEach((row) => this.selected.add(row));
    this.tell();
  }

  tell() {
    this.selectionChanged();
    this.options.onSelect?.(this.selection());
  }

  selectionChanged() {
    this.drawn = null;
    if (this.onlySelected) this.arrange();
    else if (!this.grid.hidden) this.drawFoot();
    this.redraw();
  }

  /** Selects these layers (from outside) and scrolls to the first of them. */
  select(names) {
    const rows = names.map((name) => this.rowOf.get(name)).filter((row) => row !== undefined);
    if (rows.length === this.selected.size && rows.every((row) => this.selected.has(row))) return;
    this.selected = new Set(rows);
    this.selectionChanged();
    const places = rows.map((row) => this.placeOf.get(row)).filter((place) => place !== undefined);
    if (places.length) {
      this.active.row = this.anchor = places.reduce((a, b) => min(a, b));
      this.reveal();
    }
  }

  /** Brings the active row, and its column, into sight. */
  reveal() {
    const { row, col } = this.active;
    const room = this.grid.clientHeight - this.head.offsetHeight - this.foot.offsetHeight;
    if (row >= 0 && room > 0) {
      if (row * LT_ROW < this.grid.scrollTop) this.grid.scrollTop = row * LT_ROW;
      else if ((row + 1) * LT_ROW > this.grid.scrollTop + room) this.grid.scrollTop = (row + 1) * LT_ROW - room;
    }
    const head = this.head.children[col];
    const first = this.head.children[0]?.offsetWidth ?? 0;
    if (!head || !col) this.grid.scrollLeft = col ? this.grid.scrollLeft : 0;
    else if (head.offsetLeft - first < this.grid.scrollLeft) this.grid.scrollLeft = head.offsetLeft - first;
    else if (head.offsetLeft + head.offsetWidth > this.grid.scrollLeft + this.grid.clientWidth) this.grid.scrollLeft = head.offsetLeft + head.offsetWidth - this.grid.clientWidth;
  }

  key(event) {
    const { row, col } = this.active;
    const last = this.order.length - 1;
    const page = max(1, floor((this.grid.clientHeight - this.head.offsetHeight - this.foot.offsetHeight) / LT_ROW) - 1);
    const moves = {
      ArrowDown: [row + 1, col], ArrowUp: [row - 1, col], ArrowRight: [row, col + 1], ArrowLeft: [row, col - 1],
      PageDown: [row + page, col], PageUp: [max(0, row - page), col], Home: event.ctrlKey ? [0, 0] : [0, col], End: [last, col],
    };
    const move = moves[event.key];
    const add = event.ctrlKey || event.metaKey;
    if (move) {
      this.active = { row: min(last, max(-1, move[0])), col: min(this.shown.length - 1, max(0, move[1])) };
      if (event.shiftKey && this.active.row !== row && this.active.row >= 0) this.pick(this.stretch(this.anchor, this.active.row), add);
      else if (this.active.row >= 0 && !event.shiftKey) this.anchor = this.active.row;
      this.reveal();
    } else if (event.key === " " || event.key === "Enter") {
      if (row < 0) this.sortBy(this.shown[col], event.shiftKey);
      else this.pick([this.order[row]], add || event.shiftKey, true);
      if (row < 0) this.active.row = -1;
    } else if (event.key === "Escape") {
      this.selected.clear();
      this.tell();
    } else if (event.key === "/" && !add) this.search.focus();
    else if (add && event.key.toLowerCase() === "a") this.pick(this.order.filter((i) => i !== this.between), false);
    else if (add && event.key.toLowerCase() === "c" && !getSelection()?.toString()) this.copy();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.redraw();
  }

  /** Marks the cell that the keys act on and names it to screen readers. */
  showActive() {
    this.grid.querySelectorAll(".ep-lt-active").forEach((cell) => cell.classList.remove("ep-lt-active"));
    const { row, col } = this.active;
    const id = row < 0 ? `${this.id}-h-${col}` : `${this.id}-${this.order[row]}-${col}`;
    const cell = this.grid.querySelector(`[id="${id}"]`);
    if (!cell) return this.grid.removeAttribute("aria-activedescendant");
    this.grid.setAttribute("aria-activedescendant", id);
    if (document.activeElement === this.grid) cell.classList.add("ep-lt-active");
    return undefined;
  }

  // -- copy --

  /** The selected layers, or all that are shown where none is, with the columns that are shown: as CSV on the clipboard. */
  copy() {
    const hidden = [...this.selected].filter((i) => !this.placeOf.has(i)); // selected, though the search hides them
    const rows = this.selected.size ? [...this.order.filter((i) => this.selected.has(i)), ...hidden] : this.order;
    const say = (text) => (this.status.textContent = text);
    const what = `${grouped(rows.length)} ${this.selected.size ? "selected" : "shown"} row${rows.length === 1 ? "" : "s"}`;
    const failed = () => say("The browser did not let the page write to the clipboard. Select and copy from the CSV report instead.");
    const text = this.csv(rows);
    const done = () => say(`Copied ${what} as CSV.`);
    if (navigator.clipboard?.writeText) return navigator.clipboard.writeText(text).then(done, () => (copyByHand(text) ? done() : failed()));
    return copyByHand(text) ? done() : failed();
  }

  /** As reports/csv.py writes it: not measured is empty, and a text that a spreadsheet would take for a formula gets an apostrophe. */
  csv(rows) {
    const columns = this.shown.flatMap((field) => [field, ...(field.interval ?? []).map((name) => ({ name, number: true }))]);
    const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const harmless = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
    const cell = (field, i) => {
      if (!field.number) return quoted(harmless(this.text(field.name, i)));
      const value = this.value(field.name, i);
      return known(value) ? String(this.data.arrays[field.name] instanceof Float32Array ? Number(value.toPrecision(7)) : value) : "";
    };
    const head = columns.map((field) => ({ nodes: "source_nodes" })[field.name] ?? field.name).join(",");
    return `${[head, ...rows.map((i) => columns.map((field) => cell(field, i)).join(","))].join("\n")}\n`;
  }

  // -- outside: theme, size, options --

  recolor() {
    this.layout(); // the font may be another
  }

  /** Changes options from outside; onChange is not called for them. */
  set(values) {
    this.guard(() => {
      const { data, selection, ...rest } = values;
      Object.assign(this.options, rest);
      if (data) this.exchange(data);
      if (rest.query !== undefined && rest.query !== this.search.value) this.search.value = rest.query;
      if (rest.columns) this.controls();
      this.applyTheme();
      if (rest.query !== undefined || data) this.readQuery();
      this.arrange();
      if (selection) this.select(selection);
    })();
  }

  /** Other data in the same table: selection, sort, search and place stay. */
  exchange(data) {
    const selected = this.selection();
    const active = this.data.names[this.order[this.active.row]];
    const [top, left, focus] = [this.grid.scrollTop, this.grid.scrollLeft, document.activeElement];
    const was = focus === this.grid ? "grid" : focus === this.search ? "search" : "";
    const caret = this.search.selectionStart;
    this.load(data);
    this.build();
    this.selected = new Set(selected.map((name) => this.rowOf.get(name)).filter((i) => i !== undefined));
    this.applyTheme();
    this.readQuery();
    this.arrange();
    this.active.row = this.placeOf.get(this.rowOf.get(active)) ?? 0;
    [this.grid.scrollTop, this.grid.scrollLeft] = [top, left];
    if (was) this[was].focus({ preventScroll: true });
    if (was === "search") this.search.setSelectionRange(caret, caret);
  }
}

/** @returns true when the old way to the clipboard worked, which pages without https have */
function copyByHand(text) {
  const area = h("textarea", { style: "position: fixed; opacity: 0" });
  const focused = document.activeElement;
  document.body.append(area);
  area.value = text;
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  return done;
}
