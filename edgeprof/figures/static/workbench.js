/**
 * The Workbench: all views of a model in one frame, linked by one selection; what is decided stands beside them. Draws nothing of its own:
 * each pane holds a view's module. No dependencies; knows nothing of Jupyter.
 *
 *   import { renderWorkbench } from "./workbench.js";
 *   const workbench = renderWorkbench(element, host, options);
 *
 * host     where the state is kept and what is computed:
 *   get(name), on(name, fn)      a part of the state, and fn(value) whenever it changes; on() returns how to stop that
 *   set(values)                  a person changed parts of it: selected, arrangement
 *   act(name, values)            a person wants something done; a promise of its answer
 *   view(name, values)           a promise of a view's data, {data, runs, detail ...}, each {meta, numbers}
 *   module(name)                 a promise of a view's module
 *   live                         false in a page without Python: what needs it is left out
 *   gone                         true when Python has ended: nothing is asked or done any more
 * parts of the state (edgeprof/workbench/told.py tells all of each):
 *   head, subjects, shown, against, selected {layers, runs, candidates}, can_go, versions, empty, offers, decide, tasks, notes, lane, arrangement
 * options  theme  "auto" | "light" | "dark"
 * returns  {element, setTheme(theme), kernelChanged(), destroy()}; kernelChanged says that host.gone is another
 */

const PANES = { a: ["heatmap", "icicle", "table", "timeline", "candidates"], b: ["pareto", "roofline", "compare"], c: ["graph", "memory"] };

/** of: whose data: the subject that is looked at, or all candidates. rows: names of aligned rows instead of layers. */
const PARTS = {
  heatmap: { title: "Heatmap", module: "heatmap", render: "renderHeatmap", height: 400 },
  icicle: { title: "Icicle", module: "icicle", render: "renderIcicle", height: 400 },
  table: { title: "Table", module: "layer_table", render: "renderLayerTable", data: "heatmap", height: 400 },
  timeline: { title: "Timeline", module: "timeline", render: "renderTimeline", height: 0 },
  candidates: { title: "Side by side", module: "heatmap", render: "renderHeatmap", of: "candidates", rows: true, height: 400 },
  pareto: { title: "Pareto", module: "pareto", render: "renderPareto", of: "candidates", height: 330 },
  roofline: { title: "Roofline", module: "roofline", render: "renderRoofline", height: 330 },
  compare: { title: "Difference", module: "difference", render: "renderDifference", of: "candidates", rows: true, height: 330 },
  graph: { title: "Graph", module: "graph", render: "renderGraph", height: 330 },
  memory: { title: "Memory", module: "memory", render: "renderMemory", height: 0 },
};
const ESTIMATE = " estimate"; // behind the key of a candidate that was measured: its point as it was estimated
const GONE = { title: "The kernel has ended.", text: "Nothing goes on here. Run the cell again: what was measured is kept.", kind: "warning" };
const LATE_MS = 2000;
const MOST_KEPT = 24; // answers of the host

const ICONS = {
  back: "M14 6l-6 6 6 6", forward: "M10 6l6 6-6 6", undo: "M8 5L4 9l4 4M4 9h10a5 5 0 010 10h-3", redo: "M16 5l4 4-4 4M20 9H10a5 5 0 000 10h3",
  close: "M6 6l12 12M18 6L6 18", wide: "M4 9V4h5M20 15v5h-5M4 4l6 6M20 20l-6-6", narrow: "M10 5v5H5M14 19v-5h5M10 10L4 4M14 14l6 6", code: "M9 7l-5 5 5 5M15 7l5 5-5 5",
};

export function renderWorkbench(el, host, options = {}) {
  return made(el, () => new Workbench(el, host, options));
}

