/**
 * A table of boards and how they feel. No dependencies but base.js; knows nothing of Jupyter.
 *
 *   const view = renderHealth(element, {rows, columns, readings, error, asking, running, refresh_s, theme}, {onChange});
 *
 * rows      [{board, status, sign, word, age_s, cells: {key: text}}], age_s when they were sent
 * columns   [[key, title], ...]    readings   how many there were so far: tells a new one that says the same as the last
 * onChange  ({running | refresh_s: value}) => {}: a person changed a control
 * returns   {element, set(state), destroy()}
 *
 * Texts reach the page as text nodes only.
 */

const PACES = [2, 5, 10, 30, 60, 300];

export function renderHealth(el, state, options = {}) {
  return made(el, () => new Health(el, state, options));
}

class Health extends View {
  constructor(el, state, options) {
    super(el, "ep-health", options);
    this.state = state;
    this.received = performance.now();
    const on = (make) => this.guard(() => this.options.onChange?.(make()));
    this.summary = h("span", { class: "ep-health-summary", role: "status" });
    this.button = h("button", { type: "button", class: "ep-health-run", onclick: on(() => ({ running: !this.state.running })) });
    this.pace = this.menu("Every", {}, "", (seconds) => this.options.onChange?.({ refresh_s: Number(seconds) }));
    this.asking = h("span", { class: "ep-health-asking" });
    this.tools = h("div", { class: "ep-tools", role: "toolbar", "aria-label": "Boards" }, this.summary, this.button, this.pace, this.asking);
    this.error = h("div", { class: "ep-health-error", role: "alert", hidden: true });
    this.table = h("div", { class: "ep-table-scroll", tabindex: 0, role: "region", "aria-label": "Health of boards" });
    this.element.replaceChildren(this.tools, this.error, h("div", { class: "ep-table" }, this.table));
    this.applyTheme();
    this.watchTheme();
    this.fill();
    const clock = setInterval(this.guard(() => this.drawAges()), 1000);
    this.cleanup.push(() => clearInterval(clock));
  }

  set(state) {
    this.guard(() => {
      if (state.readings !== this.state.readings) this.received = performance.now();
      this.state = state;
      this.applyTheme();
      this.fill();
    })();
  }

  fill() {
    const { error } = this.state;
    this.drawTools();
    this.error.hidden = !error;
    this.error.textContent = error && visible(`The boards could not be asked. ${error}`);
    this.drawTable();
    this.drawAges();
  }

  drawTools() {
    const { running, asking, rows, refresh_s: pace } = this.state;
    const counts = new Map();
    for (const row of rows) counts.set(row.status, [row, (counts.get(row.status)?.[1] ?? 0) + 1]);
    this.summary.replaceChildren(...[...counts.values()].map(([row, n]) => this.status(row, `${n} ${row.word}`)));
    this.button.textContent = running ? "❚❚ Stop" : "▶ Start";
    this.asking.textContent = asking ? "asking …" : "";
    const select = this.pace.querySelector("select");
    if (select.value === String(pace)) return; // an open menu stays open
    const choices = [...new Set([...PACES, pace])].sort((a, b) => a - b);
    select.replaceChildren(...choices.map((s) => h("option", { value: s }, s >= 60 && s % 60 === 0 ? `${s / 60} min` : `${s} s`)));
    select.value = String(pace);
  }

  /** Sign and words: never colour alone. */
  status(row, text) {
    return h("span", { class: `ep-status ep-status-${row.status}` }, h("b", { "aria-hidden": "true" }, row.sign), text);
  }

  drawTable() {
    const { rows, columns } = this.state;
    if (!rows.length) {
      this.table.replaceChildren(h("div", { class: "ep-empty" }, this.state.error ? "No reading yet." : "Waiting for the first answer of the boards …"));
      return;
    }
    const titles = ["Board", "Status", "Age", ...columns.map(([, title]) => title)];
    const head = h("tr", {}, ...titles.map((title) => h("th", { scope: "col" }, title)));
    const body = rows.map((row) => {
      const status = h("td", {}, this.status(row, row.word));
      const cells = columns.map(([key]) => h("td", { title: row.cells[key] }, row.cells[key] ?? MISSING));
      return h("tr", {}, h("th", { scope: "row", title: row.board }, row.board), status, h("td", { class: "ep-age" }), ...cells);
    });
    const [left, top] = [this.table.scrollLeft, this.table.scrollTop];
    this.table.replaceChildren(h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)));
    [this.table.scrollLeft, this.table.scrollTop] = [left, top];
  }

  /** How old each reading is now; an old one is marked. */
  drawAges() {
    const since = (performance.now() - this.received) / 1000;
    const old = 3 * this.state.refresh_s;
    this.table.querySelectorAll(".ep-age").forEach((cell, i) => {
      const sent = this.state.rows[i]?.age_s;
      const age = sent == null ? NaN : sent + since;
      cell.textContent = known(age) ? span(age) : MISSING;
      cell.classList.toggle("ep-old", this.state.running && age > old);
    });
  }

  applyTheme() {
    const dark = this.state.theme === "auto" ? isDark() : this.state.theme === "dark";
    this.element.classList.toggle("ep-dark", dark);
    this.element.classList.toggle("ep-light", !dark);
  }

  watchTheme() {
    const theme = this.guard(() => this.applyTheme());
    const body = new MutationObserver(theme);
    const system = matchMedia("(prefers-color-scheme: dark)");
    body.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
    system.addEventListener("change", theme);
    this.cleanup.push(() => (body.disconnect(), system.removeEventListener("change", theme)));
  }
}

/** `42 s`, `3 min`, `2 h`, `5 d`. */
function span(seconds) {
  if (seconds < 120) return `${round(seconds)} s`;
  if (seconds < 7200) return `${round(seconds / 60)} min`;
  return seconds < 172800 ? `${round(seconds / 3600)} h` : `${round(seconds / 86400)} d`;
}
