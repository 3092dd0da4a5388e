/** Axes of numbers on a canvas, with d3-scale in front: scales, ticks with their unit, grid lines. Shared by views that have such axes. */

/**
 * @param side  "bottom" | "left"
 * @param scale a d3 scale whose range is in pixels
 * @param text  (value) => string of a tick
 * @returns the ticks that are drawn: [{value, at, text}], so many as have room
 */
function ticksOf(scale, side, text, room = side === "bottom" ? 80 : 36) {
  const [a, b] = scale.range();
  const wanted = max(2, floor(abs(b - a) / room));
  return (scale.base ? decadesOf(scale, wanted) : scale.ticks(wanted)).map((value) => ({ value, at: scale(value), text: text(value) }));
}

/** Of a logarithmic scale d3 gives all of 1, 2, 3 ... 9: whole decades, with 2 and 5 where there is room, and even steps within a decade. */
function decadesOf(scale, wanted) {
  const all = scale.ticks(wanted);
  const digit = (v) => round(v / 10 ** floor(Math.log10(v) + 1e-9));
  const keep = [[1, 2, 5], [1, 3], [1]].find((digits) => all.filter((v) => digits.includes(digit(v))).length <= wanted) ?? [1];
  const values = all.filter((v) => keep.includes(digit(v)));
  const [low, high] = scale.domain();
  if (values.length < 3 && high < 20 * low) return d3.scaleLinear(scale.domain(), scale.range()).ticks(wanted).filter((v) => v > 0);
  if (values.length < 2) return [low, high];
  const step = ceil(values.length / wanted);
  return values.filter((_, i) => i % step === 0);
}

/** Text of a tick: plain decimals, as many for all ticks of a linear scale as tell them apart. */
function numbersOf(scale, side, room = side === "bottom" ? 80 : 36) {
  if (scale.base) return (v) => plainNumber(v);
  const [a, b] = scale.range();
  const ticks = scale.ticks(max(2, floor(abs(b - a) / room)));
  const decimals = ticks.length < 2 ? 3 : max(0, -floor(Math.log10(abs(ticks[1] - ticks[0])) + 1e-9));
  return (v) => (abs(v) >= 1e4 || decimals > 6 ? plainNumber(v) : v.toFixed(decimals)).replace("-", "−");
}

/** `v` without zeros at its end; of large numbers the thousands stand apart. */
function plainNumber(v) {
  const short = Number(v.toPrecision(6));
  if (short !== 0 && (abs(short) >= 1e9 || abs(short) < 1e-6)) return short.toExponential().replace("e+", "e").replace("-", "−");
  return abs(short) >= 1e4 ? short.toLocaleString("en-US").replaceAll(",", "\u202f") : String(short);
}

/** Draws an axis with its title, and grid lines over the plot `box` {left, top, width, height}. */
function drawAxis(c, colors, side, ticks, title, box) {
  c.save();
  c.strokeStyle = colors.line;
  c.fillStyle = colors.muted;
  c.font = colors.small;
  c.lineWidth = 1;
  const bottom = side === "bottom";
  c.textAlign = bottom ? "center" : "right";
  c.textBaseline = bottom ? "top" : "middle";
  let free = -Infinity; // where the last text ended
  for (const { at, text } of ticks) {
    const p = round(at) + 0.5;
    c.beginPath();
    if (bottom) (c.moveTo(p, box.top), c.lineTo(p, box.top + box.height + 4));
    else (c.moveTo(box.left - 4, p), c.lineTo(box.left + box.width, p));
    c.stroke();
    const half = bottom ? c.measureText(text).width / 2 : 0;
    if (bottom && at - half < free) continue;
    c.fillText(text, bottom ? at : box.left - 7, bottom ? box.top + box.height + 7 : at);
    free = at + half + 6;
  }
  c.fillStyle = colors.ink;
  c.font = colors.font;
  const shown = View.prototype.cut(c, title, bottom ? box.width + 40 : max(60, box.height + 30));
  if (bottom) {
    c.textBaseline = "bottom";
    c.fillText(shown, box.left + box.width / 2, box.top + box.height + 40);
  } else {
    c.translate(12, box.top + box.height / 2);
    c.rotate(-Math.PI / 2);
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(shown, 0, 0);
  }
  c.restore();
}