class Workbench {
  constructor(el, host, options) {
    Object.assign(this, { host, options: { theme: "auto", ...options }, cleanup: [], kept: new Map() });
    this.element = h("div", { class: "ep-view ep-workbench", role: "region", "aria-label": "Workbench" });
    el.append(this.element);
    this.build();
    this.applyTheme();
    this.watch();
    for (const name of ["head", "subjects", "can_go", "decide", "tasks", "notes"]) this.follow(name, () => this.redraw(name));
    this.follow("lane", (html) => (this.lane.innerHTML = html)); // made and escaped in Python (figures/power_lane.py)
    this.follow("shown", () => (this.drawBar(), this.refresh()));
    this.follow("against", () => (this.drawBar(), this.refresh()));
    this.follow("versions", () => this.refresh());
    this.follow("empty", () => this.refresh());
    this.follow("offers", () => this.panes.forEach((pane) => pane.drawOffer()));
    this.follow("selected", () => this.spread(null));
    for (const pane of this.panes) pane.show(this.layout[pane.area] ?? pane.names[0]);
  }

  guard(fn) {
    return (...args) => {
      const failed = (error) => {
        showError(this.element, error);
        throw error;
      };
      try {
        const answer = fn(...args);
        return answer?.then ? answer.catch(failed) : answer;
      } catch (error) {
        return failed(error);
      }
    };
  }

  follow(name, fn) {
    const stop = this.host.on(name, this.guard(fn));
    this.cleanup.push(stop);
  }

  get layout() {
    return this.host.get("arrangement") ?? {};
  }

  get selection() {
    return { layers: [], runs: [], candidates: [], ...this.host.get("selected") };
  }

  keep(values) {
    this.host.set({ arrangement: { ...this.layout, ...values } });
  }

  /** A person wants something: what goes wrong is told in the notes by who does it. */
  act(name, values = {}) {
    if (this.host.gone) return undefined;
    return this.guard(() => this.host.act(name, values))();
  }

  // -- frame --

  build() {
    this.head = h("div", {});
    this.bar = h("div", { class: "wb-bar", role: "toolbar", "aria-label": "Workbench" });
    this.notes = h("div", { class: "wb-notes", "aria-live": "polite" });
    this.tasks = h("div", { class: "wb-tasks" });
    this.lane = h("div", { class: "wb-lane" });
    this.sheet = h("div", { class: "wb-sheet", hidden: true });
    this.voice = h("div", { class: "ep-voice", "aria-live": "polite" });
    this.panes = Object.entries(PANES).map(([area, names]) => new Pane(this, area, names));
    this.decide = h("aside", { class: "wb-pane wb-decide", "aria-label": "Decide", "data-lm-suppress-shortcuts": "true" });
    this.grid = h("div", { class: "wb-grid" }, ...this.panes.map((pane) => pane.element), this.decide);
    this.element.append(this.head, this.bar, this.notes, this.tasks, this.lane, this.sheet, this.grid, this.voice);
    this.element.addEventListener("keydown", this.guard((event) => this.key(event)));
    for (const name of ["head", "decide", "tasks", "notes"]) this.redraw(name);
    this.drawBar();
    this.widen(this.layout.wide ?? null, false);
  }

  redraw(name) {
    if (name === "head") this.drawHead();
    else if (name === "decide") this.drawDecide();
    else if (name === "tasks") this.drawTasks();
    else if (name === "notes") this.drawNotes();
    else this.drawBar();
  }

  drawHead() {
    const { header, findings } = this.host.get("head");
    const open = this.head.querySelector(".ep-findings:not(.ep-lines)")?.open;
    const node = View.prototype.header.call(this, { header, findings });
    if (open && node.querySelector(".ep-findings:not(.ep-lines)")) node.querySelector(".ep-findings:not(.ep-lines)").open = true;
    if (header.running && this.host.gone) node.querySelector(".ep-origin").textContent = "ended before it was done";
    else if (header.running) node.querySelector(".ep-origin")?.classList.add("ep-running");
    this.exchange(this.head, node);
  }

  button(text, { icon, title, disabled, kind = "", act }) {
    const content = [icon && this.icon(icon), text].filter(Boolean);
    const attributes = { type: "button", class: `wb-button ${text ? "" : "wb-icon"} ${kind}`, title: title ?? null, "aria-label": text ? null : title, disabled: Boolean(disabled) };
    return h("button", { ...attributes, onclick: this.guard(act) }, ...content);
  }

