/**
 * Rows of a heatmap put together by op type or block, and columns of runs that are selected. It stands in front of heatmap.js, in the same
 * scope. Python has summed the groups; a row number beyond those of the layers is a group.
 */

class HeatmapGroups extends View {
  constructor(el, name, options) {
    super(el, name, options);
    this.opened = {}; // by way of grouping: names of the groups that are open
    this.chosenRuns = new Set(); // numbers of runs
  }

  /** The way in which rows are put together now; null: not at all. */
  get way() {
    return this.data.groups?.[this.options.group] ? this.options.group : null;
  }

  get groups() {
    return this.data.groups[this.way].names;
  }

  isGroup(row) {
    return row >= this.data.names.length;
  }

  /** Row of the group that a layer belongs to; -1: of none. */
  groupOf(row) {
    const g = this.way ? this.data.arrays[`${this.way}: of`][row] : Infinity;
    return g < this.groups?.length ? this.data.names.length + g : -1;
  }

  title(row) {
    return this.isGroup(row) ? this.groups[row - this.data.names.length] : this.data.names[row];
  }

  /** The layers of a group, or the layer itself. */
  layersOf(row) {
    if (!this.isGroup(row)) return [row];
    if (this.membersOf !== this.way) {
      this.members = this.groups.map(() => []);
      for (let i = 0; i < this.data.names.length; i++) if (this.groupOf(i) >= 0) this.members[this.groupOf(i) - this.data.names.length].push(i);
      this.membersOf = this.way;
    }
    return this.members[row - this.data.names.length];
  }

  value(name, row) {
    const { arrays, names } = this.data;
    return (this.isGroup(row) ? arrays[`${this.way}: ${name}`]?.[row - names.length] : arrays[name]?.[row]) ?? NaN;
  }

  /** Where a row stands, or the closed group it is in. */
  placeOf(row) {
    return this.place.get(row) ?? this.place.get(this.groupOf(row));
  }

  isOpen(row) {
    return Boolean(this.opened[this.way]?.has(this.title(row)));
  }

  /** A person opens or closes a group. */
  toggle(row, open = !this.isOpen(row)) {
    const names = (this.opened[this.way] ??= new Set());
    if (open) names.add(this.title(row));
    else names.delete(this.title(row));
    this.arrange();
    this.active.row = this.place.get(row) ?? this.active.row;
  }

  openAll(open) {
    this.opened[this.way] = new Set(open ? this.groups : []);
    this.arrange();
  }

  /** Groups of the layers that are shown, each followed by those that are in it when it is open. */
  inGroups(shown) {
    const inside = new Map();
    for (const row of shown) {
      const head = this.groupOf(row);
      if (!inside.has(head)) inside.set(head, []);
      inside.get(head).push(row);
    }
    const heads = this.sortedHeads([...inside.keys()]);
    return heads.flatMap((head) => (head < 0 ? this.sorted(inside.get(head)) : this.isOpen(head) ? [head, ...this.sorted(inside.get(head))] : [head]));
  }

  sortedHeads(heads) {
    const { sort } = this.options;
    if (sort === "execution" || (sort === "op_type" && this.way !== "op_type")) return heads;
    if (sort === "op_type") return heads.sort((a, b) => this.title(a).localeCompare(this.title(b)));
    return heads.sort((a, b) => compare(this.value(sort, b), this.value(sort, a)) || 0);
  }

  /** How many of a group's layers are selected. */
  chosenIn(row) {
    return this.layersOf(row).reduce((n, layer) => n + this.selected.has(layer), 0);
  }

  drawGroupLabel(c, row, y) {
    const { plan, colors } = this;
    const middle = y + ROW / 2;
    c.fillStyle = colors.muted;
    c.beginPath();
    const corners = this.isOpen(row) ? [[8, -3], [17, -3], [12.5, 4]] : [[10, -5], [10, 5], [16, 0]];
    corners.forEach(([x, dy], k) => (k ? c.lineTo(x, middle + dy) : c.moveTo(x, middle + dy)));
    c.fill();
    const [first] = this.layersOf(row);
    if (this.way === "op_type") {
      c.fillStyle = this.theme.ops[this.data.arrays.op_type[first]];
      c.fillRect(22, y + 4, 4, ROW - 8);
    }
    const x = this.way === "op_type" ? 32 : 22;
    const number = `${grouped(this.layersOf(row).length)}${plan.op ? ` layer${this.layersOf(row).length === 1 ? "" : "s"}` : ""}`;
    c.font = colors.small;
    c.fillStyle = colors.muted;
    const room = plan.op ? 0 : c.measureText(number).width + 8;
    c.textAlign = "left";
    c.fillText(number, plan.op ? plan.label + 2 : plan.label - room - 2, middle + 0.5);
    c.font = `600 ${colors.font}`;
    c.fillStyle = colors.ink;
    c.fillText(this.cut(c, this.title(row), plan.label - x - 8 - room), x, middle + 0.5);
  }

