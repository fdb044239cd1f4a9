"use strict";
// Small things that all parts use. Text always goes in as text: nothing here or elsewhere parses markup.
const $ = (id) => document.getElementById(id);

// What this browser keeps; where it keeps nothing (storage is blocked), as long as the page is open.
const store = (() => {
  try { localStorage.getItem(""); return localStorage; } catch {
    const kept = {};
    const methods = { getItem: (key) => kept[key] ?? null, setItem: (key, value) => { kept[key] = value; }, removeItem: (key) => { delete kept[key]; } };
    return new Proxy(kept, { get: (_, name) => methods[name] });
  }
})();

function element(kind, className, text) {
  const node = document.createElement(kind);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(text, title, act, className = "plain") {
  const node = element("button", className, text);
  node.type = "button";
  if (title) { node.title = title; node.setAttribute("aria-label", title); }
  node.addEventListener("click", act);
  return node;
}

function download(name, text, kind) {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

let toastTimer = 0;
function toast(text) {
  const box = $("toast");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { box.hidden = true; }, 6000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.");
  } catch { toast("The browser does not let this page copy."); }
}
