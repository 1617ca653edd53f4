// Builds the map into ../api/viewer: `npm ci --ignore-scripts && npm run build`. The sources' digest stands in the first line.

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "api", "viewer");

/** sha256 over name, length and content of every source, in the order of their names. */
export function digest() {
  const names = ["build.mjs", "package-lock.json", "package.json", ...readdirSync(join(here, "src")).map((name) => `src/${name}`)];
  const hash = createHash("sha256");
  for (const name of names.sort()) {
    const content = readFileSync(join(here, name));
    hash.update(`${name}\n${content.length}\n`);
    hash.update(content);
  }
  return hash.digest("hex");
}

/** The licence of each package whose code is in the bundle. */
function notice(inputs) {
  const packages = new Set();
  for (const path of inputs) {
    const found = path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) packages.add(found[1]);
  }
  const parts = [...packages].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((one) => /^licen[sc]e/i.test(one));
    if (!file) throw new Error(`${name} names no licence text`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  return `map.js and paint.js contain code of geo-atlas (MIT) and of these packages:\n\n${parts.join("\n----\n\n")}`;
}

mkdirSync(out, { recursive: true });
const made = await build({
  entryPoints: { map: join(here, "src", "main.js"), paint: join(here, "src", "paint.js") },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  banner: { js: `/* geo-atlas map; sources ${digest()}; licences: NOTICE.txt */` },
});
copyFileSync(join(here, "src", "index.html"), join(out, "index.html"));
copyFileSync(join(here, "src", "map.css"), join(out, "map.css"));
writeFileSync(join(out, "NOTICE.txt"), notice(Object.keys(made.metafile.inputs)));
