// A selection as a CSV file, page by page; a cell that a spreadsheet would run as a formula gets a leading apostrophe.

const FIELDS = ["accession", "series", "title", "source_name", "characteristics", "organism", "molecule", "tissue", "date", "unit",
  "n_genes_detected", "cluster", "cluster_label", "x", "y", "url"];
const PAGE = 1000;

export async function save(service, outline, { signal, onProgress }) {
  const parts = [[...FIELDS, "release"].join(",") + "\n"];
  let cursor = null;
  let n = 0;
  do {
    const page = await service.selected(outline, { limit: PAGE, cursor, signal });
    parts.push(page.samples.map((sample) => line(sample, page.release)).join(""));
    n += page.samples.length;
    cursor = page.next_cursor;
    onProgress(n, page.n_samples);
  } while (cursor);
  return new Blob(parts, { type: "text/csv" });
}

export function line(sample, release) {
  return [...FIELDS.map((name) => cell(plain(name, sample[name]))), cell(release)].join(",") + "\n";
}

export function cell(value) {
  if (typeof value !== "string") return value === null || value === undefined ? "" : String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function plain(name, value) {
  if (name === "characteristics") return value.map(([key, said]) => `${key}: ${said}`).join("; ");
  return Array.isArray(value) ? value.join(",") : value;
}
