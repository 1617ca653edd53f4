// Elements made of data. Text of strangers only ever becomes text, never markup.

export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function byId(id) {
  return document.getElementById(id);
}

/** The address if a browser may follow it, else null. */
export function safeUrl(url) {
  try {
    const parts = new URL(String(url));
    return ["https:", "http:"].includes(parts.protocol) && parts.hostname ? parts.href : null;
  } catch {
    return null;
  }
}

export function outward(text, url) {
  const safe = url && safeUrl(url);
  return safe ? h("a", { href: safe, target: "_blank", rel: "noopener noreferrer" }, text) : text;
}

export function count(n) {
  return Number(n).toLocaleString("en-US");
}

/** A bar of a share in [0, 1]. */
export function bar(share) {
  const inner = h("i", {});
  inner.style.width = `${(100 * Math.min(Math.max(share, 0), 1)).toFixed(1)}%`;
  return h("span", { class: "bar", "aria-hidden": "true" }, inner);
}

/** Let the browser do what waits, then go on. */
export function pause() {
  return new Promise((done) => setTimeout(done, 0));
}
