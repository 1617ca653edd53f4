// Which sample lies under the pointer: a grid over the positions, made once by counting.

const CELLS = 256;
const SHIFT = 8; // 65,536 positions fall into 256 cells

export class Grid {
  constructor(positions) {
    const n = positions.length / 2;
    const starts = new Uint32Array(CELLS * CELLS + 1);
    for (let i = 0; i < n; i++) starts[cell(positions[2 * i], positions[2 * i + 1]) + 1]++;
    for (let c = 0; c < CELLS * CELLS; c++) starts[c + 1] += starts[c];
    const next = starts.slice(0, -1);
    const rows = new Uint32Array(n);
    for (let i = 0; i < n; i++) rows[next[cell(positions[2 * i], positions[2 * i + 1])]++] = i;
    this.positions = positions;
    this.starts = starts;
    this.rows = rows;
  }

  /** The row nearest to a place, within a radius along each axis (all in 65,536ths of the map), or -1. */
  nearest(x, y, radiusX, radiusY) {
    const { positions, starts, rows } = this;
    const from = (value) => Math.min(Math.max(Math.floor(value) >> SHIFT, 0), CELLS - 1);
    let best = 1;
    let found = -1;
    for (let cy = from(y - radiusY); cy <= from(y + radiusY); cy++) {
      for (let k = starts[cy * CELLS + from(x - radiusX)]; k < starts[cy * CELLS + from(x + radiusX) + 1]; k++) {
        const row = rows[k];
        const dx = (positions[2 * row] - x) / radiusX;
        const dy = (positions[2 * row + 1] - y) / radiusY;
        const distance = dx * dx + dy * dy;
        if (distance <= best) [best, found] = [distance, row];
      }
    }
    return found;
  }
}

function cell(x, y) {
  return (y >> SHIFT) * CELLS + (x >> SHIFT);
}
