// Chats: each a tree of messages, in which editing and regenerating make branches; kept in this browser only.
// chat: {id, title, time, system, nodes: [{id, parent, role, content, model, stop, used, speed, vote, pair}], pick}
const PREFIX = "tutelage.chat.";
let chats = new Map(), chat = null, tokensOf = new Map();

const newId = () => Math.random().toString(36).slice(2, 10) + Date.now().toString(36);
const newChat = () => ({ id: newId(), title: "", time: Date.now(), system: "", nodes: [], pick: {} });

function loadChats() {
  for (const key of Object.keys(store)) {
    if (!key.startsWith(PREFIX)) continue;
    const found = readChat(store.getItem(key));
    if (found) chats.set(found.id, found);
  }
}

const isId = (value) => typeof value === "string" && /^[a-z0-9]{3,40}$/.test(value);

// A chat from JSON, or null: only what is of the right kind is taken over.
function readChat(text) {
  try {
    const data = typeof text === "string" ? JSON.parse(text) : text, ids = new Set(), nodes = [];
    const given = data.nodes ?? chain(data.messages.filter((one) => one.role !== "system"));
    for (const one of given) {
      if (!["user", "assistant"].includes(one.role) || typeof one.content !== "string" || !isId(one.id) || ids.has(one.id)) continue;
      if (one.parent !== null && !ids.has(one.parent)) continue;
      ids.add(one.id);
      const node = { id: one.id, parent: one.parent, role: one.role, content: one.content };
      for (const name of ["model", "stop", "pair"]) if (typeof one[name] === "string") node[name] = one[name];
      for (const name of ["tokens", "used", "pieces", "speed", "vote"]) if (typeof one[name] === "number") node[name] = one[name];
      if (one.failed === true) node.failed = true;
      nodes.push(node);
    }
    const pick = {};
    for (const [from, to] of Object.entries(data.pick ?? {})) if ((from === "root" || ids.has(from)) && ids.has(to)) pick[from] = to;
    const system = data.system ?? data.messages?.find((one) => one.role === "system")?.content ?? "";
    return { ...newChat(), ...(isId(data.id) ? { id: data.id, time: Number(data.time) || 0, pick } : {}), title: String(data.title ?? ""), system: String(system), nodes };
  } catch { return null; }
}

function chain(messages) {
  let parent = null;
  return messages.map(({ role, content }) => ({ id: newId(), parent, role, content })).map((one) => { one.parent = parent; parent = one.id; return one; });
}

// The chat goes to the browser's store; where that is full, it is said, and the chat stays on the page.
function save(one = chat) {
  if (!one.nodes.length) return;
  one.time = Date.now();
  one.title ||= one.nodes[0].content.trim().replace(/\s+/g, " ").slice(0, 60);
  chats.set(one.id, one);
  try { store.setItem(PREFIX + one.id, JSON.stringify(one)); }
  catch { toast("The browser's store is full: this chat is not kept. Export it, or delete others."); }
}

// Another page of this browser has kept or deleted a chat: what it says there is joined with what stands here.
function taken(id, text) {
  const other = text && readChat(text), mine = chats.get(id);
  if (!other) { chats.delete(id); return; }
  if (!mine) { chats.set(id, other); return; }
  for (const node of other.nodes) {
    const here = mine.nodes.find((one) => one.id === node.id);
    if (!here) mine.nodes.push(node);
    else if (!running.has(node.id)) Object.assign(here, { vote: undefined }, node);
  }
  if (!mine.nodes.some((one) => running.has(one.id))) Object.assign(mine.pick, other.pick);
  Object.assign(mine, { title: other.title, system: other.system, time: other.time });
}

function remove(one) {
  chats.delete(one.id);
  store.removeItem(PREFIX + one.id);
}

const children = (parent, of = chat) => of.nodes.filter((one) => one.parent === parent);
const nodeOf = (id) => chat.nodes.find((one) => one.id === id);