  icon(name) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    node.setAttribute("viewBox", "0 0 24 24");
    node.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", ICONS[name]);
    node.append(path);
    return node;
  }

  /** Exchanges what stands in a place; what has the focus there keeps it, where the same is there again. */
  exchange(place, ...nodes) {
    const textOf = (node) => ({ SELECT: node.closest("label")?.firstChild.textContent, SUMMARY: "" })[node.tagName] ?? node.textContent;
    const nameOf = (node) => node.dataset.focus ?? `${node.tagName} ${node.getAttribute("aria-label") ?? textOf(node)}`;
    const active = place.contains(document.activeElement) ? nameOf(document.activeElement) : null;
    place.replaceChildren(...nodes);
    if (active === null) return;
    const again = [...place.querySelectorAll("button, select, input, summary, [tabindex]")].find((node) => nameOf(node) === active);
    again?.focus({ preventScroll: true });
  }

  choose(label, choices, value, onPick) {
    const menu = View.prototype.menu.call(this, label, choices, value, onPick);
    menu.querySelector("select").title = visible(choices[value] ?? "");
    return menu;
  }

  drawBar() {
    const { host } = this;
    const subjects = host.get("subjects");
    const [back, forward] = host.get("can_go");
    const parts = [];
    if (host.live) {
      const go = (text, icon, can, act) => this.button("", { icon, title: text, disabled: !can, kind: "wb-quiet", act: () => this.act(act) });
      parts.push(h("div", { class: "wb-group" }, go("Selection before ( [ )", "back", back, "back"), go("Selection after ( ] )", "forward", forward, "forward")));
    }
    if (subjects.length > 1) {
      const names = Object.fromEntries(subjects.map((one) => [one.key, one.label]));
      const shown = host.get("shown");
      const others = Object.fromEntries(Object.entries(names).filter(([key]) => key !== shown));
      if (host.live || host.can.shown) parts.push(this.choose("Looking at", names, shown, (key) => this.act("show", { key })));
      if (host.live) parts.push(this.choose("against", { "": "nothing", ...others }, host.get("against") ?? "", (key) => this.act("against", { key })));
    }
    parts.push(h("span", { class: "wb-space" }));
    if (host.live) {
      parts.push(this.button("Copy as code", { icon: "code", kind: "wb-quiet", title: "Python that does the same", act: () => this.showCode() }));
      parts.push(this.button("Save…", { kind: "wb-quiet", title: "Recipe, page or everything", act: () => this.showSave() }));
    }
    this.bar.hidden = parts.length < 2;
    this.exchange(this.bar, ...parts);
  }

  drawNotes() {
    const all = this.host.gone ? [GONE, ...this.host.get("notes").map(({ title, text, kind }) => ({ title, text, kind }))] : this.host.get("notes");
    const nodes = all.map((note) => {
      const parts = [h("p", {}, h("b", {}, note.title), ` ${note.text}`)];
      if (note.action && this.host.live) parts.push(this.button(note.label, { act: () => this.act(note.action, note.values ?? {}) }));
      if (note.id && this.host.live) parts.push(this.button("", { icon: "close", title: "Close this note", kind: "wb-quiet", act: () => this.act("dismiss", { id: note.id }) }));
      return h("div", { class: `wb-note wb-${note.kind}`, role: note.kind === "error" ? "alert" : null }, ...parts);
    });
    this.exchange(this.notes, ...nodes);
  }

  /** Bars of what runs and waits are kept while their words change, so that they move and keep the focus. */
  drawTasks() {
    const wanted = this.host.gone ? [] : this.host.get("tasks");
    const old = new Map([...this.tasks.children].map((node) => [node.dataset.id, node]));
    const nodes = wanted.map((task) => {
      const node = old.get(String(task.id)) ?? this.taskNode(task);
      const [title, meter, phase] = node.children;
      title.textContent = visible(task.title);
      title.title = visible(task.title);
      meter.classList.toggle("wb-unknown", task.part === null);
      if (task.part !== null) meter.setAttribute("aria-valuenow", round(task.part * 100));
      meter.firstChild.style.width = task.part === null ? "" : `${task.part * 100}%`;
      phase.textContent = visible(task.phase);
      return node;
    });
    if (nodes.length !== this.tasks.children.length || nodes.some((node, i) => this.tasks.children[i] !== node)) this.tasks.replaceChildren(...nodes);
  }

  taskNode(task) {
    const meter = h("div", { class: "wb-meter", role: "progressbar", "aria-label": task.title, "aria-valuemin": 0, "aria-valuemax": 100 }, h("i", {}));
    const cancel = this.button("Cancel", { kind: "wb-quiet", act: () => ((cancel.disabled = true), this.act("cancel", { id: task.id })) });
    return h("div", { class: "wb-task", "data-id": String(task.id) }, h("strong", {}), meter, h("span", {}), cancel);
  }

  // -- data of views --

  /** What a view is drawn from; what was asked for once is kept until its version changes. */
  data(name, values = {}) {
    const { host } = this;
    const part = PARTS[name];
    const versions = host.get("versions");
    const of = part.of === "candidates" ? `${versions.candidates}|${host.get("shown")}|${host.get("against") ?? ""}` : `${host.get("shown")}|${versions[host.get("shown")] ?? 0}`;
    const token = JSON.stringify([part.data ?? name, of, values]);
    if (!this.kept.has(token)) {
      const answer = host.view(part.data ?? name, values);
      answer.catch(() => this.kept.delete(token));
      this.kept.set(token, answer);
      if (this.kept.size > MOST_KEPT) this.kept.delete(this.kept.keys().next().value);
    }
    return { token, answer: this.kept.get(token) };
  }

  refresh() {
    for (const pane of this.panes) pane.refresh();
  }

  // -- one selection --

  /** Shows the selection in all panes but the one it came from. */
  spread(from) {
    for (const pane of this.panes) if (pane !== from) pane.select(this.selection);
  }

  /** A person selected in `from`: everybody else follows at once, Python hears of it. */
  picked(values, from) {
    this.host.set({ selected: { ...this.selection, ...values } });
    this.spread(from);
    const { layers, candidates } = this.selection;
    this.voice.textContent = values.candidates ? `${candidates.length} candidates selected` : `${layers.length} layers selected`;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      if (this.host.live && (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !/^(input|textarea|select)$/i.test(event.target.tagName)) {
        event.preventDefault();
        event.stopPropagation();
        this.act(event.shiftKey ? "redo" : "undo");
      }
      return;
    }
    if (/^(input|textarea|select)$/i.test(event.target.tagName)) return;
    const act = { "[": "back", "]": "forward" }[event.key];
    if (!act || !this.host.live) return;
    event.preventDefault();
    event.stopPropagation();
    this.act(act);
  }

  widen(area, tell = true) {
    this.wide = area;
    for (const pane of this.panes) {
      this.grid.classList.toggle(`wb-wide-${pane.area}`, pane.area === area);
      pane.drawWide();
    }
    if (tell) this.keep({ wide: area });
  }

  // -- deciding --

  drawDecide() {
    const told = this.host.live ? this.host.get("decide") : null;
    this.grid.classList.toggle("wb-looking", !told);
    this.decide.hidden = !told;
    if (!told) return;
    if (this.sliding) return; // a person has the slider in hand: it must not be exchanged
    this.exchange(this.decide, this.chosenSection(told), this.changeSection(told), this.recipeSection(told));
  }

  chosenSection(told) {
    const { chosen } = told;
    const title = h("div", { class: "wb-row" }, h("h3", {}, chosen.title), h("span", { class: "wb-small" }, chosen.note));
    if (!chosen.names.length) return h("section", {}, title, h("div", { class: "wb-small" }, chosen.hint));
    const chips = h("div", { class: "wb-chips", role: "group", "aria-label": "Selected layers", tabindex: chosen.names.length > 6 ? 0 : null }, ...chosen.names.map((name) => h("span", { class: "wb-chip", title: name }, shortened(name, 34))));
    if (chosen.more) chips.append(h("span", { class: "wb-small" }, chosen.more));
    const parts = [title, chips];
    if (chosen.precisions.length) parts.push(h("div", { class: "wb-label" }, h("span", {}, "Precision"), this.precisions(chosen)));
    if (chosen.prune) parts.push(h("div", { class: "wb-label" }, h("span", {}, "Prune"), this.slider(chosen.prune)));
    for (const text of chosen.hints) parts.push(h("div", { class: "wb-small" }, text));
    return h("section", {}, ...parts);
  }

  precisions({ precisions }) {
    const buttons = precisions.map(({ name, title, on, why }) =>
      h("button", {
        type: "button", role: "radio", "aria-checked": String(on), "data-value": name, "data-focus": `precision ${name}`, title: why || null, disabled: Boolean(why) && !on,
        onclick: this.guard(() => this.act("decide", { precision: name })),
      }, title),
    );
    return h("div", { class: "ep-segments", role: "radiogroup", "aria-label": "Precision of the selected layers" }, ...buttons);
  }

  slider({ value, mixed, most, step, why }) {
    const text = (part) => `${round(part * 1000) / 10} %`;
    const output = h("output", {}, mixed ? "mixed" : text(value));
    const input = h("input", {
      type: "range", min: 0, max: most, step, value, disabled: Boolean(why), title: why || "Part of the output channels that go", "aria-label": "Part of the output channels to prune", "data-focus": "prune",
      oninput: this.guard(() => ((this.sliding = true), (output.textContent = text(Number(input.value))))),
      onchange: this.guard(() => ((this.sliding = false), this.act("decide", { prune: Number(input.value) }))),
    });
    return h("div", { class: "wb-slider" }, input, output);
  }

  changeSection({ change }) {
    const badge = change.rows.length ? [h("span", { class: "ep-origin ep-origin-estimated" }, "estimated")] : [];
    const parts = [h("div", { class: "wb-row" }, h("h3", {}, "What the recipe changes"), ...badge)];
    if (change.rows.length) {
      const list = h("dl", { class: "wb-change" });
      for (const row of change.rows) {
        list.append(h("dt", {}, row.title), h("dd", { class: "wb-after", title: row.why || row.after }, row.after), h("dd", { class: "wb-delta" }, row.delta));
        if (row.part === null) continue;
        const [bar, whisker] = [h("i", {}), h("b", {})];
        bar.style.width = `${min(100, row.part * 100)}%`;
        whisker.style.left = `${min(100, row.low * 100)}%`;
        whisker.style.right = `${max(0, 100 - row.high * 100)}%`;
        list.append(h("dd", { class: "wb-bar-of", "aria-hidden": "true", title: "Against the model as it is (the whole width); the mark is the 95 % interval" }, bar, ...(row.high > row.low ? [whisker] : [])));
      }
      parts.push(list);
    }
    if (change.hint) parts.push(h("div", { class: "wb-small" }, change.hint));
    if (change.action) parts.push(h("div", {}, this.button(change.action.label, { disabled: change.action.busy, title: change.action.title, act: () => this.act(change.action.name) })));
    return h("section", {}, ...parts);
  }

  recipeSection({ recipe, actions }) {
    const step = (text, icon, can, act) => this.button("", { icon, title: text, disabled: !can, kind: "wb-quiet", act: () => this.act(act) });
    const head = h("div", { class: "wb-row" }, h("h3", {}, recipe.title), step("Undo (Ctrl+Z)", "undo", recipe.can_undo, "undo"), step("Redo (Ctrl+Shift+Z)", "redo", recipe.can_redo, "redo"));
    for (const [i, name] of ["undo", "redo"].entries()) head.children[i + 1].dataset.focus = name;
    const items = recipe.decisions.map(({ index, text, title, layers }) =>
      h("li", {},
        h("button", { type: "button", title: `${title}: click selects these layers`, "data-focus": `decision ${index}`, onclick: this.guard(() => this.act("select_nodes", { nodes: layers })) }, text),
        this.button("", { icon: "close", title: `Take out: ${title}`, kind: "wb-quiet", act: () => this.act("remove", { index }) }),
      ),
    );
    const list = items.length ? h("ul", { class: "wb-recipe" }, ...items) : h("div", { class: "wb-small" }, recipe.hint);
    const buttons = actions.map(({ name, label, title, why, primary }) => {
      const node = this.button(label, { title: why || title, disabled: why, kind: primary ? "wb-primary" : "", act: () => this.act(name) });
      node.dataset.focus = name;
      return node;
    });
    return h("section", {}, head, list, h("div", { class: "wb-do" }, ...buttons));
  }

  // -- sheets: code, saving --

  openSheet(title, ...content) {
    const opener = document.activeElement;
    const close = this.button("", { icon: "close", title: "Close", kind: "wb-quiet", act: () => ((this.sheet.hidden = true), opener?.focus()) });
    this.sheet.replaceChildren(h("div", { class: "wb-row" }, h("h3", {}, title), close), ...content);
    this.sheet.hidden = false;
    this.sheet.querySelector("button, input")?.focus();
  }

  async showCode() {
    const { text } = await this.host.act("code", {});
    const copied = h("span", { class: "wb-small", "aria-live": "polite" });
    const pre = h("pre", { tabindex: 0 });
    pre.textContent = text; // as it is: it must run
    const copy = this.button("Copy", {
      kind: "wb-primary",
      act: async () => {
        try {
          await navigator.clipboard.writeText(text);
          copied.textContent = "Copied.";
        } catch {
          getSelection().selectAllChildren(pre);
          copied.textContent = "Selected: copy it with Ctrl+C.";
        }
      },
    });
    this.openSheet("The Python that does the same", h("div", { class: "wb-row" }, copy, copied), pre);
  }

  async showSave() {
    const { choices } = await this.host.act("save_choices", {});
    const said = h("div", { class: "wb-small", "aria-live": "polite" });
    const rows = choices.map(({ what, title, hint, path, load }) => {
      const input = h("input", { type: "text", value: path, "aria-label": title, class: "wb-path", "data-lm-suppress-shortcuts": "true", spellcheck: "false" });
      const go = async (name) => {
        said.textContent = "";
        const { text } = await this.host.act(name, { what, path: input.value });
        said.textContent = visible(text ?? "That did not work: the note above says why.");
      };
      const buttons = [this.button("Save", { act: () => go("save") })];
      if (load) buttons.push(this.button("Load", { act: () => go("load") }));
      return h("div", { class: "wb-saving" }, h("label", { title: hint }, title), input, ...buttons, h("span", { class: "wb-small" }, hint));
    });
    this.openSheet("Save", ...rows, said);
  }

  // -- outside: theme, end --

  applyTheme() {
    const dark = this.options.theme === "auto" ? isDark() : this.options.theme === "dark";
    this.element.classList.toggle("ep-dark", dark);
    this.element.classList.toggle("ep-light", !dark);
    this.element.classList.toggle("ep-own", this.options.theme !== "auto");
  }

  watch() {
    const theme = this.guard(() => this.applyTheme());
    const body = new MutationObserver(theme);
    const system = matchMedia("(prefers-color-scheme: dark)");
    body.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
    system.addEventListener("change", theme);
    this.cleanup.push(() => (body.disconnect(), system.removeEventListener("change", theme)));
  }

  kernelChanged() {
    this.element.classList.toggle("wb-gone", this.host.gone);
    for (const name of ["head", "notes", "tasks"]) this.redraw(name);
    for (const node of this.element.querySelectorAll(".wb-bar button, .wb-bar select, .wb-decide button, .wb-decide input")) node.disabled ||= this.host.gone;
    if (!this.host.gone) {
      this.redraw("decide");
      this.drawBar();
      for (const pane of this.panes) if (!pane.view) pane.token = null; // what was refused meanwhile is asked for again
    }
    this.guard(() => this.refresh())();
  }

  setTheme(theme) {
    this.options.theme = theme;
    this.applyTheme();
    for (const pane of this.panes) pane.view?.set({ theme });
  }

  destroy() {
    this.cleanup.forEach((undo) => undo());
    for (const pane of this.panes) pane.drop();
    this.element.remove();
  }
}

