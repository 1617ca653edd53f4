// What lies over the points, on a canvas of its own: names, the line around a selection, rings, diamond, star.

const FONT = '600 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const LINE = 16;
const PX_A_LABEL = 10_000; // more names than that hide what they name

export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.labelled = []; // for whoever wants to know which names are shown
  }

  draw({ camera, labels, reserved, first, outline, drawing, hits, opened, place, ink, ratio }) {
    const { context, canvas } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (outline) this.#line(outline.map(([x, y]) => camera.toPixel(x, y)), ink, true);
    if (drawing) this.#line(drawing, ink, false);
    context.lineWidth = 1.6;
    context.strokeStyle = ink.accent;
    for (const [, x, y] of hits) this.#ring(camera.toPixel(x, y), 5);
    context.font = FONT;
    this.labelled = labels
      ? labels.place(camera, context, { most: (camera.width * camera.height) / PX_A_LABEL, lineHeight: LINE, reserved, first })
      : [];
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    for (const one of this.labelled) {
      context.lineWidth = 3.5;
      context.strokeStyle = ink.paper;
      context.strokeText(one.text, one.x, one.y);
      context.fillStyle = ink.text;
      context.fillText(one.text, one.x, one.y);
    }
    if (opened) this.#mark(camera.toPixel(...opened), 4, 9, ink);
    if (place) this.#mark(camera.toPixel(...place), 5, 11, ink);
  }

  #line(points, ink, closed) {
    const { context } = this;
    context.beginPath();
    points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (closed) context.closePath();
    context.fillStyle = ink.wash;
    context.fill();
    context.lineWidth = 1.8;
    context.strokeStyle = ink.accent;
    context.setLineDash(closed ? [] : [5, 4]);
    context.stroke();
    context.setLineDash([]);
  }

  #ring([x, y], radius) {
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.context.stroke();
  }

  /** A diamond (four corners) or a star (five). */
  #mark([x, y], corners, radius, ink) {
    const { context } = this;
    const n = corners === 4 ? 4 : 2 * corners;
    context.beginPath();
    for (let i = 0; i < n; i++) {
      const far = corners === 4 || i % 2 === 0 ? radius : radius * 0.45;
      const angle = (i / n) * 2 * Math.PI - Math.PI / 2;
      const at = [x + far * Math.cos(angle), y + far * Math.sin(angle)];
      if (i) context.lineTo(...at);
      else context.moveTo(...at);
    }
    context.closePath();
    context.fillStyle = ink.accent;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = ink.text;
    context.stroke();
  }
}
