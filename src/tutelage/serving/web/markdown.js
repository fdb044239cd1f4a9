// Markdown to nodes: the common part of it, tables, code and maths. Only createElement and textContent, so that
// whatever a model says stays text; links go to http(s) and mailto only.
// Where one of these stands something may begin. What does is decided by looking a bounded way ahead, so that no text,
// however made, takes more than a multiple of its length.
const BEGINS = /[`\\$*_~[<\n]/g;
const LINK = /\[([^[\]]{0,500})\]\(([^()\s]{0,1000}(?:\([^()\s]{0,200}\)[^()\s]{0,200})?)(?:\s{1,9}"[^"]{0,200}")?\)/y;
const AUTO = /<(https?:[^\s<>]{1,1000})>/y, WORD = /[\p{L}\p{N}]/u, AHEAD = 8;

const at = (pattern, text, place) => { pattern.lastIndex = place; return pattern.exec(text); };

// Runs of backticks by their length, each with its places: what is searched for the end of a code span.
function backticks(text) {
  const runs = new Map();
  for (const { 0: run, index } of text.matchAll(/`+/g)) {
    if (!runs.has(run.length)) runs.set(run.length, []);
    runs.get(run.length).push(index);
  }
  return runs;
}

// The span that begins at a place, or null: [its end, what it shows].
function span(text, from, runs, gone, depth) {
  const sign = text[from], close = (mark, begin, good) => {
    if (gone.has(mark)) return -1;
    let found = begin;
    for (let tries = 0; tries < AHEAD; tries++, found++) {
      found = text.indexOf(mark, found);
      if (found < 0) { if (!tries) gone.add(mark); return -1; }
      if (good(found)) return found;
    }
    return -1;
  };
  const nested = (kind, begin, end) => { const node = element(kind); inline(text.slice(begin, end), node, depth + 1); return node; };
  if (sign === "`") {
    const size = at(/`+/y, text, from)[0].length, places = runs.get(size);
    while (places.length && places[0] <= from) places.shift();
    if (!places.length) return [from + size, "`".repeat(size)];
    return [places[0] + size, element("code", "", text.slice(from + size, places[0]).replace(/^ (.+) $/s, "$1"))];
  }
  if (sign === "\\") {
    const mark = { "(": "\\)", "[": "\\]" }[text[from + 1]], end = mark ? close(mark, from + 2, (place) => place > from + 2) : -1;
    if (end > 0) return [end + 2, maths(text.slice(from + 2, end))];
    if (text[from + 1] === "\n") return [from + 2, element("br")];
    return /[!-/:-@[-`{-~]/.test(text[from + 1] ?? "") ? [from + 2, text[from + 1]] : null;
  }
  if (sign === "\n") return text.slice(from - 2, from) === "  " ? [from + 1, element("br")] : null;
  if (sign === "$") {
    if (text[from + 1] === "$") { // a display within a line
      const end = close("$$", from + 2, (place) => place > from + 2);
      return end < 0 || text.slice(from, end).includes("\n") ? [from + 2, "$$"] : [end + 2, maths(text.slice(from + 2, end))];
    }
    if (/[\s$]/.test(text[from + 1] ?? " ")) return null;
    const end = close("$", from + 2, (place) => !/[\s\\]/.test(text[place - 1]) && !/\d/.test(text[place + 1] ?? ""));
    if (end < 0 || text.slice(from, end).includes("\n")) return null;
    return [end + 1, maths(text.slice(from + 1, end))];
  }
  if (sign === "[" || sign === "<") {
    const found = at(sign === "[" ? LINK : AUTO, text, from), url = found?.[2] ?? found?.[1];
    if (!found || (sign === "[" && found[2] === undefined) || !/^(https?:|mailto:)/i.test(url)) return null;
    const link = element("a");
    link.href = url; link.target = "_blank"; link.rel = "noopener noreferrer";
    inline(sign === "[" ? found[1] : url, link, AHEAD);
    return [from + found[0].length, link];
  }
  const twice = text[from + 1] === sign, mark = twice ? sign + sign : sign;
  if (sign === "~" && !twice) return null;
  const begin = from + mark.length, inWord = (place) => WORD.test(text[place] ?? " ");
  if (/\s/.test(text[begin] ?? " ") || text[begin] === sign || (sign === "_" && inWord(from - 1))) return null;
  const end = close(mark, begin + 1, (place) => !/\s/.test(text[place - 1]) && text[place + mark.length] !== sign && (twice || text[place - 1] !== sign) && !(sign === "_" && inWord(place + mark.length)));
  return end < 0 ? null : [end + mark.length, nested(sign === "~" ? "s" : twice ? "strong" : "em", begin, end)];
}

function inline(text, into, depth = 0) {
  const runs = backticks(text), gone = new Set();
  let end = 0, place = 0;
  while (depth < AHEAD) {
    const next = at(BEGINS, text, place);
    if (!next) break;
    const found = span(text, next.index, runs, gone, depth);
    if (!found) { place = next.index + 1; continue; }
    into.append(text.slice(end, next.index), found[1]);
    end = place = found[0];
  }
  into.append(text.slice(end));
}

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/, ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/, RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;

function codeBlock(language, text) {
  const box = element("div", "code"), head = element("div"), pre = element("pre");
  head.append(element("span", "", language || "code"), button("Copy", "Copy the code", () => copy(text)));
  pre.append(element("code", "", text));
  box.append(head, pre);
  return box;
}

const CLOSES = { "$$": "$$", "\\[": "\\]" };

// The line where the maths that begins in a line ends; -1 if nowhere. open: marks of which that is known.
function mathsEnd(lines, at, mark, open) {
  if (open.has(mark)) return -1;
  const close = CLOSES[mark];
  if (lines[at].indexOf(close, lines[at].indexOf(mark) + 2) >= 0) return at;
  for (let line = at + 1; line < lines.length; line++) if (lines[line].includes(close)) return line;
  open.add(mark);
  return -1;
}

// Blocks of Markdown, appended to a node. Depth bounds how far quotes and lists may nest.
function markdown(text, into, depth = 0) {
  const lines = text.split("\n");
  const open = new Set();
  let at = 0, words = [], until = -1;
  const flush = () => {
    if (words.length) { const node = element("p"); inline(words.join("\n"), node); into.append(node); words = []; }
  };
  while (at < lines.length) {
    const line = lines[at], fence = FENCE.exec(line), head = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/.exec(line);
    const begin = /^\s*(\$\$|\\\[)/.exec(line);
    if (!line.trim()) { flush(); at++; }
    else if (fence) {
      flush();
      const inner = [];
      for (at++; at < lines.length && !(lines[at].trim().startsWith(fence[1]) && /^\s*[`~]+\s*$/.test(lines[at])); at++) inner.push(lines[at]);
      at++;
      into.append(codeBlock(fence[2].trim(), inner.join("\n")));
    } else if (begin && (until = mathsEnd(lines, at, begin[1], open)) >= 0) {
      flush();
      const close = CLOSES[begin[1]], last = lines[until].indexOf(close, until === at ? begin[0].length : 0);
      const inner = until === at ? lines[at].slice(begin[0].length, last) : [lines[at].slice(begin[0].length), ...lines.slice(at + 1, until), lines[until].slice(0, last)].join("\n");
      into.append(maths(inner, true));
      const after = lines[until].slice(last + close.length);
      if (after.trim()) words.push(after);
      at = until + 1;
    } else if (head) {
      flush();
      const node = element("h" + Math.min(4, head[1].length)); inline(head[2], node); into.append(node); at++;
    } else if (RULE.test(line)) { flush(); into.append(element("hr")); at++; }
    else if (/^ {0,3}>/.test(line) && depth < 6) {
      flush();
      const inner = [];
      for (; at < lines.length && /^ {0,3}>/.test(lines[at]); at++) inner.push(lines[at].replace(/^ {0,3}> ?/, ""));
      const node = element("blockquote"); markdown(inner.join("\n"), node, depth + 1); into.append(node);
    } else if (ITEM.test(line) && depth < 6) { flush(); at = list(lines, at, into, depth); }
    else if (line.includes("|") && /^[\s|:-]*-[\s|:-]*$/.test(lines[at + 1] ?? "") && lines[at + 1].includes("|")) { flush(); at = table(lines, at, into); }
    else { words.push(line); at++; }
  }
  flush();
}