  groupFacts(row, run) {
    const { data } = this;
    const [all, chosen] = [this.layersOf(row).length, this.chosenIn(row)];
    const facts = [["Layers", `${grouped(all)}${chosen ? `, ${chosen === all ? "all" : grouped(chosen)} selected` : ""}`]];
    if (run != null) {
      const value = this.runValue(row, run);
      facts.push([`Run ${this.columns[run].label}`, `block ${this.columns[run].block}${this.columns[run].outlier ? ", outlier" : ""}`]);
      facts.push(["In this run", `${show(value, "latency")}, ${show(value / this.medianOf(row), "ratio")} its median`]);
    }
    const columns = data.columns.filter((column) => column.group_scales[this.way] && (run == null || /^latency|^share/.test(column.name)));
    for (const column of columns) if (known(this.value(column.name, row))) facts.push([column.title, this.numberAndShare(column, row)]);
    const timed = this.value("timed_layers", row);
    if (timed < all) facts.push(["Timed", `${grouped(timed)} of ${grouped(all)} layers; the others are in no sum`]);
    const none = columns.filter((column) => !known(this.value(column.name, row)));
    if (none.length) facts.push(["Not measured", none.map((column) => column.title).join(", ")]);
    return facts;
  }

  /** What a group's numbers are, in words. */
  groupNote() {
    return "Sums of its layers; memory is that of the largest, power the mean by time. An interval adds the ends of theirs: never too narrow.";
  }

  // -- runs --

  runValue(row, k) {
    const { arrays } = this.runs;
    const at = this.isGroup(row) ? row - this.data.names.length : row;
    return (this.isGroup(row) ? arrays[`${this.way}: ms`] : arrays.ms)[at * this.columns.length + k];
  }

  medianOf(row) {
    const { arrays } = this.runs;
    return this.isGroup(row) ? arrays[`${this.way}: median_ms`][row - this.data.names.length] : arrays.median_ms[row];
  }

  /** Numbers of the runs that share column `k`. */
  runsOf(k) {
    const { run, first } = this.runs.arrays;
    return Array.from(run.subarray(first[k], first[k + 1]));
  }

  /** A person selects runs of columns: instead of those selected, or added to them; what was the selection already is taken away. */
  pickRuns(columns, add) {
    const runs = columns.flatMap((k) => this.runsOf(k));
    const had = runs.every((run) => this.chosenRuns.has(run)) && (add || this.chosenRuns.size === runs.length);
    if (!add) this.chosenRuns.clear();
    for (const run of runs) {
      if (had) this.chosenRuns.delete(run);
      else this.chosenRuns.add(run);
    }
    this.tellRuns();
  }

  tellRuns() {
    this.drawLegend();
    this.redraw();
    this.options.onSelectRuns?.([...this.chosenRuns].sort((a, b) => a - b));
  }

  /** Selects these runs, by their numbers, from outside. */
  selectRuns(runs) {
    this.chosenRuns = new Set(runs);
    if (this.plan && this.byRun) this.drawLegend();
    this.redraw();
  }

  drawChosenRuns(c) {
    if (!this.chosenRuns.size) return;
    const { plan, colors } = this;
    const bottom = min(plan.height, plan.head + this.order.length * ROW + GAP);
    let start = -1;
    for (let k = 0; k <= this.columns.length; k++) {
      const on = k < this.columns.length && this.runsOf(k).some((run) => this.chosenRuns.has(run));
      if (on && start < 0) start = k;
      if (on || start < 0) continue;
      const [from, to] = [round(plan.x + start * plan.cell), round(plan.x + k * plan.cell)];
      c.fillStyle = colors.selected;
      c.fillRect(from, plan.head, to - from, bottom - plan.head);
      c.fillStyle = colors.accent;
      c.fillRect(from - 1, 16, 2, bottom);
      c.fillRect(to - 1, 16, 2, bottom);
      c.fillRect(from - 1, 14, to - from + 2, 3);
      start = -1;
    }
  }
}