/** A place with tabs, of which one is shown. What is not shown is not asked for. */
class Pane {
  constructor(workbench, area, names) {
    Object.assign(this, { workbench, area, names, active: null, view: null, token: null });
    const has = workbench.host.has;
    this.names = names.filter((name) => !has || has(name));
    this.tabs = h("div", { class: "wb-tabs", role: "tablist", "data-lm-suppress-shortcuts": "true" });
    this.body = h("div", { class: "wb-body", role: "tabpanel" });
    const wide = area === "a" ? [] : [workbench.button("", { icon: "wide", title: "Whole width", kind: "wb-quiet", act: () => workbench.widen(workbench.wide === area ? null : area) })];
    [this.wide] = wide;
    this.offer = h("div", { class: "wb-offer" });
    this.element = h("section", { class: `wb-pane wb-${area}` }, h("header", {}, this.tabs, ...wide), this.body, this.offer);
    for (const name of this.names) {
      const on = workbench.guard(() => this.show(name, true));
      this.tabs.append(h("button", { type: "button", role: "tab", "data-view": name, onclick: on }, PARTS[name].title));
    }
    this.tabs.addEventListener("keydown", workbench.guard((event) => this.key(event)));
  }

  key(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const next = this.names[(this.names.indexOf(this.active) + by + this.names.length) % this.names.length];
    event.preventDefault();
    this.show(next, true);
    this.tabs.querySelector(`[data-view=${next}]`).focus();
  }