function list(lines, at, into, depth) {
  const [, indent, mark] = ITEM.exec(lines[at]), ordered = /\d/.test(mark), node = element(ordered ? "ol" : "ul");
  if (ordered) node.start = parseInt(mark, 10);
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (!item || item[1].length > indent.length + 1 || item[1].length < indent.length || /\d/.test(item[2]) !== ordered || RULE.test(lines[at])) break;
    const inner = [item[3]], width = indent.length + 2;
    for (at++; at < lines.length; at++) {
      const next = lines[at], blank = !next.trim(), deep = next.search(/\S/) >= width;
      if (blank ? !(lines[at + 1] ?? "").trim() || (lines[at + 1].search(/\S/) < width && !ITEM.test(lines[at + 1])) : !deep && (ITEM.test(next) || FENCE.test(next) || !lines[at - 1].trim())) break;
      inner.push(next.slice(Math.min(width, Math.max(0, next.search(/\S/)))));
    }
    const row = element("li"), text = inner.join("\n").trimEnd();
    if (/\n/.test(text)) markdown(text, row, depth + 1); else inline(text, row);
    if (row.children.length === 1 && row.firstChild.tagName === "P") row.replaceChildren(...row.firstChild.childNodes);
    node.append(row);
  }
  into.append(node);
  return at;
}

