// Maths in TeX's notation to MathML: the common part of it. Nodes are made of known kinds only and hold text; a command
// that is not known stays as it was written.
const MATHML = $("math").namespaceURI, LONGEST_MATHS = 4000, DEEPEST = 40;

// Letters and signs by their names: identifiers, operators and relations, signs that have limits.
const pairs = (text) => Object.fromEntries(text.trim().split(/\s+/).map((one) => one.split(":")));
const LETTERS = pairs(`alpha:α beta:β gamma:γ delta:δ epsilon:ϵ varepsilon:ε zeta:ζ eta:η theta:θ vartheta:ϑ iota:ι kappa:κ
  lambda:λ mu:μ nu:ν xi:ξ pi:π varpi:ϖ rho:ρ varrho:ϱ sigma:σ varsigma:ς tau:τ upsilon:υ phi:ϕ varphi:φ chi:χ psi:ψ omega:ω
  Gamma:Γ Delta:Δ Theta:Θ Lambda:Λ Xi:Ξ Pi:Π Sigma:Σ Upsilon:Υ Phi:Φ Psi:Ψ Omega:Ω infty:∞ ell:ℓ hbar:ℏ partial:∂ nabla:∇
  emptyset:∅ varnothing:∅ Re:ℜ Im:ℑ aleph:ℵ imath:ı jmath:ȷ dagger:† ddagger:‡ angle:∠ triangle:△ square:□ degree:°
  ldots:… dots:… dotsc:… cdots:⋯ dotsb:⋯ vdots:⋮ ddots:⋱ top:⊤ bot:⊥ checkmark:✓`);
const SIGNS = pairs(`times:× cdot:⋅ div:÷ pm:± mp:∓ ast:∗ star:⋆ circ:∘ bullet:• oplus:⊕ otimes:⊗ odot:⊙ le:≤ leq:≤ leqslant:⩽
  ge:≥ geq:≥ geqslant:⩾ ne:≠ neq:≠ ll:≪ gg:≫ approx:≈ equiv:≡ sim:∼ simeq:≃ cong:≅ propto:∝ doteq:≐ in:∈ notin:∉ ni:∋
  subset:⊂ subseteq:⊆ supset:⊃ supseteq:⊇ cup:∪ cap:∩ setminus:∖ land:∧ wedge:∧ lor:∨ vee:∨ neg:¬ lnot:¬ forall:∀ exists:∃
  nexists:∄ to:→ rightarrow:→ longrightarrow:⟶ gets:← leftarrow:← leftrightarrow:↔ Rightarrow:⇒ Leftarrow:⇐ Leftrightarrow:⇔
  implies:⟹ iff:⟺ mapsto:↦ uparrow:↑ downarrow:↓ hookrightarrow:↪ mid:∣ parallel:∥ perp:⊥ vdash:⊢ models:⊨ colon:: prime:′
  prec:≺ succ:≻ lfloor:⌊ rfloor:⌋ lceil:⌈ rceil:⌉ langle:⟨ rangle:⟩ lvert:| rvert:| vert:| lVert:‖ rVert:‖ Vert:‖ lbrace:{
  rbrace:} lbrack:[ rbrack:] backslash:\\ therefore:∴ because:∵ surd:√ trianglelefteq:⊴`);