  drawWide() {
    if (!this.wide) return;
    const on = this.workbench.wide === this.area;
    this.wide.replaceChildren(this.workbench.icon(on ? "narrow" : "wide"));
    this.wide.setAttribute("aria-pressed", String(on));
  }

  drawOffer() {
    const { host } = this.workbench;
    const told = host.live ? host.get("offers")?.[this.active] : null;
    const parts = told ? [this.workbench.button(told.label, { title: told.title, disabled: told.busy, act: () => this.workbench.act(told.action) })] : [];
    this.workbench.exchange(this.offer, ...parts);
  }

  show(name, tell = false) {
    if (!this.names.includes(name)) [name] = this.names;
    this.active = name;
    for (const tab of this.tabs.children) {
      const on = tab.dataset.view === name;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
    }
    this.body.setAttribute("aria-label", PARTS[name].title);
    if (tell) this.workbench.keep({ [this.area]: name });
    this.drawOffer();
    this.drop();
    return this.refresh();
  }

  drop() {
    this.view?.destroy();
    this.view = this.token = this.drawn = null;
    this.body.replaceChildren();
  }

  get options() {
    return this.workbench.layout.options?.[this.active] ?? {};
  }

  /** Draws what is to be drawn now: nothing when it is drawn already. One question at a time: answers do not overtake each other. */
  async refresh() {
    const { workbench, active } = this;
    const empty = workbench.host.get("empty")?.[active];
    if (empty) return this.showEmpty(empty);
    if (this.drawn === "empty") this.drop();
    const { token, answer } = workbench.data(active, this.asked());
    if (token === this.token) return;
    if (this.asking) {
      this.again = true;
      return;
    }
    this.asking = true;
    this.element.setAttribute("aria-busy", "true");
    const away = h("div", { class: "wb-away" }, "Loading …");
    const late = setTimeout(() => (away.textContent = "Waiting for Python, which may be busy with another cell …"), LATE_MS);
    if (!this.view) this.body.replaceChildren(away);
    try {
      const [module, parts] = await Promise.all([workbench.host.module(PARTS[active].module), answer]);
      if (active === this.active) this.draw(module, parts, token);
    } catch (error) {
      if (active === this.active) (this.drop(), showError(this.body, error), (this.token = token));
    } finally {
      clearTimeout(late);
      this.asking = false;
      this.element.removeAttribute("aria-busy");
    }
    if (this.again || active !== this.active) {
      this.again = false;
      await this.refresh();
    }
  }