function table(lines, at, into) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
  const node = element("table"), row = (line, kind) => {
    const made = element("tr");
    for (const cell of cells(line)) { const one = element(kind); inline(cell, one); made.append(one); }
    node.append(made);
  };
  row(lines[at], "th");
  for (at += 2; at < lines.length && lines[at].includes("|"); at++) row(lines[at], "td");
  into.append(node);
  return at;
}

// A text that grows. What is finished is rendered once and stays; only the last block is rendered again, and the more
// rarely the longer that takes, so that the work stays a small share of the time however long the text.
class LiveText {
  constructor(node) { this.node = node; this.tail = ""; this.open = element("div"); this.pause = 50; this.timer = 0; node.append(this.open); this.rendered = 0; }

  feed(piece) {
    this.tail += piece;
    this.timer ||= setTimeout(() => this.draw(), this.pause);
  }

  draw() {
    clearTimeout(this.timer);
    this.timer = 0;
    const begin = performance.now(), cut = finishedUntil(this.tail);
    if (cut) {
      const done = document.createDocumentFragment();
      markdown(this.tail.slice(0, cut), done);
      this.open.before(done);
      this.tail = this.tail.slice(cut);
    }
    this.open.replaceChildren();
    markdown(this.tail, this.open);
    this.rendered += cut + this.tail.length;
    this.pause = Math.max(50, 10 * (performance.now() - begin));
    follow(false);
  }

  end() {
    this.draw();
    this.open.replaceWith(...this.open.childNodes);
  }
}

// Where the last block begins that may still change: after a blank line outside code, before no list, quote or indent.
function finishedUntil(text) {
  let cut = 0, at = 0, fence = "", maths = "", blank = false;
  for (const line of text.split("\n")) {
    const found = FENCE.exec(line);
    if (!fence && !maths && blank && line.trim() && !/^\s|^>|^[-*+]\s|^\d{1,9}[.)]/.test(line)) cut = at;
    const begin = /^\s*(\$\$|\\\[)/.exec(line);
    if (maths) { if (line.includes(maths)) maths = ""; }
    else if (fence) { if (line.trim().startsWith(fence) && /^\s*[`~]+\s*$/.test(line)) fence = ""; }
    else if (found) fence = found[1];
    else if (begin && !line.slice(begin[0].length).includes(CLOSES[begin[1]])) maths = CLOSES[begin[1]];
    blank = !line.trim();
    at += line.length + 1;
  }
  return cut;
}
