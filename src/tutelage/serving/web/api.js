// The server: what it serves, what it accepts, and answers as they are made.
let served = [], accepts = null, settable = {}, traces = false, leaving = false;

async function complain(response) {
  let message = `The server answered ${response.status}.`, code = null;
  try { const { error } = await response.json(); message = error.message; code = error.code; } catch { /* not JSON: the status must do */ }
  throw Object.assign(new Error(message), { code });
}

async function hello() {
  const response = await fetch("v1/models");
  if (!response.ok) await complain(response);
  const found = (await response.json()).data;
  try {
    const { components, paths } = await (await fetch("openapi.json")).json(), fields = Object.entries(components.schemas.ChatRequest.properties);
    // What acts here: a field with a type of its own, not one that may only ask for nothing. Settings are for the panel.
    accepts = new Set(fields.filter(([, one]) => !one.description?.startsWith("Asks for nothing")).map(([name]) => name));
    settable = Object.fromEntries(fields.filter(([, one]) => one["x-setting"]));
    traces = "/v1/trace" in paths;
  } catch { accepts = null; settable = {}; traces = false; }
  served = found; // last: from here on a question can be sent
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
  }
}

// Writes into the node as the answer comes. Returns the error, or null; why it ended stands in node.stop either way.
async function produce(node, messages, sampling, signal, onPiece) {
  const begin = performance.now(), model = served.find((one) => one.id === node.model), tokens = [];
  let first = 0, finish = null, done = false, failed = null;
  try {
    const response = await fetch("v1/chat/completions", {
      method: "POST", headers: { "Content-Type": "application/json" }, signal,
      body: JSON.stringify({ model: node.model, messages, stream: true, stream_options: { include_usage: true }, ...sampling }),
    });
    if (!response.ok) await complain(response);
    for await (const data of events(response)) {
      if (data === "[DONE]") { done = true; break; }
      const step = JSON.parse(data), choice = step.choices?.[0];
      if (step.error) throw Object.assign(new Error(step.error.message), { code: step.error.code });
      if (step.usage) { node.tokens = step.usage.completion_tokens; node.used = step.usage.total_tokens; }
      for (const one of choice?.logprobs?.content ?? []) tokens.push(one);
      if (choice?.delta.content) {
        first ||= performance.now();
        node.pieces = (node.pieces ?? 0) + 1;
        node.content += choice.delta.content;
        onPiece(choice.delta.content);
      }
      finish = choice?.finish_reason ?? finish;
    }
    if (!done) throw new Error("The connection ended before the answer did.");
  } catch (error) {
    failed = error;
  }
  const seconds = (performance.now() - (first || begin)) / 1000;
  // Without the server's count, after a stop: as many tokens as pieces have come, about.
  node.speed = ((node.tokens ?? node.pieces ?? 0) - (first ? 1 : 0)) / Math.max(seconds, 1e-3);
  if (tokens.length) tokensOf.set(node.id, tokens);
  if (failed) node.stop = signal.aborted ? "stopped by you" : `broken off: ${leaving ? "the page was closed" : failed.message}`;
  else if (finish === "length") node.stop = model && node.used >= model.max_model_len ? "cut: the context is full" : `cut at the limit of ${node.tokens} tokens`;
  else node.stop = finish === "stop" ? "ended by itself" : finish;
  node.failed = Boolean(failed) && !signal.aborted;
  return failed && !signal.aborted ? failed : null;
}
