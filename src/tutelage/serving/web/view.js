// What is shown of a chat.
const log = $("log");
let drawn = new Map(); // the rendered text of a message by its id, as long as the text is the same

function follow(always) {
  const view = log.parentElement;
  if (always || view.scrollHeight - view.scrollTop - view.clientHeight < 120) view.scrollTop = view.scrollHeight;
}

function draw() {
  const shown = branch(), rows = [], kept = new Map();
  for (const node of shown) {
    const pair = node.pair ? children(node.parent).filter((one) => one.pair === node.pair) : [node];
    const made = pair.map((one) => article(one, one === node, pair.length > 1, kept));
    if (pair.length === 1) rows.push(made[0]);
    else { const box = element("div", "pair"); box.append(...made); rows.push(box); }
  }
  drawn = kept;
  log.classList.toggle("two", shown.some((one) => one.pair));
  if (!rows.length) {
    const box = element("div", "empty");
    box.append(element("h1", "", "Good to see you."), element("p", "", "Ask something, or give the model a start."));
    rows.push(box);
  }
  // Who works by keyboard stays where they were.
  const held = log.contains(document.activeElement) ? document.activeElement : null, at = held?.closest("article")?.dataset.id;
  log.replaceChildren(...rows);
  if (at) [...log.querySelectorAll(`article[data-id="${at}"] button`)].find((one) => one.textContent === held.textContent)?.focus();
  meter(shown);
  drawChats();
}

function article(node, on, paired, kept) {
  const box = element("article", node.role === "user" ? "user" : "model" + (on && paired ? " on" : ""));
  box.dataset.id = node.id;
  const live = running.get(node.id), old = drawn.get(node.id);
  if (live) {
    box.classList.add("live");
    box.append(live.body);
    if (paired) box.prepend(element("small", "", node.model));
    return box;
  }
  const body = old?.content === node.content ? old.body : text(node);
  kept.set(node.id, { content: node.content, body });
  box.append(body, acts(node, on, paired, body));
  if (paired) box.prepend(element("small", "", node.model));
  return box;
}

function text(node) {
  const body = element("div", "text");
  if (node.role === "user") body.textContent = node.content;
  else if (node.content.trim()) markdown(node.content, body);
  else body.append(element("em", "", "(an empty answer)"));
  return body;
}

function acts(node, on, paired, body) {
  const row = element("div", "acts"), siblings = children(node.parent).filter((one) => one.role === node.role);
  const idle = running.size === 0;
  if (node.role === "assistant") {
    const vote = (value) => () => { node.vote = node.vote === value ? 0 : value; save(); draw(); };
    const up = button("▲", "Good answer", vote(1)), down = button("▼", "Bad answer", vote(-1));
    up.classList.toggle("on", node.vote > 0);
    down.classList.toggle("on", node.vote < 0);
    row.append(up, down, button("Copy", "Copy the answer", () => copy(node.content)));
    if (idle) row.append(button("Again", "Answer again, as another branch", () => again(node)));
    if (tokensOf.has(node.id)) row.append(button("Tokens", "Tokens with their probabilities", () => showTokens(node, body)));
    if (traces && node.content.trim()) row.append(button("Trace", "What of this stands word by word in the training text", () => showTrace(node, body)));
    if (paired && !on) row.append(button("Go on from this", "", () => { chat.pick[node.parent] = node.id; save(); draw(); }));
  } else if (idle) row.append(button("Edit", "Edit and ask again, as another branch", () => edit(node, body)));
  const groups = paired ? [] : siblings;
  if (groups.length > 1) {
    const at = groups.indexOf(node), go = (step) => () => { chat.pick[node.parent ?? "root"] = groups[(at + step + groups.length) % groups.length].id; save(); draw(); };
    row.append(button("‹", "Branch before", go(-1)), element("span", "", `${at + 1}/${groups.length}`), button("›", "Next branch", go(1)));
  }
  if (node.stop) {
    const count = node.tokens ?? node.pieces, speed = count ? `${count} ${count === 1 ? "token" : "tokens"} · ${node.speed?.toFixed(1)} tokens/s · ` : "";
    row.append(element("span", node.failed ? "failed" : "", speed + node.stop));
  }
  return row;
}

