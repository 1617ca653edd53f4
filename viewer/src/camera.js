// Where on the map one looks, and how near. Map units have y upwards, pixels downwards.

const AIR = 1.08;
const NEAREST = 4000;

export class Camera {
  constructor(bounds) {
    this.bounds = bounds; // { x: [low, high], y: [low, high] }
    this.width = 1;
    this.height = 1;
    this.reset();
  }

  resize(width, height) {
    const kept = this.zoom;
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    this.zoom = kept;
  }

  /** Pixels of a map unit where the whole map just fits. */
  get fit() {
    const { x, y } = this.bounds;
    return Math.min(this.width / ((x[1] - x[0] || 1) * AIR), this.height / ((y[1] - y[0] || 1) * AIR));
  }

  get zoom() {
    return this._zoom;
  }

  set zoom(value) {
    this._zoom = Math.min(Math.max(Number.isFinite(value) ? value : 1, 0.5), NEAREST);
    this.scale = this.fit * this._zoom;
  }

  reset() {
    const { x, y } = this.bounds;
    this.x = (x[0] + x[1]) / 2;
    this.y = (y[0] + y[1]) / 2;
    this.zoom = 1;
  }

  /** Show a part of the map with a little air. */
  show({ x, y }) {
    this.x = (x[0] + x[1]) / 2;
    this.y = (y[0] + y[1]) / 2;
    const wide = Math.max(x[1] - x[0], 1e-9);
    const tall = Math.max(y[1] - y[0], 1e-9);
    this.zoom = Math.min(this.width / wide, this.height / tall) / AIR / 1.2 / this.fit;
  }

  /** What is looked at now, to be drawn later. */
  still() {
    const { x, y, scale, width, height } = this;
    return { x, y, scale, width, height };
  }

  /** The view as it was. */
  at(seen) {
    return Object.assign(Object.create(Camera.prototype), seen);
  }

  toPixel(x, y) {
    return [(x - this.x) * this.scale + this.width / 2, (this.y - y) * this.scale + this.height / 2];
  }

  toMap(px, py) {
    return [(px - this.width / 2) / this.scale + this.x, this.y - (py - this.height / 2) / this.scale];
  }

  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y += dy / this.scale;
    this.#stay();
  }

  /** Come nearer by a factor; what lies under the pointer stays there. */
  zoomAt(factor, px, py) {
    const [x, y] = this.toMap(px, py);
    this.zoom *= factor;
    const [newX, newY] = this.toMap(px, py);
    this.x += x - newX;
    this.y += y - newY;
    this.#stay();
  }

  /** What turns a position (0 to 1 within the bounds) into clip space: multiply, then add. */
  get clip() {
    const { x, y } = this.bounds;
    const mul = [((x[1] - x[0]) * this.scale * 2) / this.width, ((y[1] - y[0]) * this.scale * 2) / this.height];
    const add = [((x[0] - this.x) * this.scale * 2) / this.width, ((y[0] - this.y) * this.scale * 2) / this.height];
    return { mul, add };
  }

  /** Keep the middle of the view on the map, so that nobody gets lost. */
  #stay() {
    const { x, y } = this.bounds;
    this.x = Math.min(Math.max(this.x, x[0]), x[1]);
    this.y = Math.min(Math.max(this.y, y[0]), y[1]);
  }
}
