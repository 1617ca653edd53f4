// The thread that draws. A machine without a graphics card takes its time over a picture; the page stays awake meanwhile.

import { Points } from "./points.js";

let points = null;
let next = null; // the last wish that came while a picture was being made

function draw(wish) {
  if (points.draw(wish.clip, wish)) next = null;
  else next = wish;
}

const deeds = {
  begin({ canvas }) {
    try {
      points = new Points(canvas);
    } catch {
      postMessage({ kind: "impossible" });
      return;
    }
    points.onDrawn = (step, wish) => {
      postMessage({ kind: "drawn", step, frames: points.frames, seen: wish.seen });
      if (next) draw(next);
    };
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      points.restore();
      postMessage({ kind: "lost" });
    });
    postMessage({ kind: "able" });
  },
  resize({ width, height }) {
    points.canvas.width = width;
    points.canvas.height = height;
  },
  load({ positions, codes, palette }) {
    points.setPositions(positions);
    points.setCodes(codes);
    points.setPalette(palette);
  },
  draw,
};

onmessage = ({ data }) => deeds[data.kind](data);
