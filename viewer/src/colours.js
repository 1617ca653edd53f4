// What colours mean: of every sample one byte, the 256 colours behind it, and the legend. Nothing here draws.

// Luminance runs one way in each scale, so they read the same with every kind of colour vision and in print.
export const SCALES = {
  light: ["#dde4ea", "#a9c6d3", "#5f9fb8", "#22709a", "#0a3a66"],
  dark: ["#2c3640", "#2d5a73", "#3f8f9d", "#8fcbb5", "#f4f3c1"],
};
// Okabe and Ito's colours, softened, and lighter and darker ones between them: neighbours differ, labels identify.
const MANY = [
  "#56a6d6", "#e0a03c", "#3aa987", "#c98bb4", "#4a7fb5", "#d9805a", "#8d9aa6", "#7cc4c1", "#b5a642", "#9a7fc7",
  "#e18aa0", "#5f8f4f", "#b87d4b", "#6f86d6", "#a8b86b", "#c46b6b", "#4fa3a0", "#8f7a66", "#d6a6c8", "#6b9bb0",
];
const GREY = { light: [190, 199, 207, 130], dark: [66, 76, 86, 150] };
const UNKNOWN = 255;
export const MOST_NAMED = 20;

/** Codes and palette for one byte per value, cycling through the colours; those out of focus turn grey. */
export function byCluster(clusters, { theme, focus }) {
  const codes = new Uint8Array(clusters.length);
  const n = MANY.length;
  for (let i = 0; i < codes.length; i++) {
    codes[i] = focus === null ? clusters[i] % n : clusters[i] === focus ? focus % n : UNKNOWN;
  }
  return { codes, palette: named(MANY, theme), levels: focus === null ? null : ranks(codes) };
}

export function byTissue(tissues, { theme, focus }) {
  const codes = new Uint8Array(tissues.length);
  for (let i = 0; i < codes.length; i++) {
    const one = tissues[i];
    const shown = focus === null ? one > 0 && one <= MOST_NAMED : one === focus;
    codes[i] = shown ? (one - 1) % MOST_NAMED : UNKNOWN;
  }
  return { codes, palette: named(MANY, theme), levels: ranks(codes) };
}

/** Months since 1900 from pale to strong; ``ends`` are the first and the last month. */
export function byDate(months, { theme }) {
  let low = 65535;
  let high = 0;
  for (let i = 0; i < months.length; i++) {
    if (months[i]) {
      if (months[i] < low) low = months[i];
      if (months[i] > high) high = months[i];
    }
  }
  const codes = new Uint8Array(months.length);
  const per = 254 / Math.max(1, high - low);
  for (let i = 0; i < codes.length; i++) codes[i] = months[i] ? Math.round((months[i] - low) * per) : UNKNOWN;
  return { codes, palette: scaled(theme, 235), levels: ranks(codes), ends: [low, high] };
}

/** Scores: the lower half is background, the best lie on top. */
export function byScore({ values, low, middle, high }, { theme }) {
  const codes = new Uint8Array(values.length);
  const from = high > low ? ((middle - low) / (high - low)) * 65535 : 0;
  const per = 254 / Math.max(1, 65535 - from);
  for (let i = 0; i < codes.length; i++) codes[i] = Math.max(0, Math.round((values[i] - from) * per));
  return { codes, palette: scaled(theme, 225), levels: codes, ends: [middle, high] };
}

/** Row numbers from the lowest level to the highest, equal ones in row order. */
export function sorted(levels) {
  const starts = new Uint32Array(257);
  for (let i = 0; i < levels.length; i++) starts[levels[i] + 1]++;
  for (let c = 0; c < 256; c++) starts[c + 1] += starts[c];
  const order = new Uint32Array(levels.length);
  for (let i = 0; i < levels.length; i++) order[starts[levels[i]]++] = i;
  return order;
}

export function colourOf(code) {
  return MANY[code % MANY.length];
}

export function monthName(month) {
  const at = month - 1;
  return `${1900 + Math.floor(at / 12)}-${String((at % 12) + 1).padStart(2, "0")}`;
}

function ranks(codes) {
  const levels = new Uint8Array(codes.length);
  for (let i = 0; i < codes.length; i++) levels[i] = codes[i] === UNKNOWN ? 0 : 1;
  return levels;
}

function named(colours, theme) {
  const bytes = new Uint8Array(1024);
  for (let i = 0; i < 256; i++) bytes.set([...rgb(colours[i % colours.length]), 205], 4 * i);
  bytes.set(GREY[theme], 4 * UNKNOWN);
  return bytes;
}

function scaled(theme, alpha) {
  const stops = SCALES[theme].map(rgb);
  const bytes = new Uint8Array(1024);
  for (let i = 0; i < 255; i++) {
    const at = (i / 254) * (stops.length - 1);
    const below = Math.min(Math.floor(at), stops.length - 2);
    const mix = stops[below].map((value, c) => Math.round(value + (stops[below + 1][c] - value) * (at - below)));
    bytes.set([...mix, 120 + Math.round((i / 254) * (alpha - 120))], 4 * i);
  }
  bytes.set(GREY[theme], 4 * UNKNOWN);
  return bytes;
}

function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}
