/** Waterfall, rows side by side and heatmap of the same profiles in one cell, with one selection. All modules stand above this text. */
class Compare extends View {
  constructor(el, data, options) {
    super(el, "ep-compare", { tab: "waterfall", ...options });
    this.selected = options.selection ?? [];
    this.canvas = h("canvas", {});
    this.views = {};
    this.load(data);
    this.applyTheme();
    this.show();
    this.watch();
  }

  load({ difference, boards }) {
    this.raw = { difference, boards };
    this.data = difference.meta;
    this.head?.remove();
    this.head = this.header(this.data);
    this.tabs ??= h("div", { class: "ep-tools" });
    this.places ??= { difference: h("div", {}), boards: h("div", {}) };
    this.waiting ??= h("div", { class: "ep-empty" }, "Loading the heatmap …");
    this.element.prepend(this.head, this.tabs);
    this.element.append(...Object.values(this.places), this.waiting);
  }

  show() {
    const { tab } = this.options;
    const names = { waterfall: "Waterfall", side: "Side by side", heatmap: "Heatmap" };
    this.tabs.replaceChildren(this.segments("View", names, tab, (value) => this.change({ tab: value })));
    const shown = tab === "heatmap" ? "boards" : "difference";
    for (const [name, place] of Object.entries(this.places)) place.hidden = name !== shown;
    this.waiting.hidden = shown !== "boards" || Boolean(this.raw.boards?.meta);
    if (shown === "difference") this.views.difference?.set({ mode: tab });
    this.make(shown);
  }

  make(name) {
    if (this.views[name] || !this.raw[name]?.meta) return;
    const given = (...names) => Object.fromEntries(names.filter((key) => this.options[key] !== undefined).map((key) => [key, this.options[key]]));
    const onSelect = (names) => {
      this.selected = names;
      for (const [other, view] of Object.entries(this.views)) if (other !== name) view.select(names);
      this.options.onSelect?.(names);
    };
    const shared = { ...given("theme", "height", "canAsk"), embedded: true, selection: this.selected, onSelect };
    const asked = ({ metric, baseline }) => {
      if (metric || baseline) this.options.onChange?.(metric ? { metric } : { baseline });
    };
    if (name === "boards") this.views.boards = renderHeatmap(this.places.boards, this.raw.boards, { ...shared, mode: "difference", onChange: asked });
    else this.views.difference = renderDifference(this.places.difference, this.raw.difference, { ...shared, mode: this.options.tab, modes: false, ...given("by", "top", "sort"), onChange: (values) => this.options.onChange?.(values) });
  }

  change(values) {
    Object.assign(this.options, values);
    this.show();
    this.tabs.querySelector('[aria-checked="true"]').focus({ preventScroll: true });
    this.options.onChange?.(values);
  }

  select(names) {
    this.selected = names;
    Object.values(this.views).forEach((view) => view.select(names));
  }

  /** Changes options from outside; `data` is {difference, boards}, of which boards may come later. */
  set({ data, selection, tab, ...rest }) {
    this.guard(() => {
      Object.assign(this.options, rest, tab ? { tab } : {});
      if (selection) this.selected = selection;
      if (data) {
        this.load({ ...this.raw, ...data });
        for (const name of Object.keys(data)) if (data[name]?.meta) this.views[name]?.set({ data: data[name], selection: this.selected });
      }
      if (Object.keys(rest).length) {
        const { theme = this.options.theme, height = this.options.height } = rest;
        this.views.difference?.set(rest);
        this.views.boards?.set({ theme, height });
      }
      this.applyTheme();
      this.show();
      if (selection) this.select(selection);
    })();
  }

  draw() {}
  resize() {}
  recolor() {}

  destroy() {
    Object.values(this.views).forEach((view) => view.destroy());
    super.destroy();
  }
}

export function renderCompare(el, data, options = {}) {
  return made(el, () => new Compare(el, data, options));
}
