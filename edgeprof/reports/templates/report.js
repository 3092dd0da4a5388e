// Draws the figures of the report when they come near, in the colours of the system's theme, and lets tables be sorted and searched.
// It computes nothing: all numbers come from the page.

const dark = matchMedia("screen and (prefers-color-scheme: dark)");
const text = (id) => document.getElementById(id).textContent;
const swap = JSON.parse(text("swap"));
const drawn = new Map(); // element -> function that draws it again in the given theme
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

function drawFigure(element) {
  const source = text(element.dataset.figure);
  const draw = (isDark, width) => {
    const figure = JSON.parse(isDark ? source.replace(/#[0-9a-f]{6}/g, (color) => swap[color] ?? color) : source);
    return Plotly.react(element, figure.data, { ...fitted(figure.layout, element), width }, CONFIG);
  };
  drawn.set(element, draw);
  draw(dark.matches);
}

/** On a narrow screen names of layers take at most a third of it. */
function fitted(layout, element) {
  const most = Math.floor(element.clientWidth / 3 / 6.2);
  const names = layout.yaxis.ticktext;
  if (names) layout.yaxis.ticktext = names.map((name) => shorten(name, Math.max(10, most)));
  return layout;
}

function shorten(name, most) {
  const letters = name.match(/&[a-z]+;|&#\d+;|[^]/gu) ?? []; // names are escaped: an entity is one letter
  if (letters.length <= most) return name;
  const head = Math.floor((most - 1) / 2);
  return `${letters.slice(0, head).join("")}…${letters.slice(letters.length - (most - 1 - head)).join("")}`;
}

function drawHeatmap(element) {
  const runs = element.dataset.runs ? JSON.parse(text(element.dataset.runs)) : undefined;
  drawView(element, edgeprofHeatmap, element.dataset.heatmap, { runs, height: 520 });
}

/** A view on a canvas, drawn by `render` from the data with this id. */
function drawView(element, render, id, options) {
  const theme = (isDark) => (isDark ? "dark" : "light");
  const view = render(element, JSON.parse(text(id)), { ...options, theme: theme(dark.matches) });
  drawn.set(element, (isDark) => {
    view.set({ theme: theme(isDark) });
    view.resize?.(); // at once: a printer does not wait for the next frame
    view.draw?.();
  });
}

const draw = (element) => {
  if (drawn.has(element)) return;
  if (element.dataset.figure) drawFigure(element);
  else if (element.dataset.timeline) drawView(element, edgeprofTimeline, element.dataset.timeline, {});
  else if (element.dataset.memory) drawView(element, edgeprofMemory, element.dataset.memory, {});
  else drawHeatmap(element);
};
const waiting = document.querySelectorAll("[data-figure], [data-heatmap], [data-timeline], [data-memory]");
const near = new IntersectionObserver((entries) => entries.forEach((entry) => entry.isIntersecting && draw(entry.target)), { rootMargin: "600px" });
waiting.forEach((element) => near.observe(element));
dark.addEventListener("change", () => drawn.forEach((again) => again(dark.matches)));

// Paper is light and narrow, and the browser asks for its size too late: figures are drawn anew at a width that fits A4 and letter.
const PAPER_PX = 660;
addEventListener("beforeprint", () => {
  waiting.forEach(draw);
  document.querySelectorAll(".method ~ details").forEach((part) => (part.open = true));
  waiting.forEach((element) => (element.style.width = `${PAPER_PX}px`));
  drawn.forEach((again) => again(false, PAPER_PX));
});
addEventListener("afterprint", () => {
  waiting.forEach((element) => (element.style.width = ""));
  drawn.forEach((again) => again(dark.matches));
});

// ---- tables ----

function makeSortable(table) {
  table.querySelectorAll("thead th").forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, heading, column));
  });
}

function sort(table, heading, column) {
  const words = "text" in heading.dataset;
  const was = heading.getAttribute("aria-sort");
  const way = was ? (was === "ascending" ? "descending" : "ascending") : words || heading.textContent === "#" ? "ascending" : "descending";
  table.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", way);
  const sign = way === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const key = (row) => (words ? row.cells[column].textContent : number(row.cells[column]));
  const known = (value) => words || !Number.isNaN(value);
  const rows = [...body.rows].map((row) => [key(row), row]);
  rows.sort(([a], [b]) => {
    if (!known(a) || !known(b)) return known(b) - known(a); // what was not measured stays last, whichever way
    return sign * (words ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  });
  body.append(...rows.map(([, row]) => row));
}

/** The number of a cell: its exact key, or its text read back (``1.24 MB``, ``−0.3``, ``12.1 – 12.5``). */
function number(cell) {
  if (cell.dataset.k) return parseFloat(cell.dataset.k);
  const [, digits, prefix] = cell.textContent.replace("−", "-").match(/^(-?[\d.]+)(?: ([kMGT]))?/) ?? [];
  return parseFloat(digits) * 1000 ** (prefix ? " kMGT".indexOf(prefix) : 0);
}

function makeSearchable(table) {
  const search = table.closest(".card").querySelector(".search");
  const [input, output] = [search.querySelector("input"), search.querySelector("output")];
  const rows = [...table.tBodies[0].rows].map((row) => [row, `${row.cells[0].title} ${row.textContent}`.toLowerCase()]);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const [row, content] of rows) {
      row.hidden = !words.every((word) => content.includes(word));
      found += !row.hidden;
    }
    output.textContent = words.length ? `${found} of ${rows.length}` : "";
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll("table.searchable").forEach(makeSearchable);
