// What of an answer stands word by word in the training text, where the server can tell.

// Parts of a text between the edges of spans, each with the numbers of the spans that it lies in. Edges count characters.
function partsOf(text, spans) {
  const letters = Array.from(text), edges = [...new Set([0, letters.length, ...spans.flatMap((one) => [one.begin, one.end])])].sort((a, b) => a - b);
  return edges.slice(1).map((end, at) => ({
    text: letters.slice(edges[at], end).join(""),
    within: spans.flatMap((one, number) => (one.begin <= edges[at] && end <= one.end ? [number] : [])),
  }));
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
  const where = element("div", "where"), marks = [];
  where.hidden = true;
  where.setAttribute("aria-live", "polite");
  const said = found.spans.length
    ? `${Math.round(100 * found.share)} % of this stands word by word in the training text, in spans of ${found.least_words} words or more. Choose one to see where.`
    : `No span of ${found.least_words} words or more stands in the training text.`;
  body.className = "text traced";
  body.replaceChildren(...partsOf(node.content, found.spans).map(({ text, within }) => {
    if (!within.length) return document.createTextNode(text);
    const mark = element("mark", within[0] % 2 ? "second" : "", text);
    // No button: that would be a box, which does not run on over the end of a line.
    Object.assign(mark, { tabIndex: 0, role: "button", title: "Where this stands" });
    const choose = () => {
      const off = mark.classList.contains("on");
      for (const one of marks) one.mark.classList.toggle("on", !off && one.within.some((number) => within.includes(number)));
      for (const one of marks) one.mark.setAttribute("aria-pressed", one.mark.classList.contains("on"));
      where.replaceChildren(...(off ? [] : within.flatMap((number) => places(found.spans[number]))));
      where.hidden = off;
    };
    mark.setAttribute("aria-pressed", "false");
    mark.addEventListener("click", choose);
    mark.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } });
    marks.push({ mark, within });
    return mark;
  }), element("p", "hint", said), where);
}

// A span: how long it is, how often it stands there, and the first documents that hold it with what is around it.
function places(span) {
  const times = span.count === 1 ? "once" : `${span.count} times`, more = span.count - span.documents.length;
  const shown = span.documents.map((one) => {
    const row = element("p"), name = [one.source, one.name].filter(Boolean).join(" · ") || "a document without a name";
    row.append(element("cite", "", name), `…${one.before}`, element("b", "", span.text), `${one.after}…`);
    return row;
  });
  return [element("h4", "", `${span.words} words, ${times} in the training text`), ...shown, ...(more > 0 ? [element("p", "", `and ${more} more`)] : [])];
}
