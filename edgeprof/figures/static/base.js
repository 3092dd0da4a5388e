/**
 * What all views that draw on a canvas share: elements, numbers as people read them, colours, themes, errors in the cell.
 * No dependencies; knows nothing of Jupyter. It stands in front of a view's own module, in the same scope (figures/modules.py).
 */

const { abs, ceil, floor, log, max, min, round } = Math;
const known = Number.isFinite;

const MISSING = "–";

/** Shows an error where the view should be: a console is not where people look. */
export function showError(el, error) {
  const stack = h("pre", {}, String(error?.stack ?? ""));
  const box = h("div", { class: "ep-error", role: "alert" }, `This view could not be drawn: ${error?.message ?? error}`);
  box.append(h("details", {}, h("summary", {}, "Details"), stack));
  el.querySelectorAll(":scope > .ep-error").forEach((old) => old.remove());
  el.prepend(box);
}

/** What `make` makes; when that fails an error where the view should be, and a view that does nothing. */
function made(el, make) {
  try {
    return make();
  } catch (error) {
    showError(el, error);
    const nothing = () => {};
    return { element: el, select: nothing, selectRuns: nothing, set: nothing, setTheme: nothing, kernelChanged: nothing, destroy: nothing };
  }
}

/** @returns an element; children are strings (text nodes) or elements. */
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, key === "title" ? visible(value) : value);
  }
  node.append(...children.map((child) => (typeof child === "string" ? visible(child) : child)));
  return node;
}

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

