// The map: what is loaded, shown and asked when. Reading, drawing and words are in the modules beside it.

import { Refusal, Service } from "./api.js";
import { Camera } from "./camera.js";
import * as colours from "./colours.js";
import { save } from "./csv.js";
import { byId, count, h, pause } from "./dom.js";
import { framed, listen, tell } from "./frame.js";
import { Hands } from "./hands.js";
import { Labels, shorten } from "./labels.js";
import { extent, fromText, simplify, toText } from "./outline.js";
import { Overlay } from "./overlay.js";
import * as panel from "./panel.js";
import { Grid } from "./pick.js";
import { Painter } from "./painter.js";
import * as link from "./state.js";

const HOVER_MS = 90;
const REST_MS = 160;
const WATCH_MS = 60_000;
const TELL_MS = 700;
const FINEST = 65_535;
const MOST_KEPT = 500;
const SCORED = new Set(["score", "percentile"]); // columns of a question

class AtlasMap {
  constructor() {
    this.service = new Service();
    this.state = link.read(location.hash);
    this.columns = {};
    this.known = new Map(); // samples by row
    this.shown = { hits: [], opened: null, place: null };
    this.hovered = -1;
    this.asked = { colour: 0 };
    this.firstPicture = new Promise((done) => (this.begun = done));
    this.theme = this.state.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    document.documentElement.dataset.theme = this.theme;
  }

  // ---- beginning

  async start() {
    try {
      this.painter = new Painter(byId("points"));
      await this.painter.begin();
    } catch {
      this.#withoutDrawing();
      return;
    }
    this.#listenToControls();
    await this.load();
  }

  async load() {
    wait("Loading the map …");
    try {
      const position = await this.#layout();
      this.positions = position.values;
      this.camera = new Camera({ x: this.layout.x, y: this.layout.y });
      this.overlay = this.overlay || new Overlay(byId("over"));
      this.labels = new Labels(this.layout.clusters);
      this.#handle();
      this.#fit();
      this.#describe();
      this.#look();
      await this.recolour();
      await this.firstPicture;
      wait(null);
      this.grid = new Grid(this.positions);
      await pause();
      this.labels.spread(await this.#reach());
      this.redraw();
      document.documentElement.dataset.ready = "yes";
      if (this.state.sel) this.select(fromText(this.state.sel, this.camera.bounds));
    } catch (error) {
      this.#failed(error, () => this.load());
    }
  }

  /** Ask what there is; the positions, and the colours that are wanted first, travel at the same time. */
  async #layout() {
    this.layout = await this.service.layout(this.state.release || undefined);
    this.service.release = this.layout.release;
    this.service.key = this.layout.key;
    if (this.state.by === "date" && !this.layout.n_dated) this.state.by = "";
    this.state.by = this.state.by || "cluster";
    const position = this.service.column("position");
    this.#column(this.state.by).catch(() => {}); // a failure is told where the answer is needed
    return position;
  }