function edit(node, body) {
  const box = element("div", "edit"), area = element("textarea"), row = element("div", "row");
  area.value = node.content;
  area.rows = Math.min(10, node.content.split("\n").length + 1);
  const done = () => { if (area.value.trim()) ask(area.value.trim(), node.parent); };
  row.append(button("Ask", "", done, "main"), button("Cancel", "", draw));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); done(); }
    if (event.key === "Escape") draw();
  });
  box.append(area, row);
  drawn.delete(node.id);
  body.parentElement.replaceChildren(box);
  area.focus();
}

// Tokens as buttons: underlined the redder, the less likely they were; a click shows what else might have come.
function showTokens(node, body) {
  if (body.classList.contains("tokens")) { drawn.delete(node.id); draw(); return; }
  const choices = element("div", "choices");
  choices.hidden = true;
  body.className = "text tokens";
  body.replaceChildren(...tokensOf.get(node.id).flatMap((token) => {
    const p = Math.exp(token.logprob), one = button(spelled(token).replaceAll("\n", "↵"), `${(100 * p).toFixed(1)} %`, () => {
      body.querySelector("button.on")?.classList.remove("on");
      one.classList.add("on");
      const others = token.top_logprobs?.length ? token.top_logprobs : [token];
      const rows = others.some((other) => other.token === token.token) ? others : [...others, token];
      choices.replaceChildren(...rows.flatMap((other) => {
        const bar = element("i"), share = Math.exp(other.logprob);
        bar.style.width = `${Math.max(1, 100 * share)}%`;
        return [element(other.token === token.token ? "b" : "span", "", JSON.stringify(spelled(other)).slice(1, -1)), bar, element("span", "", `${(100 * share).toFixed(2)} %`)];
      }));
      choices.hidden = false;
    }, "");
    one.style.borderColor = `hsl(${Math.round(140 * p)} 55% 50%)`;
    return token.token.includes("\n") ? [one, "\n"] : [one];
  }), choices);
}

// A token; where it is a part of a character only, its bytes.
function spelled(token) {
  if (!token.token.includes("\ufffd") || !token.bytes) return token.token;
  return token.bytes.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : `‹${byte.toString(16).padStart(2, "0")}›`)).join("");
}

function meter(shown) {
  const box = $("meter"), last = shown.findLast((one) => one.used), limit = served.find((one) => one.id === (last?.model ?? $("model").value))?.max_model_len;
  box.hidden = !limit;
  if (!limit) return;
  // What was stopped or failed is not counted by the server: its pieces are about as many tokens.
  const after = shown.slice(shown.indexOf(last) + 1), used = (last?.used ?? 0) + after.reduce((sum, one) => sum + (one.pieces ?? 0), 0);
  box.firstChild.firstChild.style.width = `${Math.min(100, (100 * used) / limit)}%`;
  box.classList.toggle("full", used >= 0.9 * limit);
  box.lastChild.textContent = `${after.some((one) => one.pieces) ? "over " : ""}${used} of ${limit} tokens`;
  box.title = "Context used by this branch, at its last answer";
}

function drawChats() {
  const wanted = $("search").value.trim().toLowerCase();
  const found = [...chats.values()].sort((a, b) => b.time - a.time).filter((one) => !wanted || one.title.toLowerCase().includes(wanted) || one.nodes.some((node) => node.content.toLowerCase().includes(wanted)));
  $("chats").replaceChildren(...found.map((one) => {
    const row = element("div", one.id === chat.id ? "on" : "");
    row.append(button(one.title || "…", one.title, () => open(one), ""), button("✕", "Delete this chat", () => {
      if (!confirm("Delete this chat?")) return;
      if (one === chat) stop();
      remove(one);
      if (one === chat) open(newChat()); else draw();
    }, ""));
    return row;
  }));
}

function note(message, calm, ...buttons) {
  const box = element("div", calm ? "note calm" : "note", message);
  box.append(...buttons);
  log.append(box);
  follow(true);
}
