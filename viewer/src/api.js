// What the map asks of the service beside it. Every failure becomes a Refusal with a sentence for people.

const BASE = new URL("../v1/", document.baseURI);

export class Refusal extends Error {
  constructor(message, { status = 0, code = "" } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** Whether the release that was asked for is no longer what it was. */
  get isGone() {
    return this.status === 410;
  }
}

export class Service {
  constructor() {
    this.release = null; // named in every question once it is known
    this.key = null;
  }

  layout(release) {
    return this.#json("map/columns", { release });
  }

  current() {
    return this.#json("releases/current", {});
  }

  rowSample(row, signal) {
    return this.#json(`map/rows/${row}`, { release: this.release }, { signal });
  }

  sample(accession) {
    return this.#json(`samples/${encodeURIComponent(accession)}`, { release: this.release });
  }

  selection(outline, signal) {
    return this.#json("selections", { release: this.release }, post(outline, signal));
  }

  selected(outline, { limit, cursor, signal }) {
    return this.#json("selections/samples", { release: this.release, limit, cursor }, post(outline, signal));
  }

  /** A column as a typed array; of scores also what its two ends and its middle mean. */
  async column(name, question = {}, signal = undefined) {
    const query = { ...question, release: this.release, key: this.key };
    const response = await this.#send(`map/columns/${name}`, query, { signal });
    const buffer = await response.arrayBuffer();
    const end = (which) => Number(response.headers.get(`x-geo-atlas-${which}`));
    const Kind = { "|u1": Uint8Array, "<u2": Uint16Array, "<u4": Uint32Array }[response.headers.get("x-geo-atlas-dtype")];
    if (!Kind) throw new Refusal("The service sent numbers of a kind this page does not read. Reload the page.");
    return { values: new Kind(buffer), low: end("low"), middle: end("middle"), high: end("high") };
  }

  async #json(path, query, options) {
    const response = await this.#send(path, query, options);
    return response.json();
  }

  async #send(path, query, options = {}) {
    const url = new URL(path, BASE);
    for (const [name, value] of Object.entries(query)) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
      }
    }
    let response;
    try {
      response = await fetch(url, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal("The atlas service does not answer. Wait a moment and try again.");
    }
    if (response.ok) return response;
    throw await refusal(response);
  }
}

function post(outline, signal) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ outline }), signal };
}

async function refusal(response) {
  const unread = `The atlas service answered ${response.status}. Try again, or tell whoever runs it.`;
  try {
    const { error } = await response.json();
    return new Refusal(error.message || unread, { status: response.status, code: error.code });
  } catch {
    return new Refusal(unread, { status: response.status });
  }
}
