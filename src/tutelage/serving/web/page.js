// What the user does.
const prompt = $("prompt"), send = $("send"), running = new Map(); // node id -> {abort, body}
const COMMON = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed", "stop"]; // the others are folded away
const DEFAULT = "An empty field is the server’s default.";
let sampling = {};

function busy() {
  send.textContent = running.size ? "Stop" : "Send";
  fit();
}

function fit() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
  send.disabled = !running.size && !prompt.value.trim();
}

function stop() {
  for (const one of running.values()) one.abort.abort();
}

function wanted() {
  const fields = Object.fromEntries(Object.entries(sampling).filter(([name]) => !accepts || accepts.has(name)));
  for (const [name, one] of Object.entries(settable)) if (typeof fields[name] === "string" && one.anyOf?.some((kind) => kind.type === "array")) fields[name] = fields[name].split("|").filter(Boolean);
  if (fields.logprobs && accepts?.has("top_logprobs")) fields.top_logprobs = 5;
  return fields;
}

// A new question after `parent`. Where no answer comes of it, it goes back to where it was written.
async function ask(question, parent) {
  if (running.size) return;
  const here = chat, node = add(parent, "user", question);
  const failed = await answer(node, $("beside").value ? [$("model").value, $("beside").value] : [$("model").value], here);
  if (children(node.id, here).length) return;
  drop(node, here);
  if (here.nodes.length) save(here); else { remove(here); }
  if (here === chat) {
    if (!prompt.value) prompt.value = question;
    draw();
    fit();
    if (failed?.code === "context_length_exceeded") note(`The context is full: ${failed.message}. Your question is back in the box; go on from an earlier message (Edit), or in a new chat.`, false, button("New chat with it", "", () => { open(newChat()); fit(); }));
    else if (failed) note(`${failed.message.replace(/[^.!?]$/, "$&.")} Your question is back in the box.`, false);
    else note("Stopped before the first token. Your question is back in the box.", true);
  }
}

async function again(node) {
  if (running.size) return;
  const here = chat, model = served.some((one) => one.id === node.model) ? node.model : $("model").value;
  const failed = await answer(nodeOf(node.parent), [model], here);
  if (failed && here === chat) note(failed.message, false);
}

// One answer by each of the models, side by side if there are two. An answer of which nothing came is dropped.
async function answer(question, models, here) {
  const pair = models.length > 1 ? newId() : undefined, messages = messagesUntil(question, here), before = here.pick[question.id];
  const nodes = models.map((model) => add(question.id, "assistant", "", { model, pair }, here));
  here.pick[question.id] = nodes[0].id;
  const work = nodes.map(async (node) => {
    const abort = new AbortController(), body = element("div", "text"), live = new LiveText(body);
    running.set(node.id, { abort, body });
    const failed = await produce(node, messages, wanted(), abort.signal, (piece) => live.feed(piece));
    clearTimeout(live.timer);
    running.delete(node.id);
    if (!node.content && (failed || abort.signal.aborted)) {
      drop(node, here);
      if (children(question.id, here).some((one) => one.id === before)) here.pick[question.id] = before;
    }
    if (here === chat) { const view = log.parentElement, end = view.scrollHeight - view.scrollTop - view.clientHeight < 120; draw(); if (end) follow(true); }
    busy();
    return failed;
  });
  busy();
  draw();
  follow(true);
  const failures = await Promise.all(work);
  save(here);
  drawChats();
  return failures.find(Boolean) ?? null;
}

function open(one) {
  stop();
  chat = one;
  $("system").value = chat.system;
  $("side").classList.remove("open");
  draw();
  follow(true);
  if (matchMedia("(min-width: 801px)").matches) prompt.focus();
}

// The panel: what the description of the API calls a setting, with its kind, bounds and words.
function settings() {
  const row = (name) => {
    const { anyOf = [], description } = settable[name], kind = anyOf.find((one) => one.type !== "null") ?? {};
    const number = kind.type === "number" || kind.type === "integer", check = kind.type === "boolean", list = anyOf.some((one) => one.type === "array");
    const label = element("label", check ? "check" : "field"), input = element(name === "grammar" ? "textarea" : "input");
    label.title = description ?? "";
    label.addEventListener("focusin", () => { $("hint").textContent = description ?? ""; });
    input.name = name;
    if (name !== "grammar") input.type = number ? "number" : check ? "checkbox" : "text";
    if (number) Object.assign(input, { min: kind.minimum ?? kind.exclusiveMinimum ?? "", max: kind.maximum ?? "", step: kind.type === "integer" ? 1 : "any", placeholder: "default" });
    if (check) input.checked = Boolean(sampling[name]); else input.value = sampling[name] ?? "";
    input.addEventListener("change", () => {
      if (number && !input.checkValidity()) { input.reportValidity(); return; }
      keep(name, check ? input.checked || undefined : input.value === "" ? undefined : number ? Number(input.value) : input.value);
    });
    const shown = name.replaceAll("_", " ") + (list ? " (one | another)" : "");
    if (check) label.append(input, shown); else label.append(shown, input);
    return label;
  };
  const names = Object.keys(settable), more = element("details", "more"), rest = element("div", "fields");
  rest.append(...names.filter((name) => !COMMON.includes(name)).map(row));
  more.append(element("summary", "", "More settings"), rest);
  more.open = names.some((name) => !COMMON.includes(name) && name in sampling);
  const label = element("label", "check"), box = Object.assign(element("input"), { type: "checkbox", name: "logprobs", checked: Boolean(sampling.logprobs) });
  box.addEventListener("change", () => keep("logprobs", box.checked || undefined));
  label.append(box, "Keep the tokens’ probabilities, to be seen with “Tokens”");
  const fields = element("div", "fields");
  fields.append(...COMMON.filter((name) => name in settable).map(row));
  $("sampling").replaceChildren(fields, ...(names.length > COMMON.length ? [more] : []), ...(!accepts || accepts.has("logprobs") ? [label] : []));
}

