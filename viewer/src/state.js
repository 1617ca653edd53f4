// What a link carries: release, colour, question, focus, view and selection. It lies behind the #, which is not sent.

const WORDS = ["release", "by", "q", "scan", "term", "focus", "view", "sel", "theme"];
const LISTS = ["plus", "minus"];

export function read(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = {};
  for (const name of WORDS) state[name] = (given.get(name) || "").slice(0, 6000);
  for (const name of LISTS) state[name] = given.getAll(name).slice(0, 16);
  return state;
}

export function write(state) {
  const said = new URLSearchParams();
  for (const name of WORDS) if (state[name]) said.set(name, state[name]);
  for (const name of LISTS) for (const one of state[name] || []) said.append(name, one);
  return `#${said}`;
}