const LIMITED = pairs("sum:∑ prod:∏ coprod:∐ bigcup:⋃ bigcap:⋂ bigoplus:⨁ bigotimes:⨂ bigvee:⋁ bigwedge:⋀");
const INTEGRALS = pairs("int:∫ iint:∬ iiint:∭ oint:∮");
const NAMED = new Set("sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan log ln lg exp deg dim ker hom arg".split(" "));
const NAMED_LIMITED = new Set("lim limsup liminf max min sup inf det gcd Pr argmax argmin".split(" "));
const OVER = { hat: "^", widehat: "^", bar: "¯", overline: "¯", vec: "→", overrightarrow: "→", tilde: "~", widetilde: "~", dot: "˙", ddot: "¨", check: "ˇ", breve: "˘", overbrace: "⏞" };
const UNDER = { underline: "_", underbrace: "⏟" };
const SPACES = { ",": ".17em", ":": ".22em", ";": ".28em", "!": "-.17em", " ": ".33em", quad: "1em", qquad: "2em", enspace: ".5em", thinspace: ".17em" };
const FENCES = { matrix: ["", ""], smallmatrix: ["", ""], pmatrix: ["(", ")"], bmatrix: ["[", "]"], Bmatrix: ["{", "}"], vmatrix: ["|", "|"], Vmatrix: ["‖", "‖"], cases: ["{", ""], array: ["", ""] };
const ALIGNED = /^(aligned|align|split|alignat|alignedat|eqnarray|gather|gathered|equation|multline)\*?$/;
const NOTHING = new Set("displaystyle textstyle scriptstyle limits nolimits nonumber notag big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr bigm Bigm".split(" "));
// Alphabets of Unicode's mathematical letters: where capitals, small letters and digits begin, and what lies elsewhere.
const ALPHABETS = {
  mathbf: [0x1d400, 0x1d41a, 0x1d7ce], boldsymbol: [0x1d468, 0x1d482, 0x1d7ce], bm: [0x1d468, 0x1d482, 0x1d7ce],
  mathbb: [0x1d538, 0x1d552, 0x1d7d8, { C: "ℂ", H: "ℍ", N: "ℕ", P: "ℙ", Q: "ℚ", R: "ℝ", Z: "ℤ" }],
  mathcal: [0x1d49c, 0x1d4b6, 0, { B: "ℬ", E: "ℰ", F: "ℱ", H: "ℋ", I: "ℐ", L: "ℒ", M: "ℳ", R: "ℛ", e: "ℯ", g: "ℊ", o: "ℴ" }],
  mathfrak: [0x1d504, 0x1d51e, 0, { C: "ℭ", H: "ℌ", I: "ℑ", R: "ℜ", Z: "ℨ" }],
  mathsf: [0x1d5a0, 0x1d5ba, 0x1d7e2], mathtt: [0x1d670, 0x1d68a, 0x1d7f6],
};
ALPHABETS.mathscr = ALPHABETS.mathcal;