function keep(name, value) {
  if (value === undefined) delete sampling[name]; else sampling[name] = value;
  store.setItem("tutelage.sampling", JSON.stringify(sampling));
}

async function begin() {
  loadChats();
  prompt.value = store.getItem("tutelage.draft") ?? "";
  try { sampling = JSON.parse(store.getItem("tutelage.sampling")) ?? {}; } catch { sampling = {}; }
  open([...chats.values()].sort((a, b) => b.time - a.time)[0] ?? newChat());
  fit();
  try { await hello(); } catch (error) { note(`The server cannot be reached: ${error.message}`, false, button("Try again", "", () => location.reload())); return; }
  const option = (value, shown) => Object.assign(element("option", "", shown), { value });
  $("model").replaceChildren(...served.map((one) => option(one.id, one.id)));
  $("beside").replaceChildren(option("", "alone"), ...served.map((one) => option(one.id, `+ ${one.id.replace(`${served[0].id}:`, "")}`)));
  settings();
  draw();
}

document.querySelector("footer form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running.size) { stop(); return; }
  const text = prompt.value.trim();
  if (!text) return;
  if (!$("model").value) { toast("The server has not answered yet; your text stays here."); return; }
  prompt.value = "";
  ask(text, branch().at(-1)?.id ?? null);
});
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!running.size) event.target.form.requestSubmit();
  }
  if (event.key === "ArrowUp" && !prompt.value && !running.size) {
    event.preventDefault();
    [...log.querySelectorAll("article.user button[title^=Edit]")].at(-1)?.click();
  }
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !$("settings").open) stop(); });
prompt.addEventListener("input", fit);
$("search").addEventListener("input", drawChats);
$("new").addEventListener("click", () => open(newChat()));
$("model").addEventListener("change", () => draw());
$("opensettings").addEventListener("click", () => { settings(); $("hint").textContent = DEFAULT; $("settings").showModal(); });
$("system").addEventListener("focusin", () => { $("hint").textContent = DEFAULT; });
$("defaults").addEventListener("click", () => { sampling = {}; store.removeItem("tutelage.sampling"); settings(); });
$("system").addEventListener("input", () => { chat.system = $("system").value; save(); });
$("openside").addEventListener("click", () => $("side").classList.add("open"));
$("closeside").addEventListener("click", () => $("side").classList.remove("open"));
document.querySelector("main").addEventListener("click", () => { $("side").classList.remove("open"); $("export").open = false; });
const named = (ending) => `${(chat.title || "chat").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}.${ending}`;
$("asjson").addEventListener("click", () => download(named("json"), asJson(chat), "application/json"));
$("asmarkdown").addEventListener("click", () => download(named("md"), asMarkdown(chat), "text/markdown"));
$("exportall").addEventListener("click", () => download("chats.json", JSON.stringify([...chats.values()]), "application/json"));
const votes = (name, made) => {
  const lines = [...chats.values()].flatMap(preferencePairs);
  if (lines.length) download(name, made(lines).join("\n") + "\n", "application/jsonl");
  else toast("There is no pair yet: vote one answer to a question up (▲) and another to the same question down (▼).");
};
$("pairs").addEventListener("click", () => votes("pairs.jsonl", (lines) => lines));
$("cases").addEventListener("click", () => votes("cases.jsonl", evaluationCases));
$("import").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { for (const file of $("file").files) importFile(file); $("file").value = ""; });
addEventListener("storage", ({ key, newValue }) => {
  if (!key?.startsWith(PREFIX)) return;
  const id = key.slice(PREFIX.length);
  taken(id, newValue);
  if (chat.id === id && !running.size) { $("system").value = chat.system; draw(); }
  drawChats();
});
// Nothing is lost with the page: neither what is being written nor an answer that is under way.
addEventListener("pageshow", () => { leaving = false; });
addEventListener("pagehide", () => {
  leaving = true;
  let draft = prompt.value;
  for (const id of running.keys()) {
    const node = nodeOf(id), question = node && nodeOf(node.parent);
    if (!node) continue;
    if (node.content) { Object.assign(node, { stop: "broken off: the page was closed", failed: true }); continue; }
    drop(node);
    if (!children(question.id).length) { draft ||= question.content; drop(question); }
  }
  if (running.size) save();
  try { store.setItem("tutelage.draft", draft); } catch { /* the store is full */ }
});
begin();
