// What stands beside the map: one sample, or what a selection holds.

import { bar, count, h, outward } from "./dom.js";
import { shorten } from "./labels.js";

export const PAGE = 25;

/** What the tooltip says at once, and once the sample is known. */
export function tooltip(node, { cluster, score, sample }) {
  const said = sample ? sample.title || sample.source_name : "";
  node.replaceChildren(
    ...[
      sample && h("b", {}, sample.accession),
      said && h("span", {}, shorten(said, 90)),
      sample?.source_name && sample.source_name !== said && h("span", {}, shorten(sample.source_name, 60)),
      h("span", { class: "quiet" }, shorten(cluster, 60)),
      score !== null && h("span", { class: "quiet" }, `score ${score.toFixed(3)}`),
    ].filter(Boolean),
  );
}

export function sampleCard(sample, { score, onOpen, onClose }) {
  const facts = [
    ["Source", sample.source_name],
    ["Tissue", sample.tissue],
    ["Cluster", sample.cluster_label],
    ["Date", sample.date],
    ["Organism", sample.organism],
    ["Score", score === null ? "" : score.toFixed(4)],
    ...sample.characteristics.slice(0, 12),
  ];
  const series = sample.series.map((name, i) => outward(name, sample.series_urls[i])).flatMap((one, i) => (i ? [", ", one] : [one]));
  return h(
    "section", { class: "card", "aria-label": `Sample ${sample.accession}` },
    h("header", {}, h("h2", {}, outward(sample.accession, sample.url)), h("button", { type: "button", class: "plain", "aria-label": "Close the sample", onclick: onClose }, "×")),
    h("p", { class: "title" }, shorten(sample.title, 240)),
    h("dl", {}, series.length ? [h("dt", {}, "Series"), h("dd", {}, ...series)] : [], facts.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, shorten(String(name), 40)), h("dd", {}, shorten(String(value), 160))])),
    onOpen && h("button", { type: "button", onclick: onOpen }, "Open its page"),
  );
}

export function selectionCard(selection, { onCluster, onCsv, onLink, onShow, onClear }) {
  const drawn = selection.n_averaged < selection.n_samples
    ? `Words and near clusters are those of the mean of ${count(selection.n_averaged)} of them, drawn by a fixed seed.`
    : "Words and near clusters are those of their mean.";
  return h(
    "section", { class: "card", "aria-label": "Selection" },
    h("header", {}, h("h2", {}, `${count(selection.n_samples)} samples selected`), h("button", { type: "button", class: "plain", "aria-label": "Drop the selection", onclick: onClear }, "×")),
    h("div", { class: "row" },
      h("button", { type: "button", id: "csv", onclick: onCsv }, "CSV"),
      h("button", { type: "button", onclick: onShow }, "Zoom to it"),
      h("button", { type: "button", onclick: onLink }, "Copy link")),
    h("h3", {}, "Words that fit"),
    keywords(selection.keywords),
    h("p", { class: "quiet" }, drawn),
    h("h3", {}, "What it is made of"),
    shares("Clusters", selection.by_cluster.map((one) => ({ ...one, name: one.label || one.value, act: () => onCluster(Number(one.value)) }))),
    shares("Tissues, as depositors wrote them", selection.by_tissue.map((one) => ({ ...one, name: one.value }))),
    shares("Series", selection.by_series.map((one) => ({ ...one, name: one.label ? `${one.value} ${one.label}` : one.value }))),
    h("h3", {}, "Nearest clusters"),
    h("table", { class: "near" }, h("tbody", {}, selection.near_clusters.map((one) => h("tr", {},
      h("td", {}, h("button", { type: "button", class: "link", onclick: () => onCluster(one.cluster) }, shorten(one.label, 60))),
      h("td", {}, one.similarity.toFixed(2)), h("td", {}, count(one.n_samples)))))),
    h("h3", {}, "Samples"),
    h("div", { id: "samples" }),
  );
}

export function samplePage(page, { first, onOpen, onNext, onBack }) {
  const last = first + page.samples.length;
  return [
    h("div", { class: "scroll" }, h("table", { class: "samples" },
      h("thead", {}, h("tr", {}, ["Sample", "Title", "Tissue", "Cluster"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, page.samples.map((one) => h("tr", {},
        h("td", {}, h("button", { type: "button", class: "link", onclick: () => onOpen(one) }, one.accession)),
        h("td", {}, shorten(one.title || one.source_name, 70)), h("td", {}, shorten(one.tissue, 30)), h("td", {}, shorten(one.cluster_label || "", 30))))))),
    h("div", { class: "row" },
      h("button", { type: "button", disabled: !onBack, onclick: onBack || (() => {}), "aria-label": "Samples before" }, "‹"),
      h("span", { class: "quiet" }, `${count(first + 1)} to ${count(last)} of ${count(page.n_samples)}`),
      h("button", { type: "button", disabled: !onNext, onclick: onNext || (() => {}), "aria-label": "Samples after" }, "›")),
  ];
}

function keywords(found) {
  if (!found.length) return h("p", { class: "quiet" }, "No term of the vocabularies fits.");
  return h("table", { class: "words" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Term"), h("th", { scope: "col" }, "Vocabulary"), h("th", { scope: "col", title: "Standard deviations above all terms" }, "z"))),
    h("tbody", {}, found.slice(0, 15).map((one) => h("tr", {}, h("td", {}, shorten(one.term, 60)), h("td", {}, shorten(one.library.replaceAll("_", " "), 30)), h("td", {}, one.z.toFixed(1))))));
}

function shares(title, rows) {
  if (!rows.length) return null;
  return h("table", { class: "shares" }, h("caption", {}, title),
    h("tbody", {}, rows.slice(0, 8).map((one) => h("tr", { title: `${(100 * one.share_of_atlas).toFixed(2)} % of the atlas` },
      h("th", { scope: "row" }, one.act ? h("button", { type: "button", class: "link", onclick: one.act }, shorten(one.name, 60)) : shorten(one.name, 60)),
      h("td", {}, bar(one.share)), h("td", {}, `${Math.round(100 * one.share)} %`), h("td", {}, count(one.n))))));
}
