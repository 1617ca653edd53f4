// The line around a selection: as it is drawn, made simple, and as text of a link.

export const MOST_CORNERS = 160;
const GRID = 4095;

/** Leave out corners that lie nearer than a pixel or so to the line between their neighbours; at most MOST_CORNERS stay. */
export function simplify(points, tolerance = 1.2) {
  let kept = points;
  for (let slack = tolerance; ; slack *= 1.5) {
    kept = peucker(points, slack);
    if (kept.length <= MOST_CORNERS) return kept;
  }
}

export function box([x0, y0], [x1, y1]) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

/** The rectangle an outline fills. */
export function extent(outline) {
  const span = (axis) => [Math.min(...outline.map((p) => p[axis])), Math.max(...outline.map((p) => p[axis]))];
  return { x: span(0), y: span(1) };
}

/** Corners as numbers of a grid over the map and a half around it: `x.y_x.y`. */
export function toText(outline, bounds) {
  const at = (value, [low, high]) => {
    const share = (value - low + (high - low) / 4) / ((high - low || 1) * 1.5);
    return Math.min(Math.max(Math.round(share * GRID), 0), GRID).toString(36);
  };
  return outline.map(([x, y]) => `${at(x, bounds.x)}.${at(y, bounds.y)}`).join("_");
}

export function fromText(text, bounds) {
  const back = (word, [low, high]) => low - (high - low) / 4 + (parseInt(word, 36) / GRID) * (high - low || 1) * 1.5;
  const outline = String(text).split("_").slice(0, MOST_CORNERS).map((pair) => {
    const [x, y] = pair.split(".");
    return [back(x, bounds.x), back(y ?? "", bounds.y)];
  });
  return outline.length >= 3 && outline.every((p) => p.every(Number.isFinite)) ? outline : null;
}

function peucker(points, tolerance) {
  if (points.length < 3) return points;
  const keep = new Uint8Array(points.length);
  keep[0] = keep[points.length - 1] = 1;
  const open = [[0, points.length - 1]];
  while (open.length) {
    const [first, last] = open.pop();
    let far = tolerance;
    let at = -1;
    for (let i = first + 1; i < last; i++) {
      const distance = offLine(points[i], points[first], points[last]);
      if (distance > far) [far, at] = [distance, i];
    }
    if (at > 0) {
      keep[at] = 1;
      open.push([first, at], [at, last]);
    }
  }
  return points.filter((_, i) => keep[i]);
}

function offLine([x, y], [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const length = dx * dx + dy * dy;
  const t = length ? Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / length, 0), 1) : 0;
  return Math.hypot(x - x0 - t * dx, y - y0 - t * dy);
}