/** Control, direction and other invisible characters written out, as edgeprof/analysis/names.py does: a name must not turn a line around. */
function visible(text) {
  return String(text).replace(INVISIBLE, (c) => {
    const code = c.codePointAt(0);
    return code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** What is drawn with on this canvas; texts are made `visible`. */
function pen(canvas) {
  const c = canvas.getContext("2d");
  if (c.isPen) return c;
  for (const name of ["fillText", "strokeText", "measureText"]) {
    const plain = c[name].bind(c);
    c[name] = (text, ...rest) => plain(visible(text), ...rest);
  }
  return Object.assign(c, { isPen: true });
}

// ---- numbers and how they are shown (the rules of edgeprof/units.py) ----

const ARRAYS = { f8: Float64Array, f4: Float32Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };

function unpack({ meta, numbers }) {
  let buffer = numbers;
  if (typeof numbers === "string") buffer = Uint8Array.from(atob(numbers), (c) => c.charCodeAt(0)).buffer;
  else if (ArrayBuffer.isView(numbers)) buffer = numbers.buffer.slice(numbers.byteOffset, numbers.byteOffset + numbers.byteLength);
  const arrays = {};
  for (const [name, { type, offset, length }] of Object.entries(meta.arrays)) arrays[name] = new ARRAYS[type](buffer, offset, length);
  return { ...meta, arrays };
}

function significant(value, digits = 3) {
  if (value === 0) return "0";
  const exponent = Number(value.toExponential(digits - 1).split("e")[1]); // of the rounded value: 0.9998 is 1.00
  return value.toFixed(min(9, max(0, digits - 1 - exponent)));
}

function scaled(value, names) {
  let unit = 0;
  while (abs(value) >= 999.5 && unit < names.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const text = unit === 0 && Number.isInteger(value) ? value.toFixed(0) : significant(value);
  return `${text} ${names[unit]}`.trim();
}

function timeUnit(ms) {
  if (abs(ms) >= 999.5) return [1e-3, "s"];
  return abs(ms) >= 0.9995 ? [1, "ms"] : [1e3, "µs"];
}

function energyUnit(mj) {
  if (abs(mj) >= 999.5) return [1e-3, "J"];
  return abs(mj) >= 0.1 || mj === 0 ? [1, "mJ"] : [1e3, "µJ"];
}

const UNITS = { latency: timeUnit, energy: energyUnit };

const FORMATS = {
  latency: (v) => `${significant(v * timeUnit(v)[0])} ${timeUnit(v)[1]}`,
  energy: (v) => `${significant(v * energyUnit(v)[0])} ${energyUnit(v)[1]}`,
  share: (v) => `${(v * 100).toFixed(1)} %`,
  size: (v) => scaled(v, ["B", "kB", "MB", "GB", "TB"]),
  count: (v) => scaled(v, ["", "k", "M", "G", "T"]),
  number: (v, unit) => `${significant(v)} ${unit ?? ""}`.trim(),
  ratio: (v) => `${significant(v)}×`,
};

function show(value, format, unit) {
  return known(value) ? FORMATS[format](value, unit) : MISSING;
}

/** `1.240 ms [1.221, 1.262]`: one unit, one digit beyond the interval's width. */
function showInterval(value, low, high, format, unit) {
  if (!known(value)) return MISSING;
  if (!known(low) || !known(high)) return show(value, format, unit);
  const [scale, name] = UNITS[format]?.(value) ?? [1, unit];
  const width = abs(high - low) * scale;
  const magnitude = floor(Math.log10(width > 0 ? width : abs(value * scale) || 1));
  const decimals = width > 0 ? min(4, max(0, 1 - magnitude)) : max(0, 2 - magnitude);
  const [v, l, u] = [value, low, high].map((x) => (x * scale).toFixed(decimals));
  return `${v} ${name} [${l}, ${u}]`;
}

const grouped = (n) => n.toLocaleString("en-US").replaceAll(",", "\u202f");

// ---- colour ----

/** 256 steps between the stops, each with the ink that can be read on it. */
function ramp(stops) {
  const rgb = stops.map((s) => [1, 3, 5].map((i) => parseInt(s.slice(i, i + 2), 16)));
  return Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (rgb.length - 1);
    const k = min(rgb.length - 2, floor(at));
    const c = rgb[k].map((v, j) => round(v + (rgb[k + 1][j] - v) * (at - k)));
    const [r, g, b] = c.map((v) => (v / 255) ** 2.2);
    return { fill: `rgb(${c})`, ink: 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff" };
  });
}

/** Place of a number, 0 to 1, on a column's scale {log, min, max} as figures/heatmap.py made it. */
function place(value, scale) {
  const on = scale.log ? (v) => log(max(v, scale.min)) : (v) => v;
  const at = (on(value) - on(scale.min)) / (on(scale.max) - on(scale.min));
  return known(at) ? min(1, max(0, at)) : value === 0 ? 0 : 0.5;
}

// ---- what every view does ----

/**
 * A view has `data` (with `header`, `findings` and `themes`), `canvas`, `card`, and its own `resize()`, `draw()` and `recolor()`.
 * With the option `embedded` it stands inside something that has a header, notes and a table of its own: it shows none.
 */
class View {
  constructor(el, name, options) {
    this.options = { theme: "auto", ...options };
    this.element = h("div", { class: `ep-view ${name}${this.options.embedded ? " ep-embedded" : ""}` });
    this.cleanup = [];
    el.append(this.element);
  }

  /** Runs fn; an error in it is shown in the cell. */
  guard(fn) {
    return (...args) => {
      try {
        return fn(...args);
      } catch (error) {
        showError(this.element, error);
        throw error;
      }
    };
  }

  redraw() {
    this.frame ??= requestAnimationFrame(this.guard(() => ((this.frame = null), this.draw())));
  }

  /** Model, origin, facts and the one number of the view, with the findings folded away. */
  header({ header, findings }) {
    const title = h("div", { class: "ep-title" }, h("span", { class: "ep-model" }, header.model));
    title.append(h("span", { class: `ep-origin ep-origin-${header.origin}` }, header.origin_label));
    title.append(...header.facts.map((fact) => h("span", { class: "ep-fact" }, fact)));
    const number = h("div", { class: "ep-number" }, h("strong", {}, header.number), h("span", {}, header.number_note));
    const node = h("header", { class: "ep-head" }, title, number);
    if (header.lines) {
      const items = header.lines.items.map((line) => h("li", {}, line));
      node.append(h("details", { class: "ep-findings ep-lines", open: header.lines.open }, h("summary", {}, header.lines.title), h("ul", {}, ...items)));
    }
    if (findings.length) {
      const count = `${findings.length} note${findings.length > 1 ? "s" : ""} on these numbers`;
      const items = findings.map((f) => h("li", { class: `ep-${f.severity}` }, `${f.severity}: ${f.text}`));
      node.append(h("details", { class: "ep-findings" }, h("summary", {}, count), h("ul", {}, ...items)));
    }
    return node;
  }

  segments(label, choices, value, onPick) {
    const buttons = Object.entries(choices).map(([key, text]) =>
      h("button", { type: "button", role: "radio", "aria-checked": String(key === value), "data-value": key, onclick: this.guard(() => onPick(key)) }, text),
    );
    return h("div", { class: "ep-segments", role: "radiogroup", "aria-label": label }, ...buttons);
  }

  menu(label, choices, value, onPick) {
    const items = Object.entries(choices).map(([key, text]) => h("option", { value: key, selected: key === value }, text));
    const select = h("select", { title: label, onchange: this.guard((e) => onPick(e.target.value)), "data-lm-suppress-shortcuts": "true" }, ...items);
    return h("label", { class: "ep-menu" }, label, select);
  }

  /** Names of the selected layers, in the order of the data. */
  selection() {
    return [...this.selected].sort((a, b) => a - b).map((row) => this.data.names[row]);
  }

  /** Esc empties the search; it, Enter and the arrow down go back to the rows. */
  searchKey(event) {
    event.stopPropagation();
    if (event.key === "Escape") {
      this.search.value = "";
      this.filter("");
    }
    if (event.key === "Enter" || event.key === "ArrowDown" || event.key === "Escape") this.grid.focus({ preventScroll: true });
  }

  hatch(c, x, y, w, height, color) {
    c.fillStyle = color ? hatching(c, color, 5) : this.hatching;
    c.fillRect(x, y, w, height);
  }

  /** `text` with its middle left out so that it fits; the end is kept longer, it tells layers apart. */
  cut(c, text, width) {
    if (text.length * 12 <= width || c.measureText(text).width <= width) return text;
    let [low, high] = [1, text.length];
    const cutTo = (n) => `${text.slice(0, floor((n - 1) * 0.4))}…${text.slice(text.length - ceil((n - 1) * 0.6))}`;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (c.measureText(cutTo(middle)).width <= width) low = middle;
      else high = middle - 1;
    }
    return cutTo(low);
  }

  moveCard(event) {
    if (this.card.hidden) return;
    const box = this.element.getBoundingClientRect();
    const [w, height] = [this.card.offsetWidth, this.card.offsetHeight];
    let x = event.clientX - box.left + 18;
    if (x + w > box.width - 4) x = max(4, event.clientX - box.left - w - 18);
    const low = max(4, -box.top + 4); // keep it inside the element and the window
    const high = min(box.height, window.innerHeight - box.top) - height - 4;
    const y = max(low, min(event.clientY - box.top + 18, high));
    this.card.style.transform = `translate(${round(x)}px, ${round(y)}px)`;
  }

  /** Follows the theme. */
  applyTheme() {
    const dark = this.options.theme === "auto" ? isDark() : this.options.theme === "dark";
    this.element.classList.toggle("ep-dark", dark);
    this.element.classList.toggle("ep-light", !dark);
    this.element.classList.toggle("ep-own", this.options.theme !== "auto");
    this.theme = this.data.themes[dark ? "dark" : "light"];
    const style = getComputedStyle(this.element);
    const names = ["ink", "muted", "surface", "line", "accent", "warning", "bar", "quiet", "hover", "selected"];
    this.colors = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--ep-${name}`).trim()]));
    this.colors.font = `12px ${style.fontFamily}`;
    this.colors.small = `11px ${style.fontFamily}`;
    this.colors.tiny = `10px ${style.fontFamily}`;
    this.hatching = hatching(this.canvas.getContext("2d"), this.colors.line, 6);
  }

  /** Draws again when the theme or the size changes. */
  watch() {
    const theme = this.guard(() => (this.applyTheme(), this.recolor()));
    const size = new ResizeObserver(this.guard(() => this.resize()));
    const body = new MutationObserver(theme);
    const system = matchMedia("(prefers-color-scheme: dark)");
    size.observe(this.element);
    body.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
    system.addEventListener("change", theme);
    this.cleanup.push(() => (size.disconnect(), body.disconnect(), system.removeEventListener("change", theme)));
  }

  destroy() {
    this.cleanup.forEach((undo) => undo());
    if (this.frame) cancelAnimationFrame(this.frame);
    this.element.remove();
  }
}

// ---- small helpers ----

function isDark() {
  const { body } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (/\bvscode-(dark|high-contrast)\b/.test(body.className)) return !body.classList.contains("vscode-high-contrast-light");
  if (body.classList.contains("vscode-light")) return false;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Gives a canvas this size in CSS pixels, sharp on every screen. */
function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = round(width * ratio);
  canvas.height = round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
}

function hatching(c, color, step) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = step;
  const t = tile.getContext("2d");
  t.strokeStyle = color;
  for (const d of [-step, 0, step]) (t.moveTo(d - 1, step + 1), t.lineTo(d + step + 1, -1));
  t.stroke();
  return c.createPattern(tile, "repeat");
}

function wrap(c, text, width) {
  if (c.measureText(text).width <= width) return [text];
  const words = text.split(" ");
  return words.length < 2 ? [text] : [words.slice(0, ceil(words.length / 2)).join(" "), words.slice(ceil(words.length / 2)).join(" ")];
}

function compare(a, b) {
  if (typeof a === "string") return a.localeCompare(b);
  return (known(a) ? a : -Infinity) - (known(b) ? b : -Infinity);
}