  /** What the host must know to make the data, of all that can be chosen in the view. */
  asked() {
    const { mode, statistic, window, metric, baseline } = this.options;
    const wanted = { heatmap: { runs: mode === "runs" ? statistic ?? "max" : undefined }, timeline: { window }, candidates: { metric, baseline }, compare: { metric } };
    return Object.fromEntries(Object.entries(wanted[this.active] ?? {}).filter(([, value]) => value !== undefined && value !== null));
  }

  draw(module, parts, token) {
    const { workbench, active } = this;
    const part = PARTS[active];
    this.token = token;
    this.rowsOf = parts.data.meta.rows_of ?? null;
    this.layersOf = this.rowsOf && Object.entries(this.rowsOf).reduce((all, [layer, row]) => ((all[row] ??= []).push(layer), all), {});
    const chosen = this.chosen(workbench.selection);
    if (this.view) {
      this.view.set({ ...parts, selection: chosen });
      this.select(workbench.selection);
      return;
    }
    this.body.replaceChildren();
    this.view = module[part.render](this.body, parts.data, {
      ...this.options, ...parts, data: undefined, height: part.height, theme: workbench.options.theme, embedded: true, canAsk: workbench.host.live, canDetail: workbench.host.live,
      selection: chosen, selectedRuns: workbench.selection.runs,
      onSelect: workbench.guard((names) => workbench.picked(this.meant(names), this)),
      onSelectRuns: workbench.guard((runs) => workbench.picked({ runs }, this)),
      onChange: workbench.guard((values) => this.changed(values)),
    });
  }

