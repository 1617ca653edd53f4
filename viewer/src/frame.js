// The pages show the map in a frame of theirs and talk to it by messages: what to show comes in, what was clicked goes out.

export const framed = window.parent !== window && new URLSearchParams(location.search).has("streamlitUrl");

function send(type, content = {}) {
  window.parent.postMessage({ isStreamlitMessage: true, type: `streamlit:${type}`, ...content }, "*");
}

/** Tell the page something that happened; it hears each thing once. */
export function tell(value) {
  if (framed) send("setComponentValue", { value: { ...value, at: Date.now() }, dataType: "json" });
}

/** Begin the conversation; `show(args, theme)` is called whenever the page wants something shown. */
export function listen(show) {
  if (!framed) return;
  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || event.data?.type !== "streamlit:render") return;
    const args = event.data.args || {};
    send("setFrameHeight", { height: Math.min(Math.max(Number(args.height) || 520, 200), 2000) });
    show(args, event.data.theme?.base === "dark" ? "dark" : "light");
  });
  send("componentReady", { apiVersion: 1 });
}