function mathNode(kind, content, attributes = {}) {
  const node = document.createElementNS(MATHML, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (typeof content === "string") node.textContent = content; else if (content) node.append(...content);
  return node;
}

const lettersIn = (text, [capitals, small, digits, odd = {}]) => [...text].map((one) => {
  const from = /[A-Z]/.test(one) ? [capitals, "A"] : /[a-z]/.test(one) ? [small, "a"] : /\d/.test(one) ? [digits, "0"] : [0];
  return odd[one] ?? (from[0] ? String.fromCodePoint(from[0] + one.codePointAt(0) - from[1].codePointAt(0)) : one);
}).join("");

// What a formula shows; text that is too long to be one stays text.
function maths(source, block = false) {
  const text = source.trim(), box = element(block ? "div" : "span", "maths");
  if (text.length > LONGEST_MATHS) { box.textContent = text; return box; }
  const shown = new Formula(text, block).all();
  const semantics = mathNode("semantics", [mathNode("mrow", shown), mathNode("annotation", text, { encoding: "application/x-tex" })]);
  box.append(mathNode("math", [semantics], block ? { display: "block" } : {}));
  return box;
}

class Formula {
  constructor(text, block) {
    this.tokens = text.match(/\\[A-Za-z]+\*?|\\[^]|\d+(?:[.,]\d+)*|\s+|[^]/gu) ?? [];
    this.at = 0; this.block = block; this.depth = 0;
  }

  peek() { while (/^\s+$/.test(this.tokens[this.at] ?? "")) this.at++; return this.tokens[this.at]; }
  next() { const token = this.peek(); this.at++; return token; }

  // The whole, whatever it holds too many of.
  all() {
    const nodes = [];
    while (this.peek() !== undefined) { nodes.push(...this.row([])); if (this.peek() !== undefined) nodes.push(this.rest()); }
    return nodes;
  }

  rest() { return mathNode("mtext", this.tokens[this.at++]); }

  // Nodes until one of the tokens `ends`, or one that ends something around it; that one is left.
  row(ends) {
    const nodes = [];
    for (let token = this.peek(); token !== undefined; token = this.peek()) {
      if (ends.includes(token) || ["}", "\\right", "\\end", "&", "\\\\"].includes(token)) break;
      nodes.push(this.scripted());
    }
    return nodes;
  }

  // An atom with what stands above and below it.
  scripted() {
    let base = this.depth > DEEPEST ? this.rest() : this.atom(), over = null, under = null, primes = "";
    const limits = base.limits;
    for (;;) {
      const token = this.peek();
      if (token === "'") { this.next(); primes += "′"; continue; }
      if ((token === "^" && over) || (token === "_" && under) || (token !== "^" && token !== "_" && token !== "\\limits" && token !== "\\nolimits")) break;
      this.next();
      if (token === "^") over = this.argument(); else if (token === "_") under = this.argument();
    }
    if (primes) over = over ? mathNode("mrow", [mathNode("mo", primes), over]) : mathNode("mo", primes);
    const [both, one, other] = limits && this.block ? ["munderover", "munder", "mover"] : ["msubsup", "msub", "msup"];
    if (over && under) return mathNode(both, [base, under, over]);
    return over || under ? mathNode(over ? other : one, [base, over ?? under]) : base;
  }

  // What a command or a script is given: one token, or what is in braces.
  argument() {
    this.depth++;
    const token = this.peek();
    const node = token === undefined || ["}", "&", "\\\\", "\\right", "\\end"].includes(token) || this.depth > DEEPEST ? mathNode("mrow") : this.atom();
    this.depth--;
    return node;
  }

  // What is in braces, as it is written.
  raw() {
    if (this.peek() !== "{") return this.next() ?? "";
    let text = "", depth = 0;
    for (this.at++; this.at < this.tokens.length; this.at++) {
      const token = this.tokens[this.at];
      if (token === "{") depth++;
      if (token === "}" && !depth--) { this.at++; break; }
      text += token;
    }
    return text.replace(/\\([{}$%&#_ ])/g, "$1");
  }

  atom() {
    const token = this.next();
    if (token === "{") {
      this.depth++;
      const nodes = this.row([]);
      while (this.peek() !== undefined && this.peek() !== "}") nodes.push(this.rest(), ...this.row([]));
      this.next();
      this.depth--;
      return nodes.length === 1 ? nodes[0] : mathNode("mrow", nodes);
    }
    if (/^\d/.test(token)) return mathNode("mn", token);
    if (/^\p{L}$/u.test(token)) return mathNode("mi", token);
    if (token === "^" || token === "_") return mathNode("mrow", [], {});
    if (token === "~") return mathNode("mspace", null, { width: ".33em" });
    if (token[0] !== "\\" || token.length < 2) return mathNode("mo", { "-": "−", "*": "∗" }[token] ?? token, /[()[\]|/]/.test(token) ? { stretchy: "false" } : {});
    return this.command(token.slice(1));
  }

  command(name) {
    const table = (of) => (Object.hasOwn(of, name) ? of[name] : undefined);
    let found;
    if ((found = table(LETTERS)) !== undefined) return mathNode("mi", found, /^[Α-Ω]|[…⋯⋮⋱∞∅]/u.test(found) ? { mathvariant: "normal" } : {});
    if ((found = table(SIGNS)) !== undefined) return mathNode("mo", found, { stretchy: "false" });
    if ((found = table(SPACES)) !== undefined) return mathNode("mspace", null, { width: found });
    if ((found = table(LIMITED)) !== undefined) return Object.assign(mathNode("mo", found, { largeop: "true" }), { limits: true });
    if ((found = table(INTEGRALS)) !== undefined) return mathNode("mo", found, { largeop: "true" });
    if (NAMED.has(name)) return this.named(name);
    if (NAMED_LIMITED.has(name)) return Object.assign(this.named(name), { limits: true });
    if ((found = table(OVER)) !== undefined) return Object.assign(mathNode("mover", [this.argument(), mathNode("mo", found, { stretchy: String(/^(wide|over)/.test(name)) })], { accent: "true" }), { limits: name === "overbrace" });
    if ((found = table(UNDER)) !== undefined) return Object.assign(mathNode("munder", [this.argument(), mathNode("mo", found, { stretchy: "true" })]), { limits: name === "underbrace" });
    if ((found = table(ALPHABETS)) !== undefined) return this.alphabet(found);
    if (NOTHING.has(name)) return mathNode("mrow");
    if (/^[dtc]?frac$/.test(name)) return mathNode("mfrac", [this.argument(), this.argument()]);
    if (/^[dt]?binom$/.test(name)) return this.fenced("(", [mathNode("mfrac", [this.argument(), this.argument()], { linethickness: "0" })], ")");
    if (name === "sqrt") return this.root();
    if (/^(text|mbox|textrm|textnormal|textit|textsf|texttt)$/.test(name)) return mathNode("mtext", this.raw().replace(/^ +| +$/g, "\u00a0"));
    if (name === "textbf") return mathNode("mtext", lettersIn(this.raw(), ALPHABETS.mathbf));
    if (/^(mathrm|operatorname\*?|mathit)$/.test(name)) return mathNode("mi", this.raw(), { mathvariant: "normal" });
    if (name === "overset" || name === "stackrel") { const over = this.argument(); return mathNode("mover", [this.argument(), over]); }
    if (name === "underset") { const under = this.argument(); return mathNode("munder", [this.argument(), under]); }
    if (name === "left") return this.between();
    if (name === "middle") return mathNode("mo", this.delimiter());
    if (name === "begin") return this.environment(this.raw());
    if (name === "not") { const node = this.argument(); node.textContent += "̸"; return node; }
    if (name === "boxed") return this.argument();
    if (name === "tag") return mathNode("mtext", `  (${this.raw()})`);
    if (/^(pmod|bmod|mod)$/.test(name)) return this.modulo(name);
    if ("{}%$#&_".includes(name)) return mathNode("mo", name, { stretchy: "false" });
    if (name === "|") return mathNode("mo", "‖", { stretchy: "false" });
    if (name === "right" || name === "end") return mathNode("mrow");
    return mathNode("mtext", "\\" + name);
  }

  named(name) {
    const node = mathNode("mi", { argmax: "arg max", argmin: "arg min", limsup: "lim sup", liminf: "lim inf" }[name] ?? name, { mathvariant: "normal" });
    // A function stands apart from what it is of, unless that is in brackets.
    const after = this.peek() ?? "(";
    return /^([([{^_)}&]|\\left|\\\\)/.test(after) ? node : mathNode("mrow", [node, mathNode("mspace", null, { width: ".17em" })]);
  }

  alphabet(letters) {
    const node = this.argument();
    for (const one of node.children.length ? node.querySelectorAll("mi, mn") : [node]) one.textContent = lettersIn(one.textContent, letters);
    return node;
  }

  root() {
    if (this.peek() !== "[") return mathNode("msqrt", [this.argument()]);
    this.next();
    const index = mathNode("mrow", this.row(["]"]));
    if (this.peek() === "]") this.next();
    return mathNode("mroot", [this.argument(), index]);
  }

  modulo(name) {
    const word = mathNode("mi", "mod", { mathvariant: "normal" }), space = mathNode("mspace", null, { width: ".28em" });
    if (name === "bmod") return mathNode("mrow", [space.cloneNode(), word, space]);
    return this.fenced("(", [word, space, this.argument()], ")");
  }

  fenced(open, nodes, close) {
    const sign = (text) => (text ? [mathNode("mo", text, { fence: "true", stretchy: "true" })] : []);
    return mathNode("mrow", [...sign(open), mathNode("mrow", nodes), ...sign(close)]);
  }

  delimiter() {
    const token = this.next() ?? "", name = token.slice(1);
    if (token === ".") return "";
    if (token[0] !== "\\") return token;
    return Object.hasOwn(SIGNS, name) ? SIGNS[name] : name === "|" ? "‖" : name;
  }

  between() {
    this.depth++;
    const open = this.delimiter(), nodes = this.depth > DEEPEST ? [] : this.row([]);
    const close = this.peek() === "\\right" ? (this.next(), this.delimiter()) : "";
    this.depth--;
    return this.fenced(open, nodes, close);
  }

  environment(name) {
    const fences = Object.hasOwn(FENCES, name) ? FENCES[name] : null, aligned = ALIGNED.test(name);
    if (!fences && !aligned) return mathNode("mtext", `\\begin{${name}}`);
    if (/^(array|alignat|alignedat)/.test(name)) this.raw();
    this.depth++;
    const rows = [[]];
    while (this.peek() !== undefined && this.peek() !== "\\end" && this.depth <= DEEPEST) {
      rows.at(-1).push(mathNode("mtd", this.row([])));
      const token = this.peek();
      if (token === "\\\\") rows.push([]);
      if (token === "&" || token === "\\\\") this.next(); else if (token !== "\\end") { if (token === undefined) break; rows.at(-1).push(mathNode("mtd", [this.rest()])); }
    }
    if (this.peek() === "\\end") { this.next(); this.raw(); }
    this.depth--;
    if (rows.length > 1 && !rows.at(-1).some((cell) => cell.childNodes.length)) rows.pop();
    const kind = aligned ? { class: "aligned", displaystyle: "true" } : name === "cases" ? { class: "cases" } : {};
    return this.fenced(fences?.[0], [mathNode("mtable", rows.map((cells) => mathNode("mtr", cells)), kind)], fences?.[1]);
  }
}
