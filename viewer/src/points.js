// All samples as WebGL points: six bytes each, one draw call. While the view moves, a machine that is too slow for all of
// them draws every n-th, and the rest as soon as it stands still.

import { createBufferFromTypedArray, createProgramInfo, createTexture, setTextureFromArray } from "twgl.js";

const VERTEX = `#version 300 es
in vec2 position;
in uint code;
uniform sampler2D palette;
uniform vec2 mul;
uniform vec2 add;
uniform float size;
flat out vec4 colour;
void main() {
  colour = texelFetch(palette, ivec2(int(code), 0), 0);
  colour.rgb *= colour.a;
  gl_PointSize = size;
  gl_Position = vec4(position * mul + add, 0.0, 1.0);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
uniform float size;
flat in vec4 colour;
out vec4 drawn;
void main() {
  if (size > 3.5) {
    vec2 off = gl_PointCoord - 0.5;
    if (dot(off, off) > 0.25) discard;
  }
  drawn = colour;
}`;
const SMOOTH_MS = 28;
const THINNEST = 63; // a stride is one byte in WebGL, a position four

export class Points {
  /** Raises if the browser has no WebGL 2. */
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "high-performance" });
    if (!this.gl) throw new Error("no WebGL 2");
    this.n = 0;
    this.frames = 0;
    this.fullMs = 0;
    this.pending = null;
    this.onDrawn = () => {};
    this.#prepare();
  }

  #prepare() {
    const gl = this.gl;
    this.program = createProgramInfo(gl, [VERTEX, FRAGMENT]).program;
    this.at = {};
    for (const name of ["palette", "mul", "add", "size"]) this.at[name] = gl.getUniformLocation(this.program, name);
    for (const name of ["position", "code"]) this.at[name] = gl.getAttribLocation(this.program, name);
    this.palette = createTexture(gl, { src: new Uint8Array(1024), width: 256, height: 1, minMag: gl.NEAREST, auto: false });
  }

  /** Begin anew on a context that was lost and came back. */
  restore() {
    this.positions = this.codes = null;
    this.pending = null;
    this.#prepare();
  }

  /** Positions (two uint16 a point) in the order of drawing: what comes last lies on top. */
  setPositions(positions) {
    this.n = positions.length / 2;
    if (this.positions) this.gl.deleteBuffer(this.positions);
    this.positions = createBufferFromTypedArray(this.gl, positions);
  }

  /** A byte a point, in the same order: its place in the palette. */
  setCodes(codes) {
    if (this.codes) this.gl.deleteBuffer(this.codes);
    this.codes = createBufferFromTypedArray(this.gl, codes);
  }

  /** 256 colours of four bytes. */
  setPalette(bytes) {
    setTextureFromArray(this.gl, this.palette, bytes, { width: 256, height: 1, minMag: this.gl.NEAREST, auto: false });
  }

  get step() {
    return Math.min(THINNEST, Math.max(1, Math.ceil(this.fullMs / SMOOTH_MS)));
  }

  /** Draw; false if the last picture is not finished yet. */
  draw({ mul, add }, wish) {
    const { size, moving } = wish;
    if (!this.positions || !this.codes) return true;
    if (this.pending) return false;
    const gl = this.gl;
    const step = moving ? this.step : 1;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(this.program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.positions);
    gl.enableVertexAttribArray(this.at.position);
    gl.vertexAttribPointer(this.at.position, 2, gl.UNSIGNED_SHORT, true, 4 * step, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.codes);
    gl.enableVertexAttribArray(this.at.code);
    gl.vertexAttribIPointer(this.at.code, 1, gl.UNSIGNED_BYTE, step, 0);
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.uniform1i(this.at.palette, 0);
    gl.uniform2fv(this.at.mul, mul);
    gl.uniform2fv(this.at.add, add);
    gl.uniform1f(this.at.size, size);
    gl.drawArrays(gl.POINTS, 0, Math.floor((this.n - 1) / step) + (this.n ? 1 : 0));
    this.#await(step, wish);
    return true;
  }

  /** Learn when the picture is there, without waiting for it. */
  #await(step, wish) {
    const gl = this.gl;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    const began = performance.now();
    this.pending = fence;
    const look = () => {
      if (this.pending !== fence) return;
      const state = gl.clientWaitSync(fence, 0, 0);
      if (state === gl.TIMEOUT_EXPIRED && performance.now() - began < 20000) {
        setTimeout(look, 4);
        return;
      }
      gl.deleteSync(fence);
      this.pending = null;
      const took = (performance.now() - began) * step;
      this.fullMs = this.fullMs ? 0.7 * this.fullMs + 0.3 * took : took;
      this.frames += 1;
      this.onDrawn(step, wish);
    };
    setTimeout(look, 1);
  }
}
