// The page's side of the thread that draws.

export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.onDrawn = () => {};
    this.onLost = () => {};
  }

  /** Begin; rejects if this browser cannot draw. */
  async begin() {
    const canvas = this.canvas.transferControlToOffscreen();
    this.worker = new Worker(new URL("paint.js", document.baseURI), { type: "module" });
    await new Promise((able, impossible) => {
      this.worker.onerror = impossible;
      this.worker.onmessage = ({ data }) => (data.kind === "able" ? able() : impossible(new Error(data.kind)));
      this.worker.postMessage({ kind: "begin", canvas }, [canvas]);
    });
    this.worker.onmessage = ({ data }) => (data.kind === "lost" ? this.onLost() : this.onDrawn(data));
  }

  resize(width, height) {
    this.worker.postMessage({ kind: "resize", width, height });
  }

  /** Positions, codes and palette; the arrays are given away. */
  load(positions, codes, palette) {
    this.worker.postMessage({ kind: "load", positions, codes, palette }, [positions.buffer, codes.buffer, palette.buffer]);
  }

  /** Ask for a picture; `seen` comes back with it. */
  draw(clip, { size, moving, seen }) {
    this.worker.postMessage({ kind: "draw", clip, size, moving, seen });
  }
}
