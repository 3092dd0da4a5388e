/**
 * The timeline's drawing: axis, lanes, crosshair and the strip of the whole session. It stands in front of timeline.js, in the same scope,
 * which says what is shown (`lanes`, `place`, `window`, `part`) and what a person does.
 */

const AXIS = 30;
const GAP = 9; // between lanes
const HEIGHTS = { windows: 22, runs: 14, layers: 25, readings: 76 }; // of a row
const [MINI, LOW_MINI] = [40, 24]; // the second inside of something else
const LEAST_READINGS = 34; // a lane of readings that can be read
const LEAST_MS = 1e-4; // narrowest window: 100 ns
const MANY = 8; // channels of a lane beyond which they are drawn and told together
const [INSTRUMENTED, OUTLIER, HAS_LAYERS, LAYERS_SENT] = [1, 2, 4, 8]; // as in figures/timeline.py

// ---- times and values ----

/** The least round step that is at least this long. */
function roundStep(least) {
  const clock = [3e4, 6e4, 12e4, 3e5, 6e5, 12e5, 18e5, 36e5];
  if (least > 2e4) return clock.find((step) => step >= least) ?? ceil(least / 36e5) * 36e5;
  const power = 10 ** floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((m) => m * power >= least * (1 - 1e-9));
}

function decimalsFor(step) {
  return min(9, max(0, ceil(-Math.log10(step) - 1e-9)));
}

/** `12.345 s` or `2:03.5`, as finely as `step` ms. */
function clockText(ms, step) {
  const decimals = decimalsFor(step / 1000);
  if (abs(ms) < 12e4) return `${(ms / 1000).toFixed(decimals)} s`;
  const total = (abs(ms) / 1000).toFixed(decimals); // rounded as a whole: 59.99 s must not become 0:60
  const whole = floor(Number(total));
  const [hours, minutes] = [floor(whole / 3600), floor(whole / 60) % 60];
  const seconds = `${String(whole % 60).padStart(2, "0")}${total.slice(String(whole).length)}`;
  return `${ms < 0 ? "−" : ""}${hours ? `${hours}:${String(minutes).padStart(2, "0")}` : minutes}:${seconds}`;
}

/** How long something took: `250 ms`, `2.21 s`, `12:03`. */
function lengthText(ms) {
  return ms >= 12e4 ? `${clockText(ms, 1000)} min`.replace(/^(\d+:\d+:\d+) min$/, "$1 h") : show(ms, "latency");
}

/** Three or so round numbers from `low` to `high`, with the text of each. */
function valueTicks(low, high, units, most) {
  let [unit, scale] = [0, 1];
  while (max(abs(low), abs(high)) / scale >= 999.5 && unit < units.length - 1) [unit, scale] = [unit + 1, scale * 1000];
  const least = ((high - low) / scale / most) * 0.8;
  const power = 10 ** floor(Math.log10(least));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= least);
  const ticks = [];
  for (let k = ceil(low / scale / step - 1e-9); k * step <= (high / scale) * (1 + 1e-12) + step * 1e-9; k++) {
    ticks.push([k * step * scale, `${(k * step).toFixed(decimalsFor(step))} ${units[unit]}`.trim()]);
  }
  return ticks;
}

function valueText(value, units) {
  return known(value) ? scaled(value, units) : MISSING;
}

/** `0.58 – 4.96 W`: both in the unit of the larger one. */
function rangeText(low, high, units) {
  const whole = valueText(high, units);
  const unit = units.findIndex((name) => whole.endsWith(` ${name}`));
  const decimals = /\.(\d+)/.exec(whole)?.[1].length ?? 0;
  const first = (low / 1000 ** max(0, unit)).toFixed(decimals);
  return whole.startsWith(`${first} `) || low === high ? whole : `${first} – ${whole}`;
}

