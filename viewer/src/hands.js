// Mouse, fingers and keys on the map: pan, zoom, hover, tap, and drawing a line or a box around a part of it.

import { box } from "./outline.js";

const STILL_PX = 5;
const KEY_PX = 60;

export class Hands {
  /**
   * @param canvas what is touched
   * @param on { moved, hover, left, tap, drawing, drawn }: what is done about it
   */
  constructor(canvas, camera, on) {
    this.canvas = canvas;
    this.camera = camera;
    this.on = on;
    this.tool = "pan";
    this.down = new Map();
    this.line = null;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("pointercancel", (event) => this.#cancel(event));
    canvas.addEventListener("pointerleave", () => this.on.left());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.#zoom(2, ...this.#at(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #at(event) {
    const frame = this.canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  #press(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.#at(event);
    this.down.set(event.pointerId, { from: at, at, far: false });
    const tool = event.shiftKey ? "box" : this.tool;
    if (this.down.size > 1) this.line = null;
    else if (tool !== "pan") this.line = { tool, points: [at] };
  }

  #move(event) {
    const at = this.#at(event);
    const held = this.down.get(event.pointerId);
    if (!held) {
      if (event.pointerType === "mouse") this.on.hover(...at);
      return;
    }
    const before = held.at;
    held.at = at;
    if (Math.hypot(at[0] - held.from[0], at[1] - held.from[1]) > STILL_PX) held.far = true;
    if (this.down.size === 2) this.#pinch(held, before);
    else if (this.line) this.#extend(at);
    else if (held.far) {
      this.camera.pan(at[0] - before[0], at[1] - before[1]);
      this.on.moved();
    }
  }

  #release(event) {
    const held = this.down.get(event.pointerId);
    this.down.delete(event.pointerId);
    if (!held) return;
    const line = this.line;
    this.line = null;
    if (line && held.far) this.on.drawn(line.tool === "box" ? box(line.points[0], held.at) : line.points);
    else if (!held.far) this.on.tap(...held.at, event.pointerType);
    if (line) this.on.drawing(null);
  }

  #cancel(event) {
    this.down.delete(event.pointerId);
    this.line = null;
    this.on.drawing(null);
  }

  #extend(at) {
    const { tool, points } = this.line;
    if (tool === "box") this.on.drawing([...box(points[0], at), points[0]]);
    else {
      points.push(at);
      this.on.drawing(points);
    }
  }

  #pinch(held, before) {
    const other = [...this.down.values()].find((one) => one !== held);
    const apart = (a) => Math.hypot(a[0] - other.at[0], a[1] - other.at[1]) || 1;
    this.camera.pan((held.at[0] - before[0]) / 2, (held.at[1] - before[1]) / 2);
    this.#zoom(apart(held.at) / apart(before), (held.at[0] + other.at[0]) / 2, (held.at[1] + other.at[1]) / 2);
  }

  #wheel(event) {
    event.preventDefault();
    const step = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
    this.#zoom(Math.exp(-Math.min(Math.max(step, -200), 200) * 0.0025), ...this.#at(event));
  }

  #zoom(factor, x, y) {
    this.camera.zoomAt(factor, x, y);
    this.on.moved();
  }

  #key(event) {
    const { camera } = this;
    const pans = { ArrowLeft: [KEY_PX, 0], ArrowRight: [-KEY_PX, 0], ArrowUp: [0, KEY_PX], ArrowDown: [0, -KEY_PX] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (pans[event.key]) camera.pan(...pans[event.key]);
    else if (event.key === "+" || event.key === "=") camera.zoomAt(1.4, camera.width / 2, camera.height / 2);
    else if (event.key === "-") camera.zoomAt(1 / 1.4, camera.width / 2, camera.height / 2);
    else if (event.key === "0") camera.reset();
    else if (event.key === "Escape" && this.line) {
      this.line = null;
      this.on.drawing(null);
      return;
    } else return;
    event.preventDefault();
    this.on.moved();
  }
}
