// Markdown to nodes: the common part of it, tables, code and simple maths. Only createElement and textContent, so that
// whatever a model says stays text; links go to http(s) and mailto only.
const MATHS = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", varepsilon: "ε", zeta: "ζ", eta: "η", theta: "θ", kappa: "κ",
  lambda: "λ", mu: "μ", nu: "ν", xi: "ξ", pi: "π", rho: "ρ", sigma: "σ", tau: "τ", phi: "φ", varphi: "φ", chi: "χ", psi: "ψ",
  omega: "ω", Gamma: "Γ", Delta: "Δ", Theta: "Θ", Lambda: "Λ", Pi: "Π", Sigma: "Σ", Phi: "Φ", Psi: "Ψ", Omega: "Ω",
  times: "×", cdot: "·", div: "÷", pm: "±", le: "≤", leq: "≤", ge: "≥", geq: "≥", ne: "≠", neq: "≠", approx: "≈", equiv: "≡",
  in: "∈", notin: "∉", subset: "⊂", cup: "∪", cap: "∩", infty: "∞", sum: "∑", prod: "∏", int: "∫", partial: "∂", nabla: "∇",
  to: "→", rightarrow: "→", Rightarrow: "⇒", implies: "⇒", iff: "⇔", forall: "∀", exists: "∃", ldots: "…", dots: "…", cdots: "⋯",
  quad: "  ", left: "", right: "", displaystyle: "", sqrt: "√", log: "log", ln: "ln", exp: "exp", sin: "sin", cos: "cos",
  tan: "tan", max: "max", min: "min", lim: "lim", deg: "°", circ: "∘", sim: "∼", propto: "∝", ell: "ℓ",
};
const RAISED = { 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹", n: "ⁿ", i: "ⁱ", "+": "⁺", "-": "⁻", T: "ᵀ" };
const LOWERED = { 0: "₀", 1: "₁", 2: "₂", 3: "₃", 4: "₄", 5: "₅", 6: "₆", 7: "₇", 8: "₈", 9: "₉", i: "ᵢ", j: "ⱼ", n: "ₙ", t: "ₜ", k: "ₖ" };

function maths(source) {
  let text = source.trim();
  const group = "\\{([^{}]*)\\}";
  for (let depth = 0; depth < 4; depth++) {
    text = text.replace(new RegExp("\\\\(?:text|mathrm|mathbf|operatorname|mathcal)" + group, "g"), "$1")
      .replace(new RegExp("\\\\[dt]?frac" + group + group, "g"), (_, a, b) => `${bracketed(a)}/${bracketed(b)}`)
      .replace(new RegExp("\\\\sqrt" + group, "g"), (_, a) => "√" + bracketed(a));
  }
  text = text.replace(/\\([A-Za-z]+)/g, (all, name) => (name in MATHS ? MATHS[name] : all)).replace(/\\[,;! ]/g, " ").replace(/\\\\/g, "\n");
  const moved = (table, mark) => (all, braced, single) => {
    const inner = braced ?? single;
    return [...inner].every((letter) => letter in table) ? [...inner].map((letter) => table[letter]).join("") : mark + (braced === undefined ? single : bracketed(braced));
  };
  text = text.replace(/\^(?:\{([^{}]*)\}|(\S))/g, moved(RAISED, "^")).replace(/_(?:\{([^{}]*)\}|(\S))/g, moved(LOWERED, "_"));
  return text.replace(/[{}]/g, "");
}
const bracketed = (text) => (/^[\p{L}\p{N}\\]*$/u.test(text.trim()) ? text.trim() : `(${text.trim()})`);

const INLINE = new RegExp([
  "(`+)(?<code>[\\s\\S]*?[^`])\\1(?!`)", "\\\\\\((?<m1>[\\s\\S]+?)\\\\\\)", "\\$(?<m2>[^\\s$](?:[^$\\n]*[^\\s$\\\\])?)\\$(?!\\d)",
  "\\*\\*(?<b1>(?=\\S)[\\s\\S]*?\\S)\\*\\*(?!\\*)", "__(?<b2>(?=\\S)[\\s\\S]*?\\S)__(?!\\w)", "~~(?<s>(?=\\S)[\\s\\S]*?\\S)~~",
  "\\*(?<i1>(?=[^\\s*])[^*]*[^\\s*])\\*", "(?<!\\w)_(?<i2>(?=[^\\s_])[^_]*[^\\s_])_(?!\\w)",
  "\\[(?<label>[^\\[\\]]*)\\]\\((?<url>[^()\\s]*(?:\\([^()\\s]*\\)[^()\\s]*)*)(?:\\s+\"[^\"]*\")?\\)", "<(?<auto>https?:[^\\s<>]+)>",
  "\\\\(?<esc>[!-/:-@\\[-`{-~])", "(?<br> {2,}\\n|\\\\\\n)",
].join("|"), "g");

function inline(text, into, depth = 0) {
  let end = 0;
  for (const found of depth < 8 ? text.matchAll(INLINE) : []) {
    if (found.index < end) continue;
    into.append(text.slice(end, found.index));
    end = found.index + found[0].length;
    const g = found.groups;
    const nested = (kind, inner) => { const node = element(kind); inline(inner, node, depth + 1); into.append(node); };
    if (g.code !== undefined) into.append(element("code", "", g.code.replace(/^ (.+) $/s, "$1")));
    else if (g.m1 ?? g.m2) into.append(element("code", "maths", maths(g.m1 ?? g.m2)));
    else if (g.b1 ?? g.b2) nested("strong", g.b1 ?? g.b2);
    else if (g.s) nested("s", g.s);
    else if (g.i1 ?? g.i2) nested("em", g.i1 ?? g.i2);
    else if (g.url !== undefined || g.auto) {
      const url = g.url ?? g.auto;
      if (!/^(https?:|mailto:)/i.test(url)) { into.append(found[0]); continue; }
      const link = element("a");
      link.href = url; link.target = "_blank"; link.rel = "noopener noreferrer";
      inline(g.label ?? url, link, 8);
      into.append(link);
    } else if (g.br) into.append(element("br"));
    else into.append(g.esc);
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

// Blocks of Markdown, appended to a node. Depth bounds how far quotes and lists may nest.
function markdown(text, into, depth = 0) {
  const lines = text.split("\n");
  let at = 0, words = [];
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
    } else if (begin) {
      flush();
      const close = begin[1] === "$$" ? "$$" : "\\]", inner = [];
      let rest = line.trim().slice(2);
      while (!rest.includes(close) && at + 1 < lines.length) { inner.push(rest); rest = lines[++at]; }
      inner.push(rest.split(close)[0]);
      const after = rest.includes(close) ? rest.slice(rest.indexOf(close) + 2) : "";
      into.append(element("div", "maths", maths(inner.join("\n"))));
      if (after.trim()) words.push(after);
      at++;
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
  let cut = 0, at = 0, fence = "", maths = false, blank = false;
  for (const line of text.split("\n")) {
    const found = FENCE.exec(line);
    if (!fence && !maths && blank && line.trim() && !/^\s|^>|^[-*+]\s|^\d{1,9}[.)]/.test(line)) cut = at;
    if (found && !fence) fence = found[1];
    else if (fence && line.trim().startsWith(fence) && /^\s*[`~]+\s*$/.test(line)) fence = "";
    else if (!fence && /^\s*(\$\$|\\\[)/.test(line) && !maths) maths = !/(\$\$|\\\]).*$/.test(line.trim().slice(2));
    else if (maths && /\$\$|\\\]/.test(line)) maths = false;
    blank = !line.trim();
    at += line.length + 1;
  }
  return cut;
}
