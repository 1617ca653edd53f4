// Names of clusters: the largest first, each where it covers no other; nearer by, more of them fit.

const LONGEST = 30;
const SMALL_PX = 45;
const PAD = 4;

export class Labels {
  constructor(clusters) {
    const largest = clusters.toSorted((a, b) => b.n_samples - a.n_samples);
    this.clusters = largest.map((one) => ({ ...one, text: shorten(String(one.label)) }));
    this.widths = new Map();
  }

  /** Tell how far up and down the samples of each cluster reach, in map units. */
  spread(heights) {
    for (const one of this.clusters) one.height = heights[one.cluster] || 0;
  }

  /** The labels that fit, with their places in pixels. */
  place(camera, context, { most, lineHeight, reserved = [], first = null }) {
    const taken = reserved.slice();
    const placed = [];
    const ahead = this.clusters.filter((one) => one.cluster === first);
    for (const cluster of [...ahead, ...this.clusters.filter((one) => one.cluster !== first)]) {
      const [x, y] = camera.toPixel(cluster.x, cluster.y);
      if (x < 0 || y < 0 || x > camera.width || y > camera.height) continue;
      const half = this.#width(context, cluster.text) / 2 + PAD;
      const middle = Math.min(Math.max(x, half), Math.max(half, camera.width - half));
      for (const off of offsets((cluster.height || 0) * camera.scale, lineHeight)) {
        const height = Math.min(Math.max(y + off, lineHeight), camera.height - lineHeight);
        const box = [middle - half, height - lineHeight / 2, middle + half, height + lineHeight / 2];
        if (taken.some((other) => overlap(box, other))) continue;
        taken.push(box);
        placed.push({ text: cluster.text, cluster: cluster.cluster, x: middle, y: height, box });
        break;
      }
      if (placed.length >= most) break;
    }
    return placed;
  }

  #width(context, text) {
    let width = this.widths.get(text);
    if (width === undefined) {
      width = context.measureText(text).width;
      this.widths.set(text, width);
    }
    return width;
  }
}

export function shorten(text, longest = LONGEST) {
  const line = text.split(/\s+/).join(" ").trim();
  return line.length <= longest ? line : `${line.slice(0, longest - 1).trimEnd()}…`;
}

/** Where a name may stand above or below the middle: across a wide cluster, beside a small one, so that it stays visible. */
function offsets(reach, line) {
  const least = reach < SMALL_PX ? reach + line * 0.6 : 0;
  return least ? [-least, least, -least - line, least + line] : [0, -line, line, -2 * line, 2 * line];
}

function overlap(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
