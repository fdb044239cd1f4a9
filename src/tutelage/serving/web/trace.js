// What of an answer stands word by word in the training text, where the server can tell.

// For each unit of a text the numbers of the spans that it lies in, as "0,1"; spans count characters, not units.
function withinOf(text, spans) {
  const units = [0], within = new Array(text.length).fill("");
  for (const letter of text) units.push(units.at(-1) + letter.length);
  spans.forEach((one, number) => {
    for (let at = units[one.begin]; at < units[one.end]; at++) within[at] += `${within[at] && ","}${number}`;
  });
  return within;
}

// How much of a text is no markup: letters and digits that are not of a link, a fence, a number of a list.
const lettersOf = (text) => (text.replace(/\]\([^)]*\)|(`{3,}|~{3,})[^\n]*\n?|\d{1,9}[.)]/g, "").match(/[\p{L}\p{N}]/gu) ?? []).length;

// Marks in a rendered text what lies within spans, by finding its pieces in the source, one after the other: a whole
// text node, or word by word what was rendered otherwise than it is written. make: a mark of some text.
function markUp(body, text, within, make) {
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT), nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  let from = 0, missed = 0;
  const find = (piece) => {
    for (let place = text.indexOf(piece, from), tries = 0; place >= 0 && tries < 50; place = text.indexOf(piece, place + 1), tries++) {
      if (lettersOf(text.slice(from, place)) > missed) continue;
      from = place + piece.length;
      missed = 0;
      return place;
    }
    return -1;
  };
  for (const node of nodes) {
    const data = node.data, near = node.parentElement;
    if (near.closest("button, .code > div") || (near.closest("math") && near.localName !== "annotation")) continue;
    const place = find(data);
    if (near.localName === "annotation") continue;
    const labels = place < 0 ? new Array(data.length).fill("") : within.slice(place, place + data.length);
    if (place < 0) {
      for (const { 0: word, index } of data.matchAll(/\S+/g)) {
        const at = find(word);
        if (at < 0) missed += word.length;
        else for (let unit = 0; unit < word.length; unit++) labels[index + unit] = within[at + unit];
      }
      for (const { 0: gap, index } of data.matchAll(/\s+/g)) if (labels[index - 1] === labels[index + gap.length]) labels.fill(labels[index - 1] ?? "", index, index + gap.length);
    }
    const parts = [];
    for (let at = 0, end; at < data.length; at = end) {
      for (end = at + 1; end < data.length && labels[end] === labels[at]; end++);
      const part = data.slice(at, end);
      parts.push(labels[at] ? make(labels[at].split(",").map(Number), part) : part);
    }
    node.replaceWith(...parts);
  }
}

async function showTrace(node, body) {
  if (body.classList.contains("traced")) { drawn.delete(node.id); draw(); return; }
  let found;
  try {
    const response = await fetch("v1/trace", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ model: served.some((one) => one.id === node.model) ? node.model : $("model").value, input: node.content }),
    });
    if (!response.ok) await complain(response);
    found = await response.json();
  } catch (error) { toast(error.message); return; }
  const where = element("div", "where"), within = withinOf(node.content, found.spans);
  let marks = [];
  where.hidden = true;
  where.setAttribute("aria-live", "polite");
  const make = (numbers, text) => {
    const mark = element("mark", numbers[0] % 2 ? "second" : "", text);
    // No button: that would be a box, which does not run on over the end of a line.
    Object.assign(mark, { tabIndex: 0, role: "button", title: "Where this stands" });
    const choose = (event) => {
      event.preventDefault(); // it may stand in a link
      const off = mark.classList.contains("on");
      for (const one of marks) {
        const on = !off && one.numbers.some((number) => numbers.includes(number));
        one.mark.classList.toggle("on", on);
        one.mark.setAttribute("aria-pressed", on);
      }
      where.replaceChildren(...(off ? [] : numbers.flatMap((number) => places(found.spans[number]))));
      where.hidden = off;
    };
    mark.setAttribute("aria-pressed", "false");
    mark.addEventListener("click", choose);
    mark.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") choose(event); });
    marks.push({ mark, numbers });
    return mark;
  };
  body.className = "text traced";
  body.replaceChildren();
  markdown(node.content, body);
  markUp(body, node.content, within, make);
  if (new Set(marks.flatMap((one) => one.numbers)).size < found.spans.length) {
    // A span of which nothing was found in what is shown: then the text as it was written.
    marks = [];
    body.classList.add("raw");
    body.replaceChildren(node.content);
    markUp(body, node.content, within, make);
  }
  const said = found.spans.length
    ? `${Math.round(100 * found.share)} % of this stands word by word in the training text, in spans of ${found.least_words} words or more. Choose one to see where.`
    : `No span of ${found.least_words} words or more stands in the training text.`;
  body.append(element("p", "hint", said), where);
}

// A span: how long it is, how often it stands there, and the first documents that hold it with what is around it.
function places(span) {
  const times = span.count === 1 ? "once" : `${span.count} times`, more = span.count - span.documents.length;
  const shown = span.documents.map((one) => {
    const row = element("p"), name = [one.source, one.name].filter(Boolean).join(" · ") || "a document without a name";
    row.append(element("cite", "", name), one.before && `…${one.before}`, element("b", "", span.text), one.after && `${one.after}…`);
    return row;
  });
  return [element("h4", "", `${span.words} words, ${times} in the training text`), ...shown, ...(more > 0 ? [element("p", "", `and ${more} more`)] : [])];
}