  /** The selection in the words of this pane's view. */
  chosen({ layers, candidates }) {
    if (this.active === "pareto") return candidates.flatMap((key) => [key, `${key}${ESTIMATE}`]);
    return this.rowsOf ? [...new Set(layers.map((name) => this.rowsOf[name]).filter(Boolean))] : layers;
  }

  /** What a view's selection means for all. */
  meant(names) {
    if (this.active === "pareto") return { candidates: [...new Set(names.map((key) => key.replace(ESTIMATE, "")))] };
    return { layers: this.layersOf ? names.flatMap((row) => this.layersOf[row] ?? []) : names };
  }

  select(selection) {
    if (!this.view) return;
    this.view.select(this.chosen(selection));
    this.view.selectRuns?.(selection.runs);
  }

  changed({ selection, selected_runs: runs, open, ...values }) {
    const { workbench } = this;
    if (open) return workbench.act("show", { key: open.replace(ESTIMATE, "") });
    const options = workbench.layout.options ?? {};
    workbench.keep({ options: { ...options, [this.active]: { ...this.options, ...values } } });
    return this.refresh();
  }

  showEmpty({ text, action, label }) {
    this.drop();
    this.drawn = "empty";
    const { gone } = this.workbench.host;
    const parts = [h("p", {}, gone ? "There was nothing to show yet when the kernel ended." : text)];
    if (action && !gone && this.workbench.host.live) parts.push(this.workbench.button(label, { kind: "wb-primary", act: () => this.workbench.act(action) }));
    this.body.replaceChildren(h("div", { class: "ep-empty" }, ...parts));
  }
}

/** A name with its middle left out, where nothing is measured. */
function shortened(text, most) {
  return text.length <= most ? text : `${text.slice(0, floor((most - 1) * 0.4))}…${text.slice(text.length - ceil((most - 1) * 0.6))}`;
}