  #withoutDrawing() {
    wait(
      "This browser cannot draw the map: it offers no WebGL 2, or it is switched off.",
      framed ? "A smaller map is shown instead." : "Search, clusters and samples are on the other pages of the atlas.",
    );
    document.documentElement.dataset.ready = "no-webgl";
    tell({ webgl: false });
  }

  #failed(error, again) {
    if (error.name === "AbortError") return;
    if (error instanceof Refusal && error.isGone) {
      wait(null);
      this.#offerReload(error.message);
      return;
    }
    const said = error instanceof Refusal ? error.message : "The map could not be shown.";
    if (!(error instanceof Refusal)) console.error(error);
    wait(said, h("button", { type: "button", onclick: again }, "Try again"));
  }

  #offerReload(sentence) {
    const reload = () => {
      this.state.release = "";
      history.replaceState(null, "", link.write(this.state) || "#");
      location.reload();
    };
    byId("banner").replaceChildren(h("span", {}, sentence), h("button", { type: "button", onclick: reload }, "Reload"));
    byId("banner").hidden = false;
  }

  /** While the page is open another release may come to be served. */
  async #watch() {
    if (this.state.release || document.hidden || !this.layout) return;
    try {
      const current = await this.service.current();
      const same = current.release === this.layout.release && current.content_key.startsWith(this.layout.key);
      if (!same) this.#offerReload(`The atlas now serves another release, ${current.release}.`);
    } catch {
      // what is shown stays good; the next question will tell
    }
  }

  // ---- what is shown

  #describe() {
    const { n_samples, release, clusters, n_dated } = this.layout;
    byId("about").textContent = `${count(n_samples)} samples, release ${release}`;
    byId("over").setAttribute("aria-label", `Map of ${count(n_samples)} samples in ${count(clusters.length)} clusters`);
    const find = byId("find");
    const options = clusters.map((one) => h("option", { value: one.cluster }, `${shorten(one.label, 50)} (${count(one.n_samples)})`));
    find.replaceChildren(find.options[0], ...options);
    const date = byId("by").querySelector('[value="date"]');
    date.disabled = !n_dated;
    date.textContent = n_dated ? "by date" : "by date (no sample of this release has one)";
    byId("by").value = this.state.by;
    byId("phrase").value = this.state.q;
    byId("full").href = link.write({ ...this.state, release: release });
    this.base = { n: n_samples, size: n_samples <= 3_000 ? 6 : n_samples <= 20_000 ? 4 : n_samples <= 100_000 ? 2.6 : 2 };
  }

  #look() {
    const [x, y, zoom] = this.state.view.split(",").map(Number);
    if ([x, y, zoom].every(Number.isFinite) && this.state.view) {
      this.camera.x = x;
      this.camera.y = y;
      this.camera.zoom = zoom;
    }
  }

  get focus() {
    return /^\d+$/.test(this.state.focus) ? Number(this.state.focus) : null;
  }

  #column(by) {
    const question = this.#question();
    const scored = SCORED.has(by);
    const name = scored ? `asked ${by} ${JSON.stringify(question)}` : by;
    if (!this.columns[name]) {
      if (scored) for (const old of Object.keys(this.columns)) if (old.startsWith("asked ")) delete this.columns[old];
      const asked = this.service.column(by, scored ? question : {});
      this.columns[name] = asked;
      asked.catch(() => delete this.columns[name]);
    }
    return this.columns[name];
  }

  #question() {
    const { q, plus, minus, scan, term } = this.state;
    return scan ? { scan, term } : { q, plus, minus };
  }

  get #hasQuestion() {
    const { q, plus, minus, scan } = this.state;
    return Boolean(q || scan || plus.length || minus.length);
  }

  /** Fetch what the colours are made of and show it; a later wish overtakes an earlier one. */
  async recolour() {
    const turn = ++this.asked.colour;
    const by = SCORED.has(this.state.by) && !this.#hasQuestion ? "cluster" : this.state.by;
    let column;
    try {
      column = await this.#column(by);
    } catch (error) {
      if (turn !== this.asked.colour) return;
      if (error instanceof Refusal && !error.isGone && SCORED.has(by)) {
        note(error.message); // a question the service refuses: the map is worth seeing all the same
        this.state.by = "cluster";
        byId("by").value = "cluster";
        await this.recolour();
        return;
      }
      throw error;
    }
    if (turn !== this.asked.colour) return;
    const look = { theme: this.theme, focus: this.focus };
    const made = { cluster: colours.byCluster, tissue: colours.byTissue, date: colours.byDate }[by]?.(column.values, look)
      ?? colours.byScore(column, look);
    this.score = SCORED.has(by) ? column : null;
    await pause();
    await this.#upload(made);
    if (turn !== this.asked.colour) return;
    this.#legend(by, column, made);
    this.redraw();
  }

  async #upload({ codes, palette, levels }) {
    let positions = this.positions;
    if (levels) {
      const order = colours.sorted(levels);
      await pause();
      const pairs = new Uint32Array(this.positions.buffer, this.positions.byteOffset, order.length);
      const moved = new Uint32Array(order.length);
      const recoded = new Uint8Array(order.length);
      for (let i = 0; i < order.length; i++) {
        moved[i] = pairs[order[i]];
        recoded[i] = codes[order[i]];
      }
      positions = new Uint16Array(moved.buffer);
      codes = recoded;
    }
    this.painter.load(positions === this.positions ? positions.slice() : positions, codes, palette);
  }

  /** How far up and down from its middle most of each cluster lies, in map units. */
  async #reach() {
    const { values } = await this.#column("cluster");
    const perUnit = FINEST / (this.layout.y[1] - this.layout.y[0] || 1);
    const middle = new Float64Array(65_536);
    for (const one of this.layout.clusters) middle[one.cluster] = (one.y - this.layout.y[0]) * perUnit;
    const [sum, n] = [new Float64Array(65_536), new Uint32Array(65_536)];
    for (let row = 0; row < values.length; row++) {
      sum[values[row]] += Math.abs(this.positions[2 * row + 1] - middle[values[row]]);
      n[values[row]]++;
    }
    return sum.map((total, cluster) => (n[cluster] ? (1.5 * total) / n[cluster] / perUnit : 0));
  }

  // ---- drawing

  #fit() {
    const stage = byId("stage");
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [stage.clientWidth, stage.clientHeight].map((side) => Math.max(1, Math.round(side * this.ratio)));
    Object.assign(byId("over"), { width, height });
    this.painter.resize(width, height);
    this.camera?.resize(stage.clientWidth, stage.clientHeight);
    this.reserved = ["tools", "zooms"].map(byId).filter((one) => one.offsetWidth).map((one) => [
      one.offsetLeft, one.offsetTop, one.offsetLeft + one.offsetWidth, one.offsetTop + one.offsetHeight,
    ]);
    this.redraw();
  }

  redraw() {
    if (this.waiting || !this.camera) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.#draw();
    });
  }

  #draw() {
    const moving = performance.now() - (this.movedAt || -1e9) < REST_MS;
    const grown = Math.min(Math.max(this.camera.zoom ** 0.4, 1), 5);
    const size = Math.min(this.base.size * grown, 14) * this.ratio;
    this.painter.draw(this.camera.clip, { size, moving, seen: this.camera.still() });
  }

  /** Names and lines follow the points: they are drawn for the view that the last picture shows. */
  #drawOver() {
    if (!this.seen) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.overlay.draw({
      camera: this.camera.at(this.seen),
      labels: this.labels,
      reserved: this.reserved,
      first: this.state.by === "cluster" ? this.focus : null,
      outline: this.outline,
      drawing: this.drawing,
      ...this.shown,
      ink: { text: colour("ink"), paper: colour("paper"), accent: colour("accent"), wash: `${colour("accent")}18` },
      ratio: this.ratio,
    });
  }

  #drawn({ step, frames, seen }) {
    byId("points").dataset.frames = frames;
    this.seen = seen;
    this.#drawOver();
    if (step === 1 && this.begun) {
      performance.mark("whole map drawn");
      this.begun();
      this.begun = null;
    }
  }

  #moved() {
    this.movedAt = performance.now();
    byId("tip").hidden = true;
    this.redraw();
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.redraw();
      this.#remember();
    }, REST_MS + 10);
  }

  #remember() {
    const { x, y, zoom } = this.camera;
    const digits = (value) => Number(value.toPrecision(6));
    this.state.view = Math.abs(zoom - 1) < 1e-6 ? "" : [x, y, zoom].map(digits).join(",");
    history.replaceState(null, "", location.pathname + location.search + link.write(this.state));
    byId("full").href = location.pathname + link.write({ ...this.state, release: this.layout.release });
    clearTimeout(this.telling);
    if (!document.body.classList.contains("compact")) this.telling = setTimeout(() => tell({ state: link.write(this.state) }), TELL_MS);
  }

  // ---- hands

  #listenToControls() {
    const pressed = (id, act) => byId(id).addEventListener("click", act);
    pressed("nearer", () => this.#zoom(1.5));
    pressed("farther", () => this.#zoom(1 / 1.5));
    pressed("whole", () => {
      this.camera.reset();
      this.#moved();
    });
    pressed("in-view", () => {
      const { width, height } = this.camera;
      this.select([[0, 0], [width, 0], [width, height], [0, height]].map((at) => this.camera.toMap(...at)));
    });
    pressed("link", () => this.copyLink());
    pressed("theme", () => this.paint(this.theme === "dark" ? "light" : "dark", { chosen: true }));
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => this.#take(button.dataset.tool));
    }
    byId("colours").addEventListener("submit", (event) => event.preventDefault());
    byId("by").addEventListener("change", (event) => this.#colourBy(event.target.value));
    byId("phrase").addEventListener("change", (event) => this.#ask(event.target.value.trim()));
    byId("find").addEventListener("change", (event) => event.target.value && this.toCluster(Number(event.target.value)));
    new ResizeObserver(() => this.camera && this.#fit()).observe(byId("stage"));
    this.painter.onDrawn = (picture) => this.#drawn(picture);
    this.painter.onLost = () => this.recolour();
    setInterval(() => this.#watch(), WATCH_MS);
    document.addEventListener("visibilitychange", () => this.#watch());
  }

  #handle() {
    if (this.hands) {
      this.hands.camera = this.camera;
      return;
    }
    this.hands = new Hands(byId("over"), this.camera, {
      moved: () => this.#moved(),
      hover: (x, y) => this.#hover(x, y),
      left: () => this.#leave(),
      tap: (x, y) => this.#tap(x, y),
      drawing: (line) => {
        this.drawing = line;
        this.#drawOver();
      },
      drawn: (line) => this.select(simplify(line).map((at) => this.camera.toMap(...at))),
    });
  }

  #take(tool) {
    this.hands.tool = tool;
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    }
    byId("over").classList.toggle("drawing", tool !== "pan");
  }

  #zoom(factor) {
    this.camera.zoomAt(factor, this.camera.width / 2, this.camera.height / 2);
    this.#moved();
  }

  #colourBy(by) {
    Object.assign(this.state, { by, focus: "" });
    if (by === "score" && !this.#hasQuestion) byId("phrase").focus();
    this.#recolourAndRemember();
  }

  #ask(phrase) {
    Object.assign(this.state, { q: phrase, by: phrase ? "score" : "cluster", scan: "", term: "", plus: [], minus: [], focus: "" });
    byId("by").value = this.state.by;
    this.#recolourAndRemember();
  }

  #recolourAndRemember() {
    this.#remember();
    this.recolour().catch((error) => this.#failed(error, () => this.recolour()));
  }

  paint(theme, { chosen = false } = {}) {
    if (theme === this.theme) return;
    this.theme = theme;
    if (chosen) this.state.theme = theme;
    document.documentElement.dataset.theme = theme;
    if (this.layout) this.#recolourAndRemember();
  }

  toCluster(cluster) {
    const found = this.layout.clusters.find((one) => one.cluster === cluster);
    if (!found) return;
    Object.assign(this.state, { by: "cluster", focus: String(cluster) });
    byId("by").value = "cluster";
    Object.assign(this.camera, { x: found.x, y: found.y });
    this.camera.zoom = Math.max(this.camera.zoom, 3);
    this.#moved();
    this.#recolourAndRemember();
  }

  async copyLink() {
    const said = new URL(link.write({ ...this.state, release: this.layout.release }), location.origin + location.pathname).href;
    try {
      await navigator.clipboard.writeText(said);
      note("The link is copied.");
    } catch {
      note("Copy this link:", h("input", { value: said, readonly: true, "aria-label": "Link" }));
    }
  }

  // ---- one sample

  #rowAt(x, y) {
    if (!this.grid) return -1;
    const { bounds, scale } = this.camera;
    const [mapX, mapY] = this.camera.toMap(x, y);
    const span = (axis) => bounds[axis][1] - bounds[axis][0] || 1;
    const radius = (axis) => Math.max((7 / scale / span(axis)) * FINEST, 1);
    const at = (value, axis) => ((value - bounds[axis][0]) / span(axis)) * FINEST;
    return this.grid.nearest(at(mapX, "x"), at(mapY, "y"), radius("x"), radius("y"));
  }

  #scoreOf(row) {
    if (!this.score || row < 0) return null;
    const { values, low, high } = this.score;
    return low + (values[row] / FINEST) * (high - low);
  }

  async #clusterOf(row) {
    const { values } = await this.#column("cluster");
    return this.layout.clusters.find((one) => one.cluster === values[row])?.label || "";
  }

  #leave() {
    this.hovered = -1;
    clearTimeout(this.hovering);
    byId("tip").hidden = true;
  }

  #hover(x, y) {
    const row = this.#rowAt(x, y);
    if (row === this.hovered) return;
    this.#leave();
    if (row < 0) return;
    this.hovered = row;
    this.hovering = setTimeout(() => this.#tell(row, x, y), HOVER_MS);
  }

  async #tell(row, x, y) {
    try {
      const told = { cluster: await this.#clusterOf(row), score: this.#scoreOf(row), sample: this.known.get(row) };
      if (this.hovered !== row) return;
      const tip = byId("tip");
      panel.tooltip(tip, told);
      tip.hidden = false;
      tip.style.left = `${Math.max(4, Math.min(x + 12, this.camera.width - 290))}px`;
      tip.style.top = `${y < this.camera.height - 110 ? y + 12 : Math.max(4, y - 96)}px`;
      if (told.sample) return;
      told.sample = await this.#sampleOf(row);
      if (this.hovered === row) panel.tooltip(tip, told);
    } catch (error) {
      this.#quietly(error);
    }
  }

  async #sampleOf(row) {
    if (!this.known.has(row)) {
      const { sample } = await this.service.rowSample(row);
      if (this.known.size >= MOST_KEPT) this.known.delete(this.known.keys().next().value);
      this.known.set(row, sample);
    }
    return this.known.get(row);
  }

  async #tap(x, y) {
    const row = this.#rowAt(x, y);
    if (row < 0) return;
    try {
      this.open(await this.#sampleOf(row), this.#scoreOf(row));
    } catch (error) {
      this.#quietly(error);
    }
  }

  open(sample, score = null) {
    this.shown.opened = [sample.x, sample.y];
    this.redraw();
    if (document.body.classList.contains("compact")) tell({ open: sample.accession });
    const card = panel.sampleCard(sample, {
      score,
      onOpen: framed ? () => tell({ visit: sample.accession }) : null,
      onClose: () => {
        this.shown.opened = null;
        byId("sample")?.remove();
        this.redraw();
      },
    });
    card.id = "sample";
    byId("sample")?.remove();
    byId("detail").prepend(card);
    if (!document.body.classList.contains("compact")) card.scrollIntoView({ block: "nearest" });
  }

  /** A question on the side failed: what is shown stays. */
  #quietly(error) {
    if (error.name === "AbortError") return;
    if (error instanceof Refusal && error.isGone) this.#offerReload(error.message);
    else if (error instanceof Refusal) note(error.message);
    else throw error;
  }

  // ---- a part of the map

  async select(outline) {
    if (!outline) return;
    this.selecting?.abort();
    this.selecting = new AbortController();
    const { signal } = this.selecting;
    this.outline = outline;
    this.state.sel = toText(outline, this.camera.bounds);
    this.#take("pan");
    this.#remember();
    this.#drawOver();
    byId("selection")?.remove();
    note("Asking what this part of the map holds …");
    try {
      const found = await this.service.selection(outline, signal);
      note(null);
      this.#showSelection(found, signal);
      performance.mark("selection told");
    } catch (error) {
      this.#quietly(error);
    }
  }

  #showSelection(found, signal) {
    const card = panel.selectionCard(found, {
      onCluster: (cluster) => this.toCluster(cluster),
      onCsv: () => this.#csv(found, signal),
      onLink: () => this.copyLink(),
      onShow: () => {
        this.camera.show(extent(this.outline));
        this.#moved();
      },
      onClear: () => this.#dropSelection(),
    });
    card.id = "selection";
    byId("detail").append(card);
    this.#samples({ first: 0, cursors: [null], signal });
    if (matchMedia("(max-width: 720px)").matches) card.scrollIntoView({ block: "start" });
  }

  #dropSelection() {
    this.selecting?.abort();
    this.outline = null;
    this.state.sel = "";
    byId("selection")?.remove();
    note(null);
    this.#remember();
    this.#drawOver();
  }

  async #samples({ first, cursors, signal }) {
    try {
      const page = await this.service.selected(this.outline, { limit: panel.PAGE, cursor: cursors.at(-1), signal });
      const turn = (shift, kept) => () => this.#samples({ first: first + shift, cursors: kept, signal });
      byId("samples")?.replaceChildren(
        ...panel.samplePage(page, {
          first,
          onOpen: (sample) => this.open(sample),
          onNext: page.next_cursor && turn(panel.PAGE, [...cursors, page.next_cursor]),
          onBack: first > 0 && turn(-panel.PAGE, cursors.slice(0, -1)),
        }),
      );
    } catch (error) {
      this.#quietly(error);
    }
  }

  async #csv(found, signal) {
    const button = byId("csv");
    button.disabled = true;
    try {
      const onProgress = (n, all) => (button.textContent = n < all ? `${Math.floor((100 * n) / all)} %` : "CSV");
      const blob = await save(this.service, this.outline, { signal, onProgress });
      const file = h("a", { href: URL.createObjectURL(blob), download: `selection-${found.release}.csv` });
      file.click();
      setTimeout(() => URL.revokeObjectURL(file.href), 60_000);
    } catch (error) {
      this.#quietly(error);
    } finally {
      button.disabled = false;
    }
  }

  // ---- the legend

  #legend(by, column, made) {
    if (SCORED.has(by)) this.#scale(made.ends.map((end) => end.toFixed(2)), this.#questionText());
    else if (by === "date") this.#scale(made.ends.map(colours.monthName), `Month of deposition; ${this.#undated()}`);
    else if (by === "tissue") this.#named(this.#tissues(), "The tissue as depositors wrote it. Grey: all others.");
    else this.#named(this.#clusters(), "The largest clusters. Near means similar expression.");
  }

  #questionText() {
    const { q, scan, term, plus, minus } = this.state;
    if (scan && this.state.by === "percentile") return `Percentile of the sum over the sweep ${scan}`;
    if (scan) return `${term ? `z of “${term}”` : "Sum of z"} in the sweep ${scan}`;
    const asked = [q && `“${q}”`, ...plus.map((one) => `+ ${one}`), ...minus.map((one) => `− ${one}`)].filter(Boolean).join(" ");
    return `Score for ${asked}. Half of the samples lie below the first number.`;
  }

  #undated() {
    const missing = this.layout.n_samples - this.layout.n_dated;
    return missing ? `grey: ${count(missing)} samples without a date.` : "every sample has one.";
  }

  #tissues() {
    const told = this.layout.columns.find((one) => one.name === "tissue");
    return told.values.slice(1, 1 + colours.MOST_NAMED).filter((_, i) => i < 16).map((name, i) => ({
      code: i + 1, name, n: told.counts[i + 1], colour: colours.colourOf(i),
    }));
  }

  #clusters() {
    const largest = this.layout.clusters.toSorted((a, b) => b.n_samples - a.n_samples);
    return largest.slice(0, 12).map((one) => ({
      code: one.cluster, name: one.label, n: one.n_samples, colour: colours.colourOf(one.cluster),
    }));
  }

  #named(entries, words) {
    const items = entries.map((one) => {
      const dot = h("i", { class: "dot" });
      dot.style.background = one.colour;
      const press = () => {
        this.state.focus = this.focus === one.code ? "" : String(one.code);
        this.#recolourAndRemember();
      };
      return h("li", {}, h("button", { type: "button", "aria-pressed": String(this.focus === one.code), title: one.name, onclick: press },
        dot, h("span", { class: "name" }, shorten(one.name, 60)), h("span", { class: "quiet" }, count(one.n))));
    });
    byId("legend").replaceChildren(h("ul", {}, items), h("p", { class: "quiet" }, words));
    byId("legend").className = "names";
  }

  #scale([low, high], words) {
    const canvas = h("canvas", { width: 256, height: 1, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const ramp = context.createLinearGradient(0, 0, 256, 0);
    colours.SCALES[this.theme].forEach((colour, i, all) => ramp.addColorStop(i / (all.length - 1), colour));
    context.fillStyle = ramp;
    context.fillRect(0, 0, 256, 1);
    byId("legend").replaceChildren(canvas, h("div", { class: "ends" }, h("span", {}, low), h("span", {}, high)), h("p", { class: "quiet" }, words));
    byId("legend").className = "scale";
  }

  // ---- as part of a page

  /** Show what the page wants: the same fields as a link, and places to mark. */
  show(args, theme) {
    document.body.classList.add("framed");
    document.body.classList.toggle("compact", !args.whole);
    (args.whole ? byId("colours").parentNode : byId("stage")).append(byId("legend"), ...(args.whole ? [byId("detail")] : []));
    document.title = String(args.title || document.title);
    const wanted = JSON.stringify(args);
    this.paint(theme);
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    const words = (name) => String(args[name] ?? "");
    const lists = (name) => (Array.isArray(args[name]) ? args[name].map(String) : []);
    const places = (list) => (Array.isArray(list) ? list.filter((one) => Array.isArray(one) && one.slice(1, 3).every(Number.isFinite)) : []);
    const state = link.read(words("state"));
    for (const name of ["release", "by", "q", "scan", "term", "focus"]) if (args[name] !== undefined) state[name] = words(name);
    for (const name of ["plus", "minus"]) if (args[name] !== undefined) state[name] = lists(name);
    const again = !this.layout || (state.release && state.release !== this.layout.release);
    this.state = { ...state, view: this.layout && !again ? this.state.view : state.view };
    this.shown = {
      hits: places(args.hits),
      opened: places([args.opened]).map(([, x, y]) => [x, y])[0] || null,
      place: places([args.place]).map(([, x, y]) => [x, y])[0] || null,
    };
    if (again) this.started ??= this.start();
    else {
      byId("by").value = this.state.by || "cluster";
      this.#recolourAndRemember();
    }
  }
}

function wait(...said) {
  const box = byId("wait");
  box.hidden = said[0] === null;
  box.replaceChildren(...said.filter((one) => one !== null).map((one) => (typeof one === "string" ? h("span", {}, one) : one)));
}

function note(...said) {
  byId("note")?.remove();
  if (said[0] !== null) byId("detail").prepend(h("p", { id: "note", role: "status" }, ...said));
}

const map = new AtlasMap();
if (framed) listen((args, theme) => map.show(args, theme));
else map.start();