/** Number of leading elements of the ascending `array` that are at most `value`. */
function upTo(array, value) {
  let [low, high] = [0, array.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (array[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// ---- drawing ----

class TimelineDrawing extends View {
  get miniHeight() {
    return this.options.embedded ? LOW_MINI : MINI;
  }

  x(ms) {
    return this.place.gutter + ((ms - this.window[0]) / (this.window[1] - this.window[0])) * this.place.inner;
  }

  timeAt(x) {
    return this.window[0] + ((x - this.place.gutter) / this.place.inner) * (this.window[1] - this.window[0]);
  }

  get pixelMs() {
    return (this.window[1] - this.window[0]) / (this.place?.inner || 1000);
  }

  draw() {
    if (!this.place || this.body.hidden) return;
    const c = this.clear(this.canvas, this.place.height);
    this.drawAxis(c);
    for (const lane of this.lanes) {
      this.drawLaneHead(c, lane);
      c.save();
      c.beginPath();
      c.rect(this.place.gutter, lane.top, this.place.inner, lane.height);
      c.clip();
      if (lane.channels) this.drawReadings(c, lane);
      else this[{ windows: "drawWindows", runs: "drawRuns", layers: "drawLayers" }[lane.id]](c, lane);
      c.restore();
    }
    this.drawChosenRuns(c);
    this.drawOver();
    this.drawMini();
    this.drawReadout();
    this.drawNotes();
  }

  clear(canvas, height) {
    const c = pen(canvas);
    const ratio = canvas.width / this.place.width;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, this.place.width, height);
    c.textBaseline = "middle";
    c.textAlign = "left";
    return c;
  }

  /** From where tick labels count: the start of the run that fills the window, or a round time before it; null: the job's start. */
  anchor(step) {
    const [start, end] = this.window;
    const { runs } = this.part;
    const i = upTo(runs.start, (start + end) / 2) - 1;
    if (i >= 0 && end - start <= 3 * runs.ms[i] && runs.start[i] + runs.ms[i] > start) return { ms: runs.start[i], text: `run ${runs.number[i]} +` };
    if (end / step < 2e4) return null;
    const round = 10 ** ceil(Math.log10(end - start));
    const ms = floor(start / round) * round;
    return { ms, text: `${clockText(ms, round)} +` };
  }

  drawAxis(c) {
    const { gutter, inner, height } = this.place;
    const { colors, window: w } = this;
    const step = roundStep((w[1] - w[0]) / max(2, floor(inner / 96)));
    const anchor = this.anchor(step);
    const from = anchor?.ms ?? 0;
    const [scale, unit] = timeUnit(max(abs(w[0] - from), abs(w[1] - from)));
    const clock = !anchor && step >= 1000 && w[1] >= 12e4;
    c.font = colors.small;
    c.fillStyle = colors.muted;
    c.fillText(this.cut(c, anchor ? anchor.text : gutter < 110 ? "since start" : "since the start", gutter - 14), 2, AXIS - 13);
    for (let k = ceil((w[0] - from) / step); from + k * step <= w[1]; k++) {
      const x = round(this.x(from + k * step));
      c.fillStyle = colors.line;
      c.globalAlpha = 0.6;
      c.fillRect(x, AXIS - 5, 1, height);
      c.globalAlpha = 1;
      const value = (k * step * scale).toFixed(decimalsFor(step * scale));
      const text = clock ? clockText(k * step, 1000) : `${anchor && k > 0 ? "+" : ""}${value.replace("-", "−")} ${unit}`;
      const half = c.measureText(text).width / 2;
      c.fillStyle = colors.ink;
      c.fillText(text, max(gutter, min(x - half, gutter + inner + 6 - 2 * half)), AXIS - 13);
    }
  }

  drawLaneHead(c, lane) {
    const { gutter, inner } = this.place;
    const { colors } = this;
    c.fillStyle = colors.line;
    c.fillRect(0, lane.top - 5, gutter + inner, 1);
    c.textAlign = "left";
    c.fillStyle = colors.ink;
    const ticks = lane.channels ? this.ticks(lane) : [];
    const kinds = lane.id === "runs" ? (gutter < 140 ? ["plain", "instr."] : ["plain", "instrumented"]) : [];
    c.font = colors.tiny;
    const near = ticks.filter(([value]) => this.y(lane, value) < lane.top + 21);
    const widest = (texts) => max(0, ...texts.map((text) => c.measureText(text).width));
    let room = gutter - 16 - widest([...kinds, ...near.map(([, text]) => text)]);
    c.font = `600 ${colors.font}`;
    const crowded = !kinds.length && widest(lane.title.split(" ")) > room; // then the title stays whole and the tick beside it has no number
    if (crowded) room = gutter - 10;
    const title = wrap(c, lane.title, room);
    title.forEach((line, j) => c.fillText(this.cut(c, line, room), 2, lane.top + 9 + j * 14));
    c.font = colors.tiny;
    c.fillStyle = colors.muted;
    if (lane.channels && lane.scale.seen) {
      const [low, high] = lane.scale.seen;
      for (const [j, line] of wrap(c, rangeText(low, high, lane.units), gutter - 66).entries()) c.fillText(line, 2, lane.top + 11 + title.length * 14 + j * 12);
    }
    c.textAlign = "right";
    kinds.forEach((text, row) => c.fillText(text, gutter - 8, lane.top + (row + 0.5) * HEIGHTS.runs));
    for (const [value, text] of ticks) {
      const y = this.y(lane, value);
      c.fillStyle = colors.line;
      c.globalAlpha = 0.6;
      c.fillRect(gutter, round(y), inner, 1);
      c.globalAlpha = 1;
      c.fillStyle = colors.muted;
      if (!crowded || !near.some((tick) => tick[0] === value)) c.fillText(text, gutter - 8, max(lane.top + 5, min(lane.top + lane.height - 5, y)));
    }
    c.textAlign = "left";
  }

  ticks({ scale, units, height }) {
    return valueTicks(scale.low, scale.high, units, max(1, floor(height / 24)));
  }

  y(lane, value) {
    const { low, high } = lane.scale;
    return lane.top + lane.height - 1 - ((value - low) / (high - low)) * (lane.height - 2);
  }

  // -- phases --

  drawWindows(c, lane) {
    const a = this.data.arrays;
    const [w0, w1] = this.window;
    c.font = this.colors.small;
    for (let i = 0; i < a.win_start.length && a.win_start[i] <= w1; i++) {
      if (a.win_end[i] < w0) continue;
      const [x0, x1] = this.clipped(a.win_start[i], a.win_end[i]);
      const y = lane.top + a.win_row[i] * HEIGHTS.windows;
      const wide = x1 - x0 > 3;
      c.fillStyle = this.theme.phases[this.data.phases[a.win_phase[i]]] ?? this.colors.line;
      c.fillRect(x0, y, max(1, x1 - x0 - wide), HEIGHTS.windows - 2);
      const note = this.data.notes[a.win_note[i]];
      if (note) {
        c.fillStyle = note === "throttled" ? this.colors.warning : this.colors.muted;
        c.fillRect(x0, y, max(1, x1 - x0 - wide), 3);
      }
      if (this.groupOf(i).some((layer) => this.selected.has(layer))) {
        c.fillStyle = this.colors.accent;
        c.fillRect(x0, y + HEIGHTS.windows - 5, max(1, x1 - x0 - wide), 3);
      }
      if (x1 - x0 < 14) continue;
      const [left, room] = [max(x0, this.place.gutter) + 4, min(x1, this.place.gutter + this.place.inner) - max(x0, this.place.gutter) - 9];
      const full = this.windowName(i);
      const fits = [full, full.replace(/^[a-z]+: /, "")].find((name) => c.measureText(name).width <= room);
      const text = fits ?? this.cut(c, full, room);
      c.fillStyle = this.colors.ink;
      if (fits || text.length > 3) c.fillText(text, left, y + HEIGHTS.windows / 2 - 0.5);
    }
  }

  /** Where a stretch of time lies, cut off just outside of what is seen: browsers draw no rectangles of a billion pixels. */
  clipped(start, end) {
    const { gutter, inner } = this.place;
    return [max(gutter - 4, this.x(start)), min(gutter + inner + 8, this.x(end))];
  }

  groupOf(i) {
    return this.data.groups[this.data.arrays.win_group[i] - 1] ?? [];
  }

  windowName(i) {
    const { arrays: a, names, labels, phases } = this.data;
    const code = a.win_label[i];
    const label = names[code] ?? labels[code - names.length];
    const phase = phases[a.win_phase[i]];
    const group = this.groupOf(i);
    if (label) return code < names.length ? label : `${phase}: ${label}`;
    if (group.length) return group.length === 1 ? names[group[0]] : `${phase}: ${group.length} layers`;
    return phase;
  }

  // -- runs --

  drawRuns(c, lane) {
    const { runs } = this.part;
    const [first, last] = this.inView(runs);
    if (first === last || (last - first === 1 && runs.start[first] + runs.ms[first] < this.window[0])) this.drawMissing(c, lane, "no run in this stretch");
    c.font = this.colors.tiny;
    for (const outliers of [false, true]) { // outliers last: nothing may hide them
      for (let i = first; i < last; i++) {
        const flags = runs.flags[i];
        if (Boolean(flags & OUTLIER) !== outliers) continue;
        const [x0, x1] = this.clipped(runs.start[i], runs.start[i] + runs.ms[i]);
        const y = lane.top + (flags & INSTRUMENTED ? HEIGHTS.runs : 0);
        const width = max(1, x1 - x0 - (x1 - x0 > 4));
        const color = outliers ? "warning" : flags & INSTRUMENTED ? "quiet" : "bar";
        c.fillStyle = this.colors[color];
        c.globalAlpha = !outliers && runs.block[i] % 2 ? 0.78 : 1; // blocks can be told apart
        c.fillRect(x0, y + 1, width, HEIGHTS.runs - 2);
        c.globalAlpha = 1;
        if (outliers && width < 12) this.mark(c, (x0 + x1) / 2, y + 1);
        c.fillStyle = this.inks[color];
        this.drawRunName(c, i, x0, y, width, runs);
      }
    }
  }

  /** Selected runs stand out over all lanes: tinted, framed among the runs, never too narrow to be seen. */
  drawChosenRuns(c) {
    const { runs } = this.part;
    const lane = this.lanes.find((one) => one.id === "runs");
    if (!this.chosenRuns.size || !lane) return;
    const [first, last] = this.inView(runs);
    c.save();
    c.beginPath();
    c.rect(this.place.gutter - 1, AXIS - 5, this.place.inner + 2, this.place.height);
    c.clip();
    for (let i = first; i < last; i++) {
      if (!this.chosenRuns.has(runs.number[i])) continue;
      const [x0, x1] = this.clipped(runs.start[i], runs.start[i] + runs.ms[i]);
      const width = max(2, x1 - x0);
      c.fillStyle = this.colors.selected;
      c.fillRect(x0, AXIS - 4, width, this.place.height);
      c.fillStyle = c.strokeStyle = this.colors.accent;
      c.fillRect(x0, AXIS - 5, width, 3);
      c.lineWidth = 2;
      const y = lane.top + (runs.flags[i] & INSTRUMENTED ? HEIGHTS.runs : 0);
      if (width > 6) c.strokeRect(x0 + 1, y + 1, width - 2, HEIGHTS.runs - 2);
      else c.fillRect(x0, y, width, HEIGHTS.runs);
    }
    c.restore();
  }

  drawRunName(c, i, x, y, width, runs) {
    const start = max(x, this.place.gutter);
    const room = min(x + width, this.place.gutter + this.place.inner) - start - 8;
    if (room < 22) return;
    const texts = [`run ${runs.number[i]}, ${show(runs.ms[i], "latency")}`, `run ${runs.number[i]}`, String(runs.number[i])];
    const text = texts.find((t) => c.measureText(t).width <= room);
    if (text) c.fillText(text, start + 4, y + HEIGHTS.runs / 2 + 0.5);
  }

  mark(c, x, y) {
    c.beginPath();
    c.moveTo(x - 4, y);
    c.lineTo(x + 4, y);
    c.lineTo(x, y + 7);
    c.fill();
  }

  /** First and end of the runs that the window shows; runs do not overlap. */
  inView(runs) {
    return [max(0, upTo(runs.start, this.window[0]) - 1), upTo(runs.start, this.window[1])];
  }

  // -- layers --

  drawLayers(c, lane) {
    const { part } = this;
    const { runs, spans, sentAt } = part;
    const width = ceil(this.place.inner) + 1;
    const dense = Array.from({ length: this.depths }, () => null); // time of each family in each pixel column
    const [first, last] = this.inView(runs);
    if (this.data.missing.spans) this.drawMissing(c, lane, this.data.missing.spans);
    const marked = [];
    for (let i = first; i < last; i++) {
      if (!(runs.flags[i] & HAS_LAYERS)) continue;
      const [x0, x1] = this.clipped(runs.start[i], runs.start[i] + runs.ms[i]);
      const k = sentAt.get(i);
      if (k === undefined) {
        this.hatch(c, x0, lane.top, max(1, x1 - x0), lane.height - 3);
        continue;
      }
      if (x1 - x0 > 40) this.drawRunFrame(c, lane, x0, x1);
      for (let j = spans.first[k]; j < spans.first[k + 1]; j++) this.drawLayer(c, lane, spans, j, runs.start[i] + spans.offset[j], dense, width, marked);
    }
    dense.forEach((columns, depth) => columns && this.drawDense(c, lane, depth, columns, width));
    c.fillStyle = this.colors.accent;
    for (const [x0, x1, y] of marked) c.fillRect(x0, y, max(1.5, x1 - x0), 3);
  }

  drawMissing(c, lane, text) {
    c.font = this.colors.small;
    c.fillStyle = this.colors.muted;
    c.fillText(this.cut(c, text, this.place.inner - 8), this.place.gutter + 4, lane.top + 12);
  }

  drawRunFrame(c, lane, x0, x1) {
    c.strokeStyle = this.colors.line;
    c.lineWidth = 1;
    c.strokeRect(round(x0) - 0.5, lane.top - 0.5, round(x1) - round(x0) + 1, lane.height - 2);
  }

  drawLayer(c, lane, spans, j, start, dense, width, marked) {
    const [x0, x1] = this.clipped(start, start + spans.raw[j]);
    if (x1 < this.place.gutter || x0 > this.place.gutter + this.place.inner) return;
    const layer = spans.layer[j];
    const depth = this.data.arrays.depth[layer];
    const y = lane.top + depth * HEIGHTS.layers;
    const chosen = this.selected.has(layer);
    if (chosen) marked.push([x0, x1, y + HEIGHTS.layers - 5]);
    if (x1 - x0 < 1) {
      dense[depth] ??= new Float64Array(width * this.families.length);
      dense[depth][max(0, floor(x0 - this.place.gutter)) * this.families.length + this.familyOf[this.data.arrays.op[layer]]] += spans.raw[j];
      return;
    }
    const own = known(spans.ms[j]) ? max(x0, min(x1, this.x(start + spans.ms[j]))) : x1;
    this.drawLayerBox(c, layer, x0, x1, own, y, chosen || !this.selected.size);
  }

  /** As long as the profiler said, solid as long as the corrected latency, with the name where it fits. */
  drawLayerBox(c, layer, x0, x1, own, y, strong) {
    const op = this.data.arrays.op[layer];
    const end = x1 - (x1 - x0 > 4 ? 1 : 0);
    const solid = end - own > 1.5 ? own : end;
    c.globalAlpha = strong ? 1 : 0.3;
    c.fillStyle = this.theme.ops[op];
    c.fillRect(x0, y, solid - x0, HEIGHTS.layers - 3);
    c.globalAlpha *= 0.45;
    c.fillRect(solid, y, end - solid, HEIGHTS.layers - 3);
    c.globalAlpha = 1;
    const from = max(x0, this.place.gutter);
    const room = min(solid, this.place.gutter + this.place.inner) - from - 7;
    if (room < 16) return;
    c.font = this.colors.small;
    const whole = this.shortNames[layer];
    const name = this.cut(c, whole, room);
    c.fillStyle = strong ? this.opInks[op] : this.colors.ink;
    if (name === whole || name.length >= 8) c.fillText(name, from + 4, y + HEIGHTS.layers / 2 - 1);
  }

  /** Layers narrower than a pixel: each column shows the shares of op families in it. */
  drawDense(c, lane, depth, columns, width) {
    const n = this.families.length;
    const y = lane.top + depth * HEIGHTS.layers;
    c.globalAlpha = this.selected.size ? 0.3 : 1;
    for (let x = 0; x < width; x++) {
      let total = 0;
      for (let f = 0; f < n; f++) total += columns[x * n + f];
      let at = 0;
      for (let f = 0; f < n && total > 0; f++) {
        const part = (columns[x * n + f] / total) * (HEIGHTS.layers - 3);
        c.fillStyle = this.familyColors[f];
        if (part > 0) c.fillRect(this.place.gutter + x, y + at, 1, part);
        at += part;
      }
    }
    c.globalAlpha = 1;
  }

  // -- readings --

  drawReadings(c, lane) {
    this.drawIdle(c, lane);
    const order = [...lane.channels].sort((a, b) => a.total - b.total); // the total on top
    for (const channel of order) {
      const line = this.part.lines[channel.series];
      const first = max(0, upTo(line.time, this.window[0]) - 1);
      const last = upTo(line.time, this.window[1]);
      c.strokeStyle = c.fillStyle = this.colorOf(channel, lane);
      c.lineWidth = channel.total ? 1.8 : 1.25;
      c.lineJoin = "round";
      c.globalAlpha = lane.many ? 0.5 : 1;
      if (last - first > this.place.inner * 0.6) this.drawColumns(c, lane, channel, line, first, last);
      else this.drawSteps(c, lane, channel, line, first, last);
      c.globalAlpha = 1;
    }
    this.drawIdleText(c, lane);
  }

  colorOf(channel, lane) {
    if (channel.total) return this.colors.bar;
    const place = lane.many ? 0 : this.data.lanes.find((l) => l.id === lane.id).channels.indexOf(channel);
    return this.theme.lines[place % this.theme.lines.length];
  }

  drawIdle(c, lane) {
    const idle = lane.id === "power" ? this.data.idle_mw : null;
    if (idle == null) return;
    const y = round(this.y(lane, idle)) + 0.5;
    c.strokeStyle = this.colors.muted;
    c.lineWidth = 1;
    c.setLineDash([5, 4]);
    c.beginPath();
    c.moveTo(this.place.gutter, y);
    c.lineTo(this.place.gutter + this.place.inner, y);
    c.stroke();
    c.setLineDash([]);
  }

  drawIdleText(c, lane) {
    if (lane.id !== "power" || this.data.idle_mw == null) return;
    const text = `idle ${valueText(this.data.idle_mw, lane.units)}`;
    const [y, right] = [this.y(lane, this.data.idle_mw) + 9, this.place.gutter + this.place.inner];
    c.font = this.colors.tiny;
    const width = c.measureText(text).width + 8;
    c.fillStyle = this.colors.surface;
    c.globalAlpha = 0.85;
    c.fillRect(right - width, y - 6.5, width, 13);
    c.globalAlpha = 1;
    c.fillStyle = this.colors.muted;
    c.fillText(text, right - width + 4, y + 0.5);
  }

  /** Few readings: each holds until the next one; of columns of readings the range is shaded. A dot for each where there is room. */
  drawSteps(c, lane, channel, line, first, last) {
    const bottom = lane.top + lane.height - 1;
    const path = new Path2D();
    const area = new Path2D();
    let pen = false;
    const { gutter, inner } = this.place;
    const dots = ((last - first) * 7 < inner && line.per === 1) || line.time.length === 1;
    for (let i = first; i < last; i++) {
      const [x0, x1] = this.clipped(line.time[i], line.time[i + 1] ?? line.end);
      if (!known(line.mean[i])) {
        this.drawFailed(c, lane, x0, x1);
        pen = false;
        continue;
      }
      const y = this.y(lane, line.mean[i]);
      if (pen) path.lineTo(x0, y);
      else path.moveTo(x0, y);
      path.lineTo(x1, y);
      pen = true;
      area.rect(x0, y, x1 - x0, bottom - y);
      if (line.per > 1) this.drawRange(c, lane, line, i, x0, x1);
      if (line.failed?.[i]) this.drawFailed(c, lane, x0, x1);
      if (dots && x0 >= gutter) path.moveTo(x0, y), c.fillRect(x0 - 1.75, y - 1.75, 3.5, 3.5), path.moveTo(x1, y);
    }
    this.fillTotal(c, channel, area);
    c.stroke(path);
  }

  fillTotal(c, channel, area) {
    if (!channel.total) return;
    const alpha = c.globalAlpha;
    c.globalAlpha = 0.13;
    c.fill(area);
    c.globalAlpha = alpha;
  }

  drawRange(c, lane, line, i, x0, x1) {
    const [top, bottom] = [this.y(lane, line.high[i]), this.y(lane, line.low[i])];
    const alpha = c.globalAlpha;
    c.globalAlpha = 0.28 * alpha;
    c.fillRect(x0, top, max(1, x1 - x0), max(1, bottom - top));
    c.globalAlpha = alpha;
  }

  /** A reading that failed: a gap in the line, and a mark at the foot of the lane that does not vanish when it is narrow. */
  drawFailed(c, lane, x0, x1) {
    const { fillStyle } = c;
    c.fillStyle = this.colors.warning;
    c.fillRect(x0, lane.top + lane.height - 4, max(2, x1 - x0), 4);
    c.fillStyle = fillStyle;
  }

  /** Many readings: of each pixel column the range shaded and the mean as a line. */
  drawColumns(c, lane, channel, line, first, last) {
    const { gutter } = this.place;
    const width = ceil(this.place.inner) + 1;
    const [low, high, sum, count, failed] = [Infinity, -Infinity, 0, 0, 0].map((v) => new Float64Array(width).fill(v));
    for (let i = first; i < last; i++) {
      const x = max(0, min(width - 1, floor(this.x(line.time[i]) - gutter)));
      if (line.failed?.[i] || !known(line.mean[i])) failed[x] = 1;
      if (!known(line.mean[i])) continue;
      low[x] = min(low[x], line.low[i]);
      high[x] = max(high[x], line.high[i]);
      sum[x] += line.mean[i];
      count[x] += 1;
    }
    const path = new Path2D();
    const area = new Path2D();
    const bottom = lane.top + lane.height - 1;
    let pen = false;
    const alpha = c.globalAlpha;
    c.globalAlpha = 0.3 * alpha;
    for (let x = 0; x < width; x++) {
      if (!count[x]) {
        if (failed[x]) pen = false;
        continue;
      }
      const y = this.y(lane, sum[x] / count[x]);
      if (pen) path.lineTo(gutter + x + 0.5, y);
      else path.moveTo(gutter + x + 0.5, y);
      pen = true;
      const [top, foot] = [this.y(lane, high[x]), this.y(lane, low[x])];
      c.fillRect(gutter + x, top, 1, max(1, foot - top));
      area.rect(gutter + x, y, 1, bottom - y);
    }
    c.globalAlpha = alpha;
    this.fillTotal(c, channel, area);
    c.stroke(path);
    for (let x = 0; x < width; x++) if (failed[x]) this.drawFailed(c, lane, gutter + x, gutter + x + 1);
  }

  // -- above the lanes: crosshair, range --

  drawOver() {
    const c = this.clear(this.over, this.place.height);
    const { gutter, inner, height } = this.place;
    const { colors, drag, hover } = this;
    if (drag?.range) {
      const [x0, x1] = [drag.x, drag.now].sort((a, b) => a - b).map((x) => max(gutter, min(gutter + inner, x)));
      c.fillStyle = colors.selected;
      c.fillRect(x0, AXIS - 4, x1 - x0, height);
      c.fillStyle = colors.accent;
      c.fillRect(x0, AXIS - 4, 1, height);
      c.fillRect(x1, AXIS - 4, 1, height);
      this.drawFlag(c, (x0 + x1) / 2, lengthText(this.timeAt(x1) - this.timeAt(x0)));
    }
    if (!hover || drag) return;
    const x = this.x(hover.time);
    c.fillStyle = colors.ink;
    c.globalAlpha = 0.7;
    c.fillRect(round(x), AXIS - 4, 1, height - AXIS);
    c.globalAlpha = 1;
    for (const lane of this.lanes) for (const channel of lane.many ? [] : (lane.channels ?? [])) this.drawDot(c, lane, channel, x);
    this.drawFlag(c, x, clockText(hover.time, this.pixelMs));
  }

  drawDot(c, lane, channel, x) {
    const line = this.part.lines[channel.series];
    const i = this.readingAt(line, this.hover.time);
    if (i < 0 || !known(line.mean[i])) return;
    c.beginPath();
    c.arc(x + 0.5, this.y(lane, line.mean[i]), 3.5, 0, 7);
    c.fillStyle = this.colorOf(channel, lane);
    c.fill();
    c.strokeStyle = this.colors.surface;
    c.lineWidth = 1.5;
    c.stroke();
  }

  drawFlag(c, x, text) {
    const { gutter, inner } = this.place;
    c.font = this.colors.small;
    const width = c.measureText(text).width + 10;
    const left = max(gutter, min(x - width / 2, gutter + inner - width));
    c.fillStyle = this.colors.ink;
    c.fillRect(left, 6, width, 18);
    c.fillStyle = this.colors.surface;
    c.fillText(text, left + 5, 15.5);
  }

  // -- the whole session as a strip --

  drawMini() {
    const c = this.clear(this.mini, this.miniHeight);
    const { gutter, inner, width } = this.place;
    this.miniPicture ??= this.paintMini();
    c.drawImage(this.miniPicture, 0, 0, width, this.miniHeight);
    const { colors } = this;
    c.font = colors.tiny;
    c.fillStyle = colors.muted;
    c.fillText(this.cut(c, "Whole session", gutter - 14), 2, this.miniHeight / 2);
    const [x0, x1] = this.miniBox();
    c.fillStyle = colors.surface;
    c.globalAlpha = 0.62;
    c.fillRect(gutter, 0, x0 - gutter, this.miniHeight);
    c.fillRect(x1, 0, gutter + inner - x1, this.miniHeight);
    c.globalAlpha = 1;
    c.strokeStyle = c.fillStyle = colors.muted;
    c.lineWidth = 1.5;
    c.strokeRect(x0 + 0.75, 0.75, max(1.5, x1 - x0 - 1.5), this.miniHeight - 1.5);
    if (x1 - x0 < 24) return;
    for (const x of [x0, x1 - 4]) c.fillRect(x, this.miniHeight / 2 - 7, 4, 14);
  }

  /** Where the window lies in the strip; never too narrow to be seen. */
  miniBox() {
    const { gutter, inner } = this.place;
    const [x0, x1] = this.window.map((ms) => gutter + ((ms - this.extent[0]) / (this.extent[1] - this.extent[0])) * inner);
    return x1 - x0 >= 4 ? [x0, x1] : [(x0 + x1) / 2 - 2, (x0 + x1) / 2 + 2];
  }

  /** Phases, and below them the total power, or the first of the readings, or the runs. */
  paintMini() {
    const picture = document.createElement("canvas");
    fit(picture, this.place.width, this.miniHeight);
    const c = this.clear(picture, this.miniHeight);
    const shown = this.window;
    this.window = this.extent; // the lanes' own drawing is used
    c.beginPath();
    c.rect(this.place.gutter, 0, this.place.inner, this.miniHeight);
    c.clip();
    const a = this.data.arrays;
    c.fillStyle = this.colors.hover;
    c.fillRect(this.place.gutter, 0, this.place.inner, this.miniHeight);
    for (let i = 0; i < a.win_start.length; i++) {
      const [x0, x1] = this.clipped(a.win_start[i], a.win_end[i]);
      c.fillStyle = this.theme.phases[this.data.phases[a.win_phase[i]]] ?? this.colors.line;
      c.fillRect(x0, 0, max(1, x1 - x0 - (x1 - x0 > 3)), 9);
    }
    const lane = this.data.lanes[0];
    if (lane) {
      const channel = lane.channels.find((one) => one.total) ?? lane.channels[0];
      const line = this.whole.lines[channel.series];
      const strip = { ...lane, top: 11, height: this.miniHeight - 12, scale: this.scale(lane, [channel]) };
      c.strokeStyle = c.fillStyle = this.colorOf(channel, strip);
      if (line.time.length > this.place.inner * 0.6) this.drawColumns(c, strip, { ...channel, total: true }, line, 0, line.time.length);
      else this.drawSteps(c, strip, { ...channel, total: true }, line, 0, line.time.length);
    } else {
      c.fillStyle = this.colors.bar;
      for (let i = 0; i < a.run_start.length; i++) c.fillRect(this.x(a.run_start[i]), 15, max(1, a.run_ms[i] / this.pixelMs), this.miniHeight - 20);
    }
    this.window = shown;
    return picture;
  }

  pressMini(event) {
    this.mini.setPointerCapture(event.pointerId);
    const x = event.clientX - this.mini.getBoundingClientRect().left;
    const [x0, x1] = this.miniBox();
    let hold = "body";
    if (x1 - x0 > 24 && abs(x - x0) < 7) hold = "start";
    else if (x1 - x0 > 24 && abs(x - x1) < 7) hold = "end";
    else if (x < x0 - 3 || x > x1 + 3) {
      const middle = this.miniTime(x);
      const half = (this.window[1] - this.window[0]) / 2;
      this.move([middle - half, middle + half]);
    }
    this.miniDrag = { hold, time: this.miniTime(x), window: this.window };
  }

  miniTime(x) {
    return this.extent[0] + ((x - this.place.gutter) / this.place.inner) * (this.extent[1] - this.extent[0]);
  }

  dragMini(event) {
    const x = event.clientX - this.mini.getBoundingClientRect().left;
    const [x0, x1] = this.miniBox();
    const edge = x1 - x0 > 24 && min(abs(x - x0), abs(x - x1)) < 7;
    this.mini.style.cursor = edge ? "ew-resize" : x > x0 && x < x1 ? "grab" : "pointer";
    if (!this.miniDrag) return;
    const { hold, time, window: w } = this.miniDrag;
    const by = this.miniTime(x) - time;
    const [start, end] = [w[0] + (hold === "end" ? 0 : by), w[1] + (hold === "start" ? 0 : by)];
    if (hold === "body") this.move([start, end]);
    else if (end - start >= LEAST_MS) this.move([max(this.extent[0], start), min(this.extent[1], end)]);
  }
}