function add(parent, role, content, more = {}, to = chat) {
  const node = { id: newId(), parent, role, content, ...more };
  to.nodes.push(node);
  to.pick[parent ?? "root"] = node.id;
  return node;
}

function drop(node, from = chat) {
  from.nodes.splice(from.nodes.indexOf(node), 1);
  const left = children(node.parent, from), key = node.parent ?? "root";
  if (from.pick[key] === node.id) from.pick[key] = left.at(-1)?.id;
}

// The branch that is shown: from the first message to the last.
function branch(of = chat) {
  const byParent = Map.groupBy ? Map.groupBy(of.nodes, (one) => one.parent) : of.nodes.reduce((map, one) => map.set(one.parent, [...(map.get(one.parent) ?? []), one]), new Map());
  const shown = [];
  for (let parent = null; ;) {
    const here = byParent.get(parent);
    if (!here) return shown;
    const node = here.find((one) => one.id === of.pick[parent ?? "root"]) ?? here.at(-1);
    shown.push(node);
    parent = node.id;
  }
}

// What is sent to have the message after `last` written.
function messagesUntil(last, of) {
  const told = [];
  for (let node = last; node; node = of.nodes.find((one) => one.id === node.parent)) told.unshift({ role: node.role, content: node.content });
  return of.system ? [{ role: "system", content: of.system }, ...told] : told;
}

// All branches, and the messages of the one that is shown, which `tutelage chat` can load.
function asJson(of) {
  return JSON.stringify({ ...of, messages: messagesUntil(branch(of).at(-1), of) }, null, 2);
}

function asMarkdown(of) {
  const parts = of.system ? [`## system\n\n${of.system}`] : [];
  return [...parts, ...branch(of).map((one) => `## ${one.role}\n\n${one.content}`)].join("\n\n") + "\n";
}

function fromMarkdown(text) {
  const parts = text.split(/^## (system|user|assistant)\s*\n/m).slice(1), messages = [];
  for (let at = 0; at + 1 < parts.length; at += 2) messages.push({ role: parts[at], content: parts[at + 1].trim() });
  return messages.length ? readChat({ messages }) : null;
}

// Preference pairs, a line each: the turns so far, an answer voted up and one voted down.
function preferencePairs(of) {
  const lines = [];
  for (const good of of.nodes.filter((one) => one.vote > 0)) {
    const question = of.nodes.find((one) => one.id === good.parent);
    for (const bad of of.nodes.filter((one) => one.parent === good.parent && one.vote < 0 && one.content !== good.content)) {
      lines.push(JSON.stringify({ messages: messagesUntil(question, of), chosen: good.content, rejected: bad.content }));
    }
  }
  return lines;
}

// Evaluation cases, a line each: the same pairs as a question with two choices, as `tutelage evaluate --data` reads them.
// The better one stands first and second by turns.
function evaluationCases(lines) {
  return lines.map((line, at) => {
    const { messages, chosen, rejected } = JSON.parse(line), alone = messages.length === 1;
    const prompt = alone ? messages[0].content : messages.map((one) => `${one.role}: ${one.content}\n\n`).join("") + "assistant:";
    return JSON.stringify({ prompt, choices: at % 2 ? [rejected, chosen] : [chosen, rejected], answer: at % 2 });
  });
}

async function importFile(file) {
  const text = await file.text();
  let found = [];
  if (file.name.endsWith(".md")) found = [fromMarkdown(text)];
  else {
    try { const data = JSON.parse(text); found = (Array.isArray(data) && data[0]?.role ? [{ messages: data }] : [data].flat()).map(readChat); } catch { /* said below */ }
  }
  found = found.filter((one) => one?.nodes.length);
  if (!found.length) return toast(`${file.name} holds no chat that can be read.`);
  for (const one of found) { if (chats.has(one.id)) one.id = newId(); save(one); }
  toast(`${found.length} ${found.length === 1 ? "chat" : "chats"} imported.`);
  open(found[0]);
}
