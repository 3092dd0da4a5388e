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
  let values = scale.ticks(wanted);
  if (scale.base) {
    // of a logarithmic scale d3 gives all of 1, 2, 3 ... 9: whole decades, with 2 and 5 where there is room
    const digit = (v) => round(v / 10 ** floor(Math.log10(v) + 1e-9));
    const keep = [[1, 2, 5], [1], [1]].find((digits) => values.filter((v) => digits.includes(digit(v))).length <= wanted) ?? [1];
    values = values.filter((v) => keep.includes(digit(v)));
    if (values.length < 2) values = scale.domain();
    const step = ceil(values.length / wanted);
    values = values.filter((_, i) => i % step === 0);
  }
  return values.map((value) => ({ value, at: scale(value), text: text(value) }));
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
  for (const { at, text } of ticks) {
    const p = round(at) + 0.5;
    c.beginPath();
    if (bottom) (c.moveTo(p, box.top), c.lineTo(p, box.top + box.height + 4));
    else (c.moveTo(box.left - 4, p), c.lineTo(box.left + box.width, p));
    c.stroke();
    c.fillText(text, bottom ? at : box.left - 7, bottom ? box.top + box.height + 7 : at);
  }
  c.fillStyle = colors.ink;
  c.font = colors.font;
  if (bottom) {
    c.textBaseline = "bottom";
    c.fillText(title, box.left + box.width / 2, box.top + box.height + 40);
  } else {
    c.translate(12, box.top + box.height / 2);
    c.rotate(-Math.PI / 2);
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(title, 0, 0);
  }
  c.restore();
}
